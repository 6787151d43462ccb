"""Residual networks in their first form: "Deep residual learning for image recognition"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.contrib.framework.arg_scope import add_arg_scope, arg_scope
from graphflow.contrib.layers.layers import batch_norm, conv2d, max_pool2d
from graphflow.contrib.layers.utils import collect_named_outputs, last_dimension
from graphflow.contrib.slim.nets import resnet_utils
from graphflow.contrib.slim.nets.resnet_utils import Block, conv2d_same, stack_blocks_dense, subsample
from graphflow.contrib.slim.nets.resnet_utils import resnet_arg_scope as resnet_arg_scope
from graphflow.graph import Tensor
from graphflow.nn import relu
from graphflow.ops.reduction import reduce_mean
from graphflow.variable_scope import variable_scope


@add_arg_scope
def bottleneck(
    inputs: Any, depth: int, depth_bottleneck: int, stride: int, rate: int = 1, outputs_collections: Any = None,
    scope: Any = None,
) -> Tensor:  # fmt: skip
    """Returns a unit: three convolutions, each normalized, beside a way around them.

    Args:
      inputs: [batch, height, width, channels].
      depth: how many channels come out.
      depth_bottleneck: how many channels the inner convolutions have.
      stride: of the middle convolution and of the way around.
      rate: of the middle convolution.
      outputs_collections: collections that the result joins.
      scope: the variable scope.
    """
    with variable_scope(scope, "bottleneck_v1", [inputs]) as sc:
        if depth == last_dimension(inputs.shape, min_rank=4):
            around = subsample(inputs, stride, "shortcut")
        else:
            around = conv2d(inputs, depth, [1, 1], stride=stride, activation_fn=None, scope="shortcut")
        net = conv2d(inputs, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        net = conv2d_same(net, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        net = conv2d(net, depth, [1, 1], stride=1, activation_fn=None, scope="conv3")
        result: Tensor = collect_named_outputs(outputs_collections, sc.name, relu(around + net))
        return result


def resnet_v1(
    inputs: Any, blocks: Sequence[Block], num_classes: int | None = None, is_training: Any = True,
    global_pool: bool = True, output_stride: int | None = None, include_root_block: bool = True, reuse: Any = None,
    scope: Any = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns the features or logits of a residual network, and its tensors by their scopes.

    Args:
      inputs: [batch, height, width, channels].
      blocks: the blocks, such as `resnet_v1_block` makes.
      num_classes: how many logits; None: the features.
      is_training: whether normalization takes the figures of the batch.
      global_pool: whether features are averaged over the image.
      output_stride: the stride that is not to be passed: later ones become rates; None: no limit.
      include_root_block: whether the network begins with a convolution and a pool of stride 4.
      reuse: whether the weights must exist already.
      scope: the variable scope.

    Raises:
      ValueError: if `output_stride` cannot be reached.
    """
    with variable_scope(scope, "resnet_v1", [inputs], reuse=reuse) as sc:
        collection = f"{sc.original_name_scope}_end_points"
        with (
            arg_scope([conv2d, bottleneck, stack_blocks_dense], outputs_collections=[collection]),
            arg_scope([batch_norm], is_training=is_training),
        ):
            net = inputs
            if include_root_block:
                output_stride = resnet_utils.root_stride(output_stride)
                net = conv2d_same(net, 64, 7, stride=2, scope="conv1")
                net = max_pool2d(net, [3, 3], stride=2, scope="pool1")
            net = stack_blocks_dense(net, blocks, output_stride)
            if global_pool:
                net = reduce_mean(net, [1, 2], name="pool5", keepdims=True)
            return resnet_utils.finished(net, num_classes, collection)


resnet_v1.default_image_size = 224  # type: ignore[attr-defined]


def resnet_v1_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """Returns a block of bottlenecks with `4 * base_depth` channels; its last unit has the stride."""
    return resnet_utils.units(scope, bottleneck, base_depth, num_units, stride)


def _blocks(depths: Sequence[int]) -> list[Block]:
    strides = (2, 2, 2, 1)
    return [
        resnet_v1_block(f"block{i + 1}", 64 << i, depth, stride)
        for i, (depth, stride) in enumerate(zip(depths, strides, strict=True))
    ]


def resnet_v1_50(
    inputs: Any, num_classes: int | None = None, is_training: Any = True, global_pool: bool = True,
    output_stride: int | None = None, reuse: Any = None, scope: Any = "resnet_v1_50",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 50 layers; arguments and results are those of `resnet_v1`."""
    return resnet_v1(
        inputs, _blocks((3, 4, 6, 3)), num_classes, is_training, global_pool, output_stride,
        reuse=reuse, scope=scope,
    )  # fmt: skip


def resnet_v1_101(
    inputs: Any, num_classes: int | None = None, is_training: Any = True, global_pool: bool = True,
    output_stride: int | None = None, reuse: Any = None, scope: Any = "resnet_v1_101",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 101 layers; arguments and results are those of `resnet_v1`."""
    return resnet_v1(
        inputs, _blocks((3, 4, 23, 3)), num_classes, is_training, global_pool, output_stride,
        reuse=reuse, scope=scope,
    )  # fmt: skip


def resnet_v1_152(
    inputs: Any, num_classes: int | None = None, is_training: Any = True, global_pool: bool = True,
    output_stride: int | None = None, reuse: Any = None, scope: Any = "resnet_v1_152",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 152 layers; arguments and results are those of `resnet_v1`."""
    return resnet_v1(
        inputs, _blocks((3, 8, 36, 3)), num_classes, is_training, global_pool, output_stride,
        reuse=reuse, scope=scope,
    )  # fmt: skip


def resnet_v1_200(
    inputs: Any, num_classes: int | None = None, is_training: Any = True, global_pool: bool = True,
    output_stride: int | None = None, reuse: Any = None, scope: Any = "resnet_v1_200",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The network with 200 layers; arguments and results are those of `resnet_v1`."""
    return resnet_v1(
        inputs, _blocks((3, 24, 36, 3)), num_classes, is_training, global_pool, output_stride,
        reuse=reuse, scope=scope,
    )  # fmt: skip


for _net in (resnet_v1_50, resnet_v1_101, resnet_v1_152, resnet_v1_200):
    _net.default_image_size = 224  # type: ignore[attr-defined]
