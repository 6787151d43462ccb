"""How each node is lowered: its form. Fusion and lowering ask the form, never the op's name."""

from __future__ import annotations

import enum
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.loops import ir
from graphflow.loops.build import Builder
from graphflow.lowering.reads import read_of
from graphflow.opdef import Bounds, OpDef
from graphflow.program import FEED, SPECIALIZED, VARIABLE, Node, Program, Value, value_context
from graphflow.records import dataclass

# Under TensorFlow's names: what loop kernels can hold. Complex numbers and strings stay with NumPy.
NATIVE_DTYPES = frozenset(
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()
)
Number = int | float | bool
# Functions that are worth keeping rather than computing again.
DEAR = frozenset(
    "exp expm1 log log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sigmoid erf erfc pow lgamma "
    "digamma".split()
)


class Form(enum.Enum):
    """How a node is lowered."""

    SOURCE = "source"  # feeds, variables, constants: memory that is there already
    ALIAS = "alias"  # the same memory under another shape
    UNIFORM = "uniform"  # one known number everywhere: takes no memory, nor its operands' values
    WINDOW = "window"  # a run of an operand's memory, as cheap to read there as in a copy
    MAP = "map"  # one scalar body per element
    ROW = "row"  # a body over the last axis
    REDUCE = "reduce"  # a fold over some axes
    READ = "read"  # an expression over any elements of its operands, each result by itself
    CALL = "call"  # a library call or a loop nest of its own
    CHECK = "check"  # what ends the run if a condition does not hold
    HOST = "host"  # the NumPy body


def native(value: Value) -> bool:
    """Whether compiled code can hold the value: sizes known, dtype native."""
    return value.sizes is not None and value.dtype.name in NATIVE_DTYPES


def form_of(node: Node, calls: Callable[[Node], bool]) -> Form:
    """Returns how a node is lowered.

    Args:
      node: a node of a specialized program.
      calls: tells whether a library call or loop nest takes the node.
    """
    op_def = node.op_def
    if op_def is FEED or op_def is VARIABLE or op_def.name == "Const":
        return Form.SOURCE
    if op_def.lowering == "check" and all(native(value) or value.is_constant for value in node.inputs):
        return Form.CHECK
    if not node.outputs or not all(map(native, node.outputs)) or not all(map(native, node.inputs)):
        return Form.HOST
    if op_def.effects == "random":
        # A draw depends on nothing but its counter: no order that control edges ask for can change it.
        return Form.CALL if calls(node) else Form.HOST
    # What a pure node has to wait for has run by then: groups and calls run where their last member stands.
    if op_def.effects not in ("", "reads", "writes") or not _in_bounds(node):
        return Form.HOST
    if op_def.view:
        # A shape that only the run knows may be wrong: the NumPy body looks.
        return Form.ALIAS if all(value.is_constant for value in node.inputs[1:]) else Form.HOST
    if uniform_number(node) is not None:
        return Form.UNIFORM
    if op_def.scalar is not None:
        return Form.MAP if _works_by_element(node) else Form.HOST
    if any(0 in (value.sizes or ()) for value in (*node.inputs, *node.outputs)):
        return Form.HOST  # folds of nothing have rules of their own, which the NumPy body knows
    if row_body(node) is not None:
        return Form.ROW
    if op_def.reduction:
        axes = reduced_axes(node)
        kind = node.inputs[0].dtype
        if axes is None or (op_def.reduction == "mean" and not kind.is_floating):
            return Form.HOST
        return Form.REDUCE
    if op_def.index is not None and all(value.is_constant for value in index_constants(node)):
        return Form.WINDOW if _reads_runs(node) else Form.READ if _of_one_size(node) else Form.HOST
    if read_of(node) is not None:
        return Form.READ
    if calls(node):
        return Form.CALL
    return Form.HOST


def lasting_values(program: Program, forms: Mapping[Node, Form]) -> set[Value]:
    """The values that stay the same from run to run until somebody else writes a variable.

    They are made natively of constants and of variables that the program does not write.
    """
    written = {variable for variable, _ in program.commits}
    lasting: set[Value] = set()
    for node in program.nodes:
        if node.op_def is VARIABLE:
            stays = node.attrs["variable"] not in written
        elif node.op_def is FEED or forms.get(node) is Form.HOST or node.op_def.effects == "random":
            stays = False
        else:
            stays = all(value in lasting for value in node.inputs)
        lasting.update(value for value in node.outputs if stays or value.is_constant)
    return lasting


def _of_one_size(node: Node) -> bool:
    return len({value.sizes for value in node.outputs}) == 1


def _in_bounds(node: Node) -> bool:
    """Whether the constant operands are such as the body takes: what it refuses, it has to refuse in the run."""
    for position, (low, high) in bounds_of(node).items():
        constant = node.inputs[position].constant
        if constant is None or not constant.size:
            continue
        if isinstance(high, tuple):
            if np.any((constant < low) | (constant >= np.array(high, np.int64))):
                return False
        elif not low <= constant.min() <= constant.max() < high:
            return False
    return True


def bounds_of(node: Node) -> dict[int, Bounds]:
    """For each operand that must lie within bounds: the least value and the one above the greatest.

    Of vectors of numbers in the last axis the latter may be one for each place.
    """
    rule = node.op_def.bounds_rule
    if rule is None:
        return {}
    bounds: dict[int, Bounds] = rule(value_context(node.op_def, node.inputs, node.attrs))
    return bounds


# -- scalar bodies -----------------------------------------------------------------------------------------


@functools.cache
def asked_for(rule: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the names of the attributes that a lowering rule asks for."""
    parameters = inspect.signature(rule).parameters.items()
    return tuple(name for name, p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def rule_attrs(rule: Callable[..., Any], node: Node) -> dict[str, Any]:
    """Returns the attributes of a node that a lowering rule asks for."""
    return {name: node.attrs[name] for name in asked_for(rule) if name in node.attrs}


def uniform_number(node: Node) -> Number | None:
    """Returns the number that all elements of a node's one result are, if it is known."""
    if len(node.outputs) != 1:
        return None
    if node.op_def.lowering == "anything":
        return 0
    if node.op_def.lowering == "fill":
        constant = None if SPECIALIZED in node.inputs[1].node.attrs else node.inputs[1].constant
        return None if constant is None or constant.size != 1 else constant.reshape(-1)[0].item()
    if node.op_def.scalar is None:
        return None
    tried = scalar_of(node)
    return tried.value if isinstance(tried, ir.Const) else None


def _works_by_element(node: Node) -> bool:
    """Whether every operand stretches to the result, and the scalar body takes what it is given."""
    sizes = node.outputs[0].sizes or ()
    if any(value.sizes != sizes for value in node.outputs):
        return False
    for value in node.inputs:
        own = value.sizes or ()
        lead = len(sizes) - len(own)
        if lead < 0 or any(size not in (1, sizes[lead + axis]) for axis, size in enumerate(own)):
            return False
    return scalar_of(node) is not None


def scalar_of(node: Node) -> Any:
    """Returns what a node's scalar body gives for operands of its dtypes; None where it declines."""
    # Integers by value: a body may refuse a divisor that could be zero, which code has no way to report.
    operands = tuple((value.dtype.name, _single_integer(value)) for value in node.inputs)
    op_def = node.op_def
    asked = (
        op_def.body_attrs
        | {arg.number_attr for arg in op_def.inputs}
        | set(asked_for(op_def.scalar or scalar_of))
    )
    attrs = tuple((name, node.attrs[name]) for name in sorted(asked) if name in node.attrs)
    return _trial(op_def, operands, attrs)


def is_cheap(node: Node) -> bool:
    """Whether a node is a scalar body without dear functions: computing it again costs less than keeping it."""
    if node.op_def.scalar is None or node.op_def.effects or bounds_of(node) or not _works_by_element(node):
        return False
    tried = scalar_of(node)
    roots = tried if isinstance(tried, tuple | list) else (tried,)
    return not any(
        isinstance(expr, ir.Op) and expr.name in DEAR
        for root in roots
        if isinstance(root, ir.Expr)
        for expr in ir.walk_exprs(root)
    )


def _single_integer(value: Value) -> int | None:
    constant = None if SPECIALIZED in value.node.attrs else value.constant
    if constant is None or constant.size != 1 or constant.dtype.kind not in "iu":
        return None
    return int(constant.reshape(-1)[0])


@functools.lru_cache(maxsize=4096)
def _trial(op_def: OpDef, operands: tuple[Any, ...], attrs: tuple[Any, ...]) -> Any:
    """What a scalar body gives for operands of these dtypes; None where it declines."""
    assert op_def.scalar is not None
    b = Builder()
    args = [
        b.var(f"x{i}", dtype) if number is None else b.const(number, dtype)
        for i, (dtype, number) in enumerate(operands)
    ]
    known = dict(attrs)
    wanted = {name: known[name] for name in asked_for(op_def.scalar) if name in known}
    return op_def.scalar(b, *op_def.nest(args, known), **wanted)


# -- folds ---------------------------------------------------------------------------------------------------


def reduced_axes(node: Node) -> tuple[int, ...] | None:
    """Returns the axes that a reduction folds, ascending, or None where they are not known."""
    sizes = node.inputs[0].sizes
    if sizes is None:
        return None
    if len(node.inputs) < 2:
        return tuple(range(len(sizes) - 1))  # a bias gradient: all but the channels
    value = node.inputs[1].constant
    if value is None:
        return None
    return tuple(sorted({int(axis) % max(1, len(sizes)) for axis in value.reshape(-1)}))


@dataclass(frozen=True, slots=True)
class RowBody:
    """A body over the last axis of a space.

    Attributes:
      space: the sizes of the space.
      order: which axis of an operand each axis of the space is.
      inputs: the operands.
      apply: makes expressions of the operands' elements.
    """

    space: tuple[int, ...]
    order: tuple[int, ...]
    inputs: tuple[Value, ...]
    apply: Callable[[Builder, Sequence[ir.Expr]], Any]

    @property
    def in_order(self) -> bool:
        """Whether the operands' axes are those of the space."""
        return self.order == tuple(range(len(self.order)))


def row_body(node: Node) -> RowBody | None:
    """Returns the row body of a node, or None: an op without, or operands of sizes that it does not take."""
    op_def = node.op_def
    rule = op_def.row
    if rule is None:
        return None
    attrs = rule_attrs(rule, node)
    if op_def.row_axis is None:
        space = _row_space((*node.inputs, *node.outputs))
        if space is None:
            return None
        order = tuple(range(len(space)))
        nest = op_def.nest
        return RowBody(
            space, order, node.inputs, lambda b, args: rule(b, *nest(list(args), node.attrs), **attrs)
        )
    axis = node.inputs[op_def.row_axis].constant
    inputs = tuple(value for i, value in enumerate(node.inputs) if i != op_def.row_axis)
    sizes = inputs[0].sizes
    if axis is None or not sizes or any(value.sizes != sizes for value in inputs):
        return None
    order = (*(i for i in range(len(sizes)) if i != int(axis) % len(sizes)), int(axis) % len(sizes))
    space = tuple(sizes[i] for i in order)
    if any(value.sizes != space[:-1] for value in node.outputs):
        return None
    return RowBody(space, order, inputs, lambda b, args: rule(b, *args, **attrs))


def _row_space(values: Sequence[Value]) -> tuple[int, ...] | None:
    """The sizes of the values of full rank; None where they differ, or others are not one element per row."""
    rank = max(len(value.sizes or ()) for value in values)
    full = {value.sizes for value in values if len(value.sizes or ()) == rank}
    if rank == 0 or len(full) != 1:
        return None
    (space,) = full
    if space is None or any(value.sizes not in (space, space[:-1]) for value in values):
        return None
    return space


# -- affine reads ------------------------------------------------------------------------------------------------


def index_source(node: Node) -> int:
    """Which input an affine index map reads: the first of the output's dtype attribute."""
    for i, arg in enumerate(node.op_def.inputs):
        if arg.type_attr and arg.type_attr == node.op_def.outputs[0].type_attr:
            return i
    return 0


def window_source(node: Node) -> Value:
    """The operand that a window, or an affine index map, reads."""
    return node.inputs[0 if node.op_def.view else index_source(node)]


def index_constants(node: Node) -> list[Value]:
    """The inputs of an affine index map that its rule gets as arrays."""
    source = index_source(node)
    return [value for i, value in enumerate(node.inputs) if i != source]


def index_maps(node: Node, sizes: Sequence[int], strides: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
    """Returns offset and strides of each output in elements of the source, which has these sizes and strides."""
    rule = node.op_def.index
    assert rule is not None
    constants = [value.constant for value in index_constants(node)]
    found = rule(tuple(sizes), tuple(strides), *constants, **rule_attrs(rule, node))
    return [found] if isinstance(found, tuple) else list(found)


def _reads_runs(node: Node) -> bool:
    """Whether each output is read as easily in the source: neighbours there are neighbours, or one element."""
    sizes = node.inputs[index_source(node)].sizes or ()
    dense = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    for value, (_, strides) in zip(node.outputs, index_maps(node, sizes, dense), strict=True):
        moving = [s for s, n in zip(strides, value.sizes or (), strict=True) if n != 1]
        if moving and abs(moving[-1]) > 1:
            return False
    return True


__all__ = [
    "DEAR", "NATIVE_DTYPES", "Form", "Number", "RowBody", "asked_for", "bounds_of", "form_of", "index_constants",
    "index_maps", "index_source", "is_cheap", "lasting_values", "native", "reduced_axes", "row_body",
    "rule_attrs", "uniform_number", "window_source",
]  # fmt: skip
