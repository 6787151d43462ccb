"""Optimizers: formulas, slots, sparse gradients, and TensorFlow's own numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphflow import dtypes, ops
from graphflow.graph import Graph, GraphKeys, IndexedSlices, control_dependencies, get_default_graph
from graphflow.opdef import constant, emit
from graphflow.ops.source import placeholder
from graphflow.session import Session
from graphflow.train import (
    AdadeltaOptimizer,
    AdagradDAOptimizer,
    AdagradOptimizer,
    AdamOptimizer,
    FtrlOptimizer,
    GradientDescentOptimizer,
    MomentumOptimizer,
    Optimizer,
    ProximalAdagradOptimizer,
    ProximalGradientDescentOptimizer,
    RMSPropOptimizer,
    get_or_create_global_step,
    global_step,
)
from graphflow.variable_scope import AUTO_REUSE, get_variable, variable_scope
from graphflow.variables import Variable, global_variables, global_variables_initializer

assert ops

STEPS = 4
START = np.array([[1.0, -2.0], [0.5, 3.0], [-0.25, 0.75]], np.float32)
DENSE = [np.float32(np.cos(np.arange(6).reshape(3, 2) + i)) for i in range(STEPS)]
ROWS = [np.float32(np.sin(np.arange(6).reshape(3, 2) + i)) for i in range(STEPS)]
INDICES = [np.array([2, 0, 2], np.int32)] * STEPS

# One line per optimizer, as both libraries spell it.
MAKERS: dict[str, str] = {
    "sgd": "GradientDescentOptimizer(0.1)",
    "momentum": "MomentumOptimizer(0.1, 0.9)",
    "nesterov": "MomentumOptimizer(0.1, 0.9, use_nesterov=True)",
    "adagrad": "AdagradOptimizer(0.1)",
    "rmsprop": "RMSPropOptimizer(0.1)",
    "rmsprop_momentum": "RMSPropOptimizer(0.1, decay=0.8, momentum=0.5, epsilon=1e-3)",
    "rmsprop_centered": "RMSPropOptimizer(0.1, momentum=0.5, centered=True)",
    "adam": "AdamOptimizer(0.1, beta1=0.8)",
    "adadelta": "AdadeltaOptimizer(1.0, rho=0.9, epsilon=1e-4)",
    "ftrl": "FtrlOptimizer(0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02)",
    "ftrl_shrinkage": "FtrlOptimizer(0.1, l2_shrinkage_regularization_strength=0.1)",
    "proximal": "ProximalGradientDescentOptimizer(0.1, l1_regularization_strength=0.02)",
    "proximal_adagrad": "ProximalAdagradOptimizer(0.1, l2_regularization_strength=0.02)",
}


def updated(optimizer: Optimizer, sparse: bool) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Returns the variable after `STEPS` steps, and the names of all variables."""
    w = Variable(START, name="w")
    if sparse:
        rows, indices = placeholder(dtypes.float32, [None, 2]), placeholder(dtypes.int32, [None])
        step = optimizer.apply_gradients([(IndexedSlices(rows, indices, constant([3, 2])), w)])
        feeds: list[Any] = [{rows: r, indices: i} for r, i in zip(ROWS, INDICES, strict=True)]
    else:
        grad = placeholder(dtypes.float32, [3, 2])
        step = optimizer.apply_gradients([(grad, w)])
        feeds = [{grad: g} for g in DENSE]
    with Session() as sess:
        sess.run(global_variables_initializer())
        for feed in feeds:
            sess.run(step, feed)
        return sess.run(w), [v.op.name for v in global_variables()]


def in_numpy(kind: str) -> np.ndarray[Any, Any]:
    """The same steps by the formulas of the papers, in float64."""
    w = START.astype(np.float64)
    m = np.zeros_like(w)
    v = np.zeros_like(w)
    for t, g in enumerate((g.astype(np.float64) for g in DENSE), 1):
        if kind == "sgd":
            w -= 0.1 * g
        elif kind in ("momentum", "nesterov"):
            m = 0.9 * m + g
            w -= 0.1 * (g + 0.9 * m if kind == "nesterov" else m)
        elif kind == "adagrad":
            v = (v + 0.1 if t == 1 else v) + g * g
            w -= 0.1 * g / np.sqrt(v)
        elif kind == "rmsprop":
            v = 0.9 * (v + 1 if t == 1 else v) + 0.1 * g * g
            w -= 0.1 * g / np.sqrt(v + 1e-10)
        elif kind == "adam":
            m = 0.8 * m + 0.2 * g
            v = 0.999 * v + 0.001 * g * g
            w -= 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 1e-8)
    return w


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"])
def test_dense_steps_follow_the_formulas(kind: str) -> None:
    got, _ = updated(eval(MAKERS[kind]), sparse=False)
    np.testing.assert_allclose(got, in_numpy(kind), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_repeated_rows_are_added_before_they_are_applied(kind: str) -> None:
    sparse, _ = updated(eval(MAKERS[kind]), sparse=True)
    assert np.isfinite(sparse).all()
    if kind not in ("ftrl", "ftrl_shrinkage"):
        # Row 1 has no gradient; what forgets by itself may still move nothing there.
        np.testing.assert_allclose(sparse[1], START[1], rtol=1e-6)
    if kind in ("sgd", "adagrad", "momentum", "nesterov", "adam"):
        # For these a row without gradient is a row of zeros, so the dense path must agree.
        with Graph().as_default():
            w = Variable(START)
            dense = placeholder(dtypes.float32, [3, 2])
            step = eval(MAKERS[kind]).apply_gradients([(dense, w)])
            with Session() as sess:
                sess.run(global_variables_initializer())
                for rows, indices in zip(ROWS, INDICES, strict=True):
                    full = np.zeros((3, 2), np.float32)
                    np.add.at(full, indices, rows)
                    sess.run(step, {dense: full})
                np.testing.assert_allclose(sparse, sess.run(w), rtol=2e-6, atol=1e-6)


SLOTS = {
    "sgd": ["w"],
    "momentum": ["w", "w/Momentum"],
    "adagrad": ["w", "w/Adagrad"],
    "rmsprop": ["w", "w/RMSProp", "w/RMSProp_1"],
    "rmsprop_centered": ["w", "w/RMSProp", "w/RMSProp_1", "w/RMSProp_2"],
    "adam": ["w", "beta1_power", "beta2_power", "w/Adam", "w/Adam_1"],
    "adadelta": ["w", "w/Adadelta", "w/Adadelta_1"],
    "ftrl": ["w", "w/Ftrl", "w/Ftrl_1"],
}


@pytest.mark.parametrize("kind", sorted(SLOTS))
def test_slots_have_the_names_that_checkpoints_hold(kind: str) -> None:
    optimizer = eval(MAKERS[kind])
    _, names = updated(optimizer, sparse=False)
    assert names == SLOTS[kind]
    assert [v.op.name for v in optimizer.variables()] == sorted(SLOTS[kind][1:])


REFEREE = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
tf.enable_resource_variables()
train = tf.train
job = json.loads(sys.argv[1])
results = {}
for name, maker in job["makers"].items():
    for sparse in (False, True):
        with tf.Graph().as_default():
            w = tf.get_variable("w", initializer=np.array(job["start"], np.float32))
            optimizer = eval("train." + maker)
            if sparse:
                rows, indices = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.int32, [None])
                step = optimizer.apply_gradients([(tf.IndexedSlices(rows, indices, tf.constant([3, 2])), w)])
                feeds = [{rows: r, indices: i} for r, i in zip(job["rows"], job["indices"])]
            else:
                grad = tf.placeholder(tf.float32, [3, 2])
                step = optimizer.apply_gradients([(grad, w)])
                feeds = [{grad: g} for g in job["dense"]]
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                for feed in feeds:
                    sess.run(step, feed)
                names = [v.op.name for v in tf.global_variables()]
                results[f"{name} {sparse}"] = [sess.run(w).tolist(), names]
print(json.dumps(results))
"""


@pytest.mark.tensorflow
def test_tensorflow_takes_the_same_steps(tensorflow: Callable[..., str]) -> None:
    job = {
        "makers": MAKERS,
        "start": START.tolist(),
        "dense": [g.tolist() for g in DENSE],
        "rows": [g.tolist() for g in ROWS],
        "indices": [i.tolist() for i in INDICES],
    }
    for key, (values, names) in json.loads(tensorflow(REFEREE, json.dumps(job)).splitlines()[-1]).items():
        kind, sparse = key.split()
        with Graph().as_default():
            got, ours = updated(eval(MAKERS[kind]), sparse == "True")
        np.testing.assert_allclose(got, np.array(values, np.float32), rtol=1e-5, atol=1e-6, err_msg=key)
        assert ours == names, key


def test_dual_averaging_counts_steps() -> None:
    w = Variable(START, name="w")
    counter = get_or_create_global_step()
    optimizer = AdagradDAOptimizer(0.1, counter)
    step = optimizer.apply_gradients([(emit.Identity(w), w)], global_step=counter)
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step)
        sess.run(step)
        assert global_step(sess, counter) == 2
        assert np.isfinite(sess.run(w)).all()


def test_minimize_finds_the_minimum() -> None:
    x = placeholder(dtypes.float32, [None, 2], name="x")
    y = placeholder(dtypes.float32, [None, 1], name="y")
    w = Variable(np.zeros((2, 1), np.float32), name="w")
    loss = emit.Mean(emit.Square(emit.Sub(emit.MatMul(x, w), y)), [0, 1])
    counter = get_or_create_global_step()
    step = AdamOptimizer(0.05).minimize(loss, global_step=counter)
    assert step.name == "Adam"
    assert get_default_graph().get_collection(GraphKeys.TRAIN_OP) == [step]
    random = np.random.default_rng(0)
    data = random.normal(size=(64, 2)).astype(np.float32)
    truth = np.array([[2.0], [-1.0]], np.float32)
    with Session() as sess:
        sess.run(global_variables_initializer())
        for _ in range(300):
            value, _ = sess.run([loss, step], {x: data, y: data @ truth})
        assert value < 1e-3
        assert global_step(sess, counter) == 300
        np.testing.assert_allclose(sess.run(w), truth, atol=0.05)


def test_embeddings_get_sparse_gradients() -> None:
    table = Variable(np.arange(8, dtype=np.float32).reshape(4, 2), name="table")
    picked = table.sparse_read(constant([1, 1, 3]))
    loss = emit.Sum(picked, [0, 1])
    optimizer = GradientDescentOptimizer(1.0)
    ((gradient, variable),) = optimizer.compute_gradients(loss)
    assert isinstance(gradient, IndexedSlices)
    assert variable is table
    step = optimizer.apply_gradients([(gradient, variable)])
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step)
        assert sess.run(table).tolist() == [[0.0, 1.0], [0.0, 1.0], [4.0, 5.0], [5.0, 6.0]]


def test_the_learning_rate_may_be_a_tensor_or_a_callable() -> None:
    rate = placeholder(dtypes.float64, [])
    w = Variable([1.0])
    by_tensor = GradientDescentOptimizer(rate).apply_gradients([(constant([1.0]), w)])
    by_callable = MomentumOptimizer(lambda: 0.5, lambda: 0.0).apply_gradients([(constant([1.0]), w)])
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(by_tensor, {rate: 0.25})
        assert sess.run(w).tolist() == [0.75]
        sess.run(by_callable)
        assert sess.run(w).tolist() == [0.25]


def test_constraints_are_applied_after_the_step() -> None:
    w = Variable([1.0, -1.0], constraint=emit.Relu)
    step = GradientDescentOptimizer(1.0).apply_gradients([(constant([0.5, 0.5]), w)])
    with Session() as sess:
        sess.run(w.initializer)
        sess.run(step)
        assert sess.run(w).tolist() == [0.5, 0.0]
    rows = IndexedSlices(constant([1.0]), constant([0]), constant([2]))
    with pytest.raises(RuntimeError, match="constraint"):
        GradientDescentOptimizer(1.0).apply_gradients([(rows, w)])


def test_gates_and_lists_of_variables() -> None:
    a, b = Variable([1.0], name="a"), Variable([2.0], name="b")
    loss = emit.Sum(emit.Mul(a, b), [0])
    optimizer = GradientDescentOptimizer(0.1)
    pairs = optimizer.compute_gradients(loss, [a, [b]], gate_gradients=Optimizer.GATE_GRAPH)
    assert [v for _, v in pairs] == [a, b]
    assert all(len(g.op.control_inputs) >= 1 for g, _ in pairs)
    only = optimizer.compute_gradients(loss, [b])
    assert [v for _, v in only] == [b]
    doubled = optimizer.compute_gradients(loss, [b], grad_loss=constant(2.0))
    with Session() as sess:
        sess.run(global_variables_initializer())
        assert sess.run([g for g, _ in pairs])[0].tolist() == [2.0]
        assert sess.run(doubled[0][0]).tolist() == [2.0]


def test_what_optimizers_refuse() -> None:
    w = Variable([1.0], name="w")
    unused = Variable([1.0], name="unused")
    loss = emit.Sum(emit.Mul(w, 2.0), [0])
    optimizer = GradientDescentOptimizer(0.1)
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        optimizer.minimize(loss, var_list=[unused])
    with pytest.raises(ValueError, match="No variables provided"):
        optimizer.apply_gradients([])
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply_gradients([(None, w)])
    with pytest.raises(TypeError, match="Gradient must be"):
        optimizer.apply_gradients([(object(), w)])
    with pytest.raises(TypeError, match="not a variable"):
        optimizer.apply_gradients([(loss, loss)])
    with pytest.raises(ValueError, match="gate_gradients"):
        optimizer.compute_gradients(loss, gate_gradients=7)
    with pytest.raises(ValueError, match="Invalid type"):
        optimizer.compute_gradients(emit.Cast(loss, DstT=dtypes.int32))
    with pytest.raises(ValueError, match="name"):
        Optimizer(False, "")
    with pytest.raises(ValueError, match="positive"):
        AdagradOptimizer(0.1, initial_accumulator_value=0.0)
    with pytest.raises(ValueError, match="learning_rate_power"):
        FtrlOptimizer(0.1, learning_rate_power=1.0)
    with Graph().as_default(), pytest.raises(ValueError, match="No variables to optimize"):
        optimizer.compute_gradients(constant(1.0))


def test_slots_are_found_and_shared_under_reuse() -> None:
    optimizer = MomentumOptimizer(0.1, 0.9)
    with variable_scope("net", reuse=AUTO_REUSE):
        w = get_variable("w", [2])
        optimizer.apply_gradients([(emit.Identity(w), w)])
        optimizer.apply_gradients([(emit.Identity(w), w)])
    assert optimizer.get_slot_names() == ["momentum"]
    slot = optimizer.get_slot(w, "momentum")
    assert slot is not None
    assert slot.shape.as_list() == [2]
    assert not slot.trainable
    assert optimizer.get_slot(w, "other") is None
    assert len(optimizer.variables()) == 1


def test_slots_of_variables_of_unknown_shape() -> None:
    w = Variable([1.0, 2.0], validate_shape=False, name="w")
    step = MomentumOptimizer(0.5, 0.9).apply_gradients([(constant([1.0, 1.0]), w)])
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step)
        assert sess.run(w).tolist() == [0.5, 1.5]


class OldStyle(Optimizer):
    """An optimizer written for reference variables."""

    def __init__(self) -> None:
        super().__init__(False, "OldStyle")

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        return var.assign_sub(grad)

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return var.scatter_sub(grad)


def test_optimizers_of_the_old_style_work() -> None:
    w = Variable([[1.0], [2.0]])
    dense = OldStyle().apply_gradients([(constant([[1.0], [1.0]]), w)])
    sparse = OldStyle().apply_gradients([(IndexedSlices(constant([[1.0], [1.0]]), constant([1, 1])), w)])
    with Session() as sess:
        sess.run(w.initializer)
        sess.run(dense)
        sess.run(sparse)
        assert sess.run(w).tolist() == [[0.0], [-1.0]]
    with pytest.raises(NotImplementedError, match="Optimizer"):
        Optimizer(False, "bare").apply_gradients([(constant([[1.0], [1.0]]), w)])


def test_a_step_may_wait_for_other_operations() -> None:
    count = Variable(0)
    w = Variable([1.0])
    with control_dependencies([count.assign_add(1)]):
        step = GradientDescentOptimizer(0.5).apply_gradients([(constant([1.0]), w)])
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step)
        assert sess.run([count, w])[0] == 1


assert (
    ProximalAdagradOptimizer and ProximalGradientDescentOptimizer and RMSPropOptimizer and AdadeltaOptimizer
)
