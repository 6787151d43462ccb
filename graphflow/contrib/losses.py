"""`tf.contrib.losses`: those of `gf.losses` with predictions first, as `contrib` and slim have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphflow import dtypes
from graphflow import losses as public
from graphflow.contrib import deep as _deep
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.graph import Tensor, name_scope
from graphflow.losses import (
    Reduction,
    get_losses,
    get_regularization_loss,
    get_regularization_losses,
)
from graphflow.losses import get_total_loss as get_total_loss
from graphflow.namespace import lazy
from graphflow.opdef import convert_to_tensor
from graphflow.ops.elementwise import cast, square
from graphflow.ops.layout import concat, expand_dims, reshape
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.source import shape

add_loss = add_arg_scope(public.add_loss)


def _aligned(weights: Any, values: Any) -> Any:
    """Gives weights of a lower rank, such as one per example, the axes that they lack at the end."""
    kind = convert_to_tensor(values)
    given = convert_to_tensor(weights, preferred_dtype=kind.dtype)
    if not given.shape.rank or kind.shape.rank is None:
        return weights
    for _ in range(kind.shape.rank - given.shape.rank):
        given = expand_dims(given, -1)
    return given


@add_arg_scope
def absolute_difference(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None
) -> Tensor:
    """Returns the mean of |predictions - labels|, weighted."""
    return public.absolute_difference(labels, predictions, _aligned(weights, predictions), scope)


@add_arg_scope
def compute_weighted_loss(losses: Any, weights: Any = 1.0, scope: Any = None) -> Tensor:
    """Returns the mean of losses, weighted, and adds it to the losses."""
    return public.compute_weighted_loss(losses, _aligned(weights, losses), scope)


@add_arg_scope
def cosine_distance(
    predictions: Any, labels: Any = None, axis: int | None = None, weights: Any = 1.0, scope: Any = None,
    dim: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of 1 - the product of unit vectors along an axis."""
    return public.cosine_distance(
        labels, predictions, dim if axis is None else axis, _aligned(weights, predictions), scope
    )


@add_arg_scope
def hinge_loss(logits: Any, labels: Any = None, scope: Any = None) -> Tensor:
    """Returns max(0, 1 - label * logit) for labels 0 and 1, each by itself; it adds nothing to the losses."""
    return public.hinge_loss(labels, logits, scope=scope, loss_collection=None, reduction=Reduction.NONE)


@add_arg_scope
def log_loss(
    predictions: Any, labels: Any = None, weights: Any = 1.0, epsilon: float = 1e-7, scope: Any = None
) -> Tensor:
    """Returns the mean cross entropy of probabilities, weighted."""
    return public.log_loss(labels, predictions, _aligned(weights, predictions), epsilon, scope)


@add_arg_scope
def mean_squared_error(predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None) -> Tensor:
    """Returns the mean of (predictions - labels) squared, weighted."""
    return public.mean_squared_error(labels, predictions, _aligned(weights, predictions), scope)


@add_arg_scope
def mean_pairwise_squared_error(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: Any = None
) -> Tensor:
    """Returns the squared difference between pairs of errors of an example, over all its pairs, summed and weighted.

    An entry is a pair with itself too, unlike in `gf.losses`; and examples are summed.

    Args:
      predictions, labels: [batch, ...].
      weights: a scalar, or [batch].
      scope: the name scope.

    Raises:
      ValueError: if the shapes differ, or there are weights of another rank.
    """
    with name_scope(scope, "mean_pairwise_squared_error"):
        given = cast(convert_to_tensor(predictions), dtypes.float32)
        wanted = cast(convert_to_tensor(labels), dtypes.float32)
        given.shape.assert_is_compatible_with(wanted.shape)
        off = reshape(given - wanted, concat([shape(given)[:1], [-1]], 0))
        each = cast(convert_to_tensor(weights), dtypes.float32)
        if each.shape.rank not in (0, 1):
            raise ValueError(f"weights must be a scalar or one per example, got {each.shape}")
        count = cast(shape(off)[1], dtypes.float32)
        pairs = 2 * (reduce_sum(square(off), 1) / count - square(reduce_sum(off, 1) / count))
        loss = reduce_sum(pairs * each)
        add_loss(loss)
        return loss


@add_arg_scope
def sigmoid_cross_entropy(
    logits: Any, multi_class_labels: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: Any = None
) -> Tensor:
    """Returns the mean cross entropy of sigmoids, weighted."""
    return public.sigmoid_cross_entropy(
        multi_class_labels, logits, _aligned(weights, logits), label_smoothing, scope
    )


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
