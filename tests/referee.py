"""TensorFlow as referee: many small graphs, each in a session of its own, all in one TensorFlow process."""

from __future__ import annotations

import base64
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

# Cases stand one after another in a file: a line of JSON, then the graph that it announces. Most share a session, each
# under a prefix of its own; where a run of several fails, halves are run, so that an operation that is refused stops no
# other. Cases with state, feeds or functions have sessions of their own. TensorFlow's own optimizer is off:
# kernels are compared, and hundreds of graphs take seconds. Answers are written block by block, so that those that were
# given stay if TensorFlow dies of the next; memory is limited, so that it is only TensorFlow that dies.
PROGRAM = """
import base64, inspect, json, os, resource, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what operations print is no answer
config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
config.graph_options.rewrite_options.disable_meta_optimizer = True
config.graph_options.optimizer_options.opt_level = -1
config.graph_options.place_pruned_graph = True
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]), resource.RLIM_INFINITY))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
REFUSES = (tf.errors.OpError, ValueError, MemoryError)
TOGETHER = 12

def encoded(value):
    value = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    kind = value.dtype.name
    if kind == "object":
        value = np.array([item.hex() for item in value.ravel()], "U").reshape(value.shape)
    elif kind == "bfloat16":
        value = value.astype(np.float32)
    return kind, value

def refusal(error):
    return {"error": getattr(error, "message", str(error)) or type(error).__name__}

def written(definition):
    # The same graph as TensorFlow's own functions make it.
    with tf.Graph().as_default() as model:
        tf.import_graph_def(definition, name="")
    made = {}
    with tf.Graph().as_default() as graph:
        for op in model.get_operations():
            if op.type == "Const":
                tf.constant(tf.make_ndarray(op.get_attr("value")), op.get_attr("dtype"), name=op.name)
            else:
                if not hasattr(tf.raw_ops, op.type):
                    raise ValueError(f"tf.raw_ops has no {op.type}")
                function = getattr(tf.raw_ops, op.type)
                takes = inspect.signature(function).parameters
                known = {part.name for part in (*op.op_def.input_arg, *op.op_def.attr)}
                renamed = iter([name for name in takes if name not in known and name != "name"])
                tensors = iter([made[tensor.name] for tensor in op.inputs])
                given = {}
                for arg in op.op_def.input_arg:
                    name = arg.name if arg.name in takes else next(renamed)
                    if arg.number_attr:
                        given[name] = [next(tensors) for _ in range(op.get_attr(arg.number_attr))]
                    elif arg.type_list_attr:
                        given[name] = [next(tensors) for _ in op.get_attr(arg.type_list_attr)]
                    else:
                        given[name] = next(tensors)
                for attr in op.op_def.attr:
                    if attr.name in takes and attr.name not in given:
                        given[attr.name] = op.get_attr(attr.name)
                with tf.control_dependencies([graph.get_operation_by_name(o.name) for o in op.control_inputs]):
                    function(**given, name=op.name)
            again = graph.get_operation_by_name(op.name)
            made.update(zip([tensor.name for tensor in op.outputs], again.outputs))
    return graph.as_graph_def()

def judge(block, feeds, out):
    with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
        loaded = []
        for case, definition in block:
            print(case["id"], file=answers, flush=True)
            under = case["id"] + "/" if len(block) > 1 else ""
            try:
                proto = tf.GraphDef.FromString(definition)
                if case["again"]:
                    proto = written(proto)
                    case["graph"] = base64.b64encode(proto.SerializeToString()).decode()
                tf.import_graph_def(proto, name=under[:-1])
                shapes = [graph.as_graph_element(under + name).shape for name in case["shapes"]]
            except REFUSES as error:
                tell(case, refusal(error), [], out)
            else:
                loaded.append((case, under, [None if s.rank is None else s.as_list() for s in shapes]))
        if loaded:
            run(session, loaded, feeds, out)

def run(session, loaded, feeds, out):
    print(*(case["id"] for case, _, _ in loaded), file=answers, flush=True)
    try:
        found = [[] for _ in loaded]
        for i in range(max(len(case["runs"]) for case, _, _ in loaded)):
            fetches, fed = [], {}
            for case, under, _ in loaded:
                fetches.append([under + name for name in case["runs"][i]] if i < len(case["runs"]) else [])
                if i < len(case["feeds"]):
                    fed.update((under + name, feeds[key]) for name, key in case["feeds"][i].items())
            if any(fetches):
                for own, values in zip(found, session.run(fetches, fed)):
                    own.extend((i, j, *encoded(v)) for j, v in enumerate(values) if v is not None)
    except REFUSES as error:
        if len(loaded) == 1:
            return tell(loaded[0][0], refusal(error), [], out)
        middle = len(loaded) // 2
        run(session, loaded[:middle], feeds, out)
        run(session, loaded[middle:], feeds, out)
    else:
        for (case, _, shapes), own in zip(loaded, found):
            tell(case, {"shapes": shapes}, own, out)

def tell(case, told, found, out):
    told |= {"id": case["id"], "values": [part[:3] for part in found], "graph": case.get("graph", "")}
    out.write(json.dumps(told).encode() + b"\\n")
    for part in found:
        np.save(out, part[3])
    out.flush()

print("ready", file=answers, flush=True)
for line in sys.stdin:
    paths = json.loads(line)
    with open(paths[0], "rb") as file, np.load(paths[1]) as feeds, open(paths[2], "wb") as out:
        block = []
        while header := file.readline():
            case = json.loads(header)
            item = case, file.read(case["bytes"])
            if case["alone"]:
                judge([item], feeds, out)
            else:
                block.append(item)
            if len(block) == TOGETHER:
                judge(block, feeds, out)
                block = []
        if block:
            judge(block, feeds, out)
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
      again: whether TensorFlow's own functions shall write the graph anew, which is then run.
      alone: whether it gets a session of its own, because it is likely to fail.
    """

    graph: Graph | GraphDef
    runs: Sequence[Sequence[str]]
    feeds: Sequence[Mapping[str, Array]] = ()
    shapes: Sequence[str] = ()
    again: bool = False
    alone: bool = False


def definition_of(graph: Graph | GraphDef) -> GraphDef:
    """What both sides get of a graph."""
    return graph_to_graph_def(graph) if isinstance(graph, Graph) else graph


def has_to_be_alone(definition: GraphDef) -> bool:
    """Whether a graph does not bear others in its session: its functions or states have names, or names are values."""
    return bool(definition.library.function) or any(
        "shared_name" in node.attr or "container" in node.attr or "Summary" in node.op
        for node in definition.node
    )


@dataclass
class Verdict:
    """What TensorFlow made of a case.

    Attributes:
      error: what it refused it for; empty: it did not.
      death: what TensorFlow died of, or was stopped for, at this case; empty: nothing.
      values: what was fetched, per run; None at the place of an operation.
      shapes: the static shapes asked for, None for an unknown rank.
      graph: what its own functions have written, where that was asked for.
    """

    error: str = ""
    death: str = ""
    values: list[list[Any]] = field(default_factory=list)
    shapes: list[list[int | None] | None] = field(default_factory=list)
    graph: bytes = b""

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

    def _drop_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """Ends the process; one that nothing was asked of may still be loading."""
        if not self._is_ready:
            self._process.kill()
        self._process.communicate(timeout=120)

    def ask(self, cases: Mapping[str, Case], deaths: int | None = None) -> dict[str, Verdict]:
        """Returns TensorFlow's verdict on every case.

        Args:
          cases: by name.
          deaths: after how many that kill TensorFlow, which takes seconds to come back, the rest is given up.
        """
        left = dict(cases)
        alone: set[str] = set()  # one of them kills TensorFlow
        result: dict[str, Verdict] = {}
        while left:
            ids = {f"c{i}": name for i, name in enumerate(left)}
            self._write(
                {key: left[name] for key, name in ids.items()}, {key for key, n in ids.items() if n in alone}
            )
            last, death = self._judge()
            told = self._told({key: left[name] for key, name in ids.items()})
            result |= {ids[key]: verdict for key, verdict in told.items()}
            if death:
                begun = [ids[key] for key in last.split()]
                assert begun, f"the referee failed: {death}\n{self._said.read_text()[-4000:]}"
                if len(begun) == 1:
                    result[begun[0]] = Verdict(death, death)
                alone.update(begun)
                self._drop_pipes()
                self._start()
            left = {name: case for name, case in left.items() if name not in result}
            if deaths is not None and sum(bool(verdict.death) for verdict in result.values()) >= deaths:
                given_up = "not tried, after others of its kind"
                result |= {name: Verdict(given_up, given_up) for name in left}
                left = {}
        return {name: result[name] for name in cases}

    def _judge(self) -> tuple[str, str]:
        """Has the written cases judged; returns the ids of those begun last, and what TensorFlow died of, if so."""
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
                result[words["id"]] = Verdict(
                    error,
                    "",
                    [] if error else values,
                    words.get("shapes", []),
                    base64.b64decode(words["graph"]),
                )
        return result

    def _write(self, cases: Mapping[str, Case], alone: set[str]) -> None:
        self._paths[2].write_bytes(b"")
        feeds: dict[str, Any] = {}
        with self._paths[0].open("wb") as file:
            for case_id, case in cases.items():
                keys: list[dict[str, str]] = [{} for _ in case.runs]
                for run, fed in enumerate(case.feeds):
                    for tensor, array in fed.items():
                        key = keys[run][tensor] = f"f{len(feeds)}"
                        feeds[key] = array
                definition = definition_of(case.graph)
                content = definition.SerializeToString()
                own = (
                    case.alone
                    or case.again
                    or case_id in alone
                    or bool(case.feeds)
                    or has_to_be_alone(definition)
                )
                header = {"id": case_id, "bytes": len(content), "runs": [list(run) for run in case.runs],
                          "feeds": keys, "shapes": list(case.shapes), "alone": own, "again": case.again}  # fmt: skip
                file.write(json.dumps(header).encode() + b"\n" + content)
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
    # Memory that TensorFlow has not written may hold signaling NaNs, and to widen them warns.
    with np.errstate(all="ignore"):
        a, b = mine.astype(wide), theirs.astype(wide)
        if atol is None:
            sizes = np.abs(b[np.isfinite(b)])
            atol = rtol * float(np.clip(np.median(sizes), 0.1, 100)) if sizes.size else 0.0
        close = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return ""
    wrong = np.flatnonzero(~close)
    return f"{len(wrong)} of {a.size}, at {wrong[:4]}: {a.ravel()[wrong[:4]]} not {b.ravel()[wrong[:4]]}"
