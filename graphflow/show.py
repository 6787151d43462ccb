"""What `graphflow show` finds out about a model file: its graph, what each pass does to it, the plan of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.compiler import CompileOptions, compile_graph
from graphflow.graph import Graph, Operation, Tensor
from graphflow.later import CutPlan, RoomPlan
from graphflow.optimizer_passes.manager import PassReport
from graphflow.plan import Plan
from graphflow.profiling import Profile, profile
from graphflow.program import Program, variable_name
from graphflow.serialization.graph_import import import_graph_def, read_graph_def
from graphflow.serialization.meta_graph import import_scoped_meta_graph, read_meta_graph_file
from graphflow.serialization.saved_model import element, read_saved_model
from graphflow.session import Session
from graphflow.variable_store import VariableStore
from graphflow.visualize import write_svg

_DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Model:
    """A graph from a file, and what a run of it takes and gives unless one says otherwise."""

    graph: Graph
    feeds: tuple[Tensor, ...]
    fetches: tuple[Tensor | Operation, ...]


@dataclass(frozen=True)
class Story:
    """One run's way through the compiler.

    Attributes:
      frozen: the slice of the graph that the run needs.
      reports: what each pass did, in order, with the programs before and after.
      plan: what is executed.
    """

    frozen: Program
    reports: tuple[PassReport, ...]
    plan: Plan | CutPlan | RoomPlan


def open_model(path: str | os.PathLike[str]) -> Model:
    """Reads a SavedModel folder, a MetaGraphDef (`.meta`), or a GraphDef (`.pb`, or `.pbtxt` in text form).

    Raises:
      OpError, OSError, ValueError: if there is no such file, or it is damaged, or holds no graph.
    """
    name = os.fspath(path)
    graph = Graph()
    proto = None
    if os.path.isdir(name):
        proto = read_saved_model(name).meta_graphs[0]
    elif name.endswith(".meta"):
        proto = read_meta_graph_file(name)
    with graph.as_default():
        if proto is None:
            import_graph_def(read_graph_def(name), name="")
            return Model(graph, _placeholders(graph), _ends(graph))
        import_scoped_meta_graph(proto, graph=graph)
    return _with_signature(graph, proto)


def _with_signature(graph: Graph, proto: Any) -> Model:
    """Takes feeds and fetches from the default signature, or the first one there is."""
    names = [name for name in proto.signature_def if proto.signature_def[name].outputs]
    if not names:
        return Model(graph, _placeholders(graph), _ends(graph))
    signature = proto.signature_def[_DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in names else names[0]]
    feeds = tuple(element(graph, info) for info in signature.inputs.values())
    return Model(graph, feeds, tuple(element(graph, info) for info in signature.outputs.values()))


def _placeholders(graph: Graph) -> tuple[Tensor, ...]:
    return tuple(op.outputs[0] for op in graph.get_operations() if op.type.startswith("Placeholder"))


def _ends(graph: Graph) -> tuple[Tensor | Operation, ...]:
    """Returns what nothing else in the graph takes."""
    needed = {control for op in graph.get_operations() for control in op.control_inputs}
    ends: list[Tensor | Operation] = []
    for operation in graph.get_operations():
        if operation in needed or any(tensor.consumers() for tensor in operation.outputs):
            continue
        values = [tensor for tensor in operation.outputs if tensor.dtype.name not in ("resource", "variant")]
        ends += values or ([] if operation.outputs else [operation])
    return tuple(ends)


def choose(model: Model, feeds: Sequence[str] = (), fetches: Sequence[str] = ()) -> Model:
    """Returns the model with other feeds and fetches, by name; an empty list leaves them as they are.

    Raises:
      KeyError, ValueError: for a name that the graph does not have.
    """

    def tensors(names: Sequence[str]) -> tuple[Tensor, ...]:
        return tuple(model.graph.get_tensor_by_name(name if ":" in name else f"{name}:0") for name in names)

    chosen: list[Tensor | Operation] = []
    for name in fetches:
        found = model.graph.as_graph_element(name)
        # The name of an operation stands for its outputs: nobody asks what running it for nothing costs.
        chosen += found.outputs if isinstance(found, Operation) and found.outputs else [found]
    return Model(model.graph, tensors(feeds) or model.feeds, tuple(chosen) or model.fetches)


def tell(model: Model, size: int = 1, options: CompileOptions | None = None) -> Story:
    """Compiles one run of a model; every size of a feed that the graph leaves open becomes `size`.

    Raises:
      ValueError: if a fed tensor's rank is not known, or the sizes do not fit together.
    """
    shapes = tuple(_sizes(feed, size) for feed in model.feeds)
    executable = compile_graph(list(model.fetches), list(model.feeds), options)
    bound = executable.bind(shapes, VariableStore())
    return Story(executable.frozen, (*executable.reports, *bound.reports), bound.plan)


def _sizes(feed: Tensor, size: int) -> tuple[int, ...]:
    dims = feed.shape.as_tuple()
    if dims is None:
        raise ValueError(f"the rank of {feed.name!r} is not known, so no run of it can be planned")
    return tuple(size if dim is None else dim for dim in dims)


def measure(model: Model, size: int = 1, options: CompileOptions | None = None) -> Profile:
    """Runs a model on zeros, its variables zeros too, and says where the time goes.

    Args:
      model: the model.
      size: takes the place of every size of a feed that the graph leaves open.
      options: how to compile.

    Raises:
      ValueError: if a fed tensor's or a variable's shape is not known.
      Exception: as for `Session.run`.
    """
    feeds = {feed: np.zeros(_sizes(feed, size), feed.dtype.as_numpy_dtype) for feed in model.feeds}
    with Session(graph=model.graph, compile_options=options) as session:
        for operation in model.graph.get_operations():
            if operation.type == "VarHandleOp":
                handle = operation.outputs[0]
                dims = handle.handle_shape.as_tuple() or (None,) * (handle.handle_shape.rank is None)
                known = [dim for dim in dims if dim is not None]
                if len(known) < len(dims):
                    raise ValueError(f"the shape of variable {operation.name!r} is not known")
                zeros = np.zeros(known, handle.handle_dtype.as_numpy_dtype)
                session.load_variable(variable_name(handle), zeros)
        return profile(session, list(model.fetches), feeds)


def write_story(story: Story, path: str | os.PathLike[str]) -> list[Path]:
    """Draws the program before all passes and after each one that changed it; returns the files.

    For `model.svg` they are called `model-0-frozen.svg`, `model-1-prune.svg` and so on.
    """
    base = Path(path)
    drawn = [("frozen", story.frozen)]
    drawn += [
        (report.name, report.after)
        for report in story.reports
        if any(report.counts.values()) and report.after is not None
    ]
    files = []
    for number, (name, program) in enumerate(drawn):
        file = base.with_name(f"{base.stem}-{number}-{name}{base.suffix or '.svg'}")
        write_svg(program, file, title=f"{base.stem}: {name if number else 'as frozen'}")
        files.append(file)
    return files
