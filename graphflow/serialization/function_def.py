"""Functions as FunctionDefs and back.

A function is read when an operation that calls it is made: only then is known which variables its handles belong to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from graphflow.function import FuncGraph, Function, functions_of, library_of, register_function
from graphflow.graph import Graph, Operation, Tensor
from graphflow.opdef import registered_ops
from graphflow.ops.functional import called_operations, is_stateful
from graphflow.serialization.proto import function_pb2, node_def_pb2
from graphflow.serialization.tensor_proto import (
    dtype_from_enum,
    enum_from_dtype,
    shape_from_proto,
    shape_to_proto,
)
from graphflow.shapes import TensorShape

_SHAPES = "_output_shapes"
_MOST_DEPTH = 200  # functions that call one another; no honest model comes near
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


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
      library: the file's functions.
      make: adds nodes to a graph; gives the operations by name.
    """

    def __init__(self, library: function_pb2.FunctionDefLibrary, make: MakeNodes) -> None:
        self.defs = {function.signature.name: function for function in library.function}
        self._make = make
        self._made: dict[Any, Function] = {}
        self._open: list[str] = []

    def get(self, name: str, graph: Graph, inputs: Sequence[Tensor]) -> Function:
        """Returns a function of the file as one of `graph`.

        Args:
          name: its name.
          graph: the graph around it.
          inputs: what it is called with; of handles it is known which variable they belong to.

        Raises:
          ValueError: if the file lacks it, it calls itself, or it makes no sense.
        """
        definition = self.defs.get(name)
        if definition is None:
            raise ValueError(f"it calls the function {name!r}, which the library lacks")
        key = (name, graph, tuple(tensor._handle for tensor in inputs))
        if key in self._made:
            return self._made[key]
        if name in self._open:
            raise ValueError(f"the function {name!r} calls itself")
        if len(self._open) >= _MOST_DEPTH:
            raise ValueError(f"functions call one another more than {_MOST_DEPTH} deep")
        if len(inputs) != len(definition.signature.input_arg):
            raise ValueError(
                f"it gives {len(inputs)} inputs to the function {name!r}, which takes"
                f" {len(definition.signature.input_arg)}"
            )
        self._open.append(name)
        try:
            made = self._made[key] = self._read(definition, graph, inputs)
        except ValueError as error:
            raise ValueError(f"function {name!r}: {error}") from None
        finally:
            self._open.pop()
        return made

    def _read(self, definition: function_pb2.FunctionDef, graph: Graph, inputs: Sequence[Tensor]) -> Function:
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
                raise ValueError(f"argument {arg.name!r} has no type of its own, which is not supported")
            dtype = dtype_from_enum(arg.type)
            if dtype is not tensor.dtype:
                raise ValueError(f"argument {arg.name!r} is {dtype.name}, it is given {tensor.dtype.name}")
            given[arg.name] = inner.add_input(dtype, _shape_of(definition, i), arg.name, handle=tensor)
        nodes = [self._plain(node, definition) for node in definition.node_def]
        made = self._make(inner, nodes, given)
        outputs = []
        for arg in signature.output_arg:
            if arg.name not in definition.ret:
                raise ValueError(f"it returns no {arg.name!r}")
            reference = _flat(definition.ret[arg.name], definition)
            source, _, index = reference.partition(":")
            if source in given:
                outputs.append(given[source])
                continue
            operation = made.get(source)
            if operation is None or int(index or 0) >= len(operation.outputs):
                raise ValueError(f"it returns {definition.ret[arg.name]!r}, which it does not make")
            outputs.append(operation.outputs[int(index or 0)])
        waits = [made[node] for node in sorted(set(definition.control_ret.values())) if node in made]
        # TensorFlow runs every operation of a function that acts, returned or not.
        acting = [op for op in made.values() if op.op_def.effects in ("writes", "host") and op not in waits]
        return register_function(
            Function(name, inner, tuple(inner.inputs), tuple(outputs), (*waits, *acting))
        )

    def _plain(
        self, node: node_def_pb2.NodeDef, definition: function_pb2.FunctionDef
    ) -> node_def_pb2.NodeDef:
        """A node of a function as one of a graph: its inputs by number."""
        made = node_def_pb2.NodeDef()
        made.CopyFrom(node)
        del made.input[:]
        arguments = {arg.name for arg in definition.signature.input_arg}
        inner = {other.name for other in definition.node_def}
        for reference in node.input:
            if reference.startswith("^") and reference[1:] in arguments and reference[1:] not in inner:
                continue
            made.input.append(_flat(reference, definition))
        if node.op in self.defs:
            called = self.defs[node.op]
            made.op = "StatefulPartitionedCall"
            made.attr["f"].func.name = node.op
            for key, args in (("Tin", called.signature.input_arg), ("Tout", called.signature.output_arg)):
                made.attr[key].list.SetInParent()
                made.attr[key].list.type.extend([arg.type for arg in args])
        return made


def _shape_of(definition: function_pb2.FunctionDef, index: int) -> TensorShape:
    attrs = definition.arg_attr[index].attr if index in definition.arg_attr else {}
    if _SHAPES in attrs and len(attrs[_SHAPES].list.shape) == 1:
        return shape_from_proto(attrs[_SHAPES].list.shape[0])
    return TensorShape(None)


def _flat(reference: str, definition: function_pb2.FunctionDef) -> str:
    """A reference as in a GraphDef: `node:output:index` becomes `node:number`."""
    if reference.startswith("^"):
        return reference
    name, _, rest = reference.partition(":")
    if not rest or rest.isdecimal():
        return reference
    output, _, index = rest.partition(":")
    node = next((node for node in definition.node_def if node.name == name), None)
    if node is None:
        return name
    first = _starts(node).get(output, 0)
    return f"{name}:{first + int(index or 0)}"


def _starts(node: node_def_pb2.NodeDef) -> dict[str, int]:
    """Where each named output of a node begins among all its outputs."""
    starts: dict[str, int] = {}
    at = 0
    for name, count in _counts(node):
        starts[name] = at
        at += count
    return starts


def _counts(node: node_def_pb2.NodeDef) -> Iterator[tuple[str, int]]:
    definition = registered_ops().get(node.op)
    for output in definition.outputs if definition is not None else ():
        count = 1
        if output.number_attr:
            count = node.attr[output.number_attr].i if output.number_attr in node.attr else 0
        elif output.type_list_attr:
            count = len(node.attr[output.type_list_attr].list.type)
        yield output.name, count


__all__ = ["FunctionLibrary", "function_to_def", "functions_under"]
