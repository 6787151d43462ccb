"""Summaries: ops that put values into the messages that event files hold, for TensorBoard to show."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops import rules
from graphflow.ops.messages import messages
from graphflow.ops.rules import Array

_LARGEST = float(np.finfo(np.float64).max)
_DARK = 1e-6  # below it an image is as good as black and is not brightened
_NUMBERS = rules.REALS


def _text(value: bytes) -> Array:
    result: Array = np.empty((), object)
    result[()] = value
    return result


def _tag(array: Array, op_type: str) -> bytes:
    if array.ndim:
        raise InvalidArgumentError(
            None, None, f"{op_type}: the tag must be a scalar, has shape {list(array.shape)}"
        )
    return bytes(array[()])


@op("ScalarSummary", "tags:string; values:T", "summary:string", f"T:type{{{_NUMBERS}}}",
    infer=rules.scalar, differentiable=False)  # fmt: skip
def scalar_summary_op(tags: Array, values: Array) -> Array:
    """A summary of numbers, one tag each."""
    if tags.shape != values.shape:
        shown = f" (tag '{bytes(tags[()]).decode(errors='replace')}')" if tags.ndim == 0 else ""
        raise InvalidArgumentError(
            None,
            None,
            f"tags and values are not the same shape: {list(tags.shape)} != {list(values.shape)}{shown}",
        )
    numbers = [float(value) for value in values.reshape(-1)]
    return _text(messages().scalar_summary([bytes(tag) for tag in tags.reshape(-1)], numbers))


@functools.cache
def _bucket_limits() -> Array:
    """The right ends of the buckets: each ten percent further from zero than the one before."""
    positive = []
    limit = 1e-12
    while limit < 1e20:
        positive.append(limit)
        limit *= 1.1
    positive.append(_LARGEST)
    return np.array([*(-x for x in reversed(positive)), 0.0, *positive])


def histogram_of(values: Array) -> dict[str, Any]:
    """The fields of a HistogramProto; runs of empty buckets count as one."""
    limits = _bucket_limits()
    wide = values.reshape(-1).astype(np.float64)
    # The largest number of all belongs to the last bucket, whose end it is.
    places = np.minimum(np.searchsorted(limits, wide, side="right"), len(limits) - 1)
    counts = np.bincount(places, minlength=len(limits))
    ends, sizes = [], []
    at = 0
    filled = np.flatnonzero(counts).tolist()
    for i in filled:
        if i > at:
            ends.append(float(limits[i - 1]))
            sizes.append(0.0)
        ends.append(float(limits[i]))
        sizes.append(float(counts[i]))
        at = i + 1
    if at < len(limits):
        ends.append(_LARGEST)
        sizes.append(0.0)
    with np.errstate(all="ignore"):
        # One after another, as TensorFlow adds.
        total = float(np.add.accumulate(wide)[-1]) if wide.size else 0.0
        squares = float(np.add.accumulate(wide * wide)[-1]) if wide.size else 0.0
    return {
        "min": float(wide.min()) if wide.size else _LARGEST,
        "max": float(wide.max()) if wide.size else -_LARGEST,
        "num": float(wide.size),
        "sum": total,
        "sum_squares": squares,
        "bucket_limit": ends,
        "bucket": sizes,
    }


@op("HistogramSummary", "tag:string; values:T", "summary:string", f"T:type{{{_NUMBERS}}}=float32",
    infer=rules.scalar, differentiable=False)  # fmt: skip
def histogram_summary_op(tag: Array, values: Array) -> Array:
    """A summary of how numbers are spread."""
    name = _tag(tag, "HistogramSummary")
    if values.dtype.kind not in "iub":
        wide = values.astype(np.float64)
        for wrong, what in ((np.isnan(wide), "Nan"), (np.isinf(wide), "Infinity")):
            if wrong.any():
                raise InvalidArgumentError(
                    None, None, f"{what} in summary histogram for: {name.decode(errors='replace')}"
                )
    return _text(messages().histogram_summary(name, histogram_of(values)))


def png(image: Array) -> bytes:
    """What a PNG file holds.

    Args:
      image: uint8 [height, width, 1, 3 or 4 channels].
    """
    height, width, channels = image.shape
    colour = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with the number of its filter
    rows[:, 1:] = image.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b""))
    )


def _as_bytes(image: Array, bad_color: Array) -> Array:
    """Floats as bytes: the brightest is 255; with negative numbers, zero is 128."""
    pixels = image.astype(np.float32)
    fine = np.isfinite(pixels)
    there = pixels[fine]
    low = float(there.min()) if there.size else np.inf
    high = float(there.max()) if there.size else -np.inf
    if low < 0:
        largest = max(abs(low), abs(high))
        scale, offset = np.float32(0 if largest < _DARK else 127.0 / largest), np.float32(128)
    else:
        scale, offset = np.float32(0 if high < _DARK else 255.0 / high), np.float32(0)
    with np.errstate(all="ignore"):
        result = np.where(fine, pixels * scale + offset, 0).astype(np.uint8)
    result[~fine.all(axis=-1)] = bad_color[: image.shape[-1]]
    return result


def _tags(tag: bytes, kind: str, count: int, most: int) -> list[str]:
    name = tag.decode(errors="replace")
    return [f"{name}/{kind}"] if most == 1 else [f"{name}/{kind}/{i}" for i in range(count)]


@op("ImageSummary", "tag:string; tensor:T", "summary:string",
    "max_images:int>=1=3; T:type{uint8|float32|float16|float64}=float32; bad_color:tensor=uint8[255 0 0 255]",
    infer=rules.scalar, differentiable=False)  # fmt: skip
def image_summary_op(tag: Array, tensor: Array, *, max_images: int, bad_color: Array) -> Array:
    """A summary of the first images of a batch, [batch, height, width, 1, 3 or 4 channels]."""
    name = _tag(tag, "ImageSummary")
    if tensor.ndim != 4 or tensor.shape[3] not in (1, 3, 4):
        raise InvalidArgumentError(
            None,
            None,
            "Tensor must be 4-D with last dim 1, 3, or 4, not [" + ",".join(map(str, tensor.shape)) + "]",
        )
    if bad_color.dtype != np.uint8 or bad_color.size < tensor.shape[3]:
        raise InvalidArgumentError(
            None, None, f"bad_color must have {tensor.shape[3]} uint8 values, got {bad_color!r}"
        )
    if 0 in tensor.shape[1:3]:
        raise InvalidArgumentError(None, None, f"an image of {tensor.shape[1]} x {tensor.shape[2]} is none")
    images = []
    for image in tensor[:max_images]:
        encoded = png(image if image.dtype == np.uint8 else _as_bytes(image, bad_color))
        images.append((*image.shape, encoded))
    return _text(messages().image_summary(_tags(name, "image", len(images), max_images), images))


def wav(sound: Array, rate: int) -> bytes:
    """What a WAV file with 16 bits per sample holds.

    Args:
      sound: float32 [frames, channels] in [-1, 1].
      rate: samples per second.
    """
    scaled = sound.astype(np.float32) * np.float32(32768)
    with np.errstate(all="ignore"):
        # To the nearest, halves away from zero.
        rounded = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled)
        samples = np.clip(np.nan_to_num(rounded), -32768, 32767).astype("<i2")
    channels = sound.shape[1]
    data = samples.tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate,
        rate * channels * 2, channels * 2, 16, b"data", len(data),
    )  # fmt: skip
    return head + data


def _audio(tag: Array, tensor: Array, rate: float, most: int) -> Array:
    name = _tag(tag, "AudioSummary")
    if tensor.ndim not in (2, 3):
        raise InvalidArgumentError(
            None, None, f"Tensor must be 3-D or 2-D, got: [{','.join(map(str, tensor.shape))}]"
        )
    if not rate > 0:
        raise InvalidArgumentError(None, None, f"sample_rate must be > 0, got {rate}")
    sounds = tensor[:most] if tensor.ndim == 3 else tensor[:most, :, np.newaxis]
    clips = [(sound.shape[1], sound.shape[0], wav(sound, int(np.rint(rate)))) for sound in sounds]
    return _text(messages().audio_summary(_tags(name, "audio", len(clips), most), rate, clips))


@op("AudioSummary", "tag:string; tensor:float32", "summary:string", "sample_rate:float; max_outputs:int>=1=3",
    infer=rules.scalar, differentiable=False)  # fmt: skip
def audio_summary_op(tag: Array, tensor: Array, *, sample_rate: float, max_outputs: int) -> Array:
    """A summary of the first sounds of a batch, [batch, frames, channels] or [batch, frames]."""
    return _audio(tag, tensor, sample_rate, max_outputs)


@op("AudioSummaryV2", "tag:string; tensor:float32; sample_rate:float32", "summary:string",
    "max_outputs:int>=1=3", infer=rules.scalar, differentiable=False)  # fmt: skip
def audio_summary_v2_op(tag: Array, tensor: Array, sample_rate: Array, *, max_outputs: int) -> Array:
    """A summary of the first sounds of a batch, [batch, frames, channels] or [batch, frames]."""
    if sample_rate.size != 1:
        raise InvalidArgumentError(None, None, f"sample_rate must be a scalar, got shape {sample_rate.shape}")
    return _audio(tag, tensor, float(sample_rate.item()), max_outputs)


@op("TensorSummaryV2", "tag:string; tensor:T; serialized_summary_metadata:string", "summary:string", "T:type",
    infer=rules.scalar, differentiable=False)  # fmt: skip
def tensor_summary_v2_op(tag: Array, tensor: Array, serialized_summary_metadata: Array) -> Array:
    """A summary of a tensor as it is."""
    metadata = bytes(serialized_summary_metadata[()])
    return _text(messages().tensor_summary(_tag(tag, "TensorSummaryV2"), tensor, metadata))


@op("TensorSummary", "tensor:T", "summary:string",
    "T:type; description:string=; labels:list(string)=[]; display_name:string=",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def tensor_summary_op(tensor: Array, *, node_name: str, context: Any) -> Array:
    """A summary of a tensor under the name of the operation."""
    return _text(messages().described_summary(node_name, tensor))


@op("MergeSummary", "inputs:N*string", "summary:string", "N:int>=1", infer=rules.scalar, differentiable=False)
def merge_summary_op(inputs: list[Array]) -> Array:
    """One summary of several, whose tags must differ."""
    parts = [bytes(item) for array in inputs for item in array.reshape(-1)]
    return _text(messages().merge_summaries(parts))


__all__: list[str] = []
