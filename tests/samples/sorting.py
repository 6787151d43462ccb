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


@samples("UniqueV2", "UniqueWithCountsV2")
def unique_along() -> Iterator[Sample]:
    rows = ints((1, 2), (3, 4), (1, 2), (1, 5))
    yield Sample([rows, ints(0)], constant=(1,), differentiable=False)
    yield Sample([rows.T.copy(), ints(-1)], differentiable=False, name="last axis")
    yield Sample(
        [ints(4, 4, 1, 7), np.zeros(0, np.int64)], constant=(1,), differentiable=False, name="vector"
    )
    yield Sample([uniform(3, 2, 2)[[0, 1, 0]], ints(0)], {"out_idx": dtypes.int64}, differentiable=False)
    yield Sample([texts(b"b", b"a", b"b"), ints(0)], differentiable=False, name="string")


@samples("LowerBound", "UpperBound")
def bounds() -> Iterator[Sample]:
    rows = ints((1, 3, 3, 7), (0, 0, 5, 9))
    yield Sample([rows, ints((3, 0, 8), (0, 9, 10))], differentiable=False)
    yield Sample(
        [rows.astype(np.float32), np.array([[3.5], [-1]], np.float32)],
        {"out_type": dtypes.int64},
        differentiable=False,
    )
    yield Sample([rows[:, :0], ints((3,), (4,))], differentiable=False, name="empty")


@samples("NthElement")
def nth_element() -> Iterator[Sample]:
    for reverse in (False, True):
        yield Sample([apart(3, 5), np.array(1, np.int32)], {"reverse": reverse}, constant=(1,), second=False)
    yield Sample([integers(2, 3, 4), np.array(3, np.int32)], differentiable=False)


@samples("EditDistance")
def edit_distance() -> Iterator[Sample]:
    mine = [np.array([[0, 0], [0, 1], [0, 2], [2, 0]]), texts(b"a", b"b", b"c", b"x"), np.array([3, 3])]
    true = [np.array([[0, 0], [0, 1], [1, 0]]), texts(b"a", b"c", b"y"), np.array([3, 2])]
    for normalize in (False, True):
        yield Sample([*mine, *true], {"normalize": normalize}, differentiable=False)
        yield Sample(
            [*mine, *true], {"normalize": normalize}, constant=(2, 5), differentiable=False, name="constant"
        )


@samples("TopKV2")
def top_k_of_rows() -> Iterator[Sample]:
    rows = integers(4, 90, low=0, high=12, dtype=np.float32)
    rows[2, ::3] = -np.inf
    odd = rows.copy()
    odd[1, 5:9] = np.nan
    for k in (1, 7, 64):
        for values, name in ((rows, "rows"), (odd, "NaN")):
            yield Sample(
                [values, np.array(k, np.int32)],
                constant=(1,),
                differentiable=False,
                shapes={0: (None, 90)},
                name=name,
            )
    yield Sample(
        [np.full((2, 5), -np.inf, np.float32), np.array(3, np.int32)], constant=(1,), differentiable=False
    )
