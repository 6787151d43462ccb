"""Summaries of tensors, variables and activations, one call for many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from graphflow.dtypes import float32
from graphflow.graph import GraphKeys, Tensor, get_collection
from graphflow.opdef import emit
from graphflow.ops.elementwise import equal
from graphflow.ops.reduction import reduce_mean
from graphflow.summary import operations as summary


def _label(tensor: Any) -> str:
    return re.sub(r"[^A-Za-z0-9_./-]", "_", str(tensor.op.name))


def summarize_tensor(tensor: Any, tag: str | None = None) -> Tensor:
    """Returns a summary of a tensor: of its value if it is a scalar, else a histogram."""
    if tensor.shape.rank == 0:
        return summary.scalar(tag or _label(tensor), tensor)
    return summary.histogram(tag or _label(tensor), tensor)


def summarize_activation(op: Any) -> Tensor:
    """Returns a summary of an activation; of a ReLU also how much of it is zero."""
    name = _label(op)
    if op.op.type in ("Relu", "Softplus", "Relu6"):
        zeros = emit.Cast(equal(op, 0), DstT=float32)
        summary.scalar(f"{name}/zeros", reduce_mean(zeros))
    return summary.histogram(f"{name}/activation", op)


def summarize_tensors(
    tensors: Iterable[Any], summarizer: Callable[[Any], Any] = summarize_tensor
) -> list[Any]:
    """Returns a summary of each tensor."""
    return [summarizer(tensor) for tensor in tensors]


def summarize_collection(
    collection: str, name_filter: str | None = None, summarizer: Callable[[Any], Any] = summarize_tensor
) -> list[Any]:
    """Returns a summary of each member of a collection whose name matches a pattern."""
    found = get_collection(collection)
    if name_filter:
        found = [tensor for tensor in found if re.match(name_filter, tensor.op.name)]
    return summarize_tensors(found, summarizer)


def summarize_variables(name_filter: str | None = None, summarizer: Any = summarize_tensor) -> list[Any]:
    """Returns a summary of each global variable."""
    return summarize_collection(GraphKeys.GLOBAL_VARIABLES, name_filter, summarizer)


def summarize_weights(name_filter: str | None = None, summarizer: Any = summarize_tensor) -> list[Any]:
    """Returns a summary of each member of the collection of weights."""
    return summarize_collection(GraphKeys.WEIGHTS, name_filter, summarizer)


def summarize_biases(name_filter: str | None = None, summarizer: Any = summarize_tensor) -> list[Any]:
    """Returns a summary of each member of the collection of biases."""
    return summarize_collection(GraphKeys.BIASES, name_filter, summarizer)


def summarize_activations(
    name_filter: str | None = None, summarizer: Any = summarize_activation
) -> list[Any]:
    """Returns a summary of each member of the collection of activations."""
    return summarize_collection(GraphKeys.ACTIVATIONS, name_filter, summarizer)


__all__ = [
    "summarize_activation", "summarize_activations", "summarize_biases", "summarize_collection", "summarize_tensor",
    "summarize_tensors", "summarize_variables", "summarize_weights",
]  # fmt: skip
