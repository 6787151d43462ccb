"""Runs library calls on arrays, for tests: every launch by several parts, one after another."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache

import numpy as np

from graphflow.backends.cpu.contraction import emit
from graphflow.backends.cpu.jit import Jit
from graphflow.backends.cpu.library_code import BufferArgument, LibraryCode
from graphflow.backends.cpu.target import Target, host_target
from graphflow.loops.library import Call

Kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def jit(target: Target) -> Jit:
    """One compiler for each target."""
    return Jit(target)


class Runner:
    """A library call, compiled."""

    def __init__(self, call: Call, target: Target | None = None) -> None:
        self.target = host_target() if target is None else target
        self.code: LibraryCode = emit(call, self.target)
        pairs = [(launch.symbol, launch.text) for launch in self.code.sequence]
        addresses = jit(self.target).compile(pairs)
        self._kernels = [Kernel(addresses[launch.symbol]) for launch in self.code.sequence]

    def bind(
        self, buffers: Mapping[str, np.ndarray], sizes: Mapping[str, int], parts: int
    ) -> list[tuple[object, np.ndarray, int]]:
        """(function, argument table, parts) of each launch; scratch is made, filled with NaN, and kept."""
        self._spaces = {}
        spaces = [(space.name, space.bytes) for space in self.code.workspaces]
        spaces += [(pack.name, pack.bytes) for pack in self.code.packs]
        for name, size in spaces:
            count = size.evaluate({**sizes, "parts": parts})
            raw = np.full(count + 64, 0xFF, np.uint8)
            start = -raw.ctypes.data % 64
            self._spaces[name] = raw[start : start + count]
        steps: list[tuple[object, np.ndarray, int]] = []
        for launch, kernel in zip(self.code.sequence, self._kernels, strict=True):
            table = np.zeros(max(1, len(launch.arguments)), np.int64)
            for place, argument in enumerate(launch.arguments):
                if isinstance(argument, BufferArgument):
                    array = self._spaces.get(argument.name)
                    table[place] = (buffers[argument.name] if array is None else array).ctypes.data
                else:
                    table[place] = argument.size.evaluate(sizes)
            steps.append((kernel, table, parts if launch.parallel else 1))
        return steps

    def __call__(self, buffers: Mapping[str, np.ndarray], sizes: Mapping[str, int], parts: int = 1) -> None:
        """Runs every launch; parts go backwards, so that none may count on another."""
        for kernel, table, count in self.bind(buffers, sizes, parts):
            for part in reversed(range(count)):
                kernel(table.ctypes.data, part, count)  # type: ignore[operator]
