"""LLVM itself, through llvmlite: loaded when code has to be generated, or loaded as only LLVM's loader can."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Iterable, Sequence

from llvmlite import binding

from graphflow.backends.cpu.target import OPTIMIZATION, Target, relocation

__all__ = ["Engine", "assembly", "emit_object", "generate"]

# What generated code may ask of the C library.
_LIBM = tuple(
    f"{name}{suffix}" for name in ("cos", "fmod", "lgamma", "pow", "sin", "tan") for suffix in ("", "f")
)


@functools.cache
def _initialize() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    _resolve(_LIBM)


def _machine(target: Target, jit: bool) -> binding.TargetMachine:
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=OPTIMIZATION,
        reloc=relocation(target) if jit else "pic",
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
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    _initialize()
    machine = _machine(target, jit=False)
    module = _module(text, target, machine)
    module.verify()
    return bytes(machine.emit_object(module))


def generate(text: str, target: Target) -> bytes:
    """The object file for LLVM text, as it is loaded into this process. May be called by several threads at once."""
    _initialize()
    # A context and a machine of its own: nothing is shared with what other threads generate.
    context = binding.create_context()
    machine = _machine(target, jit=True)
    return _emit(machine, _module(text, target, machine, context))


def assembly(text: str, target: Target) -> str:
    """The instructions of LLVM text."""
    _initialize()
    machine = _machine(target, jit=True)
    return str(machine.emit_assembly(_module(text, target, machine)))


class Engine:
    """Objects that LLVM has loaded; they stay as long as this."""

    def __init__(self, objects: Sequence[bytes], target: Target) -> None:
        _initialize()
        # One engine for the lot; symbols of another engine may be the same without harm.
        anchor = binding.parse_assembly("")
        anchor.triple = target.triple
        self._engine = binding.create_mcjit_compiler(anchor, _machine(target, jit=True))
        self._objects = [binding.ObjectFileRef.from_data(data) for data in objects]
        for reference in self._objects:
            self._engine.add_object_file(reference)
        self._engine.finalize_object()

    def address(self, symbol: str) -> int:
        """Where a function is; 0 if there is none of this name."""
        return int(self._engine.get_function_address(symbol))


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
