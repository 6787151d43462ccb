"""Teams of threads that share native segments: one team per size and process, made when first needed.

A team is native threads running the driver's `worker`. A segment claims the team with one compare-and-swap; when
another segment has it, it runs alone, with the same bits. After a fork the child has no threads of its parent's
teams: it notices (by process id) and makes its own when it next binds a workspace. At exit all teams end.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.backends.cpu.driver import TEAM_BYTES, Driver, Sleep, load_driver
from graphflow.backends.cpu.jit import Jit
from graphflow.memory import aligned_empty

__all__ = ["Team", "TeamCell", "driver", "process_jit", "team_cell"]

Array = np.ndarray[Any, np.dtype[Any]]

_lock = threading.RLock()
_jit: Jit | None = None
_drivers: dict[Sleep | None, Driver] = {}
_cells: dict[int, TeamCell] = {}


def process_jit() -> Jit:
    """The process's own `Jit`: what it compiled stays for good, since threads may run it until the end."""
    global _jit
    with _lock:
        if _jit is None:
            _jit = Jit()
        return _jit


def driver(sleep: Sleep | None = None) -> Driver:
    """The driver's routines, compiled once."""
    with _lock:
        if sleep not in _drivers:
            _drivers[sleep] = load_driver(process_jit(), sleep)
        return _drivers[sleep]


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _start_native(worker: int, argument: int) -> Callable[[], None] | None:
    """Starts a thread without Python; returns what waits for its end, or None if the system refuses."""
    library = ctypes.CDLL(None)
    create, join = library.pthread_create, library.pthread_join
    create.argtypes = [ctypes.c_void_p] * 4
    join.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    handle = ctypes.c_void_p()
    if create(ctypes.addressof(handle), None, worker, argument) != 0:
        return None
    return lambda: None if join(handle, None) else None


def _start_python(worker: int, argument: int) -> Callable[[], None] | None:
    """The same through Python's threads, where there is no pthread_create to be found."""
    life = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(worker)
    thread = threading.Thread(target=life, args=(argument,), daemon=True, name="graphflow worker")
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread.join


def _starter() -> Callable[[int, int], Callable[[], None] | None]:
    return _start_native if hasattr(ctypes.CDLL(None), "pthread_create") else _start_python


class Team:
    """`size` threads, the caller's among them. If the system refuses some, the team is none and callers run alone."""

    def __init__(self, size: int, sleep: Sleep | None = None, start: Any = None) -> None:
        routines = driver(sleep)
        self._stop = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(routines.stop)
        self._memory = aligned_empty(TEAM_BYTES)
        self._memory[:] = 0
        self._process = os.getpid()
        self._selves: list[Array] = []
        self._joins: list[Callable[[], None]] = []
        address = _address(self._memory)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(routines.prepare)(address, size)
        start = _starter() if start is None else start
        # Signals are the business of the threads Python knows.
        masked = hasattr(signal, "pthread_sigmask")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()) if masked else set()
        try:
            for index in range(1, size):
                argument = np.array([address, index], np.int64)
                self._selves.append(argument)
                join = start(routines.worker, _address(argument))
                if join is None:
                    break
                self._joins.append(join)
        finally:
            if masked:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.address = address
        if size <= 1 or len(self._joins) < size - 1:
            self.stop()

    def stop(self) -> None:
        """Ends the threads, unless a segment is running or they belong to the parent process."""
        if self.address and os.getpid() == self._process and self._stop(self.address):
            for join in self._joins:
                join()
        self.address = 0


class TeamCell:
    """Where segments look for the team of a size: one word that holds its address, or 0 while there is none."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._word = np.zeros(1, np.int64)
        self._team: Team | None = None
        self.address = _address(self._word)

    def start(self) -> None:
        """Makes the team unless it is there."""
        with _lock:
            if self._team is None:
                self._team = Team(self.size)
                self._word[0] = self._team.address

    def stop(self) -> None:
        """Ends the team; segments run alone until the next `start`."""
        with _lock:
            self._word[0] = 0
            if self._team is not None:
                self._team.stop()
                self._team = None

    def forget(self) -> None:
        """After a fork: the threads are the parent's, and so is the memory's fate."""
        self._word[0] = 0
        if self._team is not None:
            _orphans.append(self._team)
            self._team = None


# Teams of a parent process. A segment under way in the forking thread may still look at their memory.
_orphans: list[Team] = []


def team_cell(size: int) -> TeamCell | None:
    """The cell of the team of a size, started; None for one thread, which needs no team."""
    if size <= 1:
        return None
    with _lock:
        cell = _cells.get(size)
        if cell is None:
            cell = _cells[size] = TeamCell(size)
        cell.start()
        return cell


@atexit.register
def _stop_all() -> None:
    for cell in _cells.values():
        cell.stop()


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # the parent's may be held by a thread that is not here
    for cell in _cells.values():
        cell.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
