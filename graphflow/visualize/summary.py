"""Counts what a graph or program holds: operations, parameters, arithmetic, memory traffic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphflow.graph import Graph
from graphflow.program import Program

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """What a graph or program holds.

    Attributes:
      operations: how many operations of each type, the most frequent first.
      variables: name, dtype and shape of each variable.
      parameters: elements of all variables with known shapes.
      flops: floating-point operations of one run, as far as shapes are known.
      traffic_bytes: bytes that the operations read and write one by one, as far as shapes are known.
      unknown: how many operations have shapes that are not fully known, and so are not in the two numbers above.
    """

    operations: dict[str, int]
    variables: tuple[tuple[str, str, str], ...]
    parameters: int
    flops: int
    traffic_bytes: int
    unknown: int

    def __str__(self) -> str:
        lines = [
            f"{sum(self.operations.values())} operations of {len(self.operations)} types, "
            f"{len(self.variables)} variables with {self.parameters:,} parameters",
            f"{_short(self.flops)}FLOP and {_short(self.traffic_bytes)}B of traffic per run"
            + (f" (and {self.unknown} operations of unknown size)" if self.unknown else ""),
            "",
        ]
        width = max((len(name) for name in self.operations), default=0)
        lines += [f"  {name:{width}} {count:6d}" for name, count in self.operations.items()]
        if self.variables:
            lines.append("")
            width = max(len(name) for name, _, _ in self.variables)
            lines += [f"  {name:{width}}  {dtype} {shape}" for name, dtype, shape in self.variables]
        return "\n".join(lines)


def _short(value: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} P"


def summarize(source: Graph | Program) -> Summary:
    """Counts what a graph or program holds."""
    if isinstance(source, Graph):
        return _summarize_graph(source)
    return _summarize_program(source)


def _summarize_graph(graph: Graph) -> Summary:
    variables = [op for op in graph.get_operations() if op.type == "VarHandleOp"]
    rows = [
        (str(op.attrs["shared_name"] or op.name), op.attrs["dtype"].name, str(op.attrs["shape"]))
        for op in variables
    ]
    shapes = [_sizes(op.attrs["shape"]) for op in variables]
    counted = [
        (
            op.type,
            op.attrs,
            [(t.dtype, _sizes(t.shape)) for t in op.inputs],
            [(t.dtype, _sizes(t.shape)) for t in op.outputs],
        )
        for op in graph.get_operations()
    ]
    return _count(counted, rows, shapes)


def _summarize_program(program: Program) -> Summary:
    items = program.variables.items()
    rows = [(name, value.dtype.name, str(value.shape)) for name, value in items]
    counted = [
        (
            node.type,
            node.attrs,
            [(v.dtype, v.sizes) for v in node.inputs],
            [(v.dtype, v.sizes) for v in node.outputs],
        )
        for node in program.nodes
    ]
    return _count(counted, rows, [value.sizes for _, value in items])


def _sizes(shape: Any) -> Sizes | None:
    dims = shape.as_tuple()
    return None if dims is None or None in dims else dims


def _count(
    counted: Sequence[tuple[str, dict[str, Any], list[Any], list[Any]]],
    variables: Sequence[tuple[str, str, str]],
    shapes: Sequence[Sizes | None],
) -> Summary:
    kinds = Counter(entry[0] for entry in counted)
    flops = traffic = unknown = 0
    for kind, attrs, inputs, outputs in counted:
        tensors = [
            (dtype, sizes)
            for dtype, sizes in (*inputs, *outputs)
            if dtype.name not in ("resource", "variant")
        ]
        if any(sizes is None for _, sizes in tensors):
            unknown += 1
            continue
        traffic += sum(math.prod(sizes) * max(1, dtype.size) for dtype, sizes in tensors)
        ins = [sizes for _, sizes in inputs]
        outs = [sizes for _, sizes in outputs]
        flops += _ARITHMETIC[kind](attrs, ins, outs) if kind in _ARITHMETIC else sum(map(math.prod, outs))
    parameters = sum(math.prod(sizes) for sizes in shapes if sizes is not None)
    return Summary(dict(kinds.most_common()), tuple(variables), parameters, flops, traffic, unknown)


def _matmul(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    """Two operations per element of the result and inner index."""
    transposed = attrs.get("transpose_a", attrs.get("adj_x", False))
    inner = inputs[0][-2] if transposed else inputs[0][-1]
    return 2 * math.prod(outputs[0]) * inner


def _conv(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    """Two operations per element of the result and element of the window."""
    height, width, channels, _ = inputs[1]
    return 2 * math.prod(outputs[0]) * height * width * channels


def _depthwise(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    return 2 * math.prod(outputs[0]) * inputs[1][0] * inputs[1][1]


def _conv_input(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    # The same products as forward: inputs are (sizes, filter, gradient).
    return _conv(attrs, inputs, [inputs[2]])


def _conv_filter(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    # The same products as forward: inputs are (images, sizes, gradient), the output is the filter.
    return _conv(attrs, [inputs[0], outputs[0]], [inputs[2]])


def _reduce(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    return math.prod(inputs[0])


def _nothing(attrs: dict[str, Any], inputs: list[Sizes], outputs: list[Sizes]) -> int:
    return 0


_PRODUCTS = {
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "Conv2D": _conv,
    "Conv2DBackpropInput": _conv_input,
    "Conv2DBackpropFilter": _conv_filter,
}

# Everything that is not one operation per element of the result.
_ARITHMETIC: dict[str, Callable[[dict[str, Any], list[Sizes], list[Sizes]], int]] = {
    **_PRODUCTS,
    **{f"GraphflowMixed{name}": count for name, count in _PRODUCTS.items()},
    "BatchMatMulV2": _matmul,
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(("Sum", "Mean", "Prod", "Max", "Min", "L2Loss"), _reduce),
    **dict.fromkeys(
        (
            "Const", "ConcatV2", "ExpandDims", "Fill", "GatherV2", "GraphflowFeed", "GraphflowVariable", "Identity",
            "NoOp", "Pack", "PadV2", "Pad", "Placeholder", "PlaceholderWithDefault", "ReadVariableOp", "Reshape",
            "Shape", "Slice", "Split", "SplitV", "Squeeze", "StopGradient", "StridedSlice", "Tile", "Transpose",
            "Unpack", "VarHandleOp",
        ),
        _nothing,
    ),
}  # fmt: skip
