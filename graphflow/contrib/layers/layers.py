"""Layers with argument scopes, normalizers and collections.

Weights are called `weights` and `biases`, join the collection of model variables, and stand in a variable scope that
the caller may name. What they compute is that of `graphflow.layers`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, layers, nn
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.contrib.framework.variables import model_variable
from graphflow.contrib.layers import utils
from graphflow.contrib.layers.batch_moments import normalized_by_moments
from graphflow.contrib.layers.initializers import xavier_initializer
from graphflow.graph import (
    GraphKeys,
    Tensor,
    add_to_collections,
    control_dependencies,
    get_collection_ref,
    name_scope,
)
from graphflow.initializers import ones_initializer, zeros_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.convolution import avg_pool, depthwise_conv2d, max_pool
from graphflow.ops.elementwise import multiply, rsqrt, square
from graphflow.ops.layout import concat, expand_dims, one_hot, reshape, squeeze, transpose
from graphflow.ops.nn import embedding_lookup
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.source import identity, shape
from graphflow.variable_scope import variable_scope

_RELU = nn.relu
_XAVIER, _ZEROS = xavier_initializer(), zeros_initializer()


def _listed(collections: Any) -> list[Any]:
    if collections is None:
        return []
    return list(collections) if isinstance(collections, list | tuple | set) else [collections]


def getter(rename: Mapping[str, str] | None = None) -> Callable[..., Any]:
    """What `get_variable` goes through inside a layer: names and collections of `contrib`."""

    def getter(
        getter: Any, name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None,
        trainable: bool = True, collections: Any = None, caching_device: Any = None, partitioner: Any = None,
        use_resource: bool | None = None, **others: Any,
    ) -> Any:  # fmt: skip
        head, slash, last = name.rpartition("/")
        if rename and last in rename:
            name = head + slash + rename[last]
        return model_variable(
            name, shape=shape, dtype=dtype, initializer=initializer, regularizer=regularizer, collections=collections,
            trainable=trainable, caching_device=caching_device, partitioner=partitioner, custom_getter=getter,
            use_resource=use_resource,
        )  # fmt: skip

    return getter


def _collect(variable: Any, collections: Any, name: str) -> None:
    """Puts a variable into what the caller names; a dict says so by the name of the variable."""
    chosen = utils.get_variable_collections(collections, name)
    if variable is not None and chosen:
        add_to_collections(_listed(chosen), variable)


def finished(
    outputs: Any, activation_fn: Any, normalizer_fn: Any, normalizer_params: Any, collections: Any, scope: Any
) -> Tensor:
    if normalizer_fn is not None:
        outputs = normalizer_fn(outputs, **(normalizer_params or {}))
    if activation_fn is not None:
        outputs = activation_fn(outputs)
    result: Tensor = utils.collect_named_outputs(collections, scope.name, outputs)
    return result


def applied(layer: Any, x: Any, collections: Any, **arguments: Any) -> Any:
    outputs = layer.apply(x, **arguments)
    _collect(layer.kernel, collections, "weights")
    if layer.use_bias:
        _collect(layer.bias, collections, "biases")
    return outputs


# ---------------------------------------------------------------------------- products


@add_arg_scope
def fully_connected(
    inputs: Any, num_outputs: int, activation_fn: Any = _RELU, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns `activation_fn(inputs @ weights + biases)` over the last axis.

    Args:
      inputs: [..., in].
      num_outputs: how many outputs.
      activation_fn: a function of the sums; None: none.
      normalizer_fn: what takes the place of the biases, such as `batch_norm`.
      normalizer_params: its arguments.
      weights_initializer, weights_regularizer: of the weights [in, out].
      biases_initializer, biases_regularizer: of the biases; no initializer: no biases.
      reuse: whether the weights must exist already.
      variables_collections: collections that the variables join; a dict says so by name.
      outputs_collections: collections that the result joins.
      trainable: whether the variables are trained.
      scope: the variable scope.

    Raises:
      ValueError: if `num_outputs` is no integer, or the last size of the inputs is unknown.
    """
    if not hasattr(num_outputs, "__index__"):
        raise ValueError(f"num_outputs type should be one of integers, got {num_outputs!r}.")
    names = getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "fully_connected", [inputs], reuse=reuse, custom_getter=names) as sc:
        x = convert_to_tensor(inputs)
        layer = layers.Dense(
            int(num_outputs), activation=None, use_bias=normalizer_fn is None and biases_initializer is not None,
            kernel_initializer=weights_initializer, bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer, bias_regularizer=biases_regularizer, trainable=trainable,
            name=sc.name, dtype=x.dtype, _scope=sc, _reuse=reuse,
        )  # fmt: skip
        outputs = applied(layer, x, variables_collections)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


linear = functools.partial(fully_connected, activation_fn=None)
relu = functools.partial(fully_connected, activation_fn=nn.relu)
relu6 = functools.partial(fully_connected, activation_fn=nn.relu6)

_CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}


def keras_format(data_format: str | None) -> str:
    return "channels_first" if data_format and data_format.startswith("NC") else "channels_last"


@add_arg_scope
def convolution(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str | None = None, rate: Any = 1, activation_fn: Any = _RELU, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None, conv_dims: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns the convolution of inputs over one to three axes, with biases or a normalizer, and an activation.

    Args:
      inputs: [batch, ..., channels], or with channels second as `data_format` says.
      num_outputs: how many filters.
      kernel_size, stride, rate: a number, or one per axis.
      padding: "SAME" or "VALID".
      data_format: such as "NHWC" or "NCHW".
      conv_dims: over how many axes; default as the inputs have.

    The others are those of `fully_connected`.

    Raises:
      ValueError: for another rank or data format.
    """
    if data_format not in (None, "NWC", "NCW", "NHWC", "NCHW", "NDHWC", "NCDHW"):
        raise ValueError(f"Invalid data_format: {data_format!r}")
    names = getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "Conv", [inputs], reuse=reuse, custom_getter=names) as sc:
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is None or rank - 2 not in _CONVOLUTIONS:
            raise ValueError(f"Convolution not supported for input with rank {rank}")
        if conv_dims is not None and conv_dims + 2 != rank:
            raise ValueError(f"Convolution expects input with rank {conv_dims + 2}, got {rank}")
        layer = _CONVOLUTIONS[rank - 2](
            filters=num_outputs, kernel_size=kernel_size, strides=stride, padding=padding,
            data_format=keras_format(data_format), dilation_rate=rate, activation=None,
            use_bias=normalizer_fn is None and biases_initializer is not None,
            kernel_initializer=weights_initializer, bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer, bias_regularizer=biases_regularizer, trainable=trainable,
            name=sc.name, dtype=x.dtype, _scope=sc, _reuse=reuse,
        )  # fmt: skip
        outputs = applied(layer, x, variables_collections)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


@add_arg_scope
def convolution1d(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str | None = None, rate: Any = 1, activation_fn: Any = _RELU, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """`convolution` over one axis."""
    return _convolved(1, locals())


@add_arg_scope
def convolution2d(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str | None = None, rate: Any = 1, activation_fn: Any = _RELU, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """`convolution` over two axes."""
    return _convolved(2, locals())


@add_arg_scope
def convolution3d(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str | None = None, rate: Any = 1, activation_fn: Any = _RELU, normalizer_fn: Any = None,
    normalizer_params: Mapping[str, Any] | None = None, weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None, biases_initializer: Any = _ZEROS, biases_regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """`convolution` over three axes."""
    return _convolved(3, locals())


def _convolved(axes: int, arguments: dict[str, Any]) -> Tensor:
    result: Tensor = convolution(**arguments, conv_dims=axes)
    return result


@add_arg_scope
def convolution2d_transpose(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME", data_format: str = "NHWC",
    activation_fn: Any = _RELU, normalizer_fn: Any = None, normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _XAVIER, weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS, biases_regularizer: Any = None, reuse: Any = None,
    variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the transposed convolution over two axes; the arguments are those of `convolution`."""
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    names = getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "Conv2d_transpose", [inputs], reuse=reuse, custom_getter=names) as sc:
        x = convert_to_tensor(inputs)
        layer = layers.Conv2DTranspose(
            filters=num_outputs, kernel_size=kernel_size, strides=stride, padding=padding,
            data_format=keras_format(data_format), activation=None,
            use_bias=normalizer_fn is None and biases_initializer is not None,
            kernel_initializer=weights_initializer, bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer, bias_regularizer=biases_regularizer, trainable=trainable,
            name=sc.name, dtype=x.dtype, _scope=sc, _reuse=reuse,
        )  # fmt: skip
        outputs = applied(layer, x, variables_collections)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


@add_arg_scope
def separable_convolution2d(
    inputs: Any, num_outputs: int | None, kernel_size: Any, depth_multiplier: int = 1, stride: Any = 1,
    padding: str = "SAME", data_format: str = "NHWC", rate: Any = 1, activation_fn: Any = _RELU,
    normalizer_fn: Any = None, normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _XAVIER, pointwise_initializer: Any = None, weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS, biases_regularizer: Any = None, reuse: Any = None,
    variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns a convolution of each channel by itself, then one by one that mixes them.

    Args:
      num_outputs: how many filters mix the channels; None: only the first half.
      depth_multiplier: how many filters each channel has.
      pointwise_initializer: of the filters that mix; default `weights_initializer`.

    The others are those of `convolution`.
    """
    renamed = {
        "bias": "biases",
        "depthwise_kernel": "depthwise_weights",
        "pointwise_kernel": "pointwise_weights",
    }
    with variable_scope(scope, "SeparableConv2d", [inputs], reuse=reuse, custom_getter=getter(renamed)) as sc:
        x = convert_to_tensor(inputs)
        use_bias = normalizer_fn is None and biases_initializer is not None
        if num_outputs is not None:
            layer = layers.SeparableConv2D(
                filters=num_outputs, kernel_size=kernel_size, strides=stride, padding=padding,
                data_format=keras_format(data_format), dilation_rate=utils.two_element_tuple(rate), activation=None,
                depth_multiplier=depth_multiplier, use_bias=use_bias, depthwise_initializer=weights_initializer,
                pointwise_initializer=pointwise_initializer or weights_initializer,
                depthwise_regularizer=weights_regularizer, pointwise_regularizer=weights_regularizer,
                bias_initializer=biases_initializer, bias_regularizer=biases_regularizer, trainable=trainable,
                name=sc.name, dtype=x.dtype, _scope=sc, _reuse=reuse,
            )  # fmt: skip
            outputs = layer.apply(x)
            _collect(layer.depthwise_kernel, variables_collections, "weights")
            _collect(layer.pointwise_kernel, variables_collections, "weights")
            if use_bias:
                _collect(layer.bias, variables_collections, "biases")
            return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)
        channels = utils.channel_dimension(x.shape, data_format, 4)
        window, steps = utils.two_element_tuple(kernel_size), utils.two_element_tuple(stride)
        weights = model_variable(
            "depthwise_weights", shape=[*window, channels, depth_multiplier], dtype=x.dtype,
            initializer=weights_initializer, regularizer=weights_regularizer, trainable=trainable,
            collections=utils.get_variable_collections(variables_collections, "weights"),
        )  # fmt: skip
        strides = [1, 1, *steps] if data_format.startswith("NC") else [1, *steps, 1]
        outputs = depthwise_conv2d(
            x, weights, strides, padding, rate=list(utils.two_element_tuple(rate)), data_format=data_format
        )
        if use_bias:
            biases = model_variable(
                "biases", shape=[channels * depth_multiplier], dtype=x.dtype, initializer=biases_initializer,
                regularizer=biases_regularizer, trainable=trainable,
                collections=utils.get_variable_collections(variables_collections, "biases"),
            )  # fmt: skip
            outputs = nn.bias_add(outputs, biases, data_format=data_format)
        return finished(outputs, activation_fn, normalizer_fn, normalizer_params, outputs_collections, sc)


# ---------------------------------------------------------------------------- pooling and shapes


def _pooled(pool: Any, inputs: Any, kernel_size: Any, stride: Any, padding: str, data_format: str) -> Tensor:
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    window, steps = utils.two_element_tuple(kernel_size), utils.two_element_tuple(stride)
    first = data_format == "NCHW"
    sizes = [1, 1, *window] if first else [1, *window, 1]
    strides = [1, 1, *steps] if first else [1, *steps, 1]
    result: Tensor = pool(inputs, sizes, strides, padding, data_format=data_format)
    return result


@add_arg_scope
def max_pool2d(
    inputs: Any, kernel_size: Any, stride: Any = 2, padding: str = "VALID", data_format: str = "NHWC",
    outputs_collections: Any = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the largest element of each window.

    Args:
      inputs: images, in the order that `data_format` says.
      kernel_size, stride: a number, or one for height and one for width.
      padding: "VALID" or "SAME".
      data_format: "NHWC" or "NCHW".
      outputs_collections: collections that the result joins.
      scope: a name scope.
    """
    with name_scope(scope, "MaxPool2D", [inputs]) as sc:
        outputs = _pooled(max_pool, convert_to_tensor(inputs), kernel_size, stride, padding, data_format)
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def avg_pool2d(
    inputs: Any, kernel_size: Any, stride: Any = 2, padding: str = "VALID", data_format: str = "NHWC",
    outputs_collections: Any = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window; the arguments are those of `max_pool2d`."""
    with name_scope(scope, "AvgPool2D", [inputs]) as sc:
        outputs = _pooled(avg_pool, convert_to_tensor(inputs), kernel_size, stride, padding, data_format)
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def pool(
    inputs: Any, kernel_size: Any, pooling_type: str, padding: str = "VALID", data_format: str | None = None,
    dilation_rate: Any = 1, stride: Any = 1, outputs_collections: Any = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the largest element ("MAX") or the mean ("AVG") of each window, over any axes; see `nn.pool`."""
    with name_scope(scope, f"{pooling_type.lower()}_pool", [inputs]) as sc:
        x = convert_to_tensor(inputs)
        axes = (x.shape.rank or 3) - 2
        sizes = [
            list(utils.n_positive_integers(axes, value)) for value in (kernel_size, stride, dilation_rate)
        ]
        outputs = nn.pool(x, sizes[0], pooling_type, padding, dilation_rate=sizes[2], strides=sizes[1],
                         data_format=data_format, name=sc)  # fmt: skip
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def flatten(inputs: Any, outputs_collections: Any = None, scope: Any = None) -> Tensor:
    """Returns [batch, all others]."""
    with name_scope(scope, "Flatten", [inputs]) as sc:
        outputs = layers.flatten(convert_to_tensor(inputs))
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def dropout(
    inputs: Any, keep_prob: Any = 0.5, noise_shape: Any = None, is_training: Any = True,
    outputs_collections: Any = None, scope: Any = None, seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns inputs of which some are set to zero in training, the others made larger.

    Args:
      inputs: a tensor.
      keep_prob: the probability that an element stays.
      noise_shape: of the random choices; sizes of one are shared along an axis.
      is_training: a bool or a scalar bool tensor.
      outputs_collections: collections that the result joins.
      scope: a variable scope.
      seed: the op's seed.
    """
    with variable_scope(scope, "Dropout", [inputs], custom_getter=getter()) as sc:
        x = convert_to_tensor(inputs)
        layer = layers.Dropout(
            rate=1 - keep_prob, noise_shape=noise_shape, seed=seed, name=sc.name, _scope=sc
        )
        outputs = layer.apply(x, training=is_training)
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc.name, outputs)
        return made


@add_arg_scope
def bias_add(
    inputs: Any, activation_fn: Any = None, initializer: Any = _ZEROS, regularizer: Any = None,
    reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    data_format: str | None = None, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the inputs plus a variable `biases` along the channels; the arguments are those of `fully_connected`."""
    with variable_scope(scope, "BiasAdd", [inputs], reuse=reuse) as sc:
        x = convert_to_tensor(inputs)
        biases = model_variable(
            "biases", shape=[utils.channel_dimension(x.shape, data_format or "NHWC")], dtype=x.dtype,
            initializer=initializer, regularizer=regularizer, trainable=trainable,
            collections=utils.get_variable_collections(variables_collections, "biases"),
        )  # fmt: skip
        outputs = nn.bias_add(x, biases, data_format=data_format)
        return finished(outputs, activation_fn, None, None, outputs_collections, sc)


@add_arg_scope
def one_hot_encoding(
    labels: Any, num_classes: int, on_value: float = 1.0, off_value: float = 0.0, outputs_collections: Any = None,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns rows with `on_value` at the place that each label says."""
    with name_scope(scope, "OneHotEncoding", [labels]) as sc:
        x = convert_to_tensor(labels)
        x = emit.Cast(x, DstT=dtypes.int64) if x.dtype is dtypes.int32 else x
        outputs = one_hot(x, num_classes, on_value=on_value, off_value=off_value)
        made: Tensor = utils.collect_named_outputs(outputs_collections, sc, outputs)
        return made


@add_arg_scope
def softmax(logits: Any, scope: Any = None) -> Tensor:
    """Returns the softmax over the last axis of logits of any rank."""
    with name_scope(scope, "softmax", [logits]):
        x = convert_to_tensor(logits)
        flat = reshape(x, [-1, utils.last_dimension(x.shape, 2)])
        made = reshape(nn.softmax(flat), shape(x))
        made.set_shape(x.shape)
        return made


@add_arg_scope
def unit_norm(inputs: Any, dim: int, epsilon: float = 1e-7, scope: Any = None) -> Tensor:
    """Returns the inputs over their length along an axis."""
    with name_scope(scope, "UnitNorm", [inputs]):
        x = convert_to_tensor(inputs)
        if not x.shape.rank:
            raise ValueError("The input rank must be known.")
        if not -x.shape.rank <= dim < x.shape.rank:
            raise ValueError(f"dim must be one of the {x.shape.rank} axes of the inputs, got {dim}")
        return multiply(x, rsqrt(reduce_sum(square(x), axis=dim, keepdims=True) + epsilon))


@add_arg_scope
def maxout(inputs: Any, num_units: int, axis: int = -1, scope: Any = None) -> Tensor:
    """Returns the largest of each of `num_units` groups of channels."""
    with name_scope(scope, "MaxOut", [inputs]):
        x = convert_to_tensor(inputs)
        sizes = x.shape.as_list()
        channels = sizes[axis]
        if channels is None or channels % num_units:
            raise ValueError(f"number of features({channels}) is not a multiple of num_units({num_units})")
        at = axis % len(sizes)
        parts = [-1 if size is None else size for size in sizes]
        parts[at : at + 1] = [num_units, channels // num_units]
        return reduce_max(reshape(x, parts), axis=at + 1)


@add_arg_scope
def spatial_softmax(
    features: Any, temperature: Any = None, name: str | None = None, variables_collections: Any = None,
    trainable: bool = True, data_format: str = "NHWC",
) -> Tensor:  # fmt: skip
    """Returns where the mass of each channel lies: expected coordinates [batch, 2 * channels] in [-1, 1]."""
    with variable_scope(name, "spatial_softmax"):
        x = convert_to_tensor(features)
        x = transpose(x, [0, 3, 1, 2]) if data_format == "NHWC" else x
        _, channels, height, width = x.shape.as_list()
        if channels is None or height is None or width is None:
            raise ValueError(f"the sizes of the features must be known, got {x.shape}")
        if temperature is None:
            temperature = model_variable(
                "temperature", shape=(), dtype=x.dtype, initializer=ones_initializer(), trainable=trainable,
                collections=variables_collections,
            )  # fmt: skip
        weights = nn.softmax(reshape(x, [-1, height * width]) / temperature)
        rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        expected = [
            reduce_sum(weights * np.asarray(places.reshape(-1), x.dtype.as_numpy_dtype), [1], keepdims=True)
            for places in (rows, columns)
        ]
        made = reshape(concat(expected, 1), [-1, channels * 2])
        return made


# ---------------------------------------------------------------------------- normalizers


def _of(given: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    return (given or {}).get(name, default)


@add_arg_scope
def batch_norm(
    inputs: Any, decay: float = 0.999, center: bool = True, scale: bool = False, epsilon: float = 0.001,
    activation_fn: Any = None, param_initializers: Mapping[str, Any] | None = None,
    param_regularizers: Mapping[str, Any] | None = None, updates_collections: Any = GraphKeys.UPDATE_OPS,
    is_training: Any = True, reuse: Any = None, variables_collections: Any = None, outputs_collections: Any = None,
    trainable: bool = True, batch_weights: Any = None, fused: bool | None = None, data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False, scope: Any = None, renorm: bool = False, renorm_clipping: Any = None,
    renorm_decay: float = 0.99, adjustment: Any = None,
) -> Tensor:  # fmt: skip
    """Normalises by the moments of the batch in training, by moving averages else.

    Args:
      inputs: [batch, ..., channels], or channels second.
      decay: the share of its old value that an average keeps.
      center, scale: whether `beta` is added, and it is multiplied by `gamma`.
      epsilon: added to the variance.
      activation_fn: a function of the result.
      param_initializers, param_regularizers: by "beta", "gamma", "moving_mean", "moving_variance".
      updates_collections: collections that the updates of the averages join; None: the result waits for them.
      is_training: a bool or a scalar bool tensor.
      reuse: whether the variables must exist already.
      variables_collections: collections that the variables join; a dict says so by name.
      outputs_collections: collections that the result joins.
      trainable: whether beta and gamma are trained.
      batch_weights: one per example: how much it counts in the moments of the batch.
      fused: whether the fused operation is used; default where it fits.
      data_format: "NHWC" or "NCHW".
      zero_debias_moving_mean: whether the average of means starts at zero, with the bias of that taken out.
      scope: the variable scope.
      renorm, renorm_clipping, renorm_decay, adjustment: see `normalized_by_moments`.

    Raises:
      ValueError: for another data format.
    """
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    with variable_scope(scope, "BatchNorm", [inputs], reuse=reuse, custom_getter=getter()) as sc:
        x = convert_to_tensor(inputs)
        axis = 1 if data_format == "NCHW" and (x.shape.rank or 4) > 2 else -1
        if batch_weights is not None or zero_debias_moving_mean or renorm or adjustment is not None:
            if x.shape.rank is None:
                raise ValueError(f"Inputs {x.name} has undefined rank")
            channels = utils.channel_dimension(x.shape, "NCHW" if axis == 1 else "NHWC")
            beta, gamma = scaled(
                x, [channels], center, scale, variables_collections, trainable, param_initializers,
                param_regularizers,
            )  # fmt: skip
            outputs, updates = normalized_by_moments(
                x, axis % x.shape.rank, decay, epsilon, beta, gamma, param_initializers or {}, is_training,
                batch_weights, zero_debias_moving_mean, renorm, renorm_clipping, renorm_decay, adjustment,
                fused is not False and not (batch_weights is not None or renorm or adjustment is not None),
                lambda name: utils.get_variable_collections(variables_collections, name),
            )  # fmt: skip
            outputs = _updating(outputs, updates, updates_collections)
            return finished(outputs, activation_fn, None, None, outputs_collections, sc)
        # Rows are images of one pixel, unless the caller says otherwise: the fused form keeps the variance of the
        # whole, n / (n - 1) times that of the batch.
        rows = x.shape.rank == 2 and fused is not False and x.dtype is not dtypes.float64
        if rows:
            flat, fused = x, True
            x = expand_dims(expand_dims(x, 1), 1)
        layer = layers.BatchNormalization(
            axis=axis, momentum=decay, epsilon=epsilon, center=center, scale=scale,
            beta_initializer=_of(param_initializers, "beta", zeros_initializer()),
            gamma_initializer=_of(param_initializers, "gamma", ones_initializer()),
            moving_mean_initializer=_of(param_initializers, "moving_mean", zeros_initializer()),
            moving_variance_initializer=_of(param_initializers, "moving_variance", ones_initializer()),
            beta_regularizer=_of(param_regularizers, "beta", None),
            gamma_regularizer=_of(param_regularizers, "gamma", None), trainable=trainable, fused=fused, name=sc.name,
            _scope=sc, _reuse=reuse,
        )  # fmt: skip
        outputs = layer.apply(x, training=is_training)
        if rows:
            outputs = squeeze(outputs, [1, 2])
            outputs.set_shape(flat.shape)
        outputs = _updating(outputs, list(layer.updates), updates_collections)
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            _collect(getattr(layer, name, None), variables_collections, name)
        return finished(outputs, activation_fn, None, None, outputs_collections, sc)


def _updating(outputs: Tensor, updates: list[Any], collections: Any) -> Tensor:
    """Puts the updates of averages where they are wanted, or makes the outputs wait for them."""
    own = {id(update) for update in updates}
    reference = get_collection_ref(GraphKeys.UPDATE_OPS)
    reference[:] = [each for each in reference if id(each) not in own]
    for update in updates if collections is not None else ():
        add_to_collections(_listed(collections), update)
    if collections is None and updates:
        with control_dependencies(updates):
            outputs = identity(outputs)
    return outputs


def scaled(
    x: Tensor, channels: Sequence[int], center: bool, scale: bool, variables_collections: Any, trainable: bool,
    param_initializers: Mapping[str, Any] | None = None, param_regularizers: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The variables `beta` and `gamma`, or None."""
    made = []
    for name, wanted, default in (
        ("beta", center, zeros_initializer()),
        ("gamma", scale, ones_initializer()),
    ):
        made.append(
            model_variable(
                name, shape=list(channels), dtype=x.dtype, initializer=_of(param_initializers, name, default),
                trainable=trainable, collections=utils.get_variable_collections(variables_collections, name),
                regularizer=_of(param_regularizers, name, None),
            ) if wanted else None
        )  # fmt: skip
    return made[0], made[1]


@add_arg_scope
def layer_norm(
    inputs: Any, center: bool = True, scale: bool = True, activation_fn: Any = None, reuse: Any = None,
    variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True,
    begin_norm_axis: int = 1, begin_params_axis: int = -1, scope: Any = None,
) -> Tensor:  # fmt: skip
    """Normalises each example by its own moments.

    Args:
      inputs: a tensor whose sizes from `begin_params_axis` on are known.
      center, scale: whether `beta` is added, and it is multiplied by `gamma`.
      activation_fn: a function of the result.
      begin_norm_axis: the first axis that the moments are taken over.
      begin_params_axis: the first axis of beta and gamma.

    The others are those of `fully_connected`.

    Raises:
      ValueError: if the rank or these sizes are unknown.
    """
    with variable_scope(scope, "LayerNorm", [inputs], reuse=reuse) as sc:
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is None:
            raise ValueError(f"Inputs {x.name} has undefined rank.")
        begin_norm_axis = begin_norm_axis + rank if begin_norm_axis < 0 else begin_norm_axis
        if begin_params_axis >= rank or begin_norm_axis >= rank:
            raise ValueError(
                f"begin_params_axis ({begin_params_axis}) and begin_norm_axis ({begin_norm_axis}) must be < "
                f"rank(inputs) ({rank})"
            )
        sizes = x.shape[begin_params_axis:]
        if not sizes.is_fully_defined():
            raise ValueError(
                f"Inputs {x.name}: shape(inputs)[{begin_params_axis}:] is not fully defined: {x.shape}"
            )
        beta, gamma = scaled(x, sizes.as_list(), center, scale, variables_collections, trainable)
        mean, variance = nn.moments(x, list(range(begin_norm_axis, rank)), keep_dims=True)
        least = 1e-12 if x.dtype is not dtypes.float16 else 1e-3
        outputs = nn.batch_normalization(x, mean, variance, offset=beta, scale=gamma, variance_epsilon=least)
        outputs.set_shape(x.shape)
        return finished(outputs, activation_fn, None, None, outputs_collections, sc)


@add_arg_scope
def instance_norm(
    inputs: Any, center: bool = True, scale: bool = True, epsilon: float = 1e-6, activation_fn: Any = None,
    param_initializers: Mapping[str, Any] | None = None, reuse: Any = None, variables_collections: Any = None,
    outputs_collections: Any = None, trainable: bool = True, data_format: str = "NHWC", scope: Any = None,
) -> Tensor:  # fmt: skip
    """Normalises each channel of each example by its own moments; the arguments are those of `batch_norm`."""
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    with variable_scope(scope, "InstanceNorm", [inputs], reuse=reuse) as sc:
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is None:
            raise ValueError(f"Inputs {x.name} has undefined rank.")
        at = 1 if data_format == "NCHW" else rank - 1
        channels = x.shape.as_list()[at]
        if channels is None:
            raise ValueError(f"Inputs {x.name} has undefined channels dimension: {x.shape}.")
        beta, gamma = scaled(
            x, [channels], center, scale, variables_collections, trainable, param_initializers
        )
        if at == 1:
            laid = [1, channels] + [1] * (rank - 2)
            beta, gamma = (None if each is None else reshape(each, laid) for each in (beta, gamma))
        mean, variance = nn.moments(x, [a for a in range(1, rank) if a != at], keep_dims=True)
        outputs = nn.batch_normalization(x, mean, variance, beta, gamma, epsilon, name="instancenorm")
        outputs.set_shape(x.shape)
        return finished(outputs, activation_fn, None, None, outputs_collections, sc)


# ---------------------------------------------------------------------------- many layers


def repeat(inputs: Any, repetitions: int, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Applies a layer so many times, each with weights of its own, in scopes `scope_1`, `scope_2`, …"""
    scope = kwargs.pop("scope", None)
    with variable_scope(scope, "Repeat", [inputs]):
        outputs = convert_to_tensor(inputs)
        if scope is None:
            scope = getattr(layer, "__name__", None) or getattr(
                getattr(layer, "func", None), "__name__", "repeat"
            )
        last = scope.split("/")[-1] if isinstance(scope, str) else scope.name.split("/")[-1]
        for i in range(repetitions):
            kwargs["scope"] = f"{last}_{i + 1}"
            outputs = layer(outputs, *args, **kwargs)
        return outputs


def stack(inputs: Any, layer: Callable[..., Any], stack_args: Sequence[Any], **kwargs: Any) -> Any:
    """Applies a layer once for each of some arguments: numbers, or lists of positional ones."""
    scope = kwargs.pop("scope", None)
    if not isinstance(stack_args, list | tuple):
        raise ValueError("stack_args need to be a list or tuple")
    with variable_scope(scope, "Stack", [inputs]):
        outputs = convert_to_tensor(inputs)
        if scope is None:
            scope = getattr(layer, "__name__", None) or getattr(
                getattr(layer, "func", None), "__name__", "stack"
            )
        last = scope.split("/")[-1] if isinstance(scope, str) else scope.name.split("/")[-1]
        for i, given in enumerate(stack_args):
            kwargs["scope"] = f"{last}_{i + 1}"
            own = given if isinstance(given, list | tuple) else [given]
            outputs = layer(outputs, *own, **kwargs)
        return outputs


def embed_sequence(
    ids: Any, vocab_size: int | None = None, embed_dim: int | None = None, unique: bool = False,
    initializer: Any = None, regularizer: Any = None, trainable: bool = True, scope: Any = None, reuse: Any = None,
) -> Tensor:  # fmt: skip
    """Returns a row of a variable `embeddings` [vocab_size, embed_dim] for each id.

    Raises:
      ValueError: if sizes are missing where the variable is made.
    """
    if not (reuse or (vocab_size and embed_dim)):
        raise ValueError(
            f"Must specify vocab size and embedding dimension when not reusing. Got {vocab_size}, {embed_dim}"
        )
    with variable_scope(scope, "EmbedSequence", [ids], reuse=reuse):
        size = None if vocab_size is None or embed_dim is None else [vocab_size, embed_dim]
        table = model_variable(
            "embeddings", shape=size, initializer=initializer, regularizer=regularizer, trainable=trainable
        )
        return embedding_lookup(table, ids)


conv1d, conv2d, conv3d = convolution1d, convolution2d, convolution3d
conv2d_transpose = convolution2d_transpose
separable_conv2d = separable_convolution2d
elu = functools.partial(fully_connected, activation_fn=nn.elu)

__all__ = [
    "avg_pool2d", "batch_norm", "bias_add", "conv1d", "conv2d", "conv2d_transpose", "conv3d", "convolution",
    "convolution1d", "convolution2d", "convolution2d_transpose", "convolution3d", "dropout", "elu", "embed_sequence",
    "flatten", "fully_connected", "instance_norm", "layer_norm", "linear", "max_pool2d", "maxout", "one_hot_encoding",
    "pool", "relu", "relu6", "repeat", "separable_conv2d", "separable_convolution2d", "softmax", "spatial_softmax",
    "stack", "unit_norm",
]  # fmt: skip
