"""What a user waits for and pays before the first result: import, installed size, first step, memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.race import ROOT, environment, interpreter

IMPORTS = {
    "graphflow": "graphflow",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "jax": "jax",
    "pytensor": "pytensor",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
_TIME_IMPORT = """
import time
begin = time.perf_counter()
import numpy
middle = time.perf_counter()
import {module}
end = time.perf_counter()
print(middle - begin, end - middle)
"""
_SIZE = """
import re
from importlib import metadata
def size(name, seen):
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    seen[key] = sum(path.size or 0 for path in found.files or ())
    for requirement in found.requires or ():
        if "extra ==" not in requirement:
            size(re.match(r"[A-Za-z0-9._-]+", requirement)[0], seen)
seen = {}
for names in NAMES:
    # Alternatives: tensorflow-cpu and tensorflow are the same files.
    for name in names:
        before = len(seen)
        size(name, seen)
        if len(seen) > before:
            break
print(sum(seen.values()) / 1e6)
"""
# Where each peer keeps compiled code between processes; a cold start gets empty ones.
_CACHES = ("GRAPHFLOW_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")


def _run(peer: str, program: str, threads: int) -> str:
    return subprocess.run(
        [interpreter(peer), "-c", program],
        cwd=ROOT,
        env=environment(threads),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def import_seconds(peer: str, threads: int, times: int = 5) -> float:
    """Returns the median seconds that `import PEER` takes beyond `import numpy`, files warm."""
    program = _TIME_IMPORT.format(module=IMPORTS[peer])
    _run(peer, program, threads)
    return median(float(_run(peer, program, threads).split()[-1]) for _ in range(times))


def installed_megabytes(peer: str, threads: int) -> float:
    """Returns the size of a peer's distributions and all they require."""
    names = list(PEERS[peer][1])
    if peer == "graphflow":
        # It may run from a checkout: its own files and its declared dependencies.
        own = sum(path.stat().st_size for path in (ROOT / "graphflow").rglob("*.py")) / 1e6
        text = (ROOT / "pyproject.toml").read_text()
        block = text.partition("\ndependencies = [")[2].partition("]")[0]
        names = re.findall(r'"([A-Za-z0-9_-]+)', block)
        return own + float(_run(peer, f"NAMES = {[[name] for name in names]!r}\n{_SIZE}", threads))
    return float(_run(peer, f"NAMES = {[names]!r}\n{_SIZE}", threads))


def first_step(peer: str, threads: int, workload: str, caches: Path) -> dict[str, Any]:
    """Starts a process; returns its times from the start to the first step's result, and its peak memory."""
    settings = environment(threads) | {name: str(caches / name.lower()) for name in _CACHES}
    # JAX keeps what took a second to compile, if nobody says otherwise.
    settings["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    settings["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    settings["PYTENSOR_FLAGS"] = f"base_compiledir={caches / 'pytensor'}"
    settings["NUMBA_CACHE_DIR"] = str(caches / "numba")
    done = subprocess.run(
        [interpreter(peer), "-m", "benchmarks.worker", peer, str(threads), workload, str(time.monotonic())],
        cwd=ROOT,
        env=settings,
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(peers: Sequence[str], threads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns a row per peer: import, installed size, first step with empty and warm caches, peak memory."""
    outcome: dict[str, Any] = {}
    for peer in peers:
        if peer not in IMPORTS:
            continue
        workload = "softmax" if peer in ("onnxruntime", "openvino") else "mlp"
        try:
            with tempfile.TemporaryDirectory() as folder:
                caches = Path(folder)
                for name in _CACHES:
                    os.makedirs(caches / name.lower(), mode=0o700)
                cold = first_step(peer, threads, workload, caches)
                warm = [first_step(peer, threads, workload, caches) for _ in range(3)]
            outcome[peer] = {
                "workload": workload,
                "import_s": import_seconds(peer, threads),
                "installed_mb": installed_megabytes(peer, threads),
                "first_step_cold_s": cold["first_step_s"],
                "first_step_warm_s": median(run["first_step_s"] for run in warm),
                "peak_rss_mb": median(run["peak_rss_mb"] for run in warm),
            }
        except subprocess.CalledProcessError as error:
            say(f"  {peer}: left out, {error.stderr.strip().splitlines()[-1:] or error}")
            continue
        row = outcome[peer]
        say(
            f"  {peer:14} import {row['import_s']:.3f} s, {row['installed_mb']:.0f} MB, first step "
            f"{row['first_step_cold_s']:.2f} s cold, {row['first_step_warm_s']:.2f} s warm, "
            f"peak {row['peak_rss_mb']:.0f} MB"
        )
    return outcome
