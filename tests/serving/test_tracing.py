"""Spans: a request, what it waits for and what it runs in, below the span that its sender names."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
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
HEADERS = {"traceparent": TRACEPARENT, "X-Request-Id": "trace-1"}


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
            connection.request("POST", "/v1/models/m:predict", body, HEADERS)
            connection.getresponse().read()
            return list(traced[1].get_finished_spans())

        whole = check(ask(BODY), "POST predict", {"queue", "batch", "run"})
        assert whole.attributes == {
            "url.path": "/v1/models/m:predict", "graphflow.request_id": "trace-1", "http.response.status_code": 200,
        }  # fmt: skip
        assert whole.kind.name == "SERVER"
        alone = BODY.replace(b'"instances"', b'"signature_name": "total", "inputs"')
        check(ask(alone), "POST predict", {"queue", "run"})
        wrong = check(ask(b"{}"), "POST predict", set())
        assert wrong.status.description == "INVALID_ARGUMENT: Missing 'inputs' or 'instances' key"
        connection.close()


def ask_over_grpc(models: ModelManager, made: tracing.Tracing) -> None:
    server = GrpcServer(services(Service(models)), "127.0.0.1", 0, tracing=made)
    server.start()
    request = prediction_service_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(array_to_proto(X))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        call(request.SerializeToString(), metadata=[("traceparent", TRACEPARENT)])
    server.stop(10)


def test_over_grpc(models: ModelManager, traced: tuple[tracing.Tracing, Any]) -> None:
    ask_over_grpc(models, traced[0])
    spans = list(traced[1].get_finished_spans())
    check(spans, "tensorflow.serving.PredictionService/Predict", {"queue", "batch", "run"})


@contextlib.contextmanager
def collecting_over_http(take: Callable[[bytes], bytes]) -> Iterator[int]:
    """A collector that speaks OTLP over HTTP; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            right = (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            answer = take(body) if right else b""
            self.send_response(200 if right else 400)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def collecting_over_grpc(take: Callable[[bytes], bytes]) -> Iterator[int]:
    """A collector that speaks OTLP over gRPC; gives its port."""
    method = grpc.unary_unary_rpc_method_handler(lambda body, _: take(body))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("protocol", "collecting"), [("http/protobuf", collecting_over_http), ("grpc", collecting_over_grpc)]
)
def test_spans_arrive_at_a_collector(
    models: ModelManager, monkeypatch: pytest.MonkeyPatch, protocol: str, collecting: Any
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto." + protocol.partition("/")[0])
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    got: list[Any] = []

    def take(body: bytes) -> bytes:
        got.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        return trace_service_pb2.ExportTraceServiceResponse().SerializeToString()

    with collecting(take) as port:
        for name, value in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}"), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"), ("OTEL_SERVICE_NAME", "digits"),
            ("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        made = tracing.configured()
        assert made is not None
        with rest(Service(models, tracing=made)) as served:
            connection = http.client.HTTPConnection("127.0.0.1", served)
            connection.request("POST", "/v1/models/m:predict", BODY, HEADERS)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers["X-Request-Id"] == "trace-1"
            answer.read()
            connection.close()
        ask_over_grpc(models, made)
        made.close()
    resources = [part for request in got for part in request.resource_spans]
    named = {item.key: item.value.string_value for part in resources for item in part.resource.attributes}
    assert named["service.name"] == "digits"
    spans = [span for part in resources for scope in part.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert len({span.span_id for span in spans}) == len(spans) == 8
    whole = {span.name: span for span in spans if span.parent_span_id.hex() == PARENT}
    assert whole.keys() == {"POST predict", "tensorflow.serving.PredictionService/Predict"}
    for above in whole.values():
        below = [span for span in spans if span.parent_span_id == above.span_id]
        assert sorted(span.name for span in below) == ["batch", "queue", "run"]
        assert above.kind == above.SPAN_KIND_SERVER
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in [above, *below])
    told = {item.key: item.value.string_value for item in whole["POST predict"].attributes}
    assert told["graphflow.request_id"] == "trace-1" and told["url.path"] == "/v1/models/m:predict"


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
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidArgumentError, match=r"pip install \"graphflow\[telemetry\]\""):
        tracing.configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})


def test_nothing_is_loaded_where_nobody_asks(fresh_python: Callable[..., str]) -> None:
    program = "import sys, graphflow.serving.server; print('opentelemetry' in sys.modules)"
    assert fresh_python(program) == "False\n"
