"""Serving side by side: graphflow and its peers under one load, with the same weights, in the same minutes.

Every server is a process (or several) of its own, started in its own environment; all stay up while they are measured
in turns, so that each meets the machine's good and bad moments. The load comes from one process (`servers/load.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.servers import models

OURS = "graphflow"
FOLDER = Path(__file__).resolve().parent / "servers"
ROOT = FOLDER.parent.parent
CLIENTS = (1, 8, 32)
# What travels: numbers as text, or tensors as bytes, over HTTP; messages over gRPC.
WIRES = ("json", "binary", "grpc")
# How far answers may be apart.
TOLERANCE = 1e-5
# Rows of a batch, at most, for whoever makes batches.
BATCH = 32
_COLORS = {
    OURS: "#111111", "onnxruntime": "#607d8b", "litserve": "#9c27b0", "mlserver": "#1a73e8", "triton": "#188038",
}  # fmt: skip
_GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
# Seconds that a server may take to its first answer.
_PATIENCE = 90.0

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Server:
    """What can be started.

    Attributes:
      name: the peer's.
      batching: whether it puts requests together.
      wires: what it speaks.
      environment: the folder of its virtual environment under the repository; "" is the one that we run in.
    """

    name: str
    batching: bool
    wires: tuple[str, ...]
    environment: str = ""

    @property
    def key(self) -> str:
        """What results call it."""
        return f"{self.name}{' batching' if self.batching else ''}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ROOT / self.environment / "bin" / "python" if self.environment else Path(sys.executable)

    def command(self, folder: Path, model: str, port: int, grpc_port: int) -> list[str]:
        """Returns what starts it."""
        python, file, batch = (
            str(self.python),
            str(folder / f"{model}.onnx"),
            str(BATCH if self.batching else 0),
        )
        if self.name == OURS:
            batching = "--enable_batching" if self.batching else "--no-enable_batching"
            base = ["--model_name", "m", "--model_base_path", str(folder / model), batching]
            ports = ["--rest_api_port", str(port), "--port", str(grpc_port)]
            return [python, "-m", "graphflow", "serve", *base, *ports]
        if self.name == "onnxruntime":
            return [python, str(FOLDER / "onnxruntime_service.py"), file, str(port)]
        if self.name == "litserve":
            return [python, str(FOLDER / "litserve_service.py"), file, str(port), batch]
        if self.name == "triton":
            return [python, str(FOLDER / "triton_service.py"), file, str(port), str(grpc_port), batch]
        settings = folder / f"{self.key} {model}".replace(" ", "_")
        settings.mkdir(exist_ok=True)
        of_server = {
            "http_port": port, "grpc_port": grpc_port, "metrics_port": free_port(), "parallel_workers": 0,
            "debug": False, "use_structured_logging": False, "load_models_at_startup": True,
        }  # fmt: skip
        of_model: dict[str, Any] = {
            "name": "m",
            "implementation": "mlserver_runtime.Served",
            "parameters": {"uri": file},
        }
        if self.batching:
            of_model |= {"max_batch_size": BATCH, "max_batch_time": 0.001}
        (settings / "settings.json").write_text(json.dumps(of_server))
        (settings / "model-settings.json").write_text(json.dumps(of_model))
        return [str(self.python.with_name("mlserver")), "start", str(settings)]

    def variables(self) -> dict[str, str]:
        """Returns the environment variables of its process."""
        found = dict(os.environ)
        if self.name == OURS:
            found["PYTHONPATH"] = str(ROOT)
            return found
        found.pop("PYTHONPATH", None)
        if self.name == "mlserver":
            found["PYTHONPATH"] = str(FOLDER)
        if self.name == "triton":
            # Its interpreter within the interpreter takes the system's library of Python before the right one.
            base = [str(self.python), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
            found["LD_LIBRARY_PATH"] = subprocess.run(
                base, capture_output=True, text=True, check=True
            ).stdout.strip()
        return found


SERVERS = (
    Server(OURS, True, WIRES),
    Server(OURS, False, WIRES),
    Server("onnxruntime", False, ("json", "binary"), ".venv-serve"),
    Server("litserve", True, ("json",), ".venv-serve"),
    Server("litserve", False, ("json",), ".venv-serve"),
    Server("mlserver", True, ("json", "grpc"), ".venv-serve-mlserver"),
    Server("mlserver", False, ("json", "grpc"), ".venv-serve-mlserver"),
    Server("triton", True, WIRES, ".venv-serve-triton"),
    Server("triton", False, WIRES, ".venv-serve-triton"),
)


def free_port() -> int:
    """Returns a port that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def row() -> Array:
    """Returns the image that is sent, one row."""
    return (np.random.RandomState(7).randint(0, 256, (1, models.SIZE)) / 255).astype(np.float32)


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def request(name: str, wire: str) -> bytes:
    """Returns all bytes of the HTTP request that a server is sent, or the message of a call."""
    x = row()
    if wire == "grpc":
        from graphflow.serialization.proto import open_inference_pb2

        message = open_inference_pb2.ModelInferRequest(model_name="m", raw_input_contents=[x.tobytes()])
        message.inputs.add(name="x", datatype="FP32", shape=x.shape)
        return message.SerializeToString()
    tensor: dict[str, Any] = {"name": "x", "shape": list(x.shape), "datatype": "FP32"}
    if wire == "binary":
        if name == "onnxruntime":
            return _post("/binary", x.tobytes(), "Content-Type: application/octet-stream")
        tensor["parameters"] = {"binary_data_size": x.nbytes}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        size = f"Inference-Header-Content-Length: {len(head)}"
        return _post("/v2/models/m/infer", head + x.tobytes(), size, "Content-Type: application/octet-stream")
    # Each number as short as tells it from the next one.
    numbers = "[" + ",".join(np.format_float_positional(value, trim="0") for value in x[0]) + "]"
    if name in ("onnxruntime", "litserve"):
        return _post("/predict", f'{{"instances":[{numbers}]}}'.encode(), "Content-Type: application/json")
    of_tensor = json.dumps({**tensor, "data": 0}).replace(": 0}", f": {numbers}}}")
    body = f'{{"inputs":[{of_tensor}]}}'.encode()
    return _post("/v2/models/m/infer", body, "Content-Type: application/json")


def numbers_of(name: str, wire: str, answer: bytes) -> Array:
    """Returns the ten numbers of an answer."""
    if wire == "grpc":
        from graphflow.serialization.proto import open_inference_pb2

        message = open_inference_pb2.ModelInferResponse.FromString(answer)
        if message.raw_output_contents:
            return np.frombuffer(message.raw_output_contents[0], np.float32)
        return np.array(message.outputs[0].contents.fp32_contents, np.float32)
    if wire == "binary":
        return np.frombuffer(answer[-40:], np.float32)
    found = json.loads(answer)
    values = found["predictions"] if "predictions" in found else found["outputs"][0]["data"]
    return np.array(values, np.float32).ravel()


class Load:
    """The process that the load comes from."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(FOLDER / "load.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, what: Server, port: int, wire: str, clients: int, seconds: float) -> dict[str, Any]:
        """Keeps a server busy; returns what the load found.

        Raises:
          RuntimeError: if the server refuses, or goes away.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        task = {
            "port": port, "wire": wire, "path": _GRPC_PATH,
            "request": request(what.name, wire).hex(), "clients": clients, "seconds": seconds,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in found:
            raise RuntimeError(f"{what.key}, {wire}, {clients} clients: {found['error']}")
        return found

    def close(self) -> None:
        """Ends it."""
        with self._process:
            self._process.terminate()


@dataclass
class Running:
    """A server that has been started.

    Attributes:
      what: which.
      process: its first process; the others are below it.
      port, grpc_port: where it listens.
      log: what it writes.
      first_answer_s: seconds from its start to its first answer.
    """

    what: Server
    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    log: Path
    first_answer_s: float = field(default=0.0)

    def port_of(self, wire: str) -> int:
        """Returns where it is sent this."""
        return self.grpc_port if wire == "grpc" else self.port

    def memory(self) -> dict[str, float]:
        """Returns resident and proportional megabytes of all its processes."""
        found = {"rss_mb": 0.0, "pss_mb": 0.0}
        for process in _below(self.process.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    key = {"Rss:": "rss_mb", "Pss:": "pss_mb"}.get(line.split()[0])
                    if key:
                        found[key] += int(line.split()[1]) / 1024
        return found

    def close(self) -> None:
        """Ends all its processes."""
        everyone = _below(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for process in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()


def _below(root: int) -> list[int]:
    """A process and all that it has started."""
    found, parents = [root], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def start(what: Server, folder: Path, model: str) -> Running:
    """Starts a server and returns when it has answered.

    Raises:
      RuntimeError: if it does not.
    """
    port, grpc_port = free_port(), free_port()
    log = folder / f"{what.key} {model}.log".replace(" ", "_")
    command, variables = what.command(folder, model, port, grpc_port), what.variables()
    begin = time.perf_counter()
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env=variables, cwd=folder)
    running = Running(what, process, port, grpc_port, log)
    wanted = request(what.name, "json")
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as asked,
        ):
            asked.sendall(wanted)
            answer = asked.recv(1 << 16)
            if answer.startswith(b"HTTP/1.1 200"):
                break
            # Some say 404 or 503 before their model is there; what they cannot read they never will.
            if answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 422")):
                running.close()
                raise RuntimeError(f"{what.key} refuses what it is asked: {answer[:500]!r}")
        if process.poll() is not None or time.perf_counter() - begin > _PATIENCE:
            running.close()
            raise RuntimeError(f"{what.key} does not answer: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.003)
    running.first_answer_s = time.perf_counter() - begin
    return running


def write_models(folder: Path, names: Sequence[str]) -> dict[str, Array]:
    """Writes the models for all; returns what each makes of `row()`."""
    import graphflow as gf

    answers = {}
    for name in names:
        if not (folder / name / "1").exists():
            models.save(name, folder / name)
        python = ROOT / ".venv-serve" / "bin" / "python"
        if python.exists() and not (folder / f"{name}.onnx").exists():
            np.savez(folder / f"{name}.npz", **models.weights(name))
            script = [str(python), str(FOLDER / "onnx_models.py"), name]
            subprocess.run([*script, f"{name}.npz", f"{name}.onnx"], cwd=folder, check=True)
        with gf.Graph().as_default(), gf.Session() as session:
            gf.saved_model.load(session, [gf.saved_model.SERVING], str(folder / name / "1"))
            answers[name] = session.run("y:0", {"x:0": row()})[0]
    return answers


@contextlib.contextmanager
def _started(
    servers: Sequence[Server], folder: Path, model: str, say: Callable[[str], None]
) -> Iterator[list[Running]]:
    running: list[Running] = []
    try:
        for server in servers:
            try:
                running.append(start(server, folder, model))
            except (OSError, RuntimeError) as error:
                say(f"{server.key}: left out, {error}")
        yield running
    finally:
        for started in running:
            started.close()


def chosen(peers: Sequence[str]) -> list[Server]:
    """Returns the servers of these peers, of all that are installed if none are named.

    Raises:
      ValueError: for a peer that there is not.
    """
    unknown = sorted(set(peers) - {server.name for server in SERVERS})
    if unknown:
        raise ValueError(f"no such peers: {', '.join(unknown)}")
    return [server for server in SERVERS if server.python.exists() and (not peers or server.name in peers)]


def measure(
    names: Sequence[str],
    peers: Sequence[str],
    wires: Sequence[str],
    clients: Sequence[int],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
    folder: str | None = None,
) -> dict[str, Any]:
    """Runs the servers side by side.

    Args:
      names: models.
      peers: which; empty takes all that are installed.
      wires, clients: what is sent, and by how many at once.
      rounds: how often each is measured, in turns.
      seconds: how long at a time.
      say: called with each line that tells how it goes.
      folder: where models are kept; None makes them anew.

    Returns:
      `{"throughput": {model: {wire: {clients: {server: {per_second, p50_ms, p99_ms, rounds}}}}}, "servers": {model:
      {server: {first_answer_s, rss_mb, pss_mb}}}}`.

    Raises:
      RuntimeError: if a server's answers are not the session's.
    """
    results: dict[str, Any] = {"throughput": {}, "servers": {}}
    load = Load()
    with contextlib.ExitStack() as stack:
        stack.callback(load.close)
        place = Path(folder or stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(exist_ok=True)
        answers = write_models(place, names)
        for model in names:
            with _started(chosen(peers), place, model, say) as running:
                results["servers"][model] = {}
                results["throughput"][model] = {
                    wire: _in_turns(running, wire, clients, rounds, seconds, load, answers[model], say)
                    for wire in wires
                }
                for server in running:
                    told = {"first_answer_s": server.first_answer_s, **server.memory()}
                    results["servers"][model][server.what.key] = told
    return results


def _in_turns(
    running: Sequence[Running],
    wire: str,
    clients: Sequence[int],
    rounds: int,
    seconds: float,
    load: Load,
    wanted: Array,
    say: Callable[[str], None],
) -> dict[str, Any]:
    speaking = [server for server in running if wire in server.what.wires]
    for server in speaking:
        found = load(server.what, server.port_of(wire), wire, max(clients), min(seconds, 0.3))
        given = numbers_of(server.what.name, wire, bytes.fromhex(found["answer"]))
        far = float(np.abs(given - wanted).max()) if given.shape == wanted.shape else np.inf
        # graphflow's own keep every bit; the others compute in another order.
        if far > (0.0 if server.what.name == OURS else TOLERANCE):
            raise RuntimeError(f"{server.what.key} answers {given}, the session {wanted}")
    outcome: dict[str, Any] = {}
    for count in clients:
        found_by: dict[str, list[dict[str, Any]]] = {server.what.key: [] for server in speaking}
        for turn in range(rounds):
            for server in speaking if turn % 2 == 0 else reversed(speaking):
                found = load(server.what, server.port_of(wire), wire, count, seconds)
                del found["answer"]
                found_by[server.what.key].append(found)
        outcome[str(count)] = {
            key: {name: median(one[name] for one in found) for name in found[0]}
            | {"rounds": [round(one["per_second"], 1) for one in found]}
            for key, found in found_by.items()
        }
        shown = ", ".join(
            f"{key} {one['per_second']:.0f}/s p99 {one['p99_ms']:.1f}"
            for key, one in outcome[str(count)].items()
        )
        say(f"  {wire} {count}: {shown}")
    return outcome


def _peers(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in found.items() if not key.startswith(OURS)}


def ratios(found: Mapping[str, Any]) -> tuple[float, float]:
    """Returns our answers per second and our p99 as shares of the best peer's, each of us at our better setting."""
    ours = [one for key, one in found.items() if key.startswith(OURS)]
    peers = list(_peers(found).values())
    rate = max(one["per_second"] for one in ours) / max(one["per_second"] for one in peers)
    return rate, min(one["p99_ms"] for one in ours) / min(one["p99_ms"] for one in peers)


def table(results: Mapping[str, Any]) -> str:
    """Returns the results as Markdown tables."""
    keys = [
        server.key for server in SERVERS if any(server.key in found for found in results["servers"].values())
    ]
    lines = [
        f"| answers/s, p50, p99 ms | {' | '.join(keys)} | to best peer: answers/s, p99 |",
        f"|---|{'---:|' * (len(keys) + 1)}",
    ]
    for model, wires in results["throughput"].items():
        for wire, counts in wires.items():
            for count, found in counts.items():
                cells = [
                    f"{one['per_second']:.0f}, {one['p50_ms']:.2f}, {one['p99_ms']:.2f}" if one else "\u2013"
                    for one in (found.get(key) for key in keys)
                ]
                share = "\u2013"
                if _peers(found) and len(_peers(found)) < len(found):
                    share = "**{:.2f}**, **{:.2f}**".format(*ratios(found))
                lines.append(f"| {model} {wire}, {count} clients | {' | '.join(cells)} | {share} |")
    lines += ["", "| | to the first answer, s | RSS MB | PSS MB |", "|---|---:|---:|---:|"]
    for model, servers in results["servers"].items():
        for key in keys:
            one = servers.get(key)
            if one:
                lines.append(
                    f"| {key}, {model} | {one['first_answer_s']:.2f} | {one['rss_mb']:.0f} | {one['pss_mb']:.0f} |"
                )
    return "\n".join(lines) + "\n"


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draws answers per second and p99 against the clients, as PNG and SVG."""
    from matplotlib.figure import Figure

    panels = [(model, wire) for model, wires in results["throughput"].items() for wire in wires]
    figure = Figure(figsize=(4 * len(panels), 6.5), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, (model, wire) in enumerate(panels):
        counts = results["throughput"][model][wire]
        for server in SERVERS:
            points = [
                (int(count), found[server.key]) for count, found in counts.items() if server.key in found
            ]
            if not points:
                continue
            style = "-" if server.batching else "--"
            width = 2.2 if server.name == OURS else 1.2
            for line, name in enumerate(("per_second", "p99_ms")):
                axes[line][column].plot(
                    [clients for clients, _ in points], [one[name] for _, one in points],
                    style, marker="o", linewidth=width, color=_COLORS[server.name], label=server.key,
                )  # fmt: skip
        axes[0][column].set_title(f"{model}, {wire}")
        for line, name in enumerate(("answers/s", "p99, ms")):
            axes[line][column].set_xscale("log", base=2)
            axes[line][column].set_yscale("log")
            axes[line][column].set_xlabel("clients")
            axes[line][column].set_ylabel(name)
    axes[0][0].legend(fontsize=7)
    for suffix in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{suffix}"), metadata={"Date": None} if suffix == "svg" else None)
