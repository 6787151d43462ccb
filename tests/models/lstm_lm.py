"""A language model of two layers of LSTM, as on the Penn Treebank: unrolled steps, state carried from run to run."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 3, "steps": 4, "vocabulary": 20, "units": 8},
    "real": {"batch": 20, "steps": 35, "vocabulary": 10000, "units": 650},
}
PARAMETERS = 19_775_200


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    words = tf.placeholder(tf.int32, [s["batch"], s["steps"] + 1])
    with tf.variable_scope("Model", initializer=tf.random_uniform_initializer(-0.05, 0.05, seed=1)):
        table = tf.get_variable("embedding", [s["vocabulary"], s["units"]])
        inputs = tf.nn.dropout(tf.nn.embedding_lookup(table, words[:, :-1]), keep_prob=0.9, seed=2)
        cell = tf.contrib.rnn.MultiRNNCell(
            [tf.contrib.rnn.BasicLSTMCell(s["units"], forget_bias=0.0) for _ in range(2)]
        )
        start = cell.zero_state(s["batch"], tf.float32)
        outputs, state = tf.nn.static_rnn(cell, tf.unstack(inputs, axis=1), start, scope="RNN")
        flat = tf.reshape(tf.concat(outputs, 1), [-1, s["units"]])
        w = tf.get_variable("softmax_w", [s["units"], s["vocabulary"]])
        b = tf.get_variable("softmax_b", [s["vocabulary"]])
        logits = tf.reshape(tf.nn.xw_plus_b(flat, w, b), [s["batch"], s["steps"], s["vocabulary"]])
    loss = tf.contrib.seq2seq.sequence_loss(logits, words[:, 1:], tf.ones([s["batch"], s["steps"]]))
    variables = tf.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 5.0)
    op = tf.train.GradientDescentOptimizer(2.0).apply_gradients(zip(gradients, variables, strict=True))
    text = np.random.RandomState(0).randint(0, s["vocabulary"] // 10, (s["batch"], s["steps"] + 1))
    losses = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        kept = session.run(start)
        for _ in range(steps):
            feeds: dict[Any, Any] = {words: text}
            for (c, h), value in zip(start, kept, strict=True):
                feeds[c], feeds[h] = value
            value, kept, _ = session.run([loss, state, op], feeds)
            losses.append(float(value))
    return {"losses": losses, "names": [v.op.name for v in variables], "state": kept}
