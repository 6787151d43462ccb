"""Memory for temporaries, lent to one run at a time: plans for different sizes of one program share it.

A fresh arena costs a page fault for every page that a run touches first, more than planning the run does.
"""

from __future__ import annotations

from graphflow.memory import ALIGNMENT, aligned_empty
from graphflow.plan.steps import Array
from graphflow.records import dataclass

_MOST_IDLE = 8
_PAGE = 4096
_NOTHING = aligned_empty(0)


@dataclass(eq=False, slots=True)
class Arena:
    """Bytes that one run at a time writes to, and their address; none are left of one that has given way."""

    memory: Array
    address: int

    @classmethod
    def of(cls, size: int) -> Arena:
        """A new one of at least so many bytes."""
        memory = aligned_empty(max(ALIGNMENT, size))
        return cls(memory, memory.__array_interface__["data"][0])


class Arenas:
    """Arenas that nobody uses now. Any number of threads may borrow at once: what they do to the list is atomic."""

    def __init__(self) -> None:
        self._idle: list[Arena] = []

    def borrow(self, size: int, last: Arena | None) -> Arena:
        """Returns an arena of at least so many bytes for one run: the one that it had last, if that is idle."""
        idle = self._idle
        if last is not None:
            try:
                idle.remove(last)
                return last
            except ValueError:
                pass
        # The newest is the one whose bytes are nearest.
        for arena in reversed(list(idle)):
            if arena.memory.nbytes >= size:
                try:
                    idle.remove(arena)
                    return arena
                except ValueError:
                    continue  # another thread was faster
        # What is too small gives way: it would be missed by nobody but smaller runs at the same time.
        try:
            small = idle.pop()
        except IndexError:
            return Arena.of(size)
        # Those who had it last still know it, and shall not keep its bytes.
        small.memory = _NOTHING
        return Arena.of(_roomy(size))

    def give_back(self, arena: Arena) -> None:
        """Takes an arena after a run."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(arena)


def _roomy(size: int) -> int:
    """A size, rounded up by less than a quarter; pages that are not touched take no memory."""
    step = max(_PAGE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step
