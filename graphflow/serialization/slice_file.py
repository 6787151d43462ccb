"""Checkpoints in TensorFlow's first format: one table per file, whose values are slices of tensors.

Under the empty key stands what all slices are; under the code of a name and a slice stand its elements. Many trained
models are still handed round as such files. Slices of tensors are what both formats have in common.
"""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import DataLossError, InvalidArgumentError, NotFoundError
from graphflow.records import dataclass
from graphflow.serialization import table
from graphflow.serialization.proto import saved_tensor_slice_pb2, tensor_bundle_pb2
from graphflow.serialization.tensor_proto import (
    dtype_from_enum,
    enum_from_dtype,
    fill_typed,
    make_ndarray,
    shape_from_proto,
    shape_to_proto,
    typed_values,
)
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Slice:
    """A box cut out of a larger tensor: the part of a partitioned variable.

    `extents` has `(start, length)` per dimension.
    """

    full_shape: tuple[int, ...]
    extents: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the box."""
        return tuple(length for _, length in self.extents)

    @property
    def index(self) -> tuple[slice, ...]:
        """The box as an index into the full array."""
        return tuple(slice(start, start + length) for start, length in self.extents)


def parse_slice(text: str) -> Slice | None:
    """Returns the slice that SaveV2's and RestoreV2's `shape_and_slices` strings describe: "10 4 0,5:-".

    The empty string, for a whole tensor, gives None.

    Raises:
      ValueError: for anything else.
    """
    if not text:
        return None
    *sizes, spec = text.split(" ")
    try:
        full = tuple(int(size) for size in sizes)
        parts = spec.split(":") if spec else []
        extents = []
        for size, part in zip(full, parts, strict=True):
            start, length = (0, size) if part == "-" else (int(number) for number in part.split(","))
            if start < 0 or length < 0 or start + length > size:
                raise ValueError("outside the full shape")
            extents.append((start, length))
    except ValueError as error:
        raise ValueError(f"{text!r} describes no slice of a tensor ({error})") from None
    return Slice(full, tuple(extents))


def assembled(
    shape: tuple[int, ...], dtype: DType, parts: Iterable[tuple[tuple[tuple[int, int], ...], Array]]
) -> Array:
    """Returns the tensor that slices make up.

    Args:
      shape, dtype: the whole's.
      parts: `(extents, elements)` of each slice, in all as many elements as the whole has.

    Raises:
      ValueError: if two of them overlap, so that other elements are nowhere.
    """
    array: Array = np.empty(shape, dtype.numpy)
    taken = np.zeros(shape, np.bool_)
    for extents, values in parts:
        place = Slice(shape, extents).index
        if taken[place].any():
            raise ValueError(f"its slice {extents} overlaps another")
        taken[place] = True
        array[place] = values
    return array


def _ordered_number(value: int) -> bytes:
    payload = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(payload)]) + payload


def _ordered_signed(value: int) -> bytes:
    magnitude = ~value if value < 0 else value
    length = magnitude.bit_length() // 7 + 1
    if length == 1:
        return bytes([(0x80 ^ value) & 0xFF])
    encoded = bytearray(value.to_bytes(10, "big", signed=True)[10 - length :])
    # As many leading one bits as the encoding has bytes make longer numbers sort behind shorter ones.
    header = (((1 << length) - 1) << (16 - length)) & 0xFFFF
    encoded[0] ^= header >> 8
    encoded[1] ^= header & 0xFF
    return bytes(encoded)


def slice_key(name: str, extents: Iterable[tuple[int, int]]) -> bytes:
    """The key of one slice: TensorFlow's order-preserving code of name, rank and extents."""
    escaped = name.encode().replace(b"\0", b"\0\xff")  # UTF-8 has no 0xff, which would need escaping too.
    pairs = list(extents)
    key = _ordered_number(0) + escaped + b"\0\1" + _ordered_number(len(pairs))
    for start, length in pairs:
        key += _ordered_signed(start) + _ordered_signed(length)
    return key


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says about one tensor."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


def slice_files(pattern: str) -> list[str]:
    """Returns the files of a checkpoint in the first format: one of that name, or those that a pattern matches."""
    found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern))
    return [path for path in found if _is_table(path)]


def _is_table(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-8, os.SEEK_END)
            return file.read() == table.MAGIC.to_bytes(8, "little")
    except OSError:
        return False


_Extents = tuple[tuple[int, int], ...]


class SliceFileReader:
    """Reads one checkpoint of the first format; the members are those of `BundleReader`.

    Raises:
      DataLossError: if a file is damaged.
    """

    def __init__(self, pattern: str | os.PathLike[str]) -> None:
        self.prefix = os.fspath(pattern)
        self._entries: dict[str, Entry] = {}
        self._slices: dict[str, list[tuple[_Extents, bytes]]] = {}
        self._values: dict[bytes, bytes] = {}
        for path in slice_files(self.prefix):
            try:
                for key, value in table.read_table(Path(path).read_bytes()):
                    if key:
                        self._values[key] = value
                    else:
                        self._take(saved_tensor_slice_pb2.SavedTensorSlices.FromString(value).meta)
            except (ValueError, DecodeError) as error:
                raise DataLossError(None, None, f"the checkpoint {path} is damaged: {error}") from None

    def _take(self, meta: saved_tensor_slice_pb2.SavedTensorSliceMeta) -> None:
        for tensor in meta.tensor:
            shape = shape_from_proto(tensor.shape)
            sizes = tuple(size for size in shape.as_tuple() or () if size is not None)
            if not shape.is_fully_defined() or len(sizes) > 32:
                raise ValueError(f"{tensor.name!r} has the shape {shape}")
            entry = Entry(tensor.name, dtype_from_enum(tensor.type), sizes)
            if self._entries.setdefault(tensor.name, entry) != entry:
                raise ValueError(f"two files tell of {tensor.name!r} in two ways")
            for part in tensor.slice:
                self._slices.setdefault(tensor.name, []).append(self._piece(entry, part))

    @staticmethod
    def _piece(entry: Entry, part: tensor_bundle_pb2.TensorSliceProto) -> tuple[_Extents, bytes]:
        if len(part.extent) != len(entry.shape):
            raise ValueError(f"a slice of {entry.name!r} has another rank")
        spec = [(e.start, e.length if e.HasField("length") else -1) for e in part.extent]
        extents = tuple(
            (start, size if length < 0 else length)
            for (start, length), size in zip(spec, entry.shape, strict=True)
        )
        if any(
            start < 0 or start + length > size
            for (start, length), size in zip(extents, entry.shape, strict=True)
        ):
            raise ValueError(f"a slice of {entry.name!r} lies outside it")
        return extents, slice_key(entry.name, spec)

    def keys(self) -> list[str]:
        """Returns the names of the tensors, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """Returns dtype and shape of a tensor.

        Raises:
          NotFoundError: if there is none of this name.
        """
        if name not in self._entries:
            raise NotFoundError(None, None, f'Key "{name}" not found in checkpoint {self.prefix}')
        return self._entries[name]

    def read(self, name: str, piece: Slice | None = None) -> Array:
        """Returns a tensor, or the part `piece` of it.

        Raises:
          NotFoundError: if there is none of this name.
          InvalidArgumentError: if `piece` is a part of another shape.
          DataLossError: if elements of it are missing.
        """
        entry = self.entry(name)
        if piece is not None and piece.full_shape != entry.shape:
            raise InvalidArgumentError(
                None, None, f'"{name}" has shape {entry.shape} in the checkpoint {self.prefix}, a slice of shape '
                f"{piece.full_shape} was asked for"
            )  # fmt: skip
        parts = []
        slices = self._slices.get(name, [])
        covered = sum(math.prod(length for _, length in extents) for extents, _ in slices)
        if covered != math.prod(entry.shape):
            why = f'checkpoint {self.prefix}: the slices of tensor "{name}" do not make up the whole'
            raise DataLossError(None, None, why)
        for extents, key in slices:
            sizes = tuple(length for _, length in extents)
            try:
                saved = saved_tensor_slice_pb2.SavedTensorSlices.FromString(self._values[key]).data
                saved.data.dtype = enum_from_dtype(entry.dtype)
                if saved.data.tensor_content:
                    saved.data.tensor_shape.CopyFrom(shape_to_proto(TensorShape(sizes)))
                    values = make_ndarray(saved.data)
                else:
                    values = typed_values(saved.data, entry.dtype)
                parts.append((extents, values.reshape(sizes)))
            except (KeyError, ValueError, DecodeError):
                why = (
                    f'checkpoint {self.prefix}: the slice {extents} of tensor "{name}" is missing or damaged'
                )
                raise DataLossError(None, None, why) from None
        try:
            array = assembled(entry.shape, entry.dtype, parts)
        except ValueError as error:
            why = f'checkpoint {self.prefix}: tensor "{name}" is damaged: {error}'
            raise DataLossError(None, None, why) from None
        return array if piece is None else array[piece.index].copy()


def slice_file_bytes(names: Sequence[str], pieces: Sequence[Slice | None], tensors: Sequence[Array]) -> bytes:
    """Returns a checkpoint in the first format as the bytes of one file.

    Args:
      names: a name per tensor; the slices of one tensor share it.
      pieces: per tensor what part of the whole it is; None: all of it.
      tensors: the values.

    Raises:
      InvalidArgumentError: if shapes, types or names do not fit each other.
    """
    meta: dict[str, saved_tensor_slice_pb2.SavedSliceMeta] = {}
    entries: dict[bytes, bytes] = {}
    for name, piece, tensor in zip(names, pieces, tensors, strict=True):
        dtype = dtypes.as_dtype(tensor.dtype)
        full = tensor.shape if piece is None else piece.full_shape
        if piece is not None and piece.shape != tensor.shape:
            raise InvalidArgumentError(
                None, None, f'the slice {piece.shape} of "{name}" has a value of shape {tensor.shape}'
            )
        known = meta.get(name)
        if known is None:
            known = meta[name] = saved_tensor_slice_pb2.SavedSliceMeta(name=name, type=enum_from_dtype(dtype))
            known.shape.CopyFrom(shape_to_proto(TensorShape(full)))
        elif known.type != dtype.as_datatype_enum or tuple(d.size for d in known.shape.dim) != tuple(full):
            raise InvalidArgumentError(None, None, f'slices of "{name}" disagree about the full tensor')
        # A dimension that is whole says so by leaving out its length.
        extents = [(0, size) for size in full] if piece is None else list(piece.extents)
        spec = [
            (0, -1) if (start, length) == (0, size) else (start, length)
            for (start, length), size in zip(extents, full, strict=True)
        ]
        saved = saved_tensor_slice_pb2.SavedTensorSlices()
        saved.data.name = name
        for target in (saved.data.slice, known.slice.add()):
            for start, length in spec:
                extent = target.extent.add()
                if length >= 0:
                    extent.start, extent.length = start, length
        fill_typed(saved.data.data, tensor, dtype)
        key = slice_key(name, spec)
        if key in entries:
            raise InvalidArgumentError(None, None, f'the tensor "{name}" is added to the checkpoint twice')
        entries[key] = saved.SerializeToString()
    head = saved_tensor_slice_pb2.SavedTensorSlices()
    head.meta.tensor.extend(meta[name] for name in sorted(meta))
    head.meta.versions.producer = 1
    return table.write_table([(b"", head.SerializeToString()), *sorted(entries.items())])
