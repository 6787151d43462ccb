"""Ops that arrange elements anew: reshape, transpose, join, cut, gather, scatter, pad, repeat."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import IndexedSlices, Tensor, name_scope
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit, op, override_operator
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    NUMBERS,
    Array,
    IndexMap,
    Sizes,
    canonical_axes,
    canonical_axis,
    checked_axis,
    conjugate,
    materialized,
    merged,
    rank_at_least,
    rank_at_most,
    rank_exactly,
    refuse,
    same_as_first,
    shape_input,
    shape_tensor,
    widened,
    zero_of,
)
from graphflow.shapes import UNKNOWN, Dimension, TensorShape, as_shape
from graphflow.symbolic import ceil_div, is_symbolic

newaxis = None


def _dim(shape: TensorShape, axis: int) -> int | None:
    sizes = shape.as_tuple()
    return None if sizes is None else sizes[axis]


def _is_constant(tensor: Tensor) -> bool:
    return constant_value(tensor) is not None


# ---------------------------------------------------------------------------- the same elements, another shape


def _reshape_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 1, "shape")
    wanted: TensorShape = node.constant_shape(1)
    sizes = wanted.as_tuple()
    if sizes is None:
        return UNKNOWN
    value = node.constant(1)
    if value is not None and np.count_nonzero(value == -1) > 1:
        raise ShapeError(f"at most one size may be -1, got {value.tolist()}")
    if value is not None and np.any(value < -1):
        raise ShapeError(f"shape {value.tolist()} has negative sizes")
    count = node.inputs[0].shape.num_elements()
    open_axes = [axis for axis, size in enumerate(sizes) if size is None]
    known = math.prod(size for size in sizes if size is not None)
    if not open_axes:
        if count is not None and count != known:
            raise ShapeError(f"cannot reshape {count} elements into shape {list(sizes)} ({known} elements)")
        return wanted
    if len(open_axes) > 1:
        return wanted
    if count is None or known == 0:
        return wanted
    if count % known:
        raise ShapeError(f"cannot reshape {count} elements into {known} times a whole number")
    return TensorShape([count // known if size is None else size for size in sizes])


@op(
    "Reshape", "tensor:T; shape:Tshape", "output:T", "T:type; Tshape:type{int32|int64}=int32",
    infer=_reshape_shape, view=True,
)  # fmt: skip
def reshape_op(tensor: Array, shape: Array) -> Any:
    """The elements in row-major order under another shape; one size may be -1."""
    sizes = [int(size) for size in shape]
    if any(size < -1 for size in sizes) or sizes.count(-1) > 1:
        raise refuse(f"shape {sizes} has negative sizes or more than one -1")
    known = math.prod(size for size in sizes if size != -1)
    fits = tensor.size == known if -1 not in sizes else known != 0 and tensor.size % known == 0
    if -1 in sizes and known == 0 and tensor.size == 0:
        sizes[sizes.index(-1)] = 0
        fits = True
    if not fits:
        raise refuse(
            f"Input to reshape is a tensor with {tensor.size} values, but the requested shape {sizes} has {known}"
        )
    return np.reshape(tensor, sizes)


@reshape_op.gradient
def _reshape_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Reshape(dy, shape_tensor(op.inputs[0])), None]


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """Returns the elements of a tensor in row-major order under another shape.

    Args:
      tensor: a tensor.
      shape: sizes, one of which may be -1: what is left over.
      name: name of the operation.

    Raises:
      ValueError: if the number of elements cannot fit.
    """
    return emit.Reshape(tensor, shape, name=name)


def _expand_dims_shape(node: Any) -> TensorShape:
    sizes, axis = node.inputs[0].shape.as_tuple(), node.constant(1)
    if sizes is None:
        return UNKNOWN
    if axis is None:
        return TensorShape([None] * (len(sizes) + 1))
    if axis.size != 1:
        raise ShapeError(f"dim must be one axis, got {axis.tolist()}")
    at = canonical_axis(int(axis.ravel()[0]), len(sizes) + 1)
    return TensorShape((*sizes[:at], 1, *sizes[at:]))


@op(
    "ExpandDims", "input:T; dim:Tdim", "output:T", "T:type; Tdim:type{int32|int64}=int32",
    infer=_expand_dims_shape, view=True,
)  # fmt: skip
def expand_dims_op(input: Array, dim: Array) -> Any:
    """The input with a dimension of size one put in."""
    return np.expand_dims(input, checked_axis(dim.ravel()[0], input.ndim + 1))


@expand_dims_op.gradient
def _expand_dims_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Reshape(dy, shape_tensor(op.inputs[0])), None]


def _one_of(name: str, value: Any, old_name: str, old_value: Any) -> Any:
    """The value of an argument that has an old name too."""
    if value is not None and old_value is not None:
        raise ValueError(f"Cannot specify both '{name}' and '{old_name}'")
    return old_value if value is None else value


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Returns the input with a dimension of size one put in before `axis` (old name: `dim`).

    Raises:
      ValueError: without an axis, or for one outside [-1 - rank, rank].
    """
    axis = _one_of("axis", axis, "dim", dim)
    if axis is None:
        raise ValueError("Must specify an axis argument to tf.expand_dims()")
    return emit.ExpandDims(input, axis, name=name)


def _squeeze_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    axes = node.attrs["squeeze_dims"]
    if not axes:
        # Whether an unknown size is a one decides the rank.
        return UNKNOWN if None in sizes else TensorShape([size for size in sizes if size != 1])
    dropped = set(canonical_axes(axes, len(sizes)))
    for axis in dropped:
        if sizes[axis] not in (None, 1):
            raise ShapeError(f"cannot squeeze axis {axis}: its size is {sizes[axis]}, not 1")
    return TensorShape([size for axis, size in enumerate(sizes) if axis not in dropped])


@op("Squeeze", "input:T", "output:T", "T:type; squeeze_dims:list(int)>=0=[]", infer=_squeeze_shape, view=True)
def squeeze_op(input: Array, *, squeeze_dims: tuple[int, ...] = ()) -> Any:
    """The input without its dimensions of size one, or without those named."""
    axes = tuple(checked_axis(axis, input.ndim) for axis in squeeze_dims)
    for axis in axes:
        if input.shape[axis] != 1:
            raise refuse(f"Can not squeeze dim[{axis}], expected a dimension of 1, got {input.shape[axis]}")
    return np.squeeze(input, tuple(set(axes)) if axes else None)


@squeeze_op.gradient
def _squeeze_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Reshape(dy, shape_tensor(op.inputs[0]))]


def squeeze(input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None) -> Tensor:
    """Returns the input without its dimensions of size one, or without those in `axis` (old: `squeeze_dims`).

    Raises:
      ValueError: if a named dimension has another size.
    """
    axis = _one_of("axis", axis, "squeeze_dims", squeeze_dims)
    axes = () if axis is None else tuple(int(a) for a in np.ravel(axis))
    return emit.Squeeze(input, squeeze_dims=axes, name=name)


# ---------------------------------------------------------------------------- transposition


def _transpose_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    perm_shape = rank_exactly(node, 1, 1, "perm").as_tuple()
    perm = node.constant(1)
    count = None if perm_shape is None else perm_shape[0]
    if sizes is not None and count is not None and len(sizes) != count:
        raise ShapeError(f"perm has {count} entries, the input rank {len(sizes)}")
    rank = count if sizes is None else len(sizes)
    if rank is None:
        return UNKNOWN
    if perm is None or sizes is None:
        return TensorShape([None] * rank)
    axes = canonical_axes(perm, rank)
    if len(axes) != rank:
        raise ShapeError(f"perm {perm.tolist()} is no permutation of {rank} axes")
    return TensorShape([sizes[axis] for axis in axes])


def _permutation(perm: Array, rank: int) -> tuple[int, ...]:
    axes = tuple(checked_axis(axis, rank) for axis in perm) if len(perm) == rank else ()
    if sorted(axes) != list(range(rank)):
        raise refuse(f"perm {perm.tolist()} is no permutation of {rank} axes")
    return axes


def _inverse(perm: Tensor) -> Tensor:
    known = constant_value(perm)
    if known is None:
        return emit.InvertPermutation(perm)
    return constant(np.argsort(known % max(known.size, 1)).astype(known.dtype), name="perm")


@op("Transpose", "x:T; perm:Tperm", "y:T", "T:type; Tperm:type{int32|int64}=int32", infer=_transpose_shape)
def transpose_op(x: Array, perm: Array) -> Any:
    """The input with its dimensions in another order."""
    return np.transpose(x, _permutation(perm, x.ndim))


transpose_op.by_row(row_rules.transposed)


@transpose_op.gradient
def _transpose_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Transpose(dy, _inverse(op.inputs[1])), None]


@transpose_op.lower_index
def _transpose_index(sizes: Sizes, strides: Sizes, perm: Array) -> IndexMap:
    return 0, tuple(strides[axis] for axis in _permutation(perm, len(sizes)))


@op(
    "ConjugateTranspose", "x:T; perm:Tperm", "y:T", "T:type; Tperm:type{int32|int64}=int32",
    infer=_transpose_shape,
)  # fmt: skip
def conjugate_transpose_op(x: Array, perm: Array) -> Any:
    """The conjugate of the input with its dimensions in another order."""
    turned = np.transpose(x, _permutation(perm, x.ndim))
    return np.conj(turned) if x.dtype.kind == "c" else turned


@conjugate_transpose_op.gradient
def _conjugate_transpose_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Transpose(conjugate(dy), _inverse(op.inputs[1])), None]


def transpose(a: Any, perm: Any = None, name: str | None = "transpose", conjugate: bool = False) -> Tensor:
    """Returns a tensor with its dimensions in another order.

    Args:
      a: a tensor.
      perm: for each dimension of the result, which of `a` it is; None turns the order round.
      name: name of the operation.
      conjugate: whether to conjugate complex numbers as well.
    """
    with name_scope(name, "transpose", [a]) as scope:
        a = convert_to_tensor(a, name="a")
        emit_transpose = emit.ConjugateTranspose if conjugate and a.dtype.is_complex else emit.Transpose
        if perm is None:
            if a.shape.rank is not None:
                perm = np.arange(a.shape.rank - 1, -1, -1, dtype=np.int32)
            else:
                rank = emit.Rank(a)
                perm = emit.Sub(emit.Sub(rank, 1), emit.Range(0, rank, 1))
        return emit_transpose(a, perm, name=scope)


def matrix_transpose(a: Any, name: str | None = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """Returns a tensor with its last two dimensions exchanged.

    Raises:
      ValueError: if the rank is below 2.
    """
    with name_scope(name, "matrix_transpose", [a]):
        a = convert_to_tensor(a, name="a")
        if a.shape.rank is None:
            rank = emit.Rank(a)
            lead = emit.Range(0, emit.Sub(rank, 2), 1)
            perm: Any = emit.ConcatV2([lead, emit.Pack([emit.Sub(rank, 1), emit.Sub(rank, 2)])], 0)
        elif a.shape.rank < 2:
            raise ShapeError(f"Argument 'a' should be a (batch) matrix, with rank >= 2. Found: {a.shape}")
        else:
            rank = a.shape.rank
            perm = [*range(rank - 2), rank - 1, rank - 2]
        return transpose(a, perm, conjugate=conjugate)


def _permutation_shape(node: Any) -> TensorShape:
    return rank_exactly(node, 0, 1)


@op(
    "InvertPermutation", "x:T", "y:T", "T:type{int32|int64}=int32", infer=_permutation_shape, differentiable=False,
)  # fmt: skip
def invert_permutation_op(x: Array) -> Any:
    """The permutation that undoes a permutation."""
    if sorted(x.tolist()) != list(range(x.size)):
        raise refuse(f"{x.tolist()} is no permutation")
    return np.argsort(x).astype(x.dtype)


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """Returns the permutation that undoes the permutation `x` of 0 … n - 1."""
    return emit.InvertPermutation(x, name=name)


# ---------------------------------------------------------------------------- broadcasting, tiling


def _broadcast_to_shape(node: Any) -> TensorShape:
    wanted = shape_input(1)(node)
    shape = node.inputs[0].shape
    sizes, given = wanted.as_tuple(), shape.as_tuple()
    if sizes is not None and given is not None:
        if len(given) > len(sizes):
            raise ShapeError(f"shape {shape} cannot be broadcast to {wanted}")
        for size, target in zip(given[::-1], sizes[::-1], strict=False):
            if size not in (None, 1, target) and target is not None:
                raise ShapeError(f"shape {shape} cannot be broadcast to {wanted}")
    return wanted


@op(
    "BroadcastTo", "input:T; shape:Tidx", "output:T", "T:type; Tidx:type{int32|int64}=int32",
    infer=_broadcast_to_shape,
)  # fmt: skip
def broadcast_to_op(input: Array, shape: Array) -> Any:
    """The input repeated along dimensions of size one to fill a shape."""
    try:
        return np.broadcast_to(input, tuple(int(size) for size in shape))
    except ValueError:
        raise refuse(f"Incompatible shapes: {list(input.shape)} vs. {shape.tolist()}") from None


broadcast_to_op.by_row(row_rules.broadcast, 1)


@broadcast_to_op.gradient
def _broadcast_to_gradient(op: Any, dy: Any) -> list[Any]:
    x, y = op.inputs[0], op.outputs[0]
    have, want = x.shape.as_tuple(), y.shape.as_tuple()
    if have is not None and want is not None and None not in have:
        lead = len(want) - len(have)
        axes = [*range(lead), *(lead + axis for axis, size in enumerate(have) if size == 1)]
        summed = emit.Sum(dy, np.array(axes, np.int32)) if axes else dy
        return [emit.Reshape(summed, shape_tensor(x)), None]
    wanted = emit.Shape(x)
    axes, _ = emit.BroadcastGradientArgs(wanted, emit.Shape(y))
    return [emit.Reshape(emit.Sum(dy, axes), wanted), None]


@broadcast_to_op.lower_index
def _broadcast_to_index(sizes: Sizes, strides: Sizes, shape: Array) -> IndexMap:
    lead = len(shape) - len(sizes)
    inner = (
        0 if size == 1 and target != 1 else stride
        for size, stride, target in zip(sizes, strides, shape[lead:], strict=True)
    )
    return 0, (*([0] * lead), *inner)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """Returns the input repeated along dimensions of size one to fill a shape."""
    return emit.BroadcastTo(input, shape, name=name)


def _tile_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    multiples: TensorShape = node.constant_shape(1)
    rank_exactly(node, 1, 1, "multiples")
    times = multiples.as_tuple()
    if sizes is None and times is None:
        return UNKNOWN
    sizes = (None,) * len(times or ()) if sizes is None else sizes
    times = (None,) * len(sizes) if times is None else times
    if len(sizes) != len(times):
        raise ShapeError(f"multiples has {len(times)} entries, the input rank {len(sizes)}")
    return TensorShape(
        [
            0 if 0 in (size, n) else None if size is None or n is None else size * n
            for size, n in zip(sizes, times, strict=True)
        ]
    )


@op(
    "Tile", "input:T; multiples:Tmultiples", "output:T", "T:type; Tmultiples:type{int32|int64}=int32",
    infer=_tile_shape, lowering="tile",
)  # fmt: skip
def tile_op(input: Array, multiples: Array) -> Any:
    """The input repeated whole, so many times along each dimension."""
    if len(multiples) != input.ndim or np.any(multiples < 0):
        raise refuse(f"multiples {multiples.tolist()} do not fit shape {list(input.shape)}")
    return np.tile(input, tuple(int(n) for n in multiples))


tile_op.by_row(row_rules.tiled, 1)


@tile_op.gradient
def _tile_gradient(op: Any, dy: Any) -> list[Any]:
    x, multiples = op.inputs
    times = constant_value(multiples)
    sizes = x.shape.as_tuple()
    if times is not None and sizes is not None and None not in sizes:
        pairs: Any = [int(n) for pair in zip(times, sizes, strict=True) for n in pair]
        axes: Any = np.arange(0, 2 * len(sizes), 2, dtype=np.int32)
        pairs = np.array(pairs, np.int32)
    else:
        shape = emit.Shape(x, out_type=multiples.dtype)
        pairs = emit.Reshape(emit.Transpose(emit.Pack([multiples, shape]), [1, 0]), [-1])
        axes = emit.Range(0, emit.Size(pairs), 2)
    summed = emit.Sum(emit.Reshape(dy, pairs), axes)
    return [emit.Reshape(summed, shape_tensor(x)), None]


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """Returns the input repeated `multiples[i]` times along dimension i."""
    return emit.Tile(input, multiples, name=name)


# ---------------------------------------------------------------------------- joining


def _joined_shape(shapes: Sequence[TensorShape], axis: Array | None) -> TensorShape:
    ranks = {shape.rank for shape in shapes if shape.rank is not None}
    if len(ranks) > 1:
        raise ShapeError(f"the tensors must have one rank, have shapes {', '.join(map(str, shapes))}")
    if not ranks:
        return UNKNOWN
    rank = ranks.pop()
    if axis is None:
        return TensorShape([None] * rank)
    if rank == 0:
        raise ShapeError("cannot concatenate scalars; use stack")
    at = canonical_axis(int(axis), rank)
    total: int | None = 0
    rest = TensorShape([None] * rank)
    for position, shape in enumerate(shapes):
        sizes = shape.as_tuple() or (None,) * rank
        size = sizes[at]
        total = None if total is None or size is None else total + size
        try:
            rest = rest.merge_with((*sizes[:at], None, *sizes[at + 1 :]))
        except ValueError:
            raise ShapeError(
                f"sizes may differ only in axis {at}; tensor {position} has shape {shape}, those before {rest}"
            ) from None
    sizes = rest.as_tuple() or ()
    return TensorShape((*sizes[:at], total, *sizes[at + 1 :]))


def _concat_v2_shape(node: Any) -> TensorShape:
    rank_exactly(node, len(node.inputs) - 1, 0, "axis")
    return _joined_shape([value.shape for value in node.inputs[:-1]], node.constant(len(node.inputs) - 1))


def _concat_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 0, "concat_dim")
    return _joined_shape([value.shape for value in node.inputs[1:]], node.constant(0))


def _concatenate(values: list[Array], axis: Array) -> Any:
    try:
        return np.concatenate(values, checked_axis(axis, values[0].ndim))
    except ValueError as error:
        raise refuse(f"ConcatOp: {error}") from None


@op(
    "ConcatV2", "values:N*T; axis:Tidx", "output:T", "N:int>=2; T:type; Tidx:type{int32|int64}=int32",
    infer=_concat_v2_shape, lowering="concat",
)  # fmt: skip
def concat_v2_op(values: list[Array], axis: Array) -> Any:
    """The tensors joined along an axis."""
    return _concatenate(values, axis)


concat_v2_op.by_row(row_rules.joined(-1))


def _pieces(parts: Sequence[Tensor], axis: Tensor, dy: Tensor) -> list[Tensor]:
    """The parts of a joined cotangent."""
    at = constant_value(axis)
    rank = next((part.shape.rank for part in parts if part.shape.rank is not None), None)
    if at is not None and rank is not None:
        along = int(at) % rank
        sizes = [_dim(part.shape, along) for part in parts]
        if None not in sizes:
            where = constant(along, dtypes.int32)
            if len(set(sizes)) == 1:
                return emit.Split(where, dy, num_split=len(parts))
            return emit.SplitV(dy, np.array(sizes, np.int32), where, num_split=len(parts))
    shapes = emit.ShapeN(list(parts))
    position = emit.FloorMod(emit.Cast(axis, DstT=dtypes.int32), emit.Rank(dy))
    offsets = emit.ConcatOffset(position, shapes)
    return [emit.Slice(dy, offset, shape) for offset, shape in zip(offsets, shapes, strict=True)]


@concat_v2_op.gradient
def _concat_v2_gradient(op: Any, dy: Any) -> list[Any]:
    return [*_pieces(op.inputs[:-1], op.inputs[-1], dy), None]


def _joined_as_shape(node: Any, positions: range) -> TensorShape:
    result = TensorShape(())
    for position in positions:
        result = result.concatenate(node.constant_shape(position))
    return result


@concat_v2_op.value_as_shape
def _concat_v2_as_shape(node: Any) -> TensorShape:
    return _joined_as_shape(node, range(len(node.inputs) - 1))


@op("Concat", "concat_dim:int32; values:N*T", "output:T", "N:int>=2; T:type", infer=_concat_shape)
def concat_op(concat_dim: Array, values: list[Array]) -> Any:
    """The tensors joined along an axis."""
    return _concatenate(values, concat_dim)


concat_op.by_row(row_rules.joined(0))


@concat_op.gradient
def _concat_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, *_pieces(op.inputs[1:], op.inputs[0], dy)]


@concat_op.value_as_shape
def _concat_as_shape(node: Any) -> TensorShape:
    return _joined_as_shape(node, range(1, len(node.inputs)))


def concat(values: Any, axis: Any, name: str | None = "concat") -> Tensor:
    """Returns a list of tensors joined along an axis.

    Args:
      values: tensors whose sizes agree in all other dimensions.
      axis: an int or int32 scalar, negative from the end.
      name: name of the operation.

    Raises:
      ValueError: if the shapes do not fit.
      TypeError: for an axis before the values, as it was before TensorFlow 1.0.
    """
    if isinstance(values, int | np.integer) and isinstance(axis, list | tuple):
        raise TypeError(
            f"concat takes the tensors first and then the axis: concat(values, {int(values)}); the other order is that "
            "of TensorFlow before 1.0"
        )
    if not isinstance(values, list | tuple):
        values = [values]
    if len(values) == 1:
        with name_scope(name, "concat"):
            convert_to_tensor(axis, dtypes.int32, name="concat_dim").shape.assert_has_rank(0)
            return emit.Identity(values[0], name=name or "concat")
    return emit.ConcatV2(list(values), axis, name=name or "concat")


def _concat_offset_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 0, "concat_dim")
    return [value.shape for value in node.inputs[1:]]


@op(
    "ConcatOffset", "concat_dim:int32; shape:N*shape_type", "offset:N*shape_type",
    "N:int>=2; shape_type:type{int32|int64}=int32", infer=_concat_offset_shape, differentiable=False,
)  # fmt: skip
def concat_offset_op(concat_dim: Array, shape: list[Array]) -> Any:
    """For shapes joined along an axis, where in the result each begins."""
    at = checked_axis(concat_dim, len(shape[0]))
    offsets, total = [], 0
    for sizes in shape:
        offset = np.zeros_like(sizes)
        offset[at] = total
        offsets.append(offset)
        total += sizes[at]
    return offsets


def _pack_shape(node: Any) -> TensorShape:
    shape = merged(node)
    if shape.rank is None:
        return UNKNOWN
    at = canonical_axis(node.attrs["axis"], shape.rank + 1)
    sizes = shape.as_tuple() or ()
    return TensorShape((*sizes[:at], len(node.inputs), *sizes[at:]))


@op("Pack", "values:N*T", "output:T", "N:int>=1; T:type; axis:int=0", infer=_pack_shape, lowering="pack")
def pack_op(values: list[Array], *, axis: int = 0) -> Any:
    """The tensors stacked along a new axis."""
    try:
        return np.stack(values, axis)
    except ValueError as error:
        raise refuse(f"Shapes of all inputs must match: {error}") from None


pack_op.by_row(row_rules.packed)


def _parallel_concat_shape(node: Any) -> TensorShape:
    whole = as_shape(node.attrs["shape"])
    for i, value in enumerate(node.inputs):
        if not value.shape.is_compatible_with([1, *whole[1:]]):
            raise ShapeError(f"values[{i}] has shape {value.shape}, expected one row of {whole}")
    if whole.rank and whole[0] not in (None, len(node.inputs)):
        raise ShapeError(f"{len(node.inputs)} rows do not make the shape {whole}")
    return whole


@op("ParallelConcat", "values:N*T", "output:T", "N:int>=1; T:type; shape:shape", infer=_parallel_concat_shape,
    differentiable=False)  # fmt: skip
def parallel_concat_op(values: list[Array]) -> Any:
    """Tensors of one row each, one below the other."""
    if any(value.shape != (1, *values[0].shape[1:]) for value in values):
        raise refuse(f"All inputs must be one row of one shape, are {[list(v.shape) for v in values]}")
    return np.concatenate(values)


@pack_op.gradient
def _pack_gradient(op: Any, dy: Any) -> list[Any]:
    return list(emit.Unpack(dy, num=len(op.inputs), axis=op.attrs["axis"]))


@pack_op.value_as_shape
def _pack_as_shape(node: Any) -> TensorShape:
    values = [node.constant(position) for position in range(len(node.inputs))]
    if node.inputs[0].shape.rank != 0:
        raise ShapeError("a shape must be a vector")
    for value in values:
        if value is not None and int(value) < -1:
            raise ShapeError(f"a shape must not have negative sizes, got {int(value)}")
    return TensorShape([None if value is None or int(value) == -1 else int(value) for value in values])


def stack(values: Any, axis: int = 0, name: str | None = "stack") -> Tensor:
    """Returns a list of tensors of one shape stacked along a new axis.

    Raises:
      ValueError: if the shapes differ or the axis is outside [-(rank + 1), rank + 1).
    """
    if axis == 0:
        try:
            # What are only numbers becomes one constant.
            value = convert_to_tensor(values, name=name)
            if value.shape.rank is not None and value.op.type in ("Const", "Pack"):
                return value
        except (TypeError, ValueError):
            pass  # tensors of unlike dtypes: Pack says so
    return emit.Pack(list(values), axis=axis, name=name or "stack")


# ---------------------------------------------------------------------------- cutting apart


def _unpack_shape(node: Any) -> list[TensorShape]:
    num = node.attrs["num"]
    sizes = rank_at_least(node, 0, 1, "value").as_tuple()
    if sizes is None:
        return [UNKNOWN] * num
    at = canonical_axis(node.attrs["axis"], len(sizes))
    if sizes[at] not in (None, num):
        raise ShapeError(f"axis {at} has size {sizes[at]}, not num = {num}")
    return [TensorShape(sizes[:at] + sizes[at + 1 :])] * num


@op("Unpack", "value:T", "output:num*T", "num:int>=0; T:type; axis:int=0", infer=_unpack_shape)
def unpack_op(value: Array, *, num: int, axis: int = 0) -> Any:
    """The slices along an axis, without that axis."""
    at = checked_axis(axis, value.ndim)
    if value.shape[at] != num:
        raise refuse(f"Input shape axis {at} must equal {num}, got shape {list(value.shape)}")
    return [np.take(value, i, at) for i in range(num)]


unpack_op.by_row(row_rules.unpacked)


@unpack_op.gradient
def _unpack_gradient(op: Any, *dys: Any) -> list[Any]:
    return [emit.Pack(materialized(op, dys), axis=op.attrs["axis"])]


@unpack_op.lower_index
def _unpack_index(sizes: Sizes, strides: Sizes, *, axis: int = 0) -> list[IndexMap]:
    at = axis % len(sizes)
    rest = strides[:at] + strides[at + 1 :]
    return [(i * strides[at], rest) for i in range(sizes[at])]


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str | None = "unstack") -> list[Tensor]:
    """Returns the slices of a tensor along an axis, as a list.

    Args:
      value: a tensor of rank 1 or more.
      num: the size of the axis; None takes it from the shape.
      axis: the axis, which the slices lack.
      name: name of the operation.

    Raises:
      ValueError: if `num` is None and the size unknown, or if it differs.
    """
    value = convert_to_tensor(value)
    if num is None:
        rank = value.shape.rank
        if rank is not None:
            num = _dim(value.shape, canonical_axis(axis, rank))
        if num is None:
            raise ValueError(f"Cannot infer num from shape {value.shape}")
    return emit.Unpack(value, num=num, axis=axis, name=name or "unstack")


def _split_shape(node: Any) -> list[TensorShape]:
    num, axis = node.attrs["num_split"], node.constant(0)
    rank_exactly(node, 0, 0, "split_dim")
    sizes = rank_at_least(node, 1, 1, "value").as_tuple()
    if sizes is None:
        return [UNKNOWN] * num
    if axis is None:
        return [TensorShape([None] * len(sizes))] * num
    at = canonical_axis(int(axis), len(sizes))
    size = sizes[at]
    if size is not None and size % num:
        raise ShapeError(f"axis {at} of size {size} cannot be split into {num} equal parts")
    return [TensorShape((*sizes[:at], None if size is None else size // num, *sizes[at + 1 :]))] * num


@op("Split", "split_dim:int32; value:T", "output:num_split*T", "num_split:int>=1; T:type", infer=_split_shape)
def split_op(split_dim: Array, value: Array, *, num_split: int) -> Any:
    """Equal parts along an axis."""
    at = checked_axis(split_dim, value.ndim)
    if value.shape[at] % num_split:
        raise refuse(
            f"Number of ways to split should evenly divide the split dimension, but got split_dim {at} "
            f"(size = {value.shape[at]}) and num_split {num_split}"
        )
    return list(np.split(value, num_split, at))


split_op.by_row(row_rules.split(1, 0))


@split_op.gradient
def _split_gradient(op: Any, *dys: Any) -> list[Any]:
    parts = materialized(op, dys)
    return [None, parts[0] if len(parts) == 1 else emit.ConcatV2(parts, op.inputs[0])]


def _cut_maps(sizes: Sizes, strides: Sizes, axis: int, lengths: Sequence[int]) -> list[IndexMap]:
    maps, start = [], 0
    for length in lengths:
        maps.append((start * strides[axis], strides))
        start += length
    return maps


@split_op.lower_index
def _split_index(sizes: Sizes, strides: Sizes, split_dim: Array, *, num_split: int) -> list[IndexMap]:
    at = int(split_dim) % len(sizes)
    return _cut_maps(sizes, strides, at, [sizes[at] // num_split] * num_split)


def _split_v_lengths(lengths: Sequence[int], size: int | None) -> list[int | None]:
    """The lengths of the parts with one -1 resolved, if `size` is known."""
    if lengths.count(-1) > 1:
        raise ShapeError(f"at most one size may be -1, got {list(lengths)}")
    if any(length < -1 for length in lengths):
        raise ShapeError(f"sizes must not be negative, got {list(lengths)}")
    given = sum(length for length in lengths if length >= 0)
    if size is not None and (given > size or (-1 not in lengths and given != size)):
        raise ShapeError(f"sizes {list(lengths)} do not add up to {size}")
    rest = None if size is None else size - given
    return [rest if length == -1 else length for length in lengths]


def _split_v_shape(node: Any) -> list[TensorShape]:
    num, lengths, axis = node.attrs["num_split"], node.constant(1), node.constant(2)
    sizes = rank_at_least(node, 0, 1, "value").as_tuple()
    count = rank_exactly(node, 1, 1, "size_splits").as_tuple()
    if count is not None and count[0] not in (None, num):
        raise ShapeError(f"size_splits has {count[0]} entries, num_split is {num}")
    if sizes is None:
        return [UNKNOWN] * num
    if axis is None:
        return [TensorShape([None] * len(sizes))] * num
    at = canonical_axis(int(axis), len(sizes))
    parts: list[int | None] = [None] * num
    if lengths is not None:
        parts = _split_v_lengths(lengths.tolist(), sizes[at])
    elif num == 1:
        parts = [sizes[at]]
    return [TensorShape((*sizes[:at], part, *sizes[at + 1 :])) for part in parts]


@op(
    "SplitV", "value:T; size_splits:Tlen; split_dim:int32", "output:num_split*T",
    "num_split:int>=1; T:type; Tlen:type{int8|int32|int64}=int64", infer=_split_v_shape,
)  # fmt: skip
def split_v_op(value: Array, size_splits: Array, split_dim: Array) -> Any:
    """Parts of given sizes along an axis; one size may be -1."""
    at = checked_axis(split_dim, value.ndim)
    try:
        lengths = _split_v_lengths(size_splits.tolist(), value.shape[at])
    except ShapeError as error:
        raise refuse(str(error)) from None
    ends = np.cumsum([length or 0 for length in lengths])[:-1]
    return list(np.split(value, ends, at))


split_v_op.by_row(row_rules.split(0, 2))


@split_v_op.gradient
def _split_v_gradient(op: Any, *dys: Any) -> list[Any]:
    parts = materialized(op, dys)
    return [parts[0] if len(parts) == 1 else emit.ConcatV2(parts, op.inputs[2]), None, None]


@split_v_op.lower_index
def _split_v_index(sizes: Sizes, strides: Sizes, size_splits: Array, split_dim: Array) -> list[IndexMap]:
    at = int(split_dim) % len(sizes)
    lengths = _split_v_lengths(size_splits.tolist(), sizes[at])
    return _cut_maps(sizes, strides, at, [length or 0 for length in lengths])


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str | None = "split"
) -> list[Tensor]:
    """Returns the parts of a tensor along an axis, as a list.

    Args:
      value: a tensor.
      num_or_size_splits: the number of equal parts, or the sizes of the parts (one may be -1).
      axis: the axis, an int or int32 scalar.
      num: the number of parts, where the sizes are a tensor of unknown length.
      name: name of the operation.

    Raises:
      ValueError: if the parts do not fit, or their number is unknown.
    """
    name = name or "split"
    if isinstance(num_or_size_splits, int | np.integer | Dimension):
        return emit.Split(axis, value, num_split=int(num_or_size_splits), name=name)
    lengths = convert_to_tensor(num_or_size_splits)
    if lengths.shape.rank == 0:
        raise ValueError(
            "Rank-0 tensors are not supported as the num_or_size_splits argument to split. Argument provided: "
            f"{num_or_size_splits}"
        )
    if num is None:
        num = _dim(lengths.shape, 0)
        if num is None:
            raise ValueError(f"Cannot infer num from shape {lengths.shape}")
    return emit.SplitV(value, lengths, axis, num_split=num, name=name)


def _slice_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    counts = {
        dims[0]
        for dims in (rank_exactly(node, i, 1, what).as_tuple() for i, what in ((1, "begin"), (2, "size")))
        if dims is not None and dims[0] is not None
    }
    if sizes is not None:
        counts.add(len(sizes))
    if len(counts) > 1:
        raise ShapeError(f"begin and size must have one entry per dimension, shape {node.inputs[0].shape}")
    if not counts:
        return UNKNOWN
    (rank,) = counts
    begin, size = node.constant(1), node.constant(2)
    starts: Sequence[Any] = [None] * rank if begin is None else begin.tolist()
    lengths: Sequence[Any] = (
        node.constant_shape(2).as_tuple() or [None] * rank if size is None else size.tolist()
    )
    result: list[int | None] = []
    for axis in range(rank):
        have = None if sizes is None else sizes[axis]
        start, length = starts[axis], lengths[axis]
        if start is not None and start < 0:
            raise ShapeError(f"begin must not be negative, got {starts}")
        if size is not None and length == -1:
            result.append(None if have is None or start is None else have - start)
            if result[-1] is not None and result[-1] < 0:
                raise ShapeError(f"begin {start} lies behind the end of axis {axis}, of size {have}")
            continue
        if length is not None and length < 0:
            raise ShapeError(f"size must be -1 or more, got {length}")
        if have is not None and start is not None and length is not None and start + length > have:
            raise ShapeError(f"axis {axis} of size {have} does not reach from {start} over {length} elements")
        result.append(length)
    return TensorShape(result)


def _slice_bounds(shape: Sizes, begin: Array, size: Array) -> list[tuple[int, int]]:
    if len(begin) != len(shape) or len(size) != len(shape):
        raise refuse(f"begin and size must have {len(shape)} entries")
    bounds = []
    for axis, (have, start, length) in enumerate(zip(shape, begin.tolist(), size.tolist(), strict=True)):
        length = have - start if length == -1 else length
        if start < 0 or length < 0 or start + length > have:
            raise refuse(f"Expected size[{axis}] in [0, {have - start}], but got {length} from {start}")
        bounds.append((start, length))
    return bounds


@op(
    "Slice",
    "input:T; begin:Index; size:Index",
    "output:T",
    "T:type; Index:type{int32|int64}",
    infer=_slice_shape,
)
def slice_op(input: Array, begin: Array, size: Array) -> Any:
    """The block of `size` elements (-1: all that are left) from `begin` on."""
    return input[tuple(np.s_[s : s + n] for s, n in _slice_bounds(input.shape, begin, size))]


slice_op.by_row(row_rules.sliced, 2)


@slice_op.gradient
def _slice_gradient(op: Any, dy: Any) -> list[Any]:
    x, begin, _ = op.inputs
    start = constant_value(begin)
    have, want = x.shape.as_tuple(), op.outputs[0].shape.as_tuple()
    if start is not None and have is not None and want is not None and None not in have + want:
        ends = [int(h) - int(s) - int(w) for h, s, w in zip(have, start, want, strict=True)]
        paddings: Any = np.stack([start, np.array(ends, start.dtype)], 1)
    else:
        size = emit.Shape(op.outputs[0], out_type=begin.dtype)
        end = emit.Sub(emit.Sub(emit.Shape(x, out_type=begin.dtype), begin), size)
        paddings = emit.Pack([begin, end], axis=1)
    padded = emit.Pad(dy, paddings)
    padded.set_shape(x.shape)
    return [padded, None, None]


@slice_op.lower_index
def _slice_index(sizes: Sizes, strides: Sizes, begin: Array, size: Array) -> IndexMap:
    bounds = _slice_bounds(sizes, begin, size)
    return sum(start * stride for (start, _), stride in zip(bounds, strides, strict=True)), strides


def slice(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """Returns the block of `size` elements (-1: all that are left) from `begin` on.

    Args:
      input_: a tensor.
      begin: one index per dimension.
      size: one length per dimension.
      name: name of the operation.
    """
    return emit.Slice(input_, begin, size, name=name)


# ---------------------------------------------------------------------------- Python's indexing

_MASKS = "begin_mask:int=0; end_mask:int=0; ellipsis_mask:int=0; new_axis_mask:int=0; shrink_axis_mask:int=0"
_MASK_NAMES = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_slice = type(np.s_[:])  # the builtin, whose name `tf.slice` takes in this module


def _mask_table(*masks: int) -> dict[str, int]:
    return dict(zip(_MASK_NAMES, masks, strict=True))


class _Spec:
    """Where each entry of a strided slice applies.

    Attributes:
      entries: per dimension of the input (start, stop, step, shrink) with None for open bounds; an entry that
        is not known yet is `...`.
      order: the axes of the input, with None where a new axis goes in.
    """

    def __init__(
        self,
        rank: int,
        begin: Sequence[Any],
        end: Sequence[Any],
        step: Sequence[Any],
        masks: dict[str, int],
    ) -> None:
        begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask = (masks[n] for n in _MASK_NAMES)
        if ellipsis_mask & (ellipsis_mask - 1):
            raise ShapeError("at most one ellipsis may be used")
        count = len(begin)
        if len(end) != count or len(step) != count:
            raise ShapeError(
                f"begin, end and strides must have one length, have {count}, {len(end)}, {len(step)}"
            )
        used = [i for i in range(count) if not (ellipsis_mask | new_axis_mask) >> i & 1]
        missing = rank - len(used)
        if missing < 0:
            raise ShapeError(f"too many indices: {len(used)} for rank {rank}")
        self.entries: list[tuple[Any, Any, Any, bool]] = []
        self.order: list[int | None] = []

        def add(start: Any, stop: Any, stride: Any, shrink: bool) -> None:
            self.order.append(len(self.entries))
            self.entries.append((start, stop, stride, shrink))

        def whole(axes: int) -> None:
            for _ in range(axes):
                add(None, None, 1, False)

        for i in range(count):
            if ellipsis_mask >> i & 1:
                whole(missing)
                missing = 0
            elif new_axis_mask >> i & 1:
                self.order.append(None)
            elif shrink_axis_mask >> i & 1:
                if step[i] is not ... and step[i] <= 0:
                    raise ShapeError("only stride 1 allowed on non-range indexing")
                add(begin[i], None, 1, True)
            elif step[i] == 0:
                raise ShapeError(f"strides[{i}] must be non-zero")
            else:
                start = None if begin_mask >> i & 1 else begin[i]
                stop = None if end_mask >> i & 1 else end[i]
                add(start, stop, step[i], False)
        whole(missing)

    @property
    def output(self) -> list[int | None]:
        """Per dimension of the result the axis of the input it comes from, None for a new axis."""
        return [axis for axis in self.order if axis is None or not self.entries[axis][3]]

    def size(self, axis: int, have: int | None) -> int | None:
        """The size that an input dimension has in the result, if it is known."""
        start, stop, step, _ = self.entries[axis]
        if step is ...:
            return 0 if have == 0 else None
        if have is None or start is ... or stop is ...:
            if start is not ... and stop is not ... and _surely_empty(start, stop, step):
                return 0
            return None
        return _picked(have, start, stop, step)

    def check(self, axis: int, have: int | None) -> None:
        """Refuses a single index outside its dimension."""
        start, _, _, shrink = self.entries[axis]
        if shrink and start is not ... and have is not None and not -have <= start < have:
            raise ShapeError(f"slice index {start} of dimension {axis} out of bounds (size {have})")


def _ends(have: int, start: int | None, stop: int | None, step: int) -> tuple[int, int]:
    """Where a slice of a dimension begins, and before which element it ends; sizes may be symbolic."""
    low, high = (0, have) if step > 0 else (-1, have - 1)

    def at(bound: int | None, default: int) -> int:
        if bound is None:
            return default
        if bound < 0:
            bound += have
        return low if bound < low else high if bound > high else bound

    return (at(start, low), at(stop, high)) if step > 0 else (at(start, high), at(stop, low))


def _picked(have: int, start: int | None, stop: int | None, step: int) -> int:
    """How many elements of a dimension a slice picks; sizes may be symbolic."""
    first, end = _ends(have, start, stop, step)
    distance = end - first if step > 0 else first - end
    if distance <= 0:
        return 0
    count: int = distance if abs(step) == 1 else ceil_div(distance, abs(step))
    return count


def _surely_empty(start: Any, stop: Any, step: Any) -> bool:
    """Whether a range is empty whatever the size of its dimension."""
    if start is None or stop is None or (start < 0) != (stop < 0):
        return False
    return bool(start >= stop) if step > 0 else bool(start <= stop)


def _vector_entries(node: Any, position: int, count: int) -> list[Any]:
    """The entries of an index vector; `...` where they are not known yet."""
    value = node.constant(position)
    if value is not None:
        return value.tolist()
    try:
        partial = node.constant_shape(position).as_tuple()
    except ValueError:  # entries that no shape can have
        partial = None
    if partial is None or len(partial) != count:
        return [...] * count
    return [... if entry is None else entry for entry in partial]


def _strided_slice_spec(node: Any, rank: int, first: int) -> _Spec | None:
    shapes = [rank_exactly(node, first + i, 1, what) for i, what in enumerate(("begin", "end", "strides"))]
    count = _dim(shapes[0].merge_with(shapes[1]).merge_with(shapes[2]), 0)
    if count is None:
        return None
    begin, end, step = (_vector_entries(node, first + i, count) for i in range(3))
    return _Spec(rank, begin, end, step, node.attrs)


def _strided_slice_shape(node: Any) -> TensorShape:
    return _part_shape(node, node.inputs[0].shape.as_tuple())


def _part_shape(node: Any, sizes: tuple[int | None, ...] | None) -> TensorShape:
    """The shape of the slice, whose bounds are inputs 1 to 3, of a tensor with such sizes."""
    spec = None if sizes is None else _strided_slice_spec(node, len(sizes), 1)
    if sizes is None or spec is None:
        return UNKNOWN
    for axis, size in enumerate(sizes):
        spec.check(axis, size)
    return TensorShape([1 if axis is None else spec.size(axis, sizes[axis]) for axis in spec.output])


def _spec_of(rank: int, begin: Array, end: Array, strides: Array, masks: dict[str, int]) -> _Spec:
    try:
        return _Spec(rank, begin.tolist(), end.tolist(), strides.tolist(), masks)
    except ShapeError as error:
        raise refuse(str(error)) from None


def _numpy_index(
    shape: Sizes, begin: Array, end: Array, strides: Array, masks: dict[str, int]
) -> tuple[Any, ...]:
    spec = _spec_of(len(shape), begin, end, strides, masks)
    index: list[Any] = []
    for axis, (start, stop, step, shrink) in enumerate(spec.entries):
        try:
            spec.check(axis, shape[axis])
        except ShapeError as error:
            raise refuse(str(error)) from None
        index.append(start if shrink else _slice(start, stop, step))
    return tuple(None if axis is None else index[axis] for axis in spec.order)


@op(
    "StridedSlice", "input:T; begin:Index; end:Index; strides:Index", "output:T",
    f"T:type; Index:type{{int16|int32|int64}}; {_MASKS}", infer=_strided_slice_shape,
)  # fmt: skip
def strided_slice_op(
    input: Array,
    begin: Array,
    end: Array,
    strides: Array,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Any:
    """What Python's `input[begin:end:strides, …]` gives; the masks say what each entry stands for."""
    masks = _mask_table(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    return input[_numpy_index(input.shape, begin, end, strides, masks)]


@strided_slice_op.by_row
def _strided_slice_rows(node: Any, given: Sequence[row_rules.Given]) -> row_rules.Found:
    """The rows stay where they are if the slice takes all of them."""
    found, bounds = given[0], [value.constant for value in node.inputs[1:]]
    if not isinstance(found, row_rules.Along) or any(bound is None for bound in bounds):
        raise row_rules.NotByRow("takes a slice that only the run knows")
    sizes = node.inputs[0].shape.as_list()
    begin, end, strides = bounds
    spec = _spec_of(len(sizes), begin, end, strides, node.attrs)
    _, _, step, shrink = spec.entries[found.axis]
    if shrink or step != 1 or not row_rules.same(spec.size(found.axis, sizes[found.axis]), sizes[found.axis]):
        raise row_rules.NotByRow("takes some rows of the batch")
    return [row_rules.Along(spec.output.index(found.axis), found.each)]


def _masks(op: Any) -> dict[str, int]:
    return {name: op.attrs[name] for name in _MASK_NAMES}


@strided_slice_op.gradient
def _strided_slice_gradient(op: Any, dy: Any) -> list[Any]:
    x, begin, end, strides = op.inputs
    shape = shape_tensor(x, begin.dtype if begin.dtype is not dtypes.int16 else dtypes.int32)
    if begin.dtype is dtypes.int16:
        begin, end, strides = (emit.Cast(value, DstT=dtypes.int32) for value in (begin, end, strides))
    back = emit.StridedSliceGrad(shape, begin, end, strides, dy, **_masks(op))
    back.set_shape(x.shape)
    return [back, None, None, None]


@strided_slice_op.lower_index
def _strided_slice_index(
    sizes: Sizes,
    strides: Sizes,
    begin: Array,
    end: Array,
    steps: Array,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> IndexMap:
    masks = _mask_table(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    spec = _spec_of(len(sizes), begin, end, steps, masks)
    offset, moves = 0, []
    for (start, stop, step, shrink), size, stride in zip(spec.entries, sizes, strides, strict=True):
        if shrink:
            offset += (start % size if size else 0) * stride
            moves.append(0)
            continue
        first, _ = _ends(size, start, stop, step)
        # An empty range may begin outside; nothing is read then.
        offset += min(max(first, 0), max(size - 1, 0)) * stride
        moves.append(step * stride)
    return offset, tuple(0 if axis is None else moves[axis] for axis in spec.output)


def _is_plain_slice(attrs: dict[str, Any]) -> bool:
    return not (attrs["ellipsis_mask"] or attrs["new_axis_mask"] or attrs["shrink_axis_mask"])


@strided_slice_op.value_as_shape
def _strided_slice_as_shape(node: Any) -> TensorShape:
    bounds = [node.constant(i) for i in (1, 2, 3)]
    whole = node.constant_shape(0)
    sizes = whole.as_tuple()
    if (
        sizes is None
        or any(bound is None or bound.size != 1 for bound in bounds)
        or not _is_plain_slice(node.attrs)
    ):
        return UNKNOWN
    begin, end, strides = bounds
    (start, stop, step, _) = _spec_of(1, begin, end, strides, node.attrs).entries[0]
    return TensorShape(sizes[_slice(start, stop, step)])


@strided_slice_op.constant
def _strided_slice_value(node: Any) -> Array | None:
    bounds = [node.constant(i) for i in (1, 2, 3)]
    shape = node.inputs[0].shape
    if any(bound is None for bound in bounds) or shape.rank != 1 or not node.inputs[0].dtype.is_integer:
        return None
    value = node.constant(0)
    if value is None:
        # One size of a shape may be known where others are not.
        others = node.attrs["new_axis_mask"] | node.attrs["ellipsis_mask"]
        if node.attrs["shrink_axis_mask"] != 1 or bounds[0].size != 1 or others:
            return None
        try:
            sizes = node.constant_shape(0).as_tuple()
        except ValueError:
            return None
        index = int(bounds[0][0])
        if sizes is None or not -len(sizes) <= index < len(sizes) or sizes[index] is None:
            return None
        return np.array(sizes[index], node.inputs[0].dtype.numpy)
    try:
        begin, end, strides = bounds
        return np.asarray(value[_numpy_index(value.shape, begin, end, strides, node.attrs)])
    except InvalidArgumentError:
        return None


def _strided_slice_grad_shape(node: Any) -> TensorShape:
    shape = shape_input(0)(node)
    part, given = _part_shape(node, shape.as_tuple()), node.inputs[4].shape
    if not part.is_compatible_with(given):
        raise ShapeError(f"dy has shape {given}, the slice of {shape} has {part}")
    return shape


@op(
    "StridedSliceGrad", "shape:Index; begin:Index; end:Index; strides:Index; dy:T", "output:T",
    f"T:type; Index:type{{int32|int64}}; {_MASKS}", infer=_strided_slice_grad_shape, lowering="strided_slice_grad",
)  # fmt: skip
def strided_slice_grad_op(
    shape: Array,
    begin: Array,
    end: Array,
    strides: Array,
    dy: Array,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Any:
    """Zeros of a shape with `dy` where the strided slice would read."""
    masks = _mask_table(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    result = np.zeros(tuple(int(size) for size in shape), dy.dtype)
    where = _numpy_index(result.shape, begin, end, strides, masks)
    part = result[where]
    if part.shape != dy.shape:
        raise refuse(
            f"dy has shape {list(dy.shape)}, the slice of {list(result.shape)} has {list(part.shape)}"
        )
    result[where] = dy
    return result


@strided_slice_grad_op.gradient
def _strided_slice_grad_gradient(op: Any, dz: Any) -> list[Any]:
    _, begin, end, strides, _ = op.inputs
    return [None, None, None, None, emit.StridedSlice(dz, begin, end, strides, **_masks(op))]


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
    name: str | None = None,
) -> Tensor:
    """Returns what Python's `input_[begin:end:strides, …]` gives.

    Args:
      input_: a tensor.
      begin: the first index per entry.
      end: the index behind the last per entry.
      strides: the step per entry; None is ones.
      begin_mask: bit i set: entry i begins at the very first (last, for negative steps) element.
      end_mask: bit i set: entry i reaches to the very end.
      ellipsis_mask: bit i set: entry i stands for all dimensions that are left.
      new_axis_mask: bit i set: entry i is a new dimension of size one.
      shrink_axis_mask: bit i set: entry i is a single index, its dimension goes away.
      var: accepted for TF1's signature.
      name: name of the operation.
    """
    begin = convert_to_tensor(begin, name="begin")
    if strides is None:
        strides = emit.OnesLike(begin)
    return emit.StridedSlice(
        input_, begin, end, strides, begin_mask=begin_mask, end_mask=end_mask, ellipsis_mask=ellipsis_mask,
        new_axis_mask=new_axis_mask, shrink_axis_mask=shrink_axis_mask, name=name,
    )  # fmt: skip


def _index_vector(entries: Sequence[Any]) -> Tensor:
    """Index entries, numbers and scalar tensors, as one vector."""
    if not any(isinstance(entry, Tensor) for entry in entries):
        wide = any(not -(2**31) <= int(entry) < 2**31 for entry in entries)
        return constant(np.array([int(e) for e in entries], np.int64 if wide else np.int32), name="stack")
    dtype = dtypes.int32
    if any(isinstance(entry, Tensor) and entry.dtype is dtypes.int64 for entry in entries):
        dtype = dtypes.int64
    tensors = [
        emit.Cast(entry, DstT=dtype) if isinstance(entry, Tensor) and entry.dtype is not dtype
        else convert_to_tensor(entry, dtype)
        for entry in entries
    ]  # fmt: skip
    return emit.Pack(tensors, name="stack")


def _as_index(entry: Any) -> Any:
    """An index as an int or an integer scalar tensor; None if it is none."""
    if isinstance(entry, bool | np.bool_):
        return None
    if isinstance(entry, Tensor):
        return entry if entry.dtype.is_integer and entry.shape.rank in (0, None) else None
    if hasattr(entry, "_as_graph_element"):
        return _as_index(convert_to_tensor(entry))
    if isinstance(entry, np.ndarray) and (entry.ndim or entry.dtype.kind not in "iu"):
        return None
    try:
        return entry.__index__()
    except (AttributeError, TypeError):
        return None


def _bound(entry: Any) -> Any:
    index = _as_index(entry)
    if index is None:
        raise TypeError(
            f"Only integers, slices (`:`), ellipsis (`...`), newaxis (`None`) and scalar int32/int64 tensors are "
            f"valid indices, got {entry!r}"
        )
    return index


def _getitem(tensor: Tensor, key: Any) -> Tensor:
    """`tensor[key]`: Python's indexing with integers, slices, `...`, newaxis and scalar tensors, or a bool mask."""
    if isinstance(key, Tensor | np.ndarray) and (key.dtype == np.bool_ or key.dtype is dtypes.bool_):
        return boolean_mask(tensor, key)
    entries = key if isinstance(key, tuple | list) else (key,)
    begin: list[Any] = []
    end: list[Any] = []
    strides: list[Any] = []
    masks = dict.fromkeys(_MASK_NAMES, 0)

    def add(first: Any, last: Any, step: Any, *set_masks: str) -> None:
        for mask in set_masks:
            masks[mask] |= 1 << len(begin)
        begin.append(first)
        end.append(last)
        strides.append(step)

    with name_scope(None, "strided_slice", [tensor, *entries]) as scope:
        for entry in entries:
            if isinstance(entry, _slice):
                open_bounds = [
                    mask
                    for mask, bound in (("begin_mask", entry.start), ("end_mask", entry.stop))
                    if bound is None
                ]
                add(
                    0 if entry.start is None else _bound(entry.start),
                    0 if entry.stop is None else _bound(entry.stop),
                    1 if entry.step is None else _bound(entry.step),
                    *open_bounds,
                )
            elif entry is Ellipsis:
                add(0, 0, 1, "ellipsis_mask")
            elif entry is None:
                add(0, 0, 1, "new_axis_mask")
            else:
                index = _bound(entry)
                after = emit.AddV2(index, 1) if isinstance(index, Tensor) else index + 1
                add(index, after, 1, "shrink_axis_mask")
        vectors = [_index_vector(values) for values in (begin, end, strides)]
        if len({vector.dtype for vector in vectors}) > 1:
            vectors = [v if v.dtype is dtypes.int64 else emit.Cast(v, DstT=dtypes.int64) for v in vectors]
        return emit.StridedSlice(tensor, *vectors, **masks, name=scope)


override_operator("__getitem__", _getitem)


def boolean_mask(
    tensor: Any, mask: Any, name: str | None = "boolean_mask", axis: int | None = None
) -> Tensor:
    """Returns the parts of a tensor where a mask holds.

    Args:
      tensor: [..., m1, …, mk, ...].
      mask: bool [m1, …, mk] of known rank, at least 1.
      name: name of the operation.
      axis: where in `tensor` the mask's dimensions begin (default 0).

    Returns:
      A tensor with one dimension in place of the mask's.

    Raises:
      ValueError: if the shapes do not fit.
    """
    with name_scope(name, "boolean_mask", [tensor, mask]):
        tensor = convert_to_tensor(tensor, name="tensor")
        mask = convert_to_tensor(mask, dtypes.bool_, name="mask")
        start = 0 if axis is None else int(axis)
        rank = mask.shape.rank
        if rank is None:
            raise ValueError("Number of mask dimensions must be specified, even if some dimensions are None.")
        if rank == 0:
            raise ValueError("mask cannot be scalar.")
        if start < 0:
            if tensor.shape.rank is None:
                raise ValueError("a negative axis needs a tensor of known rank")
            start += tensor.shape.rank
        sizes = tensor.shape.as_tuple()
        middle: list[int | None] = [None]
        if sizes is not None:
            TensorShape(sizes[start : start + rank]).assert_is_compatible_with(mask.shape)
            middle = [TensorShape(sizes[start : start + rank]).merge_with(mask.shape).num_elements()]
        shape = shape_tensor(tensor)
        counted = emit.Prod(shape[start : start + rank], [0], keep_dims=True)
        flat_shape = emit.ConcatV2([shape[:start], counted, shape[start + rank :]], 0)
        flat = emit.Reshape(tensor, flat_shape)
        if sizes is not None:
            flat.set_shape([*sizes[:start], *middle, *sizes[start + rank :]])
        where = emit.Squeeze(emit.Where(emit.Reshape(mask, [-1])), squeeze_dims=[1])
        return gather(flat, where, axis=start)


# ---------------------------------------------------------------------------- padding


def _pad_shape(node: Any) -> TensorShape:
    sizes, paddings = node.inputs[0].shape.as_tuple(), node.constant(1)
    shape = rank_exactly(node, 1, 2, "paddings").merge_with([None, 2])
    rows = _dim(shape, 0)
    if sizes is not None and rows is not None and rows != len(sizes):
        raise ShapeError(f"paddings has {rows} rows, the input rank {len(sizes)}")
    if paddings is None or sizes is None:
        rank = rows if sizes is None else len(sizes)
        return UNKNOWN if rank is None else TensorShape([None] * rank)
    if np.any(paddings < 0):
        raise ShapeError(f"paddings must not be negative, got {paddings.tolist()}")
    totals = paddings.sum(1).tolist()
    return TensorShape(
        [None if size is None else size + total for size, total in zip(sizes, totals, strict=True)]
    )


def _pad_widths(input: Array, paddings: Array) -> list[tuple[int, int]]:
    if paddings.shape != (input.ndim, 2) or np.any(paddings < 0):
        raise refuse(f"paddings {paddings.tolist()} do not fit shape {list(input.shape)}")
    return [(int(before), int(after)) for before, after in paddings]


@op(
    "Pad", "input:T; paddings:Tpaddings", "output:T", "T:type; Tpaddings:type{int32|int64}=int32",
    infer=_pad_shape, lowering="pad",
)  # fmt: skip
def pad_op(input: Array, paddings: Array) -> Any:
    """The input with zeros around it, `paddings[i] = (before, after)`."""
    return np.pad(input, _pad_widths(input, paddings), constant_values=zero_of(input))


pad_op.by_row(row_rules.untouched(1, 0))


def _unpad(dy: Tensor, x: Tensor, paddings: Tensor) -> Tensor:
    known = constant_value(paddings)
    dtype = paddings.dtype
    if known is not None:
        begin: Any = np.ascontiguousarray(known[:, 0])
    else:
        begin = emit.Reshape(emit.Slice(paddings, [0, 0], emit.Pack([emit.Rank(x), 1])), [-1])
        begin = emit.Cast(begin, DstT=dtype)
    back = emit.Slice(dy, begin, shape_tensor(x, dtype))
    back.set_shape(x.shape)
    return back


@pad_op.gradient
def _pad_gradient(op: Any, dy: Any) -> list[Any]:
    return [_unpad(dy, *op.inputs), None]


def _pad_v2_shape(node: Any) -> TensorShape:
    rank_exactly(node, 2, 0, "constant_values")
    return _pad_shape(node)


@op(
    "PadV2", "input:T; paddings:Tpaddings; constant_values:T", "output:T",
    "T:type; Tpaddings:type{int32|int64}=int32", infer=_pad_v2_shape, lowering="pad",
)  # fmt: skip
def pad_v2_op(input: Array, paddings: Array, constant_values: Array) -> Any:
    """The input with a value around it, `paddings[i] = (before, after)`."""
    return np.pad(input, _pad_widths(input, paddings), constant_values=constant_values.item())


pad_v2_op.by_row(row_rules.untouched(1, 0))


@pad_v2_op.gradient
def _pad_v2_gradient(op: Any, dy: Any) -> list[Any]:
    x, paddings, _ = op.inputs
    inside = _unpad(dy, x, paddings)
    axes = emit.Range(0, emit.Rank(dy), 1)
    return [inside, None, emit.Sub(emit.Sum(dy, axes), emit.Sum(inside, axes))]


_MIRROR = "T:type; Tpaddings:type{int32|int64}=int32; mode:string{REFLECT|SYMMETRIC}"


@op("MirrorPad", "input:T; paddings:Tpaddings", "output:T", _MIRROR, infer=_pad_shape, lowering="mirror_pad")
def mirror_pad_op(input: Array, paddings: Array, *, mode: str) -> Any:
    """The input with its mirror image around it, with (SYMMETRIC) or without (REFLECT) the edge."""
    widths = _pad_widths(input, paddings)
    edge = 1 if mode == "REFLECT" else 0
    for (before, after), size in zip(widths, input.shape, strict=True):
        if max(before, after) > max(size - edge, 0):
            raise refuse(f"paddings must be at most {size - edge} in mode {mode}, got {before}, {after}")
    return np.pad(input, widths, mode="reflect" if edge else "symmetric")


mirror_pad_op.by_row(row_rules.untouched(1, 0))


@mirror_pad_op.gradient
def _mirror_pad_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MirrorPadGrad(dy, op.inputs[1], mode=op.attrs["mode"]), None]


def _mirror_pad_grad_shape(node: Any) -> TensorShape:
    pairs = rank_exactly(node, 1, 2, "paddings").as_list()
    shape = node.inputs[0].shape if pairs[0] is None else rank_exactly(node, 0, pairs[0])
    sizes, paddings = shape.as_tuple(), node.constant(1)
    if sizes is None or paddings is None:
        return UNKNOWN if sizes is None else TensorShape([None] * len(sizes))
    totals = paddings.sum(1).tolist()
    return TensorShape(
        [None if size is None else size - total for size, total in zip(sizes, totals, strict=True)]
    )


@op(
    "MirrorPadGrad", "input:T; paddings:Tpaddings", "output:T", _MIRROR, infer=_mirror_pad_grad_shape,
    lowering="mirror_pad_grad",
)  # fmt: skip
@widened
def mirror_pad_grad_op(input: Array, paddings: Array, *, mode: str) -> Any:
    """The cotangent with its mirrored margins added back onto what they mirror."""
    edge = 1 if mode == "REFLECT" else 0
    result = input
    for axis, (before, after) in enumerate(_pad_widths(input, paddings)):
        moved = np.moveaxis(result, axis, 0)
        size = len(moved) - before - after
        middle = moved[before : before + size].copy()
        middle[edge : edge + before] += moved[:before][::-1]
        middle[size - edge - after : size - edge] += moved[before + size :][::-1]
        result = np.moveaxis(middle, 0, axis)
    return result


@mirror_pad_grad_op.gradient
def _mirror_pad_grad_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MirrorPad(dy, op.inputs[1], mode=op.attrs["mode"]), None]


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None, constant_values: Any = 0
) -> Tensor:
    """Returns a tensor with a margin around it.

    Args:
      tensor: a tensor of rank n.
      paddings: int [n, 2]: how much before and after along each dimension.
      mode: "CONSTANT", "REFLECT" (mirrored without the edge) or "SYMMETRIC" (with it).
      name: name of the operation.
      constant_values: what a constant margin holds.

    Raises:
      ValueError: for an unknown mode, or paddings that do not fit.
    """
    kind = mode.upper()
    if kind == "CONSTANT":
        if not isinstance(constant_values, Tensor) and np.ndim(constant_values) == 0 and constant_values == 0:
            return emit.Pad(tensor, paddings, name=name)
        return emit.PadV2(tensor, paddings, constant_values, name=name)
    if kind not in ("REFLECT", "SYMMETRIC"):
        raise ValueError(f"Unknown padding mode: {mode}")
    return emit.MirrorPad(tensor, paddings, mode=kind, name=name)


# ---------------------------------------------------------------------------- gathering


def _check_indices(indices: Array, size: int) -> None:
    bad = (indices < 0) | (indices >= size)
    if np.any(bad):
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise refuse(f"indices{list(where) if where else ''} = {int(indices[where])} is not in [0, {size})")


def _gathered_shape(params: TensorShape, indices: TensorShape, axis: int | None, batch: int) -> TensorShape:
    sizes, rows = params.as_tuple(), indices.as_tuple()
    if sizes is None or rows is None:
        return UNKNOWN
    if axis is None:
        return TensorShape([None] * (len(sizes) - 1 + len(rows) - batch))
    if len(sizes) < 1:
        raise ShapeError("params must have rank 1 or more, is a scalar")
    at = canonical_axis(axis, len(sizes))
    batch = batch + len(rows) if batch < 0 else batch
    if not 0 <= batch <= min(at, len(rows)):
        raise ShapeError(f"batch_dims {batch} must be at most axis {at} and the rank of indices {len(rows)}")
    lead = TensorShape(sizes[:batch]).merge_with(rows[:batch]).as_tuple() or ()
    return TensorShape((*lead, *sizes[batch:at], *rows[batch:], *sizes[at + 1 :]))


def _gather_v2_shape(node: Any) -> TensorShape:
    rank_exactly(node, 2, 0, "axis")
    axis = node.constant(2)
    return _gathered_shape(
        node.inputs[0].shape,
        node.inputs[1].shape,
        None if axis is None else int(axis),
        node.attrs["batch_dims"],
    )


@op(
    "GatherV2", "params:Tparams; indices:Tindices; axis:Taxis", "output:Tparams",
    "batch_dims:int=0; Tparams:type; Tindices:type{int16|int32|int64}; Taxis:type{int32|int64}",
    infer=_gather_v2_shape, lowering="gather",
)  # fmt: skip
def gather_v2_op(params: Array, indices: Array, axis: Array, *, batch_dims: int = 0) -> Any:
    """The slices of `params` along an axis that `indices` name; leading `batch_dims` go in step."""
    at = checked_axis(axis, params.ndim)
    batch = batch_dims + indices.ndim if batch_dims < 0 else batch_dims
    if not 0 <= batch <= min(at, indices.ndim):
        raise refuse(f"batch_dims {batch} must be at most axis {at} and the rank of indices {indices.ndim}")
    _check_indices(indices, params.shape[at])
    if not batch:
        return np.take(params, indices, at)
    if params.shape[:batch] != indices.shape[:batch]:
        raise refuse(f"batch sizes differ: params {list(params.shape)}, indices {list(indices.shape)}")
    lead = params.shape[:batch]
    result = np.empty(
        lead + params.shape[batch:at] + indices.shape[batch:] + params.shape[at + 1 :], params.dtype
    )
    for where in np.ndindex(lead):
        result[where] = np.take(params[where], indices[where], at - batch)
    return result


gather_v2_op.by_row(row_rules.gathered(2))


@gather_v2_op.bounds
def _gather_v2_bounds(node: Any) -> dict[int, tuple[int, int]]:
    axis, sizes = node.constant(2), node.inputs[0].shape.as_list()
    return {} if axis is None else {1: (0, sizes[int(axis) % max(1, len(sizes))])}


@gather_v2_op.gradient
def _gather_v2_gradient(op: Any, dy: Any) -> list[Any]:
    params, indices, axis = op.inputs
    at, batch = constant_value(axis), op.attrs["batch_dims"]
    if at is not None and int(at) == 0 and batch == 0:
        return [_row_slices(params, indices, dy), None, None]
    return [_gather_gradient(params, indices, axis, batch, dy), None, None]


def _row_slices(params: Tensor, indices: Tensor, dy: Any) -> IndexedSlices:
    shape = shape_tensor(params)
    inner = params.shape.as_tuple()
    if inner is not None and None not in inner[1:]:
        values_shape: Any = np.array([-1, *inner[1:]], np.int32)
    else:
        values_shape = emit.ConcatV2([constant([-1]), shape[1:]], 0)
    if indices.shape.rank != 1:
        dy = emit.Reshape(dy, values_shape)
        indices = emit.Reshape(indices, [-1])
    return IndexedSlices(dy, indices, shape)


def _product(sizes: Tensor) -> Tensor:
    return emit.Prod(sizes, [0])


def _gather_gradient(params: Tensor, indices: Tensor, axis: Tensor, batch: int, dy: Tensor) -> Tensor:
    """The gradient of a gather along any axis, as a sum over segments.

    Seen as params [B, O, K, I] and indices [B, n] (batch, outer, gathered, inner), the cotangent is [B, O, n, I].
    """
    if batch < 0:
        assert indices.shape.rank is not None
        batch += indices.shape.rank
    sizes, rows = shape_tensor(params), shape_tensor(indices)
    at = emit.FloorMod(emit.Cast(axis, DstT=dtypes.int32), emit.Rank(params))
    after = emit.AddV2(at, 1)
    lead = _product(sizes[:batch])
    outer = _product(sizes[batch:at])
    count = sizes[at]
    inner = _product(sizes[after:])
    n = _product(rows[batch:])
    spread = emit.Reshape(dy, emit.Pack([lead, outer, n, inner]))
    first = emit.Reshape(emit.Transpose(spread, [0, 2, 1, 3]), emit.Pack([emit.Mul(lead, n), outer, inner]))
    flat = emit.Cast(emit.Reshape(indices, emit.Pack([lead, n])), DstT=dtypes.int32)
    offsets = emit.ExpandDims(emit.Mul(emit.Range(0, lead, 1), count), 1)
    segments = emit.Reshape(emit.AddV2(flat, offsets), [-1])
    summed = emit.UnsortedSegmentSum(first, segments, emit.Mul(lead, count))
    back = emit.Transpose(emit.Reshape(summed, emit.Pack([lead, count, outer, inner])), [0, 2, 1, 3])
    result = emit.Reshape(back, sizes)
    result.set_shape(params.shape)
    return result


def _gather_shape(node: Any) -> TensorShape:
    return _gathered_shape(node.inputs[0].shape, node.inputs[1].shape, 0, 0)


@op(
    "Gather", "params:Tparams; indices:Tindices", "output:Tparams",
    "validate_indices:bool=true; Tparams:type; Tindices:type{int32|int64}", infer=_gather_shape,
)  # fmt: skip
def gather_op(params: Array, indices: Array) -> Any:
    """The rows of `params` that `indices` name."""
    _check_indices(indices, params.shape[0])
    return np.take(params, indices, 0)


gather_op.by_row(row_rules.gathered(None))


@gather_op.gradient
def _gather_rows_gradient(op: Any, dy: Any) -> list[Any]:
    params, indices = op.inputs
    return [_row_slices(params, indices, dy), None]


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """Returns the slices of `params` along an axis that `indices` name.

    Args:
      params: a tensor or variable.
      indices: integers; one outside the axis is an error in the run.
      validate_indices: accepted for TF1's signature.
      name: name of the operation.
      axis: the axis; None is `batch_dims`.
      batch_dims: how many leading dimensions `params` and `indices` go through in step.

    Returns:
      `params.shape[:axis] + indices.shape[batch_dims:] + params.shape[axis + 1:]`.
    """
    if axis is None:
        axis = batch_dims
    sparse_read = getattr(params, "sparse_read", None)
    if sparse_read is not None and not isinstance(axis, Tensor) and axis == 0 and batch_dims == 0:
        return sparse_read(indices, name=name)
    return emit.GatherV2(params, indices, axis, batch_dims=batch_dims, name=name)


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """Returns slices of the last dimension of `indices` that go through all leading ones in step with `params`.

    Raises:
      ValueError: if the rank of indices is unknown.
    """
    with name_scope(name, "BatchGather", [params, indices]):
        indices = convert_to_tensor(indices, name="indices")
        params = convert_to_tensor(params, name="params")
        if indices.shape.rank is None:
            raise ValueError("batch_gather does not allow indices with unknown shape.")
        batch = indices.shape.rank - 1
        return gather(params, indices, axis=batch, batch_dims=batch)


def _one_hot_shape(node: Any) -> TensorShape:
    sizes, depth = node.inputs[0].shape.as_tuple(), node.constant(1)
    rank_exactly(node, 1, 0, "depth")
    rank_exactly(node, 2, 0, "on_value")
    rank_exactly(node, 3, 0, "off_value")
    if depth is not None and depth < 0:
        raise ShapeError(f"depth must not be negative, got {int(depth)}")
    if sizes is None:
        return UNKNOWN
    at = canonical_axis(node.attrs["axis"], len(sizes) + 1)
    return TensorShape((*sizes[:at], None if depth is None else int(depth), *sizes[at:]))


@op(
    "OneHot", "indices:TI; depth:int32; on_value:T; off_value:T", "output:T",
    "axis:int=-1; T:type; TI:type{uint8|int8|int32|int64}=int64", infer=_one_hot_shape, differentiable=False,
    lowering="one_hot",
)  # fmt: skip
def one_hot_op(indices: Array, depth: Array, on_value: Array, off_value: Array, *, axis: int = -1) -> Any:
    """Along a new axis, on_value at each index and off_value elsewhere."""
    if depth < 0:
        raise refuse(f"depth must be non-negative, got: {int(depth)}")
    at = checked_axis(axis, indices.ndim + 1)
    places = np.arange(int(depth)).reshape([-1 if a == at else 1 for a in range(indices.ndim + 1)])
    return np.where(np.expand_dims(indices.astype(np.int64), at) == places, on_value, off_value)


one_hot_op.by_row(row_rules.one_hot)


def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Tensor:
    """Returns `on_value` (default 1) at each index along a new axis, `off_value` (default 0) elsewhere.

    Args:
      indices: integers.
      depth: the size of the new axis; an index outside it gives only off values.
      on_value: scalar.
      off_value: scalar.
      axis: where the new axis goes (default last).
      dtype: the dtype of the result; None takes that of the values, or float32.
      name: name of the operation.

    Raises:
      TypeError: if the values are not of `dtype`.
    """
    with name_scope(name, "one_hot", [indices, depth, on_value, off_value]) as scope:
        wanted = None if dtype is None else as_dtype(dtype)
        given = [
            None
            if value is None
            else convert_to_tensor(value, None if isinstance(value, Tensor) else wanted, label)
            for value, label in ((on_value, "on_value"), (off_value, "off_value"))
        ]
        for value in given:
            if value is not None:
                if wanted is not None and value.dtype is not wanted:
                    raise TypeError(f"dtype {wanted.name} does not match the value's {value.dtype.name}")
                wanted = value.dtype
        wanted = wanted or dtypes.float32
        on = constant(1, wanted, name="on_value") if given[0] is None else given[0]
        off = constant(0, wanted, name="off_value") if given[1] is None else given[1]
        return emit.OneHot(indices, depth, on, off, axis=-1 if axis is None else axis, name=scope)


# ---------------------------------------------------------------------------- turning round

_REVERSIBLE = f"{NUMBERS}|bool|string"


def _reverse_v2_shape(node: Any) -> TensorShape:
    axes, shape = node.constant(1), node.inputs[0].shape
    rank_exactly(node, 1, 1, "axis")
    if axes is not None and shape.rank is not None and len(canonical_axes(axes, shape.rank)) != axes.size:
        raise ShapeError(f"axis {axes.tolist()} names a dimension twice")
    return same_as_first(node)


@op(
    "ReverseV2", "tensor:T; axis:Tidx", "output:T", f"Tidx:type{{int32|int64}}=int32; T:type{{{_REVERSIBLE}}}",
    infer=_reverse_v2_shape,
)  # fmt: skip
def reverse_v2_op(tensor: Array, axis: Array) -> Any:
    """The tensor turned round along axes."""
    return np.flip(tensor, tuple(checked_axis(a, tensor.ndim) for a in axis))


reverse_v2_op.by_row(row_rules.along_given(1))


@reverse_v2_op.gradient
def _reverse_v2_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.ReverseV2(dy, op.inputs[1]), None]


def _reversed_map(sizes: Sizes, strides: Sizes, axes: set[int]) -> IndexMap:
    offset = sum(strides[axis] * max(sizes[axis] - 1, 0) for axis in axes)
    return offset, tuple(-stride if axis in axes else stride for axis, stride in enumerate(strides))


@reverse_v2_op.lower_index
def _reverse_v2_index(sizes: Sizes, strides: Sizes, axis: Array) -> IndexMap:
    return _reversed_map(sizes, strides, {int(a) % len(sizes) for a in axis})


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """Returns the tensor turned round along the axes in a vector."""
    return emit.ReverseV2(tensor, axis, name=name)


reverse_v2 = reverse


def _reverse_shape(node: Any) -> TensorShape:
    (rank,) = rank_exactly(node, 1, 1, "dims").as_list()
    return node.inputs[0].shape if rank is None else rank_exactly(node, 0, rank)


@op("Reverse", "tensor:T; dims:bool", "output:T", f"T:type{{{_REVERSIBLE}}}", infer=_reverse_shape)
def reverse_op(tensor: Array, dims: Array) -> Any:
    """The tensor turned round along the dimensions that are marked."""
    if dims.shape != (tensor.ndim,):
        raise refuse(f"dims must have {tensor.ndim} entries, has shape {list(dims.shape)}")
    return np.flip(tensor, tuple(np.flatnonzero(dims).tolist()))


@reverse_op.gradient
def _reverse_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Reverse(dy, op.inputs[1]), None]


@reverse_op.lower_index
def _reverse_index(sizes: Sizes, strides: Sizes, dims: Array) -> IndexMap:
    return _reversed_map(sizes, strides, set(np.flatnonzero(dims).tolist()))


def _reverse_sequence_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    lengths = rank_exactly(node, 1, 1, "seq_lengths").as_tuple()
    if sizes is not None:
        canonical_axis(node.attrs["seq_dim"], len(sizes))
        at = canonical_axis(node.attrs["batch_dim"], len(sizes))
        if lengths is not None and None not in (lengths[0], sizes[at]) and lengths[0] != sizes[at]:
            raise ShapeError(f"seq_lengths has {lengths[0]} entries, the batch size is {sizes[at]}")
    return same_as_first(node)


@op(
    "ReverseSequence", "input:T; seq_lengths:Tlen", "output:T",
    "seq_dim:int; batch_dim:int=0; T:type; Tlen:type{int32|int64}=int64", infer=_reverse_sequence_shape,
    lowering="reverse_sequence",
)  # fmt: skip
def reverse_sequence_op(input: Array, seq_lengths: Array, *, seq_dim: int, batch_dim: int = 0) -> Any:
    """Per batch entry, the first `seq_lengths[i]` elements along `seq_dim` turned round."""
    along, over = checked_axis(seq_dim, input.ndim), checked_axis(batch_dim, input.ndim)
    if along == over or seq_lengths.shape != (input.shape[over],):
        raise refuse(f"seq_lengths {list(seq_lengths.shape)} do not fit shape {list(input.shape)}")
    moved = np.moveaxis(input, (over, along), (0, 1)).copy()
    for i, length in enumerate(seq_lengths.tolist()):
        if not 0 <= length <= moved.shape[1]:
            raise refuse(f"seq_lens({i}) = {length} is not in [0, {moved.shape[1]}]")
        moved[i, :length] = moved[i, :length][::-1].copy()
    return np.moveaxis(moved, (0, 1), (over, along))


@reverse_sequence_op.bounds
def _reverse_sequence_bounds(node: Any) -> dict[int, tuple[int, int]]:
    sizes = node.inputs[0].shape.as_list()
    return {1: (0, sizes[canonical_axis(node.attrs["seq_dim"], len(sizes))] + 1)}


@reverse_sequence_op.gradient
def _reverse_sequence_gradient(op: Any, dy: Any) -> list[Any]:
    attrs = {name: op.attrs[name] for name in ("seq_dim", "batch_dim")}
    return [emit.ReverseSequence(dy, op.inputs[1], **attrs), None]


def reverse_sequence(
    input: Any,
    seq_lengths: Any,
    seq_axis: int | None = None,
    batch_axis: int | None = None,
    name: str | None = None,
    seq_dim: int | None = None,
    batch_dim: int | None = None,
) -> Tensor:
    """Returns the input with, per batch entry, the first `seq_lengths[i]` elements along an axis turned round.

    Args:
      input: a tensor.
      seq_lengths: integers, one per batch entry.
      seq_axis: the axis of the sequence (old name: `seq_dim`).
      batch_axis: the axis of the batch, default 0 (old name: `batch_dim`).
      name: name of the operation.
      seq_dim: see `seq_axis`.
      batch_dim: see `batch_axis`.
    """
    along = _one_of("seq_axis", seq_axis, "seq_dim", seq_dim)
    over = _one_of("batch_axis", batch_axis, "batch_dim", batch_dim)
    return emit.ReverseSequence(input, seq_lengths, seq_dim=along, batch_dim=over or 0, name=name)


def _roll_shape(node: Any) -> TensorShape:
    shift, axis = rank_at_most(node, 1, 1, "shift"), rank_at_most(node, 2, 1, "axis")
    if not shift.is_compatible_with(axis):
        raise ShapeError(f"shift and axis must have the same size, have {shift} and {axis}")
    return rank_at_least(node, 0, 1, "input")


@op(
    "Roll", "input:T; shift:Tshift; axis:Taxis", "output:T",
    "T:type; Tshift:type{int32|int64}; Taxis:type{int32|int64}", infer=_roll_shape, lowering="roll",
)  # fmt: skip
def roll_op(input: Array, shift: Array, axis: Array) -> Any:
    """The elements moved on along axes; what leaves at the end comes in at the front."""
    axes = tuple(checked_axis(a, input.ndim) for a in np.ravel(axis))
    return np.roll(input, tuple(int(s) for s in np.ravel(shift)), axes)


@roll_op.gradient
def _roll_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Roll(dy, emit.Neg(op.inputs[1]), op.inputs[2]), None, None]


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    """Returns the elements moved on by `shift` along `axis`, round in a circle."""
    return emit.Roll(input, shift, axis, name=name)


# ---------------------------------------------------------------------------- space and depth

_BLOCKS = "T:type; block_size:int>=2; data_format:string{NHWC|NCHW}=NHWC"


def _space_to_depth_shape(node: Any) -> TensorShape:
    return _blocked_shape(node, lambda s, b: s // b, lambda c, b: c * b * b, spatial=True)


def _depth_to_space_shape(node: Any) -> TensorShape:
    return _blocked_shape(node, lambda s, b: s * b, lambda c, b: c // (b * b), spatial=False)


def _blocked_shape(
    node: Any, space: Callable[[int, int], int], depth: Callable[[int, int], int], *, spatial: bool
) -> TensorShape:
    sizes = rank_exactly(node, 0, 4, "input").as_tuple() or ()
    block, first = node.attrs["block_size"], node.attrs["data_format"] == "NCHW"
    channel = 1 if first else 3
    result: list[int | None] = []
    for axis, size in enumerate(sizes):
        if size is None or axis == 0:
            result.append(size)
            continue
        divisor = (1 if spatial else block * block) if axis == channel else (block if spatial else 1)
        if size % divisor:
            raise ShapeError(f"axis {axis} of size {size} is no multiple of {divisor}")
        result.append(depth(size, block) if axis == channel else space(size, block))
    return TensorShape(result)


@op("SpaceToDepth", "input:T", "output:T", _BLOCKS, infer=_space_to_depth_shape)
def space_to_depth_op(input: Array, *, block_size: int, data_format: str = "NHWC") -> Any:
    """Blocks of space moved into channels."""
    x = input if data_format == "NHWC" else np.moveaxis(input, 1, 3)
    n, h, w, c = x.shape
    k = block_size
    if h % k or w % k:
        raise refuse(f"image height {h} and width {w} should be divisible by block_size {k}")
    x = (
        x.reshape(n, h // k, k, w // k, k, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(n, h // k, w // k, k * k * c)
    )
    return x if data_format == "NHWC" else np.moveaxis(x, 3, 1)


space_to_depth_op.by_row(row_rules.first_axis)


def _plain_images(x: Any, data_format: str) -> list[int] | None:
    """Height, width and depth of images that compiled code can hold, channels last; None for others."""
    sizes = x.sizes
    if sizes is None or 0 in sizes or data_format != "NHWC" or any(map(is_symbolic, sizes[1:])):
        return None
    return list(sizes[1:]) if x.dtype.is_floating or x.dtype.is_integer else None


def _moved(b: Any, x: Any, split: Sequence[int], order: Sequence[int], joined: Sequence[int]) -> Any:
    """A tensor whose axes are split, put in another order, and joined again; one size of each shape may be -1."""
    apart = b.emit("Reshape", x, b.constant(np.array(split, np.int32)))
    turned = b.emit("Transpose", apart, b.constant(np.array(order, np.int32)))
    return b.emit("Reshape", turned, b.constant(np.array(joined, np.int32)))


@space_to_depth_op.expand
def _space_to_depth_expand(b: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    found, k = _plain_images(inputs[0], node.attrs["data_format"]), node.attrs["block_size"]
    if found is None or found[0] % k or found[1] % k:
        return None
    h, w, c = found
    split, joined = [-1, h // k, k, w // k, k, c], [-1, h // k, w // k, k * k * c]
    return [_moved(b, inputs[0], split, [0, 1, 3, 2, 4, 5], joined)]


@space_to_depth_op.gradient
def _space_to_depth_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.DepthToSpace(dy, block_size=op.attrs["block_size"], data_format=op.attrs["data_format"])]


@op("DepthToSpace", "input:T", "output:T", _BLOCKS, infer=_depth_to_space_shape)
def depth_to_space_op(input: Array, *, block_size: int, data_format: str = "NHWC") -> Any:
    """Channels moved into blocks of space."""
    x = input if data_format == "NHWC" else np.moveaxis(input, 1, 3)
    n, h, w, c = x.shape
    k = block_size
    if c % (k * k):
        raise refuse(f"depth {c} should be divisible by block_size squared {k * k}")
    inner = c // (k * k)
    x = x.reshape(n, h, w, k, k, inner).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * k, w * k, inner)
    return x if data_format == "NHWC" else np.moveaxis(x, 3, 1)


depth_to_space_op.by_row(row_rules.first_axis)


@depth_to_space_op.expand
def _depth_to_space_expand(b: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    found, k = _plain_images(inputs[0], node.attrs["data_format"]), node.attrs["block_size"]
    if found is None or found[2] % (k * k):
        return None
    h, w, c = found
    inner = c // (k * k)
    split, joined = [-1, h, w, k, k, inner], [-1, h * k, w * k, inner]
    return [_moved(b, inputs[0], split, [0, 1, 3, 2, 4, 5], joined)]


@depth_to_space_op.gradient
def _depth_to_space_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SpaceToDepth(dy, block_size=op.attrs["block_size"], data_format=op.attrs["data_format"])]


def space_to_depth(input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC") -> Tensor:
    """Returns images with blocks of `block_size` x `block_size` pixels moved into channels."""
    return emit.SpaceToDepth(input, block_size=block_size, data_format=data_format, name=name)


def depth_to_space(input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC") -> Tensor:
    """Returns images with channels moved into blocks of `block_size` x `block_size` pixels."""
    return emit.DepthToSpace(input, block_size=block_size, data_format=data_format, name=name)


def _check_blocks(block: Array) -> None:
    if (block < 1).any():
        raise ShapeError(f"block sizes must be positive, got {block.tolist()}")


def _around_blocks(count: int | None, sizes: Sequence[int | None]) -> TensorShape:
    """What is known where blocks or margins are not: the axes after those (so many) that they are for."""
    if count is None or count + 1 > len(sizes):
        return TensorShape([None] * len(sizes))
    return TensorShape([*[None] * (count + 1), *sizes[count + 1 :]])


def _with_margins(node: Any, what: str, rule: Callable[[Any], TensorShape]) -> TensorShape:
    """What a rule says, where there are margins (or crops), a pair for each block size."""
    blocks, margins = node.inputs[1].shape, node.inputs[2].shape
    count = blocks.num_elements()
    if not margins.is_compatible_with(TensorShape([count, 2])):
        raise ShapeError(
            f"{what} have a pair for each of {'the' if count is None else count} block sizes, got {margins}"
        )
    rank = node.inputs[0].shape.rank
    if rank is not None and count is not None and count >= rank:
        raise ShapeError(f"{count} block sizes for an input of rank {rank}, whose first axis is the batch")
    return rule(node)


def _space_to_batch_shape(node: Any) -> TensorShape:
    sizes, block, paddings = node.inputs[0].shape.as_tuple(), node.constant(1), node.constant(2)
    if sizes is None:
        return UNKNOWN
    if block is None or paddings is None:
        return _around_blocks(node.inputs[1].shape.num_elements() if block is None else len(block), sizes)
    _check_blocks(block)
    result = list(sizes)
    result[0] = None if sizes[0] is None else sizes[0] * int(np.prod(block))
    for i, b in enumerate(block.tolist()):
        size = sizes[1 + i]
        if size is None:
            continue
        padded = size + int(paddings[i].sum())
        if padded % b:
            raise ShapeError(f"axis {1 + i}: padded size {padded} is no multiple of {b}")
        result[1 + i] = padded // b
    return TensorShape(result)


_SPACE_BATCH = "T:type; Tblock_shape:type{int32|int64}=int32; Tpaddings:type{int32|int64}=int32"


@op(
    "SpaceToBatchND", "input:T; block_shape:Tblock_shape; paddings:Tpaddings", "output:T", _SPACE_BATCH,
    infer=lambda node: _with_margins(node, "paddings", _space_to_batch_shape),
)  # fmt: skip
def space_to_batch_nd_op(input: Array, block_shape: Array, paddings: Array) -> Any:
    """Blocks of (padded) space moved into the batch."""
    m = len(block_shape)
    block = [int(b) for b in block_shape]
    widths = [(0, 0), *((int(a), int(b)) for a, b in paddings), *([(0, 0)] * (input.ndim - 1 - m))]
    x = np.pad(input, widths, constant_values=zero_of(input))
    if any(size % b for size, b in zip(x.shape[1:], block, strict=False)):
        raise refuse(f"padded shape {list(x.shape)} is no multiple of block_shape {block}")
    split_shape = [x.shape[0]]
    for size, b in zip(x.shape[1 : 1 + m], block, strict=True):
        split_shape += [size // b, b]
    x = x.reshape(*split_shape, *x.shape[1 + m :])
    order = [2 * i + 2 for i in range(m)] + [0] + [2 * i + 1 for i in range(m)]
    x = x.transpose(*order, *range(1 + 2 * m, x.ndim))
    return x.reshape(-1 if input.size else input.shape[0] * math.prod(block), *x.shape[m + 1 :])


def _plain_blocks(inputs: Sequence[Any]) -> tuple[list[int], list[list[int]], list[int]] | None:
    """Blocks, margins, and the sizes after the batch, where all are plain numbers that make sense; else None."""
    x, block, margins = inputs
    sizes = x.sizes
    if sizes is None or 0 in sizes or any(map(is_symbolic, sizes[1:])) or block.derived or margins.derived:
        return None
    if block.constant is None or margins.constant is None or not (x.dtype.is_floating or x.dtype.is_integer):
        return None
    blocks, around = block.constant.tolist(), margins.constant.tolist()
    if min(blocks, default=1) < 1 or any(min(pair) < 0 for pair in around):
        return None
    return blocks, around, list(sizes[1:])


@space_to_batch_nd_op.expand
def _space_to_batch_nd_expand(b: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    found = _plain_blocks(inputs)
    if found is None:
        return None
    blocks, margins, sizes = found
    m = len(blocks)
    rest = sizes[m:]
    padded = [size + sum(pair) for size, pair in zip(sizes, margins, strict=False)]
    if any(size % block or not size for size, block in zip(padded, blocks, strict=True)):
        return None
    widths = [[0, 0], *margins, *[[0, 0]] * len(rest)]
    x = b.emit("Pad", inputs[0], b.constant(np.array(widths, np.int32)))
    counts = [size // block for size, block in zip(padded, blocks, strict=True)]
    split = [-1, *(n for pair in zip(counts, blocks, strict=True) for n in pair), *rest]
    order = [2 * i + 2 for i in range(m)] + [0] + [2 * i + 1 for i in range(m)]
    order += range(1 + 2 * m, 1 + 2 * m + len(rest))
    return [_moved(b, x, split, order, [-1, *counts, *rest])]


@space_to_batch_nd_op.gradient
def _space_to_batch_nd_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.BatchToSpaceND(dy, op.inputs[1], op.inputs[2]), None, None]


def _batch_to_space_shape(node: Any) -> TensorShape:
    sizes, block, crops = node.inputs[0].shape.as_tuple(), node.constant(1), node.constant(2)
    if sizes is None:
        return UNKNOWN
    if block is None or crops is None:
        return _around_blocks(node.inputs[1].shape.num_elements() if block is None else len(block), sizes)
    _check_blocks(block)
    result = list(sizes)
    if sizes[0] is not None:
        if sizes[0] % int(np.prod(block)):
            raise ShapeError(f"batch size {sizes[0]} is no multiple of {int(np.prod(block))}")
        result[0] = sizes[0] // int(np.prod(block))
    for i, b in enumerate(block.tolist()):
        size = sizes[1 + i]
        result[1 + i] = None if size is None else size * b - int(crops[i].sum())
    return TensorShape(result)


@op(
    "BatchToSpaceND", "input:T; block_shape:Tblock_shape; crops:Tcrops", "output:T",
    "T:type; Tblock_shape:type{int32|int64}=int32; Tcrops:type{int32|int64}=int32",
    infer=lambda node: _with_margins(node, "crops", _batch_to_space_shape),
)  # fmt: skip
def batch_to_space_nd_op(input: Array, block_shape: Array, crops: Array) -> Any:
    """Blocks of the batch moved into space, which is then cropped."""
    m = len(block_shape)
    block = [int(b) for b in block_shape]
    if np.any(crops < 0):
        raise refuse(f"crops must not be negative, got {crops.tolist()}")
    if input.shape[0] % math.prod(block):
        raise refuse(f"batch size {input.shape[0]} is no multiple of {math.prod(block)}")
    batch = input.shape[0] // math.prod(block)
    x = input.reshape(*block, batch, *input.shape[1:])
    order = [m]
    for i in range(m):
        order += [m + 1 + i, i]
    x = x.transpose(*order, *range(2 * m + 1, x.ndim))
    spatial = [size * b for size, b in zip(input.shape[1 : 1 + m], block, strict=True)]
    x = x.reshape(batch, *spatial, *input.shape[1 + m :])
    cut = tuple(_slice(int(a), size - int(b)) for (a, b), size in zip(crops, spatial, strict=True))
    return x[(_slice(None), *cut)]


@batch_to_space_nd_op.expand
def _batch_to_space_nd_expand(b: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    found = _plain_blocks(inputs)
    if found is None or inputs[0].sizes[0] % math.prod(found[0]):
        return None
    blocks, crops, sizes = found
    m = len(blocks)
    rest = sizes[m:]
    spatial = [size * block for size, block in zip(sizes, blocks, strict=False)]
    kept = [size - sum(pair) for size, pair in zip(spatial, crops, strict=True)]
    if min(kept, default=1) < 1:
        return None
    order = [
        m,
        *(place for i in range(m) for place in (m + 1 + i, i)),
        *range(2 * m + 1, 2 * m + 1 + len(rest)),
    ]
    whole = _moved(b, inputs[0], [*blocks, -1, *sizes], order, [-1, *spatial, *rest])
    begin = np.array([0, *(pair[0] for pair in crops), *[0] * len(rest)], np.int32)
    return [b.emit("Slice", whole, b.constant(begin), b.constant(np.array([-1, *kept, *rest], np.int32)))]


@batch_to_space_nd_op.gradient
def _batch_to_space_nd_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SpaceToBatchND(dy, op.inputs[1], op.inputs[2]), None, None]


def space_to_batch_nd(input: Any, block_shape: Any, paddings: Any, name: str | None = None) -> Tensor:
    """Returns the input with blocks of its (padded) spatial dimensions moved into the batch."""
    return emit.SpaceToBatchND(input, block_shape, paddings, name=name)


def batch_to_space_nd(input: Any, block_shape: Any, crops: Any, name: str | None = None) -> Tensor:
    """Returns the input with blocks of its batch moved into (then cropped) spatial dimensions."""
    return emit.BatchToSpaceND(input, block_shape, crops, name=name)


def _old_block_shape(node: Any, rule: Callable[[Any], TensorShape]) -> TensorShape:
    sizes = rank_exactly(node, 0, 4, "input").as_tuple()
    return UNKNOWN if sizes is None else rule(_OfBlocks(node))


class _OfBlocks:
    """A node of the old ops as one of those whose block is an operand."""

    def __init__(self, node: Any) -> None:
        self.inputs = [node.inputs[0], None, node.inputs[1]]
        self.inputs[0] = _Ranked(node.inputs[0].shape.with_rank(4))
        self._node = node

    def constant(self, position: int) -> Array | None:
        block = self._node.attrs["block_size"]
        value: Array | None = np.array([block, block]) if position == 1 else self._node.constant(1)
        return value


class _Ranked:
    """A shape where a rule looks for one."""

    def __init__(self, shape: TensorShape) -> None:
        self.shape = shape


def _square(block_size: int) -> Array:
    return np.array([block_size, block_size])


@op("SpaceToBatch", "input:T; paddings:Tpaddings", "output:T",
    "T:type; Tpaddings:type{int32|int64}=int32; block_size:int>=2",
    infer=lambda node: _old_block_shape(node, _space_to_batch_shape))  # fmt: skip
def space_to_batch_op(input: Array, paddings: Array, *, block_size: int) -> Any:
    """Square blocks of (padded) images moved into the batch."""
    return space_to_batch_nd_op.body(input, _square(block_size), paddings)


@space_to_batch_op.gradient
def _space_to_batch_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.BatchToSpace(dy, op.inputs[1], block_size=op.attrs["block_size"]), None]


@op("BatchToSpace", "input:T; crops:Tidx", "output:T", "T:type; block_size:int>=2; Tidx:type{int32|int64}=int32",
    infer=lambda node: _old_block_shape(node, _batch_to_space_shape))  # fmt: skip
def batch_to_space_op(input: Array, crops: Array, *, block_size: int) -> Any:
    """Square blocks of the batch moved into images, which are then cropped."""
    return batch_to_space_nd_op.body(input, _square(block_size), crops)


@batch_to_space_op.gradient
def _batch_to_space_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.SpaceToBatch(dy, op.inputs[1], block_size=op.attrs["block_size"]), None]


def space_to_batch(
    input: Any, paddings: Any, block_size: int | None = None, name: str | None = None, block_shape: Any = None
) -> Tensor:
    """Returns images with square blocks moved into the batch; `block_shape` is another name of `block_size`."""
    block = _one_of("block_shape", block_shape, "block_size", block_size)
    return space_to_batch_nd(input, np.array([block, block]), paddings, name=name)


def batch_to_space(
    input: Any, crops: Any, block_size: int | None = None, name: str | None = None, block_shape: Any = None
) -> Tensor:
    """Returns images with square blocks of the batch moved into space; see `space_to_batch`."""
    block = _one_of("block_shape", block_shape, "block_size", block_size)
    return batch_to_space_nd(input, np.array([block, block]), crops, name=name)


# ---------------------------------------------------------------------------- partition and stitch


def _dynamic_partition_shape(node: Any) -> list[TensorShape]:
    sizes, parts = node.inputs[0].shape.as_tuple(), node.inputs[1].shape.as_tuple()
    if sizes is None or parts is None:
        return [UNKNOWN] * int(node.attrs["num_partitions"])
    if not TensorShape(sizes[: len(parts)]).is_compatible_with(parts):
        raise ShapeError(
            f"partitions of shape {TensorShape(parts)} are no leading part of data's {TensorShape(sizes)}"
        )
    return [TensorShape((None, *sizes[len(parts) :]))] * int(node.attrs["num_partitions"])


@op(
    "DynamicPartition", "data:T; partitions:int32", "outputs:num_partitions*T", "num_partitions:int>=1; T:type",
    infer=_dynamic_partition_shape,
)  # fmt: skip
def dynamic_partition_op(data: Array, partitions: Array, *, num_partitions: int) -> Any:
    """The rows of `data` by the partition each belongs to, in order."""
    if np.any((partitions < 0) | (partitions >= num_partitions)):
        raise refuse(f"partitions must be in [0, {num_partitions})")
    return [data[partitions == i] for i in range(num_partitions)]


@dynamic_partition_op.gradient
def _dynamic_partition_gradient(op: Any, *dys: Any) -> list[Any]:
    data, partitions = op.inputs
    sizes = emit.Shape(partitions)
    places = emit.Reshape(emit.Range(0, emit.Prod(sizes, [0]), 1), sizes)
    split_places = emit.DynamicPartition(places, partitions, num_partitions=op.attrs["num_partitions"])
    stitched = emit.DynamicStitch(list(split_places), materialized(op, dys))
    return [emit.Reshape(stitched, shape_tensor(data)), None]


def dynamic_partition(
    data: Any, partitions: Any, num_partitions: int, name: str | None = None
) -> list[Tensor]:
    """Returns the rows of `data` as one tensor per partition that `partitions` (int32) says they belong to."""
    return emit.DynamicPartition(data, partitions, num_partitions=num_partitions, name=name)


def _dynamic_stitch_shape(node: Any) -> TensorShape:
    count = node.attrs["N"]
    inner = UNKNOWN
    for i in range(count):
        indices, data = node.inputs[i].shape, node.inputs[count + i].shape
        if indices.rank is None or data.rank is None:
            continue
        sizes = data.as_tuple() or ()
        if not TensorShape(sizes[: indices.rank]).is_compatible_with(indices):
            raise ShapeError(f"data[{i}] of shape {data} does not begin with indices[{i}]'s shape {indices}")
        inner = inner.merge_with(sizes[indices.rank :])
    values = [node.constant(i) for i in range(count)]
    size = None
    if all(value is not None for value in values):
        size = max((int(value.max()) + 1 for value in values if value.size), default=0)
    return TensorShape([size]).concatenate(inner)


@op("DynamicStitch", "indices:N*int32; data:N*T", "merged:T", "N:int>=1; T:type", infer=_dynamic_stitch_shape)
def dynamic_stitch_op(indices: list[Array], data: list[Array]) -> Any:
    """One tensor of all rows, each at its index; later ones win."""
    size = max((int(index.max()) + 1 for index in indices if index.size), default=0)
    inner = data[0].shape[indices[0].ndim :]
    result = np.zeros((size, *inner), data[0].dtype)
    for index, rows in zip(indices, data, strict=True):
        if np.any(index < 0):
            raise refuse("indices must not be negative")
        result[index.reshape(-1)] = (
            rows.reshape(-1, *inner) if rows.size else rows.reshape(index.size, *inner)
        )
    return result


@dynamic_stitch_op.gradient
def _dynamic_stitch_gradient(op: Any, dy: Any) -> list[Any]:
    count = op.attrs["N"]
    return [None] * count + [emit.GatherV2(dy, index, 0) for index in op.inputs[:count]]


def dynamic_stitch(indices: Any, data: Any, name: str | None = None) -> Tensor:
    """Returns one tensor of the rows of a list of tensors, each at its index; later ones win."""
    return emit.DynamicStitch(list(indices), list(data), name=name)


parallel_dynamic_stitch_op = op(
    "ParallelDynamicStitch",
    "indices:N*int32; data:N*T",
    "merged:T",
    "N:int>=1; T:type",
    infer=_dynamic_stitch_shape,
)(dynamic_stitch_op.body)
parallel_dynamic_stitch_op.gradient(_dynamic_stitch_gradient)


def _unravel_shape(node: Any) -> TensorShape:
    indices, dims = rank_at_most(node, 0, 1, "indices"), rank_exactly(node, 1, 1, "dims")
    return UNKNOWN if indices.rank is None else dims.concatenate(indices)


@op("UnravelIndex", "indices:Tidx; dims:Tidx", "output:Tidx", "Tidx:type{int32|int64}=int32", infer=_unravel_shape,
    differentiable=False)  # fmt: skip
def unravel_index_op(indices: Array, dims: Array) -> Any:
    """The coordinates, one row per dimension, of elements of a tensor that is counted through in row-major order."""
    sizes = tuple(int(size) for size in dims)
    if any(size < 1 for size in sizes) or math.prod(sizes) > np.iinfo(dims.dtype).max:
        raise refuse(f"dims must be positive and their product fit {dims.dtype}, got {list(sizes)}")
    if np.any((indices < 0) | (indices >= math.prod(sizes))):
        raise refuse(f"index is out of bound as with dims {list(sizes)}")
    return np.array(np.unravel_index(indices, sizes), indices.dtype)


def unravel_index(indices: Any, dims: Any, name: str | None = None) -> Tensor:
    """Returns the coordinates [rank, ...] of elements of a tensor of shape `dims` counted through in order."""
    return emit.UnravelIndex(indices, dims, name=name)


def parallel_stack(values: Any, name: str | None = "parallel_stack") -> Tensor:
    """Returns a list of tensors of one, fully known shape stacked along a new first axis."""
    with name_scope(name, "parallel_stack", list(values)):
        return stack(values)


def _inplace_shape(node: Any) -> TensorShape:
    rank_at_most(node, 1, 1, "i")
    return same_as_first(node)


def _in_place(op_type: str, change: Callable[[Array, Array, Array], None], meaning: str) -> None:
    def body(x: Array, i: Array, v: Array) -> Any:
        if i.ndim == 1 and v.shape != (len(i), *x.shape[1:]) or i.ndim == 0 and v.shape != x.shape[1:]:
            raise refuse(f"v {list(v.shape)} does not fit rows {i.tolist()} of x {list(x.shape)}")
        result = x.copy()
        change(result, i % len(x) if len(x) else i, v)
        return result

    body.__doc__ = meaning
    op(op_type, "x:T; i:int32; v:T", "y:T", "T:type", infer=_inplace_shape, differentiable=False)(body)


def _put_rows(x: Array, i: Array, v: Array) -> None:
    x[i] = v


_in_place("InplaceUpdate", _put_rows, "A tensor with other rows.")
_in_place("InplaceAdd", np.add.at, "A tensor with something added to some rows.")
_in_place("InplaceSub", np.subtract.at, "A tensor with something taken from some rows.")


def _tensor_slice_shape(node: Any) -> TensorShape:
    for position, name in ((1, "begin"), (2, "end"), (3, "strides")):
        rank_exactly(node, position, 1, name)
    return same_as_first(node)


@op("TensorStridedSliceUpdate", "input:T; begin:Index; end:Index; strides:Index; value:T", "output:T",
    f"T:type; Index:type{{int32|int64}}; {_MASKS}", infer=_tensor_slice_shape)  # fmt: skip
def tensor_strided_slice_update_op(
    input: Array, begin: Array, end: Array, strides: Array, value: Array, *, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0,
) -> Any:  # fmt: skip
    """The tensor with another value where the strided slice reads."""
    masks = _mask_table(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    result = input.copy()
    where = _numpy_index(result.shape, begin, end, strides, masks)
    if not result[where].size:
        return result  # whatever the value, as in TensorFlow
    try:
        result[where] = value
    except ValueError:
        raise refuse(
            f"value {list(value.shape)} does not fit the slice {list(result[where].shape)}"
        ) from None
    return result


@tensor_strided_slice_update_op.gradient
def _tensor_strided_slice_update_gradient(op: Any, dy: Any) -> list[Any]:
    _, begin, end, strides, value = op.inputs
    part = emit.StridedSlice(dy, begin, end, strides, **_masks(op))
    kept = emit.TensorStridedSliceUpdate(dy, begin, end, strides, emit.ZerosLike(part), **_masks(op))
    sizes = emit.Shape(value)
    _, axes = emit.BroadcastGradientArgs(emit.Shape(part), sizes)
    return [kept, None, None, None, emit.Reshape(emit.Sum(part, axes), sizes)]


# ---------------------------------------------------------------------------- built of the others


def meshgrid(*args: Any, **kwargs: Any) -> list[Tensor]:
    """Returns the coordinates of the grid that vectors span, one tensor per vector.

    Args:
      *args: vectors (or scalars).
      **kwargs: `indexing`: "xy" (default: the first two dimensions exchanged) or "ij"; `name`.

    Raises:
      TypeError: for other keywords.
      ValueError: for another indexing.
    """
    indexing = kwargs.pop("indexing", "xy")
    name = kwargs.pop("name", "meshgrid")
    if kwargs:
        raise TypeError(f"'{next(iter(kwargs))}' is an invalid keyword argument for this function")
    if indexing not in ("xy", "ij"):
        raise ValueError("indexing parameter must be either 'xy' or 'ij'")
    with name_scope(name, "meshgrid", list(args)):
        vectors = [emit.Reshape(value, [-1]) for value in args]
        rank = len(vectors)
        order = list(range(rank))
        if indexing == "xy" and rank > 1:
            order[0], order[1] = 1, 0
        placed = [
            emit.Reshape(vector, [-1 if axis == at else 1 for axis in range(rank)])
            for vector, at in zip(vectors, order, strict=True)
        ]
        lengths = [emit.Size(vector) for vector in vectors]
        sizes = emit.Pack([lengths[order.index(axis)] for axis in range(rank)]) if rank else None
        return [emit.BroadcastTo(value, sizes) for value in placed]


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = dtypes.bool_, name: str | None = None
) -> Tensor:
    """Returns a mask [..., maxlen] that holds for the first `lengths[...]` places.

    Args:
      lengths: integers.
      maxlen: the size of the last dimension; None is the greatest length.
      dtype: the dtype of the mask.
      name: name of the operation.
    """
    with name_scope(name, "SequenceMask", [lengths, maxlen]):
        lengths = convert_to_tensor(lengths)
        if maxlen is None:
            maxlen = emit.Max(lengths, emit.Range(0, emit.Rank(lengths), 1))
            maxlen = emit.Maximum(constant(0, lengths.dtype), maxlen)
        else:
            maxlen = convert_to_tensor(maxlen, None if isinstance(maxlen, Tensor) else lengths.dtype)
        row = emit.Range(constant(0, maxlen.dtype), maxlen, constant(1, maxlen.dtype))
        matrix = emit.Cast(emit.ExpandDims(lengths, -1), DstT=maxlen.dtype)
        result = emit.Less(row, matrix)
        target = as_dtype(dtype)
        return result if target is dtypes.bool_ else emit.Cast(result, DstT=target)


__all__ = [
    "batch_gather", "batch_to_space", "batch_to_space_nd", "boolean_mask", "broadcast_to", "concat",
    "depth_to_space", "dynamic_partition", "dynamic_stitch", "expand_dims", "gather", "invert_permutation",
    "matrix_transpose", "meshgrid", "newaxis", "one_hot", "pad", "parallel_stack", "reshape", "reverse",
    "reverse_sequence", "reverse_v2", "roll", "sequence_mask", "slice", "space_to_batch", "space_to_batch_nd",
    "space_to_depth", "split", "squeeze", "stack", "strided_slice", "tile",
    "transpose", "unravel_index", "unstack",
]  # fmt: skip
