"""Gradients of branches, loops and calls: the reverse walk through their bodies, in functions of their own.

What the gradient's body reads of the forward body is either there outside (arguments that a loop does not change,
constants, variables that it does not write), or the forward operation gives it out: a branch as a further output, a
loop in a list to which each turn adds one element and from which the gradient's turns take one each, last to first.
What a loop reads at numbers that count its turns, and these numbers themselves, are made again instead.
The forward operation is extended in place; passes drop what a run does not need of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.function import (
    FuncGraph,
    Function,
    finished,
    functions_of,
    register_function,
    unique_function_name,
)
from graphflow.gradients import UnconnectedGradients, has_gradient, indexed_slices_to_tensor, walk
from graphflow.graph import (
    Graph,
    IndexedSlices,
    Operation,
    Tensor,
    control_dependencies,
    get_default_graph,
)
from graphflow.opdef import constant, constant_value, emit, emit_constant, make_operation, register_gradient
from graphflow.ops.functional import alike, called_operations, is_stateful, matched_captures
from graphflow.shapes import TensorShape

_MOST_COPIED_BYTES = 1 << 16  # of a constant that a gradient's body has a copy of

_CALCULATIONS = frozenset({"Add", "AddV2", "Cast", "Identity", "Mul", "Neg", "Pack", "Sub"})
_MOST_CALCULATIONS = 32  # operations that are made again to know one number


# -- what depends on what ---------------------------------------------------------------------------------------


def _dependences(function: Function) -> list[int]:
    """For each output, the inputs whose gradients it may have a part in, as bits."""
    bits: dict[Tensor, int] = {}
    for i, tensor in enumerate(function.inputs):
        bits[tensor] = 1 << i if has_gradient(tensor) else 0
    for operation in called_operations(function):
        joined = 0
        for tensor in operation.inputs:
            joined |= bits.get(tensor, 0)
        override = "_gradient_op_type" in operation.attrs
        if not operation.op_def.differentiable and not override:
            joined = 0
        for tensor in operation.outputs:
            bits[tensor] = joined if has_gradient(tensor) else 0
    return [bits.get(tensor, 0) for tensor in function.outputs]


def _indices(bits: int) -> list[int]:
    return [i for i in range(bits.bit_length()) if bits >> i & 1]


def _gradient_dtype(tensor: Tensor) -> DType:
    return tensor.handle_dtype if tensor.is_variable else tensor.dtype


def _gradient_shape(tensor: Tensor) -> TensorShape:
    return tensor.handle_shape if tensor.is_variable else tensor.shape


def _zeros_for(tensor: Tensor) -> Tensor:
    """Zeros for the gradient of a tensor; of a handle, for that of the variable."""
    shape = _gradient_shape(tensor)
    dtype = _gradient_dtype(tensor)
    if shape.is_fully_defined() and dtype is not dtypes.variant:
        zero = constant(np.zeros((), dtype.numpy))
        zeros: Tensor = emit.Fill(constant(np.array(shape.as_list(), np.int32)), zero)
        return zeros
    if tensor.is_variable:
        tensor = emit.ReadVariableOp(tensor, dtype=dtype)
    zeros = emit.ZerosLike(tensor)
    return zeros


def _as_tensor(grad: Any) -> Any:
    return indexed_slices_to_tensor(grad) if isinstance(grad, IndexedSlices) else grad


# -- graphs of gradients ----------------------------------------------------------------------------------------


class _GradientGraph(FuncGraph):
    """The body of a gradient, which uses tensors of the forward body as if they were its own.

    Args:
      name: its function's name.
      outer_graph: where the gradient's operation is made.
      operation: the forward operation.
      function: the forward body.
      first: which of the operation's inputs is the body's first argument.
    """

    def __init__(
        self, name: str, outer_graph: Graph, operation: Operation, function: Function, first: int
    ) -> None:
        super().__init__(name, outer_graph)
        self.operation = operation
        self.function = function
        self.forward: FuncGraph = function.graph
        self.arguments = {tensor: i for i, tensor in enumerate(function.inputs)}
        self.first = first
        self.known: dict[Tensor, Tensor] = {}

    def accepts_own(self, graph: Graph) -> bool:
        """Tensors of the forward body can be used, too."""
        return graph is self or graph is self.forward

    def capture_one(self, tensor: Tensor, name: str | None) -> Tensor:
        """Returns what stands for a tensor of the forward body, or of the graph around this one."""
        if tensor.graph is not self.forward:
            return super().capture_one(tensor, name)
        found = self.known.get(tensor)
        if found is None:
            found = self.known[tensor] = self.brought(tensor)
        return found

    def brought(self, tensor: Tensor) -> Tensor:
        """Brings the value of a tensor of the forward body here."""
        value = constant_value(tensor)
        if value is not None and value.nbytes <= _MOST_COPIED_BYTES:
            with self.as_default(), self.control_dependencies(None):
                return emit_constant(value, tensor.op.name.rpartition("/")[2])
        outside = _Outside(self).of(tensor)
        if outside is not None:
            # Named by what it is outside, where the gradient's operation can see it.
            return super().capture(outside)
        return self.saved(tensor)

    def argument_outside(self, index: int) -> Tensor | None:
        """What the forward body's argument is outside, if it is the same in every turn."""
        return self.operation.inputs[self.first + index]

    def writes_argument(self, index: int) -> bool:
        """Whether the forward operation writes the variable behind an argument."""
        argument = self.function.inputs[index]
        return any(_writes(op, argument) for op in called_operations(self.function))

    def saved(self, tensor: Tensor) -> Tensor:
        """Has the forward operation give a value out."""
        raise NotImplementedError


def _writes(operation: Operation, handle: Tensor) -> bool:
    """Whether an operation may write the variable behind a handle."""
    stack = [(operation, handle)]
    while stack:
        current, variable = stack.pop()
        places = [i for i, tensor in enumerate(current.inputs) if tensor is variable]
        op_def = current.op_def
        if not places:
            continue
        if not op_def.has_functions:
            if op_def.effects in ("writes", "host"):
                return True
            continue
        for _, function in functions_of(current):
            first = len(current.inputs) - len(function.inputs)
            for place in places:
                inner = function.inputs[place - first]
                stack.extend((op, inner) for op in called_operations(function) if inner in op.inputs)
    return False


class _Outside:
    """Finds, or makes, what a tensor of a forward body is in the graph around it, if that is the same in every turn."""

    def __init__(self, graph: _GradientGraph) -> None:
        self.graph = graph
        self.operation = graph.operation

    def of(self, tensor: Tensor) -> Tensor | None:
        """Returns the tensor outside, or None."""
        index = self.graph.arguments.get(tensor)
        if index is not None:
            return self.graph.argument_outside(index)
        if tensor.op.type != "ReadVariableOp":
            return None
        index = self.graph.arguments.get(tensor.op.inputs[0])
        if index is None or self.graph.writes_argument(index):
            return None
        handle = self.graph.argument_outside(index)
        return None if handle is None else self.read(handle)

    def read(self, handle: Tensor) -> Tensor:
        """The variable's value as the forward operation finds it."""
        operation, outer = self.operation, self.operation.graph
        reads = outer.registries.setdefault("forward_reads", {})
        found: Tensor | None = reads.get((operation, handle))
        if found is None:
            with outer.as_default(), outer.control_dependencies(None), outer.name_scope(f"{operation.name}/"):
                # Whatever comes before the forward operation comes before this.
                before = [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
                with outer.control_dependencies(list(dict.fromkeys(before))):
                    found = emit.ReadVariableOp(handle, dtype=handle.handle_dtype)
            assert found is not None
            reads[operation, handle] = found
        return found


# -- branches and calls -----------------------------------------------------------------------------------------


class _BranchGradient(_GradientGraph):
    """The gradient of one branch."""

    def __init__(self, name: str, operation: Operation, function: Function, first: int, index: int) -> None:
        super().__init__(name, get_default_graph(), operation, function, first)
        self.index = index
        self.wanted: dict[Tensor, Tensor] = {}  # tensors of the branch to inputs here
        self.unused: set[Tensor] = set()  # inputs that are no values where this branch runs

    def no_gradient(self, index: int) -> Tensor:
        """What to return for an argument on which the branch does not depend."""
        argument = self.function.inputs[index]
        if argument in getattr(self.forward, "unused", ()):
            # Where this branch runs, the argument is no value, and so nobody reads its gradient.
            fake: Tensor = emit.FakeParam(dtype=argument.dtype, shape=argument.shape)
            return fake
        return _zeros_for(self.operation.inputs[self.first + index])

    def saved(self, tensor: Tensor) -> Tensor:
        """An argument for what the forward operation will give out."""
        made = self.add_input(tensor.dtype, tensor.shape, tensor.op.name.rpartition("/")[2].lower())
        self.wanted[tensor] = made
        return made


_FUNCTION_ATTRS = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
}


def _functions(operation: Operation) -> list[Function]:
    names = _FUNCTION_ATTRS.get(operation.type)
    if names is None:
        return list(operation.attrs["branches"])
    return [operation.attrs[name] for name in names]


def _put_functions(operation: Operation, functions: Sequence[Function]) -> dict[str, Any]:
    names = _FUNCTION_ATTRS.get(operation.type)
    if names is None:
        return {"branches": tuple(functions)}
    return dict(zip(names, functions, strict=True))


def _branches_gradient(operation: Operation, *dys: Any, wanted: Sequence[bool]) -> list[Any]:
    """The gradient of If, Case or a call: the same, of the gradients of the functions."""
    first = 0 if operation.type.endswith("PartitionedCall") else 1
    functions = _functions(operation)
    given = [j for j, dy in enumerate(dys) if dy is not None and has_gradient(operation.outputs[j])]
    bits = [_dependences(function) for function in functions]
    reached = 0
    for mine in bits:
        for j in given:
            reached |= mine[j]
    xs = [i for i in _indices(reached) if wanted[first + i]]
    results: list[Any] = [None] * len(operation.inputs)
    if not xs:
        return results
    names = (
        ["true", "false"] if len(functions) == 2 and first else [f"part{i}" for i in range(len(functions))]
    )
    graphs: list[_BranchGradient] = []
    returned: list[list[Any]] = []
    for index, (function, name) in enumerate(zip(functions, names, strict=True)):
        graph = _BranchGradient(
            unique_function_name(f"gradient_{operation.name}_{name}"), operation, function, first, index
        )
        with graph.as_default():
            ys = [function.outputs[j] for j in given]
            grads = [graph.capture(_as_tensor(dys[j])) for j in given]
            grads = walk(ys, [function.inputs[i] for i in xs], grads, UnconnectedGradients.NONE)
            returned.append([_as_tensor(grad) for grad in grads])
        graphs.append(graph)
    kept = [k for k in range(len(xs)) if any(grads[k] is not None for grads in returned)]
    if not kept:
        return results
    outputs = []
    for graph, grads in zip(graphs, returned, strict=True):
        with graph.as_default():
            outputs.append([graph.no_gradient(xs[k]) if grads[k] is None else grads[k] for k in kept])
    saved = _extend_branches(operation, graphs)
    # All gradients take the same arguments: what the branches give out, then the captures.
    extra: list[Tensor] = []
    for graph in graphs:
        extra += [saved[graph.index, tensor] for tensor in graph.wanted]
    for graph in graphs:
        arguments: list[Tensor] = []
        for other in graphs:
            for tensor, argument in other.wanted.items():
                if other is not graph:
                    argument = graph.add_input(tensor.dtype, tensor.shape, "unused")
                    # What another branch reads may be an output that all branches have, and others look at too.
                    place = operation.outputs.index(saved[other.index, tensor])
                    if _functions(operation)[graph.index].outputs[place].op.type == "FakeParam":
                        graph.unused.add(argument)
                arguments.append(argument)
        graph.inputs = [*arguments, *graph.captures.values()]
    captured = matched_captures(graphs)
    made_functions = [finished(graph, mine) for graph, mine in zip(graphs, outputs, strict=True)]
    attrs = _put_functions(operation, made_functions)
    stateful = any(map(is_stateful, made_functions))
    types = [tensor.dtype for tensor in made_functions[0].outputs]
    if first:
        op_type = operation.type.removeprefix("Stateless")
        attrs["output_shapes"] = [
            alike([function.outputs[k].shape for function in made_functions]) for k in range(len(kept))
        ]
        emitter = getattr(emit, op_type if stateful else f"Stateless{op_type}")
        made = emitter(operation.inputs[0], [*extra, *captured], Tout=types, **attrs)
    else:
        emitter = emit.StatefulPartitionedCall if stateful else emit.PartitionedCall
        made = emitter([*extra, *captured], Tout=types, **attrs)
    for k, tensor in zip(kept, made, strict=True):
        results[first + xs[k]] = tensor
    return results


def _extend_branches(
    operation: Operation, graphs: Sequence[_BranchGradient]
) -> dict[tuple[int, Tensor], Tensor]:
    """Has a branch give out what its gradient reads; returns those outputs."""
    functions = _functions(operation)
    found: dict[tuple[int, Tensor], Tensor] = {}
    new: list[tuple[int, Tensor]] = []
    for graph in graphs:
        outputs = functions[graph.index].outputs
        for tensor in graph.wanted:
            if tensor in outputs:
                found[graph.index, tensor] = operation.outputs[outputs.index(tensor)]
            else:
                new.append((graph.index, tensor))
    if not new:
        return found
    extended = []
    for index, function in enumerate(functions):
        more: list[Tensor] = []
        for owner, tensor in new:
            if owner == index:
                more.append(tensor)
                continue
            inner = function.graph
            with inner.as_default(), inner.control_dependencies(None), inner.name_scope(None):
                more.append(emit.FakeParam(dtype=tensor.dtype, shape=tensor.shape))
        extended.append(_extended(function, (), more))
    operation.graph._check_not_finalized(f"the gradient of {operation.name!r} extends it")
    shapes = [tensor.shape for _, tensor in new]
    operation.attrs.update(_put_functions(operation, extended))
    operation.attrs["Tout"] = (*operation.attrs["Tout"], *(tensor.dtype for _, tensor in new))
    if operation.attrs.get("output_shapes"):
        operation.attrs["output_shapes"] = (*operation.attrs["output_shapes"], *shapes)
    for (owner, tensor), shape in zip(new, shapes, strict=True):
        found[owner, tensor] = operation._add_output(tensor.dtype, shape)
    return found


def _extended(function: Function, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Function:
    """A function with more arguments and results; its graph is the same."""
    name = unique_function_name(function.name.rpartition("_")[0] or function.name, function.graph)
    return register_function(
        Function(
            name, function.graph, (*function.inputs, *inputs), (*function.outputs, *outputs),
            function.control_outputs,
        )
    )  # fmt: skip


# -- loops ------------------------------------------------------------------------------------------------------


class _LoopGradient(_GradientGraph):
    """The body of the loop that goes back."""

    def __init__(self, name: str, operation: Operation) -> None:
        body: Function = operation.attrs["body"]
        super().__init__(name, get_default_graph(), operation, body, 0)
        self.turn = self.add_input(dtypes.int32, (), "turn")
        self.lists: dict[
            Tensor, tuple[Tensor, Tensor]
        ] = {}  # of the forward body: a list here before and after
        self.total: Tensor | None = None  # how many turns there were, outside

    def argument_outside(self, index: int) -> Tensor | None:
        """An argument that the body gives back as it is is what the loop was given."""
        if self.function.outputs[index] is not self.function.inputs[index]:
            return None
        return self.operation.inputs[index]

    def brought(self, tensor: Tensor) -> Tensor:
        """A number that grows by the same with each turn need not be kept: it can be counted back.

        Nor need what is calculated from such numbers, or read at them from what no turn changes.
        """
        step = self.step_of(tensor)
        if step is None:
            return self.again(tensor) if self.can_be_made_again(tensor) else super().brought(tensor)
        assert self.total is not None
        with self.as_default(), self.control_dependencies(None), self.name_scope(None):
            left = emit.Sub(emit.Sub(self.total, np.array(1, np.int32)), self.turn)
            if tensor.dtype is not dtypes.int32:
                left = emit.Cast(left, DstT=tensor.dtype)
            first = self.capture(self.operation.inputs[self.arguments[tensor]])
            result: Tensor = emit.AddV2(first, emit.Mul(left, step))
            return result

    def step_of(self, tensor: Tensor) -> Any:
        """By how much a whole number grows with each turn, if it is known."""
        index = self.arguments.get(tensor)
        if index is None or tensor.dtype not in (dtypes.int32, dtypes.int64) or tensor.shape.rank != 0:
            return None
        return _step(self.function, index)

    def can_be_made_again(self, tensor: Tensor) -> bool:
        """Whether a value is a slice of what no turn changes, or a few numbers, calculated from what is known here."""
        left, stack = _MOST_CALCULATIONS, [tensor]
        while stack:
            value = stack.pop()
            operation = value.op
            index = self.arguments.get(value)
            if index is not None:
                if self.step_of(value) is None and (
                    value.dtype is dtypes.variant or value.is_variable or self.argument_outside(index) is None
                ):
                    return False
                continue
            if operation.type == "Const":
                continue
            left -= 1
            if left < 0 or len(operation.outputs) != 1 or operation.control_inputs:
                return False
            if operation.type == "StridedSlice":
                stack += operation.inputs
                continue
            few = value.dtype in (dtypes.int32, dtypes.int64) and value.shape.rank in (0, 1)
            if operation.type not in _CALCULATIONS or not few:
                return False
            stack += operation.inputs
        return tensor not in self.arguments

    def again(self, tensor: Tensor) -> Tensor:
        """Makes an operation of the forward body here; its operands are brought."""
        operation = tensor.op
        inputs = [self.capture(value) for value in operation.inputs]
        name = self.unique_name(operation.name.rpartition("/")[2])
        (made,) = make_operation(self, operation.op_def, inputs, dict(operation.attrs), name).outputs
        made.set_shape(tensor.shape)
        return made

    def saved(self, tensor: Tensor) -> Tensor:
        """An element of a list that the forward loop will fill."""
        before = self.add_input(dtypes.variant, (), "saved")
        with self.as_default(), self.control_dependencies(None), self.name_scope(None):
            after, element = emit.TensorListPopBack(before, _known_shape(tensor), element_dtype=tensor.dtype)
            element.set_shape(tensor.shape)
        self.lists[tensor] = before, after
        made: Tensor = element
        return made


def _known_shape(tensor: Tensor) -> Any:
    """What is known of a tensor's shape, as element_shape of a list."""
    dims = tensor.shape.as_tuple()
    if dims is None or tensor.dtype is dtypes.variant:
        return np.array(-1, np.int32)
    return np.array([-1 if size is None else size for size in dims], np.int32)


def _step(function: Function, index: int) -> Any:
    """The constant that a body adds to an argument, or None."""
    argument, result = function.inputs[index], function.outputs[index]
    if result.op.type not in ("Add", "AddV2"):
        return None
    a, b = result.op.inputs
    other = b if a is argument else a if b is argument else None
    return None if other is None else constant_value(other)


def _counter(operation: Operation) -> int:
    """Which loop variable counts the turns from 0; one is added if there is none."""
    body: Function = operation.attrs["body"]
    for i, tensor in enumerate(operation.inputs):
        if tensor.dtype is dtypes.int32 and tensor.shape.rank == 0 and _step(body, i) == 1:
            start = constant_value(tensor)
            if start is not None and start == 0:
                return i
    with body.graph.as_default(), body.graph.control_dependencies(None), body.graph.name_scope(None):
        turn = body.graph.add_input(dtypes.int32, (), "turn")
        following = emit.AddV2(turn, np.array(1, np.int32))
    outer = operation.graph
    with outer.as_default(), outer.control_dependencies(None), outer.name_scope(f"{operation.name}/"):
        zero = constant(np.array(0, np.int32))
    _extend_loop(operation, [turn], [following], [zero])
    return len(operation.inputs) - 1


def _extend_loop(
    operation: Operation, arguments: Sequence[Tensor], results: Sequence[Tensor], start: Sequence[Tensor]
) -> list[Tensor]:
    """Gives a loop more variables; returns what they are after it."""
    operation.graph._check_not_finalized(f"the gradient of {operation.name!r} extends it")
    test: Function = operation.attrs["cond"]
    unused = [test.graph.add_input(tensor.dtype, tensor.shape, "unused") for tensor in arguments]
    operation.attrs["body"] = _extended(operation.attrs["body"], arguments, results)
    operation.attrs["cond"] = _extended(test, unused, ())
    operation.attrs["T"] = (*operation.attrs["T"], *(tensor.dtype for tensor in arguments))
    shapes = [tensor.shape for tensor in arguments]
    if operation.attrs["output_shapes"]:
        operation.attrs["output_shapes"] = (*operation.attrs["output_shapes"], *shapes)
    operation._add_inputs(start)
    return [
        operation._add_output(tensor.dtype, shape) for tensor, shape in zip(arguments, shapes, strict=True)
    ]


def _most_turns(operation: Operation) -> Any:
    """How many turns a loop may have at most, where it is a constant; -1 where it is not."""
    body: Function = operation.attrs["body"]
    for tensor, argument in zip(operation.inputs, body.inputs, strict=True):
        if argument.op.name.startswith("maximum_iterations") and tensor.dtype is dtypes.int32:
            known = constant_value(tensor)
            return np.array(-1 if known is None else known, np.int32)
    return np.array(-1, np.int32)


def _filled_lists(operation: Operation, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Has a loop keep the values of some tensors of its body; returns the lists of them."""
    body: Function = operation.attrs["body"]
    kept: dict[Tensor, Tensor] = {}
    for argument, result, output in zip(body.inputs, body.outputs, operation.outputs, strict=True):
        if result.op.type == "TensorListPushBack" and result.op.inputs[0] is argument:
            kept.setdefault(result.op.inputs[1], output)
    missing = [tensor for tensor in tensors if tensor not in kept]
    arguments, results, start = [], [], []
    inner, outer = body.graph, operation.graph
    for tensor in missing:
        with inner.as_default(), inner.control_dependencies(None), inner.name_scope(None):
            argument = inner.add_input(dtypes.variant, (), "kept")
            arguments.append(argument)
            results.append(emit.TensorListPushBack(argument, tensor))
        with outer.as_default(), outer.control_dependencies(None), outer.name_scope(f"{operation.name}/"):
            start.append(
                emit.EmptyTensorList(_known_shape(tensor), _most_turns(operation), element_dtype=tensor.dtype)
            )
    if missing:
        kept.update(zip(missing, _extend_loop(operation, arguments, results, start), strict=True))
    return [kept[tensor] for tensor in tensors]


def _while_gradient(operation: Operation, *dys: Any, wanted: Sequence[bool]) -> list[Any]:
    """The gradient of While: a loop with as many turns, over the gradients of the loop variables."""
    results: list[Any] = [None] * len(operation.inputs)
    body: Function = operation.attrs["body"]
    bits = _dependences(body)
    count = len(body.inputs)
    # What is asked for has a part in these variables, and these have a part in what gradients are given for.
    forth = sum(1 << i for i in range(count) if wanted[i])
    back = sum(1 << j for j, dy in enumerate(dys) if dy is not None)
    for _ in range(count + 1):
        more = sum(1 << j for j in range(count) if bits[j] & forth) | forth
        less = back
        for j in _indices(back):
            less |= bits[j]
        if more == forth and less == back:
            break
        forth, back = more, less
    carried = [i for i in _indices(forth & back) if has_gradient(body.inputs[i])]
    if not carried:
        return results
    counter = _counter(operation)
    body = operation.attrs["body"]
    outer = get_default_graph()
    total = operation.outputs[counter]
    graph = _LoopGradient(unique_function_name(f"gradient_{operation.name}_body"), operation)
    with graph.as_default():
        graph.total = FuncGraph.capture(graph, total)
        given = [
            graph.add_input(_gradient_dtype(body.inputs[i]), _gradient_shape(body.inputs[i]), "gradient")
            for i in carried
        ]
        found = walk(
            [body.outputs[i] for i in carried],
            [body.inputs[i] for i in carried],
            given,
            UnconnectedGradients.NONE,
        )
        made = []
        for i, grad, dy in zip(carried, found, given, strict=True):
            if grad is None:
                same = body.inputs[i].shape == body.outputs[i].shape and dy.shape.is_fully_defined()
                grad = (
                    emit.ZerosLike(dy) if same or body.inputs[i].is_variable else _zeros_for(body.inputs[i])
                )
            made.append(_as_tensor(grad))
        following = emit.AddV2(graph.turn, np.array(1, np.int32))
    lists = list(graph.lists.items())
    start_lists = _filled_lists(operation, [tensor for tensor, _ in lists])
    graph.inputs = [graph.turn, *given, *(before for _, (before, _) in lists), *graph.captures.values()]
    test = FuncGraph(unique_function_name(f"gradient_{operation.name}_cond"), outer)
    with test.as_default():
        for tensor in graph.inputs[: len(graph.inputs) - len(graph.captures)]:
            test.add_input(tensor.dtype, tensor.shape)
        holds = emit.Less(test.inputs[0], test.capture(total))
    captured = matched_captures([test, graph])
    shapes = [
        TensorShape(()),
        *(_merged_shape(x, y) for x, y in zip(given, made, strict=True)),
        *(TensorShape(()) for _ in lists),
        *(tensor.shape for tensor in captured),
    ]
    outputs = [following, *made, *(after for _, (_, after) in lists), *(graph.captures[t] for t in captured)]
    functions = finished(test, [holds]), finished(graph, outputs)
    first = [_zeros_for(operation.outputs[i]) if dys[i] is None else _as_tensor(dys[i]) for i in carried]
    start = [constant(np.array(0, np.int32)), *first, *start_lists, *captured]
    op_type = "While" if any(map(is_stateful, functions)) else "StatelessWhile"
    with control_dependencies(None):
        loop = getattr(emit, op_type)(
            start, cond=functions[0], body=functions[1], output_shapes=shapes,
            parallel_iterations=operation.attrs["parallel_iterations"], name="while",
        )  # fmt: skip
    for tensor, given_tensor in zip(loop, start, strict=True):
        tensor._handle = given_tensor._handle
    for i, tensor in zip(carried, loop[1 : 1 + len(carried)], strict=True):
        if wanted[i]:
            results[i] = tensor
    return results


def _merged_shape(first: Tensor, second: Tensor) -> TensorShape:
    return alike([first.shape, second.shape])


for _op_type in ("If", "StatelessIf", "Case", "StatelessCase", "PartitionedCall", "StatefulPartitionedCall"):
    register_gradient(_op_type, _branches_gradient)
for _op_type in ("While", "StatelessWhile"):
    register_gradient(_op_type, _while_gradient)
