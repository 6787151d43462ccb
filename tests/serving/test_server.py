"""The serving process: TensorFlow Serving's paths, codes and bodies, and a clean end on SIGTERM."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from graphflow.errors import InvalidArgumentError, NotFoundError
from graphflow.serving.client import Client
from graphflow.serving.manager import ModelManager
from graphflow.serving.model import Model
from graphflow.serving.server import ServerOptions, serve
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from tests.serving.models import W, rest, save_model, under_way, wait_until_closed


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "1")
    save_model(folder / "12", scale=2.0)
    (folder / "not-a-version").mkdir()
    return folder


@pytest.fixture(scope="module")
def service(base: Path) -> Iterator[Service]:
    models = ModelManager([ModelConfig("m", str(base), labels={"stable": 12})], poll_seconds=0)
    models.start()
    yield Service(models)
    models.close()


@pytest.fixture(scope="module")
def model(service: Service) -> Iterator[Model]:
    with service.models.hold("m") as model:
        yield model


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with (
        rest(service) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None) as client,
    ):
        yield client


def test_model_runs_without_http(model: Model) -> None:
    x = np.ones((2, 3), np.float32)
    got = model.run("", {"x": x})
    np.testing.assert_array_equal(got["y"], model.run("total", {"x": x})["y"])
    np.testing.assert_allclose(got["y"], x @ (2 * W), rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match=r"Sent extra: \{z\}. Missing but required: \{x\}"):
        model.run("", {"z": x})
    with pytest.raises(InvalidArgumentError, match="Cannot feed value of shape"):
        model.run("", {"x": np.ones((2, 4), np.float32)})


def test_predict(client: httpx.Client, model: Model) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    want = model.run("", {"x": x})["y"]
    row = client.post("/v1/models/m:predict", content=json.dumps({"instances": x.tolist()}))
    assert row.status_code == 200 and row.headers["content-type"] == "application/json"
    assert np.array(row.json()["predictions"], np.float32).tobytes() == want.tobytes()
    column = client.post("/V1/Models/m/versions/12:Predict", json={"inputs": {"x": x.tolist()}})
    assert np.array(column.json()["outputs"], np.float32).tobytes() == want.tobytes()
    several = client.post("/v1/models/m:predict", json={"signature_name": "total", "inputs": x.tolist()})
    assert several.json()["outputs"].keys() == {"total", "y"}


def test_classify_and_regress(client: httpx.Client) -> None:
    rows = [[1.0, 2.0, 3.0], [0.5, 0.25, -1.0]]
    scores = np.exp(np.float32(rows) @ (2 * W))
    scores /= scores.sum(1, keepdims=True)
    body = {"signature_name": "classify", "examples": [{"x": row} for row in rows]}
    found = client.post("/v1/models/m:classify", json=body).json()["results"]
    assert [[label for label, _ in classes] for classes in found] == [["left", "right"]] * 2
    np.testing.assert_allclose([[score for _, score in classes] for classes in found], scores, rtol=1e-5)
    # What all examples share stands in the context; an example's own feature wins.
    body = {"signature_name": "regress", "context": {"x": rows[0]}, "examples": [{}, {"x": rows[1]}]}
    found = client.post("/v1/models/m/labels/stable:regress", json=body).json()["results"]
    np.testing.assert_allclose(found, scores[:, 0], rtol=1e-5)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(client: httpx.Client) -> None:
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=10
    ) as connection:
        head = "POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 99999999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/n:predict", {}, 404, "Servable not found for request: Latest(n)"),
        ("POST", "/v1/models/m/versions/3:predict", {}, 404, "Servable not found for request: Specific(m, 3)"),
        ("POST", "/v1/models/m/labels/new:predict", {}, 400, "Unrecognized servable version label: new"),
        ("POST", "/v1/models/m/versions/99999999999999999999:predict", {}, 400, "to numeric"),
        ("POST", "/v1/models/m:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "/v1/models/m:predict", {"signature_name": "s", "inputs": 1}, 400,
         'Serving signature name: "s" not found in signature def'),
        ("POST", "/v1/models/m:predict", {"signature_name": 3}, 400, "'signature_name' key must be a string"),
        ("POST", "/v1/models/m:predict", {"instances": [[1, 2]]}, 400, "Cannot feed value of shape (1, 2)"),
        ("POST", "/v1/models/m:predict", {"signature_name": "total", "instances": [[1, 2, 3]]}, 400,
         "has no shape information"),
        ("POST", "/v1/models/m:classify", {}, 400, "key 'examples' is expected"),
        ("POST", "/v1/models/m:classify", {"examples": []}, 400, "empty array"),
        ("POST", "/v1/models/m:classify", {"examples": [{"x": [1, "a"]}]}, 400, "of one kind"),
        ("POST", "/v1/models/m:classify", {"examples": [{"x": 1}]}, 400,
         "method_name to be tensorflow/serving/classify. Was: tensorflow/serving/predict"),
        ("GET", "/v1/models/m:predict", None, 400, "Malformed request: GET /v1/models/m:predict"),
        ("POST", "/v1/models/m", {}, 400, "Malformed request: POST /v1/models/m"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/n", None, 404, "Could not find any versions of model n"),
        ("GET", "/v1/models/m/versions/3", None, 404, "Could not find version 3 of model m"),
        ("GET", "/v1/models/n/metadata", None, 404, "Servable not found for request: Latest(n)"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("DELETE", "/v1/models/m", None, 400, "Malformed request: DELETE /v1/models/m"),
    ],
)  # fmt: skip
def test_refusals(client: httpx.Client, method: str, path: str, body: Any, status: int, text: str) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"] and text in answer.json()["error"]


def test_status_metadata_and_health(client: httpx.Client, service: Service) -> None:
    assert client.get("/v1/models/m").json() == {
        "model_version_status": [
            {"version": "12", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    metadata = client.get("/v1/models/m/versions/12/metadata").json()
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "12"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"] == {
        "x": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}],
                "unknown_rank": False,
            },
            "name": "x:0",
        }
    }
    assert signature["method_name"] == "tensorflow/serving/predict"
    for path in ("/healthz", "/v1/health/ready", "/v1/health/live"):
        assert client.get(path).status_code == 200
    service.draining = True
    try:
        assert client.get("/v1/health/ready").status_code == 503
        assert client.get("/v1/health/live").status_code == 200
    finally:
        service.draining = False


def test_many_threads(client: httpx.Client, model: Model) -> None:
    wrong: list[str] = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(1 + seed % 3, 3)).astype(np.float32)
        want = model.run("", {"x": x})["y"]
        for _ in range(5):
            answer = client.post("/v1/models/m:predict", json={"instances": x.tolist()}).json()
            if not np.array_equal(np.array(answer["predictions"], np.float32), want):
                wrong.append(str(seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


PROGRAM = """
import sys
from graphflow.serving.server import ModelConfig, ServerOptions, serve
serve(ServerOptions([ModelConfig("m", sys.argv[1])], rest_port=0))
"""


@pytest.fixture
def process(base: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(base)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert "serving version 12" in line, server.communicate()[1]
            port = int(line.rsplit(":", 1)[1].split("/")[0])
            with Client(port=port, model_name="m") as client:
                client.wait_until_ready()
                yield server, client
        finally:
            server.kill()


def test_process_serves_and_ends(process: tuple[subprocess.Popen[str], Client], model: Model) -> None:
    server, client = process
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    got = np.array(client.predict(instances=x), np.float32)
    assert got.tobytes() == model.run("", {"x": x})["y"].tobytes()
    assert client.status()["model_version_status"][0]["version"] == "12"
    assert "serving_default" in client.metadata()["metadata"]["signature_def"]["signature_def"]
    assert np.isnan(client.predict(inputs={"x": [[np.nan, 0, 0]]})[0]).all()
    with pytest.raises(InvalidArgumentError, match="HTTP 400: Missing"):
        client.request("POST", "/v1/models/m:predict", {})
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
    assert server.stderr is not None and server.stderr.read() == ""
    assert not client.is_ready()


def test_requests_under_way_are_finished(process: tuple[subprocess.Popen[str], Client]) -> None:
    server, client = process
    body = json.dumps({"instances": np.ones((100_000, 3)).tolist()}).encode()
    connection = under_way(client._connection.port, len(body))
    server.send_signal(signal.SIGTERM)
    connection.send(body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 200 and len(answer["predictions"]) == 100_000
    assert server.wait(20) == 0


def test_a_second_signal_does_not_wait(process: tuple[subprocess.Popen[str], Client]) -> None:
    server, client = process
    port = client._connection.port
    connection = under_way(port, 10)
    server.send_signal(signal.SIGTERM)
    wait_until_closed(port)
    assert server.poll() is None
    server.send_signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    connection.close()


def test_a_taken_port_and_a_missing_model_are_said(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        serve(ServerOptions([ModelConfig("m", str(tmp_path))], rest_port=0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="cannot listen at 127.0.0.1:"):
            serve(ServerOptions([ModelConfig("m", str(base))], rest_port=taken.getsockname()[1]))
