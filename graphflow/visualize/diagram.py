"""What a picture shows, before anything has a place: boxes in nested frames, and links between them."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from graphflow.dtypes import DType, resource
from graphflow.graph import Graph
from graphflow.opdef import OpDef
from graphflow.program import FEED, Node, Program
from graphflow.shapes import TensorShape

Scope = tuple[str, ...]

# What an op is, as its definition says; colours hang on it.
KINDS = (
    "feed", "constant", "state", "random", "contraction", "reduction", "elementwise", "layout", "host",
    "other", "scope",
)  # fmt: skip


@dataclass(eq=False)
class Box:
    """One operation, or a scope that is shown closed.

    Attributes:
      title: the op type, or the scope's name.
      name: the operation's own name, without its scopes.
      kind: one of KINDS.
      tooltip: all there is to say.
      gives: the shapes of its outputs.
      order: its place in the order of making.
      size: how many operations it stands for.
    """

    title: str
    name: str
    kind: str
    tooltip: str
    order: int
    size: int = 1
    gives: str = ""


@dataclass(eq=False)
class Frame:
    """An open scope: a name, and boxes and frames in it."""

    name: str
    items: list[Box | Frame] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    """What flows between two boxes.

    Attributes:
      label: dtype and shape, or how many tensors flow.
      control: whether only order flows.
    """

    source: Box
    target: Box
    label: str
    control: bool


@dataclass(frozen=True)
class Diagram:
    """A frame with everything in it, and the links."""

    root: Frame
    links: tuple[Link, ...]


@dataclass(frozen=True)
class _Entry:
    """One operation or node, whatever it comes from."""

    name: str
    op_def: OpDef
    tooltip: str
    gives: str
    # (index of the entry it comes from, label, control)
    incoming: tuple[tuple[int, str, bool], ...]


def kind_of(op_def: OpDef) -> str:
    """Returns what sort of thing an op is, by its definition."""
    if op_def.effects == "host":
        return "host"
    if op_def.effects == "random":
        return "random"
    if not op_def.inputs and not op_def.outputs:
        return "other"
    if op_def.name in ("Placeholder", "PlaceholderWithDefault", "GraphflowFeed"):
        return "feed"
    if op_def.effects or any(arg.dtype is resource for arg in (*op_def.inputs, *op_def.outputs)):
        return "state"
    if not op_def.inputs:
        return "constant"
    if any(word in op_def.lowering for word in ("matmul", "conv", "contraction")):
        return "contraction"
    if op_def.reduction or op_def.row is not None:
        return "reduction"
    if op_def.scalar is not None:
        return "elementwise"
    if op_def.view or op_def.index is not None:
        return "layout"
    return "other"


def diagram_of(source: Graph | Program, most_boxes: int) -> Diagram:
    """Returns what a picture of a graph or program shows, in at most about `most_boxes` boxes."""
    entries = _graph_entries(source) if isinstance(source, Graph) else _program_entries(source)
    root = Frame("")
    frames: dict[Scope, Frame] = {(): root}
    closed: dict[Scope, Box] = {}
    shown: list[Box] = []
    rest: Box | None = None
    paths = _paths(entries)
    opened = _opened_scopes(paths, most_boxes)
    for order, (entry, path) in enumerate(zip(entries, paths, strict=True)):
        *scope, own_name = path
        depth = 0
        while depth < len(scope) and tuple(scope[: depth + 1]) in opened:
            depth += 1
        inside = tuple(scope[:depth])
        if depth < len(scope):
            key = tuple(scope[: depth + 1])
            if key not in closed:
                closed[key] = Box(key[-1], "", "scope", "", order, 0)
                _frame(frames, inside).items.append(closed[key])
            box = closed[key]
            box.size += 1
            box.name = box.tooltip = f"{box.size} operations"
        elif not inside and len(root.items) >= most_boxes:
            # No scope to close: a long flat graph shows its beginning.
            if rest is None:
                rest = Box("and more", "", "scope", "", order, 0)
                root.items.append(rest)
            box = rest
            box.size += 1
            box.name = box.tooltip = f"{box.size} operations"
        else:
            box = Box(
                entry.op_def.name.removeprefix("Graphflow"),
                own_name,
                kind_of(entry.op_def),
                entry.tooltip,
                order,
                1,
                entry.gives,
            )
            _frame(frames, inside).items.append(box)
        shown.append(box)
    _dissolve(root)
    return Diagram(root, _links(entries, shown))


def _paths(entries: list[_Entry]) -> list[Scope]:
    """Splits names at slashes; the handle of a variable goes into the scope that has its name."""
    scopes = set()
    for entry in entries:
        at = entry.name.find("/")
        while at >= 0:
            scopes.add(entry.name[:at])
            at = entry.name.find("/", at + 1)
    return [
        (*entry.name.split("/"), entry.name.rpartition("/")[2])
        if entry.name in scopes and not entry.incoming
        else tuple(entry.name.split("/"))
        for entry in entries
    ]


def _opened_scopes(paths: list[Scope], most_boxes: int) -> set[Scope]:
    """Chooses the scopes to show open: small ones first, as long as there is room."""
    sizes: Counter[Scope] = Counter()
    children: dict[Scope, set[Scope]] = {(): set()}
    for parts in paths:
        for depth in range(1, len(parts) + 1):
            children.setdefault(parts[: depth - 1], set()).add(parts[:depth])
            if depth < len(parts):
                sizes[parts[:depth]] += 1
    opened: set[Scope] = set()
    boxes = len(children[()])
    waiting = [(sizes[scope], scope) for scope in children[()] if scope in sizes]
    heapq.heapify(waiting)
    while waiting:
        _, scope = heapq.heappop(waiting)
        if boxes + len(children[scope]) - 1 > most_boxes and len(children[scope]) > 1:
            continue
        boxes += len(children[scope]) - 1
        opened.add(scope)
        for child in children[scope]:
            if child in sizes:
                heapq.heappush(waiting, (sizes[child], child))
    return opened


def _frame(frames: dict[Scope, Frame], scope: Scope) -> Frame:
    """Returns the frame of an open scope, made with its outer ones if there is none yet."""
    for depth in range(1, len(scope) + 1):
        if scope[:depth] not in frames:
            frames[scope[:depth]] = Frame(scope[depth - 1])
            frames[scope[: depth - 1]].items.append(frames[scope[:depth]])
    return frames[scope]


def _dissolve(frame: Frame) -> None:
    """Takes away frames around a single item; the item's name says where it stood."""
    waiting = [frame]
    order = []
    while waiting:
        current = waiting.pop()
        order.append(current)
        waiting.extend(item for item in current.items if isinstance(item, Frame))
    for current in reversed(order):
        for at, item in enumerate(current.items):
            if isinstance(item, Frame) and len(item.items) == 1:
                (only,) = item.items
                only.name = f"{item.name}/{only.name}" if only.name else item.name
                current.items[at] = only


def _links(entries: list[_Entry], shown: list[Box]) -> tuple[Link, ...]:
    """Joins what flows between the same two boxes into one link."""
    flows: dict[tuple[Box, Box], list[tuple[str, bool]]] = {}
    for entry, target in zip(entries, shown, strict=True):
        for index, label, control in entry.incoming:
            source = shown[index]
            if source is not target:
                flows.setdefault((source, target), []).append((label, control))
    links = []
    for (source, target), items in flows.items():
        labels = [label for label, control in items if not control]
        text = labels[0] if len(labels) == 1 else f"{len(labels)} tensors" if labels else ""
        links.append(Link(source, target, text, not labels))
    return tuple(links)


def _describe(shape: TensorShape, dtype: DType) -> str:
    dims = shape.as_tuple()
    if dtype.name in ("resource", "variant"):
        return ""
    if dims is None:
        return f"{dtype.name} ?"
    sizes = "×".join("?" if size is None else str(size) for size in dims)
    return sizes or "scalar"


def _graph_entries(graph: Graph) -> list[_Entry]:
    operations = graph.get_operations()
    index = {operation: at for at, operation in enumerate(operations)}
    entries = []
    for operation in operations:
        incoming = [
            (index[tensor.op], _describe(tensor.shape, tensor.dtype), False) for tensor in operation.inputs
        ]
        incoming += [(index[control], "", True) for control in operation.control_inputs]
        outputs = ", ".join(f"{t.dtype.name} {t.shape}" for t in operation.outputs)
        tooltip = f"{operation.name} = {operation.type} -> {outputs}"
        if operation.user_line:
            tooltip += f"\nmade at {operation.user_line}"
        gives = ", ".join(_describe(tensor.shape, tensor.dtype) for tensor in operation.outputs[:3])
        entries.append(_Entry(operation.name, operation.op_def, tooltip, gives, tuple(incoming)))
    return entries


def _program_entries(program: Program) -> list[_Entry]:
    nodes = program.nodes
    index = {node: at for at, node in enumerate(nodes)}
    scopes = _scopes_of_users(program)
    entries = []
    for node in nodes:
        incoming = [(index[value.node], _describe(value.shape, value.dtype), False) for value in node.inputs]
        incoming += [(index[control], "", True) for control in node.controls]
        outputs = ", ".join(str(value) for value in node.types)
        tooltip = f"{node.name} = {node.type} -> {outputs}"
        gives = ", ".join(_describe(value.shape, value.dtype) for value in node.outputs[:3])
        name = scopes[node] + node.name.rpartition("/")[2] if node in scopes else node.name
        entries.append(_Entry(name, node.op_def, tooltip, gives, tuple(incoming)))
    return entries


def _scopes_of_users(program: Program) -> dict[Node, str]:
    """Returns the scope in which a variable or constant is used, if it is one only: that is where it is shown."""
    scopes: dict[Node, set[str]] = {}
    for node in program.nodes:
        for value in node.inputs:
            if not value.node.inputs and value.node.op_def is not FEED:
                scopes.setdefault(value.node, set()).add(node.name[: node.name.rfind("/") + 1])
    return {node: next(iter(found)) for node, found in scopes.items() if len(found) == 1}
