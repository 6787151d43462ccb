"""From a graph to a plan: the table of contents of graphflow.

freeze        cut out what the fetches need, make state explicit          program.py
open passes   rewrite it, the feeds' sizes left open                      optimizer_passes/
cut           behind what finds sizes out in the run, if there is such    lowering/cut.py, later.py
specialize    fix the sizes, open ones to symbols                         program.py
size passes   rewrite it again                                            optimizer_passes/
fuse          which nodes share a kernel                                  lowering/fuse.py
lower         kernels, library calls and host steps over slots            lowering/
build         machine code, what plans for all these sizes share          plan/, backends/
plan          places in memory, numbers: for sizes that pass the guards   plan/
verify        on demand: every run twice, compiled and with the bodies    side_by_side.py
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from graphflow import config
from graphflow.array_guards import with_guards
from graphflow.backends.base import Backend, load
from graphflow.collector import without_collector
from graphflow.contents import Content, find_contents
from graphflow.errors import ResourceExhaustedError
from graphflow.graph import Operation, Tensor
from graphflow.later import CutPlan, Later, RoomPlan
from graphflow.loops.ir import Kernel
from graphflow.loops.text import kernel_text
from graphflow.lowering.cut import Cut, find_cut, is_open
from graphflow.lowering.lower import lower, lower_open
from graphflow.lowering.measure import materialized, temporary_bytes
from graphflow.memory import machine_bytes
from graphflow.optimizer_passes.manager import PassReport, run_passes
from graphflow.optimizer_passes.pipeline import NAMES, OPEN, SPECIALIZED, rematerialization, with_room
from graphflow.plan import Arenas, HostStep, Launch, Plan, PlanTemplate, Ref, TraceEvent
from graphflow.program import FEED, Node, Program, Value, freeze, nested_programs, specialize
from graphflow.records import dataclass, field
from graphflow.side_by_side import SideBySide
from graphflow.symbolic import Sizes
from graphflow.text import program_text
from graphflow.turn_accesses import refuse_accesses_of_turns
from graphflow.variable_store import VariableStore

_log = logging.getLogger("graphflow")

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]

_MOST_CONTENTS = 32  # so many different ones a slice is compiled for
_MOST_TEMPLATES = 16  # of so many, the last used are tried for new sizes
_MOST_SIZES = 64  # so many plans are kept
_MOST_PARTS = 16  # a program is cut into no more
_FIRST_ROOM = 32  # turns that there is room for at first in a loop that fills lists and that nothing limits

__all__ = ["BoundPlan", "CompileOptions", "Executable", "compile_graph"]


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How a session compiles.

    Attributes:
      device: the device that plans run on.
      threads: threads inside one run; 0 takes `GRAPHFLOW_NUM_THREADS`, else the cores we may use.
      share_from: seconds of work (as it is estimated) from which on threads share a part of a run, at least as much as
        pays for waking them; a server with other requests for these threads sets it higher. Results have the same bits.
      disabled_passes: passes that are left out, by name; none of them is needed for a right result.
      enabled_passes: passes that run though they do not by default.
      memory_budget: bytes that the temporaries of a run may take; where they take more, cheap ones are computed again
        instead of kept. What is left over it is not refused. None: whatever they take.

    Raises:
      ValueError: for a name that no pass has.
    """

    device: str = "cpu"
    threads: int = 0
    share_from: float = 0.0
    disabled_passes: Set[str] = frozenset()
    enabled_passes: Set[str] = frozenset()
    memory_budget: int | None = None

    def __post_init__(self) -> None:
        for field_name in ("disabled_passes", "enabled_passes"):
            names = frozenset(getattr(self, field_name))
            if unknown := sorted(names.difference(NAMES)):
                raise ValueError(
                    f"{field_name}: there is no pass {unknown[0]!r}; there are {', '.join(NAMES)}"
                )
            object.__setattr__(self, field_name, names)


@dataclass(slots=True)
class BoundPlan:
    """A plan for feeds of known shapes.

    Attributes:
      run: runs once; returns one array per fetched tensor, which belongs to the caller.
      run_traced: runs once with clocks; returns the arrays and one event per step and thread.
      direct: see `Plan.direct`.
    """

    plan: Plan | CutPlan | RoomPlan
    reports: list[PassReport] = field(default_factory=list)
    run: Callable[[Sequence[Array], VariableStore], list[Array]] = field(init=False)
    run_traced: Callable[[Sequence[Array], VariableStore], tuple[list[Array], list[TraceEvent]]] = field(
        init=False
    )
    direct: Callable[[Sequence[object] | None], Callable[..., Any] | None] = field(init=False)

    def __post_init__(self) -> None:
        # The plan's own methods: a call in between would cost what a small graph takes.
        self.run = self.plan.run
        self.run_traced = self.plan.run_traced
        self.direct = self.plan.direct


class Executable:
    """A compiled slice of a graph.

    Attributes:
      frozen: the slice as it was cut out.
      program: the slice after the open passes.
      reports: what each pass did.
      reads: the variables that must have a value before a run.
      writes: the variables that a run sets.
      contents: the elements of feeds that a plan is made for, besides their sizes.
      without_template: what went wrong with symbolic sizes, where plain ones do: every plan is made by itself then.
    """

    def __init__(self, frozen: Program, options: CompileOptions, name: str = "", part: int = 0) -> None:
        """Compiles a program, or that part of one that was cut, which has been through the open passes."""
        self.frozen = frozen
        self.options = options
        self.name = name
        self.part = part
        self.reports: list[PassReport] = []
        with without_collector():
            passes = () if part else OPEN
            self.program = run_passes(
                frozen, passes, options.disabled_passes, options.enabled_passes, self.reports
            )
        self.contents = find_contents(self.program)
        self.reads = tuple(self.program.variables)
        self.writes = tuple(variable for variable, _ in self.program.commits)
        self._open_variables = [
            variable for variable, value in self.program.variables.items() if value.sizes is None
        ]
        self._bound: dict[Any, BoundPlan] = {}
        self._templates: dict[Any, list[_Template]] = {}
        self._parts: _Parts | None = None
        self.without_template: Exception | None = None
        self._arenas = Arenas()
        self._lock = threading.Lock()
        self._many_contents = False
        self._room = _FIRST_ROOM if self._may_begin_anew() else 0  # turns; 0: such loops run from the host
        if "program" in _stages():
            print(f"# program {name}, sizes open\n{program_text(self.program)}", file=sys.stderr)

    def look(self, feeds: Sequence[Array]) -> tuple[bytes | None, ...]:
        """Returns what is in the feeds that a plan is made for: one entry for each of `contents`.

        Where this was something new too often, it is nothing: the plan then finds such sizes out in each run.
        """
        if self._many_contents:
            return (None,) * len(self.contents)
        return tuple([content.of(feeds[content.feed]) for content in self.contents])

    def bind(
        self, feed_shapes: Shapes, state: VariableStore, contents: tuple[bytes | None, ...] = ()
    ) -> BoundPlan:
        """Returns the plan for feeds of these shapes, and for the present shapes of the state's variables.

        Args:
          feed_shapes: the shapes of the feeds.
          state: the variables.
          contents: what `look` has found in the feeds.

        Raises:
          ShapeError: if the shapes do not fit together.
        """
        variables = {}
        for variable in self._open_variables:
            described = state.describe(variable)
            if described is not None:
                variables[variable] = described[0]
        key = (feed_shapes, tuple(variables.items()), contents)
        with self._lock, without_collector():
            bound = self._bound.get(key)
            if bound is None:
                bound = self._bind(_Given(feed_shapes, variables, contents), state)
                if isinstance(bound.plan, Plan):
                    bound.plan.arenas = self._arenas
                while len(self._bound) >= _MOST_SIZES:
                    del self._bound[next(iter(self._bound))]
                self._bound[key] = bound
                if self.contents:
                    self._many_contents = len({found for _, _, found in self._bound}) >= _MOST_CONTENTS
            return bound

    def _bind(self, sizes: _Given, state: VariableStore) -> BoundPlan:
        """Plans: by a template that holds for these sizes, or anew, leaving a template for others."""
        if self._parts is not None:
            return self._parts.bind(sizes, state)
        templates = self._templates.setdefault((tuple(sizes.variables.items()), sizes.contents), [])
        for template in templates:
            plan = template.plan(sizes.feeds, self._room)
            bound = None if plan is None else self._bound_to(plan, template.reports, sizes, state, self._room)
            if plan is not None and bound is not None:
                templates.remove(template)
                templates.insert(0, template)
                _refuse_what_does_not_fit(plan)
                return bound
        pattern = self._pattern(sizes.feeds)
        if (
            not (pattern.values or self._room)
            or not self._has_templates()
            or self.without_template is not None
        ):
            return self._planned(sizes, state)
        try:
            return self._leaving_template(pattern, sizes, state, templates)
        except Exception as error:
            # Loops that run from the host, and sizes that code is made for (ranks), have no template. What is
            # wrong with the sizes themselves is said of plain numbers.
            bound = self._planned(sizes, state)
            self.without_template = error
            _log.info(
                "%s is planned anew for each size of its feeds: %s: %s",
                self.name or "a program", type(error).__name__, error,
            )  # fmt: skip
            return bound

    def _cut(self, program: Program, sizes: _Given, state: VariableStore) -> BoundPlan | None:
        """Plans the first part of a program that is to be cut; None if it is not. `program`: after all passes."""
        if self.part >= _MOST_PARTS or not is_open(program):
            return None
        cut = find_cut(self.program, sizes.feeds, sizes.variables, self._known(sizes), program)
        if cut is None:
            return None
        first = Executable(cut.first, self.options, self.name, _MOST_PARTS)
        rest = Executable(cut.rest, self.options, self.name, self.part + 1)
        self._parts = _Parts(cut, self.contents, first, Later(rest))
        return self._parts.bind(sizes, state)

    def _may_begin_anew(self) -> bool:
        """Whether a run can be left and begun anew: it does not act on the world and draws no numbers."""
        on_host = self.options.device == "cpu"
        return on_host and self.program.nests and not config.verify() and not _acts(self.program)

    def _planned_with_room(self, given: _Given, state: VariableStore, room: int) -> Plan:
        """The plan for loops that have turned out to have more turns."""
        with self._lock, without_collector():
            self._room = max(self._room, 2 * room)
            plan = self._bind(given, state).plan
        found = plan.plan if isinstance(plan, RoomPlan) else plan
        assert isinstance(found, Plan)
        return found

    def _bound_to(
        self, plan: Plan, reports: list[PassReport], given: _Given, state: VariableStore, room: int
    ) -> BoundPlan | None:
        """A plan ready to run; None where it should have no loops that have room for so many turns."""
        if not any(report.name == "bounded_turns" and report.counts for report in reports):
            return BoundPlan(plan, reports)
        if not _can_be_left(plan):
            self._room = 0
            return None
        plan.arenas = self._arenas
        return BoundPlan(RoomPlan(plan, lambda room: self._planned_with_room(given, state, room)), reports)

    def _has_templates(self) -> bool:
        """Whether plans may be made for other sizes than those at hand.

        Not where somebody wants to look at them.
        """
        return self.options.memory_budget is None and not config.verify() and not _stages()

    def _pattern(self, feed_shapes: Shapes) -> _Pattern:
        """Which sizes of the feeds are open, and what else they must be.

        Sizes that are equal now count as one and the same, but those of several axes of one feed as one for each
        axis: a batch may just be as long as its sequences. 0 and 1, which mean something, count as no open ones.
        """
        values: list[tuple[int, int]] = []
        shapes: list[tuple[int, ...]] = []
        apart = {
            size
            for feed, shape in zip(self.program.feeds, feed_shapes, strict=True)
            for size in _several(feed, shape)
        }
        for feed, shape in zip(self.program.feeds, feed_shapes, strict=True):
            static = feed.static_shape.as_tuple()
            numbers = []
            for axis, size in enumerate(shape):
                if size < 2 or (static is not None and static[axis] is not None):
                    numbers.append(~size)
                    continue
                key = (size, axis if size in apart else 0)
                if key not in values:
                    values.append(key)
                numbers.append(values.index(key))
            shapes.append(tuple(numbers))
        return _Pattern(tuple([size for size, _ in values]), tuple(shapes))

    def _leaving_template(
        self, pattern: _Pattern, given: _Given, state: VariableStore, templates: list[_Template]
    ) -> BoundPlan:
        """Plans with the open sizes as symbols, and for those at hand."""
        sizes = Sizes()
        symbols = [sizes.symbol(value, 1) for value in pattern.values]
        shapes: Any = tuple(
            tuple([~number if number < 0 else symbols[number] for number in shape])
            for shape in pattern.shapes
        )
        room: Any = self._room and sizes.symbol(self._room, 1)
        program, reports = self._specialized(shapes, given, room)
        in_parts = self._cut(program, given, state)
        if in_parts is not None:
            return in_parts

        def finish(nested: Program) -> Program:
            sizes.by_form = False
            try:
                return self._finish(nested)
            finally:
                sizes.by_form = True

        sizes.by_form = True
        backend = load(self.options.device, self.options.threads, self.options.share_from)
        plans = lower_open(program, backend, self.name, finish)
        sizes.close()
        template = _Template(pattern, sizes, plans, reports, bool(self._room))
        plan = template.plan(given.feeds, self._room)
        assert plan is not None
        bound = self._bound_to(plan, reports, given, state, self._room)
        if bound is None:
            return self._bind(given, state)
        templates.insert(0, template)
        del templates[_MOST_TEMPLATES:]
        _refuse_what_does_not_fit(plan)
        return bound

    def _known(self, sizes: _Given) -> dict[Node, Array]:
        """What nodes give for feeds with these elements."""
        return {
            content.node: content.array(sizes.feeds[content.feed], found)
            for content, found in zip(self.contents, sizes.contents, strict=False)
            if found is not None
        }

    def _specialized(self, shapes: Any, sizes: _Given, room: int) -> tuple[Program, list[PassReport]]:
        """Fixes the sizes of the feeds, to plain numbers or symbols, and runs the passes that want them so.

        room: the turns of loops that nothing limits; 0 for none.
        """
        options = self.options
        reports: list[PassReport] = []
        program = specialize(self.program, shapes, sizes.variables, self._known(sizes))
        passes = with_room(room) if self._room else SPECIALIZED
        program = run_passes(program, passes, options.disabled_passes, options.enabled_passes, reports)
        return program, reports

    def _finish(self, program: Program) -> Program:
        """Runs the passes that want sizes fixed on a nested program."""
        return run_passes(program, SPECIALIZED, self.options.disabled_passes, self.options.enabled_passes)

    def _planned(self, sizes: _Given, state: VariableStore) -> BoundPlan:
        """Plans for these sizes alone."""
        options = self.options
        program, reports = self._specialized(sizes.feeds, sizes, self._room)
        backend = load(options.device, options.threads, options.share_from)
        in_parts = self._cut(program, sizes, state)
        if in_parts is not None:
            return self._watched(in_parts, program, reports, backend)
        if options.memory_budget is not None:
            last = rematerialization(
                options.memory_budget,
                lambda shown: temporary_bytes(shown, backend),
                lambda shown: materialized(shown, backend),
            )
            program = run_passes(program, (last,), options.disabled_passes, frozenset(), reports)
        plan = lower(program, backend, self.name, self._finish)
        _refuse_what_does_not_fit(plan)
        stages = _stages()
        if "program" in stages:
            print(f"# program {self.name}, sizes fixed\n{program_text(program)}", file=sys.stderr)
        if "loops" in stages:
            for launch in plan.launches:
                if isinstance(launch.kernel, Kernel):
                    print(f"# {launch.name}\n{kernel_text(launch.kernel)}", file=sys.stderr)
        if "plan" in stages:
            print(f"# plan\n{plan.summary()}", file=sys.stderr)
        bound = self._bound_to(plan, reports, sizes, state, self._room)
        return (
            self._planned(sizes, state) if bound is None else self._watched(bound, program, reports, backend)
        )

    def _watched(
        self, bound: BoundPlan, program: Program, reports: Sequence[PassReport], backend: Backend
    ) -> BoundPlan:
        """A plan whose runs are held against the bodies, if that is asked for."""
        if config.verify():
            both = [*self.reports, *reports]
            wanted, rest = self.frozen, both
            for number, report in enumerate(both):
                if not report.exact and report.after is not None:
                    wanted, rest = report.after, both[number + 1 :]
            assert isinstance(bound.plan, Plan | CutPlan)
            bound.run = SideBySide(bound.plan, program, wanted, rest, backend).run
            bound.direct = lambda keys: None
        return bound


@dataclass(frozen=True, slots=True)
class _Given:
    """What a plan is made for: the sizes of the feeds and of variables whose sizes are open, elements of feeds."""

    feeds: Shapes
    variables: dict[str, tuple[int, ...]]
    contents: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class _Parts:
    """A program that is cut in two. `contents`: the elements of its feeds that decide sizes."""

    cut: Cut
    contents: tuple[Content, ...]
    first: Executable
    rest: Later

    def bind(self, sizes: _Given, state: VariableStore) -> BoundPlan:
        """Plans the first part; the rest is planned in the run."""
        found = {(c.feed, c.last): known for c, known in zip(self.contents, sizes.contents, strict=False)}
        known = tuple([found.get((c.feed, c.last)) for c in self.first.contents])
        return BoundPlan(CutPlan(self.cut, self.first.bind(sizes.feeds, state, known), self.rest))


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Open sizes, and the feeds' shapes as numbers of these, or the complements of fixed sizes."""

    values: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]


def _several(feed: Value, shape: tuple[int, ...]) -> list[int]:
    """The sizes of more than one open axis of a feed."""
    static = feed.static_shape.as_tuple()
    found = [size for axis, size in enumerate(shape) if static is None or static[axis] is None]
    return [size for size in found if found.count(size) > 1]


@dataclass(slots=True)
class _Template:
    """Plans for all feeds of one pattern whose sizes let the same be decided."""

    pattern: _Pattern
    sizes: Sizes
    plans: PlanTemplate
    reports: list[PassReport]
    has_room: bool

    def plan(self, feed_shapes: Shapes, room: int) -> Plan | None:
        """Returns the plan for feeds of these shapes, or None if they do not fit. `room`: see `Executable`."""
        if bool(room) is not self.has_room:
            return None
        values: list[int | None] = [None] * len(self.pattern.values)
        for shape, numbers in zip(feed_shapes, self.pattern.shapes, strict=True):
            if len(shape) != len(numbers):
                return None
            for size, number in zip(shape, numbers, strict=True):
                if number < 0:
                    if size != ~number:
                        return None
                elif size < 1:
                    return None
                elif values[number] is None:
                    values[number] = size
                elif values[number] != size:
                    return None
        if room:
            values.append(room)
        evaluation = self.sizes.at(values)  # type: ignore[arg-type]
        return None if evaluation is None else self.plans.plan(evaluation)


def _acts(program: Program) -> bool:
    """Whether a program, or one nested in it, acts on the world or draws random numbers."""
    stack = [program]
    while stack:
        for node in stack.pop().nodes:
            if node.op_def.effects in ("host", "random") and node.op_def is not FEED:
                return True
            stack += [nested for _, nested in nested_programs(node)]
    return False


def _can_be_left(plan: Plan) -> bool:
    """Whether a plan with loops that have room for so many turns finds out before it writes that this is not enough.

    Nor is there anything to gain if a loop runs from the host.
    """
    if any(isinstance(step, HostStep) and step.why for step in plan.steps):
        return False
    looks = [number for number, launch in enumerate(plan.launches) if _is_look(launch)]
    writes = [
        number
        for number, launch in enumerate(plan.launches)
        if any(
            isinstance(arg, Ref) and arg.slot.root.kind == "variable" and arg.access != "r"
            for arg in launch.args
        )
    ]
    return not writes or not looks or max(looks) < min(writes)


def _is_look(launch: Launch) -> bool:
    return launch.origin is not None and launch.origin.type == "GraphflowTurn"


def _stages() -> frozenset[str]:
    """Returns what is to be printed.

    Raises:
      ValueError: for the name of no stage and no pass.
    """
    stages = config.dump_stages()
    if unknown := sorted(stages.difference(config.STAGES, NAMES)):
        raise ValueError(
            f"{config.DUMP.name}: there is no stage or pass {unknown[0]!r}; there are"
            f" {', '.join((*config.STAGES, *NAMES))}"
        )
    return stages


def _refuse_what_does_not_fit(plan: Plan) -> None:
    """Raises ResourceExhaustedError for a plan that needs more memory than there is, before it asks for any."""
    needed, there = plan.needed_bytes, machine_bytes()
    if there and needed > there:
        slots = [slot for slot in plan.slots if slot.parent is None]
        largest = max(slots, key=lambda slot: slot.nbytes)
        raise ResourceExhaustedError(
            None,
            None,
            f"The run needs {needed / 2**30:.1f} GiB of memory at once, this machine has {there / 2**30:.1f}."
            f" The largest tensor is that of {largest.name!r}, {largest.dtype.name}"
            f"[{','.join(map(str, largest.shape or ()))}].",
        )


def compile_graph(
    fetches: Sequence[Tensor | Operation],
    feeds: Sequence[Tensor] = (),
    options: CompileOptions | None = None,
    handles: Mapping[Tensor, str] | None = None,
) -> Executable:
    """Compiles what computing `fetches` from `feeds` needs.

    Args:
      fetches: tensors and operations of one graph.
      feeds: tensors whose values will be given.
      options: see `CompileOptions`.
      handles: see `freeze`.

    Raises:
      ValueError: if the graph has a cycle.
      PassError: if a pass fails.
      InvalidArgumentError: if a loop surely reads or writes an element of a TensorArray twice.
    """
    name = fetches[0].name if fetches else ""
    program = freeze(fetches, feeds, handles)
    refuse_accesses_of_turns(program)
    return Executable(with_guards(program), options or CompileOptions(), name)
