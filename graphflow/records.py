"""Dataclasses that are quick to make.

The standard decorator compiles some eight functions for each class, half a millisecond; over a hundred classes that is
longer than compiling a small model from the object cache. This one compiles `__init__` alone, when it is first called.
Its classes are dataclasses like any other to `dataclasses.fields` and `replace`, and to type checkers.
"""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import field
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None,
        /,
        *,
        frozen: bool = False,
        eq: bool = True,
        slots: bool = False,
        kw_only: bool = False,
    ) -> Any:
        """As `dataclasses.dataclass`, of whose switches it has those that are named here."""

        def make(cls: type) -> type:
            return _made(cls, frozen, eq, slots, kw_only)

        return make if cls is None else make(cls)


_MISSING = dataclasses.MISSING


class _Parameters:
    """What the standard decorator looks at in a base class."""

    __slots__ = ("frozen",)

    def __init__(self, frozen: bool) -> None:
        self.frozen = frozen


def _made(cls: Any, frozen: bool, eq: bool, slots: bool, kw_only: bool) -> Any:
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(base.__dict__.get("__dataclass_fields__", {}))
    for name, kind in cls.__dict__.get("__annotations__", {}).items():
        fields[name] = _field(cls, name, kind, kw_only)
    names = tuple(fields)
    shown = tuple(name for name in names if fields[name].repr)
    compared = tuple(name for name in names if fields[name].compare)
    own = cls.__dict__
    cls.__dataclass_fields__ = fields
    cls.__dataclass_params__ = _Parameters(frozen)
    cls.__init__ = _init(cls, fields, frozen)
    places = tuple(name for name in names if fields[name].init and not fields[name].kw_only)
    setattr(cls, "__match_args__", places)  # noqa: B010 - mypy knows the name
    if "__repr__" not in own:
        cls.__repr__ = _repr(shown)
    if eq:
        if "__eq__" not in own:
            cls.__eq__ = _eq(compared)
        if "__hash__" not in own or own["__hash__"] is None:
            cls.__hash__ = _hash(compared) if frozen else None
    if frozen:
        cls.__setattr__, cls.__delattr__ = _locked, _locked
    return _slotted(cls, names, frozen) if slots else cls


def _field(cls: Any, name: str, kind: Any, kw_only: bool) -> Any:
    if "ClassVar" in str(kind) or "InitVar" in str(kind):
        raise TypeError(f"{cls.__name__}.{name}: only plain fields")
    default = cls.__dict__.get(name, _MISSING)
    if isinstance(default, dataclasses.Field):
        made = default
        if made.default is _MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, made.default)
    else:
        made = field() if default is _MISSING else field(default=default)
    if made.default is not _MISSING and made.default.__class__.__hash__ is None:
        raise ValueError(f"{cls.__name__}.{name}: a default that can change needs a default_factory")
    made.name, made.type = name, kind
    made._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
    if made.kw_only is _MISSING:
        made.kw_only = kw_only
    return made


def _init(cls: Any, fields: dict[str, Any], frozen: bool) -> Any:
    """What compiles `__init__` and takes its place: of many classes a process makes no object at all."""

    def first(self: Any, *given: Any, **named: Any) -> None:
        compiled = _compiled_init(cls, fields, frozen)
        for owner in self.__class__.__mro__:
            if owner.__dict__.get("__init__") is first:
                owner.__init__ = compiled
        compiled(self, *given, **named)

    first.__name__ = "__init__"
    first.__qualname__ = f"{cls.__qualname__}.__init__"
    first.__module__ = cls.__module__
    return first


def _compiled_init(cls: Any, fields: dict[str, Any], frozen: bool) -> Any:
    known: dict[str, Any] = {"_missing": _MISSING, "_set": object.__setattr__}
    plain: list[str] = []
    by_name: list[str] = []
    lines: list[str] = []
    for name, item in fields.items():
        value = name
        if item.default_factory is not _MISSING:
            known[f"_make_{name}"] = item.default_factory
            value = f"_make_{name}() if {name} is _missing else {name}" if item.init else f"_make_{name}()"
        if item.init:
            parameter = name
            if item.default_factory is not _MISSING:
                parameter = f"{name}=_missing"
            elif item.default is not _MISSING:
                known[f"_default_{name}"] = item.default
                parameter = f"{name}=_default_{name}"
            (by_name if item.kw_only else plain).append(parameter)
        elif item.default_factory is _MISSING:
            if item.default is _MISSING:
                continue  # `__post_init__` sets it
            known[f"_default_{name}"] = item.default
            value = f"_default_{name}"
        lines.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ["self", *plain, *(["*", *by_name] if by_name else [])]
    exec(f"def __init__({', '.join(parameters)}):\n" + ("\n".join(lines) or " pass"), known)
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    return made


def _repr(names: tuple[str, ...]) -> Any:
    def shown(self: Any) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({inside})"

    return shown


def _values(names: tuple[str, ...]) -> Any:
    return operator.attrgetter(*names) if names else lambda self: ()


def _eq(names: tuple[str, ...]) -> Any:
    values = _values(names)

    def equal(self: Any, other: object) -> Any:
        # In tuples, so that what is the same object is equal, NaN or not.
        return (values(self),) == (values(other),) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _hash(names: tuple[str, ...]) -> Any:
    values = _values(names)
    return lambda self: hash(values(self))


def _locked(self: Any, name: str, value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _slotted(cls: Any, names: tuple[str, ...], frozen: bool) -> Any:
    inherited = {name for base in cls.__mro__[1:-1] for name in base.__dict__.get("__slots__", ())}
    body = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
    for name in names:
        body.pop(name, None)
    body["__slots__"] = tuple(name for name in names if name not in inherited)
    if frozen and "__getstate__" not in cls.__dict__:
        body["__getstate__"], body["__setstate__"] = _state, _restored
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _restored(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)
