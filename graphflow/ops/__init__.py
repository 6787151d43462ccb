"""The ops, each in one place; importing this package registers them."""

from graphflow.ops import (
    control,
    convolution,
    elementwise,
    io,
    layout,
    linalg,
    nn,
    queues,
    random,
    reduction,
    source,
    state,
    training,
)

__all__ = [
    "control", "convolution", "elementwise", "io", "layout", "linalg", "nn", "queues", "random", "reduction", "source",
    "state", "training",
]  # fmt: skip
