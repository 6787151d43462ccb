"""`tf.contrib.framework`: argument scopes, variables and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphflow import nest as nest
from graphflow.contrib import deep as _deep
from graphflow.contrib.framework.arg_scope import (
    add_arg_scope,
    arg_scope,
    arg_scope_func_key,
    arg_scoped_arguments,
    current_arg_scope,
    has_arg_scope,
)
from graphflow.contrib.framework.variables import (
    VariableDeviceChooser,
    add_model_variable,
    assign_from_checkpoint,
    assign_from_checkpoint_fn,
    assign_from_values,
    assign_from_values_fn,
    filter_variables,
    get_local_variables,
    get_model_variables,
    get_trainable_variables,
    get_unique_variable,
    get_variables,
    get_variables_by_name,
    get_variables_by_suffix,
    get_variables_to_restore,
    local_variable,
    model_variable,
    variable,
    zero_initializer,
)
from graphflow.graph import IndexedSlices, Tensor
from graphflow.namespace import lazy
from graphflow.ops.control import assert_scalar
from graphflow.ops.sorting import argsort, sort
from graphflow.ops.source import ensure_shape
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.train.checkpoint_utils import init_from_checkpoint
from graphflow.train.checkpoints import list_variables, load_checkpoint, load_variable
from graphflow.train.training_util import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
)
from graphflow.variables import Variable


def is_tensor(x: Any) -> bool:
    """Whether something is a tensor, a sparse one, or a variable."""
    return isinstance(x, Tensor | SparseTensor | IndexedSlices | Variable)


def with_shape(expected_shape: Any, tensor: Any) -> Any:
    """Returns a tensor that is checked in the run to have a shape."""
    return ensure_shape(tensor, expected_shape)


__all__ = [
    "VariableDeviceChooser", "add_arg_scope", "add_model_variable", "arg_scope", "arg_scope_func_key",
    "arg_scoped_arguments", "argsort", "assert_global_step", "assert_scalar", "assign_from_checkpoint",
    "assign_from_checkpoint_fn", "assign_from_values", "assign_from_values_fn", "create_global_step",
    "current_arg_scope", "filter_variables", "get_global_step", "get_local_variables", "get_model_variables",
    "get_or_create_global_step", "get_trainable_variables", "get_unique_variable", "get_variables",
    "get_variables_by_name", "get_variables_by_suffix", "get_variables_to_restore", "has_arg_scope",
    "init_from_checkpoint", "is_tensor", "list_variables", "load_checkpoint", "load_variable", "local_variable",
    "model_variable", "nest", "sort", "variable", "with_shape", "zero_initializer",
]  # fmt: skip

python = _deep(f"{__name__}.python", "framework")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
