"""The distribution of a function of something distributed."""

from __future__ import annotations

from typing import Any

from graphflow.contrib.distributions.bijectors import AffineScalar, Bijector
from graphflow.distributions.distribution import Distribution
from graphflow.graph import Tensor
from graphflow.ops import layout
from graphflow.ops.reduction import reduce_sum
from graphflow.shapes import TensorShape


class TransformedDistribution(Distribution):
    """What a bijector makes of a distribution.

    Args:
      distribution: where samples come from.
      bijector: what becomes of them.
      batch_shape: the batch, where the distribution itself is a scalar.
      event_shape: the event, where the distribution itself is one of numbers.
      validate_args: whether values are checked when they run.
      name: a name; default made of the two.

    Raises:
      ValueError: if `batch_shape` or `event_shape` is given for a distribution that has one already.
    """

    def __init__(
        self, distribution: Distribution, bijector: Bijector | None = None, batch_shape: Any = None,
        event_shape: Any = None, validate_args: bool = False, name: str | None = None,
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        self.distribution = distribution
        self.bijector = AffineScalar(name="identity") if bijector is None else bijector
        for given, own, what in (
            (batch_shape, distribution.batch_shape, "batch_shape"),
            (event_shape, distribution.event_shape, "event_shape"),
        ):
            if given is not None and own.rank != 0:
                raise ValueError(f"{what} is given for {distribution.name}, whose own is {own}, not ()")
        self._batch = None if batch_shape is None else TensorShape(batch_shape).as_list()
        self._event = None if event_shape is None else TensorShape(event_shape).as_list()
        super().__init__(
            distribution.dtype, distribution.reparameterization_type, validate_args, distribution.allow_nan_stats,
            arguments, (), name or f"{self.bijector.name}{distribution.name}",
        )  # fmt: skip

    def _batch_shape_tensor(self) -> Any:
        return self.distribution.batch_shape_tensor() if self._batch is None else self._batch

    def _event_shape_tensor(self) -> Any:
        return self.distribution.event_shape_tensor() if self._event is None else self._event

    def _event_rank(self) -> int:
        rank = self.event_shape.rank
        assert rank is not None
        return max(rank, self.bijector.forward_min_event_ndims)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        own = [
            layout.reshape(n, [1]),
            *([self._batch] if self._batch else []),
            *([self._event] if self._event else []),
        ]
        return self.bijector.forward(self.distribution.sample(layout.concat(own, 0), seed=seed))

    def _added(self) -> int:
        """How many axes of an event the distribution itself takes number by number."""
        return self._event_rank() - (self.distribution.event_shape.rank or 0)

    def _log_prob(self, y: Tensor) -> Tensor:
        found = self.distribution.log_prob(self.bijector.inverse(y))
        if self._added():
            found = reduce_sum(found, list(range(-self._added(), 0)))
        return found + self.bijector.inverse_log_det_jacobian(y, self._event_rank())

    def _scalar(self, what: str) -> None:
        if self._event_rank():
            raise NotImplementedError(
                f"{what} is not implemented for events that are not numbers: {self.name}"
            )

    def _cdf(self, y: Tensor) -> Tensor:
        self._scalar("cdf")
        return self.distribution.cdf(self.bijector.inverse(y))

    def _quantile(self, y: Tensor) -> Tensor:
        self._scalar("quantile")
        return self.bijector.forward(self.distribution.quantile(y))


__all__ = ["TransformedDistribution"]
