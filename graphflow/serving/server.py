"""The serving process: loads models, listens, and on SIGTERM finishes what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from graphflow.errors import OpError
from graphflow.records import dataclass
from graphflow.saved_model.loader import OUTSIDE_OPS
from graphflow.serving.access import Access
from graphflow.serving.batching import BatchingOptions
from graphflow.serving.listening import listening_socket
from graphflow.serving.manager import ModelManager, State
from graphflow.serving.memory_check import MemoryCheck
from graphflow.serving.metrics import Metrics
from graphflow.serving.model import Model
from graphflow.serving.recording import Recorder
from graphflow.serving.server_config import ModelConfig, read_models
from graphflow.serving.service import MOST_REQUESTS, Service
from graphflow.serving.tracing import configured
from graphflow.serving.warm_up import WarmUp

if TYPE_CHECKING:
    from graphflow.serving.grpc_server import GrpcServer

_log = logging.getLogger("graphflow.serving")

# Seconds that requests under way have after SIGTERM.
GRACE = 30
# Large requests, and runs of models that take one at a time, that are worked on at once; more wait for a thread.
THREADS = 64
# Seconds for which a thread keeps the interpreter from one that comes out of a run.
_SWITCH = 0.0005


# What the REST interface is made of; it is read while the models load.
REST_PARTS = ("graphflow.serving.connections", "graphflow.serving.rest", "uvloop")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a serving process does.

    Attributes:
      models: the models; may be empty where `model_config_file` names them.
      model_config_file: the file that lists the models, instead of `models`.
      host: the address to listen at.
      rest_port: the port of the REST interface; 0 takes a free one, None listens not at all.
      grpc_port: the port of the gRPC interface; 0 takes a free one, None listens not at all.
      poll_seconds: how often the base paths are looked at for new versions; 0 never does.
      model_config_file_poll_seconds: how often that file is read again; 0 never does.
      allow_labels_for_unavailable: whether a label may name a version that is not loaded.
      batching: how requests that meet are put together, where it is proved to change no answer; None never does.
      most_requests: requests in the process at once, of each protocol; what comes on top is turned away at once.
      shared_ports: whether other processes serve the same at the same ports; one that is interrupted from a terminal
        then leaves it to whoever started it to say so. `serve` is given the socket of REST's then.
      counts_folder: where such processes keep what they count, for whichever of them is asked; None where there is
        one only.
      access: who may ask, and over what.
      record_requests: the file that the first requests are written to, with their answers; None writes none.
      allowed_ops: types of ops that open files or call Python which models may have all the same.
      swap_in_series: whether an old version goes before a new one comes where memory does not hold both; else the
        new one is refused.
    """

    models: Sequence[ModelConfig] = ()
    model_config_file: str | None = None
    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = None
    poll_seconds: float = 1.0
    model_config_file_poll_seconds: float = 0.0
    allow_labels_for_unavailable: bool = False
    batching: BatchingOptions | None = BatchingOptions()
    most_requests: int = MOST_REQUESTS
    swap_in_series: bool = False
    shared_ports: bool = False
    counts_folder: str | None = None
    access: Access = Access()
    record_requests: str | None = None
    allowed_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rest_port is None and self.grpc_port is None:
            raise ValueError("give a port for REST or gRPC: there is nothing to listen at")
        unknown = sorted(set(self.allowed_ops) - OUTSIDE_OPS)
        if unknown:
            raise ValueError(
                f"there is no need to allow {', '.join(unknown)}; refused are {', '.join(sorted(OUTSIDE_OPS))}"
            )
        if bool(self.models) == (self.model_config_file is not None):
            raise ValueError("give either models or a model_config_file")


def serve(
    options: ServerOptions,
    announce: Any = None,
    ready: Callable[[ModelManager], None] | None = None,
    reload: Callable[[Sequence[ModelConfig]], None] | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serves models until SIGTERM or SIGINT.

    After the signal no new connection is taken, `/v1/health/ready` says 503, gRPC's health service NOT_SERVING, and
    requests under way have `GRACE` seconds to finish; a second signal ends at once.

    Args:
      options: what to serve, and where.
      announce: where the lines that say the addresses are written; default the standard output.
      ready: called with the models when requests are welcome.
      reload: changes the models of all processes that serve the same; None where there is this one only.
      listener: where connections of REST come in; None makes a socket at the port.

    Raises:
      InvalidArgumentError: if the configuration is not understood.
      OpError: if a model has no version that can be served.
      OSError: if a port is taken.
    """
    file = options.model_config_file
    configs = list(options.models) if file is None else read_models(file)
    with contextlib.ExitStack() as stack:
        if listener is None and options.rest_port is not None:
            listener = listening_socket(options.host, options.rest_port)
        if listener is not None:
            stack.enter_context(contextlib.closing(listener))
        if options.grpc_port:
            # gRPC's listener comes last of all; that its port is taken is said now.
            listening_socket(options.host, options.grpc_port, options.shared_ports, listen=False).close()
        tracing = configured()
        if tracing is not None:
            stack.callback(tracing.close)
        recorder = None
        if options.record_requests is not None:
            recorder = stack.enter_context(contextlib.closing(Recorder(options.record_requests)))
        rows = 1 if options.batching is None else options.batching.max_batch_size
        metrics = Metrics(lambda: models.state(), options.counts_folder)
        warming = WarmUp()
        models = ModelManager(
            configs,
            options.poll_seconds,
            functools.partial(
                Model,
                batching=options.batching,
                observer=metrics,
                recorder=recorder,
                allowed_ops=options.allowed_ops,
            ),
            options.allow_labels_for_unavailable,
            fits=MemoryCheck(options.swap_in_series, rows),
            warm_up=warming,
            loaded=metrics.loaded,
        )
        reader = None
        if listener is not None:
            reader = threading.Thread(target=_read, args=(REST_PARTS,), name="graphflow-imports", daemon=True)
            reader.start()
        gc.freeze()  # what is here stays: looking for models that have gone must not take long
        models.start()
        stack.callback(models.close)
        if reader is not None:
            reader.join()
        service = Service(models, metrics, options.most_requests, reload, options.access, tracing)
        if file is not None and options.model_config_file_poll_seconds > 0:
            stack.enter_context(_following(file, configs, options.model_config_file_poll_seconds, models))

        def finish() -> GrpcServer | None:
            """What comes when REST's requests are answered already: gRPC, whose library takes long to load."""
            warming.finish()
            grpc_server = None
            if options.grpc_port is not None:
                grpc_server = _grpc_server(options, service)
                grpc_server.start()
            _announce(options, models, listener, grpc_server, announce or sys.stdout)
            if ready is not None:
                ready(models)
            return grpc_server

        sys.setswitchinterval(_SWITCH)
        signals = (signal.SIGTERM,) if options.shared_ports else (signal.SIGTERM, signal.SIGINT)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(service, listener, finish, signals, options.shared_ports))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes event loops; None takes asyncio's own, where the faster one cannot be had."""
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def _read(modules: Sequence[str]) -> None:
    for module in modules:
        # What is missing is said where it is needed.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _grpc_server(options: ServerOptions, service: Service) -> GrpcServer:
    from graphflow.serving.grpc_server import GrpcServer
    from graphflow.serving.open_inference_grpc import InferenceService
    from graphflow.serving.tensorflow_grpc import services

    assert options.grpc_port is not None
    return GrpcServer(
        (*services(service), InferenceService(service)),
        options.host,
        options.grpc_port,
        most_requests=options.most_requests,
        shared=options.shared_ports,
        access=options.access,
        tracing=service.tracing,
    )


def _announce(
    options: ServerOptions,
    models: ModelManager,
    listener: socket.socket | None,
    grpc_server: GrpcServer | None,
    file: Any,
) -> None:
    scheme = "https" if options.access.certificate else "http"
    warning = options.access.warning(options.host)
    if warning:
        _log.warning("%s", warning)
    for name in models.names():
        for servable in models.status(name):
            if servable.state is State.AVAILABLE:
                where = ""
                if listener is not None:
                    where = f" at {scheme}://{options.host}:{listener.getsockname()[1]}/v1/models/{name}"
                print(f"serving version {servable.version} of {servable.path}{where}", file=file, flush=True)
    if grpc_server is not None:
        print(f"gRPC at {options.host}:{grpc_server.port}", file=file, flush=True)


@contextlib.contextmanager
def _following(
    path: str, served: Sequence[ModelConfig], seconds: float, models: ModelManager
) -> Iterator[None]:
    """Reads the list of models again and again; what is wrong with a new one is said, and the old one stays.

    Args:
      path: the file that holds it.
      served: what is served already.
      seconds: how long to wait between readings.
      models: what serves another list.
    """
    ended = threading.Event()

    def follow() -> None:
        before = list(served)
        while not ended.wait(seconds):
            try:
                now = read_models(path)
                if now != before:
                    before = now
                    models.reload(now)
            except (OpError, OSError) as error:
                _log.error("%s: %s", path, error)

    thread = threading.Thread(target=follow, name="graphflow-config", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _run(
    service: Service,
    listener: socket.socket | None,
    finish: Callable[[], GrpcServer | None],
    signals: Sequence[signal.Signals],
    shared: bool,
) -> None:
    """Serves until a signal; REST and gRPC end at the same time.

    Args:
      service: what answers requests.
      listener: where REST's come in; None where there is none.
      finish: called in a thread when they are answered; starts the rest.
      signals: what ends it.
      shared: whether other processes take connections of the same socket.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, "graphflow-requests"))
    server = None
    if listener is not None:
        from graphflow.serving.connections import Listener
        from graphflow.serving.rest import make_app

        access = service.access
        server = Listener(make_app(service), access.certificate, access.key, GRACE, shared)

    def end() -> None:
        # Whoever asks twice does not want to wait, not even for a run that nobody can interrupt.
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        service.draining = True
        if server is not None:
            server.should_exit = True
        ended.set()

    before = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        loop.add_signal_handler(number, end)
    try:
        waiting: list[asyncio.Future[Any]] = []
        if server is not None:
            waiting.append(asyncio.ensure_future(server.serve(sockets=[listener])))
            await server.begun.wait()
        try:
            grpc_server = await asyncio.to_thread(finish)
            await ended.wait()
        except BaseException:
            end()
            await asyncio.gather(*waiting)
            raise
        if grpc_server is not None:
            waiting.append(asyncio.ensure_future(asyncio.to_thread(grpc_server.stop, GRACE)))
        await asyncio.gather(*waiting)
        if service.requests:
            _log.error("%d requests have not ended within %d s", service.requests, GRACE)
            os._exit(1)  # their threads would keep the process for as long as they like
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
