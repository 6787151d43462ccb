"""A serving process, those who ask it all the time, and what it holds of the machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tests.serving.models import W

X = np.array([[1.0, 2.0, 3.0], [-0.5, 0.25, 4.0]], np.float32)
BODY = json.dumps({"instances": X.tolist()}).encode()


def rightly(content: bytes, scales: Sequence[float] | None = None) -> bool:
    """Whether an answer to `BODY` is that of one version, all of it; versions differ by their scale."""
    found = np.array(json.loads(content)["predictions"], np.float32)
    want = X @ W
    if found.shape != want.shape:
        return False
    scale = float((found * want).sum() / (want * want).sum())
    known = scales is None or any(abs(scale - item) < 1e-3 * item for item in scales)
    return known and bool(np.allclose(found, scale * want, rtol=1e-4, atol=1e-6))


class Served:
    """`graphflow serve` in a process of its own.

    Attributes:
      process: it, or the supervisor of its workers.
      rest: the port of REST.
      grpc: the port of gRPC, 0 if it has none.
      lines: what it has logged so far, as it reads its standard error.
    """

    def __init__(
        self, process: subprocess.Popen[str], rest: int, grpc: int, lines: list[dict[str, Any]]
    ) -> None:
        self.process, self.rest, self.grpc, self.lines = process, rest, grpc, lines

    def pids(self) -> list[int]:
        """It and its workers."""
        found = [self.process.pid]
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            found += [int(child) for child in children.split()]
        return found

    def memory(self) -> int:
        """Bytes that only these processes have."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                match = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                total += 1024 * int(match[1]) if match else 0
        return total

    def files(self) -> int:
        """Open files, connections among them."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def get(self, path: str) -> Any:
        """Returns the JSON that it answers with, or the text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=60)
        try:
            connection.request("GET", path)
            content = connection.getresponse().read()
        finally:
            connection.close()
        with contextlib.suppress(ValueError):
            return json.loads(content)
        return content.decode()

    def predict(
        self, body: bytes = BODY, path: str = "/v1/models/m:predict", **headers: str
    ) -> tuple[int, bytes]:
        """Returns status and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=120)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait_for(self, what: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Waits until something is so, and gives it; fails after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            found = what()
            if found:
                return found
            assert time.monotonic() < end and self.process.poll() is None, self.lines[-5:]
            time.sleep(0.01)

    def end(self) -> int:
        """Ends it by SIGTERM; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextlib.contextmanager
def served(
    base: Path,
    *more: str,
    grpc: bool = False,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> Iterator[Served]:
    """Serves the models below a folder as "m" while the block runs.

    Args:
      base: the folder.
      more: further options.
      grpc: whether there is a gRPC port.
      before: what the new process does first.
      environment: variables of its environment.
    """
    command = [
        sys.executable, "-m", "graphflow", "serve", "--model_base_path", str(base), "--model_name", "m",
        "--rest_api_port", "0", "--port", "0" if grpc else "-1", "--log_json",
        "--file_system_poll_wait_seconds", "0.05", *more,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before,
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        lines: list[dict[str, Any]] = []

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    lines.append({"message": line, "level": "UNKNOWN"})

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            match = re.search(r"at http://127\.0\.0\.1:(\d+)/", first)
            if match is None:
                process.wait()
                reader.join()
                raise AssertionError(f"it does not serve: {first!r} {lines}")
            port = 0
            if grpc:
                port = int(process.stdout.readline().rsplit(":", 1)[1])
            yield Served(process, int(match[1]), port, lines)
        finally:
            for pid in Served(process, 0, 0, []).pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            reader.join()


class Load:
    """Clients that ask all the time while the block runs, and check each answer.

    A request is dropped if it has been sent and gets no answer, or another one than 200. Whoever finds the door closed
    has sent nothing.

    Args:
      server: whom.
      rest, grpc: how many clients of each protocol.
      kept: whether clients of REST keep their connections.
      scales: the scales of the versions that may answer.

    Attributes:
      done: requests with a right answer.
      refused: connections that nobody took.
      wrong: what else has come, counted.
      seconds: how long each request has taken.
    """

    def __init__(
        self,
        server: Served,
        rest: int = 3,
        grpc: int = 0,
        kept: bool = True,
        scales: Sequence[float] | None = None,
    ) -> None:
        self.server, self.kept, self.scales = server, kept, scales
        self.done = self.refused = 0
        self.wrong: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_rest) for _ in range(rest)]
        self._threads += [threading.Thread(target=self._ask_grpc) for _ in range(grpc)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def join(self) -> None:
        """Returns when nobody finds an open door any more."""
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Returns when so many more requests have been answered."""
        want = self.done + more
        self.server.wait_for(lambda: self.done >= want or self.wrong)

    def percentile(self, share: float) -> float:
        """Milliseconds that this share of the requests has not exceeded."""
        return 1e3 * float(np.percentile(self.seconds, 100 * share)) if self.seconds else 0.0

    def _note(self, begin: float, wrong: str) -> None:
        with self._lock:
            if wrong:
                self.wrong[wrong] += 1
            else:
                self.done += 1
                self.seconds.append(time.perf_counter() - begin)

    def _ask_rest(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._ended.is_set():
            begin = time.perf_counter()
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.rest, timeout=120)
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionError:
                with self._lock:
                    self.refused += 1
                return
            try:
                connection.request("POST", "/v1/models/m:predict", BODY)
                response = connection.getresponse()
                content = response.read()
                wrong = ""
                if response.status != 200:
                    wrong = f"{response.status} {content[:200]!r}"
                elif not rightly(content, self.scales):
                    wrong = f"another answer: {content[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
            self._note(begin, wrong)
            if wrong or not self.kept:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _ask_grpc(self) -> None:
        import grpc

        from graphflow.serialization.proto import prediction_service_pb2
        from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray

        request = prediction_service_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(array_to_proto(X))
        data = request.SerializeToString()
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.server.grpc}", options) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            while not self._ended.is_set():
                begin = time.perf_counter()
                try:
                    answer = prediction_service_pb2.PredictResponse.FromString(call(data))
                    content = json.dumps({"predictions": make_ndarray(answer.outputs["y"]).tolist()}).encode()
                    wrong = "" if rightly(content, self.scales) else "another answer"
                except grpc.RpcError as error:
                    text = f"{error.code().name} {error.details()}"  # type: ignore[attr-defined]
                    if "Connection refused" in text:
                        with self._lock:
                            self.refused += 1
                        return
                    wrong = text
                self._note(begin, wrong)
