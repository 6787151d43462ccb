"""OpenVINO in float32, inference only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino

from benchmarks.peers.onnx_programs import Programs
from benchmarks.workloads import Array


def load(threads: int) -> Programs:
    """Returns the workloads."""
    core = openvino.Core()
    # Its own default on some processors is bfloat16; the others compute in float32.
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }

    def load_model(model: bytes) -> Callable[[dict[str, Array]], Any]:
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
        request = compiled.create_infer_request()

        def run(feeds: dict[str, Array]) -> Any:
            results = request.infer(feeds, share_inputs=True)
            return [np.array(results[output]) for output in compiled.outputs]

        return run

    return Programs(load_model)
