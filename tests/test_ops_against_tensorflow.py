"""TensorFlow as referee of what each op means: the samples' operations, saved as one GraphDef, run by TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow.ops  # noqa: F401 - registers the ops
from graphflow.dtypes import as_dtype
from graphflow.graph import Graph
from graphflow.opdef import constant, emit_operation, registered_ops
from tests.samples import Array, Sample, all_samples

OPS = registered_ops()
TABLE = {
    op_type: [sample for sample in listed if sample.exact]
    for op_type, listed in all_samples().items()
    if not OPS[op_type].effects
}

# Where graphflow means another thing on purpose, or what TensorFlow leaves open.
APART = {
    "Empty": "uninitialised memory",
    "BroadcastGradientArgs": "several answers are right",
    "Cast": "out of range is undefined in C++",
    "DeepCopy": "TensorFlow counts it as stateful",
}
# What TensorFlow gets wrong on a CPU, by op and name of the sample, dtype of its first input, or trait.
WRONG = {
    ("DepthwiseConv2dNativeBackpropFilter", "dilated"): "takes no notice of dilations",
    ("DepthwiseConv2dNativeBackpropInput", "dilated"): "takes no notice of dilations",
    ("Erf", "special"): "NaN for infinities in float64",
    ("MaxPool", "NaN"): "loses NaN",
    ("Round", "int32"): "zeros",
    ("Round", "int64"): "zeros",
}

RUN = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
definition = tf.GraphDef()
definition.ParseFromString(open(sys.argv[1], "rb").read())
nodes = {node.name: node for node in definition.node}
found, failed = {}, {}
for name in json.load(open(sys.argv[2])):
    # A graph for each: one operation without a kernel would stop all others of its graph.
    part = tf.GraphDef(versions=definition.versions)
    part.node.extend([nodes[name], *(nodes[x.split(":")[0]] for x in dict.fromkeys(nodes[name].input))])
    try:
        with tf.Graph().as_default() as graph, tf.Session() as session:
            tf.import_graph_def(part, name="")
            results = session.run(list(graph.get_operation_by_name(name).outputs))
    except (tf.errors.OpError, ValueError) as error:
        failed[name] = str(error).strip().splitlines()[0]
        continue
    for i, value in enumerate(results):
        value = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
        if value.dtype == object:
            value = np.array([v.hex() for v in value.ravel()], "U").reshape(value.shape)
        elif value.dtype.name == "bfloat16":
            value = value.astype(np.float32)
        found[f"{name}:{i}"] = value
np.savez(sys.argv[3], **found)
json.dump(failed, open(sys.argv[4], "w"))
"""

TOLERANCE = {
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "float32": 2e-5,
    "float64": 1e-9,
    "complex64": 3e-5,
    "complex128": 1e-9,
}


def flushed(array: Array) -> Array:
    """TensorFlow takes subnormal numbers for zeros; they are out of the comparison."""
    if array.dtype.kind != "f" or array.size == 0:
        return array
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, np.copysign(0, array), array).astype(
        array.dtype
    )


def arguments(sample: Sample) -> list[Any]:
    return [[flushed(a) for a in item] if isinstance(item, list) else flushed(item) for item in sample.inputs]


def sample_graph() -> tuple[Graph, dict[str, tuple[str, Sample]]]:
    """A graph with one operation per sample, on constants."""
    graph = Graph()
    cases: dict[str, tuple[str, Sample]] = {}
    with graph.as_default():
        for op_type, listed in sorted(TABLE.items()):
            if op_type in APART or not OPS[op_type].outputs:
                continue
            for i, sample in enumerate(listed):
                name = f"{op_type}_{i}"
                inputs = [
                    [constant(a, as_dtype(a.dtype)) for a in item] if isinstance(item, list)
                    else constant(item, as_dtype(item.dtype))
                    for item in arguments(sample)
                ]  # fmt: skip
                emit_operation(OPS[op_type], inputs, dict(sample.attrs), name)
                cases[name] = (op_type, sample)
    return graph, cases


def comparable(value: Array) -> Array:
    if value.dtype == object:
        return np.array([item.hex() for item in value.ravel()], "U").reshape(value.shape)
    return value.astype(np.float32) if value.dtype.name == "bfloat16" else value


def difference(mine: Array, theirs: Array, rtol: float) -> str:
    if mine.shape != theirs.shape:
        return f"shape {mine.shape}, TensorFlow's {theirs.shape}"
    if mine.dtype.kind not in "fc":
        return "" if np.array_equal(mine, theirs) else f"{mine.ravel()[:8]} not {theirs.ravel()[:8]}"
    if np.allclose(mine, theirs, rtol=rtol, atol=rtol, equal_nan=True):
        return ""
    wrong = np.flatnonzero(~np.isclose(mine, theirs, rtol=rtol, atol=rtol, equal_nan=True))[:4]
    return f"at {wrong}: {mine.ravel()[wrong]} not {theirs.ravel()[wrong]}"


def traits(sample: Sample, flat: list[Array]) -> list[str]:
    dilated = max(sample.attrs.get("dilations", [1])) > 1
    return [sample.name, flat[0].dtype.name if flat else "", "dilated" if dilated else ""]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_bodies_mean_what_tensorflow_means(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    from graphflow.serialization.graph_def import graph_to_graph_def

    graph, cases = sample_graph()
    files = [tmp_path / name for name in ("graph.pb", "names.json", "values.npz", "failed.json")]
    files[0].write_bytes(graph_to_graph_def(graph).SerializeToString())
    files[1].write_text(json.dumps(list(cases)))
    tensorflow(RUN, *files)
    values: Any = np.load(files[2])
    refused: dict[str, str] = json.loads(files[3].read_text())
    problems = []
    for name, (op_type, sample) in cases.items():
        if name in refused:
            continue
        operation = graph.get_operation_by_name(name)
        with np.errstate(all="ignore"):
            flat = [a for item in arguments(sample) for a in (item if isinstance(item, list) else [item])]
            results = OPS[op_type].run(flat, operation.attrs)
        if any((op_type, trait) in WRONG for trait in traits(sample, flat)):
            continue
        for i, result in enumerate(results):
            if op_type.startswith("FusedBatchNorm") and i >= 3:
                continue  # reserved for the device's own gradient
            rtol = max(TOLERANCE.get(result.dtype.name, 0.0), sample.rtol or 0.0)
            found = difference(comparable(result), values[f"{name}:{i}"], rtol)
            if found:
                problems.append(f"{name} {sample.name!r} output {i}: {found}")
    # TensorFlow has no kernel for some dtypes on a CPU; it must not be many.
    print("\n".join(f"refused {name}: {message}" for name, message in refused.items()))
    assert len(refused) < len(cases) // 8
    assert not problems, "\n".join(problems)
