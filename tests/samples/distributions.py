"""Samples of the ops in `graphflow/ops/distributions.py`; their values are tested with seeds against TensorFlow's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import FLOATS, Sample, samples


@samples("RandomGamma")
def random_gamma() -> Iterator[Sample]:
    for dtype in (np.float16, *FLOATS):
        alpha = np.array([0.3, 1.0, 2.5], dtype)
        yield Sample([np.array([4], np.int32), alpha], {"seed": 1}, constant=(0,), exact=False, second=False)
    yield Sample(
        [np.array([2, 3], np.int32), np.array(1.5)], {"seed": 1}, exact=False, second=False, name="fed"
    )
    yield Sample(
        [np.zeros(0, np.int32), np.ones((2, 0))], {"seed": 1}, exact=False, second=False, name="empty"
    )


@samples("RandomPoisson")
def random_poisson() -> Iterator[Sample]:
    for dtype in FLOATS:
        yield Sample([np.array([5], np.int32), np.array([0.5, 20.0], dtype)], {"seed": 1}, exact=False)


@samples("RandomPoissonV2")
def random_poisson_v2() -> Iterator[Sample]:
    for dtype in (dtypes.int32, dtypes.int64, dtypes.float32):
        yield Sample(
            [np.array([5], np.int64), np.array([[0.0, 3.0, 40.0]])],
            {"seed": 1, "dtype": dtype},
            constant=(0,),
            exact=False,
        )
