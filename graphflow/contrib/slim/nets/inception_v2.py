"""Inception in its second form: "Batch normalization: accelerating deep network training"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import (
    avg_pool2d,
    batch_norm,
    conv2d,
    dropout,
    separable_conv2d,
    softmax,
)
from graphflow.contrib.slim.nets.branches import (
    Module,
    Step,
    built,
    depths,
    inception_arg_scope,
    moving,
    window_within,
)
from graphflow.contrib.slim.nets.classifier import trunc_normal as trunc_normal
from graphflow.graph import GraphKeys, Tensor
from graphflow.ops.layout import squeeze
from graphflow.variable_scope import variable_scope


def _before(depth: int) -> Step:
    return Step("Conv2d_0a_1x1", depth, stddev=0.09)


def _module(
    name: str, one: int, two: tuple[int, int], three: tuple[int, int], four: int, pool: str = "AvgPool"
) -> Module:
    return Module(
        name,
        (
            [Step("Conv2d_0a_1x1", one)],
            [_before(two[0]), Step("Conv2d_0b_3x3", two[1])],
            [_before(three[0]), Step("Conv2d_0b_3x3", three[1]), Step("Conv2d_0c_3x3", three[1])],
            [Step(f"{pool}_0a_3x3"), Step("Conv2d_0b_1x1", four, stddev=0.1)],
        ),
    )


def _halving(name: str, one: tuple[int, int], two: tuple[int, int]) -> Module:
    return Module(
        name,
        (
            [_before(one[0]), Step("Conv2d_1a_3x3", one[1], 2)],
            [_before(two[0]), Step("Conv2d_0b_3x3", two[1]), Step("Conv2d_1a_3x3", two[1], 2)],
            [Step("MaxPool_1a_3x3", stride=2)],
        ),
    )


_PARTS = (
    Step("MaxPool_2a_3x3", stride=2),
    Step("Conv2d_2b_1x1", 64, stddev=0.1),
    Step("Conv2d_2c_3x3", 192),
    Step("MaxPool_3a_3x3", stride=2),
    _module("Mixed_3b", 64, (64, 64), (64, 96), 32),
    _module("Mixed_3c", 64, (64, 96), (64, 96), 64),
    _halving("Mixed_4a", (128, 160), (64, 96)),
    _module("Mixed_4b", 224, (64, 96), (96, 128), 128),
    _module("Mixed_4c", 192, (96, 128), (96, 128), 128),
    _module("Mixed_4d", 160, (128, 160), (128, 160), 96),
    _module("Mixed_4e", 96, (128, 192), (160, 192), 96),
    _halving("Mixed_5a", (128, 192), (192, 256)),
    _module("Mixed_5b", 352, (192, 320), (160, 224), 128),
    _module("Mixed_5c", 352, (192, 320), (192, 224), 128, pool="MaxPool"),
)


def inception_v2_base(
    inputs: Any, final_endpoint: str = "Mixed_5c", min_depth: int = 16, depth_multiplier: float = 1.0,
    scope: Any = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns the features of a part of the network, and the tensors of the parts up to it by name.

    Args:
      inputs: [batch, height, width, 3].
      final_endpoint: the part: `Conv2d_1a_7x7` … `Mixed_5c`.
      min_depth: the fewest filters that a convolution gets when the multiplier is below 1.
      depth_multiplier: a factor of the number of filters.
      scope: the variable scope.

    Raises:
      ValueError: if no part has the name, or the multiplier is not positive.
    """
    depth = depths(min_depth, depth_multiplier)
    with variable_scope(scope, "InceptionV2", [inputs]):
        # The first convolution is made of two, which costs less on three channels.
        first = depth(64)
        net = separable_conv2d(
            inputs, first, [7, 7], depth_multiplier=min(first // 3, 8), stride=2, padding="SAME",
            weights_initializer=trunc_normal(1.0), scope="Conv2d_1a_7x7",
        )  # fmt: skip
        return built(net, _PARTS, final_endpoint, {"Conv2d_1a_7x7": net}, depth)


def inception_v2(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.8, min_depth: int = 16,
    depth_multiplier: float = 1.0, prediction_fn: Callable[..., Any] = softmax, spatial_squeeze: bool = True,
    reuse: Any = None, scope: Any = "InceptionV2",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns logits [batch, num_classes], and the tensors of the parts by name.

    Args:
      inputs: [batch, 224, 224, 3].
      num_classes: how many logits.
      is_training: whether values are dropped, and normalization takes the figures of the batch.
      dropout_keep_prob: the share that is kept.
      min_depth: the fewest filters that a convolution gets when the multiplier is below 1.
      depth_multiplier: a factor of the number of filters.
      prediction_fn: makes predictions of the logits.
      spatial_squeeze: whether logits lose their two axes of size 1.
      reuse: whether the weights must exist already.
      scope: the variable scope.

    Raises:
      ValueError: if the multiplier is not positive.
    """
    with (
        variable_scope(scope, "InceptionV2", [inputs, num_classes], reuse=reuse) as within,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v2_base(
            inputs, min_depth=min_depth, depth_multiplier=depth_multiplier, scope=within
        )
        with variable_scope("Logits"):
            window = window_within(net, [7, 7])
            net = avg_pool2d(net, window, padding="VALID", scope="AvgPool_1a_{}x{}".format(*window))
            net = dropout(net, dropout_keep_prob, scope="Dropout_1b")
            logits = conv2d(
                net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1"
            )
            if spatial_squeeze:
                logits = squeeze(logits, [1, 2], name="SpatialSqueeze")
        end_points["Logits"] = logits
        end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


inception_v2.default_image_size = 224  # type: ignore[attr-defined]


def inception_v2_arg_scope(
    weight_decay: float = 0.00004, batch_norm_var_collection: str = "moving_vars"
) -> Any:
    """Returns the arguments of layers that the network is trained with.

    Args:
      weight_decay: of the weights.
      batch_norm_var_collection: the collection that moving figures join.
    """
    norm = {
        "decay": 0.9997, "epsilon": 0.001, "updates_collections": GraphKeys.UPDATE_OPS,
        "variables_collections": moving(batch_norm_var_collection),
    }  # fmt: skip
    return inception_arg_scope(weight_decay, norm)
