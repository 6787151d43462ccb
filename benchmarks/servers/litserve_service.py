"""ONNX Runtime behind LitServe: `… MODEL.onnx PORT MAX_BATCH`."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime

MODEL, PORT, BATCH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Served(litserve.LitAPI):  # type: ignore[misc]  # LitServe is not looked into
    """The same session and answers as the service of ONNX Runtime alone."""

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict) -> Any:  # type: ignore[type-arg]  # LitServe reads it
        return np.array(request["instances"][0], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.session.run(None, {"x": x if x.ndim == 2 else x[None]})[0]

    def unbatch(self, output: Any) -> list[Any]:
        return list(output[:, None])

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    api = Served(max_batch_size=BATCH, batch_timeout=0.0) if BATCH > 1 else Served()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=PORT, log_level="warning", generate_client_file=False, access_log=False)
