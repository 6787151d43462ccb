"""`tf.contrib.losses`: those of `gf.losses` with predictions first, as `contrib` and slim have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphflow import losses as public
from graphflow.contrib import deep as _deep
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.graph import Tensor
from graphflow.losses import (
    Reduction,
    add_loss,
    get_losses,
    get_regularization_loss,
    get_regularization_losses,
)
from graphflow.losses import get_total_loss as get_total_loss
from graphflow.namespace import lazy


@add_arg_scope
def absolute_difference(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None
) -> Tensor:
    """Returns the mean of |predictions - labels|, weighted."""
    return public.absolute_difference(labels, predictions, weights, scope)


@add_arg_scope
def compute_weighted_loss(losses: Any, weights: Any = 1.0, scope: Any = None) -> Tensor:
    """Returns the mean of losses, weighted, and adds it to the losses."""
    return public.compute_weighted_loss(losses, weights, scope)


@add_arg_scope
def cosine_distance(
    predictions: Any, labels: Any = None, axis: int | None = None, weights: Any = 1.0, scope: Any = None,
    dim: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of 1 - the product of unit vectors along an axis."""
    return public.cosine_distance(labels, predictions, dim if axis is None else axis, weights, scope)


@add_arg_scope
def hinge_loss(logits: Any, labels: Any = None, scope: Any = None) -> Tensor:
    """Returns max(0, 1 - label * logit) for labels 0 and 1, each by itself; it adds nothing to the losses."""
    return public.hinge_loss(labels, logits, scope=scope, loss_collection=None, reduction=Reduction.NONE)


@add_arg_scope
def log_loss(
    predictions: Any, labels: Any = None, weights: Any = 1.0, epsilon: float = 1e-7, scope: Any = None
) -> Tensor:
    """Returns the mean cross entropy of probabilities, weighted."""
    return public.log_loss(labels, predictions, weights, epsilon, scope)


@add_arg_scope
def mean_squared_error(predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None) -> Tensor:
    """Returns the mean of (predictions - labels) squared, weighted."""
    return public.mean_squared_error(labels, predictions, weights, scope)


@add_arg_scope
def mean_pairwise_squared_error(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None
) -> Tensor:
    """Returns the mean squared difference between pairs of errors, weighted."""
    return public.mean_pairwise_squared_error(labels, predictions, weights, scope)


@add_arg_scope
def sigmoid_cross_entropy(
    logits: Any, multi_class_labels: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: Any = None
) -> Tensor:
    """Returns the mean cross entropy of sigmoids, weighted."""
    return public.sigmoid_cross_entropy(multi_class_labels, logits, weights, label_smoothing, scope)


@add_arg_scope
def softmax_cross_entropy(
    logits: Any, onehot_labels: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: Any = None
) -> Tensor:
    """Returns the mean cross entropy of softmaxes, weighted."""
    return public.softmax_cross_entropy(onehot_labels, logits, weights, label_smoothing, scope)


@add_arg_scope
def sparse_softmax_cross_entropy(logits: Any, labels: Any, weights: Any = 1.0, scope: Any = None) -> Tensor:
    """Returns the mean cross entropy of softmaxes with labels that are numbers of classes, weighted."""
    return public.sparse_softmax_cross_entropy(labels, logits, weights, scope)


__all__ = [
    "absolute_difference", "add_loss", "compute_weighted_loss", "cosine_distance", "get_losses",
    "get_regularization_loss", "get_regularization_losses", "get_total_loss", "hinge_loss", "log_loss",
    "mean_pairwise_squared_error", "mean_squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
]  # fmt: skip

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "losses")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
