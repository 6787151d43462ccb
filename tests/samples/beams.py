"""Samples of the op in `graphflow/ops/beams.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples


@samples("GatherTree")
def trees() -> Iterator[Sample]:
    steps = np.array([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]], [[-1, -1, -1]]], np.int32)
    parents = np.array([[[0, 0, 0]], [[0, 1, 1]], [[2, 1, 2]], [[-1, -1, -1]]], np.int32)
    yield Sample([steps, parents, np.array([3], np.int32), np.array(10, np.int32)], differentiable=False)
    yield Sample(
        [steps, parents, np.array([3], np.int32), np.array(6, np.int32)],
        differentiable=False,
        name="ends early",
    )
    yield Sample([steps, parents, np.array([0], np.int32), np.array(2, np.int32)], differentiable=False)
    wide = np.random.RandomState(0).randint(0, 2, (5, 3, 2)).astype(np.int32)
    yield Sample(
        [wide + 3, wide, np.array([5, 2, 9], np.int32), np.array(4, np.int32)], shapes={0: None},
        differentiable=False, name="unknown shape",
    )  # fmt: skip
    yield Sample(
        [np.zeros((0, 2, 2), np.int32)] * 2 + [np.zeros(2, np.int32), np.array(1, np.int32)],
        differentiable=False, name="empty",
    )  # fmt: skip
