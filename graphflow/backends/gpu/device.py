"""What a plan asks of a device.

Addresses are plain numbers in the device's memory. What is put on a stream is done in the order in which it was put
there; nothing is known to be done before an event that was recorded behind it has been waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from graphflow.backends.gpu.attentions import AttentionPlan
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.backends.gpu.products import GemmPlan
from graphflow.errors import ResourceExhaustedError
from graphflow.records import dataclass

__all__ = [
    "ALIGNMENT",
    "Device",
    "Event",
    "Graph",
    "JoinedFunction",
    "Properties",
    "Slab",
    "Table",
    "Uncapturable",
    "aligned",
    "exhausted",
]

Table: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
# A conditional node of a graph does its body while, or if, its condition is not zero; or the body of that number.
NodeKind: TypeAlias = Literal["while", "if", "switch"]

ALIGNMENT = 256  # of every slot, so that the widest loads and the libraries' fastest kernels may be used


def aligned(size: int) -> int:
    """A number of bytes, rounded up to the alignment of slots."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Uncapturable(RuntimeError):
    """Something was asked of a device while a graph is captured that no graph can hold."""


@dataclass(frozen=True, slots=True)
class Properties:
    """What is known of a device.

    Attributes:
      name: as the vendor calls it.
      bytes: of its memory.
      architecture: what kernels are compiled for, such as "sm_90"; "" where none are.
      multiprocessors: how many blocks it runs at least at once.
      libraries: names and versions of what is used with it.
      flops: floating-point operations per second at best, in products of float32.
      bandwidth: bytes per second from and to its memory at best.
    """

    name: str
    bytes: int
    architecture: str = ""
    multiprocessors: int = 1
    libraries: tuple[tuple[str, str], ...] = ()
    flops: float = 1e12
    bandwidth: float = 1e11


@dataclass(eq=False, slots=True)
class Slab:
    """Memory of a device. `owner`: what keeps it."""

    address: int
    nbytes: int
    owner: Any = None


class Graph(Protocol):
    """What was captured."""

    @property
    def nodes(self) -> int:
        """How many things it does."""


class JoinedFunction(Protocol):
    """Several kernels as one, which finds their arguments in a table."""

    @property
    def words(self) -> int:
        """Words of 8 bytes of the table."""

    def table(self, arguments: Sequence[Sequence[int]]) -> Table:
        """The table for the arguments of each kernel."""


class Event(Protocol):
    """A point on a stream."""

    def wait(self) -> None:
        """Returns when all before it is done."""


class Device(Protocol):
    """Memory, one stream, kernels and library calls of one device. Nobody uses one from two threads at once."""

    @property
    def index(self) -> int:
        """Which of the machine's."""

    @property
    def properties(self) -> Properties:
        """What it is; asking makes a context."""

    @property
    def computes(self) -> bool:
        """Whether results are real. A device that only writes down what it is asked for has none to fetch."""

    def alloc(self, nbytes: int) -> Slab:
        """Memory, aligned to `ALIGNMENT`, contents undefined. Raises ResourceExhaustedError."""

    def free(self, slab: Slab) -> None:
        """Gives memory back, when all that was put on the stream is done."""

    def pinned(self, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Memory of the host that the device copies from and to without help."""

    def h2d(self, target: int, source: np.ndarray[Any, Any], nbytes: int) -> None:
        """Copies from the beginning of pinned memory, or of any other that stays as it is until the copy is done."""

    def d2h(self, target: np.ndarray[Any, Any], source: int, nbytes: int) -> None:
        """Copies to the beginning of memory of the host."""

    def d2d(self, target: int, source: int, nbytes: int) -> None:
        """Copies within the device's memory."""

    def memset(self, target: int, value: int, nbytes: int) -> None:
        """Sets every byte."""

    def functions(
        self, kernels: Sequence[Any], wide: Sequence[bool], indirect: Sequence[Collection[str]] = ()
    ) -> list[Any]:
        """Kernels of loops as the device's, not loaded yet. wide: which need indices of 64 bits.

        indirect: for each kernel, the parameters that come as the address of a word on the device that holds the
        address or number.
        """

    def join(self, functions: Sequence[Any]) -> JoinedFunction:
        """Kernels that do not depend on each other as one. Raises ValueError for more than one can be."""

    def load(self, functions: Sequence[Any]) -> None:
        """Compiles kernels and what is joined, and loads them; equal ones once."""

    def steering(self) -> Mapping[str, Any]:
        """The kernels that steer graphs (`backends.cuda.steering`), loaded."""

    def launch(self, function: Any, args: Sequence[int]) -> None:
        """Runs a kernel: addresses and whole numbers in the order of its parameters."""

    def launch_joined(self, function: Any, table: Table, address: int) -> None:
        """Runs what is joined; its table lies at an address of the device."""

    def workspace(self, plan: GemmPlan) -> int:
        """How much scratch a library call is given, in bytes; the choice of its algorithm is made here."""

    def gemm(self, plan: GemmPlan, pointers: Sequence[int], workspace: int) -> None:
        """A matrix product: `a`, `b`, `c`, and the bias where the plan has one."""

    def convolution(self, plan: ConvPlan) -> int | None:
        """How much scratch a convolution is given, in bytes; None: the device has no library that does it."""

    def conv(self, plan: ConvPlan, pointers: Sequence[int], workspace: int) -> None:
        """A convolution: its two operands, its result, and the bias where the plan has one."""

    def attention(self, plan: AttentionPlan) -> int | None:
        """How much scratch an attention is given, in bytes; None: the device has no library that does it."""

    def attend(self, plan: AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        """An attention: `q`, `k`, `v`, its result, and what is added to the scores where the plan has it."""

    def event(self) -> Event:
        """The point on the stream that has been reached."""

    def timer(self) -> Any:
        """The point on the stream that has been reached, with its time."""

    def microseconds(self, first: Any, last: Any) -> float:
        """From one point to a later one, when all is done."""

    def wait_for(self, stream: int | None) -> None:
        """What is put on the stream from now on waits for what is on another one, by its handle; None: for nothing."""

    def connect(self, others: Sequence[Any]) -> None:
        """Gets ready to copy to and from other devices, and to reduce with them."""

    def mark(self) -> Any:
        """The point on the stream that has been reached, for other devices to wait for; a graph can hold it."""

    def after(self, point: Any) -> None:
        """What is put on the stream from now on waits for a point of another device's."""

    def all_reduce(
        self, others: Sequence[Any], reduction: str, dtype: str, count: int,
        sources: Sequence[int], targets: Sequence[int],
    ) -> None:  # fmt: skip
        """Puts on the streams of this and other devices, in order, what leaves on each the sum of their elements (or
        their product, or the least or greatest).
        """

    def begin_capture(self, others: Sequence[Any] = ()) -> None:
        """What is put on the stream, and on those of other devices, from now on is not done but written down."""

    @property
    def conditional(self) -> bool:
        """Whether graphs may hold conditional nodes."""

    def condition(self) -> int:
        """A new condition, for one conditional node of the graph that is captured; kernels set it by this number."""

    def branch(self, kind: NodeKind, condition: int, count: int = 1) -> list[Any]:
        """Puts a conditional node on the stream that is captured; returns its bodies, which are empty."""

    def begin_body(self, body: Any) -> None:
        """What is put on the stream from now on goes into a body, until `end_body`."""

    def end_body(self) -> None:
        """What is put on the stream goes where it went before the body began."""

    def end_capture(self, others: Sequence[Any] = ()) -> Graph:
        """What was written down, ready to be done."""

    def replay(self, graph: Graph) -> None:
        """Puts all that a graph does on the stream."""

    def synchronize(self) -> None:
        """Returns when all is done. Raises what has gone wrong on the device."""

    def array(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """A copy of memory as an array of the device, which is its owner's alone."""

    def close(self) -> None:
        """Gives all memory back."""


def exhausted(what: str) -> ResourceExhaustedError:
    """The error of a device without memory left."""
    return ResourceExhaustedError(None, None, what)
