"""The REST interface of the Open Inference Protocol, version 2, with Triton's binary tensors and repository."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote

from graphflow import errors
from graphflow.serving import open_inference
from graphflow.serving.bodies import (
    Answer,
    Asked,
    deadline_of,
    done,
    elements,
    json_response,
    packed,
    read_body,
)
from graphflow.serving.manager import State
from graphflow.serving.service import Service, Target, version_number

_JSON_SIZE = "Inference-Header-Content-Length"
_JSON_SIZE_HEADER = _JSON_SIZE.lower().encode()
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")
_LOAD = re.compile(r"/v2/repository/models/[^/]+/(?:load|unload)")


@functools.lru_cache(256)
def _parts(path: str) -> tuple[Target, str | None] | None:
    """The model that a path names, and what is wanted of it; None if it names none."""
    match = _MODEL.fullmatch(path)
    if match is None:
        return None
    return Target(unquote(match.group(1)), version_number(match.group(2))), match.group(3)


async def answer(service: Service, request: Asked, path: str) -> Answer:
    """Returns the answer to a request below /v2.

    Raises:
      OpError: with the code that tells the HTTP status.
    """
    method = request.method
    reading = method in ("GET", "HEAD")
    if reading and path in ("/v2", "/v2/"):
        return json_response(open_inference.SERVER)
    if reading and path == "/v2/health/live":
        return json_response({"live": True})
    if reading and path == "/v2/health/ready":
        ready = service.ready()
        return json_response({"ready": ready}, 200 if ready else 503)
    if method == "POST" and path == "/v2/repository/index":
        return json_response(_index(service))
    if method == "POST" and _LOAD.fullmatch(path):
        raise errors.FailedPreconditionError(
            None,
            None,
            "models are loaded and unloaded as their folders and the list of models say, not by requests",
        )
    found = _parts(path)
    if found is not None:
        target, verb = found
        if reading and verb is None:
            with service.hold(target) as model:
                return json_response(open_inference.metadata(model, service.models.available(model.name)))
        if reading and verb == "/ready":
            ready = service.available(target)
            told = {} if ready else {"error": f"{target.name} takes no requests"}
            return json_response({"name": target.name, "ready": ready, **told}, 200 if ready else 404)
        if method == "POST" and verb == "/infer":
            return await _infer(service, request, target)
    raise errors.NotFoundError(None, None, f"Not Found: {method} {path}")


async def _infer(service: Service, request: Asked, target: Target) -> Answer:
    announced = request.header(_JSON_SIZE_HEADER)
    if announced is not None and not (announced.isascii() and announced.isdecimal()):
        raise errors.InvalidArgumentError(None, None, f"{_JSON_SIZE} {announced!r} is no number of bytes")
    deadline = deadline_of(request)
    body = await read_body(request)
    json_size = None if announced is None else int(announced)
    with service.metrics.request(target.name, "infer", "REST"), service.hold(target) as model:
        model.turn_away(deadline, body)
        read = await done(len(body), open_inference.from_json, body, json_size, model)
        results = await model.answer(read.signature_name, read.inputs, deadline)
        content, size = await done(elements(results), open_inference.to_json, read, model, results)
    if size == len(content):
        return packed(Answer(content), request)
    told = [(_JSON_SIZE_HEADER, b"%d" % size)]
    return packed(Answer(content, kind=b"application/octet-stream", headers=told), request)


def _index(service: Service) -> list[dict[str, Any]]:
    """What is there, in Triton's words."""
    found = []
    for name in service.models.names():
        try:
            servables = service.models.status(name)
        except errors.NotFoundError:
            servables = []
        for servable in servables:
            ready = servable.state is State.AVAILABLE
            reason = (
                servable.error.message if servable.error else "" if ready else servable.state.name.lower()
            )
            state = "READY" if ready else "UNAVAILABLE"
            found.append({"name": name, "version": str(servable.version), "state": state, "reason": reason})
    return found
