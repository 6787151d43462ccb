"""What becomes of a file's graph before operations are made of it: NodeDefs in, NodeDefs out.

Functions with open types are closed, calls by a function's name become calls of a function, references become
resources, and control flow of TF1 becomes If and While.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from graphflow.opdef import find_op
from graphflow.serialization import control_flow, ref_variables
from graphflow.serialization.proto import (
    attr_value_pb2,
    function_pb2,
    graph_pb2,
    node_def_pb2,
    op_def_pb2,
)
from graphflow.serialization.regions import parse_input
from graphflow.serialization.signatures import TRANSLATED

_log = logging.getLogger("graphflow")

_VALID_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*\Z")
_MOST_LISTED = 20
# Functions that call others twice each grow without bound; no honest model comes near.
_MOST_NODES = 4_000_000
_MOST_CLOSED = 10_000  # functions with open types, each for one choice of types
_Attrs = Mapping[str, attr_value_pb2.AttrValue]


def check_names(nodes: Iterable[node_def_pb2.NodeDef]) -> None:
    """Raises ValueError unless every node has a name of its own that a node can have."""
    seen: set[str] = set()
    for node in nodes:
        if not _VALID_NAME.match(node.name):
            raise ValueError(f"{node.name[:200]!r} is not a valid node name")
        if node.name in seen:
            raise ValueError(f"the graph has two nodes called {node.name!r}")
        seen.add(node.name)


def prepare(
    graph_def: graph_pb2.GraphDef,
    outside: Mapping[str, int] | None = None,
    roots: Iterable[str] | None = None,
) -> tuple[list[node_def_pb2.NodeDef], list[function_pb2.FunctionDef]]:
    """Returns nodes and functions that operations can be made of.

    Args:
      graph_def: the graph; it is not changed.
      outside: the element types of inputs that will be taken from elsewhere, by their text.
      roots: names of the nodes that matter; if given, nodes of unknown types that none of them needs are left out.

    Raises:
      ValueError: if the graph has ops of unknown types (names them all) or does not hold together.
    """
    check_names(graph_def.node)
    library = _Library(graph_def.library)
    nodes = [library.called(node) for node in graph_def.node]
    library.close_all()
    nodes = ref_variables.translate(nodes)
    if roots is not None:
        nodes = _without_unknown(nodes, library, roots)
    _refuse_unknown(nodes, library)
    library.check_size(nodes)
    message = function_pb2.FunctionDefLibrary(function=library.reached(nodes))
    return control_flow.structured(nodes, message, outside)


# -- functions ------------------------------------------------------------------------------------------------


def _named_functions(node: node_def_pb2.NodeDef) -> list[attr_value_pb2.NameAttrList]:
    """The functions that a node's attributes name."""
    found = []
    for value in node.attr.values():
        if value.HasField("func"):
            found.append(value.func)
        elif value.HasField("list"):
            found.extend(value.list.func)
    return found


# Names that ops had before TensorFlow 1.15; beside them, what began with "Experimental" and has lost that.
_FORMER = {"Iterator": "IteratorV2", "IteratorFromStringHandle": "IteratorFromStringHandleV2"}


def _of_today(node: node_def_pb2.NodeDef, functions: Mapping[str, object]) -> node_def_pb2.NodeDef:
    """A node whose op has another name today under that name."""
    op_type = _FORMER.get(node.op) or node.op.removeprefix("Experimental")
    if op_type == node.op or node.op in functions or find_op(op_type) is None:
        return node
    made = node_def_pb2.NodeDef()
    made.CopyFrom(node)
    made.op = op_type
    return made


class _Library:
    """The functions of a file."""

    def __init__(self, library: function_pb2.FunctionDefLibrary) -> None:
        self.functions: dict[str, function_pb2.FunctionDef] = {}
        for function in library.function:
            name = function.signature.name
            if name in self.functions:
                raise ValueError(f"the library has two functions called {name!r}")
            self.functions[name] = function
        self._gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
        self._closed: dict[tuple[str, bytes], str] = {}
        self._waiting: list[str] = []
        self._own: set[str] = set()

    def called(self, node: node_def_pb2.NodeDef) -> node_def_pb2.NodeDef:
        """A node whose type is a function's name as a call; all functions that it names are closed."""
        node = _of_today(node, self.functions)
        function = self.functions.get(node.op)
        if function is None and not _named_functions(node):
            return node
        made = node_def_pb2.NodeDef()
        made.CopyFrom(node)
        if function is not None:
            made.ClearField("attr")
            for key, value in node.attr.items():
                if key.startswith("_"):
                    made.attr[key].CopyFrom(value)
            name = self.close(node.op, node.attr)
            signature = self.functions[name].signature
            made.op = "StatefulPartitionedCall" if signature.is_stateful else "PartitionedCall"
            made.attr["f"].func.name = name
            count = sum(not text.startswith("^") for text in node.input)
            if count != len(signature.input_arg):
                raise ValueError(
                    f"node {node.name!r} gives {count} inputs to the function {node.op!r}, which takes "
                    f"{len(signature.input_arg)}"
                )
            for key, args in (("Tin", signature.input_arg), ("Tout", signature.output_arg)):
                made.attr[key].list.SetInParent()
                made.attr[key].list.type.extend([arg.type for arg in args])
        if node.op == "SymbolicGradient" and node.attr["f"].func.name in self._gradients:
            # The file says itself what computes the gradient.
            made.op = "PartitionedCall"
            made.attr["f"].func.name = self._gradients[node.attr["f"].func.name]
        for named in _named_functions(made):
            if named.name not in self.functions:
                raise ValueError(
                    f"node {node.name!r} calls the function {named.name!r}, which the library lacks"
                )
            named.name = self.close(named.name, named.attr)
            named.ClearField("attr")
        return made

    def close(self, name: str, attrs: _Attrs) -> str:
        """Returns the name of a function with its open types replaced."""
        function = self.functions[name]
        if name not in self._own:
            self._own.add(name)
            self._waiting.append(name)
        if not function.signature.attr:
            return name
        chosen = {a.name: attrs[a.name] for a in function.signature.attr if a.name in attrs}
        chosen = {
            a.name: a.default_value for a in function.signature.attr if a.HasField("default_value")
        } | chosen
        missing = [a.name for a in function.signature.attr if a.name not in chosen]
        if missing:
            raise ValueError(f"the function {name!r} is called without its attributes {missing}")
        key = (
            name,
            b"".join(
                part
                for k in sorted(chosen)
                for part in (k.encode(), chosen[k].SerializeToString(deterministic=True))
            ),
        )
        if key not in self._closed:
            if len(self._closed) >= _MOST_CLOSED:
                raise ValueError(f"the functions of the graph unfold to more than {_MOST_CLOSED}")
            wanted, count = f"{name}_{len(self._closed)}", 0
            while wanted in self.functions:
                count += 1
                wanted = f"{name}_{len(self._closed)}_{count}"
            self.functions[wanted] = _closed(function, chosen, wanted)
            self._closed[key] = wanted
            self._own.add(wanted)
            self._waiting.append(wanted)
        return self._closed[key]

    def close_all(self) -> None:
        """Does the same with the nodes of all functions that are called."""
        while self._waiting:
            name = self._waiting.pop()
            function = self.functions[name]
            if function.signature.attr:
                continue
            nodes = [self.called(node) for node in function.node_def]
            if any(new is not old for new, old in zip(nodes, function.node_def, strict=True)):
                made = function_pb2.FunctionDef()
                made.CopyFrom(function)
                del made.node_def[:]
                made.node_def.extend(nodes)
                self.functions[name] = made

    def reached(self, nodes: Iterable[node_def_pb2.NodeDef]) -> list[function_pb2.FunctionDef]:
        """The functions that nodes call, directly or through others."""
        found: dict[str, function_pb2.FunctionDef] = {}
        stack = [named.name for node in nodes for named in _named_functions(node)]
        while stack:
            name = stack.pop()
            if name in self.functions and name not in found:
                function = found[name] = self.functions[name]
                stack.extend(named.name for node in function.node_def for named in _named_functions(node))
        return list(found.values())

    def check_size(self, nodes: Sequence[node_def_pb2.NodeDef]) -> None:
        """Raises ValueError if functions call themselves, or unfold to more nodes than any machine holds."""
        sizes: dict[str, int] = {}
        opened: dict[str, None] = {}

        def called(nodes: Iterable[node_def_pb2.NodeDef]) -> list[str]:
            return [
                named.name
                for node in nodes
                for named in _named_functions(node)
                if named.name in self.functions
            ]

        total = 0
        for node in nodes:
            stack = called([node])
            roots = list(stack)
            while stack:
                name = stack[-1]
                if name in sizes:
                    stack.pop()
                    continue
                inner = called(self.functions[name].node_def)
                missing = [other for other in inner if other not in sizes]
                if not missing:
                    sizes[name] = len(self.functions[name].node_def) + sum(sizes[other] for other in inner)
                    opened.pop(name, None)
                    stack.pop()
                    continue
                opened[name] = None
                for other in missing:
                    if other in opened:
                        raise ValueError(f"node {node.name!r}: the function {other!r} calls itself")
                stack.extend(missing)
            total += 1 + sum(sizes[name] for name in roots)
            if total > _MOST_NODES:
                raise ValueError(
                    f"node {node.name!r}: the functions of the graph unfold to more than {_MOST_NODES} nodes"
                )


def _counted(arg: op_def_pb2.OpDef.ArgDef, attrs: _Attrs) -> tuple[list[int], bool]:
    """The types of an argument, and whether it is a list."""
    if arg.type_list_attr:
        return list(attrs[arg.type_list_attr].list.type), True
    one = int(attrs[arg.type_attr].type if arg.type_attr else arg.type)
    if arg.number_attr:
        return [one] * min(attrs[arg.number_attr].i, 1 << 16), True
    return [one], False


def _closed(function: function_pb2.FunctionDef, attrs: _Attrs, name: str) -> function_pb2.FunctionDef:
    """A function with values in place of its attributes; arguments that are lists become single ones."""
    made = function_pb2.FunctionDef()
    made.CopyFrom(function)
    signature = made.signature
    signature.name = name
    for field in ("attr", "input_arg", "output_arg"):
        signature.ClearField(field)
    made.ClearField("ret")
    made.ClearField("arg_attr")
    taken = {arg.name for arg in function.signature.input_arg} | {node.name for node in function.node_def}
    parts: dict[str, list[str]] = {}

    def single(wanted: str) -> str:
        while wanted in taken:
            wanted += "_"
        taken.add(wanted)
        return wanted

    for arg in function.signature.input_arg:
        types, is_list = _counted(arg, attrs)
        names = [single(f"{arg.name}_{i}") for i in range(len(types))] if is_list else [arg.name]
        parts[arg.name] = names
        for part, type_ in zip(names, types, strict=True):
            signature.input_arg.add(name=part, type=type_)

    def source(reference: str) -> list[str]:
        """What stands for a reference to an argument."""
        head, _, index = reference.partition(":")
        if reference.startswith("^") or head not in parts:
            return [reference]
        if not index:
            return parts[head]
        if not index.isdecimal() or int(index) >= len(parts[head]):
            raise ValueError(f"the function {function.signature.name!r} has no argument {reference!r}")
        return [parts[head][int(index)]]

    for node in made.node_def:
        inputs = [text for reference in node.input for text in source(reference)]
        del node.input[:]
        node.input.extend(inputs)
        for key in list(node.attr):
            value = node.attr[key]
            if value.WhichOneof("value") == "placeholder":
                if value.placeholder not in attrs:
                    raise ValueError(
                        f"node {node.name!r} of the function {function.signature.name!r} asks for the attribute "
                        f"{value.placeholder!r}, which the function lacks"
                    )
                value.CopyFrom(attrs[value.placeholder])
            for named in (
                [value.func] if value.HasField("func") else value.list.func if value.HasField("list") else ()
            ):
                for inner in named.attr.values():
                    if inner.WhichOneof("value") == "placeholder" and inner.placeholder in attrs:
                        inner.CopyFrom(attrs[inner.placeholder])
    for arg in function.signature.output_arg:
        if arg.name not in function.ret:
            raise ValueError(f"the function {function.signature.name!r} returns no {arg.name!r}")
        types, is_list = _counted(arg, attrs)
        given = source(function.ret[arg.name])
        if is_list and len(given) == 1:
            given = [f"{given[0]}:{i}" for i in range(len(types))]
        for i, (text, type_) in enumerate(zip(given, types, strict=True)):
            part = f"{arg.name}_{i}" if is_list else arg.name
            signature.output_arg.add(name=part, type=type_)
            made.ret[part] = text
    return made


# -- unknown ops ----------------------------------------------------------------------------------------------


def _unknown(
    nodes: Iterable[node_def_pb2.NodeDef], functions: Mapping[str, function_pb2.FunctionDef]
) -> dict[str, list[str]]:
    """The op types that are not known, each with the names of its nodes."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node.op not in TRANSLATED and node.op not in functions and find_op(node.op) is None:
            found.setdefault(node.op, []).append(node.name)
    return found


def _refuse_unknown(nodes: Sequence[node_def_pb2.NodeDef], library: _Library) -> None:
    missing = _unknown(nodes, library.functions)
    for function in library.reached(nodes):
        for op_type, names in _unknown(function.node_def, library.functions).items():
            missing.setdefault(op_type, []).extend(f"{function.signature.name}/{name}" for name in names)
    if missing:
        counted = sorted(missing.items(), key=lambda item: (-len(item[1]), item[0]))
        kinds = [
            f"{op_type} ({len(names)}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for op_type, names in counted
        ]
        raise ValueError(f"the graph has nodes of {len(missing)} unknown op types: {listed(kinds)}")


def listed(items: Sequence[str]) -> str:
    """Some things in one line, the first of them if they are many."""
    shown = "; ".join(items[:_MOST_LISTED])
    return shown + (f"; and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else "")


def _without_unknown(
    nodes: list[node_def_pb2.NodeDef], library: _Library, roots: Iterable[str]
) -> list[node_def_pb2.NodeDef]:
    """Drops the nodes of unknown types, and what hangs on them, if the roots do without them."""
    lacking: dict[str, bool] = {}
    for function in library.functions.values():
        lacking[function.signature.name] = bool(_unknown(function.node_def, library.functions))
    unknown = {name for names in _unknown(nodes, library.functions).values() for name in names}
    for node in nodes:
        if any(lacking[function.signature.name] for function in library.reached([node])):
            unknown.add(node.name)
    if not unknown:
        return nodes
    sources = {node.name: [parse_input(text)[0] for text in node.input] for node in nodes}
    needed: set[str] = set()
    stack = [name for name in roots if name in sources]
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack.extend(source for source in sources[name] if source in sources)
    if needed & unknown:
        # The import names them all; those outside the slice are none of its business.
        return [node for node in nodes if node.name in needed]
    followers: dict[str, list[str]] = {}
    for name, inputs in sources.items():
        for source in inputs:
            followers.setdefault(source, []).append(name)
    dropped: set[str] = set()
    stack = list(unknown)
    while stack:
        name = stack.pop()
        if name not in dropped:
            dropped.add(name)
            stack.extend(followers.get(name, ()))
    _log.info("%d nodes that the signatures do without are left out: their ops are unknown", len(dropped))
    return [node for node in nodes if node.name not in dropped]
