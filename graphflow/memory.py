"""Where temporaries live: lifetimes in, offsets in one arena out.

A request says how many bytes are needed from one step to another (both included). Two requests whose lifetimes meet
never overlap; all others may share bytes. The layout reports the peak and the lower bound (the most bytes alive at
one step), so that anyone can see how far from perfect the packing is.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphflow.records import dataclass

__all__ = [
    "ALIGNMENT",
    "Layout",
    "Request",
    "align",
    "aligned_empty",
    "lower_bound",
    "machine_bytes",
    "plan_arena",
]

ALIGNMENT = 64

# The system's allocator hands memory from this size on back at once, and to get it again page by page takes longer
# than to fill it: it is kept for arrays of the same size, up to so many bytes.
_RECYCLED_FROM = 32 << 20
_MOST_FREE = 256 << 20

# Below this many requests the slower, tighter packing is tried as well.
_TIGHT_LIMIT = 1500


class Request(NamedTuple):
    """`size` bytes wanted from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """Offsets per request (64-byte aligned), bytes of the arena, and the bytes no layout could do without."""

    offsets: tuple[int, ...]
    peak: int
    lower_bound: int


def align(size: int) -> int:
    """Round a byte count up to the arena's alignment."""
    return (size + ALIGNMENT - 1) & -ALIGNMENT


def aligned_empty(shape: int | Sequence[int], dtype: Any = np.uint8) -> np.ndarray[Any, np.dtype[Any]]:
    """An uninitialised array whose first byte lies on a 64-byte boundary (object arrays: plain `np.empty`)."""
    dtype = np.dtype(dtype)
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    if dtype.hasobject:
        return np.empty(dims, dtype)
    size = math.prod(dims) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8) if size < _RECYCLED_FROM else _lent(size + ALIGNMENT)
    return np.ndarray(dims, dtype, raw, -raw.__array_interface__["data"][0] % ALIGNMENT)


class _Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """Bytes that outlive the arrays made of them."""


class _Loan(np.ndarray[Any, np.dtype[np.uint8]]):
    """A use of some memory: when the last array made of it is gone, the memory is free for others."""

    def __del__(self) -> None:
        memory = self.base
        if isinstance(memory, _Memory):  # not so for a slice of a loan, whose base is the loan
            _give_back(memory)


_free: dict[int, list[_Memory]] = {}
_pool_lock = threading.Lock()


def _lent(size: int) -> np.ndarray[Any, Any]:
    with _pool_lock:
        waiting = _free.get(size)
        memory = waiting.pop() if waiting else None
    return (_Memory(size, np.uint8) if memory is None else memory).view(_Loan)


def _give_back(memory: _Memory) -> None:
    if not _pool_lock.acquire(blocking=False):
        return  # in the middle of a loan, on this thread or another: the system gets it
    try:
        if sum(size * len(waiting) for size, waiting in _free.items()) + memory.nbytes > _MOST_FREE:
            _free.clear()
        if memory.nbytes <= _MOST_FREE:
            _free.setdefault(memory.nbytes, []).append(memory)
    finally:
        _pool_lock.release()


@functools.cache
def machine_bytes() -> int:
    """The memory of this machine, or of the container that we run in; 0 if nobody says."""
    found = []
    try:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        pass  # not on every system
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (Path("/sys/fs/cgroup") / limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found, default=0)


def plan_arena(requests: Iterable[Request], waste: float = 0.0) -> Layout:
    """Pack requests into one arena by best fit over their lifetimes, in time near linear in their number.

    waste: what share of the least possible may be lost before the slower, tighter packing is tried.
    """
    wanted = []
    for size, first, last in requests:
        if size < 0 or last < first:
            raise ValueError(f"not a lifetime: {Request(size, first, last)}")
        wanted.append(Request(-(-size // ALIGNMENT) * ALIGNMENT, first, last))
    bound = lower_bound(*np.array(wanted, np.int64).reshape(-1, 3).T)
    offsets, peak = _best_fit(wanted)
    if peak > bound * (1 + waste) and len(wanted) <= _TIGHT_LIMIT:
        others, other_peak = _largest_first(wanted)
        if other_peak < peak:
            offsets, peak = others, other_peak
    return Layout(tuple(offsets), peak, bound)


def lower_bound(sizes: Any, first: Any, last: Any) -> int:
    """The most bytes wanted at one step; int64 arrays of what each request says."""
    change = np.zeros(int(last.max(initial=0)) + 2, np.int64)
    np.add.at(change, first, sizes)
    np.subtract.at(change, last + 1, sizes)
    return int(change.cumsum().max(initial=0))


def _best_fit(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Walk the steps in order; take the smallest free block that fits, else grow the arena."""
    offsets = [0] * len(requests)
    births = sorted(
        (i for i, r in enumerate(requests) if r.size), key=lambda i: (requests[i].first, -requests[i].size)
    )
    deaths = sorted(births, key=lambda i: requests[i].last)
    by_size: list[tuple[int, int]] = []  # (bytes, offset) of each free block, sorted
    starts: dict[int, int] = {}  # offset -> bytes
    ends: dict[int, int] = {}  # end -> offset
    peak = 0
    dead = 0

    def drop(offset: int, size: int) -> None:
        del by_size[bisect_left(by_size, (size, offset))]
        del starts[offset], ends[offset + size]

    def free(offset: int, size: int) -> None:
        if offset in ends:  # the block before is free: melt into it
            before = ends[offset]
            length = starts[before]
            drop(before, length)
            offset, size = before, length + size
        if offset + size in starts:
            length = starts[offset + size]
            drop(offset + size, length)
            size += length
        insort(by_size, (size, offset))
        starts[offset], ends[offset + size] = size, offset

    for i in births:
        size, first, _ = requests[i]
        while dead < len(deaths) and requests[deaths[dead]].last < first:
            gone = deaths[dead]
            free(offsets[gone], requests[gone].size)
            dead += 1
        place = bisect_left(by_size, (size, -1))
        if place < len(by_size):
            length, offset = by_size[place]
            drop(offset, length)
            if length > size:
                free(offset + size, length - size)
        elif peak in ends:  # the arena ends in a free block that is too small: stretch it
            offset = ends[peak]
            drop(offset, starts[offset])
            peak = offset + size
        else:
            offset, peak = peak, peak + size
        offsets[i] = offset
    return offsets, peak


def _largest_first(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Place the largest request first, each into the smallest gap between those alive with it. Quadratic."""
    offsets = [0] * len(requests)
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), sorted
    peak = 0
    for i in sorted(range(len(requests)), key=lambda i: -requests[i].size):
        size, first, last = requests[i]
        if not size:
            continue
        end_so_far, best, best_gap = 0, -1, 0
        for offset, end, other_first, other_last in placed:
            if other_first > last or other_last < first:
                continue
            gap = offset - end_so_far
            if gap >= size and (best < 0 or gap < best_gap):
                best, best_gap = end_so_far, gap
            end_so_far = max(end_so_far, end)
        if best < 0:
            best = end_so_far
        offsets[i] = best
        peak = max(peak, best + size)
        insort(placed, (best, best + size, first, last))
    return offsets, peak
