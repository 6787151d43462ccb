"""ONNX Runtime behind Triton, through nvidia-pytriton: `… MODEL.onnx HTTP_PORT GRPC_PORT MAX_BATCH`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MODEL, HTTP, GRPC, BATCH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def infer(x: Any) -> Any:
    """Ten numbers a row."""
    return session.run(None, {"x": x})


config = TritonConfig(http_port=HTTP, grpc_port=GRPC, allow_metrics=False, log_verbose=0, http_thread_count=2)
with Triton(config=config) as triton:
    triton.bind(
        model_name="m",
        infer_func=batch(infer),
        inputs=[Tensor(name="x", dtype=np.float32, shape=(784,))],
        outputs=[Tensor(name="y", dtype=np.float32, shape=(10,))],
        config=ModelConfig(max_batch_size=BATCH, batcher=DynamicBatcher())
        if BATCH
        else ModelConfig(max_batch_size=1),
    )
    triton.serve()
