"""What graphflow is measured by: `python -m benchmarks COMMAND`.

run       race graphflow against its peers
report    table and plot of a race
peak      matrix products and convolutions, share of the machine's peak
roofline  the steps of some workloads under the machine's roofline
sizes     batch sizes that are new to a compiled model; growing batches and tensors
scaling   growing graphs
programs  others' TF1 programs from start to end, beside TensorFlow
gpu       on a machine with a GPU: tests, limits, graphflow beside torch and JAX
serving   graphflow serve beside other servers, under one load
alike     the same programs: first weights, losses and files, here and with TensorFlow
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks import alike, gpu, peak, programs, race, report, roofline, scaling, serving, sizes, startup
from benchmarks.servers.models import MODELS
from benchmarks.workloads import WORKLOADS
from graphflow import config
from graphflow.backends.gpu import found

RESULTS = Path(__file__).resolve().parent / "results"
GPU_SECONDS = 540.0  # for all of `make gpu`, its last words aside
GPU_TESTS = 0.25  # the share of it after which no test of its own runs any more
GPU_MEASURES = 0.75  # and that after which nothing more is measured; the rest is for the ops


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    processor = platform.processor() or platform.machine()
    flags = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                processor = value.strip()
            if key.strip() == "flags":
                flags = value
    except OSError:
        pass
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "avx512": "avx512f" in flags,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def say(text: str) -> None:
    """Prints at once."""
    print(text, flush=True)


def go_first() -> None:
    """Asks the system to let us and our peers run before other jobs, where it lets us."""
    if hasattr(os, "nice"):
        try:
            os.nice(-15)
        except OSError:
            pass
    # Linux weighs whole sessions against each other first; within one, niceness counts.
    try:
        Path("/proc/self/autogroup").write_text("-15")
    except OSError:
        pass


def save(name: str, results: dict[str, Any]) -> None:
    """Writes results as JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")


def run(arguments: argparse.Namespace) -> None:
    """Races, measures the start, writes JSON, table and plot."""
    go_first()
    peers = race.available(arguments.peers)
    threads = arguments.threads or machine()["cores"]
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "threads": threads,
        "rounds": arguments.rounds,
        "seconds_per_round": arguments.seconds,
        **race.race(
            arguments.workloads,
            peers,
            threads,
            arguments.rounds,
            arguments.seconds,
            arguments.patience,
            say,
        ),
    }
    if not arguments.no_startup:
        results["startup"] = startup.measure(
            [peer for peer in peers if peer in results["versions"]], threads, say
        )
    name = arguments.name or (f"cpu_{arguments.threads}_thread" if arguments.threads else "cpu")
    save(name, results)
    write_report(name)


def write_report(name: str) -> None:
    """Writes and prints the table, draws the plot."""
    results = json.loads((RESULTS / f"{name}.json").read_text())
    text = report.describe(results) + "\n\n" + report.table(results)
    if "startup" in results:
        text += "\n" + report.startup_table(results) + "\n" + report.startup_ratios(results)
    (RESULTS / f"{name}.md").write_text(text)
    report.plot(results, RESULTS / name)
    say("\n" + text)


def write_peak(name: str, threads: Sequence[int]) -> None:
    """Measures, writes JSON, tables and plot."""
    go_first()
    results = {"machine": machine(), "threads": peak.measure(threads, say)}
    save(name, results)
    text = peak.table(results)
    (RESULTS / f"{name}.md").write_text(text)
    peak.plot(results, RESULTS / name)
    say("\n" + text)


def write_roofline(name: str, workloads: Sequence[str], threads: int) -> None:
    """Profiles, writes JSON and plot."""
    go_first()
    results = {
        "machine": machine(),
        "threads": threads,
        "workloads": roofline.measure(workloads, threads, say),
    }
    save(name, results)
    roofline.plot(results, RESULTS / name)


def write_sizes(arguments: argparse.Namespace) -> None:
    """Measures, writes JSON, table and plot."""
    go_first()
    threads = arguments.threads or machine()["cores"]
    peers = race.available(arguments.peers)
    results = {
        "machine": machine(),
        "threads": threads,
        **sizes.measure(threads, peers, arguments.seconds, say),
    }
    save(arguments.name, results)
    text = sizes.table(results)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    sizes.plot(results, RESULTS / arguments.name)
    say("\n" + text)


def write_gpu(name: str, small: bool) -> None:
    """Runs the tests that need a GPU, measures, holds the ops against their bodies there, writes JSON and table.

    Under ten minutes, and without a network. All three are processes of their own that are ended when their time is
    up; what they have found by then counts. `small`: at sizes for a processor that stands for a GPU, which tries the
    command itself.
    """
    say(found.report())
    if not gpu.ready():
        sys.exit("Nothing was run.")
    began = time.monotonic()
    environment = {
        **os.environ,
        "GRAPHFLOW_GPU": config.gpu(),
        "PYTHONUNBUFFERED": "1",
        # JAX takes most of the memory otherwise, which all others need as well.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    pytest = [sys.executable, "-m", "pytest", "-v", "-W", "default", "-p", "no:cacheprovider", "--no-header"]
    # Several processes share the GPU where pytest can do that.
    several = ["-n", str(min(8, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    if small:
        several += ["-k", "Softmax or TopK"]
        environment["GRAPHFLOW_TRY_GPU_TESTS"] = "1"
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"

        def left(share: float) -> float:
            return share * GPU_SECONDS - (time.monotonic() - began)

        tests = _tested([*pytest, "-m", "gpu", "tests/backends/gpu"], left(GPU_TESTS), environment)
        command = [sys.executable, "-m", "benchmarks", "gpu", "--into", str(file)]
        command += ["--seconds", str(left(GPU_MEASURES)), *(["--small"] if small else [])]
        measured = _within(command, left(GPU_MEASURES) + 30.0, environment)
        if file.exists():
            results.update(json.loads(file.read_text()))
        if measured != 0:
            why = "was ended when its time was up" if measured is None else f"returned {measured}"
            results["measuring_failed"] = f"the process {why}"
        exact = {**environment, "GRAPHFLOW_MATMUL_PRECISION": "highest"}
        matrix = _tested([*pytest, "tests/test_ops_matrix.py", *several], left(1.0), exact)
    results |= {"tests": tests, "matrix": matrix}
    save(name, results)
    told = [f"Tests on the GPU: {_counted(tests)}.", f"Ops against their bodies: {_counted(matrix)}."]
    told += [f"Failed: `{test}`" for test in (*tests["names"], *matrix["names"])]
    text = "\n\n".join(told) + "\n\n" + gpu.table(results)
    (RESULTS / f"{name}.md").write_text(text)
    say("\n" + text)
    fine = tests["code"] == matrix["code"] == measured == 0
    sys.exit(0 if fine else 1)


_OUTCOME = re.compile(
    r"^(\S+::\S+).* (PASSED|FAILED|ERROR|SKIPPED)|\] (PASSED|FAILED|ERROR|SKIPPED) (\S+)", re.M
)


def _tested(command: list[str], seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """Runs tests: how many ended how, which failed, what pytest returned; None if it was ended."""
    with tempfile.TemporaryFile("w+") as output:
        code = _within(command, seconds, environment, output)
        output.seek(0)
        text = output.read()
    counts: Counter[str] = Counter()
    names: list[str] = []
    for before, outcome, other, behind in _OUTCOME.findall(text):
        ended = outcome or other
        counts[ended.lower()] += 1
        if ended in ("FAILED", "ERROR"):
            names.append(before or behind)
    tail = text.splitlines()[-40:] if names or code not in (0, None) else []
    say("\n".join([*tail, f"{command[-1]}: {dict(counts)}"]))
    return {"code": code, "counts": dict(counts), "names": names, "told": tail}


def _counted(tests: dict[str, Any]) -> str:
    counted = ", ".join(f"{count} {ended}" for ended, count in sorted(tests["counts"].items())) or "none"
    if tests["code"] is None:
        return f"{counted}; not done when the time was up"
    return counted if tests["code"] == 0 else f"{counted}; pytest returned {tests['code']}"


def _within(
    command: list[str],
    seconds: float,
    environment: dict[str, str] | None = None,
    output: IO[str] | None = None,
) -> int | None:
    """Runs a command, which is ended after so many seconds; what it returned, None if it was ended."""
    try:
        ended = subprocess.run(
            command, check=False, timeout=max(1.0, seconds), env=environment, stdout=output, stderr=output
        )
    except subprocess.TimeoutExpired:
        return None
    return ended.returncode


def measure_gpu(seconds: float, file: Path, small: bool) -> None:
    """Measures on a GPU; all that is known so far is in a file at any time."""

    def keep(results: dict[str, Any]) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(results))
        fresh.replace(file)

    gpu.measure(seconds, say, keep, small=small)


def write_serving(arguments: argparse.Namespace) -> None:
    """Runs servers, writes JSON, table and plot; rows that are not measured now stay as they are."""
    go_first()
    measured = serving.measure(
        arguments.models, arguments.peers, arguments.wires, arguments.clients, arguments.rounds,
        arguments.seconds, say, arguments.folder,
    )  # fmt: skip
    path = RESULTS / f"{arguments.name}.json"
    results = json.loads(path.read_text()) if path.exists() else {"throughput": {}, "servers": {}}
    results |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine()}
    for model, wires in measured["throughput"].items():
        results["throughput"].setdefault(model, {}).update(wires)
    results["servers"] |= measured["servers"]
    save(arguments.name, results)
    text = serving.table(results)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    serving.plot(results, RESULTS / arguments.name)
    say("\n" + text)


def write_programs(arguments: argparse.Namespace) -> None:
    """Runs programs, writes JSON and table."""
    go_first()
    harness, listed = programs.load(arguments.harness)
    threads = arguments.threads or machine()["cores"]
    rows = programs.measure(
        harness,
        programs.chosen(listed, arguments.only),
        arguments.tensorflow,
        arguments.sources,
        arguments.rounds,
        threads,
        say,
    )
    save_programs(arguments, listed, rows, {"machine": machine(), "threads": threads}, programs.table)


def write_alike(arguments: argparse.Namespace) -> None:
    """Runs programs with both peers, writes JSON and table."""
    harness, listed = programs.load(arguments.harness)
    chosen = programs.chosen(listed, arguments.only)
    rows = alike.compare(harness, chosen, arguments.tensorflow, arguments.sources, say)
    save_programs(arguments, listed, rows, {"tensorflow": alike.version(arguments.tensorflow)}, alike.table)


def save_programs(
    arguments: argparse.Namespace,
    listed: Sequence[dict[str, Any]],
    rows: dict[str, Any],
    told: dict[str, Any],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Writes rows of programs, beside those of earlier runs where only some ran, and their table."""
    before = programs.earlier(RESULTS / f"{arguments.name}.json") if arguments.only else {}
    every = before | rows
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **told,
        "programs": {
            program["name"]: every[program["name"]] for program in listed if program["name"] in every
        },
    }
    save(arguments.name, results)
    text = table(results)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    say("\n" + text)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    names = [workload.name for workload in WORKLOADS]
    runs = commands.add_parser("run", help="race graphflow against its peers")
    runs.add_argument("--peers", nargs="*", default=[], help="which peers (default: all that are installed)")
    runs.add_argument("--workloads", nargs="*", default=names, choices=names)
    runs.add_argument("--threads", type=int, default=0, help="threads for everyone (default: the cores)")
    runs.add_argument("--rounds", type=int, default=7)
    runs.add_argument("--seconds", type=float, default=0.5, help="per peer, workload and round")
    runs.add_argument(
        "--patience", type=float, default=3.0, help="seconds a turn may wait for a quiet machine"
    )
    runs.add_argument(
        "--name",
        help="of the files under benchmarks/results/ (default: cpu, or cpu_N_thread with --threads N)",
    )
    runs.add_argument("--no-startup", action="store_true", help="leave import, size and first step out")
    reports = commands.add_parser("report", help="table and plot from results")
    reports.add_argument("name", nargs="?", default="cpu")
    scales = commands.add_parser("scaling", help="graphs of 100 to 100,000 operations")
    scales.add_argument("--name", default="scaling")
    peaks = commands.add_parser("peak", help="products and convolutions, share of the machine's peak")
    peaks.add_argument("--threads", type=int, nargs="*", default=[], help="default: 1, and the cores")
    peaks.add_argument("--name", default="peak")
    roofs = commands.add_parser("roofline", help="the steps of some workloads under the machine's roofline")
    roofs.add_argument("--workloads", nargs="*", default=list(roofline.WORKLOADS), choices=names)
    roofs.add_argument("--threads", type=int, default=0, help="default: the cores")
    roofs.add_argument("--name", default="roofline")
    sized = commands.add_parser("sizes", help="new batch sizes; growing batches and tensors")
    sized.add_argument("--peers", nargs="*", default=list(sizes.PEERS))
    sized.add_argument("--threads", type=int, default=0, help="default: the cores")
    sized.add_argument("--seconds", type=float, default=0.2, help="per peer and size")
    sized.add_argument("--name", default="sizes")
    whole = commands.add_parser("programs", help="others' TF1 programs from start to end, beside TensorFlow")
    programs.add_arguments(whole, "programs")
    whole.add_argument("--rounds", type=int, default=1)
    whole.add_argument("--threads", type=int, default=0, help="default: the cores")
    same = commands.add_parser(
        "alike", help="others' TF1 programs: weights, losses, files as with TensorFlow"
    )
    programs.add_arguments(same, "alike")
    on_gpu = commands.add_parser("gpu", help="tests, limits and a race on a machine with a GPU")
    on_gpu.add_argument("--name", default="gpu")
    on_gpu.add_argument("--into", type=Path, help="only measure, into this file")
    on_gpu.add_argument(
        "--seconds", type=float, default=300.0, help="for --into: after so many nothing is begun"
    )
    on_gpu.add_argument(
        "--small",
        action="store_true",
        help="sizes for a processor that stands for a GPU (GRAPHFLOW_GPU=host)",
    )
    served = commands.add_parser("serving", help="graphflow serve beside other servers, under one load")
    served.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    served.add_argument(
        "--peers", nargs="*", default=[], help="which servers (default: all that are installed)"
    )
    served.add_argument("--wires", nargs="*", default=list(serving.WIRES), choices=serving.WIRES)
    served.add_argument("--clients", nargs="*", type=int, default=list(serving.CLIENTS))
    served.add_argument("--rounds", type=int, default=3)
    served.add_argument("--seconds", type=float, default=0.4, help="per server, number of clients and round")
    served.add_argument("--folder", help="where models are kept (default: they are made anew)")
    served.add_argument("--name", default="serving")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments)
    elif arguments.command == "gpu":
        if arguments.into is not None:
            measure_gpu(arguments.seconds, arguments.into, arguments.small)
        else:
            write_gpu(arguments.name, arguments.small)
    elif arguments.command == "report":
        write_report(arguments.name)
    elif arguments.command == "peak":
        write_peak(arguments.name, arguments.threads or sorted({1, machine()["cores"]}))
    elif arguments.command == "roofline":
        write_roofline(arguments.name, arguments.workloads, arguments.threads or machine()["cores"])
    elif arguments.command == "sizes":
        write_sizes(arguments)
    elif arguments.command == "serving":
        write_serving(arguments)
    elif arguments.command == "programs":
        write_programs(arguments)
    elif arguments.command == "alike":
        write_alike(arguments)
    else:
        results = {"machine": machine(), **scaling.measure(say)}
        save(arguments.name, results)
        scaling.plot(results, RESULTS / arguments.name)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
