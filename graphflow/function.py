"""Functions: bodies of branches, loops and calls, each a graph of its own inside the graph that made it.

A tensor of an outer graph that is used inside becomes a *capture*: a new input of the function, fed with that tensor by
whoever calls it. Variables are captured by their handles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from graphflow.dtypes import DType
from graphflow.graph import (
    Graph,
    GraphKeys,
    IndexedSlices,
    Operation,
    Tensor,
    get_default_graph,
    inside_body,
    user_frames,
)
from graphflow.opdef import constant_value, get_op
from graphflow.records import dataclass
from graphflow.shapes import TensorShape

# What a function's graph shares with the graph outside; of all other collections it has copies.
_SHARED = frozenset(
    {
        GraphKeys.GLOBAL_VARIABLES,
        GraphKeys.LOCAL_VARIABLES,
        GraphKeys.TRAINABLE_VARIABLES,
        GraphKeys.MODEL_VARIABLES,
        GraphKeys.METRIC_VARIABLES,
        GraphKeys.MOVING_AVERAGE_VARIABLES,
        GraphKeys.TRAINABLE_RESOURCE_VARIABLES,
        GraphKeys.GLOBAL_STEP,
        GraphKeys.TABLE_INITIALIZERS,
        GraphKeys.QUEUE_RUNNERS,
        GraphKeys.SAVEABLE_OBJECTS,
        GraphKeys.RESOURCES,
        GraphKeys.LOCAL_RESOURCES,
    }
)


class FuncGraph(Graph):
    """The graph of a function's body.

    Args:
      name: the function's name, by which errors call it.
      outer_graph: the graph in which the function is made; tensors of it and of those around it can be captured.
      scoped: whether names inside begin with the name scope in force outside, as those of TF1's branches and loops
        do, and with them the names of variables and tags of summaries.

    Attributes:
      inputs: the placeholders that stand for arguments, captures last.
      captures: outer tensor to the input that stands for it.
      control_captures: operations outside that the body has to wait for.
    """

    def __init__(self, name: str, outer_graph: Graph, scoped: bool = False) -> None:
        super().__init__()
        self.name = name
        self.outer_graph: Graph = outer_graph
        self.inputs: list[Tensor] = []
        self.captures: dict[Tensor, Tensor] = {}
        self._stands_for: dict[Tensor, Tensor] = {}  # tensors of any graph around, to what they are here
        self.control_captures: list[Operation] = []
        self.registries = outer_graph.registries
        self.user_line = _line()
        # What the code around the function asked for holds for the operations inside, too.
        outside = outer_graph._scopes
        if scoped:
            self._scopes.name_stack = outside.name_stack
        self._scopes.devices = list(outside.devices)
        self._scopes.gradient_override = dict(outside.gradient_override)
        self._scopes.attr_scope = dict(outside.attr_scope)
        for key, items in outer_graph._collections.items():
            if key not in _SHARED:
                self._collections[key] = list(items)

    @property
    def building_function(self) -> bool:
        """True: this is the body of a function."""
        return True

    @property
    def outermost(self) -> Graph:
        """The graph that is no function's body."""
        graph: Graph = self
        while isinstance(graph, FuncGraph):
            graph = graph.outer_graph
        return graph

    # -- inputs -------------------------------------------------------------------------------

    def add_input(self, dtype: DType, shape: Any, name: str = "input", handle: Any = None) -> Tensor:
        """Adds an argument.

        Args:
          dtype: its dtype.
          shape: what is known of its shape.
          name: a name, made unique.
          handle: for a handle: the tensor outside from which dtype and shape of the variable are taken.
        """
        shape = TensorShape(shape)
        with self.as_default(), self.control_dependencies(None), self.name_scope(None):
            operation = self.add_operation(
                get_op("Placeholder"),
                (),
                {"dtype": dtype, "shape": shape},
                (dtype,),
                (shape,),
                self.operation_name(name),
            )
        tensor = operation.outputs[0]
        if handle is not None:
            tensor._handle = handle._handle
        self.inputs.append(tensor)
        return tensor

    def accepts(self, graph: Graph) -> bool:
        """Whether tensors of `graph` may be used here."""
        here: Graph | None = self
        while isinstance(here, FuncGraph):
            if here.accepts_own(graph):
                return True
            here = here.outer_graph
        return here is graph

    def accepts_own(self, graph: Graph) -> bool:
        """Whether tensors of `graph` may be used here, apart from those of the graphs around this one."""
        return graph is self

    def capture(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """Returns the tensor that stands for `tensor` in this graph.

        Raises:
          ValueError: if it is of a graph that is not around this one.
        """
        if tensor.graph is self:
            return tensor
        found = self._stands_for.get(tensor)
        if found is not None:
            return found
        if not self.accepts(tensor.graph):
            if tensor.graph.building_function:
                raise ValueError(inside_body(tensor))
            raise ValueError(f"{tensor!r} must be from the same graph as what uses it, {self!r}")
        # From the outside in, so that each graph captures from the one around it.
        chain: list[FuncGraph] = []
        graph: Graph | None = self
        here = tensor
        while isinstance(graph, FuncGraph) and graph is not tensor.graph:
            known = graph._stands_for.get(tensor)
            if known is not None:
                here = known
                break
            chain.append(graph)
            if graph.accepts_own(tensor.graph):
                break
            graph = graph.outer_graph
        for inner in reversed(chain):
            here = inner._stands_for[tensor] = inner.capture_one(here, name)
        return here

    def capture_one(self, tensor: Tensor, name: str | None) -> Tensor:
        """Returns the input that stands for a tensor of the graph around this one; adds it if there is none yet."""
        found = self.captures.get(tensor)
        if found is None:
            base = name or tensor.op.name.rpartition("/")[2].lower()
            found = self.add_input(tensor.dtype, tensor.shape, base, handle=tensor)
            # It is the same in every call and iteration, so what is known of it holds here.
            found._constant = constant_value(tensor)
            self.captures[tensor] = found
        return found

    def outside(self, tensor: Tensor) -> Tensor | None:
        """Returns the outer tensor that an input stands for; None for an argument or an inner tensor."""
        for outer, inner in self.captures.items():
            if inner is tensor:
                return outer
        return None

    @contextlib.contextmanager
    def control_dependencies(self, control_inputs: Any) -> Iterator[Any]:
        """As in any graph; what is outside has been done before the body begins."""
        if control_inputs is None or isinstance(control_inputs, Tensor | Operation):
            with super().control_dependencies(control_inputs) as controller:
                yield controller
            return
        inside = []
        for item in control_inputs:
            if isinstance(item, IndexedSlices):
                item = item.op
            elif hasattr(item, "_as_graph_element"):
                item = item._as_graph_element()
            if isinstance(item, Tensor | Operation) and item.graph is not self and self.accepts(item.graph):
                self.wait_for(item.op if isinstance(item, Tensor) else item)
            else:
                inside.append(item)
        with super().control_dependencies(inside) as controller:
            yield controller

    @contextlib.contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """As in any graph; what is outside has its place already."""
        element = op._as_graph_element() if hasattr(op, "_as_graph_element") else op
        if (
            isinstance(element, Tensor | Operation)
            and element.graph is not self
            and self.accepts(element.graph)
        ):
            yield
            return
        with super().colocate_with(op, ignore_existing):
            yield

    def wait_for(self, operation: Operation) -> None:
        """Notes that the body has to wait for an operation of a graph around it."""
        graph: Graph | None = self
        while isinstance(graph, FuncGraph) and graph is not operation.graph:
            if graph.outer_graph is operation.graph and operation not in graph.control_captures:
                graph.control_captures.append(operation)
            graph = graph.outer_graph

    # -- what is shared with the graph outside --------------------------------------------------

    def get_collection_ref(self, name: Any) -> list[Any]:
        """Returns the collection itself; those of variables are the outer graph's."""
        if name in _SHARED:
            return self.outer_graph.get_collection_ref(name)
        return super().get_collection_ref(name)

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """Returns a copy of a collection."""
        if name in _SHARED:
            return self.outer_graph.get_collection(name, scope)
        return super().get_collection(name, scope)

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Adds a value to a collection."""
        if name in _SHARED:
            self.outer_graph.add_to_collection(name, value)
        else:
            super().add_to_collection(name, value)

    @property
    def seed(self) -> int | None:
        """The seed of the graph outside."""
        return self.outermost.seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self.outermost.seed = seed

    def get_seed(self, op_seed: int | None, name: str = "random") -> tuple[int | None, int | None]:
        """Returns the two seeds of a random op; where only the graph has one, by the function's name and the op's."""
        inner = self.unique_name(name, mark_as_used=False)
        with self.outermost.name_scope(None):
            return self.outermost.get_seed(op_seed, f"{self.name}/{inner}")

    def __repr__(self) -> str:
        return f"<gf.FuncGraph {self.name!r} of {len(self._operations)} operations>"


def outermost(tensor: Tensor) -> Tensor:
    """Returns the tensor outside of all functions that a capture stands for; others stay what they are."""
    while isinstance(tensor.graph, FuncGraph):
        found = tensor.graph.outside(tensor)
        if found is None:
            break
        tensor = found
    return tensor


def _line() -> str:
    frames = user_frames()
    return f"{frames[0][0]}:{frames[0][1]}" if frames else ""


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A function of tensors: what the attributes of kind "func" hold.

    Attributes:
      name: its name in the library of the outermost graph.
      graph: where its operations are.
      inputs: the placeholders that stand for its arguments.
      outputs: what it returns: tensors of `graph`.
      control_outputs: operations of `graph` that a call runs though it returns nothing of them.
    """

    name: str
    graph: FuncGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    control_outputs: tuple[Operation, ...] = ()

    def __repr__(self) -> str:
        return f"<gf.Function {self.name!r} of {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


def unique_function_name(name: str, graph: Graph | None = None) -> str:
    """Returns `name` with a number that no function of the outermost graph has."""
    library = library_of(graph or get_default_graph())
    base = name.replace("/", "_")
    count = len(library)
    while f"{base}_{count}" in library:
        count += 1
    # Reserved, so that functions that are still being built get names of their own.
    library[f"{base}_{count}"] = None
    return f"{base}_{count}"


def library_of(graph: Graph) -> dict[str, Any]:
    """Returns the functions of the graph that is no function's body, by name."""
    return (graph.outermost if isinstance(graph, FuncGraph) else graph)._functions


def register_function(function: Function) -> Function:
    """Adds a function to the library of the graph around it, under its name.

    Raises:
      ValueError: if there is another one of that name.
    """
    library = library_of(function.graph)
    known = library.get(function.name)
    if known is not None and known is not function:
        raise ValueError(f"there is a function called {function.name!r} already")
    library[function.name] = function
    return function


def finished(
    graph: FuncGraph, outputs: Sequence[Tensor], control_outputs: Sequence[Operation] = ()
) -> Function:
    """Makes the function of a graph that is built; outputs from outside are passed through."""
    inside = tuple(graph.capture(tensor) for tensor in outputs)
    return register_function(Function(graph.name, graph, tuple(graph.inputs), inside, tuple(control_outputs)))


def functions_of(operation: Operation) -> list[tuple[str, Function]]:
    """Returns the functions in an operation's attributes, each with what it is there: "cond", "body", "branches[1]"."""
    found: list[tuple[str, Function]] = []
    for name, value in operation.attrs.items():
        if isinstance(value, Function):
            found.append((name, value))
        elif isinstance(value, tuple) and value and isinstance(value[0], Function):
            found.extend((f"{name}[{i}]", item) for i, item in enumerate(value))
    return found


@contextlib.contextmanager
def lifted() -> Iterator[None]:
    """Operations made inside are made in the graph that is no function's body, under the name scope in force here."""
    graph = get_default_graph()
    if not isinstance(graph, FuncGraph):
        yield
        return
    scope, outer = graph.get_name_scope(), graph.outermost
    with (
        outer.as_default(),
        outer.control_dependencies(None),
        outer.name_scope(f"{scope}/" if scope else None),
    ):
        yield


@contextlib.contextmanager
def init_scope() -> Iterator[None]:
    """Operations made inside wait for nothing that is in force outside, and belong to no function's body."""
    with lifted(), get_default_graph().control_dependencies(None):
        yield


def lift(tensor: Tensor) -> Tensor:
    """Returns a tensor of the outermost graph with the same value as one inside a function.

    Raises:
      ValueError: if the value depends on the function's arguments.
    """
    graph = tensor.graph
    if not isinstance(graph, FuncGraph):
        return tensor
    outer = graph.outermost
    known: dict[Tensor, Tensor] = {}
    stack = [tensor]
    while stack:
        current = stack[-1]
        operation, here = current.op, current.graph
        if current in known:
            stack.pop()
        elif not isinstance(here, FuncGraph):
            known[current] = current
        elif current in here.inputs:
            source = here.outside(current)
            if source is None:
                raise ValueError(
                    f"the initial value {tensor.name!r} of a variable depends on {current.name!r}, an argument of the"
                    f" body {here.name!r}; a variable is made once, outside: give its initial value as a function"
                )
            if source in known:
                known[current] = known[source]
            else:
                stack.append(source)
        elif missing := [value for value in operation.inputs if value not in known]:
            stack.extend(missing)
        else:
            with outer.as_default(), outer.control_dependencies(None):
                copy = outer.add_operation(
                    operation.op_def,
                    [known[value] for value in operation.inputs],
                    dict(operation.attrs),
                    [value.dtype for value in operation.outputs],
                    [value.shape for value in operation.outputs],
                    outer.operation_name(operation.name.rpartition("/")[2]),
                )
            known.update(zip(operation.outputs, copy.outputs, strict=True))
    return known[tensor]
