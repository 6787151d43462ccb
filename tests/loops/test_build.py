"""The builder: sharing, folding, conversion of numbers, and what it refuses."""

import math

import numpy as np
import pytest

from graphflow.loops.build import Builder, RowReduce
from graphflow.loops.interpret import evaluate
from graphflow.loops.ir import DTYPES, FUNCTIONS, Const, Expr, Op, dtype_name, is_float, numpy_dtype
from graphflow.loops.text import expr_text


@pytest.fixture
def b() -> Builder:
    return Builder("test")


def test_every_function_has_a_method(b: Builder) -> None:
    for name, function in FUNCTIONS.items():
        method = getattr(b, name + "_" if name in ("and", "or", "not") else name)
        assert method.__doc__
        if function.result == "same":
            dtype = "f32" if "f" in function.kinds else "i32"
            args = [b.var(v, dtype) for v in ("x", "y", "z")[: function.arity]]
            assert method(*args).dtype == dtype


def test_equal_expressions_are_one_object(b: Builder) -> None:
    x = b.var("x", "f32")
    assert b.add(x, 1.0) is b.add(x, 1.0)
    assert b.exp(b.mul(x, 2.0)) is b.exp(b.mul(2.0, x))
    assert b.load(b.buffer("a", "f32"), 3) is not b.load(b.buffer("c", "f32"), 3)


def test_numbers_take_the_dtype_beside_them(b: Builder) -> None:
    x = b.var("x", "f16")
    product = b.mul(x, 2)
    assert isinstance(product, Op) and product.args[1].dtype == "f16"
    assert b.const(0.1, "f32").value == float(np.float32(0.1))  # type: ignore[union-attr]
    with pytest.raises(TypeError, match=r"0\.5 is no i32"):
        b.add(b.var("k", "i32"), 0.5)
    with pytest.raises(TypeError, match="300 does not fit u8"):
        b.add(b.var("k", "u8"), 300)


def test_arguments_must_agree(b: Builder) -> None:
    with pytest.raises(TypeError, match="add: the arguments are f32, f64"):
        b.add(b.var("x", "f32"), b.var("y", "f64"))
    with pytest.raises(TypeError, match="exp: not defined for i32"):
        b.exp(b.var("k", "i32"))
    with pytest.raises(TypeError, match="the condition is f32"):
        b.select(b.var("x", "f32"), b.var("x", "f32"), 1.0)
    with pytest.raises(TypeError, match="no scalar function 'gamma'"):
        b.apply("gamma", b.var("x", "f32"))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda b, x, k: b.add(k, 0), "k"),
        (lambda b, x, k: b.add(b.add(k, 4), 6), "k + 10"),
        (lambda b, x, k: b.mul(b.mul(k, 4), 6), "k * 24"),
        (lambda b, x, k: b.mul(k, 0), "0"),
        (lambda b, x, k: b.floormod(k, 1), "0"),
        (lambda b, x, k: b.add(x, 0.0), "x + 0.0:f32"),  # -0.0 + 0.0 is 0.0
        (lambda b, x, k: b.sub(x, 0.0), "x"),
        (lambda b, x, k: b.mul(x, 0.0), "x * 0.0:f32"),  # not for NaN
        (lambda b, x, k: b.pow(x, 2), "x * x"),
        (lambda b, x, k: b.pow(x, -1.0), "1.0:f32 / x"),
        (lambda b, x, k: b.neg(b.neg(x)), "x"),
        (lambda b, x, k: b.erf(b.mul(b.neg(x), 2.0)), "neg(erf(x * 2.0:f32))"),
        (lambda b, x, k: b.sub(1.0, b.neg(x)), "x + 1.0:f32"),
        (lambda b, x, k: b.add(b.neg(x), 1.0), "1.0:f32 - x"),
        (lambda b, x, k: b.cos(b.neg(x)), "cos(x)"),
        (lambda b, x, k: b.select(True, x, 1.0), "x"),
        (lambda b, x, k: b.cast(x, "float32"), "x"),
        (lambda b, x, k: b.cast(2.5, "i32"), "2:i32"),
        (lambda b, x, k: b.max(x, x), "x"),
        (lambda b, x, k: b.div(7, -2), "-3"),
        (lambda b, x, k: b.floordiv(7, -2), "-4"),
        (lambda b, x, k: b.div(1, 0), "0"),
        (lambda b, x, k: b.add(2.0, 3.0), "5.0:f64"),
    ],
)
def test_folding(b: Builder, build: object, text: str) -> None:
    assert expr_text(build(b, b.var("x", "f32"), b.var("k", "i64"))) == text  # type: ignore[operator]


def test_folding_keeps_every_value(b: Builder) -> None:
    """Whatever is folded gives what the unfolded expression would."""
    special = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e30])
    for name in ("add", "sub", "mul", "div", "pow", "min", "max"):
        for number in (0.0, -0.0, 1.0, 2.0, 3.0, 4.0, -1.0, math.inf):
            for swapped in (False, True):
                x = b.var("x", "f64")
                args = (number, x) if swapped else (x, number)
                got = evaluate(b.apply(name, *args), {"x": special})
                with np.errstate(all="ignore"):
                    expected = FUNCTIONS[name].numpy(*((number, special) if swapped else (special, number)))
                got = np.broadcast_to(got, expected.shape)
                np.testing.assert_allclose(got, expected, rtol=1e-12)
                zero = expected == 0
                np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


def test_row_marks(b: Builder) -> None:
    x = b.var("x", "f32")
    e = b.exp(b.sub(x, b.reduce_max(x)))
    body = b.div(e, b.reduce_sum(e))
    assert expr_text(body).startswith("exp(x - row.max(x))")
    assert isinstance(b.reduce_sum(e), RowReduce)
    assert b.reduce_sum(e) is b.reduce_sum(e)
    assert b.index().dtype == "i64"
    assert b.reduce_mean(x).dtype == "f32"


def test_dtype_names() -> None:
    assert {dtype_name(numpy_dtype(d)) for d in DTYPES} == set(DTYPES)
    assert dtype_name("bfloat16") == "bf16"
    with pytest.raises(TypeError, match="no native form"):
        dtype_name("complex64")


def test_bounds_of_dtypes(b: Builder) -> None:
    for dtype in DTYPES:
        low, high = b.lowest(dtype), b.highest(dtype)
        assert isinstance(low, Const) and isinstance(high, Const)
        assert (low.value == -math.inf) == is_float(dtype)
        assert low.value < high.value


def test_names_are_not_given_twice(b: Builder) -> None:
    assert [b.fresh("i"), b.fresh("i"), b.fresh("i.1"), b.fresh("i")] == ["i", "i.1", "i.1.1", "i.2"]


def test_an_open_loop_gives_no_kernel(b: Builder) -> None:
    with b.loop("i", 0, 4), pytest.raises(RuntimeError, match="inside an open loop"):
        b.kernel()


def test_expressions_are_not_equal_by_value() -> None:
    x: Expr = Const(1, "i64")
    assert x != Const(1, "i64")
