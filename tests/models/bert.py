"""BERT-base: embeddings, an encoder of layers of attention, a pooler, and both tasks it is trained for."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 4, "length": 8, "vocabulary": 50, "hidden": 16, "heads": 2, "layers": 2, "positions": 16},
    "real": {"batch": 4, "length": 128, "vocabulary": 30522, "hidden": 768, "heads": 12, "layers": 12,
             "positions": 512},
}  # fmt: skip
# The model as it is published, the heads of its two tasks beside it.
PARAMETERS = 109_482_240 + (768 * 768 + 768 + 2 * 768 + 30522) + (2 * 768 + 2)


def dense(x: Any, units: int, name: str, activation: Any = None) -> Any:
    first = tf.truncated_normal_initializer(stddev=0.02)
    return tf.layers.dense(x, units, activation, kernel_initializer=first, name=name)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1.0 + tf.erf(x / np.sqrt(2.0)))


def norm(x: Any) -> Any:
    return tf.contrib.layers.layer_norm(x, begin_norm_axis=-1, begin_params_axis=-1, scope="LayerNorm")


def attention(x: Any, mask: Any, heads: int) -> Any:
    hidden, length = x.shape.as_list()[-1], tf.shape(x)[1]
    with tf.variable_scope("self"):
        q, k, v = (
            tf.transpose(
                tf.reshape(dense(x, hidden, name), [-1, length, heads, hidden // heads]), [0, 2, 1, 3]
            )
            for name in ("query", "key", "value")
        )
        scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(hidden // heads) + mask
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
    with tf.variable_scope("output"):
        return norm(dense(tf.reshape(context, [-1, length, hidden]), hidden, "dense") + x)


def encoder(ids: Any, segments: Any, mask: Any, s: dict[str, int]) -> tuple[Any, Any]:
    first = tf.truncated_normal_initializer(stddev=0.02)
    with tf.variable_scope("embeddings"):
        words = tf.get_variable("word_embeddings", [s["vocabulary"], s["hidden"]], initializer=first)
        types = tf.get_variable("token_type_embeddings", [2, s["hidden"]], initializer=first)
        places = tf.get_variable("position_embeddings", [s["positions"], s["hidden"]], initializer=first)
        x = tf.gather(words, ids) + tf.matmul(
            tf.one_hot(segments, 2), types[None] * tf.ones([tf.shape(ids)[0], 1, 1])
        )
        x = norm(x + places[: s["length"]])
    added = (1.0 - mask[:, None, None, :]) * -10000.0
    for layer in range(s["layers"]):
        with tf.variable_scope(f"encoder/layer_{layer}"):
            with tf.variable_scope("attention"):
                x = attention(x, added, s["heads"])
            with tf.variable_scope("intermediate"):
                y = dense(x, 4 * s["hidden"], "dense", gelu)
            with tf.variable_scope("output"):
                x = norm(dense(y, s["hidden"], "dense") + x)
    return x, words


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    shape = [None, s["length"]]
    ids, segments, labels = (tf.placeholder(tf.int32, shape) for _ in range(3))
    mask, chosen = tf.placeholder(tf.float32, shape), tf.placeholder(tf.float32, shape)
    following = tf.placeholder(tf.int32, [None])
    with tf.variable_scope("bert"):
        x, words = encoder(ids, segments, mask, s)
        pooled = dense(x[:, 0], s["hidden"], "pooler/dense", tf.tanh)
    with tf.variable_scope("cls/predictions"):
        y = norm(dense(x, s["hidden"], "transform", gelu))
        bias = tf.get_variable("output_bias", [s["vocabulary"]], initializer=tf.zeros_initializer())
        logits = tf.matmul(tf.reshape(y, [-1, s["hidden"]]), words, transpose_b=True) + bias
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(labels, [-1]), logits=logits)
    weights = tf.reshape(chosen, [-1])
    loss = tf.reduce_sum(each * weights) / tf.reduce_sum(weights)
    pair = dense(pooled, 2, "cls/seq_relationship")
    loss += tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=following, logits=pair))
    variables = tf.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
    optimizer = tf.train.AdamOptimizer(1e-4 if size == "real" else 1e-2)
    op = optimizer.apply_gradients(zip(gradients, variables, strict=True))
    rng = np.random.RandomState(0)
    whole = (s["batch"], s["length"])
    long = rng.randint(s["length"] // 2, s["length"] + 1, s["batch"])
    feeds = {
        ids: rng.randint(0, s["vocabulary"], whole), segments: rng.randint(0, 2, whole),
        labels: rng.randint(0, s["vocabulary"], whole), mask: np.arange(s["length"]) < long[:, None],
        chosen: np.arange(s["length"]) % 3 == np.zeros((s["batch"], 1)), following: rng.randint(0, 2, s["batch"]),
    }  # fmt: skip
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [float(session.run([loss, op], feeds)[0]) for _ in range(steps)]
    return {"losses": losses, "names": [v.op.name for v in variables]}
