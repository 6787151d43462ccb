"""Elements of TensorArrays that a run may read or write twice carry, beside the array, what has been done to them.

Which accesses surely meet is refused before the run (`array_accesses`, `turn_accesses`); which surely do not, as those
at a number that grows with the turns of a loop, cost nothing. What only the run can tell (an index that is data, an
access in a branch) is looked at by the run: a list of numbers, zero where nothing has been done, goes through loops and
branches with the array, and becomes a tensor where the array does (`dense_lists`). Such a list also tells whether what
is read has been written, of arrays whose elements are not zeros before, unless what is written is known to be all.

Of arrays whose elements are to have one shape, those that only the run knows are held against the first one where
elements are set one at a time; where a list becomes a tensor, they have been found to be equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import dtypes
from graphflow.array_accesses import Access, access_of, is_strict, second_access
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Operation
from graphflow.opdef import get_op, op
from graphflow.program import (
    CASES,
    FEED,
    MOST_NESTED,
    NESTED,
    WHILES,
    Node,
    Program,
    ProgramBuilder,
    Replacement,
    TensorType,
    Value,
    has_effects,
    inlined,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.records import dataclass, field
from graphflow.shapes import SCALAR
from graphflow.turns import evens, inductions, inductions_from, known_turns, limits_of, turns_of

__all__ = ["with_guards"]

Array = np.ndarray[Any, Any]
_LIST = TensorType(dtypes.variant, SCALAR, SCALAR)
_WHICH = "writes:bool; array:string"


def _refused(array: str, writes: bool, place: int) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, f"TensorArray {array}: {second_access(writes, place)}")


@op("GraphflowFirst", "index:int32", "place:int32", _WHICH, infer=lambda node: SCALAR, view=True,
    differentiable=False)  # fmt: skip
def first_op(index: Array, *, writes: bool, array: str) -> Array:
    """The number of an element that has not been used; of one that has been, it is given as less than zero."""
    if index < 0:
        raise _refused(array, writes, -1 - int(index))
    return index


@first_op.bounds
def _unused(node: Any) -> dict[int, tuple[int, int]]:
    return {0: (0, 2**31)}


@op("GraphflowFirsts", "index:int32; uses:int32", "places:int32", _WHICH, infer=lambda node: node.inputs[0].shape,
    differentiable=False)  # fmt: skip
def firsts_op(index: Array, uses: Array, *, writes: bool, array: str) -> Array:
    """A vector of indices itself, which are all different, and of elements of which there have been no uses."""
    seen: set[int] = set()
    for place, count in zip(index.tolist(), uses.tolist(), strict=True):
        if count or place in seen:
            raise _refused(array, writes, place)
        seen.add(place)
    return index


@op("GraphflowUnread", "handle:variant; uses:int32", "output:variant", "array:string", infer=lambda node: SCALAR,
    differentiable=False)  # fmt: skip
def unread_op(handle: Array, uses: Array, *, array: str) -> Array:
    """A list itself, none of whose elements has been used."""
    if np.any(uses):
        raise _refused(array, False, int(np.flatnonzero(uses)[0]))
    return handle


@op("GraphflowWritten", "condition:bool; writes:int32; places:int32", "", "array:string", infer=lambda node: [],
    differentiable=False, lowering="check")  # fmt: skip
def written_op(condition: Array, writes: Array, places: Array, *, array: str) -> None:
    """Fails unless there have been writes to all of some elements."""
    if not condition:
        place = int(places.reshape(-1)[np.flatnonzero(writes.reshape(-1) == 0)[0]])
        raise InvalidArgumentError(
            None, None,
            f"TensorArray {array}: Could not read from TensorArray index {place}: it has not been written, and it is"
            " not zero, since the shape of the elements is not known (give the whole element_shape, or infer_shape)"
        )  # fmt: skip


class _Use(NamedTuple):
    """A node that accesses an array, and the nodes whose programs it lies in, from outside inwards."""

    node: Node
    access: Access
    around: tuple[tuple[Node, Program], ...]


_Key = tuple[Value, object, bool]  # where a list begins, which array it is, and whether it is about writing
_WRITTEN = object()  # in the place of an array: whichever, of which is known what has been written


@dataclass(eq=False, slots=True)
class _Group:
    """Lists of which one is made of another: where they begin, and whether one gets longer."""

    homes: list[tuple[Node, tuple[tuple[Node, Program], ...]]] = field(default_factory=list)
    grows: bool = False


def _access(operation: Operation | None) -> Access | None:
    """What an operation does to an array, as is noted of it, or as a graph of TensorFlow's says."""
    found = access_of(operation)
    if found is None and operation is not None:
        for what in ("reads", "writes"):
            if (array := operation.attrs.get(f"_array_{what}")) is not None:
                return Access(array, what == "writes", None)
    return found


class _Found:
    """What a program does to arrays."""

    def __init__(self, program: Program, moved: frozenset[Operation | None] = frozenset()) -> None:
        self.moved = moved  # what stands twice, since it has been moved out of a loop's condition
        self.deciding: set[Node] = set()  # loops whose conditions are to be looked at
        self.parents: dict[Value, Value] = {}
        self.uses: list[_Use] = []
        self.groups: dict[Value, _Group] = {}
        self.begins: list[tuple[Node, tuple[tuple[Node, Program], ...]]] = []
        self.growing: list[Value] = []
        self.strict: list[_Use] = []  # reads of what has to be written
        self.shaped: dict[
            Value, list[Node]
        ] = {}  # by list, what writes elements that have to be of one shape
        self.walk(program, ())
        for node, around in self.begins:
            self.groups.setdefault(self.root(node.outputs[0]), _Group()).homes.append((node, around))
        for value in self.growing:
            self.groups.setdefault(self.root(value), _Group()).grows = True
        self.guarded: dict[_Key, Node] = {}  # with the home of each
        self.of_use: dict[Node, list[_Key]] = {}
        self.inside: dict[Node, list[_Key]] = {}  # what goes through a loop or a branch
        self.decide()
        self.decide_written()
        self.alike = {node for nodes in self.unlike() for node in nodes}

    def root(self, value: Value) -> Value:
        """The value that speaks for a list and those that are made of it."""
        while (parent := self.parents.get(value)) is not None:
            value = parent
        return value

    def join(self, a: Value, b: Value) -> None:
        """Notes that one list is made of another."""
        if a.dtype is dtypes.variant and b.dtype is dtypes.variant:
            a, b = self.root(a), self.root(b)
            if a is not b:
                self.parents[b] = a

    def walk(self, program: Program, around: tuple[tuple[Node, Program], ...]) -> None:
        for node in program.nodes:
            if node.op_def in NESTED:
                self.nested(node, around)
                continue
            made = [value for value in node.outputs[:1] if value.dtype is dtypes.variant]
            taken = [value for value in node.inputs[:1] if value.dtype is dtypes.variant]
            if node.op_def is not FEED and made and node.type not in ("ZerosLike", "FakeParam"):
                if taken:
                    self.join(taken[0], made[0])
                else:
                    self.begins.append((node, around))
            access = _access(node.origin)
            if access is not None and node.type in _INDICES:
                self.uses.append(_Use(node, access, around))
                grows = node.type == "TensorListScatterIntoExistingList"
                if grows or node.attrs.get("resize_if_index_out_of_bounds"):
                    self.growing.append(node.inputs[0])
            if node.type in _INDICES and node.origin is not None and is_strict(node.origin):
                if node.type not in _WRITERS:
                    self.strict.append(_Use(node, Access(_WRITTEN, False, None), around))
                elif made:
                    self.shaped.setdefault(made[0], []).append(node)

    def nested(self, node: Node, around: tuple[tuple[Node, Program], ...]) -> None:
        given = node.inputs[1:] if node.op_def in CASES else node.inputs
        for name, program in nested_programs(node):
            for a, b in zip(given, program.feeds, strict=True):
                self.join(a, b)
            if name != "cond":
                for a, b in zip(program.fetches, node.outputs, strict=True):
                    self.join(a, b)
            if len(around) < MOST_NESTED:
                self.walk(program, (*around, (node, program)))

    def decide(self) -> None:
        """Which arrays are to be looked at by the run."""
        by_key: dict[_Key, list[_Use]] = {}
        for use in self.uses:
            value = use.node.inputs[0] if use.node.type not in _HOMES else use.node.outputs[0]
            by_key.setdefault((self.root(value), use.access.array, use.access.writes), []).append(use)
        for key, uses in by_key.items():
            group = self.groups.get(key[0])
            if group is None or len(group.homes) != 1:
                continue
            home, outside = group.homes[0]
            inner = [use for use in uses if use.around[: len(outside)] == outside]
            copies = Counter(use.node.origin for use in uses if use.node.origin not in self.moved)
            if len(inner) < len(uses) or max(copies.values(), default=0) > 1:
                continue  # a function that is called twice: each call has its own arrays
            if _apart([_span(use, use.around[len(outside) :]) for use in uses]):
                continue
            deciding = {loop for use in uses for loop in _decided(use.around[len(outside) :])}
            if deciding:
                self.deciding |= deciding
                continue
            self.guard(key, home, uses, len(outside))

    def guard(self, key: _Key, home: Node, uses: Sequence[_Use], depth: int) -> None:
        """Notes that uses are to be looked at."""
        self.guarded[key] = home
        for use in uses:
            if use.node is home:
                continue
            self.of_use.setdefault(use.node, []).append(key)
            for node, _ in use.around[depth:]:
                keys = self.inside.setdefault(node, [])
                if key not in keys:
                    keys.append(key)

    def decide_written(self) -> None:
        """Of which arrays the run is to know what has been written."""
        reads: dict[Value, list[_Use]] = {}
        for use in self.strict:
            reads.setdefault(self.root(use.node.inputs[0]), []).append(use)
        for root, uses in reads.items():
            group = self.groups.get(root)
            if group is None or len(group.homes) != 1:
                continue
            home, outside = group.homes[0]
            writes = [
                use for use in self.uses
                if use.access.writes and use.node.inputs and use.node is not home
                and self.root(use.node.outputs[0]) is root
            ]  # fmt: skip
            every = [*writes, *uses]
            if home.type != "TensorListReserve" or any(use.node.type in _HOMES for use in writes):
                continue
            if any(use.around[: len(outside)] != outside for use in every):
                continue
            between = [(use, use.around[len(outside) :]) for use in writes]
            fills = _fill(home, between, group.grows)
            if fills is not None and all(_comes_after(use, fills) for use in uses):
                continue
            deciding = {loop for use in every for loop in _decided(use.around[len(outside) :])}
            if deciding:
                self.deciding |= deciding
                continue
            self.guard((root, _WRITTEN, True), home, every, len(outside))

    def unlike(self) -> list[list[Node]]:
        """Those that write elements of one list which are not known to be of one shape."""
        by_root: dict[Value, list[Node]] = {}
        for value, nodes in self.shaped.items():
            by_root.setdefault(self.root(value), []).extend(nodes)
        found = []
        for nodes in by_root.values():
            shapes = {_written_shape(node) for node in nodes}
            if len(shapes) > 1 or None in shapes:
                found.append([node for node in nodes if node.type not in _HOMES])
        return found


# By op that accesses an array: which input says at which of its elements; None: at all.
_INDICES: dict[str, int | None] = {
    "TensorListGetItem": 1, "TensorListSetItem": 1, "TensorListGather": 1, "TensorListScatterIntoExistingList": 2,
    "TensorListStack": None, "TensorListConcatV2": None, "TensorListFromTensor": None, "TensorListSplit": None,
}  # fmt: skip
_HOMES = ("TensorListFromTensor", "TensorListSplit")
_WRITERS = (*_HOMES, "TensorListSetItem", "TensorListScatterIntoExistingList")


def _written_shape(node: Node) -> tuple[int | None, ...] | None:
    """The shape of what is written, where it is wholly known."""
    at = {"TensorListSetItem": 2, "TensorListScatterIntoExistingList": 1}.get(node.type, 0)
    shape = node.inputs[at].shape
    if node.type == "TensorListSplit" or shape.rank is None:
        return None
    dims = shape.as_list() if node.type == "TensorListSetItem" else shape.as_list()[1:]
    return None if None in dims else tuple(dims)


def _fill(
    home: Node, writes: Sequence[tuple[_Use, tuple[tuple[Node, Program], ...]]], grows: bool
) -> list[Node] | None:
    """The writes, or the loop of writes, after which all of an array has been written; None: not known.

    One that grows is as long as what is written asks for, so that all writes count.
    """
    count = home.inputs[1]
    least = None if count.constant is None else count.constant.item()
    straight = [
        known.reshape(-1).tolist()
        for use, between in writes
        if not between and (at := _INDICES[use.node.type]) is not None
        and (known := use.node.inputs[at].constant) is not None
    ]  # fmt: skip
    places = {place for known in straight for place in known}
    if least is not None and places >= set(
        range(max(least, max(places, default=-1) + 1) if grows else least)
    ):
        if not grows or len(straight) == len(writes):
            return [use.node for use, _ in writes]
    for use, between in writes if not grows or len(writes) == 1 else ():
        if len(between) != 1 or between[0][0].op_def not in WHILES or use.node.type != "TensorListSetItem":
            continue
        loop, body = between[0]
        counted = inductions(loop.inputs, body)
        place = evens(body, counted).get(use.node.inputs[1])
        if place is None or place.base is not None or (place.start, place.step) != (0, 1):
            continue
        if grows and least == 0:
            return [loop]
        limits, rest = limits_of(loop.inputs, loop.attrs["cond"], body, counted)
        if rest or len(limits) != 1:
            continue
        limit, turns = limits[0], turns_of(limits[0])
        same = limit.value is count and limit.even == place and not limit.inclusive
        if same or (turns is not None and least is not None and turns >= least):
            return [loop]
    return None


def _comes_after(use: _Use, fills: Sequence[Node]) -> bool:
    """Whether what is read is what has been made by all of some nodes."""
    missing, made = set(fills), use.node.inputs[0].node
    while missing:
        missing.discard(made)
        if made.type not in ("TensorListSetItem", "TensorListScatterIntoExistingList", "Identity"):
            return not missing
        made = made.inputs[0].node
    return True


def _decided(between: Sequence[tuple[Node, Program]]) -> list[Node]:
    """The loops in whose conditions something lies, which give nothing but their answers."""
    return [node for node, program in between if node.op_def in WHILES and program is node.attrs["cond"]]


class _Span(NamedTuple):
    """Between which elements an access reaches; `once`: that it reaches none of them twice."""

    once: bool
    least: float = -np.inf
    greatest: float = np.inf
    places: frozenset[int] | None = None  # those, where all are known


def _span(use: _Use, between: Sequence[tuple[Node, Program]]) -> _Span:
    """What is known of the elements that all turns together access."""
    at = _INDICES[use.node.type]
    loops = [pair for pair in between if pair[0].op_def in WHILES]
    if at is None:
        return _Span(not loops)
    index = use.node.inputs[at]
    for node, program in reversed(between):  # out of branches, to the turn of a loop
        if node.op_def in WHILES or index.node.op_def is not FEED:
            break
        index = node.inputs[1 + program.feeds.index(index)]
    known = index.constant
    if not loops:
        if known is not None:
            places = known.reshape(-1).tolist()
            least, greatest = min(places, default=np.inf), max(places, default=-np.inf)
            return _Span(len(set(places)) == len(places), least, greatest, frozenset(places))
        return _Span(index.shape.rank == 0 or index.node.type == "Range")
    loop, inside = loops[0]
    if len(loops) > 1 or known is not None:
        return _Span(False)
    cond, body = loop.attrs["cond"], loop.attrs["body"]
    even = evens(inside, inductions_from(loop.inputs, body)).get(index)
    if even is None or not even.step:
        return _Span(False)
    if even.base is not None:
        return _Span(True)
    turns = known_turns(loop.inputs, cond, body, inductions(loop.inputs, body))
    if turns is not None:
        turns += inside is cond
    last = np.inf * even.step if turns is None else even.start + even.step * max(0, turns - 1)
    return _Span(True, min(even.start, last), max(even.start, last))


def _apart(spans: list[_Span]) -> bool:
    """Whether no two accesses reach the same element."""
    if not all(span.once for span in spans):
        return False
    known = [span.places for span in spans if span.places is not None]
    if len(known) == len(spans):
        return len(frozenset().union(*known)) == sum(map(len, known))
    spans = sorted(spans, key=lambda span: span.least)
    return all(a.greatest < b.least for a, b in zip(spans, spans[1:], strict=False))


def with_guards(program: Program) -> Program:
    """Returns the program with a look at each access that may be a second one; itself where there is none."""
    found = _Found(program)
    loops = {loop for loop in found.deciding if not has_effects(loop.attrs["cond"])}
    if loops:
        moved = frozenset(node.origin for loop in loops for node in loop.attrs["cond"].nodes)
        program = _with_answers(program, loops)
        found = _Found(program, moved)
    return _Change(found).changed(program) if found.guarded or found.alike else program


def _with_answers(program: Program, loops: set[Node]) -> Program:
    """The program with loops that ask in front of the first turn, and at the end of each, whether there is another."""

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED:
            return None
        old = [nested for _, nested in nested_programs(node)]
        new = [_with_answers(nested, loops) for nested in old]
        if node not in loops:
            if all(one is other for one, other in zip(new, old, strict=True)):
                return None
            attrs = with_programs(node.op_def, node.attrs, new)
            return b.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        cond, body = new
        inner = ProgramBuilder(max(part.nodes[-1].serial for part in new if part.nodes) + 1)
        kinds = {"dtype": dtypes.bool_, "shape": SCALAR, "feed": "goes on"}
        answer = inner.node(FEED, (), kinds, (), (TensorType(dtypes.bool_, SCALAR, SCALAR),)).outputs[0]
        again = inlined(inner, cond, body.fetches)[0]
        attrs = with_programs(node.op_def, node.attrs, [
            Program((*cond.feeds, answer), (answer,), (), (), cond.specialized),
            Program((*body.feeds, answer), (*body.fetches, again), body.commits, body.effects, body.specialized),
        ])  # fmt: skip
        more = (*inputs, inlined(b, cond, inputs)[0])
        attrs["T"] = tuple(value.dtype for value in more)
        made = b.node(node.op_def, more, attrs, controls, None, node.origin, node.name)
        count = len(node.outputs)
        return list(made.outputs[:count]) if count else made

    return rebuild(program, replace)


class _Change:
    """Writes the program anew."""

    def __init__(self, found: _Found) -> None:
        self.found = found
        self.states: dict[_Key, Value] = {}
        self.checks: list[Node] = []

    def changed(self, program: Program) -> Program:
        """The program with its looks."""
        outside, self.checks = self.checks, []
        made = rebuild(program, self.replace)
        if self.checks:
            effects = (*made.effects, *self.checks)
            made = Program(made.feeds, made.fetches, made.commits, effects, made.specialized)
        self.checks = outside
        return made

    def replace(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """What takes the place of a node."""
        found = self.found
        if node in found.inside:
            return self.nested(builder, node, inputs, controls)
        if node.op_def in NESTED:
            return self.with_arrays_inside(builder, node, inputs, controls)
        keys = found.of_use.get(node)
        if keys is not None:
            return self.looked_at(builder, node, inputs, controls, keys)
        begun = [key for key, home in found.guarded.items() if home is node]
        if not begun:
            if node not in found.alike:
                return None
            attrs = self.attrs(node)
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        made = builder.again(node, inputs, controls)
        for key in begun:
            self.states[key] = self.begin(builder, made, key)
        return made

    def begin(self, b: ProgramBuilder, home: Node, key: _Key) -> Value:
        count = (
            home.inputs[1]
            if home.type == "TensorListReserve"
            else b.emit("TensorListLength", home.outputs[0])
        )
        if key[2] and home.type != "TensorListReserve":  # all of it is written
            sizes = b.emit("Reshape", count, b.constant(np.array([1], np.int32)))
            return _list_of(b, b.emit("Fill", sizes, b.constant(np.int32(1))))
        return b.emit("TensorListReserve", _scalar(b), count, element_dtype=dtypes.int32)

    def attrs(self, node: Node) -> dict[str, Any]:
        """A node's attributes."""
        return {**node.attrs, "_alike": True} if node in self.found.alike else node.attrs

    def looked_at(
        self,
        b: ProgramBuilder,
        node: Node,
        inputs: tuple[Value, ...],
        controls: tuple[Node, ...],
        keys: Sequence[_Key],
    ) -> Node:
        given = list(inputs)
        for key in keys:
            if key[1] is not _WRITTEN:
                self.looks(b, node, given, key)
            elif node.type in _WRITERS:
                self.states[key] = self.with_uses(b, node, self.reaching(b, node, given, key), given)
            else:
                self.looks_for_writes(b, node, given, key)
        return b.node(node.op_def, given, self.attrs(node), controls, None, node.origin, node.name)

    def reaching(self, b: ProgramBuilder, node: Node, given: Sequence[Value], key: _Key) -> Value:
        """What has been done to elements, as long as an access may make the list."""
        state, at = self.states[key], _INDICES[node.type]
        if at is None or not self.found.groups[key[0]].grows:
            return state
        last = given[at]
        if last.shape.rank != 0:
            last = b.emit("Max", last, b.constant(np.array([0], np.int32)))
        length = b.emit("TensorListLength", state)
        wanted = b.emit("Maximum", length, b.emit("AddV2", last, b.constant(np.int32(1))))
        return b.emit("TensorListResize", state, wanted)

    def with_uses(self, b: ProgramBuilder, node: Node, state: Value, given: Sequence[Value]) -> Value:
        """The list of what has been done to elements, after an access."""
        at, one = _INDICES[node.type], b.constant(np.int32(1))
        assert at is not None
        if node.type in ("TensorListGetItem", "TensorListSetItem"):
            return b.emit("TensorListSetItem", state, given[at], one, element_dtype=dtypes.int32)
        ones = b.emit("Fill", b.emit("Shape", given[at]), one)
        return b.emit("TensorListScatterIntoExistingList", state, ones, given[at], element_dtype=dtypes.int32)

    def uses(self, b: ProgramBuilder, node: Node, state: Value, given: Sequence[Value]) -> Value:
        """What has been done to the elements of an access."""
        at, kind = _INDICES[node.type], {"element_dtype": dtypes.int32}
        if at is None:
            return b.emit("TensorListStack", state, _scalar(b), **kind)
        if node.type in ("TensorListGetItem", "TensorListSetItem"):
            verb = "modify" if node.type in _WRITERS else "access"
            return b.emit("TensorListGetItem", state, given[at], _scalar(b), _verb=verb, **kind)
        return b.emit("TensorListGather", state, given[at], _scalar(b), **kind)

    def looks(self, b: ProgramBuilder, node: Node, given: list[Value], key: _Key) -> None:
        """A look whether elements have been accessed before."""
        attrs = {"writes": key[2], "array": self.found.guarded[key].name}
        at, one = _INDICES[node.type], b.constant(np.int32(1))
        state = self.reaching(b, node, given, key)
        uses = self.uses(b, node, state, given)
        if at is None:
            given[0] = b.emit("GraphflowUnread", given[0], uses, array=attrs["array"])
            self.states[key] = _list_of(b, b.emit("Fill", b.emit("Shape", uses), one))
            return
        index = given[at]
        if node.type in ("TensorListGetItem", "TensorListSetItem"):
            # -1 - index where there has been one
            turned = b.emit("AddV2", b.emit("AddV2", index, index), one)
            marked = b.emit("Sub", index, b.emit("Mul", uses, turned))
            given[at] = b.emit("GraphflowFirst", marked, **attrs)
        else:
            given[at] = b.emit("GraphflowFirsts", index, uses, **attrs)
        self.states[key] = self.with_uses(b, node, state, given)

    def looks_for_writes(self, b: ProgramBuilder, node: Node, given: list[Value], key: _Key) -> None:
        """A look whether elements have been written."""
        at, zero = _INDICES[node.type], b.constant(np.int32(0))
        state = self.states[key]
        writes = self.uses(b, node, state, given)
        all_are = b.emit("Greater", writes, zero)
        if at is None:
            places = b.emit("Range", zero, b.emit("TensorListLength", state), b.constant(np.int32(1)))
        else:
            places = given[at]
        if node.type != "TensorListGetItem":
            all_are = b.emit("All", all_are, b.constant(np.array([0], np.int32)), keep_dims=False)
        attrs = {"array": self.found.guarded[key].name}
        check = b.node(written_op, (all_are, writes, places), attrs, (), (), node.origin, node.name)
        self.checks.append(check)

    def with_arrays_inside(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """A loop or a branch that looks at none but its own arrays."""
        old = [program for _, program in nested_programs(node)]
        programs = [self.changed(program) for program in old]
        if all(a is b for a, b in zip(programs, old, strict=True)):
            return None
        attrs = with_programs(node.op_def, node.attrs, programs)
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    def nested(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """A loop or a branch through which goes what has been done to arrays."""
        keys = self.found.inside[node]
        before = [self.states[key] for key in keys]
        programs = [self.through(program, keys, name != "cond") for name, program in nested_programs(node)]
        attrs: dict[str, Any] = with_programs(node.op_def, node.attrs, programs)
        more = (*inputs, *before)
        if node.op_def in WHILES:
            attrs["T"] = tuple(value.dtype for value in more)
        else:
            attrs["Tin"] = tuple(value.dtype for value in more[1:])
            attrs["Tout"] = tuple(value.dtype for value in programs[0].fetches)
        made = builder.node(node.op_def, more, attrs, controls, None, node.origin, node.name)
        count = len(node.outputs)
        self.states.update(zip(keys, made.outputs[count:], strict=True))
        return list(made.outputs[:count]) if count else made

    def through(self, program: Program, keys: Sequence[_Key], gives: bool) -> Program:
        """A nested program that takes, and gives, what has been done to arrays."""
        nodes = program.nodes
        builder = ProgramBuilder(nodes[-1].serial + 1 if nodes else 0)
        feeds = []
        for number, key in enumerate(keys):
            attrs = {"dtype": dtypes.variant, "shape": SCALAR, "feed": f"uses {len(program.feeds) + number}"}
            self.states[key] = builder.node(FEED, (), attrs, (), (_LIST,)).outputs[0]
            feeds.append(self.states[key])
        wider = Program(
            (*program.feeds, *feeds), program.fetches, program.commits, program.effects, program.specialized
        )
        made = self.changed(wider)
        states = [self.states[key] for key in keys] if gives else []
        return Program(made.feeds, (*made.fetches, *states), made.commits, made.effects, made.specialized)


def _scalar(b: ProgramBuilder) -> Value:
    """The shape of a number."""
    return b.constant(np.zeros(0, np.int32))


def _list_of(b: ProgramBuilder, numbers: Value) -> Value:
    """A list of the elements of a vector."""
    attrs = {"element_dtype": dtypes.int32, "shape_type": dtypes.int32}
    operands = (numbers, _scalar(b))
    return b.node(get_op("TensorListFromTensor"), operands, attrs).outputs[0]
