"""`slim.metrics`: streaming metrics under the names they had there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow.contrib import streaming
from graphflow.contrib.streaming import *  # noqa: F403
from graphflow.metrics import *  # noqa: F403


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


__all__ = ["aggregate_metric_map", "aggregate_metrics", *streaming.__all__]
