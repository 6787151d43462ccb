"""Whole programs of others, written for TF1: seconds from start to end, here and with TensorFlow.

Neither the programs nor the harness that runs them unchanged are part of this repository. The harness is a folder with
`harness.py` and `run.py`: the latter's list `P` names the programs, the former's `run_one(program, arguments, sources)`
runs one of them in a process of its own and says whether it ended well, what went wrong, and how long it took.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.race import environment

# Who takes a turn at each program: graphflow with nothing compiled yet, graphflow as at every later start, TensorFlow.
TURNS = ("graphflow_cold", "graphflow", "tensorflow")


def load(harness: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Returns the harness and the programs it names."""
    sys.path.insert(0, str(harness))
    try:
        return importlib.import_module("harness"), list(importlib.import_module("run").P)
    finally:
        sys.path.remove(str(harness))


class Clock:
    """Stands for `subprocess` in the harness: the time of the program's process, without the copying around it."""

    PIPE = subprocess.PIPE
    STDOUT = subprocess.STDOUT
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self, cache: Path, threads: int) -> None:
        self.seconds = 0.0
        self._settings = environment(threads) | {"GRAPHFLOW_CACHE_DIR": str(cache)}

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the program as it is started every day: at ordinary priority, compiled Python files kept."""
        if command[0] == "nice":
            command = command[3:]
        settings = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
        begin = time.perf_counter()
        try:
            return subprocess.run(command, env=settings | self._settings, **options)
        finally:
            self.seconds = time.perf_counter() - begin


def run_once(
    harness: Any,
    program: Mapping[str, Any],
    turn: str,
    tensorflow: str,
    sources: Path,
    cache: Path,
    threads: int,
) -> tuple[float, str]:
    """Runs a program; returns its seconds and what went wrong, if anything."""
    if turn == "graphflow_cold":
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(mode=0o700)
    clock = Clock(cache, threads)
    harness.subprocess = clock
    ours = turn != "tensorflow"
    arguments = SimpleNamespace(
        python=sys.executable if ours else tensorflow,
        peer="graphflow" if ours else "tf",
        contrib_shims=False,
        timeout=300.0,
        log=None,
        keep=False,
    )
    ended_well, error, _ = harness.run_one(program, arguments, str(sources))
    return clock.seconds, "" if ended_well else error


def measure(
    harness: Any,
    programs: Sequence[Mapping[str, Any]],
    tensorflow: str,
    sources: Path,
    rounds: int,
    threads: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Returns, for each program, the seconds of every turn in every round, and what failed."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            name = program["name"]
            row: dict[str, Any] = {"what": program.get("what", ""), "seconds": {}, "errors": {}}
            rows[name] = row
            for _ in range(rounds):
                for turn in TURNS:
                    if turn == "tensorflow" and "tf" in program.get("skip_peer", ()):
                        row["errors"][turn] = "this TensorFlow lacks what the program needs"
                        continue
                    seconds, error = run_once(
                        harness, program, turn, tensorflow, sources, Path(folder) / "cache", threads
                    )
                    if error:
                        row["errors"][turn] = error
                    else:
                        row["seconds"].setdefault(turn, []).append(round(seconds, 3))
            say(f"  {name:28} " + "  ".join(_cell(row, turn) for turn in TURNS))
    return rows


def _cell(row: Mapping[str, Any], turn: str) -> str:
    if seconds := row["seconds"].get(turn):
        return f"{median(seconds):.2f}"
    return "–"


def table(results: Mapping[str, Any]) -> str:
    """Returns the Markdown table."""
    lines = [
        "| seconds, start to end | first time | later | TensorFlow | first / TensorFlow | later / TensorFlow |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    notes = []
    ratios: list[tuple[float, float]] = []
    for name, row in results["programs"].items():
        cells = [_cell(row, turn) for turn in TURNS]
        if all(row["seconds"].get(turn) for turn in TURNS):
            cold, warm, theirs = (median(row["seconds"][turn]) for turn in TURNS)
            ratios.append((cold / theirs, warm / theirs))
            cells += [f"{cold / theirs:.2f}", f"**{warm / theirs:.2f}**"]
        else:
            cells += ["–", "–"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        notes += [f"{name}, {turn}: {error}" for turn, error in row["errors"].items()]
    if ratios:
        middle = [median(column) for column in zip(*ratios, strict=True)]
        most = [max(column) for column in zip(*ratios, strict=True)]
        lines.append(f"| median | | | | {middle[0]:.2f} | **{middle[1]:.2f}** |")
        lines.append(f"| worst | | | | {most[0]:.2f} | **{most[1]:.2f}** |")
    machine = results["machine"]
    text = (
        f"{machine['processor']}, {results['threads']} threads, {machine['system']}, Python {machine['python']}, "
        f"{results['date']}. Each program in a process of its own, unchanged but for run lengths, on small made-up "
        "data. First time: nothing compiled yet; later: with graphflow's cache of compiled code on disk."
    )
    return "\n".join([text, "", *lines, *([""] if notes else []), *(f"- {note}" for note in notes), ""])


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Declares what the command line takes; results go under this name."""
    parser.add_argument("--harness", type=Path, required=True, help="folder of harness.py and run.py")
    parser.add_argument(
        "--sources",
        type=Path,
        required=True,
        help="folder of the programs' repositories, as the harness has them",
    )
    parser.add_argument(
        "--tensorflow",
        default=os.environ.get("GRAPHFLOW_TF_PYTHON", sys.executable),
        help="interpreter with tensorflow, tf_keras and what the programs import (default: GRAPHFLOW_TF_PYTHON)",
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of programs; the other results stay")
    parser.add_argument("--name", default=name)


def chosen(programs: Sequence[dict[str, Any]], only: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the programs of these names, or all; refuses names that there are not."""
    names = [program["name"] for program in programs]
    if unknown := [name for name in only if name not in names]:
        raise SystemExit(f"no program is named {', '.join(unknown)}; there are {', '.join(names)}")
    return [program for program in programs if not only or program["name"] in only]


def earlier(path: Path) -> dict[str, Any]:
    """Returns the results of a run before this one, or none."""
    found: dict[str, Any] = json.loads(path.read_text())["programs"] if path.exists() else {}
    return found
