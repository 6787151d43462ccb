"""Which nodes share a kernel. Fusion asks an op's form, never its name.

Nodes are met in program order. A node joins the open groups that its operands come from when it walks the same index
space; a group is closed for good as soon as a node outside takes one of its values. So a group can always run at the
place of its last member, whatever the rest of the program looks like, and the walk is linear.
"""

from __future__ import annotations

import enum
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphflow.loops.build import Builder
from graphflow.opdef import OpDef
from graphflow.program import FEED, SPECIALIZED, VARIABLE, Node, Program, Value

# Under TensorFlow's names: what loop kernels can hold. Complex numbers and strings stay with NumPy.
NATIVE_DTYPES = frozenset(
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()
)
MOST_NODES = 96  # larger groups spill registers and compile slowly
MOST_BUFFERS = 40
# A fold of everything into one value is cut into shares from here on; then nothing may follow in the same kernel.
SPLIT_FROM = 1 << 15


class Form(enum.Enum):
    """How a node is lowered."""

    SOURCE = "source"  # feeds, variables, constants: memory that is there already
    ALIAS = "alias"  # the same memory under another shape
    MAP = "map"  # one scalar body per element
    ROW = "row"  # a body over the last axis
    REDUCE = "reduce"  # a fold over some axes
    INDEX = "index"  # an affine read of one operand
    CALL = "call"  # a library call or a special kernel
    HOST = "host"  # the NumPy body


@dataclass(eq=False, slots=True)
class Group:
    """Nodes that share a kernel.

    Attributes:
      space: the sizes that the kernel's loops walk.
      axes: the axes that are folded, None while nothing is.
      nodes: the members in program order.
      is_open: whether nodes may still join.
    """

    space: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    nodes: list[Node] = field(default_factory=list)
    is_open: bool = True

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes that are not folded."""
        return tuple(axis for axis in range(len(self.space)) if axis not in (self.axes or ()))

    @property
    def folds_in_shares(self) -> bool:
        """Whether the fold is cut into shares of fixed size that a second kernel combines."""
        if self.axes is None:
            return False
        kept = math.prod(self.space[axis] for axis in self.kept)
        folded = math.prod(self.space[axis] for axis in self.axes)
        return kept * 16 <= folded and kept * folded >= SPLIT_FROM and kept <= 4096

    def is_inner(self, sizes: tuple[int, ...]) -> bool:
        """Whether a value of these sizes has an element at each point of the space."""
        return sizes == self.space

    def is_outer(self, sizes: tuple[int, ...]) -> bool:
        """Whether a value of these sizes has one element for each fold."""
        if self.axes is None:
            return False
        return sizes in (
            tuple(self.space[axis] for axis in self.kept),
            tuple(1 if axis in self.axes else size for axis, size in enumerate(self.space)),
        )


def native(value: Value) -> bool:
    """Whether compiled code can hold the value: sizes known, dtype native."""
    return value.sizes is not None and value.dtype.name in NATIVE_DTYPES


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


def form_of(node: Node, calls: Callable[[Node], bool]) -> Form:
    """Returns how a node is lowered.

    Args:
      node: a node of a specialized program.
      calls: tells whether a special lowering takes the node.
    """
    op_def = node.op_def
    if op_def is FEED or op_def is VARIABLE or op_def.name == "Const":
        return Form.SOURCE
    if not node.outputs or not all(map(native, node.outputs)) or not all(map(native, node.inputs)):
        return Form.HOST
    if op_def.effects not in ("", "reads", "writes") or node.controls:
        return Form.HOST
    if op_def.view:
        return Form.ALIAS
    if op_def.scalar is not None:
        return Form.MAP if _works_by_element(node) else Form.HOST
    if any(0 in (value.sizes or ()) for value in (*node.inputs, *node.outputs)):
        return Form.HOST  # folds of nothing have rules of their own, which the NumPy body knows
    if op_def.row is not None:
        return Form.ROW if _row_space(node) is not None else Form.HOST
    if op_def.reduction:
        axes = reduced_axes(node)
        kind = node.inputs[0].dtype
        if axes is None or (op_def.reduction == "mean" and not kind.is_floating):
            return Form.HOST
        return Form.REDUCE
    if op_def.index is not None and all(value.constant is not None for value in index_constants(node)):
        if len({value.sizes for value in node.outputs}) == 1:
            return Form.INDEX
        return Form.HOST
    if calls(node):
        return Form.CALL
    return Form.HOST


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
    # Integers by value: a body may refuse a divisor that could be zero, which code has no way to report.
    operands = tuple((value.dtype.name, _single_integer(value)) for value in node.inputs)
    op_def = node.op_def
    asked = op_def.body_attrs | {arg.number_attr for arg in op_def.inputs}
    return _takes(op_def, operands, tuple((name, node.attrs[name]) for name in asked if name in node.attrs))


def _single_integer(value: Value) -> int | None:
    constant = value.constant
    if (
        constant is None
        or constant.size != 1
        or constant.dtype.kind not in "iu"
        or SPECIALIZED in value.node.attrs
    ):
        return None
    return int(constant.reshape(-1)[0])


@functools.lru_cache(maxsize=4096)
def _takes(op_def: OpDef, operands: tuple[Any, ...], attrs: tuple[Any, ...]) -> bool:
    """Whether a scalar body gives expressions for operands of these dtypes."""
    assert op_def.scalar is not None
    b = Builder()
    args = [
        b.var(f"x{i}", dtype) if number is None else b.const(number, dtype)
        for i, (dtype, number) in enumerate(operands)
    ]
    known = dict(attrs)
    wanted = {
        name: known[name]
        for name, p in inspect.signature(op_def.scalar).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY and name in known
    }
    return op_def.scalar(b, *op_def.nest(args, known), **wanted) is not None


def index_source(node: Node) -> int:
    """Which input an affine index map reads: the first that is not a constant, else the first."""
    for i, arg in enumerate(node.op_def.inputs):
        if arg.type_attr and arg.type_attr in (node.op_def.outputs[0].type_attr,):
            return i
    return 0


def index_constants(node: Node) -> list[Value]:
    """The inputs of an affine index map that its rule gets as arrays."""
    source = index_source(node)
    return [value for i, value in enumerate(node.inputs) if i != source]


def _row_space(node: Node) -> tuple[int, ...] | None:
    """The space of a row body: the sizes of its operands of full rank; None where they differ."""
    rank = max(len(value.sizes or ()) for value in node.inputs)
    full = {value.sizes for value in (*node.inputs, *node.outputs) if len(value.sizes or ()) == rank}
    if rank == 0 or len(full) != 1:
        return None
    (space,) = full
    assert space is not None
    rows = space[:-1]
    for value in (*node.inputs, *node.outputs):
        if value.sizes not in (space, rows):
            return None
    return space


def fuse(program: Program, calls: Callable[[Node], bool]) -> tuple[dict[Node, Form], list[Group | Node]]:
    """Groups the nodes of a specialized program.

    Args:
      program: the program.
      calls: tells whether a special lowering takes a node.

    Returns:
      The form of each node, and the groups and single nodes in an order in which they can run.
    """
    forms: dict[Node, Form] = {}
    group_of: dict[Node, Group] = {}
    groups: list[tuple[int, Group | Node]] = []
    for position, node in enumerate(program.nodes):
        form = forms[node] = form_of(node, calls)
        if form is Form.SOURCE:
            continue
        feeding = [g for g in dict.fromkeys(group_of.get(v.node) for v in node.inputs) if g is not None]
        joined = (
            _join(node, form, [g for g in feeding if g.is_open], group_of)
            if form not in (Form.CALL, Form.HOST)
            else None
        )
        for group in feeding:
            if joined is None or group is not joined and group_of.get(group.nodes[0]) is not joined:
                group.is_open = False
        if joined is None:
            groups.append((position, node))
        else:
            group_of[node] = joined
    seen: set[int] = set()
    for position, node in reversed(list(enumerate(program.nodes))):
        found = group_of.get(node)
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            groups.append((position, found))
    groups.sort(key=lambda entry: entry[0])
    return forms, [entry for _, entry in groups]


def _join(node: Node, form: Form, open_groups: list[Group], group_of: dict[Node, Group]) -> Group | None:
    """Puts a node into the groups its operands come from, merged, or into one of its own; None: it stays alone."""
    joinable = [group for group in open_groups if _fits(node, form, group, group_of)]
    if form is Form.ALIAS and not joinable:
        return None
    if not joinable:
        return _own_group(node, form)
    first = joinable[0]
    for other in joinable[1:]:
        if not _mergeable(first, other):
            continue
        first.axes = first.axes if first.axes is not None else other.axes
        for member in other.nodes:
            group_of[member] = first
        first.nodes = sorted({*first.nodes, *other.nodes}, key=lambda n: n.serial)
        other.is_open = False
    if any(group_of.get(v.node) is not first for v in node.inputs if group_of.get(v.node) in joinable):
        # A group that could not be merged feeds the node from outside: check that the rest still fits.
        if not _fits(node, form, first, group_of):
            return _own_group(node, form)
    if form is Form.REDUCE:
        first.axes = reduced_axes(node)
    elif form is Form.ROW:
        first.axes = (len(first.space) - 1,)
    first.nodes.append(node)
    return first


def _own_group(node: Node, form: Form) -> Group | None:
    sizes = node.outputs[0].sizes
    assert sizes is not None
    if form is Form.REDUCE:
        space = node.inputs[0].sizes
        assert space is not None
        return Group(space, reduced_axes(node), [node])
    if form is Form.ROW:
        space = _row_space(node)
        assert space is not None
        return Group(space, (len(space) - 1,), [node])
    return Group(sizes, None, [node])


def _mergeable(a: Group, b: Group) -> bool:
    if a.space != b.space or len(a.nodes) + len(b.nodes) >= MOST_NODES:
        return False
    if _buffers(a) + _buffers(b) > MOST_BUFFERS:
        return False
    return a.axes is None or b.axes is None or a.axes == b.axes


def _buffers(group: Group) -> int:
    members = set(group.nodes)
    return (
        len({v for node in group.nodes for v in node.inputs if v.node not in members}) + len(group.nodes) // 4
    )


def _fits(node: Node, form: Form, group: Group, group_of: dict[Node, Group]) -> bool:
    """Whether a node may join a group that some of its operands come from."""
    if len(group.nodes) >= MOST_NODES or _buffers(group) >= MOST_BUFFERS:
        return False
    inside = [value for value in node.inputs if group_of.get(value.node) is group]
    if form is Form.INDEX:
        return False  # reads other points of the space than the one at hand
    sizes = node.outputs[0].sizes
    assert sizes is not None
    column = group.axes is not None and len(group.space) - 1 not in group.axes
    after_fold = column or group.folds_in_shares
    if form is Form.REDUCE:
        axes = reduced_axes(node)
        if any(value.sizes != group.space for value in inside) or not axes:
            return False
        if group.axes is not None and group.axes != axes:
            return False
        if group.axes is None:
            return True
        # A second fold of the same axes: of the elements, not of what the first fold gave.
        return not after_fold or not any(_depends_on_fold(value.node, group) for value in inside)
    if form is Form.ROW:
        if _row_space(node) != group.space or group.axes not in (None, (len(group.space) - 1,)):
            return False
        if group.folds_in_shares and any(_depends_on_fold(value.node, group) for value in inside):
            return False
        return all(
            value.sizes == group.space or (group.axes is not None and value.sizes == group.space[:-1])
            for value in inside
        )
    if form is Form.ALIAS:
        (value,) = inside[:1]
        if value.sizes == sizes:
            return True
        return (
            group.axes is not None
            and value.sizes is not None
            and group.is_outer(value.sizes)
            and group.is_outer(sizes)
        )
    # A scalar body.
    inner = group.is_inner(sizes)
    if not inner and not group.is_outer(sizes):
        return False
    for value in inside:
        if value.sizes is None or (len(value.sizes) != len(sizes) and math.prod(value.sizes) != 1):
            return False
        if inner and after_fold and _depends_on_fold(value.node, group):
            return False
        if not inner and not group.is_outer(value.sizes) and math.prod(value.sizes) != 1:
            return False
        if not inner and group.is_inner(value.sizes) and group.space != sizes:
            return False
        if math.prod(value.sizes) == 1 and len(value.sizes) != len(sizes) and not group.is_outer(value.sizes):
            return False
    return True


def _depends_on_fold(node: Node, group: Group) -> bool:
    """Whether a member's value needs a fold of the group."""
    members = set(group.nodes)
    stack, seen = [node], set()
    while stack:
        current = stack.pop()
        if current in seen or current not in members:
            continue
        seen.add(current)
        if current.op_def.reduction or current.op_def.row is not None:
            return True
        stack.extend(value.node for value in current.inputs)
    return False
