"""Streaming metrics of `contrib.metrics`: those of `metrics`, with predictions before labels; and a few more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from graphflow import dtypes, metrics
from graphflow.broadcast_weights import aligned_weights, remove_squeezable_dimensions
from graphflow.graph import GraphKeys, Tensor, add_to_collections, control_dependencies
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import cast, div_no_nan, multiply, sqrt
from graphflow.ops.nn import in_top_k
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.source import zeros
from graphflow.variable_scope import variable_scope
from graphflow.variables import Variable, assign_add

Metric = tuple[Tensor, Tensor]


def _predictions_first(function: Callable[..., Metric]) -> Callable[..., Metric]:
    """The same metric, called with predictions before labels."""

    @functools.wraps(function)
    def streaming(predictions: Any, labels: Any, *args: Any, **kwargs: Any) -> Metric:
        return function(labels, predictions, *args, **kwargs)

    streaming.__name__ = f"streaming_{function.__name__}"
    del streaming.__wrapped__  # whose arguments come in another order
    return streaming


streaming_mean = metrics.mean
streaming_mean_tensor = metrics.mean_tensor
streaming_percentage_less = metrics.percentage_below
streaming_accuracy = _predictions_first(metrics.accuracy)
streaming_auc = _predictions_first(metrics.auc)
streaming_false_negatives = _predictions_first(metrics.false_negatives)
streaming_false_negatives_at_thresholds = _predictions_first(metrics.false_negatives_at_thresholds)
streaming_false_positives = _predictions_first(metrics.false_positives)
streaming_false_positives_at_thresholds = _predictions_first(metrics.false_positives_at_thresholds)
streaming_mean_absolute_error = _predictions_first(metrics.mean_absolute_error)
streaming_mean_cosine_distance = _predictions_first(metrics.mean_cosine_distance)
streaming_mean_iou = _predictions_first(metrics.mean_iou)
streaming_mean_relative_error = _predictions_first(metrics.mean_relative_error)
streaming_mean_squared_error = _predictions_first(metrics.mean_squared_error)
streaming_precision = _predictions_first(metrics.precision)
streaming_precision_at_thresholds = _predictions_first(metrics.precision_at_thresholds)
streaming_recall = _predictions_first(metrics.recall)
streaming_recall_at_thresholds = _predictions_first(metrics.recall_at_thresholds)
streaming_root_mean_squared_error = _predictions_first(metrics.root_mean_squared_error)
streaming_sensitivity_at_specificity = _predictions_first(metrics.sensitivity_at_specificity)
streaming_sparse_average_precision_at_k = _predictions_first(metrics.average_precision_at_k)
streaming_sparse_precision_at_k = _predictions_first(metrics.precision_at_k)
streaming_sparse_precision_at_top_k = _predictions_first(metrics.precision_at_top_k)
streaming_sparse_recall_at_k = _predictions_first(metrics.recall_at_k)
streaming_specificity_at_sensitivity = _predictions_first(metrics.specificity_at_sensitivity)
streaming_true_negatives = _predictions_first(metrics.true_negatives)
streaming_true_negatives_at_thresholds = _predictions_first(metrics.true_negatives_at_thresholds)
streaming_true_positives = _predictions_first(metrics.true_positives)
streaming_true_positives_at_thresholds = _predictions_first(metrics.true_positives_at_thresholds)


def streaming_recall_at_k(
    predictions: Any, labels: Any, k: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The share of rows whose label is among the k largest predictions.

    Args:
      predictions: [rows, classes].
      labels: int [rows].
      k: how many predictions count.
      weights, metrics_collections, updates_collections: see `metrics.mean`.
      name: the variable scope.
    """
    hits = cast(in_top_k(predictions, labels, k), dtypes.float32)
    return metrics.mean(hits, weights, metrics_collections, updates_collections, name or f"recall_at_{k}")


def _state(shape: Any, name: str, dtype: Any = dtypes.float32) -> Variable:
    return Variable(
        lambda: zeros(shape, dtype), trainable=False, name=name,
        collections=[GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES],
    )  # fmt: skip


def _collected(value: Tensor, update: Tensor, values: Any, updates: Any) -> Metric:
    if values:
        add_to_collections(values, value)
    if updates:
        add_to_collections(updates, update)
    return value, update


def streaming_covariance(
    predictions: Any, labels: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The unbiased covariance of all predictions and labels that were seen: their comoment over the weight less one.

    Batches are joined by the means that they have, so that large values lose nothing.

    Args:
      predictions, labels: of one shape.
      weights: what broadcasts to them; default 1.
      metrics_collections, updates_collections: collections that the value and the update join.
      name: the variable scope.

    Returns:
      The value, and the update, which gives the new one.
    """
    with variable_scope(name, "covariance", (predictions, labels, weights)):
        x, y = (cast(each, dtypes.float32) for each in (predictions, labels))
        y, x = remove_squeezable_dimensions(y, x)
        x.shape.assert_is_compatible_with(y.shape)
        seen = _state([], "count")
        means = [_state([], label) for label in ("mean_prediction", "mean_label")]
        comoment = _state([], "comoment")
        if weights is None:
            parts: Any = emit.OnesLike(x)
        else:
            parts = multiply(emit.OnesLike(x), cast(aligned_weights(weights, x), dtypes.float32))
        here = reduce_sum(parts)
        before = seen.read_value()
        total = before + here
        olds = [mean.read_value() for mean in means]
        batch = [div_no_nan(reduce_sum(multiply(each, parts)), here) for each in (x, y)]
        changes = [div_no_nan((new - old) * here, total) for new, old in zip(batch, olds, strict=True)]
        inside = reduce_sum((x - batch[0]) * (y - batch[1]) * parts)
        between = (batch[0] - olds[0]) * (batch[1] - olds[1]) * div_no_nan(before * here, total)
        with control_dependencies([total, inside + between, *changes]):
            moved = [assign_add(mean, change) for mean, change in zip(means, changes, strict=True)]
            sums = assign_add(comoment, inside + between)
            count = assign_add(seen, here)

        def over(comoments: Any, weight: Any) -> Tensor:
            unbiased = comoments / (weight - 1.0)
            known: Tensor = emit.SelectV2(weight < 2.0, convert_to_tensor(float("nan")), unbiased)
            return known

        value = over(comoment.read_value(), seen.read_value())
        with control_dependencies(moved):
            update = over(sums, count)
        return _collected(value, update, metrics_collections, updates_collections)


def streaming_pearson_correlation(
    predictions: Any, labels: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The correlation of all predictions and labels that were seen; the arguments are those of the covariance."""
    with variable_scope(name, "pearson_r", (predictions, labels, weights)):
        y, x = remove_squeezable_dimensions(convert_to_tensor(labels), convert_to_tensor(predictions))
        x.shape.assert_is_compatible_with(y.shape)
        both = streaming_covariance(x, y, weights, name="covariance")
        ones = streaming_covariance(x, x, weights, name="variance_predictions")
        others = streaming_covariance(y, y, weights, name="variance_labels")
        value, update = (div_no_nan(both[i], multiply(sqrt(ones[i]), sqrt(others[i]))) for i in range(2))
        return _collected(value, update, metrics_collections, updates_collections)


__all__ = [
    "streaming_accuracy", "streaming_auc", "streaming_covariance", "streaming_false_negatives",
    "streaming_false_negatives_at_thresholds", "streaming_false_positives", "streaming_false_positives_at_thresholds",
    "streaming_mean", "streaming_mean_absolute_error", "streaming_mean_cosine_distance", "streaming_mean_iou",
    "streaming_mean_relative_error", "streaming_mean_squared_error", "streaming_mean_tensor",
    "streaming_pearson_correlation", "streaming_percentage_less", "streaming_precision",
    "streaming_precision_at_thresholds", "streaming_recall", "streaming_recall_at_k",
    "streaming_recall_at_thresholds", "streaming_root_mean_squared_error", "streaming_sensitivity_at_specificity",
    "streaming_sparse_average_precision_at_k", "streaming_sparse_precision_at_k",
    "streaming_sparse_precision_at_top_k", "streaming_sparse_recall_at_k", "streaming_specificity_at_sensitivity",
    "streaming_true_negatives", "streaming_true_negatives_at_thresholds", "streaming_true_positives",
    "streaming_true_positives_at_thresholds",
]  # fmt: skip
