"""HTTP requests and answers, and their bodies: read within limits, unpacked, written."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import orjson

from graphflow import errors
from graphflow.serving.memory_check import RESERVE, free_bytes

T = TypeVar("T")

LARGEST_BODY = 1 << 30
# Bodies from this size on are read only where there is memory for them.
_WEIGHED_FROM = 1 << 24
# What is made of so many bytes, or elements, takes an event loop less time than handing it to a thread.
SMALL = 1 << 15
# Answers from this size on are packed for clients that say they take it.
PACKED_FROM = 1 << 16
# What zlib calls the two forms: a gzip file, and deflate with zlib's own header.
_FORMS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


TIMEOUT_HEADER = "X-Request-Timeout"
_TIMEOUT_READ = TIMEOUT_HEADER.lower().encode()


class ClientDisconnect(Exception):
    """The client has gone before all of its request had come."""


class Answer:
    """An answer over HTTP.

    Attributes:
      body: all of it.
      status: the code.
      kind: the type of what the body holds.
      headers: other headers than those of the body's size and type.
    """

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        kind: bytes = b"application/json",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.body = body
        self.status = status
        self.kind = kind
        self.headers: list[tuple[bytes, bytes]] = list(headers)


class Asked:
    """A request over HTTP.

    Attributes:
      method: what is to be done.
      raw_path: to what, as it was sent.
      path: the same, as it is meant.
      headers: its headers, by their names in small letters.
    """

    __slots__ = ("headers", "method", "path", "raw_path")

    def __init__(self, method: str, raw_path: str, path: str, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.headers = headers

    def header(self, name: bytes) -> str | None:
        """Returns a header, None if it has not come."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def receive(self) -> tuple[bytes, bool]:
        """Waits for more of the body; returns it, and whether yet more is to come.

        Raises:
          ClientDisconnect: if it will not.
        """
        raise NotImplementedError


def deadline_of(request: Asked) -> float | None:
    """Returns the moment (`time.monotonic()`) until which the client waits, None if it does not say.

    Raises:
      InvalidArgumentError: if the header holds no number of seconds.
    """
    text = request.header(_TIMEOUT_READ)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise errors.InvalidArgumentError(None, None, f"{TIMEOUT_HEADER} {text!r} is no number of seconds")
    return time.monotonic() + seconds


async def done(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Returns what a function gives: at once if what it works on is small, else when a thread has it."""
    return function(*arguments) if size <= SMALL else await asyncio.to_thread(function, *arguments)


def elements(outputs: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Returns how many elements arrays have."""
    return sum(array.size for array in outputs.values())


def json_response(value: Any, status: int = 200) -> Answer:
    """Returns a JSON answer."""
    return Answer(orjson.dumps(value), status)


def error_response(text: str, status: int) -> Answer:
    """Returns the answer that says what went wrong."""
    return json_response({"error": text}, status)


async def read_body(request: Asked) -> bytes:
    """Returns the body of a request, unpacked if it is packed.

    Raises:
      InvalidArgumentError: if it is larger than `LARGEST_BODY`, packed or not, or packed in an unknown way.
      ResourceExhaustedError: if it is large, and there is not the memory for it.
    """
    parts: list[bytes] = []
    size, weighed = 0, _WEIGHED_FROM
    announced = request.headers.get(b"content-length", b"")
    if announced.isdigit():
        if int(announced) > LARGEST_BODY:
            raise _too_large()  # before any of it is read
        _weigh(int(announced), 0)
    more = True
    while more:
        part, more = await request.receive()
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        if size >= weighed:
            weighed += _WEIGHED_FROM
            _weigh(size, size)
        parts.append(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    packing = request.header(b"content-encoding")
    return body if packing is None else _unpacked(body, packing.strip().lower())


def _weigh(size: int, held: int) -> None:
    """Looks whether a body of some size, of which so much is held, finds room: in parts, and then in one piece."""
    if size >= _WEIGHED_FROM and 2 * size - held > (free := free_bytes() - RESERVE):
        raise errors.ResourceExhaustedError(
            None, None, f"the request has {size} bytes, and there is memory for {max(free, 0) // 2}"
        )


def _too_large() -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, f"the request's body is larger than {LARGEST_BODY} bytes")


def _unpacked(body: bytes, packing: str) -> bytes:
    if packing in ("", "identity"):
        return body
    if packing not in _FORMS:
        raise errors.InvalidArgumentError(
            None, None, f"Content-Encoding {packing!r} is not understood; use gzip, deflate or none"
        )
    unpacker = zlib.decompressobj(_FORMS[packing])
    try:
        found = unpacker.decompress(body, LARGEST_BODY + 1)
    except zlib.error as error:
        raise errors.InvalidArgumentError(None, None, f"the body is no {packing}: {error}") from None
    if len(found) > LARGEST_BODY:
        raise _too_large()
    if not unpacker.eof:
        raise errors.InvalidArgumentError(None, None, f"the body is no {packing}: it ends too early")
    return found


def packed(response: Answer, request: Asked) -> Answer:
    """Packs a large answer for a client that takes it so."""
    if len(response.body) < PACKED_FROM:
        return response
    accepted = (request.header(b"accept-encoding") or "").lower()
    form = next((name for name in _FORMS if name in accepted), None)
    if form is None:
        return response
    packer = zlib.compressobj(1, zlib.DEFLATED, _FORMS[form])
    body = packer.compress(response.body) + packer.flush()
    added = [(b"content-encoding", form.encode()), (b"vary", b"accept-encoding")]
    return Answer(body, response.status, response.kind, [*response.headers, *added])
