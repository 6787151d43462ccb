"""`tf.contrib.opt`: more optimizers, and wrappers of optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphflow.contrib import deep as _deep
from graphflow.contrib.external_optimizer import ExternalOptimizerInterface as ExternalOptimizerInterface
from graphflow.contrib.external_optimizer import ScipyOptimizerInterface as ScipyOptimizerInterface
from graphflow.graph import Operation, control_dependencies
from graphflow.namespace import lazy
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.train.adam import AdamOptimizer
from graphflow.train.momentum import MomentumOptimizer
from graphflow.train.moving_averages import ExponentialMovingAverage
from graphflow.train.optimizer import Optimizer
from graphflow.train.saver import Saver
from graphflow.variables import global_variables


def extend_with_decoupled_weight_decay(base_optimizer: type[Optimizer]) -> type[Any]:
    """Returns an optimizer class whose steps also shrink the variables, before the step and apart from gradients.

    Its constructor takes `weight_decay` first, then the arguments of the class; `minimize` and `apply_gradients` take
    `decay_var_list`, the variables that shrink.
    """

    class Decayed(base_optimizer):  # type: ignore[misc, valid-type]
        """An optimizer with decoupled weight decay."""

        def __init__(self, weight_decay: Any, *args: Any, **kwargs: Any) -> None:
            self._weight_decay = weight_decay
            self._decayed: set[int] | None = None
            super().__init__(*args, **kwargs)

        def minimize(
            self, *args: Any, decay_var_list: Sequence[Any] | None = None, **kwargs: Any
        ) -> Operation:
            """As the class's; `decay_var_list` says which variables shrink, default all."""
            self._decayed = None if decay_var_list is None else {id(var) for var in decay_var_list}
            found: Operation = super().minimize(*args, **kwargs)
            return found

        def apply_gradients(
            self, grads_and_vars: Any, global_step: Any = None, name: str | None = None,
            decay_var_list: Sequence[Any] | None = None,
        ) -> Operation:  # fmt: skip
            """As the class's; see `minimize`."""
            if decay_var_list is not None:
                self._decayed = {id(var) for var in decay_var_list}
            pairs = list(grads_and_vars)
            rate = self._weight_decay() if callable(self._weight_decay) else self._weight_decay
            shrunk = []
            for grad, var in pairs:
                if grad is not None and (self._decayed is None or id(var) in self._decayed):
                    factor = emit.Cast(convert_to_tensor(rate), DstT=var.dtype.base_dtype)
                    with control_dependencies([grad] if not hasattr(grad, "values") else [grad.values]):
                        shrunk.append(var.assign_sub(factor * var.read_value(), read_value=False))
            with control_dependencies(shrunk):
                found: Operation = super().apply_gradients(pairs, global_step, name)
            return found

    Decayed.__name__ = f"Decayed{base_optimizer.__name__}"
    return Decayed


class AdamWOptimizer(extend_with_decoupled_weight_decay(AdamOptimizer)):  # type: ignore[misc]
    """Adam with decoupled weight decay.

    Args:
      weight_decay: by which share variables shrink in a step, times nothing else.
      learning_rate, beta1, beta2, epsilon, use_locking, name: those of `AdamOptimizer`.
    """

    def __init__(
        self, weight_decay: Any, learning_rate: Any = 0.001, beta1: Any = 0.9, beta2: Any = 0.999, epsilon: Any = 1e-8,
        use_locking: bool = False, name: str = "AdamW",
    ) -> None:  # fmt: skip
        super().__init__(weight_decay, learning_rate, beta1, beta2, epsilon, use_locking, name)


class MomentumWOptimizer(extend_with_decoupled_weight_decay(MomentumOptimizer)):  # type: ignore[misc]
    """Momentum with decoupled weight decay.

    Args:
      weight_decay: by which share variables shrink in a step.
      learning_rate, momentum, use_locking, name, use_nesterov: those of `MomentumOptimizer`.
    """

    def __init__(
        self, weight_decay: Any, learning_rate: Any, momentum: Any, use_locking: bool = False, name: str = "MomentumW",
        use_nesterov: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(weight_decay, learning_rate, momentum, use_locking, name, use_nesterov)


class MovingAverageOptimizer(Optimizer):
    """An optimizer that also keeps moving averages of what it trains.

    Args:
      opt: the optimizer.
      average_decay: the share of its old value that an average keeps.
      num_updates: a step counter that makes the first averages follow faster.
      sequential_update: whether averages are taken after the step.
    """

    def __init__(
        self,
        opt: Optimizer,
        average_decay: Any = 0.9999,
        num_updates: Any = None,
        sequential_update: bool = True,
    ) -> None:
        super().__init__(False, type(opt).__name__)
        self._optimizer = opt
        self._ema = ExponentialMovingAverage(average_decay, num_updates=num_updates)
        self._sequential = sequential_update
        self._averages: dict[Any, Any] | None = None

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
        """Those of the optimizer."""
        return self._optimizer.compute_gradients(*args, **kwargs)

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Operation:
        """Returns the step, and the averages with it."""
        pairs = list(grads_and_vars)
        step = self._optimizer.apply_gradients(pairs, global_step=global_step, name=name)
        variables = [var for grad, var in pairs if grad is not None]
        with control_dependencies([step] if self._sequential else []):
            averaged = self._ema.apply(variables)
        self._averages = {var.op.name: self._ema.average(var) for var in variables}
        return group(step, averaged, name="train_with_averages")

    def swapping_saver(self, var_list: Any = None, name: str = "swapping_saver", **kwargs: Any) -> Saver:
        """Returns a saver whose checkpoints have the averages under the names of the variables, and the other way.

        Raises:
          RuntimeError: before `apply_gradients`.
        """
        if self._averages is None:
            raise RuntimeError("Must call apply_gradients or minimize before creating the swapping_saver")
        chosen = global_variables() if var_list is None else list(var_list)
        named = {var.op.name: var for var in chosen}
        swapped = dict(named)
        for key, average in self._averages.items():
            if key in named and average.op.name in named:
                swapped[key], swapped[average.op.name] = average, named[key]
        return Saver(swapped, name=name, **kwargs)

    def get_slot(self, *args: Any, **kwargs: Any) -> Any:
        """That of the optimizer."""
        return self._optimizer.get_slot(*args, **kwargs)

    def variables(self) -> Any:
        """Those of the optimizer."""
        return self._optimizer.variables()


__all__ = [
    "AdamWOptimizer", "ExternalOptimizerInterface", "MomentumWOptimizer", "MovingAverageOptimizer",
    "ScipyOptimizerInterface", "extend_with_decoupled_weight_decay",
]  # fmt: skip

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "opt")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
