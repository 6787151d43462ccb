"""Penalties on weights: functions from a tensor to a scalar, or None for a penalty of nothing."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

from graphflow.graph import GraphKeys, Tensor, add_to_collection, get_collection, name_scope
from graphflow.logging import info
from graphflow.opdef import constant, convert_to_tensor
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import add_n, multiply
from graphflow.ops.nn import l2_loss
from graphflow.ops.reduction import reduce_sum

Regularizer = Callable[[Any], Any]


def _checked(scale: Any, most: float | None = None) -> None:
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"scale cannot be an integer: {scale}")
    if isinstance(scale, numbers.Real):
        if float(scale) < 0.0:
            raise ValueError(f"Setting a scale less than 0 on a regularizer: {scale}")
        if most is not None and float(scale) >= most:
            raise ValueError(f"Setting a scale greater than {most} on a regularizer: {scale}")


def _weighted(
    scale: Any, scope: str | None, default: str, penalty: Callable[[Tensor], Tensor]
) -> Regularizer:
    if isinstance(scale, numbers.Real) and scale == 0.0:
        info("Scale of 0 disables regularizer.")
        return lambda _: None

    def regularizer(weights: Any, name: str | None = None) -> Tensor:
        with name_scope(scope or default, default, [weights]) as made:
            x = convert_to_tensor(weights)
            factor = convert_to_tensor(scale, x.dtype, name="scale")
            return multiply(factor, penalty(x), name=name or made)

    return regularizer


def l1_regularizer(scale: Any, scope: str | None = None) -> Regularizer:
    """Returns a penalty of `scale` times the sum of absolute values.

    Raises:
      ValueError: if the scale is negative or an integer.
    """
    _checked(scale)
    return _weighted(scale, scope, "l1_regularizer", lambda x: reduce_sum(absolute(x)))


def l2_regularizer(scale: Any, scope: str | None = None) -> Regularizer:
    """Returns a penalty of `scale` times half the sum of squares.

    Raises:
      ValueError: if the scale is negative or an integer.
    """
    _checked(scale)
    return _weighted(scale, scope, "l2_regularizer", l2_loss)


def l1_l2_regularizer(scale_l1: Any = 1.0, scale_l2: Any = 1.0, scope: str | None = None) -> Regularizer:
    """Returns the sum of both penalties."""
    scope = scope or "l1_l2_regularizer"
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope=scope)


def sum_regularizer(regularizer_list: Sequence[Regularizer | None], scope: str | None = None) -> Regularizer:
    """Returns the sum of penalties; those that are None count for nothing."""
    used = [each for each in regularizer_list if each is not None]
    if not used:
        return lambda _: None

    def regularizer(weights: Any) -> Tensor | None:
        with name_scope(scope, "sum_regularizer", [weights]) as made:
            values = [value for value in (each(weights) for each in used) if value is not None]
            return add_n(values, name=made) if values else None

    return regularizer


def apply_regularization(regularizer: Regularizer, weights_list: Sequence[Any] | None = None) -> Tensor:
    """Returns the sum of penalties on weights, which also joins the regularization losses.

    Args:
      regularizer: gives a scalar, or None.
      weights_list: the weights; default the collection of weights.

    Raises:
      ValueError: if there are no weights, or a penalty is no scalar.
    """
    weights = list(weights_list) if weights_list else get_collection(GraphKeys.WEIGHTS)
    if not weights:
        raise ValueError("No weights to regularize.")
    with name_scope("get_regularization_penalty", values=weights) as made:
        penalties = [regularizer(each) for each in weights]
        penalties = [constant(0.0) if penalty is None else penalty for penalty in penalties]
        for penalty in penalties:
            if penalty.shape.rank not in (None, 0):
                raise ValueError(
                    f"regularizer must return a scalar Tensor instead of a Tensor with rank {penalty.shape.rank}."
                )
        total = add_n(penalties, name=made)
    add_to_collection(GraphKeys.REGULARIZATION_LOSSES, total)
    return total


__all__ = ["apply_regularization", "l1_l2_regularizer", "l1_regularizer", "l2_regularizer", "sum_regularizer"]
