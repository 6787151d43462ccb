"""Coordinators, queue runners, producers and batches: input pipelines as TensorFlow 1 programs write them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors


def run_to_the_end(fetches: Any, seconds: float = 20.0) -> list[Any]:
    """What fetches give until the input ends, with runners and a coordinator as programs have them."""
    results = []
    with gf.Session() as session:
        session.run([gf.global_variables_initializer(), gf.local_variables_initializer()])
        coordinator = gf.train.Coordinator()
        threads = gf.train.start_queue_runners(sess=session, coord=coordinator)
        try:
            while not coordinator.should_stop():
                results.append(session.run(fetches))
        except errors.OutOfRangeError:
            pass
        finally:
            coordinator.request_stop()
        coordinator.join(threads, stop_grace_period_secs=seconds)
    return results


def test_each_row_comes_once_per_epoch() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    labels = np.array([b"a", b"b", b"c"], object)
    row, label = gf.train.slice_input_producer([rows, labels], num_epochs=2, shuffle=True, seed=3)
    got = run_to_the_end([row, label])
    assert len(got) == 6
    for half in (got[:3], got[3:]):
        assert sorted(text for _, text in half) == [b"a", b"b", b"c"]
    for values, text in got:
        np.testing.assert_array_equal(values, rows[b"abc".index(text)])


def test_batches_come_in_order_and_the_last_may_be_smaller() -> None:
    number = gf.train.range_input_producer(7, num_epochs=1, shuffle=False).dequeue()
    full = gf.train.batch({"n": number, "square": number * number}, 3)
    assert full["n"].shape == (3,)
    assert [batch["square"].tolist() for batch in run_to_the_end(full)] == [[0, 1, 4], [9, 16, 25]]
    gf.reset_default_graph()
    number = gf.train.range_input_producer(7, num_epochs=1, shuffle=False).dequeue()
    smaller = gf.train.batch([number], 3, allow_smaller_final_batch=True)
    assert isinstance(smaller, gf.Tensor)  # a queue of one component gives no list
    assert [batch.tolist() for batch in run_to_the_end(smaller)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_shuffled_batches_hold_all_rows() -> None:
    number = gf.train.range_input_producer(20, num_epochs=1, shuffle=False).dequeue()
    batch = gf.train.shuffle_batch([number], 4, capacity=30, min_after_dequeue=10, seed=5)
    seen = np.concatenate([values for (values,) in run_to_the_end([batch])])
    assert sorted(seen.tolist()) == list(range(20))
    assert seen.tolist() != list(range(20))


def test_padding_keeping_and_joining() -> None:
    number = gf.train.range_input_producer(6, num_epochs=1, shuffle=False).dequeue()
    padded = gf.train.maybe_batch(
        [gf.fill([number], number)], gf.equal(number % 2, 1), 3, dynamic_pad=True, shapes=[[None]]
    )
    (batch,) = run_to_the_end(padded)
    assert batch.tolist() == [[1, 0, 0, 0, 0], [3, 3, 3, 0, 0], [5, 5, 5, 5, 5]]
    gf.reset_default_graph()
    sources = [gf.train.range_input_producer(4, num_epochs=1).dequeue() + 10 * i for i in range(2)]
    joined = gf.train.batch_join([[source] for source in sources], 2)
    seen = sorted(np.concatenate([values for (values,) in run_to_the_end([joined])]).tolist())
    assert seen == [0, 1, 2, 3, 10, 11, 12, 13]
    gf.reset_default_graph()
    rows = gf.train.maybe_batch([gf.range(4)], [True, False, False, True], 4, enqueue_many=True, shapes=[[]])
    with gf.Session() as session:
        coordinator = gf.train.Coordinator()
        threads = gf.train.start_queue_runners(session, coordinator)
        assert session.run(rows).tolist() == [0, 3, 0, 3]
        coordinator.request_stop()
        coordinator.join(threads)


def test_sparse_tensors_are_batched() -> None:
    number = gf.train.range_input_producer(4, num_epochs=1, shuffle=False).dequeue()
    ones = gf.SparseTensor(
        gf.cast(gf.stack([[0], [number]]), gf.int64), gf.stack([number, 7]), gf.constant([5], gf.int64)
    )
    one, _ = gf.train.batch([ones, number], 2)
    got = run_to_the_end(one)
    assert [part.indices.tolist() for part in got] == [
        [[0, 0], [0, 0], [1, 0], [1, 1]],
        [[0, 0], [0, 2], [1, 0], [1, 3]],
    ]
    assert got[1].values.tolist() == [2, 7, 3, 7]
    assert got[1].dense_shape.tolist() == [2, 5]


def test_a_model_trains_on_what_a_queue_brings() -> None:
    x = np.random.uniform(-1, 1, (64, 2)).astype(np.float32)
    wanted_of = x @ np.float32([[3], [-2]]) - 1
    sample, wanted = gf.train.slice_input_producer([x, wanted_of], num_epochs=60, seed=1)
    inputs, targets = gf.train.shuffle_batch(
        [sample, wanted], 16, capacity=64, min_after_dequeue=16, num_threads=2, seed=2
    )
    slope, offset = gf.Variable([[0.0], [0.0]]), gf.Variable([0.0])
    loss = gf.reduce_mean(gf.square(gf.matmul(inputs, slope) + offset - targets))
    step = gf.train.GradientDescentOptimizer(0.3).minimize(loss)
    losses = [value for value, _ in run_to_the_end([loss, step])]
    assert len(losses) == 240
    assert losses[0] > 0.5
    assert losses[-1] < 1e-4


def test_what_goes_wrong_in_a_thread_is_raised_by_join() -> None:
    bad = gf.train.string_input_producer(["no", "such"], num_epochs=1, shuffle=False).dequeue()
    batch = gf.train.batch([gf.check_numerics(gf.log(-gf.cast(gf.size(bad), gf.float32)), "broken")], 2)
    with pytest.raises(errors.InvalidArgumentError, match="broken"):
        run_to_the_end(batch)


def test_without_a_coordinator_a_runner_remembers_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    queue = gf.FIFOQueue(2, gf.float32, shapes=[[]])
    broken = queue.enqueue(gf.check_numerics(gf.log(gf.constant(-1.0)), "broken"))
    runner = gf.train.QueueRunner(queue, [broken])
    with gf.Session() as session:
        for thread in runner.create_threads(session, start=True):
            thread.join()
        (error,) = runner.exceptions_raised
    assert isinstance(error, errors.InvalidArgumentError)


def test_runners_travel_with_a_meta_graph() -> None:
    number = gf.train.range_input_producer(4, num_epochs=1, shuffle=False).dequeue()
    batch = gf.train.batch([number], 2)
    gf.identity(batch, name="out")
    definition = gf.train.export_meta_graph()
    with gf.Graph().as_default() as graph:
        gf.train.import_meta_graph(definition)
        runners = gf.get_collection(gf.GraphKeys.QUEUE_RUNNERS)
        assert [runner.name for runner in runners] == ["input_producer", "fifo_queue"]
        got = run_to_the_end(graph.get_tensor_by_name("out:0"))
    assert [values.tolist() for values in got] == [[0, 1], [2, 3]]


def test_coordinators_stop_threads_and_hand_on_errors() -> None:
    coordinator = gf.train.Coordinator()
    turns = []

    def work() -> None:
        turns.append(1)
        if len(turns) == 3:
            raise KeyError("third")

    looper = gf.train.LooperThread.loop(coordinator, 0.001, work)
    with pytest.raises(KeyError, match="third"):
        coordinator.join([looper])
    assert coordinator.joined and len(turns) == 3
    coordinator.clear_stop()
    assert not coordinator.should_stop()

    freed = threading.Event()
    stuck = threading.Thread(target=freed.wait, daemon=True)
    stuck.start()
    coordinator.request_stop()
    with pytest.raises(RuntimeError, match="threads still running"):
        coordinator.join([stuck], stop_grace_period_secs=0.05)
    freed.set()
    clean = gf.train.Coordinator(clean_stop_exception_types=(KeyError,))
    with clean.stop_on_exception():
        raise KeyError("done")
    clean.join([])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="non-null"):
        gf.train.string_input_producer([])
    with pytest.raises(ValueError, match="num_epochs must be > 0"):
        gf.train.limit_epochs(gf.constant(1), 0)
    with pytest.raises(ValueError, match="at least one tensor"):
        gf.train.batch([], 2)
    with pytest.raises(ValueError, match="bigger than min_after_dequeue"):
        gf.train.shuffle_batch([gf.constant(1)], 2, 10, 10)
    with pytest.raises(ValueError, match="rank"):
        gf.train.batch([gf.placeholder(gf.float32)], 2)
    with pytest.raises(ValueError, match="No default session"):
        gf.train.start_queue_runners()
    with gf.Session() as session:
        limited = gf.train.limit_epochs(gf.constant(5), 2)
        session.run(gf.local_variables_initializer())
        assert [session.run(limited), session.run(limited)] == [5, 5]
        with pytest.raises(errors.OutOfRangeError, match="Reached limit of 2"):
            session.run(limited)
