"""Linear algebra that takes matrices apart: inverses, determinants, factors, solutions."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import DTypeError, InvalidArgumentError, ShapeError, UnimplementedError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import matrix_transpose
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.rules import (
    COMPLEX,
    Array,
    adjoint_of,
    conjugate,
    materialized,
    rank_at_least,
    rank_exactly,
    refuse,
    shape_tensor,
    undefined_gradient,
    widened,
)
from graphflow.shapes import UNKNOWN, TensorShape, broadcast_shapes

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
    return [_behind_cholesky(op.outputs[0], dy)]


def _behind_cholesky(factor: Tensor, dy: Tensor) -> Tensor:
    inverse = emit.MatrixTriangularSolve(factor, _unit_matrices(factor))
    middle = emit.BatchMatMulV2(factor, dy, adj_x=True)
    middle = emit.MatrixSetDiag(middle, emit.MatrixDiagPart(middle) * 0.5)
    middle = emit.MatrixBandPart(middle, -1, 0)
    gradient = emit.BatchMatMulV2(emit.BatchMatMulV2(inverse, middle, adj_x=True), inverse)
    result: Tensor = (gradient + matrix_transpose(gradient, conjugate=True)) * 0.5
    return result


def _unit_matrices(like: Tensor) -> Tensor:
    """Identity matrices of the shape of a batch of square ones."""
    size = shape_tensor(like)[:-1]
    result: Tensor = emit.MatrixDiag(emit.Fill(size, constant(1, like.dtype)))
    return result


def _cholesky_grad_shape(node: Any) -> TensorShape:
    return _square_matrices(node).merge_with(node.inputs[1].shape)


@op("CholeskyGrad", "l:T; grad:T", "output:T", "T:type{float16|float32|float64}",
    infer=_cholesky_grad_shape)  # fmt: skip
@widened
def cholesky_grad_op(l: Array, grad: Array) -> Array:  # noqa: E741 - the name of the signature
    """The gradient of a Cholesky factor `l`, carried back to the matrix."""
    lower = np.tril(l)
    inverse = np.linalg.inv(lower)
    middle = np.tril(adjoint_of(lower) @ grad)
    steps = np.arange(l.shape[-1])
    middle[..., steps, steps] /= 2
    gradient = adjoint_of(inverse) @ middle @ inverse
    return np.asarray((gradient + adjoint_of(gradient)) / 2, l.dtype)


cholesky_grad_op.gradient(undefined_gradient)


def cholesky(input: Any, name: str | None = None) -> Tensor:
    """Returns lower triangular factors L of positive definite matrices, L L* = input."""
    result: Tensor = emit.Cholesky(input, name=name)
    return result


def cholesky_solve(chol: Any, rhs: Any, name: str | None = None) -> Tensor:
    """Returns solutions x [..., n, k] of L L* x = rhs [..., n, k], where `chol` holds the factors L [..., n, n]."""
    with name_scope(name, "cholesky_solve", [chol, rhs]):
        half = emit.MatrixTriangularSolve(chol, rhs, adjoint=False, lower=True)
        result: Tensor = emit.MatrixTriangularSolve(chol, half, adjoint=True, lower=True)
        return result


# ---------------------------------------------------------------------------- solutions


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


def _triangular_shape(node: Any) -> TensorShape:
    matrix = _square_matrices(node)
    right = rank_at_least(node, 1, 2, "rhs")
    if matrix.rank is None or right.rank is None:
        return UNKNOWN
    if not TensorShape([matrix[-1]]).is_compatible_with([right[-2]]):
        raise ShapeError(f"the matrix {matrix} and the right-hand side {right} do not fit")
    try:
        batch = broadcast_shapes(matrix[:-2], right[:-2])
    except ValueError:
        raise ShapeError(
            f"batch sizes of the matrix {matrix} and the right-hand side {right} differ"
        ) from None
    rows = TensorShape([matrix[-1]]).merge_with([right[-2]])
    return batch.concatenate(rows).concatenate(right[-1:])


@op("MatrixTriangularSolve", "matrix:T; rhs:T", "output:T",
    f"lower:bool=true; adjoint:bool=false; T:type{{bfloat16|{_SOLVED}}}", infer=_triangular_shape)  # fmt: skip
@widened
def matrix_triangular_solve_op(
    matrix: Array, rhs: Array, *, lower: bool = True, adjoint: bool = False
) -> Array:
    """Solutions x of matrix @ x = rhs, of which one triangle counts; batch axes are broadcast."""
    triangle = np.tril(matrix) if lower else np.triu(matrix)
    diagonal = np.diagonal(triangle, axis1=-2, axis2=-1)
    if not diagonal.all():
        raise refuse("Input matrix is not invertible.")
    if not rhs.shape[-1] or not rhs.shape[-2]:
        batch = np.broadcast_shapes(matrix.shape[:-2], rhs.shape[:-2])
        return np.zeros((*batch, *rhs.shape[-2:]), rhs.dtype)
    return np.linalg.solve(adjoint_of(triangle) if adjoint else triangle, rhs)


@matrix_triangular_solve_op.gradient
def matrix_triangular_solve_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Solves with the adjoint, and keeps the triangle that counts."""
    matrix, rhs = op.inputs
    (solution,) = op.outputs
    lower, adjoint = op.attrs["lower"], op.attrs["adjoint"]
    right = emit.MatrixTriangularSolve(matrix, dy, lower=lower, adjoint=not adjoint)
    product = emit.BatchMatMulV2
    left = -product(solution, right, adj_y=True) if adjoint else -product(right, solution, adj_y=True)
    left = emit.MatrixBandPart(left, -1, 0) if lower else emit.MatrixBandPart(left, 0, -1)
    return [_summed_to(left, matrix), _summed_to(right, rhs)]


def _summed_to(gradient: Tensor, operand: Tensor) -> Tensor:
    """Sums over the batch axes along which an operand of matrices was broadcast."""
    mine, theirs = operand.shape, gradient.shape
    if mine.rank is not None and theirs.rank is not None:
        batch = mine[:-2]
        if batch.is_fully_defined() and batch.as_tuple() == theirs[:-2].as_tuple():
            return gradient
    sizes, whole = emit.Shape(operand), emit.Shape(gradient)
    dropped, _ = emit.BroadcastGradientArgs(sizes[:-2], whole[:-2])
    result: Tensor = emit.Reshape(emit.Sum(gradient, dropped), sizes)
    result.set_shape(mine)
    return result


def matrix_triangular_solve(
    matrix: Any, rhs: Any, lower: bool = True, adjoint: bool = False, name: str | None = None
) -> Tensor:
    """Returns solutions x [..., n, k] of matrix [..., n, n] @ x = rhs [..., n, k], of which one triangle counts.

    Args:
      matrix: the matrices; the other triangle is not read.
      rhs: the right-hand sides; batch axes are broadcast.
      lower: which triangle counts.
      adjoint: whether to solve with the adjoint of that triangle.
      name: a name.
    """
    result: Tensor = emit.MatrixTriangularSolve(matrix, rhs, lower=lower, adjoint=adjoint, name=name)
    return result


def _least_squares_shape(node: Any) -> TensorShape:
    matrix, right = rank_at_least(node, 0, 2, "matrix"), rank_at_least(node, 1, 2, "rhs")
    rank_exactly(node, 2, 0, "l2_regularizer")
    if matrix.rank is None or right.rank is None:
        return UNKNOWN
    if not matrix[:-1].is_compatible_with(right[:-1]):
        raise ShapeError(f"the matrix {matrix} and the right-hand side {right} do not fit")
    batch = matrix[:-2].merge_with(right[:-2])
    return batch.concatenate(matrix[-1:]).concatenate(right[-1:])


@op("MatrixSolveLs", "matrix:T; rhs:T; l2_regularizer:float64", "output:T",
    f"T:type{{float64|float32|float16|{COMPLEX}}}; fast:bool=true", infer=_least_squares_shape)  # fmt: skip
@widened
def matrix_solve_ls_op(matrix: Array, rhs: Array, l2_regularizer: Array, *, fast: bool = True) -> Array:
    """Solutions of least squares: by the normal equations, or (not fast) those of least norm."""
    rows, columns = matrix.shape[-2:]
    if not fast:
        return np.asarray(np.linalg.pinv(matrix, rcond=np.finfo(matrix.dtype).eps * max(rows, columns)) @ rhs)
    tall = rows >= columns
    adjoint = adjoint_of(matrix)
    gram = adjoint @ matrix if tall else matrix @ adjoint
    gram = gram + np.eye(gram.shape[-1], dtype=matrix.dtype) * matrix.dtype.type(l2_regularizer)
    try:
        np.linalg.cholesky(gram)  # refuses what is not positive definite
        return np.linalg.solve(gram, adjoint @ rhs) if tall else adjoint @ np.linalg.solve(gram, rhs)
    except np.linalg.LinAlgError:
        raise refuse("Input matrix was rank deficient or ill-conditioned. Try setting fast=False or provide a larger "
                     "l2_regularizer > 0.") from None  # fmt: skip


@matrix_solve_ls_op.gradient
def matrix_solve_ls_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Through the normal equations, of the first kind for tall matrices and of the second for wide ones."""
    matrix, rhs, weight = op.inputs
    (solution,) = op.outputs
    if not op.attrs["fast"]:
        raise ValueError("Gradient not defined for fast=False")
    rows, columns = matrix.shape.as_list()[-2:] if matrix.shape.rank is not None else (None, None)
    if rows is None or columns is None:
        raise NotImplementedError("the gradient of MatrixSolveLs needs matrices of known sizes")
    product, tall = emit.BatchMatMulV2, rows >= columns
    gram = product(matrix, matrix, adj_x=True) if tall else product(matrix, matrix, adj_y=True)
    weight = emit.Cast(weight, DstT=matrix.dtype)
    chol = emit.Cholesky(emit.MatrixSetDiag(gram, emit.MatrixDiagPart(gram) + weight))
    if tall:
        z = cholesky_solve(chol, dy)
        crossed = product(solution, z, adj_y=True)
        crossed = crossed + matrix_transpose(crossed, conjugate=True)
        return [product(rhs, z, adj_y=True) - product(matrix, crossed), product(matrix, z), None]
    right = cholesky_solve(chol, product(matrix, dy))
    held = cholesky_solve(chol, rhs)
    rest = dy - product(matrix, right, adj_x=True)
    left = product(held, rest, adj_y=True) - product(right, product(held, matrix, adj_x=True))
    return [left, right, None]


def matrix_solve_ls(
    matrix: Any, rhs: Any, l2_regularizer: Any = 0.0, fast: bool = True, name: str | None = None
) -> Tensor:
    """Returns x [..., n, k] that makes the squares of matrix [..., m, n] @ x - rhs [..., m, k] least.

    Args:
      matrix: the matrices.
      rhs: the right-hand sides.
      l2_regularizer: weight of the squares of x that are added.
      fast: whether to use the normal equations, which need matrices of full rank.
      name: a name.
    """
    weight = convert_to_tensor(l2_regularizer, None if isinstance(l2_regularizer, Tensor) else dtypes.float64)
    result: Tensor = emit.MatrixSolveLs(matrix, rhs, cast(weight, dtypes.float64), fast=fast, name=name)
    return result


# ---------------------------------------------------------------------------- orthogonal factors


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
    """For the reduced factors, as in TensorFlow; a wide matrix is its square part and what that part's factor makes."""
    (x,), (q, r) = op.inputs, op.outputs
    dq, dr = materialized(op, (dq, dr))
    rows, columns = x.shape.as_list()[-2:] if x.shape.rank is not None else (None, None)
    if rows is None or columns is None:
        raise NotImplementedError("the gradient of Qr needs matrices of known sizes")
    if rows > columns and op.attrs["full_matrices"]:
        raise NotImplementedError("the gradient of Qr with full_matrices needs rows <= columns")
    if rows >= columns:
        return [_tall_qr_gradient(q, r, dq, dr)]
    product = emit.BatchMatMulV2
    rest = x[..., rows:]
    more = dq + product(rest, dr[..., rows:], adj_y=True)
    left = _tall_qr_gradient(q, r[..., :rows], more, dr[..., :rows])
    return [emit.ConcatV2([left, product(q, dr[..., rows:])], -1)]


def _tall_qr_gradient(q: Tensor, r: Tensor, dq: Tensor, dr: Tensor) -> Any:
    product = emit.BatchMatMulV2

    def inverse_times(x: Tensor) -> Any:
        """x @ inverse(r)*."""
        solved = emit.MatrixTriangularSolve(r, matrix_transpose(x, conjugate=True), lower=False)
        return matrix_transpose(solved, conjugate=True)

    qdq = product(q, dq, adj_x=True)
    rdr = product(r, dr, adj_y=True)
    skew_q = qdq - matrix_transpose(qdq, conjugate=True)
    skew_r = rdr - matrix_transpose(rdr, conjugate=True)
    lower = emit.MatrixBandPart(skew_q + skew_r, -1, 0)
    inside = product(q, dr + inverse_times(lower))
    outside = inverse_times(dq - product(q, qdq))
    return inside + outside


def qr(input: Any, full_matrices: bool = False, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns orthogonal and upper triangular factors (q, r) of matrices [..., m, n]."""
    q, r = emit.Qr(input, full_matrices=full_matrices, name=name)
    return q, r


# ---------------------------------------------------------------------------- eigenvalues and singular values


def _without_rows(shape: TensorShape) -> TensorShape:
    return UNKNOWN if shape.rank is None else shape[:-1]


def _eigen_shape(node: Any) -> list[TensorShape]:
    shape = _square_matrices(node)
    return [_without_rows(shape), shape if node.attrs["compute_v"] else TensorShape([0])]


@op("SelfAdjointEigV2", "input:T", "e:T; v:T", f"compute_v:bool=true; T:type{{{_SOLVED}}}",
    infer=_eigen_shape)  # fmt: skip
@widened
def self_adjoint_eig_v2_op(input: Array, *, compute_v: bool = True) -> tuple[Array, Array]:
    """Eigenvalues in rising order and eigenvectors of Hermitian matrices, of which the lower triangle counts."""
    try:
        if compute_v:
            values, vectors = np.linalg.eigh(input)
            return values.astype(input.dtype), vectors
        return np.linalg.eigvalsh(input).astype(input.dtype), np.zeros(0, input.dtype)
    except np.linalg.LinAlgError:
        raise refuse(
            "Self-adjoint eigen decomposition was not successful. The input might not be valid."
        ) from None


def _safe_reciprocal(x: Tensor) -> Any:
    """1 / x, and 0 where x is."""
    return x * emit.Reciprocal(x * x + 1e-20)


def _gaps(values: Tensor) -> Any:
    """1 / (value j - value i) off the diagonal, 0 on it."""
    apart = emit.Sub(emit.ExpandDims(values, -2), emit.ExpandDims(values, -1))
    return emit.MatrixSetDiag(_safe_reciprocal(apart), emit.ZerosLike(values))


def _half_triangle(gradient: Tensor) -> Any:
    """The gradient of a Hermitian matrix as that of its lower triangle."""
    whole = gradient + matrix_transpose(gradient, conjugate=True)
    lower = emit.MatrixBandPart(whole, -1, 0)
    return emit.MatrixSetDiag(lower, emit.MatrixDiagPart(lower) * 0.5)


@self_adjoint_eig_v2_op.gradient
def self_adjoint_eig_v2_gradient(op: Any, de: Tensor | None, dv: Tensor | None) -> list[Any]:
    """Of distinct eigenvalues; equal ones give their vectors no derivative."""
    product = emit.BatchMatMulV2
    de = materialized(op, (de, dv))[0]
    inside = emit.MatrixDiag(de)
    if op.attrs["compute_v"]:
        e, v = op.outputs
        if dv is not None:
            inside = inside + _gaps(e) * product(v, dv, adj_x=True)
    else:
        _, v = emit.SelfAdjointEigV2(op.inputs[0])
    return [_half_triangle(product(v, product(inside, v, adj_y=True)))]


def self_adjoint_eig(tensor: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors of Hermitian matrices [..., n, n], of which the lower triangle counts.

    Returns:
      `(e, v)`: the values [..., n] in rising order, and the vectors as columns [..., n, n].
    """
    e, v = emit.SelfAdjointEigV2(tensor, compute_v=True, name=name)
    return e, v


def self_adjoint_eigvals(tensor: Any, name: str | None = None) -> Tensor:
    """Returns eigenvalues [..., n] in rising order of Hermitian matrices, of which the lower triangle counts."""
    e, _ = emit.SelfAdjointEigV2(tensor, compute_v=False, name=name)
    result: Tensor = e
    return result


def _eig_shape(node: Any) -> list[TensorShape]:
    needed = dtypes.complex64 if node.attrs["T"] in (dtypes.float32, dtypes.complex64) else dtypes.complex128
    if node.attrs["Tout"] is not needed:
        raise DTypeError(
            f"eigenvalues of {node.attrs['T'].name} are {needed.name}, not {node.attrs['Tout'].name}"
        )
    return _eigen_shape(node)


@op("Eig", "input:T", "e:Tout; v:Tout",
    f"compute_v:bool=true; T:type{{float32|float64|{COMPLEX}}}; Tout:type{{{COMPLEX}}}",
    infer=_eig_shape)  # fmt: skip
def eig_op(input: Array, *, Tout: DType, compute_v: bool = True) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of square matrices, complex."""
    if not compute_v:
        return np.linalg.eigvals(input).astype(Tout.numpy), np.zeros(0, Tout.numpy)
    values, vectors = np.linalg.eig(input)
    return values.astype(Tout.numpy), vectors.astype(Tout.numpy)


@eig_op.gradient
def eig_gradient(op: Any, de: Tensor | None, dv: Tensor | None) -> list[Any]:
    """Of distinct eigenvalues, whose vectors have length one."""
    product = emit.BatchMatMulV2
    de = materialized(op, (de, dv))[0]
    inside = emit.MatrixDiag(de)
    if op.attrs["compute_v"]:
        e, v = op.outputs
        if dv is not None:
            along = product(v, dv, adj_x=True)
            lengths = emit.MatrixDiag(
                emit.MatrixDiagPart(cast(emit.Real(along, Tout=e.dtype.real_dtype), e.dtype))
            )
            rest = along - product(product(v, v, adj_x=True), lengths)
            inside = inside + conjugate(_gaps(e)) * rest
    else:
        _, v = emit.Eig(op.inputs[0], Tout=op.attrs["Tout"])
    adjoint = matrix_transpose(v, conjugate=True)
    gradient = emit.MatrixSolve(adjoint, product(inside, adjoint))
    source = op.inputs[0].dtype
    return [gradient if source.is_complex else emit.Real(gradient, Tout=source)]


def _svd_shape(node: Any) -> list[TensorShape]:
    shape = rank_at_least(node, 0, 2, "the input")
    if not node.attrs["compute_uv"]:
        return [_svd_values(shape), TensorShape([0]), TensorShape([0])]
    sizes = shape.as_tuple()
    if sizes is None:
        return [UNKNOWN, UNKNOWN, UNKNOWN]
    *batch, rows, columns = sizes
    least = _svd_values(shape).as_list()[-1]
    full = node.attrs["full_matrices"]
    return [
        _svd_values(shape),
        TensorShape([*batch, rows, rows if full else least]),
        TensorShape([*batch, columns, columns if full else least]),
    ]


def _svd_values(shape: TensorShape) -> TensorShape:
    sizes = shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    *batch, rows, columns = sizes
    return TensorShape([*batch, None if rows is None or columns is None else builtins.min(rows, columns)])


@op("Svd", "input:T", "s:T; u:T; v:T",
    f"compute_uv:bool=true; full_matrices:bool=false; T:type{{{_SOLVED}}}", infer=_svd_shape)  # fmt: skip
@widened
def svd_op(
    input: Array, *, compute_uv: bool = True, full_matrices: bool = False
) -> tuple[Array, Array, Array]:
    """Singular values, falling, and singular vectors (columns of u and v) of matrices."""
    nothing = np.zeros(0, input.dtype)
    try:
        if not compute_uv:
            return np.linalg.svd(input, compute_uv=False).astype(input.dtype), nothing, nothing
        u, s, vh = np.linalg.svd(input, full_matrices=full_matrices)
    except np.linalg.LinAlgError:
        # TensorFlow's gives NaN where there is nothing to find.
        rows, columns = input.shape[-2:]
        batch, least = input.shape[:-2], builtins.min(rows, columns)
        shapes = [(least,), (rows, rows), (columns, columns)]
        if not full_matrices:
            shapes = [(least,), (rows, least), (columns, least)]
        s, u, v = (np.full((*batch, *shape), np.nan, input.dtype) for shape in shapes)
        return s, u, v
    return s.astype(input.dtype), u, adjoint_of(vh)


@svd_op.gradient
def svd_gradient(op: Any, ds: Tensor | None, du: Tensor | None, dv: Tensor | None) -> list[Any]:
    """Of distinct singular values (J. Townsend, "Differentiating the singular value decomposition")."""
    (x,) = op.inputs
    product, full = emit.BatchMatMulV2, op.attrs["full_matrices"]
    ds, du, dv = materialized(op, (ds, du, dv))
    inside = emit.MatrixDiag(ds)
    if not op.attrs["compute_uv"]:
        _, u, v = emit.Svd(x)
        return [product(u, product(inside, v, adj_y=True))]
    s, u, v = op.outputs
    rows, columns = x.shape.as_list()[-2:] if x.shape.rank is not None else (None, None)
    if rows is None or columns is None:
        raise NotImplementedError("the gradient of Svd needs matrices of known sizes")
    if full and abs(rows - columns) > 1:
        raise NotImplementedError(
            f"the gradient of Svd with full_matrices needs nearly square matrices, got {x.shape}"
        )
    tall = rows > columns
    if tall:  # that of the adjoint, turned round at the end
        u, v, du, dv, rows, columns = v, u, dv, du, columns, rows
    scale = emit.MatrixDiag(s)
    gaps = _gaps(emit.Square(s))
    front, d_front = v[..., :rows], dv[..., :rows]
    turn_u = gaps * product(u, du, adj_x=True)
    along = product(front, d_front, adj_x=True)
    turn_v = gaps * along
    inside = (
        inside
        + product(turn_u + matrix_transpose(turn_u, conjugate=True), scale)
        + product(scale, turn_v + matrix_transpose(turn_v, conjugate=True))
    )
    result = product(u, product(inside, front, adj_y=True))
    inverse = emit.MatrixDiag(_safe_reciprocal(s))
    if rows != columns:
        across = matrix_transpose(d_front, conjugate=True)
        outside = across - product(product(across, front), front, adj_y=True)
        if full:
            back, d_back = v[..., rows:], dv[..., rows:]
            outside = outside - product(product(front, d_back, adj_x=True), back, adj_y=True)
        result = result + product(product(u, inverse), outside)
    if x.dtype.is_complex:
        phases = emit.MatrixDiag(emit.MatrixDiagPart(along))
        turned = product(inverse, matrix_transpose(phases, conjugate=True) - phases)
        result = result + product(u, product(turned, front, adj_y=True)) * 0.5
    if tall:
        result = matrix_transpose(result, conjugate=True)
    result.set_shape(x.shape)
    return [result]


def svd(tensor: Any, full_matrices: bool = False, compute_uv: bool = True, name: str | None = None) -> Any:
    """Decomposes matrices [..., m, n] into u diag(s) v*.

    Args:
      tensor: the matrices.
      full_matrices: whether u and v are square, [..., m, m] and [..., n, n].
      compute_uv: whether to return u and v too.
      name: a name.

    Returns:
      `(s, u, v)`, or `s` alone: the singular values [..., min(m, n)], falling, as real numbers.
    """
    s, u, v = emit.Svd(tensor, compute_uv=compute_uv, full_matrices=full_matrices, name=name)
    values = emit.Real(s, Tout=s.dtype.real_dtype) if s.dtype.is_complex else s
    return (values, u, v) if compute_uv else values


# ---------------------------------------------------------------------------- triangular factors with pivots


def _log_determinant_shape(node: Any) -> list[TensorShape]:
    return [_without_matrices(node), _without_matrices(node)]


@op("LogMatrixDeterminant", "input:T", "sign:T; log_abs_determinant:T",
    f"T:type{{float16|float32|float64|{COMPLEX}}}", infer=_log_determinant_shape)  # fmt: skip
@widened
def log_matrix_determinant_op(input: Array) -> tuple[Array, Array]:
    """Signs of determinants, and logarithms of their absolute values."""
    sign, log = np.linalg.slogdet(input)
    return np.asarray(sign, input.dtype), np.asarray(log, input.dtype)


@log_matrix_determinant_op.gradient
def log_matrix_determinant_gradient(op: Any, dsign: Tensor | None, dlog: Tensor | None) -> list[Any]:
    """The inverse, transposed; the sign is taken to stand still."""
    if dlog is None:
        return [None]
    factor = emit.ExpandDims(emit.ExpandDims(dlog, -1), -1)
    return [factor * emit.MatrixInverse(op.inputs[0], adjoint=True)]


def slogdet(input: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns signs of determinants of matrices [..., n, n], and logarithms of their absolute values."""
    sign, log = emit.LogMatrixDeterminant(input, name=name)
    return sign, log


def logdet(matrix: Any, name: str | None = None) -> Tensor:
    """Returns logarithms of determinants of Hermitian positive definite matrices [..., n, n]."""
    with name_scope(name, "logdet", [matrix]):
        diagonal = emit.MatrixDiagPart(emit.Cholesky(matrix))
        if diagonal.dtype.is_complex:
            diagonal = emit.Real(diagonal, Tout=diagonal.dtype.real_dtype)
        return reduce_sum(emit.Log(diagonal), [-1]) * 2.0


def _lu_shape(node: Any) -> list[TensorShape]:
    shape = _square_matrices(node)
    return [shape, _without_rows(shape)]


@op("Lu", "input:T", "lu:T; p:output_idx_type",
    f"output_idx_type:type{{int32|int64}}=int32; T:type{{{_SOLVED}}}", infer=_lu_shape)  # fmt: skip
@widened
def lu_op(input: Array, *, output_idx_type: DType = dtypes.int32) -> tuple[Array, Array]:
    """Triangular factors in one matrix each, the lower one's diagonal of ones left out, and the rows' order."""
    size = input.shape[-1]
    held = np.array(input).reshape(-1, size, size)
    order = np.tile(np.arange(size), (len(held), 1))
    each = np.arange(len(held))
    for k in range(size):
        # The greatest element of the column becomes the pivot.
        pivot = k + np.argmax(np.abs(held[:, k:, k]), axis=1)
        for rows in (held, order):
            rows[each, k], rows[each, pivot] = rows[each, pivot].copy(), rows[each, k].copy()
        if not held[:, k, k].all():
            raise refuse("Input is not invertible.")
        held[:, k + 1 :, k] /= held[:, k : k + 1, k]
        held[:, k + 1 :, k + 1 :] -= held[:, k + 1 :, k : k + 1] * held[:, k : k + 1, k + 1 :]
    return held.reshape(input.shape), order.reshape(input.shape[:-1]).astype(output_idx_type.numpy)


@lu_op.gradient
def lu_gradient(op: Any, dlu: Tensor | None, dp: Tensor | None) -> list[Any]:
    """Of the two factors; the rows' order stands still."""
    if dlu is None:
        return [None]
    factors, order = op.outputs
    product = emit.BatchMatMulV2
    ones = emit.OnesLike(emit.MatrixDiagPart(factors))
    lower = emit.MatrixSetDiag(emit.MatrixBandPart(factors, -1, 0), ones)
    upper = emit.MatrixBandPart(factors, 0, -1)
    d_upper = emit.MatrixBandPart(dlu, 0, -1)
    inside_lower = product(lower, dlu - d_upper, adj_x=True)
    inside_upper = product(d_upper, upper, adj_y=True)
    below = emit.MatrixBandPart(inside_lower, -1, 0)
    below = emit.MatrixSetDiag(below, emit.ZerosLike(ones))
    inside = below + emit.MatrixBandPart(inside_upper, 0, -1)
    half = emit.MatrixTriangularSolve(lower, inside, lower=True, adjoint=True)
    turned = matrix_transpose(half, conjugate=True)
    solved = emit.MatrixTriangularSolve(upper, turned, lower=False)
    whole = matrix_transpose(solved, conjugate=True)
    size = shape_tensor(factors)[-1]
    one, zero = constant(1, factors.dtype), constant(0, factors.dtype)
    chosen = emit.OneHot(order, size, one, zero)
    return [product(chosen, whole, adj_x=True)]


def lu(input: Any, output_idx_type: Any = dtypes.int32, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Factors square matrices [..., n, n] with pivoting.

    Returns:
      `(lu, p)`: the upper factor with the lower one below its diagonal (whose ones are left out), and the order
      [..., n] in which the rows were taken.
    """
    factors, order = emit.Lu(input, output_idx_type=as_dtype(output_idx_type), name=name)
    return factors, order


def _lu_factors(lower_upper: Any) -> tuple[Tensor, Tensor]:
    whole = convert_to_tensor(lower_upper, name="lower_upper")
    ones = emit.OnesLike(emit.MatrixDiagPart(whole))
    return emit.MatrixSetDiag(emit.MatrixBandPart(whole, -1, 0), ones), emit.MatrixBandPart(whole, 0, -1)


def lu_reconstruct(
    lower_upper: Any, perm: Any, validate_args: bool = False, name: str | None = None
) -> Tensor:
    """Returns the matrices [..., n, n] that `lu` has factored into `lower_upper` and `perm`."""
    with name_scope(name, "lu_reconstruct", [lower_upper, perm]):
        lower, upper = _lu_factors(lower_upper)
        perm = convert_to_tensor(perm, name="perm")
        product = emit.BatchMatMulV2(lower, upper)
        one, zero = constant(1, product.dtype), constant(0, product.dtype)
        chosen = emit.OneHot(perm, shape_tensor(product)[-1], one, zero)
        result: Tensor = emit.BatchMatMulV2(chosen, product, adj_x=True)
        return result


def lu_solve(
    lower_upper: Any, perm: Any, rhs: Any, validate_args: bool = False, name: str | None = None
) -> Tensor:
    """Returns solutions x [..., n, k] of A x = rhs [..., n, k], where `lu` has factored A into the first two."""
    with name_scope(name, "lu_solve", [lower_upper, perm, rhs]):
        whole = convert_to_tensor(lower_upper, name="lower_upper")
        perm = convert_to_tensor(perm, name="perm")
        right = convert_to_tensor(rhs, whole.dtype, name="rhs")
        one, zero = constant(1, whole.dtype), constant(0, whole.dtype)
        chosen = emit.OneHot(perm, shape_tensor(whole)[-1], one, zero)
        lower, _ = _lu_factors(whole)
        half = emit.MatrixTriangularSolve(lower, emit.BatchMatMulV2(chosen, right))
        result: Tensor = emit.MatrixTriangularSolve(whole, half, lower=False)
        return result


def lu_matrix_inverse(
    lower_upper: Any, perm: Any, validate_args: bool = False, name: str | None = None
) -> Tensor:
    """Returns inverses of the matrices that `lu` has factored into `lower_upper` and `perm`."""
    with name_scope(name, "lu_matrix_inverse", [lower_upper, perm]):
        whole = convert_to_tensor(lower_upper, name="lower_upper")
        return lu_solve(whole, perm, _unit_matrices(whole))


# ---------------------------------------------------------------------------- functions of matrices


def _square_root(matrix: Array) -> Array:
    """By the product form of Denman and Beavers' iteration, scaled by determinants."""
    size = matrix.shape[-1]
    unit = np.eye(size, dtype=matrix.dtype)
    held, root = matrix, matrix
    for _ in range(100):
        with np.errstate(all="ignore"):
            scale = np.abs(np.linalg.det(held)) ** (-1 / (2 * size))
        scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)[..., None, None]
        inverse = np.linalg.inv(held)
        root = root * scale @ (unit + inverse / scale**2) / 2
        held = (unit + (held * scale**2 + inverse / scale**2) / 2) / 2
        if np.max(np.abs(held - unit), initial=0) < 1e-15 * size:
            break
    return np.asarray(root)


@op("MatrixSquareRoot", "input:T", "output:T", f"T:type{{{_SOLVED}}}", infer=_square_matrices)
@widened
def matrix_square_root_op(input: Array) -> Array:
    """Principal square roots of matrices."""
    if not input.size:
        return input
    wide = input.astype(np.complex128 if input.dtype.kind == "c" else np.float64)
    try:
        return _square_root(wide).astype(input.dtype)
    except np.linalg.LinAlgError:
        raise refuse("Input is not invertible.") from None


@matrix_square_root_op.gradient
def matrix_square_root_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Solves root* x + x root* = dy, as one system whose unknowns are the elements of x."""
    (root,) = op.outputs
    sizes = shape_tensor(root)
    batch, size = sizes[:-2], sizes[-1]
    unit = _unit_matrices(root)

    def kronecker(a: Tensor, b: Tensor) -> Any:
        left = emit.Reshape(a, emit.ConcatV2([batch, emit.Pack([size, 1, size, 1])], 0))
        right = emit.Reshape(b, emit.ConcatV2([batch, emit.Pack([1, size, 1, size])], 0))
        both = emit.Mul(size, size)
        return emit.Reshape(left * right, emit.ConcatV2([batch, emit.Pack([both, both])], 0))

    # Row by row, a x b is kronecker(a, transpose(b)) applied to the elements of x.
    across = matrix_transpose(root, conjugate=True)
    system = kronecker(across, unit) + kronecker(unit, matrix_transpose(across))
    flat = emit.Reshape(dy, emit.ConcatV2([batch, emit.Pack([emit.Mul(size, size), 1])], 0))
    return [emit.Reshape(emit.MatrixSolve(system, flat), sizes)]


def matrix_square_root(input: Any, name: str | None = None) -> Tensor:
    """Returns principal square roots of square matrices [..., n, n]."""
    result: Tensor = emit.MatrixSquareRoot(input, name=name)
    return result


@op("MatrixLogarithm", "input:T", "output:T", f"T:type{{{COMPLEX}}}", infer=_square_matrices)
def matrix_logarithm_op(input: Array) -> Array:
    """Principal logarithms of matrices: roots until they are near to one, then an integral of inverses."""
    if not input.size:
        return input
    held = input.astype(np.complex128)
    unit = np.eye(held.shape[-1], dtype=held.dtype)
    halvings = 0
    try:
        while np.max(np.abs(held - unit).sum(-2)) > 0.25 and halvings < 60:
            held = _square_root(held)
            halvings += 1
        rest = held - unit
        points, weights = np.polynomial.legendre.leggauss(12)
        total = np.zeros_like(rest)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            total = total + weight * np.linalg.solve(unit + point * rest, rest)
    except np.linalg.LinAlgError:
        raise refuse("Input is not invertible.") from None
    return (total * 2.0**halvings).astype(input.dtype)


matrix_logarithm_op.gradient(undefined_gradient)


def matrix_logarithm(input: Any, name: str | None = None) -> Tensor:
    """Returns principal logarithms of complex square matrices [..., n, n]."""
    result: Tensor = emit.MatrixLogarithm(input, name=name)
    return result


def pinv(a: Any, rcond: Any = None, validate_args: bool = False, name: str | None = None) -> Tensor:
    """Returns pseudo-inverses [..., n, m] of matrices [..., m, n].

    Args:
      a: the matrices, float.
      rcond: singular values up to so much of the greatest count as zero, per matrix; default: 10 max(m, n) times the
        distance between 1 and the next number.
      validate_args: accepted; operands are checked in any case.
      name: a name.
    """
    with name_scope(name, "pinv", [a]):
        a = convert_to_tensor(a, name="a")
        if not a.dtype.is_floating:
            raise TypeError(f"Input `a` must have `float`-like `dtype` (saw {a.dtype.name}).")
        if a.shape.rank is not None and a.shape.rank < 2:
            raise ValueError(f"Input `a` must have at least 2 dimensions (saw: {a.shape.rank}).")
        if rcond is None:
            sizes = emit.Cast(emit.Max(emit.Shape(a)[-2:], [0]), DstT=a.dtype)
            rcond = sizes * (10.0 * float(np.finfo(a.dtype.as_numpy_dtype).eps))
        rcond = convert_to_tensor(rcond, a.dtype, name="rcond")
        s, u, v = svd(a, full_matrices=False, compute_uv=True)
        cutoff = rcond * reduce_max(s, -1)
        # Division by infinity drops what counts as zero, its gradient too.
        kept = emit.SelectV2(
            emit.Greater(s, emit.ExpandDims(cutoff, -1)), s, np.asarray(np.inf, a.dtype.as_numpy_dtype)
        )
        result: Tensor = emit.BatchMatMulV2(v / emit.ExpandDims(kept, -2), u, adj_y=True)
        if a.shape.rank is not None:
            result.set_shape(a.shape[:-2].concatenate(a.shape[-1:]).concatenate(a.shape[-2:-1]))
        return result


def matrix_rank(a: Any, tol: Any = None, validate_args: bool = False, name: str | None = None) -> Tensor:
    """Returns how many singular values of matrices [..., m, n] are above `tol`, int32 [...].

    Args:
      a: the matrices.
      tol: the bound; default: max(m, n) times the greatest, times the distance between 1 and the next number.
      validate_args: accepted; operands are checked in any case.
      name: a name.
    """
    with name_scope(name, "matrix_rank", [a]):
        a = convert_to_tensor(a, name="a")
        s = svd(a, compute_uv=False)
        if tol is None:
            sizes = emit.Cast(emit.Max(emit.Shape(a)[-2:], [0]), DstT=s.dtype)
            tol = reduce_max(s, -1, keepdims=True) * sizes * float(np.finfo(s.dtype.as_numpy_dtype).eps)
        return reduce_sum(emit.Cast(emit.Greater(s, tol), DstT=dtypes.int32), -1)


# ---------------------------------------------------------------------------- three diagonals


def _tridiagonal_solve_shape(node: Any) -> TensorShape:
    diagonals, right = rank_at_least(node, 0, 2, "diagonals"), rank_at_least(node, 1, 2, "rhs")
    if diagonals.rank is None or right.rank is None:
        return right
    if diagonals.as_list()[-2] not in (None, 3):
        raise ShapeError(f"there must be 3 diagonals, the shape is {diagonals}")
    if diagonals.rank != right.rank or not diagonals[:-2].is_compatible_with(right[:-2]):
        raise ShapeError(f"batch sizes of the diagonals {diagonals} and the right-hand side {right} differ")
    if not diagonals[-1:].is_compatible_with(right[-2:-1]):
        raise ShapeError(f"the diagonals {diagonals} and the right-hand side {right} do not fit")
    return right


@op("TridiagonalSolve", "diagonals:T; rhs:T", "output:T",
    f"partial_pivoting:bool=true; perturb_singular:bool=false; T:type{{float64|float32|{COMPLEX}}}",
    infer=_tridiagonal_solve_shape)  # fmt: skip
def tridiagonal_solve_op(
    diagonals: Array, rhs: Array, *, partial_pivoting: bool = True, perturb_singular: bool = False
) -> Array:
    """Solutions of systems with three diagonals [..., 3, n] (above, main, below), by elimination."""
    size = diagonals.shape[-1]
    if diagonals.shape[-2] != 3 or diagonals.shape[:-2] != rhs.shape[:-2] or rhs.shape[-2] != size:
        raise refuse(f"diagonals {list(diagonals.shape)} and rhs {list(rhs.shape)} do not fit")
    if perturb_singular:
        raise UnimplementedError(None, None, "TridiagonalSolve with perturb_singular=True")
    if not rhs.size:
        return rhs.copy()
    above, main, below = (np.moveaxis(diagonals[..., i, :], -1, 0).copy() for i in range(3))
    right = np.moveaxis(rhs, -2, 0).copy()
    more = np.zeros_like(above)  # the second diagonal above, which exchanged rows fill
    for k in range(size - 1):
        low, lead = below[k + 1].copy(), main[k]
        swap = (np.abs(low) > np.abs(lead)) if partial_pivoting else np.zeros(np.shape(lead), np.bool_)
        first = [main[k], above[k], more[k]]
        second = [low, main[k + 1], above[k + 1] if k + 2 < size else np.zeros_like(low)]
        top = [np.where(swap, b, a) for a, b in zip(first, second, strict=True)]
        rest = [np.where(swap, a, b) for a, b in zip(first, second, strict=True)]
        if not np.all(top[0]):
            raise refuse(
                "The first element of diagonals is zero." if k == 0 else "Input matrix is not invertible."
            )
        wide = swap[..., None]
        upper, lower = np.where(wide, right[k + 1], right[k]), np.where(wide, right[k], right[k + 1])
        factor = rest[0] / top[0]
        main[k], above[k], more[k] = top
        main[k + 1] = rest[1] - factor * top[1]
        if k + 2 < size:
            above[k + 1] = rest[2] - factor * top[2]
        right[k], right[k + 1] = upper, lower - factor[..., None] * upper
    if not np.all(main[-1]):
        raise refuse("Input matrix is not invertible.")
    for k in range(size - 1, -1, -1):
        if k + 1 < size:
            right[k] -= above[k][..., None] * right[k + 1]
        if k + 2 < size:
            right[k] -= more[k][..., None] * right[k + 2]
        right[k] /= main[k][..., None]
    return np.moveaxis(right, 0, -2)


def _shifted(x: Tensor, by: int, axis: int) -> Any:
    """Elements moved on along one of the last two axes, zeros coming in."""
    paddings = [[0, 0]] * (x.shape.rank or 0)
    if x.shape.rank is None:
        raise NotImplementedError("the gradient of a system with three diagonals needs a known rank")
    paddings[axis] = [max(by, 0), max(-by, 0)]
    cut = [slice(None)] * x.shape.rank
    cut[axis] = slice(0, -by) if by > 0 else slice(-by, None)
    return emit.Pad(x[tuple(cut)], np.array(paddings, np.int32))


@tridiagonal_solve_op.gradient
def tridiagonal_solve_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Solves with the adjoint, whose diagonals have changed places."""
    diagonals, (x,) = op.inputs[0], op.outputs
    above, main, below = (diagonals[..., i, :] for i in range(3))
    turned = emit.Pack([_shifted(below, -1, -1), main, _shifted(above, 1, -1)], axis=-2)
    right = emit.TridiagonalSolve(
        conjugate(turned), dy, partial_pivoting=op.attrs["partial_pivoting"],
        perturb_singular=op.attrs["perturb_singular"],
    )  # fmt: skip
    held = conjugate(x)
    parts = [_shifted(held, -1, -2), held, _shifted(held, 1, -2)]
    return [-emit.Pack([reduce_sum(right * part, -1) for part in parts], axis=-2), right]


def _tridiagonal_product_shape(node: Any) -> TensorShape:
    right = rank_at_least(node, 3, 2, "rhs")
    for position, name in ((0, "superdiag"), (1, "maindiag"), (2, "subdiag")):
        rank_at_least(node, position, 2, name)
    return right


@op("TridiagonalMatMul", "superdiag:T; maindiag:T; subdiag:T; rhs:T", "output:T",
    f"T:type{{float64|float32|{COMPLEX}}}", infer=_tridiagonal_product_shape)  # fmt: skip
def tridiagonal_mat_mul_op(superdiag: Array, maindiag: Array, subdiag: Array, rhs: Array) -> Array:
    """Products of matrices of three diagonals, each [..., 1, n], with matrices [..., n, k]."""
    row = (*rhs.shape[:-2], 1, rhs.shape[-2])
    if superdiag.shape != row or maindiag.shape != row or subdiag.shape != row:
        raise refuse(f"the diagonals must have shape {list(row)}")
    above, main, below = (np.swapaxes(part, -1, -2) for part in (superdiag, maindiag, subdiag))
    result = main * rhs
    result[..., :-1, :] += above[..., :-1, :] * rhs[..., 1:, :]
    result[..., 1:, :] += below[..., 1:, :] * rhs[..., :-1, :]
    return np.asarray(result)


@tridiagonal_mat_mul_op.gradient
def tridiagonal_mat_mul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Products of shifted rows, and the product with the adjoint."""
    above, main, below, rhs = (conjugate(x) for x in op.inputs)
    up, down = _shifted(rhs, -1, -2), _shifted(rhs, 1, -2)
    rows = [emit.ExpandDims(reduce_sum(part * dy, -1), -2) for part in (up, rhs, down)]
    above, main, below = (matrix_transpose(part) for part in (above, main, below))
    back = _shifted(above * dy, 1, -2) + main * dy + _shifted(below * dy, -1, -2)
    return [*rows, back]


def _three_diagonals(diagonals: Any, form: str) -> list[Tensor]:
    """The diagonals above, on and below the main one, each [..., n], out of any of the accepted forms."""
    if form == "compact":
        whole = convert_to_tensor(diagonals, name="diagonals")
        return [whole[..., i, :] for i in range(3)]
    if form == "sequence":
        if not isinstance(diagonals, list | tuple) or len(diagonals) != 3:
            raise ValueError("Expected diagonals to be a sequence of length 3.")
        above, main, below = (convert_to_tensor(part) for part in diagonals)
        size = main.shape.as_list()[-1]
        return [_filled_up(above, size, (0, 1)), main, _filled_up(below, size, (1, 0))]
    if form == "matrix":
        whole = convert_to_tensor(diagonals, name="diagonals")
        sizes = whole.shape.as_list()[-2:]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"Expected last two dimensions of diagonals to be same, got {sizes[1]} and {sizes[0]}"
            )
        main = emit.MatrixDiagPart(whole)
        above = emit.MatrixDiagPart(whole[..., :-1, 1:])
        below = emit.MatrixDiagPart(whole[..., 1:, :-1])
        return [_filled_up(above, None, (0, 1)), main, _filled_up(below, None, (1, 0))]
    raise ValueError(f"Unrecognized diagonals_format: {form}")


def _filled_up(part: Tensor, size: int | None, widths: tuple[int, int]) -> Tensor:
    """An outer diagonal at the length of the main one."""
    length = part.shape.as_list()[-1]
    if size is not None and length in (None, size):
        return part
    if size is not None and length != size - 1:
        raise ValueError(f"Expected an outer diagonal of length {size} or {size - 1}, got {length}.")
    paddings = np.zeros((part.shape.rank or 1, 2), np.int32)
    paddings[-1] = widths
    result: Tensor = emit.Pad(part, paddings)
    return result


def tridiagonal_solve(
    diagonals: Any, rhs: Any, diagonals_format: str = "compact", transpose_rhs: bool = False,
    conjugate_rhs: bool = False, name: str | None = None, partial_pivoting: bool = True,
    perturb_singular: bool = False,
) -> Tensor:  # fmt: skip
    """Solves systems whose matrices have three diagonals.

    Args:
      diagonals: "compact": [..., 3, n], above, main and below, the first one's last and the last one's first element
        not read; "sequence": the three as a tuple; "matrix": [..., n, n].
      rhs: [..., n] or [..., n, k].
      diagonals_format: which of these.
      transpose_rhs: whether `rhs` is transposed first (matrices only).
      conjugate_rhs: whether `rhs` is conjugated first.
      name: a name.
      partial_pivoting: whether rows are exchanged for accuracy.
      perturb_singular: not supported in the run.

    Raises:
      ValueError: for sizes that do not fit, or an unknown format.
    """
    if perturb_singular and not partial_pivoting:
        raise ValueError("partial_pivoting must be True if perturb_singular is.")
    with name_scope(name, "tridiagonal_solve", [rhs]):
        compact = emit.Pack(_three_diagonals(diagonals, diagonals_format), axis=-2)
        right = convert_to_tensor(rhs, compact.dtype, name="rhs")
        rank, own = compact.shape.rank, right.shape.rank
        is_vector = rank is not None and own == rank - 1
        if is_vector:
            right = emit.ExpandDims(conjugate(right) if conjugate_rhs else right, -1)
        elif transpose_rhs:
            right = matrix_transpose(right, conjugate=conjugate_rhs)
        elif conjugate_rhs:
            right = conjugate(right)
        solved = emit.TridiagonalSolve(
            compact, right, partial_pivoting=partial_pivoting, perturb_singular=perturb_singular
        )
        result: Tensor = emit.Squeeze(solved, squeeze_dims=[-1]) if is_vector else solved
        return result


def tridiagonal_matmul(
    diagonals: Any, rhs: Any, diagonals_format: str = "compact", name: str | None = None
) -> Tensor:
    """Multiplies matrices of three diagonals (given as for `tridiagonal_solve`) with matrices `rhs` [..., n, k]."""
    with name_scope(name, "tridiagonal_matmul", [rhs]):
        parts = [emit.ExpandDims(part, -2) for part in _three_diagonals(diagonals, diagonals_format)]
        result: Tensor = emit.TridiagonalMatMul(*parts, rhs)
        return result


__all__ = [
    "cholesky", "cholesky_solve", "logdet", "lu", "lu_matrix_inverse", "lu_reconstruct", "lu_solve",
    "matrix_determinant", "matrix_inverse", "matrix_logarithm", "matrix_rank", "matrix_solve", "matrix_solve_ls",
    "matrix_square_root", "matrix_triangular_solve", "pinv", "qr", "self_adjoint_eig", "self_adjoint_eigvals",
    "slogdet", "svd", "tridiagonal_matmul", "tridiagonal_solve",
]  # fmt: skip
