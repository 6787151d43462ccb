"""Samples of the ops in `graphflow/ops/special.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples, uniform
from tests.samples.elementwise import unary


@samples("Erf", "Erfc")
def error_functions() -> Iterator[Sample]:
    yield from unary(-3, 3)
    yield Sample([uniform(257, low=-20, high=20)], differentiable=False, name="wide")


@samples("Erfinv")
def erfinv() -> Iterator[Sample]:
    yield from unary(-0.95, 0.95)
    yield Sample([np.array([-1, 1, 0, 0.9999999, -0.9999999, 1e-9])], differentiable=False, name="ends")


@samples("Lgamma")
def lgamma() -> Iterator[Sample]:
    yield from unary(0.3, 6.0, loose=2e-5)
    yield Sample([uniform(4, 4, low=-3.8, high=-3.2)], differentiable=False, name="negative", rtol=2e-5)


@samples("Digamma")
def digamma() -> Iterator[Sample]:
    yield from unary(0.3, 6.0)
    yield Sample([uniform(9, low=-0.9, high=-0.1, dtype=np.float64)], name="negative")


@samples("Zeta")
def zeta() -> Iterator[Sample]:
    x, q = uniform(3, 4, low=1.5, high=5, dtype=np.float64), uniform(4, low=0.5, high=3, dtype=np.float64)
    yield Sample([x, q], differentiable=(1,))
    yield Sample(
        [np.array([1.0, 2, 0.5], np.float32), np.array([1.0, 0, 2], np.float32)], differentiable=False
    )


@samples("Polygamma")
def polygamma() -> Iterator[Sample]:
    a = np.array([[0.0], [1.0], [2.0]])
    yield Sample([a, uniform(4, low=0.5, high=3, dtype=np.float64)], differentiable=(1,))
    yield Sample([a.astype(np.float32), uniform(4, low=0.5, high=3)], differentiable=False)
