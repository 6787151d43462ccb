"""Checkpoints in TensorFlow's V2 format: an index table and files of raw values (a "tensor bundle").

`<prefix>.index` maps each tensor's name to where its bytes lie in `<prefix>.data-SSSSS-of-NNNNN` and to their
checksum. The index is written last: without it there is no checkpoint, and with the old one the old checkpoint.
"""

from __future__ import annotations

import difflib
import glob
import math
import os
import struct
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from graphflow import checksum, dtypes
from graphflow.dtypes import DType
from graphflow.errors import DataLossError, InvalidArgumentError, NotFoundError, UnimplementedError
from graphflow.ops.io import set_checkpoint_files
from graphflow.serialization import table, varint
from graphflow.serialization.proto import tensor_bundle_pb2
from graphflow.serialization.slice_file import (
    Entry,
    Slice,
    SliceFileReader,
    assembled,
    parse_slice,
    slice_file_bytes,
    slice_files,
    slice_key,
)
from graphflow.serialization.tensor_proto import (
    as_bytes,
    dtype_from_enum,
    enum_from_dtype,
    shape_from_proto,
    shape_to_proto,
)
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]

_BUNDLE_VERSION = 1
_MOST_LISTED = 20


def data_file(prefix: str, shard: int, num_shards: int) -> str:
    """Returns the path of one data file of a checkpoint."""
    return f"{prefix}.data-{shard:05d}-of-{num_shards:05d}"


def index_file(prefix: str) -> str:
    """Returns the path of a checkpoint's index."""
    return f"{prefix}.index"


# ---------------------------------------------------------------------------------------------------- writing


def sync_directory(path: Path) -> None:
    """Makes renames inside a directory survive a crash, where the system can do that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def write_file(path: str, contents: bytes) -> None:
    """Writes a file so that a crash leaves the old one or the new one, never a part."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(Path(path).absolute().parent)


class BundleWriter:
    """Writes one checkpoint with a single data file.

    Nothing is visible under `prefix` before `finish`, which puts the data file and then the index in place. As a
    context manager it finishes on success and leaves nothing behind on failure.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self._prefix = os.fspath(prefix)
        directory = Path(os.path.dirname(self._prefix)).absolute()  # of "folder/", too, the folder itself
        directory.mkdir(parents=True, exist_ok=True)
        self._temporary = f"{data_file(self._prefix, 0, 1)}.{uuid.uuid4().hex}.tmp"
        self._file: BinaryIO = open(self._temporary, "wb")
        self._entries: dict[bytes, tensor_bundle_pb2.BundleEntryProto] = {}
        self._offset = 0

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def add(self, name: str, array: Array) -> None:
        """Adds a whole tensor.

        Raises:
          InvalidArgumentError: for an empty or repeated name.
        """
        self._check_new(name)
        self._write(name.encode(), np.asarray(array))

    def add_slice(self, name: str, piece: Slice, array: Array) -> None:
        """Adds one part of the tensor `name`.

        Raises:
          InvalidArgumentError: if the parts disagree about the full tensor, or the array does not fit its part.
        """
        array = np.asarray(array)
        if array.shape != piece.shape:
            raise InvalidArgumentError(
                None, None, f'slice of "{name}": the slice has shape {piece.shape}, the array {array.shape}'
            )
        key = name.encode()
        full = self._entries.get(key)
        if full is None:
            self._check_new(name)
            full = tensor_bundle_pb2.BundleEntryProto(dtype=enum_from_dtype(dtypes.as_dtype(array.dtype)))
            full.shape.CopyFrom(shape_to_proto(TensorShape(piece.full_shape)))
            self._entries[key] = full
        elif not full.slices or tuple(dim.size for dim in full.shape.dim) != piece.full_shape:
            raise InvalidArgumentError(None, None, f'slices of "{name}" disagree about the full tensor')
        own_key = slice_key(name, piece.extents)
        if own_key in self._entries:
            raise InvalidArgumentError(None, None, f'the slice {piece.extents} of "{name}" is added twice')
        added = full.slices.add()
        for start, length in piece.extents:
            added.extent.add(start=start, length=length)
        self._write(own_key, array)

    def _check_new(self, name: str) -> None:
        if not name:
            raise InvalidArgumentError(None, None, "a tensor in a checkpoint needs a name")
        if name.encode() in self._entries:
            raise InvalidArgumentError(None, None, f'the tensor "{name}" is added to the checkpoint twice')

    def _write(self, key: bytes, array: Array) -> None:
        dtype = dtypes.as_dtype(array.dtype)
        entry = tensor_bundle_pb2.BundleEntryProto(dtype=enum_from_dtype(dtype), offset=self._offset)
        entry.shape.CopyFrom(shape_to_proto(TensorShape(array.shape)))
        if dtype is dtypes.string:
            items = [as_bytes(item) for item in array.reshape(-1).tolist()]
            crc, lengths_crc = _string_checksums([len(item) for item in items])
            parts = [varint.write(len(item)) for item in items] + [struct.pack("<I", lengths_crc)]
            body = b"".join(items)
            entry.crc32c = checksum.mask(checksum.extend(crc, body))
            contents: bytes | memoryview = b"".join([*parts, body])
        else:
            array = np.ascontiguousarray(array)
            contents = array.reshape(-1).view(np.uint8).data if array.size else b""
            entry.crc32c = checksum.masked(contents)
        self._file.write(contents)
        entry.size = len(contents)
        self._offset += len(contents)
        self._entries[key] = entry

    def finish(self) -> None:
        """Puts the checkpoint in place: data first, then the index that makes it one."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _put_in_place(self._prefix, [self._temporary], self._entries)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Removes what was written."""
        self._file.close()
        Path(self._temporary).unlink(missing_ok=True)


def _put_in_place(
    prefix: str, sources: Sequence[str], entries: Mapping[bytes, tensor_bundle_pb2.BundleEntryProto]
) -> None:
    """Moves data files to where a checkpoint has them and writes its index; a crash leaves the old one or the new one.

    An index that is there speaks of data files by their number in all. If that is the new number too, the new files
    would take the places of the old before there is an index for them. So they are first called parts of one more
    file; once the index says so, they get their usual names by a second link, and an index for those.

    Args:
      prefix: the checkpoint's path prefix.
      sources: the data files, in order, already on disk.
      entries: what they hold.
    """
    index, count = index_file(prefix), len(sources)
    directory = Path(index).absolute().parent
    first = count + 1 if _number_of_data_files(prefix) == count else count
    for shard, source in enumerate(sources):
        os.replace(source, data_file(prefix, shard, first))
    sync_directory(directory)
    write_file(index, _index_bytes(first, entries))
    if first != count:
        _remove_data_files(prefix, first)
        try:
            for shard in range(count):
                os.link(data_file(prefix, shard, first), data_file(prefix, shard, count))
        except OSError:
            # No second links here: the names of one file more are as good.
            _remove_data_files(prefix, first)
            return
        sync_directory(directory)
        write_file(index, _index_bytes(count, entries))
    _remove_data_files(prefix, count)


def _number_of_data_files(prefix: str) -> int | None:
    """Of how many data files the index under a prefix speaks; None if there is no good one."""
    try:
        return BundleReader(prefix).num_shards
    except (NotFoundError, DataLossError):
        return None


def _remove_data_files(prefix: str, but: int) -> None:
    """Removes the data files under a prefix, except those of the set of so many."""
    for path in glob.glob(f"{glob.escape(prefix)}.data-?????-of-?????"):
        if not path.endswith(f"-of-{but:05d}"):
            Path(path).unlink(missing_ok=True)


def _index_bytes(num_shards: int, entries: Mapping[bytes, tensor_bundle_pb2.BundleEntryProto]) -> bytes:
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = _BUNDLE_VERSION
    rows = [(b"", header.SerializeToString())]
    rows += [(key, entries[key].SerializeToString()) for key in sorted(entries)]
    return table.write_table(rows)


def _string_checksums(lengths: Sequence[int]) -> tuple[int, int]:
    """Returns the running CRC over lengths and their checksum, and the masked checksum of the lengths."""
    packed = b"".join(struct.pack("<I" if length < 1 << 32 else "<Q", length) for length in lengths)
    crc = checksum.extend(0, packed)
    lengths_crc = checksum.mask(crc)
    return checksum.extend(crc, struct.pack("<I", lengths_crc)), lengths_crc


def write_bundle(prefix: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Writes a checkpoint with these tensors (arrays, or anything that NumPy makes one of)."""
    with BundleWriter(prefix) as writer:
        for name, array in tensors.items():
            writer.add(name, np.asarray(array))


def merge_bundles(prefixes: Sequence[str], destination: str, delete_old_dirs: bool = False) -> None:
    """Makes one checkpoint of several, as MergeV2Checkpoints does: data files are moved, the indexes merged.

    Raises:
      InvalidArgumentError: if a tensor is in two of them.
      NotFoundError, DataLossError: if one cannot be read.
    """
    readers = [BundleReader(prefix) for prefix in prefixes]
    Path(destination).absolute().parent.mkdir(parents=True, exist_ok=True)
    entries: dict[bytes, tensor_bundle_pb2.BundleEntryProto] = {}
    sources: list[str] = []
    first = 0
    for reader in readers:
        for key, entry in reader.raw_entries():
            merged = tensor_bundle_pb2.BundleEntryProto()
            merged.CopyFrom(entry)
            merged.shard_id = entry.shard_id + first
            held = entries.get(key)
            if held is None:
                entries[key] = merged
            elif held.slices and merged.slices:
                held.slices.extend(merged.slices)
            else:
                raise InvalidArgumentError(
                    None, None, f"the tensor {key!r} is in two of the checkpoints {prefixes}"
                )
        sources += [data_file(reader.prefix, n, reader.num_shards) for n in range(reader.num_shards)]
        first += reader.num_shards
    _put_in_place(destination, sources, entries)
    for prefix in prefixes:
        if os.path.abspath(prefix) != os.path.abspath(destination):
            Path(index_file(prefix)).unlink(missing_ok=True)
            if delete_old_dirs:
                try:
                    Path(prefix).absolute().parent.rmdir()
                except OSError:  # Not empty, or already gone with an earlier prefix.
                    pass


# ---------------------------------------------------------------------------------------------------- reading


class BundleReader:
    """Reads one checkpoint.

    The index is read and checked at once; a tensor's bytes are read, and held against their checksum, when asked
    for. Nothing is allocated for a tensor whose claimed size is not in the file.

    Raises:
      NotFoundError: if there is no index file.
      DataLossError: if it is damaged.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = os.fspath(prefix)
        path = index_file(self.prefix)
        try:
            contents = Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                None, None, f"Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
                f"{self.prefix}: there is no {path}"
            ) from None  # fmt: skip
        self._raw: dict[bytes, tensor_bundle_pb2.BundleEntryProto] = {}
        self._entries: dict[str, Entry] = {}
        try:
            header: tensor_bundle_pb2.BundleHeaderProto | None = None
            for key, value in table.read_table(contents):
                if header is None:
                    if key:
                        raise ValueError("the header is missing")
                    header = tensor_bundle_pb2.BundleHeaderProto.FromString(value)
                else:
                    self._raw[key] = tensor_bundle_pb2.BundleEntryProto.FromString(value)
            if header is None:
                raise ValueError("the table is empty")
            if not 0 <= header.num_shards <= 100_000:
                raise ValueError(f"the header claims {header.num_shards} data files")
        except (ValueError, DecodeError) as error:
            raise DataLossError(None, None, f"the checkpoint index {path} is damaged: {error}") from None
        if header.endianness != tensor_bundle_pb2.BundleHeaderProto.LITTLE:
            raise UnimplementedError(None, None, f"the checkpoint {self.prefix} was written big-endian")
        if header.version.min_consumer > _BUNDLE_VERSION:
            raise UnimplementedError(
                None,
                None,
                f"the checkpoint {self.prefix} needs a reader of version {header.version.min_consumer}",
            )
        self.num_shards = header.num_shards

    def raw_entries(self) -> Iterable[tuple[bytes, tensor_bundle_pb2.BundleEntryProto]]:
        """Returns the index as it is: `(key, entry)`, slices included."""
        return self._raw.items()

    def data_files(self) -> dict[str, int]:
        """Returns each data file and how many bytes the index says it has at least."""
        sizes = {data_file(self.prefix, shard, self.num_shards): 0 for shard in range(self.num_shards)}
        for entry in self._raw.values():
            if not entry.slices and 0 <= entry.shard_id < self.num_shards:
                name = data_file(self.prefix, entry.shard_id, self.num_shards)
                sizes[name] = max(sizes[name], entry.offset + entry.size)
        return sizes

    def keys(self) -> list[str]:
        """Returns the names of the tensors, sorted."""
        # Keys that start with a zero byte are slices of partitioned tensors.
        return [key.decode("utf-8", "surrogateescape") for key in self._raw if not key.startswith(b"\0")]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._raw

    def entry(self, name: str) -> Entry:
        """Returns dtype and shape of a tensor.

        Raises:
          NotFoundError: if there is none of this name.
          DataLossError: if what the index says about it makes no sense.
        """
        found = self._entries.get(name)
        if found is None:
            raw = self._raw.get(_key(name))
            if raw is None:
                raise NotFoundError(None, None, f'Key "{name}" not found in checkpoint {self.prefix}')
            found = self._check(name, raw)
            self._entries[name] = found
        return found

    def _check(self, name: str, raw: tensor_bundle_pb2.BundleEntryProto) -> Entry:
        try:
            dtype = dtype_from_enum(raw.dtype)
            shape = shape_from_proto(raw.shape)
            sizes = tuple(size for size in shape.as_tuple() or () if size is not None)
            if not shape.is_fully_defined() or len(sizes) > 32:
                raise ValueError(f"it has the shape {shape}")
            count = shape.num_elements() or 0
            if raw.offset < 0 or raw.size < 0 or not (raw.slices or 0 <= raw.shard_id < self.num_shards):
                raise ValueError("it lies nowhere")
            if raw.slices:
                pass
            elif dtype is dtypes.string:
                if raw.size < count + 4:
                    raise ValueError(f"{count} strings cannot be in {raw.size} bytes")
            elif raw.size != count * dtype.size:
                raise ValueError(f"{raw.size} bytes are no {dtype.name} tensor of shape {shape}")
        except ValueError as error:
            raise DataLossError(
                None, None, f'checkpoint {self.prefix}: the entry of tensor "{name}" is damaged: {error}'
            ) from None
        return Entry(name, dtype, sizes)

    def read(self, name: str, piece: Slice | None = None) -> Array:
        """Returns a tensor, or the part `piece` of it.

        Raises:
          NotFoundError: if there is none of this name.
          InvalidArgumentError: if `piece` is a part of another shape.
          DataLossError: if its bytes are missing or do not match their checksum; names the tensor and the file.
        """
        entry = self.entry(name)
        if piece is not None and piece.full_shape != entry.shape:
            raise InvalidArgumentError(
                None, None, f'"{name}" has shape {entry.shape} in the checkpoint {self.prefix}, a slice of shape '
                f"{piece.full_shape} was asked for"
            )  # fmt: skip
        raw = self._raw[_key(name)]
        if raw.slices:
            return self._read_slices(entry, raw, piece)
        array = self._read_value(entry, raw)
        return array if piece is None else array[piece.index].copy()

    def _read_slices(
        self, entry: Entry, raw: tensor_bundle_pb2.BundleEntryProto, piece: Slice | None
    ) -> Array:
        parts: list[tuple[tuple[tuple[int, int], ...], Entry, tensor_bundle_pb2.BundleEntryProto]] = []
        covered = 0
        for part in raw.slices:
            if len(part.extent) != len(entry.shape):
                raise self._damaged(entry.name, "a slice of it has another rank")
            spec = tuple((e.start, e.length if e.HasField("length") else -1) for e in part.extent)
            extents = tuple(
                (start, size if length < 0 else length)
                for (start, length), size in zip(spec, entry.shape, strict=True)
            )
            stored = self._raw.get(slice_key(entry.name, spec)) or self._raw.get(
                slice_key(entry.name, extents)
            )
            if stored is None or any(
                s < 0 or s + n > size for (s, n), size in zip(extents, entry.shape, strict=True)
            ):
                raise self._damaged(entry.name, f"its slice {extents} is missing")
            checked = self._check(entry.name, stored)
            if checked.shape != tuple(n for _, n in extents) or checked.dtype is not entry.dtype:
                raise self._damaged(entry.name, f"its slice {extents} has another shape or type")
            covered += math.prod(checked.shape)
            parts.append((extents, checked, stored))
        if covered != math.prod(entry.shape):
            raise self._damaged(entry.name, "its slices do not make up the whole")
        claimed, held = sum(stored.size for _, _, stored in parts), self._bytes_held()
        if claimed > held:
            raise self._damaged(entry.name, f"its slices claim {claimed} bytes of the {held} that there are")
        values = ((extents, self._read_value(checked, stored)) for extents, checked, stored in parts)
        try:
            array = assembled(entry.shape, entry.dtype, values)
        except ValueError as error:
            raise self._damaged(entry.name, str(error)) from None
        return array if piece is None else array[piece.index].copy()

    def _bytes_held(self) -> int:
        """The size of all data files."""
        paths = {data_file(self.prefix, raw.shard_id, self.num_shards) for raw in self._raw.values()}
        return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))

    def _damaged(self, name: str, why: str) -> DataLossError:
        return DataLossError(None, None, f'checkpoint {self.prefix}: tensor "{name}" is damaged: {why}')

    def _read_value(self, entry: Entry, raw: tensor_bundle_pb2.BundleEntryProto) -> Array:
        path = data_file(self.prefix, raw.shard_id, self.num_shards)
        try:
            with open(path, "rb") as file:
                length = os.fstat(file.fileno()).st_size
                if raw.offset + raw.size > length:
                    raise self._damaged(
                        entry.name, f"it ends at byte {raw.offset + raw.size} of {path}, which has {length}"
                    )
                contents: Array = np.empty(raw.size, np.uint8)
                file.seek(raw.offset)
                if raw.size and file.readinto(contents.data) != raw.size:
                    raise self._damaged(entry.name, f"{path} is cut off")
        except FileNotFoundError:
            raise self._damaged(entry.name, f"there is no {path}") from None
        if entry.dtype is dtypes.string:
            return self._decode_strings(entry, raw, contents.tobytes(), path)
        if checksum.masked(contents) != raw.crc32c:
            raise self._damaged(entry.name, f"the checksum of its bytes in {path} does not match")
        return contents.view(entry.dtype.numpy).reshape(entry.shape)

    def _decode_strings(
        self, entry: Entry, raw: tensor_bundle_pb2.BundleEntryProto, data: bytes, path: str
    ) -> Array:
        count = int(np.prod(entry.shape, dtype=object))
        lengths: list[int] = []
        position = 0
        try:
            for _ in range(count):
                length, position = varint.read(data, position)
                lengths.append(length)
        except ValueError as error:
            raise self._damaged(entry.name, str(error)) from None
        crc, lengths_crc = _string_checksums(lengths)
        body = data[position + 4 :]
        if data[position : position + 4] != struct.pack("<I", lengths_crc) or sum(lengths) != len(body):
            raise self._damaged(
                entry.name, f"the lengths of its strings in {path} do not match their checksum"
            )
        if checksum.mask(checksum.extend(crc, body)) != raw.crc32c:
            raise self._damaged(entry.name, f"the checksum of its bytes in {path} does not match")
        array: Array = np.empty(count, object)
        position = 0
        for i, length in enumerate(lengths):
            array[i] = body[position : position + length]
            position += length
        return array.reshape(entry.shape)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def read_bundle(prefix: str | os.PathLike[str]) -> dict[str, Array]:
    """Returns all tensors of a checkpoint by name."""
    reader = BundleReader(prefix)
    return {name: reader.read(name) for name in reader.keys()}


# ------------------------------------------------------------------------------------- what SaveV2 and its kin do


def open_checkpoint(prefix: str | os.PathLike[str]) -> BundleReader | SliceFileReader:
    """Returns the reader of a checkpoint: a bundle, or what TensorFlow wrote before there were any.

    Raises:
      NotFoundError: if there is neither.
      DataLossError: if it is damaged.
    """
    path = os.fspath(prefix)
    if not os.path.exists(index_file(path)) and slice_files(path):
        return SliceFileReader(path)
    return BundleReader(path)


def missing_keys(
    reader: BundleReader | SliceFileReader, names: Iterable[str] | Mapping[str, str]
) -> NotFoundError | None:
    """Returns the error for names that a checkpoint lacks, or None if it has them all.

    It lists what is missing with the nearest names, and says what the checkpoint has.

    Args:
      reader: the checkpoint.
      names: the names; or a dict from them to the lines that made what they stand for.
    """
    lines_made = names if isinstance(names, Mapping) else {}
    missing = [name for name in names if name not in reader]
    if not missing:
        return None
    keys = reader.keys()
    lines = []
    for name in missing[:_MOST_LISTED]:
        near = difflib.get_close_matches(name, keys, n=2, cutoff=0.5)
        made = f", made at {line}" if (line := lines_made.get(name)) else ""
        lines.append(f"  {name}{made}" + (f" (nearest: {', '.join(near)})" if near else ""))
    if len(missing) > _MOST_LISTED:
        lines.append(f"  … and {len(missing) - _MOST_LISTED} more")
    has = ", ".join(keys[:_MOST_LISTED]) + (", …" if len(keys) > _MOST_LISTED else "")
    return NotFoundError(
        None,
        None,
        f"Key {missing[0]} not found in checkpoint {reader.prefix}, which lacks {len(missing)} of the tensors "
        "asked for:\n" + "\n".join(lines) + f"\nIt has {len(keys)}: {has}",
    )


def save_tensors(prefix: str, names: Sequence[str], slices: Sequence[str], tensors: Sequence[Array]) -> None:
    """Writes a checkpoint; the body of SaveV2.

    Args:
      prefix: the path of the checkpoint without suffix.
      names: a name per tensor; the parts of one tensor share it.
      slices: per tensor "", or what part of the whole it is; see `parse_slice`.
      tensors: the values.
    """
    with BundleWriter(prefix) as writer:
        for name, text, tensor in zip(names, slices, tensors, strict=True):
            piece = _slice_of(text)
            if piece is None:
                writer.add(name, tensor)
            else:
                writer.add_slice(name, piece, tensor)


def save_slices(path: str, names: Sequence[str], slices: Sequence[str], tensors: Sequence[Array]) -> None:
    """Writes a checkpoint of the first format, one file; the body of Save and SaveSlices.

    Args:
      path: the file.
      names: a name per tensor; the parts of one tensor share it.
      slices: per tensor "", or what part of the whole it is; see `parse_slice`.
      tensors: the values.
    """
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    write_file(path, slice_file_bytes(names, [_slice_of(text) for text in slices], tensors))


def restore_tensors(
    prefix: str, names: Sequence[str], slices: Sequence[str], wanted: Sequence[DType]
) -> list[Array]:
    """Returns tensors of a checkpoint; the body of RestoreV2.

    Raises:
      NotFoundError: if the checkpoint or some tensors are missing; lists them all.
      InvalidArgumentError: if a tensor is of another dtype.
      DataLossError: if the checkpoint is damaged.
    """
    reader = open_checkpoint(prefix)
    error = missing_keys(reader, names)
    if error is not None:
        raise error
    result = []
    for name, text, dtype in zip(names, slices, wanted, strict=True):
        held = reader.entry(name).dtype
        if held is not dtype:
            raise InvalidArgumentError(
                None,
                None,
                f"tensor_name = {name}; expected dtype {dtype.name} does not equal original dtype {held.name} "
                f"in checkpoint {prefix}",
            )
        result.append(reader.read(name, _slice_of(text)))
    return result


def _slice_of(text: str) -> Slice | None:
    try:
        return parse_slice(text)
    except ValueError as error:
        raise InvalidArgumentError(None, None, str(error)) from None


set_checkpoint_files(sys.modules[__name__])
