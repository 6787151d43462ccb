"""Feeds whose elements decide sizes: what is fed for a shape, and the last id of sorted segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.compiler import Executable, compile_graph
from graphflow.plan import HostStep
from graphflow.testing import TestState, check_same, run_reference


def executable_of(fetches: list[Any], feeds: list[Any]) -> Executable:
    return compile_graph(fetches, feeds)


def run(executable: Executable, *feeds: Any, **variables: Any) -> tuple[list[np.ndarray], list[str]]:
    """What a compiled slice gives, held against the bodies, and the types of the nodes that ran as Python."""
    arrays = [np.asarray(feed) for feed in feeds]
    state = TestState(**variables)
    bound = executable.bind(tuple(a.shape for a in arrays), state, executable.look(arrays))
    got = bound.run(tuple(arrays), state)
    check_same(got, run_reference(executable.program, arrays, **variables), 1e-5)
    return got, [step.origin.type for step in bound.plan.steps if isinstance(step, HostStep)]


def test_a_batch_size_that_is_fed() -> None:
    x, size = gf.placeholder("float32", [None, 6]), gf.placeholder("int32", [])
    state = gf.zeros(gf.stack([size, 2])) + 1.0
    y = gf.reshape(x * 2.0, gf.stack([size, 3, 2])) + gf.expand_dims(state, 1)
    per_row = gf.reduce_sum(y) / gf.cast(size, "float32")
    executable = executable_of([y, per_row], [x, size])
    assert len(executable.contents) == 1
    for n in (4, 5, 1, 4):
        (got, _), hosts = run(executable, np.arange(6.0 * n, dtype=np.float32).reshape(n, 6), np.int32(n))
        assert got.shape == (n, 3, 2)
        assert not hosts


def test_a_whole_shape_that_is_fed() -> None:
    x, shape = gf.placeholder("float32", [None]), gf.placeholder("int32", [2])
    executable = executable_of([gf.reshape(x, shape) + 1.0], [x, shape])
    for sizes in ([3, 4], [-1, 6], [12, 1]):
        _, hosts = run(executable, np.arange(12, dtype=np.float32), np.array(sizes, np.int32))
        assert not hosts


def test_sizes_that_disagree_are_refused_in_the_run() -> None:
    x, shape = gf.placeholder("float32", [None]), gf.placeholder("int32", [2])
    y = gf.reshape(x, shape)
    with gf.Session() as session:
        with pytest.raises(gf.errors.InvalidArgumentError):
            session.run(y, {x: np.zeros(12, np.float32), shape: [5, 5]})
        assert session.run(y, {x: np.zeros(12, np.float32), shape: [3, 4]}).shape == (3, 4)


def test_what_decides_no_size_is_not_looked_at() -> None:
    x, labels = gf.placeholder("float32", [None, 3]), gf.placeholder("int32", [None])
    executable = executable_of([gf.gather(x, labels), gf.one_hot(labels, 3)], [x, labels])
    assert executable.contents == ()


def test_too_many_contents_are_found_out_in_the_run() -> None:
    size = gf.placeholder("int32", [])
    y = gf.fill(gf.stack([size]), 2.0) * 3.0
    with gf.Session() as session:
        for n in range(50):
            assert session.run(y, {size: n}).tolist() == [6.0] * n


def test_contents_in_a_session() -> None:
    x, ids = gf.placeholder("float32", [None, 3]), gf.placeholder("int32", [None])
    y = gf.segment_sum(x, ids)
    rows = np.ones((4, 3), np.float32)
    with gf.Session() as session:
        for last in (1, 3, 1, 7):
            got = session.run([y], {x: rows, ids: [0, 0, 1, last]})[0]
            assert got.shape == (last + 1, 3)
            assert got.sum() == 12
        with pytest.raises(gf.errors.InvalidArgumentError, match="sorted"):
            session.run(y, {x: rows, ids: [0, 2, 1, 3]})
        with pytest.raises(gf.errors.InvalidArgumentError, match="sorted"):
            session.run(y, {x: rows, ids: [-1, 0, 1, 3]})


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "float64"])
@pytest.mark.parametrize("inner", [(), (1,), (5,), (17, 3)])
def test_sorted_segments(name: str, dtype: str, inner: tuple[int, ...]) -> None:
    data, ids = gf.placeholder(dtype, [None, *inner]), gf.placeholder("int32", [None])
    executable = executable_of([getattr(gf, f"segment_{name}")(data, ids)], [data, ids])
    values = (np.random.default_rng(0).standard_normal((9, *inner)) * 10).astype(dtype)
    _, hosts = run(executable, values, np.array([0, 0, 2, 2, 2, 3, 6, 6, 7], np.int32))
    assert not hosts or (name, dtype) == ("mean", "int32")  # whose division is the body's


def test_rows_of_no_segment() -> None:
    data, ids = gf.placeholder("float32", [None, 2]), gf.placeholder("int32", [None])
    executable = executable_of([gf.segment_sum(data, ids)], [data, ids])
    (got,), _ = run(executable, np.zeros((0, 2), np.float32), np.zeros(0, np.int32))
    assert got.shape == (0, 2)
