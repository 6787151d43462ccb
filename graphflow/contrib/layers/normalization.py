"""Normalizers that programs use seldom: over groups of channels, over channels by one another, onto the unit ball."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import nn
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.contrib.layers.layers import finished, scaled
from graphflow.graph import Tensor, name_scope
from graphflow.keras import base_layer
from graphflow.layers.base import Layer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import maximum, multiply, rsqrt, sqrt, square
from graphflow.ops.layout import reshape, transpose
from graphflow.ops.linalg import matmul
from graphflow.ops.reduction import reduce_mean, reduce_sum
from graphflow.ops.source import shape
from graphflow.variable_scope import variable_scope


@add_arg_scope
def group_norm(
    inputs: Any, groups: int = 32, channels_axis: int = -1, reduction_axes: Sequence[int] = (-3, -2),
    center: bool = True, scale: bool = True, epsilon: float = 1e-6, activation_fn: Any = None,
    param_initializers: Mapping[str, Any] | None = None, reuse: Any = None, variables_collections: Any = None,
    outputs_collections: Any = None, trainable: bool = True, scope: Any = None, mean_close_to_zero: bool = False,
) -> Tensor:  # fmt: skip
    """Normalises groups of channels of each example by their moments.

    Args:
      inputs: of any rank above 1; sizes of the channels and of the axes that are reduced must be known.
      groups: into how many the channels are divided.
      channels_axis: the axis of the channels.
      reduction_axes: the other axes that the moments are taken over.
      mean_close_to_zero: whether the variance is the mean of squares less the squared mean, in one pass.

    The others are those of `batch_norm`.

    Raises:
      ValueError: if the axes do not fit, or the number of channels is no multiple of the groups.
    """
    with variable_scope(scope, "GroupNorm", [inputs], reuse=reuse) as sc:
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is None:
            raise ValueError(f"Inputs {x.name} has undefined rank.")
        if not -rank <= channels_axis < rank or any(not -rank <= axis < rank for axis in reduction_axes):
            raise ValueError("Axis is out of bounds.")
        at = channels_axis % rank
        reduced = [axis % rank for axis in reduction_axes]
        if at in reduced:
            raise ValueError(f"channels_axis {at} and reduction_axes {reduced} must be mutually exclusive.")
        sizes = x.shape.as_list()
        channels = sizes[at]
        if channels is None:
            raise ValueError(f"Inputs {x.name} has undefined channel dimension: {x.shape}.")
        if any(sizes[axis] is None for axis in reduced):
            raise ValueError(f"Inputs {x.name} has undefined dimensions along {reduced}: {x.shape}.")
        if groups > channels:
            raise ValueError(f"Invalid groups {groups} for {channels} channels.")
        if channels % groups:
            raise ValueError(f"{channels} channels is not commensurate with {groups} groups.")
        beta, gamma = scaled(
            x, [channels], center, scale, variables_collections, trainable, param_initializers
        )
        apart = [groups, channels // groups]
        laid = [1] * at + apart + [1] * (rank - at - 1)
        beta, gamma = (None if each is None else reshape(each, laid) for each in (beta, gamma))
        given = shape(x)
        split: Any = [*sizes[:at], *apart, *sizes[at + 1 :]]
        if split.count(None) > 1:
            split = emit.ConcatV2([given[:at], np.array(apart, np.int32), given[at + 1 :]], 0)
        else:
            split = [-1 if size is None else size for size in split]
        parts = reshape(x, split)
        over = sorted([at + 1] + [axis if axis < at else axis + 1 for axis in reduced])
        if mean_close_to_zero:
            mean = reduce_mean(parts, over, keepdims=True)
            variance = reduce_mean(square(parts), over, keepdims=True) - square(mean)
        else:
            mean, variance = nn.moments(parts, over, keep_dims=True)
        outputs = reshape(nn.batch_normalization(parts, mean, variance, beta, gamma, epsilon), given)
        outputs.set_shape(x.shape)
        return finished(outputs, activation_fn, None, None, outputs_collections, sc)


class GDN(Layer):
    """Divides each channel by a root of a weighted sum of squares of all: `x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)`.

    Both are kept so that they stay positive: as square roots, `reparam_offset` apart from zero.

    Args:
      inverse: whether the channels are multiplied by the root.
      beta_min: the least that beta may become.
      gamma_init: what gamma has on its diagonal at first.
      reparam_offset: how far from zero the variables stay.
      data_format: "channels_last" or "channels_first".
      activity_regularizer: a function of the result.
      trainable: whether the variables are trained.
      name: the name.
    """

    def __init__(
        self, inverse: bool = False, beta_min: float = 1e-6, gamma_init: float = 0.1,
        reparam_offset: float = 2**-18, data_format: str = "channels_last", activity_regularizer: Any = None,
        trainable: bool = True, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(trainable=trainable, name=name, activity_regularizer=activity_regularizer, **kwargs)
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"Unknown data_format: {data_format!r}")
        self.inverse, self.data_format = inverse, data_format
        self._least_beta, self._gamma, self._offset = beta_min, gamma_init, reparam_offset
        self.input_spec = base_layer.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Makes the variables `beta` and `gamma`."""
        sizes = input_shape.as_list()
        channels = sizes[1 if self.data_format == "channels_first" else -1]
        if channels is None:
            raise ValueError("The channel dimension of the inputs to `GDN` must be defined.")
        pedestal = self._offset**2
        root = np.sqrt

        def gamma(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
            return root(self._gamma * np.eye(channels) + pedestal).astype(np.float32)

        def beta(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
            return np.full([channels], root(1.0 + pedestal), np.float32)

        made = [
            self.add_weight(name, shape=sides, initializer=initial)
            for name, sides, initial in (
                ("reparam_beta", [channels], beta), ("reparam_gamma", [channels, channels], gamma),
            )
        ]  # fmt: skip
        bounds = (root(self._least_beta + pedestal), self._offset)
        self.beta, self.gamma = (
            square(maximum(variable, bound)) - pedestal for variable, bound in zip(made, bounds, strict=True)
        )
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        """Returns the normalised inputs."""
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is None or rank not in (2, 3, 4, 5):
            raise ValueError(f"GDN takes inputs of rank 2 to 5, got {x.shape}")
        first = self.data_format == "channels_first" and rank > 2
        back = [0, rank - 1, *range(1, rank - 1)]
        last = transpose(x, [0, *range(2, rank), 1]) if first else x
        rows = reshape(square(last), [-1, last.shape.as_list()[-1]])
        pool = reshape(matmul(rows, self.gamma) + self.beta, shape(last))
        factor = sqrt(pool) if self.inverse else rsqrt(pool)
        outputs = multiply(last, factor)
        outputs = transpose(outputs, back) if first else outputs
        outputs.set_shape(x.shape)
        return outputs


def gdn(
    inputs: Any, inverse: bool = False, beta_min: float = 1e-6, gamma_init: float = 0.1,
    reparam_offset: float = 2**-18, data_format: str = "channels_last", activity_regularizer: Any = None,
    trainable: bool = True, name: str = "gdn", reuse: Any = None,
) -> Tensor:  # fmt: skip
    """Applies a layer `GDN`, whose arguments these are."""
    x = convert_to_tensor(inputs)
    layer = GDN(
        inverse=inverse, beta_min=beta_min, gamma_init=gamma_init, reparam_offset=reparam_offset,
        data_format=data_format, activity_regularizer=activity_regularizer, trainable=trainable, name=name,
        dtype=x.dtype, _scope=name, _reuse=reuse,
    )  # fmt: skip
    result: Tensor = layer.apply(x)
    return result


def poincare_normalize(x: Any, axis: Any = 1, epsilon: float = 1e-5, name: str | None = None) -> Tensor:
    """Returns vectors along an axis, those longer than `1 - epsilon` made as short as that."""
    with name_scope(name, "poincare_normalize", [x]) as scope:
        value = convert_to_tensor(x, name="x")
        squares = reduce_sum(square(value), axis, keepdims=True)
        inverse = multiply(1.0 - epsilon, rsqrt(maximum(squares, 1e-12)))
        return multiply(value, emit.Minimum(convert_to_tensor(1.0, value.dtype), inverse), name=scope)


__all__ = ["GDN", "gdn", "group_norm", "poincare_normalize"]
