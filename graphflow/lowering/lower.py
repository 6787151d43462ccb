"""Program to plan: places values in slots and turns groups, calls and host nodes into steps."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from graphflow.backends.base import Backend, Pack, device_kind
from graphflow.loops import ir
from graphflow.loops.library import (
    ACCUMULATOR,
    Attention,
    AttentionGradient,
    Call,
    Conv2D,
    Epilogue,
    EpilogueOperand,
    Gemm,
)
from graphflow.lowering.attention import Backward, attention_gradient_of, attention_of
from graphflow.lowering.calls import CallNode, bytes_of, call_of
from graphflow.lowering.checks import bounds_kernel, component_kernel, order_kernel
from graphflow.lowering.collectives import ALL_REDUCE, devices_of, with_plain_reductions
from graphflow.lowering.epilogues import folds_whole, held_in, over_of, renamed_in
from graphflow.lowering.forms import Form, bounds_of, lasting_values, native
from graphflow.lowering.fuse import Group, fuse
from graphflow.lowering.kernels import (
    MOST_SHARES_OF_MANY,
    STREAM_ALL,
    STREAM_FROM,
    Body,
    Lowered,
    body_of,
    lower_group,
)
from graphflow.lowering.movement import Block, block_kernel, blocks_of
from graphflow.lowering.native_regions import Finish, NativeRegions, Nested
from graphflow.lowering.nested import host_runner
from graphflow.lowering.nests import SEED_WORDS, Nest, Scratch, nest_of, seed_words, streamed, streams
from graphflow.lowering.placed import Part, parts_of
from graphflow.lowering.prologues import first_factor, with_prologue
from graphflow.lowering.recompute import recomputed
from graphflow.lowering.sizes import Size, reshaped, row_major, value_sizes
from graphflow.lowering.storage import Update, panels_of_variables
from graphflow.lowering.strided import (
    Product,
    Strides,
    before_transpose,
    product_strides,
    with_operands_in_place,
    with_result_at,
)
from graphflow.lowering.turns import LOOP_ROWS
from graphflow.lowering.windows import view_of
from graphflow.plan import (
    COPY,
    Arg,
    Collective,
    Plan,
    PlanBuilder,
    PlanTemplate,
    Ref,
    Slot,
    read,
    update,
    write,
)
from graphflow.program import NESTED, VARIABLE, Node, Program, Value
from graphflow.records import dataclass
from graphflow.reference import run_node
from graphflow.regions import Region
from graphflow.symbolic import Evaluation, Symbolic, about, greatest, is_symbolic, least, now
from graphflow.turns import Bounds
from graphflow.variable_store import Panels

_MOST_EPILOGUE_OPERANDS = 12
_NO_STATE: Any = None  # bodies without effects ask nothing of the session


def lower(program: Program, backend: Backend, name: str = "", finish: Finish | None = None) -> Plan:
    """Returns the plan of a specialized program, all sizes plain numbers, on a back end; see `lower_open`."""
    return lower_open(program, backend, name, finish).plan()


def lower_open(
    program: Program, backend: Backend, name: str = "", finish: Finish | None = None
) -> PlanTemplate:
    """Returns what makes the plans of a specialized program, whose sizes may be symbolic, on a back end.

    Args:
      program: the program.
      backend: where the plans run.
      name: what to call them.
      finish: the passes for a nested program whose sizes are known only in the run.
    """
    return _Lowering(program, backend, name, finish).template()


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a value lies inside another one: from which element on, and how far apart; None: as if alone."""

    whole: Value
    offset: Size
    strides: tuple[Size, ...] | None


class _Lowering(NativeRegions):
    """One run of `lower`, or the part of one that a nested program is."""

    def __init__(
        self,
        program: Program,
        backend: Backend,
        name: str,
        finish: Finish | None = None,
        builder: PlanBuilder | None = None,
    ) -> None:
        self.program = program = with_plain_reductions(program, backend.devices)
        self.backend = backend
        self.finish = finish
        self.builder = backend.builder(name) if builder is None else builder
        self.slots: dict[Value, Slot] = {}
        self.call_nodes: dict[Node, CallNode] = {}
        self.nests: dict[Node, Nest] = {}
        self.together: dict[
            Node, tuple[Node, ...]
        ] = {}  # products of one call, by the one that stands for all
        self.packs: dict[tuple[str, Value, str], Slot] = {}
        self.parts: dict[Value, _Part] = {}
        self.skipped: set[Node] = set()  # views whose work a library call does
        self.turned: dict[Value, tuple[Value, Strides]] = {}  # results that are stored in another's order
        self.checked: set[tuple[Value, bool, int, int | tuple[int, ...]]] = set()
        self.nested: dict[Node, Nested] = {}
        self.placed: dict[Node, Part] = {}  # parts that are the processor's, by their first nodes
        self.hosted: dict[Node, str] = {}  # branches and loops that run from the host, and why
        self.loop: Region | None = None
        self.depth = 0  # in how many regions this lies
        self.bounds = Bounds({})  # what is known of numbers that only the run knows
        self.targets: dict[Value, Slot] = {}  # where results are wanted
        self.rows: dict[Value, Node] = {}  # results that are made where they are wanted, in a row of others
        self.set_already: set[Node] = set()  # what sets rows that are made where they lie
        self.steady: set[Value] = set()  # what a loop around leaves as it is

    def template(self) -> PlanTemplate:
        program, builder = self.program, self.builder
        for value in program.feeds:
            sizes = value.sizes
            if sizes is None:
                raise ValueError(f"the sizes of feed {value.node.name!r} are not known")
            self.slots[value] = builder.feed(sizes, value.dtype.numpy, value.node.name)
        self.prepare()
        self.draw()
        self.emit()
        for variable, value in program.commits:
            slot = self.variable(variable, value)
            builder.assign(slot, self.slot(value))
        for value in program.fetches:
            builder.fetch(self.slot(value))
        return builder.template()

    def prepare(self) -> None:
        """Decides which steps there are to be; adds none yet."""
        program = self.program
        self.fusion = fuse(program, self.has_call, self.on_host, self.device_of)
        self.forms, self.group_of = self.fusion.forms, self.fusion.group_of
        self.uses = {
            value: [user for user in users if self.forms[user] is not Form.UNIFORM]
            for value, users in program.users().items()
        }
        self.lasting = lasting_values(program, self.forms)
        self.roots = set(program.roots)
        self.fetched = set(program.fetches)
        self.leave_out()
        self.set_apart()
        self.read_in_place()
        self.factors = collections.Counter(
            _factor(found) for found in self.call_nodes.values() if isinstance(found.call, Gemm)
        )
        if "attention" in self.backend.absorbs:
            self.join_attention(False)
        if "attention16" in self.backend.absorbs:
            self.join_attention(True)
        self.place_results({node: node.outputs[0] for node in self.call_nodes})
        absorbed = self.absorbed = self.absorb_calls(self.fusion.order)
        self.compute_again(absorbed)
        if "prologue" in self.backend.absorbs:
            self.absorb_prologues(absorbed)
        updates: list[Update] = []
        for group, node in absorbed.items():
            fitted = self.epilogue(group, node, self.body(group))
            assert fitted is not None
            updates.append((*fitted, group.nodes))
            epilogue = getattr(fitted[0], "epilogue", None)
            if epilogue and not any(operand.over == "element" for operand in epilogue.operands):
                if len(fitted[2]) == 1:
                    self.place_results({node: next(iter(fitted[2].values()))})
        self.stored = panels_of_variables(
            program, updates, self.uses, self.call_nodes, self.backend.panel_width, self.folds
        )
        self.streams = self.stream(absorbed)
        self.place_rows()
        self.place_parts(absorbed)

    def emit(self) -> None:
        """Adds the steps."""
        absorbed = self.absorbed
        taken = set(absorbed.values())
        streaming = {id(group) for group in self.streams.values()}
        late = [entry for entry in self.fusion.order if self.can_wait(entry)]
        # What the session says of itself is asked for at once: in between it would keep native steps apart.
        early = [entry for entry in self.fusion.order if _asks_the_session(entry)]
        moved = {id(entry) for entry in (*early, *late)}
        for entry in early + [entry for entry in self.fusion.order if id(entry) not in moved] + late:
            if id(entry) in streaming:
                continue
            if not self.depth:
                self.builder.device = self.device_of(entry.nodes[0] if isinstance(entry, Group) else entry)
            if isinstance(entry, Group):
                self.group(entry, absorbed.get(entry))
            elif entry not in taken:
                self.single(entry)

    # -- slots ------------------------------------------------------------------------------------

    def slot(self, value: Value) -> Slot:
        """The slot of a value that lies in memory."""
        slot = self.slots.get(value)
        if slot is None:
            node = value.node
            if node.op_def is VARIABLE:
                name, panels = node.attrs["variable"], self.stored.get(value)
                shape = None if panels is None else panels.stored_shape(value.sizes or ())
                slot = self.builder.variable(
                    name, value.sizes, value.dtype.numpy, name, storage=panels, stored_shape=shape
                )
            elif value.is_constant and native(value):
                slot = self.builder.constant(value.derived or value.constant, node.name)
            elif value.constant is not None:
                constant = value.constant
                (slot,) = self.builder.host(
                    lambda: constant, (), [(constant.shape, constant.dtype)], name=node.name
                )
            else:
                raise AssertionError(f"{value!r} is not in memory")
            self.slots[value] = slot
        return slot

    def variable(self, name: str, value: Value) -> Slot:
        """The slot of a variable that is written."""
        known = self.program.variables.get(name)
        if known is not None:
            return self.slot(known)
        return self.builder.variable(name, value.sizes, value.dtype.numpy, name, reads=False)

    def needed(self, group: Group) -> list[Value]:
        """The members' values that are used outside."""
        members = set(group.nodes)
        return [value for node in group.nodes for value in node.outputs if self.taken(value, members)]

    def taken(self, value: Value, members: set[Node]) -> bool:
        """Whether anybody but the members needs a value, as it is or stretched."""
        if value in self.roots:
            return True
        for user in self.uses.get(value, ()):
            group = self.group_of.get(user)
            if group is not None and value.node in group.copies:
                continue
            copies = [made for made in user.outputs if made in self.fusion.stretched]
            if user not in members and not (copies and not self.taken(copies[0], members)):
                return True
        return False

    # -- library calls and what is folded into them --------------------------------------------------

    def has_call(self, node: Node) -> bool:
        found = call_of(node)
        if found is not None and self.takes(found):
            self.call_nodes[node] = found
            return True
        if node.type == ALL_REDUCE:
            return True
        if node.op_def in NESTED:
            return self.nests_natively(node)
        if self.is_row(node):
            return True
        nest = nest_of(node, many_threads=self.backend.many_threads)
        if nest is not None:
            self.nests[node] = nest
            return True
        return blocks_of(node) is not None

    def takes(self, found: CallNode) -> bool:
        """Whether the back end makes a call: products of float16 factors not all do."""
        return "float16" in self.backend.absorbs or getattr(found.call, "operand_dtype", None) != "f16"

    def on_host(self, node: Node) -> bool:
        """Whether a node was placed on the processor, while the plan is for another device."""
        device = "" if self.backend.name == "cpu" or node.origin is None else node.origin.device
        return bool(device) and device_kind(device)[0] == "cpu" and "CPU" in device

    def device_of(self, node: Node) -> int:
        """Which of the back end's devices a node is placed on; the first where nothing is said."""
        if len(self.backend.devices) < 2 or node.origin is None or "GPU" not in node.origin.device:
            return 0
        number = device_kind(node.origin.device)[1]
        return number if number < len(self.backend.devices) else 0

    def set_apart(self) -> None:
        """Finds the parts of the program that the processor does, while the plan is for another device."""
        if self.backend.processor is self.backend:
            return
        position = {entry: number for number, entry in enumerate(self.fusion.order)}
        self.placed = parts_of(
            self.program,
            self.fusion.order,
            self.on_host,
            lambda value, turn: self.made_before(value, turn, position),
        )
        for first, part in self.placed.items():
            self.skipped.update(node for node in part.nodes if node is not first)

    def read_in_place(self) -> None:
        """Lets matrix products read transposes, slices and reshapes where the elements lie."""
        for node, found in list(self.call_nodes.items()):
            batch = value_sizes(node.outputs[0])[:-2]
            moved = with_operands_in_place(found, batch, self.forms, self.group_of)
            if moved is None:
                continue
            self.call_nodes[node] = moved
            for name, value in found.operands.items():
                if moved.operands[name] is not value:
                    self.uses[moved.operands[name]].append(node)
                    if value not in moved.operands.values():
                        self.drop_use(value, node)

    def drop_use(self, value: Value, user: Node) -> None:
        """Notes that a node no longer takes a value; what only this was for is dropped with it."""
        users = self.uses[value]
        users[:] = [other for other in users if other is not user]
        node = value.node
        if users or value in self.roots or any(self.uses.get(other) for other in node.outputs):
            return
        if self.forms[node] is Form.ALIAS and node not in self.group_of:
            self.skipped.add(node)
            for source in node.inputs:
                self.drop_use(source, node)

    def join_attention(self, halves: bool) -> None:
        """Makes one call of two products with a softmax between them, and one of their gradients, where nobody else
        takes anything of what is between. `halves`: of products of factors of 16 bits, whose gradients stay as they
        are, and then so do these.
        """
        position = {entry: number for number, entry in enumerate(self.fusion.order)}
        for node, found in list(self.call_nodes.items()):
            weights = found.operands.get("a")
            group = None if weights is None else self.group_of.get(weights.node)
            if (
                weights is None
                or group is None
                or weights in self.roots
                or self.call_nodes.get(node) is not found
            ):
                continue
            body = self.body(group)
            for value in {leaf.value for leaf in body.leaves.values() if leaf.value is not None}:
                scores = self.call_nodes.get(value.node)
                if scores is None or value in self.roots:
                    continue
                if any(self.group_of.get(user) is not group for user in self.uses[value]):
                    continue
                joined = attention_of(found, scores, body, value, weights, halves)
                if joined is None:
                    continue
                if not (self.uses[weights] == [node] and self.needed(group) == [weights]):
                    if halves or not self.join_gradient(node, scores, body, value, weights, position):
                        break
                self.call_nodes[node] = joined
                del self.call_nodes[value.node]
                self.skipped.add(value.node)
                self.drop_use(weights, node)
                for operand in joined.operands.values():
                    self.uses[operand].append(node)
                break

    def join_gradient(
        self, node: Node, scores: CallNode, forward: Body, scored: Value, weights: Value,
        position: dict[Group | Node, int],
    ) -> bool:  # fmt: skip
        """Makes one call of an attention's gradients, if they alone take what the attention's group makes."""
        made = {result.value for result in forward.results}
        if made & self.roots:
            return False
        own = self.group_of[weights.node]
        users = {
            user for value in made for user in self.uses[value] if self.group_of.get(user) is not own
        } - {node}
        turned = [user for user in users if user in self.call_nodes]
        others = [user for user in users if user not in self.call_nodes]
        if len(turned) != 1 or not others or others[0] not in self.group_of:
            return False
        (values,), group = turned, self.group_of[others[0]]
        if any(self.group_of.get(user) is not group for user in others):
            return False
        body = self.body(group)
        if len(body.results) != 1 or body.results[0].value in self.roots:
            return False
        slopes = body.results[0].value
        products = [user for user in self.uses[slopes] if user in self.call_nodes]
        if len(products) != 2 or len(self.uses[slopes]) != 2:
            return False
        keys, queries = sorted(
            products, key=lambda one: not getattr(self.call_nodes[one].call, "transpose_a", False)
        )
        changes = [
            value.node
            for value in {leaf.value for leaf in body.leaves.values() if leaf.value is not None}
            if value.node in self.call_nodes and value not in made and value not in self.roots
            and all(self.group_of.get(user) is group for user in self.uses[value])
        ]  # fmt: skip
        results = {"dq": queries, "dk": keys, "dv": values}
        for changed in changes:
            found = Backward(*(self.call_nodes[one] for one in (changed, values, queries, keys)))
            joined = attention_gradient_of(scores, forward, scored, weights, found, body, changed.outputs[0])
            if joined is None:
                continue
            first = min(results.values(), key=lambda one: position[one])
            if not all(
                self.made_before(value, position[first], position) for value in joined.operands.values()
            ):
                continue
            for name, one in results.items():
                self.call_nodes[one] = dataclasses.replace(joined, result=name)
            del self.call_nodes[changed]
            self.together[first] = tuple(results.values())
            self.skipped.update({changed, *results.values()} - {first})
            for one in (changed, *results.values()):
                for operand in dict.fromkeys(one.inputs):
                    self.drop_use(operand, one)
            for member in group.nodes:
                for operand in dict.fromkeys(member.inputs):
                    self.drop_use(operand, member)
            for operand in joined.operands.values():
                self.uses[operand].append(first)
            return True
        return False

    def made_before(self, value: Value, place: int, position: dict[Group | Node, int]) -> bool:
        """Whether a value is in memory before an entry's turn."""
        stack = [value]
        while stack:
            node = stack.pop().node
            entry = self.group_of.get(node, node)
            if entry in position and position[entry] >= place:
                return False
            if self.forms[node] in (Form.ALIAS, Form.WINDOW) and node not in self.group_of:
                stack.extend(node.inputs)
        return True

    def place_results(self, results: dict[Node, Value]) -> None:
        """Lets matrix products leave a result in the order of the transpose that alone takes it."""
        for node, value in results.items():
            call, users = self.call_nodes[node].call, self.uses.get(value, [])
            if not isinstance(call, Product) or value in self.turned or value in self.roots:
                continue
            if (
                len(users) != 1
                or self.forms[users[0]] is not Form.WINDOW
                or value.sizes != node.outputs[0].sizes
            ):
                continue
            moved = before_transpose(value, users[0])
            strides = None if moved is None else product_strides(call, value, moved)
            if strides is not None:
                self.turned[value] = users[0].outputs[0], strides
                self.forms[users[0]] = Form.CALL
                self.skipped.add(users[0])

    def absorb_calls(self, order: list[Group | Node]) -> dict[Group, Node]:
        """Groups that can run as the epilogue of the library call that feeds them."""
        taken: dict[Group, Node] = {}
        # What groups compute again they compute of what is in memory.
        groups = [entry for entry in order if isinstance(entry, Group)]
        wanted = {value for group in groups for node in group.copies for value in node.inputs}
        for entry in list(order):
            if not isinstance(entry, Node) or entry not in self.call_nodes:
                continue
            attention = self.call_nodes[entry].call
            if isinstance(attention, AttentionGradient):
                continue
            if isinstance(attention, Attention) and attention.operand_dtype is None:
                continue
            value = self.shown(entry)
            users = self.uses.get(value, [])
            if value in self.roots or value in wanted or not users:
                continue
            group = self.group_of.get(users[0])
            if group is None or any(self.group_of.get(u) is not group for u in users):
                continue
            if group.space != value.sizes or self.device_of(group.nodes[0]) != self.device_of(entry):
                continue
            if group.axes is not None:
                before = self.before_fold(group)
                if before is None or any(user not in before.nodes for user in users):
                    continue
                if self.epilogue(before, entry, self.body(before)) is None:
                    continue
                self.split(group, before)
                group = before
            if any(self.forms[node] is not Form.MAP for node in group.nodes):
                continue
            taken[group] = entry  # the last call that feeds the group wins: the others are its operands
        fitting = {
            group: node
            for group, node in taken.items()
            if self.epilogue(group, node, self.body(group)) is not None
        }
        self.skipped.update(
            shown.node for node in fitting.values() if (shown := self.shown(node)).node is not node
        )
        return fitting

    def before_fold(self, group: Group) -> Group | None:
        """The members that need no fold, as a group of their own; None where that makes more go through memory."""
        before = Group(group.extents)
        members, own = set(group.nodes), set()
        for node in group.nodes:
            if (
                self.forms[node] is Form.MAP
                and node not in group.after_fold
                and node.outputs[0].sizes == group.space
            ):
                if all(value.node in own or value.node not in members for value in node.inputs):
                    own.add(node)
                    before.nodes.append(node)
        if not own:
            return None
        made = self.needed(before)
        if len(made) > max(1, len(set(made) & set(self.needed(group)))):
            return None
        return before

    def split(self, group: Group, before: Group) -> None:
        """Takes members out of a group, to run just before it."""
        members = set(before.nodes)
        group.nodes = [node for node in group.nodes if node not in members]
        taken = [value for node in group.nodes for value in node.inputs]
        group.reads = {
            value for value in taken if self.group_of.get(value.node) is not group or value.node in members
        }
        self.group_of.update(dict.fromkeys(before.nodes, before))
        before.reads = {value for node in before.nodes for value in node.inputs if value.node not in members}
        self.fusion.order.insert(self.fusion.order.index(group), before)

    def compute_again(self, absorbed: dict[Group, Node]) -> None:
        """Lets groups compute cheap values themselves that other groups have too, in place of reading them."""
        groups = [entry for entry in self.fusion.order if isinstance(entry, Group)]
        hidden = {node for call in absorbed.values() for node in (call, self.shown(call).node)}
        chosen = recomputed(groups, self.group_of, self.forms, self.uses, self.roots, hidden)
        for value, users in chosen.items():
            node = value.node
            old = {one: list(self.uses[one]) for one in (value, *node.inputs) if one in self.uses}
            takers = list(dict.fromkeys(self.group_of[user] for user in users))
            for taker in takers:
                taker.copies.append(node)
            self.uses[value] = [user for user in old[value] if user not in users]
            for source in dict.fromkeys(node.inputs):
                if source in self.uses:
                    self.uses[source] = [*self.uses[source], *users]
            affected = [*takers, self.group_of[node]]
            affected += [self.group_of[one.node] for one in node.inputs if one.node in self.group_of]
            if any(
                group in absorbed and self.epilogue(group, absorbed[group], self.body(group)) is None
                for group in affected
            ):
                self.uses.update(old)
                for taker in takers:
                    taker.copies.remove(node)

    def folds(self, user: Node, values: set[Value]) -> bool:
        """Whether a node's group takes some values only to fold them whole, so that their order does not matter."""
        group = self.group_of.get(user)
        return group is not None and group.axes is not None and folds_whole(self.body(group), values)

    def absorb_prologues(self, absorbed: dict[Group, Node]) -> None:
        """Lets contractions compute their first operand from what it is made of, where nobody else takes it."""
        groups = [entry for entry in self.fusion.order if isinstance(entry, Group)]
        held = {value for group in groups for node in group.copies for value in node.inputs}
        for node, found in list(self.call_nodes.items()):
            name = first_factor(found)
            if name is None:
                continue
            value = found.operands[name]
            group = self.group_of.get(value.node)
            if group is None or group in absorbed or group.axes is not None or group.space != value.sizes:
                continue
            if value in self.roots or value in held or value in self.lasting or value in self.steady:
                continue
            if self.uses.get(value) != [node] or self.needed(group) != [value]:
                continue
            if list(found.operands.values()).count(value) != 1 or any(bounds_of(one) for one in group.nodes):
                continue
            if any(self.forms[one] is not Form.MAP for one in group.nodes):
                continue
            joined = with_prologue(found, self.body(group))
            if joined is None:
                continue
            self.call_nodes[node] = joined
            self.uses[value] = []
            for operand in joined.operands.values():
                if operand not in found.operands.values():
                    self.uses.setdefault(operand, []).append(node)

    def shown(self, node: Node) -> Value:
        """The result of a library call, or the reshape of it that alone takes it and keeps its rows whole."""
        value = node.outputs[0]
        users = self.uses.get(value, [])
        if value in self.roots or len(users) != 1 or users[0] in self.group_of:
            return value
        if self.forms[users[0]] is not Form.ALIAS:
            return value
        seen = users[0].outputs[0]
        return seen if seen.sizes and value.sizes and seen.sizes[-1] == value.sizes[-1] else value

    def stream(self, absorbed: dict[Group, Node]) -> dict[Node, Group]:
        """Groups whose one result a loop nest computes as it goes along: nobody else takes it."""
        found: dict[Node, Group] = {}
        for node in self.nests:
            value = streamed(node)
            group = None if value is None else self.group_of.get(value.node)
            if value is None or group is None or group.axes is not None or group in absorbed:
                continue
            if value.sizes != group.space or self.needed(group) != [value] or self.uses.get(value) != [node]:
                continue
            if value in self.roots or sum(other is value for other in node.inputs) != 1:
                continue
            body = self.body(group)
            if streams(node, body):
                nest = nest_of(node, body, many_threads=self.backend.many_threads)
                assert nest is not None
                if any(leaf.value is nest.copied for leaf in body.leaves.values() if leaf.value is not None):
                    continue  # what is read here could not be written in place
                self.nests[node] = nest
                found[node] = group
        return found

    def can_wait(self, entry: Group | Node) -> bool:
        """Whether an entry makes new states of variables, of what is there all the time, and nobody else takes them.

        Then it runs last: what else reads the variables is done, and they can be written in place.
        """
        if not isinstance(entry, Group):
            return False
        if any(self.forms[value.node] is not Form.SOURCE for value in entry.reads):
            return False
        members = set(entry.nodes)
        made = [value for node in entry.nodes for value in node.outputs]
        return not any(value in self.fetched for value in made) and not any(
            user not in members for value in made for user in self.uses.get(value, ())
        )

    def streamed(self, group: Group, results: list[Value]) -> set[Value]:
        """The results that may go past the caches: large ones only fetched, and such as no cache holds.

        None where one could take an operand's place: that one is in the caches already.
        """
        members = {*group.nodes, *group.copies}
        found = {
            value
            for value in results
            if about(
                bytes_of(value),
                STREAM_FROM
                if value in self.fetched and members.issuperset(self.uses.get(value, ()))
                else STREAM_ALL,
            )
        }
        found -= {value for _, value in self.program.commits}
        if not found:
            return found
        smallest = min(now(bytes_of(value)) for value in found)
        last = max(node.serial for node in group.nodes)
        for value in group.reads:
            base, _, _ = view_of(value, self.forms)
            if now(bytes_of(base)) < smallest or self.forms[base.node] is Form.SOURCE or base in self.roots:
                continue
            users = self.uses.get(base, ())
            if not any(user not in members and user.serial > last for user in users):
                return set()
        return found

    def body(self, group: Group) -> Body:
        return body_of(group, self.fusion, self.needed(group))

    def epilogue(
        self, group: Group, node: Node, body: Body
    ) -> tuple[Call, dict[str, Value], dict[str, Value], dict[str, int]] | None:
        """The call with the group as its epilogue, operands and results by name, and from which byte on operands
        are read; None where it doesn't fit."""
        call_node = self.call_nodes[node]
        assert not isinstance(call_node.call, AttentionGradient)
        produced = self.shown(node)
        dtype, made = call_node.call.dtype, ir.dtype_name(produced.dtype.name)
        allowed = [held for held in held_in(dtype) if held != "i1"]
        operands: dict[str, Value] = dict(call_node.operands)
        epilogue_operands: list[EpilogueOperand] = []
        offsets: dict[str, int] = {}
        renamed: dict[str, ir.Expr] = {}
        if len(body.leaves) > _MOST_EPILOGUE_OPERANDS:
            return None
        for name, leaf in body.leaves.items():
            over = over_of(leaf, body)
            held = None if leaf.value is None else ir.dtype_name(leaf.value.dtype.name)
            if leaf.value is None or held not in allowed or over is None:
                return None
            if leaf.value is produced:
                if over != "element" or leaf.offset.value:
                    return None
                sums = ir.Var(ACCUMULATOR, dtype)
                renamed[name] = sums if made == dtype else ir.Op("cast", (sums,), made)
                continue
            epilogue_operands.append(EpilogueOperand(name, held, over))  # type: ignore[arg-type]
            operands[name] = leaf.value
            if leaf.offset.value:
                offsets[name] = leaf.offset.value * leaf.value.dtype.size
            renamed[name] = ir.Var(name, held)
        results: list[tuple[str, ir.Expr]] = []
        result_values: dict[str, Value] = {}
        memo: dict[int, ir.Expr] = {}
        for i, result in enumerate(body.results):
            if not result.inner or ir.dtype_name(result.value.dtype.name) not in allowed:
                return None
            expr = renamed_in(result.expr, renamed, memo, dtype)
            if expr is None:
                return None
            results.append((f"result{i}", expr))
            result_values[f"result{i}"] = result.value
        call = dataclasses.replace(
            call_node.call, epilogue=Epilogue(tuple(results), tuple(epilogue_operands))
        )
        return call, operands, result_values, offsets

    def library_call(
        self,
        call: Call,
        operands: dict[str, Value],
        results: dict[str, Value],
        sizes: dict[str, int],
        node: Node,
        more_offsets: dict[str, int] | None = None,
    ) -> None:
        offsets = {**self.call_nodes[node].offsets, **(more_offsets or {})}
        if isinstance(call, Gemm) and self.prepacks(self.call_nodes[node]):
            call = dataclasses.replace(call, prepack_b=True)
        for name, value in list(results.items()):
            if value in self.turned and isinstance(call, Product):
                results[name], strides = self.turned[value]
                sizes = dict(sizes)
                call = with_result_at(call, name, strides, sizes)
        if isinstance(call, Gemm):
            call = self.with_panels(call, operands["b"], next(iter(results.values())))
        elif isinstance(call, Conv2D):
            filters = next(iter(results.values())) if call.direction == "filter" else operands["w"]
            panels = self.stored.get(filters)
            if panels is not None:
                call = dataclasses.replace(call, panels_w=panels.width)
        code = self.backend.library(call)
        bound: dict[str, Slot] = {name: self.slot(value) for name, value in operands.items()}
        for pack in code.packs:
            bound[pack.name] = self.pack(
                pack, operands[pack.operand], offsets.get(pack.operand, 0), sizes, node
            )
        for name, value in results.items():
            bound[name] = self.slots[value] = self.new_buffer(value)
        named = {**sizes, "parts": self.builder.threads}
        for workspace in code.workspaces:
            bound[workspace.name] = self.builder.scratch(
                greatest(64, workspace.bytes.evaluate(named)), workspace.name
            )
        written: set[str] = set()
        changes = set(results) | {workspace.name for workspace in code.workspaces}
        # Only what the epilogue reads element by element may be overwritten: `a`, `b`, images and filters may not.
        epilogue = getattr(call, "epilogue", None)
        element = (
            [operand.name for operand in epilogue.operands if operand.over == "element"] if epilogue else []
        )
        pairs = [
            (bound[result], bound[operand])
            for result, made in results.items()
            for operand in element
            if operands[operand].sizes == made.sizes
            and operands[operand].dtype is made.dtype
            and operand not in offsets
        ]
        for position, launch in enumerate(code.launches):
            args: list[Arg] = []
            for argument in launch.arguments:
                buffer_name = getattr(argument, "name", None)
                if buffer_name is None:
                    args.append(argument.size.evaluate(named))
                elif buffer_name not in changes:
                    args.append(read(bound[buffer_name], offsets.get(buffer_name, 0)))
                else:
                    args.append(
                        update(bound[buffer_name]) if buffer_name in written else write(bound[buffer_name])
                    )
                    written.add(buffer_name)
            last = position == len(code.launches) - 1
            self.builder.launch(
                launch,
                args,
                parallel=launch.parallel,
                name=node.name,
                origin=node,
                flops=1.0 * call.flops(sizes) if last else 0.0,
                inplace=pairs if last else (),
            )

    def with_panels(self, call: Gemm, factor: Value, result: Value) -> Gemm:
        """The product with what it reads and writes of variables where these have it."""
        panels = self.stored.get(factor)
        if panels is not None:
            call = dataclasses.replace(call, panels_b=panels.width, stride_b="dense", steps_b=None)
        panels = self.stored.get(result)
        return call if panels is None else dataclasses.replace(call, panels_c=panels.width)

    def prepacks(self, found: CallNode) -> bool:
        """Whether a product's second factor is better put in panels apart: for later runs, or for several products."""
        factor = found.operands["b"]
        return factor in self.lasting or factor in self.steady or self.factors[_factor(found)] > 1

    def pack(self, pack: Pack, value: Value, offset: int, sizes: dict[str, int], node: Node) -> Slot:
        """The slot of an operand in the order in which a call wants it; equal ones are made once."""
        given = [
            [getattr(a, "name", None) or a.size.evaluate(sizes) for a in one.arguments]
            for one in pack.launches
        ]
        key = (pack.key, value, repr((offset, given)))
        slot = self.packs.get(key)
        if slot is None:
            slot = self.packs[key] = self.builder.scratch(greatest(64, pack.bytes.evaluate(sizes)), pack.name)
            steady = self.loop is not None and (value in self.steady or value.is_constant)
            with self.builder.before(self.loop) if steady and self.loop else contextlib.nullcontext():
                self.launch_pack(pack, slot, value, offset, sizes, node)
        return slot

    def launch_pack(
        self, pack: Pack, slot: Slot, value: Value, offset: int, sizes: dict[str, int], node: Node
    ) -> None:
        layout = None
        if pack.panels is not None and value.sizes and value.sizes[-1] == pack.panels[0] and not offset:
            layout = Panels(pack.panels[1])
        source = self.slot(value)
        for position, launch in enumerate(pack.launches):
            args: list[Arg] = []
            for argument in launch.arguments:
                name = getattr(argument, "name", None)
                if name is None:
                    args.append(argument.size.evaluate(sizes))
                elif name == pack.operand:
                    args.append(read(source, offset))
                else:
                    args.append(update(slot) if position else write(slot))
            self.builder.launch(
                launch,
                args,
                parallel=launch.parallel,
                name=f"{node.name}/pack_{pack.operand}",
                origin=node,
                layout=layout,
            )

    # -- steps ----------------------------------------------------------------------------------------

    def place_parts(self, absorbed: dict[Group, Node]) -> None:
        """Finds values that are made where they are wanted: inside a concatenation or a stack of values.

        One that is read nowhere else may lie there in pieces, if it is made element by element.
        """
        sources = (Form.MAP, Form.ROW, Form.REDUCE, Form.READ, Form.CALL)
        streaming = {id(group) for group in self.streams.values()}
        for node in self.program.nodes:
            if self.forms[node] is not Form.CALL or node in self.call_nodes or node in self.nests:
                continue
            for block in blocks_of(node) or ():
                value = block.source
                if not isinstance(value, Value):
                    break  # what is filled in first would go over it
                if self.place_product(value, node, block, absorbed):
                    continue
                group = self.group_of.get(value.node)
                if (
                    value in self.parts or value in self.roots or value in self.turned or value in self.rows
                    or value.node.op_def in NESTED or value.node.op_def in LOOP_ROWS
                    or self.forms[value.node] not in sources or id(group) in streaming
                    or math.prod(extent.value for extent in block.extents) != math.prod(value.sizes or ())
                    or value.dtype is not node.outputs[0].dtype
                ):  # fmt: skip
                    continue
                into = [
                    s.value if n.value != 1 else 0 for s, n in zip(block.into, block.extents, strict=True)
                ]
                own = [
                    s.value if n.value != 1 else 0 for s, n in zip(block.out_of, block.extents, strict=True)
                ]
                if into == own:
                    self.parts[value] = _Part(node.outputs[0], block.offset, None)
                elif (
                    group is not None and group.axes is None and group not in absorbed
                    and group.space == value.sizes and self.uses.get(value) == [node]
                    and sum(value is other for other in node.inputs) == 1  # the next copy would read it as a whole
                ):  # fmt: skip
                    self.parts[value] = _Part(node.outputs[0], block.offset, block.into)

    def place_product(self, value: Value, node: Node, block: Block, absorbed: dict[Group, Node]) -> bool:
        """Lets a matrix product write its result, reshaped and transposed, straight into its part of another value."""
        sizes = tuple(extent.value for extent in block.extents)
        if sizes != value.sizes or block.out_of != row_major(block.extents):
            return False
        if sum(value is other for other in node.inputs) != 1:
            return False
        strides, made, taker, views = block.into, value, node, []
        while made not in self.roots and made not in self.parts and self.uses.get(made) == [taker]:
            taker = made.node
            if self.forms[taker] is not Form.ALIAS or taker in self.group_of or taker in self.skipped:
                break
            source = taker.inputs[0]
            same = reshaped(value_sizes(made), strides, value_sizes(source))
            if same is None:
                return False
            strides, made = same, source
            views.append(taker)
        else:
            return False
        product = next((value for value, (turned, _) in self.turned.items() if turned is made), made)
        moved = strides if product is made else before_transpose(product, made.node, strides)
        call = self.lies_anyhow(product, absorbed)
        if call is None or moved is None:
            return False
        fitting = product_strides(call, product, moved)
        if fitting is None:
            return False
        self.turned[product] = made, fitting
        self.parts[made] = self.parts[value] = _Part(node.outputs[0], block.offset, strides)
        self.skipped.update(views)
        return True

    def lies_anyhow(self, value: Value, absorbed: dict[Group, Node]) -> Product | None:
        """The product that makes a value and can leave it at any strides of rows and matrices, if one does."""
        node = value.node
        group = self.group_of.get(node)
        if group is not None:
            if group not in absorbed:
                return None
            node = absorbed[group]
            fitted = self.epilogue(group, node, self.body(group))
            if fitted is None or len(fitted[2]) != 1 or value.sizes != node.outputs[0].sizes:
                return None
            epilogue = getattr(fitted[0], "epilogue", None)
            if epilogue is None or any(operand.over == "element" for operand in epilogue.operands):
                return None
        elif node not in self.call_nodes or node in absorbed.values():
            return None
        call = self.call_nodes[node].call
        return call if isinstance(call, Product) else None

    def new_buffer(self, value: Value) -> Slot:
        """Memory for a value: of its own, or where it is a part of another."""
        sizes = value.sizes
        assert sizes is not None
        if value in self.targets:
            return self.targets[value]
        if value in self.rows:
            return self.line(self.rows[value])
        part = self.parts.get(value)
        if part is not None:
            whole = self.slots.get(part.whole)
            if whole is None:
                whole = self.slots[part.whole] = self.new_buffer(part.whole)
            offset = part.offset.value * value.dtype.size
            if part.strides is not None:  # from its first element to its last
                steps = [(n - 1) * s.value for n, s in zip(sizes, part.strides, strict=True)]
                sizes = (sum(steps) + 1,)
            return self.builder.view(whole, sizes, offset=offset, name=value.node.name)
        if value in self.stored:
            sizes = self.stored[value].stored_shape(sizes)
        return self.builder.buffer(sizes, value.dtype.numpy, value.node.name)

    def group(self, group: Group, call: Node | None) -> None:
        """Adds the kernels of a group, or the library call that takes it in."""
        results = self.needed(group)
        if not results:
            return
        for node in group.nodes:
            self.check(node)
        if call is not None:
            found = self.epilogue(group, call, body_of(group, self.fusion, results))
            assert found is not None
            self.library_call(found[0], found[1], found[2], self.call_nodes[call].sizes, call, found[3])
            return
        body = body_of(group, self.fusion, results, self.streamed(group, results))
        body.results = [
            dataclasses.replace(result, strides=self.parts[result.value].strides)
            if result.value in self.parts
            else result
            for result in body.results
        ]
        label = group.nodes[-1].name
        if self.backend.many_threads:
            body.most_shares = MOST_SHARES_OF_MANY
        kernels = lower_group(body, "fused")
        for result in body.results:
            self.slots[result.value] = self.new_buffer(result.value)
        partials: list[Slot] = []
        for lowered in kernels:
            partials = self.launch(lowered, partials, label, group.nodes[-1])

    def launch(self, lowered: Lowered, partials: list[Slot], label: str, origin: Node) -> list[Slot]:
        fresh = [
            self.builder.buffer((count,), ir.numpy_dtype(dtype), f"{label}/partial")
            for count, dtype in lowered.partial
        ]
        args: list[Arg] = []
        size = 0
        for argument in lowered.arguments:
            if argument.kind == "int":
                args.append(argument.number)
                continue
            if argument.kind == "partial":
                slot = fresh[argument.number] if fresh else partials[argument.number]
                args.append(write(slot) if fresh else read(slot))
                continue
            assert argument.value is not None
            slot = self.slot(argument.value)
            size += bytes_of(argument.value)
            access = "w" if argument.kind == "write" else "r"
            args.append(Ref(slot, access, 0, argument.share))  # type: ignore[arg-type]
        self.builder.launch(
            lowered.kernel,
            args,
            parallel=lowered.parallel,
            name=label,
            origin=origin,
            flops=lowered.flops,
            bytes=size,
            inplace=[(self.slot(new), self.slot(old)) for new, old in lowered.inplace],
        )
        return fresh

    def single(self, node: Node) -> None:
        """Adds the step of a node that shares no kernel."""
        form = self.forms[node]
        if node in self.skipped:
            return
        if form is Form.ALIAS:
            self.check(node)
            source, made = self.slot(node.inputs[0]), node.outputs[0]
            sizes = made.sizes
            assert sizes is not None
            self.slots[made] = self.builder.view(source, sizes, name=node.name)
        elif form in (Form.UNIFORM, Form.WINDOW):
            for value in node.outputs:
                if self.needs_memory(value):
                    self.place(value)
        elif node in self.placed:
            self.on_processor(self.placed[node])
        elif form is Form.HOST:
            self.host(node)
        elif form is Form.CHECK:
            self.assertion(node)
        else:
            for member in (*self.streams[node].nodes, node) if node in self.streams else (node,):
                self.check(member)
            if node in self.call_nodes:
                found = self.call_nodes[node]
                members = self.together.get(node, (node,))
                results = {self.call_nodes[one].result: one.outputs[0] for one in members}
                self.library_call(found.call, found.operands, results, found.sizes, node)
            elif node in self.nests:
                self.nest(self.nests[node], node)
            elif node in self.nested:
                self.region(node)
            elif node.type == ALL_REDUCE:
                self.all_reduce(node)
            elif self.is_row(node):
                self.row(node)
            else:
                self.move(node)

    def all_reduce(self, node: Node) -> None:
        """Adds a reduction over devices, which has an operand and a result on each."""
        devices = devices_of(node, self.backend.devices)
        assert devices is not None
        first = node.outputs[0]
        count = math.prod(first.sizes or ())
        made = [
            self.builder.buffer(value.sizes or (), value.dtype.numpy, node.name) for value in node.outputs
        ]
        args = [read(self.slot(value)) for value in node.inputs] + [write(slot) for slot in made]
        kernel = Collective(node.attrs["reduction"], devices, count, ir.dtype_name(first.dtype.name))
        self.builder.launch(kernel, args, parallel=True, name=node.name, origin=node)
        self.slots.update(zip(node.outputs, made, strict=True))

    def needs_memory(self, value: Value) -> bool:
        """Whether anybody takes a value, whose elements kernels find elsewhere or know, from memory of its own."""
        if value in self.roots:
            return True
        for user in self.uses.get(value, ()):
            if self.forms[user] is not Form.WINDOW and user not in self.group_of:
                return True
            if any(user.inputs[position] is value for position in bounds_of(user)):
                return True
        return False

    def place(self, value: Value) -> None:
        """Puts a value into memory of its own, or finds it in another's."""
        node = value.node
        sizes = value.sizes
        assert sizes is not None
        if self.forms[node] is Form.WINDOW:
            base, offset, strides = view_of(value, self.forms)
            dense = [s.value for s in row_major(value_sizes(value))]
            # A window on a value of one number everywhere has nothing to lie in.
            lies = base in self.slots or self.forms.get(base.node) is not Form.UNIFORM
            if lies and all(s.value == d or n == 1 for s, d, n in zip(strides, dense, sizes, strict=True)):
                source = self.slot(base)
                self.slots[value] = self.builder.view(
                    source, sizes, offset=offset.value * value.dtype.size, name=node.name
                )
                return
        body = body_of(Group(value_sizes(value), nodes=[node]), self.fusion, [value])
        (lowered,) = lower_group(body, "fused")
        self.slots[value] = self.new_buffer(value)
        self.launch(lowered, [], node.name, node)

    def nest(self, nest: Nest, node: Node) -> None:
        """Adds a loop nest of a node's own."""
        made = node.outputs[0]
        target = self.slots[made] = self.new_buffer(made)
        if nest.copied is not None:
            source = self.slot(nest.copied)
            if source is not target:
                self.builder.launch(
                    COPY, [write(target), read(source), target.nbytes], parallel=True, name=node.name, origin=node,
                    bytes=2 * target.nbytes, inplace=[(target, source)],
                )  # fmt: skip
        scratch: dict[Scratch, Slot] = {}
        for part in nest.before:
            self.part_of_nest(part, node, scratch)
        self.part_of_nest(nest, node, scratch)

    def part_of_nest(self, nest: Nest, node: Node, scratch: dict[Scratch, Slot]) -> None:
        """Adds one kernel of a nest."""
        made = node.outputs[0]
        target = self.slots[made]
        changes = nest.copied is not None or bool(nest.before)
        args: list[Arg] = []
        size = 0
        rows = streamed(node)
        # Rows by ids: of a table no more is touched than there are rows.
        most = made.dtype.size * math.prod(rows.sizes or ()) if rows is not None else target.nbytes
        for argument in nest.arguments:
            if isinstance(argument, int | Symbolic):
                args.append(argument)
            elif isinstance(argument, np.ndarray):
                args.append(read(self.builder.constant(argument, node.name)))
            elif isinstance(argument, Scratch):
                known = scratch.get(argument)
                if known is None:
                    scratch[argument] = self.builder.buffer(
                        (argument.elements,), np.dtype(np.int64), f"{node.name}/rows"
                    )
                args.append(write(scratch[argument]) if known is None else read(known))
            elif any(argument is other for other in node.outputs[1:]):
                assert isinstance(argument, Value)
                self.slots[argument] = self.new_buffer(argument)
                args.append(write(self.slots[argument]))
                size += bytes_of(argument)
            elif argument is made:
                args.append(update(target) if changes else write(target))
                size += least(target.nbytes, most)
            elif argument is node:
                args.append(read(*self.draws[node]))
            else:
                assert isinstance(argument, Value)
                args.append(read(self.slot(argument)))
                size += bytes_of(argument) if rows is None else least(bytes_of(argument), most)
        self.builder.launch(
            nest.kernel,
            args,
            parallel=nest.parallel,
            name=node.name,
            origin=node,
            flops=nest.flops,
            bytes=size,
        )

    def draw(self) -> None:
        """Adds the step that reserves the random numbers of all loop nests that make some."""
        nodes = [
            node
            for node in self.program.nodes
            if node in self.nests and any(argument is node for argument in self.nests[node].arguments)
        ]
        self.draws: dict[Node, tuple[Slot, int]] = {}
        if not nodes:
            return

        def at(sizes: Evaluation) -> Callable[..., Any]:
            present = [node.at(sizes) for node in nodes]
            counts = [math.prod(node.outputs[0].sizes or ()) for node in present]

            def reserve(state: Any) -> np.ndarray[Any, Any]:
                words = []
                for node, count in zip(present, counts, strict=True):
                    key, counter = state.reserve(node, count)
                    words.append(seed_words(key, counter))
                return np.array(words, np.uint64)

            return reserve

        shape = (len(nodes), SEED_WORDS)
        (slot,) = self.builder.host(
            at,
            [],
            [(shape, np.uint64)],
            name="random counters",
            origin=nodes[0],
            with_store=True,
            with_sizes=True,
        )
        for number, node in enumerate(nodes):
            self.draws[node] = slot, number * SEED_WORDS * 8

    def check(self, node: Node) -> None:
        """Adds a check of each operand that must lie within bounds; what the node's body raises, the run will."""
        for position, (low, high) in bounds_of(node).items():
            value = base = node.inputs[position]
            while self.forms[base.node] is Form.ALIAS:
                base = base.node.inputs[0]
            in_order = node.op_def.lowering == "sorted"
            what = (base, in_order, low, high)
            if value.is_constant or what in self.checked:
                continue
            self.checked.add(what)
            source = self.still(value, node)
            dtype, count = ir.dtype_name(value.dtype.name), math.prod(value.sizes or ())
            if isinstance(high, tuple):
                for place, above in enumerate(high):
                    status = self.blamed(source, node, value)
                    args: list[Arg] = [
                        read(source),
                        write(status),
                        count // len(high),
                        low,
                        above,
                        place,
                        len(high),
                    ]
                    self.builder.launch(
                        component_kernel(dtype), args, parallel=False, name=f"{node.name}/check", origin=node,
                        bytes=bytes_of(value),
                    )  # fmt: skip
                continue
            status = self.blamed(source, node, value)
            kernel = (order_kernel if in_order else bounds_kernel)(dtype)
            self.builder.launch(
                kernel, [read(source), write(status), count, low, high], parallel=True, name=f"{node.name}/check",
                origin=node, bytes=bytes_of(value),
            )  # fmt: skip

    def assertion(self, node: Node) -> None:
        """Adds a check of a condition; what shows in the error has to lie in memory."""
        shown = [value for value in node.inputs if not value.is_constant]
        if node.inputs[0] not in shown:
            return self.host(node)
        slots = [self.still(value, node) for value in shown]
        status = self.builder.check(slots, _assertion(node), name=node.name, origin=node, with_sizes=True)
        self.builder.launch(
            bounds_kernel("bool"), [read(slots[0]), write(status), 1, 1, 2], parallel=False, name=f"{node.name}/check",
            origin=node, bytes=1,
        )  # fmt: skip
        return None

    def blamed(self, source: Slot, node: Node, value: Value) -> Slot:
        """The word for a check of an operand."""
        return self.builder.check([source], _blame(node, value), name=node.name, origin=node, with_sizes=True)

    def move(self, node: Node) -> None:
        """Adds the kernels that put a result together from blocks."""
        made = node.outputs[0]
        target = self.slots.get(made)
        first = target is None
        if target is None:
            target = self.slots[made] = self.new_buffer(made)
        dtype = ir.dtype_name(made.dtype.name)
        seen: set[Value] = set()
        for block in blocks_of(node) or ():
            if isinstance(block.source, Value) and block.source not in seen:
                seen.add(block.source)
                part = self.parts.get(block.source)
                if part is not None and part.whole is made:
                    continue  # it was made here
            lowered = block_kernel(block, dtype)
            args: list[Arg] = []
            count = math.prod(extent.value for extent in block.extents)
            if isinstance(block.source, Value):
                args.append(read(self.slot(block.source)))
            args.append(write(target) if first else update(target))
            args += lowered.ints
            first = False
            self.builder.launch(
                lowered.kernel, args, parallel=lowered.parallel, name=node.name, origin=node,
                bytes=2 * count * made.dtype.size,
            )  # fmt: skip

    def host(self, node: Node) -> None:
        """Adds the NumPy body as a host step; constants are bound to it."""
        bound: list[np.ndarray[Any, Any] | None] = [
            None if value.derived is not None else value.constant for value in node.inputs
        ]
        open_inputs = [
            self.slot(value) for value, known in zip(node.inputs, bound, strict=True) if known is None
        ]
        outputs = [(value.sizes, value.dtype.numpy) for value in node.outputs]
        needs_store = (
            node.op_def.effects == "random" or "context" in node.op_def.body_attrs or node.op_def in NESTED
        )
        function = _host_function(node, bound, needs_store, self.runner(node))
        made = self.builder.host(
            function,
            open_inputs,
            outputs,
            name=node.name,
            origin=node,
            with_store=needs_store,
            with_sizes=True,
            why=self.why_hosted(node),
        )
        for value, slot in zip(node.outputs, made, strict=True):
            self.slots[value] = slot

    def on_processor(self, part: Part) -> None:
        """Adds the processor's plan of a part as a host step."""
        name = part.nodes[0].name
        plans = lower_open(part.program, self.backend.processor, name, self.finish)
        effects = any(node.op_def in NESTED for node in part.nodes)

        def at(sizes: Evaluation) -> Callable[..., Any]:
            plan = plans.plan(sizes)

            def call(*arrays: Any) -> Any:
                store = arrays[0] if effects else None
                made = plan.run(arrays[1:] if effects else arrays, store)
                return made[0] if len(made) == 1 else made

            return call

        made = self.builder.host(
            at,
            [self.slot(value) for value in part.given],
            [(value.sizes, value.dtype.numpy) for value in part.made],
            name=name,
            origin=part.nodes[0],
            with_store=effects,
            with_sizes=True,
        )
        self.slots.update(zip(part.made, made, strict=True))

    def runner(self, node: Node) -> Runner:
        """What runs a node on arrays and the session's state: its body, or plans of its nested programs."""
        if node.op_def not in NESTED:
            # How many numbers a draw makes is a matter of the node's sizes.
            draws = node.op_def.effects == "random"
            return lambda sizes: functools.partial(run_node, node.at(sizes) if draws else node)
        if any(is_symbolic(size) for value in node.inputs for size in value.sizes or ()):
            raise NotImplementedError(f"{node.name} plans its programs in the run, for fixed sizes")
        backend, finish = self.backend, self.finish

        def make(program: Program, name: str) -> Plan:
            return lower(program if finish is None else finish(program), backend, name, finish)

        run = host_runner(node, make)
        return lambda sizes: run


Runner = Callable[[Evaluation], Callable[[list[Any], Any], list[Any]]]
"""For sizes, a function of the arrays that a node takes and the session's state."""


def _host_function(
    node: Node,
    bound: Sequence[np.ndarray[Any, Any] | None],
    needs_store: bool,
    runner: Runner,
) -> Callable[..., Any]:
    single = len(node.outputs) == 1

    def at(sizes: Evaluation) -> Callable[..., Any]:
        run = runner(sizes)

        def call(*arrays: Any) -> Any:
            given = iter(arrays)
            state: Any = next(given) if needs_store else _NO_STATE
            inputs = [next(given) if constant is None else constant for constant in bound]
            results = run(inputs, state)
            return results[0] if single else results

        return call

    return at


def _blame(node: Node, value: Value) -> Callable[..., Any]:
    """For sizes, a function of one operand's value that raises what the node's body raises; nothing else's elements
    matter."""

    def at(sizes: Evaluation) -> Callable[..., Any]:
        def blame(array: np.ndarray[Any, Any]) -> None:
            inputs = []
            for other in node.inputs:
                blank = _known(other, sizes)
                if blank is None:
                    blank = np.broadcast_to(np.zeros((), other.dtype.numpy), sizes.all(other.sizes or ()))
                inputs.append(array if other is value else blank)
            run_node(node, inputs, _NO_STATE)

        return blame

    return at


def _assertion(node: Node) -> Callable[..., Any]:
    """For sizes, a function of what shows in the error, the condition first, that raises it."""

    def at(sizes: Evaluation) -> Callable[..., Any]:
        def blame(*arrays: np.ndarray[Any, Any]) -> None:
            found = iter(arrays)
            run_node(node, [next(found) if not value.is_constant else _known(value, sizes) for value in node.inputs],
                     _NO_STATE)  # fmt: skip

        return blame

    return at


def _known(value: Value, sizes: Evaluation) -> Any:
    return value.derived.make(sizes) if value.derived is not None else value.constant


def _asks_the_session(entry: Group | Node) -> bool:
    return isinstance(entry, Node) and entry.op_def.effects == "random" and not entry.inputs


def _factor(found: CallNode) -> Hashable:
    """What two products have in common whose second factor is packed alike."""
    call = found.call
    assert isinstance(call, Gemm)
    lies = call.transpose_b, call.stride_b, call.steps_b
    return found.operands["b"], found.offsets.get("b", 0), lies


__all__ = ["lower"]
