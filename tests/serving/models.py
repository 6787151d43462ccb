"""Models that tests of the serving process serve, and the listeners in a thread."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

import graphflow as gf
from graphflow.serving.connections import Listener
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
    with listening(service) as (port, _):
        yield port


@contextlib.contextmanager
def listening(service: Service) -> Iterator[tuple[int, Listener]]:
    """Serves a service's REST interfaces while the block runs; gives the port, and what listens there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = Listener(make_app(service), service.access.certificate, service.access.key)
        server.config.timeout_keep_alive = 10**6  # however long a test is held up
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


def client_at(port: int) -> httpx.Client:
    """A client of a service's REST interfaces; it waits as long as it takes."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None)


def under_way(port: int | None, size: int) -> http.client.HTTPConnection:
    """A connection whose request has begun in the server, which waits for a body of so many bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest("POST", "/v1/models/m:predict")
    connection.putheader("Content-Length", str(size))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    # The server says so when it begins to read the body.
    assert connection.sock.recv(1024).startswith(b"HTTP/1.1 100 ")
    return connection


def wait_until_closed(port: int | None) -> None:
    """Returns when nobody listens at a port any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionError:
            return
