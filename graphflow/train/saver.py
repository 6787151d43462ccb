"""Saver: variables to checkpoints and back, through SaveV2 and RestoreV2 nodes that TensorFlow runs too."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import logging
from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError
from graphflow.graph import (
    Graph,
    GraphKeys,
    Operation,
    Tensor,
    control_dependencies,
    get_default_graph,
    name_scope,
)
from graphflow.opdef import constant, constant_value, emit
from graphflow.records import dataclass
from graphflow.serialization import meta_graph
from graphflow.serialization.graph_def import write_graph
from graphflow.serialization.slice_file import parse_slice
from graphflow.serialization.tensor_bundle import missing_keys, open_checkpoint
from graphflow.shapes import TensorShape
from graphflow.train import queue_runner as queue_runner  # says how its collection is read from files
from graphflow.train.checkpoints import (
    CheckpointReader,
    NewCheckpointReader,
    checkpoint_exists,
    generate_checkpoint_state_proto,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    list_variables,
    load_checkpoint,
    load_variable,
    meta_graph_path,
    remove_checkpoint,
    update_checkpoint_state,
)
from graphflow.variables import Variable

_PASSED_THROUGH = frozenset({"Identity", "StopGradient"})


@dataclass(frozen=True, slots=True)
class _Saveable:
    """One value that is saved: its name in the checkpoint, what part of a whole it is, and its variable."""

    key: str
    piece: str
    handle: Tensor
    dtype: DType
    shape: TensorShape


@dataclass(frozen=True, slots=True)
class _Restored:
    """One value that a graph's restore op reads, and what the variable it goes to admits."""

    key: str
    piece: str
    dtype: DType
    shape: TensorShape
    line: str


def _all_saveable(scope: str | None = None) -> list[Any]:
    graph = get_default_graph()
    return graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope) + graph.get_collection(
        GraphKeys.SAVEABLE_OBJECTS, scope
    )


def _parts(value: Any) -> list[Any]:
    """The variables that one entry of `var_list` stands for: a partitioned one has several."""
    if isinstance(value, Variable):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, Tensor | str):
        return [part for item in value for part in _parts(item)]
    raise TypeError(f"Variable to save is not a Variable: {value!r}")


def _saveables(var_list: Any) -> list[_Saveable]:
    entries: list[tuple[str | None, Any]]
    if isinstance(var_list, Mapping):
        entries = [(str(key), part) for key, value in sorted(var_list.items()) for part in _parts(value)]
    else:
        entries = [(None, part) for value in var_list for part in _parts(value)]
    result: list[_Saveable] = []
    seen: dict[tuple[str, str], Any] = {}
    for key, variable in entries:
        info = variable._save_slice_info
        piece = str(info.spec) if info is not None else ""
        name = key if key is not None else info.full_name if info is not None else variable.op.name
        other = seen.get((name, piece))
        if other is variable:
            continue
        if other is not None:
            raise ValueError(f"At least two variables have the same name: {name}")
        seen[name, piece] = variable
        result.append(_Saveable(name, piece, variable.handle, variable.dtype, TensorShape(variable.shape)))
    result.sort(key=lambda saveable: saveable.key)
    return result


def _strings(items: Sequence[str]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.empty(len(items), object)
    array[:] = [item.encode() for item in items]
    return array


class Saver:
    """Saves variables to checkpoints and restores them, with the members of `tf.train.Saver`.

    Args:
      var_list: the variables, or a dict of them by the name they have in the checkpoint; default all global ones.
      reshape: whether a value of another shape but as many elements may be restored.
      sharded: whether the checkpoint is put together from shards by nodes of the graph; the files are the same.
      max_to_keep: how many checkpoints to keep; 0 or None keeps all.
      keep_checkpoint_every_n_hours: one checkpoint per so many hours is kept for good.
      name: the name scope of the nodes; default "save".
      restore_sequentially: accepted.
      saver_def: a SaverDef, of a graph that has the nodes already.
      builder: accepted; must be None.
      defer_build: whether to add the nodes only when `build` is called.
      allow_empty: whether a graph without variables is no error.
      write_version: the format, `SaverDef.V2` or the older `SaverDef.V1`; both are read in any case.
      pad_step_number: whether step numbers in file names have eight digits.
      save_relative_paths: whether the file `checkpoint` holds relative paths, so that the folder can be moved.
      filename: the path prefix the nodes use when none is given.

    Raises:
      ValueError: if there is nothing to save, or two variables have one name.
      RuntimeError: if `write_version` is no format.
      TypeError: if something to save is no variable.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = 2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
    ) -> None:
        if builder is not None:
            raise ValueError("Saver takes no builder here: it has one way to save")
        if saver_def is not None and var_list is not None:
            raise ValueError("saver_def and var_list cannot both be given: the nodes exist already")
        if saver_def is not None and defer_build:
            raise ValueError("If `defer_build` then neither `saver_def` nor `var_list` should be built")
        self._var_list = var_list
        self._reshape = reshape
        self._sharded = sharded
        self._max_to_keep = max_to_keep
        self._keep_hours = keep_checkpoint_every_n_hours
        self._name = name
        self._allow_empty = allow_empty
        if write_version not in (meta_graph.V1, meta_graph.V2):
            raise RuntimeError(f"Unexpected write_version: {write_version}")
        self._version = write_version
        self._pad_step_number = pad_step_number
        self._save_relative_paths = save_relative_paths
        self._filename = filename
        self._is_empty = False
        self._last_checkpoints: list[tuple[str, float]] = []
        self._to_be_deleted: list[tuple[str, float]] = []
        self._next_kept = time.time() + keep_checkpoint_every_n_hours * 3600
        self._saver_def: Any = None
        self._targets: tuple[Graph, list[_Restored]] | None = None
        if saver_def is not None:
            self._saver_def = self._scoped(meta_graph.as_saver_def(saver_def), name)
            self._next_kept = time.time() + self._saver_def.keep_checkpoint_every_n_hours * 3600
        elif not defer_build:
            self.build()

    @staticmethod
    def _scoped(definition: Any, scope: str | None) -> Any:
        return _renamed(definition, lambda name: f"{scope}/{name}") if scope else definition

    # -- nodes --------------------------------------------------------------------------------

    def build(self) -> None:
        """Adds the nodes that save and restore; does nothing if they are there."""
        if self._saver_def is not None or self._is_empty:
            return
        variables = _all_saveable() if self._var_list is None else self._var_list
        if not variables:
            if not self._allow_empty:
                raise ValueError("No variables to save")
            self._is_empty = True
            return
        saveables = _saveables(variables)
        graph = saveables[0].handle.graph
        with graph.as_default(), control_dependencies(None), name_scope(self._name, "save"):
            default = constant(self._filename or "model", name="filename/input")
            inner = emit.PlaceholderWithDefault(default, shape=(), name="filename")
            prefix = emit.PlaceholderWithDefault(inner, shape=(), name="Const")
            saved = self._add_save(prefix, saveables)
            restore = self._add_restore(prefix, saveables)
        self._saver_def = meta_graph.saver_def(
            prefix.name,
            saved.name,
            restore.name,
            self._max_to_keep or 0,
            self._sharded,
            self._keep_hours,
            self._version,
        )

    def _add_save(self, prefix: Tensor, saveables: Sequence[_Saveable]) -> Tensor:
        values = [emit.ReadVariableOp(s.handle, dtype=s.dtype) for s in saveables]
        names = _strings([s.key for s in saveables])
        pieces = _strings([s.piece for s in saveables])
        result: Tensor
        if self._version == meta_graph.V1:
            path = prefix
            if self._sharded:
                path = emit.ShardedFilename(prefix, np.int32(0), np.int32(1), name="ShardedFilename")
            written = emit.SaveSlices(path, names, pieces, values, name="SaveSlices")
            with control_dependencies([written]):
                if self._sharded:
                    result = emit.ShardedFilespec(prefix, np.int32(1), name="ShardedFilespec")
                else:
                    result = emit.Identity(prefix, name="control_dependency")
                return result
        if not self._sharded:
            written = emit.SaveV2(prefix, names, pieces, values, name="SaveV2")
            with control_dependencies([written]):
                result = emit.Identity(prefix, name="control_dependency")
                return result
        temporary = emit.StringJoin([prefix, f"_temp_{uuid.uuid4().hex}/part".encode()], name="StringJoin")
        shard = emit.ShardedFilename(temporary, np.int32(0), np.int32(1), name="ShardedFilename")
        written = emit.SaveV2(shard, names, pieces, values, name="SaveV2")
        with control_dependencies([written]):
            shards = emit.Pack([shard], axis=0, name="MergeV2Checkpoints/checkpoint_prefixes")
            merged = emit.MergeV2Checkpoints(shards, prefix, delete_old_dirs=True, name="MergeV2Checkpoints")
        with control_dependencies([merged]):
            result = emit.Identity(prefix, name="Identity")
        return result

    def _add_restore(self, prefix: Tensor, saveables: Sequence[_Saveable]) -> Operation:
        names = _strings([s.key for s in saveables])
        pieces = _strings([s.piece for s in saveables])
        dtypes = tuple(s.dtype for s in saveables)
        values = emit.RestoreV2(prefix, names, pieces, dtypes=dtypes, name="RestoreV2")
        assigns = []
        for saveable, value in zip(saveables, values, strict=True):
            if self._reshape and saveable.shape.is_fully_defined():
                value = emit.Reshape(value, np.array(saveable.shape.as_list(), np.int64))
            else:
                value = emit.Identity(value)
            assigns.append(emit.AssignVariableOp(saveable.handle, value))
        with control_dependencies(assigns):
            result: Operation = emit.NoOp(name="restore_all")
            return result

    # -- saving -------------------------------------------------------------------------------

    def _definition(self) -> Any:
        if self._saver_def is None:
            raise RuntimeError("`build()` should be called before save and restore if defer_build==True")
        return self._saver_def

    @property
    def saver_def(self) -> Any:
        """The SaverDef: the names of the nodes, and what is kept."""
        return self._saver_def

    def as_saver_def(self) -> Any:
        """Returns the SaverDef."""
        return self._saver_def

    def to_proto(self, export_scope: str | None = None) -> Any:
        """Returns the SaverDef, names relative to `export_scope`; None for one outside of it, or not yet built."""
        definition = self._saver_def
        if definition is None or not export_scope:
            return definition
        prefix = export_scope.rstrip("/") + "/"
        names = (definition.filename_tensor_name, definition.save_tensor_name, definition.restore_op_name)
        if not all(name.startswith(prefix) for name in names):
            return None
        return _renamed(definition, lambda name: name.removeprefix(prefix))

    @staticmethod
    def from_proto(saver_def: Any, import_scope: str | None = None) -> Saver:
        """Returns the Saver of a SaverDef whose nodes are in the graph."""
        return Saver(saver_def=saver_def, name=import_scope)

    def save(
        self,
        sess: Any,
        save_path: str | os.PathLike[str],
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Writes a checkpoint.

        A crash at any moment leaves the checkpoints that were there: values and index are written under
        temporary names and renamed, then the file `checkpoint`, and only then old ones are removed.

        Args:
          sess: the session that has the values.
          save_path: the path prefix; its folder is made if need be.
          global_step: a number, tensor or variable that is put behind the prefix.
          latest_filename: the name of the file that lists the checkpoints; default "checkpoint".
          meta_graph_suffix: the suffix of the file with the graph.
          write_meta_graph: whether to write the graph.
          write_state: whether to list the checkpoint, and to remove what exceeds `max_to_keep`.
          strip_default_attrs: whether the graph leaves out attributes that have their default value.
          save_debug_info: accepted.

        Returns:
          The path prefix of the checkpoint; None for a Saver without variables.

        Raises:
          ValueError: if `latest_filename` has a folder in it.
          RuntimeError: if the Saver is not built.
        """
        path = os.fspath(save_path)
        if latest_filename and os.path.split(latest_filename)[0]:
            raise ValueError("'latest_filename' must not contain path components")
        if self._is_empty:
            return None
        definition = self._definition()
        if definition.version == meta_graph.V1:
            logging.log_first_n(
                logging.WARN,
                "Checkpoints are written in the old format V1; a Saver without write_version writes V2, which is read "
                "faster and survives more.",
                1,
            )
        prefix = self._prefix(sess, path, global_step)
        saved = sess.run(definition.save_tensor_name, {definition.filename_tensor_name: prefix})
        saved = np.asarray(saved, object).item()
        result = saved.decode() if isinstance(saved, bytes) else str(saved)
        if write_meta_graph:
            self.export_meta_graph(
                meta_graph_path(result, meta_graph_suffix),
                strip_default_attrs=strip_default_attrs,
                graph=sess.graph,
            )
        if write_state:
            self._record(result)
            update_checkpoint_state(
                os.path.dirname(path),
                result,
                self.last_checkpoints,
                latest_filename,
                [moment for _, moment in self._last_checkpoints],
                save_relative_paths=self._save_relative_paths,
            )
            self._delete_old(meta_graph_suffix)
        return result

    def _prefix(self, sess: Any, path: str, global_step: Any) -> str:
        if global_step is None:
            if path == (os.path.join(os.path.dirname(path), "checkpoint")):
                raise ValueError(f"save_path {path!r} is the name of the file that lists checkpoints")
            return path
        if not isinstance(global_step, int | np.integer):
            global_step = sess.run(global_step)
        return f"{path}-{int(global_step):08d}" if self._pad_step_number else f"{path}-{int(global_step)}"

    def _record(self, path: str) -> None:
        if not self._definition().max_to_keep:
            # Nothing is forgotten, so nothing has to be remembered but the newest.
            self._last_checkpoints = [(path, time.time())]
            return
        self._last_checkpoints = [entry for entry in self._last_checkpoints if entry[0] != path]
        self._last_checkpoints.append((path, time.time()))
        while len(self._last_checkpoints) > self._definition().max_to_keep:
            self._to_be_deleted.append(self._last_checkpoints.pop(0))

    def _delete_old(self, meta_graph_suffix: str) -> None:
        for path, moment in self._to_be_deleted:
            if moment > self._next_kept:
                self._next_kept += self._definition().keep_checkpoint_every_n_hours * 3600
            else:
                remove_checkpoint(path, meta_graph_suffix=meta_graph_suffix)
        self._to_be_deleted.clear()

    @property
    def last_checkpoints(self) -> list[str]:
        """The path prefixes of the checkpoints that are kept, oldest first."""
        return [path for path, _ in self._last_checkpoints]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Sets the list of checkpoints that are kept."""
        self._last_checkpoints = [(path, float("inf")) for path in last_checkpoints]

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: Sequence[tuple[str, float]]) -> None:
        """Sets the list of checkpoints that are kept, with the times they were written."""
        self._last_checkpoints = list(last_checkpoints_with_time)

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Takes over those of the checkpoints that exist, after a restart."""
        existing = [path for path in checkpoint_paths if checkpoint_exists(path)]
        times = get_checkpoint_mtimes(existing)
        self.set_last_checkpoints_with_time(list(zip(existing, times, strict=True)))

    def export_meta_graph(
        self,
        filename: str | None = None,
        collection_list: Sequence[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
        graph: Graph | None = None,
    ) -> Any:
        """Returns the MetaGraphDef of the graph with this Saver in it; see `train.export_meta_graph`."""
        return meta_graph.export_meta_graph(
            filename,
            graph=graph,
            saver_def=self._saver_def,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
        )

    # -- restoring ----------------------------------------------------------------------------

    def restore(self, sess: Any, save_path: str | os.PathLike[str] | None) -> None:
        """Sets the variables to what a checkpoint holds. They need not be initialized.

        Nothing is changed unless every variable can be restored.

        Args:
          sess: the session.
          save_path: the path prefix, as `save` and `latest_checkpoint` return it.

        Raises:
          ValueError: if there is no checkpoint under that prefix.
          NotFoundError: if the checkpoint lacks variables; lists them with the nearest names.
          InvalidArgumentError: if a dtype or shape does not fit; lists all that do not.
          DataLossError: if the checkpoint is damaged; names the tensor.
        """
        if self._is_empty:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        path = os.fspath(save_path)
        if not checkpoint_exists(path):
            hint = " (it is a folder: see latest_checkpoint)" if os.path.isdir(path) else ""
            raise ValueError(f"The passed save_path is not a valid checkpoint: {path}{hint}")
        definition = self._definition()
        self._check(sess.graph, path)
        sess.run(definition.restore_op_name, {definition.filename_tensor_name: path})

    def _check(self, graph: Graph, path: str) -> None:
        if self._targets is None or self._targets[0] is not graph:
            self._targets = graph, _restored(graph, self._definition().restore_op_name)
        targets = self._targets[1]
        reader = open_checkpoint(path)
        error = missing_keys(reader, {target.key: target.line for target in targets})
        if error is not None:
            raise error
        wrong = []
        for target in targets:
            entry = reader.entry(target.key)
            piece = parse_slice(target.piece)
            shape = entry.shape if piece is None else piece.shape
            if entry.dtype is not target.dtype or not target.shape.is_compatible_with(shape):
                wrong.append(
                    f"  {target.key}: the variable is {target.dtype.name}{target.shape}, the checkpoint has "
                    f"{entry.dtype.name}{TensorShape(shape)}{f'; it was made at {target.line}' if target.line else ''}"
                )
        if wrong:
            raise InvalidArgumentError(
                None,
                None,
                f"Assign requires shapes and dtypes of both tensors to match; checkpoint {path} differs in "
                f"{len(wrong)}:\n" + "\n".join(wrong[:20]),
            )


def _renamed(definition: Any, rename: Callable[[str], str]) -> Any:
    """Returns a SaverDef whose nodes have other names."""
    result = type(definition)()
    result.CopyFrom(definition)
    for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
        setattr(result, field, rename(getattr(result, field)))
    return result


def _restored(graph: Graph, restore_op: str) -> list[_Restored]:
    """What a restore op reads, found by walking the graph back from it."""
    result: list[_Restored] = []
    seen: set[Operation] = set()
    try:
        stack = [graph.get_operation_by_name(restore_op)]
    except KeyError:
        raise ValueError(f"the saver restores by {restore_op[:200]!r}, which the graph lacks") from None
    while stack:
        operation = stack.pop()
        if operation in seen:
            continue
        seen.add(operation)
        stack += operation.control_inputs
        stack += [tensor.op for tensor in operation.inputs]
        if operation.type != "RestoreV2":
            continue
        names, pieces = (constant_value(tensor) for tensor in operation.inputs[1:3])
        if names is None or pieces is None:
            continue
        for output, name, piece in zip(operation.outputs, names.tolist(), pieces.tolist(), strict=True):
            handle = _assigned(output)
            shape = TensorShape(None) if handle is None else handle.handle_shape
            line = "" if handle is None else handle.op.user_line
            result.append(_Restored(name.decode(), piece.decode(), output.dtype, shape, line))
    return result


def _assigned(value: Tensor) -> Tensor | None:
    """The handle of the variable that a restored value is assigned to."""
    while True:
        following = value.consumers()
        assigns = [op for op in following if op.type == "AssignVariableOp"]
        if assigns:
            return assigns[0].inputs[0]
        if len(following) != 1 or following[0].type not in _PASSED_THROUGH:
            return None
        value = following[0].outputs[0]


def export_meta_graph(
    filename: str | None = None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Sequence[str] | None = None,
    as_text: bool = False,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
) -> Any:
    """Returns the MetaGraphDef of a graph, written to `filename` if that is given.

    See `serialization.meta_graph.export_meta_graph` for the arguments.
    """
    return meta_graph.export_meta_graph(
        filename,
        meta_info_def,
        graph_def,
        saver_def,
        collection_list,
        as_text,
        graph,
        export_scope,
        clear_devices,
        clear_extraneous_savers,
        strip_default_attrs,
        save_debug_info,
    )


def import_meta_graph(
    meta_graph_or_file: Any, clear_devices: bool = False, import_scope: str | None = None, **kwargs: Any
) -> Saver | None:
    """Adds the graph of a MetaGraphDef, or of a ".meta" file, to the default graph.

    Args:
      meta_graph_or_file: the message or the file's name.
      clear_devices: whether to forget the devices of nodes.
      import_scope: a scope to put before all names.
      **kwargs: `input_map`, as in `import_graph_def`.

    Returns:
      A Saver of the graph's variables; None if the graph has none.

    Raises:
      NotFoundError, DataLossError: if the file cannot be read.
      ValueError: if the graph does not hold together.
    """
    proto, _ = meta_graph.import_scoped_meta_graph(
        meta_graph_or_file, clear_devices, import_scope=import_scope, **kwargs
    )
    if proto.HasField("saver_def"):
        return Saver(saver_def=proto.saver_def, name=import_scope)
    return Saver() if _all_saveable(import_scope) else None


__all__ = [
    "CheckpointReader", "NewCheckpointReader", "Saver", "checkpoint_exists", "export_meta_graph",
    "generate_checkpoint_state_proto", "get_checkpoint_mtimes", "get_checkpoint_state", "import_meta_graph",
    "latest_checkpoint", "list_variables", "load_checkpoint", "load_variable", "remove_checkpoint",
    "update_checkpoint_state", "write_graph",
]  # fmt: skip
