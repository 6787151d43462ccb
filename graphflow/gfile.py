"""`gf.gfile`: files and folders under TensorFlow's names; errors are those of `gf.errors`. Paths are local ones."""

from __future__ import annotations

import contextlib
import glob as _glob
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple, Self

from graphflow.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnknownError,
)

_MODES = ("r", "w", "a", "r+", "w+", "a+")
_SCHEME = "file://"


class FileStatistics(NamedTuple):
    """What `Stat` tells: the size in bytes, when the file was changed, in nanoseconds, and whether it is a folder."""

    length: int
    mtime_nsec: int
    is_directory: bool


def local_path(path: Any) -> str:
    """Returns a path as a text; `file://` at its front goes.

    Raises:
      TypeError: for what is no path.
    """
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = text.decode()
    return str(text).removeprefix(_SCHEME)


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Inside, what the system says of a path is raised as an error of `gf.errors`."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(None, None, f"{path}; No such file or directory") from None
    except PermissionError:
        raise PermissionDeniedError(None, None, f"{path}; Permission denied") from None
    except FileExistsError:
        raise AlreadyExistsError(None, None, f"{path}; File exists") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FailedPreconditionError(None, None, f"{path}; {error.strerror}") from None
    except OSError as error:
        raise UnknownError(None, None, f"{path}; {error.strerror or error}") from None
    except ValueError as error:  # a zero byte in a path, for one
        raise InvalidArgumentError(None, None, f"{path!r}: {error}") from None


class GFile:
    """A file, opened when it is first used.

    Args:
      name: the path.
      mode: "r", "w", "a", with "+" to read and write; with "b", contents are bytes, else text in UTF-8.
    """

    def __init__(self, name: Any, mode: str = "r") -> None:
        self._name = name
        self._mode = mode
        self._path = local_path(name)
        self._binary = "b" in mode
        self._plain = mode.replace("b", "")
        if self._plain not in _MODES:
            raise InvalidArgumentError(None, None, "mode is not 'r' or 'w' or 'a' or 'r+' or 'w+' or 'a+'")
        self._file: IO[bytes] | None = None

    @property
    def name(self) -> Any:
        """The path, as it was given."""
        return self._name

    @property
    def mode(self) -> str:
        """The mode."""
        return self._mode

    def _opened(self, what: str) -> IO[bytes]:
        allowed = self._plain == "r" if what == "reading" else self._plain in ("w", "a")
        if not allowed and "+" not in self._plain:
            raise PermissionDeniedError(None, None, f"File isn't open for {what}")
        if self._file is None:
            with file_errors(self._path):
                self._file = open(self._path, self._plain + "b")
        return self._file

    def _given(self, data: bytes) -> Any:
        return data if self._binary else data.decode()

    def size(self) -> int:
        """Returns the size in bytes."""
        if self._file is not None:
            self._file.flush()
        return Stat(self._path).length

    def write(self, file_content: Any) -> None:
        """Writes a text or bytes."""
        file = self._opened("writing")
        data = file_content.encode() if isinstance(file_content, str) else bytes(file_content)
        with file_errors(self._path):
            file.write(data)

    def read(self, n: int = -1) -> Any:
        """Returns the rest of the file, or at most `n` bytes of it."""
        file = self._opened("reading")
        with file_errors(self._path):
            return self._given(file.read(n))

    def seek(self, offset: int | None = None, whence: int = 0, position: int | None = None) -> None:
        """Goes to a place.

        Args:
          offset: bytes from where `whence` says.
          whence: 0 the beginning, 1 the present place, 2 the end.
          position: the old name of `offset`.

        Raises:
          TypeError: if no place is given.
        """
        at = position if offset is None else offset
        if at is None:
            raise TypeError("seek(): offset argument required")
        with file_errors(self._path):
            self._opened("reading").seek(at, whence)

    def readline(self) -> Any:
        """Returns the next line with its end; empty after the last."""
        file = self._opened("reading")
        with file_errors(self._path):
            return self._given(file.readline())

    def readlines(self) -> list[Any]:
        """Returns all lines that are left."""
        return list(self)

    def tell(self) -> int:
        """Returns the present place."""
        if self._file is not None:
            return self._file.tell()
        return self._opened("reading" if self._plain == "r" else "writing").tell()

    def flush(self) -> None:
        """Hands all that is written over to the system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:  # programs of old leave files open
            self.close()

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def next(self) -> Any:
        """Returns the next line.

        Raises:
          StopIteration: after the last.
        """
        return self.__next__()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


FastGFile = GFile
Open = GFile


def Exists(filename: Any) -> bool:
    """Returns whether there is such a file or folder."""
    return os.path.exists(local_path(filename))


def IsDirectory(dirname: Any) -> bool:
    """Returns whether there is such a folder."""
    return os.path.isdir(local_path(dirname))


def Stat(filename: Any) -> FileStatistics:
    """Returns size, time of change and kind of a file.

    Raises:
      NotFoundError: if there is none.
    """
    path = local_path(filename)
    with file_errors(path):
        found = os.stat(path)
    return FileStatistics(found.st_size, found.st_mtime_ns, os.path.isdir(path))


def Glob(filename: Any) -> list[str]:
    """Returns the files that match a pattern, or one of a list of patterns."""
    patterns = filename if isinstance(filename, list | tuple) else [filename]
    return [path for pattern in patterns for path in sorted(_glob.glob(local_path(pattern)))]


def ListDirectory(dirname: Any) -> list[str]:
    """Returns the names in a folder.

    Raises:
      NotFoundError: if there is no such folder.
    """
    path = local_path(dirname)
    if not os.path.isdir(path):
        raise NotFoundError(None, None, f"Could not find directory {path}")
    with file_errors(path):
        return sorted(os.listdir(path))


def MkDir(dirname: Any) -> None:
    """Makes a folder in one that is there."""
    path = local_path(dirname)
    with file_errors(path):
        if not os.path.isdir(path):
            os.mkdir(path)


def MakeDirs(dirname: Any) -> None:
    """Makes a folder, and those above it."""
    path = local_path(dirname)
    with file_errors(path):
        os.makedirs(path, exist_ok=True)


def Remove(filename: Any) -> None:
    """Removes a file.

    Raises:
      NotFoundError: if there is none.
      FailedPreconditionError: for a folder.
    """
    path = local_path(filename)
    with file_errors(path):
        if os.path.isdir(path):
            raise IsADirectoryError(0, "Is a directory")
        os.remove(path)


def DeleteRecursively(dirname: Any) -> None:
    """Removes a folder with all that is in it.

    Raises:
      NotFoundError: if there is none.
    """
    path = local_path(dirname)
    if not os.path.lexists(path):
        raise NotFoundError(None, None, f"{path} not found")
    with file_errors(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def Copy(oldpath: Any, newpath: Any, overwrite: bool = False) -> None:
    """Copies a file.

    Raises:
      NotFoundError: if there is none.
      AlreadyExistsError: if the new one is there, and is not to be overwritten.
    """
    old, new = local_path(oldpath), local_path(newpath)
    if not overwrite and os.path.lexists(new):
        raise AlreadyExistsError(None, None, "file already exists")
    with file_errors(old):
        if os.path.isdir(old):
            raise IsADirectoryError(0, "Is a directory")
        shutil.copyfile(old, new)


def Rename(oldname: Any, newname: Any, overwrite: bool = False) -> None:
    """Renames a file or folder.

    Raises:
      NotFoundError: if there is none.
      AlreadyExistsError: if the new one is there, and is not to be overwritten.
    """
    old, new = local_path(oldname), local_path(newname)
    if not overwrite and os.path.lexists(new):
        raise AlreadyExistsError(None, None, "file already exists")
    with file_errors(old):
        os.replace(old, new)


def Walk(
    top: Any, in_order: bool = True, onerror: Callable[[Exception], Any] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields (folder, names of folders in it, names of files in it) for a folder and all below it.

    Args:
      top: the folder.
      in_order: whether a folder comes before those in it.
      onerror: called with what goes wrong.
    """
    path = local_path(top)
    for folder, folders, files in os.walk(path, topdown=in_order, onerror=onerror):
        folders.sort()
        yield folder, list(folders), sorted(files)


# Their names in `gf.io.gfile`.


def join(path: Any, *paths: Any) -> str:
    """Returns paths put one behind the other."""
    return os.path.join(os.fspath(path), *map(os.fspath, paths))


def get_registered_schemes() -> Sequence[str]:
    """Returns what paths may begin with."""
    return ["", _SCHEME]


__all__ = [
    "Copy", "DeleteRecursively", "Exists", "FastGFile", "FileStatistics", "GFile", "Glob", "IsDirectory",
    "ListDirectory", "MakeDirs", "MkDir", "Open", "Remove", "Rename", "Stat", "Walk",
]  # fmt: skip
