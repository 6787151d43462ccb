"""Samples of bounding boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import Array, Sample, samples, uniform

BOXES = np.array([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1],
                  [1, 101, 0, 100], [5, 5, 5, 5]], np.float32)  # fmt: skip
SCORES = np.array([0.9, 0.75, 0.6, 0.95, 0.5, 0.3, 0.3], np.float32)


def count(number: int) -> Array:
    return np.array(number, np.int32)


def numbers(*values: float) -> list[Any]:
    return [np.float32(value) for value in values]


@samples("NonMaxSuppression")
def suppression_samples() -> Iterator[Sample]:
    for most in (0.5, 0.0, 1.0):
        yield Sample([BOXES, SCORES, count(3)], {"iou_threshold": most})
    yield Sample([BOXES[:0], SCORES[:0], count(3)], name="no boxes")
    yield Sample([BOXES, SCORES, count(0)], name="none wanted")


@samples("NonMaxSuppressionV2")
def suppression_v2_samples() -> Iterator[Sample]:
    yield Sample([BOXES, SCORES, count(30), *numbers(0.5)])
    yield Sample([BOXES.astype(np.float16), SCORES.astype(np.float16), count(3), np.float16(0.5)])


@samples("NonMaxSuppressionV3")
def suppression_v3_samples() -> Iterator[Sample]:
    for least in (0.4, -np.inf):
        yield Sample([BOXES, SCORES, count(30), *numbers(0.5, least)])
    yield Sample([uniform(40, 4, low=0, high=1), uniform(40, low=0, high=1), count(20), *numbers(0.3, 0.1)])


@samples("NonMaxSuppressionV4")
def suppression_v4_samples() -> Iterator[Sample]:
    for pad in (False, True):
        yield Sample(
            [BOXES, SCORES, count(6), *numbers(0.5, 0.4)], {"pad_to_max_output_size": pad}, constant=(2,)
        )


@samples("NonMaxSuppressionV5")
def suppression_v5_samples() -> Iterator[Sample]:
    for pad in (False, True):
        for sigma in (0.0, 0.5):
            yield Sample([BOXES, SCORES, count(6), *numbers(0.9, 0.1, sigma)], {"pad_to_max_output_size": pad},
                         constant=(2,), rtol=1e-5)  # fmt: skip


@samples("NonMaxSuppressionWithOverlaps")
def overlaps_samples() -> Iterator[Sample]:
    overlaps = uniform(6, 6, low=0, high=1)
    yield Sample([overlaps, SCORES[:6], count(4), *numbers(0.5, 0.2)])


@samples("CombinedNonMaxSuppression")
def combined_samples() -> Iterator[Sample]:
    boxes, scores = uniform(2, 9, 1, 4, low=-0.2, high=1.2), uniform(2, 9, 3, low=0, high=1, seed=8)
    for attrs in ({}, {"pad_per_class": True}, {"clip_boxes": False}):
        yield Sample([boxes, scores, count(3), count(12), *numbers(0.4, 0.1)], attrs, constant=(2, 3))
    apart = uniform(2, 9, 3, 4, low=0, high=1)
    yield Sample([apart, scores, count(2), count(4), *numbers(0.4, 0.1)], name="boxes by class")


@samples("DrawBoundingBoxes")
def drawn_samples() -> Iterator[Sample]:
    boxes = np.array(
        [[[0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1], [-0.2, 0.4, 0.5, 1.3], [0.8, 0.1, 0.2, 0.5]]], np.float32
    )
    for depth in (1, 3, 4):
        yield Sample([uniform(1, 8, 9, depth), boxes])
    yield Sample([uniform(1, 8, 9, 3).astype(np.float16), boxes])
    yield Sample([uniform(2, 8, 9, 3), np.zeros((2, 0, 4), np.float32)], name="no boxes")


@samples("DrawBoundingBoxesV2")
def drawn_v2_samples() -> Iterator[Sample]:
    boxes = np.array([[[0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1]]], np.float32)
    yield Sample([uniform(1, 8, 9, 3), boxes, uniform(1, 3, seed=8)])
    yield Sample([uniform(1, 8, 9, 3), boxes, np.zeros((0, 3), np.float32)], name="no colours")


@samples("SampleDistortedBoundingBox")
def sampled_samples() -> Iterator[Sample]:
    size, boxes = np.array([40, 50, 3], np.int32), np.array([[[0.2, 0.2, 0.8, 0.9]]], np.float32)
    yield Sample([size, boxes], {"seed": 3, "seed2": 4}, exact=False)
    yield Sample([size, boxes[:, :0]], {"seed": 3, "use_image_if_no_bounding_boxes": True}, exact=False)


@samples("SampleDistortedBoundingBoxV2")
def sampled_v2_samples() -> Iterator[Sample]:
    size, boxes = np.array([40, 50, 3], np.int64), np.array([[[0.2, 0.2, 0.8, 0.9]]], np.float32)
    yield Sample([size, boxes, np.float32(0.3)], {"seed": 3, "seed2": 4}, exact=False)
