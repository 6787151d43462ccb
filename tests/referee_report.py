"""The whole referee: every op and its samples, gradients, refusals, and random graphs; a table for the record.

    python -m tests.referee_report [--graphs N] [--only WORD] [--keep FOLDER]

TensorFlow (GRAPHFLOW_TF_PYTHON) and both engines of graphflow, compiled code and NumPy bodies, get the same bytes: a
GraphDef with one operation on constants, or with its gradient and second gradient. It writes
`benchmarks/results/referee.json` and `.md`, and fails if anything differs for no reason that
`test_ops_against_tensorflow.py` or this file gives, or if a reason given here applies to nothing any more.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import graphflow as gf
from graphflow import reference
from graphflow.graph import Graph, Operation
from graphflow.program import freeze
from graphflow.serialization.graph_def import graph_to_graph_def
from graphflow.serialization.proto.graph_pb2 import GraphDef
from graphflow.serialization.tensor_proto import array_to_proto
from graphflow.session import SessionState
from tests import test_ops_against_tensorflow as judged
from tests.referee import Array, Case, Referee, Verdict, bytes_of
from tests.samples import Sample
from tests.test_ops_matrix import NOT_IN_THE_MATRIX

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
KINDS = ("values", "gradients", "refusals")
BATCH = 400
CRASH = "it crashes:"
SLOW = 20.0
MEMORY = 10 * 2**30

# Where one refuses and the other does not, or both make something of it, and why that stays so: a pattern that the
# names of the cases match from start to end.
_GONE = "TensorFlow knows it in older graphs only"
_COUNTED = "TensorFlow counts the elements of the operands, and gives the result the first one's shape"
OTHER_REFUSALS: list[tuple[str, str]] = [
    (r"(TopK|QuantizeAndDequantize), .*", _GONE),
    (r"(Sqrt|Rsqrt|Tanh|Sigmoid|Inv|Reciprocal)Grad, rank of input .", _COUNTED),
    (r"AvgPoolGrad, size of input 1", "TensorFlow reads past the end of a gradient that is too small"),
    (r"BroadcastArgs, negative of input 1", "TensorFlow stretches to negative sizes"),
    (
        r"CTCGreedyDecoder, negative of input 1",
        "TensorFlow takes sequences of negative length for empty ones",
    ),
    (r"CTCLoss, far of input 2", "TensorFlow gives a loss to examples without any label, a wrong one"),
    (
        r"SerializeSparse, .*",
        "TensorFlow writes parts that do not fit together, and writes texts in other bytes",
    ),
    (r"SparseAdd, (negative|far) of input 3", "TensorFlow adds elements that lie outside of the shape"),
    (r"SparseReorder, negative of input 2", "TensorFlow sorts within a shape of negative sizes"),
    (r"SparseSlice, negative of input 3", "TensorFlow begins a slice before the first element"),
    (r"Stateless.*V2, size of input 2", "TensorFlow reads past the end of a counter that is too short"),
    (r"UnravelIndex, negative of input 0", "TensorFlow gives negative coordinates"),
]


class Row:
    """What was found of one op."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.equal: Counter[str] = Counter()
        self.apart: Counter[str] = Counter()
        self.differing: list[str] = []

    def stored(self) -> dict[str, Any]:
        return {
            "tried": dict(self.tried),
            "equal": dict(self.equal),
            "apart": dict(sorted(self.apart.items())),
        }

    def add(self, stored: dict[str, Any], differing: Sequence[str]) -> None:
        """Adds what another run has stored."""
        self.tried.update(stored["tried"])
        self.equal.update(stored["equal"])
        self.apart.update(stored["apart"])
        self.differing.extend(differing)

    def note(self, kind: str, name: str, reason: str | None, problems: Sequence[str]) -> None:
        """Counts one comparison.

        Args:
          kind: "values", "gradients" or "refusals".
          name: the sample.
          reason: why it is not compared.
          problems: what differs.
        """
        self.tried[kind] += 1
        if reason is not None:
            self.apart[f"{kind}: {reason}"] += 1
        elif problems:
            self.differing.extend(problems)
        else:
            self.equal[kind] += 1


@dataclass
class Outcome:
    """What an engine of graphflow makes of the bytes of a graph.

    Attributes:
      engine: "compiled" or "bodies".
      error: what it refuses it for; empty: it does not.
      values: what was fetched in the last run that fetches anything, after what the runs before it gave.
    """

    engine: str
    error: str = ""
    values: list[list[Any]] = field(default_factory=list)


def attempt(engine: str, run: Callable[[], list[list[Any]]]) -> Outcome:
    began = time.monotonic()
    try:
        result = Outcome(engine, "", run())
    except (ValueError, gf.errors.OpError) as error:
        result = Outcome(engine, str(error) or type(error).__name__)
    except reference.NodeError as error:
        cause = error.__cause__
        crash = (
            "" if isinstance(cause, ValueError | gf.errors.OpError) else f"{CRASH} {type(cause).__name__}: "
        )
        result = Outcome(engine, f"{crash}{cause}")
    except Exception as error:  # no way to refuse anything: it is told as a difference
        result = Outcome(engine, f"{CRASH} {type(error).__name__}: {error}")
    if time.monotonic() - began > SLOW:
        result.error = f"{CRASH} it takes {time.monotonic() - began:.0f} s; {result.error}"
    return result


def ours(graph: Graph | GraphDef, runs: Sequence[Sequence[str]]) -> list[Outcome]:
    """What both engines make of the bytes of a graph."""
    definition = bytes_of(graph)
    own = gf.Graph()

    def load() -> list[list[Any]]:
        with own.as_default():
            gf.import_graph_def(definition, name="")
        return []

    def compiled() -> list[list[Any]]:
        with gf.Session(graph=own) as session:
            return [
                [
                    None if v is None else np.asarray(v, object if isinstance(v, bytes) else None)
                    for v in session.run(list(names))
                ]
                for names in runs
            ]

    def bodies() -> list[list[Any]]:
        state, result = SessionState(), []
        for names in runs:
            fetches = [own.as_graph_element(name) for name in names]
            values = iter(reference.run(freeze(fetches), [], state))
            result.append([None if isinstance(f, Operation) else next(values) for f in fetches])
        return result

    loaded = attempt("", load)
    if loaded.error:
        return [Outcome("compiled", loaded.error), Outcome("bodies", loaded.error)]
    return [attempt("compiled", compiled), attempt("bodies", bodies)]


def asked(referee: Referee, cases: dict[str, Case]) -> Iterator[tuple[str, Verdict]]:
    names = list(cases)
    for first in range(0, len(names), BATCH):
        some = names[first : first + BATCH]
        yield from referee.ask({name: cases[name] for name in some}).items()
        print(f"  {min(first + BATCH, len(names))} of {len(names)}", file=sys.stderr)


def reason_of(listed: Sequence[Any], op_type: str, sample: Sample, count: int) -> str | None:
    """Why nothing of a sample is compared."""
    if len(judged.not_compared(list(listed), op_type, sample, count)) < max(count, 1):
        return None
    return next((d.why for d in listed if d.applies(op_type, sample)), None)


TELLS = "TensorFlow: "


def errors_of(name: str, outcome: Outcome, verdict: Verdict) -> list[str]:
    """Whether one gives an error where the other gives none."""
    if bool(verdict.error) == bool(outcome.error) and not outcome.error.startswith(CRASH):
        return []
    return [f"{name}: ours: {outcome.error or 'no error'}; {TELLS}{verdict.message or 'no error'}"]


def compare_values(referee: Referee, table: dict[str, Row], only: str) -> None:
    built = {n: judged.Built(*case) for n, case in judged.CASES.items() if only in case[0]}
    cases = {
        n: Case(b.graph, b.runs(), shapes=[t.name for t in b.operation.outputs]) for n, b in built.items()
    }
    for name, verdict in asked(referee, cases):
        op_type, sample = judged.CASES[name]
        made, row = built[name], table[op_type]
        count = len(made.after) + len(made.operation.outputs)
        reason = reason_of(judged.DIFFERENT, op_type, sample, count)
        if verdict.lacks_kernel:
            reason = "TensorFlow has no kernel for it on a CPU"
        skip = judged.not_compared(judged.DIFFERENT, op_type, sample, count)
        problems: list[str] = []
        for outcome in ours(made.graph, made.runs()) if reason is None else ():
            full = f"{name}, {outcome.engine}"
            if errors := errors_of(full, outcome, verdict):
                problems += errors
            elif not outcome.error:
                mine, theirs = (
                    [*runs[2], *(runs[1] if made.operation.outputs else [])]
                    for runs in (outcome.values, verdict.values)
                )
                problems += judged.problems_of(full, sample, mine, theirs, skip)
        row.note("values", name, reason, problems)


def compare_gradients(referee: Referee, table: dict[str, Row], only: str, known: bool) -> None:
    built = {
        name: judged.gradient_graph(op_type, sample, known)
        for name, (op_type, sample) in judged.DIFFERENTIABLE.items()
        if only in op_type and (known or not any(d.applies(op_type, sample) for d in judged.NEED_SHAPES))
    }
    built = {name: pair for name, pair in built.items() if pair[1]}
    for name, verdict in asked(referee, {n: Case(graph, [names]) for n, (graph, names) in built.items()}):
        graph, names = built[name]
        op_type, sample = judged.DIFFERENTIABLE[name]
        reason = reason_of(judged.DIFFERENT_GRADIENTS, op_type, sample, len(names))
        if verdict.lacks_kernel:
            reason = "TensorFlow has no kernel for it on a CPU"
        skip = judged.not_compared(judged.DIFFERENT_GRADIENTS, op_type, sample, len(names))
        problems: list[str] = []
        for outcome in ours(graph, [names]) if reason is None else ():
            full = f"{name}, gradient, {outcome.engine}"
            if verdict.error or outcome.error:
                problems.append(
                    f"{full}: ours: {outcome.error or 'no error'}; {TELLS}{verdict.message or 'no error'}"
                )
            else:
                problems += judged.problems_of(full, sample, outcome.values[0], verdict.values[0], skip)
        table[op_type].note("gradients", name, reason, problems)


def spoiled(sample: Sample) -> Iterator[tuple[str, int, Array]]:
    """What may not fit in place of one input: another rank, another size, an index far outside."""
    at = 0
    for i, item in enumerate(sample.inputs):
        if isinstance(item, list):
            at += len(item)
            continue
        made: dict[str, Array] = {"rank": item[None]}
        if item.ndim and item.shape[0]:
            made["size"] = item[:-1]
        if item.dtype.kind == "i" and 0 < item.size <= 8:
            made["negative"] = np.full_like(item, -7)
            made["far"] = np.full_like(item, min(10**5, np.iinfo(item.dtype).max))
        for what, array in made.items():
            yield f"{what} of input {i}", at, array
        at += 1


def compare_refusals(referee: Referee, table: dict[str, Row], only: str) -> None:
    """Whether both refuse a spoiled sample, or both make the same of it."""
    built: dict[str, tuple[str, Sample, GraphDef, list[list[str]]]] = {}
    seen: Counter[str] = Counter()
    for op_type, sample in judged.CASES.values():
        seen[op_type] += 1
        if only not in op_type or seen[op_type] > 1 or judged.OPS[op_type].effects:
            continue
        made = judged.Built(op_type, sample)
        definition = graph_to_graph_def(made.graph)
        constants = [node for node in definition.node if node.op == "Const"]
        outputs = [t.name for t in made.operation.outputs]
        for what, at, array in spoiled(sample):
            held = constants[at].attr["value"].tensor
            whole = held.SerializeToString()
            held.CopyFrom(array_to_proto(array))
            worse = GraphDef.FromString(definition.SerializeToString())
            held.ParseFromString(whole)
            built[f"{op_type}, {what}"] = op_type, sample, worse, [outputs]
    used = set()
    for name, verdict in asked(referee, {n: Case(graph, runs) for n, (_, _, graph, runs) in built.items()}):
        op_type, sample, graph, runs = built[name]
        outcomes = ours(graph, runs)
        skip = judged.not_compared(judged.DIFFERENT, op_type, sample, len(runs[0]))
        problems: list[str] = []
        for outcome in outcomes:
            full = f"{name}, {outcome.engine}"
            if errors := errors_of(full, outcome, verdict):
                problems += errors
            elif not outcome.error:
                problems += judged.problems_of(full, sample, outcome.values[0], verdict.values[0], skip)
        reason = None
        if verdict.lacks_kernel:
            reason = "TensorFlow has no kernel for it on a CPU"
        elif verdict.lacks_memory:
            reason = "TensorFlow runs out of memory"
        elif verdict.death:
            reason = f"TensorFlow does not survive it: {verdict.death}"
        elif problems:
            for pattern, why in OTHER_REFUSALS:
                if re.fullmatch(pattern, name):
                    used.add(pattern)
                    reason = why
        if any(CRASH in problem for problem in problems):
            reason = None
        table[op_type].note("refusals", name, reason, problems)
    if not only:
        for pattern, _ in OTHER_REFUSALS:
            if pattern not in used:
                table["reasons"].differing.append(f"nothing that matches {pattern} differs any more")


PARTS: dict[str, Callable[[Referee, dict[str, Row], str], None]] = {
    "values": compare_values,
    "gradients": functools.partial(compare_gradients, known=True),
    "gradients-of-open-shapes": functools.partial(compare_gradients, known=False),
    "refusals": compare_refusals,
}


def random_graphs(count: int) -> dict[str, Any]:
    """Runs so many random graphs; the first that differs is told shrunken."""
    if not count:
        return {"graphs": 0, "equal": True, "said": ""}
    environment = os.environ | {"GRAPHFLOW_RANDOM_GRAPHS": str(count)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
               "tests/test_random_graphs_against_tensorflow.py"]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=RESULTS.parent.parent)
    return {
        "graphs": count,
        "equal": done.returncode == 0,
        "said": "" if done.returncode == 0 else done.stdout[-3000:],
    }


def markdown(report: dict[str, Any]) -> str:
    total = report["total"]
    lines = [
        "# The referee's table",
        "",
        f"TensorFlow {report['tensorflow']} and graphflow, the same bytes. {total['ops']} ops compared, "
        f"{report['random']['graphs']} random graphs with gradients and variables "
        f"({'all equal' if report['random']['equal'] else 'not all equal'}).",
        "",
        "| | tried | equal | set apart, with a reason | differing |",
        "|--|--|--|--|--|",
    ]
    for kind in KINDS:
        of = total[kind]
        lines.append(f"| {kind} | {of['tried']} | {of['equal']} | {of['apart']} | {of['differing']} |")
    lines += ["", "## Set apart", "", "| op | what | samples |", "|--|--|--|"]
    for op_type, row in report["ops"].items():
        lines += [f"| {op_type} | {why} | {count} |" for why, count in row["apart"].items()]
    lines += ["", "## Not compared", "", "| op | why |", "|--|--|"]
    lines += [f"| {op_type} | {why} |" for op_type, why in report["not compared"].items()]
    lines += ["", "## Compared", "", "| op | values | gradients | refusals |", "|--|--|--|--|"]
    for op_type, row in report["ops"].items():
        cells = [f"{row['equal'].get(k, 0)}/{row['tried'].get(k, 0)}" if row["tried"].get(k) else "" for k in
                 KINDS]  # fmt: skip
        lines.append(f"| {op_type} | {' | '.join(cells)} |")
    if report["differing"]:
        lines += ["", "## Differing", "", *(f"- {line}" for line in report["differing"])]
    return "\n".join(lines) + "\n"


def not_compared(table: dict[str, Row]) -> dict[str, str]:
    """The ops that no row tells of, and why."""
    listed = {}
    for op_type, definition in sorted(judged.OPS.items()):
        if op_type in table:
            continue
        if op_type.startswith("Graphflow"):
            why = "our own: it stands in programs, never in a file that others read"
        elif op_type in judged.APART:
            why = judged.APART[op_type]
        elif op_type in NOT_IN_THE_MATRIX:
            why = NOT_IN_THE_MATRIX[op_type]
        elif definition.effects == "random":
            why = "numbers for given seeds: tests/test_seeds_against_tensorflow.py"
        else:
            why = "its samples have no one answer"
        listed[op_type] = why
    return listed


def report_of(table: dict[str, Row], random: dict[str, Any], version: str) -> dict[str, Any]:
    total: dict[str, Any] = {"ops": len(table)}
    for kind in KINDS:
        rows = table.values()
        tried, equal = sum(r.tried[kind] for r in rows), sum(r.equal[kind] for r in rows)
        apart = sum(count for r in rows for why, count in r.apart.items() if why.startswith(kind))
        total[kind] = {"tried": tried, "equal": equal, "apart": apart, "differing": tried - equal - apart}
    return {
        "tensorflow": version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "total": total,
        "random": random,
        "differing": [line for _, row in sorted(table.items()) for line in row.differing],
        "not compared": not_compared(table),
        "ops": {op_type: row.stored() for op_type, row in sorted(table.items())},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=2000, help="how many random graphs")
    parser.add_argument(
        "--only", default="", help="a word that the op types have to have in them; writes no files"
    )
    parser.add_argument(
        "--keep", default="", help="a folder for what each part finds; a part that is there is not run again"
    )
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    interpreter = os.environ["GRAPHFLOW_TF_PYTHON"]
    version = subprocess.run(
        [interpreter, "-c", "from importlib.metadata import version; print(version('tensorflow-cpu'))"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    table: dict[str, Row] = defaultdict(Row)
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(arguments.keep or folder)
        keep.mkdir(parents=True, exist_ok=True)
        for name, part in PARTS.items():
            stored = keep / f"{name}.json"
            if not stored.exists():
                print(name, file=sys.stderr)
                own: dict[str, Row] = defaultdict(Row)
                referee = Referee(interpreter, Path(folder))
                part(referee, own, arguments.only)
                referee.close()
                stored.write_text(json.dumps({op: [row.stored(), row.differing] for op, row in own.items()}))
            for op_type, (found, differing) in json.loads(stored.read_text()).items():
                table[op_type].add(found, differing)
        stored = keep / "graphs.json"
        if not stored.exists():
            stored.write_text(json.dumps(random_graphs(arguments.graphs)))
        random = json.loads(stored.read_text())
    report = report_of(table, random, version)
    if not arguments.only:
        (RESULTS / "referee.json").write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / "referee.md").write_text(markdown(report))
    print(json.dumps(report["total"], indent=1))
    print("\n".join(report["differing"]))
    print(random["said"])
    return bool(report["differing"]) or not random["equal"]


if __name__ == "__main__":
    sys.exit(main())
