"""CRC-32C as TensorFlow's files carry it: masked, so that a checksum of checksums stays meaningful."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

_MASK_DELTA = 0xA282EAD8


def extend(crc: int, data: bytes | memoryview | np.ndarray[Any, Any]) -> int:
    """Returns the CRC-32C of what `crc` covers followed by `data` (any contiguous buffer)."""
    if not isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8)
    return int(_extend()(crc, data))


@functools.cache
def _extend() -> Callable[[int, Any], int]:
    # Loaded with the first file: whoever only builds graphs does not need it.
    import google_crc32c

    extend: Callable[[int, Any], int] = google_crc32c.extend
    return extend


def mask(crc: int) -> int:
    """Returns the masked form of a CRC."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked(data: bytes | memoryview | np.ndarray[Any, Any]) -> int:
    """Returns the masked CRC-32C of `data`."""
    return mask(extend(0, data))
