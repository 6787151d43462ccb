"""Predicted cost, traces and the table of where the time goes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.base import load
from graphflow.timeline import Timeline


def small_net() -> tuple[gf.Tensor, gf.Tensor, gf.Operation]:
    x = gf.placeholder(gf.float32, [None, 64], name="x")
    weights = gf.Variable(np.full((64, 32), 0.01, np.float32), name="weights")
    y = gf.nn.softmax(gf.matmul(x, weights, name="product"))
    loss = gf.reduce_mean(gf.square(y), name="loss")
    return x, loss, gf.train.GradientDescentOptimizer(0.1).minimize(loss)


def test_the_cost_of_a_run_is_known_before_it() -> None:
    x, loss, train = small_net()
    with gf.Session() as session:
        plan = session.plan([loss, train], {x: np.zeros((16, 64), np.float32)})
        with pytest.raises(gf.errors.FailedPreconditionError):  # nothing has run: the variable has no value
            session.run(loss, {x: np.zeros((16, 64), np.float32)})
    products = 2 * (2 * 16 * 64 * 32)  # forward, and the gradient of the weights
    assert products < plan.cost.flops < 1.2 * products
    assert plan.cost.read >= 4 * (16 * 64 + 64 * 32) and plan.cost.written >= 4 * 64 * 32
    text = plan.summary()
    for words in ("predicted 1", "FLOP", "B read", "B written", "peak ", "product("):
        assert words in text, text


def test_costs_grow_with_the_batch() -> None:
    x, loss, _ = small_net()
    with gf.Session() as session:
        costs = [session.plan(loss, {x: np.zeros((n, 64), np.float32)}).cost for n in (8, 16, 64)]
    assert costs[1].flops == pytest.approx(2 * costs[0].flops, rel=0.01)
    assert costs[2].flops == pytest.approx(8 * costs[0].flops, rel=0.01)
    assert costs[0].read < costs[1].read < costs[2].read


def test_a_profile_says_where_the_time_goes() -> None:
    x, loss, train = small_net()
    fed = {x: np.random.RandomState(0).rand(256, 64).astype(np.float32)}
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        profile = gf.profile(session, [loss, train], fed, runs=3)
        plan = session.plan([loss, train], fed)
    assert len(profile.steps) == len(plan.launches)
    assert profile.cost == plan.cost
    product = next(step for step in profile.steps if step.name == "product")
    assert product.type == "MatMul" and product.gflops > 0 and product.gbytes > 0
    assert product.roof == profile.machine.seconds(product.cost)
    assert 0 < product.share < 5
    lines = str(profile).splitlines()
    assert lines[0].split()[:3] == ["ms", "%", "GFLOP/s"]
    assert any("product = MatMul" in line for line in lines)
    assert "medians of 3 runs" in lines[-2] and "GFLOP/s (f32)" in lines[-1]


def test_host_steps_stand_in_the_profile_without_rates() -> None:
    x = gf.placeholder(gf.float32, [4])
    y = gf.py_func(lambda a: a * 2, [x + 1.0], gf.float32, name="mine")
    with gf.Session() as session:
        profile = gf.profile(session, y, {x: np.zeros(4, np.float32)}, runs=2)
    (host,) = (step for step in profile.steps if step.host)
    assert host.name == "mine" and host.gflops == host.share == 0.0
    assert "host" in str(profile)


def test_double_precision_has_a_peak_of_its_own() -> None:
    x = gf.placeholder(gf.float64, [64, 64])
    with gf.Session() as session:
        profile = gf.profile(session, gf.matmul(x, x), {x: np.eye(64)}, runs=1)
    (step,) = profile.steps
    assert step.roof == profile.machine.seconds(step.cost, "f64")


def test_profiles_need_runs_and_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gf.placeholder(gf.float32, [2])
    with pytest.raises(ValueError, match="at least 1"):
        gf.profile(gf.Session(), x + 1.0, {x: [1, 2]}, runs=0)
    monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")
    with pytest.raises(RuntimeError, match="no plan"):
        gf.profile(gf.Session(), x + 1.0, {x: [1, 2]})


def test_the_machine_is_measured_once() -> None:
    backend = load("cpu", 1)
    peak = backend.peak()
    assert peak is backend.peak()
    assert peak.flops["f32"] > 1e8 and peak.flops["f64"] > 1e8 and peak.bytes > 1e8


def test_traces_carry_rates() -> None:
    x = gf.placeholder(gf.float32, [32, 32])
    metadata = gf.RunMetadata()
    with gf.Session() as session:
        options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
        session.run(gf.matmul(x, x), {x: np.eye(32)}, options=options, run_metadata=metadata)
    # The first run of its kind was compiled before.
    stats, compiler = metadata.step_stats.dev_stats
    assert compiler.device.endswith("device:compiler")
    assert [(node.node_name, node.op_end_rel_micros > 0) for node in compiler.node_stats] == [("plan", True)]
    assert any(node.timeline_label.startswith("MatMul: ") for node in stats.node_stats)
    trace = json.loads(Timeline(metadata.step_stats).generate_chrome_trace_format())
    labels = [event["args"]["label"] for event in trace["traceEvents"] if event["ph"] == "X"]
    assert any("GFLOP/s" in label and "GB/s" in label for label in labels)
