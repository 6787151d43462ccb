"""Prints a program, one line per node."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.program import FEED, VARIABLE, Node, Program, Value
from graphflow.shapes import TensorShape

_MOST_ELEMENTS = 8


def program_text(program: Program) -> str:
    """Returns the program in print: feeds, nodes with types, commits, fetches."""
    names = {node: f"%{i}" for i, node in enumerate(program.nodes)}

    def shown(value: Value) -> str:
        name = names[value.node]
        return name if len(value.node.outputs) == 1 else f"{name}.{value.index}"

    lines = []
    for node in program.nodes:
        inputs = [shown(value) for value in node.inputs]
        attrs = _attrs_text(node)
        controls = [f"^{names[control]}" for control in node.controls if control in names]
        types = ", ".join(map(str, node.types))
        arrow = f" -> {types}" if types else ""
        lines.append(f"{names[node]} = {node.type}({', '.join([*inputs, *attrs, *controls])}){arrow}  # {node.name}")
    lines += [f"commit {name} = {shown(value)}" for name, value in program.commits]
    lines.append(f"fetch {', '.join(map(shown, program.fetches))}" if program.fetches else "fetch nothing")
    return "\n".join(lines)


def _attrs_text(node: Node) -> list[str]:
    if node.op_def is FEED:
        return [repr(node.attrs["feed"])]
    if node.op_def is VARIABLE:
        return [repr(node.attrs["variable"])]
    inferred = node.op_def.inferred_attrs
    shown = []
    for name, value in sorted(node.attrs.items()):
        attr = node.op_def.attrs.get(name)
        if name in inferred or name.startswith("_") or (attr is not None and attr.has_default and _same(attr.default, value)):
            continue
        if name == "dtype" and node.type == "Const":
            continue
        shown.append(f"{name}={_value_text(value)}")
    return shown


def _same(a: Any, b: Any) -> bool:
    return not isinstance(b, np.ndarray) and bool(a == b)


def _value_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if value.size > _MOST_ELEMENTS:
            return f"<{value.dtype.name}{list(value.shape)}>"
        return str(value.tolist()).replace(" ", "")
    if isinstance(value, DType):
        return value.name
    if isinstance(value, TensorShape):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ",".join(_value_text(item) for item in value) + "]"
    return repr(value)
