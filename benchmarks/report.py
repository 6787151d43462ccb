"""Results as a table in Markdown and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.race import OURS

# Each peer's colour in every plot.
COLORS = {
    "graphflow": "#111111",
    "tensorflow": "#e8710a",
    "tensorflow_xla": "#f4b400",
    "torch": "#d93025",
    "torch_compile": "#9c27b0",
    "jax": "#1a73e8",
    "pytensor": "#188038",
    "onnxruntime": "#607d8b",
    "openvino": "#00acc1",
}


# What startup_table shows, and with how many digits.
_STARTUP_COLUMNS = (
    ("import_s", 3),
    ("first_step_cold_s", 2),
    ("first_step_warm_s", 2),
    ("peak_rss_mb", 0),
    ("installed_mb", 0),
)


def milliseconds(value: float) -> str:
    """Writes a time with three significant digits."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 1:
        return f"{value:.2f}"
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def _columns(results: dict[str, Any]) -> list[str]:
    return [peer for peer in PEERS if peer in results["versions"]]


def table(results: dict[str, Any]) -> str:
    """Returns the race as a Markdown table: median milliseconds, the best peer in italics, ratio in bold."""
    peers = _columns(results)
    heads = [f"{peer} {results['versions'][peer].partition('+')[0]}" for peer in peers]
    lines = [
        f"| ms | {' | '.join(heads)} | ratio to best peer |",
        f"|---|{'---:|' * len(peers)}---:|",
    ]
    for name, outcome in results["workloads"].items():
        cells = []
        for peer in peers:
            value = outcome["peers"].get(peer, {}).get("median_ms")
            text = "–" if value is None else milliseconds(value)
            cells.append(f"*{text}*" if peer == outcome["best_peer"] else text)
        ratio = "–" if outcome["ratio"] is None else f"**{outcome['ratio']:.2f}**"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"


def startup_table(results: dict[str, Any]) -> str:
    """Returns what comes before the first result as a Markdown table."""
    lines = [
        "| | import s | first step s, cold | first step s, warm | peak MB | installed MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for peer, row in results["startup"].items():
        times = [f"{row[key]:.{digits}f}" for key, digits in _STARTUP_COLUMNS]
        lines.append(f"| {peer} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"


def startup_ratios(results: dict[str, Any]) -> str:
    """Returns how long graphflow takes to its first step, against the peer that is fastest at the same workload."""
    rows = results["startup"]
    lines = []
    for key, title in (("first_step_cold_s", "cold"), ("first_step_warm_s", "with what is kept on disk")):
        others = {
            peer: row[key]
            for peer, row in rows.items()
            if peer != OURS and OURS in rows and row["workload"] == rows[OURS]["workload"]
        }
        if others:
            best = min(others, key=lambda peer: others[peer])
            ratio = rows[OURS][key] / others[best]
            lines.append(f"First {rows[OURS]['workload']} step, {title}: {ratio:.2f} of {best}'s time.\n")
    return "".join(lines)


def describe(results: dict[str, Any]) -> str:
    """Returns one line on the machine and the way it was measured."""
    machine = results["machine"]
    return (
        f"{machine['processor']}, {results['threads']} threads, {machine['system']}, "
        f"Python {machine['python']}, "
        f"{results['rounds']} interleaved rounds, medians in milliseconds, {results['date']}."
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws every peer's time relative to graphflow's, one line per workload, and writes an SVG and a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = {
        name: outcome
        for name, outcome in results["workloads"].items()
        if outcome["peers"].get(OURS, {}).get("median_ms")
    }
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(drawn) + 1.4))
    names = list(drawn)
    for peer in _columns(results):
        points = []
        for row, name in enumerate(names):
            value = drawn[name]["peers"].get(peer, {}).get("median_ms")
            if value is not None:
                points.append((value / drawn[name]["peers"][OURS]["median_ms"], row))
        if points:
            ours = peer == OURS
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                label=peer,
                color=COLORS[peer],
                marker="D" if ours else "o",
                s=42,
                zorder=3,
            )
    axes.axvline(1.0, color="#999999", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.set_xlabel("time relative to graphflow (log scale; right of the line is slower)")
    if drawn:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)
