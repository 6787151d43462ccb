"""Updates of variables as one launch: those of an optimizer wait for each other at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.backends.gpu.calls import CallLaunch
from graphflow.backends.gpu.steps import Joined, Kernel, Step, Use, places_of
from graphflow.loops import ir
from graphflow.plan import Launch, Slot
from graphflow.plan.steps import refs_of

__all__ = ["joined", "updates_last"]


def updates_last(steps: Sequence[Any], assigns: Mapping[int, Slot]) -> list[Any]:
    """The steps of a plan, the updates of variables behind all that does not need them.

    Args:
      steps: what is launched and what else there is.
      assigns: for each variable that is written, by its slot's number, what its new value is.
    """
    owners = {slot.root.index: variable for variable, slot in assigns.items()}
    late: list[Any] = []
    rest: list[Any] = []
    wanted: set[int] = set()  # values that steps read which stay
    written: set[int] = set()  # variables that they write
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        if not isinstance(step, Launch):
            # What is in a loop or a branch stays there, and what the host does may look at variables.
            rest += reversed(steps[: place + 1])
            break
        refs = refs_of(step)
        made = {ref.slot.root.index for ref in refs if ref.access != "r"}
        read = {ref.slot.root.index for ref in refs if ref.access != "w"}
        fine = (
            any(index in owners for index in made)
            and _is_kernel(step)
            and not any(ref.slot.kind == "status" for ref in refs)
        )
        if fine and not made & wanted and not read & written:
            late.append(step)
            continue
        rest.append(step)
        wanted |= read
        written |= {owners[index] for index in made if index in owners}
    return rest[::-1] + late[::-1]


def _is_kernel(launch: Launch) -> bool:
    kernel = launch.kernel
    return isinstance(kernel, ir.Kernel) or (isinstance(kernel, CallLaunch) and kernel.kernel is not None)


def joined(steps: Sequence[Step]) -> list[Step]:
    """The steps, with neighbours that write variables and do not meet each other as one."""
    found: list[Step] = []
    row: list[Kernel] = []

    def end() -> None:
        found.extend(row if len(row) < 2 else [Joined(tuple(row), _name(row))])
        row.clear()

    for step in steps:
        if not _updates(step):
            end()
            found.append(step)
            continue
        assert isinstance(step, Kernel)
        if any(_meet(step, other) for other in row):
            end()
        row.append(step)
    end()
    return found


def _name(row: Sequence[Kernel]) -> str:
    return f"{row[0].name} and {len(row) - 1} more"


def _updates(step: Step) -> bool:
    """Whether a step is a kernel that writes a variable, the same in every turn."""
    if not isinstance(step, Kernel) or not all(isinstance(arg, Use | int) for arg in step.args):
        return False
    uses = places_of(step)
    if any(use.place.terms for use in uses):
        return False
    return any(use.access != "r" and isinstance(use.place.slab, tuple) for use in uses)


def _meet(one: Kernel, other: Kernel) -> bool:
    """Whether one of two kernels writes what the other reads or writes."""
    for a in places_of(one):
        for b in places_of(other):
            if a.access == b.access == "r" or a.place.slab != b.place.slab:
                continue
            if (
                a.place.offset < b.place.offset + b.place.nbytes
                and b.place.offset < a.place.offset + a.place.nbytes
            ):
                return True
    return False
