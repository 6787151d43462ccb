"""A device that computes nothing: it hands out addresses and writes down what it is asked for.

Plans can be looked at with it: what is launched in which order, on what memory, and that a graph that is captured holds
nothing that cannot be in one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow.backends.cuda.joined import JoinedKernel, join
from graphflow.backends.cuda.kernel import CudaKernel, dump
from graphflow.backends.cuda.printer import print_all
from graphflow.backends.cuda.steering import STEERING
from graphflow.backends.gpu.attentions import AttentionPlan, usual
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.backends.gpu.device import NodeKind, Properties, Slab, Table, Uncapturable, aligned
from graphflow.backends.gpu.products import GemmPlan
from graphflow.loops.ir import Kernel
from graphflow.memory import aligned_empty
from graphflow.records import dataclass

__all__ = ["Record", "RecordingDevice"]

Array = np.ndarray[Any, Any]

_FIRST = 0x7F00_0000_0000  # where fake addresses begin
_BYTES = 141 << 30


class Record(NamedTuple):
    """One call: what was asked for, on what."""

    call: str
    args: tuple[Any, ...]
    device: int = 0


@dataclass(eq=False, slots=True)
class RecordedGraph:
    """What was captured."""

    records: list[Record]

    @property
    def nodes(self) -> int:
        """How many things it does."""
        return len(self.records)


class _Passed:
    """A point that has been passed."""

    def wait(self) -> None:
        """Returns."""


class RecordingDevice:
    """Writes down every call in `records`; see `device.Device`.

    Attributes:
      records: the calls so far.
      taken: bytes of the slabs that are not given back.
    """

    computes = False

    def __init__(self, index: int = 0, nbytes: int = _BYTES) -> None:
        self.index = index
        self.properties = Properties(f"recording GPU {index}, which computes nothing", nbytes, "sm_90", 132)
        self.records: list[Record] = []
        self.taken = 0
        self._next = _FIRST + (index << 40)  # no two devices have an address in common
        self._capture: list[Record] | None = None
        self._around: list[list[Record] | None] = []
        self._handles = self._marks = 0

    def _write(self, call: str, *args: Any) -> None:
        record = Record(call, args, self.index)
        self.records.append(record)
        if self._capture is not None:
            if call in ("alloc", "free", "h2d", "d2h", "functions", "load", "event", "timer", "synchronize"):
                raise Uncapturable(f"{call} while a graph is captured")
            if call not in ("condition", "begin_body", "end_body"):  # these are no nodes
                self._capture.append(record)

    def alloc(self, nbytes: int) -> Slab:
        """See `Device`."""
        self._write("alloc", nbytes)
        slab = Slab(self._next, nbytes)
        self._next += aligned(nbytes) + (1 << 20)  # nothing lies behind a slab
        self.taken += nbytes
        return slab

    def free(self, slab: Slab) -> None:
        """See `Device`."""
        self._write("free", slab.address)
        self.taken -= slab.nbytes

    def pinned(self, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """See `Device`."""
        return aligned_empty(nbytes)

    def h2d(self, target: int, source: Array, nbytes: int) -> None:
        """See `Device`."""
        self._write("h2d", target, nbytes)

    def d2h(self, target: Array, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._write("d2h", source, nbytes)

    def d2d(self, target: int, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._write("d2d", target, source, nbytes)

    def memset(self, target: int, value: int, nbytes: int) -> None:
        """See `Device`."""
        self._write("memset", target, value, nbytes)

    def functions(
        self, kernels: Sequence[Kernel], wide: Sequence[bool], indirect: Sequence[Collection[str]] = ()
    ) -> list[Any]:
        """See `Device`: the kernels are printed, and no more."""
        self._write("functions", len(kernels))
        return print_all(kernels, wide, indirect)

    def steering(self) -> Mapping[str, Any]:
        """See `Device`."""
        return STEERING

    def join(self, functions: Sequence[CudaKernel]) -> JoinedKernel:
        """See `Device`."""
        return join(functions)

    def load(self, functions: Sequence[Any]) -> None:
        """See `Device`."""
        self._write("load", len(functions))
        dump([one.kernel if isinstance(one, JoinedKernel) else one for one in functions])

    def launch_joined(self, function: JoinedKernel, table: Table, address: int) -> None:
        """See `Device`."""
        geometry = function.blocks(table), function.kernel.block
        self._write("joined", function.kernel.symbol, geometry, tuple(table.tolist()), address)

    def launch(self, function: CudaKernel, args: Sequence[int]) -> None:
        """See `Device`."""
        self._write("launch", function.symbol, function.geometry(args), tuple(args))

    def workspace(self, plan: GemmPlan) -> int:
        """See `Device`."""
        return 32 << 20

    def gemm(self, plan: GemmPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._write("gemm", plan, tuple(pointers), workspace)

    def convolution(self, plan: ConvPlan) -> int | None:
        """See `Device`."""
        return 64 << 20

    def conv(self, plan: ConvPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._write("conv", plan, tuple(pointers), workspace)

    def attention(self, plan: AttentionPlan) -> int | None:
        """See `Device`."""
        return 16 << 20 if usual(plan) else None

    def attend(self, plan: AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        self._write("attend", plan, tuple(pointers), workspace)

    def event(self) -> _Passed:
        """See `Device`."""
        self._write("event")
        return _Passed()

    def timer(self) -> int:
        """See `Device`: each is a microsecond after the one before."""
        self._write("timer")
        return sum(record.call == "timer" for record in self.records)

    def microseconds(self, first: int, last: int) -> float:
        """See `Device`."""
        return float(last - first)

    def wait_for(self, stream: int | None) -> None:
        """See `Device`."""
        self._write("wait_for", stream)

    def connect(self, others: Sequence[RecordingDevice]) -> None:
        """See `Device`."""
        self._write("connect", tuple(other.index for other in others))

    def mark(self) -> tuple[int, int]:
        """See `Device`: which device, and how many marks it has made."""
        self._marks += 1
        self._write("mark", self._marks)
        return self.index, self._marks

    def after(self, point: tuple[int, int]) -> None:
        """See `Device`."""
        self._write("after", *point)

    def all_reduce(
        self, others: Sequence[RecordingDevice], reduction: str, dtype: str, count: int,
        sources: Sequence[int], targets: Sequence[int],
    ) -> None:  # fmt: skip
        """See `Device`: each of them writes its part down."""
        for device, source, target in zip((self, *others), sources, targets, strict=True):
            device._write("all_reduce", reduction, dtype, count, source, target)

    def begin_capture(self, others: Sequence[RecordingDevice] = ()) -> None:
        """See `Device`."""
        if self._capture is not None:
            raise Uncapturable("a capture inside another")
        self._write("begin_capture")
        self._capture = []
        for other in others:
            other._capture = self._capture

    conditional = True

    def condition(self) -> int:
        """See `Device`."""
        self._handles += 1
        self._write("condition", self._handles)
        return self._handles

    def branch(self, kind: NodeKind, condition: int, count: int = 1) -> list[list[Record]]:
        """See `Device`. The record holds the bodies, which are lists of records."""
        if self._capture is None:
            raise Uncapturable("a conditional node outside of a graph")
        bodies: list[list[Record]] = [[] for _ in range(count)]
        self._write("branch", kind, condition, tuple(bodies))
        return bodies

    def begin_body(self, body: list[Record]) -> None:
        """See `Device`."""
        assert self._capture is not None
        self._write("begin_body")
        self._around.append(self._capture)
        self._capture = body

    def end_body(self) -> None:
        """See `Device`."""
        self._capture = self._around.pop()
        self._write("end_body")

    def end_capture(self, others: Sequence[RecordingDevice] = ()) -> RecordedGraph:
        """See `Device`."""
        for other in others:
            other._capture = None
        captured, self._capture = (self._around or [self._capture])[0], None
        self._around.clear()
        assert captured is not None
        graph = RecordedGraph(captured)
        self._write("end_capture")
        return graph

    def replay(self, graph: Any) -> None:
        """See `Device`."""
        self._write("replay", graph.nodes)

    def synchronize(self) -> None:
        """See `Device`."""
        self._write("synchronize")

    def array(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Raises: there is nothing to hand out."""
        raise TypeError(f"{self.properties.name}: there is nothing to fetch")

    def close(self) -> None:
        """See `Device`."""
        self._write("close")
        self.taken = 0
