"""Rows of stacked tensors, read and set one at a time: what lists of known length become in programs, and slices at one
number that only the run knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops import row_rules
from graphflow.ops.rules import Array
from graphflow.shapes import TensorShape
from graphflow.symbolic import Derived

_ROWS = "T:type; Tindex:type{int32|int64}=int32"


def _row_shape(node: Any) -> TensorShape:
    dims = node.inputs[0].shape.as_tuple()
    return TensorShape(None if dims is None else dims[1:])


def _rows_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    return shape


def _bounds(node: Any) -> dict[int, tuple[int, int]]:
    return {1: (0, node.inputs[0].shape.as_list()[0])}


def _place(rows: Array, index: Array, verb: str) -> int:
    place = int(index)
    if not 0 <= place < len(rows):
        raise InvalidArgumentError(
            None, None, f"Trying to {verb} element {place} in a list with {len(rows)} elements."
        )
    return place


@op(
    "GraphflowRow",
    "rows:T; index:Tindex",
    "row:T",
    _ROWS + "; verb:string=access",
    infer=_row_shape,
    lowering="gather",
    differentiable=False,
)
def row_op(rows: Array, index: Array, *, verb: str = "access") -> Any:
    """One row of a tensor; `verb`: what whoever asks for it does, for the error."""
    return rows[_place(rows, index, verb)].copy()


row_op.by_row(row_rules.row_of)


@op("GraphflowRowSet", "rows:T; index:Tindex; row:T", "updated:T", _ROWS, infer=_rows_shape,
    lowering="scatter_update", differentiable=False)  # fmt: skip
def row_set_op(rows: Array, index: Array, row: Array) -> Any:
    """A tensor with another row in place of one of its rows."""
    updated = rows.copy()
    updated[_place(rows, index, "modify")] = row
    return updated


row_set_op.by_row(row_rules.row_put)


@op("GraphflowRowAdd", "rows:T; index:Tindex; row:T", "updated:T", _ROWS, infer=_rows_shape, lowering="scatter_add",
    differentiable=False)  # fmt: skip
def row_add_op(rows: Array, index: Array, row: Array) -> Any:
    """A tensor with something added to one of its rows."""
    updated = rows.copy()
    updated[_place(rows, index, "modify")] += np.asarray(row)
    return updated


row_op.bounds(_bounds)
row_set_op.bounds(_bounds)
row_add_op.bounds(_bounds)


def _end(node: Any) -> int | None:
    size = node.inputs[1].constant
    return None if size is None else size.item()


def _about_the_end(node: Any) -> dict[int, tuple[int, int]]:
    end = _end(node)
    return {} if end is None else {0: (-end, end)}


@op(
    "GraphflowFromEnd", "index:T; size:T", "place:T", "T:type{int32|int64}; axis:int",
    infer=lambda node: TensorShape(()), differentiable=False,
)  # fmt: skip
def from_end_op(index: Array, size: Array, *, axis: int) -> Array:
    """A number along an axis of so many elements, counted from its end where it is negative; both scalars."""
    if not -size <= index < size:
        raise InvalidArgumentError(
            None, None, f"slice index {int(index)} of dimension {axis} out of bounds (size {int(size)})"
        )
    return np.asarray(index + size if index < 0 else index, index.dtype)


from_end_op.bounds(_about_the_end)


@from_end_op.lower
def from_end_lower(b: Any, index: Any, size: Any) -> Any:
    """The number itself, or so much before the end."""
    return b.select(b.lt(index, b.const(0, index.dtype)), b.add(index, size), index)


def _placed_shape(node: Any) -> TensorShape:
    dims, axis = node.inputs[0].shape.as_tuple(), node.attrs["axis"]
    if dims is None:
        return TensorShape(None)
    size = node.constant(2)
    return TensorShape([*dims[:axis], None if size is None else size.item(), *dims[axis:]])


@op(
    "GraphflowPlaced", "part:T; index:Tindex; size:Tindex", "output:T", "T:type; Tindex:type{int32|int64}; axis:int",
    infer=_placed_shape, lowering="placed", differentiable=False,
)  # fmt: skip
def placed_op(part: Array, index: Array, size: Array, *, axis: int) -> Array:
    """Zeros with `part` at `index` along an axis of so many elements, which `part` has not."""
    sizes = list(part.shape)
    sizes.insert(axis, int(size))
    result = np.zeros(sizes, part.dtype)
    result[(slice(None),) * axis + (_place(result.swapaxes(0, axis), index, "modify"),)] = part
    return result


placed_op.bounds(lambda node: {} if (end := node.inputs[2].constant) is None else {1: (0, end.item())})


# -- of stacked rows of which only the first ones count ---------------------------------------------------------

_HALF = 1 << 31


def _within(node: Any) -> dict[int, tuple[int, int]]:
    return {0: (0, _HALF)}


@op("GraphflowInList", "marked:int64; index:int32; length:int32", "place:int32", "verb:string; grows:bool",
    infer=lambda node: node.inputs[1].shape, differentiable=False)  # fmt: skip
def in_list_op(marked: Array, index: Array, length: Array, *, verb: str, grows: bool) -> Array:
    """Numbers of elements of a list that has so many, and that may get longer where it `grows`.

    `marked` is what the run looks at: the number, or, less than zero, number and length where there is no such element.
    """
    for mark in marked.reshape(-1).tolist():
        if mark < 0:
            place, long = divmod(-1 - mark, _HALF)
            raise InvalidArgumentError(
                None, None, f"Trying to {verb} element {place - _HALF} in a list with {long} elements."
            )
    return np.asarray(marked, np.int32)


in_list_op.bounds(_within)


@in_list_op.lower
def in_list_lower(b: Any, marked: Any, index: Any, length: Any) -> Any:
    """What is marked as no element does not get here."""
    return b.cast(marked, "i32")


def in_list(b: Any, index: Any, length: Any, verb: str, grows: bool = False) -> Any:
    """Emits `GraphflowInList`: the index itself, which is to be the number of an element of a list of that length."""

    def wide(value: Any) -> Any:
        return b.emit("Cast", value, DstT=dtypes.int64)

    def number(value: int) -> Any:
        return b.constant(np.array(value, np.int64))

    zero = b.constant(np.array(0, np.int32))
    inside = b.emit("GreaterEqual", index, zero)
    if not grows:
        inside = b.emit("LogicalAnd", inside, b.emit("Less", index, length))
    place = wide(index)
    shifted = b.emit("Mul", b.emit("AddV2", place, number(_HALF)), number(_HALF))
    mark = b.emit("Sub", number(-1), b.emit("AddV2", shifted, wide(length)))
    marked = b.emit("SelectV2", inside, place, mark)
    return b.emit("GraphflowInList", marked, index, length, verb=verb, grows=grows)


def _first_shape(node: Any) -> TensorShape:
    dims, count = node.inputs[0].shape.as_tuple(), node.constant(1)
    if dims is None:
        return TensorShape(None)
    return TensorShape([None if count is None else count.item(), *dims[1:]])


@op("GraphflowFirstRows", "rows:T; count:int32", "output:T", "T:type; unknown:string", infer=_first_shape,
    differentiable=False)  # fmt: skip
def first_rows_op(rows: Array, count: Array, *, unknown: str) -> Array:
    """The first rows of a tensor, so many; where there is none and `unknown` says what is known of their shape, that is
    refused."""
    if unknown and count == 0:
        raise InvalidArgumentError(
            None, None,
            f"Tried to stack elements of an empty list with non-fully-defined element_shape: {unknown}",
        )  # fmt: skip
    return rows[: int(count)].copy()


@first_rows_op.expand
def first_rows_expand(b: Any, node: Any, inputs: Any) -> list[Any] | None:
    """A slice, where it is known how long."""
    rows, count = inputs
    known = count.constant
    if known is None or rows.sizes is None or (node.attrs["unknown"] and not known.item()):
        return None
    if rows.sizes[0] == known.item():
        return [rows]
    begin = b.constant(np.zeros(len(rows.sizes), np.int32))
    sizes = b.constant(Derived.holding([known.item(), *rows.sizes[1:]], np.int32), True)
    return [b.emit("Slice", rows, begin, sizes)]
