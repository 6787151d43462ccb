"""`tf.contrib.nccl`: tensors of several devices reduced, and handed to all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.namespace import lazy
from graphflow.ops.collectives import all_max as all_max
from graphflow.ops.collectives import all_min as all_min
from graphflow.ops.collectives import all_prod as all_prod
from graphflow.ops.collectives import all_sum as all_sum
from graphflow.ops.collectives import broadcast as broadcast
from graphflow.ops.collectives import reduce_sum as reduce_sum

__all__ = ["all_max", "all_min", "all_prod", "all_sum", "broadcast", "reduce_sum"]

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "nccl")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
