"""Empty lists that became one because they were made alike are several again: one for each list that begins with it.

What is known of a list, its length and its elements' sizes, then is not held against what is known of another one.
"""

from __future__ import annotations

from collections import Counter

from graphflow.program import (
    MOST_NESTED,
    NESTED,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    nested_programs,
    rebuild,
    with_programs,
)

__all__ = ["part_lists"]

_BEGINNINGS = ("EmptyTensorList", "TensorListReserve")
_COPY = "_copy"  # an attribute that keeps equal nodes apart


def part_lists(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with a beginning of its own for each list."""
    shared = {
        value
        for value, users in program.users().items()
        if value.node.type in _BEGINNINGS and sum(user.inputs.count(value) for user in users) > 1
    }
    if not shared and not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        attrs = node.attrs
        if node.op_def in NESTED and depth < MOST_NESTED:
            parts = [part_lists(nested, counts, depth + 1) for _, nested in nested_programs(node)]
            if any(new is not old for new, (_, old) in zip(parts, nested_programs(node), strict=True)):
                attrs = with_programs(node.op_def, attrs, parts)
        given = []
        for old, new in zip(node.inputs, inputs, strict=True):
            if old in shared:
                first = new.node
                counts["lists"] += 1
                own = {**first.attrs, _COPY: counts["lists"]}
                new = builder.node(first.op_def, first.inputs, own, first.controls, first.types).outputs[0]
            given.append(new)
        if attrs is node.attrs and tuple(given) == inputs:
            return None
        return builder.node(node.op_def, given, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)
