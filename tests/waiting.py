"""Threads of tests that have to be at rest before the test goes on, however slow the machine is."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

__all__ = ["until", "until_it_waits"]


def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds; fails where it has not come to hold on any machine."""
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, "waited for two minutes"
        time.sleep(0.005)


def until_it_waits(thread: threading.Thread) -> None:
    """Returns when a thread waits for others within a run of a session, or has ended."""
    until(lambda: not thread.is_alive() or _waits(thread))


def _waits(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or (frame.f_code.co_name, frame.f_code.co_filename) != ("wait", threading.__file__):
        return False
    while frame is not None:
        if frame.f_code.co_name == "run" and frame.f_code.co_filename.endswith("session.py"):
            return True
        frame = frame.f_back
    return False
