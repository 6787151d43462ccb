"""Sparse tensors as texts, three messages each: so they go through queues and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Tensor
from graphflow.opdef import emit, op
from graphflow.ops.messages import messages
from graphflow.ops.rules import Array
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape

Parts = tuple[Array, Array, Array]


def _fail(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def _held(parts: list[Array], out_type: DType) -> Array:
    """Three arrays as a vector: as serialized messages, or as they are for variants."""
    result: Array = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        result[i] = messages().serialize_tensor(part) if out_type is dtypes.string else np.array(part)
    return result


def _array(item: Any) -> Array:
    return item if isinstance(item, np.ndarray) else messages().parse_tensor(bytes(item))


def check_parts(indices: Array, values: Array, shape: Array) -> None:
    if indices.ndim != 2 or values.ndim != 1 or shape.ndim != 1:
        raise _fail(
            "a sparse tensor has indices [n, rank], values [n] and a shape [rank]; got "
            f"{list(indices.shape)}, {list(values.shape)} and {list(shape.shape)}"
        )
    if len(indices) != len(values) or indices.shape[1] != len(shape):
        raise _fail(
            f"indices {list(indices.shape)}, values {list(values.shape)} and shape {list(shape.shape)} of a sparse "
            "tensor do not fit together"
        )


def split_rows(indices: Array, values: Array, shape: Array) -> list[Parts]:
    """The rows of a sparse tensor, along its first axis.

    Raises:
      InvalidArgumentError: if the parts do not fit together, or have no rows.
    """
    check_parts(indices, values, shape)
    if len(shape) < 2:
        raise _fail(f"Rank of input SparseTensor should be > 1, but saw rank: {len(shape)}")
    count = int(shape[0])
    rows = indices[:, 0]
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise _fail(f"indices of rows are outside [0, {count})")
    found = []
    for row in range(count):
        chosen = rows == row
        found.append((indices[chosen, 1:], values[chosen], shape[1:]))
    return found


_SPARSE = "sparse_indices:int64; sparse_values:T; sparse_shape:int64"
_HELD = "T:type; out_type:type{string|variant}=string"


@op("SerializeSparse", _SPARSE, "serialized_sparse:out_type", _HELD, infer=lambda node: TensorShape([3]),
    differentiable=False)  # fmt: skip
def serialize_sparse_op(
    sparse_indices: Array, sparse_values: Array, sparse_shape: Array, *, out_type: DType
) -> Array:
    """A sparse tensor as three messages."""
    check_parts(sparse_indices, sparse_values, sparse_shape)
    return _held([sparse_indices, sparse_values, sparse_shape], out_type)


def _many(node: Any) -> TensorShape:
    shape = node.constant_shape(2).as_tuple()
    return TensorShape([shape[0] if shape else None, 3])


@op("SerializeManySparse", _SPARSE, "serialized_sparse:out_type", _HELD, infer=_many, differentiable=False)
def serialize_many_sparse_op(
    sparse_indices: Array, sparse_values: Array, sparse_shape: Array, *, out_type: DType
) -> Array:
    """The rows of a sparse tensor, along its first axis, as three messages each."""
    rows = split_rows(sparse_indices, sparse_values, sparse_shape)
    result: Array = np.empty((len(rows), 3), object)
    for row, parts in enumerate(rows):
        result[row] = _held(list(parts), out_type)
    return result


def _joined(serialized: Array, dtype: DType) -> Parts:
    """The sparse tensors of an array [..., 3] as one, with further axes in front for its own."""
    if serialized.ndim < 1 or serialized.shape[-1] != 3:
        raise _fail(f"Serialized sparse tensors have a last axis of 3, got shape {list(serialized.shape)}")
    places = serialized.shape[:-1]
    parts = []
    for place in np.ndindex(*places):
        one, held, size = (_array(item) for item in serialized[place])
        if one.dtype != np.int64 or size.dtype != np.int64:
            raise _fail("the messages hold no sparse tensor: indices and shape must be int64")
        check_parts(one, held, size)
        parts.append((one, held, size))
    return joined_parts(parts, places, dtype)


def joined_parts(parts: Sequence[Parts], places: tuple[int, ...], dtype: DType) -> Parts:
    """Sparse tensors that stand at the places of an array as one, with further axes in front for that array's."""
    indices, values, shape = [], [], None
    for place, (one, held, size) in zip(np.ndindex(*places), parts, strict=True):
        if as_dtype(held.dtype) is not dtype:
            raise _fail(f"Requested SparseTensor of type {dtype.name} but got {as_dtype(held.dtype).name}")
        if shape is not None and len(shape) != len(size):
            raise _fail(f"Inconsistent rank across SparseTensors: {len(shape)} and {len(size)}")
        shape = size if shape is None else np.maximum(shape, size)
        front = np.broadcast_to(np.array(place, np.int64), (len(one), len(place)))
        indices.append(np.concatenate([front, one], axis=1))
        values.append(held)
    if shape is None:
        raise _fail("there are no sparse tensors to join")
    whole = np.concatenate([np.array(places, np.int64), shape])
    return np.concatenate(indices), np.concatenate(values), whole


def _parts(node: Any) -> list[TensorShape]:
    return [TensorShape([None, None]), TensorShape([None]), TensorShape([None])]


@op("DeserializeSparse", "serialized_sparse:Tserialized",
    "sparse_indices:int64; sparse_values:dtype; sparse_shape:int64",
    "dtype:type; Tserialized:type{string|variant}=string", infer=_parts, differentiable=False)  # fmt: skip
def deserialize_sparse_op(serialized_sparse: Array, *, dtype: DType) -> tuple[Array, Array, Array]:
    """Sparse tensors out of messages, joined along new axes."""
    return _joined(serialized_sparse, dtype)


@op("DeserializeManySparse", "serialized_sparse:string",
    "sparse_indices:int64; sparse_values:dtype; sparse_shape:int64", "dtype:type", infer=_parts,
    differentiable=False)  # fmt: skip
def deserialize_many_sparse_op(serialized_sparse: Array, *, dtype: DType) -> tuple[Array, Array, Array]:
    """Sparse tensors out of the rows of [n, 3] messages, joined along a new first axis."""
    if serialized_sparse.ndim != 2:
        raise _fail(f"Serialized sparse should have 2 dimensions, got shape {list(serialized_sparse.shape)}")
    return _joined(serialized_sparse, dtype)


def serialize_sparse(
    sp_input: SparseTensor, name: str | None = None, out_type: Any = dtypes.string
) -> Tensor:
    """Returns a sparse tensor as three messages; string [3].

    Args:
      sp_input: the sparse tensor.
      name: a name.
      out_type: string or variant.
    """
    return emit.SerializeSparse(
        sp_input.indices, sp_input.values, sp_input.dense_shape, out_type=as_dtype(out_type), name=name
    )


def serialize_many_sparse(
    sp_input: SparseTensor, name: str | None = None, out_type: Any = dtypes.string
) -> Tensor:
    """Returns the rows of a sparse tensor as three messages each; string [rows, 3].

    Args:
      sp_input: the sparse tensor, of rank two or more.
      name: a name.
      out_type: string or variant.
    """
    return emit.SerializeManySparse(
        sp_input.indices, sp_input.values, sp_input.dense_shape, out_type=as_dtype(out_type), name=name
    )


def deserialize_sparse(
    serialized_sparse: Any, dtype: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """Returns the sparse tensor in messages.

    Args:
      serialized_sparse: string [..., 3]; further axes are put in front of the tensors' own.
      dtype: the dtype of its values.
      rank: its rank, if it is known.
      name: a name.
    """
    parts = emit.DeserializeSparse(serialized_sparse, dtype=as_dtype(dtype), name=name)
    return _sparse(parts, rank)


def deserialize_many_sparse(
    serialized_sparse: Any, dtype: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """Returns the sparse tensors in the rows of messages as one, along a new first axis.

    Args:
      serialized_sparse: string [rows, 3].
      dtype: the dtype of the values.
      rank: the rank of each sparse tensor, if it is known.
      name: a name.
    """
    parts = emit.DeserializeManySparse(serialized_sparse, dtype=as_dtype(dtype), name=name)
    return _sparse(parts, None if rank is None else rank + 1)


def _sparse(parts: Any, rank: int | None) -> SparseTensor:
    indices, values, shape = parts
    indices.set_shape([None, rank])
    shape.set_shape([rank])
    return SparseTensor(indices, values, shape)


__all__ = ["deserialize_many_sparse", "deserialize_sparse", "serialize_many_sparse", "serialize_sparse"]
