"""Lists whose elements are put in and taken out at known numbers give way to these elements.

Elements may differ in shape then. So do the variables of a loop that each turn makes larger: of few turns, whose number
is known, each is put in the place of the loop, where its sizes are fixed ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from graphflow import dtypes
from graphflow.optimizer_passes.fold_constants import fold_constants, folded
from graphflow.optimizer_passes.loop_shapes import loop_shapes
from graphflow.optimizer_passes.simplify import simplify
from graphflow.program import (
    FEED,
    MOST_NESTED,
    NESTED,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    Value,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.records import dataclass
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.symbolic import Derived, is_symbolic
from graphflow.turns import inductions, known_turns

__all__ = ["known_lists"]

_MOST_ROUNDS = 4
_MOST_TURNS = 16
_MOST_NODES = 2048  # that all turns of a loop may become
_MOST_ELEMENTS = 256

_Element = Callable[[ProgramBuilder], Value]


@dataclass(frozen=True, slots=True)
class _List:
    """What is known of a list: its elements, None where one has not been written, and the shape that they must have.

    `first`: the shape of one that was written, where all must have the same.
    """

    items: tuple[_Element | None, ...]
    shape: TensorShape
    first: TensorShape = UNKNOWN


def known_lists(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with elements in place of such lists, and turns in place of such loops."""
    if not program.nests and not any(
        value.dtype is dtypes.variant for node in program.nodes for value in node.outputs
    ):
        return program
    for _ in range(_MOST_ROUNDS):
        changed = rebuild(program, _Known(counts, depth).replace)
        if changed is program:
            break
        # Sizes have become known, and with them what follows: of elements, and of turns.
        program = simplify(loop_shapes(fold_constants(changed, Counter()), Counter()), Counter())
    return program


class _Known:
    """One run of the pass over one program."""

    def __init__(self, counts: Counter[str], depth: int) -> None:
        self.counts = counts
        self.depth = depth
        self.lists: dict[Value, _List] = {}  # by the value in the new program

    def replace(
        self, b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """What takes the place of a node."""
        if inputs != node.inputs and (known := folded(b, node, inputs, controls, Counter())) is not None:
            return known
        if node.op_def in NESTED:
            return self.nested(b, node, inputs, controls)
        if controls or not any(value.dtype is dtypes.variant for value in (*node.inputs, *node.outputs)):
            return None
        rule = _RULES.get(node.type)
        if rule is None or node.op_def is FEED:
            return None
        return rule(self, b, node, inputs)

    def nested(
        self, b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """A branch, or a loop that may be put in place of its turns."""
        if self.depth >= MOST_NESTED:
            return None
        if node.op_def in WHILES and not controls:
            made = self.turns(b, node, inputs)
            if made is not None:
                self.counts["loops"] += 1
                return made
        old = [nested for _, nested in nested_programs(node)]
        new = [known_lists(nested, self.counts, self.depth + 1) for nested in old]
        if all(a is b for a, b in zip(new, old, strict=True)):
            return None
        return b.node(
            node.op_def,
            inputs,
            with_programs(node.op_def, node.attrs, new),
            controls,
            None,
            node.origin,
            node.name,
        )

    # -- loops ------------------------------------------------------------------------------------------

    def turns(self, b: ProgramBuilder, node: Node, inputs: tuple[Value, ...]) -> list[Value] | None:
        """The turns of a loop one after another, if that makes sizes known which it leaves open."""
        cond, body = node.attrs["cond"], node.attrs["body"]
        if node.op_def.stateful or body.effects or cond.effects:
            return None
        if not any(_is_open(value) for inner in body.nodes for value in inner.outputs):
            return None
        turns = known_turns(inputs, cond, body, inductions(inputs, body))
        if turns is None or is_symbolic(turns) or not 0 < turns <= _MOST_TURNS:
            return None
        if turns * len(body.nodes) > _MOST_NODES or any(map(_is_open, inputs)):
            return None
        values = inputs
        for _ in range(turns):
            values = self.turn(b, body, values)
            if any(map(_is_open, values)):
                return None
        return list(values)

    def turn(self, b: ProgramBuilder, body: Program, values: Sequence[Value]) -> tuple[Value, ...]:
        """What a turn makes of some values."""
        new: dict[Value, Value] = dict(zip(body.feeds, values, strict=True))
        nodes: dict[Node, Node] = {}
        for node in body.nodes:
            if node.op_def is FEED:
                continue
            inputs = tuple([new[value] for value in node.inputs])
            controls = tuple([nodes[control] for control in node.controls if control in nodes])
            b.origin, b.name = node.origin, node.name
            made = self.replace(b, node, inputs, controls)
            if made is None:
                made = b.again(node, inputs, controls)
            if isinstance(made, Node):
                nodes[node] = made
                made = made.outputs
            new.update(zip(node.outputs, made, strict=True))
        return tuple([new[value] for value in body.fetches])

    # -- lists ------------------------------------------------------------------------------------------

    def made(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value], known: _List) -> Replacement:
        """The node itself on new inputs, whose first output is a list of which something is known."""
        if len(known.items) > _MOST_ELEMENTS:
            return None
        result = b.again(node, tuple(inputs), ())
        self.lists[result.outputs[0]] = known
        return result

    def element(self, b: ProgramBuilder, node: Node, known: _List, at: int, said: Value) -> Value | None:
        """An element of a list; None where there is none, or it is not known to have the shape that is said."""
        shape = _shape_of(said)
        if not 0 <= at < len(known.items) or shape is None:
            return None
        item = known.items[at]
        if item is None:
            return self.unwritten(b, node, known, shape)
        value = item(b)
        if value.dtype is not dtypes.variant and not _fits(value, shape):
            return None
        return value

    def unwritten(self, b: ProgramBuilder, node: Node, known: _List, said: TensorShape) -> Value | None:
        """What an element is that has not been written: zeros of the shape that is said, or of another element."""
        dtype = node.attrs["element_dtype"]
        if dtype is dtypes.variant or dtype is dtypes.string or not known.shape.is_compatible_with(said):
            return None
        shape = known.shape.merge_with(said)
        found = next((item for item in known.items if item is not None), None)
        other = None if found is None else found(b)
        if not shape.is_fully_defined() and other is not None:
            sizes = other.sizes
            if sizes is None or not shape.is_compatible_with(TensorShape(list(sizes))):
                return None
            shape = TensorShape(list(sizes))
        if not shape.is_fully_defined():
            return None
        like = [] if other is None else [other]
        return b.emit("Fill", _sizes(b, shape.as_list(), *like), b.constant(np.zeros((), dtype.numpy)))

    def empty(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """EmptyTensorList, TensorListReserve."""
        shape = _shape_of(inputs[0])
        count = 0 if node.type == "EmptyTensorList" else _number(inputs[1])
        if shape is None or count is None or not 0 <= count <= _MOST_ELEMENTS:
            return None
        if node.type == "EmptyTensorList" and _number(inputs[1]) != -1:
            return (
                None
                if (room := _number(inputs[1])) is None or room > _MOST_ELEMENTS
                else self.made(b, node, inputs, _List((), shape))
            )
        return self.made(b, node, inputs, _List((None,) * count, shape))

    def rows(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListFromTensor."""
        tensor, shape = inputs[0], _shape_of(inputs[1])
        count = tensor.sizes[0] if tensor.sizes else None
        if shape is None or count is None or is_symbolic(count) or count > _MOST_TURNS:
            return None
        return self.made(b, node, inputs, _List(tuple(_row(tensor, i) for i in range(count)), shape))

    def pieces(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListSplit."""
        tensor, lengths, shape = inputs[0], inputs[2].constant, _shape_of(inputs[1])
        if (
            shape is None
            or lengths is None
            or inputs[2].derived is not None
            or not tensor.sizes
            or lengths.ndim != 1
        ):
            return None
        total = tensor.sizes[0]
        longs = lengths.tolist()
        if is_symbolic(total) or min(longs, default=0) < 0 or sum(longs) != total:
            return None
        starts = [sum(longs[:i]) for i in range(len(longs))]
        items = [_piece(tensor, start, long) for start, long in zip(starts, longs, strict=True)]
        if not all(shape.is_compatible_with(TensorShape([long, *tensor.sizes[1:]])) for long in longs):
            return None
        return self.made(b, node, inputs, _List(tuple(items), shape))

    def push(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListPushBack."""
        known = self.lists.get(inputs[0])
        if known is None or not _may_hold(known, inputs[1]):
            return None
        return self.made(b, node, inputs, _List((*known.items, _itself(inputs[1])), known.shape))

    def pop(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListPopBack."""
        known = self.lists.get(inputs[0])
        if known is None or not known.items:
            return None
        item = self.element(b, node, known, len(known.items) - 1, inputs[1])
        if item is None:
            return None
        result = b.again(node, tuple(inputs), ())
        self.lists[result.outputs[0]] = _List(known.items[:-1], known.shape)
        self.counts["elements"] += 1
        return [result.outputs[0], item]

    def put(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListSetItem."""
        known, at = self.lists.get(inputs[0]), _number(inputs[1])
        if known is None or at is None or not _may_hold(known, inputs[2]) or not 0 <= at < _MOST_ELEMENTS:
            return None
        items = list(known.items)
        if at >= len(items):
            if not node.attrs.get("resize_if_index_out_of_bounds"):
                return None
            items += [None] * (at + 1 - len(items))
        items[at] = _itself(inputs[2])
        first = known.first
        if node.attrs.get("_alike"):
            if not _fits(inputs[2], first):
                return None
            first = inputs[2].shape
        return self.made(b, node, inputs, _List(tuple(items), known.shape, first))

    def scattered(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListScatterV2."""
        rows, places, shape, count = inputs[0], _numbers(inputs[1]), _shape_of(inputs[2]), _number(inputs[3])
        if shape is None or places is None or not rows.sizes or is_symbolic(rows.sizes[0]) or count is None:
            return None
        if rows.sizes[0] != len(places) or not shape.is_compatible_with(TensorShape(list(rows.sizes[1:]))):
            return None
        least = max(places, default=-1) + 1
        count = least if count < 0 else count
        if min(places, default=0) < 0 or not least <= count <= _MOST_ELEMENTS:
            return None
        items: list[_Element | None] = [None] * count
        for number, place in enumerate(places):
            items[place] = _row(rows, number)
        return self.made(b, node, inputs, _List(tuple(items), shape))

    def spread(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListScatterIntoExistingList."""
        known, places, rows = self.lists.get(inputs[0]), _numbers(inputs[2]), inputs[1]
        if known is None or places is None or not rows.sizes or is_symbolic(rows.sizes[0]):
            return None  # how many rows there are is known for some sizes only
        if rows.sizes[0] != len(places) or not known.shape.is_compatible_with(
            TensorShape(list(rows.sizes[1:]))
        ):
            return None
        if any(not 0 <= place < _MOST_ELEMENTS for place in places):
            return None
        items = list(known.items)
        items += [None] * (max(places, default=-1) + 1 - len(items))
        for number, place in enumerate(places):
            items[place] = _row(rows, number)
        first, own = known.first, TensorShape(list(rows.sizes[1:]))
        if node.attrs.get("_alike"):
            if not first.is_compatible_with(own):
                return None
            first = own
        return self.made(b, node, inputs, _List(tuple(items), known.shape, first))

    def read(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListGetItem."""
        known, at = self.lists.get(inputs[0]), _number(inputs[1])
        if known is None or at is None:
            return None
        item = self.element(b, node, known, at, inputs[2])
        if item is None:
            return None
        self.counts["elements"] += 1
        return [item]

    def stacked(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListStack, TensorListGather."""
        known = self.lists.get(inputs[0])
        if known is None:
            return None
        places = list(range(len(known.items)))
        if node.type == "TensorListGather":
            numbers = _numbers(inputs[1])
            if numbers is None:
                return None
            places = numbers
        elif node.attrs["num_elements"] not in (-1, len(known.items)):
            return None
        items = self.taken(b, node, known, places, inputs[-1])
        if not items or any(item.sizes != items[0].sizes for item in items):
            return None
        self.counts["elements"] += len(items)
        return [b.emit("Pack", *items, axis=0, N=len(items))]

    def taken(
        self, b: ProgramBuilder, node: Node, known: _List, places: Sequence[int], said: Value
    ) -> list[Value]:
        """Elements of a list, all of which have sizes; none where there is something unknown of one."""
        items = [self.element(b, node, known, place, said) for place in places]
        found = [item for item in items if item is not None and item.sizes is not None]
        return found if len(found) == len(items) <= _MOST_ELEMENTS else []

    def joined(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListConcatV2."""
        known, shape = self.lists.get(inputs[0]), _shape_of(inputs[1])
        if known is None or shape is None:
            return None
        if None in known.items:
            return None
        items = self.taken(b, node, known, range(len(known.items)), inputs[1])
        sizes = [item.sizes or () for item in items]
        if not items or any(not size or size[1:] != sizes[0][1:] for size in sizes):
            return None
        self.counts["elements"] += len(items)
        lengths = _sizes(b, [size[0] for size in sizes], *items, dtype=np.int64)
        if len(items) == 1:
            return [items[0], lengths]
        return [b.emit("ConcatV2", *items, b.constant(np.array(0, np.int32)), N=len(items)), lengths]

    def length(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListLength."""
        known = self.lists.get(inputs[0])
        return None if known is None else [b.constant(np.array(len(known.items), np.int32))]

    def resized(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """TensorListResize."""
        known, count = self.lists.get(inputs[0]), _number(inputs[1])
        if known is None or count is None or not 0 <= count <= _MOST_ELEMENTS:
            return None
        items = (*known.items[:count], *(None,) * (count - len(known.items)))
        return self.made(b, node, inputs, _List(items, known.shape))

    def same(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """Identity."""
        known = self.lists.get(inputs[0])
        return None if known is None else self.made(b, node, inputs, known)

    def zeros(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """ZerosLike."""
        known = self.lists.get(inputs[0])
        if known is None:
            return None
        items = [None if item is None else _itself(b.emit("ZerosLike", item(b))) for item in known.items]
        return self.made(b, node, inputs, _List(tuple(items), known.shape))

    def total(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value]) -> Replacement:
        """AddN, AddV2, Add."""
        terms = [self.lists.get(value) for value in inputs]
        known = [term for term in terms if term is not None]
        if len(known) < len(terms) or len({len(term.items) for term in known}) != 1:
            return None
        items: list[_Element | None] = []
        for column in zip(*(term.items for term in known), strict=True):
            parts = [item(b) for item in column if item is not None]
            if any(part.sizes is None or part.sizes != parts[0].sizes for part in parts):
                return None
            whole = (
                None if not parts else parts[0] if len(parts) == 1 else b.emit("AddN", *parts, N=len(parts))
            )
            items.append(None if whole is None else _itself(whole))
        return self.made(b, node, inputs, _List(tuple(items), known[0].shape))


_Rule = Callable[[_Known, ProgramBuilder, Node, Sequence[Value]], Replacement]
_RULES: dict[str, _Rule] = {
    "EmptyTensorList": _Known.empty,
    "TensorListReserve": _Known.empty,
    "TensorListFromTensor": _Known.rows,
    "TensorListSplit": _Known.pieces,
    "TensorListPushBack": _Known.push,
    "TensorListPopBack": _Known.pop,
    "TensorListSetItem": _Known.put,
    "TensorListScatterIntoExistingList": _Known.spread,
    "TensorListScatterV2": _Known.scattered,
    "TensorListGetItem": _Known.read,
    "TensorListStack": _Known.stacked,
    "TensorListGather": _Known.stacked,
    "TensorListConcatV2": _Known.joined,
    "TensorListLength": _Known.length,
    "TensorListResize": _Known.resized,
    "Identity": _Known.same,
    "ZerosLike": _Known.zeros,
    "AddN": _Known.total,
    "AddV2": _Known.total,
    "Add": _Known.total,
}


def _is_open(value: Value) -> bool:
    return value.dtype is not dtypes.variant and value.sizes is None


def _number(value: Value) -> int | None:
    """A number that is the same for all sizes of the feeds."""
    numbers = _numbers(value)
    return numbers[0] if numbers is not None and value.sizes == () else None


def _numbers(value: Value) -> list[int] | None:
    constant = value.constant
    if constant is None or value.derived is not None or constant.ndim > 1:
        return None
    return [int(number) for number in constant.reshape(-1)]


def _shape_of(said: Value) -> TensorShape | None:
    """The shape that an operand says; None where it is not known."""
    constant = said.constant
    if constant is None:
        return None
    if constant.ndim == 0:
        return TensorShape(None)
    sizes = constant.tolist()
    return TensorShape([None if not is_symbolic(size) and size < 0 else size for size in sizes])


def _fits(value: Value, shape: TensorShape) -> bool:
    if shape.rank is None:
        return True
    return value.sizes is not None and shape.is_compatible_with(TensorShape(list(value.sizes)))


def _may_hold(known: _List, item: Value) -> bool:
    return item.dtype is dtypes.variant or _fits(item, known.shape)


def _sizes(b: ProgramBuilder, sizes: Sequence[int | None], *like: Value, dtype: type = np.int32) -> Value:
    """A constant of sizes that are those of other values: for all sizes of the feeds if theirs are."""
    fixed = all(value.static_shape.is_fully_defined() for value in like)
    return b.constant(Derived.holding(list(sizes), dtype), not fixed)


def _itself(value: Value) -> _Element:
    return lambda b: value


def _row(tensor: Value, at: int) -> _Element:
    def made(b: ProgramBuilder) -> Value:
        sizes = tensor.sizes or ()
        begin = b.constant(np.array([at, *[0] * (len(sizes) - 1)], np.int32))
        row = b.emit("Slice", tensor, begin, _sizes(b, [1, *sizes[1:]], tensor))
        return b.emit("Reshape", row, _sizes(b, sizes[1:], tensor))

    return made


def _piece(tensor: Value, start: int, long: int) -> _Element:
    def made(b: ProgramBuilder) -> Value:
        sizes = tensor.sizes or ()
        begin = b.constant(np.array([start, *[0] * (len(sizes) - 1)], np.int32))
        return b.emit("Slice", tensor, begin, _sizes(b, [long, *sizes[1:]], tensor))

    return made
