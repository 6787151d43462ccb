"""`tf.nn`: layers of neural networks, their losses and activations.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.elementwise import (
    elu as elu, leaky_relu as leaky_relu, relu as relu, relu6 as relu6, selu as selu, sigmoid as sigmoid,
    softplus as softplus, softsign as softsign, tanh as tanh,
)
from graphflow.ops.layout import depth_to_space as depth_to_space, space_to_depth as space_to_depth
from graphflow.ops.linalg import l2_normalize as l2_normalize, xw_plus_b as xw_plus_b
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
