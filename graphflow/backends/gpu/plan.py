"""A plan for a device: the steps of a `plan.Plan`, over places in slabs of the device's memory."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from graphflow.backends.gpu.attentions import AttentionPlan, attention_plan
from graphflow.backends.gpu.bound import Bound
from graphflow.backends.gpu.bound_together import BoundTogether
from graphflow.backends.gpu.calls import BufferArgument, CallLaunch
from graphflow.backends.gpu.convolutions import conv_plan
from graphflow.backends.gpu.device import aligned
from graphflow.backends.gpu.dnn import ALIGNMENT
from graphflow.backends.gpu.joining import joined, updates_last
from graphflow.backends.gpu.products import aligned_as, gemm_plan
from graphflow.backends.gpu.residents import Residents
from graphflow.backends.gpu.spread import Spread
from graphflow.backends.gpu.steps import (
    AllReduce,
    Attention,
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
    Transfer,
    Use,
    device_of,
    on_device,
    places_of,
    step_lines,
    walk,
)
from graphflow.loops import ir, library
from graphflow.memory import Request, plan_arena
from graphflow.plan import (
    COPY,
    Collective,
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
        self.count = len(backend.devices)
        self.spread = Spread(build, self.count) if self.count > 1 else None

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
      others: of each further device where each temporary lies in its "arena", and how many bytes these have.
      borrowed: of each device where values lie that are another one's variables, behind its temporaries.
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
    others: tuple[tuple[tuple[int, ...], int], ...] = ()
    borrowed: tuple[dict[int, int], ...] = ()

    def of(self, arena: tuple[int, ...], nbytes: int) -> Layout:
        """The same with the arena of another device."""
        return replace(self, arena=arena, arena_bytes=nbytes)


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
        self.spread = template.spread
        self._attentions: dict[int, AttentionPlan | None] = {}
        self._number = {id(step): number for number, step in enumerate(steps)}
        self.early, late = self._parted(steps)
        self.places = self._laid_out(steps)
        self._scalar_end = self.places.constant_bytes
        rows = itertools.groupby(self._steps(late), device_of)
        self.device_steps = self._judged([step for _, row in rows for step in joined(list(row))])
        self.constant_bytes = self._scalar_end
        self.wide = self._wide()
        self.refusals = [refusal for refusal, _ in self._refusals]
        self._together: weakref.WeakKeyDictionary[Residents, dict[tuple[int, ...], BoundTogether]] = (
            weakref.WeakKeyDictionary()
        )
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
        spared = self._spared(steps)
        sizes = [
            0 if number in spared else aligned(int(at(request.size)))
            for number, request in enumerate(build.requests)
        ]
        arenas, borrowed = [], []
        for device in range(self.template.count):
            there = self._there(device)
            laid = plan_arena(
                Request(size if there is None or number in there else 0, first_, last)
                for number, (size, (_, first_, last)) in enumerate(zip(sizes, build.requests, strict=True))
            )
            lent, end = self._borrowed(device, laid.peak)
            arenas.append((laid.offsets, end))
            borrowed.append(lent)
        return Layout(
            feeds, hosted, sent, status, outputs, io, constants, constant_bytes, *arenas[0],
            tuple(arenas[1:]), tuple(borrowed),
        )  # fmt: skip

    def _there(self, device: int) -> set[int] | None:
        """The parts of the arena that a device needs; None for all."""
        if self.spread is None:
            return None
        homes = self.build.homes
        return {
            homes[index].number
            for index, devices in self.spread.touched.items()
            if device in devices and index in homes and homes[index].place == "arena"
        }

    def _borrowed(self, device: int, end: int) -> tuple[dict[int, int], int]:
        """Where a device has values of variables that are on another one, from a place on; and where these end."""
        found: dict[int, int] = {}
        for index, devices in () if self.spread is None else sorted(self.spread.touched.items()):
            slot = self.build.slots[index]
            key = self.spread.variable_of(slot) if self.spread is not None else None
            if device in devices and key is not None and self.owner(key) != device:
                found[index] = end
                end += aligned(self._slot(slot).nbytes)
        return found, end

    def owner(self, key: Hashable) -> int:
        """The device that a variable is on."""
        return 0 if self.spread is None else self.spread.variables.get(key, 0)

    def place(self, slot: Slot, device: int | None = None) -> Place:
        """Where a slot lies on a device; None for the first one that has it in the end."""
        slot = self._slot(slot)
        if device is None:
            device = 0 if self.spread is None else self.spread.device_of(slot)
        root = slot.root
        home: Home = self.build.home(slot)
        places = self.places
        slab: Hashable = "io"
        if places.borrowed and root.index in places.borrowed[device]:
            slab, start = "arena", places.borrowed[device][root.index]
        elif home.place == "arena":
            offsets = places.others[device - 1][0] if device else places.arena
            slab, start = "arena", offsets[home.number]
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
        strides = _row_major(shape, slot.dtype.itemsize)
        return Place(slab, start + slot.offset, shape, strides, slot.dtype, slot.terms, device)

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
        return Use(Place("constants", start, (), (), value.dtype, device=self._device), "r")

    def _use(self, ref: Ref) -> Use:
        place, skip = self.place(ref.slot, self._device), int(self._at(ref.offset)) if ref.offset else 0
        return Use(replace(place, offset=place.offset + skip) if skip else place, ref.access, skip)

    # steps

    def _steps(self, steps: Sequence[Any]) -> list[Step]:
        found: list[Step] = []
        open_: list[tuple[Loop | Cond, list[Any]]] = []
        into: list[Any] = found
        for step in steps:
            self._device = 0
            if self.spread is not None:
                number = self._number[id(step)]
                self._device = self.spread.devices[number]
                into += [self._transfer(*move) for move in self.spread.moves[number]]
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
        word = None if mark.slot is None else Use(self.place(mark.slot, self._device), "r")
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

    def _transfer(self, slot: Slot, source: int, target: int) -> Transfer:
        there, here = self.place(slot, target), self.place(slot, source)
        return Transfer((Use(there, "w"), Use(here, "r")), there.nbytes, slot.name)

    def _launched(self, launch: Launch) -> Step:
        number = id(launch)
        launch = self._launch(launch)
        kernel, name, origin = launch.kernel, launch.name, launch.origin
        if isinstance(kernel, Collective):
            uses = []
            for arg, device in zip(launch.args, kernel.devices * 2, strict=True):
                assert isinstance(arg, Ref)
                uses.append(Use(self.place(arg.slot, device), arg.access))
            count = int(self._at(kernel.count))
            return AllReduce(kernel.reduction, count, kernel.dtype, tuple(uses), name, origin)
        if isinstance(kernel, str) and kernel == COPY:
            target, source, size = launch.args
            assert isinstance(target, Ref) and isinstance(source, Ref) and isinstance(size, int)
            return Copy((self._use(target), self._use(source)), size, name, origin)
        if isinstance(kernel, CallLaunch) and isinstance(kernel.call, library.Attention):
            return self._attention(launch, kernel, self._attentions[number])
        return self._made(kernel, self._arguments(launch.args), launch)

    def _arguments(self, given: Iterable[Any]) -> list[Any]:
        args: list[Any] = []
        for arg in given:
            if isinstance(arg, Ref):
                args.append(self._use(arg))
            elif isinstance(arg, np.generic):
                args.append(self._scalar(arg))
            else:
                args.append(arg if isinstance(arg, Count) else int(arg))
        return args

    def _made(self, kernel: Any, args: list[Any], launch: Launch) -> Kernel | Gemm | Convolution:
        """The step of a kernel, or of a library's product or convolution."""
        name, origin = launch.name, launch.origin
        if isinstance(kernel, CallLaunch) and kernel.call is not None:
            stop = len(args) - sum(len(one.params) for one in kernel.kernels)
            count = stop - len(kernel.sizes)
            sizes = dict(zip(kernel.sizes, args[count:stop], strict=True))
            if isinstance(kernel.call, library.Conv2D):
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
            assert isinstance(kernel.call, library.Gemm)
            plan = gemm_plan(kernel.call, sizes, kernel.tail)
            return Gemm(aligned_as(plan, [use.place.alignment for use in operands]), operands, name, origin)
        only = kernel.kernel if isinstance(kernel, CallLaunch) else kernel
        assert isinstance(only, ir.Kernel)
        return self._kernel(only, args, launch)

    def _attention(self, launch: Launch, kernel: CallLaunch, plan: AttentionPlan | None) -> Attention:
        """An attention by the library, or its products; which, was asked before places were given out."""
        given = iter(launch.args)
        operands = self._arguments(itertools.islice(given, len(kernel.operands)))
        for _ in kernel.sizes:
            next(given)
        row = (*kernel.before, *kernel.after)
        kernels = [(one, list(itertools.islice(given, len(one.params)))) for one in row]
        if plan is None:
            parts = []
            for part in kernel.parts:
                args = self._arguments(itertools.islice(given, len(part.arguments)))
                made = self._made(part, args, launch)
                assert not isinstance(made, Convolution)
                parts.append(made)
            return Attention(None, (), (), (), tuple(parts), launch.name, launch.origin)
        made_of = [self._kernel(one, self._arguments(args), launch) for one, args in kernels]
        first, second, third, *more, target = operands
        before = len(kernel.before)
        return Attention(
            plan, (first, second, third, target, *more), tuple(made_of[:before]), tuple(made_of[before:]), (),
            launch.name, launch.origin,
        )  # fmt: skip

    def _attended(self, launch: Launch, kernel: CallLaunch) -> AttentionPlan | None:
        """How the library does an attention; None where it does not."""
        call, count = kernel.call, len(kernel.operands)
        assert isinstance(call, library.Attention)
        if len(call.batch) > 2:
            return None
        for ref in launch.args[:count]:
            assert isinstance(ref, Ref)
            slot = self._slot(ref.slot)
            moves = [number for term in slot.terms for number in (term.step, term.swing, term.ends)]
            skip = int(self._at(ref.offset)) if ref.offset else 0
            if math.gcd(ALIGNMENT, slot.offset + skip, *moves) != ALIGNMENT:
                return None
        numbers = launch.args[count : count + len(kernel.sizes)]
        if any(isinstance(number, Count) for number in numbers):
            return None
        sizes = {name: int(number) for name, number in zip(kernel.sizes, numbers, strict=True)}  # type: ignore[arg-type]
        plan = attention_plan(call, sizes, kernel.operands[-1] == "mixed")
        return plan if self.template.backend.attends(plan) else None

    def _spared(self, steps: Sequence[Any]) -> set[int]:
        """The parts of the arena that only the other way of doing an attention needs. Asks how each one is done."""
        found: set[int] = set()
        for step in steps:
            if not isinstance(step, Launch) or not isinstance(step.kernel, CallLaunch):
                continue
            kernel = step.kernel
            if not isinstance(kernel.call, library.Attention):
                continue
            plan = self._attentions[id(step)] = self._attended(self._launch(step), kernel)
            spared = kernel.scratch[plan is not None]
            for argument, ref in zip(kernel.arguments, step.args, strict=True):
                if isinstance(argument, BufferArgument) and argument.name in spared:
                    assert isinstance(ref, Ref)
                    found.add(self.build.homes[ref.slot.root.index].number)
        return found

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
        args = [
            Use(self.place(slot, self._holder(slot, step)), "r")
            for slot in step.inputs
            if on_device(slot, self._slot(slot))
        ]
        for slot in step.outputs:
            if slot.index in self.places.hosted:
                args.append(Use(self.place(slot, 0), "w"))
        outputs = tuple(map(self._slot, step.outputs))
        return HostCall(
            step, tuple(map(self._slot, step.inputs)), outputs, tuple(args), step.name, step.origin
        )

    @property
    def words(self) -> Place:
        """Where the words of the checks lie."""
        return Place("io", self.places.status, (len(self._refusals),), (8,), _WORD)

    def _holder(self, slot: Slot, step: HostStep) -> int:
        """The device that a host step finds a value on."""
        return 0 if self.spread is None else self.spread.held[self._number[id(step)]].get(slot.root.index, 0)

    def _judged(self, steps: list[Step]) -> list[Step]:
        """The steps, and looks at the checks before what cannot be undone: writes to variables, calls of the host.

        What is still to be looked at is looked at when the run is over.
        """
        self.unjudged = 0
        if not self._refusals:
            return steps
        words = self.words
        self.unjudged = len(self._refusals)
        found: list[Step] = [
            Memset((Use(replace(words, device=device), "w"),), 0, words.nbytes, "checks")
            for device in range(self.template.count)
        ]
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
        with self._turn(store) as bound:
            return bound.run(feeds, store, stay)

    @contextlib.contextmanager
    def _turn(self, store: VariableStore | None) -> Iterator[Bound | BoundTogether]:
        """Inside, the present thread has the devices."""
        every: list[Residents] = self.template.backend.all_residents(store)
        with contextlib.ExitStack() as stack:
            # In one order for all threads, whatever order a plan counts them in.
            depths = {
                residents: stack.enter_context(residents.turn())
                for residents in sorted(every, key=lambda one: one.device.index)
            }
            if self.spread is None:
                yield self.bound(every[0], depths[every[0]])
                return
            known = self._together.setdefault(every[0], {})
            numbers = tuple([depths[residents] for residents in every])
            found = known.get(numbers)
            if found is None:
                found = known[numbers] = BoundTogether(self, every, numbers)
            yield found

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
        with self._turn(store) as bound:
            return bound.run_steps(feeds, count, store)

    def run_traced(
        self, feeds: Sequence[Any] = (), store: VariableStore | None = None
    ) -> tuple[list[Array], list[TraceEvent]]:
        """Runs once, step by step, with clocks: each step is waited for."""
        events: list[TraceEvent] = []
        with self._turn(store) as bound:
            return bound.run(feeds, store, False, events), events

    def drop_workspaces(self) -> None:
        """Forgets what was captured and where it lies."""
        self._bounds.clear()
        self._together.clear()

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
