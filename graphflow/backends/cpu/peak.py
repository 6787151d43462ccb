"""What this machine reaches at best: multiply-adds out of registers, and a copy of more than any cache holds.

Measured through the very plans, threads and drivers that run everything else, once per process and number of threads;
some 0.1 seconds. On a machine that does other work meanwhile the figures are lower.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from graphflow.backends.base import Backend
from graphflow.backends.cpu.target import Target
from graphflow.loops.cost import Peak
from graphflow.plan import COPY, Plan, read, update, write
from graphflow.records import dataclass

__all__ = ["arithmetic_peak", "machine_peak"]

_TURNS = 1 << 18  # turns of the multiply-add loop: about a millisecond
_COPIED = 64 << 20  # bytes, each way
_ROUNDS = 9
_WORTH_A_TEAM = 1e9  # operations that no plan would leave to one thread
_LLVM = {"f32": ("float", 4), "f64": ("double", 8)}

_known: dict[tuple[str, int], Peak] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _MultiplyAdds:
    """A kernel that only multiplies and adds, in as many chains as hide the latency of an addition."""

    symbol: str
    text: str
    flops: int  # per thread


def _multiply_adds(target: Target, dtype: str) -> _MultiplyAdds:
    scalar, size = _LLVM[dtype]
    lanes = target.lanes(size)
    chains = 10  # latency 4 or 5 times 2 units, and few enough for 16 registers
    vector = f"<{lanes} x {scalar}>"
    symbol = f"graphflow_peak_{dtype}"
    phis = [
        f"  %a{c} = phi {vector} [ splat ({scalar} {c + 1}.0), %entry ], [ %b{c}, %turn ]"
        for c in range(chains)
    ]
    if target.fma:
        work = [
            f"  %b{c} = call {vector} @llvm.fma.v{lanes}f{8 * size}({vector} %x, {vector} %a{c}, {vector} %y)"
            for c in range(chains)
        ]
    else:
        work = [
            line
            for c in range(chains)
            for line in (
                f"  %m{c} = fmul {vector} %x, %a{c}",
                f"  %b{c} = fadd {vector} %m{c}, %y",
            )
        ]
    sums = [f"  %s{c} = fadd {vector} %{'b0' if c == 1 else f's{c - 1}'}, %b{c}" for c in range(1, chains)]
    # Factor and addend come from memory, so that nothing can be known of them.
    text = "\n".join(
        (
            f"declare {vector} @llvm.fma.v{lanes}f{8 * size}({vector}, {vector}, {vector})",
            f"define void @{symbol}(ptr %args, i64 %part, i64 %parts) nounwind {{",
            "entry:",
            "  %p = load ptr, ptr %args",
            f"  %x = load {vector}, ptr %p, align {size}",
            f"  %py = getelementptr {scalar}, ptr %p, i64 {lanes}",
            f"  %y = load {vector}, ptr %py, align {size}",
            "  br label %turn",
            "turn:",
            "  %i = phi i64 [ 0, %entry ], [ %next, %turn ]",
            *phis,
            *work,
            "  %next = add i64 %i, 1",
            f"  %more = icmp ult i64 %next, {_TURNS}",
            "  br i1 %more, label %turn, label %exit",
            "exit:",
            *sums,
            "  %q0 = getelementptr ptr, ptr %args, i64 1",
            "  %q = load ptr, ptr %q0",
            "  %skip = mul i64 %part, 64",
            "  %mine = getelementptr i8, ptr %q, i64 %skip",
            f"  store {vector} %s{chains - 1}, ptr %mine, align {size}",
            "  ret void",
            "}",
            "",
        )
    )
    return _MultiplyAdds(symbol, text, 2 * chains * lanes * _TURNS)


def machine_peak(backend: Backend) -> Peak:
    """The best this machine does with the back end's threads; measured at the first call."""
    key = backend.target.key, backend.threads
    with _lock:
        found = _known.get(key)
        if found is None:
            flops = {dtype: arithmetic_peak(backend, dtype) for dtype in _LLVM}
            found = _known[key] = Peak(flops, _copying(backend))
        return found


def arithmetic_peak(backend: Backend, dtype: str) -> float:
    """Floating-point operations per second of multiply-adds in "f32" or "f64", measured now: some 10 milliseconds."""
    code = _multiply_adds(backend.target, dtype)
    builder = backend.builder("peak arithmetic")
    size = _LLVM[dtype][1]
    numbers = builder.constant(np.repeat(np.array([0.5, 1.0], f"f{size}"), backend.target.lanes(size)))
    result = builder.buffer((64 * builder.threads,), np.uint8)
    for turn in range(_ROUNDS):
        change = update(result) if turn else write(result)
        builder.launch(code, [read(numbers), change], parallel=True, flops=_WORTH_A_TEAM, name=str(turn))
    builder.fetch(result)
    return builder.threads * code.flops / _best(builder.build(), [])


def _copying(backend: Backend) -> float:
    builder = backend.builder("peak copy")
    source = builder.feed((_COPIED,), np.uint8)
    target = builder.buffer((_COPIED,), np.uint8)
    # The first time finds the pages of the target; only the later ones are copies and nothing else.
    for turn in range(_ROUNDS):
        change = update(target) if turn else write(target)
        builder.launch(COPY, [change, read(source), _COPIED], parallel=True, name=str(turn))
    return 2 * _COPIED / _best(builder.build(), [np.ones(_COPIED, np.uint8)])


def _best(plan: Plan, feeds: list[np.ndarray[Any, np.dtype[Any]]]) -> float:
    """Seconds of the shortest launch of a plan."""
    spans: dict[str, tuple[float, float]] = {}
    for event in plan.run_traced(feeds)[1]:
        start, stop = spans.get(event.name, (event.start_us, 0.0))
        spans[event.name] = min(start, event.start_us), max(stop, event.start_us + event.duration_us)
    return 1e-6 * min(stop - start for start, stop in spans.values())
