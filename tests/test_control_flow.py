"""Branches and loops: what they compute, in both executors, and how their graphs and programs look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.program import freeze, verify
from graphflow.session import SessionState
from graphflow.text import parse_program, program_text

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def both(fetches: Any, feeds: dict[Any, Any] | None = None) -> Any:
    """What a compiled session gives, once the bodies have given the same."""
    feeds = feeds or {}
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        flat = list(fetches) if isinstance(fetches, list | tuple) else [fetches]
        program = freeze(flat, list(feeds))
        verify(program)
        text = program_text(program)
        assert program_text(parse_program(text)) == text
        state = SessionState()
        for variable in gf.global_variables():
            state.set(variable.op.name, session.run(variable))
        wanted = reference.run(
            program, [np.asarray(value, t.dtype.numpy) for t, value in feeds.items()], state
        )
        results = session.run(flat, feeds)
        for result, array in zip(results, wanted, strict=True):
            np.testing.assert_allclose(result, array, rtol=1e-5, atol=1e-6)
        for variable in gf.global_variables():
            np.testing.assert_allclose(session.run(variable), state.get(variable.op.name), rtol=1e-5)
        return results if isinstance(fetches, list | tuple) else results[0]


def test_cond_takes_one_branch() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    y = gf.cond(gf.reduce_sum(x) > 0, lambda: x * 2, lambda: x - 1)
    assert y.shape.as_list() == [None, 3]
    assert y.name == "cond/Identity:0"
    ones = np.ones((2, 3))
    np.testing.assert_array_equal(both(y, {x: ones}), 2 * ones)
    np.testing.assert_array_equal(both(y, {x: -ones}), -2 * ones)


def test_only_the_branch_taken_acts() -> None:
    v, p = gf.Variable(1.0), gf.placeholder(gf.bool, [])
    called: list[float] = []

    def note(value: Any) -> Any:
        called.append(float(value))
        return value

    done = gf.cond(p, lambda: gf.group(v.assign(5.0)), lambda: gf.py_func(note, [v], gf.float32) > 0)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(done, {p: True})
        assert session.run(v) == 5 and called == []
        session.run(done, {p: False})
        assert session.run(v) == 5 and called == [5.0]


def test_loop_with_captures_and_nested_branch() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    v = gf.Variable(2.0)
    i, s = gf.while_loop(
        lambda i, s: i < 5, lambda i, s: [i + 1, s + gf.cond(i > 2, lambda: x * v, lambda: x)], [0, x]
    )
    ones = np.ones((2, 3))
    count, total = both([i, s], {x: ones})
    assert count == 5
    np.testing.assert_array_equal(total, 8 * ones)


def test_variables_change_from_turn_to_turn() -> None:
    v = gf.Variable(1.0)

    def body(i: Any, seen: Any) -> Any:
        with gf.control_dependencies([v.assign_add(2.0)]):
            return i + 1, seen + v.read_value()

    _, seen = gf.while_loop(lambda i, s: i < 3, body, [0, 0.0])
    assert both(seen) == 3 + 5 + 7


def test_shapes_that_change_are_left_open() -> None:
    x = gf.placeholder(gf.float32, [2])
    tries = []

    def body(i: Any, y: Any) -> Any:
        tries.append(y.shape.as_list())
        w = gf.get_variable("w", [], initializer=gf.ones_initializer())
        return i + 1, gf.concat([y, [gf.to_float(i) * w]], 0)

    _, y = gf.while_loop(lambda i, y: i < 3, body, [0, x])
    assert tries == [[2], [None]]
    assert y.shape.as_list() == [None]
    assert [v.op.name for v in gf.global_variables()] == ["w"]
    np.testing.assert_array_equal(both(y, {x: [7, 8]}), [7, 8, 0, 1, 2])


def test_maximum_iterations() -> None:
    most = gf.placeholder(gf.int32, [])
    i = gf.while_loop(lambda i: i < 10, lambda i: i + 3, [0], maximum_iterations=most)
    assert both(i, {most: 2}) == 6
    assert both(i, {most: 7}) == 12


def test_a_tensor_of_a_body_stays_inside() -> None:
    inner: list[Any] = []
    gf.cond(gf.placeholder(gf.bool), lambda: inner.append(gf.add(1.0, 2.0, name="kept")) or 1.0, lambda: 2.0)
    with pytest.raises(ValueError, match=r"inside the body of a branch.*Return it"):
        gf.Session().run(inner[0])
    with pytest.raises(ValueError, match="inside the body of a branch"):
        inner[0] + 1.0
