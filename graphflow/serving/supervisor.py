"""Several processes at one port: each serves all models; one that dies is started again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from graphflow.config import NUM_THREADS
from graphflow.errors import OpError, UnavailableError
from graphflow.serving.listening import listening_socket
from graphflow.serving.server import GRACE, ServerOptions, serve

_log = logging.getLogger("graphflow.serving")

# Processes that die sooner than this after their start, in seconds, are started again after a pause.
_YOUNG = 10.0
_LONGEST_PAUSE = 30.0
# Prometheus' library keeps what the processes count in files there; it is read when the library is loaded.
_SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Memory, where the system has a folder of it: on a disk that is full, writing to such a file ends the process.
_IN_MEMORY = "/dev/shm"


@dataclass(slots=True)
class _Worker:
    """A process.

    Attributes:
      process: it.
      link: what it says when it is ready; closed, it ends.
      begun: when it was started.
      failures: how often one in its place has died young.
    """

    process: Any
    link: Connection
    begun: float
    failures: int


def supervise(
    options: ServerOptions, workers: int, configure: Callable[[], None], announce: Any = None
) -> None:
    """Serves models by several processes until SIGTERM or SIGINT; see `server.serve`.

    All of them listen at the same ports, among which the kernel deals new connections out.

    Args:
      options: what to serve, and where.
      workers: how many processes.
      configure: called in each of them first.
      announce: where the lines that say the addresses are written; default the standard output.

    Raises:
      UnavailableError: if the first processes end before they are ready; they have said why.
      OSError: if a port is taken.
    """
    reserved = []
    try:
        ports: dict[str, int | None] = {"rest_port": options.rest_port, "grpc_port": options.grpc_port}
        for name, port in ports.items():
            if port is not None:
                # Bound, and never listened at: the number stays ours while processes come and go.
                reserved.append(listening_socket(options.host, port, shared=True, listen=False))
                ports[name] = reserved[-1].getsockname()[1]
        where = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="graphflow-serve-", dir=where) as folder:
            os.environ[_SHARED_FOLDER] = folder
            if not NUM_THREADS.get():
                cores = (
                    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
                )
                os.environ[NUM_THREADS.name] = str(max(1, cores // workers))
            shared = replace(
                options, rest_port=ports["rest_port"], grpc_port=ports["grpc_port"], shared_ports=True
            )
            _Supervisor(shared, workers, configure, announce or sys.stdout).run()
    finally:
        for held in reserved:
            held.close()


class _Supervisor:
    def __init__(
        self, options: ServerOptions, count: int, configure: Callable[[], None], announce: Any
    ) -> None:
        self._options = options
        self._configure = configure
        self._announce = announce
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._workers: list[_Worker] = []
        self._asked = 0  # how often we have been asked to end
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        before = {
            number: signal.signal(number, self._signalled) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._workers = [self._start() for _ in range(self._count)]
            for line in self._wait_until_ready():
                print(line, file=self._announce, flush=True)
            while not self._asked:
                self._watch()
            self._end()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.link.close()
            for number, handler in before.items():
                signal.signal(number, handler)
            self._woken.close()
            self._wake.close()

    def _signalled(self, number: int, frame: object) -> None:
        self._asked += 1
        self._wake.send(b"!")
        if self._asked > 1:
            self._tell(signal.SIGTERM)  # the second one says: at once

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.is_alive():
                os.kill(worker.process.pid, number)

    def _start(self, failures: int = 0) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._options, self._configure, theirs), name="graphflow-worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, time.monotonic(), failures)

    def _wait_until_ready(self) -> list[str]:
        """Returns what the first process says of its addresses, when all can be reached."""
        lines: list[str] = []
        for worker in self._workers:
            while not self._asked:
                if self._woken in wait([worker.link, self._woken]):
                    break
                try:
                    lines = worker.link.recv()
                except EOFError:
                    raise UnavailableError(None, None, "a worker has ended before it was ready") from None
                break
        return lines

    def _watch(self) -> None:
        """Waits until a process dies, or somebody asks us to end; starts another in its place."""
        sentinels = {worker.process.sentinel: worker for worker in self._workers}
        for ready in wait([*sentinels, self._woken]):
            if ready is self._woken or self._asked:
                return
            worker = sentinels[ready]
            worker.process.join()
            young = time.monotonic() - worker.begun < _YOUNG
            failures = worker.failures + 1 if young else 0
            _log.error("worker %d has ended with %s", worker.process.pid, worker.process.exitcode)
            worker.link.close()
            if failures:
                # What dies again and again must not take the machine from the others.
                wait([self._woken], min(0.1 * 2**failures, _LONGEST_PAUSE))
            if not self._asked:
                self._workers[self._workers.index(worker)] = self._start(failures)

    def _end(self) -> None:
        """Lets all finish what they have begun."""
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + GRACE + 5
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))


class _Lines:
    """What a process would write, for the one that started it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def _work(options: ServerOptions, configure: Callable[[], None], link: Connection) -> None:
    """Serves in a process of its own."""
    configure()
    # The terminal's interrupt goes to all; the supervisor hands it on once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        try:
            link.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)  # nobody is there to end us any more

    told = _Lines()

    def ready() -> None:
        link.send(told.text.splitlines())
        threading.Thread(target=watch, name="graphflow-supervisor", daemon=True).start()

    try:
        serve(options, told, ready)
    except (OpError, OSError, RuntimeError, ValueError) as error:
        _log.error("%s", error)
        sys.exit(1)
