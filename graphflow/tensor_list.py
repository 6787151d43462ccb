"""Lists of arrays as values: what tensors of dtype variant hold, and what TensorArrays and the gradients of loops use.

A list never changes; an operation on it gives another one. All versions of a list share one Python list, which belongs
to the newest; an older version knows how it differs from the next one. So writing an element or appending one costs
the same however long the list is, as long as it is the newest version that is written, and older ones stay right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]

_SET, _PUSH, _POP = range(3)


class TensorList:
    """An immutable list of arrays of one dtype; an element may be None: zeros that nobody has written yet.

    Attributes:
      dtype: the dtype of the elements.
      shape: what all elements' shapes have in common.
      most: the most elements it may have; -1 for any number.
    """

    __slots__ = ("_change", "_items", "_next", "dtype", "most", "shape")

    def __init__(
        self, dtype: DType, shape: TensorShape, items: Sequence[Array | None] = (), most: int = -1
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.most = most
        self._items: list[Array | None] | None = list(items)
        self._next: TensorList | None = None
        self._change: tuple[int, int, Array | None] = (_POP, 0, None)

    @property
    def items(self) -> list[Array | None]:
        """The elements; the list is shared: do not change it."""
        if self._items is None:
            self._take()
        assert self._items is not None
        return self._items

    def _take(self) -> None:
        """Makes this version the one that owns the elements."""
        chain: list[TensorList] = []
        version = self
        while version._items is None:
            chain.append(version)
            assert version._next is not None
            version = version._next
        items = version._items
        for older in reversed(chain):
            kind, index, value = older._change
            if kind == _SET:
                version._change = (_SET, index, items[index])
                items[index] = value
            elif kind == _PUSH:
                version._change = (_POP, 0, None)
                items.append(value)
            else:
                version._change = (_PUSH, 0, items.pop())
            version._items, version._next = None, older
            older._items, older._next = items, None
            version = older

    def _following(self) -> tuple[TensorList, list[Array | None]]:
        """A next version that owns the elements; how this one differs from it is yet to be noted."""
        items = self.items
        made = TensorList.__new__(TensorList)
        made.dtype, made.shape, made.most = self.dtype, self.shape, self.most
        made._items, made._next, made._change = items, None, (_POP, 0, None)
        self._items, self._next = None, made
        return made, items

    def with_item(self, index: int, item: Array) -> TensorList:
        """Returns the list with another element at `index`, which is in range."""
        made, items = self._following()
        self._change = (_SET, index, items[index])
        items[index] = item
        return made

    def with_last(self, item: Array | None) -> TensorList:
        """Returns the list with one more element."""
        made, items = self._following()
        self._change = (_POP, 0, None)
        items.append(item)
        return made

    def without_last(self) -> TensorList:
        """Returns the list without its last element, which there is."""
        made, items = self._following()
        self._change = (_PUSH, 0, items.pop())
        return made

    def of_shape(self, shape: TensorShape) -> TensorList:
        """Returns the list with more known of its elements' shapes."""
        if shape == self.shape:
            return self
        return TensorList(self.dtype, shape, self.items, self.most)

    def zeros(self) -> TensorList:
        """Returns a list of zeros as long as this one."""
        made = [None if item is None else zeros_like(item) for item in self.items]
        return TensorList(self.dtype, self.shape, made, self.most)

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorList):
            return NotImplemented
        if self.dtype is not other.dtype or len(self) != len(other):
            return False
        return all(_same(a, b) for a, b in zip(self.items, other.items, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TensorList({self.dtype.name}{self.shape}, {len(self)} elements)"


def _same(a: Array | None, b: Array | None) -> bool:
    """Whether two elements are equal, but for how a compiler rounds."""
    if a is None or b is None:
        present = b if a is None else a
        return present is None or present.dtype == object or not np.any(present)
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "fcV":
        return bool(np.array_equal(a, b))
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    rough = 3e-2 if a.dtype.itemsize == 2 else 1e-4 if a.dtype.name in ("float32", "complex64") else 1e-9
    return bool(np.allclose(a.astype(wide), b.astype(wide), rtol=rough, atol=rough, equal_nan=True))


def boxed(value: Any) -> Array:
    """Returns a list, or another value of dtype variant, as the array that holds it."""
    array = np.empty((), object)
    array[()] = value
    return array


def is_list(array: Array) -> bool:
    """Whether an array holds a list."""
    return array.dtype == object and array.ndim == 0 and isinstance(array[()], TensorList)


def zeros_like(array: Array) -> Array:
    """Zeros of an array's shape; for a list, a list of zeros."""
    if is_list(array):
        return boxed(array.item().zeros())
    return np.full(array.shape, b"", object) if array.dtype == object else np.zeros(array.shape, array.dtype)


def added(first: TensorList, second: TensorList) -> TensorList:
    """The sums of the elements of two lists of one length.

    Raises:
      ValueError: if their lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"lists of {len(first)} and {len(second)} elements cannot be added")
    result = first
    for index, (a, b) in enumerate(zip(list(first.items), list(second.items), strict=True)):
        if b is None:
            continue
        if a is None:
            total = b
        elif is_list(a):
            total = boxed(added(a.item(), b.item()))
        else:
            total = np.asarray(np.add(a, b, dtype=a.dtype))
        result = result.with_item(index, total)
    return result
