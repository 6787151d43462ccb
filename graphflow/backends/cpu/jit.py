"""LLVM text to addresses: code from memory, from the disk cache, or freshly generated, in this order."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources

import llvmlite
from llvmlite import binding

from graphflow import config
from graphflow.backends.cache import ObjectCache, default_cache, digest
from graphflow.backends.cpu.target import Target, host_target
from graphflow.records import dataclass

__all__ = ["CompileStats", "Jit", "Source", "emit_object"]

# Code generation level. Level 0 must not be used: its instruction selector aborts the process on AVX-512
# masks. Higher levels take longer and made no kernel faster: the text is written as it should run.
_OPTIMIZATION = 1

# What generated code may ask of the C library.
_LIBM = tuple(
    f"{name}{suffix}" for name in ("cos", "fmod", "lgamma", "pow", "sin", "tan") for suffix in ("", "f")
)

Source = str | Callable[[], str]

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
        _resolve(_LIBM)
        _initialized = True


def _relocation(target: Target) -> str:
    # Not "pic" on x86: LLVM's loader computes the constants' addresses of every object of an engine from the
    # offset table of the first, so that all others would read their constants from elsewhere.
    return "static" if target.triple.startswith("x86_64") else "pic"


def _machine(target: Target, jit: bool) -> binding.TargetMachine:
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=_OPTIMIZATION,
        reloc=_relocation(target) if jit else "pic",
        codemodel="jitdefault" if jit else "default",
        jit=jit,
    )


def _module(
    text: str, target: Target, machine: binding.TargetMachine, context: binding.ContextRef | None = None
) -> binding.ModuleRef:
    module = binding.parse_assembly(text, context)
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

    def compile(self, kernels: Sequence[tuple[str, Source]]) -> dict[str, int]:
        """Addresses by symbol of (symbol, LLVM text) pairs. Two pairs of one symbol must have one text.

        In place of its text a kernel may have a function that makes it, called only if the code is nowhere
        yet; the symbol must then name all that the text depends on besides the target and the generator.
        """
        with _lock:
            keys: dict[str, str] = {}
            missing: dict[str, Source] = {}
            for symbol, source in kernels:
                origin = source if isinstance(source, str) else _generator_version()
                key = digest(
                    symbol,
                    origin,
                    self.target.key,
                    llvmlite.__version__,
                    str(_OPTIMIZATION),
                    _relocation(self.target),
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
        _initialize()
        objects = self._objects_of([(keys[symbol], source) for symbol, source in kernels.items()])
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

    def _objects_of(self, kernels: Sequence[tuple[str, Source]]) -> list[bytes]:
        """The object of each kernel: from the disk, else generated, several at a time."""
        objects: dict[str, bytes | Future[bytes]] = {}
        with contextlib.ExitStack() as stack:
            pool: ThreadPoolExecutor | None = None
            for position, (key, source) in enumerate(kernels):
                self._dump(source)
                found = self.cache.get(key)
                if found is not None:
                    self.stats.from_disk += 1
                    objects[key] = found
                    continue
                self.stats.generated += 1
                text = source if isinstance(source, str) else source()
                workers = min(config.num_threads(), len(kernels) - position)
                if pool is None and workers > 1:
                    # One thread writes text, the others turn it into code meanwhile.
                    pool = stack.enter_context(ThreadPoolExecutor(workers, "graphflow compiler"))
                objects[key] = (
                    self._generate(key, text) if pool is None else pool.submit(self._generate, key, text)
                )
        return [data if isinstance(data := objects[key], bytes) else data.result() for key, _ in kernels]

    def _generate(self, key: str, text: str) -> bytes:
        # A context and a machine of its own: nothing is shared with what other threads generate.
        context = binding.create_context()
        machine = _machine(self.target, jit=True)
        data = _emit(machine, _module(text, self.target, machine, context))
        self.cache.put(key, data)
        return data

    def _target_machine(self) -> binding.TargetMachine:
        if self._machine is None:
            self._machine = _machine(self.target, jit=True)
        return self._machine

    def _dump(self, source: Source) -> None:
        stages = config.dump_stages().intersection(("llvm", "asm"))
        if not stages:
            return
        text = source if isinstance(source, str) else source()
        if "llvm" in stages:
            print(text, file=sys.stderr)
        if "asm" in stages:
            machine = self._target_machine()
            print(machine.emit_assembly(_module(text, self.target, machine)), file=sys.stderr)


def _emit(machine: binding.TargetMachine, module: binding.ModuleRef) -> bytes:
    """`machine.emit_object(module)`, but not under llvmlite's lock, which lets one thread at a time into LLVM.

    LLVM itself asks only that threads share neither contexts nor machines.

    Raises:
      RuntimeError: if LLVM refuses.
    """
    library = _library()
    message = ctypes.c_char_p()
    buffer = library.LLVMPY_TargetMachineEmitToMemory(
        ctypes.cast(machine._ptr, ctypes.c_void_p), ctypes.cast(module._ptr, ctypes.c_void_p), 1,
        ctypes.byref(message),
    )  # fmt: skip
    if not buffer:
        raise RuntimeError((message.value or b"no code").decode())
    try:
        start, size = library.LLVMPY_GetBufferStart(buffer), library.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(start, size)
    finally:
        library.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def _library() -> ctypes.CDLL:
    """llvmlite's library without its lock."""
    library = ctypes.CDLL(binding.ffi.lib._name)
    pointer = ctypes.c_void_p
    library.LLVMPY_TargetMachineEmitToMemory.argtypes = [pointer, pointer, ctypes.c_int, pointer]
    library.LLVMPY_TargetMachineEmitToMemory.restype = pointer
    library.LLVMPY_GetBufferStart.argtypes = [pointer]
    library.LLVMPY_GetBufferStart.restype = pointer
    library.LLVMPY_GetBufferSize.argtypes = [pointer]
    library.LLVMPY_GetBufferSize.restype = ctypes.c_size_t
    library.LLVMPY_DisposeMemoryBuffer.argtypes = [pointer]
    library.LLVMPY_DisposeMemoryBuffer.restype = None
    return library


def _resolve(names: Iterable[str]) -> None:
    """Makes sure that C functions are found; most processes have them loaded anyway."""
    missing = [name for name in names if not binding.address_of_symbol(name)]
    if missing:
        library = ctypes.CDLL(ctypes.util.find_library("m") or None)
        for name in missing:
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            assert address is not None
            binding.add_symbol(name, address)


@functools.cache
def _generator_version() -> str:
    """The digest of the sources that turn loops into text: other sources, other code."""
    package = resources.files("graphflow")
    paths = (
        "loops/ir.py",
        *(f"backends/cpu/{name}.py" for name in ("codegen", "instructions", "vector_math")),
    )
    return digest(*((package / path).read_bytes() for path in paths))
