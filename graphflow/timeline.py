"""Timelines: the step statistics of a run as a Chrome trace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from graphflow.plan import TraceEvent


class Timeline:
    """Turns `RunMetadata.step_stats` into a trace that chrome://tracing and Perfetto show.

    Args:
      step_stats: a `StepStats` message, as a run with `RunOptions(trace_level=RunOptions.FULL_TRACE)` fills it.
      graph: accepted.
    """

    def __init__(self, step_stats: Any, graph: Any = None) -> None:
        self._step_stats = step_stats

    def generate_chrome_trace_format(self, show_dataflow: bool = True, show_memory: bool = False) -> str:
        """Returns the trace as JSON text.

        Args:
          show_dataflow: accepted.
          show_memory: whether the bytes written by each step are shown as a counter.
        """
        events: list[dict[str, Any]] = []
        for pid, device in enumerate(self._step_stats.dev_stats):
            events.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": device.device}})
            threads = sorted({node.thread_id for node in device.node_stats})
            for thread in threads:
                events.append(
                    {
                        "name": "thread_name",
                        "ph": "M",
                        "pid": pid,
                        "tid": thread,
                        "args": {"name": f"thread {thread}"},
                    }
                )
            for node in device.node_stats:
                size = _bytes(node)
                start = node.all_start_micros + node.op_start_rel_micros
                events.append(
                    {
                        "name": node.node_name,
                        "cat": "Op",
                        "ph": "X",
                        "pid": pid,
                        "tid": node.thread_id,
                        "ts": start,
                        "dur": max(node.op_end_rel_micros - node.op_start_rel_micros, 0),
                        "args": {"name": node.node_name, "label": node.timeline_label, "bytes": size},
                    }
                )
                if show_memory:
                    events.append(
                        {"name": "bytes written", "ph": "C", "pid": pid, "ts": start, "args": {"bytes": size}}
                    )
        return json.dumps({"traceEvents": events}, indent=1)


def _bytes(node: Any) -> int:
    return sum(
        int(output.tensor_description.allocation_description.requested_bytes) for output in node.output
    )


def _label(event: TraceEvent) -> str:
    """The op's type, and how fast its step was as a whole: all its threads run at the same time."""
    kind = str(getattr(event.origin, "type", event.name))
    seconds = 1e-6 * event.duration_us
    if event.launch < 0 or seconds <= 0:
        return kind
    if event.turns > 1:
        kind = f"{event.turns} times {kind}"
    return (
        f"{kind}: {event.cost.flops / seconds / 1e9:.3g} GFLOP/s, {event.cost.bytes / seconds / 1e9:.3g} GB/s"
    )


def record(run_metadata: Any, device: str, events: Iterable[TraceEvent], began_us: int) -> None:
    """Adds events to a `RunMetadata` message.

    Args:
      run_metadata: the message.
      device: the processor's name; other devices are called by it but for their kind and number.
      events: what took how long, see `plan.TraceEvent`; `origin` is a node with its `type`, or None. Those of another
        device than the processor stand with it, after those of this one.
      began_us: when the run began, in microseconds since the epoch.
    """
    stats = run_metadata.step_stats.dev_stats.add()
    stats.device = device
    by_device = {"": stats}
    for event in events:
        if event.device not in by_device:
            other = by_device[event.device] = run_metadata.step_stats.dev_stats.add()
            other.device = device.rpartition("device:")[0] + f"device:{event.device}"
        node = by_device[event.device].node_stats.add()
        node.node_name = event.name
        node.timeline_label = _label(event)
        node.thread_id = event.thread
        node.all_start_micros = began_us + int(event.start_us)
        node.op_start_rel_micros = 0
        duration = max(int(event.duration_us), 0)
        node.op_end_rel_micros = duration
        node.all_end_rel_micros = duration
        if event.bytes:
            output = node.output.add()
            output.tensor_description.allocation_description.requested_bytes = int(event.bytes)
            output.tensor_description.allocation_description.allocator_name = "arena"


__all__ = ["Timeline", "record"]
