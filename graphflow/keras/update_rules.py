"""Steps of Keras's optimizers that `train` has none of, as optimizers of `train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.graph import IndexedSlices, Operation, Tensor, colocate_with, control_dependencies
from graphflow.opdef import emit
from graphflow.ops.control import group
from graphflow.ops.elementwise import cast
from graphflow.ops.elementwise import pow as power
from graphflow.ops.layout import gather
from graphflow.train.ftrl import FtrlOptimizer
from graphflow.train.optimizer import Optimizer, as_type
from graphflow.variables import Variable


class _OfMoments(Optimizer):
    """What keeps two moments, "m" and "v", and counts steps in a variable that is moved on after each.

    Args:
      rate: the learning rate.
      betas: how slowly the moments move.
      epsilon: what is added to the divisor.
      steps: the number of steps taken so far.
      name: the name of the slots.
    """

    def __init__(
        self, rate: Any, betas: tuple[float, float], epsilon: float, steps: Variable, name: str
    ) -> None:
        super().__init__(False, name)
        self._rate = rate
        self._betas = betas
        self._epsilon = epsilon
        self._steps = steps
        self._step: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for slot in ("m", "v"):
            for variable in var_list:
                self._zeros_slot(variable, slot, self._name)

    def _prepare(self) -> None:
        self._step = self._steps.value() + 1

    def _moments(self, variable: Any) -> tuple[Variable, Variable]:
        return self._required_slot(variable, "m"), self._required_slot(variable, "v")


class AdamaxRule(_OfMoments):
    """Adam with the largest gradient so far, which fades, in place of the second moment."""

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        first, norm = self._moments(handle)
        passed = power(self._betas[0], cast(self._step, grad.dtype))
        rates = (passed, self._rate, *self._betas, self._epsilon)
        return emit.ResourceApplyAdaMax(
            handle.handle, first.handle, norm.handle, *(as_type(rate, grad.dtype) for rate in rates), grad
        )

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        first, norm = self._moments(handle)
        beta_1, beta_2 = self._betas
        new_first = gather(first.value(), indices) * beta_1 + grad * (1.0 - beta_1)
        new_norm = emit.Maximum(gather(norm.value(), indices) * beta_2, emit.Abs(grad))
        rate = as_type(self._rate, grad.dtype) / (1.0 - power(beta_1, cast(self._step, grad.dtype)))
        with control_dependencies([new_first, new_norm]):
            return group(
                first.scatter_update(IndexedSlices(new_first, indices)),
                norm.scatter_update(IndexedSlices(new_norm, indices)),
                handle.scatter_sub(IndexedSlices(rate * (new_first / (new_norm + self._epsilon)), indices)),
            )


class NadamRule(_OfMoments):
    """Adam with Nesterov's momentum, which comes in slowly: "momentum_cache" is the product of its steps so far.

    Args:
      rate, betas, epsilon, steps, name: see `_OfMoments`.
      decay: how fast the momentum comes in.
    """

    def __init__(
        self, rate: Any, betas: tuple[float, float], epsilon: float, steps: Variable, name: str, decay: float
    ) -> None:
        super().__init__(rate, betas, epsilon, steps, name)
        self._decay = decay
        self._now: Any = None
        self._next: Any = None
        self._product: Any = None

    @property
    def cache(self) -> Variable:
        """The product of the momenta of all steps so far."""
        found = self._get_non_slot_variable("momentum_cache", self._steps.graph)
        assert found is not None
        return found

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._create_non_slot_variable(1.0, "momentum_cache", colocate_with=var_list[0])
        super()._create_slots(var_list)

    def _prepare(self) -> None:
        super()._prepare()
        cache = self.cache

        def momentum(step: Any) -> Any:
            return self._betas[0] * (1.0 - 0.5 * power(0.96, self._decay * cast(step, cache.dtype)))

        self._now, self._next = momentum(self._step), momentum(self._step + 1)
        self._product = cache.value() * self._now

    def _change(self, grad: Tensor, first: Any, second: Any) -> Any:
        """What is taken off the weights, from the gradient and the moments after it."""
        now, coming, product = (as_type(x, grad.dtype) for x in (self._now, self._next, self._product))
        mean = (1.0 - now) * (grad / (1.0 - product)) + coming * (first / (1.0 - product * coming))
        square = second / (1.0 - power(self._betas[1], cast(self._step, grad.dtype)))
        return as_type(self._rate, grad.dtype) * mean / (emit.Sqrt(square) + self._epsilon)

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        moments = [
            slot.assign(slot.value() * beta + value * (1.0 - beta))
            for slot, beta, value in zip(
                self._moments(handle), self._betas, (grad, emit.Square(grad)), strict=True
            )
        ]
        return handle.assign_sub(self._change(grad, *moments), read_value=False)

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        # All rows of the moments fade, those of the weights move only where there is a gradient.
        moments = []
        for slot, beta, value in zip(
            self._moments(handle), self._betas, (grad, emit.Square(grad)), strict=True
        ):
            with control_dependencies([slot.assign(slot.value() * beta)]):
                moments.append(slot.scatter_add(IndexedSlices(value * (1.0 - beta), indices)))
        rows = [gather(moment, indices) for moment in moments]
        change = handle.scatter_sub(IndexedSlices(self._change(grad, *rows), indices))
        return group(change, *moments)

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Operation:
        with control_dependencies(list(update_ops)), colocate_with(self.cache.op):
            moved = self.cache.assign(self._product, read_value=False)
        return group(*update_ops, moved, name=name_scope)


class FtrlRule(FtrlOptimizer):
    """FTRL with the beta of its paper, which adds to the strength of the quadratic regularization."""

    def __init__(self, beta: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._beta = beta

    def _rates(self, grad: Tensor) -> list[Tensor]:
        rate, l1, l2, *others = super()._rates(grad)
        return [rate, l1, l2 + self._beta / (2.0 * rate) if self._beta else l2, *others]
