"""How near matrix products and convolutions come to the machine's multiply-add peak, through the ordinary Session.

The left operand or the images are fed, the weights are a variable, and the result goes into a variable, so that what
is measured is the product and not the pages of a new array. The whole run counts: packing, padding with zeros and the
call itself. Rates count the operations of the definition, so Winograd's convolutions may go beyond the peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race import ROOT, environment

GEMM_SIZES = (256, 384, 512, 640, 768, 1000, 1024, 1280, 1536, 2048)
BATCHES = (1, 16)
# Every distinct convolution of ResNet-50 (He et al. 2015, table 1; strides in the 3x3 as everyone has them now):
# rows and columns of the images, channels in and out, size of the filter, stride.
RESNET50 = (
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1),
    (56, 64, 64, 3, 1),
    (56, 64, 256, 1, 1),
    (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1),
    (56, 128, 128, 3, 2),
    (28, 128, 512, 1, 1),
    (56, 256, 512, 1, 2),
    (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1),
    (28, 256, 256, 3, 2),
    (14, 256, 1024, 1, 1),
    (28, 512, 1024, 1, 2),
    (14, 1024, 256, 1, 1),
    (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1),
    (14, 512, 512, 3, 2),
    (7, 512, 2048, 1, 1),
    (14, 1024, 2048, 1, 2),
    (7, 2048, 512, 1, 1),
    (7, 512, 512, 3, 1),
)
GROUPS = ("gemm float32", "gemm float64", *(f"convolution batch {batch}" for batch in BATCHES))
BAR = 0.85


def _rate(threads: int, x_shape: tuple[int, ...], weights: Any, multiply: Callable[[Any, Any], Any]) -> Any:
    """Returns the profile of `multiply(x, weights)`."""
    import numpy as np

    import graphflow as gf

    # Enough runs for a median that a disturbance does not reach.
    runs = 15
    with gf.Graph().as_default():
        x = gf.placeholder(weights.dtype, x_shape)
        y = multiply(x, gf.Variable(weights))
        keep = gf.Variable(np.zeros(y.shape.as_list(), weights.dtype)).assign(y).op
        with gf.Session(config=gf.ConfigProto(intra_op_parallelism_threads=threads)) as session:
            session.run(gf.global_variables_initializer())
            value = np.random.RandomState(0).rand(*x_shape).astype(weights.dtype)
            return gf.profile(session, keep, {x: value}, runs=runs)


def _row(name: str, profile: Any) -> dict[str, Any]:
    flops = profile.cost.flops
    step = max(profile.steps, key=lambda step: step.cost.flops)
    return {
        "name": name,
        "flops": flops,
        "run_ms": 1e3 * profile.seconds,
        "run_gflops": flops / profile.seconds / 1e9,
        "step_gflops": step.gflops,
    }


def group(name: str, threads: int) -> dict[str, Any]:
    """Measures one group in this process; returns the machine's peak beside it."""
    import numpy as np

    import graphflow as gf

    random = np.random.RandomState(1)
    rows: list[dict[str, Any]] = []
    kind, _, rest = name.partition(" ")
    if kind == "gemm":
        for size in GEMM_SIZES:
            weights = random.randn(size, size).astype(rest)
            profile = _rate(threads, (size, size), weights, gf.matmul)
            rows.append(_row(str(size), profile))
    else:
        batch = int(rest.rpartition(" ")[2])
        for image, channels_in, channels, size, stride in RESNET50:
            weights = random.randn(size, size, channels_in, channels).astype(np.float32)
            profile = _rate(
                threads,
                (batch, image, image, channels_in),
                weights,
                lambda x, w, s=stride: gf.nn.conv2d(x, w, strides=[1, s, s, 1], padding="SAME"),
            )
            strided = f" / {stride}" if stride > 1 else ""
            rows.append(_row(f"{image}: {size}x{size}, {channels_in} to {channels}{strided}", profile))
    peak = {dtype: value / 1e9 for dtype, value in profile.machine.flops.items()}
    return {"rows": rows, "peak_gflops": peak, "memory_gbytes": profile.machine.bytes / 1e9}


def measure(threads: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Measures every group at each number of threads, each in a new process; shares are of the best peak seen."""
    outcome: dict[str, Any] = {}
    for count in threads:
        groups: dict[str, Any] = {}
        for name in GROUPS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.peak", name, str(count)],
                cwd=ROOT,
                env=environment(count),
                check=True,
                capture_output=True,
                text=True,
            )
            groups[name] = json.loads(done.stdout)
        # The clock drifts from process to process: the best peak is the hardest to come near.
        peak = {
            dtype: max(found["peak_gflops"][dtype] for found in groups.values()) for dtype in ("f32", "f64")
        }
        for name, found in groups.items():
            best = peak["f64" if name.endswith("float64") else "f32"]
            for row in found["rows"]:
                row["share"] = row["run_gflops"] / best
                row["step_share"] = row["step_gflops"] / best
                say(f"  {count} threads, {name}, {row['name']}: {row['run_ms']:.3f} ms, {row['share']:.0%}")
        outcome[str(count)] = {
            "peak_gflops": peak,
            "groups": {name: found["rows"] for name, found in groups.items()},
        }
    return outcome


def table(results: dict[str, Any]) -> str:
    """Returns the shares of the peak as Markdown tables, one per number of threads."""
    lines = []
    for count, found in results["threads"].items():
        peak = found["peak_gflops"]
        lines += [
            f"{count} threads: multiply-add peak {peak['f32']:.0f} GFLOP/s in float32, {peak['f64']:.0f} in float64.",
            "",
            "| | ms | GFLOP/s | share of the peak | its largest step alone |",
            "|---|---:|---:|---:|---:|",
        ]
        for group_name, rows in found["groups"].items():
            for row in rows:
                share = f"{row['share']:.0%}"
                lines.append(
                    f"| {group_name}, {row['name']} | {row['run_ms']:.3f} | {row['run_gflops']:.0f} | "
                    f"{share if row['share'] < BAR else f'**{share}**'} | {row['step_share']:.0%} |"
                )
        lines.append("")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws every share, a panel per group, a colour per number of threads, and writes an SVG and a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(GROUPS), figsize=(16, 6.5))
    colors = dict(zip(results["threads"], ("#1a73e8", "#111111", "#d93025"), strict=False))
    for axes, name in zip(panels, GROUPS, strict=True):
        for count, found in results["threads"].items():
            rows = found["groups"][name]
            axes.plot(
                [row["share"] for row in rows],
                range(len(rows)),
                marker="o",
                linestyle="",
                color=colors[count],
                label=f"{count} threads" if count != "1" else "1 thread",
            )
            axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=7)
        axes.axvline(1.0, color="#999999", linewidth=1)
        axes.axvline(BAR, color="#999999", linewidth=1, linestyle=":")
        axes.set_xlim(left=0)
        axes.invert_yaxis()
        axes.set_title(name, fontsize=9)
        axes.grid(color="#e5e5e5")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("share of the multiply-add peak, whole run (dotted: 85 %)", fontsize=9)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(group(sys.argv[1], int(sys.argv[2]))))
