"""The gRPC listener: methods that raise our errors, deadlines, limits, health and reflection."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from graphflow.errors import OpError
from graphflow.serving.access import Access
from graphflow.serving.listening import DOOR_SECONDS, close_door, sockets_at
from graphflow.serving.memory_check import free_bytes
from graphflow.serving.model import refused
from graphflow.serving.tracing import Tracing

_log = logging.getLogger("graphflow.serving")

# Bytes of the largest message, both ways; protobuf itself ends at 2 GiB.
LARGEST_MESSAGE = 1 << 30
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Seconds after which a connection gets its last answers, and the client makes another. It is the only way to end one
# in which no request is lost: a listener that stops breaks off what comes in before the client hears of it.
CONNECTION_SECONDS = 2.0
# The library spreads that time by a tenth.
_LATEST = 1.1
# The library ends the process where it finds no memory for a message: none takes more than this part of what is free.
_PART = 4


def deadline_of(context: grpc.ServicerContext) -> float | None:
    """Returns the moment (`time.monotonic()`) until which the caller waits, None if for ever."""
    left = context.time_remaining()
    return None if left is None or left > 1e9 else time.monotonic() + left


class GrpcService(Protocol):
    """What a service is made of; for each method of its definition it has one in snake case.

    Attributes:
      name: what clients call it, with its package.
      messages: the generated module that defines it, under our own package.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def messages(self) -> Any:
        """See above."""


def _definition(service: GrpcService) -> Any:
    return service.messages.DESCRIPTOR.services_by_name[service.name.rpartition(".")[2]]


def _traced(method: Callable[..., Message], name: str, tracing: Tracing) -> Callable[..., Message]:
    def traced(request: Message, context: grpc.ServicerContext) -> Message:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        with tracing.request(name, headers, **{"rpc.system": "grpc"}):
            return method(request, context)

    return traced


def _handlers(
    service: GrpcService, access: Access, tracing: Tracing | None
) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    found = {}
    for method in _definition(service).methods:
        kind = getattr(service.messages, method.input_type.name)
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method.name).lower()
        handler = getattr(service, name)
        if tracing is not None:
            handler = _traced(handler, f"{service.name}/{method.name}", tracing)
        found[method.name] = _unary(handler, kind, access)
    return found


def _unary(
    method: Callable[..., Message], kind: type[Message], access: Access
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of a method that takes one message and gives one; `OpError`s become gRPC's codes."""

    def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
        if access.token:
            _check(access, context)
        try:
            request = kind.FromString(data)
        except DecodeError as error:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {kind.DESCRIPTOR.name}: {error}"
            )
        try:
            return method(request, context).SerializeToString()
        except OpError as error:
            code, text = _CODES[error.error_code], error.message
        except MemoryError as error:
            code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, refused(error).message
        except Exception as error:
            _log.exception("%s", kind.DESCRIPTOR.name)
            code, text = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, text)
        raise AssertionError("abort raises")

    # Messages are parsed above, so that what is no message gets an answer that says so.
    return grpc.unary_unary_rpc_method_handler(handle)


def _check(access: Access, context: grpc.ServicerContext) -> None:
    given = [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
    try:
        access.check(given[0] if given else None)
    except OpError as error:
        context.abort(_CODES[error.error_code], error.message)


def _as_clients_know_them(services: Sequence[GrpcService]) -> DescriptorPool:
    """The definitions of services and of all they use, under the packages that clients have them in."""
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: Any) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for needed in file.dependencies:
            add(needed)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        text = proto.SerializeToString()
        if file.package.startswith("graphflow"):
            _rename(proto)
            text = proto.SerializeToString()
        pool.AddSerializedFile(text)

    for service in services:
        add(service.messages.DESCRIPTOR)
    return pool


def _rename(proto: Any) -> None:
    """Gives a file's definitions the package that they have elsewhere."""

    def renamed(name: str) -> str:
        for ours, theirs in (("graphflow.inference", "inference"), ("graphflow", "tensorflow")):
            for dot in ("", "."):
                if name == dot + ours or name.startswith(f"{dot}{ours}."):
                    return dot + theirs + name[len(dot + ours) :]
        return name

    proto.package = renamed(proto.package)
    messages = list(proto.message_type)
    while messages:
        message = messages.pop()
        messages.extend(message.nested_type)
        for field in message.field:
            if field.type_name:
                field.type_name = renamed(field.type_name)
    for service in proto.service:
        for method in service.method:
            method.input_type, method.output_type = renamed(method.input_type), renamed(method.output_type)


class GrpcServer:
    """Serves the methods of some services until it is stopped.

    Args:
      services: what is served; health and reflection come with them.
      host, port: where to listen; port 0 takes a free one.
      threads: how many requests are answered at once.
      most_requests: with so many under way, what comes on top is turned away at once.
      shared: whether other processes listen at the same port.
      access: who may ask, and over what; health and reflection are told to everybody.
      tracing: what makes spans of requests; None makes none.

    Raises:
      OSError: if the port is taken.
    """

    def __init__(
        self,
        services: Sequence[GrpcService],
        host: str,
        port: int,
        threads: int = 32,
        most_requests: int | None = None,
        shared: bool = False,
        access: Access = Access(),  # noqa: B008 - it is immutable
        tracing: Tracing | None = None,
    ) -> None:
        largest = min(LARGEST_MESSAGE, free_bytes() // _PART)
        pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="graphflow-grpc")
        self._server = grpc.server(
            pool,
            options=(
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", LARGEST_MESSAGE),
                ("grpc.so_reuseport", int(shared)),
                ("grpc.max_connection_age_ms", int(1e3 * CONNECTION_SECONDS)),
            ),
            maximum_concurrent_rpcs=most_requests,
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [health.SERVICE_NAME]
        for service in services:
            handlers = grpc.method_handlers_generic_handler(service.name, _handlers(service, access, tracing))
            self._server.add_generic_rpc_handlers((handlers,))
            names.append(service.name)
        self._names = names
        reflected = (*names, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(reflected, self._server, _as_clients_know_them(services))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if access.certificate:
                pair = (Path(access.key).read_bytes(), Path(access.certificate).read_bytes())
                self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            else:
                self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if self.port == 0:
            raise OSError(f"cannot listen at {host}:{port}: the address cannot be bound")

    def start(self) -> None:
        """Begins to take requests."""
        self.set_serving(True)
        self._server.start()

    def set_serving(self, serving: bool) -> None:
        """Sets what the health service says."""
        statuses = health_pb2.HealthCheckResponse
        for name in ("", *self._names):
            self._health.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)

    def stop(self, grace: float) -> None:
        """Takes no new connection; returns when those there are have ended, or after `grace` seconds.

        Connections end when their time is over; where the system does not tell of them, all end at once.
        """
        end = time.monotonic() + grace
        self.set_serving(False)
        for item in sockets_at(self.port):
            if item.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                close_door(item)
        time.sleep(DOOR_SECONDS)
        latest = min(end, time.monotonic() + _LATEST * CONNECTION_SECONDS + 1)
        while time.monotonic() < latest and any(_is_connected(item) for item in sockets_at(self.port)):
            time.sleep(DOOR_SECONDS)
        self._server.stop(max(0.0, end - time.monotonic())).wait()


def _is_connected(item: socket.socket) -> bool:
    try:
        item.getpeername()
    except OSError:
        return False
    return True
