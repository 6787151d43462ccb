"""What every distribution has: shapes, samples, densities, and the divergence of one from another."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant_value, constant_value_as_shape, convert_to_tensor
from graphflow.ops import layout, source
from graphflow.ops.control import Assert, with_dependencies
from graphflow.ops.elementwise import exp, is_nan, log, logical_not, sqrt, square
from graphflow.ops.reduction import reduce_any, reduce_prod
from graphflow.shapes import TensorShape


class ReparameterizationType:
    """Whether gradients flow from samples to parameters."""

    def __init__(self, rep_type: str) -> None:
        self._rep_type = rep_type

    def __repr__(self) -> str:
        return f"<Reparameterization Type: {self._rep_type}>"


FULLY_REPARAMETERIZED = ReparameterizationType("FULLY_REPARAMETERIZED")
NOT_REPARAMETERIZED = ReparameterizationType("NOT_REPARAMETERIZED")


def seed_of(seed: int | None, salt: str) -> int | None:
    """Another seed made of a seed, for a second draw of the same sample; TensorFlow's numbers follow from it."""
    if seed is None:
        return None
    return int(hashlib.md5(f"{seed}{salt}".encode()).hexdigest()[:8], 16) & 0x7FFFFFFF


class Distribution:
    """A batch of distributions of one family.

    A family says what it knows in methods of a leading underscore: `_sample_n(n, seed)` with samples of shape
    [n, *batch, *event], `_log_prob` or `_prob`, `_cdf`, `_entropy`, `_mean`, `_variance`, `_mode`, …

    Args:
      dtype: the dtype of samples.
      reparameterization_type: `FULLY_REPARAMETERIZED` or `NOT_REPARAMETERIZED`.
      validate_args: whether parameters and values are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      parameters: the arguments of the constructor.
      graph_parents: the tensors of the parameters.
      name: a name.
    """

    def __init__(
        self, dtype: Any, reparameterization_type: ReparameterizationType, validate_args: bool, allow_nan_stats: bool,
        parameters: dict[str, Any] | None = None, graph_parents: Sequence[Tensor] | None = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        self.dtype = dtype
        self.reparameterization_type = reparameterization_type
        self.validate_args = validate_args
        self.allow_nan_stats = allow_nan_stats
        given = dict(parameters or {})
        self.parameters = {k: v for k, v in given.items() if k != "self" and not k.startswith("__")}
        self._graph_parents = list(graph_parents or ())
        self._name = (name or type(self).__name__).rstrip("/")

    @property
    def name(self) -> str:
        """The name scope, with a slash at its end."""
        return self._name + "/"

    def __repr__(self) -> str:
        return (
            f"<graphflow.distributions.{type(self).__name__} {self.name!r} batch_shape={self.batch_shape} "
            f"event_shape={self.event_shape} dtype={self.dtype.name}>"
        )

    def copy(self, **override_parameters_kwargs: Any) -> Distribution:
        """Returns the distribution anew, with some arguments of the constructor replaced."""
        taken = inspect.signature(type(self).__init__).parameters
        given = {k: v for k, v in self.parameters.items() if k in taken}
        return type(self)(**{**given, **override_parameters_kwargs})

    # ------------------------------------------------------------------------ shapes

    def _batch_shape_tensor(self) -> Any:
        raise NotImplementedError(f"batch_shape_tensor is not implemented: {type(self).__name__}")

    def _event_shape_tensor(self) -> Any:
        return np.zeros(0, np.int32)

    def batch_shape_tensor(self, name: str = "batch_shape_tensor") -> Tensor:
        """The shape of the batch when it runs, [batch rank] int32."""
        with name_scope(f"{self._name}/{name}"):
            return convert_to_tensor(self._batch_shape_tensor())

    def event_shape_tensor(self, name: str = "event_shape_tensor") -> Tensor:
        """The shape of one sample when it runs, [event rank] int32."""
        with name_scope(f"{self._name}/{name}"):
            return convert_to_tensor(self._event_shape_tensor())

    @property
    def batch_shape(self) -> TensorShape:
        """The shape of the batch as far as it is known while building."""
        return constant_value_as_shape(convert_to_tensor(self._batch_shape_tensor()))

    @property
    def event_shape(self) -> TensorShape:
        """The shape of one sample as far as it is known while building."""
        return constant_value_as_shape(convert_to_tensor(self._event_shape_tensor()))

    def is_scalar_batch(self, name: str = "is_scalar_batch") -> Tensor:
        """Whether the batch is one distribution."""
        return convert_to_tensor(self.batch_shape.rank == 0, name=name)

    def is_scalar_event(self, name: str = "is_scalar_event") -> Tensor:
        """Whether one sample is a scalar."""
        return convert_to_tensor(self.event_shape.rank == 0, name=name)

    # ------------------------------------------------------------------------ samples

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        raise NotImplementedError(f"sample is not implemented: {type(self).__name__}")

    def sample(self, sample_shape: Any = (), seed: int | None = None, name: str = "sample") -> Tensor:
        """Draws samples.

        Args:
          sample_shape: a number or a shape; default one sample without an axis.
          seed: the op seed.
          name: a name.

        Returns:
          [*sample_shape, *batch, *event].

        Raises:
          ValueError: if the shape is neither a scalar nor a vector.
        """
        with name_scope(f"{self._name}/{name}"):
            if isinstance(sample_shape, TensorShape):
                sample_shape = sample_shape.as_list()
            if isinstance(sample_shape, Sequence) and not len(sample_shape):
                sample_shape = np.zeros(0, np.int32)
            sizes = convert_to_tensor(sample_shape)
            if sizes.shape.rank not in (0, 1):
                raise ValueError(
                    f"sample_shape is neither a scalar nor a vector, but of shape {sizes.shape} ({self!r})"
                )
            sizes = layout.reshape(sizes, [-1])
            known = constant_value(sizes)
            n = reduce_prod(sizes) if known is None else int(np.prod(known))
            drawn = self._sample_n(n, seed)
            result = layout.reshape(drawn, layout.concat([sizes, source.shape(drawn)[1:]], 0))
            result.set_shape(
                constant_value_as_shape(sizes).concatenate(self.batch_shape).concatenate(self.event_shape)
            )
            return result

    # ------------------------------------------------------------------------ functions of a value

    def _has(self, what: str) -> bool:
        return hasattr(self, what)

    def _of(self, value: Any, name: str, *ways: tuple[str, Callable[[Tensor], Tensor] | None]) -> Tensor:
        """The first way that the family knows."""
        with name_scope(f"{self._name}/{name}"):
            value = convert_to_tensor(value, dtype=self._value_dtype(value))
            for method, then in ways:
                if self._has(method):
                    result: Tensor = getattr(self, method)(value)
                    return result if then is None else then(result)
        raise NotImplementedError(f"{name} is not implemented: {type(self).__name__}")

    def _value_dtype(self, value: Any) -> Any:
        return None if isinstance(value, Tensor) else self.dtype

    def log_prob(self, value: Any, name: str = "log_prob") -> Tensor:
        """The logarithm of the density (or probability) at `value`, [*sample, *batch]."""
        return self._of(value, name, ("_log_prob", None), ("_prob", log))

    def prob(self, value: Any, name: str = "prob") -> Tensor:
        """The density (or probability) at `value`, [*sample, *batch]."""
        return self._of(value, name, ("_prob", None), ("_log_prob", exp))

    def log_cdf(self, value: Any, name: str = "log_cdf") -> Tensor:
        """The logarithm of `cdf`."""
        return self._of(value, name, ("_log_cdf", None), ("_cdf", log))

    def cdf(self, value: Any, name: str = "cdf") -> Tensor:
        """The probability of at most `value`, [*sample, *batch]."""
        return self._of(value, name, ("_cdf", None), ("_log_cdf", exp))

    def log_survival_function(self, value: Any, name: str = "log_survival_function") -> Tensor:
        """The logarithm of `survival_function`."""
        return self._of(value, name, ("_log_survival_function", None), ("_cdf", lambda x: log(1.0 - x)))

    def survival_function(self, value: Any, name: str = "survival_function") -> Tensor:
        """The probability of more than `value`: `1 - cdf`."""
        return self._of(value, name, ("_survival_function", None), ("_cdf", lambda x: 1.0 - x))

    def quantile(self, value: Any, name: str = "quantile") -> Tensor:
        """The value whose `cdf` is `value`."""
        return self._of(value, name, ("_quantile", None))

    # ------------------------------------------------------------------------ figures

    def _figure(self, name: str, *ways: tuple[str, Callable[[Tensor], Tensor] | None]) -> Tensor:
        with name_scope(f"{self._name}/{name}"):
            for method, then in ways:
                if self._has(method):
                    result: Tensor = getattr(self, method)()
                    return result if then is None else then(result)
        raise NotImplementedError(f"{name} is not implemented: {type(self).__name__}")

    def entropy(self, name: str = "entropy") -> Tensor:
        """Shannon's entropy in nats, [*batch]."""
        return self._figure(name, ("_entropy", None))

    def mean(self, name: str = "mean") -> Tensor:
        """The mean, [*batch, *event]."""
        return self._figure(name, ("_mean", None))

    def variance(self, name: str = "variance") -> Tensor:
        """The variance, [*batch, *event]."""
        return self._figure(name, ("_variance", None), ("_stddev", square))

    def stddev(self, name: str = "stddev") -> Tensor:
        """The root of the variance, [*batch, *event]."""
        return self._figure(name, ("_stddev", None), ("_variance", sqrt))

    def covariance(self, name: str = "covariance") -> Tensor:
        """The covariance of the parts of an event, [*batch, event, event]."""
        return self._figure(name, ("_covariance", None))

    def mode(self, name: str = "mode") -> Tensor:
        """The likeliest value, [*batch, *event]."""
        return self._figure(name, ("_mode", None))

    def kl_divergence(self, other: Distribution, name: str = "kl_divergence") -> Tensor:
        """The divergence of `other` from this one; see `kl_divergence`."""
        return kl_divergence(self, other, allow_nan_stats=self.allow_nan_stats, name=name)

    def cross_entropy(self, other: Distribution, name: str = "cross_entropy") -> Tensor:
        """The entropy plus the divergence of `other`."""
        with name_scope(f"{self._name}/{name}"):
            return self.entropy() + kl_divergence(self, other, allow_nan_stats=self.allow_nan_stats)


# ---------------------------------------------------------------------------- divergences

_DIVERGENCES: dict[tuple[type, type], Callable[..., Tensor]] = {}


class RegisterKL:
    """Decorates a function `(a, b, name)` as the divergence of two families.

    Args:
      dist_cls_a: the family of the first.
      dist_cls_b: the family of the second.
    """

    def __init__(self, dist_cls_a: type, dist_cls_b: type) -> None:
        self._key = (dist_cls_a, dist_cls_b)

    def __call__(self, kl_fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Registers it.

        Raises:
          TypeError: if it is not callable.
          ValueError: if the two have a function already.
        """
        if not callable(kl_fn):
            raise TypeError(f"kl_fn must be callable, received: {kl_fn}")
        if self._key in _DIVERGENCES:
            a, b = (cls.__name__ for cls in self._key)
            raise ValueError(f"KL({a} || {b}) has already been registered to: {_DIVERGENCES[self._key]}")
        _DIVERGENCES[self._key] = kl_fn
        return kl_fn


def kl_divergence(
    distribution_a: Distribution, distribution_b: Distribution, allow_nan_stats: bool = True, name: str | None = None
) -> Tensor:  # fmt: skip
    """The divergence KL(a || b), [*batch].

    Args:
      distribution_a: the first.
      distribution_b: the second.
      allow_nan_stats: whether NaN may come of it; otherwise it is an error of the run.
      name: a name.

    Raises:
      NotImplementedError: if no function is registered for the two families.
    """
    a, b = type(distribution_a), type(distribution_b)
    pairs = [(x, y) for x in a.__mro__ for y in b.__mro__ if (x, y) in _DIVERGENCES]
    if not pairs:
        raise NotImplementedError(
            f"No KL(distribution_a || distribution_b) registered for distribution_a type {a.__name__} and "
            f"distribution_b type {b.__name__}; @RegisterKL({a.__name__}, {b.__name__}) adds one"
        )
    pair = min(pairs, key=lambda p: a.__mro__.index(p[0]) + b.__mro__.index(p[1]))
    with name_scope(name or "KullbackLeibler"):
        result = _DIVERGENCES[pair](distribution_a, distribution_b, name=name)
        if allow_nan_stats:
            return result
        fine = logical_not(reduce_any(is_nan(result)))
        told = [
            f"KL({distribution_a.name} || {distribution_b.name}) is NaN and allow_nan_stats=False:",
            result,
        ]
        checked: Tensor = with_dependencies([Assert(fine, told)], result)
        return checked


__all__ = [
    "FULLY_REPARAMETERIZED", "NOT_REPARAMETERIZED", "Distribution", "RegisterKL", "ReparameterizationType",
    "kl_divergence", "seed_of",
]  # fmt: skip
