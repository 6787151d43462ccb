"""Inception in its first form, GoogLeNet with normalization: "Going deeper with convolutions"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import (
    avg_pool2d,
    batch_norm,
    conv2d,
    dropout,
    fully_connected,
    softmax,
)
from graphflow.contrib.slim.nets.branches import Module, Step, built, inception_arg_scope, moving
from graphflow.contrib.slim.nets.classifier import trunc_normal as trunc_normal
from graphflow.graph import GraphKeys, Tensor
from graphflow.ops.layout import squeeze
from graphflow.variable_scope import variable_scope


def _module(name: str, *depths: int, third: str = "Conv2d_0b_3x3") -> Module:
    one, before_two, two, before_three, three, four = depths
    return Module(
        name,
        (
            [Step("Conv2d_0a_1x1", one)],
            [Step("Conv2d_0a_1x1", before_two), Step("Conv2d_0b_3x3", two)],
            [Step("Conv2d_0a_1x1", before_three), Step(third, three)],
            [Step("MaxPool_0a_3x3"), Step("Conv2d_0b_1x1", four)],
        ),
    )


_PARTS = (
    Step("Conv2d_1a_7x7", 64, 2),
    Step("MaxPool_2a_3x3", stride=2),
    Step("Conv2d_2b_1x1", 64),
    Step("Conv2d_2c_3x3", 192),
    Step("MaxPool_3a_3x3", stride=2),
    _module("Mixed_3b", 64, 96, 128, 16, 32, 32),
    _module("Mixed_3c", 128, 128, 192, 32, 96, 64),
    Step("MaxPool_4a_3x3", stride=2),
    _module("Mixed_4b", 192, 96, 208, 16, 48, 64),
    _module("Mixed_4c", 160, 112, 224, 24, 64, 64),
    _module("Mixed_4d", 128, 128, 256, 24, 64, 64),
    _module("Mixed_4e", 112, 144, 288, 32, 64, 64),
    _module("Mixed_4f", 256, 160, 320, 32, 128, 128),
    Step("MaxPool_5a_2x2", stride=2),
    # The public checkpoints have this one convolution under this name.
    _module("Mixed_5b", 256, 160, 320, 32, 128, 128, third="Conv2d_0a_3x3"),
    _module("Mixed_5c", 384, 192, 384, 48, 128, 128),
)


def inception_v1_base(
    inputs: Any, final_endpoint: str = "Mixed_5c", scope: Any = "InceptionV1"
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the features of a part of the network, and the tensors of the parts up to it by name.

    Args:
      inputs: [batch, height, width, 3].
      final_endpoint: the part: `Conv2d_1a_7x7` … `Mixed_5c`.
      scope: the variable scope.

    Raises:
      ValueError: if no part has the name.
    """
    with (
        variable_scope(scope, "InceptionV1", [inputs]),
        arg_scope([conv2d, fully_connected], weights_initializer=trunc_normal(0.01)),
    ):
        return built(inputs, _PARTS, final_endpoint, {})


def inception_v1(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.8,
    prediction_fn: Callable[..., Any] = softmax, spatial_squeeze: bool = True, reuse: Any = None,
    scope: Any = "InceptionV1",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns logits [batch, num_classes], and the tensors of the parts by name.

    Args:
      inputs: [batch, 224, 224, 3].
      num_classes: how many logits.
      is_training: whether values are dropped, and normalization takes the figures of the batch.
      dropout_keep_prob: the share that is kept.
      prediction_fn: makes predictions of the logits.
      spatial_squeeze: whether logits lose their two axes of size 1.
      reuse: whether the weights must exist already.
      scope: the variable scope.
    """
    with (
        variable_scope(scope, "InceptionV1", [inputs, num_classes], reuse=reuse) as within,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v1_base(inputs, scope=within)
        with variable_scope("Logits"):
            net = avg_pool2d(net, [7, 7], stride=1, scope="MaxPool_0a_7x7")
            net = dropout(net, dropout_keep_prob, scope="Dropout_0b")
            logits = conv2d(
                net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_0c_1x1"
            )
            if spatial_squeeze:
                logits = squeeze(logits, [1, 2], name="SpatialSqueeze")
            end_points["Logits"] = logits
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


inception_v1.default_image_size = 224  # type: ignore[attr-defined]


def inception_v1_arg_scope(
    weight_decay: float = 0.00004, use_batch_norm: bool = True, batch_norm_var_collection: str = "moving_vars"
) -> Any:
    """Returns the arguments of layers that the network is trained with.

    Args:
      weight_decay: of the weights.
      use_batch_norm: whether convolutions are normalized.
      batch_norm_var_collection: the collection that moving figures join.
    """
    norm = {
        "decay": 0.9997, "epsilon": 0.001, "updates_collections": GraphKeys.UPDATE_OPS,
        "variables_collections": moving(batch_norm_var_collection),
    }  # fmt: skip
    return inception_arg_scope(weight_decay, norm if use_batch_norm else None)
