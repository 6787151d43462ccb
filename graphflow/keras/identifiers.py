"""Things that may be given by name, by configuration or as they are: initializers, regularizers, activations, ..."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

_custom: dict[str, Any] = {}


def custom_objects() -> dict[str, Any]:
    """Returns the table of things of one's own that names stand for; it may be changed."""
    return _custom


@contextlib.contextmanager
def custom_object_scope(*args: Mapping[str, Any]) -> Iterator[None]:
    """Inside, names stand also for what is in some tables."""
    before = dict(_custom)
    for table in args:
        _custom.update(table)
    try:
        yield
    finally:
        _custom.clear()
        _custom.update(before)


def found(identifier: Any, known: Mapping[str, Any], what: str) -> Any:
    """Returns what an identifier stands for.

    Args:
      identifier: None, a name, a dict of `class_name` and `config`, or the thing itself.
      known: what there is by name: classes, which are instantiated, and functions.
      what: the kind of thing, for messages.

    Raises:
      ValueError: if there is nothing of that name, or the identifier is none.
    """
    if identifier is None:
        return None
    config: dict[str, Any] | None = None
    name = identifier
    if isinstance(identifier, dict):
        name, config = identifier["class_name"], identifier.get("config", {})
    if isinstance(name, str):
        known = {**known, **_custom}
        if name not in known:
            raise ValueError(f"Unknown {what}: {name}; known are {', '.join(sorted(known))}")
        entry = known[name]
        if inspect.isclass(entry):
            return entry(**(config or {}))
        return entry
    if inspect.isclass(identifier):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret {what} identifier: {identifier!r}")


def serialized(value: Any) -> Any:
    """Returns the name of a function, or a dict of `class_name` and `config` for a thing that has a configuration.

    Raises:
      ValueError: if it is neither.
    """
    if value is None:
        return None
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if hasattr(value, "__name__"):
        return value.__name__
    raise ValueError(f"Cannot serialize {value!r}")
