"""Ops that count: bins of integers, histograms, buckets, confusion matrices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.rules import Array, rank_at_most, rank_exactly, refuse, same_as_first, undefined_gradient
from graphflow.shapes import UNKNOWN, TensorShape


@op("Bincount", "arr:int32; size:int32; weights:T", "bins:T", "T:type{int32|int64|float32|float64}",
    infer=lambda node: _bins_shape(node, 1))  # fmt: skip
def bincount_op(arr: Array, size: Array, weights: Array) -> Array:
    """How often (or with what weight) each of the first `size` integers stands in `arr`; greater ones are left out."""
    return _counted(arr.reshape(1, -1), int(size), weights, False)[0]


bincount_op.gradient(undefined_gradient)


@bincount_op.expand
def _bincount_expand(b: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """A sum of weights by segments, of which those past the last bin are none."""
    values, size, weights = inputs
    count = None if values.sizes is None else math.prod(values.sizes)
    if not count or size.constant is None or int(size.constant) <= 0 or weights.sizes is None:
        return None
    if weights.sizes != (0,) and math.prod(weights.sizes) != count:
        return None
    one, vector = b.constant(np.ones((), weights.dtype.numpy)), b.constant(np.array([-1], np.int32))
    ids = b.emit("GraphflowNatural", b.emit("Reshape", values, vector))
    if weights.sizes == (0,):
        each = b.emit("Fill", b.emit("Shape", ids), one)
    else:
        each = b.emit("Reshape", weights, vector)
    below = b.emit("SelectV2", b.emit("Less", ids, size), ids, b.constant(np.int32(-1)))
    return [b.emit("UnsortedSegmentSum", each, below, size)]


def _bins_shape(node: Any, position: int) -> TensorShape:
    rank_exactly(node, position, 0, "size")
    size = node.constant(position)
    if size is not None and size < 0:
        raise ShapeError(f"size ({int(size)}) must be non-negative")
    return TensorShape([None if size is None else int(size)])


def _counted(values: Array, size: int, weights: Array, binary: bool) -> Array:
    """Row by row, the weights of each integer below `size`."""
    if size < 0:
        raise refuse(f"size ({size}) must be non-negative")
    if values.size and values.min() < 0:
        raise refuse("Input arr must be non-negative!")
    if weights.size and weights.size != values.size:
        raise refuse(
            "`weights` must be the same shape as `arr` or a length-0 `Tensor`, in which case it acts as all weights "
            f"equal to 1. Received {list(weights.shape)}"
        )
    result = np.zeros((len(values), size), weights.dtype)
    rows, places = np.nonzero(values < size)
    bins = values[rows, places]
    if binary:
        result[rows, bins] = 1
    else:
        np.add.at(result, (rows, bins), weights.reshape(values.shape)[rows, places] if weights.size else 1)
    return result


def _dense_bins_shape(node: Any) -> TensorShape:
    rank_at_most(node, 0, 2, "input")
    bins = _bins_shape(node, 1)
    sizes = node.inputs[0].shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    return bins if len(sizes) < 2 else TensorShape([sizes[0]]).concatenate(bins)


@op("DenseBincount", "input:Tidx; size:Tidx; weights:T", "output:T",
    "Tidx:type{int32|int64}; T:type{int32|int64|float32|float64}; binary_output:bool=false",
    infer=_dense_bins_shape)  # fmt: skip
def dense_bincount_op(input: Array, size: Array, weights: Array, *, binary_output: bool = False) -> Array:
    """How often (or with what weight, or whether) each integer below `size` stands in a vector, or in each row."""
    if input.ndim > 2:
        raise refuse(f"input must be at most rank 2, has shape {list(input.shape)}")
    rows = input if input.ndim == 2 else input.reshape(1, -1)
    result = _counted(rows, int(size), weights, binary_output)
    return result if input.ndim == 2 else result[0]


dense_bincount_op.gradient(undefined_gradient)


def bincount(
    arr: Any, weights: Any = None, minlength: Any = None, maxlength: Any = None, dtype: Any = dtypes.int32
) -> Tensor:
    """Returns how often each non-negative integer stands in `arr`.

    Args:
      arr: integers of any shape.
      weights: None, or a tensor of that shape: what each adds to its bin in place of 1.
      minlength: how many bins there are at least.
      maxlength: how many bins there are at most; greater integers are left out.
      dtype: dtype of the bins where there are no weights.

    Returns:
      The bins: a vector up to the greatest integer.
    """
    with name_scope(None, "bincount"):
        whole = cast(convert_to_tensor(arr, name="arr"), dtypes.int32)
        known = emit.Greater(emit.Size(whole), 0)
        axes = emit.Range(0, emit.Rank(whole), 1)
        size = emit.Mul(emit.Cast(known, DstT=dtypes.int32), emit.AddV2(emit.Max(whole, axes), 1))
        if minlength is not None:
            size = emit.Maximum(convert_to_tensor(minlength, dtypes.int32, name="minlength"), size)
        if maxlength is not None:
            size = emit.Minimum(convert_to_tensor(maxlength, dtypes.int32, name="maxlength"), size)
        each = convert_to_tensor(np.zeros(0), dtype) if weights is None else convert_to_tensor(weights)
        result: Tensor = emit.Bincount(whole, size, each)
        return result


def _histogram_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 1, "value_range")
    rank_exactly(node, 2, 0, "nbins")
    count = node.constant(2)
    if count is not None and count <= 0:
        raise ShapeError(f"Requires nbins > 0, got {int(count)}")
    return TensorShape([None if count is None else int(count)])


@op("HistogramFixedWidth", "values:T; value_range:T; nbins:int32", "out:dtype",
    "T:type{int32|int64|float32|float64}; dtype:type{int32|int64}=int32", infer=_histogram_shape,
    differentiable=False)  # fmt: skip
def histogram_fixed_width_op(
    values: Array, value_range: Array, nbins: Array, *, dtype: DType = dtypes.int32
) -> Array:
    """How many values lie in each of so many equal parts of a range; those outside count at its ends."""
    low, high = (value_range[i].item() for i in range(2)) if value_range.shape == (2,) else (0, 0)
    count = int(nbins)
    if value_range.shape != (2,) or not low < high:
        raise refuse(
            f"value_range should satisfy value_range[0] < value_range[1], but got {value_range.tolist()}"
        )
    if count <= 0:
        raise refuse(f"nbins should be a positive number, but got {count}")
    if np.isnan(values).any():
        raise refuse("values must not contain NaN")
    step = (high - low) / count
    places = np.clip((values.astype(np.float64) - low) / step, 0, count - 1).astype(np.int64)
    return np.bincount(places.ravel(), minlength=count).astype(dtype.numpy)


def histogram_fixed_width(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = dtypes.int32, name: str | None = None
) -> Tensor:
    """Returns how many values lie in each of `nbins` equal parts of a range; those outside count at its ends.

    Args:
      values: numbers of any shape.
      value_range: [2]: the ends.
      nbins: how many parts.
      dtype: int32 or int64.
      name: a name.
    """
    with name_scope(name, "histogram_fixed_width", [values, value_range, nbins]) as scope:
        result: Tensor = emit.HistogramFixedWidth(
            values, value_range, nbins, dtype=as_dtype(dtype), name=scope
        )
        return result


def histogram_fixed_width_bins(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = dtypes.int32, name: str | None = None
) -> Tensor:
    """Returns in which of `nbins` equal parts of a range each value lies, int32; those outside at its ends."""
    with name_scope(name, "histogram_fixed_width_bins", [values, value_range, nbins]):
        x = convert_to_tensor(values, name="values")
        ends = convert_to_tensor(value_range, x.dtype, name="value_range")
        count = emit.Cast(convert_to_tensor(nbins, dtypes.int32, name="nbins"), DstT=x.dtype)
        scaled = (x - ends[0]) / (ends[1] - ends[0])
        place = emit.Floor(emit.Cast(count, DstT=scaled.dtype) * scaled)
        top = emit.Cast(count, DstT=scaled.dtype) - 1.0
        result: Tensor = emit.Cast(emit.Maximum(emit.Minimum(place, top), 0.0), DstT=dtypes.int32)
        return result


@op("Bucketize", "input:T", "output:int32", "T:type{int32|int64|float32|float64}; boundaries:list(float)",
    infer=same_as_first, differentiable=False)  # fmt: skip
def bucketize_op(input: Array, *, boundaries: tuple[float, ...]) -> Array:
    """Between which two of rising boundaries each element lies; one equal to a boundary lies above it."""
    if any(b < a for a, b in itertools.pairwise(boundaries)):
        raise refuse("Expected sorted boundaries")
    return np.searchsorted(np.array(boundaries, np.float64), input.astype(np.float64), "right")


def _without_last_one(x: Tensor, other: Tensor) -> Tensor:
    """Drops a last dimension of size one from the tensor that has one dimension more than the other."""
    mine, theirs = x.shape, other.shape
    if mine.rank is not None and theirs.rank is not None:
        if mine.rank - theirs.rank == 1 and mine.as_list()[-1] in (1, None):
            squeezed: Tensor = emit.Squeeze(x, squeeze_dims=[-1])
            return squeezed
    return x


def confusion_matrix(
    labels: Any, predictions: Any, num_classes: Any = None, dtype: Any = dtypes.int32, name: str | None = None,
    weights: Any = None,
) -> Tensor:  # fmt: skip
    """Returns how often each class (row) was taken for each class (column).

    Args:
      labels: the true classes, [n].
      predictions: the predicted classes, [n].
      num_classes: how many classes there are; default: up to the greatest mentioned.
      dtype: dtype of the matrix.
      name: a name.
      weights: None, or [n]: what each adds in place of 1.

    Returns:
      [num_classes, num_classes]; classes that are negative or too great are an error in the run.
    """
    with name_scope(name, "confusion_matrix", [predictions, labels, num_classes, weights]):
        labels, predictions = convert_to_tensor(labels), convert_to_tensor(predictions)
        labels, predictions = _without_last_one(labels, predictions), _without_last_one(predictions, labels)
        rows, columns = cast(labels, dtypes.int64), cast(predictions, dtypes.int64)
        if num_classes is None:
            greatest = emit.Maximum(emit.Max(columns, [0]), emit.Max(rows, [0]))
            num_classes = emit.AddV2(greatest, np.int64(1))
        else:
            num_classes = cast(num_classes, dtypes.int64)
        kind = as_dtype(dtype)
        if weights is None:
            each = emit.OnesLike(cast(columns, kind))
        else:
            each = cast(convert_to_tensor(weights, name="weights"), kind)
            columns.shape.assert_is_compatible_with(each.shape)
        places = emit.Pack([rows, columns], axis=1)
        result: Tensor = emit.ScatterNd(places, each, emit.Pack([num_classes, num_classes]))
        return result


__all__ = [
    "bincount", "confusion_matrix", "histogram_fixed_width", "histogram_fixed_width_bins",
]  # fmt: skip
