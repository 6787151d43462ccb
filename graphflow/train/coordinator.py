"""Threads that stop together: `Coordinator`, and `LooperThread`, which does one thing again and again."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from graphflow import errors

_log = logging.getLogger("graphflow")
_Exc = tuple[type[BaseException], BaseException, TracebackType | None]


class Coordinator:
    """Stops a set of threads when one of them asks for it, and hands on the exception that one of them raised.

    Args:
      clean_stop_exception_types: exceptions that stop all without being an error; default OutOfRangeError.
    """

    def __init__(self, clean_stop_exception_types: Any = None) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (errors.OutOfRangeError,)
        self._clean = tuple(clean_stop_exception_types)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._raised: _Exc | None = None
        self._threads: set[threading.Thread] = set()
        self._joined = False

    def request_stop(self, ex: Any = None) -> None:
        """Asks all threads to stop.

        Args:
          ex: an exception, or what `sys.exc_info()` returns; `join` raises the first one.
        """
        with self._lock:
            raised = self._as_raised(ex)
            if self._joined:
                # Nobody would hear of it.
                if raised is not None:
                    raise raised[1].with_traceback(raised[2])
                return
            if self._stop.is_set():
                return
            if raised is not None:
                if isinstance(raised[1], self._clean):
                    _log.info("a coordinated thread has ended: %s", raised[1])
                else:
                    _log.info("Error reported to Coordinator: %s, %s", type(raised[1]), raised[1])
                    self._raised = raised
            self._stop.set()

    @staticmethod
    def _as_raised(ex: Any) -> _Exc | None:
        if ex is None:
            return None
        if isinstance(ex, BaseException):
            return type(ex), ex, ex.__traceback__
        if isinstance(ex, tuple) and len(ex) == 3 and isinstance(ex[1], BaseException):
            return type(ex[1]), ex[1], ex[2]
        return sys.exc_info() if sys.exc_info()[1] is not None else None  # type: ignore[return-value]

    def clear_stop(self) -> None:
        """Lets threads run again; only after `join`."""
        with self._lock:
            self._joined = False
            self._raised = None
            self._stop.clear()

    def should_stop(self) -> bool:
        """Returns whether someone has asked to stop."""
        return self._stop.is_set()

    @contextlib.contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Inside, an exception asks all threads to stop and goes no further."""
        try:
            yield
        except BaseException as error:
            self.request_stop(error)

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Waits until someone asks to stop; returns whether someone has."""
        return self._stop.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Adds a thread to those that `join` waits for."""
        with self._lock:
            self._threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Waits for threads to end, and raises what one of them handed to `request_stop`.

        Args:
          threads: threads besides those that are registered.
          stop_grace_period_secs: how long threads may take to end after someone has asked them to.
          ignore_live_threads: whether those that do not end in that time are left alone.

        Raises:
          RuntimeError: if threads do not end.
        """
        with self._lock:
            waiting = list(self._threads.union(threads or ()))
        # As long as nobody asks to stop, they may take what time they like; look at each now and then.
        while any(thread.is_alive() for thread in waiting) and not self.wait_for_stop(1.0):
            pass
        deadline = time.monotonic() + stop_grace_period_secs
        pause = 1e-3
        while any(thread.is_alive() for thread in waiting) and time.monotonic() < deadline:
            for thread in waiting:
                thread.join(pause)
            pause = min(pause * 1.5, 0.5)
        stragglers = [thread.name for thread in waiting if thread.is_alive()]
        with self._lock:
            self._joined = True
            self._threads = set()
            if self._raised is not None:
                raise self._raised[1].with_traceback(self._raised[2])
            if stragglers:
                if not ignore_live_threads:
                    raise RuntimeError(
                        f"Coordinator stopped with threads still running: {' '.join(stragglers)}"
                    )
                _log.info("Coordinator stopped with threads still running: %s", " ".join(stragglers))

    @property
    def joined(self) -> bool:
        """Whether `join` has returned."""
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raises what was handed to `request_stop`, if anything was."""
        with self._lock:
            if self._raised is not None:
                raise self._raised[1].with_traceback(self._raised[2])


class LooperThread(threading.Thread):
    """A thread that calls something again and again until its coordinator stops.

    Args:
      coord: the coordinator.
      timer_interval_secs: seconds from one call's begin to the next; None: no pause.
      target: what to call; by default `run_loop` of a subclass.
      args, kwargs: its arguments.

    Raises:
      ValueError: if `coord` is no coordinator.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        super().__init__(daemon=True)
        self._coord = coord
        self._interval = timer_interval_secs
        if args is not None and target is None:
            raise ValueError("'args' argument requires that you also pass 'target'")
        if kwargs is not None and target is None:
            raise ValueError("'kwargs' argument requires that you also pass 'target'")
        self._call = target
        self._call_args = args or ()
        self._call_kwargs = dict(kwargs or {})
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Returns such a thread, started."""
        looper = LooperThread(coord, timer_interval_secs, target=target, args=args, kwargs=kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        """Calls until the coordinator stops."""
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._interval is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                due = time.monotonic()
                while not self._coord.wait_for_stop(max(0.0, due - time.monotonic())):
                    due += self._interval
                    self.run_loop()
            self.stop_loop()

    def start_loop(self) -> None:
        """Called before the first turn."""

    def stop_loop(self) -> None:
        """Called after the last turn."""

    def run_loop(self) -> None:
        """One turn."""
        if self._call is not None:
            self._call(*self._call_args, **self._call_kwargs)


__all__ = ["Coordinator", "LooperThread"]
