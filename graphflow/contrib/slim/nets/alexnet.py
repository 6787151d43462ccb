"""AlexNet in its second form, for one device: "One weird trick for parallelizing convolutional neural networks"."""

from __future__ import annotations

from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import conv2d, fully_connected, max_pool2d
from graphflow.contrib.layers.regularizers import l2_regularizer
from graphflow.contrib.slim.nets.classifier import classified
from graphflow.contrib.slim.nets.classifier import trunc_normal as trunc_normal
from graphflow.graph import Tensor
from graphflow.initializers import constant_initializer
from graphflow.nn import relu


def alexnet_v2_arg_scope(weight_decay: float = 0.0005) -> Any:
    """Returns the arguments of layers that the network is trained with; `weight_decay` is that of the weights."""
    with (
        arg_scope(
            [conv2d, fully_connected], activation_fn=relu, biases_initializer=constant_initializer(0.1),
            weights_regularizer=l2_regularizer(weight_decay),
        ),
        arg_scope([conv2d], padding="SAME"),
        arg_scope([max_pool2d], padding="VALID") as scope,
    ):  # fmt: skip
        return scope


def _features(net: Any) -> Tensor:
    net = conv2d(net, 64, [11, 11], 4, padding="VALID", scope="conv1")
    net = max_pool2d(net, [3, 3], 2, scope="pool1")
    net = conv2d(net, 192, [5, 5], scope="conv2")
    net = max_pool2d(net, [3, 3], 2, scope="pool2")
    net = conv2d(net, 384, [3, 3], scope="conv3")
    net = conv2d(net, 384, [3, 3], scope="conv4")
    net = conv2d(net, 256, [3, 3], scope="conv5")
    result: Tensor = max_pool2d(net, [3, 3], 2, scope="pool5")
    return result


def alexnet_v2(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True, scope: Any = "alexnet_v2",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns logits [batch, num_classes], and the tensors by their scopes.

    Args:
      inputs: [batch, height, width, channels]; 224 x 224 for one answer per image.
      num_classes: how many logits.
      is_training: whether values are dropped.
      dropout_keep_prob: the share that is kept.
      spatial_squeeze: whether logits lose their two axes of size 1; False for larger images.
      scope: the variable scope.
    """
    return classified(
        inputs, scope, "alexnet_v2", _features, [5, 5], 4096, num_classes, is_training, dropout_keep_prob,
        spatial_squeeze, weights_initializer=trunc_normal(0.005), biases_initializer=constant_initializer(0.1),
    )  # fmt: skip


alexnet_v2.default_image_size = 224  # type: ignore[attr-defined]
