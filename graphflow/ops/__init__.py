"""The ops, each in one place; importing this package registers them."""

from graphflow.ops import (
    control,
    convolution,
    counting,
    diagonals,
    elementwise,
    factorizations,
    functional,
    io,
    layout,
    linalg,
    lists,
    nn,
    queues,
    random,
    reduction,
    rows,
    scatter,
    segments,
    sorting,
    source,
    sparse,
    sparse_math,
    sparse_tensor,
    special,
    state,
    summaries,
    training,
)

__all__ = [
    "control", "convolution", "counting", "diagonals", "elementwise", "factorizations", "functional", "io",
    "layout", "linalg", "lists", "nn", "queues", "random", "reduction", "rows", "scatter", "segments", "sorting",
    "source", "sparse", "sparse_math", "sparse_tensor", "special", "state", "summaries", "training",
]  # fmt: skip
