"""Shape rules and small helpers that several op files share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from graphflow.dtypes import DType, int32
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Operation, Tensor
from graphflow.opdef import OpDef, constant, emit
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape, broadcast_shapes

Array = np.ndarray[Any, Any]

# Sets of element types, as they stand in signatures.
FLOATS = "bfloat16|float16|float32|float64"
COMPLEX = "complex64|complex128"
SIGNED = "int8|int16|int32|int64"
UNSIGNED = "uint8|uint16|uint32|uint64"
INTEGERS = f"{SIGNED}|{UNSIGNED}"
REALS = f"{FLOATS}|{INTEGERS}"
NUMBERS = f"{REALS}|{COMPLEX}"
QUANTIZED = "qint8|quint8|qint32|qint16|quint16"

# What a rule for affine index maps takes and gives: sizes or strides; and an offset with strides.
Sizes = tuple[int, ...]
IndexMap = tuple[int, Sizes]

# What a function that declares a family of ops returns: a decorator of NumPy bodies.
Declaration = Callable[[Callable[..., Any]], OpDef]

_Body = TypeVar("_Body", bound=Callable[..., Any])


# ---------------------------------------------------------------------------- shape rules


def same_as_first(node: Any) -> TensorShape:
    """The output has the first input's shape."""
    shape: TensorShape = node.inputs[0].shape
    return shape


def same_as_second(node: Any) -> TensorShape:
    """The output has the second input's shape."""
    shape: TensorShape = node.inputs[1].shape
    return shape


def scalar(node: Any) -> TensorShape:
    """The output is a scalar."""
    return SCALAR


def unknown(node: Any) -> TensorShape:
    """Nothing is known of the output's shape before the run."""
    return UNKNOWN


def no_output(node: Any) -> list[TensorShape]:
    """There is no output."""
    return []


def broadcast(node: Any) -> TensorShape:
    """The output has the shape that broadcasting all inputs gives."""
    return broadcast_shapes(*(value.shape for value in node.inputs))


def merged(node: Any) -> TensorShape:
    """All inputs have one shape; the output has it too."""
    result = UNKNOWN
    for position, value in enumerate(node.inputs):
        try:
            result = result.merge_with(value.shape)
        except ValueError:
            raise ShapeError(
                f"all inputs must have one shape; input {position} has {value.shape}, those before {result}"
            ) from None
    return result


def each_its_own(node: Any) -> list[TensorShape]:
    """Output i has the shape of input i."""
    return [value.shape for value in node.inputs]


def attr_shape(node: Any) -> TensorShape:
    """The output has the shape that the attribute `shape` says."""
    return TensorShape(node.attrs["shape"])


def shape_input(position: int) -> Callable[[Any], TensorShape]:
    """The output has the shape that the int vector at `position` holds."""

    def rule(node: Any) -> TensorShape:
        rank_at_most(node, position, 1)
        shape: TensorShape = node.constant_shape(position)
        return shape

    return rule


def reduction(node: Any) -> TensorShape:
    """The first input's shape without (or with size one in) the axes that the second input names."""
    shape = node.inputs[0].shape
    keep = bool(node.attrs["keep_dims"])
    axes = node.constant(1)
    rank_at_most(node, 1, 1, "the axes")
    sizes = shape.as_tuple()
    if sizes is None:
        return UNKNOWN
    if axes is None:
        if keep:
            return TensorShape([None] * len(sizes))
        count = node.inputs[1].shape.num_elements()
        # Distinct axes leave a known rank behind, but repeated ones may be fed.
        return SCALAR if count is not None and count == len(sizes) == 1 else UNKNOWN
    dropped = set(canonical_axes(axes, len(sizes)))
    if keep:
        return TensorShape([1 if axis in dropped else size for axis, size in enumerate(sizes)])
    return TensorShape([size for axis, size in enumerate(sizes) if axis not in dropped])


# ---------------------------------------------------------------------------- checks for shape rules


def rank_exactly(node: Any, position: int, rank: int, what: str = "") -> TensorShape:
    """Returns the shape of an input, refused unless it can have this rank."""
    shape: TensorShape = node.inputs[position].shape
    if shape.rank is not None and shape.rank != rank:
        raise ShapeError(f"{what or f'input {position}'} must have rank {rank}, has shape {shape}")
    return shape.with_rank(rank)


def rank_at_least(node: Any, position: int, rank: int, what: str = "") -> TensorShape:
    """Returns the shape of an input, refused if its rank is smaller."""
    shape: TensorShape = node.inputs[position].shape
    if shape.rank is not None and shape.rank < rank:
        raise ShapeError(f"{what or f'input {position}'} must have rank {rank} or more, has shape {shape}")
    return shape


def rank_at_most(node: Any, position: int, rank: int, what: str = "") -> TensorShape:
    """Returns the shape of an input, refused if its rank is larger."""
    shape: TensorShape = node.inputs[position].shape
    if shape.rank is not None and shape.rank > rank:
        raise ShapeError(f"{what or f'input {position}'} must have rank {rank} or less, has shape {shape}")
    return shape


def canonical_axis(axis: int, rank: int) -> int:
    """Returns an axis in [0, rank); raises ShapeError outside [-rank, rank)."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is outside [{-rank}, {rank})")
    return axis + rank if axis < 0 else axis


def canonical_axes(axes: Any, rank: int) -> tuple[int, ...]:
    """Returns the distinct axes in [0, rank) that an array or number names, in order of first mention."""
    return tuple(dict.fromkeys(canonical_axis(int(axis), rank) for axis in np.ravel(axes)))


# ---------------------------------------------------------------------------- helpers for bodies


def widened(body: _Body) -> _Body:
    """Lets a body compute 16-bit floats in float32, and rounds what it returns once."""

    @functools.wraps(body)
    def widen(*args: Any, **attrs: Any) -> Any:
        narrow = next((a.dtype for a in args if isinstance(a, np.ndarray | np.generic) and is_half(a)), None)
        if narrow is None:
            return body(*args, **attrs)
        result = body(*(a.astype(np.float32) if is_half(a) else a for a in args), **attrs)
        if isinstance(result, tuple):
            return tuple(r.astype(narrow) if r.dtype == np.float32 else r for r in result)
        return result.astype(narrow) if result.dtype == np.float32 else result

    return widen  # type: ignore[return-value]


# The types of a product of 16-bit factors that is summed up and handed out in float32.
MIXED = "T:type{bfloat16}=bfloat16; U:type{float32}=float32"


def mixed(body: Callable[..., Any]) -> Callable[..., Any]:
    """The body of the product of 16-bit factors that `widened` would round: it stays in float32."""
    plain = inspect.unwrap(body)

    @functools.wraps(plain)
    def widen(*args: Any, **attrs: Any) -> Any:
        return plain(*(a.astype(np.float32) if is_half(a) else a for a in args), **attrs)

    return widen


def refuse(message: str) -> InvalidArgumentError:
    """The error of a body that gets operands it cannot work on."""
    return InvalidArgumentError(None, None, message)


def within_int32(name: str, values: Sequence[int]) -> None:
    """Refuses an attribute of numbers, such as strides, that are too large to count elements by."""
    if any(not -(2**31) <= value < 2**31 for value in values):
        raise ShapeError(f"{name} must fit int32, got {list(values)}")


def checked_axis(axis: Any, rank: int) -> int:
    """An axis in [0, rank), for bodies."""
    at = int(axis)
    if not -rank <= at < rank:
        raise refuse(f"axis {at} is outside [{-rank}, {rank})")
    return at % rank


def adjoint_of(x: Array) -> Array:
    """Matrices transposed, and conjugated if they are complex."""
    swapped = np.swapaxes(x, -1, -2)
    return np.conj(swapped) if x.dtype.kind == "c" else swapped


def zero_of(array: Array) -> Any:
    """What stands for nothing in an array: an empty string among strings, else 0."""
    return b"" if array.dtype == object else array.dtype.type(0)


def is_half(array: Any) -> bool:
    """Whether an array holds 16-bit floats."""
    dtype = getattr(array, "dtype", None)
    return dtype == np.float16 or dtype == ml_dtypes.bfloat16


# ---------------------------------------------------------------------------- helpers for gradients


def conjugate(value: Any) -> Any:
    """The complex conjugate of a complex tensor; a real one itself."""
    return emit.Conj(value) if value.dtype.is_complex else value


def shape_tensor(value: Tensor, dtype: DType = int32) -> Tensor:
    """The shape as an integer vector: a constant where it is fully known."""
    if value.shape.is_fully_defined():
        return constant(np.array(value.shape.as_list(), dtype.as_numpy_dtype), name="Shape")
    return emit.Shape(value, out_type=dtype)


def materialized(op: Operation, cotangents: Sequence[Tensor | None]) -> list[Tensor]:
    """The cotangents of an op's outputs, zeros for outputs that nothing depends on."""
    return [
        emit.ZerosLike(output) if dy is None else dy
        for output, dy in zip(op.outputs, cotangents, strict=True)
    ]


def no_gradient(op: Operation, *cotangents: Tensor | None) -> list[None]:
    """The rule of an op whose outputs change in steps: nothing flows back."""
    return [None] * len(op.inputs)


def undefined_gradient(op: Operation, *cotangents: Tensor | None) -> list[None]:
    """The rule of an op that TensorFlow defines no gradient for: asking for one is an error.

    Raises:
      LookupError: always.
    """
    raise LookupError(f"No gradient defined for operation {op.name!r} (op type: {op.type})")
