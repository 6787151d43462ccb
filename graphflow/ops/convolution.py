"""Convolutions and pools over images, their gradients, and the functions that build on them.

Bodies see channels last: images of the other format are turned before and after. A window is a view of the padded
image, so that every direction of a convolution is one product over views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    FLOATS,
    MIXED,
    REALS,
    SIGNED,
    Array,
    mixed,
    rank_exactly,
    shape_tensor,
    widened,
    within_int32,
)  # fmt: skip
from graphflow.shapes import TensorShape
from graphflow.symbolic import ceil_div

Pair = tuple[int, int]

_FORMAT = "data_format:string{NHWC|NCHW}=NHWC"
_EXPLICIT = "padding:string{SAME|VALID|EXPLICIT}; explicit_paddings:list(int)=[]"
_CONV_ATTRS = (
    f"strides:list(int); use_cudnn_on_gpu:bool=true; {_EXPLICIT}; {_FORMAT}; dilations:list(int)=[1 1 1 1]"
)
_DEPTHWISE_ATTRS = f"strides:list(int); {_EXPLICIT}; {_FORMAT}; dilations:list(int)=[1 1 1 1]"


# ---------------------------------------------------------------------------- sizes and paddings


def _image_axes(data_format: str) -> tuple[Pair, int]:
    """The axes of height and width, and that of the channels."""
    return ((2, 3), 1) if data_format == "NCHW" else ((1, 2), 3)


def padding_of(
    padding: str, explicit: Sequence[int], axis: int, size: int, window: int, stride: int, dilation: int
) -> Pair:
    """Zeros before and after along one axis."""
    if padding == "VALID":
        return 0, 0
    if padding == "EXPLICIT":
        return explicit[2 * axis], explicit[2 * axis + 1]
    count = -(-size // stride)
    total = max(0, (count - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _output_size(
    size: int | None, window: int | None, stride: int, dilation: int, attrs: Any, axis: int
) -> int | None:
    if size is None:
        return None
    if attrs["padding"] == "SAME":
        return ceil_div(size, stride)
    if window is None:
        return None
    before, after = padding_of(
        attrs["padding"], attrs.get("explicit_paddings", ()), axis, size, window, stride, dilation
    )
    reach = (window - 1) * dilation + 1
    count = (size + before + after - reach) // stride + 1
    if count < 0 or size + before + after < reach:
        raise ShapeError(
            f"the window of {reach} is larger than the image of {size} with padding {before} + {after}"
        )
    return count


def _check_attrs(attrs: Any) -> None:
    """Refuses strides and dilations of batch and channels, and paddings that make no sense."""
    axes, channels = _image_axes(attrs["data_format"])
    for name in ("strides", "dilations"):
        values = attrs.get(name, (1, 1, 1, 1))
        if len(values) != 4:
            raise ShapeError(f"{name} must have 4 elements, got {list(values)}")
        if values[0] != 1 or values[channels] != 1:
            raise ShapeError(f"{name} in the batch and channel axes must be 1, got {list(values)}")
        if any(values[axis] < 1 for axis in axes):
            raise ShapeError(f"{name} must be positive, got {list(values)}")
        within_int32(name, values)
    _check_explicit(attrs, channels)


def _check_explicit(attrs: Any, channels: int) -> None:
    explicit = attrs.get("explicit_paddings", ())
    if attrs["padding"] == "EXPLICIT":
        if len(explicit) != 8 or min(explicit) < 0:
            raise ShapeError(f"explicit_paddings must be 8 numbers, none negative, got {list(explicit)}")
        if any(explicit[2 * axis + side] for axis in (0, channels) for side in (0, 1)):
            raise ShapeError(f"batch and channels cannot be padded, got explicit_paddings {list(explicit)}")
    elif explicit:
        raise ShapeError(f"explicit_paddings are for padding EXPLICIT, which is {attrs['padding']}")


def _assembled(data_format: str, batch: Any, height: Any, width: Any, channels: Any) -> TensorShape:
    if data_format == "NCHW":
        return TensorShape([batch, channels, height, width])
    return TensorShape([batch, height, width, channels])


def _conv_output(node: Any, x: TensorShape, w: TensorShape, depthwise: bool) -> TensorShape:
    """The shape of a convolution's result."""
    attrs = node.attrs
    _check_attrs(attrs)
    axes, channel_axis = _image_axes(attrs["data_format"])
    images, filters = x.with_rank(4).as_list(), w.with_rank(4).as_list()
    depth, inside = images[channel_axis], filters[2]
    if depth is not None and inside is not None:
        if depthwise and depth != inside:
            raise ShapeError(f"the images {x} have {depth} channels, the filters {w} are for {inside}")
        if not depthwise and (inside == 0 or depth % inside or (filters[3] or 0) % (depth // inside)):
            raise ShapeError(f"the images {x} have {depth} channels, the filters {w} are for {inside}")
    sizes = [
        _output_size(images[axis], filters[i], attrs["strides"][axis], attrs["dilations"][axis], attrs, axis)
        for i, axis in enumerate(axes)
    ]
    outside = filters[3]
    if depthwise:
        channels = depth if inside is None else inside
        outside = None if channels is None or outside is None else channels * outside
    return _assembled(attrs["data_format"], images[0], sizes[0], sizes[1], outside)


def _conv_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "the images")
    w = rank_exactly(node, 1, 4, "the filters")
    return _conv_output(node, x, w, node.op_def.name.startswith("Depthwise"))


def _conv_input_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 1, "input_sizes")
    w = rank_exactly(node, 1, 4, "the filters")
    dy = rank_exactly(node, 2, 4, "out_backprop")
    x: TensorShape = node.constant_shape(0)
    attrs = node.attrs
    if x.rank == 2 and node.inputs[0].shape.as_tuple() == (2,):
        # Only height and width are given.
        _, channel_axis = _image_axes(attrs["data_format"])
        x = _assembled(attrs["data_format"], dy.as_list()[0], x.as_list()[0], x.as_list()[1], w.as_list()[2])
    if x.rank is None:
        x = TensorShape([None] * 4)
    if x.rank != 4:
        raise ShapeError(f"input_sizes must have 4 elements, has {x.rank}")
    _check_against(_conv_output(node, x, w, node.op_def.name.startswith("Depthwise")), dy)
    # The batch is known from the gradient too.
    sizes = x.as_list()
    if sizes[0] is None:
        sizes[0] = dy.as_list()[0]
    return TensorShape(sizes)


def _check_against(expected: TensorShape, dy: TensorShape) -> None:
    if not expected.is_compatible_with(dy):
        raise ShapeError(f"out_backprop has shape {dy}, a convolution of these sizes gives {expected}")


def _conv_filter_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "the images")
    rank_exactly(node, 1, 1, "filter_sizes")
    dy = rank_exactly(node, 2, 4, "out_backprop")
    w: TensorShape = node.constant_shape(1)
    if w.rank is None:
        w = TensorShape([None] * 4)
    if w.rank != 4:
        raise ShapeError(f"filter_sizes must have 4 elements, has {w.rank}")
    _check_against(_conv_output(node, x, w, node.op_def.name.startswith("Depthwise")), dy)
    return w


# ---------------------------------------------------------------------------- convolution in NumPy


def _last(x: Array, data_format: str) -> Array:
    """Channels last."""
    return np.moveaxis(x, 1, -1) if data_format == "NCHW" else x


def _back(x: Array, data_format: str) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if data_format == "NCHW" else x


class _Geometry:
    """Steps and paddings of one convolution, by height and width."""

    def __init__(
        self, image: Pair, window: Pair, strides: Sequence[int], dilations: Sequence[int], padding: str,
        explicit: Sequence[int], data_format: str,
    ) -> None:  # fmt: skip
        axes, _ = _image_axes(data_format)
        self.image = image
        self.window = window
        self.strides = (strides[axes[0]], strides[axes[1]])
        self.dilations = (dilations[axes[0]], dilations[axes[1]])
        self.padding = tuple(
            padding_of(padding, explicit, axes[i], image[i], window[i], self.strides[i], self.dilations[i])
            for i in (0, 1)
        )
        self.output = tuple(
            max(
                0,
                (image[i] + sum(self.padding[i]) - (window[i] - 1) * self.dilations[i] - 1) // self.strides[i]
                + 1,
            )
            for i in (0, 1)
        )

    def padded(self, x: Array, value: Any = 0) -> Array:
        """The images [n, h, w, c] with their margins."""
        if not any(map(sum, self.padding)):
            return x
        return np.pad(x, [(0, 0), *self.padding, (0, 0)], constant_values=value)

    def windows(self, x: Array, value: Any = 0) -> Array:
        """A view of the padded images [n, h, w, c] as [n, oh, ow, c, kh, kw]."""
        padded = self.padded(x, value)
        n, _, _, c = padded.shape
        sn, sh, sw, sc = padded.strides
        shape = (n, *self.output, c, *self.window)
        strides = (
            sn,
            sh * self.strides[0],
            sw * self.strides[1],
            sc,
            sh * self.dilations[0],
            sw * self.dilations[1],
        )
        return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)

    def collect(self, batch: int, channels: int, dtype: Any, part: Callable[[int, int], Array]) -> Array:
        """Sums `part(i, j)` [n, oh, ow, c] into the image's places under window element (i, j)."""
        (top, bottom), (left, right) = self.padding
        padded = np.zeros(
            (batch, self.image[0] + top + bottom, self.image[1] + left + right, channels), dtype
        )
        for i in range(self.window[0]):
            for j in range(self.window[1]):
                padded[:, self.places(0, i), self.places(1, j)] += part(i, j)
        return padded[:, top : top + self.image[0], left : left + self.image[1]]

    def places(self, axis: int, element: int) -> slice:
        """Where along an axis of the padded image window element `element` falls."""
        start = element * self.dilations[axis]
        return slice(start, start + (self.output[axis] - 1) * self.strides[axis] + 1, self.strides[axis])


def _groups(depth: int, inside: int) -> int:
    if inside == 0 or depth % inside:
        raise InvalidArgumentError(
            None, None, f"input depth must be evenly divisible by filter depth: {depth} vs {inside}"
        )
    return depth // inside


def _require(dy: Array, batch: int, geometry: _Geometry, channels: int) -> None:
    expected = (batch, *geometry.output, channels)
    if dy.shape != expected:
        raise InvalidArgumentError(
            None, None, f"out_backprop has shape {list(dy.shape)} (channels last), expected {list(expected)}"
        )


def _forward(x: Array, w: Array, geometry: _Geometry) -> Array:
    groups = _groups(x.shape[3], w.shape[2])
    windows = geometry.windows(x)
    if groups == 1:
        return np.tensordot(windows, w, axes=((4, 5, 3), (0, 1, 2)))
    inside, outside = w.shape[2], w.shape[3] // groups
    parts = [
        np.tensordot(
            windows[:, :, :, g * inside : (g + 1) * inside], w[..., g * outside : (g + 1) * outside],
            axes=((4, 5, 3), (0, 1, 2)),
        )
        for g in range(groups)
    ]  # fmt: skip
    return np.concatenate(parts, axis=-1)


def _backward_input(w: Array, dy: Array, batch: int, depth: int, geometry: _Geometry) -> Array:
    groups = _groups(depth, w.shape[2])
    outside = w.shape[3] // groups

    def part(i: int, j: int) -> Array:
        if groups == 1:
            return dy @ w[i, j].T
        pieces = [
            dy[..., g * outside : (g + 1) * outside] @ w[i, j][:, g * outside : (g + 1) * outside].T
            for g in range(groups)
        ]
        return np.concatenate(pieces, axis=-1)

    return geometry.collect(batch, depth, dy.dtype, part)


def _backward_filter(x: Array, dy: Array, inside: int, geometry: _Geometry) -> Array:
    groups = _groups(x.shape[3], inside)
    windows = geometry.windows(x)
    outside = dy.shape[3] // groups
    parts = [
        np.tensordot(
            windows[:, :, :, g * inside : (g + 1) * inside], dy[..., g * outside : (g + 1) * outside],
            axes=((0, 1, 2), (0, 1, 2)),
        )
        for g in range(groups)
    ]  # fmt: skip
    return np.concatenate(parts, axis=-1).transpose(1, 2, 0, 3)


def _image_sizes(input_sizes: Array, w: Array, dy: Array, data_format: str) -> tuple[int, Pair, int]:
    """Batch, height and width, and depth that a gradient of images is to have."""
    sizes = [int(size) for size in input_sizes]
    if len(sizes) == 2:
        return dy.shape[0], (sizes[0], sizes[1]), w.shape[2]
    if len(sizes) != 4 or min(sizes) < 0:
        raise InvalidArgumentError(None, None, f"input_sizes must be 4 sizes, got {sizes}")
    (height, width), channels = _image_axes(data_format)
    return sizes[0], (sizes[height], sizes[width]), sizes[channels]


# ---------------------------------------------------------------------------- convolution as ops

_CONV_TYPES = f"T:type{{{FLOATS}|int32}}"


@op(
    "Conv2D",
    "input:T; filter:T",
    "output:T",
    f"{_CONV_TYPES}; {_CONV_ATTRS}",
    infer=_conv_shape,
    lowering="conv2d",
)
@widened
def conv2d_op(
    input: Array, filter: Array, *, strides: Sequence[int], padding: str, explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The convolution of images by filters [height, width, in, out]."""
    x = _last(input, data_format)
    geometry = _Geometry(
        x.shape[1:3], filter.shape[:2], strides, dilations, padding, explicit_paddings, data_format
    )  # fmt: skip
    return _back(_forward(x, filter, geometry), data_format)


conv2d_op.by_row(row_rules.first_axis)


def _conv_attributes(op: Any) -> dict[str, Any]:
    return {
        name: op.attrs[name]
        for name in ("strides", "padding", "explicit_paddings", "data_format", "dilations")
    }


@conv2d_op.gradient
def conv2d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The convolution's two other directions."""
    x, w = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.Conv2DBackpropInput(shape_tensor(x), w, dy, **attrs),
        emit.Conv2DBackpropFilter(x, shape_tensor(w), dy, **attrs),
    ]


mixed_conv2d_op = op(
    "GraphflowMixedConv2D", "input:T; filter:T", "output:U", f"{_CONV_ATTRS}; {MIXED}",
    infer=_conv_shape, lowering="conv2d", differentiable=False,
)(mixed(conv2d_op.body))  # fmt: skip


@op("Conv2DBackpropInput", "input_sizes:int32; filter:T; out_backprop:T", "output:T",
    f"{_CONV_TYPES}; {_CONV_ATTRS}", infer=_conv_input_shape, lowering="conv2d_input")  # fmt: skip
@widened
def conv2d_backprop_input_op(
    input_sizes: Array, filter: Array, out_backprop: Array, *, strides: Sequence[int], padding: str,
    explicit_paddings: Sequence[int] = (), data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a convolution with respect to its images."""
    dy = _last(out_backprop, data_format)
    batch, image, depth = _image_sizes(input_sizes, filter, dy, data_format)
    geometry = _Geometry(image, filter.shape[:2], strides, dilations, padding, explicit_paddings, data_format)
    _require(dy, batch, geometry, filter.shape[3])
    return _back(_backward_input(filter, dy, batch, depth, geometry), data_format)


@conv2d_backprop_input_op.gradient
def conv2d_backprop_input_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in filters and gradient: the convolution's other directions again."""
    _, w, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        None,
        emit.Conv2DBackpropFilter(dy, shape_tensor(w), out_backprop, **attrs),
        emit.Conv2D(dy, w, **attrs),
    ]


mixed_conv2d_backprop_input_op = op(
    "GraphflowMixedConv2DBackpropInput", "input_sizes:int32; filter:T; out_backprop:T", "output:U",
    f"{_CONV_ATTRS}; {MIXED}", infer=_conv_input_shape, lowering="conv2d_input", differentiable=False,
)(mixed(conv2d_backprop_input_op.body))  # fmt: skip


@op("Conv2DBackpropFilter", "input:T; filter_sizes:int32; out_backprop:T", "output:T",
    f"T:type{{{FLOATS}}}; {_CONV_ATTRS}", infer=_conv_filter_shape, lowering="conv2d_filter")  # fmt: skip
@widened
def conv2d_backprop_filter_op(
    input: Array, filter_sizes: Array, out_backprop: Array, *, strides: Sequence[int], padding: str,
    explicit_paddings: Sequence[int] = (), data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a convolution with respect to its filters."""
    x, dy = _last(input, data_format), _last(out_backprop, data_format)
    height, width, inside, outside = (int(size) for size in filter_sizes)
    geometry = _Geometry(
        x.shape[1:3], (height, width), strides, dilations, padding, explicit_paddings, data_format
    )  # fmt: skip
    _require(dy, x.shape[0], geometry, outside)
    return _backward_filter(x, dy, inside, geometry)


@conv2d_backprop_filter_op.gradient
def conv2d_backprop_filter_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in images and gradient: the convolution's other directions again."""
    x, _, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.Conv2DBackpropInput(shape_tensor(x), dy, out_backprop, **attrs),
        None,
        emit.Conv2D(x, dy, **attrs),
    ]


mixed_conv2d_backprop_filter_op = op(
    "GraphflowMixedConv2DBackpropFilter", "input:T; filter_sizes:int32; out_backprop:T", "output:U",
    f"{_CONV_ATTRS}; {MIXED}", infer=_conv_filter_shape, lowering="conv2d_filter", differentiable=False,
)(mixed(conv2d_backprop_filter_op.body))  # fmt: skip


@op("DepthwiseConv2dNative", "input:T; filter:T", "output:T", f"T:type{{{FLOATS}}}; {_DEPTHWISE_ATTRS}",
    infer=_conv_shape, lowering="depthwise_conv2d")  # fmt: skip
@widened
def depthwise_conv2d_op(
    input: Array, filter: Array, *, strides: Sequence[int], padding: str, explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """Each channel's convolution by filters [height, width, channels, multiplier] of its own."""
    x = _last(input, data_format)
    geometry = _Geometry(
        x.shape[1:3], filter.shape[:2], strides, dilations, padding, explicit_paddings, data_format
    )  # fmt: skip
    windows = geometry.windows(x)
    y = np.einsum("nhwcij,ijcm->nhwcm", windows, filter, optimize=True)
    return _back(y.reshape(*y.shape[:3], filter.shape[2] * filter.shape[3]), data_format)


depthwise_conv2d_op.by_row(row_rules.first_axis)


@depthwise_conv2d_op.gradient
def depthwise_conv2d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The convolution's two other directions."""
    x, w = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.DepthwiseConv2dNativeBackpropInput(shape_tensor(x), w, dy, **attrs),
        emit.DepthwiseConv2dNativeBackpropFilter(x, shape_tensor(w), dy, **attrs),
    ]


@op("DepthwiseConv2dNativeBackpropInput", "input_sizes:int32; filter:T; out_backprop:T", "output:T",
    f"T:type{{{FLOATS}}}; {_DEPTHWISE_ATTRS}", infer=_conv_input_shape, lowering="depthwise_conv2d_input")  # fmt: skip
@widened
def depthwise_conv2d_backprop_input_op(
    input_sizes: Array, filter: Array, out_backprop: Array, *, strides: Sequence[int], padding: str,
    explicit_paddings: Sequence[int] = (), data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a depthwise convolution with respect to its images."""
    dy = _last(out_backprop, data_format)
    batch, image, depth = _image_sizes(input_sizes, filter, dy, data_format)
    geometry = _Geometry(image, filter.shape[:2], strides, dilations, padding, explicit_paddings, data_format)
    _require(dy, batch, geometry, depth * filter.shape[3])
    spread = dy.reshape(*dy.shape[:3], depth, filter.shape[3])
    dx = geometry.collect(batch, depth, dy.dtype, lambda i, j: np.sum(spread * filter[i, j], axis=-1))
    return _back(dx, data_format)


@depthwise_conv2d_backprop_input_op.gradient
def depthwise_conv2d_backprop_input_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in filters and gradient: the convolution's other directions again."""
    _, w, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        None,
        emit.DepthwiseConv2dNativeBackpropFilter(dy, shape_tensor(w), out_backprop, **attrs),
        emit.DepthwiseConv2dNative(dy, w, **attrs),
    ]


@op("DepthwiseConv2dNativeBackpropFilter", "input:T; filter_sizes:int32; out_backprop:T", "output:T",
    f"T:type{{{FLOATS}}}; {_DEPTHWISE_ATTRS}", infer=_conv_filter_shape,
    lowering="depthwise_conv2d_filter")  # fmt: skip
@widened
def depthwise_conv2d_backprop_filter_op(
    input: Array, filter_sizes: Array, out_backprop: Array, *, strides: Sequence[int], padding: str,
    explicit_paddings: Sequence[int] = (), data_format: str = "NHWC", dilations: Sequence[int] = (1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a depthwise convolution with respect to its filters."""
    x, dy = _last(input, data_format), _last(out_backprop, data_format)
    height, width, depth, multiplier = (int(size) for size in filter_sizes)
    geometry = _Geometry(
        x.shape[1:3], (height, width), strides, dilations, padding, explicit_paddings, data_format
    )  # fmt: skip
    _require(dy, x.shape[0], geometry, depth * multiplier)
    spread = dy.reshape(*dy.shape[:3], depth, multiplier)
    return np.einsum("nhwcij,nhwcm->ijcm", geometry.windows(x), spread, optimize=True)


@depthwise_conv2d_backprop_filter_op.gradient
def depthwise_conv2d_backprop_filter_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in images and gradient: the convolution's other directions again."""
    x, _, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.DepthwiseConv2dNativeBackpropInput(shape_tensor(x), dy, out_backprop, **attrs),
        None,
        emit.DepthwiseConv2dNative(x, dy, **attrs),
    ]


# ---------------------------------------------------------------------------- pools

_POOL = "ksize:list(int)>=4; strides:list(int)>=4"


def _pool_attrs(attrs: Any) -> tuple[Sequence[int], Sequence[int]]:
    ksize, strides = attrs["ksize"], attrs["strides"]
    for name, values in (("ksize", ksize), ("strides", strides)):
        if len(values) != 4 or min(values) < 1:
            raise ShapeError(f"{name} must be 4 positive numbers, got {list(values)}")
        within_int32(name, values)
    if ksize[0] != 1 or strides[0] != 1:
        raise ShapeError(
            f"pooling over the batch is not supported: ksize {list(ksize)}, strides {list(strides)}"
        )
    _check_explicit(attrs, _image_axes(attrs["data_format"])[1])
    return ksize, strides


def pooled_shape(attrs: Any, x: TensorShape) -> TensorShape:
    """The shape of what a pool with these attributes makes of images of shape x; they are checked."""
    ksize, strides = _pool_attrs(attrs)
    sizes = x.with_rank(4).as_list()
    # The batch may be empty: only axes that are pooled have windows that must fit.
    return TensorShape([
        size if size == 0 and ksize[i] == strides[i] == 1
        else _output_size(size, ksize[i], strides[i], 1, attrs, i)
        for i, size in enumerate(sizes)
    ])  # fmt: skip


def _pool_shape(node: Any) -> TensorShape:
    return pooled_shape(node.attrs, rank_exactly(node, 0, 4, "the images"))


class PoolWindows:
    """Windows of a pool over all axes of the images."""

    def __init__(
        self,
        sizes: Sequence[int],
        ksize: Sequence[int],
        strides: Sequence[int],
        padding: str,
        explicit: Sequence[int],
    ) -> None:
        self.sizes = tuple(sizes)
        self.ksize = tuple(ksize)
        self.strides = tuple(strides)
        self.padding = [
            padding_of(padding, explicit, i, size, ksize[i], strides[i], 1) for i, size in enumerate(sizes)
        ]
        self.output = tuple(
            max(0, (size + sum(self.padding[i]) - ksize[i]) // strides[i] + 1) for i, size in enumerate(sizes)
        )

    def windows(self, x: Array, value: Any) -> Array:
        """[..., elements of a window]; row-major within a window, `value` outside the images."""
        padded = np.pad(x, self.padding, constant_values=value) if any(map(sum, self.padding)) else x
        strides = tuple(s * step for s, step in zip(padded.strides, self.strides, strict=True))
        view = np.lib.stride_tricks.as_strided(
            padded, (*self.output, *self.ksize), (*strides, *padded.strides), writeable=False
        )
        return view.reshape(*self.output, int(np.prod(self.ksize)))

    def largest(self, x: Array) -> tuple[Array, Array]:
        """`windows(x, ...)`, and where in each its largest element of the images is, the first one of equals."""
        values = self.windows(x, lowest(x.dtype))
        chosen = np.argmax(values, axis=-1)
        if any(map(sum, self.padding)):
            inside = self.windows(np.ones(self.sizes, np.bool_), False)
            outside = ~np.take_along_axis(inside, chosen[..., None], axis=-1)[..., 0]
            if (
                outside.any()
            ):  # an element is as low as what stands for none, such as zero of an unsigned type
                equal = inside & (values == values.max(axis=-1, keepdims=True))
                chosen = np.where(outside, np.argmax(equal, axis=-1), chosen)
        return values, chosen

    def counts(self) -> Array:
        """How many elements of the images each window has."""
        result = np.ones((1,) * len(self.sizes), np.int64)
        for axis in range(len(self.sizes)):
            before, after = self.padding[axis]
            inside = np.pad(np.ones(self.sizes[axis], np.int64), (before, after))
            starts = np.arange(self.output[axis]) * self.strides[axis]
            along = np.array([inside[s : s + self.ksize[axis]].sum() for s in starts], np.int64)
            result = result * along.reshape([-1 if i == axis else 1 for i in range(len(self.sizes))])
        return result

    def scatter(self, values: Callable[[int], Array], dtype: Any) -> Array:
        """Sums `values(element)` [n, oh, ow, oc] into the images' places under that element of the windows."""
        padded = np.zeros(
            [size + sum(pad) for size, pad in zip(self.sizes, self.padding, strict=True)], dtype
        )
        for element, offsets in enumerate(np.ndindex(*self.ksize)):
            places = tuple(
                slice(o, o + (self.output[i] - 1) * self.strides[i] + 1, self.strides[i])
                for i, o in enumerate(offsets)
            )
            padded[places] += values(element)
        return padded[
            tuple(slice(pad[0], pad[0] + size) for size, pad in zip(self.sizes, self.padding, strict=True))
        ]


def lowest(dtype: Any) -> Any:
    """What no window prefers to an element."""
    kind = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    return np.iinfo(kind).min if kind.kind in "iu" else -np.inf


@op("MaxPool", "input:T", "output:T",
    f"T:type{{{FLOATS}|{SIGNED}|uint8|uint16}}=float32; {_POOL}; {_EXPLICIT}; "
    "data_format:string{NHWC|NCHW|NCHW_VECT_C}=NHWC", infer=_pool_shape, lowering="max_pool")  # fmt: skip
@widened
def max_pool_op(
    input: Array,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
) -> Array:
    """The largest element of each window."""
    pool = PoolWindows(input.shape, ksize, strides, padding, explicit_paddings)
    return np.max(pool.windows(input, lowest(input.dtype)), axis=-1)


max_pool_op.by_row(row_rules.first_axis)


def _pool_attributes(op: Any) -> dict[str, Any]:
    names = ("ksize", "strides", "padding", "explicit_paddings", "data_format")
    return {name: op.attrs[name] for name in names if name in op.attrs}


@max_pool_op.gradient
def max_pool_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the largest element of each window."""
    return [emit.MaxPoolGrad(op.inputs[0], op.outputs[0], dy, **_pool_attributes(op))]


def _max_pool_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "orig_input")
    expected = pooled_shape(node.attrs, x)
    for position, name in ((1, "orig_output"), (2, "grad")):
        if not expected.is_compatible_with(node.inputs[position].shape):
            raise ShapeError(f"{name} has shape {node.inputs[position].shape}, the pool gives {expected}")
    return x


@op("MaxPoolGrad", "orig_input:T; orig_output:T; grad:T", "output:T",
    f"{_POOL}; {_EXPLICIT}; {_FORMAT}; T:type{{{REALS}}}=float32",
    infer=_max_pool_grad_shape, lowering="max_pool_grad")  # fmt: skip
@widened
def max_pool_grad_op(
    orig_input: Array, orig_output: Array, grad: Array, *, ksize: Sequence[int], strides: Sequence[int], padding: str,
    explicit_paddings: Sequence[int] = (),
) -> Array:  # fmt: skip
    """The gradient put where each window has its largest element, the first one of equals."""
    pool = PoolWindows(orig_input.shape, ksize, strides, padding, explicit_paddings)
    _, chosen = pool.largest(orig_input)
    zero = np.zeros((), grad.dtype)
    return pool.scatter(lambda element: np.where(chosen == element, grad, zero), grad.dtype)


@max_pool_grad_op.gradient
def max_pool_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient picked up where it was put."""
    x, y = op.inputs[:2]
    attrs = _pool_attributes(op)
    explicit = attrs.pop("explicit_paddings")
    if attrs["padding"] == "EXPLICIT":
        # TensorFlow's op knows no explicit padding: pad beforehand, with what no window chooses.
        margins = np.array(explicit, np.int32).reshape(4, 2)
        x = emit.PadV2(x, margins, np.asarray(lowest(x.dtype), x.dtype.as_numpy_dtype))
        dy = emit.Pad(dy, margins)
        attrs["padding"] = "VALID"
    return [None, None, emit.MaxPoolGradGrad(x, y, dy, **attrs)]


def _max_pool_grad_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "orig_input")
    if not x.is_compatible_with(node.inputs[2].shape):
        raise ShapeError(f"grad has shape {node.inputs[2].shape}, orig_input {x}")
    made = pooled_shape(node.attrs, x)
    if not made.is_compatible_with(node.inputs[1].shape):
        raise ShapeError(f"orig_output has shape {node.inputs[1].shape}, the pool gives {made}")
    return made


@op("MaxPoolGradGrad", "orig_input:T; orig_output:T; grad:T", "output:T",
    f"{_POOL}; padding:string{{SAME|VALID}}; {_FORMAT}; T:type{{{REALS}}}",
    infer=_max_pool_grad_grad_shape)  # fmt: skip
@widened
def max_pool_grad_grad_op(
    orig_input: Array, orig_output: Array, grad: Array, *, ksize: Sequence[int], strides: Sequence[int], padding: str,
) -> Array:  # fmt: skip
    """The elements of `grad` that stand where each window has its largest element."""
    pool = PoolWindows(orig_input.shape, ksize, strides, padding, ())
    _, chosen = pool.largest(orig_input)
    return np.take_along_axis(pool.windows(grad, 0), chosen[..., None], axis=-1)[..., 0]


@max_pool_grad_grad_op.gradient
def max_pool_grad_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Put back where it was picked up."""
    return [None, None, emit.MaxPoolGrad(op.inputs[0], op.inputs[1], dy, **_pool_attributes(op))]


@op("AvgPool", "value:T", "output:T", f"{_POOL}; padding:string{{SAME|VALID}}; {_FORMAT}; T:type{{{FLOATS}}}",
    infer=_pool_shape, lowering="avg_pool")  # fmt: skip
@widened
def avg_pool_op(value: Array, *, ksize: Sequence[int], strides: Sequence[int], padding: str) -> Array:
    """The mean of each window; the margins do not count."""
    pool = PoolWindows(value.shape, ksize, strides, padding, ())
    return np.sum(pool.windows(value, 0), axis=-1) / pool.counts().astype(value.dtype)


avg_pool_op.by_row(row_rules.first_axis)


@avg_pool_op.gradient
def avg_pool_gradient(op: Any, dy: Tensor) -> list[Any]:
    """An equal share to each element of a window."""
    return [emit.AvgPoolGrad(shape_tensor(op.inputs[0]), dy, **_pool_attributes(op))]


def _avg_pool_grad_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 1, "orig_input_shape")
    grad = rank_exactly(node, 1, 4, "grad")
    x: TensorShape = node.constant_shape(0)
    if x.rank is None:
        return TensorShape([None] * 4)
    if x.rank != 4:
        raise ShapeError(f"orig_input_shape must have 4 elements, has {x.rank}")
    expected = pooled_shape(node.attrs, x)
    if not expected.is_compatible_with(grad):
        raise ShapeError(f"grad has shape {grad}, the pool gives {expected}")
    sizes = x.as_list()
    sizes[0] = grad.as_list()[0] if sizes[0] is None else sizes[0]
    return TensorShape(sizes)


@op("AvgPoolGrad", "orig_input_shape:int32; grad:T", "output:T",
    f"{_POOL}; padding:string{{SAME|VALID}}; {_FORMAT}; T:type{{{FLOATS}}}",
    infer=_avg_pool_grad_shape, lowering="avg_pool_grad")  # fmt: skip
@widened
def avg_pool_grad_op(
    orig_input_shape: Array, grad: Array, *, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> Array:
    """An equal share of the gradient for each element of a window."""
    pool = PoolWindows([int(size) for size in orig_input_shape], ksize, strides, padding, ())
    if grad.shape != pool.output:
        raise InvalidArgumentError(
            None, None, f"grad has shape {list(grad.shape)}, the pool gives {list(pool.output)}"
        )
    share = grad / pool.counts().astype(grad.dtype)
    return pool.scatter(lambda element: share, grad.dtype)


@avg_pool_grad_op.gradient
def avg_pool_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear: the pool itself."""
    return [None, emit.AvgPool(dy, **_pool_attributes(op))]


# ---------------------------------------------------------------------------- public functions


def _four(values: Any, data_format: str, name: str) -> list[int]:
    """Strides and the like as one number per axis: given as one number, two (or one), or four."""
    if isinstance(values, int | np.integer):
        values = [int(values)]
    values = [int(v) for v in values]
    if len(values) == 1:
        values *= 2
    if len(values) == 2:
        return [1, 1, *values] if data_format == "NCHW" else [1, *values, 1]
    if len(values) != 4:
        raise ValueError(f"{name} should be of length 1, 2 or 4 but was {len(values)}")
    return values


def _padding(padding: Any) -> dict[str, Any]:
    """The padding attributes of a name or of a list of pairs, one per axis."""
    if isinstance(padding, str):
        return {"padding": padding.upper()}
    if not isinstance(padding, list | tuple):
        raise ValueError(f"padding must be a string or a list of pairs, got {padding!r}")
    pairs = [tuple(int(size) for size in pair) for pair in padding]
    if len(pairs) != 4 or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"explicit padding must be a list of 4 pairs, got {padding!r}")
    return {"padding": "EXPLICIT", "explicit_paddings": [size for pair in pairs for size in pair]}


def _either(new: Any, old: Any, new_name: str, old_name: str) -> Any:
    if new is not None and old is not None:
        raise ValueError(f"Cannot specify both '{new_name}' and '{old_name}'")
    return old if new is None else new


def conv2d(
    input: Any, filter: Any = None, strides: Any = None, padding: Any = None, use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None, filters: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves images by filters.

    Args:
      input: [batch, height, width, in], or [batch, in, height, width] for "NCHW".
      filter: [height, width, in, out]; `filters` is its new name.
      strides: one number, one per image axis, or one per axis.
      padding: "SAME", "VALID", or a list of four (before, after) pairs.
      use_cudnn_on_gpu: accepted.
      data_format: "NHWC" or "NCHW".
      dilations: the steps between elements of a filter, given as the strides are.
      name: a name.
      filters: see `filter`.

    Returns:
      [batch, new height, new width, out], or channels second.

    Raises:
      ValueError: if shapes or numbers do not fit.
    """
    layout = data_format or "NHWC"
    w = _either(filters, filter, "filters", "filter")
    result: Tensor = emit.Conv2D(
        convert_to_tensor(input, name="input"), w, strides=_four(1 if strides is None else strides, layout, "strides"),
        dilations=_four(dilations if dilations is not None else 1, layout, "dilations"), data_format=layout,
        use_cudnn_on_gpu=use_cudnn_on_gpu, name=name, **_padding(padding),
    )  # fmt: skip
    return result


def conv2d_backprop_input(
    input_sizes: Any, filter: Any = None, out_backprop: Any = None, strides: Any = None, padding: Any = None,
    use_cudnn_on_gpu: bool = True, data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
    filters: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `conv2d` with respect to its images, whose shape is `input_sizes`."""
    w = _either(filters, filter, "filters", "filter")
    result: Tensor = emit.Conv2DBackpropInput(
        convert_to_tensor(input_sizes, dtypes.int32), w, out_backprop, strides=_four(strides, data_format, "strides"),
        dilations=_four(dilations, data_format, "dilations"), data_format=data_format,
        use_cudnn_on_gpu=use_cudnn_on_gpu, name=name, **_padding(padding),
    )  # fmt: skip
    return result


def conv2d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: Any, use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `conv2d` with respect to its filters, whose shape is `filter_sizes`."""
    result: Tensor = emit.Conv2DBackpropFilter(
        input, convert_to_tensor(filter_sizes, dtypes.int32), out_backprop,
        strides=_four(strides, data_format, "strides"), dilations=_four(dilations, data_format, "dilations"),
        data_format=data_format, use_cudnn_on_gpu=use_cudnn_on_gpu, name=name, **_padding(padding),
    )  # fmt: skip
    return result


def conv2d_transpose(
    value: Any = None, filter: Any = None, output_shape: Any = None, strides: Any = None, padding: Any = "SAME",
    data_format: str = "NHWC", name: str | None = None, input: Any = None, filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the transpose (gradient) of `conv2d`, which makes images larger.

    Args:
      value: [batch, height, width, in], or channels second; `input` is its new name.
      filter: [height, width, out, in]; `filters` is its new name.
      output_shape: the shape of the result.
      strides: one number, one per image axis, or one per axis.
      padding: "SAME", "VALID", or a list of four pairs.
      data_format: "NHWC" or "NCHW".
      name: a name.
      input: see `value`.
      filters: see `filter`.
      dilations: the steps between elements of a filter.

    Raises:
      ValueError: if shapes or numbers do not fit.
    """
    value = _either(input, value, "input", "value")
    w = _either(filters, filter, "filters", "filter")
    with name_scope(name, "conv2d_transpose", [value, w, output_shape]) as scope:
        if data_format not in ("NCHW", "NHWC"):
            raise ValueError("data_format has to be either NCHW or NHWC.")
        value = convert_to_tensor(value, name="value")
        w = convert_to_tensor(w, value.dtype, name="filter")
        channels = value.shape[1 if data_format == "NCHW" else 3] if value.shape.rank == 4 else None
        if (
            channels is not None
            and w.shape.rank == 4
            and not TensorShape([channels]).is_compatible_with([w.shape[3]])
        ):
            raise ValueError(
                f"input channels does not match filter's input channels, {channels} != {w.shape[3]}"
            )
        sizes = convert_to_tensor(output_shape, dtypes.int32, name="output_shape")
        if sizes.shape.rank is not None and sizes.shape.as_list() not in ([4], [None]):
            raise ValueError(f"output_shape must have shape (4,), got {sizes.shape}")
        result: Tensor = emit.Conv2DBackpropInput(
            sizes, w, value, strides=_four(strides, data_format, "strides"), data_format=data_format, name=scope,
            dilations=_four(1 if dilations is None else dilations, data_format, "dilations"), **_padding(padding),
        )  # fmt: skip
        return result


def conv1d(
    value: Any = None, filters: Any = None, stride: Any = None, padding: Any = None,
    use_cudnn_on_gpu: bool | None = None, data_format: str | None = None, name: str | None = None, input: Any = None,
    dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves sequences by filters.

    Args:
      value: [batch, width, in], or [batch, in, width] for "NCW"; `input` is its new name.
      filters: [width, in, out].
      stride: the step.
      padding: "SAME" or "VALID".
      use_cudnn_on_gpu: accepted.
      data_format: "NWC" (or "NHWC") or "NCW" (or "NCHW").
      name: a name.
      input: see `value`.
      dilations: the step between elements of a filter.
    """
    value = _either(input, value, "input", "value")
    with name_scope(name, "conv1d", [value, filters]):
        layouts = {None: "NHWC", "NWC": "NHWC", "NHWC": "NHWC", "NCW": "NCHW", "NCHW": "NCHW"}
        if data_format not in layouts:
            raise ValueError('data_format must be "NWC" or "NCW".')
        layout = layouts[data_format]
        axis = 2 if layout == "NCHW" else 1
        value = emit.ExpandDims(convert_to_tensor(value), axis)
        w = emit.ExpandDims(convert_to_tensor(filters, value.dtype), 0)
        step, dilation = _one(stride), _one(1 if dilations is None else dilations)
        result = emit.Conv2D(
            value, w, strides=_four([1, step], layout, "strides"), dilations=_four([1, dilation], layout, "dilations"),
            data_format=layout, **_padding(padding),
        )  # fmt: skip
        squeezed: Tensor = emit.Squeeze(result, squeeze_dims=(axis,))
        return squeezed


def _one(values: Any) -> int:
    """The step along the only axis of a sequence."""
    if isinstance(values, int | np.integer):
        return int(values)
    values = [int(v) for v in values]
    if len(values) == 3:
        return max(values)
    if len(values) != 1:
        raise ValueError(f"stride should be of length 1 or 3 but was {len(values)}")
    return values[0]


def depthwise_conv2d_native(
    input: Any, filter: Any, strides: Any, padding: Any, data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Convolves each channel by filters of its own; see `depthwise_conv2d`."""
    result: Tensor = emit.DepthwiseConv2dNative(
        convert_to_tensor(input), filter, strides=_four(strides, data_format, "strides"), data_format=data_format,
        dilations=_four(dilations, data_format, "dilations"), name=name, **_padding(padding),
    )  # fmt: skip
    return result


def depthwise_conv2d(
    input: Any, filter: Any, strides: Any, padding: Any, rate: Any = None, name: str | None = None,
    data_format: str | None = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves each channel by filters of its own.

    Args:
      input: [batch, height, width, in], or channels second.
      filter: [height, width, in, multiplier].
      strides: one number, one per image axis, or one per axis.
      padding: "SAME", "VALID", or a list of four pairs.
      rate: the steps between elements of a filter; `dilations` is its new name.
      name: a name.
      data_format: "NHWC" or "NCHW".
      dilations: see `rate`.

    Returns:
      [batch, new height, new width, in * multiplier], or channels second.
    """
    rate = _either(dilations, rate, "dilations", "rate")
    layout = data_format or "NHWC"
    with name_scope(name, "depthwise", [input, filter]) as scope:
        return depthwise_conv2d_native(
            convert_to_tensor(input, name="tensor_in"), filter, strides, padding, layout, 1 if rate is None else rate,
            name=scope,
        )  # fmt: skip


def separable_conv2d(
    input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: Any, rate: Any = None,
    name: str | None = None, data_format: str | None = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves each channel by itself, then mixes the channels of each point.

    Args:
      input: [batch, height, width, in], or channels second.
      depthwise_filter: [height, width, in, multiplier].
      pointwise_filter: [1, 1, in * multiplier, out].
      strides: of the first step; as in `conv2d`.
      padding: of the first step.
      rate: the steps between elements of the first filter; `dilations` is its new name.
      name: a name.
      data_format: "NHWC" or "NCHW".
      dilations: see `rate`.

    Raises:
      ValueError: if the second filter is larger than one point.
    """
    rate = _either(dilations, rate, "dilations", "rate")
    layout = data_format or "NHWC"
    with name_scope(name, "separable_conv2d", [input, depthwise_filter, pointwise_filter]) as scope:
        pointwise = convert_to_tensor(pointwise_filter, name="pointwise_filter")
        if not pointwise.shape.with_rank(4)[:2].is_compatible_with([1, 1]):
            raise ValueError(f"pointwise_filter must be of height and width 1, has shape {pointwise.shape}")
        middle = depthwise_conv2d_native(
            convert_to_tensor(input, name="input"), depthwise_filter, strides, padding, layout,
            1 if rate is None else rate, name="depthwise",
        )  # fmt: skip
        return conv2d(middle, pointwise, [1, 1, 1, 1], "VALID", data_format=layout, name=scope)


def atrous_conv2d(value: Any, filters: Any, rate: int, padding: Any, name: str | None = None) -> Tensor:
    """Convolves images by filters whose elements lie `rate` apart.

    Raises:
      ValueError: if the rate is less than one.
    """
    if rate < 1:
        raise ValueError(f"rate {rate} cannot be less than one")
    return conv2d(value, filters, 1, padding, dilations=rate, name=name or "convolution")


def atrous_conv2d_transpose(
    value: Any, filters: Any, output_shape: Any, rate: int, padding: Any, name: str | None = None
) -> Tensor:
    """Returns the transpose of `atrous_conv2d`."""
    return conv2d_transpose(
        value, filters, output_shape, 1, padding, name=name or "atrous_conv2d_transpose", dilations=rate
    )


def max_pool(
    value: Any = None, ksize: Any = None, strides: Any = None, padding: Any = None, data_format: str = "NHWC",
    name: str | None = None, input: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the largest element of each window.

    Args:
      value: [batch, height, width, channels], or channels second; `input` is its new name.
      ksize: the window: one number, one per image axis, or one per axis.
      strides: the steps, given likewise.
      padding: "SAME", "VALID", or a list of four pairs.
      data_format: "NHWC" or "NCHW".
      name: a name.
      input: see `value`.
    """
    value = _either(input, value, "input", "value")
    with name_scope(name, "MaxPool", [value]) as scope:
        result: Tensor = emit.MaxPool(
            convert_to_tensor(value, name="input"), ksize=_four(ksize, data_format, "ksize"),
            strides=_four(strides, data_format, "strides"), data_format=data_format, name=scope, **_padding(padding),
        )  # fmt: skip
        return result


def avg_pool(
    value: Any = None, ksize: Any = None, strides: Any = None, padding: Any = None, data_format: str = "NHWC",
    name: str | None = None, input: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window; the arguments are those of `max_pool`, without explicit padding."""
    value = _either(input, value, "input", "value")
    with name_scope(name, "AvgPool", [value]) as scope:
        result: Tensor = emit.AvgPool(
            convert_to_tensor(value, name="value"), ksize=_four(ksize, data_format, "ksize"),
            strides=_four(strides, data_format, "strides"), padding=str(padding).upper(), data_format=data_format,
            name=scope,
        )  # fmt: skip
        return result


__all__ = [
    "atrous_conv2d", "atrous_conv2d_transpose", "avg_pool", "conv1d", "conv2d", "conv2d_backprop_filter",
    "conv2d_backprop_input", "conv2d_transpose", "depthwise_conv2d", "depthwise_conv2d_native",
    "max_pool", "separable_conv2d",
]  # fmt: skip
