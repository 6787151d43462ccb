"""Adadelta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class AdadeltaOptimizer(Optimizer):
    """Adadelta (Zeiler 2012).

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      rho: likewise; how slowly the means move.
      epsilon: likewise.
      use_locking: accepted.
      name: the name of the update operations and slots ("w/Adadelta", "w/Adadelta_1").
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._rho = rho
        self._epsilon = epsilon
        self._tensors: list[Tensor] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for variable in var_list:
            self._zeros_slot(variable, "accum", self._name)
            self._zeros_slot(variable, "accum_update", self._name)

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for value, name in ((self._lr, "lr"), (self._rho, "rho"), (self._epsilon, "epsilon"))
        ]

    def _inputs(self, variable: Any, grad: Tensor) -> list[Tensor]:
        slots = [self._required_slot(variable, name).handle for name in ("accum", "accum_update")]
        return [variable.handle, *slots, *(as_type(tensor, grad.dtype) for tensor in self._tensors), grad]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyAdadelta(*self._inputs(handle, grad), use_locking=self._use_locking)

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return emit.ResourceSparseApplyAdadelta(
            *self._inputs(handle, grad), indices, use_locking=self._use_locking
        )
