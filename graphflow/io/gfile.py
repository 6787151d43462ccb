"""`gf.io.gfile`: files and folders under their later names; see `gf.gfile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from graphflow.gfile import (
    Copy,
    DeleteRecursively,
    Exists,
    GFile,
    Glob,
    IsDirectory,
    ListDirectory,
    MakeDirs,
    MkDir,
    Remove,
    Rename,
    Stat,
    Walk,
    get_registered_schemes,
    join,
)
from graphflow.namespace import lazy


def copy(src: Any, dst: Any, overwrite: bool = False) -> None:
    """Copies a file; see `gf.gfile.Copy`."""
    Copy(src, dst, overwrite)


def exists(path: Any) -> bool:
    """Returns whether there is such a file or folder."""
    return Exists(path)


def glob(pattern: Any) -> list[str]:
    """Returns the files that match a pattern, or one of a list of patterns."""
    return Glob(pattern)


def isdir(path: Any) -> bool:
    """Returns whether there is such a folder."""
    return IsDirectory(path)


def listdir(path: Any) -> list[str]:
    """Returns the names in a folder; see `gf.gfile.ListDirectory`."""
    return ListDirectory(path)


def makedirs(path: Any) -> None:
    """Makes a folder, and those above it."""
    MakeDirs(path)


def mkdir(path: Any) -> None:
    """Makes a folder in one that is there."""
    MkDir(path)


def remove(path: Any) -> None:
    """Removes a file; see `gf.gfile.Remove`."""
    Remove(path)


def rename(src: Any, dst: Any, overwrite: bool = False) -> None:
    """Renames a file or folder; see `gf.gfile.Rename`."""
    Rename(src, dst, overwrite)


def rmtree(path: Any) -> None:
    """Removes a folder with all that is in it; see `gf.gfile.DeleteRecursively`."""
    DeleteRecursively(path)


def stat(path: Any) -> Any:
    """Returns size, time of change and kind of a file; see `gf.gfile.Stat`."""
    return Stat(path)


def walk(
    top: Any, topdown: bool = True, onerror: Callable[[Exception], Any] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields a folder and all below it; see `gf.gfile.Walk`."""
    return Walk(top, topdown, onerror)


__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "GFile", "copy", "exists", "get_registered_schemes", "glob", "isdir", "join", "listdir", "makedirs", "mkdir",
    "remove", "rename", "rmtree", "stat", "walk",
]  # fmt: skip
