"""NVIDIA's run-time compiler, called directly: CUDA C to cubins, without a driver or a device.

The library comes with the wheel `nvidia-cuda-nvrtc` or a CUDA toolkit. It is looked for at the first use.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from graphflow.records import dataclass

__all__ = ["OPTIONS", "CompileError", "Compiled", "available", "compile_source", "version", "why_not"]

OPTIONS = ("-std=c++17", "--fmad=true", "-ftz=false", "-prec-div=true", "-prec-sqrt=true", "-default-device")
"""How everything is compiled: products and sums may be fused as on the processor, else as IEEE 754 says."""

_MAJORS = (13, 12)


class CompileError(RuntimeError):
    """Source that does not compile, with what the compiler says: a fault of whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one translation unit has become: the cubin (or PTX), and the compiler's log."""

    code: bytes
    log: str


def available() -> bool:
    """Whether there is a compiler."""
    return isinstance(_library(), ctypes.CDLL)


def why_not() -> str:
    """Why there is no compiler; nothing where there is one."""
    found = _library()
    return found if isinstance(found, str) else ""


@functools.cache
def version() -> tuple[int, int]:
    """The compiler's version."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_loaded().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return major.value, minor.value


def compile_source(
    source: str, arch: str = "sm_90", options: Sequence[str] = (), *, ptx: bool = False
) -> Compiled:
    """Compiles a translation unit.

    Args:
      source: CUDA C.
      arch: for which devices, such as "sm_90".
      options: what else the compiler is told.
      ptx: makes PTX, to be looked at, in place of a cubin.

    Raises:
      CompileError: for what does not compile, with the compiler's log.
      RuntimeError: if there is no compiler, with the reason.
    """
    library = _loaded()
    program = ctypes.c_void_p()
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"graphflow.cu", 0, None, None
    )
    _check(created, "nvrtcCreateProgram")
    try:
        target = arch.replace("sm_", "compute_") if ptx else arch
        given = [option.encode() for option in (*OPTIONS, *options, f"--gpu-architecture={target}")]
        status = library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        log = _text(library, program, "ProgramLog")
        if status:
            raise CompileError(f"CUDA C that does not compile ({_message(library, status)}):\n{log}")
        code = _bytes(library, program, "PTX" if ptx else "CUBIN")
        return Compiled(code, log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
    held = ctypes.create_string_buffer(size.value)
    _check(getattr(library, f"nvrtcGet{what}")(program, held), what)
    return held.raw


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    return _bytes(library, program, what).rstrip(b"\0").decode(errors="replace")


def _message(library: ctypes.CDLL, status: int) -> str:
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return str(library.nvrtcGetErrorString(status).decode())


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what}: {_message(_loaded(), status)}")


def _loaded() -> ctypes.CDLL:
    found = _library()
    if isinstance(found, str):
        raise RuntimeError(f"there is no CUDA compiler: {found}")
    return found


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The library, or why it cannot be had."""
    windows = sys.platform == "win32"
    tried = []
    for folder in _folders():
        for major in _MAJORS:
            names = folder.glob(f"nvrtc64_{major}*.dll" if windows else f"libnvrtc.so.{major}")
            for path in sorted(names):
                try:
                    # It opens this one by its bare name, and is not looked for beside itself.
                    for beside in sorted(folder.glob(f"*nvrtc-builtins*{major}*")):
                        ctypes.CDLL(str(beside))
                    return ctypes.CDLL(str(path))
                except OSError as error:
                    tried.append(f"{path}: {error}")
    name = ctypes.util.find_library("nvrtc")
    if name is not None:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            tried.append(f"{name}: {error}")
    return "; ".join(tried) or "no libnvrtc; the package nvidia-cuda-nvrtc brings it"


def _folders() -> list[Path]:
    """Where NVIDIA's wheels put it."""
    spec = importlib.util.find_spec("nvidia")
    places = (
        [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    )
    found: list[Path] = []
    for place in places:
        root = Path(place)
        found += [root / f"cu{major}" / part for major in _MAJORS for part in ("lib", "bin")]
        found += [root / "cuda_nvrtc" / part for part in ("lib", "bin")]
    return [folder for folder in found if folder.is_dir()]
