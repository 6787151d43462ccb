"""Plans from what is recorded; what need not run every time is taken out of them."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from graphflow.hoist import Group, Use, lasting_groups
from graphflow.plan.placing import Home, Placing
from graphflow.plan.plan import Kept, Plan, PlanTemplate
from graphflow.plan.recording import Recording
from graphflow.plan.steps import Count, HostStep, Launch, Ref, Slot, Step, is_open, refs_of
from graphflow.regions import Mark, region_tree
from graphflow.symbolic import Symbolic

_KEPT_NS = 1_000.0  # what takes less is computed anew in every run
# What grows by more than that on its way is not kept.
_KEPT_GROWTH = 8
_KEPT_BYTES = 65_536


# The plans of parts that are in use. Each keeps its runtime alive, so that the runtime's id is nobody else's.
_parts: weakref.WeakValueDictionary[Hashable, Plan] = weakref.WeakValueDictionary()


class PlanBuilder(Recording):
    """Collects slots and steps in the order in which they run, then builds the plan."""

    def build(self) -> Plan:
        """Decides what runs when and where everything lives, and compiles the kernels; all sizes are plain numbers."""
        return self.template().plan()

    def template(self) -> PlanTemplate:
        """Decides and compiles as `build` does, all but what depends on the values of symbolic numbers."""
        return _Ahead(self).template()


class _Ahead:
    """Takes away the steps that depend on nothing that changes from run to run; what they make is there beforehand."""

    def __init__(self, builder: Recording) -> None:
        self.builder = builder
        self.own: Sequence[Step] = builder.steps
        self.constants = dict(builder.constants)
        self.done: list[tuple[Plan, tuple[Slot, ...]]] = []
        self.kept: list[Kept] = []
        self.lasting: set[int] = set()  # buffers that are there before the run begins
        self.homes: dict[int, Home] = {}
        self.unused: set[Hashable] = set()  # variables that only parts read
        self.hoist()

    def template(self) -> PlanTemplate:
        placing = Placing(self.builder, self.own, self.constants, self.lasting, self.homes)
        return PlanTemplate(placing, self.kept, self.done, self.unused)

    def hoist(self) -> None:
        builder = self.builder
        looked_at = {slot.root.index for refusal in builder.refusals for slot in refusal.inputs}
        inner, _ = region_tree(builder.steps)
        uses = [
            self.use(step, looked_at, tree.region is None)
            for step, tree in zip(builder.steps, inner, strict=True)
        ]
        assigned = {slot.index for slot in builder.variables.values() if slot.index in builder.assigns}
        variables = {slot.index for slot in builder.variables.values()} - assigned
        handed_out = {slot.root.index for slot in (*builder.fetches, *builder.assigns.values())}
        groups = lasting_groups(uses, self.constants.keys(), variables, handed_out | looked_at, _KEPT_NS)
        if not groups:
            return
        # All at once: compiling part by part would cost more.
        kernels = {
            number: step.kernel for number, step in enumerate(builder.steps) if isinstance(step, Launch)
        }
        found = builder.runtime.addresses(list(kernels.values()))
        addresses = dict(zip(kernels, found, strict=True))
        for group in groups:
            self.prepare(group, addresses)
        gone = {step for group in groups for step in group.steps}
        self.own = [step for number, step in enumerate(builder.steps) if number not in gone]
        left = {index for number, use in enumerate(uses) if number not in gone for index in use.reads}
        left |= handed_out | looked_at
        self.constants = {index: array for index, array in self.constants.items() if index in left}
        self.unused = {key for key, slot in builder.variables.items() if slot.index in variables - left}

    def use(self, step: Step, looked_at: set[int], movable: bool) -> Use:
        if isinstance(step, Mark):
            return Use(
                frozenset(() if step.slot is None else (step.slot.root.index,)), frozenset(), False, 0.0
            )
        if isinstance(step, HostStep):
            reads = frozenset(slot.root.index for slot in step.inputs)
            return Use(reads, frozenset(slot.root.index for slot in step.outputs), False, 0.0)
        refs = refs_of(step)
        read = {ref.slot.root.index for ref in refs if ref.access != "w"}
        written = {ref.slot.root for ref in refs if ref.access != "r"}
        taken = sum({ref.slot.root: ref.slot.nbytes for ref in refs if ref.access == "r"}.values())
        # Not so: operands that are checked in the run, such as would not fit, what a region decides about, and what is
        # another thing for other sizes.
        movable = (
            movable
            and read.isdisjoint(looked_at)
            and all(slot.kind == "buffer" for slot in written)
            and not is_open(step)
            and sum(slot.nbytes for slot in written) <= _KEPT_GROWTH * taken + _KEPT_BYTES
        )
        cost = max(100.0, step.nanoseconds) if movable else 100.0
        return Use(frozenset(read), frozenset(slot.index for slot in written), movable, cost)

    def prepare(self, group: Group, addresses: Mapping[int, int]) -> None:
        """Sees to it that what some steps make is there: now, or with the session's variables."""
        made = tuple(self.builder.slots[index] for index in group.kept)
        self.lasting.update(group.kept)
        signature = self.signature(group.steps, made, addresses)
        plan = None if signature is None else _parts.get(signature)
        if plan is None:
            plan = self.build(group.steps, made)
            if signature is not None:
                _parts[signature] = plan
        if not group.variables:
            for slot, array in zip(made, plan.run(), strict=True):
                array.flags.writeable = False
                self.constants[slot.index] = array
                self.homes[slot.index] = Home("constant", slot.index)
            self.done.append((plan, made))
            return
        for slot in made:
            self.homes[slot.index] = Home("slot", slot.index)
        stored = None
        steps = [self.builder.steps[step] for step in group.steps]
        if len(steps) == len(made) == len(plan.variables) == 1 and isinstance(steps[0], Launch):
            stored = replace(plan.variables[0], storage=steps[0].layout) if steps[0].layout else None
        self.kept.append(Kept(plan, made, tuple(spec.key for spec in plan.variables), stored))

    def build(self, steps: Sequence[int], made: Sequence[Slot]) -> Plan:
        """A plan of some of the steps that hands out what they make."""
        builder = self.builder
        part = Recording(builder.runtime, builder.name)
        part.slots = builder.slots
        part.steps = [builder.steps[step] for step in steps]
        part.fetches = list(made)
        part.aligned = True
        touched = {ref.slot.root for step in part.steps for ref in refs_of(step)}
        part.constants = {
            s.index: builder.constants[s.index] for s in touched if s.index in builder.constants
        }
        part.variables = {s.key: builder.variables[s.key] for s in touched if s.kind == "variable"}
        part.variable_reads = dict.fromkeys(part.variables, True)
        part.logical = builder.logical
        placing = Placing(part, part.steps, part.constants, set(), {})
        return PlanTemplate(placing).plan()

    def signature(
        self, steps: Sequence[int], made: Sequence[Slot], addresses: Mapping[int, int]
    ) -> Hashable | None:
        """What the plan of some steps depends on, so that plans for other sizes share it; None if it is not shared.

        Memory goes by the order in which it is first used, kernels by their addresses.
        """
        builder = self.builder
        known: dict[Slot, int] = {}
        memory: list[Hashable] = []

        def number(slot: Slot) -> int:
            found = known.get(slot)
            if found is None:
                parent = None if slot.parent is None else number(slot.parent)
                found = known[slot] = len(known)
                logical = builder.logical.get(slot.key) if slot.kind == "variable" else None
                memory.append((slot.kind, slot.shape, slot.dtype, parent, slot.offset, slot.key, logical))
            return found

        calls: list[Hashable] = []
        for at in steps:
            step = builder.steps[at]
            if not isinstance(step, Launch) or any(ref.slot.root.kind == "constant" for ref in refs_of(step)):
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
        return id(builder.runtime), tuple(calls), tuple(map(number, made)), tuple(memory)
