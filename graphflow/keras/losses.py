"""`keras.losses`: functions that give one loss per example, and classes that also weight and reduce them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphflow.graph import Tensor, name_scope
from graphflow.keras import backend
from graphflow.keras.identifiers import found, serialized
from graphflow.opdef import convert_to_tensor
from graphflow.ops import elementwise, layout, linalg
from graphflow.ops.reduction import reduce_max, reduce_mean, reduce_sum
from graphflow.ops.source import size


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


class Reduction:
    """How the losses of a batch become one number."""

    AUTO = "auto"
    NONE = "none"
    SUM = "sum"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Returns every way."""
        return cls.AUTO, cls.NONE, cls.SUM, cls.SUM_OVER_BATCH_SIZE

    @classmethod
    def validate(cls, key: Any) -> None:
        """Raises ValueError for what is no way to reduce."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}; there are {', '.join(cls.all())}")


def same_rank(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both without a last axis of one that only one of them has."""
    if y_true.shape.rank is None or y_pred.shape.rank is None:
        return y_true, y_pred
    more = y_pred.shape.rank - y_true.shape.rank
    if more == 1 and y_pred.shape.as_list()[-1] in (None, 1):
        y_pred = layout.squeeze(y_pred, [-1])
    elif more == -1 and y_true.shape.as_list()[-1] in (None, 1):
        y_true = layout.squeeze(y_true, [-1])
    return y_true, y_pred


def weights_for(values: Tensor, sample_weight: Any) -> Tensor:
    """Returns weights of the rank of the values: a last axis of one is added or taken away."""
    weights = elementwise.cast(convert_to_tensor(sample_weight), values.dtype)
    if weights.shape.rank in (None, 0) or values.shape.rank is None:
        return weights
    more = weights.shape.rank - values.shape.rank
    if more == 1 and weights.shape.as_list()[-1] in (None, 1):
        return layout.squeeze(weights, [-1])
    return layout.expand_dims(weights, -1) if more == -1 else weights


class Loss:
    """A loss that is called with truth and prediction; a class of one's own gives `call`, one loss per example.

    Args:
      reduction: one of `Reduction`; AUTO is SUM_OVER_BATCH_SIZE.
      name: a name.

    Raises:
      ValueError: for another reduction.
    """

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = None) -> None:
        Reduction.validate(reduction)
        self.reduction, self.name = reduction, name

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Returns the loss of a batch: a number, or one per example where the reduction is NONE.

        Args:
          y_true: the truth, [batch, ...].
          y_pred: the prediction, likewise.
          sample_weight: a number, or one per example or per loss.
        """
        with name_scope(self.name or type(self).__name__.lower()):
            return reduced(convert_to_tensor(self.call(y_true, y_pred)), sample_weight, self.reduction)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per example."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the loss again."""
        return {"reduction": self.reduction, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """Makes the loss again."""
        return cls(**config)


def reduced(losses: Tensor, sample_weight: Any, reduction: str) -> Tensor:
    """Returns losses weighted and reduced, of the dtype of the losses."""
    if sample_weight is not None:
        losses = losses * weights_for(losses, sample_weight)
    if reduction == Reduction.NONE:
        return losses
    total = reduce_sum(losses)
    if reduction == Reduction.SUM:
        return total
    return elementwise.div_no_nan(total, elementwise.cast(size(losses), total.dtype))


class LossFunctionWrapper(Loss):
    """A loss of a function of truth and prediction.

    Args:
      fn: gives one loss per example.
      reduction: one of `Reduction`.
      name: a name.
      **kwargs: further arguments of the function.
    """

    def __init__(
        self, fn: Callable[..., Any], reduction: str = Reduction.AUTO, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(reduction, name)
        self.fn, self._arguments = fn, kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns what the function gives."""
        if isinstance(y_true, Tensor) and isinstance(y_pred, Tensor):
            # As in TensorFlow, arrays are taken as they are.
            y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._arguments)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the loss again."""
        return {**super().get_config(), **self._arguments}


class MeanSquaredError(LossFunctionWrapper):
    """The mean of squared errors."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "mean_squared_error") -> None:
        super().__init__(mean_squared_error, reduction, name)


class MeanAbsoluteError(LossFunctionWrapper):
    """The mean of absolute errors."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "mean_absolute_error") -> None:
        super().__init__(mean_absolute_error, reduction, name)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """The mean of errors in percent of the truth."""

    def __init__(
        self, reduction: str = Reduction.AUTO, name: str | None = "mean_absolute_percentage_error"
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """The mean of squared differences of logarithms."""

    def __init__(
        self, reduction: str = Reduction.AUTO, name: str | None = "mean_squared_logarithmic_error"
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name)


class Hinge(LossFunctionWrapper):
    """The mean of `max(0, 1 - y_true * y_pred)`."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "hinge") -> None:
        super().__init__(hinge, reduction, name)


class SquaredHinge(LossFunctionWrapper):
    """The mean of `max(0, 1 - y_true * y_pred) ** 2`."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "squared_hinge") -> None:
        super().__init__(squared_hinge, reduction, name)


class CategoricalHinge(LossFunctionWrapper):
    """The margin between the right class and the best wrong one."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "categorical_hinge") -> None:
        super().__init__(categorical_hinge, reduction, name)


class Poisson(LossFunctionWrapper):
    """The mean of `y_pred - y_true * log(y_pred)`."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "poisson") -> None:
        super().__init__(poisson, reduction, name)


class LogCosh(LossFunctionWrapper):
    """The mean of `log(cosh(error))`."""

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = "logcosh") -> None:
        super().__init__(logcosh, reduction, name)


class KLDivergence(LossFunctionWrapper):
    """The Kullback-Leibler divergence."""

    def __init__(
        self, reduction: str = Reduction.AUTO, name: str | None = "kullback_leibler_divergence"
    ) -> None:
        super().__init__(kullback_leibler_divergence, reduction, name)


class BinaryCrossentropy(LossFunctionWrapper):
    """The cross entropy of labels of 0 or 1.

    Args:
      from_logits: whether predictions are logits, not probabilities.
      label_smoothing: how far labels are drawn to the middle, 0 to 1.
      reduction: one of `Reduction`.
      name: a name.
    """

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0, reduction: str = Reduction.AUTO,
        name: str | None = "binary_crossentropy",
    ) -> None:  # fmt: skip
        super().__init__(
            binary_crossentropy, reduction, name, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """The cross entropy of distributions.

    Args:
      from_logits: whether predictions are logits, not probabilities.
      label_smoothing: how far labels are drawn to the middle, 0 to 1.
      reduction: one of `Reduction`.
      name: a name.
    """

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0, reduction: str = Reduction.AUTO,
        name: str | None = "categorical_crossentropy",
    ) -> None:  # fmt: skip
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """The cross entropy of classes given by number.

    Args:
      from_logits: whether predictions are logits, not probabilities.
      reduction: one of `Reduction`.
      name: a name.
    """

    def __init__(
        self, from_logits: bool = False, reduction: str = Reduction.AUTO,
        name: str | None = "sparse_categorical_crossentropy",
    ) -> None:  # fmt: skip
        super().__init__(sparse_categorical_crossentropy, reduction, name, from_logits=from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns a loss for each label; the classes are the last axis of the predictions, even of one class."""
        return self.fn(convert_to_tensor(y_true), convert_to_tensor(y_pred), **self._arguments)


class Huber(LossFunctionWrapper):
    """Half the squared error up to `delta`, linear beyond.

    Args:
      delta: where the square ends.
      reduction: one of `Reduction`.
      name: a name.
    """

    def __init__(
        self, delta: float = 1.0, reduction: str = Reduction.AUTO,
        name: str | None = "huber_loss",
    ) -> None:  # fmt: skip
        super().__init__(huber_loss, reduction, name, delta=delta)


class CosineSimilarity(LossFunctionWrapper):
    """The cosine between truth and prediction, negative so that less is better.

    Args:
      axis: the axis of the vectors.
      reduction: one of `Reduction`.
      name: a name.
    """

    def __init__(
        self, axis: int = -1, reduction: str = Reduction.AUTO,
        name: str | None = "cosine_similarity",
    ) -> None:  # fmt: skip
        super().__init__(cosine_similarity, reduction, name, axis=axis)


_KNOWN: dict[str, Any] = {
    name: value for name, value in list(globals().items()) if callable(value) and not name.startswith("_")
    and getattr(value, "__module__", "") == __name__
    and name not in ("Loss", "LossFunctionWrapper", "Reduction", "reduced", "same_rank", "weights_for")
}  # fmt: skip

# What metrics, too, go by.
FUNCTIONS: dict[str, Any] = {name: value for name, value in _KNOWN.items() if not inspect.isclass(value)}


def get(identifier: Any) -> Any:
    """Returns a loss by name, or as it is; None for None."""
    return found(identifier, _KNOWN, "loss function")


def deserialize(name: Any, custom_objects: Any = None) -> Any:
    """Returns the loss of a name or configuration."""
    return found(name, {**_KNOWN, **(custom_objects or {})}, "loss function")


def serialize(loss: Any) -> Any:
    """Returns what `deserialize` makes a loss of."""
    return serialized(loss)
