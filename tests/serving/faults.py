"""What goes wrong outside: clients that break off or dawdle, files that are damaged."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.serving.process import BODY

HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: %d\r\n\r\n"


def half_sent(number: int) -> bytes:
    """The beginning of a request, another one for each number: none, half a line, headers, half a body, all of it."""
    whole = HEAD % len(BODY) + BODY
    return (b"", whole[:20], whole[:70], HEAD % len(BODY), whole[:-9], whole, whole * 3, b"\x00" * 40)[
        number % 8
    ]


def disconnect(port: int, count: int) -> None:
    """Begins so many requests and breaks them off, every second one by a reset."""
    for number in range(count):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            if number % 2:
                # Closing without lingering sends a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(ConnectionError):
                connection.sendall(half_sent(number // 2))


@contextlib.contextmanager
def trickle(port: int, count: int) -> Iterator[None]:
    """Holds so many connections that send a byte of a request now and then, while the block runs."""
    ended = threading.Event()

    def send() -> None:
        text, connections = HEAD % 10_000 + b"[" * 10_000, [(0, new()) for _ in range(count)]
        while not ended.wait(0.5):
            kept = []
            for sent, connection in connections:
                try:
                    connection.sendall(text[sent : sent + 1])
                    kept.append((sent + 1, connection))
                except OSError:
                    connection.close()
                    kept.append((0, new()))
            connections = kept
        for _, connection in connections:
            connection.close()

    def new() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def corrupted(whole: Path, count: int, seed: int = 0) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Gives names of damages with what writes a damaged copy of a version; each time other bytes suffer."""
    chance = random.Random(seed)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())

    def write(folder: Path, file: Path, change: Callable[[bytearray], bytearray]) -> None:
        copy = folder.with_name(f"{folder.name}.copy")
        shutil.copytree(whole, copy)
        data = change(bytearray((copy / file).read_bytes()))
        (copy / file).write_bytes(data)
        copy.rename(folder)

    def cut(data: bytearray) -> bytearray:
        return data[: chance.randrange(len(data))]

    def flipped(data: bytearray) -> bytearray:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return data

    def noise(data: bytearray) -> bytearray:
        at = chance.randrange(len(data))
        data[at : at + 64] = chance.randbytes(len(data[at : at + 64]))
        return data

    for number in range(count):
        file = files[number % len(files)]
        name, change = (("cut", cut), ("one bit", flipped), ("noise", noise))[number // len(files) % 3]
        yield f"{file}: {name}", lambda folder, file=file, change=change: write(folder, file, change)  # type: ignore[misc]
