"""The sizes of loop variables that are known once the body is computed for the sizes that they start with.

Shapes in a body come from its feeds, and these from what the body gives: where a size is not seen to stay the same, it
is left open. With the sizes that a loop starts with put in, and with what follows from them folded, it often is seen.
So is how often a loop turns, where its condition asks for a size itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphflow import dtypes
from graphflow.optimizer_passes.fold_constants import fold_constants
from graphflow.optimizer_passes.prune_loops import with_constants
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
    retyped,
    with_programs,
)

__all__ = ["loop_shapes"]


def loop_shapes(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with the sizes of loop variables that stay what they are."""
    if not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED or depth >= MOST_NESTED:
            return None
        old = [nested for _, nested in nested_programs(node)]
        programs = [loop_shapes(nested, counts, depth + 1) for nested in old]
        if node.op_def in WHILES:
            cond, body = programs
            cond, body = _narrow(cond, body, inputs, counts) or (cond, body)
            programs = [fold_constants(cond, Counter()), body]
        if all(new is nested for new, nested in zip(programs, old, strict=True)):
            return None
        attrs = with_programs(node.op_def, node.attrs, programs)
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)


def _narrow(
    cond: Program, body: Program, inputs: Sequence[Value], counts: Counter[str]
) -> tuple[Program, Program] | None:
    """The programs of a loop for the sizes that it starts with, if these stay."""
    if all(value.sizes is not None for inner in body.nodes for value in inner.outputs):
        return None
    types = [value.type for value in inputs]
    if any(kind.dtype is not dtypes.variant and not kind.shape.is_fully_defined() for kind in types):
        return None
    cond, body = with_constants(cond, body, inputs)
    narrow = fold_constants(retyped(body, types), Counter())
    if any(value.shape != kind.shape for value, kind in zip(narrow.fetches, types, strict=True)):
        return None
    counts["loops"] += 1
    return retyped(cond, types), narrow
