"""Ops that round numbers to those that a few bits can hold, and give them back as floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.rules import FLOATS, Array, rank_exactly, refuse, undefined_gradient, widened
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape

_BITS = "num_bits:int=8; narrow_range:bool=false"


def _levels(num_bits: int, narrow_range: bool) -> tuple[int, int]:
    """The least and the greatest of the integers in use."""
    return int(narrow_range), (1 << num_bits) - 1


def _check_bits(node: Any) -> None:
    if not 2 <= node.attrs["num_bits"] <= 16:
        raise ShapeError(f"num_bits must be between 2 and 16, inclusive, got {node.attrs['num_bits']}")


def _nudged(low: Any, high: Any, num_bits: int, narrow_range: bool) -> tuple[Any, Any, Any]:
    """The ends of a range moved so that zero is one of its numbers, and the step between these."""
    least, greatest = (np.float32(level) for level in _levels(num_bits, narrow_range))
    step = (high - low) / (greatest - least)
    zero = least - low / step
    nearest = np.clip(np.floor(zero + np.float32(0.5)), least, greatest)
    return (least - nearest) * step, (greatest - nearest) * step, step


def _rounded(x: Array, low: Any, high: Any, num_bits: int, narrow_range: bool) -> Array:
    start, end, step = _nudged(low, high, num_bits, narrow_range)
    inverse, half = np.float32(1) / step, np.float32(0.5)
    zero = np.floor(-start * inverse + half)
    shifted = np.maximum(np.minimum(x, end), start) - start
    return np.asarray(np.floor(shifted * inverse - zero + half) * step, np.float32)


def _lowered(b: Builder, x: Expr, low: Any, high: Any, num_bits: int, narrow_range: bool) -> Expr:
    """What `_rounded` computes; no product is fused with a sum, for a bit decides about a whole step here."""
    start, end, step = _nudged_lower(b, low, high, num_bits, narrow_range)
    inverse = b.div(1.0, step)
    zero = b.floor(b.add(b.fence(b.mul(b.neg(start), inverse)), 0.5))
    shifted = b.sub(b.max(b.min(x, end), start), start)
    return b.mul(b.floor(b.add(b.sub(b.fence(b.mul(shifted, inverse)), zero), 0.5)), step)


def _nudged_lower(
    b: Builder, low: Any, high: Any, num_bits: int, narrow_range: bool
) -> tuple[Expr, Expr, Expr]:
    least, greatest = (float(level) for level in _levels(num_bits, narrow_range))
    step = b.div(b.sub(high, low), greatest - least)
    nearest = b.clamp(b.floor(b.add(b.sub(least, b.div(low, step)), 0.5)), least, greatest)
    return b.mul(b.sub(least, nearest), step), b.mul(b.sub(greatest, nearest), step), step


# ---------------------------------------------------------------------------- ranges that are attributes

_ARGS = f"min:float=-6.0; max:float=6.0; {_BITS}"


def _args_shape(node: Any) -> TensorShape:
    _check_bits(node)
    if not node.attrs["min"] < node.attrs["max"]:
        raise ShapeError(f"min has to be smaller than max, was: {node.attrs['min']} >= {node.attrs['max']}")
    shape = node.inputs[0].shape
    return shape.merge_with(node.inputs[1].shape) if len(node.inputs) > 1 else shape


@op("FakeQuantWithMinMaxArgs", "inputs:float32", "outputs:float32", _ARGS, infer=_args_shape)
def fake_quant_args_op(
    inputs: Array, *, min: float = -6.0, max: float = 6.0, num_bits: int = 8, narrow_range: bool = False
) -> Array:
    """Numbers held in a range and rounded to one of `2 ** num_bits` steps."""
    return _rounded(inputs, np.float32(min), np.float32(max), num_bits, narrow_range)


@fake_quant_args_op.lower
def _fake_quant_args_lower(
    b: Builder, inputs: Expr, *, min: float, max: float, num_bits: int, narrow_range: bool
) -> Expr:
    ends = b.const(min, "f32"), b.const(max, "f32")
    return _lowered(b, inputs, *ends, num_bits, narrow_range)


@fake_quant_args_op.gradient
def _fake_quant_args_gradient(op: Any, dy: Any) -> list[Any]:
    attrs = {name: op.attrs[name] for name in ("min", "max", "num_bits", "narrow_range")}
    return [emit.FakeQuantWithMinMaxArgsGradient(dy, op.inputs[0], **attrs)]


@op("FakeQuantWithMinMaxArgsGradient", "gradients:float32; inputs:float32", "backprops:float32", _ARGS,
    infer=_args_shape)  # fmt: skip
def fake_quant_args_gradient_op(
    gradients: Array, inputs: Array, *, min: float = -6.0, max: float = 6.0, num_bits: int = 8,
    narrow_range: bool = False,
) -> Array:  # fmt: skip
    """The gradient where the inputs lay in the range."""
    start, end, _ = _nudged(np.float32(min), np.float32(max), num_bits, narrow_range)
    return gradients * ((inputs >= start) & (inputs <= end)).astype(np.float32)


@fake_quant_args_gradient_op.lower
def _fake_quant_args_gradient_lower(
    b: Builder, gradients: Expr, inputs: Expr, *, min: float, max: float, num_bits: int, narrow_range: bool
) -> Expr:
    ends = b.const(min, "f32"), b.const(max, "f32")
    start, end, _ = _nudged_lower(b, *ends, num_bits, narrow_range)
    inside = b.and_(b.ge(inputs, start), b.le(inputs, end))
    return b.mul(gradients, b.cast(inside, "f32"))


fake_quant_args_gradient_op.gradient(undefined_gradient)


def fake_quant_with_min_max_args(
    inputs: Any, min: float = -6, max: float = 6, num_bits: int = 8, narrow_range: bool = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns numbers held in [min, max] and rounded to one of `2 ** num_bits` steps, zero among them.

    Args:
      inputs: float32.
      min, max: the range.
      num_bits: 2 to 16.
      narrow_range: whether the lowest step is left out.
      name: a name.
    """
    result: Tensor = emit.FakeQuantWithMinMaxArgs(
        inputs, min=min, max=max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return result


def fake_quant_with_min_max_args_gradient(
    gradients: Any, inputs: Any, min: float = -6, max: float = 6, num_bits: int = 8, narrow_range: bool = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `fake_quant_with_min_max_args`: that of the numbers that lay in the range."""
    result: Tensor = emit.FakeQuantWithMinMaxArgsGradient(
        gradients, inputs, min=min, max=max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return result


# ---------------------------------------------------------------------------- ranges that are tensors


def _vars_shape(per_channel: bool, first: int) -> Callable[[Any], Any]:
    def rule(node: Any) -> Any:
        _check_bits(node)
        shape = node.inputs[0].shape
        if first:
            shape = shape.merge_with(node.inputs[1].shape)
        ends = UNKNOWN
        for position, name in ((first + 1, "min"), (first + 2, "max")):
            ends = ends.merge_with(rank_exactly(node, position, int(per_channel), name))
        if per_channel and shape.rank is not None:
            if shape.rank < 1:
                raise ShapeError("inputs must have rank 1 or more, are a scalar")
            shape = shape[:-1].concatenate(shape[-1:].merge_with(ends))
        return [shape, ends, ends] if first else shape

    return rule


def _fake_quant_vars(
    inputs: Array, min: Array, max: Array, *, num_bits: int = 8, narrow_range: bool = False
) -> Array:
    """Numbers held in a range (one per last index, perhaps) and rounded to one of `2 ** num_bits` steps."""
    _check_ends(inputs, min, max)
    with np.errstate(all="ignore"):
        found = _rounded(inputs, min, max, num_bits, narrow_range)
    return np.where((min == 0) & (max == 0), np.float32(0), found)


def _check_ends(inputs: Array, low: Array, high: Array) -> None:
    if low.ndim and (low.shape != high.shape or inputs.shape[-1:] != low.shape):
        raise refuse(
            f"min {list(low.shape)} and max {list(high.shape)} do not fit inputs {list(inputs.shape)}"
        )
    if np.any(low > high):
        raise refuse("min has to be less than or equal to max")


def _fake_quant_vars_lower(
    b: Builder, inputs: Expr, min: Expr, max: Expr, *, num_bits: int, narrow_range: bool
) -> Expr:
    nothing = b.and_(b.eq(min, 0.0), b.eq(max, 0.0))
    return b.select(nothing, 0.0, _lowered(b, inputs, min, max, num_bits, narrow_range))


def _fake_quant_vars_back(
    gradients: Array, inputs: Array, min: Array, max: Array, *, num_bits: int = 8, narrow_range: bool = False
) -> tuple[Array, Array, Array]:
    """The gradient of what lay in the range; what lay below and above it is summed up for the ends."""
    _check_ends(inputs, min, max)
    with np.errstate(all="ignore"):
        start, end, _ = _nudged(min, max, num_bits, narrow_range)
    nothing = (min == 0) & (max == 0)
    below, above = (inputs < start) & ~nothing, (inputs > end) & ~nothing
    inside = nothing | ((inputs >= start) & (inputs <= end))
    axes = tuple(range(inputs.ndim - min.ndim))
    parts = (np.where(side, gradients, np.float32(0)).sum(axes, dtype=np.float32) for side in (below, above))
    return np.where(inside, gradients, np.float32(0)), *parts


def _declare_vars(per_channel: bool) -> None:
    suffix = "PerChannel" if per_channel else ""
    forward = op(
        f"FakeQuantWithMinMaxVars{suffix}", "inputs:float32; min:float32; max:float32", "outputs:float32", _BITS,
        infer=_vars_shape(per_channel, 0), broadcasting=True,
    )(_fake_quant_vars)  # fmt: skip
    forward.lower(_fake_quant_vars_lower)
    back = op(
        f"FakeQuantWithMinMaxVars{suffix}Gradient", "gradients:float32; inputs:float32; min:float32; max:float32",
        "backprops_wrt_input:float32; backprop_wrt_min:float32; backprop_wrt_max:float32", _BITS,
        infer=_vars_shape(per_channel, 1),
    )(_fake_quant_vars_back)  # fmt: skip
    back.gradient(undefined_gradient)

    @forward.gradient
    def gradient(op: Any, dy: Any) -> list[Any]:
        attrs = {name: op.attrs[name] for name in ("num_bits", "narrow_range")}
        return list(getattr(emit, f"FakeQuantWithMinMaxVars{suffix}Gradient")(dy, *op.inputs, **attrs))


_declare_vars(False)
_declare_vars(True)


def fake_quant_with_min_max_vars(
    inputs: Any, min: Any, max: Any, num_bits: int = 8, narrow_range: bool = False, name: str | None = None
) -> Tensor:
    """As `fake_quant_with_min_max_args`, with a range of two float32 scalars, which get gradients."""
    result: Tensor = emit.FakeQuantWithMinMaxVars(
        inputs, min, max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return result


def fake_quant_with_min_max_vars_gradient(
    gradients: Any, inputs: Any, min: Any, max: Any, num_bits: int = 8, narrow_range: bool = False,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the gradients of `fake_quant_with_min_max_vars`: of the inputs, min and max."""
    x, low, high = emit.FakeQuantWithMinMaxVarsGradient(
        gradients, inputs, min, max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return x, low, high


def fake_quant_with_min_max_vars_per_channel(
    inputs: Any, min: Any, max: Any, num_bits: int = 8, narrow_range: bool = False, name: str | None = None
) -> Tensor:
    """As `fake_quant_with_min_max_vars`, with a range [channels] for each index of the last axis."""
    result: Tensor = emit.FakeQuantWithMinMaxVarsPerChannel(
        inputs, min, max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return result


def fake_quant_with_min_max_vars_per_channel_gradient(
    gradients: Any, inputs: Any, min: Any, max: Any, num_bits: int = 8, narrow_range: bool = False,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the gradients of `fake_quant_with_min_max_vars_per_channel`: of the inputs, min and max."""
    x, low, high = emit.FakeQuantWithMinMaxVarsPerChannelGradient(
        gradients, inputs, min, max, num_bits=num_bits, narrow_range=narrow_range, name=name
    )
    return x, low, high


# ---------------------------------------------------------------------------- there and back


def _there_and_back_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    axis = node.attrs.get("axis", -1)
    if axis < -1:
        raise ShapeError(f"axis should be at least -1, got {axis}")
    if axis >= 0 and shape.rank is not None and axis >= shape.rank:
        raise ShapeError(f"axis {axis} is outside the rank {shape.rank} of the input")
    if len(node.inputs) > 2:
        ends = rank_exactly(node, 1, 0 if axis == -1 else 1, "input_min")
        if not ends.is_compatible_with(node.inputs[2].shape):
            raise ShapeError(f"input_min has shape {ends}, input_max {node.inputs[2].shape}")
    if len(node.inputs) > 3:
        rank_exactly(node, 3, 0, "num_bits")
    return shape


def _there_and_back(
    input: Array,
    low: Array,
    high: Array,
    num_bits: int,
    signed: bool,
    given: bool,
    narrow: bool,
    mode: str,
    axis: int,
) -> Array:
    """Rounds to integers of so many bits whose range holds both ends, and returns these as numbers again."""
    if not 1 <= num_bits <= 62 + int(signed):
        raise refuse(f"num_bits is out of range: {num_bits} with signed_input {signed}")
    dtype = input.dtype.type
    others = tuple(a for a in range(input.ndim) if a != axis) if axis >= 0 else None
    if not given:
        if input.size:
            low, high = np.min(input, axis=others), np.max(input, axis=others)
    elif np.any(low > high):
        raise refuse(f"Invalid range: input_min {low.tolist()} > input_max {high.tolist()}")
    if axis >= 0:
        sizes = [-1 if a == axis else 1 for a in range(input.ndim)]
        low, high = np.reshape(low, sizes), np.reshape(high, sizes)
    least = dtype((-(1 << (num_bits - 1)) + int(narrow)) if signed else 0)
    greatest = dtype(((1 << (num_bits - 1)) if signed else (1 << num_bits)) - 1)
    with np.errstate(all="ignore"):
        far = np.finfo(input.dtype).max
        from_low = np.where(least * low > 0, least / low, far)
        from_high = np.where(greatest * high > 0, greatest / high, far)
        by_low = from_low < from_high
        scale = np.where(by_low, from_low, from_high).astype(input.dtype)
        inverse = np.where(by_low, low / least, high / greatest).astype(input.dtype)
        if given:
            low, high = np.where(by_low, low, least * inverse), np.where(by_low, greatest * inverse, high)
            input = np.maximum(np.minimum(input, high), low)
        scaled = input * scale
        whole = np.rint(scaled) if mode == "HALF_TO_EVEN" else np.floor(scaled + dtype(0.5))
        return np.asarray(whole * inverse, dtype)


_KINDS = f"T:type{{{FLOATS}}}"
_ROUNDING = "round_mode:string{HALF_TO_EVEN|HALF_UP}=HALF_TO_EVEN; narrow_range:bool=false; axis:int=-1"
_RANGE = "signed_input:bool=true; num_bits:int=8; range_given:bool=false"


def _straight_through(op: Any, dy: Any) -> list[Any]:
    """The rounding is taken to do nothing."""
    return [dy] + [None] * (len(op.inputs) - 1)


@op("QuantizeAndDequantize", "input:T", "output:T",
    f"{_RANGE}; input_min:float=0; input_max:float=0; {_KINDS}", infer=_there_and_back_shape)  # fmt: skip
@widened
def quantize_and_dequantize_op(
    input: Array, *, signed_input: bool = True, num_bits: int = 8, range_given: bool = False, input_min: float = 0,
    input_max: float = 0,
) -> Array:  # fmt: skip
    """Numbers rounded to those that integers of so many bits can stand for."""
    low, high = (np.asarray(end, input.dtype) for end in (input_min, input_max))
    return _there_and_back(input, low, high, num_bits, signed_input, range_given, False, "HALF_TO_EVEN", -1)


quantize_and_dequantize_op.gradient(_straight_through)


def _body_with_range(
    input: Array, input_min: Array, input_max: Array, *, signed_input: bool = True, num_bits: int = 8,
    range_given: bool = False, round_mode: str = "HALF_TO_EVEN", narrow_range: bool = False, axis: int = -1,
) -> Array:  # fmt: skip
    """Numbers rounded to those that integers of so many bits can stand for; the range given, or that of the numbers."""
    return _there_and_back(
        input, input_min, input_max, num_bits, signed_input, range_given, narrow_range, round_mode, axis
    )


quantize_and_dequantize_v2_op = op(
    "QuantizeAndDequantizeV2", "input:T; input_min:T; input_max:T", "output:T", f"{_RANGE}; {_KINDS}; {_ROUNDING}",
    infer=_there_and_back_shape,
)(widened(_body_with_range))  # fmt: skip
quantize_and_dequantize_v2_op.gradient(_straight_through)
quantize_and_dequantize_v4_op = op(
    "QuantizeAndDequantizeV4", "input:T; input_min:T; input_max:T", "output:T", f"{_RANGE}; {_KINDS}; {_ROUNDING}",
    infer=_there_and_back_shape,
)(widened(_body_with_range))  # fmt: skip


@quantize_and_dequantize_v4_op.gradient
def _quantize_and_dequantize_v4_gradient(op: Any, dy: Any) -> list[Any]:
    return list(emit.QuantizeAndDequantizeV4Grad(dy, *op.inputs, axis=op.attrs["axis"]))


def _there_and_back_gradient_shape(node: Any) -> list[TensorShape]:
    ends = node.inputs[2].shape.merge_with(node.inputs[3].shape)
    if node.attrs["axis"] == -1:
        ends = ends.merge_with(SCALAR)
    return [node.inputs[0].shape.merge_with(node.inputs[1].shape), ends, ends]


@op("QuantizeAndDequantizeV4Grad", "gradients:T; input:T; input_min:T; input_max:T",
    "input_backprop:T; input_min_backprop:T; input_max_backprop:T", f"{_KINDS}; axis:int=-1",
    infer=_there_and_back_gradient_shape)  # fmt: skip
@widened
def quantize_and_dequantize_v4_grad_op(
    gradients: Array, input: Array, input_min: Array, input_max: Array, *, axis: int = -1
) -> tuple[Array, Array, Array]:
    """The gradient of what lay in the range; the ends get none."""
    sizes = [-1 if a == axis else 1 for a in range(input.ndim)]
    low, high = (np.reshape(end, sizes) if axis >= 0 else end for end in (input_min, input_max))
    inside = (input >= low) & (input <= high)
    return (
        np.where(inside, gradients, 0).astype(input.dtype),
        np.zeros_like(input_min),
        np.zeros_like(input_max),
    )


quantize_and_dequantize_v4_grad_op.gradient(undefined_gradient)


@op("QuantizeAndDequantizeV3", "input:T; input_min:T; input_max:T; num_bits:int32", "output:T",
    f"signed_input:bool=true; range_given:bool=true; {_KINDS}; narrow_range:bool=false; axis:int=-1",
    infer=_there_and_back_shape)  # fmt: skip
@widened
def quantize_and_dequantize_v3_op(
    input: Array, input_min: Array, input_max: Array, num_bits: Array, *, signed_input: bool = True,
    range_given: bool = True, narrow_range: bool = False, axis: int = -1,
) -> Array:  # fmt: skip
    """As QuantizeAndDequantizeV2, with the number of bits as an operand."""
    bits = int(num_bits)
    return _there_and_back(
        input, input_min, input_max, bits, signed_input, range_given, narrow_range, "HALF_TO_EVEN", axis
    )


quantize_and_dequantize_v3_op.gradient(_straight_through)


def quantize_and_dequantize(
    input: Any, input_min: Any, input_max: Any, signed_input: bool = True, num_bits: int = 8,
    range_given: bool = False, round_mode: str = "HALF_TO_EVEN", name: str | None = None, narrow_range: bool = False,
    axis: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns numbers rounded to those that integers of so many bits can stand for.

    Args:
      input: float.
      input_min, input_max: the range, if it is given; with `axis` one per index of that axis.
      signed_input: whether the integers have a sign.
      num_bits: bits of the integers.
      range_given: whether the range is given; else it is that of the numbers.
      round_mode: "HALF_TO_EVEN" or "HALF_UP".
      name: a name.
      narrow_range: whether the least integer is minus the greatest.
      axis: an axis whose indices have ranges of their own.

    Raises:
      ValueError: for a negative axis of an input of unknown rank.
    """
    x = convert_to_tensor(input, name="input")
    result: Tensor = emit.QuantizeAndDequantizeV2(
        x, input_min, input_max, signed_input=signed_input, num_bits=num_bits, range_given=range_given,
        round_mode=round_mode, narrow_range=narrow_range, axis=own_axis(x, axis), name=name,
    )  # fmt: skip
    return result


def own_axis(x: Tensor, axis: int | None) -> int:
    """The attribute for an axis whose indices have ranges of their own; -1: there is none."""
    if axis is None:
        return -1
    if axis < 0:
        if x.shape.rank is None:
            raise ValueError("input should have known rank to use negative axis.")
        axis %= x.shape.rank
    return axis


def quantize_and_dequantize_v2(
    input: Any, input_min: Any, input_max: Any, signed_input: bool = True, num_bits: int = 8,
    range_given: bool = False, round_mode: str = "HALF_TO_EVEN", name: str | None = None, narrow_range: bool = False,
    axis: int | None = None,
) -> Tensor:  # fmt: skip
    """As `quantize_and_dequantize`, but numbers outside the range get no gradient."""
    x = convert_to_tensor(input, name="input")
    result: Tensor = emit.QuantizeAndDequantizeV4(
        x, input_min, input_max, signed_input=signed_input, num_bits=num_bits, range_given=range_given,
        round_mode=round_mode, narrow_range=narrow_range, axis=own_axis(x, axis), name=name,
    )  # fmt: skip
    return result


__all__ = [
    "fake_quant_with_min_max_args", "fake_quant_with_min_max_args_gradient", "fake_quant_with_min_max_vars",
    "fake_quant_with_min_max_vars_gradient", "fake_quant_with_min_max_vars_per_channel",
    "fake_quant_with_min_max_vars_per_channel_gradient", "quantize_and_dequantize",
    "quantize_and_dequantize_v2",
]  # fmt: skip
