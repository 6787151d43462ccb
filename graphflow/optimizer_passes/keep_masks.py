"""Random numbers that are only asked whether they reach a bound are never written: the bits are made as an answer.

This is what dropout does. The answers take a quarter of the memory of the numbers, and what is dropped and what its
gradient is read the same ones. The numbers, and those that later runs draw, stay what they were.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from graphflow.opdef import get_op
from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild


def keep_masks(program: Program, counts: Counter[str]) -> Program:
    """Replaces each comparison of uniform numbers with a bound, where nobody else takes the numbers."""
    if not any(node.type == "GreaterEqual" for node in program.nodes):
        return program
    users = program.users()
    roots = set(program.roots)

    def alone(value: Value) -> bool:
        return len(users.get(value, ())) == 1 and value not in roots

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type != "GreaterEqual" or controls or not alone(node.inputs[0]):
            return None
        numbers, least = inputs
        if not _is_number(least):
            return None
        if numbers.node.type == "AddV2":
            # A least number of zero, added; the numbers are none that this would change.
            one, other = node.inputs[0].node.inputs
            drawn, zero = (one, other) if one.node.type == "RandomUniform" else (other, one)
            if not alone(drawn) or not _is_number(zero) or zero.constant is None or zero.constant.item() != 0:
                return None
            numbers = numbers.node.inputs[0 if drawn is one else 1]
        source = numbers.node
        if (
            source.type != "RandomUniform"
            or source.controls
            or numbers.shape.rank != node.outputs[0].shape.rank
        ):
            return None
        counts["masks"] += 1
        op_def = get_op("GraphflowRandomAtLeast")
        made = b.node(op_def, (source.inputs[0], least), source.attrs, origin=source.origin, name=source.name)
        return [made.outputs[0]]

    return rebuild(program, replace)


def _is_number(value: Value) -> bool:
    constant = value.constant
    return constant is not None and value.derived is None and constant.shape == () and not np.isnan(constant)
