"""What a run does while one of its steps waits for others: those of its steps that nothing keeps back."""

from __future__ import annotations

import threading
from collections.abc import Callable


class NotYet(Exception):
    """A host step would have to wait, and nothing has come of it: it may be tried again."""


class Meanwhile(threading.local):
    """What the run of the present thread can do while one of its host steps waits.

    Attributes:
      others: runs one more of its host steps that need nothing of the one that waits; gives whether there was any.
      hurry: whether the step is such a one itself: rather than wait, it raises `NotYet`.
      failed: what such a step has raised, if it was not that.
    """

    others: Callable[[], bool] | None = None
    hurry: bool = False
    failed: BaseException | None = None
