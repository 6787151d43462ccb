"""Layers over three axes that `layers` has over two: pooling, and the transposed convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow import layers, nn
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.contrib.layers import utils
from graphflow.contrib.layers.initializers import xavier_initializer
from graphflow.contrib.layers.layers import applied, finished, getter, keras_format
from graphflow.graph import Tensor, name_scope
from graphflow.initializers import zeros_initializer
from graphflow.opdef import convert_to_tensor
from graphflow.variable_scope import variable_scope

_XAVIER, _ZEROS = xavier_initializer(), zeros_initializer()


def _pooled(
    pool: Any, default: str, inputs: Any, kernel_size: Any, stride: Any, padding: str, data_format: str,
    collections: Any, scope: Any,
) -> Tensor:  # fmt: skip
    if data_format not in ("NCDHW", "NDHWC"):
        raise ValueError("data_format has to be either NCDHW or NDHWC.")
    window, steps = (list(utils.n_positive_integers(3, value)) for value in (kernel_size, stride))
    first = data_format == "NCDHW"
    with name_scope(scope, default, [inputs]) as sc:
        outputs = pool(
            convert_to_tensor(inputs), [1, 1, *window] if first else [1, *window, 1],
            [1, 1, *steps] if first else [1, *steps, 1], padding, data_format=data_format,
        )  # fmt: skip
        made: Tensor = utils.collect_named_outputs(collections, sc, outputs)
        return made


@add_arg_scope
def max_pool3d(
    inputs: Any, kernel_size: Any, stride: Any = 2, padding: str = "VALID", data_format: str = "NDHWC",
    outputs_collections: Any = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the largest element of each window of volumes.

    Args:
      inputs: [batch, depth, height, width, channels], or with channels second.
      kernel_size, stride: a number, or one per axis.
      padding: "VALID" or "SAME".
      data_format: "NDHWC" or "NCDHW".
      outputs_collections: collections that the result joins.
      scope: a name scope.

    Raises:
      ValueError: for another data format.
    """
    return _pooled(
        nn.max_pool3d, "MaxPool3D", inputs, kernel_size, stride, padding, data_format, outputs_collections, scope
    )  # fmt: skip


@add_arg_scope
def avg_pool3d(
    inputs: Any, kernel_size: Any, stride: Any = 2, padding: str = "VALID", data_format: str = "NDHWC",
    outputs_collections: Any = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of volumes; the arguments are those of `max_pool3d`."""
    return _pooled(
        nn.avg_pool3d, "AvgPool3D", inputs, kernel_size, stride, padding, data_format, outputs_collections,
        scope,
    )  # fmt: skip


@add_arg_scope
def convolution3d_transpose(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str = "NDHWC", activation_fn: Any = nn.relu, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the transposed convolution over three axes; the arguments are those of `convolution`.

    Raises:
      ValueError: for another data format.
    """
    if data_format not in ("NCDHW", "NDHWC"):
        raise ValueError("data_format has to be either NCDHW or NDHWC.")
    names = getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "Conv3d_transpose", [inputs], reuse=reuse, custom_getter=names) as sc:
        x = convert_to_tensor(inputs)
        layer = layers.Conv3DTranspose(
            filters=num_outputs, kernel_size=kernel_size, strides=stride, padding=padding,
            data_format=keras_format(data_format), activation=None,
            use_bias=normalizer_fn is None and biases_initializer is not None,
            kernel_initializer=weights_initializer, bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer, bias_regularizer=biases_regularizer, trainable=trainable,
            name=sc.name, dtype=x.dtype, _scope=sc, _reuse=reuse,
        )  # fmt: skip
        outputs = applied(layer, x, variables_collections)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


conv3d_transpose = convolution3d_transpose

__all__ = ["avg_pool3d", "conv3d_transpose", "convolution3d_transpose", "max_pool3d"]
