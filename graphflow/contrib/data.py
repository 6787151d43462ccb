"""`tf.contrib.data`: transformations of datasets, which are those of `gf.data.experimental`."""

from __future__ import annotations

from typing import Any

from graphflow.contrib import deep as _deep
from graphflow.data import experimental
from graphflow.namespace import MissingNameError

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "data")


def __getattr__(name: str) -> Any:
    # `map_and_batch`, `parallel_interleave`, `shuffle_and_repeat`, `unbatch`, `AUTOTUNE`, and what else there is.
    found = getattr(experimental, name, None)
    if found is None or name.startswith("_"):
        raise MissingNameError(__name__, name)
    return found


def __dir__() -> list[str]:
    return dir(experimental)
