"""`tf.contrib.distribute`: the older names of strategies, of one replica as in `distribute`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow import distribute
from graphflow.contrib import deep as _deep
from graphflow.distribute import CrossDeviceOps as CrossDeviceOps
from graphflow.distribute import InputContext as InputContext
from graphflow.distribute import OneDeviceStrategy as OneDeviceStrategy
from graphflow.distribute import ReductionToOneDevice as ReductionToOneDevice
from graphflow.distribute import get_loss_reduction as get_loss_reduction
from graphflow.distribute import get_replica_context as get_replica_context
from graphflow.distribute import get_strategy as get_strategy
from graphflow.distribute import has_strategy as has_strategy
from graphflow.distribute import in_cross_replica_context as in_cross_replica_context


class MirroredStrategy(distribute.MirroredStrategy):
    """A replica on every device: here, on one.

    Args:
      devices: the devices; None: this machine's one.
      num_gpus: at most 1.
      num_gpus_per_worker: at most 1.
      cross_device_ops: how devices exchange values; with one they do not.
      auto_shard_dataset: accepted.
      cross_tower_ops: the older name of `cross_device_ops`.

    Raises:
      NotImplementedError: if there are several devices.
    """

    def __init__(
        self, devices: Sequence[str] | None = None, num_gpus: int | None = None,
        num_gpus_per_worker: int | None = None, cross_device_ops: Any = None, auto_shard_dataset: bool = False,
        cross_tower_ops: Any = None,
    ) -> None:  # fmt: skip
        del auto_shard_dataset
        _one("MirroredStrategy", num_gpus, num_gpus_per_worker)
        super().__init__(devices, cross_device_ops or cross_tower_ops)


class CollectiveAllReduceStrategy(distribute.Strategy):
    """A replica on every device of every worker: here, on one.

    Args:
      num_gpus_per_worker: at most 1.

    Raises:
      NotImplementedError: if there are several devices.
    """

    def __init__(self, num_gpus_per_worker: int = 0) -> None:
        _one("CollectiveAllReduceStrategy", num_gpus_per_worker)
        super().__init__()


class AllReduceCrossDeviceOps(CrossDeviceOps):
    """Accepted; see `CrossDeviceOps`."""

    def __init__(self, all_reduce_alg: str = "nccl", num_packs: int = 1, **kwargs: Any) -> None:
        super().__init__(all_reduce_alg=all_reduce_alg, num_packs=num_packs, **kwargs)


AllReduceCrossTowerOps = AllReduceCrossDeviceOps


def _one(name: str, *counts: int | None) -> None:
    """Refuses several GPUs."""
    for count in counts:
        if count is not None and count > 1:
            raise NotImplementedError(
                f"{name}: strategies make one replica here, not {count}; build the towers of several GPUs under"
                " tf.device and add their gradients with tf.contrib.nccl"
            )


__all__ = [
    "AllReduceCrossDeviceOps", "AllReduceCrossTowerOps", "CollectiveAllReduceStrategy", "CrossDeviceOps",
    "InputContext", "MirroredStrategy", "OneDeviceStrategy", "ReductionToOneDevice", "get_loss_reduction",
    "get_replica_context", "get_strategy", "has_strategy", "in_cross_replica_context",
]  # fmt: skip

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "distribute")
