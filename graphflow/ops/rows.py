"""Rows of stacked tensors, read and set one at a time: what lists of known length become in programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops import row_rules
from graphflow.ops.rules import Array
from graphflow.shapes import TensorShape

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
    _ROWS,
    infer=_row_shape,
    lowering="gather",
    differentiable=False,
)
def row_op(rows: Array, index: Array) -> Any:
    """One row of a tensor."""
    return rows[_place(rows, index, "access")].copy()


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
