"""The words that a plan's runs begin with: records, arguments, what marks say, each thread's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.memory import Layout, aligned_empty
from graphflow.plan.placing import Placing
from graphflow.plan.steps import Arg, Array, Count, Launch, Ref, loops_around
from graphflow.regions import Mark, Region, Term, Tree, region_tree
from graphflow.symbolic import Evaluation, Formulas, Symbolic

# Words of a record: function, address of its arguments, parallel?, and what comes after: 0, 1 for a barrier, or the
# address of a word: a barrier, then an end if the word is not zero.
RECORD_WORDS = 4

# What stands in place of a kernel where a record steers, see `backends.cpu.driver`.
STEERING = {"enter": 1, "turn": 2, "again": 3, "unless": 4, "case": 5, "go": 6, "left": 7}
_NO_LIMIT = (1 << 63) - 1


class Table:
    """The words that a plan's runs begin with, numbered from the first record on: those that all plans of a template
    share, and where the others go."""

    def __init__(self, placing: Placing, status_word: Mapping[int, int], base: int) -> None:
        self.placing = placing
        self.status_word = status_word
        self.base = base
        self.records: list[int] = []
        self.words: list[Any] = []
        self.arena: list[
            tuple[int, int, Any]
        ] = []  # words that are addresses there: which request, how many bytes in
        self.derived: list[
            tuple[int, int, Any]
        ] = []  # words that are addresses in a constant that sizes decide
        self.relative: list[int] = []  # words that count from the table's address
        self.patches: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        self.scalars: dict[bytes, int] = {}
        self.scalar_words: list[tuple[int, int]] = []
        self.status_words: list[tuple[int, int]] = []  # words that hold the address of a check's word

    @property
    def end(self) -> int:
        """The number of the next word."""
        return self.base + len(self.words)

    def number(self, *numbers: int) -> None:
        """Adds plain numbers."""
        self.words += numbers

    def own(self, *numbers: int) -> None:
        """Adds the addresses of words of the table."""
        self.relative += range(self.end, self.end + len(numbers))
        self.words += [8 * number for number in numbers]

    def argument(self, arg: Arg) -> None:
        """Adds an argument of a launch."""
        at = self.end
        if isinstance(arg, Ref):
            home, skip = self.placing.home(arg.slot), arg.slot.offset + arg.offset
            self.words.append(0)
            if home.place == "constant" and home.number in self.placing.constants:
                self.words[-1] = self.placing.constants[home.number].__array_interface__["data"][0] + skip
            elif home.place == "constant":
                self.derived.append((at, home.number, skip))
            elif home.place == "arena":
                self.arena.append((at, home.number, skip))
            elif home.place == "status":
                self.relative.append(at)
                self.status_words.append((at, self.status_word[home.number]))
            else:
                self.patches.setdefault((home.place, home.number), []).append((at, skip))
        elif isinstance(arg, Count):
            self.words.append(arg.start)
        elif isinstance(arg, np.generic):
            bits = arg.tobytes()
            place = self.scalars.setdefault(bits, 16 * len(self.scalars))
            self.scalar_words.append((at, place))
            self.words.append(0)
        else:
            self.words.append(arg)

    def finish(self, status: int) -> None:
        """Puts the words into arrays; `status`: where the words of the checks begin."""
        self.pool = aligned_empty(max(1, 16 * len(self.scalars)))
        for bits, place in self.scalars.items():
            self.pool[place : place + len(bits)] = np.frombuffer(bits, np.uint8)
        numbers = [(self.base + at, n) for at, n in enumerate(self.words) if type(n) is Symbolic]
        plain = [0 if type(n) is Symbolic else n for n in self.words]
        self.fixed = np.array(self.records + plain, np.int64)
        address = self.pool.__array_interface__["data"][0]
        for at, place in self.scalar_words:
            self.fixed[at] = address + place
        for at, number in self.status_words:
            self.fixed[at] = 8 * (status + number)
        self.number_words = np.array([at for at, _ in numbers], np.int64)
        self.numbers = Formulas([n for _, n in numbers])
        self.arena_words = np.array([at for at, _, _ in self.arena], np.int64)
        self.arena_requests = np.array([request for _, request, _ in self.arena], np.int64)
        self.arena_skips = Formulas([skip for _, _, skip in self.arena])
        self.relative_words = np.array(self.relative, np.int64)
        self.fixed_patches: dict[tuple[str, int], Array] = {}
        self.open_patches: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        for key, rows in self.patches.items():
            if any(type(skip) is Symbolic for _, skip in rows):
                self.open_patches[key] = rows
            else:
                self.fixed_patches[key] = np.array(rows, np.int64).reshape(-1, 2)

    def at(self, sizes: Evaluation, layout: Layout, constants: Mapping[int, Array]) -> Array:
        """The words for certain sizes, places in the arena and constants."""
        words = self.fixed.copy()
        # All at once: a word at a time takes longer than finding out what it is.
        words[self.number_words] = self.numbers.at(sizes)
        if self.arena:
            offsets = np.array(layout.offsets, np.int64)
            words[self.arena_words] = offsets[self.arena_requests] + self.arena_skips.at(sizes)
        for at, index, skip in self.derived:
            words[at] = constants[index].__array_interface__["data"][0] + sizes(skip)
        return words

    def patches_at(self, sizes: Evaluation) -> dict[tuple[str, int], Array]:
        """Which words take the address of what, for certain sizes."""
        if not self.open_patches:
            return self.fixed_patches
        found = dict(self.fixed_patches)
        for key, rows in self.open_patches.items():
            found[key] = np.array([(at, sizes(skip)) for at, skip in rows], np.int64)
        return found


class Threads:
    """What each thread has for itself where records are repeated: counters, and the arguments of what is in a loop.

    For every outermost loop there is one stretch of memory per thread, whole cache lines, first the counters of the
    loops in it, each with the most turns beside it, then the arguments of its launches. Marks speak of the first
    thread's words.
    """

    def __init__(self, records: Sequence[Launch | Mark], first_word: Sequence[int], threads: int) -> None:
        self.records = records
        self.threads = threads
        self.first_word = list(first_word)
        self.targets: dict[int, int] = {}
        self.inner, self.places = region_tree(records)
        self.model: dict[
            Region, tuple[int, int]
        ] = {}  # of outermost loops: first word of the arguments, and one after
        self.counters: dict[Region, dict[Region, int]] = {}
        self.blocks: list[tuple[int, Region, int]] = []  # words that count from a thread's stretch
        for region, tree in self.places.items():
            if region.kind == "loop":
                outer = loops_around(tree)[0]
                numbers = self.counters.setdefault(outer, {})
                numbers[region] = 2 * len(numbers)
                if outer is region:
                    self.model[region] = first_word[tree.begin], first_word[tree.end]
        self.moves = self.moving()

    def moving(self) -> dict[int, list[tuple[int, tuple[Term, ...]]]]:
        """The words that each `turn` and `last` sets, with how they move."""
        found: dict[int, list[tuple[int, tuple[Term, ...]]]] = {}
        for number, step in enumerate(self.records):
            if not isinstance(step, Launch):
                continue
            for position, arg in enumerate(step.args):
                terms: tuple[Term, ...] = ()
                if isinstance(arg, Ref):
                    terms = arg.slot.terms
                elif isinstance(arg, Count):
                    terms = (Term(arg.loop, arg.step),)
                if terms:
                    tree = max((self.places[term.loop] for term in terms), key=lambda place: place.depth)
                    at = tree.at("last") if number > tree.at("last") else tree.at("turn")
                    found.setdefault(at, []).append((self.first_word[number] + position, terms))
        return found

    def size(self, outer: Region) -> int:
        """Words of one thread's stretch."""
        first, end = self.model[outer]
        return (2 * len(self.counters[outer]) + end - first + 7) & -8

    def stretch(self, table: Table, outer: Region, word: int) -> None:
        """Adds the address of a word of the first thread's stretch, where that will be."""
        self.blocks.append((table.end, outer, word))
        table.number(0)

    def mark(self, table: Table, mark: Mark, number: int) -> None:
        """Adds what a mark says: how many records to skip, and then what is written beside its code in the driver."""
        region, tree = mark.region, self.places[mark.region]
        kind = mark.kind
        goal = number + 1
        if kind in ("enter", "leave"):
            goal = tree.at("last")
        elif kind == "again":
            goal = tree.at("turn")
        elif kind == "go":
            goal = tree.at("join")
        elif kind == "case":
            goal = min(
                at for name in ("case", "otherwise", "join") for at in tree.marks.get(name, ()) if at > number
            )
        table.number(goal - number - 1)
        if kind == "case" or kind == "leave":
            table.argument(Ref(mark.slot))
            table.number(mark.number or 0)
        if region.kind != "loop":
            return
        outer = loops_around(tree)[0]
        stride = 8 * self.size(outer)
        if kind in ("enter", "again"):
            table.number(_NO_LIMIT if region.most is None else region.most)
            if mark.slot is None:
                table.number(0)
            else:
                table.argument(Ref(mark.slot))
            table.number(stride)
            self.stretch(table, outer, self.counters[outer][region])
        if kind == "enter":
            first, end = self.model[outer]
            self.stretch(table, outer, 2 * len(self.counters[outer]))
            table.own(first)
            table.number(8 * (end - first) if outer is region else 0)
        if kind in ("turn", "last"):
            moves = self.moves.get(number, [])
            table.number(len(moves), stride)
            for word, terms in moves:
                self.stretch(table, outer, 2 * len(self.counters[outer]) + word - self.model[outer][0])
                table.own(word)
                # A factor, by how much it moves: a loop's turns so far, and how many there may be.
                rows: list[tuple[int, Any, Any]] = []
                for term in terms:
                    counter = self.counters[outer][term.loop]
                    if term.step or term.swing or not term.ends:
                        rows.append((counter, term.step, term.swing))
                    if term.ends:
                        rows.append((counter + 1, term.ends, 0))
                table.number(len(rows))
                for at, step, swing in rows:
                    self.stretch(table, outer, at)
                    table.number(step, swing)

    def place(self, table: Table) -> None:
        """Adds the stretches."""
        begins: dict[Region, int] = {}
        for outer in self.model:
            table.number(*[0] * (-table.end % 8))
            begins[outer] = table.end
            table.number(*[0] * (self.size(outer) * self.threads))
        for at, outer, word in self.blocks:
            table.words[at - table.base] = 8 * (begins[outer] + word)
            table.relative.append(at)


def steering(mark: Mark, places: Mapping[Region, Tree]) -> int:
    """What stands for a mark in place of a kernel."""
    if mark.kind == "left" and len(loops_around(places[mark.region])) > 1:
        return STEERING["go"]
    if mark.kind == "leave" or (mark.kind == "case" and mark.number is None):
        return STEERING["unless"]
    if mark.kind == "last":
        return STEERING["turn"]
    return STEERING.get(mark.kind, STEERING["go"])
