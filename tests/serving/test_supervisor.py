"""Several processes at one port: one that is killed comes back, and the others serve meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from graphflow.errors import UnavailableError
from graphflow.serialization.proto import model_service_pb2
from graphflow.serving.client import Client
from tests.serving.models import save_model, under_way, wait_until_closed

X = [[1.0, 2.0, 3.0]]


def workers_of(pid: int) -> set[int]:
    """The processes that serve, children of the supervisor."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def other_models(base: Path, port: int, grpc_port: int, workers: set[int]) -> None:
    """Every worker serves other models as soon as one of them has been asked to; metrics count what all have done."""
    request = model_service_pb2.ReloadConfigRequest()
    for name in ("m", "n"):
        request.config.model_config_list.config.add(name=name, base_path=str(base))
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        answer = model_service_pb2.ReloadConfigResponse.FromString(reload(request.SerializeToString()))
        assert answer.status.error_code == 0, answer
        request.config.model_config_list.config[1].version_labels["new"] = 5
        refused = model_service_pb2.ReloadConfigResponse.FromString(reload(request.SerializeToString()))
        assert refused.status.error_code == 9 and "assign label to 5" in refused.status.error_message
    before = counted(port)
    for _ in range(20):  # whoever answers
        with Client(port=port, model_name="n") as client:
            assert len(client.predict(instances=X)) == 1
    assert counted(port) == before + 20
    text = metrics(port)
    states = [line for line in text.splitlines() if line.startswith("graphflow_serving_version_state{")]
    assert sum('model_name="n"' in line and 'state="AVAILABLE"' in line for line in states) == 1, states


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/monitoring/prometheus/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def counted(port: int) -> float:
    """Right answers of the model n, by whichever worker."""
    start = ':tensorflow:serving:request_count{model_name="n",status="OK"} '
    return sum(
        float(line.removeprefix(start)) for line in metrics(port).splitlines() if line.startswith(start)
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
def test_a_killed_worker_returns_and_all_end_together(tmp_path: Path) -> None:
    save_model(tmp_path / "1")
    command = [
        sys.executable, "-m", "graphflow", "serve", "--model_base_path", str(tmp_path), "--model_name", "m",
        "--rest_api_port", "0", "--port", "0", "--workers", "2", "--log_json",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            line = server.stdout.readline()
            assert "serving version 1" in line, server.communicate()[1]
            port = int(line.rsplit(":", 1)[1].split("/")[0])
            grpc_port = int(server.stdout.readline().rsplit(":", 1)[1])
            before = workers_of(server.pid)
            assert len(before) == 2
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            for _ in range(20):  # the other one answers meanwhile; only who was with the dead one is cut off
                answer: Any = None
                while answer is None:
                    try:
                        with Client(port=port, model_name="m") as client:
                            answer = client.predict(instances=X)
                    except (OSError, UnavailableError):
                        continue
                assert len(answer) == 1
            for line in server.stderr:
                if (
                    json.loads(line)["message"].startswith("m version 1 is available")
                    and victim not in workers_of(server.pid)
                    and len(workers_of(server.pid)) == 2
                ):
                    break
            after = workers_of(server.pid)
            assert len(after) == 2 and victim not in after
            other_models(tmp_path, port, grpc_port, after)
            connection = under_way(port, 10)
            server.send_signal(signal.SIGTERM)
            wait_until_closed(port)
            assert server.poll() is None and workers_of(server.pid)  # one of them has a request
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait() == 0
            connection.close()
        finally:
            server.kill()
