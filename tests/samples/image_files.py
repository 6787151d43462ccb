"""Samples of images as files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.samples import Array, Sample, samples, uniform


def levels(*shape: int, dtype: Any = np.uint8) -> Array:
    """Pixels: a slope, with some noise."""
    slope = np.linspace(0, 200, shape[0] * shape[1]).reshape(shape[0], shape[1], 1)
    noise = uniform(*shape, low=0, high=50)
    return (slope + noise).astype(np.uint8).astype(dtype)


def file(pixels: Array, kind: str, **options: Any) -> Array:
    """An image file as a string scalar."""
    written = io.BytesIO()
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(flat).save(written, kind, **options)
    return np.array(written.getvalue(), object)


def animation() -> Array:
    frames = [Image.fromarray(levels(6, 7, 3) + np.uint8(20 * i)) for i in range(3)]
    written = io.BytesIO()
    frames[0].save(written, "GIF", save_all=True, append_images=frames[1:])
    return np.array(written.getvalue(), object)


@samples("DecodePng")
def decode_png_samples() -> Iterator[Sample]:
    for channels in (1, 2, 3, 4):
        yield Sample([file(levels(5, 6, channels), "PNG")])
    for channels in (1, 3, 4):
        yield Sample([file(levels(5, 6, 4), "PNG")], {"channels": channels}, name=f"as {channels}")
    yield Sample([file(levels(5, 6, 1), "PNG")], {"channels": 3})
    colourful = uniform(5, 6, 3, low=0, high=255).astype(np.uint8)
    yield Sample([file(colourful, "PNG")], {"channels": 1}, name="colourful")
    yield Sample([file(levels(5, 6, 3), "PNG")], {"dtype": np.uint16})
    yield Sample([file(levels(5, 6, 1, dtype=np.uint16) * np.uint16(250), "PNG")], {"dtype": np.uint16})


@samples("DecodeJpeg")
def decode_jpeg_samples() -> Iterator[Sample]:
    yield Sample([file(levels(16, 16, 3), "JPEG", quality=95)], name="lossy")
    yield Sample([file(levels(16, 16, 1), "JPEG", quality=95)], {"channels": 3}, name="lossy grey")
    yield Sample([file(levels(5, 6, 3), "PNG")])


@samples("DecodeAndCropJpeg")
def decode_and_crop_samples() -> Iterator[Sample]:
    window = np.array([2, 3, 6, 5], np.int32)
    yield Sample([file(levels(16, 16, 3), "JPEG"), window], name="lossy")


@samples("DecodeBmp")
def decode_bmp_samples() -> Iterator[Sample]:
    yield Sample([file(levels(5, 6, 3), "BMP")])
    yield Sample([file(levels(5, 6, 3), "BMP")], {"channels": 3})


@samples("DecodeGif")
def decode_gif_samples() -> Iterator[Sample]:
    yield Sample([animation()])


@samples("DecodeImage")
def decode_image_samples() -> Iterator[Sample]:
    yield Sample([file(levels(5, 6, 3), "PNG")])
    yield Sample([file(levels(5, 6, 3), "BMP")], {"channels": 3})
    yield Sample([animation()])
    yield Sample([animation()], {"expand_animations": False})
    yield Sample([file(levels(5, 6, 3), "PNG")], {"dtype": np.float32}, rtol=1e-6)
    yield Sample([file(levels(5, 6, 3), "PNG")], {"dtype": np.uint16})


@samples("ExtractJpegShape")
def jpeg_shape_samples() -> Iterator[Sample]:
    for channels in (1, 3):
        yield Sample([file(levels(7, 6, channels), "JPEG")])


@samples("EncodePng")
def encode_png_samples() -> Iterator[Sample]:
    for channels in (1, 2, 3, 4):
        yield Sample([levels(5, 6, channels)], {"compression": 3}, exact=False)
    yield Sample([levels(5, 6, 1, dtype=np.uint16)], exact=False)


@samples("EncodeJpeg")
def encode_jpeg_samples() -> Iterator[Sample]:
    yield Sample([levels(8, 9, 3)], {"quality": 80, "progressive": True}, exact=False)
    yield Sample([levels(8, 9, 1)], {"format": "grayscale"}, exact=False)


@samples("EncodeJpegVariableQuality")
def encode_jpeg_variable_samples() -> Iterator[Sample]:
    yield Sample([levels(8, 9, 3), np.array(70, np.int32)], exact=False)
