"""What is too deep, too much or too slow is refused with the limit, and takes nobody else's place."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from graphflow.errors import InvalidArgumentError
from graphflow.serving import connections, json_limits
from graphflow.serving.bodies import Answer, Asked
from graphflow.serving.listening import knocking
from graphflow.serving.manager import ModelManager
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from tests.serving.models import W, client_at, rest, save_model


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    base: Path = tmp_path_factory.mktemp("models")
    save_model(base / "1")
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0)
    models.start()
    with rest(Service(models)) as port:
        yield port
    models.close()


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[httpx.Client]:
    with client_at(port) as client:
        yield client


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": ' + nested(64) + "}",
        '{"instances": ' + nested(1000) + "}",
        '{"instances": ' + "[" * 100_000,
        nested(1020),
        '{"inputs": ' * 70 + "1" + "}" * 70,
    ],
)
def test_json_that_is_nested_too_deeply(client: httpx.Client, body: str) -> None:
    for path in ("/v1/models/m:predict", "/v1/models/m:classify", "/v2/models/m/infer"):
        answer = client.post(path, content=body)
        assert answer.status_code == 400 and "64 levels are the limit" in answer.json()["error"]


def test_brackets_and_commas_in_texts_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "MOST_ELEMENTS", 8)
    json_limits.check_json(json.dumps({"a": "[" * 200 + '"' + "," * 200 + "\\", "b": [[1]] * 3}).encode())
    json_limits.check_json(json.dumps([[]] * 8).encode())
    with pytest.raises(InvalidArgumentError, match="more than 8 elements"):
        json_limits.check_json(json.dumps([[]] * 9).encode())


def test_too_many_elements_and_axes(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "MOST_ELEMENTS", 100)
    answer = client.post("/v1/models/m:predict", json={"instances": [[1, 2, 3]] * 40})
    assert answer.status_code == 400 and "more than 100 elements" in answer.json()["error"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1] * 65, "data": [1]}
    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400 and "64 are the limit" in answer.json()["error"]


def test_requests_behind_one_another_are_answered_in_order(port: int) -> None:
    """Some whole, some in parts, some that wait for a thread, one that is too much for a loop."""
    rows = [[[float(number), 1, 2]] * count for number, count in enumerate((1, 2, 5000, 1, 3, 1))]
    requests = []
    for row in rows:
        body = json.dumps({"instances": row}).encode()
        requests.append(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    requests.append(HEAD.replace(b"POST /v1/models/m:predict", b"HEAD /v1/health/live") + b"\r\n")
    requests.append(
        HEAD.replace(b"POST /v1/models/m:predict", b"GET /v1/nothing") + b"Connection: close\r\n\r\n"
    )
    sent = b"".join(requests)
    with socket.create_connection(("127.0.0.1", port)) as client:
        for begin in (0, 10, 300, 5000):
            client.sendall(sent[begin : {0: 10, 10: 300, 300: 5000}.get(begin, len(sent))])
        received = client.makefile("rb").read()
    answers = []
    for number in range(len(requests)):
        head, _, received = received.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if number != len(rows):  # HEAD
            body, received = received[:size], received[size:]
            answers.append(json.loads(body))
    assert received == b"" and b"connection: close" in head.lower()
    for row, answer in zip(rows, answers, strict=False):
        np.testing.assert_allclose(answer["predictions"], np.array(row) @ W, rtol=1e-5, atol=1e-6)
    assert "error" in answers[-1]


HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\n"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"HTTP/1.1 408 "),
        (HEAD[:20], b"HTTP/1.1 408 "),
        (HEAD + b"Content-Length: 10\r\n\r\n{", b"HTTP/1.1 408 "),
        ((HEAD + b"X-Long: ").ljust(connections.LARGEST_HEADERS + 1, b"x"), b"HTTP/1.1 431 "),
    ],
)
def test_slow_and_endless_requests_are_let_go(
    port: int, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    if b" 408 " in answer:
        monkeypatch.setattr(connections, "HEADER_SECONDS", 0.01)
        monkeypatch.setattr(connections, "BODY_SECONDS", 0.01)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        assert connection.recv(1000).startswith(answer)
        assert connection.recv(1000) == b""
    monkeypatch.undo()
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_flood_of_connections_does_not_go_before_those_that_have_come(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    wait: list[bool] = []
    blocked, goes_on = threading.Event(), threading.Event()

    async def application(request: Asked) -> Answer:
        wait.append(knocking(listener))
        if len(wait) == 1:
            asyncio.get_running_loop().call_soon(lambda: (blocked.set(), goes_on.wait()))
        return Answer(b"")

    server = connections.Listener(application)
    server.config.loop = loop
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            early.sendall(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n")
            blocked.wait()
            flood = [socket.create_connection(address) for _ in range(300)]
            early.sendall(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n")
            goes_on.set()
            text = b""
            while text.count(b"200 OK") < 2:
                text += early.recv(1000)
        for connection in flood:
            connection.close()
        server.should_exit = True
        thread.join()
    assert wait == [False, True]


def test_who_does_not_take_answers_is_let_go() -> None:
    class Transport:
        left, aborted = 100, False

        def get_write_buffer_size(self) -> int:
            return self.left

        def abort(self) -> None:
            self.aborted = True

    async def watch() -> None:
        async def nothing(scope: Any, receive: Any, send: Any) -> None:
            pass

        connection = connections.Connection(uvicorn.Config(nothing, log_config=None), ServerState(), {})
        connection.transport = transport = Transport()
        connection.flow = FlowControl(transport)
        connection.pause_writing()
        transport.left = 50
        connection._look_at_going()
        assert not transport.aborted
        connection._look_at_going()  # nothing has been taken since
        assert transport.aborted
        connection.resume_writing()

    asyncio.run(watch())
