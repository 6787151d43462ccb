"""Samples of convolutions and pools over volumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow.opdef import get_op
from tests.samples import HALVES, Sample, apart, samples, uniform

STEPS: tuple[dict[str, Any], ...] = (
    {"strides": [1, 1, 1, 1, 1], "padding": "SAME"},
    {"strides": [1, 1, 1, 1, 1], "padding": "VALID"},
    {"strides": [1, 2, 1, 2, 1], "padding": "SAME"},
)


@samples("Conv3D")
def conv_samples() -> Iterator[Sample]:
    x, w = uniform(2, 4, 5, 3, 2), uniform(3, 2, 2, 2, 3, seed=8)
    for attrs in STEPS:
        yield Sample([x, w], attrs, rtol=1e-4, atol=1e-5)
    yield Sample(
        [x, w], {**STEPS[1], "dilations": [1, 1, 2, 1, 1]}, False, rtol=1e-4, atol=1e-5, name="dilated"
    )
    turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    yield Sample([turned, w], {**STEPS[0], "data_format": "NCDHW"}, False, rtol=1e-4, atol=1e-5)
    yield Sample(
        [x, w], STEPS[0], False, shapes={0: (None, 4, 5, 3, 2)}, rtol=1e-4, atol=1e-5, name="batch open"
    )
    yield Sample([x.astype(np.float64), w.astype(np.float64)], STEPS[0], False)


@samples("Conv3DBackpropInputV2")
def conv_input_samples() -> Iterator[Sample]:
    w = uniform(3, 2, 2, 2, 3, seed=8)
    for attrs, made in zip(STEPS, ((4, 5, 3), (2, 4, 2), (2, 5, 2)), strict=True):
        yield Sample([np.array([2, 4, 5, 3, 2], np.int32), w, uniform(2, *made, 3)], attrs, constant=(0,), rtol=1e-4,
                     atol=1e-5)  # fmt: skip


@samples("Conv3DBackpropFilterV2")
def conv_filter_samples() -> Iterator[Sample]:
    x = uniform(2, 4, 5, 3, 2)
    for attrs, made in zip(STEPS, ((4, 5, 3), (2, 4, 2), (2, 5, 2)), strict=True):
        yield Sample([x, np.array([3, 2, 2, 2, 3], np.int32), uniform(2, *made, 3, seed=8)], attrs, constant=(1,),
                     rtol=1e-4, atol=1e-5)  # fmt: skip


def pool_attrs() -> Iterator[dict[str, Any]]:
    for padding in ("SAME", "VALID"):
        yield {"ksize": [1, 2, 3, 2, 1], "strides": [1, 2, 1, 1, 1], "padding": padding}


@samples("MaxPool3D", "AvgPool3D")
def pool_samples() -> Iterator[Sample]:
    for attrs in pool_attrs():
        yield Sample([apart(2, 4, 5, 3, 2).astype(np.float32)], attrs, rtol=1e-5)
    turned = {"ksize": [1, 1, 2, 2, 2], "strides": [1, 1, 1, 2, 1], "padding": "SAME", "data_format": "NCDHW"}
    yield Sample([apart(2, 2, 4, 5, 3).astype(np.float32)], turned, False, rtol=1e-5)
    yield Sample([uniform(1, 3, 3, 3, 2, dtype=HALVES[1])], attrs, False)


@samples("MaxPool3DGrad")
def max_grad_samples() -> Iterator[Sample]:
    x = apart(2, 4, 5, 3, 2).astype(np.float32)
    for attrs, made in zip(pool_attrs(), ((2, 5, 3), (2, 3, 2)), strict=True):
        yield Sample([x, get_op("MaxPool3D").body(x, **attrs), uniform(2, *made, 2)], attrs, (2,), rtol=1e-5)


@samples("MaxPool3DGradGrad")
def max_grad_grad_samples() -> Iterator[Sample]:
    x = apart(2, 4, 5, 3, 2).astype(np.float32)
    for attrs in pool_attrs():
        yield Sample(
            [x, get_op("MaxPool3D").body(x, **attrs), uniform(2, 4, 5, 3, 2)], attrs, (2,), rtol=1e-5
        )


@samples("AvgPool3DGrad")
def avg_grad_samples() -> Iterator[Sample]:
    for attrs, made in zip(pool_attrs(), ((2, 5, 3), (2, 3, 2)), strict=True):
        yield Sample([np.array([2, 4, 5, 3, 2], np.int32), uniform(2, *made, 2)], attrs, constant=(0,), rtol=1e-5,
                     atol=1e-6)  # fmt: skip
