"""Models that tests of the serving process serve, and the listeners in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import uvicorn

import graphflow as gf
from graphflow.serving.rest import make_app
from graphflow.serving.service import Service

W = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)


def save_model(path: Path, scale: float = 1.0) -> None:
    """Saves y = x w; a signature "total" sums it, "classify" and "regress" take examples with the feature x."""
    with gf.Graph().as_default(), gf.Session() as sess:
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        w = gf.Variable(W * np.float32(scale), name="w")
        y = gf.matmul(x, w, name="y")
        total = gf.reduce_sum(y, name="total")
        examples = gf.placeholder(gf.string, [None], name="examples")
        features = gf.io.parse_example(examples, {"x": gf.io.FixedLenFeature([3], gf.float32)})
        scores = gf.nn.softmax(gf.matmul(features["x"], w))
        labels = gf.tile(gf.constant([["left", "right"]]), [gf.size(examples), 1])
        sess.run(gf.global_variables_initializer())
        builder = gf.saved_model.Builder(str(path))
        utils = gf.saved_model.signature_def_utils
        builder.add_meta_graph_and_variables(
            sess,
            [gf.saved_model.SERVING],
            {
                "serving_default": utils.predict_signature_def({"x": x}, {"y": y}),
                "total": utils.predict_signature_def({"x": x}, {"total": total, "y": y}),
                "classify": utils.classification_signature_def(examples, labels, scores),
                "regress": utils.regression_signature_def(examples, scores[:, :1]),
            },
        )
        builder.save()


@contextlib.contextmanager
def rest(service: Service) -> Iterator[int]:
    """Serves a service's REST interfaces while the block runs; gives the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def client_at(port: int) -> httpx.Client:
    """A client of a service's REST interfaces; it waits as long as it takes."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None)
