"""`GRAPHFLOW_VERIFY=1`: every run twice, compiled and with the NumPy bodies, and the first node that differs by name.

Both runs start from the same variables and random counters; what acts on the world (a `py_func`, a print, a file)
acts once, and the second run is handed its results. Fetched values and new states of variables are compared. Where
they differ, the search begins: every node's body is run on the *compiled* values of its operands, so that an error
shows where it is made and not where it has grown.

1. All values of the program are fetched, and each node is held against its body.
2. Only values that lie in memory anyway are fetched, so that kernels stay fused as they were.
3. If all nodes agree, the passes are looked at: the bodies are run on the program before and after each.
4. Else the difference has grown from roundings; it is an error only if it is large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from graphflow import errors, reference
from graphflow.backends.base import Backend
from graphflow.later import CutPlan
from graphflow.lowering.lower import lower
from graphflow.lowering.measure import materialized
from graphflow.optimizer_passes.manager import PassReport
from graphflow.plan import Plan
from graphflow.program import FEED, VARIABLE, Node, Program, Value
from graphflow.records import dataclass
from graphflow.variable_store import VariableStore

__all__ = ["Difference", "SideBySide", "difference"]

Array = np.ndarray[Any, Any]

# Relative error that one node may make, results of a whole run before they are looked into, and at worst.
_TOLERANCES = {
    "float64": (1e-12, 1e-9, 1e-6),
    "complex128": (1e-12, 1e-9, 1e-6),
    "float32": (2e-5, 1e-4, 1e-2),
    "complex64": (2e-5, 1e-4, 1e-2),
    "float16": (5e-3, 1e-2, 0.2),
    "bfloat16": (2e-2, 5e-2, 0.5),
}
_NODE, _RUN, _WORST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Difference:
    """The worst of what differs between two arrays."""

    error: float
    place: tuple[int, ...]
    got: Any
    wanted: Any
    count: int

    def __str__(self) -> str:
        return (
            f"largest error {self.error:.6g} at {list(self.place)}: compiled {self.got!s}, reference {self.wanted!s}; "
            f"{self.count} elements differ"
        )


def difference(
    got: Array, wanted: Array, strictness: int = _NODE, operands: Sequence[Array] = ()
) -> Difference | None:
    """Compares two arrays; NaN equals NaN, and infinities equal themselves.

    Args:
      got: what compiled code computed.
      wanted: what the bodies computed.
      strictness: 0 for one node's error, 1 for a run's, 2 for the worst that a run may have.
      operands: what a node with several operands was computed from: sums of large numbers may be small, and their
        error is measured by the large ones.
    """
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return Difference(
            np.inf, (), f"{got.dtype}{list(got.shape)}", f"{wanted.dtype}{list(wanted.shape)}", 1
        )
    if not got.size:
        return None
    limits = _TOLERANCES.get(got.dtype.name)
    if limits is None:
        wrong = np.asarray(got != wanted)
        if not wrong.any():
            return None
        place = np.unravel_index(int(np.argmax(wrong)), got.shape)
        return _at(got, wanted, place, float(wrong.any()), int(wrong.sum()))
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), wanted.astype(wide)
    with np.errstate(all="ignore"):
        scale = np.abs(b)
        error = np.abs(a - b)
        error = np.where(
            (a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(error), np.inf, error)
        )
        # A run's error is measured by the largest number of the result, a node's by the number itself.
        largest = [scale] if strictness else []
        largest += [np.abs(x.astype(wide)) for x in operands if x.dtype.name in _TOLERANCES]
        level = max((float(np.max(x[np.isfinite(x)], initial=0.0)) for x in largest), default=0.0)
        tiny = float(np.finfo(np.float32).tiny) if wide is np.float64 else 0.0
        allowed = limits[strictness] * np.where(np.isfinite(scale), np.maximum(scale, level), level) + tiny
        wrong = error > allowed
    if not wrong.any():
        return None
    place = np.unravel_index(int(np.argmax(np.where(wrong, error, -1.0))), got.shape)
    return _at(got, wanted, place, float(error[place]), int(wrong.sum()))


def _at(got: Array, wanted: Array, place: Any, error: float, count: int) -> Difference:
    return Difference(error, tuple(int(i) for i in place), got[place], wanted[place], count)


class SideBySide:
    """A plan whose every run is held against the bodies.

    Args:
      plan: the plan.
      program: what the plan was made from: after all passes, sizes fixed.
      wanted: what it is held against: before all passes that keep every value.
      reports: the passes in between.
      backend: where the plan runs.
    """

    def __init__(
        self,
        plan: Plan | CutPlan,
        program: Program,
        wanted: Program,
        reports: Sequence[PassReport],
        backend: Backend,
    ) -> None:
        self.plan = plan
        self.program = program
        self.wanted = wanted
        self.reports = reports
        self.backend = backend

    def run(self, feeds: Sequence[Array], state: Any) -> list[Array]:
        """Runs the plan and the bodies; returns the plan's results.

        Raises:
          NodeError: for the first node that differs; the cause is an InternalError that says by how much.
          InternalError: if something differs, and no node alone does.
          Exception: as for the plan's `run`.
        """
        before = state.fork()
        aside = state.times_aside()
        with reference.effects_once():
            results = self.plan.run(feeds, state)
            if state.times_aside() != aside:
                return results  # it has waited for others, who may have written what it reads
            shadow = before.fork()
            wanted = reference.run(self.wanted, feeds, shadow)
            pairs = list(zip(self.labels(), results, wanted, strict=False))
            pairs += [
                (f"variable {name}", state.get(name), shadow.get(name)) for name, _ in self.wanted.commits
            ]
            if any(difference(got, want, _RUN) is not None for _, got, want in pairs):
                self.search(feeds, before)
            for label, got, want in pairs:
                worst = difference(got, want, _WORST)
                if worst is not None:
                    raise errors.InternalError(
                        None, None,
                        f"GRAPHFLOW_VERIFY: compiled and reference runs differ in {label}: {worst}. Each node alone "
                        "agrees with its body: either roundings have grown that far, or values lie in memory where "
                        "they must not.",
                    )  # fmt: skip
        return results

    def labels(self) -> list[str]:
        """What to call each fetched value."""
        return [f"{value.node.name}:{value.index}" for value in self.wanted.fetches]

    def search(self, feeds: Sequence[Array], before: VariableStore) -> None:
        """Raises for the first node, or pass, that is at fault; returns if there is none."""
        everything = [
            value
            for node in self.program.nodes
            for value in node.outputs
            if node.op_def is not FEED and node.op_def is not VARIABLE and not value.is_constant
        ]
        self.nodes(feeds, before, everything, "")
        kept = materialized(self.program, self.backend)
        self.nodes(feeds, before, kept, " (only where kernels are fused)")
        self.passes(feeds, before)

    def nodes(self, feeds: Sequence[Array], before: Any, seen: Sequence[Value], remark: str) -> None:
        """Runs the program compiled, looks at some values, and holds each against bodies run on those before it."""
        program = self.program
        observed = Program(program.feeds, tuple(seen), (), program.effects, program.specialized)
        plan = lower(observed, self.backend, f"{self.plan.name} observed")
        values: dict[Value, Array] = dict(zip(seen, plan.run(tuple(feeds), before.fork()), strict=True))
        state = before.fork()
        for node, inputs, outputs in _bodies(program, feeds, state, values):
            operands = inputs if len(inputs) > 1 or node.op_def.reduction else ()
            for value, wanted in zip(node.outputs, outputs, strict=True):
                got = values.get(value)
                if got is None:
                    continue
                found = difference(got, wanted, _NODE, operands)
                if found is not None:
                    _blame(
                        node, inputs, f"output {value.index} of the compiled code differs{remark}: {found}"
                    )

    def passes(self, feeds: Sequence[Array], before: Any) -> None:
        """Runs the bodies on the program before and after each pass."""
        for report in self.reports:
            if report.before is None or report.after is None or report.before is report.after:
                continue
            known = {
                node.name: outputs for node, _, outputs in _bodies(report.before, feeds, before.fork(), {})
            }
            # Of several nodes under one name nobody can say which stands for which.
            names = Counter(node.name for program in (report.before, report.after) for node in program.nodes)
            for node, inputs, outputs in _bodies(report.after, feeds, before.fork(), {}):
                if names[node.name] != 2 or len(known.get(node.name, ())) != len(outputs):
                    continue
                for index, (array, wanted) in enumerate(zip(outputs, known[node.name], strict=True)):
                    if array.dtype != wanted.dtype:
                        continue  # a mask in the place of the numbers it was made from
                    found = difference(array, wanted, _WORST)
                    if found is not None:
                        _blame(node, inputs, f"output {index} differs since pass {report.name}: {found}")


def _bodies(
    program: Program, feeds: Sequence[Array], state: Any, given: dict[Value, Array]
) -> Iterable[tuple[Node, list[Array], list[Array]]]:
    """Runs each node's body on the values that are given, or else on what the bodies before it have computed."""
    values: dict[Value, Array] = dict(zip(program.feeds, feeds, strict=True))
    for node in program.nodes:
        if node.op_def is FEED:
            continue
        if node.op_def is VARIABLE:
            values[node.outputs[0]] = state.read(node.attrs["variable"])
            continue
        inputs = [values[value] for value in node.inputs]
        outputs = reference.run_node(node, inputs, state)
        yield node, inputs, outputs
        for value, array in zip(node.outputs, outputs, strict=True):
            values[value] = given.get(value, array)


def _blame(node: Node, inputs: Sequence[Array], text: str) -> NoReturn:
    raise reference.NodeError(node, inputs) from errors.InternalError(None, None, f"GRAPHFLOW_VERIFY: {text}")
