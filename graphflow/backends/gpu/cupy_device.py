"""A GPU, through CuPy: memory, a stream, kernels, captured graphs. CuPy is loaded when the first one is opened.

Not one of CuPy's own library calls is made: it refuses them while a graph is captured. Copies go through the runtime,
as CuPy's arrays refuse to copy then as well. The user's memory pool and current stream are left alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import config, errors
from graphflow.backends.cuda.compiler import Compiler
from graphflow.backends.cuda.joined import JoinedKernel, join
from graphflow.backends.cuda.kernel import CudaKernel, dump
from graphflow.backends.cuda.printer import print_all
from graphflow.backends.cuda.steering import STEERING
from graphflow.backends.gpu.attentions import AttentionPlan, usual
from graphflow.backends.gpu.blas import WORKSPACE, BlasLt, load_library
from graphflow.backends.gpu.conditional_nodes import ConditionalNodes
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.backends.gpu.device import NodeKind, Properties, Slab, Table, Uncapturable, exhausted
from graphflow.backends.gpu.dnn import CuDnn
from graphflow.backends.gpu.dnn import load_library as load_dnn
from graphflow.backends.gpu.nccl import Reductions
from graphflow.backends.gpu.products import GemmPlan, reach
from graphflow.collector import while_loading
from graphflow.loops.library import element_bytes
from graphflow.records import dataclass

__all__ = ["CupyDevice"]

Array = np.ndarray[Any, Any]

_TO_DEVICE, _TO_HOST, _WITHIN = 1, 2, 3  # cudaMemcpyKind
_MOST_SCRATCH = 1 << 30  # bytes of operands up to which algorithms are tried and timed
_TRIALS = 5
# Operations of a multiprocessor per clock, in products of float32 rounded to TF32, by compute capability; 256 of others
# and of what is not rounded.
_OPERATIONS = {"80": 1024, "86": 512, "89": 512, "90": 2048, "100": 4096, "120": 512}
_process: int | None = None
_lock = threading.Lock()


@dataclass(eq=False, slots=True)
class Function:
    """A kernel. `kernel`: what it was printed as, which knows the grid; `function`: None before it is loaded."""

    kernel: CudaKernel
    function: Any = None


@dataclass(eq=False, slots=True)
class Together:
    """Several kernels as one; see `JoinedFunction`."""

    joined: JoinedKernel
    function: Any = None

    @property
    def kernel(self) -> CudaKernel:
        """The one."""
        return self.joined.kernel

    @property
    def words(self) -> int:
        """See `JoinedFunction`."""
        return self.joined.words

    def table(self, arguments: Sequence[Sequence[int]]) -> Table:
        """See `JoinedFunction`."""
        return self.joined.table(arguments)


@dataclass(eq=False, slots=True)
class CudaGraph:
    """What was captured. `nodes`: how many things were put on the stream."""

    graph: Any
    nodes: int


class _Event:
    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self) -> None:
        """Returns when all before it is done."""
        self._event.synchronize()


class CupyDevice:
    """A GPU; see `device.Device`.

    Raises:
      FailedPreconditionError: in a process that was forked from one that had used a GPU.
    """

    computes = True

    def __init__(self, index: int = 0) -> None:
        global _process
        with _lock:
            if _process not in (None, os.getpid()):
                raise errors.FailedPreconditionError(
                    None, None,
                    f"This process was forked from process {_process} after that had used a GPU, which CUDA does"
                    " not survive. Start processes with multiprocessing.set_start_method('spawn'), or before the"
                    " first run.",
                )  # fmt: skip
            _process = os.getpid()
        with while_loading():
            self._cupy: Any = importlib.import_module("cupy")
        self.index = index
        self._cuda = self._cupy.cuda
        self._runtime = self._cuda.runtime
        self._context = self._cuda.Device(index)
        self._captured: int | None = None
        self._around: list[Any] = []  # streams of the graphs around the body that is captured
        self._body_streams: list[Any] = []
        self._kept: list[Any] = []
        with self._context:
            self._stream = self._cuda.Stream(non_blocking=True)
            self._pool = self._cuda.MemoryPool()
            facts = self._runtime.getDeviceProperties(index)
            capability = f"{facts['major']}{facts['minor']}"
            name = facts["name"]
            self._nodes = ConditionalNodes.load()
            self._blas = BlasLt(load_library(), str(name), config.matmul_precision())
        self.properties = Properties(
            name.decode() if isinstance(name, bytes) else str(name),
            int(facts["totalGlobalMem"]),
            f"sm_{capability}",
            int(facts["multiProcessorCount"]),
            (
                ("cupy", self._cupy.__version__),
                ("cublasLt", str(self._blas.version)),
                ("driver", str(self._runtime.driverGetVersion())),
            ),
            *self._best(capability, int(facts["multiProcessorCount"])),
        )
        self._compiler = Compiler(self.properties.architecture)
        self._nccl: Reductions | None = None
        self._dnn: CuDnn | None = None
        self._functions: dict[str, Any] = {}
        self._modules: dict[int, Any] = {}

    def _best(self, capability: str, multiprocessors: int) -> tuple[float, float]:
        """Operations and bytes per second, from the clocks that the driver tells in kilohertz."""
        known, runtime = self._runtime.deviceGetAttribute, self._runtime
        each = _OPERATIONS.get(capability, 256) if config.matmul_precision() == "tf32" else 256
        flops = 1e3 * known(runtime.cudaDevAttrClockRate, self.index) * multiprocessors * each
        width = known(runtime.cudaDevAttrGlobalMemoryBusWidth, self.index)
        # Memory moves at both edges of its clock.
        bandwidth = 2e3 * known(runtime.cudaDevAttrMemoryClockRate, self.index) * width / 8
        return max(flops, 1.0), max(bandwidth, 1.0)

    # memory

    def alloc(self, nbytes: int) -> Slab:
        """See `Device`."""
        self._refuse("memory is taken")
        with self._context, self._stream:
            try:
                memory = self._pool.malloc(nbytes)
            except self._cuda.memory.OutOfMemoryError as error:
                raise exhausted(
                    f"{self.properties.name} has no {nbytes / 2**20:.2f} MiB left: {error}"
                ) from None
        return Slab(int(memory.ptr), nbytes, memory)

    def free(self, slab: Slab) -> None:
        """See `Device`."""
        self._refuse("memory is given back")
        slab.owner = None
        with self._context, self._stream:
            self._pool.free_all_blocks()

    def pinned(self, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """See `Device`."""
        with self._context:
            memory = self._cuda.alloc_pinned_memory(max(1, nbytes))
        return np.frombuffer(memory, np.uint8, nbytes)

    def h2d(self, target: int, source: Array, nbytes: int) -> None:
        """See `Device`."""
        self._refuse("memory of the host is read")
        self._copy(target, source.__array_interface__["data"][0], nbytes, _TO_DEVICE)

    def d2h(self, target: Array, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._refuse("memory of the host is written")
        self._copy(target.__array_interface__["data"][0], source, nbytes, _TO_HOST)

    def d2d(self, target: int, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._copy(target, source, nbytes, _WITHIN)

    def _copy(self, target: int, source: int, nbytes: int, kind: int) -> None:
        self._count()
        with self._context:
            self._runtime.memcpyAsync(target, source, nbytes, kind, self._stream.ptr)

    def memset(self, target: int, value: int, nbytes: int) -> None:
        """See `Device`."""
        self._count()
        with self._context:
            self._runtime.memsetAsync(target, value, nbytes, self._stream.ptr)

    # work

    def functions(
        self, kernels: Sequence[Any], wide: Sequence[bool], indirect: Sequence[Collection[str]] = ()
    ) -> list[Any]:
        """See `Device`."""
        return [Function(one) for one in print_all(kernels, wide, indirect)]

    def steering(self) -> Mapping[str, Any]:
        """See `Device`."""
        made = {name: Function(kernel) for name, kernel in STEERING.items()}
        self.load(list(made.values()))
        return made

    def join(self, functions: Sequence[Function]) -> Together:
        """See `Device`."""
        return Together(join([function.kernel for function in functions]))

    def load(self, functions: Sequence[Function | Together]) -> None:
        """See `Device`."""
        self._refuse("code is loaded")
        missing = {
            one.kernel.symbol: one.kernel for one in functions if one.kernel.symbol not in self._functions
        }
        if missing:
            dump(missing.values())
            cubins = self._compiler.compile(list(missing.values()))
            with self._context:
                for symbol in missing:
                    cubin = cubins[symbol]
                    module = self._modules.get(id(cubin))
                    if module is None:
                        module = self._modules[id(cubin)] = self._cuda.function.Module()
                        module.load(cubin.data)
                        self._kept.append(cubin)  # its id is its module's name
                    self._functions[symbol] = module.get_function(symbol)
        for one in functions:
            one.function = self._functions[one.kernel.symbol]

    def launch(self, function: Function, args: Sequence[int]) -> None:
        """See `Device`."""
        self._count()
        grid, block = function.kernel.geometry(args)
        words = tuple([np.int64(arg) for arg in args])
        with self._context:
            function.function((grid, 1, 1), (block, 1, 1), words, 0, self._stream)

    def launch_joined(self, function: Together, table: Table, address: int) -> None:
        """See `Device`."""
        self._count()
        grid, block = function.joined.blocks(table), function.kernel.block
        words = np.int64(address), np.int64(len(function.joined.parts))
        with self._context:
            function.function((grid, 1, 1), (block, 1, 1), words, 0, self._stream)

    def workspace(self, plan: GemmPlan) -> int:
        """See `Device`."""
        return self._blas.prepare(plan, self._seconds if _span(plan) <= _MOST_SCRATCH else None)

    def _seconds(self, plan: GemmPlan) -> float:
        """How long a product takes, on memory of its own that holds small numbers."""
        sizes = [_bytes(plan, which) for which in "abc"]
        with self._context:
            slabs = [self.alloc(size) for size in (*sizes, 8 * plan.n, WORKSPACE)]
            for slab in slabs[:4]:
                # Neither zeros, which take less power, nor numbers that overflow: every byte 0x3C is about 0.0115.
                self._runtime.memsetAsync(slab.address, 0x3C, slab.nbytes, self._stream.ptr)
            a, b, c, bias, scratch = (slab.address for slab in slabs)
            pointers = [a, b, c, bias] if "bias" in plan.tail else [a, b, c]
            self._blas.run(plan, pointers, scratch, self._stream.ptr)
            start, stop = self._cuda.Event(), self._cuda.Event()
            start.record(self._stream)
            for _ in range(_TRIALS):
                self._blas.run(plan, pointers, scratch, self._stream.ptr)
            stop.record(self._stream)
            stop.synchronize()
            took = float(self._cuda.get_elapsed_time(start, stop))
        for slab in slabs:
            self.free(slab)
        return took

    def gemm(self, plan: GemmPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._count()
        with self._context:
            self._blas.run(plan, pointers, workspace, self._stream.ptr)

    def convolution(self, plan: ConvPlan) -> int | None:
        """See `Device`."""
        self._refuse("a convolution is prepared")
        return self._prepared(plan)

    def attention(self, plan: AttentionPlan) -> int | None:
        """See `Device`."""
        self._refuse("an attention is prepared")
        return self._prepared(plan) if usual(plan) else None

    def _prepared(self, plan: ConvPlan | AttentionPlan) -> int | None:
        with self._context:
            if self._dnn is None:
                library = load_dnn()
                if library is None:
                    return None
                self._dnn = CuDnn(library, config.matmul_precision(), self._stream.ptr)
            return self._dnn.prepare(plan)

    def conv(self, plan: ConvPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._run(plan, pointers, workspace)

    def attend(self, plan: AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._run(plan, pointers, workspace)

    def _run(self, plan: ConvPlan | AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        assert self._dnn is not None
        self._count()
        with self._context:
            self._dnn.run(plan, pointers, workspace)

    # order

    def event(self) -> _Event:
        """See `Device`."""
        self._refuse("an event is waited for")
        with self._context:
            event = self._cuda.Event(disable_timing=True)
            event.record(self._stream)
        return _Event(event)

    def timer(self) -> Any:
        """See `Device`."""
        self._refuse("a time is taken")
        with self._context:
            event = self._cuda.Event()
            event.record(self._stream)
        return event

    def microseconds(self, first: Any, last: Any) -> float:
        """See `Device`."""
        with self._context:
            return 1e3 * float(self._cuda.get_elapsed_time(first, last))

    def wait_for(self, stream: int | None) -> None:
        """See `Device`."""
        if stream is None:
            return
        with self._context:
            event = self._cuda.Event(disable_timing=True)
            # 1 and 2 stand for the legacy and the per-thread default stream, as in the runtime.
            self._runtime.eventRecord(event.ptr, stream)
            self._stream.wait_event(event)

    def connect(self, others: Sequence[CupyDevice]) -> None:
        """See `Device`."""
        group = (self, *others)
        for one in group:
            with one._context:
                for other in group:
                    if other is not one and self._runtime.deviceCanAccessPeer(one.index, other.index):
                        # It may be so already, which the runtime calls an error.
                        with contextlib.suppress(self._runtime.CUDARuntimeError):
                            self._runtime.deviceEnablePeerAccess(other.index)
        self._nccl = Reductions.load(tuple([one.index for one in group]))

    def mark(self) -> Any:
        """See `Device`."""
        with self._context:
            event = self._cuda.Event(disable_timing=True)
            event.record(self._stream)
        return event

    def after(self, point: Any) -> None:
        """See `Device`."""
        with self._context:
            self._stream.wait_event(point)

    def all_reduce(
        self, others: Sequence[CupyDevice], reduction: str, dtype: str, count: int,
        sources: Sequence[int], targets: Sequence[int],
    ) -> None:  # fmt: skip
        """See `Device`."""
        if self._nccl is None:
            raise errors.FailedPreconditionError(
                None, None, "Values of several GPUs are reduced by NCCL: install nvidia-nccl-cu13."
            )
        group = (self, *others)
        for one in group:
            one._count()
        with self._context:
            streams = {one.index: one._stream.ptr for one in group}
            self._nccl.all_reduce(streams, reduction, dtype, count, sources, targets)

    def begin_capture(self, others: Sequence[CupyDevice] = ()) -> None:
        """See `Device`."""
        self._refuse("a graph is captured")
        with self._context:
            self._stream.begin_capture()
        self._captured = 0
        for other in others:  # their streams become branches of this one
            other.after(self.mark())
            other._captured = 0

    @property
    def conditional(self) -> bool:
        """See `Device`."""
        return self._nodes is not None

    def condition(self) -> int:
        """See `Device`."""
        assert self._nodes is not None
        with self._context:
            return self._nodes.condition(self._stream.ptr)

    def branch(self, kind: NodeKind, condition: int, count: int = 1) -> list[Any]:
        """See `Device`."""
        assert self._nodes is not None
        self._count()
        with self._context:
            return self._nodes.branch(self._stream.ptr, kind, condition, count)

    def begin_body(self, body: Any) -> None:
        """See `Device`."""
        assert self._nodes is not None
        depth = len(self._around)
        with self._context:
            if depth == len(self._body_streams):
                self._body_streams.append(self._cuda.Stream(non_blocking=True))
            self._around.append(self._stream)
            self._go_on(self._body_streams[depth])
            self._nodes.begin(self._stream.ptr, body)

    def end_body(self) -> None:
        """See `Device`."""
        assert self._nodes is not None
        body = self._stream
        with self._context:
            self._go_on(self._around.pop())
            self._nodes.end(body.ptr)

    def _go_on(self, stream: Any) -> None:
        """From now on all is put on another stream."""
        self._stream = stream
        if self._dnn is not None:
            self._dnn.go_on(stream.ptr)

    def end_capture(self, others: Sequence[CupyDevice] = ()) -> CudaGraph:
        """See `Device`."""
        for other in others:
            self.after(other.mark())
            other._captured = None
        while self._around:  # something went wrong within a body
            with contextlib.suppress(errors.InternalError):
                self.end_body()
        nodes, self._captured = self._captured, None
        with self._context:
            graph = self._stream.end_capture()
            graph.upload(self._stream)
        return CudaGraph(graph, nodes or 0)

    def replay(self, graph: CudaGraph) -> None:
        """See `Device`."""
        with self._context:
            graph.graph.launch(self._stream)

    def synchronize(self) -> None:
        """See `Device`."""
        self._refuse("the stream is waited for")
        with self._context:
            self._stream.synchronize()

    def array(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """See `Device`."""
        with self._context, self._stream:
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            made = self._cupy.ndarray(shape, dtype, memptr=self._pool.malloc(max(1, size)))
            self._copy(int(made.data.ptr), address, size, _WITHIN)
            self._stream.synchronize()  # whoever takes it has a stream of their own
        return made

    def close(self) -> None:
        """See `Device`."""
        with self._context, self._stream:
            self._stream.synchronize()
            self._blas.close()
            if self._dnn is not None:
                self._dnn.close()
                self._dnn = None
            self._functions.clear()
            self._modules.clear()
            self._pool.free_all_blocks()

    def _count(self) -> None:
        if self._captured is not None:
            self._captured += 1

    def _refuse(self, what: str) -> None:
        if self._captured is not None:
            raise Uncapturable(f"{what} while a graph is captured")


def _bytes(plan: GemmPlan, which: str) -> int:
    """Bytes of an operand, in all its matrices."""
    return reach(plan, which) * element_bytes(plan.dtype if which == "c" else plan.factors)


def _span(plan: GemmPlan) -> int:
    return sum(_bytes(plan, which) for which in "abc")
