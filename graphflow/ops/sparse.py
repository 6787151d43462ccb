"""Sparse tensors: the ops that make, arrange, join and cut them.

Ops take and give indices, values and dense shape; the functions at the end take and give `SparseTensor`. Arithmetic
stands in `sparse_math.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import IndexedSlices, Tensor, control_dependencies, name_scope
from graphflow.opdef import constant_value, constant_value_as_shape, convert_to_tensor, emit, op
from graphflow.ops.control import assert_equal, assert_less_equal
from graphflow.ops.elementwise import cast, maximum, minimum
from graphflow.ops.layout import concat, expand_dims, gather, reshape, slice, stack, transpose
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.rules import NUMBERS, Array, rank_at_most, rank_exactly
from graphflow.ops.scatter import gather_nd
from graphflow.ops.source import ones, placeholder, placeholder_with_default
from graphflow.ops.sparse_tensor import SparseTensor, as_sparse, is_sparse
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

INDEX_TYPES = "Tindices:type{int32|int64}"


# ---------------------------------------------------------------------------- helpers of bodies and shape rules


def refuse(message: str) -> InvalidArgumentError:
    """The error of a body that its operands do not suit."""
    return InvalidArgumentError(None, None, message)


def checked(indices: Array, values: Array, shape: Array, what: str = "") -> tuple[int, ...]:
    """Returns a dense shape after holding indices and values against it.

    Raises:
      InvalidArgumentError: if they do not fit, or an index lies outside.
    """
    sizes = tuple(int(size) for size in shape)
    if indices.ndim != 2 or values.ndim != 1 or shape.ndim != 1:
        raise refuse(
            f"{what}indices, values and shape must have ranks 2, 1 and 1, have shapes "
            f"{list(indices.shape)}, {list(values.shape)} and {list(shape.shape)}"
        )
    if len(indices) != len(values) or indices.shape[1] != len(sizes):
        raise refuse(
            f"{what}indices of shape {list(indices.shape)} do not fit {len(values)} values of rank {len(sizes)}"
        )
    inside(indices, sizes, what)
    return sizes


def inside(indices: Array, sizes: Sequence[int], what: str = "") -> None:
    """Refuses indices outside a dense shape."""
    if min(sizes, default=0) < 0:
        raise refuse(f"{what}a dense shape must not have negative sizes, got {list(sizes)}")
    bad = np.flatnonzero(((indices < 0) | (indices >= np.array(sizes, np.int64))).any(axis=1))
    if len(bad):
        raise refuse(
            f"{what}indices[{bad[0]}] = {indices[bad[0]].tolist()} is out of bounds: need 0 <= index < {list(sizes)}"
        )


def positions(indices: Array, sizes: Sequence[int]) -> Array:
    """The row-major position of each index, which orders them."""
    result = np.zeros(len(indices), np.int64)
    for axis, size in enumerate(sizes):
        result = result * size + indices[:, axis]
    return result


def row_major(indices: Array, sizes: Sequence[int]) -> Array:
    """The permutation that puts indices in row-major order; equal ones keep theirs."""
    if math.prod(max(size, 1) for size in sizes) < 2**62:
        return np.argsort(positions(indices, sizes), kind="stable")
    return np.lexsort(indices.T[::-1]) if indices.shape[1] else np.arange(len(indices))


def same_places(left: Array, right: Array) -> tuple[Array, Array, int]:
    """Numbers for the rows of two lists of indices: equal numbers for equal rows, in row-major order."""
    both = np.concatenate([left, right])
    _, number = np.unique(both, axis=0, return_inverse=True) if both.shape[1] else (None, np.zeros(len(both)))
    number = np.asarray(number, np.int64).reshape(-1)
    count = int(number.max()) + 1 if len(number) else 0
    return number[: len(left)], number[len(left) :], count


def three(node: Any, position: int = 0, what: str = "") -> tuple[TensorShape, TensorShape, TensorShape]:
    """The shapes of indices, values and dense shape that stand at `position` and after; each as known as all three."""
    indices = rank_exactly(node, position, 2, f"{what}indices")
    values = rank_exactly(node, position + 1, 1, f"{what}values")
    shape = rank_exactly(node, position + 2, 1, f"{what}shape")
    count, rank = indices[:1].merge_with(values), indices[1:].merge_with(shape)
    return count.concatenate(rank), count, rank


def indices_and_shape(node: Any, position: int) -> tuple[TensorShape, TensorShape]:
    """The shapes of indices and dense shape that stand at `position` and after."""
    indices = rank_exactly(node, position, 2, "indices")
    shape = rank_exactly(node, position + 1, 1, "shape")
    rank = indices[1:].merge_with(shape)
    return indices[:1].concatenate(rank), rank


def _any_number_of(rank: TensorShape) -> list[TensorShape]:
    """Indices, values and shape of a result with as many elements as there turn out to be."""
    return [TensorShape([None]).concatenate(rank), TensorShape([None]), rank]


# ---------------------------------------------------------------------------- sparse to dense


def _to_dense_shape(node: Any) -> TensorShape:
    indices = rank_at_most(node, 0, 2, "sparse_indices")
    rank_exactly(node, 1, 1, "output_shape")
    rank_at_most(node, 2, 1, "sparse_values")
    rank_exactly(node, 3, 0, "default_value")
    result: TensorShape = node.constant_shape(1)
    if indices.rank == 2 and result.rank is not None and not indices[1:].is_compatible_with([result.rank]):
        raise ShapeError(f"sparse_indices {indices} do not fit an output of shape {result}")
    return result


@op("SparseToDense", "sparse_indices:Tindices; output_shape:Tindices; sparse_values:T; default_value:T", "dense:T",
    f"validate_indices:bool=true; T:type; {INDEX_TYPES}", infer=_to_dense_shape)  # fmt: skip
def sparse_to_dense_op(
    sparse_indices: Array, output_shape: Array, sparse_values: Array, default_value: Array, *,
    validate_indices: bool = True,
) -> Array:  # fmt: skip
    """The default everywhere but at the indices, which hold the values; indices may be a scalar, a vector or rows."""
    sizes = [int(size) for size in output_shape]
    if sparse_indices.ndim > 2 or sparse_values.ndim > 1 or default_value.ndim:
        raise refuse(
            f"sparse_indices must have rank 2 or less, sparse_values 1 or less, default_value 0; have "
            f"{sparse_indices.ndim}, {sparse_values.ndim}, {default_value.ndim}"
        )
    rows = sparse_indices.reshape(-1, 1) if sparse_indices.ndim < 2 else sparse_indices
    if rows.shape[1] != len(sizes):
        raise refuse(
            f"output_shape has incorrect number of elements: {len(sizes)} should be: {rows.shape[1]}"
        )
    if sparse_values.ndim and len(sparse_values) != len(rows):
        raise refuse(
            f"sparse_values has incorrect shape [{len(sparse_values)}], should be [] or [{len(rows)}]"
        )
    inside(rows, sizes)
    if validate_indices and len(rows) > 1:
        steps = np.diff(positions(rows, sizes))
        if (steps <= 0).any():
            at = int(np.flatnonzero(steps <= 0)[0])
            wrong = "repeated" if steps[at] == 0 else "out of order"
            raise refuse(f"indices[{at + 1}] = {rows[at + 1].tolist()} is {wrong}")
    result = np.empty(sizes, default_value.dtype)
    result[...] = default_value
    result[tuple(rows.T)] = sparse_values
    return result


@sparse_to_dense_op.gradient
def sparse_to_dense_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the values what stands at their places, to the default the sum of the rest."""
    indices, _, values, _ = op.inputs
    if indices.shape.rank is None:
        raise ValueError("the gradient of SparseToDense needs sparse_indices of known rank")
    rows = indices if indices.shape.rank == 2 else emit.Reshape(indices, np.array([-1, 1], np.int32))
    picked = gather_nd(dy, rows)
    total = reduce_sum(picked)
    if values.shape.rank is None:
        raise ValueError("the gradient of SparseToDense needs sparse_values of known rank")
    return [None, None, picked if values.shape.rank else total, reduce_sum(dy) - total]


# ---------------------------------------------------------------------------- another order, another shape


def _reorder_shape(node: Any) -> list[TensorShape]:
    indices, values, _ = three(node)
    return [indices, values]


@op("SparseReorder", "input_indices:int64; input_values:T; input_shape:int64",
    "output_indices:int64; output_values:T", "T:type", infer=_reorder_shape)  # fmt: skip
def sparse_reorder_op(input_indices: Array, input_values: Array, input_shape: Array) -> tuple[Array, Array]:
    """The elements in row-major order."""
    order = row_major(input_indices, checked(input_indices, input_values, input_shape))
    return input_indices[order], input_values[order]


@sparse_reorder_op.gradient
def sparse_reorder_gradient(op: Any, d_indices: Any, d_values: Any) -> list[Any]:
    """Each value's gradient put back to where the value came from."""
    if d_values is None:
        return [None, None, None]
    indices, values, shape = op.inputs
    numbers = emit.Range(0, emit.StridedSlice(emit.Shape(values), [0], [1], [1], shrink_axis_mask=1), 1)
    _, came_from = emit.SparseReorder(indices, numbers, shape)
    return [None, gather(d_values, emit.InvertPermutation(came_from)), None]


def _reshape_shape(node: Any) -> list[TensorShape]:
    indices, _ = indices_and_shape(node, 0)
    new = rank_exactly(node, 2, 1, "new_shape")
    return [indices[:1].concatenate(new), new]


@op("SparseReshape", "input_indices:int64; input_shape:int64; new_shape:int64",
    "output_indices:int64; output_shape:int64", infer=_reshape_shape, differentiable=False)  # fmt: skip
def sparse_reshape_op(input_indices: Array, input_shape: Array, new_shape: Array) -> tuple[Array, Array]:
    """The places that the elements have under another shape; one size may be -1."""
    sizes, wanted = [int(s) for s in input_shape], [int(s) for s in new_shape]
    if input_indices.ndim != 2 or input_indices.shape[1] != len(sizes):
        raise refuse(f"indices of shape {list(input_indices.shape)} do not fit an input of rank {len(sizes)}")
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise refuse(f"new_shape must not have negative sizes but for one -1, got {wanted}")
    inside(input_indices, sizes)
    count = math.prod(sizes)
    if -1 in wanted:
        known = math.prod(size for size in wanted if size != -1)
        if known == 0 and count:
            raise refuse(f"reshape cannot infer the missing input size for an empty tensor, got {wanted}")
        if known and count % known:
            raise refuse(f"Input to reshape has {count} dense values, {wanted} needs a multiple of {known}")
        wanted[wanted.index(-1)] = count // known if known else 0
    if math.prod(wanted) != count:
        raise refuse(
            f"Input to reshape is a tensor with {count} dense values, the requested shape has {math.prod(wanted)}"
        )
    flat = positions(input_indices, sizes)
    columns = np.empty((len(flat), len(wanted)), np.int64)
    for axis in reversed(range(len(wanted))):
        flat, columns[:, axis] = np.divmod(flat, wanted[axis]) if wanted[axis] else (flat, 0)
    return columns, np.array(wanted, np.int64)


# ---------------------------------------------------------------------------- join and cut


def _concat_shape(node: Any) -> list[TensorShape]:
    count = node.attrs["N"]
    rank = TensorShape([None])
    total: int | None = 0
    for i in range(count):
        indices = rank_exactly(node, i, 2, "indices")
        values = rank_exactly(node, count + i, 1, "values")
        shape = rank_exactly(node, 2 * count + i, 1, "shapes")
        own = indices[:1].merge_with(values).as_list()[0]
        total = None if total is None or own is None else total + own
        rank = rank.merge_with(indices[1:]).merge_with(shape)
    return [TensorShape([total]).concatenate(rank), TensorShape([total]), rank]


@op("SparseConcat", "indices:N*int64; values:N*T; shapes:N*int64",
    "output_indices:int64; output_values:T; output_shape:int64", "concat_dim:int; N:int>=2; T:type",
    infer=_concat_shape, differentiable=False)  # fmt: skip
def sparse_concat_op(
    indices: list[Array], values: list[Array], shapes: list[Array], *, concat_dim: int
) -> tuple[Array, Array, Array]:
    """Sparse tensors side by side along one axis."""
    first = [int(size) for size in shapes[0]]
    rank = len(first)
    if not -rank <= concat_dim < rank:
        raise refuse(f"Concat dimension must be in range [{-rank}, {rank}), got {concat_dim}")
    axis = concat_dim % rank
    start, moved = 0, []
    for part, held, shape in zip(indices, values, shapes, strict=True):
        sizes = checked(part, held, shape)
        if len(sizes) != rank or any(
            a != b for i, (a, b) in enumerate(zip(sizes, first, strict=True)) if i != axis
        ):
            raise refuse(
                f"Concat dimension {axis}: all other sizes must agree, got shapes {first} and {list(sizes)}"
            )
        shifted = part.copy()
        shifted[:, axis] += start
        moved.append(shifted)
        start += sizes[axis]
    result = first[:axis] + [start] + first[axis + 1 :]
    places, elements = np.concatenate(moved), np.concatenate(values)
    if axis:
        order = row_major(places, result)
        places, elements = places[order], elements[order]
    return places, elements, np.array(result, np.int64)


def _split_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 0, "split_dim")
    _, _, rank = three(node, 1)
    parts = _any_number_of(rank)
    return [shape for shape in parts for _ in range(node.attrs["num_split"])]


@op("SparseSplit", "split_dim:int64; indices:int64; values:T; shape:int64",
    "output_indices:num_split*int64; output_values:num_split*T; output_shape:num_split*int64",
    "num_split:int>=1; T:type", infer=_split_shape, differentiable=False)  # fmt: skip
def sparse_split_op(
    split_dim: Array, indices: Array, values: Array, shape: Array, *, num_split: int
) -> tuple[list[Array], list[Array], list[Array]]:
    """Equal parts along one axis; where the size is no multiple, the first parts have one more."""
    sizes = checked(indices, values, shape)
    axis, rank = int(split_dim), len(sizes)
    if not -rank <= axis < rank:
        raise refuse(f"Input split_dim should be between [{-rank}, {rank}), got {axis}")
    axis %= rank
    if not 1 <= num_split <= sizes[axis]:
        raise refuse(f"Input num_split should be between 1 and the splitting dimension size ({sizes[axis]}), "
                     f"got {num_split}")  # fmt: skip
    least, extra = divmod(sizes[axis], num_split)
    places, elements, shapes = [], [], []
    start = 0
    for part in range(num_split):
        size = least + (part < extra)
        chosen = (indices[:, axis] >= start) & (indices[:, axis] < start + size)
        rows = indices[chosen]
        rows[:, axis] -= start
        places.append(rows)
        elements.append(values[chosen])
        shapes.append(np.array([*sizes[:axis], size, *sizes[axis + 1 :]], np.int64))
        start += size
    return places, elements, shapes


def _slice_shape(node: Any) -> list[TensorShape]:
    _, _, rank = three(node)
    for position, name in ((3, "start"), (4, "size")):
        rank = rank.merge_with(rank_exactly(node, position, 1, name))
    return _any_number_of(rank)


@op("SparseSlice", "indices:int64; values:T; shape:int64; start:int64; size:int64",
    "output_indices:int64; output_values:T; output_shape:int64", "T:type", infer=_slice_shape)  # fmt: skip
def sparse_slice_op(
    indices: Array, values: Array, shape: Array, start: Array, size: Array
) -> tuple[Array, Array, Array]:
    """The elements of a box, which may reach beyond the tensor."""
    sizes = checked(indices, values, shape)
    if start.shape != shape.shape or size.shape != shape.shape:
        raise refuse(
            f"start and size must have one element per axis, have {list(start.shape)} and {list(size.shape)}"
        )
    if (start < 0).any() or (size < 0).any():
        raise refuse(f"start and size must not be negative, got {start.tolist()} and {size.tolist()}")
    result = np.clip(np.array(sizes, np.int64) - start, 0, size)
    chosen = ((indices >= start) & (indices < start + result)).all(axis=1)
    return indices[chosen] - start, values[chosen], result


@sparse_slice_op.gradient
def sparse_slice_gradient(op: Any, d_indices: Any, d_values: Any, d_shape: Any) -> list[Any]:
    """Zero for the elements that were left out."""
    if d_values is None:
        return [None] * 5
    result = emit.SparseSliceGrad(d_values, op.inputs[0], op.inputs[3], op.outputs[0])
    result.set_shape(op.inputs[1].shape)
    return [None, result, None, None, None]


def _slice_grad_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 1, "backprop_val_grad")
    indices = rank_exactly(node, 1, 2, "input_indices")
    indices[1:].merge_with(rank_exactly(node, 2, 1, "input_start"))
    indices[1:].merge_with(rank_exactly(node, 3, 2, "output_indices")[1:])
    return indices[:1]


@op("SparseSliceGrad", "backprop_val_grad:T; input_indices:int64; input_start:int64; output_indices:int64",
    "val_grad:T", f"T:type{{{NUMBERS}}}", infer=_slice_grad_shape)  # fmt: skip
def sparse_slice_grad_op(
    backprop_val_grad: Array, input_indices: Array, input_start: Array, output_indices: Array
) -> Array:
    """The gradient of each element that was taken, zero for the others."""
    if len(backprop_val_grad) != len(output_indices):
        raise refuse(
            f"{len(backprop_val_grad)} gradients do not fit output_indices of shape {list(output_indices.shape)}"
        )
    mine, theirs, count = same_places(input_indices, output_indices + input_start)
    found = np.zeros(count, backprop_val_grad.dtype)
    found[theirs] = backprop_val_grad
    used = int(np.isin(theirs, mine).sum())
    if used != len(theirs):
        raise refuse(f"of {len(theirs)} gradients only {used} belong to an element of the input")
    return found[mine]


@sparse_slice_grad_op.gradient
def sparse_slice_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The elements that were taken stand in the order of the input."""
    backprop, indices, start, taken = op.inputs
    mask = emit.SparseSliceGrad(emit.OnesLike(backprop), indices, start, taken)
    chosen = emit.Where(emit.NotEqual(mask, emit.ZerosLike(mask)))
    return [gather(dy, emit.Reshape(chosen, np.array([-1], np.int32))), None, None, None]


def _fill_rows_shape(node: Any) -> list[TensorShape]:
    indices, count, rank = three(node)
    rank_exactly(node, 3, 0, "default_value")
    size = node.constant_shape(2).as_tuple()
    rows = TensorShape([size[0] if size else None])
    return [*_any_number_of(rank)[:2], rows, count]


@op("SparseFillEmptyRows", "indices:int64; values:T; dense_shape:int64; default_value:T",
    "output_indices:int64; output_values:T; empty_row_indicator:bool; reverse_index_map:int64", "T:type",
    infer=_fill_rows_shape)  # fmt: skip
def sparse_fill_empty_rows_op(
    indices: Array, values: Array, dense_shape: Array, default_value: Array
) -> tuple[Array, Array, Array, Array]:
    """Adds the default at the start of every row (of the first axis) that has no element."""
    if not dense_shape.size:
        raise refuse("Dense shape cannot be empty.")
    if default_value.ndim:
        raise refuse(f"default_value should be a scalar, has shape {list(default_value.shape)}")
    sizes = checked(indices, values, dense_shape)
    rows = indices[:, 0]
    empty = np.ones(sizes[0], np.bool_)
    empty[rows] = False
    added = np.zeros((int(empty.sum()), len(sizes)), np.int64)
    added[:, 0] = np.flatnonzero(empty)
    order = np.argsort(np.concatenate([rows, added[:, 0]]), kind="stable")
    came_to = np.empty(len(order), np.int64)
    came_to[order] = np.arange(len(order))
    fill = np.empty(len(added), values.dtype)
    fill[...] = default_value
    return (
        np.concatenate([indices, added])[order],
        np.concatenate([values, fill])[order],
        empty,
        came_to[: len(rows)],
    )


@sparse_fill_empty_rows_op.gradient
def sparse_fill_empty_rows_gradient(
    op: Any, d_indices: Any, d_values: Any, d_empty: Any, d_map: Any
) -> list[Any]:
    """To the values what came to them, to the default the sum of the rest."""
    if d_values is None:
        return [None] * 4
    values, default = emit.SparseFillEmptyRowsGrad(op.outputs[3], d_values)
    return [None, values, None, default]


def _fill_rows_grad_shape(node: Any) -> list[TensorShape]:
    count = rank_exactly(node, 0, 1, "reverse_index_map")
    rank_exactly(node, 1, 1, "grad_values")
    return [count, TensorShape([])]


@op("SparseFillEmptyRowsGrad", "reverse_index_map:int64; grad_values:T", "d_values:T; d_default_value:T",
    f"T:type{{{NUMBERS}}}", infer=_fill_rows_grad_shape)  # fmt: skip
def sparse_fill_empty_rows_grad_op(reverse_index_map: Array, grad_values: Array) -> tuple[Array, Array]:
    """The gradients at the mapped places, and the sum of all others."""
    bad = (reverse_index_map < 0) | (reverse_index_map >= len(grad_values))
    if bad.any():
        raise refuse(
            f"Elements in reverse index must be in [0, {len(grad_values)}) but got {reverse_index_map[bad][0]}"
        )
    rest = np.ones(len(grad_values), np.bool_)
    rest[reverse_index_map] = False
    return grad_values[reverse_index_map], np.sum(grad_values[rest], dtype=grad_values.dtype)


@sparse_fill_empty_rows_grad_op.gradient
def sparse_fill_empty_rows_grad_gradient(op: Any, d_values: Any, d_default: Any) -> list[Any]:
    """Everything goes back to where it came from."""
    places, grad = op.inputs
    count = emit.Size(grad)
    total: Any = None
    if d_values is not None:
        total = emit.UnsortedSegmentSum(d_values, places, count)
    if d_default is not None:
        taken = emit.UnsortedSegmentMax(emit.OnesLike(places), places, count)
        rest = emit.SelectV2(emit.Equal(taken, np.int64(1)), emit.ZerosLike(d_default), d_default)
        total = rest if total is None else total + rest
    return [None, total]


# ---------------------------------------------------------------------------- public functions


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """Returns a sparse tensor to be fed: with a `SparseTensorValue`, or a tuple (indices, values, dense_shape).

    Args:
      dtype: the dtype of the values.
      shape: the dense shape; None or -1 for sizes that are not known.
      name: a name, which is put before those of the three placeholders.
    """

    def named(part: str) -> str | None:
        return None if name is None else f"{name}/{part}"

    rank: int | None = None
    known = UNKNOWN
    if shape is None:
        dense_shape = placeholder(dtypes.int64, [None], named("shape"))
    else:
        if isinstance(shape, Tensor):
            known = constant_value_as_shape(shape)
            default = shape
            rank = shape.shape.as_list()[0]
        else:
            known = as_shape([None if size == -1 else size for size in as_shape_list(shape)])
            sizes = [-1 if size is None else size for size in known.as_list()]
            rank = len(sizes)
            default = convert_to_tensor(np.array(sizes, np.int64), name=named("shape_default"))
        dense_shape = placeholder_with_default(default, default.shape, named("shape"))
    result = SparseTensor(
        values=placeholder(dtype, [None], named("values")),
        indices=placeholder(dtypes.int64, [None, rank], named("indices")),
        dense_shape=dense_shape,
    )
    result.set_shape(known)
    return result


def as_shape_list(shape: Any) -> list[int | None]:
    """The sizes of a shape given as a TensorShape or a list."""
    if isinstance(shape, TensorShape):
        return shape.as_list()
    return [None if size is None or getattr(size, "value", size) is None else int(size) for size in shape]


def sparse_to_dense(
    sparse_indices: Any, output_shape: Any, sparse_values: Any, default_value: Any = 0,
    validate_indices: bool = True, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns a tensor that holds values at indices and a default everywhere else.

    Args:
      sparse_indices: int32 or int64 [n, rank]; or [n] for a vector, or a scalar for one element.
      output_shape: the shape, of the indices' dtype.
      sparse_values: [n], or one value for all.
      default_value: what stands everywhere else.
      validate_indices: whether indices must be in order and without repetition.
      name: a name.
    """
    indices = convert_to_tensor(sparse_indices, preferred_dtype=dtypes.int32)
    values = convert_to_tensor(sparse_values)
    result: Tensor = emit.SparseToDense(
        indices, convert_to_tensor(output_shape, indices.dtype), values,
        convert_to_tensor(default_value, values.dtype), validate_indices=validate_indices, name=name,
    )  # fmt: skip
    return result


def sparse_tensor_to_dense(
    sp_input: Any, default_value: Any = None, validate_indices: bool = True, name: str | None = None
) -> Tensor:
    """Returns a sparse tensor as a dense one; the default of the default is zero (or the empty string)."""
    sp = as_sparse(sp_input)
    if default_value is None:
        default_value = b"" if sp.dtype is dtypes.string else np.zeros((), sp.dtype.as_numpy_dtype)
    result = sparse_to_dense(sp.indices, sp.dense_shape, sp.values, default_value, validate_indices, name)
    result.set_shape(sp.shape)  # which may be known of the sparse tensor alone
    return result


def dense_to_sparse(tensor: Any, name: str | None = None) -> SparseTensor:
    """Returns the elements of a tensor that are not zero (or the empty string)."""
    with name_scope(name, "dense_to_sparse", [tensor]):
        tensor = convert_to_tensor(tensor)
        nothing = b"" if tensor.dtype is dtypes.string else np.zeros((), tensor.dtype.as_numpy_dtype)
        indices = emit.Where(emit.NotEqual(tensor, nothing))
        result = SparseTensor(indices, gather_nd(tensor, indices), emit.Shape(tensor, out_type=dtypes.int64))
        result.set_shape(tensor.shape)
        return result


def sparse_eye(
    num_rows: Any, num_columns: Any = None, dtype: Any = dtypes.float32, name: str | None = None
) -> SparseTensor:
    """Returns a sparse matrix with ones along the diagonal."""
    with name_scope(name, "eye", [num_rows, num_columns]):
        rows = _int64(num_rows, "num_rows")
        columns = rows if num_columns is None else _int64(num_columns, "num_columns")
        size = minimum(rows, columns)
        along = emit.Range(np.int64(0), size, np.int64(1))
        return SparseTensor(stack([along, along], axis=1), ones(size, dtype), [rows, columns])


def _int64(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        converted: Tensor = cast(value, dtypes.int64)
        return converted
    return convert_to_tensor(np.asarray(value, np.int64), name=name)


def sparse_reorder(sp_input: Any, name: str | None = None) -> SparseTensor:
    """Returns a sparse tensor with its elements in row-major order."""
    sp = as_sparse(sp_input)
    indices, values = emit.SparseReorder(sp.indices, sp.values, sp.dense_shape, name=name)
    return _like(indices, values, sp)


def _like(indices: Tensor, values: Tensor, sp: SparseTensor) -> SparseTensor:
    """Other elements under the same dense shape."""
    if sp.shape.is_fully_defined():
        return SparseTensor(indices, values, np.array(sp.shape.as_list(), np.int64))
    result = SparseTensor(indices, values, emit.Identity(sp.dense_shape))
    result.set_shape(sp.shape)
    return result


def sparse_reshape(sp_input: Any, shape: Any, name: str | None = None) -> SparseTensor:
    """Returns the elements of a sparse tensor under another shape, of which one size may be -1.

    Raises:
      ValueError: if the numbers of elements differ and that is known.
    """
    sp = as_sparse(sp_input)
    shape = cast(shape, dtypes.int64)
    with name_scope(name, "SparseReshape", [sp]) as scope:
        indices, new_shape = emit.SparseReshape(sp.indices, sp.dense_shape, shape, name=scope)
        wanted = constant_value(shape)
        if wanted is not None and sp.shape.is_fully_defined():
            count = math.prod(size or 0 for size in sp.shape.as_list())
            sizes = [int(size) for size in wanted]
            if sizes.count(-1) > 1:
                raise ValueError(f"At most one dimension can be inferred (-1). Found: {sizes}")
            if -1 in sizes and 0 not in sizes:
                known = math.prod(size for size in sizes if size != -1)
                sizes[sizes.index(-1)] = count // known
            if -1 not in sizes:
                if math.prod(sizes) != count:
                    raise ValueError(
                        f"Cannot reshape a tensor with {count} elements to shape {wanted.tolist()} "
                        f"({math.prod(sizes)} elements)."
                    )
                new_shape = convert_to_tensor(np.array(sizes, np.int64))
        return SparseTensor(indices, emit.Identity(sp.values), new_shape)


def sparse_concat(
    axis: int | None = None, sp_inputs: Any = None, name: str | None = None, expand_nonconcat_dim: bool = False,
    concat_dim: int | None = None, expand_nonconcat_dims: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """Joins sparse tensors along an axis.

    Args:
      axis: the axis; `concat_dim` is its old name.
      sp_inputs: sparse tensors that agree in all other sizes.
      name: a name.
      expand_nonconcat_dim: whether they need not agree: the largest size counts.
      concat_dim: see `axis`.
      expand_nonconcat_dims: the new name of `expand_nonconcat_dim`.
    """
    chosen = concat_dim if axis is None else axis
    if chosen is None:
        raise ValueError("Must specify `axis` argument")
    if not isinstance(sp_inputs, list | tuple):
        raise TypeError(f"Inputs must be a list, got {sp_inputs!r}")
    parts = [as_sparse(part) for part in sp_inputs]
    if len(parts) == 1:
        return parts[0]
    expand = expand_nonconcat_dim if expand_nonconcat_dims is None else expand_nonconcat_dims
    shapes = [part.dense_shape for part in parts]
    if expand:
        largest = reduce_max(concat([reshape(shape, [1, -1]) for shape in shapes], 0), 0)
        after = [] if chosen == -1 else [largest[chosen + 1 :]]
        own = [shape[-1:] if chosen == -1 else shape[chosen : chosen + 1] for shape in shapes]
        shapes = [concat([largest[:chosen], size, *after], 0) for size in own]
    indices, values, dense_shape = emit.SparseConcat(
        [part.indices for part in parts], [part.values for part in parts], shapes, concat_dim=chosen, name=name
    )  # fmt: skip
    known = _joined([part.shape for part in parts], chosen, expand)
    if known.is_fully_defined():
        return SparseTensor(indices, values, np.array(known.as_list(), np.int64))
    result = SparseTensor(indices, values, dense_shape)
    result.set_shape(known)
    return result


def _joined(shapes: Sequence[TensorShape], axis: int, expand: bool) -> TensorShape:
    if any(shape.rank is None for shape in shapes):
        return UNKNOWN
    sizes = []
    rank = shapes[0].rank or 0
    for i in range(rank):
        own = [shape.as_list()[i] for shape in shapes]
        known = [size for size in own if size is not None]
        if i == axis % rank:
            sizes.append(sum(known) if len(known) == len(own) else None)
        elif expand:
            sizes.append(max(known) if len(known) == len(own) else None)
        else:
            sizes.append(known[0] if known else None)
    return TensorShape(sizes)


def sparse_split(
    keyword_required: Any = None, sp_input: Any = None, num_split: int | None = None, axis: Any = None,
    name: str | None = None, split_dim: Any = None,
) -> list[SparseTensor]:  # fmt: skip
    """Cuts a sparse tensor into parts along an axis; the first parts have one more where the size is no multiple.

    Args:
      keyword_required: must be left out: all others are given by name.
      sp_input: the tensor.
      num_split: how many parts.
      axis: the axis; `split_dim` is its old name.
      name: a name.
      split_dim: see `axis`.
    """
    if keyword_required is not None:
        raise ValueError("Keyword arguments are required for this function.")
    chosen = split_dim if axis is None else axis
    if sp_input is None or num_split is None or chosen is None:
        raise ValueError("sp_input, num_split and axis are required")
    sp = as_sparse(sp_input)
    parts = emit.SparseSplit(
        convert_to_tensor(chosen, dtypes.int64), sp.indices, sp.values, sp.dense_shape, num_split=num_split, name=name
    )  # fmt: skip
    return [SparseTensor(*part) for part in zip(*parts, strict=True)]


def sparse_slice(sp_input: Any, start: Any, size: Any, name: str | None = None) -> SparseTensor:
    """Returns the elements of a box; start and size hold one number per axis, and may reach beyond the tensor."""
    sp = as_sparse(sp_input)
    start, size = convert_to_tensor(start, dtypes.int64), convert_to_tensor(size, dtypes.int64)
    with name_scope(name, "SparseSlice", [sp]) as scope:
        return SparseTensor(*emit.SparseSlice(sp.indices, sp.values, sp.dense_shape, start, size, name=scope))


def sparse_expand_dims(sp_input: Any, axis: Any = None, name: str | None = None) -> SparseTensor:
    """Returns a sparse tensor with an axis of size one put in before `axis` (default: at the end)."""
    sp = as_sparse(sp_input)
    rank = sp.dense_shape.shape.as_list()[0]
    if rank is None:
        raise ValueError("expand_dims needs a sparse tensor of known rank")
    at = -1 if axis is None else int(axis)
    if not -rank - 1 <= at <= rank:
        raise ValueError(f"axis must be an integer value in range [{-rank - 1}, {rank}], got {at}")
    at = at if at >= 0 else at + rank + 1
    with name_scope(name, "expand_dims", [sp]):
        column = emit.ZerosLike(slice(sp.indices, [0, 0], [-1, 1]))
        indices = concat([sp.indices[:, :at], column, sp.indices[:, at:]], 1)
        shape = concat([sp.dense_shape[:at], np.array([1], np.int64), sp.dense_shape[at:]], 0)
        return SparseTensor(indices, sp.values, shape)


def sparse_transpose(sp_input: Any, perm: Any = None, name: str | None = None) -> SparseTensor:
    """Returns a sparse tensor with its axes in another order (reversed by default), its elements in row-major order."""
    sp = as_sparse(sp_input)
    with name_scope(name, "SparseTranspose", [sp]):
        if perm is None:
            rank = sp.shape.rank
            if rank is None:
                rank = sp.dense_shape.shape.as_list()[0]
            if rank is None:
                raise ValueError("a transpose without perm needs a sparse tensor of known rank")
            perm = np.arange(rank, dtype=np.int32)[::-1]
        perm = convert_to_tensor(perm)
        indices = transpose(gather(transpose(sp.indices), perm))
        order = constant_value(perm)
        if order is not None and sp.shape.is_fully_defined():
            sizes = sp.shape.as_list()
            shape: Any = np.array([sizes[axis] for axis in order.tolist()], np.int64)
        else:
            shape = gather(sp.dense_shape, perm)
        return sparse_reorder(SparseTensor(indices, sp.values, shape))


def sparse_retain(sp_input: Any, to_retain: Any) -> SparseTensor:
    """Returns the elements for which the booleans `to_retain` [n] hold."""
    sp = as_sparse(sp_input)
    mask = convert_to_tensor(to_retain)
    sp.values.shape.merge_with(mask.shape.with_rank(1))
    chosen = reshape(emit.Where(mask), [-1])
    return _like_retained(gather(sp.indices, chosen), gather(sp.values, chosen), sp)


def _like_retained(indices: Tensor, values: Tensor, sp: SparseTensor) -> SparseTensor:
    result = SparseTensor(indices, values, emit.Identity(sp.dense_shape))
    result.set_shape(sp.shape)
    return result


def sparse_reset_shape(sp_input: Any, new_shape: Any = None) -> SparseTensor:
    """Returns the same elements under a dense shape that is larger, or as small as the elements allow.

    Raises:
      ValueError: if the new shape is smaller than the old one and that is known.
    """
    sp = as_sparse(sp_input)
    indices, values, old = (emit.Identity(part) for part in (sp.indices, sp.values, sp.dense_shape))
    if new_shape is None:
        return SparseTensor(
            indices, values, maximum(np.int64(0), reduce_max(indices, 0) + emit.OnesLike(old))
        )
    wanted = cast(convert_to_tensor(new_shape), dtypes.int64)
    wanted.shape.with_rank(1).merge_with(old.shape)
    given = constant_value(wanted)
    if given is not None and sp.shape.is_fully_defined():
        if (given < np.array(sp.shape.as_list())).any():
            raise ValueError(
                f"Requested new_shape should have dimension sizes >= sp_input.shape.  Found new_shape "
                f"({given.tolist()}), sp_input.shape ({sp.shape})."
            )
        return SparseTensor(indices, values, given)
    same = assert_equal(emit.Shape(old), emit.Shape(wanted))
    fits = assert_less_equal(old, wanted)
    with control_dependencies([same, fits]):
        wanted = emit.Identity(wanted)
    return SparseTensor(indices, values, wanted)


def sparse_fill_empty_rows(
    sp_input: Any, default_value: Any, name: str | None = None
) -> tuple[SparseTensor, Tensor]:
    """Adds a default at the start of every row without elements.

    Args:
      sp_input: the tensor.
      default_value: the value.
      name: a name.

    Returns:
      The filled tensor, and bool [rows]: which rows had no element.
    """
    sp = as_sparse(sp_input)
    with name_scope(name, "SparseFillEmptyRows", [sp]):
        default = convert_to_tensor(default_value, sp.dtype)
        indices, values, empty, _ = emit.SparseFillEmptyRows(sp.indices, sp.values, sp.dense_shape, default)
        result = SparseTensor(indices, values, sp.dense_shape)
        result.set_shape(sp.shape)
        return result, empty


def sparse_merge(
    sp_ids: Any, sp_values: Any, vocab_size: Any, name: str | None = None, already_sorted: bool = False
) -> SparseTensor:
    """Returns a sparse tensor whose last axis holds `sp_values` at the places that `sp_ids` names.

    Args:
      sp_ids: a sparse tensor of ids (or a list of them, one per new axis).
      sp_values: a sparse tensor of the same places.
      vocab_size: the size of the last axis (or a list of sizes).
      name: a name.
      already_sorted: whether ids are in order within each row, so that nothing need be sorted.
    """
    if is_sparse(sp_ids):
        sp_ids, vocab_size = [sp_ids], [vocab_size]
    elif not isinstance(sp_ids, Iterable) or not isinstance(vocab_size, Iterable):
        raise TypeError("sp_ids has to be a SparseTensor or a list thereof, vocab_size then a list as well")
    if len(sp_ids) != len(vocab_size):
        raise ValueError("sp_ids and vocab_size have to have equal lengths.")
    with name_scope(name, "SparseMerge", [*sp_ids, sp_values]):
        ids = [as_sparse(part) for part in sp_ids]
        columns = [expand_dims(cast(part.values, dtypes.int64), 1) for part in ids]
        indices = concat([ids[0].indices[:, :-1], *columns], 1)
        sizes = [reshape(_int64(size, "vocab_size"), [1]) for size in vocab_size]
        shape = concat([ids[0].dense_shape[:-1], *sizes], 0)
        result = SparseTensor(indices, as_sparse(sp_values).values, shape)
        if already_sorted:
            return result
        ordered = sparse_reorder(result)
        return SparseTensor(ordered.indices, ordered.values, shape)


def sparse_to_indicator(sp_input: Any, vocab_size: Any, name: str | None = None) -> Tensor:
    """Returns bool [..., vocab_size]: which ids occur in each row (along the last axis) of a sparse tensor of ids."""
    sp = as_sparse(sp_input)
    with name_scope(name, "SparseToIndicator", [sp]) as scope:
        flags = emit.Fill(emit.Shape(sp.values), True)
        merged = sparse_merge(sp, sp.with_values(flags), vocab_size)
        return sparse_tensor_to_dense(merged, False, validate_indices=False, name=scope)


def sparse_mask(a: IndexedSlices, mask_indices: Any, name: str | None = None) -> IndexedSlices:
    """Returns the rows of IndexedSlices whose indices are not among `mask_indices`."""
    with name_scope(name, "sparse_mask", [a, mask_indices]) as scope:
        indices, chosen = emit.ListDiff(a.indices, mask_indices)
        return IndexedSlices(gather(a.values, chosen, name=scope), indices, a.dense_shape)


def map_values(op: Callable[..., Any], *args: Any, **kwargs: Any) -> SparseTensor:
    """Applies a function to the values of sparse tensors of the same places; other arguments are handed on.

    Raises:
      ValueError: if there is no sparse tensor, or the result has another shape than the values.
    """
    found: list[SparseTensor] = []

    def taken(value: Any) -> Any:
        if not is_sparse(value):
            return value
        found.append(as_sparse(value))
        return found[-1].values

    plain = [taken(value) for value in args]
    named = {name: taken(value) for name, value in kwargs.items()}
    if not found:
        raise ValueError("No SparseTensor in argument list of map_values")
    values = convert_to_tensor(op(*plain, **named))
    values.shape.merge_with(found[0].values.shape)
    return found[0].with_values(values)


__all__ = [
    "dense_to_sparse", "map_values", "sparse_concat", "sparse_expand_dims", "sparse_eye", "sparse_fill_empty_rows",
    "sparse_mask", "sparse_merge", "sparse_placeholder", "sparse_reorder", "sparse_reset_shape", "sparse_reshape",
    "sparse_retain", "sparse_slice", "sparse_split", "sparse_tensor_to_dense", "sparse_to_dense",
    "sparse_to_indicator", "sparse_transpose",
]  # fmt: skip
