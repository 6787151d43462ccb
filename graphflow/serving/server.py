"""The serving process: loads a model, listens, and on SIGTERM finishes what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from graphflow.serving.model import Model, newest_version
from graphflow.serving.rest import Service, make_app

# Seconds that requests under way have after SIGTERM.
GRACE = 30


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not looked into
    """uvicorn with our ways of ending: readiness turns false at once, and the exit code is 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def _drain(self) -> None:
        if self._service.draining:
            self.force_exit = True  # Asked twice: whoever asks does not want to wait.
        self._service.draining = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drains on SIGTERM and SIGINT; uvicorn's own version raises them again at the end."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._drain)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delays off only where the protocol is spelled out.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from None
    return listener


def serve(
    model_base_path: str | os.PathLike[str],
    port: int = 8501,
    host: str = "127.0.0.1",
    model_name: str = "default",
    announce: Any = None,
) -> None:
    """Serves the newest version of a model until SIGTERM or SIGINT.

    After the signal no new connection is taken, `/v1/health/ready` says 503, and requests under way have
    `GRACE` seconds to finish.

    Args:
      model_base_path: the folder whose numbered subfolders are versions of the model.
      port: the port of the REST interface; 0 takes a free one.
      host: the address to listen at.
      model_name: the name in the paths of requests.
      announce: where the line that says the address is written; default the standard output.

    Raises:
      NotFoundError: if there is no version.
      OSError: if the port is taken.
      DataLossError, RuntimeError, ValueError: if the model cannot be loaded.
    """
    version, path = newest_version(model_base_path)
    listener = _listen(host, port)
    try:
        model = Model(path, model_name, version)
        service = Service(model)
        config = uvicorn.Config(
            make_app(service),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
            date_header=False,
        )
        address = f"http://{host}:{listener.getsockname()[1]}/v1/models/{model_name}"
        print(f"serving version {version} of {path} at {address}", file=announce or sys.stdout, flush=True)
        asyncio.run(_Server(config, service).serve(sockets=[listener]))
    finally:
        listener.close()
