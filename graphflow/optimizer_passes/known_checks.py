"""What is asserted and known to hold costs no step of the run."""

from __future__ import annotations

from collections import Counter

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild

__all__ = ["known_checks"]


def known_checks(program: Program, counts: Counter[str]) -> Program:
    """Returns the program without assertions whose condition is a constant that holds."""
    if not any(node.type == "Assert" for node in program.effects):
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type != "Assert" or controls or inputs[0].constant is None or not inputs[0].constant.all():
            return None
        counts["assertions"] += 1
        return []

    return rebuild(program, replace)
