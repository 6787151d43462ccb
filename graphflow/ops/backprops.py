"""Gradients of convolutions under their other names: these take images and filters where only shapes are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import OpDef, emit, get_op, op
from graphflow.ops.rules import FLOATS, Array, rank_exactly, shape_tensor, widened
from graphflow.shapes import TensorShape

_FLAT = (
    "strides:list(int); use_cudnn_on_gpu:bool=true; padding:string{SAME|VALID|EXPLICIT}; "
    "explicit_paddings:list(int)=[]; data_format:string{NHWC|NCHW}=NHWC; dilations:list(int)=[1 1 1 1]"
)
_DEEP = "strides:list(int)>=5; padding:string{SAME|VALID}; dilations:list(int)=[1 1 1 1 1]"


def _backprop(op_type: str, base: str, forward: str, attrs: str, rank: int, sized: int) -> OpDef:
    """Registers `op_type`: it is `base`, but that input `sized` comes as a tensor of that shape.

    Args:
      op_type: the name.
      base: the op that takes the sizes as a vector.
      forward: the convolution itself.
      attrs: the attributes.
      rank: of images and filters.
      sized: 0 for the gradient of the images, 1 for that of the filters.
    """

    def known(attrs: dict[str, Any]) -> dict[str, Any]:
        names = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
        return {name: attrs[name] for name in names if name in attrs}

    def infer(node: Any) -> TensorShape:
        what = ("the images", "the filters", "out_backprop")
        shapes = [rank_exactly(node, position, rank, what[position]) for position in range(3)]
        made = {"data_format": "NDHWC", **known(node.attrs)}
        expected = get_op(forward).infer(node.part(get_op(forward), node.inputs[:2], made))
        if not expected.is_compatible_with(shapes[2]):
            raise ShapeError(
                f"out_backprop has shape {shapes[2]}, a convolution of these sizes gives {expected}"
            )
        return shapes[sized]

    @widened
    def compute(*arrays: Array, attrs: dict[str, Any]) -> Array:
        values = list(arrays)
        values[sized] = np.array(values[sized].shape, np.int32)
        result: Array = get_op(base).body(*values, **known(attrs))
        return result

    def body(input: Array, filter: Array, out_backprop: Array, **attrs: Any) -> Array:
        """The gradient of a convolution."""
        result: Array = compute(input, filter, out_backprop, attrs=attrs)
        return result

    def expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any]:
        """The op that takes the sizes."""
        values = list(inputs)
        values[sized] = builder.emit("Shape", values[sized], out_type=dtypes.int32)
        return [builder.emit(base, *values, **known(node.attrs))]

    def gradient(op: Any, dy: Tensor) -> list[Any]:
        """It is linear in the other two inputs: the convolution's other directions again."""
        x, w, out_backprop = op.inputs
        attrs = known(op.attrs)
        name = "Conv2DBackprop{}" if forward == "Conv2D" else "Conv3DBackprop{}V2"
        directions: dict[int, Callable[..., Any]] = {
            0: getattr(emit, name.format("Input")), 1: getattr(emit, name.format("Filter")),
        }  # fmt: skip
        convolved = getattr(emit, forward)(*((dy, w) if sized == 0 else (x, dy)), **attrs)
        if sized == 0:
            return [None, directions[1](dy, shape_tensor(w), out_backprop, **attrs), convolved]
        return [directions[0](shape_tensor(x), dy, out_backprop, **attrs), None, convolved]

    definition = op(
        op_type, "input:T; filter:T; out_backprop:T", "output:T", f"T:type{{{FLOATS}}}; {attrs}", infer=infer
    )(body)
    definition.body_attrs = frozenset(definition.attrs)
    definition.expand(expand)
    definition.gradient(gradient)
    return definition


_backprop("Conv2DBackpropInputV2", "Conv2DBackpropInput", "Conv2D", _FLAT, 4, 0)
_backprop("Conv2DBackpropFilterV2", "Conv2DBackpropFilter", "Conv2D", _FLAT, 4, 1)
_backprop("Conv3DBackpropInput", "Conv3DBackpropInputV2", "Conv3D", _DEEP, 5, 0)
_backprop("Conv3DBackpropFilter", "Conv3DBackpropFilterV2", "Conv3D", _DEEP, 5, 1)
