"""Metrics of outcomes: how many guesses are true or false, positive or negative, at some thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.graph import Tensor
from graphflow.keras.backend import epsilon
from graphflow.keras.losses import same_rank, weights_for
from graphflow.keras.metric import Metric
from graphflow.opdef import convert_to_tensor
from graphflow.ops import elementwise, layout
from graphflow.ops.control import assert_greater_equal, assert_less_equal, group, with_dependencies
from graphflow.ops.counting import confusion_matrix
from graphflow.ops.diagonals import matrix_diag_part
from graphflow.ops.layout import one_hot
from graphflow.ops.reduction import argmin, reduce_sum
from graphflow.ops.sorting import top_k
from graphflow.ops.source import identity, ones_like, shape

_NOWHERE = -1e10


def _thresholds(asked: Any, default: float) -> list[float]:
    """Thresholds as a list.

    Raises:
      ValueError: if one is not in 0 to 1.
    """
    found = [default if asked is None else asked] if not isinstance(asked, list | tuple) else list(asked)
    wrong = [t for t in found if t is None or (not 0 <= t <= 1 and t != _NOWHERE)]
    if wrong:
        raise ValueError(f"Threshold values must be in [0, 1]. Invalid values: {wrong}")
    return [float(t) for t in found]


class _Outcomes(Metric):
    """Counts outcomes at thresholds in variables of the kinds that a class names."""

    _kinds: tuple[str, ...] = ("true_positives", "true_negatives", "false_positives", "false_negatives")

    def _begin(self, name: str | None, dtype: Any, thresholds: list[float]) -> None:
        super().__init__(name, dtype)
        self._at = thresholds
        self._top_k: int | None = None
        self._class_id: int | None = None
        for kind in self._kinds:
            setattr(self, kind, self.add_weight(kind, (len(thresholds),), initializer="zeros"))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds a batch.

        Args:
          y_true: the truth: 0 or 1, or False or True.
          y_pred: probabilities of it, from 0 to 1, of the same shape.
          sample_weight: a number, or one per example or per guess.
        """
        kind = getattr(self, self._kinds[0]).dtype.base_dtype
        truth = elementwise.cast(convert_to_tensor(y_true), kind)
        guess = elementwise.cast(convert_to_tensor(y_pred), kind)
        checks = [
            assert_greater_equal(guess, 0.0, message="predictions must be >= 0"),
            assert_less_equal(guess, 1.0, message="predictions must be <= 1"),
        ]
        guess = with_dependencies(checks, guess)
        truth, guess = same_rank(truth, guess)
        if self._top_k is not None:
            kept = reduce_sum(one_hot(top_k(guess, self._top_k)[1], shape(guess)[-1], dtype=kind), -2)
            guess = guess * kept + _NOWHERE * (1.0 - kept)
        if self._class_id is not None:
            truth, guess = truth[..., self._class_id], guess[..., self._class_id]
        weights = ones_like(guess)
        if sample_weight is not None:
            weights = weights_for(guess, sample_weight) * weights
        flat = [layout.reshape(each, [1, -1]) for each in (truth, guess, weights)]
        limits = np.asarray(self._at, kind.as_numpy_dtype)[:, None]
        above = elementwise.greater(flat[1], limits)
        is_true = elementwise.cast(flat[0], "bool")
        added = []
        for name in self._kinds:
            side = above if name.endswith("positives") else elementwise.logical_not(above)
            same = name in ("true_positives", "false_negatives")
            holds = elementwise.logical_and(is_true if same else elementwise.logical_not(is_true), side)
            count = reduce_sum(elementwise.cast(holds, kind) * flat[2], 1)
            added.append(getattr(self, name).assign_add(count))
        return group(*added)

    def _of(self, kind: str) -> Tensor:
        return convert_to_tensor(getattr(self, kind))

    def _share(self, part: str, rest: str) -> Tensor:
        """How much one kind is of two, 0 where there is none of both."""
        return elementwise.div_no_nan(self._of(part), self._of(part) + self._of(rest))

    def _alone(self, values: Tensor) -> Tensor:
        """The value itself, where there is one threshold."""
        return values[0] if len(self._at) == 1 else values


class _Count(_Outcomes):
    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        self.thresholds = thresholds
        self._begin(name, dtype, _thresholds(thresholds, 0.5))

    def result(self) -> Any:
        """Returns the count: a number, or one per threshold."""
        return self._alone(identity(self._of(self._kinds[0])))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        return {**super().get_config(), "thresholds": self._at if len(self._at) > 1 else self._at[0]}


class TruePositives(_Count):
    """How many are guessed to be, and are; `thresholds` is a number or several, default 0.5."""

    _kinds = ("true_positives",)


class TrueNegatives(_Count):
    """How many are guessed not to be, and are not; `thresholds` is a number or several, default 0.5."""

    _kinds = ("true_negatives",)


class FalsePositives(_Count):
    """How many are guessed to be, and are not; `thresholds` is a number or several, default 0.5."""

    _kinds = ("false_positives",)


class FalseNegatives(_Count):
    """How many are guessed not to be, and are; `thresholds` is a number or several, default 0.5."""

    _kinds = ("false_negatives",)


class _Found(_Outcomes):
    def __init__(
        self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        # Of the likeliest k, each counts as a guess.
        self._begin(name, dtype, _thresholds(thresholds, 0.5 if top_k is None else _NOWHERE))
        self._top_k, self._class_id = top_k, class_id

    def result(self) -> Any:
        """Returns the share: a number, or one per threshold."""
        return self._alone(self._share(*self._kinds))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        told = {"thresholds": self.thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **told}


class Precision(_Found):
    """How many of those that are guessed to be, are.

    Args:
      thresholds: a number or several, default 0.5.
      top_k: guesses are the k likeliest classes of each example.
      class_id: only this class counts.
      name: a name.
      dtype: the dtype of its state.
    """

    _kinds = ("true_positives", "false_positives")


class Recall(_Found):
    """How many of those that are, are guessed to be; the arguments are those of `Precision`."""

    _kinds = ("true_positives", "false_negatives")


def _grid(number: int) -> list[float]:
    """Thresholds from a little under 0 to a little over 1."""
    if number == 1:
        return [0.5]
    between = [(i + 1) / (number - 1) for i in range(number - 2)]
    return [-epsilon(), *between, 1.0 + epsilon()]


class _AtValue(_Outcomes):
    def __init__(
        self, value: float, what: str, num_thresholds: int, name: str | None = None, dtype: Any = None
    ) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"`{what}` must be in the range [0, 1]. Received: {value}")
        if num_thresholds <= 0:
            raise ValueError(f"`num_thresholds` must be > 0. Received: {num_thresholds}")
        self.value, self.num_thresholds = value, num_thresholds
        # Both ends belong to it, just as they are.
        inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        self._begin(name, dtype, [0.5] if num_thresholds == 1 else [0.0, *inner, 1.0])

    def _nearest(self, given: Tensor, wanted: Tensor) -> Tensor:
        """What is wanted where what is given comes nearest to the value."""
        return wanted[argmin(elementwise.abs(given - self.value), 0)]


class SensitivityAtSpecificity(_AtValue):
    """The sensitivity at the threshold whose specificity is nearest to a value.

    Args:
      specificity: from 0 to 1.
      num_thresholds: how many thresholds are tried.
      name: a name.
      dtype: the dtype of its state.
    """

    def __init__(
        self, specificity: float, num_thresholds: int = 200, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(specificity, "specificity", num_thresholds, name, dtype)
        self.specificity = specificity

    def result(self) -> Any:
        """Returns the sensitivity."""
        given = self._share("true_negatives", "false_positives")
        return self._nearest(given, self._share("true_positives", "false_negatives"))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        told = {"specificity": self.value, "num_thresholds": self.num_thresholds}
        return {**super().get_config(), **told}


class SpecificityAtSensitivity(_AtValue):
    """The specificity at the threshold whose sensitivity is nearest to a value; see `SensitivityAtSpecificity`."""

    def __init__(
        self, sensitivity: float, num_thresholds: int = 200, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(sensitivity, "sensitivity", num_thresholds, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> Any:
        """Returns the specificity."""
        given = self._share("true_positives", "false_negatives")
        return self._nearest(given, self._share("true_negatives", "false_positives"))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        told = {"sensitivity": self.value, "num_thresholds": self.num_thresholds}
        return {**super().get_config(), **told}


class AUC(_Outcomes):
    """The area under a curve of outcomes at many thresholds.

    Args:
      num_thresholds: how many thresholds there are, at least 2.
      curve: "ROC" (recall over false alarms) or "PR" (precision over recall).
      summation_method: "interpolation", "minoring" or "majoring": the height between two thresholds.
      name: a name.
      dtype: the dtype of its state.
      thresholds: thresholds of one's own between 0 and 1, instead of `num_thresholds`.
    """

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
        name: str | None = None, dtype: Any = None, thresholds: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        if curve not in ("ROC", "PR"):
            raise ValueError(f'Invalid curve: "{curve}". Valid options are: ROC, PR')
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                f'Invalid summation method: "{summation_method}". Valid options are: interpolation, minoring, majoring'
            )
        if thresholds is not None:
            inner = sorted(_thresholds(list(thresholds), 0.5))
            at = [-epsilon(), *inner, 1.0 + epsilon()]
        elif num_thresholds <= 1:
            raise ValueError(f"`num_thresholds` must be > 1. Received: {num_thresholds}")
        else:
            at = _grid(num_thresholds) if num_thresholds > 2 else [-epsilon(), 1.0 + epsilon()]
        self.num_thresholds, self.curve, self.summation_method = len(at), curve, summation_method
        self._inner = None if thresholds is None else at[1:-1]
        self._begin(name, dtype, at)

    @property
    def thresholds(self) -> list[float]:
        """All thresholds, the ends with them."""
        return list(self._at)

    def result(self) -> Any:
        """Returns the area."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._between_counts()
        recall = self._share("true_positives", "false_negatives")
        if self.curve == "ROC":
            x, y = self._share("false_positives", "true_negatives"), recall
        else:
            x, y = recall, self._share("true_positives", "false_positives")
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2.0
        else:
            pick = elementwise.minimum if self.summation_method == "minoring" else elementwise.maximum
            heights = pick(y[:-1], y[1:])
        return reduce_sum((x[:-1] - x[1:]) * heights)

    def _between_counts(self) -> Tensor:
        """The area under precision over recall, where counts, not precisions, run straight between thresholds."""
        hits, missed = self._of("true_positives"), self._of("false_negatives")
        guessed = hits + self._of("false_positives")
        more_hits, more = hits[:-1] - hits[1:], guessed[:-1] - guessed[1:]
        slope = elementwise.div_no_nan(more_hits, elementwise.maximum(more, 0.0))
        offset = hits[1:] - slope * guessed[1:]
        both = elementwise.logical_and(guessed[:-1] > 0.0, guessed[1:] > 0.0)
        ratio = elementwise.where_v2(both, elementwise.div_no_nan(guessed[:-1], guessed[1:]), 1.0)
        areas = slope * (more_hits + offset * elementwise.log(ratio))
        return reduce_sum(elementwise.div_no_nan(areas, elementwise.maximum(hits[1:] + missed[1:], 0.0)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        told = {
            "num_thresholds": self.num_thresholds, "curve": self.curve, "summation_method": self.summation_method,
            "thresholds": self._inner,
        }  # fmt: skip
        return {**super().get_config(), **told}


class MeanIoU(Metric):
    """The mean over classes of intersection over union of labels and guesses.

    Args:
      num_classes: how many classes there are.
      name: a name.
      dtype: the dtype of its state.
    """

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.num_classes = num_classes
        self.total_cm = self.add_weight("total_confusion_matrix", (num_classes, num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds a batch of classes by number, of any shape."""
        kind = self.total_cm.dtype.base_dtype
        labels = layout.reshape(elementwise.cast(convert_to_tensor(y_true), "int64"), [-1])
        guesses = layout.reshape(elementwise.cast(convert_to_tensor(y_pred), "int64"), [-1])
        weights = None
        if sample_weight is not None:
            weights = layout.reshape(elementwise.cast(convert_to_tensor(sample_weight), kind), [-1])
        return self.total_cm.assign_add(
            confusion_matrix(labels, guesses, self.num_classes, dtype=kind, weights=weights)
        )

    def result(self) -> Any:
        """Returns the mean over the classes that came up."""
        counts = convert_to_tensor(self.total_cm)
        right = matrix_diag_part(counts)
        union = reduce_sum(counts, 0) + reduce_sum(counts, 1) - right
        there = reduce_sum(elementwise.cast(elementwise.not_equal(union, 0.0), counts.dtype))
        return elementwise.div_no_nan(reduce_sum(elementwise.div_no_nan(right, union)), there)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        return {**super().get_config(), "num_classes": self.num_classes}


__all__ = [
    "AUC", "FalseNegatives", "FalsePositives", "MeanIoU", "Precision", "Recall", "SensitivityAtSpecificity",
    "SpecificityAtSensitivity", "TrueNegatives", "TruePositives",
]  # fmt: skip
