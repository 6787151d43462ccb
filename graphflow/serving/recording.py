"""Requests and their answers in a file, and what another version makes of them.

The file is one of TensorFlow's records of PredictionLog messages: laid into a model's `assets.extra` under the name
`tf_serving_warmup_requests`, it is what the model is warmed up with.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from graphflow.errors import InvalidArgumentError
from graphflow.serialization.proto import prediction_log_pb2
from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray
from graphflow.serving.model import Model
from graphflow.tfrecord import TFRecordWriter, tf_record_iterator

Array = np.ndarray[Any, Any]

_log = logging.getLogger("graphflow.serving")


class Recorder:
    """Writes requests with their answers to a file; closed, the file is whole.

    Where it cannot be written to any more, such as on a full disk, that is said once, and requests go on without.

    Many threads may use it at once.

    Args:
      path: the file.
      most: so many are written, the first ones.

    Raises:
      OSError: if it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], most: int = 1000) -> None:
        self._path = os.fspath(path)
        self._writer: TFRecordWriter | None = TFRecordWriter(path)
        self._left = most
        self._lock = threading.Lock()

    def __call__(
        self, model: Model, signature: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Writes one request."""
        if self._writer is None or self._left <= 0:
            return
        log = prediction_log_pb2.PredictionLog()
        for spec in (log.log_metadata.model_spec, log.predict_log.request.model_spec):
            spec.name, spec.signature_name = model.name, signature
            spec.version.value = model.version
        for key, value in inputs.items():
            log.predict_log.request.inputs[key].CopyFrom(array_to_proto(np.asarray(value)))
        for key, value in outputs.items():
            log.predict_log.response.outputs[key].CopyFrom(array_to_proto(np.asarray(value)))
        data = log.SerializeToString()
        with self._lock:
            if self._writer is not None and self._left > 0:
                self._left -= 1
                try:
                    self._writer.write(data)
                    self._writer.flush()
                except OSError as error:
                    _log.error("%s: no more requests are recorded: %s", self._path, error)
                    self._end()

    def close(self) -> None:
        """Ends the file."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # it has been told already
                writer.close()


def compare(model: Model, path: str | os.PathLike[str]) -> tuple[int, int, float]:
    """Runs recorded requests again.

    Returns:
      How many there are, how many of the answers have other bits, and the largest difference of their numbers.

    Raises:
      InvalidArgumentError: if a record is no PredictionLog.
      OpError: if a request fails.
    """
    count = different = 0
    largest = 0.0
    for record in tf_record_iterator(path):
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        except DecodeError as error:
            raise InvalidArgumentError(None, None, f"{os.fspath(path)}: record {count}: {error}") from None
        count += 1
        inputs = {key: make_ndarray(tensor) for key, tensor in log.request.inputs.items()}
        outputs = model.run(log.request.model_spec.signature_name, inputs)
        same = True
        for key, tensor in log.response.outputs.items():
            wanted, found = make_ndarray(tensor), outputs.get(key)
            if found is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
                same, largest = False, float("inf")
            elif wanted.dtype == object:
                same = same and bool(np.array_equal(found, wanted))
            elif found.tobytes() != wanted.tobytes():
                same = False
                apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
                largest = max(largest, float(np.nanmax(apart, initial=0.0)))
        different += not same
    return count, different, largest
