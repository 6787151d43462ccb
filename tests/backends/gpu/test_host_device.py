"""The steps of plans for GPUs, on the processor: what they compute is what the graph says, node by node."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu.host_device import HostArray
from graphflow.backends.gpu.plan import DevicePlan
from tests.backends.gpu.models import MODELS, Trained, feeds_of

STEPS = 4


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_as_the_graph_says(name: str) -> None:
    feeds = feeds_of(name, STEPS)
    model = Trained(name, 0)
    session, fetches = model.session, [model.loss, model.step]
    wanted = [
        session.interpreted(fetches, model.feed(feeds, i), state=session._state)[0] for i in range(STEPS)
    ]
    then = model.values()
    session.close()
    model = Trained(name, 1)
    session, fetches = model.session, [model.loss, model.step]
    assert isinstance(session.plan(fetches, model.feed(feeds, 0)), DevicePlan)
    losses = [session.run(fetches, model.feed(feeds, i))[0] for i in range(STEPS)]
    np.testing.assert_allclose(losses, wanted, rtol=2e-5)
    for ours, theirs in zip(model.values(), then, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)


def test_run_steps_is_a_loop_of_runs() -> None:
    feeds = feeds_of("softmax_regression", STEPS)
    for gpus in (0, 1):
        one = Trained("softmax_regression", gpus)
        losses = [one.session.run([one.loss, one.step], one.feed(feeds, i))[0] for i in range(STEPS)]
        values = one.values()
        many = Trained("softmax_regression", gpus)
        got, nothing = many.session.run_steps(
            [many.loss, many.step], STEPS, dict(zip(many.keys, feeds, strict=True))
        )
        assert nothing is None
        np.testing.assert_array_equal(got, losses)
        for a, b in zip(many.values(), values, strict=True):
            np.testing.assert_array_equal(a, b)
        with pytest.raises(ValueError, match="needs 3 rows"):
            many.session.run_steps(many.loss, 3, dict(zip(many.keys, feeds, strict=True)))


def test_variables_are_the_same_here_and_there() -> None:
    v = gf.Variable([1.0, 2.0, 3.0])
    double = v.assign(v * 2.0)
    with gf.device("/cpu:0"):
        there = gf.Variable([1.0, 1.0, 1.0])
        add = there.assign_add(v)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(double)
        session.run(double.op)
        assert session.variable_value(v).tolist() == [4.0, 8.0, 12.0]
        session.load_variable(v, [1.0, 1.0, 1.0])
        session.run(double.op)
        assert session.run(v).tolist() == [2.0, 2.0, 2.0]
        assert session.run(add).tolist() == [3.0, 3.0, 3.0]
        assert session.run([double, v])[0].tolist() == [4.0, 4.0, 4.0]


def test_arrays_of_the_device_go_in_and_out() -> None:
    x = gf.placeholder(gf.float32, [None, 2])
    y = x * 2.0 + 1.0
    with gf.Session() as session:
        first = session.run(y, {x: [[1.0, 2.0]]}, device_outputs=True)
        assert isinstance(first, HostArray)
        second = session.run(y, {x: first}, device_outputs=True)
        assert session.run(y, {x: second}).tolist() == [[15.0, 23.0]]
        with gf.device("/cpu:0"):
            z = gf.square(x)
        assert session.run(z, {x: second}).tolist() == [[49.0, 121.0]]


def test_what_is_placed_on_the_processor_runs_there() -> None:
    x = gf.placeholder(gf.float32, [3])
    with gf.device("/gpu:0"):
        a = gf.exp(x)
    with gf.device("/cpu:0"):
        b = a + 1.0
    with gf.device("/gpu:0"):
        c = b * b
    with gf.Session() as session:
        np.testing.assert_allclose(
            session.run(c, {x: [0.0, 1.0, 2.0]}), (np.exp([0.0, 1.0, 2.0]) + 1) ** 2, rtol=1e-5
        )
        hosts = [
            step.name
            for step in session.plan(c, {x: [0.0] * 3}).device_steps
            if type(step).__name__ == "HostCall"
        ]
        assert hosts == [b.op.name]
        names = [device.name for device in session.list_devices()]
        assert [name.rpartition("device:")[2] for name in names] == ["CPU:0", "GPU:0"]


def test_what_the_processor_does_of_a_mixed_graph_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = gf.placeholder(gf.float32, [None, 8]), gf.Variable(np.full((8, 8), 0.1, np.float32))
    with gf.device("/gpu:0"):
        a = gf.exp(gf.matmul(x, w))
    with gf.device("/cpu:0"):
        b = gf.tanh(a) + 1.0
        _, turned = gf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 0.5 + b), [0, b])
        d = gf.reduce_sum(turned @ gf.ones([8, 4]), 1, keepdims=True)
    with gf.device("/gpu:0"):
        e = a * 2.0
    with gf.device("/cpu:0"):
        f = gf.exp(-b) + gf.reduce_max(x)
    with gf.device("/gpu:0"):
        g = d * e + f
    rows = np.random.RandomState(0).rand(5, 8)
    with gf.Session(config=gf.ConfigProto(device_count={"GPU": 0})) as session:
        session.run(gf.global_variables_initializer())
        wanted = [session.run(g, {x: rows[:count]}) for count in (5, 3)]

    def interpreted(node: object, *_: object) -> None:
        raise AssertionError(f"{node} ran as its NumPy body")

    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        monkeypatch.setattr("graphflow.lowering.lower.run_node", interpreted)
        for count, row in zip((5, 3), wanted, strict=True):
            np.testing.assert_allclose(session.run(g, {x: rows[:count]}), row, rtol=1e-5)
        plan = session.plan(g, {x: rows})
        assert isinstance(plan, DevicePlan)
        # One part for all of it: one value comes home, two go back; the feed is there already.
        assert [type(step).__name__ for step in plan.device_steps].count("HostCall") == 1
        assert plan.crossings == (3, 4 * (5 * 8 + 5 + 5 * 8))
        assert "3 values of 340 B go to and from host steps" in plan.summary()


def test_a_bad_index_is_refused_before_variables_change() -> None:
    table = gf.Variable(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    ids = gf.placeholder(gf.int32, [2])
    loss = gf.reduce_sum(gf.nn.embedding_lookup(table, ids))
    train = gf.train.GradientDescentOptimizer(1.0).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for _ in range(3):
            with pytest.raises(gf.errors.InvalidArgumentError, match="is not in"):
                session.run(train, {ids: [0, 7]})
        assert session.run(table).tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
        session.run(train, {ids: [0, 2]})
        assert session.run(table).tolist() == [[-1.0, 0.0], [2.0, 3.0], [3.0, 4.0]]


def test_placement_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    three = gf.constant(3.0)
    with gf.device("/gpu:3"):
        x = gf.square(three, name="far")
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InvalidArgumentError, match="Cannot assign a device.*far"),
    ):
        session.run(x)
    config = gf.ConfigProto(allow_soft_placement=True, log_device_placement=True)
    with gf.Session(config=config) as session:
        assert session.run(x) == 9.0
    assert "far: (Square): /job:localhost/replica:0/task:0/device:GPU:0" in capsys.readouterr().err
    monkeypatch.setenv("GRAPHFLOW_GPU", "off")
    caplog.clear()
    with gf.Session() as session:
        assert session.run([x, three]) == [9.0, 3.0]
        assert session.run(x) == 9.0
    assert [record.message.partition(" and runs")[0] for record in caplog.records] == [
        f"far is assigned to /device:GPU:3 (made at {x.op.user_line})"
    ]
    caplog.clear()
    with gf.Session(config=config) as session:
        assert session.run(x) == 9.0
    assert not caplog.records


def test_memory_is_refused_with_what_is_large() -> None:
    big = gf.Variable(gf.ones([1 << 20]), name="big")
    total = gf.reduce_sum(big * gf.random.uniform([1 << 20]))
    options = gf.GPUOptions(per_process_gpu_memory_fraction=1e-4)
    with gf.Session(config=gf.ConfigProto(gpu_options=options)) as session:
        with pytest.raises(gf.errors.ResourceExhaustedError, match=r"1\.64 MiB that this session(.|\n)*big"):
            session.run(big.initializer)
        session.run(gf.constant(1.0) + 1.0)
    del total


def test_a_failing_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphflow.backends.gpu.host_device import HostDevice

    def broken(*_: object) -> None:
        raise OSError("an illegal address")

    x = gf.placeholder(gf.float32, [2, 2])
    y = gf.matmul(x, x, name="product")
    monkeypatch.setattr(HostDevice, "gemm", broken)
    monkeypatch.setenv("GRAPHFLOW_GPU_SYNC", "1")
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InternalError, match="product failed on the device"),
    ):
        session.run(y, {x: np.eye(2)})


def test_timelines_and_profiles_are_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gf.placeholder(gf.float32, [8, 8])
    v = gf.Variable(gf.ones([8, 8]))
    with gf.device("/cpu:0"):
        there = gf.nn.softmax(gf.matmul(x, v, name="product"), name="there")
    fetches = [v.assign_add(there).op, gf.reduce_sum(there)]
    options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
    for kind in ("host", "recording"):
        monkeypatch.setenv("GRAPHFLOW_GPU", kind)
        with gf.Session() as session:
            session.load_variable(v, np.ones((8, 8), np.float32))
            wanted = fetches if kind == "host" else v.assign_add(gf.exp(gf.matmul(v, v, name="product"))).op
            feed = {x: np.eye(8)} if kind == "host" else {}
            told = [gf.RunMetadata() for _ in range(2)]
            for metadata in told:
                session.run(wanted, feed, options, metadata)
            first, second = (
                {d.device.rpartition("device:")[2]: d for d in m.step_stats.dev_stats} for m in told
            )
            assert set(second) == {"CPU:0", "GPU:0"} and set(first) == {*second, "compiler"}
            assert {node.node_name for node in first["compiler"].node_stats} == {"kernels", "plan"}
            names = [node.node_name for node in second["GPU:0"].node_stats]
            assert any(name.startswith("product") for name in names)
            if kind == "host":
                table = str(gf.profile(session, wanted, feed, runs=2))
                assert "product" in table and "GFLOP/s" in table
            else:  # each point in time is a microsecond after the one before
                assert {node.op_end_rel_micros for node in second["GPU:0"].node_stats} == {1}
