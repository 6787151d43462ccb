"""PyTorch with `torch.compile`."""

from __future__ import annotations

import torch

from benchmarks.peers.torch_peer import Programs


def load(threads: int) -> Programs:
    """Returns the workloads."""
    torch.set_num_threads(threads)
    return Programs(torch.compile)
