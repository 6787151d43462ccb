"""Lists of tensors as values of dtype variant: TensorListReserve, SetItem, GetItem, Stack and their kin.

What TensorArrays are made of, and where loops keep what their gradients read. All of them are pure: an operation
gives a new list, which costs no more than the element that differs (`tensor_list`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, get_default_graph
from graphflow.opdef import emit, op
from graphflow.ops.rules import Array, shape_tensor
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape
from graphflow.tensor_list import TensorList, boxed

_MOST_ELEMENTS = 1 << 40


def _refused(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


def _list(handle: Any, dtype: DType | None = None) -> TensorList:
    value = handle[()] if isinstance(handle, np.ndarray) and handle.ndim == 0 else handle
    if not isinstance(value, TensorList):
        raise _refused(f"Input handle is not a list. Saw: '{type(value).__name__}'")
    if dtype is not None and value.dtype is not dtype:
        raise _refused(f"Invalid data types; op elements {dtype.name} but list elements {value.dtype.name}")
    return value


def _shape_of(array: Array, what: str = "element_shape") -> TensorShape:
    """The shape that an operand says: a vector with -1 for what is open, or the scalar -1 for an unknown rank."""
    if array.ndim == 0:
        if int(array) != -1:
            raise _refused(f"{what} must be a vector, or -1 for an unknown rank, got {int(array)}")
        return UNKNOWN
    if array.ndim != 1 or (array < -1).any():
        raise _refused(f"{what} must be a vector of sizes, or -1 where one is open, got {array.tolist()}")
    return TensorShape([None if size < 0 else size for size in array.tolist()])


def _merged(first: TensorShape, second: TensorShape) -> TensorShape:
    try:
        return first.merge_with(second)
    except ValueError:
        raise _refused(
            f"Tried to use a list of elements of shape {_shown(first)} where elements of shape {_shown(second)} are"
            " expected: the shapes are incompatible"
        ) from None


def _shown(shape: TensorShape) -> str:
    dims = shape.as_tuple()
    return "<unknown>" if dims is None else "[" + ",".join("?" if d is None else str(d) for d in dims) + "]"


def _count(array: Array, what: str) -> int:
    count = int(array)
    if count < 0:
        raise _refused(f"The {what} to create a list must be non negative. Got: {count}")
    if count > _MOST_ELEMENTS:
        raise _refused(f"A list of {count} elements is too long")
    return count


def _own(array: Array) -> Array:
    """A copy that nobody else writes into."""
    return np.array(array)


def _element(lst: TensorList, index: int, shape: TensorShape = UNKNOWN) -> Array:
    """An element; zeros where none has been written."""
    item = lst.items[index]
    if item is not None:
        if not shape.is_compatible_with(item.shape):
            raise _refused(
                f"Tried to read an element of shape {list(item.shape)} as one of shape {_shown(shape)}:"
                " Incompatible shapes"
            )
        return item
    known = _merged(lst.shape, shape)
    if not known.is_fully_defined():
        for other in lst.items:
            if other is not None and other.dtype != object:
                known = _merged(known, TensorShape(other.shape))
                break
    if not known.is_fully_defined():
        raise _refused(
            "Trying to read an uninitialized tensor but element_shape is not fully defined and no list element is set:"
            f" {_shown(known)}"
        )
    return _zeros(lst.dtype, known)


def _zeros(dtype: DType, shape: TensorShape) -> Array:
    if dtype is dtypes.variant:
        return boxed(TensorList(dtypes.float32, UNKNOWN))
    sizes = [int(size) for size in shape.as_list()]  # type: ignore[arg-type]
    if dtype is dtypes.string:
        return np.full(sizes, b"", object)
    return np.zeros(sizes, dtype.numpy)


def _set(lst: TensorList, index: int, item: Array, what: str, alike: bool) -> TensorList:
    """The list with an element. `alike`: all must have the shape of the first one, which is the list's from now on."""
    if not lst.shape.is_compatible_with(item.shape) and item.dtype != object:
        raise _refused(
            f"Tried to {what} a tensor with incompatible shape at index {index}. Item element shape:"
            f" {list(item.shape)} list shape: {_shown(lst.shape)}"
        )
    if alike and not lst.shape.is_fully_defined():
        lst = lst.of_shape(TensorShape(item.shape))
    return lst.with_item(index, item)


def _in_range(lst: TensorList, index: Array, verb: str) -> int:
    position = int(index)
    if not 0 <= position < len(lst):
        raise _refused(f"Trying to {verb} element {position} in a list with {len(lst)} elements.")
    return position


# ---------------------------------------------------------------------------- shape rules


def _handle(node: Any) -> TensorShape:
    return SCALAR


def _said(position: int) -> Any:
    """The output has the shape that an input says."""

    def rule(node: Any) -> TensorShape:
        return _said_shape(node, position)

    return rule


def _said_shape(node: Any, position: int) -> TensorShape:
    value = node.constant(position)
    if value is None:
        if node.inputs[position].shape.rank == 0:
            return UNKNOWN
        shape: TensorShape = node.constant_shape(position)
        return shape
    try:
        return _shape_of(value)
    except InvalidArgumentError as error:
        raise ShapeError(error.message) from None


def _stacked(node: Any) -> TensorShape:
    count = node.attrs.get("num_elements", -1)
    return TensorShape([None if count < 0 else count]).concatenate(_said_shape(node, 1))


# ---------------------------------------------------------------------------- making lists


_TYPES = "element_dtype:type; shape_type:type{int32|int64}"


@op("EmptyTensorList", "element_shape:shape_type; max_num_elements:int32", "handle:variant", _TYPES, infer=_handle,
    differentiable=False)  # fmt: skip
def empty_tensor_list(element_shape: Array, max_num_elements: Array, *, element_dtype: DType) -> Array:
    """A list without elements."""
    return boxed(TensorList(element_dtype, _shape_of(element_shape), (), int(max_num_elements)))


@op("TensorListReserve", "element_shape:shape_type; num_elements:int32", "handle:variant", _TYPES, infer=_handle,
    differentiable=False)  # fmt: skip
def tensor_list_reserve(element_shape: Array, num_elements: Array, *, element_dtype: DType) -> Array:
    """A list of elements that are yet to be written."""
    count = _count(num_elements, "num_elements")
    return boxed(TensorList(element_dtype, _shape_of(element_shape), [None] * count))


def _rows_shape(tensor: Array, element_shape: Array) -> TensorShape:
    if tensor.ndim == 0:
        raise _refused("Tensor must be at least a vector, but saw shape: []")
    said, own = _shape_of(element_shape), TensorShape(tensor.shape[1:])
    if not said.is_compatible_with(own):
        raise _refused(
            f"Specified a list with shape {_shown(said)} from a tensor with shape {list(tensor.shape[1:])}"
        )
    return said


@op("TensorListFromTensor", "tensor:element_dtype; element_shape:shape_type", "output_handle:variant", _TYPES,
    infer=_handle)  # fmt: skip
def tensor_list_from_tensor(tensor: Array, element_shape: Array, *, element_dtype: DType) -> Array:
    """A list of a tensor's rows."""
    shape = _rows_shape(tensor, element_shape)
    return boxed(TensorList(element_dtype, shape, list(map(np.asarray, _own(tensor)))))


@tensor_list_from_tensor.gradient
def from_tensor_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """The gradients of the rows, stacked."""
    tensor = op.inputs[0]
    return [_stack(dlist, tensor, tensor.dtype), None]


def _row_shape(tensor: Tensor) -> Any:
    """The shape of a tensor's rows, for use as element_shape."""
    dims = tensor.shape.as_tuple()
    if dims is not None and None not in dims[1:]:
        return np.array(dims[1:], np.int32)
    return emit.StridedSlice(emit.Shape(tensor), [1], [0], [1], end_mask=1)


def _stack(dlist: Tensor, like: Tensor, dtype: DType) -> Tensor:
    """The elements of a list as the rows of a tensor like another one."""
    dims = like.shape.as_tuple()
    count = -1 if not dims or dims[0] is None else dims[0]
    stacked: Tensor = emit.TensorListStack(dlist, _row_shape(like), element_dtype=dtype, num_elements=count)
    return stacked


def _vector_of_indices(indices: Array, rows: Array) -> list[int]:
    if indices.ndim != 1:
        raise _refused(f"Expected indices to be a vector, but received shape: {list(indices.shape)}")
    if rows.ndim == 0 or len(rows) != len(indices):
        raise _refused(
            f"Invalid number of rows in input tensor. Expected (num_indices = {len(indices)}) to match"
            f" {list(rows.shape)}"
        )
    if (indices < 0).any():
        raise _refused(f"Indices in the scatter must all be non-negative: {indices.tolist()}")
    return [int(index) for index in indices]


def _scattered(
    tensor: Array, indices: Array, element_shape: Array, element_dtype: DType, count: int
) -> Array:
    positions = _vector_of_indices(indices, tensor)
    shape = _rows_shape(tensor, element_shape)
    highest = max(positions, default=-1)
    if count < 0:
        count = highest + 1
    elif highest >= count:
        raise _refused(f"Trying to set element {highest} of a list of {count} elements")
    lst = TensorList(element_dtype, shape, [None] * _count(np.asarray(count), "num_elements"))
    for position, row in zip(positions, _own(tensor), strict=True):
        lst = lst.with_item(position, np.asarray(row))
    return boxed(lst)


@op("TensorListScatter", "tensor:element_dtype; indices:int32; element_shape:shape_type", "output_handle:variant",
    _TYPES, infer=_handle)  # fmt: skip
def tensor_list_scatter(
    tensor: Array, indices: Array, element_shape: Array, *, element_dtype: DType
) -> Array:
    """A list with a tensor's rows at `indices`."""
    return _scattered(tensor, indices, element_shape, element_dtype, -1)


@op("TensorListScatterV2",
    "tensor:element_dtype; indices:int32; element_shape:shape_type; num_elements:int32", "output_handle:variant",
    _TYPES, infer=_handle)  # fmt: skip
def tensor_list_scatter_v2(
    tensor: Array, indices: Array, element_shape: Array, num_elements: Array, *, element_dtype: DType
) -> Array:
    """A list of `num_elements` (-1: as many as needed) with a tensor's rows at `indices`."""
    return _scattered(tensor, indices, element_shape, element_dtype, int(num_elements))


def _scatter_gradient(op: Any, dlist: Tensor) -> list[Any]:
    tensor, indices = op.inputs[:2]
    rows = emit.TensorListGather(dlist, indices, _row_shape(tensor), element_dtype=tensor.dtype)
    return [rows] + [None] * (len(op.inputs) - 1)


tensor_list_scatter.gradient(_scatter_gradient)
tensor_list_scatter_v2.gradient(_scatter_gradient)


@op("TensorListScatterIntoExistingList", "input_handle:variant; tensor:element_dtype; indices:int32",
    "output_handle:variant", "element_dtype:type", infer=_handle)  # fmt: skip
def tensor_list_scatter_into_existing_list(
    input_handle: Array, tensor: Array, indices: Array, *, element_dtype: DType, _alike: bool = False
) -> Array:
    """The list with a tensor's rows at `indices`, longer where need be."""
    lst = _list(input_handle, element_dtype)
    positions = _vector_of_indices(indices, tensor)
    while len(lst) <= max(positions, default=-1):
        lst = lst.with_last(None)
    for position, row in zip(positions, _own(tensor), strict=True):
        lst = _set(lst, position, np.asarray(row), "scatter", _alike)
    return boxed(lst)


@tensor_list_scatter_into_existing_list.gradient
def scatter_into_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """What was written takes its gradient from where it went; the list's is zero there."""
    _, tensor, indices = op.inputs
    rows = emit.TensorListGather(dlist, indices, _row_shape(tensor), element_dtype=tensor.dtype)
    rest = emit.TensorListScatterIntoExistingList(dlist, emit.ZerosLike(tensor), indices)
    return [rest, rows, None]


@op("TensorListSplit", "tensor:element_dtype; element_shape:shape_type; lengths:int64", "output_handle:variant",
    _TYPES, infer=_handle)  # fmt: skip
def tensor_list_split(tensor: Array, element_shape: Array, lengths: Array, *, element_dtype: DType) -> Array:
    """A list of pieces of a tensor, of so many rows each."""
    if lengths.ndim != 1:
        raise _refused(f"Expected lengths to be a vector, received shape: {list(lengths.shape)}")
    if tensor.ndim < 1:
        raise _refused("Tensor must be at least a vector, but saw shape: []")
    if (lengths < 0).any():
        raise _refused(f"Invalid value in lengths: {int(lengths.min())}")
    if int(lengths.sum()) != len(tensor):
        raise _refused(
            f"Unused values in tensor. Length of tensor: {len(tensor)} Values used: {int(lengths.sum())}"
        )
    shape = _shape_of(element_shape)
    rows = TensorShape(tensor.shape[1:])
    if shape.rank is not None and not shape[1:].is_compatible_with(rows):
        raise _refused(f"element_shape {_shown(shape)} does not fit rows of shape {list(tensor.shape[1:])}")
    pieces = np.split(_own(tensor), np.cumsum(lengths)[:-1]) if len(lengths) else []
    return boxed(TensorList(element_dtype, shape, pieces))


@tensor_list_split.gradient
def split_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """The gradients of the pieces, one behind another."""
    tensor = op.inputs[0]
    rows = tensor.shape.as_tuple()
    if rows is not None and None not in rows[1:]:
        shape: Any = np.array([-1, *rows[1:]], np.int32)
    else:
        shape = emit.ConcatV2([np.array([-1], np.int32), _row_shape(tensor)], np.array(0, np.int32))
    joined, _ = emit.TensorListConcatV2(dlist, shape, op.inputs[2], element_dtype=tensor.dtype)
    return [joined, None, None]


# ---------------------------------------------------------------------------- elements


@op("TensorListPushBack", "input_handle:variant; tensor:element_dtype", "output_handle:variant", "element_dtype:type",
    infer=_handle)  # fmt: skip
def tensor_list_push_back(input_handle: Array, tensor: Array, *, element_dtype: DType) -> Array:
    """The list with one more element."""
    lst = _list(input_handle, element_dtype)
    if 0 <= lst.most <= len(lst):
        raise _refused(
            f"Tried to push item into a full list. list size: {len(lst)} max_num_elements: {lst.most}"
        )
    if not lst.shape.is_compatible_with(tensor.shape):
        raise _refused(
            f"Tried to append a tensor with incompatible shape to a list. Op element shape: {list(tensor.shape)} list"
            f" shape: {_shown(lst.shape)}"
        )
    return boxed(lst.with_last(_own(tensor)))


@tensor_list_push_back.gradient
def push_back_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """The last element's gradient, and those of the others."""
    tensor = op.inputs[1]
    return list(emit.TensorListPopBack(dlist, _element_shape(tensor), element_dtype=tensor.dtype))


def _element_shape(tensor: Tensor) -> Any:
    """A tensor's shape for use as element_shape."""
    if tensor.dtype is dtypes.variant:
        return np.array(-1, np.int32)
    return shape_tensor(tensor)


@op("TensorListPopBack", "input_handle:variant; element_shape:int32",
    "output_handle:variant; tensor:element_dtype", "element_dtype:type",
    infer=lambda node: [SCALAR, _said_shape(node, 1)])  # fmt: skip
def tensor_list_pop_back(
    input_handle: Array, element_shape: Array, *, element_dtype: DType
) -> tuple[Array, Array]:
    """The list without its last element, and that."""
    lst = _list(input_handle, element_dtype)
    if not len(lst):
        raise _refused("Trying to pop from an empty list.")
    last = _element(lst, len(lst) - 1, _shape_of(element_shape))
    return boxed(lst.without_last()), last


@tensor_list_pop_back.gradient
def pop_back_gradient(op: Any, dlist: Tensor | None, delement: Tensor | None) -> list[Any]:
    """The gradients of the shorter list and of the element, put together again."""
    shorter, element = op.outputs
    if dlist is None:
        dlist = emit.ZerosLike(shorter)
    if delement is None:
        delement = emit.ZerosLike(element)
    return [emit.TensorListPushBack(dlist, delement), None]


@op("TensorListGetItem", "input_handle:variant; index:int32; element_shape:Tshape", "item:element_dtype",
    "element_dtype:type; Tshape:type{int32|int64}=int32", infer=_said(2))  # fmt: skip
def tensor_list_get_item(
    input_handle: Array, index: Array, element_shape: Array, *, element_dtype: DType, _verb: str = "access"
) -> Array:
    """An element; zeros if it has not been written."""
    lst = _list(input_handle, element_dtype)
    return _element(lst, _in_range(lst, index, _verb), _shape_of(element_shape))


@tensor_list_get_item.gradient
def get_item_gradient(op: Any, ditem: Tensor) -> list[Any]:
    """A list of zeros but for the element that was read."""
    handle, index = op.inputs[:2]
    empty = emit.TensorListReserve(
        _static_shape(ditem), emit.TensorListLength(handle), element_dtype=ditem.dtype
    )
    return [emit.TensorListSetItem(empty, index, ditem), None, None]


def _static_shape(tensor: Tensor) -> Array:
    """What is known of a tensor's shape, as element_shape."""
    dims = tensor.shape.as_tuple()
    if dims is None or tensor.dtype is dtypes.variant:
        return np.array(-1, np.int32)
    return np.array([-1 if size is None else size for size in dims], np.int32)


@op("TensorListSetItem", "input_handle:variant; index:int32; item:element_dtype", "output_handle:variant",
    "element_dtype:type; resize_if_index_out_of_bounds:bool=false", infer=_handle)  # fmt: skip
def tensor_list_set_item(
    input_handle: Array, index: Array, item: Array, *, element_dtype: DType,
    resize_if_index_out_of_bounds: bool = False, _alike: bool = False,
) -> Array:  # fmt: skip
    """The list with another element at an index, longer where need be and allowed."""
    lst = _list(input_handle, element_dtype)
    position = int(index)
    if resize_if_index_out_of_bounds and position >= len(lst):
        while len(lst) <= position:
            lst = lst.with_last(None)
    _in_range(lst, index, "modify")
    return boxed(_set(lst, position, _own(item), "set", _alike))


@tensor_list_set_item.gradient
def set_item_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """What was written takes its gradient from its place; the list's is zero there."""
    handle, index, item = op.inputs
    ditem = emit.TensorListGetItem(dlist, index, _element_shape(item), element_dtype=item.dtype)
    rest = emit.TensorListSetItem(dlist, index, emit.ZerosLike(item))
    if op.attrs["resize_if_index_out_of_bounds"]:
        rest = emit.TensorListResize(rest, _length_there(handle))
    return [rest, None, ditem]


def _length_there(handle: Tensor) -> Tensor:
    """How long a list is, made where the list is: of a loop's list, the gradient keeps a number for each turn."""
    graph = handle.graph
    if graph is get_default_graph():
        length: Tensor = emit.TensorListLength(handle)
        return length
    with graph.as_default(), graph.control_dependencies(None), graph.name_scope(None):
        length = emit.TensorListLength(handle)
    return length


# ---------------------------------------------------------------------------- whole lists


@op("TensorListLength", "input_handle:variant", "length:int32", "", infer=_handle, differentiable=False)
def tensor_list_length(input_handle: Array) -> Array:
    """How many elements the list has."""
    return np.asarray(len(_list(input_handle)), np.int32)


@op("TensorListElementShape", "input_handle:variant", "element_shape:shape_type", "shape_type:type{int32|int64}",
    infer=lambda node: TensorShape(None), differentiable=False)  # fmt: skip
def tensor_list_element_shape(input_handle: Array, *, shape_type: DType) -> Array:
    """What the elements' shapes have in common: -1 for an open size, the scalar -1 for an unknown rank."""
    dims = _list(input_handle).shape.as_tuple()
    return np.array(-1 if dims is None else [-1 if d is None else d for d in dims], shape_type.numpy)


@op("TensorListResize", "input_handle:variant; size:int32", "output_handle:variant", "", infer=_handle)
def tensor_list_resize(input_handle: Array, size: Array) -> Array:
    """The list with so many elements: its first ones, and unwritten ones behind."""
    lst = _list(input_handle)
    wanted = int(size)
    if wanted < 0:
        raise _refused(f"TensorListSlice expects size to be non-negative. Got: {wanted}")
    _count(size, "size")
    if wanted == len(lst):
        return boxed(lst)
    items = lst.items[:wanted]
    return boxed(TensorList(lst.dtype, lst.shape, items + [None] * (wanted - len(items)), lst.most))


@tensor_list_resize.gradient
def resize_gradient(op: Any, dlist: Tensor) -> list[Any]:
    """The gradient at the old length."""
    return [emit.TensorListResize(dlist, emit.TensorListLength(op.inputs[0])), None]


def _stack_of(lst: TensorList, items: Sequence[Array], shape: TensorShape, what: str) -> Array:
    if not items:
        known = _merged(lst.shape, shape)
        if not known.is_fully_defined():
            raise _refused(
                f"Tried to {what} elements of an empty list with non-fully-defined element_shape: {_shown(known)}"
            )
        return np.zeros((0, *_zeros(lst.dtype, known).shape), lst.dtype.numpy)
    first = items[0].shape
    for item in items:
        if item.shape != first:
            raise _refused(
                f"Tried to {what} tensors with unequal shapes: {list(first)} vs {list(item.shape)}"
            )
    return np.stack(items)


def _filled(lst: TensorList, shape: TensorShape) -> TensorShape:
    """What is known of the elements that were not written."""
    known = _merged(lst.shape, shape)
    if all(item is not None for item in lst.items):
        return known
    for item in lst.items:
        if known.is_fully_defined():
            break
        if item is not None:
            known = _merged(known, TensorShape(item.shape))
    return known


@op("TensorListStack", "input_handle:variant; element_shape:int32", "tensor:element_dtype",
    "element_dtype:type; num_elements:int=-1", infer=_stacked)  # fmt: skip
def tensor_list_stack(
    input_handle: Array, element_shape: Array, *, element_dtype: DType, num_elements: int = -1
) -> Array:
    """The elements as rows of one tensor."""
    lst = _list(input_handle, element_dtype)
    if num_elements >= 0 and len(lst) != num_elements:
        raise _refused(
            f"Operation expected a list with {num_elements} elements but got a list with {len(lst)} elements."
        )
    shape = _filled(lst, _shape_of(element_shape))
    return _stack_of(lst, [_element(lst, i, shape) for i in range(len(lst))], shape, "stack")


@tensor_list_stack.gradient
def stack_gradient(op: Any, dtensor: Tensor) -> list[Any]:
    """A list of the gradients of the rows."""
    shape = op.outputs[0].shape
    static = np.array(-1, np.int32)
    if shape.rank is not None:
        static = np.array([-1 if size is None else size for size in shape.as_list()[1:]], np.int32)
    return [emit.TensorListFromTensor(dtensor, static), None]


def _gathered(node: Any) -> TensorShape:
    return TensorShape([node.inputs[1].shape.num_elements()]).concatenate(_said_shape(node, 2))


@op("TensorListGather", "input_handle:variant; indices:int32; element_shape:int32", "values:element_dtype",
    "element_dtype:type",
    infer=_gathered)  # fmt: skip
def tensor_list_gather(
    input_handle: Array, indices: Array, element_shape: Array, *, element_dtype: DType
) -> Array:
    """The elements at `indices` as rows of one tensor."""
    lst = _list(input_handle, element_dtype)
    if indices.ndim != 1:
        raise _refused(f"Expected indices to be a vector, but received shape: {list(indices.shape)}")
    shape = _filled(lst, _shape_of(element_shape))
    items = []
    for index in indices:
        if not 0 <= int(index) < len(lst):
            raise _refused(f"Trying to gather element {int(index)} in a list with {len(lst)} elements.")
        items.append(_element(lst, int(index), shape))
    return _stack_of(lst, items, shape, "gather")


@tensor_list_gather.gradient
def gather_gradient(op: Any, dvalues: Tensor) -> list[Any]:
    """The rows' gradients at their places; elements that are read twice keep the last, as in TensorFlow."""
    handle, indices = op.inputs[:2]
    shape = op.outputs[0].shape
    static = np.array(-1, np.int32)
    if shape.rank is not None:
        static = np.array([-1 if size is None else size for size in shape.as_list()[1:]], np.int32)
    dlist = emit.TensorListScatterV2(dvalues, indices, static, emit.TensorListLength(handle))
    return [dlist, None, None]


def _joined_shape(said: TensorShape) -> list[TensorShape]:
    rows = UNKNOWN if said.rank is None or said.rank < 1 else TensorShape([None]).concatenate(said[1:])
    return [rows, TensorShape([None])]


def _joined(lst: TensorList, shape: TensorShape, leading: Sequence[int]) -> tuple[Array, Array]:
    known = _merged(lst.shape, shape)
    if known.rank == 0:
        raise _refused("Concat requires elements to be at least vectors, found scalars instead.")
    items = []
    for index, item in enumerate(lst.items):
        if item is None:
            sizes = None if known.rank is None else known.as_list()
            if sizes is not None and index < len(leading):
                sizes[0] = leading[index]
            if sizes is None or None in sizes:
                raise _refused(
                    f"Trying to concat an uninitialized element of a list whose element shape is {_shown(known)}"
                )
            item = _zeros(lst.dtype, TensorShape(sizes))
        items.append(item)
    lengths = np.array([len(item) for item in items], np.int64)
    if not items:
        if known.rank is None or None in known.as_list()[1:]:
            raise _refused(
                f"All except the first dimension must be fully defined when concating an empty tensor list."
                f" element_shape: {_shown(known)}"
            )
        return _zeros(lst.dtype, TensorShape([0, *known.as_list()[1:]])), lengths
    first = items[0].shape[1:]
    for item in items:
        if item.shape[1:] != first:
            raise _refused(
                f"Tried to concat tensors with unequal shapes: {list(items[0].shape)} vs {list(item.shape)}"
            )
    return np.concatenate(items), lengths


@op("TensorListConcat", "input_handle:variant", "tensor:element_dtype; lengths:int64",
    "element_dtype:type; element_shape:shape=unknown_rank",
    infer=lambda node: _joined_shape(node.attrs["element_shape"]))  # fmt: skip
def tensor_list_concat(
    input_handle: Array, *, element_dtype: DType, element_shape: TensorShape = UNKNOWN
) -> tuple[Array, Array]:
    """The elements one behind another, and how many rows each has."""
    return _joined(_list(input_handle, element_dtype), element_shape, ())


@op("TensorListConcatV2", "input_handle:variant; element_shape:shape_type; leading_dims:int64",
    "tensor:element_dtype; lengths:int64", _TYPES, infer=lambda node: _joined_shape(_said_shape(node, 1)))  # fmt: skip
def tensor_list_concat_v2(
    input_handle: Array, element_shape: Array, leading_dims: Array, *, element_dtype: DType
) -> tuple[Array, Array]:
    """The elements one behind another, and how many rows each has; `leading_dims`: of those that were not written."""
    lst = _list(input_handle, element_dtype)
    return _joined(lst, _shape_of(element_shape), [int(size) for size in leading_dims.reshape(-1)])


def _concat_gradient(op: Any, dtensor: Tensor, dlengths: Any = None) -> list[Any]:
    shape = op.outputs[0].shape
    static = np.array(-1, np.int32)
    if shape.rank is not None:
        static = np.array([-1, *[-1 if size is None else size for size in shape.as_list()[1:]]], np.int32)
    pieces = emit.TensorListSplit(dtensor, static, op.outputs[1])
    return [pieces] + [None] * (len(op.inputs) - 1)


tensor_list_concat.gradient(_concat_gradient)
tensor_list_concat_v2.gradient(_concat_gradient)


@op("TensorListConcatLists", "input_a:variant; input_b:variant", "output:variant", "element_dtype:type", infer=_handle,
    differentiable=False)  # fmt: skip
def tensor_list_concat_lists(input_a: Array, input_b: Array, *, element_dtype: DType) -> Array:
    """The elements of two lists in one."""
    a, b = _list(input_a, element_dtype), _list(input_b, element_dtype)
    return boxed(TensorList(element_dtype, _merged(a.shape, b.shape), [*a.items, *b.items]))
