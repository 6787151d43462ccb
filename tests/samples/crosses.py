"""Samples of crosses of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow import dtypes
from tests.samples import Sample, samples

PLACES = np.array([[0, 0], [0, 1], [2, 0]], np.int64)
SIZES = np.array([3, 2], np.int64)
TEXTS = np.array([b"a", b"", b"longer than sixteen bytes, and some more"], object)
NUMBERS = np.array([5, -1, 2**62], np.int64)
DENSE = np.array([[1, 2], [3, 4], [-5, 0]], np.int64)
WORDS = np.array([[b"x"], [b"yy"], [b""]], object)


def cross(sparse: list[Any], dense: list[Any], name: str, **attrs: Any) -> Sample:
    kinds = [
        tuple(dtypes.string if v.dtype == object else dtypes.int64 for v in part) for part in (sparse, dense)
    ]
    told = {
        "hashed_output": True, "num_buckets": 0, "hash_key": 0xDECAFCAFFE, "out_type": dtypes.int64,
        "internal_type": dtypes.string, "sparse_types": kinds[0], "dense_types": kinds[1], **attrs,
    }  # fmt: skip
    inputs = [[PLACES[: len(v)] for v in sparse], sparse, [SIZES for _ in sparse], dense]
    return Sample(inputs, told, name=name)


@samples("SparseCross")
def cross_samples() -> Iterator[Sample]:
    yield cross([TEXTS, NUMBERS], [], "hashes")
    yield cross([TEXTS, NUMBERS], [DENSE, WORDS], "in buckets", num_buckets=7)
    yield cross([], [DENSE, WORDS], "dense", hash_key=3)
    yield cross([NUMBERS], [DENSE], "numbers", internal_type=dtypes.int64)
    yield cross([TEXTS], [WORDS, DENSE], "texts", hashed_output=False, out_type=dtypes.string)
    yield cross([TEXTS[:0]], [DENSE], "empty")
