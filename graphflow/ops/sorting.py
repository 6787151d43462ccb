"""Ops that order and look up: the greatest elements, sorting, distinct values, differences of lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.rules import (
    NUMBERS,
    REALS,
    Array,
    canonical_axis,
    rank_at_least,
    rank_exactly,
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
    infer=lambda node: _top_k_shapes(rank_at_least(node, 0, 1, "the input"), node.attrs["k"]))  # fmt: skip
def top_k_op(input: Array, *, k: int) -> tuple[Array, Array]:
    """The k largest elements along the last axis and where they stand."""
    return _top_k(input, k)


def _top_k_v2_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 1, 0, "k")
    count = node.constant(1)
    if count is not None and count < 0:
        raise ShapeError(f"Need k >= 0, got {int(count)}")
    return _top_k_shapes(rank_at_least(node, 0, 1, "the input"), None if count is None else int(count))


@op("TopKV2", "input:T; k:Tk", "values:T; indices:index_type",
    f"sorted:bool=true; T:type{{{REALS}}}; Tk:type{{int16|int32|int64}}=int32; "
    "index_type:type{int16|int32|int64}=int32",
    infer=_top_k_v2_shape)  # fmt: skip
def top_k_v2_op(input: Array, k: Array, *, index_type: DType = dtypes.int32) -> tuple[Array, Array]:
    """The k largest elements along the last axis and where they stand."""
    values, indices = _top_k(input, int(k))
    return values, indices.astype(index_type.numpy)


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


__all__ = [
    "argsort", "setdiff1d", "sort", "top_k", "unique", "unique_with_counts",
]  # fmt: skip
