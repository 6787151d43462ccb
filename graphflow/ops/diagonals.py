"""Ops on the diagonals of matrices: putting on, taking off, replacing, and bands round them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.rules import (
    COMPLEX,
    FLOATS,
    Array,
    IndexMap,
    Sizes,
    rank_at_least,
    rank_exactly,
    refuse,
    same_as_first,
    zero_of,
)
from graphflow.shapes import UNKNOWN, TensorShape


def _diag_shape(node: Any) -> TensorShape:
    shape: TensorShape = rank_at_least(node, 0, 1, "diagonal")
    return shape.concatenate(shape)


@op("Diag", "diagonal:T", "output:T", f"T:type{{{FLOATS}|int32|int64|{COMPLEX}}}", infer=_diag_shape)
def diag_op(diagonal: Array) -> Any:
    """A tensor of twice the rank with the input on its diagonal and zeros elsewhere."""
    result = np.zeros((diagonal.size, diagonal.size), diagonal.dtype)
    np.fill_diagonal(result, diagonal.ravel())
    return result.reshape(diagonal.shape * 2)


@diag_op.gradient
def _diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.DiagPart(dy)]


def _diag_part_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    if not sizes or len(sizes) % 2:
        raise ShapeError(f"the rank must be even and positive, the shape is {node.inputs[0].shape}")
    half = len(sizes) // 2
    return TensorShape(sizes[:half]).merge_with(sizes[half:])


@op("DiagPart", "input:T", "diagonal:T", f"T:type{{{FLOATS}|int32|int64|{COMPLEX}}}", infer=_diag_part_shape)
def diag_part_op(input: Array) -> Any:
    """The diagonal of a tensor whose shape is some shape twice."""
    half = input.shape[: input.ndim // 2]
    if input.shape != half * 2:
        raise refuse(f"the shape must be some shape twice, is {list(input.shape)}")
    size = math.prod(half)
    return np.diagonal(input.reshape(size, size)).reshape(half)


@diag_part_op.gradient
def _diag_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Diag(dy)]


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Returns a tensor of twice the rank with `diagonal` on its diagonal."""
    return emit.Diag(diagonal, name=name)


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """Returns the diagonal of a tensor whose shape is some shape twice."""
    return emit.DiagPart(input, name=name)


def _matrix_diag_shape(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 1, "diagonal")
    sizes = shape.as_tuple()
    return UNKNOWN if sizes is None else TensorShape((*sizes, sizes[-1]))


@op("MatrixDiag", "diagonal:T", "output:T", "T:type", infer=_matrix_diag_shape)
def matrix_diag_op(diagonal: Array) -> Any:
    """Per batch entry, a square matrix with the vector on its diagonal."""
    size = diagonal.shape[-1]
    result = np.zeros((*diagonal.shape, size), diagonal.dtype)
    result[..., np.arange(size), np.arange(size)] = diagonal
    return result


@matrix_diag_op.gradient
def _matrix_diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixDiagPart(dy)]


def _matrix_diag_part_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 2, "input").as_tuple()
    if sizes is None:
        return UNKNOWN
    rows, columns = sizes[-2:]
    return TensorShape((*sizes[:-2], None if rows is None or columns is None else min(rows, columns)))


@op("MatrixDiagPart", "input:T", "diagonal:T", "T:type", infer=_matrix_diag_part_shape)
def matrix_diag_part_op(input: Array) -> Any:
    """Per batch entry, the diagonal of the matrix."""
    return np.diagonal(input, axis1=-2, axis2=-1)


@matrix_diag_part_op.gradient
def _matrix_diag_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixSetDiag(emit.ZerosLike(op.inputs[0]), dy)]


@matrix_diag_part_op.lower_index
def _matrix_diag_part_index(sizes: Sizes, strides: Sizes) -> IndexMap:
    return 0, (*strides[:-2], strides[-2] + strides[-1])


def _matrix_set_diag_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 2, "input").as_tuple()
    diagonal: TensorShape = node.inputs[1].shape
    if sizes is not None and diagonal.rank is not None and diagonal.rank != len(sizes) - 1:
        raise ShapeError(f"diagonal must have rank {len(sizes) - 1}, has shape {diagonal}")
    if sizes is not None and None not in sizes[-2:]:
        (*lead, rows, columns) = sizes
        if not diagonal.is_compatible_with([*lead, min(rows or 0, columns or 0)]):
            raise ShapeError(f"diagonal of shape {diagonal} does not fit input {node.inputs[0].shape}")
    return same_as_first(node)


@op("MatrixSetDiag", "input:T; diagonal:T", "output:T", "T:type", infer=_matrix_set_diag_shape)
def matrix_set_diag_op(input: Array, diagonal: Array) -> Any:
    """Per batch entry, the matrix with another diagonal."""
    result = input.copy()
    size = min(input.shape[-2:])
    if diagonal.shape != (*input.shape[:-2], size):
        raise refuse(f"diagonal {list(diagonal.shape)} does not fit input {list(input.shape)}")
    result[..., np.arange(size), np.arange(size)] = diagonal
    return result


@matrix_set_diag_op.gradient
def _matrix_set_diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixSetDiag(dy, emit.ZerosLike(op.inputs[1])), emit.MatrixDiagPart(dy)]


def matrix_diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Returns square matrices with the last dimension of `diagonal` on their diagonals."""
    return emit.MatrixDiag(diagonal, name=name)


def matrix_diag_part(input: Any, name: str | None = None) -> Tensor:
    """Returns the diagonals of matrices."""
    return emit.MatrixDiagPart(input, name=name)


def matrix_set_diag(input: Any, diagonal: Any, name: str | None = None) -> Tensor:
    """Returns matrices with other diagonals."""
    return emit.MatrixSetDiag(input, diagonal, name=name)


def _band_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 0, "num_lower")
    rank_exactly(node, 2, 0, "num_upper")
    return rank_at_least(node, 0, 2, "input")


@op(
    "MatrixBandPart", "input:T; num_lower:Tindex; num_upper:Tindex", "band:T",
    "T:type; Tindex:type{int32|int64}=int64", infer=_band_shape,
)  # fmt: skip
def matrix_band_part_op(input: Array, num_lower: Array, num_upper: Array) -> Any:
    """Per batch entry, the matrix with zeros outside a band round its diagonal; -1 keeps a whole triangle."""
    distance = np.arange(input.shape[-1]) - np.arange(input.shape[-2])[:, None]
    inside = ((num_lower < 0) | (-distance <= num_lower)) & ((num_upper < 0) | (distance <= num_upper))
    return np.where(inside, input, zero_of(input))


@matrix_band_part_op.gradient
def _matrix_band_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixBandPart(dy, op.inputs[1], op.inputs[2]), None, None]


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    """Returns matrices with zeros outside a band: `num_lower` below and `num_upper` above the diagonal, -1 for all."""
    if not isinstance(num_lower, Tensor) and not isinstance(num_upper, Tensor):
        num_lower = convert_to_tensor(num_lower, dtypes.int64)
    return emit.MatrixBandPart(input, num_lower, num_upper, name=name)


__all__ = [
    "diag", "diag_part", "matrix_band_part", "matrix_diag", "matrix_diag_part", "matrix_set_diag",
]  # fmt: skip
