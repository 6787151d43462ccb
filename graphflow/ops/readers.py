"""Readers: resources that take names of files from a queue and give records, one by one."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, OutOfRangeError, UnimplementedError
from graphflow.gfile import file_errors, local_path
from graphflow.graph import Operation, Tensor
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.files import text_array
from graphflow.ops.queues import Queue, QueueBase
from graphflow.resources import Array, Resource, Run, resource_of
from graphflow.shapes import TensorShape
from graphflow.tfrecord import RecordReader, TFRecordOptions, open_to_read

Record = tuple[bytes, bytes]  # key and value


# ---------------------------------------------------------------------------- what a session keeps


class Reader(Resource):
    """Takes a piece of work (the name of a file) from a queue, and gives its records.

    Attributes:
      records: how many were given.
      finished: how many pieces of work are done.
    """

    kind: ClassVar[str] = "reader"

    def __init__(self) -> None:
        super().__init__()
        self.records = 0
        self.started = 0
        self.finished = 0
        self._work = b""

    # What a kind of reader is.

    def begin(self, work: bytes) -> None:
        """Opens a file."""

    def next(self) -> tuple[Record | None, bool]:
        """The next record of the file, None if there is none, and whether the file is known to be at its end."""
        raise NotImplementedError

    def finish(self) -> None:
        """Closes the file."""

    # What operations do.

    def read(self, run: Run, queue: Queue, most: int) -> list[Record]:
        """Returns a record; up to `most` of them, as far as they are there without new work after the first."""
        with self.alone(run):
            found: list[Record] = []
            while len(found) < most:
                if self.started == self.finished:
                    if found and not queue.size():
                        break
                    try:
                        self._start(run, queue)
                    except OutOfRangeError:
                        if found:
                            break
                        raise
                record, at_end = self.next()
                if record is not None:
                    found.append(record)
                    self.records += 1
                if at_end:
                    self._stop()
            return found

    def _start(self, run: Run, queue: Queue) -> None:
        if len(queue.types) != 1 or queue.types[0] is not dtypes.string:
            raise InvalidArgumentError(
                None, None, "Queue must have single string component: the names of what is to be read"
            )
        (work,) = queue.dequeue(run)
        if work.ndim:
            raise InvalidArgumentError(
                None, None, f"a piece of work is a scalar, got shape {list(work.shape)}"
            )
        self._work = bytes(work[()])
        self.started += 1
        try:
            self.begin(self._work)
        except BaseException:
            self.started -= 1
            raise

    def _stop(self) -> None:
        self.finish()
        self.finished += 1

    def state(self, run: Run) -> bytes:
        """What `restore` takes; only readers that open no files have one."""
        raise UnimplementedError(None, None, "Reader SerializeState")

    def restore(self, run: Run, state: bytes) -> None:
        """Goes on where another reader was."""
        raise UnimplementedError(None, None, "Reader RestoreState")

    def reset(self, run: Run) -> None:
        """Forgets what was read, and closes the file."""
        with self.alone(run):
            self.finish()
            self.records = self.started = self.finished = 0

    def release(self) -> None:
        """See `Resource.release`."""
        self.finish()


class _FileReader(Reader):
    """Likewise, with a file that is open while its records are given."""

    def __init__(self) -> None:
        super().__init__()
        self._file: Any = None

    def finish(self) -> None:
        """See `Reader.finish`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _key(self, number: int) -> bytes:
        return self._work + b":%d" % number

    def _path(self) -> str:
        return local_path(self._work.decode(errors="surrogateescape"))


class WholeFiles(_FileReader):
    """Each file is one record."""

    def next(self) -> tuple[Record | None, bool]:
        """See `Reader.next`."""
        with file_errors(self._path()), open(self._path(), "rb") as file:
            return (self._work, file.read()), True


class Identity(Reader):
    """Each piece of work is one record."""

    def next(self) -> tuple[Record | None, bool]:
        """See `Reader.next`."""
        return (self._work, self._work), True

    def state(self, run: Run) -> bytes:
        """See `Reader.state`: TensorFlow's ReaderBaseState."""
        with self.alone(run):
            counts, work = (self.started, self.finished, self.records), self._work
        parts = [bytes([8 * (i + 1)]) + _varint(count) for i, count in enumerate(counts) if count]
        return b"".join(parts) + (b"\x22" + _varint(len(work)) + work if work else b"")

    def restore(self, run: Run, state: bytes) -> None:
        """See `Reader.restore`."""
        started, finished, records, work = _read_state(state)
        if not 0 <= finished <= started <= finished + 1 or records < 0:
            raise InvalidArgumentError(None, None, f"Unexpected state of a reader: {state[:100]!r}")
        with self.alone(run):
            self.started, self.finished, self.records, self._work = started, finished, records, work


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)


def _read_state(state: bytes) -> tuple[int, int, int, bytes]:
    """How much work was begun and done, how many records were given, and what is under way."""
    numbers, work, at = [0, 0, 0], b"", 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = state[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 63:
                return value - (1 << 64) if value >= 1 << 63 else value

    try:
        while at < len(state):
            key = number()
            if key in (8, 16, 24):
                numbers[key // 8 - 1] = number()
            elif key == 34:
                length = number()
                if not 0 <= length <= len(state) - at:
                    raise IndexError
                work, at = state[at : at + length], at + length
            else:
                raise IndexError
    except IndexError:
        raise InvalidArgumentError(None, None, f"Could not parse the state {state[:100]!r}") from None
    return numbers[0], numbers[1], numbers[2], work


class TextLines(_FileReader):
    """Each line is a record, without its end; the key is the file's name and the number of the line."""

    def __init__(self, skip: int) -> None:
        super().__init__()
        self._skip = skip
        self._line = 0

    def begin(self, work: bytes) -> None:
        """See `Reader.begin`."""
        self._file = io.BufferedReader(open_to_read(self._path()), 1 << 18)
        self._line = 0
        while self._line < self._skip and self._file.readline():
            self._line += 1

    def next(self) -> tuple[Record | None, bool]:
        """See `Reader.next`."""
        line = self._file.readline()
        if not line:
            return None, True
        self._line += 1
        return (self._key(self._line), line.removesuffix(b"\n").removesuffix(b"\r")), False


class FixedLengthRecords(_FileReader):
    """Each run of so many bytes is a record; the key is the file's name and the record's number."""

    def __init__(self, header: int, record: int, footer: int, hop: int, encoding: str) -> None:
        super().__init__()
        for what, size, least in (
            ("header_bytes", header, 0),
            ("record_bytes", record, 1),
            ("footer_bytes", footer, 0),
            ("hop_bytes", hop, 0),
        ):
            if size < least:
                raise InvalidArgumentError(None, None, f"{what} must be >= {least} but got {size}")
        if encoding not in ("", "ZLIB"):
            raise InvalidArgumentError(None, None, f"encoding must be '' or 'ZLIB', got {encoding!r}")
        self._header, self._record, self._footer, self._hop = header, record, footer, hop or record
        self._encoding = encoding
        self._data = b""
        self._at = 0
        self._count = 0

    def begin(self, work: bytes) -> None:
        """See `Reader.begin`."""
        with open_to_read(self._path()) as file:
            data = file.read()
        self._data = zlib.decompress(data) if self._encoding else data
        self._at, self._count = self._header, 0

    def next(self) -> tuple[Record | None, bool]:
        """See `Reader.next`."""
        end = self._at + self._record
        if end > len(self._data) - self._footer:
            self._data = b""
            return None, True
        record = self._data[self._at : end]
        self._at += self._hop
        self._count += 1
        return (self._key(self._count - 1), record), False


class Records(_FileReader):
    """The records of TensorFlow's files of records; the key is the file's name and where the record begins."""

    def __init__(self, compression: str) -> None:
        super().__init__()
        self._compression = TFRecordOptions.get_compression_type_string(compression)

    def begin(self, work: bytes) -> None:
        """See `Reader.begin`."""
        self._file = RecordReader(self._path(), self._compression)

    def next(self) -> tuple[Record | None, bool]:
        """See `Reader.next`."""
        at = self._file.offset
        record = self._file.read()
        return (None, True) if record is None else ((self._key(at), record), False)


# ---------------------------------------------------------------------------- ops

_KEPT = "container:string=; shared_name:string="


def _reader(
    kind: type[Reader], make: Callable[[], Reader], run: Any, container: str, shared_name: str, node_name: str
) -> Array:
    found = run.resources.get(kind, make, container=container, shared_name=shared_name, node_name=node_name)
    return found.handle()


@op("WholeFileReaderV2", "", "reader_handle:resource", _KEPT, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def whole_file_reader_op(*, container: str, shared_name: str, context: Any, node_name: str) -> Array:
    """The handle of a reader that gives whole files."""
    return _reader(WholeFiles, WholeFiles, context, container, shared_name, node_name)


@op("IdentityReaderV2", "", "reader_handle:resource", _KEPT, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def identity_reader_op(*, container: str, shared_name: str, context: Any, node_name: str) -> Array:
    """The handle of a reader that gives its work itself."""
    return _reader(Identity, Identity, context, container, shared_name, node_name)


@op("TextLineReaderV2", "", "reader_handle:resource", f"skip_header_lines:int=0; {_KEPT}", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def text_line_reader_op(
    *, skip_header_lines: int, container: str, shared_name: str, context: Any, node_name: str
) -> Array:
    """The handle of a reader that gives lines."""
    return _reader(
        TextLines, lambda: TextLines(skip_header_lines), context, container, shared_name, node_name
    )


@op("FixedLengthRecordReaderV2", "", "reader_handle:resource",
    f"header_bytes:int=0; record_bytes:int; footer_bytes:int=0; hop_bytes:int=0; {_KEPT}; encoding:string=",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def fixed_length_record_reader_op(
    *, header_bytes: int, record_bytes: int, footer_bytes: int, hop_bytes: int, encoding: str, container: str,
    shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a reader that gives runs of bytes."""
    return _reader(
        FixedLengthRecords,
        lambda: FixedLengthRecords(header_bytes, record_bytes, footer_bytes, hop_bytes, encoding),
        context, container, shared_name, node_name,
    )  # fmt: skip


@op("TFRecordReaderV2", "", "reader_handle:resource", f"{_KEPT}; compression_type:string=", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def tf_record_reader_op(
    *, compression_type: str, container: str, shared_name: str, context: Any, node_name: str
) -> Array:
    """The handle of a reader of TensorFlow's files of records."""
    return _reader(Records, lambda: Records(compression_type), context, container, shared_name, node_name)


def _two_scalars(node: Any) -> list[TensorShape]:
    return [TensorShape(()), TensorShape(())]


def _two_vectors(node: Any) -> list[TensorShape]:
    return [TensorShape([None]), TensorShape([None])]


@op("ReaderReadV2", "reader_handle:resource; queue_handle:resource", "key:string; value:string", "",
    infer=_two_scalars, effects="host", differentiable=False)  # fmt: skip
def reader_read_op(reader_handle: Array, queue_handle: Array, *, context: Any) -> tuple[Array, Array]:
    """The next record of a reader, whose work comes from a queue."""
    queue = resource_of(queue_handle, Queue)
    ((key, value),) = resource_of(reader_handle, Reader).read(context, queue, 1)
    return np.array(key, object), np.array(value, object)


@op("ReaderReadUpToV2", "reader_handle:resource; queue_handle:resource; num_records:int64",
    "keys:string; values:string", "", infer=_two_vectors, effects="host", differentiable=False)  # fmt: skip
def reader_read_up_to_op(
    reader_handle: Array, queue_handle: Array, num_records: Array, *, context: Any
) -> tuple[Array, Array]:
    """The next records of a reader, at most so many."""
    if num_records < 1:
        raise InvalidArgumentError(None, None, f"num_records must be positive, got {int(num_records)}")
    queue = resource_of(queue_handle, Queue)
    found = resource_of(reader_handle, Reader).read(context, queue, int(num_records))
    return text_array([key for key, _ in found]), text_array([value for _, value in found])


@op("ReaderNumRecordsProducedV2", "reader_handle:resource", "records_produced:int64", "", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def reader_num_records_op(reader_handle: Array) -> Array:
    """How many records a reader has given."""
    return np.asarray(resource_of(reader_handle, Reader).records, np.int64)


@op("ReaderNumWorkUnitsCompletedV2", "reader_handle:resource", "units_completed:int64", "", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def reader_num_units_op(reader_handle: Array) -> Array:
    """How many files a reader is done with."""
    return np.asarray(resource_of(reader_handle, Reader).finished, np.int64)


@op("ReaderResetV2", "reader_handle:resource", "", "", infer=rules.no_output, effects="host",
    differentiable=False)  # fmt: skip
def reader_reset_op(reader_handle: Array, *, context: Any) -> None:
    """Has a reader begin anew."""
    resource_of(reader_handle, Reader).reset(context)


@op("ReaderSerializeStateV2", "reader_handle:resource", "state:string", "", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def reader_serialize_state_op(reader_handle: Array, *, context: Any) -> Array:
    """Where a reader is, as a message."""
    return np.array(resource_of(reader_handle, Reader).state(context), object)


def _one_state(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 1, 0, "state")
    return []


@op("ReaderRestoreStateV2", "reader_handle:resource; state:string", "", "", infer=_one_state, effects="host",
    differentiable=False)  # fmt: skip
def reader_restore_state_op(reader_handle: Array, state: Array, *, context: Any) -> None:
    """Has a reader go on where the one was that gave the state."""
    resource_of(reader_handle, Reader).restore(context, bytes(state[()]))


# ---------------------------------------------------------------------------- classes


class ReaderBase:
    """Takes names of files from a queue and gives their records.

    Args:
      reader_ref: the handle.
      supports_serialize: whether its state can be saved.
    """

    def __init__(self, reader_ref: Tensor, supports_serialize: bool = False) -> None:
        self._reader_ref = reader_ref
        self._supports_serialize = supports_serialize

    @property
    def reader_ref(self) -> Tensor:
        """The handle: resource scalar."""
        return self._reader_ref

    @property
    def supports_serialize(self) -> bool:
        """Whether the state can be saved: that of readers which open no files."""
        return self._supports_serialize

    @staticmethod
    def _queue(queue: Any) -> Tensor:
        ref: Tensor = queue.queue_ref if isinstance(queue, QueueBase) else queue
        return ref

    def read(self, queue: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
        """Returns key and value of the next record; waits for the queue.

        Args:
          queue: a queue of names, or its handle.
          name: a name.

        Returns:
          Two string scalars.
        """
        key, value = emit.ReaderReadV2(self._reader_ref, self._queue(queue), name=name or "ReaderReadV2")
        return key, value

    def read_up_to(self, queue: Any, num_records: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
        """Returns keys and values of the next records, at most `num_records`; waits for the first.

        Args:
          queue: a queue of names, or its handle.
          num_records: int64 scalar.
          name: a name.

        Returns:
          Two string vectors.
        """
        count = convert_to_tensor(num_records, dtypes.int64)
        keys, values = emit.ReaderReadUpToV2(self._reader_ref, self._queue(queue), count, name=name)
        return keys, values

    def num_records_produced(self, name: str | None = None) -> Tensor:
        """Returns how many records were given; int64 scalar."""
        count: Tensor = emit.ReaderNumRecordsProducedV2(self._reader_ref, name=name)
        return count

    def num_work_units_completed(self, name: str | None = None) -> Tensor:
        """Returns how many files are done; int64 scalar."""
        count: Tensor = emit.ReaderNumWorkUnitsCompletedV2(self._reader_ref, name=name)
        return count

    def serialize_state(self, name: str | None = None) -> Tensor:
        """Returns where the reader is; string scalar. A run fails with UnimplementedError if it opens files."""
        state: Tensor = emit.ReaderSerializeStateV2(self._reader_ref, name=name)
        return state

    def restore_state(self, state: Any, name: str | None = None) -> Operation:
        """Returns the operation that has the reader go on from a state; it fails as `serialize_state` does.

        Args:
          state: string scalar, of a reader of the same kind.
          name: a name.
        """
        done: Operation = emit.ReaderRestoreStateV2(self._reader_ref, state, name=name)
        return done

    def reset(self, name: str | None = None) -> Operation:
        """Returns the operation that has the reader begin anew."""
        done: Operation = emit.ReaderResetV2(self._reader_ref, name=name)
        return done


class WholeFileReader(ReaderBase):
    """Gives whole files: the key is the name, the value all that is in it.

    Args:
      name: a name.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(emit.WholeFileReaderV2(name=name))


class TextLineReader(ReaderBase):
    """Gives lines without their ends.

    Args:
      skip_header_lines: how many lines at the beginning of each file are left out.
      name: a name.
    """

    def __init__(self, skip_header_lines: int | None = None, name: str | None = None) -> None:
        super().__init__(emit.TextLineReaderV2(skip_header_lines=skip_header_lines, name=name))


class FixedLengthRecordReader(ReaderBase):
    """Gives runs of so many bytes.

    Args:
      record_bytes: bytes of a record.
      header_bytes: bytes at the beginning of a file that are left out.
      footer_bytes: bytes at its end that are left out.
      hop_bytes: bytes from the beginning of one record to that of the next; default `record_bytes`.
      name: a name.
      encoding: "" or "ZLIB".
    """

    def __init__(
        self,
        record_bytes: int,
        header_bytes: int | None = None,
        footer_bytes: int | None = None,
        hop_bytes: int | None = None,
        name: str | None = None,
        encoding: str | None = None,
    ) -> None:
        super().__init__(
            emit.FixedLengthRecordReaderV2(
                record_bytes=record_bytes,
                header_bytes=header_bytes,
                footer_bytes=footer_bytes,
                hop_bytes=hop_bytes,
                encoding=encoding,
                name=name,
            )  # fmt: skip
        )


class TFRecordReader(ReaderBase):
    """Gives the records of TensorFlow's files of records.

    Args:
      name: a name.
      options: `TFRecordOptions`.
    """

    def __init__(self, name: str | None = None, options: Any = None) -> None:
        compression = TFRecordOptions.get_compression_type_string(options)
        super().__init__(emit.TFRecordReaderV2(name=name, compression_type=compression))


class IdentityReader(ReaderBase):
    """Gives what is in the queue: key and value are the same.

    Args:
      name: a name.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(emit.IdentityReaderV2(name=name), supports_serialize=True)


__all__ = [
    "FixedLengthRecordReader", "IdentityReader", "ReaderBase", "TFRecordReader", "TextLineReader",
    "WholeFileReader",
]  # fmt: skip
