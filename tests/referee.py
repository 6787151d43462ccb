"""TensorFlow as referee: many small graphs, each in a session of its own, all in one TensorFlow process."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from graphflow.graph import Graph
from graphflow.serialization.graph_def import graph_to_graph_def

Array = np.ndarray[Any, Any]

# Cases stand one after another in a file: a line of JSON, then the graph that it announces. A graph for each: one
# operation without a kernel would stop all others of its graph. Rewriting by TensorFlow's own optimizer is off:
# kernels are compared, and hundreds of graphs take seconds.
PROGRAM = """
import json, os, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what operations print is no answer
config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
config.graph_options.rewrite_options.disable_meta_optimizer = True
config.graph_options.optimizer_options.opt_level = -1

def encoded(value):
    value = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    kind = value.dtype.name
    if kind == "object":
        value = np.array([item.hex() for item in value.ravel()], "U").reshape(value.shape)
    elif kind == "bfloat16":
        value = value.astype(np.float32)
    return kind, value

def judge(case, definition, feeds, arrays):
    with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(definition), name="")
        shapes = [graph.as_graph_element(name).shape for name in case["shapes"]]
        for i, names in enumerate(case["runs"]):
            fed = {name: feeds[key] for name, key in case["feeds"][i].items()}
            for j, value in enumerate(session.run(names, fed)):
                if value is not None:
                    kind, array = encoded(value)
                    arrays[f"{case['id']}/{i}/{j}/{kind}"] = array
    return {"shapes": [None if shape.rank is None else shape.as_list() for shape in shapes]}

for line in sys.stdin:
    paths = json.loads(line)
    arrays, verdicts = {}, {}
    with open(paths[0], "rb") as file, np.load(paths[1]) as feeds:
        while header := file.readline():
            case = json.loads(header)
            definition = file.read(case["bytes"])
            try:
                verdicts[case["id"]] = judge(case, definition, feeds, arrays)
            except (tf.errors.OpError, ValueError) as error:
                verdicts[case["id"]] = {"error": getattr(error, "message", str(error))}
    np.savez(paths[2], **arrays)
    with open(paths[3], "w") as file:
        json.dump(verdicts, file)
    print("done", file=answers, flush=True)
"""


@dataclass
class Case:
    """A graph for TensorFlow to run.

    Attributes:
      graph: the graph.
      runs: the names of what to fetch, one list per consecutive run of one session.
      feeds: what to feed by name, one mapping per run; empty: nothing.
      shapes: tensors whose static shapes TensorFlow shall tell.
    """

    graph: Graph
    runs: Sequence[Sequence[str]]
    feeds: Sequence[Mapping[str, Array]] = ()
    shapes: Sequence[str] = ()


@dataclass
class Verdict:
    """What TensorFlow made of a case.

    Attributes:
      error: what it refused it for; empty: it did not.
      values: what was fetched, per run; None at the place of an operation.
      shapes: the static shapes asked for, None for an unknown rank.
    """

    error: str = ""
    values: list[list[Any]] = field(default_factory=list)
    shapes: list[list[int | None] | None] = field(default_factory=list)

    @property
    def lacks_kernel(self) -> bool:
        """Whether TensorFlow knows the op but cannot run it like this on a CPU."""
        return any(text in self.error for text in LACKS_KERNEL)

    @property
    def message(self) -> str:
        """The error in one line."""
        lines = [line.strip() for line in self.error.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "}}]]" not in line), "")


# How TensorFlow says that it cannot do it on a CPU, which is not the same as that one may not.
LACKS_KERNEL = (
    "No OpKernel was registered",
    "only supports NHWC",
    "only supports NDHWC",
    "only supported for NHWC",
    "only supports the NHWC",
    "do not yet support dilation",
    "does not support dilations",
    "only supports equal length strides",
    "not supported on CPU",
    "not yet supported",
)


def decoded(kind: str, value: Array) -> Array:
    if kind == "object":
        flat = [bytes.fromhex(item) for item in value.ravel()]
        result = np.empty(len(flat), object)
        result[:] = flat
        return result.reshape(value.shape)
    return value.astype(ml_dtypes.bfloat16) if kind == "bfloat16" else value


class Referee:
    """A TensorFlow process that judges cases until it is closed."""

    def __init__(self, interpreter: str, folder: Path, timeout: float = 300.0) -> None:
        self._paths = [folder / name for name in ("cases.bin", "feeds.npz", "values.npz", "verdicts.json")]
        self._timeout = timeout
        self._said = folder / "stderr.txt"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
        }
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [interpreter, "-c", PROGRAM],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=30)

    def ask(self, cases: Mapping[str, Case]) -> dict[str, Verdict]:
        """Returns TensorFlow's verdict on every case."""
        ids = {name: str(i) for i, name in enumerate(cases)}
        self._write({ids[name]: case for name, case in cases.items()})
        assert self._process.stdin is not None and self._process.stdout is not None
        watchdog = threading.Timer(self._timeout, self._process.kill)
        watchdog.start()
        try:
            print(json.dumps([str(path) for path in self._paths]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert answer == "done\n", f"the referee failed:\n{self._said.read_text()[-4000:]}"
        found: dict[str, dict[tuple[int, int], Array]] = {}
        with np.load(self._paths[2]) as values:
            for key in values.files:
                case_id, run, position, kind = key.split("/")
                found.setdefault(case_id, {})[int(run), int(position)] = decoded(kind, values[key])
        told = json.loads(self._paths[3].read_text())
        result = {}
        for name, case in cases.items():
            words, own = told[ids[name]], found.get(ids[name], {})
            runs = [[own.get((i, j)) for j in range(len(run))] for i, run in enumerate(case.runs)]
            error = words.get("error", "")
            result[name] = Verdict(error, [] if error else runs, words.get("shapes", []))
        return result

    def _write(self, cases: Mapping[str, Case]) -> None:
        feeds: dict[str, Any] = {}
        with self._paths[0].open("wb") as file:
            for case_id, case in cases.items():
                keys: list[dict[str, str]] = [{} for _ in case.runs]
                for run, fed in enumerate(case.feeds):
                    for tensor, array in fed.items():
                        key = keys[run][tensor] = f"f{len(feeds)}"
                        feeds[key] = array
                definition = graph_to_graph_def(case.graph).SerializeToString()
                header = {"id": case_id, "bytes": len(definition), "runs": [list(run) for run in case.runs],
                          "feeds": keys, "shapes": list(case.shapes)}  # fmt: skip
                file.write(json.dumps(header).encode() + b"\n" + definition)
        np.savez(self._paths[1], **feeds)


def difference(mine: Array, theirs: Array, rtol: float, atol: float | None = None) -> str:
    """Says how two arrays differ; empty: they agree.

    The absolute tolerance, where none is given, is relative to the size of a middling number of the array.
    """
    if mine.dtype != theirs.dtype:
        return f"dtype {mine.dtype}, TensorFlow's {theirs.dtype}"
    if mine.shape != theirs.shape:
        return f"shape {mine.shape}, TensorFlow's {theirs.shape}"
    if mine.dtype == object or mine.dtype.kind in "iub":
        return "" if np.array_equal(mine, theirs) else f"{mine.ravel()[:8]} not {theirs.ravel()[:8]}"
    wide = np.complex128 if mine.dtype.kind == "c" else np.float64
    a, b = mine.astype(wide), theirs.astype(wide)
    with np.errstate(all="ignore"):
        if atol is None:
            sizes = np.abs(b[np.isfinite(b)])
            atol = rtol * float(np.clip(np.median(sizes), 0.1, 100)) if sizes.size else 0.0
        close = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return ""
    wrong = np.flatnonzero(~close)
    return f"{len(wrong)} of {a.size}, at {wrong[:4]}: {a.ravel()[wrong[:4]]} not {b.ravel()[wrong[:4]]}"
