"""`keras.metrics`: functions that give one figure per example, and classes that keep a figure over many batches."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow.graph import Tensor
from graphflow.keras import losses
from graphflow.keras.identifiers import found, serialized
from graphflow.keras.losses import (
    KLD,
    MAE,
    MAPE,
    MSE,
    MSLE,
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    hinge,
    kld,
    kullback_leibler_divergence,
    logcosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)  # fmt: skip
from graphflow.keras.metric import Mean, MeanMetricWrapper, MeanRelativeError, MeanTensor, Metric, Sum
from graphflow.keras.outcomes import (
    AUC,
    FalseNegatives,
    FalsePositives,
    MeanIoU,
    Precision,
    Recall,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)  # fmt: skip
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


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether a guess is the label."""
    y_pred = convert_to_tensor(y_pred)
    return elementwise.cast(elementwise.equal(elementwise.cast(y_true, y_pred.dtype), y_pred), "float32")


def cosine_proximity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The cosine between truth and prediction."""
    return -losses.cosine_similarity(y_true, y_pred, axis)


cosine_similarity = cosine_proximity


class Accuracy(MeanMetricWrapper):
    """How often guesses are the labels."""

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often predictions are on the right side of a threshold.

    Args:
      name: a name.
      dtype: the dtype of its state.
      threshold: where the sides meet.
    """

    def __init__(
        self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the likeliest class is the right one."""

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the likeliest class is the right one, given by number."""

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the right class is among the k likeliest."""

    def __init__(
        self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the right class, given by number, is among the k likeliest."""

    def __init__(
        self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)


class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of absolute errors."""

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_error, name, dtype)


class MeanSquaredError(MeanMetricWrapper):
    """The mean of squared errors."""

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """The mean of errors in percent of the truth."""

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """The mean of squared differences of logarithms."""

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_logarithmic_error, name, dtype)


class Hinge(MeanMetricWrapper):
    """The mean of `max(0, 1 - y_true * y_pred)`."""

    def __init__(self, name: str | None = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """The mean of `max(0, 1 - y_true * y_pred) ** 2`."""

    def __init__(self, name: str | None = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """The mean margin between the right class and the best wrong one."""

    def __init__(self, name: str | None = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(categorical_hinge, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """The mean of `log(cosh(error))`."""

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(logcosh, name, dtype)


class Poisson(MeanMetricWrapper):
    """The mean of `y_pred - y_true * log(y_pred)`."""

    def __init__(self, name: str | None = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, name, dtype)


class KLDivergence(MeanMetricWrapper):
    """The mean Kullback-Leibler divergence."""

    def __init__(self, name: str | None = "kullback_leibler_divergence", dtype: Any = None) -> None:
        super().__init__(kullback_leibler_divergence, name, dtype)


class CosineSimilarity(MeanMetricWrapper):
    """The mean cosine between truth and prediction.

    Args:
      name: a name.
      dtype: the dtype of its state.
      axis: the axis of the vectors.
    """

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(cosine_similarity, name, dtype, axis=axis)


class BinaryCrossentropy(MeanMetricWrapper):
    """The mean cross entropy of labels of 0 or 1.

    Args:
      name: a name.
      dtype: the dtype of its state.
      from_logits: whether predictions are logits, not probabilities.
      label_smoothing: how far labels are drawn to the middle, 0 to 1.
    """

    def __init__(
        self, name: str | None = "binary_crossentropy", dtype: Any = None, from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross entropy of distributions.

    Args:
      name: a name.
      dtype: the dtype of its state.
      from_logits: whether predictions are logits, not probabilities.
      label_smoothing: how far labels are drawn to the middle, 0 to 1.
    """

    def __init__(
        self, name: str | None = "categorical_crossentropy", dtype: Any = None, from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            categorical_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross entropy of classes given by number.

    Args:
      name: a name.
      dtype: the dtype of its state.
      from_logits: whether predictions are logits, not probabilities.
      axis: the axis of the classes.
    """

    def __init__(
        self, name: str | None = "sparse_categorical_crossentropy", dtype: Any = None, from_logits: bool = False,
        axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis)


class RootMeanSquaredError(MeanMetricWrapper):
    """The root of the mean of squared errors."""

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(elementwise.squared_difference, name, dtype)

    def result(self) -> Any:
        """Returns the root of the mean."""
        return elementwise.sqrt(super().result())


_CLASSES: tuple[type[Metric], ...] = (
    AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy,
    CategoricalHinge, CosineSimilarity, FalseNegatives, FalsePositives, Hinge, KLDivergence, LogCoshError, Mean,
    MeanAbsoluteError, MeanAbsolutePercentageError, MeanIoU, MeanRelativeError, MeanSquaredError,
    MeanSquaredLogarithmicError, MeanTensor, Poisson, Precision, Recall, RootMeanSquaredError,
    SensitivityAtSpecificity, SparseCategoricalAccuracy, SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy, SpecificityAtSensitivity, SquaredHinge, Sum, TopKCategoricalAccuracy,
    TrueNegatives, TruePositives,
)  # fmt: skip
_KNOWN: dict[str, Any] = {
    **losses.FUNCTIONS, "accuracy": accuracy, "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy, "cosine_proximity": cosine_proximity,
    "cosine_similarity": cosine_similarity, "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "sparse_top_k_categorical_accuracy": sparse_top_k_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy, **{kind.__name__: kind for kind in _CLASSES},
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns a metric by name or configuration, or as it is."""
    return found(identifier, _KNOWN, "metric function")


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """Returns the metric of a name or configuration."""
    return found(config, {**_KNOWN, **(custom_objects or {})}, "metric function")


def serialize(metric: Any) -> Any:
    """Returns what `deserialize` makes a metric of."""
    return serialized(metric)


__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "FalseNegatives", "FalsePositives", "Hinge", "KLD", "KLDivergence",
    "LogCoshError", "MAE", "MAPE", "MSE", "MSLE", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanIoU", "MeanMetricWrapper", "MeanRelativeError", "MeanSquaredError", "MeanSquaredLogarithmicError",
    "MeanTensor", "Metric", "Poisson", "Precision", "Recall", "RootMeanSquaredError", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives",
    "TruePositives", "accuracy", "binary_accuracy", "binary_crossentropy", "categorical_accuracy",
    "categorical_crossentropy", "categorical_hinge", "cosine_proximity", "cosine_similarity", "deserialize",
    "get", "hinge", "kld", "kullback_leibler_divergence", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle",
    "poisson", "serialize", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
]  # fmt: skip
