"""Samples of summary ops. What is in the bytes of an image is tested in tests/test_summaries.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import BFLOAT16, Array, Sample, samples, uniform
from tests.samples.io import texts


def text(value: bytes) -> Array:
    return np.array(value, object)


TAG = text(b"a/tag")


@samples("ScalarSummary")
def scalar_samples() -> Iterator[Sample]:
    for dtype in (np.float32, np.float64, np.float16, BFLOAT16, np.int8, np.uint64, np.int32):
        yield Sample([TAG, np.asarray(3, dtype)], name=np.dtype(dtype).name)
    yield Sample([texts(b"one", b"two"), np.array([1.5, -2.5], np.float32)])
    yield Sample([texts(), np.zeros(0, np.float32)], name="empty")
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e300, 1e-300])
    yield Sample([texts(*(b"%d" % i for i in range(odd.size))), odd], name="special")


@samples("HistogramSummary")
def histogram_samples() -> Iterator[Sample]:
    yield Sample([TAG, uniform(500, low=-1e3, high=1e3)])
    yield Sample([TAG, uniform(50, dtype=np.float64) ** 3], name="float64")
    yield Sample([TAG, np.array([0, 0, 3, -7, 100], np.int64)])
    yield Sample([TAG, np.array([[5.0]], BFLOAT16)])
    yield Sample([TAG, np.zeros((0, 3), np.float32)], name="empty")
    extremes = [0.0, -0.0, 1e-12, -1e-12, 1e-300, 1e20, -1e20, 1e300, 1e307]
    yield Sample([TAG, np.array(extremes)], name="extremes")
    yield Sample([TAG, np.array([0, 255], np.uint8)])


@samples("ImageSummary")
def image_samples() -> Iterator[Sample]:
    yield Sample([TAG, uniform(2, 3, 4, 3)])
    yield Sample([TAG, uniform(5, 2, 2, 1, low=0, high=255, dtype=np.uint8)], {"max_images": 1})


@samples("AudioSummary")
def audio_samples() -> Iterator[Sample]:
    yield Sample([TAG, uniform(4, 9, 2, low=-1.2, high=1.2)], {"sample_rate": 8000.0})
    yield Sample([TAG, uniform(2, 9, low=-1.0, high=1.0)], {"sample_rate": 44100.0, "max_outputs": 1})


@samples("AudioSummaryV2")
def audio_v2_samples() -> Iterator[Sample]:
    yield Sample([TAG, uniform(2, 9), np.float32(16000.0)], {"max_outputs": 5})


@samples("TensorSummaryV2")
def tensor_v2_samples() -> Iterator[Sample]:
    metadata = text(b"\n\x06\n\x04text")
    yield Sample([TAG, uniform(2, 2), metadata])
    yield Sample([TAG, texts(b"x", b"\xff"), text(b"")])
    yield Sample([TAG, np.zeros((0, 2), np.int32), text(b"")], name="empty")


@samples("TensorSummary")
def tensor_samples() -> Iterator[Sample]:
    yield Sample([uniform(2, 2)], {"description": "{}", "display_name": "shown"})


@samples("MergeSummary")
def merge_samples() -> Iterator[Sample]:
    one = text(b"\n\x08\n\x01a\x15\x00\x00\x80?")
    two = text(b"\n\x08\n\x01b\x15\x00\x00\x80?")
    yield Sample([[one, two]])
    yield Sample([[texts(b"", one[()])]], name="vector")
