"""A version's first runs, before any request waits for them: they compile, plan, and bring memory in.

First the requests that the model brings along, TensorFlow Serving's `tf_serving_warmup_requests`; then the last ones
that the version before has answered; then made-up ones for the signatures that are left. Where requests may run
together, it is seen here once more that this changes no bit.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from graphflow import dtypes
from graphflow.backends.cpu import number_text
from graphflow.errors import FailedPreconditionError, InvalidArgumentError, OpError
from graphflow.saved_model import signature_constants as constants
from graphflow.serialization.proto import prediction_log_pb2
from graphflow.serialization.tensor_proto import make_ndarray
from graphflow.serving import examples
from graphflow.serving.batching import Batcher
from graphflow.serving.model import Model, Signature
from graphflow.tfrecord import tf_record_iterator

Array = np.ndarray[Any, Any]

_log = logging.getLogger("graphflow.serving")

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000
# Its multiples, less their whole parts, spread evenly.
_GOLDEN = (math.sqrt(5) - 1) / 2
# The size of a made-up row along an axis that the signature leaves open.
_OPEN_SIZE = 8
# Rows of a made-up batch are so many that they take no longer than this, in seconds, after the first run.
_LONGEST = 0.1


def recorded(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Gives the PredictionLog messages that a version's folder brings along.

    Raises:
      DataLossError: if the file is damaged.
      InvalidArgumentError: if there are more than `MOST_RECORDS`, or one is no such message.
    """
    file = Path(path) / FILE
    if not file.exists():
        return
    for number, record in enumerate(tf_record_iterator(file)):
        if number >= MOST_RECORDS:
            raise InvalidArgumentError(None, None, f"{file} has more than {MOST_RECORDS} records")
        try:
            yield prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise InvalidArgumentError(
                None, None, f"{file}: record {number} is no PredictionLog: {error}"
            ) from None


def replay(model: Model, log: Any) -> None:
    """Runs a recorded request once.

    Raises:
      OpError: as the request would.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        name = request.model_spec.signature_name
        model.run(name, {key: make_ndarray(tensor) for key, tensor in request.inputs.items()})
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        run = examples.classify if kind == "classify_log" else examples.regress
        run(model, request.model_spec.signature_name, examples.serialized(request.input))
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        given = examples.serialized(request.input)
        for task in request.tasks:
            run = (
                examples.classify if task.method_name == constants.CLASSIFY_METHOD_NAME else examples.regress
            )
            run(model, task.model_spec.signature_name, given)
    else:
        raise InvalidArgumentError(None, None, f"a record of the kind {kind} cannot be run again")


def made_up(signature: Signature, rows: int) -> list[Array] | None:
    """Returns inputs that a signature takes, as far as its shapes tell; None where they do not."""
    arrays: list[Array] = []
    for spec in signature.inputs.values():
        sizes = spec.shape.as_tuple()
        if sizes is None:
            return None
        known = [_OPEN_SIZE if size is None else size for size in sizes]
        if sizes and sizes[0] is None:
            known[0] = rows
        if spec.dtype is dtypes.string:
            texts: Array = np.empty(known, object)
            texts[...] = b""
            arrays.append(texts)
        elif spec.dtype.is_floating:
            # All between 0 and 1, none like its neighbours; NumPy's generators take longer to load than this run.
            spread = np.arange(math.prod(known)) * _GOLDEN % 1.0
            arrays.append(spread.reshape(known).astype(spec.dtype.numpy))
        else:
            arrays.append(np.zeros(known, spec.dtype.numpy))  # numbers of words and the like: 0 is one
    return arrays


def warm_up(
    model: Model,
    before: Mapping[str, Sequence[Array]] | None = None,
    later: list[Callable[[], None]] | None = None,
) -> None:
    """Runs a model for the first times.

    Args:
      model: the model.
      before: the last inputs of each signature that another version has answered.
      later: where runs of several requests go that can come when single ones are answered already; until they are
        done, each request runs alone. None does them at once.

    Raises:
      FailedPreconditionError: if a request that the model brings along fails.
    """
    begin = time.perf_counter()
    number_text.prepare()
    count = 0
    for count, log in enumerate(recorded(model.path), 1):
        try:
            replay(model, log)
        except OpError as error:
            raise FailedPreconditionError(
                None, None, f"request {count} of {FILE} fails: {error.message}"
            ) from None
    for name, signature in model.signatures.items():
        given = (before or {}).get(name)
        try:
            if given is not None:
                signature.function(*given)
            one = made_up(signature, 1)
            if one is not None:
                signature.function(*one)
        except Exception as error:
            _not_warm(model, name, error)
            continue
        batcher = signature.batcher
        if one is None or batcher is None:
            continue
        if later is None:
            _runs_together(model, name, batcher, one)
        else:
            signature.run_alone("it has not been run with several requests yet")
            later.append(functools.partial(_runs_together, model, name, batcher, one))
    _log.info(
        "%s version %d has been warmed up in %.3f s, with %d recorded requests",
        model.name, model.version, time.perf_counter() - begin, count,
    )  # fmt: skip


def _not_warm(model: Model, name: str, error: Exception) -> None:
    # Inputs that are made up, or another version's, need not be such as it takes.
    _log.debug("%s version %d: %s is not warm: %s", model.name, model.version, name, error)


class WarmUp:
    """Warms up the versions of a process: those that it starts with in two parts, the second when it takes requests.

    Calls are those of `warm_up`; several threads may make them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[Callable[[], None]] | None = []

    def __call__(self, model: Model, before: Mapping[str, Sequence[Array]]) -> None:
        """Warms up a version; see `warm_up`."""
        later: list[Callable[[], None]] | None = [] if self._left is not None else None
        warm_up(model, before, later)
        with self._lock:
            if self._left is not None:
                self._left += later or ()
                return
        for part in later or ():
            part()

    def finish(self) -> None:
        """Does the second part of all that has been warmed up; from now on there is only one."""
        with self._lock:
            left, self._left = self._left or [], None
        for part in left:
            part()


def _runs_together(model: Model, name: str, batcher: Batcher, one: Sequence[Array]) -> None:
    """Runs a signature with several requests, and lets it do so if that changes no bit."""
    signature = model.signatures[name]
    try:
        different = _different(signature, batcher, one)
    except Exception as error:
        _not_warm(model, name, error)
        different = None
    if different is None:
        signature.batcher, signature.alone = batcher, ""
    else:
        signature.run_alone(f"the bits of {different!r} depend on how many rows run together")


def _different(signature: Signature, batcher: Batcher, one: Sequence[Array]) -> str | None:
    """The output whose bits change when several requests run together; None if there is none."""
    begin = time.perf_counter()
    signature.function(*one)
    seconds = max(time.perf_counter() - begin, 1e-6)
    rows = max(2, min(batcher.options.max_batch_size, int(_LONGEST / seconds)))
    many = made_up(signature, rows)
    assert many is not None
    together = [np.asarray(output) for output in signature.function(*many)]
    for row in {0, rows // 2, rows - 1}:
        alone = signature.function(*[array[row : row + 1] for array in many])
        for name, whole, part in zip(signature.outputs, together, alone, strict=True):
            if not _same_bits(whole[row : row + 1], np.asarray(part)):
                return name
    return None


def _same_bits(a: Array, b: Array) -> bool:
    if a.dtype == object or b.dtype == object:
        return bool(np.array_equal(a, b))
    return a.shape == b.shape and a.tobytes() == b.tobytes()
