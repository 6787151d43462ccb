"""Session: fetches, feeds, plans kept, threads, life and limits."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphflow as gf
from graphflow import dtypes, errors, ops
from graphflow.compiler import CompileOptions
from graphflow.graph import Graph, IndexedSlices, get_default_graph, get_default_session
from graphflow.opdef import constant, emit
from graphflow.ops.control import py_func
from graphflow.ops.source import placeholder
from graphflow.serialization.proto import config_pb2
from graphflow.session import _GROWTHS_BEFORE_WARNING, InteractiveSession, Session, _Gate
from graphflow.timeline import Timeline
from graphflow.variables import Variable, assign_add, global_variables_initializer

assert ops


class Pair(NamedTuple):
    first: Any
    second: Any


def test_fetches_keep_their_structure() -> None:
    a, b = constant(2.0, name="a"), constant([1, 2], name="b")
    nothing = emit.NoOp()
    with Session() as sess:
        result = sess.run(
            {
                "pair": Pair(a, [b, None]),
                "plain": (a, "b:0"),
                "op": nothing,
                "order": collections.OrderedDict(z=a),
            }
        )
        assert isinstance(result["pair"], Pair)
        assert result["pair"].first == np.float32(2)
        assert isinstance(result["pair"].first, np.float32)
        assert result["pair"].second[0].tolist() == [1, 2]
        assert result["pair"].second[1] is None
        assert isinstance(result["plain"], tuple)
        assert result["op"] is None
        assert isinstance(result["order"], collections.OrderedDict)
        assert sess.run([]) == []
        assert sess.run([nothing]) == [None]
        assert sess.run(nothing) is None


def test_named_tuples_and_tuples_of_equal_content_are_told_apart() -> None:
    a, b = constant(1), constant(2)
    with Session() as sess:
        for _ in range(2):
            assert type(sess.run((a, b))) is tuple
            assert type(sess.run(Pair(a, b))) is Pair
            assert type(sess.run([a, b])) is list
            assert type(sess.run([(a, b)])[0]) is tuple
            assert type(sess.run([Pair(a, b)])[0]) is Pair


def test_indexed_slices_are_fetched_as_arrays() -> None:
    slices = IndexedSlices(constant([[1.0], [2.0]]), constant([3, 1]), constant([5, 1]))
    with Session() as sess:
        values, indices, shape = sess.run(slices)
        assert values.tolist() == [[1.0], [2.0]]
        assert indices.tolist() == [3, 1]
        assert shape.tolist() == [5, 1]


def test_any_tensor_is_fed_and_feeds_are_converted() -> None:
    x = placeholder(dtypes.float32, [None, 2], name="x")
    middle = emit.Mul(x, 2.0)
    y = emit.AddV2(middle, 1.0)
    with Session() as sess:
        assert sess.run(y, {x: [[1, 2]]}).tolist() == [[3.0, 5.0]]
        assert sess.run(y, {"x:0": np.ones((3, 2), np.float64)}).shape == (3, 2)
        assert sess.run(y, {middle: np.zeros((1, 2), np.float32)}).tolist() == [[1.0, 1.0]]
        assert sess.run([x, y], {x: [[1, 2]]})[0].tolist() == [[1.0, 2.0]]
        strided = np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2]
        assert sess.run(y, {x: strided}).tolist() == [[1.0, 5.0], [9.0, 13.0]]
        assert sess.run(y, {(x,): ([[0, 0]],)}).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    "value", [[1.5, 2.0], [np.nan, 0.0], np.array([1, 2**40]), [2**70, 0], [-(2.0**33), 0.0]]
)
def test_feeds_of_integers_keep_their_values_or_are_refused(value: Any) -> None:
    x = placeholder(dtypes.int32, [2], name="x")
    with Session() as sess:
        assert sess.run(emit.Identity(x), {x: np.array([1.0, -2.0])}).tolist() == [1, -2]
        with pytest.raises(ValueError, match="Cannot feed 'x:0' of dtype int32"):
            sess.run(emit.Identity(x), {x: value})


@pytest.mark.parametrize("sizes", [[4], [-2], [-1, -1], [2, -5], [3, 1]])
def test_a_fed_shape_that_does_not_fit_is_refused(sizes: list[int]) -> None:
    """Inference takes the one size that is open for what is left over; the run has to look."""
    x, shape = placeholder(dtypes.float32, [2]), placeholder(dtypes.int32, [len(sizes)])
    y = emit.Reshape(x, shape)
    with Session() as sess:
        for fetch in (y, emit.Mul(y, 2.0), emit.Reshape(y, [2])):
            with pytest.raises(errors.InvalidArgumentError, match="shape"):
                sess.run(fetch, {x: [1, 2], shape: sizes})
        fits = [-1] + [1] * (len(sizes) - 1)
        assert sess.run(emit.Mul(y, 2.0), {x: [1, 2], shape: fits}).ravel().tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("sizes", "axes"), [((200, 1, 300, 1), (0, 2)), ((70000, 1, 2, 1), (0, 2)), ((1, 5000, 1), (1,))]
)
def test_long_folds_that_keep_axes_of_one_element(sizes: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = placeholder(dtypes.float32, sizes)
    given = np.random.default_rng(0).random(sizes, np.float32)
    with Session() as sess:
        got = sess.run(emit.Max(x, np.array(axes, np.int32)), {x: given})
    np.testing.assert_array_equal(got, given.max(axes))


def test_absurd_shapes_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(ValueError, match='Fill "zeros": the result would have shape'):
        gf.zeros([100000] * 4)
    with pytest.raises(ValueError, match="larger than 2 GB"):
        gf.constant(1.0, shape=[10**6, 10**6])
    with pytest.raises(ValueError, match="must be < 2\\*\\*63"):
        placeholder(dtypes.float32, [2**70])
    x = placeholder(dtypes.float32, [None])
    sizes = placeholder(dtypes.int32, [2])
    outer = gf.multiply(x[:, None], x[None, :], name="outer")
    with Session() as sess:
        variable = gf.Variable(gf.zeros([10**6, 10**6]))
        for fetch in (gf.ones([10**6, 10**6]) + 1, gf.eye(10**6), variable.initializer):
            with pytest.raises(errors.ResourceExhaustedError, match="GiB of memory at once"):
                sess.run(fetch)
        with pytest.raises(
            errors.ResourceExhaustedError,
            match=r"largest tensor is that of 'outer', float32\[3000000,3000000\]",
        ):
            sess.run(outer, {x: np.ones(3_000_000, np.float32)})
        with pytest.raises(errors.ResourceExhaustedError, match="random_uniform"):
            sess.run(gf.random_uniform(sizes, name="random_uniform"), {sizes: [10**6, 10**6]})


def test_what_only_the_feeds_sizes_make_wrong_names_the_operation() -> None:
    x = placeholder(dtypes.float32, [None])
    size = gf.shape(x)[0]
    with Session() as sess:
        for name, fetch in {
            "steps": gf.range(size, 0, name="steps"),
            "still": gf.range(0, size, size - size, name="still"),
            "sized": gf.fill([size - 5], 1.0, name="sized"),
            "split": gf.split(x, [size, size], name="split")[0],
            "rows": gf.one_hot([1], size - 9, name="rows"),
        }.items():
            with pytest.raises(errors.InvalidArgumentError, match=name):
                sess.run(fetch, {x: [1, 2, 3]})


def test_fetched_arrays_belong_to_the_caller() -> None:
    x = placeholder(dtypes.float32, [2])
    v = Variable(constant([1.0, 2.0]))
    same = emit.Identity(x)
    with Session() as sess:
        sess.run(v.initializer)
        fed = np.zeros(2, np.float32)
        got = sess.run(same, {x: fed})
        got += 1
        assert fed.tolist() == [0.0, 0.0]
        first = sess.run(v)
        first += 5
        assert sess.run(v).tolist() == [1.0, 2.0]


def test_strings_are_fed_and_fetched_as_bytes() -> None:
    x = placeholder(dtypes.string, [None])
    with Session() as sess:
        got = sess.run(emit.Identity(x), {x: ["a", b"b\x00"]})
        assert got.tolist() == [b"a", b"b\x00"]
        assert sess.run(constant(b"alone")) == b"alone"


def test_a_new_batch_size_is_another_plan_of_the_same_runner() -> None:
    x = placeholder(dtypes.float32, [None])
    y = emit.Mul(x, x)
    with Session() as sess:
        for size in (1, 5, 0, 5):
            assert sess.run(y, {x: np.full(size, 3.0, np.float32)}).tolist() == [9.0] * size
        assert len(sess._warm) == 1


def test_make_callable_takes_feeds_in_order() -> None:
    a, b = placeholder(dtypes.float32, []), placeholder(dtypes.float32, [])
    with Session() as sess:
        call = sess.make_callable([emit.Sub(a, b)], [b, a])
        assert call(1.0, np.float32(5.0)) == [np.float32(4.0)]
        with pytest.raises(ValueError, match="takes 2 feeds, got 1"):
            call(1.0)
        plain = sess.make_callable(constant(3))
        assert plain() == 3


def test_the_loss_before_the_step_comes_back() -> None:
    v = Variable(constant(1.0))
    read = emit.Identity(v)
    step = assign_add(v, 1.0)
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run([read, step]) == [1.0, 2.0]
        assert sess.run([step, read]) == [3.0, 2.0]


def test_feeding_a_variable_feeds_all_its_reads() -> None:
    v = Variable(constant([1.0, 2.0]), name="v")
    total = emit.AddV2(emit.Identity(v), emit.Identity(v))
    with Session() as sess:
        assert sess.run(total, {v: [5, 6]}).tolist() == [10.0, 12.0]
        sess.run(v.initializer)
        assert sess.run(total).tolist() == [2.0, 4.0]
        assert sess.run("v:0").tolist() == [1.0, 2.0]


def test_default_session_and_interactive_session() -> None:
    x = constant(4.0)
    with pytest.raises(ValueError, match="No default session"):
        x.eval()
    with Session().as_default() as sess:
        assert x.eval() == 4.0
        assert get_default_session() is sess
    assert get_default_session() is None
    interactive = InteractiveSession()
    assert x.eval() == 4.0
    x.op.run()
    interactive.close()
    assert get_default_session() is None


def test_a_session_enters_its_graph() -> None:
    graph = Graph()
    with Session(graph=graph) as sess:
        assert get_default_graph() is graph
        assert sess.run(constant(1)) == 1
        with pytest.raises(RuntimeError, match="not re-entrant"), sess:
            pass
    assert get_default_graph() is not graph


def test_two_sessions_keep_two_values() -> None:
    v = Variable(constant(0.0))
    add = assign_add(v, 1.0)
    one, two = Session(), Session()
    one.run(v.initializer)
    two.run(v.initializer)
    one.run(add)
    one.run(add)
    two.run(add)
    assert (one.run(v), two.run(v)) == (2.0, 1.0)


def test_load_and_variable_value() -> None:
    v = Variable(constant([0.0, 0.0]), name="v")
    with Session() as sess:
        v.load([1, 2], sess)
        assert sess.variable_value(v).tolist() == [1.0, 2.0]
        assert sess.variable_value("v").dtype == np.float32
        with pytest.raises(ValueError, match="shape"):
            v.load([1, 2, 3], sess)


def test_many_threads_share_a_session() -> None:
    x = placeholder(dtypes.float32, [None])
    v = Variable(constant(2.0))
    count = Variable(constant(0))
    y = emit.Mul(x, v)
    step = assign_add(count, 1)
    wrong: list[Any] = []
    with Session() as sess:
        sess.run(global_variables_initializer())

        def work(number: int) -> None:
            for i in range(50):
                size = 1 + (number + i) % 4
                got = sess.run(y, {x: np.full(size, number, np.float32)})
                if got.tolist() != [2.0 * number] * size:
                    wrong.append(got)
                sess.run(step)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert sess.run(count) == 200


def test_the_gate_lets_a_thread_pass_into_itself() -> None:
    gate = _Gate()
    assert gate.enter_to_write()
    assert not gate.enter_to_write()
    me = gate.enter_to_read()
    gate.leave_read(me)
    gate.leave_write()
    first = gate.enter_to_read()
    assert not gate.enter_to_write()
    gate.leave_read(first)


def test_a_session_closed_elsewhere_cancels_a_run() -> None:
    started, closed = threading.Event(), threading.Event()

    def wait(value: Any) -> Any:
        started.set()
        closed.wait(120)
        return value

    waiting = py_func(wait, [constant(1.0)], dtypes.float32)
    after = py_func(lambda value: value, [waiting], dtypes.float32)
    sess = Session()
    closer = threading.Thread(target=lambda: (started.wait(120), sess.close(), closed.set()))
    closer.start()
    with pytest.raises(errors.CancelledError):
        sess.run(after)
    closer.join()


def test_timeouts_come_from_the_options() -> None:
    sess = Session()
    sess._state.set_deadline(0.0)
    with pytest.raises(errors.DeadlineExceededError):
        sess._state.between_steps()
    sess._state.set_deadline(None)
    assert sess.run(constant(1), options=SimpleNamespace(timeout_in_ms=60_000, trace_level=0)) == 1


def test_a_traced_run_fills_the_metadata() -> None:
    x = placeholder(dtypes.float32, [2])
    y = emit.Exp(emit.Mul(x, 2.0))
    options = config_pb2.RunOptions(trace_level=config_pb2.RunOptions.FULL_TRACE)
    metadata = config_pb2.RunMetadata()
    with Session() as sess:
        got = sess.run(y, {x: [0, 0]}, options=options, run_metadata=metadata)
    assert got.tolist() == [1.0, 1.0]
    nodes = metadata.step_stats.dev_stats[0].node_stats
    assert nodes
    assert all(node.op_end_rel_micros >= 0 for node in nodes)
    trace = json.loads(Timeline(metadata.step_stats).generate_chrome_trace_format(show_memory=True))
    assert {event["ph"] for event in trace["traceEvents"]} >= {"M", "X"}


def test_threads_and_levels_come_from_the_config() -> None:
    proto = config_pb2.ConfigProto(intra_op_parallelism_threads=3)
    assert Session(config=proto)._options == CompileOptions(threads=3)
    proto.graph_options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
    sess = Session(config=proto)
    assert sess._options.disabled_passes
    x = placeholder(dtypes.float32, [2])
    assert sess.run(emit.Mul(emit.AddV2(x, 0.0), 1.0), {x: [1, 2]}).tolist() == [1.0, 2.0]
    mine = CompileOptions(disabled_passes=frozenset({"simplify"}))
    assert Session(compile_options=mine)._options is mine


def test_passes_are_switched_off_by_config_or_by_name() -> None:
    x = placeholder(dtypes.float32, [2])
    y = emit.Mul(emit.AddV2(x, constant([1.0, 2.0]) * 3.0), 1.0)
    proto = config_pb2.ConfigProto()
    rewrites = proto.graph_options.rewrite_options
    rewrites.constant_folding = rewrites.OFF
    off = Session(config=proto)
    assert off._options.disabled_passes == {"fold_constants", "fold_shapes", "fold_expanded"}
    named = Session(compile_options=gf.CompileOptions(disabled_passes={"simplify"}))
    rewrites.disable_meta_optimizer = True
    for sess in (off, named, Session(config=proto), Session()):
        assert sess.run(y, {x: [1, 2]}).tolist() == [4.0, 8.0]
    with pytest.raises(ValueError, match="there is no pass 'simplfy'; there are prune, "):
        gf.CompileOptions(disabled_passes={"simplfy"})


def test_a_graph_that_grows_in_a_loop_warns_once_with_the_line() -> None:
    v = Variable(constant(0.0))
    with Session() as sess:
        sess.run(v.initializer)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(_GROWTHS_BEFORE_WARNING + 20):
                sess.run(emit.Neg(v))
        assert len(caught) == 1
        assert "test_session.py" in str(caught[0].message)
        assert caught[0].filename.endswith("test_session.py")


def test_plans_of_dead_fetch_sets_are_let_go() -> None:
    constants = [constant(i) for i in range(600)]
    with Session() as sess:
        for item in constants:
            sess.run(item)
        assert len(sess._warm) <= 256
        assert sess.run(constants[0]) == 0


def test_a_step_that_leaves_out_update_ops_warns_once() -> None:
    from graphflow.train import GradientDescentOptimizer

    x = placeholder(dtypes.float32, [2])
    w = Variable(constant([1.0, 1.0]), name="w")
    mean = Variable(constant([0.0, 0.0]), trainable=False)
    y = emit.Mul(x, w)
    update = mean.assign(y)
    graph = get_default_graph()
    graph.add_to_collection("update_ops", update)
    step = GradientDescentOptimizer(0.1).apply_gradients([(y, w)])
    with graph.control_dependencies(graph.get_collection("update_ops")):
        good = GradientDescentOptimizer(0.1).apply_gradients([(y, w)])
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(good, {x: [1, 1]})
        with pytest.warns(RuntimeWarning, match="UPDATE_OPS"):
            sess.run(step, {x: [1, 1]})
        sess.run([step, w], {x: [1, 1]})


def test_random_counters_move_on_and_seeds_repeat() -> None:
    from graphflow.ops.random import random_uniform

    r = random_uniform([3], seed=7)
    free = random_uniform([3])
    one, two = Session(), Session()
    first, second = one.run(r), one.run(r)
    assert first.tolist() != second.tolist()
    assert two.run(r).tolist() == first.tolist()
    assert two.run(r).tolist() == second.tolist()
    assert one.run(free).tolist() != two.run(free).tolist()


def test_devices_are_listed() -> None:
    (device,) = Session().list_devices()
    assert device.device_type == "CPU"
    assert device.memory_limit_bytes > 0


def test_validate_shape_false_lets_a_variable_change_its_shape() -> None:
    v = Variable(constant([1.0]), validate_shape=False)
    x = placeholder(dtypes.float32, None)
    change = v.assign(x)
    twice = emit.Mul(v, 2.0)
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run(twice).tolist() == [2.0]
        sess.run(change, {x: [[1, 2], [3, 4]]})
        assert sess.run(twice).tolist() == [[2.0, 4.0], [6.0, 8.0]]
        sess.run(change, {x: 5})
        assert sess.run(twice) == 10.0


def test_the_short_way_gives_what_the_long_way_gives() -> None:
    x, other = placeholder(dtypes.float32, [None]), placeholder(dtypes.float32, [None])
    y = x * 2.0 + other
    a, b = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    session = Session()
    for _ in range(3):
        np.testing.assert_array_equal(session.run(y, {x: a, other: b}), a * 2 + b)
    assert y in session._direct
    # Another order of keys, another shape, dtype, layout or kind of value: the long way.
    np.testing.assert_array_equal(session.run(y, {other: b, x: a}), a * 2 + b)
    np.testing.assert_array_equal(session.run(y, {x: a[:2], other: b[:2]}), a[:2] * 2 + b[:2])
    np.testing.assert_array_equal(session.run(y, {x: a.astype(np.int64), other: b}), a * 2 + b)
    np.testing.assert_array_equal(session.run(y, {x: a[::-1], other: b}), a[::-1] * 2 + b)
    np.testing.assert_array_equal(session.run(y, {x: [1.0, 2.0, 3.0], other: b}), [3, 5, 7])
    np.testing.assert_array_equal(session.run(y, {x: a, y: b}), b)
    kept = session.run(y, {x: a, other: b})
    session.run(y, {x: b, other: b})
    np.testing.assert_array_equal(kept, a * 2 + b)  # results are the caller's own
    with pytest.raises(errors.InvalidArgumentError, match="must feed a value"):
        session.run(y, {x: a})
    call = session.make_callable(y, [x, other])
    np.testing.assert_array_equal(call(a, b), a * 2 + b)
    np.testing.assert_array_equal(call(a, b), a * 2 + b)
    with pytest.raises(ValueError, match="takes 2 feeds"):
        call(a)
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(y, {x: a, other: b})
    with pytest.raises(RuntimeError, match="closed"):
        call(a, b)


def _training(seed: int) -> tuple[Session, Any, Any, Any, Any]:
    """A session of a graph of its own, with a loss, a training step, and their feeds."""
    random = np.random.default_rng(seed)
    with Graph().as_default():
        x, y = placeholder(dtypes.float32, [None, 40]), placeholder(dtypes.int32, [None])
        weights = Variable((random.standard_normal((40, 70)) / 6).astype(np.float32))
        out = Variable((random.standard_normal((70, 9)) / 8).astype(np.float32))
        logits = emit.MatMul(emit.Relu(emit.MatMul(x, weights)), out)
        loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        step = gf.train.AdamOptimizer(0.01).minimize(loss)
        session = Session()
        session.run(global_variables_initializer())
    return session, loss, step, x, y


def _losses(seed: int, steps: int, trained: Any = None) -> list[float]:
    session, loss, step, x, y = trained or _training(seed)
    random = np.random.default_rng(seed + 100)
    losses = []
    for n in range(steps):
        rows = 128 if n % 3 else 50  # a new size now and then
        feeds = {x: random.standard_normal((rows, 40)).astype(np.float32), y: random.integers(0, 9, rows)}
        losses.append(float(session.run([loss, step], feeds)[0]))
    return losses


def test_many_sessions_train_at_once() -> None:
    alone = [_losses(seed, 12) for seed in range(4)]
    together: dict[int, list[float]] = {}
    workers = [
        threading.Thread(target=lambda seed=seed: together.update({seed: _losses(seed, 12)}))
        for seed in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [together[seed] for seed in range(4)] == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_fork_trains_on() -> None:
    """With the parent's plans, and with new ones that the child compiles; the parent is none the wiser."""
    trained = _training(7)
    first = _losses(7, 4, trained)
    wanted = [*_losses(8, 4, trained), *_losses(9, 3)]
    again = _training(7)
    assert _losses(7, 4, again) == first
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(60)
            os.write(writer, json.dumps([*_losses(8, 4, again), *_losses(9, 3)]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        got = json.loads(answer.read() or "null")
    assert os.waitpid(child, 0)[1] == 0
    assert got == wanted
    assert _losses(8, 4, again) == wanted[:4]


def test_a_tensor_is_kept_from_run_to_run() -> None:
    a, b = gf.placeholder(gf.float32, [2]), gf.constant([10.0, 20.0])
    made = gf.get_session_handle(a * b)
    scalar = gf.get_session_handle(gf.constant(b"text"), name="words")
    with gf.Session() as session:
        kept, [again, plain] = session.run(made, {a: [1, 2]}), session.run([made, b], {a: [3, 4]})
        assert isinstance(kept.handle, str) and kept.handle.count(";") == 2 and kept.handle != again.handle
        np.testing.assert_array_equal(plain, [10, 20])
        np.testing.assert_array_equal(kept.eval(), [10, 40])
        holder, tensor = gf.get_session_tensor(kept.handle, gf.float32)
        assert (holder.dtype, tensor.dtype, tensor.op.type) == (gf.string, gf.float32, "GetSessionTensor")
        np.testing.assert_array_equal(session.run(tensor + 1, {holder: kept.handle}), [11, 41])
        np.testing.assert_array_equal(session.run(tensor + 1, {holder: again.handle}), [31, 81])
        # A handle stands for its value where that is fed.
        np.testing.assert_array_equal(session.run(a + 1, {a: kept}), [11, 41])
        words = session.run({"w": scalar})["w"]
        assert words.eval() == b"text" and words.handle.startswith("words;")
        with pytest.raises(TypeError, match="of string"):
            session.run(a, {a: words})
        with pytest.raises(gf.errors.InvalidArgumentError, match="is of object"):
            session.run(tensor, {holder: words.handle})
        holder_of_old, delete = gf.delete_session_tensor(kept.handle)
        assert session.run(delete, {holder_of_old: kept.handle}) is None
        with pytest.raises(gf.errors.InvalidArgumentError, match="not in the session store"):
            kept.eval()
        with pytest.raises(gf.errors.InvalidArgumentError, match="not in the session store"):
            session.run(delete, {holder_of_old: kept.handle})
        raw = again.get_raw_handle()
        with pytest.raises(TypeError, match="already been deleted"):
            again.delete()
        del again
        np.testing.assert_array_equal(session.run(tensor, {holder: raw}), [30, 80])
        text = words.handle
        words.delete()
        del words, kept
        held, value = gf.get_session_tensor(text, gf.string)
        with pytest.raises(gf.errors.InvalidArgumentError, match="not in the session store"):
            session.run(value, {held: text})
    with (
        gf.Session() as other,
        pytest.raises(gf.errors.InvalidArgumentError, match="not in the session store"),
    ):
        other.run(tensor, {holder: raw})
    with pytest.raises(TypeError, match="takes a Tensor"):
        gf.get_session_handle(3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no handle"):
        gf.get_session_tensor("nothing", gf.float32)
