"""OpenTelemetry's spans of requests, where its environment variables ask for them; else nothing of it is loaded.

A request has a span, a child of the one that its `traceparent` names, and below that spans for the time in the queue,
for the batch that it was in and for the run.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from graphflow.errors import InvalidArgumentError, OpError
from graphflow.serving.status import NAMES

# OpenTelemetry's own variables; any of the second kind asks for spans.
_DISABLED, _EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP = {"http/protobuf": "http", "grpc": "grpc"}

# Nanoseconds from the moment that `time.monotonic` counts from to the beginning of 1970.
_EPOCH = time.time_ns() - time.monotonic_ns()

_current: ContextVar[Journey | None] = ContextVar("graphflow_journey", default=None)


def journey() -> Journey | None:
    """Returns the request that this thread, or coroutine, is about; None where nobody asks for spans."""
    return _current.get()


class Journey:
    """What is known of a request's way through the process."""

    def __init__(self, tracer: Any, context: Any) -> None:
        self._tracer, self._context = tracer, context

    def passed(self, name: str, begin: float, end: float, **attributes: Any) -> None:
        """Tells of a part of the way, from one moment (`time.monotonic()`) to another."""
        span = self._tracer.start_span(
            name, self._context, start_time=_EPOCH + int(1e9 * begin), attributes=attributes
        )
        span.end(_EPOCH + int(1e9 * end))

    def ran(
        self, begun: float, begin: float, end: float, batch: tuple[float, float, int, int] | None = None
    ) -> None:
        """Tells of a run.

        Args:
          begun: when the request began to wait for it.
          begin, end: when it ran.
          batch: when the batch was made and taken apart, its requests and its rows; None for what ran alone.
        """
        if batch is None:
            self.passed("queue", begun, begin)
        else:
            self.passed("queue", begun, batch[0])
            self.passed("batch", batch[0], batch[1], requests=batch[2], rows=batch[3])
        self.passed("run", begin, end)


class Tracing:
    """Makes spans.

    Args:
      provider: OpenTelemetry's TracerProvider.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import propagate, trace

        self._provider, self._extract, self._trace = provider, propagate.extract, trace
        self._tracer = provider.get_tracer("graphflow.serving")

    @contextlib.contextmanager
    def request(
        self, name: str, headers: Mapping[str, Sequence[str] | str], **attributes: Any
    ) -> Iterator[Any]:
        """The span of a request for the time of the context; gives what takes further attributes.

        Args:
          name: what it asks for.
          headers: those of the request; `traceparent` names the span that it belongs to.
          attributes: what is known of it.
        """
        kind = self._trace.SpanKind.SERVER
        span = self._tracer.start_span(name, self._extract(headers), kind, attributes)
        token = _current.set(Journey(self._tracer, self._trace.set_span_in_context(span)))
        try:
            yield span
        except OpError as error:
            span.set_status(self._trace.StatusCode.ERROR, f"{NAMES[error.error_code]}: {error.message}")
            raise
        except BaseException as error:
            span.set_status(self._trace.StatusCode.ERROR, repr(error))
            raise
        finally:
            _current.reset(token)
            span.end()

    def close(self) -> None:
        """Sends what has not been sent."""
        self._provider.shutdown()


def configured(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Returns what makes spans, None where OpenTelemetry's variables ask for none.

    `OTEL_TRACES_EXPORTER` is "otlp" (default where there is an endpoint), "console" or "none"; the library itself reads
    the others, such as `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` and `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
      InvalidArgumentError: for an exporter that is not known, or not installed.
    """
    name = environment.get(_EXPORTER, "otlp" if any(environment.get(key) for key in _ENDPOINTS) else "none")
    if environment.get(_DISABLED, "").lower() == "true" or name in ("", "none"):
        return None
    protocol = next((environment[key] for key in _PROTOCOLS if environment.get(key)), "http/protobuf")
    if name not in ("otlp", "console") or protocol not in _OTLP:
        raise InvalidArgumentError(None, None, f"{_EXPORTER} {name!r} over {protocol!r} is not known")
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        exporter: Any = ConsoleSpanExporter
        if name == "otlp":
            module = f"opentelemetry.exporter.otlp.proto.{_OTLP[protocol]}.trace_exporter"
            exporter = importlib.import_module(module).OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise InvalidArgumentError(
            None,
            None,
            f'spans are asked for, and {error.name} is not installed; pip install "graphflow[telemetry]"',
        ) from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    return Tracing(provider)
