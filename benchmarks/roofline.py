"""Where a workload's steps lie under the machine's roofline: time of each step against what it computes and moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race import ROOT, environment

WORKLOADS = ("lenet", "resnet18_b16", "transformer_train")
# A step shorter than this share of its run is left out of the plot: there are many, and they matter little.
SMALL = 0.002


def steps(workload: str, threads: int) -> dict[str, Any]:
    """Profiles a workload in this process; returns its steps and the machine's peaks."""
    import graphflow as gf
    from benchmarks.peers.tf1_programs import Programs

    programs = Programs(gf, threads)
    getattr(programs, workload)()
    run = programs.latest
    found = gf.profile(run.session, run.fetches, run.feed())
    return {
        "seconds": found.seconds,
        "flops": found.cost.flops,
        "machine": {"gflops": found.machine.flops["f32"] / 1e9, "gbytes": found.machine.bytes / 1e9},
        "steps": [
            {
                "name": step.name,
                "type": step.type,
                "seconds": step.seconds,
                "flops": step.cost.flops,
                "bytes": step.cost.bytes,
                "share": step.share,
                "host": step.host,
            }
            for step in found.steps
        ],
    }


def measure(workloads: Sequence[str], threads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Profiles each workload in a new process."""
    outcome: dict[str, Any] = {}
    for name in workloads:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.roofline", name, str(threads)],
            cwd=ROOT,
            env=environment(threads),
            check=True,
            capture_output=True,
            text=True,
        )
        found = outcome[name] = json.loads(done.stdout)
        rate = found["flops"] / found["seconds"] / 1e9
        say(f"  {name}: {1e3 * found['seconds']:.3f} ms, {len(found['steps'])} steps, {rate:.0f} GFLOP/s")
    return outcome


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws a panel per workload: each step by its intensity and its rate, as large as the time it takes."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot as plt

    found = results["workloads"]
    figure, panels = plt.subplots(1, len(found), figsize=(5.2 * len(found), 4.4), squeeze=False)
    for axes, (name, one) in zip(panels[0], found.items(), strict=True):
        machine = one["machine"]
        drawn = [
            step
            for step in one["steps"]
            if step["flops"] and step["bytes"] and step["seconds"] > SMALL * one["seconds"]
        ]
        intensity = np.array([step["flops"] / step["bytes"] for step in drawn])
        rate = np.array([step["flops"] / step["seconds"] / 1e9 for step in drawn])
        area = np.array([step["seconds"] / one["seconds"] for step in drawn])
        axes.scatter(intensity, rate, s=20 + 2500 * area, color="#1a73e8", alpha=0.45, linewidth=0, zorder=3)
        for index in np.argsort(-area)[:5]:
            axes.annotate(
                drawn[index]["name"],
                (intensity[index], rate[index]),
                fontsize=6,
                xytext=(3, 5),
                textcoords="offset points",
                zorder=4,
            )
        corner = machine["gflops"] / machine["gbytes"]
        least, most = min([*intensity, corner]) / 2, max([*intensity, corner]) * 2
        line = np.geomspace(least, most, 200)
        axes.plot(line, np.minimum(line * machine["gbytes"], machine["gflops"]), color="#111111", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{name}, {1e3 * one['seconds']:.2f} ms", fontsize=9)
        axes.set_xlabel("operations per byte from or to memory", fontsize=8)
        axes.grid(which="both", color="#eeeeee")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0][0].set_ylabel("GFLOP/s (area: share of the run's time)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(steps(sys.argv[1], int(sys.argv[2]))))
