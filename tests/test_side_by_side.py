"""`GRAPHFLOW_VERIFY=1`: right code passes, wrong code is found and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.lowering import lower as lowering
from graphflow.lowering.kernels import Result
from graphflow.opdef import get_op
from graphflow.optimizer_passes import simplify
from graphflow.program import Node, ProgramBuilder, Value
from graphflow.side_by_side import difference


@pytest.fixture(autouse=True)
def _verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")


def rows(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randn(*shape).astype(np.float32)


def broken_scalar(monkeypatch: pytest.MonkeyPatch, op_type: str, wrong: Callable[..., Any]) -> None:
    """Replaces an op's scalar body by another one."""
    monkeypatch.setattr(get_op(op_type), "scalar", wrong)


def test_training_steps_pass() -> None:
    x = gf.placeholder(gf.float32, [None, 8])
    labels = gf.placeholder(gf.int32, [None])
    weights = gf.Variable(rows(8, 16))
    bias = gf.Variable(np.zeros(16, np.float32))
    kept = gf.nn.dropout(gf.nn.relu(gf.matmul(x, weights) + bias), keep_prob=0.5, seed=3)
    logits = gf.matmul(kept, gf.Variable(rows(16, 3)))
    loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    train = gf.train.AdamOptimizer(0.01).minimize(loss)
    best = gf.argmax(logits, 1)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        losses = [
            session.run([loss, best, train], {x: rows(n, 8), labels: np.arange(n) % 3})[0]
            for n in (5, 5, 9, 1)
        ]
    assert np.isfinite(losses).all()


def test_random_numbers_are_drawn_once() -> None:
    with gf.Session() as session:
        draw = gf.random_uniform([4])
        first, second = session.run(draw), session.run(draw)
    assert not np.array_equal(first, second)


def test_what_acts_on_the_world_acts_once() -> None:
    calls = []

    def count(x: np.ndarray) -> np.ndarray:
        calls.append(len(calls))
        return x + np.float32(len(calls))

    x = gf.placeholder(gf.float32, [3])
    y = gf.py_func(count, [x * 2.0], gf.float32) * 3.0
    with gf.Session() as session:
        assert session.run(y, {x: [0, 0, 0]}).tolist() == [3.0, 3.0, 3.0]
        assert session.run(y, {x: [0, 0, 0]}).tolist() == [6.0, 6.0, 6.0]
    assert calls == [0, 1]


def test_the_first_wrong_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_scalar(
        monkeypatch,
        "Softplus",
        lambda b, x: b.add(b.log1p(b.exp(x)), b.select(b.gt(x, 1.0), b.const(0.25, x.dtype), 0.0)),
    )
    x = gf.placeholder(gf.float32, [4, 5], name="x")
    inner = gf.nn.softplus(gf.tanh(x, name="before") * 3.0, name="culprit")
    y = gf.reduce_sum(gf.exp(-inner, name="after"), axis=1)
    fed = np.linspace(-1, 1, 20).reshape(4, 5).astype(np.float32)
    with gf.Session() as session, pytest.raises(gf.errors.InternalError) as caught:
        session.run(y, {x: fed})
    text = str(caught.value)
    assert "culprit = Softplus(float32[4,5])" in text and "test_side_by_side.py" in text
    assert "largest error 0.25" in text and "at [" in text
    assert caught.value.op.name == "culprit"
    assert "before" not in text and "after" not in text


def test_wrong_new_states_of_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = get_op("ResourceApplyGradientDescent").scalar
    assert right is not None
    broken_scalar(
        monkeypatch,
        "ResourceApplyGradientDescent",
        lambda b, var, alpha, delta: b.sub(var, b.mul(alpha, b.abs(delta))),
    )
    weights = gf.Variable([1.0, -1.0], name="weights")
    train = gf.train.GradientDescentOptimizer(0.1).minimize(gf.reduce_sum(weights * weights))
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.InternalError, match="ResourceApplyGradientDescent"):
            session.run(train)


def test_an_error_that_only_fusion_makes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lowering.body_of

    def wrong(group: Any, fusion: Any, results: Any, *streamed: Any) -> Any:
        body = right(group, fusion, results, *streamed)
        if len(group.nodes) > 1 and len(body.results) == 1:
            (result,) = body.results
            body.results[0] = Result(result.value, body.builder.mul(result.expr, 1.5), result.inner)
        return body

    monkeypatch.setattr(lowering, "body_of", wrong)
    x = gf.placeholder(gf.float32, [6])
    y = gf.exp(gf.sin(x) + 1.0, name="last")
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InternalError, match=r"only where kernels are fused") as caught,
    ):
        session.run(y, {x: np.arange(6)})
    assert "last = Exp" in str(caught.value)


def test_a_wrong_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_sum(b: ProgramBuilder, node: Node) -> Value:
        return b.emit("AddV2", *node.inputs)

    broken = simplify.RuleSet()
    broken.rule("Mul")(to_sum)

    def wrong(program: Any, counts: Counter[str]) -> Any:
        return broken.apply(program, counts)

    from graphflow.optimizer_passes import pipeline

    steps = [
        type(step)(step.name, wrong if step.name == "simplify" else step.run, step.reason)
        for step in pipeline.OPEN
    ]
    monkeypatch.setattr("graphflow.compiler.OPEN", tuple(steps))
    x = gf.placeholder(gf.float32, [3])
    y = gf.tanh(gf.identity(x * x, name="product"), name="end")
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InternalError, match="since pass simplify") as caught,
    ):
        session.run(y, {x: [1, 2, 3]})
    assert "mul = AddV2(float32[3], float32[3])" in str(caught.value)


def test_differences_of_arrays() -> None:
    nan, inf = np.nan, np.inf
    same = np.array([1.0, nan, inf, -inf, 0.0], np.float32)
    assert difference(same, same.copy()) is None
    assert difference(same, -same) is not None
    found = difference(np.array([[1, 2], [3, 4.5]], np.float32), np.array([[1, 2], [3, 4]], np.float32))
    assert found is not None and found.place == (1, 1) and found.error == 0.5 and found.count == 1
    assert difference(np.float32([1.0]), np.float32([1.0 + 1e-6])) is None
    assert difference(np.array([1.0]), np.array([1.0 + 1e-6])) is not None  # float64 is held to more
    assert difference(np.float32([1e-9]), np.float32([0.0])) is not None
    assert (
        difference(np.float32([1e-9]), np.float32([0.0]), 0, [np.float32([1.0])]) is None
    )  # of cancelled ones
    assert difference(np.array([1, 2]), np.array([1, 3])) is not None
    assert difference(np.array([1, 2]), np.array([1, 2], np.int32)) is not None
    assert difference(np.array([b"a"], object), np.array([b"a"], object)) is None
    assert difference(np.array([b"a"], object), np.array([b"b"], object)) is not None
    assert difference(np.empty((0, 3)), np.empty((0, 3))) is None
    assert difference(np.complex64([1 + 1j]), np.complex64([1 - 1j])) is not None
