"""`switch` and `merge` of TensorFlow's dataflow, by branches: what stands between them runs only where it is asked for.

A merge builds nested conditions. The operations that lead from its switches to an input are made anew in the branch of
that input, so that those of the branches that are not taken cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphflow import dtypes
from graphflow.control_flow import cond
from graphflow.graph import Operation, Tensor, get_default_graph, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit, make_operation
from graphflow.ops.elementwise import logical_and, logical_not


class _Side(NamedTuple):
    """What an output of a switch is: its data, where the predicate is as `taken` says."""

    data: Tensor
    pred: Tensor
    taken: bool


def switch(data: Any, pred: Any, dtype: Any = None, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns the data twice: for what is to run where `pred` is false, and where it is true.

    Args:
      data: a tensor.
      pred: a bool scalar.
      dtype: that of the data, if these are no tensor.
      name: a name scope.

    Returns:
      `(output_false, output_true)`. A `merge` chooses between what is made of them.
    """
    with name_scope(name, "Switch", [data, pred]):
        value = convert_to_tensor(data, dtype, name="data")
        predicate = convert_to_tensor(pred, dtypes.bool_, name="pred")
        sides = []
        for taken in (False, True):
            output: Any = emit.Identity(value)
            output.graphflow_side = _Side(value, predicate, taken)
            sides.append(output)
        return sides[0], sides[1]


class Merge(NamedTuple):
    """The input of a merge that is there, and its number."""

    output: Tensor
    value_index: Tensor


def merge(inputs: Sequence[Any], name: str | None = None) -> Merge:
    """Returns the one of some tensors whose switches say that it is there: the first, if several are.

    Args:
      inputs: tensors of one dtype, made of outputs of `switch`.
      name: a name scope.

    Raises:
      ValueError: if there is none, or one is None.
    """
    if any(each is None for each in inputs) or not inputs:
        raise ValueError(f"At least one of the merge inputs is None: {inputs}")
    tensors = [convert_to_tensor(each) for each in inputs]
    with name_scope(name, "Merge", tensors):
        return Merge(*_chosen(tensors, 0))


def _chosen(tensors: Sequence[Tensor], at: int) -> tuple[Tensor, Tensor]:
    between = _between(tensors[at])
    last = at == len(tensors) - 1

    def this() -> tuple[Tensor, Tensor]:
        return _made_anew(tensors[at], between), constant(at, dtypes.int32)

    sides = [side for operation in between if (side := _side(operation)) is not None]
    if last or not sides:
        return this()
    there: Tensor | None = None
    for side in {(id(side.pred), side.taken): side for side in sides}.values():
        holds = side.pred if side.taken else logical_not(side.pred)
        there = holds if there is None else logical_and(there, holds)
    output, index = cond(there, this, lambda: _chosen(tensors, at + 1))
    return output, index


def _side(operation: Operation) -> _Side | None:
    """What an operation is, if it is a side of a switch."""
    found: _Side | None = getattr(operation.outputs[0], "graphflow_side", None) if operation.outputs else None
    return found


def _between(tensor: Tensor) -> list[Operation]:
    """The operations that lead from switches to a tensor, the switches' own included, in the order that they run in."""
    leads: dict[Operation, bool] = {}
    stack = [(tensor.op, False)]
    order = []
    while stack:
        operation, done = stack.pop()
        if done:
            leads[operation] = _side(operation) is not None or any(
                leads[each.op] for each in operation.inputs
            )
            if leads[operation]:
                order.append(operation)
        elif operation not in leads:
            leads[operation] = False
            stack.append((operation, True))
            if _side(operation) is None:
                stack += [(each.op, False) for each in operation.inputs]
    return order


def _made_anew(tensor: Tensor, operations: Sequence[Operation]) -> Tensor:
    graph: Any = get_default_graph()
    made: dict[Tensor, Tensor] = {}

    def here(value: Tensor) -> Tensor:
        found = made.get(value, value)
        return found if found.graph is graph or not graph.building_function else graph.capture(found)

    for operation in operations:
        side = _side(operation)
        if side is not None:
            made[operation.outputs[0]] = side.data
            continue
        inputs = [here(each) for each in operation.inputs]
        full_name = graph.operation_name(operation.name.rpartition("/")[2])
        new = make_operation(graph, operation.op_def, inputs, dict(operation.attrs), full_name)
        made.update(zip(operation.outputs, new.outputs, strict=True))
    return here(tensor)
