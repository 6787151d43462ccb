"""LLVM text to addresses: code from memory, from the disk cache, or freshly generated, in this order.

LLVM is loaded only where something has to be generated, or is loaded as only LLVM can.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import llvmlite

from graphflow import config
from graphflow.backends.cache import ObjectCache, default_cache, digest, digest_of_sources
from graphflow.backends.cpu import objects
from graphflow.backends.cpu.target import OPTIMIZATION, Target, host_target, relocation
from graphflow.records import dataclass

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from graphflow.backends.cpu import llvm

__all__ = ["CompileStats", "Jit", "Source"]

Source = str | Callable[[], str]

# The sources that turn loops into text: other sources, other code.
_WRITERS = tuple(f"backends/cpu/{name}.py" for name in ("codegen", "instructions", "vector_math"))

_lock = threading.RLock()


@dataclass(slots=True)
class CompileStats:
    """How many kernels came from where, over the life of a `Jit`."""

    generated: int = 0
    from_disk: int = 0
    from_memory: int = 0


class Jit:
    """Turns LLVM text into addresses in this process and keeps the code alive as long as itself.

    The text of one entry is a whole module that defines its symbol. Equal text is compiled once. May be
    called from several threads.
    """

    def __init__(self, target: Target | None = None, cache: ObjectCache | None = None) -> None:
        self.target = host_target() if target is None else target
        self.cache = default_cache() if cache is None else cache
        self.stats = CompileStats()
        self._addresses: dict[str, int] = {}
        self._loaded: list[objects.Loaded | llvm.Engine] = []

    def compile(self, kernels: Sequence[tuple[str, Source]]) -> dict[str, int]:
        """Addresses by symbol of (symbol, LLVM text) pairs. Two pairs of one symbol must have one text.

        In place of its text a kernel may have a function that makes it, called only if the code is nowhere
        yet; the symbol must then name all that the text depends on besides the target and the generator.
        """
        with _lock:
            keys: dict[str, str] = {}
            missing: dict[str, Source] = {}
            for symbol, source in kernels:
                origin = source if isinstance(source, str) else digest_of_sources("loops/ir.py", *_WRITERS)
                key = digest(
                    symbol,
                    origin,
                    self.target.key,
                    llvmlite.__version__,
                    str(OPTIMIZATION),
                    relocation(self.target),
                )
                if keys.setdefault(symbol, key) != key:
                    raise ValueError(f"two different kernels are called {symbol!r}")
                if key in self._addresses:
                    self.stats.from_memory += 1
                elif symbol not in missing:
                    missing[symbol] = source
            if missing:
                self._load(missing, keys)
            return {symbol: self._addresses[key] for symbol, key in keys.items()}

    def _load(self, kernels: dict[str, Source], keys: dict[str, str]) -> None:
        found = self._objects_of([(keys[symbol], source) for symbol, source in kernels.items()])
        loaded = objects.load(found) or _llvm().Engine(found, self.target)
        self._loaded.append(loaded)
        for symbol in kernels:
            address = loaded.address(symbol)
            if not address:
                raise RuntimeError(f"the code for {symbol!r} does not define it")
            self._addresses[keys[symbol]] = address

    def _objects_of(self, kernels: Sequence[tuple[str, Source]]) -> list[bytes]:
        """The object of each kernel: from the disk, else generated, several at a time."""
        made: dict[str, bytes | Future[bytes]] = {}
        with contextlib.ExitStack() as stack:
            pool: ThreadPoolExecutor | None = None
            for position, (key, source) in enumerate(kernels):
                self._dump(source)
                found = self.cache.get(key)
                if found is not None:
                    self.stats.from_disk += 1
                    made[key] = found
                    continue
                self.stats.generated += 1
                text = source if isinstance(source, str) else source()
                workers = min(config.num_threads(), len(kernels) - position)
                if pool is None and workers > 1:
                    # One thread writes text, the others turn it into code meanwhile.
                    futures = importlib.import_module("concurrent.futures")
                    pool = stack.enter_context(futures.ThreadPoolExecutor(workers, "graphflow compiler"))
                made[key] = (
                    self._generate(key, text) if pool is None else pool.submit(self._generate, key, text)
                )
        return [data if isinstance(data := made[key], bytes) else data.result() for key, _ in kernels]

    def _generate(self, key: str, text: str) -> bytes:
        data: bytes = _llvm().generate(text, self.target)
        self.cache.put(key, data)
        return data

    def _dump(self, source: Source) -> None:
        stages = config.dump_stages().intersection(("llvm", "asm"))
        if not stages:
            return
        text = source if isinstance(source, str) else source()
        if "llvm" in stages:
            print(text, file=sys.stderr)
        if "asm" in stages:
            print(_llvm().assembly(text, self.target), file=sys.stderr)


def _llvm() -> ModuleType:
    return importlib.import_module("graphflow.backends.cpu.llvm")
