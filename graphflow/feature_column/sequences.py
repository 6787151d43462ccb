"""Columns of features that are sequences, and the input that recurrent models take of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import as_dtype, float32, int64
from graphflow.feature_column.columns import (
    CategoricalColumn,
    DenseColumn,
    Features,
    categorical_column_with_hash_bucket,
    categorical_column_with_identity,
    categorical_column_with_vocabulary_file,
    categorical_column_with_vocabulary_list,
)  # fmt: skip
from graphflow.feature_column.layers import sorted_columns
from graphflow.graph import Tensor
from graphflow.opdef import emit
from graphflow.ops.control import assert_equal, with_dependencies
from graphflow.ops.elementwise import cast, ceil
from graphflow.ops.layout import concat, reshape
from graphflow.ops.parsing import VarLenFeature
from graphflow.ops.segments import segment_max
from graphflow.ops.source import shape as shape_of
from graphflow.ops.source import zeros
from graphflow.ops.sparse import sparse_reshape, sparse_tensor_to_dense
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape
from graphflow.variable_scope import variable_scope


class SequenceCategoricalColumn(CategoricalColumn):
    """See `sequence_categorical_column_with_identity` and the like: ids per step."""

    is_sequence = True

    def __init__(self, categorical_column: CategoricalColumn) -> None:
        self.categorical_column = categorical_column

    @property
    def name(self) -> str:
        """The name of the column of ids."""
        return self.categorical_column.name

    @property
    def spec(self) -> dict[str, Any]:
        """That of the column of ids."""
        return self.categorical_column.spec

    @property
    def num_buckets(self) -> int:
        """How many ids there are."""
        return self.categorical_column.num_buckets

    def transform(self, features: Features) -> Any:
        """The ids, [batch, steps, ids]: of a feature [batch, steps] one per step."""
        ids = features.of(self.categorical_column)
        if ids.dense_shape.shape.as_list() == [2]:
            ids = sparse_reshape(ids, concat([ids.dense_shape, np.array([1], np.int64)], 0))
        return ids


class SequenceNumericColumn(DenseColumn):
    """See `sequence_numeric_column`."""

    is_sequence = True

    def __init__(
        self, key: str, shape: tuple[int, ...], default_value: float, dtype: Any, normalizer_fn: Any
    ) -> None:
        self.key, self.shape, self.default_value = key, shape, default_value
        self.dtype, self.normalizer_fn = dtype, normalizer_fn
        self.variable_shape = TensorShape(shape)

    @property
    def name(self) -> str:
        """The key of the feature."""
        return self.key

    @property
    def spec(self) -> dict[str, Any]:
        """A feature of any length."""
        return {self.key: VarLenFeature(self.dtype)}

    def transform(self, features: Features) -> Any:
        """The sparse feature, normalized."""
        value = features.raw(self.key)
        if not isinstance(value, SparseTensor):
            raise ValueError(
                f"The feature of a sequence_numeric_column must be a SparseTensor. key: {self.key}"
            )
        return value if self.normalizer_fn is None else self.normalizer_fn(value)

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """The numbers, [batch, steps, *shape], and the default where there are none."""
        value = features.of(self)
        whole = sparse_tensor_to_dense(value, default_value=self.default_value)
        numbers = reshape(whole, concat([shape_of(whole)[:1], [-1], list(self.shape)], 0))
        made: Tensor = cast(numbers, float32)
        return made


def _lengths(ids: SparseTensor, per_step: int = 1) -> Tensor:
    """How many steps each example has, [batch] int64."""
    ends = segment_max(ids.indices[:, 1] + np.int64(1), ids.indices[:, 0])
    if per_step != 1:
        ends = cast(ceil(cast(ends, "float64") / float(per_step)), int64)
    # The last examples may have none.
    missing = cast(ids.dense_shape[:1], "int32") - shape_of(ends)[:1]
    return concat([ends, zeros(missing, int64)], 0)


def _steps(column: Any, features: Features) -> Tensor:
    if isinstance(column, SequenceNumericColumn):
        value = features.of(column)
        width = column.variable_shape.num_elements() or 1
        return _lengths(value, width if value.dense_shape.shape.as_list() == [2] else 1)
    return _lengths(column.categorical_column.sparse(features)[0])


def sequence_input_layer(
    features: Mapping[str, Any], feature_columns: Any, weight_collections: Any = None, trainable: bool = True
) -> tuple[Tensor, Tensor]:
    """Returns what columns make of sequences, side by side in the order of their names, and how long these are.

    Args:
      features: SparseTensors [batch, steps] or [batch, steps, ...] by name.
      feature_columns: embedding or indicator columns of sequence columns, and sequence_numeric columns.
      weight_collections: further collections for variables.
      trainable: whether tables are trained.

    Returns:
      [batch, steps, width] float32, and [batch] int64; sequences of unlike length are an error of the run.

    Raises:
      ValueError: if a column is no sequence, or a feature is missing.
    """
    what = "All feature_columns must be of sequences: embedding or indicator columns of them, or sequence_numeric"
    columns = sorted_columns(feature_columns, DenseColumn, what)
    for column in columns:
        if not getattr(column, "categorical_column", column).is_sequence:
            raise ValueError(f"{what}; given: {column!r}")
    with variable_scope(None, "sequence_input_layer"):
        built = Features(features)
        parts: list[Tensor] = []
        lengths: list[Tensor] = []
        for column in columns:
            with variable_scope(None, column.scope) as scope:
                tensor = column.dense(built, trainable)
                width = column.variable_shape.num_elements() or 0
                sizes = shape_of(tensor)
                part = reshape(tensor, emit.Pack([sizes[0], sizes[1], np.int32(width)]))
                part.set_shape([None, None, width])
                parts.append(part)
                lengths.append(_steps(column, built))
                for variable in scope.global_variables():
                    variable.graph.add_to_collections(list(weight_collections or ()), variable)
        checks = [
            assert_equal(lengths[0], other, message="sequences of unlike length") for other in lengths[1:]
        ]
        length = with_dependencies(checks, lengths[0]) if checks else lengths[0]
        return concat(parts, -1), length


def sequence_categorical_column_with_identity(
    key: str, num_buckets: int, default_value: int | None = None
) -> SequenceCategoricalColumn:
    """Returns a column of ids per step; see `categorical_column_with_identity`."""
    return SequenceCategoricalColumn(categorical_column_with_identity(key, num_buckets, default_value))


def sequence_categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: Any = "string"
) -> SequenceCategoricalColumn:
    """Returns a column of hashes per step; see `categorical_column_with_hash_bucket`."""
    return SequenceCategoricalColumn(
        categorical_column_with_hash_bucket(key, hash_bucket_size, as_dtype(dtype))
    )


def sequence_categorical_column_with_vocabulary_list(
    key: str,
    vocabulary_list: Sequence[Any],
    dtype: Any = None,
    default_value: int = -1,
    num_oov_buckets: int = 0,
) -> SequenceCategoricalColumn:
    """Returns a column of places in a list per step; see `categorical_column_with_vocabulary_list`."""
    return SequenceCategoricalColumn(
        categorical_column_with_vocabulary_list(key, vocabulary_list, dtype, default_value, num_oov_buckets)
    )


def sequence_categorical_column_with_vocabulary_file(
    key: str, vocabulary_file: Any, vocabulary_size: int | None = None, num_oov_buckets: int = 0,
    default_value: int | None = None, dtype: Any = "string",
) -> SequenceCategoricalColumn:  # fmt: skip
    """Returns a column of lines of a file per step; see `categorical_column_with_vocabulary_file`."""
    return SequenceCategoricalColumn(categorical_column_with_vocabulary_file(
        key, vocabulary_file, vocabulary_size, num_oov_buckets, default_value, as_dtype(dtype)
    ))  # fmt: skip


def sequence_numeric_column(
    key: str, shape: Any = (1,), default_value: float = 0.0, dtype: Any = float32, normalizer_fn: Any = None
) -> SequenceNumericColumn:
    """Returns a column of numbers per step.

    Args:
      key: the feature, a SparseTensor.
      shape: the shape of a step's numbers.
      default_value: what stands where there are none.
      dtype: the dtype of the feature.
      normalizer_fn: a function of the SparseTensor.

    Raises:
      ValueError: if the dtype is no number, or a size not positive.
      TypeError: if `normalizer_fn` cannot be called.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(not isinstance(size, int | np.integer) or size < 1 for size in sizes):
        raise ValueError(f"shape dimensions must be integers greater than 0. shape: {shape}, key: {key}")
    kind = as_dtype(dtype)
    if not (kind.is_integer or kind.is_floating):
        raise ValueError(f"dtype must be convertible to float. dtype: {kind.name}, key: {key}")
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"normalizer_fn must be a callable. Given: {normalizer_fn}")
    return SequenceNumericColumn(key, tuple(int(size) for size in sizes), default_value, kind, normalizer_fn)


__all__ = [
    "SequenceCategoricalColumn", "SequenceNumericColumn",
    "sequence_categorical_column_with_hash_bucket", "sequence_categorical_column_with_identity",
    "sequence_categorical_column_with_vocabulary_file", "sequence_categorical_column_with_vocabulary_list",
    "sequence_input_layer", "sequence_numeric_column",
]  # fmt: skip
