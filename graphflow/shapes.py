"""Shapes with unknown dimensions and unknown rank: `TensorShape` and `Dimension` as in TF1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.symbolic import Symbolic, is_symbolic


class Dimension:
    """One dimension: `value` is an int, or None where it is unknown."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        if isinstance(value, Dimension):
            value = value._value
        if value is not None:
            value = value if type(value) is Symbolic else int(value)
            if value < 0:
                raise ValueError(f"Dimension {value} must be >= 0")
        self._value: int | None = value

    @property
    def value(self) -> int | None:
        """The size, or None."""
        return self._value

    def is_compatible_with(self, other: Any) -> bool:
        """Whether the two could be equal."""
        other = Dimension(other)
        return self._value is None or other._value is None or self._value == other._value

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError unless the two could be equal."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Dimensions {self} and {other} are not compatible")

    def merge_with(self, other: Any) -> Dimension:
        """Returns what both say together."""
        self.assert_is_compatible_with(other)
        return Dimension(other) if self._value is None else self

    def __int__(self) -> int:
        if self._value is None:
            raise TypeError("an unknown Dimension has no integer value")
        return self._value

    def __index__(self) -> int:
        return int(self)

    def __eq__(self, other: object) -> Any:
        value = other._value if isinstance(other, Dimension) else other
        if value is not None and not isinstance(value, int | Symbolic):
            return NotImplemented
        if self._value is None or value is None:
            return None
        return self._value == value

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented or equal is None else not equal

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def _compute(self, other: Any, function: Any) -> Dimension:
        other = Dimension(other)
        if self._value is None or other._value is None:
            return Dimension(None)
        return Dimension(function(self._value, other._value))

    def __add__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: a // b)

    def __rfloordiv__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: b // a)

    __div__ = __floordiv__

    def __mod__(self, other: Any) -> Dimension:
        return self._compute(other, lambda a, b: a % b)

    def _order(self, other: Any, function: Any) -> bool | None:
        other = Dimension(other)
        if self._value is None or other._value is None:
            return None
        return bool(function(self._value, other._value))

    def __lt__(self, other: Any) -> bool | None:
        return self._order(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> bool | None:
        return self._order(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> bool | None:
        return self._order(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> bool | None:
        return self._order(other, lambda a, b: a >= b)

    def __str__(self) -> str:
        return "?" if self._value is None else str(self._value)

    def __repr__(self) -> str:
        return f"Dimension({self._value})"


def _as_size(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, Dimension):
        return value.value
    size: int = value if is_symbolic(value) else int(value)
    if size == -1:
        return None
    if size < 0:
        raise ValueError(f"Dimension {size} must be >= 0")
    if size >= 2**63:
        raise ValueError(f"Dimension {size} must be < 2**63")
    return size


class TensorShape:
    """The shape of a tensor: dimensions may be unknown, and so may the rank.

    Args:
      dims: None for unknown rank; else an iterable of ints, None or -1 (unknown) and `Dimension`s; a
        single int is a vector's shape; another TensorShape or a proto-like object with `dim` is copied.
    """

    __slots__ = ("_dims",)

    _dims: tuple[int | None, ...] | None

    def __init__(self, dims: Any) -> None:
        if dims is None:
            self._dims = None
        elif isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif isinstance(dims, Dimension):
            self._dims = (dims.value,)
        elif hasattr(dims, "unknown_rank"):  # a TensorShapeProto
            self._dims = None if dims.unknown_rank else tuple(_as_size(d.size) for d in dims.dim)
        elif hasattr(dims, "__iter__"):
            self._dims = tuple([_as_size(d) for d in dims])
        else:
            self._dims = (_as_size(dims),)

    def as_tuple(self) -> tuple[int | None, ...] | None:
        """Returns the sizes (None where unknown), or None for unknown rank."""
        return self._dims

    @property
    def dims(self) -> list[Dimension] | None:
        """The `Dimension`s, or None for unknown rank."""
        return None if self._dims is None else [Dimension(d) for d in self._dims]

    @property
    def ndims(self) -> int | None:
        """The rank, or None."""
        return None if self._dims is None else len(self._dims)

    @property
    def rank(self) -> int | None:
        """The rank, or None."""
        return None if self._dims is None else len(self._dims)

    def __len__(self) -> int:
        return len(self._known())

    def __bool__(self) -> bool:
        return self._dims is not None

    def __iter__(self) -> Iterator[Dimension]:
        return iter([Dimension(d) for d in self._known()])

    def __getitem__(self, key: Any) -> Any:
        if self._dims is None:
            if isinstance(key, slice):
                start, stop = key.start or 0, key.stop
                if key.step not in (None, 1) or stop is None or start < 0 or stop < 0:
                    return TensorShape(None)
                return TensorShape([None] * max(0, stop - start))
            return Dimension(None)
        if isinstance(key, slice):
            return TensorShape(self._dims[key])
        return Dimension(self._dims[key])

    def _known(self) -> tuple[int | None, ...]:
        if self._dims is None:
            raise ValueError("the rank of this TensorShape is unknown")
        return self._dims

    def is_fully_defined(self) -> bool:
        """Whether rank and all sizes are known."""
        return self._dims is not None and None not in self._dims

    def assert_is_fully_defined(self) -> None:
        """Raises ValueError unless rank and all sizes are known."""
        if not self.is_fully_defined():
            raise ValueError(f"Shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        """The number of elements, or None where it is unknown."""
        if self._dims is None:
            return None
        count = 1
        for size in self._dims:
            if size is None:
                return None
            count *= size
        return count

    def as_list(self) -> list[int | None]:
        """Returns the sizes as a list, None where unknown.

        Raises:
          ValueError: for unknown rank.
        """
        if self._dims is None:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return list(self._dims)

    def with_rank(self, rank: int) -> TensorShape:
        """Returns the shape, known to have this rank; raises ValueError if it can't have it."""
        return self.merge_with(TensorShape([None] * rank))

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """Returns the shape itself; raises ValueError if its rank is known to be smaller."""
        if self._dims is not None and len(self._dims) < rank:
            raise ShapeError(f"Shape {self} must have rank at least {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """Returns the shape itself; raises ValueError if its rank is known to be larger."""
        if self._dims is not None and len(self._dims) > rank:
            raise ShapeError(f"Shape {self} must have rank at most {rank}")
        return self

    def assert_has_rank(self, rank: int) -> None:
        """Raises ValueError if the rank is known to differ."""
        if self._dims is not None and len(self._dims) != rank:
            raise ShapeError(f"Shape {self} must have rank {rank}")

    def is_compatible_with(self, other: Any) -> bool:
        """Whether one tensor could have both shapes."""
        theirs = as_shape(other)._dims
        if self._dims is None or theirs is None:
            return True
        return len(self._dims) == len(theirs) and all(
            a is None or b is None or a == b for a, b in zip(self._dims, theirs, strict=True)
        )

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError unless one tensor could have both shapes."""
        if not self.is_compatible_with(other):
            raise ShapeError(f"Shapes {self} and {as_shape(other)} are incompatible")

    def assert_same_rank(self, other: Any) -> None:
        """Raises ValueError if both ranks are known and differ."""
        theirs = as_shape(other)
        if self._dims is not None and theirs._dims is not None and len(self._dims) != len(theirs._dims):
            raise ShapeError(f"Shapes {self} and {theirs} must have the same rank")

    def merge_with(self, other: Any) -> TensorShape:
        """Returns what both shapes say together; raises ValueError if they disagree."""
        theirs = as_shape(other)
        if self._dims is None:
            return theirs
        if theirs._dims is None or theirs._dims == self._dims:
            return self
        if not self.is_compatible_with(theirs):
            raise ShapeError(f"Shapes {self} and {theirs} are not compatible")
        return TensorShape([b if a is None else a for a, b in zip(self._dims, theirs._dims, strict=True)])

    def concatenate(self, other: Any) -> TensorShape:
        """Returns the dimensions of this shape followed by the other's."""
        other = as_shape(other)
        if self._dims is None or other._dims is None:
            return TensorShape(None)
        return TensorShape(self._dims + other._dims)

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def most_specific_compatible_shape(self, other: Any) -> TensorShape:
        """Returns the tightest shape that both fit."""
        other = as_shape(other)
        if self._dims is None or other._dims is None or len(self._dims) != len(other._dims):
            return TensorShape(None)
        return TensorShape([a if a == b else None for a, b in zip(self._dims, other._dims, strict=True)])

    def __eq__(self, other: object) -> bool:
        try:
            return self._dims == as_shape(other)._dims
        except (TypeError, ValueError):
            return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._dims)

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        if len(self._dims) == 1:
            return f"({'?' if self._dims[0] is None else self._dims[0]},)"
        return "(" + ", ".join("?" if d is None else str(d) for d in self._dims) + ")"

    def __repr__(self) -> str:
        if self._dims is None:
            return "TensorShape(None)"
        return f"TensorShape([{', '.join(str(d) for d in self._dims)}])"


UNKNOWN = TensorShape(None)
SCALAR = TensorShape(())


def as_shape(value: Any) -> TensorShape:
    """Returns `value` as a TensorShape."""
    return value if isinstance(value, TensorShape) else TensorShape(value)


def size_array(sizes: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Returns sizes as an array of a dtype; as one of objects where some are symbolic."""
    symbolic = any(
        type(size) is Symbolic for size in (sizes if isinstance(sizes, list | tuple) else (sizes,))
    )
    return np.array(sizes, object if symbolic else dtype)


def broadcast_shapes(*shapes: TensorShape) -> TensorShape:
    """Returns the shape that NumPy's broadcasting gives, as far as it is known.

    Raises:
      ShapeError: if two known sizes differ and neither is 1.
    """
    if any(shape.rank is None for shape in shapes):
        return UNKNOWN
    dims = [shape.as_tuple() or () for shape in shapes]
    rank = max(len(d) for d in dims)
    result: list[int | None] = []
    for axis in range(rank):
        sizes = [d[axis - rank + len(d)] for d in dims if axis - rank + len(d) >= 0]
        # A symbolic size beside others like it, or ones, is what comes out, be it one or not.
        known = [s for s in sizes if s is not None and (is_symbolic(s) or s != 1)]
        if any(s != known[0] for s in known[1:]):
            raise ShapeError(f"shapes {' and '.join(map(str, shapes))} cannot be broadcast together")
        if known:
            result.append(next((s for s in known if not is_symbolic(s)), known[0]))
        else:
            # An unknown size next to ones stays unknown; only ones give one.
            result.append(None if None in sizes else 1)
    return TensorShape(result)


def broadcast_sizes(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Returns the sizes that broadcasting known sizes gives."""
    merged = broadcast_shapes(*(TensorShape(shape) for shape in shapes)).as_tuple() or ()
    return tuple(size for size in merged if size is not None)
