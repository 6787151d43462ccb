"""Computes once what is known before the run, bounded by the memory it would take."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
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
    node_key,
    rebuild,
    static_context,
    unchanged,
    value_context,
)
from graphflow.reference import run_node
from graphflow.symbolic import Derived, Evaluation, Symbolic, now

Array = np.ndarray[Any, Any]

# A fold may not blow a small constant up into a large one: reading a number costs nothing, a megabyte does.
_FREE_BYTES = 1024
_MOST_BYTES = 256 << 20


def fold_constants(program: Program, counts: Counter[str]) -> Program:
    """Replaces shapes by numbers where they are known, and pure nodes of constants by their values."""
    if not any(map(_may_fold, program.nodes)):
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        return folded(builder, node, inputs, controls, counts)

    return rebuild(program, replace)


def _may_fold(node: Node) -> bool:
    """Whether a node is no matter of the run, as it stands; where none is, none becomes so."""
    op_def = node.op_def
    if op_def.stateful or op_def in NESTED or not node.inputs:
        return False
    return op_def.constant_rule is not None or all(value.is_constant for value in node.inputs)


def folded(
    builder: ProgramBuilder,
    node: Node,
    inputs: tuple[Value, ...],
    controls: tuple[Node, ...],
    counts: Counter[str],
) -> Replacement:
    """Returns the constants that take a node's place, None where there are none; counts them."""
    op_def = node.op_def
    if op_def.stateful or op_def in NESTED or not inputs or not node.outputs or controls:
        return None
    known = _known(builder, node, inputs)
    if known is not None:
        counts[node.type] += 1
        return list(known)
    arrays = [array for value in inputs if (array := _present(value)) is not None]
    if len(arrays) < len(inputs):
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
    if any(value.derived is not None for value in inputs):
        return [builder.constant(made, True) for made in _derived(node, inputs, results)]
    return [builder.constant(np.asarray(result), mark) for result in results]


def _present(value: Value) -> Array | None:
    """The value of a constant for the present sizes."""
    return value.constant if value.derived is None else value.derived.hint


# Bodies that move integers about, or calculate with them, and do so with symbolic ones in arrays of objects as well.
_OF_NUMBERS = frozenset(
    "Add AddV2 Cast ConcatOffset ConcatV2 ExpandDims FloorDiv FloorMod GatherV2 Identity Maximum Minimum Mul Pack Prod "
    "Reshape Slice Squeeze StridedSlice Sub Sum Unpack".split()
)
# Bodies that go another way to the same whole numbers.
_SPELLED: dict[str, Any] = {"Cast": lambda x: x, "FloorDiv": np.floor_divide, "FloorMod": np.mod}
_MOST_NUMBERS = 64


def _derived(node: Node, inputs: Sequence[Value], results: Sequence[Any]) -> list[Derived]:
    """What a pure node makes of operands that open sizes decide; `results` is what it makes of the present ones."""
    sizes = next(value.derived.sizes for value in inputs if value.derived is not None)
    sources: list[Any] = [value.derived or value.constant for value in inputs]
    numbers = _numbers(node, inputs, results)

    def make(at: Evaluation) -> list[Any]:
        return run_node(node, [s.make(at) if isinstance(s, Derived) else s for s in sources], _NoState())

    def part(index: int, at: Evaluation) -> Array:
        return np.asarray(make(at)[index])

    key = node_key(node.op_def, inputs, node.attrs, ())
    made = []
    for index, result in enumerate(results):
        array = np.asarray(result)
        known = None if numbers is None else numbers[index]
        made.append(Derived(sizes, array, functools.partial(part, index), known, (key, index)))
    return made


def _numbers(node: Node, inputs: Sequence[Value], results: Sequence[Any]) -> list[Array] | None:
    """The symbolic elements of what a node makes, if its body can be run on such."""
    if node.type not in _OF_NUMBERS or any(np.asarray(r).dtype.kind not in "iu" for r in results):
        return None
    operands = []
    for value in inputs:
        operand = value.constant if value.derived is None else value.derived.numbers
        if operand is None or operand.size > _MOST_NUMBERS:
            return None
        operands.append(operand)
    try:
        spelled = _SPELLED.get(node.type)
        made = node.op_def.run_body(operands, node.attrs) if spelled is None else [spelled(*operands)]
    except Exception:
        return None  # not with objects; then only all together, as they are
    found = [np.asarray(array, object) for array in made]
    for array, result in zip(found, results, strict=True):
        wanted = np.asarray(result)
        if array.shape != wanted.shape or [now(n) for n in array.reshape(-1)] != wanted.reshape(-1).tolist():
            return None
    return found


def _known(builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...]) -> list[Value] | None:
    """The values that shapes alone decide: shapes, sizes, ranks, the axes that broadcasting stretched."""
    rule = node.op_def.constant_rule
    if rule is None:
        return None
    found = rule(value_context(node.op_def, inputs, node.attrs))
    if found is None:
        return None
    holds_always = rule(static_context(node.op_def, inputs, node.attrs)) is not None
    made = []
    for output, value in zip(node.outputs, found if isinstance(found, list) else [found], strict=True):
        dtype = output.dtype.numpy
        objects = np.asarray(value)
        symbolic = None
        if objects.dtype == object:
            symbolic = next((n for n in objects.reshape(-1) if type(n) is Symbolic), None)
        if symbolic is not None:
            made.append(builder.constant(Derived.of(symbolic.sizes, objects, dtype), True))
        else:
            made.append(builder.constant(objects.astype(dtype, copy=False), not holds_always))
    return made


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

    def give_back(self, name: str, count: int) -> None:
        raise RuntimeError("a constant cannot draw random numbers")

    def fork(self) -> Self:
        return self
