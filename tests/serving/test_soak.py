"""Faults at full size, minutes of them: `make soak` runs these, prints their figures and keeps them.

The figures go to benchmarks/results/serving_faults.json and .md; small forms of the same faults are in test_faults.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks.__main__ import RESULTS, machine
from tests.serving.faults import corrupted, disconnect, trickle
from tests.serving.models import save_model
from tests.serving.process import Load, Served, rightly, served

pytestmark = pytest.mark.soak

MIB = 1 << 20


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test has measured: shown, and kept where it passes."""
    found: dict[str, Any] = {}
    failed = request.session.testsfailed
    yield found
    name = request.node.name.removeprefix("test_")
    print(f"\n{name}: {json.dumps(found)}")
    if request.session.testsfailed == failed:
        keep(name, found)


def keep(name: str, found: dict[str, Any]) -> None:
    """Writes figures to the table of results."""
    file = RESULTS / "serving_faults.json"
    known = json.loads(file.read_text()) if file.exists() else {"faults": {}}
    known["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    known["machine"] = machine()
    known["faults"][name] = found
    known["faults"] = dict(sorted(known["faults"].items()))
    file.write_text(json.dumps(known, indent=1) + "\n")
    where = known["machine"]
    lines = [
        f"{known['date']}, {where['processor']}, {where['cores']} cores, {where['system']}, Python {where['python']}; "
        "clients and server on the same cores.",
        "",
        "| fault | what was measured |",
        "|---|---|",
    ]
    for key, values in known["faults"].items():
        told = "; ".join(f"{what.replace('_', ' ')} {_shown(value)}" for what, value in values.items())
        lines.append(f"| {key.replace('_', ' ')} | {told} |")
    (RESULTS / "serving_faults.md").write_text("\n".join(lines) + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) or "none"
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "models" / "1")
    return tmp_path / "models"


def available(server: Served) -> list[int]:
    return [
        int(item["version"])
        for item in server.get("/v1/models/m")["model_version_status"]
        if item["state"] == "AVAILABLE"
    ]


def asked(load: Load) -> dict[str, Any]:
    """What clients have seen."""
    return {
        "requests": load.done,
        "failed": sum(load.wrong.values()),
        "p50_ms": load.percentile(0.5),
        "p99_ms": load.percentile(0.99),
    }


def test_swap_every_2_s_for_60_s(base: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    versions, scales = 31, [1.0 + 0.25 * number for number in range(1, 32)]
    stock = tmp_path / "stock"
    for number in range(1, versions + 1):
        save_model(stock / str(number), scale=scales[number - 1])
    shutil.rmtree(base / "1")
    shutil.copytree(stock / "1", base / "1")
    memory = []
    with served(base, grpc=True) as server, Load(server, rest=3, grpc=1, scales=scales) as load:
        load.wait_for(500)
        begin = time.monotonic()
        for number in range(2, versions + 1):
            shutil.copytree(stock / str(number), base / str(number))
            while available(server) != [number]:
                time.sleep(0.01)
            if number > 3:
                shutil.rmtree(base / str(number - 2))
            memory.append(server.memory())
            time.sleep(max(0.0, begin + 2 * (number - 1) - time.monotonic()))
        seconds = time.monotonic() - begin
    slope = float(np.polyfit(range(len(memory[5:])), memory[5:], 1)[0])
    figures.update(
        asked(load), swaps=versions - 1, seconds=seconds, memory_after_5_mib=memory[5] / MIB,
        memory_at_the_end_mib=memory[-1] / MIB, growth_per_swap_kib=slope / 1024,
    )  # fmt: skip
    assert not load.wrong, load.wrong
    assert memory[-1] - memory[5] < 8 * MIB and slope < 256 * 1024, memory


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kept", [True, False])
def test_sigterm_under_load(base: Path, figures: dict[str, Any], workers: int, kept: bool) -> None:
    times, done = [], 0
    for _ in range(5):
        with served(base, "--workers", str(workers), grpc=True) as server:
            with Load(server, rest=4, grpc=2, kept=kept) as load:
                load.wait_for(300)
                begin = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                load.join()
            assert server.process.wait(60) == 0
            times.append(time.monotonic() - begin)
            done += load.done
            assert not load.wrong, load.wrong
    figures.update(times=len(times), requests=done, dropped=0, longest_end_s=max(times))


def test_kill_9_of_a_worker(base: Path, figures: dict[str, Any]) -> None:
    lost, back, clients, most = Counter[str](), [], (4, 2), 0
    with served(base, "--workers", "2", grpc=True) as server:
        with Load(server, *clients, kept=False) as load:
            for _ in range(5):
                load.server.wait_for(lambda: len(workers(server)) == 2)
                load.wait_for(100)
                victim = random.Random(0).choice(workers(server))
                ready = sum("is available" in line["message"] for line in server.lines)
                begin = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                while sum("is available" in line["message"] for line in server.lines) == ready:
                    time.sleep(0.01)
                back.append(time.monotonic() - begin)
                assert not load.refused
                most = max(most, sum(load.wrong.values()))
                lost.update(load.wrong)
                load.wrong.clear()
        assert server.end() == 0
    figures.update(
        kills=5, requests=load.done, cut_off=sum(lost.values()), most_of_one_kill=most, back_after_s=max(back),
        p99_ms=load.percentile(0.99), longest_ms=load.percentile(1.0),
    )  # fmt: skip
    # Cut off is who was with the one that died, in one request; nobody else is, nor anybody twice.
    assert most <= sum(clients), lost
    kinds = ("reset", "Remote", "IncompleteRead", "Socket closed")
    assert all(any(kind in text for kind in kinds) for text in lost), lost


def workers(server: Served) -> list[int]:
    return server.pids()[1:]


def test_corrupt_new_versions(base: Path, figures: dict[str, Any]) -> None:
    outcomes: Counter[str] = Counter()
    with served(base) as server, Load(server, rest=2) as load:
        for number, (what, write) in enumerate(corrupted(base / "1", 60), 2):
            folder = base / str(number)
            write(folder)
            item: Any = {"state": "LOADING"}
            while item["state"] not in ("AVAILABLE", "END"):
                time.sleep(0.01)
                (item,) = server.get(f"/v1/models/m/versions/{number}").get("model_version_status", [item])
            if item["state"] == "END":
                assert item["status"]["error_message"], what
                assert available(server)
            elif what.startswith("variables"):
                # The bit is one of those that nobody reads, between the index and its end.
                assert rightly(server.predict()[1], [1.0]), what
            outcomes[f"{what}: {'refused' if item['state'] == 'END' else 'served'}"] += 1
            shutil.rmtree(folder)
            server.wait_for(lambda: available(server) == [1], 60)
    figures.update(asked(load), versions=sum(outcomes.values()), outcomes=dict(sorted(outcomes.items())))
    # A bit that is wrong in a graph may make another graph, whose answers are its own; no request fails for it.
    strange = [text for text in load.wrong if "another answer" not in text]
    assert not strange, strange


def test_slow_clients(base: Path, figures: dict[str, Any]) -> None:
    with served(base) as server:
        with Load(server, rest=2) as load:
            load.wait_for(300)
        alone = asked(load)
        files = server.files()
        with trickle(server.rest, 400), Load(server, rest=2) as load:
            until = time.monotonic() + 45
            most = 0
            while time.monotonic() < until:
                most = max(most, server.files())
                time.sleep(0.5)
        server.wait_for(lambda: server.files() <= files + 5)
    figures.update(asked(load), slow_connections=400, most_open_files=most, p99_ms_without=alone["p99_ms"])
    assert not load.wrong, load.wrong


def test_resets_mid_body_and_10000_disconnects(base: Path, figures: dict[str, Any]) -> None:
    with served(base, grpc=True) as server:
        disconnect(server.rest, 300)
        files, memory = server.files(), server.memory()
        with Load(server, rest=2, grpc=1) as load:
            begin = time.monotonic()
            for port, count in ((server.rest, 10_000), (server.grpc, 1000)):
                # From another process: this one's clients want the interpreter for themselves.
                program = f"from tests.serving.faults import disconnect; disconnect({port}, {count})"
                subprocess.run([sys.executable, "-c", program], check=True, cwd=RESULTS.parent.parent)
            seconds = time.monotonic() - begin
        server.wait_for(lambda: server.files() <= files + 5)
        grown = server.memory() - memory
        errors = [line for line in server.lines if line["level"] in ("ERROR", "UNKNOWN")]
        server.wait_for(lambda: server.get("/graphflow/status")["requests"] == 0)
    figures.update(asked(load), disconnects=11_000, seconds=seconds, memory_grown_mib=grown / MIB)
    assert not load.wrong and not errors, (load.wrong, errors[:3])
    assert grown < 16 * MIB


def test_overload_10_times(tmp_path: Path, figures: dict[str, Any]) -> None:
    save_slow_model(tmp_path / "models" / "1")
    with served(tmp_path / "models", "--max_requests", "256") as server:
        patience = 1.0
        closed(server.rest, 8, 2.0)
        capacity = closed(server.rest, 8, 5.0)
        once = offered(server.rest, 0.8 * capacity, 4.0, patience)
        tenfold = offered(server.rest, 10 * capacity, 10.0, patience)
        after = closed(server.rest, 8, 3.0)
    goodput = tenfold.good / tenfold.seconds
    # The machine's own speed changes from second to second: before and after it.
    usual = (capacity + after) / 2
    figures.update(
        capacity_per_s=capacity, goodput_per_s_at_0_8_of_it=once.good / once.seconds,
        offered_per_s=tenfold.sent / tenfold.seconds, goodput_per_s=goodput, goodput_share=goodput / usual,
        answers={str(status): count for status, count in sorted(tenfold.statuses.items())},
        p99_ms_of_good=tenfold.p99(), p99_ms_of_the_others=tenfold.p99(False), capacity_after_per_s=after,
    )  # fmt: skip
    assert set(tenfold.statuses) <= {200, 429, 503, 504}, tenfold.statuses
    assert goodput > 0.75 * usual


def save_slow_model(path: Path) -> None:
    """Saves a net whose run takes tens of milliseconds per row of eight numbers, however many run together."""
    with gf.Graph().as_default(), gf.Session() as sess:
        x = gf.placeholder(gf.float32, [None, 8], name="x")
        random_ = np.random.default_rng(0)

        def weights(*shape: int) -> Any:
            return gf.Variable((random_.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32))

        y = gf.reshape(gf.matmul(x, weights(8, 128 * 128 * 8)), [-1, 128, 128, 8])
        for channels in ((8, 64), (64, 64), (64, 64), (64, 64)):
            y = gf.nn.relu(gf.nn.conv2d(y, weights(3, 3, *channels), [1, 1, 1, 1], "SAME"))
        y = gf.reduce_mean(y, [1, 2])
        sess.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(sess, str(path), {"x": x}, {"y": y})


ROW = json.dumps({"instances": [[0.5] * 8]}).encode()


class Offered:
    """What has come of requests.

    Args:
      patience: seconds in which an answer is of use.

    Attributes:
      sent: requests.
      good: those with an answer in time.
      statuses: the answers; 0 is none.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self.patience = patience
        self.sent = self.good = 0
        self.seconds = 0.0
        self.statuses: Counter[int] = Counter()
        self.times: list[tuple[bool, float]] = []

    def came(self, status: int, seconds: float) -> None:
        """Counts an answer, or none (0), that took so long."""
        good = status == 200 and seconds <= self.patience
        self.good += good
        self.statuses[status] += 1
        self.times.append((good, seconds))

    def p99(self, good: bool = True) -> float:
        """Milliseconds."""
        found = [seconds for was_good, seconds in self.times if was_good == good]
        return 1e3 * float(np.percentile(found, 99)) if found else 0.0


def message(patience: float | None = None) -> bytes:
    more = b"" if patience is None else b"X-Request-Timeout: %f\r\n" % patience
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\n%sContent-Length: %d\r\n\r\n"
    return head % (more, len(ROW)) + ROW


def closed(port: int, clients: int, seconds: float) -> float:
    """Requests per second that so many clients get answered, each of which waits for its answer."""
    found = Offered()
    with Crowd(port, found) as crowd:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while crowd.waiting < clients:
                crowd.ask(message())
            crowd.hear(0.1)
    assert set(found.statuses) <= {200}, found.statuses
    return found.statuses[200] / seconds


def offered(port: int, rate: float, seconds: float, patience: float) -> Offered:
    """Sends so many requests per second, whether answers come or not."""
    found = Offered(patience)
    text = message(patience)
    with Crowd(port, found) as crowd:
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            while found.sent < (now - begin) * rate:
                found.sent += 1
                crowd.ask(text)
            crowd.hear(max(0.0, begin + found.sent / rate - time.monotonic()))
        found.seconds = time.monotonic() - begin
        while crowd.waiting:
            crowd.hear(60.0)
    return found


class Crowd:
    """Clients that take little of the processors, which they share with whom they ask.

    Args:
      port: whom they ask.
      found: what has come of it.

    Attributes:
      waiting: how many of them wait for an answer.
    """

    def __init__(self, port: int, found: Offered) -> None:
        self._address, self._found = ("127.0.0.1", port), found
        self._poll = select.epoll()
        self._all: dict[int, socket.socket] = {}
        self._free: list[socket.socket] = []
        self._begun: dict[int, float] = {}

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        for connection in self._all.values():
            connection.close()
        self._poll.close()

    @property
    def waiting(self) -> int:
        return len(self._begun)

    def ask(self, text: bytes) -> None:
        """Sends a request over a connection that is free, or a new one."""
        if self._free:
            connection = self._free.pop()
        else:
            connection = socket.create_connection(self._address)
            self._all[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        self._begun[connection.fileno()] = time.monotonic()
        connection.sendall(text)

    def hear(self, seconds: float) -> None:
        """Takes the answers that there are; waits for so long until there is one."""
        for number, _ in self._poll.poll(seconds):
            connection = self._all[number]
            text = connection.recv(65536)
            # An answer is short, and comes as it was sent: in one piece.
            assert not text or text.endswith(b"}"), text
            self._found.came(int(text[9:12]) if text else 0, time.monotonic() - self._begun.pop(number))
            if text:
                self._free.append(connection)
            else:
                self._poll.unregister(number)
                self._all.pop(number).close()


def test_disk_full(base: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("a disk of its own takes the right to mount one")
    try:
        shutil.copytree(base / "1", disk / "models" / "1")
        (disk / "cache").mkdir()
        with served(
            disk / "models", "--record_requests", str(disk / "requests"), grpc=True,
            TMPDIR=str(disk), GRAPHFLOW_CACHE_DIR=str(disk / "cache"),
        ) as server, Load(server, rest=2, grpc=1) as load:  # fmt: skip
            load.wait_for(20)
            with contextlib.suppress(OSError), (disk / "full").open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            load.wait_for(500)
            with contextlib.suppress(OSError):
                shutil.copytree(base / "1", disk / "models" / "2")  # as much of it as fits
            waits = server.wait_for(lambda: server.get("/v1/models/m/versions/2").get("model_version_status"))
            load.wait_for(500)
            shutil.rmtree(disk / "models" / "2", ignore_errors=True)
            (disk / "full").unlink()
            shutil.copytree(base / "1", disk / "models" / "2")
            server.wait_for(lambda: available(server) == [2])
            load.wait_for(100)
        with (
            served(disk / "models", "--workers", "2", TMPDIR=str(disk)) as server,
            Load(server, rest=2) as more,
        ):
            with contextlib.suppress(OSError), (disk / "full").open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            more.wait_for(500)
            assert ":tensorflow:serving:request_count" in server.get("/monitoring/prometheus/metrics")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    figures.update(asked(load), a_half_copied_version_is_in_state=waits[0]["state"])
    assert not load.wrong and not more.wrong, (load.wrong, more.wrong)


def test_address_space(tmp_path: Path, figures: dict[str, Any]) -> None:
    save_model(tmp_path / "models" / "1")
    limit = 2 << 30

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    statuses: Counter[str] = Counter()
    with (
        served(tmp_path / "models", grpc=True, before=narrow) as server,
        Load(server, rest=1, grpc=1) as load,
    ):
        load.wait_for(50)
        for rows in (10_000, 1_000_000, 10_000_000, 30_000_000, 60_000_000, 80_000_000) * 3:
            head = {
                "inputs": [{
                    "name": "x", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": 12 * rows},
                }],
                "parameters": {"binary_data_output": True},
            }  # fmt: skip
            text = json.dumps(head).encode()
            try:
                status, content = server.predict(
                    text + bytes(12 * rows),
                    "/v2/models/m/infer",
                    **{"Inference-Header-Content-Length": str(len(text))},
                )
            except OSError as error:
                status, content = 0, repr(error).encode()
            statuses[f"{12 * rows / MIB:.0f} MiB: {status}"] += 1
            if status != 200:
                print(status, content[:200])
            assert server.process.poll() is None
        with grpc_channel(server) as call:
            for size in (200 << 20, 800 << 20):
                try:
                    call(bytes(size))
                    statuses[f"gRPC {size / MIB:.0f} MiB: OK"] += 1
                except Exception as error:
                    statuses[f"gRPC {size / MIB:.0f} MiB: {error.code().name}"] += 1  # type: ignore[attr-defined]
                assert server.process.poll() is None
        assert server.predict()[0] == 200
    figures.update(asked(load), limit_mib=limit / MIB, answers=dict(statuses))
    assert not load.wrong, load.wrong
    allowed = {"200", "400", "429", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert {text.rsplit(" ", 1)[1] for text in statuses} <= allowed, statuses


@contextlib.contextmanager
def grpc_channel(server: Served) -> Iterator[Callable[[bytes], bytes]]:
    import grpc

    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options) as channel:
        yield channel.unary_unary("/tensorflow.serving.PredictionService/Predict")


def test_schemathesis_on_the_openapi_document(base: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    tool = shutil.which("schemathesis") or os.environ.get("SCHEMATHESIS", "")
    if not tool:
        pytest.skip("schemathesis is not installed")
    with served(base, grpc=True) as server:
        done = subprocess.run(
            [
                tool, "run", f"http://127.0.0.1:{server.rest}/openapi.json", "--max-examples", "200", "--seed", "1",
                "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                "response_schema_conformance",
                "--request-timeout", "60", "--continue-on-failure", "--no-color",
            ],
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert server.predict()[0] == 200
        errors = [line for line in server.lines if line["level"] in ("ERROR", "UNKNOWN")]
    text = done.stdout[-6000:]
    match = re.search(r"(\d+) generated", done.stdout)
    figures.update(generated=int(match[1]) if match else 0, failures=int(done.returncode != 0))
    assert done.returncode == 0 and not errors, (text, errors[:3])
