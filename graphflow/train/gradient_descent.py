"""Plain gradient descent."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit
from graphflow.train.optimizer import Optimizer, as_type


class GradientDescentOptimizer(Optimizer):
    """`var -= learning_rate * gradient`.

    Args:
      learning_rate: a number, a tensor, or a callable that returns one.
      use_locking: accepted.
      name: the name of the update operations.
    """

    def __init__(self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent") -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._learning_rate_tensor: Tensor | None = None

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return emit.ResourceApplyGradientDescent(
            handle.handle,
            as_type(self._learning_rate_tensor, grad.dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        rate = as_type(self._learning_rate_tensor, grad.dtype)
        # Equal indices add up in the scatter itself.
        return emit.ResourceScatterAdd(handle.handle, indices, emit.Neg(emit.Mul(grad, rate)))
