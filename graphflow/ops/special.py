"""Special functions: the error function, the gamma function and their kin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import emit
from graphflow.ops.elementwise import binary, cast, unary
from graphflow.ops.rules import FLOATS, Array


def _per_element(function: Callable[..., float], *arrays: Array) -> Any:
    """Applies a function of Python floats to each element, in float64."""
    if arrays[0].size == 0:
        return arrays[0].copy()
    lifted = np.frompyfunc(function, len(arrays), 1)
    values = lifted(*(a.astype(np.float64) for a in arrays))
    return np.asarray(values).astype(np.float64).astype(arrays[0].dtype)


@unary("Erf", FLOATS)
def erf_op(x: Array) -> Any:
    """The error function."""
    return _per_element(math.erf, x)


@erf_op.gradient
def _erf_gradient(op: Any, dy: Any) -> list[Any]:
    x = op.inputs[0]
    return [dy * ((2 / math.sqrt(math.pi)) * emit.Exp(-emit.Square(x)))]


@erf_op.lower
def _erf_lower(b: Builder, x: Expr) -> Expr:
    return b.erf(x)


def erf(x: Any, name: str | None = None) -> Tensor:
    """Returns the error function."""
    return emit.Erf(x, name=name)


@unary("Erfc", FLOATS)
def erfc_op(x: Array) -> Any:
    """1 - erf(x), right in the tail."""
    return _per_element(math.erfc, x)


@erfc_op.gradient
def _erfc_gradient(op: Any, dy: Any) -> list[Any]:
    x = op.inputs[0]
    return [dy * ((-2 / math.sqrt(math.pi)) * emit.Exp(-emit.Square(x)))]


@erfc_op.lower
def _erfc_lower(b: Builder, x: Expr) -> Expr:
    return b.erfc(x)


def erfc(x: Any, name: str | None = None) -> Tensor:
    """Returns 1 - erf(x), right in the tail."""
    return emit.Erfc(x, name=name)


def _erfinv(x: float) -> float:
    if not -1 < x < 1:
        return math.copysign(math.inf, x) if x in (-1, 1) else math.nan
    if x == 0:
        return x
    # A rough start (Winitzki), then Halley's steps on erfc, which is exact in the tail.
    tail = 1 - math.fabs(x)
    logarithm = math.log(tail * (1 + math.fabs(x)))
    head = 2 / (math.pi * 0.147) + logarithm / 2
    y = math.sqrt(math.sqrt(head * head - logarithm / 0.147) - head)
    for _ in range(4):
        slope = 2 / math.sqrt(math.pi) * math.exp(-y * y)
        if slope == 0:
            break
        newton = (math.erfc(y) - tail) / slope if math.fabs(x) > 0.5 else (math.fabs(x) - math.erf(y)) / slope
        y += newton / (1 - y * newton)
    return math.copysign(y, x)


@unary("Erfinv", FLOATS)
def erfinv_op(x: Array) -> Any:
    """The inverse of the error function."""
    return _per_element(_erfinv, x)


@erfinv_op.gradient
def _erfinv_gradient(op: Any, dy: Any) -> list[Any]:
    y = op.outputs[0]
    return [dy * ((math.sqrt(math.pi) / 2) * emit.Exp(emit.Square(y)))]


def erfinv(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the error function."""
    with name_scope(name, "erfinv", [x]) as scope:
        return emit.Erfinv(x, name=scope)


def _is_pole(x: float) -> bool:
    return x <= 0 and x == math.floor(x)


def _lgamma(x: float) -> float:
    if math.isinf(x) or _is_pole(x):
        return math.inf
    try:
        return math.lgamma(x)
    except OverflowError:
        return math.inf


@unary("Lgamma", FLOATS)
def lgamma_op(x: Array) -> Any:
    """The logarithm of the gamma function's absolute value."""
    return _per_element(_lgamma, x)


@lgamma_op.gradient
def _lgamma_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Digamma(op.inputs[0])]


@lgamma_op.lower
def _lgamma_lower(b: Builder, x: Expr) -> Expr:
    return b.lgamma(x)


def lgamma(x: Any, name: str | None = None) -> Tensor:
    """Returns the logarithm of the gamma function's absolute value."""
    return emit.Lgamma(x, name=name)


def _digamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if math.isinf(x) or _is_pole(x):
        return math.nan
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * x)
    shift = 0.0
    while x < 10:
        shift -= 1 / x
        x += 1
    z = 1 / (x * x)
    tail = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132))))
    return shift + math.log(x) - 0.5 / x - tail


@unary("Digamma", FLOATS)
def digamma_op(x: Array) -> Any:
    """The derivative of lgamma."""
    return _per_element(_digamma, x)


@digamma_op.gradient
def _digamma_gradient(op: Any, dy: Any) -> list[Any]:
    x = op.inputs[0]
    # Polygamma is only defined in float32 and float64.
    wide = cast(x, dtypes.float32) if x.dtype.size < 4 else x
    return [dy * cast(emit.Polygamma(1.0, wide), x.dtype)]


def digamma(x: Any, name: str | None = None) -> Tensor:
    """Returns the derivative of lgamma."""
    return emit.Digamma(x, name=name)


# B(2k) / (2k)! for the Euler-Maclaurin tail of the zeta function.
_ZETA_TAIL = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000, 43867 / 5109094217170944000,
)  # fmt: skip


def _zeta(x: float, q: float) -> float:
    if math.isnan(x) or math.isnan(q) or x < 1:
        return math.nan
    if x == 1:
        return math.inf
    if q <= 0:
        if q == math.floor(q):
            return math.inf
        if x != math.floor(x):
            return math.nan
    terms = 10 if q >= 0 else 10 + math.ceil(-q)
    total = math.fsum((q + k) ** -x for k in range(terms))
    a = q + terms
    total += a ** (1 - x) / (x - 1) + 0.5 * a**-x
    factor = x * a ** (-x - 1)
    for k, coefficient in enumerate(_ZETA_TAIL):
        total += coefficient * factor
        factor *= (x + 2 * k + 1) * (x + 2 * k + 2) / (a * a)
    return total


@binary("Zeta", "float32|float64", inputs="x:T; q:T")
def zeta_op(x: Array, q: Array) -> Any:
    """The Hurwitz zeta function: the sum of (q + k)^-x over k >= 0."""
    return _per_element(_zeta, *np.broadcast_arrays(x, q))


@zeta_op.gradient
def _zeta_gradient(op: Any, dy: Any) -> list[Any]:
    x, q = op.inputs
    return [None, dy * (-x * emit.Zeta(x + 1.0, q))]


def zeta(x: Any, q: Any, name: str | None = None) -> Tensor:
    """Returns the Hurwitz zeta function: the sum of (q + k)^-x over k >= 0."""
    return emit.Zeta(x, q, name=name)


def _polygamma(a: float, x: float) -> float:
    if a != math.floor(a) or a < 0:
        return math.nan
    if a == 0:
        return _digamma(x)
    sign = 1.0 if int(a) % 2 else -1.0
    return sign * math.factorial(int(a)) * _zeta(a + 1, x)


@binary("Polygamma", "float32|float64", inputs="a:T; x:T")
def polygamma_op(a: Array, x: Array) -> Any:
    """The a-th derivative of digamma."""
    return _per_element(_polygamma, *np.broadcast_arrays(a, x))


@polygamma_op.gradient
def _polygamma_gradient(op: Any, dy: Any) -> list[Any]:
    a, x = op.inputs
    return [None, dy * emit.Polygamma(a + 1.0, x)]


def polygamma(a: Any, x: Any, name: str | None = None) -> Tensor:
    """Returns the a-th derivative of digamma at x."""
    return emit.Polygamma(a, x, name=name)


__all__ = [
    "digamma", "erf", "erfc", "erfinv", "lgamma", "polygamma", "zeta",
]  # fmt: skip
