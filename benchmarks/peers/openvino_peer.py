"""OpenVINO, inference only, in float32 and in bfloat16 where a workload says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import openvino

from benchmarks.peers.onnx_programs import ProgramsWithBfloat16
from benchmarks.workloads import Array


def load(threads: int) -> ProgramsWithBfloat16:
    """Returns the workloads."""
    core = openvino.Core()

    def load_model(precision: str, model: bytes) -> Callable[[dict[str, Array]], Any]:
        # Its own default on some processors is bfloat16; the others compute in float32.
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
        request = compiled.create_infer_request()

        def run(feeds: dict[str, Array]) -> Any:
            results = request.infer(feeds, share_inputs=True)
            return [np.array(results[output]) for output in compiled.outputs]

        return run

    return ProgramsWithBfloat16(partial(load_model, "f32"), partial(load_model, "bf16"))
