"""Nodes with a loop nest of their own: running sums, sums of rows by index, random numbers.

An op asks for one with `op(..., lowering="cumsum")`; the table at the end maps the tag to its rule. A rule returns None
where there is no such nest (an odd dtype, sizes only known in the run); the node then runs as its NumPy body.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from graphflow.dtypes import DType
from graphflow.loops import ir
from graphflow.loops.build import Builder
from graphflow.lowering.forms import rule_attrs
from graphflow.lowering.kernels import Body, Leaf, leaf_name
from graphflow.lowering.sizes import Size, SizeOf, value_sizes
from graphflow.program import SPECIALIZED, Node, Value
from graphflow.records import dataclass

BLOCK_TURN = 1024  # blocks of random words that one turn makes
_PARALLEL_FROM = 4096
_MASK64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Scratch:
    """Memory for int64s that the first kernel to name it writes and later ones read."""

    elements: int


# What a nest is called with, per parameter: a value to read, the node's result, a number, a table, memory between two
# kernels, or the node itself for its random counters.
NestArgument = Value | int | np.ndarray[Any, Any] | Scratch | Node


@dataclass(frozen=True, slots=True)
class Nest:
    """A kernel and what it is called with.

    Attributes:
      kernel: the loops.
      arguments: one per parameter.
      parallel: whether turns may be shared among threads.
      flops: a rough count.
      copied: the value that the result holds before the kernel changes it.
      before: what runs first. Then the kernel changes the result, instead of making all of it.
    """

    kernel: ir.Kernel
    arguments: tuple[NestArgument, ...]
    parallel: bool
    flops: float
    copied: Value | None = None
    before: tuple[Nest, ...] = ()


Rule: TypeAlias = Callable[[Node, Body | None], Nest | None]


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
    parallel = any(size.dynamic for size in sizes) or points > _PARALLEL_FROM
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
    return w.nest(parallel, 1.0 * points)


def cumsum(node: Node, body: Body | None) -> Nest | None:
    """`Cumsum(x, axis, exclusive=, reverse=)`."""
    return _running(node, "add")


def cumprod(node: Node, body: Body | None) -> Nest | None:
    """`Cumprod(x, axis, exclusive=, reverse=)`."""
    return _running(node, "mul")


# -- moments of shares ----------------------------------------------------------------------------------------

_MOST_COLUMNS = 4096  # sums of so many are a part of the cache that is next to a core


def share_moments(node: Node, body: Body | None) -> Nest | None:
    """`GraphflowShareMoments(x, rows=)`: a share is so small that its second reading finds it in the cache."""
    (x,), (means, squares, weights) = node.inputs, node.outputs
    rows, columns = value_sizes(x)
    if columns.dynamic or columns.value > _MOST_COLUMNS:
        return None
    w = _Writer("share_moments")
    b = w.b
    dtype = ir.dtype_name(x.dtype.name)
    source, mean, square = w.operand("x", x), w.operand("m", means), w.operand("q", squares)
    weight = w.operand("w", weights)
    width, step, count = b.const(columns.value, "i64"), b.const(node.attrs["rows"], "i64"), w.size(rows)
    shares = b.floordiv(b.add(count, b.sub(step, 1)), step)
    with b.loop("share", 0, shares, "parallel") as share:
        own = {name: b.local(name, dtype, columns.value) for name in ("means", "squares")}
        start = b.let("start", b.mul(share, step))
        stop = b.let("stop", b.min(b.add(start, step), count))
        many = b.let("many", b.cast(b.sub(stop, start), dtype))
        base, total = b.let("base", b.mul(share, width)), b.let("total", b.cast(count, dtype))
        b.store(weight, share, b.div(many, total))

        def fold(name: str, of: Callable[[ir.Expr, ir.Expr], ir.Expr]) -> None:
            with b.loop("c", 0, width, "vector") as c:
                b.store(own[name], c, 0.0)
            with b.loop("r", start, stop) as r:
                line = b.let("line", b.mul(r, width))
                with b.loop("c", 0, width, "vector") as c:
                    value = of(b.load(source, b.add(line, c)), c)
                    b.store(own[name], c, b.add(b.load(own[name], c), value))

        def off(value: ir.Expr, c: ir.Expr) -> ir.Expr:
            return b.square(b.sub(value, b.load(own["means"], c)))

        fold("means", lambda value, c: value)
        with b.loop("c", 0, width, "vector") as c:
            made = b.let("mean", b.div(b.load(own["means"], c), many))
            b.store(own["means"], c, made)
            b.store(mean, b.add(base, c), made)
        fold("squares", off)
        with b.loop("c", 0, width, "vector") as c:
            b.store(square, b.add(base, c), b.div(b.load(own["squares"], c), total))
    return w.nest(True, 4.0 * rows.value * columns.value)


# -- rows by index ------------------------------------------------------------------------------------------------


class _Elements:
    """A body's elements as rows of columns: what depends on the row alone is computed once per row."""

    def __init__(self, w: _Writer, body: Body, lead: int) -> None:
        self.w = w
        self.root = body.results[0].expr
        self.places: dict[str, tuple[ir.Buffer | None, Leaf, Size, Size]] = {}
        for name, leaf in body.leaves.items():
            across = collapsed(body.space[:lead], leaf.strides[:lead])
            along = collapsed(body.space[lead:], leaf.strides[lead:])
            assert across is not None and along is not None
            buffer = None if leaf.value is None else w.operand(name, leaf.value)
            self.places[name] = (buffer, leaf, across, along)
        self.order = _post_order(self.root)
        self.by_column: set[int] = set()
        for expr in self.order:
            read = leaf_name(expr, body)
            if read is not None and self.places[read][3].value:
                self.by_column.add(id(expr))
            elif any(id(child) in self.by_column for child in ir.children(expr)):
                self.by_column.add(id(expr))

    def of_row(self, row: ir.Expr) -> Callable[[ir.Expr], ir.Expr]:
        """Computes what the row decides; returns what gives the element of a column."""
        needed: list[ir.Expr] = []  # outermost expressions of the row
        stack, seen = [self.root], set()
        while stack:
            expr = stack.pop()
            if id(expr) in seen:
                continue
            seen.add(id(expr))
            if id(expr) in self.by_column:
                stack.extend(ir.children(expr))
            else:
                needed.append(expr)
        known: dict[int, ir.Expr] = {}
        zero = self.w.b.const(0, "i64")
        for expr in needed:
            self._write(expr, row, zero, known)
            if not isinstance(expr, ir.Const):
                known[id(expr)] = self.w.b.let("row", known[id(expr)])
        return lambda column: self._write(self.root, row, column, dict(known))

    def far(self, row: ir.Expr, columns: list[ir.Expr]) -> list[tuple[ir.Buffer, ir.Expr]]:
        """Where a row's elements in some columns lie in far tables, at places that are looked up."""
        found: list[tuple[ir.Buffer, ir.Expr]] = []
        for expr in self.order:
            if (
                not isinstance(expr, ir.Load)
                or id(expr) not in self.by_column
                or id(expr.index) in self.by_column
            ):
                continue
            buffer, leaf, _, _ = self.places[expr.buffer]
            if buffer is None or leaf.value is None or not _is_far(leaf.value):
                continue
            start = self._write(expr.index, row, self.w.b.const(0, "i64"), {})
            start = self.w.b.let("later", start)
            for column in columns:
                read = self._element(expr.buffer, row, column, start)
                assert isinstance(read, ir.Load)
                found.append((buffer, read.index))
        return found

    def _write(self, root: ir.Expr, row: ir.Expr, column: ir.Expr, memo: dict[int, ir.Expr]) -> ir.Expr:
        for expr in _post_order(root):
            if id(expr) not in memo:
                memo[id(expr)] = self._one(expr, row, column, memo)
        return memo[id(root)]

    def _one(self, expr: ir.Expr, row: ir.Expr, column: ir.Expr, memo: dict[int, ir.Expr]) -> ir.Expr:
        if isinstance(expr, ir.Var) and expr.name in self.places:
            return self._element(expr.name, row, column, None)
        if isinstance(expr, ir.Load):
            return self._element(expr.buffer, row, column, memo[id(expr.index)])
        if isinstance(expr, SizeOf):
            return self.w.size(expr.size)
        if isinstance(expr, ir.Op):
            return ir.Op(expr.name, tuple(memo[id(arg)] for arg in expr.args), expr.dtype)
        return expr

    def _element(self, name: str, row: ir.Expr, column: ir.Expr, more: ir.Expr | None) -> ir.Expr:
        b = self.w.b
        buffer, leaf, across, along = self.places[name]
        at: ir.Expr = self.w.size(leaf.offset) if more is None else b.add(more, self.w.size(leaf.offset))
        for variable, stride in ((row, across), (column, along)):
            if stride.value:
                at = b.add(at, variable if stride.value == 1 else b.mul(variable, self.w.size(stride)))
        return at if buffer is None else b.load(buffer, at)


def _post_order(root: ir.Expr) -> list[ir.Expr]:
    """All expressions below one, each after its parts."""
    seen: set[int] = set()
    order: list[ir.Expr] = []
    stack: list[tuple[ir.Expr, bool]] = [(root, False)]
    while stack:
        expr, ready = stack.pop()
        if ready:
            order.append(expr)
        elif id(expr) not in seen:
            seen.add(id(expr))
            stack.append((expr, True))
            stack.extend((child, False) for child in ir.children(expr))
    return order


def collapsed(extents: tuple[Size, ...], strides: tuple[Size, ...]) -> Size | None:
    """Returns the stride of several axes walked as one, or None where they have none in common."""
    found: tuple[Size, int] | None = None  # the stride so far, and what it would be one axis further out
    for extent, stride in zip(reversed(extents), reversed(strides), strict=True):
        if extent.value == 1 and not extent.dynamic:
            continue
        if found is None:
            found = stride, stride.value * extent.value
        elif stride.value == found[1]:
            found = found[0], stride.value * extent.value
        else:
            return None
    return Size(0) if found is None else found[0]


_FAR_BYTES = 256 * 1024
"""Tables of so many bytes do not stay in the second-level cache: their rows, in no order, are asked for ahead."""

_AHEAD = 16
"""Rows between the one that is asked for and the one that is worked on."""

_LINE_BYTES = 64
"""A line of the caches."""


def _is_far(value: Value) -> bool:
    sizes = value_sizes(value)
    elements = math.prod(size.value for size in sizes if not size.dynamic)
    return elements * value.dtype.size >= _FAR_BYTES


def _add_rows(
    node: Node,
    ids: Value,
    rows: Value,
    op: str,
    start_from: Any,
    copied: Value | None,
    body: Body | None,
) -> Nest | None:
    """`result[ids[i]] = op(result[ids[i]], rows[i])`, row by row in this order: threads share the columns.

    Ids that name no row are left out; those that the node refuses are reported by a check of their own.
    """
    made = node.outputs[0]
    if made.dtype.name in ("float16", "bfloat16"):
        return None  # each sum would be rounded on its way through memory
    count, width = _product(value_sizes(ids)), _product(value_sizes(made)[1:])
    height = value_sizes(made)[0]
    w = _Writer("add_rows")
    b = w.b
    index, target = w.operand("ids", ids), w.buffer("y", made.dtype.name, made)
    elements = None if body is None else _Elements(w, body, len(ids.sizes or ()))
    source = None if body is not None else w.operand("rows", rows)
    columns, last, limit = w.size(width), w.size(count), w.size(height)
    stretched = rows.sizes == ()
    # Two turns at least, where there are columns enough to fill vectors.
    turn = next((n for n in (64, 32, 16) if width.dynamic or width.value >= 2 * n), 16)
    even = not width.dynamic and width.value % turn == 0
    one = not width.dynamic and width.value <= turn  # then there is nothing to share among threads

    def ask_ahead(i: ir.Expr, first: ir.Expr) -> None:
        """Asks for the lines that a later row reads and writes where its id points."""
        later = b.min(b.add(i, _AHEAD), b.sub(last, 1))
        wanted: list[tuple[ir.Buffer, ir.Expr]] = []
        line = max(1, _LINE_BYTES // made.dtype.size)
        places = [b.add(first, place) for place in range(0, min(turn, width.value), line)]
        if _is_far(made):
            row = b.let("later", b.mul(b.cast(b.load(index, later), "i64"), columns))
            wanted += [(target, b.add(row, place)) for place in places]
        if elements is not None:
            wanted += elements.far(later, places)
        for buffer, at in wanted:
            b.prefetch(buffer, at)

    def rows_of(first: ir.Expr, size: ir.Expr) -> None:
        if start_from is not None and one:
            with b.loop("s", 0, b.mul(limit, columns), "vector") as s:
                b.store(target, s, b.const(start_from, target.dtype))
        elif start_from is not None:
            with b.loop("s", 0, limit) as s:
                base = b.let("base", b.add(b.mul(s, columns), first))
                with b.loop("j", 0, size, "vector") as j:
                    b.store(target, b.add(base, j), b.const(start_from, target.dtype))
        with b.loop("i", 0, last) as i:
            ask_ahead(i, first)
            row = b.let("row", b.cast(b.load(index, i), "i64"))
            with b.where(b.and_(b.ge(row, 0), b.lt(row, limit))):
                base = b.let("base", b.add(b.mul(row, columns), first))
                begin = b.const(0, "i64")
                if source is not None and not stretched:
                    begin = b.let("from", b.add(b.mul(i, columns), first))
                element = None if elements is None else elements.of_row(i)

                def put(j: ir.Expr) -> None:
                    if element is not None:
                        value = element(b.add(first, j))
                    else:
                        assert source is not None
                        value = b.load(source, begin if stretched else b.add(begin, j))
                    at = b.add(base, j)
                    b.store(target, at, value if op == "set" else b.apply(op, b.load(target, at), value))

                if width.value == 1 and one:
                    put(b.const(0, "i64"))
                else:
                    with b.loop("j", 0, size, "vector") as j:
                        put(j)

    if one:
        rows_of(b.const(0, "i64"), columns)
        return w.nest(False, 1.0 * count.value * width.value, copied)
    turns = b.floordiv(b.add(columns, turn - 1), b.const(turn, "i64"))
    with b.loop("block", 0, turns, "parallel") as block:
        first = b.let("first", b.mul(block, b.const(turn, "i64")))
        size: ir.Expr = b.const(turn, "i64")
        if not even:
            size = b.let("size", b.min(size, b.sub(columns, first)))
        rows_of(first, size)
    return w.nest(True, 1.0 * count.value * width.value, copied)


_LINKED_FROM = 8
"""Rows from which on it pays to find out first which of them meet."""


def _link_rows(
    node: Node,
    ids: Value,
    rows: Value,
    op: str,
    start_from: Any,
    copied: Value | None,
    body: Body | None,
) -> Nest | None:
    """As `_add_rows`, for what has thousands of threads.

    A first kernel links each row to the next one of the same id; then the first one of each id goes along its chain,
    column by column, so that every sum is taken in the same order as there, without waiting for other ids.
    """
    count, sizes = _product(value_sizes(ids)), value_sizes(node.outputs[0])
    if not _links_pay(node, count):
        return _add_rows(node, ids, rows, op, start_from, copied, body)
    return _linked(
        node,
        ids,
        rows,
        op,
        start_from,
        copied,
        body,
        count,
        sizes[0],
        _product(sizes[1:]),
        len(ids.sizes or ()),
    )


def _links_pay(node: Node, count: Size) -> bool:
    """Whether rows are many enough for links. Half floats would be rounded on the way, and stay with their bodies."""
    many = count.dynamic or count.value >= _LINKED_FROM
    return many and node.outputs[0].dtype.name not in ("float16", "bfloat16", "bool")


def _linked(
    node: Node,
    ids: Value | Scratch,
    rows: Value,
    op: str,
    start_from: Any,
    copied: Value | None,
    body: Body | None,
    count: Size,
    height: Size,
    width: Size,
    lead: int,
    first: tuple[Nest, ...] = (),
) -> Nest:
    """The kernels of `_link_rows`: `count` rows of `width` elements go to `height` ones, after what runs `first`."""
    made = node.outputs[0]
    many, following = Scratch(count.value), Scratch(count.value)
    before = [*first, _links(ids, count, height, many, following)]
    if start_from is not None:
        w = _Writer("start")
        target = w.buffer("y", made.dtype.name, made)
        with w.b.loop("s", 0, w.size(height.times(width)), "vector") as s:
            w.b.store(target, s, w.b.const(start_from, target.dtype))
        before.append(w.nest(True, 0.0))
    w = _Writer("add_rows")
    b = w.b
    index, target = _ids(w, ids), w.buffer("y", made.dtype.name, made)
    lengths, links = w.buffer("many", "int64", many), w.buffer("next", "int64", following)
    elements = None if body is None else _Elements(w, body, lead)
    source = None if body is not None else w.operand("rows", rows)
    columns = w.size(width)
    with b.loop("i", 0, w.size(count), "parallel") as i:
        length = b.let("length", b.load(lengths, i))
        with b.where(b.gt(length, 0)):
            base = b.let("base", b.mul(b.cast(b.load(index, i), "i64"), columns))
            with b.loop("j", 0, columns, "vector") as j:
                at = b.let("at", b.add(base, j))
                begin = b.load(target, at) if start_from is None else b.const(start_from, target.dtype)
                total, place = b.carry("total", begin, "set"), b.carry("place", i, "set")
                with b.loop("t", 0, length, "serial", [total, place]):
                    row = b.var(place.name, "i64")
                    if elements is not None:
                        value = elements.of_row(row)(j)
                    else:
                        assert source is not None
                        value = b.load(source, 0 if rows.sizes == () else b.add(b.mul(row, columns), j))
                    if op != "set":
                        value = b.apply(op, b.var(total.name, target.dtype), value)
                    b.update(total, value)
                    b.update(place, b.load(links, row))
                b.store(target, at, b.var(total.name, target.dtype))
    nest = w.nest(True, 1.0 * count.value * width.value, copied)
    return replace(nest, before=tuple(before))


def _ids(w: _Writer, ids: Value | Scratch) -> ir.Buffer:
    return w.buffer("ids", "int64", ids) if isinstance(ids, Scratch) else w.operand("ids", ids)


def _links(ids: Value | Scratch, count: Size, height: Size, many: Scratch, following: Scratch) -> Nest:
    """How many rows have the id of each, 0 unless it is the first of them; and which row is the next of them."""
    w = _Writer("links")
    b = w.b
    index = _ids(w, ids)
    lengths, links = w.buffer("many", "int64", many), w.buffer("next", "int64", following)
    last, limit = w.size(count), w.size(height)
    with b.loop("i", 0, last, "parallel") as i:
        row = b.let("row", b.cast(b.load(index, i), "i64"))
        alike, earlier = (
            b.carry("alike", b.const(0, "i64"), "add"),
            b.carry("earlier", b.const(0, "i64"), "max"),
        )
        later = b.carry("later", last, "min")
        with b.loop("t", 0, last, "vector", [alike, earlier, later]) as t:
            meets = b.let("meets", b.eq(b.cast(b.load(index, t), "i64"), row))
            b.update(alike, b.select(meets, b.const(1, "i64"), b.const(0, "i64")))
            sooner = b.and_(meets, b.lt(t, i))
            b.update(earlier, b.select(sooner, b.const(1, "i64"), b.const(0, "i64")))
            b.update(later, b.select(b.and_(meets, b.gt(t, i)), t, last))
        leads = b.and_(b.and_(b.ge(row, 0), b.lt(row, limit)), b.eq(b.var(earlier.name, "i64"), 0))
        b.store(lengths, i, b.select(leads, b.var(alike.name, "i64"), b.const(0, "i64")))
        b.store(links, i, b.var(later.name, "i64"))
    return w.nest(True, 4.0 * count.value * count.value)


# What an empty segment holds: for extremes the least and greatest finite numbers, as TensorFlow.
_STARTS: dict[str, Callable[[DType], Any]] = {
    "add": lambda dtype: 0,
    "mul": lambda dtype: 1,
    "max": lambda dtype: dtype.min,
    "min": lambda dtype: dtype.max,
}


def _segmented(op: str, by_id: Callable[..., Nest | None] = _add_rows) -> Rule:
    def rule(node: Node, body: Body | None) -> Nest | None:
        data, ids, count = node.inputs
        if count.constant is None:
            return None
        return by_id(node, ids, data, op, _STARTS[op](data.dtype), None, body)

    return rule


def _scattered(op: str, by_id: Callable[..., Nest | None] = _add_rows) -> Rule:
    def rule(node: Node, body: Body | None) -> Nest | None:
        state, indices, updates = node.inputs
        full = (*(indices.sizes or ()), *(state.sizes or ())[1:])
        if updates.sizes not in ((), full) or (op == "div" and not state.dtype.is_floating):
            return None
        return by_id(node, indices, updates, op, None, state, body)

    return rule


def _add_slices(
    node: Node, indices: Value, slices: Value, op: str, start_from: Any, copied: Value | None
) -> Nest | None:
    """`result[indices[i]] = op(result[indices[i]], slices[i])`, one after the other: threads share the columns.

    The last axis of `indices` holds index vectors; those that name nothing are left out, a check reports them.
    """
    made = node.outputs[0]
    sizes, depth = value_sizes(made), (indices.sizes or (0,))[-1]
    if made.dtype.name in ("float16", "bfloat16", "bool") or not 0 < depth <= len(sizes):
        return None
    count, width = _product(value_sizes(indices)[:-1]), _product(sizes[depth:])
    w = _Writer("add_slices")
    b = w.b
    index, source = w.operand("indices", indices), w.operand("slices", slices)
    target = w.buffer("y", made.dtype.name, made)
    columns, last, whole = w.size(width), w.size(count), w.size(_product(sizes[:depth]))
    limits = [w.size(size) for size in sizes[:depth]]
    turn = 64
    one = not width.dynamic and width.value <= turn  # then there is nothing to share among threads

    def columns_of(first: ir.Expr, size: ir.Expr) -> None:
        if start_from is not None:
            with b.loop("s", 0, whole) as s:
                base = b.let("base", b.add(b.mul(s, columns), first))
                with b.loop("j", 0, size, "vector") as j:
                    b.store(target, b.add(base, j), b.const(start_from, target.dtype))
        with b.loop("i", 0, last) as i:
            row, inside = _slice_of(b, index, i, limits)
            with b.where(inside):
                base = b.let("base", b.add(b.mul(row, columns), first))
                begin = b.let("from", b.add(b.mul(i, columns), first))
                with b.loop("j", 0, size, "vector") as j:
                    value, where = b.load(source, b.add(begin, j)), b.add(base, j)
                    b.store(
                        target, where, value if op == "set" else b.apply(op, b.load(target, where), value)
                    )

    flops = 1.0 * count.value * width.value
    if one:
        columns_of(b.const(0, "i64"), columns)
        return w.nest(False, flops, copied)
    turns = b.floordiv(b.add(columns, turn - 1), b.const(turn, "i64"))
    with b.loop("block", 0, turns, "parallel") as block:
        first = b.let("first", b.mul(block, b.const(turn, "i64")))
        columns_of(first, b.let("size", b.min(b.const(turn, "i64"), b.sub(columns, first))))
    return w.nest(True, flops, copied)


def _link_slices(
    node: Node, indices: Value, slices: Value, op: str, start_from: Any, copied: Value | None
) -> Nest | None:
    """As `_add_slices`, for what has thousands of threads: index vectors become numbers of slices, then see there."""
    sizes, depth = value_sizes(node.outputs[0]), (indices.sizes or (0,))[-1]
    count = _product(value_sizes(indices)[:-1])
    if not _links_pay(node, count) or not 0 < depth <= len(sizes):
        return _add_slices(node, indices, slices, op, start_from, copied)
    numbers = Scratch(count.value)
    w = _Writer("numbers")
    b = w.b
    index, target = w.operand("indices", indices), w.buffer("ids", "int64", numbers)
    limits = [w.size(size) for size in sizes[:depth]]
    with b.loop("i", 0, w.size(count), "parallel") as i:
        row, inside = _slice_of(b, index, i, limits)
        b.store(target, i, b.select(inside, row, b.const(-1, "i64")))
    height, width = _product(sizes[:depth]), _product(sizes[depth:])
    first = (w.nest(True, 1.0 * count.value * depth),)
    return _linked(node, numbers, slices, op, start_from, copied, None, count, height, width, 1, first)


def _slice_of(b: Builder, index: ir.Buffer, i: ir.Expr, limits: list[ir.Expr]) -> tuple[ir.Expr, ir.Expr]:
    """The number of the slice that an index vector names, and whether there is one."""
    row: ir.Expr = b.const(0, "i64")
    inside: ir.Expr = b.const(True, "i1")
    for place, limit in enumerate(limits):
        at = b.add(b.mul(i, b.const(len(limits), "i64")), place)
        part = b.let("part", b.cast(b.load(index, at), "i64"))
        inside = b.and_(inside, b.and_(b.ge(part, 0), b.lt(part, limit)))
        row = part if place == 0 else b.add(b.mul(row, limit), part)
    return row, inside


def _scatter_nd(by_id: Callable[..., Nest | None]) -> Rule:
    """`ScatterNd(indices, updates, shape)`."""

    def rule(node: Node, body: Body | None) -> Nest | None:
        indices, updates, _ = node.inputs
        return by_id(node, indices, updates, "add", 0, None)

    return rule


def _scattered_slices(op: str, by_id: Callable[..., Nest | None] = _add_slices) -> Rule:
    """`TensorScatter...(tensor, indices, updates)`, and the same of a variable."""

    def rule(node: Node, body: Body | None) -> Nest | None:
        state, indices, updates = node.inputs
        return by_id(node, indices, updates, op, None, state)

    return rule


# -- the greatest of rows ---------------------------------------------------------------------------------------

_MOST_KEPT = 64  # more are found sooner by sorting


def top_k(node: Node, body: Body | None) -> Nest | None:
    """`TopK(input, k=)` and `TopKV2(input, k)`: each element is put among the greatest so far, which stay in order."""
    x, (values, places) = node.inputs[0], node.outputs
    kept, sizes = (values.sizes or (0,))[-1], value_sizes(x)
    if x.dtype.name in ("float16", "bfloat16") or not 0 < kept <= _MOST_KEPT:
        return None
    w = _Writer("top_k")
    b = w.b
    source, best, where = w.operand("x", x), w.operand("y", values), w.operand("i", places)
    count, most = w.size(sizes[-1]), w.size(value_sizes(values)[-1])
    one = b.const(1, "i64")

    def greater(a: ir.Expr, c: ir.Expr) -> ir.Expr:
        found = b.gt(a, c)
        # As in a sort, NaN is above all numbers.
        return b.or_(found, b.and_(b.isnan(a), b.not_(b.isnan(c)))) if ir.is_float(a.dtype) else found

    with b.loop("r", 0, w.size(_product(sizes[:-1])), "parallel") as r:
        row, base = b.let("row", b.mul(r, count)), b.let("base", b.mul(r, most))
        with b.loop("n", 0, count) as n:
            value = b.let("v", b.load(source, b.add(row, n)))

            def above(place: ir.Expr, value: ir.Expr = value, n: ir.Expr = n) -> ir.Expr:
                """Whether the value comes before what stands at a place, which may be nothing yet."""
                return b.or_(b.ge(place, n), greater(value, b.load(best, b.add(base, place))))

            with b.where(above(b.sub(most, one))), b.loop("c", 0, most) as c:
                place = b.let("p", b.sub(b.sub(most, one), c))
                before = b.let("q", b.max(b.sub(place, one), 0))
                moves = b.let("m", b.and_(b.gt(place, 0), above(before)))
                comes = b.let("e", above(place))
                with b.where(b.and_(comes, moves)):
                    b.store(best, b.add(base, place), b.load(best, b.add(base, before)))
                    b.store(where, b.add(base, place), b.load(where, b.add(base, before)))
                with b.where(b.and_(comes, b.not_(moves))):
                    b.store(best, b.add(base, place), value)
                    b.store(where, b.add(base, place), b.cast(n, where.dtype))
    return w.nest(True, 4.0 * _product(sizes).value)


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


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A kernel that draws: what a sample gives, and where results go."""

    w: _Writer
    per_sample: int
    seeds: Callable[[], tuple[ir.Expr, ir.Expr, ir.Expr]]  # key, lower and upper half of the counter
    target: ir.Buffer
    of: Callable[[Words], list[ir.Expr]]

    def begin(self) -> Callable[[ir.Expr], list[ir.Expr]]:
        """Reads the seeds; gives what makes the numbers of a sample."""
        b = self.w.b
        key, low, high = (
            b.let(name, word) for name, word in zip(("key", "low", "high"), self.seeds(), strict=True)
        )
        keys = _round_keys(b, key)
        return lambda sample: [b.let("v", v) for v in self.of(_philox(b, sample, low, high, keys))]


def _round_keys(b: Builder, key: ir.Expr) -> list[list[ir.Expr]]:
    halves = [b.cast(key, "u32"), b.cast(b.shr(key, b.const(32, "u64")), "u32")]
    return [
        [
            b.let("k", b.add(k, b.const(step * i & 0xFFFFFFFF, "u32")))
            for k, step in zip(halves, _WEYL, strict=True)
        ]
        for i in range(_ROUNDS)
    ]


_SCRAMBLE = 0x3EC8F720 | 0x02461E29 << 32
_PHILOX = (1, 3)  # the generators that are this one: by its name, and the one that is chosen for us


_Seeds: TypeAlias = Callable[[], tuple[ir.Expr, ir.Expr, ir.Expr]]


def _seeds_of(w: _Writer, node: Node) -> _Seeds | None:
    """What reads the seeds: of the session, or of operands; None where the generator is not this one."""
    b = w.b
    operands = dict(zip((argument.name for argument in node.op_def.inputs), node.inputs, strict=True))
    if "seed" in operands:
        seed = w.operand("seed", operands["seed"])

        def scrambled() -> tuple[ir.Expr, ir.Expr, ir.Expr]:
            low, high = (b.let("seed", b.cast(b.cast(b.load(seed, i), "i64"), "u64")) for i in range(2))
            keys = _round_keys(b, b.const(_SCRAMBLE, "u64"))
            words = [b.cast(word, "u64") for word in _philox(b, b.const(0, "i64"), low, high, keys)]
            half = b.const(32, "u64")
            key, top = (b.or_(words[i], b.shl(words[i + 1], half)) for i in (0, 2))
            return key, b.const(0, "u64"), top

        return scrambled
    if "key" in operands:
        alg = operands["alg"].constant
        sizes = (operands["key"].sizes, operands["counter"].sizes)
        if alg is None or int(alg) not in _PHILOX or sizes != ((1,), (2,)):
            return None
        key, counter = w.operand("key", operands["key"]), w.operand("counter", operands["counter"])
        return lambda: (b.load(key, 0), b.load(counter, 0), b.load(counter, 1))
    seeds = w.buffer("seeds", "u64", node)
    return lambda: (b.load(seeds, 0), b.load(seeds, 1), b.load(seeds, 2))


_SEEDING = frozenset(("seed", "key", "counter", "alg"))


def _drawing(node: Node) -> _Drawing | None:
    """The kernel of an op with a `draw` rule, if that takes the node."""
    rule = node.op_def.draw_rule
    w = _Writer("random")
    b = w.b
    seeds = None if rule is None else _seeds_of(w, node)
    if rule is None or seeds is None:
        return None
    # The first operand is the shape, or what else decides it.
    named = zip(node.op_def.inputs, node.inputs, strict=True)
    limits = [value for argument, value in named if argument.name not in _SEEDING][1:]
    if any(value.constant is None or SPECIALIZED in value.node.attrs for value in limits):
        return None
    constants = [value.constant.item() for value in limits if value.constant is not None]
    attrs = rule_attrs(rule, node)
    blank = tuple(b.var(f"w{i}", "u32") for i in range(4))
    trial = rule(b, blank, lambda t, i: b.const(0, t.dtype), *constants, **attrs)
    if trial is None:
        return None
    target = w.operand("y", node.outputs[0])
    tables: dict[int, ir.Buffer] = {}

    def table(values: np.ndarray[Any, Any], index: ir.Expr) -> ir.Expr:
        if id(values) not in tables:
            tables[id(values)] = w.buffer("table", values.dtype, values)
        return b.load(tables[id(values)], b.cast(index, "i64"))

    return _Drawing(w, len(trial), seeds, target, lambda words: rule(b, words, table, *constants, **attrs))


def random(node: Node, body: Body | None) -> Nest | None:
    """An op with a `draw` rule: each sample of Philox 4x32-10 gives so many numbers."""
    drawing = _drawing(node)
    if drawing is None:
        return None
    w, b, made, target = drawing.w, drawing.w.b, node.outputs[0], drawing.target
    per_sample = drawing.per_sample
    size = _product(value_sizes(made))
    total = w.size(size)
    group = b.const(per_sample, "i64")
    whole, samples = b.floordiv(total, group), b.floordiv(b.add(total, per_sample - 1), group)
    turns = b.floordiv(b.add(samples, BLOCK_TURN - 1), b.const(BLOCK_TURN, "i64"))
    with b.loop("turn", 0, turns, "parallel") as turn:
        numbers = drawing.begin()
        start = b.let("start", b.mul(turn, b.const(BLOCK_TURN, "i64")))
        stop = b.let("stop", b.min(b.add(start, b.const(BLOCK_TURN, "i64")), samples))
        with b.loop("s", start, b.min(stop, whole), "vector") as s:
            for number, value in enumerate(numbers(s)):
                b.store(target, b.add(b.mul(s, group), number), value)
        with b.loop("s", b.max(start, whole), stop) as s:
            for number, value in enumerate(numbers(s)):
                at = b.add(b.mul(s, group), number)
                with b.where(b.lt(at, total)):
                    b.store(target, at, value)
    return w.nest(True, 30.0 * size.value)


_TRIES = 16


def truncated_normal(node: Node, body: Body | None) -> Nest | None:
    """`TruncatedNormal`: each group of numbers draws from samples of its own, until all of it lie near enough."""
    drawing = _drawing(node)
    if drawing is None:
        return None
    w, b, target = drawing.w, drawing.w.b, drawing.target
    group, size = b.const(drawing.per_sample, "i64"), _product(value_sizes(node.outputs[0]))
    total = w.size(size)
    groups = b.floordiv(b.add(total, drawing.per_sample - 1), group)
    turn_size = b.const(BLOCK_TURN // _TRIES, "i64")
    with b.loop("turn", 0, b.floordiv(b.add(groups, b.sub(turn_size, 1)), turn_size), "parallel") as turn:
        numbers = drawing.begin()
        filled = b.local("filled", "i64", 1)
        start = b.let("start", b.mul(turn, turn_size))
        with b.loop("g", start, b.min(b.add(start, turn_size), groups)) as g:
            # As many samples as the session reserves for a group; nearly always the first two are enough.
            first = b.let("first", b.mul(g, b.const(_TRIES * _TRIES, "i64")))
            b.store(filled, 0, 0)
            with b.loop("t", 0, _TRIES) as t, b.where(b.lt(b.load(filled, 0), group)):
                with b.loop("u", 0, _TRIES) as u, b.where(b.lt(b.load(filled, 0), group)):
                    for value in numbers(b.add(first, b.add(b.mul(t, b.const(_TRIES, "i64")), u))):
                        place = b.let("p", b.load(filled, 0))
                        with b.where(b.and_(b.lt(b.abs(value), 2.0), b.lt(place, group))):
                            at = b.let("at", b.add(b.mul(g, group), place))
                            with b.where(b.lt(at, total)):
                                b.store(target, at, b.cast(value, target.dtype))
                            b.store(filled, 0, b.add(place, 1))
    return w.nest(True, 60.0 * size.value)


_MOST_CLASSES = 4096  # sums of so many stay in the cache next to a core


def multinomial(node: Node, body: Body | None) -> Nest | None:
    """`Multinomial(logits, num_samples)` and the stateless one: each number is looked up among the sums of a row."""
    logits = node.inputs[0]
    rows, classes = value_sizes(logits)
    if classes.dynamic or classes.value > _MOST_CLASSES:
        return None
    drawing = _drawing(node)
    if drawing is None:
        return None
    w, b, target = drawing.w, drawing.w.b, drawing.target
    source, count = w.operand("logits", logits), w.size(value_sizes(node.outputs[0])[1])
    width, least = b.const(classes.value, "i64"), float(np.finfo(np.float64).min)
    with b.loop("r", 0, w.size(rows), "parallel") as r:
        numbers = drawing.begin()
        totals = b.local("totals", "f64", classes.value)
        base = b.let("base", b.mul(r, width))
        top = b.carry("top", b.const(least, "f64"), "max")
        with b.loop("c", 0, width, "serial", [top]) as c:
            value = b.let("v", b.cast(b.load(source, b.add(base, c)), "f64"))
            b.update(top, b.select(b.isfinite(value), value, least))
        greatest = b.let("greatest", b.expr(top, "f64"))
        total = b.carry("total", b.const(0.0, "f64"), "add")
        with b.loop("c", 0, width, "serial", [total]) as c:
            value = b.let("v", b.cast(b.load(source, b.add(base, c)), "f64"))
            b.update(total, b.select(b.isfinite(value), b.exp(b.sub(value, greatest)), 0.0))
            b.store(totals, c, b.expr(total, "f64"))
        whole = b.let("whole", b.load(totals, classes.value - 1))
        with b.loop("j", 0, count) as j:
            number = b.let("n", b.add(b.mul(r, count), j))
            two = b.const(drawing.per_sample, "i64")
            first, second = numbers(b.floordiv(number, two))
            limit = b.let("limit", b.mul(b.select(b.eq(b.floormod(number, two), 0), first, second), whole))
            found = b.carry("found", b.const(0, "i64"), "add")
            with b.loop("c", 0, width, "serial", [found]) as c:
                b.update(found, b.cast(b.le(b.load(totals, c), limit), "i64"))
            b.store(target, number, b.cast(b.expr(found, "i64"), target.dtype))
    return w.nest(True, 30.0 * rows.value * classes.value)


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


NESTS: dict[str, Rule] = {
    "share_moments": share_moments,
    "cumsum": cumsum,
    "cumprod": cumprod,
    "segment_sum": _segmented("add"),
    "segment_prod": _segmented("mul"),
    "segment_max": _segmented("max"),
    "segment_min": _segmented("min"),
    "scatter_add": _scattered("add"),
    "scatter_sub": _scattered("sub"),
    "scatter_mul": _scattered("mul"),
    "scatter_div": _scattered("div"),
    "scatter_max": _scattered("max"),
    "scatter_min": _scattered("min"),
    "scatter_update": _scattered("set"),
    "nd_scatter": _scatter_nd(_add_slices),
    "nd_add": _scattered_slices("add"),
    "nd_sub": _scattered_slices("sub"),
    "nd_max": _scattered_slices("max"),
    "nd_min": _scattered_slices("min"),
    "nd_update": _scattered_slices("set"),
    "top_k": top_k,
    "random": random,
    "truncated_normal": truncated_normal,
    "multinomial": multinomial,
}
# The same for what has thousands of threads, where that is another one.
_OF_MANY_THREADS: dict[str, Rule] = {
    "segment_sum": _segmented("add", _link_rows),
    "segment_prod": _segmented("mul", _link_rows),
    "segment_max": _segmented("max", _link_rows),
    "segment_min": _segmented("min", _link_rows),
    "scatter_add": _scattered("add", _link_rows),
    "scatter_sub": _scattered("sub", _link_rows),
    "scatter_mul": _scattered("mul", _link_rows),
    "scatter_div": _scattered("div", _link_rows),
    "scatter_max": _scattered("max", _link_rows),
    "scatter_min": _scattered("min", _link_rows),
    "scatter_update": _scattered("set", _link_rows),
    "nd_scatter": _scatter_nd(_link_slices),
    "nd_add": _scattered_slices("add", _link_slices),
    "nd_sub": _scattered_slices("sub", _link_slices),
    "nd_max": _scattered_slices("max", _link_slices),
    "nd_min": _scattered_slices("min", _link_slices),
    "nd_update": _scattered_slices("set", _link_slices),
}
# The operand whose elements a nest may compute as it goes along, instead of reading them from memory.
_STREAMED = {
    **{tag: 0 for tag in NESTS if tag.startswith("segment_")},
    **{tag: 2 for tag in NESTS if tag.startswith("scatter_")},
}


def streamed(node: Node) -> Value | None:
    """Returns the operand whose elements the node's nest takes one by one, rows by ids, each once; or None."""
    position = _STREAMED.get(node.op_def.lowering)
    if position is None:
        return None
    rows, ids = node.inputs[position], node.inputs[1]
    lead = len(ids.sizes or ())
    return rows if (rows.sizes or ())[:lead] == ids.sizes and len(rows.sizes or ()) >= lead else None


def streams(node: Node, body: Body) -> bool:
    """Whether the nest can compute such an operand by a body."""
    lead = len(node.inputs[1].sizes or ())
    return all(
        collapsed(body.space[:lead], leaf.strides[:lead]) is not None
        and collapsed(body.space[lead:], leaf.strides[lead:]) is not None
        for leaf in body.leaves.values()
    )


def nest_of(node: Node, body: Body | None = None, *, many_threads: bool = False) -> Nest | None:
    """Returns the loop nest of a node, or None if it has none.

    Args:
      node: the node.
      body: what computes its streamed operand.
      many_threads: whether it is for what has thousands of threads.
    """
    tag = node.op_def.lowering
    rule = (_OF_MANY_THREADS.get(tag) if many_threads else None) or NESTS.get(tag)
    if rule is None or any(0 in (value.sizes or ()) for value in (*node.inputs[1:], *node.outputs)):
        return None
    return rule(node, body)
