"""The OpenAPI document of the REST interfaces, for tools that make clients, tests and pages of it."""

from __future__ import annotations

import functools
from typing import Any

from graphflow.version import __version__

PATH = "/openapi.json"

Part = dict[str, Any]

_ERRORS = {
    "400": "The request is not understood, or does not fit the model.",
    "404": "There is no such model, version or path.",
    "429": "Too many requests are under way.",
    "499": "The client went away.",
    "500": "The server is at fault.",
    "501": "The values have no JSON form.",
    "503": "The queue is full, or the process is about to end.",
    "504": "The request's time was over.",
}
_DATATYPES = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "BYTES", "BF16",
]  # fmt: skip


def _reference(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, text: str, schema: Part, where: str = "path") -> Part:
    return {"name": name, "in": where, "required": where == "path", "description": text, "schema": schema}


_NAME = _parameter("name", "The model's name.", {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"})
_VERSION = _parameter(
    "version", "A version's number.", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
)
_LABEL = _parameter("label", "A version's label.", {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"})
_TIMEOUT = _parameter(
    "X-Request-Timeout", "Seconds that the client waits.", {"type": "number", "minimum": 0}, "header"
)
_ID = _parameter("X-Request-Id", "What the request is called in logs.", {"type": "string"}, "header")


def _operation(
    key: str,
    text: str,
    answer: Part,
    parameters: list[Part],
    body: Part | None = None,
    codes: str = "400 404 500",
) -> Part:
    found: Part = {
        "operationId": key,
        "summary": text,
        "parameters": [*parameters, _ID],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            **{
                code: {
                    "description": _ERRORS[code],
                    "content": {"application/json": {"schema": _reference("Error")}},
                }
                for code in codes.split()
            },
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        found["parameters"].append(_TIMEOUT)
    return found


_RUNS = "400 404 429 499 500 501 503 504"


def _tensorflow() -> Part:
    paths: Part = {}
    for tail, more, word in (
        ("", [], ""),
        ("/versions/{version}", [_VERSION], "Version"),
        ("/labels/{label}", [_LABEL], "Label"),
    ):
        base, given = f"/v1/models/{{name}}{tail}", [_NAME, *more]
        paths[base] = {
            "get": _operation(
                f"status{word}", "The state of a model's versions.", _reference("Status"), given
            )
        }
        paths[f"{base}/metadata"] = {
            "get": _operation(f"metadata{word}", "A model's signatures.", {"type": "object"}, given)
        }
        for verb, text, request, answer in (
            ("predict", "Runs a signature over tensors.", "PredictRequest", "PredictAnswer"),
            ("classify", "Labels and scores of examples.", "ExamplesRequest", "Results"),
            ("regress", "A number for each example.", "ExamplesRequest", "Results"),
        ):
            paths[f"{base}:{verb}"] = {
                "post": _operation(
                    f"{verb}{word}", text, _reference(answer), given, _reference(request), _RUNS
                )
            }
    return paths


def _open_inference() -> Part:
    paths: Part = {
        "/v2": {"get": _operation("server", "Who is there.", {"type": "object"}, [], None, "500")},
        "/v2/health/live": {
            "get": _operation("live", "Whether the process is alive.", {"type": "object"}, [], None, "500")
        },
        "/v2/health/ready": {
            "get": _operation("ready", "Whether requests are welcome.", {"type": "object"}, [], None, "500 503")
        },
        "/v2/repository/index": {
            "post": _operation("index", "The models and their states.", {"type": "array"}, [], None, "429 500")
        },
    }  # fmt: skip
    for tail, more, word in (("", [], ""), ("/versions/{version}", [_VERSION], "Version")):
        base, given = f"/v2/models/{{name}}{tail}", [_NAME, *more]
        paths[base] = {"get": _operation(f"model{word}", "A model's tensors.", {"type": "object"}, given)}
        paths[f"{base}/ready"] = {
            "get": _operation(
                f"modelReady{word}", "Whether a model takes requests.", {"type": "object"}, given
            )
        }
        paths[f"{base}/infer"] = {
            "post": _operation(
                f"infer{word}", "Runs a model over tensors.", _reference("InferAnswer"), given,
                _reference("InferRequest"), _RUNS,
            )
        }  # fmt: skip
    return paths


def _process() -> Part:
    state = {"type": "object", "properties": {"status": {"type": "string"}}}
    paths: Part = {
        path: {"get": _operation(f"health{i}", "Whether requests are welcome.", state, [], None, "500 503")}
        for i, path in enumerate(("/healthz", "/v1/health/ready", "/v1/health/live"))
    }
    paths["/graphflow/status"] = {
        "get": _operation(
            "page", "The versions, and which signatures run in batches.", {"type": "object"}, [], None, "500"
        )
    }
    metrics = _operation("metrics", "What has been counted, for Prometheus.", {}, [], None, "500")
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    paths["/monitoring/prometheus/metrics"] = {"get": metrics}
    return paths


def _schemas() -> Part:
    tensor: Part = {
        "description": 'A number, a text, {"b64": text} for bytes, or lists of these, of equal length.'
    }
    signature = {"type": "string", "description": 'The signature; "" or nothing is the default one.'}
    examples = {"type": "array", "minItems": 1, "items": {"type": "object"}}
    named = {"name": {"type": "string"}, "datatype": {"enum": _DATATYPES}}
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    data: Part = {"type": "array", "description": "The elements, in rows, nested or flat."}
    return {
        "Error": {
            "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
        },
        "Status": {
            "type": "object",
            "properties": {"model_version_status": {"type": "array", "items": {
                "type": "object",
                "properties": {
                    "version": {"type": "string"},
                    "state": {"enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
                    "status": {"type": "object"},
                },
            }}},
        },
        "PredictRequest": {
            "type": "object",
            "properties": {
                "signature_name": signature,
                "instances": {"type": "array", "minItems": 1, "items": tensor},
                "inputs": tensor,
            },
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
        },
        "PredictAnswer": {
            "type": "object",
            "oneOf": [
                {"required": ["predictions"], "properties": {"predictions": {"type": "array"}}},
                {"required": ["outputs"], "properties": {"outputs": {}}},
            ],
        },
        "ExamplesRequest": {
            "type": "object",
            "required": ["examples"],
            "properties": {"signature_name": signature, "context": {"type": "object"}, "examples": examples},
        },
        "Results": {"type": "object", "required": ["results"], "properties": {"results": {"type": "array"}}},
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "inputs": {"type": "array", "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype", "data"],
                    "properties": {**named, "shape": shape, "parameters": {"type": "object"}, "data": data},
                }},
                "outputs": {"type": "array", "items": {
                    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
                }},
            },
        },
        "InferAnswer": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {"outputs": {"type": "array", "items": {
                "type": "object", "properties": {**named, "shape": shape, "data": data},
            }}},
        },
    }  # fmt: skip


@functools.cache
def document() -> Part:
    """Returns the document, version 3.1 of OpenAPI."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "graphflow serve",
            "version": __version__,
            "description": "TensorFlow Serving's REST interface, and the Open Inference Protocol, version 2.",
        },
        "paths": {**_tensorflow(), **_open_inference(), **_process()},
        "components": {"schemas": _schemas()},
    }
