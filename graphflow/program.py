"""Program: the frozen slice of a graph that one run needs, as immutable interned nodes.

Freezing makes state explicit. A variable has no handle here: each state of it is a value. A read is the value of the
state it sees; a write is a pure node that gives the next state; `commits` says which state each variable has when the
run is over. So passes, fusion and memory planning need to know nothing of variables.

The order of design.md §3 is decided here, once: a read sees the state after the last write that an edge places before
it, else the state before the run; writes follow one another in the order in which they were made.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow import dtypes, errors
from graphflow.array_accesses import refuse_second_accesses
from graphflow.dtypes import DType
from graphflow.errors import ShapeError
from graphflow.function import Function
from graphflow.graph import Operation, Tensor
from graphflow.opdef import InferContext, OpDef, describe, get_op, op, run_infer
from graphflow.records import dataclass, field
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.symbolic import Derived, Evaluation

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
        """The value of a Const, else None.

        Of one that open sizes decide: the symbolic elements, or the present ones, which they must stay then.
        """
        if self.node.op_def.name != "Const":
            return None
        value = self.node.attrs["value"]
        return value.known if type(value) is Derived else value

    @property
    def is_constant(self) -> bool:
        """Whether this is a Const's."""
        return self.node.op_def.name == "Const"

    @property
    def derived(self) -> Derived | None:
        """The value of a Const that open sizes decide, else None."""
        value = self.node.attrs.get("value") if self.node.op_def.name == "Const" else None
        return value if type(value) is Derived else None

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

    def at(self, sizes: Evaluation) -> Node:
        """Returns the node with its sizes as they are for certain open sizes."""
        types = tuple(
            [TensorType(kind.dtype, _shape_at(kind.shape, sizes), kind.static_shape) for kind in self.types]
        )
        return Node(
            self.op_def, self.inputs, self.attrs, self.controls, types, self.origin, self.name, self.serial
        )

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.op_def.name}>"


def _shape_at(shape: TensorShape, sizes: Evaluation) -> TensorShape:
    return TensorShape(sizes.shape(shape.as_tuple()))  # type: ignore[arg-type]


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
    _nests: list[bool] = field(default_factory=list, repr=False, compare=False)

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

    @property
    def nests(self) -> bool:
        """Whether there is a branch or a loop."""
        if not self._nests:
            self._nests.append(any(node.op_def in NESTED for node in self.nodes))
        return self._nests[0]

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


@op("GraphflowVariableOrZeros", "", "value:dtype", "dtype:type; shape:shape; variable:string", infer=_declared,
    effects="host", differentiable=False)  # fmt: skip
def variable_or_zeros_op(*, dtype: DType, shape: TensorShape, variable: str, context: Any) -> Any:
    """The state of a variable before the run; zeros where it has none, which a program has asked about."""
    if context.is_initialized(variable):
        return context.read(variable)
    return np.zeros(shape.as_list(), dtype.numpy)


FEED: OpDef = feed_op
VARIABLE: OpDef = variable_op


# -- nested programs ------------------------------------------------------------------------------------------
#
# A branch or a loop is one node whose attributes hold programs. A nested program is fed with the node's inputs, one by
# one, and its fetches are the node's outputs, one by one. It knows no session: a variable that it reads or writes is
# an input (its state before), and, where it is written, an output (its state after).
#
#   GraphflowCase(index, *inputs) -> outputs        branches[index](*inputs), the last one where index is out of range
#   GraphflowWhile(*variables) -> variables         while cond(*variables): variables = body(*variables)
#
# A loop variable that the body gives back as it is stays what it was before the loop (`invariants`). The forms with
# "Stateful" in their names are those whose programs act on the world or draw random numbers: they are never merged or
# dropped, and keep their place in the order of effects.


def _has_no_body(*inputs: Any) -> Any:
    raise RuntimeError("nested programs are run by the executor")


def _case_shapes(node: Any) -> list[TensorShape]:
    return [kind.shape for kind in _case_types(node.attrs["branches"])]


def _while_shapes(node: Any) -> list[TensorShape]:
    return [value.shape for value in node.attrs["body"].feeds]


_CASE = "Tin:list(type)>=0; Tout:list(type)>=0; branches:list(program)"
_WHILE = "T:list(type)>=0; cond:program; body:program"


@op("GraphflowCase", "index:int32; input:list(Tin)", "output:list(Tout)", _CASE, infer=_case_shapes,
    differentiable=False)  # fmt: skip
def case_op(index: Any, input: Any) -> Any:
    """What one of several programs gives."""
    return _has_no_body()


@op("GraphflowStatefulCase", "index:int32; input:list(Tin)", "output:list(Tout)", _CASE, infer=_case_shapes,
    effects="host", differentiable=False)  # fmt: skip
def stateful_case_op(index: Any, input: Any) -> Any:
    """What one of several programs gives."""
    return _has_no_body()


@op("GraphflowWhile", "input:list(T)", "output:list(T)", _WHILE, infer=_while_shapes, differentiable=False)
def while_op(input: Any) -> Any:
    """The loop variables after the last turn."""
    return _has_no_body()


@op("GraphflowStatefulWhile", "input:list(T)", "output:list(T)", _WHILE, infer=_while_shapes, effects="host",
    differentiable=False)  # fmt: skip
def stateful_while_op(input: Any) -> Any:
    """The loop variables after the last turn."""
    return _has_no_body()


CASES = frozenset({case_op, stateful_case_op})
WHILES = frozenset({while_op, stateful_while_op})
NESTED = CASES | WHILES


def nested_programs(node: Node) -> list[tuple[str, Program]]:
    """Returns the programs in a node's attributes, each with what it is there: "cond", "body", "branches[1]"."""
    if node.op_def in WHILES:
        return [("cond", node.attrs["cond"]), ("body", node.attrs["body"])]
    if node.op_def in CASES:
        return [(f"branches[{i}]", branch) for i, branch in enumerate(node.attrs["branches"])]
    return []


MOST_NESTED = 10
"""Passes that go into nested programs go no deeper. What lies deeper runs from the host, and has its passes then."""


def nests_deeper(node: Node, most: int) -> bool:
    """Whether programs lie more than `most` deep in one another in a node."""
    stack = [(node, 0)]
    while stack:
        current, depth = stack.pop()
        if depth > most:
            return True
        for _, nested in nested_programs(current):
            stack += [(inner, depth + 1) for inner in nested.nodes if inner.op_def in NESTED]
    return False


def with_programs(op_def: OpDef, attrs: dict[str, Any], programs: Sequence[Program]) -> dict[str, Any]:
    """Returns the attributes of a node with other programs in the places that `nested_programs` names."""
    if op_def in WHILES:
        cond, body = programs
        return {**attrs, "cond": cond, "body": body}
    return {**attrs, "branches": tuple(programs)}


def invariants(node: Node) -> frozenset[int]:
    """The loop variables of a While that its body gives back as they are."""
    body: Program = node.attrs["body"]
    pairs = zip(body.feeds, body.fetches, strict=True)
    return frozenset(i for i, (given, made) in enumerate(pairs) if given is made)


def has_effects(program: Program) -> bool:
    """Whether a program acts on the world or draws random numbers: running it twice is not as running it once."""
    return any(node.op_def.effects in ("host", "random") for node in program.nodes)


def must_run(node: Node) -> bool:
    """Whether a node has to run even if nobody takes its results: it has effects, or looks whether all is well."""
    return (
        node.op_def.stateful or not node.outputs or any(nested.effects for _, nested in nested_programs(node))
    )


def _alike(first: TensorShape, second: TensorShape) -> TensorShape:
    if first is second:
        return first
    a, b = first.as_tuple(), second.as_tuple()
    if a is None or b is None or len(a) != len(b):
        return UNKNOWN
    return TensorShape([x if x == y else None for x, y in zip(a, b, strict=True)])


def _both(first: TensorType, second: TensorType) -> TensorType:
    """What is known of a value that may be of either type."""
    if first == second:
        return first
    return TensorType(
        first.dtype, _alike(first.shape, second.shape), _alike(first.static_shape, second.static_shape)
    )


def _case_types(branches: Sequence[Program]) -> list[TensorType]:
    """The types of what several programs give. What nobody may look at is as the others'."""
    types = []
    for values in zip(*(branch.fetches for branch in branches), strict=True):
        real = [value.type for value in values if value.node.type != "FakeParam"]
        types.append(functools.reduce(_both, real or [values[0].type]))
    return types


def retyped(program: Program, types: Sequence[TensorType]) -> Program:
    """Returns a program whose feeds are of other types, with all that follows from that.

    Raises:
      ShapeError: if these do not fit together.
    """
    wanted = {feed: kind for feed, kind in zip(program.feeds, types, strict=True) if feed.type != kind}
    if not wanted:
        return program

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        kind = wanted.get(node.outputs[0]) if node.op_def is FEED else None
        if kind is None:
            return None
        attrs = {**node.attrs, "shape": kind.shape}
        return builder.node(FEED, (), attrs, (), (kind,), node.origin, node.name)

    return rebuild(program, replace)


def _fitted(
    op_def: OpDef, inputs: Sequence[Value], attrs: dict[str, Any]
) -> tuple[dict[str, Any], tuple[TensorType, ...]]:
    """Returns the attributes of a node with its programs made for the types of its inputs, and its own types."""
    if op_def in CASES:
        types = [value.type for value in inputs[1:]]
        branches = [_branch_for(branch, types) for branch in attrs["branches"]]
        made = _case_types(branches)
        branches = [_with_fakes(branch, made) for branch in branches]
        return {**attrs, "branches": tuple(branches)}, tuple(made)
    cond, body = attrs["cond"], attrs["body"]
    types = _known(body, [value.type for value in inputs])
    while True:
        # What the body changes about the shapes is left open: each turn knows less, until nothing changes.
        body = retyped(body, types)
        less = [_both(kind, value.type) for kind, value in zip(types, body.fetches, strict=True)]
        if less == types:
            break
        types = less
    return {**attrs, "cond": retyped(cond, types), "body": body}, tuple(types)


def _branch_for(branch: Program, types: Sequence[TensorType]) -> Program:
    """Returns a branch for the types of a node's inputs, or as it is where they do not fit it.

    What does not fit is told when the branch is taken: one that is not may be handed values that stand for nothing.
    """
    try:
        return retyped(branch, _known(branch, types))
    except ShapeError:
        return branch


def _known(program: Program, types: Sequence[TensorType]) -> list[TensorType]:
    """The types of a node's inputs, with what its program says of feeds where the node does not know."""
    result = []
    for feed, kind in zip(program.feeds, types, strict=True):
        shape, static = _filled(kind.shape, feed.shape), _filled(kind.static_shape, feed.static_shape)
        if shape is not kind.shape or static is not kind.static_shape:
            kind = TensorType(kind.dtype, shape, static)
        result.append(kind)
    return result


def _filled(shape: TensorShape, known: TensorShape) -> TensorShape:
    """A shape with its open sizes taken from another one."""
    mine, theirs = shape.as_tuple(), known.as_tuple()
    if mine is None:
        return known if theirs is not None else shape
    if theirs is None or None not in mine or len(mine) != len(theirs):
        return shape
    return TensorShape([a if a is not None else b for a, b in zip(mine, theirs, strict=True)])


def _with_fakes(program: Program, types: Sequence[TensorType]) -> Program:
    """Returns a branch in which the values that nobody may look at have the shapes of the other branches' values."""
    wanted = {
        value: kind
        for value, kind in zip(program.fetches, types, strict=True)
        if value.node.type == "FakeParam" and value.type != kind
    }
    if not wanted:
        return program
    builder = ProgramBuilder(program.nodes[-1].serial + 1)
    fetches = list(program.fetches)
    for i, value in enumerate(fetches):
        kind = wanted.get(value)
        if kind is not None:
            attrs = {"dtype": kind.dtype, "shape": kind.shape}
            node = value.node
            fetches[i] = builder.node(node.op_def, (), attrs, (), (kind,), node.origin, node.name).outputs[0]
    return Program(program.feeds, tuple(fetches), (), program.effects, program.specialized)


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
    if isinstance(value, Derived):
        return ("derived", value.key)
    return (type(value).__name__, value)


def node_key(op_def: OpDef, inputs: Sequence[Value], attrs: dict[str, Any], controls: Sequence[Node]) -> Any:
    """Returns what makes a node equal to another; None where an attribute can't be hashed: it is like no other."""
    try:
        parts = tuple((k, _frozen(v)) for k, v in sorted(attrs.items()))
        key = (op_def.name, tuple((v.node.serial, v.index) for v in inputs), parts, tuple(controls))
        hash(key)
        return key
    except TypeError:
        return None


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
        self.nested: Node | None = None  # the last branch or loop that was made

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
        if op_def in NESTED and types is None:
            attrs, types = _fitted(op_def, inputs, attrs)
        # Effects are never shared, except looking at a feed or at a variable's state.
        if not op_def.stateful or op_def is FEED or op_def is VARIABLE or op_def.effects == "writes":
            key = node_key(op_def, inputs, attrs, controls)
            found = None if key is None else self._interned.get(key)
            if found is not None:
                return found
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
        if op_def in NESTED:
            self.nested = node
        return node

    def again(
        self, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...], anew: bool = False
    ) -> Node:
        """Returns a node of another program on new inputs: the very node if they are its own, and none equals it.

        Args:
          node: the node.
          inputs: what takes the place of its inputs.
          controls: what takes the place of its control inputs.
          anew: whether it is to be another node in any case.

        Raises:
          ShapeError: if the sizes of the new inputs do not fit together, naming the node.
        """
        if not anew and inputs == node.inputs and controls == node.controls:
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
        if type(value) is Derived:
            attrs: dict[str, Any] = {"dtype": dtypes.as_dtype(value.hint.dtype), "value": value}
        else:
            array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
            if array.flags.writeable:
                array = array.copy()
                array.flags.writeable = False
            attrs = {"dtype": dtypes.as_dtype(array.dtype), "value": array}
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
    return None if SPECIALIZED in value.node.attrs else value.constant


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
        return TensorShape([None if d < 0 else d for d in constant])
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
        stack.extend(t.op for t in _operands(operation) if t not in fed)
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
    for tensor in _operands(operation):
        if tensor not in fed:
            yield tensor.op
    yield from operation._control_inputs


def _operands(operation: Operation) -> Sequence[Tensor]:
    """What has to be there for an operation: for a part of a reduction over devices, what all parts take."""
    if operation.type != "NcclAllReduce":
        return operation.inputs
    return [part.inputs[0] for part in _reduced_together(operation)]


_reductions: weakref.WeakKeyDictionary[Any, tuple[int, dict[Any, list[Operation]]]] = (
    weakref.WeakKeyDictionary()
)


def _reduced_together(operation: Operation) -> list[Operation]:
    """The operations that make one reduction over devices: those of one name.

    Raises:
      InvalidArgumentError: if there are not as many as each of them says.
    """
    graph, name = operation.graph, operation.attrs["shared_name"]
    version, found = _reductions.get(graph, (-1, {}))
    if version != graph.version:
        found = {}
        for one in graph.get_operations():
            if one.type == "NcclAllReduce":
                found.setdefault(one.attrs["shared_name"], []).append(one)
        _reductions[graph] = graph.version, found
    parts, count = found[name], operation.attrs["num_devices"]
    if len(parts) != count or any(part.attrs["reduction"] != operation.attrs["reduction"] for part in parts):
        raise errors.InvalidArgumentError(
            None, operation,
            f"{operation.name} reduces {count} tensors together as {name!r}, and the graph has"
            f" {', '.join(part.name for part in parts)}",
        )  # fmt: skip
    return parts


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
    while handle.op.type != "VarHandleOp":
        source = _handle_source(handle)
        if source is None:
            raise TypeError(f"{handle.name} is no handle of a variable")
        handle = source
    operation = handle.op
    shared: str = operation.attrs.get("shared_name") or operation.name
    return shared


def _handle_source(handle: Tensor) -> Tensor | None:
    """The handle that an operation passes on, or None."""
    operation = handle.op
    if handle.dtype is not dtypes.resource or not operation.inputs:
        return None
    if operation.type in _LOOPS:
        return operation.inputs[handle.value_index]
    return operation.inputs[0]


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
                value = self.start(name, handle.handle_dtype, handle.handle_shape)
            states = self.versions[name] = [value]
        return states[0]

    def start(self, name: str, dtype: DType, shape: TensorShape) -> Value:
        """Makes the state before the run."""
        attrs = {"dtype": dtype, "shape": shape, "variable": name}
        node = self.builder.node(VARIABLE, (), attrs, types=(TensorType(dtype, shape, shape),), name=name)
        return node.outputs[0]


class _InnerStates(_States):
    """The states that a nested program sees: what is there before is handed in."""

    def start(self, name: str, dtype: DType, shape: TensorShape) -> Value:
        """Adds a feed."""
        return _feed(self.builder, f"state of {name}", TensorType(dtype, shape, shape), None)


def _feed(builder: ProgramBuilder, name: str, kind: TensorType, origin: Operation | None) -> Value:
    attrs = {"dtype": kind.dtype, "shape": kind.shape, "feed": name}
    return builder.node(FEED, (), attrs, types=(kind,), origin=origin, name=name).outputs[0]


# Freezing a function waits for the functions that it calls. A generator yields what it waits for, so that functions
# may be nested deeper than Python's stack.
_Task = Generator["_Task", Any, Any]


def _finish(task: _Task) -> Any:
    stack, result = [task], None
    while stack:
        try:
            stack.append(stack[-1].send(result))
            result = None
        except StopIteration as stop:
            stack.pop()
            result = stop.value
    return result


class _Frame:
    """The operations of one graph that are frozen together: the slice of the user's graph, or a function's body.

    Attributes:
      operations: each after all that it needs.
      values: what its tensors are.
      handles: the variables behind handles that are given from outside, by name.
      prefix: put before the names of its nodes.
      writes: per operation, for each variable, how many writes to it surely came before.
      barriers: per operation, the nodes with effects that users of the operation wait for.
      given: the writes and nodes with effects that came before everything here.
    """

    def __init__(
        self,
        operations: list[Operation],
        fed: frozenset[Tensor],
        prefix: str = "",
        given: tuple[dict[str, int], tuple[Node, ...]] = ({}, ()),
    ) -> None:
        self.operations = operations
        self.fed = fed
        self.prefix = prefix
        self.given = given
        self.values: dict[Tensor, Value] = {}
        self.handles: dict[Tensor, str] = {}
        self.writes: dict[Operation, dict[str, int]] = {}
        self.barriers: dict[Operation, tuple[Node, ...]] = {}

    def variable(self, handle: Tensor) -> str:
        """The name of the variable behind a handle."""
        while True:
            known = self.handles.get(handle)
            if known is not None:
                return known
            source = _handle_source(handle)
            if source is None:
                return variable_name(handle)
            handle = source

    def writes_before(self, operation: Operation) -> dict[str, int]:
        """The writes that surely came before an operation. Shared between operations where equal."""
        merged = self.given[0]
        for before in _predecessors(operation, self.fed):
            merged = _later(merged, self.writes.get(before))
        return merged

    def effects_before(self, operation: Operation) -> tuple[Node, ...]:
        """Effects that control edges place before the operation (data edges order by themselves)."""
        merged = self.given[1]
        if not self.barriers:
            return merged
        for before in operation._control_inputs:
            theirs = self.barriers.get(before, ())
            merged = theirs if not merged else tuple(dict.fromkeys((*merged, *theirs)))
        if operation.type in ("NoOp", "Identity", "ReadVariableOp", "AssignVariableOp"):
            # What merely passes on lets users wait for what it waits for.
            for tensor in operation.inputs:
                merged = tuple(dict.fromkeys((*merged, *self.barriers.get(tensor.op, ()))))
        return merged


def _later(merged: dict[str, int], theirs: dict[str, int] | None) -> dict[str, int]:
    if not theirs or theirs is merged:
        return merged
    if not merged:
        return theirs
    if any(merged.get(name, 0) < version for name, version in theirs.items()):
        return {**merged, **{n: v for n, v in theirs.items() if merged.get(n, 0) < v}}
    return merged


class _Freezer:
    """One program in the making: the user's, or a nested one."""

    def __init__(self, states: _States) -> None:
        self.builder = states.builder
        self.states = states
        self.effects: list[Node] = []

    def run(self, frame: _Frame) -> _Task:
        """Makes nodes of a frame's operations."""
        refuse_second_accesses(frame.operations)
        for operation in frame.operations:
            if operation.outputs and all(t in frame.fed for t in operation.outputs):
                continue
            writes = frame.writes_before(operation)
            controls = frame.effects_before(operation)
            kind = operation.type
            if kind in _CALLS:
                writes, after = yield self.call(frame, operation, writes, controls)
            elif kind in _BRANCHES:
                writes, after = yield self.branches(frame, operation, writes, controls)
            elif kind in _LOOPS:
                writes, after = yield self.loop(frame, operation, writes, controls)
            else:
                writes, after = self.plain(frame, operation, writes, controls)
            frame.writes[operation] = writes
            if after:
                frame.barriers[operation] = after

    def plain(
        self, frame: _Frame, operation: Operation, writes: dict[str, int], controls: tuple[Node, ...]
    ) -> tuple[dict[str, int], tuple[Node, ...]]:
        """Makes the node of an operation without functions; returns its writes and effects."""
        states, builder, values = self.states, self.builder, frame.values
        op_def: OpDef = operation.op_def
        name = frame.prefix + operation.name
        after = controls
        if op_def.name == "ReadVariableOp":
            values.setdefault(operation.outputs[0], self.state(frame, operation.inputs[0], writes))
        elif op_def.name == "AssignVariableOp":
            handle, source = operation.inputs
            variable = frame.variable(handle)
            states.before(handle, variable)
            states.versions[variable].append(_retyped_state(builder, values[source], handle, operation, name))
            states.commits[variable] = None
            writes = {**writes, variable: len(states.versions[variable]) - 1}
        elif op_def.name == "VarIsInitializedOp":
            variable = frame.variable(operation.inputs[0])
            if writes.get(variable, 0):
                values.setdefault(operation.outputs[0], builder.constant(np.asarray(True)))
            else:
                node = builder.node(
                    get_op("GraphflowVariableIsInitialized"), (), {"variable": variable}, controls, origin=operation,
                    name=name,
                )  # fmt: skip
                values.setdefault(operation.outputs[0], node.outputs[0])
        elif op_def.name == "NcclAllReduce":
            parts = _reduced_together(operation)
            attrs = {
                "N": len(parts),
                "T": operation.outputs[0].dtype,
                "reduction": operation.attrs["reduction"],
                "devices": tuple([part.device for part in parts]),
            }
            taken = [values[part.inputs[0]] for part in parts]
            node = builder.node(get_op("GraphflowAllReduce"), taken, attrs, (), None, parts[0], name)
            values.setdefault(operation.outputs[0], node.outputs[parts.index(operation)])
        elif op_def.name not in ("VarHandleOp", "NoOp"):
            inputs = []
            for i, tensor in enumerate(operation.inputs):
                if tensor.is_variable and (i in op_def.reads or tensor not in values):
                    variable = frame.variable(tensor)
                    states.before(tensor, variable)
                    version = -1 if i in op_def.updates else writes.get(variable, 0)
                    inputs.append(states.versions[variable][version])
                else:
                    inputs.append(values[tensor])
            types = [inputs[i].type for i in op_def.updates]
            types += [TensorType(t.dtype, t.shape, t.shape) for t in operation.outputs]
            # What is always the same waits for nothing; what uses it is ordered by what was made first.
            keeps = () if op_def.name == "Const" else controls
            node = builder.node(op_def, inputs, operation.attrs, keeps, types, operation, name)
            for i, index in enumerate(op_def.updates):
                variable = frame.variable(operation.inputs[index])
                states.versions[variable].append(node.outputs[i])
                states.commits[variable] = None
                writes = {**writes, variable: len(states.versions[variable]) - 1}
            for tensor, value in zip(operation.outputs, node.outputs[len(op_def.updates) :], strict=True):
                values.setdefault(tensor, value)
            if op_def.effects == "host":
                self.effects.append(node)
                after = (node,)
        return writes, after

    def state(self, frame: _Frame, handle: Tensor, writes: dict[str, int]) -> Value:
        """The state of a variable that a read sees after these writes."""
        variable = frame.variable(handle)
        self.states.before(handle, variable)
        return self.states.versions[variable][writes.get(variable, 0)]

    # -- functions ----------------------------------------------------------------------------

    def call(
        self, frame: _Frame, operation: Operation, writes: dict[str, int], controls: tuple[Node, ...]
    ) -> _Task:
        """Puts the body of a called function in place."""
        function: Function = operation.attrs["f"]
        inner = _function_frame(function, f"{frame.prefix}{operation.name}/", (writes, controls))
        for tensor, argument in zip(operation.inputs, function.inputs, strict=True):
            if tensor.is_variable:
                inner.handles[argument] = frame.variable(tensor)
            else:
                inner.values[argument] = frame.values[tensor]
        first = len(self.effects)
        yield self.run(inner)
        for tensor, result in zip(operation.outputs, function.outputs, strict=True):
            if result in inner.values:
                frame.values.setdefault(tensor, inner.values[result])
            elif result.is_variable:
                frame.handles[tensor] = inner.variable(result)
        for theirs in inner.writes.values():
            writes = _later(writes, theirs)
        return writes, tuple(self.effects[first:]) or controls

    def branches(
        self, frame: _Frame, operation: Operation, writes: dict[str, int], controls: tuple[Node, ...]
    ) -> _Task:
        """Makes the node of If or Case."""
        builder = self.builder
        chosen = frame.values[operation.inputs[0]]
        if operation.type in ("Case", "StatelessCase"):
            functions = list(operation.attrs["branches"])
            names = [f"branch{i}" for i in range(len(functions))]
        else:
            functions = [operation.attrs["else_branch"], operation.attrs["then_branch"]]
            names = ["else", "then"]
            if chosen.dtype is not dtypes.bool_:
                chosen = builder.emit("GraphflowTruth", chosen)
            chosen = builder.emit("Cast", chosen, DstT=dtypes.int32)
        inner: list[_Nested] = []
        for function, part in zip(functions, names, strict=True):
            inner.append((yield _freeze_function(frame, operation, function, operation.inputs[1:], part)))
        nested = _Together(self, frame, operation, operation.inputs[1:], inner, _asked_about(chosen))
        written = [name for name in nested.names if any(name in made.states.commits for made in inner)]
        programs = tuple(made.program(nested.names, written) for made in inner)
        effects = any(map(has_effects, programs))
        attrs = {
            "Tin": tuple(value.dtype for value in nested.inputs),
            "Tout": tuple(value.dtype for value in programs[0].fetches),
            "branches": programs,
        }
        op_def = get_op("GraphflowStatefulCase" if effects else "GraphflowCase")
        inputs = (chosen, *nested.inputs)
        node = builder.node(op_def, inputs, attrs, controls, None, operation, frame.prefix + operation.name)
        results = [t for t in operation.outputs if not t.is_variable]
        return self.done(frame, results, written, node, effects, writes, controls)

    def loop(
        self, frame: _Frame, operation: Operation, writes: dict[str, int], controls: tuple[Node, ...]
    ) -> _Task:
        """Makes the node of While."""
        inner: list[_Nested] = []
        for part in ("cond", "body"):
            function = operation.attrs[part]
            inner.append((yield _freeze_function(frame, operation, function, operation.inputs, part)))
        nested = _Together(self, frame, operation, operation.inputs, inner)
        cond, body = inner
        if cond.states.commits:
            raise ValueError(
                f"While {operation.name!r}: its condition writes the variable {next(iter(cond.states.commits))!r}; "
                "only the body may write"
            )
        made = body.program(nested.names, nested.names)
        test = cond.program(nested.names, ())
        if test.fetches[0].dtype is not dtypes.bool_:
            asked = ProgramBuilder(test.nodes[-1].serial + 1).emit("GraphflowTruth", test.fetches[0])
            test = Program(test.feeds, (asked,), (), test.effects)
        effects = has_effects(made) or has_effects(test)
        attrs = {"T": tuple(value.dtype for value in nested.inputs), "cond": test, "body": made}
        op_def = get_op("GraphflowStatefulWhile" if effects else "GraphflowWhile")
        name = frame.prefix + operation.name
        node = self.builder.node(op_def, nested.inputs, attrs, controls, None, operation, name)
        results = [t for t in operation.outputs if not t.is_variable]
        for tensor, source in zip(operation.outputs, operation.inputs, strict=True):
            if tensor.is_variable:
                frame.handles[tensor] = frame.variable(source)
        return self.done(frame, results, nested.names, node, effects, writes, controls, body.states.commits)

    def done(
        self,
        frame: _Frame,
        results: Sequence[Tensor],
        names: Sequence[str],
        node: Node,
        effects: bool,
        writes: dict[str, int],
        controls: tuple[Node, ...],
        written: Iterable[str] | None = None,
    ) -> tuple[dict[str, int], tuple[Node, ...]]:
        """Takes what a node of nested programs gives: results first, then the states of variables."""
        for tensor, value in zip(results, node.outputs, strict=False):
            frame.values.setdefault(tensor, value)
        states = dict(zip(names, node.outputs[len(results) :], strict=True))
        for name in names if written is None else written:
            self.states.versions[name].append(states[name])
            self.states.commits[name] = None
            writes = {**writes, name: len(self.states.versions[name]) - 1}
        if effects:
            self.effects.append(node)
            return writes, (node,)
        return writes, controls


_MOST_LOOKED_AT = 64  # nodes behind a choice
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
_LOOPS = frozenset({"While", "StatelessWhile"})


class _Nested:
    """A function frozen as a program of its own."""

    def __init__(self, function: Function, frame: _Frame, freezer: _Freezer, feeds: list[Value]) -> None:
        self.function = function
        self.frame = frame
        self.freezer = freezer
        self.states = freezer.states
        self.feeds = feeds

    def program(self, names: Iterable[str], written: Iterable[str]) -> Program:
        """The program: fed with arguments and the states of `names`; gives results and the states of `written`."""
        feeds = [*self.feeds, *(self.states.versions[name][0] for name in names)]
        results = [self.frame.values[tensor] for tensor in self.function.outputs if not tensor.is_variable]
        states = [self.states.versions[name][-1] for name in written]
        return Program(tuple(feeds), (*results, *states), (), tuple(self.freezer.effects))


class _Together:
    """What the functions of one operation see: the arguments that are values, and the states of variables.

    Attributes:
      names: the variables that any of them reads or writes.
      inputs: the values of the arguments, then the states.
    """

    def __init__(
        self,
        freezer: _Freezer,
        frame: _Frame,
        operation: Operation,
        arguments: Sequence[Tensor],
        inner: Sequence[_Nested],
        asked: frozenset[str] = frozenset(),
    ) -> None:
        self.names = tuple(dict.fromkeys(name for made in inner for name in made.states.versions))
        writes = frame.writes_before(operation)
        states: list[Value] = []
        for name in self.names:
            first = next(made.states.versions[name][0] for made in inner if name in made.states.versions)
            if name not in freezer.states.versions:
                value = freezer.states.fed.get(name)
                kind = first.type
                freezer.states.versions[name] = [
                    value if value is not None else freezer.states.start(name, kind.dtype, kind.shape)
                ]
            written = any(name in made.states.commits for made in inner)
            state = freezer.states.versions[name][-1 if written else writes.get(name, 0)]
            if name in asked and state.node.op_def is VARIABLE and first.shape.is_fully_defined():
                attrs = {"dtype": first.dtype, "shape": first.shape, "variable": name}
                made_or_zeros = get_op("GraphflowVariableOrZeros")
                state = freezer.builder.node(made_or_zeros, (), attrs, origin=operation, name=name).outputs[0]
            states.append(state)
            for made in inner:
                if name not in made.states.versions:
                    made.states.versions[name] = [made.states.start(name, first.dtype, first.shape)]
        self.inputs = (*(frame.values[t] for t in arguments if not t.is_variable), *states)


def _asked_about(choice: Value) -> frozenset[str]:
    """The variables whose being initialized a choice depends on: where they are not, a branch sets or avoids them."""
    found: set[str] = set()
    seen: set[Node] = set()
    stack = [choice.node]
    while stack and len(seen) < _MOST_LOOKED_AT:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.type == "GraphflowVariableIsInitialized":
            found.add(node.attrs["variable"])
        stack.extend(value.node for value in node.inputs)
    return frozenset(found)


def _function_frame(
    function: Function, prefix: str, given: tuple[dict[str, int], tuple[Node, ...]] = ({}, ())
) -> _Frame:
    arguments = frozenset(function.inputs)
    targets = [t.op for t in function.outputs if t not in arguments] + list(function.control_outputs)
    return _Frame(_slice(targets, arguments), arguments, prefix, given)


def _freeze_function(
    outer: _Frame, operation: Operation, function: Function, arguments: Sequence[Tensor], part: str
) -> _Task:
    prefix = f"{outer.prefix}{operation.name}/{part}/"
    frame = _function_frame(function, prefix)
    builder = ProgramBuilder()
    feeds: list[Value] = []
    for position, (tensor, argument) in enumerate(zip(arguments, function.inputs, strict=True)):
        if tensor.is_variable:
            frame.handles[argument] = outer.variable(tensor)
        else:
            kind = TensorType(tensor.dtype, argument.shape, argument.shape)
            name = f"{position}: {argument.op.name}"
            frame.values[argument] = _feed(builder, name, kind, argument.op)
            feeds.append(frame.values[argument])
    freezer = _Freezer(_InnerStates(builder, {}))
    yield freezer.run(frame)
    return _Nested(function, frame, freezer, feeds)


def freeze(
    fetches: Sequence[Tensor | Operation],
    feeds: Sequence[Tensor] = (),
    handles: Mapping[Tensor, str] | None = None,
) -> Program:
    """Cuts out of the graph what computing `fetches` from `feeds` needs.

    Args:
      fetches: tensors and operations of one graph; a handle stands for its variable's value.
      feeds: tensors whose values are given instead of computed.
      handles: of handles that the graph does not make, such as a function's arguments, the variables' names.

    Returns:
      A Program whose `fetches` are the tensors among `fetches`, in their order.

    Raises:
      ValueError: if the graph has a cycle.
    """
    fed = frozenset(feeds)
    builder = ProgramBuilder()
    known = dict(handles or {})
    targets = [f if isinstance(f, Operation) else f.op for f in fetches if f not in fed]
    frame = _Frame(_slice(targets, fed | known.keys()), fed | known.keys())
    frame.handles = known
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
        frame.values[tensor] = node.outputs[0]
        if name:
            fed_states[name] = node.outputs[0]
    freezer = _Freezer(_States(builder, fed_states))
    _finish(freezer.run(frame))
    outputs = []
    for fetch in fetches:
        if isinstance(fetch, Operation):
            continue
        if fetch in frame.values:
            outputs.append(frame.values[fetch])
        else:
            outputs.append(freezer.states.before(fetch, frame.variable(fetch)))
    versions = freezer.states.versions
    commits = tuple((name, versions[name][-1]) for name in freezer.states.commits)
    return Program(tuple(feed_values), tuple(outputs), commits, tuple(freezer.effects))


def _retyped_state(
    builder: ProgramBuilder, value: Value, handle: Tensor, operation: Operation, name: str
) -> Value:
    """Returns `value` as the state of a variable; where only the variable's shape is known, that is kept."""
    if value.shape.is_fully_defined() or not handle.handle_shape.is_fully_defined():
        return value
    shape = handle.handle_shape
    node = builder.node(
        get_op("EnsureShape"), (value,), {"T": value.dtype, "shape": shape},
        types=(TensorType(value.dtype, shape, shape),), origin=operation, name=name,
    )  # fmt: skip
    return node.outputs[0]


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
        builder.origin, builder.name, builder.nested = node.origin, node.name, None
        result = replace(builder, node, inputs, controls)
        if result is None:
            # A node made anew comes after those that stay: what acts on the world must not change places by that.
            acts = changed and node.op_def.effects == "host"
            result = builder.again(node, inputs, controls, anew=acts)
        changed = changed or result is not node
        if isinstance(result, Node):
            new_nodes[node] = result
            result = result.outputs
        elif node.op_def in NESTED and builder.nested is not None:
            new_nodes[node] = builder.nested  # it has to run, wherever its results are found
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


def inlined(builder: ProgramBuilder, program: Program, inputs: Sequence[Value]) -> list[Value]:
    """Makes a program's nodes again in another one; returns what its fetches are there."""
    new: dict[Value, Value] = dict(zip(program.feeds, inputs, strict=True))
    nodes: dict[Node, Node] = {}
    for node in program.nodes:
        if node.op_def is FEED:
            continue
        controls = tuple(nodes[control] for control in node.controls if control in nodes)
        made = builder.node(
            node.op_def, tuple(new[value] for value in node.inputs), node.attrs, controls, None, node.origin, node.name
        )  # fmt: skip
        nodes[node] = made
        new.update(zip(node.outputs, made.outputs, strict=True))
    return [new[value] for value in program.fetches]


def sized_source(
    program: Program,
    feed_sizes: Sequence[tuple[int, ...]],
    variable_sizes: Mapping[str, tuple[int, ...]],
    known: Mapping[Node, np.ndarray[Any, Any]],
) -> Callable[[ProgramBuilder, Node], Replacement]:
    """Returns what gives feeds, variables and what is `known` with their sizes; see `specialize`."""
    sizes = dict(zip(program.feeds, feed_sizes, strict=True))

    def replace(builder: ProgramBuilder, node: Node) -> Replacement:
        if node in known:
            return [builder.constant(known[node], True)]
        if node.op_def is FEED or node.op_def is VARIABLE:
            declared = node.outputs[0]
            found = sizes.get(declared) if node.op_def is FEED else variable_sizes.get(node.attrs["variable"])
            if found is None:
                return None
            shape = TensorShape(found)
            # The rank is one for all sizes: a program has few, and code is made for each.
            static = declared.shape if declared.shape.rank is not None else TensorShape([None] * len(found))
            kind = TensorType(declared.dtype, shape, shape if static == shape else static)
            return builder.node(node.op_def, (), node.attrs, (), (kind,), node.origin, node.name)
        return None

    return replace


def specialize(
    program: Program,
    feed_sizes: Sequence[tuple[int, ...]],
    variable_sizes: Mapping[str, tuple[int, ...]],
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
    source = sized_source(program, feed_sizes, variable_sizes, known or {})
    return rebuild(program, lambda builder, node, inputs, controls: source(builder, node), specialized=True)


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
        for part, inner in nested_programs(node):
            _verify_nested(node, part, inner)
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


def _verify_nested(node: Node, part: str, inner: Program) -> None:
    """Checks a nested program, and that it takes and gives what its node does."""
    try:
        verify(inner)
    except ValueError as error:
        raise ValueError(f"{_shown(node)}: {part}: {error}") from None
    given = node.inputs[1:] if node.op_def in CASES else node.inputs
    if len(given) != len(inner.feeds):
        raise ValueError(f"{_shown(node)}: {part} takes {len(inner.feeds)} values, it is given {len(given)}")
    for i, (value, feed) in enumerate(zip(given, inner.feeds, strict=True)):
        if value.dtype is not feed.dtype or not value.shape.is_compatible_with(feed.shape):
            raise ValueError(
                f"{_shown(node)}: {part} takes {feed.type} as value {i}, it is given {value.type}"
            )
    if inner.commits:
        raise ValueError(f"{_shown(node)}: {part} writes variables; their states must be given out")
    if part == "cond":
        if [value.dtype for value in inner.fetches] != [dtypes.bool_]:
            raise ValueError(f"{_shown(node)}: {part} must give one boolean")
        return
    if [value.dtype for value in inner.fetches] != [kind.dtype for kind in node.types]:
        raise ValueError(f"{_shown(node)}: {part} gives other dtypes than the node")


def _shown(node: Node) -> str:
    inputs = ", ".join(f"{value.node.name}:{value.index} {value.type}" for value in node.inputs)
    made = f" (made at {node.origin.user_line})" if node.origin is not None and node.origin.user_line else ""
    outputs = ", ".join(map(str, node.types))
    return f"{node.name} = {node.type}({inputs}) -> {outputs}{made}"
