"""`tf.contrib.lookup`: tables, which are those of `gf.lookup`."""

from __future__ import annotations

from typing import Any

from graphflow import lookup
from graphflow.contrib import deep as _deep
from graphflow.namespace import MissingNameError

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "lookup")


def __getattr__(name: str) -> Any:
    found = getattr(lookup, name, None)
    if found is None or name.startswith("_"):
        raise MissingNameError(__name__, name)
    return found


def __dir__() -> list[str]:
    return dir(lookup)
