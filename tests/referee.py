"""TensorFlow as referee: many small graphs, each in a session of its own, all in one TensorFlow process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from graphflow.graph import Graph
from graphflow.serialization.graph_def import graph_to_graph_def
from graphflow.serialization.proto.graph_pb2 import GraphDef

Array = np.ndarray[Any, Any]

# Cases stand one after another in a file: a line of JSON, then the graph that it announces. A graph for each: one
# operation without a kernel would stop all others of its graph. Rewriting by TensorFlow's own optimizer is off:
# kernels are compared, and hundreds of graphs take seconds. Answers are written one by one, so that those that were
# given stay if TensorFlow dies of the next; memory is limited, so that it is only TensorFlow that dies.
PROGRAM = """
import json, os, resource, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what operations print is no answer
config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
config.graph_options.rewrite_options.disable_meta_optimizer = True
config.graph_options.optimizer_options.opt_level = -1
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]), resource.RLIM_INFINITY))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def encoded(value):
    value = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    kind = value.dtype.name
    if kind == "object":
        value = np.array([item.hex() for item in value.ravel()], "U").reshape(value.shape)
    elif kind == "bfloat16":
        value = value.astype(np.float32)
    return kind, value

def judge(case, definition, feeds, found):
    with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(definition), name="")
        shapes = [graph.as_graph_element(name).shape for name in case["shapes"]]
        for i, names in enumerate(case["runs"]):
            fed = {name: feeds[key] for name, key in case["feeds"][i].items()}
            for j, value in enumerate(session.run(names, fed)):
                if value is not None:
                    found.append((i, j, *encoded(value)))
    return {"shapes": [None if shape.rank is None else shape.as_list() for shape in shapes]}

print("ready", file=answers, flush=True)
for line in sys.stdin:
    paths = json.loads(line)
    with open(paths[0], "rb") as file, np.load(paths[1]) as feeds, open(paths[2], "wb") as out:
        while header := file.readline():
            case = json.loads(header)
            definition = file.read(case["bytes"])
            print(case["id"], file=answers, flush=True)
            found = []
            try:
                told = judge(case, definition, feeds, found)
            except (tf.errors.OpError, ValueError, MemoryError) as error:
                told = {"error": getattr(error, "message", str(error)) or type(error).__name__}
                found = []
            told |= {"id": case["id"], "values": [part[:3] for part in found]}
            out.write(json.dumps(told).encode() + b"\\n")
            for part in found:
                np.save(out, part[3])
            out.flush()
    print("done", file=answers, flush=True)
"""


@dataclass
class Case:
    """A graph for TensorFlow to run.

    Attributes:
      graph: the graph, or a GraphDef where no graph of ours would hold it.
      runs: the names of what to fetch, one list per consecutive run of one session.
      feeds: what to feed by name, one mapping per run; empty: nothing.
      shapes: tensors whose static shapes TensorFlow shall tell.
    """

    graph: Graph | GraphDef
    runs: Sequence[Sequence[str]]
    feeds: Sequence[Mapping[str, Array]] = ()
    shapes: Sequence[str] = ()


def bytes_of(graph: Graph | GraphDef) -> bytes:
    """What both sides get of a graph."""
    return (graph_to_graph_def(graph) if isinstance(graph, Graph) else graph).SerializeToString()


@dataclass
class Verdict:
    """What TensorFlow made of a case.

    Attributes:
      error: what it refused it for; empty: it did not.
      death: what TensorFlow died of, or was stopped for, at this case; empty: nothing.
      values: what was fetched, per run; None at the place of an operation.
      shapes: the static shapes asked for, None for an unknown rank.
    """

    error: str = ""
    death: str = ""
    values: list[list[Any]] = field(default_factory=list)
    shapes: list[list[int | None] | None] = field(default_factory=list)

    @property
    def lacks_kernel(self) -> bool:
        """Whether TensorFlow knows the op but cannot run it like this on a CPU."""
        return any(text in self.error for text in LACKS_KERNEL)

    @property
    def lacks_memory(self) -> bool:
        """Whether TensorFlow needs more memory for it than it was given."""
        return any(text in self.error for text in LACKS_MEMORY)

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


LACKS_MEMORY = ("OOM when allocating", "MemoryError", "Unable to allocate", "std::bad_alloc")


def decoded(kind: str, value: Array) -> Array:
    if kind == "object":
        flat = [bytes.fromhex(item) for item in value.ravel()]
        result = np.empty(len(flat), object)
        result[:] = flat
        return result.reshape(value.shape)
    return value.astype(ml_dtypes.bfloat16) if kind == "bfloat16" else value


class Referee:
    """A TensorFlow process that judges cases until it is closed; if one kills it, another takes its place.

    Args:
      interpreter: one that has TensorFlow.
      folder: where cases and answers are written.
      patience: the seconds that one case may take.
      memory: the bytes that it may take beyond what TensorFlow takes when it is loaded.
    """

    def __init__(
        self, interpreter: str, folder: Path, patience: float = 120.0, memory: int = 4 * 2**30
    ) -> None:
        self._command = [interpreter, "-c", PROGRAM, str(memory)]
        self._folder = folder
        self._paths = [folder / name for name in ("cases.bin", "feeds.npz", "answers.bin")]
        self._patience = patience
        self._said = folder / "stderr.txt"
        self._start()

    def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
        }
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        self._heard = b""
        self._is_ready = False

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=30)

    def ask(self, cases: Mapping[str, Case]) -> dict[str, Verdict]:
        """Returns TensorFlow's verdict on every case."""
        left = dict(cases)
        result: dict[str, Verdict] = {}
        while left:
            ids = {str(i): name for i, name in enumerate(left)}
            self._write({key: left[name] for key, name in ids.items()})
            last, death = self._judge()
            told = self._told({key: left[name] for key, name in ids.items()})
            result |= {ids[key]: verdict for key, verdict in told.items()}
            if death:
                assert last in ids, f"the referee failed: {death}\n{self._said.read_text()[-4000:]}"
                result[ids[last]] = Verdict(death, death)
                self._start()
            left = {name: case for name, case in left.items() if name not in result}
        return {name: result[name] for name in cases}

    def _judge(self) -> tuple[str, str]:
        """Has the written cases judged; returns the case that was begun last, and what TensorFlow died of, if so."""
        assert self._process.stdin is not None
        if not self._is_ready:
            word, death = self._word()
            assert word == "ready", f"TensorFlow does not load: {death}\n{self._said.read_text()[-4000:]}"
            self._is_ready = True
        self._process.stdin.write(json.dumps([str(path) for path in self._paths]).encode() + b"\n")
        self._process.stdin.flush()
        last = ""
        while True:
            word, death = self._word()
            if death or word == "done":
                return last, death
            last = word

    def _word(self) -> tuple[str, str]:
        """Waits for the next line that TensorFlow says; the second part tells why none comes any more."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        # Turns of a second, not the clock: a machine that stands still says nothing against a case.
        waited = 0
        while b"\n" not in self._heard:
            if not select.select([pipe], [], [], 1.0)[0]:
                waited += 1
                if waited >= self._patience:
                    self._process.kill()
                    self._process.wait()
                    return "", f"it takes more than {self._patience:.0f} seconds"
                continue
            heard = os.read(pipe, 1 << 16)
            if not heard:
                code = self._process.wait()
                return (
                    "",
                    f"it dies of signal {signal.Signals(-code).name}" if code < 0 else f"it ends with {code}",
                )
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(), ""

    def _told(self, cases: Mapping[str, Case]) -> dict[str, Verdict]:
        """What TensorFlow has answered, by the ids of the cases."""
        result = {}
        with self._paths[2].open("rb") as file:
            for line in iter(file.readline, b""):
                if not line.endswith(b"\n"):
                    break  # it died while it was writing
                words = json.loads(line)
                case = cases[words["id"]]
                values: list[list[Any]] = [[None] * len(run) for run in case.runs]
                for run, position, kind in words["values"]:
                    values[run][position] = decoded(kind, np.load(file))
                error = words.get("error", "")
                result[words["id"]] = Verdict(error, "", [] if error else values, words.get("shapes", []))
        return result

    def _write(self, cases: Mapping[str, Case]) -> None:
        self._paths[2].write_bytes(b"")
        feeds: dict[str, Any] = {}
        with self._paths[0].open("wb") as file:
            for case_id, case in cases.items():
                keys: list[dict[str, str]] = [{} for _ in case.runs]
                for run, fed in enumerate(case.feeds):
                    for tensor, array in fed.items():
                        key = keys[run][tensor] = f"f{len(feeds)}"
                        feeds[key] = array
                definition = bytes_of(case.graph)
                header = {"id": case_id, "bytes": len(definition), "runs": [list(run) for run in case.runs],
                          "feeds": keys, "shapes": list(case.shapes)}  # fmt: skip
                file.write(json.dumps(header).encode() + b"\n" + definition)
        np.savez(self._paths[1], **feeds)


def difference(mine: Array, theirs: Array, rtol: float, atol: float | None = None) -> str:
    """Says how two arrays differ; empty: they agree.

    The absolute tolerance, where none is given, is relative to the size of a middling number of the array.
    """
    if mine.dtype.names:  # a quantized type: TensorFlow gives the integers
        mine = mine[mine.dtype.names[0]]
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
