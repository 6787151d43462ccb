"""Does time grow with the graph, and no faster? 100 to 100,000 operations, each stage by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.race import ROOT

SIZES = (100, 1_000, 10_000, 100_000)


def stages(operations: int) -> dict[str, float]:
    """Builds, differentiates, compiles, runs and saves a graph of so many operations; returns seconds.

    The graph is a stack of small layers with weights in common, so that every stage has real work.
    """
    import numpy as np

    import graphflow as gf

    seconds: dict[str, float] = {}

    def clock(stage: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        seconds[stage] = time.perf_counter() - begin
        return result

    x = gf.placeholder(gf.float32, [8, 4], name="x")
    weights = gf.Variable(np.eye(4, dtype=np.float32) * 0.5, name="weights")

    def build() -> Any:
        y: Any = x
        shared = gf.identity(weights)
        # A layer is eight operations, its gradient nine.
        for _ in range(operations // 17):
            y = gf.tanh(gf.matmul(y, shared) + y * 0.5) - y * 0.25
        return gf.reduce_sum(y)

    loss = clock("build", build)
    (gradient,) = clock("differentiate", lambda: gf.gradients(loss, [weights]))
    seconds["operations"] = len(gf.get_default_graph().get_operations())
    session = gf.Session()
    session.run(weights.initializer)
    feed = {x: np.ones((8, 4), np.float32)}
    clock("compile and first run", lambda: session.run([loss, gradient], feed))
    clock("second run", lambda: session.run([loss, gradient], feed))
    with tempfile.TemporaryDirectory() as folder:
        clock("save", lambda: gf.train.write_graph(gf.get_default_graph(), folder, "graph.pb", as_text=False))
    return seconds


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Measures each size in a new process; returns seconds by size and stage, and by how much each stage
    grows from the last but one to the last."""
    sizes: dict[str, dict[str, float]] = {}
    for operations in SIZES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.scaling", str(operations)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        sizes[str(operations)] = json.loads(done.stdout)
        say(
            f"{operations} operations: "
            + ", ".join(f"{k} {v:.3g}" for k, v in sizes[str(operations)].items())
        )
    small, large = (sizes[str(operations)] for operations in SIZES[-2:])
    growth = {stage: large[stage] / small[stage] for stage in small}
    say("growth: " + ", ".join(f"{stage} {factor:.1f}x" for stage, factor in growth.items()))
    return {"sizes": sizes, "growth": growth}


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws microseconds per operation against operations, a line per stage, and writes an SVG and a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.4))
    rows = list(results["sizes"].values())
    for stage in rows[0]:
        if stage != "operations":
            operations = [row["operations"] for row in rows]
            each = [1e6 * row[stage] / row["operations"] for row in rows]
            axes.plot(operations, each, marker="o", markersize=3, label=stage)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations in the graph", fontsize=8)
    axes.set_ylabel("microseconds per operation", fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(which="major", color="#e5e5e5")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(stages(int(sys.argv[1]))))
