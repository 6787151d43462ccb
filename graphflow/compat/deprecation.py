"""`tensorflow.python.util.deprecation`: functions that say, once for each caller, that they will go."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from graphflow import logging

F = TypeVar("F", bound=Callable[..., Any])

_silent = 0
_told: set[tuple[str, str, int]] = set()


def _tell(what: str, date: str | None, instructions: str, once: bool) -> None:
    """Warns with the line that called the wrapped function."""
    frame = sys._getframe(2)
    place = what, frame.f_code.co_filename, frame.f_lineno
    if _silent or (once and place in _told):
        return
    _told.add(place)
    when = f"after {date}" if date else "in a future version"
    logging.warning(
        "From %s:%d: %s is deprecated and will be removed %s. Instructions for updating:\n%s",
        place[1], place[2], what, when, instructions,
    )  # fmt: skip


def _checked(date: str | None, instructions: str) -> None:
    if date is not None and not re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", date):
        raise ValueError(f"Date must be YYYY-MM-DD, got {date!r}")
    if not instructions:
        raise ValueError("Don't deprecate things without conversion instructions!")


def deprecated(date: str | None, instructions: str, warn_once: bool = True) -> Callable[[F], F]:
    """Decorates a function that will go.

    Args:
      date: when, YYYY-MM-DD; None: some day.
      instructions: what to use instead.
      warn_once: whether a calling line is warned the first time only.

    Raises:
      ValueError: the date is of another form, or there are no instructions.
    """
    _checked(date, instructions)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            _tell(getattr(function, "__qualname__", repr(function)), date, instructions, warn_once)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def deprecated_args(
    date: str | None, instructions: str, *deprecated_arg_names_or_tuples: Any, **kwargs: Any
) -> Callable[[F], F]:
    """Decorates a function of which some arguments will go.

    Args:
      date: when, YYYY-MM-DD; None: some day.
      instructions: what to do instead.
      *deprecated_arg_names_or_tuples: names, or pairs of a name and the value that may stay.
      **kwargs: `warn_once`, as for `deprecated`.

    Raises:
      ValueError: as for `deprecated`, or no names, or the function has no argument of that name.
    """
    _checked(date, instructions)
    once = kwargs.pop("warn_once", True)
    if not deprecated_arg_names_or_tuples:
        raise ValueError("Specify which argument is deprecated.")
    allowed = dict((n, ()) if isinstance(n, str) else (n[0], n[1:]) for n in deprecated_arg_names_or_tuples)

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        missing = set(allowed) - set(signature.parameters)
        if missing:
            raise ValueError(f"{function.__name__} has no arguments {sorted(missing)}")

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            old = [n for n in given if n in allowed and not any(given[n] is fine for fine in allowed[n])]
            if old:
                _tell(f"{function.__qualname__} with {', '.join(old)}", date, instructions, once)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def deprecated_arg_values(
    date: str | None, instructions: str, warn_once: bool = True, **deprecated_kwargs: Any
) -> Callable[[F], F]:
    """Decorates a function of which some values of arguments will go: `name=value` for each."""
    _checked(date, instructions)

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            old = [f"{n}={v!r}" for n, v in deprecated_kwargs.items() if n in given and given[n] is v]
            if old:
                _tell(f"{function.__qualname__} with {', '.join(old)}", date, instructions, warn_once)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def deprecated_alias(
    deprecated_name: str, name: str, func_or_class: F, warn_once: bool = True
) -> Callable[..., Any]:
    """Returns what calls a function, or makes an object of a class, under its old name."""

    @functools.wraps(func_or_class)
    def call(*args: Any, **kwargs: Any) -> Any:
        _tell(deprecated_name, None, f"Please use {name} instead.", warn_once)
        return func_or_class(*args, **kwargs)

    return call


def deprecated_endpoints(*args: str) -> Callable[[F], F]:
    """Decorates what has old names too; they are told nowhere."""
    del args
    return lambda function: function


def deprecated_argument_lookup(new_name: str, new_value: Any, old_name: str, old_value: Any) -> Any:
    """Returns what was given under one of two names.

    Raises:
      ValueError: both were given.
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and '{new_name}'.")
    return old_value


def rewrite_argument_docstring(old_doc: str, old_argument: str, new_argument: str) -> str:
    """Returns a docstring with an argument renamed."""
    return old_doc.replace(f"`{old_argument}`", f"`{new_argument}`").replace(
        f"{old_argument}:", f"{new_argument}:"
    )


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is told meanwhile."""
    global _silent
    _silent += 1
    try:
        yield
    finally:
        _silent -= 1


__all__ = [
    "deprecated", "deprecated_alias", "deprecated_arg_values", "deprecated_args", "deprecated_argument_lookup",
    "deprecated_endpoints", "rewrite_argument_docstring", "silence",
]  # fmt: skip
