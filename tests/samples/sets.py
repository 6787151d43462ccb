"""Samples of the ops in `graphflow/ops/sets.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import Array, Sample, integers, samples
from tests.samples.layout import texts

KINDS = ("a-b", "b-a", "intersection", "union")


def sparse(dtype: Any = np.int64) -> list[Array]:
    indices = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0], [1, 1, 2]])
    return [indices, np.array([5, 1, 2, 7, 7], dtype), np.array([2, 2, 3])]


@samples("DenseToDenseSetOperation")
def dense_to_dense() -> Iterator[Sample]:
    for kind in KINDS:
        mine, theirs = integers(2, 3, 4, low=0, high=5), integers(2, 3, 2, low=0, high=5, seed=8)
        yield Sample([mine, theirs], {"set_operation": kind}, differentiable=False)
    words = texts(b"b", b"a", b"b").reshape(1, 3)
    yield Sample([words, words[:, :1]], {"set_operation": "a-b"}, differentiable=False, name="string")


@samples("DenseToSparseSetOperation")
def dense_to_sparse() -> Iterator[Sample]:
    for kind in KINDS:
        mine = integers(2, 2, 4, low=0, high=8, dtype=np.int64)
        yield Sample([mine, *sparse()], {"set_operation": kind}, differentiable=False)


@samples("SparseToSparseSetOperation")
def sparse_to_sparse() -> Iterator[Sample]:
    indices, values, shape = sparse(np.int32)
    for kind in KINDS:
        other = [indices[1:], np.array([1, 2, 9, 8], np.int32), shape]
        yield Sample([indices, values, shape, *other], {"set_operation": kind}, differentiable=False)


@samples("SetSize")
def set_size() -> Iterator[Sample]:
    yield Sample(sparse(), differentiable=False)
    yield Sample(sparse(np.uint8), constant=(2,), differentiable=False)
