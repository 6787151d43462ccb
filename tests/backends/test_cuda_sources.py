"""CUDA C of kernels: how it reads, that it compiles with no GPU at hand, and what the compiler makes of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import pytest

import tests.test_ops_matrix as matrix
from graphflow.backends.cache import ObjectCache
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.backends.cuda import nvrtc
from graphflow.backends.cuda.compiler import Compiler
from graphflow.backends.cuda.kernel import CudaKernel
from graphflow.backends.cuda.printer import print_kernel
from graphflow.loops.build import Builder
from graphflow.loops.ir import DTYPES, FUNCTIONS, Kernel, is_native
from graphflow.session import Session
from tests.backends.cuda_emulator import as_processor
from tests.backends.cuda_kernels import KERNELS

EVERYTHING = os.environ.get("GRAPHFLOW_CUDA_OPS") == "all"
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(), reason=f"no CUDA compiler: {nvrtc.why_not()}")


@pytest.mark.parametrize("name", ["elements", "softmax", "columns", "scatter", "transposed"])
def test_golden_sources(name: str, golden: Callable[[str, str], None]) -> None:
    kernel = print_kernel(KERNELS[name]())
    golden(f"cuda/{name}.cu", kernel.body.replace(kernel.symbol, name))


@pytest.fixture(scope="module")
def compiled() -> dict[str, tuple[CudaKernel, CudaKernel]]:
    return {name: (print_kernel(make()), print_kernel(make(), wide=True)) for name, make in KERNELS.items()}


def test_equal_loops_are_one_kernel(compiled: dict[str, tuple[CudaKernel, CudaKernel]]) -> None:
    for name, make in KERNELS.items():
        assert print_kernel(make()).symbol == compiled[name][0].symbol
        assert compiled[name][0].symbol != compiled[name][1].symbol


def test_grids_depend_on_sizes_alone(compiled: dict[str, tuple[CudaKernel, CudaKernel]]) -> None:
    kernel = compiled["elements"][0]
    assert [kernel.geometry([0, 0, n]) for n in (0, 1, 1024, 1025)] == [
        (1, 256),
        (1, 256),
        (1, 256),
        (2, 256),
    ]
    assert compiled["softmax"][0].grid({"n": 77}) == 10  # eight rows to a block
    assert all(
        one.grid({p.name: 0 for p in one.params if p.kind == "int"}) >= 1 for one, _ in compiled.values()
    )


@needs_nvrtc
def test_kernels_compile_without_spills(
    compiled: dict[str, tuple[CudaKernel, CudaKernel]], tmp_path: Path
) -> None:
    kernels = [one for name, both in compiled.items() for one in both[: 2 if name == "elements" else 1]]
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile(kernels)
    for kernel in kernels:
        taken = cubins[kernel.symbol].resources[kernel.symbol]
        assert cubins[kernel.symbol].data[:4] == b"\x7fELF"
        assert taken.spilled == 0 and taken.stack == 0 and taken.registers <= 64, (kernel.body, taken)


@needs_nvrtc
def test_plain_loops_move_sixteen_bytes_at_once(compiled: dict[str, tuple[CudaKernel, CudaKernel]]) -> None:
    promised = [compiled[name][0] for name in ("elements", "halves", "numbers")]
    assert all("vector" in kernel.promises for kernel in promised)
    source = "\n".join([promised[0].source, *(kernel.body for kernel in promised[1:])])
    text = nvrtc.compile_source(source, ptx=True).code.decode()
    for kernel in promised:
        own = text.split(f".entry {kernel.symbol}(")[1].split(".entry")[0]
        assert "st.global.v" in own, kernel.body
        assert "ld.global.v" in own or "gf_load" not in kernel.body, kernel.body


def every_function(dtype: str) -> Kernel:
    """A kernel that applies every scalar function there is code for."""
    b = Builder(f"functions_{dtype}")
    x, y, z = b.buffer("x", dtype), b.buffer("y", dtype), b.buffer("z", "i1")
    casts = {other: b.buffer(f"to_{other}", other) for other in DTYPES}
    n = b.int_param("n")
    names = [f.name for f in FUNCTIONS.values() if f.result in ("same", "i1") and is_native(f.name, dtype)]
    with b.loop("i", 0, n, "vector") as i:
        a = b.load(x, i)
        for number, name in enumerate(names):
            found = b.apply(name, *[b.load(x, b.add(i, place)) for place in range(FUNCTIONS[name].arity)])
            at = b.add(b.mul(i, b.const(len(names), "i64")), number)
            b.store(z if FUNCTIONS[name].result == "i1" and dtype != "i1" else y, at, found)
        for other, target in casts.items():
            b.store(target, i, b.cast(a, other))
    return b.kernel()


@needs_nvrtc
def test_every_scalar_function_compiles_at_every_dtype(tmp_path: Path) -> None:
    # The others differ from these by conversions, or by their size alone.
    dtypes = DTYPES if EVERYTHING else ("f32", "i32", "i1")
    kernels = [print_kernel(every_function(dtype)) for dtype in dtypes]
    assert len(Compiler(cache=ObjectCache(tmp_path)).compile(kernels)) == len(dtypes)


@needs_nvrtc
def test_what_does_not_compile_says_why() -> None:
    with pytest.raises(nvrtc.CompileError, match="undefined"):
        nvrtc.compile_source('extern "C" __global__ void k(float* x) { x[0] = nothing; }')


@needs_nvrtc
def test_cubins_are_kept_and_bad_ones_made_again(tmp_path: Path) -> None:
    kernels = [print_kernel(KERNELS[name]()) for name in ("elements", "softmax")]
    first = Compiler(cache=ObjectCache(tmp_path))
    made = first.compile(kernels)
    assert first.compiled == 2
    again = Compiler(cache=ObjectCache(tmp_path))
    found = again.compile(kernels[::-1])
    assert again.compiled == 0
    for kernel in kernels:
        assert found[kernel.symbol].data == made[kernel.symbol].data
        assert found[kernel.symbol].resources == made[kernel.symbol].resources
    for path in tmp_path.rglob("*.obj"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    mended = Compiler(cache=ObjectCache(tmp_path))
    assert mended.compile(kernels)[kernels[0].symbol].data[:4] == b"\x7fELF"
    assert mended.compiled == 2
    other = Compiler("sm_80", ObjectCache(tmp_path))
    other.compile(kernels[:1])
    assert other.compiled == 1  # another device, other code


@needs_nvrtc
def test_compilers_may_share_a_cache(tmp_path: Path) -> None:
    kernels = [print_kernel(KERNELS[name]()) for name in ("elements", "columns")]

    def one(_: int) -> bytes:
        return Compiler(cache=ObjectCache(tmp_path), threads=1).compile(kernels)[kernels[0].symbol].data

    with ThreadPoolExecutor(3) as pool:
        assert {data[:4] for data in pool.map(one, range(3))} == {b"\x7fELF"}


_NOTHING = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value if os.name != "nt" else None
"""A function that takes anything and does nothing to it."""


class Printing(CpuBackend):
    """Prints every kernel of its plans as CUDA C, and runs none."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.printed: dict[str, CudaKernel] = {}

    def addresses(self, kernels: object) -> list[int]:
        assert isinstance(kernels, list | tuple) and _NOTHING is not None
        for kernel in kernels:
            if isinstance(kernel, Kernel):
                for wide in (False, True):
                    printed = print_kernel(kernel, wide=wide)
                    self.printed[printed.symbol] = printed
        return [_NOTHING] * len(kernels)


def samples_to_print() -> Iterator[object]:
    """Some samples of some ops; all of all with `GRAPHFLOW_CUDA_OPS=all`."""
    seen: dict[str, int] = {}
    for case in matrix.PURE + matrix.RANDOM:
        op_type, sample = case.values
        seen[op_type] = seen.get(op_type, 0) + 1
        if EVERYTHING or (seen[op_type] <= 1 and crc32(op_type.encode()) % 12 == 0):
            yield op_type, sample


@needs_nvrtc
@pytest.mark.skipif(_NOTHING is None, reason="there is no function that does nothing")
def test_what_ops_are_lowered_to_compiles(tmp_path: Path) -> None:
    backend = Printing()
    with as_processor(backend):
        for op_type, sample in samples_to_print():  # type: ignore[misc]
            for known in (True, False) if EVERYTHING else (False,):
                built = matrix.Built(op_type, sample, known=known)
                with Session(graph=built.graph) as session:
                    # What stays with its NumPy body may take offence at what nobody has computed.
                    try:
                        session.run(list(built.operation.outputs), built.feeds)
                    except Exception as error:
                        assert not isinstance(error, NotImplementedError | AssertionError), (op_type, error)
    narrow = [kernel for kernel in backend.printed.values() if not kernel.wide]
    assert len(narrow) > 10
    chosen = backend.printed.values() if EVERYTHING else narrow[::2]
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile(list(chosen))
    assert all(cubins[kernel.symbol].resources[kernel.symbol].registers <= 255 for kernel in chosen)
