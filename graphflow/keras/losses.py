"""`keras.losses`: one loss per example."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras import backend
from graphflow.keras.identifiers import found
from graphflow.opdef import convert_to_tensor
from graphflow.ops import elementwise, linalg
from graphflow.ops.reduction import reduce_max, reduce_mean, reduce_sum


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = convert_to_tensor(y_pred)
    return elementwise.cast(convert_to_tensor(y_true), y_pred.dtype), y_pred


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of squared errors over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(elementwise.squared_difference(y_pred, y_true), -1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of absolute errors over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(elementwise.abs(y_pred - y_true), -1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of errors in percent of the truth."""
    y_true, y_pred = _pair(y_true, y_pred)
    scale = elementwise.maximum(elementwise.abs(y_true), backend.epsilon())
    return 100.0 * reduce_mean(elementwise.abs((y_true - y_pred) / scale), -1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of squared differences of logarithms."""
    y_true, y_pred = _pair(y_true, y_pred)
    first = elementwise.log(elementwise.maximum(y_pred, backend.epsilon()) + 1.0)
    second = elementwise.log(elementwise.maximum(y_true, backend.epsilon()) + 1.0)
    return reduce_mean(elementwise.squared_difference(first, second), -1)


def _signs(y_true: Tensor) -> Tensor:
    """Labels of 0 or 1 as -1 or 1; others as they are."""
    from_bits = elementwise.logical_or(elementwise.equal(y_true, 0.0), elementwise.equal(y_true, 1.0))
    binary = reduce_mean(elementwise.cast(from_bits, y_true.dtype)) >= 1.0
    return elementwise.where_v2(binary, 2.0 * y_true - 1.0, y_true)


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(0, 1 - y_true * y_pred))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(elementwise.maximum(1.0 - _signs(y_true) * y_pred, 0.0), -1)


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(0, 1 - y_true * y_pred) ** 2)`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(elementwise.square(elementwise.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), -1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The margin between the right class and the best wrong one."""
    y_true, y_pred = _pair(y_true, y_pred)
    right = reduce_sum(y_true * y_pred, -1)
    wrong = reduce_max((1.0 - y_true) * y_pred, -1)
    return elementwise.maximum(0.0, wrong - right + 1.0)


def logcosh(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of `log(cosh(error))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = y_pred - y_true
    return reduce_mean(error + elementwise.softplus(-2.0 * error) - 0.6931471805599453, -1)


def huber_loss(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """Half the squared error up to `delta`, linear beyond."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = elementwise.abs(y_pred - y_true)
    near = elementwise.minimum(error, delta)
    return reduce_mean(0.5 * near * near + delta * (error - near), -1)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0
) -> Tensor:
    """The cross entropy of distributions over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    if label_smoothing:
        classes = y_pred.shape.as_list()[-1]
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / classes
    return backend.categorical_crossentropy(y_true, y_pred, from_logits)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """The cross entropy of classes given by number."""
    return backend.sparse_categorical_crossentropy(y_true, y_pred, from_logits, axis)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0
) -> Tensor:
    """The mean over the last axis of the cross entropy of each element."""
    y_true, y_pred = _pair(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return reduce_mean(backend.binary_crossentropy(y_true, y_pred, from_logits), -1)


def kullback_leibler_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """The Kullback-Leibler divergence over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    low = backend.epsilon()
    y_true, y_pred = elementwise.clip_by_value(y_true, low, 1.0), elementwise.clip_by_value(y_pred, low, 1.0)
    return reduce_sum(y_true * elementwise.log(y_true / y_pred), -1)


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of `y_pred - y_true * log(y_pred)`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(y_pred - y_true * elementwise.log(y_pred + backend.epsilon()), -1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The cosine between truth and prediction, negative so that less is better."""
    y_true, y_pred = _pair(y_true, y_pred)
    product = linalg.l2_normalize(y_true, axis=axis) * linalg.l2_normalize(y_pred, axis=axis)
    return -reduce_sum(product, axis)


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence
cosine = cosine_proximity = cosine_similarity

_KNOWN: dict[str, Any] = {
    name: value for name, value in list(globals().items()) if callable(value) and not name.startswith("_")
    and getattr(value, "__module__", "") == __name__
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns a loss by name, or as it is; None for None."""
    return found(identifier, _KNOWN, "loss function")
