"""The kernels that look whether the elements of an operand lie within bounds, and whether they rise."""

from __future__ import annotations

import functools

from graphflow.loops import ir
from graphflow.loops.build import Builder

_TURN = 4096  # elements that one turn looks at


@functools.cache
def bounds_kernel(dtype: str) -> ir.Kernel:
    """Returns the kernel (values, status, count, low, high) that sets the word if a value is not in [low, high)."""
    return _check("bounds", dtype, False)


@functools.cache
def order_kernel(dtype: str) -> ir.Kernel:
    """Returns the kernel that sets the word also if a value is less than the one before it."""
    return _check("order", dtype, True)


@functools.cache
def component_kernel(dtype: str) -> ir.Kernel:
    """Returns the kernel that looks at every `step`-th value, from `start` on, as `bounds_kernel` at all of them."""
    b = Builder("component")
    values, status = b.buffer("x", dtype), b.buffer("status", "i64")
    count, low, high = b.int_param("count"), b.int_param("low"), b.int_param("high")
    start, step = b.int_param("start"), b.int_param("step")
    outside = b.carry("outside", b.const(0, "i64"), "max")
    with b.loop("i", 0, count, "serial", [outside]) as i:
        value = b.cast(b.load(values, b.add(start, b.mul(i, step))), "i64")
        b.update(outside, b.cast(b.or_(b.lt(value, low), b.ge(value, high)), "i64"))
    with b.where(b.ne(outside, 0)):
        b.store(status, 0, 1)
    return b.kernel()


def _check(name: str, dtype: str, in_order: bool) -> ir.Kernel:
    b = Builder(name)
    values, status = b.buffer("x", dtype), b.buffer("status", "i64")
    count, low, high = b.int_param("count"), b.int_param("low"), b.int_param("high")
    turns = b.floordiv(b.add(count, _TURN - 1), b.const(_TURN, "i64"))
    with b.loop("turn", 0, turns, "parallel") as turn:
        start = b.let("start", b.mul(turn, b.const(_TURN, "i64")))
        stop = b.let("stop", b.min(b.add(start, b.const(_TURN, "i64")), count))
        outside = b.carry("outside", b.const(0, "i64"), "max")
        with b.loop("i", start, stop, "vector", [outside]) as i:
            value = b.cast(b.load(values, i), "i64")
            bad = b.or_(b.lt(value, low), b.ge(value, high))
            if in_order:
                before = b.cast(b.load(values, b.max(b.sub(i, 1), 0)), "i64")
                bad = b.or_(bad, b.lt(value, before))
            b.update(outside, b.cast(bad, "i64"))
        with b.where(b.ne(outside, 0)):
            b.store(status, 0, 1)
    return b.kernel()
