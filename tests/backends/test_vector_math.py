"""Errors of the elementary functions in units in the last place, and their special values."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphflow.backends.cpu.target import Target
from graphflow.loops.build import Builder
from graphflow.loops.ir import FUNCTIONS, Kernel, numpy_dtype
from tests.backends.kernel_runs import run_kernel, runnable_targets

POINTS = 100_000
TARGETS = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)


def kernel(name: str, dtype: str, arity: int) -> Kernel:
    b = Builder(f"math_{name}_{dtype}")
    inputs = [b.buffer(f"x{k}", dtype) for k in range(arity)]
    out = b.buffer("out", dtype)
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        b.store(out, i, b.apply(name, *(b.load(x, i) for x in inputs)))
    return b.kernel()


def _long(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *xs: function(*(x.astype(np.longdouble) for x in xs))


def _libm(function: Callable[[float], float]) -> Callable[..., Any]:
    return lambda x: np.array([function(v) for v in x.tolist()])


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


EVERYWHERE = (-1.0, 1.0, True)  # exponents drawn evenly, both signs

# name: reference, then (low, high, by exponent) of the points, and the bounds in ulp for f32 and f64.
UNARY: dict[str, tuple[Callable[..., Any], tuple[float, float, bool], float, float]] = {
    "exp": (_long(np.exp), (-87.0, 88.0, False), 1.5, 1.5),
    "expm1": (_long(np.expm1), (-20.0, 88.0, False), 2.0, 2.5),
    "log": (_long(np.log), (1e-37, 1e37, True), 1.5, 1.5),
    "log1p": (_long(np.log1p), (-0.9, 50.0, False), 1.5, 1.5),
    "sqrt": (_long(np.sqrt), (1e-37, 1e37, True), 0.51, 0.51),
    "rsqrt": (_long(lambda x: 1 / np.sqrt(x)), (1e-37, 1e37, True), 1.5, 1.5),
    "sin": (_long(np.sin), (-3.1, 3.1, False), 2.0, 2.0),
    "cos": (_long(np.cos), (-1.5, 1.5, False), 2.0, 2.0),
    "tan": (_long(np.tan), (-1.5, 1.5, False), 3.0, 3.0),
    "asin": (_long(np.arcsin), (-1.0, 1.0, False), 3.0, 3.0),
    "acos": (_long(np.arccos), (-1.0, 1.0, False), 3.0, 3.0),
    "atan": (_long(np.arctan), (-20.0, 20.0, False), 3.0, 3.0),
    "sinh": (_long(np.sinh), (-88.0, 88.0, False), 2.0, 2.0),
    "cosh": (_long(np.cosh), (-88.0, 88.0, False), 2.0, 2.0),
    "tanh": (_long(np.tanh), (-9.0, 9.0, False), 6.0, 2.5),
    "asinh": (_long(np.arcsinh), (-50.0, 50.0, False), 2.5, 2.5),
    "acosh": (_long(np.arccosh), (1.0, 50.0, False), 2.5, 2.5),
    "atanh": (_long(np.arctanh), (-0.999, 0.999, False), 2.5, 2.5),
    "sigmoid": (_long(_sigmoid), (-80.0, 80.0, False), 3.0, 2.5),
    "erf": (_libm(math.erf), (-5.0, 5.0, False), 7.0, 2.5),
    "erfc": (_libm(math.erfc), (-5.0, 9.0, False), 6.0, 7.0),
}

BINARY: dict[str, tuple[Callable[..., Any], tuple[float, float], tuple[float, float], float, float]] = {
    "pow": (_long(np.power), (0.01, 20.0), (-15.0, 15.0), 0.6, 0.6),
    "atan2": (_long(np.arctan2), (-5.0, 5.0), (-5.0, 5.0), 3.0, 3.0),
}


def points(span: tuple[float, float, bool], dtype: str, seed: int) -> np.ndarray:
    low, high, by_exponent = span
    rng = np.random.default_rng(seed)
    if by_exponent:
        return np.exp(rng.uniform(math.log(low), math.log(high), POINTS)).astype(numpy_dtype(dtype))
    values = rng.uniform(low, high, POINTS)
    # A quarter near zero, where relative error is hardest.
    if low < 0 < high:
        values[: POINTS // 4] *= np.exp(rng.uniform(-12, 0, POINTS // 4))
    return values.astype(numpy_dtype(dtype))


def ulps(actual: np.ndarray, exact: Any) -> np.ndarray:
    unit = np.spacing(np.abs(exact.astype(actual.dtype)))
    return np.asarray(np.abs(actual.astype(np.longdouble) - exact) / unit, np.float64)


def measure(
    name: str, dtype: str, arrays: list[np.ndarray], reference: Callable[..., Any], target: Target
) -> float:
    out = np.zeros(POINTS, numpy_dtype(dtype))
    run_kernel(kernel(name, dtype, len(arrays)), [*arrays, out, POINTS], target)
    return float(ulps(out, reference(*arrays)).max())


@TARGETS
@pytest.mark.parametrize("name", list(UNARY))
def test_bound(name: str, target: Target, record_property: Callable[[str, object], None]) -> None:
    reference, span, single, double = UNARY[name]
    for dtype, bound in (("f32", single), ("f64", double)):
        error = measure(name, dtype, [points(span, dtype, 1)], reference, target)
        record_property(f"{name} {dtype} {target.isa}", error)
        assert error <= bound, f"{name} of {dtype} is {error:.2f} ulp off"


@TARGETS
@pytest.mark.parametrize("name", list(UNARY))
def test_bound_over_every_exponent(name: str, target: Target) -> None:
    """Evenly spaced bit patterns of f32, from the smallest subnormal to the largest number of either sign."""
    reference, _, bound, _ = UNARY[name]
    x = np.arange(7, 2**32, 40_009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.ascontiguousarray(x[np.isfinite(x)])
    out = np.zeros_like(x)
    run_kernel(kernel(name, "f32", 1), [x, out, len(x)], target)
    with np.errstate(all="ignore"):
        exact = np.asarray(reference(x))
        rounded = exact.astype(np.float32)
    ordinary = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(np.float32).tiny)
    error = ulps(out[ordinary], exact[ordinary])
    assert error.max() <= bound, f"{name} of {x[ordinary][error.argmax()]!r} is {error.max():.2f} ulp off"
    rest = ~np.isfinite(rounded)
    np.testing.assert_array_equal(out[rest], rounded[rest])
    small = ~ordinary & ~rest
    np.testing.assert_allclose(out[small], rounded[small], rtol=0, atol=1.5e-45)


@TARGETS
@pytest.mark.parametrize("name", list(BINARY))
def test_bound_of_two_arguments(name: str, target: Target) -> None:
    reference, first, second, single, double = BINARY[name]
    for dtype, bound in (("f32", single), ("f64", double)):
        arrays = [points((*first, False), dtype, 1), points((*second, False), dtype, 2)]
        error = measure(name, dtype, arrays, reference, target)
        assert error <= bound, f"{name} of {dtype} is {error:.2f} ulp off"


def _specials(dtype: str) -> np.ndarray:
    info = np.finfo(numpy_dtype(dtype))
    values = [
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
        1e-3,
        30.0,
        -30.0,
    ]
    values += [float(info.max), -float(info.max), float(info.tiny), float(info.smallest_subnormal)]
    values += [
        -float(info.smallest_subnormal),
        1e-30,
        -1e-30,
        88.7,
        -88.0,
        103.0,
        -103.0,
        709.0,
        710.5,
        -745.0,
    ]
    values += [1e5, -1e5, 1e7, 1e20, 0.9999999, -0.9999999, 1.0000002, 16777216.0, 16777217.0]
    with np.errstate(over="ignore"):
        return np.array(values).astype(numpy_dtype(dtype))


@TARGETS
@pytest.mark.parametrize("name", [*UNARY, "floor", "ceil", "rint", "trunc", "lgamma", "sign", "abs"])
def test_special_values(name: str, target: Target) -> None:
    for dtype in ("f32", "f64"):
        x = _specials(dtype)
        out = np.zeros_like(x)
        run_kernel(kernel(name, dtype, 1), [x, out, len(x)], target)
        with np.errstate(all="ignore"):
            if name == "erfc":
                expected = _libm(math.erfc)(x).astype(x.dtype)
            elif name == "sigmoid":
                expected = _sigmoid(x.astype(np.longdouble)).astype(x.dtype)
            else:
                expected = FUNCTIONS[name].numpy(x)
        tolerance = 1e-6 if dtype == "f32" else 1e-13
        np.testing.assert_allclose(
            out, expected, rtol=tolerance, atol={"acosh": 1e-9, "lgamma": 1e-12}.get(name, 0), err_msg=name
        )
        zeros = expected == 0
        if name not in ("acos", "acosh", "log", "sign", "lgamma"):
            np.testing.assert_array_equal(np.signbit(out[zeros]), np.signbit(expected[zeros]), name)


@TARGETS
@pytest.mark.parametrize("name", ["pow", "atan2", "truncmod", "floormod", "max", "min"])
def test_special_pairs(name: str, target: Target) -> None:
    for dtype in ("f32", "f64"):
        special = _specials(dtype)
        x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(special, special))
        out = np.zeros_like(x)
        run_kernel(kernel(name, dtype, 2), [x, y, out, len(x)], target)
        with np.errstate(all="ignore"):
            expected = FUNCTIONS[name].numpy(x, y)
        bad = ~np.isclose(out, expected, rtol=2e-6 if dtype == "f32" else 1e-13, atol=0, equal_nan=True)
        # NumPy's own f32 powers are a few units off where ours go through f64.
        assert not bad.any(), [(float(a), float(b), float(c), float(d)) for a, b, c, d in
                               zip(x[bad], y[bad], out[bad], expected[bad], strict=True)][:10]  # fmt: skip


@TARGETS
def test_remainders_are_exact(target: Target) -> None:
    rng = np.random.default_rng(3)
    for dtype in ("f32", "f64"):
        x = (rng.standard_normal(20000) * np.exp(rng.uniform(-5, 20, 20000))).astype(numpy_dtype(dtype))
        y = (rng.standard_normal(20000) * np.exp(rng.uniform(-5, 5, 20000))).astype(numpy_dtype(dtype))
        out = np.zeros_like(x)
        run_kernel(kernel("truncmod", dtype, 2), [x, y, out, len(x)], target)
        np.testing.assert_array_equal(out, np.fmod(x, y))


@TARGETS
def test_angles_of_any_size(target: Target) -> None:
    rng = np.random.default_rng(4)
    for dtype in ("f32", "f64"):
        x = (rng.standard_normal(20000) * np.exp(rng.uniform(0, 40, 20000))).astype(numpy_dtype(dtype))
        for name, reference in (("sin", np.sin), ("cos", np.cos)):
            out = np.zeros_like(x)
            run_kernel(kernel(name, dtype, 1), [x, out, len(x)], target)
            exact = reference(x.astype(np.longdouble if dtype == "f64" else np.float64))
            error = np.abs(out.astype(np.float64) - exact.astype(np.float64))
            assert error.max() <= (2e-7 if dtype == "f32" else 4e-16)
