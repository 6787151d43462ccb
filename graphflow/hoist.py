"""Which steps of a plan need not run every time: what they make lasts until somebody else writes a variable.

Steps are looked at as what they read and write, by the number of the memory; nothing here knows kernels or slots.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from graphflow.records import dataclass

__all__ = ["Group", "Use", "lasting_groups"]


@dataclass(frozen=True, slots=True)
class Use:
    """A step.

    Attributes:
      reads: memory that it reads.
      writes: memory that it writes.
      movable: whether it may run by itself, ahead of the others.
      cost: nanoseconds, roughly.
    """

    reads: frozenset[int]
    writes: frozenset[int]
    movable: bool
    cost: float


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that are done together, apart from the run.

    Attributes:
      steps: their numbers, in order.
      kept: the memory they write that other steps read.
      variables: the variables that they read; none for what is made of constants alone.
    """

    steps: tuple[int, ...]
    kept: tuple[int, ...]
    variables: frozenset[int]


def lasting_groups(
    uses: Sequence[Use], constants: Set[int], variables: Set[int], handed_out: Set[int], worth: float
) -> list[Group]:
    """Returns the steps that depend on nothing but constants and variables, grouped by the variables.

    A step is among them only if one that runs every time needs what comes of it: what is merely handed out is
    computed in the run that asks for it.

    Args:
      uses: the steps in order.
      constants: memory that never changes.
      variables: memory of the variables that the steps do not write.
      handed_out: memory that is looked at after the last step.
      worth: what the steps of a group must cost for it to be kept; those on constants alone always are.
    """
    lasting = _lasting(uses, constants | variables)
    lasting &= _needed(uses, lasting)
    groups: list[Group] = []
    for steps in _components(uses, sorted(lasting)):
        if _variables(uses, steps, variables) and sum(uses[step].cost for step in steps) < worth:
            lasting.difference_update(steps)
    read_later = handed_out | {
        memory for number, use in enumerate(uses) if number not in lasting for memory in use.reads
    }
    by_variables: dict[frozenset[int], list[int]] = {}
    for steps in _components(uses, sorted(lasting)):
        by_variables.setdefault(_variables(uses, steps, variables), []).extend(steps)
    for read, steps in by_variables.items():
        steps.sort()
        written = dict.fromkeys(memory for step in steps for memory in sorted(uses[step].writes))
        groups.append(Group(tuple(steps), tuple(memory for memory in written if memory in read_later), read))
    return groups


def _lasting(uses: Sequence[Use], given: Set[int]) -> set[int]:
    """The movable steps that read and write nothing that another step makes anew in every run."""
    written = {memory for use in uses for memory in use.writes}
    changing = {
        memory for use in uses for memory in use.reads if memory not in written and memory not in given
    }
    lasting = {number for number, use in enumerate(uses) if use.movable}
    for use in uses:
        if not use.movable:
            changing |= use.writes
    while True:
        # Once is enough unless a step changes memory that an earlier one has begun.
        dropped = []
        for number in sorted(lasting):
            use = uses[number]
            if not changing.isdisjoint(use.reads) or not changing.isdisjoint(use.writes):
                dropped.append(number)
                changing |= use.writes
        if not dropped:
            return lasting
        lasting.difference_update(dropped)


def _needed(uses: Sequence[Use], lasting: Set[int]) -> set[int]:
    """The lasting steps that others need, directly or not."""
    wanted: set[int] = set()
    needed: set[int] = set()
    for number in reversed(range(len(uses))):
        use = uses[number]
        if number in lasting and wanted.isdisjoint(use.writes):
            continue
        wanted |= use.reads
        needed.add(number)
    return needed


def _components(uses: Sequence[Use], steps: Sequence[int]) -> list[list[int]]:
    """The steps apart, where none reads or writes what another one writes."""
    parent = {step: step for step in steps}

    def find(step: int) -> int:
        while parent[step] != step:
            parent[step] = parent[parent[step]]
            step = parent[step]
        return step

    writer: dict[int, int] = {}
    for step in steps:
        for memory in uses[step].writes:
            parent[find(step)] = find(writer.setdefault(memory, step))
    for step in steps:
        for memory in uses[step].reads:
            if memory in writer:
                parent[find(step)] = find(writer[memory])
    components: dict[int, list[int]] = {}
    for step in steps:
        components.setdefault(find(step), []).append(step)
    return list(components.values())


def _variables(uses: Sequence[Use], steps: Sequence[int], variables: Set[int]) -> frozenset[int]:
    return frozenset(memory for step in steps for memory in uses[step].reads if memory in variables)
