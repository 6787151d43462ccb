"""Algebra that keeps every value, NaN and infinity included: identities, transposes, reshapes, casts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graphflow.optimizer_passes.rewrite import RuleSet
from graphflow.program import SPECIALIZED, Node, Program, ProgramBuilder, Value
from graphflow.symbolic import is_symbolic

rules = RuleSet()


def simplify(program: Program, counts: Counter[str]) -> Program:
    """Applies the rules of this module."""
    return rules.apply(program, counts)


def _uniform(value: Value) -> Any:
    """The number that every element of a value equals, or None if that is not known."""
    while value.node.type in ("Fill", "BroadcastTo", "Reshape", "ExpandDims", "Identity"):
        value = value.node.inputs[1 if value.node.type == "Fill" else 0]
    if value.node.type == "ZerosLike":
        return 0
    if value.node.type == "OnesLike":
        return 1
    array = None if value.derived is not None else value.constant
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    return array.reshape(-1)[0].item()


def _same_type(a: Value, b: Value) -> bool:
    """Whether `a` can stand for `b`: same dtype, and surely the same shape."""
    if a.dtype is not b.dtype:
        return False
    if a.shape.is_fully_defined():
        return a.shape == b.shape
    # An open shape is the same only if the result was inferred from nothing else.
    return a.shape == b.shape and all(
        v is a or v.shape.rank == 0 for v in b.node.inputs if v.node.type != "Const" or v.shape.rank
    )


@rules.rule("Identity", "StopGradient", "PreventGradient", "Snapshot")
def drop_identity(b: ProgramBuilder, node: Node) -> Value | None:
    """An identity is its input."""
    return node.inputs[0] if node.inputs[0].dtype is node.outputs[0].dtype else None


@rules.rule("EnsureShape")
def drop_ensured_shape(b: ProgramBuilder, node: Node) -> Value | None:
    """A shape that is known need not be checked."""
    (x,) = node.inputs
    return x if x.shape.is_fully_defined() and x.shape == node.outputs[0].shape else None


@rules.rule("Reshape")
def drop_reshape(b: ProgramBuilder, node: Node) -> Value | None:
    """A reshape to the shape a value has is that value; a shape that only the run knows has to be looked at."""
    x, shape = node.inputs
    return (
        x if shape.is_constant and x.shape.is_fully_defined() and x.shape == node.outputs[0].shape else None
    )


@rules.rule("Reshape")
def merge_reshapes(b: ProgramBuilder, node: Node) -> Value | None:
    """Of two reshapes in a row the first does nothing, where the second has no size left open."""
    x, shape = node.inputs
    inner = x.node
    wanted = shape.constant
    if (
        inner.type != "Reshape"
        or wanted is None
        or not inner.inputs[1].is_constant
        or (np.asarray(wanted) < 0).any()
    ):
        return None
    return b.node(node.op_def, (inner.inputs[0], shape), node.attrs).outputs[0]


@rules.rule("Transpose")
def merge_transposes(b: ProgramBuilder, node: Node) -> Value | None:
    """Two permutations in a row are one; the identity permutation is none."""
    x, perm_value = node.inputs
    perm = perm_value.constant
    if perm is None:
        return None
    if np.array_equal(perm, np.arange(perm.size)):
        return x
    inner = x.node
    if inner.type != "Transpose":
        return None
    first = inner.inputs[1].constant
    if first is None:
        return None
    both = np.asarray(first)[np.asarray(perm)]
    if np.array_equal(both, np.arange(both.size)):
        return inner.inputs[0]
    constant = b.constant(both.astype(perm.dtype), SPECIALIZED in perm_value.node.attrs)
    return b.node(node.op_def, (inner.inputs[0], constant), {**node.attrs}).outputs[0]


@rules.rule("MatMul", "BatchMatMul", "BatchMatMulV2", "GraphflowMixedMatMul", "GraphflowMixedBatchMatMul")
def absorb_transposes(b: ProgramBuilder, node: Node) -> Value | None:
    """A product reads a transposed operand as it lies in memory."""
    batched = "Batch" in node.type
    flags = ("adj_x", "adj_y") if batched else ("transpose_a", "transpose_b")
    if node.outputs[0].dtype.is_complex and batched:
        return None
    inputs, attrs = list(node.inputs), dict(node.attrs)
    changed = False
    for i, flag in enumerate(flags):
        inner = inputs[i].node
        if inner.type != "Transpose" or inner.inputs[1].constant is None:
            continue
        perm = np.asarray(inner.inputs[1].constant)
        swapped = np.arange(perm.size)
        swapped[[-2, -1]] = swapped[[-1, -2]]
        if np.array_equal(perm, swapped):
            inputs[i], attrs[flag], changed = inner.inputs[0], not attrs[flag], True
    return b.node(node.op_def, inputs, attrs).outputs[0] if changed else None


@rules.rule("Cast")
def drop_cast(b: ProgramBuilder, node: Node) -> Value | None:
    """A cast to the dtype a value has is that value."""
    return node.inputs[0] if node.inputs[0].dtype is node.outputs[0].dtype else None


@rules.rule("Mul")
def drop_factor_one(b: ProgramBuilder, node: Node) -> Value | None:
    """`x * 1` is x."""
    for x, other in (node.inputs, reversed(node.inputs)):
        if _uniform(other) == 1 and _same_type(x, node.outputs[0]):
            return x
    return None


@rules.rule("RealDiv", "Div")
def drop_divisor_one(b: ProgramBuilder, node: Node) -> Value | None:
    """`x / 1` is x."""
    x, other = node.inputs
    return x if _uniform(other) == 1 and _same_type(x, node.outputs[0]) else None


@rules.rule("Sub")
def drop_minus_zero(b: ProgramBuilder, node: Node) -> Value | None:
    """`x - 0` is x, for +0: `-0.0 - 0` is -0.0."""
    x, other = node.inputs
    zero = _uniform(other)
    if zero is None or zero != 0 or np.signbit(float(zero)):
        return None
    return x if _same_type(x, node.outputs[0]) else None


@rules.rule("Add", "AddV2")
def drop_plus_zero(b: ProgramBuilder, node: Node) -> Value | None:
    """`x + 0` is x for integers; for floats only -0.0 may be dropped, since `-0.0 + 0.0` is 0.0."""
    if not node.outputs[0].dtype.is_numpy_compatible or node.outputs[0].dtype.is_bool:
        return None
    for x, other in (node.inputs, reversed(node.inputs)):
        zero = _uniform(other)
        if zero is None or zero != 0 or not _same_type(x, node.outputs[0]):
            continue
        if node.outputs[0].dtype.is_integer or np.signbit(float(zero)):
            return x
    return None


@rules.rule("AddN")
def drop_lone_sum(b: ProgramBuilder, node: Node) -> Value | None:
    """A sum of one is that one."""
    return node.inputs[0] if len(node.inputs) == 1 else None


@rules.rule("Neg")
def merge_negations(b: ProgramBuilder, node: Node) -> Value | None:
    """Two negations in a row are none."""
    inner = node.inputs[0].node
    return inner.inputs[0] if inner.type == "Neg" else None


@rules.rule("Sum", "Mean", "Max", "Min", "Prod", "Any", "All")
def drop_empty_fold(b: ProgramBuilder, node: Node) -> Value | None:
    """A fold over no axis, or over axes of one element, moves no data."""
    x, axes_value = node.inputs
    axes, result = axes_value.constant, node.outputs[0]
    if axes is None or x.dtype is not result.dtype:
        return None
    dims = x.shape.as_tuple()
    if axes.size == 0:
        return x
    if (
        dims is None
        or any(is_symbolic(dims[int(axis)]) or dims[int(axis)] != 1 for axis in axes.reshape(-1))
        or not result.shape.is_fully_defined()
    ):
        return None
    if x.shape == result.shape:
        return x
    static = result.static_shape.is_fully_defined()
    shape = b.constant(np.array(result.sizes, np.int32), not static)
    return b.emit("Reshape", x, shape)


@rules.rule("Select")
def stretch_condition(b: ProgramBuilder, node: Node) -> Value | None:
    """A choice between whole rows, or by each element, is one with a stretched condition, which fuses."""
    condition, x, y = node.inputs
    rank, own = x.shape.rank, condition.shape.rank
    if rank is None or own is None:
        return None
    if own == 1 and rank > 1:
        # A vector chooses rows: it belongs to the first axis, where broadcasting aligns the last.
        condition = b.emit("Reshape", condition, b.constant(np.array([-1] + [1] * (rank - 1), np.int32)))
    return b.emit("SelectV2", condition, x, y)


@rules.rule("Pow")
def square_for_power_two(b: ProgramBuilder, node: Node) -> Value | None:
    """`x ** 2` is `x * x`, and `x ** 1` is x."""
    x, other = node.inputs
    power = _uniform(other)
    if not _same_type(x, node.outputs[0]):
        return None
    if power == 2 and (x.dtype.is_floating or x.dtype.is_integer):
        return b.emit("Square", x)
    return x if power == 1 else None
