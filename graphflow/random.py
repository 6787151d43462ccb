"""`tf.random`: random numbers.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.graph import get_seed as get_seed, set_random_seed as set_random_seed
from graphflow.ops.random import (
    categorical as categorical, multinomial as multinomial, random_normal as _random_normal,
    random_shuffle as _random_shuffle, random_uniform as _random_uniform,
    truncated_normal as truncated_normal,
)
from graphflow.namespace import lazy

# Other names of the same.
normal = _random_normal
shuffle = _random_shuffle
uniform = _random_uniform

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
