"""Several processes at one port: each serves all models; one that dies is started again."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from graphflow import errors
from graphflow.collector import while_loading
from graphflow.config import NUM_THREADS
from graphflow.errors import OpError, UnavailableError, exception_type_from_error_code
from graphflow.records import dataclass
from graphflow.serving.listening import close_door, listening_socket
from graphflow.serving.manager import ModelManager
from graphflow.serving.server import GRACE, REST_PARTS, ServerOptions, serve
from graphflow.serving.server_config import ModelConfig

_log = logging.getLogger("graphflow.serving")

# Where a process can be had by forking: it has what we have loaded, and shares its memory.
_FORKS = sys.platform.startswith("linux")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Processes that die sooner than this after their start, in seconds, are started again after a pause.
_YOUNG = 10.0
_LONGEST_PAUSE = 30.0
# Memory, where the system has a folder of it.
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
    ready: bool = False
    models: int = 0  # which list of models it has been told of


# What passes through a link: a kind, and what belongs to it. From a worker: that it is READY, with its lines; that it
# was asked to RELOAD, with the models; that it is DONE with that, with the code and text of what went wrong. To a
# worker: RELOAD, and to the one that was asked, the outcome for all: TOLD.
_READY, _RELOAD, _DONE, _TOLD = "ready", "reload", "done", "told"
Outcome = tuple[int, str]


def supervise(
    options: ServerOptions, workers: int, configure: Callable[[], None], announce: Any = None
) -> None:
    """Serves models by several processes until SIGTERM or SIGINT; see `server.serve`.

    All take connections of REST from one socket, which is the supervisor's: where one dies, the others take those that
    have been waiting for it. gRPC's library wants a socket of its own in each process; the kernel deals out among them.

    Args:
      options: what to serve, and where.
      workers: how many processes.
      configure: called in each of them first.
      announce: where the lines that say the addresses are written; default the standard output.

    Raises:
      UnavailableError: if the first processes end before they are ready; they have said why.
      OSError: if a port is taken.
    """
    with contextlib.ExitStack() as stack:
        listener, ports = None, {"rest_port": options.rest_port, "grpc_port": options.grpc_port}
        if options.rest_port is not None:
            listener = stack.enter_context(listening_socket(options.host, options.rest_port))
            ports["rest_port"] = listener.getsockname()[1]
        if options.grpc_port is not None:
            # Bound, and never listened at: the number stays ours while processes come and go.
            held = stack.enter_context(
                listening_socket(options.host, options.grpc_port, shared=True, listen=False)
            )
            ports["grpc_port"] = held.getsockname()[1]
        where = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="graphflow-serve-", dir=where) as folder:
            if not NUM_THREADS.get():
                cores = (
                    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
                )
                os.environ[NUM_THREADS.name] = str(max(1, cores // workers))
            shared = replace(
                options, rest_port=ports["rest_port"], grpc_port=ports["grpc_port"], shared_ports=True,
                counts_folder=folder,
            )  # fmt: skip
            _Supervisor(shared, workers, configure, announce or sys.stdout, listener).run()


class _Supervisor:
    def __init__(
        self,
        options: ServerOptions,
        count: int,
        configure: Callable[[], None],
        announce: Any,
        listener: socket.socket | None,
    ) -> None:
        self._options = options
        self._listener = listener
        self._configure = configure
        self._announce = announce
        self._context: Any = multiprocessing.get_context("fork" if _FORKS else "spawn")
        self._count = count
        self._workers: list[_Worker] = []
        self._asked = 0  # how often we have been asked to end
        self._lists = 0  # of models that have come
        self._asking: deque[tuple[_Worker, Sequence[ModelConfig]]] = deque()
        self._pending: dict[int, _Worker] = {}  # those that load the first of these lists, by their numbers
        self._outcomes: list[Outcome] = []
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        before = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        try:
            if _FORKS:
                _load_for_all()
            for _ in range(self._count):
                self._workers.append(self._start())
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
        # A worker that forks off has them too: nobody would hear of our end while it holds what we hold.
        held = (ours, self._woken, self._wake, *(worker.link for worker in self._workers)) if _FORKS else ()
        process = self._context.Process(
            target=_work,
            args=(self._options, self._configure, theirs, self._listener, held),
            name="graphflow-worker",
            daemon=True,
        )
        # Signals that come meanwhile are for one of us, not for one that has the other's ways with them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS) if _FORKS else ()
        try:
            process.start()
        finally:
            if _FORKS:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
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
                    lines = worker.link.recv()[1]
                except EOFError:
                    raise UnavailableError(None, None, "a worker has ended before it was ready") from None
                worker.ready = True
                break
        return lines

    def _watch(self) -> None:
        """Waits until a process dies, has something to say, or somebody asks us to end."""
        sentinels = {worker.process.sentinel: worker for worker in self._workers}
        links = {worker.link: worker for worker in self._workers}
        for found in wait([*sentinels, *links, self._woken]):
            if found is self._woken or self._asked:
                return
            if found in links:
                self._listen(links[found])
        for sentinel in wait([*sentinels], 0):
            self._replace(sentinels[sentinel])

    def _replace(self, worker: _Worker) -> None:
        """Starts another in the place of one that has died."""
        worker.process.join()
        young = time.monotonic() - worker.begun < _YOUNG
        failures = worker.failures + 1 if young else 0
        _log.error("worker %d has ended with %s", worker.process.pid, worker.process.exitcode)
        worker.link.close()
        self._heard(worker, None)
        if failures:
            # What dies again and again must not take the machine from the others.
            wait([self._woken], min(0.1 * 2**failures, _LONGEST_PAUSE))
        if not self._asked:
            self._workers[self._workers.index(worker)] = self._start(failures)

    # -- other models for all ------------------------------------------------------------------------------------

    def _listen(self, worker: _Worker) -> None:
        try:
            kind, said = worker.link.recv()
        except (EOFError, OSError):
            return  # it has died, which is another matter
        if kind == _READY:
            worker.ready = True
            if worker.models != self._lists:  # it was started with those before
                self._pass(worker, self._asking[0][1] if self._asking else self._options.models)
        elif kind == _RELOAD:
            self._asking.append((worker, said))
            if len(self._asking) == 1:
                self._begin_reload()
        elif kind == _DONE:
            self._heard(worker, said)

    def _begin_reload(self) -> None:
        """Hands the first list that waits on to all; whoever is about to start gets it when it is ready."""
        _, configs = self._asking[0]
        self._lists += 1
        self._outcomes = []
        self._pending = {id(worker): worker for worker in self._workers}
        for worker in self._workers:
            if worker.ready:
                self._pass(worker, configs)
        self._end_reload()

    def _pass(self, worker: _Worker, configs: Sequence[ModelConfig]) -> None:
        worker.models = self._lists
        with contextlib.suppress(OSError):  # it has died, which is another matter
            worker.link.send((_RELOAD, configs))

    def _heard(self, worker: _Worker, outcome: Outcome | None) -> None:
        """One has loaded the models, or cannot, or has died; when all have been heard, whoever was asked is told."""
        if self._pending.pop(id(worker), None) is None:
            return
        if outcome is not None:
            self._outcomes.append(outcome)
        self._end_reload()

    def _end_reload(self) -> None:
        if self._pending:
            return
        asked, configs = self._asking.popleft()
        wrong = [outcome for outcome in self._outcomes if outcome[0] != errors.OK]
        if errors.FAILED_PRECONDITION not in [code for code, _ in wrong]:
            # From now on all start with these; after that refusal all have what they had.
            self._options = replace(self._options, models=tuple(configs), model_config_file=None)
        with contextlib.suppress(OSError):
            asked.link.send((_TOLD, wrong[0] if wrong else (errors.OK, "")))
        if self._asking:
            self._begin_reload()

    def _end(self) -> None:
        """Lets all finish what they have begun."""
        if self._listener is not None:
            close_door(self._listener)
        self._tell(signal.SIGTERM)
        if self._listener is not None:
            self._listener.close()  # the last worker that has one ends what waits there
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


def _load_for_all() -> None:
    """Loads what every worker needs: it is there once for all of them, and each starts with it at once."""
    with while_loading():
        for name in (*REST_PARTS, "graphflow.backends.cpu.backend"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.freeze()


def _work(
    options: ServerOptions,
    configure: Callable[[], None],
    link: Connection,
    listener: socket.socket | None,
    held: Sequence[Any] = (),
) -> None:
    """Serves in a process of its own.

    Args:
      options: what.
      configure: called first.
      link: to the supervisor.
      listener: where connections come in, for all workers.
      held: what the supervisor holds, and this process has got with it.
    """
    for item in held:
        item.close()
    # The terminal's interrupt goes to all; the supervisor hands it on once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _FORKS:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    configure()

    lock = threading.Lock()  # of what is said to the supervisor
    asking = threading.Lock()  # of one request at a time
    told: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    lines = _Lines()

    def say(*words: Any) -> None:
        with lock:
            link.send(words)

    def load(models: ModelManager, configs: Sequence[ModelConfig]) -> None:
        outcome: Outcome = (errors.OK, "")
        try:
            models.reload(configs)
        except OpError as error:
            outcome = (error.error_code, error.message)
        except Exception as error:
            outcome = (errors.INTERNAL, f"{type(error).__name__}: {error}")
        say(_DONE, outcome)

    def watch(models: ModelManager) -> None:
        try:
            while True:
                kind, said = link.recv()
                if kind == _TOLD:
                    told.put(said)
                else:
                    load(models, said)
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)  # nobody is there to end us any more

    def ready(models: ModelManager) -> None:
        say(_READY, lines.text.splitlines())
        threading.Thread(target=watch, args=(models,), name="graphflow-supervisor", daemon=True).start()

    def reload(configs: Sequence[ModelConfig]) -> None:
        with asking:
            say(_RELOAD, tuple(configs))
            code, text = told.get()
        if code != errors.OK:
            raise exception_type_from_error_code(code)(None, None, text)

    try:
        serve(options, lines, ready, reload, listener)
    except (OpError, OSError, RuntimeError, ValueError) as error:
        _log.error("%s", error)
        sys.exit(1)
