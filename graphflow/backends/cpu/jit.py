"""LLVM text to addresses: code from memory, from the disk cache, or freshly generated, in this order."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite
from llvmlite import binding

from graphflow import config
from graphflow.backends.cache import ObjectCache, default_cache, digest
from graphflow.backends.cpu.target import Target, host_target

__all__ = ["CompileStats", "Jit", "emit_object"]

# Code generation level. Level 0 must not be used: its instruction selector aborts the process on AVX-512
# masks.
_OPTIMIZATION = 2

_EXTERNAL = re.compile(r"^declare [^\n@]*@([A-Za-z_][A-Za-z0-9_]*)\(", re.MULTILINE)

_initialized = False
_lock = threading.RLock()


def _initialize(everything: bool = False) -> None:
    global _initialized
    if everything:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
    if not _initialized:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        _initialized = True


def _machine(target: Target, jit: bool) -> binding.TargetMachine:
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=_OPTIMIZATION,
        reloc="pic",
        codemodel="jitdefault" if jit else "default",
        jit=jit,
    )


def _module(text: str, target: Target, machine: binding.TargetMachine) -> binding.ModuleRef:
    module = binding.parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return module


def emit_object(text: str, target: Target) -> bytes:
    """The object file for LLVM text, for any target LLVM was built with; nothing is loaded."""
    with _lock:
        _initialize(everything=True)
        machine = _machine(target, jit=False)
        module = _module(text, target, machine)
        module.verify()
        return bytes(machine.emit_object(module))


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
        self._engines: list[binding.ExecutionEngine] = []
        self._objects: list[binding.ObjectFileRef] = []
        self._machine: binding.TargetMachine | None = None

    def compile(self, kernels: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Addresses by symbol of (symbol, LLVM text) pairs. Two pairs of one symbol must have one text."""
        with _lock:
            keys: dict[str, str] = {}
            missing: dict[str, str] = {}
            for symbol, text in kernels:
                key = digest(
                    symbol, text, self.target.key, f"llvmlite {llvmlite.__version__}", str(_OPTIMIZATION)
                )
                if keys.setdefault(symbol, key) != key:
                    raise ValueError(f"two different kernels are called {symbol!r}")
                if key in self._addresses:
                    self.stats.from_memory += 1
                elif symbol not in missing:
                    missing[symbol] = text
            if missing:
                self._load(missing, keys)
            return {symbol: self._addresses[key] for symbol, key in keys.items()}

    def _load(self, kernels: dict[str, str], keys: dict[str, str]) -> None:
        _initialize()
        objects: list[bytes] = []
        for symbol, text in kernels.items():
            _resolve_externals(text)
            objects.append(self._object(keys[symbol], text))
        # One engine for the lot; symbols of another engine may be the same without harm.
        anchor = binding.parse_assembly("")
        anchor.triple = self.target.triple
        engine = binding.create_mcjit_compiler(anchor, _machine(self.target, jit=True))
        for data in objects:
            reference = binding.ObjectFileRef.from_data(data)
            engine.add_object_file(reference)
            self._objects.append(reference)
        engine.finalize_object()
        self._engines.append(engine)
        for symbol in kernels:
            address = engine.get_function_address(symbol)
            if not address:
                raise RuntimeError(f"the code for {symbol!r} does not define it")
            self._addresses[keys[symbol]] = address

    def _object(self, key: str, text: str) -> bytes:
        if "code" in config.dump_stages():
            print(text, file=sys.stderr)
        found = self.cache.get(key)
        if found is not None:
            self.stats.from_disk += 1
            return found
        if self._machine is None:
            self._machine = _machine(self.target, jit=True)
        data = bytes(self._machine.emit_object(_module(text, self.target, self._machine)))
        self.stats.generated += 1
        self.cache.put(key, data)
        return data


def _resolve_externals(text: str) -> None:
    """Makes sure that the C functions a module calls are found; most processes have them loaded anyway."""
    for name in _EXTERNAL.findall(text):
        if name.startswith("llvm.") or binding.address_of_symbol(name):
            continue
        library = ctypes.CDLL(ctypes.util.find_library("m") or None)
        try:
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        except AttributeError:
            continue  # Defined by another object of the same engine, or reported by the linker by name.
        if address:
            binding.add_symbol(name, address)
