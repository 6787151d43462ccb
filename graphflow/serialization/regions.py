"""Nodes of a file as linked objects, gathered in regions: what control flow is rearranged in before it is built.

A `Region` is a graph with arguments and results: the whole graph, the body of a function, of a loop, of a branch.
Reading turns NodeDefs and FunctionDefs into regions, writing turns regions into NodeDefs and FunctionDefs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from graphflow.opdef import find_op
from graphflow.serialization.proto import attr_value_pb2, function_pb2, node_def_pb2, types_pb2
from graphflow.serialization.signatures import output_names, output_starts, output_types

Ref = tuple["Node", int]
Attrs = Mapping[str, attr_value_pb2.AttrValue]

ARG = "_Arg"
# Deeper nests of loops, branches and functions than this are no honest program's; what walks them may recurse.
MOST_NESTED = 64


class Node:
    """A node of a region.

    Attributes:
      name, op, device: as in the NodeDef.
      inputs: `(node, output)` of each data input.
      controls: the nodes of the control inputs.
      attrs: the attributes.
      types: the DataType of each output.
      bodies: the regions that an If (then, else) or a While (cond, body) holds.
    """

    __slots__ = ("attrs", "bodies", "controls", "device", "inputs", "name", "op", "types")

    def __init__(
        self,
        name: str,
        op: str,
        inputs: Iterable[Ref] = (),
        types: Iterable[int] = (),
        attrs: Attrs | None = None,
        device: str = "",
    ) -> None:
        self.name = name
        self.op = op
        self.inputs = list(inputs)
        self.controls: list[Node] = []
        self.attrs: dict[str, attr_value_pb2.AttrValue] = dict(attrs or {})
        self.types = list(types)
        self.device = device
        self.bodies: tuple[Region, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.op} {self.name!r}>"

    def become(
        self, op: str, inputs: Iterable[Ref], types: Iterable[int], attrs: Attrs | None = None
    ) -> None:
        """Turns the node into another under the same name; private attributes and control inputs stay."""
        self.op = op
        self.inputs = list(inputs)
        self.types = list(types)
        kept = {key: value for key, value in self.attrs.items() if key.startswith("_")}
        self.attrs = kept | dict(attrs or {})

    def copy(self) -> Node:
        """Returns a node like this one, with lists of its own."""
        node = Node(self.name, self.op, self.inputs, self.types, self.attrs, self.device)
        node.controls = list(self.controls)
        node.bodies = self.bodies
        return node


class Region:
    """A graph with arguments and results.

    Attributes:
      args: one node of type `_Arg` per argument.
      nodes: all other nodes.
      results: what it returns.
      waits: nodes that must have run besides.
    """

    __slots__ = ("args", "nodes", "results", "waits")

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.args: list[Node] = []
        self.nodes: list[Node] = list(nodes)
        self.results: list[Ref] = []
        self.waits: list[Node] = []

    def add_arg(self, type_: int, name: str = "arg") -> Ref:
        """Adds an argument and returns it."""
        node = Node(name, ARG, types=[type_])
        self.args.append(node)
        return node, 0


class Names:
    """Names that are taken."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def new(self, wanted: str) -> str:
        """Returns `wanted`, or `wanted_1`, `wanted_2`, …, and takes it."""
        name, count = wanted, self._counts.get(wanted, 0)
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count
        self._taken.add(name)
        return name


# -- attributes --------------------------------------------------------------------------------------


def type_attr(type_: int) -> attr_value_pb2.AttrValue:
    """Returns an attribute that holds an element type."""
    return attr_value_pb2.AttrValue(type=type_)  # type: ignore[arg-type]


def types_attr(types: Iterable[int]) -> attr_value_pb2.AttrValue:
    """Returns an attribute that holds a list of element types."""
    value = attr_value_pb2.AttrValue()
    value.list.SetInParent()
    value.list.type.extend(types)  # type: ignore[arg-type]
    return value


def integers(name: str, values: Sequence[int] | int, type_: int = types_pb2.DT_INT32) -> Node:
    """Returns a Const of a scalar or a vector of integers."""
    node = Node(name, "Const", types=[type_], attrs={"dtype": type_attr(type_)})
    tensor = attr_value_pb2.AttrValue()
    tensor.tensor.dtype = type_  # type: ignore[assignment]
    items = [values] if isinstance(values, int) else list(values)
    if not isinstance(values, int):
        tensor.tensor.tensor_shape.dim.add(size=len(items))
    field = tensor.tensor.int_val if type_ == types_pb2.DT_INT32 else tensor.tensor.int64_val
    field.extend(items)
    node.attrs["value"] = tensor
    return node


def constant_integer(node: Node) -> int | None:
    """The value of a Const that holds one integer."""
    if node.op != "Const" or "value" not in node.attrs:
        return None
    tensor = node.attrs["value"].tensor
    if tensor.tensor_shape.dim or tensor.dtype != types_pb2.DT_INT32:
        return None
    if tensor.tensor_content:
        return int.from_bytes(tensor.tensor_content[:4], "little", signed=True)
    return int(tensor.int_val[0]) if tensor.int_val else 0


def zeros(name: str, type_: int) -> Node:
    """Returns a Const that holds one zero (an empty string, false) of a type."""
    node = Node(name, "Const", types=[type_], attrs={"dtype": type_attr(type_)})
    tensor = attr_value_pb2.AttrValue()
    tensor.tensor.dtype = type_  # type: ignore[assignment]
    tensor.tensor.tensor_shape.SetInParent()
    if type_ == types_pb2.DT_STRING:
        tensor.tensor.string_val.append(b"")
    node.attrs["value"] = tensor
    return node


# -- order --------------------------------------------------------------------------------------------


def sources(node: Node) -> list[Node]:
    """The nodes that a node waits for."""
    return [source for source, _ in node.inputs] + node.controls


def sorted_nodes(
    nodes: Sequence[Node], is_back_edge: Callable[[Node, Node], bool] | None = None
) -> list[Node]:
    """Returns nodes in an order in which each stands behind those of them that it waits for.

    Args:
      nodes: the nodes.
      is_back_edge: says of (source, node) that the node does not wait for it.

    Raises:
      ValueError: if nodes wait for each other, naming them.
    """
    members = set(nodes)
    waiting: dict[Node, int] = {}
    followers: dict[Node, list[Node]] = {}
    for node in nodes:
        wanted = {s for s in sources(node) if s in members and not (is_back_edge and is_back_edge(s, node))}
        waiting[node] = len(wanted)
        for source in wanted:
            followers.setdefault(source, []).append(node)
    order = [node for node in nodes if not waiting[node]]
    for node in order:
        for follower in followers.get(node, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                order.append(follower)
    if len(order) < len(nodes):
        at = next(node for node in nodes if waiting[node])
        path: list[Node] = []
        seen: dict[Node, int] = {}
        while at not in seen:
            seen[at] = len(path)
            path.append(at)
            at = next(s for s in sources(at) if waiting.get(s) and not (is_back_edge and is_back_edge(s, at)))
        names = [node.name for node in reversed(path[seen[at] :])]
        if len(names) > 8:
            names = [*names[:4], "…", *names[-3:]]
        raise ValueError(f"the graph has a cycle: {' → '.join([*names, names[0]])}")
    return order


# -- reading ------------------------------------------------------------------------------------------


def parse_input(text: str) -> tuple[str, int]:
    """Returns `(node, output)` of an input of a NodeDef; the output of a control input is -1."""
    if text.startswith("^"):
        return text[1:], -1
    name, colon, index = text.rpartition(":")
    if colon and index.isdecimal():
        return name, int(index)
    return text, 0


def _node(proto: node_def_pb2.NodeDef, functions: Mapping[str, function_pb2.FunctionDef]) -> Node:
    try:
        types = output_types(proto.op, proto.attr, functions)
    except ValueError as error:
        raise ValueError(f"node {proto.name!r} ({proto.op}): {error}") from None
    return Node(proto.name, proto.op, types=types, attrs=proto.attr, device=proto.device)


def read_graph(
    protos: Sequence[node_def_pb2.NodeDef],
    functions: Mapping[str, function_pb2.FunctionDef],
    outside: Mapping[str, int],
) -> Region:
    """Returns the region of a flat graph.

    Args:
      protos: its nodes.
      functions: the library that its nodes may call.
      outside: the element types of inputs that come from elsewhere, by their text.

    Raises:
      ValueError: if an input is from no node.
    """
    nodes = {proto.name: _node(proto, functions) for proto in protos}
    region = Region(nodes.values())
    strangers: dict[str, Node] = {}
    for proto in protos:
        node = nodes[proto.name]
        for text in proto.input:
            name, output = parse_input(text)
            key = text if text in outside else f"{name}:0" if output == 0 else text
            if key in outside or name not in nodes:
                if key not in outside and name not in outside:
                    raise ValueError(f"node {node.name!r} takes {text!r}, which the graph lacks")
                # Stands for what will take its place; keeps the text.
                if text not in strangers:
                    type_ = outside.get(key, outside.get(name, 0))
                    strangers[text] = Node(text.lstrip("^"), ARG, types=[type_])
                source, output = strangers[text], min(output, 0)
            else:
                source = nodes[name]
            if output < 0:
                node.controls.append(source)
            else:
                node.inputs.append((source, output))
    _check(region)
    return region


# How many inputs those nodes have whose inputs are looked at while branches and loops are found.
_ARITIES = {
    "Identity": 1, "Switch": 2, "Enter": 1, "Exit": 1, "NextIteration": 1, "LoopCond": 1,
    "StackPushV2": 2, "StackPopV2": 1, "StackCloseV2": 1,
    "TensorArrayGradV3": 2, "TensorArrayGradWithShape": 3, "TensorArrayWriteV3": 4, "TensorArrayReadV3": 3,
    "TensorArrayGatherV3": 3, "TensorArrayScatterV3": 4, "TensorArrayConcatV3": 2, "TensorArraySplitV3": 4,
    "TensorArraySizeV3": 2, "TensorArrayCloseV3": 1, "TensorArrayV3": 1, "StackV2": 1,
}  # fmt: skip


def _check(region: Region) -> None:
    """Refuses what the steps that follow rely on: numbers of inputs, outputs that exist, an order."""
    for node in region.nodes:
        arity = _ARITIES.get(node.op)
        if arity is not None and len(node.inputs) != arity:
            raise ValueError(
                f"node {node.name!r} ({node.op}) must have {arity} inputs, has {len(node.inputs)}"
            )
        if node.op == "Merge" and not node.inputs:
            raise ValueError(f"node {node.name!r} (Merge) must have an input")
        for source, output in node.inputs:
            if output >= len(source.types):
                raise ValueError(
                    f"node {node.name!r} takes output {output} of {source.name!r} ({source.op}), "
                    f"which has {len(source.types)}"
                )
    sorted_nodes(region.nodes, is_next)


def is_next(source: Node, node: Node) -> bool:
    """Whether a value goes into the next turn of a loop: the way on which a graph goes round."""
    return source.op == "NextIteration" and node.op == "Merge"


def read_function(
    function: function_pb2.FunctionDef, functions: Mapping[str, function_pb2.FunctionDef]
) -> Region:
    """Returns the region of a function's body.

    Raises:
      ValueError: if it refers to what it does not define, or its signature holds lists.
    """
    name = function.signature.name
    region = Region()
    nodes: dict[str, Node] = {}
    for arg in function.signature.input_arg:
        if arg.number_attr or arg.type_list_attr or arg.type_attr:
            raise ValueError(
                f"the function {name!r} has arguments of open types, and control flow of TF1 in it"
            )
        nodes[arg.name], _ = region.add_arg(arg.type, arg.name)
    starts: dict[str, dict[str, int]] = {}
    for proto in function.node_def:
        if proto.name in nodes:
            raise ValueError(f"the function {name!r} has two nodes called {proto.name!r}")
        node = nodes[proto.name] = _node(proto, functions)
        region.nodes.append(node)
        starts[proto.name] = output_starts(proto.op, proto.attr, functions)

    def source(reference: str) -> Ref:
        target, _, rest = reference.lstrip("^").partition(":")
        if target not in nodes:
            raise ValueError(f"the function {name!r} refers to {reference!r}, which it does not define")
        if reference.startswith("^"):
            return nodes[target], -1
        part, _, index = rest.partition(":")
        if target not in starts or not part:
            return nodes[target], 0
        if part.isdecimal():
            return nodes[target], int(part)
        if part not in starts[target]:
            raise ValueError(f"the function {name!r} refers to {reference!r}, which its node lacks")
        return nodes[target], starts[target][part] + (int(index) if index.isdecimal() else 0)

    for proto in function.node_def:
        node = nodes[proto.name]
        for reference in proto.input:
            origin, index = source(reference)
            if index < 0:
                node.controls.append(origin)
            else:
                node.inputs.append((origin, index))
    for result in function.signature.output_arg:
        if result.name not in function.ret:
            raise ValueError(f"the function {name!r} returns no {result.name!r}")
        region.results.append(source(function.ret[result.name]))
    region.waits = [source(reference)[0] for reference in function.control_ret.values()]
    _check(region)
    return region


# -- writing ------------------------------------------------------------------------------------------


class Writer:
    """Writes regions as NodeDefs; the bodies in them become functions of a library.

    Attributes:
      made: the functions written so far.
    """

    def __init__(
        self, function_names: Iterable[str], functions: Mapping[str, function_pb2.FunctionDef]
    ) -> None:
        self._names = Names(function_names)
        self._functions = functions
        self._places: set[str] | None = None
        self.made: list[function_pb2.FunctionDef] = []

    def graph(self, region: Region) -> list[node_def_pb2.NodeDef]:
        """Returns the NodeDefs of a flat graph."""

        def text(ref: Ref) -> str:
            node, output = ref
            return f"{node.name}:{output}" if output else node.name

        self._places = {node.name for node in region.nodes}
        return [self._node(node, text) for node in region.nodes]

    def function(self, region: Region, wanted: str, like: function_pb2.FunctionDef | None = None) -> str:
        """Writes a region as a function and returns its name.

        Args:
          region: the body.
          wanted: the name, to which a number is added if it is taken.
          like: a function whose name, argument names and attributes are kept.
        """
        places, self._places = self._places, None
        function = function_pb2.FunctionDef()
        signature = function.signature
        if like is not None:
            function.CopyFrom(like)
            for field in ("node_def", "ret", "control_ret"):
                function.ClearField(field)
            del signature.control_output[:]
        else:
            signature.name = self._names.new(re.sub(r"[^A-Za-z0-9_]", "_", wanted))
        names = Names()
        used = sorted_nodes(region.nodes)
        for i, arg in enumerate(region.args):
            if like is None:
                arg.name = names.new(f"arg_{i}")
                signature.input_arg.add(name=arg.name, type=arg.types[0])
            else:
                arg.name = names.new(signature.input_arg[i].name)
        for node in used:
            node.name = names.new(node.name)
        outputs: dict[Node, list[str]] = {}

        def text(ref: Ref) -> str:
            node, output = ref
            if node.op == ARG:
                return node.name
            if node not in outputs:
                flat = (
                    ["output"] * len(node.types)
                    if node.bodies
                    else output_names(node.op, node.attrs, self._functions)
                )
                outputs[node] = [f"{name}:{i - flat.index(name)}" for i, name in enumerate(flat)]
            if output >= len(outputs[node]):
                raise ValueError(
                    f"output {output} of node {node.name!r} ({node.op}) is used, which has {len(outputs[node])}"
                )
            return f"{node.name}:{outputs[node][output]}"

        function.node_def.extend([self._node(node, text) for node in used])
        for i, ref in enumerate(region.results):
            if like is None:
                name = names.new(f"result_{i}")
                signature.output_arg.add(name=name, type=ref[0].types[ref[1]])
            else:
                name = signature.output_arg[i].name
            function.ret[name] = text(ref)
        for node in dict.fromkeys(region.waits):
            if node.op != ARG:
                function.control_ret[node.name] = node.name
                signature.control_output.append(node.name)
        signature.is_stateful = any(is_stateful(node, self._functions) for node in used)
        self.made.append(function)
        self._places = places
        return signature.name

    def _node(self, node: Node, text: Callable[[Ref], str]) -> node_def_pb2.NodeDef:
        proto = node_def_pb2.NodeDef(name=node.name, op=node.op, device=node.device)
        proto.input.extend([text(ref) for ref in node.inputs])
        proto.input.extend([f"^{control.name}" for control in dict.fromkeys(node.controls)])
        for key, value in node.attrs.items():
            if key != "_class" or self._places is not None:
                proto.attr[key].CopyFrom(value)
        if "_class" in proto.attr:
            # A node that has become part of a function is no place to be at.
            places = self._places or ()
            kept = [s for s in proto.attr["_class"].list.s if s[:5] != b"loc:@" or s[5:].decode() in places]
            del proto.attr["_class"].list.s[:]
            proto.attr["_class"].list.s.extend(kept)
            if not kept:
                del proto.attr["_class"]
        if node.bodies:
            stateful = False
            roles = ("then_branch", "else_branch") if node.op == "If" else ("cond", "body")
            ends = ("true", "false") if node.op == "If" else roles
            for role, end, body in zip(roles, ends, node.bodies, strict=True):
                proto.attr[role].func.name = self.function(body, f"{node.name}_{end}")
                stateful = stateful or self.made[-1].signature.is_stateful
            if not stateful:
                proto.op = f"Stateless{node.op}"
            types = [source.types[output] for source, output in node.inputs]
            if node.op == "If":
                proto.attr["Tcond"].type = types[0]  # type: ignore[assignment]
                proto.attr["Tin"].CopyFrom(types_attr(types[1:]))
                proto.attr["Tout"].CopyFrom(types_attr(node.types))
            else:
                proto.attr["T"].CopyFrom(types_attr(types))
        return proto


def is_stateful(node: Node, functions: Mapping[str, function_pb2.FunctionDef]) -> bool:
    """Whether a node does more than compute its outputs from its inputs, as far as is known."""
    if node.bodies:
        return any(is_stateful(inner, functions) for body in node.bodies for inner in body.nodes)
    if node.op in functions:
        return functions[node.op].signature.is_stateful
    definition = find_op(node.op)
    return definition is not None and definition.stateful
