"""The ops, each in one place; importing this package registers them."""

from graphflow.ops import (
    control,
    convolution,
    diagonals,
    elementwise,
    factorizations,
    io,
    layout,
    linalg,
    nn,
    queues,
    random,
    scatter,
    segments,
    sorting,
    source,
    state,
)

__all__ = [
    "control", "convolution", "diagonals", "elementwise", "factorizations", "io", "layout", "linalg", "nn",
    "queues", "random", "scatter", "segments", "sorting", "source", "state",
]  # fmt: skip
