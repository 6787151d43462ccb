"""ONNX Runtime, inference only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime

from benchmarks.peers.onnx_programs import Programs
from benchmarks.workloads import Array


def load(threads: int) -> Programs:
    """Returns the workloads."""

    def load_model(model: bytes) -> Callable[[dict[str, Array]], Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda feeds: session.run(None, feeds)

    return Programs(load_model)
