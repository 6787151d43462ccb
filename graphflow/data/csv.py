"""Datasets of files of comma-separated values."""

from __future__ import annotations

import csv
import glob
import io
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.data.dataset import AUTOTUNE, Dataset, _compression
from graphflow.data.structure import TensorSpec
from graphflow.dtypes import DType
from graphflow.gfile import local_path
from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit
from graphflow.tfrecord import open_decompressed

_TYPES = (dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64, dtypes.string)
# What is equal to a dtype in TensorFlow, its number in files or its name, is taken for the dtype there.
_EQUAL_TO_DTYPES: dict[Any, DType] = {
    **dict(zip((3, 9, 1, 2, 7), _TYPES, strict=True)),
    **{dtype.name: dtype for dtype in _TYPES},
}


class CsvDataset(Dataset):
    """The records of files of values, as tuples with a scalar per column.

    Args:
      filenames: a string, a vector of strings or a dataset of them.
      record_defaults: per column a dtype, for a value that must be there, or a tensor with what stands in for one.
      compression_type: None or "", "ZLIB" or "GZIP".
      buffer_size: accepted.
      header: whether the first line of each file is no record.
      field_delim: what stands between values; one letter.
      use_quote_delim: whether values may stand in double quotes, in which lines may end.
      na_value: another text that counts as empty.
      select_cols: the columns that are wanted, in rising order; default all.
    """

    def __init__(
        self,
        filenames: Any,
        record_defaults: Sequence[Any],
        compression_type: str | None = None,
        buffer_size: int | None = None,
        header: bool = False,
        field_delim: str = ",",
        use_quote_delim: bool = True,
        na_value: str = "",
        select_cols: Sequence[int] | None = None,
    ) -> None:
        names = filenames
        if not isinstance(filenames, Dataset):
            names = Dataset.from_tensor_slices(
                emit.Reshape(convert_to_tensor(filenames, dtypes.string, name="filenames"), [-1])
            )
        defaults = [_default(value) for value in record_defaults]
        spec = tuple(TensorSpec((), default.dtype) for default in defaults)
        made = names.flat_map(
            lambda name: Dataset(
                emit.CSVDatasetV2(
                    name, _compression(compression_type)[0], np.int64(buffer_size or 0), header, field_delim,
                    use_quote_delim, na_value, np.array(select_cols or [], np.int64), defaults,
                    np.empty(0, np.int64), output_types=[d.dtype for d in defaults],
                    output_shapes=[leaf.shape for leaf in spec],
                ),
                spec,
            )
        )  # fmt: skip
        super().__init__(made._variant_tensor, made.element_spec, [names])


def _default(value: Any) -> Tensor:
    """A vector with what stands in for a value, or without anything."""
    if isinstance(value, int | float | str | np.generic):
        value = _EQUAL_TO_DTYPES.get(value, value)
    if isinstance(value, DType):
        return convert_to_tensor(np.empty(0, value.numpy), value)
    tensor = convert_to_tensor(value)
    return tensor if tensor.shape.rank else emit.Reshape(tensor, [1])


def _fitting(texts: Sequence[str], absent: str) -> DType:
    """The narrowest dtype that takes all texts of a column."""
    given = [text for text in texts if text not in ("", absent)]
    for dtype in _TYPES[:-1]:
        try:
            for text in given:
                number = int(text) if dtype.is_integer else float(text)
                if not dtype.min <= number <= dtype.max and np.isfinite(number):
                    raise ValueError
        except ValueError:
            continue
        return dtype
    return dtypes.string


def make_csv_dataset(
    file_pattern: Any,
    batch_size: int,
    column_names: Sequence[str] | None = None,
    column_defaults: Sequence[Any] | None = None,
    label_name: str | None = None,
    select_columns: Sequence[Any] | None = None,
    field_delim: str = ",",
    use_quote_delim: bool = True,
    na_value: str = "",
    header: bool = True,
    num_epochs: int | None = None,
    shuffle: bool = True,
    shuffle_buffer_size: int = 10000,
    shuffle_seed: int | None = None,
    prefetch_buffer_size: int | None = None,
    num_parallel_reads: int | None = None,
    sloppy: bool = False,
    num_rows_for_inference: int | None = 100,
    compression_type: str | None = None,
    ignore_errors: bool = False,
) -> Dataset:
    """Returns batches of the records of files of values: ordered dicts from names to vectors.

    Args:
      file_pattern: names of files, or patterns of them: a string or a list.
      batch_size: how many records a batch has.
      column_names: names of all columns; default: the first line of the files, which then has to be there.
      column_defaults: as `CsvDataset`'s, for the columns that are wanted; default: zeros and empty texts of the
        narrowest dtypes that take the first records.
      label_name: a column that is given apart, as the second part of a pair.
      select_columns: the names or numbers of the columns that are wanted; default all.
      field_delim: what stands between values.
      use_quote_delim: whether values may stand in double quotes.
      na_value: another text that counts as empty.
      header: whether the first line of each file holds the names.
      num_epochs: how often the records come; default without end.
      shuffle: whether they come in random order.
      shuffle_buffer_size: how many records wait to be chosen from.
      shuffle_seed: of the order.
      prefetch_buffer_size: how many batches are made ahead; by default as it seems fit.
      num_parallel_reads: from how many files records are taken by turns; default one.
      sloppy: accepted; the order is always the same.
      num_rows_for_inference: how many records are looked at for dtypes; None: all.
      compression_type: None or "", "ZLIB" or "GZIP".
      ignore_errors: whether records that do not fit are left out.

    Raises:
      ValueError: if there are no files, names, or labels of that name.
    """
    patterns = [file_pattern] if isinstance(file_pattern, str) else [str(item) for item in file_pattern]
    files = sorted({path for item in patterns for path in glob.glob(local_path(item))})
    if not files:
        raise ValueError(f"No files match `file_pattern` {file_pattern!r}.")
    if column_names is None:
        if not header:
            raise ValueError("Expected `column_names` or `header` arguments. Neither is provided.")
        column_names = next(_rows(files, field_delim, use_quote_delim, compression_type, False))
    if len(set(column_names)) != len(column_names):
        raise ValueError(f"Cannot have duplicate column names, got {list(column_names)}.")
    chosen = list(range(len(column_names)))
    if select_columns is not None:
        chosen = sorted(_number(column, column_names) for column in select_columns)
    defaults = column_defaults
    if defaults is None:
        rows: list[list[str]] = []
        for row in _rows(files, field_delim, use_quote_delim, compression_type, header):
            if num_rows_for_inference is not None and len(rows) == num_rows_for_inference:
                break
            rows.append(row)
        kinds = [_fitting([row[at] for row in rows], na_value) for at in chosen]
        defaults = [np.array([b"" if kind is dtypes.string else 0], kind.numpy) for kind in kinds]
    if len(defaults) != len(chosen):
        raise ValueError(
            f"There are {len(chosen)} columns and {len(defaults)} defaults; they must be as many."
        )
    names = [column_names[at] for at in chosen]
    if label_name is not None and label_name not in names:
        raise ValueError(f"`label_name` provided must be one of the columns, got {label_name!r}.")

    def of_file(path: Any) -> Dataset:
        return CsvDataset(
            path, defaults, compression_type, header=header, field_delim=field_delim,
            use_quote_delim=use_quote_delim, na_value=na_value,
            select_cols=chosen if len(chosen) < len(column_names) else None,
        )  # fmt: skip

    def named(*columns: Tensor) -> Any:
        features = OrderedDict(zip(names, columns, strict=True))
        if label_name is None:
            return features
        label = features.pop(label_name)
        return features, label

    made = Dataset.from_tensor_slices(files)
    if shuffle:
        made = made.shuffle(len(files), shuffle_seed)
    made = made.interleave(of_file, cycle_length=num_parallel_reads or 1)
    if ignore_errors:
        made = made._then("IgnoreErrorsDataset", log_warning=False)
    if shuffle:
        made = made.shuffle(shuffle_buffer_size, shuffle_seed)
    made = made.repeat(num_epochs).batch(batch_size, drop_remainder=num_epochs is None).map(named)
    return made.prefetch(AUTOTUNE if prefetch_buffer_size is None else prefetch_buffer_size)


def _number(column: Any, names: Sequence[str]) -> int:
    if isinstance(column, str):
        if column not in names:
            raise ValueError(f"Value for `select_columns` is not one of the columns: {column!r}.")
        return list(names).index(column)
    if not 0 <= column < len(names):
        raise ValueError(f"`select_columns` index out of range: {column} of {len(names)} columns.")
    return int(column)


def _rows(
    files: Sequence[str], delimiter: str, quoted: bool, compression_type: str | None, header: bool
) -> Iterator[list[str]]:
    """The records of files as texts."""
    for path in files:
        with io.TextIOWrapper(open_decompressed(path, compression_type or ""), "utf-8", newline="") as text:
            rows = csv.reader(
                text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            )
            if header:
                next(rows, None)
            yield from rows
