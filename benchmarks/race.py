"""Interleaved rounds: every peer waits in a process of its own, and the parent lets them run in turn.

All peers see the same minutes of the machine, in changing order, so that a slow minute hurts nobody alone. A
measurement waits a while for the machine to be quiet, and is repeated where other jobs disturbed it. A ratio is the
median over rounds of graphflow's median over the best peer's median in the same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import QUIET, wait_until_quiet
from benchmarks.peers import PEERS
from benchmarks.workloads import BY_NAME, Array, Workload

ROOT = Path(__file__).resolve().parent.parent
OURS = "graphflow"
Say = Callable[[str], None]


def interpreter(peer: str) -> str:
    """Returns the interpreter for a peer: graphflow runs in ours, the others in `BENCH_PYTHON`."""
    return sys.executable if peer == OURS else os.environ.get("BENCH_PYTHON", sys.executable)


def environment(threads: int) -> dict[str, str]:
    """Returns the environment of a worker: the same number of threads for everyone, no GPU."""
    count = str(threads)
    # Compiled Python files are kept, as in any ordinary installation.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "GRAPHFLOW_NUM_THREADS": count,
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@dataclass
class Cell:
    """What one peer did on one workload."""

    rounds_ms: list[float] = field(default_factory=list)
    least_ms: float = float("inf")
    other_cpus: list[float] = field(default_factory=list)
    first_s: float = 0.0
    deviation: float = 0.0
    note: str = ""

    @property
    def median_ms(self) -> float | None:
        """The median of the rounds' medians; None where the peer has no valid result."""
        return median(self.rounds_ms) if self.rounds_ms and not self.note else None

    def as_json(self) -> dict[str, Any]:
        """Returns plain values."""
        if self.note:
            return {"note": self.note}
        return {
            "median_ms": self.median_ms,
            "least_ms": self.least_ms,
            "rounds_ms": self.rounds_ms,
            "first_s": self.first_s,
            "deviation": self.deviation,
            "other_cpus": max(self.other_cpus, default=0.0),
        }


class Peer:
    """A worker process, seen from the parent."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [interpreter(name), "-m", "benchmarks.worker", name, str(threads)],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.hello = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended with code {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def deviations(workload: Workload, results: dict[str, Array]) -> dict[str, float]:
    """Returns how far each peer lies from the element-wise median of all, relative to the largest value."""
    if not results:
        return {}
    sizes = {values.size for values in results.values()}
    if len(sizes) > 1:
        raise ValueError(f"{workload.name}: results of different sizes {sorted(sizes)}")
    middle = np.median(np.stack(list(results.values())), axis=0)
    scale = max(float(np.max(np.abs(middle))), 1e-30)
    return {peer: float(np.max(np.abs(values - middle))) / scale for peer, values in results.items()}


def race(
    workloads: Sequence[str],
    peers: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    patience: float,
    say: Say,
) -> dict[str, Any]:
    """Races peers over workloads.

    Args:
      workloads, peers: names.
      threads: how many each peer may use.
      rounds: how often the peers take turns.
      seconds: how long a peer's turn takes.
      patience: how many more seconds a turn may wait for a quiet machine, or be repeated.
      say: prints a line.

    Returns:
      {"versions": {peer: version}, "workloads": {name: {"peers": {peer: cell}, "best_peer", "ratio", …}}}.
    """
    running: list[Peer] = []
    versions: dict[str, str] = {}
    try:
        for name in peers:
            peer = Peer(name, threads)
            if "error" in peer.hello:
                say(f"{name}: left out, {peer.hello['error']}")
                peer.close()
                continue
            running.append(peer)
            versions[name] = peer.hello["version"]
            say(f"{name} {versions[name]}")
        outcomes = {
            name: _race_one(BY_NAME[name], running, rounds, seconds, patience, say) for name in workloads
        }
    finally:
        for peer in running:
            peer.close()
    return {"versions": versions, "workloads": outcomes}


def _race_one(
    workload: Workload, running: list[Peer], rounds: int, seconds: float, patience: float, say: Say
) -> dict[str, Any]:
    cells: dict[str, Cell] = {}
    results: dict[str, Array] = {}
    for peer in running:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.npy"
            answer = peer.ask("prepare", workload=workload.name, results=str(path))
            if answer.get("missing"):
                continue
            cells[peer.name] = Cell(first_s=answer.get("first_s", 0.0), note=answer.get("error", ""))
            if "error" not in answer:
                results[peer.name] = np.load(path)
    for name, deviation in deviations(workload, results).items():
        cells[name].deviation = deviation
        if deviation > workload.tolerance:
            cells[name].note = f"wrong: {deviation:.1e} of the largest value away from the others"
    racing = [peer for peer in running if peer.name in cells and not cells[peer.name].note]
    for turn in range(rounds):
        shift = turn % max(1, len(racing))
        for peer in racing[shift:] + racing[:shift]:
            cell = cells[peer.name]
            answer = _undisturbed(peer, seconds, patience)
            if "error" in answer:
                cell.note = answer["error"]
                continue
            cell.rounds_ms.append(answer["median_ms"])
            cell.least_ms = min(cell.least_ms, answer["least_ms"])
            cell.other_cpus.append(answer["other_cpus"])
    for peer in running:
        peer.ask("drop")
    outcome: dict[str, Any] = {
        "title": workload.title,
        "peers": {name: cell.as_json() for name, cell in cells.items()},
        **_ratio(cells),
    }
    for name, cell in cells.items():
        timed = "not timed" if cell.median_ms is None else f"{cell.median_ms:.4f} ms"
        shown = cell.note or f"{timed} (first {cell.first_s:.2f} s)"
        say(f"  {workload.name:20} {name:14} {shown}")
    return outcome


def _undisturbed(peer: Peer, seconds: float, patience: float) -> dict[str, Any]:
    """Times a peer when the machine is quiet; the least disturbed of a few tries where `patience` seconds allow."""
    best: dict[str, Any] | None = None
    while True:
        patience -= wait_until_quiet(patience)
        answer = peer.ask("time", seconds=seconds)
        if "error" in answer or answer["other_cpus"] <= QUIET:
            return answer
        if best is None or answer["other_cpus"] < best["other_cpus"]:
            best = answer
        patience -= seconds
        if patience <= 0:
            return best


def _ratio(cells: dict[str, Cell]) -> dict[str, Any]:
    """Returns the best peer, and graphflow's time over its time in the same rounds: median, least, most."""
    others = {
        name: cell.median_ms for name, cell in cells.items() if name != OURS and cell.median_ms is not None
    }
    ours = cells.get(OURS)
    if ours is None or ours.median_ms is None or not others:
        return {"best_peer": None, "ratio": None}
    best = min(others, key=lambda name: others[name])
    pairs = zip(ours.rounds_ms, cells[best].rounds_ms, strict=True)
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    return {"best_peer": best, "ratio": median(ratios), "ratio_range": [ratios[0], ratios[-1]]}


def available(wanted: Sequence[str]) -> list[str]:
    """Returns the names of peers to race; all where none is named.

    Raises:
      ValueError: for a name that no peer has.
    """
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return list(wanted) or list(PEERS)
