"""Samples of the ops in `graphflow/ops/segments.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import HALVES, Sample, apart, integers, samples, uniform
from tests.samples.layout import axis, ints


@samples("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd")
def unsorted_segments() -> Iterator[Sample]:
    ids = ints(2, 0, 2, 1, 0)
    yield Sample([apart(5, 3) * 0.2, ids, axis(3)], constant=(2,), differentiable=(0,))
    yield Sample([apart(5) * 0.2, ids, axis(3)], constant=(2,), differentiable=(0,), name="vector")
    yield Sample([apart(5) * 0.2, ids, axis(4)], constant=(2,), differentiable=False, name="empty_segment")
    yield Sample(
        [apart(2, 3, 2) * 0.2, ints((0, 1, 0), (2, 2, 1)), axis(3)],
        constant=(2,),
        differentiable=(0,),
        name="deep",
    )
    yield Sample(
        [apart(5, 2) * 0.2, ints(1, -1, 0, 1, -1), axis(2)],
        constant=(2,),
        differentiable=(0,),
        name="dropped",
    )
    yield Sample([apart(5, 2) * 0.2, ids.astype(np.int64), axis(3, np.int64)], differentiable=(0,), shapes={0: None},
                 name="unknown")  # fmt: skip
    yield Sample([integers(5, 2), ids, axis(3)], constant=(2,), differentiable=False)
    yield Sample(
        [uniform(0, 2), np.zeros(0, np.int32), axis(3)], constant=(2,), differentiable=False, name="empty"
    )


@samples("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd")
def sorted_segments() -> Iterator[Sample]:
    ids = ints(0, 0, 1, 3, 3)
    yield Sample([apart(5, 3) * 0.2, ids], constant=(1,), differentiable=(0,))
    yield Sample([apart(5) * 0.2, ids.astype(np.int64)], differentiable=(0,), name="vector")
    yield Sample([integers(5, 2), ids], differentiable=False)


@samples("SegmentProd")
def products_with_zeros() -> Iterator[Sample]:
    data = np.array([[2.0, 0], [3, 5], [0, 0], [0, 7], [4, 1]])
    yield Sample([data, ints(0, 0, 1, 1, 2)], differentiable=(0,), second=False, name="zeros")


PICKED = (uniform(4, 3), ints(0, 3, 0, 2, 1), ints(0, 0, 2, 2, 3))


@samples("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")
def picked_segments() -> Iterator[Sample]:
    data, indices, ids = PICKED
    yield Sample([data, indices, ids], differentiable=(0,))
    yield Sample(
        [data.astype(np.float64), indices.astype(np.int64), ids.astype(np.int64)], differentiable=(0,)
    )
    yield Sample([data[:, 0], indices, ids], differentiable=(0,), name="vector")
    yield Sample([data, indices[:0], ids[:0]], differentiable=False, name="empty")
    for dtype in HALVES:
        yield Sample([data.astype(dtype), indices, ids], differentiable=False)


@samples("SparseSegmentSum")
def picked_integers() -> Iterator[Sample]:
    yield Sample([integers(4, 2), *PICKED[1:]], differentiable=False)


@samples(
    "SparseSegmentSumWithNumSegments", "SparseSegmentMeanWithNumSegments", "SparseSegmentSqrtNWithNumSegments"
)
def picked_segments_counted() -> Iterator[Sample]:
    data, indices, ids = PICKED
    yield Sample([data, indices, ids, axis(6)], constant=(3,), differentiable=(0,))
    yield Sample([data, indices, ids, axis(4, np.int64)], differentiable=(0,), name="fed")


@samples("SparseSegmentSumGrad", "SparseSegmentMeanGrad", "SparseSegmentSqrtNGrad")
def picked_segments_back() -> Iterator[Sample]:
    _, indices, ids = PICKED
    yield Sample([uniform(4, 3), indices, ids, axis(5)], constant=(3,), differentiable=(0,))
    yield Sample([uniform(4, dtype=np.float64), indices, ids, axis(4)], differentiable=(0,), name="vector")
