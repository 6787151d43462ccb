"""HTTP connections with limits: clients that send or read too slowly, or send endless headers, are let go.

At the end of the process nobody who has sent a request is cut off: the door closes to new connections while those who
have come in are taken, and connections that are kept open get a last answer before they close.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from graphflow.serving.listening import DOOR_SECONDS, close_door

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

_REASONS = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not looked into
    """uvicorn's connection, watched: a request that comes whole at once costs no timer."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._in_headers = False
        self._in_body = False
        self._received = 0  # bytes of what is coming now, headers or body
        self._fresh = 0  # bytes that have come at once, if no request had begun before
        self._since = 0.0
        self._coming: asyncio.TimerHandle | None = None
        self._going: asyncio.TimerHandle | None = None
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
        for timer in (self._coming, self._going, self._leaving):
            if timer is not None:
                timer.cancel()
        self._coming = self._going = None
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
        elif (self._in_headers or self._in_body) and self._coming is None:
            seconds = HEADER_SECONDS if self._in_headers else BODY_SECONDS
            self._coming = self.loop.call_later(seconds, self._look_at_coming)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        # Of a request that begins behind another's end, what comes with that end does not count.
        self._in_headers, self._received, self._fresh = True, self._fresh, 0
        self._come()

    def on_headers_complete(self) -> None:
        """Its body begins."""
        self._in_headers, self._in_body, self._received = False, True, 0
        self._come()
        super().on_headers_complete()
        if self._leaving is not None and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """It is whole."""
        self._in_body = False
        self._come()
        super().on_message_complete()

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
        """Says why, if nothing else is being said, and closes."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
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


class Listener(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not looked into
    """uvicorn without its own signal handlers: the process is more than its HTTP side.

    Args:
      application: the ASGI application.
      certificate, key: files (PEM); "" talks without TLS.
      grace: seconds that requests under way have when it ends.
    """

    def __init__(
        self, application: Any, certificate: str = "", key: str = "", grace: int | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=Connection,
                ws="none",
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Takes nobody new; returns when all have had their answers."""
        self.server_state.ending = True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for listener in sockets or ():
            close_door(listener)
        await asyncio.sleep(DOOR_SECONDS)
        await super().shutdown(sockets)
