"""Loop variables that are equal in every turn become one.

Such are the lengths of all lists that a loop fills for its gradient, and its own counter. Variables that start alike
are taken to be equal until what a turn makes of them, under that assumption, says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from graphflow import config
from graphflow.program import (
    MOST_NESTED,
    NESTED,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.turns import integer

__all__ = ["loop_twins"]


def loop_twins(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with one loop variable in place of several that are always equal, inner loops first."""
    if not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED or depth >= MOST_NESTED:
            return None
        old = [nested for _, nested in nested_programs(node)]
        programs = [loop_twins(nested, counts, depth + 1) for nested in old]
        attrs = node.attrs
        if any(new is not nested for new, nested in zip(programs, old, strict=True)):
            attrs = with_programs(node.op_def, attrs, programs)
        # Two runs that are held against each other have to get the same of what acts only once.
        may = node.op_def in WHILES and not (node.op_def.stateful and config.verify())
        first = _firsts(inputs, programs[1]) if may else {}
        if not first:
            if attrs is node.attrs:
                return None
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        counts["variables"] += len(first)
        kept = [i for i in range(len(inputs)) if i not in first]
        cond, body = (_joined(nested, first) for nested in programs)
        programs = [_of(cond, kept, cond.fetches), _of(body, kept, [body.fetches[i] for i in kept])]
        attrs = with_programs(node.op_def, attrs, programs)
        attrs["T"] = tuple(inputs[i].dtype for i in kept)
        fewer = [inputs[i] for i in kept]
        made = builder.node(node.op_def, fewer, attrs, controls, None, node.origin, node.name)
        return [made.outputs[kept.index(first.get(i, i))] for i in range(len(inputs))]

    return rebuild(program, replace)


def _firsts(inputs: Sequence[Value], body: Program) -> dict[int, int]:
    """The loop variables that equal one before them, and which."""
    groups: dict[object, list[int]] = {}
    for i, (value, feed) in enumerate(zip(inputs, body.feeds, strict=True)):
        groups.setdefault((value, feed.type), []).append(i)
    alike = [group for group in groups.values() if len(group) > 1]
    while alike:
        joined = _joined(body, {i: group[0] for group in alike for i in group[1:]})
        parts: dict[object, list[int]] = {}
        for number, group in enumerate(alike):
            for i in group:
                parts.setdefault((number, joined.fetches[i]), []).append(i)
        if len(parts) == len(alike):
            break
        alike = [part for part in parts.values() if len(part) > 1]
    return {i: group[0] for group in alike for i in group[1:]}


def _joined(program: Program, first: Mapping[int, int]) -> Program:
    """The program with the same feed in place of several; it keeps them all."""
    places = {program.feeds[i]: program.feeds[j] for i, j in first.items()}

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if not any(value in places for value in node.inputs):
            return None
        given = tuple([places.get(old, new) for old, new in zip(node.inputs, inputs, strict=True)])
        if node.type == "Maximum" and (more := _greater(*given)) is not None:
            return [more]
        return builder.again(node, given, controls)

    made = rebuild(program, replace)
    fetches = tuple(places.get(value, value) for value in made.fetches)
    return Program(made.feeds, fetches, made.commits, made.effects, made.specialized)


def _greater(a: Value, b: Value) -> Value | None:
    """Of two numbers that which is the other one, and something: the length of a list, and one behind its end."""
    for less, more in ((a, b), (b, a)):
        if more.node.type == "AddV2" and more.node.inputs[0] is less:
            step = integer(more.node.inputs[1])
            if step is not None and step >= 0:
                return more
    return None


def _of(program: Program, kept: Sequence[int], fetches: Sequence[Value]) -> Program:
    feeds = tuple(program.feeds[i] for i in kept)
    return Program(feeds, tuple(fetches), (), program.effects, program.specialized)
