"""Compiled code on disk, by the digest of what it was made from.

The entries are machine code that will be run, so the directory must belong to the user and be closed to
others, an entry carries the digest of its contents, and whatever does not check out counts as absent. Writers
put an entry under another name first and rename it, so processes may share the directory without locks.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from pathlib import Path

from graphflow import config

__all__ = ["ObjectCache", "default_cache", "digest", "digest_of_sources"]

_MAGIC = b"graphflow object 1\n"


def digest(*parts: str | bytes) -> str:
    """SHA-256, in hex, of parts kept apart (so that ("ab", "c") is not ("a", "bc"))."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


@functools.cache
def digest_of_sources(*places: str) -> str:
    """The digest of modules of graphflow, and of all modules in folders of it, by their paths in the package."""
    package = Path(__file__).parent.parent
    parts: list[str | bytes] = []
    for place in places:
        path = package / place
        for source in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            parts += [source.name, source.read_bytes()]
    return digest(*parts)


class ObjectCache:
    """Entries of bytes under keys made by `digest`. A cache that cannot be used stays empty and says why."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.disabled_reason: str | None = None if directory is not None else "switched off"
        if directory is not None:
            self.disabled_reason = _prepare(directory)

    @property
    def enabled(self) -> bool:
        """Whether entries are kept at all."""
        return self.disabled_reason is None

    def _path(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / key[:2] / f"{key[2:]}.obj"

    def get(self, key: str) -> bytes | None:
        """The entry under a key; None if there is none or it is not what was written."""
        if not self.enabled:
            return None
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return None
        with open(descriptor, "rb") as file:
            if not _is_ours(os.fstat(file.fileno()), regular=True):
                return None
            data = file.read()
        head = len(_MAGIC) + 32
        payload = data[head:]
        if data[: len(_MAGIC)] == _MAGIC and data[len(_MAGIC) : head] == _checksum(key, payload):
            return payload
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, payload: bytes) -> None:
        """Keeps an entry. A disk that is full or read-only costs only the next process's time."""
        if not self.enabled:
            return
        import tempfile  # a process that finds everything has no use for it

        path = self._path(key)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".new")
            try:
                with open(descriptor, "wb") as file:
                    file.write(_MAGIC + _checksum(key, payload) + payload)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError:
            return


def _checksum(key: str, payload: bytes) -> bytes:
    # The key is in it: an entry moved to another key's name is as bad as one that was changed.
    return hashlib.sha256(key.encode() + b"\n" + payload).digest()


def _is_ours(status: os.stat_result, *, regular: bool) -> bool:
    if regular and not stat.S_ISREG(status.st_mode):
        return False
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return False
    return os.name == "nt" or not status.st_mode & 0o022


def _prepare(directory: Path) -> str | None:
    """Makes the directory; the reason it cannot be trusted or used, or None."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(directory)
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory}: not a directory"
    if not _is_ours(status, regular=False):
        return f"{directory}: others may write there, or it is another user's"
    return None


_default: dict[Path | None, ObjectCache] = {}


def default_cache() -> ObjectCache:
    """The cache in the directory that `GRAPHFLOW_CACHE_DIR` names, or in the user's cache directory."""
    directory = config.cache_dir()
    if directory is not None:
        directory = directory / "objects"
    if directory not in _default:
        _default[directory] = ObjectCache(directory)
    return _default[directory]
