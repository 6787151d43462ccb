"""Spells reductions by sorted segments so that how many segments there are is an operand like any other.

Their number is the last id and one: nothing but the last element of the ids decides a size. Written out as an operand
it can be known before a run (`contents`), and the reduction is the one by unsorted segments, which loops do.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.opdef import op
from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]

_IDS = "T:type{int32|int64}"


def _vector(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    if shape.rank not in (None, 1):
        raise ShapeError(f"segment ids must be a vector, have shape {shape}")
    return shape


@op(
    "GraphflowSorted",
    "ids:T",
    "output:T",
    _IDS,
    infer=_vector,
    view=True,
    lowering="sorted",
    differentiable=False,
)
def sorted_op(ids: Array) -> Array:
    """The ids themselves, which must not be negative and must not fall."""
    if np.any(np.diff(ids) < 0) or np.any(ids < 0):
        raise InvalidArgumentError(None, None, "segment ids must be >= 0 and sorted")
    return ids


@sorted_op.bounds
def _sorted_bounds(node: Any) -> dict[int, tuple[int, int]]:
    return {0: (0, 2**63 - 1)}


@op(
    "GraphflowNatural", "ids:T", "output:T", _IDS, infer=lambda node: node.inputs[0].shape, view=True,
    differentiable=False,
)  # fmt: skip
def natural_op(ids: Array) -> Array:
    """The ids themselves, which must not be negative."""
    if np.any(ids < 0):
        raise InvalidArgumentError(None, None, "ids must be non-negative")
    return ids


natural_op.bounds(_sorted_bounds)


@op("GraphflowLast", "ids:T", "output:T", _IDS, infer=lambda node: TensorShape(()), differentiable=False)
def last_op(ids: Array) -> Array:
    """The last element; -1 where there is none."""
    return np.asarray(ids[-1] if ids.size else -1, ids.dtype)


def explicit_sizes(program: Program, counts: Counter[str]) -> Program:
    """Replaces reductions by sorted segments, of rows that indices pick too, and their gradients."""

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if controls or (node.type not in _RULES and node.type not in _BACK):
            return None
        if node.type in _BACK:
            result = _spread(b, _BACK[node.type], *inputs)
        else:
            rule, picked = _RULES[node.type]
            data, *picks, given = inputs[: 3 if picked else 2]
            ids, count = _counted(b, given, *inputs[3:])
            rows = b.emit("GatherV2", data, picks[0], b.constant(np.int32(0))) if picked else data
            result = rule(b, rows, ids, count)
        if result is None or not result.shape.is_compatible_with(node.outputs[0].shape):
            return None
        counts[node.type] += 1
        return [result]

    return rebuild(program, replace)


def _counted(b: ProgramBuilder, given: Value, count: Value | None = None) -> tuple[Value, Value]:
    """The ids once they have been looked at, and how many segments there are."""
    known = given.constant
    if known is not None and count is None and known.size and np.all(np.diff(known) >= 0) and known[0] >= 0:
        return given, b.constant(np.asarray(known[-1] + 1, known.dtype))
    ids = b.emit("GraphflowSorted", given)
    if count is None:
        # The last of what was given, not of what was looked at: that is there before the run.
        last = b.emit("GraphflowLast", given)
        count = b.emit("AddV2", last, b.constant(np.asarray(1, given.dtype.numpy)))
    return ids, count


def _members(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value | None:
    """How many rows each segment has, in data's dtype, shaped so that it stretches along the rows."""
    rank = data.shape.rank
    if rank is None:
        return None
    one = b.constant(np.asarray(1, data.dtype.numpy))
    ones = b.emit("Fill", b.emit("Shape", ids), one)
    found = b.emit("UnsortedSegmentSum", ones, ids, count)
    shape = b.constant(np.array([-1] + [1] * (rank - 1), np.int32))
    return b.emit("Reshape", found, shape)


def _sum(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value:
    return b.emit("UnsortedSegmentSum", data, ids, count)


def _prod(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value:
    return b.emit("UnsortedSegmentProd", data, ids, count)


def _mean(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value | None:
    members = _members(b, data, ids, count) if data.dtype.is_floating else None
    if members is None:
        return None
    one = b.constant(np.asarray(1, data.dtype.numpy))
    return b.emit("RealDiv", _sum(b, data, ids, count), b.emit("Maximum", members, one))


def _root_mean(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value | None:
    members = _members(b, data, ids, count)
    if members is None:
        return None
    one = b.constant(np.asarray(1, data.dtype.numpy))
    return b.emit("RealDiv", _sum(b, data, ids, count), b.emit("Sqrt", b.emit("Maximum", members, one)))


def _spread(
    b: ProgramBuilder, kind: str, grad: Value, indices: Value, given: Value, rows: Value
) -> Value | None:
    """What segments are given, divided among their rows, and added up where the rows were picked."""
    if kind != "Sum":
        shape = b.emit("Shape", grad)
        first = b.constant(np.array([0], np.int32))
        last = b.constant(np.array([1], np.int32))
        count = b.emit(
            "StridedSlice", shape, first, last, last, begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0,
            shrink_axis_mask=1,
        )  # fmt: skip
        members = _members(b, grad, b.emit("GraphflowNatural", given), count)
        if members is None:
            return None
        members = b.emit("Maximum", members, b.constant(np.asarray(1, grad.dtype.numpy)))
        grad = b.emit("RealDiv", grad, b.emit("Sqrt", members) if kind == "SqrtN" else members)
    each = b.emit("GatherV2", grad, given, b.constant(np.int32(0)))
    return b.emit("UnsortedSegmentSum", each, b.emit("GraphflowNatural", indices), rows)


def _extreme(op_type: str) -> Any:
    def rule(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value | None:
        members = _members(b, data, ids, count)
        if members is None:
            return None
        zero = b.constant(np.asarray(0, data.dtype.numpy))
        # An empty segment holds 0, whatever the reduction starts from.
        return b.emit("SelectV2", b.emit("Greater", members, zero), b.emit(op_type, data, ids, count), zero)

    return rule


# What makes the result of rows, ids and the number of segments; and whether indices pick the rows.
_RULES: dict[str, tuple[Any, bool]] = {
    "SegmentSum": (_sum, False),
    "SegmentProd": (_prod, False),
    "SegmentMean": (_mean, False),
    "SegmentMax": (_extreme("UnsortedSegmentMax"), False),
    "SegmentMin": (_extreme("UnsortedSegmentMin"), False),
}
for _kind, _rule in (("Sum", _sum), ("Mean", _mean), ("SqrtN", _root_mean)):
    _RULES[f"SparseSegment{_kind}"] = _RULES[f"SparseSegment{_kind}WithNumSegments"] = (_rule, True)

_BACK = {f"SparseSegment{kind}Grad": kind for kind in ("Sum", "Mean", "SqrtN")}
