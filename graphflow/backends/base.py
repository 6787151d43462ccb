"""What a back end offers, and how one is loaded by the name of a device."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from graphflow import config
from graphflow.collector import while_loading
from graphflow.loops.library import Call, Size
from graphflow.plan import Machine, PlanBuilder

__all__ = ["Backend", "NativeCode", "Pack", "device_kind", "load"]


@runtime_checkable
class NativeCode(Protocol):
    """A kernel that comes as text in the back end's own language, under a symbol that names its contents."""

    @property
    def symbol(self) -> str:
        """The function's name; equal symbols mean equal text."""

    @property
    def text(self) -> str:
        """The whole module."""


class Pack(Protocol):
    """What a library call makes of one operand before it starts; see `LibraryCode` of a back end.

    Packs of equal `key` make the same of the same operand with the same sizes.
    """

    @property
    def operand(self) -> str:
        """The buffer that is read."""

    @property
    def name(self) -> str:
        """The buffer that is written, under which the call's launches ask for it."""

    @property
    def bytes(self) -> Size:
        """Of the buffer that is written."""

    @property
    def key(self) -> str:
        """Stands for what is made."""

    @property
    def launches(self) -> Sequence[Any]:
        """The launches, in order."""

    @property
    def panels(self) -> tuple[int, int] | None:
        """The columns of the operand and of a panel, where it is just put in panels, as a variable may be stored."""


class Backend(Machine, Protocol):
    """A kind of device that compiles kernels and runs plans.

    Attributes:
      name: the kind.
      absorbs: what its library calls take in besides epilogues: "attention" (two products and what is between them),
        "attention16" (the same of factors of 16 bits), "prologue" (what the first operand of a product is made of),
        "float16" (factors of that dtype).
      devices: the numbers of its devices, as the machine counts them; several where one plan is for several.
      many_threads: whether it has thousands of threads rather than some: then more of the work is cut into shares.

    Kernels handed to `addresses` (and so to `PlanBuilder.launch`) are `loops.ir.Kernel`, `NativeCode`, `plan.COPY`,
    or the address of a function that is there already.
    """

    name: str
    absorbs: frozenset[str]
    many_threads: bool
    devices: tuple[int, ...]

    @property
    def processor(self) -> Backend:
        """What does the part of a program that was placed on the processor; itself, if it is that."""

    @property
    def target(self) -> Any:
        """What code is generated for; library calls are shaped by it."""

    def builder(self, name: str = "") -> PlanBuilder:
        """A builder of plans that run here."""

    def library(self, call: Call) -> Any:
        """The launches and scratch of a library call."""

    def panel_width(self, dtype: str, columns: int) -> int:
        """The columns of a panel in which matrix products like a factor of so many columns best; 0 if in none."""


# Device kind -> module and class; nothing is imported until a device of the kind is asked for.
_BACKENDS = {
    "cpu": ("graphflow.backends.cpu.backend", "CpuBackend"),
    "gpu": ("graphflow.backends.gpu.backend", "GpuBackend"),
}

_DEVICE = re.compile(r"(?:^|/)(?:device:)?(cpu|gpu)(?::(\d+|\*))?$", re.IGNORECASE)
_SEVERAL = re.compile(r"gpu:\d+(?:,\d+)+")

_loaded: dict[tuple[str, int, int, float, str, tuple[int, ...]], Backend] = {}
_lock = threading.Lock()


def device_kind(device: str) -> tuple[str, int]:
    """Kind and index of a device name such as "cpu", "/cpu:0" or "/job:localhost/…/device:CPU:0".

    A name that says no kind ("", "/job:worker") means the processor. Raises ValueError for another kind.
    """
    found = _DEVICE.search(device)
    if found:
        index = found[2]
        return found[1].lower(), 0 if index in (None, "*") else int(index)
    last = device.rsplit("/", 1)[-1]
    if not last or last.split(":")[0] in ("job", "replica", "task"):
        return "cpu", 0
    raise ValueError(f"no back end runs device {device!r}; there are {', '.join(_BACKENDS)}")


def load(device: str = "", threads: int = 0, share_from: float = 0.0) -> Backend:
    """The back end of a device, made once per device, number of threads (0: as many as the machine has), and seconds of
    work from which on these share it.

    "gpu:0,1" are several GPUs whose parts of a program one plan holds.
    """
    several: tuple[int, ...] = ()
    if _SEVERAL.fullmatch(device):
        several = tuple(map(int, device[4:].split(",")))
    kind, index = ("gpu", several[0]) if several else device_kind(device)
    key = (kind, index, threads, share_from, config.gpu() if kind == "gpu" else "", several)
    with _lock:
        backend = _loaded.get(key)
        if backend is None:
            module, name = _BACKENDS[kind]
            with while_loading():
                made = getattr(importlib.import_module(module), name)
            more = {"several": several} if several else {}
            backend = _loaded[key] = made(index=index, threads=threads, share_from=share_from, **more)
        return backend
