"""Special functions: the error function, the gamma function and their kin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import OpDef, constant, convert_to_tensor, emit, op
from graphflow.ops.elementwise import binary, cast, unary
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.rules import FLOATS, Array, broadcast, refuse, undefined_gradient
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape


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


def _tail_of_normal(p: float) -> float:
    """The x with erfc(x) = p, for p in (0, 1]: what erfinv cannot see near 1."""
    x = _erfinv(1 - p) if p > 1e-3 else math.sqrt(-math.log(p * math.sqrt(math.pi) * math.sqrt(-math.log(p))))
    for _ in range(6):
        slope = -2 / math.sqrt(math.pi) * math.exp(-x * x)
        if slope == 0:
            break
        newton = (math.erfc(x) - p) / slope
        x -= newton / (1 + x * newton)
    return x


def _ndtri(p: float) -> float:
    if not 0 < p < 1:
        return {0.0: -math.inf, 1.0: math.inf}.get(p, math.nan)
    if p <= 0.5:
        return -math.sqrt(2) * _tail_of_normal(2 * p)
    return math.sqrt(2) * _tail_of_normal(2 * (1 - p))


@unary("Ndtri", FLOATS)
def ndtri_op(x: Array) -> Any:
    """The inverse of the standard normal distribution."""
    return _per_element(_ndtri, x)


@ndtri_op.gradient
def _ndtri_gradient(op: Any, dy: Any) -> list[Any]:
    y = op.outputs[0]
    return [dy * (math.sqrt(2 * math.pi) * emit.Exp(emit.Square(y) * 0.5))]


def ndtri(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the standard normal distribution."""
    with name_scope(name, "ndtri", [x]) as scope:
        return emit.Ndtri(x, name=scope)


def erfcinv(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of erfc, by way of the normal distribution."""
    with name_scope(name, "erfcinv", [x]):
        x = convert_to_tensor(x, name="start")
        return emit.Ndtri(x * 0.5) * -math.sqrt(0.5)


# ---------------------------------------------------------------------------- incomplete gamma and beta functions

_EPSILON = float(np.finfo(np.float64).eps)
_MOST_TERMS = 5000


class _Gamma:
    """The incomplete gamma functions of arrays (float64), and their derivative by `a`.

    Below x = a a power series gives the lower function, above it a continued fraction the upper one. Both are `front`
    times a sum; `sum` and its derivative `slope` are kept apart from `front`, whose logarithm has the derivative
    `log_slope`.
    """

    def __init__(self, a: Array, x: Array) -> None:
        self.a, self.x = a, x
        self.lower = (x <= 1) | (x <= a)
        log_gamma = _lifted(_lgamma, a)
        self.front = np.exp(a * np.log(x) - x - log_gamma)
        self.log_slope = np.log(x) - _lifted(_digamma, a)
        self.sum = np.ones_like(x)
        self.slope = np.zeros_like(x)
        for side, fill in ((self.lower, self._series), (~self.lower, self._fraction)):
            if side.any():
                self.sum[side], self.slope[side] = fill(a[side], x[side])

    @staticmethod
    def _series(a: Array, x: Array) -> tuple[Array, Array]:
        term, slope = 1 / a, -1 / (a * a)
        total, total_slope, step = term.copy(), slope.copy(), a.copy()
        for _ in range(_MOST_TERMS):
            step = step + 1
            slope = slope * (x / step) - term * x / (step * step)
            term = term * (x / step)
            total, total_slope = total + term, total_slope + slope
            if np.all(term <= total * _EPSILON) and np.all(np.abs(slope) <= np.abs(total_slope) * _EPSILON):
                break
        return total, total_slope

    @staticmethod
    def _fraction(a: Array, x: Array) -> tuple[Array, Array]:
        # Numerators p and denominators q of the fraction's convergents, with their derivatives, held in bounds.
        y, z, count = 1 - a, x + 2 - a, np.zeros_like(a)
        p = [np.ones_like(x), x + 1]
        q = [x, z * x]
        dp = [np.zeros_like(x), np.zeros_like(x)]
        dq = [np.zeros_like(x), -x]
        value, slope = p[1] / q[1], (dp[1] - p[1] / q[1] * dq[1]) / q[1]
        for _ in range(_MOST_TERMS):
            count, y, z = count + 1, y + 1, z + 2
            yc = y * count
            new_p, new_q = p[1] * z - p[0] * yc, q[1] * z - q[0] * yc
            new_dp = dp[1] * z - p[1] - dp[0] * yc + p[0] * count
            new_dq = dq[1] * z - q[1] - dq[0] * yc + q[0] * count
            before, before_slope = value, slope
            sound = new_q != 0
            safe = np.where(sound, new_q, 1)
            value = np.where(sound, new_p / safe, value)
            slope = np.where(sound, (new_dp - value * new_dq) / safe, slope)
            p, q, dp, dq = [p[1], new_p], [q[1], new_q], [dp[1], new_dp], [dq[1], new_dq]
            large = np.abs(new_p) > 1e50
            if large.any():
                scale = np.where(large, 1e-50, 1.0)
                p, q, dp, dq = ([part * scale for part in parts] for parts in (p, q, dp, dq))
            near = np.abs(value - before) <= np.abs(value) * _EPSILON
            if near.all() and np.all(np.abs(slope - before_slope) <= np.abs(slope) * _EPSILON):
                break
        return value, slope

    def upper_function(self) -> Array:
        part = self.front * self.sum
        return np.where(self.lower, 1 - part, part)

    def lower_function(self) -> Array:
        part = self.front * self.sum
        return np.where(self.lower, part, 1 - part)

    def by_a(self) -> Array:
        """The derivative of the lower function by `a`."""
        part = self.front * (self.slope + self.sum * self.log_slope)
        return np.where(self.lower, part, -part)

    def sample_by_a(self) -> Array:
        """How a sample x of the gamma distribution moves with `a`: both derivatives have `front` as a factor."""
        part = (self.slope + self.sum * self.log_slope) * self.x
        return np.where(self.lower, -part, part)


def _lifted(function: Callable[[float], float], x: Array) -> Array:
    return np.asarray(np.frompyfunc(function, 1, 1)(x), np.float64) if x.size else x


def _of_gamma(
    a: Array, x: Array, ask: Callable[[_Gamma], Array], at_zero: float, at_infinity: float
) -> Array:
    """A function of both arguments where it is regular; NaN where it is not defined, limits at the ends."""
    dtype = a.dtype
    a, x = (v.astype(np.float64) for v in np.broadcast_arrays(a, x))
    result = np.full(a.shape, np.nan)
    defined = (a > 0) & (x >= 0) & np.isfinite(a)
    result[defined & (x == 0)] = at_zero
    result[defined & np.isinf(x)] = at_infinity
    regular = defined & (x > 0) & np.isfinite(x)
    if regular.any():
        with np.errstate(all="ignore"):
            result[regular] = ask(_Gamma(a[regular], x[regular]))
    return result.astype(dtype)


def _gamma_front(a: Any, x: Any) -> Any:
    """The density of the gamma distribution: the derivative of the lower function by x."""
    return emit.Exp(-x + (a - 1.0) * emit.Log(x) - emit.Lgamma(a))


@binary("Igamma", FLOATS, inputs="a:T; x:T")
def igamma_op(a: Array, x: Array) -> Any:
    """The lower incomplete gamma function over the whole one."""
    at_zero = np.logical_and(x == 0, ~np.isnan(a))  # whatever `a` is
    return np.where(at_zero, a.dtype.type(0), _of_gamma(a, x, _Gamma.lower_function, 0.0, 1.0))


@igamma_op.gradient
def _igamma_gradient(op: Any, dy: Any) -> list[Any]:
    a, x = op.inputs
    return [dy * emit.IgammaGradA(a, x), dy * _gamma_front(a, x)]


@binary("Igammac", FLOATS, inputs="a:T; x:T")
def igammac_op(a: Array, x: Array) -> Any:
    """The upper incomplete gamma function over the whole one."""
    return _of_gamma(a, x, _Gamma.upper_function, 1.0, 0.0)


@igammac_op.gradient
def _igammac_gradient(op: Any, dy: Any) -> list[Any]:
    a, x = op.inputs
    return [-dy * emit.IgammaGradA(a, x), -dy * _gamma_front(a, x)]


@binary("IgammaGradA", "float32|float64", inputs="a:T; x:T")
def igamma_grad_a_op(a: Array, x: Array) -> Any:
    """The derivative of the lower incomplete gamma function over the whole one by `a`."""
    return _of_gamma(a, x, _Gamma.by_a, 0.0, 0.0)


igamma_grad_a_op.gradient(undefined_gradient)


@op("RandomGammaGrad", "alpha:T; sample:T", "output:T", "T:type{float32|float64}", infer=broadcast,
    broadcasting=True)  # fmt: skip
def random_gamma_grad_op(alpha: Array, sample: Array) -> Any:
    """How a sample of the gamma distribution moves with alpha."""
    return _of_gamma(alpha, sample, _Gamma.sample_by_a, 0.0, np.nan)


random_gamma_grad_op.gradient(undefined_gradient)


def igamma(a: Any, x: Any, name: str | None = None) -> Tensor:
    """Returns the lower incomplete gamma function over the whole one, broadcast."""
    return emit.Igamma(a, x, name=name)


def igammac(a: Any, x: Any, name: str | None = None) -> Tensor:
    """Returns the upper incomplete gamma function over the whole one, broadcast."""
    return emit.Igammac(a, x, name=name)


def _beta_fraction(a: Array, b: Array, x: Array) -> Array:
    """Lentz's evaluation of the continued fraction of the incomplete beta function."""
    tiny = 1e-300

    def held(value: Array) -> Array:
        return np.where(np.abs(value) < tiny, tiny, value)

    c = np.ones_like(x)
    d = 1 / held(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, _MOST_TERMS):
        before = result
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / held(1 + top * d)
            c = held(1 + top / c)
            result = result * c * d
        if np.all(np.abs(result - before) <= np.abs(result) * _EPSILON):
            break
    return result


def _betainc(a: Array, b: Array, x: Array) -> Array:
    turned = x > (a + 1) / (a + b + 2)
    p, q, y = np.where(turned, b, a), np.where(turned, a, b), np.where(turned, 1 - x, x)
    log_beta = _lifted(_lgamma, p) + _lifted(_lgamma, q) - _lifted(_lgamma, p + q)
    front = np.exp(p * np.log(y) + q * np.log1p(-y) - log_beta) / p
    part = front * _beta_fraction(p, q, y)
    return np.where(turned, 1 - part, part)


def _betainc_shape(node: Any) -> TensorShape:
    result = SCALAR
    for value in node.inputs:
        shape = value.shape
        if shape.rank == 0:
            continue
        result = shape if result.rank == 0 else result.merge_with(shape)
    return UNKNOWN if any(value.shape.rank is None for value in node.inputs) and result.rank == 0 else result


@op("Betainc", "a:T; b:T; x:T", "z:T", "T:type{float32|float64}", infer=_betainc_shape)
def betainc_op(a: Array, b: Array, x: Array) -> Any:
    """The incomplete beta function over the whole one; scalars go with any shape."""
    shapes = {value.shape for value in (a, b, x) if value.ndim}
    if len(shapes) > 1:
        raise refuse(f"Shapes of a, b and x must match, or be scalars; got {a.shape}, {b.shape}, {x.shape}")
    dtype = a.dtype
    a, b, x = (v.astype(np.float64) for v in np.broadcast_arrays(a, b, x))
    result = np.full(a.shape, np.nan)
    defined = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    result[defined & (x == 0)] = 0.0
    result[defined & (x == 1)] = 1.0
    inside = defined & (x > 0) & (x < 1)
    if inside.any():
        with np.errstate(all="ignore"):
            result[inside] = _betainc(a[inside], b[inside], x[inside])
    return result.astype(dtype)


@betainc_op.gradient
def _betainc_gradient(op: Any, dy: Any) -> list[Any]:
    # As in TensorFlow, nothing flows back to the two parameters.
    a, b, x = op.inputs
    log_beta = emit.Lgamma(a) + emit.Lgamma(b) - emit.Lgamma(a + b)
    density = emit.Exp(emit.Xlog1py(b - 1.0, -x) + emit.Xlogy(a - 1.0, x) - log_beta)
    whole = density * dy
    sizes = emit.Shape(x)
    _, axes = emit.BroadcastGradientArgs(emit.Shape(whole), sizes)
    return [None, None, emit.Reshape(emit.Sum(whole, axes), sizes)]


def betainc(a: Any, b: Any, x: Any, name: str | None = None) -> Tensor:
    """Returns the incomplete beta function over the whole one; a, b and x have one shape, or are scalars."""
    return emit.Betainc(a, b, x, name=name)


def lbeta(x: Any, name: str | None = None) -> Tensor:
    """Returns the logarithm of the multivariate beta function of the last axis [..., n]."""
    with name_scope(name, "lbeta", [x]):
        x = convert_to_tensor(x, name="x")
        return reduce_sum(emit.Lgamma(x), -1) - emit.Lgamma(reduce_sum(x, -1))


# ---------------------------------------------------------------------------- Bessel functions

# The angles at which the integral over half a circle is summed; its error falls off with all its derivatives.
_ANGLES = np.linspace(0, math.pi, 257)
_WEIGHTS = np.where((_ANGLES == 0) | (_ANGLES == math.pi), 0.5, 1.0) / 256


def _scaled_bessel_i(x: Array, order: int) -> Array:
    """exp(-|x|) times the modified Bessel function of the first kind, of order 0 or 1."""
    size = np.abs(x.astype(np.float64)).ravel()
    result = np.empty_like(size)
    small = ~(size > 600)  # NaN too
    part = np.exp(size[small, None] * (np.cos(_ANGLES) - 1)) * np.cos(order * _ANGLES)
    result[small] = part @ _WEIGHTS
    large = size[~small]
    factor, term, total = 4.0 * order * order, np.ones_like(large), np.ones_like(large)
    for k in range(1, 9):
        term = -term * (factor - (2 * k - 1) ** 2) / (k * 8 * large)
        total = total + term
    result[~small] = total / np.sqrt(2 * math.pi * large)
    signs = np.sign(x) if order else 1.0
    return (result.reshape(x.shape) * signs).astype(x.dtype)


def _bessel_i(op_type: str, order: int, scaled: bool, meaning: str) -> OpDef:
    def body(x: Array) -> Any:
        found = _scaled_bessel_i(x.astype(np.float64), order)
        if not scaled:
            with np.errstate(all="ignore"):
                size = np.abs(x.astype(np.float64))
                found = np.where(
                    np.isinf(size), np.exp(size) * (np.sign(x) if order else 1), found * np.exp(size)
                )
        return found.astype(x.dtype)

    body.__doc__ = meaning
    return unary(op_type, FLOATS)(body)


bessel_i0_op = _bessel_i("BesselI0", 0, False, "The modified Bessel function of order 0.")
bessel_i0e_op = _bessel_i("BesselI0e", 0, True, "exp(-|x|) times the modified Bessel function of order 0.")
bessel_i1_op = _bessel_i("BesselI1", 1, False, "The modified Bessel function of order 1.")
bessel_i1e_op = _bessel_i("BesselI1e", 1, True, "exp(-|x|) times the modified Bessel function of order 1.")


@bessel_i0_op.gradient
def _bessel_i0_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.BesselI1(op.inputs[0])]


@bessel_i0e_op.gradient
def _bessel_i0e_gradient(op: Any, dy: Any) -> list[Any]:
    (x,), (y,) = op.inputs, op.outputs
    return [dy * (emit.BesselI1e(x) - emit.Sign(x) * y)]


@bessel_i1_op.gradient
def _bessel_i1_gradient(op: Any, dy: Any) -> list[Any]:
    (x,), (y,) = op.inputs, op.outputs
    is_zero = emit.Equal(x, 0.0)
    return [dy * emit.SelectV2(is_zero, constant(1.0, x.dtype), emit.BesselI0(x) - y / x)]


@bessel_i1e_op.gradient
def _bessel_i1e_gradient(op: Any, dy: Any) -> list[Any]:
    (x,), (y,) = op.inputs, op.outputs
    is_zero = emit.Equal(x, 0.0)
    slope = emit.BesselI0e(x) - y * (emit.Sign(x) + emit.Reciprocal(x))
    return [dy * emit.SelectV2(is_zero, constant(0.5, x.dtype), slope)]


def bessel_i0(x: Any, name: str | None = None) -> Tensor:
    """Returns the modified Bessel function of order 0."""
    with name_scope(name, "bessel_i0", [x]) as scope:
        return emit.BesselI0(x, name=scope)


def bessel_i0e(x: Any, name: str | None = None) -> Tensor:
    """Returns exp(-|x|) times the modified Bessel function of order 0."""
    with name_scope(name, "bessel_i0e", [x]) as scope:
        return emit.BesselI0e(x, name=scope)


def bessel_i1(x: Any, name: str | None = None) -> Tensor:
    """Returns the modified Bessel function of order 1."""
    with name_scope(name, "bessel_i1", [x]) as scope:
        return emit.BesselI1(x, name=scope)


def bessel_i1e(x: Any, name: str | None = None) -> Tensor:
    """Returns exp(-|x|) times the modified Bessel function of order 1."""
    with name_scope(name, "bessel_i1e", [x]) as scope:
        return emit.BesselI1e(x, name=scope)


# ---------------------------------------------------------------------------- neighbours and polynomials


@op("NextAfter", "x1:T; x2:T", "output:T", "T:type{float64|float32}=float32", infer=broadcast,
    broadcasting=True)  # fmt: skip
def next_after_op(x1: Array, x2: Array) -> Any:
    """The next number from x1 on the way to x2."""
    return np.nextafter(x1, x2)


@next_after_op.gradient
def _next_after_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, emit.ZerosLike(dy)]


def nextafter(x1: Any, x2: Any, name: str | None = None) -> Tensor:
    """Returns the next number from x1 on the way to x2, broadcast."""
    return emit.NextAfter(x1, x2, name=name)


def polyval(coeffs: Sequence[Any], x: Any, name: str | None = None) -> Tensor:
    """Returns a polynomial at x by Horner's rule; `coeffs` is a list, the highest power first.

    Raises:
      ValueError: if `coeffs` is no list.
    """
    if not isinstance(coeffs, list):
        raise ValueError(f"Argument coeffs must be list type. Received type {type(coeffs)}.")
    with name_scope(name, "polyval", [*coeffs, x]):
        x = convert_to_tensor(x, name="x")
        if not coeffs:
            return emit.ZerosLike(x)
        parts = [convert_to_tensor(c, name=f"coeff_{i}") for i, c in enumerate(coeffs)]
        total: Any = parts[0]
        for part in parts[1:]:
            total = part + total * x
        return total


__all__ = [
    "bessel_i0", "bessel_i0e", "bessel_i1", "bessel_i1e", "betainc", "digamma", "erf", "erfc", "erfcinv",
    "erfinv", "igamma", "igammac", "lbeta", "lgamma", "ndtri", "nextafter", "polygamma", "polyval", "zeta",
]  # fmt: skip
