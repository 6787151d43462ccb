"""Samples of the ops in `graphflow/ops/factorizations.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import FLOATS, Array, Sample, samples, uniform
from tests.samples.linalg import well_conditioned


@samples("MatrixInverse")
def inverse_samples() -> Iterator[Sample]:
    for dtype in (*FLOATS, np.complex64):
        yield Sample([well_conditioned(3, 3, dtype=dtype)], rtol=1e-4, atol=1e-5)
    yield Sample([well_conditioned(2, 3, 3)], {"adjoint": True})


@samples("MatrixDeterminant")
def determinant_samples() -> Iterator[Sample]:
    yield Sample([well_conditioned(3, 3, dtype=np.float32)], rtol=1e-4)
    yield Sample([well_conditioned(2, 3, 3)])
    yield Sample([well_conditioned(3, 3, dtype=np.complex128)])


@samples("Cholesky")
def cholesky_samples() -> Iterator[Sample]:
    half = uniform(2, 3, 3, dtype=np.float64)
    # Only symmetric matrices have a factor, and random directions are not symmetric.
    yield Sample([half @ half.swapaxes(-1, -2) + np.eye(3)], differentiable=False)


@samples("MatrixSolve")
def solve_samples() -> Iterator[Sample]:
    for adjoint in (False, True):
        yield Sample([well_conditioned(2, 3, 3), uniform(2, 3, 4, dtype=np.float64)], {"adjoint": adjoint})
    yield Sample([well_conditioned(3, 3, dtype=np.float32), uniform(3, 1)], rtol=1e-4, atol=1e-5)


@samples("Qr")
def qr_samples() -> Iterator[Sample]:
    yield Sample([well_conditioned(3, 3)], second=False)
    yield Sample([uniform(5, 3, dtype=np.float64)], second=False, name="tall")
    yield Sample([uniform(2, 3, 5)], differentiable=False, rtol=1e-4, atol=1e-5, name="wide")
    yield Sample([uniform(5, 3)], {"full_matrices": True}, differentiable=False, rtol=1e-4, atol=1e-5)


def positive(*shape: int, dtype: object = np.float64, seed: int = 7) -> Array:
    """Hermitian positive definite matrices."""
    half = uniform(*shape, dtype=dtype, seed=seed)
    return half @ np.conj(half.swapaxes(-1, -2)) + np.eye(shape[-1], dtype=half.dtype)


@samples("Cholesky")
def cholesky_dtypes() -> Iterator[Sample]:
    for dtype in (np.float32, np.complex64, np.complex128):
        yield Sample([positive(2, 3, 3, dtype=dtype)], differentiable=False, rtol=1e-4, atol=1e-5)
    yield Sample([np.zeros((0, 0))], differentiable=False, name="empty")


@samples("CholeskyGrad")
def cholesky_grad_samples() -> Iterator[Sample]:
    factor = np.linalg.cholesky(positive(2, 3, 3))
    yield Sample([factor, uniform(2, 3, 3, dtype=np.float64, seed=9)], differentiable=False)
    yield Sample(
        [factor[0].astype(np.float32), uniform(3, 3, seed=9)], differentiable=False, rtol=1e-3, atol=1e-4
    )


@samples("MatrixTriangularSolve")
def triangular_solve_samples() -> Iterator[Sample]:
    for lower in (True, False):
        for adjoint in (True, False):
            attrs = {"lower": lower, "adjoint": adjoint}
            yield Sample([well_conditioned(2, 3, 3), uniform(2, 3, 4, dtype=np.float64)], attrs)
    for dtype in (np.float32, np.complex64, np.complex128):
        yield Sample(
            [well_conditioned(3, 3, dtype=dtype), uniform(3, 2, dtype=dtype)],
            {"adjoint": True},
            rtol=1e-4,
            atol=1e-5,
        )
    yield Sample([well_conditioned(3, 3), uniform(2, 3, 4, dtype=np.float64)], name="matrix broadcast")
    yield Sample([well_conditioned(2, 1, 3, 3), uniform(4, 3, 1, dtype=np.float64)], name="both broadcast")
    yield Sample([well_conditioned(3, 3), np.zeros((3, 0))], differentiable=False, name="nothing to solve")


@samples("MatrixSolveLs")
def solve_ls_samples() -> Iterator[Sample]:
    for rows, columns in ((5, 3), (3, 5), (3, 3)):
        weight = np.array(0.5)
        yield Sample(
            [uniform(2, rows, columns, dtype=np.float64), uniform(2, rows, 2, dtype=np.float64, seed=8), weight],
            differentiable=(0, 1), constant=(2,), second=False,
        )  # fmt: skip
    yield Sample(
        [uniform(5, 3), uniform(5, 2, seed=8), np.array(0.0)], differentiable=False, rtol=1e-3, atol=1e-4
    )
    yield Sample(
        [uniform(5, 3, dtype=np.float64), uniform(5, 2, dtype=np.float64, seed=8), np.array(0.0)], {"fast": False},
        differentiable=False, name="orthogonal",
    )  # fmt: skip


@samples("Qr")
def qr_wide_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 5, dtype=np.float64)], second=False, name="wide square")
    yield Sample([uniform(2, 3, 3, dtype=np.complex128)], differentiable=False, name="complex")


@samples("SelfAdjointEigV2")
def self_adjoint_eig_samples() -> Iterator[Sample]:
    matrix = positive(2, 3, 3)
    yield Sample([matrix], {"compute_v": False}, name="values")
    yield Sample([matrix], second=False, name="vectors")
    yield Sample(
        [positive(3, 3, dtype=np.float32)],
        {"compute_v": False},
        differentiable=False,
        rtol=1e-4,
        name="values",
    )
    yield Sample(
        [positive(3, 3, dtype=np.complex128)],
        {"compute_v": False},
        differentiable=False,
        rtol=1e-4,
        name="values",
    )


@samples("Eig")
def eig_samples() -> Iterator[Sample]:
    kind = {"Tout": dtypes.complex128}
    yield Sample([positive(3, 3)], {**kind, "compute_v": False}, second=False, name="values")
    yield Sample([positive(3, 3)], kind, second=False, name="vectors")
    yield Sample([positive(3, 3, dtype=np.complex128)], {**kind, "compute_v": False}, differentiable=False)
    yield Sample(
        [positive(2, 3, 3, dtype=np.float32)], {"Tout": dtypes.complex64, "compute_v": False}, differentiable=False,
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@samples("Svd")
def svd_samples() -> Iterator[Sample]:
    for rows, columns in ((3, 3), (4, 3), (3, 5)):
        x = uniform(2, rows, columns, dtype=np.float64)
        yield Sample([x], {"compute_uv": False}, second=False, name="values")
        yield Sample([x], second=False, name="vectors")
    yield Sample([uniform(3, 4, dtype=np.float64)], {"full_matrices": True}, second=False, name="vectors")
    yield Sample(
        [uniform(3, 5)], {"full_matrices": True}, differentiable=False, rtol=1e-4, atol=1e-5, name="vectors"
    )
    yield Sample(
        [uniform(3, 4, dtype=np.complex128)], {"compute_uv": False}, differentiable=False, name="values"
    )


@samples("LogMatrixDeterminant")
def log_determinant_samples() -> Iterator[Sample]:
    yield Sample([well_conditioned(2, 3, 3)])
    yield Sample(
        [well_conditioned(3, 3, dtype=np.float32)[::-1]], differentiable=False, rtol=1e-4, name="negative"
    )
    yield Sample([well_conditioned(3, 3, dtype=np.complex128)], differentiable=False)
    yield Sample([np.zeros((2, 2))], differentiable=False, name="singular")


@samples("Lu")
def lu_samples() -> Iterator[Sample]:
    yield Sample([uniform(4, 4, dtype=np.float64)])
    yield Sample([uniform(2, 3, 3, dtype=np.float64)], {"output_idx_type": dtypes.int64})
    yield Sample([uniform(3, 3)], differentiable=False, rtol=1e-4, atol=1e-5)
    yield Sample([uniform(3, 3, dtype=np.complex128)], differentiable=False)


@samples("MatrixSquareRoot")
def square_root_samples() -> Iterator[Sample]:
    yield Sample([well_conditioned(2, 3, 3)])
    yield Sample([positive(3, 3, dtype=np.float32)], differentiable=False, rtol=1e-3, atol=1e-4)
    yield Sample([well_conditioned(3, 3, dtype=np.complex128)], differentiable=False)


@samples("MatrixLogarithm")
def logarithm_samples() -> Iterator[Sample]:
    yield Sample([well_conditioned(2, 3, 3, dtype=np.complex128)], differentiable=False)
    yield Sample([well_conditioned(3, 3, dtype=np.complex64)], differentiable=False, rtol=1e-3, atol=1e-4)


@samples("TridiagonalSolve")
def tridiagonal_solve_samples() -> Iterator[Sample]:
    diagonals = uniform(2, 3, 5, dtype=np.float64)
    diagonals[:, 0, -1] = diagonals[:, 2, 0] = 0
    for dtype in (np.float64, np.complex128):
        yield Sample([diagonals.astype(dtype), uniform(2, 5, 2, dtype=dtype, seed=8)])
    diagonals = diagonals + np.array([0, 5, 0])[:, None]
    yield Sample([diagonals, uniform(2, 5, 1, dtype=np.float64, seed=8)], {"partial_pivoting": False})
    yield Sample(
        [diagonals[0].astype(np.float32), uniform(5, 2, seed=8)], differentiable=False, rtol=1e-4, atol=1e-5
    )


@samples("TridiagonalMatMul")
def tridiagonal_product_samples() -> Iterator[Sample]:
    parts = [uniform(2, 1, 4, dtype=np.float64, seed=i) for i in range(3)]
    yield Sample([*parts, uniform(2, 4, 3, dtype=np.float64)])
    parts = [uniform(1, 4, dtype=np.complex64, seed=i) for i in range(3)]
    yield Sample([*parts, uniform(4, 3, dtype=np.complex64)], differentiable=False, rtol=1e-5, atol=1e-5)
