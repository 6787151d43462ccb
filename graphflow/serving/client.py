"""A small client of TensorFlow Serving's REST interface."""

from __future__ import annotations

import base64
import http.client
import json
import time
from typing import Any
from urllib.parse import quote

import numpy as np

from graphflow.errors import (
    DeadlineExceededError,
    UnavailableError,
    UnknownError,
    exception_type_from_error_code,
)
from graphflow.serving.status import HTTP_STATUS


class Client:
    """Talks to one model of a server, over one connection.

    Args:
      host: the server's address.
      port: its REST port.
      model_name: the model.
      timeout: seconds to wait for an answer.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 8501, model_name: str = "default", timeout: float = 60.0
    ) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self._model = f"/v1/models/{quote(model_name, safe='')}"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Sends one request and returns the JSON of the answer.

        Raises:
          OpError: of the class that fits the answer's status, with the server's text.
          OSError: if the server cannot be reached.
        """
        # The standard library's JSON knows NaN and the infinities, which the server takes and gives.
        data = None if body is None else json.dumps(_plain(body)).encode()
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            # Nothing that is left in the pipe may be taken for the next answer.
            self._connection.close()
            raise
        if response.status == 200:
            return json.loads(content)
        try:
            text = str(json.loads(content)["error"])
        except (ValueError, KeyError, TypeError):
            text = content.decode("utf-8", "replace")
        codes = [code for code, status in HTTP_STATUS.items() if status == response.status]
        kind = exception_type_from_error_code(codes[0]) if codes else UnknownError
        raise kind(None, None, f"HTTP {response.status}: {text}")

    def _path(self, version: int | None) -> str:
        return self._model if version is None else f"{self._model}/versions/{version}"

    def status(self, version: int | None = None) -> Any:
        """Returns the versions of the model and their states."""
        return self.request("GET", self._path(version))

    def metadata(self, version: int | None = None) -> Any:
        """Returns the signatures of the model."""
        return self.request("GET", f"{self._path(version)}/metadata")

    def predict(
        self,
        instances: Any = None,
        inputs: Any = None,
        signature_name: str | None = None,
        version: int | None = None,
    ) -> Any:
        """Runs the model.

        Args:
          instances: a list (or array) with one item per row: the input's row, or a dict of them by name.
          inputs: instead of `instances`: one value, or a dict of them by name.
          signature_name: the signature; default "serving_default".
          version: the version; default the newest.

        Returns:
          "predictions" or "outputs" of the answer, as lists.

        Raises:
          ValueError: unless exactly one of `instances` and `inputs` is given.
          OpError: for what the server refuses.
        """
        if (instances is None) == (inputs is None):
            raise ValueError("give either instances or inputs")
        body: dict[str, Any] = {} if signature_name is None else {"signature_name": signature_name}
        body["inputs" if instances is None else "instances"] = inputs if instances is None else instances
        answer = self.request("POST", f"{self._path(version)}:predict", body)
        return answer["outputs" if instances is None else "predictions"]

    def is_ready(self) -> bool:
        """Whether the server answers and takes work."""
        try:
            self.request("GET", "/v1/health/ready")
        except (OSError, http.client.HTTPException, UnavailableError):
            return False
        return True

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Returns once the server takes work.

        Raises:
          DeadlineExceededError: if it does not within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > end:
                raise DeadlineExceededError(None, None, f"the server was not ready within {timeout} s")
            time.sleep(0.01)


def _plain(value: Any) -> Any:
    """Returns a value with lists for arrays, and base64 objects for bytes."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist()) if value.dtype == object else value.tolist()
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
