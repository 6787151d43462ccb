"""What the turns of a loop read or write twice of a TensorArray is refused, where it is known before the run.

`array_accesses` looks at the accesses of one body, as if it were run once. Here each access of a loop stands for the
elements of all its turns: an index that grows evenly with the turns, or one that is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphflow.array_accesses import Access, access_of, refusal
from graphflow.graph import Operation
from graphflow.opdef import constant_value
from graphflow.program import FEED, MOST_NESTED, NESTED, WHILES, Node, Program, Value, invariants
from graphflow.reference import NodeError, run
from graphflow.turns import Even, evens, inductions, known_turns

__all__ = ["refuse_accesses_of_turns"]

Array = np.ndarray[Any, Any]
_NO_STATE: Any = None  # what is computed here asks nothing of a session

_MOST_TURNS = 1000  # that are looked at one by one
_MOST_COMPUTED = 100  # turns whose numbers are computed
_MOST_NODES = 20  # that such a number is computed by
_Places = dict[
    tuple[int, bool], dict[int, Operation]
]  # of an array that is read, or written: elements, and who does


def refuse_accesses_of_turns(program: Program) -> None:
    """Looks at the loops of a program.

    Raises:
      InvalidArgumentError: if an element of an array is read twice, though reading clears it, or written twice.
    """
    if any(node.op_def in WHILES for node in program.nodes):
        _places(program, 0)


def _places(program: Program, depth: int) -> _Places:
    """The elements that a program surely reads or writes."""
    found: _Places = {}
    for node in program.nodes:
        if node.op_def in WHILES and depth < MOST_NESTED:
            _add(found, _of_loop(node, depth))
        elif (access := access_of(node.origin)) is not None and access.index is not None:
            assert node.origin is not None
            known = constant_value(access.index)
            places = [] if known is None else known.reshape(-1).tolist()
            # Twice within one operation, or one body, is looked at there.
            key = id(access.array), access.writes
            _add(found, {key: dict.fromkeys(places, node.origin)})
    return found


def _add(found: _Places, more: _Places) -> None:
    for key, places in more.items():
        have = found.setdefault(key, {})
        for place, operation in places.items():
            if have.get(place, operation) is not operation:
                raise refusal(operation, key[1], place)
            have[place] = operation


def _of_loop(loop: Node, depth: int) -> _Places:
    """The elements that all turns of a loop together read or write, of arrays that were there before it."""
    body: Program = loop.attrs["body"]
    counted = inductions(loop.inputs, body)
    turns = known_turns(loop.inputs, loop.attrs["cond"], body, counted)
    _places(body, depth + 1)  # what one turn does
    if turns is None or turns < 1:
        return {}
    numbers = evens(body, counted)
    found: _Places = {}
    for node in body.nodes:
        operation, access = node.origin, access_of(node.origin)
        if operation is None or access is None or not _takes_from_outside(node, access, body):
            continue
        index = node.inputs[1]
        even = numbers.get(index)
        if even is not None:
            places = [even.start + turn * even.step for turn in range(min(turns, _MOST_TURNS))]
        else:
            places = _computed(loop, index, counted, min(turns, _MOST_COMPUTED))
        seen: set[int] = set()
        for place in places:
            if place in seen:
                raise refusal(operation, access.writes, place)
            seen.add(place)
        _add(found, {(id(access.array), access.writes): dict.fromkeys(places, operation)})
    return found


def _computed(loop: Node, index: Value, counted: Mapping[int, Even], turns: int) -> list[int]:
    """What a number is in each turn, if it is computed from numbers that grow evenly and from what is known alone."""
    body: Program = loop.attrs["body"]
    fixed = invariants(loop)
    given: list[tuple[Value, Even | None, Array | None]] = []
    part = Program((), (index,), (), (), body.specialized)
    if len(part.nodes) > _MOST_NODES:
        return []
    for node in part.nodes:
        if node.op_def is FEED:
            i = body.feeds.index(node.outputs[0])
            known = loop.inputs[i].constant if i in fixed else None
            if i not in counted and known is None:
                return []
            given.append((node.outputs[0], counted.get(i), known))
        elif node.op_def.stateful or node.op_def in NESTED:
            return []
    part = Program(tuple(feed for feed, _, _ in given), (index,), (), (), body.specialized)
    places = []
    for turn in range(turns):
        arrays = [
            np.array(even.start + turn * even.step, feed.dtype.numpy) if known is None and even else known
            for feed, even, known in given
        ]
        try:
            (place,) = run(part, [array for array in arrays if array is not None], _NO_STATE)
        except NodeError:
            return []  # the run will say so
        places.append(int(place))
    return places


def _takes_from_outside(node: Node, access: Access, body: Program) -> bool:
    """Whether a node accesses one element of a list that a turn of a loop has found, not made."""
    if access.index is None or node.type not in ("TensorListSetItem", "TensorListGetItem"):
        return False
    value: Value = node.inputs[0]
    while value not in body.feeds:
        made = value.node
        if made.op_def in WHILES:
            value = made.inputs[value.index]
        elif made.type in ("TensorListSetItem", "Identity"):
            value = made.inputs[0]
        else:
            return False
    return True
