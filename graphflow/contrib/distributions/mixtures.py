"""Distributions made of others: mixtures, and batches taken for one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.distributions.distribution import (
    NOT_REPARAMETERIZED,
    Distribution,
    RegisterKL,
    kl_divergence,
    seed_of,
)
from graphflow.distributions.multivariate import Categorical
from graphflow.graph import Tensor, name_scope
from graphflow.ops import layout, nn
from graphflow.ops.elementwise import exp, sqrt, square
from graphflow.ops.linalg import matmul
from graphflow.ops.reduction import reduce_logsumexp, reduce_sum


def _widened(tensor: Tensor, count: int) -> Tensor:
    """A tensor with some axes of size one at its end."""
    for _ in range(count):
        tensor = layout.expand_dims(tensor, -1)
    return tensor


def _rank(distribution: Distribution) -> int:
    rank = distribution.event_shape.rank
    if rank is None:
        raise ValueError(f"{distribution.name} must have events of known rank")
    return rank


class _Mixed(Distribution):
    """What a mixture has, given its parts side by side along an axis behind the batch.

    `_stacked(name, …)` returns a method's results for all components, [*sample, *batch, components, *event].
    """

    _weights: Distribution

    def _log_shares(self) -> Tensor:
        return nn.log_softmax(self._weights.logits)  # type: ignore[attr-defined]

    def _stacked(self, method: str, value: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def _log_prob(self, x: Tensor) -> Tensor:
        return reduce_logsumexp(self._stacked("log_prob", x) + self._log_shares(), -1)

    def _cdf(self, x: Tensor) -> Tensor:
        return reduce_sum(self._stacked("cdf", x) * exp(self._log_shares()), -1)

    def _share_of_events(self) -> Tensor:
        return _widened(exp(self._log_shares()), _rank(self))

    def _axis(self) -> int:
        return -1 - _rank(self)

    def _mean(self) -> Tensor:
        return reduce_sum(self._share_of_events() * self._stacked("mean"), self._axis())

    def _variance(self) -> Tensor:
        means = self._stacked("mean")
        apart = means - layout.expand_dims(self._mean(), self._axis())
        inside = self._stacked("variance") + square(apart)
        return reduce_sum(self._share_of_events() * inside, self._axis())

    def entropy_lower_bound(self, name: str = "entropy_lower_bound") -> Tensor:
        """The mean of the entropies of the components, [*batch]: the mixture's is at least as large."""
        with name_scope(f"{self._name}/{name}"):
            return reduce_sum(exp(self._log_shares()) * self._stacked("entropy"), -1)


class MixtureSameFamily(_Mixed):
    """A mixture of the distributions of a batch.

    Args:
      mixture_distribution: a `Categorical` that chooses, of batch shape [*batch] or [].
      components_distribution: the components, of batch shape [*batch, components].
      validate_args: whether values are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: if the one that chooses is no distribution of one class, or the numbers of components differ.
    """

    def __init__(
        self, mixture_distribution: Distribution, components_distribution: Distribution, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "MixtureSameFamily",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if not mixture_distribution.dtype.is_integer:
            raise ValueError(
                f"`mixture_distribution.dtype` ({mixture_distribution.dtype}) is not over integers"
            )
        chosen = mixture_distribution.logits.shape.as_list()[-1]  # type: ignore[attr-defined]
        batch = components_distribution.batch_shape
        if batch.rank == 0:
            raise ValueError("the components need a batch axis: the last one is what they are mixed along")
        count = batch.as_list()[-1]
        if None not in (chosen, count) and chosen != count:
            raise ValueError(
                f"`mixture_distribution` chooses among {chosen}, but there are {count} components"
            )
        self.mixture_distribution = self._weights = mixture_distribution
        self.components_distribution = components_distribution
        super().__init__(
            components_distribution.dtype,
            NOT_REPARAMETERIZED,
            validate_args,
            allow_nan_stats,
            arguments,
            (),
            name,
        )

    def _batch_shape_tensor(self) -> Any:
        return self.components_distribution.batch_shape_tensor()[:-1]

    def _event_shape_tensor(self) -> Any:
        return self.components_distribution.event_shape_tensor()

    def _stacked(self, method: str, value: Tensor | None = None) -> Tensor:
        function = getattr(self.components_distribution, method)
        found: Tensor = function() if value is None else function(layout.expand_dims(value, self._axis()))
        return found

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        rank = _rank(self)
        parts = self.components_distribution.sample(n, seed=seed)
        count = self.components_distribution.batch_shape_tensor()[-1]
        shape = layout.concat([layout.reshape(n, [1]), self._batch_shape_tensor()], 0)
        # A choice for the whole batch is made anew for each of its rows.
        outer = shape if self._weights.batch_shape.rank == 0 else layout.reshape(n, [1])
        which = layout.reshape(self._weights.sample(outer, seed=seed_of(seed, "mixture_same_family")), shape)
        mask = _widened(layout.one_hot(which, count, dtype=self.dtype), rank)
        return reduce_sum(parts * mask, -1 - rank)

    def _covariance(self) -> Tensor:
        shares = _widened(exp(self._log_shares()), 2)
        apart = self._stacked("mean") - layout.expand_dims(self._mean(), -2)
        products = matmul(layout.expand_dims(apart, -1), layout.expand_dims(apart, -2))
        return reduce_sum(shares * (self._stacked("covariance") + products), -3)


class Mixture(_Mixed):
    """A mixture of some distributions.

    Args:
      cat: a `Categorical` that chooses, of batch shape [*batch].
      components: a list of distributions of one dtype, batch shape and event shape.
      validate_args: whether values are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      use_static_graph: accepted; sampling draws from every component.
      name: a name.

    Raises:
      TypeError: if `cat` is no Categorical or a component no Distribution, or their dtypes differ.
      ValueError: if there are none, or not as many as `cat` chooses among.
    """

    def __init__(
        self, cat: Categorical, components: Sequence[Distribution], validate_args: bool = False,
        allow_nan_stats: bool = True, use_static_graph: bool = False, name: str = "Mixture",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if not isinstance(cat, Categorical):
            raise TypeError(f"cat must be a Categorical distribution, but saw: {cat}")
        if not components:
            raise ValueError("components must be a non-empty list or tuple")
        for component in components:
            if not isinstance(component, Distribution):
                raise TypeError(
                    f"all entries in components must be Distribution instances, but saw: {component}"
                )
        if len({component.dtype for component in components}) > 1:
            raise TypeError(
                f"all components must have the same dtype, but saw: {[c.dtype for c in components]}"
            )
        count = cat.logits.shape.as_list()[-1]
        if count != len(components):
            raise ValueError(f"cat.num_classes != len(components): {count} vs. {len(components)}")
        self.cat = self._weights = cat
        self.components = list(components)
        self.num_components = len(self.components)
        super().__init__(
            components[0].dtype, NOT_REPARAMETERIZED, validate_args, allow_nan_stats, arguments, (), name
        )

    def _batch_shape_tensor(self) -> Any:
        return self.cat.batch_shape_tensor()

    def _event_shape_tensor(self) -> Any:
        return self.components[0].event_shape_tensor()

    def _stacked(self, method: str, value: Tensor | None = None) -> Tensor:
        found = [getattr(c, method)(*(() if value is None else (value,))) for c in self.components]
        return layout.stack(found, -1 if method in ("log_prob", "cdf", "entropy") else self._axis())

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        rank = _rank(self)
        parts = layout.stack(
            [c.sample(n, seed=seed_of(seed, f"mixture {i}")) for i, c in enumerate(self.components)],
            -1 - rank,
        )
        mask = layout.one_hot(self.cat.sample(n, seed=seed), self.num_components, dtype=self.dtype)
        return reduce_sum(parts * _widened(mask, rank), -1 - rank)

    def _stddev(self) -> Tensor:
        return sqrt(self._variance())


class Independent(Distribution):
    """The last axes of a distribution's batch as part of its event.

    Args:
      distribution: the distribution.
      reinterpreted_batch_ndims: how many axes; default: all but the first.
      validate_args: whether values are checked when they run.
      name: a name; default that of the distribution.
    """

    def __init__(
        self, distribution: Distribution, reinterpreted_batch_ndims: int | None = None, validate_args: bool = False,
        name: str | None = None,
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        rank = distribution.batch_shape.rank
        if rank is None:
            raise ValueError(f"{distribution.name} must have a batch of known rank")
        count = max(0, rank - 1) if reinterpreted_batch_ndims is None else int(reinterpreted_batch_ndims)
        if count > rank:
            raise ValueError(
                f"reinterpreted_batch_ndims is {count}, but {distribution.name} has {rank} batch axes"
            )
        self.distribution = distribution
        self.reinterpreted_batch_ndims = count
        super().__init__(
            distribution.dtype, distribution.reparameterization_type, validate_args, distribution.allow_nan_stats,
            arguments, (), name or f"Independent{distribution.name}",
        )  # fmt: skip

    def _split(self) -> int:
        return (self.distribution.batch_shape.rank or 0) - self.reinterpreted_batch_ndims

    def _batch_shape_tensor(self) -> Any:
        return self.distribution.batch_shape_tensor()[: self._split()]

    def _event_shape_tensor(self) -> Any:
        inner = self.distribution
        return layout.concat([inner.batch_shape_tensor()[self._split() :], inner.event_shape_tensor()], 0)

    def _summed(self, value: Tensor) -> Tensor:
        axes = list(range(-self.reinterpreted_batch_ndims, 0))
        return reduce_sum(value, axes) if axes else value

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        return self.distribution.sample(n, seed=seed)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._summed(self.distribution.log_prob(x))

    def _entropy(self) -> Tensor:
        return self._summed(self.distribution.entropy())

    def _mean(self) -> Tensor:
        return self.distribution.mean()

    def _variance(self) -> Tensor:
        return self.distribution.variance()

    def _stddev(self) -> Tensor:
        return self.distribution.stddev()

    def _mode(self) -> Tensor:
        return self.distribution.mode()


@RegisterKL(Independent, Independent)
def _kl_independents(a: Independent, b: Independent, name: str | None = None) -> Tensor:
    if a.reinterpreted_batch_ndims != b.reinterpreted_batch_ndims:
        raise ValueError("the two take different numbers of batch axes into their events")
    return a._summed(kl_divergence(a.distribution, b.distribution))


__all__ = ["Independent", "Mixture", "MixtureSameFamily"]
