"""`tf.logging`: messages of programs and of graphflow itself, through Python's `logging`.

The logger is called "graphflow". As in TensorFlow, lines begin with level and name and go to stderr, unless the
program has set up handlers of its own; warnings and worse are shown by default.
"""

from __future__ import annotations

import logging as _logging
import sys
import threading
import time
from collections import Counter
from typing import Any

DEBUG = _logging.DEBUG
INFO = _logging.INFO
WARN = _logging.WARNING
ERROR = _logging.ERROR
FATAL = _logging.CRITICAL

_lock = threading.Lock()
_counts: Counter[Any] = Counter()
_logger: list[_logging.Logger] = []
_LEVELS = {FATAL: "FATAL", ERROR: "ERROR", WARN: "WARN", INFO: "INFO", DEBUG: "DEBUG"}


def get_logger() -> _logging.Logger:
    """Returns the logger; it is set up at the first call."""
    with _lock:
        if not _logger:
            made = _logging.getLogger("graphflow")
            if made.level == _logging.NOTSET:
                made.setLevel(WARN)
            if not _logging.getLogger().handlers and not made.handlers:
                handler = _logging.StreamHandler(sys.stderr)
                handler.setFormatter(_logging.Formatter(_logging.BASIC_FORMAT))
                made.addHandler(handler)
            _logger.append(made)
        return _logger[0]


def log(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at a level."""
    get_logger().log(level, msg, *args, **kwargs)


def debug(msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at level DEBUG."""
    get_logger().debug(msg, *args, **kwargs)


def info(msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at level INFO."""
    get_logger().info(msg, *args, **kwargs)


def warning(msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at level WARN."""
    get_logger().warning(msg, *args, **kwargs)


warn = warning


def error(msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at level ERROR."""
    get_logger().error(msg, *args, **kwargs)


def fatal(msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs `msg % args` at level FATAL; the program goes on."""
    get_logger().critical(msg, *args, **kwargs)


def _place() -> tuple[str, int]:
    """File and line of whoever called a function of this module."""
    frame = sys._getframe(2)
    return frame.f_code.co_filename, frame.f_lineno


def log_every_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Logs the first and then every `n`-th message of the calling line."""
    place = _place()
    count = _counts[place]
    _counts[place] += 1
    log_if(level, msg, count % n == 0, *args)


def log_first_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Logs the first `n` messages of the calling line."""
    place = _place()
    count = _counts[place]
    _counts[place] += 1
    log_if(level, msg, count < n, *args)


def log_if(level: int, msg: str, condition: Any, *args: Any) -> None:
    """Logs if a condition holds."""
    if condition:
        log(level, msg, *args)


def vlog(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    """Logs at a level given as a number."""
    log(level, msg, *args, **kwargs)


def get_verbosity() -> int:
    """Returns the level from which on messages are shown."""
    return get_logger().getEffectiveLevel()


def set_verbosity(v: int | str) -> None:
    """Sets the level from which on messages are shown: `gf.logging.INFO`, or "INFO"."""
    get_logger().setLevel({"WARN": WARN, "FATAL": FATAL}.get(v, v) if isinstance(v, str) else v)


def flush() -> None:
    """Hands all messages over to the system."""
    for handler in get_logger().handlers:
        handler.flush()


def TaskLevelStatusMessage(msg: str) -> None:
    """Logs an error; TensorFlow shows such messages for a whole job."""
    error(msg)


def google2_log_prefix(level: int, timestamp: float | None = None, file_and_line: Any = None) -> str:
    """Returns a prefix like `I1231 23:59:59.123456 1 file.py:12] `."""
    now = time.time() if timestamp is None else timestamp
    parts = time.localtime(now)
    path, line = file_and_line or _place()
    return "%c%02d%02d %02d:%02d:%02d.%06d %5d %s:%d] " % (  # noqa: UP031 - the widths read best so
        _LEVELS.get(level, "INFO")[0], parts.tm_mon, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
        int(1e6 * (now % 1.0)), threading.get_ident() % 100000, path.rpartition("/")[2], line,
    )  # fmt: skip


__all__ = [
    "DEBUG", "ERROR", "FATAL", "INFO", "TaskLevelStatusMessage", "WARN", "debug", "error", "fatal", "flush",
    "get_logger", "get_verbosity", "google2_log_prefix", "info", "log", "log_every_n", "log_first_n", "log_if",
    "set_verbosity", "vlog", "warn", "warning",
]  # fmt: skip
