"""`tensorflow.python.util.tf_decorator`, as programs use it: decorators that can be undone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def make_decorator(
    target: Callable[..., Any],
    decorator_func: Callable[..., Any],
    decorator_name: str | None = None,
    decorator_doc: str = "",
    decorator_argspec: Any = None,
) -> Callable[..., Any]:
    """Returns `decorator_func` with name, documentation and attributes of `target`, which `unwrap` finds again.

    Args:
      target: the function that is decorated.
      decorator_func: the function that stands in its place.
      decorator_name, decorator_doc, decorator_argspec: accepted.
    """
    del decorator_name, decorator_doc, decorator_argspec
    return functools.update_wrapper(decorator_func, target)


def unwrap(maybe_tf_decorator: Callable[..., Any]) -> tuple[list[Any], Callable[..., Any]]:
    """Returns the decorated functions, outermost first, and what is inside all of them."""
    around = []
    inside = maybe_tf_decorator
    while hasattr(inside, "__wrapped__"):
        around.append(inside)
        inside = inside.__wrapped__
    return around, inside
