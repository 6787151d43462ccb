"""Monitored sessions, hooks, scaffolds, session managers, supervisors; variables that begin as a checkpoint says."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from tests.waiting import until


@pytest.fixture(autouse=True)
def graph() -> Iterator[None]:
    with gf.Graph().as_default():
        yield


def counting_model() -> tuple[Any, Any]:
    """A step that adds one to a weight and the global step."""
    step = gf.train.get_or_create_global_step()
    weight = gf.get_variable("weight", [], initializer=gf.zeros_initializer())
    with gf.control_dependencies([weight.assign_add(1.0)]):
        train = gf.assign_add(step, 1)
    gf.summary.scalar("weight", weight)
    return weight, train


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = str(tmp_path / "model")
    for last in (5, 8):
        with gf.Graph().as_default():
            weight, train = counting_model()
            hooks = [gf.train.StopAtStepHook(last_step=last)]
            with gf.train.MonitoredTrainingSession(
                checkpoint_dir=folder, hooks=hooks, save_checkpoint_steps=2, save_summaries_steps=1
            ) as session:
                begun = session.run(weight)
                while not session.should_stop():
                    session.run(train)
            assert begun == (0 if last == 5 else 5)
    assert gf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-8"
    (events, *_) = sorted(Path(folder).glob("events*"))
    tags = {value.tag for event in gf.train.summary_iterator(events) for value in event.summary.value}
    assert "weight_1" in tags
    assert (Path(folder) / "graph.pbtxt").exists()


class Recorder(gf.train.SessionRunHook):
    def __init__(self, fetch: Any = None, feed: Any = None) -> None:
        self.calls: list[str] = []
        self.fetch, self.feed = fetch, feed

    def begin(self) -> None:
        self.calls.append("begin")

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.calls.append("created")

    def before_run(self, run_context: Any) -> Any:
        self.calls.append("before")
        return gf.train.SessionRunArgs(self.fetch, self.feed)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self.calls.append(f"after {run_values.results}")

    def end(self, session: Any) -> None:
        self.calls.append("end")


def test_hooks_take_part_in_each_run() -> None:
    x = gf.placeholder(gf.int32, [])
    doubled = x * 2
    hook = Recorder(doubled, {x: 4})
    with gf.train.MonitoredSession(hooks=[hook]) as session:
        assert session.run({"x": x}) == {"x": 4}
        with pytest.raises(RuntimeError, match="fed by two"):
            session.run(x, {x: 1})
        with pytest.raises(RuntimeError, match="finalized"):
            gf.constant(1)
    assert hook.calls == ["begin", "created", "before", "after 8", "before", "end"]
    gf.constant(1)  # open again


def test_a_loop_that_raises_ends_without_end_and_one_that_runs_out_ends_well() -> None:
    hook = Recorder()
    with pytest.raises(ValueError, match="mine"):
        with gf.train.SingularMonitoredSession([hook]) as session:
            assert not session.should_stop()
            raise ValueError("mine")
    assert "end" not in hook.calls
    following = gf.data.Dataset.range(3).make_one_shot_iterator().get_next()
    hook = Recorder()
    with gf.train.MonitoredSession(hooks=[hook]) as session:
        while not session.should_stop():
            session.run(following)
    assert hook.calls[-1] == "end"


def test_a_lost_session_is_made_anew() -> None:
    weight, train = counting_model()
    failures = iter([errors.AbortedError(None, None, "gone"), None, None])

    class Losing(gf.train.SessionRunHook):
        def after_run(self, run_context: Any, run_values: Any) -> None:
            error = next(failures)
            if error is not None:
                raise error

    with gf.train.MonitoredSession(hooks=[Losing()]) as session:
        assert session.run(train) == 1  # the first time it was lost, and begun anew
        assert session.run(weight) == 1.0


def test_step_functions() -> None:
    weight, train = counting_model()
    with gf.train.MonitoredSession() as session:

        def step(context: Any) -> Any:
            value = context.session.run(weight)
            if value == 3:
                context.request_stop()
            return context.run_with_hooks(train)

        while not session.should_stop():
            session.run_step_fn(step)


def test_logged_lines(caplog: pytest.LogCaptureFixture) -> None:
    weight, train = counting_model()
    before = gf.logging.get_verbosity()
    gf.logging.set_verbosity(gf.logging.INFO)
    try:
        hooks = [gf.train.LoggingTensorHook({"w": weight.name}, every_n_iter=2, at_end=True)]
        with caplog.at_level(logging.INFO), gf.train.MonitoredSession(hooks=hooks) as session:
            for _ in range(3):
                session.run(train)
    finally:
        gf.logging.set_verbosity(before)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("w =")]
    assert [line.split(" (")[0] for line in lines] == ["w = 0.0", "w = 2.0", "w = 3.0"]


@pytest.mark.parametrize("fails", [True, False])
def test_losses_that_are_no_number(fails: bool) -> None:
    x = gf.placeholder(gf.float32, [])
    hook = gf.train.NanTensorHook(x, fail_on_nan_loss=fails)
    with gf.train.SingularMonitoredSession([hook]) as session:
        session.run(x, {x: 1.0})
        if fails:
            with pytest.raises(gf.train.NanLossDuringTrainingError, match="NaN loss"):
                session.run(x, {x: np.nan})
        else:
            session.run(x, {x: np.nan})
            assert session.should_stop()


def test_other_hooks(tmp_path: Path) -> None:
    weight, train = counting_model()
    x = gf.placeholder_with_default(1.0, [])
    final = gf.train.FinalOpsHook(weight)
    saved: list[tuple[str, int]] = []

    class Listener(gf.train.CheckpointSaverListener):
        def before_save(self, session: Any, global_step_value: int) -> None:
            saved.append(("before", global_step_value))

        def after_save(self, session: Any, global_step_value: int) -> bool:
            saved.append(("after", global_step_value))
            return global_step_value >= 4

    hooks = [
        final,
        gf.train.FeedFnHook(lambda: {x: 7.0}),
        gf.train.GlobalStepWaiterHook(0),
        gf.train.ProfilerHook(save_steps=2, output_dir=str(tmp_path)),
        gf.train.CheckpointSaverHook(
            str(tmp_path), save_steps=2, saver=gf.train.Saver(), listeners=[Listener()]
        ),
    ]
    with gf.train.MonitoredSession(hooks=hooks) as session:
        while not session.should_stop():
            assert session.run([x, train])[0] == 7.0
    assert final.final_ops_values == 4.0
    assert saved == [(when, step) for step in (0, 2, 4) for when in ("before", "after")]
    (trace, *_) = sorted(tmp_path.glob("timeline-*.json"))
    assert json.loads(trace.read_text())["traceEvents"]
    timer = gf.train.SecondOrStepTimer(every_secs=1000)
    assert timer.should_trigger_for_step(1)
    timer.update_last_triggered_step(1)
    assert not timer.should_trigger_for_step(2)
    with pytest.raises(ValueError, match="Exactly one"):
        gf.train.SecondOrStepTimer()


def test_scaffolds() -> None:
    weight = gf.get_variable("w", [], initializer=gf.zeros_initializer())
    local = gf.get_local_variable("l", [], initializer=gf.ones_initializer())

    def init(scaffold: Any, session: Any) -> None:
        session.run(weight.initializer)
        weight.load(5.0, session)

    scaffold = gf.train.Scaffold(init_fn=init)
    with gf.train.MonitoredSession(gf.train.ChiefSessionCreator(scaffold)) as session:
        assert session.run([weight, local]) == [5.0, 1.0]
    assert gf.train.Scaffold(copy_from_scaffold=scaffold).saver is scaffold.saver
    with pytest.raises(TypeError):
        gf.train.Scaffold(copy_from_scaffold=3)  # type: ignore[arg-type]


def test_session_managers_say_what_is_missing(tmp_path: Path) -> None:
    weight = gf.get_variable("w", [], initializer=gf.zeros_initializer())
    manager = gf.train.SessionManager(ready_op=gf.report_uninitialized_variables(), recovery_wait_secs=0.01)
    with pytest.raises(RuntimeError, match="Variables not initialized: w"):
        manager.prepare_session("", init_op=gf.no_op())
    with pytest.raises(ValueError, match="not initialized"):
        manager.prepare_session("")
    with pytest.raises(errors.DeadlineExceededError, match="not ready"):
        manager.wait_for_session("", max_wait_secs=0.0)
    saver = gf.train.Saver()
    with manager.prepare_session("", init_op=weight.assign(3.0)) as session:
        saver.save(session, str(tmp_path / "model"))
    session, restored = manager.recover_session("", saver, str(tmp_path))
    with session:
        assert restored and session.run(weight) == 3.0


def test_supervisors(tmp_path: Path) -> None:
    weight, train = counting_model()
    supervisor = gf.train.Supervisor(logdir=str(tmp_path), save_model_secs=1, save_summaries_secs=1)
    beats: list[float] = []
    with supervisor.managed_session() as session:
        supervisor.loop(0.01, lambda: beats.append(time.time()))
        for _ in range(3):
            if supervisor.should_stop():
                break
            session.run(train)
            time.sleep(0.05)
        supervisor.saver.save(session, supervisor.save_path, global_step=supervisor.global_step)
        until(lambda: len(beats) >= 3)
    assert gf.train.latest_checkpoint(str(tmp_path)) is not None
    with gf.Graph().as_default():
        weight, train = counting_model()
        supervisor = gf.train.Supervisor(logdir=str(tmp_path), summary_op=None)
        with supervisor.managed_session() as session:
            assert session.run(weight) == 3.0
        with pytest.raises(ValueError, match="mine"), supervisor.managed_session() as session:
            raise ValueError("mine")


def test_basic_loops_go_on_in_a_new_session(tmp_path: Path) -> None:
    _, train = counting_model()
    supervisor = gf.train.Supervisor(logdir=None, summary_op=None)
    seen: list[Any] = []

    def step(session: Any, stop_at: int, told: str = "") -> None:
        seen.append((session, session.run(train), told))
        if len(seen) == 2:
            raise gf.errors.AbortedError(None, None, "the machine is gone")
        if len(seen) == stop_at:
            supervisor.request_stop()

    gf.train.basic_train_loop(supervisor, step, [5], {"told": "x"})
    assert len(seen) == 5 and {told for *_, told in seen} == {"x"}
    assert seen[0][0] is seen[1][0] is not seen[2][0] is seen[4][0]


def test_variables_that_begin_as_a_checkpoint_says(tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    with gf.Graph().as_default(), gf.Session() as session:
        with gf.variable_scope("old"):
            gf.get_variable("a", initializer=[1.0, 2.0])
            with gf.variable_scope("inner"):
                gf.get_variable("b", initializer=3)
        gf.get_variable("c", initializer=4.0)
        session.run(gf.global_variables_initializer())
        gf.train.Saver().save(session, path)
    with gf.variable_scope("new"):
        a = gf.get_variable("a", [2])
        with gf.variable_scope("inner"):
            b = gf.get_variable("b", [], gf.int32, initializer=gf.zeros_initializer())
    c = gf.get_variable("see", [])
    d = gf.get_variable("dee", [])
    gf.train.init_from_checkpoint(path, {"old/": "new/", "c": c})
    gf.train.init_from_checkpoint(str(tmp_path), [("c", "dee")])
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        found = session.run([a, b, c, d])
        assert [value.tolist() for value in found] == [[1.0, 2.0], 3, 4.0, 4.0]
    for wrong, text in (
        ({"nothing": c}, "no tensor 'nothing'"),
        ({"old/a": c}, "Shape of variable see:0"),
        ({"old/inner/b": c}, "is float32"),
        ({"c": "dea"}, "nearest: dee"),
        ({"old/": "absent/"}, "scope 'absent'"),
    ):
        with pytest.raises(ValueError, match=text):
            gf.train.init_from_checkpoint(path, wrong)


def test_devices_of_a_cluster() -> None:
    cluster = gf.train.ClusterSpec({"ps": ["a:1", "b:1"], "worker": {1: "c:1"}})
    assert cluster.num_tasks("ps") == 2 and cluster.job_tasks("worker") == [None, "c:1"]
    assert cluster.as_dict() == {"ps": ["a:1", "b:1"], "worker": {1: "c:1"}}
    with pytest.raises(ValueError, match="No such job"):
        cluster.num_tasks("chief")
    assert gf.train.replica_device_setter() is None
    with gf.device(gf.train.replica_device_setter(cluster=cluster)):
        variables = [gf.Variable(1.0) for _ in range(3)]
        product = variables[0] * 2.0
        with gf.device("/cpu:0"):
            other = gf.constant(1.0)
    assert [v.device for v in variables] == [f"/job:ps/task:{i % 2}" for i in range(3)]
    assert product.device == "/job:worker"
    assert other.device == "/job:worker/device:CPU:0"
    assert gf.train.replica_device_setter(1, merge_devices=False, worker_device="/job:w") is not None


def test_a_session_with_hooks_and_nothing_else() -> None:
    class Doubled(gf.train.SessionRunHook):
        seen: Any = None

        def before_run(self, run_context: Any) -> Any:
            return gf.train.SessionRunArgs(double, {feed: 2.0})

        def after_run(self, run_context: Any, run_values: Any) -> None:
            self.seen = run_values.results
            run_context.request_stop()

    feed = gf.placeholder(gf.float32, [])
    double = feed * 2.0
    from graphflow.train.monitored_session import HookedSession

    with gf.Session() as session:
        hook = Doubled()
        hooked = HookedSession(session, [hook])
        assert not hooked.should_stop() and hooked.graph is feed.graph
        assert hooked.run(feed + 1.0) == 3.0 and hook.seen == 4.0 and hooked.should_stop()
        with pytest.raises(RuntimeError, match="Same tensor is fed"):
            hooked.run(double, {feed: 1.0})
