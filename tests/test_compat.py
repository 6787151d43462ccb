"""TensorFlow's other names: deep paths, what is planned, `import tensorflow`; flags and data of programs."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

PATHS = [
    ("ops.array_ops.concat", gf.concat), ("ops.math_ops.less", gf.less), ("framework.dtypes.int32", gf.int32),
    ("framework.ops.Tensor", gf.Tensor), ("ops.nn.relu", gf.nn.relu), ("ops.rnn.dynamic_rnn", gf.nn.dynamic_rnn),
    ("ops.rnn_cell.LSTMCell", gf.nn.rnn_cell.LSTMCell), ("util.nest.flatten", gf.nest.flatten),
    ("ops.variable_scope.get_variable", gf.get_variable), ("util.compat.as_bytes", gf.compat.as_bytes),
    ("layers.core.Dense", gf.layers.Dense), ("ops.gradients.gradients", gf.gradients),
    ("ops.init_ops.zeros_initializer", gf.zeros_initializer), ("platform.tf_logging.info", gf.logging.info),
    ("framework.errors.OutOfRangeError", gf.errors.OutOfRangeError), ("tf2.enabled", gf.executing_eagerly),
]  # fmt: skip


@pytest.mark.parametrize(("path", "thing"), PATHS)
def test_deep_paths_lead_to_public_things(path: str, thing: Any) -> None:
    assert gf.compat.public_path(f"python.{path}") is thing


def test_bytes_and_text() -> None:
    assert gf.compat.as_bytes("é") == b"\xc3\xa9" and gf.compat.as_text(b"\xc3\xa9") == "é"
    assert gf.compat.as_str_any(3) == "3" and gf.compat.path_to_str(Path("a")) == "a"
    with pytest.raises(TypeError, match="Expected binary or unicode string, got 3"):
        gf.compat.as_bytes(3)
    assert gf.compat.v1.Session is gf.Session
    assert gf.compat.dimension_value(gf.Dimension(3)) == 3


def test_what_is_missing_says_why_and_what_to_use() -> None:
    assert gf.compat.status("tf.nn.relu").state == "here"
    assert gf.compat.status("tf.contrib.tpu.TPUEstimator").state == "here"
    assert gf.compat.status("tf.contrib.tpu.rewrite").state == "out of scope"
    assert gf.compat.status("tf.contrib.layers.flatten").state == "here"
    assert gf.compat.status("tf.never_heard_of").state == "unknown"
    with pytest.raises(AttributeError, match="did you mean graphflow.layers.dense"):
        gf.layers.dens  # noqa: B018
    with pytest.raises(AttributeError, match="array_ops.foo is planned.* use the public name"):
        gf.python.ops.array_ops.foo  # noqa: B018


PROGRAM = """
from __future__ import print_function
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tensorflow.keras.layers
from tensorflow.contrib.framework.python.ops import arg_scope
from tensorflow.contrib.framework.python.ops.arg_scope import add_arg_scope
from tensorflow.contrib.learn.python.learn.datasets.mnist import read_data_sets
from tensorflow.contrib.legacy_seq2seq.python.ops import seq2seq
from tensorflow.contrib.seq2seq.python.ops.attention_wrapper import BahdanauAttention, _bahdanau_score
from tensorflow.core.framework import summary_pb2
from tensorflow.examples.tutorials.mnist import input_data
from tensorflow.python.client import device_lib
from tensorflow.python.ops import array_ops
flags = tf.app.flags
flags.DEFINE_string("name", "nobody", "a name")
flags.DEFINE_integer(flag_name="steps", default_value=3, docstring="a count")
flags.DEFINE_boolean("loud", False, "a switch")
FLAGS = flags.FLAGS
@add_arg_scope
def double(x, by=2):
    return x * by
with arg_scope([double], by=3):
    assert double(2) == 6 and seq2seq.rnn_decoder and read_data_sets and BahdanauAttention
print(FLAGS.steps, tf1 is tf, array_ops.shape is tf.shape, device_lib.list_local_devices()[0].name)
def main(argv):
    print(__name__, argv[1:], FLAGS.name, FLAGS.steps, FLAGS.loud, FLAGS.flag_values_dict()["steps"],
          FLAGS.__flags["name"].value)
    assert tf.__version__ == tf.VERSION == tf.version.VERSION == tf.compat.v1.__version__ == tf1.__version__
    assert int(tf.__version__.split(".")[0]) == 1 and tf1.constant is tf.constant
    FLAGS.steps = 8
    print(FLAGS.steps, tf.layers.__name__, summary_pb2.Summary.__name__)
    try:
        import tensorflow.contrib.tensor_forest
    except ImportError as error:
        print(error)
if __name__ == "__main__":
    tf.app.run()
"""


def test_a_program_of_tensorflow_runs_unchanged(tmp_path: Path, fresh_python: Callable[..., str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    start = "import sys; from graphflow.cli import main; sys.argv = ['graphflow', *sys.argv[1:]]; main()"
    said = fresh_python(start, "run", program, "--name=me", "--steps", "5", "--loud", "rest").splitlines()
    assert said[:3] == [
        "5 True True /device:CPU:0",
        "__main__ ['rest'] me 5 True 5 me",
        "8 graphflow.layers Summary",
    ]
    assert "tensorflow.contrib" in said[3] and "out of scope" in said[3]


def idx(path: Path, magic: int, array: Any) -> None:
    data = struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes()
    with gzip.open(path, "wb") as file:
        file.write(data)


def test_mnist_is_read_from_a_folder(tmp_path: Path, random: np.random.Generator) -> None:
    read = gf.examples.tutorials.mnist.input_data.read_data_sets
    with pytest.raises(
        FileNotFoundError, match=r"train-images-idx3-ubyte.gz .* is missing. .* put the four files"
    ):
        read(str(tmp_path))
    for name, count in (("train", 60), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        idx(tmp_path / f"{name}-images-idx3-ubyte.gz", 2051, images)
        idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", 2049, (images[:, 0, 0] % 10).astype(np.uint8))
    mnist = read(str(tmp_path), one_hot=True, validation_size=20, seed=1)
    assert [part.num_examples for part in mnist] == [40, 20, 10]
    assert mnist.test.images.shape == (10, 784) and mnist.test.images.max() <= 1
    np.testing.assert_array_equal(mnist.test.images[:, 0] * 255 % 10 // 1, mnist.test.labels.argmax(1))
    seen = np.concatenate([mnist.train.next_batch(16)[0] for _ in range(5)])
    assert seen.shape == (80, 784) and mnist.train.epochs_completed == 1
    # An epoch gives every image once.
    assert len(np.unique(seen[:40], axis=0)) == 40
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz: damaged"):
        read(str(tmp_path))


def test_freezing_a_loop_leaves_no_variable() -> None:
    x = gf.placeholder(gf.float32, [2, 3, 4], name="x")
    outputs, _ = gf.nn.dynamic_rnn(gf.nn.rnn_cell.GRUCell(3), x, dtype=gf.float32)
    table = gf.get_variable("table", [5, 3])
    gf.add(gf.reduce_sum(outputs), gf.reduce_sum(gf.nn.embedding_lookup(table, [1, 1])), name="y")
    value = np.random.RandomState(0).randn(2, 3, 4)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        expected = session.run("y:0", {x: value})
        frozen = gf.graph_util.convert_variables_to_constants(
            session, gf.get_default_graph().as_graph_def(), ["y"]
        )
    inside = [node.op for function in frozen.library.function for node in function.node_def]
    assert not {"VarHandleOp", "ReadVariableOp"} & {*inside, *(node.op for node in frozen.node)}
    with gf.Graph().as_default():
        gf.import_graph_def(frozen, name="")
        with gf.Session() as session:
            np.testing.assert_allclose(session.run("y:0", {"x:0": value}), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="nowhere is not in graph"):
        gf.graph_util.extract_sub_graph(frozen, ["nowhere"])


def test_test_cases() -> None:
    class Case(gf.test.TestCase):
        def runTest(self) -> None:
            with self.test_session():
                x = gf.constant([1.0, 2.0])
                self.assertAllClose([2.0, 4.0], (x * 2).eval())
                self.assertAllEqual(self.evaluate({"a": x})["a"], [1, 2])
                self.assertShapeEqual(np.zeros(2), x)
                with self.assertRaises(AssertionError):
                    self.assertAllClose([1.0], [1.1])
                with self.assertRaisesOpError("Cannot|log|not"):
                    gf.check_numerics(gf.log(x - 3), "not a number").eval()
                self.assertLess(gf.test.compute_gradient_error(x, [2], gf.sin(x), [2]), 1e-3)
            assert Path(self.get_temp_dir()).is_dir()

    result = Case().run()
    assert result is not None and result.wasSuccessful(), result
