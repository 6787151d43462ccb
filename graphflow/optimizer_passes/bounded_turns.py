"""Loops that fill lists and whose turns nobody limits get room for so many turns: compiled code holds no others.

Where a loop goes on all the same, the run ends before anything is written, as if something were wrong, and begins anew
with a plan for twice as many (`graphflow.later`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.opdef import op
from graphflow.program import (
    CASES,
    FEED,
    MOST_NESTED,
    NESTED,
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
from graphflow.shapes import SCALAR, TensorShape
from graphflow.symbolic import Derived
from graphflow.turns import Bounds, MoreTurns, inductions, most_turns

__all__ = ["bounded_turns"]

_TURN = TensorType(dtypes.int32, SCALAR, SCALAR)


@op("GraphflowTurn", "turn:int32; room:int32", "output:int32", "", infer=lambda node: TensorShape(()),
    differentiable=False)  # fmt: skip
def turn_op(turn: Any, room: Any) -> Any:
    """The number of a turn, for which there has to be room."""
    if turn >= room:
        raise MoreTurns(int(room))
    return np.asarray(turn, np.int32)


@turn_op.bounds
def _in_room(node: Any) -> dict[int, tuple[int, int]]:
    room = node.inputs[1].constant
    return {} if room is None else {0: (0, room.item())}


@turn_op.lower
def turn_lower(b: Any, turn: Any, room: Any) -> Any:
    """The number itself: the run looks whether it fits."""
    return turn


def bounded_turns(program: Program, counts: Counter[str], room: int | None = None) -> Program:
    """Returns the program with such loops limited to that number of turns; unchanged if there is no `room`."""
    return (
        program
        if room is None or not program.nests
        else _Change(room, counts).changed(program, Bounds({}), 0)
    )


def _fills(program: Program, depth: int = 0) -> bool:
    """Whether a program makes lists longer."""
    return any(
        node.type == "TensorListPushBack"
        or (node.type == "TensorListResize" and node.inputs[1].node.type == "Maximum")
        or bool(node.attrs.get("resize_if_index_out_of_bounds"))
        or (depth < MOST_NESTED and any(_fills(inner, depth + 1) for _, inner in nested_programs(node)))
        for node in program.nodes
    )


class _Change:
    """Writes a program anew. `room`: the number of turns, symbolic or not."""

    def __init__(self, room: int, counts: Counter[str]) -> None:
        self.room = room
        self.counts = counts

    def changed(self, program: Program, bounds: Bounds, depth: int) -> Program:
        """The program with its loops limited. `bounds`: the greatest values of numbers, as far as they are known."""

        def replace(
            builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
        ) -> Replacement:
            if node.op_def not in NESTED or depth >= MOST_NESTED:
                return None
            old = [nested for _, nested in nested_programs(node)]
            if node.op_def in CASES:
                new = [self.changed(part, bounds.of_branch(node, part), depth + 1) for part in old]
                open_end = False
            else:
                cond, body = old
                turns, _ = most_turns(node.inputs, cond, body, inductions(node.inputs, body), bounds)
                new = [cond, self.changed(body, bounds.inside(node, turns), depth + 1)]
                lists = any(value.dtype is dtypes.variant for value in node.outputs)
                open_end = turns is None and lists and _fills(body)
            if open_end:
                return self.limited(builder, node, inputs, controls, *new)
            if all(a is b for a, b in zip(new, old, strict=True)):
                return None
            attrs = with_programs(node.op_def, node.attrs, new)
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

        return rebuild(program, replace)

    def limited(
        self,
        builder: ProgramBuilder,
        node: Node,
        inputs: tuple[Value, ...],
        controls: tuple[Node, ...],
        cond: Program,
        body: Program,
    ) -> Replacement:
        """The loop with a counter of its own, and a look at it wherever it goes on."""
        self.counts["loops"] += 1
        number = len(inputs)
        cond, b, turn = _counted(cond, number)
        room = b.constant(Derived.holding(self.room, np.int32), True)
        end = b.constant(Derived.holding(self.room + 1, np.int32), True)
        zero = b.constant(np.array(0, np.int32))
        (goes_on,) = cond.fetches
        fits = b.emit("GraphflowTurn", b.emit("SelectV2", goes_on, turn, zero), room)
        holds = b.emit("LogicalAnd", b.emit("Less", turn, end), goes_on)
        holds = b.emit("LogicalAnd", holds, b.emit("GreaterEqual", fits, zero))
        cond = Program(cond.feeds, (holds,), cond.commits, cond.effects, cond.specialized)
        body, b, turn = _counted(body, number)
        following = b.emit("AddV2", turn, b.constant(np.array(1, np.int32)))
        body = Program(body.feeds, (*body.fetches, following), body.commits, body.effects, body.specialized)
        attrs = with_programs(node.op_def, node.attrs, [cond, body])
        attrs["T"] = (*node.attrs["T"], dtypes.int32)
        given = (*inputs, builder.constant(np.array(0, np.int32)))
        made = builder.node(node.op_def, given, attrs, controls, None, node.origin, node.name)
        return list(made.outputs[:number])


def _counted(program: Program, number: int) -> tuple[Program, ProgramBuilder, Value]:
    """A loop's program that is fed with the number of the turn, too; what builds more of it; and that number."""
    builder = ProgramBuilder(program.nodes[-1].serial + 1 if program.nodes else 0)
    attrs: dict[str, Any] = {"dtype": dtypes.int32, "shape": SCALAR, "feed": f"{number}: turns"}
    turn = builder.node(FEED, (), attrs, (), (_TURN,)).outputs[0]
    wider = Program(
        (*program.feeds, turn), program.fetches, program.commits, program.effects, program.specialized
    )
    return wider, builder, turn
