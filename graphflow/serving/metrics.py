"""What the process counts and measures, as Prometheus reads it: TensorFlow Serving's names, and some of our own."""

from __future__ import annotations

import json
import logging
import math
import mmap
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphflow import errors
from graphflow.errors import OpError
from graphflow.records import dataclass
from graphflow.serving.status import NAMES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_log = logging.getLogger("graphflow.serving")

PATH = "/monitoring/prometheus/metrics"

_TF = ":tensorflow:serving:"
_MICROSECONDS = tuple(
    10 * 1.8**i for i in range(23)
)  # to about 4 s, as TensorFlow Serving spaces its buckets
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, eq=False, slots=True)
class _Kind:
    """What is counted under one name.

    Attributes:
      name: its name.
      text: what it is.
      labels: the names of its labels.
      bounds: the upper bounds of a histogram's buckets; empty for a counter.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


_REQUESTS = _Kind(_TF + "request_count", "Requests, by how they ended.", ("model_name", "status"))
_LATENCY = _Kind(
    _TF + "request_latency", "Microseconds of a request in the process.", ("model_name", "API", "entrypoint"),
    _MICROSECONDS,
)  # fmt: skip
_RUNTIME = _Kind(
    _TF + "runtime_latency", "Microseconds in the model, waiting for a batch among them.",
    ("model_name", "API", "runtime"), _MICROSECONDS,
)  # fmt: skip
_QUEUING = _Kind(
    _TF + "batching_session:queuing_latency", "Microseconds that a batch's oldest request waited.",
    ("model_name", "signature"), _MICROSECONDS,
)  # fmt: skip
_BATCH_ROWS = _Kind("graphflow_serving_batch_rows", "Rows of a run.", ("model_name", "signature"), _ROWS)
_TOGETHER = _Kind(
    "graphflow_serving_batch_requests", "Requests of a run.", ("model_name", "signature"), _ROWS
)
_PADDING = _Kind(
    "graphflow_serving_padding_rows", "Rows that only filled a batch up.", ("model_name", "signature")
)
_TURNED_AWAY = _Kind(
    "graphflow_serving_turned_away", "Requests turned away because of too many.", ("model_name",)
)
_LOADS = _Kind("graphflow_serving_loads", "Versions loaded, or not.", ("model_name", "outcome"))
_KINDS = (
    _REQUESTS, _LATENCY, _RUNTIME, _QUEUING, _BATCH_ROWS, _TOGETHER, _PADDING, _TURNED_AWAY, _LOADS,
)  # fmt: skip

# What TensorFlow Serving calls the verbs of its interfaces.
API_NAMES = {
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "multi_inference": "MultiInference",
    "infer": "ModelInfer",
}


# A block of counts: so many bytes of names, so many numbers.
_NAMES, _NUMBERS = 1 << 15, 1 << 12
_LONGEST_LABEL = 256


class _Block:
    """Room for what is counted: lines of names, each with the place of its numbers, and the numbers.

    Args:
      path: the file that it is in, for other processes to read; None is memory of our own.

    Raises:
      OSError: if there is no room for it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        size = _NAMES + 8 * _NUMBERS
        memory: Any = bytearray(size)
        if path is not None:
            with path.open("w+b") as file:
                # Where the disk is full, this says so: writing to pages that are not there ends the process.
                os.posix_fallocate(file.fileno(), 0, size)
                memory = mmap.mmap(file.fileno(), size)
        self._memory = memoryview(memory)
        self.numbers = self._memory[_NAMES:].cast("d")
        self._named = self._used = 0

    def take(self, name: bytes, count: int) -> int | None:
        """Returns where there is room for so many numbers, None if there is none."""
        line = b"%d %b" % (self._used, name)
        if self._named + len(line) >= _NAMES or self._used + count > _NUMBERS:
            return None
        self._memory[self._named : self._named + len(line)] = line
        self._named += len(line)
        self._memory[self._named] = ord("\n")  # whoever reads takes whole lines
        self._named += 1
        self._used += count
        return self._used - count

    def content(self) -> bytes:
        """Returns all of it."""
        return bytes(self._memory)


def _counted(block: bytes) -> Iterator[tuple[_Kind, tuple[str, ...], Sequence[float]]]:
    """What is counted in a block: of what, under which labels, and the numbers."""
    numbers = memoryview(block)[_NAMES:].cast("d")
    for line in block[:_NAMES].split(b"\n")[:-1]:
        at, _, name = line.partition(b" ")
        which, *labels = json.loads(name)
        kind = _KINDS[which]
        yield kind, tuple(labels), numbers[int(at) : int(at) + _places(kind)].tolist()


def _places(kind: _Kind) -> int:
    return len(kind.bounds) + 2 if kind.bounds else 1


class _Series:
    """Counts of one kind under the same labels: a number, or those of the buckets and the sum of all."""

    __slots__ = ("_at", "_bounds", "_numbers", "_sum")

    def __init__(self, kind: _Kind, numbers: memoryview[float], at: int) -> None:
        self._bounds, self._numbers, self._at = kind.bounds, numbers, at
        self._sum = at + len(kind.bounds) + 1

    def add(self, number: float) -> None:
        """Counts so many."""
        self._numbers[self._at] += number

    def observe(self, number: float) -> None:
        """Counts one that is so large."""
        self._numbers[self._at + bisect_left(self._bounds, number)] += 1.0
        self._numbers[self._sum] += number


class Metrics:
    """The counters of a process. Many threads may use them at once.

    Args:
      now: called when somebody reads them; gives `(name, help, labels, rows of (label values, number))` of what is
        not counted but looked at.
      folder: where the processes of one server keep what they count, for whichever of them is asked; None where
        there is this one only.
    """

    def __init__(
        self,
        now: Callable[[], Sequence[tuple[str, str, list[str], list[tuple[list[str], float]]]]] | None = None,
        folder: str | None = None,
    ) -> None:
        self._now = now
        self._folder = None if folder is None else Path(folder)
        self._lock = threading.Lock()
        self._blocks: list[_Block] = []
        self._series: dict[tuple[Any, ...], _Series] = {}
        # What belongs together, by what is told.
        self._ended: dict[tuple[str, str, str, int], tuple[_Series, _Series, _Series | None]] = {}
        self._batched: dict[tuple[str, str], tuple[_Series, _Series, _Series]] = {}

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
        key = (shown, api, entrypoint, code)
        with self._lock:
            found = self._ended.get(key)
            if found is None:
                away = None
                if code in (errors.RESOURCE_EXHAUSTED, errors.UNAVAILABLE):
                    away = self._of(_TURNED_AWAY, shown)
                latency = self._of(_LATENCY, shown, API_NAMES[api], entrypoint)
                found = self._ended[key] = (self._of(_REQUESTS, shown, NAMES[code]), latency, away)
            requests, latency, away = found
            requests.add(1.0)
            latency.observe(1e6 * seconds)
            if away is not None:
                away.add(1.0)

    def _of(self, kind: _Kind, *labels: str) -> _Series:
        """What counts under these labels, which are few: names of models that are there, of signatures and outcomes."""
        key = (kind, *labels)
        found = self._series.get(key)
        if found is None:
            shown = [label[:_LONGEST_LABEL] for label in labels]
            name = json.dumps([_KINDS.index(kind), *shown]).encode()
            at = self._blocks[-1].take(name, _places(kind)) if self._blocks else None
            if at is None:
                self._blocks.append(self._block())
                at = self._blocks[-1].take(name, _places(kind))
                assert at is not None  # a block holds any of them
            found = self._series[key] = _Series(kind, self._blocks[-1].numbers, at)
        return found

    def _block(self) -> _Block:
        if self._folder is not None:
            try:
                return _Block(self._folder / f"{os.getpid()}-{time.time_ns()}")
            except OSError as error:
                _log.error("what this process counts is not shown by the others: %s", error)
        return _Block(None)

    # What a model reports of its runs (`model.Observer`).

    def ran(self, model: str, seconds: float) -> None:
        """Counts the time that a request has spent in the model."""
        with self._lock:
            self._of(_RUNTIME, model, "Predict", "graphflow").observe(1e6 * seconds)

    def batched(
        self, model: str, signature: str, rows: int, padded: int, requests: int, waited: float
    ) -> None:
        """Counts one run of a batch."""
        key = (model, signature)
        with self._lock:
            found = self._batched.get(key)
            if found is None:
                found = (self._of(_QUEUING, *key), self._of(_BATCH_ROWS, *key), self._of(_TOGETHER, *key))
                self._batched[key] = found
            queuing, of_rows, together = found
            queuing.observe(1e6 * waited)
            of_rows.observe(rows)
            together.observe(requests)
            if padded > rows:
                self._of(_PADDING, model, signature).add(padded - rows)

    def loaded(self, model: str, outcome: str) -> None:
        """Counts a version that was loaded, or failed to be."""
        with self._lock:
            self._of(_LOADS, model, outcome).add(1.0)

    def text(self) -> tuple[bytes, str]:
        """Returns all of it in Prometheus' text format, and what that is called."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        counts, state = CollectorRegistry(), CollectorRegistry()
        counts.register(_Counts(self._all()))
        state.register(_State(self._now))
        # Counters of Prometheus end in _total; TensorFlow Serving's, which dashboards ask for, do not.
        name = f"{_TF}request_count".encode()
        counted = generate_latest(counts).replace(name + b"_total", name)
        return counted + generate_latest(state), CONTENT_TYPE_LATEST

    def _all(self) -> dict[_Kind, dict[tuple[str, ...], list[float]]]:
        """What has been counted, by this process and by others that share the folder, living and dead."""
        with self._lock:
            blocks = [block.content() for block in self._blocks]
            ours = {block.path for block in self._blocks}
        if self._folder is not None:
            blocks += [path.read_bytes() for path in self._folder.iterdir() if path not in ours]
        found: dict[_Kind, dict[tuple[str, ...], list[float]]] = {kind: {} for kind in _KINDS}
        for block in blocks:
            for kind, labels, numbers in _counted(block):
                before = found[kind].get(labels, [0.0] * len(numbers))
                found[kind][labels] = [a + b for a, b in zip(before, numbers, strict=True)]
        return found


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


class _Counts:
    """What has been counted, as Prometheus' library takes it."""

    def __init__(self, found: dict[_Kind, dict[tuple[str, ...], list[float]]]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
        from prometheus_client.utils import floatToGoString

        for kind, series in self._found.items():
            if not kind.bounds:
                counter = CounterMetricFamily(kind.name, kind.text, labels=kind.labels)
                for labels, (number,) in sorted(series.items()):
                    counter.add_metric(labels, number)
                yield counter
                continue
            histogram = HistogramMetricFamily(kind.name, kind.text, labels=kind.labels)
            bounds = [floatToGoString(bound) for bound in (*kind.bounds, math.inf)]  # type: ignore[no-untyped-call]
            for labels, (*counts, total) in sorted(series.items()):
                histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
            yield histogram


class _State:
    """What is looked at when somebody reads it."""

    def __init__(self, now: Any) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        for name, text, labels, rows in self._now() if self._now is not None else ():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in rows:
                family.add_metric(values, number)
            yield family
