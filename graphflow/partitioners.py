"""Rules for cutting variables into shards, as `get_variable` takes them: how many shards each axis should have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphflow.dtypes import as_dtype, string
from graphflow.shapes import as_shape

Partitioner = Callable[..., list[int]]


def _sizes(shape: Any, axis: int) -> list[int]:
    sizes = as_shape(shape).as_list()
    if not -len(sizes) <= axis < len(sizes):
        raise ValueError(f"Cannot partition axis {axis} of shape {tuple(sizes)}, which has {len(sizes)} axes")
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise ValueError(f"Cannot partition shape {tuple(sizes)}: a size is open")
    return known


def _bytes_of_element(dtype: Any, bytes_per_string_element: int) -> int:
    kind = as_dtype(dtype).base_dtype
    return bytes_per_string_element if kind is string else int(kind.size)


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """Returns a partitioner of `num_shards` shards along one axis, or as many as the axis is long."""

    def partitioner(shape: Any, **_: Any) -> list[int]:
        sizes = _sizes(shape, axis)
        shards = [1] * len(sizes)
        shards[axis] = min(num_shards, sizes[axis])
        return shards

    return partitioner


def variable_axis_size_partitioner(
    max_shard_bytes: int, axis: int = 0, bytes_per_string_element: int = 16, max_shards: int | None = None
) -> Partitioner:
    """Returns a partitioner along one axis into shards of at most `max_shard_bytes`, if `max_shards` allows.

    Raises:
      ValueError: if a limit is not positive.
    """
    for name, value in (
        ("max_shard_bytes", max_shard_bytes), ("bytes_per_string_element", bytes_per_string_element),
        ("max_shards", max_shards),
    ):  # fmt: skip
        if value is not None and value < 1:
            raise ValueError(f"variable_axis_size_partitioner: {name} must be positive, not {value}")

    def partitioner(shape: Any, dtype: Any, **_: Any) -> list[int]:
        sizes = _sizes(shape, axis)
        row = math.prod(sizes) // max(sizes[axis], 1) * _bytes_of_element(dtype, bytes_per_string_element)
        rows = max(1, max_shard_bytes // max(row, 1))
        wanted = min(max(1, math.ceil(sizes[axis] / rows)), max(sizes[axis], 1))
        shards = [1] * len(sizes)
        shards[axis] = wanted if max_shards is None else min(wanted, max_shards)
        return shards

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1,
    axis: int = 0,
    min_slice_size: int = 256 << 10,
    bytes_per_string_element: int = 16,
) -> Partitioner:
    """Returns a partitioner along one axis into at most `max_partitions` shards of `min_slice_size` bytes or more.

    Raises:
      ValueError: if a limit is not positive.
    """
    for name, value in (
        ("max_partitions", max_partitions), ("min_slice_size", min_slice_size),
        ("bytes_per_string_element", bytes_per_string_element),
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"min_max_variable_partitioner: {name} must be positive, not {value}")

    def partitioner(shape: Any, dtype: Any, **_: Any) -> list[int]:
        sizes = _sizes(shape, axis)
        total = math.prod(sizes) * _bytes_of_element(dtype, bytes_per_string_element)
        shards = [1] * len(sizes)
        shards[axis] = max(1, min(sizes[axis], max_partitions, math.ceil(total / min_slice_size)))
        return shards

    return partitioner


__all__ = ["fixed_size_partitioner", "min_max_variable_partitioner", "variable_axis_size_partitioner"]
