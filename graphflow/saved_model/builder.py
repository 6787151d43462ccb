"""SavedModelBuilder: a graph, its variables, signatures and assets as a folder that TensorFlow loads too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.graph import Operation, Tensor
from graphflow.opdef import constant_value
from graphflow.saved_model import constants
from graphflow.saved_model.tensor_info import build_tensor_info_from_op
from graphflow.serialization import saved_model
from graphflow.session import Session
from graphflow.train.saver import Saver


class SavedModelBuilder:
    """Writes a SavedModel.

    Nothing counts before `save`, which writes `saved_model.pb` last.

    Args:
      export_dir: the folder; it must not exist, or be empty.

    Raises:
      AssertionError: if the folder holds something.
    """

    def __init__(self, export_dir: str | os.PathLike[str]) -> None:
        self._export_dir = os.fspath(export_dir)
        if os.path.isdir(self._export_dir) and os.listdir(self._export_dir):
            raise AssertionError(
                "Export directory already exists, and isn't empty. Please choose a different export directory, or "
                f"delete all the contents of the specified directory: {self._export_dir}"
            )
        os.makedirs(self._export_dir, exist_ok=True)
        self._meta_graphs: list[Any] = []
        self._has_variables = False

    def add_meta_graph_and_variables(
        self,
        sess: Session,
        tags: Sequence[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_collection: Sequence[Tensor] | None = None,
        legacy_init_op: Operation | None = None,
        clear_devices: bool = False,
        main_op: Operation | None = None,
        strip_default_attrs: bool = False,
        saver: Saver | None = None,
        assets_list: Sequence[Tensor] | None = None,
    ) -> None:
        """Adds the session's graph and the values of its variables; for the first graph of a model.

        Args:
          sess: the session.
          tags: what the graph is for, see `tag_constants`.
          signature_def_map: signatures by name.
          assets_collection: string constants that hold paths of files to take along.
          legacy_init_op: the old name of `main_op`.
          clear_devices: whether to leave out the devices of nodes.
          main_op: an operation to run after loading.
          strip_default_attrs: whether to leave out attributes that have their default value.
          saver: the Saver to use; default one for all global variables.
          assets_list: the newer name of `assets_collection`.

        Raises:
          AssertionError: if the variables are saved already.
          ValueError, TypeError: for wrong signatures, assets or init ops.
        """
        if self._has_variables:
            raise AssertionError(
                "Graph state including variables and assets has already been saved. Please invoke `add_meta_graph()` "
                "instead."
            )
        with sess.graph.as_default():
            self._add(
                sess,
                tags,
                signature_def_map,
                assets_collection or assets_list,
                main_op or legacy_init_op,
                clear_devices,
                strip_default_attrs,
                saver,
            )
        self._has_variables = True

    def add_meta_graph(
        self,
        tags: Sequence[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_collection: Sequence[Tensor] | None = None,
        legacy_init_op: Operation | None = None,
        clear_devices: bool = False,
        main_op: Operation | None = None,
        strip_default_attrs: bool = False,
        saver: Saver | None = None,
        assets_list: Sequence[Tensor] | None = None,
    ) -> None:
        """Adds the default graph as a further graph of the model, which shares the variables' values.

        Raises:
          AssertionError: if there is no first graph yet.
        """
        if not self._has_variables:
            raise AssertionError(
                "Graph state including variables and assets has not been saved yet. Please invoke "
                "`add_meta_graph_and_variables()` first."
            )
        self._add(
            None,
            tags,
            signature_def_map,
            assets_collection or assets_list,
            main_op or legacy_init_op,
            clear_devices,
            strip_default_attrs,
            saver,
        )

    def _add(
        self,
        sess: Session | None,
        tags: Sequence[str],
        signatures: Mapping[str, Any] | None,
        assets: Sequence[Tensor] | None,
        main_op: Operation | None,
        clear_devices: bool,
        strip_default_attrs: bool,
        saver: Saver | None,
    ) -> None:
        _check_signatures(signatures)
        if main_op is not None and not isinstance(main_op, Operation):
            raise TypeError(f"main_op needs to be an Operation: {main_op!r}")
        files = self._asset_files(assets or ())
        saver = saver or Saver(sharded=True, allow_empty=True)
        if sess is not None and saver.saver_def is not None:
            prefix = os.path.join(
                self._export_dir, constants.VARIABLES_DIRECTORY, constants.VARIABLES_FILENAME
            )
            saver.save(sess, prefix, write_meta_graph=False, write_state=False)
        proto = saver.export_meta_graph(clear_devices=clear_devices, strip_default_attrs=strip_default_attrs)
        proto.meta_info_def.tags.extend(tags)
        for name, signature in (signatures or {}).items():
            proto.signature_def[name].CopyFrom(
                saved_model.signature(signature.inputs, signature.outputs, signature.method_name)
            )
        if main_op is not None:
            proto.signature_def[constants.INIT_OP_SIGNATURE_KEY].outputs[
                constants.INIT_OP_SIGNATURE_KEY
            ].CopyFrom(build_tensor_info_from_op(main_op))
            proto.collection_def[constants.MAIN_OP_KEY].node_list.value.append(main_op.name)
        for tensor, (name, source) in files.items():
            saved_model.add_asset(proto, tensor, name)
            folder = os.path.join(self._export_dir, constants.ASSETS_DIRECTORY)
            os.makedirs(folder, exist_ok=True)
            if not os.path.exists(os.path.join(folder, name)):
                import shutil  # brings four compressors with it, and few models have assets

                shutil.copyfile(source, os.path.join(folder, name))
        self._meta_graphs.append(proto)

    def _asset_files(self, assets: Sequence[Tensor]) -> dict[Tensor, tuple[str, str]]:
        """For each asset tensor the name its file has in the model, and where the file is now."""
        files: dict[Tensor, tuple[str, str]] = {}
        taken: dict[str, str] = {}
        for tensor in assets:
            value = constant_value(tensor) if isinstance(tensor, Tensor) else None
            if value is None or tensor.dtype is not dtypes.string or value.size != 1:
                raise TypeError(f"Asset filepath tensor must be a constant string: {tensor!r}")
            source = bytes(value.item()).decode()
            name = base = os.path.basename(source)
            count = 0
            while taken.get(name, source) != source:
                count += 1
                name = f"{base}_{count}"
            taken[name] = source
            files[tensor] = name, source
        return files

    def save(self, as_text: bool = False) -> bytes:
        """Writes `saved_model.pb` (or `.pbtxt`), after which the folder is a model; returns its path."""
        return saved_model.write_saved_model(self._export_dir, self._meta_graphs, as_text).encode()


def _check_signatures(signatures: Mapping[str, Any] | None) -> None:
    reserved = (constants.INIT_OP_SIGNATURE_KEY, constants.TRAIN_OP_SIGNATURE_KEY)
    for name, signature in (signatures or {}).items():
        if name in reserved:
            raise KeyError(f"SignatureDef map key {name!r} is reserved for internal use.")
        for kind, infos in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            for key, info in infos.items():
                if info.WhichOneof("encoding") is None:
                    raise AssertionError(f"signature {name!r}: {kind} {key!r} names no tensor")
                if not info.dtype:
                    raise AssertionError(f"signature {name!r}: {kind} {key!r} has no dtype")


__all__ = ["SavedModelBuilder"]
