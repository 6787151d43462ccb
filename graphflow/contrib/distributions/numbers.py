"""Still more distributions of numbers: with long tails, of one sign, and of successes and failures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.distributions.distribution import FULLY_REPARAMETERIZED, NOT_REPARAMETERIZED
from graphflow.distributions.univariate import Gamma, Univariate, numbers, positive, together
from graphflow.dtypes import int32
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant
from graphflow.ops import layout, source
from graphflow.ops.control import assert_less_equal, assert_non_negative, with_dependencies
from graphflow.ops.distributions import random_gamma, random_poisson
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import (
    atan,
    cast,
    exp,
    floor,
    log,
    log1p,
    sigmoid,
    softplus,
    square,
    tan,
    where_v2,
)
from graphflow.ops.random import random_normal, random_uniform
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.special_functions import betainc, erf, lgamma, ndtri

EULER = 0.57721566490153286


class _Located(Univariate):
    """What has a `loc` and a `scale`, and a form of its own."""

    def _located(self, arguments: dict[str, Any]) -> None:
        with name_scope(arguments["name"]):
            self.loc, scale = numbers(arguments["loc"], arguments["scale"])
            self.scale = positive(scale, arguments["validate_args"])
        self._start(arguments, (self.loc, self.scale), FULLY_REPARAMETERIZED)

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def _uniform(self, n: Any, seed: int | None) -> Tensor:
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        return random_uniform(self._drawn_shape(n), least, 1.0, dtype=self.dtype, seed=seed)


class Cauchy(_Located):
    """The Cauchy distribution about `loc`; half of it lies within `scale`. It has neither mean nor variance."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Cauchy",
    ) -> None:  # fmt: skip
        self._located(dict(locals()))

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return self._quantile(self._uniform(n, seed))

    def _log_prob(self, x: Tensor) -> Tensor:
        return -math.log(math.pi) - log(self.scale) - log1p(square(self._z(x)))

    def _cdf(self, x: Tensor) -> Tensor:
        return atan(self._z(x)) / math.pi + 0.5

    def _quantile(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * tan(math.pi * (x - 0.5))

    def _entropy(self) -> Tensor:
        return self._full(math.log(4.0 * math.pi) + log(self.scale))

    def _mode(self) -> Tensor:
        return self._full(self.loc)

    def _missing(self, what: str) -> Tensor:
        if self.allow_nan_stats:
            return self._full(constant(np.nan, self.dtype))
        raise ValueError(f"`{what}` is undefined for Cauchy distribution.")

    def _mean(self) -> Tensor:
        return self._missing("mean")

    def _stddev(self) -> Tensor:
        return self._missing("stddev")


class Gumbel(_Located):
    """The Gumbel distribution of the largest of many draws, with mode `loc` and a `scale`."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Gumbel",
    ) -> None:  # fmt: skip
        self._located(dict(locals()))

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return self._quantile(self._uniform(n, seed))

    def _log_prob(self, x: Tensor) -> Tensor:
        z = self._z(x)
        return -(z + exp(-z)) - log(self.scale)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return -exp(-self._z(x))

    def _cdf(self, x: Tensor) -> Tensor:
        return exp(self._log_cdf(x))

    def _quantile(self, x: Tensor) -> Tensor:
        return self.loc - self.scale * log(-log(x))

    def _entropy(self) -> Tensor:
        return self._full(1.0 + log(self.scale) + EULER)

    def _mean(self) -> Tensor:
        return self._full(self.loc + self.scale * EULER)

    def _stddev(self) -> Tensor:
        return self._full(self.scale * (math.pi / math.sqrt(6.0)))

    def _mode(self) -> Tensor:
        return self._full(self.loc)


class HalfNormal(Univariate):
    """The size of what is normally distributed about zero with the standard deviation `scale`."""

    def __init__(
        self, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "HalfNormal",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (given,) = numbers(scale)
            self.scale = positive(given, validate_args)
        self._start(arguments, (self.scale,), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return absolute(random_normal(self._drawn_shape(n), dtype=self.dtype, seed=seed) * self.scale)

    def _log_prob(self, x: Tensor) -> Tensor:
        inside = 0.5 * math.log(2.0 / math.pi) - log(self.scale) - 0.5 * square(x / self.scale)
        return where_v2(x >= 0.0, inside, constant(-np.inf, inside.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        above = where_v2(x > 0.0, x, source.zeros_like(x))
        return erf(above / self.scale * math.sqrt(0.5))

    def _quantile(self, x: Tensor) -> Tensor:
        return self.scale * ndtri(0.5 + 0.5 * x)

    def _entropy(self) -> Tensor:
        return 0.5 * math.log(math.pi / 2.0) + log(self.scale) + 0.5

    def _mean(self) -> Tensor:
        return self.scale * math.sqrt(2.0 / math.pi)

    def _variance(self) -> Tensor:
        return square(self.scale) * (1.0 - 2.0 / math.pi)

    def _mode(self) -> Tensor:
        return source.zeros_like(self.scale)


class Chi2(Gamma):
    """The sum of `df` squares of what is normally distributed."""

    def __init__(
        self, df: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Chi2",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (self.df,) = numbers(df)
        super().__init__(0.5 * self.df, constant(0.5, self.df.dtype), validate_args, allow_nan_stats, name)
        self.parameters = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}


class _Trials(Univariate):
    """What counts trials that succeed with probability `probs` (or `sigmoid(logits)`)."""

    def _trials(self, arguments: dict[str, Any]) -> None:
        checked, logits, probs = arguments["validate_args"], arguments["logits"], arguments["probs"]
        if (logits is None) == (probs is None):
            raise ValueError("Must pass probs or logits, but not both.")
        with name_scope(arguments["name"]):
            self.total_count, given = numbers(arguments["total_count"], probs if logits is None else logits)
            if checked:
                self.total_count = with_dependencies(
                    [assert_non_negative(self.total_count)], self.total_count
                )
            if logits is None:
                if checked:
                    one = constant(1.0, given.dtype)
                    given = with_dependencies(
                        [assert_non_negative(given), assert_less_equal(given, one)], given
                    )
                self.probs, self.logits = given, log(given) - log1p(-given)
            else:
                self.probs, self.logits = sigmoid(given, name="probs"), given
        self._start(arguments, (self.total_count, self.probs), NOT_REPARAMETERIZED)


class Binomial(_Trials):
    """The number of successes in `total_count` trials.

    Args:
      total_count: the number of trials, of a floating dtype.
      logits: what the sigmoid makes probabilities of.
      probs: the probability of a success; exactly one of the two.
      validate_args: whether parameters and values are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: unless exactly one of logits and probs is given.
    """

    def __init__(
        self, total_count: Any, logits: Any = None, probs: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Binomial",
    ) -> None:  # fmt: skip
        self._trials(dict(locals()))

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        most = cast(reduce_max(self.total_count), int32)
        shape = layout.concat([self._drawn_shape(n), layout.reshape(most, [1])], 0)
        drawn = random_uniform(shape, dtype=self.dtype, seed=seed)
        happens = source.range(cast(most, self.dtype)) < layout.expand_dims(self.total_count, -1)
        return reduce_sum(cast((drawn < layout.expand_dims(self.probs, -1)) & happens, self.dtype), -1)

    def _log_prob(self, x: Tensor) -> Tensor:
        n = self.total_count
        if self.validate_args:
            x = with_dependencies([assert_non_negative(x), assert_less_equal(x, n)], x)
        ways = lgamma(1.0 + n) - lgamma(1.0 + x) - lgamma(1.0 + n - x)
        # softplus, so that neither a sure success nor a sure failure makes a NaN of finite logits.
        return ways - x * softplus(-self.logits) - (n - x) * softplus(self.logits)

    def _cdf(self, x: Tensor) -> Tensor:
        n, whole = self.total_count, floor(x)
        shape = together(whole, n, self.probs)
        inside = (whole >= 0.0) & (whole < n)
        kept = where_v2(inside, whole, source.zeros_like(whole))
        one = constant(1.0, self.dtype)
        trials = where_v2(inside, n, one)
        a, b, share = [
            layout.broadcast_to(part, shape) for part in (trials - kept, kept + 1.0, 1.0 - self.probs)
        ]
        result = betainc(a, b, share)
        return where_v2(inside, result, where_v2(whole < 0.0, 0.0 * one, one))

    def _mean(self) -> Tensor:
        return self.total_count * self.probs

    def _variance(self) -> Tensor:
        return self._mean() * (1.0 - self.probs)

    def _mode(self) -> Tensor:
        return floor((1.0 + self.total_count) * self.probs)


class NegativeBinomial(_Trials):
    """The number of successes before the `total_count`-th failure. Arguments are those of `Binomial`.

    Raises:
      ValueError: unless exactly one of logits and probs is given.
    """

    def __init__(
        self, total_count: Any, logits: Any = None, probs: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "NegativeBinomial",
    ) -> None:  # fmt: skip
        self._trials(dict(locals()))

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        # Poisson of a rate that is gamma distributed.
        number = layout.reshape(n, [1])
        rate = random_gamma(
            number, self._full(self.total_count), exp(-self.logits), dtype=self.dtype, seed=seed
        )
        drawn = random_poisson(rate, [], dtype=self.dtype, seed=None if seed is None else seed + 1)
        return layout.reshape(drawn, self._drawn_shape(n))

    def _log_prob(self, x: Tensor) -> Tensor:
        n = self.total_count
        if self.validate_args:
            x = with_dependencies([assert_non_negative(x)], x)
        ways = lgamma(n + x) - lgamma(1.0 + x) - lgamma(n)
        return ways - n * softplus(self.logits) - x * softplus(-self.logits)

    def _cdf(self, x: Tensor) -> Tensor:
        whole = floor(x)
        shape = together(whole, self.total_count, self.probs)
        kept = where_v2(whole >= 0.0, whole, source.zeros_like(whole))
        a, b, share = [
            layout.broadcast_to(part, shape) for part in (self.total_count, 1.0 + kept, 1.0 - self.probs)
        ]
        result = betainc(a, b, share)
        return where_v2(whole >= 0.0, result, source.zeros_like(result))

    def _mean(self) -> Tensor:
        return self.total_count * exp(self.logits)

    def _variance(self) -> Tensor:
        return self._mean() / (1.0 - self.probs)

    def _mode(self) -> Tensor:
        fewer = floor((self.total_count - 1.0) * exp(self.logits))
        return where_v2(self.total_count > 1.0, fewer, source.zeros_like(fewer))


__all__ = ["Binomial", "Cauchy", "Chi2", "Gumbel", "HalfNormal", "NegativeBinomial"]
