"""Variables of `contrib`: made under argument scopes, found by scope and name, filled from checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.graph import GraphKeys, Operation, Tensor, add_to_collection, device, get_collection
from graphflow.logging import warning
from graphflow.ops.control import group
from graphflow.ops.source import placeholder
from graphflow.train.checkpoints import NewCheckpointReader
from graphflow.train.saver import Saver
from graphflow.variable_scope import VariableScope, get_variable, get_variable_scope
from graphflow.variables import Variable


def _listed(items: Any) -> list[Any]:
    return list(items) if isinstance(items, list | tuple | set) else [items]


@add_arg_scope
def variable(
    name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None,
    trainable: bool = True, collections: Any = None, caching_device: Any = None, device: Any = None,
    partitioner: Any = None, custom_getter: Any = None, use_resource: bool | None = None, synchronization: Any = None,
    aggregation: Any = None,
) -> Variable:  # fmt: skip
    """Gets or makes a variable; see `get_variable`.

    Args:
      name, shape, initializer, regularizer, trainable, caching_device, partitioner, use_resource: see `get_variable`.
      dtype: default float32.
      collections: collections that it joins; default that of global variables. Always that, too, but for local ones.
      device: a device, or a function of the operation that gives one.
      custom_getter: called in place of `get_variable`.
      synchronization, aggregation: as in `get_variable`.
    """
    where = list(_listed(collections) if collections is not None else [GraphKeys.GLOBAL_VARIABLES])
    if GraphKeys.GLOBAL_VARIABLES not in where and GraphKeys.LOCAL_VARIABLES not in where:
        where.append(GraphKeys.GLOBAL_VARIABLES)
    where = list(dict.fromkeys(where))
    getter = get_variable if custom_getter is None else custom_getter
    given = {"synchronization": synchronization, "aggregation": aggregation, "use_resource": use_resource,
             "partitioner": partitioner, "caching_device": caching_device}  # fmt: skip
    more = {key: value for key, value in given.items() if value is not None}
    if custom_getter is not None:
        more["reuse"] = get_variable_scope().reuse  # which a getter of one's own does not look up
    with _device(device):
        made: Variable = getter(
            name, shape=shape, dtype=dtype, initializer=initializer, regularizer=regularizer, trainable=trainable,
            collections=where, **more,
        )  # fmt: skip
    return made


def _device(chosen: Any) -> Any:
    return device(
        chosen() if callable(chosen) and isinstance(chosen, VariableDeviceChooser) else chosen or ""
    )


@add_arg_scope
def model_variable(
    name: str, shape: Any = None, dtype: Any = dtypes.float32, initializer: Any = None, regularizer: Any = None,
    trainable: bool = True, collections: Any = None, caching_device: Any = None, device: Any = None,
    partitioner: Any = None, custom_getter: Any = None, use_resource: bool | None = None, synchronization: Any = None,
    aggregation: Any = None,
) -> Variable:  # fmt: skip
    """As `variable`; it also joins the collection of model variables."""
    where = list(_listed(collections)) if collections is not None else []
    where += [GraphKeys.GLOBAL_VARIABLES, GraphKeys.MODEL_VARIABLES]
    made: Variable = variable(
        name, shape=shape, dtype=dtype, initializer=initializer, regularizer=regularizer, trainable=trainable,
        collections=where, caching_device=caching_device, device=device, partitioner=partitioner,
        custom_getter=custom_getter, use_resource=use_resource, synchronization=synchronization,
        aggregation=aggregation,
    )  # fmt: skip
    return made


def local_variable(
    initial_value: Any, validate_shape: bool = True, name: str | None = None, use_resource: bool | None = None
) -> Variable:
    """Makes a variable that is not trained and not saved, in the collection of local ones."""
    return Variable(
        initial_value, trainable=False, collections=[GraphKeys.LOCAL_VARIABLES], validate_shape=validate_shape,
        name=name,
    )  # fmt: skip


def add_model_variable(var: Variable) -> None:
    """Puts a variable into the collection of model variables, once."""
    if not any(each is var for each in get_collection(GraphKeys.MODEL_VARIABLES)):
        add_to_collection(GraphKeys.MODEL_VARIABLES, var)


class VariableDeviceChooser:
    """Gives variables devices in turn.

    Args:
      num_tasks: among how many parameter servers; 0: none.
      job_name: what these are called.
      device_type, device_index: the device of each.
      replica: the replica.
    """

    def __init__(
        self, num_tasks: int = 0, job_name: str = "ps", device_type: str = "CPU", device_index: int = 0,
        replica: Any = None,
    ) -> None:  # fmt: skip
        self._num_tasks = num_tasks
        self._job_name = job_name
        self._place = f"/device:{device_type}:{device_index}"
        self._next = 0

    def __call__(self, op: Any = None) -> str:
        """Returns the next device."""
        if not self._num_tasks:
            return self._place
        task, self._next = self._next, (self._next + 1) % self._num_tasks
        return f"/job:{self._job_name}/task:{task}{self._place}"


# -- finding them --------------------------------------------------------------------------------------------


def get_variables(
    scope: Any = None, suffix: str | None = None, collection: str = GraphKeys.GLOBAL_VARIABLES
) -> list[Any]:
    """Returns the variables of a collection whose names begin with a scope and end with a suffix.

    Args:
      scope: a scope or its name, a regular expression; None: all.
      suffix: what the name ends with.
      collection: the collection.
    """
    name = scope.name if isinstance(scope, VariableScope) else scope
    if suffix is not None:
        suffix = f"{suffix}:0" if ":" not in suffix else suffix
        return get_collection(collection, f"{name or ''}.*{suffix}")
    return get_collection(collection, name)


def get_trainable_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """As `get_variables`, of those that are trained."""
    return get_variables(scope, suffix, GraphKeys.TRAINABLE_VARIABLES)


def get_model_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """As `get_variables`, of those that layers made."""
    return get_variables(scope, suffix, GraphKeys.MODEL_VARIABLES)


def get_local_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """As `get_variables`, of local ones."""
    return get_variables(scope, suffix, GraphKeys.LOCAL_VARIABLES)


def get_variables_by_name(given_name: str, scope: Any = None) -> list[Any]:
    """Returns the variables whose last name is this."""
    suffix = f"/{given_name}:|^{given_name}:"
    return [var for var in get_variables(scope) if re.search(suffix, var.name)]


def get_variables_by_suffix(suffix: str, scope: Any = None) -> list[Any]:
    """Returns the variables whose names end with a suffix."""
    return get_variables(scope=scope, suffix=suffix)


def get_unique_variable(var_op_name: str) -> Any:
    """Returns the one variable of a name.

    Raises:
      ValueError: if there is none, or several.
    """
    found = [var for var in get_variables(scope=var_op_name) if var.op.name == var_op_name]
    if not found:
        raise ValueError(f"Couldn't find variable {var_op_name}")
    return found[0]


def get_variables_to_restore(
    include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> list[Any]:
    """Returns the variables of some scopes, without those of others.

    Args:
      include: beginnings of names; None: all variables.
      exclude: likewise, what to leave out.

    Raises:
      TypeError: if either is no list.
    """
    for given, what in ((include, "include"), (exclude, "exclude")):
        if given is not None and not isinstance(given, list | tuple):
            raise TypeError(f"{what} is provided but is not a list or a tuple.")
    chosen = get_variables() if include is None else [v for scope in include for v in get_variables(scope)]
    left_out = {id(v) for scope in exclude or () for v in get_variables(scope)}
    return [var for var in dict.fromkeys(chosen) if id(var) not in left_out]


def filter_variables(
    var_list: Sequence[Any], include_patterns: Sequence[str] | None = None,
    exclude_patterns: Sequence[str] | None = None, reg_search: bool = True,
) -> list[Any]:  # fmt: skip
    """Returns the variables whose names match some pattern to include and none to exclude."""
    match = re.search if reg_search else re.match

    def fits(var: Any, patterns: Sequence[str]) -> bool:
        return any(match(pattern, var.op.name) for pattern in patterns)

    found = [v for v in var_list if include_patterns is None or fits(v, include_patterns)]
    return [v for v in found if not fits(v, exclude_patterns or ())]


# -- filling them --------------------------------------------------------------------------------------------


def assign_from_values(var_names_to_values: Mapping[str, Any]) -> tuple[Operation, dict[Tensor, Any]]:
    """Returns an operation that fills variables with values, and what to feed it."""
    feeds: dict[Tensor, Any] = {}
    assigns = []
    for name, value in var_names_to_values.items():
        var = get_unique_variable(name)
        array = np.asarray(value)
        holder = placeholder(
            var.dtype.base_dtype, shape=array.shape, name=f"{var.op.name.split('/')[-1]}_value"
        )
        assigns.append(var.assign(holder))
        feeds[holder] = array
    return group(*assigns), feeds


def assign_from_values_fn(var_names_to_values: Mapping[str, Any]) -> Callable[[Any], None]:
    """Returns a function of a session that fills variables with values."""
    operation, feeds = assign_from_values(var_names_to_values)

    def callback(session: Any) -> None:
        session.run(operation, feeds)

    return callback


def _by_key(var_list: Any) -> dict[str, list[Any]]:
    if isinstance(var_list, Mapping):
        return {key: list(_listed(var)) for key, var in var_list.items()}
    grouped: dict[str, list[Any]] = {}
    for var in var_list:
        info = getattr(var, "_get_save_slice_info", lambda: None)()
        grouped.setdefault(info.full_name if info is not None else var.op.name, []).append(var)
    return grouped


def assign_from_checkpoint(
    model_path: str, var_list: Any, ignore_missing_vars: bool = False
) -> tuple[Operation, dict[Tensor, Any]]:
    """Returns an operation that fills variables from a checkpoint, and what to feed it.

    Args:
      model_path: the checkpoint.
      var_list: variables, or a dict of them by their names in the checkpoint.
      ignore_missing_vars: whether those that the checkpoint lacks stay as they are.

    Raises:
      ValueError: if the checkpoint lacks one, or has it in another size.
    """
    reader = NewCheckpointReader(model_path)
    feeds: dict[Tensor, Any] = {}
    assigns = []
    for key, found in _by_key(var_list).items():
        if not reader.has_tensor(key):
            text = f"Checkpoint is missing variable [{key}]"
            if not ignore_missing_vars:
                raise ValueError(text)
            warning(text)
            continue
        value = reader.get_tensor(key)
        for var in found:
            info = getattr(var, "_get_save_slice_info", lambda: None)()
            part = value
            if info is not None:
                part = value[tuple(map(slice, info.var_offset, np.add(info.var_offset, info.var_shape)))]
            if var.shape.num_elements() != part.size:
                raise ValueError(
                    f"Total size of new array must be unchanged for {var.op.name} lh_shape: [{part.shape}], "
                    f"rh_shape: [{var.shape.as_list()}]"
                )
            holder = placeholder(
                var.dtype.base_dtype, shape=var.shape, name=f"{var.op.name.split('/')[-1]}_value"
            )
            assigns.append(var.assign(holder))
            feeds[holder] = part.reshape(var.shape.as_list())
    return group(*assigns), feeds


def assign_from_checkpoint_fn(
    model_path: str, var_list: Any, ignore_missing_vars: bool = False, reshape_variables: bool = False
) -> Callable[[Any], None] | None:
    """Returns a function of a session that fills variables from a checkpoint; None if there are none to fill.

    Args:
      model_path: the checkpoint.
      var_list: variables, or a dict of them by their names in the checkpoint.
      ignore_missing_vars: whether those that the checkpoint lacks are left out.
      reshape_variables: whether what has another shape there is brought into the variable's.

    Raises:
      ValueError: if there is nothing to fill.
    """
    if not var_list:
        raise ValueError("var_list cannot be empty")
    chosen = dict(var_list) if isinstance(var_list, Mapping) else {var.op.name: var for var in var_list}
    if ignore_missing_vars:
        reader = NewCheckpointReader(model_path)
        for key in [key for key in chosen if not reader.has_tensor(key)]:
            warning("Variable %s missing in checkpoint %s", key, model_path)
            del chosen[key]
    if not chosen:
        warning("No Variables to restore")
        return None
    saver = Saver(chosen, reshape=reshape_variables)

    def callback(session: Any) -> None:
        saver.restore(session, model_path)

    return callback


def zero_initializer(ref: Any, use_locking: bool = True, name: str = "zero_initializer") -> Any:
    """Returns the operation that fills a variable with zeros."""
    return ref.assign(np.zeros(ref.shape.as_list(), ref.dtype.as_numpy_dtype), name=name)


__all__ = [
    "VariableDeviceChooser", "add_model_variable", "assign_from_checkpoint", "assign_from_checkpoint_fn",
    "assign_from_values", "assign_from_values_fn", "filter_variables", "get_local_variables", "get_model_variables",
    "get_trainable_variables", "get_unique_variable", "get_variables", "get_variables_by_name",
    "get_variables_by_suffix", "get_variables_to_restore", "local_variable", "model_variable", "variable",
    "zero_initializer",
]  # fmt: skip
