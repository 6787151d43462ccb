"""Ops that read and write elements and slices at index vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import IndexedSlices, Tensor, name_scope
from graphflow.opdef import Bounds, OpDef, constant, convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.rules import (
    NUMBERS,
    Array,
    Declaration,
    Sizes,
    rank_at_least,
    refuse,
    shape_input,
    shape_tensor,
)
from graphflow.shapes import UNKNOWN, TensorShape


def _gather_nd_shape(node: Any) -> TensorShape:
    sizes, rows = node.inputs[0].shape.as_tuple(), rank_at_least(node, 1, 1, "indices").as_tuple()
    if rows is None or rows[-1] is None or sizes is None:
        return UNKNOWN
    depth = rows[-1]
    if depth > len(sizes):
        raise ShapeError(f"indices have {depth} entries each, params rank {len(sizes)}")
    return TensorShape((*rows[:-1], *sizes[depth:]))


def _nd_index(shape: Sizes, indices: Array) -> tuple[Array, ...]:
    depth = indices.shape[-1]
    if depth > len(shape):
        raise refuse(
            f"index innermost dimension length must be <= params rank; saw: {depth} vs. {len(shape)}"
        )
    parts = tuple(indices[..., i] for i in range(depth))
    for part, size in zip(parts, shape, strict=False):
        if np.any((part < 0) | (part >= size)):
            where = np.argwhere((part < 0) | (part >= size))[0].tolist()
            raise refuse(
                f"indices{where} = {indices[tuple(where)].tolist()} does not index into shape {list(shape)}"
            )
    return parts


@op(
    "GatherNd", "params:Tparams; indices:Tindices", "output:Tparams",
    "Tparams:type; Tindices:type{int16|int32|int64}; bad_indices_policy:string=", infer=_gather_nd_shape,
    lowering="gather_nd",
)  # fmt: skip
def gather_nd_op(params: Array, indices: Array) -> Any:
    """The elements or slices of `params` whose leading indices are the rows of `indices`."""
    parts = _nd_index(params.shape, indices)
    if not parts:
        return np.broadcast_to(params, indices.shape[:-1] + params.shape)
    return params[parts]


gather_nd_op.by_row(row_rules.picked_by_vectors)


def vector_bounds(position: int, shape: Callable[[Any], TensorShape]) -> Callable[[Any], dict[int, Bounds]]:
    """A rule of bounds: the index vectors at `position` lie in a shape."""

    def rule(node: Any) -> dict[int, Bounds]:
        depth, sizes = node.inputs[position].shape.as_list()[-1], shape(node).as_tuple()
        if sizes is None or depth is None or None in sizes[:depth] or not 0 < depth <= len(sizes):
            return {}
        return {position: (0, tuple(int(size or 0) for size in sizes[:depth]))}

    return rule


gather_nd_op.bounds(vector_bounds(1, lambda node: node.inputs[0].shape))


@gather_nd_op.gradient
def _gather_nd_gradient(op: Any, dy: Any) -> list[Any]:
    params, indices = op.inputs
    if indices.dtype is dtypes.int16:
        indices = emit.Cast(indices, DstT=dtypes.int32)
    if indices.shape.rank == 2 and indices.shape.as_list()[1] == 1:
        return [IndexedSlices(dy, emit.Squeeze(indices, squeeze_dims=[1]), shape_tensor(params)), None]
    return [emit.ScatterNd(indices, dy, shape_tensor(params, indices.dtype)), None]


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """Returns the elements or slices of `params` that the rows of `indices` name.

    Args:
      params: a tensor.
      indices: int [..., depth], depth at most the rank of params.
      name: name of the operation.
      batch_dims: how many leading dimensions `params` and `indices` go through in step.

    Returns:
      `indices.shape[:-1] + params.shape[depth:]`.

    Raises:
      ValueError: if with `batch_dims` ranks are unknown.
    """
    if not batch_dims:
        return emit.GatherNd(params, indices, name=name)
    with name_scope(name, "BatchGatherND", [params, indices]):
        params = convert_to_tensor(params, name="params")
        indices = convert_to_tensor(indices, name="indices")
        rank = indices.shape.rank
        if rank is None or not 0 < batch_dims < rank:
            raise ValueError(f"batch_dims = {batch_dims} must be less than rank(indices) = {rank}")
        rows = shape_tensor(indices, indices.dtype)
        zero, one = constant(0, rows.dtype), constant(1, rows.dtype)
        axes = [emit.Range(zero, rows[i], one) for i in range(batch_dims)]
        # Every index is given its place in the batch in front.
        lead_shape = emit.ConcatV2([rows[:-1], constant([1], rows.dtype)], 0)
        lead = []
        for i, axis in enumerate(axes):
            placed = emit.Reshape(axis, [-1 if at == i else 1 for at in range(rank)])
            lead.append(emit.BroadcastTo(placed, lead_shape))
        return emit.GatherNd(params, emit.ConcatV2([*lead, indices], -1))


# ---------------------------------------------------------------------------- scattering


def _scatter_nd_shape(node: Any) -> TensorShape:
    shape = shape_input(2)(node)
    sizes, rows, updates = shape.as_tuple(), node.inputs[0].shape.as_tuple(), node.inputs[1].shape
    _check_scatter(sizes, rows, updates)
    return shape


def _check_scatter(
    sizes: tuple[int | None, ...] | None, rows: tuple[int | None, ...] | None, updates: TensorShape
) -> None:
    if sizes is None or not rows or rows[-1] is None:
        return
    depth = rows[-1]
    if depth > len(sizes):
        raise ShapeError(f"indices have {depth} entries each, the result rank {len(sizes)}")
    wanted = TensorShape((*rows[:-1], *sizes[depth:]))
    if not updates.is_compatible_with(wanted):
        raise ShapeError(f"updates must have shape {wanted}, have {updates}")


@op(
    "ScatterNd", "indices:Tindices; updates:T; shape:Tindices", "output:T",
    "T:type; Tindices:type{int16|int32|int64}; bad_indices_policy:string=", infer=_scatter_nd_shape,
    lowering="nd_scatter",
)  # fmt: skip
def scatter_nd_op(indices: Array, updates: Array, shape: Array) -> Any:
    """Zeros of a shape with the updates added at the places that the rows of `indices` name."""
    blank = b"" if updates.dtype == object else 0
    result = np.full(tuple(int(size) for size in shape), blank, updates.dtype)
    return _scattered(np.add.at, result, indices, updates)


scatter_nd_op.bounds(vector_bounds(0, lambda node: node.constant_shape(2)))


def _scattered(apply: Callable[..., Any], target: Array, indices: Array, updates: Array) -> Array:
    parts = _nd_index(target.shape, indices)
    wanted = indices.shape[:-1] + target.shape[indices.shape[-1] :]
    if updates.shape != wanted:
        raise refuse(f"updates must have shape {list(wanted)}, have {list(updates.shape)}")
    if not parts:
        for update in updates.reshape((-1, *target.shape)):
            apply(target, ..., update)
        return target
    apply(target, parts, updates)
    return target


@scatter_nd_op.gradient
def _scatter_nd_gradient(op: Any, dy: Any) -> list[Any]:
    return [None, emit.GatherNd(dy, op.inputs[0]), None]


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Returns zeros of a shape with `updates` added at the places that the rows of `indices` name.

    Args:
      indices: int [..., depth].
      updates: tensor of shape `indices.shape[:-1] + shape[depth:]`; those at equal places add up.
      shape: integer vector of the dtype of `indices`.
      name: name of the operation.
    """
    return emit.ScatterNd(indices, updates, shape, name=name)


def _tensor_scatter_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    _check_scatter(shape.as_tuple(), node.inputs[1].shape.as_tuple(), node.inputs[2].shape)
    return shape


def tensor_scatter(op_type: str) -> Declaration:
    """Declares an op that changes a copy of a tensor at given places."""
    wide = "int16|int32|int64|uint16" if op_type == "TensorScatterUpdate" else "int32|int64"

    def declare(body: Callable[..., Any]) -> OpDef:
        definition = declared(body)
        definition.bounds(vector_bounds(1, lambda node: node.inputs[0].shape))
        return definition

    declared = op(
        op_type, "tensor:T; indices:Tindices; updates:T", "output:T",
        f"T:type; Tindices:type{{{wide}}}; bad_indices_policy:string=", infer=_tensor_scatter_shape,
        lowering=op_type.replace("TensorScatter", "nd_").lower(),
    )  # fmt: skip
    return declare


def _set_at(target: Array, where: Any, updates: Array) -> None:
    target[where] = updates


@tensor_scatter("TensorScatterUpdate")
def tensor_scatter_update_op(tensor: Array, indices: Array, updates: Array) -> Any:
    """The tensor with the updates at the places that the rows of `indices` name; the last one wins."""
    return _scattered(_set_at, tensor.copy(), indices, updates)


@tensor_scatter_update_op.gradient
def _tensor_scatter_update_gradient(op: Any, dy: Any) -> list[Any]:
    _, indices, updates = op.inputs
    kept = emit.TensorScatterUpdate(dy, indices, emit.ZerosLike(updates))
    return [kept, None, emit.GatherNd(dy, indices)]


@tensor_scatter("TensorScatterAdd")
def tensor_scatter_add_op(tensor: Array, indices: Array, updates: Array) -> Any:
    """The tensor plus the updates at the places that the rows of `indices` name."""
    return _scattered(np.add.at, tensor.copy(), indices, updates)


@tensor_scatter_add_op.gradient
def _tensor_scatter_add_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, None, emit.GatherNd(dy, op.inputs[1])]


@tensor_scatter("TensorScatterSub")
def tensor_scatter_sub_op(tensor: Array, indices: Array, updates: Array) -> Any:
    """The tensor minus the updates at the places that the rows of `indices` name."""
    return _scattered(np.subtract.at, tensor.copy(), indices, updates)


@tensor_scatter_sub_op.gradient
def _tensor_scatter_sub_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, None, emit.Neg(emit.GatherNd(dy, op.inputs[1]))]


@tensor_scatter("TensorScatterMax")
def tensor_scatter_max_op(tensor: Array, indices: Array, updates: Array) -> Any:
    """The greater of the tensor and the updates at the places that the rows of `indices` name."""
    return _scattered(np.maximum.at, tensor.copy(), indices, updates)


@tensor_scatter("TensorScatterMin")
def tensor_scatter_min_op(tensor: Array, indices: Array, updates: Array) -> Any:
    """The lesser of the tensor and the updates at the places that the rows of `indices` name."""
    return _scattered(np.minimum.at, tensor.copy(), indices, updates)


def _extreme_gradient(op: Any, dy: Any) -> list[Any]:
    """Shares the gradient among all that reached the extreme."""
    tensor, indices, updates = op.inputs
    chosen = op.outputs[0]
    mine = emit.Cast(emit.Equal(tensor, chosen), DstT=dy.dtype)
    theirs = emit.Cast(emit.Equal(updates, emit.GatherNd(chosen, indices)), DstT=dy.dtype)
    total = mine + emit.ScatterNd(indices, theirs, shape_tensor(tensor, indices.dtype))
    share = dy / total
    return [share * mine, None, emit.GatherNd(share, indices) * theirs]


tensor_scatter_max_op.gradient(_extreme_gradient)


@tensor_scatter_min_op.gradient
def _tensor_scatter_min_gradient(op: Any, dy: Any) -> list[Any]:
    return _extreme_gradient(op, dy)


@op("ScatterNdNonAliasingAdd", "input:T; indices:Tindices; updates:T", "output:T",
    f"T:type{{{NUMBERS}|bool}}; Tindices:type{{int32|int64}}; bad_indices_policy:string=",
    infer=_tensor_scatter_shape)  # fmt: skip
def scatter_nd_non_aliasing_add_op(input: Array, indices: Array, updates: Array) -> Any:
    """The input plus the updates at the places that the rows of `indices` name."""
    return _scattered(np.add.at, input.copy(), indices, updates)


@scatter_nd_non_aliasing_add_op.gradient
def _scatter_nd_non_aliasing_add_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy, None, emit.GatherNd(dy, op.inputs[1])]


def tensor_scatter_update(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """Returns the tensor with `updates` at the places that the rows of `indices` name."""
    return emit.TensorScatterUpdate(tensor, indices, updates, name=name)


def tensor_scatter_add(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """Returns the tensor plus `updates` at the places that the rows of `indices` name."""
    return emit.TensorScatterAdd(tensor, indices, updates, name=name)


def tensor_scatter_sub(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """Returns the tensor minus `updates` at the places that the rows of `indices` name."""
    return emit.TensorScatterSub(tensor, indices, updates, name=name)


def tensor_scatter_nd_max(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """Returns the greater of the tensor and `updates` at the places that the rows of `indices` name."""
    return emit.TensorScatterMax(tensor, indices, updates, name=name)


def tensor_scatter_nd_min(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """Returns the lesser of the tensor and `updates` at the places that the rows of `indices` name."""
    return emit.TensorScatterMin(tensor, indices, updates, name=name)


tensor_scatter_nd_update = tensor_scatter_update
tensor_scatter_nd_add = tensor_scatter_add
tensor_scatter_nd_sub = tensor_scatter_sub


__all__ = [
    "gather_nd", "scatter_nd", "tensor_scatter_add", "tensor_scatter_nd_add", "tensor_scatter_nd_max",
    "tensor_scatter_nd_min", "tensor_scatter_nd_sub", "tensor_scatter_nd_update", "tensor_scatter_sub",
    "tensor_scatter_update",
]  # fmt: skip
