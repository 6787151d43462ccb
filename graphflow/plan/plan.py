"""The plan for certain sizes: bound once, run many times."""

from __future__ import annotations

import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from graphflow.errors import OpError
from graphflow.loops.cost import Cost, Peak
from graphflow.meanwhile import NotYet
from graphflow.memory import align, aligned_empty
from graphflow.plan.arenas import Arena, Arenas
from graphflow.plan.arrangement import Arrangement
from graphflow.plan.placing import Placing
from graphflow.plan.runtime import Check, Entry, Runtime, SegmentCall
from graphflow.plan.steps import (
    Arg,
    Array,
    HostStep,
    Launch,
    Ref,
    Refusal,
    Segment,
    Slot,
    TraceEvent,
    loops_around,
    refs_of,
)
from graphflow.plan.table import RECORD_WORDS
from graphflow.plan.text import short, show_launch, show_mark
from graphflow.records import dataclass, field
from graphflow.regions import Mark, Region, Term, region_tree
from graphflow.symbolic import Evaluation, Sizes, Symbolic, is_symbolic
from graphflow.variable_store import VariableSpec, VariableStore

_ALIGNED_OUTPUT = 1 << 18  # bytes from which a fetched array starts on a cache line
_IDLE_WORKSPACES = 8


class Kept(NamedTuple):
    """Slots whose values are kept with the session's variables: `plan` makes them of the variables `keys`.

    `stored`: how a variable may be stored so that nothing is to be made of it.
    """

    plan: Plan
    slots: tuple[Slot, ...]
    keys: tuple[Hashable, ...]
    stored: VariableSpec | None

    def arrays(self, store: VariableStore) -> list[Array]:
        """The values; the store says so when they are no longer right."""
        buffer = None if self.stored is None else store.lies_so(self.stored)
        if buffer is not None:
            return [buffer]
        store.watch(self.keys)
        return store.kept(self.plan, self.keys)


@dataclass(eq=False, slots=True)
class Workspace:
    """What one run writes to: the table of bound addresses, values by slot, and the bound calls.

    arena: where its temporaries were last; it is borrowed for each run.
    """

    table: Array
    arena: Arena | None
    values: list[Any]
    enter: Entry
    only: SegmentCall | None
    segments: list[SegmentCall | None]
    calls: list[tuple[Callable[[], None] | None, HostStep | None]]
    binders: dict[int, Entry]
    status: Array
    owners: set[int] = field(default_factory=set)
    variables: list[Array] = field(default_factory=list)
    version: int = 0
    pending: list[Hashable] = field(default_factory=list)
    watched: list[VariableSpec] = field(default_factory=list)
    watch: Watch | None = None


class Watch:
    """What native loops ask while they turn: whether their run is to stop.

    It stops for its store's sake (the session is closed, the time is up), or for an interrupt of the program. Python
    hands that to the main thread when this next runs Python code, which is when the loop asks: nobody there could
    raise it. So it is held back, and handed on after the native call.

    Attributes:
      store: the variables of the run.
      error: what the store has raised.
    """

    __slots__ = ("_handler", "_held", "error", "records", "store")

    def __init__(self, records: Sequence[Launch | Mark]) -> None:
        self.records = records
        self.store: VariableStore | None = None
        self.error: Exception | None = None
        self._handler: Callable[[int, Any], Any] | None = None
        self._held: tuple[int, Any] | None = None

    def begin(self, store: VariableStore | None) -> None:
        """Before a run."""
        self.store = store
        self._handler = None
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                signal.signal(signal.SIGINT, self._hold)
                self._handler = handler

    def _hold(self, number: int, frame: Any) -> None:
        self._held = number, frame

    def end(self) -> None:
        """After the native calls of a run: raises what was found."""
        handler, self._handler = self._handler, None
        error, self.error = self.error, None
        held, self._held = self._held, None
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
            if held is not None:
                handler(*held)
        if error is not None:
            raise error

    def asks_from(self, first: int) -> Callable[[int], int]:
        """What a segment asks whose first record has this number."""

        def ask(number: int) -> int:
            try:
                if self.store is not None:
                    self.store.between_steps()
            except OpError as error:
                region = self.records[first + number].region  # type: ignore[union-attr]
                self.error = type(error)(None, None, f'{error.message} It was in the loop "{region.name}".')
                _mark(self.error, region)
            return int(self.error is not None or self._held is not None)

        return ask


def owner_of(array: Array) -> Array:
    """The array whose memory this is."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    return array


class Plan:
    """An immutable program over numbered slots; see `PlanBuilder`. Any number of threads may run it at
    once."""

    def __init__(self, template: PlanTemplate, at: Evaluation) -> None:
        build = template.build
        builder = build.builder
        self.name = builder.name
        self._template = template
        self._at = at
        self._present: dict[int, Slot] = {}  # slots with the sizes that are theirs in this plan
        steps, shared = template.segments(at)
        self.steps = tuple(steps)
        laid = template.laid_out(at, shared)
        self.layout = laid.layout
        self.constants = dict(build.constants)
        for index, derived in builder.derived.items():
            array = aligned_empty(derived.shape, derived.hint.dtype)
            array[...] = derived.make(at)
            array.flags.writeable = False
            self.constants[index] = array
        table = template.table
        words = self._words = table.at(at, self.layout, self.constants)
        records = words[: RECORD_WORDS * len(shared)].reshape(-1, RECORD_WORDS)
        records[:, 2] = shared & ~template.marks
        records[laid.waits & ~template.looked_at, 3] = 1
        self._patches = table.patches_at(at)
        self.feeds = tuple(map(self._slot, builder.feeds))
        self.outputs = tuple(build.outputs)
        specs, slots = template.variables, template.variable_slots
        if template.open_variables:
            specs = tuple([replace(spec, shape=at.shape(spec.shape)) for spec in specs])
            slots = tuple(map(self._slot, slots))
        self.variables, self._variable_slots = specs, slots
        self.kept = template.kept
        self.done = template.done
        self._written = tuple([spec for spec in specs if spec.writes and spec.key not in template.direct])
        self._commits = tuple((key, slot.index) for key, slot in build.commits)
        self._runtime = cast(
            Runtime, builder.runtime
        )  # asked for more than a machine where it is run on the host
        self._refusals = tuple(
            (
                replace(refusal, blame=refusal.blame(at)) if refusal.with_sizes else refusal,
                template.words[refusal.status.index],
            )
            for refusal in builder.refusals
        )
        self._unset = bytes(8 * template.word_count)  # what the words of the checks are when all is well
        output_slots = [self._slot(slot) for slot in build.output_slots]
        self._output_specs = tuple((slot.shape or (), slot.dtype) for slot in output_slots)
        least = 0 if builder.aligned else _ALIGNED_OUTPUT
        self._makers = tuple(
            (np.empty if slot.nbytes < least else aligned_empty, slot.shape or (), slot.dtype)
            for slot in output_slots
        )
        self._native = len(steps) <= 1 and not any(isinstance(step, HostStep) for step in steps)
        self._plain = (
            self._native and all(output.kind == "array" for output in self.outputs) and not self._commits
        )
        self._host_values(build)
        # Values without an element lie there too.
        self._borrows = bool(self.layout.peak or self._arena_values)
        self._stateful = bool(self.variables or self._commits or self.kept) or any(
            isinstance(step, HostStep) and step.with_store for step in steps
        )
        # Of several steps that use the session one may have to wait for what a later one does.
        several = [step for step in steps if isinstance(step, HostStep) and step.with_store]
        self._may_wait = len(several) > 1
        self._host_slots = {
            step: (
                tuple(slot.index for slot in step.inputs),
                tuple((slot.index, self._slot(slot), slot.index not in self._views) for slot in step.outputs),
            )
            for step in steps
            if isinstance(step, HostStep)
        }
        # One output is so common that it is worth a path without a loop.
        self._make_one: Callable[[], Array] | None = None
        if len(self._makers) == 1:
            make, shape, dtype = self._makers[0]
            self._make_one = functools.partial(make, shape, dtype)
        self.arenas = Arenas()
        self._pool: list[Workspace] = []
        self._direct_workspace: Workspace | None = None
        small = self._make_one is not None and self._makers[0][0] is np.empty
        held = not any(isinstance(step, Segment) and (step.release or step.team) for step in steps)
        self._short = small and held and self._plain and not (self._stateful or self._unset)

    def _slot(self, slot: Slot) -> Slot:
        """A slot as it is in this plan."""
        parent = slot.parent
        present = self._present.get(slot.index)
        if present is None:
            root = None if parent is None else self._slot(parent)
            present = slot
            numbers = (slot.offset, *(slot.shape or ()), *(n for term in slot.terms for n in term[1:]))
            if root is not parent or Symbolic in map(type, numbers):
                at = self._at
                terms = tuple([Term(term.loop, *map(at, term[1:])) for term in slot.terms])
                present = replace(
                    slot, shape=at.shape(slot.shape), parent=root, offset=at(slot.offset), terms=terms
                )
            self._present[slot.index] = present
        return present

    @functools.cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The slots, by number."""
        return tuple(map(self._slot, self._template.slots))

    @functools.cached_property
    def records(self) -> tuple[Launch | Mark, ...]:
        """The launches, and the marks of regions, in order."""
        return tuple([self._launch(r) if isinstance(r, Launch) else r for r in self._template.records])

    @functools.cached_property
    def launches(self) -> tuple[Launch, ...]:
        """The launches in order."""
        return tuple([record for record in self.records if isinstance(record, Launch)])

    @functools.cached_property
    def _launch_numbers(self) -> dict[int, int]:
        """Of each record that is a launch, which one."""
        launches = (number for number, one in enumerate(self._template.records) if isinstance(one, Launch))
        return {number: at for at, number in enumerate(launches)}

    @functools.cached_property
    def _turns(self) -> tuple[int, ...]:
        """How often each launch is done, as far as that is known."""
        inner, _ = region_tree(self._template.records)
        return tuple(
            [
                math.prod(
                    1 if loop.most is None else self._at(loop.most) for loop in loops_around(inner[number])
                )
                for number in self._launch_numbers
            ]
        )

    def _launch(self, launch: Launch) -> Launch:
        at = self._at

        def present(arg: Arg) -> Arg:
            if isinstance(arg, Ref):
                return replace(arg, slot=self._slot(arg.slot), offset=at(arg.offset))
            return at(arg) if type(arg) is Symbolic else arg

        args = tuple(map(present, launch.args))
        inplace = tuple((self._slot(new), self._slot(old)) for new, old in launch.inplace)
        return replace(launch, args=args, bytes=at(launch.bytes), flops=at(launch.flops), inplace=inplace)

    def _host_values(self, build: Placing) -> None:
        """What must be in `values` for host steps, fetches and commits: by where its memory is."""
        wanted: dict[int, Slot] = {}
        for step in self.steps:
            if isinstance(step, HostStep):
                wanted.update((slot.index, slot) for slot in step.inputs)
        for _, index in self._commits:
            wanted[index] = build.slots[index]
        for refusal, _ in self._refusals:
            wanted.update((slot.index, slot) for slot in refusal.inputs)
        for output in self.outputs:
            if output.kind == "value":
                wanted[output.number] = build.slots[output.number]
        self._arena_values: list[tuple[Slot, int]] = []
        self._output_values: list[tuple[Slot, int]] = []
        self._views: dict[int, list[Slot]] = {}
        for slot in wanted.values():
            home = build.home(slot)
            present = self._slot(slot)
            if home.place == "arena":
                self._arena_values.append((present, self.layout.offsets[home.number]))
            elif home.place == "output":
                self._output_values.append((present, home.number))
            elif slot.index != home.number:
                self._views.setdefault(home.number, []).append(present)
        self._fed_values = tuple(
            (position, slot)
            for position, slot in enumerate(self.feeds)
            if slot.index in wanted or slot.index in self._views
        )
        transient = [slot.index for _, slot in self._fed_values]
        transient += [slot.index for slot, _ in self._output_values]
        for slot in build.slots:
            if slot.kind == "dynamic" or (slot.kind == "feed" and slot.parent is not None):
                transient.append(slot.index)
        self._transient = tuple(transient)

    def direct(self, keys: Sequence[object] | None = None) -> Callable[..., Any] | None:
        """The shortest way to run a small plan without state that has one output; None for other plans.

        It is a function of the feeds that returns what `run` has in its list, as a scalar where it has rank 0; or
        NotImplemented where a feed is not a row-major array of the planned shape and dtype. With `keys`, it is a
        function of a dict that has exactly these objects as keys, in this order.
        """
        if not self._short:
            return None
        # Nobody can come in between, so that one workspace does for all.
        if self._direct_workspace is None:
            self._direct_workspace = self._workspace()
            if self.layout.peak:
                self._lay(self._direct_workspace, Arena.of(self.layout.peak))
        workspace = self._direct_workspace
        shape, dtype = self._output_specs[0]
        output = Check(shape, dtype, True, self._patches.get(("output", 0), _NO_PATCHES))
        feeds = [self._check(slot, "slot", slot.index, False) for slot in self.feeds]
        return self._runtime.direct(workspace.table, feeds, output, workspace.only, keys)

    # running

    def run(self, feeds: Sequence[Array] = (), store: VariableStore | None = None) -> list[Array]:
        """Runs once: feeds in the order of `feeds`, the session's variables; returns the fetched arrays.

        Feeds must have the planned shape and dtype (ValueError, TypeError); what is not row-major is copied.
        """
        if type(feeds) is not tuple:
            feeds = tuple(feeds)
        try:
            workspace = self._pool.pop()
        except IndexError:
            workspace = self._workspace()
        if self._borrows:
            arena = self.arenas.borrow(self.layout.peak, workspace.arena)
            if arena is not workspace.arena:
                self._lay(workspace, arena)
        try:
            make_one = self._make_one
            outputs: list[Array] = (
                [make_one()]
                if make_one is not None
                else [make(shape, dtype) for make, shape, dtype in self._makers]
            )
            if self._stateful:
                if store is None:
                    raise ValueError(f"plan {self.name!r} needs a variable store")
                if workspace.version != store.version:
                    self._bind(workspace, store)
            watch = workspace.watch
            if watch is not None:
                watch.begin(store)
            try:
                if workspace.enter(feeds, outputs) is not None:
                    feeds = self._conform(feeds)
                    if workspace.enter(feeds, outputs) is not None:
                        raise RuntimeError(f"plan {self.name!r} does not take these feeds")
            finally:
                if watch is not None:
                    self._watched(workspace, watch)
            if self._plain:
                if self._unset and workspace.status.tobytes() != self._unset:
                    self._set_values(workspace, feeds, outputs)
                    self._refuse(workspace)
                if workspace.pending and store is not None:
                    self._initialized(workspace, store)
                return outputs
            return self._walk(workspace, feeds, outputs, store, None)
        finally:
            if workspace.watched and store is not None:
                workspace.version = store.touch(workspace.watched, workspace.version)
            if workspace.arena is not None:
                self.arenas.give_back(workspace.arena)
            if len(self._pool) < _IDLE_WORKSPACES:
                self._pool.append(workspace)

    def run_on_device(self, feeds: Sequence[Any] = (), store: VariableStore | None = None) -> list[Any]:
        """Runs once; the results stay on the device that the plan runs on, which here is the host."""
        return self.run(feeds, store)

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore | None = None) -> list[Array]:
        """Runs so many times; feeds have one value more in front for each run, and so have the results."""
        rows = [self.run(tuple([feed[turn] for feed in feeds]), store) for turn in range(count)]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def run_traced(
        self, feeds: Sequence[Array] = (), store: VariableStore | None = None
    ) -> tuple[list[Array], list[TraceEvent]]:
        """Runs once with clocks: the fetched arrays, and one event per launch, thread and host step."""
        workspace = self._workspace(traced=True)
        if self._borrows:
            self._lay(workspace, self.arenas.borrow(self.layout.peak, None))
        events: list[TraceEvent] = []
        feeds = self._conform(tuple(feeds))
        outputs: list[Array] = [make(shape, dtype) for make, shape, dtype in self._makers]
        if self._stateful:
            if store is None:
                raise ValueError(f"plan {self.name!r} needs a variable store")
            self._bind(workspace, store)
        if workspace.enter(feeds, outputs) is not None:
            raise RuntimeError(f"plan {self.name!r} does not take these feeds")
        try:
            return self._walk(workspace, feeds, outputs, store, events), events
        finally:
            if workspace.watched and store is not None:
                store.touch(workspace.watched, workspace.version)
            if workspace.arena is not None:
                self.arenas.give_back(workspace.arena)

    def _walk(
        self,
        workspace: Workspace,
        feeds: tuple[Array, ...],
        outputs: list[Array],
        store: VariableStore | None,
        events: list[TraceEvent] | None,
    ) -> list[Array]:
        values = workspace.values
        unset = self._unset
        watch = workspace.watch
        try:
            self._set_values(workspace, feeds, outputs)
            if events is None:
                if not self._native:
                    done = [False] * len(self.steps)
                    for number, (call, host) in enumerate(workspace.calls):
                        if done[number]:
                            continue
                        if call is not None:
                            if watch is None:
                                call()
                            else:
                                watch.begin(store)
                                try:
                                    call()
                                finally:
                                    self._watched(workspace, watch)
                            if unset and workspace.status.tobytes() != unset:
                                self._refuse(workspace)
                        elif host is not None:
                            if store is not None and self._may_wait and host.with_store:
                                self._host_that_may_wait(workspace, number, store, done)
                            else:
                                self._host(workspace, host, store)
                elif unset and workspace.status.tobytes() != unset:
                    self._refuse(workspace)
            else:
                self._traced(workspace, store, events)
            fetched = self._fetch(workspace, feeds, outputs)
            if store is not None:
                for key, index in self._commits:
                    store.set(key, values[index])
                if workspace.pending:
                    self._initialized(workspace, store)
            return fetched
        finally:
            self._forget(workspace)

    def _watched(self, workspace: Workspace, watch: Watch) -> None:
        """After a native call with loops: raises if it was left before its end."""
        try:
            watch.end()
        except BaseException:
            workspace.status[:] = 0  # whatever checks have found in the meantime
            raise

    def _set_values(self, workspace: Workspace, feeds: tuple[Array, ...], outputs: list[Array]) -> None:
        """Puts the feeds and the arrays to hand out where host steps and checks find them."""
        values = workspace.values
        for position, slot in self._fed_values:
            values[slot.index] = feeds[position]
            if slot.index in self._views:
                self._set_views(values, slot.index, feeds[position])
        for slot, number in self._output_values:
            values[slot.index] = view_of(outputs[number], slot)

    def _refuse(self, workspace: Workspace) -> None:
        """Raises what the checks that found something raise."""
        found = workspace.status.copy()
        workspace.status[:] = 0
        try:
            for refusal, word in self._refusals:
                if found[word]:
                    try:
                        refusal.blame(*(workspace.values[slot.index] for slot in refusal.inputs))
                    except BaseException as error:
                        _mark(error, refusal)
                        raise
        finally:
            self._forget(workspace)
        raise RuntimeError(f"plan {self.name!r}: a check failed, and nothing is wrong with its operands")

    def _host(
        self, workspace: Workspace, step: HostStep, store: VariableStore | None, frees: bool = True
    ) -> None:
        if store is not None:
            store.between_steps()
        values = workspace.values
        binders = workspace.binders
        sources, targets = self._host_slots[step]
        inputs = [values[index] for index in sources]
        try:
            result = step.function(store, *inputs) if step.with_store else step.function(*inputs)
        except BaseException as error:
            if store is None or store.meanwhile.failed is not error:
                _mark(error, step)
            raise
        if step.with_store and store is not None and workspace.version != store.version:
            # The step has waited for another run, which has given variables new places.
            self._bind(workspace, store)
        results = (result,) if len(targets) == 1 else tuple(result or ())
        if len(results) != len(targets):
            raise ValueError(f'host step "{step.name}" returned {len(results)} values, not {len(targets)}')
        for (index, slot, plain), value in zip(targets, results, strict=True):
            # The common case first: a fresh array of the planned kind.
            if (
                plain
                and type(value) is np.ndarray
                and value.dtype is slot.dtype
                and value.base is None
                and (value.shape == slot.shape or slot.shape is None)
                and id(value) not in map(id, inputs)
            ):
                binder = binders.get(index)
                if binder is None or binder((value,), []) is None:
                    values[index] = value
                    continue
            array = self._settle(workspace, step, slot, value, inputs)
            values[index] = array
            if index in self._views:
                self._set_views(values, index, array)
        for index in step.frees if frees else ():
            values[index] = None

    def _host_that_may_wait(
        self, workspace: Workspace, number: int, store: VariableStore, done: list[bool]
    ) -> None:
        """Runs a host step; while it waits, later ones that need nothing of it are run, which are then `done`."""
        step, meanwhile = self.steps[number], store.meanwhile
        assert isinstance(step, HostStep)
        before = meanwhile.others, meanwhile.hurry
        meanwhile.hurry = False
        meanwhile.others = functools.partial(self._another, workspace, number, store, done)
        try:
            self._host(workspace, step, store)
        finally:
            meanwhile.others, meanwhile.hurry = before
            meanwhile.failed = None

    def _another(self, workspace: Workspace, waiting: int, store: VariableStore, done: list[bool]) -> bool:
        """Runs a host step that stands behind one that waits; whether there was one that did not have to wait, too."""
        meanwhile = store.meanwhile
        for number in self._apart_from(waiting, done):
            step = self.steps[number]
            assert isinstance(step, HostStep)
            before = meanwhile.others, meanwhile.hurry
            meanwhile.others, meanwhile.hurry = None, True
            try:
                self._host(workspace, step, store, frees=False)
            except NotYet:
                continue
            except BaseException as error:
                meanwhile.failed = error
                raise
            finally:
                meanwhile.others, meanwhile.hurry = before
            done[number] = True
            return True
        return False

    def _apart_from(self, waiting: int, done: Sequence[bool]) -> Iterator[int]:
        """The host steps behind one that need neither it nor anything else that has not been done before them."""
        missing: set[int] = set()  # slots
        late: set[Any] = set()  # what the steps were made of that are still to come
        segments = False
        hosts = {step.origin for step in self.steps if isinstance(step, HostStep)}
        for number in range(waiting, len(self.steps)):
            step = self.steps[number]
            if done[number]:
                continue
            if isinstance(step, Segment):
                segments = True
                for record in self.records[step.first : step.first + step.count]:
                    written = [ref for ref in refs_of(record) if ref.access != "r"]
                    missing.update(ref.slot.root.index for ref in written)
                continue
            before = getattr(step.origin, "controls", ())
            # What was computed natively on the way may be part of any launch.
            waits = any(node in late or (segments and node not in hosts) for node in before)
            if number == waiting or waits or any(slot.root.index in missing for slot in step.inputs):
                missing.update(slot.root.index for slot in step.outputs)
                late.add(step.origin)
            else:
                yield number

    def _settle(
        self, workspace: Workspace, step: HostStep, slot: Slot, value: Any, inputs: list[Any]
    ) -> Array:
        """A host step's result as an array of the planned kind that nobody will overwrite."""
        array: Array = (
            value if type(value) is np.ndarray else np.asarray(value, _loose_dtype(value, slot.dtype))
        )
        if array.dtype != slot.dtype:
            raise _mark(
                TypeError(f'host step "{step.name}" returned {array.dtype}, expected {slot.dtype}'), step
            )
        if slot.shape is not None and array.shape != slot.shape:
            raise _mark(
                ValueError(
                    f'host step "{step.name}" returned shape {list(array.shape)}, expected {list(slot.shape)}'
                ),
                step,
            )
        owner = owner_of(array)
        if owner is not array or any(array is other for other in inputs):
            # The arena and the variables are written again, and foreign memory is not ours to trust.
            if id(owner) in workspace.owners or owner.base is not None:
                array = np.array(array)
        binder = workspace.binders.get(slot.index)
        if binder is not None:
            if binder((array,), []) is not None:
                array = row_major(array, slot)
                if binder((array,), []) is not None:
                    raise RuntimeError(f'host step "{step.name}": {slot} cannot be bound')
        elif slot.index in self._views:
            array = np.ascontiguousarray(array).reshape(array.shape)
        return array

    def _fetch(self, workspace: Workspace, feeds: tuple[Array, ...], outputs: list[Array]) -> list[Array]:
        if self._plain:
            return outputs
        fetched: list[Array] = []
        mine = {id(array) for array in outputs}
        mine.update(id(array) for array in feeds)
        mine.update(id(array) for array in self.constants.values())
        for output in self.outputs:
            if output.kind == "array":
                fetched.append(outputs[output.number])
                continue
            array = fetched[output.number] if output.kind == "again" else workspace.values[output.number]
            if output.kind == "again" or array.base is not None or id(array) in mine:
                array = np.array(array)
            mine.add(id(array))
            fetched.append(array)
        return fetched

    def _traced(self, workspace: Workspace, store: VariableStore | None, events: list[TraceEvent]) -> None:
        began = time.perf_counter_ns()
        for segment, step in zip(workspace.segments, self.steps, strict=True):
            if segment is not None and isinstance(step, Segment):
                times = segment.trace()
                if self._unset and workspace.status.tobytes() != self._unset:
                    self._refuse(workspace)
                for thread in range(times.shape[0]):
                    for number in range(step.count):
                        start, _, busy, turns = times[thread, number].tolist()
                        record = self.records[step.first + number]
                        if turns and isinstance(record, Launch):
                            at = self._launch_numbers[step.first + number]
                            cost = record.cost.times(turns)
                            events.append(
                                TraceEvent(
                                    record.name, (start - began) / 1e3, busy / 1e3, thread, cost.bytes, record.origin,
                                    at, cost, turns,
                                )
                            )  # fmt: skip
            elif isinstance(step, HostStep):
                start = time.perf_counter_ns()
                self._host(workspace, step, store)
                stop = time.perf_counter_ns()
                size = sum(
                    value.nbytes
                    for slot in step.outputs
                    if (value := workspace.values[slot.index]) is not None
                )
                events.append(
                    TraceEvent(
                        step.name,
                        (start - began) / 1e3,
                        (stop - start) / 1e3,
                        0,
                        size,
                        step.origin,
                        cost=Cost(0.0, 0, size),
                    )  # fmt: skip
                )
        events.sort(key=lambda event: event.start_us)

    def _forget(self, workspace: Workspace) -> None:
        """Lets go of what belongs to one run."""
        values = workspace.values
        for index in self._transient:
            values[index] = None

    def _initialized(self, workspace: Workspace, store: VariableStore) -> None:
        store.mark_initialized(workspace.pending)
        workspace.pending = []

    def _set_views(self, values: list[Any], root: int, array: Array) -> None:
        for slot in self._views[root]:
            values[slot.index] = view_of(array, slot)

    def _conform(self, feeds: tuple[Any, ...]) -> tuple[Array, ...]:
        """Feeds as row-major arrays of the planned shape and dtype, copied where needed."""
        if len(feeds) != len(self.feeds):
            raise ValueError(f"plan {self.name!r} takes {len(self.feeds)} feeds, not {len(feeds)}")
        conformed = []
        for slot, value in zip(self.feeds, feeds, strict=True):
            array = np.asarray(value)
            if array.dtype != slot.dtype:
                raise TypeError(f'feed "{slot.name}" is {array.dtype}, expected {slot.dtype}')
            if array.shape != slot.shape:
                raise ValueError(
                    f'feed "{slot.name}" has shape {list(array.shape)}, expected {list(slot.shape or ())}'
                )
            conformed.append(row_major(array, slot))
        return tuple(conformed)

    # binding

    def _workspace(self, traced: bool = False) -> Workspace:
        runtime = self._runtime
        runtime.watch(self)
        size = len(self._words)
        table = aligned_empty(max(1, size), np.int64)
        table[:size] = self._words
        table[self._template.table.relative_words] += table.__array_interface__["data"][0]
        segments: list[SegmentCall | None] = []
        calls: list[tuple[Callable[[], None] | None, HostStep | None]] = []
        watch: Watch | None = None
        for step in self.steps:
            if isinstance(step, Segment):
                ask = None
                if step.loops and step.release:
                    watch = Watch(self.records) if watch is None else watch
                    ask = watch.asks_from(step.first)
                bound = runtime.segment(table, step.first * RECORD_WORDS, step.count, step, ask)
                segments.append(bound)
                calls.append((bound.call, None))
            else:
                segments.append(None)
                calls.append((None, step))
        only = segments[0] if self._native and segments and not traced else None
        feeds = [self._check(slot, "slot", slot.index, False) for slot in self.feeds]
        outputs = [
            Check(shape, dtype, True, self._patches.get(("output", number), _NO_PATCHES))
            for number, (shape, dtype) in enumerate(self._output_specs)
        ]
        binders = {
            slot.index: runtime.entry(
                table, [self._check(self._slot(slot), "slot", slot.index, False)], [], None
            )
            for slot in self._template.slots
            if slot.kind == "dynamic" and slot.parent is None and ("slot", slot.index) in self._patches
        }
        values: list[Any] = [None] * len(self._template.slots)
        for index, array in self.constants.items():
            values[index] = array
            if index in self._views:
                self._set_views(values, index, array)
        entry = runtime.entry(table, feeds, outputs, only)
        status = table[size - len(self._unset) // 8 : size]
        workspace = Workspace(table, None, values, entry, only, segments, calls, binders, status)
        workspace.watch = watch
        return workspace

    def _lay(self, workspace: Workspace, arena: Arena) -> None:
        """Puts the addresses of temporaries into the table, and what host steps read of them into the values."""
        before = workspace.arena
        workspace.arena = arena
        workspace.table[self._template.table.arena_words] += arena.address - (before.address if before else 0)
        for slot, offset in self._arena_values:
            workspace.values[slot.index] = view_of(arena.memory[offset:], slot)
        if before is not None:
            workspace.owners.discard(id(owner_of(before.memory)))
        workspace.owners.add(id(owner_of(arena.memory)))

    def _check(self, slot: Slot, place: str, number: int, writable: bool) -> Check:
        return Check(slot.shape or (), slot.dtype, writable, self._patches.get((place, number), _NO_PATCHES))

    def _bind(self, workspace: Workspace, store: VariableStore) -> None:
        """Puts the addresses of variables, and of what is kept of them, into the table; keeps the buffers alive."""
        for kept in self.kept:
            if kept.stored is None or store.lies_so(kept.stored) is None:
                store.watch(kept.keys)
        version = store.version
        slots = self._bound_slots
        buffers = [store.bind(spec) for spec in self.variables]
        for kept in self.kept:
            buffers += kept.arrays(store)
        addresses = np.array([buffer.__array_interface__["data"][0] for buffer in buffers], np.int64)
        words, skips, which = self._bound_words
        workspace.table[words] = skips + addresses[which]
        for slot, buffer in zip(slots, buffers, strict=True):
            workspace.values[slot.index] = buffer
            if slot.index in self._views:
                self._set_views(workspace.values, slot.index, buffer)
        workspace.variables = buffers
        workspace.owners = {id(owner_of(buffer)) for buffer in buffers}
        if workspace.arena is not None:
            workspace.owners.add(id(owner_of(workspace.arena.memory)))
        workspace.watched = store.watched(self._written)
        workspace.pending = [spec.key for spec in self._written if not store.is_initialized(spec.key)]
        workspace.version = version

    @functools.cached_property
    def _bound_slots(self) -> list[Slot]:
        """The slots of variables, and of what is kept of them."""
        return [*self._variable_slots, *(slot for kept in self.kept for slot in kept.slots)]

    @functools.cached_property
    def _bound_words(self) -> tuple[Array, Array, Array]:
        """The words of the table that take their addresses, what is added to these, and which slot's it is."""
        rows = [self._patches.get(("slot", slot.index), _NO_PATCHES) for slot in self._bound_slots]
        every = np.concatenate([_NO_PATCHES, *rows])
        return every[:, 0], every[:, 1], np.repeat(np.arange(len(rows)), [len(one) for one in rows])

    def drop_workspaces(self) -> None:
        """Forgets idle workspaces: gives their memory back, and makes new ones bind anew."""
        self._pool.clear()

    # looking

    @property
    def arena_bytes(self) -> int:
        """Bytes of temporaries of one run, known before the first."""
        return self.layout.peak

    @property
    def peak_bytes(self) -> int:
        """Bytes one run adds to what its feeds and variables take: arena, fetched arrays, constants, what is kept
        of variables, table."""
        outputs = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._output_specs)
        constants = sum(array.nbytes for array in self.constants.values())
        kept = sum(slot.nbytes for kept in self.kept for slot in kept.slots)
        return align(self.layout.peak) + outputs + constants + kept + self._words.nbytes

    @property
    def needed_bytes(self) -> int:
        """Bytes that are there at once in a run, variables among them.

        What host steps make comes and goes: the largest of it is there at some time.
        """
        variables = sum(slot.nbytes for slot in self._variable_slots)
        dynamic = (
            self._slot(slot).nbytes
            for slot in self._template.slots
            if slot.kind == "dynamic" and slot.parent is None
        )
        return self.peak_bytes + variables + max(dynamic, default=0)

    @functools.cached_property
    def costs(self) -> tuple[Cost, ...]:
        """What each launch costs, known before the first run; host steps are not in it.

        One in a loop counts as often as the loop turns if that is known, else once.
        """
        return tuple(
            launch.cost.times(turns) for launch, turns in zip(self.launches, self._turns, strict=True)
        )

    @property
    def cost(self) -> Cost:
        """What all launches of one run cost together."""
        return sum(self.costs, Cost())

    @property
    def machine(self) -> Peak:
        """The best the machine does with the plan's threads; measured at the first call in a process."""
        return self._runtime.peak()

    def summary(self) -> str:
        """The plan as text: totals and predicted cost, then one line per step.

        Of a launch: `*` if threads share it, slots read and written, floating-point operations, bytes in and out.
        """
        cost = self.cost
        hosts = sum(isinstance(step, HostStep) for step in self.steps)
        lines = [
            f"plan {self.name or '(unnamed)'}: {len(self.launches)} launches in "
            f"{len(self.steps) - hosts} segments, {hosts} host steps",
            f"predicted {short(cost.flops)}FLOP, {short(cost.read)}B read, {short(cost.written)}B written"
            + (" (host steps not counted)" if hosts else ""),
            f"peak {short(self.peak_bytes)}B: arena {short(self.layout.peak)}B (at least "
            f"{short(self.layout.lower_bound)}B), the rest fetches and constants",
        ]
        lines += [f"feed {slot}" for slot in self.feeds]
        lines += [
            f"variable {slot}{' read' if spec.reads else ''}{' written' if spec.writes else ''}"
            + (f" in {spec.storage}" if spec.storage else "")
            for spec, slot in zip(self.variables, self._variable_slots, strict=True)
        ]
        for plan, slots in self.done:
            lines.append(f"done beforehand -> {', '.join(map(repr, slots))}")
            lines += [f"  {show_launch(*pair)}" for pair in zip(plan.launches, plan.costs, strict=True)]
        for kept in self.kept:
            lines.append(
                f"kept until {' or '.join(map(str, kept.keys))} is written -> {', '.join(map(repr, kept.slots))}"
            )
            pairs = zip(kept.plan.launches, kept.plan.costs, strict=True)
            lines += [f"  {show_launch(*pair)}" for pair in pairs]
        for step in self.steps:
            if isinstance(step, HostStep):
                args = ", ".join(f"%{slot.index}" for slot in step.inputs)
                made = ", ".join(repr(self._slot(slot)) for slot in step.outputs)
                lines.append(f"host {step.name}({args}) -> {made}")
                if step.why:
                    lines.append(f"  because {step.why}")
                continue
            lines.append(f"segment{' team' if step.team else ''}{' nogil' if step.release else ''}")
            depth = 0
            for number in range(step.first, step.first + step.count):
                record = self.records[number]
                shared, barrier = self._words[RECORD_WORDS * number + 2 : RECORD_WORDS * number + 4].tolist()
                if isinstance(record, Mark):
                    depth -= record.kind in ("last", "left", "case", "otherwise", "join") and depth > 0
                    shown = show_mark(record)
                    if shown:
                        lines.append(f"{'  ' * depth}    {shown}")
                    depth += record.kind in ("enter", "last", "case", "otherwise")
                else:
                    cost = self.costs[self._launch_numbers[number]]
                    lines.append(f"{'  ' * depth}  {'*' if shared else ' '} {show_launch(record, cost)}")
                if barrier:
                    end = "" if barrier == 1 else " ends if a check failed"
                    lines.append(f"{'  ' * depth}    ----{end}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Plan {self.name!r}: {len(self.launches)} launches, {len(self.steps)} steps>"


_NO_PATCHES = np.empty((0, 2), np.int64)


def view_of(array: Array, slot: Slot) -> Array:
    """The part of row-major memory that a slot names."""
    shape = slot.shape or ()
    if slot.dtype.hasobject:
        return array.reshape(shape)
    return np.ndarray(shape, slot.dtype, array, slot.offset) if array.size else np.empty(shape, slot.dtype)


def row_major(array: Array, slot: Slot) -> Array:
    """The same values as plain memory that a kernel can read."""
    flags = array.flags
    if type(array) is np.ndarray and flags.c_contiguous and flags.aligned and array.dtype is slot.dtype:
        return array
    if flags.c_contiguous and flags.aligned and array.dtype.isnative and not slot.dtype.hasobject:
        return np.ndarray(array.shape, slot.dtype, array)  # an equal dtype that is another object
    fresh = np.empty(array.shape, slot.dtype)
    fresh[...] = array
    return fresh


def _loose_dtype(value: Any, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Python numbers take the planned dtype; NumPy scalars and subclasses keep theirs."""
    return None if isinstance(value, (np.generic, np.ndarray)) else dtype


def _mark(error: BaseException, step: HostStep | Refusal | Region) -> BaseException:
    """Leaves a note on an error which step it came from: attribute `plan_step`."""
    try:
        error.plan_step = step  # type: ignore[attr-defined]
    except AttributeError:
        pass
    return error


_FIXED = Sizes().evaluation(())


class PlanTemplate(Arrangement):
    """What the plans of one program for different sizes have in common; `plan` evaluates what is left.

    kept, done: the plans that were taken out, and what they make. unused: variables that only those read. direct:
    variables that the store takes as host values after the run. variables: what its plans want of the others, and
    variable_slots, where; of open sizes if open_variables.
    """

    def __init__(
        self,
        build: Placing,
        kept: Sequence[Kept] = (),
        done: Sequence[tuple[Plan, tuple[Slot, ...]]] = (),
        unused: Iterable[Hashable] = (),
    ) -> None:
        super().__init__(build)
        self.kept = tuple(kept)
        self.done = tuple(done)
        self.unused = frozenset(unused)
        builder = build.builder
        written = set(builder.assigns)
        self.direct = {key for key, _ in build.commits}
        self.variables = tuple(
            VariableSpec(
                key=key,
                shape=builder.logical[key][0],
                dtype=slot.dtype,
                reads=builder.variable_reads[key],
                writes=slot.index in written,
                storage=builder.logical[key][1],
            )
            for key, slot in builder.variables.items()
            if (builder.variable_reads[key] or key not in self.direct) and key not in self.unused
        )
        self.variable_slots = tuple(builder.variables[spec.key] for spec in self.variables)
        shapes = [spec.shape or () for spec in self.variables] + [
            slot.shape or () for slot in self.variable_slots
        ]
        self.open_variables = any(is_symbolic(size) for shape in shapes for size in shape)

    def plan(self, at: Evaluation | None = None) -> Plan:
        """Returns the plan for the sizes of an evaluation; without one there is no symbolic number."""
        return Plan(self, _FIXED if at is None else at)
