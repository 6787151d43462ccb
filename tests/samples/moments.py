"""Samples of the ops in `graphflow/ops/moments.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples, special, uniform


@samples("GraphflowShareMoments")
def share_moments() -> Iterator[Sample]:
    for dtype in (np.float32, np.float64):
        yield Sample([uniform(70, 5).astype(dtype)], {"rows": 16}, differentiable=False, rtol=1e-5)
    yield Sample([uniform(8, 33)], {"rows": 8}, differentiable=False, rtol=1e-5, name="even")
    yield Sample([uniform(3, 1)], {"rows": 8}, differentiable=False, rtol=1e-5, name="short")
    yield Sample([uniform(5, 4) + 1e4], {"rows": 2}, differentiable=False, rtol=1e-5, name="far from zero")
    yield Sample([uniform(0, 4)], {"rows": 2}, differentiable=False, name="empty")
    yield Sample([special().reshape(1, -1)], {"rows": 2}, differentiable=False, name="special")
    yield Sample(
        [uniform(9, 4)], {"rows": 2}, shapes={0: [None, 4]}, differentiable=False, rtol=1e-5, name="open"
    )
