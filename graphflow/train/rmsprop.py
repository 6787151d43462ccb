"""RMSProp, plain and centered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Tensor
from graphflow.initializers import ones_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class RMSPropOptimizer(Optimizer):
    """Divides the gradient by a running mean of its magnitude, with momentum.

    `ms = decay * ms + (1 - decay) * gradient**2`,
    `mom = momentum * mom + learning_rate * gradient / sqrt(ms + epsilon)`, `var -= mom`;
    centered, `ms - mg**2` stands for `ms` under the root, `mg` being the running mean of the gradient.

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      decay: likewise.
      momentum: likewise.
      epsilon: likewise.
      use_locking: accepted.
      centered: see above.
      name: the name of the update operations and slots ("w/RMSProp", "w/RMSProp_1").
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._decay = decay
        self._momentum = momentum
        self._epsilon = epsilon
        self._centered = centered
        self._tensors: list[Tensor] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for variable in var_list:
            self._get_or_make_slot_with_initializer(
                variable, ones_initializer(), variable.shape, variable.dtype, "rms", self._name
            )
            if self._centered:
                self._zeros_slot(variable, "mg", self._name)
            self._zeros_slot(variable, "momentum", self._name)

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for value, name in (
                (self._learning_rate, "learning_rate"),
                (self._decay, "decay"),
                (self._momentum, "momentum"),
                (self._epsilon, "epsilon"),
            )
        ]

    def _handles(self, variable: Any) -> list[Tensor]:
        names = ("mg", "rms", "momentum") if self._centered else ("rms", "momentum")
        return [variable.handle, *(self._required_slot(variable, name).handle for name in names)]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        apply = emit.ResourceApplyCenteredRMSProp if self._centered else emit.ResourceApplyRMSProp
        rates = [as_type(tensor, grad.dtype) for tensor in self._tensors]
        return apply(*self._handles(handle), *rates, grad, use_locking=self._use_locking)

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        apply = emit.ResourceSparseApplyCenteredRMSProp if self._centered else emit.ResourceSparseApplyRMSProp
        rates = [as_type(tensor, grad.dtype) for tensor in self._tensors]
        return apply(*self._handles(handle), *rates, grad, indices, use_locking=self._use_locking)
