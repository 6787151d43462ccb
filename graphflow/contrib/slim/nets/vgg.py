"""VGG with 11, 16 and 19 layers: "Very deep convolutional networks for large-scale image recognition"."""

from __future__ import annotations

from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import conv2d, fully_connected, max_pool2d, repeat
from graphflow.contrib.layers.regularizers import l2_regularizer
from graphflow.contrib.slim.nets.classifier import classified
from graphflow.graph import Tensor
from graphflow.initializers import zeros_initializer
from graphflow.nn import relu

_FILTERS = (64, 128, 256, 512, 512)


def vgg_arg_scope(weight_decay: float = 0.0005) -> Any:
    """Returns the arguments of layers that the network is trained with; `weight_decay` is that of the weights."""
    with (
        arg_scope(
            [conv2d, fully_connected], activation_fn=relu, weights_regularizer=l2_regularizer(weight_decay),
            biases_initializer=zeros_initializer(),
        ),
        arg_scope([conv2d], padding="SAME") as scope,
    ):  # fmt: skip
        return scope


def _vgg(
    depths: tuple[int, ...], name: str, inputs: Any, num_classes: int, is_training: Any, dropout_keep_prob: float,
    spatial_squeeze: bool, scope: Any,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    def features(net: Any) -> Tensor:
        for i, (depth, filters) in enumerate(zip(depths, _FILTERS, strict=True), 1):
            net = repeat(net, depth, conv2d, filters, [3, 3], scope=f"conv{i}")
            net = max_pool2d(net, [2, 2], scope=f"pool{i}")
        result: Tensor = net
        return result

    return classified(
        inputs,
        scope,
        name,
        features,
        [7, 7],
        4096,
        num_classes,
        is_training,
        dropout_keep_prob,
        spatial_squeeze,
    )


def vgg_a(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True, scope: Any = "vgg_a",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns logits [batch, num_classes] of the network with 11 layers, and the tensors by their scopes.

    Args:
      inputs: [batch, height, width, channels]; 224 x 224 for one answer per image.
      num_classes: how many logits.
      is_training: whether values are dropped.
      dropout_keep_prob: the share that is kept.
      spatial_squeeze: whether logits lose their two axes of size 1; False for larger images.
      scope: the variable scope.
    """
    return _vgg(
        (1, 1, 2, 2, 2), "vgg_a", inputs, num_classes, is_training, dropout_keep_prob, spatial_squeeze, scope
    )


def vgg_16(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True, scope: Any = "vgg_16",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 16 layers; arguments and results are those of `vgg_a`."""
    return _vgg(
        (2, 2, 3, 3, 3), "vgg_16", inputs, num_classes, is_training, dropout_keep_prob, spatial_squeeze, scope
    )


def vgg_19(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True, scope: Any = "vgg_19",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 19 layers; arguments and results are those of `vgg_a`."""
    return _vgg(
        (2, 2, 4, 4, 4), "vgg_19", inputs, num_classes, is_training, dropout_keep_prob, spatial_squeeze, scope
    )


for _net in (vgg_a, vgg_16, vgg_19):
    _net.default_image_size = 224  # type: ignore[attr-defined]

vgg_d = vgg_16
vgg_e = vgg_19
