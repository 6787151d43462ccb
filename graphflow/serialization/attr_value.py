"""Attributes of nodes as AttrValue and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.opdef import AttrDef
from graphflow.serialization.proto import attr_value_pb2
from graphflow.serialization.tensor_proto import (
    array_to_proto,
    dtype_from_enum,
    enum_from_dtype,
    make_ndarray,
    shape_from_proto,
    shape_to_proto,
)
from graphflow.shapes import TensorShape

# The field of AttrValue (and of its list) that holds an attribute of each kind.
_FIELDS = {
    "int": "i", "float": "f", "bool": "b", "string": "s", "type": "type", "shape": "shape", "tensor": "tensor",
    "func": "func",
}  # fmt: skip


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _frozen(value: Any) -> Any:
    array = make_ndarray(value)
    array.flags.writeable = False
    return array


def _function_name(value: attr_value_pb2.NameAttrList) -> str:
    if value.attr:
        raise ValueError(f"the function {value.name!r} takes attributes, which is not supported")
    return value.name


_DECODE: dict[str, Callable[[Any], Any]] = {
    "int": int, "float": float, "bool": bool, "string": _text, "type": dtype_from_enum,
    "shape": shape_from_proto, "tensor": _frozen, "func": _function_name,
}  # fmt: skip


def _kind_of(value: Any) -> str:
    """The kind of an attribute that no signature describes (its name begins with an underscore)."""
    for types, kind in (
        (bool, "bool"), (int, "int"), (float, "float"), ((str, bytes), "string"), (DType, "type"),
        (TensorShape, "shape"), (np.ndarray, "tensor"),
    ):  # fmt: skip
        if isinstance(value, types):
            return kind
    if isinstance(value, list | tuple):
        return f"list({_kind_of(value[0]) if value else 'string'})"
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be an attribute in a file")


def attr_to_proto(value: Any, kind: str | None = None) -> attr_value_pb2.AttrValue:
    """Returns the AttrValue of a Python value.

    Args:
      value: as in `Operation.attrs`.
      kind: the kind in the op's signature, such as "list(int)"; default: what the value looks like.

    Raises:
      TypeError: if the value has no such form.
    """
    kind = kind or _kind_of(value)
    proto = attr_value_pb2.AttrValue()
    if kind.startswith("list("):
        proto.list.SetInParent()
        inner = kind[5:-1]
        field = getattr(proto.list, _FIELDS[inner])
        for item in value:
            _put(inner, item, field, None)
        return proto
    _put(kind, value, None, proto)
    return proto


def _put(kind: str, value: Any, into: Any, proto: Any) -> None:
    """Appends one value to a list field, or sets it in an AttrValue."""
    if kind in ("shape", "tensor"):
        message = shape_to_proto(value) if kind == "shape" else array_to_proto(np.asarray(value))
        (into.add() if proto is None else getattr(proto, kind)).CopyFrom(message)
    elif kind == "func":
        (into.add() if proto is None else proto.func).name = getattr(value, "name", value)
    else:
        if kind == "string":
            value = value.encode() if isinstance(value, str) else value
        elif kind == "type":
            value = enum_from_dtype(value)
        if proto is None:
            into.append(value)
        else:
            setattr(proto, _FIELDS[kind], value)


def attr_from_proto(proto: attr_value_pb2.AttrValue, attr: AttrDef | None) -> Any:
    """Returns the Python value of an AttrValue.

    Args:
      proto: the attribute in the file.
      attr: its definition in the op's signature, or None for a private attribute.

    Raises:
      ValueError: if the file's value is of another kind, or makes no sense.
    """
    held = proto.WhichOneof("value")
    if held is None:
        raise ValueError("it has no value")
    kinds = {field: kind for kind, field in _FIELDS.items()}
    if held == "list":
        filled = [field.name for field, _ in proto.list.ListFields()]
        if len(filled) > 1:
            raise ValueError("it is a list of several kinds")
        if attr is not None and not attr.kind.startswith("list("):
            raise ValueError(f"it is a list, expected {attr.kind}")
        inner = kinds[filled[0]] if filled else "string"
        if attr is not None and filled and attr.kind != f"list({inner})":
            raise ValueError(f"it is a list({inner}), expected {attr.kind}")
        decode = _DECODE[inner]
        return tuple(decode(item) for item in getattr(proto.list, filled[0])) if filled else ()
    if held == "placeholder":
        raise ValueError(f"it stands for the attribute {proto.placeholder!r} of a function")
    kind = kinds[held]
    if attr is not None and attr.kind != kind:
        raise ValueError(f"it is of kind {kind}, expected {attr.kind}")
    return _DECODE[kind](getattr(proto, held))
