"""CRC-32C as TensorFlow's files carry it: masked, so that a checksum of checksums stays meaningful."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np

_MASK_DELTA = 0xA282EAD8


def extend(crc: int, data: bytes | memoryview | np.ndarray[Any, Any]) -> int:
    """Returns the CRC-32C of what `crc` covers followed by `data` (any contiguous buffer)."""
    if not isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8)
    return int(google_crc32c.extend(crc, data))


def mask(crc: int) -> int:
    """Returns the masked form of a CRC."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked(data: bytes | memoryview | np.ndarray[Any, Any]) -> int:
    """Returns the masked CRC-32C of `data`."""
    return mask(extend(0, data))
