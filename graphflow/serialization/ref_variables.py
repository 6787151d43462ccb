"""References of TF1 as resources, node by node, before a graph is built.

`VariableV2` becomes `VarHandleOp`. An op that writes through a reference (`Assign`, `ApplyAdam`, `ScatterSub`, …)
becomes its resource form under the name `<name>/write` and a read under the old name that waits for it: running
`<name>`, as an operation or as a tensor, writes and gives the new value, as before. Ops that take a reference for
its value get a read of their own at that point. `RefSwitch`, `RefEnter` and their kin carry the handle on.

Queues, readers, tables, stacks and arrays that were known by a reference to a string (`FIFOQueue`) become those that
are known by a resource (`FIFOQueueV2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphflow.dtypes import resource
from graphflow.opdef import find_op, get_op
from graphflow.serialization.proto import node_def_pb2, types_pb2
from graphflow.serialization.regions import integers
from graphflow.serialization.signatures import TRANSLATED
from graphflow.serialization.tensor_proto import dtype_from_enum, enum_from_dtype

_TEMPORARY = "TemporaryVariable"
_VARIABLES = ("Variable", "VariableV2", _TEMPORARY)
_ASSIGNS = {
    "Assign": "AssignVariableOp",
    "AssignAdd": "AssignAddVariableOp",
    "AssignSub": "AssignSubVariableOp",
    "StridedSliceAssign": "ResourceStridedSliceAssign",
}
_SCATTERS = tuple(f"Scatter{kind}" for kind in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max"))
_ND_SCATTERS = tuple(f"ScatterNd{kind}" for kind in ("Update", "Add", "Sub", "Min", "Max"))
# What hands a reference on, and the op that hands a handle on.
_CARRIERS = {
    "RefSwitch": "Switch", "RefEnter": "Enter", "RefExit": "Exit", "RefNextIteration": "NextIteration",
}  # fmt: skip
# What was known by a reference to a string, and what makes it; the ops of today end in V2, those of arrays in V3.
_MAKERS = (
    "FIFOQueue RandomShuffleQueue PaddingFIFOQueue PriorityQueue WholeFileReader TextLineReader IdentityReader "
    "FixedLengthRecordReader TFRecordReader HashTable MutableHashTable MutableHashTableOfTensors "
    "MutableDenseHashTable Stack TensorArray TensorArrayV2 ConditionalAccumulator"
).split()
_USERS = (
    "QueueEnqueue QueueEnqueueMany QueueDequeue QueueDequeueMany QueueDequeueUpTo QueueClose QueueIsClosed "
    "QueueSize ReaderRead ReaderReadUpTo ReaderNumRecordsProduced ReaderNumWorkUnitsCompleted "
    "ReaderSerializeState ReaderRestoreState ReaderReset LookupTableFind LookupTableInsert LookupTableSize "
    "LookupTableExport LookupTableImport InitializeTable InitializeTableFromTextFile StackPush StackPop "
    "StackClose TensorArrayGrad TensorArrayGradV2 TensorArrayWrite TensorArrayWriteV2 TensorArrayRead "
    "TensorArrayReadV2 TensorArrayGather TensorArrayGatherV2 TensorArrayScatter TensorArrayScatterV2 "
    "TensorArrayConcat TensorArrayConcatV2 TensorArraySplit TensorArraySplitV2 TensorArraySize TensorArraySizeV2 "
    "TensorArrayClose TensorArrayCloseV2 AccumulatorApplyGradient AccumulatorTakeGradient "
    "AccumulatorNumAccumulated AccumulatorSetGlobalStep"
).split()


def _of_today(op_type: str) -> str:
    """The op that does with a resource what an op did with a reference to a string."""
    if "Accumulator" in op_type:
        return f"Resource{op_type}"
    return op_type.removesuffix("V2") + ("V3" if op_type.startswith("TensorArray") else "V2")


_RENAMED = {op_type: _of_today(op_type) for op_type in (*_MAKERS, *_USERS)}


def _resource_form(op_type: str) -> str | None:
    if op_type in _ASSIGNS:
        return _ASSIGNS[op_type]
    if op_type in _SCATTERS or op_type in _ND_SCATTERS or op_type.startswith(("Apply", "SparseApply")):
        return f"Resource{op_type}"
    return None


def is_translated(op_type: str) -> bool:
    """Whether nodes of this type, which reads or writes references, have a resource form here."""
    if op_type in _VARIABLES or op_type in _CARRIERS:
        return True
    if op_type in _RENAMED:
        return _RENAMED[op_type] in TRANSLATED or find_op(_RENAMED[op_type]) is not None
    if op_type in _READERS:
        return _READERS[op_type] in TRANSLATED or find_op(_READERS[op_type]) is not None
    target = _resource_form(op_type)
    return target is not None and find_op(target) is not None


def _base_type(variable: node_def_pb2.NodeDef) -> types_pb2.DataType:
    """The type of a variable's elements, without the mark of a reference."""
    return enum_from_dtype(dtype_from_enum(variable.attr["dtype"].type))


# Ops that take a variable for more than its value, and give no reference.
_READERS = {
    "IsVariableInitialized": "VarIsInitializedOp",
    "DestroyTemporaryVariable": "ReadVariableOp",
    "CountUpTo": "ResourceCountUpTo",
    "RefIdentity": "ReadVariableOp",
    "RefMerge": "Merge",
}


def _source(reference: str) -> str:
    return reference.removesuffix(":0")


def _node_of(reference: str) -> str:
    name, colon, index = reference.rpartition(":")
    return name if colon and index.isdecimal() else reference


class _Translator:
    def __init__(self, nodes: Sequence[node_def_pb2.NodeDef]) -> None:
        self.nodes = nodes
        self.names = {node.name for node in nodes}
        self.by_name = {node.name: node for node in nodes}
        self.variables = {node.name: node for node in nodes if node.op in _VARIABLES}
        self.strings = {node.name for node in nodes if node.op in _MAKERS}
        self.writers = {
            node.name: node
            for node in nodes
            if node.input and _resource_form(node.op) is not None and is_translated(node.op)
        }
        self.write_names: dict[str, str] = {}
        self.out: list[node_def_pb2.NodeDef] = []

    def variable_of(self, reference: str) -> str | None:
        """The variable behind a reference, through what hands it on; None for an ordinary tensor."""
        return self.root_of(reference, self.variables)

    def root_of(self, reference: str, roots: Iterable[str]) -> str | None:
        name = _node_of(reference)
        passed: set[str] = set()
        while name not in passed:
            passed.add(name)
            if name in roots:
                return name
            node = self.by_name.get(name)
            if node is None or not node.input:
                return None
            if name not in self.writers and node.op not in _CARRIERS and node.op != "RefIdentity":
                return None
            name = _node_of(node.input[0])
        return None

    def handle_of(self, reference: str) -> str:
        """What carries the handle at the place of a reference to a variable."""
        name = _node_of(reference)
        while name in self.writers or self.by_name[name].op == "RefIdentity":
            reference = self.by_name[name].input[0]
            name = _node_of(reference)
        return reference

    def order_of(self, reference: str) -> list[str]:
        """The control input that makes a reference wait for the write that hands it on."""
        name = _node_of(reference)
        while name not in self.writers and self.by_name[name].op == "RefIdentity":
            name = _node_of(self.by_name[name].input[0])
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

    def read(self, name: str, reference: str, controls: Iterable[str], like: node_def_pb2.NodeDef) -> None:
        """Adds a read of the variable behind a reference."""
        waits = dict.fromkeys([*self.order_of(reference), *controls])
        node = self.add(name, "ReadVariableOp", [self.handle_of(reference), *waits], like)
        node.attr["dtype"].type = self.type_of(reference)

    def type_of(self, reference: str) -> types_pb2.DataType:
        return _base_type(self.variables[self.variable_of(reference) or ""])

    def run(self) -> list[node_def_pb2.NodeDef]:
        for node in self.nodes:
            data = [name for name in node.input if not name.startswith("^")]
            controls = [name for name in node.input if name.startswith("^")]
            refers = bool(data) and self.variable_of(data[0]) is not None
            if node.op in _RENAMED or (data and node.op in _CARRIERS and self.root_of(data[0], self.strings)):
                self.rename(node)
            elif node.name in self.variables:
                self.handle(node)
            elif node.name in self.writers and refers:
                self.write(node, data, controls)
            elif not any(self.variable_of(name) for name in data):
                self.out.append(node)
            elif refers and node.op in _CARRIERS:
                inputs = [self.handle_of(data[0]), *self.values(node, data[1:], controls)]
                new = self.add(
                    node.name, _CARRIERS[node.op], [*inputs, *self.order_of(data[0]), *controls], node
                )
                for key, value in node.attr.items():
                    new.attr[key].CopyFrom(value)
                new.attr["T"].type = types_pb2.DT_RESOURCE
            elif (
                refers
                and node.op in ("Identity", "RefIdentity", "DestroyTemporaryVariable")
                and len(data) == 1
            ):
                self.read(node.name, data[0], controls, node)
            elif refers and node.op == "IsVariableInitialized":
                inputs = [self.handle_of(data[0]), *self.order_of(data[0]), *controls]
                self.add(node.name, "VarIsInitializedOp", inputs, node)
            elif refers and node.op == "CountUpTo":
                inputs = [self.handle_of(data[0]), *self.order_of(data[0]), *controls]
                new = self.add(node.name, "ResourceCountUpTo", inputs, node)
                new.attr["limit"].CopyFrom(node.attr["limit"])
                new.attr["T"].type = self.type_of(data[0])
            else:
                new = node_def_pb2.NodeDef()
                new.CopyFrom(node)
                if node.op == "RefMerge":
                    new.op = "Merge"
                    new.attr["T"].type = enum_from_dtype(dtype_from_enum(node.attr["T"].type))
                del new.input[:]
                new.input.extend(self.values(node, data, controls) + controls)
                self.out.append(new)
        return self.out

    def rename(self, node: node_def_pb2.NodeDef) -> None:
        """Turns a node that makes, uses or hands on a reference to a string into one with a resource."""
        new = node_def_pb2.NodeDef()
        new.CopyFrom(node)
        if node.op in _CARRIERS:
            new.op = _CARRIERS[node.op]
            new.attr["T"].type = types_pb2.DT_RESOURCE
        else:
            new.op = _RENAMED[node.op]
        if node.op == "Stack":
            size = integers(self.unique(f"{node.name}/max_size"), -1)
            constant = node_def_pb2.NodeDef(name=size.name, op=size.op, device=node.device)
            for key, value in size.attrs.items():
                constant.attr[key].CopyFrom(value)
            self.out.append(constant)
            new.input.insert(0, size.name)
        self.out.append(new)

    def handle(self, node: node_def_pb2.NodeDef) -> None:
        new = self.add(node.name, "VarHandleOp", [name for name in node.input if name.startswith("^")], node)
        for key in ("container", "shared_name", "shape"):
            if key in node.attr:
                new.attr[key].CopyFrom(node.attr[key])
        new.attr["dtype"].type = _base_type(node)
        if node.op == _TEMPORARY and not new.attr["shared_name"].s:
            new.attr["shared_name"].s = f"{node.name}/temporary".encode()

    def values(self, node: node_def_pb2.NodeDef, data: list[str], controls: list[str]) -> list[str]:
        """The inputs of a node, with reads in place of references."""
        inputs = []
        for i, name in enumerate(data):
            if self.variable_of(name) is not None:
                reference, name = name, self.unique(f"{node.name}/ref_{i}")
                self.read(name, reference, controls, node)
            inputs.append(name)
        return inputs

    def write(self, node: node_def_pb2.NodeDef, data: list[str], controls: list[str]) -> None:
        op_type = _resource_form(node.op) or ""
        definition = get_op(op_type)
        inputs: list[str] = []
        order: list[str] = []
        plain: list[str | None] = []
        for i, name in enumerate(data):
            takes_handle = i < len(definition.inputs) and definition.inputs[i].dtype is resource
            if takes_handle and self.variable_of(name) is not None:
                order += self.order_of(name)
                inputs.append(self.handle_of(name))
                plain.append(None)
            else:
                inputs.append("")
                plain.append(name)
        given = iter(self.values(node, [name for name in plain if name is not None], controls))
        inputs = [inputs[i] if name is None else next(given) for i, name in enumerate(plain)]
        write = self.add(
            self.write_name(node.name), op_type, [*inputs, *dict.fromkeys(order + controls)], node
        )
        for key, value in node.attr.items():
            key = "dtype" if key == "T" and "dtype" in definition.attrs else key
            if key in definition.attrs:
                write.attr[key].CopyFrom(value)
        self.read(node.name, node.name, [f"^{write.name}"], node)


def translate(nodes: Sequence[node_def_pb2.NodeDef]) -> list[node_def_pb2.NodeDef]:
    """Returns the nodes with references turned into resources.

    A write whose first input is no variable, or whose op has no resource form here, is left as it is.
    """
    if not any(node.op in _VARIABLES or node.op in _RENAMED for node in nodes):
        return list(nodes)
    return _Translator(nodes).run()
