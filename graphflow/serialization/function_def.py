"""Functions as FunctionDefs and back.

A function is read when an operation that calls it is made: only then is known which variables its handles belong to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphflow.errors import ShapeError
from graphflow.function import FuncGraph, Function, functions_of, library_of, register_function
from graphflow.graph import Graph, Operation, Tensor
from graphflow.ops.functional import alike, called_operations, is_stateful
from graphflow.serialization.proto import function_pb2, node_def_pb2
from graphflow.serialization.regions import MOST_NESTED
from graphflow.serialization.signatures import output_starts
from graphflow.serialization.tensor_proto import (
    dtype_from_enum,
    enum_from_dtype,
    shape_from_proto,
    shape_to_proto,
)
from graphflow.shapes import UNKNOWN, TensorShape

_SHAPES = "_output_shapes"
_MOST_RELAXATIONS = 6


# -- writing --------------------------------------------------------------------------------------------------


def _plain_name(name: str, taken: set[str]) -> str:
    """A name that arguments of signatures may have, and none of `taken` is."""
    base = re.sub(r"[^a-z0-9_]", "_", name.lower())
    base = base if base[:1].isalpha() else f"arg_{base}"
    made, count = base, 1
    while made in taken:
        made = f"{base}_{count}"
        count += 1
    taken.add(made)
    return made


def _output_name(tensor: Tensor) -> str:
    """How a FunctionDef calls an output of a node: the argument of the signature, and which of its tensors."""
    operation, index = tensor.op, tensor.value_index
    for arg in operation.op_def.outputs:
        count = 1
        if arg.number_attr:
            count = operation.attrs[arg.number_attr]
        elif arg.type_list_attr:
            count = len(operation.attrs[arg.type_list_attr])
        if index < count:
            return f"{operation.name}:{arg.name}:{index}"
        index -= count
    raise ValueError(f"{tensor.name} is no output of {operation.type}")


def function_to_def(
    function: Function, to_node: Callable[[Operation], node_def_pb2.NodeDef]
) -> function_pb2.FunctionDef:
    """Returns a function as FunctionDef: what a call of it runs, nothing else.

    Args:
      function: the function.
      to_node: writes an operation.
    """
    proto = function_pb2.FunctionDef()
    proto.signature.name = function.name
    proto.signature.is_stateful = is_stateful(function)
    operations = called_operations(function)
    taken = {operation.name for operation in operations}
    names: dict[Tensor, str] = {}
    for i, tensor in enumerate(function.inputs):
        names[tensor] = _plain_name(tensor.op.name, taken)
        proto.signature.input_arg.add(name=names[tensor], type=enum_from_dtype(tensor.dtype))
        proto.arg_attr[i].attr[_SHAPES].list.shape.append(shape_to_proto(tensor.shape))
    for operation in operations:
        node = to_node(operation)
        del node.input[:]
        node.input.extend([names.get(t) or _output_name(t) for t in operation.inputs])
        arguments = {tensor.op for tensor in function.inputs}
        node.input.extend([f"^{c.name}" for c in operation.control_inputs if c not in arguments])
        proto.node_def.append(node)
    outputs: set[str] = set()
    for tensor in function.outputs:
        name = _plain_name(tensor.op.name.rpartition("/")[2], outputs)
        proto.signature.output_arg.add(name=name, type=enum_from_dtype(tensor.dtype))
        proto.ret[name] = names.get(tensor) or _output_name(tensor)
    for operation in function.control_outputs:
        proto.control_ret[operation.name] = operation.name
        proto.signature.control_output.append(operation.name)
    return proto


def functions_under(operations: Iterable[Operation]) -> list[Function]:
    """Returns the functions that operations call, and those that these call, each once."""
    found: dict[str, Function] = {}
    stack = list(operations)
    while stack:
        for _, function in functions_of(stack.pop()):
            if function.name not in found:
                found[function.name] = function
                stack.extend(called_operations(function))
    return list(found.values())


# -- reading --------------------------------------------------------------------------------------------------

# Makes operations of nodes in a graph; the inputs of the nodes that stand in the mapping are given.
MakeNodes = Callable[[Graph, Sequence[node_def_pb2.NodeDef], dict[str, Tensor]], dict[str, Operation]]


class FunctionLibrary:
    """The functions of a file, made when they are called.

    Args:
      functions: the file's functions.
      make: adds nodes to a graph; gives the operations by name.
    """

    def __init__(self, functions: Iterable[function_pb2.FunctionDef], make: MakeNodes) -> None:
        self.defs = {function.signature.name: function for function in functions}
        self._make = make
        self._made: dict[Any, Function] = {}
        self._flat: dict[str, tuple[list[node_def_pb2.NodeDef], list[tuple[str, int]]]] = {}
        self._open: list[str] = []

    def get(
        self,
        name: str,
        graph: Graph,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[TensorShape] | None = None,
    ) -> Function:
        """Returns a function of the file as one of `graph`.

        Args:
          name: its name.
          graph: the graph around it.
          inputs: what it is called with; of handles it is known which variable they belong to. None for what only a
            call will tell; the others are then tensors that the function captures.
          shapes: what is known of the shapes of its arguments; default: the inputs' shapes, unless it refuses them.

        Raises:
          ValueError: if the file lacks it, it calls itself, or it makes no sense.
        """
        definition = self.defs.get(name)
        if definition is None:
            raise ValueError(f"it calls the function {name!r}, which the library lacks")
        if name in self._open:
            raise ValueError(f"the function {name!r} calls itself")
        if len(self._open) >= MOST_NESTED:
            raise ValueError(f"functions call one another more than {MOST_NESTED} deep")
        if len(inputs) != len(definition.signature.input_arg):
            raise ValueError(
                f"it gives {len(inputs)} inputs to the function {name!r}, which takes"
                f" {len(definition.signature.input_arg)}"
            )
        if shapes is None:
            shapes = [UNKNOWN if tensor is None else tensor.shape for tensor in inputs]
            try:
                return self._get(definition, graph, inputs, shapes)
            except ShapeError:
                # A branch may not fit the very sizes for which it is not taken.
                return self._get(definition, graph, inputs, [UNKNOWN] * len(inputs))
        return self._get(definition, graph, inputs, shapes)

    def get_captured(self, name: str, graph: Graph, captured: Sequence[Tensor]) -> Function:
        """Returns a function that an operation calls with arguments of its own, then with tensors outside.

        Args:
          name: its name.
          graph: the graph around it.
          captured: the tensors outside, which stand for the last of its arguments.

        Raises:
          ValueError: as of `get`.
        """
        definition = self.defs.get(name)
        own = 0 if definition is None else len(definition.signature.input_arg) - len(captured)
        if definition is not None and own < 0:
            raise ValueError(f"it gives {len(captured)} inputs to the function {name!r}, which takes fewer")
        inputs = [*([None] * own), *captured]
        return self.get(name, graph, inputs, [UNKNOWN if t is None else t.shape for t in inputs])

    def get_loop(
        self,
        cond: str,
        body: str,
        graph: Graph,
        inputs: Sequence[Tensor],
        output_shapes: Sequence[TensorShape],
    ) -> tuple[Function, Function]:
        """Returns the two functions of a loop whose arguments have the shapes that they have in every turn.

        Args:
          cond, body: their names.
          graph: the graph around them.
          inputs: the loop's variables before it.
          output_shapes: the shapes that the file says the variables have; empty: it does not.

        Raises:
          ValueError: as of `get`.
        """
        shapes = list(output_shapes) or [tensor.shape for tensor in inputs]
        if len(shapes) != len(inputs):
            raise ValueError(f"it has {len(shapes)} output_shapes and {len(inputs)} inputs")
        library = library_of(graph)
        for attempt in range(_MOST_RELAXATIONS + 1):
            known = set(library)
            try:
                made = self.get(body, graph, inputs, shapes)
            except ShapeError:
                if attempt == _MOST_RELAXATIONS:
                    raise
                made = None
            if made is not None and len(made.outputs) != len(shapes):
                break  # the operation itself says what is wrong with that
            relaxed = shapes
            if attempt < _MOST_RELAXATIONS - 1 and made is not None:
                pairs = zip(shapes, made.outputs, strict=True)
                relaxed = [alike([shape, output.shape]) for shape, output in pairs]
            elif made is None or attempt == _MOST_RELAXATIONS - 1:
                relaxed = [UNKNOWN] * len(shapes)
            if made is not None and relaxed == shapes:
                break
            # Of no use: its variables change their shapes in a turn.
            for name in library.keys() - known:
                del library[name]
            self._made = {key: function for key, function in self._made.items() if function.name in library}
            shapes = relaxed
        assert made is not None
        return self.get(cond, graph, inputs, shapes), made

    def _get(
        self,
        definition: function_pb2.FunctionDef,
        graph: Graph,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[TensorShape],
    ) -> Function:
        name = definition.signature.name
        handles: tuple[Any, ...] = tuple(None if tensor is None else tensor._handle for tensor in inputs)
        if None in inputs:
            handles = (*handles, *inputs)
        key = (name, graph, handles, tuple(shape.as_tuple() for shape in shapes))
        if key in self._made:
            return self._made[key]
        self._open.append(name)
        try:
            made = self._made[key] = self._read(definition, graph, inputs, shapes)
        except ShapeError as error:
            raise ShapeError(f"function {name!r}: {error}") from None
        except ValueError as error:
            raise ValueError(f"function {name!r}: {error}") from None
        finally:
            self._open.pop()
        return made

    def _read(
        self,
        definition: function_pb2.FunctionDef,
        graph: Graph,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[TensorShape],
    ) -> Function:
        signature = definition.signature
        library = library_of(graph)
        name, count = signature.name, 1
        while name in library:
            name = f"{signature.name}_{count}"
            count += 1
        inner = FuncGraph(name, graph)
        # The functions around it have made its controls and devices theirs already.
        given: dict[str, Tensor] = {}
        for i, (arg, tensor) in enumerate(zip(signature.input_arg, inputs, strict=True)):
            if not arg.type:
                raise ValueError(f"argument {arg.name!r} has no type")
            if arg.name in given:
                raise ValueError(f"it has two arguments called {arg.name!r}")
            dtype = dtype_from_enum(arg.type)
            if tensor is not None and dtype is not tensor.dtype:
                raise ValueError(f"argument {arg.name!r} is {dtype.name}, it is given {tensor.dtype.name}")
            shape = _shape_of(definition, i)
            if shape.is_compatible_with(shapes[i]):
                shape = shape.merge_with(shapes[i])
            given[arg.name] = inner.add_input(dtype, shape, arg.name, handle=tensor)
            if tensor is not None and None in inputs:
                inner.captures[tensor] = given[arg.name]
        nodes, results = self._flattened(definition)
        made = self._make(inner, nodes, given)
        outputs = []
        for (source, index), arg in zip(results, signature.output_arg, strict=True):
            operation = made.get(source)
            if source in given:
                outputs.append(given[source])
            elif operation is not None and index < len(operation.outputs):
                outputs.append(operation.outputs[index])
            else:
                raise ValueError(f"it returns {definition.ret[arg.name]!r}, which it does not make")
        for output, arg in zip(outputs, signature.output_arg, strict=True):
            if output.dtype is not dtype_from_enum(arg.type):
                raise ValueError(
                    f"it returns {output.dtype.name} as {arg.name!r}, which is {dtype_from_enum(arg.type).name}"
                )
        waits = [made[node] for node in sorted(set(definition.control_ret.values())) if node in made]
        # TensorFlow runs every operation of a function that acts, returned or not.
        acting = [op for op in made.values() if op.op_def.effects in ("writes", "host") and op not in waits]
        return register_function(
            Function(name, inner, tuple(inner.inputs), tuple(outputs), (*waits, *acting))
        )

    def _flattened(
        self, definition: function_pb2.FunctionDef
    ) -> tuple[list[node_def_pb2.NodeDef], list[tuple[str, int]]]:
        """The nodes of a function as those of a graph, their inputs by number, and its results."""
        name = definition.signature.name
        if name in self._flat:
            return self._flat[name]
        arguments = {arg.name for arg in definition.signature.input_arg}
        starts: dict[str, dict[str, int]] = {}
        for node in definition.node_def:
            if node.name in starts or node.name in arguments:
                raise ValueError(f"it has two nodes called {node.name!r}")
            try:
                starts[node.name] = output_starts(node.op, node.attr, self.defs)
            except ValueError as error:
                raise ValueError(f"node {node.name!r} ({node.op}): {error}") from None

        def flat(reference: str) -> tuple[str, int]:
            source, _, rest = reference.partition(":")
            if source in arguments:
                return source, 0
            if source not in starts:
                raise ValueError(f"it refers to {reference!r}, which it does not define")
            output, _, index = rest.partition(":")
            if not output or output.isdecimal():
                return source, int(output or 0)
            if output not in starts[source]:
                raise ValueError(f"it refers to {reference!r}, an output that its node lacks")
            return source, starts[source][output] + (int(index) if index.isdecimal() else 0)

        nodes = []
        for node in definition.node_def:
            made = node_def_pb2.NodeDef()
            made.CopyFrom(node)
            del made.input[:]
            for reference in node.input:
                if not reference.startswith("^"):
                    source, index = flat(reference)
                    made.input.append(f"{source}:{index}" if index else source)
                elif reference[1:] not in arguments:
                    made.input.append(reference)
            nodes.append(made)
        results = []
        for arg in definition.signature.output_arg:
            if arg.name not in definition.ret:
                raise ValueError(f"it returns no {arg.name!r}")
            results.append(flat(definition.ret[arg.name]))
        self._flat[name] = nodes, results
        return nodes, results


def _shape_of(definition: function_pb2.FunctionDef, index: int) -> TensorShape:
    attrs = definition.arg_attr[index].attr if index in definition.arg_attr else {}
    if _SHAPES in attrs and len(attrs[_SHAPES].list.shape) == 1:
        return shape_from_proto(attrs[_SHAPES].list.shape[0])
    return UNKNOWN


__all__ = ["FunctionLibrary", "function_to_def", "functions_under"]
