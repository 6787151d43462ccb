"""The user's graph: Graph, Operation, Tensor, and the scopes in which operations are made.

The graph only ever grows. Nothing here knows what any operation means; `opdef` adds operations to it and hangs
the operators on `Tensor`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from graphflow import nest
from graphflow.dtypes import DType
from graphflow.shapes import TensorShape, as_shape

DEFAULT_GRAPH_SEED = 87654321  # TensorFlow's, used where an op seed is given without a graph seed
_MAX_INT32 = 2**31 - 1
_VALID_OP_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\-/]*$")
_VALID_SCOPE_NAME = re.compile(r"^[A-Za-z0-9_.\-/]*$")
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_FRAMES = 12

Frame = tuple[str, int, str]  # file name, line number, function name


class GraphKeys:
    """Standard names of collections, as in TF1."""

    GLOBAL_VARIABLES = "variables"
    LOCAL_VARIABLES = "local_variables"
    METRIC_VARIABLES = "metric_variables"
    MODEL_VARIABLES = "model_variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    SUMMARIES = "summaries"
    QUEUE_RUNNERS = "queue_runners"
    TABLE_INITIALIZERS = "table_initializer"
    ASSET_FILEPATHS = "asset_filepaths"
    MOVING_AVERAGE_VARIABLES = "moving_average_variables"
    REGULARIZATION_LOSSES = "regularization_losses"
    CONCATENATED_VARIABLES = "concatenated_variables"
    SAVERS = "savers"
    WEIGHTS = "weights"
    BIASES = "biases"
    ACTIVATIONS = "activations"
    UPDATE_OPS = "update_ops"
    LOSSES = "losses"
    SAVEABLE_OBJECTS = "saveable_objects"
    RESOURCES = "resources"
    LOCAL_RESOURCES = "local_resources"
    TRAIN_OP = "train_op"
    GLOBAL_STEP = "global_step"
    INIT_OP = "init_op"
    LOCAL_INIT_OP = "local_init_op"
    READY_OP = "ready_op"
    READY_FOR_LOCAL_INIT_OP = "ready_for_local_init_op"
    SUMMARY_OP = "summary_op"
    EVAL_STEP = "eval_step"
    COND_CONTEXT = "cond_context"
    WHILE_CONTEXT = "while_context"
    VARIABLES = "variables"
    TRAINABLE_RESOURCE_VARIABLES = "trainable_resource_variables"


def user_frames() -> tuple[Frame, ...]:
    """Returns the frames outside graphflow that lead here, innermost first."""
    frames: list[Frame] = []
    frame = sys._getframe(1)
    while frame is not None and len(frames) < _MOST_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            frames.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(frames)


class Tensor:
    """One output of an operation: a symbol for a value that a run computes.

    Attributes:
      op: the Operation that makes it.
      value_index: which of the operation's outputs it is.
      dtype: the DType of its elements.
      graph: the Graph it belongs to.
    """

    # Programs hang things of their own on tensors and operations, so there is a `__dict__` for who wants one.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_consumers",
        "_constant",
        "_handle",
        "_shape",
        "dtype",
        "op",
        "value_index",
    )

    # What classes that stand for a tensor pass on to it.
    OVERLOADABLE_OPERATORS = frozenset(
        f"__{name}__"
        for name in (
            *(
                "abs",
                "add",
                "and",
                "div",
                "eq",
                "floordiv",
                "ge",
                "getitem",
                "gt",
                "invert",
                "le",
                "lt",
                "matmul",
            ),
            *(
                "mod",
                "mul",
                "ne",
                "neg",
                "or",
                "pow",
                "radd",
                "rand",
                "rdiv",
                "rfloordiv",
                "rmatmul",
                "rmod",
                "rmul",
            ),
            *("ror", "rpow", "rsub", "rtruediv", "rxor", "sub", "truediv", "xor"),
        )
    )

    __array_priority__ = 100  # so that `array + tensor` asks the tensor

    def __init__(self, op: Operation, value_index: int, dtype: DType, shape: TensorShape) -> None:
        self.op = op
        self.value_index = value_index
        self.dtype = dtype
        self._shape = shape
        self._consumers: list[Operation] = []
        self._constant: Any = None  # a cache that opdef.constant_value keeps
        self._handle: tuple[DType, TensorShape] | None = None

    @property
    def graph(self) -> Graph:
        """The graph of the tensor."""
        return self.op.graph

    @property
    def name(self) -> str:
        """The name, `"op_name:index"`."""
        return f"{self.op.name}:{self.value_index}"

    @property
    def device(self) -> str:
        """The device that was asked for, or ""."""
        return self.op.device

    @property
    def shape(self) -> TensorShape:
        """What is known of the shape."""
        return self._shape

    @property
    def is_variable(self) -> bool:
        """Whether this is the handle of a variable; handles of queues, tables and the like are ordinary values."""
        return self._handle is not None

    @property
    def handle_dtype(self) -> DType:
        """For a resource handle: the dtype of the variable behind it."""
        return self._handle_data()[0]

    @property
    def handle_shape(self) -> TensorShape:
        """For a resource handle: what is known of the shape of the variable behind it."""
        return self._handle_data()[1]

    def _handle_data(self) -> tuple[DType, TensorShape]:
        if self._handle is None:
            raise TypeError(f"{self.name} is no handle of a variable")
        return self._handle

    def get_shape(self) -> TensorShape:
        """Returns what is known of the shape."""
        return self._shape

    def set_shape(self, shape: Any) -> None:
        """Adds to what is known of the shape.

        Raises:
          ValueError: if `shape` contradicts what is known.
        """
        try:
            self._shape = self._shape.merge_with(as_shape(shape))
        except ValueError as error:
            raise ValueError(f"set_shape of {self.name!r}: {error}") from None

    def consumers(self) -> list[Operation]:
        """Returns the operations that take this tensor as an input."""
        return list(self._consumers)

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """Runs the tensor in `session` (default: the default session) and returns its value.

        Raises:
          ValueError: if there is no session.
        """
        return _session_for(session, self.graph, f"evaluate tensor {self.name!r}").run(self, feed_dict)

    def eval_sample(self, feed_dict: Any = None, batch: int = 2, seed: int = 0) -> Any:
        """Returns the value for sample inputs, without a session: to look at a graph while it is being built.

        Nothing is added to the graph, and no session's variables are touched: variables have their initial values.

        Args:
          feed_dict: values for some tensors; placeholders that are not in it get sample values: normal numbers,
            zeros for integers, empty strings.
          batch: what unknown sizes are taken for.
          seed: of the sample numbers.

        Raises:
          OpError: an operation refuses its operands; the error names the line that made it.
        """
        return _sampler().sample(self, feed_dict, batch, seed)

    if TYPE_CHECKING:
        # Hung on by `opdef.override_operator` from the modules of the ops.
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __div__(self, other: Any) -> Tensor: ...
        def __rdiv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            f"Tensor {self.name!r} is symbolic and can't be iterated over; use gf.unstack or gf.map_fn"
        )

    def __len__(self) -> int:
        raise TypeError(f"len is not well defined for symbolic tensor {self.name!r}; use gf.shape(x)[0]")

    def __bool__(self) -> bool:
        raise TypeError(
            f"Using the symbolic tensor {self.name!r} as a Python bool is not allowed: its value is known only in "
            "Session.run. Use `if t is not None:` to test for presence and gf.cond for a branch in the graph."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            f"Cannot convert the symbolic tensor {self.name!r} to a NumPy array: its value is known only in Session.run"
        )

    def __float__(self) -> float:
        raise TypeError(f"Cannot convert the symbolic tensor {self.name!r} to a float; run it in a Session")

    def __int__(self) -> int:
        raise TypeError(f"Cannot convert the symbolic tensor {self.name!r} to an int; run it in a Session")

    # Equality and hash are object identity, as in TF1; a session hashes tensors on every run, so these stay built in.

    def __str__(self) -> str:
        shape = "" if self._shape.rank is None else f", shape={self._shape}"
        return f'Tensor("{self.name}"{shape}, dtype={self.dtype.name})'

    def __repr__(self) -> str:
        shape = "<unknown>" if self._shape.rank is None else str(self._shape)
        return f"<gf.Tensor '{self.name}' shape={shape} dtype={self.dtype.name}>"


class Operation:
    """One node of the graph.

    Attributes:
      name: its unique name in the graph.
      type: the op type, such as "MatMul".
      op_def: the `opdef.OpDef` of that type.
      inputs: the tensors it takes, lists flattened.
      outputs: the tensors it makes.
      attrs: its attributes by name, as Python values.
      device: the device that was asked for, or "".
      traceback: the user's frames that made it, outermost first: (file, line, function).
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_control_inputs",
        "_frames",
        "_id",
        "attrs",
        "device",
        "forward_op",
        "graph",
        "inputs",
        "name",
        "op_def",
        "outputs",
        "type",
    )

    def __init__(
        self,
        graph: Graph,
        name: str,
        op_def: Any,
        inputs: Sequence[Tensor],
        attrs: dict[str, Any],
        output_types: Sequence[DType],
        output_shapes: Sequence[TensorShape],
        control_inputs: Sequence[Operation],
        device: str = "",
    ) -> None:
        self.graph = graph
        self.name = name
        self.op_def = op_def
        self.type: str = op_def.name
        self.inputs: tuple[Tensor, ...] = tuple(inputs)
        self.attrs = attrs
        self.device = device
        self._control_inputs: list[Operation] = list(control_inputs)
        self._frames = user_frames()
        self._id = 0
        # The forward operation that this one is the gradient of, if it is one.
        self.forward_op: Operation | None = graph._forward_op
        self.outputs: list[Tensor] = [
            Tensor(self, i, dtype, shape)
            for i, (dtype, shape) in enumerate(zip(output_types, output_shapes, strict=True))
        ]

    @property
    def control_inputs(self) -> list[Operation]:
        """The operations that must run before this one without feeding it."""
        return list(self._control_inputs)

    @property
    def traceback(self) -> list[Frame]:
        """The user's frames that made it, outermost first."""
        return list(reversed(self._frames))

    @property
    def user_line(self) -> str:
        """Where the user made it, `file.py:12`, or "" if that is unknown."""
        if not self._frames:
            return ""
        file, line, _ = self._frames[0]
        return f"{os.path.basename(file)}:{line}"

    @property
    def node_def(self) -> Any:
        """The operation as a NodeDef."""
        return proto_writer().operation_to_node_def(self)

    def get_attr(self, name: str) -> Any:
        """Returns an attribute.

        Raises:
          ValueError: if the operation has no such attribute.
        """
        try:
            return self.attrs[name]
        except KeyError:
            raise ValueError(
                f"Operation {self.name!r} of type {self.type} has no attr named {name!r}; it has "
                f"{sorted(self.attrs)}"
            ) from None

    def colocation_groups(self) -> list[bytes]:
        """Returns the names of the groups it is to share a device with."""
        groups = self.attrs.get("_class", ())
        return [g.encode() if isinstance(g, str) else g for g in groups] or [b"loc:@" + self.name.encode()]

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Runs the operation in `session` (default: the default session)."""
        _session_for(session, self.graph, f"run operation {self.name!r}").run(self, feed_dict)

    def _add_inputs(self, tensors: Sequence[Tensor]) -> None:
        """Adds inputs; callers see to it that attributes and functions go along."""
        self.inputs = (*self.inputs, *tensors)
        for tensor in tensors:
            if self not in tensor._consumers:
                tensor._consumers.append(self)
        self.graph._version += 1

    def _add_output(self, dtype: DType, shape: TensorShape) -> Tensor:
        """Adds an output; see `_add_inputs`."""
        tensor = Tensor(self, len(self.outputs), dtype, shape)
        self.outputs.append(tensor)
        self.graph._version += 1
        return tensor

    def _set_device(self, device: str) -> None:
        self.device = canonical_device(device)

    def _add_control_inputs(self, operations: Iterable[Operation]) -> None:
        """Adds control edges; callers make sure that no cycle arises."""
        for operation in operations:
            if operation not in self._control_inputs:
                self._control_inputs.append(operation)
        self.graph._version += 1

    def _add_control_input(self, operation: Operation) -> None:
        self._add_control_inputs([operation])

    def values(self) -> tuple[Tensor, ...]:
        """Returns the outputs."""
        return tuple(self.outputs)

    def __str__(self) -> str:
        inputs = ", ".join(t.name for t in self.inputs)
        return f"{self.name} = {self.type}({inputs})"

    def __repr__(self) -> str:
        return f"<gf.Operation '{self.name}' type={self.type}>"


class IndexedSlices:
    """Rows of a larger tensor: row `values[i]` belongs at `indices[i]`; equal indices add up.

    Args:
      values: tensor [n, ...].
      indices: integer tensor [n].
      dense_shape: integer tensor with the full shape, or None.
    """

    __slots__ = ("__dict__", "_dense_shape", "_indices", "_values")

    def __init__(self, values: Tensor, indices: Tensor, dense_shape: Tensor | None = None) -> None:
        self._values = values
        self._indices = indices
        self._dense_shape = dense_shape

    @property
    def values(self) -> Tensor:
        """The rows."""
        return self._values

    @property
    def indices(self) -> Tensor:
        """Where the rows belong."""
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        """The full shape, or None."""
        return self._dense_shape

    @property
    def shape(self) -> TensorShape:
        """What is known of the full shape."""
        if self._dense_shape is None:
            return TensorShape(None)
        if self._dense_shape.op.type == "Const":
            return TensorShape([int(size) for size in self._dense_shape.op.attrs["value"]])
        rank = self._dense_shape.shape.num_elements()
        return TensorShape(None if rank is None else [None] * rank)

    def get_shape(self) -> TensorShape:
        """What is known of the full shape."""
        return self.shape

    @property
    def name(self) -> str:
        """The name of the rows."""
        return self._values.name

    @property
    def device(self) -> str:
        """The device of the rows."""
        return self._values.device

    @property
    def op(self) -> Operation:
        """The operation that makes the rows."""
        return self._values.op

    @property
    def dtype(self) -> DType:
        """The dtype of the rows."""
        return self._values.dtype

    @property
    def graph(self) -> Graph:
        """The graph of the rows."""
        return self._values.graph

    def __str__(self) -> str:
        return (
            f"IndexedSlices(indices={self._indices}, values={self._values}, dense_shape={self._dense_shape})"
        )

    def __neg__(self) -> IndexedSlices:
        return IndexedSlices(-self._values, self._indices, self._dense_shape)


nest.register_composite(
    IndexedSlices,
    lambda slices: [part for part in (slices.values, slices.indices, slices.dense_shape) if part is not None],
    lambda slices, parts: IndexedSlices(*parts),
)


class _Controller:
    """One `control_dependencies` block: what it orders before, and what was made inside it."""

    __slots__ = ("control_inputs", "new_stack", "seen")

    def __init__(self, control_inputs: list[Operation], new_stack: bool) -> None:
        self.control_inputs = control_inputs
        self.new_stack = new_stack
        self.seen: set[Operation] = set()


class _Scopes(threading.local):
    """The scopes in force in one thread, per graph."""

    def __init__(self) -> None:
        self.name_stack = ""
        self.controllers: list[_Controller] = []
        self.devices: list[Any] = []
        self.colocation: list[Operation] = []
        self.gradient_override: dict[str, str] = {}
        self.attr_scope: dict[str, Any] = {}
        self.container = ""


class Graph:
    """A dataflow graph, with the members of `tf.Graph`."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._by_name: dict[str, Operation] = {}
        self._names_in_use: dict[str, int] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._scopes = _Scopes()
        self._lock = threading.RLock()
        self._finalized = False
        self._version = 0
        self._seed: int | None = None
        self._seed_rule = "name"
        self._seeds_counted = 0
        self._unfeedable: set[Tensor] = set()
        self._unfetchable: set[Operation] = set()
        self._forward_op: Operation | None = None
        self._functions: dict[str, Any] = {}
        # Python objects that operations refer to by token (py_func) and state of variable scopes; never serialized.
        self.registries: dict[str, Any] = {}

    # -- operations ---------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    @property
    def _last_id(self) -> int:
        return len(self._operations)

    @property
    def building_function(self) -> bool:
        """Whether this graph is the body of a function."""
        return False

    # The graph in which a function is made; only bodies of functions have one.
    outer_graph: Graph | None = None

    def accepts(self, graph: Graph) -> bool:
        """Whether tensors of `graph` may be used here."""
        return graph is self

    def capture(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """Returns the tensor that stands for `tensor` in this graph: itself, unless this is a function's body."""
        return tensor

    @property
    def finalized(self) -> bool:
        """Whether the graph is read-only."""
        return self._finalized

    def finalize(self) -> None:
        """Makes the graph read-only: adding an operation raises RuntimeError and names the line."""
        self._finalized = True

    def _unsafe_unfinalize(self) -> None:
        self._finalized = False

    def _check_not_finalized(self, what: str = "") -> None:
        if self._finalized:
            frames = user_frames()
            where = f" (at {os.path.basename(frames[0][0])}:{frames[0][1]})" if frames else ""
            raise RuntimeError(
                f"Graph is finalized and cannot be modified{': ' + what if what else ''}{where}."
            )

    def add_operation(
        self,
        op_def: Any,
        inputs: Sequence[Tensor],
        attrs: dict[str, Any],
        output_types: Sequence[DType],
        output_shapes: Sequence[TensorShape],
        name: str,
        control_inputs: Sequence[Operation] = (),
        device: str | None = None,
    ) -> Operation:
        """Adds an operation whose shapes are inferred already; `opdef` is the caller.

        Args:
          op_def: the OpDef of the type.
          inputs: tensors of this graph.
          attrs: all attributes.
          output_types: dtype of each output.
          output_shapes: shape of each output.
          name: the full, unique name.
          control_inputs: control edges besides those of the scopes in force.
          device: overrides the device scope.

        Raises:
          RuntimeError: if the graph is finalized.
        """
        with self._lock:
            self._check_not_finalized(f"cannot add {op_def.name} {name!r}")
            if name in self._by_name:
                raise ValueError(f"Duplicate node name in graph: {name!r}")
            scopes = self._scopes
            controls = list(control_inputs)
            if scopes.controllers:
                for control in self._scope_controls(inputs):
                    if control not in controls:
                        controls.append(control)
            if scopes.attr_scope:
                attrs.update(scopes.attr_scope)
            if scopes.gradient_override and op_def.name in scopes.gradient_override:
                attrs["_gradient_op_type"] = scopes.gradient_override[op_def.name]
            if scopes.colocation:
                attrs["_class"] = tuple(sorted({f"loc:@{op.name}" for op in scopes.colocation}))
            operation = Operation(self, name, op_def, inputs, attrs, output_types, output_shapes, controls)
            operation.device = self._device_for(operation) if device is None else device
            operation._id = len(self._operations)
            self._operations.append(operation)
            self._by_name[name] = operation
            self._version += 1
            for tensor in operation.inputs:
                consumers = tensor._consumers
                if not consumers or consumers[-1] is not operation:
                    consumers.append(operation)
            for controller in scopes.controllers:
                controller.seen.add(operation)
            return operation

    def _scope_controls(self, inputs: Sequence[Tensor]) -> list[Operation]:
        """Control edges from the blocks in force, less those that an input implies already."""
        input_ops = {t.op for t in inputs}
        result: list[Operation] = []
        for controller in self._scopes.controllers:
            # An input made inside the block waits for the block's operations already.
            if not controller.seen.isdisjoint(input_ops):
                continue
            result.extend(op for op in controller.control_inputs if op not in input_ops and op not in result)
        return result

    def get_operations(self) -> list[Operation]:
        """Returns the operations in the order they were made."""
        return list(self._operations)

    def get_operation_by_name(self, name: str) -> Operation:
        """Returns the operation of that name; KeyError (with near names) if there is none."""
        if not isinstance(name, str):
            raise TypeError(f"Operation names are strings, not {type(name).__name__}.")
        operation = self.as_graph_element(name, allow_tensor=False, allow_operation=True)
        assert isinstance(operation, Operation)
        return operation

    def get_tensor_by_name(self, name: str) -> Tensor:
        """Returns the tensor of that name ("op:0"); KeyError (with near names) if there is none."""
        if not isinstance(name, str):
            raise TypeError(f"Tensor names are strings (or similar), not {type(name).__name__}.")
        tensor = self.as_graph_element(name, allow_tensor=True, allow_operation=False)
        assert isinstance(tensor, Tensor)
        return tensor

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Tensor | Operation:
        """Returns the tensor or operation that `obj` is or names.

        Raises:
          ValueError: for an object of another graph or a malformed name.
          TypeError: for an object that names nothing, or the kind not allowed.
          KeyError: for a name that is not in the graph; near names are listed.
        """
        convert = getattr(obj, "_as_graph_element", None)
        if convert is not None:
            obj = convert()
        if isinstance(obj, Tensor | Operation):
            if (
                isinstance(obj, Tensor)
                and not allow_tensor
                or isinstance(obj, Operation)
                and not allow_operation
            ):
                wanted = "a Tensor" if allow_tensor else "an Operation"
                raise TypeError(f"Can not convert a {type(obj).__name__} into {wanted}.")
            if obj.graph is not self and obj.graph.building_function:
                raise ValueError(inside_body(obj))
            if obj.graph is not self:
                default = "the default graph" if self is get_default_graph() else "this graph"
                raise ValueError(
                    f"{type(obj).__name__} {obj!r} is not an element of this graph: it belongs to the graph at "
                    f"{id(obj.graph):#x} ({len(obj.graph._operations)} operations), not to {default} at {id(self):#x} "
                    f"({len(self._operations)} operations). A new thread starts with the global default graph; enter "
                    "`with graph.as_default():` there, or use a Session made with graph=…."
                )
            return obj
        if isinstance(obj, bytes):
            obj = obj.decode()
        if not isinstance(obj, str):
            kinds = " or ".join(
                k for k, ok in (("Tensor", allow_tensor), ("Operation", allow_operation)) if ok
            )
            raise TypeError(f"Can not convert a {type(obj).__name__} into a {kinds}.")
        if ":" in obj:
            if not allow_tensor:
                raise ValueError(f"Name {obj!r} appears to refer to a Tensor, not an Operation.")
            op_name, _, index = obj.rpartition(":")
            if not index.isdigit() or not op_name:
                raise ValueError(
                    f'The name {obj!r} looks like a tensor name, but is not of the form "<op_name>:<index>".'
                )
            operation = self._by_name.get(op_name)
            if operation is None:
                raise KeyError(
                    f"The name {obj!r} refers to a Tensor which does not exist. The operation, {op_name!r}, does not "
                    f"exist in the graph.{self._near(op_name)}"
                )
            if int(index) >= len(operation.outputs):
                raise KeyError(
                    f"The name {obj!r} refers to a Tensor which does not exist. The operation, {op_name!r}, exists but "
                    f"only has {len(operation.outputs)} outputs."
                )
            return operation.outputs[int(index)]
        operation = self._by_name.get(obj)
        if operation is None:
            raise KeyError(f"The name {obj!r} refers to an Operation not in the graph.{self._near(obj)}")
        if not allow_operation:
            raise ValueError(
                f"The name {obj!r} refers to an Operation, not a Tensor. Tensor names must be of the form "
                f'"<op_name>:<output_index>"; perhaps {obj + ":0"!r}?'
            )
        return operation

    def _near(self, name: str) -> str:
        # Comparing with every name of a large graph would take longer than the program; the last ones are likeliest.
        near = difflib.get_close_matches(name, list(self._by_name)[-5000:], n=3, cutoff=0.5)
        return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""

    def is_feedable(self, tensor: Any) -> bool:
        """Whether the tensor may be fed."""
        return tensor not in self._unfeedable

    def is_fetchable(self, element: Any) -> bool:
        """Whether the tensor or operation may be fetched."""
        return (element.op if isinstance(element, Tensor) else element) not in self._unfetchable

    def prevent_feeding(self, tensor: Tensor) -> None:
        """Marks a tensor as unfeedable."""
        self._unfeedable.add(tensor)

    def prevent_fetching(self, op: Operation) -> None:
        """Marks an operation as unfetchable."""
        self._unfetchable.add(op)

    def as_graph_def(self, from_version: int | None = None, add_shapes: bool = False) -> Any:
        """Returns the graph as a GraphDef."""
        return proto_writer().graph_to_graph_def(self, from_version=from_version, add_shapes=add_shapes)

    # -- names --------------------------------------------------------------------------------

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """Returns `name` under the current scope, with a suffix `_1`, `_2`, … if it is taken."""
        stack = self._scopes.name_stack
        if stack:
            name = f"{stack}/{name}"
        with self._lock:
            key = name.lower()
            count = self._names_in_use.get(key, 0)
            if mark_as_used:
                self._names_in_use[key] = count + 1
            if count == 0:
                return name
            base = key
            while key in self._names_in_use:
                key = f"{base}_{count}"
                count += 1
            if mark_as_used:
                self._names_in_use[key] = 1
            return f"{name}_{count - 1}"

    def operation_name(self, name: str) -> str:
        """Returns the full name of a new operation: unique, or exactly as given if it ends with "/"."""
        if name.endswith("/"):
            return name[:-1]
        if (
            not self._scopes.name_stack
            and not _VALID_OP_NAME.match(name)
            or not _VALID_SCOPE_NAME.match(name)
        ):
            raise ValueError(f"'{name}' is not a valid operation or scope name")
        return self.unique_name(name)

    def get_name_scope(self) -> str:
        """Returns the current name scope without a trailing slash."""
        return self._scopes.name_stack

    @contextlib.contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Puts a prefix before the names of operations made inside; yields the scope with a trailing "/".

        A name that ends with "/" enters that very scope again; None or "" goes to the root.

        Raises:
          ValueError: for a name with characters that names can't have.
        """
        scopes = self._scopes
        old = scopes.name_stack
        if name:
            if isinstance(name, bytes):
                name = name.decode()
            if old:
                if not _VALID_SCOPE_NAME.match(name):
                    raise ValueError(f"'{name}' is not a valid scope name")
            elif not _VALID_OP_NAME.match(name):
                raise ValueError(f"'{name}' is not a valid scope name")
            new = name[:-1] if name.endswith("/") else self.unique_name(name)
        else:
            new = ""
        scopes.name_stack = new
        try:
            yield new + "/" if new else ""
        finally:
            scopes.name_stack = old

    # -- scopes -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def control_dependencies(self, control_inputs: Any) -> Iterator[_Controller]:
        """Operations made inside run after `control_inputs`; None lifts all such orders inside."""
        scopes = self._scopes
        if control_inputs is None:
            controller = _Controller([], new_stack=True)
            old = scopes.controllers
            scopes.controllers = []
            try:
                yield controller
            finally:
                scopes.controllers = old
            return
        operations: list[Operation] = []
        if isinstance(control_inputs, Tensor | Operation) or hasattr(control_inputs, "_as_graph_element"):
            raise TypeError("control_dependencies takes a list of operations or tensors")
        for item in control_inputs:
            if isinstance(item, IndexedSlices):
                item = item.op
            element = self.as_graph_element(item)
            operation = element.op if isinstance(element, Tensor) else element
            if operation not in operations:
                operations.append(operation)
        controller = _Controller(operations, new_stack=False)
        scopes.controllers = [*scopes.controllers, controller]
        try:
            yield controller
        finally:
            scopes.controllers = [c for c in scopes.controllers if c is not controller]

    @contextlib.contextmanager
    def device(self, device_name_or_function: Any) -> Iterator[None]:
        """Asks for a device for operations made inside: a string, a function of the operation, or None."""
        scopes = self._scopes
        old = scopes.devices
        value = device_name_or_function
        if value is not None and not callable(value):
            value = canonical_device(value.to_string() if hasattr(value, "to_string") else str(value))
        scopes.devices = [*old, value]
        try:
            yield
        finally:
            scopes.devices = old

    def _device_for(self, operation: Operation) -> str:
        if self._scopes.colocation:
            return self._scopes.colocation[-1].device
        device = ""
        for entry in reversed(self._scopes.devices):
            if entry is None:
                break
            spec = entry(operation) if callable(entry) else entry
            if spec:
                # Inner blocks rule; outer ones fill what is left open.
                device = merge_devices(canonical_device(str(spec)), device)
        return device

    @contextlib.contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """Operations made inside ask for the device of `op`; None lifts it."""
        scopes = self._scopes
        old = scopes.colocation
        if op is None:
            scopes.colocation = []
        else:
            element = self.as_graph_element(op)
            operation = element.op if isinstance(element, Tensor) else element
            scopes.colocation = [operation] if ignore_existing else [*old, operation]
        try:
            yield
        finally:
            scopes.colocation = old

    @contextlib.contextmanager
    def container(self, container_name: str) -> Iterator[str]:
        """Operations made inside that keep something in the session do so in this container; see `Session.reset`."""
        scopes = self._scopes
        old, scopes.container = scopes.container, container_name
        try:
            yield container_name
        finally:
            scopes.container = old

    @contextlib.contextmanager
    def gradient_override_map(self, op_type_map: dict[str, str]) -> Iterator[None]:
        """Operations of the given types made inside use the gradient registered under the mapped name."""
        scopes = self._scopes
        old = scopes.gradient_override
        scopes.gradient_override = {**old, **op_type_map}
        try:
            yield
        finally:
            scopes.gradient_override = old

    @contextlib.contextmanager
    def _attr_scope(self, attr_map: dict[str, Any]) -> Iterator[None]:
        scopes = self._scopes
        old = scopes.attr_scope
        scopes.attr_scope = {k: v for k, v in {**old, **attr_map}.items() if v is not None}
        try:
            yield
        finally:
            scopes.attr_scope = old

    @contextlib.contextmanager
    def gradient_of(self, op: Operation) -> Iterator[None]:
        """Operations made inside remember that they belong to the gradient of `op`."""
        old = self._forward_op
        self._forward_op = op
        try:
            yield
        finally:
            self._forward_op = old

    # -- collections --------------------------------------------------------------------------

    @property
    def collections(self) -> list[Any]:
        """The names of the collections."""
        return list(self._collections)

    def get_all_collection_keys(self) -> list[Any]:
        """Returns the names of the collections."""
        return [key for key in self._collections if isinstance(key, str)]

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Adds a value to a collection."""
        self._check_not_finalized(f"cannot add to collection {name!r}")
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Adds a value to several collections."""
        names = (names,) if isinstance(names, str) else names
        for name in dict.fromkeys(names):
            self.add_to_collection(name, value)

    def get_collection_ref(self, name: Any) -> list[Any]:
        """Returns the collection itself, made if need be."""
        return self._collections.setdefault(name, [])

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """Returns a copy of a collection, kept to items whose name matches the regular expression `scope`."""
        items = self._collections.get(name, [])
        if scope is None:
            return list(items)
        pattern = re.compile(scope)
        return [item for item in items if hasattr(item, "name") and pattern.match(item.name)]

    def clear_collection(self, name: Any) -> None:
        """Empties a collection."""
        self._check_not_finalized()
        self._collections.pop(name, None)

    # -- seeds --------------------------------------------------------------------------------

    @property
    def seed(self) -> int | None:
        """The graph's seed."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = seed

    def set_seed(self, seed: int | None, rule: str = "name") -> None:
        """Sets the graph's seed.

        Args:
          seed: the seed, or None.
          rule: where only the graph has a seed, an op's seed comes from its name ("name"), so that unrelated
            operations change nothing, or counts those that asked before it ("counter"), as in TensorFlow.
        """
        if rule not in ("name", "counter"):
            raise ValueError(f"rule must be 'name' or 'counter', got {rule!r}")
        self._seed = seed
        self._seed_rule = rule

    def get_seed(self, op_seed: int | None, name: str = "random") -> tuple[int | None, int | None]:
        """Returns the two seeds of a random op, by TensorFlow's rules.

        Args:
          op_seed: the op's own seed, or None.
          name: the name the op will be given; it decides where only the graph has a seed.

        Returns:
          `(seed, seed2)`; `(None, None)` where neither is set, which means: other numbers in every session.
        """
        if self._seed is not None:
            if op_seed is None:
                if self._seed_rule == "counter":
                    op_seed = self._seeds_counted
                    self._seeds_counted += 1
                else:
                    op_seed = zlib.crc32(self.unique_name(name, mark_as_used=False).encode()) & _MAX_INT32
            seeds: tuple[int | None, int | None] = self._seed % _MAX_INT32, op_seed % _MAX_INT32
        elif op_seed is not None:
            seeds = DEFAULT_GRAPH_SEED, op_seed % _MAX_INT32
        else:
            seeds = None, None
        # Both zero would mean "no seed" to the kernel.
        return (0, _MAX_INT32) if seeds == (0, 0) else seeds

    # -- default ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Makes this the default graph of the thread inside the block."""
        stack = _defaults.graphs
        stack.append(self)
        try:
            yield self
        finally:
            if stack and stack[-1] is not self:
                raise AssertionError(f"Nesting violated for default stack of {type(self)} objects")
            if stack:
                stack.pop()


class _Defaults(threading.local):
    """The default graphs and sessions of one thread."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []
        self.sessions: list[Any] = []


_defaults = _Defaults()
_global_graph: Graph | None = None
_global_lock = threading.Lock()


def get_default_graph() -> Graph:
    """Returns the default graph of this thread: the innermost `as_default()`, else the global one."""
    global _global_graph
    if _defaults.graphs:
        return _defaults.graphs[-1]
    if _global_graph is None:
        with _global_lock:
            if _global_graph is None:
                _global_graph = Graph()
    return _global_graph


def has_default_graph() -> bool:
    """Whether this thread is inside some graph's `as_default()`."""
    return bool(_defaults.graphs)


def reset_default_graph() -> None:
    """Forgets the global default graph; the next one starts empty.

    Raises:
      AssertionError: inside `with graph.as_default():`, as in TF1.
    """
    global _global_graph
    if _defaults.graphs:
        raise AssertionError(
            "Do not use reset_default_graph() to clear nested graphs. If you need a cleared graph, exit the nesting "
            "and create a new graph."
        )
    _global_graph = None


def leave_default_graphs() -> None:
    """Leaves all `as_default()` of this thread: for tests, some of which end within one."""
    _defaults.graphs.clear()


def get_default_session() -> Any:
    """Returns the default session of this thread, or None."""
    return _defaults.sessions[-1] if _defaults.sessions else None


@contextlib.contextmanager
def default_session(session: Any) -> Iterator[Any]:
    """Makes `session` the default session of the thread inside the block."""
    _defaults.sessions.append(session)
    try:
        yield session
    finally:
        # Interactive sessions may close out of order, so look for ours.
        for i in reversed(range(len(_defaults.sessions))):
            if _defaults.sessions[i] is session:
                del _defaults.sessions[i]
                break


def _session_for(session: Any, graph: Graph, what: str) -> Any:
    if session is None:
        session = get_default_session()
        if session is None:
            raise ValueError(
                f"Cannot {what}: No default session is registered. Use `with sess.as_default()` or pass an explicit "
                "session to `eval(session=sess)` / `run(session=sess)`"
            )
    if session.graph is not graph:
        raise ValueError(f"Cannot {what}: the session's graph is different from the tensor's graph.")
    return session


def _no_sampler() -> Any:
    raise RuntimeError("no interpreter is registered")


_sampler: Callable[[], Any] = _no_sampler


def set_sampler(load: Callable[[], Any]) -> None:
    """Says how to load the module that evaluates tensors on sample inputs; called once by the package."""
    global _sampler
    _sampler = load


_writer: Callable[[], Any] | None = None


def set_proto_writer(load: Callable[[], Any]) -> None:
    """Says how to load the module that writes graphs as protobuf; called once by the package."""
    global _writer
    _writer = load


def proto_writer() -> Any:
    """Returns the module that writes graphs as protobuf."""
    if _writer is None:
        raise RuntimeError("no protobuf writer is registered")
    return _writer()


# -- devices ------------------------------------------------------------------------------------

_DEVICE_PARTS = ("job", "replica", "task", "device")
_SHORT_DEVICE = re.compile(r"^(cpu|gpu|xla_cpu|xla_gpu|tpu)$", re.IGNORECASE)


def _parse_device(spec: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in spec.split("/"):
        if not part:
            continue
        key, _, value = part.partition(":")
        if key in ("job", "replica", "task") and value:
            parts[key] = value
        elif key == "device" and value:
            kind, _, index = value.partition(":")
            parts["device"] = f"{kind.upper()}:{index or 0}"
        elif _SHORT_DEVICE.match(key):
            parts["device"] = f"{key.upper()}:{value or 0}"
        else:
            raise ValueError(
                f"Unknown attribute: {part!r} in device {spec!r}; expected e.g. '/gpu:0' or '/device:CPU:0'"
            )
    return parts


def canonical_device(spec: str) -> str:
    """Returns a device string in TensorFlow's long form, "/device:GPU:0".

    Raises:
      ValueError: for a string that names no device.
    """
    if not spec:
        return ""
    parts = _parse_device(spec)
    return "".join(f"/{key}:{parts[key]}" for key in _DEVICE_PARTS if key in parts)


def merge_devices(outer: str, inner: str) -> str:
    """Returns `inner` with the parts it leaves open taken from `outer`."""
    if not outer or not inner:
        return inner or outer
    parts = {**_parse_device(outer), **_parse_device(inner)}
    return "".join(f"/{key}:{parts[key]}" for key in _DEVICE_PARTS if key in parts)


# -- the default graph's methods as functions -----------------------------------------------------


@contextlib.contextmanager
def name_scope(name: str | None, default_name: str | None = None, values: Any = None) -> Iterator[str]:
    """Opens a name scope in the graph of `values` (else the default graph); yields it with a trailing "/".

    Args:
      name: the name the caller was given, or None.
      default_name: used where `name` is None.
      values: tensors the block will use.

    Raises:
      ValueError: if there is neither name nor default but values were given.
    """
    graph = graph_of(values) if values is not None else get_default_graph()
    chosen = default_name if name is None else name
    if chosen is None and values is not None:
        raise ValueError("At least one of name and default_name must be given together with values")
    with graph.as_default(), graph.name_scope(chosen) as scope:
        yield scope


def op_scope(
    values: Any, name: str | None, default_name: str | None = None
) -> contextlib.AbstractContextManager[str]:
    """The old form of `name_scope`, with `values` first."""
    return name_scope(name, default_name, values)


def graph_of(values: Iterable[Any]) -> Graph:
    """Returns the graph of the first tensor or operation among `values`, else the default graph.

    Inside the body of a function it is always that: what comes from outside is captured.
    """
    default = get_default_graph()
    if default.building_function:
        return default
    for value in values:
        element = getattr(value, "_as_graph_element", None)
        element = value if element is None else element()
        graph = getattr(element, "graph", None)
        if isinstance(graph, Graph):
            if graph.building_function:
                raise ValueError(inside_body(element))
            return graph
    return default


def inside_body(element: Any) -> str:
    """Says that a tensor or operation inside a function is used outside of it."""
    line = getattr(element, "op", element).user_line
    return (
        f"{element!r}{f' (made at {line})' if line else ''} is inside the body of a branch, a loop or a function, and"
        " has a value only while that runs: nothing outside can use, feed or fetch it. Return it from the body."
    )


def control_dependencies(control_inputs: Any) -> contextlib.AbstractContextManager[Any]:
    """`Graph.control_dependencies` of the default graph."""
    return get_default_graph().control_dependencies(control_inputs)


def device(device_name_or_function: Any) -> contextlib.AbstractContextManager[None]:
    """`Graph.device` of the default graph."""
    return get_default_graph().device(device_name_or_function)


def colocate_with(op: Any, ignore_existing: bool = False) -> contextlib.AbstractContextManager[None]:
    """`Graph.colocate_with` of the default graph."""
    return get_default_graph().colocate_with(op, ignore_existing)


def container(container_name: str) -> contextlib.AbstractContextManager[str]:
    """`Graph.container` of the default graph."""
    return get_default_graph().container(container_name)


def add_to_collection(name: Any, value: Any) -> None:
    """`Graph.add_to_collection` of the default graph."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """`Graph.add_to_collections` of the default graph."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """`Graph.get_collection` of the default graph."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """`Graph.get_collection_ref` of the default graph."""
    return get_default_graph().get_collection_ref(key)


def set_random_seed(seed: int | None) -> None:
    """Sets the seed of the default graph; it counts for random operations that are made afterwards.

    Warns where there are some already that have no seed: they go on drawing other numbers in each session.
    """
    graph = get_default_graph()
    graph.seed = seed
    if seed is None:
        return
    before = [op for op in graph.get_operations() if op.attrs.get("seed") == 0 == op.attrs.get("seed2")]
    if before:
        warnings.warn(
            f"The seed {seed} does not reach {len(before)} random operations that were made before it was set, such as "
            f"{before[0].name!r} (made at {before[0].user_line or 'an unknown line'}): set it first.",
            RuntimeWarning,
            stacklevel=2,
        )


def get_seed(op_seed: int | None, name: str = "random") -> tuple[int | None, int | None]:
    """`Graph.get_seed` of the default graph."""
    return get_default_graph().get_seed(op_seed, name)
