"""The plan: steps over numbered slots, bound once, run many times.

A `PlanBuilder` is told the slots (feeds, constants, variables, temporaries) and the steps in order:
*launches* of native kernels and *host steps* that run a Python callable on NumPy arrays. `build` decides what
lives where:

- a new value of a variable is written straight into the variable's memory when the last reader is done by
  then, and is copied there at the end of the run otherwise; a fetched value is written straight into the
  array that is handed out;
- what is left lives in one arena by lifetime (`memory`), in place where a launch allows it;
- launches that depend on constants alone run at once and leave constants behind; those that depend on variables
  which the plan does not write form plans of their own, and what they make is kept with the session's variables
  until one of these is written (`hoist`);
- consecutive launches form one *segment*, a single native call, with a barrier between two launches only
  where data crosses threads; loops and choices (`regions`) lie within one, and run without a return to Python;
- a segment leaves off before it writes a variable if a *check* has found a value that must not be; the run then
  raises.

The `Plan` is immutable and shared by threads; what a run writes to (arena, bound addresses) is a `Workspace`
from a pool. This module knows nothing of processors: a `Runtime` compiles kernels and makes the native calls.

Fetched arrays are the caller's own: they share memory with no variable, feed, constant or arena.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from graphflow.hoist import Group, Use, lasting_groups
from graphflow.loops.cost import Cost, Peak, kernel_cost
from graphflow.loops.ir import Buffer, IntParam, Kernel
from graphflow.memory import ALIGNMENT, Layout, Request, align, aligned_empty, plan_arena
from graphflow.records import dataclass, field
from graphflow.regions import Mark, MarkKind, Region, Term, Tree, region_tree
from graphflow.symbolic import Derived, Evaluation, Sizes, Symbolic, is_symbolic
from graphflow.variable_store import Storage, VariableSpec, VariableStore

__all__ = [
    "COPY",
    "STEERING",
    "Check",
    "Choice",
    "Count",
    "HostStep",
    "Launch",
    "Loop",
    "Plan",
    "PlanBuilder",
    "PlanTemplate",
    "Ref",
    "Refusal",
    "Runtime",
    "Segment",
    "SegmentCall",
    "Slot",
    "TraceEvent",
    "read",
    "update",
    "write",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]
Access = Literal["r", "w", "rw"]
SlotKind = Literal["feed", "constant", "variable", "buffer", "dynamic", "status"]

# The kernel `(target, source, bytes)` that every runtime brings along.
COPY = "copy"

# Words of a record: function, address of its arguments, parallel?, and what comes after: 0, 1 for a barrier, or the
# address of a word: a barrier, then an end if the word is not zero.
RECORD_WORDS = 4

# What stands in place of a kernel where a record steers, see `backends.cpu.driver`.
STEERING = {"enter": 1, "turn": 2, "again": 3, "unless": 4, "case": 5, "go": 6, "left": 7}
_NO_LIMIT = (1 << 63) - 1

# Rough speed of one core, to weigh a launch against the cost of waking threads. Results never depend on them.
_BYTES_PER_NS = 10.0
_FLOPS_PER_NS = 40.0
_PARALLEL_LAUNCH_NS = 2_000.0  # a shorter launch stays with the first thread
_TEAM_NS = 12_000.0  # a segment with less parallel work than this wakes nobody
_RELEASE_NS = 20_000.0  # a shorter segment keeps the interpreter lock
_ALIGNED_OUTPUT = 1 << 18  # bytes from which a fetched array starts on a cache line
_IDLE_WORKSPACES = 8
_KEPT_NS = 1_000.0  # what takes less is computed anew in every run
# What grows by more than that on its way is not kept.
_KEPT_GROWTH = 8
_KEPT_BYTES = 65_536
_OPEN_ACCESSES = 64


# ------------------------------------------------------------------------------------------------------ slots


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


# ------------------------------------------------------------------------------------------------------ steps


@dataclass(frozen=True, eq=False, slots=True)
class Launch:
    """One call of a native kernel. `inplace`: pairs (written slot, read slot) that may be the same memory.

    flops and bytes weigh the launch while the plan is made; `cost` is what it will do. `layout`: it makes nothing
    but the value that it reads, as a variable may be stored.
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

    @property
    def nanoseconds(self) -> float:
        """A rough cost on one thread."""
        return max(self.bytes / _BYTES_PER_NS, self.flops / _FLOPS_PER_NS)

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
    for a plan's open sizes.
    """

    function: Callable[..., Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    name: str = ""
    origin: Any = None
    with_store: bool = False
    with_sizes: bool = False
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
    so threads should go to sleep at once and leave the cores to it.
    """

    first: int
    count: int
    team: bool
    release: bool
    park: bool


class TraceEvent(NamedTuple):
    """One launch on one thread, or one host step, in microseconds since the run began.

    launch: which of the plan's launches, -1 for a host step. cost: of the whole launch, all threads together; a host
    step's operations are unknown (0), its bytes written those it returned. turns: how often a launch ran, as one in a
    loop does; its duration is that of all turns together, and what happens in between has gone on meanwhile.
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


# ---------------------------------------------------------------------------------------------------- runtime


@dataclass(frozen=True, eq=False, slots=True)
class Check:
    """What an array must be before its address goes into the table, and where it goes.

    patches: int64 [k, 2], rows of (word of the table, bytes to add).
    """

    shape: Shape
    dtype: np.dtype[Any]
    writable: bool
    patches: np.ndarray[Any, np.dtype[np.int64]]


class SegmentCall(Protocol):
    """A bound native call."""

    @property
    def call(self) -> Callable[[], None]:
        """Runs the segment."""

    def trace(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Runs it with clocks: int64 [threads, records, 4], nanoseconds of `time.perf_counter_ns` at the first start
        and the last stop, nanoseconds in all turns together, and their number; 0 where a thread took no part."""


Entry: TypeAlias = Callable[[tuple[Any, ...], list[Array]], int | None]


class Runtime(Protocol):
    """What a plan asks of a back end whose kernels read and write host memory."""

    @property
    def threads(self) -> int:
        """The most threads a segment is shared among."""

    def peak(self) -> Peak:
        """The best this machine does with these threads; measured at the first call."""

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        """Compiles kernels (`COPY` among them) and returns the address of each."""

    def segment(self, table: Array, record: int, count: int, segment: Segment) -> SegmentCall:
        """Binds the `count` records of the table that begin at word `record`."""

    def entry(
        self, table: Array, feeds: Sequence[Check], outputs: Sequence[Check], call: SegmentCall | None
    ) -> Entry:
        """A function (feeds, outputs) that checks the arrays, patches the table and makes the call.

        It returns None, or the position of the first array that is not as it should be (feeds, then outputs),
        and then has made no call. It takes a tuple and a list and trusts neither."""

    def direct(
        self,
        table: Array,
        feeds: Sequence[Check],
        output: Check,
        call: SegmentCall | None,
        keys: Sequence[object] | None = None,
    ) -> Callable[..., Any] | None:
        """A function of the feeds that makes the output, binds, calls and returns it: a scalar where it has rank 0.

        With `keys` it takes a dict instead, with the very objects as keys in this order. It returns NotImplemented,
        and has made no call, if the feeds are not as they should be. No other Python thread runs
        meanwhile. None where there is no such way."""

    def watch(self, plan: Plan) -> None:
        """Sees to it that `plan.drop_workspaces()` is called when threads are gone (after a fork)."""


# ---------------------------------------------------------------------------------------------------- builder


@dataclass(slots=True)
class _Home:
    """Where a root slot's memory is. `number`: of the output, the variable, constant or feed slot, the request for a
    part of the arena, the status word."""

    place: Literal["arena", "output", "slot", "constant", "status"]
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Output:
    """How a fetched value leaves: in an array made before the run, as a host step's value, or as a copy."""

    kind: Literal["array", "value", "again"]
    number: int


@dataclass(slots=True)
class _Life:
    """First write, last use, and how often each step of a root slot was used."""

    first: int = -1
    last: int = -1
    writes: int = 0


class PlanBuilder:
    """Collects slots and steps in the order in which they run, then builds the plan."""

    def __init__(self, runtime: Runtime, name: str = "") -> None:
        self.runtime = runtime
        self.name = name
        self._slots: list[Slot] = []
        self._feeds: list[Slot] = []
        self._constants: dict[int, Array] = {}
        self._derived: dict[int, Derived] = {}  # constants that open sizes decide
        self._variables: dict[Hashable, Slot] = {}
        self._variable_reads: dict[Hashable, bool] = {}
        self._logical: dict[Hashable, tuple[Shape | None, Storage | None]] = {}
        self._steps: list[Step] = []
        self._fetches: list[Slot] = []
        self._assigns: dict[int, Slot] = {}
        self._refusals: list[Refusal] = []
        self._open: list[Region] = []
        self._aligned = False

    @property
    def threads(self) -> int:
        """The most parts a parallel launch is split into: size per-thread scratch by it."""
        return self.runtime.threads

    # slots

    def _slot(self, kind: SlotKind, name: str, shape: Shape | None, dtype: Any, **more: Any) -> Slot:
        dims = None if shape is None else tuple([n if is_symbolic(n) else int(n) for n in shape])
        slot = Slot(len(self._slots), kind, name, dims, np.dtype(dtype), **more)
        self._slots.append(slot)
        return slot

    def feed(self, shape: Shape, dtype: Any, name: str = "") -> Slot:
        """The next feed of `Plan.run`: a row-major array of this shape and dtype."""
        slot = self._slot("feed", name, shape, dtype)
        self._feeds.append(slot)
        return slot

    def constant(self, value: Any, name: str = "") -> Slot:
        """A value that never changes; copied to memory of its own unless it is read-only and aligned.

        `value`: an array, or a `Derived`, which is there in each plan as its sizes decide.
        """
        if type(value) is Derived:
            slot = self._slot("constant", name, value.shape, value.hint.dtype)
            self._derived[slot.index] = value
            return slot
        array = source = np.asarray(value)
        frozen = source.flags.c_contiguous and not source.flags.writeable and type(source) is np.ndarray
        if not frozen or source.__array_interface__["data"][0] % ALIGNMENT:
            array = aligned_empty(source.shape, source.dtype)
            array[...] = source
            array.flags.writeable = False
        slot = self._slot("constant", name, source.shape, source.dtype)
        self._constants[slot.index] = array
        return slot

    def variable(
        self,
        key: Hashable,
        shape: Shape | None,
        dtype: Any,
        name: str = "",
        reads: bool = True,
        storage: Storage | None = None,
        stored_shape: Shape | None = None,
    ) -> Slot:
        """The variable's value at the start of the run; one slot per key.

        reads=False: only written, may have no value yet. storage: the layout the plan wants it in; then
        `stored_shape` is the shape of the buffer and `shape` the logical one.
        """
        slot = self._variables.get(key)
        if slot is None:
            slot = self._slot("variable", name or str(key), shape, dtype, key=key)
            if storage is not None:
                slot = replace(slot, shape=stored_shape)
                self._slots[slot.index] = slot
            self._variables[key] = slot
            self._variable_reads[key] = False
            self._logical[key] = (shape, storage)
        self._variable_reads[key] |= reads
        return slot

    def buffer(self, shape: Shape, dtype: Any, name: str = "") -> Slot:
        """A value that launches write: lives in the arena, or where it is needed at the end."""
        return self._slot("buffer", name, shape, dtype)

    def scratch(self, nbytes: int, name: str = "scratch") -> Slot:
        """Bytes for one launch to work in."""
        return self._slot("buffer", name, (nbytes,), np.uint8)

    def view(self, slot: Slot, shape: Shape, dtype: Any = None, offset: int = 0, name: str = "") -> Slot:
        """The same memory under another shape (or dtype), `offset` bytes further in; row-major."""
        if slot.shape is None:
            raise ValueError(f"{slot} has no shape to view")
        made = self._slot(
            slot.kind, name or slot.name, shape, slot.dtype if dtype is None else dtype,
            parent=slot.root, offset=slot.offset + offset, key=slot.key, terms=slot.terms,
        )  # fmt: skip
        if offset < 0 or offset + made.nbytes > slot.nbytes:
            raise ValueError(f"{made} does not lie inside {slot}")
        return made

    def moving(
        self,
        slot: Slot,
        loop: Region,
        shape: Shape,
        dtype: Any = None,
        *,
        offset: int = 0,
        step: int = 0,
        swing: int = 0,
        name: str = "",
    ) -> Slot:
        """A part of a slot that lies elsewhere in each turn of a loop around its use.

        In turn t of the loop, counted from 0, it lies `offset + t * step` bytes in, and `swing` more if t is odd. In
        what runs once after the loop, t is the number of turns there were.
        """
        if slot.shape is None or slot.kind == "status":
            raise ValueError(f"{slot} cannot move")
        made = self._slot(
            slot.kind, name or slot.name, shape, slot.dtype if dtype is None else dtype, parent=slot.root,
            offset=slot.offset + offset, key=slot.key, terms=(*slot.terms, Term(loop, step, swing)),
        )  # fmt: skip
        for turn in () if loop.most is None else {0, 1, loop.most - 1, loop.most - 2} & {*range(loop.most)}:
            at = offset + turn * step + (turn & 1) * swing
            if at < 0 or at + made.nbytes > slot.nbytes:
                raise ValueError(f"{made} does not lie inside {slot} in turn {turn} of {loop.name!r}")
        return made

    # regions

    def loop(
        self, limit: int | Slot | None = None, *, most: int | None = None, name: str = "", origin: Any = None
    ) -> Loop:
        """Launches that are repeated: a context manager, see `Loop`.

        limit: the most turns; a slot (int64, of one element) where only the run knows. most: what is known of that.
        """
        if isinstance(limit, Slot):
            region = Region("loop", name, origin, most)
            return Loop(self, region, self._word(limit, np.int64))
        return Loop(self, Region("loop", name, origin, limit), None)

    def choice(self, name: str = "", origin: Any = None) -> Choice:
        """Launches of which one run does some: a context manager, see `Choice`."""
        return Choice(self, Region("choice", name, origin))

    def _word(self, slot: Slot, *dtypes: Any) -> Slot:
        if slot.shape is None or slot.terms or slot.nbytes < 1 or slot.dtype not in map(np.dtype, dtypes):
            raise ValueError(f"{slot} is no word that a region can look at")
        return slot

    def _mark(
        self, kind: MarkKind, region: Region, slot: Slot | None = None, number: int | None = None
    ) -> None:
        self._steps.append(Mark(kind, region, slot, number))

    @contextlib.contextmanager
    def before(self, loop: Region) -> Iterator[None]:
        """What is added meanwhile comes just before a loop that has begun, and runs once."""
        at = next(
            number
            for number in reversed(range(len(self._steps)))
            if isinstance(mark := self._steps[number], Mark) and mark.region is loop and mark.kind == "enter"
        )
        inside, self._steps = self._steps[at:], self._steps[:at]
        was_open, self._open = self._open, self._open[: self._open.index(loop)]
        try:
            yield
        finally:
            self._steps += inside
            self._open = was_open

    # steps

    def launch(
        self,
        kernel: Any,
        args: Sequence[Arg],
        *,
        parallel: bool = False,
        name: str = "",
        origin: Any = None,
        flops: float = 0.0,
        bytes: int | None = None,
        inplace: Sequence[tuple[Slot, Slot]] = (),
        layout: Storage | None = None,
    ) -> None:
        """Adds a kernel call: `args` are Refs, ints (i64) and NumPy scalars (handed over by address)."""
        size = sum(arg.slot.nbytes for arg in args if isinstance(arg, Ref)) if bytes is None else bytes
        step = Launch(kernel, tuple(args), name, origin, parallel, flops, size, tuple(inplace), layout)
        for arg in args:
            if not isinstance(arg, Ref):
                if isinstance(arg, bool) or not isinstance(arg, (int, Symbolic, np.generic, Count)):
                    raise TypeError(f'launch "{name}": {arg!r} is no Ref, int or NumPy scalar')
                if isinstance(arg, Count) and arg.loop not in self._open:
                    raise ValueError(f'launch "{name}": not in the loop "{arg.loop.name}"')
                continue
            slot = arg.slot
            if any(term.loop not in self._open for term in slot.terms):
                raise ValueError(f'launch "{name}": {slot} moves with a loop around something else')
            if slot.shape is None or slot.dtype.hasobject:
                raise ValueError(f'launch "{name}": {slot} has no native form')
            if arg.access != "r" and slot.kind in ("feed", "constant", "dynamic"):
                raise ValueError(f'launch "{name}": {slot} is a {slot.kind} and cannot be written')
            if arg.access != "r" and slot.kind == "variable":
                raise ValueError(f'launch "{name}": write {slot} to a buffer and `assign` it')
        self._steps.append(step)

    def host(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Slot],
        outputs: Sequence[tuple[Shape | None, Any]],
        *,
        name: str = "",
        origin: Any = None,
        with_store: bool = False,
        with_sizes: bool = False,
    ) -> list[Slot]:
        """Adds a Python call; `outputs`: (shape or None, dtype) of what it returns. Returns their slots."""
        if self._open:
            raise ValueError(f'host step "{name}": in the region "{self._open[-1].name}"')
        made = [self._slot("dynamic", name, shape, dtype) for shape, dtype in outputs]
        self._steps.append(
            HostStep(function, tuple(inputs), tuple(made), name, origin, with_store, with_sizes)
        )
        return made

    def check(
        self,
        inputs: Sequence[Slot],
        blame: Callable[..., Any],
        *,
        name: str = "",
        origin: Any = None,
        with_sizes: bool = False,
    ) -> Slot:
        """A word (i64) for one launch to set where one of `inputs` is not as it must be.

        The run then ends before the next launch that writes a variable, and raises what `blame(*inputs)` raises.
        """
        if any(slot.terms for slot in inputs):
            raise ValueError(f'check "{name}": an operand moves')
        status = self._slot("status", name, (1,), np.int64)
        self._refusals.append(Refusal(status, tuple(inputs), blame, name, origin, with_sizes))
        return status

    def assign(self, variable: Slot, value: Slot) -> None:
        """Makes `value` the variable's value after the run (once per variable)."""
        if variable.kind != "variable" or variable.parent is not None:
            raise ValueError(f"{variable} is no variable")
        if variable.index in self._assigns:
            raise ValueError(f"{variable} is assigned twice")
        if value.dtype != variable.dtype or value.terms:
            raise TypeError(f"{variable} cannot take {value}")
        if None not in (value.shape, variable.shape) and value.nbytes != variable.nbytes:
            raise ValueError(f"{variable} cannot take {value}")
        self._assigns[variable.index] = value

    def fetch(self, slot: Slot) -> int:
        """Hands the value out; returns its position in the list that `Plan.run` returns."""
        if slot.terms:
            raise ValueError(f"{slot} moves")
        self._fetches.append(slot)
        return len(self._fetches) - 1

    # building

    def build(self) -> Plan:
        """Decides what runs when and where everything lives, and compiles the kernels; all sizes are plain numbers."""
        return self.template().plan()

    def template(self) -> PlanTemplate:
        """Decides and compiles as `build` does, all but what depends on the values of symbolic numbers."""
        return _Build(self).template()

    def _part(self, steps: Sequence[int], made: Sequence[Slot]) -> Plan:
        """A plan of some of the steps that hands out what they make."""
        part = PlanBuilder(self.runtime, self.name)
        part._slots = self._slots
        part._steps = [self._steps[step] for step in steps]
        part._fetches = list(made)
        part._aligned = True
        touched = {ref.slot.root for step in part._steps for ref in _refs(step)}
        part._constants = {s.index: self._constants[s.index] for s in touched if s.index in self._constants}
        part._variables = {s.key: self._variables[s.key] for s in touched if s.kind == "variable"}
        part._variable_reads = dict.fromkeys(part._variables, True)
        part._logical = self._logical
        return _Build(part, whole=False).template().plan()

    def _signature(
        self, steps: Sequence[int], made: Sequence[Slot], addresses: Mapping[int, int]
    ) -> Hashable | None:
        """What `_part` depends on, so that plans for other sizes of the feeds share it; None if it is not shared.

        Memory goes by the order in which it is first used, kernels by their addresses.
        """
        known: dict[Slot, int] = {}
        memory: list[Hashable] = []

        def number(slot: Slot) -> int:
            found = known.get(slot)
            if found is None:
                parent = None if slot.parent is None else number(slot.parent)
                found = known[slot] = len(known)
                logical = self._logical.get(slot.key) if slot.kind == "variable" else None
                memory.append((slot.kind, slot.shape, slot.dtype, parent, slot.offset, slot.key, logical))
            return found

        calls: list[Hashable] = []
        for at in steps:
            step = self._steps[at]
            if not isinstance(step, Launch) or any(ref.slot.root.kind == "constant" for ref in _refs(step)):
                return None
            args = tuple(
                (number(arg.slot), arg.access, arg.offset, arg.share)
                if isinstance(arg, Ref)
                else arg
                if isinstance(arg, int | Count | Symbolic)
                else (arg.dtype, arg.tobytes())
                for arg in step.args
            )
            inplace = tuple((number(new), number(old)) for new, old in step.inplace)
            calls.append((addresses[at], args, step.parallel, inplace))
        return id(self.runtime), tuple(calls), tuple(map(number, made)), tuple(memory)


class Loop:
    """The launches added inside the `with` block are repeated.

    `region` stands for the loop in slots and arguments that move with its turns.
    """

    def __init__(self, builder: PlanBuilder, region: Region, limit: Slot | None) -> None:
        self.region = region
        self._builder = builder
        self._limit = limit
        self._finished = False

    def __enter__(self) -> Loop:
        self._builder._mark("enter", self.region, self._limit)
        self._builder._mark("turn", self.region)
        self._builder._open.append(self.region)
        return self

    def leave_unless(self, condition: Slot) -> None:
        """Ends the loop at this point of a turn if the bool of a slot does not hold."""
        self._builder._mark("leave", self.region, self._builder._word(condition, np.bool_))

    def finish(self) -> None:
        """What is added from here on runs once, after the last turn, with the slots that move where it ended."""
        if not self._finished:
            self._builder._mark("again", self.region, self._limit)
            self._builder._mark("last", self.region)
            self._finished = True

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.finish()
            self._builder._mark("left", self.region)
            self._builder._open.remove(self.region)


class Choice:
    """Of the launches added inside the `with` block one branch is done: that of the first case that holds, or what
    follows `otherwise`."""

    def __init__(self, builder: PlanBuilder, region: Region) -> None:
        self.region = region
        self._builder = builder
        self._branches = 0

    def __enter__(self) -> Choice:
        self._builder._open.append(self.region)
        return self

    def _branch(self) -> None:
        if self._branches:
            self._builder._mark("go", self.region)
        self._branches += 1

    def case(self, slot: Slot, number: int | None = None) -> None:
        """Begins a branch that is done if the bool of a slot holds, or if its int32 is `number`."""
        self._branch()
        kind = np.bool_ if number is None else np.int32
        self._builder._mark("case", self.region, self._builder._word(slot, kind), number)

    def otherwise(self) -> None:
        """Begins the branch that is done if no case holds."""
        self._branch()
        self._builder._mark("otherwise", self.region)

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._builder._mark("join", self.region)
            self._builder._open.remove(self.region)


# The plans of parts that are in use. Each keeps its runtime alive, so that the runtime's id is nobody else's.
_parts: weakref.WeakValueDictionary[Hashable, Plan] = weakref.WeakValueDictionary()


def _native(slot: Slot) -> bool:
    return slot.shape is not None and not slot.dtype.hasobject


def _is_open(step: Launch) -> bool:
    """Whether a launch depends on symbolic numbers."""
    for arg in step.args:
        if isinstance(arg, Ref):
            slot = arg.slot
            if is_symbolic(arg.offset) or is_symbolic(slot.nbytes) or is_symbolic(slot.offset):
                return True
        elif type(arg) is Symbolic:
            return True
    return False


def _refs(step: Step) -> list[Ref]:
    return [arg for arg in step.args if isinstance(arg, Ref)] if isinstance(step, Launch) else []


class _Build:
    """One run of `PlanBuilder.build`: complete the steps, place the slots, lay out the table."""

    def __init__(self, builder: PlanBuilder, whole: bool = True) -> None:
        self.builder = builder
        self.whole = whole
        self.constants = dict(builder._constants)
        self.done: list[tuple[Plan, tuple[Slot, ...]]] = []
        self.kept: list[Kept] = []
        self.lasting: set[int] = set()  # buffers that are there before the run begins
        self.unused: set[Hashable] = set()  # variables that only parts read
        self.slots = list(builder._slots)
        self.homes: dict[int, _Home] = {}
        self.outputs: list[_Output] = []
        self.output_slots: list[Slot] = []  # one per array made before the run
        self.commits: list[tuple[Hashable, Slot]] = []
        self.head: list[Step] = []
        self.tail: list[Step] = []

    def buffer(self, like: Slot) -> Slot:
        slot = Slot(len(self.slots), "buffer", like.name, like.shape, like.dtype)
        self.slots.append(slot)
        return slot

    @staticmethod
    def copy(target: Slot, source: Slot, origin: Any = None) -> Launch:
        args = (Ref(target, "w"), Ref(source, "r"), source.nbytes)
        return Launch(COPY, args, f"copy {source.name}", origin, True, 0.0, 2 * source.nbytes)

    def template(self) -> PlanTemplate:
        self.own = self.builder._steps
        if self.whole:
            self.hoist()
        pinned = self.place_fetches()
        self.lives()
        self.place_assigns(pinned)
        steps = self.steps = [*self.head, *self.own, *self.tail]
        self.lives()
        self.place_arena(self.merge_in_place())
        return PlanTemplate(self, steps)

    # What need not run every time.

    def hoist(self) -> None:
        """Takes away the steps that depend on nothing that changes from run to run; what they make is there."""
        builder = self.builder
        looked_at = {slot.root.index for refusal in builder._refusals for slot in refusal.inputs}
        inner, _ = region_tree(builder._steps)
        uses = [
            self.use(step, looked_at, tree.region is None)
            for step, tree in zip(builder._steps, inner, strict=True)
        ]
        assigned = {slot.index for slot in builder._variables.values() if slot.index in builder._assigns}
        variables = {slot.index for slot in builder._variables.values()} - assigned
        handed_out = {slot.root.index for slot in (*builder._fetches, *builder._assigns.values())}
        groups = lasting_groups(uses, self.constants.keys(), variables, handed_out | looked_at, _KEPT_NS)
        if not groups:
            return
        # All at once: compiling part by part would cost more.
        kernels = {
            number: step.kernel for number, step in enumerate(builder._steps) if isinstance(step, Launch)
        }
        found = builder.runtime.addresses(list(kernels.values()))
        addresses = dict(zip(kernels, found, strict=True))
        for group in groups:
            self.part(group, addresses)
        gone = {step for group in groups for step in group.steps}
        self.own = [step for number, step in enumerate(builder._steps) if number not in gone]
        left = {index for number, use in enumerate(uses) if number not in gone for index in use.reads}
        left |= handed_out | looked_at
        self.constants = {index: array for index, array in self.constants.items() if index in left}
        self.unused = {key for key, slot in builder._variables.items() if slot.index in variables - left}

    def use(self, step: Step, looked_at: set[int], movable: bool) -> Use:
        if isinstance(step, Mark):
            return Use(
                frozenset(() if step.slot is None else (step.slot.root.index,)), frozenset(), False, 0.0
            )
        if isinstance(step, HostStep):
            reads = frozenset(slot.root.index for slot in step.inputs)
            return Use(reads, frozenset(slot.root.index for slot in step.outputs), False, 0.0)
        refs = _refs(step)
        read = {ref.slot.root.index for ref in refs if ref.access != "w"}
        written = {ref.slot.root for ref in refs if ref.access != "r"}
        taken = sum({ref.slot.root: ref.slot.nbytes for ref in refs if ref.access == "r"}.values())
        # Not so: operands that are checked in the run, such as would not fit, what a region decides about, and what is
        # another thing for other sizes.
        movable = (
            movable
            and read.isdisjoint(looked_at)
            and all(slot.kind == "buffer" for slot in written)
            and not _is_open(step)
            and sum(slot.nbytes for slot in written) <= _KEPT_GROWTH * taken + _KEPT_BYTES
        )
        cost = max(100.0, step.nanoseconds) if movable else 100.0
        return Use(frozenset(read), frozenset(slot.index for slot in written), movable, cost)

    def part(self, group: Group, addresses: Mapping[int, int]) -> None:
        made = tuple(self.slots[index] for index in group.kept)
        self.lasting.update(group.kept)
        signature = self.builder._signature(group.steps, made, addresses)
        plan = None if signature is None else _parts.get(signature)
        if plan is None:
            plan = self.builder._part(group.steps, made)
            if signature is not None:
                _parts[signature] = plan
        if not group.variables:
            for slot, array in zip(made, plan.run(), strict=True):
                array.flags.writeable = False
                self.constants[slot.index] = array
                self.homes[slot.index] = _Home("constant", slot.index)
            self.done.append((plan, made))
            return
        for slot in made:
            self.homes[slot.index] = _Home("slot", slot.index)
        stored = None
        steps = [self.builder._steps[step] for step in group.steps]
        if len(steps) == len(made) == len(plan.variables) == 1 and isinstance(steps[0], Launch):
            stored = replace(plan.variables[0], storage=steps[0].layout) if steps[0].layout else None
        self.kept.append(Kept(plan, made, tuple(spec.key for spec in plan.variables), stored))

    # Lifetimes over head, steps and tail; `end` is a step after all of them.

    def lives(self) -> None:
        steps = [*self.head, *self.own, *self.tail]
        lives: dict[int, _Life] = {}
        self.end = len(steps)
        self.inner, self.places = region_tree(steps)
        touched: dict[int, set[Tree]] = {}

        def touch(slot: Slot, at: int, writes: bool) -> None:
            touched.setdefault(slot.root.index, set()).add(self.inner[at])
            life = lives.setdefault(slot.root.index, _Life())
            if life.first < 0:
                life.first = at
                if not writes and slot.kind == "buffer" and slot.root.index not in self.lasting:
                    raise ValueError(f"{slot} is read before it is written")
            life.last = max(life.last, at)
            life.writes += writes

        for at, step in enumerate(steps):
            if isinstance(step, Launch):
                for arg in step.args:
                    if isinstance(arg, Ref) and arg.access == "r":
                        touch(arg.slot, at, False)
                for arg in step.args:
                    if isinstance(arg, Ref) and arg.access != "r":
                        touch(arg.slot, at, True)
            elif isinstance(step, Mark):
                if step.slot is not None:
                    touch(step.slot, at, False)
            else:
                for slot in step.inputs:
                    touch(slot, at, False)
                for slot in step.outputs:
                    touch(slot, at, True)
        self.judged = self.judgement(steps)
        for refusal in self.builder._refusals:
            for slot in refusal.inputs:
                touch(slot, self.judged[refusal.status.index], False)
        for index, trees in touched.items() if self.places else ():
            # What a loop shares with its surroundings has to last through all its turns.
            shared = _common(trees)
            for tree in trees:
                for around in tree.upwards():
                    if around is shared:
                        break
                    if around.region is not None and around.region.kind == "loop":
                        life = lives[index]
                        life.first, life.last = min(life.first, around.begin), max(life.last, around.end)
        self.life = lives

    def judgement(self, steps: Sequence[Step]) -> dict[int, int]:
        """For each check the last step of the segment after which the run looks at it."""
        ends: dict[int, int] = {}
        waiting: list[int] = []
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                ends.update((index, at - 1) for index in waiting)
                waiting = []
                continue
            for arg in _refs(step):
                if arg.slot.kind == "status":
                    if arg.slot.index in ends or arg.slot.index in waiting:
                        raise ValueError(f"{arg.slot} is set by two launches")
                    waiting.append(arg.slot.index)
        ends.update((index, len(steps) - 1) for index in waiting)
        for refusal in self.builder._refusals:
            if refusal.status.index not in ends:
                raise ValueError(f'no launch sets the word of check "{refusal.name}"')
        return ends

    def place_fetches(self) -> set[int]:
        """Fetched buffers are written straight into the array handed out; all else is copied."""
        assigned = {slot.root.index for slot in self.builder._assigns.values()}
        seen: dict[int, int] = {}
        pinned: set[int] = set()
        for slot in self.builder._fetches:
            if slot.index in seen:
                self.outputs.append(_Output("again", seen[slot.index]))
                continue
            seen[slot.index] = len(self.outputs)
            if not _native(slot) or slot.kind == "dynamic":
                if slot.kind in ("buffer", "feed", "constant", "variable") or slot.parent is not None:
                    slot = self.host_copy(slot)
                self.outputs.append(_Output("value", slot.index))
                continue
            root = slot.root
            whole = slot.offset == 0 and slot.nbytes == root.nbytes
            number = len(self.output_slots)
            if slot.kind == "buffer" and whole and root.index not in pinned | assigned | self.lasting:
                pinned.add(root.index)
                self.homes[root.index] = _Home("output", number)
            else:
                target = self.buffer(slot)
                self.homes[target.index] = _Home("output", number)
                # A variable's value is the one at the start: copy it before anything can overwrite it.
                (self.head if slot.kind == "variable" else self.tail).append(self.copy(target, slot))
                if slot.kind == "variable":
                    self.builder._variable_reads[slot.key] = True
            self.output_slots.append(slot)
            self.outputs.append(_Output("array", number))
        return pinned

    def host_copy(self, slot: Slot) -> Slot:
        """A value that leaves through Python (strings, views of host values)."""
        made = Slot(len(self.slots), "dynamic", slot.name, slot.shape, slot.dtype)
        self.slots.append(made)
        step = HostStep(np.array, (slot,), (made,), f"copy {slot.name}")
        (self.head if slot.kind == "variable" else self.tail).append(step)
        return made

    def place_assigns(self, pinned: set[int]) -> None:
        """New values go straight to the variable when its last reader is done, else are copied at the end."""
        steps = [*self.head, *self.own]
        sources: set[int] = set()
        late: list[Step] = []
        for index, value in self.builder._assigns.items():
            variable = self.slots[index]
            root = value.root
            if not _native(value) or value.kind == "dynamic" or not _native(variable):
                self.commits.append((variable.key, value))
                continue
            whole = value.offset == 0 and value.nbytes == root.nbytes
            life = self.life.get(root.index)
            if (
                value.kind == "buffer"
                and whole
                and life is not None
                and root.index not in pinned
                and root.index not in sources
                and root.index not in self.lasting
                and self.may_overwrite(variable, root, steps[life.first], life.first)
            ):
                sources.add(root.index)
                self.homes[root.index] = _Home("slot", variable.index)
                continue
            if value.kind == "variable" and value.root is not variable:
                # Two variables may swap values: all old ones are saved before the first is overwritten.
                saved = self.buffer(value)
                self.tail.append(self.copy(saved, value))
                value = saved
            elif value.root is variable:
                continue
            late.append(self.copy(variable, value))
        self.tail += late

    def may_overwrite(self, variable: Slot, root: Slot, step: Step, at: int) -> bool:
        """Whether `step`, the first to write `root`, runs after the last reader of the variable."""
        reader = self.life.get(variable.index)
        if any(value.root is variable for value in self.builder._assigns.values()):
            return False
        if reader is None or reader.last < at:
            return True
        return reader.last == at and isinstance(step, Launch) and _allows(step, root, variable)

    def merge_in_place(self) -> dict[int, int]:
        """Root slots that take over the arena bytes of another: written root -> the root it overwrites."""
        into: dict[int, int] = {}
        taken: set[int] = set()
        last = {index: life.last for index, life in self.life.items()}
        for at, step in enumerate(self.steps):
            if not isinstance(step, Launch):
                continue
            for target, source in step.inplace:
                new, old = target.root, source.root
                if (
                    new.kind == "buffer" and old.kind == "buffer" and new is not old
                    and new.index not in self.homes and old.index not in self.homes
                    and old.index not in taken
                    and new.index not in into and self.life[new.index].first == at
                    and self.life[old.index].last == at and new.nbytes == old.nbytes
                    and _allows(step, new, old)
                ):  # fmt: skip
                    base = into.get(old.index, old.index)
                    into[new.index] = base
                    taken.add(old.index)
                    last[base] = max(last[base], last[new.index])
        self.last = last
        return into

    def place_arena(self, merged: dict[int, int]) -> None:
        """Notes how much of the arena is wanted when; where it lies depends on the sizes."""
        self.requests: list[Request] = []
        for index, life in self.life.items():
            slot = self.slots[index]
            if slot.kind == "buffer" and index not in self.homes and index not in merged:
                self.homes[index] = _Home("arena", len(self.requests))
                self.requests.append(Request(slot.nbytes, life.first, self.last[index]))
        for index, base in merged.items():
            self.homes[index] = self.homes[base]

    def home(self, slot: Slot) -> _Home:
        root = slot.root
        if root.kind == "constant":
            return _Home("constant", root.index)
        if root.kind == "status":
            return _Home("status", root.index)
        if root.kind in ("feed", "variable", "dynamic"):
            return _Home("slot", root.index)
        return self.homes[root.index]


class PlanTemplate:
    """What the plans of one program for different sizes have in common: all but the values of symbolic numbers.

    Kernels are compiled, steps are in order, and it is decided which memory is whose. `plan` evaluates what is left:
    places in the arena, the numbers in the table, what is worth sharing among threads, and where these wait.
    """

    def __init__(self, build: _Build, steps: Sequence[Step]) -> None:
        self.build = build
        self.runtime = build.builder.runtime
        self.steps = list(steps)
        self.records = tuple(step for step in steps if not isinstance(step, HostStep))
        self.launches = tuple(step for step in self.records if isinstance(step, Launch))
        self.slots = tuple(build.slots)
        self.outline = self._outline(steps)
        self.looks = self._looks(steps)
        self.table = self._laid_out()
        self.touched = [_touched(build, step) for step in steps]

    def plan(self, at: Evaluation | None = None) -> Plan:
        """Returns the plan for the sizes of an evaluation; without one there is no symbolic number."""
        return Plan(self, _FIXED if at is None else at)

    # What does not depend on sizes.

    def _outline(self, steps: Sequence[Step]) -> list[tuple[int, int, bool] | HostStep]:
        """Runs of records, as first, count and whether a host step follows, and the host steps between them."""
        build = self.build
        last_use: dict[int, int] = {}
        native_use: dict[int, int] = {}
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                for slot in (*step.inputs, *step.outputs):
                    last_use[slot.root.index] = at
            for ref in _refs(step):
                if ref.slot.kind == "dynamic":
                    native_use[ref.slot.root.index] = at
        keep = {slot.root.index for slot in build.builder._fetches}
        keep |= {output.number for output in build.outputs if output.kind == "value"}
        keep |= {value.root.index for _, value in build.commits}
        keep |= {slot.root.index for refusal in build.builder._refusals for slot in refusal.inputs}
        dying: dict[int, list[int]] = {}
        for index, at in last_use.items():
            if build.slots[index].kind == "dynamic" and index not in keep and native_use.get(index, -1) <= at:
                dying.setdefault(at, []).append(index)
        outline: list[tuple[int, int, bool] | HostStep] = []
        first = count = 0
        # Of each record that is a launch: bytes, operations, whether it may be shared, and how often it is done.
        self.weights: list[tuple[Any, Any, bool, int] | None] = []
        self.endless: set[int] = set()  # the marks of loops of which nobody knows how often they turn
        for at, step in enumerate(steps):
            if isinstance(step, HostStep):
                if count:
                    outline.append((first, count, True))
                    first, count = first + count, 0
                outline.append(replace(step, frees=tuple(dying.get(at, ()))))
                continue
            count += 1
            if isinstance(step, Mark):
                if step.region.kind == "loop" and step.region.most is None:
                    self.endless.add(len(self.weights))
                self.weights.append(None)
                continue
            turns = math.prod(region.turns for region in _loops(build.inner[at]))
            self.weights.append((step.bytes, step.flops, step.parallel, turns))
        if count:
            outline.append((first, count, False))
        return outline

    def _looks(self, steps: Sequence[Step]) -> dict[int, int]:
        """After which launches the threads look at the word of the checks so far, and leave off if it is set.

        That is before the next launch that writes a variable, at each mark, and so at the end of each turn of a loop.
        Later checks have another word: while one thread looks, another may be ahead.
        """
        build = self.build
        self.words: dict[int, int] = {}
        self.word_count = 0
        looks: dict[int, int] = {}
        number = -1
        waiting = False
        for step in steps:
            if isinstance(step, HostStep):
                self.word_count += waiting
                waiting = False
                continue
            number += 1
            refs = _refs(step)
            if waiting and (
                isinstance(step, Mark)
                or any(
                    ref.access != "r" and ref.slot.kind != "status" and build.home(ref.slot).place == "slot"
                    for ref in refs
                )
            ):
                looks[number if isinstance(step, Mark) else number - 1] = self.word_count
                self.word_count += 1
                waiting = False
            for ref in refs:
                if ref.slot.kind == "status":
                    self.words[ref.slot.index] = self.word_count
                    waiting = True
        self.word_count += waiting
        return looks

    def _laid_out(self) -> _Table:
        """The words of a run: the records, the arguments of launches, what marks say, each thread's own arguments and
        counters where there are loops, and at the end the words of the checks, which threads of one run share."""
        records, places = self.records, self.build.places
        kernels = iter(self.runtime.addresses([step.kernel for step in self.launches]))
        table = _Table(self, RECORD_WORDS * len(records))
        first_word = []
        for step in records:
            first_word.append(table.end)
            if isinstance(step, Launch):
                for arg in step.args:
                    table.argument(arg)
        threads = _Threads(records, first_word, self.runtime.threads) if places else None
        if threads is not None:
            for number, step in enumerate(records):
                if isinstance(step, Mark):
                    first_word[number] = table.end
                    threads.mark(table, step, number)
            threads.place(table)
        status = table.end
        for number, step in enumerate(records):
            code = next(kernels) if isinstance(step, Launch) else _steering(step, places)
            after = 0
            if number in self.looks:
                after = (status + self.looks[number]) * 8
                table.relative.append(RECORD_WORDS * number + 3)
            table.relative.append(RECORD_WORDS * number + 1)
            table.records += (code, first_word[number] * 8, 0, after)
        table.words += [0] * self.word_count
        table.finish(status)
        return table

    # What does.

    def segments(self, at: Evaluation) -> tuple[list[Segment | HostStep], list[bool]]:
        """The steps, and which launches, and marks, are shared among threads."""
        threads = self.runtime.threads
        parallel: list[bool] = []
        ordered: list[Segment | HostStep] = []
        for step in self.outline:
            if isinstance(step, HostStep):
                ordered.append(replace(step, function=step.function(at)) if step.with_sizes else step)
                continue
            first, count, park = step
            worth = total = 0.0
            shared = []
            for weight in self.weights[first : first + count]:
                if weight is None:
                    shared.append(True)
                    continue
                size, flops, may, turns = weight
                cost = max(at(size) / _BYTES_PER_NS, at(flops) / _FLOPS_PER_NS)
                shared.append(threads > 1 and may and cost >= _PARALLEL_LAUNCH_NS)
                cost *= at(turns)
                total += cost
                worth += cost * shared[-1]
            team = worth >= _TEAM_NS and threads > 1
            endless = any(first <= number < first + count for number in self.endless)
            ordered.append(Segment(first, count, team, total >= _RELEASE_NS or endless, park))
            parallel.extend(share and team for share in shared)
        return ordered, parallel

    def barriers(self, at: Evaluation, layout: Layout, shared: list[bool]) -> list[bool]:
        """Where all threads must wait: before a launch that touches what another thread may still touch."""
        if not any(shared):
            return [False] * len(shared)
        return _Barriers(self, at, layout, shared).after


class _Table:
    """The words that a plan's runs begin with, numbered from the first record on: those that all plans of a template
    share, and where the others go."""

    def __init__(self, template: PlanTemplate, base: int) -> None:
        self.template = template
        self.base = base
        self.records: list[int] = []
        self.words: list[Any] = []
        self.arena: list[
            tuple[int, int, Any]
        ] = []  # words that are addresses there: which request, how many bytes in
        self.derived: list[
            tuple[int, int, Any]
        ] = []  # words that are addresses in a constant that sizes decide
        self.relative: list[int] = []  # words that count from the table's address
        self.patches: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        self.scalars: dict[bytes, int] = {}
        self.scalar_words: list[tuple[int, int]] = []
        self.status_words: list[tuple[int, int]] = []  # words that hold the address of a check's word

    @property
    def end(self) -> int:
        """The number of the next word."""
        return self.base + len(self.words)

    def number(self, *numbers: int) -> None:
        """Adds plain numbers."""
        self.words += numbers

    def own(self, *numbers: int) -> None:
        """Adds the addresses of words of the table."""
        self.relative += range(self.end, self.end + len(numbers))
        self.words += [8 * number for number in numbers]

    def argument(self, arg: Arg) -> None:
        """Adds an argument of a launch."""
        at = self.end
        if isinstance(arg, Ref):
            build = self.template.build
            home, skip = build.home(arg.slot), arg.slot.offset + arg.offset
            self.words.append(0)
            if home.place == "constant" and home.number in build.constants:
                self.words[-1] = build.constants[home.number].__array_interface__["data"][0] + skip
            elif home.place == "constant":
                self.derived.append((at, home.number, skip))
            elif home.place == "arena":
                self.arena.append((at, home.number, skip))
            elif home.place == "status":
                self.relative.append(at)
                self.status_words.append((at, self.template.words[home.number]))
            else:
                self.patches.setdefault((home.place, home.number), []).append((at, skip))
        elif isinstance(arg, Count):
            self.words.append(arg.start)
        elif isinstance(arg, np.generic):
            bits = arg.tobytes()
            place = self.scalars.setdefault(bits, 16 * len(self.scalars))
            self.scalar_words.append((at, place))
            self.words.append(0)
        else:
            self.words.append(arg)

    def finish(self, status: int) -> None:
        """Puts the words into arrays; `status`: where the words of the checks begin."""
        self.pool = aligned_empty(max(1, 16 * len(self.scalars)))
        for bits, place in self.scalars.items():
            self.pool[place : place + len(bits)] = np.frombuffer(bits, np.uint8)
        self.numbers = [(self.base + at, n) for at, n in enumerate(self.words) if type(n) is Symbolic]
        plain = [0 if type(n) is Symbolic else n for n in self.words]
        self.fixed = np.array(self.records + plain, np.int64)
        address = self.pool.__array_interface__["data"][0]
        for at, place in self.scalar_words:
            self.fixed[at] = address + place
        for at, number in self.status_words:
            self.fixed[at] = 8 * (status + number)
        self.arena_words = np.array([at for at, _, _ in self.arena], np.int64)
        self.relative_words = np.array(self.relative, np.int64)
        self.fixed_patches: dict[tuple[str, int], Array] = {}
        self.open_patches: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        for key, rows in self.patches.items():
            if any(type(skip) is Symbolic for _, skip in rows):
                self.open_patches[key] = rows
            else:
                self.fixed_patches[key] = np.array(rows, np.int64).reshape(-1, 2)

    def at(self, sizes: Evaluation, layout: Layout, constants: Mapping[int, Array]) -> Array:
        """The words for certain sizes, places in the arena and constants."""
        words = self.fixed.copy()
        for at, number in self.numbers:
            words[at] = sizes(number)
        offsets = layout.offsets
        for at, request, skip in self.arena:
            words[at] = offsets[request] + sizes(skip)
        for at, index, skip in self.derived:
            words[at] = constants[index].__array_interface__["data"][0] + sizes(skip)
        return words

    def patches_at(self, sizes: Evaluation) -> dict[tuple[str, int], Array]:
        """Which words take the address of what, for certain sizes."""
        if not self.open_patches:
            return self.fixed_patches
        found = dict(self.fixed_patches)
        for key, rows in self.open_patches.items():
            found[key] = np.array([(at, sizes(skip)) for at, skip in rows], np.int64)
        return found


class _Threads:
    """What each thread has for itself where records are repeated: counters, and the arguments of what is in a loop.

    For every outermost loop there is one stretch of memory per thread, whole cache lines, first the counters of the
    loops in it, then the arguments of its launches. Marks speak of the first thread's words.
    """

    def __init__(self, records: Sequence[Launch | Mark], first_word: Sequence[int], threads: int) -> None:
        self.records = records
        self.threads = threads
        self.first_word = list(first_word)
        self.targets: dict[int, int] = {}
        self.inner, self.places = region_tree(records)
        self.model: dict[
            Region, tuple[int, int]
        ] = {}  # of outermost loops: first word of the arguments, and one after
        self.counters: dict[Region, dict[Region, int]] = {}
        self.blocks: list[tuple[int, Region, int]] = []  # words that count from a thread's stretch
        for region, tree in self.places.items():
            if region.kind == "loop":
                outer = _loops(tree)[0]
                numbers = self.counters.setdefault(outer, {})
                numbers[region] = len(numbers)
                if outer is region:
                    self.model[region] = first_word[tree.begin], first_word[tree.end]
        self.moves = self.moving()

    def moving(self) -> dict[int, list[tuple[int, tuple[Term, ...]]]]:
        """The words that each `turn` and `last` sets, with how they move."""
        found: dict[int, list[tuple[int, tuple[Term, ...]]]] = {}
        for number, step in enumerate(self.records):
            if not isinstance(step, Launch):
                continue
            for position, arg in enumerate(step.args):
                terms: tuple[Term, ...] = ()
                if isinstance(arg, Ref):
                    terms = arg.slot.terms
                elif isinstance(arg, Count):
                    terms = (Term(arg.loop, arg.step, 0),)
                if terms:
                    tree = max((self.places[term.loop] for term in terms), key=lambda place: place.depth)
                    at = tree.at("last") if number > tree.at("last") else tree.at("turn")
                    found.setdefault(at, []).append((self.first_word[number] + position, terms))
        return found

    def size(self, outer: Region) -> int:
        """Words of one thread's stretch."""
        first, end = self.model[outer]
        return (len(self.counters[outer]) + end - first + 7) & -8

    def stretch(self, table: _Table, outer: Region, word: int) -> None:
        """Adds the address of a word of the first thread's stretch, where that will be."""
        self.blocks.append((table.end, outer, word))
        table.number(0)

    def mark(self, table: _Table, mark: Mark, number: int) -> None:
        """Adds what a mark says: how many records to skip, and then what is written beside its code in the driver."""
        region, tree = mark.region, self.places[mark.region]
        kind = mark.kind
        goal = number + 1
        if kind in ("enter", "leave"):
            goal = tree.at("last")
        elif kind == "again":
            goal = tree.at("turn")
        elif kind == "go":
            goal = tree.at("join")
        elif kind == "case":
            goal = min(
                at for name in ("case", "otherwise", "join") for at in tree.marks.get(name, ()) if at > number
            )
        table.number(goal - number - 1)
        if kind == "case" or kind == "leave":
            table.argument(Ref(mark.slot))
            table.number(mark.number or 0)
        if region.kind != "loop":
            return
        outer = _loops(tree)[0]
        stride = 8 * self.size(outer)
        if kind in ("enter", "again"):
            table.number(_NO_LIMIT if region.most is None else region.most)
            if mark.slot is None:
                table.number(0)
            else:
                table.argument(Ref(mark.slot))
            table.number(stride)
            self.stretch(table, outer, self.counters[outer][region])
        if kind == "enter":
            first, end = self.model[outer]
            self.stretch(table, outer, len(self.counters[outer]))
            table.own(first)
            table.number(8 * (end - first) if outer is region else 0)
        if kind in ("turn", "last"):
            moves = self.moves.get(number, [])
            table.number(len(moves), stride)
            for word, terms in moves:
                self.stretch(table, outer, len(self.counters[outer]) + word - self.model[outer][0])
                table.own(word)
                table.number(len(terms))
                for term in terms:
                    self.stretch(table, outer, self.counters[outer][term.loop])
                    table.number(term.step, term.swing)

    def place(self, table: _Table) -> None:
        """Adds the stretches."""
        begins: dict[Region, int] = {}
        for outer in self.model:
            table.number(*[0] * (-table.end % 8))
            begins[outer] = table.end
            table.number(*[0] * (self.size(outer) * self.threads))
        for at, outer, word in self.blocks:
            table.words[at - table.base] = 8 * (begins[outer] + word)
            table.relative.append(at)


def _steering(mark: Mark, places: Mapping[Region, Tree]) -> int:
    """What stands for a mark in place of a kernel."""
    if mark.kind == "left" and len(_loops(places[mark.region])) > 1:
        return STEERING["go"]
    if mark.kind == "leave" or (mark.kind == "case" and mark.number is None):
        return STEERING["unless"]
    if mark.kind == "last":
        return STEERING["turn"]
    return STEERING.get(mark.kind, STEERING["go"])


def _loops(tree: Tree) -> list[Region]:
    """The loops around a place, the outermost first."""
    found = [t.region for t in tree.upwards() if t.region is not None and t.region.kind == "loop"]
    return found[::-1]


def _common(trees: set[Tree]) -> Tree:
    """The innermost region that all of some places lie in."""
    first, *others = trees
    around = list(first.upwards())
    for tree in others:
        here = set(tree.upwards())
        around = [one for one in around if one in here]
    return around[0]


class _Access(NamedTuple):
    """What a step touches: memory, first byte, end, whether it writes, whether threads share it, and how."""

    memory: tuple[str, int]
    start: int
    end: int
    writes: bool
    shared: bool
    share: Hashable

    def crosses(self, other: _Access) -> bool:
        """Whether two threads could be in each other's way."""
        if self.memory != other.memory or self.start >= other.end or other.start >= self.end:
            return False
        if not (self.writes or other.writes) or not (self.shared or other.shared):
            return False
        alike = self.share is not None and self.share == other.share and self[1:3] == other[1:3]
        return not (self.shared and other.shared and alike)


class _Barriers:
    """One run of `PlanTemplate.barriers`: after which records threads wait for each other.

    Each way through the regions is gone, and each loop twice: what is still open after a turn is so in the next one.
    """

    def __init__(self, template: PlanTemplate, at: Evaluation, layout: Layout, shared: list[bool]) -> None:
        self.template = template
        self.build = template.build
        self.at = at
        self.layout = layout
        steps = self.steps = template.steps
        self.shared = shared
        self.after = [False] * len(shared)
        # Of each step: how many records come before it.
        self.number = list(
            itertools.accumulate((not isinstance(step, HostStep) for step in steps[:-1]), initial=0)
        )
        self.walk(0, len(steps), {})

    def walk(self, at: int, stop: int, opened: dict[_Access, None]) -> dict[_Access, None]:
        """What is open after some steps, if that was open before them."""
        while at < stop:
            step = self.steps[at]
            if isinstance(step, HostStep):
                opened = {}
            elif isinstance(step, Mark) and step.kind == "enter":
                at, opened = self.loop(self.build.places[step.region], self.touch(at, opened))
                continue
            elif isinstance(step, Mark) and step.kind in ("case", "otherwise"):
                at, opened = self.choice(self.build.places[step.region], opened)
                continue
            else:
                opened = self.touch(at, opened)
            at += 1
        return opened

    def loop(self, tree: Tree, opened: dict[_Access, None]) -> tuple[int, dict[_Access, None]]:
        turn, last = tree.at("turn"), tree.at("last")
        if any(ref.slot.kind == "status" for step in self.steps[turn:last] for ref in _refs(step)):
            # All have looked at the words of the checks before anybody sets one anew.
            self.after[self.number[turn]] = True
        leaves = [at for at in tree.marks.get("leave", ())]
        ends = dict(opened)
        now = opened
        for _ in range(2):
            at = turn
            for leave in leaves:
                now = self.walk(at, leave + 1, now)
                ends |= now
                at = leave + 1
            now = self.walk(at, last, now)
            ends |= now
            now = dict(ends)
        return last, ends

    def choice(self, tree: Tree, opened: dict[_Access, None]) -> tuple[int, dict[_Access, None]]:
        cases, join = tree.marks.get("case", []), tree.at("join")
        begins = [*cases, *tree.marks.get("otherwise", ())]
        ends: dict[_Access, None] = {}
        # What decides is looked at before the first branch: there is no other place that all of them come by.
        opened = self.touch(begins[0], opened, [one for at in cases for one in self.template.touched[at]])
        for begin, stop in zip(begins, [*begins[1:], join], strict=True):
            ends |= self.walk(begin + 1, stop, opened)
        if "otherwise" not in tree.marks:
            ends |= opened
        return join, ends

    def touch(
        self, at: int, opened: dict[_Access, None], touched: Sequence[_Touched] | None = None
    ) -> dict[_Access, None]:
        number = self.number[at]
        mine = self.accesses(self.template.touched[at] if touched is None else touched, self.shared[number])
        if not mine:
            return opened
        if number and (
            self.after[number - 1]
            or len(opened) > _OPEN_ACCESSES
            or any(a.crosses(b) for a in mine for b in opened)
        ):
            self.after[number - 1] = True
            opened = {}
        return {**opened, **dict.fromkeys(mine)}

    def accesses(self, touched: Sequence[_Touched], shared: bool) -> list[_Access]:
        sizes, offsets = self.at, self.layout.offsets
        mine = []
        for place, number, start, nbytes, writes, share in touched:
            first = sizes(start)
            if place == "arena":
                first, number = first + offsets[number], 0
            mine.append(_Access((place, number), first, first + sizes(nbytes), writes, shared, share))
        return mine


class _Touched(NamedTuple):
    """What a step touches, as far as that does not depend on sizes: where it lies, and as symbolic numbers its first
    byte there and how many they are; whether it writes, and how threads share it."""

    place: str
    number: int
    start: Any
    nbytes: Any
    writes: bool
    share: Hashable


def _touched(build: _Build, step: Step) -> list[_Touched]:
    """What a step touches that others may touch in the same run."""
    found = []
    refs = [Ref(step.slot)] if isinstance(step, Mark) and step.slot is not None else _refs(step)
    for ref in refs:
        slot = ref.slot
        if slot.root.kind in ("constant", "status") or slot.root.index in build.lasting:
            continue
        home = build.home(slot)
        start, nbytes = (0, slot.root.nbytes) if slot.terms else (slot.offset, slot.nbytes)
        apart = all(not term.step or abs(term.step) >= slot.nbytes for term in slot.terms)
        share = (
            (ref.share, ref.offset, slot.offset, slot.nbytes, slot.terms)
            if slot.terms
            else (ref.share, ref.offset)
        )
        known = None if ref.share is None or not apart else share
        found.append(_Touched(home.place, home.number, start, nbytes, ref.access != "r", known))
    return found


_FIXED = Sizes().evaluation(())


def _allows(step: Launch, new: Slot, old: Slot) -> bool:
    """Whether a launch may write `new` over `old`: it says so, and touches neither in any other way."""
    if not any(t.root is new and s.root is old and t.offset == s.offset == 0 for t, s in step.inplace):
        return False
    touched = [arg for arg in step.args if isinstance(arg, Ref) and arg.slot.root in (new, old)]
    return len(touched) == 2 and all(arg.offset == 0 for arg in touched)


# ------------------------------------------------------------------------------------------------------- plan


class Kept(NamedTuple):
    """Slots whose values are kept with the session's variables: `plan` makes them of the variables `keys`.

    `stored`: how a variable may be stored so that nothing is to be made of it.
    """

    plan: Plan
    slots: tuple[Slot, ...]
    keys: tuple[Hashable, ...]
    stored: VariableSpec | None

    def arrays(self, store: VariableStore) -> list[Array]:
        """The values; the store says so when they are no longer right."""
        buffer = None if self.stored is None else store.lies_so(self.stored)
        if buffer is not None:
            return [buffer]
        store.watch(self.keys)
        return store.kept(self.plan, self.keys)


@dataclass(eq=False, slots=True)
class Workspace:
    """What one run writes to: the arena, the table of bound addresses, values by slot, and the bound
    calls."""

    table: Array
    arena: Array
    values: list[Any]
    enter: Entry
    only: SegmentCall | None
    segments: list[SegmentCall | None]
    calls: list[tuple[Callable[[], None] | None, HostStep | None]]
    binders: dict[int, Entry]
    status: Array
    owners: set[int] = field(default_factory=set)
    variables: list[Array] = field(default_factory=list)
    version: int = 0
    pending: list[Hashable] = field(default_factory=list)
    watched: list[VariableSpec] = field(default_factory=list)


def _owner(array: Array) -> Array:
    """The array whose memory this is."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    return array


class Plan:
    """An immutable program over numbered slots; see `PlanBuilder`. Any number of threads may run it at
    once."""

    def __init__(self, template: PlanTemplate, at: Evaluation) -> None:
        build = template.build
        builder = build.builder
        self.name = builder.name
        self._template = template
        self._at = at
        self._present: dict[int, Slot] = {}  # slots with the sizes that are theirs in this plan
        steps, shared = template.segments(at)
        self.steps = tuple(steps)
        self.layout = plan_arena([Request(at(size), first, last) for size, first, last in build.requests])
        self.constants = dict(build.constants)
        for index, derived in builder._derived.items():
            array = aligned_empty(derived.shape, derived.hint.dtype)
            array[...] = derived.make(at)
            array.flags.writeable = False
            self.constants[index] = array
        table = template.table
        words = self._words = table.at(at, self.layout, self.constants)
        records = words[: RECORD_WORDS * len(shared)].reshape(-1, RECORD_WORDS)
        records[:, 2] = [
            share and isinstance(record, Launch)
            for share, record in zip(shared, template.records, strict=True)
        ]
        for number, barrier in enumerate(template.barriers(at, self.layout, shared)):
            if barrier and number not in template.looks:
                records[number, 3] = 1
        self._patches = table.patches_at(at)
        self.feeds = tuple(map(self._slot, builder._feeds))
        self.outputs = tuple(build.outputs)
        written = set(builder._assigns)
        direct = {key for key, _ in build.commits}
        self.variables = tuple(
            VariableSpec(
                key=key,
                shape=at.shape(builder._logical[key][0]),
                dtype=slot.dtype,
                reads=builder._variable_reads[key],
                writes=slot.index in written,
                storage=builder._logical[key][1],
            )
            for key, slot in builder._variables.items()
            if (builder._variable_reads[key] or key not in direct) and key not in build.unused
        )  # fmt: skip
        self._variable_slots = tuple(self._slot(builder._variables[spec.key]) for spec in self.variables)
        self.kept = tuple(build.kept)
        self.done = tuple(build.done)
        self._written = tuple(spec for spec in self.variables if spec.writes and spec.key not in direct)
        self._commits = tuple((key, slot.index) for key, slot in build.commits)
        self._runtime = builder.runtime
        self._refusals = tuple(
            (
                replace(refusal, blame=refusal.blame(at)) if refusal.with_sizes else refusal,
                template.words[refusal.status.index],
            )
            for refusal in builder._refusals
        )
        self._unset = bytes(8 * template.word_count)  # what the words of the checks are when all is well
        output_slots = [self._slot(slot) for slot in build.output_slots]
        self._output_specs = tuple((slot.shape or (), slot.dtype) for slot in output_slots)
        least = 0 if builder._aligned else _ALIGNED_OUTPUT
        self._makers = tuple(
            (np.empty if slot.nbytes < least else aligned_empty, slot.shape or (), slot.dtype)
            for slot in output_slots
        )
        self._native = len(steps) <= 1 and not any(isinstance(step, HostStep) for step in steps)
        self._plain = (
            self._native and all(output.kind == "array" for output in self.outputs) and not self._commits
        )
        self._host_values(build)
        self._stateful = bool(self.variables or self._commits or self.kept) or any(
            isinstance(step, HostStep) and step.with_store for step in steps
        )
        self._host_slots = {
            step: (
                tuple(slot.index for slot in step.inputs),
                tuple((slot.index, self._slot(slot), slot.index not in self._views) for slot in step.outputs),
            )
            for step in steps
            if isinstance(step, HostStep)
        }
        # One output is so common that it is worth a path without a loop.
        self._make_one: Callable[[], Array] | None = None
        if len(self._makers) == 1:
            make, shape, dtype = self._makers[0]
            self._make_one = functools.partial(make, shape, dtype)
        self._pool: list[Workspace] = []
        self._direct_workspace: Workspace | None = None
        small = self._make_one is not None and self._makers[0][0] is np.empty
        held = not any(isinstance(step, Segment) and (step.release or step.team) for step in steps)
        self._short = small and held and self._plain and not (self._stateful or self._unset)

    def _slot(self, slot: Slot) -> Slot:
        """A slot as it is in this plan."""
        parent = slot.parent
        present = self._present.get(slot.index)
        if present is None:
            root = None if parent is None else self._slot(parent)
            present = slot
            numbers = (slot.offset, *(slot.shape or ()), *(n for term in slot.terms for n in term[1:]))
            if root is not parent or Symbolic in map(type, numbers):
                at = self._at
                terms = tuple([Term(loop, at(step), at(swing)) for loop, step, swing in slot.terms])
                present = replace(
                    slot, shape=at.shape(slot.shape), parent=root, offset=at(slot.offset), terms=terms
                )
            self._present[slot.index] = present
        return present

    @functools.cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The slots, by number."""
        return tuple(map(self._slot, self._template.slots))

    @functools.cached_property
    def records(self) -> tuple[Launch | Mark, ...]:
        """The launches, and the marks of regions, in order."""
        return tuple([self._launch(r) if isinstance(r, Launch) else r for r in self._template.records])

    @functools.cached_property
    def launches(self) -> tuple[Launch, ...]:
        """The launches in order."""
        return tuple([record for record in self.records if isinstance(record, Launch)])

    @functools.cached_property
    def _launch_numbers(self) -> dict[int, int]:
        """Of each record that is a launch, which one."""
        launches = (number for number, one in enumerate(self._template.records) if isinstance(one, Launch))
        return {number: at for at, number in enumerate(launches)}

    @functools.cached_property
    def _turns(self) -> tuple[int, ...]:
        """How often each launch is done, as far as that is known."""
        inner, _ = region_tree(self._template.records)
        return tuple(
            [
                math.prod(1 if loop.most is None else self._at(loop.most) for loop in _loops(inner[number]))
                for number in self._launch_numbers
            ]
        )

    def _launch(self, launch: Launch) -> Launch:
        at = self._at

        def present(arg: Arg) -> Arg:
            if isinstance(arg, Ref):
                return replace(arg, slot=self._slot(arg.slot), offset=at(arg.offset))
            return at(arg) if type(arg) is Symbolic else arg

        args = tuple(map(present, launch.args))
        inplace = tuple((self._slot(new), self._slot(old)) for new, old in launch.inplace)
        return replace(launch, args=args, bytes=at(launch.bytes), flops=at(launch.flops), inplace=inplace)

    def _host_values(self, build: _Build) -> None:
        """What must be in `values` for host steps, fetches and commits: by where its memory is."""
        wanted: dict[int, Slot] = {}
        for step in self.steps:
            if isinstance(step, HostStep):
                wanted.update((slot.index, slot) for slot in step.inputs)
        for _, index in self._commits:
            wanted[index] = build.slots[index]
        for refusal, _ in self._refusals:
            wanted.update((slot.index, slot) for slot in refusal.inputs)
        for output in self.outputs:
            if output.kind == "value":
                wanted[output.number] = build.slots[output.number]
        self._arena_values: list[tuple[Slot, int]] = []
        self._output_values: list[tuple[Slot, int]] = []
        self._views: dict[int, list[Slot]] = {}
        for slot in wanted.values():
            home = build.home(slot)
            present = self._slot(slot)
            if home.place == "arena":
                self._arena_values.append((present, self.layout.offsets[home.number]))
            elif home.place == "output":
                self._output_values.append((present, home.number))
            elif slot.index != home.number:
                self._views.setdefault(home.number, []).append(present)
        self._fed_values = tuple(
            (position, slot)
            for position, slot in enumerate(self.feeds)
            if slot.index in wanted or slot.index in self._views
        )
        transient = [slot.index for _, slot in self._fed_values]
        transient += [slot.index for slot, _ in self._output_values]
        for slot in build.slots:
            if slot.kind == "dynamic" or (slot.kind == "feed" and slot.parent is not None):
                transient.append(slot.index)
        self._transient = tuple(transient)

    def direct(self, keys: Sequence[object] | None = None) -> Callable[..., Any] | None:
        """The shortest way to run a small plan without state that has one output; None for other plans.

        It is a function of the feeds that returns what `run` has in its list, as a scalar where it has rank 0; or
        NotImplemented where a feed is not a row-major array of the planned shape and dtype. With `keys`, it is a
        function of a dict that has exactly these objects as keys, in this order.
        """
        if not self._short:
            return None
        # Nobody can come in between, so that one workspace does for all.
        workspace = self._direct_workspace = self._direct_workspace or self._workspace()
        shape, dtype = self._output_specs[0]
        output = Check(shape, dtype, True, self._patches.get(("output", 0), _NO_PATCHES))
        feeds = [self._check(slot, "slot", slot.index, False) for slot in self.feeds]
        return self._runtime.direct(workspace.table, feeds, output, workspace.only, keys)

    # running

    def run(self, feeds: Sequence[Array] = (), store: VariableStore | None = None) -> list[Array]:
        """Runs once: feeds in the order of `feeds`, the session's variables; returns the fetched arrays.

        Feeds must have the planned shape and dtype (ValueError, TypeError); what is not row-major is copied.
        """
        if type(feeds) is not tuple:
            feeds = tuple(feeds)
        try:
            workspace = self._pool.pop()
        except IndexError:
            workspace = self._workspace()
        try:
            make_one = self._make_one
            outputs: list[Array] = (
                [make_one()]
                if make_one is not None
                else [make(shape, dtype) for make, shape, dtype in self._makers]
            )
            if self._stateful:
                if store is None:
                    raise ValueError(f"plan {self.name!r} needs a variable store")
                if workspace.version != store.version:
                    self._bind(workspace, store)
            if workspace.enter(feeds, outputs) is not None:
                feeds = self._conform(feeds)
                if workspace.enter(feeds, outputs) is not None:
                    raise RuntimeError(f"plan {self.name!r} does not take these feeds")
            if self._plain:
                if self._unset and workspace.status.tobytes() != self._unset:
                    self._set_values(workspace, feeds, outputs)
                    self._refuse(workspace)
                if workspace.pending and store is not None:
                    self._initialized(workspace, store)
                return outputs
            return self._walk(workspace, feeds, outputs, store, None)
        finally:
            if workspace.watched and store is not None:
                workspace.version = store.touch(workspace.watched, workspace.version)
            if len(self._pool) < _IDLE_WORKSPACES:
                self._pool.append(workspace)

    def run_traced(
        self, feeds: Sequence[Array] = (), store: VariableStore | None = None
    ) -> tuple[list[Array], list[TraceEvent]]:
        """Runs once with clocks: the fetched arrays, and one event per launch, thread and host step."""
        workspace = self._workspace(traced=True)
        events: list[TraceEvent] = []
        feeds = self._conform(tuple(feeds))
        outputs: list[Array] = [make(shape, dtype) for make, shape, dtype in self._makers]
        if self._stateful:
            if store is None:
                raise ValueError(f"plan {self.name!r} needs a variable store")
            self._bind(workspace, store)
        if workspace.enter(feeds, outputs) is not None:
            raise RuntimeError(f"plan {self.name!r} does not take these feeds")
        try:
            return self._walk(workspace, feeds, outputs, store, events), events
        finally:
            if workspace.watched and store is not None:
                store.touch(workspace.watched, workspace.version)

    def _walk(
        self,
        workspace: Workspace,
        feeds: tuple[Array, ...],
        outputs: list[Array],
        store: VariableStore | None,
        events: list[TraceEvent] | None,
    ) -> list[Array]:
        values = workspace.values
        unset = self._unset
        try:
            self._set_values(workspace, feeds, outputs)
            if events is None:
                if not self._native:
                    for call, host in workspace.calls:
                        if call is not None:
                            call()
                            if unset and workspace.status.tobytes() != unset:
                                self._refuse(workspace)
                        elif host is not None:
                            self._host(workspace, host, store)
                elif unset and workspace.status.tobytes() != unset:
                    self._refuse(workspace)
            else:
                self._traced(workspace, store, events)
            fetched = self._fetch(workspace, feeds, outputs)
            if store is not None:
                for key, index in self._commits:
                    store.set(key, values[index])
                if workspace.pending:
                    self._initialized(workspace, store)
            return fetched
        finally:
            self._forget(workspace)

    def _set_values(self, workspace: Workspace, feeds: tuple[Array, ...], outputs: list[Array]) -> None:
        """Puts the feeds and the arrays to hand out where host steps and checks find them."""
        values = workspace.values
        for position, slot in self._fed_values:
            values[slot.index] = feeds[position]
            if slot.index in self._views:
                self._set_views(values, slot.index, feeds[position])
        for slot, number in self._output_values:
            values[slot.index] = _view(outputs[number], slot)

    def _refuse(self, workspace: Workspace) -> None:
        """Raises what the checks that found something raise."""
        found = workspace.status.copy()
        workspace.status[:] = 0
        try:
            for refusal, word in self._refusals:
                if found[word]:
                    try:
                        refusal.blame(*(workspace.values[slot.index] for slot in refusal.inputs))
                    except BaseException as error:
                        _mark(error, refusal)
                        raise
        finally:
            self._forget(workspace)
        raise RuntimeError(f"plan {self.name!r}: a check failed, and nothing is wrong with its operands")

    def _host(self, workspace: Workspace, step: HostStep, store: VariableStore | None) -> None:
        if store is not None:
            store.between_steps()
        values = workspace.values
        binders = workspace.binders
        sources, targets = self._host_slots[step]
        inputs = [values[index] for index in sources]
        try:
            result = step.function(store, *inputs) if step.with_store else step.function(*inputs)
        except BaseException as error:
            _mark(error, step)
            raise
        if step.with_store and store is not None and workspace.version != store.version:
            # The step has waited for another run, which has given variables new places.
            self._bind(workspace, store)
        results = (result,) if len(targets) == 1 else tuple(result or ())
        if len(results) != len(targets):
            raise ValueError(f'host step "{step.name}" returned {len(results)} values, not {len(targets)}')
        for (index, slot, plain), value in zip(targets, results, strict=True):
            # The common case first: a fresh array of the planned kind.
            if (
                plain
                and type(value) is np.ndarray
                and value.dtype is slot.dtype
                and value.base is None
                and (value.shape == slot.shape or slot.shape is None)
                and id(value) not in map(id, inputs)
            ):
                binder = binders.get(index)
                if binder is None or binder((value,), []) is None:
                    values[index] = value
                    continue
            array = self._settle(workspace, step, slot, value, inputs)
            values[index] = array
            if index in self._views:
                self._set_views(values, index, array)
        for index in step.frees:
            values[index] = None

    def _settle(
        self, workspace: Workspace, step: HostStep, slot: Slot, value: Any, inputs: list[Any]
    ) -> Array:
        """A host step's result as an array of the planned kind that nobody will overwrite."""
        array: Array = (
            value if type(value) is np.ndarray else np.asarray(value, _loose_dtype(value, slot.dtype))
        )
        if array.dtype != slot.dtype:
            raise _mark(
                TypeError(f'host step "{step.name}" returned {array.dtype}, expected {slot.dtype}'), step
            )
        if slot.shape is not None and array.shape != slot.shape:
            raise _mark(
                ValueError(
                    f'host step "{step.name}" returned shape {list(array.shape)}, expected {list(slot.shape)}'
                ),
                step,
            )
        owner = _owner(array)
        if owner is not array or any(array is other for other in inputs):
            # The arena and the variables are written again, and foreign memory is not ours to trust.
            if id(owner) in workspace.owners or owner.base is not None:
                array = np.array(array)
        binder = workspace.binders.get(slot.index)
        if binder is not None:
            if binder((array,), []) is not None:
                array = _row_major(array, slot)
                if binder((array,), []) is not None:
                    raise RuntimeError(f'host step "{step.name}": {slot} cannot be bound')
        elif slot.index in self._views:
            array = np.ascontiguousarray(array).reshape(array.shape)
        return array

    def _fetch(self, workspace: Workspace, feeds: tuple[Array, ...], outputs: list[Array]) -> list[Array]:
        if self._plain:
            return outputs
        fetched: list[Array] = []
        mine = {id(array) for array in outputs}
        mine.update(id(array) for array in feeds)
        mine.update(id(array) for array in self.constants.values())
        for output in self.outputs:
            if output.kind == "array":
                fetched.append(outputs[output.number])
                continue
            array = fetched[output.number] if output.kind == "again" else workspace.values[output.number]
            if output.kind == "again" or array.base is not None or id(array) in mine:
                array = np.array(array)
            mine.add(id(array))
            fetched.append(array)
        return fetched

    def _traced(self, workspace: Workspace, store: VariableStore | None, events: list[TraceEvent]) -> None:
        began = time.perf_counter_ns()
        for segment, step in zip(workspace.segments, self.steps, strict=True):
            if segment is not None and isinstance(step, Segment):
                times = segment.trace()
                if self._unset and workspace.status.tobytes() != self._unset:
                    self._refuse(workspace)
                for thread in range(times.shape[0]):
                    for number in range(step.count):
                        start, _, busy, turns = times[thread, number].tolist()
                        record = self.records[step.first + number]
                        if turns and isinstance(record, Launch):
                            at = self._launch_numbers[step.first + number]
                            cost = record.cost.times(turns)
                            events.append(
                                TraceEvent(
                                    record.name, (start - began) / 1e3, busy / 1e3, thread, cost.bytes, record.origin,
                                    at, cost, turns,
                                )
                            )  # fmt: skip
            elif isinstance(step, HostStep):
                start = time.perf_counter_ns()
                self._host(workspace, step, store)
                stop = time.perf_counter_ns()
                size = sum(
                    value.nbytes
                    for slot in step.outputs
                    if (value := workspace.values[slot.index]) is not None
                )
                events.append(
                    TraceEvent(
                        step.name,
                        (start - began) / 1e3,
                        (stop - start) / 1e3,
                        0,
                        size,
                        step.origin,
                        cost=Cost(0.0, 0, size),
                    )  # fmt: skip
                )
        events.sort(key=lambda event: event.start_us)

    def _forget(self, workspace: Workspace) -> None:
        """Lets go of what belongs to one run."""
        values = workspace.values
        for index in self._transient:
            values[index] = None

    def _initialized(self, workspace: Workspace, store: VariableStore) -> None:
        store.mark_initialized(workspace.pending)
        workspace.pending = []

    def _set_views(self, values: list[Any], root: int, array: Array) -> None:
        for slot in self._views[root]:
            values[slot.index] = _view(array, slot)

    def _conform(self, feeds: tuple[Any, ...]) -> tuple[Array, ...]:
        """Feeds as row-major arrays of the planned shape and dtype, copied where needed."""
        if len(feeds) != len(self.feeds):
            raise ValueError(f"plan {self.name!r} takes {len(self.feeds)} feeds, not {len(feeds)}")
        conformed = []
        for slot, value in zip(self.feeds, feeds, strict=True):
            array = np.asarray(value)
            if array.dtype != slot.dtype:
                raise TypeError(f'feed "{slot.name}" is {array.dtype}, expected {slot.dtype}')
            if array.shape != slot.shape:
                raise ValueError(
                    f'feed "{slot.name}" has shape {list(array.shape)}, expected {list(slot.shape or ())}'
                )
            conformed.append(_row_major(array, slot))
        return tuple(conformed)

    # binding

    def _workspace(self, traced: bool = False) -> Workspace:
        runtime = self._runtime
        runtime.watch(self)
        size = len(self._words)
        table = aligned_empty(max(1, size), np.int64)
        table[:size] = self._words
        table[self._template.table.relative_words] += table.__array_interface__["data"][0]
        arena = aligned_empty(self.layout.peak)
        table[self._template.table.arena_words] += arena.__array_interface__["data"][0]
        segments: list[SegmentCall | None] = []
        calls: list[tuple[Callable[[], None] | None, HostStep | None]] = []
        for step in self.steps:
            if isinstance(step, Segment):
                bound = runtime.segment(table, step.first * RECORD_WORDS, step.count, step)
                segments.append(bound)
                calls.append((bound.call, None))
            else:
                segments.append(None)
                calls.append((None, step))
        only = segments[0] if self._native and segments and not traced else None
        feeds = [self._check(slot, "slot", slot.index, False) for slot in self.feeds]
        outputs = [
            Check(shape, dtype, True, self._patches.get(("output", number), _NO_PATCHES))
            for number, (shape, dtype) in enumerate(self._output_specs)
        ]
        binders = {
            slot.index: runtime.entry(
                table, [self._check(self._slot(slot), "slot", slot.index, False)], [], None
            )
            for slot in self._template.slots
            if slot.kind == "dynamic" and slot.parent is None and ("slot", slot.index) in self._patches
        }
        values: list[Any] = [None] * len(self._template.slots)
        for slot, offset in self._arena_values:
            values[slot.index] = _view(arena[offset:], slot)
        for index, array in self.constants.items():
            values[index] = array
            if index in self._views:
                self._set_views(values, index, array)
        entry = runtime.entry(table, feeds, outputs, only)
        status = table[size - len(self._unset) // 8 : size]
        workspace = Workspace(table, arena, values, entry, only, segments, calls, binders, status)
        workspace.owners.add(id(_owner(arena)))
        return workspace

    def _check(self, slot: Slot, place: str, number: int, writable: bool) -> Check:
        return Check(slot.shape or (), slot.dtype, writable, self._patches.get((place, number), _NO_PATCHES))

    def _bind(self, workspace: Workspace, store: VariableStore) -> None:
        """Puts the addresses of variables, and of what is kept of them, into the table; keeps the buffers alive."""
        for kept in self.kept:
            if kept.stored is None or store.lies_so(kept.stored) is None:
                store.watch(kept.keys)
        version = store.version
        slots = list(self._variable_slots)
        buffers = [store.bind(spec) for spec in self.variables]
        for kept in self.kept:
            slots += kept.slots
            buffers += kept.arrays(store)
        for slot, buffer in zip(slots, buffers, strict=True):
            patches = self._patches.get(("slot", slot.index))
            if patches is not None:
                workspace.table[patches[:, 0]] = patches[:, 1] + buffer.__array_interface__["data"][0]
            workspace.values[slot.index] = buffer
            if slot.index in self._views:
                self._set_views(workspace.values, slot.index, buffer)
        workspace.variables = buffers
        workspace.owners = {id(_owner(workspace.arena)), *(id(_owner(buffer)) for buffer in buffers)}
        workspace.watched = store.watched(self._written)
        workspace.pending = [spec.key for spec in self._written if not store.is_initialized(spec.key)]
        workspace.version = version

    def drop_workspaces(self) -> None:
        """Forgets idle workspaces: gives their memory back, and makes new ones bind anew."""
        self._pool.clear()

    # looking

    @property
    def arena_bytes(self) -> int:
        """Bytes of temporaries of one run, known before the first."""
        return self.layout.peak

    @property
    def peak_bytes(self) -> int:
        """Bytes one run adds to what its feeds and variables take: arena, fetched arrays, constants, what is kept
        of variables, table."""
        outputs = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._output_specs)
        constants = sum(array.nbytes for array in self.constants.values())
        kept = sum(slot.nbytes for kept in self.kept for slot in kept.slots)
        return align(self.layout.peak) + outputs + constants + kept + self._words.nbytes

    @functools.cached_property
    def costs(self) -> tuple[Cost, ...]:
        """What each launch costs, known before the first run; host steps are not in it.

        One in a loop counts as often as the loop turns if that is known, else once.
        """
        return tuple(
            launch.cost.times(turns) for launch, turns in zip(self.launches, self._turns, strict=True)
        )

    @property
    def cost(self) -> Cost:
        """What all launches of one run cost together."""
        return sum(self.costs, Cost())

    @property
    def machine(self) -> Peak:
        """The best the machine does with the plan's threads; measured at the first call in a process."""
        return self._runtime.peak()

    def summary(self) -> str:
        """The plan as text: totals and predicted cost, then one line per step.

        Of a launch: `*` if threads share it, slots read and written, floating-point operations, bytes in and out.
        """
        cost = self.cost
        hosts = sum(isinstance(step, HostStep) for step in self.steps)
        lines = [
            f"plan {self.name or '(unnamed)'}: {len(self.launches)} launches in "
            f"{len(self.steps) - hosts} segments, {hosts} host steps",
            f"predicted {_short(cost.flops)}FLOP, {_short(cost.read)}B read, {_short(cost.written)}B written"
            + (" (host steps not counted)" if hosts else ""),
            f"peak {_short(self.peak_bytes)}B: arena {_short(self.layout.peak)}B (at least "
            f"{_short(self.layout.lower_bound)}B), the rest fetches and constants",
        ]
        lines += [f"feed {slot}" for slot in self.feeds]
        lines += [
            f"variable {slot}{' read' if spec.reads else ''}{' written' if spec.writes else ''}"
            + (f" in {spec.storage}" if spec.storage else "")
            for spec, slot in zip(self.variables, self._variable_slots, strict=True)
        ]
        for plan, slots in self.done:
            lines.append(f"done beforehand -> {', '.join(map(repr, slots))}")
            lines += [f"  {_show_launch(*pair)}" for pair in zip(plan.launches, plan.costs, strict=True)]
        for kept in self.kept:
            lines.append(
                f"kept until {' or '.join(map(str, kept.keys))} is written -> {', '.join(map(repr, kept.slots))}"
            )
            pairs = zip(kept.plan.launches, kept.plan.costs, strict=True)
            lines += [f"  {_show_launch(*pair)}" for pair in pairs]
        for step in self.steps:
            if isinstance(step, HostStep):
                args = ", ".join(f"%{slot.index}" for slot in step.inputs)
                made = ", ".join(repr(self._slot(slot)) for slot in step.outputs)
                lines.append(f"host {step.name}({args}) -> {made}")
                continue
            lines.append(f"segment{' team' if step.team else ''}{' nogil' if step.release else ''}")
            depth = 0
            for number in range(step.first, step.first + step.count):
                record = self.records[number]
                shared, barrier = self._words[RECORD_WORDS * number + 2 : RECORD_WORDS * number + 4].tolist()
                if isinstance(record, Mark):
                    depth -= record.kind in ("last", "left", "case", "otherwise", "join") and depth > 0
                    shown = _show_mark(record)
                    if shown:
                        lines.append(f"{'  ' * depth}    {shown}")
                    depth += record.kind in ("enter", "last", "case", "otherwise")
                else:
                    cost = self.costs[self._launch_numbers[number]]
                    lines.append(f"{'  ' * depth}  {'*' if shared else ' '} {_show_launch(record, cost)}")
                if barrier:
                    end = "" if barrier == 1 else " ends if a check failed"
                    lines.append(f"{'  ' * depth}    ----{end}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Plan {self.name!r}: {len(self.launches)} launches, {len(self.steps)} steps>"


_NO_PATCHES = np.empty((0, 2), np.int64)


def _short(value: float) -> str:
    """A number to three digits, with the space and the prefix that go before its unit."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.3g} P"


def _show_launch(launch: Launch, cost: Cost) -> str:
    args = ", ".join(_show(arg) for arg in launch.args)
    return f"{launch.name}({args})  {_short(cost.flops)}FLOP {_short(cost.read)}B -> {_short(cost.written)}B"


def _show_mark(mark: Mark) -> str:
    slot = "" if mark.slot is None else f"%{mark.slot.index}"
    region = mark.region
    if mark.kind == "enter":
        most = slot or ("" if region.most is None else str(region.most))
        return f"loop {region.name}".rstrip() + (f", {most} turns" if most else "")
    if mark.kind == "leave":
        return f"leave unless {slot}"
    if mark.kind == "case":
        return f"case {slot}" + ("" if mark.number is None else f" is {mark.number}")
    return {"last": "then", "left": "end of loop", "otherwise": "otherwise", "join": "end of cases"}.get(
        mark.kind, ""
    )


def _show(arg: Arg) -> str:
    if isinstance(arg, Ref):
        skip = f"+{arg.offset}" if arg.offset else ""
        return f"{arg.access} %{arg.slot.index}{skip}" + "".join(map(_show_term, arg.slot.terms))
    if isinstance(arg, Count):
        return f"{arg.start}{_show_term(Term(arg.loop, arg.step, 0))}"
    return str(arg)


def _show_term(term: Term) -> str:
    step = f"{term.step:+}*turn" if term.step else ""
    return step + (f"{term.swing:+}*odd" if term.swing else "")


def _view(array: Array, slot: Slot) -> Array:
    """The part of row-major memory that a slot names."""
    shape = slot.shape or ()
    if slot.dtype.hasobject:
        return array.reshape(shape)
    return np.ndarray(shape, slot.dtype, array, slot.offset) if array.size else np.empty(shape, slot.dtype)


def _row_major(array: Array, slot: Slot) -> Array:
    """The same values as plain memory that a kernel can read."""
    flags = array.flags
    if type(array) is np.ndarray and flags.c_contiguous and flags.aligned and array.dtype is slot.dtype:
        return array
    if flags.c_contiguous and flags.aligned and array.dtype.isnative and not slot.dtype.hasobject:
        return np.ndarray(array.shape, slot.dtype, array)  # an equal dtype that is another object
    fresh = np.empty(array.shape, slot.dtype)
    fresh[...] = array
    return fresh


def _loose_dtype(value: Any, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Python numbers take the planned dtype; NumPy scalars and subclasses keep theirs."""
    return None if isinstance(value, (np.generic, np.ndarray)) else dtype


def _mark(error: BaseException, step: HostStep | Refusal) -> BaseException:
    """Leaves a note on an error which step it came from: attribute `plan_step`."""
    try:
        error.plan_step = step  # type: ignore[attr-defined]
    except AttributeError:
        pass
    return error
