"""Calls of functions in a graph's library, put in place: what TensorFlow 2 exports becomes one flat graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphflow.opdef import registered_ops
from graphflow.serialization.proto import attr_value_pb2, function_pb2, node_def_pb2, op_def_pb2

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Functions that call others twice each grow without bound; no honest model comes near.
_MOST_NODES = 4_000_000

_Chain = tuple[str, "_Chain"] | None


def _callee(node: node_def_pb2.NodeDef, functions: Mapping[str, function_pb2.FunctionDef]) -> str | None:
    if node.op in _CALLS:
        return node.attr["f"].func.name
    return node.op if node.op in functions else None


def _count(arg: op_def_pb2.OpDef.ArgDef, attrs: Mapping[str, attr_value_pb2.AttrValue]) -> int:
    if arg.number_attr:
        return attrs[arg.number_attr].i if arg.number_attr in attrs else 0
    if arg.type_list_attr:
        return len(attrs[arg.type_list_attr].list.type) if arg.type_list_attr in attrs else 0
    return 1


def _output_starts(
    node: node_def_pb2.NodeDef, functions: Mapping[str, function_pb2.FunctionDef]
) -> dict[str, int]:
    """Where each named output of a node begins among all its outputs."""
    if node.op in _CALLS:
        return {"output": 0}
    starts: dict[str, int] = {}
    at = 0
    if node.op in functions:
        for arg in functions[node.op].signature.output_arg:
            starts[arg.name] = at
            at += _count(arg, node.attr)
        return starts
    definition = registered_ops().get(node.op)
    for output in definition.outputs if definition is not None else ():
        starts[output.name] = at
        count = 1
        if output.number_attr:
            count = node.attr[output.number_attr].i if output.number_attr in node.attr else 0
        elif output.type_list_attr:
            count = len(node.attr[output.type_list_attr].list.type)
        at += count
    return starts


def _resolve_types(
    args: Iterable[op_def_pb2.OpDef.ArgDef], attrs: Mapping[str, attr_value_pb2.AttrValue]
) -> list[int]:
    types: list[int] = []
    for arg in args:
        if arg.type_list_attr:
            types.extend(attrs[arg.type_list_attr].list.type)
            continue
        one = int(attrs[arg.type_attr].type if arg.type_attr else arg.type)
        types.extend([one] * _count(arg, attrs))
    return types


class _Inliner:
    def __init__(self, nodes: list[node_def_pb2.NodeDef], library: function_pb2.FunctionDefLibrary) -> None:
        self.functions = {function.signature.name: function for function in library.function}
        self.names = {node.name for node in nodes}
        self.nodes = nodes

    def run(self) -> list[node_def_pb2.NodeDef]:
        out: list[node_def_pb2.NodeDef] = []
        stack: list[tuple[node_def_pb2.NodeDef, _Chain]] = [(node, None) for node in reversed(self.nodes)]
        while stack:
            node, chain = stack.pop()
            name = _callee(node, self.functions)
            if name is None:
                out.append(node)
                continue
            function = self.functions.get(name)
            if function is None:
                raise ValueError(f"node {node.name!r} calls the function {name!r}, which the library lacks")
            link = chain
            while link is not None:
                if link[0] == name:
                    raise ValueError(f"the function {name!r} calls itself (from node {node.name!r})")
                link = link[1]
            body = self.expand(node, function)
            # The last one stands for the call itself and calls nothing.
            stack.append((body[-1], None))
            stack.extend((inner, (name, chain)) for inner in reversed(body[:-1]))
            if len(out) + len(stack) > _MOST_NODES:
                raise ValueError(f"the functions of the graph unfold to more than {_MOST_NODES} nodes")
        return out

    def prefix_for(self, node: node_def_pb2.NodeDef, names: list[str]) -> str:
        prefix, count = f"{node.name}/", 0
        while any(prefix + name in self.names for name in names):
            count += 1
            prefix = f"{node.name}/inlined_{count}/"
        self.names.update(prefix + name for name in names)
        return prefix

    def expand(
        self, node: node_def_pb2.NodeDef, function: function_pb2.FunctionDef
    ) -> list[node_def_pb2.NodeDef]:
        """Returns the body of a called function, and last the node that carries the call's name and outputs."""
        signature = function.signature
        attrs = node.attr["f"].func.attr if node.op in _CALLS else node.attr
        data = [name for name in node.input if not name.startswith("^")]
        controls = [name for name in node.input if name.startswith("^")]
        arguments: dict[str, list[str]] = {}
        at = 0
        for arg in signature.input_arg:
            count = _count(arg, attrs)
            if count > len(data) - at:
                at = len(data) + 1
                break
            arguments[arg.name] = data[at : at + count]
            at += count
        if at != len(data):
            raise ValueError(
                f"node {node.name!r} gives {len(data)} inputs to the function {signature.name!r}, "
                f"which takes {len(signature.input_arg)}"
            )
        starts = {inner.name: _output_starts(inner, self.functions) for inner in function.node_def}
        gate = "input_controls"
        prefix = self.prefix_for(node, [inner.name for inner in function.node_def] + [gate])

        def source(reference: str) -> str:
            if reference.startswith("^"):
                name = reference[1:]
                if name in arguments and name not in starts:
                    return "^" + arguments[name][0].split(":")[0].lstrip("^")
                return f"^{prefix}{name}"
            name, _, rest = reference.partition(":")
            if name not in starts:
                if name not in arguments:
                    raise ValueError(
                        f"the function {signature.name!r} refers to {reference!r}, which it does not define"
                    )
                index = int(rest) if rest.isdigit() else 0
                if index >= len(arguments[name]):
                    raise ValueError(f"the function {signature.name!r} has no argument {reference!r}")
                return arguments[name][index]
            output, _, number = rest.partition(":")
            if output.isdigit():
                output, number = "", output
            index = starts[name].get(output, 0) + (int(number) if number.isdigit() else 0)
            return f"{prefix}{name}" + (f":{index}" if index else "")

        body: list[node_def_pb2.NodeDef] = []
        if controls:
            body.append(
                node_def_pb2.NodeDef(name=prefix + gate, op="NoOp", input=controls, device=node.device)
            )
        for inner in function.node_def:
            new = node_def_pb2.NodeDef()
            new.CopyFrom(inner)
            new.name = prefix + inner.name
            new.device = inner.device or node.device
            del new.input[:]
            new.input.extend([source(reference) for reference in inner.input])
            if controls:
                new.input.append(f"^{prefix}{gate}")
            for key, value in inner.attr.items():
                if value.WhichOneof("value") == "placeholder":
                    if value.placeholder not in attrs:
                        raise ValueError(
                            f"node {node.name!r} does not say the attribute {value.placeholder!r} of the "
                            f"function {signature.name!r}"
                        )
                    new.attr[key].CopyFrom(attrs[value.placeholder])
            body.append(new)
        results = []
        for arg in signature.output_arg:
            if arg.name not in function.ret:
                raise ValueError(f"the function {signature.name!r} returns no {arg.name!r}")
            results.append(source(function.ret[arg.name]))
        types = _resolve_types(signature.output_arg, attrs)
        if len(types) != len(results):
            raise ValueError(f"the function {signature.name!r} returns lists, which is not supported")
        op_type = "NoOp" if not results else "Identity" if len(results) == 1 else "IdentityN"
        waits = [f"^{prefix}{name}" for name in sorted(set(function.control_ret.values()))]
        if not results:
            waits += controls
        end = node_def_pb2.NodeDef(name=node.name, op=op_type, input=[*results, *waits], device=node.device)
        if len(results) == 1:
            end.attr["T"].type = types[0]  # type: ignore[assignment]
        elif results:
            end.attr["T"].list.type.extend(types)  # type: ignore[arg-type]
        return [*body, end]


def inline(
    nodes: list[node_def_pb2.NodeDef], library: function_pb2.FunctionDefLibrary
) -> list[node_def_pb2.NodeDef]:
    """Returns the nodes with every call of a library function replaced by its body.

    A call keeps its name: an Identity (a NoOp where nothing is returned) stands under it.

    Raises:
      ValueError: for functions that are missing, call themselves, or do not fit their calls.
    """
    if not any(node.op in _CALLS for node in nodes) and not library.function:
        return nodes
    return _Inliner(nodes, library).run()
