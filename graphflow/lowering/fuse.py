"""Which nodes share a kernel. Fusion asks an op's form, never its name.

Nodes are met in program order. A node joins the open groups that its operands come from when it walks the same index
space; a group is closed for good as soon as a node outside takes one of its values. So a group can always run at the
place of its last member, whatever the rest of the program looks like, and the walk is linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphflow.lowering.forms import Form, Number, bounds_of, form_of, reduced_axes, row_body, uniform_number
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.lowering.windows import is_window
from graphflow.program import Node, Program, Value

MOST_NODES = 96  # larger groups spill registers and compile slowly
MOST_BUFFERS = 40
# A fold of so many elements into few is cut into shares; then nothing may follow it in the same kernel.
SPLIT_FROM = 1 << 15
MOST_SPLIT = 4096  # results of a fold that is cut
# What an open size counts as while this is decided, so that a new one needs no new code; unless it is worth it.
NOMINAL = 64
HUGE = 1 << 20


def folds_in_shares(space: Sequence[Size], axes: Sequence[int]) -> bool:
    """Whether a fold is cut into shares of fixed size that a second kernel combines."""
    huge = math.prod(size.value for size in space) >= HUGE
    sizes = [NOMINAL if size.dynamic and not huge else size.value for size in space]
    kept = math.prod(size for axis, size in enumerate(sizes) if axis not in axes)
    folded = math.prod(sizes[axis] for axis in axes)
    return kept * 16 <= folded and kept * folded >= SPLIT_FROM and kept <= MOST_SPLIT


@dataclass(eq=False, slots=True)
class Group:
    """Nodes that share a kernel.

    Attributes:
      extents: the sizes that the kernel's loops walk; one is open if it is so in every value that has it.
      axes: the axes that are folded, None while nothing is.
      nodes: the members in program order.
      is_open: whether nodes may still join.
      reads: the values that come from outside.
      after_fold: the members whose values need a fold.
    """

    extents: tuple[Size, ...]
    axes: tuple[int, ...] | None = None
    nodes: list[Node] = field(default_factory=list)
    is_open: bool = True
    reads: set[Value] = field(default_factory=set)
    after_fold: set[Node] = field(default_factory=set)

    @property
    def space(self) -> tuple[int, ...]:
        """The sizes that the kernel's loops walk."""
        return tuple(size.value for size in self.extents)

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes that are not folded."""
        return tuple(axis for axis in range(len(self.space)) if axis not in (self.axes or ()))

    @property
    def folds_in_shares(self) -> bool:
        """Whether the fold is cut into shares."""
        return self.axes is not None and folds_in_shares(self.extents, self.axes)

    @property
    def buffers(self) -> int:
        """About how many operands and results the kernel has."""
        return len(self.reads) + len(self.nodes) // 4

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


@dataclass(slots=True)
class Fusion:
    """What `fuse` found.

    Attributes:
      forms: the form of each node.
      order: the groups and single nodes in an order in which they can run.
      group_of: the group of each member.
      numbers: what the elements of a uniform node's result are.
    """

    forms: dict[Node, Form] = field(default_factory=dict)
    order: list[Group | Node] = field(default_factory=list)
    group_of: dict[Node, Group] = field(default_factory=dict)
    numbers: dict[Node, Number] = field(default_factory=dict)


def fuse(program: Program, calls: Callable[[Node], bool]) -> Fusion:
    """Groups the nodes of a specialized program.

    Args:
      program: the program.
      calls: tells whether a library call or loop nest takes a node.
    """
    fusion = Fusion()
    group_of = fusion.group_of
    placed: list[tuple[int, Group | Node]] = []
    for position, node in enumerate(program.nodes):
        form = fusion.forms[node] = _form(node, calls, fusion)
        if form is Form.SOURCE:
            continue
        if form is Form.UNIFORM:
            placed.append((position, node))
            continue
        feeding = [g for g in dict.fromkeys(group_of.get(v.node) for v in node.inputs) if g is not None]
        alone = form in (Form.CALL, Form.HOST, Form.WINDOW)
        joined = None if alone else _join(node, form, [g for g in feeding if g.is_open], group_of)
        for group in feeding:
            if joined is None or group is not joined and group_of[group.nodes[0]] is not joined:
                group.is_open = False
        if joined is None:
            placed.append((position, node))
        else:
            group_of[node] = joined
    last: dict[int, tuple[int, Group | Node]] = {}
    for position, node in enumerate(program.nodes):
        if node in group_of:
            last[id(group_of[node])] = (position, group_of[node])
    placed.extend(last.values())
    fusion.order = [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]
    return fusion


def _form(node: Node, calls: Callable[[Node], bool], fusion: Fusion) -> Form:
    form = form_of(node, calls)
    if form is Form.UNIFORM:
        number = uniform_number(node)
    elif form is Form.ALIAS:
        number = fusion.numbers.get(node.inputs[0].node)
        if is_window(node, fusion.forms):
            return Form.WINDOW
    else:
        return form
    if number is None:
        return form
    fusion.numbers[node] = number
    return Form.UNIFORM


def _join(node: Node, form: Form, open_groups: list[Group], group_of: dict[Node, Group]) -> Group | None:
    """Puts a node into the groups its operands come from, merged, or into one of its own; None: it stays alone."""
    joinable = [group for group in open_groups if _fits(node, form, group, group_of)]
    if form is Form.ALIAS and not joinable:
        return None
    if not joinable:
        return _own_group(node, form)
    first = joinable[0]
    for other in joinable[1:]:
        if _mergeable(first, other):
            _merge(first, other, group_of)
    if any(group_of.get(v.node) is not first for v in node.inputs if group_of.get(v.node) in joinable):
        # A group that could not be merged feeds the node from outside: check that the rest still fits.
        if not _fits(node, form, first, group_of):
            return _own_group(node, form)
    if form is Form.REDUCE:
        first.axes = reduced_axes(node)
    elif form is Form.ROW:
        first.axes = (len(first.space) - 1,)
    _add(node, form, first, group_of)
    return first


def _own_group(node: Node, form: Form) -> Group:
    sizes, axes = node.outputs[0].sizes, None
    if form is Form.REDUCE:
        sizes, axes = node.inputs[0].sizes, reduced_axes(node)
    elif form is Form.ROW:
        body = row_body(node)
        assert body is not None
        sizes, axes = body.space, (len(body.space) - 1,)
    assert sizes is not None
    group = Group(tuple(Size(size, True) for size in sizes), axes)
    _add(node, form, group, {})
    return group


def _add(node: Node, form: Form, group: Group, group_of: dict[Node, Group]) -> None:
    group.nodes.append(node)
    space = group.space
    for value in (*node.outputs, *node.inputs):
        if value.sizes == space:
            group.extents = _narrowed(group.extents, value_sizes(value))
    inside = [value.node for value in node.inputs if group_of.get(value.node) is group]
    group.reads.update(value for value in node.inputs if group_of.get(value.node) is not group)
    if form in (Form.REDUCE, Form.ROW) or any(other in group.after_fold for other in inside):
        group.after_fold.add(node)


def _narrowed(a: tuple[Size, ...], b: tuple[Size, ...]) -> tuple[Size, ...]:
    """Equal sizes, open where both are."""
    return tuple(x if not x.dynamic else y for x, y in zip(a, b, strict=True))


def _mergeable(a: Group, b: Group) -> bool:
    if a.space != b.space or len(a.nodes) + len(b.nodes) >= MOST_NODES:
        return False
    if a.buffers + b.buffers > MOST_BUFFERS:
        return False
    return a.axes is None or b.axes is None or a.axes == b.axes


def _merge(first: Group, other: Group, group_of: dict[Node, Group]) -> None:
    """Takes the members of another group in. Neither has values of the other: taking one would have closed it."""
    first.axes = first.axes if first.axes is not None else other.axes
    for member in other.nodes:
        group_of[member] = first
    first.nodes = sorted([*first.nodes, *other.nodes], key=lambda n: n.serial)
    first.extents = _narrowed(first.extents, other.extents)
    first.reads |= other.reads
    first.after_fold |= other.after_fold
    other.is_open = False


def _fits(node: Node, form: Form, group: Group, group_of: dict[Node, Group]) -> bool:
    """Whether a node may join a group that some of its operands come from."""
    if len(group.nodes) >= MOST_NODES or group.buffers >= MOST_BUFFERS:
        return False
    if form is Form.READ:
        return False  # reads other points of the space than the one at hand
    inside = [value for value in node.inputs if group_of.get(value.node) is group]
    if any(group_of.get(node.inputs[position].node) is group for position in bounds_of(node)):
        return False  # what is checked has to lie in memory
    sizes = node.outputs[0].sizes
    assert sizes is not None
    column = group.axes is not None and len(group.space) - 1 not in group.axes
    no_more = column or group.folds_in_shares  # nothing per element may follow the fold
    if form is Form.REDUCE:
        axes = reduced_axes(node)
        if any(value.sizes != group.space for value in inside) or not axes:
            return False
        if group.axes is not None and group.axes != axes:
            return False
        if group.axes is None:
            return True
        # A second fold of the same axes: of the elements, not of what the first fold gave.
        return not no_more or not any(value.node in group.after_fold for value in inside)
    if form is Form.ROW:
        body = row_body(node)
        if (
            body is None
            or not body.in_order
            or body.space != group.space
            or group.axes not in (None, (len(group.space) - 1,))
        ):
            return False
        if group.folds_in_shares and any(value.node in group.after_fold for value in inside):
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
        if inner and no_more and value.node in group.after_fold:
            return False
        if not inner and not group.is_outer(value.sizes) and math.prod(value.sizes) != 1:
            return False
        if not inner and group.is_inner(value.sizes) and group.space != sizes:
            return False
        if math.prod(value.sizes) == 1 and len(value.sizes) != len(sizes) and not group.is_outer(value.sizes):
            return False
    return True


__all__ = ["MOST_BUFFERS", "MOST_NODES", "Fusion", "Group", "folds_in_shares", "fuse"]
