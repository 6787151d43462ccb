"""Where a program is cut: behind what finds sizes out in the run, so that the rest can be planned for these sizes.

Most sizes follow from those of the feeds. Some only the run knows: how many elements a mask lets through, how many
distinct ones there are, how long the batch is that an iterator gives. What makes such a value has no native form, and
what takes it would have none either. So the program becomes two, each planned as any other:

- the *first* one holds what is needed to know these sizes, and what must not come later than that: what acts on the
  world keeps its order;
- the *rest* is fed with what the first one made and it takes. All new states of variables are left to it: until it
  runs, everybody sees the old ones, and an error before leaves them as they are.

The rest may be cut again. What would gain too little by being planned stays where it is, as host steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from graphflow import dtypes
from graphflow.contents import MOST_ELEMENTS
from graphflow.lowering.calls import CALLS
from graphflow.lowering.forms import NATIVE_DTYPES
from graphflow.lowering.nests import NESTS
from graphflow.opdef import get_op
from graphflow.optimizer_passes.dense_lists import ANY_LENGTH
from graphflow.optimizer_passes.fold_constants import folded
from graphflow.program import (
    FEED,
    NESTED,
    VARIABLE,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    TensorType,
    Value,
    rebuild,
    sized_source,
)
from graphflow.records import dataclass
from graphflow.shapes import TensorShape

__all__ = ["Cut", "find_cut"]

_LEAST = 4
"""So many kernels' worth of work has to be there for a plan of its own: less is done sooner by NumPy bodies."""


_ROWS = (
    "TensorListFromTensor"  # a list of rows, which some loop takes: that is native if their number is known
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A program as two that run one after the other.

    Attributes:
      first: fed as the program is.
      rest: fed with `given`.
      given: of each feed of the rest, where it comes from: the feeds of the program come first, then the fetches of
        the first.
      results: of each fetch of the program, where it comes from: the fetches of the first, then those of the rest.
    """

    first: Program
    rest: Program
    given: tuple[int, ...]
    results: tuple[int, ...]


def find_cut(
    program: Program,
    feed_sizes: Sequence[tuple[int, ...]],
    variable_sizes: Mapping[str, tuple[int, ...]],
    known: Mapping[Node, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
    specialized: Program,
) -> Cut | None:
    """Cuts a program, or returns None if there is nothing to gain.

    Args:
      program: sizes open.
      feed_sizes, variable_sizes, known: as for `specialize`.
      specialized: what all passes have made of the program for these.
    """
    unsized = _unsized(program, feed_sizes, variable_sizes, known, specialized)
    if sum(_gain(node) for node in program.nodes if not unsized.isdisjoint(node.inputs)) < _LEAST:
        return None
    late = _late(program, unsized)
    sizing = {value.node for node in late for value in node.inputs if value in unsized}
    first = _with_all_before(program, sizing - late)
    # What takes lists and can do so before them does: the lists then need not be handed on.
    lists = [
        node
        for node in program.nodes
        if node not in late and any(value.dtype is dtypes.variant for value in (*node.inputs, *node.outputs))
    ]
    first |= _with_all_before(program, lists)
    return _divided(program, first, _elements_of(program, first, specialized))


def is_open(program: Program) -> bool:
    """Whether a specialized program has values that compiled code could hold if only their sizes were known."""
    return any(
        value.sizes is None and value.dtype.name in NATIVE_DTYPES
        for node in program.nodes
        for value in node.outputs
    )


# -- what is known of sizes -------------------------------------------------------------------------------------


def _unsized(
    program: Program,
    feed_sizes: Sequence[tuple[int, ...]],
    variable_sizes: Mapping[str, tuple[int, ...]],
    known: Mapping[Node, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
    specialized: Program,
) -> set[Value]:
    """The values that nodes take and whose sizes the feeds' sizes do not tell.

    Shape rules and folding find most sizes; the rest is looked up by name in what all passes have made.
    """
    sized: dict[str, bool] = {}
    for node in specialized.nodes:
        here = all(value.sizes is not None for value in node.outputs)
        sized[node.name] = here and sized.get(node.name, True)
    source = sized_source(program, feed_sizes, variable_sizes, known)
    counts: Counter[str] = Counter()
    found: set[Value] = set()

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        for value, now in zip(node.inputs, inputs, strict=True):
            if now.sizes is None and not sized.get(value.node.name) and value.node.op_def is not VARIABLE:
                found.add(value)
        made = source(builder, node)
        return folded(builder, node, inputs, controls, counts) if made is None else made

    rebuild(program, replace)
    return found


# -- what is worth it -------------------------------------------------------------------------------------------


def _may_be_native(node: Node) -> bool:
    """Whether there is compiled code for nodes like this, if sizes are known."""
    op_def = node.op_def
    if op_def in NESTED or node.type == _ROWS:
        return True
    if op_def.effects == "host" or not all(
        value.dtype.name in NATIVE_DTYPES for value in (*node.inputs, *node.outputs)
    ):
        return False
    return bool(
        op_def.scalar or op_def.row or op_def.index or op_def.reduction or op_def.view or op_def.lowering
        or op_def.constant_rule or op_def.expand_rule
    )  # fmt: skip


def _gain(node: Node) -> int:
    """What is won if a node runs natively: about the number of passes over memory that are saved."""
    op_def = node.op_def
    if op_def.view or op_def.constant_rule is not None or not _may_be_native(node):
        return 0
    dear = op_def in NESTED or node.type == _ROWS or op_def.lowering in CALLS or op_def.lowering in NESTS
    return _LEAST if dear else 1


# -- what goes where --------------------------------------------------------------------------------------------


def _late(program: Program, unsized: set[Value]) -> set[Node]:
    """The nodes that want a size that only the run knows, and all that comes after them.

    What acts on the world comes after what did so before it.
    """
    late: set[Node] = set()
    effects = set(program.effects)
    acted = False
    for node in program.nodes:
        acts = node in effects
        if (
            (acts and acted)
            or not late.isdisjoint(node.controls)
            or any(value.node in late for value in node.inputs)
            or (not unsized.isdisjoint(node.inputs) and _may_be_native(node))
        ):
            late.add(node)
            acted = acted or acts
    return late


def _with_all_before(program: Program, nodes: Iterable[Node]) -> set[Node]:
    """Nodes with all that they need, and with what acts on the world before any of them does."""
    found: set[Node] = set()
    stack = list(nodes)
    effects = list(program.effects)
    while stack:
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(value.node for value in node.inputs)
                stack.extend(node.controls)
        last = max((i for i, node in enumerate(effects) if node in found), default=-1)
        stack.extend(node for node in effects[:last] if node not in found)
    return found


def _elements_of(program: Program, first: Set[Node], specialized: Program) -> dict[Value, Value]:
    """The lists that loops of the first part fill and the rest takes, with what a turn puts into each.

    They go from one to the other as tensors. Only those of loops all of whose lists can, and are tensors in what the
    passes have made of the whole: a list that stays one keeps the loop from being native, and its elements may differ.
    """
    dense = {
        node.name
        for node in specialized.nodes
        if node.op_def in WHILES and all(value.dtype is not dtypes.variant for value in node.outputs)
    }
    wanted = {value for node in program.nodes if node not in first for value in node.inputs}
    found: dict[Value, Value] = {}
    for node in first:
        if node.op_def not in WHILES or node.name not in dense:
            continue
        lists = [value for value in node.outputs if value.dtype is dtypes.variant and value in wanted]
        puts = [node.attrs["body"].fetches[value.index].node for value in lists]
        if all(put.type == "TensorListPushBack" and _may_be_a_row(put.inputs[1]) for put in puts):
            found.update((value, put.inputs[1]) for value, put in zip(lists, puts, strict=True))
    return found


def _open_sizes(builder: ProgramBuilder, shape: TensorShape) -> Value:
    """A shape as operations on lists take it: -1 where a size is open."""
    return builder.constant(np.array([-1 if size is None else size for size in shape.as_list()], np.int32))


def _may_be_a_row(value: Value) -> bool:
    return value.dtype is not dtypes.variant and value.static_shape.rank is not None


def _divided(program: Program, first: set[Node], elements: Mapping[Value, Value]) -> Cut:
    """Makes two programs of one. `first`: nodes with all that they need; `elements`: see `_elements_of`."""
    feeds = {value: index for index, value in enumerate(program.feeds)}
    builder = ProgramBuilder(program.nodes[-1].serial + 1)
    again = _again(program, first)
    made: list[Value] = []  # what the first gives, its own fetches in front
    results: list[int] = []
    for value in program.fetches:
        if value.node in first and not _is_there(value.node):
            results.append(len(made))
            made.append(value)
        else:
            results.append(-1)
    handed = {value: index for index, value in reversed(list(enumerate(made)))}
    given: dict[Value, int] = {}  # feeds of the rest, and where they come from
    new: dict[Value, Value] = {}
    new_nodes: dict[Node, Node] = {}

    def taken(value: Value) -> Value:
        """A value as the rest has it."""
        known = new.get(value)
        if known is not None:
            return known
        node = value.node
        if node.op_def is FEED:
            given[value] = feeds[value]
            known = value
        elif _is_there(node):
            known = value
        else:
            number = handed.get(value)
            element = elements.get(value)
            if number is None:
                number = handed[value] = len(made)
                made.append(value)
                if element is not None:
                    shape = _open_sizes(builder, element.static_shape)
                    parts = {"element_dtype": element.dtype, "num_elements": -1, ANY_LENGTH: True}
                    made[-1] = builder.node(get_op("TensorListStack"), (value, shape), parts).outputs[0]
            name = f"{number}: {node.name}:{value.index}"
            kind = TensorType(made[number].dtype, made[number].static_shape, made[number].static_shape)
            attrs = {"dtype": kind.dtype, "shape": kind.shape, "feed": name}
            known = builder.node(FEED, (), attrs, (), (kind,), node.origin, node.name).outputs[0]
            given[known] = len(feeds) + number
            if element is not None:
                shape = _open_sizes(builder, element.static_shape)
                parts = {"element_dtype": element.dtype, "shape_type": dtypes.int32}
                known = builder.node(get_op("TensorListFromTensor"), (known, shape), parts).outputs[0]
        new[value] = known
        return known

    for node in program.nodes:
        if _is_there(node) or (node in first and node not in again):
            continue
        inputs = tuple([taken(value) for value in node.inputs])
        controls = tuple([new_nodes[control] for control in node.controls if control in new_nodes])
        copied = new_nodes[node] = builder.again(node, inputs, controls, anew=True)
        new.update(zip(node.outputs, copied.outputs, strict=True))
    fetches = []
    for index, value in enumerate(program.fetches):
        if results[index] < 0:
            fetches.append(taken(value))
    commits = tuple([(name, taken(value)) for name, value in program.commits])
    number = len(made)
    for index, result in enumerate(results):
        if result < 0:
            results[index] = number
            number += 1
    return Cut(
        Program(program.feeds, tuple(made), (), tuple(node for node in program.effects if node in first)),
        Program(
            tuple(given),
            tuple(fetches),
            commits,
            tuple(new_nodes[node] for node in program.effects if node not in first),
        ),
        tuple(given.values()),
        tuple(results),
    )


def _again(program: Program, first: set[Node]) -> set[Node]:
    """What the rest computes itself though the first has it, since it comes to nothing there: shapes of what is
    handed on, what is calculated with sizes, and what is fed under another shape."""
    found: set[Node] = set()
    for node in program.nodes:
        op_def = node.op_def
        if node not in first or op_def.stateful or op_def in NESTED or node.controls:
            continue
        if op_def.constant_rule is not None:
            # Sizes are all that this takes of an operand: they are known where it is fed.
            found.add(node)
        elif node.inputs and all(_is_there(value.node) or value.node in found for value in node.inputs):
            if op_def.view or all(map(_is_size, node.outputs)):
                found.add(node)
    wanted = {value.node for value in program.roots}
    for node in reversed(program.nodes):
        if node not in first or (node in found and node in wanted):
            wanted.update(value.node for value in node.inputs)
    return found & wanted


def _is_size(value: Value) -> bool:
    """Whether a value may be a size or a few of them."""
    elements = value.static_shape.num_elements()
    return value.dtype.is_integer and elements is not None and elements <= MOST_ELEMENTS


def _is_there(node: Node) -> bool:
    """Whether a node's value is there in either part: fed, constant, or the state of a variable before the run."""
    return node.op_def is FEED or node.op_def is VARIABLE or node.op_def.name == "Const"
