"""The messages of a SavedModel: TensorInfo, SignatureDef, assets, and the file that holds the graphs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import text_format

from graphflow.graph import Graph, Tensor
from graphflow.serialization.graph_def import serialize
from graphflow.serialization.graph_import import as_message, read_message
from graphflow.serialization.proto import meta_graph_pb2, saved_model_pb2
from graphflow.serialization.tensor_bundle import write_file
from graphflow.serialization.tensor_proto import (
    dtype_from_enum,
    enum_from_dtype,
    shape_from_proto,
    shape_to_proto,
)
from graphflow.shapes import TensorShape

SCHEMA_VERSION = 1
FILE_NAME_PB = "saved_model.pb"
FILE_NAME_PBTXT = "saved_model.pbtxt"

TensorInfo = meta_graph_pb2.TensorInfo
SignatureDef = meta_graph_pb2.SignatureDef
MetaGraphDef = meta_graph_pb2.MetaGraphDef
SavedModel = saved_model_pb2.SavedModel


def tensor_info(tensor: Any) -> meta_graph_pb2.TensorInfo:
    """Returns the TensorInfo of a tensor, a variable, or a sparse tensor."""
    if hasattr(tensor, "dense_shape") and hasattr(tensor, "indices"):
        sparse = meta_graph_pb2.TensorInfo(dtype=enum_from_dtype(tensor.dtype))
        sparse.tensor_shape.CopyFrom(shape_to_proto(TensorShape(tensor.get_shape())))
        sparse.coo_sparse.values_tensor_name = tensor.values.name
        sparse.coo_sparse.indices_tensor_name = tensor.indices.name
        sparse.coo_sparse.dense_shape_tensor_name = tensor.dense_shape.name
        return sparse
    if not isinstance(tensor, Tensor) and hasattr(tensor, "_as_graph_element"):
        tensor = tensor._as_graph_element()
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a TensorInfo describes a tensor, got {tensor!r}")
    info = meta_graph_pb2.TensorInfo(name=tensor.name, dtype=enum_from_dtype(tensor.dtype))
    info.tensor_shape.CopyFrom(shape_to_proto(tensor.shape))
    return info


def operation_info(operation: Any) -> meta_graph_pb2.TensorInfo:
    """Returns the TensorInfo that stands for an operation without outputs."""
    return meta_graph_pb2.TensorInfo(name=operation.name)


def signature(
    inputs: Mapping[str, Any] | None, outputs: Mapping[str, Any] | None, method_name: str | None
) -> meta_graph_pb2.SignatureDef:
    """Returns the SignatureDef of TensorInfos (of graphflow or TensorFlow) by name."""
    proto = meta_graph_pb2.SignatureDef(method_name=method_name or "")
    for field, infos in ((proto.inputs, inputs), (proto.outputs, outputs)):
        for name, info in (infos or {}).items():
            field[name].CopyFrom(as_message(info, meta_graph_pb2.TensorInfo, f"signature entry {name!r}"))
    return proto


def element(graph: Graph, info: Any, import_scope: str | None = None) -> Any:
    """Returns the tensor (or operation) of a graph that a TensorInfo names.

    Raises:
      ValueError: if it is encoded in a way that has no tensor here, or contradicts the graph.
      KeyError: if the graph has none of this name.
    """
    proto = as_message(info, meta_graph_pb2.TensorInfo, "tensor_info")
    if proto.WhichOneof("encoding") != "name":
        raise ValueError(
            "the signature names no dense tensor: sparse and composite tensors are not supported"
        )
    name = f"{import_scope}/{proto.name}" if import_scope else proto.name
    found = graph.as_graph_element(name)
    if isinstance(found, Tensor):
        if proto.dtype and dtype_from_enum(proto.dtype) is not found.dtype:
            raise ValueError(
                f"the signature says that {name!r} is {dtype_from_enum(proto.dtype).name}, the graph "
                f"{found.dtype.name}"
            )
        shape_from_proto(proto.tensor_shape)
    return found


def make_meta_info(tags: Iterable[str]) -> meta_graph_pb2.MetaGraphDef.MetaInfoDef:
    """Returns a MetaInfoDef with these tags."""
    return meta_graph_pb2.MetaGraphDef.MetaInfoDef(tags=list(tags))


def add_asset(proto: meta_graph_pb2.MetaGraphDef, tensor: Tensor, filename: str) -> None:
    """Says that the file `assets/filename` belongs to a string tensor."""
    asset = proto.asset_file_def.add(filename=filename)
    asset.tensor_info.name = tensor.name


def write_saved_model(export_dir: str, meta_graphs: Iterable[Any], as_text: bool = False) -> str:
    """Writes the file that makes a folder a SavedModel; returns its path."""
    proto = saved_model_pb2.SavedModel(saved_model_schema_version=SCHEMA_VERSION)
    proto.meta_graphs.extend(meta_graphs)
    path = os.path.join(export_dir, FILE_NAME_PBTXT if as_text else FILE_NAME_PB)
    if as_text:
        write_file(path, text_format.MessageToString(proto).encode())
    else:
        write_file(path, serialize(proto, "the model"))
    return path


def read_saved_model(export_dir: str | os.PathLike[str]) -> saved_model_pb2.SavedModel:
    """Returns the message of a SavedModel folder.

    Raises:
      OSError: if the folder has none.
      DataLossError: if it is damaged.
      ValueError: if it is of a version that is not known here.
    """
    folder = os.fspath(export_dir)
    for name in (FILE_NAME_PB, FILE_NAME_PBTXT):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            proto: saved_model_pb2.SavedModel = read_message(
                path, saved_model_pb2.SavedModel, text=name == FILE_NAME_PBTXT
            )
            if proto.saved_model_schema_version != SCHEMA_VERSION:
                raise ValueError(
                    f"{path} has the schema version {proto.saved_model_schema_version}, expected {SCHEMA_VERSION}"
                )
            return proto
    raise OSError(f"SavedModel file does not exist at: {folder}/{{{FILE_NAME_PBTXT}|{FILE_NAME_PB}}}")


def find_meta_graph(proto: saved_model_pb2.SavedModel, tags: Iterable[str]) -> meta_graph_pb2.MetaGraphDef:
    """Returns the graph with exactly these tags.

    Raises:
      RuntimeError: if there is none; lists the tags there are.
    """
    wanted = set(tags)
    for meta_graph in proto.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    available = [sorted(meta_graph.meta_info_def.tags) for meta_graph in proto.meta_graphs]
    raise RuntimeError(
        f"MetaGraphDef associated with tags {sorted(wanted)} could not be found in SavedModel, with available "
        f"tags {available}."
    )
