"""`layers`: batch normalisation."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.initializers import ones_initializer, zeros_initializer
from graphflow.keras.layers import normalization as keras_layers
from graphflow.layers import base

_ONES, _ZEROS = ones_initializer(), zeros_initializer()


class BatchNormalization(keras_layers.BatchNormalization, base.Layer):
    """Normalises by the moments of the batch in training, by moving averages else.

    The arguments are those of `keras.layers.BatchNormalization`. What moves the averages joins
    `GraphKeys.UPDATE_OPS`, and training has to run it.
    """

    def __init__(
        self, axis: Any = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: Any = _ZEROS, gamma_initializer: Any = _ONES, moving_mean_initializer: Any = _ZEROS,
        moving_variance_initializer: Any = _ONES, beta_regularizer: Any = None, gamma_regularizer: Any = None,
        beta_constraint: Any = None, gamma_constraint: Any = None, renorm: bool = False, renorm_clipping: Any = None,
        renorm_momentum: float = 0.99, fused: bool | None = None, trainable: bool = True,
        virtual_batch_size: int | None = None, adjustment: Any = None, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            axis, momentum, epsilon, center, scale, beta_initializer, gamma_initializer, moving_mean_initializer,
            moving_variance_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
            renorm, renorm_clipping, renorm_momentum, fused, trainable, virtual_batch_size, adjustment, name,
            **kwargs,
        )  # fmt: skip

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the normalised inputs."""
        return super().call(inputs, training=training)


def batch_normalization(
    inputs: Any, axis: Any = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True,
    scale: bool = True, beta_initializer: Any = _ZEROS, gamma_initializer: Any = _ONES,
    moving_mean_initializer: Any = _ZEROS, moving_variance_initializer: Any = _ONES, beta_regularizer: Any = None,
    gamma_regularizer: Any = None, beta_constraint: Any = None, gamma_constraint: Any = None, training: Any = False,
    trainable: bool = True, name: str | None = None, reuse: Any = None, renorm: bool = False,
    renorm_clipping: Any = None, renorm_momentum: float = 0.99, fused: bool | None = None,
    virtual_batch_size: int | None = None, adjustment: Any = None,
) -> Tensor:  # fmt: skip
    """Normalises by the moments of the batch where `training`, by moving averages else.

    What moves the averages joins `GraphKeys.UPDATE_OPS`: let the training step depend on it. `training` is a bool or
    a scalar bool tensor; the other arguments are those of `keras.layers.BatchNormalization`; `reuse` takes the
    weights of a layer of that name again.
    """
    layer = BatchNormalization(
        axis, momentum, epsilon, center, scale, beta_initializer, gamma_initializer, moving_mean_initializer,
        moving_variance_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint, renorm,
        renorm_clipping, renorm_momentum, fused, trainable, virtual_batch_size, adjustment, name, _reuse=reuse,
        _scope=name,
    )  # fmt: skip
    result: Tensor = layer(inputs, training=training)
    return result


BatchNorm = BatchNormalization
batch_norm = batch_normalization
