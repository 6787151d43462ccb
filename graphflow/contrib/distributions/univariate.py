"""Further distributions of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.distributions.distribution import FULLY_REPARAMETERIZED, NOT_REPARAMETERIZED, RegisterKL
from graphflow.distributions.univariate import Normal, Univariate, numbers, positive, together
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, convert_to_tensor
from graphflow.ops import layout, source
from graphflow.ops.control import assert_non_negative, with_dependencies
from graphflow.ops.distributions import random_gamma, random_poisson
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import (
    cast,
    exp,
    expm1,
    floor,
    log,
    log1p,
    sigmoid,
    softplus,
    square,
    where_v2,
    xlogy,
)
from graphflow.ops.random import random_uniform
from graphflow.ops.special_functions import digamma, igammac, lgamma


def softplus_inverse(x: Any, name: str | None = None) -> Tensor:
    """Returns the `y` with `softplus(y) == x`, for positive `x` of any size."""
    with name_scope(name, "softplus_inverse", [x]):
        x = convert_to_tensor(x)
        # Where x is large, exp(x) would overflow: y = x + log(1 - exp(-x)).
        return x + log(-expm1(-x))


class Poisson(Univariate):
    """Numbers of events that happen at a `rate` (or `exp(log_rate)`).

    Args:
      rate: the mean.
      log_rate: its logarithm; exactly one of the two.
      interpolate_nondiscrete: whether the density between whole numbers is that of the formula, else zero.
      validate_args: whether parameters and values are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: unless exactly one of rate and log_rate is given.
    """

    def __init__(
        self, rate: Any = None, log_rate: Any = None, interpolate_nondiscrete: bool = True,
        validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Poisson",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if (rate is None) == (log_rate is None):
            raise ValueError("Must specify exactly one of `rate` and `log_rate`.")
        with name_scope(name):
            if log_rate is None:
                (given,) = numbers(rate)
                self.rate = positive(given, validate_args)
                self.log_rate = log(self.rate)
            else:
                (self.log_rate,) = numbers(log_rate)
                self.rate = exp(self.log_rate)
        self.interpolate_nondiscrete = interpolate_nondiscrete
        self._start(arguments, (self.rate,), NOT_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return random_poisson(self.rate, layout.reshape(n, [1]), dtype=self.dtype, seed=seed)

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A value made fit for the formula, and whether it is a possible one."""
        possible = x >= 0.0 if self.interpolate_nondiscrete else (x >= 0.0) & (x <= floor(x))
        return where_v2(possible, x, source.zeros_like(x)), possible

    def _log_prob(self, x: Tensor) -> Tensor:
        if self.validate_args:
            x = with_dependencies([assert_non_negative(x)], x)
        value, possible = self._whole(x)
        result = value * self.log_rate - lgamma(1.0 + value) - self.rate
        return where_v2(possible, result, constant(-np.inf, result.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        if self.validate_args:
            x = with_dependencies([assert_non_negative(x)], x)
        value = x if self.interpolate_nondiscrete else floor(x)
        shape = together(value, self.rate)
        possible = value >= 0.0
        one = 1.0 + where_v2(possible, value, source.zeros_like(value))
        result = igammac(layout.broadcast_to(one, shape), layout.broadcast_to(self.rate, shape))
        return where_v2(possible, result, source.zeros_like(result))

    def _mean(self) -> Tensor:
        return source.identity(self.rate)

    def _variance(self) -> Tensor:
        return source.identity(self.rate)

    def _mode(self) -> Tensor:
        return floor(self.rate)


class Geometric(Univariate):
    """The number of failures before the first success, of probability `probs` (or `sigmoid(logits)`).

    Raises:
      ValueError: unless exactly one of them is given.
    """

    def __init__(
        self, logits: Any = None, probs: Any = None, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "Geometric",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if (logits is None) == (probs is None):
            raise ValueError("Must pass probs or logits, but not both.")
        with name_scope(name):
            if probs is None:
                (self.logits,) = numbers(logits)
                self.probs = sigmoid(self.logits, name="probs")
            else:
                (given,) = numbers(probs)
                self.probs = positive(given, validate_args)
                self.logits = log(self.probs) - log1p(-self.probs)
        self._start(arguments, (self.probs,), NOT_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        drawn = random_uniform(self._drawn_shape(n), least, 1.0, dtype=self.dtype, seed=seed)
        return floor(log(drawn) / log1p(-self.probs))

    def _log_prob(self, x: Tensor) -> Tensor:
        if self.validate_args:
            x = with_dependencies([assert_non_negative(x)], x)
        # With probability one there is never a failure: 0 * log(0) is nothing.
        return xlogy(x, 1.0 - self.probs) + log(self.probs)

    def _cdf(self, x: Tensor) -> Tensor:
        result = -expm1((1.0 + floor(x)) * log1p(-self.probs))
        return where_v2(x < 0.0, source.zeros_like(result), result)

    def _entropy(self) -> Tensor:
        return (softplus(-self.logits) + self._failures() * softplus(self.logits)) + source.zeros_like(
            self.probs
        )

    def _failures(self) -> Tensor:
        return exp(-self.logits)

    def _mean(self) -> Tensor:
        return self._failures()

    def _variance(self) -> Tensor:
        return self._failures() / self.probs

    def _mode(self) -> Tensor:
        return source.zeros_like(self.probs)


class Logistic(Univariate):
    """The logistic distribution of mean `loc` and a `scale`: its cdf is the sigmoid."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Logistic",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.loc, self.scale = numbers(loc, scale)
            self.scale = positive(self.scale, validate_args)
        self._start(arguments, (self.loc, self.scale), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        drawn = random_uniform(self._drawn_shape(n), least, 1.0, dtype=self.dtype, seed=seed)
        return (log(drawn) - log1p(-drawn)) * self.scale + self.loc

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def _log_prob(self, x: Tensor) -> Tensor:
        z = self._z(x)
        return -z - 2.0 * softplus(-z) - log(self.scale)

    def _cdf(self, x: Tensor) -> Tensor:
        return sigmoid(self._z(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return -softplus(-self._z(x))

    def _survival_function(self, x: Tensor) -> Tensor:
        return sigmoid(-self._z(x))

    def _log_survival_function(self, x: Tensor) -> Tensor:
        return -softplus(self._z(x))

    def _quantile(self, x: Tensor) -> Tensor:
        return (log(x) - log1p(-x)) * self.scale + self.loc

    def _entropy(self) -> Tensor:
        return self._full(2.0 + log(self.scale))

    def _mean(self) -> Tensor:
        return self._full(self.loc)

    def _stddev(self) -> Tensor:
        return self._full(self.scale * (math.pi / math.sqrt(3.0)))

    def _mode(self) -> Tensor:
        return self._mean()


class InverseGamma(Univariate):
    """The reciprocal of what is gamma distributed with a shape `concentration` and a `rate`."""

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "InverseGamma",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            own = [positive(t, validate_args) for t in numbers(concentration, rate)]
        self.concentration, self.rate = own
        self._start(arguments, (self.concentration, self.rate), NOT_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return 1.0 / random_gamma(
            layout.reshape(n, [1]), self.concentration, self.rate, dtype=self.dtype, seed=seed
        )

    def _log_prob(self, x: Tensor) -> Tensor:
        k = self.concentration
        return k * log(self.rate) - lgamma(k) - (1.0 + k) * log(x) - self.rate / x

    def _cdf(self, x: Tensor) -> Tensor:
        shape = together(self.concentration, self.rate, x)
        return igammac(layout.broadcast_to(self.concentration, shape), self.rate / x)

    def _entropy(self) -> Tensor:
        k = self.concentration
        return k + log(self.rate) + lgamma(k) - (1.0 + k) * digamma(k)

    def _mean(self) -> Tensor:
        k = self.concentration
        return self._undefined(self.rate / (k - 1.0), k > 1.0, "mean undefined when concentration <= 1", k)

    def _variance(self) -> Tensor:
        k = self.concentration
        return self._undefined(
            square(self.rate / (k - 1.0)) / (k - 2.0),
            k > 2.0,
            "variance undefined when concentration <= 2",
            k - 1.0,
        )

    def _mode(self) -> Tensor:
        return self.rate / (1.0 + self.concentration)


class Deterministic(Univariate):
    """Always `loc`, give or take `atol + rtol * |loc|`.

    Args:
      loc: the value.
      atol: how far a value may be off and still count as it.
      rtol: the same, relative to it.
      validate_args: whether parameters are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.
    """

    def __init__(
        self, loc: Any, atol: Any = None, rtol: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Deterministic",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (self.loc,) = numbers(loc)
            self._slack = constant(0.0, self.loc.dtype)
            for part, of in ((atol, None), (rtol, absolute(self.loc))):
                if part is not None:
                    share = convert_to_tensor(part, dtype=self.loc.dtype)
                    if validate_args:
                        share = with_dependencies([assert_non_negative(share)], share)
                    self._slack = self._slack + (share if of is None else share * of)
        self._start(arguments, (self.loc,), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        del seed
        return layout.broadcast_to(self.loc, self._drawn_shape(n))

    def _prob(self, x: Tensor) -> Tensor:
        return cast(absolute(x - self.loc) <= self._slack, self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return cast(x >= self.loc - self._slack, self.dtype)

    def _entropy(self) -> Tensor:
        return source.zeros_like(self.loc)

    def _mean(self) -> Tensor:
        return source.identity(self.loc)

    def _variance(self) -> Tensor:
        return source.zeros_like(self.loc)

    def _mode(self) -> Tensor:
        return self._mean()


class NormalWithSoftplusScale(Normal):
    """The normal distribution of mean `loc` and standard deviation `softplus(scale)`."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "NormalWithSoftplusScale",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            mean, raw = numbers(loc, scale)
            deviation = softplus(raw)
        super().__init__(mean, deviation, validate_args, allow_nan_stats, name)
        self.parameters = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}


@RegisterKL(InverseGamma, InverseGamma)
def _kl_inverse_gammas(a: InverseGamma, b: InverseGamma, name: str | None = None) -> Tensor:
    return (
        (a.concentration - b.concentration) * digamma(a.concentration)
        + lgamma(b.concentration) - lgamma(a.concentration)
        + b.concentration * (log(a.rate) - log(b.rate))
        + a.concentration * (b.rate / a.rate - 1.0)
    )  # fmt: skip


__all__ = [
    "Deterministic", "Geometric", "InverseGamma", "Logistic", "NormalWithSoftplusScale", "Poisson",
    "softplus_inverse",
]  # fmt: skip
