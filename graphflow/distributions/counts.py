"""Distributions of how often each of some classes comes up in a number of draws."""

from __future__ import annotations

from typing import Any

from graphflow.distributions.distribution import NOT_REPARAMETERIZED, Distribution, seed_of
from graphflow.distributions.univariate import numbers
from graphflow.dtypes import int32
from graphflow.functional_ops import map_fn
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, convert_to_tensor
from graphflow.ops import layout, nn, source
from graphflow.ops.control import (
    assert_equal,
    assert_near,
    assert_non_negative,
    assert_positive,
    with_dependencies,
)
from graphflow.ops.diagonals import matrix_set_diag
from graphflow.ops.distributions import random_gamma
from graphflow.ops.elementwise import cast, log, round, sqrt
from graphflow.ops.linalg import matmul
from graphflow.ops.random import multinomial
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.special_functions import lbeta, lgamma


class _Counts(Distribution):
    """Counts [*batch, classes] that sum to `total_count` [*batch]."""

    total_count: Tensor

    def _number(self, total_count: Any, dtype: Any, validate_args: bool) -> Tensor:
        number = convert_to_tensor(total_count, dtype=dtype, name="total_count")
        if not validate_args:
            return number
        whole = assert_equal(number, round(number), message="total_count must be integer-valued.")
        checks = [assert_non_negative(number, message="total_count must be non-negative."), whole]
        checked: Tensor = with_dependencies(checks, number)
        return checked

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self._mean())[:-1]

    def _event_shape_tensor(self) -> Any:
        return source.shape(self._mean())[-1:]

    def _mean(self) -> Tensor:
        raise NotImplementedError

    def _checked(self, counts: Tensor) -> Tensor:
        if not self.validate_args:
            return counts
        sums = assert_equal(
            self.total_count, reduce_sum(counts, -1), message="counts must sum to `self.total_count`"
        )
        whole = assert_equal(counts, round(counts), message="counts must be integer-valued.")
        checked: Tensor = with_dependencies([assert_non_negative(counts), whole, sums], counts)
        return checked

    def _ways(self, counts: Tensor) -> Tensor:
        """The logarithm of the number of orders in which the counts can come about."""
        return lgamma(self.total_count + 1.0) - reduce_sum(lgamma(counts + 1.0), -1)

    def _counted(self, draws: Tensor, classes: Tensor) -> Tensor:
        """Counts of draws [rows, draws]: [rows, classes]."""
        return reduce_sum(layout.one_hot(draws, classes, dtype=self.dtype), -2)

    def _covariance_of(self, x: Tensor, y: Tensor, variance: Tensor) -> Tensor:
        return matrix_set_diag(-matmul(layout.expand_dims(x, -1), layout.expand_dims(y, -2)), variance)


class Multinomial(_Counts):
    """How often each class comes up in `total_count` draws with probabilities `probs` (or `softmax(logits)`).

    Raises:
      ValueError: unless exactly one of them is given.
    """

    def __init__(
        self, total_count: Any, logits: Any = None, probs: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "Multinomial",
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
            self.total_count = self._number(total_count, self.logits.dtype, validate_args)
            self._means = layout.expand_dims(self.total_count, -1) * self.probs
        super().__init__(
            self.probs.dtype, NOT_REPARAMETERIZED, validate_args, allow_nan_stats, arguments,
            (self.total_count, self.logits, self.probs), name,
        )  # fmt: skip

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        classes = self._event_shape_tensor()[0]
        shape = source.shape(self._means)
        logits = layout.reshape(layout.broadcast_to(self.logits, shape), layout.stack([-1, classes]))
        trials = layout.reshape(layout.broadcast_to(cast(self.total_count, int32), shape[:-1]), [-1])

        def counted(args: Any) -> Tensor:
            own, number = args
            draws = multinomial(layout.expand_dims(own, 0), number, seed)
            return self._counted(layout.reshape(draws, layout.stack([n, -1])), classes)

        drawn = map_fn(counted, [logits, n * trials], dtype=self.dtype)
        return layout.reshape(
            layout.transpose(drawn, [1, 0, 2]), layout.concat([layout.reshape(n, [1]), shape], 0)
        )

    def _log_prob(self, counts: Tensor) -> Tensor:
        counts = self._checked(counts)
        return reduce_sum(counts * nn.log_softmax(self.logits), -1) + self._ways(counts)

    def _mean(self) -> Tensor:
        return source.identity(self._means)

    def _shares(self) -> Tensor:
        return self.probs * layout.expand_dims(source.ones_like(self.total_count), -1)

    def _variance(self) -> Tensor:
        return self._means - self._means * self._shares()

    def _covariance(self) -> Tensor:
        return self._covariance_of(self._means, self._shares(), self._variance())


class DirichletMultinomial(_Counts):
    """Counts of `total_count` draws whose probabilities are themselves drawn from a Dirichlet distribution."""

    def __init__(
        self, total_count: Any, concentration: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "DirichletMultinomial",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            (self.concentration,) = numbers(concentration)
            if validate_args:
                check = assert_positive(
                    self.concentration, message="Concentration parameter must be positive."
                )
                self.concentration = with_dependencies([check], self.concentration)
            self.total_count = self._number(total_count, self.concentration.dtype, validate_args)
            self.total_concentration = reduce_sum(self.concentration, -1)
        super().__init__(
            self.concentration.dtype, NOT_REPARAMETERIZED, validate_args, allow_nan_stats, arguments,
            (self.total_count, self.concentration), name,
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return source.shape(self.total_concentration)

    def _event_shape_tensor(self) -> Any:
        return source.shape(self.concentration)[-1:]

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        classes = self._event_shape_tensor()[0]
        shares = random_gamma(layout.reshape(n, [1]), self.concentration, dtype=self.dtype, seed=seed)
        draws = multinomial(
            layout.reshape(log(shares), layout.stack([-1, classes])), cast(self.total_count, int32),
            seed_of(seed, "dirichlet_multinomial"),
        )  # fmt: skip
        return layout.reshape(self._counted(draws, classes), source.shape(shares))

    def _log_prob(self, counts: Tensor) -> Tensor:
        counts = self._checked(counts)
        return lbeta(self.concentration + counts) - lbeta(self.concentration) + self._ways(counts)

    def _wide(self, tensor: Tensor) -> Tensor:
        return layout.expand_dims(tensor, -1)

    def _mean(self) -> Tensor:
        return (
            self._wide(self.total_count) * (self.concentration / self._wide(self.total_concentration))
        )  # fmt: skip

    def _scaled(self) -> tuple[Tensor, Tensor]:
        total = self._wide(self.total_concentration)
        scale = sqrt((1.0 + total / self._wide(self.total_count)) / (1.0 + total))
        return scale, scale * self._mean()

    def _variance(self) -> Tensor:
        scale, x = self._scaled()
        return x * (self._wide(self.total_count) * scale - x)

    def _covariance(self) -> Tensor:
        _, x = self._scaled()
        return self._covariance_of(x, x, self._variance())


__all__ = ["DirichletMultinomial", "Multinomial"]
