"""Files of records, TensorFlow's way: each record with its length, and with checksums of both.

uint64 length | uint32 masked CRC-32C of the length | the record | uint32 masked CRC-32C of the record
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self

from graphflow import checksum
from graphflow.errors import DataLossError, InvalidArgumentError, NotFoundError, PermissionDeniedError

_HEAD = struct.Struct("<QI")
_FOOT = struct.Struct("<I")
_CHUNK = 1 << 16
_LARGEST_BLIND_READ = 1 << 26  # lengths beyond it are believed only as far as there are bytes


class TFRecordCompressionType:
    """How a file of records is compressed."""

    NONE = 0
    ZLIB = 1
    GZIP = 2


class TFRecordOptions:
    """How a file of records is compressed.

    Args:
      compression_type: "", "ZLIB", "GZIP", a number of `TFRecordCompressionType`, other options, or None.
      flush_mode, input_buffer_size, output_buffer_size: accepted.
      window_bits: the base-two logarithm of the window, for writers.
      compression_level: 0 to 9, for writers; zlib's default if None.
      compression_method: accepted; there is one.
      mem_level: 1 to 9, for writers.
      compression_strategy: zlib's number of it, for writers.

    Raises:
      ValueError: for an unknown compression type.
    """

    compression_type_map = {
        TFRecordCompressionType.ZLIB: "ZLIB",
        TFRecordCompressionType.GZIP: "GZIP",
        TFRecordCompressionType.NONE: "",
    }

    def __init__(
        self,
        compression_type: Any = None,
        flush_mode: int | None = None,
        input_buffer_size: int | None = None,
        output_buffer_size: int | None = None,
        window_bits: int | None = None,
        compression_level: int | None = None,
        compression_method: int | None = None,
        mem_level: int | None = None,
        compression_strategy: int | None = None,
    ) -> None:
        self.get_compression_type_string(compression_type)
        self.compression_type = compression_type
        self.flush_mode = flush_mode
        self.input_buffer_size = input_buffer_size
        self.output_buffer_size = output_buffer_size
        self.window_bits = window_bits
        self.compression_level = compression_level
        self.compression_method = compression_method
        self.mem_level = mem_level
        self.compression_strategy = compression_strategy

    @classmethod
    def get_compression_type_string(cls, options: Any) -> str:
        """Returns "", "ZLIB" or "GZIP" for options, a text, a number or None.

        Raises:
          ValueError: for anything else.
        """
        if not options:
            return ""
        if isinstance(options, TFRecordOptions):
            return cls.get_compression_type_string(options.compression_type)
        if isinstance(options, str) and options in cls.compression_type_map.values():
            return options
        if isinstance(options, int) and options in cls.compression_type_map:
            return cls.compression_type_map[options]
        raise ValueError(f'Not a valid compression_type: "{options}"; there are "", "ZLIB" and "GZIP"')


def open_to_read(path: str) -> BinaryIO:
    """Opens a file; errors are those of TensorFlow's classes.

    Raises:
      NotFoundError, PermissionDeniedError, InvalidArgumentError: if it cannot be opened.
    """
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise NotFoundError(None, None, f"{path}; No such file or directory") from None
    except PermissionError:
        raise PermissionDeniedError(None, None, f"{path}; Permission denied") from None
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(None, None, f"{path!r} cannot be read: {error}") from None


class _Inflating(io.RawIOBase):
    """A zlib stream as a file to read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            if not data:
                return 0
            self._left = self._inflate.decompress(data, _CHUNK)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_decompressed(path: str, compression: str = "") -> BinaryIO:
    """Opens a file that is compressed as "", "ZLIB" or "GZIP"; see `open_to_read`."""
    file: Any = open_to_read(path)
    if compression == "GZIP":
        file = _Gunzipping(file)
    elif compression == "ZLIB":
        file = io.BufferedReader(_Inflating(file))
    opened: BinaryIO = file
    return opened


class _Gunzipping(gzip.GzipFile):
    """A gzip stream as a file to read, which closes what it reads from."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self._below = file

    def close(self) -> None:
        super().close()
        self._below.close()


class RecordReader:
    """Reads the records of a file one after another.

    Args:
      path: the file.
      compression: "", "ZLIB" or "GZIP".

    Attributes:
      offset: where the next record begins, in bytes of what is compressed.
    """

    def __init__(self, path: str, compression: str = "") -> None:
        self._path = path
        self._file = open_decompressed(path, compression)
        self.offset = 0

    def read(self) -> bytes | None:
        """Returns the next record, None at the end.

        Raises:
          DataLossError: if the file ends within a record, or a checksum is wrong.
        """
        head = self._take(_HEAD.size)
        if not head:
            return None
        if len(head) < _HEAD.size:
            raise DataLossError(None, None, f"truncated record at {self.offset} of {self._path!r}")
        length, crc = _HEAD.unpack(head)
        if checksum.masked(head[:8]) != crc:
            raise DataLossError(None, None, f"corrupted record at {self.offset} of {self._path!r}")
        record = self._take(length)
        foot = self._take(_FOOT.size)
        if len(record) < length or len(foot) < _FOOT.size:
            raise DataLossError(None, None, f"truncated record at {self.offset} of {self._path!r}")
        if checksum.masked(record) != _FOOT.unpack(foot)[0]:
            raise DataLossError(None, None, f"corrupted record at {self.offset} of {self._path!r}")
        self.offset += _HEAD.size + length + _FOOT.size
        return record

    def _take(self, count: int) -> bytes:
        try:
            if count <= _LARGEST_BLIND_READ:
                data: bytes = self._file.read(count)
                return data
            parts = []
            while count:
                part = self._file.read(min(count, _LARGEST_BLIND_READ))
                if not part:
                    break
                parts.append(part)
                count -= len(part)
            return b"".join(parts)
        except (OSError, EOFError, zlib.error) as error:
            raise DataLossError(
                None, None, f"{self._path!r} cannot be decompressed at {self.offset}: {error}"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while (record := self.read()) is not None:
            yield record


def tf_record_iterator(path: str | os.PathLike[str], options: Any = None) -> Iterator[bytes]:
    """Yields the records of a file.

    Args:
      path: the file.
      options: `TFRecordOptions`, or None.

    Raises:
      NotFoundError: if there is no such file.
      DataLossError: if it is damaged.
    """
    compression = TFRecordOptions.get_compression_type_string(options)
    with RecordReader(os.fspath(path), compression) as reader:
        yield from reader


class TFRecordWriter:
    """Writes records to a file, which it makes anew.

    Args:
      path: the file.
      options: `TFRecordOptions`, a compression type, or None.

    Raises:
      NotFoundError: if there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str], options: Any = None) -> None:
        if not isinstance(options, TFRecordOptions):
            options = TFRecordOptions(compression_type=options)
        kind = TFRecordOptions.get_compression_type_string(options)
        path = os.fspath(path)
        try:
            self._file: BinaryIO = open(path, "wb")
        except FileNotFoundError:
            raise NotFoundError(None, None, f"{path}; No such file or directory") from None
        except PermissionError:
            raise PermissionDeniedError(None, None, f"{path}; Permission denied") from None
        self._lock = threading.Lock()
        self._deflate: Any = None
        if kind:
            level, bits = options.compression_level, options.window_bits or zlib.MAX_WBITS
            # Sixteen more bits ask zlib for gzip's head and foot.
            self._deflate = zlib.compressobj(
                -1 if level is None else level,
                zlib.DEFLATED,
                bits + 16 if kind == "GZIP" and 0 < bits <= zlib.MAX_WBITS else bits,
                options.mem_level or zlib.DEF_MEM_LEVEL,
                options.compression_strategy or zlib.Z_DEFAULT_STRATEGY,
            )

    def write(self, record: bytes) -> None:
        """Writes one record.

        Raises:
          FailedPreconditionError: if the writer is closed.
        """
        if isinstance(record, str):
            record = record.encode()
        length = struct.pack("<Q", len(record))
        framed = b"".join(
            (
                length,
                _FOOT.pack(checksum.masked(length)),
                record,
                _FOOT.pack(checksum.masked(record)),
            )
        )
        with self._lock:
            if self._deflate is not None:
                framed = self._deflate.compress(framed)
            self._file.write(framed)

    def flush(self) -> None:
        """Hands all that is written over to the system."""
        with self._lock:
            if self._deflate is not None:
                self._file.write(self._deflate.flush(zlib.Z_SYNC_FLUSH))
            self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        with self._lock:
            if self._file.closed:
                return
            if self._deflate is not None:
                self._file.write(self._deflate.flush())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


__all__ = [
    "RecordReader", "TFRecordCompressionType", "TFRecordOptions", "TFRecordWriter", "open_decompressed",
    "open_to_read",    "tf_record_iterator",
]  # fmt: skip
