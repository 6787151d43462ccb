"""Samples of images of other sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import BFLOAT16, Sample, samples, uniform

SIZES = ((7, 3), (2, 6), (1, 1), (4, 5), (11, 10))
CENTERS: tuple[dict[str, Any], ...] = ({}, {"align_corners": True}, {"half_pixel_centers": True})


def sized(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.array([height, width], np.int32)


@samples("ResizeBilinear", "ResizeBicubic")
def resize_samples() -> Iterator[Sample]:
    x = uniform(2, 4, 5, 3)
    for size in SIZES:
        for attrs in CENTERS:
            yield Sample([x, sized(*size)], attrs, (0,), constant=(1,), narrow=True, rtol=1e-5, atol=1e-5)
    yield Sample([x, sized(3, 8)], {}, (0,), shapes={0: (None, 4, 5, 3)}, constant=(1,), narrow=True, rtol=1e-5,
                 atol=1e-5, second=False, name="batch open")  # fmt: skip
    for dtype in (np.uint8, np.int32, np.float64, np.float16, BFLOAT16):
        yield Sample([uniform(1, 3, 4, 2, low=0, high=200, dtype=dtype), sized(5, 5)], {}, False, rtol=1e-5)


@samples("ResizeArea")
def resize_area_samples() -> Iterator[Sample]:
    for size in SIZES:
        for attrs in CENTERS[:2]:
            yield Sample([uniform(2, 4, 5, 3), sized(*size)], attrs, constant=(1,), rtol=1e-5, atol=1e-5)
    yield Sample([uniform(1, 30, 40, 1), sized(2, 3)], rtol=1e-5, atol=1e-5, name="many pixels")


@samples("ResizeNearestNeighbor")
def resize_nearest_samples() -> Iterator[Sample]:
    for size in SIZES:
        for attrs in CENTERS:
            yield Sample([uniform(2, 4, 5, 3), sized(*size)], attrs, constant=(1,))
    for dtype in (np.uint8, np.int64, np.float64, np.float16):
        yield Sample([uniform(1, 3, 4, 2, low=0, high=200, dtype=dtype), sized(5, 5)], {}, False)


@samples("ResizeBilinearGrad", "ResizeBicubicGrad")
def resize_grad_samples() -> Iterator[Sample]:
    for size in SIZES[:3]:
        for attrs in CENTERS:
            yield Sample([uniform(2, *size, 3), uniform(2, 4, 5, 3)], attrs, False, rtol=1e-5, atol=1e-5)
    yield Sample(
        [uniform(2, 7, 3, 3), uniform(2, 4, 5, 3, dtype=np.float64)], {}, False, rtol=1e-5, atol=1e-5
    )


@samples("ResizeNearestNeighborGrad")
def resize_nearest_grad_samples() -> Iterator[Sample]:
    for size in SIZES:
        for attrs in CENTERS:
            yield Sample([uniform(2, *size, 3), sized(4, 5)], attrs, constant=(1,), rtol=1e-5, atol=1e-6)
    yield Sample([uniform(1, 6, 7, 2, dtype=np.int32), sized(3, 2)], {}, False)


BOXES = np.array(
    [[0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], [-0.5, 0.3, 1.4, 0.7], [0.9, 0.8, 0.2, 0.1]], np.float32
)
NUMBERS = np.array([0, 1, 1, 0], np.int32)


@samples("CropAndResize")
def crop_samples() -> Iterator[Sample]:
    x = uniform(2, 5, 6, 3)
    for size in ((4, 4), (1, 3), (9, 1)):
        for method in ("bilinear", "nearest"):
            attrs = {"method": method, "extrapolation_value": 0.5}
            yield Sample([x, BOXES, NUMBERS, sized(*size)], attrs, (0, 1) if method == "bilinear" else (0,),
                         constant=(3,), narrow=True, second=False, rtol=1e-5, atol=1e-6)  # fmt: skip
    yield Sample([uniform(2, 5, 6, 3, low=0, high=99, dtype=np.uint8), BOXES, NUMBERS, sized(3, 3)], {}, False,
                 rtol=1e-5)  # fmt: skip
    yield Sample([x, BOXES[:0], NUMBERS[:0], sized(3, 3)], {}, False, name="no boxes")


@samples("CropAndResizeGradImage")
def crop_grad_image_samples() -> Iterator[Sample]:
    for method in ("bilinear", "nearest"):
        for dtype in (np.float32, np.float64):
            yield Sample([uniform(4, 4, 3, 2), BOXES, NUMBERS, np.array([2, 5, 6, 2], np.int32)],
                         {"T": dtype, "method": method}, (0,), narrow=True, rtol=1e-5, atol=1e-6, constant=(3,),
                         second=False)  # fmt: skip


@samples("CropAndResizeGradBoxes")
def crop_grad_boxes_samples() -> Iterator[Sample]:
    for size in ((4, 3), (1, 1)):
        yield Sample(
            [uniform(4, *size, 2), uniform(2, 5, 6, 2, seed=8), BOXES, NUMBERS], rtol=1e-5, atol=1e-5
        )
