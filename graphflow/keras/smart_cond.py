"""A branch that is taken while building where the condition is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.control_flow import cond
from graphflow.graph import Tensor
from graphflow.opdef import constant_value
from graphflow.variables import Variable


def smart_constant_value(pred: Any) -> bool | None:
    """Returns a condition's value if it is known while building, else None.

    Raises:
      TypeError: if it is no bool, 0, 1 or tensor.
    """
    if isinstance(pred, Variable):
        return None
    if isinstance(pred, Tensor):
        known = constant_value(pred)
        return None if known is None else bool(known)
    if pred in (0, 1):
        return bool(pred)
    raise TypeError(f"`pred` must be a Tensor, or a Python bool, or 1 or 0. Found instead: {type(pred)}")


def smart_cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """Returns `true_fn()` if `pred`, else `false_fn()`; a branch in the graph only where `pred` is not known.

    Args:
      pred: a bool, 0, 1, or a scalar bool tensor.
      true_fn: builds the one branch.
      false_fn: builds the other.
      name: a name.

    Raises:
      TypeError: if a branch cannot be called, or `pred` is something else.
    """
    if not callable(true_fn):
        raise TypeError("`true_fn` must be callable.")
    if not callable(false_fn):
        raise TypeError("`false_fn` must be callable.")
    known = smart_constant_value(pred)
    if known is not None:
        return true_fn() if known else false_fn()
    return cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)
