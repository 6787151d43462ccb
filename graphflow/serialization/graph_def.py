"""Graphs as GraphDef."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from graphflow.collector import without_collector
from graphflow.graph import Graph, Operation
from graphflow.serialization.attr_value import attr_to_proto
from graphflow.serialization.function_def import function_to_def, functions_under
from graphflow.serialization.proto import graph_pb2, node_def_pb2, variable_pb2
from graphflow.serialization.tensor_bundle import write_file
from graphflow.serialization.tensor_proto import shape_to_proto
from graphflow.version import GRAPH_DEF_VERSION

# A protobuf message cannot be longer, and its writers do not say so.
_LARGEST_MESSAGE = (1 << 31) - 1


def operation_to_node_def(operation: Operation, add_shapes: bool = False) -> node_def_pb2.NodeDef:
    """Returns the NodeDef of an operation; with `add_shapes` the shapes of its outputs go along."""
    node = node_def_pb2.NodeDef(name=operation.name, op=operation.type, device=operation.device)
    for tensor in operation.inputs:
        source = tensor.op.name
        node.input.append(source if tensor.value_index == 0 else f"{source}:{tensor.value_index}")
    node.input.extend([f"^{control.name}" for control in operation.control_inputs])
    signature = operation.op_def.attrs
    for name, value in operation.attrs.items():
        attr = signature.get(name)
        try:
            node.attr[name].CopyFrom(attr_to_proto(value, attr.kind if attr is not None else None))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{operation.type} {operation.name!r}: attribute {name!r}: {error}") from None
    if add_shapes and operation.outputs:
        shapes = node.attr["_output_shapes"].list.shape
        shapes.extend([shape_to_proto(tensor.shape) for tensor in operation.outputs])
    return node


def graph_to_graph_def(
    graph: Graph, from_version: int | None = None, add_shapes: bool = False
) -> graph_pb2.GraphDef:
    """Returns the GraphDef of a graph.

    Args:
      graph: the graph.
      from_version: accepted; the whole graph is returned whatever it says.
      add_shapes: whether each node carries the shapes of its outputs as `_output_shapes`.
    """
    return operations_to_graph_def(graph.get_operations(), add_shapes)


def operations_to_graph_def(operations: Iterable[Operation], add_shapes: bool = False) -> graph_pb2.GraphDef:
    """Returns a GraphDef of these operations only, and of the functions that they call."""
    proto = graph_pb2.GraphDef()
    proto.versions.producer = GRAPH_DEF_VERSION
    operations = list(operations)
    with without_collector():
        proto.node.extend(operation_to_node_def(operation, add_shapes) for operation in operations)
        for function in functions_under(operations):
            proto.library.function.append(function_to_def(function, operation_to_node_def))
    return proto


def serialize(message: Any, what: str) -> bytes:
    """Returns a message's bytes.

    Raises:
      ValueError: if it is larger than protobuf's limit of 2 GiB.
    """
    size = message.ByteSize()
    if size > _LARGEST_MESSAGE:
        raise ValueError(
            f"{what} would be {size / 2**30:.1f} GiB, and a protobuf message holds at most 2 GiB; keep large "
            "arrays in variables (which go into the checkpoint) instead of constants"
        )
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def write_graph(
    graph_or_graph_def: Any, logdir: str | os.PathLike[str], name: str, as_text: bool = True
) -> str:
    """Writes a graph to the file `logdir/name`, as text or as bytes; makes the folder.

    Args:
      graph_or_graph_def: a Graph, or a GraphDef.
      logdir: the folder.
      name: the file's name.
      as_text: whether to write protobuf's text form.

    Returns:
      The path of the file.
    """
    is_graph = isinstance(graph_or_graph_def, Graph)
    proto = graph_to_graph_def(graph_or_graph_def) if is_graph else graph_or_graph_def
    folder = Path(logdir)
    folder.mkdir(parents=True, exist_ok=True)
    path = os.path.join(os.fspath(logdir), name)
    if as_text:
        write_file(path, text_format.MessageToString(proto).encode())
    else:
        write_file(path, serialize(proto, f"the graph {name!r}"))
    return path


def variable_to_proto(variable: Any, export_scope: str | None = None) -> variable_pb2.VariableDef | None:
    """Returns the VariableDef of a variable, or None for one outside `export_scope`.

    Names are relative to the scope.
    """
    if export_scope is not None and not variable.name.startswith(export_scope):
        return None

    def strip(name: str) -> str:
        return name.removeprefix(export_scope).lstrip("/") if export_scope else name

    proto = variable_pb2.VariableDef(is_resource=True, trainable=variable.trainable)
    proto.variable_name = strip(variable.name)
    if variable.initial_value is not None:
        proto.initial_value_name = strip(variable.initial_value.name)
    proto.initializer_name = strip(variable.initializer.name)
    proto.snapshot_name = strip(variable._snapshot.name)
    piece = variable._save_slice_info
    if piece is not None:
        proto.save_slice_info_def.full_name = strip(piece.full_name)
        proto.save_slice_info_def.full_shape.extend(piece.full_shape)
        proto.save_slice_info_def.var_offset.extend(piece.var_offset)
        proto.save_slice_info_def.var_shape.extend(piece.var_shape)
    proto.synchronization = variable.synchronization.value
    proto.aggregation = variable.aggregation.value
    return proto
