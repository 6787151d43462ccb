"""Batch normalisation by given moments, one number per channel, as graphs from before TensorFlow 1.0 hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import emit, op
from graphflow.ops.rules import FLOATS, Array, rank_exactly, widened
from graphflow.shapes import TensorShape

_ATTRS = f"T:type{{{FLOATS}}}; variance_epsilon:float; scale_after_normalization:bool"


def _moments(node: Any, last: int) -> tuple[TensorShape, TensorShape]:
    """The shapes of the images and of a vector with a number per channel."""
    images = rank_exactly(node, 0, 4, "t")
    vector = images[3:]
    for position in range(1, last + 1):
        try:
            vector = vector.merge_with(rank_exactly(node, position, 1))
        except ValueError:
            shape = node.inputs[position].shape
            raise ShapeError(
                f"input {position} must have one element per channel of {images}, has {shape}"
            ) from None
    return images[:3].concatenate(vector), vector


def _shape(node: Any) -> TensorShape:
    return _moments(node, 4)[0]


def _grad_shape(node: Any) -> list[TensorShape]:
    images, vector = _moments(node, 3)
    if not images.is_compatible_with(node.inputs[4].shape):
        raise ShapeError(f"backprop has shape {node.inputs[4].shape}, the images {images}")
    return [images.merge_with(node.inputs[4].shape), *[vector] * 4]


@op("BatchNormWithGlobalNormalization", "t:T; m:T; v:T; beta:T; gamma:T", "result:T", _ATTRS, infer=_shape)
@widened
def batch_norm_op(
    t: Array, m: Array, v: Array, beta: Array, gamma: Array, *, variance_epsilon: float,
    scale_after_normalization: bool,
) -> Array:  # fmt: skip
    """(t - m) / sqrt(v + epsilon) * gamma + beta."""
    factor = 1 / np.sqrt(v + v.dtype.type(variance_epsilon))
    return (t - m) * (factor * gamma if scale_after_normalization else factor) + beta


@batch_norm_op.expand
def batch_norm_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the formula, so that they fuse."""
    t, m, v, beta, gamma = inputs
    if t.dtype.name not in ("float32", "float64"):
        return None
    epsilon = builder.constant(np.array(node.attrs["variance_epsilon"], t.dtype.numpy))
    factor = builder.emit("Rsqrt", builder.emit("AddV2", v, epsilon))
    if node.attrs["scale_after_normalization"]:
        factor = builder.emit("Mul", factor, gamma)
    scaled = builder.emit("Mul", builder.emit("Sub", t, m), factor)
    return [builder.emit("AddV2", scaled, beta)]


@batch_norm_op.gradient
def batch_norm_gradient(op: Any, dy: Tensor) -> list[Any]:
    """All five at once."""
    t, m, v, _, gamma = op.inputs
    attrs = {name: op.attrs[name] for name in ("variance_epsilon", "scale_after_normalization")}
    return list(emit.BatchNormWithGlobalNormalizationGrad(t, m, v, gamma, dy, **attrs))


@op("BatchNormWithGlobalNormalizationGrad", "t:T; m:T; v:T; gamma:T; backprop:T", "dx:T; dm:T; dv:T; db:T; dg:T",
    _ATTRS, infer=_grad_shape, differentiable=False)  # fmt: skip
@widened
def batch_norm_grad_op(
    t: Array, m: Array, v: Array, gamma: Array, backprop: Array, *, variance_epsilon: float,
    scale_after_normalization: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """The gradients of images, moments, offset and scale."""
    kind = t.dtype.type
    root = 1 / np.sqrt(v + kind(variance_epsilon))
    total = backprop.sum(axis=(0, 1, 2))
    product = (backprop * (t - m)).sum(axis=(0, 1, 2))
    scale = gamma if scale_after_normalization else np.ones_like(gamma)
    d_variance = product * scale * root**3 * kind(-0.5)
    d_gamma = product * root if scale_after_normalization else np.zeros_like(gamma)
    return backprop * (root * scale), -total * root * scale, d_variance, total, d_gamma
