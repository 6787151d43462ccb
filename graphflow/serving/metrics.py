"""What the process counts and measures, as Prometheus reads it: TensorFlow Serving's names, and some of our own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from graphflow import errors
from graphflow.errors import OpError
from graphflow.serving.status import NAMES

CONTENT_TYPE = CONTENT_TYPE_LATEST
PATH = "/monitoring/prometheus/metrics"
# The folder in which the processes of one server keep what they count, for whichever of them is asked.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_TF = ":tensorflow:serving:"
_MICROSECONDS = [10 * 1.8**i for i in range(23)]  # to about 4 s, as TensorFlow Serving spaces its buckets
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# What TensorFlow Serving calls the verbs of its interfaces.
API_NAMES = {
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "multi_inference": "MultiInference",
    "infer": "ModelInfer",
}


class Metrics:
    """The counters of a process. Many threads may use them at once.

    Args:
      now: called when somebody reads them; gives `(name, help, labels, rows of (label values, number))` of what is
        not counted but looked at.
    """

    def __init__(
        self,
        now: Callable[[], Sequence[tuple[str, str, list[str], list[tuple[list[str], float]]]]] | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._now = now
        self._children: dict[tuple[Any, ...], Any] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self._registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

        self._requests = counter(
            _TF + "request_count", "Requests, by how they ended.", "model_name", "status"
        )
        self._latency = histogram(
            _TF + "request_latency", "Microseconds of a request in the process.", _MICROSECONDS,
            "model_name", "API", "entrypoint",
        )  # fmt: skip
        self._runtime = histogram(
            _TF + "runtime_latency", "Microseconds in the model, waiting for a batch among them.", _MICROSECONDS,
            "model_name", "API", "runtime",
        )  # fmt: skip
        self._queuing = histogram(
            _TF + "batching_session:queuing_latency", "Microseconds that a batch's oldest request waited.",
            _MICROSECONDS, "model_name", "signature",
        )  # fmt: skip
        self._rows = histogram(
            "graphflow_serving_batch_rows", "Rows of a run.", _ROWS, "model_name", "signature"
        )
        self._together = histogram(
            "graphflow_serving_batch_requests", "Requests of a run.", _ROWS, "model_name", "signature"
        )
        self._padding = counter(
            "graphflow_serving_padding_rows", "Rows that only filled a batch up.", "model_name", "signature"
        )
        self._turned_away = counter(
            "graphflow_serving_turned_away", "Requests turned away because of too many.", "model_name"
        )
        self._loads = counter("graphflow_serving_loads", "Versions loaded, or not.", "model_name", "outcome")

    def request(self, model: str, api: str, entrypoint: str) -> AbstractContextManager[None]:
        """Counts what happens in the context as one request.

        Args:
          model: the model's name.
          api: a key of `API_NAMES`.
          entrypoint: "REST" or "GRPC".
        """
        return _Counted(self, model, api, entrypoint)

    def ended(self, seconds: float, code: int, model: str, api: str, entrypoint: str) -> None:
        """Counts a request that took so long and ended so; the rest is what `request` takes."""
        # Whoever asks for models that are not there must not fill the memory with their names.
        shown = "" if code == errors.NOT_FOUND else model
        self._child(self._requests, shown, NAMES[code]).inc()
        if code in (errors.RESOURCE_EXHAUSTED, errors.UNAVAILABLE):
            self._child(self._turned_away, shown).inc()
        self._child(self._latency, shown, API_NAMES[api], entrypoint).observe(1e6 * seconds)

    def _child(self, metric: Any, *labels: str) -> Any:
        """What counts under these labels, which are few: names of models that are there, of signatures and outcomes."""
        key = (metric, *labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

    # What a model reports of its runs (`model.Observer`).

    def ran(self, model: str, seconds: float) -> None:
        """Counts the time that a request has spent in the model."""
        self._child(self._runtime, model, "Predict", "graphflow").observe(1e6 * seconds)

    def batched(
        self, model: str, signature: str, rows: int, padded: int, requests: int, waited: float
    ) -> None:
        """Counts one run of a batch."""
        self._child(self._queuing, model, signature).observe(1e6 * waited)
        self._child(self._rows, model, signature).observe(rows)
        self._child(self._together, model, signature).observe(requests)
        if padded > rows:
            self._padding.labels(model, signature).inc(padded - rows)

    def loaded(self, model: str, outcome: str) -> None:
        """Counts a version that was loaded, or failed to be."""
        self._loads.labels(model, outcome).inc()

    def text(self) -> bytes:
        """Returns all of it in Prometheus' text format."""
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        state = CollectorRegistry()
        state.register(_State(self._now))
        # Counters of Prometheus end in _total; TensorFlow Serving's, which dashboards ask for, do not.
        name = f"{_TF}request_count".encode()
        counted = generate_latest(registry).replace(name + b"_total", name)
        return counted + generate_latest(state)


class _Counted(AbstractContextManager[None]):
    """`Metrics.request`; a generator would take several times as long, for each request."""

    __slots__ = ("_begin", "_metrics", "_what")

    def __init__(self, metrics: Metrics, *what: str) -> None:
        self._metrics = metrics
        self._what = what

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        code = errors.OK
        if error is not None and not isinstance(error, Exception):
            code = errors.CANCELLED  # the task that answers it ends
        elif error is not None:
            code = error.error_code if isinstance(error, OpError) else errors.INTERNAL
        self._metrics.ended(time.perf_counter() - self._begin, code, *self._what)


class _State:
    """What is looked at when somebody reads it."""

    def __init__(self, now: Any) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        for name, text, labels, rows in self._now() if self._now is not None else ():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in rows:
                family.add_metric(values, number)
            yield family
