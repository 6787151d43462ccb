"""Samples of convolutions and pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import BFLOAT16, HALVES, Array, Sample, apart, samples, uniform

CASES: list[dict[str, Any]] = [
    {"strides": [1, 1, 1, 1], "padding": "SAME"},
    {"strides": [1, 1, 1, 1], "padding": "VALID"},
    {"strides": [1, 2, 2, 1], "padding": "SAME"},
    {"strides": [1, 2, 1, 1], "padding": "VALID"},
    {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]},
    {"strides": [1, 2, 1, 1], "padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 2, 0, 3, 0, 0]},
]


def second(values: list[int]) -> list[int]:
    """Numbers per axis with the channels moved to the second place."""
    return [values[0], values[3], values[1], values[2]]


def channels_second(attrs: dict[str, Any]) -> dict[str, Any]:
    turned = {k: second(v) if k in ("strides", "dilations", "ksize") else v for k, v in attrs.items()}
    if "explicit_paddings" in turned:
        p = turned["explicit_paddings"]
        turned["explicit_paddings"] = [*p[:2], *p[6:], *p[2:6]]
    return turned | {"data_format": "NCHW"}


def turned(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def output(x: Array, w: Array, attrs: dict[str, Any], depthwise: bool) -> Array:
    """A gradient of the shape that the convolution gives."""
    from graphflow.ops.convolution import conv2d_op, depthwise_conv2d_op

    body = (depthwise_conv2d_op if depthwise else conv2d_op).body
    return uniform(*body(x, w, **attrs).shape, seed=9)


IMAGE = (2, 7, 6, 3)
KERNELS = {False: (3, 2, 3, 4), True: (3, 2, 3, 2)}


def _forward(depthwise: bool) -> Iterator[Sample]:
    x, w = uniform(*IMAGE), uniform(*KERNELS[depthwise], seed=8)
    for attrs in CASES:
        yield Sample([x, w], attrs, rtol=1e-5, atol=1e-5)
    yield Sample([turned(x), w], channels_second(CASES[5]), rtol=1e-5, atol=1e-5, name="NCHW")
    yield Sample([x, w], CASES[0], shapes={0: (None, 7, 6, 3)}, rtol=1e-5, atol=1e-5, name="batch open")
    yield Sample([uniform(0, 7, 6, 3), w], CASES[0], name="empty")
    yield Sample([x, w[:1, :1]], CASES[0], rtol=1e-5, atol=1e-5, name="points")
    for dtype in (np.dtype(np.float64), *HALVES):
        yield Sample([x.astype(dtype), w.astype(dtype)], CASES[2], differentiable=False)


@samples("Conv2D")
def conv2d_samples() -> Iterator[Sample]:
    yield from _forward(False)
    yield Sample(
        [uniform(2, 5, 5, 4), uniform(3, 3, 2, 6, seed=8)], CASES[0], rtol=1e-5, atol=1e-5, name="groups"
    )
    yield Sample(
        [uniform(2, 12, 11, 5), uniform(5, 5, 5, 17, seed=8)], CASES[0], rtol=1e-5, atol=1e-4, name="larger"
    )


@samples("GraphflowMixedConv2D")
def mixed_conv2d_samples() -> Iterator[Sample]:
    x, w = uniform(*IMAGE).astype(BFLOAT16), uniform(*KERNELS[False], seed=8).astype(BFLOAT16)
    for attrs in CASES:
        yield Sample([x, w], attrs, rtol=1e-5, atol=1e-5, differentiable=False)


@samples("GraphflowMixedConv2DBackpropInput")
def mixed_conv2d_input_samples() -> Iterator[Sample]:
    x, w = uniform(*IMAGE), uniform(*KERNELS[False], seed=8)
    for attrs in CASES:
        dy = output(x, w, attrs, False).astype(BFLOAT16)
        sizes = np.array(x.shape, np.int32)
        yield Sample(
            [sizes, w.astype(BFLOAT16), dy], attrs, constant=(0,), rtol=1e-5, atol=1e-5, differentiable=False
        )


@samples("GraphflowMixedConv2DBackpropFilter")
def mixed_conv2d_filter_samples() -> Iterator[Sample]:
    x, w = uniform(*IMAGE), uniform(*KERNELS[False], seed=8)
    for attrs in CASES:
        dy = output(x, w, attrs, False).astype(BFLOAT16)
        sizes = np.array(w.shape, np.int32)
        yield Sample(
            [x.astype(BFLOAT16), sizes, dy], attrs, constant=(1,), rtol=1e-5, atol=1e-4, differentiable=False
        )


@samples("DepthwiseConv2dNative")
def depthwise_samples() -> Iterator[Sample]:
    yield from _forward(True)


def _input_gradient(depthwise: bool) -> Iterator[Sample]:
    x, w = uniform(*IMAGE), uniform(*KERNELS[depthwise], seed=8)
    for attrs in CASES:
        dy = output(x, w, attrs, depthwise)
        yield Sample([np.array(IMAGE, np.int32), w, dy], attrs, constant=(0,), rtol=1e-5, atol=1e-5)
    attrs = channels_second(CASES[2])
    dy = output(turned(x), w, attrs, depthwise)
    sizes = np.array(turned(x).shape, np.int32)
    yield Sample([sizes, w, dy], attrs, constant=(0,), rtol=1e-5, atol=1e-5, name="NCHW")


def _filter_gradient(depthwise: bool) -> Iterator[Sample]:
    x, w = uniform(*IMAGE), uniform(*KERNELS[depthwise], seed=8)
    sizes = np.array(w.shape, np.int32)
    for attrs in CASES:
        dy = output(x, w, attrs, depthwise)
        yield Sample([x, sizes, dy], attrs, constant=(1,), rtol=1e-5, atol=1e-4)
    attrs = channels_second(CASES[2])
    dy = output(turned(x), w, attrs, depthwise)
    yield Sample([turned(x), sizes, dy], attrs, constant=(1,), rtol=1e-5, atol=1e-4, name="NCHW")


@samples("Conv2DBackpropInput")
def conv2d_input_samples() -> Iterator[Sample]:
    yield from _input_gradient(False)
    x, w = uniform(2, 5, 5, 4), uniform(3, 3, 2, 6, seed=8)
    dy = output(x, w, CASES[0], False)
    yield Sample(
        [np.array(x.shape, np.int32), w, dy], CASES[0], constant=(0,), rtol=1e-5, atol=1e-5, name="groups"
    )


@samples("Conv2DBackpropFilter")
def conv2d_filter_samples() -> Iterator[Sample]:
    yield from _filter_gradient(False)
    x, w = uniform(2, 5, 5, 4), uniform(3, 3, 2, 6, seed=8)
    dy = output(x, w, CASES[0], False)
    yield Sample(
        [x, np.array(w.shape, np.int32), dy], CASES[0], constant=(1,), rtol=1e-5, atol=1e-4, name="groups"
    )


@samples("DepthwiseConv2dNativeBackpropInput")
def depthwise_input_samples() -> Iterator[Sample]:
    yield from _input_gradient(True)


@samples("DepthwiseConv2dNativeBackpropFilter")
def depthwise_filter_samples() -> Iterator[Sample]:
    yield from _filter_gradient(True)


POOLS: list[dict[str, Any]] = [
    {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"},
    {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"},
    {"ksize": [1, 3, 2, 1], "strides": [1, 1, 2, 1], "padding": "SAME"},
    {"ksize": [1, 3, 3, 1], "strides": [1, 2, 1, 1], "padding": "VALID"},
]
EXPLICIT = {
    "ksize": [1, 3, 2, 1], "strides": [1, 2, 2, 1], "padding": "EXPLICIT",
    "explicit_paddings": [0, 0, 1, 1, 0, 1, 0, 0],
}  # fmt: skip


def pooled(x: Array, attrs: dict[str, Any]) -> Array:
    from graphflow.ops.convolution import max_pool_op

    result: Array = max_pool_op.body(x, **{k: v for k, v in attrs.items() if k != "data_format"})
    return result


@samples("MaxPool")
def max_pool_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for attrs in [*POOLS, EXPLICIT]:
        yield Sample([x], attrs)
    yield Sample([turned(x)], channels_second(POOLS[2]), name="NCHW")
    yield Sample([x], POOLS[0], shapes={0: (None, 7, 6, 3)}, name="batch open")
    yield Sample([x], {"ksize": [1, 1, 1, 3], "strides": [1, 1, 1, 3], "padding": "VALID"}, name="depth")
    yield Sample([np.where(x > 0, np.float32(np.nan), x)], POOLS[0], differentiable=False, name="NaN")
    for dtype in (np.dtype(np.float64), *HALVES, np.dtype(np.int32)):
        yield Sample([(x / 16).astype(dtype)], POOLS[2], differentiable=False)


@samples("MaxPoolGrad")
def max_pool_grad_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for attrs in [*POOLS, EXPLICIT]:
        y = pooled(x, attrs)
        yield Sample([x, y, uniform(*y.shape)], attrs, (2,), rtol=1e-5, atol=1e-6)
    attrs = channels_second(POOLS[2])
    y = pooled(turned(x), attrs)
    yield Sample([turned(x), y, uniform(*y.shape)], attrs, (2,), rtol=1e-5, atol=1e-6, name="NCHW")
    flat = np.zeros(IMAGE, np.float32)
    y = pooled(flat, POOLS[0])
    yield Sample([flat, y, uniform(*y.shape)], POOLS[0], False, name="ties")


@samples("MaxPoolGradGrad")
def max_pool_grad_grad_samples() -> Iterator[Sample]:
    x = apart(*IMAGE, dtype=np.float32)
    for attrs in POOLS:
        yield Sample([x, pooled(x, attrs), uniform(*IMAGE)], attrs, (2,), rtol=1e-5, atol=1e-6)


@samples("AvgPool")
def avg_pool_samples() -> Iterator[Sample]:
    x = uniform(*IMAGE)
    for attrs in POOLS:
        yield Sample([x], attrs, rtol=1e-5, atol=1e-6)
    yield Sample([turned(x)], channels_second(POOLS[2]), rtol=1e-5, atol=1e-6, name="NCHW")
    yield Sample([x], POOLS[0], shapes={0: (None, 7, 6, 3)}, rtol=1e-5, atol=1e-6, name="batch open")
    for dtype in (np.dtype(np.float64), *HALVES):
        yield Sample([x.astype(dtype)], POOLS[2], differentiable=False)


@samples("AvgPoolGrad")
def avg_pool_grad_samples() -> Iterator[Sample]:
    for attrs in POOLS:
        y = pooled(uniform(*IMAGE), attrs)
        yield Sample(
            [np.array(IMAGE, np.int32), uniform(*y.shape)], attrs, constant=(0,), rtol=1e-5, atol=1e-6
        )
    attrs = channels_second(POOLS[2])
    y = pooled(turned(uniform(*IMAGE)), attrs)
    sizes = np.array(turned(uniform(*IMAGE)).shape, np.int32)
    yield Sample([sizes, uniform(*y.shape)], attrs, constant=(0,), rtol=1e-5, atol=1e-6, name="NCHW")
