"""What a program's plan would be like: which values lie in memory, how much that takes. Nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from graphflow.backends.base import Backend
from graphflow.lowering.lower import _Lowering, lower
from graphflow.plan import PlanBuilder
from graphflow.program import Program, Value

__all__ = ["materialized", "temporary_bytes", "uncompiled"]


def materialized(program: Program, backend: Backend) -> list[Value]:
    """Returns the values that steps leave in memory of their own, in the program's order."""
    lowering = _Lowering(program, uncompiled(backend), "")
    lowering.template()
    made = {value for value, slot in lowering.slots.items() if slot.kind in ("buffer", "dynamic")}
    return [value for node in program.nodes for value in node.outputs if value in made]


def temporary_bytes(program: Program, backend: Backend) -> int:
    """Returns how large the arena of a program's plan is."""
    return lower(program, uncompiled(backend)).arena_bytes


def uncompiled(backend: Backend) -> Backend:
    """Returns a back end whose plans tell all they know before a run, and run nothing."""
    return cast(Backend, _Uncompiled(backend))


class _Uncompiled:
    """A back end whose plans are made to be looked at."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def builder(self, name: str = "") -> PlanBuilder:
        return PlanBuilder(cast(Backend, self), name)

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        return [0] * len(kernels)

    def segment(self, *bound: Any) -> Any:
        return self

    def call(self) -> None:
        pass

    def entry(self, *bound: Any) -> Callable[[Any, Any], None]:
        return lambda feeds, outputs: None
