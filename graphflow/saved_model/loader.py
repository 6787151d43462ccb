"""Loading a SavedModel into a session: the graph, the values of its variables, its assets.

Nothing outside the model's folder is read: a model whose nodes would open other files is refused.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from graphflow.function import functions_of
from graphflow.graph import Graph, Operation, Tensor
from graphflow.ops.functional import called_operations
from graphflow.saved_model import constants
from graphflow.serialization import saved_model
from graphflow.serialization.meta_graph import import_scoped_meta_graph
from graphflow.serialization.regions import parse_input
from graphflow.session import Session
from graphflow.train.saver import Saver

# Ops that open files by a name that a value gives, or call Python.
OUTSIDE_OPS = frozenset(
    {
        "CSVDataset", "CSVDatasetV2", "EagerPyFunc", "FixedLengthRecordDatasetV2", "FixedLengthRecordReaderV2",
        "IdentityReaderV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "MatchingFiles",
        "MergeV2Checkpoints", "PyFunc", "PyFuncStateless", "ReadFile", "Restore", "RestoreSlice", "RestoreV2",
        "Save", "SaveSlices", "SaveV2", "TFRecordDataset", "TFRecordReaderV2",
        "TextLineDataset", "TextLineReaderV2", "WholeFileReaderV2", "WriteFile",
    }
)  # fmt: skip


def maybe_saved_model_directory(export_dir: str | os.PathLike[str]) -> bool:
    """Whether a folder has the file that makes it a SavedModel."""
    names = (constants.SAVED_MODEL_FILENAME_PB, constants.SAVED_MODEL_FILENAME_PBTXT)
    return any(os.path.isfile(os.path.join(os.fspath(export_dir), name)) for name in names)


contains_saved_model = maybe_saved_model_directory


def load(
    sess: Session,
    tags: Iterable[str],
    export_dir: str | os.PathLike[str],
    import_scope: str | None = None,
    **saver_kwargs: Any,
) -> Any:
    """Loads a SavedModel into a session: adds its graph, sets the variables, runs its init op.

    Args:
      sess: the session.
      tags: the tags of the graph to load, see `tag_constants`.
      export_dir: the folder.
      import_scope: a scope to put before all names.
      **saver_kwargs: `clear_devices` and `input_map`, as for `train.import_meta_graph`.

    Returns:
      The MetaGraphDef, with the signatures.

    Raises:
      OSError: if there is no model.
      RuntimeError: if it has no graph with these tags.
      DataLossError: if a file is damaged; names it, or the tensor.
      ValueError: if the graph does not hold together, has unknown ops, or would open files outside the folder.
    """
    return load_allowing(frozenset(), sess, tags, export_dir, import_scope, **saver_kwargs)


def load_allowing(
    allowed: Collection[str],
    sess: Session,
    tags: Iterable[str],
    export_dir: str | os.PathLike[str],
    import_scope: str | None = None,
    **saver_kwargs: Any,
) -> Any:
    """Loads a SavedModel as `load` does, and lets it have some of the ops that open files or call Python.

    Args:
      allowed: the types of these ops, of `OUTSIDE_OPS`.
      sess, tags, export_dir, import_scope, **saver_kwargs: as for `load`.

    Returns:
      The MetaGraphDef, with the signatures.

    Raises:
      OSError, RuntimeError, DataLossError, ValueError: as `load`.
    """
    folder = os.fspath(export_dir)
    proto = saved_model.find_meta_graph(saved_model.read_saved_model(folder), tags)
    assets = {asset.tensor_info.name: _asset_path(folder, asset.filename) for asset in proto.asset_file_def}
    init_name = _init_op_name(proto)
    asked, restoring = _asked_for(proto), _restoring(proto)
    initial = [] if init_name is None else [init_name]
    roots = list(dict.fromkeys([*asked, *restoring, *initial]))
    import_scoped_meta_graph(proto, graph=sess.graph, import_scope=import_scope, roots=roots, **saver_kwargs)
    scope = f"{import_scope}/" if import_scope else ""
    forbidden = OUTSIDE_OPS - frozenset(allowed)
    # The names of files are given where the model is restored and initialized; what requests run has them as they
    # stand in the graph.
    prefix = [scope + proto.saver_def.filename_tensor_name] if restoring else []
    for names, sources in ((restoring, prefix), (initial, [scope + name for name in assets]), (asked, [])):
        _check_files(sess.graph, [scope + name for name in names], sources, forbidden)
    variables = os.path.join(folder, constants.VARIABLES_DIRECTORY, constants.VARIABLES_FILENAME)
    if proto.HasField("saver_def") and os.path.exists(f"{variables}.index"):
        with sess.graph.as_default():
            Saver(saver_def=proto.saver_def, name=import_scope).restore(sess, variables)
    if init_name is not None:
        sess.run(scope + init_name, {scope + name: path for name, path in assets.items()})
    return proto


def _asset_path(folder: str, name: str) -> str:
    root = os.path.realpath(os.path.join(folder, constants.ASSETS_DIRECTORY))
    path = os.path.join(root, name)
    if os.path.isabs(name) or os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise ValueError(f"the model names the asset {name!r}, which lies outside its folder {folder}")
    return path


def _init_op_name(proto: Any) -> str | None:
    """The name of the operation to run after loading: where TensorFlow 2, 1 and its oldest versions keep it."""
    key = constants.INIT_OP_SIGNATURE_KEY
    if key in proto.signature_def and key in proto.signature_def[key].outputs:
        return str(proto.signature_def[key].outputs[key].name).removesuffix(":0")
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        names: Sequence[str] = (
            proto.collection_def[key].node_list.value if key in proto.collection_def else ()
        )
        if len(names) > 1:
            raise RuntimeError(f"Expected exactly one SavedModel init op. Found: {list(names)}")
        if names:
            return names[0]
    return None


def _asked_for(proto: Any) -> list[str]:
    """The nodes that the signatures name, but for the one that is run when the model is loaded."""
    return [
        parse_input(info.name)[0]
        for key, signature in proto.signature_def.items()
        if key != constants.INIT_OP_SIGNATURE_KEY
        for infos in (signature.inputs, signature.outputs)
        for info in infos.values()
        if info.WhichOneof("encoding") == "name"
    ]


def _restoring(proto: Any) -> list[str]:
    """The nodes that restore the variables."""
    if not proto.saver_def.restore_op_name:
        return []
    return [proto.saver_def.restore_op_name, parse_input(proto.saver_def.filename_tensor_name)[0]]


# Which input of an op that opens files names the file.
_FILE_INPUT = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1, "RestoreV2": 0}


def _named(graph: Graph, name: str) -> Operation | Tensor:
    try:
        element: Operation | Tensor = graph.as_graph_element(name)
    except (KeyError, ValueError) as error:
        raise ValueError(f"the model names {name[:200]!r}: {error.args[0][:400]}") from None
    return element


def _check_files(
    graph: Graph, roots: Sequence[str], sources: Sequence[str], forbidden: Collection[str]
) -> None:
    """Refuses graphs that open any file but those whose names come from the tensors `sources`."""
    elements = [_named(graph, name) for name in roots]
    operations = [element.op if isinstance(element, Tensor) else element for element in elements]
    prefixes = frozenset(
        tensor for tensor in (_named(graph, name) for name in sources) if isinstance(tensor, Tensor)
    )
    waiting: list[tuple[list[Operation], frozenset[Tensor]]] = [(operations, prefixes)]
    seen_calls: set[tuple[Any, frozenset[Tensor]]] = set()
    while waiting:
        stack, prefixes = waiting.pop()
        seen: set[Operation] = set()
        while stack:
            operation = stack.pop()
            if operation in seen:
                continue
            seen.add(operation)
            stack += operation.control_inputs
            stack += [tensor.op for tensor in operation.inputs]
            for _, function in functions_of(operation):
                # Conditions come before what the functions are given.
                given = operation.inputs[len(operation.inputs) - len(function.inputs) :]
                pairs = zip(function.inputs, given, strict=True)
                inside = frozenset(inner for inner, outer in pairs if _is_handed_on(outer, prefixes))
                if (function, inside) not in seen_calls:
                    seen_calls.add((function, inside))
                    waiting.append((called_operations(function), inside))
            if operation.type in forbidden:
                place = _FILE_INPUT.get(operation.type)
                if place is not None and _is_handed_on(operation.inputs[place], prefixes):
                    continue
                raise ValueError(
                    f"the model's node {operation.name!r} ({operation.type}) could open files outside its folder"
                )


def _is_handed_on(tensor: Tensor, sources: frozenset[Tensor]) -> bool:
    while tensor not in sources:
        if tensor.op.type != "Identity":
            return False
        tensor = tensor.op.inputs[0]
    return True


__all__ = ["contains_saved_model", "load", "maybe_saved_model_directory"]
