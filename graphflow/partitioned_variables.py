"""Variables in parts: what `get_variable` returns where a partitioner cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import DType, as_dtype
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import emit, register_tensor_conversion_function
from graphflow.shapes import TensorShape
from graphflow.variables import Variable

Partitioner = Callable[..., Sequence[int]]


class PartitionedVariable:
    """A variable cut along one axis: a sequence of its parts, and a tensor where one is wanted.

    Attributes:
      name: its name; the parts are called "<name>/part_0", …
      dtype: the dtype.
      shape: the shape of the whole.
    """

    def __init__(
        self, name: str, shape: Any, dtype: Any, variable_list: Sequence[Variable], partitions: Sequence[int]
    ) -> None:
        if not isinstance(variable_list, list | tuple) or not variable_list:
            raise TypeError(f"variable_list is not a list or tuple of variables: {variable_list}")
        if not isinstance(partitions, list | tuple) or not all(p >= 1 for p in partitions):
            raise ValueError(f"partition values must be positive: {partitions}")
        self._name = name
        self._shape = TensorShape(shape)
        self._dtype = as_dtype(dtype)
        self._parts = sorted(variable_list, key=lambda part: part._save_slice_info.var_offset)
        self._partitions = list(partitions)
        for part in self._parts:
            if part.dtype is not self._dtype:
                raise ValueError(f"{part.name} is of dtype {part.dtype.name}, {name} of {self._dtype.name}")

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return (
            f"<gf.PartitionedVariable {self._name!r} shape={self._shape} dtype={self._dtype.name} "
            f"parts={len(self._parts)}>"
        )

    @property
    def name(self) -> str:
        """The name of the whole."""
        return self._name

    @property
    def dtype(self) -> DType:
        """The dtype."""
        return self._dtype

    @property
    def shape(self) -> TensorShape:
        """The shape of the whole."""
        return self._shape

    def get_shape(self) -> TensorShape:
        """The shape of the whole."""
        return self._shape

    def _get_variable_list(self) -> list[Variable]:
        return self._parts

    def _get_partitions(self) -> list[int]:
        return self._partitions

    def _axis(self) -> int:
        return cut_axis(self._partitions)[0]

    def as_tensor(self) -> Tensor:
        """The whole as one tensor: the parts side by side."""
        with name_scope(self._name + "/ConcatPartitions/"):
            values = [part._read() for part in self._parts]
            joined = values[0] if len(values) == 1 else emit.ConcatV2(values, np.int32(self._axis()))
        # Outside of its own scope, so that the operation has the variable's name.
        with name_scope(None):
            result: Tensor = emit.Identity(joined, name=self._name)
            return result

    def _spread(
        self, what: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> list[Any]:
        axis = self._axis()
        pieces: Sequence[Any]
        if len(self._parts) == 1:
            pieces = [value]
        else:
            sizes = np.array([part.shape.as_list()[axis] for part in self._parts], np.int32)
            pieces = emit.SplitV(value, sizes, axis, num_split=len(sizes))
        done = []
        for i, (part, piece) in enumerate(zip(self._parts, pieces, strict=True)):
            own = None if name is None else f"{name}_{i}"
            done.append(getattr(part, what)(piece, use_locking, own, read_value))
        return done

    def assign(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Writes the parts of a tensor; returns what `assign` of each part returns."""
        return self._spread("assign", value, use_locking, name, read_value)

    def assign_add(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Adds the parts of a tensor."""
        return self._spread("assign_add", value, use_locking, name, read_value)

    def assign_sub(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Subtracts the parts of a tensor."""
        return self._spread("assign_sub", value, use_locking, name, read_value)


def _to_tensor(
    variable: PartitionedVariable, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Tensor:
    del name, as_ref
    if dtype is not None and as_dtype(dtype) is not variable.dtype:
        raise ValueError(
            f"Tensor conversion requested dtype {as_dtype(dtype).name} for the variable {variable.name!r} of dtype "
            f"{variable.dtype.name}"
        )
    return variable.as_tensor()


register_tensor_conversion_function(PartitionedVariable, _to_tensor)


def cut_axis(partitions: Sequence[int]) -> tuple[int, int]:
    """Returns the axis that is cut, and into how many parts.

    Raises:
      ValueError: if it is more than one.
    """
    cut = [axis for axis, count in enumerate(partitions) if count > 1]
    if len(cut) > 1:
        raise ValueError(f"a variable can be cut along one axis only, not {list(partitions)}")
    return (cut[0], int(partitions[cut[0]])) if cut else (0, 1)


def pieces_of(shape: Sequence[int], partitions: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yields offset and shape of each part; the first ones are larger by one where it does not divide."""
    axis, count = cut_axis(partitions)
    size, more = divmod(shape[axis], count)
    offset = 0
    for i in range(count):
        own = size + (i < more)
        at, part = [0] * len(shape), list(shape)
        at[axis], part[axis] = offset, own
        offset += own
        yield at, part


def checked_partitions(partitioner: Partitioner, shape: TensorShape, dtype: DType) -> list[int]:
    """Returns how many parts a partitioner wants along each axis.

    Raises:
      ValueError: if that is no sequence of positive numbers, one per axis, or more than one axis is cut.
    """
    found = partitioner(shape=shape, dtype=dtype)
    if not isinstance(found, list | tuple):
        raise ValueError(f"Partitioner must return a sequence, but saw: {found}")
    if len(found) != shape.rank:
        raise ValueError(
            f"Partitioner returned a partition list that does not match the Variable's rank: {found} vs. {shape}"
        )
    if any(p < 1 for p in found):
        raise ValueError(f"Partitioner returned zero partitions for some axes: {found}")
    cut_axis(found)
    return [int(p) for p in found]


__all__ = ["PartitionedVariable", "Partitioner", "checked_partitions", "cut_axis", "pieces_of"]
