"""Convolutions and pools over volumes: [batch, depth, height, width, channels], or channels second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.convolution import PoolWindows, lowest, padding_of
from graphflow.ops.rules import FLOATS, Array, rank_exactly, shape_tensor, widened, within_int32
from graphflow.shapes import TensorShape

Triple = tuple[int, int, int]

_FORMAT = "data_format:string{NDHWC|NCDHW}=NDHWC"
_CONV = "strides:list(int)>=5; padding:string{SAME|VALID}; " + _FORMAT + "; dilations:list(int)=[1 1 1 1 1]"
_POOL = f"ksize:list(int)>=5; strides:list(int)>=5; padding:string{{SAME|VALID}}; {_FORMAT}"


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


# ---------------------------------------------------------------------------- shapes


def _inner(data_format: str) -> tuple[Triple, int]:
    """The axes of depth, height and width, and that of the channels."""
    return ((2, 3, 4), 1) if data_format == "NCDHW" else ((1, 2, 3), 4)


def _check_steps(attrs: Any) -> None:
    _, channels = _inner(attrs["data_format"])
    for name in ("strides", "dilations"):
        values = attrs[name]
        if len(values) != 5 or min(values) < 1 or values[0] != 1 or values[channels] != 1:
            raise ShapeError(
                f"{name} must be 5 positive numbers, 1 for batch and channels, got {list(values)}"
            )
        within_int32(name, values)


def _along(size: int | None, window: int | None, stride: int, dilation: int, padding: str) -> int | None:
    if size is None:
        return None
    if padding == "SAME":
        return -(-size // stride)
    if window is None:
        return None
    reach = (window - 1) * dilation + 1
    if size < reach:
        raise ShapeError(f"the window of {reach} is larger than the volume of {size}")
    return (size - reach) // stride + 1


def _assembled(data_format: str, batch: Any, inner: Sequence[Any], channels: Any) -> TensorShape:
    return TensorShape([batch, channels, *inner] if data_format == "NCDHW" else [batch, *inner, channels])


def _conv_output(node: Any, x: TensorShape, w: TensorShape) -> TensorShape:
    attrs = node.attrs
    _check_steps(attrs)
    axes, channel_axis = _inner(attrs["data_format"])
    volume, filters = x.with_rank(5).as_list(), w.with_rank(5).as_list()
    depth, inside = volume[channel_axis], filters[3]
    if depth is not None and inside is not None and (inside == 0 or depth % inside):
        raise ShapeError(f"the volumes {x} have {depth} channels, the filters {w} are for {inside}")
    sizes = [
        _along(volume[axis], filters[i], attrs["strides"][axis], attrs["dilations"][axis], attrs["padding"])
        for i, axis in enumerate(axes)
    ]
    return _assembled(attrs["data_format"], volume[0], sizes, filters[4])


def _conv_shape(node: Any) -> TensorShape:
    return _conv_output(
        node, rank_exactly(node, 0, 5, "the volumes"), rank_exactly(node, 1, 5, "the filters")
    )


def _conv_input_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 1, "input_sizes")
    w = rank_exactly(node, 1, 5, "the filters")
    dy = rank_exactly(node, 2, 5, "out_backprop")
    x: TensorShape = node.constant_shape(0)
    x = TensorShape([None] * 5) if x.rank is None else x.with_rank(5)
    expected = _conv_output(node, x, w)
    if not expected.is_compatible_with(dy):
        raise ShapeError(f"out_backprop has shape {dy}, a convolution of these sizes gives {expected}")
    return x


def _conv_filter_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 5, "the volumes")
    rank_exactly(node, 1, 1, "filter_sizes")
    dy = rank_exactly(node, 2, 5, "out_backprop")
    w: TensorShape = node.constant_shape(1)
    w = TensorShape([None] * 5) if w.rank is None else w.with_rank(5)
    expected = _conv_output(node, x, w)
    if not expected.is_compatible_with(dy):
        raise ShapeError(f"out_backprop has shape {dy}, a convolution of these sizes gives {expected}")
    return w


# ---------------------------------------------------------------------------- convolution in NumPy


def _last(x: Array, data_format: str) -> Array:
    return np.moveaxis(x, 1, -1) if data_format == "NCDHW" else x


def _back(x: Array, data_format: str) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if data_format == "NCDHW" else x


class _Geometry:
    """Steps and paddings of one convolution, by depth, height and width."""

    def __init__(
        self, volume: Sequence[int], window: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
        padding: str, data_format: str,
    ) -> None:  # fmt: skip
        axes, _ = _inner(data_format)
        self.volume, self.window = tuple(volume), tuple(window)
        self.strides = tuple(strides[a] for a in axes)
        self.dilations = tuple(dilations[a] for a in axes)
        self.padding = [
            padding_of(padding, (), 0, volume[i], window[i], self.strides[i], self.dilations[i])
            for i in range(3)
        ]
        self.output = tuple(
            max(
                0,
                (volume[i] + sum(self.padding[i]) - (window[i] - 1) * self.dilations[i] - 1)
                // self.strides[i]
                + 1,
            )
            for i in range(3)
        )

    def windows(self, x: Array) -> Array:
        """A view of the padded volumes as [n, od, oh, ow, c, kd, kh, kw]."""
        padded = np.pad(x, [(0, 0), *self.padding, (0, 0)])
        steps = padded.strides
        inner = range(3)
        return np.lib.stride_tricks.as_strided(
            padded,
            (padded.shape[0], *self.output, padded.shape[4], *self.window),
            (
                steps[0], *(steps[1 + i] * self.strides[i] for i in inner), steps[4],
                *(steps[1 + i] * self.dilations[i] for i in inner),
            ),
            writeable=False,
        )  # fmt: skip

    def collect(self, batch: int, channels: int, dtype: Any, part: Callable[..., Array]) -> Array:
        """Sums `part(i, j, k)` into the volume's places under that element of the windows."""
        sizes = [size + sum(pad) for size, pad in zip(self.volume, self.padding, strict=True)]
        padded = np.zeros((batch, *sizes, channels), dtype)
        for element in np.ndindex(*self.window):
            places = tuple(
                slice(
                    e * self.dilations[i],
                    e * self.dilations[i] + (self.output[i] - 1) * self.strides[i] + 1,
                    self.strides[i],
                )
                for i, e in enumerate(element)
            )
            padded[(slice(None), *places)] += part(*element)
        inside = tuple(
            slice(pad[0], pad[0] + size) for size, pad in zip(self.volume, self.padding, strict=True)
        )
        return padded[(slice(None), *inside)]


def _require(dy: Array, batch: int, geometry: _Geometry, channels: int) -> None:
    expected = (batch, *geometry.output, channels)
    if dy.shape != expected:
        raise _refuse(f"out_backprop has shape {list(dy.shape)} (channels last), expected {list(expected)}")


def _grouped(depth: int, inside: int) -> int:
    if inside == 0 or depth % inside:
        raise _refuse(f"input depth must be evenly divisible by filter depth: {depth} vs {inside}")
    return depth // inside


_Steps = Sequence[int]


@op("Conv3D", "input:T; filter:T", "output:T", f"T:type{{{FLOATS}}}; {_CONV}", infer=_conv_shape)
@widened
def conv3d_op(
    input: Array, filter: Array, *, strides: _Steps, padding: str, data_format: str = "NDHWC",
    dilations: _Steps = (1, 1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The convolution of volumes by filters [depth, height, width, in, out]."""
    x = _last(input, data_format)
    geometry = _Geometry(x.shape[1:4], filter.shape[:3], strides, dilations, padding, data_format)
    inside = filter.shape[3]
    groups = _grouped(x.shape[4], inside)
    windows, outside = geometry.windows(x), filter.shape[4] // groups
    parts = [
        np.tensordot(
            windows[:, :, :, :, g * inside : (g + 1) * inside], filter[..., g * outside : (g + 1) * outside],
            axes=((5, 6, 7, 4), (0, 1, 2, 3)),
        )
        for g in range(groups)
    ]  # fmt: skip
    return _back(np.concatenate(parts, axis=-1), data_format)


conv3d_op.by_row(row_rules.first_axis)


def _conv_attributes(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in ("strides", "padding", "data_format", "dilations")}


@conv3d_op.gradient
def conv3d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The convolution's two other directions."""
    x, w = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.Conv3DBackpropInputV2(shape_tensor(x), w, dy, **attrs),
        emit.Conv3DBackpropFilterV2(x, shape_tensor(w), dy, **attrs),
    ]


@op("Conv3DBackpropInputV2", "input_sizes:Tshape; filter:T; out_backprop:T", "output:T",
    f"T:type{{{FLOATS}}}; {_CONV}; Tshape:type{{int32|int64}}=int32", infer=_conv_input_shape)  # fmt: skip
@widened
def conv3d_backprop_input_op(
    input_sizes: Array, filter: Array, out_backprop: Array, *, strides: _Steps, padding: str,
    data_format: str = "NDHWC", dilations: _Steps = (1, 1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a convolution with respect to its volumes."""
    sizes = [int(size) for size in input_sizes]
    if len(sizes) != 5 or min(sizes) < 0:
        raise _refuse(f"input_sizes must be 5 sizes, got {sizes}")
    axes, channels = _inner(data_format)
    dy, depth = _last(out_backprop, data_format), sizes[channels]
    volume = [sizes[a] for a in axes]
    geometry = _Geometry(volume, filter.shape[:3], strides, dilations, padding, data_format)
    _require(dy, sizes[0], geometry, filter.shape[4])
    groups = _grouped(depth, filter.shape[3])
    outside = filter.shape[4] // groups

    def part(i: int, j: int, k: int) -> Array:
        w = filter[i, j, k]
        pieces = [
            dy[..., g * outside : (g + 1) * outside] @ w[:, g * outside : (g + 1) * outside].T
            for g in range(groups)
        ]
        return np.concatenate(pieces, axis=-1)

    return _back(geometry.collect(sizes[0], depth, dy.dtype, part), data_format)


@conv3d_backprop_input_op.gradient
def conv3d_backprop_input_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in filters and gradient: the convolution's other directions again."""
    _, w, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        None,
        emit.Conv3DBackpropFilterV2(dy, shape_tensor(w), out_backprop, **attrs),
        emit.Conv3D(dy, w, **attrs),
    ]


@op("Conv3DBackpropFilterV2", "input:T; filter_sizes:int32; out_backprop:T", "output:T",
    f"T:type{{{FLOATS}}}; {_CONV}", infer=_conv_filter_shape)  # fmt: skip
@widened
def conv3d_backprop_filter_op(
    input: Array, filter_sizes: Array, out_backprop: Array, *, strides: _Steps, padding: str,
    data_format: str = "NDHWC", dilations: _Steps = (1, 1, 1, 1, 1),
) -> Array:  # fmt: skip
    """The gradient of a convolution with respect to its filters."""
    x, dy = _last(input, data_format), _last(out_backprop, data_format)
    sizes = [int(size) for size in filter_sizes]
    if len(sizes) != 5 or min(sizes) < 0:
        raise _refuse(f"filter_sizes must be 5 sizes, got {sizes}")
    geometry = _Geometry(x.shape[1:4], sizes[:3], strides, dilations, padding, data_format)
    _require(dy, x.shape[0], geometry, sizes[4])
    groups = _grouped(x.shape[4], sizes[3])
    windows, outside, inside = geometry.windows(x), sizes[4] // groups, sizes[3]
    parts = [
        np.tensordot(
            windows[:, :, :, :, g * inside : (g + 1) * inside], dy[..., g * outside : (g + 1) * outside],
            axes=((0, 1, 2, 3), (0, 1, 2, 3)),
        )
        for g in range(groups)
    ]  # fmt: skip
    return np.concatenate(parts, axis=-1).transpose(1, 2, 3, 0, 4)


@conv3d_backprop_filter_op.gradient
def conv3d_backprop_filter_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in volumes and gradient: the convolution's other directions again."""
    x, _, out_backprop = op.inputs
    attrs = _conv_attributes(op)
    return [
        emit.Conv3DBackpropInputV2(shape_tensor(x), dy, out_backprop, **attrs),
        None,
        emit.Conv3D(x, dy, **attrs),
    ]


# ---------------------------------------------------------------------------- convolution as convolutions of images


class _Layers:
    """A convolution of volumes as one of images per layer of its filters, whose results add up."""

    def __init__(self, builder: Any, attrs: Any, volume: Sequence[int], window: Sequence[int]) -> None:
        self.builder = builder
        self.volume = tuple(volume)  # n, d, h, w, c
        self.geometry = _Geometry(
            volume[1:4], window[:3], attrs["strides"], attrs["dilations"], attrs["padding"], "NDHWC"
        )
        self.image_attrs = {
            "padding": attrs["padding"],
            "strides": (1, *attrs["strides"][2:4], 1),
            "dilations": (1, *attrs["dilations"][2:4], 1),
        }

    def fixed(self, values: Any) -> Any:
        """A constant that holds for volumes of this size only."""
        return self.builder.constant(np.array(values, np.int32), specialized=True)

    def images(self, x: Any, layer: int) -> Any:
        """The images that a layer of the filters meets: [n * od, h, w, c]; zeros beyond the volume."""
        n, d, h, w, c = self.volume
        stride, start = self.geometry.strides[0], layer * self.geometry.dilations[0]
        count = self.geometry.output[0]
        at = start - self.geometry.padding[0][0] + np.arange(count) * stride
        picked = self.builder.emit(
            "GatherV2", x, self.fixed(np.clip(at, 0, d - 1)), self.builder.constant(np.array(1, np.int32))
        )
        outside = (at < 0) | (at >= d)
        if outside.any():
            zero = self.builder.constant(np.zeros((), x.dtype.numpy))
            mask = self.builder.constant((~outside).reshape(1, -1, 1, 1, 1), specialized=True)
            picked = self.builder.emit("SelectV2", mask, picked, zero)
        return self.builder.emit("Reshape", picked, self.fixed([n * count, h, w, c]))

    def filters(self, w: Any, layer: int) -> Any:
        """One layer of the filters: [h, w, in, out]."""
        return self.builder.emit(
            "StridedSlice", w, self.fixed([layer]), self.fixed([layer + 1]), self.fixed([1]), shrink_axis_mask=1
        )  # fmt: skip

    def summed(self, parts: Sequence[Any]) -> Any:
        total = parts[0]
        for part in parts[1:]:
            total = self.builder.emit("AddV2", total, part)
        return total


def _plain(node: Any, *values: Any) -> bool:
    """Whether images per layer can do it: channels last, one group, sizes known and none zero."""
    if node.attrs["data_format"] != "NDHWC" or any(v.sizes is None for v in values):
        return False
    return values[0].dtype in (dtypes.float32, dtypes.float64) and not any(0 in v.sizes for v in values)


@conv3d_op.expand
def conv3d_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The sum of convolutions of images, one per layer of the filters."""
    x, w = inputs
    if not _plain(node, x, w, node.outputs[0]) or x.sizes[4] != w.sizes[3]:
        return None
    layers = _Layers(builder, node.attrs, x.sizes, w.sizes)
    parts = [
        builder.emit("Conv2D", layers.images(x, i), layers.filters(w, i), **layers.image_attrs)
        for i in range(w.sizes[0])
    ]
    return [builder.emit("Reshape", layers.summed(parts), layers.fixed(node.outputs[0].sizes))]


@conv3d_backprop_filter_op.expand
def conv3d_backprop_filter_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The gradient of each layer of the filters, by images."""
    x, _, dy = inputs
    made = node.outputs[0]
    if not _plain(node, x, dy, made) or x.sizes[4] != made.sizes[3]:
        return None
    layers = _Layers(builder, node.attrs, x.sizes, made.sizes)
    flat = builder.emit("Reshape", dy, layers.fixed([dy.sizes[0] * dy.sizes[1], *dy.sizes[2:]]))
    size = layers.fixed(made.sizes[1:])
    parts = [
        builder.emit("Conv2DBackpropFilter", layers.images(x, i), size, flat, **layers.image_attrs)
        for i in range(made.sizes[0])
    ]
    return [builder.emit("Pack", *parts, N=len(parts), axis=0)]


@conv3d_backprop_input_op.expand
def conv3d_backprop_input_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The sum over layers of the filters of gradients of images, each moved along the depth."""
    _, w, dy = inputs
    made = node.outputs[0]
    if not _plain(node, w, dy, made) or made.sizes[4] != w.sizes[3] or node.attrs["strides"][1] != 1:
        return None
    layers = _Layers(builder, node.attrs, made.sizes, w.sizes)
    n, d, height, width, depth = made.sizes
    count = dy.sizes[1]
    before, step = layers.geometry.padding[0][0], layers.geometry.dilations[0]
    axis = builder.constant(np.array(1, np.int32))
    parts = []
    for i in range(w.sizes[0]):
        at = np.arange(d) + before - i * step  # the layer of dy that meets each layer of the volume
        picked = builder.emit("GatherV2", dy, layers.fixed(np.clip(at, 0, count - 1)), axis)
        outside = (at < 0) | (at >= count)
        if outside.any():
            zero = builder.constant(np.zeros((), dy.dtype.numpy))
            mask = builder.constant((~outside).reshape(1, -1, 1, 1, 1), specialized=True)
            picked = builder.emit("SelectV2", mask, picked, zero)
        flat = builder.emit("Reshape", picked, layers.fixed([n * d, *dy.sizes[2:]]))
        size = layers.fixed([n * d, height, width, depth])
        parts.append(
            builder.emit("Conv2DBackpropInput", size, layers.filters(w, i), flat, **layers.image_attrs)
        )
    return [builder.emit("Reshape", layers.summed(parts), layers.fixed(made.sizes))]


# ---------------------------------------------------------------------------- pools


def _pooled(node: Any, x: TensorShape) -> TensorShape:
    attrs = node.attrs
    for name in ("ksize", "strides"):
        values = attrs[name]
        if len(values) != 5 or min(values) < 1 or values[0] != 1:
            raise ShapeError(f"{name} must be 5 positive numbers, the first of them 1, got {list(values)}")
        within_int32(name, values)
    sizes = x.with_rank(5).as_list()
    # The batch may be empty: only axes that are pooled have windows that must fit.
    return TensorShape([
        size if size == 0 and attrs["ksize"][i] == attrs["strides"][i] == 1
        else _along(size, attrs["ksize"][i], attrs["strides"][i], 1, attrs["padding"])
        for i, size in enumerate(sizes)
    ])  # fmt: skip


def _pool_shape(node: Any) -> TensorShape:
    return _pooled(node, rank_exactly(node, 0, 5, "the volumes"))


def _pool_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 5, "orig_input")
    expected = _pooled(node, x)
    for position, name in ((1, "orig_output"), (2, "grad")):
        if not expected.is_compatible_with(node.inputs[position].shape):
            raise ShapeError(f"{name} has shape {node.inputs[position].shape}, the pool gives {expected}")
    return x


def _pool_grad_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 5, "orig_input")
    if not x.is_compatible_with(node.inputs[2].shape):
        raise ShapeError(f"grad has shape {node.inputs[2].shape}, orig_input {x}")
    made = _pooled(node, x)
    if not made.is_compatible_with(node.inputs[1].shape):
        raise ShapeError(f"orig_output has shape {node.inputs[1].shape}, the pool gives {made}")
    return made


def _pool_attributes(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in ("ksize", "strides", "padding", "data_format")}


# Double precision, which TensorFlow has not, lets gradients be checked.
_MAX_TYPES = "float16|bfloat16|float32|float64"


@op("MaxPool3D", "input:T", "output:T", f"{_POOL}; T:type{{{_MAX_TYPES}}}", infer=_pool_shape)
@widened
def max_pool3d_op(input: Array, *, ksize: _Steps, strides: _Steps, padding: str) -> Array:
    """The largest element of each window."""
    pool = PoolWindows(input.shape, ksize, strides, padding, ())
    return np.max(pool.windows(input, lowest(input.dtype)), axis=-1)


max_pool3d_op.by_row(row_rules.first_axis)


@max_pool3d_op.gradient
def max_pool3d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the largest element of each window."""
    return [emit.MaxPool3DGrad(op.inputs[0], op.outputs[0], dy, **_pool_attributes(op))]


@op("MaxPool3DGrad", "orig_input:TInput; orig_output:TInput; grad:T", "output:T",
    f"{_POOL}; T:type{{{_MAX_TYPES}}}=float32; TInput:type{{{_MAX_TYPES}}}=float32",
    infer=_pool_grad_shape)  # fmt: skip
@widened
def max_pool3d_grad_op(
    orig_input: Array, orig_output: Array, grad: Array, *, ksize: _Steps, strides: _Steps, padding: str
) -> Array:
    """The gradient put where each window has its largest element, the first one of equals."""
    pool = PoolWindows(orig_input.shape, ksize, strides, padding, ())
    chosen = np.argmax(pool.windows(orig_input, lowest(orig_input.dtype)), axis=-1)
    zero = np.zeros((), grad.dtype)
    return pool.scatter(lambda element: np.where(chosen == element, grad, zero), grad.dtype)


@max_pool3d_grad_op.gradient
def max_pool3d_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient picked up where it was put."""
    return [None, None, emit.MaxPool3DGradGrad(op.inputs[0], op.inputs[1], dy, **_pool_attributes(op))]


@op("MaxPool3DGradGrad", "orig_input:T; orig_output:T; grad:T", "output:T", f"{_POOL}; T:type{{{_MAX_TYPES}}}",
    infer=_pool_grad_grad_shape)  # fmt: skip
@widened
def max_pool3d_grad_grad_op(
    orig_input: Array, orig_output: Array, grad: Array, *, ksize: _Steps, strides: _Steps, padding: str
) -> Array:
    """The elements of `grad` that stand where each window has its largest element."""
    pool = PoolWindows(orig_input.shape, ksize, strides, padding, ())
    chosen = np.argmax(pool.windows(orig_input, lowest(orig_input.dtype)), axis=-1)
    return np.take_along_axis(pool.windows(grad, 0), chosen[..., None], axis=-1)[..., 0]


@max_pool3d_grad_grad_op.gradient
def max_pool3d_grad_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Put back where it was picked up."""
    return [None, None, emit.MaxPool3DGrad(op.inputs[0], op.inputs[1], dy, **_pool_attributes(op))]


@op("AvgPool3D", "input:T", "output:T", f"{_POOL}; T:type{{{FLOATS}}}", infer=_pool_shape)
@widened
def avg_pool3d_op(input: Array, *, ksize: _Steps, strides: _Steps, padding: str) -> Array:
    """The mean of each window; the margins do not count."""
    pool = PoolWindows(input.shape, ksize, strides, padding, ())
    return np.sum(pool.windows(input, 0), axis=-1) / pool.counts().astype(input.dtype)


avg_pool3d_op.by_row(row_rules.first_axis)


@avg_pool3d_op.gradient
def avg_pool3d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """An equal share to each element of a window."""
    return [emit.AvgPool3DGrad(shape_tensor(op.inputs[0]), dy, **_pool_attributes(op))]


def _avg_grad_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 1, "orig_input_shape")
    grad = rank_exactly(node, 1, 5, "grad")
    x: TensorShape = node.constant_shape(0)
    if x.rank is None:
        return TensorShape([None] * 5)
    expected = _pooled(node, x.with_rank(5))
    if not expected.is_compatible_with(grad):
        raise ShapeError(f"grad has shape {grad}, the pool gives {expected}")
    return x


@op("AvgPool3DGrad", "orig_input_shape:int32; grad:T", "output:T", f"{_POOL}; T:type{{{FLOATS}}}",
    infer=_avg_grad_shape)  # fmt: skip
@widened
def avg_pool3d_grad_op(
    orig_input_shape: Array, grad: Array, *, ksize: _Steps, strides: _Steps, padding: str
) -> Array:
    """An equal share of the gradient for each element of a window."""
    pool = PoolWindows([int(size) for size in orig_input_shape], ksize, strides, padding, ())
    if grad.shape != pool.output:
        raise _refuse(f"grad has shape {list(grad.shape)}, the pool gives {list(pool.output)}")
    share = grad / pool.counts().astype(grad.dtype)
    return pool.scatter(lambda element: share, grad.dtype)


@avg_pool3d_grad_op.gradient
def avg_pool3d_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear: the pool itself."""
    return [None, emit.AvgPool3D(dy, **_pool_attributes(op))]


# ---------------------------------------------------------------------------- public functions


def _five(values: Any, data_format: str, name: str) -> list[int]:
    """Steps as one number per axis: given as one number, three, or five."""
    numbers = [int(v) for v in np.ravel(values)]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) == 3:
        return [1, 1, *numbers] if data_format == "NCDHW" else [1, *numbers, 1]
    if len(numbers) != 5:
        raise ValueError(f"{name} should be of length 1, 3 or 5 but was {len(numbers)}")
    return numbers


def conv3d(
    input: Any, filter: Any = None, strides: Any = None, padding: str | None = None, data_format: str = "NDHWC",
    dilations: Any = (1, 1, 1, 1, 1), name: str | None = None, filters: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves volumes by filters.

    Args:
      input: [batch, depth, height, width, in], or channels second for "NCDHW".
      filter: [depth, height, width, in, out]; `filters` is its new name.
      strides: one number per axis.
      padding: "SAME" or "VALID".
      data_format: "NDHWC" or "NCDHW".
      dilations: the steps between elements of a filter.
      name: a name.
      filters: see `filter`.

    Returns:
      [batch, new depth, new height, new width, out], or channels second.
    """
    result: Tensor = emit.Conv3D(
        convert_to_tensor(input, name="input"), filter if filters is None else filters,
        strides=_five(strides, data_format, "strides"), padding=padding, data_format=data_format,
        dilations=_five(1 if dilations is None else dilations, data_format, "dilations"), name=name,
    )  # fmt: skip
    return result


def conv3d_transpose(
    value: Any, filter: Any = None, output_shape: Any = None, strides: Any = None, padding: str = "SAME",
    data_format: str = "NDHWC", name: str | None = None, input: Any = None, filters: Any = None,
    dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the transpose (gradient) of `conv3d`, which makes volumes larger.

    Args:
      value: [batch, depth, height, width, in], or channels second; `input` is its new name.
      filter: [depth, height, width, out, in]; `filters` is its new name.
      output_shape: the shape of the result.
      strides: one number, one per axis of the volume, or one per axis.
      padding: "SAME" or "VALID".
      data_format: "NDHWC" or "NCDHW".
      name: a name.
      input: see `value`.
      filters: see `filter`.
      dilations: the steps between elements of a filter.
    """
    value = value if input is None else input
    w = filter if filters is None else filters
    with name_scope(name, "conv3d_transpose", [value, w, output_shape]) as scope:
        value = convert_to_tensor(value, name="value")
        result: Tensor = emit.Conv3DBackpropInputV2(
            convert_to_tensor(output_shape, preferred_dtype=dtypes.int32), convert_to_tensor(w, value.dtype), value,
            strides=_five(strides, data_format, "strides"), padding=padding, data_format=data_format, name=scope,
            dilations=_five(1 if dilations is None else dilations, data_format, "dilations"),
        )  # fmt: skip
        return result


def conv3d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: str, data_format: str = "NDHWC",
    dilations: Any = (1, 1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `conv3d` with respect to its filters, whose shape is `filter_sizes`."""
    result: Tensor = emit.Conv3DBackpropFilterV2(
        input, convert_to_tensor(filter_sizes, dtypes.int32), out_backprop, strides=list(strides), padding=padding,
        data_format=data_format, dilations=list(dilations), name=name,
    )  # fmt: skip
    return result


def _pool(
    op_type: str, scope: str, x: Any, ksize: Any, strides: Any, padding: str, layout: str, name: Any
) -> Tensor:
    with name_scope(name, scope, [x]) as full:
        result: Tensor = getattr(emit, op_type)(
            convert_to_tensor(x, name="input"), ksize=_five(ksize, layout, "ksize"),
            strides=_five(strides, layout, "strides"), padding=padding.upper(), data_format=layout, name=full,
        )  # fmt: skip
        return result


def max_pool3d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NDHWC", name: str | None = None
) -> Tensor:
    """Returns the largest element of each window of volumes.

    Args:
      input: [batch, depth, height, width, channels], or channels second.
      ksize: the window: one number, one per axis of the volume, or one per axis.
      strides: the steps, given likewise.
      padding: "SAME" or "VALID".
      data_format: "NDHWC" or "NCDHW".
      name: a name.
    """
    return _pool("MaxPool3D", "MaxPool3D", input, ksize, strides, padding, data_format or "NDHWC", name)


def avg_pool3d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NDHWC", name: str | None = None
) -> Tensor:
    """Returns the mean of each window of volumes; see `max_pool3d`."""
    return _pool("AvgPool3D", "AvgPool3D", input, ksize, strides, padding, data_format or "NDHWC", name)


__all__ = ["avg_pool3d", "conv3d", "conv3d_backprop_filter", "conv3d_transpose", "max_pool3d"]
