"""Runs a kernel's machine code on NumPy arrays, for any instruction set the host has."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.backends.cache import ObjectCache
from graphflow.backends.cpu.codegen import kernel_to_llvm
from graphflow.backends.cpu.jit import Jit
from graphflow.backends.cpu.target import Target, cross_target, host_target
from graphflow.loops.ir import Buffer, IntParam, Kernel, numpy_dtype
from graphflow.loops.verify import verify

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_JITS: dict[str, Jit] = {}


def runnable_targets() -> list[Target]:
    """The host, and plainer machines of its family whose code it runs too."""
    host = host_target()
    plainer = {"avx512": ("avx2", "generic"), "avx2": ("generic",)}.get(host.isa, ())
    return [host, *(cross_target(isa) for isa in plainer)]


def run_kernel(
    kernel: Kernel, arguments: Sequence[Any], target: Target | None = None, parts: int = 1, check: bool = True
) -> None:
    """Runs a kernel on arrays (buffers, written in place) and numbers, all parts after each other."""
    target = host_target() if target is None else target
    if check:
        verify(kernel)
    jit = _JITS.setdefault(target.key, Jit(target, ObjectCache(None)))
    symbol = f"test_{kernel.name}"
    jit_text = kernel_to_llvm(kernel, target, symbol)
    function = _FUNCTION(jit.compile([(symbol, jit_text)])[symbol])
    keep = []
    table = []
    for param, argument in zip(kernel.params, arguments, strict=True):
        if isinstance(param, Buffer):
            assert argument.dtype == numpy_dtype(param.dtype), param.name
            table.append(argument.ctypes.data)
        elif isinstance(param, IntParam):
            table.append(int(argument))
        else:
            keep.append(np.array([argument], numpy_dtype(param.dtype)))
            table.append(keep[-1].ctypes.data)
    args = np.array(table, np.int64)
    for part in range(parts):
        function(args.ctypes.data, part, parts)
