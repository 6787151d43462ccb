"""`tf.contrib.estimator`: heads and estimators of heads by their older names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.contrib import deep as _deep
from graphflow.estimator.canned import BaselineEstimator as BaselineEstimator
from graphflow.estimator.canned import DNNEstimator as DNNEstimator
from graphflow.estimator.canned import DNNLinearCombinedEstimator as DNNLinearCombinedEstimator
from graphflow.estimator.canned import LinearEstimator as LinearEstimator
from graphflow.estimator.extenders import add_metrics as add_metrics
from graphflow.estimator.heads import BinaryClassHead, Head, MultiClassHead, RegressionHead
from graphflow.losses import Reduction


def binary_classification_head(
    weight_column: Any = None, thresholds: Sequence[float] | None = None,
    label_vocabulary: Sequence[str] | None = None, loss_reduction: str = Reduction.SUM_OVER_BATCH_SIZE,
    loss_fn: Any = None, name: str | None = None,
) -> Head:  # fmt: skip
    """Returns a head for two classes; see `estimator.BinaryClassHead`."""
    return BinaryClassHead(weight_column, thresholds, label_vocabulary, loss_reduction, loss_fn, name)


def multi_class_head(
    n_classes: int, weight_column: Any = None, label_vocabulary: Sequence[str] | None = None,
    loss_reduction: str = Reduction.SUM_OVER_BATCH_SIZE, loss_fn: Any = None, name: str | None = None,
) -> Head:  # fmt: skip
    """Returns a head for `n_classes` classes; see `estimator.MultiClassHead`."""
    return MultiClassHead(n_classes, weight_column, label_vocabulary, loss_reduction, loss_fn, name)


def regression_head(
    weight_column: Any = None, label_dimension: int = 1, loss_reduction: str = Reduction.SUM_OVER_BATCH_SIZE,
    loss_fn: Any = None, inverse_link_fn: Any = None, name: str | None = None,
) -> Head:  # fmt: skip
    """Returns a head for `label_dimension` numbers; see `estimator.RegressionHead`."""
    return RegressionHead(label_dimension, weight_column, loss_reduction, loss_fn, inverse_link_fn, name)


__all__ = [
    "BaselineEstimator", "DNNEstimator", "DNNLinearCombinedEstimator", "LinearEstimator", "add_metrics",
    "binary_classification_head", "multi_class_head", "regression_head",
]  # fmt: skip

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "estimator")
