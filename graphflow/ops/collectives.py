"""Reductions over devices: each of some tensors, one on each device, is replaced by what comes of all of them.

In a graph these are an operation for each device, which a name holds together (`NcclAllReduce`); a run makes one of
them, which takes all tensors and gives as many. Where the tensors are not on devices of their own, what comes of them
is computed like anything else.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError
from graphflow.graph import Tensor, device
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.rules import attr_shape, merged
from graphflow.resources import Array

__all__ = ["all_max", "all_min", "all_prod", "all_sum", "broadcast", "reduce_sum"]

_NUMBERS = "half|float|double|int32|int64"
_REDUCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}
_names = itertools.count()


def _reduced(inputs: Sequence[Array], reduction: str) -> Array:
    """From left to right."""
    return np.asarray(functools.reduce(_REDUCTIONS[reduction], inputs))


@op(
    "GraphflowAllReduce",
    "inputs:N*T",
    "data:N*T",
    "N:int>=1; T:type; reduction:string; devices:list(string)",
    infer=lambda node: [merged(node)] * len(node.inputs),
    differentiable=False,
)
def all_reduce_op(inputs: list[Array], *, reduction: str, devices: Any) -> Any:
    """What a run makes of the operations of one `NcclAllReduce`; `devices`: where each of them is."""
    found = _reduced(inputs, reduction)
    return [found.copy() for _ in inputs] if len(inputs) > 1 else found


@op(
    "NcclAllReduce",
    "input:T",
    "data:T",
    f"reduction:string{{min|max|prod|sum}}; T:type{{{_NUMBERS}}}; num_devices:int; shared_name:string",
    infer=merged,
)
def nccl_all_reduce_op(input: Array, *, reduction: str, num_devices: int, shared_name: str) -> Array:
    """One tensor's part of a reduction over devices; what is reduced is known to a whole run alone."""
    if num_devices != 1:
        raise InvalidArgumentError(
            None, None, f"{num_devices} tensors are reduced as {shared_name!r}, which takes a session's run"
        )
    return input


@nccl_all_reduce_op.gradient
def _all_reduce_gradient(op: Any, dy: Any) -> list[Any]:
    """Each of the sums has a gradient, and each of the tensors is in all of them."""
    if op.get_attr("reduction") not in ("sum", b"sum"):
        raise LookupError(
            f'No gradient defined for operation "{op.name}" (op type: NcclAllReduce): it is no sum but'
            f" {op.get_attr('reduction')!r}"
        )
    return [
        emit.NcclAllReduce(
            dy,
            reduction="sum",
            num_devices=op.get_attr("num_devices"),
            shared_name=f"{_text(op.get_attr('shared_name'))}_grad",
        )
    ]


@op(
    "NcclReduce",
    "input:num_devices*T",
    "data:T",
    f"reduction:string{{min|max|prod|sum}}; T:type{{{_NUMBERS}}}; num_devices:int>=1",
    infer=merged,
)
def nccl_reduce_op(input: list[Array], *, reduction: str) -> Array:
    """What comes of tensors of several devices, on one."""
    return _reduced(input, reduction)


@nccl_reduce_op.gradient
def _reduce_gradient(op: Any, dy: Any) -> list[Any]:
    if op.get_attr("reduction") not in ("sum", b"sum"):
        raise LookupError(
            f'No gradient defined for operation "{op.name}" (op type: NcclReduce): it is no sum but'
            f" {op.get_attr('reduction')!r}"
        )
    return [dy] * len(op.inputs)


@nccl_reduce_op.lower
def _reduce_lower(b: Any, input: list[Any], *, reduction: str) -> Any:
    return functools.reduce(getattr(b, {"sum": "add", "prod": "mul"}.get(reduction, reduction)), input)


@op("NcclBroadcast", "input:T", "output:T", f"T:type{{{_NUMBERS}}}; shape:shape", infer=attr_shape, view=True)
def nccl_broadcast_op(input: Array) -> Array:
    """The tensor itself, for whichever devices want it."""
    return input


@nccl_broadcast_op.gradient
def _broadcast_gradient(op: Any, dy: Any) -> list[Any]:
    return [dy]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _all(tensors: Any, reduction: str) -> list[Tensor]:
    values = _placed(tensors)
    name = f"c{next(_names)}"
    found = []
    for value in values:
        with device(value.device):
            found.append(
                emit.NcclAllReduce(value, reduction=reduction, num_devices=len(values), shared_name=name)
            )
    return found


def _placed(tensors: Any) -> list[Tensor]:
    values = list(tensors) if isinstance(tensors, list | tuple) else []
    if not values:
        raise ValueError("Must pass >0 tensors to all reduce operations")
    found = [convert_to_tensor(value) for value in values]
    for value in found:
        if not value.device:
            raise ValueError(f"Device assignment required for nccl collective ops: {value.name} has none")
    return found


def all_sum(tensors: Any) -> list[Tensor]:
    """Returns, for each of some tensors of one shape and dtype, the sum of all of them, on the tensor's device.

    In a run that takes one of the sums, all of them are made.

    Raises:
      ValueError: if there is no tensor, or one was made outside of any device scope.
    """
    return _all(tensors, "sum")


def all_prod(tensors: Any) -> list[Tensor]:
    """Returns for each of some tensors the product of all of them; see `all_sum`."""
    return _all(tensors, "prod")


def all_min(tensors: Any) -> list[Tensor]:
    """Returns for each of some tensors the least elements of all of them; see `all_sum`."""
    return _all(tensors, "min")


def all_max(tensors: Any) -> list[Tensor]:
    """Returns for each of some tensors the greatest elements of all of them; see `all_sum`."""
    return _all(tensors, "max")


def reduce_sum(tensors: Any) -> Tensor:
    """Returns the sum of tensors of one shape and dtype, on the device in whose scope this is called.

    Raises:
      ValueError: if there is no tensor, or one was made outside of any device scope.
    """
    return emit.NcclReduce(_placed(tensors), reduction="sum")


def broadcast(tensor: Any) -> Tensor:
    """Returns a tensor for whichever devices want it.

    Raises:
      ValueError: if the tensor was made outside of any device scope.
    """
    (value,) = _placed([tensor])
    with device(value.device):
        return emit.NcclBroadcast(value, shape=value.shape)
