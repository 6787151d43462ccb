"""Ops that work on each element by itself: arithmetic, comparisons, logic, exponentials, activations, casts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError, UnimplementedError
from graphflow.graph import IndexedSlices, Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Const, Expr, is_float
from graphflow.opdef import convert_to_tensor, emit, op, override_operator, to_array
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    NUMBERS,
    QUANTIZED,
    REALS,
    SIGNED,
    Array,
    Declaration,
    attr_shape,
    broadcast,
    conjugate,
    merged,
    same_as_first,
    widened,
)
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape
from graphflow.tensor_list import added, boxed, is_list

FLOATS_COMPLEX = f"{FLOATS}|{COMPLEX}"
SIGNED_NUMBERS = f"{FLOATS}|{SIGNED}|{COMPLEX}"


def unary(op_type: str, types: str = FLOATS_COMPLEX, output: str = "T") -> Declaration:
    """Declares an op of one tensor `x` whose output has its shape."""
    return op(op_type, "x:T", f"y:{output}", f"T:type{{{types}}}", infer=same_as_first)


def binary(op_type: str, types: str = NUMBERS, output: str = "T", inputs: str = "x:T; y:T") -> Declaration:
    """Declares an op of two tensors that broadcast against each other."""
    return op(op_type, inputs, f"z:{output}", f"T:type{{{types}}}", infer=broadcast, broadcasting=True)


def activation(op_type: str, types: str = FLOATS, attrs: str = "") -> Declaration:
    """Declares an activation under TensorFlow's names of its ends."""
    return op(op_type, "features:T", "activations:T", f"{attrs}T:type{{{types}}}", infer=same_as_first)


def activation_gradient(
    op_type: str, types: str = FLOATS, second: str = "features", attrs: str = ""
) -> Declaration:
    """Declares the op that carries a gradient back through an activation."""
    return op(op_type, f"gradients:T; {second}:T", "backprops:T", f"{attrs}T:type{{{types}}}", infer=merged)


def output_gradient(op_type: str) -> Declaration:
    """Declares the gradient of a unary op in terms of its output `y`."""
    return op(op_type, "y:T; dy:T", "z:T", f"T:type{{{FLOATS_COMPLEX}}}", infer=merged)


def _is_integer(x: Array) -> bool:
    return x.dtype.kind in "iu"


def _refuse_zero(x: Array, y: Array) -> None:
    """Refuses to divide integers by zero; where there is nothing to divide, any divisor will do."""
    if _is_integer(y) and not np.all(y) and 0 not in np.broadcast_shapes(np.shape(x), np.shape(y)):
        raise InvalidArgumentError(None, None, "Integer division by zero")


def _may_divide(y: Expr) -> bool:
    """Code cannot report an integer division by zero: such a step stays with its NumPy body, which does."""
    return is_float(y.dtype) or (isinstance(y, Const) and y.value != 0)


# ---------------------------------------------------------------------------- arithmetic of two


@binary("Add", f"{FLOATS}|{SIGNED}|uint8|{COMPLEX}|string")
def add_op(x: Array, y: Array) -> Any:
    """The sum; of strings the concatenation."""
    return np.add(x, y)


@add_op.gradient
def _add_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, dy]


@add_op.lower
def _add_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.add(x, y)


@binary("AddV2")
def add_v2_op(x: Array, y: Array) -> Any:
    """The sum."""
    return np.add(x, y)


add_v2_op.gradient(_add_gradient)
add_v2_op.lower(_add_lower)


def add(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x + y, broadcast; strings are concatenated."""
    known = next((v.dtype for v in (x, y) if hasattr(v, "graph")), None)
    is_text = known is dtypes.string or (known is None and to_array(x).dtype == object)
    return emit.Add(x, y, name=name) if is_text else emit.AddV2(x, y, name=name or "Add")


@binary("Sub")
def sub_op(x: Array, y: Array) -> Any:
    """The difference."""
    return np.subtract(x, y)


@sub_op.gradient
def _sub_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, -dy]


@sub_op.lower
def _sub_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.sub(x, y)


def subtract(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x - y, broadcast."""
    return emit.Sub(x, y, name=name)


@binary("Mul")
def mul_op(x: Array, y: Array) -> Any:
    """The product."""
    return np.multiply(x, y)


@mul_op.gradient
def _mul_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs
    return [dy * conjugate(y), dy * conjugate(x)]


@mul_op.lower
def _mul_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.mul(x, y)


def multiply(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x * y, broadcast."""
    return emit.Mul(x, y, name=name)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """Returns scalar * x for a number or scalar tensor; x may be IndexedSlices.

    Raises:
      ValueError: if `scalar` has a shape.
    """
    dtype = x.dtype
    scalar = convert_to_tensor(scalar, dtype=dtype, name="scalar")
    if scalar.shape.rank not in (0, None):
        raise ShapeError(f"Only scalar multiply works, got shape {scalar.shape}")
    if isinstance(x, IndexedSlices):
        return IndexedSlices(emit.Mul(scalar, x.values, name=name), x.indices, x.dense_shape)
    return emit.Mul(scalar, x, name=name)


def truncated_quotient(x: Array, y: Array) -> Any:
    """The quotient as C++ has it: of integers cut towards zero, of which none may be divided by zero."""
    if not _is_integer(x):
        return np.divide(x, y)
    _refuse_zero(x, y)
    quotient = np.floor_divide(x, y)
    # NumPy rounds towards minus infinity, C++ (and so TensorFlow) towards zero.
    return (quotient + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0)))).astype(x.dtype)


def _quotient_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    return [emit.RealDiv(dy, y), dy * emit.RealDiv(emit.RealDiv(-x, y), y)]


@binary("Div")
def div_op(x: Array, y: Array) -> Any:
    """The quotient; of integers cut towards zero."""
    return truncated_quotient(x, y)


@div_op.gradient
def _div_gradient(op: Any, dy: Any) -> list[Any]:
    return _quotient_gradient(op, dy)


@div_op.lower
def _div_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    return b.div(x, y) if _may_divide(y) else None


@binary("RealDiv")
def real_div_op(x: Array, y: Array) -> Any:
    """The quotient of floats; of integers cut towards zero."""
    return truncated_quotient(x, y)


real_div_op.gradient(_div_gradient)
real_div_op.lower(_div_lower)


def realdiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y of floating or complex tensors, broadcast."""
    return emit.RealDiv(x, y, name=name)


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y as Python 2 had it: floats divide, integers are floored."""
    with name_scope(name, "div", [x, y]) as scope:
        x, y = _same_dtype(x, y)
        if x.dtype.is_floating or x.dtype.is_complex:
            return emit.RealDiv(x, y, name=scope)
        return emit.FloorDiv(x, y, name=scope)


_TRUEDIV_TYPES = {
    dtypes.int8: dtypes.float32, dtypes.uint8: dtypes.float32, dtypes.int16: dtypes.float32,
    dtypes.uint16: dtypes.float32, dtypes.int32: dtypes.float64, dtypes.uint32: dtypes.float64,
    dtypes.int64: dtypes.float64, dtypes.uint64: dtypes.float64,
}  # fmt: skip


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y as Python 3 has it: small integers divide as float32, others as float64.

    Raises:
      TypeError: if the dtypes differ.
    """
    with name_scope(name, "truediv", [x, y]) as scope:
        x, y = _same_dtype(x, y)
        wide = _TRUEDIV_TYPES.get(x.dtype)
        if wide is not None:
            x, y = cast(x, wide), cast(y, wide)
        return emit.RealDiv(x, y, name=scope)


def divide(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y as Python 3 has it."""
    return truediv(x, y, name)


@binary("TruncateDiv")
def truncate_div_op(x: Array, y: Array) -> Any:
    """The quotient cut towards zero."""
    result = truncated_quotient(x, y)
    return result if _is_integer(result) or result.dtype.kind == "c" else np.trunc(result)


@truncate_div_op.gradient
def _truncate_div_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, None]


@truncate_div_op.lower
def _truncate_div_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    if is_float(x.dtype):
        return b.trunc(b.div(x, y))
    return b.div(x, y) if _may_divide(y) else None


def truncatediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y cut towards zero."""
    return emit.TruncateDiv(x, y, name=name)


@binary("FloorDiv")
def floor_div_op(x: Array, y: Array) -> Any:
    """The floor of the quotient."""
    if _is_integer(x):
        _refuse_zero(x, y)
        return np.floor_divide(x, y)
    return np.floor(np.divide(x, y))


@floor_div_op.gradient
def _floor_div_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, None]


@floor_div_op.lower
def _floor_div_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    return b.floordiv(x, y) if _may_divide(y) else None


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the floor of x / y."""
    with name_scope(name, "floordiv", [x, y]) as scope:
        return emit.FloorDiv(x, y, name=scope)


def floor_div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the floor of x / y."""
    return emit.FloorDiv(x, y, name=name)


@binary("FloorMod", REALS)
def floor_mod_op(x: Array, y: Array) -> Any:
    """The remainder with the sign of y."""
    if _is_integer(x):
        _refuse_zero(x, y)
        return np.remainder(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


@floor_mod_op.gradient
def _floor_mod_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs
    return [dy, -dy * emit.FloorDiv(x, y)]


@floor_mod_op.lower
def _floor_mod_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    return b.floormod(x, y) if _may_divide(y) else None


def floormod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the remainder of x / y, with the sign of y."""
    return emit.FloorMod(x, y, name=name)


def mod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the remainder of x / y, with the sign of y."""
    return emit.FloorMod(x, y, name=name)


@binary("TruncateMod", f"{FLOATS}|int32|int64")
def truncate_mod_op(x: Array, y: Array) -> Any:
    """The remainder with the sign of x."""
    _refuse_zero(x, y)
    return np.fmod(x, y)


@truncate_mod_op.gradient
def _truncate_mod_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs
    return [dy, -dy * emit.TruncateDiv(x, y)]


@truncate_mod_op.lower
def _truncate_mod_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    return b.truncmod(x, y) if _may_divide(y) else None


def truncatemod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the remainder of x / y, with the sign of x."""
    return emit.TruncateMod(x, y, name=name)


@binary("Mod", f"{FLOATS}|int32|int64")
def mod_op(x: Array, y: Array) -> Any:
    """The remainder with the sign of x, as in C."""
    _refuse_zero(x, y)
    return np.fmod(x, y)


mod_op.gradient(_truncate_mod_gradient)
mod_op.lower(_truncate_mod_lower)


@binary("DivNoNan", FLOATS_COMPLEX)
def div_no_nan_op(x: Array, y: Array) -> Any:
    """The quotient, 0 where y is 0."""
    with np.errstate(all="ignore"):
        return np.where(y == 0, np.zeros((), x.dtype), np.divide(x, y))


@div_no_nan_op.gradient
def _div_no_nan_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    return [emit.DivNoNan(dy, y), dy * emit.DivNoNan(emit.DivNoNan(-x, y), y)]


@div_no_nan_op.lower
def _div_no_nan_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.select(b.eq(y, 0.0), 0.0, b.div(x, y))


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y, and 0 where y is 0."""
    with name_scope(name, "div_no_nan", [x, y]) as scope:
        return emit.DivNoNan(x, y, name=scope)


def reciprocal_no_nan(x: Any, name: str | None = None) -> Tensor:
    """Returns 1 / x, and 0 where x is 0; for floats and complex numbers."""
    with name_scope(name, "reciprocal_no_nan", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return emit.DivNoNan(convert_to_tensor(1, x.dtype, name="one"), x, name=scope)


@binary("MulNoNan", FLOATS_COMPLEX)
def mul_no_nan_op(x: Array, y: Array) -> Any:
    """The product, 0 where y is 0 even if x is NaN or infinite."""
    return np.where(y == 0, np.zeros((), x.dtype), np.multiply(x, y))


@mul_no_nan_op.gradient
def _mul_no_nan_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs
    return [emit.MulNoNan(dy, conjugate(y)), emit.MulNoNan(conjugate(x), dy)]


@mul_no_nan_op.lower
def _mul_no_nan_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.select(b.eq(y, 0.0), 0.0, b.mul(x, y))


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x * y, and 0 where y is 0 even if x is NaN or infinite."""
    with name_scope(name, "multiply_no_nan", [x, y]) as scope:
        return emit.MulNoNan(x, y, name=scope)


@binary("Pow", f"{FLOATS}|{SIGNED}|{COMPLEX}")
def pow_op(x: Array, y: Array) -> Any:
    """x to the power of y."""
    if _is_integer(y) and np.any(y < 0):
        raise InvalidArgumentError(None, None, "Integers to negative integer powers are not allowed")
    return np.power(x, y)


@pow_op.gradient
def _pow_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    z = conjugate(op.outputs[0])
    one, zero = _number(1, x), _number(0, x)
    # log(x) is taken only where it exists: the derivative by y is 0 at and below x = 0.
    usable = emit.NotEqual(x, zero) if x.dtype.is_complex else emit.Greater(x, zero)
    log_x = emit.SelectV2(usable, emit.Log(emit.SelectV2(usable, x, one)), zero)
    return [dy * y * emit.Pow(x, y - one), dy * z * log_x]


@pow_op.lower
def _pow_lower(b: Builder, x: Expr, y: Expr) -> Expr | None:
    if is_float(x.dtype):
        return b.pow(x, y)
    if isinstance(y, Const) and 0 <= y.value <= 4:
        result = b.const_like(1, x)
        for _ in range(int(y.value)):
            result = b.mul(result, x)
        return result
    return None


def pow(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x to the power of y, broadcast."""
    with name_scope(name, "Pow", [x]) as scope:
        return emit.Pow(x, y, name=scope)


@binary("Maximum", REALS)
def maximum_op(x: Array, y: Array) -> Any:
    """The greater; NaN if either is."""
    return np.maximum(x, y)


@maximum_op.gradient
def _maximum_gradient(op: Any, dy: Any) -> list[Any]:
    return _choice_gradient(emit.GreaterEqual(*op.inputs), dy)


@maximum_op.lower
def _maximum_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.max(x, y)


def maximum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the greater of x and y, broadcast; NaN if either is."""
    return emit.Maximum(x, y, name=name)


@binary("Minimum", REALS)
def minimum_op(x: Array, y: Array) -> Any:
    """The smaller; NaN if either is."""
    return np.minimum(x, y)


@minimum_op.gradient
def _minimum_gradient(op: Any, dy: Any) -> list[Any]:
    return _choice_gradient(emit.LessEqual(*op.inputs), dy)


@minimum_op.lower
def _minimum_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.min(x, y)


def minimum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the smaller of x and y, broadcast; NaN if either is."""
    return emit.Minimum(x, y, name=name)


def _choice_gradient(first: Any, dy: Any) -> list[Any]:
    zero = _number(0, dy)
    return [emit.SelectV2(first, dy, zero), emit.SelectV2(first, zero, dy)]


@binary("SquaredDifference", f"{FLOATS}|int32|int64|{COMPLEX}")
def squared_difference_op(x: Array, y: Array) -> Any:
    """(x - y) times its conjugate."""
    difference = np.subtract(x, y)
    return difference * np.conj(difference)


@squared_difference_op.gradient
def _squared_difference_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs
    # Of a complex pair only the real part of dy counts: the output is real.
    scale = _number(2, dy) * (cast(real(dy), dy.dtype) if dy.dtype.is_complex else dy)
    by_x = scale * (x - y)
    return [by_x, -by_x]


@squared_difference_op.lower
def _squared_difference_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.square(b.sub(x, y))


def squared_difference(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns (x - y)(x - y), broadcast."""
    return emit.SquaredDifference(x, y, name=name)


@binary("Atan2", FLOATS, inputs="y:T; x:T")
def atan2_op(y: Array, x: Array) -> Any:
    """The angle of the point (x, y)."""
    return np.arctan2(y, x)


@atan2_op.gradient
def _atan2_gradient(op: Any, dy: Any) -> list[Any]:
    y, x = op.inputs
    scaled = dy / (emit.Square(x) + emit.Square(y))
    return [x * scaled, -y * scaled]


@atan2_op.lower
def _atan2_lower(b: Builder, y: Expr, x: Expr) -> Expr:
    return b.atan2(y, x)


def atan2(y: Any, x: Any, name: str | None = None) -> Tensor:
    """Returns the angle in [-pi, pi] of the point (x, y)."""
    return emit.Atan2(y, x, name=name)


def _not_zero(x: Tensor) -> Tensor:
    return cast(emit.NotEqual(x, _number(0, x)), x.dtype)


@binary("Xdivy", FLOATS_COMPLEX)
def xdivy_op(x: Array, y: Array) -> Any:
    """x / y, 0 where x is 0."""
    with np.errstate(all="ignore"):
        return np.where(x == 0, np.zeros((), x.dtype), np.divide(x, y))


@xdivy_op.gradient
def _xdivy_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    return [dy * emit.Xdivy(_not_zero(x), y), dy * emit.Xdivy(-x, emit.Square(y))]


@xdivy_op.lower
def _xdivy_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.select(b.eq(x, 0.0), 0.0, b.div(x, y))


def xdivy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x / y, and 0 where x is 0."""
    with name_scope(name, "xdivy", [x]) as scope:
        return emit.Xdivy(x, y, name=scope)


@binary("Xlogy", FLOATS_COMPLEX)
def xlogy_op(x: Array, y: Array) -> Any:
    """x log(y), 0 where x is 0."""
    with np.errstate(all="ignore"):
        return np.where(x == 0, np.zeros((), x.dtype), x * np.log(y))


@xlogy_op.gradient
def _xlogy_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    return [dy * emit.Xlogy(_not_zero(x), y), dy * emit.Xdivy(x, y)]


@xlogy_op.lower
def _xlogy_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.select(b.eq(x, 0.0), 0.0, b.mul(x, b.log(y)))


def xlogy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x log(y), and 0 where x is 0."""
    with name_scope(name, "xlogy", [x]) as scope:
        return emit.Xlogy(x, y, name=scope)


@binary("Xlog1py", FLOATS_COMPLEX)
def xlog1py_op(x: Array, y: Array) -> Any:
    """x log(1 + y), 0 where x is 0."""
    with np.errstate(all="ignore"):
        return np.where(x == 0, np.zeros((), x.dtype), x * np.log1p(y))


@xlog1py_op.gradient
def _xlog1py_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = (conjugate(value) for value in op.inputs)
    return [dy * emit.Xlog1py(_not_zero(x), y), dy * emit.Xdivy(x, y + _number(1, y))]


@xlog1py_op.lower
def _xlog1py_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.select(b.eq(x, 0.0), 0.0, b.mul(x, b.log1p(y)))


def xlog1py(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x log(1 + y), and 0 where x is 0."""
    with name_scope(name, "xlog1py", [x]) as scope:
        return emit.Xlog1py(x, y, name=scope)


# ---------------------------------------------------------------------------- arithmetic of many


def _sum_list(inputs: Sequence[Array]) -> Any:
    total = inputs[0]
    for value in inputs[1:]:
        total = np.add(total, value)
    return total


# Addends of one kernel: each is a buffer of its own, and code for thousands takes more than linear time.
_MOST_ADDENDS = 16


@op("AddN", "inputs:N*T", "sum:T", f"N:int>=1; T:type{{{NUMBERS}|variant}}", infer=merged)
def add_n_op(inputs: list[Array]) -> Any:
    """The sum of tensors of one shape, from left to right; of lists, of their elements."""
    if is_list(inputs[0]):
        return boxed(functools.reduce(added, [value.item() for value in inputs]))
    return _sum_list(inputs)


@add_n_op.gradient
def _add_n_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy] * len(op.inputs)


@add_n_op.expand
def _add_n_expand(b: Any, node: Any, inputs: Any) -> list[Any] | None:
    """More addends than a kernel holds well become sums of a few, in the same order."""
    if len(inputs) <= _MOST_ADDENDS:
        return None
    total = inputs[0]
    for start in range(1, len(inputs), _MOST_ADDENDS - 1):
        addends = (total, *inputs[start : start + _MOST_ADDENDS - 1])
        total = b.emit("AddN", *addends, N=len(addends))
    return [total]


@add_n_op.lower
def _add_n_lower(b: Builder, inputs: list[Expr]) -> Expr:
    return functools.reduce(b.add, inputs)


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """Returns the sum of a list of tensors (or IndexedSlices) of one shape and dtype.

    Raises:
      ValueError: if the list is empty.
    """
    values = list(inputs) if isinstance(inputs, list | tuple) else []
    if not values:
        raise ValueError(
            "inputs must be an iterable of at least one Tensor/IndexedSlices with the same dtype and shape"
        )
    tensors = [convert_to_tensor(value) for value in values]
    if len(tensors) == 1:
        return emit.Identity(tensors[0], name=name) if name else tensors[0]
    return emit.AddN(tensors, name=name)


def _accumulate_shape(node: Any) -> TensorShape:
    return merged(node).merge_with(attr_shape(node))


@op(
    "AccumulateNV2",
    "inputs:N*T",
    "sum:T",
    f"N:int>=1; T:type{{{NUMBERS}}}; shape:shape",
    infer=_accumulate_shape,
)
def accumulate_n_op(inputs: list[Array]) -> Any:
    """The sum of tensors of one known shape, from left to right."""
    return _sum_list(inputs)


accumulate_n_op.gradient(_add_n_gradient)
accumulate_n_op.lower(_add_n_lower)


def accumulate_n(inputs: Any, shape: Any = None, tensor_dtype: Any = None, name: str | None = None) -> Tensor:
    """Returns the sum of a list of tensors of one shape and dtype.

    Raises:
      ValueError: if the list is empty, or the shapes differ.
      TypeError: if `tensor_dtype` is not the dtype of the tensors.
    """
    values = list(inputs) if isinstance(inputs, list | tuple) else []
    if not values:
        raise ValueError("inputs must be a list of at least one Tensor with the same dtype and shape")
    tensors = [convert_to_tensor(value) for value in values]
    known = TensorShape(shape)
    for tensor in tensors:
        known = known.merge_with(tensor.shape)
    if tensor_dtype is not None and dtypes.as_dtype(tensor_dtype) is not tensors[0].dtype:
        raise TypeError(f"tensor_dtype is {tensor_dtype}, but input is of type {tensors[0].dtype}")
    if len(tensors) == 1 and name is None:
        return tensors[0]
    if len(tensors) == 1:
        return emit.Identity(tensors[0], name=name)
    return emit.AccumulateNV2(tensors, shape=known, name=name)


# ---------------------------------------------------------------------------- arithmetic of one


@unary("Neg", SIGNED_NUMBERS)
def neg_op(x: Array) -> Any:
    """The negative."""
    return np.negative(x)


@neg_op.gradient
def _neg_gradient(op: Any, dy: Any) -> list[Any]:
    return [-dy]


@neg_op.lower
def _neg_lower(b: Builder, x: Expr) -> Expr:
    return b.neg(x)


def negative(x: Any, name: str | None = None) -> Tensor:
    """Returns -x."""
    return emit.Neg(x, name=name)


@unary("Abs", f"{FLOATS}|{SIGNED}")
def abs_op(x: Array) -> Any:
    """The absolute value."""
    return np.abs(x)


@abs_op.gradient
def _abs_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Sign(op.inputs[0])]


@abs_op.lower
def _abs_lower(b: Builder, x: Expr) -> Expr:
    return b.abs(x)


def abs(x: Any, name: str | None = None) -> Tensor:
    """Returns the absolute value; of complex numbers the (real) magnitude."""
    with name_scope(name, "Abs", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        if x.dtype.is_complex:
            return emit.ComplexAbs(x, Tout=x.dtype.real_dtype, name=scope)
        return x if x.dtype.is_unsigned else emit.Abs(x, name=scope)


@unary("Sign", SIGNED_NUMBERS)
def sign_op(x: Array) -> Any:
    """-1, 0 or 1; of complex numbers x / |x|."""
    return np.sign(x)


@sign_op.gradient
def _sign_gradient(op: Any, dy: Any) -> list[Any]:
    (z,) = op.inputs
    if not z.dtype.is_complex:
        return [emit.ZerosLike(z)]
    # Only the part of dy across the unit vector z / |z| turns it, by 1 / |z| per unit.
    unit = op.outputs[0]
    along = cast(real(emit.Mul(conjugate(unit), dy)), z.dtype)
    return [emit.DivNoNan(dy - along * unit, cast(abs(z), z.dtype))]


@sign_op.lower
def _sign_lower(b: Builder, x: Expr) -> Expr:
    return b.sign(x)


def sign(x: Any, name: str | None = None) -> Tensor:
    """Returns -1, 0 or 1 by the sign of x; x / |x| of complex numbers."""
    return emit.Sign(x, name=name)


@unary("Square", NUMBERS)
def square_op(x: Array) -> Any:
    """x times x."""
    return np.square(x)


@square_op.gradient
def _square_gradient(op: Any, dy: Any) -> list[Any]:
    x = op.inputs[0]
    return [dy * (_number(2, x) * conjugate(x))]


@square_op.lower
def _square_lower(b: Builder, x: Expr) -> Expr:
    return b.mul(x, x)


def square(x: Any, name: str | None = None) -> Tensor:
    """Returns x * x."""
    return emit.Square(x, name=name)


@unary("Sqrt")
def sqrt_op(x: Array) -> Any:
    """The square root."""
    return np.sqrt(x)


@sqrt_op.gradient
def _sqrt_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SqrtGrad(op.outputs[0], dy)]


@sqrt_op.lower
def _sqrt_lower(b: Builder, x: Expr) -> Expr:
    return b.sqrt(x)


@output_gradient("SqrtGrad")
@widened
def sqrt_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of a square root y: dy / (2 conj(y))."""
    return dy * y.dtype.type(0.5) / np.conj(y)


@sqrt_grad_op.gradient
def _sqrt_grad_gradient(op: Any, dz: Any) -> list[Any]:
    y = op.inputs[0]
    by_dy = emit.SqrtGrad(conjugate(y), dz)
    return [-emit.RealDiv(conjugate(dz) * op.outputs[0], conjugate(y)), by_dy]


@sqrt_grad_op.lower
def _sqrt_grad_lower(b: Builder, y: Expr, dy: Expr) -> Expr:
    return b.div(b.mul(dy, 0.5), y)


def sqrt(x: Any, name: str | None = None) -> Tensor:
    """Returns the square root."""
    return emit.Sqrt(x, name=name)


@unary("Rsqrt")
@widened
def rsqrt_op(x: Array) -> Any:
    """1 / sqrt(x)."""
    return np.divide(x.dtype.type(1), np.sqrt(x))


@rsqrt_op.gradient
def _rsqrt_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.RsqrtGrad(op.outputs[0], dy)]


@rsqrt_op.lower
def _rsqrt_lower(b: Builder, x: Expr) -> Expr:
    return b.rsqrt(x)


@output_gradient("RsqrtGrad")
@widened
def rsqrt_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of 1 / sqrt(x) = y: -dy conj(y)^3 / 2."""
    y = np.conj(y)
    return dy * (y * y * y) * y.dtype.type(-0.5)


@rsqrt_grad_op.gradient
def _rsqrt_grad_gradient(op: Any, dz: Any) -> list[Any]:
    y, dy = op.inputs
    by_y = _number(-1.5, y) * conjugate(dz) * dy * emit.Square(conjugate(y))
    return [by_y, emit.RsqrtGrad(conjugate(y), dz)]


@rsqrt_grad_op.lower
def _rsqrt_grad_lower(b: Builder, y: Expr, dy: Expr) -> Expr:
    return b.mul(b.mul(dy, b.mul(b.mul(y, y), y)), -0.5)


def rsqrt(x: Any, name: str | None = None) -> Tensor:
    """Returns 1 / sqrt(x)."""
    return emit.Rsqrt(x, name=name)


def _reciprocal(x: Array) -> Any:
    if _is_integer(x):
        _refuse_zero(x, x)
        return truncated_quotient(np.ones_like(x), x)
    return np.reciprocal(x)


@unary("Reciprocal", SIGNED_NUMBERS)
def reciprocal_op(x: Array) -> Any:
    """1 / x."""
    return _reciprocal(x)


@reciprocal_op.gradient
def _reciprocal_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.ReciprocalGrad(op.outputs[0], dy)]


@reciprocal_op.lower
def _reciprocal_lower(b: Builder, x: Expr) -> Expr | None:
    return b.div(1.0, x) if is_float(x.dtype) else None


@unary("Inv", SIGNED_NUMBERS)
def inv_op(x: Array) -> Any:
    """1 / x."""
    return _reciprocal(x)


inv_op.gradient(_reciprocal_gradient)
inv_op.lower(_reciprocal_lower)


def _reciprocal_grad(y: Array, dy: Array) -> Any:
    return -dy * np.square(np.conj(y))


@output_gradient("ReciprocalGrad")
@widened
def reciprocal_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of a reciprocal y: -dy conj(y)^2."""
    return _reciprocal_grad(y, dy)


@reciprocal_grad_op.gradient
def _reciprocal_grad_gradient(op: Any, dz: Any) -> list[Any]:
    y, dy = op.inputs
    by_y = _number(-2, y) * conjugate(dz) * dy * conjugate(y)
    return [by_y, emit.ReciprocalGrad(conjugate(y), dz)]


@reciprocal_grad_op.lower
def _reciprocal_grad_lower(b: Builder, y: Expr, dy: Expr) -> Expr:
    return b.mul(b.neg(dy), b.mul(y, y))


@output_gradient("InvGrad")
@widened
def inv_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of a reciprocal y: -dy conj(y)^2."""
    return _reciprocal_grad(y, dy)


inv_grad_op.gradient(_reciprocal_grad_gradient)
inv_grad_op.lower(_reciprocal_grad_lower)


def reciprocal(x: Any, name: str | None = None) -> Tensor:
    """Returns 1 / x."""
    return emit.Reciprocal(x, name=name)


# ---------------------------------------------------------------------------- exponentials, logarithms


@unary("Exp")
def exp_op(x: Array) -> Any:
    """e to the power of x."""
    return np.exp(x)


@exp_op.gradient
def _exp_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * conjugate(op.outputs[0])]


@exp_op.lower
def _exp_lower(b: Builder, x: Expr) -> Expr:
    return b.exp(x)


def exp(x: Any, name: str | None = None) -> Tensor:
    """Returns e to the power of x."""
    return emit.Exp(x, name=name)


@unary("Expm1")
def expm1_op(x: Array) -> Any:
    """exp(x) - 1, right near zero."""
    return np.expm1(x)


@expm1_op.gradient
def _expm1_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Exp(conjugate(op.inputs[0]))]


@expm1_op.lower
def _expm1_lower(b: Builder, x: Expr) -> Expr:
    return b.expm1(x)


def expm1(x: Any, name: str | None = None) -> Tensor:
    """Returns exp(x) - 1, right near zero."""
    return emit.Expm1(x, name=name)


@unary("Log")
def log_op(x: Array) -> Any:
    """The natural logarithm."""
    return np.log(x)


@log_op.gradient
def _log_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Reciprocal(conjugate(op.inputs[0]))]


@log_op.lower
def _log_lower(b: Builder, x: Expr) -> Expr:
    return b.log(x)


def log(x: Any, name: str | None = None) -> Tensor:
    """Returns the natural logarithm."""
    return emit.Log(x, name=name)


@unary("Log1p")
def log1p_op(x: Array) -> Any:
    """log(1 + x), right near zero."""
    return np.log1p(x)


@log1p_op.gradient
def _log1p_gradient(op: Any, dy: Any) -> list[Any]:
    x = conjugate(op.inputs[0])
    return [dy * emit.Reciprocal(_number(1, x) + x)]


@log1p_op.lower
def _log1p_lower(b: Builder, x: Expr) -> Expr:
    return b.log1p(x)


def log1p(x: Any, name: str | None = None) -> Tensor:
    """Returns log(1 + x), right near zero."""
    return emit.Log1p(x, name=name)


# ---------------------------------------------------------------------------- angles and hyperbolas


@unary("Sin")
def sin_op(x: Array) -> Any:
    """The sine."""
    return np.sin(x)


@sin_op.gradient
def _sin_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Cos(conjugate(op.inputs[0]))]


@sin_op.lower
def _sin_lower(b: Builder, x: Expr) -> Expr:
    return b.sin(x)


def sin(x: Any, name: str | None = None) -> Tensor:
    """Returns the sine."""
    return emit.Sin(x, name=name)


@unary("Cos")
def cos_op(x: Array) -> Any:
    """The cosine."""
    return np.cos(x)


@cos_op.gradient
def _cos_gradient(op: Any, dy: Any) -> list[Any]:
    return [-dy * emit.Sin(conjugate(op.inputs[0]))]


@cos_op.lower
def _cos_lower(b: Builder, x: Expr) -> Expr:
    return b.cos(x)


def cos(x: Any, name: str | None = None) -> Tensor:
    """Returns the cosine."""
    return emit.Cos(x, name=name)


@unary("Tan")
def tan_op(x: Array) -> Any:
    """The tangent."""
    return np.tan(x)


@tan_op.gradient
def _tan_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Square(emit.Reciprocal(emit.Cos(conjugate(op.inputs[0]))))]


@tan_op.lower
def _tan_lower(b: Builder, x: Expr) -> Expr:
    return b.tan(x)


def tan(x: Any, name: str | None = None) -> Tensor:
    """Returns the tangent."""
    return emit.Tan(x, name=name)


@unary("Asin")
def asin_op(x: Array) -> Any:
    """The inverse of the sine."""
    return np.arcsin(x)


@asin_op.gradient
def _asin_gradient(op: Any, dy: Any) -> list[Any]:
    x = conjugate(op.inputs[0])
    return [dy * emit.Reciprocal(emit.Sqrt(_number(1, x) - emit.Square(x)))]


@asin_op.lower
def _asin_lower(b: Builder, x: Expr) -> Expr:
    return b.asin(x)


def asin(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the sine."""
    return emit.Asin(x, name=name)


@unary("Acos")
def acos_op(x: Array) -> Any:
    """The inverse of the cosine."""
    return np.arccos(x)


@acos_op.gradient
def _acos_gradient(op: Any, dy: Any) -> list[Any]:
    x = conjugate(op.inputs[0])
    return [-dy * emit.Reciprocal(emit.Sqrt(_number(1, x) - emit.Square(x)))]


@acos_op.lower
def _acos_lower(b: Builder, x: Expr) -> Expr:
    return b.acos(x)


def acos(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the cosine."""
    return emit.Acos(x, name=name)


@unary("Atan")
def atan_op(x: Array) -> Any:
    """The inverse of the tangent."""
    return np.arctan(x)


@atan_op.gradient
def _atan_gradient(op: Any, dy: Any) -> list[Any]:
    x = conjugate(op.inputs[0])
    return [dy * emit.Reciprocal(_number(1, x) + emit.Square(x))]


@atan_op.lower
def _atan_lower(b: Builder, x: Expr) -> Expr:
    return b.atan(x)


def atan(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the tangent."""
    return emit.Atan(x, name=name)


@unary("Sinh")
def sinh_op(x: Array) -> Any:
    """The hyperbolic sine."""
    return np.sinh(x)


@sinh_op.gradient
def _sinh_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Cosh(conjugate(op.inputs[0]))]


@sinh_op.lower
def _sinh_lower(b: Builder, x: Expr) -> Expr:
    return b.sinh(x)


def sinh(x: Any, name: str | None = None) -> Tensor:
    """Returns the hyperbolic sine."""
    return emit.Sinh(x, name=name)


@unary("Cosh")
def cosh_op(x: Array) -> Any:
    """The hyperbolic cosine."""
    return np.cosh(x)


@cosh_op.gradient
def _cosh_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy * emit.Sinh(conjugate(op.inputs[0]))]


@cosh_op.lower
def _cosh_lower(b: Builder, x: Expr) -> Expr:
    return b.cosh(x)


def cosh(x: Any, name: str | None = None) -> Tensor:
    """Returns the hyperbolic cosine."""
    return emit.Cosh(x, name=name)


@unary("Tanh")
def tanh_op(x: Array) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)


@tanh_op.gradient
def _tanh_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.TanhGrad(conjugate(op.outputs[0]), dy)]


@tanh_op.lower
def _tanh_lower(b: Builder, x: Expr) -> Expr:
    return b.tanh(x)


@output_gradient("TanhGrad")
@widened
def tanh_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of a hyperbolic tangent y: dy (1 - y^2)."""
    return dy * (y.dtype.type(1) - y * y)


@tanh_grad_op.gradient
def _tanh_grad_gradient(op: Any, dz: Any) -> list[Any]:
    y, dy = (conjugate(value) for value in op.inputs)
    return [_number(-2, y) * dz * dy * y, emit.TanhGrad(y, dz)]


@tanh_grad_op.lower
def _tanh_grad_lower(b: Builder, y: Expr, dy: Expr) -> Expr:
    return b.mul(dy, b.sub(1.0, b.mul(y, y)))


def tanh(x: Any, name: str | None = None) -> Tensor:
    """Returns the hyperbolic tangent."""
    return emit.Tanh(x, name=name)


@unary("Asinh")
def asinh_op(x: Array) -> Any:
    """The inverse of the hyperbolic sine."""
    return np.arcsinh(x)


@asinh_op.gradient
def _asinh_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.RealDiv(dy, emit.Cosh(conjugate(op.outputs[0])))]


@asinh_op.lower
def _asinh_lower(b: Builder, x: Expr) -> Expr:
    return b.asinh(x)


def asinh(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the hyperbolic sine."""
    return emit.Asinh(x, name=name)


@unary("Acosh")
def acosh_op(x: Array) -> Any:
    """The inverse of the hyperbolic cosine."""
    return np.arccosh(x)


@acosh_op.gradient
def _acosh_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.RealDiv(dy, emit.Sinh(conjugate(op.outputs[0])))]


@acosh_op.lower
def _acosh_lower(b: Builder, x: Expr) -> Expr:
    return b.acosh(x)


def acosh(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the hyperbolic cosine."""
    return emit.Acosh(x, name=name)


@unary("Atanh")
def atanh_op(x: Array) -> Any:
    """The inverse of the hyperbolic tangent."""
    return np.arctanh(x)


@atanh_op.gradient
def _atanh_gradient(op: Any, dy: Any) -> list[Any]:
    x = conjugate(op.inputs[0])
    return [dy * emit.Reciprocal(_number(1, x) - emit.Square(x))]


@atanh_op.lower
def _atanh_lower(b: Builder, x: Expr) -> Expr:
    return b.atanh(x)


def atanh(x: Any, name: str | None = None) -> Tensor:
    """Returns the inverse of the hyperbolic tangent."""
    return emit.Atanh(x, name=name)


@unary("Sigmoid")
@widened
def sigmoid_op(x: Array) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    if x.dtype.kind == "c":
        return x.dtype.type(1) / (x.dtype.type(1) + np.exp(-x))
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


@sigmoid_op.gradient
def _sigmoid_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SigmoidGrad(conjugate(op.outputs[0]), dy)]


@sigmoid_op.lower
def _sigmoid_lower(b: Builder, x: Expr) -> Expr:
    return b.sigmoid(x)


@output_gradient("SigmoidGrad")
@widened
def sigmoid_grad_op(y: Array, dy: Array) -> Any:
    """The gradient of a sigmoid y: dy y (1 - y)."""
    return dy * y * (y.dtype.type(1) - y)


@sigmoid_grad_op.gradient
def _sigmoid_grad_gradient(op: Any, dz: Any) -> list[Any]:
    y, dy = (conjugate(value) for value in op.inputs)
    scaled = dz * dy
    return [scaled - _number(2, y) * scaled * y, emit.SigmoidGrad(y, dz)]


@sigmoid_grad_op.lower
def _sigmoid_grad_lower(b: Builder, y: Expr, dy: Expr) -> Expr:
    return b.mul(b.mul(dy, y), b.sub(1.0, y))


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """Returns 1 / (1 + exp(-x))."""
    return emit.Sigmoid(x, name=name)


def log_sigmoid(x: Any, name: str | None = None) -> Tensor:
    """Returns log(sigmoid(x)) without overflow."""
    with name_scope(name, "LogSigmoid", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return emit.Neg(emit.Softplus(-x), name=scope)


# ---------------------------------------------------------------------------- rounding


@unary("Floor", FLOATS)
def floor_op(x: Array) -> Any:
    """The greatest integer not above."""
    return np.floor(x)


@floor_op.gradient
def _floor_gradient(op: Any, dy: Any) -> list[Any]:
    return [None]


@floor_op.lower
def _floor_lower(b: Builder, x: Expr) -> Expr:
    return b.floor(x)


def floor(x: Any, name: str | None = None) -> Tensor:
    """Returns the greatest integer not above x."""
    return emit.Floor(x, name=name)


@unary("Ceil", FLOATS)
def ceil_op(x: Array) -> Any:
    """The least integer not below."""
    return np.ceil(x)


ceil_op.gradient(_floor_gradient)


@ceil_op.lower
def _ceil_lower(b: Builder, x: Expr) -> Expr:
    return b.ceil(x)


def ceil(x: Any, name: str | None = None) -> Tensor:
    """Returns the least integer not below x."""
    return emit.Ceil(x, name=name)


@unary("Round", SIGNED_NUMBERS)
def round_op(x: Array) -> Any:
    """The nearest integer, halves to even."""
    return x if _is_integer(x) else np.rint(x)


round_op.gradient(_floor_gradient)


@round_op.lower
def _round_lower(b: Builder, x: Expr) -> Expr:
    return b.rint(x) if is_float(x.dtype) else x


def round(x: Any, name: str | None = None) -> Tensor:
    """Returns the nearest integer, halves to even; integers are returned as they are."""
    x = convert_to_tensor(x, name="x")
    return x if x.dtype.is_integer else emit.Round(x, name=name)


@unary("Rint", FLOATS)
def rint_op(x: Array) -> Any:
    """The nearest integer, halves to even."""
    return np.rint(x)


rint_op.gradient(_floor_gradient)


@rint_op.lower
def _rint_lower(b: Builder, x: Expr) -> Expr:
    return b.rint(x)


def rint(x: Any, name: str | None = None) -> Tensor:
    """Returns the nearest integer, halves to even."""
    return emit.Rint(x, name=name)


# ---------------------------------------------------------------------------- comparisons


def comparison(op_type: str) -> Declaration:
    """Declares an ordering of two tensors, broadcast."""
    return op(
        op_type, "x:T; y:T", "z:bool", f"T:type{{{REALS}}}", infer=broadcast, broadcasting=True,
        differentiable=False,
    )  # fmt: skip


def _equality_shape(node: Any) -> TensorShape:
    try:
        return broadcast(node)
    except ShapeError:
        if node.attrs["incompatible_shape_error"]:
            raise
        return TensorShape(())


def equality(op_type: str) -> Declaration:
    """Declares a test for equality of two tensors of any dtype, broadcast."""
    return op(
        op_type, "x:T; y:T", "z:bool", "T:type; incompatible_shape_error:bool=true", infer=_equality_shape,
        broadcasting=True, differentiable=False,
    )  # fmt: skip


def _fit(x: Array, y: Array) -> bool:
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return True


@equality("Equal")
def equal_op(x: Array, y: Array, *, incompatible_shape_error: bool = True) -> Any:
    """x == y; where shapes need not fit, those that do not are simply unequal."""
    if not incompatible_shape_error and not _fit(x, y):
        return np.asarray(False)
    return np.equal(x, y).astype(np.bool_)


@equal_op.lower
def _equal_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.eq(x, y)


def equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x == y, broadcast."""
    return emit.Equal(x, y, name=name)


@equality("NotEqual")
def not_equal_op(x: Array, y: Array, *, incompatible_shape_error: bool = True) -> Any:
    """x != y; where shapes need not fit, those that do not are simply unequal."""
    if not incompatible_shape_error and not _fit(x, y):
        return np.asarray(True)
    return np.not_equal(x, y).astype(np.bool_)


@not_equal_op.lower
def _not_equal_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.ne(x, y)


def not_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x != y, broadcast."""
    return emit.NotEqual(x, y, name=name)


@comparison("Less")
def less_op(x: Array, y: Array) -> Any:
    """x < y."""
    return np.less(x, y)


@less_op.lower
def _less_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.lt(x, y)


def less(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x < y, broadcast."""
    return emit.Less(x, y, name=name)


@comparison("LessEqual")
def less_equal_op(x: Array, y: Array) -> Any:
    """x <= y."""
    return np.less_equal(x, y)


@less_equal_op.lower
def _less_equal_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.le(x, y)


def less_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x <= y, broadcast."""
    return emit.LessEqual(x, y, name=name)


@comparison("Greater")
def greater_op(x: Array, y: Array) -> Any:
    """x > y."""
    return np.greater(x, y)


@greater_op.lower
def _greater_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.gt(x, y)


def greater(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x > y, broadcast."""
    return emit.Greater(x, y, name=name)


@comparison("GreaterEqual")
def greater_equal_op(x: Array, y: Array) -> Any:
    """x >= y."""
    return np.greater_equal(x, y)


@greater_equal_op.lower
def _greater_equal_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.ge(x, y)


def greater_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x >= y, broadcast."""
    return emit.GreaterEqual(x, y, name=name)


@op(
    "ApproximateEqual", "x:T; y:T", "z:bool", f"T:type{{{NUMBERS}}}; tolerance:float=9.999999747378752e-06",
    infer=merged, differentiable=False,
)  # fmt: skip
def approximate_equal_op(x: Array, y: Array, *, tolerance: float = 1e-5) -> Any:
    """Whether |x - y| is below the tolerance."""
    return np.abs(np.subtract(x, y)) < tolerance


def approximate_equal(x: Any, y: Any, tolerance: float = 1e-5, name: str | None = None) -> Tensor:
    """Returns whether |x - y| < tolerance, for tensors of one shape."""
    return emit.ApproximateEqual(x, y, tolerance=tolerance, name=name)


def predicate(op_type: str) -> Declaration:
    """Declares a test of single floats."""
    return op(op_type, "x:T", "y:bool", f"T:type{{{FLOATS}}}", infer=same_as_first, differentiable=False)


@predicate("IsNan")
def is_nan_op(x: Array) -> Any:
    """Whether NaN."""
    return np.isnan(x)


@is_nan_op.lower
def _is_nan_lower(b: Builder, x: Expr) -> Expr:
    return b.isnan(x)


def is_nan(x: Any, name: str | None = None) -> Tensor:
    """Returns which elements are NaN."""
    return emit.IsNan(x, name=name)


@predicate("IsInf")
def is_inf_op(x: Array) -> Any:
    """Whether an infinity."""
    return np.isinf(x)


@is_inf_op.lower
def _is_inf_lower(b: Builder, x: Expr) -> Expr:
    return b.isinf(x)


def is_inf(x: Any, name: str | None = None) -> Tensor:
    """Returns which elements are infinite."""
    return emit.IsInf(x, name=name)


@predicate("IsFinite")
def is_finite_op(x: Array) -> Any:
    """Whether neither NaN nor an infinity."""
    return np.isfinite(x)


@is_finite_op.lower
def _is_finite_lower(b: Builder, x: Expr) -> Expr:
    return b.isfinite(x)


def is_finite(x: Any, name: str | None = None) -> Tensor:
    """Returns which elements are neither NaN nor infinite."""
    return emit.IsFinite(x, name=name)


# ---------------------------------------------------------------------------- logic and bits


@op("LogicalAnd", "x:bool; y:bool", "z:bool", infer=broadcast, broadcasting=True, differentiable=False)
def logical_and_op(x: Array, y: Array) -> Any:
    """x and y."""
    return np.logical_and(x, y)


@logical_and_op.lower
def _logical_and_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.and_(x, y)


def logical_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x and y, broadcast."""
    return emit.LogicalAnd(x, y, name=name)


@op("LogicalOr", "x:bool; y:bool", "z:bool", infer=broadcast, broadcasting=True, differentiable=False)
def logical_or_op(x: Array, y: Array) -> Any:
    """x or y."""
    return np.logical_or(x, y)


@logical_or_op.lower
def _logical_or_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.or_(x, y)


def logical_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x or y, broadcast."""
    return emit.LogicalOr(x, y, name=name)


@op("LogicalNot", "x:bool", "y:bool", infer=same_as_first, differentiable=False)
def logical_not_op(x: Array) -> Any:
    """Not x."""
    return np.logical_not(x)


@logical_not_op.lower
def _logical_not_lower(b: Builder, x: Expr) -> Expr:
    return b.not_(x)


def logical_not(x: Any, name: str | None = None) -> Tensor:
    """Returns not x."""
    return emit.LogicalNot(x, name=name)


def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Tensor:
    """Returns x or y but not both, broadcast."""
    either, both = emit.LogicalOr(x, y), emit.LogicalAnd(x, y)
    return emit.LogicalAnd(either, emit.LogicalNot(both), name=name)


def bitwise(op_type: str) -> Declaration:
    """Declares an op on the bits of two integer tensors, broadcast."""
    return op(
        op_type, "x:T; y:T", "z:T", f"T:type{{{INTEGERS}}}", infer=broadcast, broadcasting=True,
        differentiable=False,
    )  # fmt: skip


@bitwise("BitwiseAnd")
def bitwise_and_op(x: Array, y: Array) -> Any:
    """The bits that both have."""
    return np.bitwise_and(x, y)


@bitwise_and_op.lower
def _bitwise_and_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.and_(x, y)


def bitwise_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the bits that both x and y have."""
    return emit.BitwiseAnd(x, y, name=name)


@bitwise("BitwiseOr")
def bitwise_or_op(x: Array, y: Array) -> Any:
    """The bits that either has."""
    return np.bitwise_or(x, y)


@bitwise_or_op.lower
def _bitwise_or_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.or_(x, y)


def bitwise_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the bits that x or y has."""
    return emit.BitwiseOr(x, y, name=name)


@bitwise("BitwiseXor")
def bitwise_xor_op(x: Array, y: Array) -> Any:
    """The bits that one alone has."""
    return np.bitwise_xor(x, y)


@bitwise_xor_op.lower
def _bitwise_xor_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.xor(x, y)


def bitwise_xor(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns the bits that one of x and y alone has."""
    return emit.BitwiseXor(x, y, name=name)


@op("Invert", "x:T", "y:T", f"T:type{{{INTEGERS}}}", infer=same_as_first, differentiable=False)
def invert_op(x: Array) -> Any:
    """All bits turned over."""
    return np.invert(x)


@invert_op.lower
def _invert_lower(b: Builder, x: Expr) -> Expr:
    return b.not_(x)


def invert(x: Any, name: str | None = None) -> Tensor:
    """Returns x with all bits turned over."""
    return emit.Invert(x, name=name)


def _held_shift(x: Array, y: Array) -> Array:
    # A shift outside the width is undefined in C++; here, as in TensorFlow, it is held at the ends.
    return np.clip(y, y.dtype.type(0), y.dtype.type(x.dtype.itemsize * 8 - 1))


@bitwise("LeftShift")
def left_shift_op(x: Array, y: Array) -> Any:
    """x << y, the distance held in [0, width)."""
    return np.left_shift(x, _held_shift(x, y))


@left_shift_op.lower
def _left_shift_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.shl(x, y)


def left_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x << y, the distance held in [0, width)."""
    return emit.LeftShift(x, y, name=name)


@bitwise("RightShift")
def right_shift_op(x: Array, y: Array) -> Any:
    """x >> y, keeping the sign of signed integers, the distance held in [0, width)."""
    return np.right_shift(x, _held_shift(x, y))


@right_shift_op.lower
def _right_shift_lower(b: Builder, x: Expr, y: Expr) -> Expr:
    return b.shr(x, y)


def right_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Returns x >> y, keeping the sign of signed integers, the distance held in [0, width)."""
    return emit.RightShift(x, y, name=name)


@op("PopulationCount", "x:T", "y:uint8", f"T:type{{{INTEGERS}}}", infer=same_as_first, differentiable=False)
def population_count_op(x: Array) -> Any:
    """How many bits are set; those of a negative number in its two's complement."""
    return np.bitwise_count(x.view(x.dtype.str.replace("i", "u")))


# ---------------------------------------------------------------------------- selection


def _select_shape(node: Any) -> TensorShape:
    condition, t, e = (value.shape for value in node.inputs)
    try:
        result = t.merge_with(e)
    except ValueError:
        raise ShapeError(f"both branches must have one shape, have {t} and {e}") from None
    if condition.rank is None or condition.rank == 0 or result.rank is None:
        return TensorShape(result)
    if condition.rank == 1 and result.rank > 1:
        # A vector chooses whole rows.
        rows = TensorShape([condition.as_tuple()[0]]).concatenate([None] * (result.rank - 1))
        return result.merge_with(rows)
    return result.merge_with(condition)


def _row_mask(condition: Array, rank: int) -> Array:
    if condition.ndim == 1 and rank > 1:
        return condition.reshape(condition.shape + (1,) * (rank - 1))
    return condition


@op("Select", "condition:bool; t:T; e:T", "output:T", "T:type", infer=_select_shape)
def select_op(condition: Array, t: Array, e: Array) -> Any:
    """t where the condition holds, else e; a scalar condition chooses all, a vector whole rows."""
    return np.where(_row_mask(condition, t.ndim), t, e)


select_op.by_row(row_rules.selected)


@select_op.gradient
def _select_gradient(op: Any, dy: Any) -> list[Any]:
    condition = op.inputs[0]
    zeros = emit.ZerosLike(dy)
    return [None, emit.Select(condition, dy, zeros), emit.Select(condition, zeros, dy)]


@op("SelectV2", "condition:bool; t:T; e:T", "output:T", "T:type", infer=broadcast, broadcasting=True)
def select_v2_op(condition: Array, t: Array, e: Array) -> Any:
    """t where the condition holds, else e, all three broadcast."""
    return np.where(condition, t, e)


@select_v2_op.gradient
def _select_v2_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, *_choice_gradient(op.inputs[0], dy)]


@select_v2_op.lower
def _select_v2_lower(b: Builder, condition: Expr, t: Expr, e: Expr) -> Expr:
    return b.select(condition, t, e)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """Returns x where the condition holds and y elsewhere, or, without x and y, the indices where it holds.

    Args:
      condition: bool tensor; with x and y it has their shape, is a scalar, or a vector that chooses rows.
      x: tensor, or None.
      y: tensor of the shape and dtype of `x`, or None.
      name: name of the operation.

    Raises:
      ValueError: if only one of x and y is given, or shapes do not fit.
    """
    if (x is None) != (y is None):
        raise ValueError("x and y must both be non-None or both be None.")
    if x is None:
        with name_scope(name, "Where", [condition]) as scope:
            return emit.Where(condition, name=scope)
    return emit.Select(condition, x, y, name=name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """Returns x where the condition holds and y elsewhere, broadcast; without x and y as `where`.

    Raises:
      ValueError: if only one of x and y is given, or shapes do not fit.
    """
    if x is None or y is None:
        return where(condition, x, y, name)
    return emit.SelectV2(condition, x, y, name=name)


def _clip_shape(node: Any) -> TensorShape:
    result: TensorShape = node.inputs[0].shape
    for bound in (value.shape for value in node.inputs[1:]):
        if bound.rank != 0 and not bound.is_compatible_with(result):
            raise ShapeError(f"a bound has shape {bound}, must be a scalar or have the shape {result} of t")
    return result


@op(
    "ClipByValue", "t:T; clip_value_min:T; clip_value_max:T", "output:T", f"T:type{{{NUMBERS}}}",
    infer=_clip_shape, broadcasting=True,
)  # fmt: skip
def clip_by_value_op(t: Array, clip_value_min: Array, clip_value_max: Array) -> Any:
    """t held between two bounds, which are scalars or have its shape."""
    return np.maximum(np.minimum(t, clip_value_max), clip_value_min)


@clip_by_value_op.gradient
def _clip_by_value_gradient(op: Any, dy: Any) -> list[Any]:
    t, low, high = op.inputs
    zero = _number(0, dy)
    below, above = emit.Less(t, low), emit.Greater(t, high)
    inside = emit.SelectV2(emit.LogicalOr(below, above), zero, dy)
    return [inside, emit.SelectV2(below, dy, zero), emit.SelectV2(above, dy, zero)]


@clip_by_value_op.lower
def _clip_by_value_lower(b: Builder, t: Expr, clip_value_min: Expr, clip_value_max: Expr) -> Expr:
    return b.max(b.min(t, clip_value_max), clip_value_min)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """Returns t held between two bounds (scalars, or tensors that broadcast to its shape); IndexedSlices stay so.

    Raises:
      ValueError: if a bound would enlarge the shape of `t`.
    """
    with name_scope(name, "clip_by_value", [t, clip_value_min, clip_value_max]) as scope:
        values = convert_to_tensor(t.values if isinstance(t, IndexedSlices) else t, name="t")
        lower = emit.Minimum(values, clip_value_max)
        values.shape.merge_with(lower.shape)
        result = emit.Maximum(lower, clip_value_min, name=scope)
        values.shape.merge_with(result.shape)
        if isinstance(t, IndexedSlices):
            return IndexedSlices(result, t.indices, t.dense_shape)
        return result


# ---------------------------------------------------------------------------- casts


def _to_integers(x: Array, dtype: Any) -> Any:
    """Floats cut towards zero and held at the ends of the integer type; NaN becomes 0."""
    info = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        wide = np.trunc(x.astype(np.float64))
        # The greatest 64-bit integers are no float64s, so the ends are put in apart.
        high, low = wide >= float(info.max), wide <= float(info.min)
        inside = np.where(high | low | np.isnan(wide), 0, wide).astype(dtype)
    return np.where(high, info.max, np.where(low, info.min, inside)).astype(dtype)


@op("Cast", "x:SrcT", "y:DstT", "SrcT:type; DstT:type; Truncate:bool=false", infer=same_as_first)
def cast_op(x: Array, *, DstT: dtypes.DType, Truncate: bool = False) -> Any:
    """The same values as another type: floats are cut towards zero, integers wrap, bool is x != 0."""
    if Truncate and DstT.size < x.dtype.itemsize and DstT.is_floating:
        raise UnimplementedError(None, None, "Cast with Truncate=True between floats")
    if DstT is dtypes.string or x.dtype == object:
        raise UnimplementedError(None, None, f"Cast {x.dtype} to {DstT.name} is not supported")
    if x.dtype.kind == "c" and not DstT.is_complex:
        x = (x != 0) if DstT.is_bool else x.real
    if DstT.is_integer and x.dtype.kind not in "iub":
        return _to_integers(x, DstT.as_numpy_dtype)
    with np.errstate(over="ignore"):
        return x.astype(DstT.as_numpy_dtype)


@cast_op.gradient
def _cast_gradient(op: Any, dy: Any) -> list[Any]:
    source, target = op.attrs["SrcT"], op.attrs["DstT"]
    if not (source.is_floating or source.is_complex) or not (target.is_floating or target.is_complex):
        return [None]
    return [cast(dy, source)]


@cast_op.lower
def _cast_lower(b: Builder, x: Expr, *, DstT: dtypes.DType) -> Expr:
    return b.cast(x, DstT)


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """Returns x as another dtype; x itself if it has it. IndexedSlices and sparse tensors stay so.

    Raises:
      TypeError: if x cannot be cast to `dtype`.
    """
    target = dtypes.as_dtype(dtype)
    if isinstance(x, Tensor) and x.dtype is target:
        return x
    with name_scope(name, "Cast", [x]) as scope:
        if isinstance(x, IndexedSlices):
            return IndexedSlices(cast(x.values, target, name=scope), x.indices, x.dense_shape)
        if isinstance(x, SparseTensor):
            return x.with_values(cast(x.values, target, name=scope))
        x = convert_to_tensor(x, name="x")
        if x.dtype is target:
            return x
        if dtypes.string in (x.dtype, target):
            raise TypeError(f"Cannot cast {x.dtype.name} to {target.name}; use as_string or string_to_number")
        return emit.Cast(x, DstT=target, name=scope)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Tensor:
    """Returns value as another dtype, held at the ends of what that type can hold."""
    target = dtypes.as_dtype(dtype)
    with name_scope(name, "saturate_cast", [value]) as scope:
        value = convert_to_tensor(value, name="value")
        if value.dtype.min < target.min:
            value = emit.Maximum(value, np.asarray(target.min).astype(value.dtype.as_numpy_dtype), name="min")
        if value.dtype.max > target.max:
            value = emit.Minimum(value, np.asarray(target.max).astype(value.dtype.as_numpy_dtype), name="max")
        return cast(value, target, name=scope)


def to_float(x: Any, name: str | None = "ToFloat") -> Any:
    """Returns x as float32."""
    return cast(x, dtypes.float32, name=name)


def to_double(x: Any, name: str | None = "ToDouble") -> Any:
    """Returns x as float64."""
    return cast(x, dtypes.float64, name=name)


def to_int32(x: Any, name: str | None = "ToInt32") -> Any:
    """Returns x as int32."""
    return cast(x, dtypes.int32, name=name)


def to_int64(x: Any, name: str | None = "ToInt64") -> Any:
    """Returns x as int64."""
    return cast(x, dtypes.int64, name=name)


def to_bfloat16(x: Any, name: str | None = "ToBFloat16") -> Any:
    """Returns x as bfloat16."""
    return cast(x, dtypes.bfloat16, name=name)


def to_complex64(x: Any, name: str | None = "ToComplex64") -> Any:
    """Returns x as complex64."""
    return cast(x, dtypes.complex64, name=name)


def to_complex128(x: Any, name: str | None = "ToComplex128") -> Any:
    """Returns x as complex128."""
    return cast(x, dtypes.complex128, name=name)


def _bitcast_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    source, target = node.attrs["T"].size, node.attrs["type"].size
    if source == target or shape.rank is None:
        return shape
    if source > target:
        return shape.concatenate([source // target])
    sizes = shape.as_tuple() or ()
    if not sizes or sizes[-1] not in (None, target // source):
        raise ShapeError(f"the last size must be {target // source}, the shape is {shape}")
    return TensorShape(sizes[:-1])


@op(
    "Bitcast", "input:T", "output:type", f"T:type{{{NUMBERS}|{QUANTIZED}}}; type:type{{{NUMBERS}|{QUANTIZED}}}",
    infer=_bitcast_shape, differentiable=False,
)  # fmt: skip
def bitcast_op(input: Array, *, type: dtypes.DType) -> Any:
    """The same bits as another type; a change of size adds or takes away a last dimension."""
    target = np.dtype(type.as_numpy_dtype)
    source = input.dtype.itemsize
    raw = np.ascontiguousarray(input).tobytes()
    if source >= target.itemsize:
        shape = input.shape + ((source // target.itemsize,) if source > target.itemsize else ())
    else:
        if not input.ndim or input.shape[-1] * source != target.itemsize:
            raise InvalidArgumentError(None, None, f"Cannot bitcast shape {input.shape} to {type.name}")
        shape = input.shape[:-1]
    return np.frombuffer(raw, target).reshape(shape).copy()


@bitcast_op.lower
def _bitcast_lower(b: Builder, input: Expr, *, type: dtypes.DType) -> Expr | None:
    try:
        return b.bitcast(input, type)
    except TypeError:  # sizes differ: the shape changes too
        return None


def bitcast(input: Any, type: Any, name: str | None = None) -> Tensor:
    """Returns the bits of a tensor as another dtype."""
    return emit.Bitcast(input, type=type, name=name)


# ---------------------------------------------------------------------------- complex numbers


@op(
    "Complex", "real:T; imag:T", "out:Tout",
    "T:type{float32|float64}=float32; Tout:type{complex64|complex128}=complex64",
    infer=broadcast, broadcasting=True,
)  # fmt: skip
def complex_op(real: Array, imag: Array, *, Tout: dtypes.DType) -> Any:
    """real + i imag."""
    result = np.empty(np.broadcast_shapes(real.shape, imag.shape), Tout.as_numpy_dtype)
    # Not real + 1j * imag: that would turn infinities into NaN.
    result.real = real
    result.imag = imag
    return result


@complex_op.gradient
def _complex_gradient(op: Any, dy: Any) -> list[Any]:
    return [real(dy), imag(dy)]


def complex(real: Any, imag: Any, name: str | None = None) -> Tensor:
    """Returns real + i imag of two float32 (complex64) or float64 (complex128) tensors.

    Raises:
      TypeError: for other dtypes.
    """
    real = convert_to_tensor(real, name="real")
    imag = convert_to_tensor(imag, name="imag")
    with name_scope(name, "Complex", [real, imag]) as scope:
        pairs = {dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128}
        if real.dtype is not imag.dtype or real.dtype not in pairs:
            raise TypeError(f"real and imag have incorrect types: {real.dtype.name} {imag.dtype.name}")
        return emit.Complex(real, imag, Tout=pairs[real.dtype], name=scope)


def part_of_complex(op_type: str, output: str = "output", input: str = "input") -> Declaration:
    """Declares an op from complex to real tensors."""
    return op(
        op_type, f"{input}:T", f"{output}:Tout",
        "T:type{complex64|complex128}=complex64; Tout:type{float32|float64}=float32", infer=same_as_first,
    )  # fmt: skip


@part_of_complex("Real")
def real_op(input: Array) -> Any:
    """The real part."""
    return np.real(input).copy()


@real_op.gradient
def _real_gradient(op: Any, dy: Any) -> list[Any]:
    return [complex(dy, _number(0, dy))]


def real(input: Any, name: str | None = None) -> Tensor:
    """Returns the real part; a real tensor itself."""
    with name_scope(name, "Real", [input]) as scope:
        input = convert_to_tensor(input, name="input")
        return emit.Real(input, Tout=input.dtype.real_dtype, name=scope) if input.dtype.is_complex else input


@part_of_complex("Imag")
def imag_op(input: Array) -> Any:
    """The imaginary part."""
    return np.imag(input).copy()


@imag_op.gradient
def _imag_gradient(op: Any, dy: Any) -> list[Any]:
    return [complex(_number(0, dy), dy)]


def imag(input: Any, name: str | None = None) -> Tensor:
    """Returns the imaginary part; of a real tensor zeros."""
    with name_scope(name, "Imag", [input]) as scope:
        input = convert_to_tensor(input, name="input")
        if input.dtype.is_complex:
            return emit.Imag(input, Tout=input.dtype.real_dtype, name=scope)
        return emit.ZerosLike(input, name=scope)


@part_of_complex("Angle")
def angle_op(input: Array) -> Any:
    """The argument of a complex number."""
    return np.angle(input)


@angle_op.gradient
def _angle_gradient(op: Any, dy: Any) -> list[Any]:
    z = op.inputs[0]
    # The argument grows along i z, by 1 / |z| per unit.
    square = emit.Square(real(z)) + emit.Square(imag(z))
    scaled = emit.RealDiv(dy, square)
    return [complex(emit.Mul(emit.Neg(imag(z)), scaled), emit.Mul(real(z), scaled))]


def angle(input: Any, name: str | None = None) -> Tensor:
    """Returns the argument of complex numbers; of real ones 0 or pi."""
    with name_scope(name, "Angle", [input]) as scope:
        input = convert_to_tensor(input, name="input")
        if input.dtype.is_complex:
            return emit.Angle(input, Tout=input.dtype.real_dtype, name=scope)
        negative_side = emit.Less(input, _number(0, input))
        return emit.SelectV2(negative_side, _number(math.pi, input), emit.ZerosLike(input), name=scope)


@part_of_complex("ComplexAbs", "y", "x")
def complex_abs_op(x: Array) -> Any:
    """The magnitude."""
    return np.abs(x)


@complex_abs_op.gradient
def _complex_abs_gradient(op: Any, dy: Any) -> list[Any]:
    scaled = emit.DivNoNan(dy, op.outputs[0])
    return [emit.Mul(complex(scaled, _number(0, scaled)), op.inputs[0])]


@op("Conj", "input:T", "output:T", "T:type{complex64|complex128|variant}=complex64", infer=same_as_first)
def conj_op(input: Array) -> Any:
    """The complex conjugate."""
    return np.conj(input)


@conj_op.gradient
def _conj_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Conj(dy)]


def conj(x: Any, name: str | None = None) -> Tensor:
    """Returns the complex conjugate; a real tensor itself."""
    with name_scope(name, "Conj", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return emit.Conj(x, name=scope) if x.dtype.is_complex else x


# ---------------------------------------------------------------------------- activations


@activation("Relu", REALS)
def relu_op(features: Array) -> Any:
    """max(x, 0)."""
    return np.maximum(features, features.dtype.type(0))


@relu_op.gradient
def _relu_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.ReluGrad(dy, op.outputs[0])]


@relu_op.lower
def _relu_lower(b: Builder, features: Expr) -> Expr:
    return b.max(features, 0)


@activation_gradient("ReluGrad", REALS)
def relu_grad_op(gradients: Array, features: Array) -> Any:
    """The gradients where the features (or the activations) are positive, else 0."""
    return np.where(features > 0, gradients, gradients.dtype.type(0))


@relu_grad_op.gradient
def _relu_grad_gradient(op: Any, dy: Any) -> list[Any]:
    features = op.inputs[1]
    return [emit.ReluGrad(dy, features), emit.ZerosLike(features)]


@relu_grad_op.lower
def _relu_grad_lower(b: Builder, gradients: Expr, features: Expr) -> Expr:
    return b.select(b.gt(features, 0), gradients, 0)


def relu(features: Any, name: str | None = None) -> Tensor:
    """Returns max(features, 0)."""
    return emit.Relu(features, name=name)


@activation("Relu6", REALS)
def relu6_op(features: Array) -> Any:
    """min(max(x, 0), 6)."""
    one = features.dtype.type
    return np.minimum(np.maximum(features, one(0)), one(6))


@relu6_op.gradient
def _relu6_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Relu6Grad(dy, op.outputs[0])]


@relu6_op.lower
def _relu6_lower(b: Builder, features: Expr) -> Expr:
    return b.min(b.max(features, 0), 6)


@activation_gradient("Relu6Grad", REALS)
def relu6_grad_op(gradients: Array, features: Array) -> Any:
    """The gradients where the features lie strictly between 0 and 6, else 0."""
    return np.where((features > 0) & (features < 6), gradients, gradients.dtype.type(0))


@relu6_grad_op.gradient
def _relu6_grad_gradient(op: Any, dy: Any) -> list[Any]:
    features = op.inputs[1]
    return [emit.Relu6Grad(dy, features), emit.ZerosLike(features)]


@relu6_grad_op.lower
def _relu6_grad_lower(b: Builder, gradients: Expr, features: Expr) -> Expr:
    return b.select(b.and_(b.gt(features, 0), b.lt(features, 6)), gradients, 0)


def relu6(features: Any, name: str | None = None) -> Tensor:
    """Returns min(max(features, 0), 6)."""
    with name_scope(name, "Relu6", [features]) as scope:
        return emit.Relu6(features, name=scope)


_ALPHA = "alpha:float=0.20000000298023224; "


@activation("LeakyRelu", FLOATS, _ALPHA)
@widened
def leaky_relu_op(features: Array, *, alpha: float = 0.2) -> Any:
    """x where positive, else alpha x."""
    return np.where(features > 0, features, features * features.dtype.type(alpha))


@leaky_relu_op.gradient
def _leaky_relu_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.LeakyReluGrad(dy, op.inputs[0], alpha=op.attrs["alpha"])]


@leaky_relu_op.lower
def _leaky_relu_lower(b: Builder, features: Expr, *, alpha: float) -> Expr:
    return b.select(b.gt(features, 0.0), features, b.mul(features, alpha))


@activation_gradient("LeakyReluGrad", FLOATS, attrs=_ALPHA)
@widened
def leaky_relu_grad_op(gradients: Array, features: Array, *, alpha: float = 0.2) -> Any:
    """The gradients where the features are positive, else alpha times them."""
    return np.where(features > 0, gradients, gradients * gradients.dtype.type(alpha))


@leaky_relu_grad_op.gradient
def _leaky_relu_grad_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.LeakyReluGrad(dy, op.inputs[1], alpha=op.attrs["alpha"]), None]


@leaky_relu_grad_op.lower
def _leaky_relu_grad_lower(b: Builder, gradients: Expr, features: Expr, *, alpha: float) -> Expr:
    return b.select(b.gt(features, 0.0), gradients, b.mul(gradients, alpha))


def leaky_relu(features: Any, alpha: Any = 0.2, name: str | None = None) -> Tensor:
    """Returns features where positive, else alpha times them; alpha may be a tensor."""
    with name_scope(name, "LeakyRelu", [features, alpha]) as scope:
        features = convert_to_tensor(features, name="features")
        if features.dtype.is_integer:
            features = cast(features, dtypes.float32)
        if isinstance(alpha, Tensor):
            return emit.Maximum(emit.Mul(alpha, features), features, name=scope)
        return emit.LeakyRelu(features, alpha=float(alpha), name=scope)


@activation("Elu")
@widened
def elu_op(features: Array) -> Any:
    """x where positive, else exp(x) - 1."""
    return np.where(features < 0, np.expm1(features), features)


@elu_op.gradient
def _elu_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.EluGrad(dy, op.outputs[0])]


@elu_op.lower
def _elu_lower(b: Builder, features: Expr) -> Expr:
    return b.select(b.lt(features, 0.0), b.expm1(features), features)


@activation_gradient("EluGrad", second="outputs")
@widened
def elu_grad_op(gradients: Array, outputs: Array) -> Any:
    """The gradients, times (output + 1) where the output is negative."""
    return np.where(outputs < 0, gradients * (outputs + 1), gradients)


@elu_grad_op.gradient
def _elu_grad_gradient(op: Any, dy: Any) -> list[Any]:
    gradients, outputs = op.inputs
    zero = _number(0, outputs)
    bent = emit.SelectV2(emit.Less(outputs, zero), dy * gradients, zero)
    return [emit.EluGrad(dy, outputs), bent]


@elu_grad_op.lower
def _elu_grad_lower(b: Builder, gradients: Expr, outputs: Expr) -> Expr:
    return b.select(b.lt(outputs, 0.0), b.mul(gradients, b.add(outputs, 1.0)), gradients)


def elu(features: Any, name: str | None = None) -> Tensor:
    """Returns features where positive, else exp(features) - 1."""
    return emit.Elu(features, name=name)


_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_SCALE_ALPHA = 1.7580993408473768599402175208123


@activation("Selu")
@widened
def selu_op(features: Array) -> Any:
    """The self-normalising exponential unit."""
    one = features.dtype.type
    return np.where(features < 0, one(_SELU_SCALE_ALPHA) * np.expm1(features), one(_SELU_SCALE) * features)


@selu_op.gradient
def _selu_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SeluGrad(dy, op.outputs[0])]


@selu_op.lower
def _selu_lower(b: Builder, features: Expr) -> Expr:
    bent = b.mul(b.expm1(features), _SELU_SCALE_ALPHA)
    return b.select(b.lt(features, 0.0), bent, b.mul(features, _SELU_SCALE))


@activation_gradient("SeluGrad", second="outputs")
@widened
def selu_grad_op(gradients: Array, outputs: Array) -> Any:
    """The gradients, scaled by the slope that belongs to the output."""
    one = gradients.dtype.type
    return np.where(outputs < 0, gradients * (outputs + one(_SELU_SCALE_ALPHA)), gradients * one(_SELU_SCALE))


@selu_grad_op.gradient
def _selu_grad_gradient(op: Any, dy: Any) -> list[Any]:
    gradients, outputs = op.inputs
    zero = _number(0, outputs)
    bent = emit.SelectV2(emit.Less(outputs, zero), dy * gradients, zero)
    return [emit.SeluGrad(dy, outputs), bent]


@selu_grad_op.lower
def _selu_grad_lower(b: Builder, gradients: Expr, outputs: Expr) -> Expr:
    bent = b.mul(gradients, b.add(outputs, _SELU_SCALE_ALPHA))
    return b.select(b.lt(outputs, 0.0), bent, b.mul(gradients, _SELU_SCALE))


def selu(features: Any, name: str | None = None) -> Tensor:
    """Returns scale * features where positive, else scale * alpha * (exp(features) - 1)."""
    return emit.Selu(features, name=name)


@activation("Softplus")
@widened
def softplus_op(features: Array) -> Any:
    """log(1 + exp(x)), without overflow."""
    return np.maximum(features, 0) + np.log1p(np.exp(-np.abs(features)))


@softplus_op.gradient
def _softplus_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SoftplusGrad(dy, op.inputs[0])]


@softplus_op.lower
def _softplus_lower(b: Builder, features: Expr) -> Expr:
    # Nothing overflows: exp never sees a positive number.
    return b.add(b.max(features, 0.0), b.log1p(b.exp(b.neg(b.abs(features)))))


@activation_gradient("SoftplusGrad")
@widened
def softplus_grad_op(gradients: Array, features: Array) -> Any:
    """The gradients times sigmoid(features)."""
    return gradients * sigmoid_op.body(features)


@softplus_grad_op.gradient
def _softplus_grad_gradient(op: Any, dy: Any) -> list[Any]:
    gradients, features = op.inputs
    slope = emit.Sigmoid(features)
    return [emit.SoftplusGrad(dy, features), emit.SigmoidGrad(slope, dy * gradients)]


@softplus_grad_op.lower
def _softplus_grad_lower(b: Builder, gradients: Expr, features: Expr) -> Expr:
    return b.mul(gradients, b.sigmoid(features))


def softplus(features: Any, name: str | None = None) -> Tensor:
    """Returns log(1 + exp(features)) without overflow."""
    return emit.Softplus(features, name=name)


@activation("Softsign")
@widened
def softsign_op(features: Array) -> Any:
    """x / (1 + |x|)."""
    return features / (np.abs(features) + 1)


@softsign_op.gradient
def _softsign_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SoftsignGrad(dy, op.inputs[0])]


@softsign_op.lower
def _softsign_lower(b: Builder, features: Expr) -> Expr:
    return b.div(features, b.add(b.abs(features), 1.0))


@activation_gradient("SoftsignGrad")
@widened
def softsign_grad_op(gradients: Array, features: Array) -> Any:
    """The gradients over (1 + |features|) squared."""
    return gradients / np.square(np.abs(features) + 1)


@softsign_grad_op.gradient
def _softsign_grad_gradient(op: Any, dy: Any) -> list[Any]:
    gradients, features = op.inputs
    width = _number(1, features) + emit.Abs(features)
    cubed = width * width * width
    bent = emit.RealDiv(_number(-2, features) * dy * gradients * emit.Sign(features), cubed)
    return [emit.SoftsignGrad(dy, features), bent]


@softsign_grad_op.lower
def _softsign_grad_lower(b: Builder, gradients: Expr, features: Expr) -> Expr:
    return b.div(gradients, b.square(b.add(b.abs(features), 1.0)))


def softsign(features: Any, name: str | None = None) -> Tensor:
    """Returns features / (1 + |features|)."""
    return emit.Softsign(features, name=name)


# ---------------------------------------------------------------------------- operators of Tensor


def _number(value: float, like: Tensor) -> Any:
    """A constant of another tensor's dtype."""
    return convert_to_tensor(value, dtype=like.dtype)


def _same_dtype(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    if isinstance(y, Tensor) and not isinstance(x, Tensor):
        x = convert_to_tensor(x, dtype=y.dtype, name="x")
    x = convert_to_tensor(x, name="x")
    # A tensor of another dtype is left to the operation to refuse: it knows its name and both operands.
    y = y if isinstance(y, Tensor) else convert_to_tensor(y, dtype=x.dtype, name="y")
    return x, y


Operator = Callable[..., Tensor]


def _binary_operator(symbol: str, function: Operator, label: str) -> None:
    """Hangs `x symbol y` and its reflected form on Tensor, under TensorFlow's scope for the operation's name."""

    def forward(x: Tensor, y: Any) -> Any:
        with name_scope(None, label, [x, y]) as scope:
            x = convert_to_tensor(x)
            if isinstance(y, Tensor):
                y = convert_to_tensor(y)
            else:
                try:
                    y = convert_to_tensor(y, preferred_dtype=x.dtype, name="y")
                except TypeError:
                    # The other operand may know how to deal with tensors.
                    if hasattr(type(y), f"__r{symbol}__"):
                        return NotImplemented
                    raise
            return function(x, y, name=scope)

    def reflected(y: Tensor, x: Any) -> Any:
        with name_scope(None, label, [x, y]) as scope:
            y = convert_to_tensor(y)
            return function(convert_to_tensor(x, dtype=y.dtype, name="x"), y, name=scope)

    override_operator(f"__{symbol}__", forward)
    override_operator(f"__r{symbol}__", reflected)


def _add_operator(x: Tensor, y: Tensor, name: str) -> Tensor:
    return emit.Add(x, y, name=name) if x.dtype is dtypes.string else emit.AddV2(x, y, name=name)


def _truediv_operator(x: Tensor, y: Tensor, name: str) -> Tensor:
    wide = _TRUEDIV_TYPES.get(x.dtype)
    if wide is not None and x.dtype is y.dtype:
        x, y = cast(x, wide), cast(y, wide)
    return emit.RealDiv(x, y, name=name)


def _div_operator(x: Tensor, y: Tensor, name: str) -> Tensor:
    real = x.dtype.is_floating or x.dtype.is_complex
    return emit.RealDiv(x, y, name=name) if real else emit.FloorDiv(x, y, name=name)


def _logical_or_bits(logical: str, bits: str) -> Operator:
    def apply(x: Tensor, y: Tensor, name: str) -> Tensor:
        return getattr(emit, logical if x.dtype.is_bool else bits)(x, y, name=name)

    return apply


def _xor_operator(x: Tensor, y: Tensor, name: str) -> Tensor:
    return logical_xor(x, y, name=name) if x.dtype.is_bool else emit.BitwiseXor(x, y, name=name)


def _invert_operator(x: Tensor) -> Tensor:
    return emit.LogicalNot(x) if x.dtype.is_bool else emit.Invert(x)


_binary_operator("add", _add_operator, "add")
_binary_operator("sub", lambda x, y, name: emit.Sub(x, y, name=name), "sub")
_binary_operator("mul", lambda x, y, name: emit.Mul(x, y, name=name), "mul")
_binary_operator(
    "div", _div_operator, "div"
)  # what Python 2 calls for `/`; programs and classes of theirs still do
_binary_operator("truediv", _truediv_operator, "truediv")
_binary_operator("floordiv", lambda x, y, name: emit.FloorDiv(x, y, name=name), "floordiv")
_binary_operator("mod", lambda x, y, name: emit.FloorMod(x, y, name=name), "mod")
_binary_operator("pow", lambda x, y, name: emit.Pow(x, y, name=name), "pow")
_binary_operator("and", _logical_or_bits("LogicalAnd", "BitwiseAnd"), "and")
_binary_operator("or", _logical_or_bits("LogicalOr", "BitwiseOr"), "or")
_binary_operator("xor", _xor_operator, "xor")
override_operator("__lt__", less)
override_operator("__le__", less_equal)
override_operator("__gt__", greater)
override_operator("__ge__", greater_equal)
override_operator("__neg__", negative)
override_operator("__abs__", abs)
override_operator("__invert__", _invert_operator)


__all__ = [
    "abs", "accumulate_n", "acos", "acosh", "add", "add_n", "angle", "approximate_equal", "asin", "asinh",
    "atan", "atan2", "atanh", "bitcast", "bitwise_and", "bitwise_or", "bitwise_xor", "cast", "ceil",
    "clip_by_value", "complex", "conj", "cos", "cosh", "div", "div_no_nan", "divide", "elu", "equal", "exp",
    "expm1", "floor", "floor_div", "floordiv", "floormod", "greater", "greater_equal", "imag", "invert",
    "is_finite", "is_inf", "is_nan", "leaky_relu", "left_shift", "less", "less_equal", "log", "log1p",
    "log_sigmoid", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mod",
    "multiply", "multiply_no_nan", "negative", "not_equal", "pow", "real", "realdiv", "reciprocal",
    "reciprocal_no_nan", "relu", "relu6", "right_shift", "rint", "round", "rsqrt", "saturate_cast",
    "scalar_mul", "selu", "sigmoid", "sign", "sin", "sinh", "softplus", "softsign", "sqrt", "square",
    "squared_difference", "subtract", "tan", "tanh",
    "to_bfloat16", "to_complex128", "to_complex64", "to_double", "to_float", "to_int32", "to_int64", "truediv",
    "truncatediv", "truncatemod", "where", "where_v2", "xdivy", "xlog1py", "xlogy",
]  # fmt: skip
