"""Samples of reading and writing variables; at the place of a handle stands the variable's value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from graphflow.shapes import TensorShape
from tests.samples import Sample, integers, samples, uniform


@samples("VarHandleOp")
def handle_samples() -> Iterator[Sample]:
    yield Sample([], {"dtype": dtypes.float32, "shape": TensorShape([2, 3]), "shared_name": "v"})


@samples("ReadVariableOp")
def read_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4)], {"dtype": dtypes.float32})
    yield Sample([uniform(dtype=np.float64)], {"dtype": dtypes.float64}, name="scalar")


@samples("VarIsInitializedOp", "VariableShape")
def state_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4)])


@samples("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
def assign_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), uniform(3, 4, seed=8)])
    yield Sample([uniform(), uniform(seed=8)], name="scalar")
    yield Sample([uniform(0, 2), uniform(0, 2)], name="empty")
    yield Sample([integers(5), integers(5, seed=8)])


@samples("ResourceCountUpTo")
def count_samples() -> Iterator[Sample]:
    yield Sample([np.array(3)], {"limit": 4, "T": dtypes.int64})
    yield Sample([np.array(-1, np.int32)], {"limit": 0, "T": dtypes.int32})


@samples("ResourceGather")
def gather_samples() -> Iterator[Sample]:
    yield Sample([uniform(5, 2), integers(3, 2, low=0, high=5)], {"dtype": dtypes.float32})
    yield Sample([uniform(5, 2), np.array(4, np.int64)], {"dtype": dtypes.float32}, name="one row")
    yield Sample([uniform(5), integers(0, low=0, high=5)], {"dtype": dtypes.float32}, name="none")
    yield Sample(
        [uniform(2, 5, 3), integers(2, 4, low=0, high=5)], {"dtype": dtypes.float32, "batch_dims": 1}
    )


@samples("ResourceGatherNd")
def gather_nd_samples() -> Iterator[Sample]:
    yield Sample([uniform(5, 2), np.array([[4, 1], [0, 0]], np.int32)], {"dtype": dtypes.float32})
    yield Sample([uniform(5, 2), np.array([[4], [4]], np.int64)], {"dtype": dtypes.float32})


@samples(
    "ResourceScatterUpdate", "ResourceScatterAdd", "ResourceScatterSub", "ResourceScatterMul", "ResourceScatterDiv",
    "ResourceScatterMin", "ResourceScatterMax",
)  # fmt: skip
def scatter_samples() -> Iterator[Sample]:
    yield Sample([uniform(5, 2), np.array([4, 0, 4], np.int32), uniform(3, 2, low=0.5, seed=8)], rtol=1e-5)
    yield Sample(
        [uniform(5), np.array([[1, 2], [2, 0]], np.int64), uniform(2, 2, low=0.5, seed=8)], rtol=1e-5
    )
    yield Sample([uniform(5, 2), np.zeros(0, np.int32), uniform(0, 2)], name="nothing")


@samples("GraphflowScatterUpdate", "GraphflowScatterAdd", "GraphflowScatterSub")
def marked_scatter_samples() -> Iterator[Sample]:
    for kind in (np.int32, np.int64):
        rows = np.array([4, -1, 0, -1], kind)
        yield Sample([uniform(5, 2), rows, uniform(4, 2, seed=8)], differentiable=False)
        yield Sample([uniform(5), rows, uniform(4, seed=8)], differentiable=False, name="numbers")
    yield Sample([uniform(5, 2), np.zeros(0, np.int32), uniform(0, 2)], differentiable=False, name="nothing")


@samples(
    "ResourceScatterNdUpdate", "ResourceScatterNdAdd", "ResourceScatterNdSub", "ResourceScatterNdMin",
    "ResourceScatterNdMax",
)  # fmt: skip
def scatter_nd_samples() -> Iterator[Sample]:
    yield Sample([uniform(5, 2), np.array([[4, 1], [0, 0]], np.int32), uniform(2, seed=8)])
    yield Sample([uniform(5, 2), np.array([[4], [1]], np.int64), uniform(2, 2, seed=8)])


@samples("ResourceStridedSliceAssign")
def slice_assign_samples() -> Iterator[Sample]:
    ends = [np.array(v, np.int32) for v in ([1, 0], [4, 2], [2, 1])]
    yield Sample([uniform(5, 2), *ends, uniform(2, 2, seed=8)])
    one = [np.array(v, np.int32) for v in ([3], [4], [1])]
    yield Sample([uniform(5, 2), *one, uniform(2, seed=8)], {"shrink_axis_mask": 1})
    yield Sample([uniform(5), *one, uniform(seed=8)], {"shrink_axis_mask": 1}, name="one element")
