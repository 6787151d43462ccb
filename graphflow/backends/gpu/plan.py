"""A plan for a device: the steps of a `plan.Plan`, over places in slabs of the device's memory."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from graphflow.backends.gpu.bound import Bound
from graphflow.backends.gpu.calls import CallLaunch
from graphflow.backends.gpu.convolutions import conv_plan
from graphflow.backends.gpu.device import aligned
from graphflow.backends.gpu.joining import joined, updates_last
from graphflow.backends.gpu.products import aligned_as, gemm_plan
from graphflow.backends.gpu.residents import Residents
from graphflow.backends.gpu.steps import (
    Cond,
    Convolution,
    Copy,
    Gemm,
    HostCall,
    Judge,
    Kernel,
    Leave,
    Loop,
    Memset,
    Place,
    Step,
    Use,
    on_device,
    places_of,
    step_lines,
    walk,
)
from graphflow.loops import ir
from graphflow.loops.library import Conv2D
from graphflow.memory import Request, plan_arena
from graphflow.plan import (
    COPY,
    Count,
    HostStep,
    Launch,
    Plan,
    PlanBuilder,
    PlanTemplate,
    Ref,
    Slot,
    TraceEvent,
)
from graphflow.plan.placing import Home, Placing
from graphflow.plan.steps import refs_of
from graphflow.records import dataclass
from graphflow.regions import Mark
from graphflow.symbolic import Evaluation, Sizes
from graphflow.variable_store import VariableStore

__all__ = ["DevicePlan", "DevicePlanBuilder", "DeviceTemplate"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_FIXED = Sizes().evaluation(())
_WORD = np.dtype(np.int64)
_NARROW = 1 << 30  # what indices of 32 bits are enough for


class DevicePlanBuilder(PlanBuilder):
    """Collects slots and steps, then builds the plan for a device. `backend`: whose devices it is for."""

    def __init__(self, backend: Any, name: str = "") -> None:
        super().__init__(backend, name)
        self.backend = backend

    def template(self) -> DeviceTemplate:
        """Decides what does not depend on the values of symbolic numbers."""
        placing = Placing(self, updates_last(self.steps, self.assigns), self.constants, set(), {})
        return DeviceTemplate(placing, self.backend)


class DeviceTemplate(PlanTemplate):
    """What the plans of one program for different sizes have in common.

    Attributes:
      kernels: the different kernels of loops and native code, in the order in which they are first used.
    """

    def __init__(self, build: Placing, backend: Any) -> None:
        super().__init__(build)
        self.backend = backend
        numbers: dict[int, int] = {}
        self.kernels: list[Any] = []
        for launch in self.launches:
            for kernel in _kernels_of(launch):
                if id(kernel) not in numbers:
                    numbers[id(kernel)] = len(self.kernels)
                    self.kernels.append(kernel)
        self.numbers = numbers

    def plan(self, at: Evaluation | None = None) -> DevicePlan:
        """Returns the plan for the sizes of an evaluation; without one there is no symbolic number."""
        return DevicePlan(self, _FIXED if at is None else at)


def _kernels_of(launch: Launch) -> tuple[ir.Kernel, ...]:
    """The kernels of loops that a launch may run."""
    kernel = launch.kernel
    if isinstance(kernel, CallLaunch):
        return kernel.kernels
    return (kernel,) if isinstance(kernel, ir.Kernel) else ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a plan's memory lies.

    Attributes:
      feeds: where each feed lies in "io"; -1 for one that only host steps read.
      hosted: where values of the host lie that kernels read, by slot, behind the feeds; the early ones come first.
      sent: bytes from the beginning of "io" that are sent at the beginning of a run.
      status: where the words of the checks begin.
      outputs: where each result lies that is brought home at the end of a run; the words lie before them.
      io: bytes of all that.
      constants: where each constant lies in "constants", and each number that kernels take by address, behind them.
      constant_bytes: bytes of these.
      arena: where each temporary lies in "arena".
      arena_bytes: bytes of these.
    """

    feeds: tuple[int, ...]
    hosted: dict[int, int]
    sent: int
    status: int
    outputs: tuple[int, ...]
    io: int
    constants: dict[int, int]
    constant_bytes: int
    arena: tuple[int, ...]
    arena_bytes: int


class DevicePlan(Plan):
    """A plan whose steps run on a device; see `Plan`.

    Attributes:
      device_steps: the steps, in order.
      early: host steps that need nothing of the device and run before anything is sent there.
      places: how memory lies.
      unjudged: how many checks nobody has looked at when the last step is done.
      wide: which of the template's kernels need indices of 64 bits.
      scalars: numbers that kernels take by address, and where these lie among the constants.
      launch_numbers: which of the plan's launches a step is, by the step's id.
    """

    def __init__(self, template: DeviceTemplate, at: Evaluation) -> None:
        super().__init__(template, at)
        self.template = template
        build = template.build
        self.build = build
        self.scalars: list[tuple[int, np.generic]] = []
        self.launch_numbers: dict[int, int] = {}
        self._launched_so_far = 0
        steps = [
            replace(step, function=step.function(at))
            if isinstance(step, HostStep) and step.with_sizes
            else step
            for step in build.steps
        ]
        self.early, late = self._parted(steps)
        self.places = self._laid_out(steps)
        self._scalar_end = self.places.constant_bytes
        self.device_steps = self._judged(joined(self._steps(late)))
        self.constant_bytes = self._scalar_end
        self.wide = self._wide()
        self.refusals = [refusal for refusal, _ in self._refusals]
        self._bounds: weakref.WeakKeyDictionary[Residents, dict[int, Bound]] = weakref.WeakKeyDictionary()

    # places

    def _parted(self, steps: Sequence[Any]) -> tuple[list[HostStep], list[Any]]:
        """The host steps that run before all else, and the other steps."""
        early: list[HostStep] = []
        late: list[Any] = []
        there: set[int] = set()
        launches = held = False
        for step in steps:
            if not isinstance(step, HostStep):
                launches = True
                late.append(step)
                continue
            fine = all(slot.kind in ("feed", "constant") or slot.root.index in there for slot in step.inputs)
            if held or not fine or (step.with_store and launches):
                held = True
                late.append(step)
                continue
            early.append(step)
            there.update(slot.root.index for slot in step.outputs)
        return early, late

    def _laid_out(self, steps: Sequence[Any]) -> Layout:
        build, at = self.build, self._at
        end = 0

        def take(nbytes: int) -> int:
            nonlocal end
            start = end
            end += aligned(nbytes)
            return start

        read = {ref.slot.root.index for step in steps for ref in refs_of(step)}
        read |= {step.slot.root.index for step in steps if isinstance(step, Mark) and step.slot is not None}
        feeds = tuple([take(slot.nbytes) if slot.index in read else -1 for slot in self.feeds])
        hosted: dict[int, int] = {}
        first = [slot for step in self.early for slot in step.outputs]
        others = [s for step in steps if isinstance(step, HostStep) for s in step.outputs]
        sent = end
        for slots in (first, others):
            for slot in slots:
                if slot.index in read and slot.index not in hosted:
                    hosted[slot.index] = take(self._slot(slot).nbytes)
            if slots is first:
                sent = end
        status = take(8 * len(self._refusals))
        outputs = tuple([take(int(np.prod(s, dtype=np.int64)) * d.itemsize) for s, d in self._output_specs])
        io = end
        end = 0
        constants = {
            index: take(array.nbytes) for index, array in self.constants.items() if not array.dtype.hasobject
        }
        constant_bytes = end
        sizes = [aligned(int(at(request.size))) for request in build.requests]
        laid = plan_arena(
            Request(size, first_, last) for size, (_, first_, last) in zip(sizes, build.requests, strict=True)
        )
        return Layout(
            feeds, hosted, sent, status, outputs, io, constants, constant_bytes, laid.offsets, laid.peak
        )

    def place(self, slot: Slot) -> Place:
        """Where a slot lies on the device."""
        slot = self._slot(slot)
        root = slot.root
        home: Home = self.build.home(slot)
        places = self.places
        slab: Hashable = "io"
        if home.place == "arena":
            slab, start = "arena", places.arena[home.number]
        elif home.place == "output":
            start = places.outputs[home.number]
        elif home.place == "constant":
            slab, start = "constants", places.constants[root.index]
        elif home.place == "status":
            start = places.status + 8 * self._status_number[root.index]
        elif self.build.slots[home.number].kind == "variable":
            slab, start = ("variable", self.build.slots[home.number].key), 0
        elif root.kind == "feed":
            start = places.feeds[self._feed_number[root.index]]
        else:
            start = places.hosted[root.index]
        shape = slot.shape or ()
        return Place(
            slab, start + slot.offset, shape, _row_major(shape, slot.dtype.itemsize), slot.dtype, slot.terms
        )

    @functools.cached_property
    def _status_number(self) -> dict[int, int]:
        return {refusal.status.index: number for number, (refusal, _) in enumerate(self._refusals)}

    @functools.cached_property
    def _feed_number(self) -> dict[int, int]:
        return {slot.index: number for number, slot in enumerate(self.feeds)}

    def _scalar(self, value: np.generic) -> Use:
        start = self._scalar_end
        self._scalar_end += aligned(value.dtype.itemsize)
        self.scalars.append((start, value))
        return Use(Place("constants", start, (), (), value.dtype), "r")

    def _use(self, ref: Ref) -> Use:
        place, skip = self.place(ref.slot), int(self._at(ref.offset)) if ref.offset else 0
        return Use(replace(place, offset=place.offset + skip) if skip else place, ref.access, skip)

    # steps

    def _steps(self, steps: Sequence[Any]) -> list[Step]:
        found: list[Step] = []
        open_: list[tuple[Loop | Cond, list[Any]]] = []
        into: list[Any] = found
        for step in steps:
            if isinstance(step, Launch):
                made = self._launched(step)
                self.launch_numbers[id(made)] = self._launched_so_far
                self._launched_so_far += 1
                into.append(made)
                continue
            if isinstance(step, HostStep):
                into.append(self._host_call(step))
                continue
            into = self._marked(step, into, open_)
        return found

    def _marked(self, mark: Mark, into: list[Any], open_: list[tuple[Loop | Cond, list[Any]]]) -> list[Any]:
        """Where the steps behind a mark go."""
        region = mark.region
        word = None if mark.slot is None else Use(self.place(mark.slot), "r")
        if mark.kind == "enter":
            limit = word if word is not None else None if region.most is None else int(self._at(region.most))
            loop = Loop(region, limit, region.name, region.origin)
            into.append(loop)
            open_.append((loop, into))
            return loop.body
        if mark.kind in ("case", "otherwise") and not (open_ and open_[-1][0].region is region):
            cond = Cond(region, region.name, region.origin)
            into.append(cond)
            open_.append((cond, into))
        if mark.kind == "case":
            assert word is not None
            branch: list[Step] = []
            top = open_[-1][0]
            assert isinstance(top, Cond)
            top.cases.append((word, mark.number, branch))
            return branch
        top = open_[-1][0]
        if mark.kind == "otherwise":
            assert isinstance(top, Cond)
            return top.otherwise
        if mark.kind == "leave":
            assert word is not None
            into.append(Leave(word))
        elif mark.kind == "last":
            assert isinstance(top, Loop)
            return top.tail
        elif mark.kind in ("left", "join"):
            return open_.pop()[1]
        return into

    def _launched(self, launch: Launch) -> Step:
        launch = self._launch(launch)
        kernel, name, origin = launch.kernel, launch.name, launch.origin
        if isinstance(kernel, str) and kernel == COPY:
            target, source, size = launch.args
            assert isinstance(target, Ref) and isinstance(source, Ref) and isinstance(size, int)
            return Copy((self._use(target), self._use(source)), size, name, origin)
        args: list[Any] = []
        for arg in launch.args:
            if isinstance(arg, Ref):
                args.append(self._use(arg))
            elif isinstance(arg, np.generic):
                args.append(self._scalar(arg))
            else:
                args.append(arg if isinstance(arg, Count) else int(arg))
        if isinstance(kernel, CallLaunch) and kernel.call is not None:
            stop = len(args) - sum(len(one.params) for one in kernel.kernels)
            count = stop - len(kernel.sizes)
            sizes = dict(zip(kernel.sizes, args[count:stop], strict=True))
            if isinstance(kernel.call, Conv2D):
                rest = iter(args[stop:])
                before, after, instead = (
                    tuple([self._kernel(one, itertools.islice(rest, len(one.params)), launch) for one in row])
                    for row in (kernel.before, kernel.after, kernel.instead)
                )
                first, second, *more, made = args[:count]
                return Convolution(
                    conv_plan(kernel.call, sizes, kernel.tail), (first, second, made, *more),
                    before, after, instead, name, origin,
                )  # fmt: skip
            factor, other, *more, made = args[:count]
            operands = (factor, other, made, *more)
            plan = gemm_plan(kernel.call, sizes, kernel.tail)
            return Gemm(aligned_as(plan, [use.place.alignment for use in operands]), operands, name, origin)
        (only,) = _kernels_of(launch)
        return self._kernel(only, args, launch)

    def _kernel(self, kernel: ir.Kernel, args: Iterable[Any], launch: Launch) -> Kernel:
        return Kernel(self.template.numbers[id(kernel)], tuple(args), launch.name, launch.origin)

    def _wide(self) -> list[bool]:
        """Which kernels need indices of 64 bits: those that meet a value, or a size, of 2**30 or more."""
        wide = [False] * len(self.template.kernels)

        def see(step: Step) -> None:
            if isinstance(step, Kernel):
                large = [
                    arg.place.nbytes // arg.place.dtype.itemsize if isinstance(arg, Use) else arg
                    for arg in step.args
                    if not isinstance(arg, Count)
                ]
                wide[step.function] |= any(abs(number) >= _NARROW for number in large)

        walk(self.device_steps, see)
        return wide

    def _host_call(self, step: HostStep) -> HostCall:
        args = [Use(self.place(slot), "r") for slot in step.inputs if on_device(slot, self._slot(slot))]
        for slot in step.outputs:
            if slot.index in self.places.hosted:
                args.append(Use(self.place(slot), "w"))
        outputs = tuple(map(self._slot, step.outputs))
        return HostCall(
            step, tuple(map(self._slot, step.inputs)), outputs, tuple(args), step.name, step.origin
        )

    @property
    def words(self) -> Place:
        """Where the words of the checks lie."""
        return Place("io", self.places.status, (len(self._refusals),), (8,), _WORD)

    def _judged(self, steps: list[Step]) -> list[Step]:
        """The steps, and looks at the checks before what cannot be undone: writes to variables, calls of the host.

        What is still to be looked at is looked at when the run is over.
        """
        self.unjudged = 0
        if not self._refusals:
            return steps
        words = self.words
        self.unjudged = len(self._refusals)
        found: list[Step] = [Memset((Use(words, "w"),), 0, words.nbytes, "checks")]
        waiting: list[int] = []
        first = self.places.status
        for step in steps:
            inside: list[Step] = []
            walk([step], inside.append)
            uses = [use for one in inside for use in places_of(one)]
            if waiting and (
                isinstance(step, HostCall)
                or any(isinstance(u.place.slab, tuple) and u.access != "r" for u in uses)
            ):
                found.append(Judge(tuple(waiting), (Use(words, "r"),)))
                waiting = []
            found.append(step)
            for use in uses:
                at = use.place.offset - first
                if use.place.slab == "io" and 0 <= at < words.nbytes and use.access != "r":
                    waiting.append(at // 8)
        self.unjudged = len(waiting)
        return found

    # running

    def direct(self, keys: Sequence[object] | None = None) -> Callable[..., Any] | None:
        """Returns None: there is no shorter way."""
        return None

    def run(self, feeds: Sequence[Any] = (), store: VariableStore | None = None) -> list[Array]:
        """Runs once; see `Plan.run`. Feeds may be arrays of the device."""
        return self._run(feeds, store, False)

    def run_on_device(self, feeds: Sequence[Any] = (), store: VariableStore | None = None) -> list[Any]:
        """Runs once; the results stay on the device, as arrays of their own."""
        return self._run(feeds, store, True)

    def _run(self, feeds: Sequence[Any], store: VariableStore | None, stay: bool) -> list[Any]:
        residents: Residents = self.template.backend.residents(store)
        with residents.turn() as depth:
            return self.bound(residents, depth).run(feeds, store, stay)

    def bound(self, residents: Residents, depth: int = 0) -> Bound:
        """The plan in the memory of a session. `depth`: in how many runs of the session this one is."""
        known = self._bounds.setdefault(residents, {})
        found = known.get(depth)
        if found is None:
            found = known[depth] = Bound(self, residents, depth)
        return found

    def run_steps(self, feeds: Sequence[Any], count: int, store: VariableStore | None = None) -> list[Array]:
        """Runs so many times, one behind the other, without coming back to the host in between where that can be.

        Each feed has one value more in front for each run, and so have the results.
        """
        residents: Residents = self.template.backend.residents(store)
        with residents.turn() as depth:
            return self.bound(residents, depth).run_steps(feeds, count, store)

    def run_traced(
        self, feeds: Sequence[Any] = (), store: VariableStore | None = None
    ) -> tuple[list[Array], list[TraceEvent]]:
        """Runs once, step by step, with clocks: each step is waited for."""
        residents: Residents = self.template.backend.residents(store)
        events: list[TraceEvent] = []
        with residents.turn() as depth:
            return self.bound(residents, depth).run(feeds, store, False, events), events

    def drop_workspaces(self) -> None:
        """Forgets what was captured and where it lies."""
        self._bounds.clear()

    # looking

    @property
    def arena_bytes(self) -> int:
        """Bytes of temporaries of one run, known before the first."""
        return self.places.arena_bytes

    @property
    def peak_bytes(self) -> int:
        """Bytes on the device besides variables: temporaries, feeds, results, constants."""
        return self.places.arena_bytes + self.places.io + self.constant_bytes

    @property
    def crossings(self) -> tuple[int, int]:
        """How many values go from the device to host steps or back within a run, and how many bytes."""
        uses = [use for step in self.device_steps if isinstance(step, HostCall) for use in places_of(step)]
        return len(uses), sum(use.nbytes for use in uses)

    @property
    def needed_bytes(self) -> int:
        """Bytes of the host's memory; what the device needs is looked at there, see `Residents.refuse`."""
        return self.places.io + self.constant_bytes

    def largest(self, count: int = 8) -> list[tuple[str, int, str]]:
        """The largest values that lie in the plan's memory: name, bytes, shape."""
        roots = [slot for slot in self.slots if slot.parent is None and slot.shape is not None]
        roots.sort(key=lambda slot: -slot.nbytes)
        return [
            (
                slot.name or slot.kind,
                slot.nbytes,
                f"{slot.dtype.name}[{','.join(map(str, slot.shape or ()))}]",
            )
            for slot in roots[:count]
        ]

    def summary(self) -> str:
        """The plan as text: `Plan.summary`, then the steps on the device."""
        places = self.places
        head = (
            f"on {self.template.backend.device_name}: io {places.io} B, of which {places.sent} B are sent and"
            f" {places.io - places.status} B brought home, arena {places.arena_bytes} B, constants"
            f" {self.constant_bytes} B"
        )
        if self.crossings[0]:
            head += "; {} values of {} B go to and from host steps".format(*self.crossings)
        return "\n".join([super().summary(), head, *step_lines(self.device_steps)])


def _row_major(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    strides = []
    for extent in reversed(shape):
        strides.append(size)
        size *= max(1, extent)
    return tuple(reversed(strides))
