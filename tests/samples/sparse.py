"""Samples of the ops that make, arrange, join and cut sparse tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import Array, Sample, integers, samples, uniform

INDICES = np.array([[0, 1], [0, 3], [2, 0], [2, 2], [3, 3]], np.int64)
SHAPE = np.array([4, 4], np.int64)
NO_INDICES = np.zeros((0, 2), np.int64)
TEXTS = np.array([b"a", b"", b"ccc", b"\x00\xff", b"e"], object)


def filled(count: int = 5, dtype: Any = np.float32, seed: int = 7) -> Array:
    """Values of a sparse tensor."""
    return uniform(count, dtype=dtype, seed=seed)


@samples("SparseToDense")
def to_dense_samples() -> Iterator[Sample]:
    zero = np.zeros((), np.float32)
    yield Sample([INDICES, SHAPE, filled(), zero], constant=(1,))
    yield Sample([INDICES.astype(np.int32), SHAPE.astype(np.int32), filled(), zero + 1], constant=(1,))
    yield Sample([np.array([0, 2], np.int32), np.array([4], np.int32), filled(2), zero], name="vector")
    yield Sample([np.array(2, np.int32), np.array([4], np.int32), filled(1)[0], zero], name="one")
    yield Sample([INDICES, SHAPE, np.float32(3), zero], name="one value for all")
    yield Sample([NO_INDICES, SHAPE, filled(0), zero], name="empty")
    yield Sample(
        [INDICES[::-1].copy(), SHAPE, filled(), zero], {"validate_indices": False}, name="in any order"
    )
    for dtype in (np.float64, np.int32, np.int64, np.bool_, np.uint8, np.complex64):
        yield Sample([INDICES, SHAPE, filled(dtype=dtype), np.zeros((), dtype)], differentiable=False)
    yield Sample([INDICES, SHAPE, TEXTS, np.array(b"", object)], differentiable=False, name="texts")


@samples("SparseReorder")
def reorder_samples() -> Iterator[Sample]:
    order = np.array([3, 0, 4, 1, 2])
    yield Sample([INDICES[order], filled(), SHAPE], constant=(2,))
    yield Sample([INDICES, filled(), SHAPE], name="in order")
    yield Sample([NO_INDICES, filled(0), SHAPE], differentiable=False, name="empty")
    yield Sample([np.array([[3], [1]], np.int64), filled(2), np.array([4], np.int64)], name="vector")
    yield Sample([INDICES[order], TEXTS, SHAPE], differentiable=False, name="texts")


@samples("SparseReshape")
def reshape_samples() -> Iterator[Sample]:
    for shape in ([16], [2, 8], [-1, 2], [2, 2, 2, 2]):
        yield Sample([INDICES, SHAPE, np.array(shape, np.int64)], constant=(1, 2))
    yield Sample([NO_INDICES, np.array([0, 4], np.int64), np.array([2, -1], np.int64)], name="empty")


@samples("SparseConcat")
def concat_samples() -> Iterator[Sample]:
    two = [INDICES, INDICES[1:4]]
    for axis in (0, 1, -1):
        yield Sample([two, [filled(), filled(3, seed=8)], [SHAPE, SHAPE]], {"concat_dim": axis})
    yield Sample([[INDICES, NO_INDICES], [TEXTS, TEXTS[:0]], [SHAPE, np.array([4, 2], np.int64)]],
                 {"concat_dim": 1}, name="texts")  # fmt: skip


@samples("SparseSplit")
def split_samples() -> Iterator[Sample]:
    for axis in (0, 1, -1):
        yield Sample([np.array(axis, np.int64), INDICES, filled(), SHAPE], {"num_split": 2})
    yield Sample([np.array(0, np.int64), INDICES, filled(), SHAPE], {"num_split": 3}, name="uneven")
    yield Sample([np.array(1, np.int64), NO_INDICES, filled(0), SHAPE], {"num_split": 2}, name="empty")


@samples("SparseSlice")
def slice_samples() -> Iterator[Sample]:
    for start, size in (([0, 0], [4, 4]), ([0, 1], [3, 9]), ([2, 2], [2, 2]), ([4, 0], [1, 1])):
        yield Sample(
            [INDICES, filled(), SHAPE, np.array(start, np.int64), np.array(size, np.int64)],
            differentiable=start != [4, 0],
        )


@samples("SparseSliceGrad")
def slice_grad_samples() -> Iterator[Sample]:
    start = np.array([2, 0], np.int64)
    yield Sample([filled(3), INDICES, start, INDICES[2:] - start])
    yield Sample([filled(0), INDICES, start, NO_INDICES], differentiable=False, name="nothing")


@samples("SparseFillEmptyRows")
def fill_rows_samples() -> Iterator[Sample]:
    yield Sample([INDICES, filled(), SHAPE, np.array(7, np.float32)], constant=(2,))
    yield Sample([INDICES[[4, 2, 0]], filled(3), SHAPE, np.array(7, np.float32)], name="in any order")
    yield Sample([NO_INDICES, filled(0), SHAPE, np.array(7, np.float32)], differentiable=False, name="empty")
    yield Sample([INDICES, TEXTS, SHAPE, np.array(b"x", object)], differentiable=False, name="texts")


@samples("SparseFillEmptyRowsGrad")
def fill_rows_grad_samples() -> Iterator[Sample]:
    yield Sample([np.array([2, 0, 3], np.int64), filled()])
    yield Sample([np.zeros(0, np.int64), filled(2)], name="all filled")
    yield Sample([np.array([1], np.int64), integers(2)], differentiable=False)
