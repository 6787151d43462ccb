"""`slim.data`: records of files, decoded into named items, from queues."""

from __future__ import annotations

from graphflow.namespace import lazy

PARTS = (
    "data_decoder", "data_provider", "dataset", "dataset_data_provider", "parallel_reader", "prefetch_queue",
    "tfexample_decoder",
)  # fmt: skip
__getattr__, __dir__ = lazy(__name__, PARTS)
