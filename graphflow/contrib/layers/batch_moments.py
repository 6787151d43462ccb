"""Batch normalization written out: with weighted examples, averages without bias, renormalization, adjustments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphflow import nn
from graphflow.contrib.framework.variables import model_variable
from graphflow.graph import Tensor
from graphflow.initializers import ones_initializer, zeros_initializer
from graphflow.keras.smart_cond import smart_cond
from graphflow.opdef import convert_to_tensor
from graphflow.ops.elementwise import cast, clip_by_value, maximum, sqrt
from graphflow.ops.layout import reshape
from graphflow.ops.source import identity, shape, size, stop_gradient
from graphflow.train.moving_averages import assign_moving_average


def _variable(name: str, channels: int, dtype: Any, initializer: Any, collections: Any) -> Any:
    return model_variable(
        name, shape=[channels], dtype=dtype, initializer=initializer, trainable=False, collections=collections
    )


def normalized_by_moments(
    x: Tensor, at: int, decay: float, epsilon: float, beta: Any, gamma: Any, moving_initializers: Mapping[str, Any],
    is_training: Any, batch_weights: Any, zero_debias: bool, renorm: bool, renorm_clipping: Mapping[str, Any] | None,
    renorm_decay: float, adjustment: Callable[[Any], Any] | None, whole: bool, collections_of: Callable[[str], Any],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Returns the normalised inputs, and what moves the averages in training.

    Args:
      x: a tensor of known rank, whose channels stand along the axis `at`.
      decay, renorm_decay: the share of its old value that an average keeps.
      beta, gamma: what is added and multiplied by, or None.
      moving_initializers: of "moving_mean" and "moving_variance".
      batch_weights: one per example, or None.
      zero_debias: whether the average of means starts at zero, with the bias of that taken out.
      renorm: whether training is corrected by slower averages, within `renorm_clipping` ("rmin", "rmax", "dmax").
      adjustment: gives a factor and a summand for the normalised values of training, from their shape.
      whole: whether the average is of the variance of the whole that the batch is taken from.
      collections_of: the collections that a variable joins.
    """
    rank = x.shape.rank or 0
    channels = int(x.shape.as_list()[at] or 0)
    averages = [
        _variable(name, channels, x.dtype, moving_initializers.get(name, start), collections_of(name))
        for name, start in (("moving_mean", zeros_initializer()), ("moving_variance", ones_initializer()))
    ]
    slow = [
        _variable(name, channels, x.dtype, start, collections_of(name))
        for name, start in (("renorm_mean", zeros_initializer()), ("renorm_stddev", ones_initializer()))
        if renorm
    ]
    over = [axis for axis in range(rank) if axis != at]
    side = [1] * at + [channels] + [1] * (rank - at - 1)

    def laid(value: Any) -> Any:
        return value if value is None or at == rank - 1 else reshape(value, side)

    def normalised(mean: Any, variance: Any, factor: Any, summand: Any) -> Tensor:
        return nn.batch_normalization(x, laid(mean), laid(variance), laid(summand), laid(factor), epsilon)

    def of_batch() -> tuple[Tensor, Tensor]:
        if batch_weights is None:
            mean, variance = nn.moments(x, over)
        else:
            weights = reshape(convert_to_tensor(batch_weights, x.dtype), [-1, *[1] * (rank - 1)])
            mean, variance = nn.weighted_moments(x, over, weights)
        return mean, variance

    def in_training() -> tuple[Tensor, ...]:
        mean, variance = of_batch()
        factor, summand = gamma, beta

        def through(scale: Any, offset: Any) -> None:
            nonlocal factor, summand
            summand = _added(offset * factor if factor is not None else offset, summand)
            factor = scale if factor is None else scale * factor

        if adjustment is not None:
            through(*adjustment(shape(x)))
        if renorm:
            clip = renorm_clipping or {}
            deviation = sqrt(variance + epsilon)
            ratio = stop_gradient(deviation / slow[1])
            away = stop_gradient((mean - slow[0]) / slow[1])
            if clip.get("rmin") is not None or clip.get("rmax") is not None:
                low, high = clip.get("rmin"), clip.get("rmax")
                ratio = clip_by_value(ratio, 0.0 if low is None else low, 1e30 if high is None else high)
            if clip.get("dmax") is not None:
                away = clip_by_value(away, -clip["dmax"], clip["dmax"])
            through(ratio, away)
        return normalised(mean, variance, factor, summand), mean, variance

    def by_averages() -> tuple[Tensor, ...]:
        mean, variance = (identity(average) for average in averages)
        return normalised(mean, variance, gamma, beta), mean, variance

    outputs, mean, variance = smart_cond(is_training, in_training, by_averages)
    outputs.set_shape(x.shape)

    def moved() -> list[Tensor]:
        spread = variance
        if whole:
            count = cast(size(x), x.dtype) / channels
            spread = variance * (count / maximum(count - 1.0, 1.0))
        made = [
            assign_moving_average(averages[0], mean, decay, zero_debias=zero_debias),
            assign_moving_average(averages[1], spread, decay, zero_debias=False),
        ]
        if renorm:
            made.append(assign_moving_average(slow[0], mean, renorm_decay, zero_debias=False))
            deviation = sqrt(variance + epsilon)
            made.append(assign_moving_average(slow[1], deviation, renorm_decay, zero_debias=False))
        return made

    def kept() -> list[Tensor]:
        return [identity(average) for average in [*averages, *slow]]

    if isinstance(is_training, bool | int):
        return outputs, moved() if is_training else []
    return outputs, list(smart_cond(is_training, moved, kept))


def _added(first: Any, second: Any) -> Any:
    return first if second is None else first + second
