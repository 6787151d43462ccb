"""Samples of colours of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import HALVES, Sample, samples, uniform


@samples("RGBToHSV", "HSVToRGB")
def space_samples() -> Iterator[Sample]:
    yield Sample([uniform(2, 5, 3, low=0.1, high=1)], second=False, rtol=1e-5, atol=1e-6)
    yield Sample([uniform(7, 3, low=0.1, high=1)], second=False, rtol=1e-5, atol=1e-6)
    greys = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.2], [0.2, 0.5, 0.5], [0.5, 0.2, 0.5]], np.float32)
    yield Sample([greys], differentiable=False, rtol=1e-5, name="ties")
    yield Sample([uniform(0, 3)], differentiable=False, name="empty")
    for dtype in (np.float64, *HALVES):
        yield Sample([uniform(4, 3, low=0, high=1, dtype=dtype)], differentiable=False)


@samples("AdjustHue", "AdjustSaturation")
def adjusted_samples() -> Iterator[Sample]:
    for amount in (0.0, 0.3, 0.9, -0.4):
        yield Sample([uniform(2, 4, 5, 3, low=0, high=1), np.float32(amount)], rtol=1e-5, atol=1e-5)
    yield Sample([uniform(4, 5, 3, low=0, high=1).astype(np.float16), np.float32(0.2)])
    yield Sample([uniform(0, 5, 3), np.float32(0.2)], name="empty")


@samples("AdjustContrastv2")
def contrast_samples() -> Iterator[Sample]:
    for factor in (0.0, 0.5, 2.0):
        yield Sample([uniform(2, 4, 5, 3), np.float32(factor)], {}, False, rtol=1e-5, atol=1e-5)
    yield Sample([uniform(4, 5, 1), np.float32(1.5)], {}, False, rtol=1e-5, atol=1e-5)
    yield Sample([uniform(4, 5, 3).astype(np.float16), np.float32(0.2)], {}, False)
