"""Which nodes share a kernel. Fusion asks an op's form, never its name.

Nodes are met in program order. A node joins the open groups that its operands come from when it walks the same index
space; a group is closed for good as soon as a node outside takes one of its values. So a group can always run at the
place of its last member, whatever the rest of the program looks like, and the walk is linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphflow.lowering.forms import (
    Form,
    Number,
    bounds_of,
    form_of,
    is_cheap,
    reduced_axes,
    row_body,
    uniform_number,
    window_source,
)  # fmt: skip
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.lowering.windows import is_window, stretches
from graphflow.program import Node, Program, Value
from graphflow.records import dataclass, field
from graphflow.symbolic import about

MOST_NODES = 96  # larger groups spill registers and compile slowly
MOST_BUFFERS = 40
MOST_COPIES = 16
# A fold of so many elements into few is cut into shares; then nothing may follow it in the same kernel.
SPLIT_FROM = 1 << 15
MANY_ROWS = 32  # so many threads can work without cutting rows
MOST_SPLIT = 4096  # results of a fold that is cut
# What an open size counts as while this is decided, so that a new one needs no new code; unless it is worth it.
NOMINAL = 64
HUGE = 1 << 20


def folds_in_shares(space: Sequence[Size], axes: Sequence[int]) -> bool:
    """Whether a fold is cut into shares of fixed size that a second kernel combines.

    Where sizes are open, they count as nominal ones unless they are huge; that is asked only where it matters.
    """
    rows = len(space) - 1 in axes

    def decided(sizes: Sequence[int]) -> bool:
        kept = math.prod(size for axis, size in enumerate(sizes) if axis not in axes)
        folded = math.prod(sizes[axis] for axis in axes)
        if rows and kept >= MANY_ROWS:
            return False
        return kept * 16 <= folded and kept * folded >= SPLIT_FROM and kept <= MOST_SPLIT

    sizes = [size.value for size in space]
    nominal = decided([NOMINAL if size.dynamic else size.value for size in space])
    folded = math.prod(sizes[axis] for axis in axes)
    if any(size.dynamic and axis not in axes for axis, size in enumerate(space)):
        # So few results of something huge take long folds.
        short = not any(space[axis].dynamic for axis in axes) and folded * folded < 16 * HUGE
        return nominal if short or not about(math.prod(sizes), HUGE) else decided(sizes)
    kept = math.prod(size for axis, size in enumerate(sizes) if axis not in axes)
    if not any(space[axis].dynamic for axis in axes) or (rows and kept >= MANY_ROWS) or kept > MOST_SPLIT:
        return nominal
    return nominal or about(folded, max(16 * kept, HUGE // max(1, kept)))


def folds_columns(node: Node) -> bool:
    """Whether a fold keeps the last axis and no other, so that it can be done row by row."""
    sizes = node.inputs[0].sizes or ()
    return len(sizes) > 1 and sizes[-1] > 1 and reduced_axes(node) == tuple(range(len(sizes) - 1))


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
      columns: the members whose values need a fold of another kind: over all axes but the last one, beside those
        over the last one or none. Where the kernel is through with all points, they are known.
      copies: nodes of other groups that this one computes again rather than have them written and read.
    """

    extents: tuple[Size, ...]
    axes: tuple[int, ...] | None = None
    nodes: list[Node] = field(default_factory=list)
    is_open: bool = True
    reads: set[Value] = field(default_factory=set)
    after_fold: set[Node] = field(default_factory=set)
    columns: set[Node] = field(default_factory=set)
    copies: list[Node] = field(default_factory=list)

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

    @property
    def row_axes(self) -> tuple[int, ...]:
        """The axis that rows run along."""
        return (len(self.extents) - 1,)

    def is_column(self, sizes: tuple[int, ...]) -> bool:
        """Whether a value of these sizes has one element for each fold over all axes but the last."""
        last = self.space[-1:]
        return sizes in (last, (1,) * (len(self.space) - 1) + last)

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
      stretched: for results that only repeat the elements of a group's value, that value. A kernel that has the one
        has the other, so such a node is no reason to close the group.
    """

    forms: dict[Node, Form] = field(default_factory=dict)
    order: list[Group | Node] = field(default_factory=list)
    group_of: dict[Node, Group] = field(default_factory=dict)
    numbers: dict[Node, Number] = field(default_factory=dict)
    stretched: dict[Value, Value] = field(default_factory=dict)

    def group_that_makes(self, value: Value) -> Group | None:
        """The group that has a value's elements, if there is one."""
        return self.group_of.get(self.stretched.get(value, value).node)


def fuse(
    program: Program,
    calls: Callable[[Node], bool],
    on_host: Callable[[Node], bool] = lambda node: False,
    device_of: Callable[[Node], int] = lambda node: 0,
) -> Fusion:
    """Groups the nodes of a specialized program.

    Args:
      program: the program.
      calls: tells whether a library call or loop nest takes a node.
      on_host: tells whether a node is the processor's though the device could run it.
      device_of: tells which of several devices a node is for; no kernel is for two.
    """
    fusion = Fusion()
    group_of = fusion.group_of
    placed: list[tuple[float, Group | Node]] = []
    readers: dict[Value, list[Group]] = {}
    nodes = _reports_last(program)
    for position, node in enumerate(nodes):
        form = fusion.forms[node] = _form(node, calls, fusion, on_host)
        if form is Form.SOURCE:
            continue
        if form is Form.UNIFORM:
            placed.append((position, node))
            continue
        if form is Form.WINDOW and stretches(node):
            repeated = window_source(node)
            repeated = fusion.stretched.get(repeated, repeated)
            if repeated.node in group_of:
                fusion.stretched[node.outputs[0]] = repeated
                continue
        feeding = [g for g in dict.fromkeys(map(fusion.group_that_makes, node.inputs)) if g is not None]
        alone = form in (Form.CALL, Form.HOST, Form.CHECK, Form.WINDOW)
        at = device_of(node)
        near = [g for g in feeding if g.is_open and device_of(g.nodes[0]) == at]
        joined = None if alone else _join(node, form, near, fusion)
        for group in feeding:
            if joined is None or group is not joined and group_of[group.nodes[0]] is not joined:
                group.is_open = False
        if joined is None:
            placed.append((position, node))
        else:
            group_of[node] = joined
            _join_siblings(node, form, joined, readers, group_of, device_of)
    last: dict[int, tuple[int, Group | Node]] = {}
    for position, node in enumerate(nodes):
        if node in group_of:
            last[id(group_of[node])] = (position, group_of[node])
    placed.extend(last.values())
    for position, node in enumerate(nodes):
        if any(value in fusion.stretched for value in node.outputs):
            source = group_of[fusion.stretched[node.outputs[0]].node]
            placed.append((max(position, last[id(source)][0] + 0.5), node))
    fusion.order = [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]
    _compute_again(program, fusion)
    return fusion


def _compute_again(program: Program, fusion: Fusion) -> None:
    """Lets groups compute what a group with folds would write for them alone, if that moves less memory.

    The gradient of a batch norm needs the masked and the normalised image twice: for sums, and then with these.
    """
    users = program.users()
    roots = set(program.roots)
    for group in fusion.order:
        if not isinstance(group, Group):
            continue
        taken: dict[Group, list[Value]] = {}
        for value in group.reads:
            maker = fusion.group_of.get(value.node)
            if maker is None or value.sizes != group.space or value.sizes != maker.space or value in roots:
                continue
            # What makes no fold may become the epilogue of a call, whose bare result is in no memory.
            if not (maker.columns or maker.axes is not None):
                continue
            if all(fusion.group_of.get(user) in (maker, group) for user in users[value]):
                taken.setdefault(maker, []).append(value)
        for maker, values in taken.items():
            found = _cheap_chains(values, maker, fusion)
            if found is None:
                continue
            nodes, leaves = found
            large = {value for value in leaves if value.sizes == group.space}
            # A value is written, for which its memory is fetched too, and read: an operand is only read.
            if len(large - group.reads) <= 2 * len(values) and len(group.nodes) + len(nodes) < MOST_NODES:
                group.copies.extend(node for node in nodes if node not in group.copies)
                group.reads = (group.reads - set(values)) | leaves


def _cheap_chains(
    values: Sequence[Value], maker: Group, fusion: Fusion
) -> tuple[list[Node], set[Value]] | None:
    """The nodes of a group that some of its values need, and the operands of these; None if they are dear."""
    nodes: set[Node] = set()
    leaves: set[Value] = set()
    stack = [value.node for value in values]
    while stack:
        node = stack.pop()
        if node in nodes:
            continue
        alias = fusion.forms[node] is Form.ALIAS and node.inputs[0].sizes == node.outputs[0].sizes
        if node in maker.after_fold or node in maker.columns or not (alias or is_cheap(node)):
            return None
        nodes.add(node)
        for value in node.inputs:
            if fusion.group_that_makes(value) is maker or value.node in maker.copies:
                stack.append(fusion.stretched.get(value, value).node)
            else:
                leaves.add(value)
    if len(nodes) > MOST_COPIES:
        return None
    return sorted(nodes, key=lambda node: node.serial), leaves


def _reports_last(program: Program) -> list[Node]:
    """The nodes in an order in which numbers that are only fetched, a loss or a share of hits, come last.

    It would close the groups it reports of, before what the program is about has joined them.
    """
    commits = {value for _, value in program.commits}
    users = program.users()
    waited_for = {other for node in program.nodes for other in node.controls}
    late: set[Node] = set()
    for node in reversed(program.nodes):
        if node.op_def.effects or node in waited_for or node in program.effects or not node.inputs:
            continue
        if any(value.sizes is None or math.prod(value.sizes) != 1 for value in node.outputs):
            continue
        made = node.outputs
        if not any(value in commits for value in made) and all(
            user in late for value in made for user in users.get(value, ())
        ):
            late.add(node)
    return [node for node in program.nodes if node not in late] + [n for n in program.nodes if n in late]


def _form(node: Node, calls: Callable[[Node], bool], fusion: Fusion, on_host: Callable[[Node], bool]) -> Form:
    form = form_of(node, calls)
    if form not in (Form.SOURCE, Form.UNIFORM) and on_host(node):
        return Form.HOST
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


def _join_siblings(
    node: Node,
    form: Form,
    joined: Group,
    readers: dict[Value, list[Group]],
    group_of: dict[Node, Group],
    device_of: Callable[[Node], int],
) -> None:
    """Takes in groups that read what a new member reads, where all that one of the two makes are folds."""
    if form is Form.ALIAS:
        return
    space = joined.space
    read = [value for value in node.inputs if value.sizes == space and group_of.get(value.node) is not joined]
    along = form is Form.REDUCE and (folds_columns(node) or joined.axes == joined.row_axes)
    for value in read:
        for other in readers.get(value, ()):
            if other is joined or not other.is_open or other.space != space or not _mergeable(joined, other):
                continue
            if device_of(other.nodes[0]) != device_of(joined.nodes[0]):
                continue
            if along or _only_folds(other):
                _merge(joined, other, group_of)
        readers.setdefault(value, []).append(joined)


def _only_folds(group: Group) -> bool:
    """Whether a group has values for each row or column alone."""
    if group.axes not in (None, group.row_axes):
        return False
    return all(
        node in group.columns or not group.is_inner(value.sizes or ())
        for node in group.nodes
        for value in node.outputs
    )


def _join(node: Node, form: Form, open_groups: list[Group], fusion: Fusion) -> Group | None:
    """Puts a node into the groups its operands come from, merged, or into one of its own; None: it stays alone."""
    group_of = fusion.group_of
    joinable = [group for group in open_groups if _fits(node, form, group, fusion)]
    if form is Form.ALIAS and not joinable:
        return None
    if not joinable:
        return _own_group(node, form)
    first = joinable[0]
    for other in joinable[1:]:
        if _mergeable(first, other):
            _merge(first, other, group_of)
    feeding = [fusion.group_that_makes(value) for value in node.inputs]
    if any(group is not first for group in feeding if group in joinable):
        # A group that could not be merged feeds the node from outside: check that the rest still fits.
        if not _fits(node, form, first, fusion):
            return _own_group(node, form)
    if form is Form.REDUCE and not folds_columns(node):
        first.axes = reduced_axes(node)
    elif form is Form.ROW:
        first.axes = (len(first.space) - 1,)
    _add(node, form, first, fusion)
    return first


def _own_group(node: Node, form: Form) -> Group:
    sizes, axes = node.outputs[0].sizes, None
    if form is Form.REDUCE:
        sizes, axes = node.inputs[0].sizes, None if folds_columns(node) else reduced_axes(node)
    elif form is Form.ROW:
        body = row_body(node)
        assert body is not None
        sizes, axes = body.space, (len(body.space) - 1,)
    assert sizes is not None
    group = Group(tuple(Size(size, True) for size in sizes), axes)
    _add(node, form, group, Fusion())
    return group


def _add(node: Node, form: Form, group: Group, fusion: Fusion) -> None:
    group.nodes.append(node)
    space = group.space
    for value in (*node.outputs, *node.inputs):
        if value.sizes == space:
            group.extents = _narrowed(group.extents, value_sizes(value))
    inside = [
        fusion.stretched.get(value, value).node
        for value in node.inputs
        if fusion.group_that_makes(value) is group
    ]
    group.reads.update(value for value in node.inputs if fusion.group_that_makes(value) is not group)
    if (form is Form.REDUCE and folds_columns(node)) or any(other in group.columns for other in inside):
        group.columns.add(node)
    elif form in (Form.REDUCE, Form.ROW) or any(other in group.after_fold for other in inside):
        group.after_fold.add(node)


def _narrowed(a: tuple[Size, ...], b: tuple[Size, ...]) -> tuple[Size, ...]:
    """Equal sizes, open where both are."""
    return tuple(x if not x.dynamic else y for x, y in zip(a, b, strict=True))


def _mergeable(a: Group, b: Group) -> bool:
    if a.space != b.space or len(a.nodes) + len(b.nodes) >= MOST_NODES:
        return False
    if a.buffers + b.buffers > MOST_BUFFERS:
        return False
    if a.axes is not None and b.axes is not None and a.axes != b.axes:
        return False
    return not (a.columns or b.columns) or _beside_columns(a, a.axes if a.axes is not None else b.axes)


def _beside_columns(group: Group, axes: tuple[int, ...] | None) -> bool:
    """Whether folds over these axes can be done beside folds over all axes but the last: whole rows, in one go."""
    return axes is None or (axes == group.row_axes and not folds_in_shares(group.extents, axes))


def _merge(first: Group, other: Group, group_of: dict[Node, Group]) -> None:
    """Takes the members of another group in. Neither has values of the other: taking one would have closed it."""
    first.axes = first.axes if first.axes is not None else other.axes
    for member in other.nodes:
        group_of[member] = first
    first.nodes = sorted([*first.nodes, *other.nodes], key=lambda n: n.serial)
    first.extents = _narrowed(first.extents, other.extents)
    first.reads |= other.reads
    first.after_fold |= other.after_fold
    first.columns |= other.columns
    other.is_open = False


def _fits(node: Node, form: Form, group: Group, fusion: Fusion) -> bool:
    """Whether a node may join a group that some of its operands come from."""
    if len(group.nodes) >= MOST_NODES or group.buffers >= MOST_BUFFERS:
        return False
    if form is Form.READ:
        return False  # reads other points of the space than the one at hand
    inside = [
        fusion.stretched.get(value, value) for value in node.inputs if fusion.group_that_makes(value) is group
    ]
    if any(fusion.group_that_makes(node.inputs[position]) is group for position in bounds_of(node)):
        return False  # what is checked has to lie in memory
    sizes = node.outputs[0].sizes
    assert sizes is not None
    if any(value.node in group.columns for value in inside):
        # Of what is known only in the end nothing but further values per column can be made.
        return (
            form in (Form.MAP, Form.ALIAS)
            and group.is_column(sizes)
            and all(value.node in group.columns for value in inside)
            and (form is Form.MAP or group.is_column(inside[0].sizes or ()))
        )
    column = group.axes is not None and len(group.space) - 1 not in group.axes
    no_more = column or group.folds_in_shares  # nothing per element may follow the fold
    if form is Form.REDUCE:
        axes = reduced_axes(node)
        # The operand itself, too: where it repeats elements of the group's, each counts as often as it stands there.
        if any(value.sizes != group.space for value in (*inside, node.inputs[0])) or not axes:
            return False
        if folds_columns(node):
            return _beside_columns(group, group.axes)
        if group.columns and not _beside_columns(group, axes):
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
            or (group.columns and not _beside_columns(group, group.row_axes))
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


__all__ = ["MOST_BUFFERS", "MOST_NODES", "Fusion", "Group", "folds_columns", "folds_in_shares", "fuse"]
