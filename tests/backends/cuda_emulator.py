"""Runs generated CUDA C on the processor, for its numbers: compiled as C++, every thread of a block a coroutine.

Threads run one after the other, from barrier to barrier, in ascending or descending order: where a barrier is missing
one of the two orders shows it. Shared memory is static, for one block runs at a time. Nothing of it says anything of
speed, nor that the source compiles as CUDA (`test_cuda_sources.py`).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.backends import base
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.backends.cuda.kernel import CudaKernel, KernelParam
from graphflow.backends.cuda.prelude import PRELUDE
from graphflow.backends.cuda.printer import print_kernel
from graphflow.backends.cuda.scalar import MEMORY
from graphflow.loops.ir import Kernel

COMPILER = shutil.which("g++") or shutil.which("clang++")
WHY_NOT = "no C++ compiler to emulate CUDA with" if COMPILER is None else ""

_EMULATOR = r"""
#include <ucontext.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
struct Place { unsigned x; };
static Place threadIdx, blockIdx, gridDim;
extern "C" { int emu_descending = 0; int emu_grid = 3; }
static const int THREADS = 256, STACK = 1 << 18;
static ucontext_t emu_home, emu_fibers[THREADS];
static char* emu_stacks = nullptr;
static bool emu_done[THREADS];
static const std::function<void()>* emu_body;
static long emu_progress;
struct Barrier { int arrived = 0; long turn = 0; };
static Barrier emu_all, emu_warps[THREADS / 32];
static unsigned long long emu_slots[THREADS];
static void emu_yield() {
  const unsigned me = threadIdx.x;
  swapcontext(&emu_fibers[me], &emu_home);
  threadIdx.x = me;
}
static void emu_wait(Barrier& barrier, int count) {
  const long turn = barrier.turn;
  if (++barrier.arrived == count) { barrier.arrived = 0; ++barrier.turn; ++emu_progress; }
  else while (barrier.turn == turn) emu_yield();
}
static void __syncthreads() { emu_wait(emu_all, THREADS); }
static void __syncwarp() { emu_wait(emu_warps[threadIdx.x / 32], 32); }
template <typename T> static T emu_swap(T x, unsigned from) {
  memcpy(&emu_slots[threadIdx.x], &x, sizeof(T));
  __syncwarp();
  T found;
  memcpy(&found, &emu_slots[from], sizeof(T));
  __syncwarp();
  return found;
}
template <typename T> static T __shfl_xor_sync(unsigned, T x, int mask) { return emu_swap(x, threadIdx.x ^ mask); }
template <typename T> static T __shfl_sync(unsigned, T x, int lane) {
  return emu_swap(x, threadIdx.x / 32 * 32 + lane);
}
static float __fadd_rn(float x, float y) { volatile float sum = x + y; return sum; }
static double __dadd_rn(double x, double y) { volatile double sum = x + y; return sum; }
static float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static double rsqrt(double x) { return 1.0 / sqrt(x); }
static long long __mul64hi(long long x, long long y) { return (long long)(((__int128)x * y) >> 64); }
static unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)(((unsigned __int128)x * y) >> 64);
}
static void emu_fiber(int me) {
  threadIdx.x = me;
  (*emu_body)();
  emu_done[me] = true;
  ++emu_progress;
  swapcontext(&emu_fibers[me], &emu_home);
}
static void emu_launch(bool waits, const std::function<void()>& body) {
  gridDim.x = emu_grid;
  emu_body = &body;
  if (!emu_stacks) emu_stacks = (char*)malloc((size_t)THREADS * STACK);
  for (int block = 0; block < emu_grid; ++block) {
    blockIdx.x = block;
    if (!waits) {
      for (int i = 0; i < THREADS; ++i) { threadIdx.x = emu_descending ? THREADS - 1 - i : i; body(); }
      continue;
    }
    emu_all = Barrier();
    for (auto& warp : emu_warps) warp = Barrier();
    for (int i = 0; i < THREADS; ++i) {
      emu_done[i] = false;
      getcontext(&emu_fibers[i]);
      emu_fibers[i].uc_stack.ss_sp = emu_stacks + (size_t)i * STACK;
      emu_fibers[i].uc_stack.ss_size = STACK;
      emu_fibers[i].uc_link = nullptr;
      makecontext(&emu_fibers[i], (void (*)())emu_fiber, 1, i);
    }
    for (int left = THREADS; left;) {
      const long before = emu_progress;
      for (int k = 0; k < THREADS; ++k) {
        const int i = emu_descending ? THREADS - 1 - k : k;
        if (emu_done[i]) continue;
        swapcontext(&emu_home, &emu_fibers[i]);
        if (emu_done[i]) --left;
      }
      if (emu_progress == before) { fprintf(stderr, "threads wait for each other\n"); abort(); }
    }
  }
}
"""

TOGETHER = 48  # kernels of one translation unit


class Emulator:
    """Kernels as functions of the processor: `(i64* args, i64 part, i64 parts)`, of which part 0 does everything.

    before: C++ that the kernels call.
    """

    def __init__(self, folder: Path, before: str = "") -> None:
        assert COMPILER is not None
        self.folder = folder
        self.addresses: dict[str, int] = {}
        self.libraries: list[ctypes.CDLL] = []
        self._before = before

    def compile(self, kernels: Sequence[CudaKernel]) -> dict[str, int]:
        """Addresses by symbol."""
        missing = list({k.symbol: k for k in kernels if k.symbol not in self.addresses}.values())
        units = [missing[i : i + TOGETHER] for i in range(0, len(missing), TOGETHER)]
        running = []
        for unit in units:
            stem = self.folder / f"unit{len(self.libraries) + len(running)}"
            stem.with_suffix(".cpp").write_text(
                "\n".join([_EMULATOR, self._before, PRELUDE, *map(_with_entry, unit)])
            )
            command = [COMPILER, "-O0", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC",
                       "-std=c++17", "-o", str(stem.with_suffix(".so")), str(stem.with_suffix(".cpp"))]  # fmt: skip
            running.append((stem, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
            if len(running) == 2:
                self._finish(running)
        self._finish(running)
        for kernel in missing:
            for library in self.libraries:
                function = getattr(library, f"run_{kernel.symbol}", None)
                if function is not None:
                    address = ctypes.cast(function, ctypes.c_void_p).value
                    assert address is not None
                    self.addresses[kernel.symbol] = address
        return {kernel.symbol: self.addresses[kernel.symbol] for kernel in kernels}

    def _finish(self, running: list[tuple[Path, subprocess.Popen[str]]]) -> None:
        for stem, process in running:
            _, errors = process.communicate()
            assert process.returncode == 0, errors[:4000]
            self.libraries.append(ctypes.CDLL(str(stem.with_suffix(".so"))))
        running.clear()

    def set(self, *, descending: bool, grid: int = 3) -> None:
        """In which order threads run, and how many blocks there are: neither may change a bit."""
        for library in self.libraries:
            ctypes.c_int.in_dll(library, "emu_descending").value = int(descending)
            ctypes.c_int.in_dll(library, "emu_grid").value = grid


def _cast(param: KernelParam) -> str:
    """What makes a parameter of a number."""
    type_ = "i64" if param.kind == "int" else f"{MEMORY[param.dtype]}*"
    return f"({type_}{'*' * param.indirect})" if param.indirect or param.kind == "pointer" else ""


def _with_entry(kernel: CudaKernel) -> str:
    args = ", ".join(f"{_cast(param)}args[{i}]" for i, param in enumerate(kernel.params))
    waits = "true" if "__sync" in kernel.body or "gf_shuffle" in kernel.body else "false"
    return f"""{kernel.body}
extern "C" void run_{kernel.symbol}(i64* args, i64 part, i64) {{
  if (part == 0) emu_launch({waits}, [=] {{ {kernel.symbol}({args}); }});
}}"""


class EmulatedBackend(CpuBackend):
    """The processor's back end, whose loop kernels are the CUDA ones where these have been compiled.

    What has not is noted in `missing`, and runs as it always does. Lowered is as for GPUs, library calls apart.
    """

    many_threads = True

    def __init__(self, emulator: Emulator, *, wide: bool = False) -> None:
        super().__init__(threads=1)
        self.emulator = emulator
        self.wide = wide
        self.missing: dict[str, CudaKernel] = {}
        self.emulated: set[str] = set()

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        found = super().addresses(kernels)
        for place, kernel in enumerate(kernels):
            if isinstance(kernel, Kernel):
                printed = print_kernel(kernel, wide=self.wide)
                address = self.emulator.addresses.get(printed.symbol)
                if address is None:
                    self.missing[printed.symbol] = printed
                else:
                    found[place] = address
                    self.emulated.add(printed.symbol)
        return found

    def compile_missing(self) -> None:
        self.emulator.compile(list(self.missing.values()))
        self.missing.clear()


@contextmanager
def as_processor(backend: CpuBackend) -> Iterator[None]:
    """Lets sessions take a back end for the processor's."""
    before = dict(base._loaded)
    for threads in (0, 1):
        base._loaded["cpu", 0, threads, 0.0, "", ()] = backend
    try:
        yield
    finally:
        base._loaded.clear()
        base._loaded.update(before)


def launch(emulator: Emulator, kernel: CudaKernel, arguments: Sequence[Any]) -> None:
    """Runs a kernel on flat arrays and numbers."""
    address = emulator.compile([kernel])[kernel.symbol]
    table = np.array([a.ctypes.data if isinstance(a, np.ndarray) else int(a) for a in arguments], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)(table.ctypes.data, 0, 1)
