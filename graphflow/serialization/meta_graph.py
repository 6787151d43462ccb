"""MetaGraphDef: a graph with its collections, signatures and the names its saver uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import text_format

from graphflow.graph import Graph, GraphKeys, Operation, Tensor, get_default_graph
from graphflow.serialization.function_def import function_to_def, functions_under
from graphflow.serialization.graph_def import operation_to_node_def, serialize
from graphflow.serialization.graph_import import (
    as_message,
    import_graph,
    read_message,
)
from graphflow.serialization.proto import (
    graph_pb2,
    meta_graph_pb2,
    queue_runner_pb2,
    saver_pb2,
    variable_pb2,
)
from graphflow.serialization.regions import parse_input
from graphflow.serialization.tensor_bundle import write_file
from graphflow.variables import Variable
from graphflow.version import GRAPH_DEF_VERSION

_log = logging.getLogger("graphflow")

# What these hold are variables, serialized as VariableDef.
VARIABLE_COLLECTIONS = frozenset(
    {
        GraphKeys.GLOBAL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES, GraphKeys.LOCAL_VARIABLES,
        GraphKeys.METRIC_VARIABLES, GraphKeys.MODEL_VARIABLES, GraphKeys.MOVING_AVERAGE_VARIABLES,
        GraphKeys.GLOBAL_STEP, GraphKeys.CONCATENATED_VARIABLES,
        GraphKeys.TRAINABLE_RESOURCE_VARIABLES, GraphKeys.WEIGHTS, GraphKeys.BIASES,
    }
)  # fmt: skip
# What these hold describes control flow and input threads in a way that means nothing to graphflow.
_UNREAD_COLLECTIONS = frozenset({GraphKeys.COND_CONTEXT, GraphKeys.WHILE_CONTEXT})


# ---------------------------------------------------------------------------------------------------- export


def _in_scope(name: str, scope: str | None) -> bool:
    return not scope or name.startswith(f"{scope.rstrip('/')}/")


def _strip_scope(name: str, scope: str | None) -> str:
    if not scope:
        return name
    prefix = f"{scope.rstrip('/')}/"
    for mark in ("^", "loc:@", ""):
        if name.startswith(mark + prefix):
            return mark + name[len(mark) + len(prefix) :]
    return name


def _export_nodes(
    graph: Graph, scope: str | None, clear_devices: bool, strip_default_attrs: bool
) -> graph_pb2.GraphDef:
    proto = graph_pb2.GraphDef()
    proto.versions.producer = GRAPH_DEF_VERSION
    unbound: list[str] = []
    operations = [operation for operation in graph.get_operations() if _in_scope(operation.name, scope)]
    for function in functions_under(operations):
        proto.library.function.append(function_to_def(function, operation_to_node_def))
    for operation in operations:
        node = operation_to_node_def(operation)
        if clear_devices:
            node.device = ""
        if strip_default_attrs:
            for attr in operation.op_def.attrs.values():
                if (
                    attr.has_default
                    and attr.name in node.attr
                    and _equal(operation.attrs[attr.name], attr.default)
                ):
                    del node.attr[attr.name]
        if scope:
            unbound += [text for text in node.input if not _in_scope(parse_input(text)[0], scope)]
            node.name = _strip_scope(node.name, scope)
            inputs = [_strip_scope(text, scope) for text in node.input]
            del node.input[:]
            node.input.extend(inputs)
            if "_class" in node.attr:
                groups = [
                    _strip_scope(group.decode(), scope).encode() for group in node.attr["_class"].list.s
                ]
                node.attr["_class"].list.s[:] = groups
        proto.node.append(node)
    if unbound:
        raise ValueError(
            f"the scope {scope!r} cannot be exported: it has inputs from outside: {unbound[:10]}"
        )
    return proto


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _collection_to_proto(
    key: str, items: Sequence[Any], scope: str | None
) -> meta_graph_pb2.CollectionDef | None:
    """Returns a collection as a message, or None if its items have no form in a file."""
    proto = meta_graph_pb2.CollectionDef()
    for item in items:
        if hasattr(item, "to_proto"):
            message = item.to_proto(export_scope=scope)
            if message is not None:
                proto.bytes_list.value.append(message.SerializeToString(deterministic=True))
        elif isinstance(item, saver_pb2.SaverDef):
            proto.bytes_list.value.append(item.SerializeToString(deterministic=True))
        elif isinstance(item, str | bytes):
            proto.bytes_list.value.append(item.encode() if isinstance(item, str) else item)
        elif isinstance(item, int) and not isinstance(item, bool):
            proto.int64_list.value.append(item)
        elif isinstance(item, float):
            proto.float_list.value.append(item)
        elif isinstance(item, Tensor | Operation):
            if _in_scope(item.name, scope):
                proto.node_list.value.append(_strip_scope(item.name, scope))
        else:
            _log.warning("collection %r is not saved: it holds a %s", key, type(item).__name__)
            return None
        if len(proto.ListFields()) > 1:
            _log.warning("collection %r is not saved: its items are of several kinds", key)
            return None
    return proto


def export_meta_graph(
    filename: str | os.PathLike[str] | None = None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Iterable[str] | None = None,
    as_text: bool = False,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
) -> meta_graph_pb2.MetaGraphDef:
    """Returns the MetaGraphDef of a graph, as `tf.train.export_meta_graph` does.

    Args:
      filename: where to write it, or None.
      meta_info_def: a MetaInfoDef to put in, or None.
      graph_def: a GraphDef to put in instead of the graph's own.
      saver_def: a SaverDef to put in.
      collection_list: the collections to put in; default all.
      as_text: whether to write protobuf's text form.
      graph: the graph; default the default graph.
      export_scope: only what is in this name scope, with names relative to it.
      clear_devices: whether to leave out the devices of nodes.
      clear_extraneous_savers: whether to leave out the collection of savers.
      strip_default_attrs: whether to leave out attributes that have their default value.
      save_debug_info: accepted; there is none.

    Raises:
      ValueError: if a scope is exported that has inputs from outside.
    """
    graph = graph or get_default_graph()
    proto = meta_graph_pb2.MetaGraphDef()
    if meta_info_def is not None:
        proto.meta_info_def.CopyFrom(
            as_message(meta_info_def, meta_graph_pb2.MetaGraphDef.MetaInfoDef, "meta_info_def")
        )
    proto.meta_info_def.meta_graph_version = proto.meta_info_def.meta_graph_version or "1.0"
    proto.meta_info_def.stripped_default_attrs = strip_default_attrs
    if graph_def is not None:
        proto.graph_def.CopyFrom(as_message(graph_def, graph_pb2.GraphDef, "graph_def"))
    else:
        proto.graph_def.CopyFrom(_export_nodes(graph, export_scope, clear_devices, strip_default_attrs))
    keys = graph.get_all_collection_keys() if collection_list is None else list(collection_list)
    for key in keys:
        if clear_extraneous_savers and key == GraphKeys.SAVERS:
            continue
        items = graph.get_collection(key)
        collection = _collection_to_proto(key, items, export_scope) if items else None
        if collection is not None:
            proto.collection_def[key].CopyFrom(collection)
    if saver_def is not None:
        proto.saver_def.CopyFrom(as_message(saver_def, saver_pb2.SaverDef, "saver_def"))
    if filename is not None:
        contents = (
            text_format.MessageToString(proto).encode() if as_text else serialize(proto, "the meta graph")
        )
        write_file(os.fspath(filename), contents)
    return proto


# ---------------------------------------------------------------------------------------------------- import


def read_meta_graph_file(filename: str | os.PathLike[str]) -> meta_graph_pb2.MetaGraphDef:
    """Returns the MetaGraphDef in a file, in binary or text form.

    Raises:
      NotFoundError: if there is no such file.
      DataLossError: if it holds no MetaGraphDef.
    """
    path = os.fspath(filename)
    text = path.endswith((".pbtxt", ".txt"))
    message: meta_graph_pb2.MetaGraphDef = read_message(path, meta_graph_pb2.MetaGraphDef, text)
    return message


# How the items of collections are read that hold neither tensors nor variables.
_readers: dict[str, Callable[[bytes, str | None], Any]] = {}


def register_collection(key: str, read: Callable[[bytes, str | None], Any]) -> None:
    """Says how items of a collection are read; they are written by their `to_proto`.

    Args:
      key: the collection.
      read: from (a message's bytes, the scope that its names are in here) to the item.
    """
    _readers[key] = read


def _collection_from_proto(
    graph: Graph,
    key: str,
    proto: meta_graph_pb2.CollectionDef,
    scope: str | None,
    variables: dict[str, Variable],
) -> None:
    kind = proto.WhichOneof("kind")
    if kind is None or key in _UNREAD_COLLECTIONS:
        return
    values: list[Any] = []
    if kind == "node_list":
        for name in proto.node_list.value:
            try:
                values.append(graph.as_graph_element(f"{scope}/{name}" if scope else name))
            except (KeyError, ValueError):
                _log.warning("collection %r: the graph has no %r", key, name)
    elif kind == "bytes_list" and key in VARIABLE_COLLECTIONS:
        for data in proto.bytes_list.value:
            definition = as_message(data, variable_pb2.VariableDef, f"an item of the collection {key!r}")
            variable = variables.get(definition.variable_name)
            if variable is None:
                try:
                    variable = Variable.from_proto(definition, import_scope=scope)
                except (KeyError, ValueError) as error:
                    _log.warning("collection %r: %s", key, error)
                    continue
                variables[definition.variable_name] = variable
            values.append(variable)
    elif kind == "bytes_list" and key in _readers:
        for data in proto.bytes_list.value:
            try:
                values.append(_readers[key](data, scope))
            except (KeyError, ValueError) as error:
                _log.warning("collection %r: %s", key, error)
    elif kind == "bytes_list" and key == GraphKeys.SAVERS:
        values = [as_message(data, saver_pb2.SaverDef, "a saver") for data in proto.bytes_list.value]
    elif kind == "any_list":
        values = list(proto.any_list.value)
    else:
        values = list(getattr(proto, kind).value)
    for value in values:
        graph.add_to_collection(key, value)


def import_scoped_meta_graph(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: Mapping[str, Any] | None = None,
    return_elements: Sequence[str] | None = None,
    restore_collections_predicate: Callable[[str], bool] = lambda key: True,
    roots: Iterable[str] | None = None,
) -> tuple[meta_graph_pb2.MetaGraphDef, list[Any] | None]:
    """Adds a MetaGraphDef to a graph.

    Args:
      meta_graph_or_file: a MetaGraphDef (of graphflow or TensorFlow) or the name of a file.
      clear_devices: whether to forget the devices of nodes.
      graph: the graph; default the default graph.
      import_scope: a scope to put before all names.
      input_map: tensors to use in place of inputs, see `import_graph_def`.
      return_elements: names of what to return.
      restore_collections_predicate: says by name which collections to restore.
      roots: names of the nodes that matter; if given, nodes of unknown types that none of them needs are
        left out instead of refused.

    Returns:
      The MetaGraphDef and what `return_elements` names.

    Raises:
      NotFoundError, DataLossError: if the file cannot be read.
      ValueError: if the graph does not hold together.
    """
    if isinstance(meta_graph_or_file, str | os.PathLike):
        proto = read_meta_graph_file(meta_graph_or_file)
    else:
        proto = as_message(meta_graph_or_file, meta_graph_pb2.MetaGraphDef, "meta_graph_or_file")
    graph = graph or get_default_graph()
    graph_def = proto.graph_def
    if clear_devices:
        graph_def = graph_pb2.GraphDef()
        graph_def.CopyFrom(proto.graph_def)
        for node in graph_def.node:
            node.device = ""
    producers = {op.name: op for op in proto.meta_info_def.stripped_op_list.op}
    with graph.as_default():
        scope = graph.unique_name(import_scope, mark_as_used=False) if import_scope else ""
        elements = import_graph(graph_def, input_map, return_elements, scope, producers, roots)
        variables: dict[str, Variable] = {}
        for key in sorted(proto.collection_def):
            if restore_collections_predicate(key):
                _collection_from_proto(graph, key, proto.collection_def[key], scope, variables)
    return proto, elements


# Formats of checkpoints.
V1: int = saver_pb2.SaverDef.V1
V2: int = saver_pb2.SaverDef.V2


def saver_def(
    filename_tensor_name: str,
    save_tensor_name: str,
    restore_op_name: str,
    max_to_keep: int,
    sharded: bool,
    keep_checkpoint_every_n_hours: float,
    version: int,
) -> saver_pb2.SaverDef:
    """Returns a SaverDef."""
    return saver_pb2.SaverDef(
        filename_tensor_name=filename_tensor_name,
        save_tensor_name=save_tensor_name,
        restore_op_name=restore_op_name,
        max_to_keep=max_to_keep,
        sharded=sharded,
        keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
        version=version,  # type: ignore[arg-type]
    )


def as_saver_def(value: Any) -> saver_pb2.SaverDef:
    """Returns a SaverDef of graphflow for one of graphflow or TensorFlow."""
    message: saver_pb2.SaverDef = as_message(value, saver_pb2.SaverDef, "saver_def")
    return message


def queue_runner_def(**fields: Any) -> queue_runner_pb2.QueueRunnerDef:
    """Returns a QueueRunnerDef with these fields."""
    return queue_runner_pb2.QueueRunnerDef(**fields)


def as_queue_runner_def(value: Any) -> queue_runner_pb2.QueueRunnerDef:
    """Returns a QueueRunnerDef of graphflow for one of graphflow or TensorFlow, or its bytes."""
    message: queue_runner_pb2.QueueRunnerDef = as_message(
        value, queue_runner_pb2.QueueRunnerDef, "a queue runner"
    )
    return message
