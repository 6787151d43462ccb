"""Sizes that only the run finds: the program is cut there, and what comes after is planned for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import graphflow as gf
from graphflow.later import CutPlan
from graphflow.plan import HostStep
from tests.waiting import until_it_waits

Array = np.ndarray[Any, Any]
Fetches = Sequence[Any]


@pytest.fixture(autouse=True)
def _graph():
    with gf.Graph().as_default():
        gf.set_random_seed(1)
        yield


def reference(monkeypatch: pytest.MonkeyPatch) -> gf.Session:
    """A session that runs one NumPy body after the other."""
    with monkeypatch.context() as patch:
        patch.setenv("GRAPHFLOW_BACKEND", "reference")
        return gf.Session()


def host_steps(session: gf.Session, fetches: Any, feeds: Any = None) -> list[list[str]]:
    """The op types of the host steps of the last run, part by part."""
    plan = session.plan(fetches, feeds)
    parts = plan.parts if isinstance(plan, CutPlan) else (plan,)
    return [[step.origin.type for step in part.steps if isinstance(step, HostStep)] for part in parts]


def same(got: Sequence[Any], wanted: Sequence[Any], tolerance: float = 1e-5) -> None:
    for a, b in zip(got, wanted, strict=True):
        if b is None:
            assert a is None
            continue
        assert np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype
        if np.asarray(b).dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            assert np.array_equal(a, b)


def weights(name: str, *shape: int) -> gf.Variable:
    values = np.random.RandomState(len(name)).randn(*shape).astype(np.float32) * 0.3
    return gf.get_variable(name, initializer=values)


def step(x: Any, y: Any) -> list[Any]:
    """Loss and training step of a small network."""
    hidden = gf.nn.relu(gf.matmul(x, weights("first", 6, 16)) + weights("bias", 16))
    loss = gf.reduce_mean(gf.square(gf.matmul(hidden, weights("second", 16, 1))[:, 0] - y))
    return [loss, gf.train.AdamOptimizer(0.01).minimize(loss, gf.train.get_or_create_global_step())]


def masked() -> tuple[Callable[[int], dict[Any, Array]], Fetches, list[list[str]]]:
    x, mask = gf.placeholder(gf.float32, [None, 6]), gf.placeholder(gf.bool, [None])
    kept = gf.boolean_mask(x * 2.0 - 1.0, mask)

    def feeds(n: int) -> dict[Any, Array]:
        rng = np.random.RandomState(n)
        return {x: rng.rand(n, 6).astype(np.float32), mask: rng.rand(n) < 0.7}

    return feeds, [*step(kept, gf.reduce_sum(kept, 1)), gf.shape(kept), kept], [["Where"], []]


def distinct() -> tuple[Callable[[int], dict[Any, Array]], Fetches, list[list[str]]]:
    ids = gf.placeholder(gf.int32, [None])
    table = weights("table", 20, 6)
    found, place, count = gf.unique_with_counts(ids)
    rows = gf.gather(table, found)
    # Each row as often as its id was there, put together again.
    sums = gf.unsorted_segment_sum(gf.gather(rows, place), place, gf.size(found))
    means = sums / gf.cast(count, gf.float32)[:, None]
    loss, train = step(means, gf.cast(found, gf.float32))

    def feeds(n: int) -> dict[Any, Array]:
        return {ids: np.random.RandomState(n).randint(0, 20, n).astype(np.int32)}

    return feeds, [loss, train, found, means], [["UniqueWithCounts"], []]


def python() -> tuple[Callable[[int], dict[Any, Array]], Fetches, list[list[str]]]:
    x = gf.placeholder(gf.float32, [None, 6])
    before = gf.nn.relu(gf.matmul(x, weights("before", 6, 6)))
    (made,) = gf.py_func(lambda a: [a[a[:, 0] > 0]], [before], [gf.float32])  # not even the rank is known
    after = gf.exp(made * 0.1) + made * 0.5 - 1.0
    loss = gf.reduce_mean(gf.square(after - 1.0))

    def feeds(n: int) -> dict[Any, Array]:
        return {x: np.random.RandomState(n).randn(n, 6).astype(np.float32)}

    return feeds, [loss, after, before], [["PyFunc"], []]


def partitioned() -> tuple[Callable[[int], dict[Any, Array]], Fetches, list[list[str]]]:
    x, which = gf.placeholder(gf.float32, [None, 6]), gf.placeholder(gf.int32, [None])
    first, second = gf.dynamic_partition(x, which, 2)
    whole = gf.concat([gf.tanh(first) * 2.0, gf.sigmoid(second) + 1.0], 0)
    places = gf.dynamic_partition(gf.range(gf.shape(x)[0]), which, 2)
    back = gf.dynamic_stitch(places, [gf.tanh(first), gf.exp(-second)])

    def feeds(n: int) -> dict[Any, Array]:
        rng = np.random.RandomState(n)
        return {x: rng.rand(n, 6).astype(np.float32), which: rng.randint(0, 2, n).astype(np.int32)}

    return feeds, [*step(whole, gf.reduce_sum(whole, 1)), back], None  # type: ignore[return-value]


def twice() -> tuple[Callable[[int], dict[Any, Array]], Fetches, list[list[str]]]:
    x = gf.placeholder(gf.float32, [None, 6])
    some = gf.boolean_mask(x, gf.reduce_sum(x, 1) > 2.0)
    scaled = gf.nn.l2_normalize(gf.exp(some) * 0.5 + 1.0, 1)
    fewer = gf.boolean_mask(scaled, gf.reduce_max(scaled, 1) > 0.42)

    def feeds(n: int) -> dict[Any, Array]:
        return {x: np.random.RandomState(n).rand(n, 6).astype(np.float32)}

    return feeds, [*step(fewer, gf.reduce_sum(fewer, 1)), scaled], [["Where"], ["Where"], []]


CASES = [masked, distinct, python, partitioned, twice]


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_what_comes_after_is_planned_for_the_sizes_found(case, monkeypatch):
    feeds, fetches, hosts = case()
    initialize = gf.global_variables_initializer()
    with gf.Session() as session, reference(monkeypatch) as bodies:
        session.run(initialize)
        bodies.run(initialize)
        call = session.make_callable(fetches, list(feeds(3)))
        for n in (12, 12, 30, 7, 12, 1, 2, 23):
            values = feeds(n)
            got = call(*values.values()) if n == 7 else session.run(fetches, values)
            same(got, bodies.run(fetches, values))
            if hosts is not None and n > 3:
                assert host_steps(session, fetches, values) == hosts
        for name in (variable.name for variable in gf.global_variables()):
            np.testing.assert_allclose(session.run(name), bodies.run(name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_runs_are_held_against_the_bodies(case, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    feeds, fetches, _ = case()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for n in (12, 5):
            session.run(fetches, feeds(n))


def test_a_step_fed_by_a_dataset_is_one_native_call():
    rows = np.random.RandomState(0).rand(23, 6).astype(np.float32)
    data = gf.data.Dataset.from_tensor_slices((rows, rows.sum(1))).batch(8).prefetch(1)
    iterator = gf.data.make_initializable_iterator(data)
    x, y = iterator.get_next()
    fed_x, fed_y = gf.placeholder(gf.float32, [None, 6]), gf.placeholder(gf.float32, [None])
    fetches = step(x, y)
    with gf.variable_scope("other"):
        other = step(fed_x, fed_y)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for _ in range(2):
            session.run(iterator.initializer)
            for n in (0, 8, 16):
                got = session.run(fetches)
                same(got, session.run(other, {fed_x: rows[n : n + 8], fed_y: rows[n : n + 8].sum(1)}), 1e-4)
            with pytest.raises(gf.errors.OutOfRangeError):
                session.run(fetches)
        plan = session.plan(fetches)
        assert isinstance(plan, CutPlan)
        first, rest = plan.parts
        assert not first.launches and len(rest.steps) == 1 and rest.launches
        assert session.run(gf.train.get_global_step()) == 12  # of two models, three steps, twice


def test_a_step_fed_by_a_queue():
    queue = gf.FIFOQueue(100, [gf.float32, gf.float32], [[6], []])
    rows = np.random.RandomState(0).rand(11, 6).astype(np.float32)
    fill = queue.enqueue_many([rows, rows.sum(1)])
    x, y = queue.dequeue_up_to(4)
    fetches = [*step(x, y), gf.shape(x)]
    close = queue.close()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(fill)
        session.run(close)
        assert [session.run(fetches)[2].tolist() for _ in range(3)] == [[4, 6], [4, 6], [3, 6]]
        assert host_steps(session, fetches)[-1] == []
        with pytest.raises(gf.errors.OutOfRangeError):
            session.run(fetches)


def test_states_of_variables_are_seen_as_if_nothing_had_been_cut(monkeypatch):
    """What reads before a write sees the old value on either side of a cut, what reads after it the new one."""
    mask = gf.placeholder(gf.bool, [None])
    v = gf.Variable(np.arange(4, dtype=np.float32))
    early = v.read_value() * 10.0
    with gf.control_dependencies([early]):
        written = gf.assign_add(v, gf.ones([4]))
    found = gf.boolean_mask(written, mask)  # sizes follow from what was written
    late = gf.sigmoid(gf.tanh(found * 2.0) + 1.0) * gf.reduce_sum(v.read_value())
    with gf.control_dependencies([late]):
        again = gf.assign(v, v.read_value() * gf.reduce_sum(late))
    with gf.control_dependencies([again]):
        last = v.read_value() + 0.0
    fetches = [early, written, found, late, again, last, v]
    initialize = gf.global_variables_initializer()
    with gf.Session() as session, reference(monkeypatch) as bodies:
        for one in (session, bodies):
            one.run(initialize)
        for kept in ([1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]):
            values = {mask: np.array(kept, bool)}
            same(session.run(fetches, values), bodies.run(fetches, values))
            same([session.run(v)], [bodies.run(v)])


def test_an_error_behind_the_cut_leaves_variables_as_they_are():
    x, n = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.int32, [])
    v, w = gf.Variable(1.0), gf.Variable([1.0, 2.0])
    (some,) = gf.py_func(lambda a: [a[a > 0]], [x], [gf.float32])
    some.set_shape([None])
    picked = gf.gather(gf.exp(some) * 2.0 + some, n)
    with gf.control_dependencies([picked]):
        steps = [v.assign(gf.reduce_sum(some * some) + picked).op, w.assign(w * 2.0).op]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.InvalidArgumentError, match="GatherV2"):
            session.run([picked, *steps], {x: [1.0, 2.0], n: 7})
        assert session.run(v) == 1.0 and session.run(w).tolist() == [1.0, 2.0]
        session.run([picked, *steps], {x: [0.0, 2.0], n: 0})
        np.testing.assert_allclose(session.run(v), 4 + 2 * np.exp(2) + 2, rtol=1e-6)
        assert session.run(w).tolist() == [2.0, 4.0]


def test_nothing_is_taken_where_a_variable_has_no_value():
    iterator = gf.data.make_one_shot_iterator(gf.data.Dataset.range(10).batch(3))
    batch = gf.cast(iterator.get_next(), gf.float32)
    v = gf.Variable(2.0)
    loss = gf.reduce_sum(gf.exp(gf.tanh(batch * v)) + gf.square(batch) * v)
    seen = gf.reduce_min(batch)
    with gf.Session() as session:
        with pytest.raises(gf.errors.FailedPreconditionError, match="uninitialized"):
            session.run([loss, seen])
        session.run(gf.global_variables_initializer())
        assert session.run([loss, seen])[1] == 0.0


def test_what_acts_keeps_its_order():
    done: list[str] = []

    def act(name: str, value: Any, make: Callable[[Any], Any] = lambda a: a) -> Any:
        def body(array: Any) -> Any:
            done.append(name)
            return make(array)

        (made,) = gf.py_func(body, [value], [gf.float32])
        made.set_shape([None])
        return made

    x = gf.placeholder(gf.float32, [None])
    a = act("a", x, lambda array: array[array > 0])
    b = act("b", gf.exp(gf.tanh(a) * 2.0) + gf.square(a) - 1.0)
    c = act("c", x)
    with gf.control_dependencies([b]):
        d = act("d", x * 2.0)
    e = act("e", gf.sigmoid(b) * gf.tanh(b) + gf.exp(b) * gf.square(d))
    with gf.Session() as session:
        for _ in range(2):
            done.clear()
            session.run([e, c], {x: [1.0, 2.0]})
            assert done == ["a", "b", "c", "d", "e"]


def test_who_waits_can_be_stopped():
    queue = gf.FIFOQueue(10, [gf.float32], [[6]])
    rows = queue.dequeue_up_to(3)
    fetches = step(rows, gf.reduce_sum(rows, 1))
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.DeadlineExceededError):
            session.run(fetches, options=gf.RunOptions(timeout_in_ms=30))
        failed: list[Exception] = []

        def wait() -> None:
            try:
                session.run(fetches)
            except gf.errors.OpError as error:
                failed.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        until_it_waits(thread)
        session.close()
        thread.join(120)
        assert not thread.is_alive() and isinstance(failed[0], gf.errors.CancelledError)


def test_many_threads_at_once():
    feeds, fetches, _ = masked()
    kept = fetches[-1]
    result = gf.reduce_sum(gf.exp(gf.tanh(kept)) + gf.square(kept) * 2.0)
    wrong: list[Any] = []
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        wanted = {n: session.run(result, feeds(n)) for n in range(2, 10)}

        def work(seed: int) -> None:
            for n in np.random.RandomState(seed).randint(2, 10, 60).tolist():
                got = session.run(result, feeds(n))
                if got != wanted[n]:
                    wrong.append((n, got))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_what_a_run_was_like_can_be_seen():
    feeds, fetches, _ = masked()
    values = feeds(9)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        before = session.plan(fetches, values)
        assert "planned in the run" in before.summary()
        metadata = gf.RunMetadata()
        options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
        got = session.run(fetches, values, options, metadata)
        assert got[2].tolist() == [int(values[list(values)[1]].sum()), 6]
        names = [node.node_name for device in metadata.step_stats.dev_stats for node in device.node_stats]
        assert any("Where" in name for name in names) and any("MatMul" in name for name in names)
        after = session.plan(fetches, values)
        assert "MatMul" in after.summary() and after.cost.flops > before.first.plan.cost.flops
        profile = gf.profile(session, fetches, values, runs=2)
        assert {step.host for step in profile.steps} == {True, False}
        assert any(step.type == "Where" for step in profile.steps) and profile.cost.flops > 0


def test_a_variable_of_open_shape_may_change_behind_the_cut():
    x = gf.placeholder(gf.float32, [None])
    v = gf.Variable(np.ones(3, np.float32), validate_shape=False)
    given = gf.placeholder(gf.float32, [None])
    longer = gf.assign(v, given, validate_shape=False)
    calls: list[int] = []

    def positive(array: Array) -> list[Array]:
        calls.append(1)
        return [array[array > 0]]

    (some,) = gf.py_func(positive, [x], [gf.float32])
    result = gf.reduce_sum(gf.exp(gf.tanh(some)) * gf.reduce_sum(v) + gf.square(some))
    with gf.Session() as session:
        session.run(v.initializer)
        for n in (3.0, 5.0, 7.0):
            assert session.run(result, {x: [-1.0, 0.5]}) == pytest.approx(
                np.exp(np.tanh(0.5)) * n + 0.25, rel=1e-5
            )
            session.run(longer.op, {given: np.ones(int(n) + 2)})
    assert len(calls) == 3  # what had run by then has not run again


def test_little_work_stays_where_it_is():
    x = gf.placeholder(gf.float32, [None])
    total = gf.reduce_sum(gf.boolean_mask(x, x > 0.0))
    with gf.Session() as session:
        assert session.run(total, {x: [1.0, -1.0, 2.0]}) == 3.0
        assert not isinstance(session.plan(total, {x: [1.0, -1.0, 2.0]}), CutPlan)


# -- random programs ----------------------------------------------------------------------------------------------


@st.composite
def programs(draw: st.DrawFn) -> Any:
    """Builds a function of a matrix whose rows are picked and joined, again and again, between elementwise steps."""
    kinds = ["tanh", "exp", "row", "add", "mask", "unique", "matmul", "sum", "python", "assign", "softmax"]
    return draw(st.lists(st.sampled_from(kinds), min_size=4, max_size=14)), draw(st.integers(0, 5))


def build(kinds: Sequence[str], v: gf.Variable, x: Any) -> list[Any]:
    values, picked = [x], x
    order: list[Any] = []
    for number, kind in enumerate(kinds):
        with gf.control_dependencies(order[-1:]):
            if kind == "tanh":
                picked = gf.tanh(picked)
            elif kind == "exp":
                picked = gf.exp(gf.minimum(picked, 1.0) * 0.5)
            elif kind == "row":
                picked = picked - gf.reduce_mean(picked, 1, keepdims=True)
            elif kind == "add":
                picked = picked + gf.reduce_sum(values[number // 2], 0) * 0.1
            elif kind == "mask":
                # Which rows is no matter of roundings.
                picked = gf.boolean_mask(
                    picked, gf.not_equal(gf.range(gf.shape(picked)[0]) % (number % 3 + 2), 1)
                )
            elif kind == "unique":
                ids = gf.floor(gf.cast(gf.range(gf.shape(picked)[0]), gf.float32) * 0.7)
                found, place = gf.unique(ids)
                picked = gf.unsorted_segment_sum(picked, place, gf.size(found)) * 0.5
            elif kind == "matmul":
                picked = gf.matmul(picked, v.read_value()) * 0.5
            elif kind == "sum":
                picked = picked * gf.reduce_sum(picked) * 0.01
            elif kind == "python":
                (picked,) = gf.py_func(lambda a: [a[::2] + 1], [picked], [gf.float32])
                picked.set_shape([None, 3])
            elif kind == "assign":
                order.append(gf.assign_add(v, gf.ones([3, 3]) * 0.01 * gf.reduce_sum(gf.tanh(picked))))
            else:
                picked = gf.nn.softmax(picked)
        values.append(picked)
    return [*values[1:], *order, gf.reduce_sum(v.read_value())]


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(programs())
def test_random_programs_give_what_the_bodies_give(case):
    kinds, seed = case
    with gf.Graph().as_default(), pytest.MonkeyPatch.context() as monkeypatch:
        x = gf.placeholder(gf.float32, [None, 3])
        v = gf.Variable(np.eye(3, dtype=np.float32))
        fetches = build(kinds, v, x)
        initialize = gf.global_variables_initializer()
        with gf.Session() as session, reference(monkeypatch) as bodies:
            session.run(initialize)
            bodies.run(initialize)
            for n in (6, 9, 6, 0):
                values = {x: np.random.RandomState(seed + n).rand(n, 3).astype(np.float32)}
                same(session.run(fetches, values), bodies.run(fetches, values), 1e-3)
