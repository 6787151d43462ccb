"""TensorFlow Serving's REST interface over one model: the HTTP side, which knows nothing but `model.run`."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from graphflow import errors
from graphflow.serving import json_tensor
from graphflow.serving.model import Model, TensorSpec
from graphflow.serving.status import HTTP_STATUS

_log = logging.getLogger("graphflow.serving")

LARGEST_BODY = 1 << 30

_WHICH = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(_WHICH + r":(predict|classify|regress)", re.IGNORECASE)
_METADATA = re.compile(_WHICH + r"/metadata", re.IGNORECASE)
_STATUS = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?", re.IGNORECASE)
_LARGEST_VERSION = (1 << 63) - 1


class Service:
    """What the process serves.

    Attributes:
      model: the model.
      draining: whether the process is about to end: it takes no new work, and says so.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.draining = False

    def find(self, name: str, version: str | None, label: str | None) -> Model:
        """Returns the model that a request means.

        Raises:
          NotFoundError: if there is none.
          InvalidArgumentError: for a label, or a version that is no number.
        """
        self._check_label(label)
        number = self._version(version)
        if name != self.model.name or number not in (None, self.model.version):
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise errors.NotFoundError(None, None, f"Servable not found for request: {which}")
        return self.model

    def check_status(self, name: str, version: str | None, label: str | None) -> Model:
        """Returns the model whose status a request asks for; raises as `find`, with other words."""
        if not name:
            raise errors.InvalidArgumentError(None, None, "Missing model name in request.")
        self._check_label(label)
        number = self._version(version)
        if name != self.model.name:
            raise errors.NotFoundError(None, None, f"Could not find any versions of model {name}")
        if number not in (None, self.model.version):
            raise errors.NotFoundError(None, None, f"Could not find version {number} of model {name}")
        return self.model

    @staticmethod
    def _check_label(label: str | None) -> None:
        if label is not None:
            raise errors.InvalidArgumentError(None, None, f"Unrecognized servable version label: {label}")

    @staticmethod
    def _version(text: str | None) -> int | None:
        if text is None:
            return None
        number = int(text) if len(text) < 20 else _LARGEST_VERSION + 1
        if number > _LARGEST_VERSION:
            raise errors.InvalidArgumentError(None, None, f"Failed to convert version: {text} to numeric.")
        return number


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _error(text: str, status: int) -> Response:
    return _json({"error": text}, status)


def predict(model: Model, body: bytes) -> bytes:
    """Returns the answer to a predict request.

    Raises:
      OpError: with the code that tells the HTTP status.
    """
    request = json_tensor.parse_request(body)
    name = json_tensor.signature_name(request)
    inputs, rows = json_tensor.inputs_of(request, model.signature(name))
    return json_tensor.write_answer(model.run(name, inputs), rows)


def status_of(model: Model, draining: bool) -> dict[str, Any]:
    """Returns the answer to a status request."""
    return {
        "model_version_status": [
            {
                "version": str(model.version),
                "state": "UNLOADING" if draining else "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


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


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise _too_large()  # before any of it is read
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, f"the request's body is larger than {LARGEST_BODY} bytes")


async def _answer(service: Service, request: Request) -> Response:
    path = request.scope.get("raw_path", b"").decode("latin-1").split("?")[0] or request.url.path
    method = request.method
    lower = path.lower()
    if method in ("GET", "HEAD") and lower in ("/healthz", "/v1/health/live", "/v1/health/ready"):
        ready = not service.draining or lower.endswith("/live")
        return _json({"status": "ok" if ready else "draining"}, 200 if ready else 503)
    if not lower.startswith("/v1/"):
        return _error(f"Not Found: {method} {path}", 404)
    if method == "POST" and (match := _PREDICT.fullmatch(path)):
        name, version, label, verb = match.groups()
        if verb.lower() != "predict":
            raise errors.UnimplementedError(
                None, None, f"{verb.lower()} is not served here: use predict, which takes plain tensors"
            )
        model = service.find(unquote(name), version, label and unquote(label))
        body = await _body(request)
        answer = await run_in_threadpool(predict, model, body)
        return Response(answer, media_type="application/json")
    if method == "GET" and (match := _METADATA.fullmatch(path)):
        name, version, label = match.groups()
        return _json(metadata_of(service.find(unquote(name), version, label and unquote(label))))
    if method == "GET" and (match := _STATUS.fullmatch(path)):
        name, version, label = match.groups()
        found = service.check_status(unquote(name or ""), version, label and unquote(label))
        return _json(status_of(found, service.draining))
    raise errors.InvalidArgumentError(None, None, f"Malformed request: {method} {path}")


def make_app(service: Service) -> Starlette:
    """Returns the ASGI application; it closes the model when it ends."""

    async def handle(request: Request) -> Response:
        try:
            return await _answer(service, request)
        except errors.OpError as error:
            return _error(error.message, HTTP_STATUS[error.error_code])
        except ClientDisconnect:
            return _error("the client went away", HTTP_STATUS[errors.CANCELLED])
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return _error(f"{type(error).__name__}: {error}", 500)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.model.close()

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/{path:path}", handle, methods=methods)], lifespan=lifespan)
