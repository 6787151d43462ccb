"""Lookup tables: resources that give a value for a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import FailedPreconditionError, InvalidArgumentError
from graphflow.gfile import local_path
from graphflow.opdef import op
from graphflow.ops import row_rules, rules
from graphflow.resources import Array, Resource, resource_of
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.tfrecord import open_to_read

WHOLE_LINE, LINE_NUMBER = -2, -1


class Table(Resource):
    """A table that may change.

    Attributes:
      key_type, value_type: the dtypes.
    """

    kind: ClassVar[str] = "table"

    def __init__(self, key_type: DType, value_type: DType) -> None:
        super().__init__()
        self.key_type, self.value_type = key_type, value_type
        self._held: dict[Any, Any] = {}

    def _ready(self) -> None:
        """Raises if nobody may ask yet."""

    def check(self, keys: DType, values: DType | None) -> None:
        """Refuses other dtypes."""
        if keys is not self.key_type or (values is not None and values is not self.value_type):
            raise InvalidArgumentError(
                None,
                None,
                f"Conflicting key/value dtypes {self.key_type.name}->{self.value_type.name} with "
                f"{keys.name}->{values.name if values is not None else '?'} for table {self.name}",
            )

    def find(self, keys: Array, default: Array) -> Array:
        """The value of each key; the default, a scalar or one per key, where there is none."""
        with self.changed:
            self._ready()
            get = self._held.get
            result: Array = np.empty(keys.shape, self.value_type.numpy)
            flat = keys.reshape(-1).tolist()
            if default.ndim == 0 or default.size == 1:
                other = default.reshape(-1)[0]
                result.reshape(-1)[:] = [get(key, other) for key in flat]
            elif default.shape == keys.shape:
                others = default.reshape(-1).tolist()
                result.reshape(-1)[:] = [get(key, other) for key, other in zip(flat, others, strict=True)]
            else:
                raise InvalidArgumentError(
                    None,
                    None,
                    f"Expected shape {list(keys.shape)} or a scalar for the default value, got {list(default.shape)}",
                )
            return result

    def insert(self, keys: Array, values: Array) -> None:
        """Sets values."""
        if keys.shape != values.shape:
            raise InvalidArgumentError(
                None, None, f"keys have shape {list(keys.shape)}, values {list(values.shape)}"
            )
        with self.changed:
            self._held.update(zip(keys.reshape(-1).tolist(), values.reshape(-1).tolist(), strict=True))

    def replace(self, keys: Array, values: Array) -> None:
        """Sets all that there is."""
        with self.changed:
            self._held.clear()
            self.insert(keys, values)

    def remove(self, keys: Array) -> None:
        """Forgets keys."""
        with self.changed:
            for key in keys.reshape(-1).tolist():
                self._held.pop(key, None)

    def export(self) -> tuple[Array, Array]:
        """All keys and their values."""
        with self.changed:
            self._ready()
            return self._vector(self._held.keys(), self.key_type), self._vector(
                self._held.values(), self.value_type
            )

    @staticmethod
    def _vector(items: Any, dtype: DType) -> Array:
        result: Array = np.empty(len(items), dtype.numpy)
        result[:] = list(items)
        return result

    def size(self) -> int:
        """How many keys there are."""
        with self.changed:
            self._ready()
            return len(self._held)


class ShapedTable(Table):
    """A table that may change, whose keys and values may be tensors.

    Args:
      key_type, value_type: the dtypes.
      key_shape, value_shape: the shapes of one key and of one value.
      barred: keys that may not be used, and what they are called.
    """

    def __init__(
        self, key_type: DType, value_type: DType, key_shape: tuple[int, ...], value_shape: tuple[int, ...],
        barred: Sequence[tuple[str, Array]] = (),
    ) -> None:  # fmt: skip
        super().__init__(key_type, value_type)
        self._key_shape, self._value_shape = key_shape, value_shape
        self._barred = {self._flat(key)[1][0]: what for what, key in barred}

    def _flat(self, keys: Array) -> tuple[tuple[int, ...], list[Any]]:
        """The shape around some keys, and the keys one after another, as what a dictionary takes."""
        outer = keys.shape[: max(0, keys.ndim - len(self._key_shape))]
        if keys.shape != outer + self._key_shape:
            raise InvalidArgumentError(
                None,
                None,
                f"Expected key shape {list(self._key_shape)} at the end, got keys of {list(keys.shape)}",
            )
        if not self._key_shape:
            return outer, list(keys.reshape(-1).tolist())
        rows = keys.reshape(math.prod(outer), math.prod(self._key_shape)).tolist()
        return outer, [tuple(row) for row in rows]

    def _allowed(self, keys: Array) -> tuple[tuple[int, ...], list[Any]]:
        outer, flat = self._flat(keys)
        for key in flat if self._barred else ():
            if key in self._barred:
                raise InvalidArgumentError(
                    None, None, f"Using the {self._barred[key]} as a table key is not allowed: {key!r}"
                )
        return outer, flat

    def find(self, keys: Array, default: Array) -> Array:
        """The value of each key; the default, one for all or one for each, where there is none."""
        outer, flat = self._allowed(keys)
        result: Array = np.empty(outer + self._value_shape, self.value_type.numpy)
        if default.shape not in (self._value_shape, result.shape):
            raise InvalidArgumentError(
                None, None, f"Expected shape {list(self._value_shape)} or {list(result.shape)} for the default value, "
                f"got {list(default.shape)}",
            )  # fmt: skip
        result[...] = default
        rows = result.reshape((len(flat), *self._value_shape))
        with self.changed:
            for i, key in enumerate(flat):
                value = self._held.get(key)
                if value is not None:
                    rows[i] = value
        return result

    def insert(self, keys: Array, values: Array) -> None:
        """Sets values."""
        outer, flat = self._allowed(keys)
        if values.shape != outer + self._value_shape:
            raise InvalidArgumentError(
                None,
                None,
                f"Expected shape {list(outer + self._value_shape)} for values, got {list(values.shape)}",
            )
        with self.changed:
            self._held.update(
                zip(flat, np.array(values).reshape((len(flat), *self._value_shape)), strict=True)
            )

    def remove(self, keys: Array) -> None:
        """Forgets keys."""
        _, flat = self._allowed(keys)
        with self.changed:
            for key in flat:
                self._held.pop(key, None)

    def export(self) -> tuple[Array, Array]:
        """All keys and their values."""
        with self.changed:
            count = len(self._held)
            keys: Array = np.empty((count, *self._key_shape), self.key_type.numpy)
            values: Array = np.empty((count, *self._value_shape), self.value_type.numpy)
            for i, (key, value) in enumerate(self._held.items()):
                keys[i] = np.array(key, keys.dtype).reshape(self._key_shape)
                values[i] = value
            return keys, values


class FixedTable(Table):
    """A table that is filled once."""

    def __init__(self, key_type: DType, value_type: DType) -> None:
        super().__init__(key_type, value_type)
        self._filled = False

    def _ready(self) -> None:
        if not self._filled:
            raise FailedPreconditionError(None, None, "Table not initialized.")

    def fill(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Sets all that there is; to do it again is well as long as it is the same.

        Raises:
          InvalidArgumentError: for a key with two values.
          FailedPreconditionError: if the table holds something else.
        """
        made: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            if made.setdefault(key, value) != value:
                raise InvalidArgumentError(
                    None, None, f"HashTable has different value for same key. Key {_shown(key)} has "
                    f"{_shown(made[key])} and trying to add value {_shown(value)}",
                )  # fmt: skip
        with self.changed:
            if self._filled and made != self._held:
                raise FailedPreconditionError(None, None, "Table already initialized.")
            self._held, self._filled = made, True


def _shown(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


# ---------------------------------------------------------------------------- ops

_KEPT = "container:string=; shared_name:string=; use_node_name_sharing:bool=false; key_dtype:type; value_dtype:type"


def _table(
    kind: type[Table], make: Callable[[], Table], run: Any, container: str, shared_name: str, node_name: str,
    by_node_name: bool,
) -> Array:  # fmt: skip
    found = run.resources.get(
        kind,
        make,
        container=container,
        shared_name=shared_name,
        node_name=node_name,
        private=not by_node_name,
    )
    return found.handle()


@op("HashTableV2", "", "table_handle:resource", _KEPT, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def hash_table_op(
    *, container: str, shared_name: str, use_node_name_sharing: bool, key_dtype: DType, value_dtype: DType,
    context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a table that is filled once."""
    return _table(
        FixedTable, lambda: FixedTable(key_dtype, value_dtype), context, container, shared_name, node_name,
        use_node_name_sharing,
    )  # fmt: skip


@op("MutableHashTableV2", "", "table_handle:resource", _KEPT, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def mutable_hash_table_op(
    *, container: str, shared_name: str, use_node_name_sharing: bool, key_dtype: DType, value_dtype: DType,
    context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a table that may change."""
    return _table(
        Table, lambda: Table(key_dtype, value_dtype), context, container, shared_name, node_name,
        use_node_name_sharing,
    )  # fmt: skip


def _known(shape: TensorShape) -> tuple[int, ...]:
    sizes = [size for size in shape.as_tuple() or () if size is not None]
    if not shape.is_fully_defined():
        raise InvalidArgumentError(None, None, f"value_shape must be known, is {shape}")
    return tuple(sizes)


@op("MutableHashTableOfTensorsV2", "", "table_handle:resource", f"{_KEPT}; value_shape:shape=[]",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def mutable_hash_table_of_tensors_op(
    *, container: str, shared_name: str, use_node_name_sharing: bool, key_dtype: DType, value_dtype: DType,
    value_shape: TensorShape, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a table whose values are tensors of one shape."""
    return _table(
        ShapedTable, lambda: ShapedTable(key_dtype, value_dtype, (), _known(value_shape)), context, container,
        shared_name, node_name, use_node_name_sharing,
    )  # fmt: skip


@op("MutableDenseHashTableV2", "empty_key:key_dtype; deleted_key:key_dtype", "table_handle:resource",
    f"{_KEPT}; value_shape:shape=[]; initial_num_buckets:int=131072; max_load_factor:float=0.8",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def mutable_dense_hash_table_op(
    empty_key: Array, deleted_key: Array, *, container: str, shared_name: str, use_node_name_sharing: bool,
    key_dtype: DType, value_dtype: DType, value_shape: TensorShape, initial_num_buckets: int,
    max_load_factor: float, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a table of which two keys mean "nothing here" and "no longer here", and may not be used."""
    if not 0 < max_load_factor < 1:
        raise InvalidArgumentError(
            None, None, f"max_load_factor must be between 0 and 1, got: {max_load_factor}"
        )
    if initial_num_buckets <= 0 or initial_num_buckets & (initial_num_buckets - 1):
        raise InvalidArgumentError(
            None, None, f"Number of buckets must be at least 4 and a power of 2, got: {initial_num_buckets}"
        )
    if empty_key.shape != deleted_key.shape or np.array_equal(empty_key, deleted_key):
        raise InvalidArgumentError(None, None, "Empty and deleted keys must have same shape and differ")
    barred = [("empty_key", empty_key), ("deleted_key", deleted_key)]
    return _table(
        ShapedTable, lambda: ShapedTable(key_dtype, value_dtype, empty_key.shape, _known(value_shape), barred),
        context, container, shared_name, node_name, use_node_name_sharing,
    )  # fmt: skip


def _fixed(handle: Array, keys: DType, values: DType) -> FixedTable:
    table = resource_of(handle, FixedTable)
    table.check(keys, values)
    return table


@op("InitializeTableV2", "table_handle:resource; keys:Tkey; values:Tval", "", "Tkey:type; Tval:type",
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def initialize_table_op(table_handle: Array, keys: Array, values: Array, *, Tkey: DType, Tval: DType) -> None:
    """Fills a table."""
    if keys.shape != values.shape or keys.ndim != 1:
        raise InvalidArgumentError(
            None, None,
            f"Keys and values must be vectors of one length, got {list(keys.shape)} and {list(values.shape)}",
        )  # fmt: skip
    _fixed(table_handle, Tkey, Tval).fill(keys.tolist(), values.tolist())


@op("InitializeTableFromTextFileV2", "table_handle:resource; filename:string", "",
    "key_index:int>=-2; value_index:int>=-2; vocab_size:int>=-1=-1; delimiter:string=\t; offset:int=0",
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def initialize_table_from_text_file_op(
    table_handle: Array, filename: Array, *, key_index: int, value_index: int, vocab_size: int, delimiter: str,
    offset: int,
) -> None:  # fmt: skip
    """Fills a table from the lines of a file."""
    table = resource_of(table_handle, FixedTable)
    if len(delimiter) != 1:
        raise InvalidArgumentError(None, None, f"delimiter must be one letter, got {delimiter!r}")
    path = local_path(bytes(filename[()]).decode(errors="surrogateescape"))
    with open_to_read(path) as file:
        lines = file.read().split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if vocab_size >= 0:
        if len(lines) < vocab_size:
            raise InvalidArgumentError(
                None, None,
                f"Invalid vocab_size in {path}: expected {vocab_size} but got {len(lines)}",
            )  # fmt: skip
        lines = lines[:vocab_size]

    def column(index: int, dtype: DType) -> list[Any]:
        if index == LINE_NUMBER:
            if not dtype.is_integer:
                raise InvalidArgumentError(None, None, f"line numbers are no {dtype.name}")
            return [number + offset for number in range(len(lines))]
        found: list[Any] = []
        for number, line in enumerate(lines):
            text = line.removesuffix(b"\r")
            if index != WHOLE_LINE:
                parts = text.split(delimiter.encode())
                if index >= len(parts):
                    raise InvalidArgumentError(
                        None, None, f"Invalid number of columns in {path} line {number} ({text!r}): expected at "
                        f"least {index + 1} got {len(parts)}",
                    )  # fmt: skip
                text = parts[index]
            try:
                found.append(
                    text if dtype.name == "string" else int(text) if dtype.is_integer else float(text)
                )
            except ValueError:
                raise InvalidArgumentError(
                    None, None, f"Field {text!r} in line {number} of {path} is not a valid {dtype.name}."
                ) from None
        return found

    keys = column(key_index, table.key_type)
    values = column(value_index, table.value_type)
    # The last of equal keys does not count, and is no error only if its value is the same.
    table.fill(keys, values)


def _found(node: Any) -> TensorShape:
    # Where one default is a tensor, values may be, and keys.
    keys: TensorShape = node.inputs[1].shape
    return keys if node.inputs[2].shape.rank == 0 else UNKNOWN


@op("LookupTableFindV2", "table_handle:resource; keys:Tin; default_value:Tout", "values:Tout",
    "Tin:type; Tout:type", infer=_found, effects="host", differentiable=False)  # fmt: skip
def lookup_table_find_op(
    table_handle: Array, keys: Array, default_value: Array, *, Tin: DType, Tout: DType
) -> Array:
    """The value of each key."""
    table = resource_of(table_handle, Table)
    table.check(Tin, Tout)
    return table.find(keys, default_value)


lookup_table_find_op.by_row(row_rules.looked_up)


@op("LookupTableInsertV2", "table_handle:resource; keys:Tin; values:Tout", "", "Tin:type; Tout:type",
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def lookup_table_insert_op(
    table_handle: Array, keys: Array, values: Array, *, Tin: DType, Tout: DType
) -> None:
    """Sets values."""
    table = resource_of(table_handle, Table)
    table.check(Tin, Tout)
    if isinstance(table, FixedTable):
        raise InvalidArgumentError(None, None, f"table {table.name!r} is filled once, and does not change")
    table.insert(keys, values)


@op("LookupTableImportV2", "table_handle:resource; keys:Tin; values:Tout", "", "Tin:type; Tout:type",
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def lookup_table_import_op(
    table_handle: Array, keys: Array, values: Array, *, Tin: DType, Tout: DType
) -> None:
    """Sets all that there is."""
    table = resource_of(table_handle, Table)
    table.check(Tin, Tout)
    if isinstance(table, FixedTable):
        table.fill(keys.reshape(-1).tolist(), values.reshape(-1).tolist())
    else:
        table.replace(keys, values)


@op("LookupTableRemoveV2", "table_handle:resource; keys:Tin", "", "Tin:type", infer=rules.no_output,
    effects="host", differentiable=False)  # fmt: skip
def lookup_table_remove_op(table_handle: Array, keys: Array, *, Tin: DType) -> None:
    """Forgets keys."""
    table = resource_of(table_handle, Table)
    table.check(Tin, None)
    table.remove(keys)


@op("LookupTableExportV2", "table_handle:resource", "keys:Tkeys; values:Tvalues", "Tkeys:type; Tvalues:type",
    infer=lambda node: [UNKNOWN, UNKNOWN], effects="host", differentiable=False)  # fmt: skip
def lookup_table_export_op(table_handle: Array) -> tuple[Array, Array]:
    """All keys and their values."""
    return resource_of(table_handle, Table).export()


@op("LookupTableSizeV2", "table_handle:resource", "size:int64", "", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def lookup_table_size_op(table_handle: Array) -> Array:
    """How many keys there are."""
    return np.asarray(resource_of(table_handle, Table).size(), np.int64)


__all__: list[str] = []
