"""Adagrad and its dual-averaging form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow import dtypes
from graphflow.graph import Tensor
from graphflow.initializers import constant_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class AdagradOptimizer(Optimizer):
    """`accum += gradient**2; var -= learning_rate * gradient / sqrt(accum)`.

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      initial_accumulator_value: where the accumulator starts; positive.
      use_locking: accepted.
      name: the name of the update operations and of the slot ("w/Adagrad").

    Raises:
      ValueError: unless `initial_accumulator_value` is positive.
    """

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value
        self._learning_rate_tensor: Tensor | None = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        start = constant_initializer(self._initial_accumulator_value)
        for variable in var_list:
            self._get_or_make_slot_with_initializer(
                variable, start, variable.shape, variable.dtype, "accumulator", self._name
            )

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyAdagrad(
            handle.handle,
            self._required_slot(handle, "accumulator").handle,
            as_type(self._learning_rate_tensor, grad.dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return emit.ResourceSparseApplyAdagrad(
            handle.handle,
            self._required_slot(handle, "accumulator").handle,
            as_type(self._learning_rate_tensor, grad.dtype),
            grad,
            indices,
            use_locking=self._use_locking,
        )


class AdagradDAOptimizer(Optimizer):
    """Adagrad with dual averaging, which takes regularization into account for features not seen lately.

    Args:
      learning_rate: a number or a tensor.
      global_step: an int64 variable that counts the steps.
      initial_gradient_squared_accumulator_value: positive.
      l1_regularization_strength: at least zero.
      l2_regularization_strength: at least zero.
      use_locking: accepted.
      name: the name of the update operations and slots.
    """

    def __init__(
        self,
        learning_rate: Any,
        global_step: Any,
        initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "AdagradDA",
    ) -> None:
        if initial_gradient_squared_accumulator_value <= 0.0:
            raise ValueError(
                "initial_gradient_squared_accumulator_value must be positive:"
                f" {initial_gradient_squared_accumulator_value}"
            )
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial = initial_gradient_squared_accumulator_value
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._global_step = global_step
        self._learning_rate_tensor: Tensor | None = None
        self._global_step_tensor: Tensor | None = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        start = constant_initializer(self._initial)
        for variable in var_list:
            self._zeros_slot(variable, "gradient_accumulator", self._name)
            self._get_or_make_slot_with_initializer(
                variable, start, variable.shape, variable.dtype, "gradient_squared_accumulator", self._name
            )

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(self._learning_rate, name="learning_rate")
        # The first update happens at step 1.
        self._global_step_tensor = emit.Add(as_type(self._global_step, dtypes.int64), 1)

    def _arguments(self, grad: Tensor) -> list[Any]:
        return [
            as_type(self._learning_rate_tensor, grad.dtype),
            as_type(self._l1, grad.dtype),
            as_type(self._l2, grad.dtype),
            self._global_step_tensor,
        ]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyAdagradDA(
            handle.handle,
            self._required_slot(handle, "gradient_accumulator").handle,
            self._required_slot(handle, "gradient_squared_accumulator").handle,
            grad,
            *self._arguments(grad),
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return emit.ResourceSparseApplyAdagradDA(
            handle.handle,
            self._required_slot(handle, "gradient_accumulator").handle,
            self._required_slot(handle, "gradient_squared_accumulator").handle,
            grad,
            indices,
            *self._arguments(grad),
            use_locking=self._use_locking,
        )
