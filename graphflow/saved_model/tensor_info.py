"""Tensors as the TensorInfo of a signature and back; public as `saved_model.utils`."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Graph, get_default_graph
from graphflow.serialization import saved_model


def build_tensor_info(tensor: Any) -> Any:
    """Returns the TensorInfo of a tensor, variable or sparse tensor: its name, dtype and shape.

    Raises:
      TypeError: for anything else.
    """
    return saved_model.tensor_info(tensor)


def build_tensor_info_from_op(op: Any) -> Any:
    """Returns the TensorInfo that stands for an operation."""
    return saved_model.operation_info(op)


def get_tensor_from_tensor_info(
    tensor_info: Any, graph: Graph | None = None, import_scope: str | None = None
) -> Any:
    """Returns the tensor of a graph that a TensorInfo names.

    Args:
      tensor_info: the TensorInfo.
      graph: the graph; default the default graph.
      import_scope: the scope that was put before names when the graph was loaded.

    Raises:
      KeyError: if the graph has no such tensor.
      ValueError: if the TensorInfo names no dense tensor, or contradicts the graph.
    """
    return saved_model.element(graph or get_default_graph(), tensor_info, import_scope)


__all__ = ["build_tensor_info", "build_tensor_info_from_op", "get_tensor_from_tensor_info"]
