"""Where the threads of one native call must wait for each other."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from graphflow.memory import Layout
from graphflow.plan.placing import Placing
from graphflow.plan.steps import HostStep, Ref, refs_of
from graphflow.regions import Mark, Tree
from graphflow.symbolic import Evaluation

_OPEN_ACCESSES = 64


_NOT_SHARED = -1  # how threads share it that share it in no way anybody knows

# Plain tuples of plain numbers: a plan has thousands, and they are made for every new size.
_Access: TypeAlias = tuple[int, int, int, bool, bool, int]
"""What a step touches: memory, first byte, end, whether it writes, whether threads share it, and how."""


def _cross(mine: Sequence[_Access], opened: Iterable[_Access]) -> bool:
    """Whether two threads could be in each other's way."""
    for memory, start, end, writes, shared, share in mine:
        for other_memory, other_start, other_end, other_writes, other_shared, other_share in opened:
            if (
                memory == other_memory
                and start < other_end
                and other_start < end
                and (writes or other_writes)
                and (shared or other_shared)
            ):
                alike = share == other_share != _NOT_SHARED and start == other_start and end == other_end
                if not (alike and shared and other_shared):
                    return True
    return False


class Barriers:
    """One run of `Arrangement.barriers`: after which records threads wait for each other.

    Each way through the regions is gone, and each loop twice: what is still open after a turn is so in the next one.
    """

    def __init__(
        self,
        build: Placing,
        touched: Sequence[Sequence[Touched]],
        at: Evaluation,
        layout: Layout,
        shared: list[bool],
    ) -> None:
        self.build = build
        self.touched = touched
        self.at = at
        self.layout = layout
        steps = self.steps = build.steps
        self.shared = shared
        self.after = [False] * len(shared)
        # Of each step: how many records come before it.
        self.number = list(
            itertools.accumulate((not isinstance(step, HostStep) for step in steps[:-1]), initial=0)
        )
        self._walk(0, len(steps), {})

    def _walk(self, at: int, stop: int, opened: dict[_Access, None]) -> dict[_Access, None]:
        """What is open after some steps, if that was open before them."""
        while at < stop:
            step = self.steps[at]
            if isinstance(step, HostStep):
                opened = {}
            elif isinstance(step, Mark) and step.kind == "enter":
                at, opened = self._loop(self.build.places[step.region], self._touch(at, opened))
                continue
            elif isinstance(step, Mark) and step.kind in ("case", "otherwise"):
                at, opened = self._choice(self.build.places[step.region], opened)
                continue
            else:
                opened = self._touch(at, opened)
            at += 1
        return opened

    def _loop(self, tree: Tree, opened: dict[_Access, None]) -> tuple[int, dict[_Access, None]]:
        turn, last = tree.at("turn"), tree.at("last")
        if any(ref.slot.kind == "status" for step in self.steps[turn:last] for ref in refs_of(step)):
            # All have looked at the words of the checks before anybody sets one anew.
            self.after[self.number[turn]] = True
        leaves = [at for at in tree.marks.get("leave", ())]
        ends = dict(opened)
        now = opened
        for _ in range(2):
            at = turn
            for leave in leaves:
                now = self._walk(at, leave + 1, now)
                ends |= now
                at = leave + 1
            now = self._walk(at, last, now)
            ends |= now
            now = dict(ends)
        return last, ends

    def _choice(self, tree: Tree, opened: dict[_Access, None]) -> tuple[int, dict[_Access, None]]:
        cases, join = tree.marks.get("case", []), tree.at("join")
        begins = [*cases, *tree.marks.get("otherwise", ())]
        ends: dict[_Access, None] = {}
        # What decides is looked at before the first branch: there is no other place that all of them come by.
        opened = self._touch(begins[0], opened, [one for at in cases for one in self.touched[at]])
        for begin, stop in zip(begins, [*begins[1:], join], strict=True):
            ends |= self._walk(begin + 1, stop, opened)
        if "otherwise" not in tree.marks:
            ends |= opened
        return join, ends

    def _touch(
        self, at: int, opened: dict[_Access, None], touched: Sequence[Touched] | None = None
    ) -> dict[_Access, None]:
        number = self.number[at]
        mine = self._accesses(self.touched[at] if touched is None else touched, self.shared[number])
        if not mine:
            return opened
        if number and (
            self.after[number - 1] or len(opened) > _OPEN_ACCESSES or (opened and _cross(mine, opened))
        ):
            self.after[number - 1] = True
            return dict.fromkeys(mine)
        return {**opened, **dict.fromkeys(mine)}

    def _accesses(self, touched: Sequence[Touched], shared: bool) -> list[_Access]:
        sizes, offsets = self.at, self.layout.offsets
        mine = []
        for memory, request, start, nbytes, writes, share in touched:
            first = start if type(start) is int else sizes(start)
            if request >= 0:
                first += offsets[request]
            end = first + (nbytes if type(nbytes) is int else sizes(nbytes))
            mine.append((memory, first, end, writes, shared, share))
        return mine


class Touched(NamedTuple):
    """What a step touches, as far as that does not depend on sizes: in which memory, and for the arena which request
    of it; as symbolic numbers its first byte there and how many they are; whether it writes, and how threads share it.
    """

    memory: int
    request: int
    start: Any
    nbytes: Any
    writes: bool
    share: int


def touched_by(build: Placing) -> list[list[Touched]]:
    """What each step touches that others may touch in the same run."""
    memories: dict[Hashable, int] = {"arena": 0}
    shares: dict[Hashable, int] = {}
    found = []
    for step in build.steps:
        mine = []
        refs = [Ref(step.slot)] if isinstance(step, Mark) and step.slot is not None else refs_of(step)
        for ref in refs:
            slot = ref.slot
            if slot.root.kind in ("constant", "status") or slot.root.index in build.lasting:
                continue
            home = build.home(slot)
            in_arena = home.place == "arena"
            start, nbytes = (0, slot.root.nbytes) if slot.terms else (slot.offset, slot.nbytes)
            apart = all(not term.step or abs(term.step) >= slot.nbytes for term in slot.terms)
            known = _NOT_SHARED
            if ref.share is not None and apart:
                moves = (slot.offset, slot.nbytes, slot.terms) if slot.terms else ()
                known = shares.setdefault((ref.share, ref.offset, *moves), len(shares))
            memory = 0 if in_arena else memories.setdefault((home.place, home.number), len(memories))
            request = home.number if in_arena else -1
            mine.append(Touched(memory, request, start, nbytes, ref.access != "r", known))
        found.append(mine)
    return found
