"""`tf.profiler` against TensorFlow's, whose numbers and trees it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphflow as gf

BUILD = """
def build(tf):
    x = tf.placeholder(tf.float32, [8, 16, 16, 3], name="x")
    with tf.variable_scope("conv"):
        w = tf.get_variable("w", [3, 3, 3, 4], initializer=tf.zeros_initializer())
        b = tf.get_variable("b", [4], initializer=tf.zeros_initializer())
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"), b))
        y = tf.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        d = tf.get_variable("d", [3, 3, 4, 2], initializer=tf.zeros_initializer())
        y = tf.nn.avg_pool(tf.nn.depthwise_conv2d(y, d, [1, 1, 1, 1], "SAME"), [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    with tf.variable_scope("fc"):
        k = tf.get_variable("k", [128, 10], initializer=tf.zeros_initializer())
        z = tf.matmul(tf.reshape(y, [8, -1]), k)
        s = tf.get_variable("s", [10], trainable=False)
    p = tf.nn.softmax(z * s - 0.5)
    loss = tf.reduce_mean(tf.squared_difference(p, 1.0)) + 0.1 * tf.nn.l2_loss(k) + tf.reduce_sum(tf.log(p + 1e-6))
    best = tf.argmax(p, 1)
    batches = tf.matmul(tf.ones([2, 3, 4]), tf.ones([2, 4, 5]))
    tf.gradients(loss, [w, b, d, k])
    return best, batches
"""
ASK = """
def asked(tf):
    P = tf.profiler
    B = P.ProfileOptionBuilder
    some = B(B.float_operation()).with_node_names(hide_name_regexes=["gradients.*"], show_name_regexes=[".*fc.*"])
    return [
        ("scope", B.float_operation()), ("scope", B.trainable_variables_parameter()), ("op", B.float_operation()),
        ("op", B(B.float_operation()).with_accounted_types(["Conv2D.*", "MatMul"]).build()),
        ("scope", B(B.trainable_variables_parameter()).with_max_depth(1).build()), ("scope", some.build()),
        ("scope", B(B.float_operation()).order_by("name").account_displayed_op_only(False).build()),
    ]
def told(tf, graph):
    for cmd, options in asked(tf):
        root = tf.profiler.profile(graph, cmd=cmd, options=options)
        counted = root.total_parameters if "params" in options["select"] else 0
        print("ROOT", root.name, root.total_float_ops, counted, len(root.children))
"""
TF = (
    "import sys\nimport tensorflow.compat.v1 as tf\ntf.disable_v2_behavior()\n"
    + ASK
    + "tf.train.import_meta_graph(sys.argv[1])\ntold(tf, tf.get_default_graph())\n"
)


def lines(text: str) -> list[str]:
    """What is printed, less the sentences of explanation."""
    kept, is_doc = [], False
    for line in text.splitlines():
        is_doc = is_doc and bool(line)
        if not is_doc:
            kept.append(line.rstrip())
        is_doc = is_doc or line == "Doc:"
    begin = next(i for i, line in enumerate(kept) if "=Options=" in line)
    return kept[begin:]


@pytest.mark.tensorflow
def test_counts_are_tensorflows(
    tensorflow: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space: dict[str, object] = {}
    exec(BUILD + ASK, space)
    path = str(tmp_path / "graph.meta")
    with gf.Graph().as_default() as graph:
        space["build"](gf)  # type: ignore[operator]
        gf.train.export_meta_graph(path)
        capsys.readouterr()
        space["told"](gf, graph)  # type: ignore[operator]
    mine = lines(capsys.readouterr().out)
    theirs = lines(tensorflow(TF, path))
    assert mine == theirs


def test_times_of_a_traced_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with gf.Graph().as_default() as graph, gf.Session() as session:
        x = gf.placeholder(gf.float32, [64, 64], name="x")
        with gf.name_scope("deep"):
            y = gf.matmul(x, x, name="product")
        meta = gf.RunMetadata()
        options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
        session.run(y, {x: np.ones([64, 64])}, options, meta)
        build = gf.profiler.ProfileOptionBuilder.time_and_memory
        root = gf.profiler.profile(graph, meta, cmd="op", options=build(min_micros=0, min_bytes=0))
        assert root.total_exec_micros > 0 and "total execution time" in capsys.readouterr().out
        profiler = gf.profiler.Profiler(graph)
        profiler.add_step(3, meta)
        told = (
            gf.profiler.ProfileOptionBuilder(build(0, 0))
            .with_file_output(str(tmp_path / "told"))
            .with_step(3)
        )
        scopes = profiler.profile_name_scope(told.build())
        assert scopes.total_exec_micros == root.total_exec_micros
        assert "deep" in (tmp_path / "told").read_text() and not capsys.readouterr().out
        flow = profiler.profile_graph(gf.profiler.ProfileOptionBuilder.float_operation())
        assert flow.total_float_ops == 2 * 64**3
        with pytest.raises(ValueError, match="step 4"):
            profiler.profile_operations(told.with_step(4).build())
        with pytest.raises(ValueError, match="cmd"):
            gf.profiler.profile(graph, cmd="tree")
