"""Where the threads of one native call must wait for each other."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphflow.memory import Layout
from graphflow.plan.placing import Placing
from graphflow.plan.steps import Array, HostStep, Ref, refs_of
from graphflow.regions import Mark, Tree
from graphflow.symbolic import Evaluation, Formulas

_OPEN_ACCESSES = 64


_NOT_SHARED = -1  # how threads share it that share it in no way anybody knows

# Plain tuples of plain numbers: a plan has thousands, and they are made for every new size.
_Access: TypeAlias = tuple[int, int, int, bool, bool, int]
"""What a step touches: memory, first byte, end, whether it writes, whether threads share it, and how."""


class _Open:
    """What has been touched since all threads last waited."""

    __slots__ = ("read", "written")

    def __init__(self, written: Iterable[_Access] = (), read: Iterable[_Access] = ()) -> None:
        self.written = dict.fromkeys(written)
        self.read = dict.fromkeys(read)

    def __len__(self) -> int:
        return len(self.written) + len(self.read)

    def add(self, accesses: Iterable[_Access]) -> None:
        for access in accesses:
            (self.written if access[3] else self.read)[access] = None

    def join(self, other: _Open) -> None:
        """Adds what is open on another way."""
        self.written |= other.written
        self.read |= other.read

    def copy(self) -> _Open:
        return _Open(self.written, self.read)

    def cross(self, mine: Sequence[_Access]) -> bool:
        """Whether two threads could be in each other's way."""
        for access in mine:
            if _crosses(access, self.written) or (access[3] and _crosses(access, self.read)):
                return True
        return False


def _crosses(mine: _Access, opened: Iterable[_Access]) -> bool:
    """Whether what one thread touches may be what another has touched, where one of them writes."""
    memory, start, end, _, shared, share = mine
    for other_memory, other_start, other_end, _, other_shared, other_share in opened:
        if memory == other_memory and start < other_end and other_start < end and (shared or other_shared):
            alike = share == other_share != _NOT_SHARED and start == other_start and end == other_end
            if not (alike and shared and other_shared):
                return True
    return False


class Barriers:
    """One run of `Arrangement.barriers`: after which records threads wait for each other.

    Each way through the regions is gone, and each loop twice: what is still open after a turn is so in the next one.
    """

    def __init__(self, build: Placing, touched: AllTouched, ranges: Ranges, shared: Array) -> None:
        self.build = build
        self.steps = build.steps
        self.after = [False] * len(shared)
        # Of each step: how many records come before it.
        self.number = touched.number
        self.accesses = touched.accesses(ranges, shared)
        self._walk(0, len(self.steps), _Open())

    def _walk(self, at: int, stop: int, before: _Open) -> _Open:
        """What is open after some steps, if that was open before them."""
        opened = before.copy()
        while at < stop:
            step = self.steps[at]
            if isinstance(step, HostStep):
                opened = _Open()
            elif isinstance(step, Mark) and step.kind == "enter":
                at, opened = self._loop(
                    self.build.places[step.region], self._touch(at, opened, self.accesses[at])
                )
                continue
            elif isinstance(step, Mark) and step.kind in ("case", "otherwise"):
                at, opened = self._choice(self.build.places[step.region], opened)
                continue
            else:
                opened = self._touch(at, opened, self.accesses[at])
            at += 1
        return opened

    def _loop(self, tree: Tree, opened: _Open) -> tuple[int, _Open]:
        turn, last = tree.at("turn"), tree.at("last")
        if any(ref.slot.kind == "status" for step in self.steps[turn:last] for ref in refs_of(step)):
            # All have looked at the words of the checks before anybody sets one anew.
            self.after[self.number[turn]] = True
        leaves = [at for at in tree.marks.get("leave", ())]
        ends = opened.copy()
        now = opened
        for _ in range(2):
            at = turn
            for leave in leaves:
                now = self._walk(at, leave + 1, now)
                ends.join(now)
                at = leave + 1
            now = self._walk(at, last, now)
            ends.join(now)
            now = ends.copy()
        return last, ends

    def _choice(self, tree: Tree, opened: _Open) -> tuple[int, _Open]:
        cases, join = tree.marks.get("case", []), tree.at("join")
        begins = [*cases, *tree.marks.get("otherwise", ())]
        ends = _Open()
        # What decides is looked at before the first branch: there is no other place that all of them come by.
        opened = self._touch(begins[0], opened, [one for at in cases for one in self.accesses[at]])
        for begin, stop in zip(begins, [*begins[1:], join], strict=True):
            ends.join(self._walk(begin + 1, stop, opened))
        if "otherwise" not in tree.marks:
            ends.join(opened)
        return join, ends

    def _touch(self, at: int, opened: _Open, mine: Sequence[_Access]) -> _Open:
        """What is open after a step, which may be what was open before it, with more in it."""
        number = self.number[at]
        if not mine:
            return opened
        if number and (self.after[number - 1] or len(opened) > _OPEN_ACCESSES or opened.cross(mine)):
            self.after[number - 1] = True
            opened = _Open()
        opened.add(mine)
        return opened


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


class Ranges(NamedTuple):
    """Of everything that steps touch: its first byte in its memory, and its end."""

    first: Array
    end: Array


class AllTouched:
    """What each step of a plan touches that others may touch in the same run.

    Attributes:
      number: of each step, how many records come before it.
    """

    def __init__(self, build: Placing) -> None:
        steps = build.steps
        before = itertools.accumulate((not isinstance(step, HostStep) for step in steps), initial=0)
        self.number = list(before)[:-1]
        each = _touched_by(build)
        self._ends = list(itertools.accumulate(map(len, each)))
        self._record = np.array(
            [n for n, mine in zip(self.number, each, strict=True) for _ in mine], np.int64
        )
        every = [one for mine in each for one in mine]
        self._memory = [one.memory for one in every]
        self._writes = [one.writes for one in every]
        self._share = [one.share for one in every]
        self._request = np.array([one.request for one in every], np.int64)
        self._start = Formulas([one.start for one in every])
        self._nbytes = Formulas([one.nbytes for one in every])

    def at(self, sizes: Evaluation, layout: Layout) -> Ranges:
        """Where that lies for certain sizes."""
        offsets = np.array(
            (*layout.offsets, 0), np.int64
        )  # the last one for what has no request, which is -1
        first = self._start.at(sizes) + offsets[self._request]
        return Ranges(first, first + self._nbytes.at(sizes))

    def accesses(self, ranges: Ranges, shared: Array) -> list[list[_Access]]:
        """What each step touches. `shared`: which records are."""
        first, end, among = ranges.first.tolist(), ranges.end.tolist(), shared[self._record].tolist()
        every = list(zip(self._memory, first, end, self._writes, among, self._share, strict=True))
        return [every[begin:end] for begin, end in itertools.pairwise((0, *self._ends))]

    def alike(self, ranges: Ranges) -> Array:
        """Of each access one that is shared in the same way and has the same range: the first such one."""
        known: dict[Hashable, int] = {}
        rows = zip(self._memory, ranges.first.tolist(), ranges.end.tolist(), self._share, strict=True)
        return np.array(
            [at if row[3] == _NOT_SHARED else known.setdefault(row, at) for at, row in enumerate(rows)],
            np.int64,
        )


def _touched_by(build: Placing) -> list[list[Touched]]:
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
