"""Lists that grow and shrink become lists of fixed size with their length beside them.

That is how the gradient of a loop finds the values of the loop's turns: each turn appends one, and each turn of the
loop that goes back takes the last one off. A TensorArray of dynamic size is made longer by what is written behind its
end. Where it is known how long a list can get, it is made so long at once. Its length is a number then, which goes
through loops and branches with the list: appending sets the element at that number, taking off reads the one before,
and whoever takes all elements takes so many. Where the turns are known, or their number, that number is known for
each turn (`graphflow.turns`), and needs no memory. Of lists of such lists, which loops in loops fill, the lengths of
the elements are kept in a list beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.opdef import get_op
from graphflow.ops.rows import in_list
from graphflow.program import (
    CASES,
    FEED,
    MOST_NESTED,
    NESTED,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    TensorType,
    Value,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.records import dataclass, field
from graphflow.shapes import SCALAR
from graphflow.symbolic import Derived, greatest, is_symbolic
from graphflow.turns import Bounds, inductions, integer, is_zero, most_turns

__all__ = ["sized_lists"]

_MOST_ROUNDS = 4
_MOST_LOOPS = 6  # loops within loops whose lists are looked at: each is walked twice
_LENGTH = TensorType(dtypes.int32, SCALAR, SCALAR)
_LENGTHS = TensorType(dtypes.variant, SCALAR, SCALAR)
# By op: by how much the list it gives is longer than the one it takes.
_CHANGES = {
    "TensorListPushBack": 1, "TensorListPopBack": -1, "Identity": 0, "ZerosLike": 0, "AddN": 0, "AddV2": 0, "Add": 0,
}  # fmt: skip
# What takes all elements of a list, or nothing of it but what all have in common.
_WHOLE = ("TensorListStack", "TensorListConcatV2", "TensorListGather", "TensorListElementShape")


def sized_lists(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with such lists made long enough at once."""
    if not _makes_lists(program):
        return program
    found, rooms = _Lengths(program, {}), {}  # type: tuple[_Lengths, dict[Value, int]]
    for _ in range(_MOST_ROUNDS):
        more = {value: room for value in found.asked if (room := found.room(value)) is not None}
        if not any(group.changes for group in found.groups.values()) or more.keys() <= rooms.keys():
            break
        # How long a list gets may depend on how long another one gets.
        rooms.update(more)
        found = _Lengths(program, rooms)
    return _Change(found, counts).changed(program) if found.any() else program


def _makes_lists(program: Program, depth: int = 0) -> bool:
    return any(
        node.type in ("EmptyTensorList", "TensorListPopBack", "TensorListResize")
        or bool(node.attrs.get("resize_if_index_out_of_bounds"))
        or (depth < MOST_NESTED and any(_makes_lists(inner, depth + 1) for _, inner in nested_programs(node)))
        for node in program.nodes
    )


@dataclass(eq=False, slots=True)
class _Group:
    """Lists of which one is made of another.

    `most`: how long they ever get; `changes`: whether their length is no fixed one; `reach`: how long they get by what
    does not lie behind what they were before; `given`: whether one begins with rows, or none, of a tensor.
    """

    fits: bool = True
    changes: bool = False
    most: int = 0
    reach: int = 0
    given: bool = False
    least_room: int | None = None  # what those who made them said they may hold
    parent: _Group | None = None
    inner: _Group | None = None  # their elements, where these are lists
    holders: list[_Group] = field(default_factory=list)  # lists that these are elements of

    def element(self) -> _Group:
        """The lists that are elements of these."""
        group = self.root()
        if group.inner is None:
            group.inner = _Group(holders=[group])
        return group.inner.root()

    def root(self) -> _Group:
        group = self
        while group.parent is not None:
            group = group.parent
        return group

    def join(self, other: _Group) -> None:
        a, b = self.root(), other.root()
        if a is b:
            return
        b.parent = a
        a.fits &= b.fits
        a.changes |= b.changes
        a.given |= b.given
        a.most, a.reach = max(a.most, b.most), max(a.reach, b.reach)
        rooms = [room for room in (a.least_room, b.least_room) if room is not None]
        a.least_room = min(rooms) if rooms else None
        a.holders += b.holders
        if b.inner is not None:
            a.element().join(b.inner)

    @property
    def room(self) -> int:
        """How many elements there is to be room for."""
        group = self.root()
        room: int = greatest(group.most, group.reach)
        return room

    def good(self) -> bool:
        group = self.root()
        room = group.least_room
        fits = (
            group.fits
            and group.changes
            and (group.given or group.room > 0)
            and (room is None or group.room <= room)
        )
        return fits and all(holder.good() for holder in group.holders)


class _Lengths:
    """How long the lists of a program get, and which belong together.

    Args:
      program: the program.
      rooms: of lists whose lengths are asked for, how long these get, where that is known.
    """

    def __init__(self, program: Program, rooms: Mapping[Value, int]) -> None:
        self.groups: dict[Value, _Group] = {}
        self.rooms = rooms
        self.asked: set[Value] = set()
        # Lists that are made as long as another one is then.
        self.as_long: dict[Value, Value] = {}
        self.most: dict[Value, int] = {}  # of each list, how long it is at most
        # Of lists of whole numbers the greatest number in them, of lists of lists the greatest length; else None.
        self.greatest: dict[Value, int | None] = {}
        self.trusted = True
        for value in program.feeds:
            if value.dtype is dtypes.variant:
                self.spoil(value)
        self.walk(program, Bounds({}), 0)
        for value in program.roots:
            if value.dtype is dtypes.variant:
                self.spoil(value)
        left = len(self.as_long) + 1
        while left and any([self.follows(value, other) for value, other in self.as_long.items()]):
            left -= 1
        if not self.trusted:
            self.groups.clear()

    def follows(self, value: Value, other: Value) -> bool:
        """Whether a list is found to be of no fixed length because one is whose length it has."""
        group = self.group(value).root()
        if group.changes or not self.good(other):
            return False  # it is known to be, or as long as one of fixed length
        group.changes = True
        return True

    def any(self) -> bool:
        """Whether there is anything to change."""
        return any(group.good() for group in self.groups.values())

    def room(self, value: Value) -> int | None:
        """How long a list and those it is made of get."""
        group = self.groups.get(value)
        if group is None or not group.root().fits or group.room < 1:
            return None
        return group.room

    def good(self, value: Value) -> bool:
        """Whether a value is a list that is to change."""
        group = self.groups.get(value)
        return group is not None and group.good()

    def holds_good(self, value: Value) -> bool:
        """Whether the elements of a list that is to change are such lists, too."""
        group = self.groups.get(value)
        inner = None if group is None else group.root().inner
        return inner is not None and inner.good()

    def group(self, value: Value) -> _Group:
        found = self.groups.get(value)
        if found is None:
            found = self.groups[value] = _Group()
        return found

    def spoil(self, *values: Value) -> None:
        """Leaves the lists alone that some values belong to."""
        for value in values:
            self.group(value).root().fits = False

    def note(self, value: Value, most: int) -> None:
        """Notes how long a list is at most."""
        self.most[value] = max(most, self.most.get(value, 0))
        group = self.group(value).root()
        group.most = max(group.most, most)

    def put(self, value: Value, *ends: int | None) -> None:
        """Notes the greatest number in a list."""
        known = [end for end in ends if end is not None]
        self.greatest[value] = max(known) if len(known) == len(ends) else None

    def walk(self, program: Program, bounds: Bounds, depth: int) -> None:
        """Follows the lists of a program whose feeds are known."""
        for node in program.nodes:
            taken = [value for value in node.inputs if value.dtype is dtypes.variant]
            made = [value for value in node.outputs if value.dtype is dtypes.variant]
            if node.op_def in WHILES and depth < MOST_NESTED:
                self.loop(node, bounds, depth)
            elif node.op_def in CASES and depth < MOST_NESTED:
                self.choice(node, bounds, depth)
            elif not taken and not made or node.op_def is FEED:
                continue
            elif node.controls:
                self.spoil(*taken, *made)
            elif not taken:
                self.begin(node, made[0], bounds)
            elif node.type in _WHOLE or (
                node.type == "TensorListGetItem" and node.attrs["element_dtype"] is not dtypes.variant
            ):
                continue
            elif node.type == "TensorListLength":
                self.group(taken[0])
                self.asked.add(taken[0])
                if taken[0] in self.rooms:
                    bounds.known[node.outputs[0]] = self.rooms[taken[0]]
            elif node.type in ("TensorListSetItem", "TensorListResize"):
                self.placed(node, taken[0], made[0], bounds)
            else:
                self.step(node, taken, made, bounds)

    def begin(self, node: Node, made: Value, bounds: Bounds) -> None:
        """Notes how long a new list is."""
        group = self.group(made).root()
        long: int | None = 0
        if node.type == "EmptyTensorList":
            group.changes = True
            room = integer(node.inputs[1])
            if room is None:
                group.fits = False
            elif room >= 0:
                group.least_room = room if group.least_room is None else min(room, group.least_room)
        elif node.type == "TensorListReserve":
            count = node.inputs[1]
            long = bounds.of(count)
            if count.node.type == "TensorListLength":
                self.as_long[made] = count.node.inputs[0]
            elif count.constant is None:
                group.changes = True
        elif node.type == "TensorListFromTensor":
            sizes = node.inputs[0].sizes
            long = sizes[0] if sizes else None
            group.given = True
        elif node.type != "FakeParam":
            long = None
        if node.type not in ("EmptyTensorList", "TensorListReserve", "FakeParam"):
            self.greatest[made] = None
        if long is None:
            group.fits = False
        else:
            self.fresh(made, long)

    def fresh(self, value: Value, long: int) -> None:
        """Notes how long a list is that was made of no other one."""
        group = self.group(value).root()
        group.reach = greatest(group.reach, long)
        self.note(value, long)

    def placed(self, node: Node, taken: Value, made: Value, bounds: Bounds) -> None:
        """Notes what sets an element of a list, which may lie behind its end, or says how long it is to be."""
        self.group(taken).join(self.group(made))
        group = self.group(made).root()
        number: list[int | None] = []
        end: int | None = 0
        if node.type == "TensorListResize":
            group.changes = True
            beside = _beside(node)
            if beside is not None:
                end = bounds.of(beside)
            elif not _takes_back(node):
                end = None
        elif node.attrs["element_dtype"] is dtypes.variant:
            self.spoil(node.inputs[2])
            end = None
        else:
            if node.attrs["element_dtype"] in (dtypes.int32, dtypes.int64):
                number = [bounds.of(node.inputs[2])]
            if node.attrs.get("resize_if_index_out_of_bounds"):
                group.changes = True
                last = bounds.of(node.inputs[1])
                end = None if last is None else last + 1
        if end is None:
            group.fits = False
        else:
            group.reach = greatest(group.reach, end)
        self.note(made, self.most.get(taken, 0))
        self.put(made, self.greatest.get(taken, 0), *number)

    def step(self, node: Node, taken: Sequence[Value], made: Sequence[Value], bounds: Bounds) -> None:
        change = _CHANGES.get(node.type)
        if change and node.attrs["element_dtype"] is dtypes.variant and not node.controls:
            item = node.inputs[1] if change > 0 else node.outputs[1]
            self.group(taken[0]).element().join(self.group(item))
            taken, made = taken[:1], made[:1]
            if change > 0:
                self.put(made[0], self.greatest.get(taken[0], 0), self.most.get(item, 0))
            elif (end := self.greatest.get(taken[0], 0)) is not None:
                self.note(item, end)
            else:
                self.spoil(item)
        elif change and node.attrs["element_dtype"] in (dtypes.int32, dtypes.int64):
            end = self.greatest.get(taken[0], 0)
            if change > 0:
                self.put(made[0], end, bounds.of(node.inputs[1]))
            elif end is not None:
                bounds.known[node.outputs[1]] = end
        if change is not None and change <= 0 and len(made) == 1:
            self.put(made[0], *(self.greatest.get(value, 0) for value in taken))
        several = 1 if change else len(taken)
        if change is None or len(made) != 1 or len(taken) != several:
            self.spoil(*taken, *made)
            self.greatest.update(dict.fromkeys(made))
            return
        for value in taken:
            self.group(value).join(self.group(made[0]))
        self.group(made[0]).root().changes |= change != 0
        self.note(made[0], max(self.most.get(value, 0) for value in taken) + change)

    def pair(self, a: Value, b: Value) -> None:
        """Notes that two values are one list in and out of a nested program."""
        if a.dtype is not dtypes.variant and b.dtype is not dtypes.variant:
            return
        if a.dtype is not b.dtype:
            self.spoil(a, b)
        self.group(a).join(self.group(b))

    def loop(self, node: Node, bounds: Bounds, depth: int) -> None:
        cond, body = node.attrs["cond"], node.attrs["body"]
        lists = [i for i, value in enumerate(node.inputs) if value.dtype is dtypes.variant]
        turns, exact = most_turns(node.inputs, cond, body, inductions(node.inputs, body), bounds)
        inside = bounds.inside(node, turns)
        for i in lists:
            for other in (body.feeds[i], cond.feeds[i], body.fetches[i], node.outputs[i]):
                self.pair(node.inputs[i], other)
            if node.controls:
                self.spoil(node.inputs[i])
        # By how much a turn makes them longer, from a first walk that starts with empty ones.
        for i in lists:
            self.most[body.feeds[i]] = self.most[cond.feeds[i]] = 0
        if depth >= _MOST_LOOPS:
            self.spoil(*(node.inputs[i] for i in lists))
            lists = []
        if not lists:
            self.walk(body, inside, depth + 1)
            self.walk(cond, inside, depth + 1)
            return
        for i in lists:
            self.greatest[body.feeds[i]] = self.greatest[cond.feeds[i]] = self.greatest.get(node.inputs[i], 0)
        shadow = _Shadow(self)
        shadow.walk(body, inside, depth + 1)
        for i in lists:
            for other in (body.feeds[i], cond.feeds[i], node.outputs[i]):
                self.put(other, self.greatest.get(node.inputs[i], 0), shadow.greatest.get(body.fetches[i], 0))
        by_group: dict[_Group, tuple[int, int]] = {}
        for i in lists:
            root = self.group(node.inputs[i]).root()
            start, growth = by_group.get(root, (0, -1))
            start = max(start, self.most.get(node.inputs[i], 0))
            delta = shadow.most.get(body.fetches[i])
            if delta is None:
                self.spoil(node.inputs[i])
                delta = 0
            by_group[root] = start, max(growth, delta)
        for i in lists:
            root = self.group(node.inputs[i]).root()
            start, growth = by_group[root]
            start = greatest(start, root.reach)
            if growth > 0 and turns is None:
                self.spoil(node.inputs[i])
                last = end = start
            elif growth > 0:
                assert turns is not None
                last, end = start + growth * max(0, turns - 1), start + growth * turns
            else:
                last = start
                end = start + growth * turns if exact and turns is not None else start
            for feed in (body.feeds[i], cond.feeds[i]):
                self.most[feed] = last
            self.note(node.outputs[i], max(0, end))
        for _ in range(_MOST_ROUNDS):
            self.walk(body, inside, depth + 1)
            self.walk(cond, inside, depth + 1)
            # What a turn puts into a list may grow with what it takes off, or with the list that it is the length of.
            more = {
                i: made
                for i in lists
                if (said := self.greatest[body.feeds[i]]) is not None
                and ((made := self.greatest.get(body.fetches[i], 0)) is None or made > said)
            }
            for i, made in more.items():
                for other in (body.feeds[i], cond.feeds[i], node.outputs[i]):
                    self.put(other, self.greatest[other], made)
            if not more:
                return
        self.trusted = False

    def choice(self, node: Node, bounds: Bounds, depth: int) -> None:
        for branch in node.attrs["branches"]:
            for feed, value in zip(branch.feeds, node.inputs[1:], strict=True):
                self.pair(value, feed)
                if value.dtype is dtypes.variant:
                    self.most[feed] = self.most.get(value, 0)
                    self.greatest[feed] = self.greatest.get(value, 0)
                    if node.controls:
                        self.spoil(value)
            self.walk(branch, bounds.of_branch(node, branch), depth + 1)
            for value, made in zip(node.outputs, branch.fetches, strict=True):
                self.pair(value, made)
                if value.dtype is dtypes.variant:
                    self.note(value, self.most.get(made, 0))
                    self.put(value, self.greatest.get(value, 0), self.greatest.get(made, 0))


class _Shadow(_Lengths):
    """A walk whose lengths count from empty lists, and are forgotten. Which lists belong together stays."""

    def __init__(self, of: _Lengths) -> None:
        self.groups = of.groups
        self.rooms, self.asked, self.as_long = of.rooms, of.asked, of.as_long
        self.greatest = dict(of.greatest)
        self.trusted = True
        self.most = dict(of.most)

    def note(self, value: Value, most: int) -> None:
        """Notes how long a list is at most; it may be shorter than in the beginning."""
        self.most[value] = max(most, self.most.get(value, most))

    def fresh(self, value: Value, long: int) -> None:
        """Notes how long a list is that was made of no other one: no turn makes it longer."""
        super().fresh(value, 0)
        group = self.group(value).root()
        group.reach = greatest(group.reach, long)


def _beside(node: Node) -> Value | None:
    """Where a list is resized to so many elements at least, that number."""
    size = node.inputs[1].node
    if size.type != "Maximum":
        return None
    for a, b in (size.inputs, size.inputs[::-1]):
        if a.node.type == "TensorListLength" and a.node.inputs[0] is node.inputs[0]:
            return b
    return None


def _takes_back(node: Node) -> bool:
    """Whether a list is made as short as it was before an element was set, which is zero by now: in its gradient.

    The run sees to it that it does not get longer.
    """
    made = node.inputs[0].node
    if made.type != "TensorListSetItem" or made.attrs.get("resize_if_index_out_of_bounds"):
        return False
    return made.inputs[2].node.type == "ZerosLike" or is_zero(made.inputs[2])


class _Change:
    """Writes the program anew."""

    def __init__(self, found: _Lengths, counts: Counter[str]) -> None:
        self.found = found
        self.counts = counts
        # Of lists as they were, in the new program: their lengths, and those of their elements where these are lists.
        self.lengths: dict[Value, Value] = {}
        self.inner: dict[Value, Value] = {}

    def changed(self, program: Program) -> Program:
        """The program with lists made long enough at once."""
        return rebuild(program, self.replace)

    def replace(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """What takes the place of a node."""
        good, lengths = self.found.good, self.lengths
        if node.op_def in NESTED:
            return self.nested(builder, node, inputs, controls)
        taken = next((value for value in node.inputs if good(value)), None)
        made = next((value for value in node.outputs if good(value)), None)
        if node.op_def is FEED or (taken is None and made is None):
            return None
        if taken is None:
            assert made is not None
            return self.begun(builder, node, inputs, made)
        length = lengths[taken]
        inner = self.inner.get(taken)
        one = builder.constant(np.array(1, np.int32))
        kind = {"element_dtype": node.attrs.get("element_dtype")}
        if node.type == "TensorListPushBack":
            made = node.outputs[0]
            lengths[made] = builder.emit("AddV2", length, one)
            if inner is not None:
                added = lengths[node.inputs[1]]
                self.inner[made] = builder.emit(
                    "TensorListSetItem", inner, length, added, element_dtype=dtypes.int32
                )
            return [builder.emit("TensorListSetItem", inputs[0], length, inputs[1], **kind)]
        if node.type == "TensorListPopBack":
            last = lengths[node.outputs[0]] = builder.emit("Sub", length, one)
            if inner is not None:
                self.inner[node.outputs[0]] = inner
                lengths[node.outputs[1]] = builder.emit(
                    "TensorListGetItem", inner, last, _scalar(builder), element_dtype=dtypes.int32
                )
            return [inputs[0], builder.emit("TensorListGetItem", inputs[0], last, inputs[1], **kind)]
        if node.type == "TensorListLength":
            return [length]
        if node.type in ("TensorListGetItem", "TensorListGather", "TensorListSetItem"):
            return self.at(builder, node, inputs, length, controls)
        if node.type == "TensorListResize":
            result = node.outputs[0]
            lengths[result] = inputs[1]
            if _beside(node) is None:
                lengths[result] = in_list(builder, inputs[1], builder.emit("AddV2", length, one), "keep")
            return [inputs[0]]
        if node.type in ("TensorListStack", "TensorListConcatV2"):
            known = node.attrs.get("num_elements", -1)
            if known >= 0:
                length = builder.constant(np.array(known, np.int32))
            whole = builder.emit("TensorListResize", inputs[0], length)
            attrs = {**node.attrs, "num_elements": -1} if known >= 0 else node.attrs
            return builder.node(node.op_def, (whole, *inputs[1:]), attrs, controls)
        if made is None:
            return None
        lengths[made] = length
        if inner is not None:
            self.inner[made] = inner
        return None

    def begun(self, b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], made: Value) -> Replacement:
        """A new list, with room for all elements that it ever has."""
        room = greatest(1, self.found.groups[made].root().room)
        count = b.constant(Derived.holding(room, np.int32), True)
        self.lengths[made] = b.constant(np.array(0, np.int32))
        if self.found.holds_good(made):
            self.inner[made] = b.emit("TensorListReserve", _scalar(b), count, element_dtype=dtypes.int32)
        if node.type == "FakeParam":
            return None
        self.counts["lists"] += 1
        if node.type == "TensorListFromTensor":
            rows = inputs[0]
            assert rows.sizes is not None
            long, *rest = rows.sizes
            self.lengths[made] = b.constant(Derived.holding(long, np.int32), True)
            behind = room - long
            if not is_symbolic(long) and not long:
                sizes = b.constant(Derived.holding([room, *rest], np.int32), True)
                rows = b.emit("Fill", sizes, b.constant(np.zeros((), rows.dtype.numpy)))
            elif is_symbolic(behind) or behind:
                sides = [[0, behind], *([0, 0] for _ in rest)]
                rows = b.emit("Pad", rows, b.constant(Derived.holding(sides, np.int32), True))
            return b.node(node.op_def, (rows, *inputs[1:]), node.attrs)
        if node.type == "TensorListReserve":
            self.lengths[made] = inputs[1]
        return b.node(get_op("TensorListReserve"), (inputs[0], count), {**node.attrs})

    def at(
        self,
        b: ProgramBuilder,
        node: Node,
        inputs: tuple[Value, ...],
        length: Value,
        controls: tuple[Node, ...],
    ) -> Replacement:
        """What reads or sets elements at numbers."""
        grows = bool(node.attrs.get("resize_if_index_out_of_bounds"))
        verb = "modify" if node.type == "TensorListSetItem" else "access"
        index = in_list(b, inputs[1], length, verb, grows)
        if node.type == "TensorListSetItem":
            self.lengths[node.outputs[0]] = length
            if grows:
                end = b.emit("AddV2", inputs[1], b.constant(np.array(1, np.int32)))
                self.lengths[node.outputs[0]] = b.emit("Maximum", length, end)
        attrs = {**node.attrs}
        attrs.pop("resize_if_index_out_of_bounds", None)
        return b.node(
            node.op_def, (inputs[0], index, *inputs[2:]), attrs, controls, None, node.origin, node.name
        )

    def nested(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """A loop or a branch through which the lengths of its lists go, too."""
        given = node.inputs[1:] if node.op_def in CASES else node.inputs
        places = [i for i, value in enumerate(given) if self.found.good(value)]
        results = [i for i, value in enumerate(node.outputs) if self.found.good(value)]
        programs = [
            self.inside(program, places, results if node.op_def in CASES or number else [])
            for number, (_, program) in enumerate(nested_programs(node))
        ]
        if all(new is old for new, (_, old) in zip(programs, nested_programs(node), strict=True)):
            return None
        holding = [i for i in places if given[i] in self.inner]
        more = (*inputs, *(self.lengths[given[i]] for i in places), *(self.inner[given[i]] for i in holding))
        attrs: dict[str, Any] = with_programs(node.op_def, node.attrs, programs)
        if node.op_def in WHILES:
            attrs["T"] = tuple(value.dtype for value in more)
        else:
            attrs["Tin"] = tuple(value.dtype for value in more[1:])
            attrs["Tout"] = tuple(value.dtype for value in programs[0].fetches)
        made = builder.node(node.op_def, more, attrs, controls, None, node.origin, node.name)
        count = len(node.outputs)
        added = iter(made.outputs[count:])
        for i, length in zip(results, added, strict=False):
            self.lengths[node.outputs[i]] = length
        for i in results:
            if self.found.holds_good(node.outputs[i]):
                self.inner[node.outputs[i]] = next(added)
        return list(made.outputs[:count]) if count else made

    def inside(self, program: Program, places: Sequence[int], results: Sequence[int]) -> Program:
        """A nested program that takes and gives the lengths of some lists, besides what it did."""
        nodes = program.nodes
        builder = ProgramBuilder(nodes[-1].serial + 1 if nodes else 0)
        feeds = []
        for i in places:
            attrs: Mapping[str, Any] = {"dtype": dtypes.int32, "shape": SCALAR, "feed": f"length of {i}"}
            feed = builder.node(FEED, (), dict(attrs), (), (_LENGTH,)).outputs[0]
            feeds.append(feed)
            self.lengths[program.feeds[i]] = feed
        for i in places:
            if self.found.holds_good(program.feeds[i]):
                attrs = {"dtype": dtypes.variant, "shape": SCALAR, "feed": f"lengths in {i}"}
                feed = builder.node(FEED, (), attrs, (), (_LENGTHS,)).outputs[0]
                feeds.append(feed)
                self.inner[program.feeds[i]] = feed
        asked = [builder.emit("TensorListLength", program.fetches[i]) for i in results]
        wider = Program(
            (*program.feeds, *feeds), (*program.fetches, *asked), program.commits, program.effects,
            program.specialized,
        ) if feeds or asked else program  # fmt: skip
        made = self.changed(wider)
        lengths = [
            self.inner[program.fetches[i]] for i in results if self.found.holds_good(program.fetches[i])
        ]
        if not lengths:
            return made
        return Program(made.feeds, (*made.fetches, *lengths), made.commits, made.effects, made.specialized)


def _scalar(builder: ProgramBuilder) -> Value:
    """The shape of a number."""
    return builder.constant(np.zeros(0, np.int32))
