"""Recomputing instead of keeping: less memory, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks.peers import tf1_programs
from graphflow.compiler import CompileOptions
from graphflow.optimizer_passes.rematerialize import AGAIN
from graphflow.plan import Plan
from graphflow.program import Program

Build = Callable[[], tuple[Any, dict[gf.Tensor, np.ndarray]]]


def run(build: Build, budget: int | None) -> tuple[list[np.ndarray], Plan, dict[str, int], Program | None]:
    """Results of a step and the variables after it, its plan, and what the pass reports."""
    gf.reset_default_graph()
    gf.set_random_seed(7)
    fetches, feeds = build()
    with gf.Session(compile_options=CompileOptions(memory_budget=budget)) as session:
        session.run(gf.global_variables_initializer())
        plan = session.plan(fetches, feeds)
        reports = [
            report
            for executable in session._executables.values()
            for bound in executable._bound.values()  # type: ignore[attr-defined]
            if bound.plan is plan
            for report in bound.reports
            if report.name == "rematerialize"
        ]
        results = [np.asarray(value) for value in session.run(fetches, feeds) if value is not None]
        results += session.run(gf.trainable_variables())
    report = reports[0] if reports else None
    return results, plan, report.counts if report else {}, report.after if report else None


def deep_chain() -> tuple[Any, dict[gf.Tensor, np.ndarray]]:
    """Products between sums, and functions whose gradients want their results: nothing may be contracted anew."""
    x = gf.placeholder(gf.float32, [64, 257])
    weights = gf.Variable(np.random.RandomState(1).rand(64, 257).astype(np.float32))
    h = x * weights
    for layer in range(120):
        h = (gf.sin(h) if layer % 3 else gf.tanh(h * 1.5 + 0.25)) if layer % 5 else h * h + 0.5
    loss = gf.reduce_sum(h * h)
    train = gf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return [loss, train], {x: np.random.RandomState(0).rand(64, 257).astype(np.float32)}


def lenet() -> tuple[Any, dict[gf.Tensor, np.ndarray]]:
    """The benchmark's training step."""
    found = []

    class Programs(tf1_programs.Programs):
        def _function(self, fetches: Any, feeds: list[Any], arguments: Any, *more: Any) -> Any:
            found.append((fetches, dict(zip(feeds, arguments(), strict=True))))
            return lambda: [0]

    Programs(gf, 2).lenet()
    return found[0]


def test_a_deep_chain_takes_less_than_half() -> None:
    kept, plan, _, _ = run(deep_chain, None)
    half = plan.arena_bytes // 2
    again, smaller, counts, after = run(deep_chain, half)
    assert smaller.arena_bytes <= half
    assert counts["bytes before"] == plan.arena_bytes and counts["bytes after"] == smaller.arena_bytes
    assert counts["values computed again"] > 0
    assert after is not None and any(AGAIN in node.attrs for node in after.nodes)
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_more_is_computed_again_than_the_budget_asks_for() -> None:
    _, plan, _, _ = run(deep_chain, None)
    _, _, little, _ = run(deep_chain, int(0.9 * plan.arena_bytes))
    _, _, much, _ = run(deep_chain, plan.arena_bytes // 2)
    assert 0 < little["values computed again"] <= much["values computed again"]


def test_lenet_takes_less_and_learns_the_same() -> None:
    kept, plan, _, _ = run(lenet, None)
    again, smaller, counts, _ = run(lenet, 0)
    assert smaller.arena_bytes == counts["bytes after"] < 0.96 * plan.arena_bytes
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_within_the_budget_nothing_changes() -> None:
    _, plan, _, _ = run(deep_chain, None)
    _, same, counts, _ = run(deep_chain, plan.arena_bytes)
    assert same.arena_bytes == plan.arena_bytes and "values computed again" not in counts


def test_nothing_random_is_drawn_twice() -> None:
    def dropout() -> tuple[Any, dict[gf.Tensor, np.ndarray]]:
        x = gf.placeholder(gf.float32, [64, 128])
        h = x
        for _ in range(6):
            square = gf.Variable(np.eye(128, dtype=np.float32) + 0.01)
            h = gf.nn.dropout(gf.tanh(gf.matmul(h, square)), keep_prob=0.8)
        loss = gf.reduce_sum(h * h)
        return [loss, gf.train.GradientDescentOptimizer(0.01).minimize(loss)], {
            x: np.ones((64, 128), np.float32)
        }

    kept, plan, _, _ = run(dropout, None)
    again, smaller, counts, after = run(dropout, 0)
    assert after is not None and smaller.arena_bytes <= plan.arena_bytes
    assert not any(node.op_def.effects and AGAIN in node.attrs for node in after.nodes)
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_pass_can_be_left_out_by_name() -> None:
    gf.reset_default_graph()
    fetches, feeds = deep_chain()
    options = CompileOptions(memory_budget=0, disabled_passes={"rematerialize"})
    with gf.Session(compile_options=options) as session:
        plan = session.plan(fetches, feeds)
    assert plan.arena_bytes == run(deep_chain, None)[1].arena_bytes


@pytest.mark.parametrize("budget", [None, 0])
def test_verification_agrees(budget: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    assert np.isfinite(run(deep_chain, budget)[0][0])
