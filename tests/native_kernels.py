"""Kernels written by hand in LLVM text, for tests that need native code but no code generator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A kernel as text."""

    symbol: str
    text: str


def _loop(symbol: str, arguments: int, body: str) -> Code:
    """A kernel (%a0 … pointers, then n) whose body computes turn %i of [n*part/parts, n*(part+1)/parts)."""
    loads = []
    for number in range(arguments):
        loads.append(f"  %q{number} = getelementptr i64, ptr %args, i64 {number}")
        loads.append(f"  %a{number} = load ptr, ptr %q{number}")
    head = "\n".join(loads)
    return Code(
        symbol,
        f"""
define void @{symbol}(ptr %args, i64 %part, i64 %parts) {{
entry:
{head}
  %qn = getelementptr i64, ptr %args, i64 {arguments}
  %n = load i64, ptr %qn
  %l0 = mul i64 %n, %part
  %low = udiv i64 %l0, %parts
  %p1 = add i64 %part, 1
  %h0 = mul i64 %n, %p1
  %high = udiv i64 %h0, %parts
  %any = icmp slt i64 %low, %high
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [%low, %entry], [%i1, %loop]
{body}
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %high
  br i1 %more, label %loop, label %done
done:
  ret void
}}
""",
    )


ADD = _loop(
    "test_add",
    3,
    """  %x = getelementptr float, ptr %a0, i64 %i
  %y = getelementptr float, ptr %a1, i64 %i
  %z = getelementptr float, ptr %a2, i64 %i
  %u = load float, ptr %x
  %v = load float, ptr %y
  %w = fadd float %u, %v
  store float %w, ptr %z""",
)
"""(x, y, z, n): z = x + y. May run in place."""

REVERSE = _loop(
    "test_reverse",
    2,
    """  %m = sub i64 %n, 1
  %j = sub i64 %m, %i
  %x = getelementptr float, ptr %a0, i64 %j
  %y = getelementptr float, ptr %a1, i64 %i
  %u = load float, ptr %x
  store float %u, ptr %y""",
)
"""(x, y, n): y = x[::-1]. Threads read what other threads have written."""

SCALE = _loop(
    "test_scale",
    3,
    """  %x = getelementptr float, ptr %a0, i64 %i
  %y = getelementptr float, ptr %a1, i64 %i
  %u = load float, ptr %x
  %s = load float, ptr %a2
  %w = fmul float %u, %s
  store float %w, ptr %y""",
)
"""(x, y, scalar, n): y = scalar * x. May run in place."""

NOTHING = Code(
    "test_nothing", "define void @test_nothing(ptr %args, i64 %part, i64 %parts) {\n  ret void\n}\n"
)
"""Does nothing at all."""

PARTS = Code(
    "test_parts",
    """
define void @test_parts(ptr %args, i64 %part, i64 %parts) {
  %a0 = load ptr, ptr %args
  %at = getelementptr i64, ptr %a0, i64 %part
  store i64 %parts, ptr %at
  ret void
}
""",
)
"""(x): x[part] = parts, to see who took part."""
