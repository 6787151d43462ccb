"""Layers on images and sequences that programs use seldom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow import nn
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.contrib.framework.variables import model_variable
from graphflow.contrib.layers import utils
from graphflow.contrib.layers.initializers import xavier_initializer
from graphflow.contrib.layers.layers import finished
from graphflow.gradients import custom_gradient
from graphflow.graph import Tensor, name_scope
from graphflow.initializers import zeros_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.convolution import depthwise_conv2d
from graphflow.ops.elementwise import not_equal, where
from graphflow.ops.layout import reshape, tile, transpose
from graphflow.ops.scatter import gather_nd
from graphflow.ops.source import shape
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.variable_scope import variable_scope

_XAVIER, _ZEROS = xavier_initializer(), zeros_initializer()


@add_arg_scope
def convolution2d_in_plane(
    inputs: Any, kernel_size: Any, stride: Any = 1, padding: str = "SAME", activation_fn: Any = nn.relu,
    normalizer_fn: Any = None, normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _XAVIER, weights_regularizer: Any = None, biases_initializer: Any = _ZEROS,
    biases_regularizer: Any = None, reuse: Any = None, variables_collections: Any = None,
    outputs_collections: Any = None, trainable: bool = True, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns each channel convolved with the same filter.

    Args:
      inputs: [batch, height, width, channels].
      kernel_size, stride: a number, or one for height and one for width.
      padding: "SAME" or "VALID".

    The others are those of `fully_connected`; the weights are [height, width, 1, 1].
    """
    with variable_scope(scope, "ConvInPlane", [inputs], reuse=reuse) as sc:
        x = convert_to_tensor(inputs)
        channels = utils.last_dimension(x.shape, min_rank=4)
        weights = model_variable(
            "weights", shape=[*utils.two_element_tuple(kernel_size), 1, 1], dtype=x.dtype,
            initializer=weights_initializer, regularizer=weights_regularizer, trainable=trainable,
            collections=utils.get_variable_collections(variables_collections, "weights"),
        )  # fmt: skip
        steps = [1, *utils.two_element_tuple(stride), 1]
        outputs = depthwise_conv2d(x, tile(weights, [1, 1, channels, 1]), steps, padding)
        if normalizer_fn is None and biases_initializer is not None:
            biases = model_variable(
                "biases", shape=[channels], dtype=x.dtype, initializer=biases_initializer,
                regularizer=biases_regularizer, trainable=trainable,
                collections=utils.get_variable_collections(variables_collections, "biases"),
            )  # fmt: skip
            outputs = nn.bias_add(outputs, biases)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


@add_arg_scope
def images_to_sequence(
    inputs: Any, data_format: str = "NHWC", outputs_collections: Any = None, scope: Any = None
) -> Tensor:
    """Returns the columns of images, one after another: [width, batch * height, channels].

    Raises:
      ValueError: for a data format other than NHWC and NCHW.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    with name_scope(scope, "ImagesToSequence", [inputs]) as sc:
        x = convert_to_tensor(inputs)
        if data_format == "NCHW":
            x = transpose(x, [0, 2, 3, 1])
        _, _, width, channels = x.shape.as_list()
        rows = reshape(x, [-1, shape(x)[2] if width is None else width, channels])
        outputs = transpose(rows, [1, 0, 2])
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def sequence_to_images(
    inputs: Any, height: int, output_data_format: str = "channels_last", outputs_collections: Any = None,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the images whose columns follow one another; see `images_to_sequence`.

    Args:
      inputs: [width, batch * height, channels].
      height: that of the images.
      output_data_format: "channels_last" or "channels_first".
    """
    with name_scope(scope, "SequenceToImages", [inputs]) as sc:
        x = convert_to_tensor(inputs)
        width, rows, channels = x.shape.as_list()
        batch = -1 if rows is None or width is None else rows // height
        wide = shape(x)[0] if width is None else width
        outputs = reshape(transpose(x, [1, 0, 2]), [batch, height, wide, channels])
        if output_data_format == "channels_first":
            outputs = transpose(outputs, [0, 3, 1, 2])
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def dense_to_sparse(
    tensor: Any, eos_token: Any = 0, outputs_collections: Any = None, scope: Any = None
) -> SparseTensor:
    """Returns a sparse tensor of all elements that are not `eos_token`."""
    with name_scope(scope, "dense_to_sparse", [tensor]) as sc:
        x = convert_to_tensor(tensor)
        places = where(not_equal(x, convert_to_tensor(eos_token, x.dtype)))
        sparse = SparseTensor(places, gather_nd(x, places), emit.Shape(x, out_type="int64"))
        made: SparseTensor = utils.collect_named_outputs(outputs_collections, sc, sparse)
        return made


def scale_gradient(inputs: Any, gradient_multiplier: Any) -> Tensor:
    """Returns the inputs; the gradient with respect to them is multiplied by a number or tensor."""
    factor = convert_to_tensor(gradient_multiplier)

    @custom_gradient
    def scaled(x: Any) -> Any:
        return emit.Identity(x), lambda dy: dy * factor

    result: Tensor = scaled(convert_to_tensor(inputs))
    return result


conv2d_in_plane = convolution2d_in_plane

__all__ = [
    "conv2d_in_plane", "convolution2d_in_plane", "dense_to_sparse", "images_to_sequence", "scale_gradient",
    "sequence_to_images",
]  # fmt: skip
