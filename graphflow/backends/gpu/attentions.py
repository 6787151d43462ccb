"""Attention as a library takes it: all sizes plain numbers, scores that are scaled and perhaps masked products."""

from __future__ import annotations

from collections.abc import Mapping

from graphflow.loops.library import Attention
from graphflow.records import dataclass

__all__ = ["AttentionPlan", "attention_plan", "size_names", "usual"]

Strides = tuple[int, int, int]

_MOST_DEPTH = 128  # numbers of a query, key or value
_MULTIPLE = 8  # numbers of 16 bits that are loaded at once


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """`c = softmax(scale * q @ k^T + added) @ v` for certain sizes, of numbers of 16 bits; sums have 32 bits.

    Attributes:
      dtype: what operands and result hold, "bf16" or "f16".
      batch, heads: how many there are.
      queries, keys: the rows of `q` and `c`, and of `k` and `v`.
      depth, width: the columns of `q` and `k`, and of `v` and `c`.
      strides_q, strides_k, strides_v, strides_c: elements along batch, heads and rows.
      scale: what products are multiplied by.
      added: the batch and heads (each that number or 1) of what is added to scores, which lies without gaps.
    """

    dtype: str
    batch: int
    heads: int
    queries: int
    keys: int
    depth: int
    width: int
    strides_q: Strides
    strides_k: Strides
    strides_v: Strides
    strides_c: Strides
    scale: float
    added: tuple[int, int] | None = None


def usual(plan: AttentionPlan) -> bool:
    """Whether sizes and strides are such as libraries take on every device that they know."""
    strides = (*plan.strides_q, *plan.strides_k, *plan.strides_v, *plan.strides_c)
    return (
        min(plan.batch, plan.heads, plan.queries, plan.keys) > 0
        and 0 < plan.depth <= _MOST_DEPTH
        and 0 < plan.width <= _MOST_DEPTH
        and not plan.depth % _MULTIPLE
        and not plan.width % _MULTIPLE
        and not any(stride % _MULTIPLE for stride in strides)
        and all(strides)
        and plan.scale > 0
    )


def size_names(call: Attention) -> list[str]:
    """The run-time sizes of an attention, in order."""
    named = [name for name in ("m", "n", "k", "width") if getattr(call, name) is None]
    named += [f"batch{axis}" for axis, extent in enumerate(call.batch) if extent is None]
    for which in "qkvc":
        if getattr(call, f"stride_{which}") is None:
            named.append(f"stride_{which}")
        steps = getattr(call, f"steps_{which}")
        named += [f"step_{which}{axis}" for axis, step in enumerate(steps) if step is None]
    return named


def attention_plan(call: Attention, sizes: Mapping[str, int], dense: bool) -> AttentionPlan:
    """The plan of an attention over two axes of a batch at most, for certain run-time sizes.

    `dense`: the result lies without gaps, wherever the call wants it.
    """

    def number(extent: int | None, name: str) -> int:
        return int(sizes[name]) if extent is None else int(extent)

    queries, keys = number(call.m, "m"), number(call.n, "n")
    depth, width = number(call.k, "k"), number(call.width, "width")
    extents = [number(extent, f"batch{axis}") for axis, extent in enumerate(call.batch)]
    # Heads are the last axis: what is before it, or nothing, is the batch.
    missing = 2 - len(extents)
    batch, heads = [1] * missing + extents

    def strides(which: str, rows: int) -> Strides:
        row = number(getattr(call, f"stride_{which}"), f"stride_{which}")
        steps = [
            number(step, f"step_{which}{axis}") for axis, step in enumerate(getattr(call, f"steps_{which}"))
        ]
        outer, inner = [rows * row] * missing + steps
        # Along an axis of one, any step is right: the library is given one that looks like it.
        inner = inner if heads > 1 else rows * row
        return outer if batch > 1 else max(heads * inner, rows * row), inner, row

    scaled = call.scaled
    assert scaled is not None
    added = None
    if scaled[1] is not None:
        steps = added_steps(call, scaled[1])
        wide = [1] * missing + [
            1 if step == 0 else extent for step, extent in zip(steps, extents, strict=True)
        ]
        added = wide[0], wide[1]
    made = (heads * queries * width, queries * width, width) if dense else strides("c", queries)
    return AttentionPlan(
        call.operand_dtype or call.dtype, batch, heads, queries, keys, depth, width, strides("q", queries),
        strides("k", keys), strides("v", keys), made, scaled[0], added,
    )  # fmt: skip


def added_steps(call: Attention, mask: str) -> tuple[int | None, ...]:
    """How a mask of an attention lies along the axes of the batch: zero where it is one for all."""
    (found,) = (one for one in call.masks if one.name == mask)
    return found.steps
