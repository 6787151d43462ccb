"""What all plans of one template share: compiled kernels, the order of the steps, the words they begin with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.memory import ALIGNMENT, Layout, Request, lower_bound, plan_arena
from graphflow.plan.barriers import AllTouched, Barriers, Ranges
from graphflow.plan.placing import Placing
from graphflow.plan.steps import (
    BYTES_PER_NS,
    FLOPS_PER_NS,
    Array,
    HostStep,
    Launch,
    Segment,
    Step,
    loops_around,
    refs_of,
)
from graphflow.plan.table import RECORD_WORDS, Table, Threads, steering
from graphflow.regions import Mark
from graphflow.symbolic import Evaluation, Formulas

_PARALLEL_LAUNCH_NS = 2_000.0  # a shorter launch stays with the first thread
_TEAM_NS = 12_000.0  # a segment with less parallel work than this wakes nobody
_HASTE = 0.125  # what share of the arena is no reason to pack it better, where a plan for other sizes is wanted soon
_RELEASE_NS = 20_000.0  # a shorter segment keeps the interpreter lock


class Arrangement:
    """What the plans of one program for different sizes have in common: all but the values of symbolic numbers.

    Kernels are compiled, steps are in order, and it is decided which memory is whose. What is left for each plan:
    places in the arena, the numbers in the table, what is worth sharing among threads, and where these wait.
    """

    def __init__(self, build: Placing) -> None:
        self.build = build
        self.runtime = build.builder.runtime
        steps = self.steps = build.steps
        self.records = tuple(step for step in steps if not isinstance(step, HostStep))
        self.launches = tuple(step for step in self.records if isinstance(step, Launch))
        self.slots = tuple(build.slots)
        self.outline = self._outline(steps)
        self.looks = self._looks(steps)
        self.looked_at = np.zeros(len(self.records), bool)
        self.looked_at[list(self.looks)] = True
        self.table = self._table()
        self._largest: Laid | None = None
        self.first_steps = np.array([request.first for request in build.requests], np.int64)
        self.last_steps = np.array([request.last for request in build.requests], np.int64)
        self.request_sizes = Formulas([request.size for request in build.requests])
        self.touched = AllTouched(build)

    # What does not depend on sizes.

    def _outline(self, steps: Sequence[Step]) -> list[tuple[int, int, bool] | HostStep]:
        """Runs of records, as first, count and whether a host step follows, and the host steps between them."""
        build = self.build
        last_use: dict[int, int] = {}
        native_use: dict[int, int] = {}
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                for slot in (*step.inputs, *step.outputs):
                    last_use[slot.root.index] = at
            for ref in refs_of(step):
                if ref.slot.kind == "dynamic":
                    native_use[ref.slot.root.index] = at
        keep = {slot.root.index for slot in build.builder.fetches}
        keep |= {output.number for output in build.outputs if output.kind == "value"}
        keep |= {value.root.index for _, value in build.commits}
        keep |= {slot.root.index for refusal in build.builder.refusals for slot in refusal.inputs}
        dying: dict[int, list[int]] = {}
        for index, at in last_use.items():
            if build.slots[index].kind == "dynamic" and index not in keep and native_use.get(index, -1) <= at:
                dying.setdefault(at, []).append(index)
        outline: list[tuple[int, int, bool] | HostStep] = []
        first = count = 0
        # Of each record that is a launch: bytes, operations, whether it may be shared, and how often it is done.
        weights: list[tuple[Any, Any, bool, int] | None] = []
        self.loops: set[int] = set()  # the marks of loops
        self.endless: set[int] = set()  # the marks of loops of which nobody knows how often they turn
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                if count:
                    outline.append((first, count, True))
                    first, count = first + count, 0
                outline.append(replace(step, frees=tuple(dying.get(at, ()))))
                continue
            count += 1
            if isinstance(step, Mark):
                if step.region.kind == "loop":
                    self.loops.add(len(weights))
                    if step.region.most is None:
                        self.endless.add(len(weights))
                weights.append(None)
                continue
            turns = math.prod(region.turns for region in loops_around(build.inner[at]))
            weights.append((step.bytes, step.flops, step.parallel, turns))
        if count:
            outline.append((first, count, False))
        none = (0, 0.0, True, 1)
        rows = [none if weight is None else weight for weight in weights]
        self.bytes = Formulas([row[0] for row in rows], np.float64)
        self.flops = Formulas([row[1] for row in rows], np.float64)
        self.turns = Formulas([row[3] for row in rows], np.float64)
        self.may_share = np.array([row[2] for row in rows], bool)
        self.marks = np.array([weight is None for weight in weights], bool)
        return outline

    def _looks(self, steps: Sequence[Step]) -> dict[int, int]:
        """After which launches the threads look at the word of the checks so far, and leave off if it is set.

        That is before the next launch that writes a variable, at each mark, and so at the end of each turn of a loop.
        Later checks have another word: while one thread looks, another may be ahead.
        """
        build = self.build
        self.words: dict[int, int] = {}
        self.word_count = 0
        looks: dict[int, int] = {}
        number = -1
        waiting = False
        for step in steps:
            if isinstance(step, HostStep):
                self.word_count += waiting
                waiting = False
                continue
            number += 1
            refs = refs_of(step)
            if waiting and (
                isinstance(step, Mark)
                or any(
                    ref.access != "r" and ref.slot.kind != "status" and build.home(ref.slot).place == "slot"
                    for ref in refs
                )
            ):
                looks[number if isinstance(step, Mark) else number - 1] = self.word_count
                self.word_count += 1
                waiting = False
            for ref in refs:
                if ref.slot.kind == "status":
                    self.words[ref.slot.index] = self.word_count
                    waiting = True
        self.word_count += waiting
        return looks

    def _table(self) -> Table:
        """The words of a run: the records, the arguments of launches, what marks say, each thread's own arguments and
        counters where there are loops, and at the end the words of the checks, which threads of one run share."""
        records, places = self.records, self.build.places
        kernels = iter(self.runtime.addresses([step.kernel for step in self.launches]))
        table = Table(self.build, self.words, RECORD_WORDS * len(records))
        first_word = []
        for step in records:
            first_word.append(table.end)
            if isinstance(step, Launch):
                for arg in step.args:
                    table.argument(arg)
        threads = Threads(records, first_word, self.runtime.threads) if places else None
        if threads is not None:
            for number, step in enumerate(records):
                if isinstance(step, Mark):
                    first_word[number] = table.end
                    threads.mark(table, step, number)
            threads.place(table)
        status = table.end
        for number, step in enumerate(records):
            code = next(kernels) if isinstance(step, Launch) else steering(step, places)
            after = 0
            if number in self.looks:
                after = (status + self.looks[number]) * 8
                table.relative.append(RECORD_WORDS * number + 3)
            table.relative.append(RECORD_WORDS * number + 1)
            table.records += (code, first_word[number] * 8, 0, after)
        table.words += [0] * self.word_count
        table.finish(status)
        return table

    # What does.

    def segments(self, at: Evaluation) -> tuple[list[Segment | HostStep], Array]:
        """The steps, and which launches, and marks, are shared among threads."""
        many = self.runtime.threads > 1
        costs = np.maximum(self.bytes.at(at) / BYTES_PER_NS, self.flops.at(at) / FLOPS_PER_NS)
        shared = self.marks | (self.may_share & (costs >= _PARALLEL_LAUNCH_NS) & many)
        costs *= self.turns.at(at)
        ordered: list[Segment | HostStep] = []
        for step in self.outline:
            if isinstance(step, HostStep):
                ordered.append(replace(step, function=step.function(at)) if step.with_sizes else step)
                continue
            first, count, park = step
            those = slice(first, first + count)
            total, worth = costs[those].sum(), costs[those][shared[those]].sum()
            team = bool(worth >= max(_TEAM_NS, 1e9 * self.runtime.share_from) and many)
            endless = any(first <= number < first + count for number in self.endless)
            release = bool(total >= _RELEASE_NS or endless)
            loops = any(first <= number < first + count for number in self.loops)
            ordered.append(Segment(first, count, team, release, park, loops))
            if not team:
                shared[those] = False
        return ordered, shared

    def laid_out(self, at: Evaluation, shared: Array) -> Laid:
        """Where everything is in the arena, and where all threads must wait: before a launch that touches what another
        thread may still touch."""
        sizes = -(-self.request_sizes.at(at) // ALIGNMENT) * ALIGNMENT
        known = self._largest
        if known is not None and (sizes <= known.sizes).all():
            # Where larger values have room, these have too; and whoever waits for them waits often enough.
            end = np.array(known.layout.offsets, np.int64) + sizes
            bound = lower_bound(sizes, self.first_steps, self.last_steps)
            layout = Layout(known.layout.offsets, int(end.max(initial=0)), bound)
            ranges = self.touched.at(at, layout)
            if known.holds_for(ranges, shared, self.touched):
                return Laid(sizes, layout, ranges, shared, known.waits)
            return Laid(sizes, layout, ranges, shared, self._waits(ranges, shared))
        requests = [
            Request(size, first, last)
            for size, (_, first, last) in zip(sizes.tolist(), self.build.requests, strict=True)
        ]
        layout = plan_arena(requests, 0.0 if known is None else _HASTE)
        ranges = self.touched.at(at, layout)
        laid = self._largest = Laid(sizes, layout, ranges, shared, self._waits(ranges, shared))
        return laid

    def _waits(self, ranges: Ranges, shared: Array) -> Array:
        if not shared.any():
            return np.zeros(len(shared), bool)
        return np.array(Barriers(self.build, self.touched, ranges, shared).after, bool)


class Laid:
    """How one plan of a template lies in memory, and where its threads wait.

    sizes: of the requests, in whole cache lines. waits: after which records.
    """

    def __init__(self, sizes: Array, layout: Layout, ranges: Ranges, shared: Array, waits: Array) -> None:
        self.sizes = sizes
        self.layout = layout
        self.ranges = ranges
        self.shared = shared
        self.waits = waits
        self._alike: Array | None = None

    def holds_for(self, ranges: Ranges, shared: Array, touched: AllTouched) -> bool:
        """Whether threads that wait so are in nobody's way with these ranges either: each lies in the one it has here,
        and what is alike stays alike."""
        mine = self.ranges
        if not (
            np.array_equal(shared, self.shared)
            and (ranges.first >= mine.first).all()
            and (ranges.end <= mine.end).all()
        ):
            return False
        if self._alike is None:
            self._alike = touched.alike(mine)
        like = self._alike
        return bool((ranges.first == ranges.first[like]).all() and (ranges.end == ranges.end[like]).all())
