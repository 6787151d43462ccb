"""`layers`: dense, dropout, flatten."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.initializers import zeros_initializer
from graphflow.keras.layers import core
from graphflow.layers import base


class Dense(core.Dense, base.Layer):
    """`activation(inputs @ kernel + bias)`; the arguments are those of `keras.layers.Dense`."""

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = None,
        bias_initializer: Any = zeros_initializer(), kernel_regularizer: Any = None, bias_regularizer: Any = None,  # noqa: B008
        activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
        trainable: bool = True, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, trainable=trainable, name=name, **kwargs,
        )  # fmt: skip


def dense(
    inputs: Any, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = None,
    bias_initializer: Any = zeros_initializer(), kernel_regularizer: Any = None, bias_regularizer: Any = None,  # noqa: B008
    activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
    trainable: bool = True, name: str | None = None, reuse: Any = None,
) -> Tensor:  # fmt: skip
    """Returns `activation(inputs @ kernel + bias)` over the last axis, [..., units].

    Args:
      inputs: [..., in]; a size of `in` must be known.
      units: the size of the output's last axis.
      activation: a function; default none.
      use_bias: whether a bias is added.
      kernel_initializer: default that of the variable scope.
      bias_initializer: of the bias.
      kernel_regularizer: its result for the kernel joins `GraphKeys.REGULARIZATION_LOSSES`.
      bias_regularizer: likewise for the bias.
      activity_regularizer: likewise for the output.
      kernel_constraint: applied to the kernel after each step.
      bias_constraint: applied to the bias after each step.
      trainable: whether the weights join `GraphKeys.TRAINABLE_VARIABLES`.
      name: the variable scope; default "dense", made unique.
      reuse: whether the weights of a layer of that name are used again.
    """
    layer = Dense(
        units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
        activity_regularizer, kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    result: Tensor = layer(inputs)
    return result


class Dropout(core.Dropout, base.Layer):
    """Sets a share `rate` of the inputs to zero in training; see `keras.layers.Dropout`."""

    def __init__(
        self, rate: Any = 0.5, noise_shape: Any = None, seed: int | None = None, name: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(rate, noise_shape, seed, name=name, **kwargs)

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs with some dropped where `training`."""
        return super().call(inputs, training=training)


def dropout(
    inputs: Any, rate: Any = 0.5, noise_shape: Any = None, seed: int | None = None, training: Any = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Sets a share of the inputs to zero in training and scales up the others.

    Args:
      inputs: a floating tensor.
      rate: the share that is dropped; a number or a scalar tensor.
      noise_shape: the shape of the mask, which broadcasts.
      seed: the op's seed.
      training: a bool or a scalar bool tensor.
      name: a name.
    """
    result: Tensor = Dropout(rate, noise_shape, seed, name)(inputs, training=training)
    return result


class Flatten(core.Flatten, base.Layer):
    """All axes after the first as one; see `keras.layers.Flatten`."""


def flatten(inputs: Any, name: str | None = None, data_format: str = "channels_last") -> Tensor:
    """Returns the inputs with all axes after the first as one, [batch, n]; channels last wherever they were."""
    result: Tensor = Flatten(data_format=data_format, name=name)(inputs)
    return result
