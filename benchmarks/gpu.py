"""On a machine with a GPU: its limits, then graphflow beside torch and JAX where these are installed.

`make gpu` runs the tests marked `gpu` first. Nothing is downloaded: what is missing is said. Two protocols: "feed", a
host array in and a result out at every step; "device", blocks of steps over data that is sent at once. Each figure is
the median of blocks; peers take turns with graphflow in one process, so clocks are the same for all.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphflow as gf
from benchmarks import workloads as data
from benchmarks.peers.tf1_programs import Programs
from graphflow.backends.gpu import found
from graphflow.loops.build import Builder

BLOCKS = 7
SECONDS = 0.4  # per figure
STEPS = 32  # of a block in protocol "device"
WORKLOADS = (
    "dispatch_scalar", "softmax_regression", "mlp", "lenet", "lstm", "black_scholes", "softmax", "layer_norm",
    "transformer_b1", "transformer_b8", "transformer_train", "resnet18_b1", "resnet18_b16", "resnet18_train",
)  # fmt: skip

Step = Callable[[], Any]


def milliseconds(step: Step, seconds: float = SECONDS) -> float:
    """Median over blocks of the time of one call."""
    for _ in range(3):
        step()
    begin = time.perf_counter()
    step()
    once = max(time.perf_counter() - begin, 1e-7)
    calls = max(1, int(seconds / BLOCKS / once))
    times = []
    for _ in range(BLOCKS):
        begin = time.perf_counter()
        for _ in range(calls):
            step()
        times.append((time.perf_counter() - begin) / calls)
    return statistics.median(times) * 1e3


def limits() -> dict[str, float]:
    """What the device, the driver and CuPy can do at best."""
    from graphflow.backends.gpu.cupy_device import CupyDevice
    from graphflow.backends.gpu.products import gemm_plan
    from graphflow.loops.library import Gemm

    device = CupyDevice()
    b = Builder("increment")
    x, y, n = b.buffer("x", "f32"), b.buffer("y", "f32"), b.int_param("n")
    with b.loop("i", 0, n, "parallel") as i:
        b.store(y, i, b.add(b.load(x, i), 1.0))
    (function,) = device.functions([b.kernel()], [False])
    device.load([function])
    slab = device.alloc(3 << 28)
    place = slab.address

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
    result["node_us"] = (result["graph_1000_us"] - result["graph_100_us"]) / 900
    host = device.pinned(1 << 28)
    for name, size in (("4_B", 4), ("256_MiB", 1 << 28)):
        result[f"h2d_{name}_us"] = 1e3 * milliseconds(waited(lambda size=size: device.h2d(place, host, size)))  # type: ignore[misc]
        result[f"d2h_{name}_us"] = 1e3 * milliseconds(waited(lambda size=size: device.d2h(host, place, size)))  # type: ignore[misc]
    half = milliseconds(waited(lambda: device.d2d(place, place + (1 << 28), 1 << 28)))
    result["copy_GB_per_s"] = 2 * (1 << 28) / half / 1e6
    plan = gemm_plan(Gemm(dtype="f32", m=4096, n=4096, k=4096), {}, "")
    scratch = device.alloc(max(256, device.workspace(plan)))
    pointers = [place, place + (1 << 26), place + (1 << 27)]
    took = milliseconds(waited(lambda: device.gemm(plan, pointers, scratch.address)))
    result["matmul_4096_TFLOP_per_s"] = plan.flops / took / 1e9
    device.close()
    return result


def graphflow_steps(name: str) -> dict[str, Step]:
    """A workload's step in both protocols, each per step."""
    gf.reset_default_graph()
    gf.set_random_seed(1)
    programs = Programs(gf, 0)
    step: Step = getattr(programs, name)()
    steps = {"feed": step}
    latest: Any = getattr(programs, "latest", None)
    if latest is not None and latest.feed():
        rows = [latest.feed() for _ in range(STEPS)]
        stacked = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        steps["device"] = lambda: latest.session.run_steps(latest.fetches, STEPS, stacked)
    return steps


def torch_steps(name: str) -> dict[str, Step]:
    """What torch does for a workload: eager, compiled, and a whole step as one CUDA graph; nothing for others."""
    torch: Any = importlib.import_module("torch")
    if not torch.cuda.is_available() or name not in ("mlp", "softmax", "layer_norm", "black_scholes"):
        return {}
    torch.backends.cuda.matmul.allow_tf32 = True
    cuda = torch.device("cuda")
    if name == "mlp":
        sizes = data.MLP_SIZES
        layers = [torch.nn.Linear(a, b, device=cuda) for a, b in zip(sizes, sizes[1:], strict=False)]
        model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, capturable=True, fused=True)
        x = torch.randn(data.BATCH, sizes[0], device=cuda)
        y = torch.randint(0, sizes[-1], (data.BATCH,), device=cuda)

        def work() -> Any:
            optimizer.zero_grad(set_to_none=False)
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss
    else:
        x = (
            torch.randn(*data.ROWS, device=cuda)
            if name != "black_scholes"
            else torch.rand(5, data.OPTIONS, device=cuda) + 0.5
        )

        def work() -> Any:
            if name == "softmax":
                return torch.softmax(x, -1)
            if name == "layer_norm":
                return torch.nn.functional.layer_norm(x, x.shape[-1:])
            spot, strike, years = x[0], x[1], x[2]
            spread = data.VOLATILITY * torch.sqrt(years)
            d1 = (torch.log(spot / strike) + (data.RISK_FREE_RATE + data.VOLATILITY**2 / 2) * years) / spread
            call = spot * torch.special.ndtr(d1) - strike * torch.exp(
                -data.RISK_FREE_RATE * years
            ) * torch.special.ndtr(d1 - spread)
            return call, call - spot + strike * torch.exp(-data.RISK_FREE_RATE * years)

    def waited(step: Step) -> Step:
        def run() -> None:
            step()
            torch.cuda.synchronize()

        return run

    steps = {"torch": waited(work), "torch_compile": waited(torch.compile(work))}
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    steps["torch_graph"] = waited(graph.replay)
    return steps


def jax_steps(name: str) -> dict[str, Step]:
    """What JAX's own program of the race does, compiled for the GPU that it finds."""
    jax: Any = importlib.import_module("jax")
    if jax.default_backend() != "gpu":
        return {}
    programs = importlib.import_module("benchmarks.peers.jax_peer").load(0)
    build = getattr(programs, name, None)
    return {} if build is None else {"jax": build()}


def measure(
    seconds: float, say: Callable[[str], None], keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Runs everything that can be begun in so many seconds; what fails is noted beside what does not.

    Args:
      seconds: after so many nothing more is begun.
      say: told of each row.
      keep: given the results whenever there is one more, for whoever ends this before it is done.

    Raises:
      RuntimeError: on a machine without what is needed.
    """
    if found.missing():
        raise RuntimeError(f"nothing can be measured here:\n{found.report()}")
    until = time.monotonic() + seconds
    results: dict[str, Any] = {"found": found.report().splitlines(), "limits": {}, "workloads": {}}
    try:
        results["limits"] = limits()
    except Exception as error:
        results["limits_failed"] = f"{type(error).__name__}: {error}"
    say(f"limits: {results['limits'] or results['limits_failed']}")
    keep(results)
    peers = [("graphflow", graphflow_steps)]
    peers += [
        (peer, make)
        for peer, make in (("torch", torch_steps), ("jax", jax_steps))
        if importlib.util.find_spec(peer)
    ]
    for name in WORKLOADS:
        row: dict[str, Any] = results["workloads"].setdefault(name, {})
        for peer, make in peers:
            if time.monotonic() > until:
                row[f"{peer}_failed"] = "the time was up"
                continue
            try:
                for protocol, step in make(name).items():
                    per = STEPS if protocol == "device" else 1
                    row[f"graphflow_{protocol}" if peer == "graphflow" else protocol] = (
                        milliseconds(step) / per
                    )
            except Exception as error:
                row[f"{peer}_failed"] = f"{type(error).__name__}: {error}"
            keep(results)
        say(f"{name}: {row}")
    return results


def table(results: dict[str, Any]) -> str:
    """The results as text: what was found, the limits, a row for each workload with its ratio to the best peer."""
    workloads: dict[str, dict[str, Any]] = results.get("workloads", {})
    lines = ["```text", *results.get("found", ()), "```", "", "| limit | |", "|---|---:|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in results.get("limits", {}).items()]
    columns = sorted({key for row in workloads.values() for key in row if not key.endswith("_failed")})
    lines += [
        "",
        f"| ms | {' | '.join(columns)} | ratio to best peer |",
        f"|---|{'---:|' * (len(columns) + 1)}",
    ]
    for name, row in workloads.items():
        cells = [f"{row[column]:.4g}" if column in row else "–" for column in columns]
        ours = [value for key, value in row.items() if key in ("graphflow_feed", "graphflow_device")]
        theirs = [row[key] for key in columns if key in row and not key.startswith("graphflow")]
        ratio = f"{min(ours) / min(theirs):.2f}" if ours and theirs else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    failed = [f"{key[:-7]}: {text}" for key, text in results.items() if key.endswith("_failed")]
    failed += [
        f"{name}, {key[:-7]}: {text}"
        for name, row in workloads.items()
        for key, text in row.items()
        if key.endswith("_failed")
    ]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"
