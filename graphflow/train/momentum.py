"""Gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class MomentumOptimizer(Optimizer):
    """`accum = momentum * accum + gradient; var -= learning_rate * accum`.

    With `use_nesterov`, `var -= learning_rate * (gradient + momentum * accum)`, as TensorFlow has it.

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      momentum: likewise.
      use_locking: accepted.
      name: the name of the update operations and of the slot ("w/Momentum").
      use_nesterov: see above.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov
        self._learning_rate_tensor: Tensor | None = None
        self._momentum_tensor: Tensor | None = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for variable in var_list:
            self._zeros_slot(variable, "momentum", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )
        self._momentum_tensor = convert_to_tensor(self._call_if_callable(self._momentum), name="momentum")

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyMomentum(
            handle.handle,
            self._required_slot(handle, "momentum").handle,
            as_type(self._learning_rate_tensor, grad.dtype),
            grad,
            as_type(self._momentum_tensor, grad.dtype),
            use_locking=self._use_locking,
            use_nesterov=self._use_nesterov,
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return emit.ResourceSparseApplyMomentum(
            handle.handle,
            self._required_slot(handle, "momentum").handle,
            as_type(self._learning_rate_tensor, grad.dtype),
            grad,
            indices,
            as_type(self._momentum_tensor, grad.dtype),
            use_locking=self._use_locking,
            use_nesterov=self._use_nesterov,
        )
