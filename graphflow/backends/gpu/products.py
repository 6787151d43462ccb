"""Matrix products as a library takes them: all sizes plain numbers, one batch axis at most, a known epilogue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from graphflow.loops.ir import Const, Expr, Op, Var
from graphflow.loops.library import ACCUMULATOR, Epilogue, Gemm, element_bytes
from graphflow.records import dataclass

__all__ = ["GemmPlan", "Tail", "aligned_as", "gemm_plan", "reach", "tail_of", "taken_by_library"]

Tail = Literal["", "bias", "relu", "relu_bias"]


@dataclass(frozen=True, slots=True)
class GemmPlan:
    """`c[b, m, n] = tail(a[b, m, k] @ b[b, k, n])` for certain sizes.

    Attributes:
      dtype: what is summed in and stored, "f32" or "f64".
      factors: what `a` and `b` hold: `dtype`, "bf16" or "f16".
      m, n, k: the extents.
      transpose_a, transpose_b: whether the operand is stored with its axes swapped.
      lda, ldb, ldc: elements from one stored row to the next.
      batch: how many products.
      step_a, step_b, step_c: elements from one matrix to the next; 0 for an operand that all share.
      outer: further products of the same kind: elements to skip in a, b and c for each.
      tail: what becomes of each sum; "bias" adds one number for each column.
      alignments: bytes to which `a`, `b`, `c` and the bias lie aligned at least.
    """

    dtype: str
    factors: str
    m: int
    n: int
    k: int
    transpose_a: bool
    transpose_b: bool
    lda: int
    ldb: int
    ldc: int
    batch: int
    step_a: int
    step_b: int
    step_c: int
    outer: tuple[tuple[int, int, int], ...]
    tail: Tail
    alignments: tuple[int, ...] = (256, 256, 256, 256)

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return 2 * self.m * self.n * self.k * self.batch * len(self.outer)


def aligned_as(plan: GemmPlan, operands: Sequence[int]) -> GemmPlan:
    """The plan with what is known of where `a`, `b`, `c` and perhaps the bias lie: each one's alignment in bytes."""
    sizes = element_bytes(plan.factors), element_bytes(plan.factors), element_bytes(plan.dtype)
    found = list(operands)
    for which, size in enumerate(sizes):
        found[which] = math.gcd(found[which], *(skip[which] * size for skip in plan.outer))
    return replace(plan, alignments=tuple(found))


def reach(plan: GemmPlan, which: str) -> int:
    """Elements from the first to behind the last one of `a`, `b` or `c`, in all its matrices."""
    rows, columns, between, step = {
        "a": (
            plan.k if plan.transpose_a else plan.m,
            plan.m if plan.transpose_a else plan.k,
            plan.lda,
            plan.step_a,
        ),
        "b": (
            plan.n if plan.transpose_b else plan.k,
            plan.k if plan.transpose_b else plan.n,
            plan.ldb,
            plan.step_b,
        ),
        "c": (plan.m, plan.n, plan.ldc, plan.step_c),
    }[which]
    far = max(skip["abc".index(which)] for skip in plan.outer)
    return max(1, far + (plan.batch - 1) * step + (rows - 1) * between + columns)


def tail_of(epilogue: Epilogue | None) -> Tail | None:
    """What a library can do at the end of a product for an epilogue; None where it cannot.

    One result; at most one operand, a number for each column, that is added to the sum; the greater of that and zero.
    """
    if epilogue is None:
        return ""
    if len(epilogue.results) != 1 or len(epilogue.operands) > 1:
        return None
    expr, tail = epilogue.results[0][1], ""
    names = [operand.name for operand in epilogue.operands if operand.over == "column"]
    if len(names) != len(epilogue.operands):
        return None
    inner = _above_zero(expr)
    if inner is not None:
        expr, tail = inner, "relu"
    if names:
        if not _is_sum(expr, names[0]) or epilogue.operands[0].dtype != expr.dtype:
            return None
        return "relu_bias" if tail else "bias"
    if not (isinstance(expr, Var) and expr.name == ACCUMULATOR):
        return None
    return "relu" if tail else ""


def _above_zero(expr: Expr) -> Expr | None:
    if not isinstance(expr, Op) or expr.name != "max":
        return None
    for one, other in (expr.args, expr.args[::-1]):
        if isinstance(other, Const) and other.value == 0:
            return one
    return None


def _is_sum(expr: Expr, name: str) -> bool:
    if not isinstance(expr, Op) or expr.name != "add":
        return False
    return {arg.name for arg in expr.args if isinstance(arg, Var)} == {ACCUMULATOR, name}


def taken_by_library(call: Gemm) -> bool:
    """Whether a library takes products of this kind, their epilogue aside."""
    return (
        call.dtype in ("f32", "f64")
        and call.operand_dtype in (None, "bf16", "f16")
        and call.prologue is None
        and call.panels_b is None
        and call.panels_c is None
    )


def gemm_plan(call: Gemm, sizes: Mapping[str, int], tail: Tail) -> GemmPlan:
    """The plan of a product for certain run-time sizes."""

    def number(extent: int | None, name: str) -> int:
        return int(sizes[name]) if extent is None else int(extent)

    m, n, k = number(call.m, "m"), number(call.n, "n"), number(call.k, "k")
    rows_a, rows_b = (m if call.transpose_a else k), (k if call.transpose_b else n)
    lda = rows_a if call.stride_a == "dense" else number(call.stride_a, "stride_a")
    ldb = rows_b if call.stride_b == "dense" else number(call.stride_b, "stride_b")
    ldc = n if call.stride_c == "dense" else number(call.stride_c, "stride_c")
    batch = [number(extent, f"batch{axis}") for axis, extent in enumerate(call.batch)]

    def steps(
        given: tuple[int | None, ...] | None, which: str, has: tuple[bool, ...] | None, matrix: int
    ) -> list[int]:
        if given is not None:
            return [number(step, f"step_{which}{axis}") for axis, step in enumerate(given)]
        own = [True] * len(batch) if has is None else list(has)
        found, span = [0] * len(batch), matrix
        for axis in reversed(range(len(batch))):
            if own[axis]:
                found[axis] = span
                span *= batch[axis]
        return found

    matrix_a = lda * (k if call.transpose_a else m)
    matrix_b = ldb * (n if call.transpose_b else k)
    a = steps(call.steps_a, "a", call.batch_a, matrix_a)
    b = steps(call.steps_b, "b", call.batch_b, matrix_b)
    c = steps(call.steps_c, "c", None, ldc * m)
    # Axes that follow each other alike in all three are one.
    axes = [(n_, *step) for n_, *step in zip(batch, a, b, c, strict=True) if n_ != 1]
    joined: list[tuple[int, int, int, int]] = []
    for count, *step in axes:
        if joined:
            before = joined[-1]
            if all(old == new * count for old, new in zip(before[1:], step, strict=True)):
                joined[-1] = (before[0] * count, *step)  # type: ignore[assignment]
                continue
        joined.append((count, *step))  # type: ignore[arg-type]
    # The longest is the library's; it is asked once for each place along the others.
    inner = max(joined, key=lambda axis: axis[0]) if joined else (1, 0, 0, 0)
    others = list(joined)
    if joined:
        others.remove(inner)
    outer = [(0, 0, 0)]
    for count, *step in others:
        outer = [
            (x + at * step[0], y + at * step[1], z + at * step[2]) for x, y, z in outer for at in range(count)
        ]
    factors = call.operand_dtype or call.dtype
    return GemmPlan(
        call.dtype, factors, m, n, k, call.transpose_a, call.transpose_b, lda, ldb, ldc, inner[0], inner[1],
        inner[2], inner[3], tuple(outer), tail,
    )  # fmt: skip
