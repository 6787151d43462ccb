"""Loops and branches whose programs are wholly native, as regions of the plan that they stand in.

A nested program is fused and lowered like any other, into the steps of the plan around it. What goes from turn to turn
lies in two places that take turns, or, where rows of it are set one after another, in one. What stays the same is read
where it lies; matrices that every turn multiplies by are put in panels before the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.backends.base import Backend
from graphflow.loops.build import Builder
from graphflow.loops.ir import Kernel
from graphflow.lowering.calls import bytes_of
from graphflow.lowering.forms import NATIVE_DTYPES, Form, native
from graphflow.lowering.fuse import Fusion
from graphflow.lowering.turns import LOOP_ROW, LOOP_ROWS, SET_LOOP_ROW, LoopForm, loop_form
from graphflow.plan import COPY, Arg, PlanBuilder, Slot, read, write
from graphflow.program import (
    NESTED,
    WHILES,
    Node,
    Program,
    Value,
    nested_programs,
    nests_deeper,
)
from graphflow.records import dataclass
from graphflow.regions import Region
from graphflow.symbolic import Derived, ceil_div
from graphflow.turns import Bounds, Limit

__all__ = ["Finish", "NativeRegions", "Nested"]

_DEEPEST = 8  # regions within regions; what is nested deeper runs from the host

_LINE = 64  # bytes of a cache line

Finish = Callable[[Program], Program]


@dataclass(eq=False, slots=True)
class Nested:
    """A node with nested programs that become regions.

    Attributes:
      parts: the lowerings of its branches; of a loop, of its body and then of its conditions if it has any.
      form: of a loop, what is known of its turns.
    """

    parts: list[Any]
    form: LoopForm | None = None


class _HostOnly(Exception):
    """Why a branch or a loop runs from the host."""


def _acts(node: Node) -> str:
    does = "draws random numbers" if node.op_def.effects == "random" else "acts on the world"
    return f"{node.name!r} ({node.type}) {does} in every turn"


def _what_it_is(value: Value) -> str:
    if value.sizes is None and value.dtype.name in NATIVE_DTYPES:
        return f"has the shape {value.shape}, which only the run knows"
    return "is a list of tensors" if value.dtype.name == "variant" else f"is of dtype {value.dtype.name}"


class NativeRegions:
    """The part of a lowering that knows nested programs."""

    program: Program
    backend: Backend
    finish: Finish | None
    builder: PlanBuilder
    slots: dict[Value, Slot]
    uses: dict[Value, list[Node]]
    roots: set[Value]
    forms: dict[Node, Form]
    fusion: Fusion
    loop: Region | None
    depth: int
    bounds: Bounds
    nested: dict[Node, Nested]
    targets: dict[Value, Slot]
    turned: dict[Value, Any]
    rows: dict[Value, Node]
    set_already: set[Node]
    steady: set[Value]
    hosted: dict[Node, str]

    if TYPE_CHECKING:

        def __init__(
            self,
            program: Program,
            backend: Backend,
            name: str,
            finish: Finish | None = None,
            builder: PlanBuilder | None = None,
        ) -> None: ...

        def slot(self, value: Value) -> Slot:
            """The slot of a value."""

        def new_buffer(self, value: Value) -> Slot:
            """Memory for a value."""

        def prepare(self) -> None:
            """Decides which steps there are to be."""

        def emit(self) -> None:
            """Adds the steps."""

        def drop_use(self, value: Value, user: Node) -> None:
            """Notes that a node no longer takes a value."""

    # -- what is native ---------------------------------------------------------------------------------

    def nests_natively(self, node: Node) -> bool:
        """Whether a node is a branch or a loop that can run in the plan; remembers how, or why not."""
        try:
            if nests_deeper(node, _DEEPEST - 1 - self.depth):
                raise _HostOnly(f"regions lie more than {_DEEPEST} deep in one another")
            if node.controls:
                raise _HostOnly(f"it waits for {node.controls[0].name!r}")
            self.nested[node] = self.while_of(node) if node.op_def in WHILES else self.case_of(node)
        except _HostOnly as reason:
            self.hosted[node] = str(reason)
            return False
        return True

    def why_hosted(self, node: Node) -> str:
        """Why a branch or a loop runs from the host; nothing of other nodes."""
        if node.op_def not in NESTED or node in self.hosted:
            return self.hosted.get(node, "")
        programs = [program for _, program in nested_programs(node)]
        for program in programs:
            for inner in program.nodes:
                if inner.op_def.effects in ("random", "host"):
                    return _acts(inner)
        names = programs[-1].feeds if node.op_def in WHILES else node.outputs
        for value in node.outputs:
            if not native(value):
                return f"its variable {names[value.index].node.name!r} {_what_it_is(value)}"
        for value in node.inputs:
            if not native(value):
                return f"{value.node.name!r}, which it is given, {_what_it_is(value)}"
        return ""

    def case_of(self, node: Node) -> Nested:
        """How a branch can run in the plan.

        Raises:
          _HostOnly: if it cannot.
        """
        parts = []
        for branch in node.attrs["branches"]:
            known = self.bounds.of_branch(node, branch).known
            parts.append(self.part(branch, [known.get(feed) for feed in branch.feeds]))
        return Nested(parts)

    def while_of(self, node: Node) -> Nested:
        """How a loop can run in the plan.

        Raises:
          _HostOnly: if it cannot.
        """
        body: Program = node.attrs["body"]
        for value, made in zip(body.feeds, body.fetches, strict=True):
            for one in (value, made):
                if not native(one):
                    raise _HostOnly(f"its variable {value.node.name!r} {_what_it_is(one)}")
            if value.sizes != made.sizes:
                raise _HostOnly(f"the shape of its variable {value.node.name!r} changes from turn to turn")
        users = self.program.users()
        roots = set(self.program.roots)
        wanted = [value in roots or bool(users.get(value)) for value in node.outputs]
        form = loop_form(node, wanted, self.finish or (lambda program: program), self.bounds)
        programs = [form.body] if form.conditions is None else [form.body, form.conditions]
        inside = self.bounds.inside(node, form.most)
        bounds = [inside.known.get(feed) for feed in body.feeds]
        return Nested([self.part(program, bounds, finished=True) for program in programs], form)

    def part(self, program: Program, bounds: Sequence[int | None], finished: bool = False) -> Any:
        """The lowering of a nested program.

        bounds: the greatest values of its feeds, as far as known.

        Raises:
          _HostOnly: if a node of it is not native.
        """
        for node in program.effects:
            if node.op_def.effects == "host":
                raise _HostOnly(_acts(node))
        for value in program.feeds:
            if not native(value):
                raise _HostOnly(f"{value.node.name!r}, which it is given, {_what_it_is(value)}")
        if self.finish is not None and not finished:
            program = self.finish(program)
        part = type(self)(program, self.backend, "", self.finish, self.builder)
        part.depth = self.depth + 1
        ends = zip(program.feeds, bounds, strict=True)
        part.bounds = Bounds({feed: end for feed, end in ends if end is not None})
        part.prepare()
        for node in program.nodes:
            form = part.forms[node]
            if node in part.hosted:
                raise _HostOnly(f"of {node.name!r} in it, {part.hosted[node]}")
            if node.op_def.effects == "random":
                raise _HostOnly(_acts(node))
            shown = form is Form.SOURCE and all(
                part.forms[u] is Form.CHECK for u in part.uses.get(node.outputs[0], ())
            )
            if form is Form.HOST or (form is Form.SOURCE and not shown):
                for value in (*node.inputs, *node.outputs):
                    if not native(value):
                        raise _HostOnly(f"{value.node.name!r} ({value.node.type}) {_what_it_is(value)}")
            if form is Form.HOST:
                raise _HostOnly(f"{node.name!r} ({node.type}) has no compiled form for such operands")
        return part

    def leave_out(self) -> None:
        """Notes that loops do not take what they would only pass on, or set themselves."""
        for node, nested in self.nested.items():
            form = nested.form
            if form is None:
                continue
            taken = {node.inputs[i] for i in self.taken_by(node, nested)}
            taken |= {limit.value for limit in form.limits}
            for value in dict.fromkeys(node.inputs):
                if value not in taken:
                    self.drop_use(value, node)

    def taken_by(self, node: Node, nested: Nested) -> list[int]:
        """The inputs of a loop that have to lie in memory when it begins."""
        form = nested.form
        assert form is not None
        found = []
        for i, feed in enumerate(form.body.feeds):
            if i in form.carried:
                if not (self.in_place(i, nested) and _sets_all_rows(feed, form)):
                    found.append(i)
            elif i not in form.known:
                read = any(
                    part.uses.get(part.program.feeds[i]) or part.program.feeds[i] in part.roots
                    for part in nested.parts
                )
                passed = node.outputs[i] in self.roots or self.uses.get(node.outputs[i])
                if feed.constant is None and (read or passed):
                    found.append(i)
        return found

    def in_place(self, i: int, nested: Nested) -> bool:
        """Whether a loop variable stays where it is, and each turn sets rows of it."""
        form = nested.form
        assert form is not None
        made = form.body.fetches[form.carried.index(i)]
        return _sets_rows_only(form.body.feeds[i], made, nested.parts[0].uses)

    def is_row(self, node: Node) -> bool:
        """Whether a node reads or sets the row of its turn."""
        return node.op_def in LOOP_ROWS

    # -- steps ------------------------------------------------------------------------------------------

    def copy(self, target: Slot, source: Slot, node: Node, name: str = "") -> None:
        """Adds a copy."""
        self.builder.launch(
            COPY, [write(target), read(source), target.nbytes], parallel=True, name=name or f"{node.name}/copy",
            origin=node, bytes=2 * target.nbytes,
        )  # fmt: skip

    def still(self, value: Value, node: Node) -> Slot:
        """The slot of a value, or of a copy that does not move with the turns."""
        slot = self.slot(value)
        if not slot.terms:
            return slot
        assert slot.shape is not None
        made = self.builder.buffer(slot.shape, slot.dtype, slot.name)
        self.copy(made, slot, node)
        return made

    def region(self, node: Node) -> None:
        """Adds the steps of a branch or a loop."""
        if node.op_def in WHILES:
            self.while_loop(node, self.nested[node])
        else:
            self.case(node, self.nested[node])

    def line(self, node: Node) -> Slot:
        """Where the row of a turn lies that a node reads or sets."""
        rows = node.inputs[0]
        while rows.node.op_def is SET_LOOP_ROW:
            rows = rows.node.inputs[0]
        assert self.loop is not None
        sizes = (rows.sizes or ())[1:]
        stride = math.prod(sizes) * rows.dtype.size
        slot = self.slot(node.inputs[0] if node.op_def is LOOP_ROW else rows)
        return self.turn_row(slot, node, sizes, stride)

    def turn_row(self, slot: Slot, node: Node, sizes: tuple[int, ...], stride: int) -> Slot:
        """The row of a turn in a tensor that lies in a slot."""
        assert self.loop is not None
        start, step, ends = node.attrs["start"], node.attrs["step"], node.attrs["ends"]
        return self.builder.moving(
            slot,
            self.loop,
            sizes,
            offset=start * stride,
            step=step * stride,
            ends=ends * stride,
            name=node.name,
        )

    def place_rows(self) -> None:
        """Finds values that are made in the row of a tensor that they are to be set as."""
        made_by = (Form.MAP, Form.ROW, Form.REDUCE, Form.READ, Form.CALL)
        in_place = {node for node in self.program.nodes if self.keeps_its_place(node)}
        for node in in_place:
            value = node.inputs[1]
            if node.inputs[0] not in self.program.feeds or node.outputs[0] not in self.roots:
                continue  # of several rows that a turn sets, a later one may be the same
            if value in self.rows or value in self.roots or value in self.turned:
                continue
            # What a loop leaves lies where its turns have put it.
            if self.forms[value.node] in made_by and value.node.op_def not in LOOP_ROWS | WHILES:
                self.rows[value] = node

    def keeps_its_place(self, node: Node) -> bool:
        """Whether a node sets a row in the memory of a loop variable that nobody else looks at in the turn."""
        if node.op_def is not SET_LOOP_ROW:
            return False
        value = node.outputs[0]
        while value not in self.roots:
            users = self.uses.get(value, ())
            if len(users) != 1 or users[0].op_def is not SET_LOOP_ROW or users[0].inputs[0] is not value:
                return False
            value = users[0].outputs[0]
        feed = _base(value)
        return feed in self.program.feeds and _sets_rows_only(feed, value, self.uses)

    def row(self, node: Node) -> None:
        """Adds the reading or setting of a turn's row."""
        made = node.outputs[0]
        if node.op_def is LOOP_ROW:
            self.slots[made] = self.line(node)
            return
        assert self.loop is not None
        if self.keeps_its_place(node):
            self.slots[made] = self.slot(node.inputs[0])
            if node in self.set_already:
                return
            line = self.line(node)
            if self.rows.get(node.inputs[1]) is node:
                return  # it was made here
        else:
            whole = self.slots[made] = self.new_buffer(made)
            self.copy(whole, self.slot(node.inputs[0]), node)
            sizes = (made.sizes or ())[1:]
            stride = math.prod(sizes) * made.dtype.size
            line = self.turn_row(whole, node, sizes, stride)
        self.copy(line, self.slot(node.inputs[1]), node)

    def case(self, node: Node, nested: Nested) -> None:
        """Adds a choice between branches."""
        index = self.still(node.inputs[0], node)
        wanted = [value for value in node.outputs if value in self.roots or self.uses.get(value)]
        for value in wanted:
            self.slots[value] = self.new_buffer(value)
        with self.builder.choice(node.name, node) as choice:
            for number, part in enumerate(nested.parts):
                if number < len(nested.parts) - 1:
                    choice.case(index, number)
                else:
                    choice.otherwise()
                part.loop = self.loop
                for feed, value in zip(part.program.feeds, node.inputs[1:], strict=True):
                    if feed.constant is None and (part.uses.get(feed) or feed in part.roots):
                        part.slots[feed] = self.slot(value)
                results = {value: part.program.fetches[value.index] for value in wanted}
                self.emit_into(part, {made: self.slots[value] for value, made in results.items()}, node)
                for value, made in results.items():
                    part.settle(made, self.slots[value], node)

    def emit_into(self, part: Any, targets: dict[Value, Slot], node: Node) -> None:
        """Adds a nested program's steps, with results written where they are wanted if that can be."""
        part.targets = targets
        part.emit()

    def settle(self, made: Value, target: Slot, node: Node) -> None:
        """Sees to it that a result lies where it is wanted."""
        if made.node.type == "FakeParam":
            return
        source = self.slot(made)
        if source is not target:
            self.copy(target, source, node)

    def while_loop(self, node: Node, nested: Nested) -> None:
        """Adds a loop."""
        form, body = nested.form, nested.parts[0]
        assert form is not None
        conditions = nested.parts[1] if form.conditions is not None else None
        builder = self.builder
        feeds = form.body.feeds
        in_place = {i for i in form.carried if self.in_place(i, nested)}
        memory: dict[int, Slot] = {}
        histories = _histories(form, in_place)
        for i, lists in histories.items():
            # One row for what the value is before the loop, and one for what each turn makes of it.
            sizes, size = feeds[i].sizes or (), bytes_of(feeds[i])
            assert form.most is not None
            memory[i] = builder.buffer((form.most + 1, *sizes), feeds[i].dtype.numpy, node.name)
            self.copy(builder.view(memory[i], sizes), self.slot(node.inputs[i]), node, f"{node.name}/start")
            for j, later in lists.items():
                memory[j] = builder.view(memory[i], (form.most, *sizes), offset=later * size, name=node.name)
                body.set_already.add(form.body.fetches[form.carried.index(j)].node)
        for i in form.carried:
            if i in memory:
                continue
            sizes, dtype = feeds[i].sizes or (), feeds[i].dtype.numpy
            covered = i in in_place and _sets_all_rows(feeds[i], form)
            given = node.inputs[i]
            if i in in_place:
                memory[i] = builder.buffer(sizes, dtype, node.name)
                if not covered:
                    self.copy(memory[i], self.slot(given), node, f"{node.name}/start")
            else:
                memory[i] = builder.buffer((2, _apart(feeds[i]) // dtype.itemsize), dtype, node.name)
                start = builder.view(memory[i], sizes, name=node.name)
                self.copy(start, self.slot(given), node, f"{node.name}/start")
        # What is looked at in every turn is made, if it must be, before the loop.
        for i, feed in enumerate(feeds):
            if i not in memory and feed.constant is None:
                for part in nested.parts:
                    own = part.program.feeds[i]
                    if part.uses.get(own) or own in part.roots:
                        part.slots[own] = self.slot(node.inputs[i])
        body.steady = {feeds[i] for i in range(len(feeds)) if i not in memory}
        limit: int | Slot | None = form.most
        if form.limits:
            limit = self.limit(node, form)
        elif form.most is None:
            limit = None
        with builder.loop(limit, most=form.most, name=node.name, origin=node) as loop:
            here: dict[int, Slot] = {}
            there: dict[int, Slot] = {}
            for i, slot in memory.items():
                if i in in_place:
                    here[i] = there[i] = slot
                    continue
                sizes, size = feeds[i].sizes or (), bytes_of(feeds[i])
                if i in histories:
                    here[i] = builder.moving(slot, loop.region, sizes, step=size, name=node.name)
                    there[i] = builder.moving(
                        slot, loop.region, sizes, offset=size, step=size, name=node.name
                    )
                    continue
                size = _apart(feeds[i])
                here[i] = builder.moving(slot, loop.region, sizes, swing=size, name=node.name)
                there[i] = builder.moving(slot, loop.region, sizes, offset=size, swing=-size, name=node.name)
            for part in nested.parts:
                part.loop = loop.region
                for i, slot in here.items():
                    part.slots[part.program.feeds[i]] = slot
            if conditions is not None:
                holds = builder.buffer((), np.bool_, f"{node.name}/cond")
                (fetch,) = conditions.program.fetches
                self.emit_into(conditions, {fetch: holds}, node)
                conditions.settle(fetch, holds, node)
                loop.leave_unless(holds)
            targets: dict[Value, Slot] = {}
            for i, made in zip(form.carried, form.body.fetches, strict=True):
                if i in in_place:
                    while made is not feeds[i]:
                        targets[made] = memory[i]
                        made = made.node.inputs[0]
                elif made not in feeds:
                    targets.setdefault(made, there[i])
            self.emit_into(body, targets, node)
            for i, made in zip(form.carried, form.body.fetches, strict=True):
                if i not in in_place:
                    body.settle(made, there[i], node)
            loop.finish()
            for value in node.outputs:
                i = value.index
                if value not in self.roots and not self.uses.get(value):
                    continue
                if i in in_place:
                    self.slots[value] = memory[i]
                elif i in histories:
                    assert form.most is not None
                    size = bytes_of(feeds[i])
                    self.slots[value] = builder.view(memory[i], feeds[i].sizes or (), offset=form.most * size)
                elif i in memory:
                    self.slots[value] = self.new_buffer(value)
                    self.copy(self.slots[value], here[i], node, f"{node.name}/end")
                elif i in form.known:
                    number = Derived.holding(form.known[i], value.dtype.numpy)
                    self.slots[value] = builder.constant(number, node.name)
                else:
                    self.slots[value] = self.slot(node.inputs[i])

    def limit(self, node: Node, form: LoopForm) -> Slot:
        """Adds the step that computes how many turns the limits allow that only the run knows."""
        made = self.builder.buffer((1,), np.int64, f"{node.name}/turns")
        args: list[Arg] = [read(self.still(limit.value, node)) for limit in form.limits]
        self.builder.launch(
            _limit_kernel(form.limits, form.most is not None),
            [*([] if form.most is None else [form.most]), *args, write(made)],
            name=f"{node.name}/turns",
            origin=node,
        )
        return made


def _apart(value: Value) -> int:
    """Bytes from what a turn reads of a value to what it writes: whole cache lines, so that vectors lie in one."""
    lines: int = ceil_div(bytes_of(value), _LINE)
    return lines * _LINE


def _limit_kernel(limits: Sequence[Limit], bounded: bool) -> Kernel:
    b = Builder("turns")
    least = b.int_param("most") if bounded else None
    for number, limit in enumerate(limits):
        x = b.buffer(f"x{number}", {"int32": "i32", "int64": "i64"}.get(limit.value.dtype.name, "i64"))
        value = b.cast(b.load(x, 0), "i64")
        start, step, _ = limit.even
        start_at, width = b.const(start, "i64"), b.const(abs(step), "i64")
        distance = b.sub(value, start_at) if step > 0 else b.sub(start_at, value)
        if limit.inclusive:
            distance = b.add(distance, 1)
        turns = b.floordiv(b.add(b.max(distance, 0), abs(step) - 1), width)
        least = turns if least is None else b.min(least, turns)
    assert least is not None
    b.store(b.buffer("y", "i64"), 0, least)
    return b.kernel()


def _histories(form: LoopForm, in_place: Set[int]) -> dict[int, dict[int, int]]:
    """The loop variables of which others keep what every turn finds or makes, in order, and which.

    Such a variable need not go to and fro between two places: each turn finds it in one row and leaves it in the next.
    Of each that keeps, whether it does so one row later: it keeps what the turns make.
    """
    found: dict[int, dict[int, int]] = {}
    if not form.exact or not form.most:
        return found
    made = dict(zip(form.carried, form.body.fetches, strict=True))
    for j in in_place:
        node, feed = made[j].node, form.body.feeds[j]
        if node.op_def is not SET_LOOP_ROW or node.inputs[0] is not feed or not _sets_all_rows(feed, form):
            continue
        if node.attrs["start"] or node.attrs["step"] != 1:
            continue
        item = node.inputs[1]
        for i in form.carried:
            if i not in in_place and item in (form.body.feeds[i], made[i]) and made[i] not in form.body.feeds:
                found.setdefault(i, {})[j] = int(item is made[i])
                break
    return found


# What changes rows of its first operand and leaves the others as they are.
_ROW_CHANGES = ("GraphflowSetLoopRow", "GraphflowRowSet", "GraphflowRowAdd")


def _base(value: Value) -> Value:
    """What a value is that rows were set in."""
    while value.node.type in _ROW_CHANGES:
        value = value.node.inputs[0]
    return value


def _sets_rows_only(feed: Value, made: Value, uses: dict[Value, list[Node]]) -> bool:
    """Whether a new value is the old one with rows set, and nobody else takes it or what it is in between."""
    value = made
    while value is not feed:
        node = value.node
        if node.type not in _ROW_CHANGES or len(uses.get(value, ())) != (value is not made):
            return False
        value = node.inputs[0]
    return made is not feed and len(uses.get(feed, ())) == 1


def _sets_all_rows(feed: Value, form: LoopForm) -> bool:
    """Whether the turns of a loop set every row of a value, which so need not have any before."""
    if not form.exact or form.most is None:
        return False
    position = form.carried.index(form.body.feeds.index(feed))
    node = form.body.fetches[position].node
    if node.op_def is not SET_LOOP_ROW:
        return False
    return abs(node.attrs["step"]) == 1 and form.most == (feed.sizes or (0,))[0]
