"""A plan for several devices: which does what, and what is copied from one to another in between.

Each device has memory of its own. A value is where it was made, until somebody wants it elsewhere; from then on it is
there too, until it is made anew. A variable is on one device for the whole run. Nothing here depends on open sizes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from graphflow.plan import COPY, Collective, HostStep, Launch, Slot
from graphflow.plan.placing import Placing
from graphflow.plan.steps import Step, refs_of
from graphflow.regions import Mark

__all__ = ["Move", "Spread"]


class Move(NamedTuple):
    """A value is copied from one device to another."""

    slot: Slot
    source: int
    target: int


class Spread:
    """The devices of a plan's steps and values.

    Args:
      build: the steps, and where values lie.
      count: how many devices there are.

    Attributes:
      devices: of each step, by its number: the device that does it.
      moves: of each step: what is copied just before it.
      variables: the device of each variable.
      touched: of each value that owns memory: the devices that have it at some time.
      held: of each host step, by its number: a device that has each of the values that it takes.
      final: of each: the devices that have it in the end.
      fed: the devices that are sent the feeds.
    """

    def __init__(self, build: Placing, count: int) -> None:
        self._build = build
        self._count = count
        self.devices: list[int] = [0] * len(build.steps)
        self.moves: list[list[Move]] = [[] for _ in build.steps]
        self.variables: dict[Hashable, int] = {}
        self.touched: dict[int, set[int]] = {}
        self.final: dict[int, set[int]] = {}
        self.held: dict[int, dict[int, int]] = {}
        self.fed = {0}
        self._home_variables(build.steps)
        everywhere = set(range(count))
        for slot in build.slots:
            if slot.parent is not None:
                continue
            if slot.kind in ("feed", "constant", "status"):
                self.final[slot.index] = set(everywhere)
            elif slot.kind == "variable":
                self.final[slot.index] = {self.variables.setdefault(slot.key, 0)}
        at = 0
        while at < len(build.steps):
            step, stop = build.steps[at], at + 1
            if isinstance(step, Mark):
                stop = self._end_of(at)
                self._region(at, stop)
            elif isinstance(step, Launch):
                self._launch(at, step)
            else:
                self._host(at, step)
            at = stop

    def variable_of(self, slot: Slot) -> Hashable | None:
        """The variable in whose memory a value lies; None for another place."""
        home = self._build.home(slot)
        owner = self._build.slots[home.number] if home.place == "slot" else None
        return owner.key if owner is not None and owner.kind == "variable" else None

    def device_of(self, slot: Slot) -> int:
        """A device that has a value in the end."""
        return min(self.final.get(slot.root.index) or {0})

    def _home_variables(self, steps: Sequence[Step]) -> None:
        """A variable is where it is written, or else where it is read first."""
        for reads in (False, True):
            for step in steps:
                for ref in refs_of(step):
                    key = self.variable_of(ref.slot.root)
                    if key is None or (ref.access == "r") != reads:
                        continue
                    assert isinstance(step, Launch)
                    if step.kernel is not COPY or reads:
                        self.variables.setdefault(key, step.device)

    def _end_of(self, at: int) -> int:
        """Where the region that begins at a step is over."""
        mark = self._build.steps[at]
        assert isinstance(mark, Mark)
        last = ("left", "join")
        return next(
            number + 1
            for number in range(at, len(self._build.steps))
            if isinstance(one := self._build.steps[number], Mark)
            and one.region is mark.region
            and one.kind in last
        )

    def _region(self, at: int, stop: int) -> None:
        """A loop or a choice is one device's."""
        steps = self._build.steps[at:stop]
        refs = [ref for step in steps for ref in refs_of(step)]
        owners = [self.variable_of(ref.slot.root) for ref in refs if ref.access != "r"]
        held = [self.variables.setdefault(key, 0) for key in owners if key is not None]
        launches = [step.device for step in steps if isinstance(step, Launch)]
        device = (held or launches or [0])[0]
        self.devices[at:stop] = [device] * (stop - at)
        looked_at = [step.slot for step in steps if isinstance(step, Mark) and step.slot is not None]
        for slot in (*looked_at, *(ref.slot for ref in refs)):
            self._want(at, slot, device)
        for ref in refs:
            if ref.access != "r":
                self._made(ref.slot, device)

    def _launch(self, at: int, step: Launch) -> None:
        refs = refs_of(step)
        if isinstance(step.kernel, Collective):
            self.devices[at] = step.kernel.devices[0]
            for ref, device in zip(refs, step.kernel.devices * 2, strict=True):
                if ref.access == "r":
                    self._want(at, ref.slot, device)
                else:
                    self._made(ref.slot, device)
            return
        device = step.device
        if step.kernel is COPY:
            there = self.final.get(refs[1].slot.root.index) or {0}
            device = device if device in there else min(there)
        for ref in refs:
            key = None if ref.access == "r" else self.variable_of(ref.slot.root)
            if key is not None:
                device = self.variables.setdefault(key, device)
        self.devices[at] = device
        for ref in refs:
            self._want(at, ref.slot, device)
        for ref in refs:
            if ref.access != "r":
                self._made(ref.slot, device)

    def _host(self, at: int, step: HostStep) -> None:
        """What the host makes is sent to the first device."""
        self.held[at] = {slot.root.index: self.device_of(slot) for slot in step.inputs}
        for slot in step.outputs:
            self._made(slot, 0)

    def _want(self, at: int, slot: Slot, device: int) -> None:
        """A step on a device takes a value, or writes a part of it."""
        root = slot.root
        self.touched.setdefault(root.index, set()).add(device)
        if root.kind == "feed":
            self.fed.add(device)
        there = self.final.get(root.index)
        if there and device not in there:
            source = min(there)
            self.touched[root.index].add(source)
            self.moves[at].append(Move(self._build.slots[root.index], source, device))
            there.add(device)

    def _made(self, slot: Slot, device: int) -> None:
        root = slot.root
        self.touched.setdefault(root.index, set()).add(device)
        if root.kind != "status":
            self.final[root.index] = {device}
