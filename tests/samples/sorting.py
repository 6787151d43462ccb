"""Samples of the ops in `graphflow/ops/sorting.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import FLOATS, Sample, apart, integers, samples, uniform
from tests.samples.layout import ints, texts


@samples("TopK")
def top_k_samples() -> Iterator[Sample]:
    yield Sample([apart(3, 5)], {"k": 2})
    yield Sample([np.array([1, 3, 3, 2], np.int32)], {"k": 3}, False, name="ties")


@samples("TopKV2")
def top_k_v2_samples() -> Iterator[Sample]:
    for k in (0, 1, 3, 5):
        yield Sample([apart(2, 3, 5), np.array(k, np.int32)], constant=(1,), differentiable=k > 0)
    yield Sample(
        [np.array([1, 3, 3, 2], np.int32), np.array(3, np.int32)], constant=(1,), differentiable=False
    )
    yield Sample(
        [np.array([1, 3, 3, 2], np.uint8), np.array(3, np.int32)], constant=(1,), differentiable=False
    )
    for dtype in FLOATS:
        yield Sample([uniform(6, dtype=dtype), np.array(3, np.int32)], constant=(1,), differentiable=False)


@samples("Where")
def where() -> Iterator[Sample]:
    yield Sample([uniform(3, 4, dtype=bool)], differentiable=False)
    yield Sample([np.zeros((2, 2), bool)], differentiable=False, name="none")
    yield Sample([integers(5, low=-1, high=2)], differentiable=False)
    yield Sample([uniform(2, 3, 2, dtype=bool)], shapes={0: None}, differentiable=False, name="unknown")


@samples("Unique", "UniqueWithCounts")
def unique() -> Iterator[Sample]:
    yield Sample([ints(4, 4, 1, 7, 1)], differentiable=False)
    yield Sample([np.array([1.5, 2, 1.5], np.float32)], attrs={"out_idx": dtypes.int64}, differentiable=False)
    yield Sample([texts(b"b", b"a", b"b")], differentiable=False, name="string")
    yield Sample([np.zeros(0, np.int32)], differentiable=False, name="empty")


@samples("ListDiff")
def list_diff() -> Iterator[Sample]:
    yield Sample([ints(1, 2, 3, 2, 5), ints(2, 7)], differentiable=False)
    yield Sample([texts(b"a", b"b"), texts(b"a")], differentiable=False, name="string")
