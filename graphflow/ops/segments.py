"""Ops that reduce rows by the segment each belongs to: sorted, unsorted, and picked by indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import as_dtype
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import OpDef, constant, convert_to_tensor, emit, op
from graphflow.ops.elementwise import truncated_quotient
from graphflow.ops.rules import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    REALS,
    Array,
    Declaration,
    rank_at_least,
    rank_exactly,
    refuse,
    widened,
)
from graphflow.shapes import UNKNOWN, TensorShape


def unsorted_shape(node: Any) -> TensorShape:
    data, ids = node.inputs[0].shape, node.inputs[1].shape
    rank_exactly(node, 2, 0, "num_segments")
    sizes, rows = data.as_tuple(), ids.as_tuple()
    if sizes is None or rows is None:
        return UNKNOWN
    if not TensorShape(sizes[: len(rows)]).is_compatible_with(ids):
        raise ShapeError(f"segment_ids of shape {ids} are no leading part of data's {data}")
    count = node.constant(2)
    if count is not None and count < 0:
        raise ShapeError(f"num_segments must not be negative, got {int(count)}")
    return TensorShape((None if count is None else count.item(), *sizes[len(rows) :]))


def unsorted_segment(
    op_type: str, types: str, lowering: str = "", indices: str = "int32|int64"
) -> Declaration:
    """Declares a reduction of rows by the segment each belongs to."""
    return op(
        op_type, "data:T; segment_ids:Tindices; num_segments:Tnumsegments", "output:T",
        f"T:type{{{types}}}; Tindices:type{{{indices}}}; Tnumsegments:type{{int32|int64}}=int32",
        infer=unsorted_shape, lowering=lowering,
    )  # fmt: skip


def _segmented(apply: Any, data: Array, ids: Array, count: Array, start: Any) -> Any:
    rows = math.prod(ids.shape)
    flat_ids = ids.reshape(-1)
    if int(count) < 0 or np.any(flat_ids >= int(count)):
        raise refuse(f"segment_ids must be below num_segments = {int(count)}")
    if data.shape[: ids.ndim] != ids.shape:
        raise refuse(f"segment_ids {list(ids.shape)} are no leading part of data's {list(data.shape)}")
    inner = data.shape[ids.ndim :]
    result = np.full((int(count), *inner), start, data.dtype)
    kept = flat_ids >= 0  # negative ids are dropped
    apply.at(result, flat_ids[kept], data.reshape(rows, *inner)[kept])
    return result


def _least(dtype: np.dtype[Any]) -> Any:
    return as_dtype(dtype).min


def _greatest(dtype: np.dtype[Any]) -> Any:
    return as_dtype(dtype).max


@unsorted_segment("UnsortedSegmentSum", NUMBERS, "segment_sum", "int16|int32|int64")
@widened
def unsorted_segment_sum_op(data: Array, segment_ids: Array, num_segments: Array) -> Any:
    """Per segment the sum of its rows; rows of negative segments are dropped."""
    return _segmented(np.add, data, segment_ids, num_segments, 0)


def _ones(count: Any) -> Tensor:
    """A vector of so many ones, as a piece of a shape."""
    return emit.Fill(emit.Reshape(count, [1]), 1)


def _inner_ones(data: Tensor, ids: Tensor) -> Tensor:
    """Ones for the dimensions of `data` that `ids` lacks."""
    if data.shape.rank is not None and ids.shape.rank is not None:
        return constant(np.ones(data.shape.rank - ids.shape.rank, np.int32))
    return _ones(emit.Sub(emit.Rank(data), emit.Rank(ids)))


def _gather_or_zero(params: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of `params` by id, zeros where the id is negative; and which ids are not, shaped like the rows."""
    zero = constant(0, ids.dtype)
    rows = emit.GatherV2(params, emit.Maximum(ids, zero), 0)
    shape = emit.ConcatV2([emit.Shape(ids), _inner_ones(rows, ids)], 0)
    valid = emit.Reshape(emit.GreaterEqual(ids, zero), shape)
    return emit.SelectV2(valid, rows, constant(np.zeros((), rows.dtype.as_numpy_dtype))), valid


@unsorted_segment_sum_op.bounds
def _unsorted_segment_bounds(node: Any) -> dict[int, tuple[int, int]]:
    count = node.constant(2)
    return {} if count is None else {1: (-(2**63), int(count))}


@unsorted_segment_sum_op.gradient
def _unsorted_segment_sum_gradient(op: Any, dy: Any) -> list[Any]:
    rows, _ = _gather_or_zero(dy, op.inputs[1])
    rows.set_shape(op.inputs[0].shape)
    return [rows, None, None]


@unsorted_segment("UnsortedSegmentMax", REALS, "segment_max")
@widened
def unsorted_segment_max_op(data: Array, segment_ids: Array, num_segments: Array) -> Any:
    """Per segment the greatest of its rows; the least number for an empty one."""
    return _segmented(np.maximum, data, segment_ids, num_segments, _least(data.dtype))


unsorted_segment_max_op.bounds(_unsorted_segment_bounds)


@unsorted_segment("UnsortedSegmentMin", REALS, "segment_min")
@widened
def unsorted_segment_min_op(data: Array, segment_ids: Array, num_segments: Array) -> Any:
    """Per segment the least of its rows; the greatest number for an empty one."""
    return _segmented(np.minimum, data, segment_ids, num_segments, _greatest(data.dtype))


unsorted_segment_min_op.bounds(_unsorted_segment_bounds)


def _unsorted_extreme_gradient(op: Any, dy: Any) -> list[Any]:
    data, ids, count = op.inputs
    extremes, valid = _gather_or_zero(op.outputs[0], ids)
    chosen = emit.Cast(emit.LogicalAnd(emit.Equal(data, extremes), valid), DstT=data.dtype)
    share = emit.DivNoNan(dy, emit.UnsortedSegmentSum(chosen, ids, count))
    rows, _ = _gather_or_zero(share, ids)
    zero = constant(np.zeros((), data.dtype.as_numpy_dtype))
    return [emit.SelectV2(emit.Greater(chosen, zero), rows, zero), None, None]


unsorted_segment_max_op.gradient(_unsorted_extreme_gradient)


@unsorted_segment_min_op.gradient
def _unsorted_segment_min_gradient(op: Any, dy: Any) -> list[Any]:
    return _unsorted_extreme_gradient(op, dy)


@unsorted_segment("UnsortedSegmentProd", NUMBERS, "segment_prod")
@widened
def unsorted_segment_prod_op(data: Array, segment_ids: Array, num_segments: Array) -> Any:
    """Per segment the product of its rows."""
    return _segmented(np.multiply, data, segment_ids, num_segments, 1)


unsorted_segment_prod_op.bounds(_unsorted_segment_bounds)


@unsorted_segment_prod_op.gradient
def _unsorted_segment_prod_gradient(op: Any, dy: Any) -> list[Any]:
    # Zeros are set apart: with one zero in a segment only that row has a derivative, with two none has.
    data, ids, count = op.inputs
    zero = constant(np.zeros((), data.dtype.as_numpy_dtype))
    one = constant(np.ones((), data.dtype.as_numpy_dtype))
    is_zero = emit.Equal(data, zero)
    zeros = emit.UnsortedSegmentSum(emit.Cast(is_zero, DstT=dtypes.int32), ids, count)
    kept = emit.SelectV2(emit.Greater(zeros, 1), zero, dy)
    others = emit.UnsortedSegmentProd(emit.SelectV2(is_zero, one, data), ids, count)
    rest, _ = _gather_or_zero(others, ids)
    whole, _ = _gather_or_zero(op.outputs[0], ids)
    partial = emit.SelectV2(is_zero, rest, emit.DivNoNan(whole, data))
    rows, _ = _gather_or_zero(kept, ids)
    return [emit.Mul(rows, partial), None, None]


def unsorted_segment_sum(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Returns per segment the sum of its rows; rows with negative ids are dropped."""
    return emit.UnsortedSegmentSum(data, segment_ids, num_segments, name=name)


def unsorted_segment_max(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Returns per segment the greatest of its rows."""
    return emit.UnsortedSegmentMax(data, segment_ids, num_segments, name=name)


def unsorted_segment_min(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Returns per segment the least of its rows."""
    return emit.UnsortedSegmentMin(data, segment_ids, num_segments, name=name)


def unsorted_segment_prod(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Returns per segment the product of its rows."""
    return emit.UnsortedSegmentProd(data, segment_ids, num_segments, name=name)


def _segment_counts(data: Tensor, ids: Tensor, count: Any) -> Tensor:
    """How many rows each segment has, at least 1, shaped to divide the segments' sums."""
    ones = emit.Cast(emit.OnesLike(ids), DstT=data.dtype)
    counts = emit.Maximum(emit.UnsortedSegmentSum(ones, ids, count), constant(1, data.dtype))
    return emit.Reshape(counts, emit.ConcatV2([emit.Reshape(count, [1]), _inner_ones(data, ids)], 0))


def unsorted_segment_mean(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Returns per segment the mean of its rows."""
    with name_scope(name, "UnsortedSegmentMean"):
        data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
        count = convert_to_tensor(num_segments, None if isinstance(num_segments, Tensor) else dtypes.int32)
        summed = emit.UnsortedSegmentSum(data, ids, count)
        count = emit.Cast(count, DstT=dtypes.int32)
        return emit.RealDiv(summed, _segment_counts(data, ids, count), name="truediv")


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """Returns per segment the sum of its rows over the square root of their number."""
    with name_scope(name, "UnsortedSegmentSqrtN"):
        data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
        count = convert_to_tensor(num_segments, None if isinstance(num_segments, Tensor) else dtypes.int32)
        summed = emit.UnsortedSegmentSum(data, ids, count)
        count = emit.Cast(count, DstT=dtypes.int32)
        return emit.RealDiv(summed, emit.Sqrt(_segment_counts(data, ids, count)), name="truediv")


def _sorted_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 1, "data").as_tuple()
    rank_exactly(node, 1, 1, "segment_ids")
    if sizes is None:
        return UNKNOWN
    ids = node.constant(1)
    count = None if ids is None else (int(ids[-1]) + 1 if ids.size else 0)
    return TensorShape((count, *sizes[1:]))


def segment(op_type: str, types: str) -> Declaration:
    """Declares a reduction of rows by sorted segment ids."""
    return op(
        op_type, "data:T; segment_ids:Tindices", "output:T", f"T:type{{{types}}}; Tindices:type{{int32|int64}}",
        infer=_sorted_shape,
    )  # fmt: skip


def _sorted_segments(apply: Any, data: Array, ids: Array, start: Any) -> Any:
    if np.any(np.diff(ids) < 0) or np.any(ids < 0):
        raise refuse("segment ids must be >= 0 and sorted")
    count = int(ids[-1]) + 1 if ids.size else 0
    result = _segmented(apply, data, ids, np.array(count), start)
    empty = np.bincount(ids, minlength=count)[:count] == 0
    # Empty segments hold 0 (1 for products), whatever the reduction starts from.
    result[empty] = 1 if apply is np.multiply else 0
    return result


@segment("SegmentSum", NUMBERS)
@widened
def segment_sum_op(data: Array, segment_ids: Array) -> Any:
    """Per segment the sum of its rows."""
    return _sorted_segments(np.add, data, segment_ids, 0)


@segment_sum_op.gradient
def _segment_sum_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.GatherV2(dy, op.inputs[1], 0), None]


@segment("SegmentMean", NUMBERS)
@widened
def segment_mean_op(data: Array, segment_ids: Array) -> Any:
    """Per segment the mean of its rows."""
    total = _sorted_segments(np.add, data, segment_ids, 0)
    counts = np.maximum(np.bincount(segment_ids, minlength=len(total)), 1)
    divisor = counts.reshape(-1, *([1] * (data.ndim - 1))).astype(data.dtype)
    return truncated_quotient(total, divisor)


@segment_mean_op.gradient
def _segment_mean_gradient(op: Any, dy: Any) -> list[Any]:
    data, ids = op.inputs
    ones = emit.Reshape(
        emit.Cast(emit.OnesLike(ids), DstT=data.dtype),
        emit.ConcatV2([emit.Shape(ids), _inner_ones(data, ids)], 0),
    )
    counts = emit.Maximum(emit.SegmentSum(ones, ids), constant(1, data.dtype))
    return [emit.GatherV2(emit.RealDiv(dy, counts), ids, 0), None]


@segment("SegmentMax", REALS)
@widened
def segment_max_op(data: Array, segment_ids: Array) -> Any:
    """Per segment the greatest of its rows, 0 for an empty one."""
    return _sorted_segments(np.maximum, data, segment_ids, _least(data.dtype))


@segment("SegmentMin", REALS)
@widened
def segment_min_op(data: Array, segment_ids: Array) -> Any:
    """Per segment the least of its rows, 0 for an empty one."""
    return _sorted_segments(np.minimum, data, segment_ids, _greatest(data.dtype))


def _sorted_extreme_gradient(op: Any, dy: Any) -> list[Any]:
    data, ids = op.inputs
    chosen = emit.Cast(emit.Equal(data, emit.GatherV2(op.outputs[0], ids, 0)), DstT=data.dtype)
    share = emit.DivNoNan(dy, emit.SegmentSum(chosen, ids))
    return [emit.Mul(chosen, emit.GatherV2(share, ids, 0)), None]


segment_max_op.gradient(_sorted_extreme_gradient)


@segment_min_op.gradient
def _segment_min_gradient(op: Any, dy: Any) -> list[Any]:
    return _sorted_extreme_gradient(op, dy)


@segment("SegmentProd", NUMBERS)
@widened
def segment_prod_op(data: Array, segment_ids: Array) -> Any:
    """Per segment the product of its rows."""
    return _sorted_segments(np.multiply, data, segment_ids, 1)


@segment_prod_op.gradient
def _segment_prod_gradient(op: Any, dy: Any) -> list[Any]:
    # As for the unsorted product: one zero in a segment leaves a derivative to its row alone, two leave none.
    data, ids = op.inputs
    zero, one = constant(0, data.dtype), constant(1, data.dtype)
    is_zero = emit.Equal(data, zero)
    zeros = emit.SegmentSum(emit.Cast(is_zero, DstT=dtypes.int32), ids)
    kept = emit.SelectV2(emit.Greater(zeros, 1), zero, dy)
    filled = emit.SelectV2(is_zero, one, data)
    rest = emit.GatherV2(emit.SegmentProd(filled, ids), ids, 0)
    whole = emit.GatherV2(op.outputs[0], ids, 0)
    partial = emit.SelectV2(is_zero, rest, emit.RealDiv(whole, filled))
    return [emit.Mul(emit.GatherV2(kept, ids, 0), partial), None]


def segment_sum(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Returns per segment (sorted ids) the sum of its rows."""
    return emit.SegmentSum(data, segment_ids, name=name)


def segment_mean(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Returns per segment (sorted ids) the mean of its rows."""
    return emit.SegmentMean(data, segment_ids, name=name)


def segment_max(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Returns per segment (sorted ids) the greatest of its rows."""
    return emit.SegmentMax(data, segment_ids, name=name)


def segment_min(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Returns per segment (sorted ids) the least of its rows."""
    return emit.SegmentMin(data, segment_ids, name=name)


def segment_prod(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Returns per segment (sorted ids) the product of its rows."""
    return emit.SegmentProd(data, segment_ids, name=name)


# ---------------------------------------------------------------------------- rows picked by index

_PICKED = "Tidx:type{int32|int64}=int32; Tsegmentids:type{int32|int64}=int32; sparse_gradient:bool=false"
_PICKED_COUNTED = (
    "Tidx:type{int32|int64}=int32; Tnumsegments:type{int32|int64}=int32; Tsegmentids:type{int32|int64}=int32; "
    "sparse_gradient:bool=false"
)
# What the sum of a segment of so many rows is divided by.
_DIVISORS: dict[str, Callable[[Array], Array]] = {
    "Sum": np.ones_like,
    "Mean": lambda counts: np.maximum(counts, 1),
    "SqrtN": lambda counts: np.sqrt(np.maximum(counts, 1)),
}


def _picked_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 1, "data").as_tuple()
    indices, ids = rank_exactly(node, 1, 1, "indices"), rank_exactly(node, 2, 1, "segment_ids")
    if not indices.is_compatible_with(ids):
        raise ShapeError(f"indices {indices} and segment_ids {ids} must have one shape")
    count: int | None = None
    if len(node.inputs) > 3:
        rank_exactly(node, 3, 0, "num_segments")
        value = node.constant(3)
        if value is not None and value < 0:
            raise ShapeError(f"num_segments must not be negative, got {int(value)}")
        count = None if value is None else int(value)
    return UNKNOWN if sizes is None else TensorShape((count, *sizes[1:]))


def _picked(kind: str, data: Array, indices: Array, ids: Array, count: Array | None) -> Array:
    if indices.shape != ids.shape:
        raise refuse("segment_ids and indices should have same size.")
    if np.any(np.diff(ids) < 0):
        raise refuse("segment ids are not increasing")
    if ids.size and ids[0] < 0:
        raise refuse("segment ids must be >= 0")
    if np.any((indices < 0) | (indices >= data.shape[0])):
        raise refuse(f"indices must be in [0, {data.shape[0]})")
    size = (int(ids[-1]) + 1 if ids.size else 0) if count is None else int(count)
    if size < 0 or (ids.size and int(ids[-1]) >= size):
        raise refuse(f"segment ids must be < num_segments = {size}")
    result = np.zeros((size, *data.shape[1:]), data.dtype)
    np.add.at(result, ids, data[indices])
    return np.asarray(result / _each(kind, ids, result)) if kind != "Sum" else result


def _each(kind: str, ids: Array, rows: Array) -> Array:
    """The divisors of segments, shaped to divide their rows."""
    counts = np.bincount(ids, minlength=len(rows)).astype(rows.dtype)
    return _DIVISORS[kind](counts).reshape(-1, *([1] * (rows.ndim - 1)))


def _picked_op(kind: str, counted: bool) -> OpDef:
    @widened
    def body(data: Array, indices: Array, segment_ids: Array) -> Array:
        return _picked(kind, data, indices, segment_ids, None)

    @widened
    def counted_body(data: Array, indices: Array, segment_ids: Array, num_segments: Array) -> Array:
        return _picked(kind, data, indices, segment_ids, num_segments)

    meaning = {"Sum": "sum", "Mean": "mean", "SqrtN": "sum over the root of the number"}[kind]
    chosen = counted_body if counted else body
    chosen.__doc__ = f"Per segment (sorted ids) the {meaning} of the rows that `indices` pick."
    types = f"{FLOATS}|{INTEGERS}" if kind == "Sum" else FLOATS
    inputs = "data:T; indices:Tidx; segment_ids:Tsegmentids" + (
        "; num_segments:Tnumsegments" if counted else ""
    )
    definition = op(
        f"SparseSegment{kind}" + ("WithNumSegments" if counted else ""), inputs, "output:T",
        f"T:type{{{types}}}; {_PICKED_COUNTED if counted else _PICKED}", infer=_picked_shape,
    )(chosen)  # fmt: skip

    @definition.gradient
    def gradient(op: Any, dy: Any) -> list[Any]:
        data, indices, ids = op.inputs[:3]
        rows = emit.StridedSlice(emit.Shape(data), [0], [1], [1], shrink_axis_mask=1)
        back = getattr(emit, f"SparseSegment{kind}Grad")(dy, indices, ids, rows)
        back.set_shape(data.shape)
        return [back] + [None] * (len(op.inputs) - 1)

    return definition


def _spread_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 1, "grad").as_tuple()
    rank_exactly(node, 1, 1, "indices")
    rank_exactly(node, 2, 1, "segment_ids")
    rank_exactly(node, 3, 0, "output_dim0")
    count = node.constant(3)
    return UNKNOWN if sizes is None else TensorShape((None if count is None else int(count), *sizes[1:]))


def _spread_op(kind: str) -> OpDef:
    @widened
    def body(grad: Array, indices: Array, segment_ids: Array, output_dim0: Array) -> Array:
        """Carries the gradient of segments back to the rows that were picked."""
        rows = int(output_dim0)
        if np.any((indices < 0) | (indices >= rows)):
            raise refuse(f"indices must be in [0, {rows})")
        if np.any((segment_ids < 0) | (segment_ids >= len(grad))):
            raise refuse(f"segment ids must be in [0, {len(grad)})")
        result = np.zeros((rows, *grad.shape[1:]), grad.dtype)
        np.add.at(result, indices, (grad / _each(kind, segment_ids, grad))[segment_ids])
        return result

    definition = op(
        f"SparseSegment{kind}Grad", "grad:T; indices:Tidx; segment_ids:Tsegmentids; output_dim0:int32", "output:T",
        f"T:type{{{FLOATS}}}; Tidx:type{{int32|int64}}=int32; Tsegmentids:type{{int32|int64}}=int32",
        infer=_spread_shape,
    )(body)  # fmt: skip

    @definition.gradient
    def gradient(op: Any, dz: Any) -> list[Any]:
        grad, indices, ids, _ = op.inputs
        count = emit.StridedSlice(emit.Shape(grad), [0], [1], [1], shrink_axis_mask=1)
        back = getattr(emit, f"SparseSegment{kind}WithNumSegments")(dz, indices, ids, count)
        return [back, None, None, None]

    return definition


for _kind in _DIVISORS:
    _picked_op(_kind, False)
    _picked_op(_kind, True)
    _spread_op(_kind)


def _sparse_segments(
    kind: str, data: Any, indices: Any, ids: Any, name: Any, count: Any, sparse: bool
) -> Tensor:
    result: Tensor
    if count is None:
        build = getattr(emit, f"SparseSegment{kind}")
        result = build(data, indices, ids, sparse_gradient=sparse, name=name)
    else:
        build = getattr(emit, f"SparseSegment{kind}WithNumSegments")
        result = build(data, indices, ids, count, sparse_gradient=sparse, name=name)
    return result


def sparse_segment_sum(
    data: Any, indices: Any, segment_ids: Any, name: str | None = None, num_segments: Any = None,
    sparse_gradient: bool = False,
) -> Tensor:  # fmt: skip
    """Returns per segment the sum of the rows of `data` that `indices` pick.

    Args:
      data: [rows, ...].
      indices: int32 or int64 [n].
      segment_ids: int32 or int64 [n], sorted: the segment that each picked row belongs to.
      name: a name.
      num_segments: how many segments there are; default: up to the greatest id.
      sparse_gradient: an attribute for TensorFlow; the gradient is the same either way.
    """
    return _sparse_segments("Sum", data, indices, segment_ids, name, num_segments, sparse_gradient)


def sparse_segment_mean(
    data: Any, indices: Any, segment_ids: Any, name: str | None = None, num_segments: Any = None,
    sparse_gradient: bool = False,
) -> Tensor:  # fmt: skip
    """Returns per segment the mean of the rows of `data` that `indices` pick; see `sparse_segment_sum`."""
    return _sparse_segments("Mean", data, indices, segment_ids, name, num_segments, sparse_gradient)


def sparse_segment_sqrt_n(
    data: Any, indices: Any, segment_ids: Any, name: str | None = None, num_segments: Any = None,
    sparse_gradient: bool = False,
) -> Tensor:  # fmt: skip
    """Returns per segment the sum of the rows that `indices` pick over the root of their number.

    The arguments are those of `sparse_segment_sum`.
    """
    return _sparse_segments("SqrtN", data, indices, segment_ids, name, num_segments, sparse_gradient)


__all__ = [
    "segment_max", "segment_mean", "segment_min", "segment_prod", "segment_sum", "sparse_segment_mean",
    "sparse_segment_sqrt_n", "sparse_segment_sum", "unsorted_segment_max", "unsorted_segment_mean",
    "unsorted_segment_min", "unsorted_segment_prod", "unsorted_segment_sqrt_n", "unsorted_segment_sum",
]  # fmt: skip
