"""Variable: state that lives in a session, read and written through a resource handle.

A variable is four operations of the graph (`VarHandleOp`, the initializer `AssignVariableOp`, `VarIsInitializedOp`
and one `ReadVariableOp`) and no value: values belong to sessions. Using a variable where a tensor is wanted adds a
read at that point of the program, under the control dependencies in force there.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import DType, as_dtype
from graphflow.function import lift, lifted
from graphflow.graph import (
    Graph,
    GraphKeys,
    IndexedSlices,
    Operation,
    Tensor,
    control_dependencies,
    device,
    get_default_graph,
    get_default_session,
    name_scope,
    proto_writer,
)
from graphflow.opdef import convert_to_tensor, emit, register_tensor_conversion_function
from graphflow.ops.control import group
from graphflow.shapes import TensorShape


class VariableSynchronization(enum.Enum):
    """When a replicated variable is brought together; accepted for TF1's sake."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How a replicated variable is brought together; accepted for TF1's sake."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3
    ONLY_FIRST_TOWER = 3


def _depends_on_variables(tensor: Tensor) -> list[Operation]:
    """Returns the operations between variable reads and `tensor`, inputs first; empty if nothing is read."""
    order: list[Operation] = []
    reads = False
    seen: set[Operation] = set()
    stack: list[tuple[Operation, bool]] = [(tensor.op, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        reads = reads or node.type == "ReadVariableOp"
        stack.append((node, True))
        stack.extend((value.op, False) for value in node.inputs if value.op not in seen)
    return order if reads else []


class SaveSliceInfo:
    """Which part of a whole a variable is, as checkpoints name it.

    Attributes:
      full_name: the name of the whole.
      full_shape: its shape.
      var_offset: where the part begins, along each axis.
      var_shape: the shape of the part.
    """

    def __init__(
        self, full_name: str | None = None, full_shape: Sequence[int] | None = None,
        var_offset: Sequence[int] | None = None, var_shape: Sequence[int] | None = None,
        save_slice_info_def: Any = None, import_scope: str | None = None,
    ) -> None:  # fmt: skip
        if save_slice_info_def is not None:
            told = save_slice_info_def
            full_name = f"{import_scope}/{told.full_name}" if import_scope else told.full_name
            full_shape, var_offset, var_shape = told.full_shape, told.var_offset, told.var_shape
        self.full_name = full_name
        self.full_shape = list(full_shape or ())
        self.var_offset = list(var_offset or ())
        self.var_shape = list(var_shape or ())

    @property
    def spec(self) -> str:
        """The part as text: the whole shape, then offset and length along each axis."""
        whole = " ".join(str(size) for size in self.full_shape)
        pairs = zip(self.var_offset, self.var_shape, strict=True)
        return f"{whole} {':'.join(f'{start},{size}' for start, size in pairs)}"


# Inside of Variable the name is that of a member.
_Piece = SaveSliceInfo


def _creators() -> list[Callable[..., Any]]:
    """What makes the variables of the default graph in this thread, the innermost scope's last."""
    found: list[Callable[..., Any]] = get_default_graph().registries.setdefault(
        f"variable creators of {threading.get_ident()}", []
    )
    return found


@contextlib.contextmanager
def variable_creator_scope(variable_creator: Callable[..., Any]) -> Iterator[None]:
    """Inside, a function makes the variables of the default graph.

    Args:
      variable_creator: called as `variable_creator(next_creator, **kwargs)` with the arguments of `Variable` by
        keyword; `next_creator(**kwargs)` makes a variable as the scopes outside would. What it returns is what the
        caller gets.
    """
    creators = _creators()
    creators.append(variable_creator)
    try:
        yield
    finally:
        creators.pop()


class _ByCreators(type):
    """Variables are made by the creators in force, if there are any."""

    @property
    def __signature__(cls) -> inspect.Signature:
        whole = inspect.signature(cls.__init__)  # type: ignore[misc]
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = super().__call__
        creators = _creators()
        if not creators or kwargs.get("variable_def") is not None:
            return make(*args, **kwargs)
        bound = inspect.signature(cls).bind(*args, **kwargs)
        bound.apply_defaults()
        for creator in creators:
            make = functools.partial(creator, make)
        return make(**bound.arguments)


class Variable(metaclass=_ByCreators):
    """State that a session keeps between runs, with the members of TF1's `Variable`.

    Args:
      initial_value: a tensor, a value convertible to one, or a callable without arguments that returns either.
      trainable: whether optimizers update it by default; None means yes, unless `synchronization` is ON_READ.
      collections: the graph collections to join; default `[GraphKeys.GLOBAL_VARIABLES]`.
      validate_shape: False admits an initial value of unknown shape and later values of other shapes.
      caching_device: accepted; reads are never cached.
      name: the name; default "Variable", made unique.
      variable_def: a `VariableDef` from which an existing variable is rebuilt; excludes the other arguments.
      dtype: the dtype; default that of the initial value.
      expected_shape: the shape that the initial value must have.
      import_scope: the scope that was put before names when the graph of `variable_def` was imported.
      constraint: a function applied to the value after each optimizer step.
      use_resource: accepted; every variable is a resource variable.
      synchronization: accepted; see `trainable`.
      aggregation: accepted.
      shape: the static shape, where it is to be less specific than that of the initial value.

    Raises:
      ValueError: if there is no initial value, or its shape is unknown while `validate_shape` is set.
    """

    __array_priority__ = 100
    SaveSliceInfo = SaveSliceInfo
    _save_slice_info: _Piece | None = None

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Iterable[Any] | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Callable[[Tensor], Tensor] | None = None,
        use_resource: bool | None = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
        shape: Any = None,
    ) -> None:
        self._caching_device = caching_device
        self._synchronization = synchronization
        self._aggregation = aggregation
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
            self._init_from_def(variable_def, import_scope)
            return
        if initial_value is None:
            raise ValueError("initial_value must be specified.")
        if constraint is not None and not callable(constraint):
            raise ValueError("The `constraint` argument must be a callable.")
        if trainable is None:
            trainable = synchronization is not VariableSynchronization.ON_READ
        keys = [GraphKeys.GLOBAL_VARIABLES] if collections is None else list(collections)
        if isinstance(collections, str) or not all(isinstance(key, (str, tuple)) for key in keys):
            raise ValueError(
                f"collections argument to Variable constructor must be a list, tuple, or set. Got {collections!r}"
            )
        if trainable and GraphKeys.TRAINABLE_VARIABLES not in keys:
            keys.append(GraphKeys.TRAINABLE_VARIABLES)
        self._trainable = bool(trainable)
        self._constraint = constraint
        self._validate_shape = validate_shape
        wanted = None if expected_shape is None and shape is None else TensorShape(shape or expected_shape)
        # An initializer runs before anything else: it may not wait for operations of the surrounding scope.
        # One that is made in the body of a branch or a loop is made once, outside.
        with control_dependencies(None), lifted():
            if isinstance(initial_value, Tensor):
                initial_value = lift(initial_value)
            self._build(initial_value, name, dtype, wanted, validate_shape)
        self._graph.add_to_collections(keys, self)

    def _build(
        self,
        initial_value: Any,
        name: str | None,
        dtype: Any,
        wanted: TensorShape | None,
        validate_shape: bool,
    ) -> None:
        values = [] if callable(initial_value) else [initial_value]
        with name_scope(name, "Variable", values) as scope:
            with name_scope("Initializer"), device(None):
                value = initial_value() if callable(initial_value) else initial_value
                initial = convert_to_tensor(
                    value, name="initial_value", dtype=None if dtype is None else as_dtype(dtype)
                )
            shape = initial.shape if wanted is None else wanted
            if not initial.shape.is_compatible_with(shape):
                raise ValueError(
                    f"Variable {scope.rstrip('/')!r}: the initial value has shape {initial.shape}, expected {shape}"
                )
            if validate_shape and not initial.shape.is_fully_defined():
                raise ValueError(f"initial_value must have a shape specified: {initial}")
            if not validate_shape and wanted is None:
                shape = TensorShape(None)
            self._graph: Graph = initial.graph
            self._dtype = initial.dtype
            self._shape = shape
            self._initial_value: Tensor | None = initial
            own_name = scope.rstrip("/")
            self._handle: Tensor = emit.VarHandleOp(
                dtype=self._dtype, shape=shape, shared_name=own_name, debug_name=own_name, name=scope
            )
            with name_scope("IsInitialized"):
                self._is_initialized: Tensor | None = emit.VarIsInitializedOp(self._handle)
            with name_scope("Assign") as assign_scope:
                self._initializer: Operation = emit.AssignVariableOp(
                    self._handle, _without_uninitialized_reads(initial), name=assign_scope
                )
            with name_scope("Read"):
                self._snapshot: Tensor = emit.ReadVariableOp(self._handle, dtype=self._dtype)

    def _init_from_def(self, variable_def: Any, import_scope: str | None) -> None:
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(f"{import_scope}/{name}" if import_scope else name)

        self._graph = graph
        self._handle = element(variable_def.variable_name)
        self._initializer = element(variable_def.initializer_name)
        if isinstance(self._initializer, Tensor):
            self._initializer = self._initializer.op
        initial_name = getattr(variable_def, "initial_value_name", "")
        self._initial_value = element(initial_name) if initial_name else None
        attrs = self._handle.op.attrs
        self._dtype = attrs["dtype"]
        self._shape = TensorShape(attrs["shape"])
        self._is_initialized = None
        self._trainable = bool(getattr(variable_def, "trainable", True))
        if variable_def.HasField("save_slice_info_def"):
            told = variable_def.save_slice_info_def
            self._save_slice_info = SaveSliceInfo(save_slice_info_def=told, import_scope=import_scope)
        self._constraint = None
        self._validate_shape = self._shape.is_fully_defined()
        snapshot = getattr(variable_def, "snapshot_name", "")
        if snapshot:
            self._snapshot = element(snapshot)
        else:
            with control_dependencies(None), name_scope(self._handle.op.name + "/Read/"):
                self._snapshot = emit.ReadVariableOp(self._handle, dtype=self._dtype)

    # Members.

    @property
    def name(self) -> str:
        """The name of the handle, such as "w:0"."""
        return self._handle.name

    @property
    def _shared_name(self) -> str:
        return self.name.removesuffix(":0")

    @property
    def op(self) -> Operation:
        """The operation that makes the handle."""
        return self._handle.op

    @property
    def handle(self) -> Tensor:
        """The resource handle."""
        return self._handle

    @property
    def graph(self) -> Graph:
        """The graph it belongs to."""
        return self._graph

    @property
    def dtype(self) -> DType:
        """The dtype of its value."""
        return self._dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape of its value."""
        return self._shape

    def get_shape(self) -> TensorShape:
        """The static shape of its value."""
        return self._shape

    def set_shape(self, shape: Any) -> None:
        """Merges what is known of the shape."""
        self._shape = self._shape.merge_with(shape)

    @property
    def device(self) -> str:
        """The device asked for."""
        return self._handle.op.device

    @property
    def trainable(self) -> bool:
        """Whether it is in `GraphKeys.TRAINABLE_VARIABLES`."""
        return self._trainable

    @property
    def constraint(self) -> Callable[[Tensor], Tensor] | None:
        """The function that projects the value after an optimizer step, or None."""
        return self._constraint

    @property
    def synchronization(self) -> VariableSynchronization:
        """As given."""
        return self._synchronization

    @property
    def aggregation(self) -> VariableAggregation:
        """As given."""
        return self._aggregation

    @property
    def initializer(self) -> Operation:
        """The operation that sets the initial value."""
        return self._initializer

    def initialize_with(self, value: Tensor) -> None:
        """Makes the initializer assign another value; what initializers were grouped before keeps the old one.

        Args:
          value: a tensor of the variable's graph, of its dtype and shape.
        """
        with self._graph.as_default(), control_dependencies(None):
            self._initializer = emit.AssignVariableOp(self._handle, value)
        self._initial_value = value

    @property
    def initial_value(self) -> Tensor | None:
        """The tensor that the initializer assigns; None where an imported definition names none."""
        return self._initial_value

    @property
    def create(self) -> Operation:
        """The operation that makes the variable: its initializer."""
        return self._initializer

    # Reading.

    def _read(self, name: str | None = None) -> Tensor:
        result: Tensor = emit.ReadVariableOp(self._handle, dtype=self._dtype, name=name)
        if result.shape != self._shape:
            result.set_shape(self._shape)
        return result

    def value(self) -> Tensor:
        """A tensor that reads the value, under the control dependencies in force here."""
        return self._read()

    def read_value(self) -> Tensor:
        """A tensor that reads the value, under the control dependencies in force here."""
        with name_scope("Read"):
            return self._read()

    def _ref(self) -> Tensor:
        return self.value()

    def _as_graph_element(self) -> Tensor:
        return self._snapshot

    def is_initialized(self, name: str | None = None) -> Tensor:
        """A boolean scalar: whether the variable has a value."""
        return is_variable_initialized(self, name)

    def initialized_value(self) -> Tensor:
        """A tensor for use in another variable's initial value.

        It is this variable's initial value, worked out without reading any variable, so that both can be
        initialized in one run and agree, random numbers included.

        Raises:
          ValueError: if an imported definition names no initial value.
        """
        if self._initial_value is None:
            raise ValueError(f"the definition of variable {self.name!r} names no initial value")
        with control_dependencies(None):
            return _without_uninitialized_reads(self._initial_value)

    def eval(self, session: Any = None) -> Any:
        """Returns the value in `session`, or in the default session.

        Raises:
          ValueError: if there is no session.
        """
        return _session_or_default(session, "eval()").run(self)

    def load(self, value: Any, session: Any = None) -> None:
        """Sets the value in `session`, or in the default session.

        Raises:
          ValueError: if there is no session, or the value's shape does not fit.
        """
        _session_or_default(session, "load()").load_variable(self, value)

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """Gathers rows of the value; its gradient is `IndexedSlices`.

        Args:
          indices: int32 or int64, any shape `s`.
          name: the operation's name.

        Returns:
          A tensor of shape `s + self.shape[1:]`.
        """
        with name_scope("Gather" if name is None else name) as scope:
            result: Tensor = emit.ResourceGather(self._handle, indices, dtype=self._dtype, name=scope)
            return result

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """Gathers slices at index vectors; see `gf.gather_nd`."""
        result: Tensor = emit.GatherNd(self.value(), indices, name=name)
        return result

    # Writing.

    def _written(self, operation: Operation, read_value: bool) -> Any:
        if not read_value:
            return operation
        # The tensor waits for the write, so that fetching it, evaluating it or depending on it performs the write.
        with control_dependencies([operation]), name_scope(operation.name + "/"):
            return self._read()

    def assign(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Sets the value when run.

        Args:
          value: the new value.
          use_locking: accepted; writes are never torn.
          name: the operation's name.
          read_value: whether to return a tensor of the new value instead of the operation.

        Raises:
          ValueError: if the shape does not fit.
        """
        value = convert_to_tensor(value, dtype=self._dtype)
        if not self._shape.is_compatible_with(value.shape):
            raise ValueError(
                f"Cannot assign value to variable '{self.name}': Shape mismatch. The variable shape {self._shape},"
                f" and the assigned value shape {value.shape} are incompatible."
            )
        return self._written(emit.AssignVariableOp(self._handle, value, name=name), read_value)

    def assign_add(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Adds to the value when run; see `assign`."""
        delta = convert_to_tensor(delta, dtype=self._dtype)
        return self._written(emit.AssignAddVariableOp(self._handle, delta, name=name), read_value)

    def assign_sub(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Subtracts from the value when run; see `assign`."""
        delta = convert_to_tensor(delta, dtype=self._dtype)
        return self._written(emit.AssignSubVariableOp(self._handle, delta, name=name), read_value)

    def count_up_to(self, limit: int, name: str | None = None) -> Tensor:
        """Returns the value, which is one more after each run; running it at the limit raises OutOfRangeError.

        Args:
          limit: where the count ends.
          name: a name.
        """
        counted: Tensor = emit.ResourceCountUpTo(self._handle, limit=limit, T=self._dtype, name=name)
        return counted

    def _scatter(self, op_type: str, sparse_delta: Any, name: str | None) -> Tensor:
        if not isinstance(sparse_delta, IndexedSlices):
            raise TypeError(
                f"Argument `sparse_delta` is not an instance of IndexedSlices. sparse_delta={sparse_delta!r}"
            )
        return self._scatter_rows(op_type, sparse_delta.indices, sparse_delta.values, name)

    def _scatter_rows(self, op_type: str, indices: Any, updates: Any, name: str | None) -> Tensor:
        updates = convert_to_tensor(updates, dtype=self._dtype)
        operation = getattr(emit, op_type)(self._handle, indices, updates, name=name)
        written: Tensor = self._written(operation, True)
        return written

    def scatter_add(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Adds `sparse_delta.values` to the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterAdd", sparse_delta, name)

    def scatter_sub(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Subtracts `sparse_delta.values` from the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterSub", sparse_delta, name)

    def scatter_mul(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Multiplies the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterMul", sparse_delta, name)

    def scatter_div(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Divides the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterDiv", sparse_delta, name)

    def scatter_min(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Takes the minimum into the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterMin", sparse_delta, name)

    def scatter_max(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Takes the maximum into the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterMax", sparse_delta, name)

    def scatter_update(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Sets the rows at `sparse_delta.indices`; returns the new value."""
        return self._scatter("ResourceScatterUpdate", sparse_delta, name)

    def _scatter_nd(self, op_type: str, indices: Any, updates: Any, name: str | None) -> Tensor:
        updates = convert_to_tensor(updates, dtype=self._dtype)
        operation = getattr(emit, op_type)(self._handle, indices, updates, name=name)
        written: Tensor = self._written(operation, True)
        return written

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Adds `updates` at index vectors; returns the new value."""
        return self._scatter_nd("ResourceScatterNdAdd", indices, updates, name)

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Subtracts `updates` at index vectors; returns the new value."""
        return self._scatter_nd("ResourceScatterNdSub", indices, updates, name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Sets the slices at index vectors; returns the new value."""
        return self._scatter_nd("ResourceScatterNdUpdate", indices, updates, name)

    # Files.

    def _set_save_slice_info(self, save_slice_info: _Piece) -> None:
        """Says which part of a whole this is."""
        self._save_slice_info = save_slice_info

    def _get_save_slice_info(self) -> _Piece | None:
        return self._save_slice_info

    def to_proto(self, export_scope: str | None = None) -> Any:
        """Returns a `VariableDef`, or None if the variable is outside `export_scope`."""
        return proto_writer().variable_to_proto(self, export_scope)

    @staticmethod
    def from_proto(variable_def: Any, import_scope: str | None = None) -> Variable:
        """Rebuilds the variable that a `VariableDef` describes in the default graph."""
        return Variable(variable_def=variable_def, import_scope=import_scope)

    # Python's ways.

    def __repr__(self) -> str:
        return f"<gf.Variable {self.name!r} shape={self._shape} dtype={self._dtype.name}>"

    def __iter__(self) -> Any:
        raise TypeError("'Variable' object is not iterable.")

    def __bool__(self) -> bool:
        raise TypeError(
            "Using a `gf.Variable` as a Python `bool` is not allowed; use `gf.cond`, or `is not None` to test for"
            " presence."
        )

    def __getitem__(self, key: Any) -> Any:
        return _on_value("__getitem__")(self, key)

    def __float__(self) -> float:
        raise TypeError(f"the value of {self!r} is known only in a session")

    def __int__(self) -> int:
        raise TypeError(f"the value of {self!r} is known only in a session")


def _on_value(name: str) -> Callable[..., Any]:
    def method(self: Variable, *args: Any) -> Any:
        return getattr(Tensor, name)(self.value(), *args)

    method.__name__ = name
    return method


def _assigner(part: Tensor) -> Callable[..., Any]:
    """`variable[1:3].assign(value, name=None)`: sets the part of a variable that an indexing reads."""
    source = part.op.inputs[0].op if part.op.type == "StridedSlice" else part.op
    if part.op.type != "StridedSlice" or source.type != "ReadVariableOp":
        raise AttributeError(f"{part!r} is no part of a variable: it can't be assigned to")
    handle = source.inputs[0]
    masks = {name: value for name, value in part.op.attrs.items() if name.endswith("_mask")}

    def assign(value: Any, name: str | None = None) -> Any:
        value = convert_to_tensor(value, part.dtype)
        written = emit.ResourceStridedSliceAssign(handle, *part.op.inputs[1:4], value, **masks, name=name)
        with control_dependencies([written]):
            return emit.ReadVariableOp(handle, dtype=part.dtype)

    return assign


# Only parts of variables have the attribute, so that programs can ask which tensors do.
setattr(Tensor, "assign", property(_assigner))  # noqa: B010 - a property that the class does not declare

# Each use reads the variable anew and then does what the operator of Tensor does.
for _name in (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv div rdiv mod rmod pow rpow matmul rmatmul"
    " lt le gt ge and rand or ror xor rxor neg abs invert"
).split():
    setattr(Variable, f"__{_name}__", _on_value(f"__{_name}__"))


def _to_tensor(value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> Tensor:
    if dtype is not None and as_dtype(dtype) is not value.dtype:
        raise ValueError(
            f"Tensor conversion requested dtype {as_dtype(dtype).name} for variable {value.name!r} of dtype"
            f" {value.dtype.name}"
        )
    if name is not None and name.endswith("/"):
        # An implicit input: the read stands beside it, "MatMul/ReadVariableOp".
        with name_scope(name.rstrip("/").rpartition("/")[0] + "/"):
            result: Tensor = value.value()
        return result
    result = value.value()
    return result


register_tensor_conversion_function(Variable, _to_tensor)


def _session_or_default(session: Any, what: str) -> Any:
    session = get_default_session() if session is None else session
    if session is None:
        raise ValueError(
            f"Cannot use {what}: no default session is registered. Use `with sess.as_default()` or pass"
            f" `session=sess`."
        )
    return session


def _without_uninitialized_reads(initial: Tensor) -> Tensor:
    """Returns a tensor equal to `initial` in which each read of a variable is that variable's initial value.

    The initializers of several variables run together, and none of them may wait for another one. A read whose
    variable is unknown stays.
    """
    chain = _depends_on_variables(initial)
    if not chain:
        return initial
    graph = initial.graph
    known = {
        variable.handle: variable
        for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES)
        for variable in graph.get_collection(key)
        if isinstance(variable, Variable)
    }
    replaced: dict[Tensor, Tensor] = {}
    for node in chain:
        if node.type == "ReadVariableOp":
            variable = known.get(node.inputs[0])
            if variable is not None and variable.initial_value is not None:
                replaced[node.outputs[0]] = variable.initialized_value()
        elif any(value in replaced for value in node.inputs):
            copy = graph.add_operation(
                node.op_def,
                [replaced.get(value, value) for value in node.inputs],
                dict(node.attrs),
                [value.dtype for value in node.outputs],
                [value.shape for value in node.outputs],
                graph.unique_name(node.name.rpartition("/")[2]),
            )
            replaced.update(zip(node.outputs, copy.outputs, strict=True))
    return replaced.get(initial, initial)


# Collections.


def _variables(key: Any, scope: str | None) -> list[Variable]:
    return list(get_default_graph().get_collection(key, scope))


def global_variables(scope: str | None = None) -> list[Variable]:
    """Returns the variables of `GraphKeys.GLOBAL_VARIABLES`, those under `scope` if it is given."""
    return _variables(GraphKeys.GLOBAL_VARIABLES, scope)


def all_variables() -> list[Variable]:
    """The old name of `global_variables`."""
    return global_variables()


def local_variables(scope: str | None = None) -> list[Variable]:
    """Returns the variables of `GraphKeys.LOCAL_VARIABLES`, those under `scope` if it is given."""
    return _variables(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Variable]:
    """Returns the variables of `GraphKeys.MODEL_VARIABLES`, those under `scope` if it is given."""
    return _variables(GraphKeys.MODEL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Variable]:
    """Returns the variables of `GraphKeys.TRAINABLE_VARIABLES`, those under `scope` if it is given."""
    return _variables(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Variable]:
    """Returns the variables that keep moving averages, those under `scope` if it is given."""
    return _variables(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


# Initialization.


def variables_initializer(var_list: Sequence[Variable] | None, name: str = "init") -> Operation:
    """Returns an operation that initializes the variables of `var_list`."""
    return group(*[variable.initializer for variable in var_list or ()], name=name)


def global_variables_initializer() -> Operation:
    """Returns an operation that initializes all global variables of the default graph."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """Returns an operation that initializes all local variables of the default graph."""
    return variables_initializer(local_variables())


def initialize_variables(var_list: Sequence[Variable] | None, name: str = "init") -> Operation:
    """The old name of `variables_initializer`."""
    return variables_initializer(var_list, name)


def initialize_all_variables() -> Operation:
    """The old name of `global_variables_initializer`."""
    return global_variables_initializer()


def initialize_local_variables() -> Operation:
    """The old name of `local_variables_initializer`."""
    return local_variables_initializer()


def is_variable_initialized(variable: Any, name: str | None = None) -> Tensor:
    """Returns a boolean scalar: whether a variable (or its handle) has a value."""
    result: Tensor = emit.VarIsInitializedOp(_handle_of(variable), name=name)
    return result


def report_uninitialized_variables(
    var_list: Sequence[Variable] | None = None, name: str = "report_uninitialized_variables"
) -> Tensor:
    """Returns a vector of the names of the variables that have no value.

    Args:
      var_list: the variables to look at; default all global and local ones.
      name: a scope for the operations.

    Returns:
      A string tensor [n].
    """
    chosen = global_variables() + local_variables() if var_list is None else list(var_list)
    with name_scope(name):
        if not chosen:
            return convert_to_tensor(np.zeros(0, dtype=object), dtype="string")
        ready = emit.Pack([is_variable_initialized(variable) for variable in chosen], axis=0)
        names = convert_to_tensor(
            np.array([v.op.name.encode() for v in chosen], dtype=object), dtype="string"
        )
        missing = emit.Squeeze(emit.Where(emit.LogicalNot(ready)), squeeze_dims=(1,))
        result: Tensor = emit.GatherV2(names, missing, 0)
        return result


def assert_variables_initialized(var_list: Sequence[Variable] | None = None) -> Operation | None:
    """Returns an operation that fails unless all variables of `var_list` have a value; None for no variables.

    The default is all global and local variables.
    """
    chosen = global_variables() + local_variables() if var_list is None else list(var_list)
    if not chosen:
        return None
    with name_scope("assert_variables_initialized"):
        checks = [
            emit.Assert(
                is_variable_initialized(v), [f"Attempting to use uninitialized value {v.op.name}".encode()]
            )
            for v in chosen
        ]
        return group(*checks, name="all")


# Functions on variables.


def _handle_of(ref: Any) -> Tensor:
    if isinstance(ref, Variable):
        return ref.handle
    if isinstance(ref, Tensor):
        if ref.dtype.name == "resource":
            return ref
        # What `assign` returns is a read of the variable: it stands for the variable itself, as TF1's refs do.
        if ref.op.type == "ReadVariableOp":
            return ref.op.inputs[0]
    raise TypeError(f"expected a Variable, got {ref!r}")


def _variable_of(ref: Any) -> Variable:
    if isinstance(ref, Variable):
        return ref
    handle = _handle_of(ref)
    for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES):
        for variable in handle.graph.get_collection(key):
            if isinstance(variable, Variable) and variable.handle is handle:
                return variable
    raise TypeError(f"no Variable of the graph's collections has the handle {handle.name!r}")


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Tensor:
    """Sets a variable when run.

    Args:
      ref: the variable.
      value: its new value.
      validate_shape: False admits a value of another shape than the variable's.
      use_locking: accepted.
      name: the operation's name.

    Returns:
      A tensor of the new value.
    """
    variable = _variable_of(ref)
    if validate_shape is False:
        value = convert_to_tensor(value, dtype=variable.dtype)
        operation = emit.AssignVariableOp(variable.handle, value, name=name)
        with control_dependencies([operation]):
            read: Tensor = emit.ReadVariableOp(variable.handle, dtype=variable.dtype)
            return read
    written: Tensor = variable.assign(value, name=name)
    return written


def assign_add(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Tensor:
    """Adds to a variable when run; returns a tensor of the new value."""
    written: Tensor = _variable_of(ref).assign_add(value, name=name)
    return written


def assign_sub(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Tensor:
    """Subtracts from a variable when run; returns a tensor of the new value."""
    written: Tensor = _variable_of(ref).assign_sub(value, name=name)
    return written


def count_up_to(ref: Any, limit: int, name: str | None = None) -> Tensor:
    """Returns the value of a variable, which is one more after each run; see `Variable.count_up_to`."""
    counted: Tensor = _variable_of(ref).count_up_to(limit, name)
    return counted


def _scatter(op_type: str, ref: Any, indices: Any, updates: Any, name: str | None) -> Tensor:
    return _variable_of(ref)._scatter_rows(op_type, indices, updates, name)


def scatter_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Tensor:
    """Sets rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterUpdate", ref, indices, updates, name)


def batch_scatter_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Tensor:
    """Sets slices of a variable when run, through all leading dimensions of `indices` in step.

    Args:
      ref: the variable.
      indices: integers of rank n; each names a slice of axis n - 1 within its place in the axes before.
      updates: `indices.shape + ref.shape[n:]`.
      use_locking: accepted.
      name: a name scope.

    Returns:
      A tensor of the new value.

    Raises:
      ValueError: if the rank of `indices` is unknown.
    """
    with name_scope(name, "BatchScatterUpdate"):
        indices = convert_to_tensor(indices, name="indices")
        rank = indices.shape.rank
        if rank is None:
            raise ValueError(f"batch_scatter_update needs indices of a known rank, got {indices!r}")
        sizes = emit.Shape(indices)
        zeros = emit.ZerosLike(indices)
        vectors = []
        for axis in range(rank - 1):
            place = emit.Range(0, sizes[axis], 1)
            column = emit.Reshape(place, [-1 if other == axis else 1 for other in range(rank)])
            vectors.append(emit.AddV2(emit.Cast(column, DstT=indices.dtype), zeros))
        return scatter_nd_update(ref, emit.Pack([*vectors, indices], axis=-1), updates, use_locking)


def scatter_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Adds to rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterAdd", ref, indices, updates, name)


def scatter_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Subtracts from rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterSub", ref, indices, updates, name)


def scatter_mul(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Multiplies rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterMul", ref, indices, updates, name)


def scatter_div(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Divides rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterDiv", ref, indices, updates, name)


def scatter_min(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Takes the minimum into rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterMin", ref, indices, updates, name)


def scatter_max(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Takes the maximum into rows of a variable when run; returns a tensor of the new value."""
    return _scatter("ResourceScatterMax", ref, indices, updates, name)


def scatter_nd_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Tensor:
    """Sets slices of a variable at index vectors when run; returns a tensor of the new value."""
    return _variable_of(ref).scatter_nd_update(indices, updates, name)


def scatter_nd_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Adds to slices of a variable at index vectors when run; returns a tensor of the new value."""
    return _variable_of(ref).scatter_nd_add(indices, updates, name)


def scatter_nd_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Subtracts from slices of a variable at index vectors when run; returns a tensor of the new value."""
    return _variable_of(ref).scatter_nd_sub(indices, updates, name)


__all__ = [
    "Variable", "VariableAggregation", "VariableSynchronization", "all_variables",
    "assert_variables_initialized", "assign", "assign_add", "assign_sub", "batch_scatter_update", "global_variables",
    "global_variables_initializer", "initialize_all_variables", "initialize_local_variables",
    "initialize_variables", "is_variable_initialized", "local_variables", "local_variables_initializer",
    "model_variables", "moving_average_variables", "report_uninitialized_variables", "scatter_add",
    "scatter_div", "scatter_max", "scatter_min", "scatter_mul", "scatter_nd_add", "scatter_nd_sub",
    "scatter_nd_update", "scatter_sub", "scatter_update", "trainable_variables", "variable_creator_scope",
    "variables_initializer",
]  # fmt: skip
