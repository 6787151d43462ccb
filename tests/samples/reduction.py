"""Samples of the ops in `graphflow/ops/reduction.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import (
    COMPLEX,
    FLOATS,
    HALVES,
    INTEGERS,
    Sample,
    apart,
    integers,
    samples,
    special,
    strided,
    uniform,
)


def axes(*values: int, dtype: type = np.int32) -> np.ndarray:
    return np.array(values, dtype)


def over_axes(dtype: type = np.float32, differentiable: bool = True) -> Iterator[Sample]:
    flag = (0,) if differentiable else False
    for chosen in ((), (0,), (1,), (-1,), (0, 2), (0, 1, 2), (1, 2)):
        for keep in (False, True):
            yield Sample(
                [apart(3, 4, 5, dtype=dtype) * 0.1, axes(*chosen)], attrs={"keep_dims": keep}, constant=(1,),
                differentiable=flag, name=f"{chosen}_{keep}",
            )  # fmt: skip
    x = apart(3, 4, 5, dtype=dtype) * 0.1
    yield Sample([x, np.array(1, np.int64)], constant=(1,), differentiable=flag, name="scalar_axis")
    yield Sample(
        [x, axes(1)], constant=(1,), differentiable=flag, shapes={0: [None, 4, None]}, name="partly_known"
    )
    yield Sample([x, axes(1, 0)], constant=(1,), differentiable=flag, shapes={0: None}, name="unknown_rank")
    yield Sample([x, axes(1)], differentiable=flag, name="fed_axis")
    yield Sample([x, axes(0, 1)], attrs={"keep_dims": True}, differentiable=flag, name="fed_axis_kept")


@samples("Sum", "Mean", "Max", "Min")
def folds() -> Iterator[Sample]:
    yield from over_axes()
    x = uniform(3, 70)
    yield Sample([x, axes(1)], constant=(1,), differentiable=False, name="odd")
    yield Sample([strided(uniform(6, 8)), axes(0)], constant=(1,), differentiable=False, name="strided")
    yield Sample(
        [uniform(260, 130), axes(0, 1)],
        constant=(1,),
        differentiable=False,
        name="large",
        rtol=1e-4,
        atol=1e-5,
    )
    yield Sample(
        [uniform(260, 130), axes(0)],
        constant=(1,),
        differentiable=False,
        name="large_rows",
        rtol=1e-4,
        atol=1e-4,
    )
    yield Sample([uniform(), np.zeros(0, np.int32)], constant=(1,), differentiable=False, name="scalar")
    yield Sample([uniform(0, 3), axes(0)], constant=(1,), differentiable=False, name="empty")
    yield Sample([uniform(3, 0), axes(0)], constant=(1,), differentiable=False, name="empty_result")
    for values in (special()[:2], special()[1:4], special()):
        yield Sample([values, axes(0)], constant=(1,), differentiable=False, name="special")
    for dtype in HALVES:
        yield Sample([uniform(4, 5, dtype=dtype), axes(1)], constant=(1,), differentiable=False)
    for dtype in (*INTEGERS, np.int8, np.uint8):
        low = 0 if np.dtype(dtype).kind == "u" else -9
        yield Sample(
            [integers(4, 5, low=low, high=20, dtype=dtype), axes(1)], constant=(1,), differentiable=False
        )


@samples("Prod")
def prod() -> Iterator[Sample]:
    for sample in over_axes():
        yield Sample(sample.inputs, sample.attrs, sample.differentiable, True, sample.constant, sample.shapes,
                     name=sample.name, rtol=1e-4)  # fmt: skip
    x = uniform(3, 4, dtype=np.float64)
    x[1, 2] = 0
    yield Sample([x, axes(1)], constant=(1,), differentiable=(0,), name="zero", second=False)
    yield Sample([integers(3, 4, low=-3, high=4), axes(0)], constant=(1,), differentiable=False)
    yield Sample([uniform(0, 3), axes(0)], constant=(1,), differentiable=False, name="empty")


@samples("Sum", "Mean", "Prod")
def complex_folds() -> Iterator[Sample]:
    for dtype in COMPLEX:
        yield Sample([uniform(3, 4, dtype=dtype), axes(1)], constant=(1,), differentiable=(0,), rtol=1e-5)


@samples("EuclideanNorm")
def euclidean_norm() -> Iterator[Sample]:
    yield Sample([np.array([[20, 30], [1, 2]], np.uint8), axes(1)], differentiable=False, name="overflow")
    for dtype in FLOATS:
        yield Sample([uniform(3, 4, low=0.5, dtype=dtype), axes(1)], constant=(1,), differentiable=(0,))
    yield Sample(
        [uniform(3, 4, low=0.5), axes(0)], attrs={"keep_dims": True}, constant=(1,), differentiable=(0,)
    )
    yield Sample(
        [uniform(3, 4), axes(0, 1)],
        constant=(1,),
        differentiable=(0,),
        shapes={0: [None, 4]},
        name="partly_known",
    )
    yield Sample([uniform(3, dtype=np.complex64), axes(0)], constant=(1,), differentiable=False)


@samples("Any", "All")
def booleans() -> Iterator[Sample]:
    x = uniform(3, 4, dtype=bool)
    for chosen in ((0,), (1,), (0, 1), ()):
        yield Sample([x, axes(*chosen)], constant=(1,), differentiable=False, name=str(chosen))
    yield Sample([x, axes(1)], attrs={"keep_dims": True}, constant=(1,), differentiable=False, name="kept")
    yield Sample([np.zeros((0, 2), bool), axes(0)], constant=(1,), differentiable=False, name="empty")


@samples("ArgMax", "ArgMin")
def places() -> Iterator[Sample]:
    for axis in (0, 1, -1):
        yield Sample(
            [apart(3, 4, dtype=np.float32), np.array(axis, np.int32)], constant=(1,), differentiable=False
        )
    yield Sample(
        [apart(9), np.array(0, np.int64)],
        attrs={"output_type": dtypes.int32},
        constant=(1,),
        differentiable=False,
    )
    yield Sample(
        [np.array([1, 3, 3, 1], np.float32), np.array(0, np.int32)],
        constant=(1,),
        differentiable=False,
        name="ties",
    )
    yield Sample(
        [np.array([1, np.nan, 5], np.float32), np.array(0, np.int32)],
        constant=(1,),
        differentiable=False,
        name="nan",
    )
    yield Sample([integers(3, 4), np.array(1, np.int32)], constant=(1,), differentiable=False)
    yield Sample([uniform(0, 4), np.array(1, np.int32)], constant=(1,), differentiable=False, name="empty")
    yield Sample([apart(3, 4), np.array(1, np.int32)], differentiable=False, name="fed_axis")


@samples("Cumsum", "Cumprod")
def running() -> Iterator[Sample]:
    for exclusive in (False, True):
        for reverse in (False, True):
            yield Sample(
                [uniform(3, 4, low=0.5, dtype=np.float64), np.array(1, np.int32)], constant=(1,),
                attrs={"exclusive": exclusive, "reverse": reverse}, differentiable=(0,), name=f"{exclusive}_{reverse}",
            )  # fmt: skip
    yield Sample([uniform(3, 4), np.array(0, np.int64)], constant=(1,), differentiable=False)
    yield Sample(
        [uniform(3, 4, 2), np.array(-2, np.int32)], constant=(1,), differentiable=False, name="middle"
    )
    yield Sample([uniform(0, 2), np.array(0, np.int32)], constant=(1,), differentiable=False, name="empty")
    yield Sample([integers(5), np.array(0, np.int32)], constant=(1,), differentiable=False)
    yield Sample([uniform(3, 4), np.array(1, np.int32)], differentiable=False, name="fed_axis")
    for dtype in HALVES:
        yield Sample([uniform(3, 4, dtype=dtype), np.array(1, np.int32)], constant=(1,), differentiable=False)


@samples("Cumsum", "Cumprod")
def complex_running() -> Iterator[Sample]:
    yield Sample(
        [uniform(2, 3, dtype=np.complex128), np.array(1, np.int32)], constant=(1,), differentiable=(0,)
    )


@samples("GraphflowSorted", "GraphflowLast", "GraphflowNatural")
def segment_ids() -> Iterator[Sample]:
    for dtype in INTEGERS:
        yield Sample([np.array([0, 0, 2, 5, 5], dtype)], differentiable=False)
        yield Sample([np.array([3], dtype)], differentiable=False, shapes={0: [None]}, name="one")
        yield Sample([np.array([], dtype)], differentiable=False, shapes={0: [None]}, name="empty")


@samples("GraphflowRowIds")
def row_ids() -> Iterator[Sample]:
    for dtype in INTEGERS:
        yield Sample([np.array([3, 0, 3], dtype)], attrs={"limit": 4}, differentiable=False)
    yield Sample([np.array([], np.int32)], attrs={"limit": 4}, differentiable=False, name="empty")


@samples("CumulativeLogsumexp")
def cumulative_logsumexp() -> Iterator[Sample]:
    for exclusive in (False, True):
        for reverse in (False, True):
            attrs = {"exclusive": exclusive, "reverse": reverse}
            yield Sample([uniform(3, 5, dtype=np.float64), np.array(1, np.int32)], attrs, constant=(1,), second=False,
                         differentiable=False if exclusive else (0,))  # fmt: skip
    yield Sample([uniform(4, 2), np.array(0, np.int64)], differentiable=False)
    yield Sample(
        [np.array([1e4, -1e4, 1e4], np.float32), np.array(-1, np.int32)], differentiable=False, name="wide"
    )
