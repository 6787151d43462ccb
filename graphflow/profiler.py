"""`tf.profiler`: parameters, operations, times and bytes, by name scope, by operation type, by data flow.

`gf.profile` measures what a compiled run does; here a graph is counted as TensorFlow's profiler counts it, in the same
words: its formulas for operations, its trees, its text.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphflow.graph import Graph, GraphKeys, Operation, get_default_graph

_ROOT = "_TFProfRoot"
_TRAINABLE = "_trainable_variables"
_CHECKPOINT = "_checkpoint_variables"


# ---------------------------------------------------------------------------- options


class ProfileOptionBuilder:
    """Builds options for a profile, as a dict.

    Args:
      options: options to begin with.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        if options is not None:
            self._options = dict(options)
            return
        self._options = {
            "max_depth": 100, "min_bytes": 0, "min_micros": 0, "min_params": 0, "min_float_ops": 0,
            "min_occurrence": 0, "order_by": "name", "account_type_regexes": [".*"], "start_name_regexes": [".*"],
            "trim_name_regexes": [], "show_name_regexes": [".*"], "hide_name_regexes": [],
            "account_displayed_op_only": False, "select": ["micros"], "step": -1, "output": "stdout",
        }  # fmt: skip

    @staticmethod
    def trainable_variables_parameter() -> dict[str, Any]:
        """Options for the numbers of parameters of trainable variables."""
        return {
            **ProfileOptionBuilder().build(), "max_depth": 10000, "account_type_regexes": [_TRAINABLE],
            "account_displayed_op_only": True, "select": ["params"],
        }  # fmt: skip

    @staticmethod
    def float_operation() -> dict[str, Any]:
        """Options for numbers of floating-point operations."""
        return {
            **ProfileOptionBuilder().build(), "max_depth": 10000, "min_float_ops": 1, "order_by": "float_ops",
            "account_displayed_op_only": True, "select": ["float_ops"],
        }  # fmt: skip

    @staticmethod
    def time_and_memory(
        min_micros: int = 1, min_bytes: int = 1, min_accelerator_micros: int = 0, min_cpu_micros: int = 0,
        min_peak_bytes: int = 0, min_residual_bytes: int = 0, min_output_bytes: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """Options for times and bytes of a run that was traced."""
        return {
            **ProfileOptionBuilder().build(), "max_depth": 10000, "min_bytes": min_bytes, "min_micros": min_micros,
            "min_accelerator_micros": min_accelerator_micros, "min_cpu_micros": min_cpu_micros,
            "min_peak_bytes": min_peak_bytes, "min_residual_bytes": min_residual_bytes,
            "min_output_bytes": min_output_bytes, "order_by": "micros", "account_displayed_op_only": True,
            "select": ["micros", "bytes"],
        }  # fmt: skip

    def build(self) -> dict[str, Any]:
        """Returns the options."""
        return {k: list(v) if isinstance(v, list) else v for k, v in self._options.items()}

    def _with(self, **options: Any) -> ProfileOptionBuilder:
        self._options.update(options)
        return self

    def with_max_depth(self, max_depth: int) -> ProfileOptionBuilder:
        """Shows no deeper than so many levels."""
        return self._with(max_depth=max_depth)

    def with_min_memory(
        self, min_bytes: int = 0, min_peak_bytes: int = 0, min_residual_bytes: int = 0, min_output_bytes: int = 0
    ) -> ProfileOptionBuilder:  # fmt: skip
        """Shows only what takes that many bytes."""
        return self._with(
            min_bytes=min_bytes, min_peak_bytes=min_peak_bytes, min_residual_bytes=min_residual_bytes,
            min_output_bytes=min_output_bytes,
        )  # fmt: skip

    def with_min_execution_time(
        self, min_micros: int = 0, min_accelerator_micros: int = 0, min_cpu_micros: int = 0
    ) -> ProfileOptionBuilder:  # fmt: skip
        """Shows only what takes that many microseconds."""
        return self._with(
            min_micros=min_micros,
            min_accelerator_micros=min_accelerator_micros,
            min_cpu_micros=min_cpu_micros,
        )

    def with_min_parameters(self, min_params: int) -> ProfileOptionBuilder:
        """Shows only what holds that many parameters."""
        return self._with(min_params=min_params)

    def with_min_occurrence(self, min_occurrence: int) -> ProfileOptionBuilder:
        """Shows only types that occur so often."""
        return self._with(min_occurrence=min_occurrence)

    def with_min_float_operations(self, min_float_ops: int) -> ProfileOptionBuilder:
        """Shows only what takes that many floating-point operations."""
        return self._with(min_float_ops=min_float_ops)

    def with_accounted_types(self, account_type_regexes: Sequence[str]) -> ProfileOptionBuilder:
        """Counts only nodes of matching types."""
        return self._with(account_type_regexes=list(account_type_regexes))

    def with_node_names(
        self, start_name_regexes: Sequence[str] | None = None, show_name_regexes: Sequence[str] | None = None,
        hide_name_regexes: Sequence[str] | None = None, trim_name_regexes: Sequence[str] | None = None,
    ) -> ProfileOptionBuilder:  # fmt: skip
        """Begins at, shows, hides, or stops at nodes of matching names."""
        given = {
            "start_name_regexes": start_name_regexes, "show_name_regexes": show_name_regexes,
            "hide_name_regexes": hide_name_regexes, "trim_name_regexes": trim_name_regexes,
        }  # fmt: skip
        return self._with(**{k: list(v) for k, v in given.items() if v is not None})

    def account_displayed_op_only(self, is_true: bool) -> ProfileOptionBuilder:
        """Whether only what is shown counts in totals."""
        return self._with(account_displayed_op_only=is_true)

    def with_empty_output(self) -> ProfileOptionBuilder:
        """Prints nothing."""
        return self._with(output="none")

    def with_stdout_output(self) -> ProfileOptionBuilder:
        """Prints to the standard output."""
        return self._with(output="stdout")

    def with_file_output(self, outfile: str) -> ProfileOptionBuilder:
        """Writes to a file."""
        return self._with(output=f"file:outfile={outfile}")

    def order_by(self, attribute: str) -> ProfileOptionBuilder:
        """Orders by one of name, bytes, micros, params, float_ops, occurrence."""
        return self._with(order_by=attribute)

    def select(self, attributes: Sequence[str]) -> ProfileOptionBuilder:
        """Shows some of bytes, micros, params, float_ops, occurrence, device, op_types, …"""
        return self._with(select=list(attributes))

    def with_step(self, step: int) -> ProfileOptionBuilder:
        """Takes the times of one of the steps that were added; -1: of all, averaged."""
        return self._with(step=step)


# ---------------------------------------------------------------------------- counting


def _elements(shape: Any) -> int | None:
    sizes = shape.as_tuple()
    return None if sizes is None or None in sizes else math.prod(sizes)


def _known(*counts: int | None) -> list[int]:
    if any(count is None for count in counts):
        raise _Unknown
    return [count for count in counts if count is not None]


class _Unknown(Exception):
    """A shape that the formula needs is not known: nothing is counted."""


def _input(op: Operation, index: int = 0) -> int:
    return _known(_elements(op.inputs[index].shape))[0]


def _output(op: Operation) -> int:
    return _known(_elements(op.outputs[0].shape))[0]


def _sizes(shape: Any) -> list[int]:
    return _known(*(shape.as_tuple() or (None,)))


def _per_input(count: int) -> Callable[[Operation], int]:
    return lambda op: count * _input(op)


def _per_output(count: int) -> Callable[[Operation], int]:
    return lambda op: count * _output(op)


def _folded(last: int) -> Callable[[Operation], int]:
    return lambda op: _input(op) + _output(op) * (last - 1)


def _convolution(op: Operation) -> int:
    *area, deep, _ = _sizes(op.inputs[1].shape)
    return 2 * _output(op) * math.prod(area) * deep


def _depthwise(op: Operation) -> int:
    tall, wide, _, _ = _sizes(op.inputs[1].shape)
    return 2 * _output(op) * tall * wide


def _to_image(op: Operation) -> int:
    return _backprop(op, _sizes(op.inputs[1].shape), _sizes(op.outputs[0].shape))


def _to_filters(op: Operation) -> int:
    return _backprop(op, _sizes(op.outputs[0].shape), _sizes(op.inputs[0].shape))


def _backprop(op: Operation, kernel: list[int], image: list[int]) -> int:
    """Gradients of convolutions: two for each number of a filter at each place where it lies on an image."""
    if op.attrs["data_format"] != "NHWC":
        raise _Unknown
    _, down, right, _ = op.attrs["strides"]
    return int(2 * math.prod(image) * math.prod(kernel) / (image[-1] * int(down) * int(right)))


def _products(op: Operation) -> int:
    turned = bool(op.attrs["transpose_a"])
    common = _sizes(op.inputs[0].shape)[0 if turned else -1]
    return 2 * common * _output(op)


def _batch_products(op: Operation) -> int:
    # TensorFlow's number, also where the first factor is turned.
    return 2 * _sizes(op.inputs[0].shape)[-1] * _output(op)


def _pooled(op: Operation) -> int:
    return math.prod(int(size) for size in op.attrs["ksize"]) * _output(op)


def _max_pooled_back(op: Operation) -> int:
    area = math.prod(int(size) for size in op.attrs["ksize"])
    return (area + 1) * _input(op, 1)


def _averaged_back(op: Operation) -> int:
    area = math.prod(int(size) for size in op.attrs["ksize"])
    return area * _input(op, 1) * 2


def _sum_of_many(op: Operation) -> int:
    return _output(op) * (len(op.inputs) - 1)


# Types that TensorFlow counts, and how. The others count nothing.
_FLOPS: dict[str, Callable[[Operation], int]] = {
    **dict.fromkeys(("Reciprocal", "Square", "Log", "Neg", "AssignSub", "AssignAdd"), _per_input(1)),
    "Rsqrt": _per_input(2),
    "Softmax": _per_input(5),
    "L2Loss": lambda op: 3 * _input(op) - 1,
    **dict.fromkeys(
        ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "Pow", "GreaterEqual", "Greater", "LessEqual",
         "Less", "Equal", "NotEqual", "BiasAdd"),
        _per_output(1),
    ),
    "SquaredDifference": _per_output(2),
    "RsqrtGrad": _per_output(4),
    "Mean": _folded(1),
    **dict.fromkeys(("Sum", "ArgMax", "ArgMin", "BiasAddGrad"), _folded(0)),
    **dict.fromkeys(("AvgPool", "MaxPool"), _pooled),
    "MaxPoolGrad": _max_pooled_back,
    "AvgPoolGrad": _averaged_back,
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _to_image,
    "Conv2DBackpropFilter": _to_filters,
    "AddN": _sum_of_many,
    "MatMul": _products,
    **dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _batch_products),
}  # fmt: skip


def _flops(op: Operation) -> int:
    rule = _FLOPS.get(op.type)
    if rule is None:
        return 0
    try:
        return rule(op)
    except _Unknown:
        return 0


# ---------------------------------------------------------------------------- trees

_FIGURES = (
    "exec_micros", "accelerator_exec_micros", "cpu_exec_micros", "requested_bytes", "peak_bytes", "residual_bytes",
    "output_bytes", "parameters", "float_ops", "run_count", "definition_count",
)  # fmt: skip


@dataclass
class GraphNodeProto:
    """A node of a profile by scope or by data flow, with the members of TensorFlow's message.

    Attributes:
      name: the name of the operation or scope.
      exec_micros: microseconds that it took.
      accelerator_exec_micros: of these on an accelerator.
      cpu_exec_micros: of these on the processor.
      requested_bytes: bytes of its results.
      peak_bytes: the same.
      residual_bytes: the same.
      output_bytes: the same.
      parameters: the number of elements, of a variable.
      float_ops: floating-point operations.
      run_count: how often it ran.
      definition_count: 1 for an operation, 0 for a scope.
      shapes: the sizes of a variable.
      types: the op type, and what else it is.
      is_counted: whether it counts by itself.
      children: the nodes below.
    """

    name: str = ""
    exec_micros: int = 0
    accelerator_exec_micros: int = 0
    cpu_exec_micros: int = 0
    requested_bytes: int = 0
    peak_bytes: int = 0
    residual_bytes: int = 0
    output_bytes: int = 0
    parameters: int = 0
    float_ops: int = 0
    run_count: int = 0
    definition_count: int = 0
    total_exec_micros: int = 0
    total_accelerator_exec_micros: int = 0
    total_cpu_exec_micros: int = 0
    total_requested_bytes: int = 0
    total_peak_bytes: int = 0
    total_residual_bytes: int = 0
    total_output_bytes: int = 0
    total_parameters: int = 0
    total_float_ops: int = 0
    total_run_count: int = 0
    total_definition_count: int = 0
    shapes: list[int] = field(default_factory=list)
    types: set[str] = field(default_factory=set)
    is_counted: bool = False
    children: list[GraphNodeProto] = field(default_factory=list)

    def _begin(self) -> None:
        for figure in _FIGURES:
            setattr(self, f"total_{figure}", getattr(self, figure) if self.is_counted else 0)

    def _add(self, child: GraphNodeProto) -> None:
        for figure in _FIGURES:
            total = f"total_{figure}"
            setattr(self, total, getattr(self, total) + getattr(child, total))


@dataclass
class MultiGraphNodeProto(GraphNodeProto):
    """A node of a profile by type: all operations of one type, and, as its child, the next type of the list."""

    graph_nodes: list[GraphNodeProto] = field(default_factory=list)


def _times(run_metas: Sequence[Any]) -> dict[str, tuple[int, int, int]]:
    """Microseconds, bytes and runs by name of an operation, averaged over traces."""
    found: dict[str, list[int]] = {}
    for meta in run_metas:
        for device in meta.step_stats.dev_stats:
            for node in device.node_stats:
                own = found.setdefault(node.node_name.partition(":")[0], [0, 0, 0])
                own[0] += max(0, node.op_end_rel_micros - node.op_start_rel_micros) or node.all_end_rel_micros
                own[1] += sum(memory.total_bytes for memory in node.memory) or sum(
                    output.tensor_description.allocation_description.requested_bytes for output in node.output
                )
                own[2] += 1
    count = max(1, len(run_metas))
    return {name: (micros // count, size // count, runs) for name, (micros, size, runs) in found.items()}


def _nodes(graph: Graph, run_metas: Sequence[Any]) -> dict[str, GraphNodeProto]:
    """A node with its own figures for each operation."""
    times = _times(run_metas)
    marks: dict[str, set[str]] = {}
    for key, mark in ((GraphKeys.TRAINABLE_VARIABLES, _TRAINABLE), (GraphKeys.GLOBAL_VARIABLES, _CHECKPOINT)):
        for variable in graph.get_collection(key):
            marks.setdefault(variable.op.name, set()).add(mark)
    nodes = {}
    for op in graph.get_operations():
        micros, size, runs = times.get(op.name, (0, 0, 0))
        node = GraphNodeProto(
            op.name, micros, 0, micros, size, size, size, size, 0, _flops(op), runs, 1,
            types={op.type, *marks.get(op.name, ())},
        )  # fmt: skip
        if op.type == "VarHandleOp":
            count = _elements(op.attrs["shape"])
            node.shapes = list(op.attrs["shape"].as_tuple() or ())
            node.parameters = count or 0
        nodes[op.name] = node
    return nodes


def _any_matches(patterns: Iterable[str], text: str) -> bool:
    return any(pattern == ".*" or re.fullmatch(pattern, text) for pattern in patterns)


class _View:
    """Nodes of a profile, counted, shown and printed by options."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = {**ProfileOptionBuilder().build(), **options}

    def counts(self, node: GraphNodeProto) -> bool:
        wanted = self.options["account_type_regexes"]
        return wanted == [".*"] or any(_any_matches(wanted, kind) for kind in node.types)

    def is_shown(self, node: GraphNodeProto, depth: int) -> bool:
        told = self.options
        least = (
            ("min_bytes", node.total_requested_bytes), ("min_peak_bytes", node.total_peak_bytes),
            ("min_residual_bytes", node.total_residual_bytes), ("min_output_bytes", node.total_output_bytes),
            ("min_micros", node.total_exec_micros),
            ("min_accelerator_micros", node.total_accelerator_exec_micros),
            ("min_cpu_micros", node.total_cpu_exec_micros), ("min_params", node.parameters),
            ("min_float_ops", node.float_ops), ("min_occurrence", node.run_count),
        )  # fmt: skip
        if depth > told["max_depth"] or any(value < told.get(option, 0) for option, value in least):
            return False
        return _any_matches(told["show_name_regexes"], node.name) and not _any_matches(
            told["hide_name_regexes"], node.name
        )

    def ordered(self, nodes: Iterable[GraphNodeProto], total: str = "total_") -> list[GraphNodeProto]:
        by_name = sorted(nodes, key=lambda node: node.name)
        order = self.options["order_by"]
        if order == "name":
            return by_name
        figure = _ORDERS.get(order)
        if figure is None:
            raise ValueError(f"cannot order by {order!r}: name, {', '.join(_ORDERS)} are known")
        return sorted(by_name, key=lambda node: -getattr(node, f"{total}{figure}"))

    # -- trees of scopes and of data flow ------------------------------------------------------

    def tree(self, roots: list[GraphNodeProto], inner: Mapping[int, list[GraphNodeProto]]) -> GraphNodeProto:
        """Counts a forest and cuts it down to what is shown, under one root."""
        root = GraphNodeProto(_ROOT, children=roots)
        kept: dict[int, list[GraphNodeProto]] = {}
        order: list[tuple[GraphNodeProto, int]] = []
        # The root counts as a level, as in TensorFlow.
        stack = [(node, 2) for node in reversed(roots)]
        while stack:
            node, depth = stack.pop()
            order.append((node, depth))
            kept[id(node)] = list(inner.get(id(node), ()))
            stack.extend((child, depth + 1) for child in reversed(kept[id(node)]))
        counted: set[int] = set()
        for node, _ in reversed(order):
            node.is_counted = self.counts(node)
            node._begin()
            alive = [child for child in kept[id(node)] if id(child) in counted]
            kept[id(node)] = alive
            for child in alive:
                node._add(child)
            if node.is_counted or alive:
                counted.add(id(node))
        shown: dict[int, list[GraphNodeProto]] = {}
        only = self.options["account_displayed_op_only"]
        for node, depth in reversed(order):
            if id(node) not in counted:
                continue
            if _any_matches(self.options["trim_name_regexes"], node.name):
                shown[id(node)] = []
                continue
            below = [found for child in kept[id(node)] for found in shown[id(child)]]
            if not self.is_shown(node, depth):
                shown[id(node)] = below
                continue
            self._hang(node, below, only)
            shown[id(node)] = [node]
        tops = [found for node in roots if id(node) in counted for found in shown[id(node)]]
        started = self.options["start_name_regexes"]
        if started != [".*"]:
            tops = _starting(tops, started)
        self._hang(root, tops, only)
        if not only:
            root._begin()
            for node in roots:
                if id(node) in counted:
                    root._add(node)
        return root

    def _hang(self, node: GraphNodeProto, below: list[GraphNodeProto], only_shown: bool) -> None:
        node.children = self.ordered(below)
        if only_shown:
            node._begin()
            for child in node.children:
                node._add(child)

    def by_scope(self, nodes: Mapping[str, GraphNodeProto]) -> GraphNodeProto:
        """The tree of names."""
        every: dict[str, GraphNodeProto] = dict(nodes)
        inner: dict[int, list[GraphNodeProto]] = {}
        roots = []
        for name in list(nodes):
            while name:
                node = every[name]
                outer = name.rpartition("/")[0]
                if not outer:
                    roots.append(node)
                    break
                is_new = outer not in every
                above = every.setdefault(outer, GraphNodeProto(outer))
                inner.setdefault(id(above), []).append(node)
                if not is_new:
                    break
                name = outer
        for children in inner.values():
            children.sort(key=lambda node: node.name)
        return self.tree(sorted(roots, key=lambda node: node.name), inner)

    def by_flow(self, graph: Graph, nodes: Mapping[str, GraphNodeProto]) -> GraphNodeProto:
        """The tree of what each operation takes, every one once."""
        taken = {t.op.name for op in graph.get_operations() for t in op.inputs}
        seen: set[str] = set()
        inner: dict[int, list[GraphNodeProto]] = {}
        roots = [node for name, node in nodes.items() if name not in taken]
        stack = [graph.get_operation_by_name(node.name) for node in reversed(roots)]
        owners: dict[str, str] = {}
        while stack:
            op = stack.pop()
            if op.name in seen:
                continue
            seen.add(op.name)
            if op.name in owners:
                inner.setdefault(id(nodes[owners[op.name]]), []).append(nodes[op.name])
            for tensor in reversed(op.inputs):
                if tensor.op.name not in seen:
                    owners[tensor.op.name] = op.name
                    stack.append(tensor.op)
        return self.tree(roots, inner)

    # -- lists of types ------------------------------------------------------------------------

    def by_type(self, nodes: Mapping[str, GraphNodeProto]) -> MultiGraphNodeProto:
        """The types, each the child of the one before."""
        kinds: dict[str, MultiGraphNodeProto] = {}
        for node in nodes.values():
            for kind in node.types:
                own = kinds.setdefault(kind, MultiGraphNodeProto(kind, types={kind}))
                own.graph_nodes.append(node)
                for figure in _FIGURES:
                    setattr(own, figure, getattr(own, figure) + getattr(node, figure))
        counted = [one for one in kinds.values() if self.counts(one)]
        for one in counted:
            one.is_counted = True
            one._begin()
        root = MultiGraphNodeProto(_ROOT)
        below: GraphNodeProto | None = None
        for each in reversed(self.ordered([one for one in counted if self.is_shown(one, 1)], "")):
            each._begin()
            if below is not None:
                each.children = [below]
                each._add(below)
            below = each
        if below is not None:
            root.children = [below]
            root._add(below)
        return root

    # -- text ----------------------------------------------------------------------------------

    def _told(self, node: GraphNodeProto) -> str:
        parts = []
        for what in _SHOWN:
            if what not in self.options["select"]:
                continue
            for figure, form in _SHOWN[what]:
                own = form(getattr(node, figure)) if node.is_counted else "--"
                shape = (
                    "x".join(map(str, node.shapes))
                    if what == "params" and node.shapes and node.is_counted
                    else ""
                )
                unit = {"params": " params", "float_ops": " flops"}.get(what, "")
                text = f"{own}/{form(getattr(node, f'total_{figure}'))}{unit}"
                parts.append(f"{shape}, {text}" if shape else text)
        if "op_types" in self.options["select"]:
            parts.append("|".join(sorted(node.types)))
        return ", ".join(parts)

    def text_of_tree(self, root: GraphNodeProto) -> str:
        """The tree, a line per node, indented."""
        lines = []
        stack = [(root, 0)]
        while stack:
            node, depth = stack.pop()
            lines.append(f"{'  ' * depth}{node.name} ({self._told(node)})")
            stack.extend((child, depth + 1) for child in reversed(node.children))
        return "\n".join(lines)

    def text_of_types(self, root: MultiGraphNodeProto) -> str:
        """The list of types, with shares: of this and all that follow, and of it alone."""
        lines = []
        node: GraphNodeProto = root
        while node.children:
            node = node.children[0]
            cells = []
            for what in _SHOWN:
                if what not in self.options["select"]:
                    continue
                for figure, form in _SHOWN[what]:
                    whole = getattr(root, f"total_{figure}")
                    shares = [
                        100.0 * getattr(node, f) / whole if whole else 0.0
                        for f in (f"total_{figure}", figure)
                    ]
                    unit = {"params": " params", "float_ops": " float_ops"}.get(what, "")
                    told = f"{form(getattr(node, figure))}{unit} ({shares[0]:.2f}%, {shares[1]:.2f}%)"
                    cells.append(f"{told:>30}")
            if "occurrence" in self.options["select"]:
                cells.append(f"{node.run_count}|{node.definition_count}".rjust(30))
            lines.append(f"{node.name:<25}{', '.join(cells)}")
        return "\n".join(lines)

    def report(self, cmd: str, text: str) -> str:
        """What TensorFlow's profiler prints: the options, what the columns mean, the nodes."""
        told = self.options
        options = "\n".join(
            f"-{name:<26} {_option(told.get(name, 0))}" for name in _LISTED
        )  # fmt: skip
        select = [what for what in _SHOWN if what in told["select"]]
        meaning = [
            _DOCS["op" if cmd == "op" else "scope"],
            *(line for what in select for line in _DOCS_OF[what]),
        ]
        heads = " | ".join(
            ["node name", *(head for what in select for head in _HEADS[what])]
        )  # fmt: skip
        listed = ",".join(sorted(told["select"]))
        return (
            f"\n=========================Options=============================\n{options}\n"
            f"-{'select':<26} {listed}\n-{'output':<26} {told['output']}:\n\n"
            "==================Model Analysis Report======================\n\nDoc:\n" + "\n".join(meaning)
            + f"\n\nProfile:\n{heads}\n{text}\n\n======================End of Report==========================\n"
        )  # fmt: skip


def _starting(tops: list[GraphNodeProto], patterns: Sequence[str]) -> list[GraphNodeProto]:
    found = []
    stack = list(reversed(tops))
    while stack:
        node = stack.pop()
        if _any_matches(patterns, node.name):
            found.append(node)
        else:
            stack.extend(reversed(node.children))
    return found


def _number(value: int) -> str:
    for bound, unit in ((1e3, ""), (1e6, "k"), (1e9, "m")):
        if value < bound:
            return f"{value / bound * 1e3:.2f}{unit}" if unit else str(value)
    return f"{value / 1e9:.2f}b"


def _bytes(value: int) -> str:
    for bound, unit in ((1e3, "B"), (1e6, "KB"), (1e9, "MB")):
        if value < bound:
            return f"{value / bound * 1e3:.2f}{unit}" if unit != "B" else f"{value}B"
    return f"{value / 1e9:.2f}GB"


def _micros(value: int) -> str:
    if value < 1e3:
        return f"{value}us"
    return f"{value / 1e3:.2f}ms" if value < 1e6 else f"{value / 1e6:.2f}sec"


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


_ORDERS = {
    "bytes": "requested_bytes", "peak_bytes": "peak_bytes", "residual_bytes": "residual_bytes",
    "output_bytes": "output_bytes", "micros": "exec_micros", "accelerator_micros": "accelerator_exec_micros",
    "cpu_micros": "cpu_exec_micros", "params": "parameters", "float_ops": "float_ops", "occurrence": "run_count",
}  # fmt: skip
_TIMES = (("exec_micros", _micros), ("accelerator_exec_micros", _micros), ("cpu_exec_micros", _micros))
# What can be selected, in the order of the columns: the figures of each.
_SHOWN: dict[str, tuple[tuple[str, Callable[[int], str]], ...]] = {
    "bytes": (("requested_bytes", _bytes),),
    "peak_bytes": (("peak_bytes", _bytes),),
    "residual_bytes": (("residual_bytes", _bytes),),
    "output_bytes": (("output_bytes", _bytes),),
    "micros": _TIMES,
    "accelerator_micros": (_TIMES[1],),
    "cpu_micros": (_TIMES[2],),
    "params": (("parameters", _number),),
    "float_ops": (("float_ops", _number),),
}
_TIME_HEADS = ("total execution time", "accelerator execution time", "cpu execution time")
_HEADS = {
    "bytes": ("requested bytes",), "peak_bytes": ("peak bytes",), "residual_bytes": ("residual bytes",),
    "output_bytes": ("output bytes",), "micros": _TIME_HEADS, "accelerator_micros": (_TIME_HEADS[1],),
    "cpu_micros": (_TIME_HEADS[2],), "params": ("# parameters",), "float_ops": ("# float_ops",),
}  # fmt: skip
_DOCS = {
    "scope": "scope: names are paths; a line for each operation and each scope around it.",
    "op": "op: operations of one type are one line.",
}
_DOCS_OF = {
    "bytes": ("requested bytes: the bytes of an operation's results.",),
    "peak_bytes": ("peak bytes: the same.",),
    "residual_bytes": ("residual bytes: the same.",),
    "output_bytes": ("output bytes: the same.",),
    "micros": (
        "total execution time: on accelerators and the processor.", "cpu execution time: on the processor.",
        "accelerator execution time: on accelerators.",
    ),
    "accelerator_micros": ("accelerator execution time: on accelerators.",),
    "cpu_micros": ("cpu execution time: on the processor.",),
    "params": ("param: the number of elements of a variable.",),
    "float_ops": ("flops: floating-point operations, by formulas of the shapes; 0 where a shape is open.",),
}  # fmt: skip
_LISTED = (
    "max_depth", "min_bytes", "min_peak_bytes", "min_residual_bytes", "min_output_bytes", "min_micros",
    "min_accelerator_micros", "min_cpu_micros", "min_params", "min_float_ops", "min_occurrence", "step", "order_by",
    "account_type_regexes", "start_name_regexes", "trim_name_regexes", "show_name_regexes", "hide_name_regexes",
    "account_displayed_op_only",
)  # fmt: skip


def _profiled(graph: Graph, run_metas: Sequence[Any], cmd: str, options: Mapping[str, Any] | None) -> Any:
    if cmd not in ("scope", "graph", "op"):
        raise ValueError(f"Unknown cmd: {cmd!r}; 'scope', 'graph' and 'op' are known")
    view = _View(options if options is not None else ProfileOptionBuilder.trainable_variables_parameter())
    nodes = _nodes(graph, run_metas)
    root: Any
    if cmd == "op":
        root = view.by_type(nodes)
        text = view.text_of_types(root)
    else:
        root = view.by_scope(nodes) if cmd == "scope" else view.by_flow(graph, nodes)
        text = view.text_of_tree(root)
    output = str(view.options["output"])
    if output.startswith("stdout"):
        sys.stdout.write(view.report(cmd, text))
        sys.stdout.flush()
    elif output.startswith("file"):
        Path(output.partition("outfile=")[2]).write_text(view.report(cmd, text))
    return root


def profile(
    graph: Graph | None = None, run_meta: Any = None, op_log: Any = None, cmd: str = "scope",
    options: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """Counts what a graph holds and takes, and prints it.

    Args:
      graph: the graph; default the default one.
      run_meta: a `RunMetadata` of a traced run, for times and bytes.
      op_log: accepted.
      cmd: "scope" (a tree of names), "graph" (a tree of what takes what) or "op" (a list of types).
      options: from a `ProfileOptionBuilder`; default: the parameters of trainable variables.

    Returns:
      the root: a `GraphNodeProto`, or a `MultiGraphNodeProto` for "op"; `total_float_ops`, `total_parameters` and
      the like are of all that is shown.

    Raises:
      ValueError: if `cmd` or an option is unknown.
    """
    del op_log
    graph = get_default_graph() if graph is None else graph
    return _profiled(graph, [] if run_meta is None else [run_meta], cmd, options)


class Profiler:
    """Profiles of one graph over several traced steps.

    Args:
      graph: the graph; default the default one.
      op_log: accepted.
    """

    def __init__(self, graph: Graph | None = None, op_log: Any = None) -> None:
        del op_log
        self._graph = get_default_graph() if graph is None else graph
        self._steps: dict[int, Any] = {}

    def add_step(self, step: int, run_meta: Any) -> None:
        """Adds the trace of a step."""
        self._steps[step] = run_meta

    def _profiled(self, cmd: str, options: Mapping[str, Any]) -> Any:
        step = options.get("step", -1)
        if step >= 0 and step not in self._steps:
            raise ValueError(f"no trace of step {step} was added; there are {sorted(self._steps)}")
        metas = list(self._steps.values()) if step < 0 else [self._steps[step]]
        return _profiled(self._graph, metas, cmd, options)

    def profile_operations(self, options: Mapping[str, Any]) -> MultiGraphNodeProto:
        """Profiles by type."""
        found: MultiGraphNodeProto = self._profiled("op", options)
        return found

    def profile_name_scope(self, options: Mapping[str, Any]) -> GraphNodeProto:
        """Profiles by name scope."""
        found: GraphNodeProto = self._profiled("scope", options)
        return found

    def profile_graph(self, options: Mapping[str, Any]) -> GraphNodeProto:
        """Profiles by data flow."""
        found: GraphNodeProto = self._profiled("graph", options)
        return found


__all__ = ["GraphNodeProto", "MultiGraphNodeProto", "ProfileOptionBuilder", "Profiler", "profile"]
