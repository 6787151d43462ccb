"""TensorFlow as referee: many small graphs, each in a session of its own, all in one TensorFlow process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
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

arrays, verdicts, feeds = {}, {}, np.load(sys.argv[2])
with open(sys.argv[1], "rb") as file:
    while header := file.readline():
        case = json.loads(header)
        definition = tf.GraphDef.FromString(file.read(case["bytes"]))
        try:
            with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
                tf.import_graph_def(definition, name="")
                ranks = [graph.as_graph_element(name).shape for name in case["shapes"]]
                kinds = []
                for i, names in enumerate(case["runs"]):
                    fed = {name: feeds[key] for name, key in case["feeds"][i].items()}
                    values = [encoded(v) if v is not None else None for v in session.run(names, fed)]
                    for j, found in enumerate(values):
                        if found is not None:
                            arrays[f"{case['id']}/{i}/{j}/{found[0]}"] = found[1]
            shapes = [None if shape.rank is None else shape.as_list() for shape in ranks]
            verdicts[case["id"]] = {"shapes": shapes}
        except (tf.errors.OpError, ValueError) as error:
            verdicts[case["id"]] = {"error": getattr(error, "message", str(error))}
np.savez(sys.argv[3], **arrays)
json.dump(verdicts, open(sys.argv[4], "w"))
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


def ask(tensorflow: Callable[..., str], folder: Path, cases: Mapping[str, Case]) -> dict[str, Verdict]:
    """Has TensorFlow run every case; `tensorflow` is the fixture."""
    paths = [folder / name for name in ("cases.bin", "feeds.npz", "values.npz", "verdicts.json")]
    feeds: dict[str, Any] = {}
    ids = {name: str(i) for i, name in enumerate(cases)}
    with paths[0].open("wb") as file:
        for name, case in cases.items():
            keys: list[dict[str, str]] = [{} for _ in case.runs]
            for run, fed in enumerate(case.feeds):
                for tensor, array in fed.items():
                    key = keys[run][tensor] = f"f{len(feeds)}"
                    feeds[key] = array
            definition = graph_to_graph_def(case.graph).SerializeToString()
            header = {"id": ids[name], "bytes": len(definition), "runs": [list(run) for run in case.runs],
                      "feeds": keys, "shapes": list(case.shapes)}  # fmt: skip
            file.write(json.dumps(header).encode() + b"\n" + definition)
    np.savez(paths[1], **feeds)
    tensorflow(PROGRAM, *paths)
    found: dict[str, dict[tuple[int, int], Array]] = {}
    with np.load(paths[2]) as values:
        for key in values.files:
            case_id, run, position, kind = key.split("/")
            found.setdefault(case_id, {})[int(run), int(position)] = decoded(kind, values[key])
    verdicts = {}
    for name, told in json.loads(paths[3].read_text()).items():
        verdicts[name] = Verdict(told.get("error", ""), [], told.get("shapes", []))
    result = {}
    for name, case in cases.items():
        verdict = result[name] = verdicts[ids[name]]
        if not verdict.error:
            own = found.get(ids[name], {})
            verdict.values = [[own.get((i, j)) for j in range(len(run))] for i, run in enumerate(case.runs)]
    return result


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
