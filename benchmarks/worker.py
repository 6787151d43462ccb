"""One peer in a process of its own: reads commands as JSON lines, answers each with one.

{"do": "prepare", "workload": "mlp", "results": "/path/file.npy"}   build it, run it, keep what it returned
                                                                    ("size": 64 for one that has a size)
{"do": "time", "seconds": 0.5}                                      run it again and again
{"do": "drop"}                                                      forget it
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.machine import busy
from benchmarks.peers import PEERS
from benchmarks.workloads import BY_NAME, Array, Step

MOST_CALLS = 20_000
MOST_SAMPLES = 4096


def digest(results: list[Any]) -> Array:
    """Returns evenly spread elements of all results, float64: enough to compare peers by."""
    parts = []
    for result in results:
        for item in result if isinstance(result, list | tuple) else [result]:
            values = np.asarray(item, dtype=np.float64).ravel()
            parts.append(values[:: max(1, values.size // MOST_SAMPLES)])
    return np.concatenate(parts)


def time_calls(step: Step, seconds: float) -> dict[str, Any]:
    """Calls a step for some seconds; returns each call's time and how many CPUs other processes used."""
    begin = time.perf_counter()
    for _ in range(3):
        step()
        if time.perf_counter() - begin > seconds:
            break
    gc.collect()
    gc.disable()
    machine, mine = busy()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < seconds and len(times) < MOST_CALLS):
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    wall = time.perf_counter() - begin
    gc.enable()
    machine_after, mine_after = busy()
    others = max(0.0, (machine_after - machine) - (mine_after - mine)) / wall
    return {
        "median_ms": float(np.median(times)) * 1e3,
        "least_ms": min(times) * 1e3,
        "calls": len(times),
        "other_cpus": others,
    }


class Worker:
    """Answers commands."""

    def __init__(self, peer: str, threads: int) -> None:
        module, self._distributions = PEERS[peer]
        begin = time.perf_counter()
        self._programs = importlib.import_module(module).load(threads)
        self.import_s = time.perf_counter() - begin
        self._step: Step | None = None

    def hello(self) -> dict[str, Any]:
        """Says who is there."""
        return {"version": self._version(), "python": sys.version.split()[0]}

    def _version(self) -> str:
        # Not at the top: it would count as the peers' time to the first step.
        from importlib import metadata

        for name in self._distributions:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        module = importlib.import_module(self._distributions[0].replace("-", "_"))
        return str(module.__version__)

    def prepare(self, workload: str, results: str, size: int | None = None) -> dict[str, Any]:
        """Builds a workload and runs its first steps; their results go to a file."""
        self._step = None
        gc.collect()
        build = getattr(self._programs, workload, None)
        if build is None:
            return {"missing": True}
        begin = time.perf_counter()
        step: Step = build() if size is None else build(size)
        outputs = [step()]
        first_s = time.perf_counter() - begin
        outputs += [step() for _ in range(BY_NAME[workload].steps_compared - 1)]
        np.save(results, digest(outputs))
        self._step = step
        return {"first_s": first_s}

    def time(self, seconds: float) -> dict[str, Any]:
        """Times the prepared workload."""
        assert self._step is not None, "nothing is prepared"
        return time_calls(self._step, seconds)

    def drop(self) -> dict[str, Any]:
        """Forgets the prepared workload."""
        self._step = None
        gc.collect()
        return {}


def first_step(peer: str, threads: int, workload: str, started: float) -> dict[str, Any]:
    """Imports a peer, runs one step and says how long all of that took since `started` (monotonic)."""
    worker = Worker(peer, threads)
    getattr(worker._programs, workload)()()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "first_step_s": time.monotonic() - started,
        "import_s": worker.import_s,
        # Linux counts in KiB, macOS in bytes.
        "peak_rss_mb": peak / (1024 if sys.platform != "darwin" else 1024 * 1024),
    }


def main() -> None:
    """`python -m benchmarks.worker PEER THREADS [WORKLOAD STARTED]`."""
    # Libraries print; only answers may go where the parent listens.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer, threads = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        # Some peers take as many threads as there are cores, whatever one tells them.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if len(sys.argv) > 3:
        print(
            json.dumps(first_step(peer, threads, sys.argv[3], float(sys.argv[4]))), file=answers, flush=True
        )
        return
    worker = Worker(peer, threads)
    print(json.dumps(worker.hello()), file=answers, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:  # whatever a peer raises is its result for this workload
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
