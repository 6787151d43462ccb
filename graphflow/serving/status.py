"""Canonical error codes as HTTP statuses, as TensorFlow Serving maps them, and their names."""

from __future__ import annotations

from graphflow import errors

HTTP_STATUS = {
    errors.OK: 200, errors.INVALID_ARGUMENT: 400, errors.FAILED_PRECONDITION: 400, errors.OUT_OF_RANGE: 400,
    errors.UNAUTHENTICATED: 401, errors.PERMISSION_DENIED: 403, errors.NOT_FOUND: 404,
    errors.ALREADY_EXISTS: 409, errors.ABORTED: 409, errors.RESOURCE_EXHAUSTED: 429, errors.CANCELLED: 499,
    errors.INTERNAL: 500, errors.UNKNOWN: 500, errors.DATA_LOSS: 500, errors.UNIMPLEMENTED: 501,
    errors.UNAVAILABLE: 503, errors.DEADLINE_EXCEEDED: 504,
}  # fmt: skip

NAMES = {
    getattr(errors, name): name
    for name in (
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    )
}  # fmt: skip
