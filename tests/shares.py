"""A run in shares: GRAPHFLOW_SHARE=2/5 takes every fifth of what is counted, from the second on."""

from __future__ import annotations

import os
import re
from zlib import crc32


def numbers_of(text: str) -> tuple[int, int]:
    """Reads "j/n": the share, counted from zero, and how many there are.

    Raises:
      ValueError: if it is of another form, or there is no such share.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"a share is told as 2/5, the second of five; got {text!r}")
    return int(found[1]) - 1, int(found[2])


SHARE, SHARES = numbers_of(os.environ.get("GRAPHFLOW_SHARE", "1/1"))


def seeds(count: int) -> range:
    """The seeds below `count` that belong to this run's share."""
    return range(SHARE, count, SHARES)


def is_in(name: str, share: int, shares: int) -> bool:
    """Whether a name belongs to a share: the same names each time, whatever others there are."""
    return crc32(name.encode()) % shares == share
