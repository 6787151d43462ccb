"""Which device a run's operations are on: what the program says, else a GPU if there is one, else the processor."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from graphflow import errors
from graphflow.backends.base import device_kind
from graphflow.backends.gpu import found
from graphflow.graph import Operation

__all__ = ["LOCAL", "Placement"]

LOCAL = "/job:localhost/replica:0/task:0/device:"

_log = logging.getLogger("graphflow")


class Placement:
    """Where one session's operations go.

    Args:
      config: a `ConfigProto`, or None.

    Attributes:
      gpus: the GPUs that the session may use, in its order.
      memory: the share of a GPU's memory that it may take; None for all.

    Raises:
      ValueError: if `visible_device_list` names devices that are not there.
    """

    def __init__(self, config: Any) -> None:
        options = getattr(config, "gpu_options", None)
        counts = getattr(config, "device_count", None) or {}
        most = counts.get("GPU") if "GPU" in counts else None
        gpus = found.devices(most, getattr(options, "visible_device_list", ""))
        self.gpus = gpus if most is None else gpus[: max(0, most)]
        share = float(getattr(options, "per_process_gpu_memory_fraction", 0.0) or 0.0)
        self.memory = share or None
        self._soft = bool(getattr(config, "allow_soft_placement", False))
        self._logs = bool(getattr(config, "log_device_placement", False))
        self._logged: set[Operation] = set()
        self._told = False

    def device_of(self, operations: Iterable[Operation]) -> str:
        """Returns the device that a run goes to: "cpu", "gpu:N" by the machine's numbers, or "gpu:N,M,..." where it
        asks for several: those that it asks for, and all with a lower number.

        What is placed on the processor runs there in either case (see `lowering`).

        Raises:
          InvalidArgumentError: for an operation on a device that is not there, unless placement is soft; its line
            stands in the error. Where there is no GPU at all, what is assigned to one runs on the processor, with a
            warning: programs and graphs that were written beside a GPU run unchanged.
        """
        operations = sorted(operations, key=lambda operation: operation._id)  # the first one is blamed
        wanted: dict[int, Operation] = {}
        free = False
        for operation in operations:
            kind, number = self._asked(operation)
            if kind == "gpu":
                wanted.setdefault(number, operation)
            elif kind == "":
                free = free or operation.type not in _ANYWHERE
        if not self.gpus or not (wanted or free):
            chosen = "cpu"
        else:
            if len(wanted) > 1:
                numbers = [gpu.index for gpu in self.gpus[: max(wanted) + 1]]
            else:
                numbers = [self.gpus[min(wanted, default=0)].index]
            chosen = f"gpu:{','.join(map(str, numbers))}"
        if self._logs:
            self._log(operations, chosen)
        return chosen

    def _asked(self, operation: Operation) -> tuple[str, int]:
        """The kind and number of the device that an operation asks for; "" where it does not matter."""
        device = operation.device
        if not device or "device:" not in device.lower():
            return "", 0
        try:
            kind, number = device_kind(device)
        except ValueError:
            kind, number = device.rpartition("device:")[2].partition(":")[0].lower(), 0
        if kind == "cpu" or (kind == "gpu" and number < len(self.gpus)):
            return kind, number
        if self._soft:
            return ("gpu", 0) if kind == "gpu" and self.gpus else ("cpu", 0)
        if kind == "gpu" and not self.gpus:
            self._tell_once(operation)
            return "cpu", 0
        there = ", ".join([f"{LOCAL}CPU:0", *(f"{LOCAL}GPU:{n}" for n in range(len(self.gpus)))])
        raise errors.InvalidArgumentError(
            None, operation,
            f"Cannot assign a device for operation {operation.name}: it was explicitly assigned to {device}"
            f"{_made(operation)}, but available devices are [ {there} ]. With allow_soft_placement=True in the"
            " ConfigProto it would run on another.",
        )  # fmt: skip

    def _tell_once(self, operation: Operation) -> None:
        """Says that what was written for a GPU runs without one, which changes no result."""
        if not self._told:
            self._told = True
            _log.warning(
                "%s is assigned to %s%s and runs on the processor, as all that is: no GPU can be used: %s",
                operation.name, operation.device, _made(operation), "; ".join(found.missing()),
            )  # fmt: skip

    def _log(self, operations: Iterable[Operation], chosen: str) -> None:
        for operation in operations:
            if operation in self._logged:
                continue
            self._logged.add(operation)
            kind, number = self._asked(operation)
            on_gpu = chosen != "cpu" and kind != "cpu"
            if "," not in chosen:
                number = next((n for n, one in enumerate(self.gpus) if chosen == f"gpu:{one.index}"), 0)
            where = f"GPU:{number}" if on_gpu else "CPU:0"
            print(f"{operation.name}: ({operation.type}): {LOCAL}{where}", file=sys.stderr)


# What says nothing about where a run should go: it is there, or does nothing.
_ANYWHERE = frozenset(
    ("Const", "NoOp", "Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "VarHandleOp")
)


def _made(operation: Operation) -> str:
    return f" (made at {operation.user_line})" if operation.user_line else ""
