"""Replaces composite ops by the primitive ones that their definition names, so that these can be fused."""

from __future__ import annotations

from collections import Counter

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild


def expand_composites(program: Program, counts: Counter[str]) -> Program:
    """Applies each op's `expand` rule where it has one and the rule takes the node."""

    if not any(node.op_def.expand_rule for node in program.nodes):
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        rule = node.op_def.expand_rule
        if rule is None or controls:
            return None
        results = rule(builder, node, inputs)
        if results is None:
            return None
        counts[node.type] += 1
        return list(results)

    return rebuild(program, replace)
