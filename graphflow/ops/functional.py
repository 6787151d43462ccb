"""Branches, loops and calls as operations: If, Case, While, PartitionedCall. Their bodies are functions.

None of them has a NumPy body: `program.freeze` puts calls in place and makes nodes with nested programs of all others,
and whoever runs a program runs those. The rules of their gradients need the reverse walk: `functional_gradients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import ShapeError
from graphflow.function import FuncGraph, Function
from graphflow.graph import Operation, Tensor
from graphflow.opdef import op
from graphflow.ops.rules import Array, attr_shape, scalar
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.tensor_list import TensorList, boxed

_CASE = "Tin:list(type)>=0; Tout:list(type)>=0"
_WHILE = "T:list(type)>=0; cond:func; body:func; output_shapes:list(shape)=[]; parallel_iterations:int=10"
_CALL = f"{_CASE}; f:func; config:string=; config_proto:string=; executor_type:string="


def alike(shapes: list[TensorShape]) -> TensorShape:
    """What several shapes have in common."""
    first = shapes[0]
    for shape in shapes[1:]:
        a, b = first.as_tuple(), shape.as_tuple()
        if a is None or b is None or len(a) != len(b):
            return UNKNOWN
        first = TensorShape([x if x == y else None for x, y in zip(a, b, strict=True)])
    return first


def check_call(function: Any, dtypes: Any, results: Any, what: str) -> None:
    """Refuses a function that does not take or give values of these dtypes."""
    for own, wanted, way in ((function.inputs, dtypes, "takes"), (function.outputs, results, "gives")):
        if wanted is None:
            continue
        have = [tensor.dtype for tensor in own]
        if have != list(wanted):
            raise ShapeError(
                f"{what} {function.name!r} {way} {[t.name for t in have]}, the operation has {[t.name for t in wanted]}"
            )


def is_stateful(function: Function) -> bool:
    """Whether a function does more than compute its results from its arguments, in the sense of TensorFlow's ops."""
    return any(
        op.op_def.effects in ("reads", "writes", "random", "host") for op in called_operations(function)
    )


def called_operations(function: Function) -> list[Operation]:
    """The operations that a call of a function runs."""
    seen: set[Operation] = set()
    stack = [*(tensor.op for tensor in function.outputs), *function.control_outputs]
    while stack:
        operation = stack.pop()
        if operation in seen:
            continue
        seen.add(operation)
        stack.extend(tensor.op for tensor in operation.inputs)
        stack.extend(operation._control_inputs)
    arguments = {tensor.op for tensor in function.inputs}
    return sorted(seen - arguments, key=lambda operation: operation._id)


def matched_captures(graphs: Sequence[FuncGraph]) -> list[Tensor]:
    """Gives all graphs the same captures, in the same order; returns the outer tensors."""
    outer = list(dict.fromkeys(tensor for graph in graphs for tensor in graph.captures))
    for graph in graphs:
        for tensor in outer:
            graph.capture(tensor)
        arguments = graph.inputs[: len(graph.inputs) - len(graph.captures)]
        graph.inputs = [*arguments, *(graph.captures[tensor] for tensor in outer)]
        graph.captures = {tensor: graph.captures[tensor] for tensor in outer}
    return outer


def _branch_shapes(node: Any, branches: list[Any]) -> list[TensorShape]:
    for branch in branches:
        check_call(branch, node.attrs["Tin"], node.attrs["Tout"], "the branch")
    given = node.attrs["output_shapes"]
    made = [alike([branch.outputs[i].shape for branch in branches]) for i in range(len(node.attrs["Tout"]))]
    if given and len(given) != len(made):
        raise ShapeError(f"{len(given)} output_shapes for {len(made)} outputs")
    return [shape.merge_with(known) for shape, known in zip(made, given, strict=True)] if given else made


def _if_shapes(node: Any) -> list[TensorShape]:
    return _branch_shapes(node, [node.attrs["then_branch"], node.attrs["else_branch"]])


def _case_shapes(node: Any) -> list[TensorShape]:
    return _branch_shapes(node, list(node.attrs["branches"]))


def _while_shapes(node: Any) -> list[TensorShape]:
    types, body, cond = node.attrs["T"], node.attrs["body"], node.attrs["cond"]
    check_call(body, types, types, "the body")
    check_call(cond, types, None, "the condition")
    if len(cond.outputs) != 1:
        raise ShapeError(f"the condition {cond.name!r} gives {len(cond.outputs)} values, not one")
    given = node.attrs["output_shapes"]
    if given:
        if len(given) != len(types):
            raise ShapeError(f"{len(given)} output_shapes for {len(types)} loop variables")
        return list(given)
    return [
        alike([value.shape, out.shape, arg.shape])
        for value, out, arg in zip(node.inputs, body.outputs, body.inputs, strict=True)
    ]


def _call_shapes(node: Any) -> list[TensorShape]:
    function = node.attrs["f"]
    check_call(function, node.attrs["Tin"], node.attrs["Tout"], "the function")
    return [tensor.shape for tensor in function.outputs]


def _has_no_body(*inputs: Any) -> Any:
    """A body of functions: whoever runs the program runs them."""
    raise RuntimeError("functions are run by the executor, not by a NumPy body")


def _declare(
    name: str, inputs: str, outputs: str, attrs: str, infer: Any, meaning: str, stateful: bool
) -> Any:
    def body(*values: Any) -> Any:
        return _has_no_body(*values)

    body.__doc__ = meaning
    return op(name, inputs, outputs, attrs, infer=infer, effects="host" if stateful else "")(body)


_IF_INPUTS, _OUTPUTS = "cond:Tcond; input:list(Tin)", "output:list(Tout)"
_IF_ATTRS = f"Tcond:type; {_CASE}; then_branch:func; else_branch:func; output_shapes:list(shape)=[]"
_CASE_INPUTS = "branch_index:int32; input:list(Tin)"
_CASE_ATTRS = f"{_CASE}; branches:list(func)>=1; output_shapes:list(shape)=[]"

_IF_MEANING = "What one of two functions gives: `then_branch` where the condition holds, else `else_branch`."
_CASE_MEANING = "What the function at an index gives; the last one where the index is out of range."
_WHILE_MEANING = "The loop variables after `body` has been applied to them for as long as `cond` holds."
_CALL_MEANING = "What a function gives."

if_op = _declare("If", _IF_INPUTS, _OUTPUTS, _IF_ATTRS, _if_shapes, _IF_MEANING, True)
stateless_if_op = _declare("StatelessIf", _IF_INPUTS, _OUTPUTS, _IF_ATTRS, _if_shapes, _IF_MEANING, False)
case_op = _declare("Case", _CASE_INPUTS, _OUTPUTS, _CASE_ATTRS, _case_shapes, _CASE_MEANING, True)
stateless_case_op = _declare(
    "StatelessCase", _CASE_INPUTS, _OUTPUTS, _CASE_ATTRS, _case_shapes, _CASE_MEANING, False
)
while_op = _declare("While", "input:list(T)", "output:list(T)", _WHILE, _while_shapes, _WHILE_MEANING, True)
stateless_while_op = _declare(
    "StatelessWhile", "input:list(T)", "output:list(T)", _WHILE, _while_shapes, _WHILE_MEANING, False
)
partitioned_call_op = _declare(
    "PartitionedCall", "args:list(Tin)", _OUTPUTS, _CALL, _call_shapes, _CALL_MEANING, False
)
stateful_partitioned_call_op = _declare(
    "StatefulPartitionedCall", "args:list(Tin)", _OUTPUTS, _CALL, _call_shapes, _CALL_MEANING, True
)


@op("FakeParam", "", "output:dtype", "dtype:type; shape:shape", infer=attr_shape, lowering="anything",
    differentiable=False)  # fmt: skip
def fake_param_op(*, dtype: DType, shape: TensorShape) -> Array:
    """A value that stands where a branch has none to give; nobody may look at its elements, and NaN shows who does."""
    if dtype is dtypes.variant:
        return boxed(TensorList(dtypes.float32, UNKNOWN))
    sizes = [size or 0 for size in shape.as_tuple() or ()]
    return np.full(sizes, np.nan, dtype.numpy) if dtype.is_floating else np.zeros(sizes, dtype.numpy)


@op("GraphflowTruth", "value:T", "truth:bool", "T:type", infer=scalar, differentiable=False)
def truth_op(value: Array) -> Array:
    """Whether a value counts as true: a scalar that is not zero, a text that is not empty, else any element at all."""
    if value.ndim:
        return np.asarray(value.size > 0)
    return np.asarray(len(value[()]) > 0 if value.dtype == object else value[()] != 0)
