"""Variables as operations: the handle, reading, assigning, gathering and scattering rows.

In a run a variable's state is a value, so the bodies here are pure: where the graph has a handle they take the
state, and those that write return the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import DTypeError, InvalidArgumentError, OutOfRangeError, ShapeError
from graphflow.graph import IndexedSlices, Tensor
from graphflow.opdef import OpDef, emit, op
from graphflow.ops import row_rules
from graphflow.ops.layout import strided_slice_op
from graphflow.ops.rules import NUMBERS, Array, rank_exactly, scalar
from graphflow.ops.scatter import vector_bounds
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape

_ROW_ATTRS = "dtype:type; Tindices:type{int32|int64}"
_NUMBER_ROW_ATTRS = f"dtype:type{{{NUMBERS}}}; Tindices:type{{int32|int64}}"


# ---------------------------------------------------------------------------- handle, read, assign


def _state_has_no_body() -> RuntimeError:
    return RuntimeError("a variable's state is supplied by the run, not by an operation")


@op("VarHandleOp", "", "resource:resource",
    "container:string=; shared_name:string=; debug_name:string=; dtype:type; shape:shape; "
    "allowed_devices:list(string)=[]",
    infer=scalar, effects="reads", differentiable=False)  # fmt: skip
def var_handle_op() -> Any:
    """The handle of a variable; runs see the variable's state in its place."""
    raise _state_has_no_body()


def _handle_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].handle_shape
    _check_dtype(node, "dtype")
    return shape


def _check_dtype(node: Any, attr: str) -> None:
    held: DType = node.inputs[0].handle_dtype
    if held is not node.attrs[attr]:
        raise DTypeError(f"the variable holds {held.name}, the operation asks for {node.attrs[attr].name}")


@op("ReadVariableOp", "resource:resource", "value:dtype", "dtype:type",
    infer=_handle_shape, effects="reads", reads=(0,))  # fmt: skip
def read_variable_op(state: Array) -> Array:
    """The value of a variable."""
    return state


@read_variable_op.gradient
def read_variable_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient of the value is the gradient of the handle."""
    return [dy]


def _assigned(node: Any) -> list[TensorShape]:
    held = node.inputs[0].handle_shape
    value = node.inputs[1].shape
    _check_dtype(node, "dtype")
    if not held.is_compatible_with(value):
        raise ShapeError(f"the variable has shape {held}, the value {value}")
    return []


@op("AssignVariableOp", "resource:resource; value:dtype", "", "dtype:type; validate_shape:bool=false",
    infer=_assigned, effects="writes", updates=(0,), differentiable=False)  # fmt: skip
def assign_variable_op(state: Array, value: Array) -> Array:
    """Sets a variable."""
    return value


@op("AssignAddVariableOp", "resource:resource; value:dtype", "", "dtype:type",
    infer=_assigned, effects="writes", updates=(0,), differentiable=False)  # fmt: skip
def assign_add_variable_op(state: Array, value: Array) -> Array:
    """Adds to a variable."""
    return np.add(state, value, dtype=state.dtype)


@assign_add_variable_op.lower
def assign_add_lower(b: Any, state: Any, value: Any) -> Any:
    """The sum."""
    return b.add(state, value)


@op("AssignSubVariableOp", "resource:resource; value:dtype", "", "dtype:type",
    infer=_assigned, effects="writes", updates=(0,), differentiable=False)  # fmt: skip
def assign_sub_variable_op(state: Array, value: Array) -> Array:
    """Subtracts from a variable."""
    return np.subtract(state, value, dtype=state.dtype)


@assign_sub_variable_op.lower
def assign_sub_lower(b: Any, state: Any, value: Any) -> Any:
    """The difference."""
    return b.sub(state, value)


@op("VarIsInitializedOp", "resource:resource", "is_initialized:bool",
    infer=scalar, effects="reads", differentiable=False)  # fmt: skip
def var_is_initialized_op(state: Any) -> Array:
    """Whether a variable has a value; runs ask the session in its place."""
    raise _state_has_no_body()


def _variable_shape(node: Any) -> TensorShape:
    rank = node.inputs[0].handle_shape.rank
    return TensorShape([rank])


@op("VariableShape", "input:resource", "output:out_type", "out_type:type{int32|int64}=int32",
    infer=_variable_shape, effects="reads", reads=(0,), differentiable=False)  # fmt: skip
def variable_shape(state: Array, *, out_type: DType) -> Array:
    """The shape of a variable's value."""
    return np.array(state.shape, out_type.numpy)


@variable_shape.constant
def variable_shape_constant(node: Any) -> Array | None:
    """The shape, where it is known while building."""
    shape: TensorShape = node.inputs[0].handle_shape
    if not shape.is_fully_defined():
        return None
    return np.array(shape.as_list(), node.attrs["out_type"].numpy)


@variable_shape.value_as_shape
def variable_shape_known(node: Any) -> TensorShape:
    """What is known of the shape."""
    shape: TensorShape = node.inputs[0].handle_shape
    return shape


# ---------------------------------------------------------------------------- gathering


def check_rows(indices: Array, size: int, what: str = "indices") -> None:
    """Refuses indices outside [0, size), as TensorFlow's CPU kernels do."""
    if indices.size == 0:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= size:
        position = np.argwhere((indices < 0) | (indices >= size))[0]
        where = ",".join(str(int(i)) for i in position)
        value = int(indices[tuple(position)])
        raise InvalidArgumentError(None, None, f"{what}[{where}] = {value} is not in [0, {size})")


def _gathered(node: Any) -> TensorShape:
    _check_dtype(node, "dtype")
    held: TensorShape = node.inputs[0].handle_shape
    indices: TensorShape = node.inputs[1].shape
    batch = node.attrs["batch_dims"]
    if held.rank is None or indices.rank is None:
        return UNKNOWN
    if batch < 0 or batch > indices.rank:
        raise ShapeError(f"batch_dims = {batch} is outside [0, {indices.rank}], the rank of the indices")
    if held.rank <= batch:
        raise ShapeError(f"the variable must have rank {batch + 1} or more, has shape {held}")
    try:
        shared = held[:batch].merge_with(indices[:batch])
    except ValueError:
        raise ShapeError(f"batch sizes differ: variable {held}, indices {indices}") from None
    result: TensorShape = shared.concatenate(indices[batch:]).concatenate(held[batch + 1 :])
    return result


@op("ResourceGather", "resource:resource; indices:Tindices", "output:dtype",
    "batch_dims:int=0; validate_indices:bool=true; dtype:type; Tindices:type{int32|int64}",
    infer=_gathered, effects="reads", reads=(0,), lowering="gather")  # fmt: skip
def resource_gather(state: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    """Rows of a variable at `indices`."""
    check_rows(indices, state.shape[batch_dims])
    if batch_dims == 0:
        return np.take(state, indices, axis=0)
    lead = state.shape[:batch_dims]
    flat = state.reshape(-1, *state.shape[batch_dims:])
    rows = indices.reshape(flat.shape[0], -1)
    taken = np.stack([flat[i][rows[i]] for i in range(len(flat))]) if len(flat) else flat[:, :0]
    return taken.reshape(*lead, *indices.shape[batch_dims:], *state.shape[batch_dims + 1 :])


resource_gather.by_row(row_rules.gathered(None))


@resource_gather.bounds
def resource_gather_bounds(node: Any) -> dict[int, tuple[int, int]]:
    """The indices must name rows."""
    batch = node.attrs["batch_dims"]
    return {1: (0, node.inputs[0].handle_shape.as_list()[batch])}


@resource_gather.gradient
def resource_gather_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The rows stay rows: an IndexedSlices for the handle."""
    handle, indices = op.inputs
    batch = op.attrs["batch_dims"]
    shape = emit.VariableShape(handle)
    held: TensorShape = handle.handle_shape
    if batch:
        indices = _flat_batch_indices(indices, held, batch)
        sizes = held.as_list()
        rows = sizes[batch + 1 :]
        values = emit.Reshape(dy, np.array([-1, *rows], np.int32))
        flat = emit.Reshape(indices, np.array([-1], np.int32))
        size = int(np.prod([size or 0 for size in sizes[: batch + 1]]))
        dense = emit.UnsortedSegmentSum(values, flat, np.array(size, np.int32))
        return [emit.Reshape(dense, shape), None]
    row = held[1:].as_list() if held.rank is not None else [None]
    flat_indices = emit.Reshape(indices, np.array([-1], np.int32))
    if None in row or 0 in row:
        count = emit.ExpandDims(emit.Size(indices), np.array(0, np.int32))
        tail = emit.Slice(shape, np.array([1], np.int32), np.array([-1], np.int32))
        values_shape = emit.ConcatV2([count, tail], np.array(0, np.int32))
    else:
        values_shape = np.array([-1, *row], np.int32)
    values = emit.Reshape(dy, values_shape)
    return [IndexedSlices(values, flat_indices, shape), None]


def _flat_batch_indices(indices: Tensor, held: TensorShape, batch: int) -> Tensor:
    """Indices into the rows of the variable with its batch axes and the gathered axis made one."""
    sizes = held.as_list()
    if None in sizes:
        raise ShapeError("the gradient of a gather with batch_dims needs a variable of known shape")
    known = [int(size) for size in sizes[: batch + 1] if size is not None]
    offsets = np.arange(int(np.prod(known[:-1]))).reshape(known[:-1]) * known[-1]
    rank = indices.shape.rank
    if rank is None:
        raise ShapeError("the gradient of a gather with batch_dims needs indices of known rank")
    offsets = offsets.reshape(*known[:-1], *[1] * (rank - batch)).astype(indices.dtype.as_numpy_dtype)
    result: Tensor = emit.AddV2(indices, offsets)
    return result


def _gathered_nd(node: Any) -> TensorShape:
    _check_dtype(node, "dtype")
    held: TensorShape = node.inputs[0].handle_shape
    indices: TensorShape = node.inputs[1].shape
    if indices.rank is None or held.rank is None:
        return UNKNOWN
    if indices.rank < 1:
        raise ShapeError("the indices must have rank 1 or more")
    depth = indices.as_list()[-1]
    if depth is None:
        return UNKNOWN
    if not 1 <= depth <= held.rank:
        raise ShapeError(f"index vectors of {depth} numbers into a variable of shape {held}")
    result: TensorShape = indices[:-1].concatenate(held[depth:])
    return result


@op("ResourceGatherNd", "resource:resource; indices:Tindices", "output:dtype",
    "dtype:type; Tindices:type{int32|int64}", infer=_gathered_nd, effects="reads", reads=(0,),
    lowering="gather_nd")  # fmt: skip
def resource_gather_nd(state: Array, indices: Array) -> Array:
    """Slices of a variable at index vectors."""
    return state[_index_vectors(state, indices)]


resource_gather_nd.bounds(vector_bounds(1, lambda node: node.inputs[0].handle_shape))


@resource_gather_nd.gradient
def resource_gather_nd_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Sums the slices' gradients where they came from."""
    handle, indices = op.inputs
    shape = emit.VariableShape(handle, out_type=indices.dtype)
    if indices.shape.rank == 2 and indices.shape.as_list()[-1] == 1:
        flat = emit.Squeeze(indices, squeeze_dims=(-1,))
        return [IndexedSlices(dy, flat, shape), None]
    return [emit.ScatterNd(indices, dy, shape), None]


def _index_vectors(state: Array, indices: Array) -> tuple[Any, ...]:
    depth = indices.shape[-1]
    if indices.size:
        sizes = np.array(state.shape[:depth])
        bad = (indices < 0) | (indices >= sizes)
        if bad.any():
            position = np.argwhere(bad)[0][:-1]
            where = ",".join(str(int(i)) for i in position)
            vector = indices[tuple(position)].tolist()
            raise InvalidArgumentError(
                None, None, f"indices[{where}] = {vector} does not index into shape {list(state.shape)}"
            )
    return tuple(indices[..., i] for i in range(depth))


# ---------------------------------------------------------------------------- scattering rows


def _scattered(node: Any) -> list[TensorShape]:
    _check_dtype(node, "dtype")
    held: TensorShape = node.inputs[0].handle_shape
    indices: TensorShape = node.inputs[1].shape
    updates: TensorShape = node.inputs[2].shape
    if held.rank == 0:
        raise ShapeError("a scalar variable has no rows")
    if held.rank is None or indices.rank is None or updates.rank == 0:
        return []
    expected = indices.concatenate(held[1:])
    if not updates.is_compatible_with(expected):
        raise ShapeError(
            f"the updates must have shape {expected} (indices' shape + rows' shape), have {updates}"
        )
    return []


def _scatter_op(name: str, meaning: str, attrs: str, write: Callable[[Array, Array, Array], None]) -> OpDef:
    def body(state: Array, indices: Array, updates: Array) -> Array:
        check_rows(indices, state.shape[0])
        result = np.array(state)
        if indices.size:
            write(result, indices, np.broadcast_to(updates, (*indices.shape, *state.shape[1:])))
        return result

    body.__doc__ = meaning
    signature = "resource:resource; indices:Tindices; updates:dtype"
    tag = name.replace("ResourceScatter", "scatter_").lower()
    definition = op(name, signature, "", attrs, infer=_scattered, effects="writes", updates=(0,),
                    differentiable=False, lowering=tag)(body)  # fmt: skip
    definition.bounds(lambda node: {1: (0, node.inputs[0].handle_shape.as_list()[0])})
    return definition


def _set_rows(state: Array, indices: Array, updates: Array) -> None:
    state[indices] = updates


def _divide_rows(state: Array, indices: Array, updates: Array) -> None:
    flat, rows = indices.reshape(-1), updates.reshape(-1, *state.shape[1:])
    for i, index in enumerate(flat):
        if state.dtype.kind in "iu":
            quotient = np.abs(state[index]) // np.abs(rows[i])
            state[index] = quotient * np.sign(state[index]) * np.sign(rows[i])
        else:
            state[index] = state[index] / rows[i]


resource_scatter_update = _scatter_op(
    "ResourceScatterUpdate",
    "Sets rows of a variable; of equal indices the last one counts.",
    _ROW_ATTRS,
    _set_rows,
)
resource_scatter_add = _scatter_op(
    "ResourceScatterAdd", "Adds to rows of a variable; equal indices add up.", _NUMBER_ROW_ATTRS, np.add.at
)
resource_scatter_sub = _scatter_op(
    "ResourceScatterSub",
    "Subtracts from rows of a variable; equal indices add up.",
    _NUMBER_ROW_ATTRS,
    np.subtract.at,
)
resource_scatter_mul = _scatter_op(
    "ResourceScatterMul", "Multiplies rows of a variable.", _NUMBER_ROW_ATTRS, np.multiply.at
)
resource_scatter_div = _scatter_op(
    "ResourceScatterDiv", "Divides rows of a variable.", _NUMBER_ROW_ATTRS, _divide_rows
)
resource_scatter_min = _scatter_op(
    "ResourceScatterMin", "Takes the minimum into rows of a variable.", _NUMBER_ROW_ATTRS, np.minimum.at
)
resource_scatter_max = _scatter_op(
    "ResourceScatterMax", "Takes the maximum into rows of a variable.", _NUMBER_ROW_ATTRS, np.maximum.at
)


def _scattered_nd(node: Any) -> list[TensorShape]:
    _check_dtype(node, "T")
    held: TensorShape = node.inputs[0].handle_shape
    indices: TensorShape = node.inputs[1].shape
    updates: TensorShape = node.inputs[2].shape
    if indices.rank == 0:
        raise ShapeError("the indices must have rank 1 or more")
    if held.rank is None or indices.rank is None:
        return []
    depth = indices.as_list()[-1]
    if depth is None:
        return []
    if not 1 <= depth <= held.rank:
        raise ShapeError(f"index vectors of {depth} numbers into a variable of shape {held}")
    expected = indices[:-1].concatenate(held[depth:])
    if not updates.is_compatible_with(expected):
        raise ShapeError(f"the updates must have shape {expected}, have {updates}")
    return []


def _scatter_nd_op(name: str, meaning: str, write: Callable[[Array, Any, Array], None]) -> OpDef:
    def body(state: Array, indices: Array, updates: Array) -> Array:
        result = np.array(state)
        if updates.size:
            write(result, _index_vectors(state, indices), updates)
        return result

    body.__doc__ = meaning
    definition = op(name, "ref:resource; indices:Tindices; updates:T", "",
                    "T:type; Tindices:type{int32|int64}; use_locking:bool=true; bad_indices_policy:string=",
                    infer=_scattered_nd, effects="writes", updates=(0,), differentiable=False,
                    lowering=name.replace("ResourceScatterNd", "nd_").lower())(body)  # fmt: skip
    definition.bounds(vector_bounds(1, lambda node: node.inputs[0].handle_shape))
    return definition


resource_scatter_nd_update = _scatter_nd_op(
    "ResourceScatterNdUpdate", "Sets slices of a variable.", _set_rows
)
resource_scatter_nd_add = _scatter_nd_op("ResourceScatterNdAdd", "Adds to slices of a variable.", np.add.at)
resource_scatter_nd_sub = _scatter_nd_op(
    "ResourceScatterNdSub", "Subtracts from slices of a variable.", np.subtract.at
)
resource_scatter_nd_min = _scatter_nd_op(
    "ResourceScatterNdMin", "Takes the minimum into slices of a variable.", np.minimum.at
)
resource_scatter_nd_max = _scatter_nd_op(
    "ResourceScatterNdMax", "Takes the maximum into slices of a variable.", np.maximum.at
)

_MASKS = "begin_mask:int=0; end_mask:int=0; ellipsis_mask:int=0; new_axis_mask:int=0; shrink_axis_mask:int=0"


def _slice_assigned(node: Any) -> list[TensorShape]:
    _check_dtype(node, "T")
    for position, name in ((1, "begin"), (2, "end"), (3, "strides")):
        rank_exactly(node, position, 1, name)
    return []


@op("ResourceStridedSliceAssign", "ref:resource; begin:Index; end:Index; strides:Index; value:T", "",
    f"T:type; Index:type{{int32|int64}}; {_MASKS}", infer=_slice_assigned, effects="writes", updates=(0,),
    differentiable=False)  # fmt: skip
def resource_strided_slice_assign(
    state: Array, begin: Array, end: Array, strides: Array, value: Array, *, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0,
) -> Array:  # fmt: skip
    """Sets what a strided slice of a variable reads."""
    places = strided_slice_op.body(
        np.arange(state.size).reshape(state.shape), begin, end, strides, begin_mask=begin_mask, end_mask=end_mask,
        ellipsis_mask=ellipsis_mask, new_axis_mask=new_axis_mask, shrink_axis_mask=shrink_axis_mask,
    )  # fmt: skip
    if np.shape(places) != value.shape:
        raise InvalidArgumentError(
            None, None, f"the slice has shape {list(np.shape(places))}, the value {list(value.shape)}"
        )
    result = np.array(state)
    result.reshape(-1)[places] = value
    return result


def _counted(node: Any) -> TensorShape:
    _check_dtype(node, "T")
    if node.inputs[0].handle_shape.rank not in (None, 0):
        raise ShapeError(f"a counter must be a scalar, the variable has shape {node.inputs[0].handle_shape}")
    return SCALAR


@op("ResourceCountUpTo", "resource:resource", "output:T", "limit:int; T:type{int32|int64}",
    infer=_counted, effects="writes", updates=(0,), differentiable=False)  # fmt: skip
def resource_count_up_to(state: Array, *, limit: int) -> tuple[Array, Array]:
    """The value of a variable, which is one more afterwards; fails once it has reached the limit."""
    if state >= limit:
        raise OutOfRangeError(None, None, f"Reached limit of {limit}")
    return np.asarray(state + 1, state.dtype), state


__all__: list[str] = []
