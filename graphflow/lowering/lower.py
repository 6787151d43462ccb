"""Program to plan: places values in slots and turns groups, calls and host nodes into steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.backends.base import Backend
from graphflow.loops import ir
from graphflow.loops.build import RowIndex, RowReduce, RowSize
from graphflow.loops.library import ACCUMULATOR, Call, Epilogue, EpilogueOperand
from graphflow.lowering.calls import CallNode, bytes_of, call_of
from graphflow.lowering.fuse import Form, Group, fuse, native
from graphflow.lowering.kernels import Body, Leaf, Lowered, body_of, lower_group, row_major, value_sizes
from graphflow.lowering.movement import block_kernel, blocks_of
from graphflow.plan import Arg, Plan, PlanBuilder, Ref, Slot, read, update, write
from graphflow.program import FEED, VARIABLE, Node, Program, Value
from graphflow.reference import run_node

# What a library call can do to an element on its way to memory.
_EPILOGUE_FUNCTIONS = frozenset("add sub mul div neg abs max min sqrt select eq ne lt le gt ge fma".split())
_MOST_EPILOGUE_OPERANDS = 12


def lower(program: Program, backend: Backend, name: str = "") -> Plan:
    """Returns the plan of a specialized program on a back end."""
    return _Lowering(program, backend, name).plan()


class _Lowering:
    """One run of `lower`."""

    def __init__(self, program: Program, backend: Backend, name: str) -> None:
        self.program = program
        self.backend = backend
        self.builder: PlanBuilder = backend.builder(name)
        self.slots: dict[Value, Slot] = {}
        self.call_nodes: dict[Node, CallNode] = {}

    def plan(self) -> Plan:
        program, builder = self.program, self.builder
        for value in program.feeds:
            sizes = value.sizes
            if sizes is None:
                raise ValueError(f"the sizes of feed {value.node.name!r} are not known")
            self.slots[value] = builder.feed(sizes, value.dtype.numpy, value.node.name)
        self.forms, order = fuse(program, self.has_call)
        self.uses = program.users()
        self.roots = set(program.roots)
        self.group_of = {node: entry for entry in order if isinstance(entry, Group) for node in entry.nodes}
        absorbed = self.absorb_calls(order)
        for entry in order:
            if isinstance(entry, Group):
                self.group(entry, absorbed.get(entry))
            elif entry not in absorbed.values():
                self.single(entry)
        for variable, value in program.commits:
            slot = self.variable(variable, value)
            builder.assign(slot, self.slot(value))
        for value in program.fetches:
            builder.fetch(self.fetchable(value))
        return builder.build()

    # -- slots ------------------------------------------------------------------------------------

    def slot(self, value: Value) -> Slot:
        """The slot of a value that lies in memory."""
        slot = self.slots.get(value)
        if slot is None:
            node = value.node
            if node.op_def is VARIABLE:
                slot = self.builder.variable(
                    node.attrs["variable"], value.sizes, value.dtype.numpy, node.attrs["variable"]
                )
            elif value.constant is not None and native(value):
                slot = self.builder.constant(value.constant, node.name)
            elif value.constant is not None:
                constant = value.constant
                (slot,) = self.builder.host(lambda: constant, (), [(constant.shape, constant.dtype)], name=node.name)
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

    def fetchable(self, value: Value) -> Slot:
        return self.slot(value)

    def needed(self, group: Group) -> list[Value]:
        """The members' values that are used outside."""
        members = set(group.nodes)
        return [
            value
            for node in group.nodes
            for value in node.outputs
            if value in self.roots or any(user not in members for user in self.uses.get(value, ()))
        ]

    # -- library calls and what is folded into them --------------------------------------------------

    def has_call(self, node: Node) -> bool:
        found = call_of(node)
        if found is not None:
            self.call_nodes[node] = found
            return True
        return blocks_of(node) is not None

    def absorb_calls(self, order: list[Group | Node]) -> dict[Group, Node]:
        """Groups that can run as the epilogue of the library call that feeds them."""
        taken: dict[Group, Node] = {}
        for entry in order:
            if not isinstance(entry, Node) or entry not in self.call_nodes:
                continue
            value = entry.outputs[0]
            users = self.uses.get(value, [])
            if value in self.roots or not users:
                continue
            group = self.group_of.get(users[0])
            if group is None or group.axes is not None or any(self.group_of.get(u) is not group for u in users):
                continue
            if group.space != value.sizes or any(self.forms[node] is not Form.MAP for node in group.nodes):
                continue
            taken[group] = entry  # the last call that feeds the group wins: the others are its operands
        return {
            group: node for group, node in taken.items() if self.epilogue(group, node, self.body(group)) is not None
        }

    def body(self, group: Group) -> Body:
        return body_of(group, self.forms, self.needed(group))

    def epilogue(self, group: Group, node: Node, body: Body) -> tuple[Call, dict[str, Value], dict[str, Value]] | None:
        """The call with the group as its epilogue, operands and results by name; None where it doesn't fit."""
        call_node = self.call_nodes[node]
        produced = node.outputs[0]
        dtype = ir.dtype_name(produced.dtype.name)
        operands: dict[str, Value] = dict(call_node.operands)
        epilogue_operands: list[EpilogueOperand] = []
        renamed: dict[str, ir.Expr] = {}
        if len(body.leaves) > _MOST_EPILOGUE_OPERANDS:
            return None
        for name, leaf in body.leaves.items():
            over = _over(leaf, body)
            if ir.dtype_name(leaf.value.dtype.name) != dtype or over is None:
                return None
            if leaf.value is produced:
                if over != "element":
                    return None
                renamed[name] = ir.Var(ACCUMULATOR, dtype)
                continue
            epilogue_operands.append(EpilogueOperand(name, dtype, over))  # type: ignore[arg-type]
            operands[name] = leaf.value
            renamed[name] = ir.Var(name, dtype)
        results: list[tuple[str, ir.Expr]] = []
        result_values: dict[str, Value] = {}
        memo: dict[int, ir.Expr] = {}
        for i, result in enumerate(body.results):
            if not result.inner or ir.dtype_name(result.value.dtype.name) != dtype:
                return None
            expr = _renamed(result.expr, renamed, memo, dtype)
            if expr is None:
                return None
            results.append((f"result{i}", expr))
            result_values[f"result{i}"] = result.value
        import dataclasses

        call = dataclasses.replace(call_node.call, epilogue=Epilogue(tuple(results), tuple(epilogue_operands)))
        return call, operands, result_values

    def library_call(
        self,
        call: Call,
        operands: dict[str, Value],
        results: dict[str, Value],
        sizes: dict[str, int],
        node: Node,
    ) -> None:
        code = self.backend.library(call)
        bound: dict[str, Slot] = {name: self.slot(value) for name, value in operands.items()}
        for name, value in results.items():
            bound[name] = self.slots[value] = self.new_buffer(value)
        named = {**sizes, "parts": self.builder.threads}
        for workspace in code.workspaces:
            bound[workspace.name] = self.builder.scratch(max(64, workspace.bytes.evaluate(named)), workspace.name)
        written: set[str] = set()
        changes = set(results) | {workspace.name for workspace in code.workspaces}
        # Only what the epilogue reads element by element may be overwritten: `a`, `b`, images and filters may not.
        epilogue = getattr(call, "epilogue", None)
        element = [operand.name for operand in epilogue.operands if operand.over == "element"] if epilogue else []
        pairs = [
            (bound[result], bound[operand])
            for result, made in results.items()
            for operand in element
            if operands[operand].sizes == made.sizes and operands[operand].dtype is made.dtype
        ]
        for position, launch in enumerate(code.launches):
            args: list[Arg] = []
            for argument in launch.arguments:
                name = getattr(argument, "name", None)
                if name is None:
                    args.append(argument.size.evaluate(named))
                elif name not in changes:
                    args.append(read(bound[name]))
                else:
                    args.append(update(bound[name]) if name in written else write(bound[name]))
                    written.add(name)
            last = position == len(code.launches) - 1
            self.builder.launch(
                launch,
                args,
                parallel=launch.parallel,
                name=node.name,
                origin=node,
                flops=float(call.flops(sizes)) if last else 0.0,
                inplace=pairs if last else (),
            )

    # -- steps ----------------------------------------------------------------------------------------

    def new_buffer(self, value: Value) -> Slot:
        sizes = value.sizes
        assert sizes is not None
        return self.builder.buffer(sizes, value.dtype.numpy, value.node.name)

    def group(self, group: Group, call: Node | None) -> None:
        """Adds the kernels of a group, or the library call that takes it in."""
        results = self.needed(group)
        if not results:
            return
        body = self.body(group)
        if call is not None:
            found = self.epilogue(group, call, body)
            assert found is not None
            self.library_call(found[0], found[1], found[2], self.call_nodes[call].sizes, call)
            return
        label = group.nodes[-1].name
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
        if form is Form.ALIAS:
            source, made = self.slot(node.inputs[0]), node.outputs[0]
            sizes = made.sizes
            assert sizes is not None
            self.slots[made] = self.builder.view(source, sizes, name=node.name)
        elif form is Form.CALL and node in self.call_nodes:
            found = self.call_nodes[node]
            self.library_call(found.call, found.operands, {found.result: node.outputs[0]}, found.sizes, node)
        elif form is Form.CALL:
            self.move(node)
        else:
            self.host(node)

    def move(self, node: Node) -> None:
        """Adds the kernels that put a result together from blocks."""
        made = node.outputs[0]
        target = self.slots[made] = self.new_buffer(made)
        dtype = ir.dtype_name(made.dtype.name)
        first = True
        for block in blocks_of(node) or ():
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
        bound: list[np.ndarray[Any, Any] | None] = [value.constant for value in node.inputs]
        open_inputs = [self.slot(value) for value in node.inputs if value.constant is None]
        outputs = [(value.sizes, value.dtype.numpy) for value in node.outputs]
        needs_store = node.op_def.effects == "random" or "context" in node.op_def.body_attrs
        function = _host_function(node, bound, needs_store)
        made = self.builder.host(
            function, open_inputs, outputs, name=node.name, origin=node, with_store=needs_store
        )
        for value, slot in zip(node.outputs, made, strict=True):
            self.slots[value] = slot


def _host_function(
    node: Node, bound: Sequence[np.ndarray[Any, Any] | None], needs_store: bool
) -> Callable[..., Any]:
    single = len(node.outputs) == 1

    def call(*arrays: Any) -> Any:
        given = iter(arrays)
        state = next(given) if needs_store else None
        inputs = [next(given) if constant is None else constant for constant in bound]
        results = run_node(node, inputs, state)
        return results[0] if single else results

    return call


def _over(leaf: Leaf, body: Body) -> str | None:
    """How an operand of an epilogue is addressed, or None if in no way that epilogues know."""
    if leaf.offset.value:
        return None
    rank = len(body.space)
    strides = tuple(s.value if n.value != 1 else 0 for s, n in zip(leaf.strides, body.space, strict=True))
    dense = row_major(body.space)
    full = tuple(s.value if n.value != 1 else 0 for s, n in zip(dense, body.space, strict=True))
    count = math.prod(leaf.value.sizes or ())
    if strides == full and count == math.prod(s.value for s in body.space):
        return "element"
    if not any(strides):
        return "scalar"
    if rank and not any(strides[:-1]) and strides[-1] == 1 and count == body.space[-1].value:
        return "column"
    rows = row_major(body.space[:-1])
    wanted = tuple(s.value if n.value != 1 else 0 for s, n in zip(rows, body.space[:-1], strict=True))
    if rank and strides[-1] == 0 and strides[:-1] == wanted:
        return "row"
    return None


def _renamed(
    root: ir.Expr, names: dict[str, ir.Expr], memo: dict[int, ir.Expr], dtype: str
) -> ir.Expr | None:
    """The expression with leaves renamed, or None if an epilogue can't compute it."""
    stack: list[tuple[ir.Expr, bool]] = [(root, False)]
    while stack:
        expr, ready = stack.pop()
        if id(expr) in memo:
            continue
        if isinstance(expr, RowReduce | RowIndex | RowSize | ir.Load):
            return None
        if isinstance(expr, ir.Op):
            if expr.name not in _EPILOGUE_FUNCTIONS or expr.dtype not in (dtype, "i1"):
                return None
            if not ready:
                stack.append((expr, True))
                stack.extend((arg, False) for arg in expr.args)
                continue
            memo[id(expr)] = ir.Op(expr.name, tuple(memo[id(arg)] for arg in expr.args), expr.dtype)
        elif isinstance(expr, ir.Var):
            memo[id(expr)] = names[expr.name]
        else:
            memo[id(expr)] = expr
    return memo[id(root)]


__all__ = ["FEED", "lower", "value_sizes"]
