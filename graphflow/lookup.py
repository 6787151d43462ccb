"""`gf.lookup`: tables that give a value for a key, filled from lists or files."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.graph import (
    GraphKeys,
    Operation,
    Tensor,
    add_to_collection,
    get_collection,
    name_scope,
)
from graphflow.namespace import lazy
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.ops.tables import LINE_NUMBER, WHOLE_LINE


class TextFileIndex:
    """Which column of a file: a number, or one of these."""

    WHOLE_LINE = WHOLE_LINE
    LINE_NUMBER = LINE_NUMBER


class TableInitializerBase:
    """What fills a table.

    Args:
      key_dtype: the dtype of keys.
      value_dtype: the dtype of values.
    """

    def __init__(self, key_dtype: Any, value_dtype: Any) -> None:
        self._key_dtype = as_dtype(key_dtype)
        self._value_dtype = as_dtype(value_dtype)

    @property
    def key_dtype(self) -> DType:
        """The dtype of keys."""
        return self._key_dtype

    @property
    def value_dtype(self) -> DType:
        """The dtype of values."""
        return self._value_dtype

    def initialize(self, table: Any) -> Operation:
        """Returns the operation that fills a table."""
        raise NotImplementedError


class KeyValueTensorInitializer(TableInitializerBase):
    """Fills a table from two tensors.

    Args:
      keys: a vector.
      values: a vector of the same length.
      key_dtype: the dtype of keys, if `keys` is no tensor.
      value_dtype: the dtype of values, likewise.
      name: a name.
    """

    def __init__(
        self, keys: Any, values: Any, key_dtype: Any = None, value_dtype: Any = None, name: str | None = None
    ) -> None:
        with name_scope(name, "key_value_init", [keys, values]):
            self._keys = convert_to_tensor(keys, key_dtype, name="keys")
            self._values = convert_to_tensor(values, value_dtype, name="values")
        self._name = name or "key_value_init"
        super().__init__(self._keys.dtype, self._values.dtype)

    def initialize(self, table: Any) -> Operation:
        """Returns the operation that fills a table."""
        _check_dtypes(table, self._keys.dtype, self._values.dtype)
        with name_scope(self._name, values=[table.resource_handle, self._keys, self._values]):
            filled: Operation = emit.InitializeTableV2(table.resource_handle, self._keys, self._values)
        add_to_collection(GraphKeys.TABLE_INITIALIZERS, filled)
        return filled


class TextFileInitializer(TableInitializerBase):
    """Fills a table from the lines of a file.

    Args:
      filename: the file; string scalar.
      key_dtype: the dtype of keys.
      key_index: the column of keys, or one of `TextFileIndex`.
      value_dtype: the dtype of values.
      value_index: the column of values, or one of `TextFileIndex`.
      vocab_size: how many lines count; None: all.
      delimiter: what stands between columns.
      name: a name.
      value_index_offset: added to line numbers.

    Raises:
      ValueError: for dtypes that do not go with `TextFileIndex`.
    """

    def __init__(
        self,
        filename: Any,
        key_dtype: Any,
        key_index: int,
        value_dtype: Any,
        value_index: int,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str | None = None,
        value_index_offset: int = 0,
    ) -> None:
        if not isinstance(filename, Tensor) and not filename:
            raise ValueError("Filename required")
        super().__init__(key_dtype, value_dtype)
        for what, index, dtype in (
            ("key", key_index, self._key_dtype),
            ("value", value_index, self._value_dtype),
        ):
            if index == LINE_NUMBER and not dtype.is_integer:
                raise ValueError(f"`{what}_dtype` must be integer for line numbers, got {dtype.name}")
            if index == WHOLE_LINE and dtype is not dtypes.string and not dtype.is_integer:
                raise ValueError(
                    f"`{what}_dtype` must be integer or string for whole lines, got {dtype.name}"
                )
            if index < -2:
                raise ValueError(f"`{what}_index` should be >= -2, got {index}")
        self._attrs = {
            "key_index": key_index,
            "value_index": value_index,
            "vocab_size": -1 if vocab_size is None else vocab_size,
            "delimiter": delimiter,
            "offset": value_index_offset,
        }
        self._filename = filename
        self._name = name or "text_file_init"

    def initialize(self, table: Any) -> Operation:
        """Returns the operation that fills a table."""
        _check_dtypes(table, self._key_dtype, self._value_dtype)
        with name_scope(self._name, values=[table.resource_handle]):
            path = convert_to_tensor(self._filename, dtypes.string, name="asset_filepath")
            filled: Operation = emit.InitializeTableFromTextFileV2(table.resource_handle, path, **self._attrs)
        add_to_collection(GraphKeys.TABLE_INITIALIZERS, filled)
        if path.op.type == "Const":
            add_to_collection(GraphKeys.ASSET_FILEPATHS, path)
        return filled


def _check_dtypes(table: Any, key: DType, value: DType) -> None:
    if table.key_dtype is not key or table.value_dtype is not value:
        raise TypeError(
            f"the table holds {table.key_dtype.name} -> {table.value_dtype.name}, what fills it gives "
            f"{key.name} -> {value.name}"
        )


class LookupInterface:
    """What all tables have in common.

    Args:
      key_dtype: the dtype of keys.
      value_dtype: the dtype of values.
    """

    _handle: Tensor

    def __init__(self, key_dtype: Any, value_dtype: Any) -> None:
        self._key_dtype = as_dtype(key_dtype)
        self._value_dtype = as_dtype(value_dtype)

    @property
    def key_dtype(self) -> DType:
        """The dtype of keys."""
        return self._key_dtype

    @property
    def value_dtype(self) -> DType:
        """The dtype of values."""
        return self._value_dtype

    @property
    def resource_handle(self) -> Tensor:
        """The handle: resource scalar."""
        return self._handle

    @property
    def name(self) -> str:
        """The name of the operation that makes the table, without scopes."""
        return self._handle.op.name.split("/")[-1]

    def size(self, name: str | None = None) -> Tensor:
        """Returns how many keys there are; int64 scalar."""
        with name_scope(name, f"{self.name}_Size", [self._handle]):
            count: Tensor = emit.LookupTableSizeV2(self._handle)
            return count

    def lookup(self, keys: Any, name: str | None = None) -> Any:
        """Returns the value of each key.

        Args:
          keys: a tensor or SparseTensor of the dtype of keys.
          name: a name.

        Raises:
          TypeError: for another dtype.
        """
        given = keys.values if isinstance(keys, SparseTensor) else keys
        with name_scope(name, f"{self.name}_Lookup", [self._handle]) as scope:
            tensor = convert_to_tensor(given, None if isinstance(given, Tensor) else self._key_dtype)
            if tensor.dtype is not self._key_dtype:
                raise TypeError(
                    f"Signature mismatch. Keys must be dtype {self._key_dtype.name}, got {tensor.dtype.name}."
                )
            values: Tensor = emit.LookupTableFindV2(self._handle, tensor, self._default, name=scope)
            outer = (
                tensor.shape[: tensor.shape.rank - len(self._key_shape)]
                if tensor.shape.rank
                else tensor.shape
            )
            values.set_shape(outer.concatenate(self._default.shape))
        if isinstance(keys, SparseTensor):
            return SparseTensor(keys.indices, values, keys.dense_shape)
        return values

    _default: Tensor
    _key_shape: tuple[int, ...] = ()

    def export(self, name: str | None = None) -> tuple[Tensor, Tensor]:
        """Returns all keys and their values."""
        with name_scope(name, f"{self.name}_Export", [self._handle]):
            keys, values = emit.LookupTableExportV2(
                self._handle, Tkeys=self._key_dtype, Tvalues=self._value_dtype
            )
            keys.set_shape([None, *self._key_shape])
            values.set_shape([None, *self._default.shape.as_list()])
            return keys, values


class StaticHashTable(LookupInterface):
    """A table that is filled once; run `gf.tables_initializer()` first.

    Args:
      initializer: what fills it.
      default_value: the value of keys that are not there.
      name: a name.
      experimental_is_anonymous: accepted.
      shared_name: tables that share one name are one table of the session.
    """

    def __init__(
        self,
        initializer: TableInitializerBase,
        default_value: Any,
        name: str | None = None,
        experimental_is_anonymous: bool = False,
        shared_name: str | None = None,
    ) -> None:
        super().__init__(initializer.key_dtype, initializer.value_dtype)
        self._handle = emit.HashTableV2(
            shared_name=shared_name, key_dtype=self._key_dtype, value_dtype=self._value_dtype,
            name=name or "hash_table",
        )  # fmt: skip
        self._default = convert_to_tensor(default_value, self._value_dtype)
        self._initializer = initializer.initialize(self)

    @property
    def initializer(self) -> Operation:
        """The operation that fills it."""
        return self._initializer

    init = initializer

    @property
    def default_value(self) -> Tensor:
        """The value of keys that are not there."""
        return self._default


class HashTable(StaticHashTable):
    """A table that is filled once, as `contrib.lookup` has it; see `StaticHashTable`.

    Args:
      initializer: what fills it.
      default_value: the value of keys that are not there.
      shared_name: tables that share one name are one table of the session.
      name: a name.
    """

    def __init__(
        self,
        initializer: TableInitializerBase,
        default_value: Any,
        shared_name: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(initializer, default_value, name, shared_name=shared_name)


class _MutableTable(LookupInterface):
    """What tables that may change have in common."""

    def insert(self, keys: Any, values: Any, name: str | None = None) -> Operation:
        """Returns the operation that sets values."""
        with name_scope(name, f"{self.name}_lookup_table_insert", [self._handle]):
            done: Operation = emit.LookupTableInsertV2(
                self._handle,
                convert_to_tensor(keys, self._key_dtype),
                convert_to_tensor(values, self._value_dtype),
            )
            return done

    def remove(self, keys: Any, name: str | None = None) -> Operation:
        """Returns the operation that forgets keys."""
        with name_scope(name, f"{self.name}_lookup_table_remove", [self._handle]):
            done: Operation = emit.LookupTableRemoveV2(self._handle, convert_to_tensor(keys, self._key_dtype))
            return done


class MutableHashTable(_MutableTable):
    """A table that may change.

    Args:
      key_dtype: the dtype of keys.
      value_dtype: the dtype of values.
      default_value: the value of keys that are not there; its shape, which has to be known, is that of all values.
      shared_name: tables that share one name are one table of the session.
      name: a name.
      checkpoint: accepted.

    Raises:
      ValueError: if the shape of the default value is not known.
    """

    def __init__(
        self,
        key_dtype: Any,
        value_dtype: Any,
        default_value: Any,
        shared_name: str | None = None,
        name: str = "MutableHashTable",
        checkpoint: bool = True,
    ) -> None:
        super().__init__(key_dtype, value_dtype)
        self._default = _default_of(default_value, self._value_dtype)
        kept = {
            "shared_name": shared_name,
            "key_dtype": self._key_dtype,
            "value_dtype": self._value_dtype,
            "name": name,
        }
        if self._default.shape.rank == 0:
            self._handle = emit.MutableHashTableV2(**kept)
        else:
            self._handle = emit.MutableHashTableOfTensorsV2(value_shape=self._default.shape, **kept)


class DenseHashTable(_MutableTable):
    """A table that may change, whose keys and values may be tensors; two keys are set apart.

    Args:
      key_dtype: the dtype of keys.
      value_dtype: the dtype of values.
      default_value: the value of keys that are not there; its shape is that of all values.
      empty_key: a key that is never used; its shape is that of all keys.
      deleted_key: another one.
      initial_num_buckets: accepted; a power of two.
      name: a name.
      checkpoint: accepted.
      experimental_is_anonymous: accepted.

    Raises:
      ValueError: if the shape of the default value or of a key is not known.
    """

    def __init__(
        self,
        key_dtype: Any,
        value_dtype: Any,
        default_value: Any,
        empty_key: Any,
        deleted_key: Any,
        initial_num_buckets: int | None = None,
        name: str = "MutableDenseHashTable",
        checkpoint: bool = True,
        experimental_is_anonymous: bool = False,
    ) -> None:
        super().__init__(key_dtype, value_dtype)
        self._default = _default_of(default_value, self._value_dtype)
        empty, deleted = (_default_of(key, self._key_dtype) for key in (empty_key, deleted_key))
        self._key_shape = tuple(size or 0 for size in empty.shape.as_list())
        buckets = {} if initial_num_buckets is None else {"initial_num_buckets": initial_num_buckets}
        self._handle = emit.MutableDenseHashTableV2(
            empty,
            deleted,
            value_dtype=self._value_dtype,
            value_shape=self._default.shape,
            name=name,
            **buckets,
        )

    def erase(self, keys: Any, name: str | None = None) -> Operation:
        """Returns the operation that forgets keys; another name of `remove`."""
        return self.remove(keys, name)


def _default_of(value: Any, dtype: DType) -> Tensor:
    tensor = convert_to_tensor(value, dtype)
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"the shapes of keys and values must be known, a default has shape {tensor.shape}")
    return tensor


class IdTableWithHashBuckets:
    """A table of numbers whose unknown keys go into further buckets, by their hash.

    Args:
      table: the table, or None: all keys go into buckets.
      num_oov_buckets: how many buckets there are.
      name: a name.
      key_dtype: the dtype of keys.
    """

    def __init__(
        self,
        table: StaticHashTable | None,
        num_oov_buckets: int,
        name: str | None = None,
        key_dtype: Any = None,
    ) -> None:
        if table is None and num_oov_buckets <= 0:
            raise ValueError("oov_buckets must be > 0 if no table is supplied.")
        self._table = table
        self._buckets = num_oov_buckets
        self._name = name or "id_table"
        self._key_dtype = as_dtype(key_dtype or (table.key_dtype if table is not None else dtypes.string))

    @property
    def key_dtype(self) -> DType:
        """The dtype of keys."""
        return self._key_dtype

    @property
    def value_dtype(self) -> DType:
        """The dtype of values: int64."""
        return dtypes.int64

    @property
    def initializer(self) -> Operation:
        """The operation that fills it."""
        if self._table is not None:
            return self._table.initializer
        nothing: Operation = emit.NoOp()
        return nothing

    init = initializer

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def resource_handle(self) -> Tensor | None:
        """The handle of the table inside, if there is one."""
        return None if self._table is None else self._table.resource_handle

    def size(self, name: str | None = None) -> Tensor:
        """Returns how many numbers there are; int64 scalar."""
        with name_scope(name, f"{self._name}_Size"):
            known: Any = np.int64(0) if self._table is None else self._table.size()
            return convert_to_tensor(known + np.int64(self._buckets))

    def lookup(self, keys: Any, name: str | None = None) -> Any:
        """Returns the number of each key.

        Args:
          keys: a tensor or SparseTensor of strings or integers.
          name: a name.

        Raises:
          TypeError: for another dtype.
        """
        given = keys.values if isinstance(keys, SparseTensor) else keys
        with name_scope(name, f"{self._name}_Lookup"):
            tensor = convert_to_tensor(given)
            if tensor.dtype is not self._key_dtype:
                raise TypeError(
                    f"Signature mismatch. Keys must be dtype {self._key_dtype.name}, got {tensor.dtype.name}."
                )
            whole = emit.Cast(tensor, DstT=dtypes.int64) if tensor.dtype.is_integer else tensor
            numbers = whole if self._table is None else self._table.lookup(
                emit.Cast(whole, DstT=self._table.key_dtype) if whole.dtype.is_integer else whole
            )  # fmt: skip
            if self._buckets:
                texts = emit.AsString(whole) if whole.dtype.is_integer else whole
                buckets = emit.StringToHashBucketFast(texts, num_buckets=self._buckets)
                if self._table is None:
                    numbers = buckets
                else:
                    buckets = buckets + self._table.size()
                    known = emit.NotEqual(numbers, self._table.default_value)
                    numbers = emit.SelectV2(known, numbers, buckets)
        if isinstance(keys, SparseTensor):
            return SparseTensor(keys.indices, numbers, keys.dense_shape)
        return numbers


class StaticVocabularyTable(IdTableWithHashBuckets):
    """A table of numbers from 0 on, whose unknown keys go into further buckets.

    Args:
      initializer: what fills it, with int64 values; None: all keys go into buckets.
      num_oov_buckets: how many buckets there are; at least one.
      lookup_key_dtype: the dtype of keys.
      name: a name.
      experimental_is_anonymous: accepted.
    """

    def __init__(
        self,
        initializer: TableInitializerBase | None,
        num_oov_buckets: int,
        lookup_key_dtype: Any = None,
        name: str | None = None,
        experimental_is_anonymous: bool = False,
    ) -> None:
        if num_oov_buckets <= 0:
            raise ValueError("oov_buckets must be > 0.")
        if initializer is not None and initializer.value_dtype is not dtypes.int64:
            raise TypeError(f"Invalid value dtype {initializer.value_dtype.name}, expected int64.")
        table = None if initializer is None else StaticHashTable(initializer, -1)
        super().__init__(table, num_oov_buckets, name, lookup_key_dtype)


def index_table_from_file(
    vocabulary_file: Any = None,
    num_oov_buckets: int = 0,
    vocab_size: int | None = None,
    default_value: int = -1,
    hasher_spec: Any = None,
    key_dtype: Any = dtypes.string,
    name: str | None = None,
    key_column_index: int = WHOLE_LINE,
    value_column_index: int = LINE_NUMBER,
    delimiter: str = "\t",
) -> Any:
    """Returns the table from the words of a file to their line numbers.

    Args:
      vocabulary_file: the file, a word per line.
      num_oov_buckets: how many further numbers unknown words get, by their hash.
      vocab_size: how many lines count; None: all.
      default_value: the number of unknown words, if there are no buckets.
      hasher_spec: accepted; the hash is the fast one.
      key_dtype: the dtype of words: string or an integer.
      name: a name.
      key_column_index, value_column_index, delimiter: see `TextFileInitializer`.

    Raises:
      ValueError: if there is no file, or numbers are negative.
    """
    if not isinstance(vocabulary_file, Tensor) and not vocabulary_file:
        raise ValueError("vocabulary_file must be specified and must not be empty.")
    _check_sizes(num_oov_buckets, vocab_size)
    with name_scope(name, "string_to_index"):
        words = as_dtype(key_dtype)
        kind = dtypes.int64 if words.is_integer else words
        table = StaticHashTable(
            TextFileInitializer(
                vocabulary_file,
                kind,
                key_column_index,
                dtypes.int64,
                value_column_index,
                vocab_size,
                delimiter,
            ),
            default_value,
        )
        return _with_buckets(table, num_oov_buckets, words)


def index_table_from_tensor(
    vocabulary_list: Any = None,
    num_oov_buckets: int = 0,
    default_value: int = -1,
    hasher_spec: Any = None,
    dtype: Any = dtypes.string,
    name: str | None = None,
    mapping: Any = None,
) -> Any:
    """Returns the table from words to their places in a list; see `index_table_from_file`.

    Args:
      vocabulary_list: a vector of words.
      num_oov_buckets, default_value, hasher_spec, name: see `index_table_from_file`.
      dtype: the dtype of words.
      mapping: the old name of `vocabulary_list`.
    """
    words = mapping if vocabulary_list is None else vocabulary_list
    if words is None:
        raise ValueError("vocabulary_list must be specified.")
    _check_sizes(num_oov_buckets, None)
    with name_scope(name, "string_to_index"):
        kind = as_dtype(dtype)
        keys = convert_to_tensor(words, None if isinstance(words, Tensor) else kind)
        whole = emit.Cast(keys, DstT=dtypes.int64) if keys.dtype.is_integer else keys
        count = emit.Size(whole, out_type=dtypes.int64)
        values = emit.Range(np.int64(0), count, np.int64(1))
        table = StaticHashTable(KeyValueTensorInitializer(whole, values), default_value)
        return _with_buckets(table, num_oov_buckets, kind)


def _check_sizes(buckets: int, vocabulary: int | None) -> None:
    if buckets < 0:
        raise ValueError(f"num_oov_buckets must be greater or equal than 0, got {buckets}.")
    if vocabulary is not None and vocabulary < 1:
        raise ValueError(f"vocab_size must be greater than 0, got {vocabulary}.")


def _with_buckets(table: StaticHashTable, buckets: int, key_dtype: DType) -> Any:
    if buckets or key_dtype is not table.key_dtype:
        return IdTableWithHashBuckets(table, buckets, key_dtype=key_dtype)
    return table


def index_to_string_table_from_file(
    vocabulary_file: Any,
    vocab_size: int | None = None,
    default_value: str = "UNK",
    name: str | None = None,
    key_column_index: int = LINE_NUMBER,
    value_column_index: int = WHOLE_LINE,
    delimiter: str = "\t",
) -> StaticHashTable:
    """Returns the table from line numbers to the words of a file; see `index_table_from_file`.

    Args:
      vocabulary_file, vocab_size, name: see `index_table_from_file`.
      default_value: the word of unknown numbers.
      key_column_index, value_column_index, delimiter: see `TextFileInitializer`.
    """
    if not isinstance(vocabulary_file, Tensor) and not vocabulary_file:
        raise ValueError("vocabulary_file must be specified and must not be empty.")
    _check_sizes(0, vocab_size)
    with name_scope(name, "index_to_string"):
        return StaticHashTable(
            TextFileInitializer(
                vocabulary_file, dtypes.int64, key_column_index, dtypes.string, value_column_index, vocab_size,
                delimiter,
            ),
            default_value,
        )  # fmt: skip


def index_to_string_table_from_tensor(
    vocabulary_list: Any = None, default_value: str = "UNK", name: str | None = None, mapping: Any = None
) -> StaticHashTable:
    """Returns the table from places in a list to its words.

    Args:
      vocabulary_list: a string vector.
      default_value: the word of unknown numbers.
      name: a name.
      mapping: the old name of `vocabulary_list`.
    """
    words = mapping if vocabulary_list is None else vocabulary_list
    if words is None:
        raise ValueError("vocabulary_list must be specified.")
    with name_scope(name, "index_to_string"):
        values = convert_to_tensor(words, dtypes.string)
        keys = emit.Range(np.int64(0), emit.Size(values, out_type=dtypes.int64), np.int64(1))
        return StaticHashTable(KeyValueTensorInitializer(keys, values), default_value)


def tables_initializer(name: str = "init_all_tables") -> Operation:
    """Returns the operation that fills all tables of the graph."""
    initializers = get_collection(GraphKeys.TABLE_INITIALIZERS)
    return group(*initializers, name=name)


def initialize_all_tables(name: str = "init_all_tables") -> Operation:
    """Returns the operation that fills all tables; the old name of `tables_initializer`."""
    return tables_initializer(name)


__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "DenseHashTable", "HashTable", "IdTableWithHashBuckets", "KeyValueTensorInitializer", "LookupInterface",
    "MutableHashTable",
    "StaticHashTable", "StaticVocabularyTable", "TableInitializerBase", "TextFileIndex", "TextFileInitializer",
    "index_table_from_file", "index_table_from_tensor", "index_to_string_table_from_file",
    "index_to_string_table_from_tensor",
]  # fmt: skip
