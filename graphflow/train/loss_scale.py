"""Losses made larger before they are differentiated, so that gradients in float16 do not vanish.

Micikevicius et al., Mixed Precision Training, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.control_flow import cond
from graphflow.dtypes import float32, int64
from graphflow.graph import IndexedSlices, Operation, Tensor
from graphflow.opdef import constant
from graphflow.ops import source
from graphflow.ops.control import group
from graphflow.ops.elementwise import cast, is_finite, logical_and, maximum, where_v2
from graphflow.ops.reduction import reduce_all
from graphflow.train.optimizer import Optimizer
from graphflow.variables import Variable


class LossScale:
    """What a loss is multiplied by. A subclass implements `__call__` and `update`."""

    def __call__(self) -> Tensor:
        """Returns the factor, a float32 scalar."""
        raise NotImplementedError

    def update(self, grads: Sequence[Any]) -> tuple[Operation, Any]:
        """Returns an operation that fits the factor to gradients, and whether these are to be applied."""
        raise NotImplementedError


class FixedLossScale(LossScale):
    """Always the same factor.

    Args:
      loss_scale_value: the factor, at least 1.

    Raises:
      ValueError: it is not a number, or less than 1.
    """

    def __init__(self, loss_scale_value: float) -> None:
        if not isinstance(loss_scale_value, int | float):
            raise ValueError("loss_scale_value must be a Python int or float.")
        if loss_scale_value < 1:
            raise ValueError("loss_scale_value must be at least 1.")
        self._loss_scale_value = float(loss_scale_value)

    def __call__(self) -> Tensor:
        """The factor."""
        return constant(self._loss_scale_value, float32)

    def update(self, grads: Sequence[Any]) -> tuple[Operation, Any]:
        """Changes nothing; gradients are always applied."""
        del grads
        return source.no_op(), True


class DynamicLossScale(LossScale):
    """A factor that grows while gradients are finite, and shrinks when they are not.

    Args:
      initial_loss_scale: the first factor.
      increment_period: after so many steps with finite gradients it is multiplied.
      multiplier: by what; it is divided by the same after a step whose gradients are not finite, down to 1.
    """

    def __init__(
        self, initial_loss_scale: float = 2**15, increment_period: int = 2000, multiplier: float = 2.0
    ) -> None:
        self._initial_loss_scale = float(initial_loss_scale)
        self._increment_period = int(increment_period)
        self._multiplier = float(multiplier)
        self._current_loss_scale = _weight("current_loss_scale", float32, self._initial_loss_scale)
        self._num_good_steps = _weight("good_steps", int64, 0)

    @property
    def initial_loss_scale(self) -> float:
        """The first factor."""
        return self._initial_loss_scale

    @property
    def increment_period(self) -> int:
        """After so many good steps the factor grows."""
        return self._increment_period

    @property
    def multiplier(self) -> float:
        """By what it grows and shrinks."""
        return self._multiplier

    def __call__(self) -> Tensor:
        """The factor as it is now."""
        return source.identity(self._current_loss_scale)

    def update(self, grads: Sequence[Any]) -> tuple[Operation, Any]:
        """Counts a good step or shrinks the factor; gradients that are not finite are not applied."""
        good: Any = constant(True)
        for grad in grads:
            values = grad.values if isinstance(grad, IndexedSlices) else grad
            if values is not None:
                good = logical_and(good, reduce_all(is_finite(values)))

        def counted() -> Operation:
            steps, scale = self._num_good_steps.value() + 1, self._current_loss_scale.value()
            ripe = steps >= self._increment_period
            more = scale * self._multiplier
            grown = where_v2(logical_and(ripe, is_finite(more)), more, scale)
            done = where_v2(ripe, source.zeros_like(steps), steps)
            return group(self._current_loss_scale.assign(grown), self._num_good_steps.assign(done))

        def shrunk() -> Operation:
            less = maximum(self._current_loss_scale.value() / self._multiplier, 1.0)
            return group(
                self._current_loss_scale.assign(less), self._num_good_steps.assign(constant(0, int64))
            )

        return cond(good, counted, shrunk), good


def _weight(name: str, dtype: Any, value: float) -> Variable:
    return Variable(constant(value, dtype), trainable=False, name=name)


class MixedPrecisionLossScaleOptimizer(Optimizer):
    """Another optimizer, on a loss that is scaled; gradients are scaled back before they are applied.

    Args:
      opt: the optimizer.
      loss_scale: a LossScale, a fixed factor, or "dynamic".

    Raises:
      ValueError: `opt` is no Optimizer, or there is no such loss scale.
    """

    def __init__(self, opt: Optimizer, loss_scale: Any) -> None:
        if not isinstance(opt, Optimizer):
            raise ValueError(f'"opt" must be an instance of Optimizer, but got: {type(opt)}')
        super().__init__(False, opt.get_name())
        self._optimizer = opt
        self._loss_scale = _loss_scale(loss_scale)

    def compute_gradients(self, loss: Any, var_list: Any = None, *args: Any, **kwargs: Any) -> list[Any]:
        """Gradients of the loss, computed of the scaled one; arguments as for `Optimizer.compute_gradients`."""
        scale = self._loss_scale()
        scaled = (
            (lambda: loss() * cast(scale, loss().dtype)) if callable(loss) else loss * cast(scale, loss.dtype)
        )
        found = self._optimizer.compute_gradients(scaled, var_list, *args, **kwargs)
        return [(None if g is None else _times(g, 1.0 / scale), v) for g, v in found]

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Operation:
        """Applies gradients, if the loss scale says so, and fits it to them."""
        pairs = list(grads_and_vars)
        fit, wanted = self._loss_scale.update([g for g, _ in pairs])
        if wanted is True:
            return group(fit, self._optimizer.apply_gradients(pairs, global_step, name))
        # Slots are variables: they are made before the branch.
        self._optimizer._create_slots([v for g, v in pairs if g is not None])
        applied = cond(
            wanted, lambda: group(self._optimizer.apply_gradients(pairs, global_step, name)), source.no_op
        )
        return group(applied, fit)

    def get_slot(self, var: Any, name: str) -> Any:
        """A slot of the optimizer."""
        return self._optimizer.get_slot(var, name)

    def get_slot_names(self) -> list[str]:
        """The names of the optimizer's slots."""
        return self._optimizer.get_slot_names()

    def variables(self) -> list[Any]:
        """The optimizer's variables and the loss scale's."""
        scale = self._loss_scale
        own = (
            [scale._current_loss_scale, scale._num_good_steps] if isinstance(scale, DynamicLossScale) else []
        )
        return [*self._optimizer.variables(), *own]


def _times(grad: Any, factor: Any) -> Any:
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(_times(grad.values, factor), grad.indices, grad.dense_shape)
    return grad * cast(factor, grad.dtype)


def _loss_scale(identifier: Any) -> LossScale:
    if isinstance(identifier, LossScale):
        return identifier
    if isinstance(identifier, int | float):
        return FixedLossScale(identifier)
    if identifier == "dynamic":
        return DynamicLossScale()
    raise ValueError(f"Could not interpret loss scale identifier: {identifier!r}")
