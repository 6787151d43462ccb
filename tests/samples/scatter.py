"""Samples of the ops in `graphflow/ops/scatter.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, apart, integers, samples, uniform
from tests.samples.layout import ROWS, ints


@samples("GatherNd")
def gather_nd() -> Iterator[Sample]:
    params = uniform(3, 4, 2)
    yield Sample([params, ROWS], differentiable=(0,))
    yield Sample([params, ints((0, 1, 1), (2, 3, 0), dtype=np.int64)], differentiable=(0,), name="elements")
    yield Sample([params, ints((1,), (1,))], differentiable=(0,), name="rows")
    yield Sample([params, ROWS.reshape(3, 1, 2)], differentiable=(0,), name="deep")
    yield Sample([params, np.zeros((2, 0), np.int32)], differentiable=(0,), name="whole")
    yield Sample([params, ROWS], differentiable=(0,), shapes={0: None}, name="unknown")


@samples("ScatterNd")
def scatter_nd() -> Iterator[Sample]:
    yield Sample([ROWS, uniform(3, 2), ints(3, 4, 2)], constant=(2,), differentiable=(1,))
    yield Sample([ints((1,), (3,)), uniform(2), ints(5)], constant=(2,), differentiable=(1,), name="vector")
    yield Sample([ints((1,), (3,)), uniform(2), ints(5)], differentiable=(1,), name="fed_shape")
    yield Sample([ints((1,), (1,)), integers(2), ints(5)], constant=(2,), differentiable=False)


@samples("TensorScatterUpdate")
def tensor_scatter_update() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), ints((0, 1), (2, 2)), uniform(2)], differentiable=(0, 2))
    yield Sample([uniform(3, 4), ints((2,), (0,)), uniform(2, 4)], differentiable=(0, 2), name="rows")
    yield Sample([integers(4), ints((1,)), integers(1)], differentiable=False)


@samples("TensorScatterAdd", "TensorScatterSub")
def tensor_scatter_add() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), ints((0, 1), (2, 2), (0, 1)), uniform(3)], differentiable=(0, 2))
    yield Sample([integers(4), ints((1,)), integers(1)], differentiable=False)


@samples("TensorScatterMax", "TensorScatterMin")
def tensor_scatter_extremes() -> Iterator[Sample]:
    places = ints((0, 1), (2, 2), (0, 1))
    yield Sample([apart(3, 4), places, np.array([-9.1, 9.3, 9.7])], differentiable=(0, 2))
    yield Sample(
        [apart(3, 4), ints((2,), (0,)), apart(2, 4, seed=9) + 0.1], differentiable=(0, 2), name="rows"
    )
    yield Sample([np.ones(3), ints((1,), (1,)), np.ones(2)], differentiable=False, name="ties")
    yield Sample([integers(4), ints((1,)), integers(1)], differentiable=False)


@samples("ScatterNdNonAliasingAdd")
def non_aliasing_add() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), ints((0, 1), (2, 2), (0, 1)), uniform(3)], differentiable=(0, 2))
    yield Sample([integers(4), ints((1,), (1,)), integers(2)], differentiable=False)


@samples("GatherNd")
def wide_gather_nd() -> Iterator[Sample]:
    places = integers(50, 2, low=0, high=7)
    yield Sample(
        [uniform(7, 8, 130), places],
        differentiable=False,
        shapes={0: (None, 8, 130), 1: (None, 2)},
        name="wide",
    )


@samples("ScatterNd")
def wide_scatter_nd() -> Iterator[Sample]:
    places = integers(50, 2, low=0, high=7)
    yield Sample([places, uniform(50, 130), ints(7, 8, 130)], constant=(2,), differentiable=False,
                 shapes={0: (None, 2), 1: (None, 130)}, rtol=1e-5, atol=1e-5, name="wide")  # fmt: skip


@samples("TensorScatterUpdate", "TensorScatterAdd", "TensorScatterMax")
def wide_tensor_scatter() -> Iterator[Sample]:
    places = integers(50, 2, low=0, high=7)
    yield Sample([uniform(7, 8, 130), places, uniform(50, 130, seed=8)], differentiable=False, rtol=1e-5, atol=1e-5,
                 shapes={0: (None, 8, 130), 1: (None, 2)}, name="wide")  # fmt: skip
