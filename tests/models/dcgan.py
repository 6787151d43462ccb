"""DCGAN: a generator of transposed convolutions against a discriminator, two optimizers on parts of the variables."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 4, "side": 16, "noise": 6, "width": 4},
    "real": {"batch": 64, "side": 64, "noise": 100, "width": 64},
}


def generator(z: Any, side: int, width: int) -> Any:
    first = tf.truncated_normal_initializer(stddev=0.02)
    with tf.variable_scope("generator"):
        depth = width * side // 8
        x = tf.reshape(tf.layers.dense(z, 16 * depth, kernel_initializer=first), [-1, 4, 4, depth])
        x = tf.nn.relu(tf.layers.batch_normalization(x, training=True))
        while x.shape.as_list()[1] < side // 2:
            depth //= 2
            x = tf.layers.conv2d_transpose(x, depth, 5, 2, "same", kernel_initializer=first)
            x = tf.nn.relu(tf.layers.batch_normalization(x, training=True))
        return tf.tanh(tf.layers.conv2d_transpose(x, 3, 5, 2, "same", kernel_initializer=first))


def discriminator(x: Any, width: int, reuse: bool) -> Any:
    first = tf.truncated_normal_initializer(stddev=0.02)
    with tf.variable_scope("discriminator", reuse=reuse):
        depth = width
        while x.shape.as_list()[1] > 4:
            x = tf.layers.conv2d(x, depth, 5, 2, "same", kernel_initializer=first)
            x = tf.nn.leaky_relu(x if depth == width else tf.layers.batch_normalization(x, training=True))
            depth *= 2
        return tf.layers.dense(tf.layers.flatten(x), 1, kernel_initializer=first)


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    real = tf.placeholder(tf.float32, [s["batch"], s["side"], s["side"], 3])
    z = tf.placeholder(tf.float32, [s["batch"], s["noise"]])
    fake = generator(z, s["side"], s["width"])
    yes, no = discriminator(real, s["width"], False), discriminator(fake, s["width"], True)

    def cross(logits: Any, label: float) -> Any:
        return tf.losses.sigmoid_cross_entropy(tf.fill(tf.shape(logits), label), logits)

    judge, forge = cross(yes, 0.9) + cross(no, 0.0), cross(no, 1.0)
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        ops = [
            tf.train.AdamOptimizer(2e-4, beta1=0.5).minimize(loss, var_list=tf.trainable_variables(scope))
            for loss, scope in ((judge, "discriminator"), (forge, "generator"))
        ]
    rng = np.random.RandomState(0)
    feeds = {real: rng.uniform(-1, 1, real.shape.as_list()), z: rng.randn(s["batch"], s["noise"])}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(forge, feeds)
        losses = [float(session.run([judge, ops[0]], feeds)[0]) for _ in range(steps)]
        fooled = [float(session.run([forge, ops[1]], feeds)[0]) for _ in range(steps)]
        images = session.run(fake, feeds)
    return {"losses": losses, "fooled": [float(before), *fooled], "images": images,
            "names": [v.op.name for v in tf.trainable_variables()]}  # fmt: skip
