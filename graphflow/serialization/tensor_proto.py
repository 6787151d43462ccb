"""Arrays as TensorProto and back, for every element type."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.opdef import to_array
from graphflow.serialization.proto import tensor_pb2, tensor_shape_pb2, types_pb2
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]

# A few bytes can claim any shape, and one value fills it. Past this size the elements must be in the file.
LARGEST_FILL = 1 << 30

_TYPED_FIELD = {
    dtypes.float32: "float_val", dtypes.float64: "double_val", dtypes.int32: "int_val",
    dtypes.int16: "int_val", dtypes.int8: "int_val", dtypes.uint16: "int_val", dtypes.uint8: "int_val",
    dtypes.string: "string_val", dtypes.complex64: "scomplex_val", dtypes.int64: "int64_val",
    dtypes.bool_: "bool_val", dtypes.complex128: "dcomplex_val", dtypes.float16: "half_val",
    dtypes.qint8: "int_val", dtypes.quint8: "int_val", dtypes.qint16: "int_val", dtypes.quint16: "int_val",
    dtypes.qint32: "int_val", dtypes.bfloat16: "half_val", dtypes.uint32: "uint32_val", dtypes.uint64: "uint64_val",
}  # fmt: skip


def dtype_from_enum(number: int) -> DType:
    """Returns the DType of a DataType number; reference types give their base type.

    Raises:
      ValueError: for a type that graphflow lacks.
    """
    try:
        return dtypes.as_dtype(int(number))
    except TypeError:
        names = types_pb2.DataType
        name = names.Name(number) if number in names.values() else str(number)
        raise ValueError(f"element type {name} is not supported") from None


def enum_from_dtype(dtype: DType) -> types_pb2.DataType:
    """Returns the DataType number of a DType, as the generated stubs type it."""
    return dtype.as_datatype_enum  # type: ignore[return-value]


def shape_to_proto(shape: TensorShape) -> tensor_shape_pb2.TensorShapeProto:
    """Returns the proto of a shape; unknown sizes are -1."""
    proto = tensor_shape_pb2.TensorShapeProto()
    sizes = shape.as_tuple()
    if sizes is None:
        proto.unknown_rank = True
    else:
        for size in sizes:
            proto.dim.add(size=-1 if size is None else size)
    return proto


def shape_from_proto(proto: tensor_shape_pb2.TensorShapeProto) -> TensorShape:
    """Returns the shape that a proto describes.

    Raises:
      ValueError: for a size below -1, or sizes beside an unknown rank.
    """
    if proto.unknown_rank:
        if proto.dim:
            raise ValueError("a shape of unknown rank has sizes")
        return TensorShape(None)
    for dim in proto.dim:
        if dim.size < -1:
            raise ValueError(f"a shape has the size {dim.size}")
    return TensorShape([None if dim.size == -1 else dim.size for dim in proto.dim])


def as_bytes(item: Any) -> bytes:
    """Returns one element of a string tensor as bytes; text is encoded as UTF-8.

    Raises:
      TypeError: for anything but text and bytes.
    """
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes | bytearray | np.bytes_):
        return bytes(item)
    raise TypeError(f"a string tensor cannot hold {item!r} of type {type(item).__name__}")


def _is_splat(array: Array) -> bool:
    """Whether all elements (there are at least two) have the same bits."""
    raw = array.reshape(-1).view(np.uint8).reshape(array.size, -1)
    return bool((raw[-1] == raw[0]).all() and (raw[1] == raw[0]).all() and (raw == raw[0]).all())


def array_to_proto(array: Array) -> tensor_pb2.TensorProto:
    """Returns the proto of an array; object arrays are strings.

    An array of equal elements is stored as one value.
    """
    dtype = dtypes.as_dtype(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=enum_from_dtype(dtype))
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype is dtypes.string:
        proto.string_val.extend([as_bytes(item) for item in array.reshape(-1).tolist()])
        return proto
    array = np.ascontiguousarray(array)
    if array.size > 1 and not _is_splat(array):
        proto.tensor_content = (array.byteswap() if sys.byteorder == "big" else array).tobytes()
    elif array.size:
        fill_typed(proto, array.reshape(-1)[:1], dtype)
    return proto


def fill_typed(proto: tensor_pb2.TensorProto, array: Array, dtype: DType) -> None:
    """Puts elements into the field of a proto that is for their type."""
    field = getattr(proto, _TYPED_FIELD[dtype])
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype is dtypes.string:
        field.extend([as_bytes(item) for item in flat.tolist()])
    elif dtype.is_complex:
        field.extend(flat.view(dtype.real_dtype.numpy).tolist())
    elif dtype in (dtypes.float16, dtypes.bfloat16):
        field.extend(flat.view(np.uint16).tolist())
    else:
        field.extend((flat[dtype.name] if dtype.is_quantized else flat).tolist())


def make_tensor_proto(
    values: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,
    allow_broadcast: bool = False,
) -> tensor_pb2.TensorProto:
    """Returns a TensorProto, as `tf.make_tensor_proto` does.

    Args:
      values: an array, a number, text, or nested lists of them.
      dtype: the element type; default: the array's, or float32/int32 for Python numbers.
      shape: the shape to give; more elements than values repeat the last value.
      verify_shape: whether the values must have exactly `shape`.
      allow_broadcast: whether a single value may fill `shape`.

    Raises:
      TypeError: if the values do not fit `dtype`.
      ValueError: if they do not fit `shape`.
    """
    if isinstance(values, tensor_pb2.TensorProto):
        return values
    array = to_array(values, None if dtype is None else dtypes.as_dtype(dtype))
    if shape is not None:
        sizes = tuple(int(size) for size in shape)
        if verify_shape and array.shape != sizes:
            raise TypeError(f"Expected shape {sizes}, got {array.shape}.")
        count = TensorShape(sizes).num_elements() or 0
        if array.size > count or (not array.size and count):
            raise ValueError(f"Cannot store {array.size} values in the shape {sizes}.")
        if array.size < count:
            if allow_broadcast and array.size != 1:
                raise ValueError(f"Cannot broadcast {array.size} values to the shape {sizes}.")
            flat = array.reshape(-1)
            array = np.concatenate([flat, np.repeat(flat[-1:], count - flat.size)])
        array = array.reshape(sizes)
    return array_to_proto(array)


def make_ndarray(tensor: tensor_pb2.TensorProto) -> Array:
    """Returns the array that a TensorProto holds; strings come as an object array of bytes.

    Raises:
      ValueError: if dtype, shape and contents do not fit each other, or the shape is absurd.
    """
    dtype = dtype_from_enum(tensor.dtype)
    if dtype not in _TYPED_FIELD:
        raise ValueError(f"tensors of type {dtype.name} have no array form")
    shape = shape_from_proto(tensor.tensor_shape)
    if not shape.is_fully_defined():
        raise ValueError(f"a tensor has the incomplete shape {shape}")
    sizes = tuple(size for size in shape.as_tuple() or () if size is not None)
    count = shape.num_elements() or 0
    if len(sizes) > 32:
        raise ValueError(f"a tensor has {len(sizes)} dimensions")
    if tensor.tensor_content and dtype is not dtypes.string:
        expected = count * dtype.size
        if len(tensor.tensor_content) != expected:
            raise ValueError(
                f"a {dtype.name} tensor of shape {shape} needs {expected} bytes, its content has "
                f"{len(tensor.tensor_content)}"
            )
        if dtype.is_bool:
            flags: Array = np.frombuffer(tensor.tensor_content, np.uint8).reshape(sizes) != 0
            return flags
        content: Array = np.frombuffer(tensor.tensor_content, dtype.numpy).reshape(sizes)
        return content.byteswap() if sys.byteorder == "big" else content.copy()
    values = typed_values(tensor, dtype)
    if len(values) > count:
        raise ValueError(f"a {dtype.name} tensor of shape {shape} holds {len(values)} values, too many")
    if len(values) < count and count * max(dtype.size, 8 if dtype is dtypes.string else 0) > LARGEST_FILL:
        raise ValueError(f"a {dtype.name} tensor claims the shape {shape} with {len(values)} values")
    if len(values) == count:
        return values.reshape(sizes)
    if not len(values):
        zeros: Array = np.zeros(sizes, dtype.numpy)
        if dtype is dtypes.string:
            zeros.fill(b"")
        return zeros
    filled: Array = np.empty(count, dtype.numpy)
    filled[: len(values)] = values
    filled[len(values) :] = values[-1]
    return filled.reshape(sizes)


def typed_values(tensor: tensor_pb2.TensorProto, dtype: DType) -> Array:
    """Returns the elements in the field of a proto that is for their type, as a vector.

    Raises:
      ValueError: if they do not fit the type.
    """
    field = getattr(tensor, _TYPED_FIELD[dtype])
    if dtype is dtypes.string:
        strings: Array = np.empty(len(field), object)
        strings[:] = list(field)
        return strings
    if dtype.is_complex:
        if len(field) % 2:
            raise ValueError("a complex tensor has half a value")
        return np.array(field, dtype.real_dtype.numpy).view(dtype.numpy)
    if dtype in (dtypes.float16, dtypes.bfloat16):
        return (np.array(field, np.int64) & 0xFFFF).astype(np.uint16).view(dtype.numpy)
    if (dtype.size < 4 and dtype.is_integer) or dtype.is_quantized:
        wide = np.array(field, np.int64)
        whole = dtype.numpy[dtype.name] if dtype.is_quantized else dtype.numpy
        limits = np.iinfo(whole)
        if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
            raise ValueError(f"a {dtype.name} tensor holds values outside its range")
        return wide.astype(whole).view(dtype.numpy)
    return np.array(field, dtype.numpy)
