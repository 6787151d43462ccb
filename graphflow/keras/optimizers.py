"""`keras.optimizers`: TF1's optimizers under Keras's names, with their learning rates in variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import train
from graphflow.dtypes import int64
from graphflow.gradients import gradients
from graphflow.graph import name_scope
from graphflow.keras.identifiers import found
from graphflow.opdef import convert_to_tensor
from graphflow.ops.control import group
from graphflow.ops.elementwise import cast, clip_by_value, sqrt, square
from graphflow.ops.linalg import clip_by_norm
from graphflow.variables import Variable


class Optimizer:
    """What Keras's optimizers share.

    Args:
      name: the scope of its variables.
      learning_rate: a number; `lr` is its old name.
      **kwargs: `lr`, `decay` (the rate falls as `1 / (1 + decay * steps)`), `clipnorm` (of each gradient),
        `clipvalue` (of each element).

    Raises:
      TypeError: for other keywords.
    """

    def __init__(self, name: str, learning_rate: Any, **kwargs: Any) -> None:
        unknown = set(kwargs) - {"lr", "decay", "clipnorm", "clipvalue"}
        if unknown:
            raise TypeError(f"Unexpected keyword argument passed to optimizer: {', '.join(sorted(unknown))}")
        self._name = name
        self._rate = kwargs.get("lr", learning_rate)
        self._decay = float(kwargs.get("decay", 0.0))
        self.clipnorm = kwargs.get("clipnorm")
        self.clipvalue = kwargs.get("clipvalue")
        self._made: tuple[Variable, Variable, Any] | None = None

    def _optimizer(self, rate: Any) -> Any:
        """TF1's optimizer with that learning rate."""
        raise NotImplementedError

    def _ready(self) -> tuple[Variable, Variable, Any]:
        if self._made is None:
            with name_scope(self._name):
                rate = Variable(float(self._rate), name="learning_rate", trainable=False)
                steps = Variable(0, name="iterations", dtype=int64, trainable=False)
                now: Any = rate.value()
                if self._decay:
                    now = now / (1.0 + self._decay * cast(steps.value(), rate.dtype))
            self._made = rate, steps, self._optimizer(now)
        return self._made

    @property
    def lr(self) -> Variable:
        """The learning rate."""
        return self._ready()[0]

    learning_rate = lr

    @property
    def iterations(self) -> Variable:
        """How many steps were taken."""
        return self._ready()[1]

    def get_gradients(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """Returns the gradients of a loss, clipped."""
        slopes = gradients(loss, list(params))
        missing = [p.name for p, slope in zip(params, slopes, strict=True) if slope is None]
        if missing:
            raise ValueError(f"the loss does not depend on these weights: {', '.join(missing)}")
        if self.clipnorm is not None:
            slopes = [clip_by_norm(slope, float(self.clipnorm)) for slope in slopes]
        if self.clipvalue is not None:
            bound = float(self.clipvalue)
            slopes = [clip_by_value(slope, -bound, bound) for slope in slopes]
        return slopes

    def apply_gradients(self, grads_and_vars: Any, name: str | None = None) -> Any:
        """Returns the operation that takes a step."""
        _, steps, optimizer = self._ready()
        return optimizer.apply_gradients(list(grads_and_vars), global_step=steps, name=name)

    def minimize(self, loss: Any, var_list: Sequence[Any], name: str | None = None) -> Any:
        """Returns the operation that takes a step down the gradients of a loss."""
        return self.apply_gradients(zip(self.get_gradients(loss, var_list), var_list, strict=True), name=name)

    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """Returns the operations that take a step."""
        return [self.minimize(loss, params)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {"name": self._name, "learning_rate": float(self._rate), "decay": self._decay}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes an optimizer from what `get_config` returned."""
        return cls(**config)


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for."""

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        name: str = "SGD",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, learning_rate, **kwargs)
        self._momentum = momentum
        self._nesterov = nesterov

    def _optimizer(self, rate: Any) -> Any:
        if not self._momentum:
            return train.GradientDescentOptimizer(rate)
        return train.MomentumOptimizer(rate, self._momentum, use_nesterov=self._nesterov)


class RMSprop(Optimizer):
    """Gradients over the root of the moving average of their squares, which starts at zero, unlike that of `train`."""

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float | None = 1e-7,
        centered: bool = False, name: str = "RMSprop", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, learning_rate, **kwargs)
        self._rho = rho
        self._momentum = momentum
        self._epsilon = 1e-7 if epsilon is None else epsilon
        self._centered = centered

    def _optimizer(self, rate: Any) -> Any:
        return rate

    def apply_gradients(self, grads_and_vars: Any, name: str | None = None) -> Any:
        """Returns the operation that takes a step."""
        _, count, rate = self._ready()
        steps = [count.assign_add(1)]
        with name_scope(self._name):
            for slope, weight in grads_and_vars:
                steps.append(self._step(convert_to_tensor(slope), weight, rate))
        return group(*steps, name=name)

    def _step(self, slope: Any, weight: Any, rate: Any) -> Any:
        def kept(what: str) -> Variable:
            zeros = np.zeros(weight.shape.as_list(), weight.dtype.as_numpy_dtype)
            return Variable(zeros, name=f"{weight.op.name}/{what}", trainable=False)

        def moved(average: Variable, value: Any) -> Any:
            return average.assign(average.value() * self._rho + value * (1.0 - self._rho))

        squares = moved(kept("rms"), square(slope))
        if self._centered:
            squares = squares - square(moved(kept("mg"), slope))
        change = rate * slope / (sqrt(squares) + self._epsilon)
        if self._momentum:
            speed = kept("momentum")
            change = speed.assign(speed.value() * self._momentum + change)
        return weight.assign_sub(change)


class Adam(Optimizer):
    """Adam; AMSGrad is not supported."""

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = 1e-7,
        amsgrad: bool = False, name: str = "Adam", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, learning_rate, **kwargs)
        if amsgrad:
            raise NotImplementedError("keras.optimizers.Adam: `amsgrad` is not supported")
        self._arguments = beta_1, beta_2, 1e-7 if epsilon is None else epsilon

    def _optimizer(self, rate: Any) -> Any:
        return train.AdamOptimizer(rate, *self._arguments)


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        name: str = "Adagrad",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, learning_rate, **kwargs)
        self._first = initial_accumulator_value

    def _optimizer(self, rate: Any) -> Any:
        return train.AdagradOptimizer(rate, self._first)


class Adadelta(Optimizer):
    """Steps scaled by moving averages of squared steps and gradients."""

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float | None = 1e-7, name: str = "Adadelta",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, learning_rate, **kwargs)
        self._arguments = rho, 1e-7 if epsilon is None else epsilon

    def _optimizer(self, rate: Any) -> Any:
        return train.AdadeltaOptimizer(rate, *self._arguments)


_KNOWN = {"adadelta": Adadelta, "adagrad": Adagrad, "adam": Adam, "rmsprop": RMSprop, "sgd": SGD}


class _OfTrain:
    """An optimizer of `train` as one of Keras's."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def minimize(self, loss: Any, var_list: Sequence[Any]) -> Any:
        """Returns the operation that takes a step."""
        return self.optimizer.minimize(loss, var_list=list(var_list))


def get(identifier: Any) -> Any:
    """Returns an optimizer by name or configuration, or as it is; those of `train` are taken, too."""
    if isinstance(identifier, train.Optimizer):
        return _OfTrain(identifier)
    if isinstance(identifier, Optimizer | _OfTrain):
        return identifier
    if isinstance(identifier, str):
        identifier = identifier.lower()
    return found(identifier, _KNOWN, "optimizer")


__all__ = ["Adadelta", "Adagrad", "Adam", "Optimizer", "RMSprop", "SGD", "get"]
