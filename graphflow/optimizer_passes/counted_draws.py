"""Random numbers of branches and loops are functions of a counter that goes through them from turn to turn.

A random operation takes its numbers from a counter of the session, one run after another. Where it stands in a branch
or in the body of a loop, the counter becomes a value like others: it is taken from the session before, handed on with
every draw, and what has not been drawn is given back after. The numbers are the same, and what is left are branches
and loops without effects, which run natively.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.opdef import get_op, op
from graphflow.ops.random import PHILOX, SAMPLES_AT_ONCE, samples_reserved
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
    must_run,
    nested_programs,
    rebuild,
    with_programs,
)
from graphflow.shapes import TensorShape
from graphflow.symbolic import Derived

__all__ = ["counted_draws"]

Array = np.ndarray[Any, Any]

# What draws the same numbers as a random op, from a key and a counter.
_KEYED = {
    "RandomUniform": "StatelessRandomUniformV2",
    "RandomStandardNormal": "StatelessRandomNormalV2",
    "TruncatedNormal": "StatelessTruncatedNormalV2",
    "RandomUniformInt": "StatelessRandomUniformIntV2",
    "Multinomial": "GraphflowKeyedMultinomial",
}

_KEY = TensorType(dtypes.uint64, TensorShape([1]), TensorShape([1]))
_COUNTER = TensorType(dtypes.uint64, TensorShape([2]), TensorShape([2]))


@op("GraphflowTakeCounter", "", "key:uint64; counter:uint64", "seed:int=0; seed2:int=0",
    infer=lambda node: [_KEY.shape, _COUNTER.shape], effects="random", differentiable=False)  # fmt: skip
def take_counter_op(*, key: tuple[int, int], counter: int) -> tuple[Array, Array]:
    """Key and counter of the random operation of the same name, which no other run draws from meanwhile."""
    high = (key[1] + (counter >> 64)) & (2**64 - 1)
    return np.array([key[0] & (2**64 - 1)], np.uint64), np.array([counter & (2**64 - 1), high], np.uint64)


take_counter_op.reserve(lambda attrs: SAMPLES_AT_ONCE)


@op("GraphflowGiveCounter", "first:uint64; next:uint64", "", "source:string", infer=lambda node: [],
    effects="host", differentiable=False)  # fmt: skip
def give_counter_op(first: Array, next: Array, *, source: str, context: Any) -> None:
    """Lets the random operation `source` go on behind the samples that were drawn, which are known now."""
    context.give_back(source, SAMPLES_AT_ONCE - (int(next[0]) - int(first[0])) % 2**64)


def counted_draws(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with the counters of nested draws as values."""
    if not program.nests:
        return program
    names = Counter(node.name for node in _all_nodes(program) if node.op_def.effects == "random")
    given: list[tuple[str, Node, Value]] = []
    pure: set[Node] = set()

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        waits = controls
        if not node.op_def.stateful:
            waits = tuple(control for control in controls if control not in pure)
            if node.type == "Identity" and controls and not waits:
                return list(inputs)  # there was an order to be kept behind a loop with effects
        if waits != controls:
            return builder.again(node, inputs, waits)
        if node.op_def not in NESTED or not node.outputs:
            return None
        draws = _draws(node)
        # All or nothing: a branch or loop that acts otherwise runs from the host, which draws as it always did.
        if not draws or set(draws) != _acting(node) or any(names[draw.name] > 1 for draw in draws):
            return None
        counts["draws"] += len(draws)
        taken = [
            builder.node(
                get_op("GraphflowTakeCounter"),
                (),
                {name: int(draw.attrs.get(name, 0)) for name in ("seed", "seed2")},
                (),
                None,
                draw.origin,
                draw.name,
            )
            for draw in draws
        ]
        made = _with_counters(builder, node, inputs, controls, draws, [take.outputs for take in taken])
        for draw, take, after in zip(draws, taken, made.outputs[-len(draws) :], strict=True):
            given.append((draw.name, take, after))
        pure.add(made)
        return list(made.outputs[: len(node.outputs)])

    made = rebuild(program, replace)
    if not given:
        return program
    builder = ProgramBuilder(made.nodes[-1].serial + 1)
    back = [
        builder.node(
            get_op("GraphflowGiveCounter"),
            (take.outputs[1], after),
            {"source": name},
            (),
            None,
            take.origin,
            f"{name}/counter",
        )
        for name, take, after in given
    ]
    return _without_pure(made, back)


def _all_nodes(program: Program) -> list[Node]:
    found: list[Node] = []
    stack = [program]
    while stack:
        nodes = stack.pop().nodes
        found += nodes
        stack += [nested for node in nodes if node.op_def in NESTED for _, nested in nested_programs(node)]
    return found


def _acting(node: Node) -> set[Node]:
    """What a branch or a loop holds that has effects."""
    inside = [inner for _, program in nested_programs(node) for inner in _all_nodes(program)]
    return {
        inner for inner in inside if inner.op_def.effects in ("host", "random") and inner.op_def not in NESTED
    }


def _draws(node: Node, depth: int = 1) -> list[Node]:
    """The draws in a branch or a loop whose counters can become values; none stands in a loop's condition."""
    found: list[Node] = []
    if depth > MOST_NESTED:
        return found
    for place, program in nested_programs(node):
        for inner in program.nodes if place != "cond" else ():
            if inner.op_def in NESTED and inner.outputs:
                found += _draws(inner, depth + 1)
            elif inner.type in _KEYED and inner.outputs[0].sizes is not None:
                found.append(inner)
    return found


def _with_counters(
    builder: ProgramBuilder,
    node: Node,
    inputs: Sequence[Value],
    controls: Sequence[Node],
    draws: Sequence[Node],
    counters: Sequence[Sequence[Value]],
) -> Node:
    """A branch or a loop that takes keys and counters of its draws as well, and gives the counters after it last."""
    programs = [
        _counted(program, draws, with_keys=node.op_def in WHILES) for _, program in nested_programs(node)
    ]
    if node.op_def in WHILES:
        cond = programs[0]
        # A condition looks at nothing of this.
        programs[0] = Program(cond.feeds, cond.fetches[:1], cond.commits, cond.effects, cond.specialized)
    attrs = with_programs(node.op_def, node.attrs, programs)
    keys, numbers = [key for key, _ in counters], [counter for _, counter in counters]
    given = (*inputs, *keys, *numbers)
    if node.op_def in WHILES:
        attrs["T"] = tuple(value.dtype for value in given)
    else:
        attrs["Tin"] = tuple(value.dtype for value in given[1:])
        attrs["Tout"] = tuple(value.dtype for value in programs[0].fetches)
    op_def = get_op("GraphflowCase" if node.op_def in CASES else "GraphflowWhile")
    return builder.node(op_def, given, attrs, controls, None, node.origin, node.name)


def _counted(program: Program, draws: Sequence[Node], with_keys: bool) -> Program:
    """A nested program that is fed with keys and counters as well, and gives them (or counters alone) after it."""
    inside = set(_all_nodes(program))
    feeds: list[tuple[Value, Value]] = []
    after: dict[Node, Value] = {}

    def begin(builder: ProgramBuilder) -> None:
        if not feeds:
            for draw in draws:
                key, counter = (
                    builder.node(
                        FEED,
                        (),
                        {"dtype": kind.dtype, "shape": kind.shape, "feed": f"{draw.name}/{what}"},
                        (),
                        (kind,),
                        draw.origin,
                        f"{draw.name}/{what}",
                    ).outputs[0]
                    for what, kind in (("key", _KEY), ("counter", _COUNTER))
                )
                feeds.append((key, counter))

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        begin(builder)
        if node in numbers:
            return [_drawn(builder, node, inputs, *feeds[numbers[node]], after)]
        if node.op_def in NESTED:
            deeper = set(_draws(node))
            mine = [i for i, draw in enumerate(draws) if draw in deeper]
            if mine:
                made = _with_counters(
                    builder, node, inputs, controls, [draws[i] for i in mine], [feeds[i] for i in mine]
                )
                for i, value in zip(mine, made.outputs[-len(mine) :], strict=True):
                    after[draws[i]] = value
                return list(made.outputs[: len(node.outputs)])
        return None

    numbers = {draw: i for i, draw in enumerate(draws)}
    made = rebuild(program, replace) if inside.intersection(draws) else program
    begin(ProgramBuilder(made.nodes[-1].serial + 1 if made.nodes else 0))
    keys, starts = [key for key, _ in feeds], [counter for _, counter in feeds]
    ends = [after.get(draw, counter) for draw, counter in zip(draws, starts, strict=True)]
    fetches = (*made.fetches, *(keys if with_keys else ()), *ends)
    whole = Program((*made.feeds, *keys, *starts), fetches, made.commits, made.effects, made.specialized)
    return _without_pure(whole)


def _drawn(
    builder: ProgramBuilder,
    node: Node,
    inputs: Sequence[Value],
    key: Value,
    counter: Value,
    after: dict[Node, Value],
) -> Value:
    """What a random operation draws from a counter; puts down where that goes on."""
    made = node.outputs[0]
    sizes = made.sizes or ()
    drawn = samples_reserved(node.type, sizes)
    step = builder.constant(Derived.holding([drawn, 0], np.uint64), made.static_shape != made.shape)
    after[node] = builder.emit("AddV2", counter, step)
    operands = (key, counter, builder.constant(np.array(PHILOX[0], np.int32)))
    op_def = get_op(_KEYED[node.type])
    attrs: dict[str, Any] = {}
    if node.type == "Multinomial":
        given = (*inputs, *operands)
        attrs = {name: node.attrs[name] for name in ("T", "output_dtype")}
    else:
        given = (inputs[0], *operands, *inputs[1:])
        attrs = {"dtype": made.dtype, "Tshape": inputs[0].dtype}
    return builder.node(op_def, given, attrs, (), (made.type,), node.origin, node.name).outputs[0]


def _without_pure(program: Program, more: Sequence[Node] = ()) -> Program:
    """The program with what acts no more taken from what runs for that, and something else added."""
    effects = tuple(node for node in program.effects if must_run(node))
    return Program(program.feeds, program.fetches, program.commits, (*effects, *more), program.specialized)
