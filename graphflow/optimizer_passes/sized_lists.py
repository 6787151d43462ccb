"""Lists that grow and shrink by one element per turn of loops with known numbers of turns become lists of known length.

That is how the gradient of a loop finds the values of the loop's turns: each turn appends one, and each turn of the
loop that goes back takes the last one off. With the length known at every point, appending sets an element and taking
off reads one, and the list itself stays as long as it ever was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.opdef import get_op
from graphflow.program import (
    FEED,
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
from graphflow.shapes import SCALAR
from graphflow.turns import Even, inductions, known_turns

__all__ = ["sized_lists"]

_COUNTER = TensorType(dtypes.int32, SCALAR, SCALAR)


def sized_lists(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with such lists made long enough at once."""
    if not any(node.type == "EmptyTensorList" for node in program.nodes):
        return program
    found = _Lengths(program)
    return rebuild(program, _Change(found, counts).outside) if found.most else program


class _Lengths:
    """How long the lists of a program are at each point.

    Attributes:
      length: of each list: outside of loops a number, inside one that grows with the turns.
      origin: of each list, the node that makes the first one of its kind.
      most: of each such node, how long its lists ever get.
    """

    def __init__(self, program: Program) -> None:
        self.length: dict[Value, Even] = {}
        self.origin: dict[Value, Node] = {}
        self.most: dict[Node, int] = {}
        self.wrong: set[Node] = set()
        for node in program.nodes:
            self.outside(node)
        for value in program.roots:
            self.spoil(value)
        self.most = {node: most for node, most in self.most.items() if most > 0 and node not in self.wrong}

    def spoil(self, *values: Value) -> None:
        """Leaves the lists alone that some values belong to."""
        self.wrong.update(self.origin[value] for value in values if value in self.origin)

    def note(self, value: Value, like: Value, length: Even, ends: Sequence[int]) -> None:
        """Notes the length of a list, and how long it gets."""
        node = self.origin[value] = self.origin[like]
        self.length[value] = length
        if min(ends) < 0:
            self.wrong.add(node)
        self.most[node] = max(self.most[node], *ends)

    def step(self, node: Node, most: int) -> bool:
        """Follows a list through an operation that stands where there are so many turns; whether it could."""
        source = node.inputs[0]
        change = {"TensorListPushBack": 1, "TensorListPopBack": -1, "Identity": 0}.get(node.type)
        if change is None or node.controls or any(value in self.origin for value in node.inputs[1:]):
            return False
        before = self.length[source]
        after = Even(before.start + change, before.step)
        self.note(node.outputs[0], source, after, [after.start, after.start + after.step * max(0, most - 1)])
        return True

    def outside(self, node: Node) -> None:
        """Follows lists through a node that is in no loop."""
        lists = [value for value in node.inputs if value in self.origin]
        if node.type == "EmptyTensorList" and not node.controls:
            made = node.outputs[0]
            self.origin[made], self.length[made], self.most[node] = node, Even(0, 0), 0
        elif node.op_def in WHILES and lists:
            self.through(node)
        elif lists and node.type != "TensorListLength" and not self.step(node, 1):
            self.spoil(*lists)

    def through(self, node: Node) -> None:
        """Follows lists through a loop."""
        cond, body = node.attrs["cond"], node.attrs["body"]
        places = [i for i, value in enumerate(node.inputs) if value in self.origin]
        lists = [node.inputs[i] for i in places]
        turns = known_turns(node.inputs, cond, body, inductions(node.inputs, body))
        if (
            node.controls
            or turns is None
            or any(cond.feeds[i] in n.inputs for n in cond.nodes for i in places)
        ):
            self.spoil(*lists)
            return
        # How much longer a turn makes each list, from a first walk that starts at nothing.
        steps = {}
        for i in places:
            delta = _delta(body.fetches[i], body.feeds[i])
            if delta is None:
                self.spoil(*lists)
                return
            steps[i] = delta
        for i in places:
            given = node.inputs[i]
            start = self.length[given].start
            ends = [start, start + steps[i] * turns]
            self.note(body.feeds[i], given, Even(start, steps[i]), ends)
            self.note(node.outputs[i], given, Even(ends[1], 0), ends)
        for inner in body.nodes:
            taken = [value for value in inner.inputs if value in self.origin]
            if not taken or inner.op_def is FEED:
                continue
            if inner.type == "TensorListLength":
                continue
            if inner.op_def in NESTED or not self.step(inner, turns):
                self.spoil(*taken)
        for i, value in enumerate(body.fetches):
            if value in self.origin and (
                i not in steps or self.origin[value] is not self.origin[node.inputs[i]]
            ):
                self.spoil(value, *lists)


def _delta(value: Value, feed: Value) -> int | None:
    """How many elements more a list has than the one it was made of."""
    change = 0
    while value is not feed:
        step = {"TensorListPushBack": 1, "TensorListPopBack": -1, "Identity": 0}.get(value.node.type)
        if step is None:
            return None
        change += step
        value = value.node.inputs[0]
    return change


class _Change:
    """Writes the program anew."""

    def __init__(self, found: _Lengths, counts: Counter[str]) -> None:
        self.found = found
        self.counts = counts

    def known(self, value: Value) -> bool:
        """Whether a value is a list whose length is known."""
        origin = self.found.origin.get(value)
        return origin is not None and origin in self.found.most

    def outside(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """What takes the place of a node that is in no loop."""
        if node in self.found.most:
            attrs = {**node.attrs}
            count = builder.constant(np.array(self.found.most[node], np.int32), True)
            self.counts["lists"] += 1
            return builder.node(get_op("TensorListReserve"), (inputs[0], count), attrs)
        if node.op_def in WHILES and any(map(self.known, node.inputs)):
            return self.loop(builder, node, inputs)
        return self.plain(builder, node, inputs, None)

    def plain(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], turn: Value | None
    ) -> Replacement:
        """What an operation becomes; `turn`: the number of the turn, in a loop."""
        if not node.inputs or not self.known(node.inputs[0]):
            return None
        length = self.found.length[node.inputs[0]]
        if node.type == "TensorListPushBack":
            attrs = {"element_dtype": node.attrs["element_dtype"]}
            index = _number(builder, length, turn)
            return [builder.emit("TensorListSetItem", inputs[0], index, inputs[1], **attrs)]
        if node.type == "TensorListPopBack":
            attrs = {"element_dtype": node.attrs["element_dtype"]}
            index = _number(builder, Even(length.start - 1, length.step), turn)
            item = builder.emit("TensorListGetItem", inputs[0], index, inputs[1], **attrs)
            return [inputs[0], item]
        if node.type == "TensorListLength":
            return [_number(builder, length, turn)]
        return None

    def loop(self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...]) -> Replacement:
        """A loop that counts its turns, and sets and reads elements by that."""
        cond, body = (program for _, program in nested_programs(node))
        inside = ProgramBuilder(body.nodes[-1].serial + 1)
        attrs: dict[str, Any] = {"dtype": dtypes.int32, "shape": SCALAR, "feed": "turn of lists"}
        turn = inside.node(FEED, (), attrs, (), (_COUNTER,), node.origin, node.name).outputs[0]
        following = inside.emit("AddV2", turn, inside.constant(np.array(1, np.int32)))

        def replace(
            b: ProgramBuilder, inner: Node, given: tuple[Value, ...], controls: tuple[Node, ...]
        ) -> Replacement:
            if controls or inner is turn.node:
                return None
            return self.plain(b, inner, given, turn)

        counted = Program((turn, *body.feeds), (following, *body.fetches), (), body.effects, body.specialized)
        changed = rebuild(counted, replace)
        test = Program((turn, *cond.feeds), cond.fetches, (), cond.effects, cond.specialized)
        attrs = with_programs(node.op_def, node.attrs, [test, changed])
        more = (builder.constant(np.array(0, np.int32)), *inputs)
        attrs["T"] = tuple(value.dtype for value in more)
        made = builder.node(node.op_def, more, attrs, (), None, node.origin, node.name)
        return list(made.outputs[1:])


def _number(b: ProgramBuilder, even: Even, turn: Value | None) -> Value:
    start = b.constant(np.array(even.start, np.int32), bool(even.start))
    if not even.step:
        return start
    assert turn is not None
    if even.step == 1:
        return turn if not even.start else b.emit("AddV2", turn, start)
    if even.step == -1:
        return b.emit("Sub", start, turn)
    return b.emit("AddV2", b.emit("Mul", turn, b.constant(np.array(even.step, np.int32))), start)
