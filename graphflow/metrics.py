"""`tf.metrics`: figures over many batches, kept in local variables: `(value, update_op)` of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.broadcast_weights import aligned_weights, broadcast_weights, remove_squeezable_dimensions
from graphflow.dtypes import float32, float64, int64
from graphflow.graph import GraphKeys, Tensor, add_to_collections, control_dependencies
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops import layout, source
from graphflow.ops.control import assert_greater_equal, assert_less, assert_less_equal
from graphflow.ops.diagonals import diag_part
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import (
    cast,
    div_no_nan,
    equal,
    greater,
    less,
    logical_and,
    logical_not,
    maximum,
    multiply,
    sqrt,
    squared_difference,
    subtract,
    where_v2,
)
from graphflow.ops.reduction import argmax, argmin, reduce_any, reduce_mean, reduce_min, reduce_sum
from graphflow.ops.sorting import top_k
from graphflow.variable_scope import variable_scope
from graphflow.variables import Variable, assign_add

Metric = tuple[Tensor, Tensor]


def _state(shape: Sequence[int] | Any, name: str, dtype: Any = float32) -> Variable:
    """A variable of a metric: zeros, local, not trained."""
    return Variable(
        lambda: source.zeros(shape, dtype),
        trainable=False,
        collections=[GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES],
        validate_shape=True,
        name=name,
    )


def _collected(value: Tensor, update: Tensor, metrics: Any, updates: Any) -> Metric:
    if metrics:
        add_to_collections(metrics, value)
    if updates:
        add_to_collections(updates, update)
    return value, update


def _aligned(predictions: Any, labels: Any, weights: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Predictions, labels and weights of one rank, as far as axes of size one go."""
    labels, predictions = remove_squeezable_dimensions(labels, predictions)
    labels.shape.assert_is_compatible_with(predictions.shape)
    return predictions, labels, None if weights is None else aligned_weights(weights, predictions)


def mean(
    values: Any, weights: Any = None, metrics_collections: Any = None, updates_collections: Any = None,
    name: str | None = None,
) -> Metric:  # fmt: skip
    """The weighted mean of all values that were seen.

    Args:
      values: of any shape.
      weights: what broadcasts to the values; default 1.
      metrics_collections: the collections that the value joins.
      updates_collections: the collections that the update joins.
      name: the variable scope.

    Returns:
      `(value, update_op)`: the mean so far, and the tensor that takes the present values in and gives the new mean.
    """
    with variable_scope(name, "mean", (values, weights)):
        values = cast(convert_to_tensor(values), float32)
        total, count = _state([], "total"), _state([], "count")
        if weights is None:
            number = cast(source.size(values), float32)
        else:
            factors = broadcast_weights(cast(aligned_weights(weights, values), float32), values)
            values = multiply(values, factors)
            number = reduce_sum(factors)
        new_total = assign_add(total, reduce_sum(values))
        with control_dependencies([values]):
            new_count = assign_add(count, number)
        value = div_no_nan(total, maximum(count, 0.0), name="value")
        update = div_no_nan(new_total, maximum(new_count, 0.0), name="update_op")
        return _collected(value, update, metrics_collections, updates_collections)


def accuracy(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """How often predictions equal labels; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    if labels.dtype is not predictions.dtype:
        predictions = cast(predictions, labels.dtype)
    hits = cast(equal(predictions, labels), float32)
    return mean(hits, weights, metrics_collections, updates_collections, name or "accuracy")


def mean_absolute_error(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean of `|predictions - labels|`; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    errors = absolute(predictions - labels)
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_absolute_error")


def mean_squared_error(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean of `(predictions - labels) ** 2`; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    errors = squared_difference(labels, predictions)
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_squared_error")


def root_mean_squared_error(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The root of the mean of `(predictions - labels) ** 2`; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    value, update = mean_squared_error(
        labels, predictions, weights, None, None, name or "root_mean_squared_error"
    )
    return _collected(sqrt(value), sqrt(update), metrics_collections, updates_collections)


def mean_relative_error(
    labels: Any, predictions: Any, normalizer: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean of `|labels - predictions| / normalizer`, nothing where that is zero; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    predictions, normalizer = remove_squeezable_dimensions(predictions, normalizer)
    predictions.shape.assert_is_compatible_with(normalizer.shape)
    errors = where_v2(
        equal(normalizer, 0.0), source.zeros_like(labels), absolute(labels - predictions) / normalizer
    )
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_relative_error")


def mean_cosine_distance(
    labels: Any, predictions: Any, dim: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """One less the mean of `sum(labels * predictions)` along `dim`; both are unit vectors already; see `mean`."""
    predictions, labels, weights = _aligned(predictions, labels, weights)
    products = reduce_sum(multiply(predictions, labels), axis=[dim], keepdims=True)
    value, update = mean(products, weights, None, None, name or "mean_cosine_distance")
    return _collected(subtract(1.0, value), subtract(1.0, update), metrics_collections, updates_collections)


def percentage_below(
    values: Any, threshold: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The share of values below a threshold; see `mean`."""
    below = cast(less(values, threshold), float32)
    return mean(
        below, weights, metrics_collections, updates_collections, name or "percentage_below_threshold"
    )


def mean_tensor(
    values: Any, weights: Any = None, metrics_collections: Any = None, updates_collections: Any = None,
    name: str | None = None,
) -> Metric:  # fmt: skip
    """The weighted mean of tensors of one shape, element by element; see `mean`."""
    with variable_scope(name, "mean", (values, weights)):
        values = cast(convert_to_tensor(values), float32)
        total, count = _state(values.shape, "total_tensor"), _state(values.shape, "count_tensor")
        number = source.ones_like(values)
        if weights is not None:
            factors = broadcast_weights(cast(aligned_weights(weights, values), float32), values)
            values, number = multiply(values, factors), multiply(number, factors)
        new_total = assign_add(total, values)
        with control_dependencies([values]):
            new_count = assign_add(count, number)
        value = div_no_nan(total, maximum(count, 0.0), name="value")
        update = div_no_nan(new_total, maximum(new_count, 0.0), name="update_op")
        return _collected(value, update, metrics_collections, updates_collections)


# ---------------------------------------------------------------------------- counts of right and wrong


def _count(holds: Tensor, weights: Any, metrics: Any = None, updates: Any = None) -> Metric:
    """How often something held, weighted."""
    count = _state([], "count")
    values = cast(holds, float32)
    if weights is not None:
        factors = aligned_weights(cast(convert_to_tensor(weights), float32), values)
        values = multiply(values, broadcast_weights(factors, values))
    value = source.identity(count)
    update = assign_add(count, reduce_sum(values))
    return _collected(value, update, metrics, updates)


def _kind_of_outcome(kind: str, default: str) -> Callable[..., Metric]:
    """The metric that counts one of the four outcomes; `kind` names what is right of prediction and label."""
    want_label, want_prediction = kind[0], kind[1]

    def metric(
        labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
        updates_collections: Any = None, name: str | None = None,
    ) -> Metric:  # fmt: skip
        with variable_scope(name, default, (predictions, labels, weights)):
            predictions, labels, weights = _aligned(
                cast(convert_to_tensor(predictions), dtypes.bool_),
                cast(convert_to_tensor(labels), dtypes.bool_),
                weights,
            )
            own = labels if want_label == "t" else logical_not(labels)
            other = predictions if want_prediction == "t" else logical_not(predictions)
            return _count(logical_and(own, other), weights, metrics_collections, updates_collections)

    metric.__name__ = metric.__qualname__ = default
    metric.__doc__ = (
        f"Counts {default.replace('_', ' ')}, weighted; labels and predictions count as bools. See `mean`."
    )
    return metric


true_positives = _kind_of_outcome("tt", "true_positives")
false_negatives = _kind_of_outcome("tf", "false_negatives")
false_positives = _kind_of_outcome("ft", "false_positives")
true_negatives = _kind_of_outcome("ff", "true_negatives")


def precision(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """True positives over all positive predictions; labels and predictions count as bools; see `mean`."""
    return _ratio(
        "precision",
        false_positives,
        labels,
        predictions,
        weights,
        metrics_collections,
        updates_collections,
        name,
    )


def recall(
    labels: Any, predictions: Any, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """True positives over all positive labels; labels and predictions count as bools; see `mean`."""
    return _ratio(
        "recall",
        false_negatives,
        labels,
        predictions,
        weights,
        metrics_collections,
        updates_collections,
        name,
    )


def _ratio(
    what: str, missed: Callable[..., Metric], labels: Any, predictions: Any, weights: Any, metrics: Any, updates: Any,
    name: str | None,
) -> Metric:  # fmt: skip
    with variable_scope(name, what, (predictions, labels, weights)):
        predictions, labels, weights = _aligned(
            cast(convert_to_tensor(predictions), dtypes.bool_),
            cast(convert_to_tensor(labels), dtypes.bool_),
            weights,
        )
        hits, new_hits = true_positives(labels, predictions, weights)
        misses, new_misses = missed(labels, predictions, weights)

        def ratio(a: Tensor, b: Tensor, name: str) -> Tensor:
            return where_v2(greater(a + b, 0.0), div_no_nan(a, a + b), 0.0, name=name)

        return _collected(
            ratio(hits, misses, "value"), ratio(new_hits, new_misses, "update_op"), metrics, updates
        )


def _at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any,
    include: Sequence[str] = ("tp", "fn", "tn", "fp"),
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Counts of the outcomes at each threshold: as they are, and updated."""
    with control_dependencies(
        [
            assert_greater_equal(
                predictions, constant(0.0, predictions.dtype), message="predictions must be in [0, 1]"
            ),
            assert_less_equal(
                predictions, constant(1.0, predictions.dtype), message="predictions must be in [0, 1]"
            ),
        ]
    ):
        predictions, labels, weights = _aligned(
            cast(predictions, float32), cast(convert_to_tensor(labels), dtypes.bool_), weights
        )
    number = len(thresholds)
    limits = constant(np.array(thresholds, np.float32).reshape(-1, 1))
    above = greater(layout.reshape(predictions, [1, -1]), limits)
    truth = layout.reshape(labels, [1, -1])
    factors = None
    if weights is not None:
        factors = layout.reshape(broadcast_weights(cast(weights, float32), predictions), [1, -1])
    own = {"t": truth, "f": logical_not(truth)}
    guess = {"p": above, "n": logical_not(above)}
    names = {"tp": "true_positives", "fn": "false_negatives", "tn": "true_negatives", "fp": "false_positives"}
    values, updates = {}, {}
    for kind in include:
        # A false negative is a true label that was not found.
        label = own["t" if kind in ("tp", "fn") else "f"]
        holds = cast(logical_and(label, guess[kind[1]]), float32)
        if factors is not None:
            holds = multiply(holds, factors)
        count = _state([number], names[kind])
        updates[kind] = assign_add(count, reduce_sum(holds, 1))
        values[kind] = source.identity(count)
    return values, updates


_EPSILON = 1e-7


def _grid(number: int) -> list[float]:
    inner = [(i + 1) * 1.0 / (number - 1) for i in range(number - 2)]
    return [-_EPSILON, *inner, 1.0 + _EPSILON]


def auc(
    labels: Any, predictions: Any, weights: Any = None, num_thresholds: int = 200, metrics_collections: Any = None,
    updates_collections: Any = None, curve: str = "ROC", name: str | None = None,
    summation_method: str = "trapezoidal", thresholds: Sequence[float] | None = None,
) -> Metric:  # fmt: skip
    """The area under a curve of right and wrong over thresholds.

    Args:
      labels: of any shape, count as bools.
      predictions: of the same shape, between 0 and 1.
      weights: what broadcasts to the labels; default 1.
      num_thresholds: how many thresholds are tried.
      metrics_collections: the collections that the value joins.
      updates_collections: the collections that the update joins.
      curve: "ROC" or "PR".
      name: the variable scope.
      summation_method: "trapezoidal", "careful_interpolation" (for "PR"), "minoring" or "majoring".
      thresholds: the thresholds between 0 and 1, which are added at the ends.

    Returns:
      `(value, update_op)`; see `mean`.

    Raises:
      ValueError: for another curve or method.
    """
    with variable_scope(name, "auc", (labels, predictions, weights)):
        if curve not in ("ROC", "PR"):
            raise ValueError(f"Curve must be either ROC or PR. Curve {curve} is unknown.")
        if summation_method not in ("trapezoidal", "careful_interpolation", "minoring", "majoring"):
            raise ValueError(f"Invalid summation_method: {summation_method}")
        if summation_method == "careful_interpolation" and curve != "PR":
            raise ValueError('summation_method "careful_interpolation" is only for the PR curve.')
        if thresholds is not None and num_thresholds == 200:
            grid = [-_EPSILON, *sorted(float(each) for each in thresholds), 1.0 + _EPSILON]
        else:
            grid = _grid(num_thresholds)
        values, updates = _at_thresholds(labels, convert_to_tensor(predictions), grid, weights)

        def area(count: dict[str, Tensor], name: str) -> Tensor:
            if summation_method == "careful_interpolation":
                return _interpolated(count, name)
            tp, fp, fn, tn = (count[kind] for kind in ("tp", "fp", "fn", "tn"))
            rate = (tp + _SMALL) / (tp + fn + _SMALL)
            if curve == "ROC":
                x, y = fp / (fp + tn + _SMALL), rate
            else:
                x, y = rate, (tp + _SMALL) / (tp + fp + _SMALL)
            height = {
                "trapezoidal": lambda a, b: (a + b) / 2.0,
                "minoring": emit.Minimum,
                "majoring": emit.Maximum,
            }
            last = len(grid) - 1
            heights = height[summation_method](y[:last], y[1:])
            return reduce_sum(multiply(x[:last] - x[1:], heights), name=name)

        return _collected(
            area(values, "value"), area(updates, "update_op"), metrics_collections, updates_collections
        )


_SMALL = 1.0e-6


def _interpolated(count: dict[str, Tensor], name: str) -> Tensor:
    """The area under the PR curve with precision interpolated between thresholds as Davis and Goadrich do."""
    tp, fp, fn = count["tp"], count["fp"], count["fn"]
    positive = tp + fp
    gain = tp[:-1] - tp[1:]
    more = positive[:-1] - positive[1:]
    slope = div_no_nan(gain, maximum(more, 0.0), name="prec_slope")
    intercept = tp[1:] - multiply(slope, positive[1:])
    usable = logical_and(positive[:-1] > 0, positive[1:] > 0)
    ratio = where_v2(
        usable, div_no_nan(positive[:-1], maximum(positive[1:], 0.0), name="recall_relative_ratio"),
        source.ones_like(positive[1:]),
    )  # fmt: skip
    steps = div_no_nan(
        slope * (gain + intercept * emit.Log(ratio)), maximum(tp[1:] + fn[1:], 0.0), name="pr_auc_increment"
    )
    return reduce_sum(steps, name=name)


def _listed(
    kind: str,
) -> Callable[..., Metric]:
    """The metric that counts one outcome at each of several thresholds."""
    names = {"tp": "true_positives", "fn": "false_negatives", "tn": "true_negatives", "fp": "false_positives"}

    def metric(
        labels: Any, predictions: Any, thresholds: Sequence[float], weights: Any = None,
        metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
    ) -> Metric:  # fmt: skip
        with variable_scope(name, names[kind], (predictions, labels, weights)):
            values, updates = _at_thresholds(
                labels, convert_to_tensor(predictions), thresholds, weights, [kind]
            )
            return _collected(values[kind], updates[kind], metrics_collections, updates_collections)

    metric.__name__ = metric.__qualname__ = f"{names[kind]}_at_thresholds"
    metric.__doc__ = f"Counts {names[kind].replace('_', ' ')} at each threshold, [thresholds]; see `mean`."
    return metric


true_positives_at_thresholds = _listed("tp")
false_negatives_at_thresholds = _listed("fn")
true_negatives_at_thresholds = _listed("tn")
false_positives_at_thresholds = _listed("fp")


def precision_at_thresholds(
    labels: Any, predictions: Any, thresholds: Sequence[float], weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """Precision at each threshold, [thresholds]; see `precision` and `mean`."""
    with variable_scope(name, "precision_at_thresholds", (predictions, labels, weights)):
        values, updates = _at_thresholds(
            labels, convert_to_tensor(predictions), thresholds, weights, ("tp", "fp")
        )

        def ratio(count: dict[str, Tensor], name: str) -> Tensor:
            result: Tensor = emit.RealDiv(count["tp"], _EPSILON + count["tp"] + count["fp"], name=name)
            return result

        return _collected(
            ratio(values, "precision_value"),
            ratio(updates, "precision_update_op"),
            metrics_collections,
            updates_collections,
        )


def recall_at_thresholds(
    labels: Any, predictions: Any, thresholds: Sequence[float], weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """Recall at each threshold, [thresholds]; see `recall` and `mean`."""
    with variable_scope(name, "recall_at_thresholds", (predictions, labels, weights)):
        values, updates = _at_thresholds(
            labels, convert_to_tensor(predictions), thresholds, weights, ("tp", "fn")
        )

        def ratio(count: dict[str, Tensor], name: str) -> Tensor:
            result: Tensor = emit.RealDiv(count["tp"], _EPSILON + count["tp"] + count["fn"], name=name)
            return result

        return _collected(
            ratio(values, "recall_value"),
            ratio(updates, "recall_update_op"),
            metrics_collections,
            updates_collections,
        )


def sensitivity_at_specificity(
    labels: Any, predictions: Any, specificity: float, weights: Any = None, num_thresholds: int = 200,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The sensitivity at the threshold whose specificity is nearest to the one given; see `auc`.

    Raises:
      ValueError: if `specificity` is outside [0, 1].
    """
    if not 0 <= specificity <= 1:
        raise ValueError(
            f"`specificity` must be in the range [0, 1]. Currently, `specificity` is {specificity}."
        )
    with variable_scope(name, "sensitivity_at_specificity", (predictions, labels, weights)):
        values, updates = _at_thresholds(
            labels, convert_to_tensor(predictions), _grid(num_thresholds), weights
        )

        def at(count: dict[str, Tensor], name: str) -> Tensor:
            reached = div_no_nan(count["tn"], count["tn"] + count["fp"])
            index = cast(argmin(absolute(reached - specificity), 0), dtypes.int32)
            tp, fn = count["tp"][index], count["fn"][index]
            result: Tensor = emit.RealDiv(tp, tp + fn + _EPSILON, name=name)
            return result

        return _collected(
            at(values, "value"), at(updates, "update_op"), metrics_collections, updates_collections
        )


def specificity_at_sensitivity(
    labels: Any, predictions: Any, sensitivity: float, weights: Any = None, num_thresholds: int = 200,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The specificity at the threshold whose sensitivity is nearest to the one given; see `auc`.

    Raises:
      ValueError: if `sensitivity` is outside [0, 1].
    """
    if not 0 <= sensitivity <= 1:
        raise ValueError(
            f"`sensitivity` must be in the range [0, 1]. Currently, `sensitivity` is {sensitivity}."
        )
    with variable_scope(name, "specificity_at_sensitivity", (predictions, labels, weights)):
        values, updates = _at_thresholds(
            labels, convert_to_tensor(predictions), _grid(num_thresholds), weights
        )

        def at(count: dict[str, Tensor], name: str) -> Tensor:
            reached = count["tp"] / (count["tp"] + count["fn"] + _EPSILON)
            least = reduce_min(absolute(reached - sensitivity))
            # Of several that are as near, the last.
            nearest = cast(equal(absolute(reached - sensitivity), least), int64)
            index = cast(argmax(emit.Cumsum(nearest, constant(0)), 0), dtypes.int32)
            tn, fp = count["tn"][index], count["fp"][index]
            result: Tensor = emit.RealDiv(tn, tn + fp + _EPSILON, name=name)
            return result

        return _collected(
            at(values, "value"), at(updates, "update_op"), metrics_collections, updates_collections
        )


# ---------------------------------------------------------------------------- classes


def _confusion(labels: Any, predictions: Any, classes: int, weights: Any) -> tuple[Variable, Tensor]:
    """How often each class was taken for each, [label, prediction]: the state, and its update."""
    total = _state([classes, classes], "total_confusion_matrix", float64)
    predictions = layout.reshape(cast(convert_to_tensor(predictions), int64), [-1])
    labels = layout.reshape(cast(convert_to_tensor(labels), int64), [-1])
    with control_dependencies(
        [
            assert_less(labels, constant(classes, int64), message="`labels` out of bound"),
            assert_less(predictions, constant(classes, int64), message="`predictions` out of bound"),
        ]
    ):
        factors = source.ones_like(labels, dtype=float64)
    if weights is not None:
        flat = layout.reshape(weights, [-1])
        # One weight for all would broadcast without a word; there is one per label here.
        flat.shape.assert_is_compatible_with(labels.shape)
        factors = factors * cast(flat, float64)
    places = labels * classes + predictions
    counts = emit.UnsortedSegmentSum(factors, places, constant(classes * classes))
    return total, assign_add(total, layout.reshape(counts, [classes, classes]))


def mean_iou(
    labels: Any, predictions: Any, num_classes: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean over classes of hits over all that were labelled or predicted so.

    Args:
      labels: numbers of classes, of any shape.
      predictions: likewise.
      num_classes: how many classes there are.
      weights: of the shape of the labels; default 1.
      metrics_collections: the collections that the value joins.
      updates_collections: the collections that the update joins.
      name: the variable scope.

    Returns:
      `(value, update_op)`: the figure so far; the new matrix of confusions, [num_classes, num_classes].
    """
    with variable_scope(name, "mean_iou", (predictions, labels, weights)):
        labels, predictions = convert_to_tensor(labels), convert_to_tensor(predictions)
        labels.shape.assert_is_compatible_with(predictions.shape)
        total, update = _confusion(labels, predictions, num_classes, weights)
        matrix = cast(total, float32)
        hits = diag_part(matrix)
        union = reduce_sum(matrix, 0) + reduce_sum(matrix, 1) - hits
        seen = reduce_sum(cast(union > 0, float32))
        shares = div_no_nan(hits, union)
        value = where_v2(seen > 0, div_no_nan(reduce_sum(shares), seen, name="mean_iou"), 0.0)
        return _collected(value, update, metrics_collections, updates_collections)


def mean_per_class_accuracy(
    labels: Any, predictions: Any, num_classes: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean over classes of the share of each class that was found; see `mean_iou`.

    Returns:
      `(value, update_op)`: the figure so far; the new shares, [num_classes].
    """
    with variable_scope(name, "mean_accuracy", (predictions, labels, weights)):
        labels = cast(convert_to_tensor(labels), int64)
        predictions = cast(convert_to_tensor(predictions), int64)
        labels.shape.assert_is_compatible_with(predictions.shape)
        total, hits = _state([num_classes], "total"), _state([num_classes], "count")
        flat, guess = layout.reshape(labels, [-1]), layout.reshape(predictions, [-1])
        factors = source.ones_like(flat, dtype=float32)
        found = cast(equal(guess, flat), float32)
        if weights is not None:
            given = convert_to_tensor(weights)
            given = layout.squeeze(given, [-1]) if (given.shape.rank or 0) > 1 else given
            factors = factors * cast(layout.reshape(given, [-1]), float32)
            found = found * factors
        number = constant(num_classes)
        new_total = assign_add(total, emit.UnsortedSegmentSum(factors, flat, number))
        new_hits = assign_add(hits, emit.UnsortedSegmentSum(found, flat, number))
        value = reduce_mean(div_no_nan(hits, maximum(total, 0.0)), name="mean_accuracy")
        update = div_no_nan(new_hits, maximum(new_total, 0.0), name="update_op")
        return _collected(value, update, metrics_collections, updates_collections)


# ---------------------------------------------------------------------------- the first k


def _label_sets(labels: Any, indices: Tensor) -> Tensor:
    """Labels as [..., n]: a single label per example gets an axis."""
    labels = cast(convert_to_tensor(labels), int64)
    if labels.shape.rank is not None and labels.shape.rank == (indices.shape.rank or 0) - 1:
        return layout.expand_dims(labels, -1)
    return labels


def _first(numbers: Tensor) -> Tensor:
    """Where along the last axis a number stands for the first time."""
    n = source.range(emit.Shape(numbers)[-1])
    same = equal(layout.expand_dims(numbers, -1), layout.expand_dims(numbers, -2))
    earlier = less(layout.expand_dims(n, 0), layout.expand_dims(n, 1))
    return logical_not(reduce_any(logical_and(same, earlier), -1))


def _counts(labels: Tensor, indices: Tensor, class_id: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, predictions and labels of each example, as [...]; what an example repeats counts once."""
    own, guesses = _first(labels), _first(indices)
    here = reduce_any(equal(layout.expand_dims(indices, -1), layout.expand_dims(labels, -2)), -1)
    here = logical_and(here, guesses)
    if class_id is not None:
        of_class = equal(indices, constant(class_id, indices.dtype))
        here, guesses = logical_and(here, of_class), logical_and(guesses, of_class)
        own = logical_and(own, equal(labels, constant(class_id, labels.dtype)))
    count: Callable[[Tensor], Tensor] = lambda x: reduce_sum(cast(x, float64), -1)  # noqa: E731
    return count(here), count(guesses), count(own)


def _weighted(values: Tensor, weights: Any) -> Tensor:
    if weights is None:
        return reduce_sum(values)
    factors = cast(aligned_weights(weights, values), float64)
    return reduce_sum(multiply(values, broadcast_weights(factors, values)))


def _share_at_k(
    what: str, labels: Any, indices: Any, k: int | None, class_id: int | None, weights: Any, metrics: Any, updates: Any,
    name: str | None,
) -> Metric:  # fmt: skip
    """Hits over predictions ("precision") or labels ("recall") among the first k."""
    suffix = f"{what}_at_{k}" + ("" if class_id is None else f"_class{class_id}")
    with variable_scope(name, suffix, (indices, labels, weights)):
        indices = cast(convert_to_tensor(indices), int64)
        sets = _label_sets(labels, indices)
        hit, guessed, wanted = _counts(sets, indices, class_id)
        rest = (guessed if what == "precision" else wanted) - hit
        missed = "false_positive" if what == "precision" else "false_negative"
        of_class = "" if class_id is None else f"_class{class_id}"
        hits = _state([], f"true_positive_at_{k}{of_class}", float64)
        misses = _state([], f"{missed}_at_{k}{of_class}", float64)
        new_hits = assign_add(hits, _weighted(hit, weights))
        new_misses = assign_add(misses, _weighted(rest, weights))
        value = emit.RealDiv(hits.value(), hits.value() + misses.value(), name="value")
        update = emit.RealDiv(new_hits, new_hits + new_misses, name="update")
        return _collected(value, update, metrics, updates)


def precision_at_top_k(
    labels: Any, predictions_idx: Any, k: int | None = None, class_id: int | None = None, weights: Any = None,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """`precision_at_k` of classes that are chosen already, [..., k]."""
    return _share_at_k(
        "precision",
        labels,
        predictions_idx,
        k,
        class_id,
        weights,
        metrics_collections,
        updates_collections,
        name,
    )


def recall_at_top_k(
    labels: Any, predictions_idx: Any, k: int | None = None, class_id: int | None = None, weights: Any = None,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """`recall_at_k` of classes that are chosen already, [..., k]."""
    return _share_at_k(
        "recall",
        labels,
        predictions_idx,
        k,
        class_id,
        weights,
        metrics_collections,
        updates_collections,
        name,
    )


def precision_at_k(
    labels: Any, predictions: Any, k: int, class_id: int | None = None, weights: Any = None,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The share of the k likeliest classes that are among the labels.

    Args:
      labels: [batch] or [batch, n] numbers of classes; one that is none is never found.
      predictions: [batch, classes].
      k: how many are taken.
      class_id: counts only this class.
      weights: [batch] or a scalar; default 1.
      metrics_collections: the collections that the value joins.
      updates_collections: the collections that the update joins.
      name: the variable scope.

    Returns:
      `(value, update_op)`, float64; see `mean`.
    """
    _, indices = top_k(predictions, k)
    return precision_at_top_k(
        labels, indices, k, class_id, weights, metrics_collections, updates_collections, name
    )


def recall_at_k(
    labels: Any, predictions: Any, k: int, class_id: int | None = None, weights: Any = None,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The share of the labels that are among the k likeliest classes; the arguments are those of `precision_at_k`."""
    _, indices = top_k(predictions, k)
    return recall_at_top_k(
        labels, indices, k, class_id, weights, metrics_collections, updates_collections, name
    )


def average_precision_at_k(
    labels: Any, predictions: Any, k: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The mean over examples of the precision averaged over the places of the hits among the first k.

    The arguments are those of `precision_at_k`.

    Raises:
      ValueError: if k is less than one.
    """
    if k < 1:
        raise ValueError(f"Invalid k={k}.")
    with variable_scope(name, f"average_precision_at_{k}", (predictions, labels, weights)):
        _, indices = top_k(predictions, k)
        indices = cast(indices, int64)
        sets = _label_sets(labels, indices)
        hit = cast(
            reduce_any(equal(layout.expand_dims(indices, -1), layout.expand_dims(sets, -2)), -1), float64
        )
        place = cast(source.range(1, k + 1), float64)
        so_far = emit.Cumsum(hit, constant(-1))
        # Numbers below zero fill up rows of labels; repeated ones count.
        wanted = reduce_sum(cast(sets >= 0, float64), -1)
        most = emit.Minimum(wanted, constant(float(k), float64))
        # An example without labels has no precision: not a number, as in TensorFlow.
        each = reduce_sum(so_far / place * hit, -1) / most
        number = cast(source.size(each), float64)
        if weights is not None:
            factors = broadcast_weights(cast(aligned_weights(weights, each), float64), each)
            each, number = multiply(each, factors), reduce_sum(factors)
        most_state, total = _state([], "max", float64), _state([], "total", float64)
        new_most, new_total = assign_add(most_state, number), assign_add(total, reduce_sum(each))
        value = div_no_nan(total, most_state, name="mean")
        update = div_no_nan(new_total, new_most, name="update")
        return _collected(value, update, metrics_collections, updates_collections)


def sparse_precision_at_k(
    labels: Any, predictions: Any, k: int, class_id: int | None = None, weights: Any = None,
    metrics_collections: Any = None, updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The older name of `precision_at_k`."""
    return precision_at_k(
        labels, predictions, k, class_id, weights, metrics_collections, updates_collections, name
    )


def sparse_average_precision_at_k(
    labels: Any, predictions: Any, k: int, weights: Any = None, metrics_collections: Any = None,
    updates_collections: Any = None, name: str | None = None,
) -> Metric:  # fmt: skip
    """The older name of `average_precision_at_k`."""
    return average_precision_at_k(
        labels, predictions, k, weights, metrics_collections, updates_collections, name
    )


__all__ = [
    "accuracy", "auc", "average_precision_at_k", "false_negatives", "false_negatives_at_thresholds",
    "false_positives", "false_positives_at_thresholds", "mean", "mean_absolute_error",
    "mean_cosine_distance", "mean_iou", "mean_per_class_accuracy", "mean_relative_error", "mean_squared_error",
    "mean_tensor", "percentage_below", "precision", "precision_at_k", "precision_at_thresholds",
    "precision_at_top_k", "recall", "recall_at_k", "recall_at_thresholds", "recall_at_top_k",
    "root_mean_squared_error", "sensitivity_at_specificity", "sparse_average_precision_at_k",
    "sparse_precision_at_k", "specificity_at_sensitivity", "true_negatives", "true_negatives_at_thresholds",
    "true_positives", "true_positives_at_thresholds",
]  # fmt: skip
