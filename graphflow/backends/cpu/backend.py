"""The processor as a back end: kernels to addresses, plans to bound native calls."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import config
from graphflow.backends.base import Backend, NativeCode
from graphflow.backends.cache import digest
from graphflow.backends.cpu.driver import HEADER_WORDS
from graphflow.backends.cpu.entry import Call, make_direct, make_entry
from graphflow.backends.cpu.jit import Jit, Source
from graphflow.backends.cpu.library_code import LibraryCode, code_of
from graphflow.backends.cpu.peak import machine_peak
from graphflow.backends.cpu.target import Target, panel_width
from graphflow.backends.cpu.threads import driver, process_jit, team_cell
from graphflow.loops.cost import Peak
from graphflow.loops.ir import Kernel
from graphflow.loops.library import Call as LibraryCall
from graphflow.loops.library import digest as digest_of_call
from graphflow.loops.text import kernel_text
from graphflow.loops.verify import verify
from graphflow.plan import COPY, Check, Entry, PlanBuilder, Pooled, Segment, SegmentCall

__all__ = ["CpuBackend"]

Array = np.ndarray[Any, np.dtype[Any]]

# How often an idle thread gives its core away before it sleeps: some two milliseconds, as long as the pause between
# two steps of a training loop may last. Waking a sleeper takes tens of microseconds.
_PATIENCE = 4000

# Plans with workspaces: after a fork these must bind to threads of the new process.
_bound: weakref.WeakSet[Pooled] = weakref.WeakSet()


class CpuBackend:
    """Runs plans on `threads` cores of this machine (0: `GRAPHFLOW_NUM_THREADS`, else all we may use)."""

    name = "cpu"
    absorbs = frozenset(("attention", "prologue"))
    many_threads = False
    devices: tuple[int, ...] = (0,)

    def __init__(
        self, index: int = 0, threads: int = 0, jit: Jit | None = None, share_from: float = 0.0
    ) -> None:
        self.index = index
        self.share_from = share_from
        self.jit = process_jit() if jit is None else jit
        self._library: dict[str, LibraryCode] = {}
        self._threads = threads if threads > 0 else config.num_threads()

    @property
    def threads(self) -> int:
        """The size of the team that segments are shared among."""
        return self._threads

    @property
    def processor(self) -> Backend:
        """Itself."""
        return self

    @property
    def target(self) -> Target:
        """The machine code is generated for."""
        return self.jit.target

    def peak(self) -> Peak:
        """The best this machine does with these threads; measured at the first call."""
        return machine_peak(self)

    def builder(self, name: str = "") -> PlanBuilder:
        """A builder of plans that run on this back end."""
        return PlanBuilder(self, name)

    def library(self, call: LibraryCall) -> LibraryCode:
        """The launches and scratch of a library call; equal calls are generated once."""
        key = digest_of_call(call)
        code = self._library.get(key)
        if code is None:
            code = self._library[key] = code_of(call, self.target, self.jit.cache)
        return code

    def panel_width(self, dtype: str, columns: int) -> int:
        """The columns of a panel of a matrix that has so many."""
        return panel_width(self.target, dtype, columns)

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        """The address of each kernel, compiled where it has not been yet. Equal kernels are compiled once."""
        texts: dict[str, Source] = {}
        symbols: dict[int, str] = {}
        wanted: list[int | str] = []
        for kernel in kernels:
            if isinstance(kernel, int):
                wanted.append(kernel)
            elif isinstance(kernel, str) and kernel == COPY:
                wanted.append(driver().copy)
            elif isinstance(kernel, Kernel):
                if id(kernel) not in symbols:
                    symbols[id(kernel)] = self._generate(kernel, texts)
                wanted.append(symbols[id(kernel)])
            elif isinstance(kernel, NativeCode):
                texts[kernel.symbol] = kernel.text
                wanted.append(kernel.symbol)
            else:
                raise TypeError(f"{type(kernel).__name__} is no kernel")
        found = self.jit.compile(list(texts.items()))
        return [found[item] if isinstance(item, str) else item for item in wanted]

    def _generate(self, kernel: Kernel, texts: dict[str, Source]) -> str:
        """The kernel's symbol, named by its printed loops but not its name; what makes its text goes to `texts`."""
        printed = kernel_text(dataclasses.replace(kernel, name="kernel"))
        symbol = f"k_{digest(printed)[:24]}"
        if symbol not in texts:
            if config.verify():
                verify(kernel)
            texts[symbol] = functools.partial(_written, kernel, self.target, symbol)
        return symbol

    def segment(
        self,
        table: Array,
        record: int,
        count: int,
        segment: Segment,
        ask: Callable[[int], int] | None = None,
    ) -> SegmentCall:
        """Binds the records of a segment, and the team if it is worth one."""
        cell = team_cell(self._threads) if segment.team else None
        header = np.zeros(HEADER_WORDS, np.int64)
        header[:4] = (
            table.__array_interface__["data"][0] + 8 * record,
            count,
            0 if cell is None else cell.address,
            0 if segment.park else _PATIENCE,
        )
        return Call(header, segment.release, self._threads if cell is not None else 1, owner=table, ask=ask)

    def entry(
        self, table: Array, feeds: Sequence[Check], outputs: Sequence[Check], call: SegmentCall | None
    ) -> Entry:
        """The way from Python into a bound plan."""
        assert call is None or isinstance(call, Call)
        return make_entry(table, feeds, outputs, call)

    def direct(
        self,
        table: Array,
        feeds: Sequence[Check],
        output: Check,
        call: SegmentCall | None,
        keys: Sequence[object] | None = None,
    ) -> Callable[..., Any] | None:
        """The shortest way into a small plan."""
        assert call is None or isinstance(call, Call)
        return make_direct(table, feeds, output, call, keys)

    def watch(self, plan: Pooled) -> None:
        """Remembers a plan whose workspaces a fork would leave without threads."""
        _bound.add(plan)


def _written(kernel: Kernel, target: Target, symbol: str) -> str:
    # What writes is loaded only if there is something to write.
    text: str = importlib.import_module("graphflow.backends.cpu.codegen").kernel_to_llvm(
        kernel, target, symbol
    )
    return text


def _after_fork() -> None:
    for plan in list(_bound):
        plan.drop_workspaces()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
