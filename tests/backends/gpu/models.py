"""Small models whose training steps hold every kind of step that a plan for a GPU has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphflow as gf

Array = np.ndarray[Any, Any]
Model = Callable[[], tuple[Any, list[Any]]]


def _cross_entropy(labels: Any, logits: Any) -> Any:
    return gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def softmax_regression() -> tuple[Any, list[Any]]:
    x, y = gf.placeholder(gf.float32, [None, 30]), gf.placeholder(gf.float32, [None, 10])
    logits = x @ gf.Variable(gf.zeros([30, 10])) + gf.Variable(gf.zeros([10]))
    return gf.reduce_mean(gf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits)), [x, y]


def mlp() -> tuple[Any, list[Any]]:
    x, y = gf.placeholder(gf.float32, [None, 20]), gf.placeholder(gf.int32, [None])
    return _cross_entropy(y, gf.layers.dense(gf.layers.dense(x, 32, gf.nn.relu), 10)), [x, y]


def lenet() -> tuple[Any, list[Any]]:
    x, y = gf.placeholder(gf.float32, [None, 9, 9, 2]), gf.placeholder(gf.int32, [None])
    h = gf.layers.conv2d(x, 8, 3, padding="same", activation=gf.nn.relu)
    h = gf.layers.max_pooling2d(h, 2, 2)
    h = gf.layers.dropout(gf.reduce_mean(h, [1, 2]), 0.3, training=True)
    return _cross_entropy(y, gf.layers.dense(h, 10)), [x, y]


def lstm() -> tuple[Any, list[Any]]:
    """Sequences of different lengths: a loop whose number of turns only the run knows."""
    x, y = gf.placeholder(gf.float32, [4, None, 8]), gf.placeholder(gf.int32, [4])
    lengths = gf.placeholder(gf.int32, [4])
    cell = gf.nn.rnn_cell.BasicLSTMCell(12)
    _, state = gf.nn.dynamic_rnn(cell, x, sequence_length=lengths, dtype=gf.float32)
    return _cross_entropy(y, gf.layers.dense(state.h, 10)), [x, y, lengths]


def transformer() -> tuple[Any, list[Any]]:
    ids, y = gf.placeholder(gf.int32, [2, 6]), gf.placeholder(gf.int32, [2, 6])
    table = gf.get_variable("table", [20, 16])
    h = gf.nn.embedding_lookup(table, ids)

    def norm(v: Any, name: str) -> Any:
        mean, variance = gf.nn.moments(v, [-1], keep_dims=True)
        return (
            (v - mean)
            * gf.rsqrt(variance + 1e-6)
            * gf.get_variable(name, [16], initializer=gf.ones_initializer())
        )

    def by_head(v: Any) -> Any:
        return gf.transpose(gf.reshape(gf.layers.dense(v, 16), [2, 6, 4, 4]), [0, 2, 1, 3])

    q, k, v = by_head(h), by_head(h), by_head(h)
    mixed = gf.nn.softmax(gf.matmul(q, k, transpose_b=True) * 0.5) @ v
    h = norm(h + gf.layers.dense(gf.reshape(gf.transpose(mixed, [0, 2, 1, 3]), [2, 6, 16]), 16), "scale")
    logits = gf.matmul(gf.reshape(h, [12, 16]), table, transpose_b=True)
    return _cross_entropy(gf.reshape(y, [12]), logits), [ids, y]


def feeds_of(name: str, steps: int) -> list[Array]:
    """What a model is fed: one more axis in front, of so many steps."""
    rng = np.random.RandomState(0)

    def labels(*shape: int) -> Array:
        return rng.randint(0, 10, (steps, *shape)).astype(np.int32)

    if name == "softmax_regression":
        return [
            rng.randn(steps, 16, 30).astype(np.float32),
            rng.dirichlet(np.ones(10), (steps, 16)).astype(np.float32),
        ]
    if name == "mlp":
        return [rng.randn(steps, 16, 20).astype(np.float32), labels(16)]
    if name == "lenet":
        return [rng.randn(steps, 8, 9, 9, 2).astype(np.float32), labels(8)]
    if name == "lstm":
        lengths = rng.randint(1, 6, (steps, 4)).astype(np.int32)
        return [rng.randn(steps, 4, 5, 8).astype(np.float32), labels(4), lengths]
    return [labels(2, 6), labels(2, 6)]


MODELS: dict[str, Model] = {
    "softmax_regression": softmax_regression,
    "mlp": mlp,
    "lenet": lenet,
    "lstm": lstm,
    "transformer": transformer,
}


class Trained:
    """A model with its training step, in a session on a GPU or on the processor."""

    def __init__(self, name: str, gpus: int, **config: Any) -> None:
        gf.reset_default_graph()
        gf.set_random_seed(3)
        self.loss, self.keys = MODELS[name]()
        self.step = gf.train.MomentumOptimizer(0.05, 0.9).minimize(self.loss)
        self.session = gf.Session(config=gf.ConfigProto(device_count={"GPU": gpus}, **config))
        # Set from outside: initializers would have to be compiled.
        rng = np.random.RandomState(1)
        for variable in gf.global_variables():
            shape = variable.shape.as_list()
            slot = "Momentum" in variable.op.name
            self.session.load_variable(variable, np.zeros(shape) if slot else rng.uniform(-0.3, 0.3, shape))

    def values(self) -> list[Array]:
        """The values of all variables now."""
        return [self.session.variable_value(variable) for variable in gf.global_variables()]

    def feed(self, feeds: list[Array], turn: int) -> dict[Any, Array]:
        return {key: feed[turn] for key, feed in zip(self.keys, feeds, strict=True)}
