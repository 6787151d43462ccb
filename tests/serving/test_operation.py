"""What whoever runs the process sees of it: metrics, logs, the OpenAPI document; and what too many requests get."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from graphflow import errors
from graphflow.serving import logs, openapi
from graphflow.serving.batching import Batcher
from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.manager import ModelManager
from graphflow.serving.metrics import Metrics
from graphflow.serving.model import Model
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving.models import rest, save_model

X = [[1.0, 2.0, 3.0]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    base = tmp_path_factory.mktemp("models")
    save_model(base / "3")
    metrics = Metrics(lambda: models.state())

    def load(path: str, name: str, version: int) -> Model:
        return Model(path, name, version, observer=metrics)

    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0, load=load, loaded=metrics.loaded)
    models.start()
    yield Service(models, metrics)
    models.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with (
        rest(service) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None) as client,
    ):
        yield client


def counted(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """The samples, by name and the values of labels, which stand in the order of their names."""
    text = client.get("/monitoring/prometheus/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_under_tensorflow_servings_names(client: httpx.Client, service: Service) -> None:
    import grpc

    from graphflow.serialization.proto import prediction_service_pb2
    from graphflow.serialization.tensor_proto import array_to_proto

    before = counted(client)
    for _ in range(3):
        assert client.post("/v1/models/m:predict", json={"instances": X}).status_code == 200
    client.post("/v1/models/m:predict", json={"instances": [[1]]})
    client.post("/v1/models/nobody:predict", json={"instances": X})
    listener = GrpcServer(services(service), "127.0.0.1", 0)
    listener.start()
    request = prediction_service_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(array_to_proto(np.array(X, np.float32)))
    with grpc.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request.SerializeToString())
    listener.stop(1)
    after = counted(client)

    def grown(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    tf = ":tensorflow:serving:"
    text = client.get("/monitoring/prometheus/metrics").text
    assert f'{tf}request_count{{model_name="m",status="OK"}} ' in text
    assert grown(f"{tf}request_count_total", "m", "OK") == 4  # the parser's name for it
    assert grown(f"{tf}request_count_total", "m", "INVALID_ARGUMENT") == 1
    assert grown(f"{tf}request_count_total", "", "NOT_FOUND") == 1  # what clients ask for makes no labels
    assert grown(f"{tf}request_latency_count", "Predict", "REST", "m") == 4
    assert grown(f"{tf}request_latency_count", "Predict", "GRPC", "m") == 1
    assert grown(f"{tf}runtime_latency_count", "Predict", "m", "graphflow") == 4
    assert grown(f"{tf}batching_session:queuing_latency_count", "m", "serving_default") == 4
    assert grown("graphflow_serving_batch_rows_sum", "m", "serving_default") == 4
    assert after["graphflow_serving_version_state", "m", "AVAILABLE", "3"] == 1
    assert after["graphflow_serving_loads_total", "m", "ok"] == 1


def test_processes_count_together_and_the_dead_count_on(tmp_path: Path) -> None:
    for process in range(2):
        metrics = Metrics(folder=str(tmp_path))
        for number in range(150):  # more than one file holds
            metrics.batched(f"model {number}", "é" * 300, 3, 4, 2, 1e-5)
        metrics.ended(0.5 + process, errors.UNAVAILABLE, "m", "infer", "GRPC")
    assert len(list(tmp_path.iterdir())) > 2
    (tmp_path / "torn").write_bytes(b'0 [0, "m", "O')  # of a process that is about to write it
    text, kind = metrics.text()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert "text/plain" in kind
    assert samples["graphflow_serving_turned_away_total", "m"] == 2
    assert samples[":tensorflow:serving:request_latency_sum", "ModelInfer", "GRPC", "m"] == 2e6
    buckets = [
        value for key, value in samples.items() if key[0] == ":tensorflow:serving:request_latency_bucket"
    ]
    assert buckets[0] == 0 and buckets == sorted(buckets) and buckets[-1] == 2
    for number in range(150):
        assert samples["graphflow_serving_batch_rows_bucket", "4.0", f"model {number}", "é" * 256] == 2
        assert samples["graphflow_serving_padding_rows_total", f"model {number}", "é" * 256] == 2


def test_too_many_requests_are_turned_away_at_once_but_health_and_metrics_answer(
    client: httpx.Client, service: Service
) -> None:
    most, service.most_requests = service.most_requests, 0
    try:
        answer = client.post("/v1/models/m:predict", json={"instances": X})
        assert answer.status_code == 429 and "try again" in answer.json()["error"]
        assert client.get("/healthz").status_code == 200
        assert counted(client)
    finally:
        service.most_requests = most
    assert client.post("/v1/models/m:predict", json={"instances": X}).status_code == 200
    assert service.requests == 0


def test_where_the_queue_is_full_nobody_looks_at_what_a_body_says(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batcher, "queued", 1)
    monkeypatch.setattr(Batcher, "turn_away", _full)
    for path in ("/v1/models/m:predict", "/v2/models/m/infer"):
        answer = client.post(path, content=b"{")
        assert answer.status_code == 503 and answer.json() == {"error": "full"}
        # Another signature may have another queue, or none.
        assert client.post(path, content=b'{"signature_name').status_code == 400


def _full(batcher: Batcher, deadline: float | None) -> None:
    raise errors.UnavailableError(None, None, "full")


@pytest.mark.parametrize(
    ("seconds", "status"), [("0", 504), ("60", 200), ("soon", 400), ("-1", 400), ("nan", 400)]
)
def test_a_clients_patience(client: httpx.Client, seconds: str, status: int) -> None:
    headers = {"X-Request-Timeout": seconds}
    assert client.post("/v1/models/m:predict", json={"instances": X}, headers=headers).status_code == status
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": X}
    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor]}, headers=headers)
    assert answer.status_code == status


def test_request_ids_and_log_lines(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "graphflow.serving.access")
    body = {"inputs": 3}
    answer = client.post("/v1/models/m:predict", json=body, headers={"X-Request-Id": "trace-1"})
    assert answer.headers["x-request-id"] == "trace-1"
    made = client.get("/v1/models/m", headers={"X-Request-Id": "two words"}).headers["x-request-id"]
    assert len(made) == 32
    first, second = (json.loads(logs.JsonLines().format(record)) for record in caplog.records[:2])
    assert (first["request_id"], first["method"], first["path"], first["status"]) == (
        "trace-1", "POST", "/v1/models/m:predict", 400,
    )  # fmt: skip
    assert "Cannot feed value of shape" in first["error"] and first["seconds"] >= 0
    assert second["request_id"] == made and second["status"] == 200 and "error" not in second


def test_the_openapi_document_names_what_is_there(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    values = {"{name}": "m", "{version}": "3", "{label}": "none"}
    for path, methods in document["paths"].items():
        for old, new in values.items():
            path = path.replace(old, new)
        for method, operation in methods.items():
            answer = client.request(method, path, content=b"")
            assert str(answer.status_code) in operation["responses"], (method, path, answer.text)
            assert answer.status_code != 404 and "Malformed" not in answer.text
    text = json.dumps(document)
    assert all(f'"{name.rsplit("/", 1)[1]}"' in text for name in _references(document))
    assert openapi.document() == document


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


def test_logs_are_set_up_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("graphflow.serving")
    before = (logger.handlers[:], logger.propagate, logger.level, logs.ACCESS.level)
    others = [logging.getLogger(name) for name in ("uvicorn", "asyncio")]
    theirs = [(other.handlers[:], other.propagate) for other in others]
    try:
        logs.configure(as_json=True, access=True)
        logs.configure(as_json=True, access=True)
        logs.access("a", "GET", "/", 200, 0.5)
        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line)["seconds"] == 0.5
    finally:
        for other, (handlers, propagate) in zip(others, theirs, strict=True):
            other.handlers[:], other.propagate = handlers, propagate
        logger.handlers[:], logger.propagate = before[:2]
        logger.setLevel(before[2])
        logs.ACCESS.setLevel(before[3])
