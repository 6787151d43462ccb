"""TensorFlow reads what graphflow writes, and graphflow reads what TensorFlow writes.

TensorFlow runs in an interpreter of its own (GRAPHFLOW_TF_PYTHON), once for the whole file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import demo
from tests.tensorflow_process import TensorFlowProcess

pytestmark = pytest.mark.tensorflow

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)

REFEREE = r"""
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
tf1 = tf.compat.v1
ours, theirs = sys.argv[1:]
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
results = {}
for folder in ("resaved", "ref", "parts"):
    os.makedirs(theirs + "/" + folder)

# What graphflow wrote.
with tf.Graph().as_default(), tf1.Session() as sess:
    tf1.saved_model.loader.load(sess, ["serve"], ours + "/model")
    results["loader"] = sess.run("y:0", {"x:0": X})
    results["trainable"] = np.array([v.name for v in tf1.trainable_variables()])
results["load"] = tf.saved_model.load(ours + "/model").signatures["serving_default"](x=tf.constant(X))["y"].numpy()
with tf.Graph().as_default(), tf1.Session() as sess:
    saver = tf1.train.import_meta_graph(ours + "/sharded/m.meta")
    saver.restore(sess, ours + "/sharded/m")
    results["restored"] = sess.run("y:0", {"x:0": X})
    for _ in range(10):
        sess.run("step", {"x:0": X})
    results["trained"] = sess.run("y:0", {"x:0": X})
    saver.save(sess, theirs + "/resaved/m")
with tf.Graph().as_default(), tf1.Session() as sess:
    saver = tf1.train.import_meta_graph(ours + "/demo/m.meta")
    saver.restore(sess, ours + "/demo/m")
    data = np.load(ours + "/demo.npz")
    results["demo/losses"] = np.array([
        sess.run(["training/loss:0", "train"], {"images:0": images, "labels:0": labels})[0]
        for images, labels in zip(data["images"], data["labels"])
    ])
    for variable in tf1.global_variables():
        results["demo/" + variable.op.name] = sess.run(variable)
reader = tf.train.load_checkpoint(ours + "/dtypes")
for name in reader.get_variable_to_shape_map():
    value = reader.get_tensor(name)
    results["dtype/" + name] = value.astype(np.float32) if name == "bfloat16" else value

# What TensorFlow writes.
with tf.Graph().as_default(), tf1.Session() as sess:
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    w = tf1.Variable(np.ones((3, 2), np.float32), name="w", use_resource=False)
    b = tf1.get_variable("b", [2], initializer=tf1.zeros_initializer(), use_resource=False)
    y = tf.identity(tf.matmul(x, w) + b, name="y")
    loss = tf.reduce_mean(tf.square(y - 1.0), name="loss")
    step = tf1.Variable(0, name="global_step", trainable=False, use_resource=False, dtype=tf.int64)
    train = tf1.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
    scatter = tf1.scatter_add(b, [0, 0], [1.0, 2.0], name="scatter")
    sess.run(tf1.global_variables_initializer())
    sess.run(train, {x: X})
    tf1.train.Saver().save(sess, theirs + "/ref/m")
    sess.run(train, {x: X})
    results["ref"] = sess.run(w)
    results["ref/scatter"] = sess.run(scatter)
with tf.Graph().as_default(), tf1.Session() as sess:
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    w = tf1.get_variable("w", [3, 2], initializer=tf1.ones_initializer(), use_resource=True)
    y = tf.matmul(x, w)
    sess.run(tf1.global_variables_initializer())
    tf1.saved_model.simple_save(sess, theirs + "/model1", {"x": x}, {"y": y})
class Model(tf.Module):
    def __init__(self):
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
        self.layers = [tf.Variable([1.0, 2.0]), tf.Variable([0.5, 0.5])]
    @tf.function
    def inner(self, h, i):
        return h * self.layers[i]
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def __call__(self, x):
        h = tf.matmul(x, self.w)
        return {"h": h, "y": self.inner(self.inner(h, 0), 1)}
model = Model()
tf.saved_model.save(model, theirs + "/model2", signatures=model.__call__)
results["model2"] = model(X)["y"].numpy()
with tf.Graph().as_default(), tf1.Session() as sess:
    big = tf1.get_variable("big", [7, 3], initializer=tf1.random_normal_initializer(),
                           partitioner=tf1.fixed_size_partitioner(3), use_resource=True)
    texts = tf1.get_variable("texts", initializer=tf.constant([b"one", b"\xff" * 300]), use_resource=False)
    sess.run(tf1.global_variables_initializer())
    tf1.train.Saver().save(sess, theirs + "/parts/m")
    results["big"] = sess.run(tf.convert_to_tensor(big))
np.savez(theirs + "/results.npz", **results)
"""


def build_model() -> tuple[Any, Any, Any]:
    x = gf.placeholder(gf.float32, [None, 3], name="x")
    w = gf.Variable(np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2), name="w")
    b = gf.Variable(np.zeros(2, np.float32), name="b")
    y = gf.identity(gf.matmul(x, w) + b, name="y")
    loss = gf.reduce_mean(gf.square(y - 1.0))
    step = gf.train.AdamOptimizer(0.05).minimize(loss, name="step")
    return x, y, step


def dtype_tensors() -> dict[str, np.ndarray[Any, Any]]:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        dtype.name: np.arange(-2, 4).astype(dtype.as_numpy_dtype).reshape(2, 3)
        for dtype in (gf.float16, gf.float32, gf.float64, gf.bfloat16, gf.int8, gf.int16, gf.int32, gf.int64,
                      gf.complex64, gf.complex128)
    }  # fmt: skip
    for dtype in (gf.uint8, gf.uint16, gf.uint32, gf.uint64):
        tensors[dtype.name] = np.arange(6).astype(dtype.as_numpy_dtype)
    tensors["bool"] = np.array([True, False])
    tensors["strings"] = np.array([b"", b"a\xff", b"x" * 1000], object)
    return tensors


def train_the_demo(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Ten steps of the demo's net, from a checkpoint that TensorFlow starts from as well."""
    digits = demo.load()
    images = digits.train_images[: 10 * demo.BATCH].reshape(10, demo.BATCH, 8, 8, 1)
    labels = digits.train_labels[: 10 * demo.BATCH].reshape(10, demo.BATCH)
    np.savez(folder / "demo.npz", images=images, labels=labels)
    with gf.Graph().as_default(), gf.Session() as sess:
        net = demo.build()
        sess.run(gf.global_variables_initializer())
        gf.train.Saver().save(sess, str(folder / "demo" / "m"))
        losses = [
            sess.run([net.loss, net.train], {net.images: batch, net.labels: wanted})[0]
            for batch, wanted in zip(images, labels, strict=True)
        ]
        after = {variable.op.name: sess.run(variable) for variable in gf.global_variables()}
    return after | {"losses": np.array(losses)}


@pytest.fixture(scope="module")
def exchange(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_process: TensorFlowProcess
) -> dict[str, Any]:
    from graphflow.serialization.tensor_bundle import write_bundle

    ours: Path = tmp_path_factory.mktemp("ours")
    theirs: Path = tmp_path_factory.mktemp("theirs")
    with gf.Graph().as_default(), gf.Session() as sess:
        x, y, step = build_model()
        sess.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(sess, str(ours / "model"), {"x": x}, {"y": y})
        gf.train.Saver(sharded=True).save(sess, str(ours / "sharded" / "m"))
        before = sess.run(y, {x: X})
        for _ in range(10):
            sess.run(step, {x: X})
        after = sess.run(y, {x: X})
    write_bundle(ours / "dtypes", dtype_tensors())
    with pytest.MonkeyPatch.context() as patch:
        # Adam makes much of small gradients' roundings: of Winograd's products the more exact ones.
        patch.setenv("GRAPHFLOW_WINOGRAD", "2")
        demo_after = train_the_demo(ours)
    tensorflow_process.run(REFEREE, ours, theirs, folder=theirs)
    results = np.load(theirs / "results.npz", allow_pickle=True)
    return {"before": before, "after": after, "theirs": theirs, "results": dict(results), "demo": demo_after}


def test_tensorflow_loads_our_model(exchange: dict[str, Any]) -> None:
    results = exchange["results"]
    for how in ("loader", "load", "restored"):
        np.testing.assert_allclose(results[how], exchange["before"], rtol=1e-6, atol=1e-6)
    assert results["trainable"].tolist() == ["w:0", "b:0"]


def test_tensorflow_trains_our_graph_the_same(exchange: dict[str, Any]) -> None:
    np.testing.assert_allclose(exchange["results"]["trained"], exchange["after"], rtol=1e-5, atol=1e-5)


def test_tensorflow_trains_the_demo_the_same(exchange: dict[str, Any]) -> None:
    """Convolutions, batch norm, dropout's random numbers, cross entropy and Adam: ten steps, every variable."""
    ours, theirs = exchange["demo"], exchange["results"]
    np.testing.assert_allclose(theirs["demo/losses"], ours["losses"], rtol=1e-5, atol=1e-5)
    for name, value in ours.items():
        apart = np.abs(theirs[f"demo/{name}"] - value) > 1e-5 + 1e-5 * np.abs(value)
        # Where a gradient is nearly zero, Adam divides rounding by rounding: a few weights may differ more.
        assert apart.mean() < 1e-4, name
        np.testing.assert_allclose(theirs[f"demo/{name}"], value, atol=1e-3, err_msg=name)


def test_tensorflow_reads_every_dtype(exchange: dict[str, Any]) -> None:
    for name, array in dtype_tensors().items():
        got = exchange["results"][f"dtype/{name}"]
        assert got.shape == array.shape
        assert got.tolist() == (array.astype(np.float32) if name == "bfloat16" else array).tolist(), name


def test_we_restore_what_tensorflow_saved_of_our_graph(exchange: dict[str, Any]) -> None:
    prefix = str(exchange["theirs"] / "resaved" / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        saver = gf.train.import_meta_graph(prefix + ".meta")
        assert saver is not None
        saver.restore(sess, prefix)
        np.testing.assert_allclose(sess.run("y:0", {"x:0": X}), exchange["after"], rtol=1e-5, atol=1e-5)
    assert gf.train.latest_checkpoint(str(exchange["theirs"] / "resaved")) == prefix


def test_reference_variables_become_resources(exchange: dict[str, Any]) -> None:
    prefix = str(exchange["theirs"] / "ref" / "m")
    with gf.Graph().as_default() as graph, gf.Session() as sess:
        saver = gf.train.import_meta_graph(prefix + ".meta")
        assert saver is not None
        assert not {op.type for op in graph.get_operations()} & {"VariableV2", "Assign", "ApplyAdam"}
        assert [v.name for v in gf.trainable_variables()] == ["w:0", "b:0"]
        saver.restore(sess, prefix)
        train = gf.get_collection("train_op")[0]
        sess.run(train, {"x:0": X})
        np.testing.assert_allclose(sess.run("w:0"), exchange["results"]["ref"], rtol=1e-5, atol=1e-6)
        assert sess.run("global_step:0") == 2
        np.testing.assert_allclose(
            sess.run("scatter:0"), exchange["results"]["ref/scatter"], rtol=1e-5, atol=1e-6
        )
        sess.run(gf.global_variables_initializer())
        assert sess.run("w:0").tolist() == [[1, 1]] * 3


def test_graph_mode_model(exchange: dict[str, Any]) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        model = gf.saved_model.load(sess, ["serve"], str(exchange["theirs"] / "model1"))
        signature = model.signature_def["serving_default"]
        got = sess.run(signature.outputs["y"].name, {signature.inputs["x"].name: X})
        np.testing.assert_allclose(got, X @ np.ones((3, 2)), rtol=1e-6, atol=1e-6)


def test_functions_of_a_tensorflow_2_model_are_put_in_place(exchange: dict[str, Any]) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        model = gf.saved_model.load(sess, ["serve"], str(exchange["theirs"] / "model2"))
        signature = model.signature_def["serving_default"]
        got = sess.run(signature.outputs["y"].name, {signature.inputs["x"].name: X})
        np.testing.assert_allclose(got, exchange["results"]["model2"], rtol=1e-6, atol=1e-6)


def test_partitioned_variables_and_strings(exchange: dict[str, Any]) -> None:
    folder = str(exchange["theirs"] / "parts")
    assert gf.train.list_variables(folder) == [("big", [7, 3]), ("texts", [2])]
    assert gf.train.load_variable(folder, "big").tolist() == exchange["results"]["big"].tolist()
    assert gf.train.load_variable(folder, "texts:0").tolist() == [b"one", b"\xff" * 300]
