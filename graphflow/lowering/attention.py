"""Attention found by its structure: a product, a softmax over its last axis, a product.

What stands between the first product and the softmax (a scale, a mask, a bias) may be any expression of elements, and
so may what stands between the softmax and the second product (dropout). The gradients of both products are found with
them: then the weights, which they would read, are made again where they are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphflow.loops import ir
from graphflow.loops.build import RowReduce
from graphflow.loops.library import (
    ACCUMULATOR,
    CHANGE,
    TOTAL,
    WEIGHT,
    Attention,
    AttentionGradient,
    Call,
    Epilogue,
    Gemm,
    Lies,
    Mask,
)
from graphflow.lowering.calls import CallNode
from graphflow.lowering.epilogues import over_of, renamed_in
from graphflow.lowering.kernels import Body, Leaf
from graphflow.lowering.sizes import Size, row_major
from graphflow.lowering.strided import Side, named, side_of
from graphflow.program import Value
from graphflow.records import dataclass

_FEW_QUERIES = 4
"""So few queries are dot products along their keys, which packs nothing."""

_MOST_KEYS = 8192
"""The scores of a block of rows against more keys than these do not fit into a core's cache."""

_MOST_MASKS = 6


class _Masks:
    """What an attention reads beside its matrices, by name, each once."""

    def __init__(self, dtype: str, sizes: dict[str, int]) -> None:
        self.dtype = dtype
        self.sizes = sizes
        self.operands: dict[str, Value] = {}
        self.offsets: dict[str, int] = {}
        self.masks: list[Mask] = []
        self._names: dict[Leaf, str] = {}

    def named(self, body: Body, own: Mapping[Value, ir.Expr]) -> dict[str, ir.Expr] | None:
        """An expression for each leaf of a body, those of some values given; None if there is one that is no mask."""
        names: dict[str, ir.Expr] = {}
        for name, leaf in body.leaves.items():
            if leaf.value is None or leaf.gathered:
                return None
            dtype = ir.dtype_name(leaf.value.dtype.name)
            if leaf.value in own:
                if leaf.offset.value or over_of(leaf, body) != "element":
                    return None
                names[name] = own[leaf.value]
                continue
            *steps, row, column = leaf.strides
            if dtype not in (self.dtype, "i1") or column.value not in (0, 1):
                return None
            if any(stride.value < 0 for stride in leaf.strides):
                return None
            mask = self._names.get(leaf)
            if mask is None:
                mask = self._names[leaf] = f"mask_{len(self.masks)}"
                self.operands[mask] = leaf.value
                self.offsets[mask] = leaf.offset.value * leaf.value.dtype.size
                self.masks.append(
                    Mask(mask, dtype, named(self.sizes, f"stride_{mask}", row), 1 if column.value else 0,
                         tuple(named(self.sizes, f"step_{mask}{axis}", step) for axis, step in enumerate(steps)))
                )  # fmt: skip
            names[name] = ir.Var(mask, dtype)
        return names if len(self.masks) <= _MOST_MASKS else None


def _one(name: str, expr: ir.Expr | None, dtype: str) -> Epilogue | None:
    return None if expr is None or expr.dtype != dtype else Epilogue(((name, expr),))


def attention_of(
    product: CallNode, scores: CallNode, body: Body, scored: Value, weights: Value, halves: bool = False
) -> CallNode | None:
    """Returns the attention that two products with a group between them are, or None.

    Args:
      product: the second product.
      scores: the first product.
      body: what the group computes.
      scored: the first product's result.
      weights: what of the group the second product takes as its first factor.
      halves: whether factors of 16 bits are wanted, and no others.
    """
    first, second = scores.call, product.call
    if not isinstance(first, Gemm) or not isinstance(second, Gemm) or first.dtype != second.dtype:
        return None
    if first.operand_dtype != second.operand_dtype or halves != (first.operand_dtype in ("bf16", "f16")):
        return None
    if first.epilogue or second.epilogue or len(body.space) != len(first.batch) + 2:
        return None
    if not _takes_whole(second, first, False):
        return None
    if not halves and (first.m is not None and first.m <= _FEW_QUERIES or scores.sizes["n"] > _MOST_KEYS):
        return None
    q, k, v = side_of(scores, "a"), side_of(scores, "b"), side_of(product, "b")
    if q is None or k is None or v is None or q.transposed or not k.transposed or v.transposed:
        return None
    shares = _shares_of(body, weights)
    if shares is None:
        return None
    if first.operand_dtype:
        share, score, weight = shares
        if not (isinstance(weight, ir.Op) and weight.name == "cast" and weight.args[0] is share):
            return None
        if weight.dtype != first.operand_dtype:
            return None
        shares = share, score, share
    sizes = _sizes(scores, product.sizes["n"])
    masks = _Masks(first.dtype, sizes)
    rules = _rules(shares, body, scored, masks)
    if rules is None:
        return None
    operands = {"q": scores.operands["a"], "k": scores.operands["b"], "v": product.operands["b"]}
    offsets = {
        name: found.offsets[own]
        for name, found, own in (("q", scores, "a"), ("k", scores, "b"), ("v", product, "b"))
        if own in found.offsets
    }
    result = row_major([*body.space[:-1], Size(product.sizes["n"], second.n is None)])
    c = Side(False, result[-2], result[:-2])
    call = Attention(
        dtype=first.dtype, m=first.m, n=first.n, k=first.k, width=second.n, batch=first.batch,
        stride_q=named(sizes, "stride_q", q.stride), stride_k=named(sizes, "stride_k", k.stride),
        stride_v=named(sizes, "stride_v", v.stride), stride_c=named(sizes, "stride_c", c.stride),
        steps_q=_steps(sizes, "q", q), steps_k=_steps(sizes, "k", k), steps_v=_steps(sizes, "v", v),
        steps_c=_steps(sizes, "c", c), score=rules[0], weight=rules[1], masks=tuple(masks.masks),
        operand_dtype=first.operand_dtype,
    )  # fmt: skip
    if halves and call.scaled is None:
        return None
    return CallNode(call, operands | masks.operands, "c", sizes, offsets | masks.offsets)


@dataclass(frozen=True, slots=True)
class Backward:
    """The products of an attention's gradients: of the weights (before the softmax), the values, queries, keys."""

    changes: CallNode
    values: CallNode
    queries: CallNode
    keys: CallNode


def attention_gradient_of(
    scores: CallNode,
    forward: Body,
    scored: Value,
    weights: Value,
    found: Backward,
    body: Body,
    changed: Value,
) -> CallNode | None:
    """Returns the one call that makes an attention's gradients from what it is made of, or None.

    Args:
      scores: the product of queries and keys.
      forward: the group that makes weights of scores.
      scored: the result of `scores`.
      weights: what the product with the values takes of that group.
      found: the products of the gradients.
      body: the group that makes the gradient of the scores, with one result.
      changed: the gradient of the weights, which it takes.
    """
    first = scores.call
    assert isinstance(first, Gemm)
    if not first.batch:
        return None  # sums over the queries of one matrix are one thread's
    for one, turned in ((found.values, True), (found.queries, False), (found.keys, True)):
        if not _takes_whole(one.call, first, turned):
            return None
    second = found.changes.call
    if not isinstance(second, Gemm) or second.batch != first.batch or second.epilogue or second.operand_dtype:
        return None
    if second.dtype != first.dtype:
        return None
    q, k, v, g = (
        side_of(scores, "a"), side_of(scores, "b"), side_of(found.changes, "b"), side_of(found.changes, "a")
    )  # fmt: skip
    if q is None or k is None or v is None or g is None or q.transposed or g.transposed:
        return None
    if not k.transposed or not v.transposed:
        return None
    for ours, theirs, own, also in (
        (scores, found.keys, "a", q),
        (scores, found.queries, "b", k),
        (found.changes, found.values, "a", g),
    ):
        side = side_of(theirs, "b")
        if side is None or side.transposed or (side.stride, side.steps) != (also.stride, also.steps):
            return None
        if theirs.operands["b"] is not ours.operands[own] or theirs.offsets.get("b", 0) != ours.offsets.get(
            own, 0
        ):
            return None
    shares = _shares_of(forward, weights)
    if shares is None or len(body.results) != 1 or not body.results[0].inner or body.axes != forward.axes:
        return None
    share, score, _ = shares
    made = {result.value: result for result in forward.results}
    sizes = _sizes(scores, found.values.sizes["n"])
    masks = _Masks(first.dtype, sizes)
    rules = _rules(shares, forward, scored, masks)
    names = masks.named(forward, {scored: ir.Var(ACCUMULATOR, first.dtype)})
    if rules is None or names is None:
        return None
    own_values: dict[Value, ir.Expr] = {changed: ir.Var(CHANGE, first.dtype)}
    for value, result in made.items():
        again = renamed_in(result.expr, names, {id(share): ir.Var(WEIGHT, first.dtype)}, first.dtype)
        if again is not None and not any(
            isinstance(e, ir.Var) and e.name == ACCUMULATOR for e in ir.walk_exprs(again)
        ):
            own_values[value] = again
    if any(leaf.value in made and leaf.value not in own_values for leaf in body.leaves.values()):
        return None
    names = masks.named(body, own_values)
    expr = body.results[0].expr
    folds = {id(e): e for e in ir.walk_exprs(expr) if isinstance(e, RowReduce)}
    if names is None or len(folds) != 1:
        return None
    (fold,) = folds.values()
    if fold.op != "add":
        return None
    summed = _one("summed", renamed_in(fold.value, names, {}, first.dtype), first.dtype)
    total = ir.Var(TOTAL, first.dtype)
    slope = _one("slope", renamed_in(expr, names, {id(fold): total}, first.dtype), first.dtype)
    if summed is None or slope is None:
        return None
    operands = {
        "q": scores.operands["a"], "k": scores.operands["b"], "v": found.changes.operands["b"],
        "g": found.changes.operands["a"],
    }  # fmt: skip
    offsets = {
        name: one.offsets[own]
        for name, one, own in (
            ("q", scores, "a"), ("k", scores, "b"), ("v", found.changes, "b"), ("g", found.changes, "a")
        )
        if own in one.offsets
    }  # fmt: skip
    batch, m, n = list(body.space[:-2]), body.space[-2], body.space[-1]
    depth, width = Size(sizes["k"], first.k is None), Size(sizes["width"], second.k is None)
    sides = {"q": q, "k": k, "v": v, "g": g}
    for name, rows, columns in (("dq", m, depth), ("dk", n, depth), ("dv", n, width)):
        lies = row_major([*batch, rows, columns])
        sides[name] = Side(False, lies[-2], lies[:-2])
    call = AttentionGradient(
        dtype=first.dtype, m=first.m, n=first.n, k=first.k, width=second.k, batch=first.batch,
        operands=tuple(
            Lies(name, named(sizes, f"stride_{name}", side.stride), _steps(sizes, name, side))
            for name, side in sides.items()
        ),
        score=rules[0], weight=rules[1], summed=summed, slope=slope, masks=tuple(masks.masks),
    )  # fmt: skip
    return CallNode(call, operands | masks.operands, "dq", sizes, offsets | masks.offsets)


def _takes_whole(call: Call, scores: Gemm, turned: bool) -> bool:
    """Whether a product's first factor is all scores, one matrix after the other, or these turned."""
    return (
        isinstance(call, Gemm) and call.batch == scores.batch and call.dtype == scores.dtype
        and call.stride_a == "dense" and call.transpose_a == turned and not call.epilogue
        and call.operand_dtype == scores.operand_dtype
        and call.batch_a in (None, (True,) * len(call.batch))
    )  # fmt: skip


def _sizes(scores: CallNode, width: int) -> dict[str, int]:
    call = scores.call
    assert isinstance(call, Gemm)
    sizes = {"m": scores.sizes["m"], "n": scores.sizes["n"], "k": scores.sizes["k"], "width": width}
    return sizes | {f"batch{axis}": scores.sizes[f"batch{axis}"] for axis in range(len(call.batch))}


def _rules(
    shares: _Shares, body: Body, scored: Value, masks: _Masks
) -> tuple[Epilogue, Epilogue | None] | None:
    """What makes scores of products, and weights of shares."""
    dtype = masks.dtype
    names = masks.named(body, {scored: ir.Var(ACCUMULATOR, dtype)})
    share, score, weight = shares
    if names is None:
        return None
    scoring = _one("score", renamed_in(score, names, {}, dtype), dtype)
    if scoring is None or share is weight:
        return None if scoring is None else (scoring, None)
    known: dict[int, ir.Expr] = {id(share): ir.Var(WEIGHT, dtype)}
    weighing = _one("weight", renamed_in(weight, names, known, dtype), dtype)
    if weighing is None:
        return None
    said = {e.name for e in ir.walk_exprs(weighing.results[0][1]) if isinstance(e, ir.Var)}
    return None if ACCUMULATOR in said else (scoring, weighing)


def _steps(sizes: dict[str, int], name: str, side: Side) -> tuple[int | None, ...]:
    return tuple(named(sizes, f"step_{name}{axis}", step) for axis, step in enumerate(side.steps))


_Shares = tuple[ir.Expr, ir.Expr, ir.Expr]
"""Of a group: the softmax, what it is one of, and what is made of it."""


def _shares_of(body: Body, weights: Value) -> _Shares | None:
    """How a group makes weights of scores along rows, or None if not by a softmax."""
    if body.axes != (len(body.space) - 1,):
        return None
    for result in body.results:
        if result.value is weights and result.inner:
            for expr in ir.walk_exprs(result.expr):
                score = _softmax_of(expr)
                if score is not None:
                    return expr, score, result.expr
    return None


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


__all__ = ["Backward", "attention_gradient_of", "attention_of"]
