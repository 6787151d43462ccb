"""Branches and loops as host steps: their programs are compiled like any other, and run one after another.

A nested program is planned when it is first run, once per set of sizes: in a loop whose variables keep their shapes,
once. What the body of a loop gives back as it is, it is not asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.plan import Plan
from graphflow.program import WHILES, Node, Program, TensorType, invariants, retyped
from graphflow.reference import once
from graphflow.shapes import TensorShape
from graphflow.variable_store import VariableStore

Array = np.ndarray[Any, Any]

MakePlan = Callable[[Program, str], Plan]

_MOST_PLANS = 64  # sizes for which a program's plans are kept


class NestedPlans:
    """A nested program and its plans, one per set of sizes of its feeds.

    Args:
      program: the program; sizes of its feeds may be open.
      make: makes the plan of a program whose sizes are known.
      name: what to call the plans.
    """

    def __init__(self, program: Program, make: MakePlan, name: str) -> None:
        self.program = program
        self.name = name
        self._make = make
        self._plans: dict[tuple[tuple[int, ...], ...], Plan] = {}
        self._lock = threading.Lock()

    def run(self, arrays: Sequence[Array], store: VariableStore) -> list[Array]:
        """Runs the program on arrays; returns one array per fetch."""
        shapes = tuple([array.shape for array in arrays])
        plan = self._plans.get(shapes)
        if plan is None:
            plan = self._planned(shapes)
        return plan.run(tuple(arrays), store)

    def _planned(self, shapes: tuple[tuple[int, ...], ...]) -> Plan:
        with self._lock:
            found = self._plans.get(shapes)
            if found is None:
                types = [
                    TensorType(feed.dtype, TensorShape(shape), feed.static_shape)
                    for feed, shape in zip(self.program.feeds, shapes, strict=True)
                ]
                while len(self._plans) >= _MOST_PLANS:
                    del self._plans[next(iter(self._plans))]
                found = self._plans[shapes] = self._make(retyped(self.program, types), self.name)
            return found


class Branches:
    """How a Case runs."""

    def __init__(self, node: Node, make: MakePlan) -> None:
        self.programs = [
            NestedPlans(branch, make, f"{node.name}/branch{i}")
            for i, branch in enumerate(node.attrs["branches"])
        ]

    def run(self, arrays: list[Array], store: VariableStore) -> list[Array]:
        """Runs one of the branches."""
        number = int(arrays[0])
        if not 0 <= number < len(self.programs):
            number = len(self.programs) - 1
        return self.programs[number].run(arrays[1:], store)


class Loop:
    """How a While runs."""

    def __init__(self, node: Node, make: MakePlan) -> None:
        cond, body = node.attrs["cond"], node.attrs["body"]
        fixed = invariants(node)
        self.carried = [i for i in range(len(body.feeds)) if i not in fixed]
        fetches = tuple(body.fetches[i] for i in self.carried)
        self.cond = NestedPlans(cond, make, f"{node.name}/cond")
        carried = Program(body.feeds, fetches, (), body.effects, body.specialized)
        self.body = NestedPlans(carried, make, f"{node.name}/body")

    def run(self, arrays: list[Array], store: VariableStore) -> list[Array]:
        """Runs the body for as long as the condition holds."""
        variables = list(arrays)
        while self.cond.run(variables, store)[0]:
            store.between_steps()
            for i, array in zip(self.carried, self.body.run(variables, store), strict=True):
                variables[i] = array
        return variables


def host_runner(node: Node, make: MakePlan) -> Callable[[list[Array], Any], list[Array]]:
    """Returns what runs a branch or a loop: a function of one array per input and the session's state.

    Args:
      node: the node.
      make: makes the plan of a nested program.
    """
    runs = Loop(node, make) if node.op_def in WHILES else Branches(node, make)
    if not node.op_def.effects:
        return runs.run
    return lambda arrays, store: once(node, lambda: runs.run(arrays, store))


__all__ = ["MakePlan", "NestedPlans", "host_runner"]
