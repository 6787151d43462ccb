"""Embeddings of sparse ids: the rows of a table, put together per example."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import cast, square, where
from graphflow.ops.layout import concat, gather, reshape, tile
from graphflow.ops.nn import embedding_lookup
from graphflow.ops.reduction import reduce_prod
from graphflow.ops.segments import (
    segment_sum,
    sparse_segment_mean,
    sparse_segment_sqrt_n,
    sparse_segment_sum,
)
from graphflow.ops.sorting import unique
from graphflow.ops.sparse import sparse_fill_empty_rows, sparse_reshape, sparse_retain
from graphflow.ops.sparse_tensor import SparseTensor, as_sparse, is_sparse

_PLAIN = {"sum": sparse_segment_sum, "mean": sparse_segment_mean, "sqrtn": sparse_segment_sqrt_n}


def _combiner(combiner: str | None) -> str:
    chosen = "mean" if combiner is None else combiner
    if chosen not in _PLAIN:
        raise ValueError(f"combiner must be one of 'mean', 'sqrtn' or 'sum', got {combiner}")
    return chosen


def _parts(params: Any) -> list[Any]:
    if hasattr(params, "_get_variable_list"):
        return list(params)
    return list(params) if isinstance(params, list | tuple) else [params]


def embedding_lookup_sparse(
    params: Any, sp_ids: Any, sp_weights: Any, partition_strategy: str = "mod", name: str | None = None,
    combiner: str | None = None, max_norm: Any = None, allow_fast_lookup: bool = False,
) -> Tensor:  # fmt: skip
    """Looks the ids of each row of a sparse matrix up in a table, and puts them together.

    Args:
      params: a tensor or variable [n, ...], or a list of the parts of such a table.
      sp_ids: a sparse tensor [rows, any] of int32 or int64.
      sp_weights: a sparse tensor of the same places, or None for ones.
      partition_strategy: how a table in parts is cut; see `embedding_lookup`.
      name: a name.
      combiner: "sum", "mean" (by the sum of weights, the default), or "sqrtn" (by the root of their squares' sum).
      max_norm: rows of larger l2 norm are scaled down to it.
      allow_fast_lookup: accepted.

    Returns:
      [rows, ...]; zeros where a row has no id.

    Raises:
      TypeError: if ids or weights are not sparse.
      ValueError: for another combiner.
    """
    chosen = _combiner(combiner)
    parts = _parts(params)
    if not is_sparse(sp_ids):
        raise TypeError("sp_ids must be SparseTensor")
    if sp_weights is not None and not is_sparse(sp_weights):
        raise TypeError("sp_weights must be either None or SparseTensor")
    ids = as_sparse(sp_ids)
    with name_scope(name, "embedding_lookup_sparse", [*parts, ids]) as scope:
        segments = cast(ids.indices[:, 0], dtypes.int32)
        different, places = unique(ids.values)
        rows = embedding_lookup(parts, different, partition_strategy=partition_strategy, max_norm=max_norm)
        if sp_weights is None:
            return _PLAIN[chosen](rows, places, segments, name=scope)
        values = as_sparse(sp_weights).values
        rows = gather(rows, places)
        weights = cast(values, rows.dtype)
        if rows.shape.rank is None:
            raise ValueError("embedding_lookup_sparse with weights needs params of known rank")
        tail = [1] * (rows.shape.rank - 1)
        weights = reshape(weights, [-1, *tail])
        total = segment_sum(rows * weights, segments, name=scope if chosen == "sum" else None)
        if chosen == "sum":
            return total
        below = segment_sum(weights if chosen == "mean" else square(weights), segments)
        # Rows without ids stay zero.
        result: Tensor = emit.DivNoNan(total, below if chosen == "mean" else emit.Sqrt(below), name=scope)
        return result


def _kept(
    ids: SparseTensor, weights: SparseTensor | None, positive: bool
) -> tuple[SparseTensor, SparseTensor | None]:
    """Drops negative ids, and ids whose weight is not positive."""
    good = ids.values >= np.zeros((), ids.dtype.as_numpy_dtype)
    if weights is not None and positive:
        good = emit.LogicalAnd(good, weights.values > np.zeros((), weights.dtype.as_numpy_dtype))
    return sparse_retain(ids, good), None if weights is None else sparse_retain(weights, good)


def safe_embedding_lookup_sparse(
    embedding_weights: Any, sparse_ids: Any, sparse_weights: Any = None, combiner: str | None = "mean",
    default_id: Any = None, name: str | None = None, partition_strategy: str = "div", max_norm: Any = None,
    allow_fast_lookup: bool = False,
) -> Tensor:  # fmt: skip
    """Looks sparse ids up as `embedding_lookup_sparse`, without minding negative ids and rows that have none.

    Args:
      embedding_weights: the table, or a list of its parts.
      sparse_ids: a sparse tensor [..., any].
      sparse_weights: a sparse tensor of the same places; ids of weight zero or less count only for "sum".
      combiner: "sum", "mean" or "sqrtn".
      default_id: what rows without ids are given; default: zeros.
      name: a name.
      partition_strategy: how a table in parts is cut.
      max_norm: rows of larger l2 norm are scaled down to it.
      allow_fast_lookup: accepted.

    Returns:
      [..., dim].

    Raises:
      ValueError: if there is no table, or for another combiner.
    """
    chosen = _combiner(combiner)
    parts = _parts(embedding_weights)
    if not parts or parts[0] is None:
        raise ValueError(f"Missing embedding_weights {embedding_weights}.")
    ids = as_sparse(sparse_ids)
    weights = None if sparse_weights is None else as_sparse(sparse_weights)
    with name_scope(name, "embedding_lookup", [*parts, ids]) as scope:
        shape = ids.dense_shape
        rank = shape.shape.as_list()[0]
        if rank is None:
            raise ValueError("safe_embedding_lookup_sparse needs sparse_ids of known rank")
        flat = concat([reshape(reduce_prod(shape[: rank - 1]), [1]), shape[rank - 1 :]], 0)
        ids = sparse_reshape(ids, flat)
        if weights is not None:
            weights = SparseTensor(ids.indices, weights.values, ids.dense_shape)
        ids, weights = _kept(ids, weights, chosen != "sum")
        filled, empty = sparse_fill_empty_rows(ids, default_id or 0)
        if weights is not None:
            weights, _ = sparse_fill_empty_rows(weights, 1.0)
        result = embedding_lookup_sparse(
            parts, filled, weights, partition_strategy, None if default_id is None else scope, chosen, max_norm
        )  # fmt: skip
        if default_id is None:
            across = emit.Shape(result)[1]
            mask = tile(reshape(empty, [-1, 1]), emit.Pack([convert_to_tensor(1), across]))
            result = where(mask, emit.ZerosLike(result), result, name=scope)
        final = reshape(result, concat([cast(shape[: rank - 1], dtypes.int32), emit.Shape(result)[1:]], 0))
        known = ids.shape if rank == 2 else None
        inner = result.shape[1:]
        lead = [None] * (rank - 1) if known is None else known.as_list()[:1]
        final.set_shape([*lead, *inner.as_list()])
        return final


__all__ = ["embedding_lookup_sparse", "safe_embedding_lookup_sparse"]
