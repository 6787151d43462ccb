"""Which feeds' elements, not only their sizes, decide the shapes of a program.

A batch size that is fed and then used in a reshape, the last id of sorted segments: a few numbers that a session can
look at before each run. They become part of what a plan is made for, as the feeds' sizes are; code is generated with
these sizes open all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.opdef import InferContext, run_infer
from graphflow.program import FEED, Node, Program, Value, value_context
from graphflow.records import dataclass

Array = np.ndarray[Any, Any]

MOST_ELEMENTS = 16  # a feed with more is no shape


@dataclass(frozen=True, slots=True)
class Content:
    """Elements of a feed that decide sizes.

    Attributes:
      feed: which feed.
      last: whether only its last element counts, not all of it.
      node: what is known once they are: the feed's node, or the one that takes the last element.
    """

    feed: int
    last: bool
    node: Node

    def of(self, value: Array) -> bytes | None:
        """Returns the elements, or None if there are too many to look at."""
        if not self.last:
            return value.tobytes() if value.size <= MOST_ELEMENTS else None
        return value.reshape(-1)[-1:].tobytes()

    def array(self, sizes: tuple[int, ...], content: bytes) -> Array:
        """Returns what the node gives for a feed of these sizes with this content."""
        dtype = self.node.outputs[0].dtype.numpy
        if self.last:
            return np.frombuffer(content, dtype).reshape(()) if content else np.asarray(-1, dtype)
        return np.frombuffer(content, dtype).reshape(sizes)


def find_contents(program: Program) -> tuple[Content, ...]:
    """Returns the elements of feeds that shape rules ask for where they can't tell a shape without."""
    positions = {value: index for index, value in enumerate(program.feeds)}
    found: list[Content] = []
    depends: dict[Value, frozenset[int]] = {}  # values that only such elements and constants decide
    wanted: set[int] = set()
    for node in program.nodes:
        content = _candidate(node, positions)
        if content is not None:
            depends[node.outputs[0]] = frozenset([len(found)])
            found.append(content)
            continue
        if not found and node.type != "Const" and node.op_def.constant_rule is None:
            continue
        mine = [depends[value] for value in node.inputs if value in depends]
        if any(mine) and not all(value.static_shape.is_fully_defined() for value in node.outputs):
            wanted.update(*_asked(node, depends))
        known = node.op_def.constant_rule is not None or node.type == "Const"
        if known or (node.inputs and len(mine) == len(node.inputs) and not node.op_def.stateful):
            together = frozenset().union(*mine) if not known else frozenset()
            depends.update((value, together) for value in node.outputs)
    return tuple(found[index] for index in sorted(wanted))


def _candidate(node: Node, positions: dict[Value, int]) -> Content | None:
    if node.op_def is FEED:
        value = node.outputs[0]
        rank = value.shape.rank
        if value not in positions or value.dtype.name not in ("int32", "int64") or rank is None or rank > 1:
            return None
        if (value.static_shape.num_elements() or 0) > MOST_ELEMENTS:
            return None
        return Content(positions[value], False, node)
    if node.type == "GraphflowLast" and node.inputs[0] in positions:
        return Content(positions[node.inputs[0]], True, node)
    return None


def _asked(node: Node, depends: dict[Value, frozenset[int]]) -> Sequence[frozenset[int]]:
    """The elements behind the operands that a node's shape rule asks for."""
    asked: list[Value] = []
    plain = value_context(node.op_def, node.inputs, node.attrs)

    def constant(value: Value) -> Array | None:
        asked.append(value)
        return plain._constant(value)

    def shape(value: Value) -> Any:
        asked.append(value)
        return plain._shape(value)

    run_infer(InferContext(node.op_def, node.inputs, node.attrs, constant, shape))
    return [depends[value] for value in asked if value in depends]
