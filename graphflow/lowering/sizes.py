"""Extents, strides and offsets, each with the mark whether it may differ for other feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphflow.loops import ir
from graphflow.program import Value


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
    return tuple(Size(size, static is None or static[axis] is None) for axis, size in enumerate(sizes))


def row_major(sizes: Sequence[Size]) -> tuple[Size, ...]:
    """Returns row-major strides."""
    strides: list[Size] = []
    stride = Size(1)
    for size in reversed(sizes):
        strides.append(stride)
        stride = stride.times(size)
    return tuple(reversed(strides))
