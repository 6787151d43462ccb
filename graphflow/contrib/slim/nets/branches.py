"""Inception networks as tables: steps one after another, and modules whose branches stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphflow.contrib.framework.arg_scope import arg_scope
from graphflow.contrib.layers.initializers import variance_scaling_initializer
from graphflow.contrib.layers.layers import avg_pool2d, batch_norm, conv2d, fully_connected, max_pool2d
from graphflow.contrib.layers.regularizers import l2_regularizer
from graphflow.contrib.slim.nets.classifier import trunc_normal
from graphflow.graph import Tensor
from graphflow.nn import relu
from graphflow.ops.layout import concat
from graphflow.variable_scope import variable_scope


class Step(NamedTuple):
    """A convolution or a pool.

    Attributes:
      name: its scope; it begins with `MaxPool` or `AvgPool` for a pool, and ends with the size of the window.
      depth: how many filters.
      stride, padding: as layers have them.
      stddev: of the first weights; None: as the scope of arguments says.
      window: the size, where the name says another one.
    """

    name: str
    depth: int = 0
    stride: int = 1
    padding: str = "SAME"
    stddev: float | None = None
    window: tuple[int, int] | None = None


Branch = Sequence["Step | tuple[Step, ...]"]
"""Steps one after another; those of a tuple stand side by side."""


class Module(NamedTuple):
    """Branches side by side under one scope."""

    name: str
    branches: Sequence[Branch]


def _stepped(net: Any, step: Step, depth: Callable[[int], int]) -> Any:
    rows, _, columns = step.name.rpartition("_")[2].partition("x")
    window = list(step.window or (int(rows), int(columns)))
    how = {"stride": step.stride, "padding": step.padding, "scope": step.name}
    if step.name.startswith("MaxPool"):
        return max_pool2d(net, window, **how)
    if step.name.startswith("AvgPool"):
        return avg_pool2d(net, window, **how)
    first = {} if step.stddev is None else {"weights_initializer": trunc_normal(step.stddev)}
    return conv2d(net, depth(step.depth), window, **how, **first)


def _branched(net: Any, branch: Branch, depth: Callable[[int], int]) -> Any:
    for step in branch:
        if isinstance(step, Step):
            net = _stepped(net, step, depth)
        else:
            net = concat([_stepped(net, each, depth) for each in step], 3)
    return net


def built(
    net: Any, parts: Sequence[Step | Module], final_endpoint: str, end_points: dict[str, Tensor],
    depth: Callable[[int], int] = int,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Returns what parts give one after another, up to the one named, and their tensors by name.

    Raises:
      ValueError: if no part has the name.
    """
    if final_endpoint in end_points:
        return net, end_points
    for part in parts:
        if isinstance(part, Step):
            net = _stepped(net, part, depth)
        else:
            with variable_scope(part.name):
                outputs = []
                for i, branch in enumerate(part.branches):
                    with variable_scope(f"Branch_{i}"):
                        outputs.append(_branched(net, branch, depth))
                net = concat(outputs, 3)
        end_points[part.name] = net
        if part.name == final_endpoint:
            return net, end_points
    raise ValueError(f"Unknown final endpoint {final_endpoint}")


def depths(min_depth: int, depth_multiplier: float) -> Callable[[int], int]:
    """Returns what gives the number of filters of a narrower or wider network.

    Raises:
      ValueError: if the multiplier is not positive.
    """
    if depth_multiplier <= 0:
        raise ValueError("depth_multiplier is not greater than zero.")
    return lambda depth: max(int(depth * depth_multiplier), min_depth)


def window_within(net: Any, window: Sequence[int]) -> list[int]:
    """Returns a window, made smaller where the image is smaller."""
    sizes = net.shape.as_list()[1:3]
    if None in sizes:
        return list(window)
    return [min(size, most) for size, most in zip(sizes, window, strict=True)]


def inception_arg_scope(weight_decay: float, norm: dict[str, Any] | None) -> Any:
    """Returns the arguments of layers that the networks are trained with; `norm` are those of the normalization."""
    normalized = {"normalizer_fn": batch_norm, "normalizer_params": norm} if norm is not None else {
        "normalizer_fn": None, "normalizer_params": {}
    }  # fmt: skip
    with (
        arg_scope([conv2d, fully_connected], weights_regularizer=l2_regularizer(weight_decay)),
        arg_scope(
            [conv2d], weights_initializer=variance_scaling_initializer(), activation_fn=relu, **normalized
        ) as scope,
    ):
        return scope


def moving(collection: str) -> dict[str, Any]:
    """Returns which collections the variables of a normalization join."""
    return {"beta": None, "gamma": None, "moving_mean": [collection], "moving_variance": [collection]}
