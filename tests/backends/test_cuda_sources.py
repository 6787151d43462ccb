"""CUDA C of kernels: how it reads, that it compiles with no GPU at hand, and what the compiler makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import pytest

import graphflow as gf
import tests.test_ops_matrix as matrix
from graphflow.backends.cache import ObjectCache
from graphflow.backends.cuda import nvrtc
from graphflow.backends.cuda.compiler import Compiler
from graphflow.backends.cuda.contraction import library
from graphflow.backends.cuda.kernel import CudaKernel
from graphflow.backends.cuda.printer import print_kernel
from graphflow.backends.gpu.calls import CallLaunch
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.loops.build import Builder
from graphflow.loops.ir import DTYPES, FUNCTIONS, Kernel, is_native
from graphflow.lowering import nests
from graphflow.session import Session
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
    kernels.append(print_kernel(KERNELS["elements"](), indirect=("x", "n")))
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile(kernels)
    for kernel in kernels:
        taken = cubins[kernel.symbol].resources[kernel.symbol]
        assert cubins[kernel.symbol].data[:4] == b"\x7fELF"
        assert taken.spilled == 0 and taken.stack == 0 and taken.registers <= 64, (kernel.body, taken)


@needs_nvrtc
def test_plain_loops_move_sixteen_bytes_at_once(compiled: dict[str, tuple[CudaKernel, CudaKernel]]) -> None:
    promised = [compiled[name][0] for name in ("elements", "halves", "numbers", "softmax", "long_softmax")]
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
    kernels = [print_kernel(KERNELS[name]()) for name in ("columns", "numbers")]
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
    kernels = [print_kernel(KERNELS["numbers"]())]

    def one(_: int) -> bytes:
        return Compiler(cache=ObjectCache(tmp_path), threads=1).compile(kernels)[kernels[0].symbol].data

    with ThreadPoolExecutor(3) as pool:
        assert {data[:4] for data in pool.map(one, range(3))} == {b"\x7fELF"}


# Ops whose kernels are of all kinds.
OPS = (
    "AddV2", "AvgPool", "BiasAddGrad", "Conv2DBackpropFilter", "Cumsum", "DepthwiseConv2dNative", "Elu", "GatherV2",
    "MatMul", "OneHot", "Pack", "RandomUniform", "ResizeBilinear", "ScatterNd", "SoftmaxCrossEntropyWithLogits",
    "TopKV2", "Transpose", "UnsortedSegmentSum",
)  # fmt: skip


# What computes nothing, and may so stay on the processor.
NOTHING = ("Const", "ControlTrigger", "NoOp", "PlaceholderWithDefault")


def chosen_samples() -> Iterator[tuple[str, matrix.Sample]]:
    """The samples of some ops; of all with `GRAPHFLOW_CUDA_OPS=all`, or of that share of all that
    `GRAPHFLOW_CUDA_SHARE=3/24` says."""
    share, shares = (int(n) for n in os.environ.get("GRAPHFLOW_CUDA_SHARE", "0/1").split("/"))
    for case in matrix.PURE + matrix.RANDOM:
        op_type, sample = case.values
        if crc32(op_type.encode()) % shares == share if EVERYTHING else op_type in OPS:
            yield op_type, sample  # type: ignore[misc]


def loops_of(plan: object) -> Iterator[Kernel]:
    """The kernels of a GPU's plan; for what goes to a library, those that do it where there is none."""
    assert isinstance(plan, DevicePlan)
    for launch in plan.template.launches:
        kernel = launch.kernel
        if isinstance(kernel, CallLaunch):
            if kernel.call is not None:
                yield from (one.loops for one in library(kernel.call).launches)
            kernel = kernel.kernel
        if isinstance(kernel, Kernel):
            yield kernel


@needs_nvrtc
def test_what_ops_are_lowered_to_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a GPU's plan launches is printed, and compiles to machine code that spills nothing."""
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    monkeypatch.setattr(nests, "_LINKED_FROM", 2)  # samples are short
    config = gf.ConfigProto(device_count={"GPU": 1})
    made: dict[str, tuple[CudaKernel, str]] = {}
    launching: set[str] = set()
    for op_type, sample in chosen_samples():
        if op_type in launching and not EVERYTHING:
            continue  # one sample will do
        for known in (True, False) if EVERYTHING else (True,):
            built = matrix.Built(op_type, sample, known=known)
            with Session(graph=built.graph, config=config) as session:
                plan = session.plan(list(built.operation.outputs), built.feeds)
            if op_type in NOTHING and not isinstance(plan, DevicePlan):
                continue
            for loops in loops_of(plan):
                launching.add(op_type)
                for wide in (False, True) if EVERYTHING else (False,):
                    kernel = print_kernel(loops, wide=wide)
                    made.setdefault(kernel.symbol, (kernel, op_type))
    assert EVERYTHING or launching == set(OPS)
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile([kernel for kernel, _ in made.values()])
    taken = {symbol: cubins[symbol].resources[symbol] for symbol in made}
    spilling = [(made[symbol][1], found) for symbol, found in taken.items() if found.spilled]
    assert not spilling, spilling
    if EVERYTHING:
        print(f"{len(launching)} ops, {len(made)} kernels, none spills")
