"""Whether a version fits into memory, found out before it is loaded."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphflow import saved_model
from graphflow.errors import ResourceExhaustedError
from graphflow.graph import Graph
from graphflow.serialization.meta_graph import import_scoped_meta_graph
from graphflow.serialization.saved_model import find_meta_graph, read_saved_model
from graphflow.serving import versions
from graphflow.session import Session

# What the process itself, and what runs beside it, must be left.
RESERVE = 64 << 20
# Where there is so much more memory than a model has on disk, nobody looks any closer.
_AMPLE = 64
_AMPLE_MORE = 1 << 30


def free_bytes() -> int:
    """Returns the memory that this process may still get: of the machine, its container, its address space."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    except OSError:
        pass  # not on every system
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            texts = [(Path("/sys/fs/cgroup") / name).read_text().strip() for name in (limit, used)]
        except OSError:
            continue
        if all(text.isdigit() for text in texts):
            found.append(int(texts[0]) - int(texts[1]))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(address_space - pages * os.sysconf("SC_PAGE_SIZE"))
        except OSError:
            found.append(address_space)
    return max(0, min(found)) if found else 1 << 62


def needed_bytes(path: str | os.PathLike[str], rows: int = 1) -> int:
    """Returns the memory that a version takes while it runs its dearest signature, computed from its graph alone.

    Nothing of its variables is read: the plan of a run says what it takes with them. What is read from disk is there
    twice for a moment, and counted so.

    Args:
      path: the version's folder.
      rows: the rows of the largest batch; 8 along other open axes.
    """
    stored = versions.stored_bytes(path)
    proto = find_meta_graph(read_saved_model(path), [saved_model.SERVING])
    graph = Graph()
    import_scoped_meta_graph(proto, graph=graph)
    most = 0
    with Session(graph=graph) as session:
        for signature in proto.signature_def.values():
            try:
                most = max(most, _needed(session, graph, signature, rows))
            except Exception:  # whatever is wrong with a signature is said when it is loaded
                continue
    return stored + max(most, stored)


def _needed(session: Session, graph: Graph, signature: Any, rows: int) -> int:
    feeds: dict[Any, Any] = {}
    for info in signature.inputs.values():
        tensor = saved_model.get_tensor_from_tensor_info(info, graph)
        sizes = tensor.shape.as_tuple()
        known = [8 if size is None else size for size in sizes or ()]
        if sizes and sizes[0] is None:
            known[0] = rows
        # Only the shape matters: one element stands for all.
        feeds[tensor] = np.broadcast_to(np.zeros((), tensor.dtype.numpy), known)
    fetches = [saved_model.get_tensor_from_tensor_info(info, graph) for info in signature.outputs.values()]
    needed = getattr(session.plan(fetches, feeds), "needed_bytes", 0)  # a plan in parts is known part by part
    return int(needed) + sum(int(array.size) * int(array.itemsize) for array in feeds.values())


class MemoryCheck:
    """Says whether versions fit; what `ModelManager` asks before it loads one.

    Args:
      in_series: whether an old version goes first where both do not fit at once; else the new one is refused.
      rows: the rows of the largest batch.
      free: how much memory there is, for tests.
    """

    def __init__(self, in_series: bool = False, rows: int = 1, free: Callable[[], int] = free_bytes) -> None:
        self._in_series = in_series
        self._rows = rows
        self._free = free

    def __call__(self, path: str, freed: int) -> bool:
        """Returns whether old versions must go first.

        Args:
          path: the new version's folder.
          freed: the bytes that would be free if they went.

        Raises:
          ResourceExhaustedError: if it does not fit, or does so only without them and they shall not go first.
        """
        free = self._free() - RESERVE
        stored = versions.stored_bytes(path)
        if free > _AMPLE * stored + _AMPLE_MORE:
            return False
        needed = needed_bytes(path, self._rows)
        if needed <= free:
            return False
        if needed <= free + freed and self._in_series:
            return True
        series = "; it would fit if the old version went first" if needed <= free + freed else ""
        raise ResourceExhaustedError(
            None,
            None,
            f"loading it takes {needed / 2**20:.0f} MiB, and there are {max(free, 0) / 2**20:.0f} MiB{series}",
        )
