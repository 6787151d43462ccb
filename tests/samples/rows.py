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


@samples("GraphflowFromEnd")
def from_end() -> Iterator[Sample]:
    for index in (2, 0, -1, -3):
        yield Sample([np.int32(index), np.int32(3)], {"axis": 0}, differentiable=False, name=f"at{index}")
    yield Sample([np.int64(-2), np.int64(5)], {"axis": 1}, differentiable=False, name="wide")


@samples("GraphflowPlaced")
def placed() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), np.int32(2), np.int32(5)], {"axis": 1}, differentiable=False)
    yield Sample([uniform(), np.int64(0), np.int64(1)], {"axis": 0}, differentiable=False, name="scalar")
    yield Sample([integers(3, 2), np.int32(1), np.int32(2)], {"axis": 2}, differentiable=False, name="last")
    yield Sample([uniform(3, 0), np.int32(1), np.int32(2)], {"axis": 0}, differentiable=False, name="empty")


@samples("GraphflowFirst")
def first() -> Iterator[Sample]:
    for index in (0, 3):
        yield Sample(
            [np.int32(index)], {"writes": True, "array": "a"}, differentiable=False, name=f"at{index}"
        )


@samples("GraphflowFirsts")
def firsts() -> Iterator[Sample]:
    for places in ([], [2, 0, 3]):
        given = [np.array(places, np.int32), np.zeros(len(places), np.int32)]
        yield Sample(given, {"writes": False, "array": "a"}, differentiable=False, name=f"of{len(places)}")


@samples("GraphflowInList")
def in_list() -> Iterator[Sample]:
    for places in (2, 0, [0, 2, 2], []):
        index = np.array(places, np.int32)
        given = [index.astype(np.int64), index, np.int32(3)]
        attrs = {"verb": "access", "grows": False}
        yield Sample(given, attrs, differentiable=False, name=f"of{index.size}{index.ndim}")


@samples("GraphflowFirstRows")
def first_rows() -> Iterator[Sample]:
    for count in (2, 0, 3):
        given = [uniform(3, 4), np.int32(count)]
        yield Sample(given, {"unknown": ""}, differentiable=False, name=f"first{count}")
    yield Sample([integers(3), np.int32(1)], {"unknown": "[?]"}, differentiable=False, name="scalars")


@samples("GraphflowTurn")
def turn() -> Iterator[Sample]:
    for number in (0, 4):
        yield Sample([np.int32(number), np.int32(5)], differentiable=False, name=f"turn{number}")
