"""Programs that are planned in the run, for the sizes that they then find.

A `Later` is a program and its plans, one per set of sizes of the arrays that it has been given. A `CutPlan` is a plan
whose rest is one of these (see `lowering.cut`): it runs like a plan and looks like one. So does a `RoomPlan`, a plan
with loops that have room for so many turns: where that is not enough, it is made anew with more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from graphflow.loops.cost import Cost, Peak
from graphflow.lowering.cut import Cut
from graphflow.plan import Launch, Plan, Slot, TraceEvent
from graphflow.turns import MoreTurns
from graphflow.variable_store import (
    UninitializedVariableError,
    VariableShapeError,
    VariableSpec,
    VariableStore,
)

__all__ = ["Bound", "CutPlan", "Later", "RoomPlan"]

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]
Traced = tuple[list[Array], list[TraceEvent]]

_MOST_SIZES = 64  # for so many sizes the plans last used are at hand


class Bound(Protocol):
    """A program ready to run for feeds of known shapes."""

    @property
    def plan(self) -> Plan | CutPlan | RoomPlan:
        """What is executed."""

    @property
    def run(self) -> Callable[[Sequence[Array], VariableStore], list[Array]]:
        """Runs once; returns one array per fetch."""

    @property
    def run_traced(self) -> Callable[[Sequence[Array], VariableStore], Traced]:
        """Runs once with clocks; returns the arrays and one event per step and thread."""


class Sized(Protocol):
    """A program that can be bound to sizes."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def reads(self) -> Sequence[str]:
        """The variables that must have a value before a run."""

    @property
    def contents(self) -> Sequence[Any]:
        """The elements of feeds that a plan is made for, besides their sizes."""

    def look(self, feeds: Sequence[Array]) -> tuple[bytes | None, ...]:
        """Returns what these are."""

    def bind(
        self, feed_shapes: Shapes, state: VariableStore, contents: tuple[bytes | None, ...] = ()
    ) -> Bound:
        """Returns the plan for feeds of these shapes and contents, and for the present shapes of the variables."""


class Later:
    """A program that is bound to the sizes of what it is given, in the run.

    Attributes:
      executable: the program.
      last: what was run last; None before the first run.
    """

    def __init__(self, executable: Sized) -> None:
        self.executable = executable
        self.last: Bound | None = None
        self._looks = bool(executable.contents)
        self._bound: dict[Any, Bound] = {}
        self._lock = threading.Lock()

    def run(self, arrays: tuple[Array, ...], store: VariableStore) -> list[Array]:
        """Runs the program on arrays; returns one array per fetch."""
        bound = self._found(arrays, store)
        try:
            return bound.run(arrays, store)
        except VariableShapeError:
            return self._anew(arrays, store).run(arrays, store)

    def run_traced(self, arrays: tuple[Array, ...], store: VariableStore) -> Traced:
        """Does so with clocks."""
        bound = self._found(arrays, store)
        try:
            return bound.run_traced(arrays, store)
        except VariableShapeError:
            return self._anew(arrays, store).run_traced(arrays, store)

    def _found(self, arrays: tuple[Array, ...], store: VariableStore) -> Bound:
        key: Any = tuple([array.shape for array in arrays])
        if self._looks:
            key = key, self.executable.look(arrays)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._make(key, store)
        self.last = bound
        return bound

    def _anew(self, arrays: tuple[Array, ...], store: VariableStore) -> Bound:
        """A variable has changed its shape since the plan was made: nothing of that plan has run yet."""
        with self._lock:
            self._bound.clear()
        return self._found(arrays, store)

    def _make(self, key: Any, store: VariableStore) -> Bound:
        shapes, contents = key if self._looks else (key, ())
        bound = self.executable.bind(shapes, store, contents)
        with self._lock:
            while len(self._bound) >= _MOST_SIZES:
                del self._bound[next(iter(self._bound))]
            self._bound[key] = bound
        return bound


def _within(plan: Plan | RoomPlan) -> Plan:
    return plan.plan if isinstance(plan, RoomPlan) else plan


class CutPlan:
    """A plan, and what is planned for the sizes that it finds.

    Of what can be told before a run (steps, cost, memory) it tells what is known: all of the first part, and of the
    rest the plan that was run last.
    """

    def __init__(self, cut: Cut, first: Bound, rest: Later) -> None:
        self.name = rest.executable.name
        self.first = first
        self.rest = rest
        self._given = cut.given
        self._results = cut.results
        self._reads = rest.executable.reads
        self._version = 0

    # running

    def run(self, feeds: Sequence[Array], store: VariableStore) -> list[Array]:
        """Runs once; see `Plan.run`."""
        if self._version != store.version:
            self._look(store)
        own = self.first.run(feeds, store)
        store.between_steps()
        there = (*feeds, *own)
        made = (*own, *self.rest.run(tuple([there[number] for number in self._given]), store))
        return [made[number] for number in self._results]

    def run_on_device(self, feeds: Sequence[Any], store: VariableStore) -> list[Any]:
        """Runs once; what follows on sizes that only the run finds is on the host in any case."""
        return self.run(feeds, store)

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore) -> list[Array]:
        """Runs so many times; see `Plan.run_steps`."""
        rows = [self.run(tuple([feed[turn] for feed in feeds]), store) for turn in range(count)]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def run_traced(self, feeds: Sequence[Array], store: VariableStore) -> Traced:
        """Runs once with clocks; see `Plan.run_traced`."""
        self._look(store)
        began = time.perf_counter_ns()
        own, events = self.first.run_traced(feeds, store)
        store.between_steps()
        there = (*feeds, *own)
        later = (time.perf_counter_ns() - began) / 1e3
        results, more = self.rest.run_traced(tuple([there[number] for number in self._given]), store)
        made = (*own, *results)
        before = len(self.first.plan.launches)
        events = [
            *events,
            *(
                event._replace(
                    start_us=event.start_us + later,
                    launch=event.launch + before if event.launch >= 0 else event.launch,
                )
                for event in more
            ),
        ]
        return [made[number] for number in self._results], events

    def _look(self, store: VariableStore) -> None:
        """Sees to it that the rest has all that it reads before anything is done.

        Raises:
          UninitializedVariableError: for a variable without a value.
        """
        version = store.version
        for key in self._reads:
            if not store.is_initialized(key):
                raise UninitializedVariableError(key)
        self._version = version

    def direct(self, keys: Sequence[object] | None = None) -> None:
        """Returns None: there is no shorter way."""

    # looking

    @property
    def parts(self) -> tuple[Plan, ...]:
        """The plans that run one after the other; the last ones are those of the last run."""
        found: list[Plan] = []
        for bound in (self.first, self.rest.last):
            plan = None if bound is None else bound.plan
            found += plan.parts if isinstance(plan, CutPlan) else () if plan is None else (_within(plan),)
        return tuple(found)

    @property
    def feeds(self) -> tuple[Slot, ...]:
        """What is fed."""
        return self.first.plan.feeds

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots."""
        return tuple([slot for part in self.parts for slot in part.slots])

    @property
    def steps(self) -> tuple[Any, ...]:
        """The steps in order."""
        return tuple([step for part in self.parts for step in part.steps])

    @property
    def variables(self) -> tuple[VariableSpec, ...]:
        """What the parts want of variables."""
        return tuple([spec for part in self.parts for spec in part.variables])

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The launches in order."""
        return tuple([launch for part in self.parts for launch in part.launches])

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What each launch costs."""
        return tuple([cost for part in self.parts for cost in part.costs])

    @property
    def cost(self) -> Cost:
        """What all launches cost together."""
        return sum(self.costs, Cost())

    @property
    def arena_bytes(self) -> int:
        """Bytes of temporaries."""
        return sum(part.arena_bytes for part in self.parts)

    @property
    def peak_bytes(self) -> int:
        """Bytes that one run adds to what its feeds and variables take."""
        return sum(part.peak_bytes for part in self.parts)

    @property
    def machine(self) -> Peak:
        """The best the machine does with the plan's threads."""
        return self.first.plan.machine

    def summary(self) -> str:
        """The plan as text: what comes first, then what the last run has found to come after it."""
        last = self.rest.last
        after = "planned in the run" if last is None else f"for the last run's:\n{last.plan.summary()}"
        return f"{self.first.plan.summary()}\nthen, for the sizes found, {after}"

    def __repr__(self) -> str:
        return f"<CutPlan {self.name!r}: {len(self.parts)} parts>"


class RoomPlan:
    """A plan with loops that have room for so many turns.

    A run that needs more ends before it writes anything; it is begun anew with the plan that `more(room)` gives.

    Attributes:
      plan: what was run last. What can be told before a run is told of it.
    """

    def __init__(self, plan: Plan, more: Callable[[int], Plan]) -> None:
        self.plan = plan
        self._more = more

    def _of(self, act: Callable[[Plan], Any]) -> Any:
        while True:
            try:
                return act(self.plan)
            except Exception as error:
                if not isinstance(error.__cause__, MoreTurns):
                    raise
                room = error.__cause__.room
            self.plan = self._more(room)

    def run(self, feeds: Sequence[Array], store: VariableStore) -> list[Array]:
        """Runs once; see `Plan.run`."""
        result: list[Array] = self._of(lambda plan: plan.run(feeds, store))
        return result

    def run_on_device(self, feeds: Sequence[Any], store: VariableStore) -> list[Any]:
        """Runs once; see `Plan.run_on_device`."""
        result: list[Any] = self._of(lambda plan: plan.run_on_device(feeds, store))
        return result

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore) -> list[Array]:
        """Runs so many times; see `Plan.run_steps`."""
        rows = [self.run(tuple([feed[turn] for feed in feeds]), store) for turn in range(count)]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def run_traced(self, feeds: Sequence[Array], store: VariableStore) -> Traced:
        """Runs once with clocks; see `Plan.run_traced`."""
        result: Traced = self._of(lambda plan: plan.run_traced(feeds, store))
        return result

    def direct(self, keys: Sequence[object] | None = None) -> None:
        """Returns None: there is no shorter way."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)

    def __repr__(self) -> str:
        return f"<RoomPlan of {self.plan!r}>"
