"""`slim.queues`: the graph's queue runners, for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from graphflow.graph import GraphKeys
from graphflow.train.coordinator import Coordinator
from graphflow.train.queue_runner import start_queue_runners


@contextlib.contextmanager
def QueueRunners(session: Any) -> Iterator[None]:
    """Runs the queue runners of a session's graph inside; an error of theirs is raised at the end."""
    if not session.graph.get_collection(GraphKeys.QUEUE_RUNNERS):
        yield
        return
    coordinator = Coordinator()
    with session.graph.as_default():
        threads = start_queue_runners(session, coordinator)
    try:
        yield
    finally:
        coordinator.request_stop()
        coordinator.join(threads, stop_grace_period_secs=120)
