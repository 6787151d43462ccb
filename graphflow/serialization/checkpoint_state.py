"""The file `checkpoint` of a folder: which checkpoints it has, and which is the newest."""

from __future__ import annotations

import os
from collections.abc import Sequence

from google.protobuf import text_format

from graphflow.errors import DataLossError, NotFoundError
from graphflow.serialization.graph_import import read_message
from graphflow.serialization.proto import checkpoint_state_pb2
from graphflow.serialization.tensor_bundle import write_file


def make_state(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> checkpoint_state_pb2.CheckpointState:
    """Returns a CheckpointState; paths below `save_dir` are made relative to it if it is a relative path.

    Raises:
      ValueError: if there are not as many times as paths.
    """
    paths = list(all_model_checkpoint_paths or [])
    if not paths or paths[-1] != model_checkpoint_path:
        paths.append(model_checkpoint_path)
    times = list(all_model_checkpoint_timestamps or [])
    if times and len(times) != len(paths):
        raise ValueError(
            f"Checkpoint timestamps, if provided, must match checkpoint paths (got paths {paths} and timestamps "
            f"{times})"
        )
    if not os.path.isabs(save_dir):
        paths = [path if os.path.isabs(path) else os.path.relpath(path, save_dir) for path in paths]
        if not os.path.isabs(model_checkpoint_path):
            model_checkpoint_path = os.path.relpath(model_checkpoint_path, save_dir)
    state = checkpoint_state_pb2.CheckpointState(
        model_checkpoint_path=model_checkpoint_path,
        all_model_checkpoint_paths=paths,
        all_model_checkpoint_timestamps=times,
    )
    if last_preserved_timestamp is not None:
        state.last_preserved_timestamp = last_preserved_timestamp
    return state


def write_state(path: str, state: checkpoint_state_pb2.CheckpointState) -> None:
    """Writes the file; a crash leaves the old one or the new one."""
    write_file(path, text_format.MessageToString(state).encode())


def read_state(path: str) -> checkpoint_state_pb2.CheckpointState | None:
    """Returns the state in a file with its paths relative to that file's folder made whole; None without file.

    Raises:
      DataLossError: if the file is damaged.
    """
    try:
        state: checkpoint_state_pb2.CheckpointState = read_message(
            path, checkpoint_state_pb2.CheckpointState, text=True
        )
    except NotFoundError:
        return None
    if not state.model_checkpoint_path:
        raise DataLossError(None, None, f"{path} names no checkpoint")
    folder = os.path.dirname(path)

    def whole(name: str) -> str:
        return name if os.path.isabs(name) else os.path.join(folder, name)

    state.model_checkpoint_path = whole(state.model_checkpoint_path)
    state.all_model_checkpoint_paths[:] = [whole(name) for name in state.all_model_checkpoint_paths]
    return state
