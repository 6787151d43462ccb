"""Loops and branches inside the native call: no host steps, the bodies' numbers, one compile for all lengths."""

from __future__ import annotations

import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.backends.cpu.jit import Jit
from graphflow.compiler import CompileOptions, compile_graph
from graphflow.opdef import emit, get_op
from graphflow.ops.random import SAMPLES_AT_ONCE
from graphflow.optimizer_passes.loop_invariants import loop_invariants
from graphflow.optimizer_passes.loop_twins import loop_twins
from graphflow.optimizer_passes.simplify import simplify
from graphflow.plan import HostStep, Plan
from graphflow.program import WHILES, Program, freeze, specialize, verify
from graphflow.session import SessionState
from graphflow.testing import TestState, check_same, run_reference


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def native(
    fetches: Sequence[Any],
    feeds: Sequence[Any] = (),
    arrays: Sequence[Any] = (),
    tolerance: float = 1e-5,
    threads: int = 2,
) -> Plan:
    """Runs compiled and with the NumPy bodies, compares, and returns the plan, which must have no host step."""
    executable = compile_graph(fetches, feeds, CompileOptions(threads=threads))
    bound = executable.bind(tuple(np.shape(a) for a in arrays), TestState())
    plan = bound.plan
    assert [step.name for step in plan.steps if isinstance(step, HostStep)] == []
    for _ in range(2):
        check_same(
            bound.run(tuple(map(np.asarray, arrays)), TestState()),
            run_reference(executable.program, arrays),
            tolerance,
        )
    return plan


X = numbers(4, 3)


def _x() -> Any:
    return gf.placeholder(gf.float32, [None, 3], name="x")


def _counted(x: Any) -> Any:
    return gf.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y * 0.5 + x), [0, x])


def _counted_down(x: Any) -> Any:
    return gf.while_loop(lambda i, y: i >= 0, lambda i, y: (i - 2, y * 0.5 + x), [7, x])


def _counter_in_use(x: Any) -> Any:
    body: Callable[..., Any] = lambda i, y: (i + 2, y + gf.cast(i * 3, gf.float32) * x)  # noqa: E731
    return gf.while_loop(lambda i, y: gf.logical_and(i < 9, i < 30), body, [1, x])


def _until(x: Any) -> Any:
    return gf.while_loop(
        lambda i, a, b: gf.reduce_sum(a) < 1000.0, lambda i, a, b: (i + 1, b, a + b), [0, x * x, gf.abs(x)]
    )


def _never(x: Any) -> Any:
    return gf.while_loop(lambda i, y: i < 0, lambda i, y: (i + 1, y * 2.0), [0, x])


def _swap(x: Any) -> Any:
    return gf.while_loop(lambda i, a, b: i < 5, lambda i, a, b: (i + 1, b, a), [0, x, 2 * x])


def _constant_result(x: Any) -> Any:
    return gf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, gf.ones([4, 3])), [0, gf.zeros([4, 3])]) + [
        x
    ]


def _nested(x: Any) -> Any:
    def outer(i: Any, y: Any) -> Any:
        _, z = gf.while_loop(lambda j, z: j < i, lambda j, z: (j + 1, z * 0.5 + y), [0, y])
        return i + 1, z - x

    return gf.while_loop(lambda i, y: i < 4, outer, [0, x])


def _branch_inside(x: Any) -> Any:
    def body(i: Any, y: Any) -> Any:
        return i + 1, gf.cond(gf.reduce_sum(y) > 3.0, lambda: y * 0.25, lambda: y * y + 1.0)

    return gf.while_loop(lambda i, y: i < 9, body, [0, x])


def _loop_in_branch(x: Any) -> Any:
    return [gf.cond(gf.reduce_sum(x) > 1e9, lambda: x, lambda: _counted(x)[1])]


def _products(x: Any) -> Any:
    w = gf.constant(numbers(3, 3, seed=1))
    return gf.while_loop(lambda i, y: i < 6, lambda i, y: (i + 1, gf.tanh(gf.matmul(y, w) + x)), [0, x])


def _reshaped_in_turn(x: Any) -> Any:
    body: Callable[..., Any] = lambda i, y: (i + 1, gf.reshape(gf.transpose(y), [4, 3]))  # noqa: E731
    return gf.while_loop(lambda i, y: i < 3, body, [0, gf.reshape(x, [4, 3])])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        _counted, _counted_down, _counter_in_use, _until, _never, _swap, _constant_result, _nested, _branch_inside,
        _loop_in_branch, _products, _reshaped_in_turn,
    ],
    ids=lambda make: make.__name__.strip("_"),
)  # fmt: skip
def test_loops_run_natively(make: Callable[[Any], Any], threads: int) -> None:
    x = _x()
    native(list(make(x)), [x], [X], threads=threads)


def test_a_counter_that_nobody_needs_takes_no_step() -> None:
    x = _x()
    plan = native([_counted(x)[1], *_counted(x)], [x], [X])
    assert not [launch for launch in plan.launches if launch.name.endswith("body/add")]
    assert ", 5 turns" in plan.summary()


def test_a_matrix_that_every_turn_multiplies_by_is_packed_before_the_loop() -> None:
    x = _x()
    w = gf.placeholder(gf.float32, [3, 3])
    _, y = gf.while_loop(lambda i, y: i < 6, lambda i, y: (i + 1, gf.matmul(y, w) + x), [0, x])
    lines = native([y], [x, w], [X, numbers(3, 3)]).summary().splitlines()
    loop = next(i for i, line in enumerate(lines) if "loop while" in line)
    assert any("pack_b" in line for line in lines[:loop])
    # Product and sum are one launch, and nothing is copied within a turn.
    assert [line for line in lines[loop + 1 : lines.index("    then")] if "----" not in line] == [
        line for line in lines if "MatMul(" in line
    ]


def test_any_number_of_turns_and_rows_needs_one_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    x, n = _x(), gf.placeholder(gf.int32, [], name="n")
    _, y = gf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, y * 1.5 - x), [0, x])
    executable = compile_graph([y], [x, n])
    for number, (rows, turns) in enumerate(((2, 3), (5, 0), (1, 40), (7, -2))):
        if number:
            monkeypatch.setattr(Jit, "_load", lambda *_: pytest.fail("compiles"))
        fed = (numbers(rows, 3), np.array(turns, np.int32))
        bound = executable.bind(((rows, 3), ()), TestState())
        check_same(bound.run(fed, TestState()), run_reference(executable.program, fed), 1e-5)


def test_a_loop_reads_rows_by_its_counter() -> None:
    rows = gf.placeholder(gf.float32, [6, 3])
    back: Callable[..., Any] = lambda i, s: (i + 1, s * 0.5 + gf.gather(rows, 5 - i))  # noqa: E731
    _, y = gf.while_loop(lambda i, s: i < 6, back, [0, gf.zeros([3])])
    plan = native([y], [rows], [numbers(6, 3)])
    assert not [launch for launch in plan.launches if "Gather" in launch.name or "check" in launch.name]


def test_a_row_that_does_not_exist_is_refused_as_ever() -> None:
    rows = gf.placeholder(gf.float32, [6, 3])
    _, y = gf.while_loop(lambda i, s: i < 8, lambda i, s: (i + 1, s + gf.gather(rows, i)), [0, gf.zeros([3])])
    with gf.Session() as session, pytest.raises(gf.errors.InvalidArgumentError, match="6"):
        session.run(y, {rows: numbers(6, 3)})


# -- lists ----------------------------------------------------------------------------------------------------


def _recurrent(rows: Any, back: bool = False) -> list[Any]:
    count = gf.shape(rows)[0]
    given = gf.TensorArray(gf.float32, size=count).unstack(rows)
    made = gf.TensorArray(gf.float32, size=count)

    def body(i: Any, h: Any, made: Any) -> Any:
        at = count - 1 - i if back else i
        h = gf.tanh(given.read(at) + h * 0.5)
        return i + 1, h, made.write(at, h * 2.0)

    _, h, made = gf.while_loop(lambda i, h, m: i < count, body, [0, gf.zeros([4, 3]), made])
    return [made.stack(), h]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_a_recurrence_over_arrays_is_one_launch_per_turn(back: bool, length: int) -> None:
    rows = gf.placeholder(gf.float32, [None, 4, 3], name="rows")
    plan = native(_recurrent(rows, back), [rows], [numbers(length, 4, 3)])
    # The state's start and end, and what every turn does: read its row, set its row.
    assert len(plan.launches) == 3


def test_one_compile_for_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gf.placeholder(gf.float32, [None, 4, 3], name="rows")
    executable = compile_graph(_recurrent(rows), [rows])
    for length in (3, 8, 1, 50):
        fed = (numbers(length, 4, 3),)
        bound = executable.bind((fed[0].shape,), TestState())
        check_same(bound.run(fed, TestState()), run_reference(executable.program, fed), 1e-5)
        monkeypatch.setattr(Jit, "_load", lambda *_: pytest.fail("compiles"))


def test_rows_may_be_chosen_by_what_the_turns_compute() -> None:
    order = gf.placeholder(gf.int32, [5])
    x = gf.placeholder(gf.float32, [5, 3])
    made = gf.TensorArray(gf.float32, size=6, element_shape=[3], clear_after_read=False)

    def body(i: Any, made: Any) -> Any:
        return i + 1, made.write(gf.gather(order, i), gf.gather(x, i) * 2.0)

    _, made = gf.while_loop(lambda i, m: i < 5, body, [0, made])
    # Row 4 is never written: zeros.
    native([made.stack()], [order, x], [np.array([3, 0, 5, 1, 2], np.int32), numbers(5, 3)])
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InvalidArgumentError, match="modify element 6 in a list with 6"),
    ):
        session.run(made.stack(), {order: [3, 0, 6, 1, 2], x: numbers(5, 3)})


def test_what_is_read_back_from_an_array_is_what_was_written() -> None:
    x = gf.placeholder(gf.float32, [3])
    made = gf.TensorArray(gf.float32, size=7, element_shape=[3], clear_after_read=False).write(0, x)

    def body(i: Any, made: Any) -> Any:
        return i + 1, made.write(i, gf.sin(made.read(i - 1)) + x)

    _, made = gf.while_loop(lambda i, m: i < 7, body, [1, made])
    native([made.stack()], [x], [numbers(3)])


def test_of_two_writes_to_a_row_in_one_turn_the_later_one_stays() -> None:
    x = gf.placeholder(gf.float32, [3])
    # Of an array, which refuses it, an element may be written once; of a list as often as one likes.
    made = emit.TensorListReserve(gf.constant([3]), gf.constant(4), element_dtype=gf.float32)

    def body(i: Any, made: Any) -> Any:
        return i + 1, emit.TensorListSetItem(emit.TensorListSetItem(made, i, x), i + 0, x * 2.0)

    _, made = gf.while_loop(lambda i, m: i < 4, body, [0, made])
    native([emit.TensorListStack(made, gf.constant([3]), element_dtype=gf.float32)], [x], [numbers(3)])


def test_rows_that_are_scattered() -> None:
    x = gf.placeholder(gf.float32, [3, 2])
    made = gf.TensorArray(gf.float32, size=5, element_shape=[2], clear_after_read=False)
    made = made.scatter([4, 0, 2], gf.sin(x))
    _, y = gf.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y * 0.5 + made.read(i)), [0, gf.zeros([2])])
    gradient = gf.gradients(y, x)
    native([y, made.gather([2, 4]), *gradient], [x], [numbers(3, 2)])


def test_rows_kept_before_and_after_a_turn() -> None:
    x = gf.placeholder(gf.float32, [3])
    arrays = [gf.TensorArray(gf.float32, size=4, element_shape=[3]) for _ in range(3)]

    def body(i: Any, h: Any, *arrays: Any) -> Any:
        after = gf.sin(h) + 1.0
        return (
            i + 1,
            after,
            *(array.write(i, item) for array, item in zip(arrays, (h, after, h), strict=True)),
        )

    _, h, *arrays = gf.while_loop(lambda i, *_: i < 4, body, [0, x, *arrays])
    native([h, h + 1.0, *(array.stack() for array in arrays)], [x], [numbers(3)])


def test_loops_that_data_ends_set_rows_too() -> None:
    x, n = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.int32, [])
    made = gf.TensorArray(gf.float32, size=4, element_shape=[3])
    goes_on: Callable[..., Any] = lambda i, s, _: gf.logical_and(i < n, gf.reduce_sum(s) < 9.0)  # noqa: E731
    _, s, made = gf.while_loop(goes_on, lambda i, s, m: (i + 1, s * 1.5, m.write(i, s)), [0, gf.abs(x), made])
    for turns in (0, 2, 4):
        native([s, made.stack()], [x, n], [numbers(3), np.array(turns, np.int32)])


def test_lists_of_elements_of_several_shapes_stay_with_the_host() -> None:
    x = gf.placeholder(gf.float32, [3])
    made = gf.TensorArray(gf.float32, size=2, infer_shape=False, clear_after_read=False)
    made = made.write(0, x).write(1, gf.concat([x, x], 0))
    with gf.Session() as session:
        np.testing.assert_array_equal(
            session.run(made.concat(), {x: [1, 2, 3]}), np.array([1, 2, 3, 1, 2, 3, 1, 2, 3], np.float32)
        )


def test_each_row_is_set_where_it_lies_whatever_the_threads() -> None:
    rows = gf.placeholder(gf.float32, [None, 64, 80])
    w = gf.constant(numbers(80, 80, seed=3) * np.float32(0.1))
    given = gf.TensorArray(gf.float32, size=gf.shape(rows)[0]).unstack(rows)
    made = gf.TensorArray(gf.float32, size=gf.shape(rows)[0])

    def body(i: Any, h: Any, made: Any) -> Any:
        h = gf.tanh(gf.matmul(h, w) + given.read(i))
        return i + 1, h, made.write(i, h)

    _, h, made = gf.while_loop(lambda i, h, m: i < gf.shape(rows)[0], body, [0, gf.zeros([64, 80]), made])
    fetches, fed = [made.stack(), h], (numbers(12, 64, 80),)
    outs = []
    for threads in (1, 2, 3):
        bound = compile_graph(fetches, [rows], CompileOptions(threads=threads)).bind(
            (fed[0].shape,), TestState()
        )
        outs.append(b"".join(array.tobytes() for array in bound.run(fed, TestState())))
    assert outs[0] == outs[1] == outs[2]


def test_rows_by_number_and_their_gradients_are_alike_on_any_number_of_threads() -> None:
    """Also an array whose places are data, of which the run sees to it that none is written twice."""
    x = gf.placeholder(gf.float32, [None, 32, 80])
    words, order = gf.placeholder(gf.int32, [32, None]), gf.placeholder(gf.int32, [None])
    table = gf.placeholder(gf.float32, [50, 80])
    steps = gf.shape(x)[0]
    made = gf.TensorArray(gf.float32, size=steps, element_shape=[32, 80])

    def turn(t: Any, h: Any, made: Any) -> Any:
        h = gf.tanh(h * 0.5 + x[t] * gf.nn.embedding_lookup(table, words[:, t]))
        return t + 1, h, made.write(gf.gather(order, t), h)

    start = [0, gf.zeros([32, 80]), made]
    made = gf.while_loop(lambda t, *_: t < steps, turn, start)[2]
    loss = gf.reduce_sum(gf.square(made.stack()))
    fetches = [loss, *map(gf.convert_to_tensor, gf.gradients(loss, [x, table]))]
    feeds = [x, words, table, order]
    arrays = (
        numbers(6, 32, 80), np.random.default_rng(1).integers(0, 50, (32, 6)).astype(np.int32), numbers(50, 80, seed=2),
        np.array([3, 0, 5, 1, 2, 4], np.int32),
    )  # fmt: skip
    native(fetches, feeds, arrays, 1e-4)
    outs = []
    for threads in (1, 2, 3):
        bound = compile_graph(fetches, feeds, CompileOptions(threads=threads)).bind(
            tuple(array.shape for array in arrays), TestState()
        )
        outs.append(b"".join(array.tobytes() for array in bound.run(arrays, TestState())))
    assert outs[0] == outs[1] == outs[2]


# -- sums over turns ------------------------------------------------------------------------------------------


def _with_sums(rows: Any, back: bool, stored: bool) -> list[Any]:
    """A loop as a gradient has it: what it sums up needs only what each turn reads and makes."""
    count = gf.shape(rows)[0]
    given = gf.TensorArray(gf.float32, size=count).unstack(rows)
    made = gf.TensorArray(gf.float32, size=count)
    w = gf.constant(numbers(5, 5, seed=2))

    def body(i: Any, h: Any, product: Any, bias: Any, made: Any) -> Any:
        at = count - 1 - i if back else i
        x = given.read(at)
        h = gf.tanh(x + gf.matmul(h, w))
        product += gf.matmul(x, h, transpose_a=True)
        bias += gf.reduce_sum(h, 0)
        return i + 1, h, product, bias, made.write(at, h) if stored else made

    start = [0, gf.zeros([2, 5]), gf.zeros([5, 5]), gf.ones([5]), made]
    _, h, product, bias, made = gf.while_loop(lambda i, *_: i < count, body, start)
    return [h, product, bias, *([made.stack()] if stored else [])]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_sums_are_taken_of_stacks_after_the_loop(back: bool, stored: bool) -> None:
    rows = gf.placeholder(gf.float32, [None, 2, 5], name="rows")
    plan = native(_with_sums(rows, back, stored), [rows], [numbers(7, 2, 5)])
    lines = plan.summary().splitlines()
    inside = lines[
        next(i for i, line in enumerate(lines) if " loop " in line) : lines.index("    end of loop")
    ]
    assert not [line for line in inside if "reduce_sum" in line or "Sum" in line or "add_" in line]
    assert sum("MatMul" in line or "Tanh" in line for line in inside) == 1


def test_sums_that_turns_look_at_stay() -> None:
    x = _x()
    w = gf.constant(numbers(3, 3))

    def body(i: Any, h: Any, total: Any) -> Any:
        total += gf.matmul(h, h, transpose_a=True)
        return i + 1, gf.tanh(gf.matmul(h, w) + total[:1]), total

    _, h, total = gf.while_loop(lambda i, *_: i < 4, body, [0, x, gf.zeros([3, 3])])
    native([h, total], [x], [X])


# -- random numbers -------------------------------------------------------------------------------------------


def _drawn(x: Any) -> dict[str, Any]:
    """What loops and branches draw, by what they are."""
    loop = gf.while_loop

    def several(i: Any, a: Any, b: Any, c: Any) -> Any:
        a = a * 0.5 + gf.random_uniform(gf.shape(x), seed=1)
        noise = gf.random_normal([3], seed=2)
        return i + 1, a, b + noise, c + gf.random_uniform([2], maxval=9, dtype=gf.int32)

    def inner(i: Any, a: Any) -> Any:
        return i + 1, loop(lambda j, b: j < i, lambda j, b: (j + 1, b + gf.truncated_normal([5])), [0, a])[1]

    def now_and_then(i: Any, a: Any) -> Any:
        draw = lambda: a * 0.5 + gf.random_uniform([4], seed=3)  # noqa: E731
        return i + 1, gf.cond(gf.equal(i % 3, 1), draw, lambda: a + 1.0)

    def sampled(i: Any, word: Any) -> Any:
        return i + 1, gf.reshape(gf.multinomial(gf.one_hot(word, 7), 1, output_dtype=gf.int32), [3])

    return {
        "several": loop(lambda i, *_: i < 4, several, [0, x, gf.zeros([3]), gf.zeros([2], gf.int32)]),
        "inner": loop(lambda i, a: i < 3, inner, [0, gf.zeros([5])]),
        "branch": loop(lambda i, a: i < 7, now_and_then, [0, gf.zeros([4])]),
        "sampled": loop(lambda i, a: i < 4, sampled, [0, gf.constant([0, 1, 2])]),
        "until": loop(
            lambda i, a: a < 3.0,
            lambda i, a: (i + 1, a + gf.reshape(gf.random_uniform([1], seed=4), [])),
            [0, 0.0],
        ),
        "choice": gf.cond(gf.reduce_sum(x) > 0, lambda: gf.random_normal([3], seed=5), lambda: gf.zeros([3])),
    }


def test_loops_that_draw_are_native_and_draw_what_they_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    gf.set_random_seed(3)
    x = _x()
    drawn = _drawn(x)
    sessions = [
        gf.Session(compile_options=CompileOptions(disabled_passes=left_out))
        for left_out in ((), {"counted_draws"})
    ]
    for fed in (X, -X, numbers(6, 3), X):
        mine, theirs = (session.run(drawn, {x: fed}) for session in sessions)
        for a, b in zip(gf.nest.flatten(mine), gf.nest.flatten(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    assert "because" not in sessions[0].plan(drawn, {x: X}).summary()
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    with gf.Session() as verified, gf.Session() as plain:
        for _ in range(2):
            a, b = (session.run(drawn["branch"], {x: X})[1] for session in (verified, plain))
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_is_set_aside_for_a_loop_and_not_drawn_is_drawn_later() -> None:
    state = SessionState()
    node = SimpleNamespace(name="draw", attrs={"seed": 3}, op_def=get_op("GraphflowTakeCounter"))
    assert state.reserve(node, 1) == ((3, 0), 0)
    state.give_back("draw", SAMPLES_AT_ONCE - 5)
    assert state.reserve(node, 1) == ((3, 0), 5)
    assert state.reserve(node, 1) == ((3, 0), 5)  # the run in between has failed
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(state.reserve(node, 1)))
    other.start()
    other.join()
    assert found == [((3, 0), 5 + SAMPLES_AT_ONCE)]  # a run at the same time draws others
    state.give_back("draw", SAMPLES_AT_ONCE - 5)
    assert state.reserve(node, 1) == ((3, 0), 5 + 2 * SAMPLES_AT_ONCE)


# -- assertions -----------------------------------------------------------------------------------------------


def _asserted(x: Any) -> tuple[Any, Any]:
    """A sum over rows of which each is looked at, and a branch."""
    count = gf.shape(x)[0]

    def turn(i: Any, total: Any, made: Any) -> Any:
        row = gf.gather(x, i)
        with gf.control_dependencies([gf.assert_less(row, 9.0, data=["a row", row, i])]):
            total = gf.identity(total * 0.5 + row)
        return i + 1, total, made.write(i, total)

    array = gf.TensorArray(gf.float32, count, element_shape=[3])
    made = gf.while_loop(lambda i, *_: i < count, turn, [0, gf.zeros([3]), array])[2].stack()

    def positive() -> Any:
        with gf.control_dependencies([gf.assert_positive(x[0], message="not positive")]):
            return x[0] * 2.0

    return made, gf.cond(count > 5, lambda: x[1], positive)


def test_assertions_of_loops_are_native_and_say_what_they_said() -> None:
    x = _x()
    made, branch = _asserted(x)
    slope = gf.gradients(gf.reduce_sum(gf.square(made)), x)[0]
    good = np.abs(numbers(7, 3))
    native([made, slope, branch], [x], [good])
    bad = good.copy()
    bad[4, 1] = 11.5
    low = -good[:3]
    said = []
    for left_out in ((), {"nested_checks"}):
        with gf.Session(compile_options=CompileOptions(disabled_passes=left_out)) as session:
            for fetch, fed in ((made, bad), (branch, low)):
                session.run(fetch, {x: good})
                with pytest.raises(gf.errors.InvalidArgumentError) as caught:
                    session.run(fetch, {x: fed})
                said.append(str(caught.value))
    assert said[:2] == said[2:]
    assert "[a row] [" in said[0] and "11.5" in said[0] and "] [4]\n" in said[0] and "(Assert" not in said[0]
    assert "= Assert(" in said[0] and "not positive" in said[1]


def test_a_loop_that_only_asserts_is_run() -> None:
    x = _x()

    def turn(i: Any) -> Any:
        with gf.control_dependencies([gf.Assert(gf.reduce_all(gf.gather(x, i) < 9.0), [i])]):
            return i + 1

    i = gf.while_loop(lambda i: i < 4, turn, [0])
    with gf.Session() as session:
        assert session.run(i, {x: X}) == 4
        with pytest.raises(gf.errors.InvalidArgumentError, match=r"\[2\]"):
            session.run(i, {x: np.full((4, 3), [[1.0], [1.0], [10.0], [1.0]], np.float32)})


# -- gradients ------------------------------------------------------------------------------------------------


def _lstm(rows: Any, w: Any, u: Any) -> Any:
    """A loss of a recurrent cell over rows [time, batch, 3], hidden size 4."""
    count = gf.shape(rows)[0]
    given = gf.TensorArray(gf.float32, size=count).unstack(
        gf.reshape(gf.matmul(gf.reshape(rows, [-1, 3]), w), [-1, 2, 16])
    )
    made = gf.TensorArray(gf.float32, size=count, element_shape=[2, 4])

    def turn(t: Any, h: Any, c: Any, made: Any) -> Any:
        i, f, o, n = gf.split(given.read(t) + gf.matmul(h, u), 4, axis=1)
        c = gf.sigmoid(f + 1.0) * c + gf.sigmoid(i) * gf.tanh(n)
        h = gf.sigmoid(o) * gf.tanh(c)
        return t + 1, h, c, made.write(t, h)

    zeros = gf.zeros([2, 4])
    *_, made = gf.while_loop(lambda t, *_: t < count, turn, [0, zeros, zeros, made])
    return gf.reduce_sum(gf.square(made.stack()))


@pytest.mark.parametrize("nested", [False, True])
def test_conditions_that_ask_for_sizes_bound_gradients(nested: bool) -> None:
    x = gf.placeholder(gf.float32, [None, None, 3])

    def turn(t: Any, h: Any) -> Any:
        if not nested:
            return t + 1, gf.tanh(h * 0.5 + x[t, 0])
        within = lambda s, k: (s + 1, gf.tanh(k * 0.5 + x[t, s]))  # noqa: E731
        return t + 1, gf.while_loop(lambda s, _: s < gf.shape(x)[1], within, [0, h])[1]

    _, h = gf.while_loop(lambda t, _: t < gf.shape(x)[0], turn, [0, gf.zeros([3])])
    native([h, *gf.gradients(gf.reduce_sum(gf.square(h)), x)], [x], [numbers(4, 2, 3)])


def test_a_recurrent_cell_and_its_gradient_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gf.placeholder(gf.float32, [None, 2, 3], name="rows")
    w, u = gf.placeholder(gf.float32, [3, 16]), gf.placeholder(gf.float32, [4, 16])
    loss = _lstm(rows, w, u)
    fetches, feeds = [loss, *gf.gradients(loss, [rows, w, u])], [rows, w, u]
    weights = [numbers(3, 16, seed=1), numbers(4, 16, seed=2)]
    plan = native(fetches, feeds, [numbers(6, 2, 3), *weights])
    lines = plan.summary().splitlines()
    begin = [i for i, line in enumerate(lines) if " loop " in line]
    back = [line for line in lines[begin[1] : lines.index("    end of loop", begin[1])] if "(" in line]
    # Of the loop that goes back: what goes through the cell, and the product that gives the state's gradient.
    assert len(back) == 2 and not [line for line in back if "copy" in line]
    for length in (1, 3, 20):
        if length > 1:
            monkeypatch.setattr(Jit, "_load", lambda *_: pytest.fail("compiles"))
        native(fetches, feeds, [numbers(length, 2, 3), *weights])


@pytest.mark.parametrize("cell", ["BasicLSTMCell", "GRUCell"])
def test_recurrent_networks_train_natively_whatever_the_batch(cell: str) -> None:
    x = gf.placeholder(gf.float32, [None, None, 5])
    make = getattr(gf.nn.rnn_cell, cell)
    with gf.variable_scope("net", initializer=gf.random_uniform_initializer(-0.3, 0.3, seed=3)):
        outputs, _ = gf.nn.dynamic_rnn(make(6), x, dtype=gf.float32, time_major=True)
    with gf.variable_scope("net", reuse=True):
        unrolled, _ = gf.nn.static_rnn(make(6), [x[t] for t in range(4)], dtype=gf.float32)
    losses = [
        gf.reduce_sum(gf.square(outputs)),
        gf.add_n([gf.reduce_sum(gf.square(out)) for out in unrolled]),
    ]
    variables = gf.trainable_variables()
    gradients = [gf.gradients(loss, variables) for loss in losses]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        feeds = {x: numbers(4, 3, 5)}
        plan = session.plan([losses[0], gradients[0]], feeds)
        assert [step.name for step in plan.steps if isinstance(step, HostStep)] == []
        for ours, theirs in zip(*session.run(gradients, feeds), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def _draws(i: Any, y: Any) -> Any:
    return i + 1, gf.random_shuffle(y)


def _grows(i: Any, y: Any) -> Any:
    return i + 1, gf.concat([y, y[-1:]], 0)


def _prints(i: Any, y: Any) -> Any:
    with gf.control_dependencies([gf.print(y), gf.Assert(gf.reduce_all(y < 9.0), [y])]):
        return i + 1, y * 2.0


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (
            _draws,
            r"'while/body/.*RandomShuffle' \(RandomShuffle\) draws random numbers in every turn",
        ),
        (_grows, r"its variable .* has the shape \(\?,\), which only the run knows"),
        (_prints, r"'while/body/.*Print.*' \(.*\) acts on the world in every turn"),
    ],
)
def test_plans_say_why_a_loop_runs_from_the_host(turn: Any, reason: str) -> None:
    x = gf.placeholder(gf.float32, [None])
    open_shape = [gf.TensorShape([]), gf.TensorShape([None])]
    y = gf.while_loop(lambda i, _: i < 30, turn, [0, x], shape_invariants=open_shape)[1]
    with gf.Session() as session:
        summary = session.plan(y, {x: [1.0, 2.0, 3.0]}).summary()
    assert re.search(f"^  because {reason}$", summary, re.MULTILINE), summary


def test_what_is_assumed_of_a_list_may_be_wrong() -> None:
    """Each element is made of the one before, and larger: sizes that no list of rows has room for."""
    x = gf.placeholder(gf.float32, [None])
    made = gf.TensorArray(gf.float32, size=5, infer_shape=False, clear_after_read=False).write(0, x)

    def turn(i: Any, made: Any) -> Any:
        return i + 1, made.write(i + 1, gf.concat([made.read(i), x], 0))

    _, made = gf.while_loop(lambda i, _: i < 4, turn, [0, made])
    with gf.Session() as session:
        got = session.run([made.read(0), made.read(4)], {x: [1.0, 2.0]})
    np.testing.assert_array_equal(got[0], [1.0, 2.0])
    np.testing.assert_array_equal(got[1], [1.0, 2.0] * 5)


def test_branches_in_branches_however_deep() -> None:
    x = gf.placeholder(gf.float32, [])

    def nest(depth: int) -> Any:
        if not depth:
            return x * 2.0
        return gf.cond(x > depth, lambda: nest(depth - 1), lambda: x + depth)

    y = nest(40)
    with gf.Session() as session:
        assert [float(session.run(y, {x: value})) for value in (100.0, 20.5, -1.0)] == [200.0, 60.5, 39.0]


@pytest.mark.parametrize("batch", [1, 2])
def test_rows_are_joined_with_what_a_turn_computes(batch: int) -> None:
    """A row that lies where the list lies is no part of what it is joined with, even where one copy would do."""
    numbers = np.random.RandomState(0).randn(5, batch, 4).astype(np.float32)
    weights = np.random.RandomState(1).randn(7, 3).astype(np.float32)
    x = gf.placeholder(gf.float32, numbers.shape)
    _, state = gf.while_loop(
        lambda t, h: t < 5,
        lambda t, h: (t + 1, gf.tanh(gf.matmul(gf.concat([gf.gather(x, t), h], 1), weights))),
        (gf.constant(0), gf.zeros([batch, 3])),
    )
    wanted = np.zeros((batch, 3), np.float32)
    for row in numbers:
        wanted = np.tanh(np.concatenate([row, wanted], 1) @ weights)
    with gf.Session() as session:
        np.testing.assert_allclose(session.run(state, {x: numbers}), wanted, rtol=1e-5, atol=1e-6)


# -- loops that do not end --------------------------------------------------------------------------------------


def _endless(session: gf.Session, threads: int) -> Any:
    """A loop that turns until its run is stopped, shared among threads or not."""
    size = 200_000 if threads > 1 else 3
    _, y = gf.while_loop(
        lambda i, y: y[0] > -1.0,
        lambda i, y: (i + 1, gf.abs(gf.sin(y))),
        [0, gf.ones([size])],
        name="forever",
    )
    plan = session.plan(y)
    assert not any(isinstance(step, HostStep) for step in plan.steps)
    return y


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loop_without_end_ends_with_its_time_or_its_session(threads: int) -> None:
    config = gf.ConfigProto(intra_op_parallelism_threads=threads)
    session = gf.Session(config=config)
    y = _endless(session, threads)
    for _ in range(2):
        with pytest.raises(gf.errors.DeadlineExceededError, match=r"[Tt]imed out.*forever"):
            session.run(y, options=gf.RunOptions(timeout_in_ms=120))
    timer = threading.Timer(0.2, session.close)
    timer.start()
    with pytest.raises(gf.errors.CancelledError, match=r"closed.*forever"):
        session.run(y)
    timer.join()
    x = _x()
    native(list(_until(x)), [x], [X], threads=threads)  # the threads wait for each other as ever


def test_a_loop_without_end_heeds_an_interrupt() -> None:
    with gf.Session() as session:
        y = _endless(session, 1)
        main = threading.get_ident()
        timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                session.run(y)
        finally:
            signal.signal(signal.SIGINT, before)
            timer.join()


def test_what_every_turn_computes_alike_is_computed_in_front() -> None:
    x, w = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.float32, [3, 3])
    n = gf.placeholder(gf.int32, [])

    def outer(i: Any, h: Any) -> Any:
        def inner(j: Any, h: Any) -> Any:
            return j + 1, gf.tanh(h * gf.reduce_sum(gf.matmul(w, w), 0) + gf.sin(h[0] + gf.exp(x)))

        return i + 1, gf.while_loop(lambda j, h: j < n * 2 + i, inner, [0, h + gf.sin(x)])[1]

    result = gf.while_loop(lambda i, h: i < 3, outer, [0, x])[1]
    program = specialize(freeze([result], [x, w, n]), ((3,), (3, 3), ()), {})
    counts: Counter[str] = Counter()
    changed = loop_invariants(program, counts)
    verify(changed)

    def kinds(program: Program) -> list[str]:
        return [node.type for node in program.nodes]

    (loop,) = [node for node in changed.nodes if node.op_def in WHILES]
    (within,) = [node for node in loop.attrs["body"].nodes if node.op_def in WHILES]
    assert {"MatMul", "Sum", "Sin", "Exp", "Mul"} <= set(kinds(changed))
    assert not {"MatMul", "Sum", "Sin", "Exp"} & set(kinds(loop.attrs["body"]))
    assert not {"MatMul", "Sum", "Exp"} & set(kinds(within.attrs["body"]))
    assert set(kinds(within.attrs["cond"])) == {"GraphflowFeed", "Less"}
    assert loop_invariants(changed, Counter()) is changed
    for turns in (2, 0):
        native([result], [x, w, n], [numbers(3), numbers(3, 3), np.array(turns, np.int32)])


def test_what_could_fail_stays_in_the_loop() -> None:
    d, n = gf.placeholder(gf.int32, []), gf.placeholder(gf.int32, [])
    result = gf.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, h + 6 // d), [0, 1])[1]
    with gf.Session() as session:
        assert session.run(result, {d: 0, n: 0}) == 1
        assert session.run(result, {d: 3, n: 2}) == 5
        with pytest.raises(gf.errors.InvalidArgumentError, match="(?i)zero"):
            session.run(result, {d: 0, n: 1})


# -- turns that only the run knows ------------------------------------------------------------------------------


@pytest.mark.parametrize("both_ways", [False, True])
def test_sequences_of_several_lengths_train_natively(
    both_ways: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compile for all lengths, none and all among them; what pads the batch is not looked at."""
    x, lengths = gf.placeholder(gf.float32, [None, None, 3]), gf.placeholder(gf.int32, [None])
    cells = gf.nn.rnn_cell.BasicLSTMCell, gf.nn.rnn_cell.GRUCell
    with gf.variable_scope("net", initializer=gf.random_uniform_initializer(-0.4, 0.4, seed=3)):
        if both_ways:
            outputs, states = gf.nn.bidirectional_dynamic_rnn(
                cells[0](5), cells[1](5), x, lengths, dtype=gf.float32
            )
            outputs = gf.concat(outputs, 2)
        else:
            outputs, states = gf.nn.dynamic_rnn(cells[0](5), x, lengths, dtype=gf.float32)

    def loss_of(outputs: Any, states: Any) -> Any:
        return gf.add_n([gf.reduce_sum(gf.sin(y)) for y in (outputs * outputs, *gf.nest.flatten(states))])

    loss, variables = loss_of(outputs, states), gf.trainable_variables()
    fetches = [outputs, loss, *gf.gradients(loss, [x, *variables])]

    def unrolled(time: int) -> tuple[Any, list[Any]]:
        given = gf.placeholder(gf.float32, [4, time, 3])
        steps = gf.unstack(given, axis=1)
        with gf.variable_scope("net", reuse=True):
            if both_ways:
                made, *last = gf.nn.static_bidirectional_rnn(
                    cells[0](5), cells[1](5), steps, dtype=gf.float32, sequence_length=lengths
                )
            else:
                made, last = gf.nn.static_rnn(cells[0](5), steps, dtype=gf.float32, sequence_length=lengths)
        loss = loss_of(gf.stack(made, 1), last)
        return given, [gf.stack(made, 1), loss, *gf.gradients(loss, [given, *variables])]

    references = {time: unrolled(time) for time in (5, 3)}
    wanted = []
    cases = [(5, [5, 3, 0, 2]), (5, [3, 0, 1, 3]), (3, [3, 3, 3, 3]), (3, [0, 0, 0, 0])]
    state = SessionState()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for variable, value in zip(variables, session.run(variables), strict=True):
            state.set(variable.op.name, value)
        for time, longs in cases:
            given, what = references[time]
            fed = [numbers(4, time, 3, seed=time), np.array(longs, np.int32)]
            wanted.append(reference.run(freeze(what, [given, lengths]), fed, state))
        for number, (time, longs) in enumerate(cases):
            if number:
                monkeypatch.setattr(Jit, "_load", lambda *_: pytest.fail("compiles"))
            values = numbers(4, time, 3, seed=time)
            plan = session.plan(fetches, {x: values, lengths: longs})
            assert [step.name for step in plan.steps if isinstance(step, HostStep)] == []
            results = [session.run(fetches, {x: values, lengths: longs})]
            if not both_ways:
                values[:, max(1, *longs) :] = np.nan  # no turn gets there
                results.append(session.run(fetches, {x: values, lengths: longs}))
            for result in results:
                for ours, theirs in zip(result, wanted[number], strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_lists_of_any_length_in_loops_in_loops_are_read_from_their_end() -> None:
    x, n = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.int32, [])
    count = gf.minimum(n, 6)

    def outer(i: Any, h: Any) -> Any:
        inner = gf.while_loop(lambda j, h: j < count, lambda j, h: (j + 1, gf.sin(h) * x + h), [0, h])
        return i + 1, inner[1]

    result = gf.while_loop(lambda i, h: i < 2, outer, [0, x], maximum_iterations=2)[1]
    (gradient,) = gf.gradients(result, x)
    for turns in (0, 1, 4, 9):
        native([result, gradient], [x, n], [numbers(3), np.array(turns, np.int32)])


def test_equal_loop_variables_are_one() -> None:
    x, n = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.int32, [])

    def body(i: Any, j: Any, k: Any, a: Any, b: Any) -> Any:
        return i + 1, k + 1, j + 1, a * x + gf.cast(j, gf.float32), b * x + gf.cast(k, gf.float32)

    results = gf.while_loop(lambda i, *_: i < n, body, [0, 0, 0, x, x])
    program = specialize(freeze(results, [x, n]), ((3,), ()), {})
    counts: Counter[str] = Counter()
    changed = loop_twins(simplify(program, Counter()), counts)
    verify(changed)
    assert counts["variables"] == 4 and changed.fetches[3] is changed.fetches[4]
    apart = gf.while_loop(lambda i, *_: i < n, lambda i, j: (i + 1, j + 2), [0, 0])
    program = freeze(apart, [n])
    (loop,) = [node for node in loop_twins(program, counts).nodes if node.op_def in WHILES]
    assert len(set(loop.attrs["body"].fetches) - set(loop.attrs["body"].feeds)) == 2
    native(list(results), [x, n], [numbers(3), np.array(3, np.int32)])


def test_assertions_on_sizes_are_no_steps() -> None:
    x, y = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.float32, [None])
    with gf.control_dependencies([gf.assert_equal(gf.shape(x), gf.shape(y))]):
        total = gf.reduce_sum(x * 2.0)
    native([total], [x, y], [numbers(5), numbers(5, seed=1)])
    with gf.Session() as session, pytest.raises(gf.errors.InvalidArgumentError, match="x == y|assertion"):
        session.run(total, {x: numbers(5), y: numbers(4)})
