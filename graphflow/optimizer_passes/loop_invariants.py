"""What every turn of a loop would compute alike is computed once, before the loop.

Only what cannot fail leaves: a loop without a turn must not fail for what its body would do. Nor does what takes more
memory than its operands.
"""

from __future__ import annotations

from collections import Counter

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

__all__ = ["loop_invariants"]

# Besides elementwise operations: what is never refused once the sizes are known.
_SAFE = frozenset("MatMul BatchMatMul BatchMatMulV2 Transpose Sum Mean Max Min Softmax LogSoftmax".split())
_VIEWS = frozenset("Reshape ExpandDims Squeeze".split())
# Elementwise, but refused for integers where a divisor is zero or an exponent negative.
_REFUSED_OF_INTEGERS = frozenset("Div FloorDiv FloorMod Mod TruncateDiv TruncateMod RealDiv Pow".split())


def loop_invariants(program: Program, counts: Counter[str], depth: int = 0) -> Program:
    """Returns the program with such computations in front of its loops, inner ones first."""
    if not program.nests:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.op_def not in NESTED or depth >= MOST_NESTED:
            return None
        old = [nested for _, nested in nested_programs(node)]
        programs = [loop_invariants(nested, counts, depth + 1) for nested in old]
        given = list(inputs)
        if node.op_def in WHILES:
            programs = _parted(builder, programs, given, counts)
        if all(new is nested for new, nested in zip(programs, old, strict=True)):
            return None
        attrs = with_programs(node.op_def, node.attrs, programs)
        if node.op_def in WHILES:
            attrs["T"] = tuple(value.dtype for value in given)
        made = builder.node(node.op_def, given, attrs, controls, None, node.origin, node.name)
        return list(made.outputs[: len(node.outputs)]) if node.outputs else made

    return rebuild(program, replace)


def _parted(
    builder: ProgramBuilder, programs: list[Program], given: list[Value], counts: Counter[str]
) -> list[Program]:
    """The programs of a loop without what they need not compute; `given` gets what they take instead."""
    body = programs[1]
    fixed = [i for i, feed in enumerate(body.feeds) if body.fetches[i] is feed]
    places: dict[Value, int] = {}  # of values in front of the loop: which loop variables they are
    chosen = []
    for program in programs:
        outside = {program.feeds[i]: given[i] for i in fixed}
        leaving: dict[Value, Value] = {}
        for node in program.nodes:
            if not _can_leave(node) or not all(
                value in outside or value.is_constant for value in node.inputs
            ):
                continue
            if not any(value in outside for value in node.inputs):
                continue
            operands = [outside.get(value) or _again(builder, value) for value in node.inputs]
            (made,) = builder.node(
                node.op_def, operands, node.attrs, (), None, node.origin, node.name
            ).outputs
            outside[node.outputs[0]] = leaving[node.outputs[0]] = made
        # Of what leaves, what stays behind takes the last of a chain.
        users = program.users()
        taken = {
            value
            for value in leaving
            if value in program.fetches
            or any(out not in leaving for user in users.get(value, ()) for out in user.outputs or (value,))
        }
        chosen.append({value: made for value, made in leaving.items() if value in taken})
    for leaving in chosen:
        for made in leaving.values():
            places.setdefault(made, len(given) + len(places))
    if not places:
        return programs
    counts["nodes"] += len(places)
    given += places
    cond, body = (_fed(program, leaving, places) for program, leaving in zip(programs, chosen, strict=True))
    kept = body.feeds[len(body.feeds) - len(places) :]
    return [cond, Program(body.feeds, (*body.fetches, *kept), (), body.effects, body.specialized)]


def _fed(program: Program, leaving: dict[Value, Value], places: dict[Value, int]) -> Program:
    """The program with more feeds, which it takes in place of what it computed."""
    feeds: dict[Value, Value] = {}

    def feed(builder: ProgramBuilder, value: Value) -> Value:
        if value not in feeds:
            attrs = {"dtype": value.dtype, "shape": value.shape, "feed": f"before the loop: {places[value]}"}
            feeds[value] = builder.node(FEED, (), attrs, (), (value.type,)).outputs[0]
        return feeds[value]

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        made = leaving.get(node.outputs[0]) if len(node.outputs) == 1 else None
        return None if made is None else [feed(builder, made)]

    result = rebuild(program, replace) if leaving else program
    rest = ProgramBuilder(result.nodes[-1].serial + len(places) + 1)
    more = [feed(rest, value) for value in places]
    return Program((*result.feeds, *more), result.fetches, (), result.effects, result.specialized)


def _again(builder: ProgramBuilder, constant: Value) -> Value:
    node = constant.node
    return builder.node(node.op_def, (), node.attrs, (), node.types, node.origin, node.name).outputs[0]


def _can_leave(node: Node) -> bool:
    """Whether computing a node cannot fail, acts on nothing, and takes no more memory than its operands do."""
    op_def = node.op_def
    if op_def.effects or node.controls or len(node.outputs) != 1 or not node.inputs:
        return False
    made = node.outputs[0]
    if made.sizes is None or any(value.sizes is None for value in node.inputs):
        return False
    if node.type in _VIEWS or node.type in _SAFE:
        return node.inputs[0].dtype.is_floating and all(
            value.is_constant for value in node.inputs[1:] if not value.dtype.is_floating
        )
    if op_def.scalar is None or op_def.bounds_rule is not None:
        return False
    if node.type in _REFUSED_OF_INTEGERS and not made.dtype.is_floating:
        return False
    return any(value.sizes == made.sizes for value in node.inputs if not value.is_constant)
