"""Tables of a model's variables and operations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphflow.graph import Graph


def tensor_description(var: Any) -> str:
    """Returns `(float32 3x4)` for a tensor or variable."""
    sizes = "x".join("?" if size is None else str(size) for size in var.shape.as_list())
    return f"({var.dtype.base_dtype.name} {sizes})"


def analyze_ops(graph: Graph, print_info: bool = False) -> int:
    """Returns how many elements the outputs of all operations have, as far as their sizes are known.

    Args:
      graph: the graph.
      print_info: whether a line is printed for each operation.
    """
    if print_info:
        print("---------\nOperations: name -> (type shapes) [size]\n---------")
    total = 0
    for op in graph.get_operations():
        sizes = [tensor.shape.num_elements() or 0 for tensor in op.outputs]
        total += sum(sizes)
        if print_info:
            print(
                op.name,
                "\t->",
                ", ".join(map(str, (t.shape for t in op.outputs))) or op.type,
                f"[{sum(sizes)}]",
            )
    if print_info:
        print("---------\nTotal size:", total)
    return total


def analyze_vars(variables: Iterable[Any], print_info: bool = False) -> tuple[int, int]:
    """Returns how many elements and bytes variables have together.

    Args:
      variables: the variables.
      print_info: whether a line is printed for each.
    """
    if print_info:
        print("---------\nVariables: name (type shape) [size]\n---------")
    total = size = 0
    for var in variables:
        count = var.shape.num_elements() or 0
        total += count
        size += count * var.dtype.size
        if print_info:
            print(var.name, tensor_description(var), f"[{count}, bytes: {count * var.dtype.size}]")
    if print_info:
        print(f"Total size of variables: {total}\nTotal bytes of variables: {size}")
    return total, size


__all__ = ["analyze_ops", "analyze_vars", "tensor_description"]
