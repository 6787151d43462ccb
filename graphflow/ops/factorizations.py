"""Linear algebra that takes matrices apart: inverses, determinants, factors, solutions."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import constant, emit, op
from graphflow.ops.layout import matrix_transpose
from graphflow.ops.rules import COMPLEX, Array, adjoint_of, conjugate, rank_at_least, widened
from graphflow.shapes import UNKNOWN, TensorShape

_SOLVED = f"float64|float32|float16|{COMPLEX}"


def _square_matrices(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 2, "the input")
    sizes = shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    rows, columns = sizes[-2:]
    if rows is not None and columns is not None and rows != columns:
        raise ShapeError(f"the matrices must be square, have shape {shape}")
    side = columns if rows is None else rows
    return TensorShape([*sizes[:-2], side, side])


@op(
    "MatrixInverse", "input:T", "output:T", f"adjoint:bool=false; T:type{{{_SOLVED}}}", infer=_square_matrices
)
@widened
def matrix_inverse_op(input: Array, *, adjoint: bool = False) -> Array:
    """Inverses of matrices."""
    try:
        return np.linalg.inv(adjoint_of(input) if adjoint else input)
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(None, None, "Input is not invertible.") from None


@matrix_inverse_op.gradient
def matrix_inverse_gradient(op: Any, dy: Tensor) -> list[Any]:
    """-y* dy y*."""
    (inverse,) = op.outputs
    flipped = op.attrs["adjoint"]
    gradient = -emit.BatchMatMulV2(inverse, emit.BatchMatMulV2(dy, inverse, adj_y=True), adj_x=True)
    return [matrix_transpose(gradient, conjugate=True) if flipped else gradient]


def matrix_inverse(input: Any, adjoint: bool = False, name: str | None = None) -> Tensor:
    """Returns inverses of square matrices [..., n, n]."""
    result: Tensor = emit.MatrixInverse(input, adjoint=adjoint, name=name)
    return result


def _without_matrices(node: Any) -> TensorShape:
    shape = _square_matrices(node)
    return UNKNOWN if shape.rank is None else shape[:-2]


@op(
    "MatrixDeterminant",
    "input:T",
    "output:T",
    f"T:type{{float16|float32|float64|{COMPLEX}}}",
    infer=_without_matrices,
)
@widened
def matrix_determinant_op(input: Array) -> Array:
    """Determinants of matrices."""
    return np.asarray(np.linalg.det(input), input.dtype)


@matrix_determinant_op.gradient
def matrix_determinant_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The determinant times the inverse, transposed."""
    (x,), (determinant,) = op.inputs, op.outputs
    factor = emit.ExpandDims(emit.ExpandDims(dy * conjugate(determinant), -1), -1)
    return [factor * emit.MatrixInverse(x, adjoint=True)]


def matrix_determinant(input: Any, name: str | None = None) -> Tensor:
    """Returns determinants of square matrices [..., n, n]."""
    result: Tensor = emit.MatrixDeterminant(input, name=name)
    return result


@op("Cholesky", "input:T", "output:T", f"T:type{{{_SOLVED}}}", infer=_square_matrices)
@widened
def cholesky_op(input: Array) -> Array:
    """Lower triangular factors L with L L* = input."""
    try:
        return np.linalg.cholesky(input)
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None, None, "Cholesky decomposition was not successful. The input might not be valid."
        ) from None


@cholesky_op.gradient
def cholesky_gradient(op: Any, dy: Tensor) -> list[Any]:
    """By the formula of Iain Murray, "Differentiation of the Cholesky decomposition"."""
    (factor,) = op.outputs
    inverse = emit.MatrixInverse(factor)
    middle = emit.BatchMatMulV2(factor, dy, adj_x=True)
    middle = emit.MatrixBandPart(middle, -1, 0)
    middle = emit.MatrixSetDiag(middle, emit.MatrixDiagPart(middle) * constant(0.5, dy.dtype))
    gradient = emit.BatchMatMulV2(emit.BatchMatMulV2(inverse, middle, adj_x=True), inverse)
    return [(gradient + matrix_transpose(gradient, conjugate=True)) * constant(0.5, dy.dtype)]


def cholesky(input: Any, name: str | None = None) -> Tensor:
    """Returns lower triangular factors L of positive definite matrices, L L* = input."""
    result: Tensor = emit.Cholesky(input, name=name)
    return result


def _solve_shape(node: Any) -> TensorShape:
    matrix = _square_matrices(node)
    right = rank_at_least(node, 1, 2, "rhs")
    if matrix.rank is None or right.rank is None:
        return right
    if not TensorShape([matrix[-1]]).is_compatible_with([right[-2]]):
        raise ShapeError(f"the matrix {matrix} and the right-hand side {right} do not fit")
    if matrix.rank != right.rank or not matrix[:-2].is_compatible_with(right[:-2]):
        raise ShapeError(f"batch sizes of the matrix {matrix} and the right-hand side {right} differ")
    return right


@op(
    "MatrixSolve",
    "matrix:T; rhs:T",
    "output:T",
    f"adjoint:bool=false; T:type{{{_SOLVED}}}",
    infer=_solve_shape,
)
@widened
def matrix_solve_op(matrix: Array, rhs: Array, *, adjoint: bool = False) -> Array:
    """Solutions x of matrix @ x = rhs."""
    try:
        return np.linalg.solve(adjoint_of(matrix) if adjoint else matrix, rhs)
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(None, None, "Input matrix is not invertible.") from None


@matrix_solve_op.gradient
def matrix_solve_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Solves with the adjoint."""
    matrix, _ = op.inputs
    (solution,) = op.outputs
    adjoint = op.attrs["adjoint"]
    right = emit.MatrixSolve(matrix, dy, adjoint=not adjoint)
    product = emit.BatchMatMulV2
    left = -product(solution, right, adj_y=True) if adjoint else -product(right, solution, adj_y=True)
    return [left, right]


def matrix_solve(matrix: Any, rhs: Any, adjoint: bool = False, name: str | None = None) -> Tensor:
    """Returns solutions x [..., n, k] of matrix [..., n, n] @ x = rhs [..., n, k]."""
    result: Tensor = emit.MatrixSolve(matrix, rhs, adjoint=adjoint, name=name)
    return result


def _qr_shape(node: Any) -> list[TensorShape]:
    sizes = rank_at_least(node, 0, 2, "the input").as_tuple()
    if sizes is None:
        return [UNKNOWN, UNKNOWN]
    *batch, rows, columns = sizes
    least = None if rows is None or columns is None else builtins.min(rows, columns)
    inner = rows if node.attrs["full_matrices"] else least
    return [TensorShape([*batch, rows, inner]), TensorShape([*batch, inner, columns])]


@op("Qr", "input:T", "q:T; r:T", f"full_matrices:bool=false; T:type{{{_SOLVED}}}", infer=_qr_shape)
@widened
def qr_op(input: Array, *, full_matrices: bool = False) -> tuple[Array, Array]:
    """Orthogonal and upper triangular factors of matrices."""
    q, r = np.linalg.qr(input, mode="complete" if full_matrices else "reduced")
    return q, r


@qr_op.gradient
def qr_gradient(op: Any, dq: Tensor | None, dr: Tensor | None) -> list[Any]:
    """For square and tall matrices with the reduced factors, as in TensorFlow."""
    q, r = op.outputs
    rows, columns = op.inputs[0].shape.as_list()[-2:] if op.inputs[0].shape.rank is not None else (None, None)
    if rows is None or columns is None or rows < columns or (op.attrs["full_matrices"] and rows != columns):
        raise NotImplementedError("the gradient of Qr needs matrices of known shape with rows >= columns")
    product = emit.BatchMatMulV2
    dq = emit.ZerosLike(q) if dq is None else dq
    dr = emit.ZerosLike(r) if dr is None else dr

    def inverse_times(x: Tensor) -> Any:
        """x @ inverse(r)*."""
        solved = emit.MatrixSolve(r, matrix_transpose(x, conjugate=True))
        return matrix_transpose(solved, conjugate=True)

    qdq = product(q, dq, adj_x=True)
    rdr = product(r, dr, adj_y=True)
    skew_q = qdq - matrix_transpose(qdq, conjugate=True)
    skew_r = rdr - matrix_transpose(rdr, conjugate=True)
    lower = emit.MatrixBandPart(skew_q + skew_r, -1, 0)
    inside = product(q, dr + inverse_times(lower))
    outside = inverse_times(dq - product(q, qdq))
    return [inside + outside]


def qr(input: Any, full_matrices: bool = False, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns orthogonal and upper triangular factors (q, r) of matrices [..., m, n]."""
    q, r = emit.Qr(input, full_matrices=full_matrices, name=name)
    return q, r


__all__ = [
    "cholesky", "matrix_determinant", "matrix_inverse", "matrix_solve", "qr",
]  # fmt: skip
