"""Samples of the ops in `graphflow/ops/special_functions.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import FLOATS, Sample, samples, uniform
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


@samples("Ndtri")
def ndtri() -> Iterator[Sample]:
    yield from unary(0.01, 0.99)
    values = np.array([0, 1, 0.5, 1e-9, 1e-300, 1 - 1e-12, -1, np.nan])
    yield Sample([values], differentiable=False, name="ends")


@samples("Igamma", "Igammac")
def incomplete_gamma() -> Iterator[Sample]:
    a, x = (
        uniform(4, 5, low=0.3, high=6, dtype=np.float64),
        uniform(5, low=0.1, high=9, dtype=np.float64, seed=8),
    )
    yield Sample([a, x], second=False)
    yield Sample([a.astype(np.float32), x.astype(np.float32)], differentiable=False, rtol=2e-5)
    edges = (
        np.array([-1, 0, 0, 2, 2, np.nan, 100, 0.5, 1e3]),
        np.array([1.0, 1, 0, 0, np.inf, 1, 100, 1e-8, 1.2e3]),
    )
    yield Sample([*edges], differentiable=False, name="edges")


@samples("IgammaGradA", "RandomGammaGrad")
def gamma_by_shape() -> Iterator[Sample]:
    a, x = (
        uniform(4, 5, low=0.3, high=6, dtype=np.float64),
        uniform(5, low=0.1, high=9, dtype=np.float64, seed=8),
    )
    yield Sample([a, x], differentiable=False, rtol=1e-7)
    yield Sample([a[:2].astype(np.float32), x.astype(np.float32)], differentiable=False, rtol=5e-4)


@samples("Betainc")
def incomplete_beta() -> Iterator[Sample]:
    a, b = (uniform(3, 4, low=0.3, high=6, dtype=np.float64, seed=seed) for seed in (7, 8))
    x = uniform(3, 4, low=0.02, high=0.98, dtype=np.float64, seed=9)
    yield Sample([a, b, x], differentiable=(2,), second=False)
    yield Sample([np.array(2.0), np.array(0.5), x], differentiable=(2,), second=False, name="scalars")
    yield Sample([a, b, np.array(0.3)], differentiable=(2,), second=False, name="one x")
    yield Sample(
        [a.astype(np.float32), b.astype(np.float32), x.astype(np.float32)], differentiable=False, rtol=5e-5
    )
    edges = [
        np.array([1.0, 1, -1, 0, 2, 2]),
        np.array([1.0, 1, 1, 1, 2, 2]),
        np.array([0.0, 1, 0.5, 0.5, 2, np.nan]),
    ]
    yield Sample(edges, differentiable=False, name="edges")


@samples("BesselI0", "BesselI0e", "BesselI1", "BesselI1e")
def bessel() -> Iterator[Sample]:
    yield from unary(-3, 3, specials=False)
    yield Sample([np.array([0.0, -0.5, 20, -80, 300])], differentiable=False, name="wide")


@samples("BesselI0e", "BesselI1e")
def scaled_bessel() -> Iterator[Sample]:
    yield Sample([np.array([1e3, -1e5, 1e9, 650])], differentiable=False, name="far")


@samples("NextAfter")
def next_after() -> Iterator[Sample]:
    for dtype in FLOATS:
        x = np.array([0, 1, -1, np.inf, np.nan, 3], dtype)
        yield Sample([x, np.array([1, 0, -2, 0, 1, 3], dtype)], differentiable=False)
    yield Sample([uniform(3, dtype=np.float64), uniform(2, 3, dtype=np.float64, seed=8)], second=False)
