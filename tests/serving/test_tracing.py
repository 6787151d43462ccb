"""Spans: a request, what it waits for and what it runs in, below the span that its sender names."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from graphflow.errors import InvalidArgumentError
from graphflow.serialization.proto import prediction_service_pb2
from graphflow.serialization.tensor_proto import array_to_proto
from graphflow.serving import tracing
from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.manager import ModelManager
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving.models import rest, save_model
from tests.serving.process import BODY, X

pytest.importorskip("opentelemetry.sdk")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelManager]:
    base: Path = tmp_path_factory.mktemp("models")
    save_model(base / "1")
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0)
    models.start()
    yield models
    models.close()


@pytest.fixture
def traced() -> Iterator[tuple[tracing.Tracing, Any]]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = tracing.Tracing(provider)
    yield made, exporter
    made.close()


def check(spans: list[Any], name: str, parts: set[str]) -> Any:
    """All parts lie below the request, and the request below its sender's span."""
    by_name = {span.name: span for span in spans}
    assert by_name.keys() == {name, *parts}
    whole = by_name[name]
    assert f"{whole.context.trace_id:032x}" == TRACE and f"{whole.parent.span_id:016x}" == PARENT
    for part in parts:
        span = by_name[part]
        assert (
            span.parent.span_id == whole.context.span_id and span.context.trace_id == whole.context.trace_id
        )
        assert span.start_time <= span.end_time
    if "batch" in parts:
        assert by_name["batch"].attributes == {"requests": 1, "rows": 2}
        assert by_name["batch"].start_time <= by_name["run"].start_time
    return whole


def test_over_rest(models: ModelManager, traced: tuple[tracing.Tracing, Any]) -> None:
    with rest(Service(models, tracing=traced[0])) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask(body: bytes) -> list[Any]:
            traced[1].clear()
            connection.request("POST", "/v1/models/m:predict", body, {"traceparent": TRACEPARENT})
            connection.getresponse().read()
            return list(traced[1].get_finished_spans())

        whole = check(ask(BODY), "POST predict", {"queue", "batch", "run"})
        assert whole.attributes == {"url.path": "/v1/models/m:predict", "http.response.status_code": 200}
        assert whole.kind.name == "SERVER"
        alone = BODY.replace(b'"instances"', b'"signature_name": "total", "inputs"')
        check(ask(alone), "POST predict", {"queue", "run"})
        wrong = check(ask(b"{}"), "POST predict", set())
        assert wrong.status.description == "INVALID_ARGUMENT: Missing 'inputs' or 'instances' key"
        connection.close()


def test_over_grpc(models: ModelManager, traced: tuple[tracing.Tracing, Any]) -> None:
    server = GrpcServer(services(Service(models)), "127.0.0.1", 0, tracing=traced[0])
    server.start()
    request = prediction_service_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(array_to_proto(X))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        call(request.SerializeToString(), metadata=[("traceparent", TRACEPARENT)])
    server.stop(10)
    spans = list(traced[1].get_finished_spans())
    check(spans, "tensorflow.serving.PredictionService/Predict", {"queue", "batch", "run"})


def test_opentelemetrys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ({}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"},
                        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}):  # fmt: skip
        assert tracing.configured(environment) is None
    made = tracing.configured({"OTEL_TRACES_EXPORTER": "console"})
    assert made is not None
    made.close()
    for name in ("zipkin", "jaeger"):
        with pytest.raises(InvalidArgumentError, match="is not known"):
            tracing.configured({"OTEL_TRACES_EXPORTER": name})
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter", None)
    with pytest.raises(InvalidArgumentError, match=r"pip install \"graphflow\[telemetry\]\""):
        tracing.configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})


def test_nothing_is_loaded_where_nobody_asks(fresh_python: Callable[..., str]) -> None:
    program = "import sys, graphflow.serving.server; print('opentelemetry' in sys.modules)"
    assert fresh_python(program) == "False\n"
