"""One version of a model, ready to run. Knows nothing of how requests arrive."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphflow import saved_model
from graphflow.compiler import CompileOptions
from graphflow.dtypes import DType
from graphflow.errors import DeadlineExceededError, InvalidArgumentError, OpError, ResourceExhaustedError
from graphflow.graph import Graph, Tensor
from graphflow.records import dataclass
from graphflow.saved_model.loader import load_allowing
from graphflow.serving.batching import Batcher, BatchingOptions, Pace
from graphflow.serving.tracing import journey
from graphflow.serving.versions import stored_bytes
from graphflow.session import Session
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]


_LARGEST_KEPT = 1 << 20  # bytes
# Seconds of work from which on the threads of a run share it: below that the other processors have more use for those
# who bring requests and take answers.
_SHARE_FROM = 1e-3


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
      name: the tensor's name in the graph.
      dtype: its element type.
      shape: what is known of its shape.
    """

    name: str
    dtype: DType
    shape: TensorShape


@dataclass(slots=True)
class Signature:
    """What goes in and comes out, by the names that requests use.

    Attributes:
      inputs, outputs: the tensors, sorted by name.
      method_name: what it does, such as "tensorflow/serving/predict".
      function: takes the inputs' arrays in order, returns the outputs' arrays in order.
      batcher: what runs requests together; None where each runs alone.
      alone: why each runs alone; "" where they run together.
      pace: what is known of the time that lone runs take, where none can wait for anything but itself; else None.
      last: the inputs of the last request, if they are not large: what a new version is warmed up with.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str
    function: Callable[..., Sequence[Array]]
    batcher: Batcher | None = None
    alone: str = ""
    pace: Pace | None = None
    last: Sequence[Array] | None = None

    def run_alone(self, reason: str) -> None:
        """Says that requests run each by itself from now on."""
        self.batcher, self.alone = None, reason


class Observer(Protocol):
    """What wants to know of runs."""

    def ran(self, model: str, seconds: float) -> None:
        """A request has been in the model for so long."""

    def batched(
        self, model: str, signature: str, rows: int, padded: int, requests: int, waited: float
    ) -> None:
        """So many rows of so many requests run as so many; the oldest waited for so many seconds."""


class Model:
    """A loaded SavedModel.

    Many threads may run it at once.

    Args:
      path: the folder of one version.
      name: the name it is served under.
      version: its number.
      tags: the tags of the graph to load.
      batching: how requests that meet are put together, where that is proved to change no answer; None never does.
      observer: what is told of runs.
      allowed_ops: types of ops with effects outside the model that it may have all the same
        (`saved_model.loader.OUTSIDE_OPS`).
      recorder: called with the model, the signature, the inputs and the outputs of each run.

    Attributes:
      layouts: what interfaces have understood of requests' headers, and keep for the next ones that are the same.

    Raises:
      OSError, DataLossError, RuntimeError, ValueError: as `saved_model.load`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        version: int = 1,
        tags: Sequence[str] = (saved_model.SERVING,),
        batching: BatchingOptions | None = BatchingOptions(),  # noqa: B008 - it is immutable
        observer: Observer | None = None,
        recorder: Callable[[Model, str, Mapping[str, Array], Mapping[str, Array]], None] | None = None,
        allowed_ops: Collection[str] = (),
    ) -> None:
        self._observer = observer
        self._recorder = recorder
        self._batching = batching
        self.name = name
        self.version = version
        self.path = os.fspath(path)
        self.stored_bytes = stored_bytes(path)  # on disk, about what its variables take in memory
        self._picture: str | None = None
        self.layouts: dict[bytes, Any] = {}
        self._graph = Graph()
        self._session = Session(graph=self._graph, compile_options=CompileOptions(share_from=_SHARE_FROM))
        proto = load_allowing(allowed_ops, self._session, tags, self.path)
        self._graph.finalize()
        # As the file has them, for those who ask what the model takes.
        self.signature_def = proto.signature_def
        self.signatures: dict[str, Signature] = {}
        # Signatures that name sparse or composite tensors, with the reason why they cannot be run.
        self.unsupported: dict[str, str] = {}
        for key in sorted(proto.signature_def):
            if key == saved_model.constants.INIT_OP_SIGNATURE_KEY:
                continue
            try:
                self.signatures[key] = self._signature(key, proto.signature_def[key])
            except (KeyError, ValueError) as error:
                self.unsupported[key] = str(error)

    def _signature(self, name: str, proto: Any) -> Signature:
        tensors: list[dict[str, Tensor]] = []
        for infos in (proto.inputs, proto.outputs):
            found = {}
            for key in sorted(infos):
                element = saved_model.get_tensor_from_tensor_info(infos[key], self._graph)
                if not isinstance(element, Tensor):
                    raise ValueError(f"{key!r} names an operation, not a tensor")
                found[key] = element
            tensors.append(found)
        inputs, outputs = tensors
        feeds, fetches = list(inputs.values()), list(outputs.values())
        function = self._session.make_callable(fetches, feed_list=feeds)
        made = Signature(_specs(inputs), _specs(outputs), str(proto.method_name), function)
        proof = self._session.row_wise(fetches, feeds)
        if not proof:
            made.alone = proof.reason
            return made
        if self._batching is None:
            made.alone, made.pace = "batching is switched off", Pace()
            return made
        shapes = [(np.dtype(tensor.dtype.numpy), tuple(tensor.shape.as_list())) for tensor in feeds]
        told = None if self._observer is None else functools.partial(self._observer.batched, self.name, name)
        made.batcher = Batcher(function, proof, self._batching, shapes, told)
        return made

    def signature(self, name: str = "") -> Signature:
        """Returns a signature; "" is the default one.

        Raises:
          InvalidArgumentError: if there is none of this name.
        """
        name = name or saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        found = self.signatures.get(name)
        if found is None:
            reason = self.unsupported.get(name)
            text = f'Serving signature name: "{name}" not found in signature def'
            raise InvalidArgumentError(None, None, f"{text}: {reason}" if reason else text)
        return found

    def turn_away(self, deadline: float | None, body: bytes) -> None:
        """Raises what a small request to the default signature would get, if its queue has no room.

        Args:
          deadline: as for `run`.
          body: the request; one that names a signature is let in.
        """
        signature = self.signatures.get(saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY)
        batcher = None if signature is None else signature.batcher
        if batcher is not None and batcher.queued and b"signature_name" not in body:
            batcher.turn_away(deadline)

    def run(
        self, signature_name: str, inputs: Mapping[str, Array], deadline: float | None = None
    ) -> dict[str, Array]:
        """Computes all outputs of a signature.

        Args:
          signature_name: the signature; "" is the default one.
          inputs: an array per input.
          deadline: the moment (`time.monotonic()`) after which nobody waits for the answer; None waits for ever.

        Returns:
          An array per output.

        Raises:
          InvalidArgumentError: for an unknown signature, missing or unknown inputs, wrong shapes or dtypes.
          DeadlineExceededError: if the deadline had passed before the run began.
          OpError: for what fails in the run.
        """
        signature, arrays = self._given(signature_name, inputs, deadline)
        batcher = signature.batcher
        begin = time.perf_counter()
        try:
            if batcher is None:
                results = _alone(signature.function, arrays, deadline, time.monotonic())
            else:
                results = batcher(arrays, deadline)
        except (MemoryError, TypeError, ValueError) as error:
            raise refused(error) from None
        return self._ended(signature_name, signature, arrays, results, begin)

    async def answer(
        self, signature_name: str, inputs: Mapping[str, Array], deadline: float | None = None
    ) -> dict[str, Array]:
        """Computes all outputs of a signature, for a coroutine; takes, returns and raises what `run` does."""
        signature, arrays = self._given(signature_name, inputs, deadline)
        begin = time.perf_counter()
        try:
            if signature.batcher is not None:
                results = await signature.batcher.answer(arrays, deadline)
            else:
                size = _bytes(arrays)
                if signature.pace is not None and signature.pace.short(size):
                    results = _alone(signature.function, arrays, deadline, time.monotonic())
                else:
                    results = await asyncio.to_thread(
                        _alone, signature.function, arrays, deadline, time.monotonic()
                    )
                if signature.pace is not None:
                    signature.pace.learn(size, time.perf_counter() - begin)
        except (MemoryError, TypeError, ValueError) as error:
            raise refused(error) from None
        return self._ended(signature_name, signature, arrays, results, begin)

    def _given(
        self, signature_name: str, inputs: Mapping[str, Array], deadline: float | None
    ) -> tuple[Signature, list[Array]]:
        """The signature that a request means, and its inputs in order."""
        signature = self.signature(signature_name)
        if inputs.keys() != signature.inputs.keys():
            extra = ",".join(sorted(inputs.keys() - signature.inputs.keys()))
            missing = ",".join(sorted(signature.inputs.keys() - inputs.keys()))
            raise InvalidArgumentError(
                None,
                None,
                f"input size does not match signature: {len(inputs)}!={len(signature.inputs)} "
                f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}.",
            )
        _check_time(deadline)
        return signature, [inputs[name] for name in signature.inputs]

    def _ended(
        self, name: str, signature: Signature, arrays: list[Array], results: Sequence[Array], begin: float
    ) -> dict[str, Array]:
        """The outputs by name, when all that wants to know of a run has been told."""
        if _bytes(arrays) <= _LARGEST_KEPT:
            signature.last = arrays
        if self._observer is not None:
            self._observer.ran(self.name, time.perf_counter() - begin)
        outputs = {key: np.asarray(result) for key, result in zip(signature.outputs, results, strict=True)}
        if self._recorder is not None:
            self._recorder(self, name, dict(zip(signature.inputs, arrays, strict=True)), outputs)
        return outputs

    def picture(self) -> str:
        """Returns a picture of the graph as SVG, made once."""
        if self._picture is None:
            # What draws is large, and most models are never looked at.
            to_svg = importlib.import_module("graphflow.visualize").to_svg
            self._picture = str(to_svg(self._graph, title=f"{self.name}, version {self.version}"))
        return self._picture

    def close(self) -> None:
        """Frees the model; runs under way are cancelled."""
        for signature in self.signatures.values():
            if signature.batcher is not None:
                signature.batcher.close()
        self._session.close()


def _bytes(arrays: list[Array]) -> int:
    size = 0
    for array in arrays:
        if isinstance(array, np.ndarray):
            size += array.nbytes
    return size


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceededError(None, None, "the request's time was over before its run began")


def _alone(
    function: Callable[..., Sequence[Array]], arrays: list[Array], deadline: float | None, begun: float
) -> Sequence[Array]:
    """Runs, if that is still wanted when there is a thread for it."""
    _check_time(deadline)
    begin = time.monotonic()
    results = function(*arrays)
    if (way := journey()) is not None:
        way.ran(begun, begin, time.monotonic())
    return results


def refused(error: MemoryError | TypeError | ValueError) -> OpError:
    """What a session refuses to be fed is the request's fault; one that does not fit into memory may come again."""
    if isinstance(error, MemoryError):
        return ResourceExhaustedError(None, None, f"there is not enough memory for the request: {error}")
    return InvalidArgumentError(None, None, str(error))


def _specs(tensors: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    return {key: TensorSpec(tensor.name, tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
