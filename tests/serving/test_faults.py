"""What goes wrong outside costs nobody else an answer; small forms of what test_soak does for minutes."""

from __future__ import annotations

import http.client
import logging
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import pytest

from graphflow.errors import ResourceExhaustedError
from graphflow.serving import bodies, connections, grpc_server, manager
from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.listening import close_door, sockets_at
from graphflow.serving.manager import ModelManager
from graphflow.serving.model import Model
from graphflow.serving.open_inference_grpc import InferenceService
from graphflow.serving.recording import Recorder
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving import fuzz
from tests.serving.faults import corrupted, disconnect
from tests.serving.models import listening, rest, save_model
from tests.serving.process import BODY, X, rightly, served

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux alone")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models")
    save_model(base / "1")
    return base


@pytest.fixture(scope="module")
def service(saved: Path) -> Iterator[Service]:
    models = ModelManager([ModelConfig("m", str(saved), labels={"a": 1})], poll_seconds=0)
    models.start()
    yield Service(models)
    models.close()


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    with rest(service) as port:
        yield port


def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("POST", "/v1/models/m:predict", BODY)
    response = connection.getresponse()
    assert response.status == 200 and rightly(response.read())
    return response


def test_at_the_end_kept_connections_get_a_last_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LAST_SECONDS", 10**6)  # however long a test is held up
    with listening(service) as (port, server):
        kept = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(5)]
        for connection in kept[:4]:
            assert ask(connection).headers["connection"] is None
        kept[4].connect()
        server.should_exit = True
        while not getattr(server.server_state, "ending", False):
            time.sleep(0.001)
        for connection in kept:
            assert ask(connection).headers["connection"] == "close"
            connection.close()


@linux
def test_a_closed_door_leaves_those_who_have_come_in() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            close_door(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.05)
            early.sendall(b"hello")
            with listener.accept()[0] as taken:
                assert taken.recv(5) == b"hello"
        assert [item.getsockname() for item in sockets_at(address[1])] == [address]


@linux
def test_grpc_ends_without_breaking_a_call_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "CONNECTION_SECONDS", 0.2)
    monkeypatch.setattr(grpc_server, "_LATEST", 10**6)
    server = GrpcServer(services(service), "127.0.0.1", 0)
    server.start()
    ended = threading.Event()
    wrong: list[Any] = []
    answers = [0]

    def call() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            status = channel.unary_unary(STATUS)
            while True:
                try:
                    # Who comes behind the closed door does not wait for long.
                    status(b"\n\x03\n\x01m", timeout=10**6 if not ended.is_set() else 0.05)
                    answers[0] += 1
                except grpc.RpcError as error:
                    if not ended.is_set():
                        wrong.append(error)
                    return

    thread = threading.Thread(target=call)
    thread.start()
    while answers[0] < 20:
        time.sleep(0.001)
    stopping = threading.Thread(target=lambda: (server.stop(10**6), ended.set()))
    stopping.start()
    stopping.join()
    thread.join()
    assert not wrong


def test_broken_off_requests_leave_nothing_behind(service: Service, port: int) -> None:
    disconnect(port, 64)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    ask(connection)
    while service.requests:
        time.sleep(0.001)
    connection.close()


def test_damaged_versions_leave_the_old_one(saved: Path, tmp_path: Path) -> None:
    base = tmp_path / "models"
    shutil.copytree(saved, base)
    now = [0.0]
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0, clock=lambda: now[0])
    models.start()
    for number, (what, write) in enumerate(corrupted(base / "1", 9), 2):
        write(base / str(number))
        models.look()
        now[0] += manager.SETTLE  # nobody writes there any more
        models.look()
        (found,) = models.status("m", number)
        assert found.state in (manager.State.AVAILABLE, manager.State.END), what
        if found.state is manager.State.END:
            assert found.error is not None and found.error.message, what
            with models.hold("m") as model:
                assert model.version < number
        else:
            assert not what.startswith("variables"), what  # they have check sums
        shutil.rmtree(base / str(number))
    models.close()


@linux
def test_a_full_disk_ends_the_record_and_no_request(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder("/dev/full")
    model = Model(saved / "1", recorder=recorder)
    for _ in range(2):
        assert model.run("", {"x": X})["y"].shape == (2, 2)
    assert [record.message for record in caplog.records if "no more requests are recorded" in record.message]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    recorder.close()
    model.close()


def test_what_memory_does_not_hold_is_refused(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with monkeypatch.context() as patched:
        patched.setattr(bodies, "_WEIGHED_FROM", 10)
        patched.setattr(bodies, "free_bytes", lambda: bodies.RESERVE + len(BODY) - 1)
        for body in (BODY, iter([BODY[:30], BODY[30:]])):  # its length is told, or not
            connection.request("POST", "/v1/models/m:predict", body)
            response = connection.getresponse()
            assert response.status == 429 and b"there is memory for" in response.read()

    def never(*arrays: Any) -> Any:
        raise MemoryError("nothing left")

    with service.models.hold("m") as model:
        signature = model.signatures["total"]
        monkeypatch.setattr(signature, "function", never)
        with pytest.raises(ResourceExhaustedError, match="not enough memory for the request: nothing left"):
            model.run("total", {"x": X})
    ask(connection)
    connection.close()


@linux
@pytest.mark.slow
def test_a_process_with_little_address_space_lives(saved: Path) -> None:
    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 1000000000\r\n\r\n"
    with served(saved, before=narrow) as server:
        with socket.create_connection(("127.0.0.1", server.rest)) as connection:
            connection.sendall(head)
            assert connection.recv(65536).startswith(b"HTTP/1.1 429 ")
        status, content = server.predict()
        assert status == 200 and rightly(content)
        assert server.end() == 0


@hypothesis.settings(max_examples=int(os.environ.get("GRAPHFLOW_FUZZ", "150")))
@hypothesis.given(request=fuzz.REST)
@hypothesis.example(
    ("/v1/models/m:classify", '{"examples": [{}], "context": {"x": {"b64": "é"}}}'.encode(), {})
)
def test_strange_requests_over_rest(port: int, request: tuple[str, bytes, dict[str, str]]) -> None:
    path, body, given = request
    headers = {key: value.encode().decode("latin-1") for key, value in given.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", path, body, headers)
    with connection.getresponse() as response:
        content = response.read()
    connection.close()
    assert response.status < 500 or response.status in (501, 504), (response.status, content)


@pytest.fixture(scope="module")
def channel(service: Service) -> Iterator[grpc.Channel]:
    server = GrpcServer([*services(service), InferenceService(service)], "127.0.0.1", 0)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(0)


@hypothesis.settings(max_examples=int(os.environ.get("GRAPHFLOW_FUZZ", "150")))
@hypothesis.given(request=fuzz.GRPC)
def test_strange_requests_over_grpc(channel: grpc.Channel, request: tuple[str, bytes]) -> None:
    method, data = request
    try:
        channel.unary_unary(method)(data)
    except grpc.RpcError as error:
        code = error.code()  # type: ignore[attr-defined]
        assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE), (
            error
        )
