"""Others' TF1 programs, run here and with TensorFlow: the same first weights, the same losses, files that both read.

The programs and their harness are those of `benchmarks.programs`. Each program runs once with either peer under
`recorder.py`, which gives seeds to the random operations that have none; then `loader.py` loads, with either peer, what
both have saved: the program's own checkpoints, and a checkpoint and a SavedModel of every session as it ended.

Some programs drive a difference in the last bit of a weight to one that can be seen. Where losses differ by more than
`CURVES`, TensorFlow runs again with its own first weights changed in the last bit, and the table tells how far from
itself that takes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PEERS = ("graphflow", "tensorflow")
_HERE = Path(__file__).resolve().parent
# A loss may differ by this much of itself, an output of a loaded model by this much.
CURVES = 1e-3
OUTPUTS = 1e-3
# How often TensorFlow runs against itself where a curve is further off.
NUDGES = 3


class Recorded:
    """Stands for `subprocess` in the harness: programs run under the recorder."""

    PIPE = subprocess.PIPE
    STDOUT = subprocess.STDOUT
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self, peer: str, nudge: int, folder: Path) -> None:
        self._between = [str(_HERE / "recorder.py"), peer, str(nudge), str(folder)]

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the program, with the recorder between the interpreter and the script."""
        at = next(i for i, word in enumerate(command) if word.endswith(".py"))
        command = [*command[:at], *self._between, *command[at:]]
        return subprocess.run(command, env={**env, "PYTHONHASHSEED": "0"}, **options)


def record(
    harness: Any,
    program: Mapping[str, Any],
    peer: str,
    python: str,
    sources: Path,
    folder: Path,
    nudge: int = 0,
) -> str:
    """Runs a program with a peer, weights nudged if the seed is not 0; returns what went wrong, if anything."""
    (folder / "recorded").mkdir(parents=True)
    harness.subprocess = Recorded(peer, nudge, folder / "recorded")
    arguments = SimpleNamespace(
        python=python,
        peer="tf" if peer == "tensorflow" else peer,
        contrib_shims=False,
        timeout=300.0,
        log=str(folder / "log"),
        keep=True,
    )
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        ended_well, error, _ = harness.run_one(program, arguments, str(sources))
    finally:
        tempfile.tempdir = before
    return "" if ended_well else error


def distance(ours: Array, theirs: Array) -> float:
    """Returns the largest difference of two arrays, relative to the larger value of the two; infinity if unlike."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    if not ours.size or ours.dtype.kind not in "fc":
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    if not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return float("inf")
    keep = np.isfinite(ours)
    difference = np.abs(ours[keep].astype(np.float64) - theirs[keep])
    size = np.maximum(np.maximum(np.abs(ours[keep]), np.abs(theirs[keep])), 1e-6)
    return float(np.max(difference / size, initial=0.0))


def weights(folders: Mapping[str, Path]) -> dict[str, Any]:
    """Compares the first values of all variables: how many there are, how many are equal, the largest difference."""
    found: dict[str, Any] = {"variables": 0, "equal": 0, "worst": 0.0, "unlike": []}
    files = {peer: sorted(p.name for p in folder.glob("initial_*.npz")) for peer, folder in folders.items()}
    if files["graphflow"] != files["tensorflow"]:
        found["unlike"].append(f"sessions: {files}")
    for name in files["graphflow"]:
        if name not in files["tensorflow"]:
            continue
        with np.load(folders["graphflow"] / name) as ours, np.load(folders["tensorflow"] / name) as theirs:
            if only := set(ours.files) ^ set(theirs.files):
                found["unlike"].append(f"{name}: {sorted(only)} on one side only")
            for key in set(ours.files) & set(theirs.files):
                found["variables"] += 1
                apart = distance(ours[key], theirs[key])
                found["equal"] += bool(np.array_equal(ours[key], theirs[key]))
                if apart > found["worst"]:
                    found["worst"], found["worst_of"] = apart, f"{name} {key}"
    return found


def curves(folders: Mapping[str, Path]) -> dict[str, Any]:
    """Compares every floating scalar that was fetched, run by run: how many, the worst of each name."""
    ours, theirs = (json.loads((folders[peer] / "runs.json").read_text()) for peer in PEERS)
    found: dict[str, Any] = {"runs": [len(ours), len(theirs)], "points": 0, "names": {}}
    for mine, other in zip(ours, theirs, strict=False):
        values = list(zip(mine["scalars"].items(), other["scalars"].items(), strict=False))
        for (name, value), (_, expected) in values:
            found["points"] += 1
            apart = distance(np.array(value), np.array(expected))
            found["names"][name] = max(apart, found["names"].get(name, 0.0))
    found["worst"] = max(found["names"].values(), default=0.0)
    return found


def cases(folder: Path) -> list[list[str]]:
    """Returns what a program has left for the loader."""
    found = [["checkpoint", str(path)[: -len(".index")], ""] for path in sorted(folder.rglob("*.index"))
             if "saved_model/" not in str(path) and list(path.parent.glob(f"{path.stem}.data-*"))]  # fmt: skip
    for path in sorted(folder.rglob("saved_model.pb")):
        found.append(["saved_model", str(path.parent), str(path.parent.parent / "feeds.npz")])
    return found


def load(peer: str, python: str, todo: Sequence[Sequence[str]], folder: Path) -> list[dict[str, Array] | str]:
    """Loads all cases with a peer; returns what each gave, or why it was refused."""
    folder.mkdir()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    command = [python, str(_HERE / "loader.py"), peer, str(folder)]
    done = subprocess.run(command, input=json.dumps(todo), text=True, env=environment, capture_output=True)
    answers: list[dict[str, Array] | str] = []
    for number in range(len(todo)):
        file = folder / f"{number}.npz"
        if file.exists():
            with np.load(file) as found:
                answers.append({str(name): found[f"a{i}"] for i, name in enumerate(found["names"])})
        else:
            reason = folder / f"{number}.txt"
            answers.append(
                reason.read_text() if reason.exists() else f"the loader died: {done.stderr[-300:]}"
            )
    return answers


def exchange(
    todo: Mapping[str, Sequence[Sequence[str]]], answers: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Compares what both peers found in the files that one has written.

    Args:
      todo: by writer, the cases.
      answers: by reader, the answers to all cases, the writers' one after another.

    Returns:
      By writer: how many checkpoints and saved models the other one read alike, of how many, and what was unlike.
    """
    found: dict[str, Any] = {}
    at = 0
    for writer, own in todo.items():
        row: dict[str, Any] = {"checkpoint": [0, 0], "saved_model": [0, 0], "unlike": []}
        for kind, path, _ in own:
            ours, theirs = (answers[peer][at] for peer in PEERS)
            at += 1
            row[kind][1] += 1
            name = Path(path).name if kind == "checkpoint" else f"{Path(path).parent.name}/{Path(path).name}"
            if isinstance(ours, str) or isinstance(theirs, str):
                for peer, answer in zip(PEERS, (ours, theirs), strict=True):
                    if isinstance(answer, str):
                        row["unlike"].append(f"{name}: {peer} says {answer[:300]}")
                continue
            unlike = [f"{key} on one side only" for key in sorted(set(ours) ^ set(theirs))]
            for key in sorted(set(ours) & set(theirs)):
                apart = distance(ours[key], theirs[key])
                if apart > (OUTPUTS if key.startswith("output ") else 0.0):
                    unlike.append(f"{key} is {apart:.2g} apart")
            row[kind][0] += not unlike
            row["unlike"] += [f"{name}: {what}" for what in unlike[:3]]
        found[writer] = row
    return found


def compare(
    harness: Any,
    programs: Sequence[Mapping[str, Any]],
    tensorflow: str,
    sources: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Returns, for each program, how alike both peers' runs and files are."""
    pythons = {"graphflow": sys.executable, "tensorflow": tensorflow}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        todo: dict[str, dict[str, list[list[str]]]] = {}
        for program in programs:
            name = program["name"]
            if "tf" in program.get("skip_peer", ()):
                rows[name] = {"errors": {"tensorflow": "this TensorFlow lacks what the program needs"}}
                continue
            folders = {peer: Path(root) / name / peer for peer in PEERS}
            errors = {}
            for peer in PEERS:
                if error := record(harness, program, peer, pythons[peer], sources, folders[peer]):
                    errors[peer] = error
            rows[name] = {"errors": errors}
            if not errors:
                recorded = {peer: folder / "recorded" for peer, folder in folders.items()}
                rows[name] |= {"weights": weights(recorded), "curves": curves(recorded)}
                if rows[name]["curves"]["worst"] > CURVES:
                    rows[name]["nudged"] = {}
                    for nudge in range(1, NUDGES + 1):
                        folder = Path(root) / name / f"nudged_{nudge}"
                        if error := record(
                            harness, program, "tensorflow", pythons["tensorflow"], sources, folder, nudge
                        ):
                            errors["tensorflow, nudged"] = error
                            break
                        drift = curves({**recorded, "graphflow": folder / "recorded"})["names"]
                        for what, apart in drift.items():
                            rows[name]["nudged"][what] = max(apart, rows[name]["nudged"].get(what, 0.0))
                todo[name] = {peer: cases(folder) for peer, folder in folders.items()}
                rows[name]["not_saved"] = [
                    f"{peer}, {path.parent.name}: {path.read_text()}"
                    for peer in PEERS
                    for path in folders[peer].rglob("error.txt")
                ]
            say(f"  {name:28} {_summary(rows[name])}")
        every = [case for own in todo.values() for peer in PEERS for case in own[peer]]
        answers = {peer: load(peer, pythons[peer], every, Path(root) / f"loaded_{peer}") for peer in PEERS}
        at = 0
        for name, own in todo.items():
            count = sum(map(len, own.values()))
            rows[name]["files"] = exchange(own, {peer: a[at : at + count] for peer, a in answers.items()})
            at += count
    return rows


def _summary(row: Mapping[str, Any]) -> str:
    if row["errors"]:
        return "; ".join(f"{peer}: {error}" for peer, error in row["errors"].items())
    return (
        f"weights {row['weights']['equal']} of {row['weights']['variables']} equal, worst {row['weights']['worst']:.1e}"
        f"; {row['curves']['points']} points, worst {row['curves']['worst']:.1e}"
    )


def table(results: Mapping[str, Any]) -> str:
    """Returns the Markdown table."""
    lines = [
        "| program | first values equal, of | worst | scalars fetched | worst | our files TensorFlow reads alike, of |"
        " its files we read alike, of |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    notes = []
    for name, row in results["programs"].items():
        if row["errors"]:
            lines.append(f"| {name} | – | – | – | – | – | – |")
            notes += [f"{name}, {peer}: {error}" for peer, error in row["errors"].items()]
            continue
        first, run = row["weights"], row["curves"]
        files = []
        for writer in PEERS:
            own = row["files"][writer]
            files.append(
                " + ".join(f"{own[kind][0]}/{own[kind][1]}" for kind in ("checkpoint", "saved_model"))
            )
            notes += [f"{name}, files of {writer}: {what}" for what in own["unlike"]]
        lines.append(
            f"| {name} | {first['equal']}/{first['variables']} | {first['worst']:.1e} | {run['points']} |"
            f" {run['worst']:.1e} | {files[0]} | {files[1]} |"
        )
        notes += [f"{name}: {what}" for what in (*first["unlike"], *row["not_saved"])]
        notes += [
            f"{name}: {what} is up to {apart:.1e} apart; TensorFlow from itself up to {row['nudged'][what]:.1e} "
            f"in {NUDGES} runs whose first weights differ in their last bits"
            for what, apart in run["names"].items()
            if apart > CURVES
        ]
        if run["runs"][0] != run["runs"][1]:
            notes.append(f"{name}: {run['runs'][0]} runs here, {run['runs'][1]} with TensorFlow")
    text = (
        f"{results['date']}, TensorFlow {results['tensorflow']}. Each program unchanged but for run lengths, once here "
        "and once with TensorFlow; random operations without a seed were given the number of their turn. First values: "
        "of all variables, when the last of them was initialized or restored from a checkpoint of the "
        "training before. Worst: the largest difference relative to the value. "
        "Files: checkpoints + SavedModels, each read by both; alike means the same tensors, bit for bit, and outputs "
        f"of the SavedModel's signature to {OUTPUTS:g}."
    )
    return "\n".join([text, "", *lines, *([""] if notes else []), *(f"- {note}" for note in notes), ""])


def version(python: str) -> str:
    """Returns the version of an interpreter's TensorFlow."""
    program = "from importlib.metadata import version; print(version('tensorflow-cpu'))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    return done.stdout.strip() or "of unknown version"
