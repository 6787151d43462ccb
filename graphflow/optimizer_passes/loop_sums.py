"""Sums over the turns of a loop leave it: the operands are stacked, and one product or fold is taken of the stacks.

Where only the run knows how many turns there are, the stacks are as long as there may be, and zero where no turn was.
`sum over t of aₜᵀ bₜ` is `[a₀; a₁; …]ᵀ [b₀; b₁; …]`: what the gradient of a weight comes to that a loop uses in every
turn. Of operands that are rows of a tensor already, or are set as rows of one, there is nothing to stack. The sum is
taken in another order, as it is by any other way to cut a product into pieces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.opdef import get_op
from graphflow.program import (
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
    invariants,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.records import dataclass, field
from graphflow.shapes import TensorShape
from graphflow.symbolic import Derived
from graphflow.turns import (
    Bounds,
    Even,
    evens,
    from_the_end,
    inductions,
    inductions_from,
    is_zero,
    known_turns,
    limits_of,
    most_turns,
)

__all__ = ["loop_sums"]

_ADDS = ("Add", "AddV2", "AddN")
_FEWEST_TURNS = 2


def loop_sums(
    program: Program, counts: Counter[str], depth: int = 0, bounds: Bounds | None = None
) -> Program:
    """Takes sums out of loops whose number of turns, or the most that there may be, is known."""
    if not program.nests:
        return program
    here = Bounds({}) if bounds is None else bounds

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED or depth >= MOST_NESTED:
            return None
        programs = [
            loop_sums(nested, counts, depth + 1, _inside(here, node, nested))
            for _, nested in nested_programs(node)
        ]
        changed = any(new is not old for new, (_, old) in zip(programs, nested_programs(node), strict=True))
        attrs = with_programs(node.op_def, node.attrs, programs) if changed else node.attrs
        if node.op_def in WHILES and not controls:
            found = _Loop(builder, node, inputs, attrs, counts, here).changed()
            if found is not None:
                return found
        if not changed:
            return None
        return builder.node(node.op_def, inputs, attrs, controls, None, node.origin, node.name)

    return rebuild(program, replace)


def _inside(bounds: Bounds, node: Node, nested: Program) -> Bounds:
    if node.op_def not in WHILES:
        return bounds.of_branch(node, nested)
    body = node.attrs["body"]
    counted = inductions(node.inputs, body)
    return bounds.inside(node, most_turns(node.inputs, node.attrs["cond"], body, counted, bounds)[0])


@dataclass(frozen=True, slots=True)
class _Stack:
    """Where the values of all turns stand: rows `even` of a tensor outside of the loop, or of one that it sets."""

    even: Even
    given: Value | None  # a tensor that is there before the loop
    made: int  # else the number of the loop variable


@dataclass(slots=True)
class _New:
    """What is added to a loop: feeds of the body and what they become, with what they are before the loop."""

    feeds: list[Value] = field(default_factory=list)
    fetches: list[Value] = field(default_factory=list)
    starts: list[Value] = field(default_factory=list)


class _Loop:
    """One loop."""

    def __init__(
        self,
        builder: ProgramBuilder,
        node: Node,
        inputs: tuple[Value, ...],
        attrs: dict[str, Any],
        counts: Counter[str],
        bounds: Bounds,
    ) -> None:
        self.bounds = bounds
        self.builder, self.node, self.inputs, self.counts = builder, node, inputs, counts
        self.cond: Program = attrs["cond"]
        self.body: Program = attrs["body"]
        self.attrs = attrs
        self.users = self.body.users()
        self.new = _New()
        self.stacks: dict[Value, list[_Stack]] = {}  # what has been added

    def changed(self) -> list[Value] | None:
        """The outputs of the loop without the sums, which follow it; None where it has none that pays."""
        node, body = self.node, self.body
        sums = [found for i in range(len(body.feeds)) if (found := self.terms(i)) is not None]
        if not sums:
            return None
        counted = inductions(node.inputs, body)
        turns = known_turns(node.inputs, self.cond, body, counted)
        self.exact = turns is not None
        if turns is None:
            turns, _ = most_turns(node.inputs, self.cond, body, counted, self.bounds)
        if turns is None or turns < _FEWEST_TURNS:
            return None
        self.turns = turns
        self.limits, _ = limits_of(node.inputs, self.cond, body, counted)
        self.fixed = self.exact and not any(
            SPECIALIZED in value.node.attrs for value in node.inputs if value.constant is not None
        )
        self.evens = evens(body, inductions_from(node.inputs, body))
        if self.index_of(self.order(())) is None:
            return None
        self.inside = ProgramBuilder(body.nodes[-1].serial + 1)
        stacks: dict[int, list[tuple[Node, list[_Stack]]]] = {}
        # Products first: they may have an order that others can share.
        for i, terms in sorted(sums, key=lambda found: all(term.type != "MatMul" for term in found[1])):
            stacks[i] = [(term, self.stacked(_operands(term))) for term in terms]
        fetches = [body.feeds[i] if i in stacks else value for i, value in enumerate(body.fetches)]
        feeds = (*body.feeds, *self.new.feeds)
        new_body = Program(feeds, (*fetches, *self.new.fetches), body.commits, body.effects, body.specialized)
        cond = Program(
            (*self.cond.feeds, *(self.feed(value, number) for number, value in enumerate(self.new.starts))),
            self.cond.fetches, (), self.cond.effects, self.cond.specialized,
        )  # fmt: skip
        inputs = (*self.inputs, *self.new.starts)
        attrs = {**self.attrs, "cond": cond, "body": new_body, "T": tuple(value.dtype for value in inputs)}
        builder = self.builder
        made = builder.node(node.op_def, inputs, attrs, (), None, node.origin, node.name)
        results = list(made.outputs[: len(node.outputs)])
        for i, stacked in stacks.items():
            total = self.inputs[i]
            for term, parts in stacked:
                whole = [part.given if part.given is not None else made.outputs[part.made] for part in parts]
                value = _SUMS[term.type].total(self, term, whole)
                total = value if is_zero(total) else builder.emit("AddV2", total, value)
                self.counts[term.type] += 1
            results[i] = total
        return results

    def terms(self, i: int) -> tuple[int, list[Node]] | None:
        """What is added to a loop variable in every turn, if nothing else is done with it and all of it can leave."""
        feed, made = self.body.feeds[i], self.body.fetches[i]
        add = made.node
        if add.type not in _ADDS or add.controls or add.inputs.count(feed) != 1:
            return None
        if self.users.get(feed) != [add] or self.users.get(made) or self.body.fetches.count(made) != 1:
            return None
        if any(self.cond.feeds[i] in node.inputs for node in self.cond.nodes):
            return None
        terms = [value.node for value in add.inputs if value is not feed]
        for term in terms:
            rule = _SUMS.get(term.type)
            value = term.outputs[0] if len(term.outputs) == 1 else None
            if rule is None or value is None or self.users.get(value) != [add] or value in self.body.fetches:
                return None
            if (
                term.controls
                or value.sizes != feed.sizes
                or not feed.dtype.is_floating
                or not rule.pays(term)
            ):
                return None
        return (i, terms) if terms else None

    # -- stacks -----------------------------------------------------------------------------------------

    def covers(self, even: Even | None, rows: int) -> bool:
        """Whether the turns go through all of so many rows, each once."""
        if even is None or rows != self.turns or abs(even.step) != 1:
            return False
        if even.base is not None:
            return from_the_end(even, self.limits, self.bounds, rows) is not None
        return min(even.start, even.start + even.step * (self.turns - 1)) == 0

    def found(self, value: Value) -> list[_Stack]:
        """Where all turns' values of an operand stand anyway."""
        body, stacks = self.body, list(self.stacks.get(value, ()))
        made = value.node
        fixed = invariants(self.node)
        if made.type == "GraphflowRow" and made.inputs[0] in body.feeds:
            i = body.feeds.index(made.inputs[0])
            even = self.evens.get(made.inputs[1])
            if i in fixed and self.covers(even, (made.inputs[0].sizes or (0,))[0]):
                assert even is not None
                if self.exact or _zero_behind(self.node.inputs[i], even):
                    stacks.append(_Stack(even, self.inputs[i], i))
        for user in self.users.get(value, ()):
            if user.type not in ("GraphflowRowSet", "GraphflowRowAdd") or user.inputs[2] is not value:
                continue
            if user.inputs[0] not in body.feeds or user.outputs[0] not in body.fetches:
                continue
            i = body.feeds.index(user.inputs[0])
            if body.fetches[i] is not user.outputs[0] or self.users[body.feeds[i]] != [user]:
                continue
            even = self.evens.get(user.inputs[1])
            if not (self.exact and user.type == "GraphflowRowSet") and not is_zero(self.node.inputs[i]):
                continue
            if self.covers(even, (user.inputs[0].sizes or (0,))[0]):
                assert even is not None
                stacks.append(_Stack(even, None, i))
        return stacks

    def order(self, stacks: Sequence[Sequence[_Stack]]) -> Even:
        """The order of rows that leaves least to be stacked."""
        votes: Counter[Even] = Counter()
        for found in stacks:
            votes.update({stack.even for stack in found})
        if votes:
            return votes.most_common(1)[0][0]
        return next((even for even in self.evens.values() if self.covers(even, self.turns)), Even(0, 1))

    def index_of(self, even: Even) -> Value | None:
        """A number in the body that goes through the rows like this."""
        for value, have in self.evens.items():
            if have == even and value.dtype in (dtypes.int32, dtypes.int64) and value.sizes == ():
                return value
        return None

    def stacked(self, operands: Sequence[Value]) -> list[_Stack]:
        """Where all turns' values of some operands stand, in one order; they are set as rows where they are not."""
        found = [self.found(value) for value in operands]
        even = self.order(found)
        result = []
        for value, stacks in zip(operands, found, strict=True):
            have = next((stack for stack in stacks if stack.even == even), None)
            result.append(self.set_as_row(value, even) if have is None else have)
        return result

    def set_as_row(self, value: Value, even: Even) -> _Stack:
        index = self.index_of(even)
        assert index is not None
        shape, static = value.shape.as_list(), value.static_shape.as_tuple()
        count = self.turns if self.fixed else None
        whole = TensorShape([self.turns, *shape])
        least = TensorShape(None if static is None else [count, *static])
        kind = TensorType(value.dtype, whole, whole if least == whole else least)
        zeros = self.builder.node(
            get_op("Fill"),
            (
                self.builder.constant(Derived.holding([self.turns, *shape], np.int32), True),
                self.builder.constant(np.zeros((), value.dtype.numpy)),
            ),
            {"T": value.dtype, "index_type": dtypes.int32}, (), (kind,),
        ).outputs[0]  # fmt: skip
        feed = self.feed(zeros, len(self.new.feeds))
        number = len(self.body.feeds) + len(self.new.feeds)
        self.new.feeds.append(feed)
        self.new.starts.append(zeros)
        self.new.fetches.append(self.inside.emit("GraphflowRowSet", feed, index, value))
        stack = _Stack(even, None, number)
        self.stacks.setdefault(value, []).append(stack)
        return stack

    def feed(self, like: Value, number: int) -> Value:
        """A feed for a loop variable that is added."""
        attrs = {"dtype": like.dtype, "shape": like.shape, "feed": f"stack {number}"}
        return self.inside.node(FEED, (), attrs, (), (like.type,), self.node.origin, self.node.name).outputs[
            0
        ]

    def flat(self, stack: Value, keep: int) -> Value:
        """A stack with all axes but the last few made one."""
        sizes, static = stack.shape.as_list(), stack.static_shape.as_tuple()
        at = len(sizes) - keep
        rows = math.prod(size or 0 for size in sizes[:at])
        shape = TensorShape([rows, *sizes[at:]])
        if static is None:
            least = TensorShape([None] * (keep + 1))
        else:
            known = None if None in static[:at] else rows
            least = TensorShape([known, *static[at:]])
        attrs = {"T": stack.dtype, "Tshape": dtypes.int32}
        dims = self.builder.constant(Derived.holding(shape.as_list(), np.int32), least != shape)
        kind = TensorType(stack.dtype, shape, shape if least == shape else least)
        return self.builder.node(get_op("Reshape"), (stack, dims), attrs, (), (kind,)).outputs[0]


def _zero_behind(rows: Value, even: Even) -> bool:
    """Whether a tensor is zero but for the rows before one that only the run knows, where a number begins to fall."""
    loop = rows.node
    if loop.op_def not in WHILES or even.base is None or even.base.node is not loop or even.start != -1:
        return False
    body = loop.attrs["body"]
    counted = inductions(loop.inputs, body)
    made = body.fetches[rows.index].node
    if not is_zero(loop.inputs[rows.index]) or made.inputs[:1] != (body.feeds[rows.index],):
        return False
    # Each turn sets the row of its number, and there were as many turns as the base says.
    number = Even(0, 1)
    if counted.get(even.base.index) != number or made.type != "GraphflowRowSet":
        return False
    return evens(body, counted).get(made.inputs[1]) == number


# -- what can leave -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sum:
    """A kind of term: whether it pays to take it out, and what all turns' terms add up to, from stacked operands."""

    pays: Callable[[Node], bool]
    total: Callable[[_Loop, Node, Sequence[Value]], Value]


def _operands(term: Node) -> Sequence[Value]:
    return term.inputs[:1] if term.type in ("Sum", "BiasAddGrad") else term.inputs[:2]


def _product_pays(term: Node) -> bool:
    if not term.attrs["transpose_a"] or term.attrs["transpose_b"]:
        return False
    a, b = term.inputs
    if a.sizes is None or b.sizes is None:
        return False
    # Stacking the operands moves less than adding the result to a sum would.
    return a.sizes[0] * (a.sizes[1] + b.sizes[1]) <= 2 * a.sizes[1] * b.sizes[1]


def _product(loop: _Loop, term: Node, stacks: Sequence[Value]) -> Value:
    a, b = (loop.flat(stack, 1) for stack in stacks)
    return loop.builder.node(term.op_def, (a, b), term.attrs, (), None, term.origin, term.name).outputs[0]


def _fold_pays(term: Node) -> bool:
    return term.inputs[0].sizes is not None and (term.type != "Sum" or _axes(term) is not None)


def _axes(term: Node) -> list[int] | None:
    axes = term.inputs[1].constant
    rank = len(term.inputs[0].sizes or ())
    return (
        None if axes is None or term.attrs["keep_dims"] else [int(axis) % rank for axis in axes.reshape(-1)]
    )


def _fold(loop: _Loop, term: Node, stacks: Sequence[Value]) -> Value:
    axes = _axes(term)
    assert axes is not None
    along = loop.builder.constant(np.array([0, *(axis + 1 for axis in axes)], np.int32))
    attrs: Mapping[str, Any] = {**term.attrs, "Tidx": dtypes.int32}
    return loop.builder.node(
        term.op_def, (stacks[0], along), dict(attrs), (), None, term.origin, term.name
    ).outputs[0]


def _bias(loop: _Loop, term: Node, stacks: Sequence[Value]) -> Value:
    return loop.builder.node(
        term.op_def, (loop.flat(stacks[0], 1),), term.attrs, (), None, term.origin, term.name
    ).outputs[0]


def _scatter_pays(term: Node) -> bool:
    rows, ids = term.inputs[:2]
    if rows.sizes is None or ids.sizes is None or not rows.sizes:
        return False
    # Stacking moves less than going through the whole sum would, of which few rows change.
    return bool(math.prod(rows.sizes) <= math.prod(term.outputs[0].sizes or ()))


def _scatter(loop: _Loop, term: Node, stacks: Sequence[Value]) -> Value:
    keep = len(term.outputs[0].sizes or ()) - 1
    rows, ids = loop.flat(stacks[0], keep), loop.flat(stacks[1], 0)
    shape = term.outputs[0].shape.as_list()
    count = loop.builder.constant(Derived.holding(shape[0], np.int32), True)
    attrs = {**term.attrs, "Tnumsegments": dtypes.int32}
    return loop.builder.node(
        term.op_def, (rows, ids, count), attrs, (), (term.outputs[0].type,), term.origin, term.name
    ).outputs[0]


_SUMS: dict[str, _Sum] = {
    "MatMul": _Sum(_product_pays, _product),
    "UnsortedSegmentSum": _Sum(_scatter_pays, _scatter),
    "Sum": _Sum(_fold_pays, _fold),
    "BiasAddGrad": _Sum(
        lambda term: _fold_pays(term) and term.attrs.get("data_format", "NHWC") == "NHWC", _bias
    ),
}
