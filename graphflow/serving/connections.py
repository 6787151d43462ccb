"""HTTP connections with limits: clients that send or read too slowly, or send endless headers, are let go.

At the end of the process nobody who has sent a request is cut off: the door closes to new connections while those who
have come in are taken, and connections that are kept open get a last answer before they close.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextvars import copy_context
from typing import Any
from urllib.parse import unquote

import httptools

from graphflow.serving.bodies import Answer, Asked, ClientDisconnect
from graphflow.serving.listening import BACKLOG, DOOR_SECONDS, close_door, knocking
from graphflow.serving.uvicorn_parts import (
    HIGH_WATER_LIMIT,
    STATUS_LINE,
    Config,
    HttpToolsProtocol,
    Server,
)

_log = logging.getLogger("graphflow.serving")

# Seconds in which the headers of a request have to come, from the first byte or from the beginning of a connection.
HEADER_SECONDS = 20.0
# Seconds that a body may take, however short it is, and how many of its bytes buy another second.
BODY_SECONDS = 30.0
BODY_RATE = 16 << 10
# Seconds in which a client that is sent an answer has to take some of it.
READ_SECONDS = 60.0
# Bytes of a request's headers, its address among them.
LARGEST_HEADERS = 64 << 10
# Seconds that a connection stays open for the client's next request.
IDLE_SECONDS = 75
# Seconds that one stays open for it after the process has been told to end: the client may be about to send it.
LAST_SECONDS = 1.0
# Connections taken in one turn of the loop: with more, a flood of new ones keeps those waiting who have come before.
_TAKEN_AT_ONCE = 8

_REASONS = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}

# What addresses name, for those that have come, if they are short.
_known: dict[bytes, tuple[str, str]] = {}
_MOST_KNOWN, _LONGEST_KNOWN = 1024, 256


def _paths(url: bytes) -> tuple[str, str]:
    """The path of an address as it was sent, and as it is meant."""
    found = _known.get(url)
    if found is None:
        raw = httptools.parse_url(url).path.decode("ascii")
        found = raw, unquote(raw)
        if len(url) <= _LONGEST_KNOWN:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[url] = found
    return found


class Exchange(Asked):
    """A request of a connection, and what becomes of it.

    It stands where uvicorn's connections have what runs an ASGI application, and has the attributes that they look at.

    Attributes:
      body, unread: what has come of its body since it was last looked at, and how many bytes that is.
      more_body: whether more of it is to come.
      disconnected: whether the client has gone.
      response_complete: whether it has been answered.
      keep_alive: whether the connection stays open after the answer.
    """

    __slots__ = (
        "_connection", "_waiting", "_wants_to_be_told", "body", "disconnected", "keep_alive", "more_body",
        "response_complete", "unread",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        method: str,
        paths: tuple[str, str],
        headers: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        super().__init__(method, *paths, headers)
        self._connection = connection
        self._waiting: asyncio.Future[None] | None = None
        self._wants_to_be_told = headers.get(b"expect", b"").lower() == b"100-continue"
        self.body: list[bytes] = []
        self.unread = 0
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = keep_alive

    @property
    def message_event(self) -> Exchange:
        """What is `set` when something has happened."""
        return self

    def set(self) -> None:
        """Lets whoever waits for the body look at what has come."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def receive(self) -> tuple[bytes, bool]:
        """See `Asked.receive`."""
        connection = self._connection
        if self._wants_to_be_told:
            self._wants_to_be_told = False
            if not connection.transport.is_closing():
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.body and self.more_body and not self.disconnected:
            connection.flow.resume_reading()
            self._waiting = connection.loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self.disconnected:
            raise ClientDisconnect
        parts, self.body, self.unread = self.body, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts), self.more_body

    def written(self, answer: Answer) -> bytes:
        """Returns an answer as it is sent."""
        body = answer.body
        parts = [STATUS_LINE[answer.status], b"content-length: %d\r\ncontent-type: " % len(body), answer.kind]
        for name, value in answer.headers:
            parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n")
        if self.method != "HEAD":
            parts.append(body)
        return b"".join(parts)


class _Rest(Awaitable[None]):
    """What is left of a coroutine that has begun and waits for something."""

    def __init__(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._work, self._awaited = work, awaited

    def __await__(self) -> Generator[Any, Any, None]:
        work, awaited = self._work, self._awaited
        while True:
            try:
                given = yield awaited
            except BaseException as error:
                thrown: BaseException | None = error
            else:
                thrown = None
            try:
                awaited = work.send(given) if thrown is None else work.throw(thrown)
            except StopIteration:
                return


async def _finish(rest: _Rest) -> None:
    await rest


class Connection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not looked into
    """uvicorn's connection, watched: a request that comes whole at once costs no timer.

    What is asked is answered by `config.app`, a coroutine function of `Asked` that returns an `Answer`. It begins as
    soon as what has been read is understood; what it can do without waiting is done before anything else is read.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.cycle: Exchange | None
        self._following: deque[Exchange] = deque()  # requests that have not begun to be answered
        self._current: Exchange | None = None  # the one that is being answered
        self._in_headers = False
        self._in_body = False
        self._received = 0  # bytes of what is coming now, headers or body
        self._fresh = 0  # bytes that have come at once, if no request had begun before
        self._since = 0.0
        self._coming: asyncio.TimerHandle | None = None
        self._going: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._rested = 0.0  # since when nothing has been asked for
        self._left = 0  # bytes of answers that the client had not taken when we last looked
        self._leaving: asyncio.TimerHandle | None = None  # set where the next answer is the last one

    def connection_made(self, transport: Any) -> None:
        """Begins; a client that says nothing is let go as well."""
        super().connection_made(transport)
        self._since = time.monotonic()
        self._coming = self.loop.call_later(HEADER_SECONDS, self._look_at_coming)
        if getattr(self.server_state, "ending", False):
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        for timer in (self._coming, self._going, self._idle, self._leaving):
            if timer is not None:
                timer.cancel()
        self._coming = self._going = self._idle = None
        self._following.clear()
        if self._current is not None:
            self._current.disconnected = True
            self._current.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The process ends: the request under way, or else the next one, is the last that gets an answer."""
        if self._leaving is not None:
            return
        self._leaving = self.loop.call_later(LAST_SECONDS, self._leave)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def _leave(self) -> None:
        """Closes, unless a request is there."""
        if not self._in_headers and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        self._received += len(data)
        self._fresh = 0 if self._in_headers or self._in_body else len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers and self._received > LARGEST_HEADERS:
            self._refuse(431)
            return
        if (self._in_headers or self._in_body) and self._coming is None:
            seconds = HEADER_SECONDS if self._in_headers else BODY_SECONDS
            self._coming = self.loop.call_later(seconds, self._look_at_coming)
        if self._current is None:
            self._begin()

    # what the parser finds

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        # Of a request that begins behind another's end, what comes with that end does not count.
        self._in_headers, self._received, self._fresh = True, self._fresh, 0
        self._come()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers; of those that come twice, the first."""
        self.headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Its body begins."""
        self._in_headers, self._in_body, self._received = False, True, 0
        self._come()
        parser = self.parser
        keep_alive = (
            parser.should_keep_alive() and parser.get_http_version() != "1.0" and self._leaving is None
        )
        method = parser.get_method().decode("ascii")
        self.cycle = Exchange(self, method, _paths(self.url), self.headers, keep_alive)
        if self._current is not None or self._following:
            self.flow.pause_reading()
        self._following.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        exchange = self.cycle
        if exchange is None or exchange.response_complete:
            return
        exchange.body.append(body)
        exchange.unread += len(body)
        if exchange.unread > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.set()

    def on_message_complete(self) -> None:
        """It is whole."""
        self._in_body = False
        self._come()
        if self.cycle is not None:
            self.cycle.more_body = False
            self.cycle.set()

    def _should_upgrade(self) -> bool:
        return False  # HTTP is all we speak

    # answers

    def _begin(self) -> None:
        """Answers the requests that follow, up to the first that has to wait for something."""
        while self._following and not self.transport.is_closing():
            self._current = self._following.popleft()
            work = self._answer(self._current)
            context = copy_context()  # each request has variables of its own
            try:
                awaited = context.run(work.send, None)
            except StopIteration:
                self._current = None
                continue
            task = self.loop.create_task(_finish(_Rest(work, awaited)), context=context)
            self.tasks.add(task)
            task.add_done_callback(self._ended)
            return
        if not self._following and not self.transport.is_closing():
            self.flow.resume_reading()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._current = None
        if task.cancelled() or task.exception() is not None:
            if not task.cancelled():
                _log.error("a request has no answer", exc_info=task.exception())
            self.transport.close()
        else:
            self._begin()

    async def _answer(self, exchange: Exchange) -> None:
        answer = await self.app(exchange)
        if self.flow.write_paused and not exchange.disconnected:
            await self.flow.drain()
        transport = self.transport
        exchange.response_complete = True
        if exchange.disconnected or transport.is_closing():
            return
        transport.write(exchange.written(answer))
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            transport.close()
            return
        self._rested = time.monotonic()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._look_at_idle)

    def _look_at_idle(self) -> None:
        """Closes if the client has asked for nothing for too long."""
        self._idle = None
        if self._current is not None or self._in_headers or self._in_body:
            return  # the end of that looks again
        left = self._rested + self.timeout_keep_alive - time.monotonic()
        if left > 0:
            self._idle = self.loop.call_later(left, self._look_at_idle)
        else:
            self.transport.close()

    # limits

    def _come(self) -> None:
        self._since = time.monotonic()
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _look_at_coming(self) -> None:
        self._coming = None
        allowed = BODY_SECONDS + self._received / BODY_RATE if self._in_body else HEADER_SECONDS
        left = self._since + allowed - time.monotonic()
        if self.flow.read_paused:
            left = max(left, 1.0)  # it is we who do not read
        if left > 0:
            self._coming = self.loop.call_later(left, self._look_at_coming)
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Says why, and closes."""
        head = b"HTTP/1.1 %d %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, _REASONS[status]))
        self.transport.close()

    def pause_writing(self) -> None:
        """The client takes its answers more slowly than they come."""
        super().pause_writing()
        self._left = self.transport.get_write_buffer_size()
        self._going = self.loop.call_later(READ_SECONDS, self._look_at_going)

    def resume_writing(self) -> None:
        """It has taken enough of them."""
        super().resume_writing()
        if self._going is not None:
            self._going.cancel()
            self._going = None

    def _look_at_going(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= self._left:
            self._going = None
            self.transport.abort()
            return
        self._left = left
        self._going = self.loop.call_later(READ_SECONDS, self._look_at_going)


class Listener(Server):  # type: ignore[misc]  # uvicorn is not looked into
    """uvicorn without its own signal handlers: the process is more than its HTTP side.

    Args:
      answer: a coroutine function of `Asked` that returns an `Answer`.
      certificate, key: files (PEM); "" talks without TLS.
      grace: seconds that requests under way have when it ends.
      shared: whether other processes take connections of the same socket: then its door is not ours to close.

    Attributes:
      begun: set when connections are taken, or cannot be.

    Raises:
      OSError: if the files are not what they should be.
    """

    def __init__(
        self,
        answer: Callable[[Asked], Coroutine[Any, Any, Answer]],
        certificate: str = "",
        key: str = "",
        grace: int | None = None,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self.begun = asyncio.Event()
        super().__init__(
            Config(
                answer,
                interface="asgi3",  # it is not: uvicorn has nothing to add to it
                http=Connection,
                ws="none",
                backlog=_TAKEN_AT_ONCE,  # what asyncio makes of it; uvloop takes one
                lifespan="off",
                # What garbage clients send is no event of ours; logs are set up in one place.
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                date_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=grace,
                ssl_certfile=certificate or None,
                ssl_keyfile=key or None,
            )
        )
        self.config.load()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Begins to take connections."""
        try:
            await super().startup(sockets)
            for listener in sockets or ():
                listener.listen(BACKLOG)  # the loop has told the kernel how many it takes at once
        finally:
            self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Takes nobody new; returns when all have had their answers."""
        self.server_state.ending = True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not self._shared:
            for listener in sockets or ():
                close_door(listener)
        latest = time.monotonic() + (self.config.timeout_graceful_shutdown or LAST_SECONDS)
        await asyncio.sleep(DOOR_SECONDS)
        while time.monotonic() < latest and any(knocking(listener) for listener in sockets or ()):
            await asyncio.sleep(DOOR_SECONDS / 10)
        await super().shutdown(sockets)
