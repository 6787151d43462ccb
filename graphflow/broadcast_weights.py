"""Weights against the values they weigh: what broadcasts, and axes of size one that are let go."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor, control_dependencies, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import control, layout, source
from graphflow.ops.elementwise import equal, logical_or
from graphflow.ops.reduction import reduce_all


def assert_broadcastable(weights: Any, values: Any) -> Any:
    """Returns an operation that fails unless weights are a scalar, or of the rank of values with equal sizes or ones.

    Raises:
      ValueError: if that is known to be wrong while building.
    """
    with name_scope(None, "assert_broadcastable", (weights, values)) as scope:
        weights = convert_to_tensor(weights, name="weights")
        values = convert_to_tensor(values, name="values")
        own, other = weights.shape, values.shape
        if own.rank == 0:
            return source.no_op(name="static_scalar_check_success")
        if own.rank is not None and other.rank is not None:
            if own.rank != other.rank:
                raise ValueError(
                    f"weights can not be broadcast to values. values.rank={other.rank}. weights.rank={own.rank}."
                    f" values.shape={other}. weights.shape={own}."
                )
            sizes = list(zip(own.as_list(), other.as_list(), strict=True))
            for a, b in sizes:
                if None not in (a, b) and a not in (1, b):
                    raise ValueError(
                        f"weights can not be broadcast to values. values.shape={other}. weights.shape={own}."
                    )
            if all(a == 1 or None not in (a, b) for a, b in sizes):
                return source.no_op(name="static_dims_check_success")
        a, b = emit.Shape(weights), emit.Shape(values)
        told = ["weights can not be broadcast to values.", "weights.shape=", a, "values.shape=", b]
        scalar = equal(source.rank(weights), 0)
        fits = equal(source.rank(weights), source.rank(values))
        if own.rank is not None and own.rank == other.rank:
            fits = reduce_all(logical_or(equal(a, 1), equal(a, b)))
        return control.Assert(logical_or(scalar, fits), told, name=scope)


def broadcast_weights(weights: Any, values: Any) -> Tensor:
    """Returns weights broadcast to the shape of values; see `assert_broadcastable`."""
    with name_scope(None, "broadcast_weights", (weights, values)) as scope:
        values = convert_to_tensor(values, name="values")
        weights = convert_to_tensor(weights, dtype=None, name="weights")
        if (
            weights.shape.is_fully_defined()
            and values.shape.is_fully_defined()
            and (weights.shape.as_list() == values.shape.as_list())
        ):
            return weights
        with control_dependencies((assert_broadcastable(weights, values),)):
            result: Tensor = emit.Mul(weights, source.ones_like(values, dtype=weights.dtype), name=scope)
            return result


def remove_squeezable_dimensions(
    labels: Any, predictions: Any, expected_rank_diff: int = 0, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Lets go the last axis, if it is of size one, of whichever has one axis too many.

    Args:
      labels: a tensor.
      predictions: a tensor.
      expected_rank_diff: what the rank of predictions is to be more than that of labels.
      name: a name.
    """
    with name_scope(name, "remove_squeezable_dimensions", [labels, predictions]):
        predictions = convert_to_tensor(predictions)
        labels = convert_to_tensor(labels)
        if predictions.shape.rank is None or labels.shape.rank is None:
            # Nothing is known while building: a run that meets other shapes says so by itself.
            return labels, predictions
        difference = predictions.shape.rank - labels.shape.rank
        if difference == expected_rank_diff + 1 and predictions.shape.as_list()[-1] in (1, None):
            predictions = layout.squeeze(predictions, [-1])
        elif difference == expected_rank_diff - 1 and labels.shape.as_list()[-1] in (1, None):
            labels = layout.squeeze(labels, [-1])
        return labels, predictions


def aligned_weights(weights: Any, values: Tensor) -> Tensor:
    """Returns weights with an axis of size one added or let go at the end, so that their rank is that of values."""
    weights = convert_to_tensor(weights)
    if weights.shape.rank in (None, 0) or values.shape.rank is None:
        return weights
    assert weights.shape.rank is not None
    difference = weights.shape.rank - values.shape.rank
    if difference == 1 and weights.shape.as_list()[-1] in (1, None):
        return layout.squeeze(weights, [-1])
    return layout.expand_dims(weights, [-1]) if difference == -1 else weights


__all__ = [
    "aligned_weights", "assert_broadcastable", "broadcast_weights", "remove_squeezable_dimensions",
]  # fmt: skip
