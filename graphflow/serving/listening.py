"""Sockets that connections come in at, and how they end without breaking one off."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Iterator

# Seconds in which whoever is on the way in when the door closes comes in.
DOOR_SECONDS = 0.05
# Connections that wait in the kernel until somebody takes them, at most.
BACKLOG = 2048
# Of Linux: a filter of a socket's packets; byte 13 of one holds TCP's flags, and the 2 among them begins a connection.
_SO_ATTACH_FILTER = 26
_WITHOUT_BEGINNINGS = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_OPEN_FILES = "/proc/self/fd"


def listening_socket(host: str, port: int, shared: bool = False, listen: bool = True) -> socket.socket:
    """Returns a socket at an address.

    Args:
      host, port: where; port 0 takes a free one.
      shared: whether other processes of ours have the same.
      listen: whether connections are taken.

    Raises:
      OSError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delays off only where the protocol is spelled out.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if listen:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from None
    return listener


def close_door(listener: socket.socket) -> None:
    """Has the kernel take no new connection, while those that it has taken can still be had.

    A socket that is closed breaks off the connections that nobody has taken yet, requests in them and all. Clients that
    come now try again after a second: then nobody is there, or another process of ours.
    """
    if not sys.platform.startswith("linux"):
        return
    steps = array.array("B", b"".join(struct.pack("HBBI", *step) for step in _WITHOUT_BEGINNINGS))
    program = struct.pack("HP", len(_WITHOUT_BEGINNINGS), steps.buffer_info()[0])
    with contextlib.suppress(OSError):  # not where another kernel passes for Linux
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def knocking(listener: socket.socket) -> bool:
    """Whether a connection waits for somebody to take it."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def sockets_at(port: int) -> Iterator[socket.socket]:
    """Gives the process's sockets at a port, each as long as it is looked at: gRPC's listener keeps its own to itself.

    Nothing where the system does not tell.
    """
    try:
        names = os.listdir(_OPEN_FILES)
    except OSError:
        return
    for name in names:
        try:
            handle = os.dup(int(name))
        except OSError:
            continue  # closed meanwhile
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            os.close(handle)
            continue
        with socket.socket(fileno=handle) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                yield found
