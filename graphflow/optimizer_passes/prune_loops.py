"""Loop variables that nobody takes leave their loop: not what follows, not its condition, not what others become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from graphflow.program import (
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

__all__ = ["prune_loops"]


def prune_loops(program: Program, counts: Counter[str]) -> Program:
    """Takes such variables out of all loops of a program."""
    users = program.users()
    roots = set(program.roots)

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED:
            return None
        attrs = node.attrs
        programs = [prune_loops(nested, counts) for _, nested in nested_programs(node)]
        if any(new is not old for new, (_, old) in zip(programs, nested_programs(node), strict=True)):
            attrs = with_programs(node.op_def, attrs, programs)
        if node.op_def in WHILES:
            wanted = {value.index for value in node.outputs if value in roots or users.get(value)}
            cond, body = attrs["cond"], attrs["body"]
            kept = sorted(_needed(cond, body, wanted))
            if len(kept) < len(body.feeds):
                counts["variables"] += len(body.feeds) - len(kept)
                programs = [_of(cond, kept, cond.fetches), _of(body, kept, [body.fetches[i] for i in kept])]
                attrs = with_programs(node.op_def, attrs, programs)
                attrs["T"] = tuple(inputs[i].dtype for i in kept)
                fewer = tuple(inputs[i] for i in kept)
                made = builder.node(node.op_def, fewer, attrs, controls, None, node.origin, node.name)
                results = list(inputs)  # what nobody takes may be anything
                for value, i in zip(made.outputs, kept, strict=True):
                    results[i] = value
                return results
        if attrs is node.attrs:
            return None
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)


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
