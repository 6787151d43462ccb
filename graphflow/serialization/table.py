"""Sorted string tables, LevelDB's file layout, which the index of a checkpoint is.

A block is a run of entries (length of the prefix shared with the key before, length of the rest, length of the
value, rest, value), the offsets of the entries that share nothing (restarts), and their count; after it stand one
byte for the compression and a masked CRC-32C. The file is data blocks, a meta-index block, an index block (last key
of each data block → where it lies) and a footer of 48 bytes that says where the two last lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from graphflow import checksum
from graphflow.serialization import varint

MAGIC = 0xDB4775248B80FB57
_FOOTER_SIZE = 48
_TRAILER_SIZE = 5
_RESTART_INTERVAL = 16
_BLOCK_SIZE = 64 << 10
_RAW, _SNAPPY = 0, 1
# What one compressed block may unfold to: a guard against a few bytes that claim gigabytes.
_LARGEST_BLOCK = 64 << 20
# What the keys of one table may come to: each repeats the one before, so that a few bytes can claim gigabytes.
_MOST_KEY_BYTES = 256 << 20


class TableError(ValueError):
    """The bytes are no sound table."""


class _Block:
    def __init__(self) -> None:
        self.data = bytearray()
        self.restarts: list[int] = []
        self.last = b""
        self._count = 0

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._count % _RESTART_INTERVAL == 0:
            self.restarts.append(len(self.data))
        else:
            limit = min(len(key), len(self.last))
            while shared < limit and key[shared] == self.last[shared]:
                shared += 1
        self.data += varint.write(shared) + varint.write(len(key) - shared) + varint.write(len(value))
        self.data += key[shared:]
        self.data += value
        self.last = key
        self._count += 1

    def finish(self) -> bytes:
        restarts = self.restarts or [0]
        return bytes(self.data) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def write_table(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the table that holds `entries`, which must come in rising order of key.

    Raises:
      ValueError: if two keys are equal or out of order.
    """
    out = bytearray()

    def append(block: _Block) -> bytes:
        contents = block.finish() + bytes([_RAW])
        handle = varint.write(len(out)) + varint.write(len(contents) - 1)
        out.extend(contents)
        out.extend(struct.pack("<I", checksum.masked(contents)))
        return handle

    index, block, last = _Block(), _Block(), None
    for key, value in entries:
        if last is not None and key <= last:
            raise ValueError(f"table keys out of order: {last!r}, then {key!r}")
        if len(block.data) >= _BLOCK_SIZE:
            index.add(block.last, append(block))
            block = _Block()
        block.add(key, value)
        last = key
    if last is not None:
        index.add(block.last, append(block))
    footer = append(_Block()) + append(index)
    out += footer.ljust(_FOOTER_SIZE - 8, b"\0") + struct.pack("<Q", MAGIC)
    return bytes(out)


def _expand_snappy(data: bytes) -> bytes:
    """Undoes Snappy's raw format: literals and copies from what was written before."""
    size, position = varint.read(data, 0)
    if size > _LARGEST_BLOCK:
        raise ValueError(f"a compressed block claims {size} bytes")
    out = bytearray()
    while position < len(data):
        tag = data[position]
        position += 1
        kind = tag & 3
        if kind == 0:
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[position : position + extra], "little") + 1
                position += extra
            if position + length > len(data):
                raise ValueError("a literal reaches past the end")
            out += data[position : position + length]
            position += length
        else:
            width = (0, 1, 2, 4)[kind]
            offset = int.from_bytes(data[position : position + width], "little")
            if position + width > len(data):
                raise ValueError("a copy is cut off")
            position += width
            length = (tag >> 2) + 1
            if kind == 1:
                length = ((tag >> 2) & 7) + 4
                offset |= (tag >> 5) << 8
            if not 0 < offset <= len(out):
                raise ValueError("a copy reaches before the start")
            # Source and target may overlap, which repeats the piece.
            piece = bytes(out[len(out) - offset :][:length])
            out += (piece * (length // len(piece) + 1))[:length]
        if len(out) > size:
            raise ValueError("a compressed block is longer than it says")
    if len(out) != size:
        raise ValueError("a compressed block is shorter than it says")
    return bytes(out)


def _read_block(data: bytes, offset: int, size: int, what: str) -> bytes:
    end = offset + size + _TRAILER_SIZE
    if end > len(data) - _FOOTER_SIZE:
        raise TableError(f"the {what} lies at bytes {offset} to {end}, past the end of the table")
    contents = data[offset : offset + size + 1]
    (stored,) = struct.unpack_from("<I", data, offset + size + 1)
    if stored != checksum.masked(contents):
        raise TableError(f"the checksum of the {what} (bytes {offset} to {end}) does not match")
    compression = contents[-1]
    if compression == _RAW:
        return contents[:-1]
    if compression == _SNAPPY:
        return _expand_snappy(contents[:-1])
    raise TableError(f"the {what} is compressed in an unknown way ({compression})")


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise TableError("a block is too short")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise TableError("a block has more restarts than bytes")
    position, key = 0, b""
    while position < end:
        shared, position = varint.read(block, position)
        rest, position = varint.read(block, position)
        length, position = varint.read(block, position)
        if shared > len(key) or position + rest + length > end:
            raise TableError("an entry reaches past its block")
        key = key[:shared] + block[position : position + rest]
        position += rest
        yield key, block[position : position + length]
        position += length


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the `(key, value)` pairs of a table, in rising order of key.

    Raises:
      TableError: if the bytes are truncated, damaged or no table at all.
    """
    if len(data) < _FOOTER_SIZE or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise TableError(
            "this is no index table, or it is cut off (its last eight bytes are not the table's mark)"
        )
    last: bytes | None = None
    key_bytes = 0
    try:
        footer = data[-_FOOTER_SIZE:]
        offset, position = varint.read(footer, 0)
        size, position = varint.read(footer, position)
        _read_block(data, offset, size, "meta-index block")  # Holds nothing for us, but has to be sound.
        offset, position = varint.read(footer, position)
        size, position = varint.read(footer, position)
        for _, handle in _entries(_read_block(data, offset, size, "index block")):
            offset, position = varint.read(handle, 0)
            size, position = varint.read(handle, position)
            for key, value in _entries(_read_block(data, offset, size, "data block")):
                if last is not None and key <= last:
                    raise TableError(f"keys out of order: {last[:200]!r}, then {key[:200]!r}")
                key_bytes += len(key)
                if key_bytes > _MOST_KEY_BYTES:
                    raise TableError(f"its keys come to more than {_MOST_KEY_BYTES >> 20} MB")
                yield key, value
                last = key
    except TableError:
        raise
    except ValueError as error:
        raise TableError(str(error)) from None
