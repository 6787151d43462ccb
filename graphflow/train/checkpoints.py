"""Checkpoints on disk: which there are, which is the newest, and what is in them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import NotFoundError
from graphflow.serialization import checkpoint_state
from graphflow.serialization.slice_file import slice_files
from graphflow.serialization.tensor_bundle import index_file, missing_keys, open_checkpoint

Array = np.ndarray[Any, Any]


def _state_file(save_dir: str | os.PathLike[str], latest_filename: str | None) -> str:
    return os.path.join(os.fspath(save_dir), latest_filename or "checkpoint")


def generate_checkpoint_state_proto(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> Any:
    """Returns a CheckpointState.

    Args:
      save_dir: the folder of the checkpoints; if it is relative, the paths are made relative to it.
      model_checkpoint_path: the newest checkpoint.
      all_model_checkpoint_paths: all that are kept, oldest first.
      all_model_checkpoint_timestamps: when each was written.
      last_preserved_timestamp: when the last one that is kept for good was written.

    Raises:
      ValueError: if there are not as many times as paths.
    """
    return checkpoint_state.make_state(
        save_dir,
        model_checkpoint_path,
        all_model_checkpoint_paths,
        all_model_checkpoint_timestamps,
        last_preserved_timestamp,
    )


def update_checkpoint_state(
    save_dir: str | os.PathLike[str],
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    save_relative_paths: bool = False,
) -> None:
    """Writes the file `checkpoint` of a folder; see `generate_checkpoint_state_proto`.

    Args:
      latest_filename: the file's name, if it is not to be `checkpoint`.
      save_relative_paths: whether paths are made relative to the folder even if it is absolute.

    Raises:
      RuntimeError: if a checkpoint has the name of that file.
    """
    folder = os.fspath(save_dir)
    path = _state_file(folder, latest_filename)
    if save_relative_paths and os.path.isabs(folder):
        relative = [os.path.relpath(name, folder) for name in all_model_checkpoint_paths or []]
        newest = os.path.relpath(model_checkpoint_path, folder)
        state = checkpoint_state.make_state(
            folder, newest, relative, all_model_checkpoint_timestamps, last_preserved_timestamp
        )
    else:
        state = checkpoint_state.make_state(
            folder,
            model_checkpoint_path,
            all_model_checkpoint_paths,
            all_model_checkpoint_timestamps,
            last_preserved_timestamp,
        )
    if path == state.model_checkpoint_path:
        raise RuntimeError(f"Save path {path!r} conflicts with path used for checkpoint state.")
    checkpoint_state.write_state(path, state)


def get_checkpoint_state(checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None) -> Any:
    """Returns the CheckpointState of a folder, with whole paths, or None if the folder has none.

    Raises:
      DataLossError: if the file `checkpoint` is damaged.
    """
    return checkpoint_state.read_state(_state_file(checkpoint_dir, latest_filename))


def checkpoint_exists(checkpoint_prefix: str | os.PathLike[str]) -> bool:
    """Whether there is a checkpoint under a path prefix; the prefix may hold wildcards."""
    prefix = os.fspath(checkpoint_prefix)
    path = index_file(prefix)
    return os.path.exists(path) or bool(glob.glob(path)) or bool(slice_files(prefix))


def latest_checkpoint(
    checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None
) -> str | None:
    """Returns the path prefix of the newest checkpoint of a folder, or None if it has none."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is not None and checkpoint_exists(state.model_checkpoint_path):
        path: str = state.model_checkpoint_path
        return path
    return None


def get_checkpoint_mtimes(checkpoint_prefixes: Iterable[str]) -> list[float]:
    """Returns when the checkpoints were written; those that do not exist are left out."""
    files = [
        [index] if os.path.exists(index := index_file(prefix)) else slice_files(prefix)
        for prefix in checkpoint_prefixes
    ]
    return [max(map(os.path.getmtime, paths)) for paths in files if paths]


def meta_graph_path(checkpoint: str, suffix: str) -> str:
    """Returns where the graph beside a checkpoint is; one that is a pattern of shards has it without that."""
    return f"{re.sub(r'-[0-9?]+-of-[0-9]+$', '', checkpoint)}.{suffix}"


def remove_checkpoint(
    checkpoint_prefix: str, checkpoint_format_version: Any = None, meta_graph_suffix: str = "meta"
) -> None:
    """Removes a checkpoint's files; the index first, so that what is left is no checkpoint."""
    paths = [
        index_file(checkpoint_prefix),
        *slice_files(checkpoint_prefix),
        meta_graph_path(checkpoint_prefix, meta_graph_suffix),
    ]
    paths += glob.glob(f"{glob.escape(checkpoint_prefix)}.data-?????-of-?????")
    for path in paths:
        Path(path).unlink(missing_ok=True)


class CheckpointReader:
    """Reads single tensors of a checkpoint, with the members of `tf.train.NewCheckpointReader`'s result.

    Raises:
      NotFoundError: if there is no checkpoint.
      DataLossError: if its index is damaged.
    """

    def __init__(self, filepattern: str | os.PathLike[str]) -> None:
        self._reader = open_checkpoint(filepattern)

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Returns each tensor's shape by name."""
        return {name: list(self._reader.entry(name).shape) for name in self._reader.keys()}

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        """Returns each tensor's DType by name."""
        return {name: self._reader.entry(name).dtype for name in self._reader.keys()}

    def has_tensor(self, tensor_str: str) -> bool:
        """Whether the checkpoint has a tensor of this name."""
        return tensor_str in self._reader

    def get_tensor(self, tensor_str: str) -> Array:
        """Returns a tensor's value.

        Raises:
          NotFoundError: if there is none of this name; the nearest names are listed.
          DataLossError: if its bytes are damaged.
        """
        error = missing_keys(self._reader, [tensor_str])
        if error is not None:
            raise error
        return self._reader.read(tensor_str)

    def debug_string(self) -> bytes:
        """Returns one line per tensor: name, dtype, shape."""
        entries = [self._reader.entry(name) for name in self._reader.keys()]
        return "\n".join(f"{e.name} (DT_{e.dtype.name.upper()}) {list(e.shape)}" for e in entries).encode()


def NewCheckpointReader(filepattern: str | os.PathLike[str]) -> CheckpointReader:
    """Returns a reader of the checkpoint under a path prefix; see `CheckpointReader`."""
    return CheckpointReader(filepattern)


def load_checkpoint(ckpt_dir_or_file: str | os.PathLike[str]) -> CheckpointReader:
    """Returns a reader of a checkpoint, or of the newest one of a folder.

    Raises:
      NotFoundError: if there is none.
    """
    path = os.fspath(ckpt_dir_or_file)
    if os.path.isdir(path):
        newest = latest_checkpoint(path)
        if newest is None:
            raise NotFoundError(
                None, None, f"Couldn't find 'checkpoint' file or checkpoints in given directory {path}"
            )
        path = newest
    return CheckpointReader(path)


def load_variable(ckpt_dir_or_file: str | os.PathLike[str], name: str) -> Array:
    """Returns the value of one tensor of a checkpoint; a name that ends with ":0" is taken without."""
    return load_checkpoint(ckpt_dir_or_file).get_tensor(name.removesuffix(":0"))


def list_variables(ckpt_dir_or_file: str | os.PathLike[str]) -> list[tuple[str, list[int]]]:
    """Returns `(name, shape)` of each tensor of a checkpoint, sorted by name."""
    return sorted(load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map().items())
