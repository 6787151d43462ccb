"""`keras.metrics`: one figure per example, averaged over an epoch."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow.graph import Tensor
from graphflow.keras import losses
from graphflow.keras.identifiers import found
from graphflow.keras.losses import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from graphflow.opdef import convert_to_tensor
from graphflow.ops import elementwise, layout, nn
from graphflow.ops.reduction import argmax, reduce_mean


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """How often predictions are on the right side of a threshold."""
    y_pred = convert_to_tensor(y_pred)
    guess = elementwise.cast(y_pred > threshold, y_pred.dtype)
    return reduce_mean(
        elementwise.cast(elementwise.equal(elementwise.cast(y_true, y_pred.dtype), guess), "float32"), -1
    )


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether the likeliest class is the right one."""
    return elementwise.cast(elementwise.equal(argmax(y_true, -1), argmax(y_pred, -1)), "float32")


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether the likeliest class is the right one, given by number."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    if y_true.shape.rank is not None and y_true.shape.rank == y_pred.shape.rank:
        y_true = layout.squeeze(y_true, [-1])
    return elementwise.cast(
        elementwise.equal(elementwise.cast(y_true, dtypes.int64), argmax(y_pred, -1)), "float32"
    )


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Whether the right class is among the k likeliest."""
    return elementwise.cast(nn.in_top_k(y_pred, argmax(y_true, -1), k), "float32")


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Whether the right class, given by number, is among the k likeliest."""
    labels = layout.reshape(elementwise.cast(y_true, dtypes.int32), [-1])
    return elementwise.cast(nn.in_top_k(y_pred, labels, k), "float32")


_KNOWN: dict[str, Any] = {
    "binary_accuracy": binary_accuracy, "categorical_accuracy": categorical_accuracy,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "sparse_top_k_categorical_accuracy": sparse_top_k_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy, **losses._KNOWN,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns a metric by name, or as it is."""
    return found(identifier, _KNOWN, "metric function")


__all__ = [
    "binary_accuracy", "binary_crossentropy", "categorical_accuracy", "categorical_crossentropy", "get",
    "mean_absolute_error", "mean_squared_error", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
]  # fmt: skip
