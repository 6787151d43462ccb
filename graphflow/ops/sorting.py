"""Ops that order and look up: the greatest elements, sorting, distinct values, differences of lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.elementwise import cast
from graphflow.ops.rules import (
    NUMBERS,
    REALS,
    Array,
    canonical_axis,
    checked_axis,
    rank_at_least,
    rank_exactly,
    refuse,
    shape_tensor,
)
from graphflow.shapes import UNKNOWN, TensorShape

# ---------------------------------------------------------------------------- where, unique


def _where_shape(node: Any) -> TensorShape:
    return TensorShape([None, node.inputs[0].shape.rank])


@op(
    "Where",
    "input:T",
    "index:int64",
    f"T:type{{{NUMBERS}|bool}}=bool",
    infer=_where_shape,
    differentiable=False,
)
def where_op(input: Array) -> Any:
    """The indices [n, rank] of the elements that are not zero, in row-major order."""
    return np.argwhere(input).astype(np.int64).reshape(-1, input.ndim)


def _unique_shape(node: Any) -> list[TensorShape]:
    return [TensorShape([None]), rank_exactly(node, 0, 1, "x")]


def _uniques(x: Array) -> tuple[Array, Array, Array]:
    """Distinct values in order of first mention, the place of each element among them, and counts."""
    # A dictionary keeps the first of equals and works for strings too; NaN is equal to nothing, as in TensorFlow.
    places: dict[Any, int] = {}
    index = np.empty(x.size, np.int64)
    firsts: list[int] = []
    for i, value in enumerate(x.tolist()):
        at = places.setdefault(value, len(firsts))
        if at == len(firsts):
            firsts.append(i)
        index[i] = at
    return x[np.array(firsts, np.int64)], index, np.bincount(index, minlength=len(firsts))


@op(
    "Unique", "x:T", "y:T; idx:out_idx", "T:type; out_idx:type{int32|int64}=int32", infer=_unique_shape,
    differentiable=False,
)  # fmt: skip
def unique_op(x: Array) -> Any:
    """The distinct values of a vector in order of first mention, and where each element's value stands."""
    values, index, _ = _uniques(x)
    return values, index


def unique(x: Any, out_idx: Any = dtypes.int32, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns the distinct values of a vector in order of first mention, and for each element its value's place."""
    return emit.Unique(x, out_idx=as_dtype(out_idx), name=name)


def _unique_counts_shape(node: Any) -> list[TensorShape]:
    return [TensorShape([None]), rank_exactly(node, 0, 1, "x"), TensorShape([None])]


@op(
    "UniqueWithCounts", "x:T", "y:T; idx:out_idx; count:out_idx", "T:type; out_idx:type{int32|int64}=int32",
    infer=_unique_counts_shape, differentiable=False,
)  # fmt: skip
def unique_with_counts_op(x: Array) -> Any:
    """As Unique, and how often each value stands there."""
    return _uniques(x)


def unique_with_counts(
    x: Any, out_idx: Any = dtypes.int32, name: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what `unique` does, and how often each value stands in the vector."""
    return emit.UniqueWithCounts(x, out_idx=as_dtype(out_idx), name=name)


def _unique_along(x: Array, axis: Array) -> tuple[Array, Array, Array]:
    """Distinct slices along an axis (of a vector, if none is named), in order of first mention."""
    if axis.size > 1 or axis.ndim > 1:
        raise refuse("axis does not support input tensors larger than 1 elements")
    if not axis.size:
        if x.ndim != 1:
            raise refuse("unique expects a 1D vector.")
        return _uniques(x)
    at = checked_axis(axis.ravel()[0], x.ndim)
    rows = np.moveaxis(x, at, 0)
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    if flat.shape[1] == 1:
        _, index, counts = _uniques(flat[:, 0])
    else:
        keys = np.empty(len(flat), object)
        keys[:] = [tuple(row) for row in flat.tolist()]
        _, index, counts = _uniques(keys)
    firsts = np.zeros(len(counts), np.int64)
    firsts[index[::-1]] = np.arange(len(flat))[::-1]
    return np.take(x, firsts, at), index, counts


def _unique_along_shape(node: Any) -> list[TensorShape]:
    shape = rank_at_least(node, 0, 1, "x")
    axes = node.constant(1)
    rest = [TensorShape([None])] * (len(node.op_def.outputs) - 1)
    sizes = shape.as_tuple()
    if sizes is None or axes is None:
        return [UNKNOWN if sizes is None else TensorShape([None] * len(sizes)), *rest]
    if not axes.size:
        return [TensorShape([None]), *rest]
    at = canonical_axis(int(axes.ravel()[0]), len(sizes))
    return [TensorShape((*sizes[:at], None, *sizes[at + 1 :])), *rest]


_ALONG = "T:type; Taxis:type{int32|int64}=int64; out_idx:type{int32|int64}=int32"


@op("UniqueV2", "x:T; axis:Taxis", "y:T; idx:out_idx", _ALONG, infer=_unique_along_shape,
    differentiable=False)  # fmt: skip
def unique_v2_op(x: Array, axis: Array) -> Any:
    """The distinct slices along an axis in order of first mention, and where each slice's like stands."""
    values, index, _ = _unique_along(x, axis)
    return values, index


@op("UniqueWithCountsV2", "x:T; axis:Taxis", "y:T; idx:out_idx; count:out_idx", _ALONG,
    infer=_unique_along_shape, differentiable=False)  # fmt: skip
def unique_with_counts_v2_op(x: Array, axis: Array) -> Any:
    """As UniqueV2, and how often each slice stands there."""
    return _unique_along(x, axis)


def _list_diff_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 1, "x")
    rank_exactly(node, 1, 1, "y")
    return [TensorShape([None]), TensorShape([None])]


@op(
    "ListDiff", "x:T; y:T", "out:T; idx:out_idx", "T:type; out_idx:type{int32|int64}=int32",
    infer=_list_diff_shape, differentiable=False,
)  # fmt: skip
def list_diff_op(x: Array, y: Array) -> Any:
    """The elements of one vector that another lacks, and where they stand."""
    there = set(y.tolist())
    kept = np.array([i for i, value in enumerate(x.tolist()) if value not in there], np.int64)
    return x[kept], kept


def setdiff1d(
    x: Any, y: Any, index_dtype: Any = dtypes.int32, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the elements of `x` that `y` lacks, and where they stand in `x`."""
    return emit.ListDiff(x, y, out_idx=as_dtype(index_dtype), name=name)


def _top_k_shapes(shape: TensorShape, k: int | None) -> list[TensorShape]:
    sizes = shape.as_tuple()
    if sizes is None:
        return [UNKNOWN, UNKNOWN]
    if k is not None and sizes[-1] is not None and sizes[-1] < k:
        raise ShapeError(f"input must have last dimension >= k = {k} but is {sizes[-1]}")
    chosen = TensorShape([*sizes[:-1], k])
    return [chosen, chosen]


def _top_k(x: Array, k: int) -> tuple[Array, Array]:
    size = x.shape[-1]
    if not 0 <= k <= size:
        raise InvalidArgumentError(None, None, f"input must have at least k columns. Had {size}, needed {k}")
    # Sorting the reversed rows puts, of equal elements, the one with the lower index first.
    order = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :k]
    indices = size - 1 - order
    return np.take_along_axis(x, indices, axis=-1), indices


@op("TopK", "input:T", "values:T; indices:int32", f"k:int>=0; sorted:bool=true; T:type{{{REALS}}}",
    infer=lambda node: _top_k_shapes(rank_at_least(node, 0, 1, "the input"), node.attrs["k"]),
    lowering="top_k")  # fmt: skip
def top_k_op(input: Array, *, k: int) -> tuple[Array, Array]:
    """The k largest elements along the last axis and where they stand."""
    return _top_k(input, k)


top_k_op.by_row(row_rules.along_last)


def _top_k_v2_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 1, 0, "k")
    count = node.constant(1)
    if count is not None and count < 0:
        raise ShapeError(f"Need k >= 0, got {int(count)}")
    return _top_k_shapes(rank_at_least(node, 0, 1, "the input"), None if count is None else int(count))


@op("TopKV2", "input:T; k:Tk", "values:T; indices:index_type",
    f"sorted:bool=true; T:type{{{REALS}}}; Tk:type{{int16|int32|int64}}=int32; "
    "index_type:type{int16|int32|int64}=int32",
    infer=_top_k_v2_shape, lowering="top_k")  # fmt: skip
def top_k_v2_op(input: Array, k: Array, *, index_type: DType = dtypes.int32) -> tuple[Array, Array]:
    """The k largest elements along the last axis and where they stand."""
    values, indices = _top_k(input, int(k))
    return values, indices.astype(index_type.numpy)


top_k_v2_op.by_row(row_rules.along_last)


@top_k_v2_op.gradient
def top_k_gradient(op: Any, d_values: Tensor | None, d_indices: Tensor | None) -> list[Any]:
    """The gradients of the chosen elements, put where those were."""
    rest = [None] * (len(op.inputs) - 1)
    if d_values is None:
        return [None, *rest]
    x, indices = op.inputs[0], cast(op.outputs[1], dtypes.int32)
    shape = shape_tensor(x)
    depth = emit.StridedSlice(shape, [-1], [0], [1], end_mask=1, shrink_axis_mask=1)
    chosen = emit.StridedSlice(emit.Shape(indices), [-1], [0], [1], end_mask=1)
    rows = emit.Reshape(indices, emit.ConcatV2([[-1], chosen], 0))
    total = emit.Size(x)
    starts = emit.ExpandDims(emit.Range(0, total, depth), -1)
    flat = emit.Reshape(rows + starts, np.array([-1, 1], np.int32))
    spread = emit.ScatterNd(flat, emit.Reshape(d_values, np.array([-1], np.int32)), emit.Pack([total]))
    return [emit.Reshape(spread, shape), *rest]


top_k_op.gradient(top_k_gradient)


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns the k largest elements along the last axis, largest first, and their indices.

    Args:
      input: [..., n].
      k: how many, at most n.
      sorted: accepted; the elements always come in order.
      name: a name.

    Returns:
      `(values, indices)`, each [..., k].
    """
    values, indices = emit.TopKV2(input, k, sorted=sorted, name=name)
    return values, indices


# ---------------------------------------------------------------------------- order


def _turned(x: Tensor) -> Tensor:
    """What sorts the other way round, and does so without overflow."""
    return emit.Invert(x) if x.dtype.is_integer else emit.Neg(x)


def _ordered(values: Any, axis: int, direction: str, places: bool) -> Tensor:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(f'Direction {direction} should be one of "ASCENDING", "DESCENDING"')
    x = convert_to_tensor(values, name="values")
    rank = x.shape.rank
    if rank is None:
        raise ValueError("the rank of the values must be known")
    at = canonical_axis(axis, rank)
    perm = [a for a in range(rank) if a != at] + [at]
    moved = x if at == rank - 1 else emit.Transpose(x, perm)
    ascending = direction == "ASCENDING"
    length = emit.StridedSlice(emit.Shape(moved), [-1], [0], [1], end_mask=1, shrink_axis_mask=1)
    greatest, where = emit.TopKV2(_turned(moved) if ascending else moved, length)
    result = where if places else (_turned(greatest) if ascending else greatest)
    return result if at == rank - 1 else emit.Transpose(result, np.argsort(perm).astype(np.int32))


def sort(values: Any, axis: int = -1, direction: str = "ASCENDING", name: str | None = None) -> Tensor:
    """Returns the values sorted along an axis.

    Args:
      values: a numeric tensor of known rank.
      axis: the axis.
      direction: "ASCENDING" or "DESCENDING".
      name: the name scope of the operations.

    Raises:
      ValueError: for another direction, an unknown rank or an axis outside it.
    """
    with name_scope(name, "sort"):
        return _ordered(values, axis, direction, False)


def argsort(
    values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False, name: str | None = None
) -> Tensor:
    """Returns where the sorted values stand along an axis, int32; always stable.

    The other arguments are those of `sort`.
    """
    with name_scope(name, "argsort"):
        return _ordered(values, axis, direction, True)


# ---------------------------------------------------------------------------- places in sorted rows


def _bound_shape(node: Any) -> TensorShape:
    rows, values = rank_exactly(node, 0, 2, "sorted_inputs"), rank_exactly(node, 1, 2, "values")
    if not rows[:1].is_compatible_with(values[:1]):
        raise ShapeError(f"sorted_inputs {rows} and values {values} must have equally many rows")
    return values


def _bound_op(op_type: str, side: Any) -> OpDef:
    def body(sorted_inputs: Array, values: Array) -> Array:
        if sorted_inputs.ndim != 2 or values.ndim != 2 or len(sorted_inputs) != len(values):
            raise refuse("Leading dim_size of both tensors must match.")
        pairs = zip(sorted_inputs, values, strict=True)
        found = [np.searchsorted(row, wanted, side) for row, wanted in pairs]
        return np.array(found, np.int64).reshape(values.shape)

    ends = "before" if side == "left" else "after"
    body.__doc__ = f"Row by row, where values would go among sorted ones, {ends} equal ones."
    return op(
        op_type, "sorted_inputs:T; values:T", "output:out_type", "T:type; out_type:type{int32|int64}=int32",
        infer=_bound_shape, differentiable=False,
    )(body)  # fmt: skip


lower_bound_op = _bound_op("LowerBound", "left")
upper_bound_op = _bound_op("UpperBound", "right")


def searchsorted(
    sorted_sequence: Any,
    values: Any,
    side: str = "left",
    out_type: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """Returns where values would go in sorted sequences.

    Args:
      sorted_sequence: [..., n], sorted along the last axis.
      values: [..., m], with the same leading axes.
      side: "left": before equal ones; "right": after them.
      out_type: int32 or int64.
      name: a name.

    Raises:
      ValueError: for another side.
    """
    if side not in ("left", "right"):
        raise ValueError(f"Argument `side` must be either 'right' or 'left'. Received: `side` = '{side}'.")
    with name_scope(name, "searchsorted", [sorted_sequence, values]):
        rows = convert_to_tensor(sorted_sequence)
        wanted = convert_to_tensor(values, rows.dtype)
        sizes, shape = emit.Shape(rows), emit.Shape(wanted)
        flat = emit.Reshape(rows, emit.Pack([-1, sizes[-1]]))
        flat_wanted = emit.Reshape(wanted, emit.Pack([-1, shape[-1]]))
        build = emit.LowerBound if side == "left" else emit.UpperBound
        result: Tensor = emit.Reshape(build(flat, flat_wanted, out_type=as_dtype(out_type)), shape)
        result.set_shape(wanted.shape)
        return result


def _nth_shape(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 1, "input")
    rank_exactly(node, 1, 0, "n")
    n = node.constant(1)
    if n is not None and n < 0:
        raise ShapeError(f"Need n >= 0, got {int(n)}")
    if shape.rank is None:
        return UNKNOWN
    size = shape.as_list()[-1]
    if n is not None and size is not None and n >= size:
        raise ShapeError(f"Input must have last dimension > n = {int(n)} but is {size}")
    return shape[:-1]


@op("NthElement", "input:T; n:int32", "values:T", f"reverse:bool=false; T:type{{{REALS}}}", infer=_nth_shape)
def nth_element_op(input: Array, n: Array, *, reverse: bool = False) -> Array:
    """The element that would stand at a place of each sorted row."""
    size, at = input.shape[-1], int(n)
    if not 0 <= at < size:
        raise refuse(f"Input must have at least n+1 columns, got {size} for n = {at}")
    at = size - 1 - at if reverse else at
    return np.asarray(np.partition(input, at, axis=-1)[..., at])


@nth_element_op.gradient
def _nth_element_gradient(op: Any, dy: Any) -> list[Any]:
    # All that are equal to the element share its gradient.
    x = op.inputs[0]
    chosen = emit.Cast(emit.Equal(emit.ExpandDims(op.outputs[0], -1), x), DstT=dy.dtype)
    count = emit.ExpandDims(emit.Sum(chosen, [-1]), -1)
    return [chosen / count * emit.ExpandDims(dy, -1), None]


# ---------------------------------------------------------------------------- edits


def _edit_shape(node: Any) -> TensorShape:
    shapes = [node.constant(position) for position in (2, 5)]
    if any(shape is None for shape in shapes):
        ranks = [node.inputs[position].shape.as_tuple() for position in (2, 5)]
        known = next((rank[0] for rank in ranks if rank is not None and rank[0] is not None), None)
        return UNKNOWN if known is None else TensorShape([None] * (known - 1))
    if len(shapes[0]) != len(shapes[1]):
        raise ShapeError(f"hypothesis has rank {len(shapes[0])}, truth {len(shapes[1])}")
    return TensorShape([int(max(a, b)) for a, b in zip(*shapes, strict=True)][:-1])


def _edits(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@op("EditDistance",
    "hypothesis_indices:int64; hypothesis_values:T; hypothesis_shape:int64; truth_indices:int64; truth_values:T; "
    "truth_shape:int64", "output:float32", "normalize:bool=true; T:type", infer=_edit_shape,
    differentiable=False)  # fmt: skip
def edit_distance_op(
    hypothesis_indices: Array, hypothesis_values: Array, hypothesis_shape: Array, truth_indices: Array,
    truth_values: Array, truth_shape: Array, *, normalize: bool = True,
) -> Array:  # fmt: skip
    """How many insertions, deletions and replacements turn each sequence into the true one, or how many per element."""
    if hypothesis_shape.shape != truth_shape.shape:
        raise refuse(f"ranks differ: {len(hypothesis_shape)} and {len(truth_shape)}")
    if np.any(hypothesis_shape < 0) or np.any(truth_shape < 0):
        raise refuse(f"sizes must not be negative, got {hypothesis_shape.tolist()}, {truth_shape.tolist()}")
    lead = np.maximum(hypothesis_shape, truth_shape)[:-1]
    sequences: list[dict[tuple[int, ...], list[Any]]] = []
    for indices, values in ((hypothesis_indices, hypothesis_values), (truth_indices, truth_values)):
        if len(indices) != len(values) or np.any(indices[:, :-1] >= lead) or np.any(indices < 0):
            raise refuse(
                f"indices of shape {list(indices.shape)} do not fit values {list(values.shape)} in {lead}"
            )
        found: dict[tuple[int, ...], list[Any]] = {}
        for index, value in zip(indices.tolist(), values.tolist(), strict=True):
            found.setdefault(tuple(index[:-1]), []).append(value)
        sequences.append(found)
    result = np.zeros(tuple(int(size) for size in lead), np.float32)
    for where in {*sequences[0], *sequences[1]}:
        mine, true = (found.get(where, []) for found in sequences)
        distance = float(_edits(mine, true))
        if normalize:
            distance = distance / len(true) if true else (math.inf if mine else 0.0)
        result[where] = distance
    return result


def edit_distance(
    hypothesis: Any, truth: Any, normalize: bool = True, name: str | None = "edit_distance"
) -> Tensor:
    """Returns how many insertions, deletions and replacements turn sequences into the true ones.

    Args:
      hypothesis: SparseTensor whose last dimension holds the sequences.
      truth: SparseTensor of the same rank.
      normalize: whether to divide by the length of the true sequence.
      name: a name.

    Returns:
      float32, without the last dimension.

    Raises:
      TypeError: if an operand is no SparseTensor.
    """
    for label, value in (("Hypothesis", hypothesis), ("Truth", truth)):
        if not all(hasattr(value, part) for part in ("indices", "values", "dense_shape")):
            raise TypeError(f"{label} must be a SparseTensor.")
    result: Tensor = emit.EditDistance(
        hypothesis.indices, hypothesis.values, hypothesis.dense_shape, truth.indices, truth.values,
        truth.dense_shape, normalize=normalize, name=name,
    )  # fmt: skip
    return result


__all__ = [
    "argsort", "edit_distance", "searchsorted", "setdiff1d", "sort", "top_k", "unique", "unique_with_counts",
]  # fmt: skip
