"""Distributions of one among many, of counts, and of shares."""

from __future__ import annotations

from typing import Any

from graphflow.distributions.distribution import (
    FULLY_REPARAMETERIZED,
    NOT_REPARAMETERIZED,
    Distribution,
    RegisterKL,
)
from graphflow.distributions.univariate import numbers
from graphflow.dtypes import as_dtype, int32, int64
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant
from graphflow.ops import layout, nn, source
from graphflow.ops.control import assert_near, assert_non_negative, assert_positive, with_dependencies
from graphflow.ops.diagonals import matrix_set_diag
from graphflow.ops.distributions import random_gamma
from graphflow.ops.elementwise import cast, log, multiply, rsqrt, where_v2, xlogy
from graphflow.ops.linalg import matmul
from graphflow.ops.random import multinomial
from graphflow.ops.reduction import argmax, reduce_all, reduce_sum
from graphflow.ops.special_functions import digamma, lbeta


class Categorical(Distribution):
    """One of `event_size` classes, with probabilities `probs` (or `softmax(logits)`) along the last axis.

    Raises:
      ValueError: unless exactly one of them is given.
    """

    def __init__(
        self, logits: Any = None, probs: Any = None, dtype: Any = int32, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Categorical",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if (logits is None) == (probs is None):
            raise ValueError("Must pass probs or logits, but not both.")
        with name_scope(name):
            if probs is None:
                (self.logits,) = numbers(logits)
                self.probs = nn.softmax(self.logits, name="probs")
            else:
                (self.probs,) = numbers(probs)
                if validate_args:
                    total = assert_near(
                        reduce_sum(self.probs, -1), constant(1.0, self.probs.dtype),
                        message="probs does not sum to 1.",
                    )  # fmt: skip
                    self.probs = with_dependencies([assert_non_negative(self.probs), total], self.probs)
                self.logits = log(self.probs)
            self.event_size = source.shape(self.logits)[-1]
        super().__init__(
            as_dtype(dtype), NOT_REPARAMETERIZED, validate_args, allow_nan_stats, arguments,
            (self.logits, self.probs), name,
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self.logits)[:-1]

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        flat = layout.reshape(self.logits, [-1, self.event_size])
        wide = int64 if self.dtype.size > 4 else int32
        drawn = layout.transpose(multinomial(flat, n, seed=seed, output_dtype=wide))
        shape = layout.concat([layout.reshape(n, [1]), self._batch_shape_tensor()], 0)
        return cast(layout.reshape(drawn, shape), self.dtype)

    def _cross(self, x: Tensor) -> Tensor:
        shape = source.broadcast_dynamic_shape(source.shape(x), self._batch_shape_tensor())
        x = layout.broadcast_to(cast(x, int32 if self.dtype.size <= 4 else int64), shape)
        logits = layout.broadcast_to(
            self.logits, layout.concat([shape, layout.reshape(self.event_size, [1])], 0)
        )
        return nn.sparse_softmax_cross_entropy_with_logits(labels=x, logits=logits)

    def _log_prob(self, x: Tensor) -> Tensor:
        return -self._cross(x)

    def _entropy(self) -> Tensor:
        # Not probs * log(probs): a class of probability zero adds nothing.
        return -reduce_sum(
            where_v2(self.probs > 0.0, self.probs, source.zeros_like(self.probs))
            * where_v2(self.probs > 0.0, nn.log_softmax(self.logits), source.zeros_like(self.probs)),
            axis=-1,
        )

    def _mode(self) -> Tensor:
        return cast(argmax(self.logits, axis=-1), self.dtype)


class Dirichlet(Distribution):
    """Shares that sum to one, of positive `concentration` along the last axis."""

    def __init__(
        self, concentration: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Dirichlet",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (self.concentration,) = numbers(concentration)
            if validate_args:
                check = assert_positive(
                    self.concentration, message="Concentration parameter must be positive."
                )
                self.concentration = with_dependencies([check], self.concentration)
            self.total_concentration = reduce_sum(self.concentration, -1)
        super().__init__(
            self.concentration.dtype, FULLY_REPARAMETERIZED, validate_args, allow_nan_stats, arguments,
            (self.concentration, self.total_concentration), name,
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self.total_concentration)

    def _event_shape_tensor(self) -> Any:
        return source.shape(self.concentration)[-1:]

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        drawn = random_gamma(layout.reshape(n, [1]), self.concentration, dtype=self.dtype, seed=seed)
        return drawn / reduce_sum(drawn, -1, keepdims=True)

    def _log_prob(self, x: Tensor) -> Tensor:
        if self.validate_args:
            near = assert_near(
                constant(1.0, x.dtype), reduce_sum(x, -1), message="sample last-dimension must sum to `1`"
            )
            x = with_dependencies([assert_positive(x, message="samples must be positive"), near], x)
        return reduce_sum(xlogy(self.concentration - 1.0, x), -1) - lbeta(self.concentration)

    def _classes(self) -> Tensor:
        return cast(source.shape(self.concentration)[-1], self.dtype)

    def _entropy(self) -> Tensor:
        k, total = self.concentration, self.total_concentration
        rest = reduce_sum((k - 1.0) * digamma(k), axis=-1)
        return lbeta(k) + (total - self._classes()) * digamma(total) - rest

    def _wide(self) -> Tensor:
        return layout.expand_dims(self.total_concentration, -1)

    def _mean(self) -> Tensor:
        return self.concentration / self._wide()

    def _scaled(self) -> tuple[Tensor, Tensor]:
        scale = rsqrt(1.0 + self._wide())
        return scale, scale * self._mean()

    def _variance(self) -> Tensor:
        scale, x = self._scaled()
        return x * (scale - x)

    def _covariance(self) -> Tensor:
        _, x = self._scaled()
        products = -matmul(layout.expand_dims(x, -1), layout.expand_dims(x, -2))
        return matrix_set_diag(products, self._variance())

    def _mode(self) -> Tensor:
        value = (self.concentration - 1.0) / (self._wide() - self._classes())
        if self.allow_nan_stats:
            fine = reduce_all(self.concentration > 1.0, axis=-1, keepdims=True)
            return where_v2(fine, value, constant(float("nan"), value.dtype))
        check = assert_positive(
            self.concentration - 1.0, message="Mode undefined when any concentration <= 1"
        )
        checked: Tensor = with_dependencies([check], value)
        return checked


@RegisterKL(Categorical, Categorical)
def _kl_categoricals(a: Categorical, b: Categorical, name: str | None = None) -> Tensor:
    apart = nn.log_softmax(a.logits) - nn.log_softmax(b.logits)
    return reduce_sum(multiply(nn.softmax(a.logits), apart), axis=-1)


@RegisterKL(Dirichlet, Dirichlet)
def _kl_dirichlets(a: Dirichlet, b: Dirichlet, name: str | None = None) -> Tensor:
    logs = digamma(a.concentration) - digamma(reduce_sum(a.concentration, -1, keepdims=True))
    apart = reduce_sum((a.concentration - b.concentration) * logs, -1)
    return apart - lbeta(a.concentration) + lbeta(b.concentration)


__all__ = ["Categorical", "Dirichlet"]
