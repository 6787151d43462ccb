"""On a machine with a GPU: its limits, then graphflow beside torch and JAX where these are installed.

`make gpu` runs the tests marked `gpu` first, and the oracle matrix last. Nothing is downloaded: what is missing is
said. Two protocols: "feed", a host array in and a result out at every step; "device", steps one behind the other over
data that lies on the device, which is waited for once a block. Each figure is the median of blocks; peers take turns
with graphflow in one process, so clocks are the same for all.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphflow as gf
from benchmarks import workloads as data
from benchmarks.peers.tf1_programs import Programs, Run
from graphflow import config
from graphflow.backends.base import load
from graphflow.backends.gpu import found
from graphflow.loops.build import Builder

BLOCKS = 7
SECONDS = 0.4  # per figure

Step = Callable[[], Any]

_BERT = {
    "TRANSFORMER_VOCABULARY": 30522, "TRANSFORMER_LAYERS": 12, "TRANSFORMER_WIDTH": 768, "TRANSFORMER_HEADS": 12,
    "TRANSFORMER_HIDDEN": 3072, "TRANSFORMER_LENGTH": 128, "TRANSFORMER_BATCH": 32, "TRANSFORMER_TRAINING_BATCH": 32,
}  # fmt: skip
_RESNET50 = {
    "RESNET_BLOCKS": (3, 4, 6, 3), "RESNET_WIDER": 4, "RESNET_BATCH": 32, "RESNET_TRAINING_BATCH": 64,
}  # fmt: skip
_LSTM = {"LSTM_VOCABULARY": 10_000, "LSTM_HIDDEN": 650, "LSTM_STEPS": 35, "LSTM_BATCH": 20}
_WIDE = {"ROWS": (16384, 4096)}
_MANY = {"OPTIONS": 1 << 26}
# Small enough for a processor that stands for a GPU.
SMALL = {
    "TRANSFORMER_VOCABULARY": 50, "TRANSFORMER_LAYERS": 1, "TRANSFORMER_WIDTH": 16, "TRANSFORMER_HEADS": 2,
    "TRANSFORMER_HIDDEN": 32, "TRANSFORMER_LENGTH": 8, "TRANSFORMER_BATCH": 2, "TRANSFORMER_TRAINING_BATCH": 2,
    "RESNET_IMAGE": 16, "RESNET_CLASSES": 10, "RESNET_STAGES": ((8, 1), (16, 2)), "RESNET_BLOCKS": (1, 1),
    "RESNET_WIDER": 2, "RESNET_BATCH": 2, "RESNET_TRAINING_BATCH": 2,
    "LSTM_VOCABULARY": 30, "LSTM_HIDDEN": 8, "LSTM_STEPS": 3, "LSTM_BATCH": 2,
    "ROWS": (16, 64), "OPTIONS": 1024, "BATCH": 8, "MLP_SIZES": (784, 16, 10),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the table: the race's workload that it is, at which sizes, the ratio to the best peer that it is to stay
    below, and the bytes that have to be moved, where that is all there is to it."""

    name: str
    workload: str = ""
    sizes: dict[str, Any] = field(default_factory=dict)
    bar: float = 0.0
    moved: int = 0


ROWS = (
    Row("dispatch", "dispatch_scalar", bar=0.5),
    Row("mlp", "mlp", bar=0.7),
    Row("lenet", "lenet", bar=0.7),
    Row("lstm", "lstm", _LSTM, 0.5),
    Row("bert_b1", "transformer_b1", _BERT, 0.8),
    Row("bert_b32", "transformer_b8", _BERT, 0.95),
    Row("bert_train", "transformer_train", _BERT, 0.95),
    Row("resnet50_b32", "resnet18_b16", _RESNET50, 0.95),
    Row("resnet50_train", "resnet18_train", _RESNET50, 0.95),
    Row("black_scholes", "black_scholes", _MANY, moved=20 << 26),
    Row("softmax", "softmax", _WIDE, moved=8 * 16384 * 4096),
    Row("layer_norm", "layer_norm", _WIDE, moved=8 * 16384 * 4096),
    Row("softmax_regression", "softmax_regression"),
    Row("bert_b1_bf16", "transformer_b1_bf16", _BERT, 0.8),
    Row("bert_b32_bf16", "transformer_b8_bf16", _BERT, 0.95),
    Row("bert_train_bf16", "transformer_train_bf16", _BERT, 0.95),
    Row("resnet50_b32_bf16", "resnet18_b16_bf16", _RESNET50, 0.95),
    Row("resnet50_train_bf16", "resnet18_train_bf16", _RESNET50, 0.95),
)


@contextlib.contextmanager
def sized(sizes: dict[str, Any]) -> Iterator[None]:
    """Inside, the workloads have other sizes, for every peer."""
    before = {name: getattr(data, name) for name in sizes}
    vars(data).update(sizes)
    try:
        yield
    finally:
        vars(data).update(before)


def nothing() -> None:
    """Waits for nothing: the step itself does."""


def milliseconds(step: Step, wait: Step = nothing, seconds: float | None = None) -> float:
    """Median over blocks of the time of one call, of which `wait` waits for all that a block has begun."""
    seconds = SECONDS if seconds is None else seconds
    for _ in range(3):
        step()
    wait()
    begin = time.perf_counter()
    step()
    wait()
    once = max(time.perf_counter() - begin, 1e-7)
    calls = max(1, int(seconds / BLOCKS / once))
    times = []
    for _ in range(BLOCKS):
        begin = time.perf_counter()
        for _ in range(calls):
            step()
        wait()
        times.append((time.perf_counter() - begin) / calls)
    return statistics.median(times) * 1e3


def limits(most: int = 1 << 28) -> dict[str, float]:
    """What the device, the driver and CuPy can do at best. `most`: bytes of the largest copies."""
    from graphflow.backends.gpu.products import gemm_plan
    from graphflow.loops.library import Gemm

    device = load("gpu").open()  # type: ignore[attr-defined]
    b = Builder("increment")
    x, y, n = b.buffer("x", "f32"), b.buffer("y", "f32"), b.int_param("n")
    with b.loop("i", 0, n, "parallel") as i:
        b.store(y, i, b.add(b.load(x, i), 1.0))
    (function,) = device.functions([b.kernel()], [False])
    device.load([function])
    side = 4096 if most == 1 << 28 else 64
    slab = device.alloc(max(3 * most, 12 * side * side))
    place = slab.address
    device.memset(place, 0x3C, slab.nbytes)  # small numbers: zeros take less power

    def launches(count: int) -> None:
        for _ in range(count):
            device.launch(function, [place, place, 32])

    def waited(work: Step) -> Step:
        def step() -> None:
            work()
            device.synchronize()

        return step

    result = {
        "launch_us": milliseconds(waited(lambda: launches(1000))),
        "sync_us": 1e3 * milliseconds(device.synchronize),
    }
    for count in (1, 10, 100, 1000):
        device.begin_capture()
        launches(count)
        graph = device.end_capture()
        result[f"graph_{count}_us"] = 1e3 * milliseconds(waited(lambda graph=graph: device.replay(graph)))  # type: ignore[misc]
        # Many behind each other: what the device takes, and not the way there.
        again: Step = functools.partial(device.replay, graph)
        result[f"graph_{count}_again_us"] = 1e3 * milliseconds(again, device.synchronize)
    result["node_us"] = (result["graph_1000_again_us"] - result["graph_100_again_us"]) / 900
    host = device.pinned(most)
    for name, size in (("4_B", 4), (f"{most >> 20}_MiB", most)):
        result[f"h2d_{name}_us"] = 1e3 * milliseconds(waited(lambda size=size: device.h2d(place, host, size)))  # type: ignore[misc]
        result[f"d2h_{name}_us"] = 1e3 * milliseconds(waited(lambda size=size: device.d2h(host, place, size)))  # type: ignore[misc]
    half = milliseconds(lambda: device.d2d(place, place + most, most), device.synchronize)
    result["copy_GB_per_s"] = 2 * most / half / 1e6
    for dtype, factors in (("f32", None), ("f32", "bf16")):
        plan = gemm_plan(Gemm(dtype=dtype, m=side, n=side, k=side, operand_dtype=factors), {}, "")
        scratch = device.alloc(max(256, device.workspace(plan)))
        pointers = [place, place + 4 * side * side, place + 8 * side * side]
        work: Step = functools.partial(device.gemm, plan, pointers, scratch.address)
        took = milliseconds(work, device.synchronize)
        result[f"matmul_{side}_{factors or dtype}_TFLOP_per_s"] = plan.flops / took / 1e9
        device.free(scratch)
    device.close()
    return result


class Resident(Programs):
    """The workloads over data that lies on the device: variables stand for placeholders, and results go to variables.

    Attributes:
      session: what the workload built last runs in.
    """

    def __init__(self) -> None:
        super().__init__(_Placed(), 0)
        self.session: Any = None

    def _function(self, fetches: Any, feeds: list[Any], arguments: Any, bfloat16: bool = False) -> Step:
        steps = []
        for fetch in fetches if isinstance(fetches, list) else [fetches]:
            if isinstance(fetch, gf.Operation):
                steps.append(fetch)
            else:
                held = gf.Variable(np.zeros(fetch.shape.as_list(), np.float32), trainable=False)
                steps.append(held.assign(fetch).op)
        step = gf.group(*steps)
        session = self.session = self._session(bfloat16)
        session.run(gf.global_variables_initializer())
        for variable, value in zip(feeds, arguments(), strict=True):
            session.load_variable(variable, value)
        self.latest = Run(session, step, [], lambda: ())
        return lambda: session.run(step)

    def _training(
        self, loss: Any, train: Any, feeds: list[Any], batches: tuple[Any, ...], bfloat16: bool = False
    ) -> Step:
        return self._function([loss, train], feeds, data.Cycle(*batches), bfloat16)

    def wait(self) -> None:
        """Returns when the device has done all."""
        for holder in self.session._state.holders:
            holder.device.synchronize()


class _Placed:
    """graphflow, whose placeholders are variables."""

    def __getattr__(self, name: str) -> Any:
        return getattr(gf, name)

    @staticmethod
    def placeholder(dtype: Any, shape: Any) -> Any:
        """A variable that no optimizer looks at."""
        return gf.Variable(np.zeros(shape, gf.as_dtype(dtype).as_numpy_dtype), trainable=False)


def graphflow_times(workload: str) -> dict[str, float]:
    """A workload's milliseconds in both protocols."""
    times: dict[str, float] = {}
    gf.reset_default_graph()
    gf.set_random_seed(1)
    programs = Programs(gf, 0)
    times["graphflow_feed"] = milliseconds(getattr(programs, workload)())
    latest: Any = getattr(programs, "latest", None)
    if latest is None:
        return times
    latest.session.close()
    gf.reset_default_graph()
    gf.set_random_seed(1)
    resident = Resident()
    step = getattr(resident, workload)()
    times["graphflow_device"] = milliseconds(step, resident.wait)
    resident.session.close()
    return times


def torch_times(workload: str, compiled: bool = False) -> dict[str, float]:
    """What torch takes for a workload, eager or compiled: fed, over resident data, and as one CUDA graph."""
    torch: Any = importlib.import_module("torch")
    peer: Any = importlib.import_module("benchmarks.peers.torch_peer")
    cuda = torch.cuda.is_available()
    peer.DEVICE = "cuda" if cuda else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    programs = peer.Programs(torch.compile if compiled else lambda function: function)
    if not hasattr(programs, workload):
        return {}
    name = "torch_compile" if compiled else "torch"
    step = getattr(programs, workload)()
    times = {f"{name}_feed": milliseconds(step)}
    resident, wait = programs.resident, torch.cuda.synchronize if cuda else nothing
    if resident is None:
        return times
    times[f"{name}_device"] = milliseconds(resident, wait)
    if cuda:
        # On another stream, as a capture wants it.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                resident()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            resident()
        times[f"{name}_graph_device"] = milliseconds(graph.replay, wait)
    return times


def torch_compile_times(workload: str) -> dict[str, float]:
    """The same, compiled."""
    return torch_times(workload, compiled=True)


def jax_times(workload: str) -> dict[str, float]:
    """What JAX's own program of the race takes, on the device that it finds."""
    jax: Any = importlib.import_module("jax")
    peer: Any = importlib.import_module("benchmarks.peers.jax_peer")
    programs = peer.load(0)
    if not hasattr(programs, workload):
        return {}
    peer.resident = None
    times = {"jax_feed": milliseconds(getattr(programs, workload)())}
    resident = peer.resident
    if resident is not None:
        latest: list[Any] = [None]

        def step() -> None:
            latest[0] = resident()

        times["jax_device"] = milliseconds(step, lambda: jax.block_until_ready(latest[0]))
    return times


# Compiled code of torch comes last: making it takes minutes.
PEERS: tuple[tuple[str, str, Callable[[str], dict[str, float]]], ...] = (
    ("graphflow", "graphflow", graphflow_times),
    ("torch", "torch", torch_times),
    ("jax", "jax", jax_times),
    ("torch_compile", "torch", torch_compile_times),
)


def ready() -> bool:
    """Whether there is a GPU, or something is to stand for one."""
    return config.gpu() == "host" or (config.gpu() == "auto" and not found.missing())


def measure(
    seconds: float, say: Callable[[str], None], keep: Callable[[dict[str, Any]], None], *, small: bool = False
) -> dict[str, Any]:
    """Runs everything that can be begun in so many seconds; what fails is noted beside what does not.

    Args:
      seconds: after so many nothing more is begun.
      say: told of each figure.
      keep: given the results whenever there is one more, for whoever ends this before it is done.
      small: whether everything is so small that a processor does it.

    Raises:
      RuntimeError: on a machine without what is needed.
    """
    if not ready():
        raise RuntimeError(f"nothing can be measured here:\n{found.report()}")
    until = time.monotonic() + seconds
    results: dict[str, Any] = {"found": found.report().splitlines(), "limits": {}, "workloads": {}}
    if small:
        results["found"].append("everything at sizes for a processor: no figure says anything of a GPU")
    try:
        results["limits"] = limits(1 << 20) if small else limits()
    except Exception as error:
        results["limits_failed"] = _told(error)
    say(f"limits: {results['limits'] or results['limits_failed']}")
    keep(results)
    for peer, package, times in PEERS:
        if package != "graphflow" and importlib.util.find_spec(package) is None:
            results[f"{peer}_failed"] = f"{package} is not installed"
            continue
        for row in ROWS:
            found_: dict[str, Any] = results["workloads"].setdefault(row.name, {})
            if time.monotonic() > until:
                found_[f"{peer}_failed"] = "the time was up"
                continue
            began = time.monotonic()
            try:
                with sized(row.sizes if not small else SMALL):
                    found_.update(times(row.workload))
            except Exception as error:
                found_[f"{peer}_failed"] = _told(error)
            keep(results)
            say(f"{row.name}, {peer}, {time.monotonic() - began:.1f} s: {found_}")
    return results


def _told(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {' | '.join(lines[:3])}"[:400]


def table(results: dict[str, Any]) -> str:
    """The results as text: what was found, the limits, a row for each workload with its ratios."""
    workloads: dict[str, dict[str, Any]] = results.get("workloads", {})
    known: dict[str, float] = results.get("limits", {})
    lines = ["```text", *results.get("found", ()), "```", "", "| limit | |", "|---|---:|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in known.items()]
    columns = sorted({key for row in workloads.values() for key in row if not key.endswith("_failed")})
    lines += [
        "",
        "Milliseconds a step; the ratio is graphflow's best to the best peer's in the same protocol, then what it is"
        " to stay below; the floor is the time in which a copy moves as many bytes.",
        "",
        f"| ms | {' | '.join(columns)} | ratio, feed | ratio, device | below | of the floor |",
        f"|---|{'---:|' * (len(columns) + 4)}",
    ]
    for name, row in workloads.items():
        about = next((one for one in ROWS if one.name == name), Row(name))
        cells = [f"{row[column]:.4g}" if column in row else "–" for column in columns]
        for protocol in ("feed", "device"):
            ours = row.get(f"graphflow_{protocol}")
            theirs = [
                row[key]
                for key in columns
                if key in row and key.endswith(f"_{protocol}") and not key.startswith("graphflow")
            ]
            cells.append(f"{ours / min(theirs):.2f}" if ours and theirs else "–")
        cells.append(f"{about.bar:.2f}" if about.bar else "–")
        floor = (
            about.moved / known["copy_GB_per_s"] / 1e6 if about.moved and "copy_GB_per_s" in known else 0.0
        )
        cells.append(f"{row['graphflow_device'] / floor:.2f}" if floor and "graphflow_device" in row else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    failed = [f"{key[:-7]}: {text}" for key, text in results.items() if key.endswith("_failed")]
    failed += [
        f"{name}, {key[:-7]}: {text}"
        for name, row in workloads.items()
        for key, text in row.items()
        if key.endswith("_failed")
    ]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"
