"""Branches and loops: what they compute, in both executors, and how their graphs and programs look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.compiler import compile_graph
from graphflow.program import freeze, verify
from graphflow.session import SessionState
from graphflow.text import parse_program, program_text

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def both(fetches: Any, feeds: dict[Any, Any] | None = None) -> Any:
    """What a compiled session gives, once the bodies have given the same."""
    feeds = feeds or {}
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        flat = list(fetches) if isinstance(fetches, list | tuple) else [fetches]
        program = freeze(flat, list(feeds))
        verify(program)
        text = program_text(program)
        assert program_text(parse_program(text)) == text
        state = SessionState()
        for variable in gf.global_variables():
            state.set(variable.op.name, session.run(variable))
        wanted = reference.run(
            program, [np.asarray(value, t.dtype.numpy) for t, value in feeds.items()], state
        )
        results = session.run(flat, feeds)
        for result, array in zip(results, wanted, strict=True):
            np.testing.assert_allclose(result, array, rtol=1e-5, atol=1e-6)
        for variable in gf.global_variables():
            np.testing.assert_allclose(session.run(variable), state.get(variable.op.name), rtol=1e-5)
        return results if isinstance(fetches, list | tuple) else results[0]


def test_cond_takes_one_branch() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    y = gf.cond(gf.reduce_sum(x) > 0, lambda: x * 2, lambda: x - 1)
    assert y.shape.as_list() == [None, 3]
    assert y.name == "cond/Identity:0"
    ones = np.ones((2, 3))
    np.testing.assert_array_equal(both(y, {x: ones}), 2 * ones)
    np.testing.assert_array_equal(both(y, {x: -ones}), -2 * ones)


def test_only_the_branch_taken_acts() -> None:
    v, p = gf.Variable(1.0), gf.placeholder(gf.bool, [])
    called: list[float] = []

    def note(value: Any) -> Any:
        called.append(float(value))
        return value

    done = gf.cond(p, lambda: gf.group(v.assign(5.0)), lambda: gf.py_func(note, [v], gf.float32) > 0)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(done, {p: True})
        assert session.run(v) == 5 and called == []
        session.run(done, {p: False})
        assert session.run(v) == 5 and called == [5.0]


def test_loop_with_captures_and_nested_branch() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    v = gf.Variable(2.0)
    i, s = gf.while_loop(
        lambda i, s: i < 5, lambda i, s: [i + 1, s + gf.cond(i > 2, lambda: x * v, lambda: x)], [0, x]
    )
    ones = np.ones((2, 3))
    count, total = both([i, s], {x: ones})
    assert count == 5
    np.testing.assert_array_equal(total, 8 * ones)


def test_variables_change_from_turn_to_turn() -> None:
    v = gf.Variable(1.0)

    def body(i: Any, seen: Any) -> Any:
        with gf.control_dependencies([v.assign_add(2.0)]):
            return i + 1, seen + v.read_value()

    _, seen = gf.while_loop(lambda i, s: i < 3, body, [0, 0.0])
    assert both(seen) == 3 + 5 + 7


def test_shapes_that_change_are_left_open() -> None:
    x = gf.placeholder(gf.float32, [2])
    tries = []

    def body(i: Any, y: Any) -> Any:
        tries.append(y.shape.as_list())
        w = gf.get_variable("w", [], initializer=gf.ones_initializer())
        return i + 1, gf.concat([y, [gf.to_float(i) * w]], 0)

    _, y = gf.while_loop(lambda i, y: i < 3, body, [0, x])
    assert tries == [[2], [None]]
    assert y.shape.as_list() == [None]
    assert [v.op.name for v in gf.global_variables()] == ["w"]
    np.testing.assert_array_equal(both(y, {x: [7, 8]}), [7, 8, 0, 1, 2])


def test_maximum_iterations() -> None:
    most = gf.placeholder(gf.int32, [])
    i = gf.while_loop(lambda i: i < 10, lambda i: i + 3, [0], maximum_iterations=most)
    assert both(i, {most: 2}) == 6
    assert both(i, {most: 7}) == 12


def test_a_tensor_of_a_body_stays_inside() -> None:
    inner: list[Any] = []
    gf.cond(gf.placeholder(gf.bool), lambda: inner.append(gf.add(1.0, 2.0, name="kept")) or 1.0, lambda: 2.0)
    with pytest.raises(ValueError, match=r"inside the body of a branch.*Return it"):
        gf.Session().run(inner[0])
    with pytest.raises(ValueError, match="inside the body of a branch"):
        inner[0] + 1.0


def test_a_branch_sets_what_is_not_initialized() -> None:
    v = gf.Variable([1.0, 2.0])
    ready = gf.is_variable_initialized(v)
    value = gf.cond(ready, v.read_value, lambda: gf.zeros([2]) - 1.0)
    start = gf.cond(ready, gf.no_op, lambda: gf.group(v.assign([1.0, 2.0])))
    with gf.Session() as session:
        np.testing.assert_array_equal(session.run(value), [-1, -1])
        session.run(start)
        np.testing.assert_array_equal(session.run(value), [1, 2])
        session.run(v.assign([5.0, 6.0]))
        session.run(start)
        np.testing.assert_array_equal(session.run(value), [5, 6])


def test_known_branches_are_put_in_place_and_tiny_ones_selected() -> None:
    x, p = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.bool, [])
    known = gf.cond(gf.constant(2) > 1, lambda: gf.exp(x), lambda: x)
    tiny = gf.cond(p, lambda: x * 2, lambda: x - 1)
    dear = gf.cond(p, lambda: gf.exp(x), lambda: x)
    kinds = []
    for fetch in (known, tiny, dear):
        executable = compile_graph([fetch], [x, p])
        kinds.append([node.type for node in executable.program.nodes])
    assert "GraphflowCase" not in kinds[0] + kinds[1] and "Exp" in kinds[0] and "SelectV2" in kinds[1]
    assert "GraphflowCase" in kinds[2]
    array = np.array([1, np.nan, -2])
    np.testing.assert_array_equal(both(tiny, {x: array, p: False}), array - 1)
    np.testing.assert_array_equal(both(tiny, {x: array, p: True}), array * 2)
    np.testing.assert_allclose(both(known, {x: array}), np.exp(array.astype(np.float32)), rtol=1e-6)


def test_errors_in_bodies_name_the_line() -> None:
    n = gf.placeholder(gf.int32, [])
    i = gf.while_loop(lambda i: i < 5, lambda i: i + 10 // n, [0])
    with gf.Session() as session, pytest.raises(gf.errors.InvalidArgumentError) as caught:
        session.run(i, {n: 0})
    assert "while/body/" in str(caught.value) and "test_control_flow.py" in str(caught.value)


def test_runs_of_loops_are_traced_and_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    x = gf.placeholder(gf.float32, [3])
    said: list[int] = []
    v = gf.Variable(0.0)

    def body(i: Any, y: Any) -> Any:
        note = gf.py_func(lambda k: (said.append(int(k)), k)[1], [i], gf.int32)
        with gf.control_dependencies([v.assign_add(gf.to_float(note))]):
            return i + 1, y + gf.random_uniform([3], seed=3)

    _, y = gf.while_loop(lambda i, y: i < 3, body, [0, x])
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        first = session.run(y, {x: np.zeros(3)})
        assert said == [0, 1, 2] and session.run(v) == 3
        metadata = gf.RunMetadata()
        second = session.run(
            y,
            {x: np.zeros(3)},
            options=gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE),
            run_metadata=metadata,
        )
        assert said == [0, 1, 2] * 2 and not np.array_equal(first, second)
        assert metadata.step_stats.dev_stats


def test_structures_and_composites_go_through() -> None:
    x = gf.placeholder(gf.float32, [2])
    sparse = gf.SparseTensor([[0, 1]], [2.0], [2, 2])
    state = {"a": x, "s": sparse, "t": (gf.TensorArray(gf.float32, 3), [x])}

    def body(i: Any, s: Any) -> Any:
        doubled = gf.SparseTensor(s["s"].indices, s["s"].values * 2.0, s["s"].dense_shape)
        return i + 1, {
            "a": s["a"] + 1.0,
            "s": doubled,
            "t": (s["t"][0].write(i, s["a"]), [s["t"][1][0] * 2.0]),
        }

    _, result = gf.while_loop(lambda i, s: i < 3, body, [0, state])
    assert list(result) == ["a", "s", "t"] and isinstance(result["s"], gf.SparseTensor)
    a, values, rows, b = both(
        [result["a"], result["s"].values, result["t"][0].stack(), result["t"][1][0]], {x: [1, 2]}
    )
    np.testing.assert_array_equal(a, [4, 5])
    np.testing.assert_array_equal(values, [16])
    np.testing.assert_array_equal(rows, [[1, 2], [2, 3], [3, 4]])
    np.testing.assert_array_equal(b, [8, 16])


def test_a_branch_that_only_returns_an_assignment_from_outside_is_warned_of() -> None:
    v = gf.Variable(1.0)
    outside = v.assign(2.0)
    with pytest.warns(RuntimeWarning, match="only returns what was made outside"):
        gf.cond(gf.placeholder(gf.bool, []), lambda: outside, lambda: gf.constant(0.0))
    # Values from outside are no reason to say anything.
    x = gf.placeholder(gf.float32, [])
    assert both(gf.cond(x > 0, lambda: x, lambda: v), {x: -3.0}) == 1


def test_summaries_of_branches_are_collected_and_merged() -> None:
    p, x = gf.placeholder(gf.bool, []), gf.placeholder(gf.float32, [])

    def outer() -> Any:
        gf.summary.scalar("outer", x)
        return gf.cond(x > 1, lambda: (gf.summary.scalar("inner", x), x)[1], lambda: x)

    y = gf.cond(p, outer, lambda: x * 2)
    gf.summary.scalar("after", y)
    merged = gf.summary.merge_all()
    slope = gf.gradients(y, x)[0]
    with gf.Session() as session:
        for feed, tags in (
            ({p: True, x: 3.0}, {"after": 3, "cond/outer": 3, "cond/cond/inner": 3}),
            ({p: True, x: 1.0}, {"after": 1, "cond/outer": 1}),
            ({p: False, x: 1.0}, {"after": 2}),
        ):
            told, d = session.run([merged, slope], feed)
            assert {v.tag: v.simple_value for v in gf.Summary.FromString(told).value} == tags
            assert d == (1 if feed[p] else 2)


def test_functions_round_trip_through_files() -> None:
    x = gf.placeholder(gf.float32, [3], name="x")
    v = gf.Variable(2.0, name="v")
    y = gf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, gf.cond(i > 0, lambda: y * v, lambda: y)), [0, x]
    )[1]
    proto = gf.get_default_graph().as_graph_def()
    assert {f.signature.name.rpartition("_")[0] for f in proto.library.function} == {
        "while_cond", "while_body", "while_cond_true", "while_cond_false",
    }  # fmt: skip
    with gf.Graph().as_default() as graph:
        gf.import_graph_def(proto, name="")
        with gf.Session() as session:
            session.run(graph.get_operation_by_name("v/Assign"))
            np.testing.assert_array_equal(session.run(y.name, {"x:0": [1, 2, 3]}), [4, 8, 12])


def test_refusals() -> None:
    x = gf.placeholder(gf.float32, [2])
    with pytest.raises(TypeError, match="must not be a Python bool"):
        gf.cond(True, lambda: 1, lambda: 2)
    with pytest.raises(TypeError, match="must have the same type: float32, int32"):
        gf.cond(x[0] > 0, lambda: 1.0, lambda: 2)
    with pytest.raises(ValueError, match="Incompatible return values"):
        gf.cond(x[0] > 0, lambda: (1.0, 2.0), lambda: (1.0,), strict=True)
    with pytest.raises(ValueError, match="must have a return value"):
        gf.cond(x[0] > 0, lambda: None, lambda: 1.0)
    with pytest.raises(TypeError, match="enters the loop as int32, and is float32 after one turn"):
        gf.while_loop(lambda i: i < 3, lambda i: gf.to_float(i), [0])
    with pytest.raises(ValueError, match="is not an invariant for the loop"):
        gf.while_loop(
            lambda y: True, lambda y: gf.concat([y, y], 0), [x], shape_invariants=[gf.TensorShape([2])]
        )
    with pytest.raises(ValueError, match="must not be empty"):
        gf.while_loop(lambda: True, lambda: (), [])
    with pytest.raises(ValueError, match="contiguous range"):
        gf.switch_case(gf.constant(0), {1: lambda: 1, 3: lambda: 2})


def test_optimizers_and_their_slots_in_bodies() -> None:
    w = gf.get_variable("w", [3], initializer=gf.ones_initializer())
    descent = gf.train.GradientDescentOptimizer(0.1)

    def body(i: Any) -> Any:
        with gf.control_dependencies([descent.minimize(gf.reduce_sum(gf.square(w)))]):
            return i + 1

    steps = gf.while_loop(lambda i: i < 3, body, [0])
    adam, p = gf.train.AdamOptimizer(0.1), gf.placeholder(gf.bool, [])
    inside: list[str] = []

    def act() -> Any:
        update = adam.minimize(gf.reduce_sum(gf.square(w)))
        inside.extend(v.op.name for v in adam.variables())
        return gf.group(update)

    maybe = gf.cond(p, act, gf.no_op)
    assert inside == ["cond/beta1_power", "cond/beta2_power", "w/Adam", "w/Adam_1"]
    names = [v.op.name for v in gf.global_variables()]
    assert names == ["w", "cond/beta1_power", "cond/beta2_power", "w/Adam", "w/Adam_1"]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(steps)
        np.testing.assert_allclose(session.run(w), [0.8**3] * 3, rtol=1e-6)
        session.run(maybe, {p: False})
        np.testing.assert_allclose(session.run(w), [0.8**3] * 3, rtol=1e-6)
        session.run(maybe, {p: True})
        np.testing.assert_allclose(session.run(w), [0.8**3 - 0.1] * 3, rtol=1e-4)


def test_custom_gradients_in_bodies() -> None:
    x = gf.placeholder(gf.float32, [3])

    @gf.custom_gradient
    def sine(y: Any) -> Any:
        return gf.sin(y), lambda dy: dy * 100.0

    y = gf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, sine(y)), [0, x])[1]
    np.testing.assert_array_equal(both(gf.gradients(y, x)[0], {x: [0.1, 0.2, 0.3]}), [1e4] * 3)


def test_one_loop_for_all_lengths() -> None:
    x = gf.placeholder(gf.float32, [None, None, 4])
    k = gf.get_variable("k", [8, 4], initializer=gf.constant_initializer(0.1))
    start = gf.zeros([gf.shape(x)[1], 4])
    out = gf.scan(lambda h, row: gf.tanh(gf.matmul(gf.concat([row, h], 1), k)), x, start)
    loss = gf.reduce_sum(out)
    grad = gf.gradients(loss, k)[0]
    for turns, batch in ((5, 2), (7, 2), (7, 3)):
        both([loss, grad], {x: np.ones((turns, batch, 4))})


def test_branches_nested_deep() -> None:
    x = gf.placeholder(gf.float32, [])

    def build(depth: int) -> Any:
        return gf.cond(x > depth, lambda: build(depth - 1), lambda: x) if depth else x * 2.0

    deep = build(14)
    with gf.Session() as session:
        assert (session.run(deep, {x: 20.0}), session.run(deep, {x: 7.0})) == (40.0, 7.0)
    with pytest.raises(RecursionError, match=r"functions nested this deep .* see sys.setrecursionlimit"):
        build(100_000)
