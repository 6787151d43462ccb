"""Slices at one number that only the run knows, as `x[t]` in a loop, become rows that are read, and set, by number.

A slice whose bounds are data has a size that is data; one that takes a single element of an axis has not. What is left
of it is a slice whose bounds are known. Its gradient sets a row of zeros, or, where that is added to something, adds to
a row of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graphflow.program import (
    MOST_NESTED,
    NESTED,
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
            if all(new is nested for new, nested in zip(programs, old, strict=True)):
                return None
            attrs = with_programs(node.op_def, node.attrs, programs)
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        if controls:
            return None
        made: Value | None = None
        if node.type == "StridedSlice":
            made = _taken(builder, node, inputs)
        elif node.type == "StridedSliceGrad":
            made = _set(builder, node, inputs)
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
