"""A variational autoencoder of digits: noise inside the graph, a bound as the loss, fed by a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 5, "pixels": 16, "hidden": 8, "latent": 2},
    "real": {"batch": 100, "pixels": 784, "hidden": 500, "latent": 20},
}
PARAMETERS = 784 * 500 + 500 + 2 * (500 * 20 + 20) + 20 * 500 + 500 + 500 * 784 + 784


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    digits = (np.random.RandomState(0).rand(4 * s["batch"], s["pixels"]) > 0.7).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(digits).repeat().batch(s["batch"], drop_remainder=True)
    x = data.make_one_shot_iterator().get_next()
    hidden = tf.layers.dense(x, s["hidden"], tf.nn.relu, name="encoder")
    mean, log_variance = (
        tf.layers.dense(hidden, s["latent"], name=name) for name in ("mean", "log_variance")
    )
    z = mean + tf.exp(0.5 * log_variance) * tf.random_normal(tf.shape(mean), seed=4)
    logits = tf.layers.dense(
        tf.layers.dense(z, s["hidden"], tf.nn.relu, name="decoder"), s["pixels"], name="pixels"
    )
    told = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), 1)
    away = -0.5 * tf.reduce_sum(1 + log_variance - tf.square(mean) - tf.exp(log_variance), 1)
    loss = tf.reduce_mean(told + away)
    op = tf.train.AdamOptimizer(1e-2 if size == "small" else 1e-3).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [float(session.run([loss, op])[0]) for _ in range(steps)]
    return {"losses": losses, "names": [v.op.name for v in tf.trainable_variables()]}
