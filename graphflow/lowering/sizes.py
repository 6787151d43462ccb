"""Extents, strides and offsets, each with the mark whether it may differ for other feeds."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from graphflow.loops import ir
from graphflow.program import Value
from graphflow.records import dataclass
from graphflow.symbolic import Symbolic


@dataclass(frozen=True, slots=True)
class Size:
    """An extent, stride or offset: its value now, and whether it may differ for other feeds."""

    value: int
    dynamic: bool = False

    def times(self, other: Size) -> Size:
        """Returns the product."""
        return Size(self.value * other.value, self.dynamic or other.dynamic)

    def plus(self, other: Size) -> Size:
        """Returns the sum."""
        return Size(self.value + other.value, self.dynamic or other.dynamic)


@dataclass(frozen=True, slots=True, eq=False)
class SizeOf(ir.Expr):
    """Mark in a body: a size as an i64. The kernel makes it a constant or a parameter."""

    size: Size
    dtype: str = "i64"


def value_sizes(value: Value) -> tuple[Size, ...]:
    """Returns the sizes of a value, marked where they depend on the feeds."""
    static = value.static_shape.as_tuple()
    sizes = value.sizes
    assert sizes is not None
    return tuple(
        [
            # What holds for all feeds is a plain number, even where it came about as a symbolic one.
            Size(size, True) if static is None or static[axis] is None else Size(operator.index(size))
            for axis, size in enumerate(sizes)
        ]
    )


def affine(
    found: tuple[int, Sequence[int]], sizes: Sequence[Size], strides: Sequence[Size], fixed: bool
) -> tuple[Size, tuple[Size, ...]]:
    """Returns an offset and strides that a rule has worked out from sizes and strides, with their marks.

    Which of the numbers depend on open sizes can't be seen from outside the rule: all that might are marked.

    Args:
      found: the offset and the strides.
      sizes: the sizes that the rule was given.
      strides: the strides that the rule was given.
      fixed: whether all else that it was given holds for any feeds.
    """
    offset, moves = found
    inside = not fixed or any(size.dynamic for size in (*sizes[1:], *strides))
    everywhere = inside or any(size.dynamic for size in sizes)
    return Size(_plain(offset), everywhere), tuple(Size(_plain(s), inside and abs(s) > 1) for s in moves)


def _plain(number: Any) -> int:
    """A NumPy number as Python's; a symbolic one as it is."""
    return number if type(number) is Symbolic else int(number)  # type: ignore[return-value]


def reshaped(
    sizes: Sequence[Size], strides: Sequence[Size], wanted: Sequence[Size]
) -> tuple[Size, ...] | None:
    """Returns the strides of the same elements under other sizes, or None where no strides reach them in order."""
    # Runs of axes that are walked as one, innermost first: how many elements each has, and the stride inside.
    runs: list[tuple[int, Size]] = []
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size.value == 1:
            continue
        if runs and stride.value == runs[-1][0] * runs[-1][1].value:
            runs[-1] = (runs[-1][0] * size.value, runs[-1][1])
        else:
            runs.append((size.value, stride))
    result: list[Size] = []
    left, step = 1, Size(0)
    for size in reversed(wanted):
        if size.value == 1:
            result.append(Size(0))
            continue
        if left == 1:
            if not runs:
                return None
            left, step = runs.pop(0)
        if left % size.value:
            return None
        result.append(step)
        left //= size.value
        step = step.times(size)
    return tuple(reversed(result)) if left == 1 and not runs else None


def row_major(sizes: Sequence[Size]) -> tuple[Size, ...]:
    """Returns row-major strides."""
    strides: list[Size] = []
    stride = Size(1)
    for size in reversed(sizes):
        strides.append(stride)
        stride = stride.times(size)
    return tuple(reversed(strides))
