"""Order, printing, assertions, checks of numbers, Python functions."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import ops
from graphflow.errors import InvalidArgumentError, OutOfRangeError, UnimplementedError, UnknownError
from graphflow.ops import control

assert ops


def run(fetch: Any, feeds: Any = None) -> Any:
    with gf.Session() as session:
        return session.run(fetch, feeds)


# ---------------------------------------------------------------------------- order


def test_group_runs_its_members() -> None:
    counters = [gf.Variable(0, name=name) for name in "abc"]
    adds = [c.assign_add(1) for c in counters]
    both = control.group(adds[0], [adds[1], None], name="both")
    assert both.name == "both" and both.type == "NoOp"
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(both)
        assert session.run(counters) == [1, 1, 0]
    assert control.group().type == "NoOp"
    with pytest.raises(TypeError, match="Tensors or Operations"):
        control.group(3)
    with pytest.raises(TypeError, match="keyword"):
        control.group(label="x")


def test_tuple_waits_for_all() -> None:
    counter = gf.Variable(0)
    add = counter.assign_add(1)
    one, slices, nothing, done = control.tuple(
        [gf.constant(1.0), gf.IndexedSlices(gf.constant([2.0]), gf.constant([0])), None, add.op],
        control_inputs=[counter.assign_add(10).op],
    )
    assert nothing is None and isinstance(slices, gf.IndexedSlices) and done.type == "NoOp"
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        assert session.run(one) == 1
        assert session.run(counter) == 11
    with pytest.raises(ValueError, match="at least one"):
        control.tuple([None])
    with pytest.raises(TypeError, match="control_inputs"):
        control.tuple([one], control_inputs=[3])


# ---------------------------------------------------------------------------- printing


def test_print_as_tensorflow_does(capfd: pytest.CaptureFixture[str]) -> None:
    a = gf.placeholder(gf.int32)
    feeds = {a: [[1, 2], [3, 4]]}
    thirds = gf.cast(a, gf.float32) / 3
    run(control.Print(a, [a, thirds, gf.constant(["x", "y"]), gf.constant(3.0)], "hello "), feeds)
    run(control.Print(a, [a], "hello ", summarize=2), feeds)
    numbers = gf.constant([1e-8, 123456789.0, 1e20, 0.1, float("nan"), 1.5, 2.0])
    run(control.Print(a, [numbers, gf.constant([True, False])], "m", summarize=-1), feeds)
    assert capfd.readouterr().err.splitlines() == [
        "hello [[1 2][3...]...][[0.333333343 0.666666687][1...]...][x y][3]",
        "hello [[1 2]...]",
        "m[1e-08 123456792 1e+20 0.1 nan 1.5 2][1 0]",
    ]


def test_print_speaks_only_so_often(capfd: pytest.CaptureFixture[str]) -> None:
    x = control.Print(gf.constant(1.0), ["word"], first_n=2)
    with gf.Session() as session:
        for _ in range(4):
            session.run(x)
    run(x)
    assert capfd.readouterr().err == "[word]\n" * 3


def test_gradient_goes_through_print() -> None:
    x = gf.constant(3.0)
    assert run(gf.gradients(control.Print(x, [x], first_n=0) ** 2.0, x)) == [6.0]


def test_print_of_structures_as_tensorflow_does(capfd: pytest.CaptureFixture[str]) -> None:
    a = gf.placeholder(gf.int32)
    run(control.print("a", a, [1.5, a], {"k": a}, summarize=2), {a: [1, 2, 3, 4, 5, 6]})
    run(control.print(a, a, sep="|"), {a: [[1, 2], [3, 4]]})
    floats = gf.cast(a, gf.float32) / 3
    run(
        control.print(floats, "s", 3.5, gf.constant("str"), gf.constant(["s1"])),
        {a: [1, 2, 3, 4, 5, 6, 7, 8, 9]},
    )
    run(control.print(gf.reshape(gf.range(60), [3, 4, 5])))
    run(control.print(gf.constant("plain"), end="!\n"))
    lines = capfd.readouterr().err
    assert lines.startswith(
        "a [1 2 ... 5 6] [1.5, [1 2 ... 5 6]] {'k': [1 2 ... 5 6]}\n"
        "[[1 2]\n [3 4]]|[[1 2]\n [3 4]]\n"
        '[0.333333343 0.666666687 1 ... 2.33333325 2.66666675 3] s 3.5 "str" ["s1"]\n'
        "[[[0 1 2 3 4]\n  [5 6 7 8 9]\n  [10 11 12 13 14]\n  [15 16 17 18 19]]\n\n [[20 21 22 23 24]\n"
    )
    assert lines.endswith("plain!\n")
    with pytest.raises(ValueError, match="output stream"):
        control.print("a", output_stream=3)
    with pytest.raises(ValueError, match="keyword"):
        control.print("a", color="red")


def test_string_format() -> None:
    assert (
        run(control.string_format("a {} b {}", [gf.constant([1, 2]), gf.constant(0.5)])) == b"a [1 2] b 0.5"
    )
    with pytest.raises(ValueError, match="placeholder"):
        control.string_format("{} {}", gf.constant(1))


# ---------------------------------------------------------------------------- assertions


def test_assert() -> None:
    holds = gf.placeholder(gf.bool, [])
    check = control.Assert(holds, [gf.constant([1, 2, 3, 4, 5]), "text", 2.5])
    with gf.control_dependencies([check]):
        value = gf.identity(gf.constant(7))
    assert run(value, {holds: True}) == 7
    with pytest.raises(InvalidArgumentError, match=r"assertion failed: \[1 2 3\.\.\.\] \[text\] \[2\.5\]"):
        run(value, {holds: False})
    with pytest.raises(ValueError, match="rank 0"):
        control.Assert(gf.constant([True]), [1])


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (control.assert_equal, (2, 2), (2, 3)),
        (control.assert_none_equal, (2, 3), (2, 2)),
        (control.assert_less, (2, 3), (3, 3)),
        (control.assert_less_equal, (3, 3), (4, 3)),
        (control.assert_greater, (4, 3), (3, 3)),
        (control.assert_greater_equal, (3, 3), (2, 3)),
        (control.assert_near, (1.0, 1.0 + 1e-7), (1.0, 1.1)),
        (control.assert_positive, (1,), (0,)),
        (control.assert_negative, (-1,), (0,)),
        (control.assert_non_negative, (0,), (-1,)),
        (control.assert_non_positive, (0,), (1,)),
    ],
)
def test_comparisons(check: Any, good: Any, bad: Any) -> None:
    assert check(*good).type == "NoOp"
    with pytest.raises(InvalidArgumentError, match="my words"):
        check(*bad, message="my words")
    late = [gf.placeholder(gf.as_dtype(type(value)), []) for value in good]
    operation = check(*late, message="my words")
    run(operation, dict(zip(late, good, strict=True)))
    with pytest.raises(InvalidArgumentError, match=r"assertion failed: \[my words\]"):
        run(operation, dict(zip(late, bad, strict=True)))


def test_assert_equal_says_what_tensorflow_says() -> None:
    a = gf.placeholder(gf.int32, name="a")
    text = r"\[M\] \[Condition x == y did not hold element-wise:\] \[x \(a:0\) = \] \[1 2 3\.\.\.\] \[y \(.*\[3\]"
    with pytest.raises(InvalidArgumentError, match=text):
        run(control.assert_equal(a, 3, message="M"), {a: [1, 2, 3, 4]})


def test_ranks_and_types() -> None:
    x, unknown = gf.ones([2, 3]), gf.placeholder(gf.float32)
    assert control.assert_rank(x, 2).type == "NoOp"
    assert control.assert_rank_at_least(x, 1).type == "NoOp"
    assert control.assert_rank_in(x, [1, 2]).type == "NoOp"
    for refused in (
        lambda: control.assert_rank(x, 1), lambda: control.assert_rank_at_least(x, 3),
        lambda: control.assert_rank_in(x, [0, 3]), lambda: control.assert_scalar(x),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"rank|scalar"):
            refused()
    for check in (control.assert_rank(unknown, 1), control.assert_rank_in(unknown, [0, 1])):
        run(check, {unknown: [1.0]})
        with pytest.raises(InvalidArgumentError, match="must have rank"):
            run(check, {unknown: [[1.0]]})
    assert control.assert_type(x, gf.float32).type == "NoOp"
    assert control.assert_integer(gf.constant(1)).type == "NoOp"
    for refused in (
        lambda: control.assert_type(x, gf.int32), lambda: control.assert_integer(x),
        lambda: control.assert_proper_iterable(x), lambda: control.assert_proper_iterable("text"),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            refused()
    control.assert_proper_iterable([1])
    assert control.is_numeric_tensor(x) and not control.is_numeric_tensor(gf.constant("a"))
    assert run([control.is_non_decreasing([1, 1, 2]), control.is_strictly_increasing([1, 1, 2])]) == [
        True,
        False,
    ]


def test_check_numerics() -> None:
    x = gf.placeholder(gf.float32, [2])
    y = control.check_numerics(x, "here")
    np.testing.assert_array_equal(run(y, {x: [1, 2]}), [1, 2])
    for values, words in (
        ([1, np.nan], "here : Tensor had NaN values"),
        ([1, np.inf], "here : Tensor had Inf values"),
        ([-np.inf, np.nan], "here : Tensor had Inf and NaN values"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            run(y, {x: values})
    (gradient,) = gf.gradients(gf.sqrt(y), x)
    with pytest.raises(InvalidArgumentError, match="detected in gradient"):
        run(gradient, {x: [1, 0]})
    with pytest.raises(InvalidArgumentError, match="all of it"):
        run(control.verify_tensor_all_finite(x, "all of it"), {x: [1, np.nan]})


def test_add_check_numerics_ops() -> None:
    x = gf.placeholder(gf.float32, [], name="x")
    gf.log(x, name="root")
    check = control.add_check_numerics_ops()
    run(check, {x: 1.0})
    with pytest.raises(InvalidArgumentError, match="root:0 : Tensor had Inf"):
        run(check, {x: 0.0})


# ---------------------------------------------------------------------------- Python functions


def test_py_func() -> None:
    seen: list[Any] = []

    def split(matrix: Any, number: Any, text: Any) -> Any:
        seen.append((type(number).__name__, text))
        matrix += 1  # its own copy
        return matrix[:1], (number + 1).astype(np.int64), text + b"!"

    x = gf.constant([[1.0], [2.0]])
    first, second, third = control.py_func(
        split, [x, gf.constant(4), gf.constant("a")], [gf.float32, gf.int64, gf.string]
    )
    assert first.shape.rank is None
    values = run([first, second, third, x])
    assert (
        values[0].tolist() == [[2.0]]
        and values[1] == 5
        and values[2] == b"a!"
        and values[3].tolist() == [[1], [2]]
    )
    assert seen == [("int32", b"a")]
    single = control.py_func(lambda: np.float32(2), [], gf.float32, stateful=False)
    assert single.op.type == "PyFuncStateless" and run(single) == 2
    assert run(control.numpy_function(np.sin, [x], gf.float32)).shape == (2, 1)
    assert run(control.py_function(lambda t: t.numpy() * 2, [x], gf.float32)).tolist() == [[2], [4]]


def test_py_func_without_results() -> None:
    seen: list[float] = []
    operation = control.py_func(lambda x: seen.append(float(x)), [gf.constant(2.0)], [])
    run(operation)
    assert seen == [2.0]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError("odd"), InvalidArgumentError), (TypeError("odd"), InvalidArgumentError),
        (StopIteration("odd"), OutOfRangeError), (NotImplementedError("odd"), UnimplementedError),
        (RuntimeError("odd"), UnknownError),
    ],
)  # fmt: skip
def test_py_func_that_fails(raised: Exception, expected: type[Exception]) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(expected, match="odd"):
        run(control.py_func(fail, [], gf.float32))


def test_py_func_is_held_to_its_types() -> None:
    with pytest.raises(InvalidArgumentError, match="is float64, but expects float32"):
        run(control.py_func(lambda: 1.5, [], gf.float32))
    with pytest.raises(InvalidArgumentError, match="returns 2 values, but expects to see 1"):
        run(control.py_func(lambda: (np.float32(1), np.float32(2)), [], gf.float32))
    with pytest.raises(ValueError, match="callable"):
        control.py_func(3, [], gf.float32)  # type: ignore[arg-type]


def test_a_file_holds_only_the_token_of_a_function() -> None:
    with gf.Graph().as_default() as graph:
        control.py_func(lambda: np.float32(1), [], gf.float32, name="call")
    definition = graph.as_graph_def()
    token = definition.node[0].attr["token"].s
    assert token.startswith(b"pyfunc_")
    del graph
    gc.collect()
    with gf.Graph().as_default() as again:
        gf.import_graph_def(definition, name="")
    with gf.Session(graph=again) as session, pytest.raises(InvalidArgumentError, match="no Python function"):
        session.run("call:0")


def test_timestamp_is_read_in_each_run() -> None:
    now = control.timestamp()
    with gf.Session() as session:
        first, second = session.run(now), session.run(now)
    assert 0 < first <= second
