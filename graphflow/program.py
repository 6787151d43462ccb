"""Program: the frozen slice of a graph that one run needs, as immutable interned nodes.

Freezing makes state explicit. A variable has no handle here: each state of it is a value. A read is the value of the
state it sees; a write is a pure node that gives the next state; `commits` says which state each variable has when the
run is over. So passes, fusion and memory planning need to know nothing of variables.

The order of design.md §3 is decided here, once: a read sees the state after the last write that an edge places before
it, else the state before the run; writes follow one another in the order in which they were made.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import ShapeError
from graphflow.graph import Operation, Tensor
from graphflow.opdef import InferContext, OpDef, describe, get_op, op, run_infer
from graphflow.records import dataclass, field
from graphflow.shapes import UNKNOWN, TensorShape

if TYPE_CHECKING:
    import networkx

_INLINE_BYTES = 256  # attributes up to this size are compared by content, larger ones by digest
SPECIALIZED = "_specialized"  # marks a constant that holds for one set of feed shapes only


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a value.

    Attributes:
      dtype: the dtype.
      shape: the shape in this program; concrete where the program is specialized to feed shapes.
      static_shape: the part of the shape that holds whatever the feeds' sizes are; code is generated for it.
    """

    dtype: DType
    shape: TensorShape
    static_shape: TensorShape

    def __str__(self) -> str:
        dims = self.shape.as_tuple()
        if dims is None:
            return f"{self.dtype.name}[<unknown>]"
        static = self.static_shape.as_tuple()
        shown = []
        for axis, size in enumerate(dims):
            dynamic = size is not None and (static is None or static[axis] is None)
            shown.append("?" if size is None else f"{size}~" if dynamic else str(size))
        return f"{self.dtype.name}[{','.join(shown)}]"


class Value:
    """One output of a node."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def type(self) -> TensorType:
        """Dtype and shape."""
        return self.node.types[self.index]

    @property
    def dtype(self) -> DType:
        """The dtype."""
        return self.node.types[self.index].dtype

    @property
    def shape(self) -> TensorShape:
        """The shape in this program."""
        return self.node.types[self.index].shape

    @property
    def static_shape(self) -> TensorShape:
        """The shape whatever the feeds' sizes are."""
        return self.node.types[self.index].static_shape

    # Where a state op's rule asks for the variable behind a handle, the value itself is the variable.

    @property
    def handle_dtype(self) -> DType:
        """The dtype of the variable whose state this is."""
        return self.dtype

    @property
    def handle_shape(self) -> TensorShape:
        """The shape of the variable whose state this is."""
        return self.shape

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The concrete sizes, or None where one is not known."""
        dims = self.shape.as_tuple()
        if dims is None or None in dims:
            return None
        return dims  # type: ignore[return-value]

    @property
    def constant(self) -> np.ndarray[Any, Any] | None:
        """The value of a Const, else None."""
        return self.node.attrs["value"] if self.node.op_def.name == "Const" else None

    def __repr__(self) -> str:
        return f"<Value {self.node.name}:{self.index} {self.type}>"


class _StaticView:
    """A value as the shape rule sees it when the feeds' sizes are to be left open."""

    __slots__ = ("dtype", "handle_dtype", "handle_shape", "shape", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.dtype = self.handle_dtype = value.dtype
        self.shape = self.handle_shape = value.static_shape


class Node:
    """One operation of a program; immutable, and interned unless it has effects.

    Attributes:
      op_def: what it does.
      inputs: the values it takes, lists flattened; states of variables in place of handles.
      attrs: its attributes.
      controls: nodes with effects that must run before it.
      types: one per output; a state op's new states come first.
      origin: the operation of the user's graph it stands for, for errors and traces.
      name: the name of that operation.
      serial: grows with creation, so inputs have smaller ones.
      key: what makes it equal to another, None if nothing does.
    """

    __slots__ = (
        "attrs",
        "controls",
        "inputs",
        "key",
        "name",
        "op_def",
        "origin",
        "outputs",
        "serial",
        "types",
    )

    def __init__(
        self,
        op_def: OpDef,
        inputs: tuple[Value, ...],
        attrs: dict[str, Any],
        controls: tuple[Node, ...],
        types: tuple[TensorType, ...],
        origin: Operation | None,
        name: str,
        serial: int,
        key: Any = None,
    ) -> None:
        self.key = key
        self.op_def = op_def
        self.inputs = inputs
        self.attrs = attrs
        self.controls = controls
        self.types = types
        self.origin = origin
        self.name = name
        self.serial = serial
        self.outputs = tuple(Value(self, i) for i in range(len(types)))

    @property
    def type(self) -> str:
        """The op type."""
        return self.op_def.name

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.op_def.name}>"


@dataclass(frozen=True, slots=True)
class Program:
    """A closed program: what it takes, what it gives, and what it leaves behind.

    Attributes:
      feeds: one value per fed tensor, in the order of the feeds.
      fetches: one value per fetched tensor.
      commits: (variable name, its state after the run), in the order of the first writes.
      effects: nodes that have to run for what they do, in the order they were made.
      specialized: whether the feeds' sizes are fixed.
    """

    feeds: tuple[Value, ...]
    fetches: tuple[Value, ...]
    commits: tuple[tuple[str, Value], ...] = ()
    effects: tuple[Node, ...] = ()
    specialized: bool = False
    _nodes: list[Node] = field(default_factory=list, repr=False, compare=False)

    @property
    def roots(self) -> list[Value]:
        """The values that a run must compute."""
        return [*self.fetches, *(value for _, value in self.commits)]

    @property
    def nodes(self) -> list[Node]:
        """The live nodes, each after all that it needs. The list is shared: do not change it."""
        if not self._nodes:
            self._nodes.extend(self._walk())
        return self._nodes

    def _walk(self) -> list[Node]:
        seen: set[Node] = set()
        stack = [value.node for value in (*self.feeds, *self.roots)] + list(self.effects)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            stack.extend(value.node for value in node.inputs)
            stack.extend(node.controls)
        # Nodes are made after what they need, so creation order is a topological one.
        return sorted(seen, key=lambda node: node.serial)

    @property
    def variables(self) -> dict[str, Value]:
        """The variables whose state before the run is used: name to that state."""
        return {node.attrs["variable"]: node.outputs[0] for node in self.nodes if node.op_def is VARIABLE}

    def users(self) -> dict[Value, list[Node]]:
        """Returns the nodes that take each value."""
        result: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                result.setdefault(value, []).append(node)
        return result

    def to_networkx(self) -> networkx.MultiDiGraph[Any]:
        """Returns the program as a graph of nodes; edges carry `value`, control edges None."""
        import networkx

        graph: networkx.MultiDiGraph[Any] = networkx.MultiDiGraph()
        for node in self.nodes:
            graph.add_node(node, name=node.name, type=node.type)
            for value in node.inputs:
                graph.add_edge(value.node, node, value=value)
            for control in node.controls:
                graph.add_edge(control, node, value=None)
        return graph


# -- the ops that only programs hold ----------------------------------------------------------------------


def _declared(node: Any) -> TensorShape:
    shape: TensorShape = node.attrs["shape"]
    return shape


@op("GraphflowFeed", "", "value:dtype", "dtype:type; shape:shape; feed:string", infer=_declared, effects="reads",
    differentiable=False)  # fmt: skip
def feed_op() -> Any:
    """The value fed for a tensor; the executor supplies it."""
    raise RuntimeError("a feed has no body")


@op("GraphflowVariable", "", "value:dtype", "dtype:type; shape:shape; variable:string", infer=_declared,
    effects="reads", differentiable=False)  # fmt: skip
def variable_op() -> Any:
    """The state of a variable before the run; the executor supplies it."""
    raise RuntimeError("a variable has no body")


@op("GraphflowVariableIsInitialized", "", "is_initialized:bool", "variable:string",
    infer=lambda node: TensorShape(()), effects="host", differentiable=False)  # fmt: skip
def variable_is_initialized_op(*, variable: str, context: Any) -> Any:
    """Whether a variable had a value before the run."""
    return np.asarray(context.is_initialized(variable))


FEED: OpDef = feed_op
VARIABLE: OpDef = variable_op


# -- building ------------------------------------------------------------------------------------------------


def _frozen(value: Any) -> Any:
    """Returns a key that equals another only if types and bits do."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return ("text", value.shape, tuple(value.reshape(-1).tolist()))
        data = value.tobytes()
        if len(data) > _INLINE_BYTES:
            data = hashlib.blake2b(data, digest_size=20).digest()
        return ("array", value.dtype.str if value.dtype.kind != "V" else value.dtype.name, value.shape, data)
    if isinstance(value, tuple | list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value).__name__, value)


class ProgramBuilder:
    """Makes nodes, each distinct one once.

    Attributes:
      origin: stamped on nodes made while it is set.
    """

    def __init__(self, first_serial: int = 0) -> None:
        self._interned: dict[Any, Node] = {}
        self._serial = first_serial
        self.origin: Operation | None = None
        self.name = ""

    def node(
        self,
        op_def: OpDef,
        inputs: Sequence[Value],
        attrs: dict[str, Any],
        controls: Sequence[Node] = (),
        types: Sequence[TensorType] | None = None,
        origin: Operation | None = None,
        name: str = "",
    ) -> Node:
        """Returns the node with these parts, made if there is none yet.

        Raises:
          ShapeError: if the op's shape rule refuses the inputs.
        """
        inputs = tuple(inputs)
        controls = tuple(dict.fromkeys(controls))
        key: Any = None
        # Effects are never shared, except looking at a feed or at a variable's state.
        if not op_def.stateful or op_def is FEED or op_def is VARIABLE or op_def.effects == "writes":
            try:
                parts = tuple((k, _frozen(v)) for k, v in sorted(attrs.items()))
                key = (op_def.name, tuple((v.node.serial, v.index) for v in inputs), parts, controls)
                found = self._interned.get(key)
                if found is not None:
                    return found
            except TypeError:
                key = None  # an attribute that can't be hashed: leave the node on its own
        if types is None:
            types = infer_types(op_def, inputs, attrs)
        node = Node(
            op_def,
            inputs,
            attrs,
            controls,
            tuple(types),
            origin if origin is not None else self.origin,
            name or self.name or op_def.name,
            self._serial,
            key,
        )
        self._serial += 1
        if key is not None:
            self._interned[key] = node
        return node

    def again(self, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]) -> Node:
        """Returns a node of another program on new inputs: the very node if they are its own, and none equals it.

        Raises:
          ShapeError: if the sizes of the new inputs do not fit together, naming the node.
        """
        if inputs == node.inputs and controls == node.controls:
            return node if node.key is None else self._interned.setdefault(node.key, node)
        types = node.types if unchanged(inputs, node) else None
        try:
            return self.node(node.op_def, inputs, node.attrs, controls, types, node.origin, node.name)
        except ShapeError as error:
            line = node.origin.user_line if node.origin is not None else ""
            raise ShapeError(
                f'{node.type} "{node.name}": {error}; operands {", ".join(map(describe, inputs))}'
                + (f"; made at {line}" if line else "")
            ) from None

    def emit(self, op_type: str, *inputs: Value, **attrs: Any) -> Value:
        """Returns the first output of a node of the registry; attributes the inputs decide are filled in.

        List arguments are passed flat, with their count attribute given.
        """
        op_def = get_op(op_type)
        complete = dict(attrs)
        at = 0
        for arg in op_def.inputs:
            count = complete[arg.number_attr] if arg.number_attr else 1
            if arg.type_attr and arg.type_attr not in complete:
                complete[arg.type_attr] = inputs[at].dtype
            at += count
        for attr in op_def.attrs.values():
            if attr.name not in complete:
                if not attr.has_default:
                    raise TypeError(f"{op_type} needs the attribute {attr.name!r}")
                complete[attr.name] = attr.default
        return self.node(op_def, inputs, complete).outputs[0]

    def constant(self, value: Any, specialized: bool = False) -> Value:
        """Returns a Const with this array; `specialized` says that it holds for these feed sizes only."""
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        if array.flags.writeable:
            array = array.copy()
            array.flags.writeable = False
        attrs: dict[str, Any] = {"dtype": dtypes.as_dtype(array.dtype), "value": array}
        if specialized:
            attrs[SPECIALIZED] = True
        return self.node(get_op("Const"), (), attrs).outputs[0]


def infer_types(op_def: OpDef, inputs: Sequence[Value], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
    """Runs the op's shape rule on program values.

    Returns:
      One type per output: the new states of `updates`, then the outputs of the signature.

    Raises:
      ShapeError: if the inputs do not fit.
    """
    shapes = run_infer(value_context(op_def, inputs, attrs))
    if all(value.static_shape is value.shape and SPECIALIZED not in value.node.attrs for value in inputs):
        static = shapes
    else:
        static = run_infer(static_context(op_def, inputs, attrs))
    types = [inputs[i].type for i in op_def.updates]
    for dtype, shape, known in zip(op_def.output_dtypes(attrs), shapes, static, strict=True):
        types.append(TensorType(dtype, shape, shape if known == shape else known))
    return tuple(types)


def value_context(op_def: OpDef, inputs: Sequence[Value], attrs: dict[str, Any]) -> InferContext:
    """Returns what a rule sees of a node with these inputs."""
    return InferContext(op_def, inputs, attrs, _constant_of, _shape_of)


def static_context(op_def: OpDef, inputs: Sequence[Value], attrs: dict[str, Any]) -> InferContext:
    """Returns what a rule sees of it when the feeds' sizes are left open."""
    views = [_StaticView(value) for value in inputs]
    return InferContext(op_def, views, attrs, _static_constant_of, _static_shape_of)


def _constant_of(value: Any) -> np.ndarray[Any, Any] | None:
    constant: np.ndarray[Any, Any] | None = value.constant
    return constant


def _shape_of(value: Any) -> TensorShape:
    return _as_shape(value, value.constant, value.shape, _constant_of, _shape_of, lambda v: v)


def _static_constant_of(view: Any) -> np.ndarray[Any, Any] | None:
    value: Value = view.value
    return None if value.node.attrs.get(SPECIALIZED) else value.constant


def _static_shape_of(view: Any) -> TensorShape:
    return _as_shape(
        view.value, _static_constant_of(view), view.shape, _static_constant_of, _static_shape_of, _StaticView
    )


def _as_shape(
    value: Value,
    constant: np.ndarray[Any, Any] | None,
    shape: TensorShape,
    constant_of: Callable[[Any], Any],
    shape_of: Callable[[Any], TensorShape],
    view: Callable[[Value], Any],
) -> TensorShape:
    if constant is not None:
        if constant.ndim != 1:
            return UNKNOWN
        return TensorShape([None if d < 0 else int(d) for d in constant])
    rule = value.node.op_def.shape_rule
    if rule is not None:
        node = value.node
        inputs = [view(v) for v in node.inputs]
        return rule(InferContext(node.op_def, inputs, node.attrs, constant_of, shape_of))
    dims = shape.as_tuple()
    return UNKNOWN if dims is None or len(dims) != 1 or dims[0] is None else TensorShape([None] * dims[0])


# -- freezing --------------------------------------------------------------------------------------------------


def _slice(targets: Iterable[Operation], fed: frozenset[Tensor]) -> list[Operation]:
    """Returns the operations a run needs, each after all that it needs, else in the order they were made."""
    seen: set[Operation] = set()
    stack = list(targets)
    while stack:
        operation = stack.pop()
        if operation in seen:
            continue
        seen.add(operation)
        if fed and operation.outputs and all(t in fed for t in operation.outputs):
            continue
        stack.extend(t.op for t in operation.inputs if t not in fed)
        stack.extend(operation._control_inputs)
    ordered = sorted(seen, key=lambda operation: operation._id)
    position = {operation: i for i, operation in enumerate(ordered)}
    needs = [[position[p] for p in _predecessors(operation, fed) if p in position] for operation in ordered]
    if all(p < i for i, wanted in enumerate(needs) for p in wanted):
        return ordered
    return _topological(ordered, needs)


def _predecessors(operation: Operation, fed: frozenset[Tensor]) -> Iterator[Operation]:
    if fed and operation.outputs and all(t in fed for t in operation.outputs):
        return
    for tensor in operation.inputs:
        if tensor not in fed:
            yield tensor.op
    yield from operation._control_inputs


def _topological(ordered: list[Operation], needs: list[list[int]]) -> list[Operation]:
    users: list[list[int]] = [[] for _ in ordered]
    waiting = [0] * len(ordered)
    for i, wanted in enumerate(needs):
        for p in set(wanted):
            users[p].append(i)
            waiting[i] += 1
    ready = [i for i, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    result = []
    while ready:
        i = heapq.heappop(ready)
        result.append(ordered[i])
        for user in users[i]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if len(result) < len(ordered):
        stuck = {i for i, count in enumerate(waiting) if count}
        at = min(stuck)
        path: list[int] = []
        while at not in path:
            path.append(at)
            at = next(p for p in needs[at] if p in stuck)
        cycle = [*path[path.index(at) :], at]
        names = " -> ".join(ordered[i].name for i in reversed(cycle))
        raise ValueError(f"the graph has a cycle: {names}")
    return result


def variable_name(handle: Tensor) -> str:
    """Returns the name under which a session keeps the variable behind a handle.

    Raises:
      TypeError: if the tensor is no handle made by VarHandleOp, or passed on from one.
    """
    operation = handle.op
    while operation.type != "VarHandleOp":
        if handle.dtype is not dtypes.resource or not operation.inputs:
            raise TypeError(f"{handle.name} is no handle of a variable")
        handle = operation.inputs[0]
        operation = handle.op
    shared: str = operation.attrs.get("shared_name") or operation.name
    return shared


class _States:
    """The states of the variables while a slice is frozen."""

    def __init__(self, builder: ProgramBuilder, fed: dict[str, Value]) -> None:
        self.builder = builder
        self.fed = fed
        self.versions: dict[str, list[Value]] = {}  # all states, the one before the run first
        self.commits: dict[str, None] = {}

    def before(self, handle: Tensor, name: str) -> Value:
        """Returns the state before the run."""
        states = self.versions.get(name)
        if states is None:
            value = self.fed.get(name)
            if value is None:
                dtype, shape = handle.handle_dtype, handle.handle_shape
                attrs = {"dtype": dtype, "shape": shape, "variable": name}
                node = self.builder.node(
                    VARIABLE, (), attrs, types=(TensorType(dtype, shape, shape),), name=name
                )
                value = node.outputs[0]
            states = self.versions[name] = [value]
        return states[0]


def freeze(fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor] = ()) -> Program:
    """Cuts out of the graph what computing `fetches` from `feeds` needs.

    Args:
      fetches: tensors and operations of one graph; a handle stands for its variable's value.
      feeds: tensors whose values are given instead of computed.

    Returns:
      A Program whose `fetches` are the tensors among `fetches`, in their order.

    Raises:
      ValueError: if the graph has a cycle.
    """
    fed = frozenset(feeds)
    builder = ProgramBuilder()
    values: dict[Tensor, Value] = {}
    fed_states: dict[str, Value] = {}
    feed_values = []
    for tensor in feeds:
        dtype, shape = tensor.dtype, tensor.shape
        name = ""
        if tensor.is_variable:
            dtype, shape, name = tensor.handle_dtype, tensor.handle_shape, variable_name(tensor)
        attrs = {"dtype": dtype, "shape": shape, "feed": tensor.name}
        node = builder.node(
            FEED, (), attrs, types=(TensorType(dtype, shape, shape),), origin=tensor.op, name=tensor.op.name
        )
        feed_values.append(node.outputs[0])
        values[tensor] = node.outputs[0]
        if name:
            fed_states[name] = node.outputs[0]
    targets = [f if isinstance(f, Operation) else f.op for f in fetches if f not in fed]
    states = _States(builder, fed_states)
    # Per operation: for each variable, how many writes to it surely came before. Shared between operations where equal.
    seen_writes: dict[Operation, dict[str, int]] = {}
    barriers: dict[
        Operation, tuple[Node, ...]
    ] = {}  # nodes with effects that users of the operation wait for
    effects: list[Node] = []
    for operation in _slice(targets, fed):
        if operation.outputs and all(t in fed for t in operation.outputs):
            continue
        writes = _merge_writes(operation, fed, seen_writes)
        controls = _merge_barriers(operation, barriers)
        op_def: OpDef = operation.op_def
        node_barriers = controls
        if op_def.name == "ReadVariableOp":
            handle = operation.inputs[0]
            name = variable_name(handle)
            states.before(handle, name)
            values.setdefault(operation.outputs[0], states.versions[name][writes.get(name, 0)])
        elif op_def.name == "AssignVariableOp":
            handle, source = operation.inputs
            name = variable_name(handle)
            states.before(handle, name)
            states.versions[name].append(_retyped(builder, values[source], handle, operation))
            states.commits[name] = None
            writes = {**writes, name: len(states.versions[name]) - 1}
        elif op_def.name == "VarIsInitializedOp":
            name = variable_name(operation.inputs[0])
            if writes.get(name, 0):
                values.setdefault(operation.outputs[0], builder.constant(np.asarray(True)))
            else:
                node = builder.node(
                    get_op("GraphflowVariableIsInitialized"), (), {"variable": name}, controls, origin=operation,
                    name=operation.name,
                )  # fmt: skip
                values.setdefault(operation.outputs[0], node.outputs[0])
        elif op_def.name in ("VarHandleOp", "NoOp"):
            pass
        else:
            inputs = []
            for i, tensor in enumerate(operation.inputs):
                if i in op_def.reads and tensor.dtype is dtypes.resource:
                    name = variable_name(tensor)
                    states.before(tensor, name)
                    version = -1 if i in op_def.updates else writes.get(name, 0)
                    inputs.append(states.versions[name][version])
                elif tensor.dtype is dtypes.resource and tensor not in values:
                    name = variable_name(tensor)
                    states.before(tensor, name)
                    inputs.append(states.versions[name][writes.get(name, 0)])
                else:
                    inputs.append(values[tensor])
            types = [inputs[i].type for i in op_def.updates]
            types += [TensorType(t.dtype, t.shape, t.shape) for t in operation.outputs]
            keeps = controls if op_def.stateful or controls else ()
            node = builder.node(op_def, inputs, operation.attrs, keeps, types, operation, operation.name)
            for i, index in enumerate(op_def.updates):
                name = variable_name(operation.inputs[index])
                states.versions[name].append(node.outputs[i])
                states.commits[name] = None
                writes = {**writes, name: len(states.versions[name]) - 1}
            for tensor, value in zip(operation.outputs, node.outputs[len(op_def.updates) :], strict=True):
                values.setdefault(tensor, value)
            if op_def.effects == "host":
                effects.append(node)
                node_barriers = (node,)
        seen_writes[operation] = writes
        if node_barriers:
            barriers[operation] = node_barriers
    outputs = []
    for fetch in fetches:
        if isinstance(fetch, Operation):
            continue
        if fetch in values:
            outputs.append(values[fetch])
        else:
            name = variable_name(fetch)
            outputs.append(states.before(fetch, name))
    commits = tuple((name, states.versions[name][-1]) for name in states.commits)
    return Program(tuple(feed_values), tuple(outputs), commits, tuple(effects))


def _retyped(builder: ProgramBuilder, value: Value, handle: Tensor, operation: Operation) -> Value:
    """Returns `value` as the state of a variable; where only the variable's shape is known, that is kept."""
    if value.shape.is_fully_defined() or not handle.handle_shape.is_fully_defined():
        return value
    shape = handle.handle_shape
    node = builder.node(
        get_op("EnsureShape"), (value,), {"T": value.dtype, "shape": shape},
        types=(TensorType(value.dtype, shape, shape),), origin=operation, name=operation.name,
    )  # fmt: skip
    return node.outputs[0]


def _merge_writes(
    operation: Operation, fed: frozenset[Tensor], seen: dict[Operation, dict[str, int]]
) -> dict[str, int]:
    merged: dict[str, int] = {}
    for before in _predecessors(operation, fed):
        theirs = seen.get(before)
        if not theirs or theirs is merged:
            continue
        if not merged:
            merged = theirs
        elif any(merged.get(name, 0) < version for name, version in theirs.items()):
            merged = {**merged, **{n: v for n, v in theirs.items() if merged.get(n, 0) < v}}
    return merged


def _merge_barriers(operation: Operation, barriers: dict[Operation, tuple[Node, ...]]) -> tuple[Node, ...]:
    """Effects that control edges place before the operation (data edges order by themselves)."""
    if not barriers:
        return ()
    merged: tuple[Node, ...] = ()
    for before in operation._control_inputs:
        theirs = barriers.get(before, ())
        merged = theirs if not merged else tuple(dict.fromkeys((*merged, *theirs)))
    if operation.type in ("NoOp", "Identity", "ReadVariableOp", "AssignVariableOp"):
        # What merely passes on lets users wait for what it waits for.
        for tensor in operation.inputs:
            merged = tuple(dict.fromkeys((*merged, *barriers.get(tensor.op, ()))))
    return merged


# -- rewriting -----------------------------------------------------------------------------------------------------


def unchanged(inputs: Sequence[Value], node: Node) -> bool:
    """Whether a node's types still hold for new inputs: the same types, and no value that has become known."""
    return all(
        new is old or (new.type == old.type and (new.node.type == "Const") == (old.node.type == "Const"))
        for new, old in zip(inputs, node.inputs, strict=True)
    )


Replacement = Sequence[Value] | Node | None


def rebuild(
    program: Program,
    replace: Callable[[ProgramBuilder, Node, tuple[Value, ...], tuple[Node, ...]], Replacement],
    specialized: bool | None = None,
) -> Program:
    """Copies a program bottom up.

    Args:
      program: the program.
      replace: gets the builder, each node and its new inputs and controls; returns the node or the values that take
        the place of the node's outputs, or None to copy the node.
      specialized: overrides the mark of the result.

    Returns:
      The program itself if nothing changed.
    """
    nodes = program.nodes
    builder = ProgramBuilder(nodes[-1].serial + 1 if nodes else 0)
    new: dict[Value, Value] = {}
    new_nodes: dict[Node, Node] = {}
    changed = False
    for node in nodes:
        inputs = tuple([new[value] for value in node.inputs])
        controls = tuple([new_nodes[c] for c in node.controls if c in new_nodes])
        builder.origin, builder.name = node.origin, node.name
        result = replace(builder, node, inputs, controls)
        if result is None:
            result = builder.again(node, inputs, controls)
        changed = changed or result is not node
        if isinstance(result, Node):
            new_nodes[node] = result
            result = result.outputs
        elif result:
            new_nodes[node] = result[0].node
        for old, value in zip(node.outputs, result, strict=True):
            new[old] = value
    mark = program.specialized if specialized is None else specialized
    if not changed and mark == program.specialized:
        return program
    return Program(
        tuple(new[value] for value in program.feeds),
        tuple(new[value] for value in program.fetches),
        tuple((name, new[value]) for name, value in program.commits),
        tuple(dict.fromkeys(new_nodes[node] for node in program.effects if node in new_nodes)),
        mark,
    )


def specialize(
    program: Program,
    feed_sizes: Sequence[tuple[int, ...]],
    variable_sizes: dict[str, tuple[int, ...]],
    known: Mapping[Node, np.ndarray[Any, Any]] | None = None,
) -> Program:
    """Fixes the sizes of the feeds, and with them every shape that follows.

    Args:
      program: a program with open sizes.
      feed_sizes: the sizes of each feed.
      variable_sizes: the sizes of variables whose declared shape is not fully known.
      known: what nodes give for these feeds, where that decides sizes.

    Raises:
      ShapeError: if the sizes do not fit together, naming the node.
    """
    sizes = dict(zip(program.feeds, feed_sizes, strict=True))
    given = known or {}

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node in given:
            return [builder.constant(given[node], True)]
        if node.op_def is FEED or node.op_def is VARIABLE:
            declared = node.outputs[0]
            known = sizes.get(declared) if node.op_def is FEED else variable_sizes.get(node.attrs["variable"])
            if known is None:
                return None
            shape = TensorShape(known)
            kind = TensorType(declared.dtype, shape, shape if declared.shape == shape else declared.shape)
            return builder.node(node.op_def, (), node.attrs, (), (kind,), node.origin, node.name)
        return None

    return rebuild(program, replace, specialized=True)


# -- verification -----------------------------------------------------------------------------------------------------


def verify(program: Program) -> None:
    """Checks that a program is closed, typed and in order; each node is inferred again by its own rule.

    Raises:
      ValueError: naming the node and showing its neighbourhood.
    """
    seen: set[Node] = set()
    for node in program.nodes:
        for value in node.inputs:
            if value.node not in seen:
                raise ValueError(f"{_shown(node)}: input {value!r} comes later in the program")
            if value is not value.node.outputs[value.index]:
                raise ValueError(f"{_shown(node)}: input {value!r} is no output of its node")
        for control in node.controls:
            if control not in seen:
                raise ValueError(f"{_shown(node)}: control input {control!r} comes later in the program")
        expected = node.op_def.input_dtypes(node.attrs)
        if len(expected) != len(node.inputs):
            raise ValueError(f"{_shown(node)}: {len(node.inputs)} inputs, the signature has {len(expected)}")
        for i, (value, dtype) in enumerate(zip(node.inputs, expected, strict=True)):
            if dtype is not dtypes.resource and value.dtype is not dtype:
                raise ValueError(
                    f"{_shown(node)}: input {i} is {value.type}, the signature wants {dtype.name}"
                )
        if node.op_def is not FEED and node.op_def is not VARIABLE:
            try:
                inferred = infer_types(node.op_def, node.inputs, node.attrs)
            except ShapeError as error:
                raise ValueError(f"{_shown(node)}: {error}") from None
            for i, (have, want) in enumerate(zip(node.types, inferred, strict=True)):
                if have.dtype is not want.dtype or not have.shape.is_compatible_with(want.shape):
                    raise ValueError(f"{_shown(node)}: output {i} is {have}, its rule says {want}")
        seen.add(node)
    for _, value in program.commits:
        if value.node not in seen:
            raise ValueError(f"the new state {value!r} is not in the program")


def _shown(node: Node) -> str:
    inputs = ", ".join(f"{value.node.name}:{value.index} {value.type}" for value in node.inputs)
    made = f" (made at {node.origin.user_line})" if node.origin is not None and node.origin.user_line else ""
    outputs = ", ".join(map(str, node.types))
    return f"{node.name} = {node.type}({inputs}) -> {outputs}{made}"
