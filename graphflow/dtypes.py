"""DType: what an element of a tensor is, under TensorFlow's names and numbers."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from graphflow.namespace import lazy


class DType:
    """The type of a tensor's elements, with the members of `tf.DType`.

    There is exactly one object per type, so `is` and `==` agree.
    """

    __slots__ = ("_enum", "_name", "_numpy", "_rank_kind")

    def __init__(self, name: str, enum: int, numpy_type: Any, kind: str) -> None:
        self._name = name
        self._enum = enum
        self._numpy = numpy_type
        self._rank_kind = kind

    @property
    def name(self) -> str:
        """The name, such as "float32"."""
        return self._name

    @property
    def as_datatype_enum(self) -> int:
        """The number of the type in TensorFlow's DataType enum."""
        return self._enum

    @property
    def as_numpy_dtype(self) -> Any:
        """The NumPy scalar type; `object` for strings and handles, a record of one integer for quantized types."""
        return self._numpy

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype instance."""
        dtype: np.dtype[Any] = np.dtype(self._numpy)
        return dtype

    @property
    def base_dtype(self) -> DType:
        """Itself: graphflow has no reference dtypes."""
        return self

    @property
    def real_dtype(self) -> DType:
        """The dtype of the real part."""
        return {"complex64": float32, "complex128": float64}.get(self._name, self)

    @property
    def is_floating(self) -> bool:
        """Whether this is a real floating-point type."""
        return self._rank_kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether this is a (signed or unsigned) integer type."""
        return self._rank_kind in "iu"

    @property
    def is_unsigned(self) -> bool:
        """Whether this is an unsigned integer type."""
        return self._rank_kind == "u"

    @property
    def is_complex(self) -> bool:
        """Whether this is a complex type."""
        return self._rank_kind == "c"

    @property
    def is_bool(self) -> bool:
        """Whether this is the boolean type."""
        return self._rank_kind == "b"

    @property
    def is_quantized(self) -> bool:
        """Whether elements are integers that stand for steps of a range that is kept beside them."""
        return self._rank_kind == "q"

    @property
    def is_numpy_compatible(self) -> bool:
        """Whether arrays of this type exist in NumPy."""
        return self._rank_kind != "r"

    @property
    def size(self) -> int:
        """Bytes per element (1 for strings and handles, as in TensorFlow)."""
        return 1 if self._rank_kind in "sr" else self.numpy.itemsize

    @property
    def min(self) -> Any:
        """The smallest finite value.

        Raises:
          TypeError: for types without an order.
        """
        return self._limits().min

    @property
    def max(self) -> Any:
        """The largest finite value.

        Raises:
          TypeError: for types without an order.
        """
        return self._limits().max

    @property
    def limits(self) -> tuple[Any, Any]:
        """`(min, max)`."""
        return self.min, self.max

    def _limits(self) -> Any:
        if self.is_integer:
            return np.iinfo(self._numpy)
        if self is bfloat16:
            return ml_dtypes.finfo(self._numpy)
        if self.is_floating:
            return np.finfo(self._numpy)
        raise TypeError(f"Cannot find minimum or maximum value of {self._name}.")

    def is_compatible_with(self, other: Any) -> bool:
        """Whether `other` names the same type."""
        return as_dtype(other) is self

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other is None or isinstance(other, DType):
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return self._enum

    def __int__(self) -> int:
        return self._enum

    def __str__(self) -> str:
        return f"<dtype: {self._name!r}>"

    def __repr__(self) -> str:
        return f"gf.{self._name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self._name,)


float32 = DType("float32", 1, np.float32, "f")
float64 = double = DType("float64", 2, np.float64, "f")
int32 = DType("int32", 3, np.int32, "i")
uint8 = DType("uint8", 4, np.uint8, "u")
int16 = DType("int16", 5, np.int16, "i")
int8 = DType("int8", 6, np.int8, "i")
string = DType("string", 7, np.object_, "s")
complex64 = DType("complex64", 8, np.complex64, "c")
int64 = DType("int64", 9, np.int64, "i")
bool_ = DType("bool", 10, np.bool_, "b")
qint8 = DType("qint8", 11, np.dtype([("qint8", np.int8)]), "q")
quint8 = DType("quint8", 12, np.dtype([("quint8", np.uint8)]), "q")
qint32 = DType("qint32", 13, np.dtype([("qint32", np.int32)]), "q")
bfloat16 = DType("bfloat16", 14, ml_dtypes.bfloat16, "f")
qint16 = DType("qint16", 15, np.dtype([("qint16", np.int16)]), "q")
quint16 = DType("quint16", 16, np.dtype([("quint16", np.uint16)]), "q")
uint16 = DType("uint16", 17, np.uint16, "u")
complex128 = DType("complex128", 18, np.complex128, "c")
float16 = half = DType("float16", 19, np.float16, "f")
resource = DType("resource", 20, np.object_, "r")
variant = DType("variant", 21, np.object_, "r")
uint32 = DType("uint32", 22, np.uint32, "u")
uint64 = DType("uint64", 23, np.uint64, "u")

ALL = (
    float32, float64, int32, uint8, int16, int8, string, complex64, int64, bool_, qint8, quint8, qint32, bfloat16,
    qint16, quint16, uint16, complex128, float16, resource, variant, uint32, uint64,
)  # fmt: skip

_BY_ENUM = {dtype._enum: dtype for dtype in ALL}
_BY_NAME = {dtype.name: dtype for dtype in ALL} | {
    "half": float16, "float": float32, "double": float64, "complex": complex128, "str": string,
}  # fmt: skip
_BY_NUMPY = {dtype.numpy: dtype for dtype in ALL if dtype.is_numpy_compatible and dtype is not string}
_BY_PYTHON: dict[Any, DType] = {float: float32, int: int32, bool: bool_, str: string, bytes: string,
                                object: string, complex: complex128}  # fmt: skip


def as_dtype(type_value: Any) -> DType:
    """Returns the DType that `type_value` names.

    Args:
      type_value: a DType, a NumPy dtype or scalar type, a name, a DataType number, or a Python type
        (float is float32 and int is int32, as in TensorFlow).

    Raises:
      TypeError: if nothing fits.
    """
    if isinstance(type_value, DType):
        return type_value
    found: DType | None = None
    if isinstance(type_value, type):
        found = _BY_PYTHON.get(type_value)
    elif isinstance(type_value, builtins.bool):
        found = None
    elif isinstance(type_value, int):
        # The numbers above 100 mark reference types in TensorFlow's files.
        found = _BY_ENUM.get(type_value - 100 if type_value > 100 else type_value)
    elif isinstance(type_value, str):
        found = _BY_NAME.get(type_value.removesuffix("_ref"))
    if found is not None:
        return found
    try:
        numpy_dtype = np.dtype(type_value)
    except TypeError:
        pass
    else:
        if numpy_dtype.kind in "SUO":
            return string
        found = _BY_NUMPY.get(numpy_dtype.newbyteorder("="))
        if found is not None:
            return found
    raise TypeError(f"Cannot convert value {type_value!r} to a graphflow DType.")


# What TensorFlow has under this name besides: functions that stand above, and the name that hides Python's own.
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        attributes={
            "as_string": "graphflow.ops.strings",
            "bool": "graphflow.dtypes:bool_",
            **dict.fromkeys(("cast", "complex", "saturate_cast"), "graphflow.ops.elementwise"),
        },
    )
