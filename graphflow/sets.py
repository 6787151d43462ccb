"""`tf.sets`: sets in the last dimension of tensors.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.sets import (
    set_difference as set_difference, set_intersection as set_intersection, set_size as set_size,
    set_union as set_union,
)
from graphflow.namespace import lazy

# Other names of the same.
difference = set_difference
intersection = set_intersection
size = set_size
union = set_union

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
