"""Samples of the ops in `graphflow/ops/elementwise.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from graphflow import dtypes
from tests.samples import (
    COMPLEX,
    FLOATS,
    HALVES,
    INTEGERS,
    Array,
    Sample,
    apart,
    integers,
    samples,
    special,
    strided,
    uniform,
)

SMALL_INTEGERS = (np.int8, np.int16, np.uint8, np.uint16)
UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)
BF16 = ml_dtypes.bfloat16


def unary(
    low: float = -2.0,
    high: float = 2.0,
    *,
    half: bool = True,
    real: bool = True,
    complex_: bool = False,
    integer: bool = False,
    unsigned: bool = False,
    differentiable: bool = True,
    specials: bool = True,
    loose: float | None = None,
) -> Iterator[Sample]:
    """Samples of an op of one tensor whose arguments lie between two bounds."""
    if real:
        for dtype in FLOATS:
            yield Sample(
                [uniform(3, 5, low=low, high=high, dtype=dtype)], differentiable=differentiable, rtol=loose
            )
        yield Sample([uniform(low=low, high=high)], name="scalar", differentiable=differentiable, rtol=loose)
        yield Sample([uniform(0, 4)], name="empty", differentiable=False)
        yield Sample([uniform(67, low=low, high=high, seed=3)], name="odd", differentiable=False, rtol=loose)
        yield Sample(
            [strided(uniform(4, 6, low=low, high=high))],
            name="strided",
            differentiable=differentiable,
            rtol=loose,
        )
        if specials:
            for dtype in FLOATS:
                yield Sample([special(dtype)], differentiable=False, name="special", rtol=loose)
        for dtype in HALVES if half else ():
            yield Sample([uniform(2, 9, low=low, high=high, dtype=dtype)], differentiable=False)
    for dtype in COMPLEX if complex_ else ():
        yield Sample([uniform(2, 3, low=low, high=high, dtype=dtype)], differentiable=differentiable)
    for dtype in (*INTEGERS, *(SMALL_INTEGERS[:2])) if integer else ():
        yield Sample([integers(3, 7, dtype=dtype)], differentiable=False)
    for dtype in UNSIGNED if unsigned else ():
        yield Sample([integers(3, 7, low=0, dtype=dtype)], differentiable=False)


@samples("Neg", "Abs")
def neg_abs() -> Iterator[Sample]:
    yield from unary(integer=True)
    yield Sample([np.array([-(2**31), 2**31 - 1, 0], np.int32)], differentiable=False, name="ends")


@samples("Sign")
def sign() -> Iterator[Sample]:
    yield from unary(integer=True)
    yield Sample([uniform(2, 3, dtype=np.complex128)], name="complex")
    yield Sample([np.array([0, 1j, 3 + 4j], np.complex64)], differentiable=False)


@samples("Neg", "Square", "Exp", "Expm1", "Sin", "Cos", "Sinh", "Cosh", "Tanh", "Sigmoid", "Conj")
def entire_complex() -> Iterator[Sample]:
    yield from unary(-1, 1, real=False, complex_=True)


@samples(
    "Log",
    "Log1p",
    "Sqrt",
    "Rsqrt",
    "Reciprocal",
    "Inv",
    "Asinh",
    "Acosh",
    "Tan",
    "Atan",
    "Asin",
    "Acos",
    "Atanh",
)
def right_half_complex() -> Iterator[Sample]:
    # Away from branch cuts.
    for dtype in COMPLEX:
        values = uniform(2, 3, low=0.2, high=0.8, dtype=dtype)
        yield Sample([values], rtol=1e-4 if dtype == np.complex64 else 1e-9)


@samples("Square")
def square() -> Iterator[Sample]:
    yield from unary(integer=True, unsigned=True)


@samples("Exp", "Expm1", "Sinh", "Cosh", "Tanh", "Sigmoid", "Sin", "Cos", "Atan", "Asinh")
def everywhere() -> Iterator[Sample]:
    yield from unary(-3, 3)
    yield Sample([uniform(257, low=-20, high=20)], differentiable=False, name="wide")


@samples("Tan")
def tan() -> Iterator[Sample]:
    yield from unary(-1.2, 1.2, loose=1e-5)


@samples("Log", "Sqrt", "Rsqrt", "Reciprocal", "Inv")
def positive() -> Iterator[Sample]:
    yield from unary(0.3, 4.0)
    yield Sample([uniform(129, low=1e-30, high=1e30)], differentiable=False, name="wide")


@samples("Reciprocal", "Inv")
def reciprocal_integers() -> Iterator[Sample]:
    yield Sample([np.array([1, -1, 2, -3], np.int32)], differentiable=False)


@samples("Log1p")
def log1p() -> Iterator[Sample]:
    yield from unary(-0.7, 4.0)
    yield Sample([uniform(33, low=-1e-6, high=1e-6)], differentiable=False, name="near_zero")


@samples("Asin", "Acos", "Atanh")
def unit_interval() -> Iterator[Sample]:
    yield from unary(-0.9, 0.9)


@samples("Acosh")
def acosh() -> Iterator[Sample]:
    yield from unary(1.2, 4.0)


@samples("Floor", "Ceil", "Rint", "Round")
def rounding() -> Iterator[Sample]:
    yield from unary(-3, 3, differentiable=False)
    yield Sample(
        [np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.0**24 + 1], np.float32)], differentiable=False, name="halves"
    )


@samples("Round")
def round_integers() -> Iterator[Sample]:
    yield from unary(real=False, integer=True)
    yield Sample([uniform(2, 3, dtype=np.complex64)], differentiable=False)


@samples("IsNan", "IsInf", "IsFinite")
def predicates() -> Iterator[Sample]:
    yield from unary(differentiable=False)
    for dtype in HALVES:
        yield Sample([special(dtype)], differentiable=False)


# ---------------------------------------------------------------------------- of two


def pairs(
    low: float = -2.0,
    high: float = 2.0,
    *,
    second: tuple[float, float] | None = None,
    complex_: bool = False,
    integer: bool = False,
    half: bool = True,
    differentiable: bool = True,
    specials: bool = True,
    real: bool = True,
) -> Iterator[Sample]:
    """Samples of an op of two tensors that broadcast."""
    low2, high2 = second or (low, high)

    def pair(first: tuple[int, ...], other: tuple[int, ...], dtype: Any) -> list[Any]:
        x = uniform(*first, low=low, high=high, dtype=dtype)
        return [x, uniform(*other, low=low2, high=high2, dtype=dtype, seed=11)]

    if real:
        for dtype in FLOATS:
            yield Sample(pair((3, 5), (3, 5), dtype), differentiable=differentiable)
        for name, first, other in (
            ("row", (4, 3), (3,)),
            ("column", (4, 1), (4, 5)),
            ("both", (2, 1, 3), (4, 1)),
            ("scalar", (2, 3), ()),
            ("scalars", (), ()),
        ):
            yield Sample(pair(first, other, np.float32), differentiable=differentiable, name=name)
        yield Sample(pair((3, 0), (1, 1), np.float32), differentiable=False, name="empty")
        x, y = pair((3, 8), (3, 8), np.float32)
        yield Sample([strided(x), y.T.copy().T], differentiable=False, name="strided")
        yield Sample(
            pair((4, 3), (3,), np.float32),
            differentiable=differentiable,
            name="unknown",
            shapes={0: [None, 3], 1: None},
        )
        if specials:
            grid = special()[:, None]
            yield Sample([grid, special()[None, :]], differentiable=False, name="special")
        for dtype in HALVES if half else ():
            yield Sample(pair((2, 9), (9,), dtype), differentiable=False)
    for dtype in COMPLEX if complex_ else ():
        yield Sample(pair((2, 3), (3,), dtype), differentiable=differentiable, rtol=1e-5)
    for dtype in (*INTEGERS, np.int8, np.uint8) if integer else ():
        small = np.dtype(dtype).kind == "u"
        x = integers(3, 4, low=0 if small else -7, high=8, dtype=dtype)
        y = integers(4, low=1, high=5, dtype=dtype, seed=5)
        yield Sample([x, y], differentiable=False)


@samples("Add", "AddV2", "Sub", "Mul")
def ring() -> Iterator[Sample]:
    yield from pairs(complex_=True, integer=True)
    high = np.array([2**31 - 1, -(2**31), 7], np.int32)
    yield Sample([high, high], differentiable=False, name="wraps")


@samples("Add")
def add_strings() -> Iterator[Sample]:
    yield Sample([np.array([b"a", b""], object), np.array(b"\x00z", object)], differentiable=False)


@samples("Div", "RealDiv")
def quotient() -> Iterator[Sample]:
    yield from pairs(second=(0.5, 2), complex_=True, integer=True)
    yield Sample(
        [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)], differentiable=False
    )


@samples("TruncateDiv", "FloorDiv")
def whole_quotient() -> Iterator[Sample]:
    yield from pairs(-5, 5, second=(0.5, 2), integer=True, differentiable=False, specials=False)
    yield Sample(
        [np.array([7, -7, 7, -7], np.int64), np.array([2, 2, -2, -2], np.int64)], differentiable=False
    )
    yield Sample(
        [np.array([7, -7, 0], np.int32), np.array(-2, np.int32)], differentiable=False, constant=(1,)
    )


@samples("FloorMod", "TruncateMod", "Mod")
def remainder() -> Iterator[Sample]:
    first = np.array([[5.3, -5.3], [0.4, 7.0]])
    yield Sample([first, np.array([1.9, 2.6])])
    yield Sample([first, np.array([-1.9, -2.6])])
    yield Sample([first.astype(np.float32), np.float32(1.5) * np.ones((), np.float32)], differentiable=False)
    yield Sample(
        [np.array([7, -7, 7, -7], np.int32), np.array([3, 3, -3, -3], np.int32)], differentiable=False
    )
    yield Sample([integers(3, 4, dtype=np.int64), np.array(3, np.int64)], differentiable=False, constant=(1,))
    yield Sample([uniform(0, 3), uniform(3)], differentiable=False, name="empty")
    zero = np.array(0, np.int32)
    yield Sample([np.zeros(0, np.int32), zero], differentiable=False, name="nothing-by-zero")
    for dtype in HALVES:
        yield Sample([first.astype(dtype), np.array([2, 3], dtype)], differentiable=False)


@samples("DivNoNan")
def div_no_nan() -> Iterator[Sample]:
    yield from pairs(second=(0.5, 2), complex_=True)
    yield Sample([np.array([1.0, 0, np.inf]), np.array([0.0, 0, 0])], differentiable=False, name="zero")


@samples("MulNoNan")
def mul_no_nan() -> Iterator[Sample]:
    yield from pairs(complex_=True)
    yield Sample([np.array([np.nan, np.inf, 1.0]), np.zeros(3)], differentiable=False, name="zero")


@samples("Pow")
def power() -> Iterator[Sample]:
    yield from pairs(0.4, 2, second=(-2, 2), specials=False)
    yield Sample(
        [uniform(3, low=0.5, high=2, dtype=np.complex128), uniform(3, dtype=np.complex128)], rtol=1e-6
    )
    for exponent in (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 7.0):
        base = uniform(2, 5, low=0.3, high=2)
        yield Sample(
            [base, np.array(exponent, np.float32)], constant=(1,), differentiable=(0,), name=f"to_{exponent}"
        )
    yield Sample([np.array([-2, 0, 3], np.int32), np.array([3, 0, 2], np.int32)], differentiable=False)
    yield Sample([np.array([-2, 0, 3], np.int64), np.array(2, np.int64)], differentiable=False, constant=(1,))
    yield Sample([np.array([-2.0, 0.0, -0.5]), np.array([2.0, 0.0, 3.0])], differentiable=False, name="sign")


@samples("Maximum", "Minimum")
def extremes() -> Iterator[Sample]:
    values = apart(4, 6)
    yield Sample([values[:, :3].copy(), values[:, 3:].copy()])
    yield Sample([values[:, :1].copy(), values[:2, 1:].reshape(2, 1, 5).copy()], name="broadcast")
    yield from pairs(integer=True, differentiable=False)


@samples("SquaredDifference")
def squared_difference() -> Iterator[Sample]:
    yield from pairs(complex_=True)
    yield Sample([integers(3), integers(3, seed=2)], differentiable=False)


@samples("Atan2")
def atan2() -> Iterator[Sample]:
    yield from pairs(-2, 2, second=(0.5, 2), specials=False)
    angles = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], np.float32)
    yield Sample([angles[:, None], angles], differentiable=False, name="special")


@samples("Xdivy", "Xlogy", "Xlog1py")
def zero_first() -> Iterator[Sample]:
    yield from pairs(0.5, 2, complex_=True)
    yield Sample([np.zeros(4), np.array([0.0, np.nan, np.inf, -1.0])], differentiable=False, name="zero")


@samples("AddN")
def add_n() -> Iterator[Sample]:
    for count in (1, 2, 5):
        yield Sample([[uniform(3, 4, dtype=np.float64, seed=i) for i in range(count)]])
    yield Sample([[uniform(2, 3, seed=i) for i in range(3)]], name="f32")
    yield Sample([[integers(3), integers(3)]], differentiable=False)
    yield Sample([[uniform(0, 3)] * 2], differentiable=False, name="empty")
    for dtype in HALVES:
        yield Sample([[uniform(5, dtype=dtype), uniform(5, dtype=dtype, seed=3)]], differentiable=False)


@samples("AccumulateNV2")
def accumulate_n() -> Iterator[Sample]:
    from graphflow.shapes import TensorShape

    values = [uniform(2, 3, dtype=np.float64, seed=i) for i in range(3)]
    yield Sample([values], attrs={"shape": TensorShape([2, 3])})


# ---------------------------------------------------------------------------- comparisons, logic, bits


@samples("Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual")
def comparisons() -> Iterator[Sample]:
    yield from pairs(differentiable=False, integer=True)
    same = integers(3, 4, low=0, high=3)
    yield Sample([same, same.T.copy().T], differentiable=False, name="equal")


@samples("Equal", "NotEqual")
def equality() -> Iterator[Sample]:
    yield Sample([np.array([b"a", b"b"], object), np.array([b"a", b"c"], object)], differentiable=False)
    yield Sample([np.array([True, False]), np.array([True, True])], differentiable=False)
    yield Sample([uniform(3, dtype=np.complex64)] * 2, differentiable=False)
    yield Sample(
        [uniform(2), uniform(3)],
        attrs={"incompatible_shape_error": False},
        differentiable=False,
        name="unfit",
    )


@samples("ApproximateEqual")
def approximate_equal() -> Iterator[Sample]:
    x = uniform(3, 4)
    yield Sample([x, x + np.float32(5e-6)], differentiable=False)
    yield Sample([x, x + np.float32(0.05)], attrs={"tolerance": 0.01}, differentiable=False)
    yield Sample([integers(4), integers(4, seed=2)], differentiable=False)


@samples("LogicalAnd", "LogicalOr")
def logic() -> Iterator[Sample]:
    values = np.array([True, False])
    yield Sample([values[:, None], values], differentiable=False)
    yield Sample([np.zeros((0, 2), bool), values], differentiable=False, name="empty")


@samples("LogicalNot")
def logical_not() -> Iterator[Sample]:
    yield Sample([np.array([[True, False, True]])], differentiable=False)
    yield Sample([np.array(False)], differentiable=False, name="scalar")


@samples("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bits() -> Iterator[Sample]:
    for dtype in (*INTEGERS, np.int8, np.uint16, np.uint64):
        low = 0 if np.dtype(dtype).kind == "u" else -50
        first, second = (
            integers(3, 4, low=low, high=99, dtype=dtype),
            integers(4, low=low, high=99, dtype=dtype, seed=3),
        )
        yield Sample([first, second], differentiable=False)


@samples("Invert")
def invert() -> Iterator[Sample]:
    yield from unary(real=False, integer=True, unsigned=True)


@samples("PopulationCount")
def population_count() -> Iterator[Sample]:
    for dtype in (*INTEGERS, *SMALL_INTEGERS, *UNSIGNED):
        info = np.iinfo(dtype)
        yield Sample(
            [np.array([[0, 1, 77], [info.max, info.min, info.max // 3]], dtype)], differentiable=False
        )


@samples("LeftShift", "RightShift")
def shifts() -> Iterator[Sample]:
    for dtype in (*INTEGERS, np.uint8, np.uint32):
        low = 0 if np.dtype(dtype).kind == "u" else -99
        x = integers(4, 5, low=low, high=99, dtype=dtype)
        yield Sample([x, integers(5, low=0, high=7, dtype=dtype, seed=3)], differentiable=False)
    yield Sample(
        [np.array([5, -5], np.int32), np.array([40, 33], np.int32)], differentiable=False, name="held"
    )


# ---------------------------------------------------------------------------- selection, casts


@samples("Select")
def select() -> Iterator[Sample]:
    t, e = uniform(3, 4), uniform(3, 4, seed=2)
    yield Sample([uniform(3, 4, dtype=bool), t, e])
    yield Sample([np.array([True, False, True]), t, e], name="rows")
    yield Sample([np.array(False), t, e], name="scalar")
    yield Sample(
        [np.array([True, False]), special()[:2], special()[2:4]], differentiable=False, name="special"
    )
    yield Sample([np.array([True, False]), *([np.array([b"a", b"b"], object)] * 2)], differentiable=False)
    yield Sample([uniform(2, 2, dtype=bool), integers(2, 2), integers(2, 2, seed=2)], differentiable=False)


@samples("SelectV2")
def select_v2() -> Iterator[Sample]:
    yield Sample([uniform(3, 1, dtype=bool), uniform(4), uniform(3, 4, seed=2)], name="broadcast")
    yield Sample([uniform(3, 4, dtype=bool), uniform(3, 4), uniform(seed=2)], name="scalar")
    yield Sample([uniform(5, dtype=bool), integers(5), integers(5, seed=2)], differentiable=False)
    yield Sample([uniform(0, dtype=bool), uniform(0), uniform(0)], differentiable=False, name="empty")
    for dtype in HALVES:
        yield Sample(
            [uniform(4, dtype=bool), uniform(4, dtype=dtype), uniform(4, dtype=dtype)], differentiable=False
        )


@samples("ClipByValue")
def clip_by_value() -> Iterator[Sample]:
    values = apart(4, 5) * 0.1
    yield Sample([values, np.array(-0.33), np.array(0.41)])
    yield Sample([values, values - 0.01, values + 0.02], name="tensors")
    yield Sample([values.astype(np.float32), np.float32(-0.2) + np.zeros((), np.float32), np.ones((), np.float32)],
                 differentiable=False)  # fmt: skip
    yield Sample([integers(7), np.array(-2, np.int32), np.array(3, np.int32)], differentiable=False)


CASTS = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "complex128",
)  # fmt: skip


@samples("Cast")
def cast() -> Iterator[Sample]:
    for source in CASTS:
        for target in CASTS:
            unsigned = "uint" in source + target
            values = uniform(
                2, 5, low=0 if unsigned else -5, high=9, dtype=dtypes.as_dtype(source).as_numpy_dtype
            )
            both = all(
                dtypes.as_dtype(t).is_floating and dtypes.as_dtype(t).size >= 4 for t in (source, target)
            )
            yield Sample(
                [values], attrs={"DstT": dtypes.as_dtype(target)}, differentiable=both and target == "float64",
                name=f"{source}_{target}",
            )  # fmt: skip
    for target in ("int32", "int64", "uint8", "bool"):
        yield Sample(
            [special()],
            attrs={"DstT": dtypes.as_dtype(target)},
            differentiable=False,
            name=f"special_{target}",
        )
    wide = np.array([2**40 + 5, -1, 300], np.int64)
    yield Sample([wide], attrs={"DstT": dtypes.int32}, differentiable=False, name="wraps")
    yield Sample([wide], attrs={"DstT": dtypes.uint8}, differentiable=False, name="wraps_narrow")


@samples("Bitcast")
def bitcast() -> Iterator[Sample]:
    def to(array: Array, target: Any, name: str) -> Sample:
        return Sample([array], attrs={"type": target}, differentiable=False, name=name)

    yield to(uniform(3, 4), dtypes.int32, "same")
    yield to(uniform(3, 4), dtypes.uint8, "smaller")
    yield to(integers(3, 4, low=0, dtype=np.uint8), dtypes.float32, "larger")
    yield to(uniform(2, dtype=np.float64), dtypes.complex64, "complex")


# ---------------------------------------------------------------------------- complex numbers


@samples("Complex")
def complex_() -> Iterator[Sample]:
    yield Sample(
        [uniform(3, 4, dtype=np.float64), uniform(4, dtype=np.float64)], attrs={"Tout": dtypes.complex128}
    )
    yield Sample([uniform(3), uniform(seed=2)], attrs={"Tout": dtypes.complex64}, differentiable=False)


@samples("Real", "Imag", "Angle", "ComplexAbs")
def parts() -> Iterator[Sample]:
    yield Sample([uniform(3, 4, dtype=np.complex128)], attrs={"Tout": dtypes.float64})
    yield Sample([uniform(3, 4, dtype=np.complex64)], attrs={"Tout": dtypes.float32}, differentiable=False)
    yield Sample(
        [uniform(0, dtype=np.complex64)], attrs={"Tout": dtypes.float32}, differentiable=False, name="empty"
    )


# ---------------------------------------------------------------------------- activations and gradient ops


@samples("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign")
def activations() -> Iterator[Sample]:
    yield Sample([apart(4, 5)])
    yield from unary(-3, 3, differentiable=False)
    yield Sample([uniform(99, low=-40, high=40)], differentiable=False, name="wide")


@samples("Relu", "Relu6")
def relu_integers() -> Iterator[Sample]:
    yield from unary(real=False, integer=True, unsigned=True)


@samples("LeakyRelu")
def leaky_relu() -> Iterator[Sample]:
    yield Sample([apart(3, 4)], attrs={"alpha": 0.05}, name="alpha")


@samples("LeakyReluGrad")
def leaky_relu_grad() -> Iterator[Sample]:
    yield Sample(
        [uniform(3, 4), uniform(3, 4, seed=9)], attrs={"alpha": 0.05}, differentiable=(0,), name="alpha"
    )


def gradient_pairs(first: tuple[int, ...] = (0, 1)) -> Iterator[Sample]:
    yield Sample([uniform(4, 5, dtype=np.float64), apart(4, 5) * 0.9], differentiable=first)
    yield Sample([uniform(4, 5), apart(4, 5, dtype=np.float32)], differentiable=False, name="f32")
    yield Sample([np.ones_like(special()), special()], differentiable=False, name="special")
    yield Sample([uniform(0), uniform(0)], differentiable=False, name="empty")
    for dtype in HALVES:
        yield Sample([uniform(5, dtype=dtype), uniform(5, dtype=dtype, seed=2)], differentiable=False)


@samples("ReluGrad", "Relu6Grad", "LeakyReluGrad")
def step_gradients() -> Iterator[Sample]:
    yield from gradient_pairs((0,))


@samples("EluGrad", "SeluGrad", "SoftplusGrad", "SoftsignGrad")
def smooth_gradients() -> Iterator[Sample]:
    yield from gradient_pairs()


@samples("ReluGrad")
def relu_grad_integers() -> Iterator[Sample]:
    yield Sample([integers(5), integers(5, seed=2)], differentiable=False)


@samples("SigmoidGrad", "TanhGrad", "SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad")
def output_gradients() -> Iterator[Sample]:
    for dtype in FLOATS:
        yield Sample([uniform(3, 4, low=0.3, high=0.9, dtype=dtype), uniform(3, 4, dtype=dtype, seed=2)])
    for dtype in HALVES:
        y = uniform(5, low=0.3, high=0.9, dtype=dtype)
        yield Sample([y, uniform(5, dtype=dtype, seed=2)], differentiable=False)
    for dtype in COMPLEX:
        y = uniform(3, low=0.3, high=0.9, dtype=dtype)
        yield Sample([y, uniform(3, dtype=dtype, seed=2)], differentiable=False, rtol=1e-5)
    yield Sample([uniform(0), uniform(0)], differentiable=False, name="empty")
