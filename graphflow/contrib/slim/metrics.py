"""`slim.metrics`: streaming metrics under the names they had there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow.metrics import *  # noqa: F403
from graphflow.metrics import accuracy as streaming_accuracy
from graphflow.metrics import auc as streaming_auc
from graphflow.metrics import mean as streaming_mean
from graphflow.metrics import mean_absolute_error as streaming_mean_absolute_error
from graphflow.metrics import mean_iou as streaming_mean_iou
from graphflow.metrics import mean_squared_error as streaming_mean_squared_error
from graphflow.metrics import precision as streaming_precision
from graphflow.metrics import recall as streaming_recall
from graphflow.metrics import recall_at_k as streaming_recall_at_k
from graphflow.metrics import root_mean_squared_error as streaming_root_mean_squared_error


def aggregate_metrics(*value_update_tuples: tuple[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Returns the values and the updates of metrics as two lists.

    Raises:
      ValueError: if there is none.
    """
    if not value_update_tuples:
        raise ValueError("Expected at least one value_tensor/update_op pair")
    values, updates = zip(*value_update_tuples, strict=True)
    return list(values), list(updates)


def aggregate_metric_map(
    names_to_tuples: Mapping[str, tuple[Any, Any]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the values and the updates of metrics as two dicts."""
    values = {name: value for name, (value, _) in names_to_tuples.items()}
    return values, {name: update for name, (_, update) in names_to_tuples.items()}


__all__ = [
    "aggregate_metric_map", "aggregate_metrics", "streaming_accuracy", "streaming_auc", "streaming_mean",
    "streaming_mean_absolute_error", "streaming_mean_iou", "streaming_mean_squared_error", "streaming_precision",
    "streaming_recall", "streaming_recall_at_k", "streaming_root_mean_squared_error",
]  # fmt: skip
