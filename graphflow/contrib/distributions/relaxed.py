"""One of some classes as a vector, hard or relaxed so that gradients flow."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.distributions.distribution import (
    FULLY_REPARAMETERIZED,
    NOT_REPARAMETERIZED,
    Distribution,
    RegisterKL,
)
from graphflow.distributions.multivariate import Categorical
from graphflow.distributions.univariate import Univariate, numbers, positive, together
from graphflow.dtypes import as_dtype, int32
from graphflow.graph import Tensor, name_scope
from graphflow.ops import layout, nn, source
from graphflow.ops.elementwise import cast, exp, log, log1p, sigmoid, softplus
from graphflow.ops.random import random_uniform
from graphflow.ops.reduction import argmax, reduce_logsumexp, reduce_sum
from graphflow.ops.special_functions import lgamma


def _logits_and_probs(logits: Any, probs: Any) -> tuple[Tensor, Tensor]:
    if (logits is None) == (probs is None):
        raise ValueError("Must pass probs or logits, but not both.")
    if probs is None:
        (own,) = numbers(logits)
        return own, nn.softmax(own, name="probs")
    (own,) = numbers(probs)
    return log(own), own


def _gumbel(shape: Any, dtype: Any, seed: int | None) -> Tensor:
    # Zero itself would be infinitely far away.
    least = np.finfo(dtype.as_numpy_dtype).tiny
    return -log(-log(random_uniform(shape, least, 1.0, dtype=dtype, seed=seed)))


class OneHotCategorical(Distribution):
    """One of `event_size` classes as a vector with a single one.

    Raises:
      ValueError: unless exactly one of logits and probs is given.
    """

    def __init__(
        self, logits: Any = None, probs: Any = None, dtype: Any = int32, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "OneHotCategorical",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.logits, self.probs = _logits_and_probs(logits, probs)
            self.event_size = source.shape(self.logits)[-1]
        super().__init__(
            as_dtype(dtype), NOT_REPARAMETERIZED, validate_args, allow_nan_stats, arguments,
            (self.logits, self.probs), name,
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self.logits)[:-1]

    def _event_shape_tensor(self) -> Any:
        return source.shape(self.logits)[-1:]

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        which = Categorical(logits=self.logits).sample(n, seed=seed)
        return layout.one_hot(which, self.event_size, dtype=self.dtype)

    def _log_prob(self, x: Tensor) -> Tensor:
        x = cast(x, self.logits.dtype)
        shape = together(x, self.logits)
        return -nn.softmax_cross_entropy_with_logits_v2(
            labels=layout.broadcast_to(x, shape), logits=layout.broadcast_to(self.logits, shape)
        )

    def _entropy(self) -> Tensor:
        return Categorical(logits=self.logits).entropy()

    def _mean(self) -> Tensor:
        return source.identity(self.probs)

    def _variance(self) -> Tensor:
        return self.probs * (1.0 - self.probs)

    def _mode(self) -> Tensor:
        return layout.one_hot(argmax(self.logits, axis=-1), self.event_size, dtype=self.dtype)


class ExpRelaxedOneHotCategorical(Distribution):
    """The logarithm of a relaxed one-hot vector: logits with Gumbel noise, divided by a temperature, normalized.

    Args:
      temperature: how soft it is, [] or [*batch].
      logits: unnormalized log probabilities, [*batch, classes].
      probs: probabilities; exactly one of the two.
      dtype: the dtype of samples; default that of the logits.
      validate_args: whether parameters are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: unless exactly one of logits and probs is given.
    """

    def __init__(
        self, temperature: Any, logits: Any = None, probs: Any = None, dtype: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "ExpRelaxedOneHotCategorical",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            self.logits, self.probs = _logits_and_probs(logits, probs)
            self.event_size = source.shape(self.logits)[-1]
            self.temperature = positive(numbers(temperature, self.logits)[0], validate_args)
            wide = self.temperature
            self._wide = wide if wide.shape.rank == 0 else layout.expand_dims(wide, -1)
        super().__init__(
            self.logits.dtype if dtype is None else as_dtype(dtype), FULLY_REPARAMETERIZED, validate_args,
            allow_nan_stats, arguments, (self.logits, self.probs, self.temperature), name,
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self.logits)[:-1]

    def _event_shape_tensor(self) -> Any:
        return source.shape(self.logits)[-1:]

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        shape = layout.concat([layout.reshape(n, [1]), source.shape(self.logits)], 0)
        noisy = (self.logits + _gumbel(shape, self.dtype, seed)) / self._wide
        return noisy - reduce_logsumexp(noisy, axis=-1, keepdims=True)

    def _log_prob(self, x: Tensor) -> Tensor:
        k = cast(self.event_size, x.dtype)
        apart = reduce_sum(nn.log_softmax(self.logits - x * self._wide), -1)
        return lgamma(k) + (k - 1.0) * log(self.temperature) + apart


class RelaxedOneHotCategorical(ExpRelaxedOneHotCategorical):
    """A relaxed one-hot vector (Concrete, Gumbel-softmax): positive shares that sum to one."""

    def __init__(
        self, temperature: Any, logits: Any = None, probs: Any = None, dtype: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "RelaxedOneHotCategorical",
    ) -> None:  # fmt: skip
        super().__init__(temperature, logits, probs, dtype, validate_args, allow_nan_stats, name)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return exp(super()._sample_n(n, seed))

    def _log_prob(self, x: Tensor) -> Tensor:
        y = log(x)
        return super()._log_prob(y) - reduce_sum(y, -1)


class RelaxedBernoulli(Univariate):
    """A number of (0, 1) that is near one with probability `probs` (or `sigmoid(logits)`).

    Args:
      temperature: how soft it is.
      logits: log odds.
      probs: probabilities; exactly one of the two.
      validate_args: whether parameters are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: unless exactly one of logits and probs is given.
    """

    def __init__(
        self, temperature: Any, logits: Any = None, probs: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "RelaxedBernoulli",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if (logits is None) == (probs is None):
            raise ValueError("Must pass probs or logits, but not both.")
        with name_scope(name):
            if probs is None:
                temperature, self.logits = numbers(temperature, logits)
                self.probs = sigmoid(self.logits, name="probs")
            else:
                temperature, self.probs = numbers(temperature, probs)
                self.logits = log(self.probs) - log1p(-self.probs)
            self.temperature = positive(temperature, validate_args)
        self._start(arguments, (self.temperature, self.logits), FULLY_REPARAMETERIZED)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        drawn = random_uniform(self._drawn_shape(n), least, 1.0, dtype=self.dtype, seed=seed)
        return sigmoid((log(drawn) - log1p(-drawn) + self.logits) / self.temperature)

    def _log_prob(self, x: Tensor) -> Tensor:
        odds = log(x) - log1p(-x)
        z = self.temperature * odds - self.logits
        return log(self.temperature) - z - 2.0 * softplus(-z) - log(x) - log1p(-x)

    def _cdf(self, x: Tensor) -> Tensor:
        return sigmoid(self.temperature * (log(x) - log1p(-x)) - self.logits)


@RegisterKL(OneHotCategorical, OneHotCategorical)
def _kl_one_hots(a: OneHotCategorical, b: OneHotCategorical, name: str | None = None) -> Tensor:
    apart = nn.log_softmax(a.logits) - nn.log_softmax(b.logits)
    return reduce_sum(nn.softmax(a.logits) * apart, axis=-1)


__all__ = ["ExpRelaxedOneHotCategorical", "OneHotCategorical", "RelaxedBernoulli", "RelaxedOneHotCategorical"]
