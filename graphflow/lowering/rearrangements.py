"""Reads of ops that rearrange their operands by more than strides: mirrored margins, circles, diagonals.

As for all reads, an index that is worked out lies inside whatever happens; what the body refuses is looked at elsewhere
(`OpDef.bounds`), or known while code is made, and then the body does it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np

from graphflow.loops.ir import Expr
from graphflow.lowering.read_forms import Operands, Read, Strides
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.program import Node, Value

__all__ = ["REARRANGEMENTS"]

_MOST_READS = 9
"""So many elements a sum of mirrored ones reads: margins along two axes."""


def _unit(axis: int, rank: int) -> Strides:
    return tuple(Size(int(i == axis)) for i in range(rank))


def _nowhere(node: Node) -> Strides:
    return (Size(0),) * len(node.outputs[0].sizes or ())


def _at(operands: Operands, value: Value, places: dict[int, Expr], keep: Sequence[int | None]) -> Expr:
    """The element at computed places along some axes of a value; the others are these axes of the result."""
    b = operands.b
    own = operands.strides(value)
    rank = len(keep)
    strides = [Size(0)] * rank
    for axis, stride in enumerate(own):
        if axis not in places:
            strides[keep.index(axis)] = stride
    index: Expr = b.const(0, "i64")
    for axis, place in places.items():
        index = b.add(index, b.mul(place, operands.size(own[axis])))
    return operands.gathered(value, tuple(strides), index)


def _inside(operands: Operands, place: Expr, size: Size) -> Expr:
    b = operands.b
    return b.max(b.min(place, b.sub(operands.size(size), 1)), 0)


def _numbers(value: Value) -> list[int] | None:
    """The integers that a constant holds, in row-major order."""
    constant = value.constant
    return None if constant is None else [operator.index(n) for n in np.ravel(constant).tolist()]


# -- margins ----------------------------------------------------------------------------------------------------


def _margins(node: Node) -> dict[int, tuple[int, int]] | None:
    """Before and after along each axis that has margins, where they fit; None where they do not, or are not known."""
    numbers, sizes = _numbers(node.inputs[1]), value_sizes(node.inputs[0])
    if numbers is None or len(numbers) != 2 * len(sizes) or min(numbers, default=0) < 0:
        return None
    pairs = {axis: (numbers[2 * axis], numbers[2 * axis + 1]) for axis in range(len(sizes))}
    return {axis: pair for axis, pair in pairs.items() if any(pair)}


def _edge(node: Node) -> int:
    return 1 if node.attrs["mode"] == "REFLECT" else 0


def _takes_mirror(node: Node) -> bool:
    margins, sizes = _margins(node), value_sizes(node.inputs[0])
    return margins is not None and all(
        max(pair) <= sizes[axis].value - _edge(node) for axis, pair in margins.items()
    )


def _mirror_pad(node: Node, operands: Operands) -> Expr:
    """`MirrorPad(input, paddings, mode=)`."""
    b, x = operands.b, node.inputs[0]
    sizes, edge, margins = value_sizes(x), _edge(node), _margins(node)
    assert margins is not None
    places: dict[int, Expr] = {}
    for axis, (before, after) in margins.items():
        place = b.sub(operands.position(_unit(axis, len(sizes))), before)
        if before:
            place = b.max(place, b.sub(b.const(edge - 1, "i64"), place))
        if after:
            last = b.mul(operands.size(sizes[axis]), 2)
            place = b.min(place, b.sub(b.sub(last, edge + 1), place))
        places[axis] = _inside(operands, place, sizes[axis])
    return _at(operands, x, places, range(len(sizes)))


def _takes_mirror_sum(node: Node) -> bool:
    margins, sizes = _margins(node), value_sizes(node.outputs[0])
    if margins is None or node.outputs[0].dtype.name not in ("float32", "float64", "int32", "int64"):
        return False
    if 3 ** len(margins) > _MOST_READS:
        return False
    return all(max(pair) <= sizes[axis].value - _edge(node) for axis, pair in margins.items())


def _mirror_pad_gradient(node: Node, operands: Operands) -> Expr:
    """`MirrorPadGrad(input, paddings, mode=)`: axis by axis, as the body adds them."""
    b, x = operands.b, node.inputs[0]
    sizes, edge, margins = value_sizes(node.outputs[0]), _edge(node), _margins(node)
    assert margins is not None
    rank, longer = len(sizes), value_sizes(x)

    def summed(axes: list[int], places: dict[int, Expr]) -> Expr:
        if not axes:
            return _at(operands, x, places, range(rank))
        *rest, axis = axes
        before, after = margins[axis]
        own, size = operands.position(_unit(axis, rank)), operands.size(sizes[axis])

        def read(place: Expr) -> Expr:
            return summed(rest, {**places, axis: _inside(operands, place, longer[axis])})

        total = read(b.add(own, before))
        if before:
            there = b.and_(b.ge(own, edge), b.lt(own, edge + before))
            mirrored = b.sub(b.const(before - 1 + edge, "i64"), own)
            total = b.select(there, b.add(total, read(mirrored)), total)
        if after:
            first = b.sub(size, edge + after)
            there = b.and_(b.ge(own, first), b.lt(own, b.sub(size, edge)))
            mirrored = b.sub(b.add(b.mul(size, 2), before - 1 - edge), own)
            total = b.select(there, b.add(total, read(mirrored)), total)
        return total

    return summed(list(margins), {})


# -- circles ------------------------------------------------------------------------------------------


def _takes_roll(node: Node) -> bool:
    shifts, axes = _numbers(node.inputs[1]), _numbers(node.inputs[2])
    rank = len(node.inputs[0].sizes or ())
    if shifts is None or axes is None or len(shifts) != len(axes):
        return False
    return all(-rank <= axis < rank for axis in axes)


def _roll(node: Node, operands: Operands) -> Expr:
    """`Roll(input, shift, axis)`."""
    b, x = operands.b, node.inputs[0]
    sizes = value_sizes(x)
    total: dict[int, int] = {}
    for shift, axis in zip(_numbers(node.inputs[1]) or (), _numbers(node.inputs[2]) or (), strict=True):
        total[axis % len(sizes)] = total.get(axis % len(sizes), 0) + shift
    places = {}
    for axis, shift in total.items():
        size = operands.size(sizes[axis])
        start = operands.size(Size(-shift % sizes[axis].value, sizes[axis].dynamic))
        place = b.add(operands.position(_unit(axis, len(sizes))), start)
        places[axis] = b.select(b.ge(place, size), b.sub(place, size), place)
    return _at(operands, x, places, range(len(sizes)))


# -- diagonals -----------------------------------------------------------------------------------------------------


class _Band:
    """A band of diagonals of matrices, `low` to `high`, the longest of so many elements."""

    def __init__(
        self, operands: Operands, band: tuple[int, int], rows: Size, columns: Size, longest: Size, align: str
    ) -> None:
        self.operands, self.b = operands, operands.b
        self.low, self.high = band
        self.rows, self.columns, self.longest = (operands.size(size) for size in (rows, columns, longest))
        self.length = longest
        self.above, self.below = align.split("_")

    def shift(self, at: Expr) -> Expr:
        """How far to the right the elements of a diagonal stand."""
        b = self.b
        if self.low == self.high or self.above == self.below == "LEFT":
            return b.const(0, "i64")
        here = b.min(b.add(self.rows, b.min(at, 0)), b.sub(self.columns, b.max(at, 0)))
        room = b.sub(self.longest, here)
        left = [
            b.ge(at, 0) if self.above == "LEFT" else b.const(False, "i1"),
            b.le(at, 0) if self.below == "LEFT" else b.const(False, "i1"),
        ]
        return b.select(b.or_(*left), 0, room)

    def of(self, row: Expr, column: Expr) -> tuple[Expr, Expr, Expr]:
        """Of a place in the matrix: whether it is in the band, which diagonal it is of, and its place there."""
        b = self.b
        at = b.sub(column, row)
        there = b.and_(b.ge(at, self.low), b.le(at, self.high))
        steps = b.add(row, b.min(at, 0))
        place = _inside(self.operands, b.add(steps, self.shift(at)), self.length)
        which = b.max(b.min(b.sub(self.high, at), self.high - self.low), 0)
        return there, which, place

    def taken(self, operands: Operands, diagonal: Value, lead: int, which: Expr, place: Expr) -> Expr:
        """The element of a tensor of diagonals."""
        places = {lead: place} if self.low == self.high else {lead: which, lead + 1: place}
        keep = [*range(lead), None, None]
        return _at(operands, diagonal, places, keep)


def _band_of(k: Value) -> tuple[int, int] | None:
    numbers = _numbers(k)
    if numbers is None or len(numbers) not in (1, 2) or numbers[0] > numbers[-1]:
        return None
    return numbers[0], numbers[-1]


def _matrix_places(operands: Operands, rank: int) -> tuple[Expr, Expr]:
    return operands.position(_unit(rank - 2, rank)), operands.position(_unit(rank - 1, rank))


def _fits(band: tuple[int, int] | None, rows: Size, columns: Size) -> bool:
    """Whether matrices have these diagonals."""
    return band is not None and all(not at or -rows.value < at < columns.value for at in band)


def _align(node: Node) -> str:
    return str(node.attrs.get("align", "LEFT_LEFT"))


_MAIN = (0, 0)


def _band_in(node: Node, k: int | None) -> tuple[int, int] | None:
    return _MAIN if k is None else _band_of(node.inputs[k])


def _longest(band: tuple[int, int], rows: Size, columns: Size) -> int:
    return min(rows.value + min(band[1], 0), columns.value - max(band[0], 0))


def _takes_diagonals(node: Node, diagonal: Value, matrix: Value, k: int | None) -> bool:
    """Whether a tensor of diagonals fits matrices."""
    band, sizes, own = _band_in(node, k), value_sizes(matrix), diagonal.sizes or ()
    if band is None or len(sizes) < 2 or not _fits(band, *sizes[-2:]):
        return False
    several = () if band[0] == band[1] else (band[1] - band[0] + 1,)
    return own == (*(matrix.sizes or ())[:-2], *several, _longest(band, *sizes[-2:]))


def _matrix_of(k: int | None, kept: int | None, padding: int | None) -> Callable[[Node, Operands], Expr]:
    """Matrices made of diagonals: where there is none stands the operand `kept`, or the number `padding`, or 0."""

    def expr(node: Node, operands: Operands) -> Expr:
        b, made = operands.b, node.outputs[0]
        diagonal = node.inputs[0 if kept is None else 1]
        band, sizes = _band_in(node, k), value_sizes(made)
        assert band is not None
        rank = len(sizes)
        one = _Band(operands, band, sizes[-2], sizes[-1], value_sizes(diagonal)[-1], _align(node))
        there, which, place = one.of(*_matrix_places(operands, rank))
        element = one.taken(operands, diagonal, rank - 2, which, place)
        if kept is not None:
            other = operands.element(node.inputs[kept], operands.strides(node.inputs[kept]))
        elif padding is not None:
            other = operands.element(node.inputs[padding], _nowhere(node))
        else:
            other = b.const(0, element.dtype)
        return b.select(there, element, other)

    return expr


def _diagonals_of(node: Node, operands: Operands) -> Expr:
    """`MatrixDiagPartV2(input, k, padding_value)` and `...V3`."""
    b, x, made = operands.b, node.inputs[0], node.outputs[0]
    band, sizes = _band_of(node.inputs[1]), value_sizes(x)
    assert band is not None
    rank, lead = len(made.sizes or ()), len(sizes) - 2
    one = _Band(operands, band, sizes[-2], sizes[-1], value_sizes(made)[-1], _align(node))
    at: Expr = b.const(band[1], "i64")
    if band[0] != band[1]:
        at = b.sub(at, operands.position(_unit(rank - 2, rank)))
    steps = b.sub(operands.position(_unit(rank - 1, rank)), one.shift(at))
    row, column = b.sub(steps, b.min(at, 0)), b.add(steps, b.max(at, 0))
    there = b.and_(b.ge(steps, 0), b.and_(b.lt(row, one.rows), b.lt(column, one.columns)))
    places = {lead: _inside(operands, row, sizes[-2]), lead + 1: _inside(operands, column, sizes[-1])}
    element = _at(operands, x, places, [*range(lead), *[None] * (rank - lead)])
    return b.select(there, element, operands.element(node.inputs[2], _nowhere(node)))


def _takes_scalar(value: Value) -> bool:
    return value.sizes == ()


def _takes_parts(node: Node) -> bool:
    sizes = value_sizes(node.inputs[0])
    return _fits(_band_of(node.inputs[1]), *sizes[-2:]) and _takes_scalar(node.inputs[2])


def _takes_made(node: Node) -> bool:
    return _takes_diagonals(node, node.inputs[0], node.outputs[0], 1) and _takes_scalar(node.inputs[4])


def _diag(node: Node, operands: Operands) -> Expr:
    """`Diag(diagonal)`."""
    b, x = operands.b, node.inputs[0]
    own = operands.strides(x)
    rank = len(own)
    there: Expr = b.const(True, "i1")
    for axis in range(rank):
        first, second = (operands.position(_unit(axis + half, 2 * rank)) for half in (0, rank))
        there = b.and_(there, b.eq(first, second))
    element = operands.element(x, (*own, *(Size(0),) * rank))
    return b.select(there, element, b.const(0, element.dtype))


REARRANGEMENTS: dict[str, Read] = {
    "mirror_pad": Read(_takes_mirror, _mirror_pad),
    "mirror_pad_grad": Read(_takes_mirror_sum, _mirror_pad_gradient),
    "roll": Read(_takes_roll, _roll),
    "diag": Read(lambda node: bool(node.inputs[0].sizes), _diag),
    "matrix_diag": Read(lambda node: True, _matrix_of(None, None, None)),
    "matrix_diag_of": Read(_takes_made, _matrix_of(1, None, 4)),
    "matrix_set_diag": Read(
        lambda node: _takes_diagonals(node, node.inputs[1], node.outputs[0], None), _matrix_of(None, 0, None)
    ),
    "matrix_set_diag_of": Read(
        lambda node: _takes_diagonals(node, node.inputs[1], node.outputs[0], 2), _matrix_of(2, 0, None)
    ),
    "matrix_diag_part_of": Read(_takes_parts, _diagonals_of),
}
