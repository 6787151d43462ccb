"""Samples of patches of images and volumes, and of glimpses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples, uniform


@samples("ExtractImagePatches")
def image_patches_samples() -> Iterator[Sample]:
    for window, stride, rate in ((2, 1, 1), (3, 2, 1), (2, 3, 2), (1, 1, 1)):
        for padding in ("SAME", "VALID"):
            attrs = {
                "ksizes": [1, window, window + 1, 1], "strides": [1, stride, 1, 1], "rates": [1, rate, 1, 1],
                "padding": padding,
            }  # fmt: skip
            yield Sample([uniform(2, 6, 5, 3)], attrs)
    attrs = {"ksizes": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "VALID"}
    yield Sample([uniform(2, 4, 5, 3)], attrs, shapes={0: (None, 4, 5, 3)}, name="batch open")
    yield Sample([uniform(0, 4, 5, 3)], attrs, False, name="empty")
    for dtype in (np.int32, np.float16, np.uint8):
        yield Sample([uniform(2, 4, 5, 3, low=0, high=9, dtype=dtype)], attrs, False)


@samples("ExtractVolumePatches")
def volume_patches_samples() -> Iterator[Sample]:
    for padding in ("SAME", "VALID"):
        attrs = {"ksizes": [1, 2, 3, 2, 1], "strides": [1, 2, 1, 1, 1], "padding": padding}
        yield Sample([uniform(2, 4, 5, 3, 2)], attrs)
    yield Sample([uniform(1, 3, 3, 3, 2, dtype=np.int32)], attrs, False)


@samples("ExtractGlimpse", "ExtractGlimpseV2")
def glimpse_samples() -> Iterator[Sample]:
    size = np.array([3, 4], np.int32)
    places = {True: [[0.0, 0.0], [0.8, -0.9]], False: [[3.0, 2.0], [-2.0, 7.0]]}
    for normalized in (True, False):
        for centered in (True, False):
            attrs = {"normalized": normalized, "centered": centered, "noise": "zero", "uniform_noise": False}
            offsets = np.array(places[normalized], np.float32)
            yield Sample([uniform(2, 7, 8, 3), size, offsets], attrs, constant=(1,))
