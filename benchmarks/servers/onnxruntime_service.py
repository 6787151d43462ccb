"""ONNX Runtime behind starlette and uvicorn, as one would write it for speed: `… MODEL.onnx PORT`.

One session; short runs are made in the event loop, for a thread costs more than they do.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])


async def predict(request: Request) -> Response:
    """Rows of numbers as JSON."""
    rows = np.array(orjson.loads(await request.body())["instances"], np.float32)
    (y,) = session.run(None, {"x": rows})
    body = orjson.dumps({"predictions": y}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


async def binary(request: Request) -> Response:
    """Rows of numbers as bytes."""
    rows = np.frombuffer(await request.body(), np.float32).reshape(-1, 784)
    (y,) = session.run(None, {"x": rows})
    return Response(y.tobytes(), media_type="application/octet-stream")


app = Starlette(
    routes=[Route("/predict", predict, methods=["POST"]), Route("/binary", binary, methods=["POST"])]
)
uvicorn.run(
    app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
)
