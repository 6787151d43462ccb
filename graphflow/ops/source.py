"""Ops that bring values in or say what a tensor is like: constants, placeholders, identities, shapes, ranges."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Operation, Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import constant, convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    FLOATS,
    NUMBERS,
    SIGNED,
    Array,
    attr_shape,
    each_its_own,
    no_output,
    rank_exactly,
    same_as_first,
    scalar,
    shape_input,
)
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape, as_shape, broadcast_shapes, size_array
from graphflow.tensor_list import zeros_like as zeros_array_like

# Zeros and ones of up to this many elements are constants, as in TensorFlow; above, a Fill.
_MOST_CONSTANT_FILL = 1000

# ---------------------------------------------------------------------------- values from outside


def _const_shape(node: Any) -> TensorShape:
    return TensorShape(node.attrs["value"].shape)


@op("Const", "", "output:dtype", "value:tensor; dtype:type", infer=_const_shape, differentiable=False)
def const_op(*, value: Array) -> Any:
    """A value that stands in the graph."""
    return value


@const_op.constant
def _const_value(node: Any) -> Array:
    value: Array = node.attrs["value"]
    return value


def _not_fed() -> Any:
    raise InvalidArgumentError(None, None, "You must feed a value for the placeholder")


@op(
    "Placeholder", "", "output:dtype", "dtype:type; shape:shape=unknown_rank", infer=attr_shape,
    differentiable=False,
)  # fmt: skip
def placeholder_op() -> Any:
    """A value that each run feeds."""
    return _not_fed()


@op("PlaceholderV2", "", "output:dtype", "dtype:type; shape:shape", infer=attr_shape, differentiable=False)
def placeholder_v2_op() -> Any:
    """A value that each run feeds."""
    return _not_fed()


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """Returns a tensor whose value each run feeds.

    Args:
      dtype: the dtype of what is fed.
      shape: the shape of what is fed, unknown sizes as None; None leaves even the rank open.
      name: name of the operation.
    """
    return emit.Placeholder(dtype=as_dtype(dtype), shape=TensorShape(shape), name=name)


def _default_shape(node: Any) -> TensorShape:
    shape = attr_shape(node)
    if not shape.is_compatible_with(node.inputs[0].shape):
        raise ShapeError(f"the default has shape {node.inputs[0].shape}, the placeholder {shape}")
    return shape


@op(
    "PlaceholderWithDefault", "input:dtype", "output:dtype", "dtype:type; shape:shape", infer=_default_shape,
    view=True,
)  # fmt: skip
def placeholder_with_default_op(input: Array) -> Any:
    """A value that a run may feed; else the input."""
    return input


@placeholder_with_default_op.gradient
def _placeholder_with_default_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy]


@placeholder_with_default_op.constant
def _placeholder_with_default_value(node: Any) -> None:
    # Whoever feeds it must not find its default built into shapes.
    return None


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """Returns a tensor that a run may feed, else the value of `input`, whose shape must fit `shape`."""
    return emit.PlaceholderWithDefault(input, shape=TensorShape(shape), name=name)


# ---------------------------------------------------------------------------- values handed through


def _same_value_as_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.constant_shape(0)
    return shape


@op("Identity", "input:T", "output:T", "T:type", infer=same_as_first, view=True, passes_slices=True)
def identity_op(input: Array) -> Any:
    """The input itself."""
    return input


@identity_op.gradient
def _identity_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy]


identity_op.value_as_shape(_same_value_as_shape)


@op("GraphflowFence", "input:T", "output:T", "T:type", infer=same_as_first, differentiable=False)
def fence_op(input: Array) -> Any:
    """The input, rounded as if it went through memory: what is computed anew has the bits of what was kept."""
    return input


@fence_op.lower
def _fence_lower(b: Any, x: Any) -> Any:
    return b.fence(x) if x.dtype in ("f16", "bf16", "f32", "f64") else x


def identity(input: Any, name: str | None = None) -> Tensor:
    """Returns a tensor with the value of `input`."""
    return emit.Identity(input, name=name)


@op("Snapshot", "input:T", "output:T", "T:type", infer=same_as_first, view=True, passes_slices=True)
def snapshot_op(input: Array) -> Any:
    """The input itself."""
    return input


snapshot_op.gradient(_identity_gradient)


@op("DeepCopy", "x:T", "y:T", "T:type", infer=same_as_first, view=True)
def deep_copy_op(x: Array) -> Any:
    """The input itself."""
    return x


deep_copy_op.gradient(_identity_gradient)


@op("GuaranteeConst", "input:T", "output:T", "T:type", infer=same_as_first, view=True, differentiable=False)
def guarantee_const_op(input: Array) -> Any:
    """The input itself, promised not to change."""
    return input


def guarantee_const(input: Any, name: str | None = None) -> Tensor:
    """Returns the input, which the caller promises never changes."""
    return emit.GuaranteeConst(input, name=name)


@op("IdentityN", "input:list(T)", "output:list(T)", "T:list(type)>=1", infer=each_its_own)
def identity_n_op(input: list[Array]) -> Any:
    """The inputs themselves."""
    return list(input)


@identity_n_op.gradient
def _identity_n_gradient(op: Any, *dys: Any) -> list[Any]:
    return list(dys)


def identity_n(input: Any, name: str | None = None) -> list[Tensor]:
    """Returns tensors with the values of a list of tensors."""
    return emit.IdentityN(list(input), name=name)


@op("StopGradient", "input:T", "output:T", "T:type", infer=same_as_first, view=True, differentiable=False)
def stop_gradient_op(input: Array) -> Any:
    """The input, through which no gradient flows."""
    return input


stop_gradient_op.value_as_shape(_same_value_as_shape)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """Returns the input as a constant for gradients."""
    return emit.StopGradient(input, name=name)


@op("PreventGradient", "input:T", "output:T", "T:type; message:string=", infer=same_as_first, view=True)
def prevent_gradient_op(input: Array) -> Any:
    """The input, of which a gradient must not be taken."""
    return input


@prevent_gradient_op.gradient
def _prevent_gradient_gradient(op: Any, dy: Any) -> list[Any]:
    raise LookupError(f"Gradient explicitly disabled. Reason: {op.attrs['message']}")


def prevent_gradient(input: Any, message: str = "", name: str | None = None) -> Tensor:
    """Returns the input; taking a gradient through it raises LookupError with the message."""
    return emit.PreventGradient(input, message=message, name=name)


@op("NoOp", infer=no_output, differentiable=False)
def no_op_op() -> Any:
    """Nothing; a node to hang control edges on."""
    return None


def no_op(name: str | None = None) -> Operation:
    """Returns an operation that does nothing."""
    return emit.NoOp(name=name)


@op("ControlTrigger", infer=no_output, differentiable=False)
def control_trigger_op() -> Any:
    """Nothing; as NoOp, in graphs of old."""
    return None


def _ensured_shape(node: Any) -> TensorShape:
    return attr_shape(node).merge_with(node.inputs[0].shape)


@op("EnsureShape", "input:T", "output:T", "shape:shape; T:type", infer=_ensured_shape)
def ensure_shape_op(input: Array, *, shape: TensorShape) -> Any:
    """The input, refused if its shape is another."""
    if not shape.is_compatible_with(TensorShape(input.shape)):
        raise InvalidArgumentError(
            None, None, f"Shape of tensor {list(input.shape)} is not compatible with expected shape {shape}"
        )
    return input


ensure_shape_op.gradient(_identity_gradient)


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """Returns x, whose shape is from here on known to fit `shape`; the run checks it.

    Raises:
      ValueError: if the shapes are known to differ.
    """
    return emit.EnsureShape(x, shape=as_shape(shape), name=name)


# ---------------------------------------------------------------------------- values made


def _fill_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 0, "value")
    return shape_input(0)(node)


@op(
    "Fill", "dims:index_type; value:T", "output:T", "T:type; index_type:type{int32|int64}=int32",
    infer=_fill_shape, lowering="fill",
)  # fmt: skip
def fill_op(dims: Array, value: Array) -> Any:
    """A tensor of a shape, each element the same."""
    return np.broadcast_to(value, _sizes(dims)).copy()


fill_op.by_row(row_rules.filled, 0)


@fill_op.gradient
def _fill_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, emit.Sum(dy, emit.Range(0, emit.Rank(dy), 1))]


def _sizes(dims: Array) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in np.ravel(dims))
    if any(size < 0 for size in sizes):
        raise InvalidArgumentError(None, None, f"a shape must not have negative sizes, got {list(sizes)}")
    return sizes


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """Returns a tensor of shape `dims` filled with a scalar."""
    return emit.Fill(dims, value, name=name)


@op(
    "Empty", "shape:int32", "output:dtype", "dtype:type; init:bool=false", infer=shape_input(0),
    differentiable=False,
)  # fmt: skip
def empty_op(shape: Array, *, dtype: DType) -> Any:
    """A tensor of a shape whose values do not matter; here zeros."""
    return np.zeros(_sizes(shape), dtype.as_numpy_dtype)


@op("ZerosLike", "x:T", "y:T", "T:type", infer=same_as_first, differentiable=False)
def zeros_like_op(x: Array) -> Any:
    """Zeros (false, empty strings) of the input's shape; of a list, a list of zeros."""
    return zeros_array_like(x)


@zeros_like_op.lower
def _zeros_like_lower(b: Builder, x: Expr) -> Expr:
    return b.const_like(0, x)


@op("OnesLike", "x:T", "y:T", f"T:type{{{NUMBERS}|bool}}", infer=same_as_first, differentiable=False)
def ones_like_op(x: Array) -> Any:
    """Ones of the input's shape."""
    return np.ones(x.shape, x.dtype)


@ones_like_op.lower
def _ones_like_lower(b: Builder, x: Expr) -> Expr:
    return b.const_like(1, x)


def _filled(value: Any, shape: Any, dtype: DType, name: str) -> Tensor:
    """A constant if the shape is a small known one, else a Fill."""
    if not isinstance(shape, Tensor):
        try:
            known = TensorShape(shape)
        except (TypeError, ValueError):  # a list that holds tensors
            shape = convert_to_tensor(shape, dtypes.int32)
        else:
            if not known.is_fully_defined():
                raise ValueError(
                    f"the shape must be fully known, got {known}; gf.shape(x)[i] gives a size that only the run knows"
                )
            if (known.num_elements() or 0) < _MOST_CONSTANT_FILL:
                return constant(value, dtype, known, name=name)
            shape = convert_to_tensor(known)
    if shape.shape.rank == 0:
        shape = emit.Reshape(shape, [-1])
    return emit.Fill(shape, constant(value, dtype), name=name)


def _zero(dtype: DType) -> Any:
    if dtype.is_bool:
        return False
    return "" if dtype is dtypes.string else 0


def zeros(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Returns a tensor of zeros (false, empty strings).

    Args:
      shape: a list of sizes, a TensorShape or an integer vector.
      dtype: the dtype.
      name: name of the operation.
    """
    dtype = as_dtype(dtype)
    with name_scope(name, "zeros", [shape]) as scope:
        return _filled(_zero(dtype), shape, dtype, scope)


def ones(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Returns a tensor of ones (true).

    Args:
      shape: a list of sizes, a TensorShape or an integer vector.
      dtype: the dtype.
      name: name of the operation.
    """
    dtype = as_dtype(dtype)
    with name_scope(name, "ones", [shape]) as scope:
        return _filled(True if dtype.is_bool else 1, shape, dtype, scope)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Returns zeros of the shape of `tensor` and of its dtype, or of another.

    Args:
      tensor: a tensor.
      dtype: another dtype, or None.
      name: name of the operation.
      optimize: whether a known shape may become a constant.
    """
    with name_scope(name, "zeros_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        target = tensor.dtype if dtype is None else as_dtype(dtype)
        if optimize and tensor.shape.is_fully_defined() and target is not dtypes.variant:
            return zeros(tensor.shape, target, name=scope)
        if target is not tensor.dtype:
            return zeros(_shape_of(tensor, None, optimize), target, name=scope)
        return emit.ZerosLike(tensor, name=scope)


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Returns ones of the shape of `tensor` and of its dtype, or of another.

    Args:
      tensor: a tensor.
      dtype: another dtype, or None.
      name: name of the operation.
      optimize: whether a known shape may become a constant.
    """
    with name_scope(name, "ones_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        target = tensor.dtype if dtype is None else as_dtype(dtype)
        if optimize and tensor.shape.is_fully_defined():
            return ones(tensor.shape, target, name=scope)
        result = ones(_shape_of(tensor, None, optimize), target, name=scope)
        result.set_shape(tensor.shape)
        return result


def _range_count(start: Any, limit: Any, delta: Any) -> int:
    if delta == 0:
        raise ValueError("Requires delta != 0")
    if (delta > 0 and start > limit) or (delta < 0 and start < limit):
        relation = "start <= limit when delta > 0" if delta > 0 else "start >= limit when delta < 0"
        raise ValueError(f"Requires {relation}: {start}/{limit}/{delta}")
    if isinstance(start, int):
        return -((start - limit) // delta) if delta > 0 else -((limit - start) // -delta)
    return math.ceil(builtins.abs((limit - start) / delta))


def _range_shape(node: Any) -> TensorShape:
    for position, what in enumerate(("start", "limit", "delta")):
        rank_exactly(node, position, 0, what)
    values = [node.constant(i) for i in (0, 1, 2)]
    if any(value is None for value in values):
        return TensorShape([None])
    return TensorShape([_range_count(*(value.item() for value in values))])


@op(
    "Range", "start:Tidx; limit:Tidx; delta:Tidx", "output:Tidx",
    f"Tidx:type{{{FLOATS}|{SIGNED}|uint16|uint32|uint64}}=int32",
    infer=_range_shape, differentiable=False, lowering="range",
)  # fmt: skip
def range_op(start: Array, limit: Array, delta: Array) -> Any:
    """start, start + delta, … up to but without limit."""
    try:
        count = _range_count(start.item(), limit.item(), delta.item())
    except ValueError as error:
        raise InvalidArgumentError(None, None, str(error)) from None
    if start.dtype.kind in "iu":
        return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)
    return (float(start) + np.arange(count) * float(delta)).astype(start.dtype)


_RANGE_ORDER = (dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64)


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range") -> Tensor:
    """Returns start, start + delta, … up to but without limit; `range(n)` is 0 … n - 1.

    Args:
      start: first number, or the limit where `limit` is None.
      limit: where to stop.
      delta: the step, not 0.
      dtype: the dtype; None takes the widest of the arguments' dtypes.
      name: name of the operation.

    Raises:
      ValueError: if the step is 0 or leads away from the limit.
    """
    if limit is None:
        start, limit = 0, start
    with name_scope(name, "Range", [start, limit, delta]) as scope:
        wanted = None if dtype is None else as_dtype(dtype)
        given = {"start": start, "limit": limit, "delta": delta}
        tensors = {
            label: convert_to_tensor(value, None if isinstance(value, Tensor) else wanted, name=label)
            for label, value in given.items()
        }
        if wanted is None:
            found = {tensor.dtype for tensor in tensors.values()}
            if found <= set(_RANGE_ORDER):
                wanted = max(found, key=_RANGE_ORDER.index)
            else:
                wanted = tensors["start"].dtype
        cast = [
            t if t.dtype is wanted else emit.Cast(t, DstT=wanted, name=f"{scope}{label}/Cast/")
            for label, t in tensors.items()
        ]
        return emit.Range(*cast, name=scope)


def _linspace_shape(node: Any) -> TensorShape:
    for position, what in enumerate(("start", "stop", "num")):
        rank_exactly(node, position, 0, what)
    num = node.constant(2)
    if num is None:
        return TensorShape([None])
    if num <= 0:
        raise ShapeError(f"Requires num > 0: {int(num)}")
    return TensorShape([int(num)])


@op(
    "LinSpace", "start:T; stop:T; num:Tidx", "output:T", f"T:type{{{FLOATS}}}; Tidx:type{{int32|int64}}=int32",
    infer=_linspace_shape, differentiable=False,
)  # fmt: skip
def lin_space_op(start: Array, stop: Array, num: Array) -> Any:
    """num numbers from start to stop, evenly spaced, both included."""
    if num <= 0:
        raise InvalidArgumentError(None, None, f"Requires num > 0: {int(num)}")
    return np.linspace(float(start), float(stop), int(num)).astype(start.dtype)


def lin_space(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """Returns `num` numbers from start to stop, evenly spaced, both included."""
    return emit.LinSpace(start, stop, num, name=name)


linspace = lin_space

# ---------------------------------------------------------------------------- what a tensor is like


def _rank_vector(node: Any) -> TensorShape:
    return TensorShape([node.inputs[0].shape.rank])


@op(
    "Shape", "input:T", "output:out_type", "T:type; out_type:type{int32|int64}=int32", infer=_rank_vector,
    differentiable=False,
)  # fmt: skip
def shape_op(input: Array, *, out_type: DType = dtypes.int32) -> Any:
    """The sizes of the dimensions."""
    return np.array(input.shape, out_type.as_numpy_dtype)


@shape_op.constant
def _shape_value(node: Any) -> Array | None:
    shape = node.inputs[0].shape
    return size_array(shape.as_list(), node.attrs["out_type"].numpy) if shape.is_fully_defined() else None


@shape_op.value_as_shape
def _shape_as_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    return shape


def _as(tensor: Tensor, dtype: DType) -> Tensor:
    return tensor if tensor.dtype is dtype else emit.Cast(tensor, DstT=dtype)


def _shape_of(input: Any, name: str | None, optimize: bool = True, out_type: DType = dtypes.int32) -> Tensor:
    with name_scope(name, "Shape", [input]) as scope:
        if isinstance(input, SparseTensor):
            return _as(input.dense_shape, out_type)
        tensor = convert_to_tensor(input)
        if optimize and tensor.shape.is_fully_defined():
            sizes = np.array(tensor.shape.as_list(), out_type.as_numpy_dtype)
            return constant(sizes, out_type, name=scope)
        return emit.Shape(tensor, out_type=out_type, name=scope)


def shape(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """Returns the shape as an integer vector."""
    return _shape_of(input, name, out_type=as_dtype(out_type))


def _rank_vectors(node: Any) -> list[TensorShape]:
    return [TensorShape([value.shape.rank]) for value in node.inputs]


@op(
    "ShapeN", "input:N*T", "output:N*out_type", "N:int>=1; T:type; out_type:type{int32|int64}=int32",
    infer=_rank_vectors, differentiable=False,
)  # fmt: skip
def shape_n_op(input: list[Array], *, out_type: DType = dtypes.int32) -> Any:
    """The sizes of the dimensions of each input."""
    return [np.array(value.shape, out_type.as_numpy_dtype) for value in input]


@shape_n_op.constant
def _shapes_value(node: Any) -> list[Array] | None:
    shapes = [value.shape for value in node.inputs]
    if not all(shape.is_fully_defined() for shape in shapes):
        return None
    return [size_array(shape.as_list(), node.attrs["out_type"].numpy) for shape in shapes]


def shape_n(input: Any, out_type: Any = dtypes.int32, name: str | None = None) -> list[Tensor]:
    """Returns the shapes of a list of tensors of one dtype."""
    return emit.ShapeN(list(input), out_type=as_dtype(out_type), name=name)


@op(
    "Size", "input:T", "output:out_type", "T:type; out_type:type{int32|int64}=int32", infer=scalar,
    differentiable=False,
)  # fmt: skip
def size_op(input: Array, *, out_type: DType = dtypes.int32) -> Any:
    """The number of elements."""
    return np.array(input.size, out_type.as_numpy_dtype)


@size_op.constant
def _size_value(node: Any) -> Array | None:
    count = node.inputs[0].shape.num_elements()
    return None if count is None else size_array(count, node.attrs["out_type"].numpy)


def size(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """Returns the number of elements."""
    out_type = as_dtype(out_type)
    with name_scope(name, "Size", [input]) as scope:
        if isinstance(input, SparseTensor):
            return emit.Prod(_as(input.dense_shape, out_type), np.array([0], np.int32), name=scope)
        tensor = convert_to_tensor(input)
        count = tensor.shape.num_elements()
        if count is not None:
            return constant(count, out_type, name=scope)
        return emit.Size(tensor, out_type=out_type, name=scope)


@op("Rank", "input:T", "output:int32", "T:type", infer=scalar, differentiable=False)
def rank_op(input: Array) -> Any:
    """The number of dimensions."""
    return np.array(input.ndim, np.int32)


@rank_op.constant
def _rank_value(node: Any) -> Array | None:
    rank = node.inputs[0].shape.rank
    return None if rank is None else np.array(rank, np.int32)


def rank(input: Any, name: str | None = None) -> Tensor:
    """Returns the number of dimensions, an int32 scalar."""
    with name_scope(name, "Rank", [input]) as scope:
        if isinstance(input, SparseTensor):
            return emit.Size(input.dense_shape, name=scope)
        tensor = convert_to_tensor(input)
        if tensor.shape.rank is not None:
            return constant(tensor.shape.rank, dtypes.int32, name=scope)
        return emit.Rank(tensor, name=scope)


# ---------------------------------------------------------------------------- shapes of broadcasts


def _axes_vectors(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 1, "s0")
    rank_exactly(node, 1, 1, "s1")
    return [TensorShape([None]), TensorShape([None])]


@op(
    "BroadcastGradientArgs", "s0:T; s1:T", "r0:T; r1:T", "T:type{int32|int64}=int32", infer=_axes_vectors,
    differentiable=False,
)  # fmt: skip
def broadcast_gradient_args_op(s0: Array, s1: Array) -> Any:
    """For two shapes that broadcast, the axes over which the cotangent of each is to be summed."""
    a, b = s0.tolist(), s1.tolist()
    if a == b:
        return np.zeros(0, s0.dtype), np.zeros(0, s1.dtype)
    rank = max(len(a), len(b))
    a, b = [1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b
    for x, y in zip(a, b, strict=True):
        if x != y and 1 not in (x, y):
            raise InvalidArgumentError(None, None, f"Incompatible shapes: {s0.tolist()} vs. {s1.tolist()}")
    return (
        np.array([i for i, x in enumerate(a) if x == 1], s0.dtype),
        np.array([i for i, x in enumerate(b) if x == 1], s1.dtype),
    )


def _broadcast_args_shape(node: Any) -> TensorShape:
    ranks = [rank_exactly(node, i, 1, f"s{i}").as_tuple() for i in (0, 1)]
    lengths = [None if dims is None else dims[0] for dims in ranks]
    known = [length for length in lengths if length is not None]
    return TensorShape([max(known) if len(known) == 2 else None])


@op(
    "BroadcastArgs", "s0:T; s1:T", "r0:T", "T:type{int32|int64}=int32", infer=_broadcast_args_shape,
    differentiable=False,
)  # fmt: skip
def broadcast_args_op(s0: Array, s1: Array) -> Any:
    """The shape that two shapes broadcast to."""
    try:
        return np.array(np.broadcast_shapes(tuple(s0.tolist()), tuple(s1.tolist())), s0.dtype)
    except ValueError:
        message = f"Incompatible shapes: {s0.tolist()} vs. {s1.tolist()}"
        raise InvalidArgumentError(None, None, message) from None


@broadcast_args_op.value_as_shape
def _broadcast_args_as_shape(node: Any) -> TensorShape:
    return broadcast_shapes(node.constant_shape(0), node.constant_shape(1))


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """Returns the shape that two shapes, given as integer vectors, broadcast to."""
    return emit.BroadcastArgs(shape_x, shape_y)


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> TensorShape:
    """Returns the TensorShape that two TensorShapes broadcast to.

    Raises:
      ValueError: if they do not fit.
    """
    return broadcast_shapes(as_shape(shape_x), as_shape(shape_y))


__all__ = [
    "broadcast_dynamic_shape", "broadcast_static_shape", "constant", "ensure_shape", "fill", "guarantee_const",
    "identity", "identity_n", "lin_space", "linspace", "no_op", "ones", "ones_like", "placeholder",
    "placeholder_with_default", "prevent_gradient", "range", "rank", "shape", "shape_n", "size",
    "stop_gradient", "zeros", "zeros_like",
]  # fmt: skip
