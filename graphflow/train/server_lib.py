"""`gf.train.Server`: a server inside this process, for programs that open their sessions by its target."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Mapping
from typing import Any

from graphflow import errors
from graphflow.session import LOCAL_TARGETS
from graphflow.train.device_setter import ClusterSpec

_PORTS = itertools.count(1)


class Server:
    """The one task of a cluster, in this process; sessions with its `target` run here.

    Each of these sessions has variables of its own. Nothing listens at the address: other processes cannot reach it.

    Args:
      server_or_cluster_def: a `ClusterSpec` or a dict of addresses by job, with a single task.
      job_name: the job of this task; may be left out where there is one.
      task_index: the number of this task.
      protocol: accepted.
      config: a `ConfigProto`; sessions bring their own.
      start: whether sessions may use it at once.

    Raises:
      TypeError: if the cluster is none.
      ValueError: if it has no such job or task.
      UnimplementedError: if it has other tasks too.
    """

    def __init__(
        self,
        server_or_cluster_def: Any,
        job_name: str | None = None,
        task_index: int | None = None,
        protocol: str | None = None,
        config: Any = None,
        start: bool = True,
    ) -> None:
        cluster = ClusterSpec(server_or_cluster_def)
        if job_name is None:
            if len(cluster.jobs) != 1:
                raise ValueError(f"job_name must be one of the cluster's jobs {cluster.jobs}")
            (job_name,) = cluster.jobs
        if task_index is None:
            numbers = cluster.task_indices(job_name)
            if len(numbers) != 1:
                raise ValueError(f"task_index must be one of the tasks {numbers} of job {job_name!r}")
            (task_index,) = numbers
        address = cluster.task_address(job_name, task_index)
        count = sum(cluster.num_tasks(job) for job in cluster.jobs)
        if count != 1:
            raise errors.UnimplementedError(
                None,
                None,
                f"a cluster of {count} tasks needs processes that talk to each other, which there are not; run the "
                f"program with the one task {job_name}:{task_index} (a cluster {{{job_name!r}: [{address!r}]}}), "
                "threads share a session's variables",
            )
        self._cluster, self._job, self._task = cluster, job_name, task_index
        if address.endswith(":0"):  # whatever port is free
            address = f"{address[:-2]}:local-{next(_PORTS)}"
        self._target = f"{protocol or 'grpc'}://{address}"
        self._config = config
        self._stopped = threading.Event()
        if start:
            self.start()

    @property
    def target(self) -> str:
        """What a session takes as its target."""
        return self._target

    @property
    def server_def(self) -> Mapping[str, Any]:
        """The cluster, and which task of it this is."""
        return {"cluster": self._cluster.as_dict(), "job_name": self._job, "task_index": self._task}

    def start(self) -> None:
        """Lets sessions use it."""
        LOCAL_TARGETS.add(self._target)

    def join(self) -> None:
        """Waits for ever, as a parameter server does; an interrupt from the keyboard ends it."""
        self._stopped.wait()

    @staticmethod
    def create_local_server(config: Any = None, start: bool = True) -> Server:
        """Returns a server of a cluster that consists of it alone."""
        return Server({"local": ["localhost:0"]}, protocol="grpc", config=config, start=start)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):  # while the interpreter ends
            LOCAL_TARGETS.discard(self._target)


__all__ = ["Server"]
