"""Groups that run while a contraction loads its first operand: what they make is never stored.

Only what nobody else takes, and what is cheap: an element may be loaded several times.
"""

from __future__ import annotations

import dataclasses

from graphflow.loops import ir
from graphflow.loops.library import ACCUMULATOR, Conv2D, Epilogue, EpilogueOperand, Gemm
from graphflow.lowering.calls import CallNode
from graphflow.lowering.epilogues import over_of, renamed_in
from graphflow.lowering.kernels import Body

__all__ = ["first_factor", "with_prologue"]

_CHEAP = frozenset("add sub mul neg max min abs select eq ne lt le gt ge and or not".split())

_MOST_OPERATIONS = 12
"""Operations on an element that cost less than to store and to read it, times how often it is loaded."""

_WIDE = 256
"""Columns of a product for which a tile of its first factor is loaded once."""

_FEW_ROWS = 4


def first_factor(found: CallNode) -> str | None:
    """The name of the operand that a call can change as it loads it, or None if it has none."""
    call = found.call
    if isinstance(call, Conv2D):
        if call.depthwise or call.operand_dtype or call.prologue is not None:
            return None
        return "dy" if call.direction == "input" else "x"
    if not isinstance(call, Gemm) or call.operand_dtype or call.prologue is not None:
        return None
    apart = call.batch or call.steps_a or call.stride_a != "dense" or call.transpose_a
    small = call.m is not None and call.m <= _FEW_ROWS
    if apart or small or call.k is None or call.n is None or call.n < 2:
        return None
    return "a"


def with_prologue(found: CallNode, body: Body) -> CallNode | None:
    """The call with a group in place of its first operand, the group's one result; None if it does not fit or pay."""
    name, call = first_factor(found), found.call
    assert name is not None and isinstance(call, Conv2D | Gemm)
    value = found.operands[name]
    if len(body.results) != 1 or found.offsets.get(name, 0) or not body.results[0].inner:
        return None
    if isinstance(call, Gemm) and call.k != (value.sizes or (0,))[-1]:
        return None
    operands, offsets = dict(found.operands), dict(found.offsets)
    further: list[EpilogueOperand] = []
    renamed: dict[str, ir.Expr] = {}
    for leaf_name, leaf in body.leaves.items():
        over = over_of(leaf, body)
        if leaf.value is None or over in (None, "row") or ir.dtype_name(leaf.value.dtype.name) != call.dtype:
            return None
        own = f"before_{leaf_name}"
        if over == "element" and operands[name] is value:
            own = name
            renamed[leaf_name] = ir.Var(ACCUMULATOR, call.dtype)
        else:
            further.append(EpilogueOperand(own, call.dtype, over))  # type: ignore[arg-type]
            renamed[leaf_name] = ir.Var(own, call.dtype)
        operands[own] = leaf.value
        if leaf.offset.value:
            offsets[own] = leaf.offset.value * leaf.value.dtype.size
    expr = renamed_in(body.results[0].expr, renamed, {}, call.dtype)
    if operands[name] is value or expr is None or expr.dtype != call.dtype:
        return None
    loads = -(-(call.n or 1) // _WIDE) if isinstance(call, Gemm) else 1
    if _operations(expr) * loads > _MOST_OPERATIONS:
        return None
    prologue = Epilogue(((name, expr),), tuple(further))
    return CallNode(
        dataclasses.replace(call, prologue=prologue), operands, found.result, found.sizes, offsets
    )


def _operations(expr: ir.Expr) -> int:
    """How many operations there are; more than any bound if one of them is dear."""
    seen: set[int] = set()
    stack, total = [expr], 0
    while stack:
        one = stack.pop()
        if id(one) in seen or not isinstance(one, ir.Op):
            continue
        seen.add(id(one))
        if one.name not in _CHEAP:
            return _MOST_OPERATIONS + 1
        total += 1
        stack.extend(one.args)
    return total
