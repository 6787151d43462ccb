"""A plan for several devices in the memory of a session: how it runs.

Each device does its steps in order on a stream of its own. Where one takes what another has made it waits for it, and
this one waits until the copy is done; nothing else keeps them from running side by side. Steps in a row that need
nothing of the host are captured as one graph over all streams.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphflow import config
from graphflow.backends.gpu.bound import Bound, Mark, alone, pieces_of, take
from graphflow.backends.gpu.device import Device, Event, Graph, exhausted
from graphflow.backends.gpu.residents import Residents
from graphflow.backends.gpu.steps import (
    AllReduce,
    HostCall,
    Judge,
    Step,
    Transfer,
    device_of,
)
from graphflow.plan import TraceEvent
from graphflow.records import dataclass
from graphflow.variable_store import VariableStore

__all__ = ["BoundTogether", "Share"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_MOST_AHEAD = 3  # runs that nobody has waited for


class Share:
    """What one device has of a plan for several."""

    def __init__(self, plan: Any, number: int) -> None:
        self._plan = plan
        places = plan.places
        offsets, nbytes = places.others[number - 1] if number else (places.arena, places.arena_bytes)
        self.places = places.of(offsets, nbytes)
        self.device_steps = _own(plan.device_steps, number)
        self.variables = tuple([spec for spec in plan.variables if plan.owner(spec.key) == number])
        self._written = tuple([spec for spec in plan._written if plan.owner(spec.key) == number])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plan, name)


def _own(steps: Sequence[Step], number: int) -> list[Step]:
    """The steps of one device, those apart that take two."""
    apart = (Transfer, AllReduce, HostCall, Judge)
    return [step for step in steps if not isinstance(step, apart) and device_of(step) == number]


@dataclass(eq=False, slots=True)
class _Piece:
    steps: tuple[Step, ...]
    fits: bool
    runs: int = 0
    graph: Graph | None = None


class BoundTogether:
    """A plan for several devices in the memory of a session.

    Args:
      plan: the plan, a `DevicePlan`.
      residents: the session's memory on each device.
      numbers: which of the runs under way it is for, on each.

    Raises:
      ResourceExhaustedError: if there is no room for it on one of them.
    """

    def __init__(self, plan: Any, residents: Sequence[Residents], numbers: Sequence[int]) -> None:
        self.plan = plan
        self.shares = [Share(plan, number) for number in range(len(residents))]
        self.sides = [
            Bound(share, one, number, self._aside)
            for share, one, number in zip(self.shares, residents, numbers, strict=True)
        ]
        self.devices: list[Device] = [side.device for side in self.sides]
        self.devices[0].connect(self.devices[1:])
        self.pieces = [
            _Piece(piece.steps, piece.steering is not None) for piece in pieces_of(plan.device_steps, plan)
        ]
        self._moves: list[int] = []
        self._ahead: collections.deque[list[Event]] = collections.deque()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            # Taken again in the order in which all threads take them.
            for side in sorted(self.sides, key=lambda one: -one.device.index):
                stack.enter_context(side.residents.aside())
            yield

    def run(
        self,
        feeds: Sequence[Any],
        store: VariableStore | None,
        stay: bool,
        events: list[TraceEvent] | None = None,
    ) -> list[Any]:
        """Runs once; see `DevicePlan.run`. `stay`: the results are left on the devices."""
        values = self.sides[0]._begin(feeds, store)
        self._settle(store)
        for number in sorted(self.plan.spread.fed):
            self.sides[number]._send(values)
        careful = config.gpu_sync() or events is not None
        begins = [side.device.timer() for side in self.sides] if events is not None else []
        marks: list[list[Mark] | None] = [None if events is None else [] for _ in self.sides]
        try:
            for piece in self.pieces:
                if careful or not piece.fits:
                    for step in piece.steps:
                        self._step(step, values, store, marks if careful else None)
                else:
                    self._piece(piece, values, store)
        finally:  # whatever has been done is done
            for side in self.sides:
                side._wrote(store)
        if events is not None:
            for side, begin, row in zip(self.sides, begins, marks, strict=True):
                events += side._events(row or [], begin)
        return self._finish(values, store, stay)

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore | None) -> list[Array]:
        """See `DevicePlan.run_steps`."""
        rows = [self.run([feed[i] for feed in feeds], store, False) for i in range(count)]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def _settle(self, store: VariableStore | None) -> None:
        for side in self.sides:
            side._settle(store)
        moves = [side.moves for side in self.sides]
        if moves != self._moves:
            self._moves = moves
            for piece in self.pieces:
                piece.graph = None
                piece.runs = min(piece.runs, 1)

    def _piece(self, piece: _Piece, values: dict[int, Any], store: VariableStore | None) -> None:
        first, others = self.devices[0], self.devices[1:]
        piece.runs += 1
        if piece.graph is None and piece.runs > 1:
            with alone():
                first.begin_capture(others)
                try:
                    for step in piece.steps:
                        self._step(step, values, store, None)
                except BaseException:
                    with contextlib.suppress(Exception):
                        first.end_capture(others)
                    raise
                piece.graph = first.end_capture(others)
        if piece.graph is None:
            for step in piece.steps:
                self._step(step, values, store, None)
            return
        for other in others:
            first.after(other.mark())
        first.replay(piece.graph)
        end = first.mark()
        for other in others:
            other.after(end)

    def _step(
        self,
        step: Step,
        values: dict[int, Any],
        store: VariableStore | None,
        marks: Sequence[list[Mark] | None] | None,
    ) -> None:
        """Does a step. marks: of each device, where it notes when it did what; None if nobody asks."""
        if isinstance(step, HostCall):
            self._host_call(step, values, store)
        elif isinstance(step, Judge):
            self._look(values)
        elif isinstance(step, Transfer):
            (target, to), (source, from_) = [
                (self.sides[use.place.device]._putter.address(use.place, {}), self.devices[use.place.device])
                for use in step.args
            ]
            to.after(from_.mark())
            to.d2d(target, source, step.nbytes)
            from_.after(to.mark())
        elif isinstance(step, AllReduce):
            self._all_reduce(step)
        elif marks is not None:
            device = device_of(step)
            self.sides[device]._carefully([step], values, store, marks[device])
        else:
            self.sides[device_of(step)]._step(step, values, store, {}, None)

    def _all_reduce(self, step: AllReduce) -> None:
        places = [use.place for use in step.args]
        addresses = [self.sides[place.device]._putter.address(place, {}) for place in places]
        half = len(places) // 2
        members = [self.devices[place.device] for place in places[:half]]
        members[0].all_reduce(
            members[1:], step.reduction, step.dtype, step.count, addresses[:half], addresses[half:]
        )

    def _host_call(self, call: HostCall, values: dict[int, Any], store: VariableStore | None) -> None:
        reads = [use.place for use in call.args if use.access == "r"]
        for device, side in enumerate(self.sides):
            own = [number for number, place in enumerate(reads) if place.device == device]
            if own:
                arrays = side._fetched(*(reads[number] for number in own))
                for number, array in zip(own, arrays, strict=True):
                    values[call.read_slots[number].index] = array
        self.sides[0]._call(call, values, store)
        if store is not None and any(side.version != store.version for side in self.sides):
            self._settle(store)  # another run has come in between
        self.sides[0]._send_back(call, values)

    def _look(self, values: dict[int, Any]) -> None:
        """Looks at the words of the checks of all devices: the run ends here if one is set."""
        if all(device.computes for device in self.devices):
            words = sum(side._fetched(self.plan.words)[0] for side in self.sides)
            if words.any():  # type: ignore[union-attr]
                self._refuse(words, values)

    def _refuse(self, words: Any, values: dict[int, Any]) -> None:
        for refusal in (one for number, one in enumerate(self.plan.refusals) if words[number]):
            for slot in refusal.inputs:
                if slot.root.kind in ("buffer", "variable"):
                    place = self.plan.place(slot)
                    (values[slot.index],) = self.sides[place.device]._fetched(place)
        self.sides[0]._refuse(words, values)

    def _finish(self, values: dict[int, Any], store: VariableStore | None, stay: bool) -> list[Any]:
        plan, places = self.plan, self.plan.places
        words = 8 * len(plan.refusals) if plan.unjudged else 0
        made = places.io - places.status if places.outputs and not stay else words
        if made:
            for side in self.sides:
                side.device.d2h(side._inbound, side.io.address + places.status, made)
        ends = [device.event() for device in self.devices]
        self._ahead.append(ends)
        while self._ahead and (made or stay or len(self._ahead) > _MOST_AHEAD):
            for event in self._ahead.popleft():
                event.wait()
        if not all(device.computes for device in self.devices):
            if any(output.kind == "array" for output in plan.outputs):
                raise exhausted(
                    f"{self.devices[0].properties.name} computes nothing: there is nothing to fetch"
                )
        elif words:
            found = sum(side._inbound[:words].view(np.int64) for side in self.sides)
            if found.any():  # type: ignore[union-attr]
                self._refuse(found, values)
        arrays: list[Any] = []
        outputs = zip(plan.build.output_slots, plan._output_specs, places.outputs, strict=True)
        for slot, (shape, dtype), start in outputs:
            side = self.sides[plan.spread.device_of(slot)]
            if stay:
                arrays.append(side.device.array(side.io.address + start, shape, dtype))
                continue
            array = np.empty(shape, dtype)
            take(side._inbound, start - places.status, array)
            arrays.append(array)
        return self.sides[0]._results(arrays, values, store)
