"""What is known of a loop's turns: how many there are, which numbers grow evenly, which rows they read and write.

A loop variable that the body only adds a constant to is never computed: its value in turn t is `start + t * step`. A
condition that compares such a number with one that stays the same says how many turns there are. Rows of a stacked
tensor that are read or written at such numbers are read and written where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from graphflow.opdef import op
from graphflow.program import FEED, Node, Program, ProgramBuilder, Replacement, Value, invariants, rebuild
from graphflow.records import dataclass, field
from graphflow.shapes import TensorShape

__all__ = ["LOOP_ROW", "SET_LOOP_ROW", "Even", "Limit", "LoopForm", "loop_form"]


class Even(NamedTuple):
    """The number `start + t * step` in turn t."""

    start: int
    step: int


class Limit(NamedTuple):
    """A loop ends when `even` reaches `value`, a scalar integer that is known before it begins; `inclusive`: passes."""

    even: Even
    value: Value
    inclusive: bool


def _row_shape(node: Any) -> TensorShape:
    dims = node.inputs[0].shape.as_tuple()
    return TensorShape(dims[1:])


def _rows_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    return shape


_EVEN = "T:type; start:int; step:int"


@op("GraphflowLoopRow", "rows:T", "row:T", _EVEN, infer=_row_shape, differentiable=False)
def loop_row_op(rows: Any, *, start: int, step: int) -> Any:
    """Row `start + t * step` of a stacked tensor, in turn t of the loop around."""
    raise RuntimeError("only a native loop knows its turn")


@op("GraphflowSetLoopRow", "rows:T; row:T", "updated:T", _EVEN, infer=_rows_shape, differentiable=False)
def set_loop_row_op(rows: Any, row: Any, *, start: int, step: int) -> Any:
    """A stacked tensor with another row `start + t * step`, in turn t of the loop around."""
    raise RuntimeError("only a native loop knows its turn")


LOOP_ROW = loop_row_op
SET_LOOP_ROW = set_loop_row_op


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


def loop_form(node: Node, wanted: Sequence[bool], finish: Any) -> LoopForm:
    """Returns how to lower a While.

    Args:
      node: the loop.
      wanted: which of its outputs anybody takes.
      finish: the passes for nested programs.
    """
    cond, body = node.attrs["cond"], node.attrs["body"]
    given = {
        i: value.constant for i in sorted(invariants(node)) if (value := node.inputs[i]).constant is not None
    }
    body, cond = finish(_with_constants(body, given)), finish(_with_constants(cond, given))
    counted = _inductions(node, body)
    limits, rest = _limits(node, cond, counted)
    exact_turns = [_turns(limit) for limit in limits]
    known = [turns for turns in exact_turns if turns is not None]
    most = min(known) if known else None
    open_limits = [limit for limit, turns in zip(limits, exact_turns, strict=True) if turns is None]
    exact = most is not None and not open_limits and not rest
    if most is not None:
        zeros = {i for i, value in enumerate(node.inputs) if _is_zero(value)}
        body = _with_rows(body, _evens(body, counted), most, zeros)
    conditions = Program(cond.feeds, (_all(cond, rest),), (), (), True) if rest else None
    carried = _needed(body, conditions, wanted, counted if exact else {})
    ends = {
        i: even.start + even.step * most
        for i, even in counted.items()
        if exact and most is not None and i not in carried
    }
    fetches = tuple(body.fetches[i] for i in carried)
    return LoopForm(
        Program(body.feeds, fetches, (), (), True), conditions, carried, ends, most, exact, open_limits
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


def _integer(value: Value) -> int | None:
    constant = value.constant
    if constant is None or constant.ndim or constant.dtype.kind not in "iu":
        return None
    return int(constant)


def _inductions(node: Node, body: Program) -> dict[int, Even]:
    """The loop variables that grow by the same number in each turn, from a number that is known."""
    found: dict[int, Even] = {}
    for i, (feed, made) in enumerate(zip(body.feeds, body.fetches, strict=True)):
        start = _integer(node.inputs[i])
        if start is None or made.node.type not in ("Add", "AddV2", "Sub"):
            continue
        a, b = made.node.inputs
        if made.node.type != "Sub" and b is feed:
            a, b = b, a
        step = _integer(b)
        if a is feed and step is not None:
            found[i] = Even(start, -step if made.node.type == "Sub" else step)
    return found


def _evens(program: Program, counted: Mapping[int, Even]) -> dict[Value, Even]:
    """All values of a program that grow evenly with the turns."""
    found = {program.feeds[i]: even for i, even in counted.items()}
    for node in program.nodes:
        if len(node.outputs) != 1 or not node.inputs:
            continue
        parts = []
        for value in node.inputs:
            number = _integer(value)
            parts.append(found.get(value) if number is None else Even(number, 0))
        if any(part is None for part in parts):
            continue
        numbers = [part for part in parts if part is not None]
        made = _combined(node, numbers)
        if made is not None:
            found[node.outputs[0]] = made
    return found


def _combined(node: Node, parts: list[Even]) -> Even | None:
    kind = node.type
    if kind in ("Identity", "Cast") and node.outputs[0].dtype.is_integer and node.outputs[0].dtype.size >= 4:
        return parts[0]
    if kind == "Neg":
        return Even(-parts[0].start, -parts[0].step)
    if len(parts) != 2:
        return None
    a, b = parts
    if kind in ("Add", "AddV2"):
        return Even(a.start + b.start, a.step + b.step)
    if kind == "Sub":
        return Even(a.start - b.start, a.step - b.step)
    if kind == "Mul" and not (a.step and b.step):
        return Even(a.start * b.start, a.start * b.step + a.step * b.start)
    return None


# -- how many turns -------------------------------------------------------------------------------------------


def _limits(node: Node, cond: Program, counted: Mapping[int, Even]) -> tuple[list[Limit], list[Value]]:
    """The limits in a condition, and what else has to hold."""
    evens = _evens(cond, counted)
    fixed = invariants(node)
    inputs = {cond.feeds[i]: node.inputs[i] for i in fixed}
    limits: list[Limit] = []
    rest: list[Value] = []
    stack = [cond.fetches[0]]
    while stack:
        value = stack.pop()
        made = value.node
        if made.type in ("Identity", "LogicalAnd"):
            stack += reversed(made.inputs)
            continue
        limit = _limit(made, evens, inputs)
        if limit is None:
            rest.append(value)
        else:
            limits.append(limit)
    return limits, rest


def _limit(node: Node, evens: Mapping[Value, Even], inputs: Mapping[Value, Value]) -> Limit | None:
    if node.type not in ("Less", "LessEqual", "Greater", "GreaterEqual"):
        return None
    a, b = node.inputs
    if node.type in ("Greater", "GreaterEqual"):
        a, b = b, a
    inclusive = node.type.endswith("Equal")
    for number, bound, upwards in ((a, b, True), (b, a, False)):
        even = evens.get(number)
        bound = inputs.get(bound, bound)
        if even is None or bound.sizes != () or not bound.dtype.is_integer:
            continue
        if bound.constant is None and bound not in inputs.values():
            continue
        if even.step and (even.step > 0) == upwards:
            return Limit(even, bound, inclusive)
    return None


def _turns(limit: Limit) -> int | None:
    """How many turns a limit allows, if its value is known."""
    value = _integer(limit.value)
    if value is None:
        return None
    start, step = limit.even
    distance = (value - start) * (1 if step > 0 else -1) + limit.inclusive
    return max(0, math.ceil(distance / abs(step)) if abs(distance) < 1 << 50 else -(-distance // abs(step)))


def _all(program: Program, conditions: Sequence[Value]) -> Value:
    """One value that holds where all of some do."""
    builder = ProgramBuilder(program.nodes[-1].serial + 1)
    result = conditions[0]
    for other in conditions[1:]:
        result = builder.emit("LogicalAnd", result, other)
    return result


# -- rows -----------------------------------------------------------------------------------------------------


def _with_rows(body: Program, evens: Mapping[Value, Even], most: int, zeros: Set[int]) -> Program:
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
        even = evens.get(node.inputs[index])
        if even is None:
            number = _integer(node.inputs[index])
            if number is None:
                return None
            even = Even(number, 0)
        ends = (even.start, even.start + even.step * max(0, most - 1))
        sizes = node.inputs[rows].sizes
        if sizes is None or not sizes or not 0 <= min(ends) <= max(ends) < sizes[0]:
            return None
        attrs = {"T": node.inputs[rows].dtype, "start": even.start, "step": even.step}
        if node.type == "GraphflowRowAdd" and (
            node.inputs[rows] not in blank or not even.step or len(users[node.inputs[rows]]) != 1
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
        axis = _integer(inputs[2])
        plain = axis == 0 and not node.attrs.get("batch_dims", 0)
        return (0, 1) if plain and inputs[1].sizes == () else None
    return None


def _is_zero(value: Value) -> bool:
    constant = value.node.inputs[1].constant if value.node.type == "Fill" else value.constant
    return constant is not None and not constant.any()


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
    seen: set[Node] = set()
    while stack:
        value = stack.pop()
        if value in position:
            need(position[value])
        if value.node not in seen:
            seen.add(value.node)
            stack.extend(value.node.inputs)
    return sorted(found)
