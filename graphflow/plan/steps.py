"""What a plan is told: slots, launches of native kernels, host steps, checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from graphflow.loops.cost import Cost, kernel_cost
from graphflow.loops.ir import Buffer, IntParam, Kernel
from graphflow.records import dataclass
from graphflow.regions import Mark, Region, Term, Tree
from graphflow.symbolic import Symbolic, is_symbolic, now
from graphflow.variable_store import Storage

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]
Access = Literal["r", "w", "rw"]
SlotKind = Literal["feed", "constant", "variable", "buffer", "dynamic", "status"]

# The kernel `(target, source, bytes)` that every runtime brings along.
COPY = "copy"

# Rough speed of one core, to weigh a launch against the cost of waking threads. Results never depend on them.
BYTES_PER_NS = 10.0
FLOPS_PER_NS = 40.0


@dataclass(frozen=True, eq=False, slots=True)
class Slot:
    """One value of a plan: what it is, its shape and dtype, and whose memory it lies in (`offset` bytes in).

    shape is None for a value whose sizes only a host step will know; such a value never meets native code.
    `terms`: how it moves within the memory that it lies in, from turn to turn of the loops around its use.
    """

    index: int
    kind: SlotKind
    name: str
    shape: Shape | None
    dtype: np.dtype[Any]
    parent: Slot | None = None
    offset: int = 0
    key: Hashable = None
    terms: tuple[Term, ...] = ()

    @property
    def root(self) -> Slot:
        """The slot that owns the memory."""
        return self if self.parent is None else self.parent

    @property
    def nbytes(self) -> int:
        """Bytes of the value; 0 while the shape is unknown."""
        return 0 if self.shape is None else math.prod(self.shape) * self.dtype.itemsize

    def __repr__(self) -> str:
        dims = "?" if self.shape is None else ",".join(map(str, self.shape))
        return f"%{self.index}:{self.dtype.name}[{dims}]{f' {self.name}' if self.name else ''}"


@dataclass(frozen=True, slots=True)
class Ref:
    """A buffer argument of a launch: the slot, how it is used, and bytes to skip.

    `share` is any hashable that names how the launch splits the slot among threads: two launches that touch a
    slot with equal, non-None `share` promise that part p of both touches the same bytes: they need no
    barrier.
    """

    slot: Slot
    access: Access = "r"
    offset: int = 0
    share: Hashable = None


def read(slot: Slot, offset: int = 0, share: Hashable = None) -> Ref:
    """An argument that is read."""
    return Ref(slot, "r", offset, share)


def write(slot: Slot, offset: int = 0, share: Hashable = None) -> Ref:
    """An argument that is written, and not read before."""
    return Ref(slot, "w", offset, share)


def update(slot: Slot, offset: int = 0, share: Hashable = None) -> Ref:
    """An argument that is read and written."""
    return Ref(slot, "rw", offset, share)


@dataclass(frozen=True, slots=True)
class Count:
    """An int argument that is `start` in the first turn of a loop and grows by `step` with each."""

    loop: Region
    start: int = 0
    step: int = 1


# Wherever a plan is told a number, it may be a symbolic one: `PlanTemplate` makes the plan for its values.
Arg: TypeAlias = Ref | Count | int | Symbolic | np.generic


@dataclass(frozen=True, slots=True)
class Collective:
    """The kernel of a launch that takes a value on each of some devices, and leaves on each what comes of all of them.

    Attributes:
      reduction: what becomes of elements at the same place: "sum", "prod", "min" or "max".
      devices: the devices; the launch takes as many values that are read, then as many that are written.
      count: elements of each.
      dtype: of these, as loops call it.
    """

    reduction: str
    devices: tuple[int, ...]
    count: Any
    dtype: str


@dataclass(frozen=True, eq=False, slots=True)
class Launch:
    """One call of a native kernel. `inplace`: pairs (written slot, read slot) that may be the same memory.

    flops and bytes weigh the launch while the plan is made; `cost` is what it will do. `layout`: it makes nothing
    but the value that it reads, as a variable may be stored. `device`: which of a back end's devices it is for.
    """

    kernel: Any
    args: tuple[Arg, ...]
    name: str = ""
    origin: Any = None
    parallel: bool = False
    flops: float = 0.0
    bytes: int = 0
    inplace: tuple[tuple[Slot, Slot], ...] = ()
    layout: Storage | None = None
    device: int = 0

    @property
    def nanoseconds(self) -> float:
        """A rough cost on one thread."""
        return float(max(now(self.bytes) / BYTES_PER_NS, now(self.flops) / FLOPS_PER_NS))

    @property
    def cost(self) -> Cost:
        """Operations and bytes of the launch, counted from its loops where it has some (see `loops.cost`)."""
        refs = [arg for arg in self.args if isinstance(arg, Ref) and arg.slot.kind != "status"]
        if isinstance(self.kernel, Kernel):
            ints: dict[str, int] = {}
            nbytes: dict[str, int] = {}
            for param, arg in zip(self.kernel.params, self.args, strict=True):
                if isinstance(param, Buffer) and isinstance(arg, Ref):
                    nbytes[param.name] = arg.slot.nbytes
                elif isinstance(param, IntParam) and isinstance(arg, int):
                    ints[param.name] = arg
            return kernel_cost(self.kernel, ints, nbytes)
        return Cost(
            self.flops,
            sum(ref.slot.nbytes for ref in refs if ref.access != "w"),
            sum(ref.slot.nbytes for ref in refs if ref.access != "r"),
        )

    @property
    def dtype(self) -> str:
        """What the launch computes with, for the machine's peak: "f64" if any operand is, else "f32"."""
        wide = np.dtype(np.float64)
        return "f64" if any(isinstance(arg, Ref) and arg.slot.dtype == wide for arg in self.args) else "f32"


@dataclass(frozen=True, eq=False, slots=True)
class HostStep:
    """A Python callable on NumPy arrays; returns one array, or a sequence when it has not exactly one output.

    with_store: the callable gets the run's `VariableStore` as first argument. with_sizes: `function` makes the callable
    for a plan's open sizes. why: why something is done here that could be compiled elsewhere.
    """

    function: Callable[..., Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    name: str = ""
    origin: Any = None
    with_store: bool = False
    with_sizes: bool = False
    why: str = ""
    frees: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Refusal:
    """What a run raises if a launch has set the word of `status`: what `blame` raises for the values of `inputs`.

    with_sizes: `blame` makes the callable for a plan's open sizes.
    """

    status: Slot
    inputs: tuple[Slot, ...]
    blame: Callable[..., Any]
    name: str = ""
    origin: Any = None
    with_sizes: bool = False


Step: TypeAlias = Launch | HostStep | Mark


@dataclass(frozen=True, slots=True)
class Segment:
    """Records `first` to `first + count - 1`, launches and marks of regions, as one native call.

    team: worth waking threads for; release: worth releasing the interpreter lock; park: a host step follows,
    so threads should go to sleep at once and leave the cores to it; loops: some of it is repeated.
    """

    first: int
    count: int
    team: bool
    release: bool
    park: bool
    loops: bool = False


class TraceEvent(NamedTuple):
    """One launch on one thread, or one host step, in microseconds since the run began.

    launch: which of the plan's launches, -1 for a host step. cost: of the whole launch, all threads together; a host
    step's operations are unknown (0), its bytes written those it returned. turns: how often a launch ran, as one in a
    loop does; its duration is that of all turns together, and what happens in between has gone on meanwhile. device:
    which did it, "" for the processor, and "compiler" where it was compiled first.
    """

    name: str
    start_us: float
    duration_us: float
    thread: int
    bytes: int
    origin: Any
    launch: int = -1
    cost: Cost = Cost()
    turns: int = 1
    device: str = ""


def is_native(slot: Slot) -> bool:
    """Whether kernels can read the slot."""
    return slot.shape is not None and not slot.dtype.hasobject


def is_open(step: Launch) -> bool:
    """Whether a launch depends on symbolic numbers."""
    for arg in step.args:
        if isinstance(arg, Ref):
            slot = arg.slot
            if is_symbolic(arg.offset) or is_symbolic(slot.nbytes) or is_symbolic(slot.offset):
                return True
        elif type(arg) is Symbolic:
            return True
    return False


def refs_of(step: Step) -> list[Ref]:
    """The buffers that a launch takes; none of other steps."""
    return [arg for arg in step.args if isinstance(arg, Ref)] if isinstance(step, Launch) else []


def loops_around(tree: Tree) -> list[Region]:
    """The loops around a place, the outermost first."""
    found = [t.region for t in tree.upwards() if t.region is not None and t.region.kind == "loop"]
    return found[::-1]
