"""The plan: steps over numbered slots, bound once, run many times.

A `PlanBuilder` is told the slots (feeds, constants, variables, temporaries) and the steps in order:
*launches* of native kernels and *host steps* that run a Python callable on NumPy arrays. `build` decides what
lives where:

- a new value of a variable is written straight into the variable's memory when the last reader is done by
  then, and is copied there at the end of the run otherwise; a fetched value is written straight into the
  array that is handed out;
- what is left lives in one arena by lifetime (`memory`), in place where a launch allows it;
- launches that depend on constants alone run at once and leave constants behind; those that depend on variables
  which the plan does not write form plans of their own, and what they make is kept with the session's variables
  until one of these is written (`hoist`);
- consecutive launches form one *segment*, a single native call, with a barrier between two launches only
  where data crosses threads; loops and choices (`regions`) lie within one, and run without a return to Python;
- a segment leaves off before it writes a variable if a *check* has found a value that must not be; the run then
  raises.

The `Plan` is immutable and shared by threads; what a run writes to (arena, bound addresses) is a `Workspace`
from a pool. Nothing here knows of processors: a `Runtime` compiles kernels and makes the native calls.

    steps        slots, launches, host steps, checks                    runtime      what a back end has to offer
    recording    what is to run, in order                               placing      which memory is whose
    table        the words that the driver reads                        barriers     where threads wait
    arenas       memory for temporaries, lent to runs
    arrangement  all that plans for different sizes share               plan         numbers for certain sizes; the run
    builder      what need not run every time is taken out; the plan    text         the plan for readers

Fetched arrays are the caller's own: they share memory with no variable, feed, constant or arena.
"""

from __future__ import annotations

from graphflow.plan.arenas import Arenas
from graphflow.plan.builder import PlanBuilder
from graphflow.plan.plan import Plan, PlanTemplate
from graphflow.plan.recording import Choice, Loop
from graphflow.plan.runtime import Check, Entry, Machine, Pooled, Runtime, SegmentCall
from graphflow.plan.steps import (
    COPY,
    Arg,
    Collective,
    Count,
    HostStep,
    Launch,
    Ref,
    Refusal,
    Segment,
    Slot,
    TraceEvent,
    read,
    update,
    write,
)
from graphflow.plan.table import RECORD_WORDS, STEERING

__all__ = [
    "Arenas",
    "Arg",
    "COPY",
    "Check",
    "Choice",
    "Collective",
    "Count",
    "Entry",
    "HostStep",
    "Launch",
    "Loop",
    "Machine",
    "Plan",
    "PlanBuilder",
    "PlanTemplate",
    "Pooled",
    "RECORD_WORDS",
    "Ref",
    "Refusal",
    "Runtime",
    "STEERING",
    "Segment",
    "SegmentCall",
    "Slot",
    "TraceEvent",
    "read",
    "update",
    "write",
]
