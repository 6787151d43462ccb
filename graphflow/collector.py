"""Python's garbage collector, held back where much is made that stays."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Holds back the garbage collector: it would walk all that is being built, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def while_loading() -> Iterator[None]:
    """Holds back the garbage collector while modules load: these stay, and are not worth a walk.

    All there is counts as old afterwards, as if it had been walked often enough.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
