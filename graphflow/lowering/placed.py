"""What was placed on the processor in a program for another device: parts of it that are planned for the processor.

As much as can be is in one part, so that little is copied to and fro.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphflow.lowering.fuse import Group
from graphflow.program import FEED, Node, Program, ProgramBuilder, Value
from graphflow.records import dataclass

__all__ = ["Part", "parts_of"]


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Nodes that are planned together, for the processor.

    Attributes:
      nodes: the nodes.
      program: a program of them.
      given: the values that it is fed.
      made: the values that it makes, and others want.
    """

    nodes: tuple[Node, ...]
    program: Program
    given: tuple[Value, ...]
    made: tuple[Value, ...]


def parts_of(
    program: Program,
    order: Sequence[Group | Node],
    placed: Callable[[Node], bool],
    ready: Callable[[Value, int], bool],
) -> dict[Node, Part]:
    """The parts of a program, by the first node of each, in whose turn it can run.

    Args:
      program: the program.
      order: what is to be done, in turn.
      placed: tells whether a node is on the processor.
      ready: tells whether a value is in memory before a turn of the order.
    """
    rows: list[tuple[int, list[Node]]] = []
    for turn, entry in enumerate(order):
        if isinstance(entry, Group) or entry.op_def.effects or not placed(entry):
            continue
        if any(value.sizes is None for value in (*entry.inputs, *entry.outputs)):
            continue
        if rows:
            first, row = rows[-1]
            members = set(row)
            if all(
                _is_there(value) or value.node in members or ready(value, first) for value in entry.inputs
            ):
                row.append(entry)
                continue
        rows.append((turn, [entry]))
    users, roots = program.users(), set(program.roots)
    return {row[0]: _part(row, users, roots) for _, row in rows}


def _is_there(value: Value) -> bool:
    return value.constant is not None or value.derived is not None


def _part(row: Sequence[Node], users: dict[Value, list[Node]], roots: set[Value]) -> Part:
    members = set(row)
    builder = ProgramBuilder(max(node.serial for node in row) + 1)
    new: dict[Value, Value] = {}
    given: list[Value] = []
    for node in row:
        for value in node.inputs:
            if value in new:
                continue
            if value.node.type == "Const":
                new[value] = value
            elif _is_there(value):
                known = value.derived if value.derived is not None else value.constant
                new[value] = builder.constant(known, specialized=True)
            else:
                attrs = {
                    "dtype": value.dtype,
                    "shape": value.static_shape,
                    "feed": f"{value.node.name}:{value.index}",
                }
                fed = builder.node(FEED, (), attrs, (), (value.type,), value.node.origin, value.node.name)
                new[value] = fed.outputs[0]
                given.append(value)
        copied = builder.again(node, tuple([new[value] for value in node.inputs]), (), anew=True)
        new.update(zip(node.outputs, copied.outputs, strict=True))
    made = [
        value
        for node in row
        for value in node.outputs
        if value in roots or any(user not in members for user in users.get(value, ()))
    ]
    inner = Program(
        tuple([new[value] for value in given]), tuple([new[value] for value in made]), specialized=True
    )
    return Part(tuple(row), inner, tuple(given), tuple(made))
