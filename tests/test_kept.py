"""What lasts from run to run: packs and folded weights, kept until a variable they were made of is written."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.compiler import compile_graph
from graphflow.hoist import Group, Use, lasting_groups
from graphflow.plan import Plan
from graphflow.variable_store import VariableStore


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def plan_of(fetches: list[Any], feeds: list[Any], values: list[np.ndarray], state: VariableStore) -> Plan:
    return compile_graph(fetches, feeds).bind(tuple(v.shape for v in values), state).plan


# -- which steps ---------------------------------------------------------------------------------------------


def use(reads: str, writes: str, movable: bool = True, cost: float = 1.0) -> Use:
    return Use(frozenset(map(ord, reads)), frozenset(map(ord, writes)), movable, cost)


def groups(
    uses: list[Use], handed_out: str = "", worth: float = 0.0
) -> list[tuple[tuple[int, ...], str, str]]:
    """Capitals are constants, "v" to "z" variables, all else is made by steps or fed."""
    found: list[Group] = lasting_groups(
        uses, set(map(ord, "ABC")), set(map(ord, "vwxyz")), set(map(ord, handed_out)), worth
    )
    return [(g.steps, "".join(map(chr, g.kept)), "".join(sorted(map(chr, g.variables)))) for g in found]


def test_what_depends_on_constants_and_variables_lasts() -> None:
    uses = [use("A", "a"), use("w", "b"), use("ab", "c"), use("cf", "d"), use("dB", "e")]
    assert groups(uses) == [((0, 1, 2), "c", "w")]
    assert groups([use("A", "a"), use("af", "b")]) == [((0,), "a", "")]


def test_what_nobody_needs_in_every_run_is_left_there() -> None:
    assert groups([use("w", "a"), use("a", "b")], handed_out="b") == []
    assert groups([use("w", "a"), use("a", "b"), use("af", "c")], handed_out="ab") == [((0,), "a", "w")]


def test_groups_are_told_apart_by_their_variables() -> None:
    uses = [use("v", "a"), use("w", "b"), use("v", "c"), use("A", "d"), use("abcdf", "e")]
    assert groups(uses) == [((0, 2), "ac", "v"), ((1,), "b", "w"), ((3,), "d", "")]


def test_memory_that_a_changing_step_completes_does_not_last() -> None:
    assert groups([use("w", "a"), use("fa", "a"), use("a", "b")]) == []
    assert groups([use("w", "a"), use("B", "a"), use("af", "b")]) == [((0, 1), "a", "w")]


def test_steps_that_must_stay_and_what_is_not_worth_it() -> None:
    assert groups([use("w", "a", movable=False), use("af", "b")]) == []
    assert groups([use("w", "a"), use("af", "b")], worth=2.0) == []
    assert groups([use("A", "a"), use("af", "b")], worth=2.0) == [((0,), "a", "")]


# -- runs ------------------------------------------------------------------------------------------------------


SHAPES = [(3, 70, 33), (20, 37, 45), (16, 64, 96), (1, 128, 100), (29, 10, 260), (128, 1, 40), (5, 800, 17)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_products_with_lasting_weights(shape: tuple[int, int, int], transposed: bool, frozen: bool) -> None:
    m, n, k = shape
    value = numbers(n, k, seed=1) if transposed else numbers(k, n, seed=1)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, k])
        w = gf.constant(value) if frozen else gf.Variable(value)
        y = gf.nn.relu(gf.matmul(x, w, transpose_b=transposed)) * 2.0
        session.run(gf.global_variables_initializer())
        for seed in range(3):
            fed = numbers(m, k, seed=seed)
            wanted = 2 * np.maximum(fed.astype(np.float64) @ (value.T if transposed else value), 0)
            np.testing.assert_allclose(session.run(y, {x: fed}), wanted, atol=1e-4)


def test_a_written_variable_is_packed_again() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [20, 50])
        w = gf.Variable(numbers(50, 70))
        y = gf.matmul(x, w)
        z = gf.matmul(y, w, transpose_b=True)
        new = gf.placeholder(gf.float32, [50, 70])
        assign, add = w.assign(new), w.assign_add(new)
        session.run(w.initializer)
        fed, value = numbers(20, 50, seed=5), numbers(50, 70)
        for seed in range(4):
            for _ in range(2):
                np.testing.assert_allclose(session.run(y, {x: fed}), fed @ value, atol=1e-4)
                np.testing.assert_allclose(session.run(z, {x: fed}), fed @ value @ value.T, atol=1e-3)
            change = numbers(50, 70, seed=seed)
            if seed % 2:
                session.run(assign, {new: change})
                value = change
            else:
                session.run(add, {new: change})
                value = value + change
        w.load(numbers(50, 70, seed=9), session)
        np.testing.assert_allclose(session.run(y, {x: fed}), fed @ numbers(50, 70, seed=9), atol=1e-4)


def test_training_between_predictions() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [None, 40])
        w, b = gf.Variable(numbers(40, 33)), gf.Variable(numbers(33))
        y = gf.matmul(x, w) + b
        train = gf.train.GradientDescentOptimizer(0.1).minimize(gf.reduce_mean(y * y))
        fed = numbers(30, 40, seed=3)
        with gf.Session() as session, gf.Session() as other:
            for each in (session, other):
                each.run(gf.global_variables_initializer())
            first = session.run(y, {x: fed})
            for step in range(5):
                session.run(train, {x: fed})
                w_now, b_now = session.run([w, b])
                np.testing.assert_allclose(session.run(y, {x: fed}), fed @ w_now + b_now, atol=1e-5)
                if step % 2:
                    np.testing.assert_allclose(other.run(y, {x: fed}), first, atol=1e-6)


def test_convolutions_and_folded_scales() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [2, 9, 9, 5])
        w, scale = gf.Variable(numbers(3, 3, 5, 37)), gf.Variable(numbers(37, seed=1))
        y = gf.nn.conv2d(x, w * scale, strides=[1, 1, 1, 1], padding="SAME")
        session.run(gf.global_variables_initializer())
        fed = numbers(2, 9, 9, 5, seed=2)
        before = session.run(y, {x: fed})
        session.run(scale.assign(2 * numbers(37, seed=1)))
        np.testing.assert_allclose(session.run(y, {x: fed}), 2 * before, rtol=1e-4, atol=1e-5)
        plan = plan_of([y], [x], [fed], session._state)
        assert len(plan.launches) == 1 and len(plan.kept) == 1
        assert sorted(plan.kept[0].keys) == sorted([w.op.name, scale.op.name])


def test_constants_are_packed_when_the_plan_is_made() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [20, 50])
        y = gf.matmul(
            gf.matmul(x, gf.constant(numbers(50, 70))), gf.constant(numbers(40, 70)), transpose_b=True
        )
        fed = numbers(20, 50, seed=1)
        plan = plan_of([y], [x], [fed], VariableStore())
        assert len(plan.launches) == 2 and not plan.kept and not plan.variables
        assert {array.dtype for array in plan.constants.values()} == {np.dtype(np.uint8)}, (
            "panels alone are left"
        )
        np.testing.assert_allclose(plan.run([fed])[0], fed @ numbers(50, 70) @ numbers(40, 70).T, atol=1e-3)
        assert "done beforehand" in plan.summary()


def test_weights_shared_by_steps_of_a_loop_are_turned_once() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [20, 48])
        w = gf.Variable(numbers(48, 48) / 7)
        h = x
        for _ in range(6):
            h = gf.tanh(gf.matmul(h, w))
        train = gf.train.GradientDescentOptimizer(0.1).minimize(gf.reduce_sum(h))
        plan = plan_of([h, train], [x], [numbers(20, 48)], VariableStore())
        packs = [launch.name for launch in plan.launches if "pack_b" in launch.name]
        # Turned, for the gradients: all others read the panels that it is stored in.
        assert len(packs) == 1, packs


def test_fetched_and_checked_values_are_computed_in_the_run() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        table, rows = gf.Variable(numbers(30, 64)), gf.Variable(np.array([1, 29, 4], np.int32))
        w = gf.Variable(numbers(64, 50))
        x = gf.placeholder(gf.float32, [3, 64])
        y = gf.matmul(x + gf.gather(table, rows), gf.tanh(w))
        session.run(gf.global_variables_initializer())
        fed = numbers(3, 64, seed=2)
        wanted = (fed + numbers(30, 64)[[1, 29, 4]]) @ np.tanh(numbers(64, 50))
        for fetches in ([y], [y, gf.tanh(w)]):
            np.testing.assert_allclose(session.run(fetches, {x: fed})[0], wanted, atol=1e-4)
        first, second = (session.run(gf.tanh(w)) for _ in range(2))
        assert not np.shares_memory(first, second)
        session.run(rows.assign([1, 30, 4]))
        with pytest.raises(gf.errors.InvalidArgumentError):
            session.run(y, {x: fed})


def test_variables_without_a_value() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [20, 48])
        w = gf.Variable(numbers(48, 48))
        y = gf.matmul(x, w)
        with pytest.raises(gf.errors.FailedPreconditionError, match="uninitialized"):
            session.run(y, {x: numbers(20, 48)})
        session.run(w.initializer)
        np.testing.assert_allclose(
            session.run(y, {x: numbers(20, 48)}), numbers(20, 48) @ numbers(48, 48), atol=1e-4
        )


def test_threads_see_what_was_written_before_their_run() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [20, 40])
        w = gf.Variable(np.zeros((40, 64), np.float32))
        y = gf.matmul(x, w)
        count = w.assign_add(np.ones((40, 64), np.float32))
        session.run(w.initializer)
        fed = np.ones((20, 40), np.float32)
        done = 0
        wrong: list[tuple[float, int, int]] = []
        stop = threading.Event()

        def predict() -> None:
            while not stop.is_set():
                low = done
                found = session.run(y, {x: fed})
                high = done + 1
                if found.min() != found.max() or not 40 * low <= found[0, 0] <= 40 * high:
                    wrong.append((float(found[0, 0]), low, high))

        threads = [threading.Thread(target=predict) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            session.run(count.op)
            done += 1
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong


def test_summary_names_what_is_kept() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [20, 48])
        w = gf.Variable(numbers(48, 48), name="weights")
        y = gf.matmul(x, w)
        session.run(w.initializer)
        fed = numbers(20, 48)
        plan = plan_of([y], [x], [fed], session._state)
        assert "kept until weights is written" in plan.summary() and "pack_b" in plan.summary()
        assert plan.peak_bytes >= 64 * 48 * 4


# -- plans for other sizes ---------------------------------------------------------------------------------------


def kept_by_batch(session: gf.Session, y: gf.Tensor, x: gf.Tensor, value: np.ndarray) -> list[Any]:
    """Runs with several batches; returns what each one's plan keeps."""
    found = []
    for batch in (64, 20, 37):
        fed = numbers(batch, value.shape[0], seed=batch)
        np.testing.assert_allclose(session.run(y, {x: fed}), fed @ value, atol=1e-3)
        found.append([kept.plan for kept in session.plan(y, {x: fed}).kept])
    return found


def test_plans_for_other_batches_share_what_is_kept() -> None:
    value = numbers(300, 200)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 300])
        w = gf.Variable(value, name="w")
        y = gf.matmul(x, w)
        session.run(w.initializer)
        first, *others = kept_by_batch(session, y, x, value)
        assert len(first) == 1 and others == [first, first]
        # What was kept is made anew for all of them.
        session.run(w.assign(2 * value))
        assert kept_by_batch(session, y, x, 2 * value) == [first] * 3


def test_another_variable_or_another_product_keeps_its_own() -> None:
    value = numbers(300, 200)
    plans = []
    for name, transposed in (("w", False), ("v", False), ("w", True)):
        with gf.Graph().as_default(), gf.Session() as session:
            x = gf.placeholder(gf.float32, [None, 300])
            w = gf.Variable(value.T if transposed else value, name=name)
            y = gf.matmul(x, w, transpose_b=transposed)
            session.run(w.initializer)
            plans += kept_by_batch(session, y, x, value)[0]
    assert len(plans) == 3 and len(set(plans)) == 3


def test_equal_names_in_two_sessions_keep_their_own_values() -> None:
    sessions = []
    for seed in range(2):
        value = numbers(300, 200, seed=seed)
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float32, [None, 300])
            w = gf.Variable(value, name="w")
            y = gf.matmul(x, w)
            session = gf.Session(graph=graph)
            session.run(w.initializer)
            sessions.append((session, y, x, value))
    for _ in range(2):
        for session, y, x, value in sessions:
            kept_by_batch(session, y, x, value)
    for session, *_ in sessions:
        session.close()
