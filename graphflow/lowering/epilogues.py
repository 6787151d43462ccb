"""What of a group's body the epilogue of a library call can hold, and what it asks of the order of elements."""

from __future__ import annotations

from collections.abc import Mapping, Set

from graphflow.loops import ir
from graphflow.loops.build import RowIndex, RowReduce, RowSize
from graphflow.lowering.kernels import Body, Leaf
from graphflow.lowering.sizes import row_major
from graphflow.program import Value


def over_of(leaf: Leaf, body: Body) -> str | None:
    """How an operand of an epilogue is addressed from its offset on, or None if in no way that epilogues know."""
    if leaf.value is None or leaf.gathered:
        return None
    rank = len(body.space)
    strides = tuple(s.value if n.value != 1 else 0 for s, n in zip(leaf.strides, body.space, strict=True))
    dense = row_major(body.space)
    full = tuple(s.value if n.value != 1 else 0 for s, n in zip(dense, body.space, strict=True))
    if strides == full and any(full):
        return "element"
    if not any(strides):
        return "scalar"
    if rank and not any(strides[:-1]) and strides[-1] == 1:
        return "column"
    rows = row_major(body.space[:-1])
    wanted = tuple(s.value if n.value != 1 else 0 for s, n in zip(rows, body.space[:-1], strict=True))
    if rank and strides[-1] == 0 and strides[:-1] == wanted:
        return "row"
    return None


def folds_whole(body: Body, values: Set[Value]) -> bool:
    """Whether a body folds some values over all their elements and keeps none, each apart from all else that has as
    many elements: then it does not matter in which order these lie.
    """
    if tuple(body.axes) != tuple(range(len(body.space))):
        return False
    if any(result.inner or result.column for result in body.results):
        return False
    kinds: dict[str, str] = {}
    for name, leaf in body.leaves.items():
        over = over_of(leaf, body)
        if leaf.value in values and (over != "element" or leaf.offset.value):
            return False
        kinds[name] = "ours" if leaf.value in values else "scalar" if over == "scalar" else "other"
    return all(_in_any_order(result.expr, kinds) for result in body.results)


def _in_any_order(root: ir.Expr, kinds: Mapping[str, str]) -> bool:
    """Whether no fold brings leaves of the kind "ours" together with others, or with the places of elements."""
    folds = [root]
    while folds:
        stack, met = [folds.pop()], set()
        while stack:
            expr = stack.pop()
            if isinstance(expr, RowReduce):
                folds.append(expr.value)
            elif isinstance(expr, ir.Op):
                stack.extend(expr.args)
            elif isinstance(expr, ir.Var):
                met.add(kinds.get(expr.name, "other"))
            elif isinstance(expr, RowIndex):
                met.add("other")
            elif not isinstance(expr, ir.Const | RowSize):
                return False
        if {"ours", "other"} <= met:
            return False
    return True


def held_in(dtype: str) -> tuple[str, ...]:
    """The dtypes of values in an epilogue of a call with sums of a dtype."""
    return (dtype, "i1", "bf16") if dtype == "f32" else (dtype, "i1")


def renamed_in(
    root: ir.Expr, names: dict[str, ir.Expr], memo: dict[int, ir.Expr], dtype: str
) -> ir.Expr | None:
    """The expression with leaves renamed, or None if an epilogue can't compute it."""
    stack: list[tuple[ir.Expr, bool]] = [(root, False)]
    while stack:
        expr, ready = stack.pop()
        if id(expr) in memo:
            continue
        if isinstance(expr, RowReduce | RowIndex | RowSize | ir.Load):
            return None
        if isinstance(expr, ir.Op):
            if expr.dtype not in held_in(dtype):
                return None
            if not ready:
                stack.append((expr, True))
                stack.extend((arg, False) for arg in expr.args)
                continue
            memo[id(expr)] = ir.Op(expr.name, tuple(memo[id(arg)] for arg in expr.args), expr.dtype)
        elif isinstance(expr, ir.Var):
            memo[id(expr)] = names[expr.name]
        else:
            memo[id(expr)] = expr
    return memo[id(root)]


__all__ = ["folds_whole", "held_in", "over_of", "renamed_in"]
