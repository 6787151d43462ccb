"""Runs passes: times each, counts what it did, verifies and prints on demand, names the pass in any error."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence, Set

from graphflow import config
from graphflow.errors import PassError, ShapeError
from graphflow.program import Program, verify
from graphflow.records import dataclass, field
from graphflow.text import program_text

PassFunction = Callable[[Program, "Counter[str]"], Program]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass.

    Attributes:
      name: what ConfigProto, `GRAPHFLOW_DUMP` and errors call it.
      run: gets the program and a counter, in which it counts what it did by rule; returns the new program.
      reason: why it stands where it stands.
      default: whether it runs unless asked otherwise.
      exact: whether it keeps every value, but for the rounding of sums in another order.
    """

    name: str
    run: PassFunction
    reason: str
    default: bool = True
    exact: bool = True


@dataclass(slots=True)
class PassReport:
    """What one pass did to one program."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    counts: dict[str, int] = field(default_factory=dict)
    before: Program | None = None
    after: Program | None = None
    exact: bool = True

    def __str__(self) -> str:
        done = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())) or "nothing"
        change = f"{self.nodes_before} -> {self.nodes_after} nodes"
        return f"{self.name}: {change}, {1e3 * self.seconds:.1f} ms ({done})"


def run_passes(
    program: Program,
    passes: Sequence[Pass],
    disabled: Set[str] = frozenset(),
    enabled: Set[str] = frozenset(),
    reports: list[PassReport] | None = None,
) -> Program:
    """Runs passes in order.

    Args:
      program: the program.
      passes: the passes.
      disabled: names of passes to leave out.
      enabled: names of passes to run that do not run by default.
      reports: if given, gets one report per pass, with the programs before and after.

    Raises:
      ShapeError: if sizes that only now are known do not fit together.
      PassError: if a pass fails or its result does not verify; names the pass and those that ran before.
    """
    check = config.verify()
    dump = config.dump_stages()
    done: list[str] = []
    for step in passes:
        if step.name in disabled or not (step.default or step.name in enabled):
            continue
        counts: Counter[str] = Counter()
        started = time.perf_counter()
        try:
            result = step.run(program, counts)
            if check:
                verify(result)
        except ShapeError:
            raise  # what became known of the sizes contradicts the graph: no fault of the pass
        except Exception as error:
            before = f" (after {', '.join(done)})" if done else ""
            raise PassError(f"pass {step.name}{before} failed: {error}") from error
        seconds = time.perf_counter() - started
        report = PassReport(
            step.name,
            seconds,
            len(program.nodes),
            len(result.nodes),
            dict(counts),
            program,
            result,
            step.exact,
        )
        if reports is not None:
            reports.append(report)
        if "passes" in dump or step.name in dump:
            text = "" if result is program else f"\n{program_text(result)}"
            print(f"# after {report}{text}", file=sys.stderr)
        program = result
        done.append(step.name)
    return program
