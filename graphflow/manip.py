"""`tf.manip`: shapes.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.layout import (
    batch_to_space_nd as batch_to_space_nd, reshape as reshape, reverse as reverse, roll as roll,
    space_to_batch_nd as space_to_batch_nd, tile as tile,
)
from graphflow.ops.scatter import gather_nd as gather_nd, scatter_nd as scatter_nd
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
