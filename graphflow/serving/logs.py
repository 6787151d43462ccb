"""What the process writes to its log: one line per event, as text or JSON, with the request that it is about."""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import time
from typing import Any

ACCESS = logging.getLogger("graphflow.serving.access")
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_numbers = random.Random()
_FIELDS = ("request_id", "method", "path", "status", "seconds", "error")


def request_id(given: str | None) -> str:
    """Returns what a request is called in logs and in its answer: what the client calls it, or a new name."""
    if given is not None and _ID.fullmatch(given):
        return given
    return f"{_numbers.getrandbits(128):032x}"


class JsonLines(logging.Formatter):
    """Writes each record as one JSON object: time, level, logger, message, and what is known of the request."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in _FIELDS if hasattr(record, name)})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(as_json: bool, access: bool) -> None:
    """Sends the process's log to the standard error.

    Args:
      as_json: whether each line is a JSON object.
      access: whether each request gets a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logger = logging.getLogger("graphflow.serving")
    for sender in (logger, logging.getLogger("uvicorn"), logging.getLogger("asyncio")):
        sender.handlers[:] = [handler]
        sender.propagate = False
    logger.setLevel(logging.INFO if access or as_json else logging.WARNING)
    ACCESS.setLevel(logging.INFO if access else logging.WARNING)


def access(name: str, method: str, path: str, status: int, seconds: float, error: str = "") -> None:
    """Writes the line of a request that has been answered."""
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    extra: dict[str, Any] = {
        "request_id": name, "method": method, "path": path, "status": status, "seconds": round(seconds, 6),
    }  # fmt: skip
    if error:
        extra["error"] = error
    ACCESS.info("%s %s %d %.1f ms [%s]", method, path, status, 1e3 * seconds, name, extra=extra)
