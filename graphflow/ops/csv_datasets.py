"""Datasets of the records of files of comma-separated values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.opdef import get_op
from graphflow.ops.datasets import Row, compression_of, dataset_op, from_files
from graphflow.ops.rules import Array, refuse
from graphflow.tfrecord import open_decompressed

_INPUTS = (
    "filenames:string; compression_type:string; buffer_size:int64; header:bool; field_delim:string; "
    "use_quote_delim:bool; na_value:string; select_cols:int64; record_defaults:list(output_types)"
)
_ATTRS = "output_types:list(type){float32|float64|int32|int64|string}>=1; output_shapes:list(shape)>=1"


class _Lines:
    """The records of one file; one whose line ends within quotes goes on in the next line."""

    def __init__(self, path: str, compression: str, header: bool, quoted: bool) -> None:
        self._file = open_decompressed(path, compression)
        self._quoted = quoted
        if header:
            self.read()

    def read(self) -> bytes | None:
        """Returns the next record without the end of its line, None at the end."""
        line = self._file.readline()
        if not line:
            return None
        while self._quoted and line.count(b'"') % 2:
            more = self._file.readline()
            if not more:
                raise refuse(f"Reached end of file without closing quoted field in record {line[:80]!r}")
            line += more
        return bytes(line.removesuffix(b"\n").removesuffix(b"\r"))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _text(value: Array) -> str:
    return os.fsdecode(value.reshape(-1)[0])


def _records(
    filenames: Array, compression_type: Array, header: Array, field_delim: Array, use_quote_delim: Array,
    na_value: Array, select_cols: Array, excluded: Sequence[int], record_defaults: Sequence[Array],
    types: Sequence[DType],
) -> Array:  # fmt: skip
    decode: Callable[..., Any] = get_op("DecodeCSV").body
    quoted = bool(use_quote_delim)
    attrs: dict[str, Any] = {
        "OUT_TYPE": tuple(types), "field_delim": _text(field_delim), "use_quote_delim": quoted,
        "na_value": _text(na_value),
    }  # fmt: skip
    if len(attrs["field_delim"]) != 1:
        raise refuse("field_delim should be only 1 char")
    columns = select_cols.reshape(-1).tolist()
    if excluded and columns:
        raise refuse("Either select_cols or exclude_cols should be empty")
    # Of the columns that are left out, as many more are there as results are wanted.
    kept = [i for i in range(len(types) + len(excluded)) if i not in excluded] if excluded else columns
    if any(b <= a for a, b in zip(kept, kept[1:], strict=False)) or any(column < 0 for column in kept):
        raise refuse(f"select_cols should be strictly increasing indices, are {kept}")

    def decoded(record: bytes) -> Row:
        return tuple(decode(np.array(record, object), list(record_defaults), select_cols=kept, **attrs))

    kind = compression_of(compression_type)
    return from_files(filenames, lambda path: _Lines(path, kind, bool(header), quoted), decoded)


@dataset_op("CSVDataset", _INPUTS, _ATTRS)
def csv_dataset_op(
    filenames: Array, compression_type: Array, buffer_size: Array, header: Array, field_delim: Array,
    use_quote_delim: Array, na_value: Array, select_cols: Array, record_defaults: list[Array], *,
    output_types: Sequence[DType],
) -> Array:  # fmt: skip
    """The records of files of values, a scalar per column."""
    return _records(
        filenames, compression_type, header, field_delim, use_quote_delim, na_value, select_cols, (),
        record_defaults, output_types,
    )  # fmt: skip


@dataset_op("CSVDatasetV2", f"{_INPUTS}; exclude_cols:int64", _ATTRS)
def csv_dataset_v2_op(
    filenames: Array, compression_type: Array, buffer_size: Array, header: Array, field_delim: Array,
    use_quote_delim: Array, na_value: Array, select_cols: Array, record_defaults: list[Array],
    exclude_cols: Array, *, output_types: Sequence[DType],
) -> Array:  # fmt: skip
    """The same; columns may be named that are left out."""
    return _records(
        filenames, compression_type, header, field_delim, use_quote_delim, na_value, select_cols,
        exclude_cols.reshape(-1).tolist(), record_defaults, output_types,
    )  # fmt: skip


__all__: list[str] = []
