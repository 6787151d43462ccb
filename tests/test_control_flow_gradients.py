"""Gradients through branches, loops, lists and calls, of first and second order, against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.compiler import compile_graph
from graphflow.plan import HostStep
from graphflow.program import Program, freeze, verify
from graphflow.session import SessionState
from tests.control_flow_cases import CASES, values

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def direction(shape: Any, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    x = gf.placeholder(gf.float64, [4])
    variable = gf.Variable(np.zeros((4, 4)))
    y = gf.reshape(CASES[name](x, variable), [-1])
    # Weights for as many elements as there are.
    loss = gf.reduce_sum(y * gf.cos(gf.cast(gf.range(gf.size(y)), gf.float64)))
    firsts = gf.gradients(loss, [x, variable], unconnected_gradients="zero")
    firsts = [gf.convert_to_tensor(g) for g in firsts]
    ways = direction([4], 1), direction([4, 4], 2)
    along = gf.add_n([gf.reduce_sum(g * way) for g, way in zip(firsts, ways, strict=True)])
    seconds = gf.gradients(along, [x, variable], unconnected_gradients="zero")
    seconds = [gf.convert_to_tensor(g) for g in seconds]
    fetches = [loss, along, *firsts, *seconds]
    whole, small = freeze(fetches, [x]), freeze([loss, along], [x])
    verify(whole)

    def run(program: Program, at: Array, matrix: Array) -> list[Array]:
        state = SessionState()
        state.set(variable.op.name, matrix)
        return reference.run(program, [at], state)

    executable = compile_graph(fetches, [x])
    state = SessionState()
    state.set(variable.op.name, np.zeros((4, 4)))
    bound = executable.bind(((4,),), state)
    assert [step.name for step in bound.plan.steps if isinstance(step, HostStep)] == []
    for at, matrix in values():
        wanted = run(whole, at, matrix)
        state.set(variable.op.name, matrix)
        for got, array in zip(bound.run((at,), state), wanted, strict=True):
            np.testing.assert_allclose(got, array, rtol=1e-9, atol=1e-12)
        step = 1e-6
        ends = [run(small, at + s * ways[0], matrix + s * ways[1]) for s in (step, -step)]
        for order, found in enumerate((wanted[2:4], wanted[4:6])):
            measured = float(ends[0][order] - ends[1][order]) / (2 * step)
            predicted = sum(float(np.sum(g * way)) for g, way in zip(found, ways, strict=True))
            scale = abs(measured) + sum(float(np.abs(g).sum()) for g in found) + 1e-3
            assert abs(measured - predicted) < 1e-6 * scale, f"order {order + 1}: {predicted}, {measured}"


def test_second_gradients_through_a_loop_over_elements_of_any_rank() -> None:
    rows = gf.placeholder(gf.float32)
    weights = gf.Variable(np.arange(3, dtype=np.float32))

    def after_a_step(row: gf.Tensor) -> gf.Tensor:
        (step,) = gf.gradients(gf.reduce_mean(gf.square(row * weights)), [weights])
        return gf.reduce_mean(gf.square(row * (weights - 0.1 * step)))

    (looped,) = gf.gradients(gf.reduce_sum(gf.map_fn(after_a_step, rows)), [weights])
    (unrolled,) = gf.gradients(gf.add_n([after_a_step(rows[i]) for i in range(4)]), [weights])
    values = np.random.RandomState(0).randn(4, 5, 1).astype(np.float32)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        found, wanted = session.run([looped, unrolled], {rows: values})
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_lists_of_outputs_are_the_callers_own() -> None:
    parts = gf.split(gf.constant([[1.0, 2.0], [3.0, 4.0]]), 2, axis=1)
    again = gf.unstack(gf.constant([1.0, 2.0]))
    for made in (parts, again):
        made[0] -= 1.0
    with gf.Session() as session:
        left, first = session.run([gf.concat(parts, 1), again[0]])
    np.testing.assert_array_equal(left, [[0.0, 2.0], [2.0, 4.0]])
    assert first == 0.0
