"""The load on a server: one process, one thread, plain sockets, so that little of it is in what is measured.

Reads a line of JSON per task, answers with one: `{"port", "wire", "request", "clients", "seconds"}`, where `request` is
hexadecimal, all bytes of an HTTP request, or for the wire "grpc" the message of a call of `path`. Each client has a
connection of its own, and asks again when it has its answer.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from typing import Any

_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field of HTTP/2 that no table keeps; texts of up to 126 bytes."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


class _Http:
    """One connection of HTTP/1.1."""

    def __init__(self, port: int, task: dict[str, Any]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = bytes.fromhex(task["request"])
        self._wanted = 0
        self._buffer = b""

    def ask(self) -> None:
        self._buffer, self._wanted = b"", 0
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Takes what has come; whether the answer is whole."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._buffer += data
        if not self._wanted:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            if not self._buffer.startswith(b"HTTP/1.1 200"):
                raise ValueError(self._buffer[:500].decode("latin-1"))
            head = self._buffer[:end].lower()
            size = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._wanted = end + 4 + int(size)
        return len(self._buffer) >= self._wanted

    def answer(self) -> bytes:
        return self._buffer.partition(b"\r\n\r\n")[2]


class _Grpc:
    """One connection of HTTP/2, one call at a time."""

    def __init__(self, port: int, task: dict[str, Any]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = bytes.fromhex(task["request"])
        self._data = b"\0" + struct.pack(">I", len(message)) + message
        fields = (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", task["path"].encode()),
            (b":authority", b"127.0.0.1"), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
        )  # fmt: skip
        self._headers = b"".join(_literal(*field) for field in fields)
        self._stream = -1
        self._buffer = b""
        self._answer = b""
        settings = struct.pack(
            ">HIHI", 1, 0, 4, (1 << 31) - 1
        )  # no table of headers; streams are not held up
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, struct.pack(">I", (1 << 31) - 65536))
        )

    def ask(self) -> None:
        self._stream += 2
        self._answer = b""
        self.socket.sendall(
            _frame(_HEADERS, _END_HEADERS, self._stream, self._headers)
            + _frame(_DATA, _END_STREAM, self._stream, self._data)
        )

    def receive(self) -> bool:
        """Takes what has come; whether the answer is whole."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._buffer += data
        whole = False
        while len(self._buffer) >= 9:
            size = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
            payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self.socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif stream == self._stream and kind in (_DATA, _HEADERS):
                if kind == _DATA:
                    self._answer += payload
                if flags & _END_STREAM:
                    if not self._answer:
                        raise ValueError(f"the call fails: {payload!r}")
                    whole = True
        return whole

    def answer(self) -> bytes:
        return self._answer[5:]


def load(task: dict[str, Any]) -> dict[str, Any]:
    """Keeps a server busy; returns answers per second and seconds that they took, at the median and 99 %."""
    kind = _Grpc if task["wire"] == "grpc" else _Http
    connections = {}
    poll = select.epoll()
    for _ in range(task["clients"]):
        connection = kind(task["port"], task)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    clock = time.perf_counter
    asked = {}
    seconds: list[float] = []
    used = time.process_time()
    begin = clock()
    for number, connection in connections.items():
        asked[number] = clock()
        connection.ask()
    end = begin + task["seconds"]
    now = begin
    patience = end + 20
    while now < end or not seconds:
        if now > patience:
            raise TimeoutError("no answer within 20 s")
        for number, _ in poll.poll(1.0):
            connection = connections[number]
            if connection.receive():
                now = clock()
                seconds.append(now - asked[number])
                asked[number] = now
                connection.ask()
        now = clock()
    used = time.process_time() - used
    some = next(iter(connections.values()))
    while not some.receive():
        pass
    answer = some.answer()
    for connection in connections.values():
        connection.socket.close()
    poll.close()
    seconds.sort()
    return {
        "per_second": len(seconds) / (now - begin),
        "p50_ms": 1e3 * seconds[len(seconds) // 2],
        "p99_ms": 1e3 * seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))],
        "load_cpu": used / (now - begin),
        "answer": answer.hex(),
    }


def main() -> None:
    """Does tasks until there are no more."""
    for line in sys.stdin:
        try:
            found = load(json.loads(line))
        except (OSError, ValueError) as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
