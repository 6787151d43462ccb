"""HTTP requests and answers, and their bodies: read within limits, unpacked, written."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

import numpy as np
import orjson

from graphflow import errors
from graphflow.serving.memory_check import RESERVE, free_bytes

T = TypeVar("T")

# What ASGI calls them.
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

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
_TIMEOUT_READ = TIMEOUT_HEADER.lower()


class ClientDisconnect(Exception):
    """The client has gone before all of its request had come."""


class Answer:
    """An answer over HTTP.

    Attributes:
      body: all of it.
      status: the code.
      kind: the type of what the body holds.
      headers: all headers, `content-length` and `content-type` first.
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
        self.headers: Headers = [
            (b"content-length", b"%d" % len(body)), (b"content-type", kind), *headers,
        ]  # fmt: skip

    async def send(self, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Asked:
    """A request over HTTP, as little of it as is needed.

    Attributes:
      method: what is to be done.
      scope: all that ASGI says of it.
      headers: its headers, by their names in small letters.
      receive: gives the messages that its body comes in.
    """

    __slots__ = ("headers", "method", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        # Of those that come twice, the first.
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }


def deadline_of(request: Asked) -> float | None:
    """Returns the moment (`time.monotonic()`) until which the client waits, None if it does not say.

    Raises:
      InvalidArgumentError: if the header holds no number of seconds.
    """
    text = request.headers.get(_TIMEOUT_READ)
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
    announced = request.headers.get("content-length", "")
    if announced.isdigit():
        if int(announced) > LARGEST_BODY:
            raise _too_large()  # before any of it is read
        _weigh(int(announced), 0)
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        if size >= weighed:
            weighed += _WEIGHED_FROM
            _weigh(size, size)
        parts.append(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    return body if packing in ("", "identity") else _unpacked(body, packing)


def _weigh(size: int, held: int) -> None:
    """Looks whether a body of some size, of which so much is held, finds room: in parts, and then in one piece."""
    if size >= _WEIGHED_FROM and 2 * size - held > (free := free_bytes() - RESERVE):
        raise errors.ResourceExhaustedError(
            None, None, f"the request has {size} bytes, and there is memory for {max(free, 0) // 2}"
        )


def _too_large() -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, f"the request's body is larger than {LARGEST_BODY} bytes")


def _unpacked(body: bytes, packing: str) -> bytes:
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
    accepted = request.headers.get("accept-encoding", "").lower()
    form = next((name for name in _FORMS if name in accepted), None)
    if form is None:
        return response
    packer = zlib.compressobj(1, zlib.DEFLATED, _FORMS[form])
    body = packer.compress(response.body) + packer.flush()
    added = [(b"content-encoding", form.encode()), (b"vary", b"accept-encoding")]
    return Answer(body, response.status, response.kind, [*response.headers[2:], *added])
