"""Sparse tensors that wait in the session under a number each: so TensorFlow's batches of examples hand them on."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops import rules
from graphflow.ops.sparse_messages import Parts, check_parts, joined_parts, split_rows
from graphflow.resources import Array, Resource
from graphflow.shapes import TensorShape

_NAMES = "container:string=; shared_name:string="
_SPARSE = "sparse_indices:int64; sparse_values:T; sparse_shape:int64"


class SparseTensorsMap(Resource):
    """Sparse tensors by the numbers they were given."""

    kind = "map of sparse tensors"

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, Parts] = {}
        self._count = 0

    def add(self, parts: Parts) -> int:
        """Keeps a sparse tensor; returns its number."""
        with self.changed:
            number = self._count
            self._count += 1
            self._held[number] = parts[0].copy(), parts[1].copy(), parts[2].copy()
            return number

    def take(self, numbers: list[int]) -> list[Parts]:
        """Gives sparse tensors away.

        Raises:
          InvalidArgumentError: if there is none of a number, or none any more.
        """
        with self.changed:
            found = []
            for number in numbers:
                if number not in self._held:
                    raise InvalidArgumentError(
                        None, None, f"Unable to find SparseTensor: {number} in map: {self.name}"
                    )
                found.append(self._held.pop(number))
            return found


def _map_of(run: Any, container: str, shared_name: str, node_name: str) -> SparseTensorsMap:
    # Whoever takes from a map knows it by the name of the operation that adds to it.
    found: SparseTensorsMap = run.resources.get(
        SparseTensorsMap, SparseTensorsMap, container=container, shared_name=shared_name, node_name=node_name,
        private=False,
    )  # fmt: skip
    return found


@op("AddSparseToTensorsMap", _SPARSE, "sparse_handle:int64", f"T:type; {_NAMES}", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def add_sparse_op(
    sparse_indices: Array, sparse_values: Array, sparse_shape: Array, *, container: str, shared_name: str,
    context: Any, node_name: str,
) -> Array:  # fmt: skip
    """Keeps a sparse tensor; gives its number."""
    check_parts(sparse_indices, sparse_values, sparse_shape)
    held = _map_of(context, container, shared_name, node_name)
    return np.asarray(held.add((sparse_indices, sparse_values, sparse_shape)), np.int64)


def _row_numbers(node: Any) -> TensorShape:
    shape = node.constant_shape(2).as_tuple()
    return TensorShape([shape[0] if shape else None])


@op("AddManySparseToTensorsMap", _SPARSE, "sparse_handles:int64", f"T:type; {_NAMES}", infer=_row_numbers,
    effects="host", differentiable=False)  # fmt: skip
def add_many_sparse_op(
    sparse_indices: Array, sparse_values: Array, sparse_shape: Array, *, container: str, shared_name: str,
    context: Any, node_name: str,
) -> Array:  # fmt: skip
    """Keeps the rows of a sparse tensor, along its first axis; gives their numbers."""
    rows = split_rows(sparse_indices, sparse_values, sparse_shape)
    held = _map_of(context, container, shared_name, node_name)
    return np.array([held.add(parts) for parts in rows], np.int64)


def _taken(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 1, "sparse_handles")
    return [TensorShape([None, None]), TensorShape([None]), TensorShape([None])]


@op("TakeManySparseFromTensorsMap", "sparse_handles:int64",
    "sparse_indices:int64; sparse_values:dtype; sparse_shape:int64", f"dtype:type; {_NAMES}", infer=_taken,
    effects="host", differentiable=False)  # fmt: skip
def take_many_sparse_op(
    sparse_handles: Array, *, dtype: DType, container: str, shared_name: str, context: Any, node_name: str
) -> Parts:
    """The sparse tensors of some numbers as one, along a new first axis; they are kept no longer."""
    if not shared_name:
        raise InvalidArgumentError(None, None, "shared_name must name the operation that adds to the map")
    parts = _map_of(context, container, shared_name, node_name).take(sparse_handles.reshape(-1).tolist())
    return joined_parts(parts, (len(parts),), dtype)


__all__: list[str] = []
