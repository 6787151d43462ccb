"""Devices of a cluster: which job and task variables and operations are placed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphflow.graph import Operation, merge_devices

_PS_OPS = (
    "Variable",
    "VariableV2",
    "AutoReloadVariable",
    "MutableHashTable",
    "MutableHashTableV2",
    "VarHandleOp",
)


class ClusterSpec:
    """The addresses of a cluster's tasks, by job.

    Args:
      cluster: from the names of jobs to lists of addresses, or to dicts of addresses by number; another ClusterSpec.

    Raises:
      TypeError: for anything else.
    """

    def __init__(self, cluster: Any) -> None:
        if isinstance(cluster, ClusterSpec):
            cluster = cluster.as_dict()
        if not isinstance(cluster, Mapping):
            raise TypeError(f"`cluster` must be a dict from the names of jobs to addresses, got {cluster!r}")
        self._jobs: dict[str, dict[int, str]] = {}
        for job, tasks in cluster.items():
            numbered = tasks if isinstance(tasks, Mapping) else dict(enumerate(tasks))
            self._jobs[str(job)] = {int(number): str(address) for number, address in numbered.items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns lists of addresses by job; dicts by number where numbers are left out."""
        return {
            job: [tasks[i] for i in range(len(tasks))]
            if set(tasks) == set(range(len(tasks)))
            else dict(tasks)
            for job, tasks in self._jobs.items()
        }

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs."""
        return list(self._jobs)

    def _job(self, job_name: str) -> dict[int, str]:
        if job_name not in self._jobs:
            raise ValueError(f"No such job in cluster: {job_name!r}; there are {self.jobs}")
        return self._jobs[job_name]

    def num_tasks(self, job_name: str) -> int:
        """Returns how many tasks a job has."""
        return len(self._job(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """Returns the numbers of a job's tasks."""
        return sorted(self._job(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """Returns the address of a task."""
        tasks = self._job(job_name)
        if task_index not in tasks:
            raise ValueError(f"No task with index {task_index!r} in job {job_name!r}")
        return tasks[task_index]

    def job_tasks(self, job_name: str) -> list[str | None]:
        """Returns the addresses of a job's tasks in order, None for numbers that are left out."""
        tasks = self._job(job_name)
        return [tasks.get(number) for number in range(max(tasks, default=-1) + 1)]

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and self._jobs == other._jobs

    def __hash__(self) -> int:
        return hash(str(self._jobs))

    def __repr__(self) -> str:
        return f"ClusterSpec({self.as_dict()!r})"


def replica_device_setter(
    ps_tasks: int = 0,
    ps_device: str = "/job:ps",
    worker_device: str = "/job:worker",
    merge_devices: bool = True,
    cluster: Any = None,
    ps_ops: Sequence[str] | None = None,
    ps_strategy: Callable[[Operation], int] | None = None,
) -> Callable[[Operation], str] | None:
    """Returns a function for `gf.device` that spreads variables over parameter servers.

    Args:
      ps_tasks: how many there are; for 0 nothing is placed.
      ps_device: the device of a parameter server.
      worker_device: the device of everything else.
      merge_devices: whether what an operation's device leaves open is filled in, rather than its device replaced.
      cluster: a `ClusterSpec` or dict that tells how many parameter servers there are.
      ps_ops: the op types that are spread; default those of variables.
      ps_strategy: from an operation to the number of a parameter server; default: one after the other.

    Raises:
      TypeError: if `ps_strategy` cannot be called.
    """
    if cluster is not None:
        jobs = ClusterSpec(cluster)
        name = next(part[len("job:") :] for part in ps_device.split("/") if part.startswith("job:"))
        ps_tasks = jobs.num_tasks(name) if name in jobs.jobs else 0
    if ps_tasks == 0:
        return None
    if ps_strategy is not None and not callable(ps_strategy):
        raise TypeError("ps_strategy must be callable")
    types = frozenset(_PS_OPS if ps_ops is None else ps_ops)
    turn = -1

    def chosen(operation: Operation) -> int:
        nonlocal turn
        if ps_strategy is not None:
            return ps_strategy(operation)
        turn = (turn + 1) % ps_tasks
        return turn

    def device(operation: Operation) -> str:
        own = operation.device or ""
        if not merge_devices and own:
            return own
        if operation.type not in types:
            return _merged(worker_device, own)
        place = ps_device if "/task:" in ps_device else f"{ps_device}/task:{chosen(operation)}"
        return _merged(place, own)

    return device


def _merged(ours: str, own: str) -> str:
    """What an operation's own device says, the rest as ours."""
    return merge_devices(ours, own)
