"""PyTorch with `torch.compile`; weights of inference are frozen into the compiled code."""

from __future__ import annotations

import torch
import torch._inductor.config as inductor

from benchmarks.peers.torch_peer import Programs


def load(threads: int) -> Programs:
    """Returns the workloads."""
    torch.set_num_threads(threads)
    # Folds batch norm and packs weights beforehand, where no gradient is asked for.
    inductor.freezing = True
    return Programs(torch.compile)
