"""What is to run, as a `PlanBuilder` is told it: slots, launches, host steps, loops and choices, fetches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.memory import ALIGNMENT, aligned_empty
from graphflow.plan.runtime import Machine
from graphflow.plan.steps import (
    Arg,
    Array,
    Count,
    HostStep,
    Launch,
    Ref,
    Refusal,
    Shape,
    Slot,
    SlotKind,
    Step,
)
from graphflow.regions import Mark, MarkKind, Region, Term
from graphflow.symbolic import Derived, Symbolic, is_symbolic
from graphflow.variable_store import Storage


class Recording:
    """Slots and steps in the order in which they run."""

    def __init__(self, runtime: Machine, name: str = "") -> None:
        self.runtime = runtime
        self.name = name
        self.slots: list[Slot] = []
        self.feeds: list[Slot] = []
        self.constants: dict[int, Array] = {}
        self.derived: dict[int, Derived] = {}  # constants that open sizes decide
        self.variables: dict[Hashable, Slot] = {}
        self.variable_reads: dict[Hashable, bool] = {}
        self.logical: dict[Hashable, tuple[Shape | None, Storage | None]] = {}
        self.steps: list[Step] = []
        self.fetches: list[Slot] = []
        self.assigns: dict[int, Slot] = {}
        self.refusals: list[Refusal] = []
        self._open: list[Region] = []
        self.aligned = False
        self.device = 0  # what is launched from now on is for this one of the back end's devices

    @property
    def threads(self) -> int:
        """The most parts a parallel launch is split into: size per-thread scratch by it."""
        return self.runtime.threads

    # slots

    def _slot(self, kind: SlotKind, name: str, shape: Shape | None, dtype: Any, **more: Any) -> Slot:
        dims = None if shape is None else tuple([n if is_symbolic(n) else int(n) for n in shape])
        slot = Slot(len(self.slots), kind, name, dims, np.dtype(dtype), **more)
        self.slots.append(slot)
        return slot

    def feed(self, shape: Shape, dtype: Any, name: str = "") -> Slot:
        """The next feed of `Plan.run`: a row-major array of this shape and dtype."""
        slot = self._slot("feed", name, shape, dtype)
        self.feeds.append(slot)
        return slot

    def constant(self, value: Any, name: str = "") -> Slot:
        """A value that never changes; copied to memory of its own unless it is read-only and aligned.

        `value`: an array, or a `Derived`, which is there in each plan as its sizes decide.
        """
        if type(value) is Derived:
            slot = self._slot("constant", name, value.shape, value.hint.dtype)
            self.derived[slot.index] = value
            return slot
        array = source = np.asarray(value)
        frozen = source.flags.c_contiguous and not source.flags.writeable and type(source) is np.ndarray
        if not frozen or source.__array_interface__["data"][0] % ALIGNMENT:
            array = aligned_empty(source.shape, source.dtype)
            array[...] = source
            array.flags.writeable = False
        slot = self._slot("constant", name, source.shape, source.dtype)
        self.constants[slot.index] = array
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
        slot = self.variables.get(key)
        if slot is None:
            slot = self._slot("variable", name or str(key), shape, dtype, key=key)
            if storage is not None:
                slot = replace(slot, shape=stored_shape)
                self.slots[slot.index] = slot
            self.variables[key] = slot
            self.variable_reads[key] = False
            self.logical[key] = (shape, storage)
        self.variable_reads[key] |= reads
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
        ends: int = 0,
        name: str = "",
    ) -> Slot:
        """A part of a slot that lies elsewhere in each turn of a loop around its use.

        In turn t of the loop, counted from 0, it lies `offset + t * step` bytes in, and `swing` more if t is odd, and
        `ends` more for each turn that the loop's limit allows. In what runs once after the loop, t is the number of
        turns there were.
        """
        if slot.shape is None or slot.kind == "status":
            raise ValueError(f"{slot} cannot move")
        made = self._slot(
            slot.kind, name or slot.name, shape, slot.dtype if dtype is None else dtype, parent=slot.root,
            offset=slot.offset + offset, key=slot.key, terms=(*slot.terms, Term(loop, step, swing, ends)),
        )  # fmt: skip
        most = loop.most
        for turn in () if most is None else (0, 1, most - 1, most - 2) if step else (0, 1):
            if most is None or ends or not 0 <= turn < most:
                continue
            at = offset + turn * step + (turn % 2 * swing if swing else 0)
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
        self.steps.append(Mark(kind, region, slot, number))

    @contextlib.contextmanager
    def before(self, loop: Region) -> Iterator[None]:
        """What is added meanwhile comes just before a loop that has begun, and runs once."""
        at = next(
            number
            for number in reversed(range(len(self.steps)))
            if isinstance(mark := self.steps[number], Mark) and mark.region is loop and mark.kind == "enter"
        )
        inside, self.steps = self.steps[at:], self.steps[:at]
        was_open, self._open = self._open, self._open[: self._open.index(loop)]
        try:
            yield
        finally:
            self.steps += inside
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
        step = Launch(
            kernel, tuple(args), name, origin, parallel, flops, size, tuple(inplace), layout, self.device
        )
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
        self.steps.append(step)

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
        why: str = "",
    ) -> list[Slot]:
        """Adds a Python call; `outputs`: (shape or None, dtype) of what it returns. Returns their slots."""
        if self._open:
            raise ValueError(f'host step "{name}": in the region "{self._open[-1].name}"')
        made = [self._slot("dynamic", name, shape, dtype) for shape, dtype in outputs]
        self.steps.append(
            HostStep(function, tuple(inputs), tuple(made), name, origin, with_store, with_sizes, why)
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
        self.refusals.append(Refusal(status, tuple(inputs), blame, name, origin, with_sizes))
        return status

    def assign(self, variable: Slot, value: Slot) -> None:
        """Makes `value` the variable's value after the run (once per variable)."""
        if variable.kind != "variable" or variable.parent is not None:
            raise ValueError(f"{variable} is no variable")
        if variable.index in self.assigns:
            raise ValueError(f"{variable} is assigned twice")
        if value.dtype != variable.dtype or value.terms:
            raise TypeError(f"{variable} cannot take {value}")
        if None not in (value.shape, variable.shape) and value.nbytes != variable.nbytes:
            raise ValueError(f"{variable} cannot take {value}")
        self.assigns[variable.index] = value

    def fetch(self, slot: Slot) -> int:
        """Hands the value out; returns its position in the list that `Plan.run` returns."""
        if slot.terms:
            raise ValueError(f"{slot} moves")
        self.fetches.append(slot)
        return len(self.fetches) - 1


class Loop:
    """The launches added inside the `with` block are repeated.

    `region` stands for the loop in slots and arguments that move with its turns.
    """

    def __init__(self, builder: Recording, region: Region, limit: Slot | None) -> None:
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

    def __init__(self, builder: Recording, region: Region) -> None:
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
