"""The versions of a model on disk: folders named by numbers, and whether one has all of its files yet."""

from __future__ import annotations

import os
from pathlib import Path

from graphflow import saved_model
from graphflow.errors import DataLossError, NotFoundError
from graphflow.saved_model import constants
from graphflow.serialization.saved_model import read_saved_model
from graphflow.serialization.tensor_bundle import BundleReader, index_file

# The state of a folder's files: what changes while someone still writes there.
Fingerprint = tuple[tuple[str, int, int], ...]


def versions_in(base_path: str | os.PathLike[str]) -> dict[int, str]:
    """Returns the folder of every version below a base path, by number; other names are not looked at.

    Raises:
      NotFoundError: if there is no such folder.
      OSError: if it cannot be read.
    """
    base = Path(base_path)
    if not base.is_dir():
        raise NotFoundError(None, None, f"Could not find base path {base} for servable")
    return {
        int(path.name): str(path)
        for path in base.iterdir()
        if path.name.isascii() and path.name.isdecimal() and path.is_dir()
    }


def no_versions(base_path: str | os.PathLike[str]) -> NotFoundError:
    """Returns the error for a base path with nothing to serve; it knows the mistake most often made."""
    base = Path(base_path)
    hint = ""
    if saved_model.maybe_saved_model_directory(base):
        hint = f"; the folder is a model itself: move it to {base / '1'}"
    return NotFoundError(
        None, None, f"No versions of servable found under base path {base} (folders named by numbers){hint}"
    )


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Returns names, sizes and times of all files below a folder."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            try:
                status = os.stat(file)
            except OSError:
                continue  # gone since it was listed
            found.append((os.path.relpath(file, path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def missing_part(path: str | os.PathLike[str]) -> str | None:
    """Returns what a version's folder still lacks to be whole, or None: copies are not made in one moment.

    The graph must be there and parse, and where it restores variables, the index and as many bytes of each data
    file as the index names.
    """
    folder = Path(path)
    if not saved_model.maybe_saved_model_directory(folder):
        return constants.SAVED_MODEL_FILENAME_PB
    try:
        proto = read_saved_model(folder)
    except (DataLossError, OSError) as error:
        return f"the rest of {constants.SAVED_MODEL_FILENAME_PB} ({error})"
    if not any(meta_graph.saver_def.restore_op_name for meta_graph in proto.meta_graphs):
        return None
    prefix = str(folder / constants.VARIABLES_DIRECTORY / constants.VARIABLES_FILENAME)
    if not os.path.exists(index_file(prefix)):
        # A model without variables may have a saver all the same; one with data must have its index.
        return os.path.relpath(index_file(prefix), folder) if os.path.isdir(os.path.dirname(prefix)) else None
    try:
        reader = BundleReader(prefix)
    except (DataLossError, OSError) as error:
        return f"the rest of {os.path.relpath(index_file(prefix), folder)} ({error})"
    for file, size in reader.data_files().items():
        try:
            present = os.path.getsize(file)
        except OSError:
            return os.path.relpath(file, folder)
        if present < size:
            return f"{size - present} bytes of {os.path.relpath(file, folder)}"
    return None


def stored_bytes(path: str | os.PathLike[str]) -> int:
    """Returns the bytes of a version's graph and variables on disk: what loading has to bring into memory."""
    graph_files = (constants.SAVED_MODEL_FILENAME_PB, constants.SAVED_MODEL_FILENAME_PBTXT)
    return sum(
        size
        for name, size, _ in fingerprint(path)
        if name in graph_files or name.startswith(f"{constants.VARIABLES_DIRECTORY}{os.sep}")
    )
