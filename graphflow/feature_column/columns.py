"""Feature columns: what a model takes from a feature, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphflow import lookup
from graphflow.dtypes import DType, as_dtype, float32, int64, string
from graphflow.graph import Tensor, get_default_graph, name_scope
from graphflow.initializers import truncated_normal_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import assert_less, assert_non_negative, with_dependencies
from graphflow.ops.crosses import cross_hashed
from graphflow.ops.elementwise import cast, greater_equal, logical_or, not_equal, where_v2
from graphflow.ops.embeddings import safe_embedding_lookup_sparse
from graphflow.ops.layout import expand_dims, one_hot, reshape
from graphflow.ops.parsing import FixedLenFeature, VarLenFeature
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.scatter import gather_nd
from graphflow.ops.source import fill, shape
from graphflow.ops.sparse import sparse_merge, sparse_tensor_to_dense
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.ops.strings import as_string, string_to_hash_bucket_fast
from graphflow.shapes import TensorShape
from graphflow.train.checkpoint_utils import init_from_checkpoint
from graphflow.variable_scope import get_variable


class Features:
    """The features of a batch by name, and what columns made of them, each once."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        self._given = dict(features)
        self._made: dict[Any, Any] = {}

    def raw(self, key: str) -> Any:
        """Returns a feature, a vector as one column.

        Raises:
          ValueError: if there is none of that name, or it is a scalar of unknown rank.
        """
        if key not in self._given:
            raise ValueError(f"Feature {key} is not in features dictionary; there are {sorted(self._given)}")
        if key not in self._made:
            value = self._given[key]
            if not isinstance(value, SparseTensor):
                value = convert_to_tensor(value)
                if value.shape.rank is None:
                    raise ValueError(f"Feature {key} must have a known rank")
                if value.shape.rank == 0:
                    raise ValueError(f"Feature (key: {key}) cannot have rank 0. Given: {value}")
                if value.shape.rank == 1:
                    value = expand_dims(value, -1)
            self._made[key] = value
        return self._made[key]

    def of(self, column: Column) -> Any:
        """Returns what a column makes of the features."""
        if column not in self._made:
            self._made[column] = column.transform(self)
        return self._made[column]


class Column:
    """What a model takes from features.

    Attributes:
      is_sequence: whether it gives something for each step of an example.
    """

    is_sequence = False

    @property
    def name(self) -> str:
        """The name, which variables are called by."""
        raise NotImplementedError

    @property
    def scope(self) -> str:
        """The name of the variable scope of its variables."""
        return self.name

    @property
    def spec(self) -> dict[str, Any]:
        """What parses the features that it needs."""
        raise NotImplementedError

    def transform(self, features: Features) -> Any:
        """What it makes of the features before variables come in."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class DenseColumn(Column):
    """A column that gives numbers, `variable_shape` of them per example."""

    variable_shape: TensorShape

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """The numbers, [batch, *variable_shape]."""
        raise NotImplementedError


class CategoricalColumn(Column):
    """A column that gives ids below `num_buckets`, any number of them per example."""

    @property
    def num_buckets(self) -> int:
        """How many ids there are."""
        raise NotImplementedError

    def sparse(self, features: Features) -> tuple[SparseTensor, SparseTensor | None]:
        """The ids, and their weights."""
        return features.of(self), None


class NumericColumn(DenseColumn):
    """See `numeric_column`."""

    def __init__(
        self, key: str, shape: tuple[int, ...], default_value: Any, dtype: DType, normalizer_fn: Any
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
        """A feature of fixed length."""
        return {self.key: FixedLenFeature(self.shape, self.dtype, self.default_value)}

    def transform(self, features: Features) -> Any:
        """The feature, normalized."""
        value = features.raw(self.key)
        if isinstance(value, SparseTensor):
            raise ValueError(
                f"The corresponding Tensor of numerical column must be a Tensor. key: {self.key}"
            )
        if self.normalizer_fn is not None:
            value = self.normalizer_fn(value)
        return cast(value, float32)

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """The feature, normalized."""
        value: Tensor = features.of(self)
        return value


class BucketizedColumn(DenseColumn, CategoricalColumn):
    """See `bucketized_column`."""

    def __init__(self, source_column: NumericColumn, boundaries: tuple[float, ...]) -> None:
        self.source_column, self.boundaries = source_column, boundaries
        self.variable_shape = TensorShape([*source_column.shape, len(boundaries) + 1])

    @property
    def name(self) -> str:
        """The name of the numeric column, with a word behind it."""
        return f"{self.source_column.name}_bucketized"

    @property
    def spec(self) -> dict[str, Any]:
        """That of the numeric column."""
        return self.source_column.spec

    @property
    def num_buckets(self) -> int:
        """The buckets of all elements together."""
        return (len(self.boundaries) + 1) * self.source_column.shape[0]

    def transform(self, features: Features) -> Any:
        """The number of the bucket of each element."""
        return emit.Bucketize(features.of(self.source_column), boundaries=self.boundaries)

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """A one in the bucket of each element."""
        return one_hot(cast(features.of(self), int64), len(self.boundaries) + 1, 1.0, 0.0)

    def sparse(self, features: Features) -> tuple[SparseTensor, SparseTensor | None]:
        """An id per element; each element has buckets of its own."""
        buckets = features.of(self)
        count = self.source_column.shape[0]
        batch = shape(buckets)[0]
        rows = reshape(
            emit.Tile(expand_dims(emit.Range(0, batch, 1), 1), np.array([1, count], np.int32)), [-1]
        )
        places = emit.Tile(emit.Range(0, count, 1), reshape(batch, [1]))
        ids = cast(reshape(buckets, [-1]) + (len(self.boundaries) + 1) * places, int64)
        indices = emit.Pack([cast(rows, int64), cast(places, int64)], axis=1)
        whole = cast(emit.Pack([batch, np.int32(count)]), int64)
        return SparseTensor(indices, ids, whole), None


def _as_sparse(value: Any, nothing: Any = None) -> SparseTensor:
    """A feature as a sparse one: of a dense one all but empty texts and -1."""
    if isinstance(value, SparseTensor):
        return value
    with name_scope(None, "to_sparse_input", [value]):
        if nothing is None:
            nothing = b"" if value.dtype is string else -1
        kept = not_equal(value, convert_to_tensor(nothing, value.dtype))
        indices = emit.Where(kept)
        return SparseTensor(indices, gather_nd(value, indices), cast(emit.Shape(value), int64))


def _with_values(sparse: SparseTensor, values: Tensor) -> SparseTensor:
    return SparseTensor(sparse.indices, values, sparse.dense_shape)


class _OfOneFeature(CategoricalColumn):
    """A categorical column of one feature."""

    key: str
    dtype: DType

    @property
    def name(self) -> str:
        """The key of the feature."""
        return self.key

    @property
    def spec(self) -> dict[str, Any]:
        """A feature of any length."""
        return {self.key: VarLenFeature(self.dtype)}

    def transform(self, features: Features) -> Any:
        """The ids."""
        value = _as_sparse(features.raw(self.key))
        self._check(value)
        return _with_values(value, self._ids(value.values))

    def _check(self, value: SparseTensor) -> None:
        if (self.dtype is string) != (value.dtype is string) or not (
            value.dtype is string or value.dtype.is_integer
        ):
            raise ValueError(
                f"Column dtype and SparseTensors dtype must be compatible. key: {self.key}, column dtype: "
                f"{self.dtype.name}, tensor dtype: {value.dtype.name}"
            )

    def _ids(self, values: Tensor) -> Tensor:
        raise NotImplementedError


class HashedColumn(_OfOneFeature):
    """See `categorical_column_with_hash_bucket`."""

    def __init__(self, key: str, hash_bucket_size: int, dtype: DType) -> None:
        self.key, self.hash_bucket_size, self.dtype = key, hash_bucket_size, dtype

    @property
    def num_buckets(self) -> int:
        """The number of buckets."""
        return self.hash_bucket_size

    def _ids(self, values: Tensor) -> Tensor:
        texts = values if self.dtype is string else as_string(values)
        return string_to_hash_bucket_fast(texts, self.hash_bucket_size, name="lookup")


class IdentityColumn(_OfOneFeature):
    """See `categorical_column_with_identity`."""

    def __init__(self, key: str, num_buckets: int, default_value: int | None) -> None:
        self.key, self.dtype, self.default_value = key, int64, default_value
        self._count = num_buckets

    @property
    def num_buckets(self) -> int:
        """The number of ids."""
        return self._count

    def _ids(self, values: Tensor) -> Tensor:
        ids = cast(values, int64)
        if self.default_value is None:
            checks = [
                assert_less(
                    ids, np.int64(self._count), message=f"{self.key}: an id is not below num_buckets"
                ),
                assert_non_negative(ids, message=f"{self.key}: an id is negative"),
            ]
            checked: Tensor = with_dependencies(checks, ids)
            return checked
        outside = logical_or(ids < 0, greater_equal(ids, np.int64(self._count)))
        return where_v2(outside, fill(shape(ids), np.int64(self.default_value)), ids)


class VocabularyColumn(_OfOneFeature):
    """See `categorical_column_with_vocabulary_list` and `categorical_column_with_vocabulary_file`."""

    def __init__(
        self, key: str, vocabulary: Any, file: str | None, size: int, dtype: DType, default_value: int,
        num_oov_buckets: int,
    ) -> None:  # fmt: skip
        self.key, self.dtype, self.default_value = key, dtype, default_value
        self.vocabulary_list, self.vocabulary_file, self.vocabulary_size = vocabulary, file, size
        self.num_oov_buckets = num_oov_buckets

    @property
    def num_buckets(self) -> int:
        """The words and the buckets of others."""
        return self.vocabulary_size + self.num_oov_buckets

    def _ids(self, values: Tensor) -> Tensor:
        kind = self.dtype if self.dtype is string else int64
        if self.vocabulary_file is not None:
            table = lookup.index_table_from_file(
                self.vocabulary_file, self.num_oov_buckets, self.vocabulary_size, self.default_value,
                key_dtype=kind, name=f"{self.key}_lookup",
            )  # fmt: skip
        else:
            words = [word if isinstance(word, str | bytes) else int(word) for word in self.vocabulary_list]
            table = lookup.index_table_from_tensor(
                words, self.num_oov_buckets, self.default_value, dtype=kind, name=f"{self.key}_lookup"
            )
        found: Tensor = table.lookup(values if kind is string else cast(values, int64))
        return found


class CrossedColumn(CategoricalColumn):
    """See `crossed_column`."""

    def __init__(self, keys: tuple[Any, ...], hash_bucket_size: int, hash_key: int | None) -> None:
        self.keys, self.hash_bucket_size, self.hash_key = keys, hash_bucket_size, hash_key

    def _leaves(self) -> list[Any]:
        found: list[Any] = []
        for key in self.keys:
            found += key._leaves() if isinstance(key, CrossedColumn) else [key]
        return found

    @property
    def name(self) -> str:
        """The names of what is crossed, in alphabetical order."""
        return "_X_".join(sorted(key if isinstance(key, str) else key.name for key in self._leaves()))

    @property
    def spec(self) -> dict[str, Any]:
        """Those of what is crossed; features named by key are texts."""
        found: dict[str, Any] = {}
        for key in self.keys:
            found.update({key: VarLenFeature(string)} if isinstance(key, str) else key.spec)
        return found

    @property
    def num_buckets(self) -> int:
        """The number of buckets."""
        return self.hash_bucket_size

    def transform(self, features: Features) -> Any:
        """The hashes of the combinations."""
        columns = []
        for key in self._leaves():
            if isinstance(key, str):
                columns.append(features.raw(key))
                continue
            ids, weights = key.sparse(features)
            if weights is not None:
                raise ValueError(
                    f"crossed_column does not support weight_tensor, but the column populates it: {key}"
                )
            columns.append(ids)
        return cross_hashed(columns, self.hash_bucket_size, self.hash_key)


class WeightedColumn(CategoricalColumn):
    """See `weighted_categorical_column`."""

    def __init__(self, categorical_column: CategoricalColumn, weight_feature_key: str, dtype: DType) -> None:
        self.categorical_column, self.weight_feature_key = categorical_column, weight_feature_key
        self.dtype = dtype

    @property
    def name(self) -> str:
        """The name of the column, and that of the weights."""
        return f"{self.categorical_column.name}_weighted_by_{self.weight_feature_key}"

    @property
    def spec(self) -> dict[str, Any]:
        """That of the column, and the weights."""
        found = self.categorical_column.spec
        if self.weight_feature_key in found:
            raise ValueError(f"Parse config for {self.weight_feature_key} is there already")
        return {**found, self.weight_feature_key: VarLenFeature(self.dtype)}

    @property
    def num_buckets(self) -> int:
        """Those of the column."""
        return self.categorical_column.num_buckets

    def transform(self, features: Features) -> Any:
        """The weights."""
        weights = features.raw(self.weight_feature_key)
        if not isinstance(weights, SparseTensor):
            # A dense weight is one also where it is zero, but has no id where the feature has none.
            ids = features.raw(self.categorical_column.name)
            if isinstance(ids, SparseTensor):
                weights = _as_sparse(weights, 0.0)
            else:
                nothing = b"" if ids.dtype is string else -1
                kept = emit.Where(not_equal(ids, convert_to_tensor(nothing, ids.dtype)))
                weights = SparseTensor(kept, gather_nd(weights, kept), cast(emit.Shape(ids), int64))
        return _with_values(weights, cast(weights.values, float32))

    def sparse(self, features: Features) -> tuple[SparseTensor, SparseTensor | None]:
        """The ids and their weights."""
        return self.categorical_column.sparse(features)[0], features.of(self)


class IndicatorColumn(DenseColumn):
    """See `indicator_column`."""

    def __init__(self, categorical_column: CategoricalColumn) -> None:
        self.categorical_column = categorical_column
        self.variable_shape = TensorShape([1, categorical_column.num_buckets])

    @property
    def name(self) -> str:
        """The name of the column, with a word behind it."""
        return f"{self.categorical_column.name}_indicator"

    @property
    def spec(self) -> dict[str, Any]:
        """That of the column."""
        return self.categorical_column.spec

    def transform(self, features: Features) -> Any:
        """How often each id comes up, or the sum of its weights."""
        ids, weights = self.categorical_column.sparse(features)
        count = self.categorical_column.num_buckets
        if weights is not None:
            merged = sparse_merge(ids, _with_values(weights, cast(weights.values, float32)), count)
            # Ids of -1 are none.
            return sparse_tensor_to_dense(merged, validate_indices=False)
        dense = sparse_tensor_to_dense(ids, default_value=-1)
        return reduce_sum(one_hot(dense, count, 1.0, 0.0), [-2])

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """A number per id."""
        value: Tensor = features.of(self)
        return value


class EmbeddingColumn(DenseColumn):
    """See `embedding_column` and `shared_embedding_columns`."""

    def __init__(
        self, categorical_column: CategoricalColumn, dimension: int, combiner: str, initializer: Any,
        ckpt_to_load_from: str | None, tensor_name_in_ckpt: str | None, max_norm: Any, trainable: bool,
        shared: str | None = None,
    ) -> None:  # fmt: skip
        self.categorical_column, self.dimension, self.combiner = categorical_column, dimension, combiner
        self.initializer, self.max_norm, self.trainable = initializer, max_norm, trainable
        self.ckpt_to_load_from, self.tensor_name_in_ckpt = ckpt_to_load_from, tensor_name_in_ckpt
        self.shared = shared
        self.variable_shape = TensorShape([dimension])

    @property
    def name(self) -> str:
        """The name of the column, with words behind it."""
        return f"{self.categorical_column.name}{'_shared' if self.shared else ''}_embedding"

    @property
    def scope(self) -> str:
        """The name of the shared table, or that of the column."""
        return self.shared or self.name

    @property
    def spec(self) -> dict[str, Any]:
        """That of the column."""
        return self.categorical_column.spec

    def transform(self, features: Features) -> Any:
        """The ids and their weights."""
        return self.categorical_column.sparse(features)

    def dense(self, features: Features, trainable: bool = True) -> Tensor:
        """The combined rows of the table, zeros where there is no id."""
        ids, weights = features.of(self)
        graph = get_default_graph()
        found = graph.get_collection(self.shared) if self.shared else []
        table = found[0] if found else get_variable(
            "embedding_weights", [self.categorical_column.num_buckets, self.dimension], float32, self.initializer,
            trainable=self.trainable and trainable,
        )  # fmt: skip
        if self.shared and not found:
            graph.add_to_collection(self.shared, table)
        if self.ckpt_to_load_from is not None and not found:
            variables = list(table) if hasattr(table, "_get_variable_list") else table
            init_from_checkpoint(self.ckpt_to_load_from, {self.tensor_name_in_ckpt: variables})
        return safe_embedding_lookup_sparse(
            table, ids, weights, self.combiner, name=f"{self.name}_weights", max_norm=self.max_norm
        )


# ---------------------------------------------------------------------------- what makes columns


def _a_key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"key must be a string. Given: {key!r} (type {type(key).__name__})")
    return key


def _a_dtype(dtype: Any, key: Any) -> DType:
    kind = as_dtype(dtype)
    if kind is not string and not kind.is_integer:
        raise ValueError(f"dtype must be string or integer. dtype: {kind.name}, column_name: {key}")
    return kind


def numeric_column(
    key: str, shape: Any = (1,), default_value: Any = None, dtype: Any = float32,
    normalizer_fn: Callable[[Tensor], Tensor] | None = None,
) -> NumericColumn:  # fmt: skip
    """Returns a column of numbers.

    Args:
      key: the feature.
      shape: the shape of one example.
      default_value: what stands for a feature that an Example lacks, of that shape or a number.
      dtype: the dtype in Examples.
      normalizer_fn: a function of the tensor.

    Raises:
      TypeError: if the default does not fit the shape or the dtype.
      ValueError: if a size is not positive, the dtype is no number's, or `normalizer_fn` is no function.
    """
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if any(not isinstance(size, int | np.integer) or size < 1 for size in sizes):
        raise ValueError(f"shape dimensions must be integers greater than 0, shape: {shape}")
    kind = as_dtype(dtype)
    if not (kind.is_integer or kind.is_floating):
        raise ValueError(f"dtype must be convertible to float. dtype: {kind.name}, key: {key}")
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"normalizer_fn must be a callable. Given: {normalizer_fn}")
    if default_value is not None:
        found = np.asarray(default_value)
        if found.dtype.kind not in "iuf" or (kind.is_integer and found.dtype.kind == "f"):
            raise TypeError(
                f"default_value must be compatible with dtype {kind.name}. default_value: {default_value}"
            )
        if found.shape not in ((), sizes):
            raise ValueError(
                f"The shape of default_value must be equal to given shape {sizes}: {default_value}"
            )
        default_value = np.broadcast_to(found, sizes).tolist()
    return NumericColumn(_a_key(key), sizes, default_value, kind, normalizer_fn)


def bucketized_column(source_column: NumericColumn, boundaries: Sequence[float]) -> BucketizedColumn:
    """Returns a column of the bucket that a number falls into: `boundaries` b0 < b1 … cut (-inf, b0), [b0, b1), …

    Raises:
      ValueError: if the source is no numeric column of rank one, or the boundaries do not rise.
    """
    if not isinstance(source_column, NumericColumn):
        raise ValueError(
            f"source_column must be a column generated with numeric_column(). Given: {source_column}"
        )
    if len(source_column.shape) > 1:
        raise ValueError(f"source_column must be one-dimensional column. Given: {source_column}")
    rises = isinstance(boundaries, list | tuple) and all(
        a < b for a, b in zip(boundaries, boundaries[1:], strict=False)
    )
    if not boundaries or not rises:
        raise ValueError("boundaries must be a sorted list.")
    return BucketizedColumn(source_column, tuple(float(b) for b in boundaries))


def categorical_column_with_hash_bucket(key: str, hash_bucket_size: int, dtype: Any = string) -> HashedColumn:
    """Returns a column of hashes, as TensorFlow's fingerprint gives them, modulo the number of buckets.

    Raises:
      ValueError: if the number is not positive, or the dtype neither string nor integer.
    """
    if hash_bucket_size is None or hash_bucket_size < 1:
        raise ValueError(
            f"hash_bucket_size must be at least 1. hash_bucket_size: {hash_bucket_size}, key: {key}"
        )
    return HashedColumn(_a_key(key), hash_bucket_size, _a_dtype(dtype, key))


def categorical_column_with_identity(
    key: str, num_buckets: int, default_value: int | None = None
) -> IdentityColumn:
    """Returns a column of ids as they are.

    Args:
      key: the feature.
      num_buckets: ids are below it.
      default_value: what stands for other ids; None: they are an error of the run.

    Raises:
      ValueError: if the number is not positive, or the default not below it.
    """
    if num_buckets < 1:
        raise ValueError(f"num_buckets {num_buckets} < 1, column_name {key}")
    if default_value is not None and not 0 <= default_value < num_buckets:
        raise ValueError(f"default_value {default_value} not in range [0, {num_buckets}), column_name {key}")
    return IdentityColumn(_a_key(key), num_buckets, default_value)


def _others(key: str, default_value: Any, num_oov_buckets: int) -> None:
    if num_oov_buckets and default_value not in (None, -1):
        raise ValueError(f"Can't specify both num_oov_buckets and default_value in {key}.")
    if num_oov_buckets < 0:
        raise ValueError(f"Invalid num_oov_buckets {num_oov_buckets} in {key}.")


def categorical_column_with_vocabulary_list(
    key: str,
    vocabulary_list: Sequence[Any],
    dtype: Any = None,
    default_value: int = -1,
    num_oov_buckets: int = 0,
) -> VocabularyColumn:
    """Returns a column of places in a list.

    Args:
      key: the feature.
      vocabulary_list: texts or integers.
      dtype: the dtype of the feature; default that of the list.
      default_value: what stands for others; not with `num_oov_buckets`.
      num_oov_buckets: how many ids behind the list others are hashed to.

    Raises:
      ValueError: if the list is empty or holds something twice, or dtypes do not fit.
    """
    if vocabulary_list is None or not len(vocabulary_list):
        raise ValueError(f"vocabulary_list {vocabulary_list!r} must be non-empty, column_name: {key}")
    if len(set(vocabulary_list)) != len(vocabulary_list):
        raise ValueError(f"Duplicate keys in vocabulary_list {vocabulary_list!r}, column_name: {key}")
    own = (
        as_dtype(np.array(vocabulary_list).dtype.type)
        if not isinstance(vocabulary_list[0], str | bytes)
        else string
    )
    _others(key, default_value, num_oov_buckets)
    kind = _a_dtype(own if dtype is None else dtype, key)
    if (kind is string) != (own is string):
        raise ValueError(
            f"dtype {kind.name} and vocabulary dtype {own.name} do not match, column_name: {key}"
        )
    return VocabularyColumn(
        _a_key(key), tuple(vocabulary_list), None, len(vocabulary_list), kind, default_value, num_oov_buckets
    )


def categorical_column_with_vocabulary_file(
    key: str, vocabulary_file: Any, vocabulary_size: int | None = None, num_oov_buckets: int = 0,
    default_value: int | None = None, dtype: Any = string,
) -> VocabularyColumn:  # fmt: skip
    """Returns a column of the numbers of lines in a file.

    Args:
      key: the feature.
      vocabulary_file: the file, a word per line.
      vocabulary_size: how many lines count; default all.
      num_oov_buckets: how many ids behind them others are hashed to.
      default_value: what stands for others; not with `num_oov_buckets`; default -1.
      dtype: the dtype of the feature.

    Raises:
      ValueError: if there is no file or it has too few lines, or numbers do not fit.
    """
    if not vocabulary_file:
        raise ValueError(f"Missing vocabulary_file in {key}.")
    _others(key, default_value, num_oov_buckets)
    if vocabulary_size is None:
        path = Path(str(vocabulary_file))
        if not path.is_file():
            raise ValueError(f"vocabulary_file in {key} does not exist: {path}")
        with path.open("rb") as file:
            vocabulary_size = sum(1 for _ in file)
    if vocabulary_size < 1:
        raise ValueError(f"Invalid vocabulary_size in {key}: {vocabulary_size}")
    return VocabularyColumn(
        _a_key(key), None, str(vocabulary_file), vocabulary_size, _a_dtype(dtype, key),
        -1 if default_value is None else default_value, num_oov_buckets,
    )  # fmt: skip


def _categorical(column: Any) -> CategoricalColumn:
    if not isinstance(column, CategoricalColumn):
        raise ValueError(f"categorical_column must be a categorical column. Given: {column!r}")
    return column


def crossed_column(keys: Sequence[Any], hash_bucket_size: int, hash_key: int | None = None) -> CrossedColumn:
    """Returns a column of the hashed combinations of features.

    Args:
      keys: names of features, or categorical columns that hash nothing.
      hash_bucket_size: the number of buckets.
      hash_key: another key gives other hashes.

    Raises:
      ValueError: if there are fewer than two, or one is of another kind.
    """
    if not hash_bucket_size or hash_bucket_size < 1:
        raise ValueError(f"hash_bucket_size must be > 1. hash_bucket_size: {hash_bucket_size}")
    if not keys or len(keys) < 2:
        raise ValueError(f"keys must be a list with length > 1. Given: {keys}")
    for key in keys:
        if not isinstance(key, str | CategoricalColumn):
            raise ValueError(
                f"Unsupported key type. All keys must be either string, or categorical column. Given: {key}"
            )
        if isinstance(key, HashedColumn):
            raise ValueError(
                f"categorical_column_with_hash_bucket is not supported for crossing. Hashing before crossing will "
                f"increase probability of collision. Instead, use the feature name as a string. Given: {key}"
            )
    return CrossedColumn(tuple(keys), hash_bucket_size, hash_key)


def weighted_categorical_column(
    categorical_column: CategoricalColumn, weight_feature_key: str, dtype: Any = float32
) -> WeightedColumn:
    """Returns a column whose ids have weights, from another feature.

    Raises:
      ValueError: if the dtype is no number's.
    """
    if not isinstance(weight_feature_key, str):
        raise ValueError(f"weight_feature_key must be a string: {weight_feature_key!r}")
    kind = as_dtype(dtype)
    if not (kind.is_integer or kind.is_floating):
        raise ValueError(f"dtype {kind.name} is not convertible to float.")
    return WeightedColumn(_categorical(categorical_column), weight_feature_key, kind)


def indicator_column(categorical_column: CategoricalColumn) -> IndicatorColumn:
    """Returns a column that counts each id of a categorical column."""
    return IndicatorColumn(_categorical(categorical_column))


def embedding_column(
    categorical_column: CategoricalColumn, dimension: int, combiner: str = "mean", initializer: Any = None,
    ckpt_to_load_from: str | None = None, tensor_name_in_ckpt: str | None = None, max_norm: Any = None,
    trainable: bool = True, use_safe_embedding_lookup: bool = True,
) -> EmbeddingColumn:  # fmt: skip
    """Returns a column of trained vectors for the ids of a categorical column.

    Args:
      categorical_column: the ids.
      dimension: the size of the vectors.
      combiner: "mean", "sqrtn" or "sum": what is made of the vectors of several ids.
      initializer: of the table; default a truncated normal one of deviation 1 / sqrt(dimension).
      ckpt_to_load_from: a checkpoint that the table begins with.
      tensor_name_in_ckpt: its name there.
      max_norm: vectors of larger l2 norm are scaled down to it.
      trainable: whether the table is trained.
      use_safe_embedding_lookup: accepted; lookups are always safe.

    Raises:
      ValueError: if the dimension is not positive, or the checkpoint is given without a name, or the other way round.
    """
    del use_safe_embedding_lookup
    told = _table(dimension, combiner, initializer, ckpt_to_load_from, tensor_name_in_ckpt)
    return EmbeddingColumn(_categorical(categorical_column), *told, max_norm, trainable)


def _table(
    dimension: int, combiner: str, initializer: Any, checkpoint: Any, tensor: Any
) -> tuple[int, str, Any, Any, Any]:
    if dimension is None or dimension < 1:
        raise ValueError(f"Invalid dimension {dimension}.")
    if (checkpoint is None) != (tensor is None):
        raise ValueError("Must specify both `ckpt_to_load_from` and `tensor_name_in_ckpt` or none of them.")
    if initializer is not None and not callable(initializer):
        raise ValueError("initializer must be callable if specified.")
    if initializer is None:
        initializer = truncated_normal_initializer(0.0, 1 / math.sqrt(dimension))
    return dimension, combiner, initializer, checkpoint, tensor


def shared_embedding_columns(
    categorical_columns: Sequence[CategoricalColumn], dimension: int, combiner: str = "mean", initializer: Any = None,
    shared_embedding_collection_name: str | None = None, ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None, max_norm: Any = None, trainable: bool = True,
    use_safe_embedding_lookup: bool = True,
) -> list[EmbeddingColumn]:  # fmt: skip
    """Returns a column for each categorical column, with one table for all of them; see `embedding_column`.

    Raises:
      ValueError: if the columns differ in kind or in their numbers of ids.
    """
    del use_safe_embedding_lookup
    columns = [_categorical(column) for column in categorical_columns]
    plain = [c.categorical_column if isinstance(c, WeightedColumn) else c for c in columns]
    if len({type(column) for column in plain}) > 1 or len({column.num_buckets for column in plain}) > 1:
        raise ValueError(
            f"To use shared_embedding_column, all categorical_columns must have the same type and num_buckets. Given: "
            f"{[(type(column).__name__, column.num_buckets) for column in plain]}"
        )
    name = shared_embedding_collection_name or "_".join(sorted(c.name for c in columns)) + "_shared_embedding"
    told = _table(dimension, combiner, initializer, ckpt_to_load_from, tensor_name_in_ckpt)
    return [EmbeddingColumn(column, *told, max_norm, trainable, name) for column in columns]


def make_parse_example_spec(feature_columns: Any) -> dict[str, Any]:
    """Returns what `parse_example` needs for the features of columns.

    Raises:
      ValueError: if something is no column, or two columns want the same feature in different ways.
    """
    found: dict[str, Any] = {}
    for column in feature_columns:
        if not isinstance(column, Column):
            raise ValueError(f"All feature_columns must be feature columns. Given: {column!r}")
        for key, own in column.spec.items():
            if key in found and found[key] != own:
                raise ValueError(
                    f"feature_columns contain different parse_spec for key {key}: {own} and {found[key]}"
                )
            found[key] = own
    return found


__all__ = [
    "BucketizedColumn", "CategoricalColumn", "Column", "DenseColumn", "EmbeddingColumn", "Features",
    "bucketized_column", "categorical_column_with_hash_bucket", "categorical_column_with_identity",
    "categorical_column_with_vocabulary_file", "categorical_column_with_vocabulary_list", "crossed_column",
    "embedding_column", "indicator_column", "make_parse_example_spec", "numeric_column", "shared_embedding_columns",
    "weighted_categorical_column",
]  # fmt: skip
