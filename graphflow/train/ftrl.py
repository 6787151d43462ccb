"""FTRL-proximal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Tensor
from graphflow.initializers import constant_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class FtrlOptimizer(Optimizer):
    """Follow the regularized leader (McMahan et al. 2013).

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      learning_rate_power: at most zero.
      initial_accumulator_value: at least zero.
      l1_regularization_strength: at least zero.
      l2_regularization_strength: at least zero.
      use_locking: accepted.
      name: the name of the update operations and slots.
      accum_name: the name of the accumulator's slot; default `name`.
      linear_name: the name of the linear slot; default `name`.
      l2_shrinkage_regularization_strength: at least zero; shrinks by the size of the weight.

    Raises:
      ValueError: for arguments outside these.
    """

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
    ) -> None:
        super().__init__(use_locking, name)
        if learning_rate_power > 0.0:
            raise ValueError(f"learning_rate_power {learning_rate_power} needs to be negative or zero")
        for what, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ValueError(f"{what} {value} needs to be positive or zero")
        self._learning_rate = learning_rate
        self._learning_rate_power = learning_rate_power
        self._initial = initial_accumulator_value
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._shrinkage = l2_shrinkage_regularization_strength
        self._accum_name = accum_name
        self._linear_name = linear_name
        self._learning_rate_tensor: Tensor | None = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        start = constant_initializer(self._initial)
        for variable in var_list:
            self._get_or_make_slot_with_initializer(
                variable, start, variable.shape, variable.dtype, "accum", self._accum_name or self._name
            )
            self._zeros_slot(variable, "linear", self._linear_name or self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )

    def _handles(self, variable: Any) -> list[Tensor]:
        return [
            variable.handle,
            *(self._required_slot(variable, name).handle for name in ("accum", "linear")),
        ]

    def _rates(self, grad: Tensor) -> list[Tensor]:
        strengths = [self._l1, self._l2, *([self._shrinkage] if self._shrinkage > 0.0 else [])]
        values = [self._learning_rate_tensor, *strengths, self._learning_rate_power]
        return [as_type(value, grad.dtype) for value in values]

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        apply = emit.ResourceApplyFtrlV2 if self._shrinkage > 0.0 else emit.ResourceApplyFtrl
        return apply(*self._handles(handle), grad, *self._rates(grad), use_locking=self._use_locking)

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        apply = emit.ResourceSparseApplyFtrlV2 if self._shrinkage > 0.0 else emit.ResourceSparseApplyFtrl
        return apply(*self._handles(handle), grad, indices, *self._rates(grad), use_locking=self._use_locking)
