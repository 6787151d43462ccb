"""Variables in parts: how they are cut, made, shared, used, trained and saved; templates that share variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf


def halves(count: int = 2, axis: int = 0) -> Any:
    return gf.fixed_size_partitioner(count, axis)


def test_a_variable_in_parts_is_used_as_a_whole() -> None:
    whole = np.arange(14, dtype=np.float32).reshape(7, 2)
    with gf.Graph().as_default():
        with gf.variable_scope("s", partitioner=halves(3)):
            w = gf.get_variable("w", initializer=whole)
            scalar = gf.get_variable("b", [], initializer=gf.zeros_initializer())
        assert [(v.op.name, v.shape.as_list()) for v in w] == [
            ("s/w/part_0", [3, 2]), ("s/w/part_1", [2, 2]), ("s/w/part_2", [2, 2]),
        ]  # fmt: skip
        assert (w.name, w.shape.as_list(), w.dtype, len(w)) == ("s/w", [7, 2], gf.float32, 3)
        assert isinstance(scalar, gf.Variable)
        parts = list(w)
        assert gf.trainable_variables() == [*parts, scalar]
        assert parts[1]._get_save_slice_info().spec == "7 2 3,2:0,2"
        product = gf.matmul(np.ones([1, 7], np.float32), w)
        rows = gf.nn.embedding_lookup(w, [0, 5, 3], partition_strategy="div")
        slopes = gf.gradients(gf.reduce_sum(product * product), parts)
        tensor = gf.convert_to_tensor(w)
        assert product.op.inputs[1].op.name == "s/w"
        with gf.variable_scope("s", reuse=True):
            assert gf.get_variable("w", [7, 2]) is w
            assert gf.get_variable("w", [7, 2], partitioner=halves(3)) is w
            with pytest.raises(ValueError, match="partitions"):
                gf.get_variable("w", [7, 2], partitioner=halves(2))
            with pytest.raises(ValueError, match="found shape"):
                gf.get_variable("w", [6, 2])
        with gf.variable_scope("s"), pytest.raises(ValueError, match="already exists.*test_partitioned"):
            gf.get_variable("w", [7, 2], partitioner=halves(3))
        with gf.variable_scope("s"), pytest.raises(ValueError, match="No partitioner was provided"):
            gf.get_variable("w", [7, 2])
        with pytest.raises(ValueError, match="one axis only"):
            gf.get_variable("z", [7, 2], partitioner=lambda **unused: [2, 2])
        with pytest.raises(ValueError, match="fully defined"):
            gf.get_variable("z", [None, 2], partitioner=halves())
        doubled = w.assign(2.0 * tensor)
        (one, *_), names = gf.create_partitioned_variables([4, 6], [1, 3], gf.ones_initializer()), []
        names.append(one.op.name)
        assert names == ["PartitionedVariable/part_0"] and one.shape.as_list() == [4, 2]
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            found = session.run([tensor, product, rows, *slopes])
            np.testing.assert_array_equal(found[0], whole)
            np.testing.assert_array_equal(found[1], whole.sum(0, keepdims=True))
            np.testing.assert_array_equal(found[2], whole[[0, 5, 3]])
            np.testing.assert_array_equal(np.concatenate(found[3:]), np.tile(2 * whole.sum(0), [7, 1]))
            session.run(doubled)
            np.testing.assert_array_equal(session.run(tensor), 2 * whole)


def test_initializers_are_told_the_whole_shape() -> None:
    with gf.Graph().as_default():
        w = gf.get_variable("w", [400, 100], partitioner=halves(8))
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            spread = session.run(gf.convert_to_tensor(w)).std()
    assert spread == pytest.approx(np.sqrt(2.0 / 500), rel=0.05)


BACK = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
print(sorted(tf.train.list_variables(sys.argv[1])))
for part in (None, tf.fixed_size_partitioner(2)):
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("s", partitioner=part):
            w = tf.get_variable("w", [7, 2])
        saver = tf.train.Saver()
        saver.restore(session, sys.argv[1])
        value = session.run(tf.convert_to_tensor(w))
        saver.save(session, sys.argv[1] + ("-whole" if part is None else "-parts"))
        print(value.ravel().tolist())
saver = tf.train.import_meta_graph(sys.argv[1] + ".meta")
variables = tf.global_variables()
print([v.op.name for v in variables][:3], variables[1]._save_slice_info.spec)
"""


@pytest.mark.tensorflow
def test_checkpoints_hold_the_whole(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    def build(count: int) -> tuple[Any, Any]:
        with gf.variable_scope("s", partitioner=halves(count) if count > 1 else None):
            w = gf.get_variable("w", [7, 2])
        loss = gf.reduce_sum(gf.square(gf.matmul(np.eye(7, dtype=np.float32), w)))
        return w, gf.train.AdamOptimizer(0.1).minimize(loss)

    path = str(tmp_path / "model")
    with gf.Graph().as_default(), gf.Session() as session:
        w, step = build(3)
        session.run(gf.global_variables_initializer())
        session.run(step)
        value = session.run(gf.convert_to_tensor(w))
        gf.train.Saver().save(session, path)
    told = dict(gf.train.list_variables(path))
    assert told["s/w"] == told["s/w/Adam"] == told["s/w/Adam_1"] == [7, 2] and "s/w/part_0" not in told
    lines = tensorflow(BACK, path).splitlines()[-4:]
    assert eval(lines[0]) == sorted(told.items())
    np.testing.assert_allclose(eval(lines[1]), value.ravel())
    np.testing.assert_allclose(eval(lines[2]), value.ravel())
    assert lines[3] == "['s/w/part_0', 's/w/part_1', 's/w/part_2'] 7 2 3,2:0,2"
    for count in (1, 2):
        for written in ("-whole", "-parts"):
            with gf.Graph().as_default(), gf.Session() as session:
                w, _ = build(count)
                variables = [w] if count == 1 else list(w)
                gf.train.Saver(variables).restore(session, path + written)
                np.testing.assert_array_equal(session.run(gf.convert_to_tensor(w)), value)
    with gf.Graph().as_default(), gf.Session() as session:
        gf.train.import_meta_graph(path + ".meta").restore(session, path)
        assert gf.global_variables()[1]._get_save_slice_info().spec == "7 2 3,2:0,2"


def test_layers_take_the_partitioner_of_the_scope() -> None:
    with gf.Graph().as_default():
        with gf.variable_scope("l", partitioner=halves()):
            y = gf.layers.dense(np.ones([2, 6], np.float32), 4)
        assert [v.op.name for v in gf.trainable_variables()] == [
            "l/dense/kernel/part_0", "l/dense/kernel/part_1", "l/dense/bias/part_0", "l/dense/bias/part_1",
        ]  # fmt: skip
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            kernel = np.concatenate(session.run(gf.trainable_variables()[:2]))
            np.testing.assert_allclose(session.run(y), np.tile(kernel.sum(0), [2, 1]), rtol=1e-5)


def test_scopes_of_old() -> None:
    with gf.Graph().as_default():
        wait = gf.no_op()
        with gf.op_scope([], None, "old"), gf.control_dependencies([wait]):
            with gf.init_scope():
                free = gf.constant(1.0)
            bound = gf.constant(1.0)
        assert (free.name, free.op.control_inputs) == ("old/Const:0", [])
        assert bound.op.control_inputs == [wait]
