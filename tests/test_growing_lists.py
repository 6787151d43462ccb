"""Lists that loops make longer: native whether or not it is known how long, and what the bodies give at any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.backends.cpu.jit import Jit
from graphflow.compiler import Executable, compile_graph
from graphflow.contrib import seq2seq as s2s
from graphflow.plan import HostStep
from graphflow.session import SessionState
from graphflow.testing import TestState, check_same, run_reference

Array = np.ndarray[Any, Any]
_BY_HAND = {
    "GraphflowFirstRows",
    "Sin",
    "Sum",
}  # what may be a step of the host: it is small, or its size is open


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def hosted(plan: Any) -> set[str]:
    """What a plan does on the host, but for giving out the first rows of what was filled."""
    steps = [step for step in plan.steps if isinstance(step, HostStep)]
    return {step.origin.type for step in steps} - _BY_HAND


def runs(executable: Executable, arrays: list[Any]) -> Any:
    """Runs compiled and with the bodies; both give the same, or both refuse."""
    arrays = [np.asarray(array) for array in arrays]
    bound = executable.bind(tuple(array.shape for array in arrays), TestState())
    try:
        wanted = run_reference(executable.frozen, arrays)
    except Exception as error:
        with pytest.raises(type(error)) as caught:
            bound.run(tuple(arrays), TestState())
        assert str(caught.value.__cause__ or caught.value) == str(error.__cause__ or error)
        return bound.plan
    for _ in range(2):
        check_same(bound.run(tuple(arrays), TestState()), wanted, 1e-5)
    assert hosted(bound.plan) == set(), bound.plan.summary()
    return bound.plan


def _until(start: int, index: Callable[[Any], Any], most: int | None, shape: Any) -> Any:
    """An array of some elements that a loop writes to at an index, until it has had n turns, and at most so many."""

    def make(x: Any, n: Any) -> Any:
        array = gf.TensorArray(gf.float32, size=start, dynamic_size=True, element_shape=shape)

        def body(i: Any, h: Any, array: Any) -> Any:
            h = gf.tanh(h * 1.5 + 0.1)
            return i + 1, h, array.write(index(i), h)

        _, _, array = gf.while_loop(lambda i, *_: i < n, body, [0, x, array], maximum_iterations=most)
        return array

    return make


@pytest.mark.parametrize(
    ("make", "turns"),
    [
        (_until(0, lambda i: i, 6, [None]), (3, 1, 0, 9)),
        (_until(2, lambda i: i, 6, [3]), (3, 1, 0)),
        (_until(1, lambda i: i * 2 + 2, 4, None), (4, 1)),
        (_until(0, lambda i: i, None, [3]), (3, 0)),
        (_until(0, lambda i: i - 1, None, [3]), (3,)),
    ],
    ids=["early", "long already", "gaps", "without limit", "before the first"],
)
def test_arrays_that_loops_fill(make: Any, turns: tuple[int, ...]) -> None:
    x, n = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.int32, [])
    array = make(x, n)
    y = array.stack()
    gradients = gf.gradients(gf.reduce_sum(gf.sin(y)), [x])
    executables = [compile_graph(fetches, [x, n]) for fetches in ([y, array.size()], [y, *gradients])]
    for count in turns:
        for executable in executables:
            runs(executable, [np.arange(3, dtype=np.float32), np.int32(count)])


def test_other_sizes_need_no_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    x, n = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.int32, [])
    y = _until(0, lambda i: i, None, [None])(x, n).stack()
    executable = compile_graph([y, *gf.gradients(gf.reduce_sum(y * y), [x])], [x, n])
    for number, (size, turns) in enumerate([(3, 5), (4, 7), (9, 40), (5, 2), (6, 100)]):
        if number == 1:
            monkeypatch.setattr(Jit, "_load", lambda *_: pytest.fail("compiles"))
        runs(executable, [np.arange(size, dtype=np.float32), np.int32(turns)])


@pytest.mark.parametrize(("turns", "place"), [(4, 3), (2, 1), (2, 2), (2, -1), (1, 0), (4, 7)])
def test_elements_behind_the_end_are_refused(turns: int, place: int) -> None:
    x, n, k = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.int32, []), gf.placeholder(gf.int32, [])
    array = gf.TensorArray(gf.float32, size=0, dynamic_size=True, clear_after_read=False)
    body: Callable[..., Any] = lambda i, h, array: (i + 1, h * 0.5, array.write(i, h))  # noqa: E731
    array = gf.while_loop(lambda i, *_: i < n, body, [0, x, array], maximum_iterations=4)[2]
    executable = compile_graph([array.read(k)], [x, n, k])
    runs(executable, [np.ones(3, np.float32), np.int32(turns), np.int32(place)])


def test_nothing_is_written_before_there_is_room() -> None:
    """A step of training through a loop of any number of turns, which has to be begun anew."""
    x, n = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.int32, [])
    with gf.variable_scope("net"):
        w = gf.get_variable("w", initializer=np.full(3, 0.5, np.float32))
    _, h = gf.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, gf.tanh(h * w + x)), [0, x])
    loss = gf.reduce_sum(h * h)
    step = gf.train.GradientDescentOptimizer(0.1).minimize(loss)
    fed = np.array([0.1, -0.2, 0.3], np.float32)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        got = [session.run([loss, step], {x: fed, n: count})[0] for count in (3, 50, 200, 7)]
        plan = session.plan([loss, step], {x: fed, n: 7})
        assert hosted(plan) == set()
    weights = np.full(3, 0.5, np.float64)
    for count, found in zip((3, 50, 200, 7), got, strict=True):
        states = [fed.astype(np.float64)]
        for _ in range(count):
            states.append(np.tanh(states[-1] * weights + fed))
        back, gradient = 2 * states[-1], np.zeros(3)
        for before, after in zip(states[-2::-1], states[:0:-1], strict=True):
            back = back * (1 - after**2)
            gradient += back * before
            back = back * weights
        np.testing.assert_allclose(found, (states[-1] ** 2).sum(), rtol=1e-5)
        weights -= 0.1 * gradient


def _greedy(start: Any, table: Any, batch: Any) -> Any:
    helper = s2s.GreedyEmbeddingHelper(table, gf.fill([batch], 3), 0)
    layer = gf.layers.Dense(7, kernel_initializer=gf.random_normal_initializer(stddev=2.0, seed=4))
    return s2s.BasicDecoder(gf.nn.rnn_cell.GRUCell(5), helper, start, layer)


def _beams(start: Any, table: Any, batch: Any) -> Any:
    layer = gf.layers.Dense(7, kernel_initializer=gf.random_normal_initializer(stddev=2.0, seed=4))
    first = s2s.tile_batch(start, 3)
    return s2s.BeamSearchDecoder(gf.nn.rnn_cell.GRUCell(5), table, gf.fill([batch], 3), 0, first, 3, layer)


@pytest.mark.parametrize(("make", "most"), [(_greedy, None), (_beams, 9)], ids=["greedy", "beams"])
def test_decoders_run_natively(make: Any, most: int | None) -> None:
    """At most as many steps as the graph says, or the feed: then nobody knows before the run how many."""
    start, limit = gf.placeholder(gf.float32, [None, 5]), gf.placeholder(gf.int32, [])
    table = gf.constant(np.random.RandomState(2).randn(7, 5).astype(np.float32))
    with gf.variable_scope("net", initializer=gf.random_uniform_initializer(-1.0, 1.0, seed=3)):
        outputs, last, lengths = s2s.dynamic_decode(
            make(start, table, gf.shape(start)[0]), maximum_iterations=limit if most is None else most,
            impute_finished=make is _greedy,
        )  # fmt: skip
    fetches = [*gf.nest.flatten(outputs), *gf.nest.flatten(last), lengths]
    executable = compile_graph(fetches, [start, limit])
    state, variables = SessionState(), gf.global_variables()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for variable, value in zip(variables, session.run(variables), strict=True):
            state.set(variable.op.name, value)
    rng = np.random.RandomState(5)
    for batch, longest in [(4, 9), (1, 5), (6, 1), (3, 40)]:
        arrays = rng.randn(batch, 5).astype(np.float32), np.array(longest, np.int32)
        bound = executable.bind(((batch, 5), ()), state)
        check_same(bound.run(arrays, state), reference.run(executable.frozen, list(arrays), state), 1e-4)
        lists = {kind for kind in hosted(bound.plan) if kind.startswith(("TensorList", "GraphflowWhile"))}
        assert lists == set(), bound.plan.summary()
