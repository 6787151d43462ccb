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


@op("GraphflowLast", "ids:T", "output:T", _IDS, infer=lambda node: TensorShape(()), differentiable=False)
def last_op(ids: Array) -> Array:
    """The last element; -1 where there is none."""
    return np.asarray(ids[-1] if ids.size else -1, ids.dtype)


def explicit_sizes(program: Program, counts: Counter[str]) -> Program:
    """Replaces reductions by sorted segments."""

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        rule = _RULES.get(node.type)
        if rule is None or controls or inputs[1].constant is not None:
            return None
        data, given = inputs
        ids = b.emit("GraphflowSorted", given)
        # The last of what was given, not of what was looked at: that is there before the run.
        count = b.emit("AddV2", b.emit("GraphflowLast", given), b.constant(np.asarray(1, given.dtype.numpy)))
        result = rule(b, data, ids, count)
        if result is None:
            return None
        counts[node.type] += 1
        return [result]

    return rebuild(program, replace)


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


def _extreme(op_type: str) -> Any:
    def rule(b: ProgramBuilder, data: Value, ids: Value, count: Value) -> Value | None:
        members = _members(b, data, ids, count)
        if members is None:
            return None
        zero = b.constant(np.asarray(0, data.dtype.numpy))
        # An empty segment holds 0, whatever the reduction starts from.
        return b.emit("SelectV2", b.emit("Greater", members, zero), b.emit(op_type, data, ids, count), zero)

    return rule


_RULES: dict[str, Any] = {
    "SegmentSum": _sum,
    "SegmentProd": _prod,
    "SegmentMean": _mean,
    "SegmentMax": _extreme("UnsortedSegmentMax"),
    "SegmentMin": _extreme("UnsortedSegmentMin"),
}
