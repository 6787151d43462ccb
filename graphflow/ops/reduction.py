"""Ops that combine elements along axes: sums, means, extremes, where they stand, running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr, is_float
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    FLOATS,
    NUMBERS,
    REALS,
    Array,
    Declaration,
    canonical_axis,
    conjugate,
    rank_at_least,
    reduction,
    same_as_first,
    shape_tensor,
    widened,
)
from graphflow.shapes import UNKNOWN, TensorShape

# ---------------------------------------------------------------------------- reductions


def reducer(op_type: str, kind: str = "", types: str = NUMBERS) -> Declaration:
    """Declares a reduction of `input` over the axes in `reduction_indices`."""
    typed = "" if types == "bool" else f"T:type{{{types}}}; "
    element = "bool" if types == "bool" else "T"
    return op(
        op_type, f"input:{element}; reduction_indices:Tidx", f"output:{element}",
        f"keep_dims:bool=false; {typed}Tidx:type{{int32|int64}}=int32",
        infer=reduction, reduction=kind, differentiable=types != "bool",
    )  # fmt: skip


def _axes(input: Array, reduction_indices: Array) -> tuple[int, ...]:
    axes = []
    for axis in np.ravel(reduction_indices).tolist():
        if not -input.ndim <= axis < input.ndim:
            raise InvalidArgumentError(
                None, None, f"Invalid reduction dimension ({axis} for input with {input.ndim} dimension(s))"
            )
        axes.append(axis % input.ndim)
    return tuple(dict.fromkeys(axes))


def _kept_shape(x: Tensor, axes: Tensor) -> Tensor:
    """The shape of `x` with size one in the reduced axes."""
    known = constant_value(axes)
    sizes = x.shape.as_tuple()
    if known is not None and sizes is not None:
        dropped = {canonical_axis(int(axis), len(sizes)) for axis in np.ravel(known)}
        if all(size is not None or axis in dropped for axis, size in enumerate(sizes)):
            kept = [1 if axis in dropped else size for axis, size in enumerate(sizes)]
            return constant(np.array(kept, np.int32), name="kept_shape")
    rank = emit.Rank(x)
    wrapped = emit.FloorMod(emit.Reshape(emit.Cast(axes, DstT=dtypes.int32), [-1]), rank)
    marks = emit.OneHot(wrapped, rank, constant(True), constant(False))
    return emit.SelectV2(emit.Any(marks, [0]), constant(1), emit.Shape(x))


def _spread(value: Any, op: Any) -> Any:
    """A reduced value (or its cotangent) with the reduced axes put back, each of size one."""
    x, axes = op.inputs
    if op.attrs["keep_dims"] or (value.shape.rank == 0 and x.shape.rank == 0):
        return value
    known = constant_value(axes)
    if known is not None and x.shape.rank is not None:
        # Putting axes in moves no data and needs no shape tensor, however much of the shape is unknown.
        for axis in sorted({canonical_axis(int(axis), x.shape.rank) for axis in np.ravel(known)}):
            value = emit.ExpandDims(value, axis)
        return value
    return emit.Reshape(value, _kept_shape(x, axes))


def _broadcast_back(value: Any, op: Any) -> Any:
    return emit.BroadcastTo(_spread(value, op), shape_tensor(op.inputs[0]))


@reducer("Sum", "sum")
@widened
def sum_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The sum."""
    return np.sum(input, _axes(input, reduction_indices), input.dtype, keepdims=keep_dims)


@sum_op.gradient
def _sum_gradient(op: Any, dy: Any) -> list[Any]:
    return [_broadcast_back(dy, op), None]


def _count(input: Array, axes: tuple[int, ...]) -> int:
    return int(np.prod([input.shape[axis] for axis in axes], dtype=np.int64))


@reducer("Mean", "mean")
@widened
def mean_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The mean; of integers cut towards zero, of nothing NaN."""
    axes = _axes(input, reduction_indices)
    total = np.sum(input, axes, input.dtype, keepdims=keep_dims)
    count = _count(input, axes)
    if input.dtype.kind not in "iu":
        return np.divide(total, input.dtype.type(count))
    if count == 0:
        return np.zeros_like(total)
    cut = np.abs(total.astype(np.int64)) // count if input.dtype.kind == "i" else total // count
    return (np.sign(total) * cut).astype(input.dtype)


@mean_op.gradient
def _mean_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs[0], op.outputs[0]
    of, into = x.shape.num_elements(), y.shape.num_elements()
    if of is not None and into is not None:
        factor = constant(of // max(into, 1), x.dtype)
    else:
        sizes = emit.Prod(emit.Shape(x), [0]), emit.Prod(emit.Shape(y), [0])
        factor = emit.Cast(emit.FloorDiv(sizes[0], emit.Maximum(sizes[1], 1)), DstT=x.dtype)
    # Divided while it is still small.
    return [_broadcast_back(emit.RealDiv(dy, factor), op), None]


@reducer("Prod", "prod")
@widened
def prod_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The product."""
    return np.prod(input, _axes(input, reduction_indices), input.dtype, keepdims=keep_dims)


@prod_op.gradient
def _prod_gradient(op: Any, dy: Any) -> list[Any]:
    # The product of all others, as (product of those before) * (product of those after): right at zeros too.
    x, axes = op.inputs
    back = _broadcast_back(dy, op)
    rank = emit.Rank(x)
    reduced = emit.FloorMod(emit.Reshape(emit.Cast(axes, DstT=dtypes.int32), [-1]), rank)
    known = constant_value(axes)
    if known is not None and x.shape.rank is not None:
        first = sorted({int(axis) % x.shape.rank for axis in np.ravel(known)})
        others = [axis for axis in range(x.shape.rank) if axis not in first]
        perm = constant(np.array(first + others, np.int32))
        reduced = constant(np.array(first, np.int32))
        rest = constant(np.array(others, np.int32))
    else:
        rest, _ = emit.ListDiff(emit.Range(0, rank, 1), reduced)
        perm = emit.ConcatV2([reduced, rest], 0)
    sizes = emit.Shape(x)
    counts = emit.Pack(
        [emit.Prod(emit.GatherV2(sizes, reduced, 0), [0]), emit.Prod(emit.GatherV2(sizes, rest, 0), [0])]
    )
    moved = emit.Transpose(x, perm)
    columns = emit.Reshape(moved, counts)
    before = emit.Cumprod(columns, 0, exclusive=True)
    after = emit.Cumprod(columns, 0, exclusive=True, reverse=True)
    others_product = emit.Reshape(emit.Mul(conjugate(before), conjugate(after)), emit.Shape(moved))
    inverse = emit.InvertPermutation(perm)
    result = emit.Mul(back, emit.Transpose(others_product, inverse))
    result.set_shape(x.shape)
    return [result, None]


def _lowest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def _extreme_gradient(op: Any, dy: Any) -> list[Any]:
    # Equal extremes share the cotangent.
    x = op.inputs[0]
    chosen = emit.Cast(emit.Equal(_spread(op.outputs[0], op), x), DstT=x.dtype)
    count = emit.Sum(chosen, op.inputs[1], keep_dims=True)
    return [emit.Mul(emit.RealDiv(chosen, count), _spread(dy, op)), None]


@reducer("Max", "max", REALS)
@widened
def max_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The greatest, NaN if any is; of nothing the least value of the dtype."""
    axes = _axes(input, reduction_indices)
    return np.max(input, axes, keepdims=keep_dims, initial=_lowest(input.dtype))


@max_op.gradient
def _max_gradient(op: Any, dy: Any) -> list[Any]:
    return _extreme_gradient(op, dy)


@reducer("Min", "min", REALS)
@widened
def min_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The least, NaN if any is; of nothing the greatest value of the dtype."""
    axes = _axes(input, reduction_indices)
    return np.min(input, axes, keepdims=keep_dims, initial=_highest(input.dtype))


@min_op.gradient
def _min_gradient(op: Any, dy: Any) -> list[Any]:
    return _extreme_gradient(op, dy)


@reducer("Any", "any", "bool")
def any_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """Whether any holds."""
    return np.any(input, _axes(input, reduction_indices), keepdims=keep_dims)


@reducer("All", "all", "bool")
def all_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """Whether all hold."""
    return np.all(input, _axes(input, reduction_indices), keepdims=keep_dims)


@reducer("EuclideanNorm")
@widened
def euclidean_norm_op(input: Array, reduction_indices: Array, *, keep_dims: bool = False) -> Any:
    """The square root of the sum of squared magnitudes."""
    magnitudes = np.abs(input)
    # Integers overflow in their own type, as TensorFlow's do.
    kind = input.dtype if input.dtype.kind in "iu" else None
    square = np.sum(np.square(magnitudes), _axes(input, reduction_indices), keepdims=keep_dims, dtype=kind)
    return np.sqrt(square).astype(input.dtype)


@euclidean_norm_op.expand
def _euclidean_norm_expand(b: Any, node: Any, inputs: Any) -> list[Any] | None:
    x, axes = inputs
    if x.dtype.name not in ("float32", "float64"):
        return None
    total = b.emit("Sum", b.emit("Square", x), axes, keep_dims=node.attrs["keep_dims"])
    return [b.emit("Sqrt", total)]


@euclidean_norm_op.gradient
def _euclidean_norm_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs[0], op.outputs[0]
    return [emit.Mul(x, _spread(emit.RealDiv(dy, y), op)), None]


def _all_axes(input: Tensor, axis: Any, reduction_indices: Any) -> Any:
    """The axes to reduce: those given, else all."""
    axis = _one_of("axis", axis, "reduction_indices", reduction_indices)
    if axis is not None:
        return axis
    if input.shape.rank is not None:
        return constant(np.arange(input.shape.rank, dtype=np.int32))
    return emit.Range(0, emit.Rank(input), 1)


def _one_of(name: str, value: Any, old_name: str, old_value: Any) -> Any:
    """The value of an argument that has an old name too."""
    if value is not None and old_value is not None:
        raise ValueError(f"Cannot specify both '{name}' and '{old_name}'")
    return old_value if value is None else value


def _reduce(
    op_type: str,
    input: Any,
    axis: Any,
    keepdims: Any,
    name: str | None,
    reduction_indices: Any,
    keep_dims: Any,
) -> Tensor:
    input = convert_to_tensor(input, dtypes.bool_ if op_type in ("Any", "All") else None, name="input")
    keep = bool(_one_of("keepdims", keepdims, "keep_dims", keep_dims))
    axes = _all_axes(input, axis, reduction_indices)
    result: Tensor = getattr(emit, op_type)(input, axes, keep_dims=keep, name=name)
    if not keep and _one_of("axis", axis, "reduction_indices", reduction_indices) is None:
        result.set_shape(())
    return result


def reduce_sum(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns the sum of a tensor over axes.

    Args:
      input_tensor: numeric tensor.
      axis: an axis or list of axes, negative ones from the end; None reduces all.
      keepdims: whether the reduced axes stay with size one.
      name: name of the operation.
      reduction_indices: old name of `axis`.
      keep_dims: old name of `keepdims`.
    """
    return _reduce("Sum", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_mean(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns the mean of a tensor over axes; the arguments are those of `reduce_sum`."""
    return _reduce("Mean", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_prod(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns the product of a tensor over axes; the arguments are those of `reduce_sum`."""
    return _reduce("Prod", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_max(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns the greatest element over axes; the arguments are those of `reduce_sum`."""
    return _reduce("Max", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_min(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns the least element over axes; the arguments are those of `reduce_sum`."""
    return _reduce("Min", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_any(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns whether any element of a bool tensor holds; the arguments are those of `reduce_sum`."""
    return _reduce("Any", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_all(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns whether all elements of a bool tensor hold; the arguments are those of `reduce_sum`."""
    return _reduce("All", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """Returns the square root of the sum of squares over axes; the arguments are those of `reduce_sum`."""
    return _reduce("EuclideanNorm", input_tensor, axis, keepdims, name, None, None)


def reduce_logsumexp(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Returns log(sum(exp(x))) over axes without overflow; the arguments are those of `reduce_sum`."""
    keep = bool(_one_of("keepdims", keepdims, "keep_dims", keep_dims))
    axis = _one_of("axis", axis, "reduction_indices", reduction_indices)
    with name_scope(name, "ReduceLogSumExp", [input_tensor]) as scope:
        x = convert_to_tensor(input_tensor, name="input")
        greatest = reduce_max(x, axis, True)
        # Where the maximum is infinite, subtracting it would turn infinities into NaN.
        shift = emit.StopGradient(emit.SelectV2(emit.IsFinite(greatest), greatest, emit.ZerosLike(greatest)))
        total = emit.Log(reduce_sum(emit.Exp(emit.Sub(x, shift)), axis, keep))
        if not keep:
            shift = reduce_sum(shift, axis)
        return emit.AddV2(total, shift, name=scope)


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """Returns the variance over axes (divided by n); the arguments are those of `reduce_sum`.

    Raises:
      TypeError: for integers.
    """
    with name_scope(name or "reduce_variance"):
        x = convert_to_tensor(input_tensor)
        means = reduce_mean(x, axis, True)
        if means.dtype.is_integer:
            raise TypeError("Input must be either real or complex")
        difference = emit.Sub(x, means)
        square = emit.Mul(difference, conjugate(difference))
        return reduce_mean(emit.Real(square) if x.dtype.is_complex else square, axis, keepdims)


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """Returns the standard deviation over axes (divided by n); the arguments are those of `reduce_sum`."""
    with name_scope(name or "reduce_std"):
        return emit.Sqrt(reduce_variance(input_tensor, axis, keepdims))


def count_nonzero(
    input_tensor: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
    dtype: Any = dtypes.int64,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
    input: Any = None,
) -> Tensor:
    """Returns how many elements differ from zero (or the empty string), as `dtype`, over axes.

    The other arguments are those of `reduce_sum`; `input` is another name of `input_tensor`.
    """
    keep = bool(_one_of("keepdims", keepdims, "keep_dims", keep_dims))
    axis = _one_of("axis", axis, "reduction_indices", reduction_indices)
    with name_scope(name, "count_nonzero", [input_tensor if input is None else input]):
        x = convert_to_tensor(_one_of("input", input, "input_tensor", input_tensor), name="input")
        zero = constant("" if x.dtype is dtypes.string else np.zeros((), x.dtype.as_numpy_dtype), x.dtype)
        marks = emit.Cast(emit.NotEqual(x, zero), DstT=dtypes.int64)
        count, target = reduce_sum(marks, axis, keep), as_dtype(dtype)
        return count if target is dtypes.int64 else emit.Cast(count, DstT=target)


# ---------------------------------------------------------------------------- where extremes stand


def _arg_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    rank_at_least(node, 0, 1, "input")
    axis = node.constant(1)
    if axis is None:
        return TensorShape([None] * (len(sizes) - 1))
    at = canonical_axis(int(axis), len(sizes))
    return TensorShape(sizes[:at] + sizes[at + 1 :])


def arg_reducer(op_type: str, outputs: str, axes: str = "int32|int64") -> Declaration:
    """Declares an op that finds a position along the axis `dimension`."""
    return op(
        op_type, "input:T; dimension:Tidx", "output:output_type",
        f"T:type{{{REALS}|bool}}; Tidx:type{{{axes}}}=int32; output_type:type{{{outputs}}}=int64",
        infer=_arg_shape, differentiable=False,
    )  # fmt: skip


def _checked_axis(input: Array, dimension: Array) -> int:
    axis = int(dimension)
    if not -input.ndim <= axis < input.ndim:
        raise InvalidArgumentError(
            None, None, f"Expected dimension in the range [{-input.ndim}, {input.ndim}), but got {axis}"
        )
    if input.shape[axis] == 0:
        raise InvalidArgumentError(None, None, f"Reduction axis {axis} is empty in shape {list(input.shape)}")
    return axis


def _without_nan(input: Array, instead: float) -> Array:
    if input.dtype.kind in "iub":
        return input
    return np.where(np.isnan(input), input.dtype.type(instead), input)


@arg_reducer("ArgMax", "int16|uint16|int32|int64", "int16|int32|int64")
def arg_max_op(input: Array, dimension: Array, *, output_type: DType = dtypes.int64) -> Any:
    """The position of the greatest along an axis, the first of equals; NaN is greater than nothing."""
    axis = _checked_axis(input, dimension)
    return np.argmax(_without_nan(input, -np.inf), axis).astype(output_type.as_numpy_dtype)


arg_max_op.by_row(row_rules.reduced)


@arg_reducer("ArgMin", "int32|int64")
def arg_min_op(input: Array, dimension: Array, *, output_type: DType = dtypes.int64) -> Any:
    """The position of the least along an axis, the first of equals; NaN is less than nothing."""
    axis = _checked_axis(input, dimension)
    return np.argmin(_without_nan(input, np.inf), axis).astype(output_type.as_numpy_dtype)


arg_min_op.by_row(row_rules.reduced)


def _arg_row(b: Builder, x: Expr, instead: Expr, fold: str, output_type: DType) -> Expr:
    """The first position in the row of its extreme; NaN counts as `instead`."""
    known = b.select(b.isnan(x), instead, x) if is_float(x.dtype) else x
    extreme = getattr(b, f"reduce_{fold}")(known)
    place = b.select(b.eq(known, extreme), b.index(), b.row_size())
    return b.cast(b.reduce_min(place), output_type.name)


@arg_max_op.lower_row_along(1)
def _arg_max_row(b: Builder, x: Expr, *, output_type: DType = dtypes.int64) -> Expr:
    return _arg_row(b, x, b.lowest(x.dtype), "max", output_type)


@arg_min_op.lower_row_along(1)
def _arg_min_row(b: Builder, x: Expr, *, output_type: DType = dtypes.int64) -> Expr:
    return _arg_row(b, x, b.highest(x.dtype), "min", output_type)


def argmax(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Tensor:
    """Returns the position of the greatest element along an axis (default 0), the first of equals.

    Args:
      input: tensor.
      axis: the axis.
      name: name of the operation.
      dimension: old name of `axis`.
      output_type: int32 or int64.
    """
    axis = _one_of("axis", axis, "dimension", dimension)
    return emit.ArgMax(input, 0 if axis is None else axis, output_type=as_dtype(output_type), name=name)


def argmin(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Tensor:
    """Returns the position of the least element along an axis; the arguments are those of `argmax`."""
    axis = _one_of("axis", axis, "dimension", dimension)
    return emit.ArgMin(input, 0 if axis is None else axis, output_type=as_dtype(output_type), name=name)


def arg_max(input: Any, dimension: Any, output_type: Any = dtypes.int64, name: str | None = None) -> Tensor:
    """Returns the position of the greatest element along an axis; an older form of `argmax`."""
    return emit.ArgMax(input, dimension, output_type=as_dtype(output_type), name=name)


def arg_min(input: Any, dimension: Any, output_type: Any = dtypes.int64, name: str | None = None) -> Tensor:
    """Returns the position of the least element along an axis; an older form of `argmin`."""
    return emit.ArgMin(input, dimension, output_type=as_dtype(output_type), name=name)


# ---------------------------------------------------------------------------- running sums


def _running_shape(node: Any) -> TensorShape:
    axis, rank = node.constant(1), node.inputs[0].shape.rank
    if axis is not None and rank is not None:
        canonical_axis(int(axis), rank)
    return same_as_first(node)


def running(op_type: str, lowering: str = "") -> Declaration:
    """Declares an op that accumulates along an axis."""
    return op(
        op_type, "x:T; axis:Tidx", "out:T",
        f"exclusive:bool=false; reverse:bool=false; T:type{{{NUMBERS}}}; Tidx:type{{int32|int64}}=int32",
        infer=_running_shape, lowering=lowering,
    )  # fmt: skip


def _accumulate(ufunc: np.ufunc, x: Array, axis: Array, exclusive: bool, reverse: bool) -> Any:
    at = int(axis)
    if not -x.ndim <= at < x.ndim:
        raise InvalidArgumentError(
            None, None, f"Expected scan axis in the range [{-x.ndim}, {x.ndim}), but got {at}"
        )
    moved = np.moveaxis(x, at, 0)
    if reverse:
        moved = moved[::-1]
    if exclusive:
        first = np.full_like(moved[:1], ufunc.identity)
        moved = np.concatenate([first, moved[:-1]])
    result = ufunc.accumulate(moved, axis=0, dtype=x.dtype)
    return np.moveaxis(result[::-1] if reverse else result, 0, at)


@running("Cumsum", "cumsum")
@widened
def cumsum_op(x: Array, axis: Array, *, exclusive: bool = False, reverse: bool = False) -> Any:
    """The sums of all elements up to here along an axis."""
    return _accumulate(np.add, x, axis, exclusive, reverse)


cumsum_op.by_row(row_rules.along_given(1))


@cumsum_op.gradient
def _cumsum_gradient(op: Any, dy: Any) -> list[Any]:
    exclusive, reverse = op.attrs["exclusive"], op.attrs["reverse"]
    return [emit.Cumsum(dy, op.inputs[1], exclusive=exclusive, reverse=not reverse), None]


@running("Cumprod", "cumprod")
@widened
def cumprod_op(x: Array, axis: Array, *, exclusive: bool = False, reverse: bool = False) -> Any:
    """The products of all elements up to here along an axis."""
    return _accumulate(np.multiply, x, axis, exclusive, reverse)


cumprod_op.by_row(row_rules.along_given(1))


@cumprod_op.gradient
def _cumprod_gradient(op: Any, dy: Any) -> list[Any]:
    x, axis = op.inputs
    exclusive, reverse = op.attrs["exclusive"], op.attrs["reverse"]
    weighted = emit.Mul(conjugate(op.outputs[0]), dy)
    total = emit.Cumsum(weighted, axis, exclusive=exclusive, reverse=not reverse)
    return [emit.DivNoNan(total, conjugate(x)), None]


@op("CumulativeLogsumexp", "x:T; axis:Tidx", "out:T",
    f"exclusive:bool=false; reverse:bool=false; T:type{{{FLOATS}}}; Tidx:type{{int32|int64}}=int32",
    infer=_running_shape)  # fmt: skip
@widened
def cumulative_logsumexp_op(x: Array, axis: Array, *, exclusive: bool = False, reverse: bool = False) -> Any:
    """The logarithms of the sums of the exponentials of all elements up to here along an axis."""
    with np.errstate(invalid="ignore"):
        return _accumulate(np.logaddexp, x, axis, exclusive, reverse)


@cumulative_logsumexp_op.gradient
def _cumulative_logsumexp_gradient(op: Any, dy: Any) -> list[Any]:
    # The cotangents' logarithms are summed, those of either sign by themselves.
    x, axis = op.inputs
    least = constant(float(np.finfo(x.dtype.as_numpy_dtype).min), x.dtype)
    parts = []
    for signed in (dy, -dy):
        logs = emit.SelectV2(emit.Greater(signed, constant(0.0, x.dtype)), emit.Log(signed), least)
        total = emit.CumulativeLogsumexp(
            logs - op.outputs[0], axis, exclusive=op.attrs["exclusive"], reverse=not op.attrs["reverse"]
        )
        parts.append(emit.Exp(total + x))
    return [parts[0] - parts[1], None]


def cumulative_logsumexp(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Returns log(sum(exp(...))) of all elements up to each along an axis; see `cumsum`."""
    with name_scope(name, "CumulativeLogsumexp", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return emit.CumulativeLogsumexp(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


def cumsum(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Returns the running sums along an axis.

    Args:
      x: numeric tensor.
      axis: the axis.
      exclusive: whether an element's own value is left out.
      reverse: whether to sum from the end.
      name: name of the operation.
    """
    with name_scope(name, "Cumsum", [x]) as scope:
        return emit.Cumsum(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


def cumprod(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Returns the running products along an axis; the arguments are those of `cumsum`."""
    with name_scope(name, "Cumprod", [x]) as scope:
        return emit.Cumprod(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


__all__ = [
    "arg_max", "arg_min", "argmax", "argmin", "count_nonzero", "cumprod", "cumsum", "cumulative_logsumexp",
    "reduce_all", "reduce_any", "reduce_euclidean_norm", "reduce_logsumexp", "reduce_max", "reduce_mean",
    "reduce_min", "reduce_prod", "reduce_std", "reduce_sum", "reduce_variance",
]  # fmt: skip
