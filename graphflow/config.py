"""Every environment variable that graphflow reads, and nothing else reads one.

Each entry of `VARIABLES` is a row of the README's table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """One environment variable: its name, its default and what it does."""

    name: str
    default: str
    meaning: str

    def get(self) -> str:
        """Returns the value in force now."""
        return os.environ.get(self.name, self.default)


BACKEND = EnvironmentVariable(
    "GRAPHFLOW_BACKEND", "cpu", "`cpu` runs compiled code, `reference` runs each op's NumPy body"
)
CACHE_DIR = EnvironmentVariable(
    "GRAPHFLOW_CACHE_DIR",
    "",
    "where compiled code is kept; default: the user's cache directory; `off` keeps none",
)
DUMP = EnvironmentVariable(
    "GRAPHFLOW_DUMP",
    "",
    "comma-separated stages to print to stderr: `program`, `passes` (or passes by name), `loops`, `plan`, `llvm`,"
    " `asm`, `cuda`",
)
GPU = EnvironmentVariable(
    "GRAPHFLOW_GPU",
    "auto",
    "`auto` runs on NVIDIA GPUs where there are any, `off` never; `host` runs the steps of GPU plans on the processor,"
    " `recording` writes them down and computes nothing: both for tests",
)
GPU_LOOPS = EnvironmentVariable(
    "GRAPHFLOW_GPU_LOOPS",
    "graph",
    "`graph` leaves loops, choices and checks on a GPU to the GPU, where its driver can, `host` steers them from here",
)
GPU_SYNC = EnvironmentVariable(
    "GRAPHFLOW_GPU_SYNC",
    "0",
    "`1` waits for every step on a GPU, so that an error names the step that failed",
)
MATMUL_PRECISION = EnvironmentVariable(
    "GRAPHFLOW_MATMUL_PRECISION",
    "tf32",
    "of float32 products on a GPU: `tf32` rounds their factors to 10 bits of fraction, as TensorFlow does, `highest`"
    " does not",
)
NUM_THREADS = EnvironmentVariable(
    "GRAPHFLOW_NUM_THREADS",
    "0",
    "threads inside one run where ConfigProto says nothing; 0: the cores we may use",
)
VERIFY = EnvironmentVariable(
    "GRAPHFLOW_VERIFY",
    "0",
    "`1` verifies the program after every pass, and every kernel, and runs everything twice: compiled and with the"
    " NumPy bodies; the first node that differs is named",
)
WINOGRAD = EnvironmentVariable(
    "GRAPHFLOW_WINOGRAD",
    "4",
    "the largest blocks of results, by their side, for which 3x3 and 5x5 convolutions of stride one may take Winograd's"
    " fewer products: `4`, `2` (as exact as the direct way; `4` loses up to twice as much), or `0` to compute directly",
)

VARIABLES = (
    BACKEND, CACHE_DIR, DUMP, GPU, GPU_LOOPS, GPU_SYNC, MATMUL_PRECISION, NUM_THREADS, VERIFY, WINOGRAD,
)  # fmt: skip


# What can be printed on the way from a graph to code.
STAGES = ("program", "passes", "loops", "plan", "llvm", "asm", "cuda")


def dump_stages() -> frozenset[str]:
    """Returns the stages that `GRAPHFLOW_DUMP` asks to print.

    - `program`: the slice of the graph after the passes, once with open sizes, once for the sizes of the feeds.
    - `passes`: what each pass did, and the program after each that changed it; the name of a pass prints only its own.
    - `loops`: each loop kernel. Library calls (products, convolutions, pools) have no loops: see `llvm`.
    - `plan`: the steps, what they read and write, and their predicted cost.
    - `llvm`, `asm`: the text of each kernel, and the machine's instructions. A kernel that is in this process already
      is not printed again; one that comes from the disk cache is.
    - `cuda`: the CUDA C of each kernel that a GPU, or what stands for one to be looked at, loads.

    `compiler` refuses other names.
    """
    return frozenset(stage.strip() for stage in DUMP.get().split(",") if stage.strip())


# Which devices stand for GPUs.
GPUS = ("auto", "off", "host", "recording")


def gpu() -> str:
    """Returns which devices stand for GPUs: one of `GPUS`.

    Raises ValueError for anything else.
    """
    value = GPU.get() or "auto"
    if value not in GPUS:
        raise ValueError(f"{GPU.name} must be one of {', '.join(GPUS)}, got {value!r}")
    return value


def matmul_precision() -> str:
    """Returns how float32 products are made on a GPU: "tf32" or "highest".

    Raises ValueError for anything else.
    """
    value = MATMUL_PRECISION.get() or "tf32"
    if value not in ("tf32", "highest"):
        raise ValueError(f"{MATMUL_PRECISION.name} must be tf32 or highest, got {value!r}")
    return value


def gpu_loops() -> bool:
    """Tells whether loops, choices and checks on a GPU are left to it.

    Raises ValueError for a setting that says neither.
    """
    value = GPU_LOOPS.get() or "graph"
    if value not in ("graph", "host"):
        raise ValueError(f"{GPU_LOOPS.name} must be graph or host, got {value!r}")
    return value == "graph"


def gpu_sync() -> bool:
    """Tells whether every step on a GPU is waited for."""
    return GPU_SYNC.get() not in ("", "0")


def verify() -> bool:
    """Tells whether programs and kernels are verified, and runs held against the NumPy bodies."""
    return VERIFY.get() not in ("", "0")


def winograd() -> int:
    """Returns the side of the largest blocks of results that Winograd's products may make: 4, 2, or 0 for none.

    Raises ValueError for anything but a number.
    """
    return int(WINOGRAD.get() or "0")


def num_threads() -> int:
    """Returns the default size of a thread team, at least 1."""
    try:
        wanted = int(NUM_THREADS.get() or "0")
    except ValueError:
        raise ValueError(f"{NUM_THREADS.name} must be a whole number, got {NUM_THREADS.get()!r}") from None
    if wanted > 0:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def cache_dir() -> Path | None:
    """Returns the directory of the object cache, or None when it is switched off."""
    value = CACHE_DIR.get()
    if value == "off":
        return None
    if value:
        return Path(value).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "graphflow"
