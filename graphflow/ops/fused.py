"""Several ops in one, as optimized graphs of TensorFlow hold them: each is spelt in the ops it stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.opdef import InferContext, get_op, op, run_infer
from graphflow.ops.rules import FLOATS, Array, rank_exactly, refuse, undefined_gradient, widened
from graphflow.shapes import TensorShape

_CONV = "strides:list(int); padding:string{SAME|VALID}"
_MODE = "mode:string{REFLECT|SYMMETRIC}"


class _Between:
    """What one op hands to the next inside of a fused one, as shape rules see it."""

    def __init__(self, shape: TensorShape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def _shape_of(node: InferContext, op_type: str, inputs: Sequence[Any], attrs: dict[str, Any]) -> TensorShape:
    """The shape that the op gives, as part of this node."""
    definition = get_op(op_type)
    defaults = {name: attr.default for name, attr in definition.attrs.items() if attr.default is not None}
    return run_infer(node.part(definition, inputs, {**defaults, **attrs}))[0]


# ---------------------------------------------------------------------------- margins, then a convolution


def _pad_conv_shape(node: Any) -> TensorShape:
    return _padded_conv_shape(node, _some_images(node), 1, 2)


def _some_images(node: Any) -> TensorShape:
    images = rank_exactly(node, 0, 4, "the images")
    if 0 in images.as_list():
        raise ShapeError(f"the images must not be empty, have shape {images}")
    return images


def _padded_conv_shape(node: Any, x: TensorShape, paddings: int, filters: int) -> TensorShape:
    kind = node.inputs[filters].dtype
    padded = _shape_of(
        node, "MirrorPad", [_Between(x, kind), node.inputs[paddings]], {"mode": node.attrs["mode"]}
    )
    return _shape_of(
        node, "Conv2D", [_Between(padded.with_rank(4), kind), node.inputs[filters]],
        {"strides": node.attrs["strides"], "padding": node.attrs["padding"]},
    )  # fmt: skip


def _pad_conv_body(
    x: Array, paddings: Array, filter: Array, mode: str, strides: Sequence[int], padding: str
) -> Array:
    if not x.size:
        raise refuse(f"the images must not be empty, have shape {list(x.shape)}")
    padded = get_op("MirrorPad").body(x, paddings, mode=mode)
    if padded.shape[3] % max(1, filter.shape[2]):
        raise refuse(
            f"{padded.shape[3]} channels after padding, the filters {list(filter.shape)} are for others"
        )
    result: Array = get_op("Conv2D").body(padded, filter, strides=strides, padding=padding)
    return result


@op("FusedPadConv2D", "input:T; paddings:int32; filter:T", "output:T", f"T:type{{{FLOATS}}}; {_MODE}; {_CONV}",
    infer=_pad_conv_shape)  # fmt: skip
@widened
def fused_pad_conv2d_op(
    input: Array, paddings: Array, filter: Array, *, mode: str, strides: Sequence[int], padding: str
) -> Array:
    """The convolution of mirrored images."""
    return _pad_conv_body(input, paddings, filter, mode, strides, padding)


fused_pad_conv2d_op.gradient(undefined_gradient)


@fused_pad_conv2d_op.expand
def fused_pad_conv2d_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any]:
    """The two ops."""
    x, paddings, w = inputs
    attrs = node.attrs
    padded = builder.emit("MirrorPad", x, paddings, mode=attrs["mode"])
    return [builder.emit("Conv2D", padded, w, strides=attrs["strides"], padding=attrs["padding"])]


def _resize_pad_conv_shape(node: Any) -> TensorShape:
    images = node.inputs[0]
    _some_images(node)
    resized = _shape_of(node, "ResizeBilinear", [images, node.inputs[1]], {})
    return _padded_conv_shape(node, resized.with_rank(4), 2, 3)


@op("FusedResizeAndPadConv2D", "input:T; size:int32; paddings:int32; filter:T", "output:T",
    f"T:type{{float16|float32|float64}}; resize_align_corners:bool=false; {_MODE}; {_CONV}",
    infer=_resize_pad_conv_shape)  # fmt: skip
@widened
def fused_resize_and_pad_conv2d_op(
    input: Array, size: Array, paddings: Array, filter: Array, *, resize_align_corners: bool = False, mode: str,
    strides: Sequence[int], padding: str,
) -> Array:  # fmt: skip
    """The convolution of resized, mirrored images."""
    resized = get_op("ResizeBilinear").body(input, size, align_corners=resize_align_corners)
    return _pad_conv_body(resized.astype(filter.dtype), paddings, filter, mode, strides, padding)


fused_resize_and_pad_conv2d_op.gradient(undefined_gradient)


@fused_resize_and_pad_conv2d_op.expand
def fused_resize_and_pad_conv2d_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The three ops."""
    x, size, paddings, w = inputs
    attrs = node.attrs
    if x.dtype.name != "float32":
        return None
    resized = builder.emit("ResizeBilinear", x, size, align_corners=attrs["resize_align_corners"])
    padded = builder.emit("MirrorPad", resized, paddings, mode=attrs["mode"])
    return [builder.emit("Conv2D", padded, w, strides=attrs["strides"], padding=attrs["padding"])]


# ---------------------------------------------------------------------------- a product, and what follows it

# What may follow, by its name in `fused_ops`: the op, and how many operands it takes besides the value.
_ADDS = {"BiasAdd": 1, "Add": 1, "FusedBatchNorm": 4}
_ACTIVATIONS = ("Relu", "Relu6", "Elu", "Tanh", "Sigmoid")
_OWN = ("LeakyRelu", "GeluApproximate", "GeluExact", "_FusedHardSwish", "_MklSwish")
_FUSED = "fused_ops:list(string)=[]; epsilon:float=9.999999747378752e-05; leakyrelu_alpha:float=0.20000000298023224"


def _chain(attrs: dict[str, Any], count: int) -> list[str]:
    """The names of what follows, checked against the number of operands."""
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in attrs["fused_ops"]]
    unknown = [name for name in names if name not in _ADDS and name not in _ACTIVATIONS and name not in _OWN]
    if unknown or not names:
        known = ", ".join([*_ADDS, *_ACTIVATIONS, *_OWN])
        raise ShapeError(f"fused_ops {names} cannot be computed; each must be one of {known}")
    needed = sum(_ADDS.get(name, 0) for name in names)
    if needed != count:
        raise ShapeError(f"fused_ops {names} take {needed} operands besides the first two, there are {count}")
    return names


def _numbers(attrs: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: attrs[name] for name in names if name in attrs}


_Emit = Callable[..., Any]


def _followed(run: _Emit, number: Callable[[float], Any], value: Any, args: Sequence[Any], attrs: Any) -> Any:
    """Applies what follows; `run(op_type, *inputs, **attrs)` computes or builds an op, `number` makes a constant."""
    rest = list(args)
    layout = attrs.get("data_format", "NHWC")
    for name in _chain(attrs, len(rest)):
        taken, rest = rest[: _ADDS.get(name, 0)], rest[_ADDS.get(name, 0) :]
        if name == "BiasAdd":
            value = run("BiasAdd", value, *taken, data_format=layout)
        elif name == "Add":
            value = run("AddV2", value, *taken)
        elif name == "FusedBatchNorm":
            value = run(
                "FusedBatchNorm", value, *taken, epsilon=attrs["epsilon"], data_format=layout, is_training=False
            )  # fmt: skip
        elif name in _ACTIVATIONS:
            value = run(name, value)
        elif name == "LeakyRelu":
            value = run("LeakyRelu", value, alpha=attrs["leakyrelu_alpha"])
        elif name == "_MklSwish":
            value = run("Mul", value, run("Sigmoid", value))
        elif name == "_FusedHardSwish":
            shifted = run("Relu6", run("AddV2", value, number(3.0)))
            value = run("Mul", value, run("Mul", shifted, number(1.0 / 6.0)))
        elif name == "GeluExact":
            share = run("AddV2", run("Erf", run("Mul", value, number(0.5**0.5))), number(1.0))
            value = run("Mul", run("Mul", value, number(0.5)), share)
        else:  # GeluApproximate
            cube = run("Mul", run("Mul", value, value), run("Mul", value, number(0.044715)))
            inner = run("Mul", run("AddV2", value, cube), number((2.0 / np.pi) ** 0.5))
            share = run("AddV2", run("Tanh", inner), number(1.0))
            value = run("Mul", run("Mul", value, number(0.5)), share)
    return value


def _compute(op_type: str, *inputs: Array, **attrs: Any) -> Any:
    """What the body of an op gives: its first result."""
    result = get_op(op_type).body(*inputs, **attrs)
    return result[0] if isinstance(result, tuple) else result


def _conv_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    return _numbers(attrs, ("strides", "padding", "explicit_paddings", "data_format", "dilations"))


def _product_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    return _numbers(attrs, ("transpose_a", "transpose_b"))


def _fused_op(
    op_type: str, inputs: str, output: str, attrs: str, base: str, base_attrs: Callable[[Any], dict[str, Any]],
    hosts: bool = False,
) -> None:  # fmt: skip
    """Registers `base` with what may follow it."""

    def split(flat: Sequence[Any], attrs: Any) -> Sequence[Any]:
        return flat[2 : len(flat) - (attrs.get("num_host_args", 0) if hosts else 0)]

    def infer(node: Any) -> TensorShape:
        _chain(node.attrs, len(split(node.inputs, node.attrs)))
        return _shape_of(node, base, node.inputs[:2], base_attrs(node.attrs))

    @widened
    def compute(*arrays: Array, attrs: dict[str, Any]) -> Array:
        value = _compute(base, *arrays[:2], **base_attrs(attrs))
        kind = value.dtype
        result: Array = _followed(_compute, lambda x: np.array(x, kind), value, arrays[2:], attrs)
        return result

    def body(
        first: Array, second: Array, args: Sequence[Array], hosts: Sequence[Array] = (), **attrs: Any
    ) -> Array:
        """The base op, and what follows it."""
        result: Array = compute(first, second, *args, attrs=attrs)
        return result

    def expand(builder: Any, node: Any, values: Sequence[Any]) -> list[Any] | None:
        """The ops one after another."""
        if values[0].dtype.name not in ("float32", "float64"):
            return None
        kind = values[0].dtype.numpy
        value = builder.emit(base, *values[:2], **base_attrs(node.attrs))
        number = lambda x: builder.constant(np.array(x, kind))  # noqa: E731
        return [_followed(builder.emit, number, value, split(values, node.attrs), node.attrs)]

    definition = op(op_type, inputs, output, attrs, infer=infer)(body)
    definition.body_attrs = frozenset(definition.attrs)
    definition.expand(expand)
    definition.gradient(undefined_gradient)


_LAYOUT = "data_format:string{NHWC|NCHW}=NHWC; dilations:list(int)=[1 1 1 1]"
_fused_op(
    "_FusedConv2D", "input:T; filter:T; args:list(TArgs); host_args:num_host_args*float32", "output:T",
    "T:type{float16|float32|float64}; TArgs:list(type)>=1; num_args:int; num_host_args:int=0; strides:list(int); "
    f"padding:string{{SAME|VALID|EXPLICIT}}; explicit_paddings:list(int)=[]; {_LAYOUT}; "
    f"filter_format:string{{HWIO|OIHW|OIHW_VECT_I}}=HWIO; use_cudnn_on_gpu:bool=true; {_FUSED}",
    "Conv2D", _conv_attrs, hosts=True,
)  # fmt: skip
_fused_op(
    "_FusedDepthwiseConv2dNative", "input:T; filter:T; args:num_args*T", "output:T",
    f"T:type{{{FLOATS}}}; num_args:int; {_CONV}; {_LAYOUT}; {_FUSED}", "DepthwiseConv2dNative", _conv_attrs,
)  # fmt: skip
_fused_op(
    "_FusedMatMul", "a:T; b:T; args:num_args*T", "product:T",
    f"transpose_a:bool=false; transpose_b:bool=false; T:type{{bfloat16|float16|float32}}; num_args:int; {_FUSED}",
    "MatMul", _product_attrs,
)  # fmt: skip


# ---------------------------------------------------------------------------- batch norm, and what follows


def _norm_shape(node: Any) -> list[TensorShape]:
    definition = get_op("FusedBatchNormV3")
    mode = _activation(node.attrs)
    if mode not in ("Identity", "Relu"):
        raise ShapeError(f"activation_mode must be Identity or Relu, is {mode}")
    if node.attrs["num_side_inputs"] > 1:
        raise ShapeError(
            f"there is at most one side input, num_side_inputs is {node.attrs['num_side_inputs']}"
        )
    return run_infer(node.part(definition, node.inputs[:5], node.attrs))


def _activation(attrs: dict[str, Any]) -> str:
    mode = attrs["activation_mode"]
    return mode.decode() if isinstance(mode, bytes) else str(mode)


@op("_FusedBatchNormEx", "x:T; scale:U; offset:U; mean:U; variance:U; side_input:num_side_inputs*T",
    "y:T; batch_mean:U; batch_variance:U; reserve_space_1:U; reserve_space_2:U; reserve_space_3:U",
    "T:type{float16|float32|bfloat16}; U:type{float32}; epsilon:float=9.999999747378752e-05; "
    "exponential_avg_factor:float=1.0; num_side_inputs:int=0; activation_mode:string=Identity; "
    "data_format:string{NHWC|NCHW}=NHWC; is_training:bool=true", infer=_norm_shape)  # fmt: skip
def fused_batch_norm_ex_op(
    x: Array, scale: Array, offset: Array, mean: Array, variance: Array, side_input: Sequence[Array], *,
    epsilon: float, exponential_avg_factor: float, activation_mode: str, data_format: str, is_training: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """A batch norm, to which another tensor may be added, and its positive part."""
    y, *rest = get_op("FusedBatchNormV3").body(
        x, scale, offset, mean, variance, epsilon=epsilon, exponential_avg_factor=exponential_avg_factor,
        data_format=data_format, is_training=is_training,
    )  # fmt: skip
    if side_input:
        y = (y.astype(np.float32) + side_input[0].astype(np.float32)).astype(y.dtype)
    if _activation({"activation_mode": activation_mode}) == "Relu":
        y = _compute("Relu", y)
    return y, *rest


fused_batch_norm_ex_op.gradient(undefined_gradient)


@fused_batch_norm_ex_op.expand
def fused_batch_norm_ex_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The ops one after another, where nobody needs more than the image."""
    attrs = node.attrs
    if attrs["is_training"] or inputs[0].dtype.name != "float32":
        return None
    y = builder.emit(
        "FusedBatchNormV3", *inputs[:5], epsilon=attrs["epsilon"], data_format=attrs["data_format"], is_training=False
    )  # fmt: skip
    rest = y.node.outputs[1:]
    if len(inputs) > 5:
        y = builder.emit("AddV2", y, inputs[5])
    if _activation(attrs) == "Relu":
        y = builder.emit("Relu", y)
    return [y, *rest]
