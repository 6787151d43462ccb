"""Arithmetic on sparse tensors: sums, products with dense tensors, reductions, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast, square, truncated_quotient
from graphflow.ops.layout import concat, gather, matrix_transpose, reshape, transpose
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.rules import (
    NUMBERS,
    REALS,
    Array,
    Declaration,
    conjugate,
    is_half,
    rank_at_most,
    rank_exactly,
    widened,
)
from graphflow.ops.scatter import gather_nd
from graphflow.ops.sparse import (
    INDEX_TYPES,
    checked,
    positions,
    refuse,
    same_places,
    three,
)
from graphflow.ops.sparse_tensor import SparseTensor, as_sparse, is_sparse
from graphflow.shapes import UNKNOWN, TensorShape

# ---------------------------------------------------------------------------- matrix product


def _matmul_shape(node: Any) -> TensorShape:
    three(node, what="a_")
    b = rank_exactly(node, 3, 2, "b")
    a: TensorShape = node.constant_shape(2)
    if a.rank not in (None, 2):
        raise ShapeError(f"a must be a matrix, has shape {a}")
    rows, inner = a.as_list() if a.rank is not None else (None, None)
    if node.attrs["adjoint_a"]:
        rows, inner = inner, rows
    columns, depth = b.as_list()[::-1]
    if node.attrs["adjoint_b"]:
        columns, depth = depth, columns
    if inner is not None and depth is not None and inner != depth:
        raise ShapeError(f"inner sizes differ: a {a}, b {b} ({inner} != {depth})")
    return TensorShape([rows, columns])


@op("SparseTensorDenseMatMul", "a_indices:Tindices; a_values:T; a_shape:int64; b:T", "product:T",
    f"T:type{{{NUMBERS}}}; Tindices:type{{int32|int64}}=int64; adjoint_a:bool=false; adjoint_b:bool=false",
    infer=_matmul_shape)  # fmt: skip
@widened
def sparse_tensor_dense_matmul_op(
    a_indices: Array, a_values: Array, a_shape: Array, b: Array, *, adjoint_a: bool = False, adjoint_b: bool = False
) -> Array:  # fmt: skip
    """The product of a sparse matrix with a dense one."""
    sizes = checked(a_indices.astype(np.int64), a_values, a_shape, "a_")
    if len(sizes) != 2:
        raise refuse(f"Tensor 'a_shape' must have 2 elements, has {len(sizes)}")
    rows, columns = a_indices.T
    count, inner = sizes
    if adjoint_a:
        rows, columns, count, inner = columns, rows, inner, count
        a_values = np.conj(a_values)
    if adjoint_b:
        b = np.conj(b.T)
    if b.shape[0] != inner:
        raise refuse(
            f"Cannot multiply A and B because inner dimension does not match: {inner} vs. {b.shape[0]}"
        )
    result = np.zeros((count, b.shape[1]), b.dtype)
    np.add.at(result, rows, a_values[:, None] * b[columns])
    return result


@sparse_tensor_dense_matmul_op.expand
def sparse_tensor_dense_matmul_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Rows of b, scaled and summed up by the row that they go to."""
    indices, values, shape, b = inputs
    sizes, attrs = shape.constant, node.attrs
    if sizes is None or values.sizes is None or b.sizes is None or values.dtype.is_complex:
        return None
    if is_half(np.empty(0, values.dtype.numpy)) or 0 in (*values.sizes, *b.sizes, *sizes.tolist()):
        return None
    kind = indices.dtype.numpy

    def column(number: int) -> Any:
        bounds = (np.array([0, start], np.int32) for start in (number, number + 1))
        begin, end = (builder.constant(bound) for bound in bounds)
        steps = builder.constant(np.array([1, 1], np.int32))
        return builder.emit(
            "StridedSlice", indices, begin, end, steps, begin_mask=1, end_mask=1, shrink_axis_mask=2
        )

    rows, columns, count = column(0), column(1), int(sizes[0])
    if attrs["adjoint_a"]:
        rows, columns, count = columns, rows, int(sizes[1])
    if attrs["adjoint_b"]:
        b = builder.emit("Transpose", b, builder.constant(np.array([1, 0], np.int32)))
    total = builder.constant(np.array(count, kind), specialized=True)
    # Rows below zero would be dropped; as rows beyond the last they are refused.
    low = builder.emit("Less", rows, builder.constant(np.array(0, kind)))
    rows = builder.emit("SelectV2", low, total, rows)
    picked = builder.emit("GatherV2", b, columns, builder.constant(np.array(0, np.int32)))
    scale = builder.emit("Reshape", values, builder.constant(np.array([-1, 1], np.int32)))
    scaled = builder.emit("Mul", scale, picked)
    return [builder.emit("UnsortedSegmentSum", scaled, rows, total)]


@sparse_tensor_dense_matmul_op.gradient
def sparse_tensor_dense_matmul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To b by the adjoint matrix; to each element the product of the two rows that it joined."""
    indices, values, shape, b = op.inputs
    adjoint_a, adjoint_b = op.attrs["adjoint_a"], op.attrs["adjoint_b"]
    d_b = emit.SparseTensorDenseMatMul(indices, values, shape, dy, adjoint_a=not adjoint_a)
    if adjoint_b:
        d_b = matrix_transpose(d_b, conjugate=True)
    rows, columns = indices[:, 0], indices[:, 1]
    if adjoint_a:
        rows, columns = columns, rows
    mine = gather(dy, rows)
    theirs = gather(transpose(b) if adjoint_b else b, columns)
    if adjoint_a:
        mine = conjugate(mine)
    if adjoint_a == adjoint_b:
        theirs = conjugate(theirs)
    d_values = reduce_sum(mine * theirs, 1)
    return [None, d_values, None, d_b]


# ---------------------------------------------------------------------------- sums of two


def _two_shape(node: Any) -> list[TensorShape]:
    _, _, a = three(node, 0, "a_")
    _, _, b = three(node, 3, "b_")
    rank = a.merge_with(b)
    return [TensorShape([None]).concatenate(rank), TensorShape([None]), rank]


def _add_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 6, 0, "thresh")
    return _two_shape(node)


def _merged(
    a_indices: Array, a_values: Array, a_shape: Array, b_indices: Array, b_values: Array, b_shape: Array
) -> tuple[Array, Array, Array]:
    """All places of both, in row-major order; the value that each has there; and which places both have."""
    sizes = checked(a_indices, a_values, a_shape, "a_")
    if sizes != checked(b_indices, b_values, b_shape, "b_"):
        raise refuse(f"Operands' shapes do not match: got {list(sizes)} and {b_shape.tolist()}")
    mine, theirs, count = same_places(a_indices, b_indices)
    places = np.zeros((count, len(sizes)), np.int64)
    places[mine], places[theirs] = a_indices, b_indices
    values = np.zeros((2, count), a_values.dtype)
    held = np.zeros((2, count), np.bool_)
    for side, own, elements in ((0, mine, a_values), (1, theirs, b_values)):
        np.add.at(values[side], own, elements)
        held[side, own] = True
    return places, values, np.logical_and(held[0], held[1])


@op("SparseAdd",
    "a_indices:int64; a_values:T; a_shape:int64; b_indices:int64; b_values:T; b_shape:int64; thresh:Treal",
    "sum_indices:int64; sum_values:T; sum_shape:int64", f"T:type{{{NUMBERS}}}; Treal:type{{{REALS}}}",
    infer=_add_shape)  # fmt: skip
def sparse_add_op(
    a_indices: Array, a_values: Array, a_shape: Array, b_indices: Array, b_values: Array, b_shape: Array,
    thresh: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The sum; where both have an element, it is left out if it is smaller than the threshold."""
    places, values, shared = _merged(a_indices, a_values, a_shape, b_indices, b_values, b_shape)
    total = values[0] + values[1]
    kept = ~shared | (np.abs(total) >= thresh)
    return places[kept], total[kept], a_shape


@sparse_add_op.gradient
def sparse_add_gradient(op: Any, d_indices: Any, d_values: Any, d_shape: Any) -> list[Any]:
    """To both what stands at their places in the sum."""
    if d_values is None:
        return [None] * 7
    d_a, d_b = emit.SparseAddGrad(d_values, op.inputs[0], op.inputs[3], op.outputs[0])
    d_a.set_shape(op.inputs[1].shape)
    d_b.set_shape(op.inputs[4].shape)
    return [None, d_a, None, None, d_b, None, None]


def _add_grad_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 1, "backprop_val_grad")
    shapes = [rank_exactly(node, i, 2, node.op_def.inputs[i].name) for i in (1, 2, 3)]
    shapes[0][1:].merge_with(shapes[1][1:]).merge_with(shapes[2][1:])
    return [shapes[0][:1], shapes[1][:1]]


@op("SparseAddGrad", "backprop_val_grad:T; a_indices:int64; b_indices:int64; sum_indices:int64",
    "a_val_grad:T; b_val_grad:T", f"T:type{{{NUMBERS}}}", infer=_add_grad_shape)  # fmt: skip
def sparse_add_grad_op(
    backprop_val_grad: Array, a_indices: Array, b_indices: Array, sum_indices: Array
) -> tuple[Array, Array]:
    """The gradient at the places of each operand, zero where the sum left the place out."""
    if len(backprop_val_grad) != len(sum_indices):
        raise refuse(f"{len(backprop_val_grad)} gradients do not fit {len(sum_indices)} places of the sum")
    results = []
    for own in (a_indices, b_indices):
        mine, theirs, count = same_places(own, sum_indices)
        found = np.zeros(count, backprop_val_grad.dtype)
        found[theirs] = backprop_val_grad
        results.append(found[mine])
    return results[0], results[1]


@sparse_add_grad_op.gradient
def sparse_add_grad_gradient(op: Any, d_a: Any, d_b: Any) -> list[Any]:
    """Both operands' shares, summed up by the place in the sum that they came from."""
    backprop, *places = op.inputs
    count = emit.Size(backprop)
    numbers = cast(emit.Range(1, emit.AddV2(count, 1), 1), dtypes.float64)
    total: Any = None
    for came_from, share in zip(emit.SparseAddGrad(numbers, *places), (d_a, d_b), strict=True):
        if share is not None:
            # Zero means that the place is not in the sum: as segment -1 it is dropped.
            part = emit.UnsortedSegmentSum(share, cast(came_from, dtypes.int64) - np.int64(1), count)
            total = part if total is None else total + part
    return [total, None, None, None]


def _extreme(op_type: str, choose: Any) -> OpDef:
    def body(
        a_indices: Array, a_values: Array, a_shape: Array, b_indices: Array, b_values: Array, b_shape: Array
    ) -> tuple[Array, Array]:
        places, values, _ = _merged(a_indices, a_values, a_shape, b_indices, b_values, b_shape)
        return places, choose(values[0], values[1])

    body.__doc__ = (
        f"The {choose.__name__} of two sparse tensors; what only one of them holds is held against zero."
    )
    return op(
        op_type, "a_indices:int64; a_values:T; a_shape:int64; b_indices:int64; b_values:T; b_shape:int64",
        "output_indices:int64; output_values:T", f"T:type{{{REALS}}}",
        infer=lambda node: _two_shape(node)[:2], differentiable=False,
    )(body)  # fmt: skip


sparse_sparse_maximum_op = _extreme("SparseSparseMaximum", np.maximum)
sparse_sparse_minimum_op = _extreme("SparseSparseMinimum", np.minimum)


# ---------------------------------------------------------------------------- with a dense tensor


def _dense_add_shape(node: Any) -> TensorShape:
    three(node, what="a_")
    shape: TensorShape = node.inputs[3].shape
    return shape.merge_with(node.constant_shape(2))


@op("SparseTensorDenseAdd", "a_indices:Tindices; a_values:T; a_shape:Tindices; b:T", "output:T",
    f"T:type{{{NUMBERS}}}; {INDEX_TYPES}", infer=_dense_add_shape)  # fmt: skip
def sparse_tensor_dense_add_op(a_indices: Array, a_values: Array, a_shape: Array, b: Array) -> Array:
    """A dense tensor with the elements of a sparse one of the same shape added."""
    sizes = checked(a_indices.astype(np.int64), a_values, a_shape, "a_")
    if sizes != b.shape:
        raise refuse(f"Operands a and b have different shapes: {list(sizes)} and {list(b.shape)}")
    result = b.copy()
    np.add.at(result, tuple(a_indices.T), a_values)
    return result


@sparse_tensor_dense_add_op.gradient
def sparse_tensor_dense_add_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the elements what stands at their places, to b everything."""
    return [None, gather_nd(dy, op.inputs[0]), None, dy]


def _cwise_shape(node: Any) -> TensorShape:
    _, values, _ = three(node, what="sp_")
    return values


def cwise(op_type: str) -> Declaration:
    """Declares an operation between the elements of a sparse tensor and a dense tensor that broadcasts to it."""
    return op(op_type, "sp_indices:int64; sp_values:T; sp_shape:int64; dense:T", "output:T",
              f"T:type{{{NUMBERS}}}", infer=_cwise_shape)  # fmt: skip


def _dense_elements(sp_indices: Array, sp_values: Array, sp_shape: Array, dense: Array) -> Array:
    """The elements of `dense`, broadcast to the sparse shape, at the sparse indices."""
    sizes = checked(sp_indices, sp_values, sp_shape, "sp_")
    lead = len(sizes) - dense.ndim
    if lead < 0 or any(
        size not in (1, whole) for size, whole in zip(dense.shape, sizes[max(lead, 0) :], strict=True)
    ):
        raise refuse(
            f"SparseDenseBinaryOpShared broadcasts dense to sparse only; got incompatible shapes: "
            f"{list(sizes)} vs. {list(dense.shape)}"
        )
    picked: Array = np.broadcast_to(dense, sizes)[tuple(sp_indices.T)]
    return picked


@cwise("SparseDenseCwiseMul")
@widened
def sparse_dense_cwise_mul_op(sp_indices: Array, sp_values: Array, sp_shape: Array, dense: Array) -> Array:
    """Each element times the dense one at its place."""
    return sp_values * _dense_elements(sp_indices, sp_values, sp_shape, dense)


@cwise("SparseDenseCwiseDiv")
@widened
def sparse_dense_cwise_div_op(sp_indices: Array, sp_values: Array, sp_shape: Array, dense: Array) -> Array:
    """Each element divided by the dense one at its place."""
    below = _dense_elements(sp_indices, sp_values, sp_shape, dense)
    quotient: Array = truncated_quotient(sp_values, below)
    return quotient


@cwise("SparseDenseCwiseAdd")
@widened
def sparse_dense_cwise_add_op(sp_indices: Array, sp_values: Array, sp_shape: Array, dense: Array) -> Array:
    """Each element plus the dense one at its place; places without an element stay empty."""
    return sp_values + _dense_elements(sp_indices, sp_values, sp_shape, dense)


def _places_in_dense(op: Any) -> tuple[Tensor, Tensor]:
    """Where in the dense operand each element finds its partner, and the dense shape."""
    indices, _, sp_shape, dense = op.inputs
    shape = emit.Shape(dense, out_type=dtypes.int64)
    lead = reshape(emit.Size(sp_shape) - emit.Size(shape), [1])
    ones = emit.Fill(lead, np.int64(1))
    scale = emit.FloorDiv(sp_shape, concat([ones, shape], 0))
    scaled = emit.FloorDiv(indices, scale)
    return emit.Slice(scaled, concat([[0], lead], 0), [-1, -1]), shape


def _partners(op: Any, places: Tensor) -> Tensor:
    """The dense elements that the sparse ones met."""
    dense: Tensor = op.inputs[3]
    return dense if dense.shape.rank == 0 else gather_nd(dense, places)


def _back_to_dense(op: Any, places: Tensor, shape: Tensor, values: Tensor) -> Tensor:
    if op.inputs[3].shape.rank == 0:
        return reduce_sum(values)
    zeros = emit.ZerosLike(op.inputs[3])
    result: Tensor = emit.SparseTensorDenseAdd(places, values, shape, zeros)
    return result


@sparse_dense_cwise_mul_op.gradient
def sparse_dense_cwise_mul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The product rule."""
    places, shape = _places_in_dense(op)
    partner = conjugate(_partners(op, places))
    d_dense = _back_to_dense(op, places, shape, dy * conjugate(op.inputs[1]))
    return [None, dy * partner, None, d_dense]


@sparse_dense_cwise_div_op.gradient
def sparse_dense_cwise_div_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The quotient rule."""
    places, shape = _places_in_dense(op)
    partner = conjugate(_partners(op, places))
    d_partner = dy * (-conjugate(op.inputs[1]) / square(partner))
    return [None, dy / partner, None, _back_to_dense(op, places, shape, d_partner)]


@sparse_dense_cwise_add_op.gradient
def sparse_dense_cwise_add_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient itself, on both sides."""
    places, shape = _places_in_dense(op)
    return [None, dy, None, _back_to_dense(op, places, shape, dy)]


# ---------------------------------------------------------------------------- reductions


def _groups(
    indices: Array, shape: Array, axes: Array, keep: bool
) -> tuple[Array, Array, tuple[int, ...], int]:
    """Which result each element goes to: (order, group per element in order, indices of groups, ...)."""
    rank = len(shape)
    if any(not -rank <= int(axis) < rank for axis in np.ravel(axes)):
        raise refuse(
            f"Invalid reduction dimension {np.ravel(axes).tolist()}, for input with {rank} dimensions."
        )
    dropped = {int(axis) % rank for axis in np.ravel(axes)}
    kept = [axis for axis in range(rank) if axis not in dropped]
    sizes = [int(size) for size in shape]
    within = indices[:, kept]
    group = positions(within, [sizes[axis] for axis in kept])
    found, first, number = np.unique(group, return_index=True, return_inverse=True)
    places = within[first]
    result = [sizes[axis] for axis in kept]
    if keep:
        result = [1 if axis in dropped else size for axis, size in enumerate(sizes)]
        wide = np.zeros((len(places), rank), np.int64)
        wide[:, kept] = places
        places = wide
    return places, np.asarray(number, np.int64).reshape(-1), tuple(result), len(found)


def _reduced(
    kind: str, indices: Array, values: Array, shape: Array, axes: Array, keep: bool
) -> tuple[Array, Array, Array]:
    checked(indices, values, shape, "input_")
    places, number, result, count = _groups(indices, shape, axes, keep)
    if kind == "sum":
        totals = np.zeros(count, values.dtype)
        np.add.at(totals, number, values)
    else:
        first = np.full(count, len(values))
        np.minimum.at(first, number, np.arange(len(values)))
        totals = values[first]
        np.maximum.at(totals, number, values)
    return places, totals, np.array(result, np.int64)


def _reduce_attrs(types: str) -> tuple[str, str]:
    inputs = "input_indices:int64; input_values:T; input_shape:int64; reduction_axes:int32"
    return inputs, f"keep_dims:bool=false; T:type{{{types}}}"


def _dense_reduce_shape(node: Any) -> TensorShape:
    three(node, what="input_")
    rank_at_most(node, 3, 1, "reduction_axes")
    shape, axes = node.constant_shape(2).as_tuple(), node.constant(3)
    if shape is None:
        return UNKNOWN
    if axes is None:
        return TensorShape([None] * len(shape)) if node.attrs["keep_dims"] else UNKNOWN
    if any(not -len(shape) <= int(axis) < len(shape) for axis in np.ravel(axes)):
        raise ShapeError(f"reduction_axes {np.ravel(axes).tolist()} do not fit rank {len(shape)}")
    dropped = {int(axis) % len(shape) for axis in np.ravel(axes)}
    if node.attrs["keep_dims"]:
        return TensorShape([1 if axis in dropped else size for axis, size in enumerate(shape)])
    return TensorShape([size for axis, size in enumerate(shape) if axis not in dropped])


def _dense_reduction(op_type: str, kind: str, types: str) -> OpDef:
    inputs, attrs = _reduce_attrs(types)

    @op(op_type, inputs, "output:T", attrs, infer=_dense_reduce_shape)
    @widened
    def body(
        input_indices: Array, input_values: Array, input_shape: Array, reduction_axes: Array, *,
        keep_dims: bool = False,
    ) -> Array:  # fmt: skip
        places, totals, shape = _reduced(
            kind, input_indices, input_values, input_shape, reduction_axes, keep_dims
        )
        result = np.zeros(tuple(shape), totals.dtype)
        result[tuple(places.T)] = totals if places.shape[1] else totals[:1].sum()
        return result

    return body


def _sparse_reduce_shape(node: Any) -> list[TensorShape]:
    three(node, what="input_")
    rank_at_most(node, 3, 1, "reduction_axes")
    return [TensorShape([None, None]), TensorShape([None]), TensorShape([None])]


def _sparse_reduction(op_type: str, kind: str, types: str) -> OpDef:
    inputs, attrs = _reduce_attrs(types)

    @op(op_type, inputs, "output_indices:int64; output_values:T; output_shape:int64", attrs,
        infer=_sparse_reduce_shape, differentiable=False)  # fmt: skip
    @widened
    def body(
        input_indices: Array, input_values: Array, input_shape: Array, reduction_axes: Array, *,
        keep_dims: bool = False,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        return _reduced(kind, input_indices, input_values, input_shape, reduction_axes, keep_dims)

    return body


sparse_reduce_sum_op = _dense_reduction("SparseReduceSum", "sum", NUMBERS)
sparse_reduce_max_op = _dense_reduction("SparseReduceMax", "max", REALS).not_differentiable()
sparse_reduce_sum_sparse_op = _sparse_reduction("SparseReduceSumSparse", "sum", NUMBERS)
sparse_reduce_max_sparse_op = _sparse_reduction("SparseReduceMaxSparse", "max", REALS)


@sparse_reduce_sum_op.gradient
def sparse_reduce_sum_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To each element what its sum receives."""
    indices, _, shape, axes = op.inputs
    wide = cast(shape, dtypes.int32)
    rank = emit.Size(wide)
    at = emit.FloorMod(emit.AddV2(reshape(axes, [-1]), rank), rank)
    numbers = emit.Range(0, rank, 1)
    kept = emit.DynamicStitch([numbers, at], [wide, emit.OnesLike(at)])
    spread = reshape(dy, kept)
    scale = emit.FloorDiv(shape, cast(kept, dtypes.int64))
    return [None, gather_nd(spread, emit.FloorDiv(indices, scale)), None, None]


def _softmax_shape(node: Any) -> TensorShape:
    _, values, _ = three(node, what="sp_")
    return values


@op("SparseSoftmax", "sp_indices:int64; sp_values:T; sp_shape:int64", "output:T",
    "T:type{float16|float32|float64}", infer=_softmax_shape)  # fmt: skip
@widened
def sparse_softmax_op(sp_indices: Array, sp_values: Array, sp_shape: Array) -> Array:
    """The softmax over the elements that each row along the last axis has."""
    sizes = checked(sp_indices, sp_values, sp_shape, "sp_")
    if len(sizes) < 2:
        raise refuse(f"Input should have rank >= 2, has {len(sizes)}")
    _, number = np.unique(positions(sp_indices[:, :-1], sizes[:-1]), return_inverse=True)
    number = np.asarray(number, np.int64).reshape(-1)
    count = int(number.max()) + 1 if len(number) else 0
    top = np.full(count, -np.inf, sp_values.dtype)
    np.maximum.at(top, number, sp_values)
    grown = np.exp(sp_values - top[number])
    total = np.zeros(count, sp_values.dtype)
    np.add.at(total, number, grown)
    result: Array = grown / total[number]
    return result


@sparse_softmax_op.gradient
def sparse_softmax_gradient(op: Any, dy: Tensor) -> list[Any]:
    """(dy - sum(dy * y)) * y, row by row."""
    indices, _, shape = op.inputs
    y = op.outputs[0]
    total = emit.SparseReduceSum(indices, dy * y, shape, np.array([-1], np.int32), keep_dims=True)
    return [None, emit.SparseDenseCwiseAdd(indices, dy, shape, -total) * y, None]


# ---------------------------------------------------------------------------- public functions


def sparse_tensor_dense_matmul(
    sp_a: Any, b: Any, adjoint_a: bool = False, adjoint_b: bool = False, name: str | None = None
) -> Tensor:
    """Returns the product of a sparse matrix with a dense one (or of a dense one with a sparse one).

    Args:
      sp_a: the left factor: one of the two is sparse.
      b: the right factor.
      adjoint_a: whether the left factor counts conjugated and transposed.
      adjoint_b: whether the right one does.
      name: a name.
    """
    if is_sparse(b):
        left, right = (adjoint_a, adjoint_b) if adjoint_a != adjoint_b else (not adjoint_a, not adjoint_b)
        return transpose(sparse_tensor_dense_matmul(b, sp_a, left, right))
    sp = as_sparse(sp_a)
    with name_scope(name, "SparseTensorDenseMatMul", [sp.indices, sp.values, b]) as scope:
        dense = convert_to_tensor(b, sp.dtype, name="b")
        result: Tensor = emit.SparseTensorDenseMatMul(
            sp.indices, sp.values, sp.dense_shape, dense, adjoint_a=adjoint_a, adjoint_b=adjoint_b, name=scope
        )
        return result


def sparse_add(a: Any, b: Any, threshold: Any = None, thresh: Any = None) -> SparseTensor | Tensor:
    """Returns the sum of two tensors, of which one at least is sparse; the sum is sparse if both are.

    Args:
      a: a tensor.
      b: a tensor.
      threshold: smaller sums of two elements are left out of a sparse sum; default 0. `thresh` is its old name.
      thresh: see `threshold`.
    """
    least = thresh if threshold is None else threshold
    if not is_sparse(a) and not is_sparse(b):
        raise TypeError("At least one input should be SparseTensor; do you mean to use gf.add()?")
    if not (is_sparse(a) and is_sparse(b)):
        sp, dense = (as_sparse(a), b) if is_sparse(a) else (as_sparse(b), a)
        result: Tensor = emit.SparseTensorDenseAdd(sp.indices, sp.values, sp.dense_shape, dense)
        return result
    left, right = as_sparse(a), as_sparse(b)
    known = left.shape.merge_with(right.shape)
    real = left.dtype.real_dtype
    indices, values, shape = emit.SparseAdd(
        left.indices, left.values, left.dense_shape, right.indices, right.values, right.dense_shape,
        convert_to_tensor(0 if least is None else least, real, name="threshold"),
    )  # fmt: skip
    if known.is_fully_defined():
        shape = np.array(known.as_list(), np.int64)
    total = SparseTensor(indices, values, shape)
    total.set_shape(known)
    return total


def _one_of(new: Any, old: Any, default: Any, name: str, old_name: str) -> Any:
    if new is not None and old is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and '{name}'.")
    chosen = old if new is None else new
    return default if chosen is None else chosen


def _axes_of(sp: SparseTensor, axis: Any) -> Any:
    if axis is not None:
        return convert_to_tensor(axis, dtypes.int32)
    rank = sp.dense_shape.shape.as_list()[0]
    if rank is not None:
        return np.arange(rank, dtype=np.int32)
    return emit.Range(0, emit.Size(sp.dense_shape), 1)


def _reduce(op_type: str, sp_input: Any, axis: Any, keepdims: Any, old_axes: Any, old_keep: Any) -> Any:
    sp = as_sparse(sp_input)
    axes = _axes_of(sp, _one_of(axis, old_axes, None, "axis", "reduction_axes"))
    keep = bool(_one_of(keepdims, old_keep, False, "keepdims", "keep_dims"))
    return getattr(emit, op_type)(sp.indices, sp.values, sp.dense_shape, axes, keep_dims=keep)


def sparse_reduce_sum(
    sp_input: Any, axis: Any = None, keepdims: bool | None = None, reduction_axes: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:  # fmt: skip
    """Returns the sums over axes (all of them by default) as a dense tensor.

    Args:
      sp_input: a sparse tensor.
      axis: the axes; `reduction_axes` is its old name.
      keepdims: whether the axes stay with size one; `keep_dims` is its old name.
      reduction_axes: see `axis`.
      keep_dims: see `keepdims`.
    """
    result: Tensor = _reduce("SparseReduceSum", sp_input, axis, keepdims, reduction_axes, keep_dims)
    return result


def sparse_reduce_max(
    sp_input: Any, axis: Any = None, keepdims: bool | None = None, reduction_axes: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:  # fmt: skip
    """Returns the largest stored elements over axes, zero where there is none; see `sparse_reduce_sum`."""
    result: Tensor = _reduce("SparseReduceMax", sp_input, axis, keepdims, reduction_axes, keep_dims)
    return result


def sparse_reduce_sum_sparse(
    sp_input: Any, axis: Any = None, keepdims: bool | None = None, reduction_axes: Any = None,
    keep_dims: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """Returns the sums over axes as a sparse tensor; see `sparse_reduce_sum`."""
    return SparseTensor(
        *_reduce("SparseReduceSumSparse", sp_input, axis, keepdims, reduction_axes, keep_dims)
    )


def sparse_reduce_max_sparse(
    sp_input: Any, axis: Any = None, keepdims: bool | None = None, reduction_axes: Any = None,
    keep_dims: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """Returns the largest stored elements over axes as a sparse tensor; see `sparse_reduce_sum`."""
    return SparseTensor(
        *_reduce("SparseReduceMaxSparse", sp_input, axis, keepdims, reduction_axes, keep_dims)
    )


def sparse_softmax(sp_input: Any, name: str | None = None) -> SparseTensor:
    """Returns the softmax over the elements that each row along the last axis has."""
    sp = as_sparse(sp_input)
    with name_scope(name, "SparseSoftmax", [sp]) as scope:
        return sp.with_values(emit.SparseSoftmax(sp.indices, sp.values, sp.dense_shape, name=scope))


def _extreme_of(op_type: str, sp_a: Any, sp_b: Any, name: str | None) -> SparseTensor:
    a, b = as_sparse(sp_a), as_sparse(sp_b)
    with name_scope(name, op_type, [a, b]) as scope:
        indices, values = getattr(emit, op_type)(
            a.indices, a.values, a.dense_shape, b.indices, b.values, b.dense_shape, name=scope
        )
        return SparseTensor(indices, values, a.dense_shape)


def sparse_maximum(sp_a: Any, sp_b: Any, name: str | None = None) -> SparseTensor:
    """Returns the larger elements; what only one holds is held against zero."""
    return _extreme_of("SparseSparseMaximum", sp_a, sp_b, name)


def sparse_minimum(sp_a: Any, sp_b: Any, name: str | None = None) -> SparseTensor:
    """Returns the smaller elements; what only one holds is held against zero."""
    return _extreme_of("SparseSparseMinimum", sp_a, sp_b, name)


__all__ = [
    "sparse_add", "sparse_maximum", "sparse_minimum", "sparse_reduce_max",
    "sparse_reduce_max_sparse", "sparse_reduce_sum", "sparse_reduce_sum_sparse", "sparse_softmax",
    "sparse_tensor_dense_matmul",
]  # fmt: skip
