"""A session's variables: one buffer each, written in place by plans, copied in and out for everybody else."""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from graphflow.meanwhile import Meanwhile
from graphflow.memory import aligned_empty
from graphflow.records import dataclass, field

__all__ = [
    "Holder",
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
    """A layout of a variable's memory other than row-major. Equal layouts compare, and hash, equal."""

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


class Holder(Protocol):
    """A device that keeps variables of a session, and may have newer values than the host."""

    def bring(self, key: Hashable, store: VariableStore, /) -> None:
        """Hands the newest value of a variable to `store.returned`. The store's lock is not held by who asks."""

    def release(self) -> None:
        """Forgets all values: the session is closed."""


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """What a plan wants of a variable: key, logical shape, dtype, layout; whether it reads or writes it."""

    key: Hashable
    shape: Shape | None
    dtype: np.dtype[Any]
    reads: bool
    writes: bool
    storage: Storage | None = None


@dataclass(frozen=True, slots=True)
class Panels:
    """A matrix in panels of `width` columns, one after the other, each with all rows; the last one is padded.

    Leading axes count as rows: `[..., rows, columns]` is stored as `[panel, ... * rows, width]`.
    """

    width: int

    def stored_shape(self, shape: Shape) -> Shape:
        """The shape of the buffer for a value of a shape."""
        *rows, columns = shape
        return -(-columns // self.width), math.prod(rows), self.width

    def pack(self, logical: Array) -> Array:
        """See `Storage.pack`."""
        stored = self.empty(logical.shape, logical.dtype)
        for panel, columns in zip(stored, self._columns(logical), strict=True):
            panel[:, : columns.shape[1]] = columns
        return stored

    def unpack(self, stored: Array, shape: Shape) -> Array:
        """See `Storage.unpack`."""
        logical = aligned_empty(shape, stored.dtype)
        for panel, columns in zip(stored, self._columns(logical), strict=True):
            columns[...] = panel[:, : columns.shape[1]]
        return logical

    def _columns(self, logical: Array) -> list[Array]:
        """The columns that each panel holds."""
        columns = logical.shape[-1]
        matrix = logical.reshape(math.prod(logical.shape[:-1]), columns)
        return [matrix[:, first : first + self.width] for first in range(0, columns, self.width)]

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """See `Storage.empty`."""
        stored = aligned_empty(self.stored_shape(shape), dtype)
        if shape[-1] % self.width:
            stored[-1] = 0
        return stored

    def __str__(self) -> str:
        return f"panels of {self.width} columns"


@dataclass(slots=True)
class _Shadow:
    """A copy of a variable in another layout, as of `stamp`, for the plans that want it so."""

    buffer: Array
    stamp: int


@dataclass(slots=True)
class _Cell:
    """`stamp` tells one value from the next while the cell is watched.

    `settled`: a plan that trains has chosen the layout. `writer`: the layout of the last plan that wrote it.
    `holder`: the device that has the newest value, where the buffer has an older one.
    """

    buffer: Array
    shape: Shape
    storage: Storage | None
    initialized: bool
    stamp: int
    watched: bool = False
    settled: bool = False
    writer: Storage | None = None
    shadows: dict[Storage | None, _Shadow] = field(default_factory=dict)
    holder: Holder | None = None


_versions = itertools.count(1)


class VariableStore:
    """The values of a session's variables. Plans write into its buffers; all others get and give copies.

    Each variable has one layout: row-major, or the one that the first plan asked for that both reads and writes it.
    Other plans work on a copy in the layout that they want, brought up to date before a run and written back after
    it; the layout follows a plan that writes twice before any other does.
    What plans make of variables that they do not write is kept here as long as nobody else writes these.
    `version` changes whenever an address does, or the value of a variable that something kept was made of: a
    workspace that has seen it need not look again.
    Devices keep copies of their own. One that has written a variable has the newest value until somebody else wants it.

    Attributes:
      version: see above.
      holders: the devices that keep something of this session.
      device_memory: the share of a device's memory that may be taken; None for all.
    """

    def __init__(self) -> None:
        self.version = next(_versions)
        self.holders: list[Holder] = []
        self.device_memory: float | None = None
        self._cells: dict[Hashable, _Cell] = {}
        self._lock = threading.RLock()
        self._kept: weakref.WeakKeyDictionary[Maker, tuple[tuple[int, ...], list[Array]]] = (
            weakref.WeakKeyDictionary()
        )
        self._kept_lock = threading.RLock()
        self.meanwhile = Meanwhile()

    def between_steps(self) -> None:
        """Called before each host step of a run: a session's store raises here when the run is to stop."""

    def times_aside(self) -> int:
        """How often the present thread has let runs of others write in the middle of one of its own: a session's
        store knows."""
        return 0

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
            buffers = [cell.buffer for cell in self._cells.values()]
            buffers += [shadow.buffer for cell in self._cells.values() for shadow in cell.shadows.values()]
            return sum(buffer.nbytes for buffer in buffers)

    def get(self, key: Hashable) -> Array:
        """A copy of the value in its logical shape."""
        self._home((key,))
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
                cell.holder = None
                if cell.storage is None:
                    cell.buffer[...] = array
                else:
                    cell.buffer[...] = cell.storage.pack(array)
                cell.initialized = True
                if cell.watched:
                    cell.stamp = self.version = next(_versions)
                cell.writer = cell.storage
                return
            buffer = aligned_empty(array.shape, array.dtype)
            buffer[...] = array
            self._cells[key] = _Cell(buffer, array.shape, None, True, next(_versions))
            self.version = next(_versions)

    def fork(self) -> Self:
        """A store of the same kind with copies of all values."""
        made = type(self)()
        self._home(self.keys())
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
        """Forgets all values; devices give their memory back."""
        with self._lock:
            self._cells.clear()
            self.version = next(_versions)
            holders, self.holders = self.holders, []
        for holder in holders:
            holder.release()

    # devices

    def holder(self, key: Hashable) -> Holder | None:
        """The device that has the newest value of a variable; None where the host has it."""
        cell = self._cells.get(key)
        return None if cell is None else cell.holder

    def stamp(self, key: Hashable) -> int | None:
        """What stands for the present value of a variable, until anybody writes it; None if it has none."""
        with self._lock:
            cell = self._cells.get(key)
            if cell is None or not cell.initialized:
                return None
            self.watch((key,))
            return cell.stamp

    def lend(self, spec: VariableSpec, holder: Holder) -> None:
        """Says that a device has written a variable: it has the newest value from now on."""
        cell = self._cells.get(spec.key)
        if cell is not None and cell.holder is holder and cell.initialized:
            return
        with self._lock:
            shape = spec.shape or ()
            if cell is None or cell.shape != shape or cell.buffer.dtype != spec.dtype:
                cell = _Cell(aligned_empty(shape, spec.dtype), shape, None, True, 0)
                self._cells[spec.key] = cell
            cell.initialized = cell.watched = True
            cell.holder, cell.writer = holder, cell.storage
            cell.stamp = self.version = next(_versions)

    def returned(self, key: Hashable, value: Array, holder: Holder) -> int | None:
        """Takes the newest value of a variable from a device; what stands for it. None: it is out of date."""
        with self._lock:
            cell = self._cells.get(key)
            if cell is None or cell.holder is not holder:
                return None
            cell.buffer[...] = value if cell.storage is None else cell.storage.pack(value)
            cell.holder = None
            cell.stamp = self.version = next(_versions)
            return cell.stamp

    def _home(self, keys: Iterable[Hashable]) -> None:
        """Has devices hand back the newest values of variables. Not to be called by who holds the lock: devices have
        locks too, which they hold while they ask the store."""
        for key in keys:
            cell = self._cells.get(key)
            while cell is not None and cell.holder is not None:
                cell.holder.bring(key, self)
                cell = self._cells.get(key)

    def bind(self, spec: VariableSpec) -> Array:
        """The buffer itself, in the layout asked for; made if the plan only writes it."""
        self._home((spec.key,))
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
                trains = spec.reads and spec.writes
                if cell.storage != spec.storage:
                    if cell.initialized and (cell.settled or not trains):
                        return self._shadow(cell, spec.storage)
                    self._convert(cell, spec.storage)
                cell.settled |= trains
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

    def lies_so(self, spec: VariableSpec) -> Array | None:
        """The buffer of a variable that has a value in the layout asked for, else None."""
        self._home((spec.key,))
        with self._lock:
            cell = self._cells.get(spec.key)
            if cell is None or not cell.initialized or cell.storage != spec.storage:
                return None
            return cell.buffer if cell.shape == spec.shape and cell.buffer.dtype == spec.dtype else None

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
                    cell.watched, cell.writer = True, cell.storage
                    self.version = next(_versions)

    def watched(self, specs: Iterable[VariableSpec]) -> list[VariableSpec]:
        """Those of the variables whose writers have to call `touch`."""
        with self._lock:
            return [s for s in specs if (cell := self._cells.get(s.key)) is not None and cell.watched]

    def touch(self, specs: Iterable[VariableSpec], seen: int) -> int:
        """Says that a run has written these variables; the version that the run has seen, brought up to date.

        What else has changed since that version is still to be looked at.
        """
        with self._lock:
            stamp = next(_versions)
            for spec in specs:
                cell = self._cells.get(spec.key)
                if cell is None:
                    continue
                cell.stamp = stamp
                shadow = cell.shadows.get(spec.storage)
                if shadow is not None and cell.storage != spec.storage:
                    shadow.stamp = stamp
                    if cell.writer == spec.storage and spec.reads:
                        del cell.shadows[spec.storage]
                        cell.shadows[cell.storage] = _Shadow(cell.buffer, 0)
                        cell.buffer, cell.storage = shadow.buffer, spec.storage
                    else:
                        cell.buffer[...] = _stored(shadow.buffer, spec.storage, cell.storage, cell.shape)
                cell.writer = spec.storage
            before, self.version = self.version, stamp
            return stamp if before == seen else seen

    def kept(self, maker: Maker, keys: Sequence[Hashable]) -> list[Array]:
        """What `maker` makes of the variables `keys`, which are watched: made anew if one was written since."""
        self._home(keys)
        with self._kept_lock:
            with self._lock:
                cells = [self._cells.get(key) for key in keys]
                stamps = tuple(-1 if cell is None else cell.stamp for cell in cells)
            found = self._kept.get(maker)
            if found is None or found[0] != stamps:
                found = self._kept[maker] = stamps, maker.run((), self)
            return found[1]

    def _shadow(self, cell: _Cell, storage: Storage | None) -> Array:
        """An up-to-date copy in another layout."""
        shadow = cell.shadows.get(storage)
        if shadow is None:
            shadow = cell.shadows[storage] = _Shadow(_empty(storage, cell.shape, cell.buffer.dtype), 0)
            if not cell.watched:
                self.version = next(_versions)  # its writers do not watch out yet
                cell.watched, cell.writer = True, cell.storage
        if shadow.stamp != cell.stamp:
            shadow.buffer[...] = _stored(cell.buffer, cell.storage, storage, cell.shape)
            shadow.stamp = cell.stamp
        return shadow.buffer

    def _convert(self, cell: _Cell, storage: Storage | None) -> None:
        fresh = _empty(storage, cell.shape, cell.buffer.dtype)
        if cell.initialized:
            fresh[...] = _stored(cell.buffer, cell.storage, storage, cell.shape)
        cell.buffer, cell.storage = fresh, storage
        cell.shadows.clear()
        self.version = next(_versions)


def _empty(storage: Storage | None, shape: Shape, dtype: np.dtype[Any]) -> Array:
    return aligned_empty(shape, dtype) if storage is None else storage.empty(shape, dtype)


def _stored(buffer: Array, held: Storage | None, wanted: Storage | None, shape: Shape) -> Array:
    """The value of a buffer in another layout."""
    logical = buffer if held is None else held.unpack(buffer, shape)
    return logical if wanted is None else wanted.pack(logical)
