"""The HTTP side of the process: one application for all REST interfaces, health, and what errors look like."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from graphflow import errors
from graphflow.serving import open_inference_rest, tensorflow_rest
from graphflow.serving.bodies import error_response, json_response
from graphflow.serving.service import Service
from graphflow.serving.status import HTTP_STATUS

_log = logging.getLogger("graphflow.serving")

_HEALTH = ("/healthz", "/v1/health/live", "/v1/health/ready")


async def _answer(service: Service, request: Request) -> Response:
    path = request.scope.get("raw_path", b"").decode("latin-1").split("?")[0] or request.url.path
    lower = path.lower()
    if request.method in ("GET", "HEAD") and lower in _HEALTH:
        ready = lower.endswith("/live") or service.ready()
        text = "ok" if ready else "draining" if service.draining else "a model is not available"
        return json_response({"status": text}, 200 if ready else 503)
    if lower.startswith("/v1/"):
        return await tensorflow_rest.answer(service, request, path)
    if lower == "/v2" or lower.startswith("/v2/"):
        return await open_inference_rest.answer(service, request, path)
    return error_response(f"Not Found: {request.method} {path}", 404)


def make_app(service: Service) -> Starlette:
    """Returns the ASGI application; it frees the models when it ends."""

    async def handle(request: Request) -> Response:
        try:
            return await _answer(service, request)
        except errors.OpError as error:
            return error_response(error.message, HTTP_STATUS[error.error_code])
        except ClientDisconnect:
            return error_response("the client went away", HTTP_STATUS[errors.CANCELLED])
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return error_response(f"{type(error).__name__}: {error}", 500)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.models.close()

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/{path:path}", handle, methods=methods)], lifespan=lifespan)
