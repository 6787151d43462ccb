"""Samples of the ops in `graphflow/ops/segments.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, apart, integers, samples, uniform
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
    yield Sample([integers(5, 2, low=0), ids], differentiable=False)
