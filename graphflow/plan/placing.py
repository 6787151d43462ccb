"""Where every value of a plan lives: what is handed out, what is written over a variable, what shares the arena."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from graphflow.memory import Request
from graphflow.plan.recording import Recording
from graphflow.plan.steps import COPY, Array, HostStep, Launch, Ref, Slot, Step, is_native, refs_of
from graphflow.records import dataclass
from graphflow.regions import Mark, Tree, region_tree


@dataclass(slots=True)
class Home:
    """Where a root slot's memory is. `number`: of the output, the variable, constant or feed slot, the request for a
    part of the arena, the status word."""

    place: Literal["arena", "output", "slot", "constant", "status"]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """How a fetched value leaves: in an array made before the run, as a host step's value, or as a copy."""

    kind: Literal["array", "value", "again"]
    number: int


@dataclass(slots=True)
class _Life:
    """First write, last use, and how often each step of a root slot was used."""

    first: int = -1
    last: int = -1
    writes: int = 0


class Placing:
    """Completes the steps and decides where each slot lives; all but what depends on the values of symbolic numbers.

    own: the steps that are left to run. constants: what is there beforehand, by slot. lasting: buffers that are there
    before a run begins, homes: where.
    """

    def __init__(
        self,
        builder: Recording,
        own: Sequence[Step],
        constants: Mapping[int, Array],
        lasting: set[int],
        homes: Mapping[int, Home],
    ) -> None:
        self.builder = builder
        self.own = own
        self.constants = constants
        self.lasting = lasting
        self.homes = dict(homes)
        self.slots = list(builder.slots)
        self.outputs: list[Output] = []
        self.output_slots: list[Slot] = []  # one per array made before the run
        self.commits: list[tuple[Hashable, Slot]] = []
        self.head: list[Step] = []
        self.tail: list[Step] = []
        pinned = self.place_fetches()
        self.lives()
        self.place_assigns(pinned)
        self.steps = [*self.head, *self.own, *self.tail]
        self.lives()
        self.place_arena(self.merge_in_place())

    def buffer(self, like: Slot) -> Slot:
        """Another slot of the same shape."""
        slot = Slot(len(self.slots), "buffer", like.name, like.shape, like.dtype)
        self.slots.append(slot)
        return slot

    @staticmethod
    def copy(target: Slot, source: Slot, origin: Any = None) -> Launch:
        """The launch that copies a value."""
        args = (Ref(target, "w"), Ref(source, "r"), source.nbytes)
        return Launch(COPY, args, f"copy {source.name}", origin, True, 0.0, 2 * source.nbytes)

    def lives(self) -> None:
        """Lifetimes over head, steps and tail; `end` is a step after all of them."""
        steps = [*self.head, *self.own, *self.tail]
        lives: dict[int, _Life] = {}
        self.end = len(steps)
        self.inner, self.places = region_tree(steps)
        touched: dict[int, set[Tree]] = {}

        def touch(slot: Slot, at: int, writes: bool) -> None:
            touched.setdefault(slot.root.index, set()).add(self.inner[at])
            life = lives.setdefault(slot.root.index, _Life())
            if life.first < 0:
                life.first = at
                if not writes and slot.kind == "buffer" and slot.root.index not in self.lasting:
                    raise ValueError(f"{slot} is read before it is written")
            life.last = max(life.last, at)
            life.writes += writes

        for at, step in enumerate(steps):
            if isinstance(step, Launch):
                for arg in step.args:
                    if isinstance(arg, Ref) and arg.access == "r":
                        touch(arg.slot, at, False)
                for arg in step.args:
                    if isinstance(arg, Ref) and arg.access != "r":
                        touch(arg.slot, at, True)
            elif isinstance(step, Mark):
                if step.slot is not None:
                    touch(step.slot, at, False)
            else:
                for slot in step.inputs:
                    touch(slot, at, False)
                for slot in step.outputs:
                    touch(slot, at, True)
        self.judged = self.judgement(steps)
        for refusal in self.builder.refusals:
            for slot in refusal.inputs:
                touch(slot, self.judged[refusal.status.index], False)
        for index, trees in touched.items() if self.places else ():
            # What a loop shares with its surroundings has to last through all its turns.
            shared = _common(trees)
            for tree in trees:
                for around in tree.upwards():
                    if around is shared:
                        break
                    if around.region is not None and around.region.kind == "loop":
                        life = lives[index]
                        life.first, life.last = min(life.first, around.begin), max(life.last, around.end)
        self.life = lives

    def judgement(self, steps: Sequence[Step]) -> dict[int, int]:
        """For each check the last step of the segment after which the run looks at it."""
        ends: dict[int, int] = {}
        waiting: list[int] = []
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                ends.update((index, at - 1) for index in waiting)
                waiting = []
                continue
            for arg in refs_of(step):
                if arg.slot.kind == "status":
                    if arg.slot.index in ends or arg.slot.index in waiting:
                        raise ValueError(f"{arg.slot} is set by two launches")
                    waiting.append(arg.slot.index)
        ends.update((index, len(steps) - 1) for index in waiting)
        for refusal in self.builder.refusals:
            if refusal.status.index not in ends:
                raise ValueError(f'no launch sets the word of check "{refusal.name}"')
        return ends

    def place_fetches(self) -> set[int]:
        """Fetched buffers are written straight into the array handed out; all else is copied."""
        assigned = {slot.root.index for slot in self.builder.assigns.values()}
        seen: dict[int, int] = {}
        pinned: set[int] = set()
        for slot in self.builder.fetches:
            if slot.index in seen:
                self.outputs.append(Output("again", seen[slot.index]))
                continue
            seen[slot.index] = len(self.outputs)
            if not is_native(slot) or slot.kind == "dynamic":
                if slot.kind in ("buffer", "feed", "constant", "variable") or slot.parent is not None:
                    slot = self.host_copy(slot)
                self.outputs.append(Output("value", slot.index))
                continue
            root = slot.root
            whole = slot.offset == 0 and slot.nbytes == root.nbytes
            number = len(self.output_slots)
            if slot.kind == "buffer" and whole and root.index not in pinned | assigned | self.lasting:
                pinned.add(root.index)
                self.homes[root.index] = Home("output", number)
            else:
                target = self.buffer(slot)
                self.homes[target.index] = Home("output", number)
                # A variable's value is the one at the start: copy it before anything can overwrite it.
                (self.head if slot.kind == "variable" else self.tail).append(self.copy(target, slot))
                if slot.kind == "variable":
                    self.builder.variable_reads[slot.key] = True
            self.output_slots.append(slot)
            self.outputs.append(Output("array", number))
        return pinned

    def host_copy(self, slot: Slot) -> Slot:
        """A value that leaves through Python (strings, views of host values)."""
        made = Slot(len(self.slots), "dynamic", slot.name, slot.shape, slot.dtype)
        self.slots.append(made)
        step = HostStep(np.array, (slot,), (made,), f"copy {slot.name}")
        (self.head if slot.kind == "variable" else self.tail).append(step)
        return made

    def place_assigns(self, pinned: set[int]) -> None:
        """New values go straight to the variable when its last reader is done, else are copied at the end."""
        steps = [*self.head, *self.own]
        sources: set[int] = set()
        late: list[Step] = []
        for index, value in self.builder.assigns.items():
            variable = self.slots[index]
            root = value.root
            if not is_native(value) or value.kind == "dynamic" or not is_native(variable):
                self.commits.append((variable.key, value))
                continue
            whole = value.offset == 0 and value.nbytes == root.nbytes
            life = self.life.get(root.index)
            if (
                value.kind == "buffer"
                and whole
                and life is not None
                and root.index not in pinned
                and root.index not in sources
                and root.index not in self.lasting
                and self.may_overwrite(variable, root, steps[life.first], life.first)
            ):
                sources.add(root.index)
                self.homes[root.index] = Home("slot", variable.index)
                continue
            if value.kind == "variable" and value.root is not variable:
                # Two variables may swap values: all old ones are saved before the first is overwritten.
                saved = self.buffer(value)
                self.tail.append(self.copy(saved, value))
                value = saved
            elif value.root is variable:
                continue
            late.append(self.copy(variable, value))
        self.tail += late

    def may_overwrite(self, variable: Slot, root: Slot, step: Step, at: int) -> bool:
        """Whether `step`, the first to write `root`, runs after the last reader of the variable."""
        reader = self.life.get(variable.index)
        if any(value.root is variable for value in self.builder.assigns.values()):
            return False
        if reader is None or reader.last < at:
            return True
        return reader.last == at and isinstance(step, Launch) and _allows(step, root, variable)

    def merge_in_place(self) -> dict[int, int]:
        """Root slots that take over the arena bytes of another: written root -> the root it overwrites."""
        into: dict[int, int] = {}
        taken: set[int] = set()
        last = {index: life.last for index, life in self.life.items()}
        for at, step in enumerate(self.steps):
            if not isinstance(step, Launch):
                continue
            for target, source in step.inplace:
                new, old = target.root, source.root
                if (
                    new.kind == "buffer" and old.kind == "buffer" and new is not old
                    and new.index not in self.homes and old.index not in self.homes
                    and old.index not in taken
                    and new.index not in into and self.life[new.index].first == at
                    and self.life[old.index].last == at and new.nbytes == old.nbytes
                    and _allows(step, new, old)
                ):  # fmt: skip
                    base = into.get(old.index, old.index)
                    into[new.index] = base
                    taken.add(old.index)
                    last[base] = max(last[base], last[new.index])
        self.last = last
        return into

    def place_arena(self, merged: dict[int, int]) -> None:
        """Notes how much of the arena is wanted when; where it lies depends on the sizes."""
        self.requests: list[Request] = []
        for index, life in self.life.items():
            slot = self.slots[index]
            if slot.kind == "buffer" and index not in self.homes and index not in merged:
                self.homes[index] = Home("arena", len(self.requests))
                self.requests.append(Request(slot.nbytes, life.first, self.last[index]))
        for index, base in merged.items():
            self.homes[index] = self.homes[base]

    def home(self, slot: Slot) -> Home:
        """Where a slot lies."""
        root = slot.root
        if root.kind == "constant":
            return Home("constant", root.index)
        if root.kind == "status":
            return Home("status", root.index)
        if root.kind in ("feed", "variable", "dynamic"):
            return Home("slot", root.index)
        return self.homes[root.index]


def _common(trees: set[Tree]) -> Tree:
    """The innermost region that all of some places lie in."""
    first, *others = trees
    around = list(first.upwards())
    for tree in others:
        here = set(tree.upwards())
        around = [one for one in around if one in here]
    return around[0]


def _allows(step: Launch, new: Slot, old: Slot) -> bool:
    """Whether a launch may write `new` over `old`: it says so, and touches neither in any other way."""
    if not any(t.root is new and s.root is old and t.offset == s.offset == 0 for t, s in step.inplace):
        return False
    touched = [arg for arg in step.args if isinstance(arg, Ref) and arg.slot.root in (new, old)]
    return len(touched) == 2 and all(arg.offset == 0 for arg in touched)
