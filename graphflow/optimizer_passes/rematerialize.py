"""Computes cheap values again where they are needed late, instead of keeping them until then, under a memory budget.

A training step keeps what its forward half computes until the backward half comes to it. Activations, casts and pools
are cheap to compute again from what is there anyway (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016).
Nothing random is computed twice, nor anything with effects, and the numbers keep their bits: `GraphflowFence` rounds
what is computed again as memory would have.

What a program takes is known only when it has been lowered, since fused values take nothing. So candidates are ordered
by bytes times lifetime over cost, several selections of them are tried, least work first, and each is measured by
planning it; the first one within the budget is taken, else the one that takes least.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from graphflow.opdef import get_op
from graphflow.program import FEED, VARIABLE, Node, Program, ProgramBuilder, Replacement, Value, rebuild
from graphflow.records import dataclass

__all__ = ["AGAIN", "rematerialize"]

AGAIN = "_again"  # marks a node that is there twice, lest the two be taken for one

_SMALLEST = 4096  # bytes that are worth it
_DEEPEST = 64  # nodes that one value is computed again with
_POOLS = ("max_pool", "avg_pool")  # library calls that read each number about once
_CHECKPOINTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(slots=True)
class _Candidate:
    """A value in memory, with the last position at which it is used early and the first at which it is used late.

    recipe: the nodes to compute it again with.
    """

    value: Value
    born: int
    early: int
    late: int
    bytes: int
    recipe: tuple[Node, ...]

    @property
    def cost(self) -> float:
        """Elements that are computed again."""
        return float(sum(_elements(output) for node in self.recipe for output in node.outputs)) + 1.0

    @property
    def worth(self) -> float:
        """Bytes times lifetime over cost."""
        return self.bytes * (self.late - self.born) / self.cost


def rematerialize(
    program: Program,
    counts: Counter[str],
    budget: int,
    peak_of: Callable[[Program], int],
    kept: Callable[[Program], Iterable[Value]],
) -> Program:
    """Rewrites a specialized program so that its temporaries fit a number of bytes, if they can.

    Args:
      program: the program.
      counts: gets `bytes before`, `bytes after` and `values computed again`.
      budget: the bytes that temporaries may take.
      peak_of: tells how many they take.
      kept: tells which values lie in memory.
    """
    counts["bytes before"] = counts["bytes after"] = before = peak_of(program)
    if before <= budget:
        return program
    search = _Search(program, kept(program))
    found = search.candidates()
    best, least, taken = program, before, 0
    for chosen in _selections(found):
        changed = _Rewrite(program, chosen, search.kept).program_with_less()
        peak = peak_of(changed)
        if peak < least:
            best, least, taken = changed, peak, len(chosen)
        if peak <= budget:
            break
    counts["bytes after"], counts["values computed again"] = least, taken
    return best


def _selections(found: Sequence[_Candidate]) -> Iterable[list[_Candidate]]:
    """Sets of candidates, from little work to much: the best ones, and all but some checkpoints."""
    by_worth = sorted(found, key=lambda c: (-c.worth, c.born))
    in_order = sorted(found, key=lambda c: c.born)
    chosen = [by_worth[: math.ceil(len(found) * part / 8)] for part in (1, 2, 3, 4, 6, 8)]
    chosen += [[c for i, c in enumerate(in_order) if (i + 1) % step] for step in _CHECKPOINTS]
    distinct = {frozenset(id(c) for c in some): some for some in chosen if some}
    return sorted(distinct.values(), key=lambda some: sum(c.cost for c in some))


def _elements(value: Value) -> int:
    return math.prod(value.sizes or ())


def _bytes(value: Value) -> int:
    return _elements(value) * value.dtype.size


def _cheap(node: Node) -> bool:
    """Whether a node may be computed again."""
    op_def = node.op_def
    if op_def.effects or node.controls or len(node.outputs) != 1 or node.outputs[0].sizes is None:
        return False
    return op_def.scalar is not None or op_def.view or op_def.lowering in _POOLS


def _there(value: Value) -> bool:
    """Whether a value is in memory all the time."""
    return value.is_constant or value.node.op_def in (FEED, VARIABLE)


def _base(value: Value) -> Value:
    """The value whose memory a view looks at."""
    while value.node.op_def.view:
        value = value.node.inputs[0]
    return value


class _Search:
    """Finds what could be computed again, and with which nodes."""

    def __init__(self, program: Program, kept: Iterable[Value]) -> None:
        self.kept = {_base(value) for value in kept}
        self.program = program
        self.at = {node: position for position, node in enumerate(program.nodes)}
        self.users: dict[Value, list[int]] = {}
        for node in program.nodes:
            if node.op_def.view:
                continue
            for value in node.inputs:
                self.users.setdefault(_base(value), []).append(self.at[node])
        end = len(program.nodes)
        for value in program.roots:
            self.users.setdefault(_base(value), []).append(end)

    def candidates(self) -> list[_Candidate]:
        """All values with a pause between an early use and a late one, that can be computed again after it."""
        roots = {_base(value) for value in self.program.roots}
        found = []
        for value in self.kept:
            size = _bytes(value) if value.sizes is not None else 0
            if size < _SMALLEST or value in roots or not _cheap(value.node) or value not in self.users:
                continue
            touches = [self.at[value.node], *sorted(self.users[value])]
            early, late = max(pairwise(touches), key=lambda pair: pair[1] - pair[0])
            if late - early < 2 or late == touches[1]:
                continue  # used late only: it is the order of the program that is at fault
            recipe = self.recipe(value, late)
            if recipe is not None:
                found.append(_Candidate(value, touches[0], early, late, size, recipe))
        return found

    def recipe(self, value: Value, late: int) -> tuple[Node, ...] | None:
        """The nodes that compute a value from what is in memory at a position; None if there are none."""
        chosen: dict[Node, None] = {}
        stack = [value.node]
        while stack:
            node = stack.pop()
            if node in chosen:
                continue
            if not _cheap(node) or len(chosen) >= _DEEPEST:
                return None
            chosen[node] = None
            for operand in node.inputs:
                base = _base(operand)
                if _there(base):
                    stack.extend([operand.node] if operand is not base else [])
                elif base not in self.kept:
                    # Fused away in the first place. Who else takes it there decides how it was rounded.
                    if len(self.users.get(base, ())) > 1:
                        return None
                    stack.append(operand.node)
                elif self.users[base][-1] >= late or 8 * _bytes(base) <= _bytes(value):
                    stack.extend([operand.node] if operand is not base else [])
                else:
                    stack.append(operand.node)  # dead by then: computed again as well
        return tuple(sorted(chosen, key=self.at.__getitem__))


class _Rewrite:
    """Lets late users of the chosen values take them computed anew."""

    def __init__(self, program: Program, chosen: Sequence[_Candidate], kept: set[Value]) -> None:
        self.program = program
        self.chosen = {candidate.value: candidate for candidate in chosen}
        self.inside = {candidate.value: set(candidate.recipe) for candidate in chosen}
        self.kept = kept
        self.at = {node: position for position, node in enumerate(program.nodes)}
        self.known: dict[Value, Value] = {}  # old value -> its place in the new program
        # Old value -> what is computed anew; what lies between chosen values is so for each of them.
        self.anew: dict[tuple[Value, Value | None], Value] = {}

    def program_with_less(self) -> Program:
        return rebuild(self.program, self.replace)

    def replace(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        self.known.update(zip(node.inputs, inputs, strict=True))
        if node.op_def.view:
            return None
        position = self.at[node]
        changed = list(inputs)
        for i, value in enumerate(node.inputs):
            owner = self.chosen.get(_base(value))
            if owner is not None and position >= owner.late:
                changed[i] = self.again(builder, value, position, owner)
        return None if tuple(changed) == inputs else builder.again(node, tuple(changed), controls)

    def source(self, value: Value, position: int, owner: _Candidate) -> tuple[Value, Value | None] | None:
        """The key of a value that has to be computed anew for `owner`; None if it is taken as it was kept."""
        base = _base(value)
        found = self.chosen.get(base)
        if found is not None and position > found.early:
            return value, None
        return (value, owner.value) if base.node in self.inside[owner.value] else None

    def again(self, builder: ProgramBuilder, value: Value, position: int, owner: _Candidate) -> Value:
        """Computes a value anew, and before it what it needs (with a stack of our own: chains are long)."""
        stack = [(value, owner, False)]
        while stack:
            current, mine, ready = stack.pop()
            key = self.source(current, position, mine)
            if key is None or key in self.anew:
                continue
            node = current.node
            mine = self.chosen.get(_base(current), mine)
            if not ready:
                stack.append((current, mine, True))
                stack.extend((operand, mine, False) for operand in node.inputs)
                continue
            inputs = []
            for operand in node.inputs:
                found = self.source(operand, position, mine)
                inputs.append(self.known[operand] if found is None else self.anew[found])
            attrs = {**node.attrs, AGAIN: mine.value.node.serial}
            made = builder.node(node.op_def, inputs, attrs, (), node.types, node.origin, node.name)
            if current in self.kept and current.dtype.is_floating and not node.op_def.view:
                fence = get_op("GraphflowFence")
                rounded = {"T": current.dtype, AGAIN: mine.value.node.serial}
                made = builder.node(fence, made.outputs, rounded, (), node.types, node.origin, node.name)
            self.anew[key] = made.outputs[0]
        key = self.source(value, position, owner)
        assert key is not None
        return self.anew[key]
