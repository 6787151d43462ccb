"""Colours of images: contrast, hue, saturation, and the two spaces they are spoken of in. Channels lie last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import stack
from graphflow.ops.reduction import reduce_mean, reduce_sum
from graphflow.ops.rules import FLOATS, Array, Declaration, rank_at_least, rank_exactly, widened
from graphflow.shapes import TensorShape


def _coloured_shape(node: Any) -> TensorShape:
    least = 1 if len(node.inputs) == 1 else 3
    shape = rank_at_least(node, 0, least, "images")
    if shape.rank is not None and not shape[-1:].is_compatible_with([3]):
        raise ShapeError(f"images must have 3 channels in the last axis, have shape {shape}")
    if len(node.inputs) > 1:
        rank_exactly(node, 1, 0, node.op_def.inputs[1].name)
    return shape if shape.rank is None else shape[:-1].concatenate([3])


def _channels(images: Array, least: int) -> tuple[Array, Array, Array]:
    if images.ndim < least or images.shape[-1] != 3:
        raise InvalidArgumentError(
            None, None, f"images must have 3 channels in the last axis, have shape {list(images.shape)}"
        )
    return images[..., 0], images[..., 1], images[..., 2]


def _hue(r: Array, g: Array, b: Array, top: Array, spread: Array) -> Array:
    """The hue in [0, 1); zero for grey."""
    with np.errstate(all="ignore"):
        unit = r.dtype.type(1) / (6 * spread)
        hue = np.where(
            r == top, unit * (g - b), np.where(g == top, unit * (b - r) + 2.0 / 6, unit * (r - g) + 4.0 / 6)
        )
    hue = np.where(spread > 0, hue, 0)
    return np.where(hue < 0, hue + 1, hue).astype(r.dtype)


def _pure(hue: Array) -> tuple[Array, Array, Array]:
    """Red, green and blue of a hue at full saturation and value."""
    turn = hue * 6
    return (
        np.clip(np.abs(turn - 3) - 1, 0, 1),
        np.clip(2 - np.abs(turn - 2), 0, 1),
        np.clip(2 - np.abs(turn - 4), 0, 1),
    )


@op("RGBToHSV", "images:T", "output:T", f"T:type{{{FLOATS}}}=float32", infer=_coloured_shape)
@widened
def rgb_to_hsv_op(images: Array) -> Array:
    """Hue, saturation and value of red, green and blue."""
    r, g, b = _channels(images, 1)
    top = np.maximum(np.maximum(r, g), b)
    spread = top - np.minimum(np.minimum(r, g), b)
    with np.errstate(all="ignore"):
        saturation = np.where(top > 0, spread / top, 0)
    return np.stack([_hue(r, g, b, top, spread), saturation, top], axis=-1).astype(images.dtype)


@rgb_to_hsv_op.gradient
def rgb_to_hsv_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The derivatives of each branch; where colours tie, one of them counts as the larger, as in TensorFlow."""
    x, y = op.inputs[0], op.outputs[0]
    r, g, b = (x[..., i] for i in range(3))
    d_hue, d_saturation, d_value = (dy[..., i] for i in range(3))
    value = y[..., 2]
    tops = [
        emit.LogicalAnd(r >= b, r >= g), emit.LogicalAnd(g > r, g >= b), emit.LogicalAnd(b > r, b > g)
    ]  # fmt: skip
    lows = [
        emit.LogicalAnd(r < b, r < g), emit.LogicalAnd(g <= r, g < b), emit.LogicalAnd(b <= r, b <= g)
    ]  # fmt: skip
    top, low = ([cast(flag, x.dtype) for flag in flags] for flags in (tops, lows))
    least = r * low[0] + g * low[1] + b * low[2]
    spread = value - least
    # Hue is (first - second) / (6 spread), and a third of the circle on for each largest colour.
    unit = emit.DivNoNan(emit.OnesLike(spread), 6.0 * spread)
    difference = (g - b) * top[0] + (b - r) * top[1] + (r - g) * top[2]
    slope = emit.DivNoNan(difference * unit, spread)
    sides = [top[2] - top[1], top[0] - top[2], top[1] - top[0]]
    to_top = emit.DivNoNan(least, emit.Square(value))
    to_low = -emit.DivNoNan(emit.OnesLike(value), value)
    parts = []
    for i, colour in enumerate((r, g, b)):
        hue = sides[i] * unit + slope * (low[i] - top[i])
        saturation = top[i] * to_top + low[i] * to_low
        saturation = saturation * cast(colour > emit.ZerosLike(colour), x.dtype)
        parts.append(d_value * top[i] + d_saturation * saturation + d_hue * hue)
    return [stack(parts, axis=-1)]


@op("HSVToRGB", "images:T", "output:T", f"T:type{{{FLOATS}}}=float32", infer=_coloured_shape,
    differentiable=False)  # fmt: skip
@widened
def hsv_to_rgb_op(images: Array) -> Array:
    """Red, green and blue of hue, saturation and value."""
    hue, saturation, value = _channels(images, 1)
    return np.stack([((1 - saturation) + saturation * pure) * value for pure in _pure(hue)], axis=-1)


def adjusting(op_type: str, amount: str) -> Declaration:
    """Declares a change of colours by one number."""
    return op(op_type, f"images:T; {amount}:float32", "output:T", "T:type{float16|float32}=float32",
              infer=_coloured_shape, differentiable=False)  # fmt: skip


@adjusting("AdjustHue", "delta")
@widened
def adjust_hue_op(images: Array, delta: Array) -> Array:
    """The same colours further round the circle of hues, by a part of the whole."""
    r, g, b = _channels(images, 3)
    top = np.maximum(np.maximum(r, g), b)
    low = np.minimum(np.minimum(r, g), b)
    hue = _hue(r, g, b, top, top - low) + np.float32(delta)
    pure = _pure(hue - np.floor(hue))
    return np.stack([low + (top - low) * part for part in pure], axis=-1).astype(images.dtype)


@adjusting("AdjustSaturation", "scale")
@widened
def adjust_saturation_op(images: Array, scale: Array) -> Array:
    """The same hues and values with saturation times a number."""
    r, g, b = _channels(images, 3)
    top = np.maximum(np.maximum(r, g), b)
    spread = top - np.minimum(np.minimum(r, g), b)
    with np.errstate(all="ignore"):
        saturation = np.where(top > 0, spread / top, 0)
    saturation = np.clip(saturation * np.float32(scale), 0, 1)
    pure = _pure(_hue(r, g, b, top, spread))
    result = [((1 - saturation) + saturation * part) * top for part in pure]
    return np.stack(result, axis=-1).astype(images.dtype)


def _contrast_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 0, "contrast_factor")
    return rank_at_least(node, 0, 3, "images")


@op("AdjustContrastv2", "images:T; contrast_factor:float32", "output:T", "T:type{float16|float32}=float32",
    infer=_contrast_shape)  # fmt: skip
@widened
def adjust_contrast_op(images: Array, contrast_factor: Array) -> Array:
    """Each channel's distance from its mean over the image, times a number."""
    if images.ndim < 3:
        raise InvalidArgumentError(
            None, None, f"images must have rank 3 or more, have shape {list(images.shape)}"
        )
    mean = np.mean(images, axis=(-3, -2), keepdims=True) if images.size else images[..., :1, :1, :]
    return (images - mean) * np.asarray(contrast_factor, images.dtype) + mean


@adjust_contrast_op.expand
def adjust_contrast_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Mean, difference, product, sum."""
    images, factor = inputs
    if images.sizes is None or len(images.sizes) < 3 or 0 in images.sizes or images.dtype.name != "float32":
        return None
    rank = len(images.sizes)
    axes = builder.constant(np.array([rank - 3, rank - 2], np.int32))
    mean = builder.emit("Mean", images, axes, keep_dims=True)
    return [builder.emit("AddV2", builder.emit("Mul", builder.emit("Sub", images, mean), factor), mean)]


@adjust_contrast_op.gradient
def adjust_contrast_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The mean's share goes to all pixels."""
    images, factor = op.inputs
    scale = cast(factor, images.dtype)
    mean_dy = reduce_mean(dy, [-3, -2], keepdims=True)
    mean = reduce_mean(images, [-3, -2], keepdims=True)
    d_images = dy * scale + mean_dy * (1.0 - scale)
    return [d_images, cast(reduce_sum(dy * (images - mean)), factor.dtype)]


def rgb_to_hsv(images: Any, name: str | None = None) -> Tensor:
    """Returns hue, saturation and value, each in [0, 1], of images [..., 3] with red, green and blue in [0, 1]."""
    result: Tensor = emit.RGBToHSV(images, name=name)
    return result


def hsv_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """Returns red, green and blue of images [..., 3] with hue, saturation and value, all in [0, 1]."""
    result: Tensor = emit.HSVToRGB(images, name=name)
    return result


__all__ = ["hsv_to_rgb", "rgb_to_hsv"]
