"""`tf.losses`: losses of predictions, weighted, reduced, and collected in `GraphKeys.LOSSES`."""

from __future__ import annotations

from typing import Any

from graphflow.broadcast_weights import (
    aligned_weights,
    assert_broadcastable,
    broadcast_weights,
    remove_squeezable_dimensions,
)
from graphflow.dtypes import float32
from graphflow.graph import (
    GraphKeys,
    Tensor,
    add_to_collection,
    control_dependencies,
    get_collection,
    name_scope,
)
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops import nn, source
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import (
    add_n,
    cast,
    div_no_nan,
    equal,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    relu,
    square,
    squared_difference,
    subtract,
    where_v2,
)
from graphflow.ops.reduction import reduce_sum


class Reduction:
    """How the losses of a batch become one.

    `NONE`: they do not; `SUM`: weighted and added; `SUM_BY_NONZERO_WEIGHTS` (the default): that, over the number of
    weights that are not zero; `SUM_OVER_BATCH_SIZE`: over the number of losses; `MEAN`: over the sum of the weights.
    """

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Returns all of them."""
        return (
            cls.NONE,
            cls.SUM,
            cls.MEAN,
            cls.SUM_OVER_BATCH_SIZE,
            cls.SUM_OVER_NONZERO_WEIGHTS,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )

    @classmethod
    def validate(cls, key: str) -> None:
        """Raises ValueError for anything else."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}. Expected keys are {cls.all()}")


_BY_NONZERO = Reduction.SUM_BY_NONZERO_WEIGHTS


def add_loss(loss: Any, loss_collection: Any = GraphKeys.LOSSES) -> None:
    """Adds a loss to a collection."""
    if loss_collection:
        add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES) -> list[Any]:
    """Returns the losses of a collection, kept to those whose name matches `scope`."""
    return get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """Returns the regularization losses, kept to those whose name matches `scope`."""
    return get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(scope: str | None = None, name: str = "total_regularization_loss") -> Tensor:
    """Returns the sum of the regularization losses; zero if there are none."""
    losses = get_regularization_losses(scope)
    return add_n(losses, name=name) if losses else constant(0.0)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Tensor:
    """Returns the sum of all losses that were collected.

    Args:
      add_regularization_losses: whether the regularization losses are among them.
      name: a name.
      scope: only losses whose name matches.

    Raises:
      ValueError: if there are none.
    """
    losses = get_losses(scope)
    if add_regularization_losses:
        losses = losses + get_regularization_losses(scope)
    return add_n(losses, name=name)


def _num_present(losses: Tensor, weights: Tensor, per_batch: bool = False) -> Tensor:
    """The number of losses whose weight is not zero, in all or per example."""
    with name_scope(None, "num_present", (losses, weights)) as scope:
        present = where_v2(equal(weights, 0.0), source.zeros_like(weights), source.ones_like(weights))
        present = broadcast_weights(present, losses)
        if per_batch:
            rank = present.shape.rank
            axes: Any = source.range(1, source.rank(present)) if rank is None else list(range(1, rank))
            return reduce_sum(present, axis=axes, keepdims=True, name=scope)
        return reduce_sum(present, name=scope)


def compute_weighted_loss(
    losses: Any, weights: Any = 1.0, scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """Weighs losses, reduces them, and adds the result to a collection.

    Args:
      losses: [batch, …].
      weights: a scalar, or of the rank of the losses with equal sizes or ones.
      scope: the name scope.
      loss_collection: the collection, or None.
      reduction: see `Reduction`.

    Returns:
      A scalar of the dtype of the losses; with `Reduction.NONE` the weighted losses.

    Raises:
      ValueError: if the weights do not fit.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", (losses, weights)):
        given = convert_to_tensor(losses)
        with control_dependencies((assert_broadcastable(weights, given),)):
            own = cast(given, float32)
            factors = cast(convert_to_tensor(weights), float32)
            loss = multiply(own, factors)
            if reduction != Reduction.NONE:
                loss = reduce_sum(loss)
                if reduction == Reduction.MEAN:
                    loss = div_no_nan(loss, reduce_sum(source.ones_like(own) * factors), name="value")
                elif reduction == _BY_NONZERO:
                    loss = div_no_nan(loss, _num_present(own, factors), name="value")
                elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
                    count = cast(source.size(own, name="num_elements"), float32)
                    loss = div_no_nan(loss, count, name="value")
            loss = cast(loss, given.dtype)
            add_loss(loss, loss_collection)
            return loss


def _both(labels: Any, other: Any, what: str = "predictions") -> tuple[Tensor, Tensor]:
    if labels is None:
        raise ValueError("Argument `labels` must not be None.")
    if other is None:
        raise ValueError(f"Argument `{what}` must not be None.")
    other = cast(convert_to_tensor(other), float32)
    labels = cast(convert_to_tensor(labels), float32)
    labels.shape.assert_is_compatible_with(other.shape)
    return labels, other


def absolute_difference(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The loss `|predictions - labels|`; see `compute_weighted_loss`."""
    with name_scope(scope, "absolute_difference", (predictions, labels, weights)) as scope:
        labels, predictions = _both(labels, predictions)
        losses = absolute(subtract(predictions, labels))
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def cosine_distance(
    labels: Any, predictions: Any, axis: int | None = None, weights: Any = 1.0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO, dim: int | None = None,
) -> Tensor:  # fmt: skip
    """The loss `1 - sum(labels * predictions)` along an axis (`dim` is its old name); both are unit vectors already.

    Raises:
      ValueError: if no axis is given, or two.
    """
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'.")
        axis = dim
    if axis is None:
        raise ValueError("You must specify argument `axis`.")
    with name_scope(scope, "cosine_distance_loss", (predictions, labels, weights)) as scope:
        labels, predictions = _both(labels, predictions)
        losses = 1 - reduce_sum(multiply(predictions, labels), axis=(axis,), keepdims=True)
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def hinge_loss(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The loss `max(0, 1 - y * logits)` with `y` of -1 or 1 for labels of 0 or 1; see `compute_weighted_loss`."""
    with name_scope(scope, "hinge_loss", (logits, labels, weights)) as scope:
        labels, logits = _both(labels, logits, "logits")
        ones = source.ones_like(labels)
        losses = relu(subtract(ones, multiply(subtract(2 * labels, ones), logits)))
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def huber_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, delta: float = 1.0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """Half the squared error up to `delta`, linear beyond; see `compute_weighted_loss`."""
    with name_scope(scope, "huber_loss", (predictions, labels, weights)) as scope:
        labels, predictions = _both(labels, predictions)
        error = absolute(subtract(predictions, labels))
        limit = constant(delta, error.dtype)
        near = minimum(error, limit)
        far = subtract(error, near)
        losses = 0.5 * near * near + limit * far
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def log_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, epsilon: float = 1e-7, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The cross entropy of probabilities, with `epsilon` inside each logarithm; see `compute_weighted_loss`."""
    with name_scope(scope, "log_loss", (predictions, labels, weights)) as scope:
        labels, predictions = _both(labels, predictions)
        hit = multiply(labels, log(predictions + epsilon))
        miss = multiply(1 - labels, log(1 - predictions + epsilon))
        return compute_weighted_loss(negative(hit) - miss, weights, scope, loss_collection, reduction)


def mean_pairwise_squared_error(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
) -> Tensor:  # fmt: skip
    """The squared differences between pairs of errors of the same example.

    Args:
      labels: [batch, …].
      predictions: likewise.
      weights: a scalar, [batch], or of the rank of labels.
      scope: the name scope.
      loss_collection: the collection, or None.
    """
    with name_scope(scope, "mean_pairwise_squared_error", (predictions, labels, weights)):
        labels, predictions = _both(labels, predictions)
        factors = cast(convert_to_tensor(weights), float32)
        with control_dependencies((assert_broadcastable(factors, labels),)):
            errors = subtract(predictions, labels)
            rank = errors.shape.rank
            axes = source.range(1, source.rank(errors)) if rank is None else list(range(1, rank))
            squares = reduce_sum(square(errors), axis=axes, keepdims=True, name="sum_squares_diff_per_batch")
            count = _num_present(errors, factors, per_batch=True)
            first = 2.0 * div_no_nan(squares, maximum(count - 1, 0.0), name="value")
            total = reduce_sum(errors, axis=axes, keepdims=True)
            pairs = maximum(multiply(count, count - 1), 0.0)
            second = 2.0 * div_no_nan(square(total), pairs, name="value")
            loss = reduce_sum(multiply(first - second, factors))
            mean = where_v2(reduce_sum(count) > 0, loss, source.zeros_like(loss), name="value")
            add_loss(mean, loss_collection)
            return mean


def mean_squared_error(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The loss `(predictions - labels) ** 2`; see `compute_weighted_loss`."""
    with name_scope(scope, "mean_squared_error", (predictions, labels, weights)) as scope:
        labels, predictions = _both(labels, predictions)
        losses = squared_difference(predictions, labels)
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The cross entropy of each class by itself; `label_smoothing` moves labels towards a half."""
    if multi_class_labels is None or logits is None:
        raise ValueError(
            f"Argument `{'logits' if logits is None else 'multi_class_labels'}` must not be None."
        )
    with name_scope(scope, "sigmoid_cross_entropy_loss", (logits, multi_class_labels, weights)) as scope:
        logits = convert_to_tensor(logits)
        labels = cast(convert_to_tensor(multi_class_labels), logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits, name="xentropy")
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def softmax_cross_entropy(
    onehot_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES, reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The cross entropy of one class among many.

    Args:
      onehot_labels: [batch, classes], a distribution each.
      logits: [batch, classes].
      weights: a scalar or [batch].
      label_smoothing: moves labels towards the uniform distribution.
      scope: the name scope.
      loss_collection: the collection, or None.
      reduction: see `Reduction`.
    """
    if onehot_labels is None or logits is None:
        raise ValueError(f"Argument `{'logits' if logits is None else 'onehot_labels'}` must not be None.")
    with name_scope(scope, "softmax_cross_entropy_loss", (logits, onehot_labels, weights)) as scope:
        logits = convert_to_tensor(logits)
        labels = cast(convert_to_tensor(onehot_labels), logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            classes = cast(emit.Shape(labels)[-1], logits.dtype)
            labels = labels * (1.0 - label_smoothing) + label_smoothing / classes
        labels = emit.StopGradient(labels, name="labels_stop_gradient")
        losses = nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits, name="xentropy")
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


def sparse_softmax_cross_entropy(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = _BY_NONZERO,
) -> Tensor:  # fmt: skip
    """The cross entropy of one class among many, given by its number.

    Args:
      labels: [batch] or [batch, 1], integers.
      logits: [batch, classes].
      weights: a scalar, [batch] or [batch, 1].
      scope: the name scope.
      loss_collection: the collection, or None.
      reduction: see `Reduction`.
    """
    if labels is None or logits is None:
        raise ValueError(f"Argument `{'logits' if logits is None else 'labels'}` must not be None.")
    with name_scope(scope, "sparse_softmax_cross_entropy_loss", (logits, labels, weights)) as scope:
        labels, logits = remove_squeezable_dimensions(labels, logits, expected_rank_diff=1)
        losses = nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name="xentropy")
        weights = aligned_weights(weights, losses)
        return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


__all__ = [
    "Reduction", "absolute_difference", "add_loss", "compute_weighted_loss", "cosine_distance", "get_losses",
    "get_regularization_loss", "get_regularization_losses", "get_total_loss", "hinge_loss", "huber_loss", "log_loss",
    "mean_pairwise_squared_error", "mean_squared_error", "sigmoid_cross_entropy",
    "softmax_cross_entropy", "sparse_softmax_cross_entropy",
]  # fmt: skip
