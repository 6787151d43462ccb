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
from graphflow.keras.session import get_session
from graphflow.keras.update_rules import AdamaxRule, FtrlRule, NadamRule
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
        self._steps: Any = None
        self._slots: list[Variable] = []
        self._waiting: list[Any] | None = None

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
            self._steps = steps
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
        pairs = list(grads_and_vars)
        step = optimizer.apply_gradients(pairs, global_step=steps, name=name)
        slots = [
            optimizer.get_slot(weight, slot) for slot in optimizer.get_slot_names() for _, weight in pairs
        ]
        self._keep([*self._common(optimizer), *slots])
        return step

    def _common(self, optimizer: Any) -> list[Variable]:
        """What is kept for all weights together, besides the count of steps, and counts among `weights`."""
        return []

    def _keep(self, slots: Sequence[Variable]) -> None:
        """Remembers the variables of a step, which values may be waiting for."""
        self._slots += slots
        if self._waiting is not None:
            values, self._waiting = self._waiting, None
            self.set_weights(values)

    @property
    def weights(self) -> list[Variable]:
        """The count of steps, then what is kept for each weight; nothing before the first step is built."""
        return [] if self._made is None else [self._made[1], *self._slots]

    variables = weights

    def get_weights(self) -> list[Any]:
        """Returns the values of `weights` in the session of Keras."""
        return [np.asarray(value) for value in get_session().run(self.weights)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`; before the first step is built they wait for it.

        Raises:
          ValueError: if there are not as many, or a shape does not fit.
        """
        if not self._slots and len(weights) > 1:
            self._waiting = list(weights)
            return
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(f"the optimizer {self._name} keeps {len(own)} values, not {len(weights)}")
        session = get_session()
        for variable, value in zip(own, weights, strict=True):
            if not variable.shape.is_compatible_with(np.shape(value)):
                raise ValueError(
                    f"{variable.name}: shape {variable.shape} does not fit the given {np.shape(value)}"
                )
            variable.load(np.asarray(value, variable.dtype.as_numpy_dtype), session)
        self._counted(int(np.asarray(weights[0])))

    def _counted(self, steps: int) -> None:
        """Sets what follows from the count of steps."""

    def minimize(self, loss: Any, var_list: Sequence[Any], name: str | None = None) -> Any:
        """Returns the operation that takes a step down the gradients of a loss."""
        return self.apply_gradients(zip(self.get_gradients(loss, var_list), var_list, strict=True), name=name)

    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """Returns the operations that take a step."""
        return [self.minimize(loss, params)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        rate = float(self._rate) if self._made is None else float(get_session().run(self._made[0]))
        clips = {
            k: v for k, v in (("clipnorm", self.clipnorm), ("clipvalue", self.clipvalue)) if v is not None
        }
        return {"name": self._name, "learning_rate": rate, "decay": self._decay, **clips}

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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {**super().get_config(), "momentum": self._momentum, "nesterov": self._nesterov}


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
        slots: dict[str, list[Variable]] = {}
        with name_scope(self._name):
            for slope, weight in grads_and_vars:
                steps.append(self._step(convert_to_tensor(slope), weight, rate, slots))
        self._keep([slot for same in slots.values() for slot in same])
        return group(*steps, name=name)

    def _step(self, slope: Any, weight: Any, rate: Any, slots: dict[str, list[Variable]]) -> Any:
        def kept(what: str) -> Variable:
            zeros = np.zeros(weight.shape.as_list(), weight.dtype.as_numpy_dtype)
            made = Variable(zeros, name=f"{weight.op.name}/{what}", trainable=False)
            slots.setdefault(what, []).append(made)
            return made

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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        own = {
            "rho": self._rho,
            "momentum": self._momentum,
            "epsilon": self._epsilon,
            "centered": self._centered,
        }
        return {**super().get_config(), **own}


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

    def _counted(self, steps: int) -> None:
        powers = self._ready()[2]._get_beta_accumulators()
        for power, beta in zip(powers, self._arguments[:2], strict=True):
            power.load(np.float32(beta ** (steps + 1)), get_session())

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {
            **super().get_config(),
            **dict(zip(("beta_1", "beta_2", "epsilon"), self._arguments, strict=True)),
        }


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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {**super().get_config(), "initial_accumulator_value": self._first}


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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {**super().get_config(), **dict(zip(("rho", "epsilon"), self._arguments, strict=True))}


class Adamax(Optimizer):
    """Adam with the largest gradient so far in place of the mean square."""

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = 1e-7,
        name: str = "Adamax", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, learning_rate, **kwargs)
        self._betas = beta_1, beta_2
        self._epsilon = 1e-7 if epsilon is None else epsilon

    def _optimizer(self, rate: Any) -> Any:
        return AdamaxRule(rate, self._betas, self._epsilon, self._steps, self._name)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        beta_1, beta_2 = self._betas
        return {**super().get_config(), "beta_1": beta_1, "beta_2": beta_2, "epsilon": self._epsilon}


class Nadam(Adamax):
    """Adam with Nesterov's momentum, as TF1 has it: `schedule_decay` says how fast the momentum comes in."""

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = 1e-7,
        name: str = "Nadam", **kwargs: Any,
    ) -> None:  # fmt: skip
        # Its learning rate does not fall: what other optimizers call `decay` is the momentum's.
        self._momentum_decay = float(kwargs.pop("schedule_decay", kwargs.pop("decay", 0.004)))
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name, **kwargs)

    def _optimizer(self, rate: Any) -> Any:
        return NadamRule(rate, self._betas, self._epsilon, self._steps, self._name, self._momentum_decay)

    def _common(self, optimizer: Any) -> list[Variable]:
        return [optimizer.cache]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {**super().get_config(), "decay": self._momentum_decay}


class Ftrl(Optimizer):
    """Follow the regularized leader; see `train.FtrlOptimizer`."""

    def __init__(
        self, learning_rate: Any = 0.001, learning_rate_power: float = -0.5, initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0, name: str = "Ftrl",
        l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, learning_rate, **kwargs)
        self._arguments = {
            "learning_rate_power": learning_rate_power,
            "initial_accumulator_value": initial_accumulator_value,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
            "l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength,
        }
        self._beta = beta
        self._optimizer(0.0)  # which refuses what they must not be

    def _optimizer(self, rate: Any) -> Any:
        return FtrlRule(self._beta, rate, **self._arguments)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {**super().get_config(), **self._arguments, "beta": self._beta}


_KNOWN = {
    "adadelta": Adadelta, "adagrad": Adagrad, "adam": Adam, "adamax": Adamax, "ftrl": Ftrl, "nadam": Nadam,
    "rmsprop": RMSprop, "sgd": SGD,
}  # fmt: skip


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
    if isinstance(identifier, dict):
        identifier = {**identifier, "class_name": str(identifier["class_name"]).lower()}
    return found(identifier, _KNOWN, "optimizer")


__all__ = ["Adadelta", "Adagrad", "Adam", "Adamax", "Ftrl", "Nadam", "Optimizer", "RMSprop", "SGD", "get"]
