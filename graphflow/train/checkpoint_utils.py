"""Variables whose initial values come from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow import logging
from graphflow.graph import GraphKeys, control_dependencies, get_default_graph
from graphflow.opdef import constant, emit
from graphflow.shapes import TensorShape
from graphflow.train.checkpoints import CheckpointReader, NewCheckpointReader, latest_checkpoint
from graphflow.variable_scope import get_variable_scope
from graphflow.variables import Variable


def init_from_checkpoint(ckpt_dir_or_file: Any, assignment_map: Any) -> None:
    """Makes the initializers of variables read a checkpoint instead.

    Call it after the variables are made and before `global_variables_initializer` is.

    Args:
      ckpt_dir_or_file: a checkpoint, or a folder whose newest one is meant.
      assignment_map: from names in the checkpoint to variables or names of variables; from
        scopes in the checkpoint (ending with "/", or "/" for all of it) to scopes here. Or a list of such pairs.

    Raises:
      ValueError: for a name that is missing on either side, or a shape that differs.
    """
    path = str(ckpt_dir_or_file)
    path = latest_checkpoint(path) or path
    reader = NewCheckpointReader(path)
    stored = reader.get_variable_to_shape_map()
    graph = get_default_graph()
    known = {variable.op.name: variable for variable in graph.get_collection(GraphKeys.GLOBAL_VARIABLES)}
    pairs = assignment_map.items() if isinstance(assignment_map, Mapping) else assignment_map
    for name, here in sorted(pairs, key=lambda pair: str(pair[0])):
        if isinstance(here, list | tuple) and len(here) == 1:
            here = here[0]  # the only part of a partitioned variable
        if isinstance(here, Variable):
            _assign(reader, path, stored, name, here)
            continue
        scope = str(here).rstrip("/") if str(here) != "/" else ""
        current = get_variable_scope().name
        if current and not scope.startswith(current):
            scope = f"{current}/{scope}" if scope else current
        if not name.endswith("/"):
            if scope not in known:
                raise ValueError(_missing(f"variable {scope!r} in this graph", scope, known))
            _assign(reader, path, stored, name, known[scope])
            continue
        prefix = "" if name == "/" else name
        found = {
            full: variable
            for full, variable in known.items()
            if not scope or full == scope or full.startswith(f"{scope}/")
        }
        if not found:
            raise ValueError(_missing(f"variable in scope {scope!r}", scope, known))
        for full, variable in sorted(found.items()):
            rest = full[len(scope) :].lstrip("/") if scope else full
            _assign(reader, path, stored, f"{prefix}{rest}" if rest else prefix.rstrip("/"), variable)


def _missing(what: str, name: str, there: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(there), 3, 0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"There is no {what}{hint}"


def _assign(
    reader: CheckpointReader, path: str, stored: Mapping[str, Any], name: str, variable: Variable
) -> None:
    """Lets the initializer of a variable read a tensor of the checkpoint."""
    if name not in stored:
        raise ValueError(_missing(f"tensor {name!r} in the checkpoint {path!r}", name, stored))
    shape, dtype = TensorShape(stored[name]), reader.get_variable_to_dtype_map()[name]
    if not variable.shape.is_compatible_with(shape):
        raise ValueError(
            f"Shape of variable {variable.name} ({variable.shape}) doesn't match with shape of tensor {name} ({shape}) "
            f"from checkpoint reader."
        )
    if variable.dtype is not dtype:
        raise ValueError(
            f"{variable.name} is {variable.dtype.name}, the tensor {name!r} of the checkpoint is {dtype.name}"
        )
    scope = f"checkpoint_initializer_{variable.op.name.replace('/', '_')}"
    with variable.graph.as_default(), control_dependencies(None):
        (value,) = emit.RestoreV2(
            constant(path), constant([name]), constant([""]), dtypes=[variable.dtype], name=scope
        )
        value.set_shape(variable.shape)
        variable.initialize_with(value)
    logging.debug("Initialize variable %s from checkpoint %s with %s", variable.name, path, name)
