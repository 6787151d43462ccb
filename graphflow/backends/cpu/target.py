"""What code is generated for: triple, processor, and the facts about its vectors that shape kernels."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Literal

import llvmlite

from graphflow.backends.cache import default_cache, digest
from graphflow.loops.library import element_bytes
from graphflow.records import dataclass

__all__ = [
    "OPTIMIZATION",
    "Isa",
    "Target",
    "cross_target",
    "host_target",
    "panel_width",
    "relocation",
    "tile_shape",
]

# Code generation level. Level 0 must not be used: its instruction selector aborts the process on AVX-512
# masks. Higher levels take longer and made no kernel faster: the text is written as it should run.
OPTIMIZATION = 1

# What Linux says of a processor that decides what LLVM calls it and what it takes it to be able to do.
_TELLING = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")

Isa = Literal["avx512", "avx2", "neon", "generic"]

_VECTOR_BYTES: dict[Isa, int] = {"avx512": 64, "avx2": 32, "neon": 16, "generic": 16}
_REGISTERS: dict[Isa, int] = {"avx512": 32, "avx2": 16, "neon": 32, "generic": 16}

# What each level of ours takes for granted, as LLVM names it.
_AVX2_FEATURES = ("avx2", "fma", "f16c", "bmi", "bmi2")
_AVX512_FEATURES = (*_AVX2_FEATURES, "avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512cd")


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to generate code for. `features` is LLVM's list ("+avx2,+fma")."""

    triple: str
    cpu: str
    features: str
    isa: Isa

    @property
    def vector_bytes(self) -> int:
        """Bytes in a vector register."""
        return _VECTOR_BYTES[self.isa]

    @property
    def registers(self) -> int:
        """How many vector registers there are."""
        return _REGISTERS[self.isa]

    @property
    def fma(self) -> bool:
        """Whether multiply-add in one rounding is an instruction (else it would be a slow call)."""
        return self.isa != "generic"

    @property
    def half_conversion(self) -> bool:
        """Whether f16 is converted by an instruction."""
        return self.isa != "generic"

    @property
    def masked_memory(self) -> bool:
        """Whether loads and stores take a mask, so that a loop's end needs no scalar turns."""
        return self.isa in ("avx512", "avx2")

    @property
    def bfloat16_dot(self) -> bool:
        """Whether there is a bfloat16 dot product instruction (`vdpbf16ps`)."""
        return "+avx512bf16" in self.features.split(",")

    def lanes(self, element_bytes: int) -> int:
        """Elements of a size in one vector register."""
        return self.vector_bytes // element_bytes

    @property
    def key(self) -> str:
        """Names everything that generated code depends on; part of a cache entry's digest."""
        features = hashlib.sha256(self.features.encode()).hexdigest()[:16]
        return f"{self.triple}/{self.cpu}/{self.isa}/{features}"


def cross_target(isa: Isa) -> Target:
    """A plain Linux machine of an instruction set, whatever the host: for tests and ahead-of-time objects."""
    if isa == "neon":
        return Target("aarch64-unknown-linux-gnu", "generic", "+neon", "neon")
    cpu = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "generic": "x86-64"}[isa]
    wanted: tuple[str, ...] = {"avx512": _AVX512_FEATURES, "avx2": _AVX2_FEATURES, "generic": ()}[isa]
    return Target("x86_64-unknown-linux-gnu", cpu, ",".join(f"+{f}" for f in wanted), isa)


# So few rows are one tile, as wide as the registers allow.
_FLAT_ROWS = 8


def tile_shape(target: Target, lanes: int, columns: int | None, rows: int | None = None) -> tuple[int, int]:
    """Rows and vectors, of `lanes` elements, of the register tile for so many columns and rows (`None`: many)."""
    needed = 2 if columns is None else -(-columns // lanes)
    many = target.registers >= 32
    if rows is not None and 0 < rows <= _FLAT_ROWS and columns is not None:
        widest = min(16, (28 if many else 12) // rows)
        if widest > 2:
            return rows, max(1, min(needed, widest))
    if needed <= 1:
        return (16 if many else 8), 1
    if many and needed == 3:
        return 8, 3
    return (14 if many else 6), 2


def panel_width(target: Target, dtype: str, columns: int) -> int:
    """The columns of a panel of a matrix that has so many."""
    lanes = target.lanes(element_bytes(dtype))
    return tile_shape(target, lanes, columns)[1] * lanes


def relocation(target: Target) -> str:
    """How LLVM is to leave addresses open in code for this process.

    Not "pic" on x86: LLVM's loader computes the constants' addresses of every object of an engine from the offset
    table of the first, so that all others would read their constants from elsewhere.
    """
    return "static" if target.triple.startswith("x86_64") else "pic"


@functools.cache
def host_target() -> Target:
    """The machine this process runs on, as LLVM sees it.

    Its answer is kept beside the compiled code, for processors that the system describes: loading LLVM to ask takes
    longer than loading a small model's code.
    """
    cache, description = default_cache(), _description()
    key = description and digest("host", description, sys.platform, llvmlite.__version__)
    kept = cache.get(key) if key else None
    if kept is None:
        target = _asked()
        if key:
            cache.put(key, json.dumps([target.triple, target.cpu, target.features, target.isa]).encode())
        return target
    return Target(*json.loads(kept))


def _description() -> str:
    """What the system says of the first processor; nothing if it does not say enough."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            # Of the others it says the same, and they are many on a large machine.
            first = file.read(8192).partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""
    fields = (line.partition(":") for line in first.splitlines())
    known = {name.strip(): value.strip() for name, _, value in fields}
    return "\n".join(known[name] for name in _TELLING) if known.keys() >= set(_TELLING) else ""


def _asked() -> Target:
    from llvmlite import binding

    triple = binding.get_process_triple()
    present = binding.get_host_cpu_features()
    isa: Isa = "generic"
    if triple.startswith(("aarch64", "arm64")):
        isa = "neon"
    elif triple.startswith("x86_64"):
        if all(present.get(f, False) for f in _AVX512_FEATURES):
            isa = "avx512"
        elif all(present.get(f, False) for f in _AVX2_FEATURES):
            isa = "avx2"
    return Target(triple, binding.get_host_cpu_name(), present.flatten(), isa)
