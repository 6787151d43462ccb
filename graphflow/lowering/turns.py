"""A loop as it is lowered: what each turn has to compute, and which rows it reads and sets.

Numbers that grow evenly with the turns are not computed where nobody needs them in memory, and conditions that say no
more than how many turns there are not looked at. Rows of a stacked tensor that are read or set at such numbers are read
and set where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from graphflow.opdef import op
from graphflow.program import FEED, Node, Program, ProgramBuilder, Replacement, Value, invariants, rebuild
from graphflow.records import dataclass, field
from graphflow.shapes import TensorShape
from graphflow.turns import (
    Bounds,
    Even,
    Limit,
    evens,
    from_the_end,
    inductions,
    inductions_from,
    integer,
    is_zero,
    limits_of,
    turns_of,
)

__all__ = ["LOOP_ROW", "SET_LOOP_ROW", "LoopForm", "loop_form"]


def _row_shape(node: Any) -> TensorShape:
    dims = node.inputs[0].shape.as_tuple()
    return TensorShape(dims[1:])


def _rows_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    return shape


_EVEN = "T:type; start:int; step:int; ends:int"


@op("GraphflowLoopRow", "rows:T", "row:T", _EVEN, infer=_row_shape, differentiable=False)
def loop_row_op(rows: Any, *, start: int, step: int, ends: int) -> Any:
    """Row `start + t * step` of a stacked tensor, in turn t of the loop around; `ends` times all turns later."""
    raise RuntimeError("only a native loop knows its turn")


@op("GraphflowSetLoopRow", "rows:T; row:T", "updated:T", _EVEN, infer=_rows_shape, differentiable=False)
def set_loop_row_op(rows: Any, row: Any, *, start: int, step: int, ends: int) -> Any:
    """A stacked tensor with another row, that which `loop_row_op` would read."""
    raise RuntimeError("only a native loop knows its turn")


LOOP_ROW = loop_row_op
SET_LOOP_ROW = set_loop_row_op
LOOP_ROWS = frozenset({LOOP_ROW, SET_LOOP_ROW})
"""What reads and sets rows where they lie: whoever takes such a value finds it there."""


@dataclass(eq=False, slots=True)
class LoopForm:
    """A loop as it is lowered.

    Attributes:
      body: its program. `feeds` has one value per loop variable: a constant where it is known; `fetches` are the new
        values of `carried`.
      conditions: what has to hold for a turn to begin, over the same feeds; None where the limits say it all.
      carried: the loop variables that have to lie in memory, in the order of the body's fetches.
      known: the values after the last turn of loop variables that need no memory.
      most: the greatest number of turns, as far as known.
      exact: whether there are as many.
      limits: those that only the run knows.
    """

    body: Program
    conditions: Program | None
    carried: list[int]
    known: dict[int, int] = field(default_factory=dict)
    most: int | None = None
    exact: bool = False
    limits: list[Limit] = field(default_factory=list)


def loop_form(node: Node, wanted: Sequence[bool], finish: Any, bounds: Bounds) -> LoopForm:
    """Returns how to lower a While.

    Args:
      node: the loop.
      wanted: which of its outputs anybody takes.
      finish: the passes for nested programs.
      bounds: what is known of numbers in the program that it stands in.
    """
    cond, body = node.attrs["cond"], node.attrs["body"]
    given = {
        i: value.constant for i in sorted(invariants(node)) if (value := node.inputs[i]).constant is not None
    }
    body, cond = finish(_with_constants(body, given)), finish(_with_constants(cond, given))
    counted = inductions(node.inputs, body)
    limits, rest = limits_of(node.inputs, cond, body, counted)
    exact_turns = [turns_of(limit) for limit in limits]
    known = [turns for turns in exact_turns if turns is not None]
    most = min(known) if known else None
    open_limits = [limit for limit, turns in zip(limits, exact_turns, strict=True) if turns is None]
    exact = most is not None and not open_limits and not rest
    if most is not None or limits:
        zeros = {i for i, value in enumerate(node.inputs) if is_zero(value)}
        rows = _Rows(evens(body, inductions_from(node.inputs, body)), most, limits, bounds)
        body = _with_rows(body, rows, zeros)
    conditions = Program(cond.feeds, (_all(cond, rest),), (), (), True) if rest else None
    carried = _needed(body, conditions, wanted, counted if exact else {})
    ends = {
        i: even.start + even.step * most
        for i, even in counted.items()
        if exact and most is not None and i not in carried
    }
    fetches = tuple(body.fetches[i] for i in carried)
    return LoopForm(
        Program(body.feeds, fetches, (), body.effects, True),
        conditions,
        carried,
        ends,
        most,
        exact,
        open_limits,
    )


def _with_constants(program: Program, given: Mapping[int, np.ndarray[Any, Any] | None]) -> Program:
    """The program with constants in place of some of its feeds."""
    known = {program.feeds[i]: value for i, value in given.items()}
    if not known:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def is FEED and node.outputs[0] in known:
            return [builder.constant(known[node.outputs[0]])]
        return None

    return rebuild(program, replace)


# -- rows -----------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Rows:
    """Which rows the turns of a loop are about.

    Attributes:
      known: the numbers of its body that grow evenly.
      most: the greatest number of turns that is known before the run.
      limits: all of its limits.
      bounds: of the program that it stands in.
    """

    known: Mapping[Value, Even]
    most: int | None
    limits: Sequence[Limit]
    bounds: Bounds

    def attrs(self, rows: Value, index: Value) -> dict[str, Any] | None:
        """How to find the row of a turn, if there is one in every turn."""
        if index.node.type == "GraphflowFromEnd":
            index = index.node.inputs[0]  # what is among the rows in every turn is not counted from the end
        if index.node.type == "GraphflowInList":
            if not (index.node.attrs["grows"] or self.in_list(*index.node.inputs[1:])):
                return None
            index = index.node.inputs[1]
        even = self.known.get(index)
        number = integer(index)
        if number is not None:
            even = Even(number, 0)
        if even is None or not rows.sizes:
            return None
        ends = 0
        if even.base is not None:
            even, ends = from_the_end(even, self.limits, self.bounds, rows.sizes[0]), 1
        elif self.most is None:
            return None
        else:
            places = (even.start, even.start + even.step * max(0, self.most - 1))
            if not 0 <= min(places) <= max(places) < rows.sizes[0]:
                return None
        return even and {"T": rows.dtype, "start": even.start, "step": even.step, "ends": ends}

    def in_list(self, index: Value, length: Value) -> bool:
        """Whether the index is less than the length in every turn."""
        known = integer(length)
        number, end = self.known.get(index), self.known.get(length) if known is None else Even(known, 0)
        if number is None or end is None or number.base is not end.base:
            return False
        first, step = end.start - number.start, end.step - number.step
        if not step:
            return bool(first > 0)
        return self.most is not None and bool(min(first, first + step * max(0, self.most - 1)) > 0)


def _with_rows(body: Program, where: _Rows, zeros: Set[int]) -> Program:
    """The body with rows that lie evenly read and written by turn, where no turn is out of bounds.

    `zeros`: the loop variables that are zero in the beginning. To add to each row of such once is to set it.
    """
    users = body.users()
    blank = {body.feeds[i] for i in zeros}

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        found = _row_of(node)
        if found is None or controls:
            return None
        rows, index = found
        attrs = where.attrs(node.inputs[rows], node.inputs[index])
        if attrs is None:
            return None
        if node.type == "GraphflowRowAdd" and (
            node.inputs[rows] not in blank or not attrs["step"] or len(users[node.inputs[rows]]) != 1
        ):
            return None
        if node.type in ("GraphflowRowSet", "GraphflowRowAdd"):
            return builder.node(SET_LOOP_ROW, (inputs[rows], inputs[2]), attrs)
        made = builder.node(LOOP_ROW, (inputs[rows],), attrs)
        return made if made.outputs[0].shape == node.outputs[0].shape else None

    return rebuild(body, replace)


def _row_of(node: Node) -> tuple[int, int] | None:
    """Which input of a node are stacked rows, and which one says which of them the node is about."""
    kind, inputs = node.type, node.inputs
    if kind in ("GraphflowRow", "GraphflowRowSet", "GraphflowRowAdd"):
        return 0, 1
    if kind == "GatherV2":
        axis = integer(inputs[2])
        plain = axis == 0 and not node.attrs.get("batch_dims", 0)
        return (0, 1) if plain and inputs[1].sizes == () else None
    return None


def _all(program: Program, conditions: Sequence[Value]) -> Value:
    """One value that holds where all of some do."""
    builder = ProgramBuilder(program.nodes[-1].serial + 1)
    result = conditions[0]
    for other in conditions[1:]:
        result = builder.emit("LogicalAnd", result, other)
    return result


# -- what has to be computed ----------------------------------------------------------------------------------


def _needed(
    body: Program, conditions: Program | None, wanted: Sequence[bool], free: Mapping[int, Even]
) -> list[int]:
    """The loop variables that change and whose values in memory somebody takes: outside, or to compute such."""
    position = {feed: i for i, feed in enumerate(body.feeds)}
    found: set[int] = set()
    stack: list[Value] = []

    def need(i: int) -> None:
        if i not in found and body.fetches[i] is not body.feeds[i]:
            found.add(i)
            stack.append(body.fetches[i])

    for i, taken in enumerate(wanted):
        if taken and i not in free:
            need(i)
    if conditions is not None:
        for i, feed in enumerate(conditions.feeds):
            if any(feed in node.inputs for node in conditions.nodes) or feed in conditions.fetches:
                need(i)
    stack += [value for node in body.effects for value in node.inputs]
    seen: set[Node] = set()
    while stack:
        value = stack.pop()
        if value in position:
            need(position[value])
        if value.node not in seen:
            seen.add(value.node)
            stack.extend(value.node.inputs)
    return sorted(found)
