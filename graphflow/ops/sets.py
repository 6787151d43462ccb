"""Sets in the last dimension: differences, intersections, unions and sizes, of dense and of sparse tensors.

The elements of a set in a result are sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import emit, op
from graphflow.ops.rules import Array, rank_exactly, refuse
from graphflow.ops.sparse_tensor import SparseTensor, is_sparse
from graphflow.shapes import UNKNOWN, TensorShape

_ELEMENTS = "T:type{int8|int16|int32|int64|uint8|uint16|string}"
_OPERATION = f"set_operation:string; validate_indices:bool=true; {_ELEMENTS}"
_RESULT = "result_indices:int64; result_values:T; result_shape:int64"
_OPERATIONS: dict[str, Callable[[set[Any], set[Any]], set[Any]]] = {
    "a-b": lambda a, b: a - b,
    "b-a": lambda a, b: b - a,
    "intersection": lambda a, b: a & b,
    "union": lambda a, b: a | b,
}
Place = tuple[int, ...]
Groups = dict[Place, set[Any]]


def _of_dense(values: Array) -> tuple[Groups, Place]:
    """The sets of a dense tensor by the place of each, and the sizes of the places."""
    if values.ndim < 2:
        raise refuse(f"Input should be at least 2 dimensions, has shape {list(values.shape)}")
    lead = values.shape[:-1]
    return {where: set(values[where].tolist()) for where in np.ndindex(lead)}, lead


def _of_sparse(indices: Array, values: Array, shape: Array, validate: bool) -> tuple[Groups, Place]:
    """The sets of a sparse tensor by the place of each, and the sizes of the places."""
    if indices.ndim != 2 or indices.shape != (len(values), len(shape)) or len(shape) < 1:
        raise refuse(
            f"indices {list(indices.shape)}, values {list(values.shape)} and shape {shape.tolist()} do not fit"
        )
    if validate:
        rows = [tuple(row) for row in indices.tolist()]
        for number, row in enumerate(rows):
            if any(not 0 <= at < size for at, size in zip(row, shape.tolist(), strict=True)):
                raise refuse(
                    f"indices[{number}] = {list(row)} is out of bounds: need 0 <= index < {shape.tolist()}"
                )
            if number and row <= rows[number - 1]:
                raise refuse(f"indices[{number}] = {list(row)} is out of order or repeated")
    groups: Groups = {}
    for row, value in zip(indices.tolist(), values.tolist(), strict=True):
        groups.setdefault(tuple(row[:-1]), set()).add(value)
    return groups, tuple(int(size) for size in shape[:-1])


def _combined(first: tuple[Groups, Place], second: tuple[Groups, Place], operation: str, dtype: Any) -> Any:
    (mine, lead), (theirs, other) = first, second
    if lead != other:
        raise refuse(
            f"Mismatched group shapes {list(lead)} and {list(other)}: all but the last dimension must match"
        )
    combine = _OPERATIONS[operation.lower()]
    places: list[Place] = []
    values: list[Any] = []
    longest = 0
    for where in sorted({*mine, *theirs}):
        found = sorted(combine(mine.get(where, set()), theirs.get(where, set())))
        places += [(*where, at) for at in range(len(found))]
        values += found
        longest = max(longest, len(found))
    indices = np.array(places, np.int64).reshape(len(places), len(lead) + 1)
    held = np.empty(len(values), dtype)
    held[:] = values
    return indices, held, np.array([*lead, longest], np.int64)


def _result_shape(ranks: Callable[[Any], list[int | None]]) -> Callable[[Any], list[TensorShape]]:
    def rule(node: Any) -> list[TensorShape]:
        if node.attrs["set_operation"].lower() not in _OPERATIONS:
            raise ShapeError(f"Invalid set_operation {node.attrs['set_operation']!r}")
        known = [rank for rank in ranks(node) if rank is not None]
        if len(set(known)) > 1:
            raise ShapeError(f"the sets have ranks {known[0]} and {known[1]}")
        rank = known[0] if known else None
        return [TensorShape([None, rank]), TensorShape([None]), TensorShape([rank])]

    return rule


def _sparse_rank(node: Any, position: int) -> int | None:
    """The rank of a sparse tensor whose indices stand at `position`."""
    rank: int | None = rank_exactly(node, position, 2, "indices").as_list()[1]
    size: int | None = rank_exactly(node, position + 2, 1, "shape").as_list()[0]
    return size if rank is None else rank


@op("DenseToDenseSetOperation", "set1:T; set2:T", _RESULT, _OPERATION,
    infer=_result_shape(lambda node: [value.shape.rank for value in node.inputs]), differentiable=False)  # fmt: skip
def dense_to_dense_op(set1: Array, set2: Array, *, set_operation: str) -> Any:
    """A set operation on dense tensors."""
    return _combined(_of_dense(set1), _of_dense(set2), set_operation, set1.dtype)


@op("DenseToSparseSetOperation", "set1:T; set2_indices:int64; set2_values:T; set2_shape:int64", _RESULT, _OPERATION,
    infer=_result_shape(lambda node: [node.inputs[0].shape.rank, _sparse_rank(node, 1)]),
    differentiable=False)  # fmt: skip
def dense_to_sparse_op(
    set1: Array, set2_indices: Array, set2_values: Array, set2_shape: Array, *, set_operation: str,
    validate_indices: bool = True,
) -> Any:  # fmt: skip
    """A set operation on a dense and a sparse tensor."""
    second = _of_sparse(set2_indices, set2_values, set2_shape, validate_indices)
    return _combined(_of_dense(set1), second, set_operation, set1.dtype)


@op("SparseToSparseSetOperation",
    "set1_indices:int64; set1_values:T; set1_shape:int64; set2_indices:int64; set2_values:T; set2_shape:int64",
    _RESULT, _OPERATION, infer=_result_shape(lambda node: [_sparse_rank(node, 0), _sparse_rank(node, 3)]),
    differentiable=False)  # fmt: skip
def sparse_to_sparse_op(
    set1_indices: Array, set1_values: Array, set1_shape: Array, set2_indices: Array, set2_values: Array,
    set2_shape: Array, *, set_operation: str, validate_indices: bool = True,
) -> Any:  # fmt: skip
    """A set operation on sparse tensors."""
    first = _of_sparse(set1_indices, set1_values, set1_shape, validate_indices)
    second = _of_sparse(set2_indices, set2_values, set2_shape, validate_indices)
    return _combined(first, second, set_operation, set1_values.dtype)


def _size_shape(node: Any) -> TensorShape:
    sizes = node.constant(2)
    if sizes is not None:
        return TensorShape([int(size) for size in sizes[:-1]])
    rank = _sparse_rank(node, 0)
    return UNKNOWN if rank is None else TensorShape([None] * (rank - 1))


@op("SetSize", "set_indices:int64; set_values:T; set_shape:int64", "size:int32",
    f"validate_indices:bool=true; {_ELEMENTS}", infer=_size_shape, differentiable=False)  # fmt: skip
def set_size_op(
    set_indices: Array, set_values: Array, set_shape: Array, *, validate_indices: bool = True
) -> Any:
    """How many distinct elements each set has."""
    groups, lead = _of_sparse(set_indices, set_values, set_shape, validate_indices)
    result = np.zeros(lead, np.int32)
    for where, elements in groups.items():
        result[where] = len(elements)
    return result


# ---------------------------------------------------------------------------- public functions


def _set_operation(a: Any, b: Any, operation: str, validate_indices: bool) -> SparseTensor:
    options = {"set_operation": operation, "validate_indices": validate_indices}
    parts: Any
    if is_sparse(a):
        if not is_sparse(b):
            raise ValueError(
                "Sparse,Dense is not supported, but Dense,Sparse is. Please flip the order of your inputs."
            )
        parts = emit.SparseToSparseSetOperation(
            a.indices, a.values, a.dense_shape, b.indices, b.values, b.dense_shape, **options
        )
    elif is_sparse(b):
        parts = emit.DenseToSparseSetOperation(a, b.indices, b.values, b.dense_shape, **options)
    else:
        parts = emit.DenseToDenseSetOperation(a, b, **options)
    return SparseTensor(*parts)


def set_intersection(a: Any, b: Any, validate_indices: bool = True) -> SparseTensor:
    """Returns what both of two tensors have in their last dimension, sorted, as a SparseTensor.

    Args:
      a: integers or strings [..., n], dense or (then `b` too) sparse in row-major order.
      b: the same, with the same leading dimensions.
      validate_indices: whether the order and range of indices are checked in the run.

    Raises:
      ValueError: if only `a` is sparse.
    """
    return _set_operation(a, b, "intersection", validate_indices)


def set_difference(a: Any, b: Any, aminusb: bool = True, validate_indices: bool = True) -> SparseTensor:
    """Returns what `a` has in its last dimension and `b` lacks (or the other way round); see `set_intersection`."""
    if is_sparse(a) and not is_sparse(b):
        a, b, aminusb = b, a, not aminusb
    return _set_operation(a, b, "a-b" if aminusb else "b-a", validate_indices)


def set_union(a: Any, b: Any, validate_indices: bool = True) -> SparseTensor:
    """Returns what either of two tensors has in its last dimension; see `set_intersection`."""
    return _set_operation(a, b, "union", validate_indices)


def set_size(a: Any, validate_indices: bool = True) -> Tensor:
    """Returns how many distinct elements a SparseTensor has in its last dimension, int32.

    Raises:
      TypeError: if `a` is no SparseTensor.
    """
    if not is_sparse(a):
        raise TypeError(f"Expected `SparseTensor`, got {a!r}.")
    result: Tensor = emit.SetSize(a.indices, a.values, a.dense_shape, validate_indices=validate_indices)
    return result


__all__ = [
    "set_difference", "set_intersection", "set_size", "set_union",
]  # fmt: skip
