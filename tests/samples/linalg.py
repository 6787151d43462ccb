"""Samples of linear algebra."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import BFLOAT16, HALVES, Array, Sample, samples, special, strided, uniform


def well_conditioned(*shape: int, dtype: object = np.float64, seed: int = 7) -> Array:
    """Square matrices far from singular ones."""
    values = uniform(*shape, dtype=dtype, seed=seed)
    return values + 4 * np.eye(shape[-1], dtype=values.dtype)


@samples("MatMul")
def matmul_samples() -> Iterator[Sample]:
    for a, b in ((False, False), (False, True), (True, False), (True, True)):
        left = uniform(4, 3) if a else uniform(3, 4)
        right = uniform(5, 4, seed=8) if b else uniform(4, 5, seed=8)
        yield Sample([left, right], {"transpose_a": a, "transpose_b": b}, rtol=1e-5, atol=1e-5)
    for a, b in ((False, True), (True, False), (True, True)):
        left = uniform(4, 3, dtype=np.complex64) if a else uniform(3, 4, dtype=np.complex64)
        right = uniform(5, 4, dtype=np.complex64, seed=8) if b else uniform(4, 5, dtype=np.complex64, seed=8)
        yield Sample([left, right], {"transpose_a": a, "transpose_b": b}, rtol=1e-5, atol=1e-5)
    yield Sample([uniform(70, 33), uniform(33, 65, seed=8)], rtol=1e-5, atol=1e-4, name="tiles")
    yield Sample([uniform(1, 300), uniform(300, 1, seed=8)], rtol=1e-5, atol=1e-4, name="dot")
    yield Sample([uniform(7, 1), uniform(1, 9, seed=8)], name="outer")
    yield Sample(
        [strided(uniform(6, 5)), strided(uniform(5, 6, seed=8))], rtol=1e-5, atol=1e-5, name="strided"
    )
    yield Sample([uniform(0, 4), uniform(4, 5)], name="no rows")
    yield Sample([uniform(3, 0), uniform(0, 5)], name="nothing to sum")
    yield Sample([special()[None, :], np.ones((16, 2), np.float32)], differentiable=False, name="special")
    yield Sample(
        [uniform(3, 4), uniform(4, 5, seed=8)], shapes={0: (None, 4)}, rtol=1e-5, atol=1e-5, name="batch open"
    )
    for dtype in (np.float64, np.int32, np.int64, np.complex128, *HALVES):
        yield Sample([uniform(3, 4, dtype=dtype), uniform(4, 5, dtype=dtype, seed=8)], differentiable=False)


@samples("GraphflowMixedMatMul")
def mixed_matmul_samples() -> Iterator[Sample]:
    for a, b in ((False, False), (False, True), (True, False), (True, True)):
        left = uniform(37, 19) if a else uniform(19, 37)
        right = uniform(50, 37, seed=8) if b else uniform(37, 50, seed=8)
        yield Sample(
            [left.astype(BFLOAT16), right.astype(BFLOAT16)], {"transpose_a": a, "transpose_b": b}, rtol=1e-5,
            atol=1e-5, differentiable=False,
        )  # fmt: skip


@samples("GraphflowMixedBatchMatMul")
def mixed_batch_matmul_samples() -> Iterator[Sample]:
    for x, y in ((False, False), (False, True), (True, False), (True, True)):
        left = uniform(2, 1, 17, 9) if x else uniform(2, 1, 9, 17)
        right = uniform(3, 33, 17, seed=8) if y else uniform(3, 17, 33, seed=8)
        yield Sample(
            [left.astype(BFLOAT16), right.astype(BFLOAT16)], {"adj_x": x, "adj_y": y}, rtol=1e-5, atol=1e-5,
            differentiable=False,
        )  # fmt: skip


@samples("BatchMatMul", "BatchMatMulV2")
def batch_matmul_samples() -> Iterator[Sample]:
    for x, y in ((False, False), (False, True), (True, False), (True, True)):
        for dtype in (np.float32, np.complex64):
            left = uniform(2, 4, 3, dtype=dtype) if x else uniform(2, 3, 4, dtype=dtype)
            right = uniform(2, 5, 4, dtype=dtype, seed=8) if y else uniform(2, 4, 5, dtype=dtype, seed=8)
            yield Sample([left, right], {"adj_x": x, "adj_y": y}, rtol=1e-5, atol=1e-5)
    yield Sample([uniform(3, 4), uniform(4, 5, seed=8)], rtol=1e-5, atol=1e-5, name="plain")
    yield Sample([uniform(2, 0, 4), uniform(2, 4, 5)], name="empty")
    yield Sample([uniform(2, 3, 3, 4), uniform(2, 3, 4, 5, seed=8)], rtol=1e-5, atol=1e-5, name="two axes")
    yield Sample([uniform(2, 3, 4, dtype=np.int32), uniform(2, 4, 5, dtype=np.int32)], differentiable=False)


@samples("BatchMatMulV2")
def broadcast_matmul_samples() -> Iterator[Sample]:
    yield Sample([uniform(2, 3, 4), uniform(4, 5, seed=8)], rtol=1e-5, atol=1e-5, name="one matrix")
    yield Sample([uniform(1, 3, 4), uniform(6, 4, 5, seed=8)], rtol=1e-5, atol=1e-5, name="size one")
    yield Sample([uniform(2, 1, 3, 4), uniform(5, 4, 2, seed=8)], rtol=1e-5, atol=1e-5, name="both")
    yield Sample(
        [uniform(2, 1, 4, 3), uniform(5, 2, 4, seed=8)], {"adj_x": True, "adj_y": True}, rtol=1e-5, atol=1e-5
    )


@samples("Einsum")
def einsum_samples() -> Iterator[Sample]:
    a, b, c = uniform(3, 4), uniform(4, 5, seed=8), uniform(5, 2, seed=9)
    yield Sample([[a, b]], {"equation": "ij,jk->ik"}, rtol=1e-5, atol=1e-5)
    yield Sample([[a, b, c]], {"equation": "ij,jk,kl->il"}, rtol=1e-5, atol=1e-5)
    yield Sample(
        [[uniform(2, 3, 4), uniform(2, 4, 5, seed=8)]], {"equation": "bij,bjk->bik"}, rtol=1e-5, atol=1e-5
    )
    yield Sample(
        [[uniform(2, 3, 4), uniform(4, 5, seed=8)]], {"equation": "...ij,jk->...ik"}, rtol=1e-5, atol=1e-5
    )
    yield Sample(
        [[uniform(1, 3, 4), uniform(6, 4, 5, seed=8)]],
        {"equation": "...ij,...jk->...ik"},
        rtol=1e-5,
        atol=1e-5,
    )
    yield Sample([[a]], {"equation": "ij->ji"})
    yield Sample([[a]], {"equation": "ij->j"}, rtol=1e-5)
    yield Sample([[a, b]], {"equation": "ij,kl->k"}, rtol=1e-5, atol=1e-5, name="summed alone")
    yield Sample([[uniform(4, 4)]], {"equation": "ii->i"}, name="diagonal")
    yield Sample([[uniform(4, 4)]], {"equation": "ii->"}, rtol=1e-5, name="trace")
    yield Sample([[uniform(3), uniform(4, seed=8)]], {"equation": "i,j->ij"}, name="outer")
    yield Sample([[uniform(2, 3, dtype=np.complex64), uniform(3, 2, dtype=np.complex64, seed=8)]],
                 {"equation": "ij,jk->ik"}, rtol=1e-5, atol=1e-5)  # fmt: skip
    for dtype in HALVES:
        yield Sample(
            [[uniform(3, 4, dtype=dtype), uniform(4, 5, dtype=dtype)]],
            {"equation": "ij,jk->ik"},
            differentiable=False,
        )


@samples("Cross")
def cross_samples() -> Iterator[Sample]:
    yield Sample([uniform(3), uniform(3, seed=8)])
    yield Sample([uniform(4, 2, 3), uniform(4, 2, 3, seed=8)])
    yield Sample([uniform(2, 3, dtype=np.int32), uniform(2, 3, dtype=np.int32, seed=8)], differentiable=False)


@samples("SparseMatMul")
def sparse_mat_mul_samples() -> Iterator[Sample]:
    zeros = uniform(3, 5) * (uniform(3, 5, seed=9) > 0)
    for ways in ({}, {"transpose_a": True}, {"transpose_b": True, "a_is_sparse": True}):
        a = zeros.T.copy() if "transpose_a" in ways else zeros
        b = uniform(4, 5, seed=8) if "transpose_b" in ways else uniform(5, 4, seed=8)
        yield Sample([a, b], ways, narrow=True)
    yield Sample([zeros.astype(BFLOAT16), uniform(5, 4)], differentiable=False)
