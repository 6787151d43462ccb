"""Argument scopes: keyword arguments that functions get for as long as a scope lasts."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Scope = dict[str, dict[str, Any]]
_scoped: dict[str, tuple[str, ...]] = {}


class _Stack(threading.local):
    def __init__(self) -> None:
        self.scopes: list[Scope] = [{}]


_stack = _Stack()


def arg_scope_func_key(op: Any) -> str:
    """Returns the key that a function has in scopes."""
    return str(getattr(op, "_key_op", op))


def has_arg_scope(func: Any) -> bool:
    """Whether a function takes arguments from scopes."""
    return arg_scope_func_key(func) in _scoped


def arg_scoped_arguments(func: Any) -> tuple[str, ...]:
    """Returns the names of the arguments that a function can get from a scope."""
    return _scoped[arg_scope_func_key(func)]


def current_arg_scope() -> Scope:
    """Returns what is set in the scope in force: by function, the arguments."""
    return _stack.scopes[-1]


def add_arg_scope(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function that is to take arguments from scopes."""

    @functools.wraps(func)
    def with_arguments(*args: Any, **kwargs: Any) -> Any:
        chosen = current_arg_scope().get(key)
        return func(*args, **({**chosen, **kwargs} if chosen else kwargs))

    key = str(func)
    code = getattr(func, "__code__", None)
    count = len(func.__defaults__ or ()) if code is not None else 0
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    _scoped[key] = tuple(names[len(names) - count :])
    with_arguments._key_op = key  # type: ignore[attr-defined]
    return with_arguments


@contextlib.contextmanager
def arg_scope(list_ops_or_scope: Sequence[Any] | Mapping[str, Any], **kwargs: Any) -> Iterator[Scope]:
    """Gives functions keyword arguments inside.

    Args:
      list_ops_or_scope: functions that `add_arg_scope` decorates; or a scope that an earlier `arg_scope` gave, to use
        it again.
      **kwargs: the arguments; those of an outer scope stay where none of this name is given.

    Raises:
      TypeError: if it is neither.
      ValueError: if a function takes no arguments from scopes, or an earlier scope comes with arguments.
    """
    if isinstance(list_ops_or_scope, Mapping):
        if kwargs:
            raise ValueError(
                "When attempting to re-use a scope by suppling a dictionary, kwargs must be empty."
            )
        made = {key: dict(value) for key, value in list_ops_or_scope.items()}
    else:
        if not isinstance(list_ops_or_scope, list | tuple):
            raise TypeError(
                "list_ops_or_scope must either be a list/tuple or reused scope (i.e. dict), got "
                f"{list_ops_or_scope!r}"
            )
        made = dict(current_arg_scope())
        for op in list_ops_or_scope:
            if not has_arg_scope(op):
                module, name = getattr(op, "__module__", ""), getattr(op, "__name__", repr(op))
                raise ValueError(f"{module}.{name} is not decorated with @add_arg_scope")
            key = arg_scope_func_key(op)
            made[key] = {**made.get(key, {}), **kwargs}
    _stack.scopes.append(made)
    try:
        yield made
    finally:
        _stack.scopes.pop()


__all__ = ["add_arg_scope", "arg_scope", "arg_scope_func_key", "arg_scoped_arguments", "current_arg_scope",
           "has_arg_scope"]  # fmt: skip
