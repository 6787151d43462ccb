"""Kernels to cubins, kept on disk.

Kernels that are wanted together become translation units of some kernels each, compiled by several threads: the
compiler runs without the interpreter lock. Each kernel is kept by itself, under what it is made from, so the cubin that
holds it is found again whichever others it is wanted with.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
from collections.abc import Sequence

from graphflow.backends.cache import ObjectCache, default_cache, digest
from graphflow.backends.cuda import nvrtc
from graphflow.backends.cuda.kernel import CudaKernel
from graphflow.backends.cuda.prelude import PRELUDE
from graphflow.records import dataclass, field

__all__ = ["Compiler", "Cubin", "Resources"]

_TOGETHER = 8
"""Kernels of a translation unit at most: what all have in common is read once, and threads have enough to share."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a kernel takes of a multiprocessor, by the assembler's word."""

    registers: int
    stack: int
    spilled: int
    shared: int


@dataclass(frozen=True, slots=True, eq=False)
class Cubin:
    """Machine code of some kernels: load it once, then ask for functions by symbol."""

    data: bytes
    resources: dict[str, Resources] = field(default_factory=dict)


class Compiler:
    """Compiles kernels for one architecture.

    Args:
      arch: such as "sm_90".
      cache: where cubins are kept; the default is the user's cache of compiled code.
      threads: how many compile at once; 0: as many as there are cores.
    """

    def __init__(self, arch: str = "sm_90", cache: ObjectCache | None = None, threads: int = 0) -> None:
        self.arch = arch
        self.cache = default_cache() if cache is None else cache
        self.threads = threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self.compiled = 0
        """Kernels that were compiled, and not found."""
        self._known: dict[str, Cubin] = {}
        self._units: dict[str, Cubin] = {}

    def compile(self, kernels: Sequence[CudaKernel]) -> dict[str, Cubin]:
        """The cubin of each kernel, by symbol; one may hold several of them.

        Raises:
          CompileError: for source that does not compile.
          RuntimeError: if something is to be compiled and there is no compiler.
        """
        missing: dict[str, CudaKernel] = {}
        for kernel in kernels:
            if kernel.symbol not in self._known and kernel.symbol not in missing:
                found = self._kept(kernel)
                if found is None:
                    missing[kernel.symbol] = kernel
                else:
                    self._known[kernel.symbol] = found
        if missing:
            wanted = [missing[symbol] for symbol in sorted(missing)]
            count = min(-(-len(wanted) // _TOGETHER), len(wanted))
            count = max(count, min(self.threads, len(wanted)))
            units = [wanted[number::count] for number in range(count)]
            with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
                for unit, cubin in zip(units, pool.map(self._unit, units), strict=True):
                    self._known.update((kernel.symbol, cubin) for kernel in unit)
            self.compiled += len(wanted)
        return {kernel.symbol: self._known[kernel.symbol] for kernel in kernels}

    def _unit(self, kernels: Sequence[CudaKernel]) -> Cubin:
        """Compiles a translation unit, and keeps it."""
        source = "\n".join([PRELUDE, *(kernel.body for kernel in kernels)])
        made = nvrtc.compile_source(source, self.arch, ("--ptxas-options=-v",))
        cubin = Cubin(made.code, _resources(made.log))
        unit = digest(made.code)
        listed = {
            symbol: [r.registers, r.stack, r.spilled, r.shared] for symbol, r in cubin.resources.items()
        }
        self.cache.put(self._key("unit", unit), json.dumps(listed).encode() + b"\n" + made.code)
        for kernel in kernels:
            self.cache.put(self._key("kernel", PRELUDE, kernel.body), unit.encode())
        return cubin

    def _kept(self, kernel: CudaKernel) -> Cubin | None:
        if not nvrtc.available():
            return None  # which compiler it would be is a part of the key
        unit = self.cache.get(self._key("kernel", PRELUDE, kernel.body))
        if unit is None:
            return None
        name = unit.decode()
        if name not in self._units:
            kept = self.cache.get(self._key("unit", name))
            if kept is None:
                return None
            listed, _, code = kept.partition(b"\n")
            self._units[name] = Cubin(code, {s: Resources(*r) for s, r in json.loads(listed).items()})
        return self._units[name]

    def _key(self, *parts: str) -> str:
        return digest("cubin", self.arch, repr((nvrtc.version(), nvrtc.OPTIONS)), *parts)


_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores")
_USED = re.compile(r"Used (\d+) registers")
_SMEM = re.compile(r"(\d+) bytes smem")


def _resources(log: str) -> dict[str, Resources]:
    """What the assembler says of each kernel."""
    found: dict[str, Resources] = {}
    symbol, stack, spilled = "", 0, 0
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            symbol, stack, spilled = entry[1], 0, 0
        elif frame := _STACK.search(line):
            stack, spilled = int(frame[1]), int(frame[2])
        elif used := _USED.search(line):
            shared = _SMEM.search(line)
            found[symbol] = Resources(int(used[1]), stack, spilled, int(shared[1]) if shared else 0)
    return found
