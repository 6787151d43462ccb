"""Values of several GPUs reduced by NCCL, as CuPy brings it along. All GPUs are of one process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.collector import while_loading

__all__ = ["Reductions"]

_KINDS = {
    "f32": "NCCL_FLOAT32",
    "f64": "NCCL_FLOAT64",
    "f16": "NCCL_FLOAT16",
    "bf16": "NCCL_BFLOAT16",
    "i32": "NCCL_INT32",
    "i64": "NCCL_INT64",
}
_made: dict[tuple[int, ...], Reductions] = {}
_lock = threading.Lock()


class Reductions:
    """Communicators of some GPUs. `library`: `cupy.cuda.nccl`; `devices`: the GPUs, as the machine counts them."""

    def __init__(self, library: Any, devices: Sequence[int]) -> None:
        self._library = library
        self._communicators: dict[int, Any] = dict(
            zip(devices, library.NcclCommunicator.initAll(list(devices)), strict=True)
        )

    @classmethod
    def load(cls, devices: tuple[int, ...]) -> Reductions | None:
        """The communicators of some GPUs, made once; None where NCCL is missing."""
        with _lock:
            if devices not in _made:
                with while_loading():
                    library: Any = importlib.import_module("cupy.cuda.nccl")
                if not library.available:
                    return None
                _made[devices] = cls(library, devices)
            return _made[devices]

    def all_reduce(
        self,
        streams: Mapping[int, int],
        reduction: str,
        dtype: str,
        count: int,
        sources: Sequence[int],
        targets: Sequence[int],
    ) -> None:
        """Puts a reduction on the streams of all of them, by device; see `Device.all_reduce`."""
        library = self._library
        kind, operation = getattr(library, _KINDS[dtype]), getattr(library, f"NCCL_{reduction.upper()}")
        # In a group, or the first would wait for the others for ever.
        library.groupStart()
        try:
            for (device, stream), source, target in zip(streams.items(), sources, targets, strict=True):
                self._communicators[device].allReduce(source, target, count, kind, operation, stream)
        finally:
            library.groupEnd()
