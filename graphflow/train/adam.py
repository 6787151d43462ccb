"""Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import Operation, Tensor, colocate_with, control_dependencies
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.train.optimizer import Optimizer, as_type
from graphflow.variables import Variable


class AdamOptimizer(Optimizer):
    """Adam (Kingma and Ba 2015) in the form before section 2.1 of the paper.

    `lr_t = learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t)`, `m = beta1 * m + (1 - beta1) * gradient`,
    `v = beta2 * v + (1 - beta2) * gradient**2`, `var -= lr_t * m / (sqrt(v) + epsilon)`.

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      beta1: likewise; how slowly the mean moves.
      beta2: likewise; how slowly the mean square moves.
      epsilon: likewise.
      use_locking: accepted.
      name: the name of the update operations and slots ("w/Adam", "w/Adam_1").
      use_own_namescope_for_non_slot_vars: whether "beta1_power" and "beta2_power" get a scope of that name.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
        use_own_namescope_for_non_slot_vars: bool = False,
    ) -> None:
        super().__init__(use_locking, name, use_own_namescope_for_non_slot_vars)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._lr_t: Tensor | None = None
        self._beta1_t: Tensor | None = None
        self._beta2_t: Tensor | None = None
        self._epsilon_t: Tensor | None = None

    def _get_beta_accumulators(self) -> tuple[Variable, Variable]:
        first = self._get_non_slot_variable("beta1_power")
        second = self._get_non_slot_variable("beta2_power")
        assert first is not None and second is not None
        return first, second

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        first = min(var_list, key=lambda variable: str(variable.name))
        self._create_non_slot_variable(
            self._call_if_callable(self._beta1), "beta1_power", colocate_with=first
        )
        self._create_non_slot_variable(
            self._call_if_callable(self._beta2), "beta2_power", colocate_with=first
        )
        for variable in var_list:
            self._zeros_slot(variable, "m", self._name)
            self._zeros_slot(variable, "v", self._name)

    def _prepare(self) -> None:
        self._lr_t = convert_to_tensor(self._call_if_callable(self._lr), name="learning_rate")
        self._beta1_t = convert_to_tensor(self._call_if_callable(self._beta1), name="beta1")
        self._beta2_t = convert_to_tensor(self._call_if_callable(self._beta2), name="beta2")
        self._epsilon_t = convert_to_tensor(self._call_if_callable(self._epsilon), name="epsilon")

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        beta1_power, beta2_power = self._get_beta_accumulators()
        rates = (beta1_power, beta2_power, self._lr_t, self._beta1_t, self._beta2_t, self._epsilon_t)
        return emit.ResourceApplyAdam(
            handle.handle,
            self._required_slot(handle, "m").handle,
            self._required_slot(handle, "v").handle,
            *(as_type(rate, grad.dtype) for rate in rates),
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        # Every row forgets and moves, with a gradient or without: this is the dense step, rows without one being zero.
        sizes = emit.Shape(handle.value())
        height = emit.StridedSlice(sizes, [0], [1], [1], shrink_axis_mask=1)
        return self._resource_apply_dense(emit.UnsortedSegmentSum(grad, indices, height), handle)

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        if type(self)._resource_apply_sparse is not AdamOptimizer._resource_apply_sparse:
            return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices)
        # Rows that stand twice are summed on their way to the whole table.
        return self._resource_apply_sparse(grad, handle, indices)

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Operation:
        beta1_power, beta2_power = self._get_beta_accumulators()
        with control_dependencies(list(update_ops)), colocate_with(beta1_power.op):
            powers = [
                power.assign(emit.Mul(power.value(), as_type(beta, power.dtype)), read_value=False)
                for power, beta in ((beta1_power, self._beta1_t), (beta2_power, self._beta2_t))
            ]
        return group(*update_ops, *powers, name=name_scope)
