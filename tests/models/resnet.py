"""ResNet-50 in the manner of slim: scopes of arguments, batch norm, weight decay, the names of its checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

slim = tf.contrib.slim
SIZES = {
    "small": {"batch": 4, "side": 16, "classes": 5, "width": 4, "blocks": (1, 1, 1, 1)},
    "real": {"batch": 4, "side": 224, "classes": 1000, "width": 64, "blocks": (3, 4, 6, 3)},
}
PARAMETERS = 25_557_032


def bottleneck(x: Any, depth: int, stride: int) -> Any:
    with tf.variable_scope("bottleneck_v1"):
        if x.shape.as_list()[-1] == 4 * depth and stride == 1:
            shortcut = x
        else:
            shortcut = slim.conv2d(x, 4 * depth, 1, stride, activation_fn=None, scope="shortcut")
        y = slim.conv2d(x, depth, 1, scope="conv1")
        y = slim.conv2d(y, depth, 3, stride, scope="conv2")
        y = slim.conv2d(y, 4 * depth, 1, activation_fn=None, scope="conv3")
        return tf.nn.relu(shortcut + y)


def network(images: Any, classes: int, width: int, blocks: Any) -> Any:
    norm = {"is_training": True, "decay": 0.9, "epsilon": 1e-5, "scale": True}
    with slim.arg_scope(
        [slim.conv2d], weights_regularizer=slim.l2_regularizer(1e-4), normalizer_fn=slim.batch_norm,
        normalizer_params=norm, weights_initializer=slim.variance_scaling_initializer(),
    ), tf.variable_scope("resnet_v1_50"):  # fmt: skip
        x = slim.max_pool2d(
            slim.conv2d(images, width, 7, 2, scope="conv1"), 3, 2, padding="SAME", scope="pool1"
        )
        for i, count in enumerate(blocks):
            for unit in range(count):
                with tf.variable_scope(f"block{i + 1}/unit_{unit + 1}"):
                    x = bottleneck(x, width << i, 2 if i and not unit else 1)
        x = tf.reduce_mean(x, [1, 2], keepdims=True, name="pool5")
        x = slim.conv2d(x, classes, 1, activation_fn=None, normalizer_fn=None, scope="logits")
        return tf.squeeze(x, [1, 2])


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    rng = np.random.RandomState(0)
    images = tf.placeholder(tf.float32, [None, s["side"], s["side"], 3])
    labels = tf.placeholder(tf.int64, [None])
    logits = network(images, s["classes"], s["width"], s["blocks"])
    tf.losses.sparse_softmax_cross_entropy(labels, logits)
    total = tf.losses.get_total_loss()
    optimizer = tf.train.MomentumOptimizer(0.003 if size == "real" else 0.02, 0.9)
    op = slim.learning.create_train_op(total, optimizer)
    feeds = {
        images: rng.randn(s["batch"], s["side"], s["side"], 3),
        labels: np.arange(s["batch"]) % s["classes"],
    }
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [float(session.run(op, feeds)) for _ in range(steps)]
    return {"losses": losses, "names": [v.op.name for v in tf.trainable_variables()]}
