"""Proximal forms of gradient descent and Adagrad, for L1 and L2 regularization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Tensor
from graphflow.initializers import constant_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class ProximalGradientDescentOptimizer(Optimizer):
    """Gradient descent followed by the proximal step of L1 and L2 regularization.

    Args:
      learning_rate: a number or a tensor.
      l1_regularization_strength: at least zero.
      l2_regularization_strength: at least zero.
      use_locking: accepted.
      name: the name of the update operations.
    """

    def __init__(
        self,
        learning_rate: Any,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalGradientDescent",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._tensors: list[Tensor] = []

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for value, name in (
                (self._learning_rate, "learning_rate"),
                (self._l1, "l1_regularization_strength"),
                (self._l2, "l2_regularization_strength"),
            )
        ]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        rates = [as_type(tensor, grad.dtype) for tensor in self._tensors]
        return emit.ResourceApplyProximalGradientDescent(
            handle.handle, *rates, grad, use_locking=self._use_locking
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        rates = [as_type(tensor, grad.dtype) for tensor in self._tensors]
        return emit.ResourceSparseApplyProximalGradientDescent(
            handle.handle, *rates, grad, indices, use_locking=self._use_locking
        )


class ProximalAdagradOptimizer(Optimizer):
    """Adagrad followed by the proximal step of L1 and L2 regularization.

    Args:
      learning_rate: a number or a tensor.
      initial_accumulator_value: positive.
      l1_regularization_strength: at least zero.
      l2_regularization_strength: at least zero.
      use_locking: accepted.
      name: the name of the update operations and of the slot.

    Raises:
      ValueError: unless `initial_accumulator_value` is positive.
    """

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalAdagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial = initial_accumulator_value
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._tensors: list[Tensor] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        start = constant_initializer(self._initial)
        for variable in var_list:
            self._get_or_make_slot_with_initializer(
                variable, start, variable.shape, variable.dtype, "accumulator", self._name
            )

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for value, name in (
                (self._learning_rate, "learning_rate"),
                (self._l1, "l1_regularization_strength"),
                (self._l2, "l2_regularization_strength"),
            )
        ]

    def _inputs(self, variable: Any, grad: Tensor) -> list[Tensor]:
        accumulator = self._required_slot(variable, "accumulator").handle
        return [
            variable.handle,
            accumulator,
            *(as_type(tensor, grad.dtype) for tensor in self._tensors),
            grad,
        ]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyProximalAdagrad(*self._inputs(handle, grad), use_locking=self._use_locking)

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return emit.ResourceSparseApplyProximalAdagrad(
            *self._inputs(handle, grad), indices, use_locking=self._use_locking
        )
