"""Layers without an order of their inputs: dense, dropout, activations, shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor
from graphflow.keras import activations, constraints, initializers, regularizers
from graphflow.keras.base_layer import InputSpec, Layer
from graphflow.keras.session import learning_phase
from graphflow.keras.smart_cond import smart_cond
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import layout, linalg, nn
from graphflow.shapes import TensorShape


def numbers(value: Any, count: int, name: str) -> tuple[int, ...]:
    """Returns `count` positive whole numbers, given as one or as many.

    Raises:
      ValueError: for anything else.
    """
    if isinstance(value, int | np.integer):
        return (int(value),) * count
    try:
        given = tuple(int(item) for item in value)
    except (TypeError, ValueError):
        given = ()
    if len(given) != count:
        raise ValueError(f"The `{name}` argument must be a tuple of {count} integers. Received: {value}")
    return given


def _product(sizes: Sequence[int | None]) -> int:
    return math.prod(size for size in sizes if size is not None)


def config_of(value: Any) -> Any:
    """Returns what `get_config` tells of a function or object that a layer was given."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    return getattr(value, "__name__", value)


class Dense(Layer):
    """`activation(inputs @ kernel + bias)` over the last axis.

    Args:
      units: the size of the output's last axis.
      activation: a function or its name; default none.
      use_bias: whether a bias is added.
      kernel_initializer: of the kernel, [in, units].
      bias_initializer: of the bias, [units].
      kernel_regularizer: a penalty on the kernel.
      bias_regularizer: a penalty on the bias.
      activity_regularizer: a penalty on the output.
      kernel_constraint: applied to the kernel after each step.
      bias_constraint: applied to the bias after each step.
      **kwargs: see `Layer`.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = int(units)
        self.supports_masking = True
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias.

        Raises:
          ValueError: if the last axis is of unknown size.
        """
        shape = TensorShape(input_shape)
        size = None if shape.rank is None else shape.as_list()[-1]
        if size is None:
            raise ValueError("The last dimension of the inputs to `Dense` should be defined. Found `None`.")
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})
        self.kernel = self.add_weight(
            "kernel", shape=[size, self.units], initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, dtype=self.dtype, trainable=True,
        )  # fmt: skip
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", shape=[self.units], initializer=self.bias_initializer, regularizer=self.bias_regularizer,
                constraint=self.bias_constraint, dtype=self.dtype, trainable=True,
            )  # fmt: skip
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the output, [..., units]."""
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if rank is not None and rank > 2:
            outputs = linalg.tensordot(x, self.kernel, [[rank - 1], [0]])
            outputs.set_shape([*x.shape.as_list()[:-1], self.units])
        else:
            outputs = linalg.matmul(x, self.kernel)
        if self.use_bias:
            outputs = nn.bias_add(outputs, self.bias)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        shape = TensorShape(input_shape).with_rank_at_least(2)
        return TensorShape([*shape.as_list()[:-1], self.units])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias, **self._told()}

    def _told(self) -> dict[str, Any]:
        names = (
            "activation", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
            "activity_regularizer", "kernel_constraint", "bias_constraint",
        )  # fmt: skip
        return {name: config_of(getattr(self, name)) for name in names}


class Dropout(Layer):
    """Sets a share of the inputs to zero in training and scales up the others.

    Args:
      rate: the share that is dropped.
      noise_shape: the shape of the mask, which broadcasts.
      seed: the op's seed.
      **kwargs: see `Layer`.
    """

    def __init__(self, rate: Any, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.noise_shape = noise_shape
        self.seed = seed
        self.supports_masking = True

    def _noise_shape(self, inputs: Tensor) -> Any:
        if self.noise_shape is None or isinstance(self.noise_shape, Tensor):
            return self.noise_shape
        sizes = inputs.shape.as_list()
        if all(size is not None or sizes[i] is not None for i, size in enumerate(self.noise_shape)):
            return [sizes[i] if size is None else size for i, size in enumerate(self.noise_shape)]
        actual = emit.Shape(inputs)
        parts = [actual[i] if size is None else size for i, size in enumerate(self.noise_shape)]
        return layout.stack(parts)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns the inputs with some dropped where `training`, which defaults to the learning phase."""
        training = learning_phase() if training is None else training

        def dropped() -> Tensor:
            return nn.dropout(inputs, noise_shape=self._noise_shape(inputs), seed=self.seed, rate=self.rate)

        return smart_cond(training, dropped, lambda: emit.Identity(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}
        return {**super().get_config(), **own}


class SpatialDropout1D(Dropout):
    """Drops whole channels of sequences, [batch, steps, channels]."""

    def __init__(self, rate: Any, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def _noise_shape(self, inputs: Tensor) -> Any:
        actual = emit.Shape(inputs)
        return layout.stack([actual[0], 1, actual[2]])


class SpatialDropout2D(Dropout):
    """Drops whole channels of images, [batch, height, width, channels]."""

    def __init__(self, rate: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.data_format = data_format or "channels_last"
        self.input_spec = InputSpec(ndim=4)

    def _noise_shape(self, inputs: Tensor) -> Any:
        actual = emit.Shape(inputs)
        first = self.data_format == "channels_first"
        return layout.stack([actual[0], actual[1], 1, 1] if first else [actual[0], 1, 1, actual[3]])


class SpatialDropout3D(Dropout):
    """Drops whole channels of volumes, [batch, depth, height, width, channels]."""

    def __init__(self, rate: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.data_format = data_format or "channels_last"
        self.input_spec = InputSpec(ndim=5)

    def _noise_shape(self, inputs: Tensor) -> Any:
        actual = emit.Shape(inputs)
        first = self.data_format == "channels_first"
        return layout.stack([actual[0], *([actual[1], 1, 1, 1] if first else [1, 1, 1, actual[4]])])


class Activation(Layer):
    """An activation as a layer, by function or name."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """Returns the activation of the inputs."""
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "activation": config_of(self.activation)}


class ReLU(Layer):
    """`x` above the threshold, `negative_slope * (x - threshold)` below, at most `max_value`."""

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0, threshold: float = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, inputs: Any) -> Any:
        """Returns the activation of the inputs."""
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("max_value", "negative_slope", "threshold")}
        return {**super().get_config(), **own}


class LeakyReLU(Layer):
    """`x` above zero, `alpha * x` below."""

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Any) -> Any:
        """Returns the activation of the inputs."""
        return activations.relu(inputs, alpha=self.alpha)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha}


class ELU(Layer):
    """`x` above zero, `alpha * (exp(x) - 1)` below."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Any) -> Any:
        """Returns the activation of the inputs."""
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(Layer):
    """Softmax along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        """Returns the activation of the inputs."""
        return activations.softmax(inputs, self.axis)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}


class Flatten(Layer):
    """All axes after the first as one: [batch, ...] becomes [batch, n]; channels last wherever they were."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or "channels_last"
        if self.data_format not in ("channels_first", "channels_last"):
            raise ValueError(
                "The `data_format` argument must be one of `channels_first` or `channels_last`."
                f" Received: {data_format}"
            )
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with two axes."""
        x = convert_to_tensor(inputs)
        rank = x.shape.rank
        if self.data_format == "channels_first" and rank is not None and rank > 2:
            x = layout.transpose(x, [0, *range(2, rank), 1])
        sizes = None if rank is None else x.shape.as_list()
        if sizes is not None and len(sizes) == 1:
            return layout.expand_dims(x, -1)
        if sizes is not None and None not in sizes[1:]:
            return layout.reshape(x, [-1, _product(sizes[1:])])
        # A batch of size zero leaves -1 undecided only where the rest is not known either.
        outputs = layout.reshape(x, layout.stack([emit.Shape(x)[0], -1]))
        outputs.set_shape([None if sizes is None else sizes[0], None])
        return outputs

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        sizes = TensorShape(input_shape).as_list()
        if len(sizes) == 1:
            return TensorShape([sizes[0], 1])
        return TensorShape([sizes[0], None if None in sizes[1:] else _product(sizes[1:])])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Another shape for each example; one size may be -1."""

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(int(size) for size in target_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs, [batch, *target_shape]."""
        outputs = layout.reshape(inputs, layout.stack([emit.Shape(inputs)[0], *self.target_shape]))
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output.

        Raises:
          ValueError: if the sizes do not fit.
        """
        sizes = TensorShape(input_shape).as_list()
        wanted: list[int | None] = list(self.target_shape)
        if -1 in wanted or None not in sizes[1:]:
            known = int(np.prod([size for size in self.target_shape if size != -1]))
            whole = None if None in sizes[1:] else _product(sizes[1:])
            if -1 in wanted:
                free = None if whole is None or not known else whole // known
                wanted = [free if size == -1 else size for size in wanted]
                known *= free or 0 if whole is not None else 1
            if whole is not None and known != whole:
                raise ValueError(
                    "total size of new array must be unchanged,"
                    f" input_shape = {sizes[1:]}, output_shape = {list(self.target_shape)}"
                )
        return TensorShape([sizes[0], *wanted])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Layer):
    """Another order of the axes of each example; `dims` counts from 1."""

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Invalid permutation `dims` for Permute Layer: {dims}. The set of indices in `dims` must be"
                " consecutive and start from 1."
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with permuted axes."""
        return layout.transpose(inputs, perm=(0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Layer):
    """Each example `n` times: [batch, size] becomes [batch, n, size]."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Any) -> Any:
        """Returns the repeated inputs."""
        return layout.tile(layout.expand_dims(inputs, 1), [1, self.n, 1])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "n": self.n}


class Lambda(Layer):
    """A function of tensors as a layer."""

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.function = function
        self.output_shape_hint = output_shape
        self.mask = mask
        self.arguments = dict(arguments or {})

    def call(self, inputs: Any) -> Any:
        """Returns the function's result."""
        return self.function(inputs, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


class Masking(Layer):
    """Sets steps all of whose elements are `mask_value` to zero."""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns which steps are kept, [batch, steps]."""
        del mask
        return emit.Any(emit.NotEqual(inputs, convert_to_tensor(self.mask_value, inputs.dtype)), -1)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with masked steps at zero."""
        kept = emit.Any(
            emit.NotEqual(inputs, convert_to_tensor(self.mask_value, inputs.dtype)), -1, keep_dims=True
        )
        return inputs * emit.Cast(kept, DstT=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mask_value": self.mask_value}


class Embedding(Layer):
    """A vector for each number: [batch, length] of integers becomes [batch, length, output_dim].

    Args:
      input_dim: how many numbers there are.
      output_dim: the size of the vectors.
      embeddings_initializer: of the table, [input_dim, output_dim].
      embeddings_regularizer: a penalty on the table.
      activity_regularizer: a penalty on the output.
      embeddings_constraint: applied to the table after each step.
      mask_zero: whether 0 marks steps that are no input.
      input_length: the length of the sequences, if it is always the same.
      **kwargs: see `Layer`.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        activity_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        if "input_shape" not in kwargs and "batch_input_shape" not in kwargs:
            kwargs["input_shape"] = (input_length,)
        dtype = kwargs.pop("dtype", dtypes.float32)
        super().__init__(dtype=dtype, activity_regularizer=activity_regularizer, **kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.input_length = input_length
        self.embeddings: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the table."""
        del input_shape
        self.embeddings = self.add_weight(
            "embeddings", shape=(self.input_dim, self.output_dim), initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint,
        )  # fmt: skip
        self.built = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns which steps are input, or None without `mask_zero`."""
        del mask
        return emit.NotEqual(inputs, convert_to_tensor(0, inputs.dtype)) if self.mask_zero else None

    def call(self, inputs: Any) -> Any:
        """Returns the vectors."""
        x = convert_to_tensor(inputs)
        if x.dtype not in (dtypes.int32, dtypes.int64):
            x = emit.Cast(x, DstT=dtypes.int32)
        return nn.embedding_lookup(self.embeddings, x)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        return TensorShape([*TensorShape(input_shape).as_list(), self.output_dim])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"input_dim": self.input_dim, "output_dim": self.output_dim, "mask_zero": self.mask_zero,
               "input_length": self.input_length}  # fmt: skip
        told = {
            name: config_of(getattr(self, name))
            for name in ("embeddings_initializer", "embeddings_regularizer", "embeddings_constraint")
        }
        return {**super().get_config(), **own, **told}


__all__ = [
    "Activation", "Dense", "Dropout", "ELU", "Embedding", "Flatten", "Lambda", "LeakyReLU", "Masking", "Permute",
    "ReLU", "RepeatVector", "Reshape", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "config_of", "numbers",
]  # fmt: skip
