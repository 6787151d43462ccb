"""Inception in its third form: "Rethinking the Inception architecture for computer vision"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import avg_pool2d, batch_norm, conv2d, dropout, softmax
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

_POOL = Step("AvgPool_0a_3x3")


def _of_35(name: str, last: int, before: str = "Conv2d_0a_1x1", after: str = "Conv2d_0b_5x5") -> Module:
    return Module(
        name,
        (
            [Step("Conv2d_0a_1x1", 64)],
            [Step(before, 48), Step(after, 64)],
            [Step("Conv2d_0a_1x1", 64), Step("Conv2d_0b_3x3", 96), Step("Conv2d_0c_3x3", 96)],
            [_POOL, Step("Conv2d_0b_1x1", last)],
        ),
    )


def _of_17(name: str, depth: int) -> Module:
    return Module(
        name,
        (
            [Step("Conv2d_0a_1x1", 192)],
            [Step("Conv2d_0a_1x1", depth), Step("Conv2d_0b_1x7", depth), Step("Conv2d_0c_7x1", 192)],
            [
                Step("Conv2d_0a_1x1", depth),
                Step("Conv2d_0b_7x1", depth),
                Step("Conv2d_0c_1x7", depth),
                Step("Conv2d_0d_7x1", depth),
                Step("Conv2d_0e_1x7", 192),
            ],
            [_POOL, Step("Conv2d_0b_1x1", 192)],
        ),
    )


def _of_8(name: str, second: str) -> Module:
    return Module(
        name,
        (
            [Step("Conv2d_0a_1x1", 320)],
            [Step("Conv2d_0a_1x1", 384), (Step("Conv2d_0b_1x3", 384), Step(second, 384))],
            [
                Step("Conv2d_0a_1x1", 448),
                Step("Conv2d_0b_3x3", 384),
                (Step("Conv2d_0c_1x3", 384), Step("Conv2d_0d_3x1", 384)),
            ],
            [_POOL, Step("Conv2d_0b_1x1", 192)],
        ),
    )


# Where a name says another size or another place than its convolution has, the public checkpoints have it so.
_PARTS = (
    Step("Conv2d_1a_3x3", 32, 2, "VALID"),
    Step("Conv2d_2a_3x3", 32, 1, "VALID"),
    Step("Conv2d_2b_3x3", 64),
    Step("MaxPool_3a_3x3", 0, 2, "VALID"),
    Step("Conv2d_3b_1x1", 80, 1, "VALID"),
    Step("Conv2d_4a_3x3", 192, 1, "VALID"),
    Step("MaxPool_5a_3x3", 0, 2, "VALID"),
    _of_35("Mixed_5b", 32),
    _of_35("Mixed_5c", 64, "Conv2d_0b_1x1", "Conv_1_0c_5x5"),
    _of_35("Mixed_5d", 64),
    Module(
        "Mixed_6a",
        (
            [Step("Conv2d_1a_1x1", 384, 2, "VALID", window=(3, 3))],
            [
                Step("Conv2d_0a_1x1", 64),
                Step("Conv2d_0b_3x3", 96),
                Step("Conv2d_1a_1x1", 96, 2, "VALID", window=(3, 3)),
            ],
            [Step("MaxPool_1a_3x3", 0, 2, "VALID")],
        ),
    ),
    _of_17("Mixed_6b", 128),
    _of_17("Mixed_6c", 160),
    _of_17("Mixed_6d", 160),
    _of_17("Mixed_6e", 192),
    Module(
        "Mixed_7a",
        (
            [Step("Conv2d_0a_1x1", 192), Step("Conv2d_1a_3x3", 320, 2, "VALID")],
            [
                Step("Conv2d_0a_1x1", 192),
                Step("Conv2d_0b_1x7", 192),
                Step("Conv2d_0c_7x1", 192),
                Step("Conv2d_1a_3x3", 192, 2, "VALID"),
            ],
            [Step("MaxPool_1a_3x3", 0, 2, "VALID")],
        ),
    ),
    _of_8("Mixed_7b", "Conv2d_0b_3x1"),
    _of_8("Mixed_7c", "Conv2d_0c_3x1"),
)


def inception_v3_base(
    inputs: Any, final_endpoint: str = "Mixed_7c", min_depth: int = 16, depth_multiplier: float = 1.0,
    scope: Any = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns the features of a part of the network, and the tensors of the parts up to it by name.

    Args:
      inputs: [batch, height, width, 3].
      final_endpoint: the part: `Conv2d_1a_3x3` … `Mixed_7c`.
      min_depth: the fewest filters that a convolution gets when the multiplier is below 1.
      depth_multiplier: a factor of the number of filters.
      scope: the variable scope.

    Raises:
      ValueError: if no part has the name, or the multiplier is not positive.
    """
    depth = depths(min_depth, depth_multiplier)
    with variable_scope(scope, "InceptionV3", [inputs]):
        return built(inputs, _PARTS, final_endpoint, {}, depth)


def _beside(net: Any, num_classes: int, spatial_squeeze: bool, depth: Callable[[int], int]) -> Any:
    """Returns logits from half way, whose loss helps training."""
    with variable_scope("AuxLogits"):
        net = avg_pool2d(net, [5, 5], stride=3, padding="VALID", scope="AvgPool_1a_5x5")
        net = conv2d(net, depth(128), [1, 1], scope="Conv2d_1b_1x1")
        window = window_within(net, [5, 5])
        net = conv2d(
            net, depth(768), window, weights_initializer=trunc_normal(0.01), padding="VALID",
            scope="Conv2d_2a_{}x{}".format(*window),
        )  # fmt: skip
        net = conv2d(
            net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, weights_initializer=trunc_normal(0.001),
            scope="Conv2d_2b_1x1",
        )  # fmt: skip
        return squeeze(net, [1, 2], name="SpatialSqueeze") if spatial_squeeze else net


def inception_v3(
    inputs: Any, num_classes: int = 1000, is_training: Any = True, dropout_keep_prob: float = 0.8, min_depth: int = 16,
    depth_multiplier: float = 1.0, prediction_fn: Callable[..., Any] = softmax, spatial_squeeze: bool = True,
    reuse: Any = None, create_aux_logits: bool = True, scope: Any = "InceptionV3",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns logits [batch, num_classes], and the tensors of the parts by name.

    Args:
      inputs: [batch, 299, 299, 3].
      num_classes: how many logits.
      is_training: whether values are dropped, and normalization takes the figures of the batch.
      dropout_keep_prob: the share that is kept.
      min_depth: the fewest filters that a convolution gets when the multiplier is below 1.
      depth_multiplier: a factor of the number of filters.
      prediction_fn: makes predictions of the logits.
      spatial_squeeze: whether logits lose their two axes of size 1.
      reuse: whether the weights must exist already.
      create_aux_logits: whether there are logits from half way, `AuxLogits`.
      scope: the variable scope.

    Raises:
      ValueError: if the multiplier is not positive.
    """
    depth = depths(min_depth, depth_multiplier)
    with (
        variable_scope(scope, "InceptionV3", [inputs, num_classes], reuse=reuse) as within,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v3_base(
            inputs, min_depth=min_depth, depth_multiplier=depth_multiplier, scope=within
        )
        if create_aux_logits:
            end_points["AuxLogits"] = _beside(end_points["Mixed_6e"], num_classes, spatial_squeeze, depth)
        with variable_scope("Logits"):
            window = window_within(net, [8, 8])
            net = avg_pool2d(net, window, padding="VALID", scope="AvgPool_1a_{}x{}".format(*window))
            net = dropout(net, dropout_keep_prob, scope="Dropout_1b")
            end_points["PreLogits"] = net
            logits = conv2d(
                net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1"
            )
            if spatial_squeeze:
                logits = squeeze(logits, [1, 2], name="SpatialSqueeze")
        end_points["Logits"] = logits
        end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


inception_v3.default_image_size = 299  # type: ignore[attr-defined]


def inception_v3_arg_scope(
    weight_decay: float = 0.00004, batch_norm_var_collection: str = "moving_vars", batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001, updates_collections: Any = GraphKeys.UPDATE_OPS,
    use_fused_batchnorm: bool = True,
) -> Any:  # fmt: skip
    """Returns the arguments of layers that the network is trained with.

    Args:
      weight_decay: of the weights.
      batch_norm_var_collection: the collection that moving figures join.
      batch_norm_decay, batch_norm_epsilon: of the normalization.
      updates_collections: the collections that updates of moving figures join; None: they are made at once.
      use_fused_batchnorm: whether the normalization is one op.
    """
    norm = {
        "decay": batch_norm_decay, "epsilon": batch_norm_epsilon, "updates_collections": updates_collections,
        "fused": use_fused_batchnorm, "variables_collections": moving(batch_norm_var_collection),
    }  # fmt: skip
    return inception_arg_scope(weight_decay, norm)
