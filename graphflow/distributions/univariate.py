"""Distributions of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.distributions.distribution import (
    FULLY_REPARAMETERIZED,
    NOT_REPARAMETERIZED,
    Distribution,
    RegisterKL,
    seed_of,
)
from graphflow.dtypes import as_dtype, float32, int32
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, convert_to_tensor
from graphflow.ops import layout, nn, source
from graphflow.ops.control import (
    assert_less,
    assert_less_equal,
    assert_non_negative,
    assert_positive,
    with_dependencies,
)
from graphflow.ops.distributions import random_gamma
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import (
    cast,
    exp,
    less,
    log,
    log1p,
    logical_and,
    logical_or,
    rsqrt,
    sigmoid,
    sign,
    softplus,
    sqrt,
    square,
    where_v2,
    xlogy,
)  # fmt: skip
from graphflow.ops.random import random_normal, random_uniform
from graphflow.ops.special_functions import betainc, digamma, erfc, igamma, lgamma, ndtri


def numbers(*values: Any) -> list[Tensor]:
    """Parameters of one floating dtype."""
    dtype = next((v.dtype for v in values if isinstance(v, Tensor)), None)
    dtype = dtype or next(
        (as_dtype(v.dtype) for v in values if isinstance(v, np.ndarray | np.generic)), float32
    )
    found = [convert_to_tensor(v, dtype=dtype) for v in values]
    for tensor in found:
        if tensor.dtype is not dtype or not tensor.dtype.is_floating:
            raise TypeError(f"parameters must be of one floating dtype, not {[t.dtype.name for t in found]}")
    return found


def together(*tensors: Tensor) -> Any:
    """The shape that tensors broadcast to: an array where it is known."""
    static = tensors[0].shape
    for other in tensors[1:]:
        static = source.broadcast_static_shape(static, other.shape)
    if static.is_fully_defined():
        return np.array(static.as_list(), np.int32)
    shape = source.shape(tensors[0])
    for other in tensors[1:]:
        shape = source.broadcast_dynamic_shape(shape, source.shape(other))
    return shape


def positive(tensor: Tensor, wanted: bool) -> Tensor:
    """A tensor that is checked to be positive when it runs, if that is wanted."""
    checked: Tensor = with_dependencies([assert_positive(tensor)], tensor) if wanted else tensor
    return checked


class Univariate(Distribution):
    """A distribution of numbers, whose batch is what its parameters broadcast to."""

    _own: tuple[Tensor, ...]

    def _batch_shape_tensor(self) -> Any:
        return together(*self._own)

    def _start(
        self, arguments: dict[str, Any], own: tuple[Tensor, ...], kind: Any, dtype: Any = None
    ) -> None:
        self._own = own
        super().__init__(
            dtype or own[0].dtype, kind, arguments["validate_args"], arguments["allow_nan_stats"],
            {k: v for k, v in arguments.items() if k != "self"}, own, arguments["name"],
        )  # fmt: skip

    def _full(self, tensor: Tensor) -> Tensor:
        """A parameter in the shape of the batch."""
        return layout.broadcast_to(tensor, self._batch_shape_tensor())

    def _drawn_shape(self, n: Any) -> Tensor:
        return layout.concat([layout.reshape(n, [1]), self._batch_shape_tensor()], 0)

    def _undefined(self, value: Tensor, fine: Tensor, why: str, *bounds: Tensor) -> Tensor:
        """A figure that is undefined where a parameter is at most one: NaN there, or an error of the run."""
        if self.allow_nan_stats:
            return where_v2(fine, value, constant(np.nan, value.dtype))
        checks = [assert_less(constant(1.0, b.dtype), b, message=why) for b in bounds]
        checked: Tensor = with_dependencies(checks, value)
        return checked


_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Normal(Univariate):
    """The normal distribution of mean `loc` and standard deviation `scale`."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Normal",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.loc, self.scale = numbers(loc, scale)
            self.scale = positive(self.scale, validate_args)
        self._start(arguments, (self.loc, self.scale), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return random_normal(self._drawn_shape(n), dtype=self.dtype, seed=seed) * self.scale + self.loc

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def _log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * square(self._z(x)) - (_HALF_LOG_TWO_PI + log(self.scale))

    def _cdf(self, x: Tensor) -> Tensor:
        return 0.5 * erfc(self._z(x) * -math.sqrt(0.5))

    def _survival_function(self, x: Tensor) -> Tensor:
        return 0.5 * erfc(self._z(x) * math.sqrt(0.5))

    def _quantile(self, x: Tensor) -> Tensor:
        return ndtri(x) * self.scale + self.loc

    def _entropy(self) -> Tensor:
        return self._full(0.5 + _HALF_LOG_TWO_PI + log(self.scale))

    def _mean(self) -> Tensor:
        return self._full(self.loc)

    def _stddev(self) -> Tensor:
        return self._full(self.scale)

    def _mode(self) -> Tensor:
        return self._mean()


class Uniform(Univariate):
    """The uniform distribution of [low, high)."""

    def __init__(
        self, low: Any = 0.0, high: Any = 1.0, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "Uniform",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.low, self.high = numbers(low, high)
            if validate_args:
                check = assert_less(self.low, self.high, message="uniform not defined when low >= high.")
                self.low = with_dependencies([check], self.low)
        self._start(arguments, (self.low, self.high), FULLY_REPARAMETERIZED)

    def range(self, name: str = "range") -> Tensor:
        """`high - low`."""
        with name_scope(name):
            return self.high - self.low

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return self.low + self.range() * random_uniform(self._drawn_shape(n), dtype=self.dtype, seed=seed)

    def _prob(self, x: Tensor) -> Tensor:
        full = x * source.ones_like(self.low + self.high)
        inside = source.ones_like(full) / self.range()
        outside = logical_or(full < self.low, full >= self.high)
        return where_v2(full != full, full, where_v2(outside, source.zeros_like(inside), inside))

    def _cdf(self, x: Tensor) -> Tensor:
        share = (x - self.low) / self.range()
        full = x * source.ones_like(share)
        above = where_v2(full >= self.high, source.ones_like(share), share)
        return where_v2(full < self.low, source.zeros_like(share), above)

    def _entropy(self) -> Tensor:
        return log(self.range())

    def _mean(self) -> Tensor:
        return (self.low + self.high) / 2.0

    def _variance(self) -> Tensor:
        return square(self.range()) / 12.0

    def _stddev(self) -> Tensor:
        return self.range() / math.sqrt(12.0)


class Laplace(Univariate):
    """The Laplace distribution of mean `loc` and mean deviation `scale`."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Laplace",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.loc, self.scale = numbers(loc, scale)
            self.scale = positive(self.scale, validate_args)
        self._start(arguments, (self.loc, self.scale), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        # Of the open interval: -1 itself would be infinitely far away.
        lowest = np.nextafter(self.dtype.as_numpy_dtype(-1.0), self.dtype.as_numpy_dtype(0.0))
        drawn = random_uniform(self._drawn_shape(n), lowest, 1.0, dtype=self.dtype, seed=seed)
        return self.loc - self.scale * sign(drawn) * log1p(-absolute(drawn))

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def _log_prob(self, x: Tensor) -> Tensor:
        return -absolute(self._z(x)) - math.log(2.0) - log(self.scale)

    def _cdf(self, x: Tensor) -> Tensor:
        z = self._z(x)
        return 0.5 + 0.5 * sign(z) * (1.0 - exp(-absolute(z)))

    def _entropy(self) -> Tensor:
        return self._full(math.log(2.0) + 1.0 + log(self.scale))

    def _mean(self) -> Tensor:
        return self._full(self.loc)

    def _stddev(self) -> Tensor:
        return math.sqrt(2.0) * self._full(self.scale)

    def _mode(self) -> Tensor:
        return self._mean()


class Gamma(Univariate):
    """The gamma distribution of a shape `concentration` and a `rate`."""

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "Gamma",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            own = [positive(t, validate_args) for t in numbers(concentration, rate)]
        self.concentration, self.rate = own
        self._start(arguments, (self.concentration, self.rate), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return random_gamma(
            layout.reshape(n, [1]), self.concentration, self.rate, dtype=self.dtype, seed=seed
        )

    def _log_prob(self, x: Tensor) -> Tensor:
        x = positive(x, self.validate_args)
        weight = lgamma(self.concentration) - self.concentration * log(self.rate)
        return xlogy(self.concentration - 1.0, x) - self.rate * x - weight

    def _cdf(self, x: Tensor) -> Tensor:
        return igamma(self.concentration, self.rate * positive(x, self.validate_args))

    def _entropy(self) -> Tensor:
        k = self.concentration
        return k - log(self.rate) + lgamma(k) + (1.0 - k) * digamma(k)

    def _mean(self) -> Tensor:
        return self.concentration / self.rate

    def _variance(self) -> Tensor:
        return self.concentration / square(self.rate)

    def _stddev(self) -> Tensor:
        return sqrt(self.concentration) / self.rate

    def _mode(self) -> Tensor:
        k = self.concentration
        return self._undefined(
            (k - 1.0) / self.rate, k > 1.0, "mode not defined when any concentration <= 1", k
        )


class Exponential(Gamma):
    """The exponential distribution of a `rate`."""

    def __init__(
        self, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Exponential",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (own,) = numbers(rate)
        super().__init__(source.ones_like(own), own, validate_args, allow_nan_stats, name)
        self.parameters = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        # Zero itself would be infinitely far away.
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        drawn = random_uniform(self._drawn_shape(n), least, 1.0, dtype=self.dtype, seed=seed)
        return -log(drawn) / self.rate


class StudentT(Univariate):
    """Student's distribution of `df` degrees of freedom, moved by `loc` and scaled by `scale`."""

    def __init__(
        self, df: Any, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "StudentT",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.df, self.loc, self.scale = numbers(df, loc, scale)
            self.df = positive(self.df, validate_args)
        self._start(arguments, (self.df, self.loc, self.scale), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        normal = random_normal(self._drawn_shape(n), dtype=self.dtype, seed=seed)
        df = self._full(self.df)
        gamma = random_gamma(
            layout.reshape(n, [1]), 0.5 * df, 0.5, dtype=self.dtype, seed=seed_of(seed, "student_t")
        )
        return normal * rsqrt(gamma / df) * self.scale + self.loc

    def _log_prob(self, x: Tensor) -> Tensor:
        y = (x - self.loc) / self.scale
        weight = log(absolute(self.scale)) + 0.5 * log(self.df) + 0.5 * math.log(math.pi)
        weight = weight + lgamma(0.5 * self.df) - lgamma(0.5 * (self.df + 1.0))
        return -0.5 * (self.df + 1.0) * log1p(square(y) / self.df) - weight

    def _cdf(self, x: Tensor) -> Tensor:
        y = (x - self.loc) / absolute(self.scale)
        share = self.df / (square(y) + self.df)
        shape = source.broadcast_dynamic_shape(source.shape(self.df), source.shape(share))
        a, share = layout.broadcast_to(0.5 * self.df, shape), layout.broadcast_to(share, shape)
        tail = 0.5 * betainc(a, 0.5 * source.ones_like(a), share)
        return where_v2(less(y, 0.0), tail, 1.0 - tail)

    def _entropy(self) -> Tensor:
        half, more = 0.5 * self._full(self.df), 0.5 * (self._full(self.df) + 1.0)
        beta = lgamma(half) + math.lgamma(0.5) - lgamma(more)
        return log(absolute(self.scale)) + 0.5 * log(self.df) + beta + more * (digamma(more) - digamma(half))

    def _mean(self) -> Tensor:
        df = self._full(self.df)
        return self._undefined(
            self._full(self.loc), df > 1.0, "mean not defined for components of df <= 1", self.df
        )

    def _variance(self) -> Tensor:
        df = self._full(self.df)
        below = where_v2(df > 2.0, df - 2.0, source.ones_like(df))
        value = self._full(square(self.scale)) * df / below
        value = where_v2(df > 2.0, value, constant(np.inf, value.dtype))
        return self._undefined(value, df > 1.0, "variance not defined for components of df <= 1", self.df)

    def _mode(self) -> Tensor:
        return source.identity(self.loc)


class Beta(Univariate):
    """The beta distribution of [0, 1], of `concentration1` for one and `concentration0` for zero."""

    def __init__(
        self, concentration1: Any = None, concentration0: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Beta",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            own = [positive(t, validate_args) for t in numbers(concentration1, concentration0)]
            self.concentration1, self.concentration0 = own
            self.total_concentration = self.concentration1 + self.concentration0
        self._start(arguments, (self.concentration1, self.concentration0), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        seeds = seed, seed_of(seed, "beta")
        both = zip((self.concentration1, self.concentration0), seeds, strict=True)
        one, other = (
            random_gamma(layout.reshape(n, [1]), self._full(k), dtype=self.dtype, seed=own) for k, own in both
        )
        return one / (one + other)

    def _checked(self, x: Tensor) -> Tensor:
        if not self.validate_args:
            return x
        above = assert_less(x, constant(1.0, x.dtype), message="sample must be less than `1`.")
        checked: Tensor = with_dependencies([assert_positive(x, message="sample must be positive"), above], x)
        return checked

    def weight(self) -> Tensor:
        """The logarithm of the beta function of the concentrations."""
        return lgamma(self.concentration1) + lgamma(self.concentration0) - lgamma(self.total_concentration)

    def _log_prob(self, x: Tensor) -> Tensor:
        x = self._checked(x)
        return xlogy(self.concentration1 - 1.0, x) + (self.concentration0 - 1.0) * log1p(-x) - self.weight()

    def _cdf(self, x: Tensor) -> Tensor:
        shape = source.broadcast_dynamic_shape(source.shape(x), source.shape(self.total_concentration))
        a, b = (layout.broadcast_to(k, shape) for k in (self.concentration1, self.concentration0))
        return betainc(a, b, layout.broadcast_to(x, shape))

    def _entropy(self) -> Tensor:
        a, b, total = self.concentration1, self.concentration0, self.total_concentration
        return (
            self.weight() - (a - 1.0) * digamma(a) - (b - 1.0) * digamma(b) + (total - 2.0) * digamma(total)
        )

    def _mean(self) -> Tensor:
        return self.concentration1 / self.total_concentration

    def _variance(self) -> Tensor:
        return self._mean() * (1.0 - self._mean()) / (1.0 + self.total_concentration)

    def _mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        value = (a - 1.0) / (self.total_concentration - 2.0)
        why = "Mode undefined for a concentration <= 1."
        return self._undefined(value, logical_and(a > 1.0, b > 1.0), why, a, b)


class Bernoulli(Univariate):
    """One with probability `probs` (or `sigmoid(logits)`), else zero.

    Raises:
      ValueError: unless exactly one of them is given.
    """

    def __init__(
        self, logits: Any = None, probs: Any = None, dtype: Any = int32, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Bernoulli",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if (logits is None) == (probs is None):
            raise ValueError("Must pass probs or logits, but not both.")
        with name_scope(name):
            if probs is None:
                (self.logits,) = numbers(logits)
                self.probs = sigmoid(self.logits, name="probs")
            else:
                (self.probs,) = numbers(probs)
                if validate_args:
                    above = assert_less_equal(self.probs, constant(1.0, self.probs.dtype))
                    self.probs = with_dependencies([assert_non_negative(self.probs), above], self.probs)
                self.logits = log(self.probs) - log1p(-self.probs)
        self._start(arguments, (self.logits,), NOT_REPARAMETERIZED, as_dtype(dtype))

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        drawn = random_uniform(self._drawn_shape(n), dtype=self.probs.dtype, seed=seed)
        return cast(less(drawn, self.probs), self.dtype)

    def _log_prob(self, x: Tensor) -> Tensor:
        x = cast(x, self.logits.dtype)
        shape = source.broadcast_dynamic_shape(source.shape(x), source.shape(self.logits))
        x, logits = layout.broadcast_to(x, shape), layout.broadcast_to(self.logits, shape)
        return -nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)

    def _entropy(self) -> Tensor:
        return -self.logits * (sigmoid(self.logits) - 1.0) + softplus(-self.logits)

    def _mean(self) -> Tensor:
        return source.identity(self.probs)

    def _variance(self) -> Tensor:
        return self.probs * (1.0 - self.probs)

    def _mode(self) -> Tensor:
        return cast(self.probs > 0.5, self.dtype)


@RegisterKL(Normal, Normal)
def _kl_normals(a: Normal, b: Normal, name: str | None = None) -> Tensor:
    ratio = square(a.scale / b.scale)
    return square(a.loc - b.loc) / (2.0 * square(b.scale)) + 0.5 * (ratio - 1.0 - log(ratio))


@RegisterKL(Gamma, Gamma)
def _kl_gammas(a: Gamma, b: Gamma, name: str | None = None) -> Tensor:
    return (
        (a.concentration - b.concentration) * digamma(a.concentration)
        + lgamma(b.concentration) - lgamma(a.concentration)
        + b.concentration * (log(a.rate) - log(b.rate))
        + a.concentration * (b.rate / a.rate - 1.0)
    )  # fmt: skip


@RegisterKL(Beta, Beta)
def _kl_betas(a: Beta, b: Beta, name: str | None = None) -> Tensor:
    return (
        b.weight() - a.weight()
        - digamma(a.concentration1) * (b.concentration1 - a.concentration1)
        - digamma(a.concentration0) * (b.concentration0 - a.concentration0)
        + digamma(a.total_concentration) * (b.total_concentration - a.total_concentration)
    )  # fmt: skip


@RegisterKL(Bernoulli, Bernoulli)
def _kl_bernoullis(a: Bernoulli, b: Bernoulli, name: str | None = None) -> Tensor:
    zero, one = softplus(-b.logits) - softplus(-a.logits), softplus(b.logits) - softplus(a.logits)
    return sigmoid(a.logits) * zero + sigmoid(-a.logits) * one


__all__ = [
    "Bernoulli", "Beta", "Exponential", "Gamma", "Laplace", "Normal", "StudentT", "Uniform", "Univariate",
    "numbers", "positive", "together",
]  # fmt: skip
