"""What a device's plan does: steps over places in slabs, in the order in which they go on the stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from graphflow.backends.gpu.attentions import AttentionPlan
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.backends.gpu.device import ALIGNMENT
from graphflow.backends.gpu.products import GemmPlan
from graphflow.plan import Count, HostStep, Slot
from graphflow.records import dataclass, field
from graphflow.regions import Region, Term

__all__ = [
    "AllReduce",
    "Attention",
    "Cond",
    "Convolution",
    "Copy",
    "Gemm",
    "HostCall",
    "Joined",
    "Judge",
    "Kernel",
    "Loop",
    "Memset",
    "Place",
    "Step",
    "Transfer",
    "Use",
    "device_of",
    "inner_steps",
    "on_device",
    "places_of",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies.

    Attributes:
      slab: "arena", "io", "constants", "workspace", or ("variable", key).
      offset: bytes from its beginning.
      shape: extents.
      stride: bytes from one element to the next, along each axis.
      dtype: of the elements.
      terms: how it moves with the turns of loops around.
      device: which of the plan's devices it is on.
    """

    slab: Hashable
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: np.dtype[Any]
    terms: tuple[Term, ...] = ()
    device: int = 0

    @property
    def alignment(self) -> int:
        """Bytes to which the place is aligned, wherever its slab lies and in every turn."""
        moves = [number for term in self.terms for number in (term.step, term.swing, term.ends)]
        return math.gcd(ALIGNMENT, self.offset, *moves)

    @property
    def nbytes(self) -> int:
        """Bytes of a value without gaps."""
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size


Access = Literal["r", "w", "rw"]


@dataclass(frozen=True, slots=True)
class Use:
    """A place as a step uses it. `skip`: how many bytes behind the value's beginning the place begins."""

    place: Place
    access: Access
    skip: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes from where the place begins to the end of the value."""
        return self.place.nbytes - self.skip


Argument: TypeAlias = "Use | int | Count"


@dataclass(frozen=True, eq=False, slots=True)
class Kernel:
    """A kernel of the loop language. `function`: which of the plan's."""

    function: int
    args: tuple[Argument, ...]
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Joined:
    """Kernels that write variables and do not depend on each other, as one launch."""

    parts: tuple[Kernel, ...]
    name: str
    origin: Any = None

    @property
    def args(self) -> tuple[Argument, ...]:
        """What all of them take."""
        return tuple([arg for part in self.parts for arg in part.args])


@dataclass(frozen=True, eq=False, slots=True)
class Gemm:
    """A matrix product by the library: `a`, `b`, `c`, perhaps the bias."""

    plan: GemmPlan
    args: tuple[Use, ...]
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Convolution:
    """A convolution by the library: its two operands, its result, perhaps the bias.

    `before` and `after` belong to it; `instead` is what is done where the device has no library for it.
    """

    plan: ConvPlan
    args: tuple[Use, ...]
    before: tuple[Kernel, ...]
    after: tuple[Kernel, ...]
    instead: tuple[Kernel, ...]
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Attention:
    """An attention by the library: `q`, `k`, `v`, the result, perhaps what is added to the scores.

    `before` and `after` belong to it. `instead`: its products and what is between them, where the library does not do
    it; there is nothing else then, and no plan.
    """

    plan: AttentionPlan | None
    args: tuple[Use, ...]
    before: tuple[Kernel, ...]
    after: tuple[Kernel, ...]
    instead: tuple[Kernel | Gemm, ...]
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Copy:
    """Bytes from place to place: the target, the source."""

    args: tuple[Use, Use]
    nbytes: int
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Memset:
    """Every byte of a place set."""

    args: tuple[Use]
    value: int
    nbytes: int
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Transfer:
    """Bytes from one device to another: the target, the source."""

    args: tuple[Use, Use]
    nbytes: int
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class AllReduce:
    """Values of several devices become one, which each of them gets: as many places that are read, then written."""

    reduction: str
    count: int
    dtype: str
    args: tuple[Use, ...]
    name: str
    origin: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class HostCall:
    """A Python callable on arrays of the host: what it reads is brought home before, what it returns sent after."""

    step: HostStep
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    args: tuple[Use, ...]
    name: str
    origin: Any = None

    @property
    def read_slots(self) -> tuple[Slot, ...]:
        """What is brought home, in the order of the places that are read."""
        given = zip(self.step.inputs, self.inputs, strict=True)
        return tuple([slot for slot, present in given if on_device(slot, present)])


@dataclass(frozen=True, eq=False, slots=True)
class Judge:
    """The words of checks are looked at: the run ends here if one is set. `refusals`: their numbers."""

    refusals: tuple[int, ...]
    args: tuple[Use, ...]
    name: str = "checks"
    origin: Any = None


@dataclass(eq=False, slots=True)
class Loop:
    """Steps that are repeated.

    Attributes:
      region: what stands for the loop in places that move.
      limit: the most turns: a number, a word on the device, or None.
      body: what is done in each turn: steps, and words (places) that end the loop where they do not hold.
      tail: what is done once after the turns.
    """

    region: Region
    limit: Use | int | None
    name: str = ""
    origin: Any = None
    body: list[Step | Leave] = field(default_factory=list)
    tail: list[Step] = field(default_factory=list)

    @property
    def args(self) -> tuple[Use, ...]:
        """What is looked at."""
        return (self.limit,) if isinstance(self.limit, Use) else ()

    @property
    def fixed(self) -> bool:
        """Whether the number of turns is known before the run."""
        return isinstance(self.limit, int) and not any(isinstance(step, Leave) for step in self.body)


@dataclass(frozen=True, eq=False, slots=True)
class Leave:
    """The loop ends here unless a word holds."""

    word: Use


@dataclass(eq=False, slots=True)
class Cond:
    """Steps of which one branch is done: the first whose word holds, or has its number; else the last."""

    region: Region
    name: str = ""
    origin: Any = None
    cases: list[tuple[Use, int | None, list[Step]]] = field(default_factory=list)
    otherwise: list[Step] = field(default_factory=list)

    @property
    def args(self) -> tuple[Use, ...]:
        """What is looked at."""
        return tuple(word for word, _, _ in self.cases)


Step: TypeAlias = (
    Kernel
    | Joined
    | Gemm
    | Convolution
    | Attention
    | Copy
    | Memset
    | Transfer
    | AllReduce
    | HostCall
    | Judge
    | Loop
    | Cond
)


def inner_steps(step: Loop | Cond | Convolution | Attention | Joined) -> list[Step]:
    """The steps of a loop or a choice, what a convolution or an attention consists of, what is joined."""
    if isinstance(step, Joined):
        return list(step.parts)
    if isinstance(step, Attention):
        return list(step.instead or (*step.before, *step.after))
    if isinstance(step, Convolution):
        return [*step.before, *step.after, *step.instead]
    if isinstance(step, Loop):
        return [one for one in step.body if not isinstance(one, Leave)] + step.tail
    return [one for _, _, steps in step.cases for one in steps] + step.otherwise


def device_of(step: Step) -> int:
    """Which of the plan's devices does a step."""
    found: list[int] = []
    walk([step], lambda one: found.extend(use.place.device for use in places_of(one)))
    return found[0] if found else 0


def on_device(slot: Slot, present: Slot) -> bool:
    """Whether a host step finds a value on the device. `present`: the slot as it is for the plan's sizes."""
    fits = present.shape is not None and not present.dtype.hasobject
    return fits and slot.root.kind in ("buffer", "variable")


def places_of(step: Step) -> list[Use]:
    """What a step reads and writes, itself."""
    return [arg for arg in step.args if isinstance(arg, Use)]


def walk(steps: Sequence[Step], see: Callable[[Step], None]) -> None:
    """Shows every step, those inside others after these."""
    for step in steps:
        see(step)
        if isinstance(step, Loop | Cond | Convolution | Attention | Joined):
            walk(inner_steps(step), see)


def step_lines(steps: Sequence[Step], indent: str = "  ") -> list[str]:
    """Steps as text, one line each."""
    lines: list[str] = []
    for step in steps:
        what = type(step).__name__.lower()
        if isinstance(step, Joined):
            lines += [f"{indent}joined {step.name}", *step_lines(step.parts, indent + "  ")]
            continue
        if isinstance(step, Attention) and step.instead:
            lines += [
                f"{indent}attention {step.name}, its products",
                *step_lines(step.instead, indent + "  "),
            ]
            continue
        uses = ", ".join(f"{use.access} {_show(use.place)}" for use in places_of(step))
        lines.append(f"{indent}{what} {step.name}({uses})")
        if isinstance(step, Loop):
            inside = [one for one in step.body if not isinstance(one, Leave)]
            lines += step_lines(inside, indent + "  ")
            if step.tail:
                lines += [f"{indent}then", *step_lines(step.tail, indent + "  ")]
        elif isinstance(step, Cond):
            for number, (_, _, branch) in enumerate(step.cases):
                lines += [f"{indent}case {number}", *step_lines(branch, indent + "  ")]
            lines += [f"{indent}otherwise", *step_lines(step.otherwise, indent + "  ")]
    return lines


def _show(place: Place) -> str:
    slab = place.slab[1] if isinstance(place.slab, tuple) else place.slab
    moves = "~" if place.terms else ""
    if place.device:
        slab = f"{place.device}:{slab}"
    return f"{slab}+{place.offset}{moves}:{place.dtype.name}[{','.join(map(str, place.shape))}]"
