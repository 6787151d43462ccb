"""Samples of the pools that are not plain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow.opdef import get_op
from tests.samples import HALVES, Array, Sample, apart, integers, samples, uniform

IMAGE = (2, 7, 6, 3)
WINDOWS: tuple[tuple[list[int], list[int], str], ...] = (
    ([1, 2, 3, 1], [1, 2, 1, 1], "SAME"),
    ([1, 3, 2, 1], [1, 1, 3, 1], "VALID"),
)


def sizes(values: list[int]) -> Array:
    return np.array(values, np.int32)


def pooled(x: Array, ksize: list[int], strides: list[int], padding: str) -> Array:
    result: Array = get_op("MaxPool").body(x, ksize=ksize, strides=strides, padding=padding)
    return result


@samples("MaxPoolV2")
def max_pool_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for ksize, strides, padding in WINDOWS:
        yield Sample([x, sizes(ksize), sizes(strides)], {"padding": padding}, (0,), constant=(1, 2))
    ksize, strides, padding = WINDOWS[0]
    yield Sample([x, sizes(ksize), sizes(strides)], {"padding": padding}, False, name="window fed")
    for dtype in (*HALVES, np.dtype(np.float64), np.dtype(np.int32)):
        yield Sample([uniform(*IMAGE, dtype=dtype), sizes(ksize), sizes(strides)], {"padding": padding}, False,
                     constant=(1, 2))  # fmt: skip


@samples("MaxPoolGradV2")
def max_pool_grad_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for window in WINDOWS:
        y = pooled(x, *window)
        inputs = [x, y, uniform(*y.shape), sizes(window[0]), sizes(window[1])]
        yield Sample(inputs, {"padding": window[2]}, (2,), constant=(3, 4), rtol=1e-5, atol=1e-6)


@samples("MaxPoolGradGradV2")
def max_pool_grad_grad_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for window in WINDOWS:
        inputs = [x, pooled(x, *window), uniform(*IMAGE), sizes(window[0]), sizes(window[1])]
        yield Sample(inputs, {"padding": window[2]}, (2,), constant=(3, 4), rtol=1e-5, atol=1e-6)


def argmax_attrs() -> Iterator[dict[str, Any]]:
    for i, (ksize, strides, padding) in enumerate(WINDOWS):
        yield {"ksize": ksize, "strides": strides, "padding": padding, "include_batch_in_index": bool(i)}


@samples("MaxPoolWithArgmax")
def argmax_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for attrs in argmax_attrs():
        yield Sample([x], attrs)
        yield Sample([x.astype(np.float64)], {**attrs, "Targmax": np.int32}, False)
        yield Sample([np.zeros(IMAGE, np.float32)], attrs, False, name="ties")
        yield Sample([np.zeros(IMAGE, np.uint8)], attrs, False, name="ties of the least")
        yield Sample([x.astype(HALVES[0])], attrs, False)


def placed(attrs: dict[str, Any]) -> tuple[Array, Array]:
    x = apart(*IMAGE, dtype=np.float32)
    return x, get_op("MaxPoolWithArgmax").body(x, **attrs)[1]


@samples("MaxPoolGradWithArgmax")
def argmax_grad_samples() -> Iterator[Sample]:
    for attrs in argmax_attrs():
        x, places = placed(attrs)
        yield Sample([x, uniform(*places.shape), places], attrs, (1,), rtol=1e-5, atol=1e-6)


@samples("MaxPoolGradGradWithArgmax")
def argmax_grad_grad_samples() -> Iterator[Sample]:
    for attrs in argmax_attrs():
        x, places = placed(attrs)
        yield Sample([x, uniform(*IMAGE), places], attrs, (1,), rtol=1e-5, atol=1e-6)


FRACTIONS = {"pooling_ratio": [1.0, 1.44, 1.73, 1.0], "deterministic": True, "seed": 5, "seed2": 9}


@samples("FractionalMaxPool", "FractionalAvgPool")
def fractional_samples() -> Iterator[Sample]:
    for spaced in (False, True):
        for overlapping in (False, True):
            attrs = {**FRACTIONS, "pseudo_random": spaced, "overlapping": overlapping}
            yield Sample([uniform(2, 12, 11, 3)], attrs, False)
    yield Sample([integers(1, 9, 8, 2)], FRACTIONS, False)
    yield Sample([uniform(2, 6, 8, 3)], {"pooling_ratio": [1.0, 2.0, 2.0, 1.0]}, False, exact=False)


@samples("FractionalMaxPoolGrad")
def fractional_max_grad_samples() -> Iterator[Sample]:
    x, rows, columns = uniform(2, 5, 4, 3), np.array([0, 2, 5], np.int64), np.array([0, 1, 3, 4], np.int64)
    for overlapping in (False, True):
        y = np.stack([np.stack([
            x[:, a : b + overlapping, c : d + overlapping].max(axis=(1, 2))
            for c, d in zip(columns, columns[1:], strict=False)
        ], 1) for a, b in zip(rows, rows[1:], strict=False)], 1)  # fmt: skip
        yield Sample([x, y, uniform(2, 2, 3, 3, seed=8), rows, columns], {"overlapping": overlapping}, False,
                     rtol=1e-6)  # fmt: skip


@samples("FractionalAvgPoolGrad")
def fractional_avg_grad_samples() -> Iterator[Sample]:
    rows, columns = np.array([0, 2, 5], np.int64), np.array([0, 1, 3, 4], np.int64)
    for overlapping in (False, True):
        yield Sample([np.array([2, 5, 4, 3], np.int64), uniform(2, 2, 3, 3), rows, columns],
                     {"overlapping": overlapping}, False, constant=(0,), rtol=1e-6)  # fmt: skip
