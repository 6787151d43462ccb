"""What nobody takes leaves loops: variables that neither what follows, the condition nor other variables need.

Variables that count are known after the last turn, where the number of turns is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

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
from graphflow.symbolic import Derived
from graphflow.turns import Even, evens, inductions, inductions_from, known_turns

__all__ = ["prune_loops", "with_constants"]

_SMALL = 64  # elements of a constant that a loop may have a copy of


def prune_loops(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Takes such variables out of all loops of a program."""
    if not program.nests:
        return program
    changed: list[Node] = []
    users = program.users()
    roots = set(program.roots)

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED or depth >= MOST_NESTED:
            return None
        attrs = node.attrs
        programs = [prune_loops(nested, counts, depth + 1) for _, nested in nested_programs(node)]
        if any(new is not old for new, (_, old) in zip(programs, nested_programs(node), strict=True)):
            attrs = with_programs(node.op_def, attrs, programs)
        # Two runs that are held against each other have to get the same of what acts only once.
        if node.op_def in WHILES and not (node.op_def.stateful and config.verify()):
            wanted = {value.index for value in node.outputs if value in roots or users.get(value)}
            cond, body = with_constants(attrs["cond"], attrs["body"], inputs)
            cond, body = _without_blind_sets(cond, body, inputs, wanted, counts)
            ends = {i: value for i, value in _ends(builder, inputs, cond, body).items() if i in wanted}
            wanted -= ends.keys()
            kept = sorted(_needed(cond, body, wanted))
            if len(kept) < len(body.feeds) or body is not attrs["body"] or ends:
                changed.append(node)
                counts["variables"] += len(body.feeds) - len(kept)
                programs = [_of(cond, kept, cond.fetches), _of(body, kept, [body.fetches[i] for i in kept])]
                attrs = with_programs(node.op_def, attrs, programs)
                attrs["T"] = tuple(inputs[i].dtype for i in kept)
                fewer = tuple(inputs[i] for i in kept)
                made = builder.node(node.op_def, fewer, attrs, controls, None, node.origin, node.name)
                results = list(inputs)  # what nobody takes may be anything
                for value, i in zip(made.outputs, kept, strict=True):
                    results[i] = value
                for i, value in ends.items():
                    results[i] = value
                return results
        if attrs is node.attrs:
            return None
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    result = rebuild(program, replace)
    # What a loop no longer takes, one before it need not give.
    return prune_loops(result, counts, depth) if changed and depth < MOST_NESTED else result


def with_constants(cond: Program, body: Program, inputs: Sequence[Value]) -> tuple[Program, Program]:
    """A loop's programs with small constants that it is given and leaves as they are inside of them."""
    known = {
        i: value
        for i, value in enumerate(inputs)
        if body.fetches[i] is body.feeds[i] and value.constant is not None and value.constant.size <= _SMALL
    }
    if not any(_uses(program, program.feeds[i]) for i in known for program in (cond, body)):
        return cond, body
    return _replaced(cond, known), _replaced(body, known)


def _replaced(program: Program, known: Mapping[int, Value]) -> Program:
    """The program with constants where it takes feeds; it keeps these."""
    places = {program.feeds[i]: value for i, value in known.items() if _uses(program, program.feeds[i])}
    if not places:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if not any(value in places for value in node.inputs):
            return None
        given = tuple(
            [
                builder.node(
                    places[old].node.op_def, (), places[old].node.attrs, (), places[old].node.types
                ).outputs[0]
                if old in places
                else new
                for old, new in zip(node.inputs, inputs, strict=True)
            ]
        )
        return builder.again(node, given, controls)

    return rebuild(program, replace)


def _ends(builder: ProgramBuilder, inputs: Sequence[Value], cond: Program, body: Program) -> dict[int, Value]:
    """The values after the last turn of the loop variables that count, where the number of turns is known."""
    counted = inductions(inputs, body)
    turns = known_turns(inputs, cond, body, counted) if counted else None
    if turns is None:
        return {}
    return {
        i: builder.constant(Derived.holding(even.start + even.step * turns, body.feeds[i].dtype.numpy), True)
        for i, even in counted.items()
    }


def _without_blind_sets(
    cond: Program, body: Program, inputs: Sequence[Value], wanted: Collection[int], counts: Counter[str]
) -> tuple[Program, Program]:
    """The loop without setting rows of a tensor that only turns look at, and only at rows that are not set yet."""
    counted = inductions_from(inputs, body)
    known: dict[Value, Even] | None = None
    users = body.users()
    fetches = list(body.fetches)
    for i, (feed, made) in enumerate(zip(body.feeds, body.fetches, strict=True)):
        node = made.node
        if node.type != "GraphflowRowSet" or node.inputs[0] is not feed or i in wanted or users.get(made):
            continue
        if _uses(cond, cond.feeds[i]) or fetches.count(made) != 1 or not counted:
            continue
        known = evens(body, counted) if known is None else known
        even = known.get(node.inputs[1])
        if even is None or not even.step or feed in (*node.inputs[1:], *fetches):
            continue
        readers = [user for user in users[feed] if user is not node]
        if all(user.type == "GraphflowRow" and known.get(user.inputs[1]) == even for user in readers):
            fetches[i] = feed
            counts["sets"] += 1
    if tuple(fetches) == body.fetches:
        return cond, body
    return cond, Program(body.feeds, tuple(fetches), (), body.effects, body.specialized)


def _of(program: Program, kept: Collection[int], fetches: Collection[Value]) -> Program:
    feeds = tuple(program.feeds[i] for i in kept)
    return Program(feeds, tuple(fetches), (), program.effects, program.specialized)


def _needed(cond: Program, body: Program, wanted: Collection[int]) -> set[int]:
    """The loop variables that somebody takes."""
    found: set[int] = set()
    stack = [i for i, feed in enumerate(cond.feeds) if _uses(cond, feed)]
    stack += [i for i in wanted]
    stack += [
        i for i, feed in enumerate(body.feeds) for node in body.effects if feed in _behind([*node.inputs])
    ]
    while stack:
        i = stack.pop()
        if i in found:
            continue
        found.add(i)
        behind = _behind([body.fetches[i]])
        stack += [j for j, feed in enumerate(body.feeds) if feed in behind and j not in found]
    return found


def _uses(program: Program, feed: Value) -> bool:
    return feed in program.fetches or any(feed in node.inputs for node in program.nodes)


def _behind(values: list[Value]) -> set[Value]:
    """The values that some values are made of, and these."""
    seen: set[Value] = set()
    stack = list(values)
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.node.inputs)
    return seen
