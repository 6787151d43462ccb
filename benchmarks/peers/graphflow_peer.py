"""graphflow."""

from __future__ import annotations

import graphflow as gf
from benchmarks.peers.tf1_programs import Programs


def load(threads: int) -> Programs:
    """Returns the workloads."""
    return Programs(gf, threads)
