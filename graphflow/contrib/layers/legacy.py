"""Fully connected layers as they were before `fully_connected`: other names and collections."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from graphflow import nn
from graphflow.contrib.framework.arg_scope import add_arg_scope
from graphflow.contrib.layers.initializers import xavier_initializer
from graphflow.graph import GraphKeys, Tensor, add_to_collections
from graphflow.initializers import zeros_initializer
from graphflow.opdef import convert_to_tensor
from graphflow.ops.layout import reshape
from graphflow.ops.linalg import matmul
from graphflow.ops.source import shape
from graphflow.variable_scope import get_variable, variable_scope

_XAVIER, _ZEROS = xavier_initializer(), zeros_initializer()


def _joining(collections: Sequence[Any] | None) -> list[Any]:
    return sorted({*(collections or ()), GraphKeys.GLOBAL_VARIABLES})


@add_arg_scope
def legacy_fully_connected(
    x: Any, num_output_units: int, activation_fn: Any = None, weight_init: Any = _XAVIER, bias_init: Any = _ZEROS,
    name: str | None = None, weight_collections: Sequence[Any] = (GraphKeys.WEIGHTS,),
    bias_collections: Sequence[Any] = (GraphKeys.BIASES,),
    output_collections: Sequence[Any] = (GraphKeys.ACTIVATIONS,), trainable: bool = True,
    weight_regularizer: Any = None, bias_regularizer: Any = None,
) -> Tensor:  # fmt: skip
    """Returns `activation_fn(x @ weights + bias)` over the last axis.

    Args:
      x: [..., in], of rank 2 or more.
      num_output_units: how many outputs.
      activation_fn: a function of the sums, or None.
      weight_init, bias_init: initializers; None for the bias: no bias.
      name: the variable scope.
      weight_collections, bias_collections, output_collections: collections that these join.
      trainable: whether the variables are trained.
      weight_regularizer, bias_regularizer: regularizers.

    Raises:
      ValueError: if the rank is below 2, or the last size is unknown.
    """
    with variable_scope(name, "fully_connected", [x]):
        value = convert_to_tensor(x)
        rank = value.shape.rank
        if rank is None or rank < 2:
            raise ValueError(f"rank of x must be at least 2 not: {rank}")
        size = value.shape.as_list()[-1]
        if size is None:
            raise ValueError(f"last dimension of x must be known but is None: {value.shape}")
        weights = get_variable(
            "weights", shape=[size, num_output_units], dtype=value.dtype, initializer=weight_init,
            collections=_joining(weight_collections), regularizer=weight_regularizer, trainable=trainable,
        )  # fmt: skip
        outputs = matmul(value if rank == 2 else reshape(value, [-1, size]), weights)
        if bias_init is not None:
            bias = get_variable(
                "bias", shape=[num_output_units], dtype=value.dtype, initializer=bias_init,
                collections=_joining(bias_collections), regularizer=bias_regularizer, trainable=trainable,
            )  # fmt: skip
            outputs = nn.bias_add(outputs, bias)
        if rank > 2:
            known = value.shape.as_list()[:-1]
            sizes: Any = [*known, num_output_units]
            if None in known:
                actual = shape(value)
                sizes = [actual[i] if each is None else each for i, each in enumerate(known)]
                sizes.append(num_output_units)
            outputs = reshape(outputs, sizes)
            outputs.set_shape([*known, num_output_units])
        result: Tensor = outputs if activation_fn is None else activation_fn(outputs)
        add_to_collections(list(output_collections or ()), result)
        return result


legacy_linear = functools.partial(legacy_fully_connected, activation_fn=None)
legacy_relu = functools.partial(legacy_fully_connected, activation_fn=nn.relu)

__all__ = ["legacy_fully_connected", "legacy_linear", "legacy_relu"]
