"""A device's plan in the memory of a session: how it runs.

The first run of a piece goes step by step, the second is captured, later ones replay. Where a step needs the host (a
Python function; a loop whose end only the device knows or a check before a variable is written, where graphs can
hold no conditional nodes), a piece ends.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphflow import config, errors
from graphflow.backends.device_arrays import DeviceArray, device_array
from graphflow.backends.gpu.device import (
    Device,
    Event,
    Graph,
    JoinedFunction,
    Slab,
    Table,
    aligned,
    exhausted,
)
from graphflow.backends.gpu.dnn import ALIGNMENT
from graphflow.backends.gpu.putting import Putter, Steering, Turns, fits
from graphflow.backends.gpu.residents import Residents
from graphflow.backends.gpu.steps import (
    Access,
    Attention,
    Cond,
    Convolution,
    Copy,
    Gemm,
    HostCall,
    Joined,
    Judge,
    Kernel,
    Leave,
    Loop,
    Place,
    Step,
    Use,
    places_of,
    walk,
)
from graphflow.loops.cost import Cost
from graphflow.memory import aligned_empty
from graphflow.plan import HostStep, Slot, TraceEvent
from graphflow.plan.plan import row_major, view_of
from graphflow.records import dataclass, field
from graphflow.regions import Region, Term
from graphflow.variable_store import VariableStore

__all__ = ["Bound", "Mark", "alone", "pieces_of", "take"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Mark: TypeAlias = "tuple[Step, Any, Any]"

_MOST_AHEAD = 3  # runs that nobody has waited for
_RING = 2  # slabs that feeds are sent from, in turn
_STAGED = 64 << 20  # bytes of feeds and results up to which runs go to the device together
_HEAD = aligned(8)  # what lies before feeds of several runs: how many these are
_NOTHING = aligned_empty(0)
_WORD = np.dtype(np.int64)
# While a graph is captured nothing else may happen on any device: other threads' captures, modules that go.
_capturing = threading.Lock()


@dataclass(eq=False, slots=True)
class Piece:
    """Steps in a row that a graph can hold, or one that needs the host.

    Attributes:
      steps: the steps.
      steering: what their loops and choices need in a graph; None for what no graph can hold.
      judges: whether a graph of them may end before its last step, as checks decide.
      runs: how often it has been done.
      graph: what was captured.
      table: memory for `steering`.
      variants: kernels loaded for it.
    """

    steps: tuple[Step, ...]
    steering: Steering | None = None
    judges: bool = False
    runs: int = 0
    graph: Graph | None = None
    table: int = 0
    variants: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Together:
    """Several runs as one graph: a loop around the plan's steps.

    Attributes:
      loop: the loop; it takes feeds from `slab`, and puts results there.
      room: the most runs.
      slab: their number, their feeds, their results.
      piece: what is captured.
      outbound, inbound: memory of the host that these are sent from and come to, in turn.
      events: behind what was done last with each.
    """

    loop: Loop
    room: int
    slab: Slab
    piece: Piece
    outbound: list[Array]
    inbound: list[Array]
    events: list[Event | None]


class Bound:
    """A plan in the memory of a session.

    Args:
      plan: the plan, a `DevicePlan`.
      residents: the session's memory on the device.
      number: which of the runs under way it is for.
      aside: lets others have the device meanwhile; None: `Residents.aside`.

    Raises:
      ResourceExhaustedError: if there is no room for it.
    """

    def __init__(
        self,
        plan: Any,
        residents: Residents,
        number: int,
        aside: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> None:
        self.plan = plan
        self._aside = residents.aside if aside is None else aside
        self.residents = residents
        self.device: Device = residents.device
        self.number = number
        places = plan.places
        largest = plan.largest()
        # All of it is refused before any of it is taken, and before anything runs.
        self.conditional = self.device.conditional and config.gpu_loops() and plan.spread is None
        self.pieces = _pieces(plan.device_steps, plan.template.kernels, self.conditional)
        tables = [0 if piece.steering is None else piece.steering.nbytes for piece in self.pieces]
        need = places.io + plan.constant_bytes + places.arena_bytes + sum(map(aligned, tables))
        residents.refuse(need, f"plan {plan.name!r}", largest)
        self.io = residents.alloc(places.io, "feeds and fetches", largest)
        self.constants = residents.alloc(plan.constant_bytes, "constants", largest)
        self.arena = residents.arena(number, places.arena_bytes, largest)
        table = residents.alloc(sum(map(aligned, tables)), "the words of loops").address if any(tables) else 0
        for piece, size in zip(self.pieces, tables, strict=True):
            piece.table, table = table, table + aligned(size)
        self._image = self.device.pinned(max(tables)) if any(tables) else _NOTHING
        self._together: Together | None = None
        self.workspace: Slab | None = None
        self.tables: Slab | None = None
        self._workspaces: dict[int, int] = {}
        self.bases: dict[Any, int] = {}
        self.moves = -1
        self.version = -1
        self.functions: list[Any] = []
        self._joined: dict[int, tuple[Joined, JoinedFunction]] = {}
        self._tables: dict[
            int, tuple[Any, Table, int]
        ] = {}  # of what is joined: what stands in it, and where
        self.ready = False
        self.compiled: list[
            tuple[str, float]
        ] = []  # what was, and the seconds that it took, since anybody asked
        self._outbound = [self.device.pinned(max(1, places.sent)) for _ in range(_RING)]
        self._sent: list[Event | None] = [None] * _RING
        self._turn = 0
        self._inbound = self.device.pinned(max(1, places.io - places.status))
        self._ahead: collections.deque[Event] = collections.deque()

    # getting ready

    def _prepare(self) -> None:
        """Everything that the first run does and no later one: code, choices of algorithms, constants."""
        plan, device = self.plan, self.device
        began = time.perf_counter()
        self.functions = device.functions(plan.template.kernels, plan.wide)
        need = 0
        alone: set[int] = set()
        together: set[int] = set()

        def see(step: Step) -> None:
            nonlocal need
            if isinstance(step, Joined):
                with contextlib.suppress(ValueError):
                    made = device.join([self.functions[part.function] for part in step.parts])
                    self._joined[id(step)] = step, made
                    together.update(map(id, step.parts))
            elif isinstance(step, Kernel):
                if id(step) not in together:
                    alone.add(step.function)
            elif isinstance(step, Gemm):
                self._workspaces[id(step)] = device.workspace(step.plan)
                need = max(need, self._workspaces[id(step)])
            elif isinstance(step, Convolution):
                fits = all(use.place.alignment % ALIGNMENT == 0 for use in step.args)
                scratch = device.convolution(step.plan) if fits else None
                if scratch is not None:
                    self._workspaces[id(step)] = scratch
                    need = max(need, scratch)
            elif isinstance(step, Attention) and step.plan is not None:
                scratch = device.attention(step.plan)
                if scratch is None:
                    raise errors.InternalError(
                        None, None,
                        f"{device.properties.name} does not do an attention that a device of this kind did when the"
                        f" plan was made: {step.plan}",
                    )  # fmt: skip
                self._workspaces[id(step)] = scratch
                need = max(need, scratch)

        walk(plan.device_steps, see)
        device.load(
            [
                *(self.functions[number] for number in sorted(alone)),
                *(made for _, made in self._joined.values()),
            ]
        )
        self.compiled.append(("kernels", time.perf_counter() - began))
        if self._joined:
            words = sum(made.words for _, made in self._joined.values())
            self.tables = self.residents.alloc(8 * words, "tables of joined launches")
        for piece in self.pieces:
            self._load_variants(piece)
        if need:
            self.workspace = self.residents.workspace(need)
        image = np.zeros(max(1, plan.constant_bytes), np.uint8)
        for index, start in plan.places.constants.items():
            raw = np.ascontiguousarray(plan.constants[index]).reshape(-1).view(np.uint8)
            image[start : start + raw.size] = raw
        for start, number in plan.scalars:
            raw = np.frombuffer(number.tobytes(), np.uint8)
            image[start : start + raw.size] = raw
        if plan.constant_bytes:
            device.h2d(self.constants.address, image, plan.constant_bytes)
            device.synchronize()
        self.ready = True

    def _load_variants(self, piece: Piece) -> None:
        """The kernels that take arguments from words, where a piece has such."""
        if piece.steering is not None and piece.steering.variants:
            template, keys = self.plan.template, list(piece.steering.variants)
            kernels = [template.kernels[number] for number, _ in keys]
            wide = [self.plan.wide[number] for number, _ in keys]
            loaded = self.device.functions(kernels, wide, [names for _, names in keys])
            self.device.load(loaded)
            piece.variants = dict(zip(keys, loaded, strict=True))

    def _settle(self, store: VariableStore | None) -> None:
        """Finds out where everything lies; what was captured is forgotten if any of it has moved."""
        plan, residents = self.plan, self.residents
        if not self.ready:
            self._prepare()
        variables: dict[Any, int] = {}
        if plan.variables:
            if store is None:
                raise ValueError(f"plan {plan.name!r} needs a variable store")
            if self.version != store.version or self.moves != residents.moves:
                variables = residents.bind(plan.variables, store)
                self.version = store.version
        if self.moves == residents.moves:
            return
        self.arena = residents.arena(self.number, plan.places.arena_bytes)
        if self.workspace is not None:
            self.workspace = residents.workspace(max(self._workspaces.values()))
        self.bases = {
            "io": self.io.address,
            "constants": self.constants.address,
            "arena": self.arena.address,
            **{("variable", key): address for key, address in variables.items()},
        }
        self.moves = residents.moves
        self._putter = Putter(
            self.device, self.bases, self.functions, self._scratch(), self._workspaces, self._tables
        )
        self._lay_tables()
        for piece in self.pieces:
            piece.graph = None
            piece.runs = min(piece.runs, 1)
        if self._together is not None:
            self._together.piece.graph = None

    def _lay_tables(self) -> None:
        """Tells the joined launches where everything lies."""
        start = self.tables.address if self.tables is not None else 0
        for number, (step, made) in self._joined.items():
            table = made.table([[self._putter.argument(arg, {}) for arg in part.args] for part in step.parts])
            self._tables[number] = made, table, start
            self.device.h2d(start, table, table.nbytes)
            start += table.nbytes
        if self._joined:
            self.device.synchronize()

    # running

    def run(
        self,
        feeds: Sequence[Any],
        store: VariableStore | None,
        stay: bool,
        events: list[TraceEvent] | None = None,
    ) -> list[Any]:
        """Runs once; see `DevicePlan.run`. `stay`: the results are left on the device."""
        values = self._begin(feeds, store)
        self._go(values, store, events)
        return self._finish(values, store, stay)

    def _begin(self, feeds: Sequence[Any], store: VariableStore | None) -> dict[int, Any]:
        """What comes before the device has anything to do: feeds are looked at, early host steps run."""
        plan = self.plan
        if len(feeds) != len(plan.feeds):
            raise ValueError(f"plan {plan.name!r} takes {len(plan.feeds)} feeds, not {len(feeds)}")
        values: dict[int, Any] = dict(plan.constants)
        for slot, value in zip(plan.feeds, feeds, strict=True):
            there = device_array(value)
            given: Any = np.asarray(value) if there is None else there
            if given.dtype != slot.dtype:
                raise TypeError(f'feed "{slot.name}" is {given.dtype}, expected {slot.dtype}')
            if tuple(given.shape) != slot.shape:
                raise ValueError(
                    f'feed "{slot.name}" has shape {list(given.shape)}, expected {list(slot.shape or ())}'
                )
            if there is not None and not there.is_dense:
                raise ValueError(
                    f'feed "{slot.name}" is an array of a device whose rows do not follow each other; copy it first'
                )
            values[slot.index] = given if there is not None else row_major(given, slot)
        if plan.early:
            with self._aside():
                for step in plan.early:
                    self._host(step, values, store)
        return values

    def _go(
        self,
        values: dict[int, Any],
        store: VariableStore | None,
        events: list[TraceEvent] | None,
    ) -> None:
        self._settle(store)
        self._send(values)
        careful = config.gpu_sync() or events is not None
        marks: list[Mark] | None = None if events is None else []
        begin = self.device.timer() if events is not None else None
        try:
            for piece in self.pieces:
                if careful:
                    self._carefully(piece.steps, values, store, marks)
                elif piece.steering is None:
                    self._step(piece.steps[0], values, store, {}, None)
                else:
                    self._piece(piece, values, store)
                    if piece.judges and piece is not self.pieces[-1]:
                        self._look(values)
        except BaseException:
            self._wrote(store)  # whatever has been done is done
            raise
        self._wrote(store)
        if events is not None and marks is not None:
            events += self._events(marks, begin)

    def _events(self, marks: Sequence[Mark], begin: Any) -> list[TraceEvent]:
        """What was done, with the device's own times, and what was compiled since anybody asked."""
        self.device.synchronize()
        events = [self._event(mark, begin) for mark in marks]
        for what, seconds in self.compiled:
            events.append(TraceEvent(what, -1e6 * seconds, 1e6 * seconds, 0, 0, None, device="compiler"))
        self.compiled.clear()
        return events

    def _event(self, mark: Mark, begin: Any) -> TraceEvent:
        """What a step took, by the device's own clock."""
        step, first, last = mark
        device, plan = self.device, self.plan
        parts = step.parts if isinstance(step, Joined) else (step,)
        numbers = [plan.launch_numbers[id(part)] for part in parts if id(part) in plan.launch_numbers]
        cost = sum([plan.costs[number] for number in numbers], Cost())
        written = sum(use.place.nbytes for use in places_of(step) if use.access != "r")
        return TraceEvent(
            step.name, device.microseconds(begin, first), device.microseconds(first, last), 0, written,
            step.origin, numbers[0] if numbers else -1, cost, device=f"GPU:{device.index}",
        )  # fmt: skip

    def _wrote(self, store: VariableStore | None) -> None:
        if store is not None and self.plan._written:
            before = store.version
            self.residents.wrote(self.plan._written, store)
            if self.version == before:
                self.version = store.version  # what has changed is this run's own doing

    def _send(self, values: dict[int, Any]) -> None:
        """Feeds, and what early host steps have made, in one copy; arrays of the device from where they are."""
        plan, device, places = self.plan, self.device, self.plan.places
        on_device: list[tuple[int, int, int, int | None]] = []
        if places.sent:
            self._turn = (self._turn + 1) % _RING
            last = self._sent[self._turn]
            if last is not None:
                last.wait()
            slab = self._outbound[self._turn]
            for slot, start in zip(plan.feeds, places.feeds, strict=True):
                value = values[slot.index]
                if start < 0:
                    continue
                if isinstance(value, DeviceArray):
                    on_device.append((start, value.address, slot.nbytes, value.stream))
                else:
                    _lay(slab, start, value)
            for step in plan.early:
                for slot in step.outputs:
                    if slot.index in places.hosted:
                        _lay(slab, places.hosted[slot.index], values[slot.index])
            if len(on_device) < sum(start >= 0 for start in places.feeds) or plan.early:
                device.h2d(self.io.address, slab, places.sent)
                self._sent[self._turn] = device.event()
        for start, pointer, size, stream in on_device:
            device.wait_for(stream)
            device.d2d(self.io.address + start, pointer, size)

    def _piece(self, piece: Piece, values: dict[int, Any], store: VariableStore | None) -> None:
        """Steps that a graph can hold: one by one, then captured, then as the graph."""
        piece.runs += 1
        assert piece.steering is not None
        # What computes nothing cannot be steered from here: there is no first run step by step.
        early = piece.steering.steered and not self.device.computes
        if piece.graph is None and (piece.runs > 1 or early) and piece.steps:
            self._capture(piece)
        if piece.graph is not None:
            self.device.replay(piece.graph)
            return
        for step in piece.steps:
            self._step(step, values, store, {}, None)

    def _capture(self, piece: Piece) -> None:
        device = self.device
        putter = Putter(
            device, self.bases, self.functions, self._scratch(), self._workspaces, self._tables,
            piece.steering, piece.variants, piece.table,
        )  # fmt: skip
        with alone():
            device.begin_capture()
            try:
                putter.capture(piece.steps, {})
            except BaseException:
                with contextlib.suppress(Exception):
                    device.end_capture()
                raise
            piece.graph = device.end_capture()
        putter.settle(self._image)
        device.synchronize()

    def _carefully(
        self,
        steps: Sequence[Step],
        values: dict[int, Any],
        store: VariableStore | None,
        marks: list[Mark] | None,
    ) -> None:
        """Step by step, each between two points in time, or waited for: then an error names its step."""
        for step in steps:
            first = None if marks is None else self.device.timer()
            try:
                self._step(step, values, store, {}, None)
                if config.gpu_sync():
                    self.device.synchronize()
            except errors.OpError:
                raise
            except Exception as error:
                if isinstance(step, HostCall | Judge | Loop | Cond):
                    raise
                failed = errors.InternalError(None, None, f"{step.name} failed on the device: {error}")
                raise _mark(failed, step) from error
            if marks is not None:
                marks.append((step, first, self.device.timer()))

    def _step(
        self,
        step: Step,
        values: dict[int, Any],
        store: VariableStore | None,
        turns: Turns,
        events: list[TraceEvent] | None,
    ) -> None:
        """Puts one step on the stream; `turns`: of each loop around, which turn it is and its limit."""
        if isinstance(step, HostCall):
            self._host_call(step, values, store)
        elif isinstance(step, Judge):
            self._look(values)
        elif isinstance(step, Loop):
            self._loop(step, values, store, turns)
        elif isinstance(step, Cond):
            self._cond(step, values, store, turns)
        else:
            self._putter.put(step, turns)

    def _scratch(self) -> int:
        return 0 if self.workspace is None else self.workspace.address

    # what needs the host

    def _loop(self, loop: Loop, values: dict[int, Any], store: VariableStore | None, turns: Turns) -> None:
        limit: int | None = None
        if isinstance(loop.limit, Use):
            limit = self._word(loop.limit.place, turns)
        elif loop.limit is not None:
            limit = loop.limit
        region, turn = loop.region, 0
        over = False
        while not over and (limit is None or turn < limit):
            turns[region] = turn, limit or 0
            if not loop.fixed and store is not None:
                self._between(loop, store)
            for step in loop.body:
                if isinstance(step, Leave):
                    if not self._word(step.word.place, turns):
                        over = True
                        break
                else:
                    self._step(step, values, store, turns, None)
            else:
                turn += 1
        turns[region] = turn, limit or 0
        for step in loop.tail:
            self._step(step, values, store, turns, None)
        del turns[region]

    def _between(self, loop: Loop, store: VariableStore) -> None:
        try:
            store.between_steps()
        except errors.OpError as error:
            raise _mark(
                type(error)(None, None, f'{error.message} It was in the loop "{loop.name}".'), loop
            ) from None

    def _cond(self, cond: Cond, values: dict[int, Any], store: VariableStore | None, turns: Turns) -> None:
        chosen = cond.otherwise
        for word, number, branch in cond.cases:
            found = self._word(word.place, turns)
            if (found != 0) if number is None else (found == number):
                chosen = branch
                break
        for step in chosen:
            self._step(step, values, store, turns, None)

    def _word(self, place: Place, turns: Turns) -> int:
        return self.residents.word(self._putter.address(place, turns), place.dtype)

    def _host_call(self, call: HostCall, values: dict[int, Any], store: VariableStore | None) -> None:
        reads = [use.place for use in call.args if use.access == "r"]
        if reads:
            for slot, array in zip(call.read_slots, self._fetched(*reads), strict=True):
                values[slot.index] = array
        self._call(call, values, store)
        if store is not None and self.version != store.version:
            self._settle(store)  # another run has come in between
        self._send_back(call, values)

    def _call(self, call: HostCall, values: dict[int, Any], store: VariableStore | None) -> None:
        with self._aside():
            self._host(call.step, values, store)

    def _send_back(self, call: HostCall, values: dict[int, Any]) -> None:
        """What a host step has made, to the device."""
        device, sent = self.device, []
        for slot in call.outputs:
            start = self.plan.places.hosted.get(slot.index)
            if start is not None:
                value = row_major(values[slot.index], slot)
                device.h2d(self.io.address + start, value, slot.nbytes)
                sent.append(value)
        if sent:
            device.synchronize()  # the arrays may go before they are sent

    def _fetched(self, *places: Place) -> list[Array]:
        """Values of the device, on the host, when all before them is done."""
        if not self.device.computes:
            raise exhausted(f"{self.device.properties.name} computes nothing: there is no value for the host")
        arrays = [aligned_empty(place.shape, place.dtype) for place in places]
        for place, array in zip(places, arrays, strict=True):
            if array.nbytes:
                self.device.d2h(array, self._putter.address(place, {}), array.nbytes)
        self.device.synchronize()
        return arrays

    def _host(self, step: HostStep, values: dict[int, Any], store: VariableStore | None) -> None:
        if store is not None:
            store.between_steps()
        inputs = [self._value(slot, values) for slot in step.inputs]
        try:
            result = step.function(store, *inputs) if step.with_store else step.function(*inputs)
        except BaseException as error:
            _mark(error, step)
            raise
        outputs = step.outputs
        results = (result,) if len(outputs) == 1 else tuple(result or ())
        if len(results) != len(outputs):
            raise ValueError(f'host step "{step.name}" returned {len(results)} values, not {len(outputs)}')
        for slot, value in zip(outputs, results, strict=True):
            present = self.plan._slot(slot)
            loose = None if isinstance(value, np.generic | np.ndarray) else present.dtype
            array = value if type(value) is np.ndarray else np.asarray(value, loose)
            if array.dtype != present.dtype:
                raise _mark(
                    TypeError(f'host step "{step.name}" returned {array.dtype}, expected {present.dtype}'),
                    step,
                )
            if present.shape is not None and array.shape != present.shape:
                raise _mark(
                    ValueError(
                        f'host step "{step.name}" returned shape {list(array.shape)}, expected {list(present.shape)}'
                    ),
                    step,
                )
            # What goes on being used by others is not ours.
            fresh = array.base is None and all(array is not given for given in inputs)
            values[slot.index] = array if fresh else np.array(array)

    def _value(self, slot: Slot, values: dict[int, Any]) -> Any:
        """A value as the host has it."""
        if slot.index in values:
            found = values[slot.index]
            return found.get() if isinstance(found, DeviceArray) else found
        root = values[slot.root.index]
        if isinstance(root, DeviceArray):
            root = root.get()
        return view_of(np.ascontiguousarray(root).reshape(root.shape), self.plan._slot(slot))

    def _look(self, values: dict[int, Any]) -> None:
        """Looks at the words of the checks: the run ends here if one is set."""
        if self.device.computes:
            (words,) = self._fetched(self.plan.words)
            if words.any():
                self._refuse(words, values)

    def _refuse(self, words: Array, values: dict[int, Any]) -> None:
        """Raises what the checks that found something raise."""
        for number, refusal in enumerate(self.plan.refusals):
            if not words[number]:
                continue
            inputs = []
            for slot in refusal.inputs:
                if slot.root.kind in ("buffer", "variable") and slot.index not in values:
                    (values[slot.index],) = self._fetched(self.plan.place(slot))
                inputs.append(self._value(slot, values))
            try:
                refusal.blame(*inputs)
            except BaseException as error:
                _mark(error, refusal)
                raise
        raise RuntimeError(f"plan {self.plan.name!r}: a check failed, and nothing is wrong with its operands")

    # the end

    def _finish(self, values: dict[int, Any], store: VariableStore | None, stay: bool) -> list[Any]:
        plan, device, places = self.plan, self.device, self.plan.places
        ended = bool(self.pieces) and self.pieces[-1].judges and self.pieces[-1].graph is not None
        words = 8 * len(plan.refusals) if plan.unjudged or ended else 0
        made = places.io - places.status if places.outputs and not stay else words
        if made:
            device.d2h(self._inbound, self.io.address + places.status, made)
        event = device.event()
        if made or stay:
            event.wait()
            self._ahead.clear()
        else:
            self._ahead.append(event)
            if len(self._ahead) > _MOST_AHEAD:
                self._ahead.popleft().wait()
        if not device.computes:
            if any(output.kind == "array" for output in plan.outputs):
                raise exhausted(f"{device.properties.name} computes nothing: there is nothing to fetch")
        elif words and self._inbound[:words].any():
            self._refuse(self._inbound[:words].view(np.int64).copy(), values)
        arrays: list[Any] = []
        for (shape, dtype), start in zip(plan._output_specs, places.outputs, strict=True):
            if stay:
                arrays.append(device.array(self.io.address + start, shape, dtype))
                continue
            array = np.empty(shape, dtype)
            take(self._inbound, start - places.status, array)
            arrays.append(array)
        return self._results(arrays, values, store)

    def _results(
        self, arrays: Sequence[Any], values: dict[int, Any], store: VariableStore | None
    ) -> list[Any]:
        """What is handed out, when the run is over."""
        plan = self.plan
        results: list[Any] = []
        for output in plan.outputs:
            if output.kind == "array":
                results.append(arrays[output.number])
            elif output.kind == "again":
                results.append(results[output.number].copy())
            else:
                results.append(np.array(self._value(plan.build.slots[output.number], values)))
        if store is not None:
            for key, index in plan._commits:
                store.set(key, self._value(plan.build.slots[index], values))
        return results

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore | None) -> list[Array]:
        """See `DevicePlan.run_steps`."""
        plan = self.plan
        simple = all(piece.steering is not None for piece in self.pieces) and not plan.early
        simple = simple and not plan._commits and all(output.kind == "array" for output in plan.outputs)
        # Checks are looked at by the graph itself, or by the host after each run.
        alone = self.conditional and all(fits(step, True, 1) for step in plan.device_steps)
        if not simple or (plan.refusals and not alone) or config.gpu_sync():
            rows = [self.run([feed[i] for feed in feeds], store, False) for i in range(count)]
            return [np.stack(column) for column in zip(*rows, strict=True)]
        columns = [
            np.empty((count, *shape), dtype)
            for shape, dtype in (plan._output_specs[output.number] for output in plan.outputs)
        ]
        done = 0
        while done < count and not (self.ready and all(piece.runs for piece in self.pieces)):
            # Code is loaded, and choices are made, in a run of its own.
            for column, value in zip(
                columns, self.run([feed[done] for feed in feeds], store, False), strict=True
            ):
                column[done] = value
            done += 1
        self._settle(store)
        if done < count:
            try:
                self._in_turn(feeds, done, count, columns, store)
            finally:
                self._wrote(store)
        return columns

    def _in_turn(
        self,
        feeds: Sequence[Any],
        done: int,
        count: int,
        columns: Sequence[Array],
        store: VariableStore | None,
    ) -> None:
        """Runs `done` to `count - 1`, as many together as there is room for: while some run, the next are laid out."""
        device, places = self.device, self.plan.places
        together = self._ready_together(count)
        waiting: tuple[int, int, int] | None = None
        turn = 0
        while done < count:
            now = min(together.room, count - done)
            event = together.events[turn]
            if event is not None:
                event.wait()
            outbound = together.outbound[turn]
            outbound[:8] = np.frombuffer(np.int64(now).tobytes(), np.uint8)
            for i in range(now):
                for feed, start in zip(feeds, places.feeds, strict=True):
                    if start >= 0:
                        _lay(outbound, _HEAD + i * places.sent + start, feed[done + i])
            device.h2d(together.slab.address, outbound, _HEAD + now * places.sent)
            if together.piece.graph is not None:
                device.replay(together.piece.graph)
            else:
                for i in range(now):
                    self._one_of_many(together, i, store)
            home = places.io - places.status
            if home:
                results = together.slab.address + _HEAD + together.room * places.sent
                device.d2h(together.inbound[turn], results, now * home)
            together.events[turn] = device.event()
            if waiting is not None:
                self._take_home(together, *waiting, feeds, columns)
            waiting = turn, done, now
            done, turn = done + now, (turn + 1) % _RING
            if self.plan.refusals:
                # What comes next must not begin if a check has found something.
                self._take_home(together, *waiting, feeds, columns)
                waiting = None
        if waiting is not None:
            self._take_home(together, *waiting, feeds, columns)

    def _one_of_many(self, together: Together, number: int, store: VariableStore | None) -> None:
        """Where graphs hold no loop: one run, in its turn."""
        turns: Turns = {together.loop.region: (number, 0)}
        first, *_, last = together.loop.body
        for piece in (first, *self.pieces, last):
            if isinstance(piece, Piece):
                self._piece(piece, {}, store)
            else:
                assert isinstance(piece, Copy)
                self._putter.put(piece, turns)

    def _take_home(
        self,
        together: Together,
        turn: int,
        first: int,
        count: int,
        feeds: Sequence[Any],
        columns: Sequence[Array],
    ) -> None:
        """Waits for runs, and takes what they have made."""
        plan, places = self.plan, self.plan.places
        event = together.events[turn]
        assert event is not None
        event.wait()
        if plan.refusals and self.device.computes:
            (words,) = self._fetched(plan.words)
            if words.any():
                failed = first + self.residents.word(together.piece.table, _WORD)
                values: dict[int, Any] = dict(plan.constants)
                for slot, feed in zip(plan.feeds, feeds, strict=True):
                    values[slot.index] = row_major(np.asarray(feed[failed]), slot)
                self._refuse(words, values)
        home, inbound = places.io - places.status, together.inbound[turn]
        for output, column in zip(plan.outputs, columns, strict=True):
            start = places.outputs[output.number] - places.status
            for i in range(count):
                take(inbound, i * home + start, column[first + i : first + i + 1])

    def _ready_together(self, count: int) -> Together:
        """Memory and, where graphs can hold it, the graph for so many runs; or as many as there is room for."""
        plan, places, device = self.plan, self.plan.places, self.device
        home = places.io - places.status
        room = max(1, min(count, _STAGED // max(1, places.sent + home)))
        found = self._together
        if found is None or found.room < room:
            if found is not None:
                self._together = None
                device.synchronize()
                self.residents.free(found.slab)
            size = _HEAD + room * (places.sent + home)
            region = Region("loop", "the runs of run_steps")
            loop = Loop(region, Use(Place("runs", 0, (1,), (8,), _WORD), "r"), region.name)

            def row(start: int, nbytes: int, access: Access) -> Use:
                moves = (Term(region, nbytes),)
                return Use(Place("runs", start, (nbytes,), (1,), np.dtype(np.uint8), moves), access)

            def io(start: int, nbytes: int, access: Access) -> Use:
                return Use(Place("io", start, (nbytes,), (1,), np.dtype(np.uint8)), access)

            sent = io(0, places.sent, "w"), row(_HEAD, places.sent, "r")
            brought = row(_HEAD + room * places.sent, home, "w"), io(places.status, home, "r")
            loop.body += [Copy(sent, places.sent, "feeds"), *plan.device_steps]
            loop.body.append(Copy(brought, home, "results"))
            if plan.unjudged:
                loop.body.append(Judge((), (Use(plan.words, "r"),)))
            piece = Piece((loop,), Steering((loop,), plan.template.kernels, self.conditional))
            tables = 0 if piece.steering is None else piece.steering.nbytes
            slab = self.residents.alloc(aligned(size) + tables, "the feeds and results of several runs")
            piece.table = slab.address + aligned(size)
            sizes = [_HEAD + room * places.sent] * _RING, [max(1, room * home)] * _RING
            outbound, inbound = ([device.pinned(size) for size in row_] for row_ in sizes)
            found = Together(loop, room, slab, piece, outbound, inbound, [None] * _RING)
            self._load_variants(piece)
            if self._image.nbytes < tables:
                self._image = device.pinned(tables)
            self._together = found
        self.bases["runs"] = found.slab.address
        if found.piece.graph is None and self.conditional and fits(found.loop, True):
            self._capture(found.piece)
        return found


def _pieces(steps: Sequence[Step], kernels: Sequence[Any], conditional: bool) -> list[Piece]:
    pieces: list[Piece] = []
    row: list[Step] = []

    def close() -> None:
        if row:
            judges = any(isinstance(one, Judge) for one in row)
            pieces.append(Piece(tuple(row), Steering(row, kernels, conditional), judges))
            row.clear()

    for number, step in enumerate(steps):
        # A check before what needs the host is looked at by the host.
        later = steps[number + 1] if isinstance(step, Judge) and number + 1 < len(steps) else step
        if fits(step, conditional) and fits(later, conditional):
            row.append(step)
            continue
        close()
        pieces.append(Piece((step,)))
    close()
    return pieces


def pieces_of(steps: Sequence[Step], plan: Any) -> list[Piece]:
    """The pieces of a plan for several devices, whose graphs hold no conditional nodes: these are one device's."""
    return _pieces(steps, plan.template.kernels, False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, nobody else captures, and no garbage is collected that might free something of the device."""
    with _capturing:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


def _lay(slab: Array, start: int, value: Array) -> None:
    if value.nbytes:
        raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        slab[start : start + raw.size] = raw


def take(slab: Array, start: int, array: Array) -> None:
    """Fills an array with the bytes of a slab from a place on."""
    if array.nbytes:
        array.reshape(-1).view(np.uint8)[...] = slab[start : start + array.nbytes]


def _mark(error: Any, step: Any) -> Any:
    """Leaves a note on an error which step it came from, as plans of the processor do; one of theirs stays."""
    with contextlib.suppress(AttributeError):
        if getattr(error, "plan_step", None) is None:
            error.plan_step = step
    return error
