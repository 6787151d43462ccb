"""Samples of random ops: their values are tested against TensorFlow's in `tests/test_random.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import BFLOAT16, Sample, samples, uniform


@samples("RandomUniform", "RandomStandardNormal", "TruncatedNormal")
def filled_samples() -> Iterator[Sample]:
    for dtype in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64):
        yield Sample(
            [np.array([3, 5], np.int32)], {"seed": 1, "seed2": 2, "dtype": dtype}, constant=(0,), exact=False
        )
    yield Sample(
        [np.zeros(0, np.int32)], {"dtype": dtypes.float32}, constant=(0,), exact=False, name="scalar"
    )
    yield Sample(
        [np.array([0, 4], np.int64)], {"dtype": dtypes.float32}, constant=(0,), exact=False, name="empty"
    )


@samples("GraphflowRandomAtLeast")
def at_least_samples() -> Iterator[Sample]:
    for dtype in (np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)):
        yield Sample(
            [np.array([3, 5], np.int32), np.array(0.25, dtype)],
            {"seed": 1, "seed2": 2},
            constant=(0, 1),
            exact=False,
        )
    yield Sample([np.array([0, 4], np.int64), np.float32(0.5)], constant=(0, 1), exact=False, name="empty")


@samples("GraphflowKeyedMultinomial")
def keyed_multinomial_samples() -> Iterator[Sample]:
    keyed = [np.array([3], np.uint64), np.array([2**64 - 1, 5], np.uint64), np.array(1, np.int32)]
    for dtype in (dtypes.int32, dtypes.int64):
        yield Sample(
            [uniform(2, 5), np.array(6, np.int32), *keyed],
            {"output_dtype": dtype},
            constant=(1, 4),
            exact=False,
        )


@samples("RandomUniformInt")
def integer_samples() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64):
        limits = [np.array(-3, dtype), np.array(9, dtype)]
        yield Sample([np.array([3, 5], np.int32), *limits], {"seed": 1}, constant=(0,), exact=False)


@samples("RandomShuffle")
def shuffle_samples() -> Iterator[Sample]:
    yield Sample([np.arange(7, dtype=np.int32)], {"seed": 1}, exact=False)
    yield Sample([uniform(5, 2)], {"seed": 1}, exact=False)


@samples("Multinomial")
def multinomial_samples() -> Iterator[Sample]:
    yield Sample([uniform(2, 5), np.array(6, np.int32)], {"seed": 1}, constant=(1,), exact=False)
