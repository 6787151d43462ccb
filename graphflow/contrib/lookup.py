"""`tf.contrib.lookup`: tables, which are those of `gf.lookup`."""

from __future__ import annotations

from typing import Any

from graphflow import lookup
from graphflow.namespace import MissingNameError


def __getattr__(name: str) -> Any:
    found = getattr(lookup, name, None)
    if found is None or name.startswith("_"):
        raise MissingNameError(__name__, name)
    return found


def __dir__() -> list[str]:
    return dir(lookup)
