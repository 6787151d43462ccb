"""Crosses of features: one value for each combination of the values of several columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import int64, string
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.hashing import cat_fingerprints, farm_hash
from graphflow.ops.rules import refuse
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]
# The key that TensorFlow crosses with where none is given.
_DEFAULT_KEY = 0xDECAFCAFFE


def _shapes(node: Any) -> list[TensorShape]:
    del node
    return [TensorShape([None, 2]), TensorShape([None]), TensorShape([2])]


def _by_row(
    indices: list[Array], values: list[Array], shapes: list[Array], dense: list[Array], rows: int
) -> list[list[list[Any]]]:
    """The values of each column in each row, the sparse columns first."""
    found: list[list[list[Any]]] = []
    for places, column, shape in zip(indices, values, shapes, strict=True):
        if places.ndim != 2 or places.shape[1] != 2 or len(places) != len(column) or shape.shape != (2,):
            raise refuse("each sparse column must be a matrix: indices [n, 2], values [n], shape [2]")
        own: list[list[Any]] = [[] for _ in range(rows)]
        for (row, _), value in zip(places.tolist(), column.tolist(), strict=True):
            if not 0 <= row < rows:
                raise refuse(f"row {row} of a column is not in [0, {rows})")
            own[row].append(value)
        found.append(own)
    return [*found, *(column.tolist() for column in dense)]


@op("SparseCross", "indices:N*int64; values:list(sparse_types); shapes:N*int64; dense_inputs:list(dense_types)",
    "output_indices:int64; output_values:out_type; output_shape:int64",
    "N:int>=0; hashed_output:bool; num_buckets:int>=0; hash_key:int; sparse_types:list(type){int64|string}>=0; "
    "dense_types:list(type){int64|string}>=0; out_type:type{int64|string}; internal_type:type{int64|string}",
    infer=_shapes, differentiable=False)  # fmt: skip
def sparse_cross_op(
    indices: list[Array], values: list[Array], shapes: list[Array], dense_inputs: list[Array], *,
    hashed_output: bool, num_buckets: int, hash_key: int, out_type: Any, internal_type: Any,
) -> list[Array]:  # fmt: skip
    """Every combination of the columns' values in a row: a text "a_X_b", or the hash of its parts."""
    del internal_type
    counts = {int(shape[0]) for shape in shapes if shape.shape == (2,)} | {
        len(column) for column in dense_inputs
    }
    if len(counts) > 1:
        raise refuse(f"the columns differ in their numbers of rows: {sorted(counts)}")
    if any(column.ndim != 2 for column in dense_inputs):
        raise refuse("each dense column must be a matrix")
    rows = counts.pop() if counts else 0
    columns = _by_row(indices, values, shapes, dense_inputs, rows)
    places: list[tuple[int, int]] = []
    made: list[Any] = []
    widest = 0
    for row in range(rows):
        crossed = list(itertools.product(*(column[row] for column in columns))) if columns else []
        widest = max(widest, len(crossed))
        for number, parts in enumerate(crossed):
            places.append((row, number))
            if hashed_output:
                total = hash_key & 0xFFFFFFFFFFFFFFFF
                for part in parts:
                    own = farm_hash(part) if isinstance(part, bytes) else part & 0xFFFFFFFFFFFFFFFF
                    total = cat_fingerprints(total, own)
                # Without buckets the number may be any but the largest of int64.
                made.append(total % (num_buckets or 2**63 - 1))
            else:
                texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
                made.append(b"_X_".join(texts))
    flat: Array = np.empty(len(made), object if out_type is string else np.int64)
    flat[:] = made
    return [
        np.array(places, np.int64).reshape(-1, 2), flat, np.array([rows, widest], np.int64),
    ]  # fmt: skip


def _crossed(
    inputs: Sequence[Any], hashed: bool, num_buckets: int, key: int, name: str | None
) -> SparseTensor:
    if not isinstance(inputs, list | tuple) or not inputs:
        raise TypeError(f"Inputs must be a list of tensors and SparseTensors, got {inputs!r}")
    with name_scope(name, "SparseCross", list(inputs)):
        columns: list[Any] = [x if isinstance(x, SparseTensor) else convert_to_tensor(x) for x in inputs]
        sparse = [x for x in columns if isinstance(x, SparseTensor)]
        dense = [x for x in columns if not isinstance(x, SparseTensor)]

        def wide(x: Tensor) -> Tensor:
            return x if x.dtype in (string, int64) else emit.Cast(x, DstT=int64)

        values, rest = [wide(x.values) for x in sparse], [wide(x) for x in dense]
        has_texts = any(x.dtype is string for x in (*values, *rest))
        found = emit.SparseCross(
            [x.indices for x in sparse], values, [x.dense_shape for x in sparse], rest, hashed_output=hashed,
            num_buckets=num_buckets, hash_key=key, out_type=int64 if hashed else string,
            internal_type=string if has_texts or not hashed else int64,
        )  # fmt: skip
        return SparseTensor(*found)


def cross(inputs: Sequence[Any], name: str | None = None) -> SparseTensor:
    """Returns the combinations of the columns' values as texts, such as "a_X_b".

    Args:
      inputs: tensors or SparseTensors [batch, ?] of texts or integers.
      name: a name.

    Returns:
      SparseTensor [batch, ?] of texts.
    """
    return _crossed(inputs, False, 0, _DEFAULT_KEY, name)


def cross_hashed(
    inputs: Sequence[Any], num_buckets: int = 0, hash_key: int | None = None, name: str | None = None
) -> SparseTensor:
    """Returns the hashes of the combinations of the columns' values.

    Args:
      inputs: tensors or SparseTensors [batch, ?] of texts or integers.
      num_buckets: hashes are below it; 0: of any size.
      hash_key: another key gives other hashes.
      name: a name.

    Returns:
      SparseTensor [batch, ?] of int64.
    """
    return _crossed(inputs, True, num_buckets, _DEFAULT_KEY if hash_key is None else hash_key, name)


__all__ = ["cross", "cross_hashed"]
