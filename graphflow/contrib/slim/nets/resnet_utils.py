"""What residual networks of both forms share: blocks, strides that become rates, arguments of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphflow.contrib.framework.arg_scope import add_arg_scope, arg_scope
from graphflow.contrib.layers.initializers import variance_scaling_initializer
from graphflow.contrib.layers.layers import batch_norm, conv2d, max_pool2d, softmax
from graphflow.contrib.layers.regularizers import l2_regularizer
from graphflow.contrib.layers.utils import collect_named_outputs, convert_collection_to_dict
from graphflow.graph import GraphKeys, Tensor
from graphflow.nn import relu
from graphflow.ops.layout import pad
from graphflow.variable_scope import variable_scope


class Block(NamedTuple):
    """Units one after another.

    Attributes:
      scope: the variable scope.
      unit_fn: builds a unit: `unit_fn(inputs, rate=…, **arguments)`.
      args: the arguments of each unit, a dict each: `depth`, `depth_bottleneck`, `stride`.
    """

    scope: str
    unit_fn: Callable[..., Any]
    args: Sequence[Any]


def units(scope: str, unit_fn: Callable[..., Any], base_depth: int, num_units: int, stride: int) -> Block:
    """Returns a block of bottlenecks whose last unit has the stride."""
    unit = {"depth": base_depth * 4, "depth_bottleneck": base_depth, "stride": 1}
    return Block(scope, unit_fn, [*([unit] * (num_units - 1)), {**unit, "stride": stride}])


def subsample(inputs: Any, factor: int, scope: Any = None) -> Tensor:
    """Returns each `factor`-th row and column of [batch, height, width, channels]."""
    result: Tensor = inputs if factor == 1 else max_pool2d(inputs, [1, 1], stride=factor, scope=scope)
    return result


def conv2d_same(
    inputs: Any, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: Any = None
) -> Tensor:
    """Returns a convolution that pads the same way whatever the size of the image, unlike padding "SAME".

    With a stride, "SAME" would start at another pixel for an even size than for an odd one.

    Args:
      inputs: [batch, height, width, channels].
      num_outputs: how many filters.
      kernel_size, stride, rate: a number for both axes.
      scope: the variable scope.
    """
    if stride == 1:
        same: Tensor = conv2d(
            inputs, num_outputs, kernel_size, stride=1, rate=rate, padding="SAME", scope=scope
        )
        return same
    around = kernel_size + (kernel_size - 1) * (rate - 1) - 1
    ends = [around // 2, around - around // 2]
    padded = pad(inputs, [[0, 0], ends, ends, [0, 0]])
    result: Tensor = conv2d(
        padded, num_outputs, kernel_size, stride=stride, rate=rate, padding="VALID", scope=scope
    )
    return result


@add_arg_scope
def stack_blocks_dense(
    net: Any, blocks: Sequence[Block], output_stride: int | None = None, outputs_collections: Any = None
) -> Tensor:
    """Returns what blocks give one after another; once `output_stride` is reached, strides become rates.

    Args:
      net: [batch, height, width, channels].
      blocks: the blocks.
      output_stride: the product of strides that is not to be passed; None: no limit.
      outputs_collections: collections that the result of each block joins.

    Raises:
      ValueError: if the strides pass over `output_stride` or never reach it.
    """
    reached, rate = 1, 1
    for block in blocks:
        with variable_scope(block.scope, "block", [net]) as sc:
            for i, unit in enumerate(block.args, 1):
                if output_stride is not None and reached > output_stride:
                    raise ValueError("The target output_stride cannot be reached.")
                with variable_scope(f"unit_{i}", values=[net]):
                    stride = unit.get("stride", 1)
                    if reached == output_stride:
                        net = block.unit_fn(net, rate=rate, **{**unit, "stride": 1})
                        rate *= stride
                    else:
                        net = block.unit_fn(net, rate=1, **unit)
                        reached *= stride
            net = collect_named_outputs(outputs_collections, sc.name, net)
    if output_stride is not None and reached != output_stride:
        raise ValueError("The target output_stride cannot be reached.")
    result: Tensor = net
    return result


def root_stride(output_stride: int | None) -> int | None:
    """Returns the stride that is left to the blocks after a root of stride 4.

    Raises:
      ValueError: if it is no multiple of 4.
    """
    if output_stride is None:
        return None
    if output_stride % 4:
        raise ValueError("The output_stride needs to be a multiple of 4.")
    return output_stride // 4


def finished(net: Any, num_classes: int | None, collection: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the logits, if there are classes, and the tensors by their scopes."""
    if num_classes is not None:
        net = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits")
    end_points = convert_collection_to_dict(collection)
    if num_classes is not None:
        end_points["predictions"] = softmax(net, scope="predictions")
    return net, end_points


def resnet_arg_scope(
    weight_decay: float = 0.0001, batch_norm_decay: float = 0.997, batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
) -> Any:  # fmt: skip
    """Returns the arguments of layers that residual networks are trained with.

    Args:
      weight_decay: of the weights.
      batch_norm_decay, batch_norm_epsilon, batch_norm_scale: of the normalization.
    """
    norm = {
        "decay": batch_norm_decay, "epsilon": batch_norm_epsilon, "scale": batch_norm_scale,
        "updates_collections": GraphKeys.UPDATE_OPS,
    }  # fmt: skip
    with (
        arg_scope(
            [conv2d], weights_regularizer=l2_regularizer(weight_decay),
            weights_initializer=variance_scaling_initializer(), activation_fn=relu, normalizer_fn=batch_norm,
            normalizer_params=norm,
        ),
        arg_scope([batch_norm], **norm),
        # The paper pools 3 x 3 with padding, as its code does.
        arg_scope([max_pool2d], padding="SAME") as scope,
    ):  # fmt: skip
        return scope
