"""The messages of event files, for whoever writes and reads them."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from graphflow.serialization.proto.config_pb2 import RunMetadata, RunOptions
from graphflow.serialization.proto.event_pb2 import Event, SessionLog, TaggedRunMetadata
from graphflow.serialization.proto.summary_pb2 import Summary, SummaryDescription, SummaryMetadata


def full_trace_options() -> RunOptions:
    """Returns options that ask a run for a trace."""
    return RunOptions(trace_level=RunOptions.FULL_TRACE)


def run_metadata() -> RunMetadata:
    """Returns a message that a run may fill."""
    return RunMetadata()


def summary_metadata(
    given: Any = None, display_name: str | None = None, description: str | None = None, plugin_name: str = ""
) -> bytes:
    """Returns a serialized SummaryMetadata.

    Args:
      given: one to start from, graphflow's or TensorFlow's.
      display_name, description, plugin_name: what is set in it.
    """
    made = SummaryMetadata()
    if given is not None:
        made.ParseFromString(given.SerializeToString())
    if display_name is not None:
        made.display_name = display_name
    if description is not None:
        made.summary_description = description
    if plugin_name:
        made.plugin_data.plugin_name = plugin_name
    return made.SerializeToString()


def summary_description(text: bytes) -> SummaryDescription:
    """Returns the SummaryDescription in its JSON form."""
    made: SummaryDescription = json_format.Parse(text, SummaryDescription())
    return made


__all__ = [
    "Event", "SessionLog", "Summary", "SummaryDescription", "TaggedRunMetadata", "summary_description",
    "summary_metadata",
]  # fmt: skip
