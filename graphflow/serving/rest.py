"""The HTTP side of the process: one application for all REST interfaces, health, and what errors look like."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

from graphflow import errors
from graphflow.serving import logs, metrics, open_inference_rest, openapi, status_page, tensorflow_rest
from graphflow.serving.bodies import (
    Answer,
    Asked,
    ClientDisconnect,
    error_response,
    json_response,
)
from graphflow.serving.model import refused
from graphflow.serving.service import Service, Target, version_number
from graphflow.serving.status import HTTP_STATUS

_log = logging.getLogger("graphflow.serving")

_REQUEST_ID = b"x-request-id"
_HEALTH = ("/healthz", "/v1/health/live", "/v1/health/ready")


async def _answer(service: Service, request: Asked) -> Answer:
    path = request.raw_path
    lower = path.lower()
    if request.method == "POST":
        return await _by_protocol(service, request, path, lower)
    if request.method in ("GET", "HEAD") and lower in _HEALTH:
        ready = lower.endswith("/live") or service.ready()
        text = "ok" if ready else "draining" if service.draining else "a model is not available"
        return json_response({"status": text}, 200 if ready else 503)
    if request.method == "GET" and lower == metrics.PATH:
        counted, kind = await asyncio.to_thread(service.metrics.text)
        return Answer(counted, kind=kind.encode())
    if request.method == "GET" and lower == openapi.PATH:
        return json_response(openapi.document())
    if request.method == "GET" and path == status_page.PAGE:
        return Answer(status_page.page(service), kind=b"text/html; charset=utf-8")
    if request.method == "GET" and lower == status_page.DATA:
        return json_response(status_page.data(service))
    if request.method == "GET" and (match := status_page.PICTURE.fullmatch(path)):
        with service.hold(Target(unquote(match.group(1)), version_number(match.group(2)))) as model:
            picture = await asyncio.to_thread(model.picture)
            return Answer(picture.encode(), kind=b"image/svg+xml")
    return await _by_protocol(service, request, path, lower)


async def _by_protocol(service: Service, request: Asked, path: str, lower: str) -> Answer:
    """What the interface that a path belongs to answers."""
    if lower.startswith("/v1/"):
        return await tensorflow_rest.answer(service, request, path)
    if lower == "/v2" or lower.startswith("/v2/"):
        return await open_inference_rest.answer(service, request, path)
    return error_response(f"Not Found: {request.method} {path}", 404)


async def _admitted(service: Service, request: Asked, name: str) -> Answer:
    if service.access.token and request.path.lower() not in _HEALTH:
        service.access.check(request.header(b"authorization"))
    # Whoever watches the process must get an answer when it is full, then above all.
    if request.method != "POST":
        return await _answer(service, request)
    with service.admitted():
        if service.tracing is None:
            return await _answer(service, request)
        verb = re.split("[:/]", request.path)[-1].lower()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
        known = {"url.path": request.path, "graphflow.request_id": name}
        with service.tracing.request(f"POST {verb}", headers, **known) as span:
            response = await _answer(service, request)
            span.set_attribute("http.response.status_code", response.status)
            return response


def make_app(service: Service) -> Callable[[Asked], Coroutine[Any, Any, Answer]]:
    """Returns what answers requests."""

    async def handle(request: Asked) -> Answer:
        begin, name, text = time.perf_counter(), logs.request_id(request.header(_REQUEST_ID)), ""
        try:
            response = await _admitted(service, request, name)
        except errors.OpError as error:
            text = error.message
            response = error_response(text, HTTP_STATUS[error.error_code])
        except MemoryError as error:
            text = refused(error).message
            response = error_response(text, HTTP_STATUS[errors.RESOURCE_EXHAUSTED])
        except ClientDisconnect:
            text = "the client went away"
            response = error_response(text, HTTP_STATUS[errors.CANCELLED])
        except Exception as error:
            _log.exception("%s %s", request.method, request.path, extra={"request_id": name})
            text = f"{type(error).__name__}: {error}"
            response = error_response(text, 500)
        response.headers.append((_REQUEST_ID, name.encode("latin-1")))
        logs.access(name, request.method, request.path, response.status, time.perf_counter() - begin, text)
        return response

    return handle
