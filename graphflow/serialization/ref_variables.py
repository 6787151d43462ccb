"""TF1's reference variables as resource variables, node by node, before a graph is built.

`VariableV2` becomes `VarHandleOp`. An op that writes through a reference (`Assign`, `ApplyAdam`, `ScatterSub`, …)
becomes its resource form under the name `<name>/write` and a read under the old name that waits for it: running
`<name>`, as an operation or as a tensor, writes and gives the new value, as before. Ops that take a reference for
its value get a read of their own at that point.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphflow.dtypes import resource
from graphflow.opdef import OpDef, registered_ops
from graphflow.serialization.proto import node_def_pb2, types_pb2
from graphflow.serialization.tensor_proto import dtype_from_enum, enum_from_dtype

_VARIABLES = ("Variable", "VariableV2")
_ASSIGNS = {
    "Assign": "AssignVariableOp",
    "AssignAdd": "AssignAddVariableOp",
    "AssignSub": "AssignSubVariableOp",
}
_SCATTERS = tuple(f"Scatter{kind}" for kind in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max"))
_ND_SCATTERS = tuple(f"ScatterNd{kind}" for kind in ("Update", "Add", "Sub", "Min", "Max"))


def _resource_form(op_type: str) -> str | None:
    if op_type in _ASSIGNS:
        return _ASSIGNS[op_type]
    if op_type in _SCATTERS or op_type in _ND_SCATTERS or op_type.startswith(("Apply", "SparseApply")):
        return f"Resource{op_type}"
    return None


def is_translated(op_type: str) -> bool:
    """Whether nodes of this type, which reads or writes references, have a resource form here."""
    if op_type in _VARIABLES:
        return True
    target = "VarIsInitializedOp" if op_type == "IsVariableInitialized" else _resource_form(op_type)
    return target is not None and target in registered_ops()


def _base_type(variable: node_def_pb2.NodeDef) -> types_pb2.DataType:
    """The type of a variable's elements, without the mark of a reference."""
    return enum_from_dtype(dtype_from_enum(variable.attr["dtype"].type))


def _source(reference: str) -> str:
    return reference.removesuffix(":0")


class _Translator:
    def __init__(self, nodes: list[node_def_pb2.NodeDef]) -> None:
        self.nodes = nodes
        self.names = {node.name for node in nodes}
        self.ops = registered_ops()
        self.variables = {node.name: node for node in nodes if node.op in _VARIABLES}
        self.writers = {
            node.name: node
            for node in nodes
            if node.input and _resource_form(node.op) is not None and is_translated(node.op)
        }
        self.write_names: dict[str, str] = {}
        self.out: list[node_def_pb2.NodeDef] = []

    def variable_of(self, reference: str) -> str | None:
        """The variable behind a reference, through the writes that hand it on; None for an ordinary tensor."""
        name = _source(reference)
        passed: set[str] = set()
        while name in self.writers and name not in passed:
            passed.add(name)
            name = _source(self.writers[name].input[0])
        return name if name in self.variables else None

    def order_of(self, reference: str) -> list[str]:
        """The control input that makes a reference wait for the write that hands it on."""
        name = _source(reference)
        return [f"^{self.write_name(name)}"] if name in self.writers else []

    def unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.names:
            count += 1
            candidate = f"{name}_{count}"
        self.names.add(candidate)
        return candidate

    def write_name(self, name: str) -> str:
        if name not in self.write_names:
            self.write_names[name] = self.unique(f"{name}/write")
        return self.write_names[name]

    def add(
        self, name: str, op_type: str, inputs: Iterable[str], like: node_def_pb2.NodeDef
    ) -> node_def_pb2.NodeDef:
        node = node_def_pb2.NodeDef(name=name, op=op_type, input=inputs, device=like.device)
        for key, value in like.attr.items():
            if key.startswith("_"):
                node.attr[key].CopyFrom(value)
        self.out.append(node)
        return node

    def read(self, name: str, variable: str, controls: Iterable[str], like: node_def_pb2.NodeDef) -> None:
        node = self.add(name, "ReadVariableOp", [variable, *dict.fromkeys(controls)], like)
        node.attr["dtype"].type = _base_type(self.variables[variable])

    def run(self) -> list[node_def_pb2.NodeDef]:
        for node in self.nodes:
            data = [name for name in node.input if not name.startswith("^")]
            controls = [name for name in node.input if name.startswith("^")]
            if node.name in self.variables:
                self.handle(node)
            elif node.name in self.writers and self.variable_of(node.name) is not None:
                self.write(node, data, controls)
            elif not any(self.variable_of(name) for name in data):
                self.out.append(node)
            elif node.op in ("Identity", "RefIdentity") and len(data) == 1:
                variable = self.variable_of(data[0]) or ""
                self.read(node.name, variable, [*self.order_of(data[0]), *controls], node)
            elif node.op == "IsVariableInitialized":
                variable = self.variable_of(data[0]) or ""
                self.add(
                    node.name, "VarIsInitializedOp", [variable, *self.order_of(data[0]), *controls], node
                )
            else:
                inputs = self.values(node, data, controls)
                del node.input[:]
                node.input.extend(inputs + controls)
                self.out.append(node)
        return self.out

    def handle(self, node: node_def_pb2.NodeDef) -> None:
        new = self.add(node.name, "VarHandleOp", [name for name in node.input if name.startswith("^")], node)
        for key in ("container", "shared_name", "shape"):
            if key in node.attr:
                new.attr[key].CopyFrom(node.attr[key])
        new.attr["dtype"].type = _base_type(node)

    def values(self, node: node_def_pb2.NodeDef, data: list[str], controls: list[str]) -> list[str]:
        """The inputs of a node, with reads in place of references."""
        inputs = []
        for i, name in enumerate(data):
            variable = self.variable_of(name)
            if variable is not None:
                order = self.order_of(name)
                name = self.unique(f"{node.name}/ref_{i}")
                self.read(name, variable, [*order, *controls], node)
            inputs.append(name)
        return inputs

    def write(self, node: node_def_pb2.NodeDef, data: list[str], controls: list[str]) -> None:
        op_type = _resource_form(node.op) or ""
        definition: OpDef = self.ops[op_type]
        inputs: list[str] = []
        order: list[str] = []
        plain: list[str] = []
        for i, name in enumerate(data):
            variable = self.variable_of(name)
            takes_handle = i < len(definition.inputs) and definition.inputs[i].dtype is resource
            if takes_handle and variable is not None:
                order += self.order_of(name)
                inputs.append(variable)
                plain.append("")
            else:
                inputs.append("")
                plain.append(name)
        values = self.values(node, [name for name in plain if name], controls)
        given = iter(values)
        inputs = [name or next(given) for name in inputs]
        write = self.add(
            self.write_name(node.name), op_type, [*inputs, *dict.fromkeys(order + controls)], node
        )
        for key, value in node.attr.items():
            key = "dtype" if key == "T" and "dtype" in definition.attrs else key
            if key in definition.attrs:
                write.attr[key].CopyFrom(value)
        self.read(node.name, self.variable_of(node.name) or "", [f"^{write.name}"], node)


def translate(nodes: list[node_def_pb2.NodeDef]) -> list[node_def_pb2.NodeDef]:
    """Returns the nodes with reference variables turned into resource variables.

    A write whose first input is no variable, or whose op has no resource form here, is left as it is.
    """
    if not any(node.op in _VARIABLES for node in nodes):
        return nodes
    return _Translator(nodes).run()
