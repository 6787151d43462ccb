"""Convolutions and pools of images whose sizes are arguments: one piece of code gives each size what the body gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphflow.loops.library import Conv2D, Pool2D
from graphflow.opdef import get_op
from tests.backends.library_calls import Runner

SIZES = ((9, 12), (5, 3), (14, 7))


def _same(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _random(*shape: int) -> Any:
    return np.random.RandomState(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("direction", ["forward", "input", "filter"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding", "channels", "across"),
    [
        (3, 1, 1, "SAME", (20, 17), False),  # Winograd's products
        (3, 2, 1, "SAME", (3, 8), False),
        (3, 1, 1, "VALID", (3, 5), True),  # only rows are open
        (5, 3, 2, "SAME", (2, 9), False),
        (3, 2, 1, "SAME", (5, 10), False),  # depthwise
    ],
)
def test_convolutions(direction, kernel, stride, dilation, padding, channels, across):
    inside, outside = channels
    depthwise = channels == (5, 10)
    known = (0, 0) if padding == "VALID" or kernel == 1 else (1, 1) if stride == 1 else None
    call = Conv2D(
        direction=direction, dtype="f32", batch=None, height=None, width=12 if across else None,
        in_channels=inside, out_channels=outside, kernel=(kernel, kernel), strides=(stride, stride),
        dilations=(dilation, dilation), padding=(known, known), depthwise=depthwise,
    )  # fmt: skip
    runner = Runner(call)
    name = "DepthwiseConv2dNative" if depthwise else "Conv2D"
    suffix = {"forward": "", "input": "BackpropInput", "filter": "BackpropFilter"}[direction]
    body = get_op(name + suffix).body
    attrs = {"strides": [1, stride, stride, 1], "padding": padding, "dilations": [1, dilation, dilation, 1]}
    w = _random(kernel, kernel, inside, 2 if depthwise else outside)
    for image in [(9, 12), (6, 12)] if across else SIZES:
        x = _random(3, *image, inside)
        dy = _random(*get_op(name).body(x, w, **attrs).shape)
        sizes = {"batch": 3}
        for axis, size, count in zip(call.axes, image, dy.shape[1:3], strict=True):
            before = 0 if padding == "VALID" else _same(size, kernel, stride, dilation)[0]
            if axis.extent is None:
                sizes |= axis.sizes(size, count, before, direction == "input")
        buffers, result = {
            "forward": ({"x": x, "w": w}, ("y", dy.shape)),
            "input": ({"dy": dy, "w": w}, ("dx", x.shape)),
            "filter": ({"x": x, "dy": dy}, ("dw", w.shape)),
        }[direction]
        given = {
            "forward": (x, w),
            "input": (np.int32(x.shape), w, dy),
            "filter": (x, np.int32(w.shape), dy),
        }[direction]
        wanted = body(*given, **attrs)
        made = np.full(result[1], np.nan, np.float32)
        runner({**buffers, result[0]: made}, sizes, 2)
        np.testing.assert_allclose(made, wanted, rtol=2e-4, atol=2e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, "SAME"), (2, 2, "VALID")])
def test_pools(kind, gradient, window, stride, padding):
    known = (0, 0) if padding == "VALID" else (1, 1) if stride == 1 else None
    call = Pool2D(
        kind=kind, gradient=gradient, dtype="f32", batch=None, height=None, width=None, channels=11,
        window=(window, window), strides=(stride, stride), padding=(known, known),
    )  # fmt: skip
    runner = Runner(call)
    attrs = {"ksize": [1, window, window, 1], "strides": [1, stride, stride, 1], "padding": padding}
    forward = get_op("MaxPool" if kind == "max" else "AvgPool").body
    for image in SIZES:
        x = _random(2, *image, 11)
        y = forward(x, **attrs)
        dy = _random(*y.shape)
        sizes = {"batch": 2}
        for axis, size, count in zip(call.axes, image, y.shape[1:3], strict=True):
            before = 0 if padding == "VALID" else _same(size, window, stride, 1)[0]
            sizes |= axis.sizes(size, count, before, False)
        if not gradient:
            wanted = y
        elif kind == "max":
            wanted = get_op("MaxPoolGrad").body(x, y, dy, **attrs)
        else:
            wanted = get_op("AvgPoolGrad").body(np.int32(x.shape), dy, **attrs)
        made = np.full(wanted.shape, np.nan, np.float32)
        runner({"x": x, "dy": dy, ("dx" if gradient else "y"): made}, sizes, 2)
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6)
