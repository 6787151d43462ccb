"""Branches that are known before the run are put in place, and tiny ones become a choice of elements."""

from __future__ import annotations

from collections import Counter

import numpy as np

from graphflow.program import CASES, FEED, Node, Program, ProgramBuilder, Replacement, Value, inlined, rebuild

_MOST_NODES = 4  # of two branches that are both computed rather than chosen between
_MOST_ELEMENTS = 1024


def place_branches(program: Program, counts: Counter[str]) -> Program:
    """Replaces a Case by its branch where its index is known, and by a selection where both branches are cheap.

    Results that nobody takes, such as what a gradient would read, are not given out.
    """
    if not program.nests:
        return program
    users = program.users()
    roots = set(program.roots)

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in CASES or node.op_def.stateful or controls:
            return None
        branches: tuple[Program, ...] = node.attrs["branches"]
        index = inputs[0].constant
        if index is not None:
            counts["known"] += 1
            number = int(index)
            chosen = branches[number] if 0 <= number < len(branches) else branches[-1]
            return inlined(builder, chosen, inputs[1:])
        kept = [i for i, value in enumerate(node.outputs) if value in roots or users.get(value)]
        if kept and len(kept) < len(node.outputs):
            counts["results"] += len(node.outputs) - len(kept)
            fewer = _with_results(builder, node, inputs, kept)
            results = [inputs[0]] * len(node.outputs)  # what nobody takes may be anything
            for i, value in zip(kept, fewer.outputs, strict=True):
                results[i] = value
            return results
        if len(branches) != 2 or not all(map(_cheap, branches)):
            return None
        if [value.type for value in branches[0].fetches] != [value.type for value in branches[1].fetches]:
            return None
        counts["selected"] += 1
        zero = builder.constant(np.zeros((), inputs[0].dtype.numpy))
        first = builder.emit("Equal", inputs[0], zero, incompatible_shape_error=True)
        both = [inlined(builder, branch, inputs[1:]) for branch in branches]
        return [a if a is b else builder.emit("SelectV2", first, a, b) for a, b in zip(*both, strict=True)]

    return rebuild(program, replace)


def _with_results(builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], kept: list[int]) -> Node:
    branches = tuple(
        Program(branch.feeds, tuple(branch.fetches[i] for i in kept), (), branch.effects, branch.specialized)
        for branch in node.attrs["branches"]
    )
    attrs = {**node.attrs, "branches": branches, "Tout": tuple(node.attrs["Tout"][i] for i in kept)}
    return builder.node(node.op_def, inputs, attrs, (), None, node.origin, node.name)


def _cheap(program: Program) -> bool:
    """Whether computing a branch for nothing costs nothing, and cannot fail: a few additions and the like."""
    work = [node for node in program.nodes if node.op_def is not FEED and node.type != "Const"]
    if len(work) > _MOST_NODES or program.effects:
        return False
    for node in work:
        if node.type not in _SAFE or not node.outputs[0].dtype.is_floating:
            return False
    return all(
        (value.shape.num_elements() or _MOST_ELEMENTS + 1) <= _MOST_ELEMENTS for value in program.fetches
    )


# Elementwise on floating numbers, and not dear.
_SAFE = frozenset(
    "Add AddV2 Sub Mul Neg Abs Square Maximum Minimum RealDiv Identity Sign Floor Ceil Relu Relu6 Rint".split()
)
