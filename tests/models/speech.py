"""Labels of sounds without their times: a network both ways in time under connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 3, "time": 10, "features": 5, "units": 8, "classes": 5, "labels": 2, "layers": 1},
    "real": {
        "batch": 16,
        "time": 200,
        "features": 80,
        "units": 256,
        "classes": 29,
        "labels": 30,
        "layers": 2,
    },
}


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    rng = np.random.RandomState(0)
    sounds = tf.placeholder(tf.float32, [None, None, s["features"]])
    lengths = tf.placeholder(tf.int32, [None])
    labels = tf.sparse_placeholder(tf.int32)
    x: Any = sounds
    for i in range(s["layers"]):
        with tf.variable_scope(f"layer{i}"):
            forth, back = (tf.nn.rnn_cell.LSTMCell(s["units"]) for _ in range(2))
            both, _ = tf.nn.bidirectional_dynamic_rnn(forth, back, x, lengths, dtype=tf.float32)
            x = tf.concat(both, 2)
    logits = tf.layers.dense(x, s["classes"], name="logits")
    over_time = tf.transpose(logits, [1, 0, 2])
    loss = tf.reduce_mean(tf.nn.ctc_loss(labels, over_time, lengths))
    (found,), _ = tf.nn.ctc_greedy_decoder(over_time, lengths)
    errors = tf.reduce_mean(tf.edit_distance(tf.cast(found, tf.int32), labels))
    op = tf.train.AdamOptimizer(3e-2 if size == "small" else 1e-3).minimize(loss)
    said = rng.randint(0, s["classes"] - 1, (s["batch"], s["labels"]))
    places = np.stack(np.meshgrid(np.arange(s["batch"]), np.arange(s["labels"]), indexing="ij"), -1).reshape(
        -1, 2
    )
    feeds = {
        sounds: rng.randn(s["batch"], s["time"], s["features"]), lengths: s["time"] - np.arange(s["batch"]) % 3,
        labels: tf.SparseTensorValue(places, said.ravel(), (s["batch"], s["labels"])),
    }  # fmt: skip
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [float(session.run([loss, op], feeds)[0]) for _ in range(steps)]
        wrong = float(session.run(errors, feeds))
    return {"losses": losses, "names": [v.op.name for v in tf.trainable_variables()], "errors": wrong}
