"""Variable scopes: names, sharing and defaults of the variables that `get_variable` makes."""

from __future__ import annotations

import contextlib
import difflib
import enum
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphflow.dtypes import as_dtype, float32
from graphflow.graph import (
    Frame,
    Graph,
    GraphKeys,
    Operation,
    colocate_with,
    control_dependencies,
    get_default_graph,
    graph_of,
    name_scope,
    user_frames,
)
from graphflow.initializers import glorot_uniform_initializer, zeros_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.partitioned_variables import PartitionedVariable, checked_partitions, pieces_of
from graphflow.shapes import TensorShape
from graphflow.variables import SaveSliceInfo, Variable, VariableAggregation, VariableSynchronization


class _ReuseMode(enum.Enum):
    """What `reuse` may be besides True and None."""

    AUTO_REUSE = 1


AUTO_REUSE = _ReuseMode.AUTO_REUSE


def no_regularizer(_: Any) -> None:
    """A regularizer that regularizes nothing: overrules the one of the scope."""
    return None


def _needs_no_arguments(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _line_of(operation: Operation) -> str:
    if not operation.traceback:
        return "an unknown line"
    file, line, function = operation.traceback[-1]
    return f"{file}:{line}, in {function}"


def _printed(frames: Sequence[Frame]) -> str:
    return "".join(f'  File "{file}", line {line}, in {function}\n' for file, line, function in frames)


class _VariableStore:
    """The variables that `get_variable` made in one graph, by full name."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.partitioned: dict[str, PartitionedVariable] = {}

    def get(self, name: str, custom_getter: Any, **arguments: Any) -> Any:
        """Makes or finds a variable, through `custom_getter` if there is one."""
        if custom_getter is None:
            return self.get_or_create(name, **arguments)
        if not callable(custom_getter):
            raise ValueError(f"Passed a custom_getter which is not callable: {custom_getter}")
        # Getters written for older versions do not know the later arguments.
        for late in ("constraint", "synchronization", "aggregation"):
            if not _takes(custom_getter, late):
                del arguments[late]
        return custom_getter(getter=self.get_or_create, name=name, **arguments)

    def get_or_create(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = float32,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        constraint: Any = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
        partition_info: Any = None,
    ) -> Any:
        """Returns the variable of that full name, made if need be; see `get_variable`."""
        is_scalar = shape is not None and TensorShape(shape).rank == 0
        if (partitioner is not None and not is_scalar) or (reuse is True and name in self.partitioned):
            return self._partitioned(
                name.removesuffix("/"), shape, as_dtype(dtype), initializer, reuse, partitioner,
                dict(
                    regularizer=regularizer, trainable=trainable, collections=collections,
                    caching_device=caching_device, validate_shape=validate_shape, use_resource=use_resource,
                    constraint=constraint, synchronization=synchronization, aggregation=aggregation,
                ),
            )  # fmt: skip
        if f"{name}/part_0" in self.variables:
            raise ValueError(
                f"No partitioner was provided, but a partitioned version of the variable was found: {name}/part_0. "
                f"Perhaps a variable of the same name was already created with partitioning?"
            )
        from_value = initializer is not None and not callable(initializer)
        if shape is not None and from_value:
            raise ValueError("If initializer is a constant, do not specify shape.")
        dtype = as_dtype(dtype)
        wanted = None if shape is None else TensorShape(shape)
        found = self.variables.get(name)
        if found is not None:
            if reuse is False:
                raise ValueError(_exists_already(name, found))
            if wanted is not None and not wanted.is_compatible_with(found.shape):
                raise ValueError(
                    f"Trying to share variable {name}, but specified shape {wanted} and found shape {found.shape}."
                    f" It was made at {_line_of(found.op)}."
                )
            if dtype is not found.dtype:
                raise ValueError(
                    f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype"
                    f" {found.dtype.name}. It was made at {_line_of(found.op)}."
                )
            return found
        if reuse is True:
            raise ValueError(_does_not_exist(name, self.variables))
        if initializer is None:
            if wanted is None:
                raise ValueError(
                    f"Variable {name} did not get an initializer, so its `shape` argument must be specified."
                )
            initializer = _default_initializer(name, dtype)
        variable_dtype: Any = None
        initial: Any = initializer
        if not from_value:
            if inspect.isclass(initializer):
                initializer = initializer()
            if wanted is not None and wanted.is_fully_defined():
                initial = functools.partial(initializer, wanted.as_list(), dtype=dtype)
                if partition_info is not None and _takes(initializer, "partition_info"):
                    initial = functools.partial(initial, partition_info=partition_info)
                variable_dtype = dtype
            elif _needs_no_arguments(initializer):
                initial = initializer
            else:
                raise ValueError(
                    "The initializer passed is not valid. It should be a callable with no arguments and the shape"
                    " should not be provided or an instance of `gf.keras.initializers.*' and `shape` should be fully"
                    f" defined; variable {name} has shape {wanted}."
                )
        variable = Variable(
            initial,
            name=name,
            trainable=trainable,
            collections=collections,
            caching_device=caching_device,
            dtype=variable_dtype,
            validate_shape=validate_shape,
            constraint=constraint,
            use_resource=use_resource,
            synchronization=synchronization,
            aggregation=aggregation,
            shape=wanted,
        )
        self.variables[name] = variable
        if regularizer is not None:
            with control_dependencies(None), colocate_with(variable.op), name_scope(name + "/Regularizer/"):
                loss = regularizer(variable)
            if loss is not None:
                variable.graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
        return variable

    def _partitioned(
        self, name: str, shape: Any, dtype: Any, initializer: Any, reuse: Any, partitioner: Any,
        rest: dict[str, Any],
    ) -> PartitionedVariable:  # fmt: skip
        """Returns a variable in parts, made if need be."""
        if partitioner is not None and not callable(partitioner):
            raise ValueError(f"Partitioner must be callable, but received: {partitioner}")
        from_value = initializer is not None and not callable(initializer)
        if from_value:
            if shape is not None:
                raise ValueError("If initializer is a constant, do not specify shape.")
            initializer = convert_to_tensor(initializer, dtype=dtype)
            shape = initializer.shape
        whole = TensorShape(shape)
        if name in self.variables:
            raise ValueError(
                f"A partitioner was provided, but an unpartitioned version of the variable was found: {name}. "
                f"Perhaps a variable of the same name was already created without partitioning?"
            )
        found = self.partitioned.get(name)
        if found is not None:
            if reuse is False or reuse is None:
                raise ValueError(
                    f"Partitioned variable with name {name} already exists. Did you mean to set reuse=True or "
                    f"reuse=tf.AUTO_REUSE in VarScope? Its first part was made at {_line_of(next(iter(found)).op)}."
                )
            if not whole.is_compatible_with(found.shape):
                raise ValueError(
                    f"Trying to reuse partitioned variable {name}, but specified shape {whole} and found shape "
                    f"{found.shape}."
                )
            if dtype is not found.dtype:
                raise ValueError(
                    f"Trying to reuse partitioned variable {name}, but specified dtype {dtype.name} and found dtype "
                    f"{found.dtype.name}."
                )
            if partitioner is not None:
                wanted = checked_partitions(partitioner, found.shape, dtype)
                if wanted != found._get_partitions():
                    raise ValueError(
                        f"Trying to reuse partitioned variable {name}, but specified partitions {wanted} and found "
                        f"partitions {found._get_partitions()}."
                    )
            return found
        if reuse is True:
            raise ValueError(
                f"PartitionedVariable {name} does not exist, or was not created with tf.get_variable(). Did you "
                f"mean to set reuse=False or reuse=tf.AUTO_REUSE in VarScope?"
            )
        if not whole.is_fully_defined():
            raise ValueError(
                f"Shape of a new partitioned variable must be fully defined, but instead was {whole} ({name})."
            )
        partitions = checked_partitions(partitioner, whole, dtype)
        sizes = [axis for axis in whole.as_list() if axis is not None]
        parts = []
        for i, (offset, size) in enumerate(pieces_of(sizes, partitions)):
            own = f"{name}/part_{i}"
            value = initializer
            if from_value:
                with name_scope(f"{own}/PartitionedInitializer/"):
                    value = emit.Slice(initializer, offset, size)
            part = self.get_or_create(
                own, None if from_value else size, dtype, value, reuse=reuse,
                partition_info=_PartitionInfo(sizes, offset), **rest,
            )  # fmt: skip
            part._set_save_slice_info(SaveSliceInfo(name, sizes, offset, size))
            parts.append(part)
        made = PartitionedVariable(name, whole, dtype, parts, partitions)
        self.partitioned[name] = made
        return made


class _PartitionInfo:
    """What an initializer is told of the part that it makes: the whole shape, and where the part begins."""

    def __init__(self, full_shape: list[int], var_offset: list[int]) -> None:
        self.full_shape = full_shape
        self.var_offset = var_offset


def _takes(function: Callable[..., Any], argument: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _exists_already(name: str, found: Variable) -> str:
    count = len(found.graph.get_operations())
    return (
        f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or reuse=tf.AUTO_REUSE in"
        f" VarScope? Originally defined at:\n\n{_printed(found.op.traceback[-5:])}\n"
        f"and asked for again at:\n\n{_frames_here()}\n"
        f"The graph holds {count} operations; an earlier cell or call of the same code may have filled it. Three"
        " ways out: call reset_default_graph() before building anew; share the variable with"
        " variable_scope(..., reuse=AUTO_REUSE); or build in a fresh graph, with Graph().as_default()."
    )


def _frames_here() -> str:
    return _printed(list(reversed(user_frames()[:5])))


def _does_not_exist(name: str, variables: dict[str, Variable]) -> str:
    near = difflib.get_close_matches(name, variables, n=3, cutoff=0.6)
    hint = f" Nearest names: {', '.join(near)}." if near else ""
    return (
        f"Variable {name} does not exist, or was not created with tf.get_variable(). Did you mean to set"
        f" reuse=tf.AUTO_REUSE in VarScope?{hint}"
    )


def _default_initializer(name: str, dtype: Any) -> Any:
    if dtype.is_floating:
        return glorot_uniform_initializer()
    if dtype.is_integer or dtype.is_bool or dtype.name == "string":
        return zeros_initializer()
    raise ValueError(f"An initializer for variable {name} of {dtype} is required")


class VariableScope:
    """The defaults that `get_variable` takes from the scope it is called in.

    Attributes:
      name: the prefix of the variables' names.
      original_name_scope: the name scope that was opened with it, with a trailing "/".
      reuse: True, AUTO_REUSE, or None/False.
      initializer: the default initializer.
      regularizer: the default regularizer.
      caching_device: accepted.
      partitioner: the default partitioner, which says into how many parts variables are cut.
      custom_getter: a callable in whose hands `get_variable` is put.
      dtype: the default dtype.
      use_resource: accepted.
      constraint: the default constraint.
    """

    def __init__(
        self,
        reuse: Any,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = float32,
        use_resource: bool | None = None,
        constraint: Any = None,
    ) -> None:
        self.name = name
        self.initializer = initializer
        self.regularizer = regularizer
        self.reuse = reuse
        self.caching_device = caching_device
        self.partitioner = partitioner
        self.custom_getter = custom_getter
        self.original_name_scope = name_scope
        self.dtype = dtype
        self.use_resource = use_resource
        self.constraint = constraint

    def reuse_variables(self) -> None:
        """From here on variables of this scope are shared, not made."""
        self.reuse = True

    def set_initializer(self, initializer: Any) -> None:
        """Sets the default initializer."""
        self.initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        """Sets the default regularizer."""
        self.regularizer = regularizer

    def set_dtype(self, dtype: Any) -> None:
        """Sets the default dtype."""
        self.dtype = dtype

    def set_use_resource(self, use_resource: bool | None) -> None:
        """Accepted: every variable is a resource variable."""
        self.use_resource = use_resource

    def set_caching_device(self, caching_device: Any) -> None:
        """Accepted."""
        self.caching_device = caching_device

    def set_partitioner(self, partitioner: Any) -> None:
        """Sets the default partitioner."""
        self.partitioner = partitioner

    def set_custom_getter(self, custom_getter: Any) -> None:
        """Sets the custom getter."""
        self.custom_getter = custom_getter

    def get_collection(self, name: str) -> list[Any]:
        """Returns the items of a collection whose names are in this scope."""
        return get_default_graph().get_collection(name, self.name + "/" if self.name else "")

    def trainable_variables(self) -> list[Variable]:
        """Returns the trainable variables of this scope."""
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Variable]:
        """Returns the global variables of this scope."""
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Variable]:
        """Returns the local variables of this scope."""
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def get_variable(
        self,
        var_store: _VariableStore,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        custom_getter: Any = None,
        constraint: Any = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
    ) -> Any:
        """Returns a variable of this scope, made if need be; see the function `get_variable`."""
        with name_scope(None):
            if dtype is not None and initializer is not None and not callable(initializer):
                found = convert_to_tensor(initializer).dtype
                if found is not as_dtype(dtype):
                    raise ValueError(
                        f"Initializer type '{found}' and explicit dtype '{as_dtype(dtype)}' don't match."
                    )
            return var_store.get(
                f"{self.name}/{name}" if self.name else name,
                custom_getter=self.custom_getter if custom_getter is None else custom_getter,
                shape=shape,
                dtype=self.dtype if dtype is None else dtype,
                initializer=self.initializer if initializer is None else initializer,
                regularizer=self.regularizer if regularizer is None else regularizer,
                reuse=self.reuse if reuse is None else reuse,
                trainable=trainable,
                collections=collections,
                caching_device=self.caching_device if caching_device is None else caching_device,
                partitioner=self.partitioner if partitioner is None else partitioner,
                validate_shape=validate_shape,
                use_resource=self.use_resource if use_resource is None else use_resource,
                constraint=self.constraint if constraint is None else constraint,
                synchronization=synchronization,
                aggregation=aggregation,
            )


class _ScopeState(threading.local):
    """The scope in force in one thread of one graph, and how often each name was opened there."""

    def __init__(self) -> None:
        self.scope = VariableScope(False)
        self.counts: dict[str, int] = {}

    def forget_inside(self, name: str) -> None:
        prefix = f"{name}/"
        for key in self.counts:
            if key.startswith(prefix):
                self.counts[key] = 0


_STORE_KEY = "variable_store"
_SCOPE_KEY = "variable_scope"


def _state(graph: Graph | None = None) -> _ScopeState:
    registries = (graph or get_default_graph()).registries
    state = registries.get(_SCOPE_KEY)
    if state is None:
        state = registries.setdefault(_SCOPE_KEY, _ScopeState())
    assert isinstance(state, _ScopeState)
    return state


def _store(graph: Graph | None = None) -> _VariableStore:
    registries = (graph or get_default_graph()).registries
    store = registries.get(_STORE_KEY)
    if store is None:
        store = registries.setdefault(_STORE_KEY, _VariableStore())
    assert isinstance(store, _VariableStore)
    return store


def get_variable_scope() -> VariableScope:
    """Returns the variable scope in force."""
    return _state().scope


@contextlib.contextmanager
def _pure_scope(
    name_or_scope: str | VariableScope, old_name_scope: str | None, given: dict[str, Any]
) -> Iterator[Any]:
    """Sets the variable scope without a name scope; `given` holds the arguments of `variable_scope`."""
    state = _state()
    outer = state.scope
    if isinstance(name_or_scope, VariableScope):
        base = name_or_scope
        name = base.name
        reuse = given["reuse"] or base.reuse
        name_scope_name = base.original_name_scope if old_name_scope is None else old_name_scope
    else:
        base = outer
        name = f"{outer.name}/{name_or_scope}" if outer.name else name_or_scope
        # Inside a reusing scope everything is reused.
        reuse = given["reuse"] or outer.reuse
        name_scope_name = name_or_scope if old_name_scope is None else old_name_scope
    scope = VariableScope(
        reuse,
        name=name,
        initializer=base.initializer,
        regularizer=base.regularizer,
        caching_device=base.caching_device,
        partitioner=base.partitioner,
        custom_getter=base.custom_getter,
        name_scope=name_scope_name,
        dtype=base.dtype,
        use_resource=base.use_resource,
        constraint=given["constraint"],
    )
    for key in ("initializer", "regularizer", "caching_device", "partitioner", "dtype", "use_resource"):
        if given[key] is not None:
            setattr(scope, key, given[key])
    if given["custom_getter"] is not None:
        scope.custom_getter = _nested_getter(given["custom_getter"], base.custom_getter)
    state.counts[name] = state.counts.get(name, 0) + 1
    counts = dict(state.counts)
    state.scope = scope
    try:
        yield scope
    finally:
        if state.scope is not scope:
            raise RuntimeError("Improper nesting of variable_scope.")
        if isinstance(name_or_scope, VariableScope):
            # Entered again: the default names taken inside are as they were.
            state.counts = counts
        else:
            state.forget_inside(name)
        state.scope = outer


def _nested_getter(inner: Any, outer: Any) -> Any:
    if outer is None:
        return inner

    def getter(getter: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(functools.partial(outer, getter), *args, **kwargs)

    return getter


class variable_scope:  # noqa: N801 - TF1's name
    """Opens a variable scope and, with it, a name scope.

    Args:
      name_or_scope: the name of a scope inside the present one, or a captured `VariableScope` to enter again.
      default_name: the name to use, made unique, where `name_or_scope` is None.
      values: tensors whose graph is to be used.
      initializer: the default initializer inside.
      regularizer: the default regularizer inside.
      caching_device: accepted.
      partitioner: the default partitioner inside.
      custom_getter: a callable `(getter, name, *args, **kwargs)` that makes variables.
      reuse: True: variables must exist; AUTO_REUSE: they are made if need be; None: as outside.
      dtype: the default dtype inside.
      use_resource: accepted.
      constraint: the default constraint inside.
      auxiliary_name_scope: False opens no name scope.

    Raises:
      TypeError: if neither name nor default is given, or the types are wrong.
      ValueError: for another `reuse`.
    """

    def __init__(
        self,
        name_or_scope: str | VariableScope | None,
        default_name: str | None = None,
        values: Sequence[Any] | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Any = None,
        dtype: Any = None,
        use_resource: bool | None = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if default_name is None and name_or_scope is None:
            raise TypeError("If default_name is None then name_or_scope is required")
        if name_or_scope is not None and not isinstance(name_or_scope, (VariableScope, str)):
            raise TypeError("VariableScope: name_or_scope must be a string or VariableScope.")
        if reuse not in (None, True, False, AUTO_REUSE):
            raise ValueError("The reuse parameter must be True or False or None.")
        if not isinstance(auxiliary_name_scope, bool):
            raise TypeError(
                f"The auxiliary_name_scope must be `True` or `False`, got {auxiliary_name_scope!r}"
            )
        self._name_or_scope = name_or_scope
        self._default_name = default_name
        self._values = list(values) if values is not None else []
        self._auxiliary_name_scope = auxiliary_name_scope
        self._given = {
            "initializer": initializer, "regularizer": regularizer, "caching_device": caching_device,
            "partitioner": partitioner, "custom_getter": custom_getter, "reuse": reuse or None, "dtype": dtype,
            "use_resource": use_resource, "constraint": constraint,
        }  # fmt: skip
        self._stacks: list[contextlib.ExitStack] = []

    def __enter__(self) -> VariableScope:
        with contextlib.ExitStack() as stack:
            graph = graph_of(self._values) if self._values else get_default_graph()
            stack.enter_context(graph.as_default())
            scope = stack.enter_context(self._open(stack, graph))
            self._stacks.append(stack.pop_all())
        assert isinstance(scope, VariableScope)
        return scope

    def _open(self, stack: contextlib.ExitStack, graph: Graph) -> contextlib.AbstractContextManager[Any]:
        target = self._name_or_scope
        if target is None:
            if self._given["reuse"]:
                raise ValueError("reuse=True cannot be used without a name_or_scope")
            assert self._default_name is not None
            current = self._enter_name_scope(stack, graph, self._default_name)
            return _pure_scope(_unique_scope_name(self._default_name), current, self._given)
        own = target if isinstance(target, str) else target.name.rpartition("/")[2]
        if not own and self._auxiliary_name_scope:
            return _pure_scope(target, None, self._given)  # the root scope has no name to open
        current = self._enter_name_scope(stack, graph, own)
        return _pure_scope(target, current if isinstance(target, str) else None, self._given)

    def _enter_name_scope(self, stack: contextlib.ExitStack, graph: Graph, name: str) -> str:
        if not self._auxiliary_name_scope:
            here = graph.get_name_scope()
            name = here + "/" if here else ""
        return stack.enter_context(graph.name_scope(name))

    def __exit__(self, *error: Any) -> bool | None:
        return self._stacks.pop().__exit__(*error)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a function that is to run inside the scope."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


def _unique_scope_name(prefix: str) -> str:
    state = _state()
    name = f"{state.scope.name}/{prefix}" if state.scope.name else prefix
    if not state.counts.get(name):
        return prefix
    index = 1
    while state.counts.get(f"{name}_{index}"):
        index += 1
    return f"{prefix}_{index}"


def variable_op_scope(
    values: Sequence[Any], name_or_scope: Any, default_name: str | None = None, **arguments: Any
) -> variable_scope:
    """The old form of `variable_scope`, with `values` first."""
    return variable_scope(name_or_scope, default_name=default_name, values=values, **arguments)


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Any = None,
    constraint: Any = None,
    synchronization: VariableSynchronization = VariableSynchronization.AUTO,
    aggregation: VariableAggregation = VariableAggregation.NONE,
) -> Any:
    """Returns the variable of that name in the variable scope in force, made if need be.

    Args:
      name: the name inside the scope.
      shape: its shape; may be left out where `initializer` is a value.
      dtype: its dtype; default that of the scope, float32.
      initializer: a callable `(shape, dtype=...)`, a class of such, or a value; default that of the scope, and
        Glorot's uniform one where there is none (zeros for integers and bools).
      regularizer: a function of the variable whose result joins `GraphKeys.REGULARIZATION_LOSSES`.
      trainable: whether optimizers update it by default.
      collections: the collections to join; default `[GraphKeys.GLOBAL_VARIABLES]`.
      caching_device: accepted.
      partitioner: a callable of `shape` and `dtype` that says into how many parts each axis is cut, at most one
        axis into more than one: a `PartitionedVariable` is returned. Default that of the scope.
      validate_shape: False admits an initial value of unknown shape.
      use_resource: accepted.
      custom_getter: a callable `(getter, name, *args, **kwargs)` that makes the variable.
      constraint: a function applied to the value after each optimizer step.
      synchronization: accepted.
      aggregation: accepted.

    Raises:
      ValueError: if the variable exists and the scope does not reuse, does not exist and the scope only reuses,
        or exists with another shape or dtype.
    """
    return get_variable_scope().get_variable(
        _store(),
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        custom_getter=custom_getter,
        constraint=constraint,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def get_local_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = False,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Any = None,
    constraint: Any = None,
    synchronization: VariableSynchronization = VariableSynchronization.AUTO,
    aggregation: VariableAggregation = VariableAggregation.NONE,
) -> Any:
    """As `get_variable`, but the variable joins `GraphKeys.LOCAL_VARIABLES` and is not trainable."""
    return get_variable(
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=False,
        collections=[*(collections or ()), GraphKeys.LOCAL_VARIABLES],
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        custom_getter=custom_getter,
        constraint=constraint,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def create_partitioned_variables(
    shape: Any, slicing: Sequence[int], initializer: Any, dtype: Any = float32, trainable: bool = True,
    collections: Any = None, name: str | None = None, reuse: Any = None,
) -> list[Variable]:  # fmt: skip
    """Makes a variable in parts.

    Args:
      shape: the shape of the whole.
      slicing: into how many parts each axis is cut, at most one into more than one.
      initializer: as for `get_variable`.
      dtype: the dtype.
      trainable: whether optimizers update it by default.
      collections: the collections to join.
      name: the variable scope of the parts; default "PartitionedVariable", made unique.
      reuse: whether the variable exists already.

    Returns:
      the parts.
    """
    if len(TensorShape(shape).as_list()) != len(slicing):
        raise ValueError(f"The shape {shape} and the slicing {slicing} differ in their numbers of axes")
    with variable_scope(name, "PartitionedVariable", reuse=reuse):
        found = get_variable(
            "", shape, dtype, initializer, trainable=trainable, collections=collections,
            partitioner=lambda **unused: list(slicing),
        )  # fmt: skip
        return list(found)


__all__ = [
    "AUTO_REUSE", "VariableScope", "create_partitioned_variables", "get_local_variable", "get_variable",
    "get_variable_scope", "no_regularizer", "variable_op_scope", "variable_scope",
]  # fmt: skip
