"""`tf.contrib.staging`: places where one step leaves tensors for the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.namespace import lazy
from graphflow.ops.staging import StagingArea as StagingArea

__all__ = ["StagingArea"]

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "staging")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
