"""Samples of the ops in `graphflow/ops/counting.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import Sample, integers, samples, uniform
from tests.samples.layout import axis, ints

NO_WEIGHTS = np.zeros(0, np.int32)


@samples("Bincount")
def bincount() -> Iterator[Sample]:
    values = ints((1, 3, 1), (0, 7, 3))
    yield Sample([values, axis(5), NO_WEIGHTS], constant=(1,), differentiable=False)
    yield Sample([values, axis(0), NO_WEIGHTS.astype(np.int64)], differentiable=False, name="no bins")
    for dtype in (np.float32, np.float64):
        yield Sample([values, axis(8), uniform(2, 3, dtype=dtype)], differentiable=False)
    yield Sample([values[:0], axis(3), NO_WEIGHTS], differentiable=False, name="empty")


@samples("DenseBincount")
def dense_bincount() -> Iterator[Sample]:
    values = ints((1, 3, 1), (0, 7, 3))
    for binary in (False, True):
        attrs = {"binary_output": binary}
        yield Sample([values, axis(5), NO_WEIGHTS], attrs, constant=(1,), differentiable=False)
        yield Sample(
            [values[0], axis(5), NO_WEIGHTS.astype(np.float32)], attrs, differentiable=False, name="vector"
        )
    wide = values.astype(np.int64)
    yield Sample([wide, axis(5, np.int64), uniform(2, 3)], differentiable=False, name="weights")


@samples("HistogramFixedWidth")
def histogram() -> Iterator[Sample]:
    for dtype in (np.float32, np.float64):
        ends = np.array([-1, 1], dtype)
        yield Sample([uniform(4, 9, dtype=dtype), ends, axis(7)], constant=(2,), differentiable=False)
    yield Sample([np.array([-1.0, 0.0, 1.5, 2.0, 5.0, 15, np.inf, -np.inf]), np.array([0.0, 5.0]), axis(5)],
                 {"dtype": dtypes.int64}, differentiable=False, name="ends")  # fmt: skip
    yield Sample([integers(20), np.array([-4, 5], np.int32), axis(3)], differentiable=False)


@samples("Bucketize")
def bucketize() -> Iterator[Sample]:
    attrs = {"boundaries": [0.0, 0.5, 10.0]}
    yield Sample([np.array([[-1, 0, 0.25], [0.5, 99, np.nan]], np.float32)], attrs, differentiable=False)
    yield Sample([integers(3, 4, low=-2, high=14)], attrs, differentiable=False)
    yield Sample([uniform(5, dtype=np.float64)], {"boundaries": []}, differentiable=False, name="none")
