"""Merges equal nodes. Rebuilding interns, so all that is left to do is to spell commuted operands one way."""

from __future__ import annotations

from collections import Counter

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild

# Operations for which `f(a, b)` and `f(b, a)` have the same bits; but for strings, whose sum joins them.
_COMMUTATIVE = frozenset(
    "Add AddV2 Mul Equal NotEqual LogicalAnd LogicalOr BitwiseAnd BitwiseOr BitwiseXor SquaredDifference".split()
)


def merge_common(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with equal nodes merged."""

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type not in _COMMUTATIVE or controls or node.outputs[0].dtype is not inputs[0].dtype:
            return None
        a, b = inputs
        if a.dtype.name == "string":
            return None
        if (a.node.serial, a.index) <= (b.node.serial, b.index):
            return None
        counts["commuted"] += 1
        return builder.node(node.op_def, (b, a), node.attrs, (), None, node.origin, node.name)

    before = len(program.nodes)
    result = rebuild(program, replace)
    counts["merged"] += before - len(result.nodes)
    return result
