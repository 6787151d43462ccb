"""The global step: the variable that counts training steps."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow.graph import Graph, GraphKeys, Tensor, get_default_graph
from graphflow.initializers import zeros_initializer
from graphflow.variable_scope import get_variable, variable_scope
from graphflow.variables import Variable


def get_global_step(graph: Graph | None = None) -> Any:
    """Returns the graph's global step, or None if it has none.

    Raises:
      TypeError: if what stands there is no integer scalar.
    """
    graph = graph or get_default_graph()
    steps = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(steps) == 1:
        step = steps[0]
    elif not steps:
        try:
            step = graph.get_tensor_by_name("global_step:0")
        except KeyError:
            return None
        if step.dtype is dtypes.resource:
            step = next(
                (v for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES) if v.handle is step), None
            )
            if step is None:
                return None
    else:
        raise TypeError(f"The graph has {len(steps)} global steps: {[step.name for step in steps]}")
    assert_global_step(step)
    return step


def create_global_step(graph: Graph | None = None) -> Variable:
    """Makes the graph's global step, an int64 scalar.

    Raises:
      ValueError: if there is one already.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    with graph.as_default(), graph.name_scope(None), variable_scope("", auxiliary_name_scope=False):
        step = get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=dtypes.int64,
            initializer=zeros_initializer(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )
    assert isinstance(step, Variable)
    return step


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    """Returns the graph's global step, made if need be."""
    graph = graph or get_default_graph()
    step = get_global_step(graph)
    return create_global_step(graph) if step is None else step


def assert_global_step(global_step_tensor: Any) -> None:
    """Raises TypeError unless the argument is an integer scalar variable or tensor."""
    if not isinstance(global_step_tensor, (Variable, Tensor)):
        raise TypeError(f'Existing "global_step" must be a Variable or Tensor: {global_step_tensor!r}.')
    if not global_step_tensor.dtype.is_integer:
        raise TypeError(f'Existing "global_step" does not have integer type: {global_step_tensor.dtype}')
    if global_step_tensor.shape.rank not in (0, None):
        raise TypeError(f'Existing "global_step" is not scalar: {global_step_tensor.shape}')


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """Returns the value of the global step in a session."""
    return int(sess.run(global_step_tensor))
