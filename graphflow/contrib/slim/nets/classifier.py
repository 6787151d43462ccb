"""What the older networks end with: layers over the whole image, written as convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.layers import conv2d, dropout, fully_connected, max_pool2d
from graphflow.contrib.layers.utils import convert_collection_to_dict
from graphflow.graph import Tensor
from graphflow.initializers import truncated_normal_initializer, zeros_initializer
from graphflow.ops.layout import squeeze
from graphflow.variable_scope import variable_scope


def trunc_normal(stddev: float) -> Any:
    """Returns an initializer: normal values with a mean of 0, none further off than two deviations."""
    return truncated_normal_initializer(0.0, stddev)


def classified(
    inputs: Any, scope: Any, name: str, features: Callable[[Any], Tensor], window: Sequence[int], width: int,
    num_classes: int, is_training: Any, dropout_keep_prob: float, spatial_squeeze: bool, **convolutions: Any,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns the logits of a network that ends with fc6, fc7 and fc8, and its tensors by their scopes.

    Args:
      inputs: [batch, height, width, channels].
      scope, name: the variable scope, and what it is called if there is none.
      features: gives what fc6 looks at.
      window: the sizes that fc6 looks at.
      width: the filters of fc6.
      num_classes: how many logits.
      is_training: whether values are dropped.
      dropout_keep_prob: the share that is kept.
      spatial_squeeze: whether logits lose their two axes of size 1.
      **convolutions: arguments of fc6, fc7 and fc8.
    """
    with variable_scope(scope, name, [inputs]) as sc:
        collection = sc.name + "_end_points"
        with arg_scope([conv2d, fully_connected, max_pool2d], outputs_collections=[collection]):
            net = features(inputs)
            with arg_scope([conv2d], **convolutions):
                net = conv2d(net, width, window, padding="VALID", scope="fc6")
                net = dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout6")
                net = conv2d(net, 4096, [1, 1], scope="fc7")
                net = dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout7")
                # In the networks whose biases begin at 0.1 those of the logits begin at 0 still.
                last = {"biases_initializer": zeros_initializer()} if convolutions else {}
                net = conv2d(
                    net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="fc8", **last
                )
        end_points = convert_collection_to_dict(collection)
        if spatial_squeeze:
            net = squeeze(net, [1, 2], name="fc8/squeezed")
            end_points[sc.name + "/fc8"] = net
        return net, end_points
