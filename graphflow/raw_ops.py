"""`tf.raw_ops`: every op type as a function of its signature's names, `raw_ops.MatMul(a=x, b=y)`."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import graphflow.ops  # noqa: F401 - registers the ops
from graphflow.opdef import OpDef, emit_operation, find_op, get_op, registered_ops


def _function(definition: OpDef) -> Callable[..., Any]:
    names = [arg.name for arg in definition.inputs]
    outputs = [arg.name for arg in definition.outputs]
    results = namedtuple(definition.name, outputs) if len(outputs) > 1 else None

    def raw_op(*, name: str | None = None, **values: Any) -> Any:
        missing = [argument for argument in names if argument not in values]
        if missing:
            raise TypeError(f"{definition.name} needs the inputs {', '.join(missing)}")
        inputs = [values.pop(argument) for argument in names]
        found = emit_operation(definition, inputs, values, name)
        return found if results is None else results(*found)

    raw_op.__name__ = raw_op.__qualname__ = definition.name
    raw_op.__doc__ = definition.body.__doc__
    return raw_op


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_") or find_op(name) is None or name.startswith("Graphflow"):
        raise AttributeError(f"module {__name__!r} has no op {name!r}")
    return _function(get_op(name))


def __dir__() -> list[str]:
    return sorted(name for name in registered_ops() if not name.startswith(("_", "Graphflow")))
