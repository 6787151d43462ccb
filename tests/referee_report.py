"""The whole referee: every op and its samples, gradients, refusals, and random graphs; a table for the record.

    python -m tests.referee_report [--graphs N] [--only WORD]

TensorFlow (GRAPHFLOW_TF_PYTHON) and graphflow get the same bytes: a GraphDef with one operation on constants, or with
its gradient and second gradient. It writes `benchmarks/results/referee.json` and `.md`, and fails if anything differs
for no reason that `test_ops_against_tensorflow.py` or this file gives.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import graphflow as gf
from graphflow.graph import Graph
from graphflow.serialization.graph_def import graph_to_graph_def
from tests import test_ops_against_tensorflow as judged
from tests.referee import Array, Case, Referee, Verdict
from tests.samples import Sample, all_samples
from tests.test_ops_matrix import NOT_IN_THE_MATRIX

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
BATCH = 400
CRASH = "it crashes:"

# Where one refuses and the other does not, and why that stays so.
OTHER_REFUSALS: list[tuple[str, str]] = []


class Row:
    """What was found of one op."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.equal: Counter[str] = Counter()
        self.apart: Counter[str] = Counter()
        self.differing: list[str] = []

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


def ours(graph: Graph, runs: Sequence[Sequence[str]]) -> tuple[str, list[list[Any]]]:
    """What graphflow makes of the bytes of a graph: an error, and the values of each run."""
    definition = graph_to_graph_def(graph).SerializeToString()
    try:
        with gf.Graph().as_default() as own, gf.Session(graph=own) as session:
            gf.import_graph_def(definition, name="")
            return "", [
                [None if v is None else np.asarray(v) for v in session.run(list(names))] for names in runs
            ]
    except (ValueError, gf.errors.OpError) as error:
        return str(error) or type(error).__name__, []
    except Exception as error:  # no way to refuse anything: it is told as a difference
        return f"{CRASH} {type(error).__name__}: {error}", []


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
        error, mine = ours(made.graph, made.runs())
        problems: list[str] = []
        if reason is None and (verdict.error or error):
            problems = (
                []
                if verdict.error and error
                else [f"{name}: ours: {error or 'no error'}; TensorFlow: {verdict.message or 'no error'}"]
            )
        elif reason is None:
            skip = judged.not_compared(judged.DIFFERENT, op_type, sample, count)
            values = [
                [*run[2], *(run[1] if made.operation.outputs else [])] for run in (mine, verdict.values)
            ]
            problems = judged.problems_of(name, sample, values[0], values[1], skip)
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
        error, mine = ours(graph, [names])
        problems = []
        if reason is None and (verdict.error or error):
            problems = [
                f"{name}, gradient: ours: {error or 'no error'}; TensorFlow: {verdict.message or 'no error'}"
            ]
        elif reason is None:
            skip = judged.not_compared(judged.DIFFERENT_GRADIENTS, op_type, sample, len(names))
            problems = judged.problems_of(f"{name}, gradient", sample, mine[0], verdict.values[0], skip)
        table[op_type].note("gradients", name, reason, problems)


def spoiled(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """A sample with one input that may not fit: another rank, another size, an index far outside."""
    for i, item in enumerate(sample.inputs):
        if isinstance(item, list) or item.dtype == object:
            continue
        made: dict[str, Array] = {"rank": item[None]}
        if item.ndim and item.shape[0]:
            made["size"] = item[:-1]
        if item.dtype.kind == "i" and 0 < item.size <= 8:
            made["negative"] = np.full_like(item, -7)
            made["far"] = np.full_like(item, min(10**5, np.iinfo(item.dtype).max))
        for what, array in made.items():
            inputs = list(sample.inputs)
            inputs[i] = array
            yield f"{what} of input {i}", replace(sample, inputs=inputs)


def compare_refusals(referee: Referee, table: dict[str, Row], only: str) -> None:
    """Whether both refuse a spoiled sample, or both make the same of it."""
    built: dict[str, tuple[str, Sample, Graph, list[list[str]]]] = {}
    refused: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for op_type, sample in judged.CASES.values():
        seen[op_type] += 1
        if only not in op_type or seen[op_type] > 1 or judged.OPS[op_type].effects:
            continue
        for what, worse in spoiled(sample):
            name = f"{op_type}, {what}"
            try:
                # As constants, so that what can be refused is refused while the graph is read.
                made = judged.Built(op_type, worse)
                graph = made.graph
            except (ValueError, TypeError) as error:
                refused[name] = str(error)
                try:
                    graph = judged.open_graph(op_type, worse, ranks_known=False)
                except (ValueError, TypeError):
                    continue  # it has no form that TensorFlow could be asked about
            outputs = [t.name for t in graph.get_operation_by_name("tested").outputs]
            built[name] = op_type, worse, graph, [outputs]
    for name, verdict in asked(referee, {n: Case(graph, runs) for n, (_, _, graph, runs) in built.items()}):
        op_type, sample, graph, runs = built[name]
        error, mine = (refused[name], []) if name in refused else ours(graph, runs)
        reason = "TensorFlow has no kernel for it on a CPU" if verdict.lacks_kernel else None
        for pattern, why in OTHER_REFUSALS:
            if reason is None and re.search(pattern, name):
                reason = why
        problems = []
        if reason is None and (bool(verdict.error) != bool(error) or error.startswith(CRASH)):
            problems = [f"{name}: ours: {error or 'no error'}; TensorFlow: {verdict.message or 'no error'}"]
        elif reason is None and not error:
            skip = judged.not_compared(judged.DIFFERENT, op_type, sample, len(runs[0]))
            problems = judged.problems_of(name, sample, mine[0], verdict.values[0], skip)
        table[op_type].note("refusals", name, reason, problems)


def random_graphs(count: int) -> dict[str, Any]:
    """Runs so many random graphs; the first that differs is told shrunken."""
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
    for kind in ("values", "gradients", "refusals"):
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
                 ("values", "gradients", "refusals")]  # fmt: skip
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
    for kind in ("values", "gradients", "refusals"):
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
        "ops": {
            op_type: {
                "tried": dict(row.tried),
                "equal": dict(row.equal),
                "apart": dict(sorted(row.apart.items())),
            }
            for op_type, row in sorted(table.items())
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=2000, help="how many random graphs")
    parser.add_argument(
        "--only", default="", help="a word that the op types have to have in them; writes no files"
    )
    arguments = parser.parse_args()
    interpreter = os.environ["GRAPHFLOW_TF_PYTHON"]
    version = subprocess.run(
        [interpreter, "-c", "from importlib.metadata import version; print(version('tensorflow-cpu'))"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    table: dict[str, Row] = defaultdict(Row)
    assert all_samples()
    with tempfile.TemporaryDirectory() as folder:
        referee = Referee(interpreter, Path(folder), timeout=1200.0)
        compare_values(referee, table, arguments.only)
        for known in (True, False):
            compare_gradients(referee, table, arguments.only, known)
        compare_refusals(referee, table, arguments.only)
        referee.close()
    random = random_graphs(arguments.graphs) if arguments.graphs else {"graphs": 0, "equal": True, "said": ""}
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
