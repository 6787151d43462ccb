"""A session's variables: one buffer each, written in place by plans, copied in and out for everybody else."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from graphflow.memory import aligned_empty

__all__ = [
    "Maker",
    "Storage",
    "UninitializedVariableError",
    "VariableShapeError",
    "VariableSpec",
    "VariableStore",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]


class UninitializedVariableError(LookupError):
    """A variable is read that has no value yet; `key` says which."""

    def __init__(self, key: Hashable) -> None:
        super().__init__(f"variable {key!r} has no value yet")
        self.key = key


class VariableShapeError(ValueError):
    """A variable's shape or dtype is no longer what the plan was made for: plan anew."""


class Storage(Protocol):
    """A layout of a variable's memory other than row-major. Equal layouts compare equal."""

    def pack(self, logical: Array) -> Array:
        """Returns a fresh, 64-byte aligned array in this layout."""

    def unpack(self, stored: Array, shape: Shape) -> Array:
        """Returns a fresh row-major array of the logical shape."""

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Returns memory for a value of the logical shape whose padding, if any, is in order."""


class Maker(Protocol):
    """Something that makes arrays of variables alone, a plan for instance."""

    def run(self, feeds: Sequence[Array], store: VariableStore, /) -> list[Array]:
        """Makes them anew."""


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """What a plan wants of a variable: key, logical shape, dtype, layout; whether it reads or writes it."""

    key: Hashable
    shape: Shape | None
    dtype: np.dtype[Any]
    reads: bool
    writes: bool
    storage: Storage | None = None


@dataclass(slots=True)
class _Cell:
    """`stamp` tells one value from the next while the cell is watched."""

    buffer: Array
    shape: Shape
    storage: Storage | None
    initialized: bool
    stamp: int
    watched: bool = False


_versions = itertools.count(1)


class VariableStore:
    """The values of a session's variables. Plans write into its buffers; all others get and give copies.

    What plans make of variables that they do not write is kept here as long as nobody else writes these.
    `version` changes whenever an address does, or the value of a variable that something kept was made of: a
    workspace that has seen it need not look again.
    """

    def __init__(self) -> None:
        self.version = next(_versions)
        self._cells: dict[Hashable, _Cell] = {}
        self._lock = threading.RLock()
        self._kept: weakref.WeakKeyDictionary[Maker, tuple[tuple[int, ...], list[Array]]] = (
            weakref.WeakKeyDictionary()
        )
        self._kept_lock = threading.RLock()

    def between_steps(self) -> None:
        """Called before each host step of a run: a session's store raises here when the run is to stop."""

    def keys(self) -> list[Hashable]:
        """The keys of the variables that have a value."""
        with self._lock:
            return [key for key, cell in self._cells.items() if cell.initialized]

    def is_initialized(self, key: Hashable) -> bool:
        """Whether the variable has a value."""
        cell = self._cells.get(key)
        return cell is not None and cell.initialized

    def describe(self, key: Hashable) -> tuple[Shape, np.dtype[Any]] | None:
        """Logical shape and dtype of a variable that has a value, else None."""
        cell = self._cells.get(key)
        return (cell.shape, cell.buffer.dtype) if cell is not None and cell.initialized else None

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        with self._lock:
            return sum(cell.buffer.nbytes for cell in self._cells.values())

    def get(self, key: Hashable) -> Array:
        """A copy of the value in its logical shape."""
        with self._lock:
            cell = self._cells.get(key)
            if cell is None or not cell.initialized:
                raise UninitializedVariableError(key)
            if cell.storage is None:
                return np.array(cell.buffer)
            return cell.storage.unpack(cell.buffer, cell.shape)

    def set(self, key: Hashable, value: Any) -> None:
        """Copies a value in; the buffer stays where it is if shape and dtype do."""
        array = np.asarray(value)
        with self._lock:
            cell = self._cells.get(key)
            if cell is not None and cell.shape == array.shape and cell.buffer.dtype == array.dtype:
                if cell.storage is None:
                    cell.buffer[...] = array
                else:
                    cell.buffer[...] = cell.storage.pack(array)
                cell.initialized = True
                if cell.watched:
                    cell.stamp = self.version = next(_versions)
                return
            buffer = aligned_empty(array.shape, array.dtype)
            buffer[...] = array
            self._cells[key] = _Cell(buffer, array.shape, None, True, next(_versions))
            self.version = next(_versions)

    def fork(self) -> Self:
        """A store of the same kind with copies of all values."""
        made = type(self)()
        with self._lock:
            for key in self.keys():
                made.set(key, self.get(key))
        return made

    def delete(self, key: Hashable) -> None:
        """Forgets a value; a run under way keeps its memory."""
        with self._lock:
            if self._cells.pop(key, None) is not None:
                self.version = next(_versions)

    def clear(self) -> None:
        """Forgets all values."""
        with self._lock:
            self._cells.clear()
            self.version = next(_versions)

    def bind(self, spec: VariableSpec) -> Array:
        """The buffer itself, in the layout asked for; made if the plan only writes it."""
        with self._lock:
            cell = self._cells.get(spec.key)
            if spec.reads and (cell is None or not cell.initialized):
                raise UninitializedVariableError(spec.key)
            fits = (
                cell is not None
                and (spec.shape is None or cell.shape == spec.shape)
                and cell.buffer.dtype == spec.dtype
            )
            if cell is not None and fits:
                if cell.storage != spec.storage:
                    self._convert(cell, spec.storage)
                return cell.buffer
            if spec.reads:
                assert cell is not None
                raise VariableShapeError(
                    f"variable {spec.key!r} is {cell.buffer.dtype}{list(cell.shape)}, "
                    f"the plan was made for {spec.dtype}{list(spec.shape or ())}"
                )
            shape = spec.shape
            if shape is None:
                raise VariableShapeError(f"variable {spec.key!r} is written with a shape unknown to the plan")
            buffer = (
                aligned_empty(shape, spec.dtype)
                if spec.storage is None
                else spec.storage.empty(shape, spec.dtype)
            )
            self._cells[spec.key] = _Cell(buffer, shape, spec.storage, False, next(_versions))
            self.version = next(_versions)
            return buffer

    def mark_initialized(self, keys: Iterable[Hashable]) -> None:
        """Says that a run has written these variables."""
        with self._lock:
            for key in keys:
                cell = self._cells.get(key)
                if cell is not None:
                    cell.initialized = True

    def watch(self, keys: Iterable[Hashable]) -> None:
        """Has writers of these variables say so from now on."""
        with self._lock:
            for key in keys:
                cell = self._cells.get(key)
                if cell is not None and not cell.watched:
                    cell.watched = True
                    self.version = next(_versions)

    def watched(self, keys: Iterable[Hashable]) -> list[Hashable]:
        """Those of the variables whose writers have to call `touch`."""
        with self._lock:
            return [key for key in keys if (cell := self._cells.get(key)) is not None and cell.watched]

    def touch(self, keys: Iterable[Hashable], seen: int) -> int:
        """Says that a run has written these variables; the version that the run has seen, brought up to date.

        What else has changed since that version is still to be looked at.
        """
        with self._lock:
            stamp = next(_versions)
            for key in keys:
                cell = self._cells.get(key)
                if cell is not None:
                    cell.stamp = stamp
            before, self.version = self.version, stamp
            return stamp if before == seen else seen

    def kept(self, maker: Maker, keys: Sequence[Hashable]) -> list[Array]:
        """What `maker` makes of the variables `keys`, which are watched: made anew if one was written since."""
        with self._kept_lock:
            with self._lock:
                cells = [self._cells.get(key) for key in keys]
                stamps = tuple(-1 if cell is None else cell.stamp for cell in cells)
            found = self._kept.get(maker)
            if found is None or found[0] != stamps:
                found = self._kept[maker] = stamps, maker.run((), self)
            return found[1]

    def _convert(self, cell: _Cell, storage: Storage | None) -> None:
        if not cell.initialized:
            cell.buffer = _empty(storage, cell.shape, cell.buffer.dtype)
        else:
            logical = cell.buffer if cell.storage is None else cell.storage.unpack(cell.buffer, cell.shape)
            if storage is None:
                cell.buffer = aligned_empty(cell.shape, logical.dtype)
                cell.buffer[...] = logical
            else:
                cell.buffer = storage.pack(logical)
        cell.storage = storage
        self.version = next(_versions)


def _empty(storage: Storage | None, shape: Shape, dtype: np.dtype[Any]) -> Array:
    return aligned_empty(shape, dtype) if storage is None else storage.empty(shape, dtype)
