"""Convolutions of sequences, images and volumes, their transposes, and padding around them."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras import activations, constraints, initializers, regularizers
from graphflow.keras.base_layer import InputSpec, Layer
from graphflow.keras.layers.core import config_of, numbers
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import convolution as ops
from graphflow.ops import layout, nn, spatial
from graphflow.shapes import TensorShape

_LETTERS = {1: "W", 2: "HW", 3: "DHW"}
_CONV_OPS = {1: None, 2: "Conv2D", 3: "Conv3D"}


def data_format_of(value: str | None) -> str:
    """Returns "channels_last" or "channels_first"; the former for None.

    Raises:
      ValueError: for anything else.
    """
    chosen = "channels_last" if value is None else value.lower()
    if chosen not in ("channels_first", "channels_last"):
        raise ValueError(
            "The `data_format` argument must be one of `channels_first` or `channels_last`."
            f" Received: {value}"
        )
    return chosen


def layout_of(data_format: str, rank: int) -> str:
    """Returns TensorFlow's name of an order of axes, such as "NHWC"."""
    letters = _LETTERS[rank]
    return f"NC{letters}" if data_format == "channels_first" else f"N{letters}C"


def padding_of(value: str, others: tuple[str, ...] = ()) -> str:
    """Returns "valid" or "same".

    Raises:
      ValueError: for anything else.
    """
    chosen = value.lower()
    if chosen not in ("valid", "same", *others):
        raise ValueError(
            'The `padding` argument must be a list/tuple or one of "valid", "same"'
            f"{''.join(f', {other!r}' for other in others)}. Received: {value}"
        )
    return chosen


def output_length(length: int | None, size: int, padding: str, stride: int, dilation: int = 1) -> int | None:
    """Returns the length of a convolution's or pool's output along one axis; None if it is not known."""
    if length is None:
        return None
    reach = size + (size - 1) * (dilation - 1)
    whole = length if padding in ("same", "causal") else length - reach + 1
    return (whole + stride - 1) // stride


class Conv(Layer):
    """A convolution over `rank` axes; see `Conv2D`."""

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=trainable, name=name, activity_regularizer=activity_regularizer, **kwargs)
        self.rank = rank
        self.filters = filters
        self.kernel_size = numbers(kernel_size, rank, "kernel_size")
        self.strides = numbers(strides, rank, "strides")
        self.padding = padding_of(padding, ("causal",) if rank == 1 else ())
        self.data_format = data_format_of(data_format)
        self.dilation_rate = numbers(dilation_rate, rank, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(ndim=rank + 2)
        self.kernel: Any = None
        self.bias: Any = None

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    def _channels(self, input_shape: Any) -> int:
        shape = TensorShape(input_shape)
        axis = 1 if self._first else -1
        channels = None if shape.rank is None else shape.as_list()[axis]
        if channels is None:
            raise ValueError(
                "The channel dimension of the inputs should be defined."
                f" The input_shape received is {shape}, where axis {axis} (0-based) is the channel dimension,"
                " which found to be `None`."
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        return int(channels)

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias.

        Raises:
          ValueError: if the number of channels is not known.
        """
        shape = (*self.kernel_size, self._channels(input_shape), self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint, trainable=True, dtype=self.dtype,
        )  # fmt: skip
        self._build_bias()
        self.built = True

    def _build_bias(self) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint, trainable=True, dtype=self.dtype,
            )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Returns the output, with `filters` channels."""
        x, padding = convert_to_tensor(inputs), self.padding.upper()
        if padding == "CAUSAL":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            around = [[0, 0], [0, 0], [before, 0]] if self._first else [[0, 0], [before, 0], [0, 0]]
            x, padding = layout.pad(x, around), "VALID"
        outputs = spatial.convolution(
            x, self.kernel, padding, list(self.strides), list(self.dilation_rate), name=_CONV_OPS[self.rank],
            data_format=layout_of(self.data_format, self.rank),
        )  # fmt: skip
        return self._finished(outputs)

    def _finished(self, outputs: Tensor) -> Any:
        if self.use_bias:
            if self._first and self.rank == 1:
                outputs = outputs + layout.reshape(self.bias, (1, self.filters, 1))
            else:
                outputs = nn.bias_add(outputs, self.bias, data_format="NCHW" if self._first else "NHWC")
        return self.activation(outputs)

    def _output_sizes(self, sizes: list[int | None]) -> list[int | None]:
        return [
            output_length(size, self.kernel_size[i], self.padding, self.strides[i], self.dilation_rate[i])
            for i, size in enumerate(sizes)
        ]

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        sizes = TensorShape(input_shape).as_list()
        inside = self._output_sizes(sizes[2:] if self._first else sizes[1:-1])
        if self._first:
            return TensorShape([sizes[0], self.filters, *inside])
        return TensorShape([sizes[0], *inside, self.filters])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        plain = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias")
        told = (
            "activation", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
            "activity_regularizer", "kernel_constraint", "bias_constraint",
        )  # fmt: skip
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in plain},
            **{name: config_of(getattr(self, name)) for name in told},
        }


class Conv1D(Conv):
    """A convolution of sequences, [batch, steps, channels]; see `Conv2D`. "causal" padding looks back only."""

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
        data_format: str | None = "channels_last", dilation_rate: Any = 1, activation: Any = None,
        use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            1, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, **kwargs,
        )  # fmt: skip


class Conv2D(Conv):
    """A convolution of images, [batch, height, width, channels].

    Args:
      filters: the number of channels of the output.
      kernel_size: one number, or one per axis.
      strides: the steps, given likewise.
      padding: "valid" or "same".
      data_format: "channels_last" (default) or "channels_first".
      dilation_rate: the steps between elements of a filter.
      activation: a function or its name; default none.
      use_bias: whether a bias is added.
      kernel_initializer: of the kernel, [*kernel_size, in, filters].
      bias_initializer: of the bias, [filters].
      kernel_regularizer: a penalty on the kernel.
      bias_regularizer: a penalty on the bias.
      activity_regularizer: a penalty on the output.
      kernel_constraint: applied to the kernel after each step.
      bias_constraint: applied to the bias after each step.
      **kwargs: see `Layer`.
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
        data_format: str | None = None, dilation_rate: Any = (1, 1), activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, **kwargs,
        )  # fmt: skip


class Conv3D(Conv):
    """A convolution of volumes, [batch, depth, height, width, channels]; see `Conv2D`."""

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1, 1), padding: str = "valid",
        data_format: str | None = None, dilation_rate: Any = (1, 1, 1), activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            3, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, **kwargs,
        )  # fmt: skip


class _Transposed(Conv):
    """What transposed convolutions share: the sizes of the output and the kernel with its channels turned."""

    def build(self, input_shape: Any) -> None:
        """Makes kernel, [*kernel_size, filters, in], and bias."""
        shape = (*self.kernel_size, self.filters, self._channels(input_shape))
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint, trainable=True, dtype=self.dtype,
        )  # fmt: skip
        self._build_bias()
        self.built = True

    def _output_sizes(self, sizes: list[Any]) -> list[Any]:
        """Sizes of the output: numbers where they are known, else tensors or None, as they come."""
        found = []
        for i, size in enumerate(sizes):
            more = max(self.kernel_size[i] - self.strides[i], 0) if self.padding == "valid" else 0
            found.append(None if size is None else size * self.strides[i] + more)
        return found

    def call(self, inputs: Any) -> Any:
        """Returns the output, larger by the strides."""
        x = convert_to_tensor(inputs)
        static, actual = x.shape.as_list(), emit.Shape(x)
        known = [actual[i] if size is None else size for i, size in enumerate(static)]
        if self._first:
            sizes = [known[0], self.filters, *self._output_sizes(known[2:])]
        else:
            sizes = [known[0], *self._output_sizes(known[1:-1]), self.filters]
        outputs = self._transpose(x, layout.stack(sizes))
        outputs.set_shape(self.compute_output_shape(x.shape))
        return self._finished(outputs)

    def _transpose(self, x: Tensor, sizes: Tensor) -> Tensor:
        raise NotImplementedError


class Conv2DTranspose(_Transposed):
    """The transpose of a convolution of images: makes them larger. The arguments are those of `Conv2D`."""

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
        output_padding: Any = None, data_format: str | None = None, dilation_rate: Any = (1, 1),
        activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, **kwargs,
        )  # fmt: skip
        self.output_padding = None if output_padding is None else numbers(output_padding, 2, "output_padding")

    def _output_sizes(self, sizes: list[Any]) -> list[Any]:
        if self.output_padding is None:
            return super()._output_sizes(sizes)
        found = []
        for i, size in enumerate(sizes):
            kernel, stride = self.kernel_size[i], self.strides[i]
            pad = kernel // 2 if self.padding == "same" else 0
            more = kernel - 2 * pad + self.output_padding[i]
            found.append(None if size is None else (size - 1) * stride + more)
        return found

    def _transpose(self, x: Tensor, sizes: Tensor) -> Tensor:
        return ops.conv2d_transpose(
            x, self.kernel, sizes, list(self.strides), self.padding.upper(), layout_of(self.data_format, 2),
            dilations=list(self.dilation_rate),
        )  # fmt: skip


class Conv3DTranspose(_Transposed):
    """The transpose of a convolution of volumes: makes them larger. The arguments are those of `Conv3D`."""

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1, 1), padding: str = "valid",
        data_format: str | None = None, activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            3, filters, kernel_size, strides, padding, data_format, 1, activation, use_bias, kernel_initializer,
            bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            bias_constraint, **kwargs,
        )  # fmt: skip

    def _transpose(self, x: Tensor, sizes: Tensor) -> Tensor:
        steps = [1, 1, *self.strides] if self._first else [1, *self.strides, 1]
        result: Tensor = emit.Conv3DBackpropInputV2(
            sizes, self.kernel, x, strides=steps, padding=self.padding.upper(),
            data_format=layout_of(self.data_format, 3),
        )  # fmt: skip
        return result


class SeparableConv(Conv):
    """A convolution of each channel by itself, then of the channels of each point; see `SeparableConv2D`."""

    def __init__(
        self, rank: int, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
        data_format: str | None = None, dilation_rate: Any = 1, depth_multiplier: int = 1, activation: Any = None,
        use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, pointwise_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, depthwise_constraint: Any = None, pointwise_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            rank, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer=bias_initializer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, bias_constraint=bias_constraint, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.pointwise_constraint = constraints.get(pointwise_constraint)
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes both kernels and the bias."""
        channels = self._channels(input_shape)
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel", shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer, regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint, trainable=True, dtype=self.dtype,
        )  # fmt: skip
        self.pointwise_kernel = self.add_weight(
            name="pointwise_kernel", shape=(*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            initializer=self.pointwise_initializer, regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint, trainable=True, dtype=self.dtype,
        )  # fmt: skip
        self._build_bias()
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the output, with `filters` channels."""
        x, padding = convert_to_tensor(inputs), self.padding.upper()
        order = layout_of(self.data_format, 2)
        if self.rank == 2:
            outputs = ops.separable_conv2d(
                x, self.depthwise_kernel, self.pointwise_kernel, list(self.strides), padding,
                list(self.dilation_rate), data_format=order,
            )  # fmt: skip
            return self._finished(outputs)
        # A sequence is an image of height one.
        axis = 2 if self._first else 1
        if padding == "CAUSAL":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            around = [[0, 0], [0, 0], [before, 0]] if self._first else [[0, 0], [before, 0], [0, 0]]
            x, padding = layout.pad(x, around), "VALID"
        outputs = ops.separable_conv2d(
            layout.expand_dims(x, axis), layout.expand_dims(self.depthwise_kernel, 0),
            layout.expand_dims(self.pointwise_kernel, 0), list(self.strides * 2), padding,
            list(self.dilation_rate * 2), data_format=order,
        )  # fmt: skip
        # TF adds the bias before it takes the axis away again.
        if self.use_bias:
            outputs = nn.bias_add(outputs, self.bias, data_format=order)
        return self.activation(layout.squeeze(outputs, [axis]))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = super().get_config()
        for name in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        told = ("initializer", "regularizer", "constraint")
        own = {f"{kind}_{name}": config_of(getattr(self, f"{kind}_{name}"))
               for kind in ("depthwise", "pointwise") for name in told}  # fmt: skip
        return {**config, "depth_multiplier": self.depth_multiplier, **own}


class SeparableConv1D(SeparableConv):
    """A separable convolution of sequences; see `SeparableConv2D`."""

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
        data_format: str | None = None, dilation_rate: Any = 1, depth_multiplier: int = 1, activation: Any = None,
        use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, pointwise_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, depthwise_constraint: Any = None, pointwise_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            1, filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation,
            use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
            pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            pointwise_constraint, bias_constraint, **kwargs,
        )  # fmt: skip


class SeparableConv2D(SeparableConv):
    """A convolution of each channel by filters of its own, then of the channels of each point.

    The arguments are those of `Conv2D`, with `depthwise_*` and `pointwise_*` for the two kernels, and
    `depth_multiplier`, the number of filters per channel.
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
        data_format: str | None = None, dilation_rate: Any = (1, 1), depth_multiplier: int = 1,
        activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, pointwise_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, depthwise_constraint: Any = None, pointwise_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation,
            use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
            pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            pointwise_constraint, bias_constraint, **kwargs,
        )  # fmt: skip


class DepthwiseConv2D(Conv):
    """A convolution of each channel by filters of its own: `depth_multiplier` of them."""

    def __init__(
        self, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid", depth_multiplier: int = 1,
        data_format: str | None = None, activation: Any = None, use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        depthwise_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            2, 0, kernel_size, strides, padding, data_format, 1, activation, use_bias, depthwise_initializer,
            bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            bias_constraint, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self.depthwise_kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        channels = self._channels(input_shape)
        self.filters = channels * self.depth_multiplier
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel", shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )  # fmt: skip
        self._build_bias()
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the output."""
        outputs = ops.depthwise_conv2d(
            inputs, self.depthwise_kernel, list(self.strides), self.padding.upper(), list(self.dilation_rate),
            data_format=layout_of(self.data_format, 2),
        )  # fmt: skip
        return self._finished(outputs)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        self.filters = self._channels(input_shape) * self.depth_multiplier
        return super().compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = {**super().get_config(), "depth_multiplier": self.depth_multiplier}
        for name in ("filters", "dilation_rate"):
            del config[name]
        for name in ("initializer", "regularizer", "constraint"):
            config[f"depthwise_{name}"] = config.pop(f"kernel_{name}")
        return config


class ZeroPadding1D(Layer):
    """Zeros before and after sequences."""

    def __init__(self, padding: Any = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = numbers(padding, 2, "padding")
        self.input_spec = InputSpec(ndim=3)

    def call(self, inputs: Any) -> Any:
        """Returns the longer sequences."""
        return layout.pad(inputs, [[0, 0], list(self.padding), [0, 0]])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "padding": self.padding}


class _AroundImages(Layer):
    """What padding and cropping share: a number of rows and columns at each side."""

    def __init__(self, sides: Any, name: str, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        if isinstance(sides, int):
            self._sides = [[sides, sides]] * 2
        else:
            self._sides = [list(numbers(side, 2, name)) for side in sides]
        self.input_spec = InputSpec(ndim=4)


class ZeroPadding2D(_AroundImages):
    """Zeros around images: one number, one per axis, or a pair per axis."""

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, "padding", data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Returns the larger images."""
        if self.data_format == "channels_first":
            return layout.pad(inputs, [[0, 0], [0, 0], *self._sides])
        return layout.pad(inputs, [[0, 0], *self._sides, [0, 0]])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "padding": self._sides, "data_format": self.data_format}


class Cropping2D(_AroundImages):
    """Images without some rows and columns: one number, one per axis, or a pair per axis."""

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(cropping, "cropping", data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Returns the smaller images."""
        rows, columns = (slice(before, -after if after else None) for before, after in self._sides)
        if self.data_format == "channels_first":
            return inputs[:, :, rows, columns]
        return inputs[:, rows, columns, :]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "cropping": self._sides, "data_format": self.data_format}


class UpSampling2D(Layer):
    """Images whose rows and columns are repeated."""

    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = numbers(size, 2, "size")
        self.data_format = data_format_of(data_format)
        if interpolation != "nearest":
            raise ValueError(
                f'UpSampling2D repeats pixels: interpolation must be "nearest", got {interpolation!r}'
            )
        self.interpolation = interpolation
        self.input_spec = InputSpec(ndim=4)

    def call(self, inputs: Any) -> Any:
        """Returns the larger images."""
        first = 2 if self.data_format == "channels_first" else 1
        x, static, actual = inputs, inputs.shape.as_list(), emit.Shape(inputs)
        sizes = [actual[i] if size is None else size for i, size in enumerate(static)]
        spread, repeats = [], []
        for i, size in enumerate(sizes):
            spread.append(size)
            repeats.append(1)
            if i in (first, first + 1):
                spread.append(1)
                repeats.append(self.size[i - first])
        x = layout.tile(layout.reshape(x, layout.stack(spread)), repeats)
        wanted = [
            size * self.size[i - first] if i in (first, first + 1) else size for i, size in enumerate(sizes)
        ]
        outputs = layout.reshape(x, layout.stack(wanted))
        outputs.set_shape([None if isinstance(size, Tensor) else size for size in wanted])
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
Convolution2DTranspose = Conv2DTranspose
Deconv2D = Deconvolution2D = Conv2DTranspose
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
