"""A queue that holds batches ready."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes, summary
from graphflow.graph import name_scope
from graphflow.opdef import convert_to_tensor
from graphflow.ops import queues
from graphflow.ops.elementwise import cast
from graphflow.train.queue_runner import QueueRunner, add_queue_runner


def prefetch_queue(
    tensors: Any, capacity: int = 8, num_threads: int = 1, dynamic_pad: bool = False, shared_name: str | None = None,
    name: Any = None,
) -> Any:  # fmt: skip
    """Returns a queue that threads fill with tensors; its `dequeue` gives them in the form that they were given.

    Args:
      tensors: a list or a dict of tensors.
      capacity: how many of them the queue holds.
      num_threads: how many threads fill it.
      dynamic_pad: whether shapes may be unknown in part.
      shared_name: of the queue.
      name: the name scope.
    """
    names = sorted(tensors) if isinstance(tensors, dict) else None
    listed = [convert_to_tensor(t) for t in ([tensors[n] for n in names] if names is not None else tensors)]
    with name_scope(name, "prefetch_queue", listed):
        kind: Any = queues.PaddingFIFOQueue if dynamic_pad else queues.FIFOQueue
        queue = kind(
            capacity, dtypes=[t.dtype for t in listed], shapes=[t.shape for t in listed], names=names,
            shared_name=shared_name,
        )  # fmt: skip
        filled = queue.enqueue(dict(zip(names, listed, strict=True)) if names is not None else listed)
        add_queue_runner(QueueRunner(queue, [filled] * num_threads))
        full = cast(queue.size(), dtypes.float32) * (1.0 / capacity)
        summary.scalar(f"fraction_of_{capacity}_full", full)
        return queue
