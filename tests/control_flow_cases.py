"""Functions of a vector x and a matrix w through branches, loops, lists and calls: what several tests look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphflow as gf
from graphflow.functional_ops import Defun

Case = Callable[[Any, Any], Any]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


@case
def branch(x: Any, w: Any) -> Any:
    return gf.cond(x[0] > 0, lambda: gf.sin(x) * 2.0, lambda: x * x)


@case
def branch_with_constant(x: Any, w: Any) -> Any:
    return gf.cond(x[1] > 0, lambda: gf.ones([4], gf.float64), lambda: gf.exp(x))


@case
def branches_share_what_they_capture(x: Any, w: Any) -> Any:
    y = gf.sin(x)
    a, b = gf.cond(x[0] < 0, lambda: (y * y, gf.tensordot(w, y, 1)), lambda: (x + y, gf.exp(y)))
    return a * b


@case
def nested_branches(x: Any, w: Any) -> Any:
    def inner() -> Any:
        z = x * x
        return gf.cond(z[1] > 0.1, lambda: gf.sin(z) * x, lambda: z * z)

    return gf.cond(x[0] > 0, inner, lambda: x)


@case
def choice(x: Any, w: Any) -> Any:
    index = gf.cast(x[0] * 3, gf.int32)
    return gf.switch_case(index, [lambda: x * 2, lambda: gf.exp(x) * x, lambda: gf.tanh(x) ** 2])


@case
def first_that_holds(x: Any, w: Any) -> Any:
    return gf.case(
        [(x[0] > 5, lambda: x), (x[0] > -5, lambda: x**3), (x[0] > 0, lambda: x * 7)], default=lambda: -x
    )


@case
def power(x: Any, w: Any) -> Any:
    return gf.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, y * x), [0, gf.ones([4], gf.float64)])[1]


@case
def no_turn(x: Any, w: Any) -> Any:
    return gf.while_loop(lambda i, y: i < 0, lambda i, y: (i + 1, gf.sin(y) * x), [0, x * x])[1]


@case
def as_often_as_the_value_says(x: Any, w: Any) -> Any:
    return gf.while_loop(lambda y: gf.reduce_sum(y * y) < 50.0, lambda y: y * 1.5 + gf.sin(x), [x])


@case
def variables_that_swap(x: Any, w: Any) -> Any:
    _, a, b = gf.while_loop(lambda i, a, b: i < 3, lambda i, a, b: (i + 1, b * x, gf.sin(a)), [0, x, x * x])
    return a + 2.0 * b


@case
def captured_matrix(x: Any, w: Any) -> Any:
    def body(i: Any, h: Any) -> Any:
        return i + 1, gf.tanh(gf.matmul(h, w) + x)

    return gf.while_loop(lambda i, h: i < 3, body, [0, gf.expand_dims(x, 0)])[1]


@case
def branch_in_a_loop(x: Any, w: Any) -> Any:
    def body(i: Any, y: Any) -> Any:
        return i + 1, gf.cond(gf.equal(i % 2, 0), lambda: gf.sin(y) * x, lambda: y + gf.tensordot(w, y, 1))

    return gf.while_loop(lambda i, y: i < 4, body, [0, x])[1]


@case
def loop_in_a_branch(x: Any, w: Any) -> Any:
    def grow() -> Any:
        return gf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * gf.sin(x)), [0, x])[1]

    return gf.cond(x[0] > 0, grow, lambda: x * 2.0)


@case
def loop_in_a_loop(x: Any, w: Any) -> Any:
    def outer(i: Any, y: Any) -> Any:
        def inner(j: Any, z: Any) -> Any:
            return j + 1, gf.sin(z) * y + x

        return i + 1, gf.while_loop(lambda j, z: j < i + 1, inner, [0, y * x])[1]

    return gf.while_loop(lambda i, y: i < 3, outer, [0, x])[1]


@case
def shape_that_grows(x: Any, w: Any) -> Any:
    def body(i: Any, y: Any) -> Any:
        return i + 1, gf.concat([y * 2.0, gf.sin(x)], 0)

    return gf.while_loop(lambda i, y: i < 3, body, [0, x])[1]


@case
def rows_read_and_written(x: Any, w: Any) -> Any:
    rows = gf.TensorArray(gf.float64, size=4).unstack(w)
    out = gf.TensorArray(gf.float64, size=4)

    def body(i: Any, h: Any, out: Any) -> Any:
        h = gf.tanh(h * rows.read(i) + x)
        return i + 1, h, out.write(i, h * h)

    return gf.while_loop(lambda i, h, out: i < 4, body, [0, x, out])[2].stack()


@case
def array_that_grows(x: Any, w: Any) -> Any:
    out = gf.TensorArray(gf.float64, size=0, dynamic_size=True, infer_shape=False)

    def body(i: Any, out: Any) -> Any:
        return i + 1, out.write(i, gf.sin(x[: i + 1]) * gf.cast(i + 1, gf.float64))

    return gf.while_loop(lambda i, out: i < 3, body, [0, out])[1].concat()


@case
def array_members(x: Any, w: Any) -> Any:
    a = gf.TensorArray(gf.float64, size=4).scatter([2, 0, 3, 1], gf.sin(w))
    b = gf.TensorArray(gf.float64, size=2, clear_after_read=False).split(x * x, [1, 3])
    return gf.concat([gf.reshape(a.gather([0, 2]), [-1]), a.read(1), b.read(1), b.concat()], 0)


@case
def rows_of_a_table(x: Any, w: Any) -> Any:
    def body(i: Any, y: Any) -> Any:
        return i + 1, gf.sin(y + gf.gather(w, [i, 1])[0]) * gf.gather(w, i % 2)

    return gf.while_loop(lambda i, y: i < 3, body, [0, x])[1]


@case
def mapped(x: Any, w: Any) -> Any:
    return gf.map_fn(lambda row: gf.sin(row) * x, w)


@case
def mapped_structures(x: Any, w: Any) -> Any:
    made = gf.map_fn(
        lambda t: {"a": t[0] * t[1], "b": gf.reduce_sum(t[0])}, (w, x), {"a": gf.float64, "b": gf.float64}
    )
    return gf.concat([gf.reshape(made["a"], [-1]), made["b"]], 0)


@case
def scanned(x: Any, w: Any) -> Any:
    return gf.scan(lambda a, row: gf.tanh(a + row) * x, w, reverse=True)


@case
def scanned_from_a_start(x: Any, w: Any) -> Any:
    a, b = gf.scan(lambda s, row: (s[0] * row, s[0] + s[1]), w, (gf.ones([4], gf.float64), x))
    return a + b


@case
def folded(x: Any, w: Any) -> Any:
    return gf.foldl(lambda a, row: gf.sin(a * row), w) + gf.foldr(lambda a, row: a * row + x, w, x)


@case
def called(x: Any, w: Any) -> Any:
    @Defun(gf.float64)
    def function(y: Any) -> Any:
        return gf.sin(y) * y, gf.exp(y)

    a, b = function(x)
    c, d = function(a)
    return a * b + c * d


@case
def number_that_counts_down(x: Any, w: Any) -> Any:
    def body(i: Any, n: Any, y: Any) -> Any:
        return i + 1, n - 2, y * gf.cast(n, gf.float64) + gf.sin(y)

    return gf.while_loop(lambda i, n, y: i < 3, body, [0, 9, x])[2]


def values() -> list[tuple[Any, Any]]:
    """The vectors and matrices that the functions are looked at with."""
    rng = np.random.default_rng(5)
    w = rng.uniform(-1, 1, (4, 4))
    return [(np.array([0.4, -0.3, 0.8, 1.2]), w), (np.array([-0.6, 0.5, 0.2, -0.9]), w)]
