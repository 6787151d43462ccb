"""Queues, and the life of what a session keeps besides variables."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.graph import Graph
from tests.referee import Case, Referee, difference
from tests.waiting import until_it_waits


@contextlib.contextmanager
def in_thread(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs something in a thread, joined at the end of the block; the list gets its result or error."""
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(call())
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until_it_waits(thread)
    yield said
    thread.join(120)
    assert not thread.is_alive(), "it waits for ever"


@pytest.mark.parametrize("waits_for", ["elements", "room"])
def test_who_waits_stops_nobody_else(waits_for: str) -> None:
    queue = gf.FIFOQueue(1, gf.float32, shapes=[[2]])
    total = gf.Variable(0.0)
    others = total.assign_add(1.0)
    fill = queue.enqueue([[1.0, 2.0]])
    taken = queue.dequeue()
    if waits_for == "elements":
        step, wake = total.assign_add(gf.reduce_sum(taken)), fill
    else:
        with gf.control_dependencies([queue.enqueue([gf.stack([total, 3.0])])]):
            step, wake = total.assign_add(3.0), taken.op
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        if waits_for == "room":
            session.run(fill)
        with in_thread(lambda: session.run(step)) as said:
            for _ in range(3):
                session.run(others)
            assert not said
            assert session.run(total) == 3.0
            session.run(wake)
        assert said == [6.0]
        assert session.run(total) == 6.0


def test_a_run_that_waited_for_others_is_not_held_against_the_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    queue = gf.FIFOQueue(1, gf.float32, shapes=[[]])
    total = gf.Variable(1.0)
    step, others = total.assign_add(queue.dequeue()), total.assign_add(10.0)
    with gf.Session() as session:
        session.run(total.initializer)
        with in_thread(lambda: session.run(step)) as said:
            session.run(others)
            session.run(queue.enqueue(5.0))
        assert said == [16.0]


def test_a_variable_that_moves_while_a_step_waits_is_found_again() -> None:
    queue = gf.FIFOQueue(1, gf.float32, shapes=[[]])
    grown = gf.get_variable("grown", initializer=gf.zeros([2]), validate_shape=False)
    weights = gf.get_variable("weights", initializer=gf.ones([3]))
    step = weights.assign_add(queue.dequeue() * weights)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        with in_thread(lambda: session.run(step)) as said:
            session.run(gf.assign(grown, gf.zeros([5]), validate_shape=False))
            session.run(gf.assign(weights, [1.0, 2.0, 3.0]))
            session.run(queue.enqueue(1.0))
        np.testing.assert_array_equal(said[0], [2.0, 4.0, 6.0])
        np.testing.assert_array_equal(session.run(weights), [2.0, 4.0, 6.0])


@pytest.mark.parametrize("how", ["close", "reset", "timeout"])
def test_the_end_of_a_session_or_of_its_patience_wakes_who_waits(how: str) -> None:
    taken = gf.FIFOQueue(1, gf.float32, shapes=[[]]).dequeue()
    session = gf.Session()
    options = gf.RunOptions(timeout_in_ms=100 if how == "timeout" else 0)
    with in_thread(lambda: session.run(taken, options=options)) as said:
        if how == "close":
            session.close()
        elif how == "reset":
            gf.Session.reset("")
    kind = errors.DeadlineExceededError if how == "timeout" else errors.CancelledError
    assert isinstance(said[0], kind)
    if how == "close":
        assert "Dequeue operation was cancelled" in str(said[0])
    if how != "timeout":
        with pytest.raises(RuntimeError, match="closed"):
            session.run(taken)


def test_names_and_containers_say_who_shares_what() -> None:
    def size(queue: Any, session: Any) -> int:
        return int(session.run(queue.size()))

    one, same = (gf.FIFOQueue(4, gf.int32, shapes=[[]], shared_name="q") for _ in range(2))
    with gf.container("elsewhere"):
        apart = gf.FIFOQueue(4, gf.int32, shapes=[[]], shared_name="q")
    own = gf.FIFOQueue(4, gf.int32, shapes=[[]], name="q")
    assert apart.queue_ref.op.attrs["container"] == "elsewhere"
    with gf.Session() as session, gf.Session() as another:
        session.run(one.enqueue(1))
        assert [size(queue, session) for queue in (one, same, apart, own)] == [1, 1, 0, 0]
        assert size(one, another) == 0
        fed = {own.queue_ref: session.run(one.queue_ref)}
        assert session.run(own.size(), fed) == 1  # a handle is a value like any other
        shuffled = gf.RandomShuffleQueue(4, 0, gf.int32, shapes=[[]], shared_name="q")
        with pytest.raises(errors.InvalidArgumentError, match="'q' is shared with a queue"):
            session.run(shuffled.size())
    with gf.Session() as session, pytest.raises(errors.InvalidArgumentError, match="cannot start with '_'"):
        session.run(gf.FIFOQueue(4, gf.int32, shared_name="_q").size())


def test_a_handle_may_be_chosen_in_the_run() -> None:
    queues = [gf.FIFOQueue(4, gf.int32, shapes=[[]]) for _ in range(2)]
    which = gf.placeholder(gf.int32, [])
    chosen = gf.QueueBase.from_list(which, queues)
    with gf.Session() as session:
        session.run([queue.enqueue(i) for i, queue in enumerate(queues)])
        assert [session.run(chosen.dequeue(), {which: i}) for i in (1, 0)] == [1, 0]


def test_who_waits_longest_is_served_first() -> None:
    queue = gf.FIFOQueue(2, gf.int32, shapes=[[]])
    many, one, fill = queue.dequeue_many(5), queue.dequeue(), queue.enqueue_many([list(range(6))])
    with gf.Session() as session:
        # Six elements pass through a queue that holds two: both sides move as far as they can.
        with in_thread(lambda: session.run(many)) as first, in_thread(lambda: session.run(one)) as second:
            session.run(fill)
        assert first[0].tolist() == [0, 1, 2, 3, 4]
        assert second == [5]


def test_closing_waits_for_those_who_enqueue_or_turns_them_away() -> None:
    queue = gf.FIFOQueue(1, gf.int32, shapes=[[]])
    fill, taken, closed = queue.enqueue(1), queue.dequeue(), queue.is_closed()
    with gf.Session() as session:
        session.run(fill)
        with in_thread(lambda: session.run(fill)) as entered, in_thread(lambda: session.run(queue.close())):
            assert not session.run(closed)
            assert session.run(taken) == 1
        assert entered == [None]
        assert session.run(closed)
    with gf.Session() as session:
        session.run(fill)
        with in_thread(lambda: session.run(fill)) as entered:
            session.run(queue.close(cancel_pending_enqueues=True))
        assert isinstance(entered[0], errors.CancelledError)
        assert "Enqueue operation was cancelled" in str(entered[0])
        assert session.run(taken) == 1
        with pytest.raises(
            errors.OutOfRangeError, match=r"closed and has insufficient elements \(requested 1"
        ):
            session.run(taken)


def test_operations_of_one_run_help_each_other() -> None:
    """Whichever stands first: the others of the run go on while one waits, if they need nothing of it."""
    queue = gf.FIFOQueue(2, [gf.float32], shapes=[[2]])
    x = gf.placeholder(gf.float32, [2])
    taken = queue.dequeue()
    plus, put = taken + 1.0, queue.enqueue(gf.sin(x) * 2.0)
    put_many, take_many = queue.enqueue_many(gf.reshape(gf.range(10.0), [5, 2])), queue.dequeue_many(5)
    gone_round = queue.enqueue(taken * 2.0)
    patience = gf.RunOptions(timeout_in_ms=20_000)
    with gf.Session() as session:
        feeds = {x: [0.0, 1.0]}
        wanted = 2.0 * np.sin(np.float32([0.0, 1.0])) + 1.0
        np.testing.assert_allclose(session.run([plus, put], feeds, patience)[0], wanted, rtol=1e-6)
        for _ in range(2):
            session.run(put, feeds)
        # Full: the one that adds waits for the one that takes.
        again = queue.enqueue(x)
        np.testing.assert_allclose(session.run([again, queue.dequeue()], feeds, patience)[1], wanted - 1.0)
        session.run(queue.dequeue_many(2))
        batch = session.run([take_many, put_many], None, patience)[0]
        np.testing.assert_array_equal(batch, np.arange(10, dtype=np.float32).reshape(5, 2))
        # What needs the waiting one's result waits with it, for another run.
        helper = threading.Timer(0.05, session.run, (queue.enqueue([[3.0, 4.0]]),))
        helper.start()
        assert session.run([taken, gone_round], None, patience)[0].tolist() == [3.0, 4.0]
        helper.join()
        assert session.run(queue.dequeue()).tolist() == [6.0, 8.0]
        # Nothing in this run can help: its time ends it, and what it had taken is back.
        session.run(put, feeds)
        with pytest.raises(gf.errors.DeadlineExceededError, match="DequeueMany"):
            session.run([queue.dequeue_many(2), queue.size()], None, gf.RunOptions(timeout_in_ms=60))
        assert session.run(queue.size()) == 1


def test_what_a_helping_operation_raises_names_it() -> None:
    queue = gf.FIFOQueue(2, [gf.float32], shapes=[[]])
    taken, bad = queue.dequeue(), gf.py_func(lambda: 1 // 0, [], gf.float32, name="bad")
    with gf.Session() as session, pytest.raises(gf.errors.OpError, match="bad"):
        session.run([taken, queue.enqueue(gf.reshape(bad, []))], None, gf.RunOptions(timeout_in_ms=20_000))


def test_wrong_use_is_refused() -> None:
    fed = gf.placeholder(gf.float32)
    pair = gf.FIFOQueue(4, [gf.int32, gf.float32], shapes=[[], [2]])
    loose = gf.FIFOQueue(4, [gf.float32])
    named = gf.FIFOQueue(4, [gf.float32], names=["a"], shapes=[[]])
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\) are incompatible"):
        pair.enqueue([1, [1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="holds 2 components, got 1"):
        pair.enqueue([1])
    with pytest.raises(ValueError, match="dtype"):
        loose.enqueue([gf.constant(1)])
    with pytest.raises(ValueError, match="dictionary"):
        named.enqueue([1.0])
    with pytest.raises(ValueError, match="fully defined"):
        gf.FIFOQueue(4, [gf.float32], shapes=[[None]])
    with gf.Session() as session:
        with pytest.raises(errors.InvalidArgumentError, match=r"component 1. Expected \[2\], got \[3\]"):
            session.run(pair.enqueue([1, fed]), {fed: [1.0, 2.0, 3.0]})
        with pytest.raises(errors.InvalidArgumentError, match="specified shapes"):
            session.run(loose.dequeue_many(2))
        with pytest.raises(errors.InvalidArgumentError, match="scalar"):
            session.run(loose.enqueue_many([fed]), {fed: 1.0})
        session.run(named.enqueue({"a": 1.0}))
        assert session.run(named.dequeue()) == {"a": 1.0}


def test_compiled_code_works_on_what_is_dequeued() -> None:
    queue = gf.FIFOQueue(8, [gf.float32, gf.string], shapes=[[3], []])
    numbers, texts = queue.dequeue_many(2)
    assert numbers.shape == (2, 3)
    total = gf.reduce_sum(numbers * 2.0, axis=1)
    with gf.Session() as session:
        fill = queue.enqueue_many([gf.reshape(gf.range(12.0), [4, 3]), ["a", "b", "c", "d"]])
        session.run(fill)
        sums, first = session.run([total, texts])
        np.testing.assert_array_equal(sums, [6.0, 24.0])
        assert first.tolist() == [b"a", b"b"]
        assert "1 segments" in session.plan(total).summary()


# Each builds a graph and returns what to run one after another.


def fifo() -> list[list[Any]]:
    queue = gf.FIFOQueue(10, [gf.int32, gf.string], shapes=[[], [2]])
    many = queue.enqueue_many([[1, 2, 3], [["a", "b"], ["c", "d"], ["e", "f"]]])
    return [
        [many],
        queue.dequeue(),
        [queue.size()],
        [queue.close()],
        queue.dequeue_up_to(5),
        [queue.is_closed()],
    ]


def padding() -> list[list[Any]]:
    queue = gf.PaddingFIFOQueue(5, [gf.int32, gf.string, gf.float32], shapes=[[None], [None, 2], []])
    one = queue.enqueue([[1, 2], [["a", "b"]], 1.0])
    two = queue.enqueue([[1, 2, 3], [["a", "b"], ["c", "d"]], 2.0])
    three = queue.enqueue([gf.zeros([0], gf.int32), gf.fill([0, 2], ""), 3.0])
    return [[one], [two], [three], queue.dequeue_many(2), queue.dequeue()]


def shuffle() -> list[list[Any]]:
    queue = gf.RandomShuffleQueue(300, 3, [gf.int32, gf.int32], shapes=[[], []], seed=4)
    fill = queue.enqueue_many([list(range(300)), list(range(300))])
    return [[fill], queue.dequeue_many(280), queue.dequeue(), [queue.close()], queue.dequeue_up_to(30)]


def shuffle_with_graph_seed() -> list[list[Any]]:
    gf.set_random_seed(5)
    queue = gf.RandomShuffleQueue(20, 0, gf.int32, shapes=[[]], shared_name="named")
    return [[queue.enqueue_many([list(range(20))])], [queue.dequeue_many(20)]]


def priority() -> list[list[Any]]:
    queue = gf.PriorityQueue(10, [gf.string], shapes=[[]])
    fill = queue.enqueue_many([[3, 1, 2, -5], ["c", "a", "b", "d"]])
    return [[fill], queue.dequeue(), queue.dequeue_many(3)]


def shared() -> list[list[Any]]:
    one, two = (gf.FIFOQueue(3, gf.int32, shapes=[[]], shared_name="same") for _ in range(2))
    return [[one.enqueue(5)], [two.size()], [two.dequeue()]]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_queues_do_what_tensorflows_do(referee: Referee) -> None:
    builders = (fifo, padding, shuffle, shuffle_with_graph_seed, priority, shared)
    mine: dict[str, list[list[Any]]] = {}
    cases = {}
    for build in builders:
        with Graph().as_default() as graph:
            runs = build()
            with gf.Session() as session:
                mine[build.__name__] = [session.run(fetches) for fetches in runs]
        cases[build.__name__] = Case(graph, [[item.name for item in fetches] for fetches in runs])
    for name, verdict in referee.ask(cases).items():
        assert not verdict.error, f"{name}: {verdict.message}"
        for run, (got, wanted) in enumerate(zip(mine[name], verdict.values, strict=True)):
            for a, b in zip(got, wanted, strict=True):
                value = np.asarray(a, object if isinstance(a, bytes) else None)
                text = "" if a is None else difference(value, b, 0.0)
                assert not text, f"{name}, run {run}: {text}"


def test_two_queues_that_are_empty_yet_are_waited_for() -> None:
    queues = [gf.FIFOQueue(2, [gf.float32], shapes=[[]]) for _ in range(2)]
    both = [queue.dequeue_many(2) for queue in queues]
    fills = [queue.enqueue([float(i)]) for i, queue in enumerate(queues)]
    with gf.Session() as session:
        with in_thread(lambda: session.run(both)) as said:
            for fill in (fills[1], fills[0], fills[0], fills[1]):
                session.run(fill)
        assert [rows.tolist() for rows in said[0]] == [[0.0, 0.0], [1.0, 1.0]]
