"""What is known of a loop's turns: how many there are, and which numbers grow evenly with them.

A loop variable that the body only adds a constant to has the value `start + t * step` in turn t. A condition that
compares such a number with one that stays the same says how many turns there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphflow.program import Node, Program, Value

__all__ = [
    "Even",
    "Limit",
    "evens",
    "inductions",
    "integer",
    "is_zero",
    "known_turns",
    "limits_of",
    "turns_of",
]


class Even(NamedTuple):
    """The number `start + t * step` in turn t."""

    start: int
    step: int


class Limit(NamedTuple):
    """A loop ends when `even` reaches `value`, a scalar integer that is known before it begins; `inclusive`: passes."""

    even: Even
    value: Value
    inclusive: bool


def integer(value: Value) -> int | None:
    """The number that a value is, if it is a known integer."""
    constant = value.constant
    if constant is None or constant.ndim or constant.dtype.kind not in "iu":
        return None
    return int(constant)


def inductions(inputs: Sequence[Value], body: Program) -> dict[int, Even]:
    """The loop variables that grow by the same number in each turn, from a number that is known."""
    found: dict[int, Even] = {}
    for i, (feed, made) in enumerate(zip(body.feeds, body.fetches, strict=True)):
        start = integer(inputs[i])
        if start is None or made.node.type not in ("Add", "AddV2", "Sub"):
            continue
        a, b = made.node.inputs
        if made.node.type != "Sub" and b is feed:
            a, b = b, a
        step = integer(b)
        if a is feed and step is not None:
            found[i] = Even(start, -step if made.node.type == "Sub" else step)
    return found


def evens(program: Program, counted: Mapping[int, Even]) -> dict[Value, Even]:
    """All values of a program that grow evenly with the turns."""
    found = {program.feeds[i]: even for i, even in counted.items()}
    for node in program.nodes:
        if len(node.outputs) != 1 or not node.inputs:
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
    if kind == "Neg":
        return Even(-parts[0].start, -parts[0].step)
    if len(parts) != 2:
        return None
    a, b = parts
    if kind in ("Add", "AddV2"):
        return Even(a.start + b.start, a.step + b.step)
    if kind == "Sub":
        return Even(a.start - b.start, a.step - b.step)
    if kind == "Mul" and not (a.step and b.step):
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
        if even is None or bound.sizes != () or not bound.dtype.is_integer:
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
    start, step = limit.even
    distance = (value - start) * (1 if step > 0 else -1) + limit.inclusive
    return max(0, -(-distance // abs(step)))


def known_turns(
    inputs: Sequence[Value], cond: Program, body: Program, counted: Mapping[int, Even]
) -> int | None:
    """The number of turns of a loop, if it is known before the run."""
    limits, rest = limits_of(inputs, cond, body, counted)
    turns = [turns_of(limit) for limit in limits]
    if rest or not turns or None in turns:
        return None
    return min(number for number in turns if number is not None)


def is_zero(value: Value) -> bool:
    """Whether all elements are known to be zero."""
    constant = value.node.inputs[1].constant if value.node.type == "Fill" else value.constant
    return constant is not None and not constant.any()
