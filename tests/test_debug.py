"""Runs looked into node by node; and planted faults, each of which must be told with the user's line."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

HERE = Path(__file__).name


def line_of(marker: str) -> str:
    """`test_debug.py:N` of the line that holds a comment."""
    source = Path(__file__).read_text().splitlines()
    (found,) = [n for n, text in enumerate(source, 1) if text.endswith(f"# {marker}")]
    return f"{HERE}:{found}"


def five_layers() -> tuple[Any, Any]:
    x = gf.placeholder(gf.float32, [None, 4], name="x")
    hidden = x
    for layer in range(5):
        hidden = gf.layers.dense(hidden, 4, kernel_initializer=gf.ones_initializer(), name=f"layer{layer}")
        if layer == 2:
            hidden = gf.log(hidden - 64.0, name="bad")  # the log of zero
    return x, gf.reduce_mean(gf.square(hidden), name="loss")


@pytest.fixture
def model() -> Any:
    x, loss = five_layers()
    step = gf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        yield session, x, loss, step


BATCH = np.ones((3, 4), np.float32)


def test_the_first_nan_is_blamed_on_its_maker(model: Any) -> None:
    session, x, loss, step = model
    before = session.run("layer0/kernel:0")
    for fetches in (loss, [step, loss]):
        blame = gf.debug.find_nan(session, fetches, {x: BATCH * 0.25})
        assert blame is not None
        assert blame.step.name == "bad" and "logarithm of 12 numbers" in blame.cause
        assert line_of("the log of zero") in str(blame) and "min -48 max -48" in str(blame)
    np.testing.assert_array_equal(session.run("layer0/kernel:0"), before)
    good = gf.debug.find_nan(session, loss, {x: BATCH * 2})
    assert good is None


def test_a_nan_from_outside_is_blamed_on_what_brings_it(model: Any) -> None:
    session, x, loss, step = model
    bad = BATCH * 2
    bad[1, 2] = np.nan
    blame = gf.debug.find_nan(session, [step, loss], {x: bad})
    assert blame is not None and blame.step.outside == "feed"
    assert str(blame).startswith("x (Placeholder) was fed 1 NaN: float32[3,4] min 2") and HERE in str(blame)
    session.run(step, {x: bad})
    blame = gf.debug.find_nan(session, loss, {x: BATCH * 2})
    assert blame is not None and "the variable layer0/kernel had 16 NaN before this run" in str(blame)
    trace = gf.debug.trace(session, loss, {x: BATCH})
    assert np.isnan(trace["layer0/kernel"]).all() and trace["x"].max() == 1


def test_a_trace_has_every_value_and_changes_nothing(model: Any) -> None:
    session, x, loss, step = model
    before = session.run("layer0/kernel:0")
    trace = gf.debug.trace(session, [loss, step], {x: BATCH * 2})
    np.testing.assert_allclose(trace.results[0], session.run(loss, {x: BATCH * 2}), 1e-5)
    np.testing.assert_array_equal(trace["layer1/MatMul"], np.full((3, 4), 32, np.float32))
    np.testing.assert_array_equal(session.run("layer0/kernel:0"), before)
    assert any("Relu" in s.type or s.type == "MatMul" for s in trace.matching("gradients/"))
    assert "layer1/MatMul = MatMul(" in trace.table("layer1") and len(trace.matching("^layer1/MatMul$")) == 1
    with pytest.raises(KeyError, match="near: .*layer1/MatMul"):
        trace["layer1/MatMull"]


@pytest.mark.parametrize("condition", ["nan", "^bad$", lambda step: step.type == "Log", ["error", "nan"]])
def test_it_stops_where_it_is_told(model: Any, condition: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, x, loss, _ = model
    stopped: list[Any] = []

    def hook() -> None:
        frame = sys._getframe(1)
        stopped.append((frame.f_locals["step"].name, frame.f_locals["outputs"][0]))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    gf.debug.trace(session, loss, {x: BATCH}, break_on=condition)
    assert [name for name, _ in stopped] == ["bad"] and np.isneginf(stopped[0][1]).all()


def test_it_stops_at_an_error() -> None:
    index = gf.placeholder(gf.int32, [])
    taken = gf.gather(gf.constant([1.0, 2.0]), index, name="taken")
    stopped: list[Any] = []
    with gf.Session() as session:
        trace = gf.debug.trace(session, taken, {index: 7}, "error", lambda step, trace: stopped.append(step))
        assert isinstance(trace.error, gf.errors.InvalidArgumentError) and stopped[0].inputs[1] == 7
        with pytest.raises(gf.errors.InvalidArgumentError):
            gf.debug.trace(session, taken, {index: 7}, "nan")
    with pytest.raises(TypeError, match="break_on must be"):
        gf.debug.trace(session, taken, {index: 1}, break_on=[3])


def test_loops_are_seen_turn_by_turn() -> None:
    total = gf.while_loop(lambda i, s: i < 4, lambda i, s: (i + 1, s * 2.0), [0, gf.constant(1.0)])[1]
    with gf.Session() as session:
        trace = gf.debug.trace(session, total)
    doubled = [float(step.outputs[0]) for step in trace.steps if step.type == "Mul"]
    assert trace.results == 16 and doubled == [2, 4, 8, 16]


def test_watched_tensors_are_told_at_each_run(model: Any) -> None:
    session, x, loss, _ = model
    lines: list[str] = []
    with gf.debug.watch(session, "layer1/MatMul$", every=2, to=lines.append) as seen:
        for _ in range(4):
            session.run(loss, {x: BATCH * 2})
    session.run(loss, {x: BATCH})
    assert len(lines) == 2 and lines[0].startswith("run 1: layer1/MatMul:0: float32[3,4] min 32")
    assert [s.largest for s in seen["layer1/MatMul:0"]] == [32, 32]


def test_watching_and_recording_nest(model: Any) -> None:
    session, x, loss, _ = model
    lines: list[str] = []
    with gf.debug.record(session) as tape:
        with gf.debug.watch(session, "layer1/MatMul$", to=lines.append):
            session.run(loss, {x: BATCH * 2})
        session.run(loss, {x: BATCH * 2})
    session.run(loss, {x: BATCH * 2})
    assert len(lines) == 1 and len(tape) == 2


def test_recorded_runs_are_run_again_as_they_were() -> None:
    v = gf.Variable(1.0, name="v")
    noise = gf.random_normal([], seed=3)
    x = gf.placeholder(gf.float32, [])
    grown = gf.assign_add(v, noise * x)
    bad = gf.check_numerics(1 / x, "x is zero")
    with gf.Session() as session:
        session.run(v.initializer)
        with gf.debug.record(session, last=3) as tape:
            for value in (1.0, 2.0, 3.0, 4.0):
                session.run(grown, {x: value})
        after = session.run(v)
        assert len(tape) == 3
        for run in tape:
            assert run.trace().results == pytest.approx(run.results)
        with gf.debug.record(session) as tape, pytest.raises(gf.errors.InvalidArgumentError):
            session.run(bad, {x: 0.0})
        assert tape[-1].error is not None
        blame = tape[0].trace("error", lambda step, trace: None).find_nan()
        assert blame is not None and "division by zero" in blame.cause
        assert session.run(v) == after


def test_samples_while_building(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = five_layers()
    first = gf.get_variable("first", initializer=gf.constant([1.0, 2.0]))
    second = gf.get_variable("second", initializer=first.initialized_value() * 3.0)
    count = len(gf.get_default_graph().get_operations())
    assert gf.shape(x).eval_sample(batch=7).tolist() == [7, 4]
    np.testing.assert_array_equal(second.read_value().eval_sample(), [3, 6])
    np.testing.assert_array_equal((x * 2.0).eval_sample({x: BATCH}), BATCH * 2)
    label = gf.placeholder(gf.int64, [None])
    assert gf.one_hot(label, 3).eval_sample().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert gf.reduce_sum(x).eval_sample(seed=1) == gf.reduce_sum(x).eval_sample(seed=1)
    assert len(gf.get_default_graph().get_operations()) > count  # the operations of this test, and no others
    with pytest.raises(gf.errors.InvalidArgumentError, match=HERE):
        gf.gather(first, 9).eval_sample()


def test_a_print_speaks_whether_or_not_it_is_used(capfd: pytest.CaptureFixture[str]) -> None:
    x = gf.placeholder(gf.float32, [])
    loss = x * 2.0
    gf.Print(loss, [loss], "loss is ")
    other = x + 1.0
    with gf.Session() as session:
        assert session.run(loss, {x: 3.0}) == 6
        assert capfd.readouterr().err.strip() == "loss is [6]"
        session.run(other, {x: 3.0})
        assert capfd.readouterr().err == ""


def test_programs_may_wrap_their_session(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, x, loss, _ = model
    stops: list[str] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: stops.append(sys._getframe(1).f_locals["step"].name))
    wrapped = gf.python.debug.LocalCLIDebugWrapperSession(session)
    wrapped.add_tensor_filter("has_inf_or_nan", gf.python.debug.has_inf_or_nan)
    assert np.isinf(wrapped.run(loss, {x: BATCH})) and stops[0] == "bad" and wrapped.graph is session.graph


# ------------------------------------------------------------------------- planted faults


def unfed() -> None:
    x = gf.placeholder(gf.float32, [3])  # unfed
    with gf.Session() as session:
        session.run(x + 1.0)


def wrong_shape_in_a_scope() -> None:
    with gf.variable_scope("encoder"):
        gf.matmul(gf.ones([2, 3]), gf.ones([4, 5]))  # wrong_shape_in_a_scope


def reused_variable() -> None:
    gf.get_variable("w", [2])  # reused_variable
    gf.get_variable("w", [2])


def variable_of_another_shape() -> None:
    gf.get_variable("w", [2])  # variable_of_another_shape
    with gf.variable_scope("", reuse=True):
        gf.get_variable("w", [3])


def missing_checkpoint_key(folder: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        gf.get_variable("old", [2])
        session.run(gf.global_variables_initializer())
        path = gf.train.Saver().save(session, str(folder / "m"))
    gf.get_variable("older", [2])  # missing_checkpoint_key
    with gf.Session() as session:
        gf.train.Saver().restore(session, path)


def uninitialized() -> None:
    v = gf.get_variable("v", [2])  # uninitialized
    with gf.Session() as session:
        session.run(v)


def index_out_of_range() -> None:
    x = gf.placeholder(gf.int32, [2])
    y = gf.gather(gf.ones([3]), x)  # index_out_of_range
    with gf.Session() as session:
        session.run(y, {x: [0, 5]})


def wrong_dtype() -> None:
    x = gf.placeholder(gf.int32, [2], name="counts")
    gf.add(x, gf.ones([2]))  # wrong_dtype


def wrong_feed() -> None:
    x = gf.placeholder(gf.float32, [None, 3])  # wrong_feed
    with gf.Session() as session:
        session.run(x + 1.0, {x: np.ones((2, 4))})


def of_another_graph() -> None:
    with gf.Graph().as_default():
        x = gf.ones([2])  # of_another_graph
    gf.add(x, gf.ones([2]))


def sizes_that_do_not_meet() -> None:
    x = gf.placeholder(gf.float32, [None])
    y = gf.placeholder(gf.float32, [None])
    z = x + y  # sizes_that_do_not_meet
    with gf.Session() as session:
        session.run(z, {x: np.ones(2), y: np.ones(3)})


def a_failing_assertion() -> None:
    x = gf.placeholder(gf.float32, [])
    with gf.control_dependencies([gf.assert_positive(x)]):  # a_failing_assertion
        y = gf.identity(x)
    with gf.Session() as session:
        session.run(y, {x: -1.0})


def an_error_in_python() -> None:
    def fails(x: Any) -> Any:
        raise ZeroDivisionError("no good")

    y = gf.py_func(fails, [1.0], gf.float32)  # an_error_in_python
    with gf.Session() as session:
        session.run(y)


def a_channel_too_many_in_a_scope() -> None:
    with gf.variable_scope("encoder"):
        images = gf.zeros([1, 8, 8, 3])
        gf.nn.conv2d(images, gf.zeros([3, 3, 4, 8]), [1, 1, 1, 1], "SAME")  # a_channel_too_many_in_a_scope


def label_too_great() -> None:
    labels, logits = gf.placeholder(gf.int32, [None]), gf.zeros([2, 3])
    softmax = gf.nn.sparse_softmax_cross_entropy_with_logits
    loss = softmax(labels=labels, logits=logits)  # label_too_great
    with gf.Session() as session:
        session.run(loss, {labels: [0, 5]})


def slots_made_after_the_initializer() -> None:
    v = gf.get_variable("v", initializer=1.0)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        step = gf.train.AdamOptimizer().minimize(v)  # slots_made_after_the_initializer
        session.run(step)


def elements_that_do_not_fit_the_shape() -> None:
    x = gf.placeholder(gf.float32, [None, 5])
    y = gf.reshape(x, [-1, 4])  # elements_that_do_not_fit_the_shape
    with gf.Session() as session:
        session.run(y, {x: np.zeros((3, 5))})


def a_loop_that_changes_its_dtype() -> None:
    start = gf.zeros([1])

    def turn(i: Any, a: Any) -> Any:
        return i + 1, gf.cast(a, gf.float64)  # a_loop_that_changes_its_dtype

    gf.while_loop(lambda i, a: i < 3, turn, [0, start])


def a_finished_graph_that_grows() -> None:
    x = gf.constant(1.0)
    gf.get_default_graph().finalize()
    gf.negative(x)  # a_finished_graph_that_grows


def a_tensor_as_a_condition() -> None:
    x = gf.placeholder(gf.float32, [])
    if x > 0:  # a_tensor_as_a_condition
        raise AssertionError


def an_input_that_ends() -> None:
    x = gf.data.Dataset.range(1).make_one_shot_iterator().get_next()  # an_input_that_ends
    with gf.Session() as session:
        for _ in range(2):
            session.run(x)


def a_queue_that_is_closed() -> None:
    queue = gf.FIFOQueue(2, [gf.float32])
    one = queue.dequeue()  # a_queue_that_is_closed
    with gf.Session() as session:
        session.run(queue.close())
        session.run(one)


def a_checked_number_is_none() -> None:
    x = gf.placeholder(gf.float32, [])
    y = gf.check_numerics(gf.log(x), "the log")  # a_checked_number_is_none
    with gf.Session() as session:
        session.run(y, {x: -1.0})


def the_other_branch_of_another_type() -> None:
    x = gf.constant(True)
    gf.cond(x, lambda: gf.constant(1.0), lambda: gf.constant(2))  # the_other_branch_of_another_type


def checkpoint_of_another_shape(folder: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        gf.get_variable("w", [2])
        session.run(gf.global_variables_initializer())
        path = gf.train.Saver().save(session, str(folder / "m"))
    gf.get_variable("w", [3])  # checkpoint_of_another_shape
    with gf.Session() as session:
        gf.train.Saver().restore(session, path)


FAULTS: list[Callable[..., None]] = [
    unfed, wrong_shape_in_a_scope, reused_variable, variable_of_another_shape, missing_checkpoint_key, uninitialized,
    index_out_of_range, wrong_dtype, wrong_feed, of_another_graph, sizes_that_do_not_meet, a_failing_assertion,
    an_error_in_python, a_channel_too_many_in_a_scope, label_too_great, slots_made_after_the_initializer,
    elements_that_do_not_fit_the_shape, a_loop_that_changes_its_dtype, a_finished_graph_that_grows,
    a_tensor_as_a_condition, an_input_that_ends, a_queue_that_is_closed, a_checked_number_is_none,
    the_other_branch_of_another_type, checkpoint_of_another_shape,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_culprit_line_is_named(fault: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:
        fault(*([tmp_path] if "checkpoint" in fault.__name__ else []))
    place = line_of(fault.__name__)
    text = str(caught.value).replace('", line ', ":")
    own = [entry for entry in caught.traceback if Path(str(entry.path)).name == HERE]
    raised_at = f"{HERE}:{own[-1].lineno + 1}"
    assert place in text or place == raised_at, f"{place} is not in: {caught.value}"


def test_a_loop_that_adds_operations_is_told_with_its_line() -> None:
    x = gf.placeholder(gf.float32, [])
    with gf.Session() as session, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turn in range(60):
            session.run(x + float(turn), {x: 1.0})  # grows
    assert any(line_of("grows") in str(warning.message) for warning in caught)


def test_a_session_of_another_graph_in_a_thread_says_so() -> None:
    with gf.Graph().as_default():
        y = gf.constant(1.0, name="y") * 2.0
    told = []

    def serve() -> None:
        with gf.Session() as session:
            try:
                session.run([y])
            except RuntimeError as error:
                told.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert "graph is empty" in told[0] and "'mul:0' stands in another graph" in told[0]


def test_a_seed_that_comes_too_late_is_told() -> None:
    gf.random_normal([2], name="early")  # early
    with pytest.warns(RuntimeWarning, match="1 random operations.*early") as caught:
        gf.set_random_seed(3)
    assert line_of("early") in str(caught[0].message)
    with gf.Graph().as_default():
        gf.random_normal([2], seed=1)
        gf.set_random_seed(3)  # all have seeds: nothing to tell


def test_names_and_orders_of_old() -> None:
    with pytest.raises(AttributeError, match="did you mean graphflow.contrib.layers.fully_connected"):
        _ = gf.contrib.layers.fully_conected
    with pytest.raises(AttributeError) as caught:
        _ = gf.nn.sofmax
    assert str(caught.value).endswith("did you mean graphflow.nn.softmax?")
    with pytest.raises(TypeError, match=r"concat\(values, 1\)"):
        gf.concat(1, [gf.zeros([2, 2]), gf.zeros([2, 2])])
