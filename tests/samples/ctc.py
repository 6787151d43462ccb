"""Samples of connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples, uniform

INDICES = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]], np.int64)
LABELS = np.array([1, 1, 2, 0, 3, 2], np.int32)
LENGTHS = np.array([7, 5, 4], np.int32)


@samples("CTCLoss")
def loss_samples() -> Iterator[Sample]:
    x = uniform(7, 3, 5)
    for attrs in ({}, {"ctc_merge_repeated": False}, {"preprocess_collapse_repeated": True}):
        yield Sample([x, INDICES, LABELS, LENGTHS], attrs, False, rtol=1e-4, atol=1e-5)
    short = np.array([3, 5, 0], np.int32)
    yield Sample([x, INDICES, LABELS, short], {"ignore_longer_outputs_than_inputs": True}, False, rtol=1e-4,
                 atol=1e-5, name="no alignment")  # fmt: skip
    yield Sample([x.astype(np.float64), INDICES, LABELS, LENGTHS], {}, False, rtol=1e-5, atol=1e-6)


@samples("CTCGreedyDecoder")
def greedy_samples() -> Iterator[Sample]:
    for attrs in ({}, {"merge_repeated": True}, {"blank_index": 0}):
        yield Sample([uniform(7, 3, 5), LENGTHS], attrs, rtol=1e-5)


@samples("CTCBeamSearchDecoder")
def beam_samples() -> Iterator[Sample]:
    for attrs in (
        {"beam_width": 8, "top_paths": 3},
        {"beam_width": 20, "top_paths": 1, "merge_repeated": False},
        {"beam_width": 2, "top_paths": 2},
    ):
        yield Sample([uniform(7, 3, 5), LENGTHS], attrs, rtol=1e-4, atol=1e-5)


@samples("CTCLossV2")
def blank_first_samples() -> Iterator[Sample]:
    indices = np.array([[0, 0], [0, 1], [2, 0], [2, 1]], np.int64)
    lengths = np.array([5, 4, 2], np.int32)
    yield Sample([uniform(5, 3, 4), indices, np.array([1, 2, 3, 3], np.int32), lengths], {}, False, rtol=1e-5)
