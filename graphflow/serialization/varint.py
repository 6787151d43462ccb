"""Variable-length integers: seven bits a byte, lowest first, as in protobuf and LevelDB."""

from __future__ import annotations


def write(value: int) -> bytes:
    """Returns the encoding of a number >= 0."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def read(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Returns `(value, position after it)`.

    Raises:
      ValueError: if the data ends inside the number or the number needs more than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("the data ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
    raise ValueError("a number of more than 64 bits")
