"""What this machine has for GPUs: driver, devices, libraries. Nothing here makes a context, or loads CuPy."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from graphflow import config
from graphflow.records import dataclass

__all__ = [
    "Driver",
    "FoundDevice",
    "Library",
    "devices",
    "driver",
    "helpers",
    "libraries",
    "missing",
    "report",
]

_PIP = "pip install 'graphflow[gpu]'"
_SIMULATED_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device: its number, name, bytes of memory and compute capability."""

    index: int
    name: str
    bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """NVIDIA's driver: the CUDA version that it speaks, its devices, and why there are none."""

    version: str
    devices: tuple[FoundDevice, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Library:
    """A library without which nothing runs on a GPU: its distribution, what it is for, its version ("" if that is not
    installed), and where else it was found: in an installed CUDA toolkit."""

    name: str
    use: str
    version: str
    path: str


@functools.cache
def driver() -> Driver:
    """The driver, asked once: `cuInit`, and what can be known of devices without a context."""
    names = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
    cuda: Any = None
    for name in names:
        try:
            cuda = ctypes.CDLL(name)
            break
        except OSError:
            continue
    if cuda is None:
        return Driver("", (), f"no driver: {names[0]} is not there")
    status = cuda.cuInit(0)
    if status:
        return Driver("", (), f"the driver does not start: cuInit returned {status} ({_error(cuda, status)})")
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    count = ctypes.c_int()
    status = cuda.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return Driver(
            _dotted(version.value), (), f"cuDeviceGetCount returned {status} ({_error(cuda, status)})"
        )
    found = []
    for index in range(count.value):
        device, size = ctypes.c_int(), ctypes.c_size_t()
        text = ctypes.create_string_buffer(128)
        major, minor = ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(text, 128, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        found.append(FoundDevice(index, text.value.decode(), size.value, (major.value, minor.value)))
    return Driver(_dotted(version.value), tuple(found), "" if found else "the driver has no device")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _error(cuda: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorString(status, ctypes.byref(text)) or text.value is None:
        return "unknown"
    return text.value.decode()


def libraries() -> tuple[Library, ...]:
    """The libraries that runs on a GPU use, whether they are there or not."""
    return (
        _library("cupy-cuda13x", "memory, streams, launches, captured graphs"),
        _library("nvidia-cuda-nvrtc", "compiles kernels", "libnvrtc.so*"),
        _library("nvidia-cublas", "matrix products (cuBLASLt)", "libcublasLt.so*"),
    )


def helpers() -> tuple[Library, ...]:
    """Libraries that are used where they are there; without them kernels of our own do the same."""
    return (
        _library("nvidia-cudnn-frontend", "convolutions"),
        _library("nvidia-cudnn-cu13", "convolutions", "libcudnn.so*"),
    )


def _library(name: str, use: str, file: str = "") -> Library:
    # Takes longer to load than a small model; where there is no driver, nobody asks.
    metadata = importlib.import_module("importlib.metadata")
    try:
        return Library(name, use, metadata.version(name), "")
    except metadata.PackageNotFoundError:
        return Library(name, use, "", _in_toolkit(file) if file else "")


def _in_toolkit(file: str) -> str:
    """The library itself in an installed CUDA toolkit; "" if it is not there."""
    for home in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        for path in sorted((Path(home) / "lib64").glob(file)) if home else ():
            return str(path)
    return ""


@functools.cache
def missing() -> tuple[str, ...]:
    """Why nothing can run on a GPU here, in sentences; nothing if it can."""
    found = [driver().problem] if driver().problem else []
    for library in libraries():
        if not library.version and not library.path:
            found.append(f"{library.name} is not installed ({library.use})")
    return tuple(found)


def devices(simulated: int | None = None, visible: str = "") -> tuple[FoundDevice, ...]:
    """The GPUs that a session may use, in its order: none where anything needed is missing.

    Args:
      simulated: how many there are where `GRAPHFLOW_GPU` puts something in place of GPUs; None: one.
      visible: numbers with commas between, as in `GPUOptions.visible_device_list`; "" for all.

    Raises:
      ValueError: for a list that names no device, or one twice.
    """
    kind = config.gpu()
    if kind == "off":
        return ()
    if kind == "auto":
        found = () if driver().problem or missing() else driver().devices
    else:
        count = 1 if simulated is None else simulated
        found = tuple([FoundDevice(i, f"{kind} GPU", _SIMULATED_BYTES, (0, 0)) for i in range(count)])
    if not visible.strip():
        return found
    try:
        numbers = [int(number) for number in visible.split(",")]
    except ValueError:
        raise ValueError(
            f"visible_device_list must be numbers with commas between, got {visible!r}"
        ) from None
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"visible_device_list names a device twice: {visible!r}")
    if found and (wrong := [number for number in numbers if not 0 <= number < len(found)]):
        raise ValueError(f"visible_device_list names device {wrong[0]}; there are {len(found)}")
    return tuple([found[number] for number in numbers]) if found else ()


def report() -> str:
    """What was found and what is missing, as text; no context is made."""
    state = driver()
    lines = []
    if state.version:
        lines.append(f"driver: speaks CUDA {state.version}, {len(state.devices)} devices")
    if state.problem:
        lines.append(f"driver: {state.problem}")
    for device in state.devices:
        lines.append(
            f"  GPU:{device.index}  {device.name}, {device.bytes / 2**30:.1f} GiB, compute capability"
            f" {device.capability[0]}.{device.capability[1]}"
        )
    gaps = False
    for library in libraries():
        if library.version or library.path:
            lines.append(f"{library.name} {library.version or 'from ' + library.path}: {library.use}")
        else:
            gaps = True
            lines.append(f"{library.name}: missing ({library.use})")
    for library in helpers():
        where = library.version or (f"from {library.path}" if library.path else "missing")
        less = "" if library.version or library.path else "; kernels of our own do it"
        lines.append(f"{library.name} {where}: {library.use}{less}")
    if config.gpu() != "auto":
        lines.append(f"{config.GPU.name}={config.gpu()}")
    if missing():
        lines.append(f"nothing runs on a GPU here: {'; '.join(missing())}")
    else:
        lines.append(f"programs run on GPU:0 unless they say otherwise ({len(state.devices)} there)")
    if gaps:
        lines.append(f"what is missing comes with: {_PIP}")
    return "\n".join(lines)
