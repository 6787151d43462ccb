"""Ops on the diagonals of matrices: putting on, taking off, replacing, and bands round them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import constant, convert_to_tensor, emit, op
from graphflow.ops.rules import (
    COMPLEX,
    FLOATS,
    Array,
    IndexMap,
    Sizes,
    rank_at_least,
    rank_at_most,
    rank_exactly,
    refuse,
    same_as_first,
    zero_of,
)
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.symbolic import is_symbolic


def _diag_shape(node: Any) -> TensorShape:
    shape: TensorShape = rank_at_least(node, 0, 1, "diagonal")
    return shape.concatenate(shape)


@op(
    "Diag",
    "diagonal:T",
    "output:T",
    f"T:type{{{FLOATS}|int32|int64|{COMPLEX}}}",
    infer=_diag_shape,
    lowering="diag",
)
def diag_op(diagonal: Array) -> Any:
    """A tensor of twice the rank with the input on its diagonal and zeros elsewhere."""
    result = np.zeros((diagonal.size, diagonal.size), diagonal.dtype)
    np.fill_diagonal(result, diagonal.ravel())
    return result.reshape(diagonal.shape * 2)


@diag_op.gradient
def _diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.DiagPart(dy)]


def _diag_part_shape(node: Any) -> TensorShape:
    sizes = node.inputs[0].shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    if not sizes or len(sizes) % 2:
        raise ShapeError(f"the rank must be even and positive, the shape is {node.inputs[0].shape}")
    half = len(sizes) // 2
    return TensorShape(sizes[:half]).merge_with(sizes[half:])


@op("DiagPart", "input:T", "diagonal:T", f"T:type{{{FLOATS}|int32|int64|{COMPLEX}}}", infer=_diag_part_shape)
def diag_part_op(input: Array) -> Any:
    """The diagonal of a tensor whose shape is some shape twice."""
    half = input.shape[: input.ndim // 2]
    if input.shape != half * 2:
        raise refuse(f"the shape must be some shape twice, is {list(input.shape)}")
    size = math.prod(half)
    return np.diagonal(input.reshape(size, size)).reshape(half)


@diag_part_op.lower_index
def _diag_part_index(sizes: Sizes, strides: Sizes) -> IndexMap:
    half = len(strides) // 2
    return 0, tuple([strides[i] + strides[half + i] for i in range(half)])


@diag_part_op.gradient
def _diag_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.Diag(dy)]


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Returns a tensor of twice the rank with `diagonal` on its diagonal."""
    return emit.Diag(diagonal, name=name)


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """Returns the diagonal of a tensor whose shape is some shape twice."""
    return emit.DiagPart(input, name=name)


def _matrix_diag_shape(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 1, "diagonal")
    sizes = shape.as_tuple()
    return UNKNOWN if sizes is None else TensorShape((*sizes, sizes[-1]))


@op("MatrixDiag", "diagonal:T", "output:T", "T:type", infer=_matrix_diag_shape, lowering="matrix_diag")
def matrix_diag_op(diagonal: Array) -> Any:
    """Per batch entry, a square matrix with the vector on its diagonal."""
    size = diagonal.shape[-1]
    result = np.zeros((*diagonal.shape, size), diagonal.dtype)
    result[..., np.arange(size), np.arange(size)] = diagonal
    return result


@matrix_diag_op.gradient
def _matrix_diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixDiagPart(dy)]


def _matrix_diag_part_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 2, "input").as_tuple()
    if sizes is None:
        return UNKNOWN
    rows, columns = sizes[-2:]
    return TensorShape((*sizes[:-2], None if rows is None or columns is None else min(rows, columns)))


@op("MatrixDiagPart", "input:T", "diagonal:T", "T:type", infer=_matrix_diag_part_shape)
def matrix_diag_part_op(input: Array) -> Any:
    """Per batch entry, the diagonal of the matrix."""
    return np.diagonal(input, axis1=-2, axis2=-1)


@matrix_diag_part_op.gradient
def _matrix_diag_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixSetDiag(emit.ZerosLike(op.inputs[0]), dy)]


@matrix_diag_part_op.lower_index
def _matrix_diag_part_index(sizes: Sizes, strides: Sizes) -> IndexMap:
    return 0, (*strides[:-2], strides[-2] + strides[-1])


def _matrix_set_diag_shape(node: Any) -> TensorShape:
    sizes = rank_at_least(node, 0, 2, "input").as_tuple()
    diagonal: TensorShape = node.inputs[1].shape
    if sizes is not None and diagonal.rank is not None and diagonal.rank != len(sizes) - 1:
        raise ShapeError(f"diagonal must have rank {len(sizes) - 1}, has shape {diagonal}")
    if sizes is not None and None not in sizes[-2:]:
        (*lead, rows, columns) = sizes
        if not diagonal.is_compatible_with([*lead, min(rows or 0, columns or 0)]):
            raise ShapeError(f"diagonal of shape {diagonal} does not fit input {node.inputs[0].shape}")
    return same_as_first(node)


@op("MatrixSetDiag", "input:T; diagonal:T", "output:T", "T:type", infer=_matrix_set_diag_shape,
    lowering="matrix_set_diag")  # fmt: skip
def matrix_set_diag_op(input: Array, diagonal: Array) -> Any:
    """Per batch entry, the matrix with another diagonal."""
    result = input.copy()
    size = min(input.shape[-2:])
    if diagonal.shape != (*input.shape[:-2], size):
        raise refuse(f"diagonal {list(diagonal.shape)} does not fit input {list(input.shape)}")
    result[..., np.arange(size), np.arange(size)] = diagonal
    return result


@matrix_set_diag_op.gradient
def _matrix_set_diag_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixSetDiag(dy, emit.ZerosLike(op.inputs[1])), emit.MatrixDiagPart(dy)]


# ---------------------------------------------------------------------------- bands of diagonals

_ALIGN = "align:string{LEFT_RIGHT|RIGHT_LEFT|LEFT_LEFT|RIGHT_RIGHT}=RIGHT_LEFT"


def _band(k: Array) -> tuple[int, int]:
    """The lowest and the highest diagonal that `k`, one number or two, names."""
    if k.size not in (1, 2) or k.ndim > 1:
        raise ShapeError(f"k must be a scalar or have 1 or 2 elements, has shape {list(k.shape)}")
    low, high = int(k.ravel()[0]), int(k.ravel()[-1])
    if low > high:
        raise ShapeError(f"lower_diag_index must not be larger than upper_diag_index: {low} > {high}")
    return low, high


def _band_checked(k: Array, rows: int, columns: int) -> tuple[int, int]:
    """The same, for bodies: diagonals that matrices of this size have."""
    try:
        low, high = _band(k)
    except ShapeError as error:
        raise refuse(str(error)) from None
    for at in (low, high):
        if at and not -rows < at < columns:
            raise refuse(f"diagonal {at} is outside a matrix of {rows} rows and {columns} columns")
    return low, high


def _length(low: int, high: int, rows: int, columns: int) -> int:
    """Elements of the longest diagonal of a band."""
    return min(rows + min(high, 0), columns - max(low, 0))


def _places(low: int, high: int, rows: int, columns: int, align: str) -> tuple[Array, Array, Array, Array]:
    """Of each element of a band: row and column in the matrix, and which diagonal it is of, and its place there."""
    longest = _length(low, high, rows, columns)
    above, below = align.split("_")
    parts: list[tuple[Array, Array, Array, Array]] = []
    for at in range(high, low - 1, -1):
        steps = np.arange(max(0, min(rows + min(at, 0), columns - max(at, 0))))
        left = (at >= 0 and above == "LEFT") or (at <= 0 and below == "LEFT")
        shift = 0 if left else longest - len(steps)
        parts.append((steps - min(at, 0), steps + max(at, 0), np.full(len(steps), high - at), steps + shift))
    row, column, which, where = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, column, which, where


def _band_sizes(low: int, high: int, length: int) -> tuple[int, ...]:
    """The last sizes of a tensor of diagonals."""
    return (length,) if low == high else (high - low + 1, length)


def _padding(value: Array) -> Any:
    if value.ndim:
        raise refuse(f"padding_value must be a scalar, has shape {list(value.shape)}")
    return value[()]


def _diag_from(
    diagonal: Array,
    k: Array,
    num_rows: Array,
    num_cols: Array,
    padding_value: Array,
    *,
    align: str = "LEFT_LEFT",
) -> Array:
    """Matrices with a band of diagonals, and padding elsewhere."""
    try:
        low, high = _band(k)
    except ShapeError as error:
        raise refuse(str(error)) from None
    if low != high and (diagonal.ndim < 2 or diagonal.shape[-2] != high - low + 1):
        raise refuse(f"diagonal {list(diagonal.shape)} does not hold {high - low + 1} diagonals")
    length = diagonal.shape[-1]
    rows, columns = _matrix_sizes(low, high, length, int(num_rows), int(num_cols))
    if rows is None or columns is None or _length(low, high, rows, columns) != length:
        raise refuse(
            f"diagonals of {length} elements do not fit a matrix of {int(num_rows)} rows and {int(num_cols)} columns"
        )
    lead = diagonal.shape[: -1 if low == high else -2]
    result = np.full((*lead, rows, columns), _padding(padding_value), diagonal.dtype)
    row, column, which, where = _places(low, high, rows, columns, align)
    result[..., row, column] = diagonal[..., where] if low == high else diagonal[..., which, where]
    return result


def _matrix_sizes(
    low: int, high: int, length: int | None, rows: int | None, columns: int | None
) -> tuple[int | None, int | None]:
    """The sizes of matrices that are to hold diagonals; -1 is as many as they need, None not known."""
    if rows != -1 and columns != -1:
        return rows, columns
    if length is None or rows is None or columns is None:
        return (None if rows == -1 else rows), (None if columns == -1 else columns)
    least_rows, least_columns = length - min(high, 0), length + max(low, 0)
    if rows == -1 and columns == -1:
        side = max(least_rows, least_columns)
        return side, side
    return (least_rows, columns) if rows == -1 else (rows, least_columns)


def _diag_from_shape(node: Any) -> TensorShape:
    shape, k = rank_at_least(node, 0, 1, "diagonal"), node.constant(1)
    rank_at_most(node, 1, 1, "k")
    for position, name in ((2, "num_rows"), (3, "num_cols"), (4, "padding_value")):
        rank_exactly(node, position, 0, name)
    sizes = shape.as_tuple()
    if sizes is None or k is None:
        return UNKNOWN
    low, high = _band(k)
    if low != high and (len(sizes) < 2 or sizes[-2] not in (None, high - low + 1)):
        raise ShapeError(f"diagonal {shape} does not hold {high - low + 1} diagonals")
    rows, columns = (None if value is None else int(value) for value in (node.constant(2), node.constant(3)))
    found = _matrix_sizes(low, high, sizes[-1], rows, columns)
    return TensorShape((*sizes[: -1 if low == high else -2], *found))


def _diag_part_of(input: Array, k: Array, padding_value: Array, *, align: str = "LEFT_LEFT") -> Array:
    """A band of diagonals of matrices, filled up to the length of the longest."""
    rows, columns = input.shape[-2:]
    low, high = _band_checked(k, rows, columns)
    length = _length(low, high, rows, columns)
    result = np.full((*input.shape[:-2], high - low + 1, length), _padding(padding_value), input.dtype)
    row, column, which, where = _places(low, high, rows, columns, align)
    result[..., which, where] = input[..., row, column]
    return result.reshape(*input.shape[:-2], *_band_sizes(low, high, length))


def _diag_part_of_shape(node: Any) -> TensorShape:
    shape, k = rank_at_least(node, 0, 2, "input"), node.constant(1)
    rank_at_most(node, 1, 1, "k")
    rank_exactly(node, 2, 0, "padding_value")
    sizes = shape.as_tuple()
    if sizes is None or k is None:
        return UNKNOWN
    low, high = _band(k)
    rows, columns = sizes[-2:]
    if rows is None or columns is None:
        return TensorShape((*sizes[:-2], *([] if low == high else [high - low + 1]), None))
    for at in (low, high):
        if at and not -rows < at < columns:
            raise ShapeError(f"diagonal {at} is outside matrices of shape {shape}")
    return TensorShape((*sizes[:-2], *_band_sizes(low, high, _length(low, high, rows, columns))))


def _set_diag_of(input: Array, diagonal: Array, k: Array, *, align: str = "LEFT_LEFT") -> Array:
    """Matrices with another band of diagonals."""
    rows, columns = input.shape[-2:]
    low, high = _band_checked(k, rows, columns)
    wanted = (*input.shape[:-2], *_band_sizes(low, high, _length(low, high, rows, columns)))
    if diagonal.shape != wanted:
        raise refuse(f"diagonal must have shape {list(wanted)}, has {list(diagonal.shape)}")
    result = input.copy()
    row, column, which, where = _places(low, high, rows, columns, align)
    result[..., row, column] = diagonal[..., where] if low == high else diagonal[..., which, where]
    return result


def _set_diag_of_shape(node: Any) -> TensorShape:
    shape, diagonal, k = (
        rank_at_least(node, 0, 2, "input"),
        rank_at_least(node, 1, 1, "diagonal"),
        node.constant(2),
    )
    rank_at_most(node, 2, 1, "k")
    sizes = shape.as_tuple()
    if sizes is None or k is None:
        return shape
    low, high = _band(k)
    rows, columns = sizes[-2:]
    lead = sizes[:-2]
    band: tuple[int | None, ...] = (None,) if low == high else (high - low + 1, None)
    if rows is not None and columns is not None:
        band = _band_sizes(low, high, _length(low, high, rows, columns))
    if not diagonal.is_compatible_with([*lead, *band]):
        raise ShapeError(f"diagonal of shape {diagonal} does not fit input {shape}")
    return shape


def _declare_bands(version: str) -> None:
    aligned = version == "V3"
    attrs = f"T:type; {_ALIGN}" if aligned else "T:type"
    made = op(
        f"MatrixDiag{version}", "diagonal:T; k:int32; num_rows:int32; num_cols:int32; padding_value:T", "output:T",
        attrs, infer=_diag_from_shape, lowering="matrix_diag_of",
    )(_diag_from)  # fmt: skip
    taken = op(
        f"MatrixDiagPart{version}", "input:T; k:int32; padding_value:T", "diagonal:T", attrs,
        infer=_diag_part_of_shape, lowering="matrix_diag_part_of",
    )(_diag_part_of)  # fmt: skip
    put = op(
        f"MatrixSetDiag{version}", "input:T; diagonal:T; k:int32", "output:T", attrs, infer=_set_diag_of_shape,
        lowering="matrix_set_diag_of",
    )(_set_diag_of)  # fmt: skip

    def own(op: Any) -> dict[str, Any]:
        return {"align": op.attrs["align"]} if aligned else {}

    def part(dy: Any, op: Any, k: Any) -> Any:
        return getattr(emit, f"MatrixDiagPart{version}")(dy, k, constant(0, dy.dtype), **own(op))

    def replaced(matrix: Any, diagonal: Any, op: Any, k: Any) -> Any:
        return getattr(emit, f"MatrixSetDiag{version}")(matrix, diagonal, k, **own(op))

    @made.gradient
    def made_gradient(op: Any, dy: Any) -> list[Any]:
        return [part(dy, op, op.inputs[1]), None, None, None, None]

    @taken.gradient
    def taken_gradient(op: Any, dy: Any) -> list[Any]:
        return [replaced(emit.ZerosLike(op.inputs[0]), dy, op, op.inputs[1]), None, None]

    @put.gradient
    def put_gradient(op: Any, dy: Any) -> list[Any]:
        _, diagonal, k = op.inputs
        return [replaced(dy, emit.ZerosLike(diagonal), op, k), part(dy, op, k), None]


_declare_bands("V2")
_declare_bands("V3")


def _is_main(k: Any) -> bool:
    return isinstance(k, int) and k == 0


def matrix_diag(
    diagonal: Any, name: str | None = "diag", k: Any = 0, num_rows: Any = -1, num_cols: Any = -1,
    padding_value: Any = 0, align: str = "RIGHT_LEFT",
) -> Tensor:  # fmt: skip
    """Returns matrices with given diagonals.

    Args:
      diagonal: [..., n]; for several diagonals [..., diagonals, n], the highest first.
      name: a name.
      k: which diagonal, or the lowest and the highest of a band; 0 is the main one.
      num_rows, num_cols: sizes of the matrices; -1: as many as needed.
      padding_value: what stands elsewhere.
      align: where in their rows of `diagonal` shorter ones stand, those above and those below: "RIGHT_LEFT",
        "LEFT_RIGHT", "LEFT_LEFT" or "RIGHT_RIGHT".
    """
    plain = all(isinstance(size, int) and size == -1 for size in (num_rows, num_cols))
    if _is_main(k) and plain and isinstance(padding_value, int) and padding_value == 0:
        return emit.MatrixDiag(diagonal, name=name)
    diagonal = convert_to_tensor(diagonal, name="diagonal")
    padding = convert_to_tensor(padding_value, diagonal.dtype)
    return emit.MatrixDiagV3(diagonal, k, num_rows, num_cols, padding, align=align, name=name)


def matrix_diag_part(
    input: Any, name: str | None = "diag_part", k: Any = 0, padding_value: Any = 0, align: str = "RIGHT_LEFT"
) -> Tensor:
    """Returns diagonals of matrices [..., m, n]; for `k` and `align` see `matrix_diag`."""
    if _is_main(k):
        return emit.MatrixDiagPart(input, name=name)
    matrix = convert_to_tensor(input, name="input")
    padding = convert_to_tensor(padding_value, matrix.dtype)
    return emit.MatrixDiagPartV3(matrix, k, padding, align=align, name=name)


def matrix_set_diag(
    input: Any, diagonal: Any, name: str | None = "set_diag", k: Any = 0, align: str = "RIGHT_LEFT"
) -> Tensor:
    """Returns matrices [..., m, n] with other diagonals; for `k` and `align` see `matrix_diag`."""
    if _is_main(k):
        return emit.MatrixSetDiag(input, diagonal, name=name)
    return emit.MatrixSetDiagV3(input, diagonal, k, align=align, name=name)


def _band_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 0, "num_lower")
    rank_exactly(node, 2, 0, "num_upper")
    return rank_at_least(node, 0, 2, "input")


@op(
    "MatrixBandPart", "input:T; num_lower:Tindex; num_upper:Tindex", "band:T",
    "T:type; Tindex:type{int32|int64}=int64", infer=_band_shape,
)  # fmt: skip
def matrix_band_part_op(input: Array, num_lower: Array, num_upper: Array) -> Any:
    """Per batch entry, the matrix with zeros outside a band round its diagonal; -1 keeps a whole triangle."""
    for name, width, size in (
        ("num_lower", num_lower, input.shape[-2]),
        ("num_upper", num_upper, input.shape[-1]),
    ):
        if width > size:
            raise refuse(f"{name} must be negative or at most {size}, got {int(width)}")
    distance = np.arange(input.shape[-1]) - np.arange(input.shape[-2])[:, None]
    inside = ((num_lower < 0) | (-distance <= num_lower)) & ((num_upper < 0) | (distance <= num_upper))
    return np.where(inside, input, zero_of(input))


_MOST_MASK = 1 << 20  # elements of a band that is kept as a mask


@matrix_band_part_op.expand
def _matrix_band_part_expand(b: Any, node: Any, inputs: Any) -> list[Any] | None:
    x, *widths = inputs
    sizes = x.sizes
    if sizes is None or 0 in sizes or any(map(is_symbolic, sizes[-2:])) or sizes[-2] * sizes[-1] > _MOST_MASK:
        return None
    if any(width.constant is None or width.derived for width in widths):
        return None
    if any(width.constant > size for width, size in zip(widths, sizes[-2:], strict=True)):
        return None
    ones = np.ones(sizes[-2:], np.bool_)
    inside = matrix_band_part_op.body(ones, *(width.constant for width in widths))
    zero = b.constant(np.zeros((), x.dtype.numpy))
    return [b.emit("SelectV2", b.constant(inside, True), x, zero)]


@matrix_band_part_op.gradient
def _matrix_band_part_gradient(op: Any, dy: Any) -> list[Any]:
    return [emit.MatrixBandPart(dy, op.inputs[1], op.inputs[2]), None, None]


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    """Returns matrices with zeros outside a band: `num_lower` below and `num_upper` above the diagonal, -1 for all."""
    if not isinstance(num_lower, Tensor) and not isinstance(num_upper, Tensor):
        num_lower = convert_to_tensor(num_lower, dtypes.int64)
    return emit.MatrixBandPart(input, num_lower, num_upper, name=name)


__all__ = [
    "diag", "diag_part", "matrix_band_part", "matrix_diag", "matrix_diag_part", "matrix_set_diag",
]  # fmt: skip
