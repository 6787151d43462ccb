"""Functions of files: the gradients that TensorFlow 1 asks for by the name of a function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphflow as gf

SOURCE = """
import sys
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function
from tensorflow.python.ops import functional_ops
tf.disable_eager_execution()
tf.disable_control_flow_v2()
@function.Defun(tf.float32, tf.float32, tf.int32)
def plain(x, y, i):
    return tf.sin(x) * y, tf.reduce_sum(x), i + 1
@function.Defun(tf.float32, tf.float32)
def tripled(x, dy):
    return 3 * x * dy
@function.Defun(tf.float32, grad_func=tripled)
def own(x):
    return x * x
x = tf.placeholder(tf.float32, [3], name="x")
a, b, i = plain(x, 2 * x, 1)
z = own(a) + b
grad = tf.gradients(z, [x])[0]
tf.identity(grad, name="grad")
graph = tf.get_default_graph().as_graph_def()
assert sum(node.op == "SymbolicGradient" for node in graph.node) == 2
open(sys.argv[1], "wb").write(graph.SerializeToString())
with tf.Session() as session:
    print("ANSWER", *session.run("grad:0", {x: [0.5, -1.0, 2.0]}))
"""


@pytest.mark.tensorflow
def test_symbolic_gradients_are_those_of_tensorflow(tensorflow: Callable[..., str], tmp_path: object) -> None:
    path = f"{tmp_path}/graph.pb"
    theirs = [float(text) for text in tensorflow(SOURCE, path).split("ANSWER")[1].split()]
    definition = gf.GraphDef()
    with open(path, "rb") as file:
        definition.ParseFromString(file.read())
    gf.import_graph_def(definition, name="")
    with gf.Session() as session:
        np.testing.assert_allclose(session.run("grad:0", {"x:0": [0.5, -1.0, 2.0]}), theirs, rtol=1e-5)
    for node in definition.node:
        if node.op == "SymbolicGradient":
            node.attr["f"].func.name = "nobody"
    with gf.Graph().as_default(), pytest.raises(ValueError, match="nobody"):
        gf.import_graph_def(definition, name="")
