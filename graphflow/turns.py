"""What is known of a loop's turns: how many there are, and which numbers grow evenly with them.

A loop variable that the body only adds a constant to has the value `start + t * step` in turn t. A condition that
compares such a number with one that stays the same says how many turns there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphflow.program import CASES, WHILES, Node, Program, Value
from graphflow.symbolic import ceil_div, greatest

__all__ = [
    "Bounds",
    "Even",
    "Limit",
    "MoreTurns",
    "evens",
    "from_the_end",
    "inductions",
    "inductions_from",
    "integer",
    "is_zero",
    "known_turns",
    "limits_of",
    "most_turns",
    "turns_of",
]


class MoreTurns(Exception):
    """A loop goes on after as many turns as a plan has room for."""

    def __init__(self, room: int) -> None:
        super().__init__(f"a loop has more than {room} turns")
        self.room = room


class Even(NamedTuple):
    """The number `start + t * step` in turn t, more by `base` where that is one which only the run knows."""

    start: int
    step: int
    base: Value | None = None


class Limit(NamedTuple):
    """A loop ends when `even` reaches `value`, a scalar integer that is known before it begins; `inclusive`: passes."""

    even: Even
    value: Value
    inclusive: bool


def integer(value: Value) -> int | None:
    """The number that a value is, if it is a known integer."""
    constant = value.constant
    if constant is None or constant.ndim or not value.dtype.is_integer:
        return None
    number: int = constant.item()  # or a symbolic one
    return number


def inductions(inputs: Sequence[Value], body: Program) -> dict[int, Even]:
    """The loop variables that grow by the same number in each turn, from a number that is known."""
    found: dict[int, Even] = {}
    for i, (feed, made) in enumerate(zip(body.feeds, body.fetches, strict=True)):
        start, step = integer(inputs[i]), _step(feed, made)
        if start is not None and step is not None:
            found[i] = Even(start, step)
    return found


def _step(feed: Value, made: Value) -> int | None:
    """By how much a turn makes a loop variable greater, if that is always the same and known."""
    if made.node.type not in ("Add", "AddV2", "Sub"):
        return None
    a, b = made.node.inputs
    if made.node.type != "Sub" and b is feed:
        a, b = b, a
    step = integer(b) if a is feed else None
    return -step if step is not None and made.node.type == "Sub" else step


def inductions_from(inputs: Sequence[Value], body: Program) -> dict[int, Even]:
    """The loop variables that grow by the same number in each turn, also from what only the run knows, or stay that."""
    found = inductions(inputs, body)
    for i, (feed, made) in enumerate(zip(body.feeds, body.fetches, strict=True)):
        if i in found or inputs[i].sizes != () or not feed.dtype.is_integer or feed.dtype.size < 4:
            continue
        step = 0 if made is feed else _step(feed, made)
        if step is not None:
            base, more = _base(inputs[i])
            found[i] = Even(more, step, base)
    return found


def _base(value: Value) -> tuple[Value, int]:
    """What a number is a known number more than."""
    more = 0
    while value.node.type in ("Add", "AddV2", "Sub") and value.sizes == ():
        a, b = value.node.inputs
        if value.node.type != "Sub" and integer(b) is None:
            a, b = b, a
        number = integer(b)
        if number is None or a.dtype is not value.dtype:
            break
        value, more = a, more + (-number if value.node.type == "Sub" else number)
    return value, more


def evens(program: Program, counted: Mapping[int, Even]) -> dict[Value, Even]:
    """All values of a program that grow evenly with the turns."""
    found = {program.feeds[i]: even for i, even in counted.items()}
    for node in program.nodes:
        if len(node.outputs) != 1 or not node.inputs:
            continue
        if node.type == "GraphflowInList":
            if node.inputs[1] in found:
                found[node.outputs[0]] = found[node.inputs[1]]
            continue
        parts = []
        for value in node.inputs:
            number = integer(value)
            parts.append(found.get(value) if number is None else Even(number, 0))
        if any(part is None for part in parts):
            continue
        numbers = [part for part in parts if part is not None]
        made = _combined(node, numbers)
        if made is not None:
            found[node.outputs[0]] = made
    return found


def _combined(node: Node, parts: list[Even]) -> Even | None:
    kind = node.type
    if kind in ("Identity", "Cast") and node.outputs[0].dtype.is_integer and node.outputs[0].dtype.size >= 4:
        return parts[0]
    if kind == "GraphflowFromEnd" and parts[0].base is None and parts[0].start >= 0 <= parts[0].step:
        return parts[0]
    if kind == "Neg" and parts[0].base is None:
        return Even(-parts[0].start, -parts[0].step)
    if len(parts) != 2:
        return None
    a, b = parts
    if kind in ("Add", "AddV2") and (a.base is None or b.base is None):
        return Even(a.start + b.start, a.step + b.step, a.base or b.base)
    if kind == "Sub" and b.base in (None, a.base):
        return Even(a.start - b.start, a.step - b.step, None if b.base is a.base else a.base)
    if kind == "Mul" and Even(1, 0) in (a, b):
        return b if a == Even(1, 0) else a
    if kind == "Mul" and not (a.step and b.step) and a.base is b.base is None:
        return Even(a.start * b.start, a.start * b.step + a.step * b.start)
    return None


# -- how many turns -------------------------------------------------------------------------------------------


def limits_of(
    inputs: Sequence[Value], cond: Program, body: Program, counted: Mapping[int, Even]
) -> tuple[list[Limit], list[Value]]:
    """The limits in a condition, and what else has to hold."""
    known = evens(cond, counted)
    pairs = zip(body.feeds, body.fetches, strict=True)
    outside = {cond.feeds[i]: inputs[i] for i, (given, made) in enumerate(pairs) if given is made}
    limits: list[Limit] = []
    rest: list[Value] = []
    stack = [cond.fetches[0]]
    while stack:
        value = stack.pop()
        made = value.node
        if made.type in ("Identity", "LogicalAnd"):
            stack += reversed(made.inputs)
            continue
        if value.constant is not None and value.constant.all():
            continue
        limit = _limit(made, known, outside)
        if limit is None:
            rest.append(value)
        else:
            limits.append(limit)
    return limits, rest


def _limit(node: Node, known: Mapping[Value, Even], outside: Mapping[Value, Value]) -> Limit | None:
    if node.type not in ("Less", "LessEqual", "Greater", "GreaterEqual"):
        return None
    a, b = node.inputs
    if node.type in ("Greater", "GreaterEqual"):
        a, b = b, a
    inclusive = node.type.endswith("Equal")
    for number, bound, upwards in ((a, b, True), (b, a, False)):
        even = known.get(number)
        bound = outside.get(bound, bound)
        if even is None or even.base is not None or bound.sizes != () or not bound.dtype.is_integer:
            continue
        if bound.constant is None and bound not in outside.values():
            continue
        if even.step and (even.step > 0) == upwards:
            return Limit(even, bound, inclusive)
    return None


def turns_of(limit: Limit) -> int | None:
    """How many turns a limit allows, if its value is known."""
    value = integer(limit.value)
    if value is None:
        return None
    return _turns_until(limit, value)


def _turns_until(limit: Limit, value: int) -> int:
    start, step, _ = limit.even
    distance = (value - start) * (1 if step > 0 else -1) + limit.inclusive
    turns: int = ceil_div(greatest(0, distance), abs(step))
    return turns


def known_turns(
    inputs: Sequence[Value], cond: Program, body: Program, counted: Mapping[int, Even]
) -> int | None:
    """The number of turns of a loop, if it is known before the run."""
    limits, rest = limits_of(inputs, cond, body, counted)
    turns = [turns_of(limit) for limit in limits]
    if rest or not turns or None in turns:
        return None
    return min(number for number in turns if number is not None)


class Bounds:
    """The greatest values of numbers that only the run knows.

    Args:
      known: those of a program's feeds.
    """

    def __init__(self, known: Mapping[Value, int]) -> None:
        self.known = dict(known)

    def of(self, value: Value) -> int | None:
        """The greatest value of an integer scalar, or None."""
        number = integer(value)
        if number is not None or value in self.known:
            return self.known.get(value) if number is None else number
        node = value.node
        if value.sizes != () or not value.dtype.is_integer:
            return None
        if node.type == "Identity" or (node.type == "Cast" and node.inputs[0].dtype.is_integer):
            return self.of(node.inputs[0])
        if node.type == "Minimum":
            known = [end for end in map(self.of, node.inputs) if end is not None]
            return min(known) if known else None
        if node.type == "Maximum":
            known = [end for end in map(self.of, node.inputs) if end is not None]
            return max(known) if len(known) == 2 else None
        if node.type == "GraphflowInList":
            return self.of(node.inputs[1])
        if node.type == "Mul":
            for a, b in (node.inputs, node.inputs[::-1]):
                end, by = self.of(a), integer(b)
                if end is not None and by is not None and by >= 0:
                    return end * by
            return None
        if node.type in ("Add", "AddV2", "Sub"):
            a, b = node.inputs
            other = integer(b)
            if other is None and node.type != "Sub":
                a, other = b, integer(a)
            end = None if other is None else self.of(a)
            return (
                None if end is None or other is None else end - other if node.type == "Sub" else end + other
            )
        if node.op_def in WHILES:
            return self.after(node, value.index)
        if node.op_def in CASES:
            # What stands for nothing in other branches is not looked at.
            ends: list[int | None] = [
                self.of_branch(node, branch).of(made)
                for branch in node.attrs["branches"]
                if (made := branch.fetches[value.index]).node.type != "FakeParam"
            ]
            known = [end for end in ends if end is not None]
            return max(known) if ends and len(known) == len(ends) else None
        return None

    def after(self, node: Node, i: int) -> int | None:
        """The greatest value of a loop variable after the loop."""
        body = node.attrs["body"]
        if body.fetches[i] is body.feeds[i]:
            return self.of(node.inputs[i])
        counted = inductions(node.inputs, body)
        even = counted.get(i)
        if even is None:
            return None
        if even.step < 0:
            return even.start
        most, _ = most_turns(node.inputs, node.attrs["cond"], body, counted, self)
        return None if most is None else even.start + even.step * most

    def inside(self, node: Node, turns: int | None) -> Bounds:
        """Those of the feeds of a loop's programs; `turns`: the greatest number of turns."""
        cond, body = node.attrs["cond"], node.attrs["body"]
        counted = inductions(node.inputs, body)
        found: dict[Value, int] = {}
        for i, value in enumerate(node.inputs):
            end = self.of(value) if body.fetches[i] is body.feeds[i] else None
            if i in counted and (counted[i].step < 0 or turns is not None):
                end = counted[i].start + max(0, counted[i].step) * max(0, (turns or 1) - 1)
            if end is not None:
                found[body.feeds[i]] = found[cond.feeds[i]] = end
        return Bounds(found)

    def of_branch(self, node: Node, branch: Program) -> Bounds:
        """Those of the feeds of a branch."""
        pairs = zip(branch.feeds, node.inputs[1:], strict=True)
        return Bounds({feed: end for feed, value in pairs if (end := self.of(value)) is not None})


def most_turns(
    inputs: Sequence[Value], cond: Program, body: Program, counted: Mapping[int, Even], bounds: Bounds
) -> tuple[int | None, bool]:
    """The greatest number of turns of a loop, as far as it is known before the run, and whether there are as many."""
    limits, rest = limits_of(inputs, cond, body, counted)
    found, exact = [], not rest and bool(limits)
    for limit in limits:
        turns = turns_of(limit)
        if turns is None:
            exact = False
            end = bounds.of(limit.value) if limit.even.step > 0 else None
            turns = None if end is None else _turns_until(limit, end)
        if turns is not None:
            found.append(turns)
    return (min(found) if found else None), exact


def from_the_end(even: Even, limits: Sequence[Limit], bounds: Bounds, rows: int) -> Even | None:
    """An even number that counts from what limits a loop, with the number of turns in the place of its base.

    None unless that is what it is, and it is one of the numbers of so many rows in every turn.

    Args:
      even: the number; it has a base.
      limits: all limits of the loop, whose number of turns they decide.
      bounds: of the program that the loop stands in.
      rows: the number.
    """
    if len(limits) != 1 or even.base is None or limits[0].value is not even.base:
        return None
    counter, _, inclusive = limits[0]
    most = bounds.of(even.base)
    if counter.step != 1 or even.step != -1 or most is None:
        return None
    # Where there are turns at all, the base is their number and so much more.
    more = counter.start - inclusive
    least, greatest_one = even.start + more + 1, most + even.start
    return Even(even.start + more, even.step) if 0 <= least and greatest_one < rows else None


def is_zero(value: Value) -> bool:
    """Whether all elements are known to be zero."""
    constant = value.node.inputs[1].constant if value.node.type == "Fill" else value.constant
    return constant is not None and not constant.any()
