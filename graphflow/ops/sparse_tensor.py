"""SparseTensor: three tensors that stand for a larger one of which only some elements are stored."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphflow import dtypes, nest
from graphflow.dtypes import as_dtype
from graphflow.graph import Graph, Operation, Tensor, name_scope
from graphflow.opdef import constant_value_as_shape, convert_to_tensor, emit
from graphflow.shapes import TensorShape, as_shape


class SparseTensorValue(NamedTuple):
    """What fetching a `SparseTensor` gives, and what may be fed for one."""

    indices: Any
    values: Any
    dense_shape: Any


class SparseTensor:
    """A tensor of which only some elements are stored.

    Args:
      indices: int64 [n, rank]: where the elements stand; most ops want them in row-major order.
      values: [n]: the elements.
      dense_shape: int64 [rank].

    Raises:
      ValueError: if the three do not fit together.
    """

    __slots__ = ("__dict__", "__weakref__", "_dense_shape", "_indices", "_shape", "_values")
    __array_priority__ = 100

    @classmethod
    def from_value(cls, sparse_tensor_value: Any) -> SparseTensor:
        """Makes one of a `SparseTensorValue` (or another `SparseTensor`)."""
        if not is_sparse(sparse_tensor_value):
            raise TypeError(f"{sparse_tensor_value!r} is neither a SparseTensor nor SparseTensorValue.")
        value = sparse_tensor_value
        return cls(value.indices, value.values, value.dense_shape)

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        with name_scope(None, "SparseTensor", [indices, values, dense_shape]):
            self._indices = convert_to_tensor(indices, dtypes.int64, name="indices")
            self._values = convert_to_tensor(values, name="values")
            self._dense_shape = convert_to_tensor(dense_shape, dtypes.int64, name="dense_shape")
        rows = self._indices.shape.with_rank(2)
        rows[:1].merge_with(self._values.shape.with_rank(1))
        rows[1:].merge_with(self._dense_shape.shape.with_rank(1))
        self._shape = constant_value_as_shape(self._dense_shape)

    @property
    def indices(self) -> Tensor:
        """Where the elements stand: int64 [n, rank]."""
        return self._indices

    @property
    def values(self) -> Tensor:
        """The elements: [n]."""
        return self._values

    @property
    def dense_shape(self) -> Tensor:
        """The full shape: int64 [rank]."""
        return self._dense_shape

    @property
    def shape(self) -> TensorShape:
        """What is known of the full shape."""
        return self._shape

    def get_shape(self) -> TensorShape:
        """What is known of the full shape."""
        return self._shape

    def set_shape(self, shape: Any) -> None:
        """Adds what is known of the full shape.

        Raises:
          ValueError: if it contradicts what is known already.
        """
        self._shape = self._shape.merge_with(as_shape(shape))

    @property
    def dtype(self) -> dtypes.DType:
        """The dtype of the elements."""
        return self._values.dtype

    @property
    def op(self) -> Operation:
        """The operation that makes the elements."""
        return self._values.op

    @property
    def name(self) -> str:
        """The name of the elements."""
        return self._values.name

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._indices.graph

    def with_values(self, new_values: Any) -> SparseTensor:
        """Returns the same places with other elements."""
        result = SparseTensor(self._indices, new_values, self._dense_shape)
        result.set_shape(self._shape)
        return result

    def consumers(self) -> list[Operation]:
        """Returns the operations that use any of the three tensors."""
        parts = (self._indices, self._values, self._dense_shape)
        return list(dict.fromkeys(user for part in parts for user in part.consumers()))

    def eval(self, feed_dict: Any = None, session: Any = None) -> SparseTensorValue:
        """Runs what makes the tensor in a session (the default one); see `Tensor.eval`."""
        parts = (self._indices, self._values, self._dense_shape)
        return SparseTensorValue(*(part.eval(feed_dict, session) for part in parts))

    def __mul__(self, other: Any) -> SparseTensor:
        return self._with_dense("SparseDenseCwiseMul", other, "mul")

    def __truediv__(self, other: Any) -> SparseTensor:
        if self.dtype.is_integer:
            wide = dtypes.float64 if self.dtype.size > 2 else dtypes.float32
            return self.with_values(emit.Cast(self._values, DstT=wide)) / emit.Cast(
                convert_to_tensor(other, self.dtype), DstT=wide
            )
        return self._with_dense("SparseDenseCwiseDiv", other, "truediv")

    def __div__(self, other: Any) -> SparseTensor:
        return self._with_dense("SparseDenseCwiseDiv", other, "div")

    def _with_dense(self, op_type: str, other: Any, name: str) -> SparseTensor:
        dense = convert_to_tensor(other, self.dtype, name="y")
        values = getattr(emit, op_type)(self._indices, self._values, self._dense_shape, dense, name=name)
        return self.with_values(values)

    def __repr__(self) -> str:
        return (
            f"SparseTensor(indices={self._indices}, values={self._values}, dense_shape={self._dense_shape})"
        )


nest.register_composite(
    SparseTensor,
    lambda sparse: [sparse.indices, sparse.values, sparse.dense_shape],
    lambda sparse, parts: SparseTensor(*parts),
)


def is_sparse(x: Any) -> bool:
    """Whether something is a `SparseTensor` or a `SparseTensorValue`."""
    return isinstance(x, SparseTensor | SparseTensorValue)


def as_sparse(value: Any) -> SparseTensor:
    """Returns a sparse tensor, made of a `SparseTensorValue` where need be.

    Raises:
      TypeError: if it is neither.
    """
    if isinstance(value, SparseTensor):
        return value
    if not isinstance(value, SparseTensorValue):
        raise TypeError(f"Input must be a SparseTensor, got {value!r}")
    return SparseTensor.from_value(value)


def convert_to_tensor_or_sparse_tensor(
    value: Any, dtype: Any = None, name: str | None = None
) -> Tensor | SparseTensor:
    """Returns a sparse tensor as it is (a `SparseTensorValue` as one), anything else as a tensor.

    Raises:
      RuntimeError: if a sparse tensor has another dtype than the one asked for.
    """
    if not is_sparse(value):
        return convert_to_tensor(value, dtype, name)
    result = as_sparse(value)
    if dtype is not None and as_dtype(dtype) is not result.dtype:
        raise RuntimeError(
            f"Sparse dtype mismatch. Requested: {as_dtype(dtype).name},  Actual: {result.dtype.name}"
        )
    return result


__all__ = ["SparseTensor", "SparseTensorValue", "convert_to_tensor_or_sparse_tensor"]
