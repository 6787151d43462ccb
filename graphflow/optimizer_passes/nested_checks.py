"""Assertions of branches and loops are checks without effects, so that what they stand in can run natively.

An assertion acts on the world, and whatever holds one keeps its place among such and is left alone by most passes. All
that it does is to end the run, which a check may do at the end of its turn as well: nothing that anybody sees happens
in between. What waited for the assertion need not: the run ends before it writes a variable, or acts on the world.
"""

from __future__ import annotations

from collections import Counter

from graphflow.opdef import get_op, op
from graphflow.ops.control import assert_op
from graphflow.ops.rules import Array
from graphflow.program import (
    CASES,
    MOST_NESTED,
    NESTED,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    has_effects,
    nested_programs,
    rebuild,
    with_programs,
)

__all__ = ["nested_checks"]


@op("GraphflowCheck", "condition:bool; data:list(T)", "", "T:list(type)>=1; summarize:int=3", infer=lambda node: [],
    differentiable=False, lowering="check")  # fmt: skip
def check_op(condition: Array, data: list[Array], *, summarize: int = 3) -> None:
    """An assertion that keeps to no order."""
    assert_op.body(condition, data, summarize=summarize)


# What may stand beside an assertion: what draws has no order, and loses its effects in a later pass.
_UNORDERED = ("Assert", "GraphflowCheck")


def nested_checks(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with checks in place of the assertions of branches and loops that do nothing else."""
    if not depth and not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type == "Assert" and depth and not controls and _only_asserts(program):
            counts["assertions"] += 1
            return builder.node(get_op("GraphflowCheck"), inputs, node.attrs, (), (), node.origin, node.name)
        attrs, op_def = node.attrs, node.op_def
        if op_def in NESTED and depth < MOST_NESTED:
            old = [nested for _, nested in nested_programs(node)]
            programs = [
                nested if place == "cond" else nested_checks(nested, counts, depth + 1)
                for place, nested in nested_programs(node)
            ]
            if any(new is not nested for new, nested in zip(programs, old, strict=True)):
                attrs = with_programs(op_def, attrs, programs)
                if not any(map(has_effects, programs)):
                    op_def = get_op("GraphflowCase" if op_def in CASES else "GraphflowWhile")
        waits = controls
        if not op_def.stateful:
            waits = tuple(control for control in controls if control.op_def.stateful)
            if node.type == "Identity" and controls and not waits:
                return list(inputs)
        if attrs is node.attrs and waits == controls:
            return None
        types = None if op_def in NESTED else node.types
        return builder.node(op_def, inputs, attrs, waits, types, node.origin, node.name)

    return rebuild(program, replace)


def _only_asserts(program: Program) -> bool:
    """Whether nothing of a program acts on the world but assertions, so that their order is all one."""
    return all(node.op_def.effects != "host" or _asserts(node) for node in program.nodes)


def _asserts(node: Node) -> bool:
    if node.op_def in NESTED:
        return all(_only_asserts(nested) for _, nested in nested_programs(node))
    return node.type in _UNORDERED
