"""`tf.graph_util`: GraphDefs cut, frozen and tidied up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphflow.serialization.graph_import import import_graph_def as import_graph_def
from graphflow.serialization.tensor_proto import make_tensor_proto
from graphflow.shapes import TensorShape

_VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})
_STATE = frozenset(
    {
        "AssignVariableOp", "Assign", "AssignAdd", "AssignSub", "ReadVariableOp", "Queue", "RandomShuffleQueue",
        "FIFOQueue", "Variable", "VariableV2", "VarHandleOp", "ScatterAdd", "ScatterSub", "ScatterUpdate",
    }
)  # fmt: skip


def node_name(text: str) -> str:
    """Returns the node that an input such as "^a", "a:1" or "a" belongs to."""
    return text.removeprefix("^").partition(":")[0]


def extract_sub_graph(graph_def: Any, dest_nodes: Sequence[str]) -> Any:
    """Returns a GraphDef of the nodes that others need.

    Args:
      graph_def: a GraphDef.
      dest_nodes: the names of the nodes whose inputs are followed.

    Raises:
      TypeError: if `dest_nodes` is a string.
      ValueError: if there is no node of one of the names.
    """
    if isinstance(dest_nodes, str):
        raise TypeError("dest_nodes must be a list.")
    nodes = {node.name: node for node in graph_def.node}
    missing = [name for name in dest_nodes if name not in nodes]
    if missing:
        raise ValueError(f"{missing[0]} is not in graph")
    keep: set[str] = set()
    stack = list(dest_nodes)
    while stack:
        name = stack.pop()
        if name in keep:
            continue
        keep.add(name)
        stack += [source for text in nodes[name].input if (source := node_name(text)) in nodes]
    result = type(graph_def)()
    result.versions.CopyFrom(graph_def.versions)
    result.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        if node.name in keep:
            result.node.add().CopyFrom(node)
    return result


def must_run_on_cpu(node: Any, pin_variables_on_cpu: bool = False) -> bool:
    """Whether a node's kernel runs on a CPU only: strings, and variables if asked for.

    Args:
      node: a NodeDef or an Operation.
      pin_variables_on_cpu: whether what holds variables counts, too.
    """
    definition = getattr(node, "node_def", node)
    if pin_variables_on_cpu and definition.op in _STATE:
        return True
    text = 7  # DT_STRING
    if definition.op == "Const":
        return bool(definition.attr["dtype"].type == text)
    return definition.op in ("DynamicStitch", "ParameterizedAttributes") and (
        definition.attr["T"].type in (3, text)  # DT_INT32
    )


def remove_training_nodes(input_graph: Any, protected_nodes: Iterable[str] | None = None) -> Any:
    """Returns a GraphDef without CheckNumerics, and without Identity nodes where nothing depends on their being there.

    Args:
      input_graph: a GraphDef.
      protected_nodes: names of nodes to keep.
    """
    protected = set(protected_nodes or ())

    def without(graph: Any, goes: Callable[[Any], bool]) -> Any:
        sources: dict[str, str] = {}
        for node in graph.node:
            if goes(node):
                sources[node.name] = node.input[0]

        def source(text: str) -> str:
            while not text.startswith("^") and text.removesuffix(":0") in sources:
                text = sources[text.removesuffix(":0")]
            return text

        result = type(graph)()
        result.versions.CopyFrom(graph.versions)
        result.library.CopyFrom(graph.library)
        for node in graph.node:
            if node.name in sources:
                continue
            made = result.node.add()
            made.CopyFrom(node)
            del made.input[:]
            made.input.extend(source(text) for text in node.input)
        return result

    def plain(node: Any, kind: str) -> bool:
        return (
            node.op == kind
            and node.name not in protected
            and len(node.input) == 1
            and not any(key == "_class" for key in node.attr)
        )

    checked = without(input_graph, lambda node: plain(node, "CheckNumerics"))
    # What an order depends on stays, and so does what stands between two graphs of a merge or switch.
    awaited = {node_name(text) for node in checked.node for text in node.input if text.startswith("^")}
    return without(checked, lambda node: plain(node, "Identity") and node.name not in awaited)


def tensor_shape_from_node_def_name(graph: Any, input_name: str) -> TensorShape:
    """Returns the static shape of a tensor of a Graph; a name without ":0" is taken as with it."""
    full = input_name if ":" in input_name else f"{input_name}:0"
    shape: TensorShape = graph.get_tensor_by_name(full).shape
    return shape


def convert_variables_to_constants(
    sess: Any,
    input_graph_def: Any,
    output_node_names: Sequence[str],
    variable_names_whitelist: Iterable[str] | None = None,
    variable_names_blacklist: Iterable[str] | None = None,
) -> Any:
    """Returns a GraphDef of what some nodes need, with variables turned to constants of their present values.

    Args:
      sess: the session that has the values.
      input_graph_def: its graph.
      output_node_names: the nodes whose inputs are followed.
      variable_names_whitelist: the variables to turn; default all.
      variable_names_blacklist: the variables to leave.

    Raises:
      ValueError: if a variable is used in a way that a constant cannot stand in for; node and use are named.
    """
    graph_def = extract_sub_graph(input_graph_def, output_node_names)
    allowed = None if variable_names_whitelist is None else set(variable_names_whitelist)
    barred = set(variable_names_blacklist or ())
    chosen = [
        node.name
        for node in graph_def.node
        if node.op in _VARIABLES and (allowed is None or node.name in allowed) and node.name not in barred
    ]
    values = dict(zip(chosen, sess.run([f"{name}:0" for name in chosen]), strict=True)) if chosen else {}
    result = type(graph_def)()
    result.versions.CopyFrom(graph_def.versions)
    result.library.CopyFrom(graph_def.library)
    frozen = _Frozen(result.library)
    handles = {node.name for node in graph_def.node if node.op == "VarHandleOp" and node.name in values}
    dtypes = {node.name: int(node.attr["dtype"].type) for node in graph_def.node if node.name in handles}
    for node in graph_def.node:
        made = result.node.add()
        if node.name in values:
            made.op, made.name, made.device = "Const", node.name, node.device
            made.attr["dtype"].CopyFrom(node.attr["dtype"])
            made.attr["value"].tensor.CopyFrom(make_tensor_proto(values[node.name], node.attr["dtype"].type))
            continue
        made.CopyFrom(node)
        taken = {i for i, text in enumerate(node.input) if node_name(text) in handles and text[0] != "^"}
        if taken:
            frozen.rewrite(made, taken, {i: dtypes[node_name(node.input[i])] for i in taken}, result.node)
    _forget_unused_functions(result)
    return result


def _forget_unused_functions(graph_def: Any) -> None:
    functions = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    stack = list(graph_def.node)
    while stack:
        node = stack.pop()
        called = [value.func.name for value in node.attr.values() if value.HasField("func")]
        called += [func.name for value in node.attr.values() for func in value.list.func]
        for name in called + [node.op]:
            if name in functions and name not in used:
                used.add(name)
                stack += functions[name].node_def
    kept = [function for name, function in functions.items() if name in used]
    gradients = [item for item in graph_def.library.gradient if item.function_name in used]
    library = type(graph_def.library)(function=kept, gradient=gradients)
    graph_def.library.CopyFrom(library)


class _Frozen:
    """Nodes that took handles made to take values; functions with them, each once per set of arguments."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.functions = {function.signature.name: function for function in library.function}
        self.done: dict[tuple[str, tuple[int, ...]], str] = {}

    def rewrite(self, node: Any, taken: set[int], types: dict[int, int], siblings: Any) -> None:
        """Makes a node take values at the inputs `taken`, of the given dtypes."""
        if node.op == "ReadVariableOp":
            self.become(node, "Identity", {"T": types[0]})
        elif node.op == "ResourceGather":
            axis = siblings.add()
            axis.op, axis.name = "Const", f"{node.name}/axis"
            axis.attr["dtype"].type = 3
            axis.attr["value"].tensor.CopyFrom(make_tensor_proto(0, 3))
            kind, batch = node.attr["Tindices"].type, node.attr["batch_dims"].i
            self.become(node, "GatherV2", {"Tparams": types[0], "Tindices": kind, "Taxis": 3})
            node.attr["batch_dims"].i = batch
            node.input.insert(2, axis.name)
        elif node.op == "Identity":
            node.attr["T"].type = types[0]
        elif node.op in _CALLS:
            self.call(node, taken, types)
        else:
            raise ValueError(
                f"cannot freeze: node {node.name!r} ({node.op}) uses the variable behind {node.input[min(taken)]!r}"
                " itself, not its value; leave it out with variable_names_blacklist"
            )

    @staticmethod
    def become(node: Any, op: str, types: dict[str, int]) -> None:
        node.op = op
        for key in list(node.attr):
            if not key.startswith("_"):
                del node.attr[key]
        for key, kind in types.items():
            node.attr[key].type = kind

    def call(self, node: Any, taken: set[int], types: dict[int, int]) -> None:
        list_attr, first, bodies = _CALLS[node.op]
        kinds = node.attr[list_attr].list.type
        own = {i - first: types[i] for i in taken}
        for i, kind in own.items():
            kinds[i] = kind
        for key in bodies:
            node.attr[key].func.name = self.function(
                node.attr[key].func.name, own, node.op.endswith("While") and key == "body"
            )

    def function(self, name: str, types: dict[int, int], loops: bool) -> str:
        """Returns a copy of a function that takes values at some arguments; made once."""
        key = name, tuple(sorted(types))
        if key in self.done:
            return self.done[key]
        made = self.library.function.add()
        made.CopyFrom(self.functions[name])
        made.signature.name = self.done[key] = f"{name}_frozen_{len(self.done)}"
        self.functions[made.signature.name] = made
        values = {}
        for i, kind in types.items():
            argument = made.signature.input_arg[i]
            argument.type = kind
            values[argument.name] = kind
            if i in made.arg_attr:
                del made.arg_attr[i]
            # A loop hands its handles on as they are; as results they are values, too.
            if loops and i < len(made.signature.output_arg):
                made.signature.output_arg[i].type = kind
        for node in list(made.node_def):
            taken = {i for i, text in enumerate(node.input) if text in values}
            if taken:
                self.rewrite(node, taken, {i: values[node.input[i]] for i in taken}, made.node_def)
                if node.op == "Identity" and node.attr["T"].type != 20:
                    # What reads in a function is spoken of by the op's own name of its result.
                    self._renamed(made, f"{node.name}:value:0", f"{node.name}:output:0")
                if node.op == "GatherV2":
                    node.input[2] = f"{node.name}/axis:output:0"
        return str(made.signature.name)

    @staticmethod
    def _renamed(function: Any, old: str, new: str) -> None:
        for node in function.node_def:
            for i, text in enumerate(node.input):
                if text == old:
                    node.input[i] = new
        for key, text in function.ret.items():
            if text == old:
                function.ret[key] = new


# Calls: the attribute with the types of the arguments, which input is the first of them, and the functions.
_CALLS = {
    "If": ("Tin", 1, ("then_branch", "else_branch")),
    "PartitionedCall": ("Tin", 0, ("f",)),
    "StatefulPartitionedCall": ("Tin", 0, ("f",)),
    "StatelessIf": ("Tin", 1, ("then_branch", "else_branch")),
    "StatelessWhile": ("T", 0, ("cond", "body")),
    "While": ("T", 0, ("cond", "body")),
}

__all__ = [
    "convert_variables_to_constants", "extract_sub_graph", "import_graph_def", "must_run_on_cpu",
    "remove_training_nodes", "tensor_shape_from_node_def_name",
]  # fmt: skip
