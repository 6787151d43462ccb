"""Printed kernels against golden files."""

from collections.abc import Callable

from graphflow.loops.build import Builder
from graphflow.loops.ir import Kernel
from graphflow.loops.text import kernel_text
from graphflow.loops.verify import verify


def softmax() -> Kernel:
    b = Builder("softmax")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    rows = b.int_param("rows")
    with b.loop("r", 0, rows, "parallel") as r:
        base = b.let("base", b.mul(r, 1000))
        top = b.carry("top", b.lowest("f32"), "max")
        with b.loop("c", 0, 1000, "vector", [top]) as c:
            b.update(top, b.load(x, b.add(base, c)))
        total = b.carry("total", 0.0, "add", "f32")
        with b.loop("c", 0, 1000, "vector", [total]) as c:
            power = b.let("power", b.exp(b.sub(b.load(x, b.add(base, c)), top)))
            b.update(total, power)
            b.store(y, b.add(base, c), power)
        with b.loop("c", 0, 1000, "vector") as c:
            b.store(y, b.add(base, c), b.div(b.load(y, b.add(base, c)), total))
    return b.kernel()


def adam() -> Kernel:
    b = Builder("adam")
    var, m, v, gradient = (b.buffer(n, "f32") for n in ("var", "m", "v", "gradient"))
    n, rate = b.int_param("n"), b.scalar_param("rate", "f32")
    with b.loop("block", 0, b.floordiv(b.add(n, 4095), 4096), "parallel") as block:
        low = b.let("low", b.mul(block, 4096))
        with b.loop("i", low, b.min(n, b.add(low, 4096)), "vector") as i:
            g = b.load(gradient, i)
            m2 = b.let("m2", b.add(b.mul(b.load(m, i), 0.9), b.mul(g, 0.1)))
            v2 = b.let("v2", b.add(b.mul(b.load(v, i), 0.999), b.mul(b.square(g), 0.001)))
            b.store(m, i, m2)
            b.store(v, i, v2)
            b.store(var, i, b.sub(b.load(var, i), b.div(b.mul(rate, m2), b.add(b.sqrt(v2), 1e-8))))
    return b.kernel()


def pad() -> Kernel:
    b = Builder("pad")
    x, ids, y, flags = (
        b.buffer("x", "bf16"),
        b.buffer("ids", "i32"),
        b.buffer("y", "f32"),
        b.buffer("flags", "i1"),
    )
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        inside = b.and_(b.ge(i, 2), b.lt(i, b.sub(n, 3)))
        with b.where(inside):
            at = b.cast(b.load(ids, b.sub(i, 2)), "i64")
            value = b.cast(b.load(x, at), "f32")
            b.store(y, i, b.select(b.isnan(value), 0.0, b.tanh(b.mul(b.add(value, 1.0), b.sub(value, 1.0)))))
        b.store(flags, i, b.not_(inside))
    return b.kernel()


def test_golden(golden: Callable[[str, str], None]) -> None:
    for kernel in (softmax(), adam(), pad()):
        verify(kernel)
        golden(f"loops/{kernel.name}.txt", kernel_text(kernel))


def test_the_same_kernel_prints_the_same() -> None:
    assert kernel_text(softmax()) == kernel_text(softmax())


def test_shared_parts_are_printed_once() -> None:
    b = Builder("shared")
    x = b.buffer("x", "f64")
    value = b.load(x, 0)
    for _ in range(60):
        value = b.mul(b.add(value, 1.0), b.sub(value, 1.0))
    b.store(x, 0, value)
    assert len(kernel_text(b.kernel())) < 10_000


def test_brackets_follow_binding() -> None:
    b = Builder("brackets")
    x = b.buffer("x", "i64")
    a, c = b.load(x, 0), b.load(x, 1)
    for value in (
        b.sub(a, b.sub(c, a)),
        b.mul(b.add(a, c), a),
        b.add(b.mul(a, c), a),
        b.shl(b.add(a, c), b.shl(a, 2)),
        b.div(a, b.div(c, a)),
    ):
        b.store(x, 0, value)
    lines = [line.strip().removeprefix("x[0] = ") for line in kernel_text(b.kernel()).splitlines()[1:-1]]
    assert lines == [
        "x[0] - (x[1] - x[0])",
        "(x[0] + x[1]) * x[0]",
        "x[0] * x[1] + x[0]",
        "x[0] + x[1] << (x[0] << 2)",
        "x[0] / (x[1] / x[0])",
    ]
