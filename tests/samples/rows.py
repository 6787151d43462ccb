"""Samples of the ops in `graphflow/ops/rows.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, integers, samples, uniform


@samples("GraphflowRow")
def row() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), np.int32(2)], differentiable=False)
    yield Sample([uniform(3), np.int64(0)], differentiable=False, name="scalars")
    yield Sample([integers(3, 2, 2), np.int32(1)], differentiable=False)
    yield Sample([uniform(3, 0), np.int32(1)], differentiable=False, name="empty")
    yield Sample([uniform(3, 4), np.int32(2)], shapes={0: None}, differentiable=False, name="unknown")


@samples("GraphflowRowSet", "GraphflowRowAdd")
def changed_row() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), np.int32(2), uniform(4)], differentiable=False)
    yield Sample([uniform(3), np.int64(0), uniform()], differentiable=False, name="scalars")
    yield Sample([integers(3, 2, 2), np.int32(1), integers(2, 2)], differentiable=False)
    yield Sample([uniform(3, 0), np.int32(1), uniform(0)], differentiable=False, name="empty")
