"""Files as ops: read whole, written whole, and their names by pattern."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError
from graphflow.gfile import Glob, file_errors, local_path
from graphflow.graph import Operation, Tensor
from graphflow.opdef import emit, op
from graphflow.ops import rules
from graphflow.ops.rules import Array
from graphflow.shapes import TensorShape


def text_array(items: list[bytes]) -> Array:
    """A vector of texts."""
    result: Array = np.empty(len(items), object)
    result[:] = items
    return result


def _path(array: Array, what: str) -> str:
    if array.ndim:
        raise InvalidArgumentError(
            None, None, f"{what} tensor must be scalar but had shape: {list(array.shape)}"
        )
    return local_path(bytes(array[()]).decode(errors="surrogateescape"))


def _no_rank(node: Any) -> TensorShape:
    rules.rank_exactly(node, 0, 0, "the file name")
    return rules.scalar(node)


@op("ReadFile", "filename:string", "contents:string", "", infer=_no_rank, effects="host",
    differentiable=False)  # fmt: skip
def read_file_op(filename: Array) -> Array:
    """All that a file holds."""
    path = _path(filename, "Input filename")
    with file_errors(path), open(path, "rb") as file:
        contents = file.read()
    return np.array(contents, object)


def _written(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 0, "the file name")
    rules.rank_exactly(node, 1, 0, "the contents")
    return []


@op("WriteFile", "filename:string; contents:string", "", "", infer=_written, effects="host",
    differentiable=False)  # fmt: skip
def write_file_op(filename: Array, contents: Array) -> None:
    """Makes a file anew, and its folder too."""
    path = _path(filename, "Input filename")
    if contents.ndim:
        raise InvalidArgumentError(
            None, None, f"Contents tensor must be scalar but had shape: {list(contents.shape)}"
        )
    with file_errors(path):
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(bytes(contents[()]))


def _matching(node: Any) -> TensorShape:
    rules.rank_at_most(node, 0, 1, "the pattern")
    return TensorShape([None])


@op("MatchingFiles", "pattern:string", "filenames:string", "", infer=_matching, effects="host",
    differentiable=False)  # fmt: skip
def matching_files_op(pattern: Array) -> Array:
    """The names of the files that match a pattern, or one of several, in order."""
    if pattern.ndim > 1:
        raise InvalidArgumentError(
            None,
            None,
            f"Input patterns tensor must be scalar or vector, but had shape: {list(pattern.shape)}",
        )
    names = {
        name for item in pattern.reshape(-1) for name in Glob(bytes(item).decode(errors="surrogateescape"))
    }
    return text_array(sorted(os.fsencode(name) for name in names))


def read_file(filename: Any, name: str | None = None) -> Tensor:
    """Returns all that a file holds.

    Args:
      filename: string scalar.
      name: a name.
    """
    contents: Tensor = emit.ReadFile(filename, name=name)
    return contents


def write_file(filename: Any, contents: Any, name: str | None = None) -> Operation:
    """Returns the operation that makes a file anew, and its folder too.

    Args:
      filename: string scalar.
      contents: string scalar.
      name: a name.
    """
    written: Operation = emit.WriteFile(filename, contents, name=name)
    return written


def matching_files(pattern: Any, name: str | None = None) -> Tensor:
    """Returns the names of the files that match, in order.

    Args:
      pattern: a pattern of the shell's kind, or a vector of them.
      name: a name.
    """
    names: Tensor = emit.MatchingFiles(pattern, name=name)
    return names


__all__ = ["matching_files", "read_file", "write_file"]
