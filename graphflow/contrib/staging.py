"""`tf.contrib.staging`: places where one step leaves tensors for the next."""

from __future__ import annotations

from graphflow.contrib import deep as _deep
from graphflow.ops.staging import StagingArea as StagingArea

__all__ = ["StagingArea"]

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "staging")
