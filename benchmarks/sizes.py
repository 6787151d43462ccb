"""Time against size: a batch size that is new to a compiled model, and growing batches and tensors beside peers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.race import OURS, ROOT, Peer, deviations, environment
from benchmarks.report import COLORS, milliseconds
from benchmarks.workloads import BY_NAME

# A model, the sizes that compile it, and sizes that come later: of the batch, or of length and batch.
MODELS: tuple[tuple[str, tuple[int, ...], tuple[tuple[int, ...], ...]], ...] = (
    ("mlp", (128,), ((100,), (17,), (64,), (200,), (1,))),
    ("mlp_train", (128,), ((100,), (17,), (64,), (200,), (1,))),
    ("lenet", (32,), ((20,), (7,), (16,), (40,), (1,))),
    ("lenet_train", (32,), ((20,), (7,), (16,), (40,), (1,))),
    ("resnet18", (4,), ((3,), (6,), (2,), (1,))),
    ("resnet18_train", (4,), ((3,), (6,), (2,))),
    ("lstm", (20, 20), ((20, 17), (20, 32), (20, 8), (20, 5))),
    ("lstm_while", (20, 20), ((15, 20), (20, 12), (33, 20), (7, 9))),
    ("transformer", (8,), ((6,), (3,), (5,), (1,))),
    ("transformer_train", (8,), ((6,), (3,), (5,))),
)
BATCHES = tuple(2**power for power in range(10))
ELEMENTS = tuple(10**power for power in range(1, 8))
PEERS = (OURS, "tensorflow", "torch", "jax")
# Milliseconds that a new batch may cost beyond its run.
BAR_MS = 5.0


def new_batches(model: str, threads: int) -> list[dict[str, Any]]:
    """Runs a model with some sizes, then with others; returns what the first run of each cost beyond a later one."""
    import graphflow as gf
    from benchmarks.peers.tf1_programs import Programs

    _, first, later = next(entry for entry in MODELS if entry[0] == model)
    session, fetches, feeds = Programs(gf, threads).of_any_batch(model)
    random = np.random.RandomState(0)

    def run(sizes: tuple[int, ...]) -> float:
        values: dict[Any, Any] = {}
        for feed in feeds:
            shape = [*sizes, *feed.shape.as_list()[len(sizes) :]]
            values[feed] = random.rand(*shape).astype(feed.dtype.as_numpy_dtype)
        before = time.perf_counter()
        session.run(fetches, values)
        return time.perf_counter() - before

    for _ in range(3):
        run(first)
    rows = []
    for sizes in later:
        new = run(sizes)
        known = median(run(sizes) for _ in range(7))
        shown = "x".join(map(str, sizes))
        rows.append({"batch": shown, "first_ms": 1e3 * new, "later_ms": 1e3 * known})
    return rows


def growth(threads: int, peers: Sequence[str], seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Times growing batches and tensors; returns {workload: {peer: {size: milliseconds}}}."""
    outcome: dict[str, Any] = {}
    running = []
    try:
        for name in peers:
            peer = Peer(name, threads)
            if "error" in peer.hello:
                say(f"{name}: left out, {peer.hello['error']}")
                peer.close()
            else:
                running.append(peer)
        for workload, sizes in (("mlp_of_batch", BATCHES), ("elements", ELEMENTS)):
            found: dict[str, dict[str, float]] = {peer.name: {} for peer in running}
            for size in sizes:
                for name, value in _times(workload, size, running, seconds).items():
                    found[name][str(size)] = value
                shown = ", ".join(f"{name} {milliseconds(row[str(size)])}" for name, row in found.items())
                say(f"  {workload} {size}: {shown}")
            outcome[workload] = found
    finally:
        for peer in running:
            peer.close()
    return outcome


def _times(workload: str, size: int, running: Sequence[Peer], seconds: float) -> dict[str, float]:
    """Returns each peer's milliseconds.

    Raises:
      RuntimeError: if a peer fails, or its results are not the others'.
    """
    results, times = {}, {}
    for peer in running:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.npy"
            answer = peer.ask("prepare", workload=workload, results=str(path), size=size)
            if "error" in answer:
                raise RuntimeError(f"{peer.name}, {workload} of {size}: {answer['error']}")
            results[peer.name] = np.load(path)
        times[peer.name] = peer.ask("time", seconds=seconds)["median_ms"]
    for name, deviation in deviations(BY_NAME[workload], results).items():
        if deviation > BY_NAME[workload].tolerance:
            raise RuntimeError(f"{name}, {workload} of {size}: {deviation:.1e} away from the others")
    return times


def measure(threads: int, peers: Sequence[str], seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures new batches, each model in a new process, and growth."""
    models: dict[str, Any] = {}
    for model, first, _ in MODELS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sizes", model, str(threads)],
            cwd=ROOT,
            env=environment(threads),
            check=True,
            capture_output=True,
            text=True,
        )
        models[model] = {"compiled_for": "x".join(map(str, first)), "rows": json.loads(done.stdout)}
        for row in models[model]["rows"]:
            say(
                f"  {model}, batch {row['batch']} after {first}: first run {row['first_ms']:.2f} ms, "
                f"later {row['later_ms']:.2f} ms"
            )
    return {"new_batches": models, "growth": growth(threads, peers, seconds, say)}


def table(results: dict[str, Any]) -> str:
    """Returns the new batches as a Markdown table; what costs more than the bar is bold."""
    lines = [
        "| model | compiled for batch | new batch | its first run ms | later runs ms | cost of being new ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model, found in results["new_batches"].items():
        for row in found["rows"]:
            cost = row["first_ms"] - row["later_ms"]
            shown = f"{cost:.2f}" if cost < BAR_MS else f"**{cost:.2f}**"
            lines.append(
                f"| {model} | {found['compiled_for']} | {row['batch']} | {milliseconds(row['first_ms'])} | "
                f"{milliseconds(row['later_ms'])} | {shown} |"
            )
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws time against batch and against number of elements, a line per peer, and writes an SVG and a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(results["growth"]), figsize=(11, 4.4), squeeze=False)
    for axes, (workload, found) in zip(panels[0], results["growth"].items(), strict=True):
        for peer, row in found.items():
            sizes = [int(size) for size in row]
            axes.plot(sizes, list(row.values()), marker="o", markersize=3, color=COLORS[peer], label=peer)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(BY_NAME[workload].title, fontsize=9)
        axes.set_ylabel("ms", fontsize=8)
        axes.grid(which="major", color="#e5e5e5")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(new_batches(sys.argv[1], int(sys.argv[2]))))
