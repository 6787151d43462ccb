"""`tf.debugging`: checks inside the graph.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.elementwise import is_finite as is_finite, is_inf as is_inf, is_nan as is_nan
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
