"""Computes once what is known before the run, bounded by the memory it would take."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Self

import numpy as np

from graphflow.errors import ShapeError
from graphflow.program import (
    NESTED,
    SPECIALIZED,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    infer_types,
    rebuild,
    static_context,
    unchanged,
    value_context,
)
from graphflow.reference import run_node

Array = np.ndarray[Any, Any]

# A fold may not blow a small constant up into a large one: reading a number costs nothing, a megabyte does.
_FREE_BYTES = 1024
_MOST_BYTES = 256 << 20


def fold_constants(program: Program, counts: Counter[str]) -> Program:
    """Replaces shapes by numbers where they are known, and pure nodes of constants by their values."""

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        op_def = node.op_def
        if op_def.stateful or op_def in NESTED or not inputs or not node.outputs or controls:
            return None
        known = _known(builder, node, inputs)
        if known is not None:
            counts[node.type] += 1
            return [known]
        constants = [value.constant for value in inputs]
        arrays = [array for array in constants if array is not None]
        if len(arrays) < len(constants):
            return None
        given = sum(array.nbytes for array in arrays)
        made = 0
        mark = any(SPECIALIZED in value.node.attrs for value in inputs)
        try:
            kinds = node.types if unchanged(inputs, node) else infer_types(op_def, inputs, node.attrs)
        except ShapeError:
            return None  # raised again, with names, where the node is
        for kind in kinds:
            dims = kind.shape.as_tuple()
            sizes = None if dims is None or None in dims else dims
            if not kind.dtype.is_numpy_compatible or (sizes is None and given > _FREE_BYTES):
                return None
            if mark and sizes is not None and not kind.static_shape.is_fully_defined():
                return None  # as long as a feed: its length must stay open in generated code
            # A size that only the body knows (the axes of a broadcast, say) is small if the operands are.
            made += 0 if sizes is None else math.prod(sizes) * kind.dtype.size  # type: ignore[arg-type]
        if made > _MOST_BYTES or made > max(_FREE_BYTES, 2 * given):
            return None
        try:
            results = run_node(node, arrays, _NoState())
        except Exception:
            return None  # what fails has to fail in the run, where the error can say so
        counts[node.type] += 1
        return [builder.constant(np.asarray(result), mark) for result in results]

    return rebuild(program, replace)


def _known(builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """The value that shapes alone decide: shapes, sizes, ranks, the axes that broadcasting stretched."""
    rule = node.op_def.constant_rule
    if rule is None or len(node.outputs) != 1:
        return None
    value = rule(value_context(node.op_def, inputs, node.attrs))
    if value is None:
        return None
    holds_always = rule(static_context(node.op_def, inputs, node.attrs)) is not None
    return builder.constant(np.asarray(value, node.outputs[0].dtype.numpy), not holds_always)


class _NoState:
    """The state of a body that may use none."""

    def read(self, name: str) -> Array:
        raise RuntimeError("a constant cannot read a variable")

    def write(self, name: str, value: Array) -> None:
        raise RuntimeError("a constant cannot write a variable")

    def is_initialized(self, name: str) -> bool:
        raise RuntimeError("a constant cannot look at a variable")

    def reserve(self, node: Node, count: int) -> tuple[tuple[int, int], int]:
        raise RuntimeError("a constant cannot draw random numbers")

    def fork(self) -> Self:
        return self
