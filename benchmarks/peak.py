"""How near matrix products and convolutions come to the machine's multiply-add peak, through the ordinary Session.

The left operand or the images are fed, the weights are a variable, and the result goes into a variable, so that what
is measured is the product and not the pages of a new array. The whole run counts: packing, padding with zeros and the
call itself. A share is taken round by round, of the peak measured in the same moment. Rates count the operations of
the definition, so Winograd's convolutions may go beyond the peak.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import milliseconds
from benchmarks.workloads import Array

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
ROUNDS = 9
# Seconds of runs in a round, beside some 10 milliseconds of multiply-adds.
TURN = 0.02


class Meter:
    """Measures products with a number of threads, and the peak in the same moments: the clock drifts."""

    def __init__(self, threads: int) -> None:
        from graphflow.backends.base import load

        self._threads = threads
        self._backend = load("cpu", threads)

    def measure(
        self,
        name: str,
        flops: float,
        x_shape: tuple[int, ...],
        weights: Array,
        multiply: Callable[[Any, Any], Any],
    ) -> dict[str, Any]:
        """Returns time, rate, peak and the share of it for `multiply(x, weights)`: medians over rounds."""
        import graphflow as gf
        from graphflow.backends.cpu.peak import arithmetic_peak

        dtype = "f64" if weights.dtype == np.float64 else "f32"
        seconds, peaks = [], []
        with gf.Graph().as_default():
            x = gf.placeholder(weights.dtype, x_shape)
            y = multiply(x, gf.Variable(weights))
            keep = gf.Variable(np.zeros(y.shape.as_list(), weights.dtype)).assign(y).op
            with gf.Session(config=gf.ConfigProto(intra_op_parallelism_threads=self._threads)) as session:
                session.run(gf.global_variables_initializer())
                feed = {x: np.random.RandomState(0).rand(*x_shape).astype(weights.dtype)}
                for _ in range(3):
                    session.run(keep, feed)
                for _ in range(ROUNDS):
                    peaks.append(arithmetic_peak(self._backend, dtype) / 1e9)
                    times: list[float] = []
                    while len(times) < 3 or sum(times) < TURN:
                        before = time.perf_counter()
                        session.run(keep, feed)
                        times.append(time.perf_counter() - before)
                    seconds.append(median(times))
        shares = [flops / took / 1e9 / peak for took, peak in zip(seconds, peaks, strict=True)]
        return {
            "name": name,
            "ms": 1e3 * median(seconds),
            "gflops": flops / median(seconds) / 1e9,
            "peak_gflops": median(peaks),
            "share": median(shares),
        }


def group(name: str, threads: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures the products of one group."""
    import graphflow as gf

    meter = Meter(threads)
    random = np.random.RandomState(1)
    rows: list[dict[str, Any]] = []
    kind, _, rest = name.partition(" ")

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        say(f"  {threads} threads, {name}, {row['name']}: {row['ms']:.3f} ms, {row['share']:.0%}")

    if kind == "gemm":
        for size in GEMM_SIZES:
            weights = random.randn(size, size).astype(rest)
            keep(meter.measure(str(size), 2.0 * size**3, (size, size), weights, gf.matmul))
        return rows
    batch = int(rest.rpartition(" ")[2])
    for image, channels_in, channels, size, stride in RESNET50:

        def convolve(x: Any, weights: Any, stride: int = stride) -> Any:
            return gf.nn.conv2d(x, weights, strides=[1, stride, stride, 1], padding="SAME")

        title = f"{image}: {size}x{size}, {channels_in} to {channels}" + (
            f" / {stride}" if stride > 1 else ""
        )
        flops = 2.0 * batch * (image // stride) ** 2 * size * size * channels_in * channels
        weights = random.randn(size, size, channels_in, channels).astype(np.float32)
        keep(meter.measure(title, flops, (batch, image, image, channels_in), weights, convolve))
    return rows


def measure(threads: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Measures every group at each number of threads."""
    return {str(count): {name: group(name, count, say) for name in GROUPS} for count in threads}


def table(results: dict[str, Any]) -> str:
    """Returns the shares of the peak as a Markdown table per number of threads; a share below the bar is bold."""
    lines = []
    for count, groups in results["threads"].items():
        lines += [
            f"| {count} thread{'s' if count != '1' else ''} | ms | GFLOP/s | peak | share |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, rows in groups.items():
            for row in rows:
                share = f"{row['share']:.1%}"
                lines.append(
                    f"| {name}, {row['name']} | {milliseconds(row['ms'])} | {row['gflops']:.0f} | "
                    f"{row['peak_gflops']:.0f} | {share if row['share'] >= BAR else f'**{share}**'} |"
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
        for count, groups in results["threads"].items():
            rows = groups[name]
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
