"""`gf.summary`: what TensorBoard shows. Summaries are operations; a `FileWriter` puts their values into event files."""

from __future__ import annotations

from graphflow.namespace import lazy
from graphflow.serialization.events import (
    Event,
    SessionLog,
    Summary,
    SummaryDescription,
    TaggedRunMetadata,
)
from graphflow.summary.operations import (
    all_v2_summary_ops,
    audio,
    get_summary_description,
    histogram,
    image,
    initialize,
    merge,
    merge_all,
    scalar,
    tensor_summary,
    text,
)
from graphflow.summary.writer import FileWriter, FileWriterCache

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "Event", "FileWriter", "FileWriterCache", "SessionLog", "Summary", "SummaryDescription", "TaggedRunMetadata",
    "all_v2_summary_ops", "audio", "get_summary_description", "histogram", "image", "initialize", "merge",
    "merge_all", "scalar", "tensor_summary", "text",
]  # fmt: skip
