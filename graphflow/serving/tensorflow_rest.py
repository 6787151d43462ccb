"""TensorFlow Serving's REST interface: paths, bodies and codes around `model.run`."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from typing import Any
from urllib.parse import unquote

from graphflow import errors
from graphflow.serving import examples, json_tensor
from graphflow.serving.bodies import Answer, Asked, deadline_of, done, elements, json_response, read_body
from graphflow.serving.manager import Servable
from graphflow.serving.model import Model, TensorSpec
from graphflow.serving.service import Service, Target, version_number
from graphflow.serving.status import NAMES

_WHICH = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_RUN = re.compile(_WHICH + r":(predict|classify|regress)", re.IGNORECASE)
_METADATA = re.compile(_WHICH + r"/metadata", re.IGNORECASE)
_STATUS = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?", re.IGNORECASE)


def _read(model: Model, body: bytes) -> tuple[str, dict[str, Any], bool]:
    plain = json_tensor.read_rows(body, model.signature)
    if plain is not None:
        return (*plain, True)
    request = json_tensor.parse_request(body)
    name = json_tensor.signature_name(request)
    booleans = json_tensor.may_have_booleans(body)
    return (name, *json_tensor.inputs_of(request, model.signature(name), booleans))


async def predict(model: Model, body: bytes, deadline: float | None = None) -> bytes:
    """Returns the answer to a predict request.

    Raises:
      OpError: with the code that tells the HTTP status.
    """
    model.turn_away(deadline, body)
    name, inputs, rows = await done(len(body), _read, model, body)
    outputs = await model.answer(name, inputs, deadline)
    return await done(elements(outputs), json_tensor.write_answer, outputs, rows)


def classify_or_regress(model: Model, verb: str, body: bytes, deadline: float | None = None) -> bytes:
    """Returns the answer to a classify or regress request; raises as `predict`."""
    request = json_tensor.parse_request(body)
    name = json_tensor.signature_name(request)
    serialized = examples.serialized(examples.from_json(request))
    run = examples.classify if verb == "classify" else examples.regress
    # The standard library's JSON writes NaN and the infinities, as clients expect them.
    return json.dumps({"results": run(model, name, serialized, deadline)}, separators=(",", ":")).encode()


def status_of(servables: list[Servable], draining: bool) -> dict[str, Any]:
    """Returns the answer to a status request."""
    found = []
    for servable in servables:
        error = servable.error
        state = servable.state.name
        found.append(
            {
                "version": str(servable.version),
                "state": "UNLOADING" if draining and state == "AVAILABLE" else state,
                "status": {
                    "error_code": NAMES[error.error_code if error else errors.OK],
                    "error_message": error.message if error else "",
                },
            }
        )
    return {"model_version_status": found}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    sizes = spec.shape.as_tuple()
    dims = [{"size": "-1" if size is None else str(size), "name": ""} for size in sizes or ()]
    kinds = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}
    return {
        "dtype": f"DT_{kinds.get(spec.dtype.name, spec.dtype.name.upper())}",
        "tensor_shape": {"dim": dims, "unknown_rank": sizes is None},
        "name": spec.name,
    }


def metadata_of(model: Model) -> dict[str, Any]:
    """Returns the answer to a metadata request."""
    signatures = {
        key: {
            "inputs": {name: _spec(spec) for name, spec in signature.inputs.items()},
            "outputs": {name: _spec(spec) for name, spec in signature.outputs.items()},
            "method_name": signature.method_name,
        }
        for key, signature in model.signatures.items()
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _target(name: str | None, version: str | None, label: str | None) -> Target:
    return Target(unquote(name or ""), version_number(version), label and unquote(label))


@functools.lru_cache(256)
def _runs(path: str) -> tuple[Target, str] | None:
    """The model that a path has run, and how; None if it has none run."""
    match = _RUN.fullmatch(path)
    return None if match is None else (_target(*match.groups()[:3]), match.group(4).lower())


async def _run(service: Service, target: Target, verb: str, body: bytes, deadline: float | None) -> bytes:
    with service.metrics.request(target.name, verb, "REST"), service.hold(target) as model:
        if verb == "predict":
            return await predict(model, body, deadline)
        return await asyncio.to_thread(classify_or_regress, model, verb, body, deadline)


async def answer(service: Service, request: Asked, path: str) -> Answer:
    """Returns the answer to a request below /v1/models.

    Raises:
      OpError: with the code that tells the HTTP status.
    """
    method = request.method
    if method == "POST" and (found := _runs(path)) is not None:
        target, verb = found
        deadline = deadline_of(request)
        body = await read_body(request)
        answered = await _run(service, target, verb, body, deadline)
        return Answer(answered)
    if method == "GET" and (match := _METADATA.fullmatch(path)):
        with service.hold(_target(*match.groups())) as model:
            return json_response(metadata_of(model))
    if method == "GET" and (match := _STATUS.fullmatch(path)):
        target = _target(*match.groups())
        if not target.name:
            raise errors.InvalidArgumentError(None, None, "Missing model name in request.")
        servables = service.models.status(target.name, target.version, target.label)
        return json_response(status_of(servables, service.draining))
    raise errors.InvalidArgumentError(None, None, f"Malformed request: {method} {path}")
