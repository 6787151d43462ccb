"""GraphDef as operations of a graph: every claim of the file is checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from graphflow.dtypes import as_dtype, float32
from graphflow.errors import DataLossError, NotFoundError, ShapeError
from graphflow.function import library_of
from graphflow.gradients import gradients, indexed_slices_to_tensor
from graphflow.graph import (
    Graph,
    IndexedSlices,
    Operation,
    Tensor,
    canonical_device,
    control_dependencies,
    get_default_graph,
    name_scope,
)
from graphflow.opdef import (
    OpDef,
    check_attr,
    convert_to_tensor,
    describe,
    emit,
    find_op,
    get_op,
    make_operation,
)
from graphflow.serialization.attr_value import attr_from_proto
from graphflow.serialization.function_def import FunctionLibrary
from graphflow.serialization.preparation import check_names, listed, prepare
from graphflow.serialization.proto import function_pb2, graph_pb2, node_def_pb2, op_def_pb2
from graphflow.serialization.regions import parse_input
from graphflow.serialization.signatures import MOST_OUTPUTS
from graphflow.serialization.tensor_proto import dtype_from_enum
from graphflow.version import GRAPH_DEF_VERSION

# Newer files that need more than this say so in their min_consumer.
CONSUMER = 4096

# Kept by TensorFlow for debugging; they say nothing that inference does not.
_IGNORED_ATTRS = frozenset({"_output_shapes"})


def as_message(value: Any, kind: type[Any], what: str) -> Any:
    """Returns `value` as a message of type `kind`: itself, its bytes, or another package's message of that name.

    Raises:
      TypeError: for anything else.
      ValueError: if the bytes are no such message.
    """
    if isinstance(value, kind):
        return value
    descriptor = getattr(value, "DESCRIPTOR", None)
    if descriptor is not None and descriptor.name == kind.DESCRIPTOR.name:
        value = value.SerializeToString()
    if not isinstance(value, bytes):
        raise TypeError(f"{what} must be a {kind.DESCRIPTOR.name}, got {type(value).__name__}")
    return parse_message(value, kind, what)


def parse_message(data: bytes, kind: type[Any], what: str) -> Any:
    """Returns the message that `data` holds.

    Raises:
      ValueError: if it holds nothing, or no such message.
    """
    name = kind.DESCRIPTOR.name
    if not data:
        raise ValueError(f"{what} is empty, not a {name}")
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ValueError(f"{what} is not a {name}, or it is cut off or damaged: {error}") from None


def read_message(path: str, kind: type[Any], text: bool = False) -> Any:
    """Returns the message in a file.

    Args:
      path: the file.
      kind: the generated class.
      text: whether the file is in protobuf's text form.

    Raises:
      NotFoundError: if there is no such file.
      DataLossError: if it is empty, truncated, damaged, or something else.
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFoundError(None, None, f"{path}: no such file") from None
    try:
        if text:
            return text_format.Parse(data.decode(), kind())
        return parse_message(data, kind, path)
    except (ValueError, text_format.ParseError, RecursionError) as error:
        raise DataLossError(None, None, f"{path}: {error}" if text else str(error)) from None


def read_graph_def(path: str) -> graph_pb2.GraphDef:
    """Returns the GraphDef in a file: in text form where its name ends in `txt`, else in binary form.

    Raises:
      NotFoundError: if there is no such file.
      DataLossError: if it holds no GraphDef.
    """
    message: graph_pb2.GraphDef = read_message(path, graph_pb2.GraphDef, text=path.endswith("txt"))
    return message


def check_versions(graph_def: graph_pb2.GraphDef) -> None:
    """Raises ValueError if a graph asks for another reader."""
    versions = graph_def.versions
    if versions.min_consumer > CONSUMER:
        raise ValueError(
            f"the graph needs a reader of version {versions.min_consumer}; this one is of version {CONSUMER}"
        )
    if GRAPH_DEF_VERSION in versions.bad_consumers or CONSUMER in versions.bad_consumers:
        raise ValueError("the graph says that readers of this version must not read it")


# What calls functions with its inputs; every other operation that holds functions gives them values of its own.
_CALLS = frozenset({
    "If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile", "PartitionedCall",
    "StatefulPartitionedCall",
})  # fmt: skip


class _Importer:
    """One import: nodes of the file, in an order in which each stands behind its inputs, made one by one."""

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[node_def_pb2.NodeDef],
        prefix: str,
        input_map: Mapping[str, Any],
        producer_ops: Mapping[str, op_def_pb2.OpDef],
        library: FunctionLibrary | None = None,
    ) -> None:
        self.graph = graph
        self.nodes = nodes
        self.prefix = prefix
        self.input_map = input_map
        self.producer_ops = producer_ops
        self.library = library
        self.first = graph._last_id
        self.known_functions = set(library_of(graph))
        self.new_names: list[str] = []
        self.used: set[str] = set()
        self.made: dict[str, Operation] = {}
        self.index: dict[str, int] = {}
        self.inputs: list[list[tuple[str, int]]] = []

    def run(self) -> None:
        self.check_nodes()
        order = self.order()
        try:
            for i in order:
                self.make(self.nodes[i], self.inputs[i])
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Takes back what a failed import has added: nothing refers to it yet."""
        graph = self.graph
        added = graph._operations[self.first :]
        del graph._operations[self.first :]
        gone = set(added)
        for operation in added:
            del graph._by_name[operation.name]
            for tensor in operation.inputs:
                if tensor.op not in gone:
                    tensor._consumers[:] = [
                        consumer for consumer in tensor._consumers if consumer not in gone
                    ]
        for name in self.new_names:
            del graph._names_in_use[name]
        functions = library_of(graph)
        for name in functions.keys() - self.known_functions:
            del functions[name]

    def mapped(self, name: str, output: int) -> str | None:
        """The key of `input_map` that takes the place of an input, if there is one."""
        if output < 0:
            return f"^{name}" if f"^{name}" in self.input_map else None
        key = f"{name}:{output}"
        if key in self.input_map:
            return key
        return name if output == 0 and name in self.input_map else None

    def check_nodes(self) -> None:
        check_names(self.nodes)
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        dangling: list[str] = []
        for node in self.nodes:
            parsed = [parse_input(text) for text in node.input]
            self.inputs.append(parsed)
            seen_control = False
            for text, (name, output) in zip(node.input, parsed, strict=True):
                if output >= 0 and seen_control:
                    raise ValueError(f"node {node.name!r}: the data input {text!r} follows a control input")
                seen_control = seen_control or output < 0
                if self.mapped(name, output) is None and name not in self.index:
                    dangling.append(f"{node.name!r} takes {text!r}")
        if dangling:
            raise ValueError(f"the graph has inputs from nodes that it lacks: {listed(dangling)}")

    def order(self) -> list[int]:
        """Indices of the nodes, inputs first; otherwise as in the file.

        Raises:
          ValueError: if nodes wait for each other, naming them.
        """
        waiting = [0] * len(self.nodes)
        followers: list[list[int]] = [[] for _ in self.nodes]
        for i, parsed in enumerate(self.inputs):
            for source in {name for name, output in parsed if self.mapped(name, output) is None}:
                followers[self.index[source]].append(i)
                waiting[i] += 1
        ready = [i for i, count in enumerate(waiting) if not count]
        order: list[int] = []
        while ready:
            i = heappop(ready)
            order.append(i)
            for follower in followers[i]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heappush(ready, follower)
        if len(order) < len(self.nodes):
            raise ValueError(f"the graph has a cycle: {self.cycle(waiting)}")
        return order

    def cycle(self, waiting: list[int]) -> str:
        at = next(i for i, count in enumerate(waiting) if count)
        path: list[int] = []
        position: dict[int, int] = {}
        while at not in position:
            position[at] = len(path)
            path.append(at)
            # Every node that still waits has an input that does.
            at = next(i for i in map(self.index.get, dict(self.inputs[at])) if i is not None and waiting[i])
        names = [self.nodes[i].name for i in reversed(path[position[at] :])]
        if len(names) > 8:
            names = [*names[:4], "…", *names[-3:]]
        return " → ".join([*names, names[0]])

    def make(self, node: node_def_pb2.NodeDef, parsed: list[tuple[str, int]]) -> None:
        try:
            self.made[node.name] = self.build(node, parsed)
        except (TypeError, ValueError) as error:
            kind = ShapeError if isinstance(error, ShapeError) else ValueError
            raise kind(f"node {node.name!r} ({node.op}): {error}") from None

    def build(self, node: node_def_pb2.NodeDef, parsed: list[tuple[str, int]]) -> Operation:
        symbolic = node.op == "SymbolicGradient"
        definition = find_op("PartitionedCall" if symbolic else node.op)
        if definition is None:
            raise ValueError("there is no such op")
        inputs: list[Tensor] = []
        controls: list[Operation] = []
        for name, output in parsed:
            key = self.mapped(name, output)
            if key is not None:
                self.used.add(key)
                value = self.input_map[key]
                if output < 0:
                    controls.append(value if isinstance(value, Operation) else value.op)
                else:
                    inputs.append(value)
                continue
            source = self.made[name]
            if output < 0:
                controls.append(source)
            elif output >= len(source.outputs):
                raise ValueError(
                    f"takes output {output} of {name!r} ({source.type}), which has {len(source.outputs)}"
                )
            else:
                inputs.append(source.outputs[output])
        if symbolic:
            return self.symbolic_gradient(node, inputs, controls)
        attrs = self.attrs_of(node, definition)
        self.check_types(definition, attrs, inputs)
        if definition.has_functions:
            self.find_functions(definition, attrs, inputs)
        full_name = self.full_name(node.name)
        if node.op == "VarHandleOp" and not attrs["shared_name"]:
            # What was a reference variable goes by its node's name, which is known only now.
            attrs["shared_name"] = full_name
        return make_operation(
            self.graph,
            definition,
            inputs,
            attrs,
            full_name,
            list(dict.fromkeys(controls)),
            canonical_device(node.device) or None,
        )

    def symbolic_gradient(
        self, node: node_def_pb2.NodeDef, inputs: list[Tensor], controls: list[Operation]
    ) -> Operation:
        """The gradients of a function's results by its arguments: a call, and the gradient of that."""
        if self.library is None:
            raise ValueError("it calls a function, and there is no library")
        wanted = [dtype_from_enum(kind) for kind in node.attr["Tout"].list.type]
        if [tensor.dtype for tensor in inputs[: len(wanted)]] != wanted:
            raise ValueError("it gives a gradient per argument, of the same type")
        arguments, cotangents = inputs[: len(wanted)], inputs[len(wanted) :]
        function = self.library.get(node.attr["f"].func.name, self.graph, arguments)
        if len(function.outputs) != len(cotangents):
            raise ValueError(
                f"it has {len(cotangents)} gradients of the {len(function.outputs)} results of {function.name!r}"
            )
        full_name = self.full_name(node.name)
        with self.graph.as_default(), control_dependencies(controls), name_scope(f"{full_name}/"):
            # Arguments of their own: what one of them is made of does not count.
            own = [emit.Identity(x) for x in arguments]
            types = [tensor.dtype for tensor in function.outputs]
            results = emit.PartitionedCall(own, Tout=types, f=function, name="call")
            pairs = [
                (y, dy)
                for y, dy in zip(results, cotangents, strict=True)
                if y.dtype.is_floating or y.dtype.is_complex
            ]
            found = gradients([y for y, _ in pairs], own, grad_ys=[dy for _, dy in pairs]) if pairs else own
            values = []
            for x, grad in zip(own, found, strict=True):
                if isinstance(grad, IndexedSlices):
                    grad = indexed_slices_to_tensor(grad)
                values.append(emit.ZerosLike(x) if grad is None or not pairs else grad)
        outer = {"T": tuple(wanted)}
        return make_operation(
            self.graph, get_op("IdentityN"), values, outer, full_name, list(dict.fromkeys(controls)),
            canonical_device(node.device) or None,
        )  # fmt: skip

    def find_functions(self, definition: OpDef, attrs: dict[str, Any], inputs: list[Tensor]) -> None:
        """Puts functions where an operation's attributes name them."""
        if self.library is None:
            raise ValueError("it calls a function, and there is no library")
        if definition.name in ("While", "StatelessWhile"):
            attrs["cond"], attrs["body"] = self.library.get_loop(
                attrs["cond"], attrs["body"], self.graph, inputs, attrs["output_shapes"]
            )
            return
        if definition.name not in _CALLS:
            for name, captured in self.captured_by(definition, attrs, inputs).items():
                attrs[name] = self.library.get_captured(attrs[name], self.graph, captured)
            return
        given = inputs[1:] if definition.inputs[0].name in ("cond", "branch_index") else inputs
        for attr in definition.attrs.values():
            if "func" in attr.kind:
                names = attrs[attr.name] if attr.kind.startswith("list(") else (attrs[attr.name],)
                found = tuple(self.library.get(name, self.graph, given) for name in names)
                attrs[attr.name] = found if attr.kind.startswith("list(") else found[0]

    def captured_by(
        self, definition: OpDef, attrs: dict[str, Any], inputs: list[Tensor]
    ) -> dict[str, list[Tensor]]:
        """Of an operation that calls functions again and again: what each is given besides what changes."""
        nested = definition.nest(inputs, attrs)
        lists = {arg.name: value for arg, value in zip(definition.inputs, nested, strict=True)}
        found: dict[str, list[Tensor]] = {}
        for attr in definition.attrs.values():
            if attr.kind == "func":
                names = ("other_arguments", f"{attr.name}_other_arguments", f"{attr.name}_other_args")
                found[attr.name] = next((lists[name] for name in names if name in lists), [])
        return found

    def full_name(self, name: str) -> str:
        full = f"{self.prefix}/{name}" if self.prefix else name
        taken = self.graph._by_name
        if full in taken:
            base, count = full, 1
            while full in taken:
                full = f"{base}_{count}"
                count += 1
        # As TensorFlow does, and unlike `unique_name`: names in files may differ in case alone.
        key = full.lower()
        if key not in self.graph._names_in_use:
            self.graph._names_in_use[key] = 1
            self.new_names.append(key)
        return full

    def attrs_of(self, node: node_def_pb2.NodeDef, definition: OpDef) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        for key, proto in node.attr.items():
            attr = definition.attrs.get(key)
            if key in _IGNORED_ATTRS or (attr is None and self.is_producer_default(node.op, key, proto)):
                continue
            if attr is None and not key.startswith("_"):
                raise ValueError(
                    f"it has an attribute {key!r} that the op lacks; it has {sorted(definition.attrs)}"
                )
            try:
                value = attr_from_proto(proto, attr)
            except (TypeError, ValueError) as error:
                raise ValueError(f"attribute {key!r}: {error}") from None
            if key == "_class" and self.prefix:
                value = tuple(
                    f"loc:@{self.prefix}/{group[5:]}" if str(group).startswith("loc:@") else group
                    for group in (item.decode() if isinstance(item, bytes) else item for item in value)
                )
            if attr is not None:
                check_attr(definition, attr, value, node.name)
            attrs[key] = value
        for attr in definition.attrs.values():
            if attr.name in attrs:
                continue
            default = self.producer_default(node.op, attr.name)
            if default is not None:
                attrs[attr.name] = attr_from_proto(default, attr)
            elif attr.has_default:
                attrs[attr.name] = attr.default
            else:
                raise ValueError(f"it lacks the attribute {attr.name!r}")
        return attrs

    def producer_default(self, op_type: str, key: str) -> Any:
        proto = self.producer_ops.get(op_type)
        for attr in proto.attr if proto is not None else ():
            if attr.name == key and attr.HasField("default_value"):
                return attr.default_value
        return None

    def is_producer_default(self, op_type: str, key: str, value: Any) -> bool:
        """Whether an attribute that this version does not know says only what it would say if left out."""
        default = self.producer_default(op_type, key)
        return default is not None and bool(default == value)

    def check_types(self, definition: OpDef, attrs: dict[str, Any], inputs: list[Tensor]) -> None:
        for arg in definition.inputs:
            if arg.number_attr and attrs[arg.number_attr] > len(inputs):
                raise ValueError(
                    f"{arg.number_attr} is {attrs[arg.number_attr]}, but it has {len(inputs)} inputs"
                )
        for arg in definition.outputs:
            if arg.number_attr and not 0 <= attrs[arg.number_attr] <= MOST_OUTPUTS:
                raise ValueError(f"{arg.number_attr} is {attrs[arg.number_attr]}")
        wanted = definition.input_dtypes(attrs)
        if len(wanted) != len(inputs):
            raise ValueError(f"it has {len(inputs)} inputs, the op takes {len(wanted)}")
        for i, (dtype, tensor) in enumerate(zip(wanted, inputs, strict=True)):
            if tensor.dtype is not dtype:
                raise ValueError(f"input {i} is {tensor.name!r}, {describe(tensor)}; expected {dtype.name}")
        value = attrs.get("value")
        if definition.name == "Const" and as_dtype(value.dtype) is not attrs["dtype"]:  # type: ignore[union-attr]
            raise ValueError(f"its value is {as_dtype(value.dtype).name}, its dtype {attrs['dtype'].name}")  # type: ignore[union-attr]


def _function_library(functions: Sequence[function_pb2.FunctionDef], outer: _Importer) -> FunctionLibrary:
    def make(
        graph: Graph, nodes: Sequence[node_def_pb2.NodeDef], given: Mapping[str, Tensor]
    ) -> dict[str, Operation]:
        with graph.as_default():
            importer = _Importer(graph, nodes, "", given, outer.producer_ops, outer.library)
            importer.run()
            return importer.made

    return FunctionLibrary(functions, make)


def import_graph_def(
    graph_def: Any,
    input_map: Mapping[str, Any] | None = None,
    return_elements: Sequence[str] | None = None,
    name: str | None = None,
    op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:
    """Adds the nodes of a GraphDef to the default graph.

    Reference variables become resource variables, and control flow of TF1 (Switch, Merge, Enter, …) becomes If and
    While: what stood inside of a branch or a loop is then in a function.

    Args:
      graph_def: a GraphDef (of graphflow or TensorFlow), or its bytes.
      input_map: for names of inputs ("x:0", "x", "^x" for a control input), the tensors to use instead.
      return_elements: names of operations ("x") and tensors ("x:0") of `graph_def` to return.
      name: put before all names, with a slash; default "import", "" for none.
      op_dict: accepted and ignored, as in TF1.
      producer_op_list: an OpList with the ops as the writer knew them: its defaults fill in what nodes leave out.

    Returns:
      The operations and tensors of `return_elements`, or None without it.

    Raises:
      TypeError: if an argument is of a wrong type.
      ValueError: if the graph does not hold together; says where. The default graph is then as before.
    """
    proto = as_message(graph_def, graph_pb2.GraphDef, "graph_def")
    producers = {}
    if producer_op_list is not None:
        op_list = as_message(producer_op_list, op_def_pb2.OpList, "producer_op_list")
        producers = {op.name: op for op in op_list.op}
    return import_graph(proto, input_map, return_elements, name, producers)


def import_graph(
    graph_def: graph_pb2.GraphDef,
    input_map: Mapping[str, Any] | None = None,
    return_elements: Sequence[str] | None = None,
    name: str | None = None,
    producer_ops: Mapping[str, op_def_pb2.OpDef] | None = None,
    roots: Iterable[str] | None = None,
) -> list[Any] | None:
    """Adds the nodes of a GraphDef to the default graph; see `import_graph_def`.

    Args:
      graph_def, input_map, return_elements, name: as there.
      producer_ops: the ops as the writer knew them, by type.
      roots: names of the nodes that matter; if given, nodes of unknown types that none of them needs are left out.
    """
    check_versions(graph_def)
    if input_map is not None and not all(isinstance(key, str) for key in input_map):
        raise TypeError("input_map must be a dictionary mapping strings to Tensor objects.")
    if return_elements is not None and not all(isinstance(item, str) for item in return_elements):
        raise TypeError("return_elements must be a list of strings.")
    graph = get_default_graph()
    mapped: dict[str, Any] = {}
    with name_scope(name, "import", list((input_map or {}).values())) as scope:
        prefix = scope.rstrip("/")
        if input_map:
            with graph.name_scope("_inputs" if prefix else "inputs"):
                for key, value in input_map.items():
                    mapped[key] = value if key.startswith("^") else convert_to_tensor(value)
        outside = {key: getattr(value, "dtype", float32).as_datatype_enum for key, value in mapped.items()}
        nodes, functions = prepare(graph_def, outside, roots)
        importer = _Importer(graph, nodes, prefix, mapped, producer_ops or {})
        importer.library = _function_library(functions, importer)
        importer.run()
    unused = [key for key in mapped if key not in importer.used]
    if unused:
        raise ValueError(f"Attempted to map inputs that were not found in graph_def: [{', '.join(unused)}]")
    if return_elements is None:
        return None
    return [_element(importer, mapped, text) for text in return_elements]


def _element(importer: _Importer, mapped: Mapping[str, Any], text: str) -> Any:
    if text in mapped:
        return mapped[text]
    name, colon, index = text.rpartition(":")
    if colon and index.isdecimal():
        operation = importer.made.get(name)
        if operation is not None and int(index) < len(operation.outputs):
            return operation.outputs[int(index)]
    elif text in importer.made:
        return importer.made[text]
    raise ValueError(f"Requested return_element {text!r} not found in graph_def.")
