"""Ops on quantized tensors: integers that stand for the steps of a range, which two float32 scalars beside them tell.

A quantized array is one of records of a single integer (`dtypes.quint8` and its kin), as in TensorFlow; `_whole` and
`_stored` go from there to plain integers and back. The formulas, with their narrow floats and fixed points, are part
of what the ops mean: files hold weights that were rounded by them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.convolution import PoolWindows, avg_pool_op, conv2d_op, lowest, max_pool_op
from graphflow.ops.layout import concat_op, reshape_op
from graphflow.ops.linalg import matmul_op
from graphflow.ops.quantize import own_axis
from graphflow.ops.rules import QUANTIZED, Array, refuse
from graphflow.shapes import SCALAR, TensorShape, broadcast_shapes

_F = np.float32


# ---------------------------------------------------------------------------- records and integers


def _whole(array: Array) -> Array:
    """The integers of a quantized array."""
    names = array.dtype.names
    return array[names[0]] if names else array


def _limits(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype.numpy[dtype.name])
    return int(info.min), int(info.max)


def _stored(values: Array, dtype: DType) -> Array:
    """Integers, or floats that are whole, as a quantized array."""
    inner = np.ascontiguousarray(np.asarray(values).astype(dtype.numpy[dtype.name]))
    return inner.view(dtype.numpy).reshape(np.shape(values))


def _ends(low: Array, high: Array) -> tuple[Any, Any]:
    if low.size != 1 or high.size != 1:
        raise refuse(f"a range must be two scalars, got shapes {list(low.shape)} and {list(high.shape)}")
    return _F(low.reshape(-1)[0]), _F(high.reshape(-1)[0])


def _steps(dtype: DType) -> int:
    return 1 << (8 * dtype.size)


def _away(x: Any) -> Any:
    """The nearest integer, halves away from zero."""
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def _adjusted(low: Any, high: Any, dtype: DType) -> float:
    """The width of a range plus one step of it."""
    steps = _steps(dtype)
    return (float(high) - float(low)) * (steps / (steps - 1.0))


def _level(x: Any, low: Any, high: Any, dtype: DType) -> Any:
    """Which step of a range a number is, whether there is one or not; one number in double precision."""
    if low == high:
        return np.zeros_like(np.asarray(x, np.int64))
    scale = _steps(dtype) / _adjusted(low, high, dtype)
    found = _away(np.asarray(x, np.float64) * scale) - _away(float(low) * scale)
    return found.astype(np.int64) + _limits(dtype)[0]


def _number(level: Any, low: Any, high: Any, dtype: DType) -> Any:
    """The number that a step stands for; in double precision, rounded once."""
    if low == high:
        return np.full(np.shape(level), low, _F)
    scale = _adjusted(low, high, dtype) / _steps(dtype)
    start = float(_away(_F(low) / _F(scale)) * _F(scale))
    return _F(start + (np.asarray(level, np.float64) - _limits(dtype)[0]) * scale)


def _numbers(levels: Array, low: Any, high: Any, dtype: DType) -> Array:
    """The numbers that steps stand for, in single precision."""
    scale = _F(_adjusted(low, high, dtype) / _steps(dtype))
    start = _F(low) if low == high else _F(_away(_F(low) / scale) * scale)
    return start + (levels.astype(_F) - _F(_limits(dtype)[0])) * scale


def _levels(x: Array, low: Any, high: Any, dtype: DType) -> Array:
    """The steps that numbers fall on, held in the range, in single precision."""
    least, greatest = _limits(dtype)
    width = _adjusted(low, high, dtype)
    scale = 0.0 if width == 0.0 else _steps(dtype) / width
    shift = _F(_away(float(low) * scale) - least)
    with np.errstate(all="ignore"):
        found = _away(np.asarray(x, _F) * _F(scale)) - shift
    # A float cannot hold the greatest of 32 bits: it ends below.
    top = np.nextafter(_F(greatest), _F(0)) if int(_F(greatest)) > greatest else _F(greatest)
    return np.maximum(np.minimum(found, top), _F(least)).astype(np.int64)


# ---------------------------------------------------------------------------- to and fro

_MODES = "mode:string{MIN_COMBINED|MIN_FIRST|SCALED}=MIN_COMBINED"


def _axis_shape(node: Any) -> tuple[TensorShape, TensorShape]:
    """The shapes of the values and of the ends of ranges."""
    shape, axis = node.inputs[0].shape, node.attrs["axis"]
    if axis < -1:
        raise ShapeError(f"axis should be at least -1, got {axis}")
    wanted = 0 if axis == -1 else 1
    ends = TensorShape([None] * wanted)
    for position, name in ((1, "min_range"), (2, "max_range")):
        ends = ends.merge_with(rules.rank_exactly(node, position, wanted, name))
    if axis >= 0 and shape.rank is not None:
        if axis >= shape.rank:
            raise ShapeError(f"axis {axis} is outside the rank {shape.rank} of the input")
        ends = ends.merge_with(shape[axis : axis + 1])
    return shape, ends


def _quantized_shape(node: Any) -> list[TensorShape]:
    shape, ends = _axis_shape(node)
    return [shape, ends, ends]


def _along(ends: Array, rank: int, axis: int) -> Array:
    """Ends of ranges laid along an axis."""
    return ends if axis < 0 else ends.reshape([-1 if a == axis else 1 for a in range(rank)])


def _check_axis(input: Array, low: Array, high: Array, axis: int) -> None:
    wanted = () if axis < 0 else input.shape[axis : axis + 1]
    if axis >= input.ndim or low.shape != wanted or high.shape != wanted:
        raise refuse(
            f"axis {axis} of an input {list(input.shape)} needs ranges {list(wanted)}, got {list(low.shape)} and "
            f"{list(high.shape)}"
        )


def _quantize_one(x: Array, low: Any, high: Any, dtype: DType, mode: str, even: bool, narrow: bool) -> Any:
    """The steps that numbers fall on, with the range that they are steps of."""
    least, greatest = _limits(dtype)
    if mode == "MIN_FIRST":
        return _levels(x, low, high, dtype), low, high
    if mode == "MIN_COMBINED":
        scale = _F((float(greatest) - float(least)) / float(high - low))
        shifted = (np.maximum(np.minimum(x, high), low) - low) * scale
        if least < 0:
            return _away(shifted - _F((greatest - least + 1) / 2)), low, high
        return np.floor(shifted + _F(0.5)), low, high
    first, far = _F(least + int(narrow)), _F(np.finfo(_F).max)
    by_low = first / low if first * low > 0 else far
    by_high = _F(greatest) / high if _F(greatest) * high > 0 else far
    scale = min(by_low, by_high)
    low, high = first / scale, _F(greatest) / scale
    held = np.maximum(np.minimum(x, high), low) * scale
    return (np.rint(held) if even else _away(held)), low, high


@op("QuantizeV2", "input:float32; min_range:float32; max_range:float32",
    "output:T; output_min:float32; output_max:float32",
    f"T:type{{{QUANTIZED}}}; {_MODES}; round_mode:string{{HALF_AWAY_FROM_ZERO|HALF_TO_EVEN}}=HALF_AWAY_FROM_ZERO; "
    "narrow_range:bool=false; axis:int=-1; ensure_minimum_range:float=0.009999999776482582",
    infer=_quantized_shape)  # fmt: skip
def quantize_v2_op(
    input: Array, min_range: Array, max_range: Array, *, T: DType, mode: str, round_mode: str, narrow_range: bool,
    axis: int, ensure_minimum_range: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The steps of a range (one per index of an axis, perhaps) that numbers fall on; the range, which holds zero."""
    _check_axis(input, min_range, max_range, axis)
    if axis >= 0 and mode == "MIN_FIRST":
        raise refuse("MIN_FIRST mode is not implemented for Quantize with axis != -1.")
    even = round_mode == "HALF_TO_EVEN"
    if even and mode != "SCALED":
        raise refuse(f"Round mode 'HALF_TO_EVEN' only supported for mode 'SCALED', but mode is '{mode}'.")
    lows, highs = np.atleast_1d(min_range), np.atleast_1d(max_range)
    parts: Array = np.zeros(input.shape, np.int64)
    ends = []
    for i, (given_low, given_high) in enumerate(zip(lows, highs, strict=True)):
        if given_low > given_high:
            raise refuse(f"input_max_range must be larger than input_min_range: {given_high} < {given_low}")
        apart = max(_F(1), abs(given_low), abs(given_high)) * _F(ensure_minimum_range)
        low = min(_F(0), given_low)
        high = max(_F(0), max(given_high, low + apart))
        place = (slice(None),) * max(axis, 0) + ((slice(i, i + 1),) if axis >= 0 else ())
        with np.errstate(all="ignore"):
            parts[place], low, high = _quantize_one(input[place], low, high, T, mode, even, narrow_range)
        ends.append((low, high))
    made = np.array(ends, _F).reshape(-1, 2)
    shape = min_range.shape
    return _stored(parts, T), made[:, 0].reshape(shape), made[:, 1].reshape(shape)


@op("Dequantize", "input:T; min_range:float32; max_range:float32", "output:dtype",
    f"T:type{{{QUANTIZED}}}; {_MODES}; narrow_range:bool=false; axis:int=-1; dtype:type{{bfloat16|float32}}=float32",
    infer=lambda node: _axis_shape(node)[0])  # fmt: skip
def dequantize_op(
    input: Array, min_range: Array, max_range: Array, *, T: DType, mode: str, narrow_range: bool, axis: int,
    dtype: DType,
) -> Array:  # fmt: skip
    """The numbers that the steps of a range (one per index of an axis, perhaps) stand for."""
    if dtype is not dtypes.float32 and mode != "MIN_COMBINED":
        raise refuse(f"When output type is bfloat16, only mode 'MIN_COMBINED' is supported, got {mode}")
    _check_axis(input, min_range, max_range, axis)
    least, greatest = _limits(T)
    whole = _whole(input)
    low, high = (_along(end, input.ndim, axis) for end in (min_range, max_range))
    with np.errstate(all="ignore"):
        if mode == "MIN_COMBINED":
            half = _F((greatest - least + 1) / 2) if least < 0 else _F(0)
            scale = (high - low) / _F(greatest - least)
            found = (whole.astype(_F) + half) * scale + low
        elif mode == "MIN_FIRST":
            if axis >= 0:
                raise refuse("MIN_FIRST mode is not implemented for Dequantize with axis != -1.")
            exact = T is dtypes.qint32
            found = (_number if exact else _numbers)(whole, *_ends(min_range, max_range), T)
        else:
            first = _F(least + int(narrow_range))
            scale = high / _F(greatest)
            if least < 0:
                scale = np.maximum(low / first, scale)
            found = whole.astype(_F) * scale
    return np.asarray(found).astype(dtype.numpy)


# ---------------------------------------------------------------------------- ranges made narrower


def _same_ranges(node: Any) -> list[TensorShape]:
    for position in range(1, len(node.inputs)):
        rules.rank_exactly(node, position, 0, f"input {position}")
    return [node.inputs[0].shape, SCALAR, SCALAR]


def _moved(levels: Array, source: DType, ends: Any, target: DType, wanted: Any) -> Array:
    """Steps of one range as steps of another."""
    (low, high), (new_low, new_high) = ends, wanted
    if source is dtypes.qint32 and target is dtypes.quint8:
        # In fixed point, as TensorFlow does it.
        shift = 16
        into, out = _F(high - low), _F(new_high - new_low)
        inverse = _F(0) if out == 0 else _F(255.0 / float(out))
        scale = 0 if out == 0 else int(255.0 * (1 << shift) * float(into) / float(out))
        middle = _F(_F(low + high) / _F(2))
        offset = int(_F(middle * inverse) * _F(1 << shift))
        start = 0 if out == 0 else int((1 << shift) * (float(new_low) * 255.0) / float(out))
        found = ((levels.astype(np.int64) * scale) >> 32) + offset - start + (1 << (shift - 1))
        return np.clip(found >> shift, 0, 255)
    least, greatest = _limits(target)
    return np.clip(_level(_number(levels, low, high, source), new_low, new_high, target), least, greatest)


def _used(levels: Array, low: Any, high: Any, dtype: DType) -> tuple[Any, Any]:
    """The numbers at the ends of what of a range is in use, zero in between."""
    least, greatest = (int(levels.min()), int(levels.max())) if levels.size else _limits(dtype)[::-1]
    first, last = (_number(np.int64(level), low, high, dtype) for level in (least, greatest))
    return min(_F(0), _F(first)), _F(last)


@op("RequantizationRange", "input:Tinput; input_min:float32; input_max:float32",
    "output_min:float32; output_max:float32", f"Tinput:type{{{QUANTIZED}}}",
    infer=lambda node: _same_ranges(node)[1:])  # fmt: skip
def requantization_range_op(
    input: Array, input_min: Array, input_max: Array, *, Tinput: DType
) -> tuple[Array, Array]:
    """The part of a range that is in use."""
    low, high = _used(_whole(input), *_ends(input_min, input_max), Tinput)
    return np.asarray(low), np.asarray(high)


_OUT = f"Tinput:type{{{QUANTIZED}}}; out_type:type{{{QUANTIZED}}}"


@op("Requantize",
    "input:Tinput; input_min:float32; input_max:float32; requested_output_min:float32; requested_output_max:float32",
    "output:out_type; output_min:float32; output_max:float32", _OUT, infer=_same_ranges)  # fmt: skip
def requantize_op(
    input: Array, input_min: Array, input_max: Array, requested_output_min: Array, requested_output_max: Array, *,
    Tinput: DType, out_type: DType,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Steps of one range as steps of another."""
    wanted = _ends(requested_output_min, requested_output_max)
    if wanted[0] > 0:
        raise refuse(f"requested_output_min must be <= 0, but got {wanted[0]}")
    if wanted[1] < wanted[0]:
        raise refuse(
            f"requested_output_max must be >= requested_output_min, but got {wanted[1]} and {wanted[0]}"
        )
    moved = _moved(_whole(input), Tinput, _ends(input_min, input_max), out_type, wanted)
    return _stored(moved, out_type), np.asarray(wanted[0]), np.asarray(wanted[1])


@op("QuantizeDownAndShrinkRange", "input:Tinput; input_min:float32; input_max:float32",
    "output:out_type; output_min:float32; output_max:float32", _OUT, infer=_same_ranges)  # fmt: skip
def quantize_down_and_shrink_range_op(
    input: Array, input_min: Array, input_max: Array, *, Tinput: DType, out_type: DType
) -> tuple[Array, Array, Array]:
    """Steps of a range as coarser steps of the part of it that is in use."""
    whole, ends = _whole(input), _ends(input_min, input_max)
    used = _used(whole, *ends, Tinput)
    moved = _moved(whole, Tinput, ends, out_type, used)
    return _stored(moved, out_type), np.asarray(used[0]), np.asarray(used[1])


# ---------------------------------------------------------------------------- products


def _one_step(low: Any, high: Any, dtype: DType) -> Any:
    least, greatest = _limits(dtype)
    return _F((high - low) / _F(greatest - least))


def _product_range(
    first: tuple[Any, Any, DType], second: tuple[Any, Any, DType], out: DType
) -> tuple[Array, Array]:
    step = _F(_one_step(*first) * _one_step(*second))
    least, greatest = _limits(out)
    return np.asarray(_F(step * _F(least))), np.asarray(_F(step * _F(greatest)))


def _from_zero(array: Array, low: Array, high: Array, dtype: DType) -> tuple[Array, tuple[Any, Any, DType]]:
    """Steps counted from zero, as floats that hold them exactly; and the range."""
    ends = _ends(low, high)
    zero = int(_level(0.0, *ends, dtype))
    return _whole(array).astype(np.float64) - zero, (*ends, dtype)


def _wrapped(values: Array, dtype: DType) -> Array:
    """Whole floats as quantized integers; what is too large goes round."""
    return _stored(values.astype(np.int64), dtype)


def _as_float_node(node: Any, **attrs: Any) -> Any:
    """A node as the shape rule of the op on floats wants to see it."""
    return SimpleNamespace(inputs=node.inputs, attrs={**node.attrs, **attrs}, op_def=node.op_def)


_IMAGES = {"data_format": "NHWC", "explicit_paddings": ()}
_conv2d = inspect.unwrap(conv2d_op.body)


def _scalars_after(node: Any, count: int) -> None:
    for position in range(count, len(node.inputs)):
        rules.rank_exactly(node, position, 0, f"input {position}")


def _quantized_conv_shape(node: Any) -> list[TensorShape]:
    _scalars_after(node, 2)
    return [conv2d_op.infer(_as_float_node(node, **_IMAGES)), SCALAR, SCALAR]


@op("QuantizedConv2D",
    "input:Tinput; filter:Tfilter; min_input:float32; max_input:float32; min_filter:float32; max_filter:float32",
    "output:out_type; min_output:float32; max_output:float32",
    f"Tinput:type{{{QUANTIZED}}}; Tfilter:type{{{QUANTIZED}}}; out_type:type{{{QUANTIZED}}}=qint32; "
    "strides:list(int); padding:string{SAME|VALID}; dilations:list(int)=[1 1 1 1]",
    infer=_quantized_conv_shape)  # fmt: skip
def quantized_conv2d_op(
    input: Array, filter: Array, min_input: Array, max_input: Array, min_filter: Array, max_filter: Array, *,
    Tinput: DType, Tfilter: DType, out_type: DType, strides: Sequence[int], padding: str, dilations: Sequence[int],
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The convolution of quantized images by quantized filters; margins stand for zero."""
    x, first = _from_zero(input, min_input, max_input, Tinput)
    w, second = _from_zero(filter, min_filter, max_filter, Tfilter)
    found = _conv2d(x, w, strides=strides, padding=padding, dilations=dilations)
    return _wrapped(found, out_type), *_product_range(first, second, out_type)


def _quantized_matmul_shape(node: Any) -> list[TensorShape]:
    _scalars_after(node, 2)
    return [matmul_op.infer(node), SCALAR, SCALAR]


@op("QuantizedMatMul", "a:T1; b:T2; min_a:float32; max_a:float32; min_b:float32; max_b:float32",
    "out:Toutput; min_out:float32; max_out:float32",
    f"T1:type{{{QUANTIZED}}}; T2:type{{{QUANTIZED}}}; Toutput:type{{{QUANTIZED}}}=qint32; transpose_a:bool=false; "
    f"transpose_b:bool=false; Tactivation:type{{{QUANTIZED}}}=quint8", infer=_quantized_matmul_shape)  # fmt: skip
def quantized_matmul_op(
    a: Array, b: Array, min_a: Array, max_a: Array, min_b: Array, max_b: Array, *, T1: DType, T2: DType,
    Toutput: DType, transpose_a: bool, transpose_b: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The product of two quantized matrices."""
    x, first = _from_zero(a, min_a, max_a, T1)
    y, second = _from_zero(b, min_b, max_b, T2)
    found = (x.T if transpose_a else x) @ (y.T if transpose_b else y)
    return _wrapped(found, Toutput), *_product_range(first, second, Toutput)


def _broadcast_ranges(node: Any) -> list[TensorShape]:
    _scalars_after(node, 2)
    return [broadcast_shapes(node.inputs[0].shape, node.inputs[1].shape), SCALAR, SCALAR]


_PAIR = f"T1:type{{{QUANTIZED}}}; T2:type{{{QUANTIZED}}}; Toutput:type{{{QUANTIZED}}}=qint32"


@op("QuantizedMul", "x:T1; y:T2; min_x:float32; max_x:float32; min_y:float32; max_y:float32",
    "z:Toutput; min_z:float32; max_z:float32", _PAIR, infer=_broadcast_ranges)  # fmt: skip
def quantized_mul_op(
    x: Array, y: Array, min_x: Array, max_x: Array, min_y: Array, max_y: Array, *, T1: DType, T2: DType, Toutput: DType
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The product of two quantized tensors, element by element."""
    a, first = _from_zero(x, min_x, max_x, T1)
    b, second = _from_zero(y, min_y, max_y, T2)
    return _wrapped(a * b, Toutput), *_product_range(first, second, Toutput)


# ---------------------------------------------------------------------------- sums


def _sum_range(first: tuple[Any, Any], second: tuple[Any, Any], room: int) -> tuple[Any, Any]:
    """A range with room for sums of `room` such numbers."""
    most = max(first[1], -first[0], second[1], -second[0])
    return -_F(most * _F(room)), _F(most * _F(room))


def _in_line(
    levels: Array, ends: tuple[Any, Any], source: DType, wide: tuple[Any, Any], target: DType
) -> Array:
    """Steps as steps of a wider range: as many for each as for the first one."""
    zero, one = (int(_level(_number(np.int64(i), *ends, source), *wide, target)) for i in (0, 1))
    least, greatest = _limits(target)
    return np.clip(zero + levels.astype(np.int64) * (one - zero), least, greatest)


def _bias_shape(node: Any) -> list[TensorShape]:
    _scalars_after(node, 2)
    shape = rules.rank_at_least(node, 0, 1, "the input")
    bias = rules.rank_exactly(node, 1, 1, "the bias")
    if shape.rank is not None:
        shape = shape[:-1].concatenate(shape[-1:].merge_with(bias))
    return [shape, SCALAR, SCALAR]


@op("QuantizedBiasAdd",
    "input:T1; bias:T2; min_input:float32; max_input:float32; min_bias:float32; max_bias:float32",
    "output:out_type; min_out:float32; max_out:float32",
    f"T1:type{{{QUANTIZED}}}; T2:type{{{QUANTIZED}}}; out_type:type{{{QUANTIZED}}}", infer=_bias_shape)  # fmt: skip
def quantized_bias_add_op(
    input: Array, bias: Array, min_input: Array, max_input: Array, min_bias: Array, max_bias: Array, *, T1: DType,
    T2: DType, out_type: DType,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """A quantized vector added to the last axis of a quantized tensor."""
    if bias.ndim != 1 or not input.ndim or input.shape[-1:] != bias.shape:
        raise refuse(f"the bias {list(bias.shape)} does not fit the input {list(input.shape)}")
    first, second = _ends(min_input, max_input), _ends(min_bias, max_bias)
    low, high = _sum_range(first, second, 1 << 17)
    total = _moved(_whole(input), T1, first, out_type, (low, high)).astype(np.int64)
    total = total + _moved(_whole(bias), T2, second, out_type, (low, high))
    return _stored(total, out_type), np.asarray(low), np.asarray(high)


@op("QuantizedAdd", "x:T1; y:T2; min_x:float32; max_x:float32; min_y:float32; max_y:float32",
    "z:Toutput; min_z:float32; max_z:float32", _PAIR, infer=_broadcast_ranges)  # fmt: skip
def quantized_add_op(
    x: Array, y: Array, min_x: Array, max_x: Array, min_y: Array, max_y: Array, *, T1: DType, T2: DType, Toutput: DType
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The sum of two quantized tensors, element by element."""
    first, second = _ends(min_x, max_x), _ends(min_y, max_y)
    wide = _sum_range(first, second, 1 << 14)
    a = _in_line(_whole(x), first, T1, wide, Toutput)
    b = _in_line(_whole(y), second, T2, wide, Toutput)
    return _stored(a + b, Toutput), np.asarray(wide[0]), np.asarray(wide[1])


# ---------------------------------------------------------------------------- the rest of a network


def _declare_relu(name: str, top: float | None) -> OpDef:
    @op(name, "features:Tinput; min_features:float32; max_features:float32",
        "activations:out_type; min_activations:float32; max_activations:float32",
        f"Tinput:type{{{QUANTIZED}}}; out_type:type{{{QUANTIZED}}}=quint8", infer=_same_ranges)  # fmt: skip
    def body(
        features: Array, min_features: Array, max_features: Array, *, Tinput: DType, out_type: DType
    ) -> tuple[Array, Array, Array]:
        """Quantized numbers, held at zero and perhaps at an upper end."""
        ends = _ends(min_features, max_features)
        least, greatest = _limits(Tinput)
        found = np.maximum(_whole(features), np.clip(_level(0.0, *ends, Tinput), least, greatest))
        if top is not None:
            found = np.minimum(found, np.clip(_level(top, *ends, Tinput), least, greatest))
        return _stored(found, out_type), np.asarray(ends[0]), np.asarray(ends[1])

    return body


quantized_relu_op = _declare_relu("QuantizedRelu", None)
quantized_relu6_op = _declare_relu("QuantizedRelu6", 6.0)


def _reshaped(node: Any) -> list[TensorShape]:
    _scalars_after(node, 2)
    return [reshape_op.infer(node), SCALAR, SCALAR]


@op("QuantizedReshape", "tensor:T; shape:Tshape; input_min:float32; input_max:float32",
    "output:T; output_min:float32; output_max:float32", "T:type; Tshape:type{int32|int64}=int32",
    infer=_reshaped)  # fmt: skip
def quantized_reshape_op(
    tensor: Array, shape: Array, input_min: Array, input_max: Array
) -> tuple[Array, Array, Array]:
    """A quantized tensor in another shape."""
    low, high = _ends(input_min, input_max)
    return reshape_op.body(tensor, shape), np.asarray(low), np.asarray(high)


def _concat_shape(node: Any) -> list[TensorShape]:
    _, values, *_ = node.args
    plain = SimpleNamespace(
        inputs=node.inputs[: len(values) + 1], args=[node.inputs[0], values], attrs=node.attrs,
        constant=node.constant, op_def=node.op_def,
    )  # fmt: skip
    return [concat_op.infer(plain), SCALAR, SCALAR]


@op("QuantizedConcat", "concat_dim:int32; values:N*T; input_mins:N*float32; input_maxes:N*float32",
    "output:T; output_min:float32; output_max:float32", "N:int>=2; T:type", infer=_concat_shape)  # fmt: skip
def quantized_concat_op(
    concat_dim: Array, values: list[Array], input_mins: list[Array], input_maxes: list[Array], *, T: DType
) -> tuple[Array, Array, Array]:
    """Quantized tensors one after another along an axis, all in the one range that holds all of theirs."""
    ranges = [_ends(low, high) for low, high in zip(input_mins, input_maxes, strict=True)]
    low = min(_F(0), *(ends[0] for ends in ranges))
    high = max(ends[1] for ends in ranges)
    if _limits(T)[0] < 0:
        high = max(abs(low), abs(high))
        low = -high
    axis = rules.checked_axis(concat_dim, values[0].ndim)
    parts = [
        _whole(value) if ends == (low, high) else _levels(_numbers(_whole(value), *ends, T), low, high, T)
        for value, ends in zip(values, ranges, strict=True)
    ]
    return _stored(np.concatenate(parts, axis), T), np.asarray(low), np.asarray(high)


def _pooled_shape(pool: OpDef) -> Callable[[Any], list[TensorShape]]:
    def rule(node: Any) -> list[TensorShape]:
        _scalars_after(node, 1)
        return [pool.infer(_as_float_node(node, **_IMAGES)), SCALAR, SCALAR]

    return rule


_POOL = f"T:type{{{QUANTIZED}}}; ksize:list(int); strides:list(int); padding:string{{SAME|VALID}}"


@op("QuantizedMaxPool", "input:T; min_input:float32; max_input:float32",
    "output:T; min_output:float32; max_output:float32", _POOL, infer=_pooled_shape(max_pool_op))  # fmt: skip
def quantized_max_pool_op(
    input: Array, min_input: Array, max_input: Array, *, T: DType, ksize: Sequence[int], strides: Sequence[int],
    padding: str,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The largest element of each window."""
    whole = _whole(input)
    pool = PoolWindows(whole.shape, ksize, strides, padding, ())
    found = np.max(pool.windows(whole, lowest(whole.dtype)), axis=-1)
    low, high = _ends(min_input, max_input)
    return _stored(found, T), np.asarray(low), np.asarray(high)


@op("QuantizedAvgPool", "input:T; min_input:float32; max_input:float32",
    "output:T; min_output:float32; max_output:float32", _POOL, infer=_pooled_shape(avg_pool_op))  # fmt: skip
def quantized_avg_pool_op(
    input: Array, min_input: Array, max_input: Array, *, T: DType, ksize: Sequence[int], strides: Sequence[int],
    padding: str,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The mean of each window, margins left out, rounded towards zero."""
    whole = _whole(input).astype(np.int64)
    pool = PoolWindows(whole.shape, ksize, strides, padding, ())
    found = np.trunc(np.sum(pool.windows(whole, 0), axis=-1) / pool.counts())
    low, high = _ends(min_input, max_input)
    return _stored(found, T), np.asarray(low), np.asarray(high)


for _definition in (
    quantize_v2_op, dequantize_op, requantization_range_op, requantize_op, quantize_down_and_shrink_range_op,
    quantized_conv2d_op, quantized_matmul_op, quantized_mul_op, quantized_bias_add_op, quantized_add_op,
    quantized_relu_op, quantized_relu6_op, quantized_reshape_op, quantized_concat_op, quantized_max_pool_op,
    quantized_avg_pool_op,
):  # fmt: skip
    _definition.gradient(rules.undefined_gradient)


# ---------------------------------------------------------------------------- public functions


def quantize(
    input: Any, min_range: Any, max_range: Any, T: Any, mode: str = "MIN_COMBINED",
    round_mode: str = "HALF_AWAY_FROM_ZERO", name: str | None = None, narrow_range: bool = False,
    axis: int | None = None, ensure_minimum_range: float = 0.01,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns numbers as steps of a range, with the range.

    Args:
      input: float32.
      min_range, max_range: the range, float32 scalars; one per index of `axis` if that is given.
      T: a quantized dtype.
      mode: "MIN_COMBINED", "MIN_FIRST" or "SCALED": how steps are counted.
      round_mode: "HALF_AWAY_FROM_ZERO", or "HALF_TO_EVEN" with mode "SCALED".
      name: a name.
      narrow_range: whether the least integer is left out, with mode "SCALED".
      axis: an axis whose indices have ranges of their own.
      ensure_minimum_range: how far the ends of a range are apart at least, relative to them.

    Returns:
      The steps [as input], and the range that they are steps of, which holds zero.
    """
    x = convert_to_tensor(input, dtypes.float32, name="input")
    output, low, high = emit.QuantizeV2(
        x, min_range, max_range, T=as_dtype(T), mode=mode, round_mode=round_mode, narrow_range=narrow_range,
        axis=own_axis(x, axis), ensure_minimum_range=ensure_minimum_range, name=name,
    )  # fmt: skip
    return output, low, high


quantize_v2 = quantize


def dequantize(
    input: Any, min_range: Any, max_range: Any, mode: str = "MIN_COMBINED", name: str | None = None,
    axis: int | None = None, narrow_range: bool = False, dtype: Any = dtypes.float32,
) -> Tensor:  # fmt: skip
    """Returns the numbers that steps of a range stand for.

    Args:
      input: of a quantized dtype.
      min_range, max_range: the range; one per index of `axis` if that is given.
      mode: how steps are counted, see `quantize`.
      name: a name.
      axis: an axis whose indices have ranges of their own.
      narrow_range: whether the least integer is left out, with mode "SCALED".
      dtype: float32 or bfloat16.
    """
    x = convert_to_tensor(input, name="input")
    result: Tensor = emit.Dequantize(
        x, min_range, max_range, mode=mode, narrow_range=narrow_range, axis=own_axis(x, axis),
        dtype=as_dtype(dtype), name=name,
    )  # fmt: skip
    return result


def quantized_concat(
    concat_dim: Any, values: Sequence[Any], input_mins: Sequence[Any], input_maxes: Sequence[Any],
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns quantized tensors one after another along an axis, in the one range that holds all of theirs, with it.

    Args:
      concat_dim: the axis.
      values: of one quantized dtype.
      input_mins, input_maxes: their ranges, float32 scalars.
      name: a name.
    """
    output, low, high = emit.QuantizedConcat(
        concat_dim, list(values), list(input_mins), list(input_maxes), name=name
    )
    return output, low, high


__all__ = ["dequantize", "quantize", "quantize_v2", "quantized_concat"]
