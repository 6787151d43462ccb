"""Samples of what branches and loops use besides their bodies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from graphflow.shapes import TensorShape
from tests.samples import Sample, samples


@samples("FakeParam")
def fake_param_samples() -> Iterator[Sample]:
    yield Sample([], {"dtype": dtypes.float32, "shape": TensorShape([2, 3])}, exact=False)
    yield Sample([], {"dtype": dtypes.int64, "shape": TensorShape([])}, exact=False)


@samples("GraphflowTruth")
def truth_samples() -> Iterator[Sample]:
    for value in (0, 2, 0.0, -0.0, 0.5, np.nan, True, False, b"", b"x", 1j):
        array = np.array(value, object) if isinstance(value, bytes) else np.array(value)
        yield Sample([array])
    yield Sample([np.zeros(0, np.float32)])
    yield Sample([np.zeros((1, 2), np.float32)])
