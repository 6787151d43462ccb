"""Learning rates that change with the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.random import random_normal
from graphflow.train.optimizer import as_type


def _start(learning_rate: Any, global_step: Any, what: str) -> tuple[Tensor, DType, Tensor]:
    if global_step is None:
        raise ValueError(f"global_step is required for {what}.")
    rate = convert_to_tensor(learning_rate, name="learning_rate")
    return rate, rate.dtype, as_type(global_step, rate.dtype)


def _one(dtype: DType) -> Tensor:
    return convert_to_tensor(1, dtype=dtype)


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns `learning_rate * decay_rate ** (global_step / decay_steps)`.

    Args:
      learning_rate: the initial rate, a scalar.
      global_step: the step, a scalar.
      decay_steps: how many steps one power takes.
      decay_rate: the base.
      staircase: whether the exponent is rounded down.
      name: the name of the operations.

    Returns:
      A scalar of the dtype of `learning_rate`.
    """
    with name_scope(name, "ExponentialDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "exponential_decay")
        power = _fraction(step, decay_steps, dtype, staircase)
        result: Tensor = emit.Mul(rate, emit.Pow(as_type(decay_rate, dtype), power))
        return result


def _fraction(step: Tensor, decay_steps: Any, dtype: DType, staircase: bool) -> Tensor:
    fraction: Tensor = emit.RealDiv(step, as_type(decay_steps, dtype))
    if staircase:
        fraction = emit.Floor(fraction)
    return fraction


def piecewise_constant(
    x: Any, boundaries: Sequence[Any], values: Sequence[Any], name: str | None = None
) -> Tensor:
    """Returns `values[i]` where `boundaries[i - 1] < x <= boundaries[i]`.

    Args:
      x: a scalar, usually the global step.
      boundaries: increasing numbers of the dtype of `x`.
      values: one number or tensor more than boundaries.
      name: the name of the operations.

    Raises:
      ValueError: if the lengths or dtypes do not fit.
    """
    if len(boundaries) != len(values) - 1:
        raise ValueError("The length of boundaries should be 1 less than the length of values")
    with name_scope(name, "PiecewiseConstant"):
        x = convert_to_tensor(x)
        edges = [convert_to_tensor(boundary) for boundary in boundaries]
        for i, edge in enumerate(edges):
            if edge.dtype is dtypes.int32 and x.dtype is dtypes.int64:
                edges[i] = as_type(edge, x.dtype)
            elif edge.dtype is not x.dtype:
                raise ValueError(f"Boundaries ({edge.dtype}) must have the same dtype as x ({x.dtype}).")
        choices = [convert_to_tensor(value) for value in values]
        for choice in choices:
            if choice.dtype is not choices[0].dtype:
                raise ValueError(
                    f"Values must have elements all with the same dtype ({choices[0].dtype} vs {choice.dtype})."
                )
        if not edges:
            return choices[0]
        passed = emit.Cast(emit.Greater(x, emit.Pack(edges)), DstT=dtypes.int32)
        index = emit.Sum(passed, convert_to_tensor([0], dtype=dtypes.int32))
        result: Tensor = emit.GatherV2(emit.Pack(choices), index, 0)
        return result


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns `(learning_rate - end) * (1 - step / decay_steps) ** power + end`.

    Args:
      learning_rate: the initial rate, a scalar.
      global_step: the step, a scalar.
      decay_steps: when the end is reached.
      end_learning_rate: the final rate.
      power: the exponent.
      cycle: whether the decay begins anew, longer by `decay_steps` each time, instead of staying at the end.
      name: the name of the operations.
    """
    with name_scope(name, "PolynomialDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "polynomial_decay")
        steps = as_type(decay_steps, dtype)
        end = as_type(end_learning_rate, dtype)
        if cycle:
            rounds = emit.Maximum(emit.Ceil(emit.RealDiv(step, steps)), _one(dtype))
            steps = emit.Mul(steps, rounds)
        else:
            step = emit.Minimum(step, steps)
        left = emit.Sub(_one(dtype), emit.RealDiv(step, steps))
        result: Tensor = emit.AddV2(emit.Mul(emit.Sub(rate, end), emit.Pow(left, as_type(power, dtype))), end)
        return result


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns `learning_rate * exp(-decay_rate * global_step / decay_steps)`; see `exponential_decay`."""
    with name_scope(name, "NaturalExpDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "natural_exp_decay")
        fraction = _fraction(step, decay_steps, dtype, staircase)
        result: Tensor = emit.Mul(rate, emit.Exp(emit.Neg(emit.Mul(as_type(decay_rate, dtype), fraction))))
        return result


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns `learning_rate / (1 + decay_rate * global_step / decay_steps)`; see `exponential_decay`."""
    with name_scope(name, "InverseTimeDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "inverse_time_decay")
        fraction = _fraction(step, decay_steps, dtype, staircase)
        result: Tensor = emit.RealDiv(
            rate, emit.AddV2(_one(dtype), emit.Mul(as_type(decay_rate, dtype), fraction))
        )
        return result


def _cosine(fraction: Tensor, dtype: DType) -> Tensor:
    angle = emit.Mul(convert_to_tensor(math.pi, dtype=dtype), fraction)
    wave: Tensor = emit.Mul(convert_to_tensor(0.5, dtype=dtype), emit.AddV2(_one(dtype), emit.Cos(angle)))
    return wave


def _above(alpha: Any, wave: Tensor, dtype: DType) -> Tensor:
    floor = as_type(alpha, dtype)
    result: Tensor = emit.AddV2(emit.Mul(emit.Sub(_one(dtype), floor), wave), floor)
    return result


def cosine_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, alpha: Any = 0.0, name: str | None = None
) -> Tensor:
    """Returns a rate that falls along half a cosine to `alpha * learning_rate` in `decay_steps` steps."""
    with name_scope(name, "CosineDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "cosine_decay")
        steps = as_type(decay_steps, dtype)
        fraction = emit.RealDiv(emit.Minimum(step, steps), steps)
        result: Tensor = emit.Mul(rate, _above(alpha, _cosine(fraction, dtype), dtype))
        return result


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: Any = 2.0,
    m_mul: Any = 1.0,
    alpha: Any = 0.0,
    name: str | None = None,
) -> Tensor:
    """Returns a cosine decay that begins anew, each time `t_mul` as long and `m_mul` as high."""
    with name_scope(name, "SGDRDecay"):
        rate, dtype, step = _start(learning_rate, global_step, "cosine_decay_restarts")
        first = as_type(first_decay_steps, dtype)
        growth, height = as_type(t_mul, dtype), as_type(m_mul, dtype)
        one = _one(dtype)
        completed = emit.RealDiv(step, first)
        if not isinstance(t_mul, (int, float)) or t_mul != 1.0:
            # Restart i ends after first * (1 - t**(i + 1)) / (1 - t) steps.
            inner = emit.Sub(one, emit.Mul(completed, emit.Sub(one, growth)))
            restart = emit.Floor(emit.RealDiv(emit.Log(inner), emit.Log(growth)))
            before = emit.RealDiv(emit.Sub(one, emit.Pow(growth, restart)), emit.Sub(one, growth))
            fraction = emit.RealDiv(emit.Sub(completed, before), emit.Pow(growth, restart))
        else:
            restart = emit.Floor(completed)
            fraction = emit.Sub(completed, restart)
        wave = emit.Mul(emit.Pow(height, restart), _cosine(fraction, dtype))
        result: Tensor = emit.Mul(rate, _above(alpha, wave, dtype))
        return result


def _linear_cosine(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: Any,
    alpha: Any,
    beta: Any,
    noise: tuple[Any, Any] | None,
    what: str,
) -> Tensor:
    rate, dtype, step = _start(learning_rate, global_step, what)
    steps = as_type(decay_steps, dtype)
    one = _one(dtype)
    step = emit.Minimum(step, steps)
    linear = emit.RealDiv(emit.Sub(steps, step), steps)
    if noise is not None:
        initial_variance, variance_decay = (as_type(value, dtype) for value in noise)
        variance = emit.RealDiv(initial_variance, emit.Pow(emit.AddV2(one, step), variance_decay))
        linear = emit.AddV2(linear, emit.Mul(random_normal([], dtype=dtype), emit.Sqrt(variance)))
    turns = emit.Mul(convert_to_tensor(2.0, dtype=dtype), as_type(num_periods, dtype))
    wave = _cosine(emit.Mul(turns, emit.RealDiv(step, steps)), dtype)
    height = emit.AddV2(emit.Mul(emit.AddV2(as_type(alpha, dtype), linear), wave), as_type(beta, dtype))
    result: Tensor = emit.Mul(rate, height)
    return result


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: Any = 0.5,
    alpha: Any = 0.0,
    beta: Any = 0.001,
    name: str | None = None,
) -> Tensor:
    """Returns `learning_rate * ((alpha + linear) * cosine + beta)` (Bello et al. 2017)."""
    with name_scope(name, "LinearCosineDecay"):
        return _linear_cosine(
            learning_rate, global_step, decay_steps, num_periods, alpha, beta, None, "linear_cosine_decay"
        )


def noisy_linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    initial_variance: Any = 1.0,
    variance_decay: Any = 0.55,
    num_periods: Any = 0.5,
    alpha: Any = 0.0,
    beta: Any = 0.001,
    name: str | None = None,
) -> Tensor:
    """As `linear_cosine_decay`, with noise whose variance falls as the steps go on."""
    with name_scope(name, "NoisyLinearCosineDecay"):
        noise = (initial_variance, variance_decay)
        return _linear_cosine(
            learning_rate,
            global_step,
            decay_steps,
            num_periods,
            alpha,
            beta,
            noise,
            "noisy_linear_cosine_decay",
        )


# TF1's later name.
piecewise_constant_decay = piecewise_constant
