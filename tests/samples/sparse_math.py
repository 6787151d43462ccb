"""Samples of arithmetic on sparse tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import HALVES, Sample, samples, uniform
from tests.samples.sparse import INDICES, NO_INDICES, SHAPE, filled


@samples("SparseTensorDenseMatMul")
def matmul_samples() -> Iterator[Sample]:
    tall = np.array([5, 4], np.int64)
    for adjoint_a in (False, True):
        for adjoint_b in (False, True):
            attrs = {"adjoint_a": adjoint_a, "adjoint_b": adjoint_b}
            b = uniform(5 if adjoint_a else 4, 3, seed=8)
            yield Sample(
                [INDICES, filled(), tall, b.T.copy() if adjoint_b else b], attrs, constant=(2,), rtol=1e-5
            )
    yield Sample([INDICES.astype(np.int32), filled(), SHAPE, uniform(4, 3)], name="narrow indices", rtol=1e-5)
    yield Sample([NO_INDICES, filled(0), SHAPE, uniform(4, 3)], differentiable=False, name="no elements")
    yield Sample([INDICES, filled(), SHAPE, uniform(4, 0)], differentiable=False, name="no columns")
    twice = np.array([[0, 1], [0, 1], [3, 0]], np.int64)
    yield Sample([twice, filled(3), SHAPE, uniform(4, 2)], constant=(2,), name="repeated")
    rows = np.arange(300, dtype=np.int64)
    many = np.stack([rows // 5, rows * 7 % 40], axis=1)
    yield Sample([many, filled(300), np.array([60, 40], np.int64), uniform(40, 33)], constant=(2,),
                 differentiable=False, rtol=1e-5, atol=1e-5, name="larger")  # fmt: skip
    complex_b = uniform(4, 3, dtype=np.complex64)
    yield Sample([INDICES, filled(dtype=np.complex64), SHAPE, complex_b], {"adjoint_a": True})
    for dtype in (np.float64, np.int32, HALVES[1]):
        yield Sample([INDICES, filled(dtype=dtype), SHAPE, uniform(4, 3, dtype=dtype)], differentiable=False)


@samples("SparseAdd")
def add_samples() -> Iterator[Sample]:
    other = np.array([[0, 0], [0, 3], [3, 3]], np.int64)
    for thresh in (0.0, 0.1):
        yield Sample([INDICES, filled(), SHAPE, other, filled(3, seed=8), SHAPE, np.float32(thresh)],
                     differentiable=(1, 4))  # fmt: skip
    yield Sample(
        [INDICES, filled(), SHAPE, NO_INDICES, filled(0), SHAPE, np.float32(0)], differentiable=False
    )
    yield Sample([NO_INDICES, filled(0), SHAPE, NO_INDICES, filled(0), SHAPE, np.float32(0)],
                 differentiable=False, name="empty")  # fmt: skip
    yield Sample([INDICES, filled(dtype=np.int32), SHAPE, other, filled(3, np.int32), SHAPE, np.int32(1)],
                 differentiable=False)  # fmt: skip


@samples("SparseAddGrad")
def add_grad_samples() -> Iterator[Sample]:
    yield Sample([filled(5), INDICES[:3], INDICES[2:], INDICES])
    yield Sample([filled(2), INDICES, INDICES[2:], INDICES[2:4]], name="left out")


@samples("SparseSparseMaximum", "SparseSparseMinimum")
def extreme_samples() -> Iterator[Sample]:
    other = np.array([[0, 0], [0, 3], [3, 3]], np.int64)
    for dtype in (np.float32, np.int64):
        yield Sample([INDICES, filled(dtype=dtype), SHAPE, other, filled(3, dtype, 8), SHAPE])
    yield Sample([NO_INDICES, filled(0), SHAPE, other, filled(3), SHAPE], name="empty")


@samples("SparseTensorDenseAdd")
def dense_add_samples() -> Iterator[Sample]:
    yield Sample([INDICES, filled(), SHAPE, uniform(4, 4)])
    yield Sample(
        [INDICES.astype(np.int32), filled(), SHAPE.astype(np.int32), uniform(4, 4)], name="narrow indices"
    )
    yield Sample([NO_INDICES, filled(0), SHAPE, uniform(4, 4)], differentiable=False, name="empty")
    yield Sample(
        [INDICES, filled(dtype=np.int32), SHAPE, uniform(4, 4, dtype=np.int32)], differentiable=False
    )


@samples("SparseDenseCwiseMul", "SparseDenseCwiseDiv", "SparseDenseCwiseAdd")
def cwise_samples() -> Iterator[Sample]:
    for shape in ((4, 4), (4,), (1,), (4, 1), ()):
        yield Sample([INDICES, filled(), SHAPE, uniform(*shape, low=0.5)], rtol=1e-5)
    yield Sample([NO_INDICES, filled(0), SHAPE, uniform(4)], differentiable=False, name="empty")
    for dtype in (np.int32, np.int64):
        yield Sample([INDICES, filled(dtype=dtype), SHAPE, uniform(4, low=1, high=4, dtype=dtype)],
                     differentiable=False)  # fmt: skip


@samples("SparseReduceSum", "SparseReduceMax")
def reduce_samples() -> Iterator[Sample]:
    for axes in ([0], [1], [-1], [0, 1]):
        for keep in (False, True):
            yield Sample([INDICES, filled(), SHAPE, np.array(axes, np.int32)], {"keep_dims": keep}, constant=(2, 3),
                         rtol=1e-5)  # fmt: skip
    yield Sample([NO_INDICES, filled(0), SHAPE, np.array([1], np.int32)], differentiable=False, name="empty")
    yield Sample([INDICES, -np.abs(filled()), SHAPE, np.array([1], np.int32)], rtol=1e-5, name="negative")
    yield Sample([INDICES, filled(dtype=np.int32), SHAPE, np.array([0], np.int32)], differentiable=False)


@samples("SparseReduceSumSparse", "SparseReduceMaxSparse")
def reduce_sparse_samples() -> Iterator[Sample]:
    for axes in ([0], [1], [0, 1]):
        for keep in (False, True):
            yield Sample([INDICES, filled(), SHAPE, np.array(axes, np.int32)], {"keep_dims": keep}, rtol=1e-5)
    yield Sample([NO_INDICES, filled(0), SHAPE, np.array([1], np.int32)], name="empty")


@samples("SparseSoftmax")
def softmax_samples() -> Iterator[Sample]:
    yield Sample([INDICES, filled(), SHAPE], rtol=1e-5)
    yield Sample([NO_INDICES, filled(0), SHAPE], differentiable=False, name="empty")
    deep = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 2], [1, 0, 2]], np.int64)
    yield Sample([deep, filled(4, np.float64) * 50, np.array([2, 2, 3], np.int64)], name="deep")
