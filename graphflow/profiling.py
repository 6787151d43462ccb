"""Where the time of a run goes: each step's time, how fast it computes and moves bytes, how near the machine's best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphflow.loops.cost import Cost, Peak
from graphflow.plan import TraceEvent
from graphflow.session import Session

__all__ = ["Profile", "ProfiledStep", "profile"]


@dataclass(frozen=True, slots=True)
class ProfiledStep:
    """One step of a run: the median over the runs.

    Attributes:
      name: the node it stands for.
      type: the node's op type; of a fused kernel, its last op's.
      seconds: from its first thread's start to its last one's end.
      threads: how many threads took part.
      cost: predicted operations and bytes.
      roof: the least time the machine needs for that, in seconds; 0 for a host step.
      host: whether it is a Python callable.
    """

    name: str
    type: str
    seconds: float
    threads: int
    cost: Cost
    roof: float
    host: bool

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations per second."""
        return self.cost.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        """Billions of bytes per second, read and written together."""
        return self.cost.bytes / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def share(self) -> float:
        """How near the machine's peak it is, 1 being there.

        That is whichever is nearer, arithmetic or memory. More than 1 means that the bytes came from a cache, or that
        the arithmetic was done with fewer operations than its formula has (Winograd).
        """
        return self.roof / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """The steps of a run, in the order in which they start; `print` it for a table.

    Attributes:
      steps: each step.
      seconds: a whole run without clocks, from call to result.
      runs: how many runs the medians are of.
      machine: the best the machine does with the plan's threads.
    """

    steps: tuple[ProfiledStep, ...]
    seconds: float
    runs: int
    machine: Peak

    @property
    def cost(self) -> Cost:
        """Operations and bytes of all launches together."""
        return sum((step.cost for step in self.steps if not step.host), Cost())

    def __str__(self) -> str:
        total, cost = sum(step.seconds for step in self.steps), self.cost
        head = ("ms", "%", "GFLOP/s", "GB/s", "of peak", "threads", "step")
        rows = [head]
        for step in self.steps:
            rate = ("", "", "") if step.host else (
                f"{step.gflops:.4g}", f"{step.gbytes:.4g}", f"{100 * step.share:.0f} %"
            )  # fmt: skip
            shown = f"{step.name} = {step.type}" if step.type else step.name
            rows.append(
                (
                    f"{1e3 * step.seconds:.4f}",
                    f"{100 * step.seconds / total:.1f}" if total else "",
                    *rate,
                    "host" if step.host else str(step.threads),
                    shown,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        lines = [
            "  ".join((*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]))
            for row in rows
        ]
        speed = cost.flops / self.seconds / 1e9 if self.seconds else 0.0
        return "\n".join(
            (
                *lines,
                f"one run {1e3 * self.seconds:.4f} ms ({speed:.4g} GFLOP/s), its steps {1e3 * total:.4f} ms; medians "
                f"of {self.runs} runs",
                f"machine: {self.machine.flops['f32'] / 1e9:.4g} GFLOP/s (f32), "
                f"{self.machine.bytes / 1e9:.4g} GB/s from and to memory",
            )
        )


def profile(session: Session, fetches: Any, feed_dict: Any = None, runs: int = 10) -> Profile:
    """Measures where the time of `session.run(fetches, feed_dict)` goes.

    Training steps train: each of the 2 * runs + 1 runs is a real one.

    Args:
      session: the session.
      fetches: as for `Session.run`.
      feed_dict: as for `Session.run`.
      runs: how many runs to measure, with clocks in each step and without.

    Raises:
      ValueError: if `runs` is less than 1.
      RuntimeError: if nothing is compiled (`GRAPHFLOW_BACKEND=reference`).
      Exception: as for `Session.run`.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    plan = session.plan(fetches, feed_dict)
    session.run(fetches, feed_dict)
    whole = []
    for _ in range(runs):
        began = time.perf_counter()
        session.run(fetches, feed_dict)
        whole.append(time.perf_counter() - began)
    machine = plan.machine
    measured = [list(_steps(session.traced(fetches, feed_dict)[1])) for _ in range(runs)]
    steps = []
    for same in zip(*measured, strict=True):
        first = same[0][0]
        launch = plan.launches[first.launch] if first.launch >= 0 else None
        steps.append(
            ProfiledStep(
                name=first.name,
                type=str(getattr(first.origin, "type", "")),
                seconds=1e-6 * statistics.median(_span(events) for events in same),
                threads=len({event.thread for event in same[0]}),
                cost=first.cost,
                roof=machine.seconds(first.cost, launch.dtype) if launch is not None else 0.0,
                host=launch is None,
            )
        )
    return Profile(tuple(steps), statistics.median(whole), runs, machine)


def _span(events: Sequence[TraceEvent]) -> float:
    """Microseconds from the first start to the last end."""
    return max(event.start_us + event.duration_us for event in events) - min(e.start_us for e in events)


def _steps(events: Sequence[TraceEvent]) -> Iterator[list[TraceEvent]]:
    """The events of a run by step, in the order in which the steps are planned."""
    launches: dict[int, list[TraceEvent]] = {}
    ordered: list[list[TraceEvent]] = []
    for event in events:
        found = launches.get(event.launch) if event.launch >= 0 else None
        if found is None:
            found = []
            ordered.append(found)
            if event.launch >= 0:
                launches[event.launch] = found
        found.append(event)
    return iter(ordered)
