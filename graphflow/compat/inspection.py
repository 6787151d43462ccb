"""`tensorflow.python.util.tf_inspect`: Python's `inspect`, with what newer Pythons have dropped."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any

ArgSpec = namedtuple("ArgSpec", "args varargs keywords defaults")


def getargspec(obj: Callable[..., Any]) -> ArgSpec:
    """Returns names and defaults of a function's positional arguments."""
    spec = inspect.getfullargspec(obj)
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def __getattr__(name: str) -> Any:
    return getattr(inspect, name)
