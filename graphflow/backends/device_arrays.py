"""Arrays of other libraries as feeds, known by the protocols that libraries share, whoever made them.

What lies on a GPU (CuPy's arrays, PyTorch's tensors, JAX's) becomes a `DeviceArray`, which a plan for that GPU reads
where it is; what lies on the host and speaks only DLPack becomes a NumPy array over the same memory. Nothing is copied.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["DeviceArray", "device_array", "host_array"]

Array = np.ndarray[Any, Any]

_HOST, _GPU, _PINNED = 1, 2, 3  # DLDeviceType
_MANAGED = 13  # memory that both sides read
_DEFAULT_STREAM = 1  # the legacy default stream, as CUDA and both protocols call it


class DeviceArray:
    """An array in a GPU's memory.

    Attributes:
      address: where its first element lies.
      shape, dtype: as of a NumPy array.
      strides: bytes from element to element along each axis; None where rows follow each other.
      stream: the handle of the stream that may still be writing it; None: nobody is.
      owner: what keeps the memory.
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        strides: tuple[int, ...] | None,
        stream: int | None,
        owner: Any,
    ) -> None:
        self.address = address
        self.shape = shape
        self.dtype = dtype
        self.strides = strides
        self.stream = stream
        self.owner = owner

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.size * self.dtype.itemsize

    @property
    def is_dense(self) -> bool:
        """Whether rows follow each other without gaps."""
        step = self.dtype.itemsize
        for extent, stride in zip(reversed(self.shape), reversed(self.strides or ()), strict=False):
            if extent > 1 and stride != step:
                return self.size == 0
            step *= extent
        return True

    def get(self) -> Array:
        """A copy on the host, by whatever its owner has for that."""
        for name in ("get", "cpu", "copy_to_host"):  # CuPy, PyTorch, Numba
            copy = getattr(self.owner, name, None)
            if copy is not None:
                found = copy()
                return np.ascontiguousarray(found if type(found) is np.ndarray else host_array(found))
        return np.asarray(self.owner)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.get() if dtype is None else self.get().astype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """A row, where it lies; anything else as an array of the host."""
        if not isinstance(index, int) or not 0 <= index < len(self):
            return self.get()[index]
        row = self.nbytes // max(1, len(self)) if self.strides is None else self.strides[0]
        rest = None if self.strides is None else self.strides[1:]
        return DeviceArray(
            self.address + index * row, self.shape[1:], self.dtype, rest, self.stream, _Row(self, index)
        )

    def reshape(self, *shape: int) -> Array:
        """A copy on the host in another shape."""
        return self.get().reshape(*shape)

    def tobytes(self) -> bytes:
        """Its elements."""
        return self.get().tobytes()


class _Row:
    """The owner of a row: that of the whole array."""

    def __init__(self, whole: DeviceArray, index: int) -> None:
        self.whole = whole
        self.index = index

    def get(self) -> Array:
        """A copy on the host."""
        row: Array = self.whole.get()[self.index]
        return row


def device_array(value: Any) -> DeviceArray | None:
    """An object that says where on a GPU it lies, as an array; None for any other."""
    if isinstance(value, DeviceArray):
        return value
    kind = type(value)
    if hasattr(kind, "__dlpack_device__") and _place(value) == _GPU:
        # By DLPack the owner's stream comes in order before the default one.
        address, shape, dtype, strides, keeper = _unpacked(value.__dlpack__(stream=_DEFAULT_STREAM))
        found = DeviceArray(address, shape, dtype, strides, _DEFAULT_STREAM, value)
        _at_its_end(found, keeper)
        return found
    if not hasattr(kind, "__cuda_array_interface__"):
        return None
    try:
        told = value.__cuda_array_interface__
    except AttributeError:  # a tensor of a library that has both, on the host
        return None
    stream = told.get("stream")
    return DeviceArray(
        int(told["data"][0]), tuple(told["shape"]), np.dtype(told["typestr"]), told.get("strides"),
        None if stream is None else int(stream), value,
    )  # fmt: skip


def host_array(value: Any) -> Any:
    """A NumPy array over the memory of an object that offers it by DLPack; any other object as it is."""
    if not hasattr(type(value), "__dlpack_device__") or isinstance(value, np.ndarray):
        return value
    if _place(value) not in (_HOST, _PINNED, _MANAGED):
        return value
    try:
        address, shape, dtype, strides, keeper = _unpacked(value.__dlpack__())
    except (BufferError, TypeError, ValueError, RuntimeError):
        return value  # it may be an array by another way, or says itself what it is not
    return np.asarray(_Memory(address, shape, dtype, strides, keeper)).view(dtype)


def _place(value: Any) -> int:
    with contextlib.suppress(Exception):  # whoever cannot say where it lies is asked by other ways
        return int(value.__dlpack_device__()[0])
    return 0


class _Memory:
    """Memory of the host, as NumPy takes it."""

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], strides: Any, keeper: _Keeper
    ) -> None:
        _at_its_end(self, keeper)
        plain = dtype if dtype.kind in "biufc" else np.dtype(f"u{dtype.itemsize}")
        self.__array_interface__ = {
            "data": (address, True),
            "shape": shape,
            "typestr": plain.str,
            "strides": strides,
            "version": 3,
        }


# DLPack's structures, as its header lays them out.


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.PYFUNCTYPE(None, ctypes.c_void_p)),
    )


class _Keeper:
    """A tensor that was taken over from a capsule, which is given back once."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    def release(self) -> None:
        """Tells the owner that nobody uses it any more."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            managed = _ManagedTensor.from_address(pointer)
            if managed.deleter:
                managed.deleter(pointer)


def _at_its_end(user: Any, keeper: _Keeper) -> None:
    """Gives a tensor back when what uses it is gone; what is left when the process ends is the owner's matter."""
    weakref.finalize(user, keeper.release).atexit = False


_BFLOAT = 4
_KINDS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}  # DLDataTypeCode
_NAME, _USED = b"dltensor", b"used_dltensor"  # a capsule keeps the address of its name: these stay

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)


def _unpacked(capsule: Any) -> tuple[int, tuple[int, ...], np.dtype[Any], tuple[int, ...] | None, _Keeper]:
    """What a capsule of DLPack holds: address, shape, dtype, strides in bytes, and who gives it back.

    Raises ValueError for elements that NumPy has none of.
    """
    pointer = _pointer_of(capsule, _NAME)
    tensor = _ManagedTensor.from_address(pointer).tensor
    code, width = tensor.dtype.code, tensor.dtype.bits
    if tensor.dtype.lanes != 1 or width % 8 or (code != _BFLOAT and code not in _KINDS):
        raise ValueError(f"an array of DLPack's type {code} with {width} bits has no dtype here")
    name = ml_dtypes.bfloat16 if code == _BFLOAT else f"{_KINDS[code]}{width // 8}"
    dtype = np.dtype(name)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = None
    if tensor.strides:
        strides = tuple([step * dtype.itemsize for step in tensor.strides[: tensor.ndim]])
    _rename(capsule, _USED)  # from now on it is ours to give back
    return (tensor.data or 0) + tensor.byte_offset, shape, dtype, strides, _Keeper(pointer)
