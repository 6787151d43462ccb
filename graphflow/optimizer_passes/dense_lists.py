"""Lists whose elements have one known shape, and whose length is known, become stacked tensors.

What reads, sets or stacks elements then reads, sets or is a tensor, which compiled code can hold. Lists belong together
if one is made of the other, or if one goes through a loop or a branch as the other; all that belong together change, or
none. Of lists of lists, such as what a loop in a loop keeps for its gradient, the inner ones are changed first; then
the outer ones are lists of tensors.

What is written may be made of what is read from the same list, and then has a size only once the list has. Such an
element is taken to be as large as the others (`GraphflowAssumed`); if that does not follow once all lists are changed
that can be, it is done again without them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.opdef import get_op, op
from graphflow.optimizer_passes.fold_constants import fold_constants
from graphflow.optimizer_passes.loop_shapes import loop_shapes
from graphflow.program import (
    CASES,
    FEED,
    MOST_NESTED,
    NESTED,
    SPECIALIZED,
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
from graphflow.records import dataclass, field
from graphflow.shapes import TensorShape
from graphflow.symbolic import Derived

__all__ = ["ANY_LENGTH", "dense_lists"]

# By op: which inputs are lists and which output is one, all of one kind.
_SAME: dict[str, tuple[tuple[int, ...], bool]] = {
    "TensorListSetItem": ((0,), True),
    "TensorListScatterIntoExistingList": ((0,), True),
    "TensorListGetItem": ((0,), False),
    "TensorListStack": ((0,), False),
    "TensorListResize": ((0,), True),
    "TensorListGather": ((0,), False),
    "TensorListLength": ((0,), False),
    "TensorListElementShape": ((0,), False),
    "TensorListReserve": ((), True),
    "TensorListFromTensor": ((), True),
    "FakeParam": ((), True),
    "Identity": ((0,), True),
    "ZerosLike": ((0,), True),
}
_SUMS = ("AddN", "AddV2", "Add")


def _assumed_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.attrs["shape"]
    return shape


@op(
    "GraphflowAssumed",
    "input:T",
    "output:T",
    "T:type; shape:shape; writer:string",
    infer=_assumed_shape,
    differentiable=False,
)
def assumed_op(x: Any, *, shape: Any, writer: str) -> Any:
    """What `writer` puts into a list, as if it had this shape; none is left when the lists have become tensors."""
    raise RuntimeError("what a pass assumes does not outlive it")


@dataclass(eq=False, slots=True)
class _Kind:
    """What is known of lists that belong together.

    `fits` is false where some of it contradicts the rest, or where it is not known yet what their elements are;
    `closed` is true where somebody else looks at them, who wants to find in them what is there now.
    """

    fits: bool = True
    closed: bool = False
    inner: _Kind | None = None  # their elements, where these are lists
    dtype: DType | None = None
    count: int | None = None
    reach: int = 0  # the least count that holds all elements which are set at known numbers
    fixed: bool = True  # whether the count holds for all sizes of the feeds
    sizes: tuple[int, ...] | None = None
    static: TensorShape | None = None
    parent: _Kind | None = None
    shapes: list[tuple[int | None, ...]] = field(default_factory=list)
    own: list[tuple[int | None, ...]] = field(default_factory=list)  # the shapes that lists are made for
    as_long: list[_Kind] = field(default_factory=list)  # lists that have as many elements

    def root(self) -> _Kind:
        """The one that speaks for all."""
        kind = self
        while kind.parent is not None:
            kind = kind.parent
        return kind

    def join(self, other: _Kind) -> None:
        """Notes that two belong together."""
        a, b = self.root(), other.root()
        if a is b:
            return
        b.parent = a
        a.fits &= b.fits
        a.fixed &= b.fixed
        a.reach = max(a.reach, b.reach)
        if b.dtype is not None:
            a.of(b.dtype)
        if b.count is not None:
            a.long(b.count, True)
        if b.sizes is not None and b.static is not None:
            a.like(b.sizes, b.static)
        a.shapes += b.shapes
        a.own += b.own
        a.as_long += b.as_long
        a.closed |= b.closed
        if b.inner is not None:
            a.element().join(b.inner)

    def element(self) -> _Kind:
        """The lists that are elements of these."""
        kind = self.root()
        if kind.inner is None:
            kind.inner = _Kind()
        return kind.inner.root()

    def close(self) -> None:
        """Leaves them as they are."""
        kind = self.root()
        kind.fits, kind.closed = False, True

    def of(self, dtype: DType) -> None:
        """Notes the dtype of the elements."""
        kind = self.root()
        kind.fits &= (
            kind.dtype in (None, dtype) and dtype is not dtypes.variant and dtype is not dtypes.string
        )
        kind.dtype = dtype

    def long(self, count: int, fixed: bool) -> None:
        """Notes a length."""
        kind = self.root()
        kind.fits &= kind.count in (None, count) and count > 0
        kind.count = count
        kind.fixed &= fixed

    def like(self, sizes: tuple[int, ...], static: TensorShape) -> None:
        """Notes the sizes of an element."""
        kind = self.root()
        kind.fits &= kind.sizes in (None, sizes)
        kind.sizes = sizes
        if static.rank is None:
            static = TensorShape([None] * len(sizes))
        if kind.static is None or kind.static == static:
            kind.static = static
        else:
            kind.static = TensorShape([None] * len(sizes))

    def said(self, value: Value) -> None:
        """Notes what an operand says of the elements' shape."""
        constant = value.constant
        if constant is None and value.node.type == "Shape":
            dims = value.node.inputs[
                0
            ].shape.as_tuple()  # that of another value, which is as large as an element
            if dims is not None:
                self.root().shapes.append(dims)
        elif constant is None:
            self.root().fits = False
        elif constant.ndim == 1:
            self.root().shapes.append(tuple(None if d < 0 else d for d in constant.tolist()))

    def settle(self) -> bool:
        """Whether everything is known and agrees."""
        for other in self.as_long:
            if other.root().count is None or other.root() is self:
                self.fits &= other.root() is self
            else:
                self.long(other.root().count or 0, other.root().fixed)
        if self.sizes is None:
            for shape in self.shapes:
                if None not in shape:
                    self.like(tuple(d or 0 for d in shape), TensorShape(list(shape)))
        if not self.fits or None in (self.dtype, self.count, self.sizes):
            return False
        if self.reach > (self.count or 0):
            return False
        sizes = self.sizes or ()
        return all(
            TensorShape(list(shape)).is_compatible_with(TensorShape(list(sizes))) for shape in self.shapes
        )

    @property
    def type(self) -> TensorType:
        """The type of the stacked tensor."""
        assert self.dtype is not None and self.sizes is not None and self.static is not None
        static = self.static.as_tuple() or ()
        count = self.count if self.fixed else None
        shape = TensorShape([self.count, *self.sizes])
        open_shape = TensorShape([count, *static])
        return TensorType(self.dtype, shape, shape if shape == open_shape else open_shape)


class _Lists:
    """One run of the pass."""

    def __init__(self, program: Program, counts: Counter[str], wrong: set[str]) -> None:
        self.counts = counts
        self.wrong = wrong
        self.depth = 0
        self.kinds: dict[Value, _Kind] = {}
        self.shown: dict[
            Node, np.ndarray[Any, Any] | None
        ] = {}  # what is said of the shape of what is stacked
        self.look(program)
        for value in (*program.feeds, *program.roots):  # whoever gives or takes lists knows no tensors
            if value.dtype is dtypes.variant:
                self.kind(value).close()
        for kind in list(self.kinds.values()):
            outer = kind.root()
            while outer.closed and outer.inner is not None:
                outer.inner.close()
                outer = outer.inner.root()
        self.dense = {value: kind.root() for value, kind in self.kinds.items() if kind.root().settle()}

    def kind(self, value: Value) -> _Kind:
        found = self.kinds.get(value)
        if found is None:
            found = self.kinds[value] = _Kind()
        return found

    # -- which lists belong together --------------------------------------------------------------------

    def look(self, program: Program, depth: int = 0) -> None:
        """Notes what the nodes of a program say of its lists."""
        users: dict[Value, list[Node]] | None = None
        for node in program.nodes:
            if node.type == "TensorListResize":
                # The first elements of a list make no list of the same kind: whoever stacks them takes so many.
                users = program.users() if users is None else users
                first = node.outputs[0]
                takers = users.get(first, [])
                if not all(user.type == "TensorListStack" for user in takers) or first in program.roots:
                    self.kind(first).close()
                elif not any(ANY_LENGTH in user.attrs for user in takers):
                    said = [user.inputs[1].constant for user in takers]
                    self.shown[node] = said[0] if said else None
            lists = [value for value in (*node.inputs, *node.outputs) if value.dtype is dtypes.variant]
            for _, nested in nested_programs(node) if depth < MOST_NESTED else ():
                self.look(nested, depth + 1)
            if depth >= MOST_NESTED:  # nobody looks into what is nested here
                for value in lists:
                    self.kind(value).close()
            if lists:
                self.note(node, lists)

    def note(self, node: Node, lists: Sequence[Value]) -> None:
        kind = node.type
        if node.op_def in NESTED:
            self.through(node)
        elif kind in _SUMS:
            for value in lists[1:]:
                self.kind(lists[0]).join(self.kind(value))
        elif kind in _SAME and not node.controls and not node.attrs.get("resize_if_index_out_of_bounds"):
            if node.attrs.get("element_dtype") is dtypes.variant:
                item = _item_of(node)
                lists = [value for value in lists if value is not item]
                if item is not None:
                    self.kind(lists[0]).element().join(self.kind(item))
                elif kind not in ("TensorListReserve", "TensorListLength"):
                    self.kind(lists[0]).close()
            for value in lists[1:]:
                self.kind(lists[0]).join(self.kind(value))
            self.facts(node, self.kind(lists[0]))
        elif node.op_def is not FEED:
            for value in lists:
                self.kind(value).close()

    def facts(self, node: Node, kind: _Kind) -> None:
        dtype = node.attrs.get("element_dtype")
        if dtype is not None:
            kind.of(dtype)
        what = node.type
        if what == "TensorListReserve":
            kind.said(node.inputs[0])
            own = node.inputs[0].constant
            if own is not None and own.ndim == 1:
                kind.root().own.append(tuple(None if d < 0 else d for d in own.tolist()))
            count = node.inputs[1].constant
            if node.inputs[1].node.type == "TensorListLength":
                kind.root().as_long.append(self.kind(node.inputs[1].node.inputs[0]))
            elif count is None:
                kind.root().fits = False
            else:
                kind.long(count.item(), SPECIALIZED not in node.inputs[1].node.attrs)
        elif what == "TensorListFromTensor":
            tensor = node.inputs[0]
            kind.said(node.inputs[1])
            dims = tensor.static_shape.as_tuple()
            if tensor.sizes:
                kind.like(tensor.sizes[1:], TensorShape(None if dims is None else dims[1:]))
                kind.long(tensor.sizes[0], dims is not None and dims[0] is not None)
            else:
                kind.root().fits = False
        elif what == "TensorListSetItem" and dtype is not dtypes.variant:
            item = node.inputs[2]
            if item.sizes is not None:
                kind.like(item.sizes, item.static_shape)
            elif node.name in self.wrong:
                kind.root().fits = False
        elif what == "TensorListScatterIntoExistingList":
            self.scattered(node, kind.root())
        elif what == "TensorListGetItem":
            kind.said(node.inputs[2])
        elif what == "TensorListStack":
            kind.said(node.inputs[1])
            if node.attrs["num_elements"] >= 0:
                kind.long(node.attrs["num_elements"], True)
        elif what == "TensorListGather":
            kind.said(node.inputs[2])

    def scattered(self, node: Node, kind: _Kind) -> None:
        """Notes what is written at several numbers: a list gets longer where one of them asks for it."""
        places, rows = node.inputs[2].constant, node.inputs[1]
        dims = rows.static_shape.as_tuple()
        if places is None or places.ndim != 1 or not places.size or not rows.sizes or places.min() < 0:
            kind.fits = False
        else:
            kind.like(rows.sizes[1:], TensorShape(None if dims is None else dims[1:]))
            kind.reach = max(kind.reach, int(places.max()) + 1)

    def through(self, node: Node) -> None:
        """Notes which values of nested programs are which ones outside."""

        def pair(a: Value, b: Value) -> None:
            if (a.dtype is dtypes.variant) != (b.dtype is dtypes.variant):
                for value in (a, b):
                    self.kind(value).close()
            elif a.dtype is dtypes.variant:
                self.kind(a).join(self.kind(b))

        programs = [program for _, program in nested_programs(node)]
        inputs = node.inputs[1:] if node.op_def in CASES else node.inputs
        for program in programs:
            for feed, value in zip(program.feeds, inputs, strict=True):
                pair(feed, value)
        for program in programs[1:] if node.op_def in WHILES else programs:
            for value, made in zip(program.fetches, node.outputs, strict=True):
                pair(value, made)
        if node.op_def in WHILES:
            for value, made in zip(inputs, node.outputs, strict=True):
                pair(value, made)

    # -- changing them ----------------------------------------------------------------------------------

    def changed(self, program: Program) -> Program:
        """The program with tensors in place of lists."""
        if not self.dense or self.depth > MOST_NESTED:
            return program
        self.depth += 1
        try:
            return rebuild(program, self.replace)
        finally:
            self.depth -= 1

    def replace(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """What takes the place of a node."""
        if node.op_def in NESTED:
            programs = [self.changed(program) for _, program in nested_programs(node)]
            if all(a is b for a, (_, b) in zip(programs, nested_programs(node), strict=True)):
                return None
            attrs = with_programs(node.op_def, node.attrs, programs)
            if node.op_def in WHILES:
                attrs["T"] = tuple(value.dtype for value in inputs)
            else:
                attrs["Tin"] = tuple(value.dtype for value in inputs[1:])
                attrs["Tout"] = tuple(value.dtype for value in programs[0].fetches)
            return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)
        if node.attrs.get("element_dtype") is dtypes.variant:
            return self.holding(builder, node, inputs, controls)
        made = next((self.dense[value] for value in node.outputs if value in self.dense), None)
        taken = next((self.dense[value] for value in node.inputs if value in self.dense), None)
        if made is None and taken is None:
            return None
        kind = made or taken
        assert kind is not None
        self.counts[node.type] += 1
        if node.op_def is FEED:
            attrs = {**node.attrs, "dtype": kind.dtype, "shape": kind.type.shape}
            return builder.node(FEED, (), attrs, (), (kind.type,), node.origin, node.name)
        rule = _RULES.get(node.type)
        if rule is not None:
            return [rule(builder, node, inputs, kind)]
        if node.type == "TensorListResize":
            return [self.first(builder, node, inputs, kind)]
        return builder.node(
            node.op_def, inputs, {**node.attrs, "T": kind.dtype}, controls, None, node.origin, node.name
        )

    def first(self, b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
        """The first elements of a list, stacked. Of none the shape has to be known by what the user says of it."""
        if inputs[1].constant is not None and inputs[1].constant.item() == kind.count:
            return inputs[0]
        unknown, said = "", self.shown.get(node)
        if said is not None:
            shapes = [TensorShape(list(dims)) for dims in kind.own]
            shapes.append(
                TensorShape(None if not said.ndim else [None if d < 0 else d for d in said.tolist()])
            )
            known = functools.reduce(TensorShape.merge_with, shapes, TensorShape(None))
            dims = known.as_tuple()
            if not known.is_fully_defined():
                unknown = "?" if dims is None else f"[{','.join('?' if d is None else str(d) for d in dims)}]"
        return b.emit("GraphflowFirstRows", inputs[0], inputs[1], unknown=unknown)

    def holding(
        self, builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        """An operation on lists of what were lists, and may be tensors now."""
        outer = node.outputs[0] if node.type == "TensorListReserve" else node.inputs[0]
        found = self.kinds[outer].root() if outer in self.kinds else None
        kind = None if found is None or found.inner is None else found.inner.root()
        if kind is None or kind not in self.dense.values():
            return None
        shape = builder.constant(Derived.holding(kind.type.shape.as_list(), np.int32), True)
        given = list(inputs)
        if node.type in _SHAPES:
            given[_SHAPES[node.type]] = shape
        attrs = {**node.attrs, "element_dtype": kind.dtype}
        return builder.node(node.op_def, given, attrs, controls, None, node.origin, node.name)


ANY_LENGTH = "_any_length"
"""An attribute of what stacks a list for another part of a program: of no elements the shape may be what it is."""

# Which input of an operation says of what shape elements are.
_SHAPES = {"TensorListReserve": 0, "TensorListGetItem": 2}


def _item_of(node: Node) -> Value | None:
    """The element that an operation puts into a list, or takes out."""
    if node.type == "TensorListSetItem":
        return node.inputs[2]
    return node.outputs[0] if node.type == "TensorListGetItem" else None


# -- what an operation on lists is on tensors ------------------------------------------------------------------

_Rule = Callable[[ProgramBuilder, Node, Sequence[Value], _Kind], Value]


def _zeros(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    assert kind.dtype is not None
    dims = Derived.holding(kind.type.shape.as_list(), np.int32)
    attrs = {"T": kind.dtype, "index_type": dtypes.int32}
    operands = (b.constant(dims, True), b.constant(np.zeros((), kind.dtype.numpy)))
    return b.node(get_op("Fill"), operands, attrs, (), (kind.type,), node.origin, node.name).outputs[0]


def _anything(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    attrs = {"dtype": kind.dtype, "shape": kind.type.shape}
    return b.node(node.op_def, (), attrs, (), (kind.type,), node.origin, node.name).outputs[0]


def _itself(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    return inputs[0]


def _row(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    return b.emit("GraphflowRow", inputs[0], inputs[1], verb=node.attrs.get("_verb", "access"))


def _with_row(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    item = inputs[2]
    assert kind.sizes is not None and kind.static is not None
    if item.sizes != kind.sizes:
        sizes = TensorShape(list(kind.sizes))
        attrs = {"T": item.dtype, "shape": sizes, "writer": node.name}
        types = (TensorType(item.dtype, sizes, sizes if kind.static == sizes else kind.static),)
        item = b.node(assumed_op, (item,), attrs, (), types, node.origin, node.name).outputs[0]
    return b.emit("GraphflowRowSet", inputs[0], inputs[1], item)


def _with_rows(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    places = node.inputs[2].constant
    assert places is not None
    attrs = {"bad_indices_policy": ""}
    return b.emit("TensorScatterUpdate", inputs[0], b.constant(places.reshape(-1, 1)), inputs[1], **attrs)


def _gathered(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    return b.emit("GatherV2", inputs[0], inputs[1], b.constant(np.array(0, np.int32)))


def _length(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    return b.constant(Derived.holding(kind.count, np.int32), not kind.fixed)


def _element_shape(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    shape_type: Any = node.attrs["shape_type"]
    return b.constant(Derived.holding(kind.sizes, shape_type.numpy), True)


def _sum(b: ProgramBuilder, node: Node, inputs: Sequence[Value], kind: _Kind) -> Value:
    """Sums. Where all but one row of a term are zeros, that row is added in its place."""
    total: Value | None = None
    rows: list[Node] = []
    for value in inputs:
        made = value.node
        if made.type == "GraphflowRowSet" and _is_zero(made.inputs[0]):
            rows.append(made)
        elif _is_zero(value):
            continue
        else:
            total = value if total is None else b.emit("AddV2", total, value)
    if total is None:
        total = rows.pop(0).outputs[0] if rows else inputs[0]
    for made in rows:
        total = b.emit("GraphflowRowAdd", total, made.inputs[1], made.inputs[2])
    return total


def _is_zero(value: Value) -> bool:
    if value.node.type == "ZerosLike":
        return True
    constant = value.node.inputs[1].constant if value.node.type == "Fill" else value.constant
    return constant is not None and not constant.any()


_RULES: dict[str, _Rule] = {
    "TensorListReserve": _zeros,
    "ZerosLike": _zeros,
    "TensorListFromTensor": _itself,
    "FakeParam": _anything,
    "TensorListStack": _itself,
    "Identity": _itself,
    "TensorListGetItem": _row,
    "TensorListSetItem": _with_row,
    "TensorListScatterIntoExistingList": _with_rows,
    "TensorListGather": _gathered,
    "TensorListLength": _length,
    "TensorListElementShape": _element_shape,
    "AddN": _sum,
    "AddV2": _sum,
    "Add": _sum,
}


def dense_lists(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with stacked tensors in place of lists of known shape and length."""
    if not program.nests and not any(
        value.dtype is dtypes.variant for node in program.nodes for value in node.outputs
    ):
        return program
    wrong: set[str] = set()  # the writers of elements of which something was assumed that is not so
    while True:
        changed, found = program, Counter[str]()
        while True:
            step = _Lists(changed, found, wrong).changed(changed)
            if step is changed:
                break
            # Of what was stacked the sizes are known now, and so of lists that are made of it.
            changed = loop_shapes(fold_constants(step, Counter()), Counter())
            changed = _without_assumptions(changed)
        doubtful = _assumptions(changed)
        if not doubtful:
            counts.update(found)
            return changed
        wrong |= doubtful


def _without_assumptions(program: Program, depth: int = 0) -> Program:
    """The program without the assumptions that are known to be right by now."""

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def is assumed_op:
            return [inputs[0]] if inputs[0].shape == node.attrs["shape"] else None
        if node.op_def not in NESTED or depth > MOST_NESTED:
            return None
        programs = [_without_assumptions(nested, depth + 1) for _, nested in nested_programs(node)]
        if all(a is b for a, (_, b) in zip(programs, nested_programs(node), strict=True)):
            return None
        attrs = with_programs(node.op_def, node.attrs, programs)
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)


def _assumptions(program: Program) -> set[str]:
    """Who writes what something is assumed of, in a program and those nested in it."""
    found: set[str] = set()
    stack = [program]
    while stack:
        for node in stack.pop().nodes:
            if node.op_def is assumed_op:
                found.add(node.attrs["writer"])
            stack += [nested for _, nested in nested_programs(node)]
    return found
