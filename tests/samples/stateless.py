"""Samples of the ops in `graphflow/ops/stateless.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import Sample, samples, uniform
from tests.samples.layout import ints

SEED = np.array([7, -123456789012], np.int64)
KEY, COUNTER = np.array([2**63 + 5], np.uint64), np.array([3, 2**64 - 1], np.uint64)
PHILOX = np.array(1, np.int32)


@samples("StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal")
def from_seeds() -> Iterator[Sample]:
    for dtype in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64):
        yield Sample([ints(3, 35), SEED], {"dtype": dtype}, constant=(0,), differentiable=False)
    yield Sample([ints(5), ints(1, 2)], {"dtype": dtypes.float32}, differentiable=False, name="fed")
    yield Sample(
        [np.zeros(0, np.int64), SEED], {"dtype": dtypes.float32}, differentiable=False, name="scalar"
    )


@samples("StatelessRandomUniformV2", "StatelessRandomNormalV2", "StatelessTruncatedNormalV2")
def from_keys() -> Iterator[Sample]:
    for dtype in (dtypes.float16, dtypes.float32, dtypes.float64):
        yield Sample(
            [ints(3, 35), KEY, COUNTER, PHILOX], {"dtype": dtype}, constant=(0,), differentiable=False
        )


@samples("StatelessRandomUniformFullInt")
def whole_words() -> Iterator[Sample]:
    for dtype in (dtypes.int32, dtypes.int64, dtypes.uint32, dtypes.uint64):
        yield Sample([ints(3, 5), SEED], {"dtype": dtype}, constant=(0,), differentiable=False)


@samples("StatelessRandomUniformFullIntV2")
def whole_words_from_keys() -> Iterator[Sample]:
    for dtype in (dtypes.int32, dtypes.uint64):
        yield Sample([ints(3, 5), KEY, COUNTER, PHILOX], {"dtype": dtype}, differentiable=False)


@samples("StatelessRandomUniformInt")
def integers_from_seeds() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64):
        limits = [np.array(-3, dtype), np.array(1000, dtype)]
        yield Sample([ints(3, 5), SEED, *limits], constant=(0,), differentiable=False)


@samples("StatelessRandomUniformIntV2")
def integers_from_keys() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64, np.uint32, np.uint64):
        limits = [np.array(3, dtype), np.array(1000, dtype)]
        yield Sample([ints(3, 5), KEY, COUNTER, PHILOX, *limits], constant=(0,), differentiable=False)


@samples("StatelessMultinomial")
def classes_from_seeds() -> Iterator[Sample]:
    yield Sample([uniform(2, 5), np.array(9, np.int32), SEED], constant=(1,), differentiable=False)
    yield Sample(
        [uniform(2, 5, dtype=np.float64), np.array(6, np.int32), ints(1, 2)], {"output_dtype": dtypes.int32},
        differentiable=False,
    )  # fmt: skip


@samples("StatelessRandomGetKeyCounter", "StatelessRandomGetKeyCounterAlg")
def keys_of_seeds() -> Iterator[Sample]:
    yield Sample([SEED], differentiable=False)
    yield Sample([ints(0, 0)], differentiable=False, name="zeros")


@samples("StatelessRandomGetAlg")
def the_generator() -> Iterator[Sample]:
    yield Sample([], differentiable=False)
