"""What all plans of one template share: compiled kernels, the order of the steps, the words they begin with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphflow.memory import Layout
from graphflow.plan.barriers import Barriers, touched_by
from graphflow.plan.placing import Placing
from graphflow.plan.steps import (
    BYTES_PER_NS,
    FLOPS_PER_NS,
    HostStep,
    Launch,
    Segment,
    Step,
    loops_around,
    refs_of,
)
from graphflow.plan.table import RECORD_WORDS, Table, Threads, steering
from graphflow.regions import Mark
from graphflow.symbolic import Evaluation

_PARALLEL_LAUNCH_NS = 2_000.0  # a shorter launch stays with the first thread
_TEAM_NS = 12_000.0  # a segment with less parallel work than this wakes nobody
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
        self.table = self._laid_out()
        self.touched = touched_by(build)

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
        self.weights: list[tuple[Any, Any, bool, int] | None] = []
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
                    self.loops.add(len(self.weights))
                    if step.region.most is None:
                        self.endless.add(len(self.weights))
                self.weights.append(None)
                continue
            turns = math.prod(region.turns for region in loops_around(build.inner[at]))
            self.weights.append((step.bytes, step.flops, step.parallel, turns))
        if count:
            outline.append((first, count, False))
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

    def _laid_out(self) -> Table:
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

    def segments(self, at: Evaluation) -> tuple[list[Segment | HostStep], list[bool]]:
        """The steps, and which launches, and marks, are shared among threads."""
        threads = self.runtime.threads
        parallel: list[bool] = []
        ordered: list[Segment | HostStep] = []
        for step in self.outline:
            if isinstance(step, HostStep):
                ordered.append(replace(step, function=step.function(at)) if step.with_sizes else step)
                continue
            first, count, park = step
            worth = total = 0.0
            shared = []
            for weight in self.weights[first : first + count]:
                if weight is None:
                    shared.append(True)
                    continue
                size, flops, may, turns = weight
                cost = max(at(size) / BYTES_PER_NS, at(flops) / FLOPS_PER_NS)
                shared.append(threads > 1 and may and cost >= _PARALLEL_LAUNCH_NS)
                cost *= at(turns)
                total += cost
                worth += cost * shared[-1]
            team = worth >= _TEAM_NS and threads > 1
            endless = any(first <= number < first + count for number in self.endless)
            release = total >= _RELEASE_NS or endless
            loops = any(first <= number < first + count for number in self.loops)
            ordered.append(Segment(first, count, team, release, park, loops))
            parallel.extend(share and team for share in shared)
        return ordered, parallel

    def barriers(self, at: Evaluation, layout: Layout, shared: list[bool]) -> list[bool]:
        """Where all threads must wait: before a launch that touches what another thread may still touch."""
        if not any(shared):
            return [False] * len(shared)
        return Barriers(self.build, self.touched, at, layout, shared).after
