"""The whole referee: every op and its samples, gradients, refusals, and random graphs; a table for the record.

    python -m tests.referee_report [--graphs N] [--mutations N] [--only WORD] [--keep FOLDER [--part P] [--share 2/5]]

TensorFlow (GRAPHFLOW_TF_PYTHON) and both engines of graphflow, compiled code and NumPy bodies, get the same bytes: a
GraphDef with one operation on constants, ours or one that TensorFlow's own functions have written, or with its gradient
and second gradient. It writes
`benchmarks/results/referee.json` and `.md`, and fails if anything differs for no reason that
`test_ops_against_tensorflow.py` or this file gives, or if a reason given here applies to nothing any more. Parts, and
shares of them, can be run one after another with a folder that keeps what was found; the last one writes the table.
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
from tests.element_types import unsampled
from tests.referee import Array, Case, Referee, Verdict, definition_of
from tests.samples import Sample
from tests.shares import is_in, numbers_of
from tests.test_ops_matrix import NOT_IN_THE_MATRIX

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
KINDS = ("values", "types", "imports", "gradients", "refusals")
BATCH = 400
CRASH = "it crashes:"
PATIENCE = 30.0  # seconds; TensorFlow is loaded in them, and some spoiled samples make it work for ever
SLOW = 20.0  # of processor time
MEMORY = 10 * 2**30

# Where one refuses and the other does not, or both make something of it, and why that stays so: a pattern that the
# names of the cases match from start to end.
_COUNTED = "TensorFlow counts the elements of the operands, and gives the result the first one's shape"
OTHER_REFUSALS: list[tuple[str, str]] = [
    (r"(Sqrt|Rsqrt|Tanh|Sigmoid|Inv|Reciprocal)Grad, rank of input .", _COUNTED),
    (r"AvgPoolGrad, size of input 1", "TensorFlow reads past the end of a gradient that is too small"),
    (r"BroadcastArgs, negative of input 1", "TensorFlow stretches to negative sizes"),
    (
        r"CTCGreedyDecoder, negative of input 1",
        "TensorFlow takes sequences of negative length for empty ones",
    ),
    (r"CTCLoss, far of input 2", "TensorFlow gives a loss to examples without any label, a wrong one"),
    (
        r"DataFormatDimMap, (negative|far) of input 0",
        "TensorFlow takes axes modulo the rank, and reads in front of its table for those below it",
    ),
    (
        r"FractionalAvgPoolGrad, (size of input 1|far of input .)",
        "TensorFlow reads past the end of gradients that are too small, and leaves out windows outside of the image",
    ),
    (r"FractionalAvgPoolGrad, rank of input .", _COUNTED),
    (r"FractionalMaxPoolGrad, (rank|size) of input 2", _COUNTED),
    (r"MaxPoolGradV2, rank of input .", _COUNTED),
    (
        r"LSTMBlockCellGrad, size of input .",
        "TensorFlow gives gradients of weights that are not used their shape",
    ),
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
# The same of samples cast to other element types.
_WIDER = "TensorFlow takes float32 only; here gradients are checked in float64"
_NO_ABORT = "TensorFlow's kernel knows no such type and aborts or refuses"
OTHER_TYPES: list[tuple[str, str]] = [
    (
        r"(BlockLSTM.*|LSTMBlockCell.*|GRUBlockCell.*|FusedBatchNorm(Grad)?|MaxPool3D(Grad)?), .*=float64",
        _WIDER,
    ),
    (r"Range, Tidx=float16", _NO_ABORT),
    (r"ScatterNd, Tindices=int16", _NO_ABORT),
    (r"SplitV, Tlen=int8", _NO_ABORT),
    (r"UnicodeDecodeWithOffsets, Tsplits=int32", _NO_ABORT),
    (r"StatelessRandomUniformFullInt, Tseed=uint(32|64)", _NO_ABORT),
    (r"Where, T=float16", _NO_ABORT),
    (r"(SelfAdjointEigV2|Svd), T=complex64", "TensorFlow gives outputs that are not asked for no shape"),
    (r"SparseAdd, T(real)?=.*", "TensorFlow reads past the end of a threshold of another type"),
    (r"ArgMax, Tidx=int16", "TensorFlow reads past the end of an axis of that type"),
    (r"_FusedConv2D, T=float(16|64)", "TensorFlow takes the other operands for floats of that type"),
    (r"(QuantizeAndDequantize|TopK), .*", "is gone from graphs that are written today"),
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
          kind: one of `KINDS`.
          name: the sample.
          reason: why it differs or is not compared, where there is a reason.
          problems: what differs for no reason.
        """
        self.tried[kind] += 1
        if problems:
            self.differing.extend(problems)
        elif reason is not None:
            self.apart[f"{kind}: {reason}"] += 1
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
    began = time.process_time()
    try:
        result = Outcome(engine, "", run())
    except (ValueError, gf.errors.OpError) as error:
        result = Outcome(engine, str(error) or type(error).__name__)
    except reference.NodeError as error:
        cause = error.__cause__
        crash = (
            ""
            if isinstance(cause, ValueError | gf.errors.OpError | MemoryError)
            else f"{CRASH} {type(cause).__name__}: "
        )
        result = Outcome(engine, f"{crash}{cause}")
    except Exception as error:  # no way to refuse anything: it is told as a difference
        result = Outcome(engine, f"{CRASH} {type(error).__name__}: {error}")
    if time.process_time() - began > SLOW:
        result.error = f"{CRASH} it takes {time.process_time() - began:.0f} s; {result.error}"
    return result


def ours(graph: Graph | GraphDef, runs: Sequence[Sequence[str]]) -> list[Outcome]:
    """What both engines make of the bytes of a graph."""
    definition = definition_of(graph).SerializeToString()
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


TELLS = "TensorFlow: "


def errors_of(name: str, outcome: Outcome, verdict: Verdict) -> list[str]:
    """Whether one gives an error where the other gives none."""
    if bool(verdict.error) == bool(outcome.error) and not outcome.error.startswith(CRASH):
        return []
    return [f"{name}: ours: {outcome.error or 'no error'}; {TELLS}{verdict.message or 'no error'}"]


def compared(
    name: str, sample: Sample, outcomes: Sequence[Outcome], verdict: Verdict, runs: Sequence[int]
) -> dict[int, str]:
    """What differs, by output, between what either engine and TensorFlow make of the results of some runs."""
    found: dict[int, str] = {}
    for outcome in outcomes:
        full = f"{name}, {outcome.engine}"
        if errors := errors_of(full, outcome, verdict):
            found[judged.REFUSED] = "; ".join(errors)
        elif not outcome.error:
            mine, theirs = ([v for i in runs for v in all_[i]] for all_ in (outcome.values, verdict.values))
            found |= judged.differences(full, sample, mine, theirs)
    return found


NO_KERNEL = "TensorFlow has no kernel for it on a CPU"


Wanted = Callable[[str], bool]
# Rows of what is said of reasons: those of one op, and those that patterns of names give. The latter apply to nothing
# if they do in no share.
REASONS, PATTERNS = "reasons", "patterns of reasons"


def compare_values(referee: Referee, table: dict[str, Row], wanted: Wanted) -> None:
    built = {n: judged.Built(*case) for n, case in judged.CASES.items() if wanted(case[0])}
    cases = {
        n: Case(b.graph, b.runs(), shapes=[t.name for t in b.operation.outputs]) for n, b in built.items()
    }
    reasons = judged.Reasons(judged.DIFFERENT)
    for name, verdict in asked(referee, cases):
        op_type, sample = judged.CASES[name]
        made = built[name]
        problems: list[str] = []
        reason: str | None = NO_KERNEL
        if not verdict.lacks_kernel:
            runs = (2, 1) if made.operation.outputs else (2,)
            found = compared(name, sample, ours(made.graph, made.runs()), verdict, runs)
            problems, reason = reasons.sift(op_type, sample, found)
        table[op_type].note("values", name, reason, problems)
    for text in reasons.idle(wanted):
        table[REASONS].differing.append(text)


def compare_types(referee: Referee, table: dict[str, Row], wanted: Wanted) -> None:
    """Every element type that an op says to take, of which no sample is written: a sample is cast to it."""
    by_op: dict[str, list[Sample]] = defaultdict(list)
    for op_type, sample in judged.CASES.values():
        if wanted(op_type):
            by_op[op_type].append(sample)
    built: dict[str, tuple[str, Sample, judged.Built]] = {}
    for op_type, listed in by_op.items():
        for what, sample in unsampled(judged.OPS[op_type], listed).items():
            try:
                made = judged.Built(op_type, sample)
            except (gf.errors.ShapeError, gf.errors.DTypeError):
                continue  # sizes, or other types, follow from the type: Bitcast, Eig
            built[f"{op_type}, {what}"] = op_type, sample, made
    cases = {name: Case(made.graph, made.runs()) for name, (_, _, made) in built.items()}
    used = set()
    for name, verdict in asked(referee, cases):
        op_type, sample, made = built[name]
        problems: list[str] = []
        reason: str | None = NO_KERNEL
        if not verdict.lacks_kernel:
            runs = (2, 1) if made.operation.outputs else (2,)
            problems = list(compared(name, sample, ours(made.graph, made.runs()), verdict, runs).values())
            reason = None
            for pattern, why in OTHER_TYPES if problems else ():
                if re.fullmatch(pattern, name):
                    used.add(pattern)
                    problems, reason = [], why
        table[op_type].note("types", name, reason, problems)
    for pattern, why in OTHER_TYPES:
        if pattern not in used and "reads past the end" not in why:  # what lies there is chance
            table[PATTERNS].differing.append(f"no type that matches {pattern} differs any more")


def compare_imports(
    referee: Referee, table: dict[str, Row], wanted: Wanted, taken: Callable[[str], bool] | None = None
) -> None:
    """The other way round: graphs that TensorFlow's own functions write, read and run here.

    Args:
      referee: TensorFlow.
      table: where it is noted.
      wanted: which op types are tried.
      taken: whether a case of this name is tried; None: all are.
    """
    names = [n for n, (op_type, _) in judged.CASES.items() if wanted(op_type) and (taken is None or taken(n))]
    built = {name: judged.Built(*judged.CASES[name]) for name in names}
    reasons = judged.Reasons((), judged.DIFFERENT)
    cases = {name: Case(made.graph, made.runs(), again=True) for name, made in built.items()}
    for name, verdict in asked(referee, cases):
        op_type, sample = judged.CASES[name]
        made = built[name]
        problems: list[str] = []
        reason: str | None = None
        if verdict.lacks_kernel:
            reason = NO_KERNEL
        elif not verdict.graph and "tf.raw_ops has no" in verdict.error:
            reason = "TensorFlow's Python has no function for it"
        else:
            written = GraphDef.FromString(verdict.graph) if verdict.graph else made.graph
            runs = (2, 1) if made.operation.outputs else (2,)
            found = compared(
                f"{name}, written by TensorFlow", sample, ours(written, made.runs()), verdict, runs
            )
            problems, reason = reasons.sift(op_type, sample, found)
        table[op_type].note("imports", name, reason, problems)


def compare_gradients(referee: Referee, table: dict[str, Row], wanted: Wanted, known: bool) -> None:
    built, refused = judged.gradient_graphs(known, wanted)
    reasons = judged.reasons_of_gradients(known)
    for name, found in refused.items():
        problems, reason = reasons.sift(*judged.DIFFERENTIABLE[name], found)
        table[judged.DIFFERENTIABLE[name][0]].note("gradients", name, reason, problems)
    for name, verdict in asked(referee, {n: Case(graph, [names]) for n, (graph, names) in built.items()}):
        graph, names = built[name]
        op_type, sample = judged.DIFFERENTIABLE[name]
        problems, reason = [], NO_KERNEL
        if not verdict.lacks_kernel:
            found = compared(f"{name}, gradient", sample, ours(graph, [names]), verdict, (0,))
            problems, reason = reasons.sift(op_type, sample, found)
        table[op_type].note("gradients", name, reason, problems)
    for text in reasons.idle(wanted):
        table[REASONS].differing.append(text)


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


@dataclass
class Spoiled:
    """A sample with an input that may not fit, as a graph."""

    op_type: str
    sample: Sample
    graph: GraphDef
    fetches: list[str]


def spoiled_graphs(wanted: Wanted) -> dict[str, Spoiled]:
    """The first sample of each op that is wanted, spoiled in each way."""
    built: dict[str, Spoiled] = {}
    seen: set[str] = set()
    for op_type, sample in judged.CASES.values():
        if op_type in seen or not wanted(op_type) or judged.OPS[op_type].effects:
            continue
        seen.add(op_type)
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
            built[f"{op_type}, {what}"] = Spoiled(op_type, sample, worse, outputs)
    return built


def compare_refusals(
    referee: Referee, table: dict[str, Row], wanted: Wanted, taken: Callable[[str], bool] | None = None
) -> None:
    """Whether both refuse a spoiled sample, or both make the same of it.

    Args:
      referee: TensorFlow.
      table: where it is noted.
      wanted: which op types are tried.
      taken: whether a case of this name is tried; None: all are.
    """
    built = {n: s for n, s in spoiled_graphs(wanted).items() if taken is None or taken(n)}
    used = set()
    reasons = judged.Reasons((), judged.DIFFERENT)
    by_op: dict[str, dict[str, Case]] = defaultdict(dict)
    for name, case in built.items():
        by_op[case.op_type][name] = Case(case.graph, [case.fetches], alone=True)
    verdicts = (item for cases in by_op.values() for item in referee.ask(cases, deaths=2).items())
    for name, verdict in verdicts:
        case = built[name]
        found = compared(name, case.sample, ours(case.graph, [case.fetches]), verdict, (0,))
        problems = [text for text in found.values() if CRASH in text]
        reason: str | None = None
        if verdict.lacks_kernel:
            reason = NO_KERNEL
        elif verdict.lacks_memory:
            reason = "TensorFlow runs out of memory"
        elif verdict.death:
            reason = f"TensorFlow does not survive it: {verdict.death}"
        elif not problems:
            problems, reason = reasons.sift(case.op_type, case.sample, found)
            if problems:
                for pattern, why in OTHER_REFUSALS:
                    if re.fullmatch(pattern, name):
                        used.add(pattern)
                        problems, reason = [], why
        table[case.op_type].note("refusals", name, reason, problems)
    for pattern, _ in OTHER_REFUSALS if taken is None else ():
        if pattern not in used:
            table[PATTERNS].differing.append(f"nothing that matches {pattern} differs any more")


PARTS: dict[str, Callable[[Referee, dict[str, Row], Wanted], None]] = {
    "values": compare_values,
    "types": compare_types,
    "imports": compare_imports,
    "gradients": functools.partial(compare_gradients, known=True),
    "gradients-of-open-shapes": functools.partial(compare_gradients, known=False),
    "refusals": compare_refusals,
}


# Tests that make their cases from seeds: what says how many, what the option is called, and where they stand.
COUNTED = {
    "graphs": ("GRAPHFLOW_RANDOM_GRAPHS", "graphs", "tests/test_random_graphs_against_tensorflow.py"),
    "mutations": ("GRAPHFLOW_MUTATIONS", "mutations", "tests/serialization/test_mutations.py"),
    "files": ("GRAPHFLOW_MUTATIONS", "mutations", "tests/serialization/test_hostile_files.py"),
}


def counted_test(name: str, count: int, share: int, shares: int) -> dict[str, Any]:
    """Runs a share of a test that makes so many cases from seeds; the first that fails is told shrunken."""
    variable, _, path = COUNTED[name]
    if not count:
        return {"count": 0, "passed": True, "said": ""}
    environment = os.environ | {variable: str(count), "GRAPHFLOW_SHARE": f"{share + 1}/{shares}"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=RESULTS.parent.parent)
    passed = done.returncode == 0
    return {
        "count": len(range(share, count, shares)), "passed": passed, "said": "" if passed else done.stdout[-3000:]
    }  # fmt: skip


def shares_of(keep: Path, part: str) -> list[Any] | None:
    """What the shares of a part have found; None: some are still to run."""
    by_count: dict[int, list[Path]] = defaultdict(list)
    for path in keep.glob(f"{part}.*of*.json"):
        by_count[int(path.stem.rpartition("of")[2])].append(path)
    for count, paths in sorted(by_count.items()):
        if len(paths) == count:
            return [json.loads(path.read_text()) for path in paths]
    return None


def joined_rows(found: Sequence[dict[str, Any]], table: dict[str, Row]) -> None:
    """Adds what the shares of a part have found to the table."""
    for share in found:
        for op_type, (stored, differing) in share.items():
            if op_type != PATTERNS:
                table[op_type].add(stored, differing)
    idle = [set(share.get(PATTERNS, ({}, []))[1]) for share in found]
    table[REASONS].differing.extend(sorted(set.intersection(*idle)))


def joined_counts(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The shares of a test as one."""
    return {
        "count": sum(share["count"] for share in found), "passed": all(share["passed"] for share in found),
        "said": "".join(share["said"] for share in found),
    }  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    total = report["total"]
    lines = [
        "# The referee's table",
        "",
        f"TensorFlow {report['tensorflow']} and graphflow, the same bytes. {total['ops']} ops compared, "
        f"{report['random']['count']} random graphs with gradients and variables "
        f"({'all equal' if report['random']['passed'] else 'not all equal'}); {report['mutations']['count']} graphs "
        "with a few things in them changed, each read or refused by an error that says where "
        f"({'all of them' if report['mutations']['passed'] else 'not all'}); {report['files']['count']} checkpoints, "
        "models and record files changed or damaged "
        f"({'each read or refused likewise' if report['files']['passed'] else 'not all read or refused'}).",
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
    lines += ["", "## Compared", "", f"| op | {' | '.join(KINDS)} |", "|--|" + "--|" * len(KINDS)]
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


def report_of(
    table: dict[str, Row],
    random: dict[str, Any],
    mutations: dict[str, Any],
    files: dict[str, Any],
    version: str,
) -> dict[str, Any]:
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
        "mutations": mutations,
        "files": files,
        "differing": [line for _, row in sorted(table.items()) for line in row.differing],
        "not compared": not_compared(table),
        "ops": {op_type: row.stored() for op_type, row in sorted(table.items())},
    }


def run_share(part: str, arguments: argparse.Namespace, share: int, shares: int, folder: Path) -> Any:
    """Runs a share of a part; returns what it finds."""
    if part in COUNTED:
        return counted_test(part, getattr(arguments, COUNTED[part][1]), share, shares)
    own: dict[str, Row] = defaultdict(Row)
    referee = Referee(os.environ["GRAPHFLOW_TF_PYTHON"], folder, PATIENCE)
    PARTS[part](referee, own, lambda op_type: arguments.only in op_type and is_in(op_type, share, shares))
    referee.close()
    return {op: [row.stored(), row.differing] for op, row in own.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=2000, help="how many random graphs")
    parser.add_argument("--mutations", type=int, default=20000, help="how many changed graphs")
    parser.add_argument(
        "--only", default="", help="a word that the op types have to have in them; writes no files"
    )
    parser.add_argument(
        "--keep", default="", help="a folder for what each part finds; a part that is there is not run again"
    )
    parser.add_argument("--part", choices=[*PARTS, *COUNTED], help="only this part")
    parser.add_argument(
        "--share", default="1/1", help="only this share of each part: 2/5 is the second of five"
    )
    arguments = parser.parse_args()
    if not arguments.keep and (arguments.part or arguments.share != "1/1"):
        parser.error("--part and --share need --keep, where the others lie")
    share, shares = numbers_of(arguments.share)
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
        for part in [arguments.part] if arguments.part else [*PARTS, *COUNTED]:
            stored = keep / f"{part}.{share + 1}of{shares}.json"
            if shares_of(keep, part) is None and not stored.exists():
                print(part, file=sys.stderr)
                stored.write_text(json.dumps(run_share(part, arguments, share, shares, Path(folder))))
        found = {part: shares_of(keep, part) for part in (*PARTS, *COUNTED)}
    left = [part for part, kept in found.items() if kept is None]
    if left:
        print(f"still to run, or not in all shares: {', '.join(left)}")
        return 0
    for part in PARTS:
        joined_rows(found[part] or [], table)
    if arguments.only:
        table.pop(REASONS, None)
    counted = [joined_counts(found[part] or []) for part in COUNTED]
    random, mutations, files = counted
    report = report_of(table, random, mutations, files, version)
    if not arguments.only:
        (RESULTS / "referee.json").write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / "referee.md").write_text(markdown(report))
    print(json.dumps(report["total"], indent=1))
    print("\n".join(report["differing"]))
    print(*(part["said"] for part in counted), sep="\n")
    return bool(report["differing"]) or not all(part["passed"] for part in counted)


if __name__ == "__main__":
    sys.exit(main())
