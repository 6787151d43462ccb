"""Reductions over devices: which of them are one launch on several devices, and what becomes of the others."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from graphflow.backends.base import device_kind
from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild

__all__ = ["ALL_REDUCE", "devices_of", "with_plain_reductions"]

ALL_REDUCE = "GraphflowAllReduce"

_PAIRS = {"sum": "AddV2", "prod": "Mul", "min": "Minimum", "max": "Maximum"}


def devices_of(node: Node, devices: Sequence[int]) -> tuple[int, ...] | None:
    """Which of some devices the parts of a reduction are on; None unless each is on a device of its own."""
    found = []
    for name in node.attrs["devices"]:
        if "GPU" not in name or device_kind(name)[1] >= len(devices):
            return None
        found.append(device_kind(name)[1])
    return tuple(found) if len(set(found)) == len(found) > 1 and len(devices) > 1 else None


def with_plain_reductions(program: Program, devices: Sequence[int]) -> Program:
    """A program whose reductions that are not over several devices are ordinary operations."""
    if not any(node.type == ALL_REDUCE and devices_of(node, devices) is None for node in program.nodes):
        return program

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type != ALL_REDUCE or devices_of(node, devices) is not None:
            return None
        kind = _PAIRS[node.attrs["reduction"]]
        total = functools.reduce(lambda x, y: b.emit(kind, x, y), inputs)
        return [total] * len(inputs)

    return rebuild(program, replace)
