"""Parsing: texts and messages as numbers. Files of lines and of records become tensors here."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import DataLossError, InvalidArgumentError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import row_rules, rules
from graphflow.ops.messages import messages
from graphflow.ops.rules import Array
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

_HOST_IS_LITTLE = sys.byteorder == "little"


def _scalar_text(value: bytes) -> Array:
    return np.array(value, object)


def _fail(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


# ---------------------------------------------------------------------------- raw bytes


def _more_axis(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    return shape.concatenate(TensorShape([None]))


@op("DecodeRaw", "bytes:string", "output:out_type",
    "out_type:type{float16|float32|float64|int32|uint16|uint8|int16|int8|int64|complex64|complex128|bool|bfloat16}; "
    "little_endian:bool=true",
    infer=_more_axis, differentiable=False)  # fmt: skip
def decode_raw_op(bytes: Array, *, out_type: DType, little_endian: bool) -> Array:
    """Numbers whose bytes stand in texts of one length."""
    size = out_type.size
    items = [memoryview(item) for item in bytes.reshape(-1)]
    length = len(items[0]) if items else 0
    for i, item in enumerate(items):
        if len(item) != length:
            raise _fail(
                "DecodeRaw requires input strings to all be the same size, but element "
                f"{i} has size {len(item)} != {length}"
            )
    if length % size:
        raise _fail(
            f"Input to DecodeRaw has length {length} that is not a multiple of {size}, the size of "
            f"{out_type.name}"
        )
    joined = items[0] if len(items) == 1 else b"".join(items)
    numbers = np.frombuffer(joined, out_type.numpy).reshape(*bytes.shape, length // size)
    return np.array(numbers) if little_endian == _HOST_IS_LITTLE or size == 1 else numbers.byteswap()


decode_raw_op.by_row(row_rules.same_places)


def _padded_shape(node: Any) -> TensorShape:
    rules.rank_exactly(node, 1, 0, "fixed_length")
    return _more_axis(node)


@op("DecodePaddedRaw", "input_bytes:string; fixed_length:int32", "output:out_type",
    "out_type:type{float16|float32|float64|int32|uint16|uint8|int16|int8|int64|bfloat16}; little_endian:bool=true",
    infer=_padded_shape, differentiable=False)  # fmt: skip
def decode_padded_raw_op(
    input_bytes: Array, fixed_length: Array, *, out_type: DType, little_endian: bool
) -> Array:
    """Numbers whose bytes stand in texts, which are cut or filled up with zeros to one length."""
    length = int(fixed_length)
    if length <= 0 or length % out_type.size:
        raise _fail(
            f"fixed_length ({length}) must be greater than zero and a multiple of {out_type.size}, the size of "
            f"{out_type.name}"
        )
    padded = np.empty(input_bytes.shape, object)
    padded.reshape(-1)[:] = [item[:length].ljust(length, b"\0") for item in input_bytes.reshape(-1)]
    decoded: Array = decode_raw_op.body(padded, out_type=out_type, little_endian=little_endian)
    return decoded


def decode_raw(
    input_bytes: Any = None,
    out_type: Any = None,
    little_endian: bool = True,
    name: str | None = None,
    bytes: Any = None,
) -> Tensor:
    """Returns the numbers whose bytes stand in texts.

    Args:
      input_bytes: string tensor; all texts of one length.
      out_type: the dtype.
      little_endian: whether the smallest byte of each number comes first.
      name: a name.
      bytes: the old name of `input_bytes`.

    Returns:
      A tensor with one more axis.
    """
    given = bytes if input_bytes is None else input_bytes
    if given is None or out_type is None:
        raise ValueError("decode_raw needs input_bytes and out_type")
    decoded: Tensor = emit.DecodeRaw(given, out_type=out_type, little_endian=little_endian, name=name)
    return decoded


@op("DecodeCompressed", "bytes:string", "output:string", "compression_type:string=", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def decode_compressed_op(bytes: Array, *, compression_type: str) -> Array:
    """Texts that were compressed by zlib or gzip."""
    decoders: dict[str, Callable[[Any], Any]] = {
        "": lambda item: item, "ZLIB": zlib.decompress, "GZIP": gzip.decompress,
    }  # fmt: skip
    if compression_type not in decoders:
        raise _fail(f"Only ZLIB, GZIP or NONE are supported compressions, got {compression_type!r}")
    result: Array = np.empty(bytes.shape, object)
    try:
        result.reshape(-1)[:] = [decoders[compression_type](item) for item in bytes.reshape(-1)]
    except (zlib.error, OSError, EOFError) as error:
        raise DataLossError(
            None, None, f"the text is not compressed by {compression_type}: {error}"
        ) from None
    return result


def decode_compressed(bytes: Any, compression_type: str = "", name: str | None = None) -> Tensor:
    """Returns texts as they were before they were compressed.

    Args:
      bytes: string tensor.
      compression_type: "", "ZLIB" or "GZIP".
      name: a name.
    """
    decoded: Tensor = emit.DecodeCompressed(bytes, compression_type=compression_type, name=name)
    return decoded


# ---------------------------------------------------------------------------- tensors as messages


@op("SerializeTensor", "tensor:T", "serialized:string", "T:type", infer=rules.scalar, differentiable=False)
def serialize_tensor_op(tensor: Array) -> Array:
    """A tensor as a serialized TensorProto."""
    return _scalar_text(messages().serialize_tensor(tensor))


@op("ParseTensor", "serialized:string", "output:out_type", "out_type:type", infer=rules.unknown,
    differentiable=False)  # fmt: skip
def parse_tensor_op(serialized: Array, *, out_type: DType) -> Array:
    """The tensor in a serialized TensorProto."""
    if serialized.ndim:
        raise _fail(f"Expected `serialized` to be a scalar, got shape: {list(serialized.shape)}")
    value = messages().parse_tensor(bytes(serialized[()]))
    if as_dtype(value.dtype) is not out_type:
        raise _fail(
            f"Type mismatch between parsed tensor ({as_dtype(value.dtype).name}) and dtype ({out_type.name})"
        )
    return np.array(value)


def serialize_tensor(tensor: Any, name: str | None = None) -> Tensor:
    """Returns a tensor as a serialized TensorProto; string scalar."""
    serialized: Tensor = emit.SerializeTensor(tensor, name=name)
    return serialized


def parse_tensor(serialized: Any, out_type: Any, name: str | None = None) -> Tensor:
    """Returns the tensor in a serialized TensorProto.

    Args:
      serialized: string scalar.
      out_type: its dtype.
      name: a name.
    """
    parsed: Tensor = emit.ParseTensor(serialized, out_type=out_type, name=name)
    return parsed


@op("DecodeJSONExample", "json_examples:string", "binary_examples:string", "", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def decode_json_example_op(json_examples: Array) -> Array:
    """Examples in JSON as serialized messages."""
    result: Array = np.empty(json_examples.shape, object)
    result.reshape(-1)[:] = [messages().example_from_json(item) for item in json_examples.reshape(-1)]
    return result


decode_json_example_op.by_row(row_rules.same_places)


def decode_json_example(json_examples: Any, name: str | None = None) -> Tensor:
    """Returns examples in JSON as serialized `Example` messages.

    Args:
      json_examples: string tensor.
      name: a name.
    """
    decoded: Tensor = emit.DecodeJSONExample(json_examples, name=name)
    return decoded


# ---------------------------------------------------------------------------- lines of values


def _csv_shapes(node: Any) -> list[TensorShape]:
    for position in range(1, len(node.inputs)):
        rules.rank_at_most(node, position, 1, "a default")
    return [node.inputs[0].shape] * len(node.attrs["OUT_TYPE"])


@op("DecodeCSV", "records:string; record_defaults:list(OUT_TYPE)", "output:list(OUT_TYPE)",
    "OUT_TYPE:list(type){float32|float64|int32|int64|string}>=1; field_delim:string=,; use_quote_delim:bool=true; "
    "na_value:string=; select_cols:list(int)=[]",
    infer=_csv_shapes, differentiable=False)  # fmt: skip
def decode_csv_op(
    records: Array, record_defaults: list[Array], *, OUT_TYPE: Sequence[DType], field_delim: str,
    use_quote_delim: bool, na_value: str, select_cols: Sequence[int],
) -> list[Array]:  # fmt: skip
    """The columns of lines of values."""
    for i, default in enumerate(record_defaults):
        if default.size > 1:
            raise _fail(f"There should only be 1 default per field but field {i} has {default.size}")
    columns: list[list[Any]] = [[] for _ in record_defaults]
    absent = na_value.encode()
    for number, record in enumerate(records.reshape(-1)):
        fields = _fields(bytes(record), field_delim.encode(), use_quote_delim)
        if select_cols:
            if max(select_cols) >= len(fields):
                raise _fail(
                    f"Expect {len(select_cols)} fields but have {len(fields)} in record {number}: column "
                    f"{max(select_cols)} is wanted"
                )
            fields = [fields[at] for at in select_cols]
        elif len(fields) != len(columns):
            raise _fail(f"Expect {len(columns)} fields but have {len(fields)} in record {number}")
        for i, (field, dtype, default) in enumerate(zip(fields, OUT_TYPE, record_defaults, strict=True)):
            if not field or field == absent:
                if not default.size:
                    raise _fail(f"Field {i} is required but missing in record {number}!")
                columns[i].append(default.reshape(-1)[0])
            else:
                columns[i].append(_number(field, dtype, i, number))
    result = []
    for column, dtype in zip(columns, OUT_TYPE, strict=True):
        array: Array = np.empty(len(column), dtype.numpy)
        array[:] = column
        result.append(array.reshape(records.shape))
    return result


def _fields(record: bytes, delimiter: bytes, quoted: bool) -> list[bytes]:
    if not quoted:
        return record.rstrip(b"\r\n").split(delimiter) if record else [b""]
    if b'"' not in record:
        return record.rstrip(b"\r\n").split(delimiter)
    # One byte is one letter, so that nothing is lost on the way.
    text = record.decode("latin-1")
    try:
        (row,) = csv.reader(
            [text.rstrip("\r\n")] if "\n" not in text.rstrip("\r\n") else _Lines(text),
            delimiter=delimiter.decode("latin-1"), strict=True,
        )  # fmt: skip
    except (csv.Error, ValueError) as error:
        raise _fail(f"Quoted field is malformed in {record!r}: {error}") from None
    return [field.encode("latin-1") for field in row]


def _Lines(text: str) -> list[str]:
    return text.rstrip("\r\n").splitlines(keepends=True)


_LIMITS = {dtypes.int32: (-(2**31), 2**31 - 1), dtypes.int64: (-(2**63), 2**63 - 1)}


def _number(field: bytes, dtype: DType, column: int, record: int) -> Any:
    if dtype is dtypes.string:
        return field
    try:
        if dtype.is_integer:
            value = int(field)
            low, high = _LIMITS[dtype]
            if not low <= value <= high or b"_" in field:
                raise ValueError
            return value
        if b"_" in field:
            raise ValueError
        return float(field)
    except ValueError:
        text = field.decode(errors="replace")
        raise _fail(f"Field {column} in record {record} is not a valid {dtype.name}: {text}") from None


def decode_csv(
    records: Any,
    record_defaults: Sequence[Any],
    field_delim: str = ",",
    use_quote_delim: bool = True,
    name: str | None = None,
    na_value: str = "",
    select_cols: Sequence[int] | None = None,
) -> list[Tensor]:
    """Returns the columns of lines of values.

    Args:
      records: string tensor; a line each.
      record_defaults: per column a tensor of its dtype that holds what stands in for an empty field; an empty vector
        says that the field must be there.
      field_delim: what stands between fields.
      use_quote_delim: whether fields may stand in double quotes.
      name: a name.
      na_value: another text that counts as empty.
      select_cols: the columns that are wanted, in rising order; default all.

    Returns:
      A tensor per column, of the shape of `records`.

    Raises:
      ValueError: if the columns are not in order, or not as many as the defaults.
    """
    if select_cols is not None:
        if any(b <= a for a, b in zip(select_cols, select_cols[1:], strict=False)):
            raise ValueError("select_cols is not strictly increasing.")
        if select_cols and select_cols[0] < 0:
            raise ValueError("select_cols contains negative values.")
        if len(select_cols) != len(record_defaults):
            raise ValueError("Length of select_cols and record_defaults do not match.")
    columns: list[Tensor] = emit.DecodeCSV(
        records,
        [as_default(default) for default in record_defaults],
        field_delim=field_delim,
        use_quote_delim=use_quote_delim,
        na_value=na_value,
        select_cols=select_cols or [],
        name=name,
    )
    return columns


def as_default(default: Any) -> Any:
    """A default of a column; a dtype says that there is none."""
    if isinstance(default, DType):
        return convert_to_tensor(np.empty(0, default.numpy), default)
    return default


# ---------------------------------------------------------------------------- examples


class VarLenFeature(NamedTuple):
    """A feature with any number of values, parsed into a SparseTensor.

    Attributes:
      dtype: float32, int64 or string.
    """

    dtype: Any


class SparseFeature(NamedTuple):
    """A sparse tensor in several features: its indices along each axis, and its values.

    Attributes:
      index_key: the name of the indices, or a list of them.
      value_key: the name of the values.
      dtype: the dtype of the values.
      size: the size of the axis, or a list of them.
      already_sorted: whether the indices are in order.
    """

    index_key: Any
    value_key: str
    dtype: Any
    size: Any
    already_sorted: bool = False


class FixedLenFeature(NamedTuple):
    """A feature with a fixed number of values, parsed into a tensor.

    Attributes:
      shape: the shape of one example.
      dtype: float32, int64 or string.
      default_value: what stands in for it where it is missing; None: it must be there.
    """

    shape: Any
    dtype: Any
    default_value: Any = None


class FixedLenSequenceFeature(NamedTuple):
    """A feature with rows of a fixed shape, parsed into a tensor that is filled up to the longest of a batch.

    Attributes:
      shape: the shape of one row.
      dtype: float32, int64 or string.
      allow_missing: must be True in `parse_example`; in sequence examples, whether the list may be missing.
      default_value: what it is filled up with; zeros and empty texts by default.
    """

    shape: Any
    dtype: Any
    allow_missing: bool = False
    default_value: Any = None


_ALLOWED = "{float32|int64|string}"


def values_of(feature: tuple[str, Any], dtype: DType, name: str, key: str) -> Array:
    """The values of one feature as a vector."""
    kind, values = feature
    if kind and kind != dtype.name:
        raise _fail(f"{name}Key: {key}.  Data types don't match. Expected type: {dtype.name}, got {kind}")
    array: Array = np.empty(len(values), dtype.numpy)
    array[:] = values
    return array


def sparse_feature(rows: Sequence[Array], dtype: DType) -> tuple[Array, Array, Array]:
    """Vectors as one sparse matrix: indices, values, shape."""
    lengths = np.array([len(row) for row in rows], np.int64)
    indices = np.empty((int(lengths.sum()), 2), np.int64)
    indices[:, 0] = np.repeat(np.arange(len(rows)), lengths)
    indices[:, 1] = np.concatenate([np.arange(n) for n in lengths]) if len(rows) else 0
    values = np.concatenate(rows) if rows else np.empty(0, dtype.numpy)
    shape = np.array([len(rows), int(lengths.max()) if len(rows) else 0], np.int64)
    return indices, values, shape


def _row_size(shape: TensorShape) -> int:
    """How many values one row of a shape with an open first axis holds."""
    sizes = shape.as_list()[1:]
    return int(np.prod([size or 0 for size in sizes], dtype=np.int64)) if sizes else 1


def _is_open(shape: TensorShape) -> bool:
    sizes = shape.as_tuple()
    return bool(sizes) and sizes is not None and sizes[0] is None


def dense_feature(
    rows: Sequence[Array | None],
    dtype: DType,
    shape: TensorShape,
    default: Array,
    names: Sequence[str],
    key: str,
) -> Array:
    """One feature of all examples as an array with a first axis for them; None: it is missing."""
    if _is_open(shape):
        row = _row_size(shape)
        longest = 0
        for name, values in zip(names, rows, strict=True):
            if values is not None and row and len(values) % row:
                raise _fail(
                    f"{name}Key: {key}.  Number of {dtype.name} values is not a multiple of stride length. Saw "
                    f"{len(values)} values but output shape is: {shape}"
                )
            longest = max(longest, 0 if values is None or not row else len(values) // row)
        padded: Array = np.empty((len(rows), longest * row), dtype.numpy)
        padded[...] = default.reshape(-1)[0] if default.size else (b"" if dtype is dtypes.string else 0)
        for place, values in zip(padded, rows, strict=True):
            if values is not None:
                place[: len(values)] = values
        return padded.reshape(len(rows), longest, *[size or 0 for size in shape.as_list()[1:]])
    sizes = [size or 0 for size in shape.as_list()]
    count = int(np.prod(sizes, dtype=np.int64))
    result: Array = np.empty((len(rows), count), dtype.numpy)
    for place, name, values in zip(result, names, rows, strict=True):
        if values is None:
            if not default.size and count:
                raise _fail(
                    f"{name}Feature: {key} (data type: {dtype.name}) is required but could not be found."
                )
            place[:] = default.reshape(-1)
        elif len(values) != count:
            raise _fail(
                f"{name}Key: {key}.  Number of {dtype.name} values != expected.  Values size: {len(values)} but "
                f"output shape: {shape}"
            )
        else:
            place[:] = values
    return result.reshape(len(rows), *sizes)


def _parse(
    serialized: Array,
    names: Sequence[bytes],
    sparse: Sequence[tuple[str, DType]],
    dense: Sequence[tuple[str, DType, TensorShape, Array]],
) -> tuple[list[tuple[Array, Array, Array]], list[Array]]:
    """What stands in serialized Examples, a vector of them."""
    examples = [messages().parse_features(bytes(item)) for item in serialized.reshape(-1)]
    known = [bytes(name).decode(errors="replace") for name in names] or [""] * len(examples)
    labels = [f"Name: {name or '<unknown>'}, " for name in known]
    found_sparse = []
    for key, dtype in sparse:
        rows = [
            values_of(example.get(key, ("", ())), dtype, label, key)
            for label, example in zip(labels, examples, strict=True)
        ]
        found_sparse.append(sparse_feature(rows, dtype))
    found_dense = []
    for key, dtype, shape, default in dense:
        maybe: list[Array | None] = []
        for label, example in zip(labels, examples, strict=True):
            kind, values = example.get(key, ("", ()))
            maybe.append(values_of((kind, values), dtype, label, key) if kind else None)
        found_dense.append(dense_feature(maybe, dtype, shape, default, labels, key))
    return found_sparse, found_dense


def keys_of(items: Sequence[Any]) -> list[str]:
    return [bytes(item).decode() if isinstance(item, bytes) else str(item) for item in items]


def _as_row(
    sparse: list[tuple[Array, Array, Array]], dense: list[Array]
) -> tuple[list[tuple[Array, Array, Array]], list[Array]]:
    """What was parsed of a single example, without the axis of examples."""
    rows = [(indices[:, 1:], values, shape[1:]) for indices, values, shape in sparse]
    return rows, [array[0] for array in dense]


def _split(
    sparse: list[tuple[Array, Array, Array]], dense: list[Array]
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    return [s[0] for s in sparse], [s[1] for s in sparse], [s[2] for s in sparse], dense


def _dense_shape(batch: TensorShape, shape: TensorShape) -> TensorShape:
    return batch.concatenate(shape)


def _example_shapes(
    batch: TensorShape, rank: int, sparse: int, shapes: Sequence[TensorShape]
) -> list[TensorShape]:
    result = (
        [TensorShape([None, rank])] * sparse + [TensorShape([None])] * sparse + [TensorShape([rank])] * sparse
    )
    return result + [_dense_shape(batch, shape) for shape in shapes]


def _v1_shapes(node: Any) -> list[TensorShape]:
    batch = rules.rank_exactly(node, 0, 1, "serialized")
    rules.rank_exactly(node, 1, 1, "names")
    return _example_shapes(batch, 2, node.attrs["Nsparse"], node.attrs["dense_shapes"])


@op("ParseExample",
    "serialized:string; names:string; sparse_keys:Nsparse*string; dense_keys:Ndense*string; "
    "dense_defaults:list(Tdense)",
    "sparse_indices:Nsparse*int64; sparse_values:list(sparse_types); sparse_shapes:Nsparse*int64; "
    "dense_values:list(Tdense)",
    f"Nsparse:int>=0; Ndense:int>=0; sparse_types:list(type){_ALLOWED}>=0; Tdense:list(type){_ALLOWED}>=0; "
    "dense_shapes:list(shape)>=0",
    infer=_v1_shapes, differentiable=False)  # fmt: skip
def parse_example_op(
    serialized: Array, names: Array, sparse_keys: list[Array], dense_keys: list[Array], dense_defaults: list[Array],
    *, sparse_types: Sequence[DType], Tdense: Sequence[DType], dense_shapes: Sequence[TensorShape],
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:  # fmt: skip
    """The features of a vector of serialized Examples."""
    sparse = list(zip(keys_of([key[()] for key in sparse_keys]), sparse_types, strict=True))
    keys = keys_of([key[()] for key in dense_keys])
    dense = list(zip(keys, Tdense, dense_shapes, dense_defaults, strict=True))
    return _split(*_parse(serialized, list(names.reshape(-1)), sparse, dense))


parse_example_op.by_row(row_rules.parsed)


def _v2_shapes(node: Any) -> list[TensorShape]:
    batch: TensorShape = node.inputs[0].shape
    sparse, shapes = node.attrs["num_sparse"], node.attrs["dense_shapes"]
    rules.rank_at_most(node, 1, 1, "names")
    if batch.rank is None:
        vector = TensorShape([None])
        return [TensorShape([None, None])] * sparse + [vector] * (2 * sparse) + [UNKNOWN] * len(shapes)
    return _example_shapes(batch, batch.rank + 1, sparse, shapes)


@op("ParseExampleV2",
    "serialized:string; names:string; sparse_keys:string; dense_keys:string; ragged_keys:string; "
    "dense_defaults:list(Tdense)",
    "sparse_indices:num_sparse*int64; sparse_values:list(sparse_types); sparse_shapes:num_sparse*int64; "
    "dense_values:list(Tdense); ragged_values:list(ragged_value_types); "
    "ragged_row_splits:list(ragged_split_types)",
    f"Tdense:list(type){_ALLOWED}>=0; num_sparse:int>=0; sparse_types:list(type){_ALLOWED}>=0; "
    f"ragged_value_types:list(type){_ALLOWED}>=0; ragged_split_types:list(type){{int32|int64}}>=0; "
    "dense_shapes:list(shape)>=0",
    infer=_v2_shapes, differentiable=False)  # fmt: skip
def parse_example_v2_op(
    serialized: Array, names: Array, sparse_keys: Array, dense_keys: Array, ragged_keys: Array,
    dense_defaults: list[Array], *, sparse_types: Sequence[DType], Tdense: Sequence[DType],
    dense_shapes: Sequence[TensorShape],
) -> tuple[list[Array], ...]:  # fmt: skip
    """The features of one serialized Example, or of a vector of them."""
    if ragged_keys.size:
        raise _fail("ParseExampleV2: ragged features are not supported")
    if serialized.ndim > 1:
        raise _fail(f"serialized must be a scalar or a vector, got shape {list(serialized.shape)}")
    sparse = list(zip(keys_of(sparse_keys.reshape(-1).tolist()), sparse_types, strict=True))
    keys = keys_of(dense_keys.reshape(-1).tolist())
    dense = list(zip(keys, Tdense, dense_shapes, dense_defaults, strict=True))
    parsed = _parse(serialized, list(names.reshape(-1)), sparse, dense)
    return (*_split(*(parsed if serialized.ndim else _as_row(*parsed))), [], [])


parse_example_v2_op.by_row(row_rules.parsed)


def _single_shapes(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 0, "serialized")
    return _example_shapes(TensorShape(()), 1, node.attrs["num_sparse"], node.attrs["dense_shapes"])


@op("ParseSingleExample", "serialized:string; dense_defaults:list(Tdense)",
    "sparse_indices:num_sparse*int64; sparse_values:list(sparse_types); sparse_shapes:num_sparse*int64; "
    "dense_values:list(Tdense)",
    "num_sparse:int>=0; sparse_keys:list(string)>=0; dense_keys:list(string)>=0; "
    f"sparse_types:list(type){_ALLOWED}>=0; Tdense:list(type){_ALLOWED}>=0; dense_shapes:list(shape)>=0",
    infer=_single_shapes, differentiable=False)  # fmt: skip
def parse_single_example_op(
    serialized: Array, dense_defaults: list[Array], *, sparse_keys: Sequence[str], dense_keys: Sequence[str],
    sparse_types: Sequence[DType], Tdense: Sequence[DType], dense_shapes: Sequence[TensorShape],
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:  # fmt: skip
    """The features of one serialized Example."""
    sparse = list(zip(keys_of(sparse_keys), sparse_types, strict=True))
    dense = list(zip(keys_of(dense_keys), Tdense, dense_shapes, dense_defaults, strict=True))
    return _split(*_as_row(*_parse(serialized.reshape(1), [], sparse, dense)))


class Plan:
    """Features taken apart for one operation: what is sparse, what is dense, and what both become."""

    def __init__(self, features: Mapping[str, Any] | None, lists: bool = False) -> None:
        self.sparse: dict[str, DType] = {}
        self.dense: dict[str, tuple[DType, TensorShape, Any]] = {}
        self.features = dict(sorted((features or {}).items()))
        self.may_miss: list[str] = []
        for key, feature in self.features.items():
            if isinstance(feature, VarLenFeature):
                self._add_sparse(key, feature.dtype)
            elif isinstance(feature, SparseFeature):
                for index_key in self._index_keys(feature):
                    self._add_sparse(index_key, dtypes.int64)
                self._add_sparse(feature.value_key, feature.dtype)
            elif isinstance(feature, FixedLenSequenceFeature):
                shape = as_shape(feature.shape)
                if lists:
                    if feature.allow_missing:
                        self.may_miss.append(key)
                    if feature.default_value is not None:
                        raise ValueError(f"Unsupported: default value of {key!r} in a sequence example")
                    self.dense[key] = (self._dtype(key, feature.dtype), shape, None)
                    continue
                if not feature.allow_missing:
                    raise ValueError(
                        "Unsupported: FixedLenSequenceFeature requires allow_missing to be True."
                    )
                open_shape = TensorShape([None]).concatenate(shape)
                default = feature.default_value
                self.dense[key] = (self._dtype(key, feature.dtype), open_shape, default)
            elif isinstance(feature, FixedLenFeature) and not lists:
                shape = as_shape(feature.shape)
                if not shape.is_fully_defined():
                    raise ValueError(
                        f"First dimension of shape for feature {key} unknown. Consider using FixedLenSequenceFeature."
                    )
                self.dense[key] = (self._dtype(key, feature.dtype), shape, feature.default_value)
            else:
                raise ValueError(f"Invalid feature {key}:{feature}.")

    @staticmethod
    def _index_keys(feature: SparseFeature) -> list[str]:
        return [feature.index_key] if isinstance(feature.index_key, str) else sorted(feature.index_key)

    @staticmethod
    def _dtype(key: str, dtype: Any) -> DType:
        if not dtype:
            raise ValueError(f"Missing type for feature {key}.")
        return as_dtype(dtype)

    def _add_sparse(self, key: str, dtype: Any) -> None:
        wanted = self._dtype(key, dtype)
        if self.sparse.setdefault(key, wanted) is not wanted:
            raise ValueError(f"Conflicting type {self.sparse[key].name} vs {wanted.name} for feature {key}.")

    def defaults(self) -> list[Tensor]:
        """One tensor per dense feature; without elements where there is no default."""
        made = []
        for key, (dtype, shape, default) in self.dense.items():
            if _is_open(shape) and default is None:
                default = b"" if dtype is dtypes.string else 0
            if default is None:
                value: Any = np.empty(0, dtype.numpy)
            else:
                value = default
            tensor = convert_to_tensor(value, dtype, name=f"key_{key}")
            if default is not None and not _is_open(shape):
                tensor = emit.Reshape(tensor, np.array(shape.as_list(), np.int32))
            made.append(tensor)
        return made

    def results(self, parts: Sequence[Any]) -> dict[str, Any]:
        """The dict of parsed features from what the operation gives."""
        indices, values, shapes, dense = parts[:4]
        found: dict[str, Any] = {
            key: SparseTensor(*triple)
            for key, triple in zip(self.sparse, zip(indices, values, shapes, strict=True), strict=True)
        }
        found |= dict(zip(self.dense, dense, strict=True))
        result = {}
        for key, feature in self.features.items():
            result[key] = self._joined(feature, found) if isinstance(feature, SparseFeature) else found[key]
        return result

    def _joined(self, feature: SparseFeature, found: Mapping[str, Any]) -> SparseTensor:
        """Indices and values from several features as one sparse tensor."""
        keys = [feature.index_key] if isinstance(feature.index_key, str) else list(feature.index_key)
        sizes = [feature.size] if isinstance(feature.index_key, str) else list(feature.size)
        values = found[feature.value_key]
        batched = values.indices.shape.as_list()[-1] == 2
        columns = [values.indices[:, :1]] if batched else []
        columns += [emit.ExpandDims(found[key].values, 1) for key in keys]
        indices = emit.ConcatV2(columns, 1) if len(columns) > 1 else columns[0]
        full = np.array(sizes, np.int64)
        shape = emit.ConcatV2([values.dense_shape[:1], full], 0) if batched else convert_to_tensor(full)
        made = SparseTensor(indices, values.values, shape)
        if feature.already_sorted:
            return made
        indices, ordered = emit.SparseReorder(made.indices, made.values, made.dense_shape)
        return SparseTensor(indices, ordered, made.dense_shape)


def texts_of(items: Sequence[str]) -> Array:
    result: Array = np.empty(len(items), object)
    result[:] = [item.encode() for item in items]
    return result


def _parsed_examples(
    serialized: Tensor, features: Mapping[str, Any], names: Any, name: str | None
) -> dict[str, Any]:
    if not features:
        raise ValueError("Missing features.")
    plan = Plan(features)
    with name_scope(name, "ParseExample", [serialized]) as scope:
        given = names if names is not None else texts_of([])
        parts = emit.ParseExampleV2(
            serialized, convert_to_tensor(given, dtypes.string), texts_of(list(plan.sparse)),
            texts_of(list(plan.dense)), texts_of([]), plan.defaults(), num_sparse=len(plan.sparse),
            sparse_types=list(plan.sparse.values()), Tdense=[d[0] for d in plan.dense.values()],
            ragged_value_types=[], ragged_split_types=[], dense_shapes=[d[1] for d in plan.dense.values()],
            name=scope + "ParseExampleV2/",
        )  # fmt: skip
        return plan.results(parts)


def parse_example(
    serialized: Any, features: Mapping[str, Any], name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """Returns the features of a vector of serialized `Example` messages.

    Args:
      serialized: string vector.
      features: `FixedLenFeature`, `VarLenFeature`, `SparseFeature` or `FixedLenSequenceFeature` by name.
      name: a name.
      example_names: string vector of names for messages of errors.

    Returns:
      Tensors and SparseTensors by name, with a first axis for the examples.

    Raises:
      ValueError: if there are no features, or a feature is not complete.
    """
    texts = convert_to_tensor(serialized, dtypes.string, name="serialized")
    return _parsed_examples(texts, features, example_names, name)


def parse_single_example(
    serialized: Any, features: Mapping[str, Any], name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """Returns the features of one serialized `Example` message; see `parse_example`.

    Args:
      serialized: string scalar.
      features, name, example_names: see `parse_example`.
    """
    text = convert_to_tensor(serialized, dtypes.string, name="serialized")
    text.set_shape([])
    return _parsed_examples(text, features, example_names, name)


# ---------------------------------------------------------------------------- sequence examples


def _sequence_shapes(node: Any) -> list[TensorShape]:
    attrs = node.attrs
    rules.rank_exactly(node, 0, 0, "serialized")
    rules.rank_exactly(node, 1, 1, "feature_list_dense_missing_assumed_empty")
    rules.rank_exactly(node, len(node.inputs) - 1, 0, "debug_name")
    result = _example_shapes(TensorShape(()), 1, attrs["Ncontext_sparse"], attrs["context_dense_shapes"])
    lists = attrs["Nfeature_list_sparse"]
    return result + _example_shapes(TensorShape([None]), 2, lists, attrs["feature_list_dense_shapes"])


@op("ParseSingleSequenceExample",
    "serialized:string; feature_list_dense_missing_assumed_empty:string; "
    "context_sparse_keys:Ncontext_sparse*string; context_dense_keys:Ncontext_dense*string; "
    "feature_list_sparse_keys:Nfeature_list_sparse*string; feature_list_dense_keys:Nfeature_list_dense*string; "
    "context_dense_defaults:list(Tcontext_dense); debug_name:string",
    "context_sparse_indices:Ncontext_sparse*int64; context_sparse_values:list(context_sparse_types); "
    "context_sparse_shapes:Ncontext_sparse*int64; context_dense_values:list(Tcontext_dense); "
    "feature_list_sparse_indices:Nfeature_list_sparse*int64; "
    "feature_list_sparse_values:list(feature_list_sparse_types); "
    "feature_list_sparse_shapes:Nfeature_list_sparse*int64; "
    "feature_list_dense_values:list(feature_list_dense_types)",
    "Ncontext_sparse:int>=0=0; Ncontext_dense:int>=0=0; Nfeature_list_sparse:int>=0=0; "
    f"Nfeature_list_dense:int>=0=0; context_sparse_types:list(type){_ALLOWED}>=0=[]; "
    f"Tcontext_dense:list(type){_ALLOWED}>=0=[]; feature_list_dense_types:list(type){_ALLOWED}>=0=[]; "
    f"context_dense_shapes:list(shape)>=0=[]; feature_list_sparse_types:list(type){_ALLOWED}>=0=[]; "
    "feature_list_dense_shapes:list(shape)>=0=[]",
    infer=_sequence_shapes, differentiable=False)  # fmt: skip
def parse_single_sequence_example_op(
    serialized: Array, feature_list_dense_missing_assumed_empty: Array, context_sparse_keys: list[Array],
    context_dense_keys: list[Array], feature_list_sparse_keys: list[Array], feature_list_dense_keys: list[Array],
    context_dense_defaults: list[Array], debug_name: Array, *, context_sparse_types: Sequence[DType],
    Tcontext_dense: Sequence[DType], feature_list_dense_types: Sequence[DType],
    context_dense_shapes: Sequence[TensorShape], feature_list_sparse_types: Sequence[DType],
    feature_list_dense_shapes: Sequence[TensorShape],
) -> tuple[list[Array], ...]:  # fmt: skip
    """The context and the feature lists of one serialized SequenceExample."""
    context, lists = messages().parse_sequence(bytes(serialized[()]))
    shown = bytes(debug_name[()]).decode(errors="replace") if debug_name.size else ""
    label = f"Name: {shown or '<unknown>'}, "
    sparse = []
    for key, dtype in zip(keys_of([k[()] for k in context_sparse_keys]), context_sparse_types, strict=True):
        sparse.append(sparse_feature([values_of(context.get(key, ("", ())), dtype, label, key)], dtype))
    dense = []
    keys = keys_of([k[()] for k in context_dense_keys])
    for key, dtype, shape, default in zip(
        keys, Tcontext_dense, context_dense_shapes, context_dense_defaults, strict=True
    ):
        kind, values = context.get(key, ("", ()))
        row = values_of((kind, values), dtype, label, key) if kind else None
        dense.append(dense_feature([row], dtype, shape, default, [label], key))
    list_sparse = []
    for key, dtype in zip(
        keys_of([k[()] for k in feature_list_sparse_keys]), feature_list_sparse_types, strict=True
    ):
        rows = [values_of(feature, dtype, label, key) for feature in lists.get(key, ())]
        list_sparse.append(sparse_feature(rows, dtype))
    may_miss = set(keys_of(feature_list_dense_missing_assumed_empty.reshape(-1).tolist()))
    list_dense = []
    for key, dtype, shape in zip(
        keys_of([k[()] for k in feature_list_dense_keys]), feature_list_dense_types, feature_list_dense_shapes,
        strict=True,
    ):  # fmt: skip
        if key not in lists and key not in may_miss:
            raise _fail(
                f"{label}Feature list '{key}' is required but could not be found.  Did you mean to include it in"
                " feature_list_dense_missing_assumed_empty or feature_list_dense_defaults?"
            )
        steps: list[Array | None] = [values_of(feature, dtype, label, key) for feature in lists.get(key, ())]
        list_dense.append(
            dense_feature(steps, dtype, shape, np.empty(0, dtype.numpy), [label] * len(steps), key)
        )
    return (*_split(*_as_row(sparse, dense)), *_split(list_sparse, list_dense))


def parse_single_sequence_example(
    serialized: Any,
    context_features: Mapping[str, Any] | None = None,
    sequence_features: Mapping[str, Any] | None = None,
    example_name: Any = None,
    name: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the features of one serialized `SequenceExample` message.

    Args:
      serialized: string scalar.
      context_features: features of the whole, as for `parse_example`.
      sequence_features: `VarLenFeature` or `FixedLenSequenceFeature` by name, with a value per step.
      example_name: a name for messages of errors.
      name: a name.

    Returns:
      Two dicts of tensors and SparseTensors: of the context, and of the lists, whose first axis is the step.

    Raises:
      ValueError: if there are no features.
    """
    if not context_features and not sequence_features:
        raise ValueError("Missing features.")
    context, lists = Plan(context_features), Plan(sequence_features, lists=True)
    with name_scope(name, "ParseSingleSequenceExample", [serialized]):
        text = convert_to_tensor(serialized, dtypes.string, name="serialized")
        parts = emit.ParseSingleSequenceExample(
            text, texts_of(lists.may_miss), list(context.sparse), list(context.dense), list(lists.sparse),
            list(lists.dense), context.defaults(), "" if example_name is None else example_name,
            context_sparse_types=list(context.sparse.values()),
            Tcontext_dense=[d[0] for d in context.dense.values()],
            context_dense_shapes=[d[1] for d in context.dense.values()],
            feature_list_sparse_types=list(lists.sparse.values()),
            feature_list_dense_types=[d[0] for d in lists.dense.values()],
            feature_list_dense_shapes=[d[1] for d in lists.dense.values()],
        )  # fmt: skip
        return context.results(parts[:4]), lists.results(parts[4:])


__all__ = [
    "FixedLenFeature", "FixedLenSequenceFeature", "SparseFeature", "VarLenFeature", "decode_compressed",
    "decode_csv", "decode_json_example", "decode_raw", "parse_example", "parse_single_example",
    "parse_single_sequence_example", "parse_tensor", "serialize_tensor",
]  # fmt: skip
