"""Nodes with a loop nest of their own: running sums, sums of rows by index, random numbers.

An op asks for one with `op(..., lowering="cumsum")`; the table at the end maps the tag to its rule. A rule returns None
where there is no such nest (an odd dtype, sizes only known in the run); the node then runs as its NumPy body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphflow.loops import ir
from graphflow.loops.build import Builder
from graphflow.lowering.forms import rule_attrs
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.program import SPECIALIZED, Node, Value

COLUMN_TURN = 64  # columns that one turn of a parallel loop does
BLOCK_TURN = 1024  # blocks of random words that one turn makes
_PARALLEL_FROM = 4096
_MASK64 = (1 << 64) - 1

# What a nest is called with, per parameter: a value to read, the node's result, a number, a table, or the node itself
# for its random counters.
NestArgument = Value | int | np.ndarray[Any, Any] | Node


@dataclass(frozen=True, slots=True)
class Nest:
    """A kernel and what it is called with.

    Attributes:
      kernel: the loops.
      arguments: one per parameter.
      parallel: whether turns may be shared among threads.
      flops: a rough count.
      copied: the value that the result holds before the kernel changes it.
    """

    kernel: ir.Kernel
    arguments: tuple[NestArgument, ...]
    parallel: bool
    flops: float
    copied: Value | None = None


class _Writer:
    """A kernel being written, with its arguments."""

    def __init__(self, name: str) -> None:
        self.b = Builder(name)
        self.arguments: list[NestArgument] = []
        self._sizes: dict[int, ir.Expr] = {}

    def buffer(self, name: str, dtype: object, argument: NestArgument) -> ir.Buffer:
        self.arguments.append(argument)
        return self.b.buffer(name, dtype)

    def operand(self, name: str, value: Value) -> ir.Buffer:
        return self.buffer(name, value.dtype.name, value)

    def size(self, size: Size) -> ir.Expr:
        """A size: a constant, or a parameter where it depends on the feeds."""
        if not size.dynamic:
            return self.b.const(size.value, "i64")
        if size.value not in self._sizes:
            self._sizes[size.value] = self.b.int_param("n")
            self.arguments.append(size.value)
        return self._sizes[size.value]

    def nest(self, parallel: bool, flops: float, copied: Value | None = None) -> Nest:
        return Nest(self.b.kernel(), tuple(self.arguments), parallel, flops, copied)


def _product(sizes: tuple[Size, ...]) -> Size:
    total = Size(1)
    for size in sizes:
        total = total.times(size)
    return total


# -- running folds ---------------------------------------------------------------------------------------------


def _running(node: Node, op: str) -> Nest | None:
    x = node.inputs[0]
    axis = node.inputs[1].constant
    sizes = value_sizes(x)
    if axis is None or not sizes:
        return None
    at = int(axis) % len(sizes)
    outer, length, inner = _product(sizes[:at]), sizes[at], _product(sizes[at + 1 :])
    exclusive, reverse = node.attrs["exclusive"], node.attrs["reverse"]
    w = _Writer("running")
    b = w.b
    source, target = w.operand("x", x), w.operand("y", node.outputs[0])
    dtype = ir.dtype_name(x.dtype.name)
    points = outer.value * length.value * inner.value
    parallel = points > _PARALLEL_FROM or any(size.dynamic for size in sizes)
    count, columns = w.size(length), w.size(inner)

    def walk(place: ir.Expr) -> None:
        total = b.carry("total", b.const(0 if op == "add" else 1, dtype), op)
        with b.loop("c", 0, count, "serial", [total]) as c:
            step = b.sub(b.sub(count, 1), c) if reverse else c
            index = b.add(place, b.mul(step, columns))
            value = b.load(source, index)
            if exclusive:
                value = b.let("v", value)
                b.store(target, index, b.expr(total, dtype))
                b.update(total, value)
            else:
                b.update(total, value)
                b.store(target, index, b.expr(total, dtype))

    with b.loop("r", 0, w.size(outer), "parallel" if parallel else "serial") as r:
        base = b.let("base", b.mul(r, b.mul(count, columns)))
        if inner.value == 1 and not inner.dynamic:
            walk(base)
        else:
            with b.loop("j", 0, columns, "vector") as j:
                walk(b.add(base, j))
    return w.nest(parallel, float(points))


def cumsum(node: Node) -> Nest | None:
    """`Cumsum(x, axis, exclusive=, reverse=)`."""
    return _running(node, "add")


def cumprod(node: Node) -> Nest | None:
    """`Cumprod(x, axis, exclusive=, reverse=)`."""
    return _running(node, "mul")


# -- rows by index ------------------------------------------------------------------------------------------------


def _add_rows(node: Node, ids: Value, rows: Value, sign: str, copied: Value | None) -> Nest | None:
    """`result[ids[i]] += rows[i]`, row by row in this order whatever the number of threads: they share columns.

    Ids that name no row are left out; those that the body refuses are reported by a check of their own.
    """
    made = node.outputs[0]
    if made.dtype.name in ("float16", "bfloat16"):
        return None  # each sum would be rounded on its way through memory
    count, width = _product(value_sizes(ids)), _product(value_sizes(made)[1:])
    height = value_sizes(made)[0]
    w = _Writer("add_rows")
    b = w.b
    index, source, target = w.operand("ids", ids), w.operand("rows", rows), w.operand("y", made)
    dtype = ir.dtype_name(made.dtype.name)
    columns, last, limit = w.size(width), w.size(count), w.size(height)
    stretched = rows.sizes == ()
    turns = b.floordiv(b.add(columns, COLUMN_TURN - 1), b.const(COLUMN_TURN, "i64"))
    with b.loop("block", 0, turns, "parallel") as block:
        start = b.let("start", b.mul(block, b.const(COLUMN_TURN, "i64")))
        stop = b.let("stop", b.min(b.add(start, b.const(COLUMN_TURN, "i64")), columns))
        if copied is None:
            with b.loop("s", 0, limit) as s, b.loop("j", start, stop, "vector") as j:
                b.store(target, b.add(b.mul(s, columns), j), b.const(0, dtype))
        with b.loop("i", 0, last) as i:
            row = b.let("row", b.cast(b.load(index, i), "i64"))
            with b.where(b.and_(b.ge(row, 0), b.lt(row, limit))):
                with b.loop("j", start, stop, "vector") as j:
                    at = b.add(b.mul(row, columns), j)
                    value = b.load(source, 0 if stretched else b.add(b.mul(i, columns), j))
                    b.store(target, at, b.apply(sign, b.load(target, at), value))
    return w.nest(True, float(count.value * width.value), copied)


def segment_sum(node: Node) -> Nest | None:
    """`UnsortedSegmentSum(data, segment_ids, num_segments)`."""
    data, ids, count = node.inputs
    return None if count.constant is None else _add_rows(node, ids, data, "add", None)


def scatter_add(node: Node) -> Nest | None:
    """`ResourceScatterAdd(state, indices, updates)`."""
    return _scattered(node, "add")


def scatter_sub(node: Node) -> Nest | None:
    """`ResourceScatterSub(state, indices, updates)`."""
    return _scattered(node, "sub")


def _scattered(node: Node, sign: str) -> Nest | None:
    state, indices, updates = node.inputs
    full = (*(indices.sizes or ()), *(state.sizes or ())[1:])
    if updates.sizes not in ((), full):
        return None
    return _add_rows(node, indices, updates, sign, state)


# -- random numbers ---------------------------------------------------------------------------------------------------

# Words per node that the session hands out: the key, and the lower and upper half of the counter.
SEED_WORDS = 3
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def seed_words(key: tuple[int, int], counter: int) -> tuple[int, int, int]:
    """Returns what a random kernel reads of the two seeds and the number of its first sample."""
    return key[0] & _MASK64, counter & _MASK64, ((key[1] & _MASK64) + (counter >> 64)) & _MASK64


Words = tuple[ir.Expr, ...]


def random(node: Node) -> Nest | None:
    """An op with a `draw` rule: each sample of Philox 4x32-10 gives so many numbers."""
    rule = node.op_def.draw_rule
    if rule is None or any(value.constant is None for value in node.inputs[1:]):
        return None
    if any(SPECIALIZED in value.node.attrs for value in node.inputs[1:]):
        return None
    constants = [value.constant.item() for value in node.inputs[1:] if value.constant is not None]
    attrs = rule_attrs(rule, node)
    made = node.outputs[0]
    w = _Writer("random")
    b = w.b
    trial = rule(
        b,
        tuple(b.var(f"w{i}", "u32") for i in range(4)),
        lambda t, i: b.const(0, t.dtype),
        *constants,
        **attrs,
    )
    if trial is None:
        return None
    per_sample = len(trial)
    seeds, target = w.buffer("seeds", "u64", node), w.operand("y", made)
    tables: dict[int, ir.Buffer] = {}

    def table(values: np.ndarray[Any, Any], index: ir.Expr) -> ir.Expr:
        if id(values) not in tables:
            tables[id(values)] = w.buffer("table", values.dtype, values)
        return b.load(tables[id(values)], b.cast(index, "i64"))

    size = _product(value_sizes(made))
    total = w.size(size)
    group = b.const(per_sample, "i64")
    whole, samples = b.floordiv(total, group), b.floordiv(b.add(total, per_sample - 1), group)
    turns = b.floordiv(b.add(samples, BLOCK_TURN - 1), b.const(BLOCK_TURN, "i64"))
    with b.loop("turn", 0, turns, "parallel") as turn:
        key = b.let("key", b.load(seeds, 0))
        low, high = b.let("low", b.load(seeds, 1)), b.let("high", b.load(seeds, 2))
        halves = [b.cast(key, "u32"), b.cast(b.shr(key, b.const(32, "u64")), "u32")]
        keys = [
            [
                b.let("k", b.add(k, b.const(step * i & 0xFFFFFFFF, "u32")))
                for k, step in zip(halves, _WEYL, strict=True)
            ]
            for i in range(_ROUNDS)
        ]
        start = b.let("start", b.mul(turn, b.const(BLOCK_TURN, "i64")))
        stop = b.let("stop", b.min(b.add(start, b.const(BLOCK_TURN, "i64")), samples))

        def numbers(sample: ir.Expr) -> list[ir.Expr]:
            made = rule(b, _philox(b, sample, low, high, keys), table, *constants, **attrs)
            return [b.let("v", number) for number in made]

        with b.loop("s", start, b.min(stop, whole), "vector") as s:
            for number, value in enumerate(numbers(s)):
                b.store(target, b.add(b.mul(s, group), number), value)
        with b.loop("s", b.max(start, whole), stop) as s:
            for number, value in enumerate(numbers(s)):
                at = b.add(b.mul(s, group), number)
                with b.where(b.lt(at, total)):
                    b.store(target, at, value)
    return w.nest(True, 30.0 * size.value)


def _philox(b: Builder, sample: ir.Expr, low: ir.Expr, high: ir.Expr, keys: list[list[ir.Expr]]) -> Words:
    """The four words of a sample."""
    at = b.add(b.cast(sample, "u64"), low)
    top = b.add(high, b.cast(b.lt(at, low), "u64"))
    half = b.const(32, "u64")
    c0, c1 = b.let("c", b.cast(at, "u32")), b.let("c", b.cast(b.shr(at, half), "u32"))
    c2, c3 = b.let("c", b.cast(top, "u32")), b.let("c", b.cast(b.shr(top, half), "u32"))
    for k0, k1 in keys:
        # One wide product gives both halves.
        first, second = (
            b.let("p", b.mul(b.cast(c, "u64"), b.const(m, "u64")))
            for c, m in zip((c0, c2), _MULTIPLIERS, strict=True)
        )
        c0, c1, c2, c3 = (
            b.let("c", b.xor(b.xor(b.cast(b.shr(second, half), "u32"), c1), k0)),
            b.let("c", b.cast(second, "u32")),
            b.let("c", b.xor(b.xor(b.cast(b.shr(first, half), "u32"), c3), k1)),
            b.let("c", b.cast(first, "u32")),
        )
    return c0, c1, c2, c3


NESTS: dict[str, Callable[[Node], Nest | None]] = {
    "cumsum": cumsum,
    "cumprod": cumprod,
    "segment_sum": segment_sum,
    "scatter_add": scatter_add,
    "scatter_sub": scatter_sub,
    "random": random,
}


def nest_of(node: Node) -> Nest | None:
    """Returns the loop nest of a node, or None if it has none."""
    rule = NESTS.get(node.op_def.lowering)
    if rule is None or any(0 in (value.sizes or ()) for value in (*node.inputs[1:], *node.outputs)):
        return None
    return rule(node)
