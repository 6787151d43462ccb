"""Patches of images and volumes laid side by side as channels, and glimpses of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.rules import COMPLEX, REALS, Array, rank_exactly, shape_tensor, within_int32
from graphflow.shapes import TensorShape

# More places than these are worked out by the NumPy body, not kept in the program.
_MOST_PLACES = 2**22


def _margins(size: int, window: int, stride: int, rate: int, padding: str) -> tuple[int, int, int]:
    """How many patches lie along an axis, and the zeros before and after it."""
    reach = (window - 1) * rate + 1
    if padding == "VALID":
        return max(0, (size - reach) // stride + 1), 0, 0
    count = -(-size // stride)
    total = max(0, (count - 1) * stride + reach - size)
    return count, total // 2, total - total // 2


def _lists(attrs: dict[str, Any], rank: int) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    windows, strides, rates = attrs["ksizes"], attrs["strides"], attrs.get("rates", (1,) * rank)
    for name, values in (("ksizes", windows), ("strides", strides), ("rates", rates)):
        if len(values) != rank or min(values) < 1 or values[0] != 1 or values[-1] != 1:
            raise ShapeError(
                f"{name} must be {rank} positive numbers with 1 first and last, got {list(values)}"
            )
        within_int32(name, values)
    return windows, strides, rates


def _patches_shape(node: Any) -> TensorShape:
    rank = 5 if node.op_def.name == "ExtractVolumePatches" else 4
    windows, strides, rates = _lists(node.attrs, rank)
    sizes = rank_exactly(node, 0, rank, node.op_def.inputs[0].name).as_list()
    result: list[int | None] = [sizes[0]]
    for axis in range(1, rank - 1):
        size = sizes[axis]
        known = (
            None
            if size is None
            else _margins(size, windows[axis], strides[axis], rates[axis], node.attrs["padding"])[0]
        )
        result.append(known)
    depth = sizes[-1]
    result.append(None if depth is None else depth * math.prod(windows))
    return TensorShape(result)


def _patches(
    x: Array, windows: Sequence[int], strides: Sequence[int], rates: Sequence[int], padding: str
) -> Array:
    inner = range(1, x.ndim - 1)
    plan = [_margins(x.shape[a], windows[a], strides[a], rates[a], padding) for a in inner]
    padded = np.pad(x, [(0, 0), *((before, after) for _, before, after in plan), (0, 0)])
    counts = [count for count, _, _ in plan]
    shape = (x.shape[0], *counts, *(windows[a] for a in inner), x.shape[-1])
    steps = padded.strides
    layout = (
        steps[0], *(steps[a] * strides[a] for a in inner), *(steps[a] * rates[a] for a in inner), steps[-1]
    )  # fmt: skip
    if 0 in shape:
        return np.zeros((x.shape[0], *counts, x.shape[-1] * math.prod(windows)), x.dtype)
    view = np.lib.stride_tricks.as_strided(padded, shape, layout, writeable=False)
    return view.reshape(x.shape[0], *counts, x.shape[-1] * math.prod(windows))


@op("ExtractImagePatches", "images:T", "patches:T",
    f"ksizes:list(int)>=4; strides:list(int)>=4; rates:list(int)>=4; T:type{{{REALS}|{COMPLEX}|bool}}; "
    "padding:string{SAME|VALID}", infer=_patches_shape)  # fmt: skip
def extract_image_patches_op(
    images: Array, *, ksizes: Sequence[int], strides: Sequence[int], rates: Sequence[int], padding: str
) -> Array:
    """The patches of images [n, h, w, c], each laid out as channels: rows, columns, then channels."""
    return _patches(images, ksizes, strides, rates, padding)


extract_image_patches_op.by_row(row_rules.first_axis)


@op("ExtractVolumePatches", "input:T", "patches:T",
    f"ksizes:list(int)>=5; strides:list(int)>=5; T:type{{{REALS}}}; padding:string{{SAME|VALID}}",
    infer=_patches_shape)  # fmt: skip
def extract_volume_patches_op(
    input: Array, *, ksizes: Sequence[int], strides: Sequence[int], padding: str
) -> Array:
    """The patches of volumes [n, d, h, w, c], each laid out as channels."""
    return _patches(input, ksizes, strides, (1,) * input.ndim, padding)


extract_volume_patches_op.by_row(row_rules.first_axis)


def _patches_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """One gather of pixels by number; where a patch reaches beyond the image, zeros are chosen instead."""
    (x,) = inputs
    sizes, made = x.sizes, node.outputs[0].sizes
    attrs = node.attrs
    if sizes is None or made is None or 0 in (*sizes, *made) or x.dtype.is_complex or x.dtype.is_bool:
        return None
    inner = sizes[1:-1]
    board = np.arange(1, math.prod(inner) + 1, dtype=np.int32).reshape(1, *inner, 1)
    rates = attrs.get("rates", (1,) * len(sizes))
    numbers = _patches(board, attrs["ksizes"], attrs["strides"], rates, attrs["padding"]).reshape(-1)
    if numbers.size > _MOST_PLACES:
        return None

    def fixed(values: Any) -> Any:
        return builder.constant(values, specialized=True)  # for images of this size only

    flat = builder.emit("Reshape", x, fixed(np.array([sizes[0], math.prod(inner), sizes[-1]], np.int32)))
    at = builder.constant(np.array(1, np.int32))
    value = builder.emit("GatherV2", flat, fixed(np.maximum(numbers - 1, 0)), at)
    if (numbers == 0).any():
        nothing = builder.constant(np.zeros((), x.dtype.numpy))
        value = builder.emit("SelectV2", fixed((numbers > 0).reshape(1, -1, 1)), value, nothing)
    return [builder.emit("Reshape", value, fixed(np.array(made, np.int32)))]


extract_image_patches_op.expand(_patches_expand)
extract_volume_patches_op.expand(_patches_expand)


def _patches_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Each pixel gets the sum of what every patch that holds it receives.

    The patches of an image of pixel numbers tell where each element came from; zero stands for the padding.
    """
    (x,) = op.inputs
    rank = x.shape.rank
    sizes = shape_tensor(x)
    inner = sizes[1 : rank - 1]
    pixels = emit.Prod(inner, np.array([0], np.int32))
    numbers = emit.Range(1, pixels + 1, 1)
    board = emit.Reshape(numbers, emit.ConcatV2([[1], inner, [1]], 0))
    attrs = {name: op.attrs[name] for name in ("ksizes", "strides", "rates", "padding") if name in op.attrs}
    places = emit.Reshape(getattr(emit, op.type)(board, **attrs), np.array([-1], np.int32))
    batch, depth = sizes[0], sizes[rank - 1]
    window = math.prod(op.attrs["ksizes"])
    # [batch, places, channels] to [places, batch, channels].
    count = emit.Size(places)
    spread = emit.Reshape(dy, emit.Pack([batch, emit.FloorDiv(count, window) * window, depth]))
    rows = emit.Transpose(spread, np.array([1, 0, 2], np.int32))
    total = emit.UnsortedSegmentSum(rows, places - 1, pixels)
    result = emit.Reshape(emit.Transpose(total, np.array([1, 0, 2], np.int32)), sizes)
    result.set_shape(x.shape)
    return [result]


extract_image_patches_op.gradient(_patches_gradient)
extract_volume_patches_op.gradient(_patches_gradient)


# ---------------------------------------------------------------------------- glimpses


def _glimpse_shape(node: Any) -> TensorShape:
    images = rank_exactly(node, 0, 4, "input")
    if not rank_exactly(node, 1, 1, "size").is_compatible_with([2]):
        raise ShapeError(f"size must have two elements, has shape {node.inputs[1].shape}")
    offsets = rank_exactly(node, 2, 2, "offsets")
    if not offsets[1:].is_compatible_with([2]):
        raise ShapeError(f"offsets must have two columns, have shape {offsets}")
    batch = images[:1].merge_with(offsets[:1]).as_list()[0]
    wanted = node.constant(1)
    height, width = (None, None) if wanted is None else (int(wanted[0]), int(wanted[1]))
    return TensorShape([batch, height, width, images.as_list()[3]])


def _glimpse(
    x: Array, size: Array, offsets: Array, centered: bool, normalized: bool, noise: str, halved: bool
) -> Array:
    batch, rows, columns, depth = x.shape
    height, width = (int(s) for s in size)
    if height < 1 or width < 1:
        raise InvalidArgumentError(None, None, f"got dimensions of shape {size.tolist()}, must be positive")
    if offsets.shape != (batch, 2):
        raise InvalidArgumentError(
            None, None, f"offsets must be [{batch}, 2], have shape {list(offsets.shape)}"
        )
    # Windows that reach beyond an image show noise there: always the same, so that runs can be repeated.
    generator = np.random.default_rng(0)
    shape = (batch, height, width, depth)
    if noise == "zero":
        result = np.zeros(shape, np.float32)
    elif noise == "gaussian":
        mean, deviation = x.mean(), x.std()
        result = generator.normal(mean, deviation, shape).astype(np.float32)
    else:
        result = generator.uniform(0, 1, shape).astype(np.float32)
    for i, (y, xx) in enumerate(offsets.astype(np.float32)):
        if normalized:
            y, xx = y * np.float32(rows), xx * np.float32(columns)
        # The second version takes places in pixels as those of a corner: from the image's middle if centred.
        if centered:
            if normalized or halved:
                y, xx = y / 2, xx / 2
            y, xx = y + np.float32(rows) / 2, xx + np.float32(columns) / 2
        if halved or (centered and normalized):
            y, xx = y - np.float32(height) / 2, xx - np.float32(width) / 2
        top, left = int(y), int(xx)
        low_y, low_x = max(top, 0), max(left, 0)
        high_y, high_x = min(top + height, rows), min(left + width, columns)
        if low_y < high_y and low_x < high_x:
            result[i, low_y - top : high_y - top, low_x - left : high_x - left] = x[
                i, low_y:high_y, low_x:high_x
            ]
    return result


_GLIMPSE = "centered:bool=true; normalized:bool=true; uniform_noise:bool=true; noise:string=uniform"
_GLIMPSE_INPUTS = "input:float32; size:int32; offsets:float32"


@op(
    "ExtractGlimpse", _GLIMPSE_INPUTS, "glimpse:float32", _GLIMPSE, infer=_glimpse_shape, differentiable=False
)
def extract_glimpse_op(
    input: Array, size: Array, offsets: Array, *, centered: bool = True, normalized: bool = True,
    uniform_noise: bool = True, noise: str = "uniform",
) -> Array:  # fmt: skip
    """Windows of images at given places."""
    kind = noise if noise == "zero" else "uniform" if uniform_noise else "gaussian"
    return _glimpse(input, size, offsets, centered, normalized, kind, halved=True)


@op(
    "ExtractGlimpseV2",
    _GLIMPSE_INPUTS,
    "glimpse:float32",
    _GLIMPSE,
    infer=_glimpse_shape,
    differentiable=False,
)
def extract_glimpse_v2_op(
    input: Array, size: Array, offsets: Array, *, centered: bool = True, normalized: bool = True,
    uniform_noise: bool = True, noise: str = "uniform",
) -> Array:  # fmt: skip
    """Windows of images at given places; what is not centred counts from the corner."""
    kind = noise if noise == "zero" else "uniform" if uniform_noise else "gaussian"
    return _glimpse(input, size, offsets, centered, normalized, kind, halved=False)


# ---------------------------------------------------------------------------- public functions


def extract_image_patches(
    images: Any, ksizes: Any = None, strides: Any = None, rates: Any = None, padding: str | None = None,
    name: str | None = None, sizes: Any = None,
) -> Tensor:  # fmt: skip
    """Returns patches of images laid out as channels.

    Args:
      images: [batch, height, width, channels].
      ksizes: [1, rows, columns, 1]: the size of a patch; `sizes` is its new name.
      strides: [1, rows, columns, 1]: the steps from patch to patch.
      rates: [1, rows, columns, 1]: the steps between pixels of a patch.
      padding: "SAME" or "VALID".
      name: a name.
      sizes: see `ksizes`.

    Returns:
      [batch, down, across, rows * columns * channels].
    """
    result: Tensor = emit.ExtractImagePatches(
        images, ksizes=ksizes if sizes is None else sizes, strides=strides, rates=rates, padding=padding, name=name
    )  # fmt: skip
    return result


def extract_patches(
    images: Any, sizes: Any, strides: Any, rates: Any, padding: str, name: str | None = None
) -> Tensor:
    """Returns patches of images laid out as channels; see `extract_image_patches`."""
    return extract_image_patches(images, sizes, strides, rates, padding, name)


def extract_volume_patches(
    input: Any, ksizes: Any, strides: Any, padding: str, name: str | None = None
) -> Tensor:
    """Returns patches of volumes [batch, depth, height, width, channels] laid out as channels."""
    result: Tensor = emit.ExtractVolumePatches(
        input, ksizes=ksizes, strides=strides, padding=padding, name=name
    )
    return result


def extract_glimpse(
    input: Any, size: Any, offsets: Any, centered: bool = True, normalized: bool = True, uniform_noise: bool = True,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns windows of images, which may reach beyond them.

    Args:
      input: float32 [batch, height, width, channels].
      size: int32 [2]: height and width of a window.
      offsets: float32 [batch, 2]: (y, x) of its centre.
      centered: whether (0, 0) is the middle of the image.
      normalized: whether offsets count in sizes of the image.
      uniform_noise: whether what lies beyond the image is uniform noise, else Gaussian.
      name: a name.
    """
    result: Tensor = emit.ExtractGlimpse(
        input, convert_to_tensor(size, dtypes.int32), offsets, centered=centered, normalized=normalized,
        uniform_noise=uniform_noise, name=name,
    )  # fmt: skip
    return result


__all__ = ["extract_glimpse", "extract_image_patches", "extract_patches", "extract_volume_patches"]
