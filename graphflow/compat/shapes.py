"""Functions about shapes of `tensorflow.python.framework`, mostly of its `tensor_shape`."""

from __future__ import annotations

from typing import Any

from graphflow.shapes import TensorShape


def scalar() -> TensorShape:
    """Returns the shape of a scalar."""
    return TensorShape([])


def vector(length: Any) -> TensorShape:
    """Returns the shape of a vector."""
    return TensorShape([length])


def matrix(rows: Any, cols: Any) -> TensorShape:
    """Returns the shape of a matrix."""
    return TensorShape([rows, cols])


def unknown_shape(rank: int | None = None, **kwargs: Any) -> TensorShape:
    """Returns a shape of unknown sizes, or of unknown rank; `ndims` is the old name of `rank`."""
    count = kwargs.pop("ndims", rank)
    return TensorShape(None if count is None else [None] * count)


def set_shapes_for_outputs(op: Any) -> None:
    """Does nothing: an operation's outputs have their shapes when it is made."""
    del op
