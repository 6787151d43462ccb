"""Samples of dilations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import HALVES, Sample, apart, integers, samples, uniform

STEPS: tuple[tuple[dict[str, Any], tuple[int, int]], ...] = (
    ({"strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "SAME"}, (6, 5)),
    ({"strides": [1, 2, 1, 1], "rates": [1, 1, 2, 1], "padding": "VALID"}, (3, 1)),
    ({"strides": [1, 2, 3, 1], "rates": [1, 2, 1, 1], "padding": "SAME"}, (3, 2)),
)


@samples("Dilation2D")
def dilation_samples() -> Iterator[Sample]:
    x, w = apart(2, 6, 5, 3, dtype=np.float32), uniform(2, 3, 3, low=0, high=0.2)
    for attrs, _ in STEPS:
        yield Sample([x, w], attrs, second=False)
    yield Sample([x, w], STEPS[0][0], False, shapes={0: (None, 6, None, 3)}, name="open")
    for dtype in (np.float64, *HALVES):
        yield Sample([x.astype(dtype), w.astype(dtype)], STEPS[0][0], False)
    yield Sample([integers(2, 6, 5, 3), integers(2, 3, 3)], STEPS[2][0], False)
    yield Sample([np.zeros((0, 6, 5, 3), np.float32), w], STEPS[0][0], False, name="empty")


@samples("Dilation2DBackpropInput", "Dilation2DBackpropFilter")
def backprop_samples() -> Iterator[Sample]:
    x, w = apart(2, 6, 5, 3, dtype=np.float32), uniform(2, 3, 3, low=0, high=0.2)
    for attrs, (height, width) in STEPS:
        yield Sample([x, w, uniform(2, height, width, 3, seed=8)], attrs, rtol=1e-5, atol=1e-6)
    flat = np.zeros((2, 6, 5, 3), np.float32)
    yield Sample([flat, np.zeros((2, 3, 3), np.float32), uniform(2, 6, 5, 3)], STEPS[0][0], name="ties", rtol=1e-5,
                 atol=1e-6)  # fmt: skip
