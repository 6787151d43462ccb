"""`optimize_loss`: one call for a training step, with clipping, noise, decay and summaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.graph import GraphKeys, IndexedSlices, Tensor, control_dependencies, get_collection
from graphflow.initializers import constant_initializer, zeros_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import verify_tensor_all_finite
from graphflow.ops.elementwise import add, exp, log, maximum, minimum, multiply, square
from graphflow.ops.linalg import clip_by_global_norm, global_norm
from graphflow.ops.random import truncated_normal
from graphflow.ops.source import identity
from graphflow.summary import operations as summary
from graphflow.train.adagrad import AdagradOptimizer
from graphflow.train.adam import AdamOptimizer
from graphflow.train.ftrl import FtrlOptimizer
from graphflow.train.gradient_descent import GradientDescentOptimizer
from graphflow.train.momentum import MomentumOptimizer
from graphflow.train.moving_averages import assign_moving_average
from graphflow.train.optimizer import Optimizer
from graphflow.train.rmsprop import RMSPropOptimizer
from graphflow.train.training_util import assert_global_step, get_global_step
from graphflow.variable_scope import get_variable, variable_scope
from graphflow.variables import trainable_variables

OPTIMIZER_CLS_NAMES: dict[str, Callable[..., Optimizer]] = {
    "Adagrad": AdagradOptimizer,
    "Adam": AdamOptimizer,
    "Ftrl": FtrlOptimizer,
    "Momentum": lambda learning_rate: MomentumOptimizer(learning_rate, momentum=0.9),
    "RMSProp": RMSPropOptimizer,
    "SGD": GradientDescentOptimizer,
}
OPTIMIZER_SUMMARIES = [
    "learning_rate", "loss", "gradients", "gradient_norm", "global_gradient_norm",
]  # fmt: skip


def _rate(learning_rate: Any) -> Any:
    if learning_rate is None:
        return None
    if isinstance(learning_rate, Tensor) and learning_rate.shape.rank == 0:
        return learning_rate
    if isinstance(learning_rate, int | float) and not isinstance(learning_rate, bool):
        if learning_rate < 0.0:
            raise ValueError(f"Invalid learning_rate {learning_rate}.")
        return get_variable(
            "learning_rate", [], trainable=False, initializer=constant_initializer(float(learning_rate))
        )
    raise ValueError(
        f"Learning rate should be 0d Tensor or float. Got {learning_rate!r} of type {type(learning_rate)}"
    )


def _optimizer(optimizer: Any, rate: Any) -> Optimizer:
    if isinstance(optimizer, str):
        if rate is None:
            raise ValueError(
                f"Learning rate is None, but should be specified if optimizer is string ({optimizer})."
            )
        if optimizer not in OPTIMIZER_CLS_NAMES:
            raise ValueError(
                f"Optimizer name should be one of [{', '.join(OPTIMIZER_CLS_NAMES)}], you provided {optimizer}."
            )
        return OPTIMIZER_CLS_NAMES[optimizer](learning_rate=rate)
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        if rate is None:
            raise ValueError(
                f"Learning rate is None, but should be specified if optimizer is class ({optimizer})."
            )
        made: Optimizer = optimizer(learning_rate=rate)  # type: ignore[call-arg]
        return made
    if isinstance(optimizer, Optimizer):
        return optimizer
    if callable(optimizer):
        found = optimizer(rate) if rate is not None else optimizer()
        if not isinstance(found, Optimizer):
            raise ValueError(
                f"Optimizer is unrecognized ({found!r}), a function of the learning rate must return one"
            )
        return found
    raise ValueError(
        f"Unrecognized optimizer: function should return subclass of Optimizer. Got {optimizer!r}."
    )


def optimize_loss(
    loss: Any, global_step: Any, learning_rate: Any, optimizer: Any, gradient_noise_scale: float | None = None,
    gradient_multipliers: Mapping[Any, Any] | None = None, clip_gradients: Any = None,
    learning_rate_decay_fn: Callable[[Any, Any], Any] | None = None, update_ops: Sequence[Any] | None = None,
    variables: Sequence[Any] | None = None, name: str | None = None, summaries: Sequence[str] | None = None,
    colocate_gradients_with_ops: bool = False, increment_global_step: bool = True,
) -> Tensor:  # fmt: skip
    """Returns the loss after a step of training: fetching it trains.

    Args:
      loss: a scalar.
      global_step: the step counter; default that of the graph.
      learning_rate: a number, a scalar tensor, or None.
      optimizer: "Adagrad", "Adam", "Ftrl", "Momentum", "RMSProp" or "SGD"; a class, an object, or a function of the
        learning rate.
      gradient_noise_scale: the scale of noise that is added to gradients.
      gradient_multipliers: factors of gradients, by variable or its name.
      clip_gradients: the greatest global norm, or a function of the pairs of gradients and variables.
      learning_rate_decay_fn: a function of rate and step that gives the rate.
      update_ops: what runs before the step; default the collection of updates.
      variables: what is trained; default all that are trainable.
      name: the variable scope.
      summaries: of what there are summaries; default the learning rate, the loss and norms.
      colocate_gradients_with_ops: accepted.
      increment_global_step: whether the counter moves on.

    Raises:
      ValueError: if an argument is of another kind, or there is no gradient.
    """
    loss = convert_to_tensor(loss)
    if global_step is None:
        global_step = get_global_step()
    else:
        assert_global_step(global_step)
    with variable_scope(name, "OptimizeLoss", [loss, global_step]):
        before = list(get_collection(GraphKeys.UPDATE_OPS)) if update_ops is None else list(update_ops)
        if before:
            with control_dependencies(before):
                loss = identity(loss)
        rate = _rate(learning_rate)
        chosen = (
            list(summaries) if summaries is not None else ["loss", "learning_rate", "global_gradient_norm"]
        )
        for each in chosen:
            if each not in OPTIMIZER_SUMMARIES:
                raise ValueError(
                    f"Summaries should be one of [{', '.join(OPTIMIZER_SUMMARIES)}], you provided {each}."
                )
        if rate is not None and learning_rate_decay_fn is not None:
            if global_step is None:
                raise ValueError("global_step is required for learning_rate_decay_fn.")
            rate = learning_rate_decay_fn(rate, global_step)
        if rate is not None and "learning_rate" in chosen:
            summary.scalar("learning_rate", rate)
        made = _optimizer(optimizer, rate)
        trained = trainable_variables() if variables is None else list(variables)
        pairs = made.compute_gradients(loss, trained, colocate_gradients_with_ops=colocate_gradients_with_ops)
        if gradient_noise_scale is not None:
            pairs = [(_noisy(grad, gradient_noise_scale), var) for grad, var in pairs]
        if gradient_multipliers is not None:
            pairs = _multiplied(pairs, gradient_multipliers)
            if not pairs:
                raise ValueError(
                    "Empty list of (gradient, var) pairs encountered. This is most likely due to an improper value of "
                    "gradient_multipliers."
                )
        if "global_gradient_norm" in chosen or "gradient_norm" in chosen:
            summary.scalar("global_norm/gradient_norm", global_norm([grad for grad, _ in pairs]))
        if isinstance(clip_gradients, int | float) and not isinstance(clip_gradients, bool):
            clipped, _ = clip_by_global_norm([grad for grad, _ in pairs], clip_gradients)
            pairs = list(zip(clipped, [var for _, var in pairs], strict=True))
        elif callable(clip_gradients):
            pairs = clip_gradients(pairs)
        elif clip_gradients is not None:
            raise ValueError(f"Unknown type {type(clip_gradients)} for clip_gradients")
        if "loss" in chosen:
            summary.scalar("loss", loss)
        for grad, var in pairs:
            values = grad.values if isinstance(grad, IndexedSlices) else grad
            label = var.op.name
            if values is not None and "gradients" in chosen:
                summary.histogram(f"gradients/{label}", values)
            if values is not None and "gradient_norm" in chosen:
                summary.scalar(f"gradient_norm/{label}", global_norm([values]))
        if clip_gradients is not None and ("global_gradient_norm" in chosen or "gradient_norm" in chosen):
            summary.scalar("global_norm/clipped_gradient_norm", global_norm([grad for grad, _ in pairs]))
        step = made.apply_gradients(
            pairs, global_step=global_step if increment_global_step else None, name="train"
        )
        final = verify_tensor_all_finite(loss, msg="Loss is inf or nan")
        with control_dependencies([step, final]):
            return identity(final)


def _noisy(grad: Any, scale: float) -> Any:
    if grad is None:
        return None
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(_noisy(grad.values, scale), grad.indices, grad.dense_shape)
    return grad + truncated_normal(emit.Shape(grad)) * scale


def _multiplied(pairs: Sequence[tuple[Any, Any]], factors: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    found = []
    for grad, var in pairs:
        factor = factors.get(var, factors.get(var.op.name))
        if grad is not None and factor is not None:
            factor = convert_to_tensor(factor, grad.dtype)
            grad = (
                IndexedSlices(grad.values * factor, grad.indices, grad.dense_shape)
                if isinstance(grad, IndexedSlices)
                else multiply(grad, factor)
            )
        found.append((grad, var))
    return found


def adaptive_clipping_fn(
    std_factor: float = 2.0, decay: float = 0.95, static_max_norm: float | None = None, global_step: Any = None,
    report_summary: bool = False, epsilon: float = 1e-8, name: str | None = None,
) -> Callable[[Sequence[tuple[Any, Any]]], list[tuple[Any, Any]]]:  # fmt: skip
    """Returns a function that clips gradients whose norm is far above what it used to be.

    Args:
      std_factor: how many standard deviations of the logarithm of the norm are let through.
      decay: the share of their old value that mean and square of it keep.
      static_max_norm: an upper bound as well.
      global_step: the step counter, which makes the first means follow faster.
      report_summary: whether the bound has a summary.
      epsilon: added before the logarithm.
      name: the variable scope.
    """

    def clip(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        grads, variables = [grad for grad, _ in pairs], [var for _, var in pairs]
        with variable_scope(name, "AdaptiveMaxNorm", [global_norm(grads)]):
            norm = global_norm(grads)
            logarithm = log(norm + epsilon)
            share: Any = decay
            if global_step is not None:
                n = emit.Cast(convert_to_tensor(global_step), DstT=dtypes.float32)
                share = minimum(decay, n / (n + 1.0))
            means = []
            for label, value in (("mean", logarithm), ("sq_mean", square(logarithm))):
                kept = get_variable(label, [], initializer=zeros_initializer(), trainable=False)
                means.append(assign_moving_average(kept, value, share, zero_debias=False))
            mean, squares = (convert_to_tensor(value) for value in means)
            spread = emit.Sqrt(maximum(epsilon, squares - square(mean)))
            most = exp(add(mean, std_factor * spread))
            if static_max_norm is not None:
                most = minimum(most, static_max_norm)
            if report_summary:
                summary.scalar("global_norm/adaptive_max_gradient_norm", most)
            factor = minimum(1.0, most / (norm + epsilon))
        return _multiplied(
            list(zip(grads, variables, strict=True)), dict.fromkeys([v.op.name for v in variables], factor)
        )

    return clip


__all__ = ["OPTIMIZER_CLS_NAMES", "OPTIMIZER_SUMMARIES", "adaptive_clipping_fn", "optimize_loss"]
