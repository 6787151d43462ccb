"""Attention found by its structure: a product, a softmax over its last axis, a product.

What stands between the first product and the softmax (a scale, a mask, a bias) may be any expression of elements.
"""

from __future__ import annotations

from graphflow.loops import ir
from graphflow.loops.build import RowReduce
from graphflow.loops.library import ACCUMULATOR, Attention, Epilogue, Gemm, Mask
from graphflow.lowering.calls import CallNode
from graphflow.lowering.epilogues import over_of, renamed_in
from graphflow.lowering.kernels import Body
from graphflow.lowering.sizes import Size, row_major
from graphflow.lowering.strided import Side, named, side_of
from graphflow.program import Value

_FEW_QUERIES = 4
"""So few queries are dot products along their keys, which packs nothing."""

_MOST_KEYS = 8192
"""The scores of a block of rows against more keys than these do not fit into a core's cache."""

_MOST_MASKS = 6


def attention_of(product: CallNode, scores: CallNode, body: Body, scored: Value) -> CallNode | None:
    """Returns the attention that two products with a group between them are, or None.

    Args:
      product: the second product, whose first factor is all that the group gives.
      scores: the first product.
      body: what the group computes.
      scored: the first product's result.
    """
    first, second = scores.call, product.call
    if not isinstance(first, Gemm) or not isinstance(second, Gemm) or first.dtype != second.dtype:
        return None
    if first.operand_dtype or second.operand_dtype:
        return None
    if first.epilogue or second.epilogue or len(body.space) != len(first.batch) + 2:
        return None
    if second.transpose_a or second.stride_a != "dense" or first.batch != second.batch or second.batch_a not in (
        None, (True,) * len(second.batch)
    ):  # fmt: skip
        return None
    if first.m is not None and first.m <= _FEW_QUERIES or scores.sizes["n"] > _MOST_KEYS:
        return None
    q, k, v = side_of(scores, "a"), side_of(scores, "b"), side_of(product, "b")
    if q is None or k is None or v is None or q.transposed or not k.transposed or v.transposed:
        return None
    if body.axes != (len(body.space) - 1,) or len(body.results) != 1 or not body.results[0].inner:
        return None
    score = _softmax_of(body.results[0].expr)
    if score is None:
        return None
    sizes = {
        "m": scores.sizes["m"],
        "n": scores.sizes["n"],
        "k": scores.sizes["k"],
        "width": product.sizes["n"],
    }
    sizes |= {f"batch{axis}": scores.sizes[f"batch{axis}"] for axis in range(len(first.batch))}
    operands = {"q": scores.operands["a"], "k": scores.operands["b"], "v": product.operands["b"]}
    offsets = {
        name: found.offsets[own]
        for name, found, own in (("q", scores, "a"), ("k", scores, "b"), ("v", product, "b"))
        if own in found.offsets
    }
    names: dict[str, ir.Expr] = {}
    masks: list[Mask] = []
    for name, leaf in body.leaves.items():
        if leaf.value is None or leaf.gathered or ir.dtype_name(leaf.value.dtype.name) != first.dtype:
            return None
        if leaf.value is scored:
            if leaf.offset.value or over_of(leaf, body) != "element":
                return None
            names[name] = ir.Var(ACCUMULATOR, first.dtype)
            continue
        *steps, row, column = leaf.strides
        if column.value not in (0, 1) or any(stride.value < 0 for stride in leaf.strides):
            return None
        mask = f"mask_{name}"
        names[name] = ir.Var(mask, first.dtype)
        operands[mask], offsets[mask] = leaf.value, leaf.offset.value * leaf.value.dtype.size
        masks.append(
            Mask(mask, first.dtype, named(sizes, f"stride_{mask}", row), 1 if column.value else 0,
                 tuple(named(sizes, f"step_{mask}{axis}", step) for axis, step in enumerate(steps)))
        )  # fmt: skip
    expr = renamed_in(score, names, {}, first.dtype)
    if expr is None or len(masks) > _MOST_MASKS:
        return None
    result = row_major([*body.space[:-1], Size(product.sizes["n"], second.n is None)])
    c = Side(False, result[-2], result[:-2])
    call = Attention(
        dtype=first.dtype, m=first.m, n=first.n, k=first.k, width=second.n, batch=first.batch,
        stride_q=named(sizes, "stride_q", q.stride), stride_k=named(sizes, "stride_k", k.stride),
        stride_v=named(sizes, "stride_v", v.stride), stride_c=named(sizes, "stride_c", c.stride),
        steps_q=_steps(sizes, "q", q), steps_k=_steps(sizes, "k", k), steps_v=_steps(sizes, "v", v),
        steps_c=_steps(sizes, "c", c), score=Epilogue((("score", expr),)), masks=tuple(masks),
    )  # fmt: skip
    return CallNode(call, operands, "c", sizes, offsets)


def _steps(sizes: dict[str, int], name: str, side: Side) -> tuple[int | None, ...]:
    return tuple(named(sizes, f"step_{name}{axis}", step) for axis, step in enumerate(side.steps))


def _softmax_of(expr: ir.Expr) -> ir.Expr | None:
    """What an expression is the softmax of, along the row: each element's exponential as a share of their sum."""
    grown: ir.Expr | None = None
    if isinstance(expr, ir.Op) and expr.name == "div" and _is_sum(expr.args[1], expr.args[0]):
        grown = expr.args[0]
    elif isinstance(expr, ir.Op) and expr.name == "mul":
        for one, other in (expr.args, expr.args[::-1]):
            if isinstance(other, ir.Op) and other.name == "div" and _is_one(other.args[0]):
                grown = one if _is_sum(other.args[1], one) else grown
    if not isinstance(grown, ir.Op) or grown.name != "exp":
        return None
    (inner,) = grown.args
    if isinstance(inner, ir.Op) and inner.name == "sub":
        x, top = inner.args
        if isinstance(top, RowReduce) and top.op in ("max", "maxnum") and top.value is x:
            return x
    return None


def _is_sum(expr: ir.Expr, of: ir.Expr) -> bool:
    return isinstance(expr, RowReduce) and expr.op == "add" and expr.value is of


def _is_one(expr: ir.Expr) -> bool:
    return isinstance(expr, ir.Const) and expr.value == 1


__all__ = ["attention_of"]
