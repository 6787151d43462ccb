"""What a plan asks of a back end: kernels by address, and bound native calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from graphflow.loops.cost import Peak
from graphflow.plan.steps import Array, Segment, Shape
from graphflow.records import dataclass


@dataclass(frozen=True, eq=False, slots=True)
class Check:
    """What an array must be before its address goes into the table, and where it goes.

    patches: int64 [k, 2], rows of (word of the table, bytes to add).
    """

    shape: Shape
    dtype: np.dtype[Any]
    writable: bool
    patches: np.ndarray[Any, np.dtype[np.int64]]


class SegmentCall(Protocol):
    """A bound native call."""

    @property
    def call(self) -> Callable[[], None]:
        """Runs the segment."""

    def trace(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Runs it with clocks: int64 [threads, records, 4], nanoseconds of `time.perf_counter_ns` at the first start
        and the last stop, nanoseconds in all turns together, and their number; 0 where a thread took no part."""


Entry: TypeAlias = Callable[[tuple[Any, ...], list[Array]], int | None]


class Pooled(Protocol):
    """What keeps workspaces for later runs."""

    def drop_workspaces(self) -> None:
        """Forgets them."""


class Machine(Protocol):
    """What is asked of any back end while a plan is made."""

    @property
    def threads(self) -> int:
        """The most threads a segment is shared among."""

    @property
    def share_from(self) -> float:
        """Seconds of work in a segment from which on they share it."""

    def peak(self) -> Peak:
        """The best this machine does with these threads; measured at the first call."""

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        """Compiles kernels (`COPY` among them) and returns the address of each."""


class Runtime(Machine, Protocol):
    """What a plan asks of a back end whose kernels read and write host memory."""

    def segment(
        self,
        table: Array,
        record: int,
        count: int,
        segment: Segment,
        ask: Callable[[int], int] | None = None,
    ) -> SegmentCall:
        """Binds the `count` records of the table that begin at word `record`.

        While a loop turns, `ask` is called now and then, in the calling thread, with the number of the record that
        ends the turn, counted from the segment's first; the segment is left as it is where that returns 1."""

    def entry(
        self, table: Array, feeds: Sequence[Check], outputs: Sequence[Check], call: SegmentCall | None
    ) -> Entry:
        """A function (feeds, outputs) that checks the arrays, patches the table and makes the call.

        It returns None, or the position of the first array that is not as it should be (feeds, then outputs),
        and then has made no call. It takes a tuple and a list and trusts neither."""

    def direct(
        self,
        table: Array,
        feeds: Sequence[Check],
        output: Check,
        call: SegmentCall | None,
        keys: Sequence[object] | None = None,
    ) -> Callable[..., Any] | None:
        """A function of the feeds that makes the output, binds, calls and returns it: a scalar where it has rank 0.

        With `keys` it takes a dict instead, with the very objects as keys in this order. It returns NotImplemented,
        and has made no call, if the feeds are not as they should be. No other Python thread runs
        meanwhile. None where there is no such way."""

    def watch(self, plan: Pooled) -> None:
        """Sees to it that `plan.drop_workspaces()` is called when threads are gone (after a fork)."""
