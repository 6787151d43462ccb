"""Samples of the ops in `graphflow/ops/factorizations.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import FLOATS, Sample, samples, uniform
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
