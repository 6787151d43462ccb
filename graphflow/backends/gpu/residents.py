"""What a session keeps on a device: its variables, and the memory that its plans share.

A variable's value lies on the host, on the device, or on both. The store knows who has the newest one
(`VariableStore.lend`): it asks for it when anybody else wants it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow import errors
from graphflow.backends.gpu.device import Device, Slab, aligned, exhausted
from graphflow.memory import aligned_empty
from graphflow.records import dataclass
from graphflow.variable_store import (
    UninitializedVariableError,
    VariableShapeError,
    VariableSpec,
    VariableStore,
)

__all__ = ["Resident", "Residents"]


@dataclass(eq=False, slots=True)
class Resident:
    """A variable on the device. `stamp`: which of the host's values it is the same as; -1 for none."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamp: int

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def row(self, key: Hashable) -> tuple[str, int, str]:
        """What stands of it in a table of large values."""
        return f"variable {key}", self.nbytes, f"{self.dtype.name}{list(self.shape)}"


class Residents:
    """The memory of one session on one device.

    Args:
      device: the device, with a stream of the session's own.
      limit: the most bytes that may be asked of it; None for what it has.

    Attributes:
      moves: changes whenever something that a plan is bound to lies elsewhere.
    """

    def __init__(self, device: Device, limit: int | None = None) -> None:
        self.device = device
        self.limit = limit
        self.moves = 0
        self.taken = 0
        self.closed = False
        self._process = os.getpid()
        self._variables: dict[Hashable, Resident] = {}
        self._slabs: list[Slab] = []
        self._arenas: list[Slab | None] = []
        self._workspace: Slab | None = None
        self._lock = threading.RLock()
        self._free: list[int] = []
        self._runs = 0
        self._word = None if not device.computes else device.pinned(8)

    @contextlib.contextmanager
    def turn(self) -> Iterator[int]:
        """Inside, the present thread has the device. Gives a number that no other run under way has: while one waits
        for the host (`aside`), others may have the device."""
        if self._process != os.getpid() and self.device.properties.architecture:
            raise errors.FailedPreconditionError(
                None, None,
                "This session has used a GPU before the process was forked, which CUDA does not survive: start"
                " processes with multiprocessing.set_start_method('spawn'), or before the first run.",
            )  # fmt: skip
        with self._lock:
            number = self._free.pop() if self._free else self._runs
            self._runs = max(self._runs, number + 1)
            try:
                yield number
            finally:
                self._free.append(number)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, other threads, and runs inside this one, may have the device."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()

    # memory

    def alloc(self, nbytes: int, what: str, largest: Sequence[tuple[str, int, str]] = ()) -> Slab:
        """Memory of the device.

        Raises:
          ResourceExhaustedError: if that is more than the session may have, or the device has.
        """
        nbytes = aligned(max(1, nbytes))
        self.refuse(nbytes, what, largest)
        slab = self.device.alloc(nbytes)
        self.taken += nbytes
        self._slabs.append(slab)
        return slab

    def refuse(self, nbytes: int, what: str, largest: Sequence[tuple[str, int, str]] = ()) -> None:
        """Raises ResourceExhaustedError if there is no room for so many bytes more, and says what is large."""
        limit = self.device.properties.bytes if self.limit is None else self.limit
        if not limit or self.taken + nbytes <= limit:
            return
        rows = sorted(
            [*(one.row(key) for key, one in self._variables.items()), *largest],
            key=lambda row: -row[1],
        )[:10]
        table = "\n".join(f"  {size / 2**20:10.2f} MiB  {name}  {shape}" for name, size, shape in rows)
        raise exhausted(
            f"{what} needs {nbytes / 2**20:.2f} MiB on {self.device.properties.name}, where"
            f" {self.taken / 2**20:.2f} MiB of the {limit / 2**20:.2f} MiB that this session may have are taken."
            f" The largest values:\n{table}"
        )

    def free(self, slab: Slab) -> None:
        """Gives memory back."""
        if slab in self._slabs:
            self._slabs.remove(slab)
            self.taken -= slab.nbytes
            self.device.free(slab)

    def arena(self, number: int, nbytes: int, largest: Sequence[tuple[str, int, str]] = ()) -> Slab:
        """The memory for temporaries of the runs with a number, whatever the plan; a larger one takes its place."""
        while len(self._arenas) <= number:
            self._arenas.append(None)
        found = self._arenas[number]
        if found is None or found.nbytes < nbytes:
            if found is not None:
                self._arenas[number] = None
                self.device.synchronize()
                self.free(found)
            found = self._arenas[number] = self.alloc(nbytes, "the memory for temporaries", largest)
            self.moves += 1
        return found

    def workspace(self, nbytes: int) -> Slab:
        """The scratch of library calls: one for all, since they run one after another."""
        found = self._workspace
        if found is None or found.nbytes < nbytes:
            if found is not None:
                self._workspace = None
                self.device.synchronize()
                self.free(found)
            found = self._workspace = self.alloc(nbytes, "the scratch of library calls")
            self.moves += 1
        return found

    # variables

    def bind(self, specs: Sequence[VariableSpec], store: VariableStore) -> dict[Hashable, int]:
        """Sees to it that variables are here, with the values they have now; returns their addresses.

        Raises:
          UninitializedVariableError: for one that is read and has no value.
          VariableShapeError: for one that has another shape than the plan was made for.
        """
        fresh = [spec for spec in specs if self._unfit(spec)]
        for spec in fresh:
            described = store.describe(spec.key)
            if spec.reads and described is None:
                raise UninitializedVariableError(spec.key)
            if spec.reads and described != (spec.shape, spec.dtype):
                raise VariableShapeError(
                    f"variable {spec.key!r} is {described}, the plan was made for {spec.shape}"
                )
            if spec.shape is None:
                raise VariableShapeError(f"variable {spec.key!r} is written with a shape unknown to the plan")
        if fresh:
            self._place(fresh, store)
        for spec in specs:
            if spec.reads:
                self._send(spec, store)
        return {spec.key: self._variables[spec.key].address for spec in specs}

    def _unfit(self, spec: VariableSpec) -> bool:
        found = self._variables.get(spec.key)
        return found is None or found.shape != spec.shape or found.dtype != spec.dtype

    def _place(self, specs: Sequence[VariableSpec], store: VariableStore) -> None:
        """Finds places: those that a plan meets together lie together, dtype by dtype, in one slab."""
        ordered = sorted(enumerate(specs), key=lambda item: (item[1].dtype.name, item[0]))
        sizes = []
        for _, spec in ordered:
            assert spec.shape is not None
            if spec.key in self._variables:
                self.forget(spec.key, store)
            sizes.append(aligned(int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize))
        rows = [
            (f"variable {spec.key}", size, f"{spec.dtype.name}{list(spec.shape or ())}")
            for (_, spec), size in zip(ordered, sizes, strict=True)
        ]
        slab = self.alloc(sum(sizes), "variables", rows)
        start = slab.address
        for (_, spec), size in zip(ordered, sizes, strict=True):
            assert spec.shape is not None
            self._variables[spec.key] = Resident(start, spec.shape, spec.dtype, -1)
            start += size
        self.moves += 1

    def _send(self, spec: VariableSpec, store: VariableStore) -> None:
        """Brings the newest value of a variable here, if it is not."""
        resident = self._variables[spec.key]
        if store.holder(spec.key) is self:
            return
        stamp = store.stamp(spec.key)
        if stamp is None:
            raise UninitializedVariableError(spec.key)
        if resident.stamp == stamp:
            return
        value = store.get(spec.key)
        if (value.shape, value.dtype) != (resident.shape, resident.dtype):
            raise VariableShapeError(
                f"variable {spec.key!r} is no longer {resident.dtype}{list(resident.shape)}"
            )
        self.device.h2d(resident.address, np.ascontiguousarray(value), value.nbytes)
        self.device.synchronize()  # the value is let go of
        resident.stamp = store.stamp(spec.key) or stamp

    def wrote(self, specs: Sequence[VariableSpec], store: VariableStore) -> None:
        """Says that a run has written variables here: theirs is the newest value."""
        for spec in specs:
            store.lend(spec, self)

    def bring(self, key: Hashable, store: VariableStore) -> None:
        """Hands the newest value to the store, and from now on it is the same here and there."""
        with self._lock:
            resident = self._variables[key]
            if not self.device.computes:
                raise exhausted(
                    f"{self.device.properties.name} computes nothing: variable {key!r} has no value"
                )
            value = aligned_empty(resident.shape, resident.dtype)
            self.device.d2h(value, resident.address, resident.nbytes)
            self.device.synchronize()
            stamp = store.returned(key, value, self)
            if stamp is not None:
                resident.stamp = stamp

    def forget(self, key: Hashable, store: VariableStore) -> None:
        """Lets go of a variable's place; its bytes stay with their slab until the session is closed."""
        if store.holder(key) is self:
            store.get(key)  # brings it home
        self._variables.pop(key, None)

    def word(self, address: int, dtype: np.dtype[Any]) -> int:
        """One number from the device, when all that is on the stream is done."""
        if self._word is None:
            raise exhausted(
                f"{self.device.properties.name} computes nothing: no run can be steered by its numbers"
            )
        self.device.d2h(self._word, address, dtype.itemsize)
        self.device.synchronize()
        return int(self._word[: dtype.itemsize].view(dtype)[0])

    def release(self) -> None:
        """Gives all memory back."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            for slab in self._slabs:
                slab.owner = None  # plans still know the slab
            self.device.close()
            self._variables.clear()
            self._slabs.clear()
            self._arenas.clear()
            self._workspace = None
            self.taken = 0
