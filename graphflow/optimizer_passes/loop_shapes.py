"""The sizes of loop variables that are known once the body is computed for the sizes that they start with.

Shapes in a body come from its feeds, and these from what the body gives: where a size is not seen to stay the same, it
is left open. With the sizes that a loop starts with put in, and with what follows from them folded, it often is seen.
"""

from __future__ import annotations

from collections import Counter

from graphflow import dtypes
from graphflow.optimizer_passes.fold_constants import fold_constants
from graphflow.program import (
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    rebuild,
    retyped,
    with_programs,
)

__all__ = ["loop_shapes"]


def loop_shapes(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with the sizes of loop variables that stay what they are."""
    if not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in WHILES:
            return None
        cond, body = node.attrs["cond"], node.attrs["body"]
        if all(value.sizes is not None for inner in body.nodes for value in inner.outputs):
            return None
        types = [value.type for value in inputs]
        if any(kind.dtype is not dtypes.variant and not kind.shape.is_fully_defined() for kind in types):
            return None
        narrow = fold_constants(retyped(body, types), Counter())
        if any(value.shape != kind.shape for value, kind in zip(narrow.fetches, types, strict=True)):
            return None
        counts["loops"] += 1
        attrs = with_programs(node.op_def, node.attrs, [retyped(cond, types), narrow])
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)
