"""Things that may be given by name, by configuration or as they are: initializers, regularizers, activations, ..."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


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
