"""Slices at one number that only the run knows, as `x[t]` in a loop, become rows that are read, and set, by number.

A slice whose bounds are data has a size that is data; one that takes a single element of an axis has not. What is left
of it is a slice whose bounds are known. Its gradient sets a row of zeros, or, where that is added to something, adds to
a row of it. A loop that adds such rows along another axis than the first, as the gradient of `x[:, t]` does, has the
axis in front while it turns: else each turn would go through the whole sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graphflow import dtypes
from graphflow.program import (
    FEED,
    MOST_NESTED,
    NESTED,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.turns import is_zero

__all__ = ["indexed_rows"]

_SUMS = ("Add", "AddV2", "AddN")
_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def indexed_rows(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program, and those nested in it, with rows in place of such slices."""
    users = program.users()

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def in NESTED and depth < MOST_NESTED:
            old = [nested for _, nested in nested_programs(node)]
            programs = [indexed_rows(nested, counts, depth + 1) for nested in old]
            if node.op_def in WHILES:
                turned = _turned(builder, node, inputs, controls, programs)
                if turned is not None:
                    counts["turned"] += 1
                    return turned
            if all(new is nested for new, nested in zip(programs, old, strict=True)):
                return None
            attrs = with_programs(node.op_def, node.attrs, programs)
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        if controls:
            return None
        made: Value | None = None
        if node.type in ("StridedSlice", "StridedSliceGrad"):
            slices = _spelled(builder, node, inputs)
            made = (_taken if node.type == "StridedSlice" else _set)(builder, slices, slices.inputs)
        elif node.type in _SUMS:
            alone = [len(users.get(value, ())) == 1 for value in node.inputs]
            made = _added(builder, inputs, alone)
        if made is None or not made.shape.is_compatible_with(node.outputs[0].shape):
            return None
        counts[node.type] += 1
        return [made]

    return rebuild(program, replace)


class _Entry(NamedTuple):
    """The first entry of a slice that takes one element of an axis at a number that only the run knows.

    Attributes:
      number: which entry it is.
      axis: the axis, counted from the front, or, as a negative number, from behind.
    """

    number: int
    axis: int


def _spelled(b: ProgramBuilder, node: Node, inputs: tuple[Value, ...]) -> Node:
    """A slice on its new inputs; one whose bounds are data altogether, as a loop keeps them, with each by itself."""
    begin, end, strides = inputs[1:4]
    rows = begin.shape.as_tuple()
    data = begin.constant is None and begin.node.type != "Pack" and strides.constant is not None
    masks = {name: node.attrs[name] for name in _MASKS}
    if data and rows is not None and len(rows) == 1 and rows[0] is not None and begin.dtype.size >= 4:
        bits = [{name: bool(mask >> i & 1) for name, mask in masks.items()} for i in range(rows[0])]
        free = [bit["ellipsis_mask"] or bit["new_axis_mask"] for bit in bits]
        whole = [bit["begin_mask"] and bit["end_mask"] for bit in bits]
        single = [bit["shrink_axis_mask"] and not bit["begin_mask"] for bit in bits]
        if any(single) and all(any(kinds) for kinds in zip(free, whole, single, strict=True)):
            none = b.constant(np.zeros((), begin.dtype.numpy))
            places = [b.constant(np.array([i], np.int32)) for i in range(len(bits) + 1)]
            one = b.constant(np.array([1], np.int32))
            entries = [
                b.emit("StridedSlice", begin, places[i], places[i + 1], one, shrink_axis_mask=1)
                if alone
                else none
                for i, alone in enumerate(single)
            ]
            packed = [b.emit("Pack", *vector, N=len(bits)) for vector in (entries, [none] * len(bits))]
            inputs = (inputs[0], *packed, *inputs[3:])
    if inputs == node.inputs:
        return node
    return b.node(node.op_def, inputs, node.attrs, (), node.types, node.origin, node.name)


def _entry(node: Node) -> _Entry | None:
    begin, _, strides = node.inputs[1:4]
    step = strides.constant
    if begin.node.type != "Pack" or step is None or begin.dtype.size < 4:
        return None
    entries = begin.node.inputs
    bits = [[bool(node.attrs[name] >> i & 1) for name in _MASKS] for i in range(len(entries))]
    for i, index in enumerate(entries):
        masked, _, is_ellipsis, is_new, shrinks = bits[i]
        if not shrinks or is_ellipsis or is_new or masked or index.constant is not None:
            continue
        if index.shape.rank != 0 or step[i] != 1:
            return None
        dense = [not (new or ellipsis) for _, _, ellipsis, new, _ in bits]
        before = any(ellipsis for _, _, ellipsis, _, _ in bits[:i])
        return _Entry(i, -sum(dense[i:]) if before else sum(dense[:i]))
    return None


def _without(mask: int, i: int) -> int:
    """A mask without one of its bits."""
    return mask & ((1 << i) - 1) | (mask >> (i + 1)) << i


def _rest(
    b: ProgramBuilder, node: Node, inputs: Sequence[Value], i: int
) -> tuple[list[Value], dict[str, int]] | None:
    """The other entries of a slice, and their masks; None where it has no others."""
    packs = [value.node.inputs if value.node.type == "Pack" else None for value in inputs[1:3]]
    count = len(packs[0] or ())
    if count == 1:
        return None
    vectors = []
    for value, entries in zip(inputs[1:4], (*packs, None), strict=True):
        if entries is not None:
            kept = [entry for j, entry in enumerate(entries) if j != i]
            vectors.append(b.emit("Pack", *kept, N=len(kept)))
        elif (constant := value.constant) is not None:
            vectors.append(b.constant(np.delete(constant, i)))
        else:
            places = b.constant(np.delete(np.arange(count, dtype=np.int32), i))
            vectors.append(b.emit("GatherV2", value, places, b.constant(np.int32(0))))
    return vectors, {name: _without(node.attrs[name], i) for name in _MASKS}


def _place(
    b: ProgramBuilder, entry: _Entry, shape: Value, rank: int, index: Value
) -> tuple[int, Value, Value]:
    """The axis that an entry is about, its size, and the number along it."""
    axis = entry.axis % rank
    first, one = b.constant(np.array([axis], np.int32)), b.constant(np.array([1], np.int32))
    size = b.emit(
        "StridedSlice", shape, first, b.constant(np.array([axis + 1], np.int32)), one, shrink_axis_mask=1
    )
    if size.dtype is not index.dtype:
        size = b.emit("Cast", size, DstT=index.dtype)
    return axis, size, b.emit("GraphflowFromEnd", index, size, axis=axis)


def _taken(b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Value | None:
    """The slice, as one of a row."""
    entry, source = _entry(node), inputs[0]
    if entry is None or source.shape.rank is None:
        return None
    index = inputs[1].node.inputs[entry.number]
    shape = b.emit("Shape", source, out_type=index.dtype)
    axis, _, place = _place(b, entry, shape, source.shape.rank, index)
    if axis == 0:
        row = b.emit("GraphflowRow", source, place)
    else:
        row = b.emit("GatherV2", source, place, b.constant(np.int32(axis)))
    rest = _rest(b, node, inputs, entry.number)
    if rest is None:
        return row
    vectors, masks = rest
    slices = b.emit("StridedSlice", row, *vectors, **masks)
    return _taken(b, slices.node, slices.node.inputs) or slices


def _set(b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Value | None:
    """The gradient of a slice, as zeros of which a row is set."""
    entry, shape, dy = _entry(node), inputs[0], inputs[4]
    dims = node.outputs[0].shape.as_tuple()
    if entry is None or dims is None:
        return None
    index = inputs[1].node.inputs[entry.number]
    axis, size, place = _place(b, entry, shape, len(dims), index)
    rest = _rest(b, node, inputs, entry.number)
    row = dy
    if rest is not None:
        vectors, masks = rest
        others = b.constant(np.delete(np.arange(len(dims), dtype=np.int32), axis))
        of_row = b.emit("GatherV2", shape, others, b.constant(np.int32(0)))
        row = b.emit("StridedSliceGrad", of_row, *vectors, dy, **masks)
        row = _set(b, row.node, row.node.inputs) or row
    if axis:
        return b.emit("GraphflowPlaced", row, place, size, axis=axis)
    zeros = b.emit("Fill", shape, b.constant(np.zeros((), dy.dtype.numpy)))
    return b.emit("GraphflowRowSet", zeros, place, row)


def _added(b: ProgramBuilder, inputs: Sequence[Value], alone: Sequence[bool]) -> Value | None:
    """A sum with terms that are zero but for one row: that row is added in its place."""
    rows: list[Value] = []
    others: list[Value] = []
    for value, only in zip(inputs, alone, strict=True):
        made = value.node
        is_row = only and made.type == "GraphflowRowSet" and is_zero(made.inputs[0])
        (rows if is_row else others).append(value)
    if not rows or not all(value.shape.is_compatible_with(inputs[0].shape) for value in inputs):
        return None
    if not others:
        others.append(rows.pop(0))
    total = others[0] if len(others) == 1 else b.emit("AddN", *others, N=len(others))
    for value in rows:
        total = b.emit("GraphflowRowAdd", total, value.node.inputs[1], value.node.inputs[2])
    return total


# -- sums in loops --------------------------------------------------------------------------------------------


def _turned(
    b: ProgramBuilder, node: Node, inputs: Sequence[Value], controls: Sequence[Node], programs: list[Program]
) -> list[Value] | None:
    """A loop's results, where it adds rows to a sum along another axis than the first: that is in front meanwhile."""
    cond, body = programs
    users = body.users()
    sums = {
        i: axis for i in range(len(body.feeds)) if (axis := _axis_of_sum(cond, body, i, users)) is not None
    }
    if not sums:
        return None
    orders = {i: _axis_first(axis, body.feeds[i].shape.rank or 0) for i, axis in sums.items()}
    given = list(inputs)
    for i, order in orders.items():
        shape = b.emit("Shape", inputs[i], out_type=dtypes.int32)
        sizes = b.emit("GatherV2", shape, b.constant(np.array(order, np.int32)), b.constant(np.int32(0)))
        given[i] = b.emit("Fill", sizes, b.constant(np.zeros((), inputs[i].dtype.numpy)))
    made = {body.fetches[i].node: i for i in sums}

    def replace(
        builder: ProgramBuilder, inner: Node, operands: tuple[Value, ...], waits: tuple[Node, ...]
    ) -> Replacement:
        if inner.op_def is FEED:
            i = next((i for i in sums for program in programs if program.feeds[i] is inner.outputs[0]), None)
            if i is None:
                return None
            kind = given[i].type
            attrs = {**inner.attrs, "shape": kind.shape}
            return builder.node(FEED, (), attrs, (), (kind,), inner.origin, inner.name)
        if inner in made:
            feed = body.feeds[made[inner]]
            total = operands[inner.inputs.index(feed)]
            for value in _terms(
                [new for old, new in zip(inner.inputs, operands, strict=True) if old is not feed]
            ):
                row, index, _ = value.node.inputs
                total = builder.emit("GraphflowRowAdd", total, index, row)
            return [total]
        return None

    attrs = with_programs(node.op_def, node.attrs, [rebuild(program, replace) for program in programs])
    loop = b.node(node.op_def, given, attrs, controls, None, node.origin, node.name)
    results = list(loop.outputs)
    for i, order in orders.items():
        back = b.emit("Transpose", results[i], b.constant(np.argsort(order).astype(np.int32)))
        zero = is_zero(inputs[i]) or inputs[i].node.type == "ZerosLike"
        results[i] = back if zero else b.emit("AddV2", inputs[i], back)
    return results


def _axis_first(axis: int, rank: int) -> list[int]:
    return [axis, *(other for other in range(rank) if other != axis)]


def _terms(values: Sequence[Value]) -> list[Value]:
    """What sums are made of."""
    found: list[Value] = []
    stack = list(reversed(values))
    while stack:
        value = stack.pop()
        if value.node.type in _SUMS and not value.node.controls:
            stack += reversed(value.node.inputs)
        else:
            found.append(value)
    return found


def _axis_of_sum(cond: Program, body: Program, i: int, users: dict[Value, list[Node]]) -> int | None:
    """The axis along which a loop variable has rows added in every turn, if nothing else happens to it."""
    feed, made = body.feeds[i], body.fetches[i]
    add = made.node
    if add.type not in _SUMS or add.controls or add.inputs.count(feed) != 1 or feed.shape.rank is None:
        return None
    if users.get(feed) != [add] or users.get(made) or body.fetches.count(made) != 1:
        return None
    if cond.feeds[i] in cond.fetches or any(cond.feeds[i] in inner.inputs for inner in cond.nodes):
        return None
    terms = [value.node for value in _terms([value for value in add.inputs if value is not feed])]
    if not terms or not all(term.type == "GraphflowPlaced" for term in terms):
        return None
    axes = {int(term.attrs["axis"]) for term in terms}
    return axes.pop() if len(axes) == 1 else None
