"""Neural networks: biases, softmax and its losses, normalisation, dropout, ranking, embeddings."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, colocate_with, get_seed, name_scope
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit, op
from graphflow.ops import row_rules
from graphflow.ops.elementwise import cast, maximum, minimum, relu, sigmoid, square, squared_difference, where
from graphflow.ops.layout import concat, dynamic_partition, dynamic_stitch, gather, reshape, squeeze
from graphflow.ops.linalg import clip_by_norm, xw_plus_b
from graphflow.ops.moments import share_moments_op
from graphflow.ops.random import random_uniform
from graphflow.ops.reduction import reduce_mean, reduce_prod, reduce_sum
from graphflow.ops.rules import (
    FLOATS,
    NUMBERS,
    Array,
    is_half,
    rank_at_least,
    rank_exactly,
    scalar,
    shape_tensor,
    widened,
)
from graphflow.shapes import UNKNOWN, TensorShape, as_shape, broadcast_shapes
from graphflow.symbolic import Derived, about, is_symbolic

_FORMAT = "data_format:string{NHWC|NCHW}=NHWC"


def _kept(values: Any) -> Any:
    """Reading a data format: whether channels come last."""
    return values in ("NHWC", "NDHWC")


# ---------------------------------------------------------------------------- bias


def _channel_axis(rank: int, data_format: str) -> int:
    """Where the channels lie; tensors of more than two axes may have them second."""
    return 1 if data_format == "NCHW" and rank > 2 else rank - 1


def _bias_shape(node: Any) -> TensorShape:
    value = rank_at_least(node, 0, 2, "the value")
    bias = rank_exactly(node, 1, 1, "the bias")
    sizes = value.as_tuple()
    if sizes is None:
        return UNKNOWN
    axis = _channel_axis(len(sizes), node.attrs.get("data_format", "NHWC"))
    channels, count = sizes[axis], bias.as_list()[0]
    if channels is not None and count is not None and channels != count:
        raise ShapeError(f"the value {value} has {channels} channels, the bias {count} elements")
    return TensorShape([*sizes[:axis], channels if count is None else count, *sizes[axis + 1 :]])


def _along(bias: Array, rank: int, data_format: str) -> Array:
    axis = _channel_axis(rank, data_format)
    return bias.reshape([-1 if i == axis else 1 for i in range(rank)])


@op("BiasAdd", "value:T; bias:T", "output:T", f"T:type{{{NUMBERS}}}; {_FORMAT}", infer=_bias_shape)
def bias_add_op(value: Array, bias: Array, *, data_format: str = "NHWC") -> Array:
    """Adds one number per channel."""
    return np.add(value, _along(bias, value.ndim, data_format))


@bias_add_op.lower
def bias_add_lower(b: Any, value: Any, bias: Any, *, data_format: str = "NHWC") -> Any:
    """The sum, where channels lie last and so broadcast by themselves."""
    return b.add(value, bias) if data_format == "NHWC" else None


@bias_add_op.gradient
def bias_add_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient itself, and its sum over all but the channels."""
    return [dy, emit.BiasAddGrad(dy, data_format=op.attrs["data_format"])]


@bias_add_op.expand
def bias_add_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Channels first: a sum with the bias shaped to broadcast."""
    value, bias = inputs
    rank = value.shape.rank
    if node.attrs["data_format"] != "NCHW" or rank is None or rank < 3:
        return None
    shape = builder.constant(np.array([-1 if i == 1 else 1 for i in range(rank)], np.int32))
    return [builder.emit("AddV2", value, builder.emit("Reshape", bias, shape))]


@op("BiasAddV1", "value:T; bias:T", "output:T", f"T:type{{{NUMBERS}}}", infer=_bias_shape)
def bias_add_v1_op(value: Array, bias: Array) -> Array:
    """Adds one number per channel; channels lie last."""
    return np.add(value, bias)


@bias_add_v1_op.lower
def bias_add_v1_lower(b: Any, value: Any, bias: Any) -> Any:
    """The sum."""
    return b.add(value, bias)


@bias_add_v1_op.gradient
def bias_add_v1_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient itself, and its sum over all but the last axis."""
    return [dy, emit.BiasAddGrad(dy)]


def _bias_gradient_shape(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 2, "the gradient")
    sizes = shape.as_tuple()
    if sizes is None:
        return TensorShape([None])
    return TensorShape([sizes[_channel_axis(len(sizes), node.attrs["data_format"])]])


def _other_axes(rank: int, data_format: str) -> tuple[int, ...]:
    channels = _channel_axis(rank, data_format)
    return tuple(axis for axis in range(rank) if axis != channels)


@op(
    "BiasAddGrad", "out_backprop:T", "output:T", f"T:type{{{NUMBERS}}}; {_FORMAT}", infer=_bias_gradient_shape
)
@widened
def bias_add_grad_op(out_backprop: Array, *, data_format: str = "NHWC") -> Array:
    """The sum over all axes but the channels."""
    return np.sum(out_backprop, axis=_other_axes(out_backprop.ndim, data_format), dtype=out_backprop.dtype)


@bias_add_grad_op.gradient
def bias_add_grad_gradient(op: Any, dy: Tensor) -> list[Any]:
    """One number per channel, spread over the rest."""
    (x,) = op.inputs
    if op.attrs["data_format"] == "NCHW":
        if x.shape.rank is None:
            raise ValueError("the second gradient of a bias with channels first needs a known rank")
        axis = _channel_axis(x.shape.rank, "NCHW")
        dy = emit.Reshape(dy, np.array([-1 if i == axis else 1 for i in range(x.shape.rank)], np.int32))
    return [emit.BroadcastTo(dy, shape_tensor(x))]


@bias_add_grad_op.expand
def bias_add_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """A sum over the axes by name."""
    (value,) = inputs
    if value.shape.rank is None:
        return None
    axes = builder.constant(np.array(_other_axes(value.shape.rank, node.attrs["data_format"]), np.int32))
    return [builder.emit("Sum", value, axes)]


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Tensor:
    """Adds a bias to every channel.

    Args:
      value: [batch, ..., channels], or [batch, channels, ...] with `data_format` "NC…".
      bias: [channels].
      data_format: "N…C" (the default) or "NC…".
      name: a name.

    Raises:
      ValueError: if the numbers of channels differ.
    """
    with name_scope(name, "BiasAdd", [value, bias]) as scope:
        layout = "NHWC"
        if data_format is not None:
            if data_format.startswith("NC"):
                layout = "NCHW"
            elif not (data_format.startswith("N") and data_format.endswith("C")):
                raise ValueError(f"data_format must be of the form `N...C` or `NC...`, got {data_format!r}")
        value = convert_to_tensor(value, name="input")
        bias = convert_to_tensor(bias, value.dtype, name="bias")
        result: Tensor = emit.BiasAdd(value, bias, data_format=layout, name=scope)
        return result


# ---------------------------------------------------------------------------- softmax


def _rows(node: Any) -> TensorShape:
    return rank_at_least(node, 0, 1, "the logits")


@op("Softmax", "logits:T", "softmax:T", f"T:type{{{FLOATS}}}", infer=_rows)
@widened
def softmax_op(logits: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis."""
    if not logits.size:
        return logits
    grown = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return grown / np.sum(grown, axis=-1, keepdims=True)


@softmax_op.lower_row
def softmax_lower(b: Any, x: Any) -> Any:
    """One row, shifted by its largest element so that nothing overflows."""
    grown = b.exp(b.sub(x, b.reduce_maxnum(x)))
    # One division a row: dividing each element costs as much as all else.
    return b.mul(grown, b.div(b.const_like(1.0, x), b.reduce_sum(grown)))


@softmax_op.gradient
def softmax_gradient(op: Any, dy: Tensor) -> list[Any]:
    """(dy - sum(dy * y)) * y."""
    (y,) = op.outputs
    total = emit.Sum(dy * y, np.array([-1], np.int32), keep_dims=True)
    return [(dy - total) * y]


@op("LogSoftmax", "logits:T", "logsoftmax:T", f"T:type{{{FLOATS}}}", infer=_rows)
@widened
def log_softmax_op(logits: Array) -> Array:
    """x - log(sum(exp(x))) over the last axis."""
    if not logits.size:
        return logits
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


@log_softmax_op.lower_row
def log_softmax_lower(b: Any, x: Any) -> Any:
    """One row, shifted by its largest element so that nothing overflows."""
    shifted = b.sub(x, b.reduce_maxnum(x))
    return b.sub(shifted, b.log(b.reduce_sum(b.exp(shifted))))


@log_softmax_op.gradient
def log_softmax_gradient(op: Any, dy: Tensor) -> list[Any]:
    """dy - sum(dy) * softmax."""
    total = emit.Sum(dy, np.array([-1], np.int32), keep_dims=True)
    return [dy - total * emit.Exp(op.outputs[0])]


def _over_axis(compute: Callable[..., Tensor], logits: Any, axis: Any, name: str | None) -> Tensor:
    """Applies an op of the last axis to another one."""
    logits = convert_to_tensor(logits)
    rank = logits.shape.rank
    if isinstance(axis, Tensor):
        axis = constant_value(axis)
        if axis is None:
            raise ValueError("the axis of a softmax must be known while building")
    axis = int(axis)
    if axis == -1 or (rank is not None and axis == rank - 1):
        return compute(logits, name=name)
    if rank is None:
        raise ValueError(f"a softmax over axis {axis} needs logits of known rank")
    if not -rank <= axis < rank:
        raise InvalidArgumentError(
            None, None,
            f"Dimension ({axis}) must be in the range [{-rank}, {rank}) where {rank} is the number of dimensions in"
            " the input.",
        )  # fmt: skip
    order = list(range(rank))
    order[axis % rank], order[-1] = order[-1], order[axis % rank]
    perm = np.array(order, np.int32)
    result: Tensor = emit.Transpose(compute(emit.Transpose(logits, perm)), perm, name=name)
    result.set_shape(logits.shape)
    return result


def _one_axis(axis: Any, dim: Any, default: Any = -1) -> Any:
    if axis is not None and dim is not None:
        raise ValueError("Cannot specify both 'axis' and 'dim'")
    chosen = axis if axis is not None else dim
    return default if chosen is None else chosen


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Returns exp(x) / sum(exp(x)) over an axis (the last one by default; `dim` is its old name)."""
    return _over_axis(emit.Softmax, logits, _one_axis(axis, dim), name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Returns log(softmax(x)) over an axis (the last one by default; `dim` is its old name)."""
    return _over_axis(emit.LogSoftmax, logits, _one_axis(axis, dim), name)


# ---------------------------------------------------------------------------- cross entropy


def _cross_entropy_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 2, "the logits")
    rank_exactly(node, 1, 2, "the labels")
    try:
        both = broadcast_shapes(node.inputs[0].shape, node.inputs[1].shape).with_rank(2)
    except ValueError:
        raise ShapeError(
            f"logits and labels must have one shape, have {node.inputs[0].shape} and {node.inputs[1].shape}"
        ) from None
    return [both[:1], both]


@op("SoftmaxCrossEntropyWithLogits", "features:T; labels:T", "loss:T; backprop:T", f"T:type{{{FLOATS}}}",
    infer=_cross_entropy_shape, broadcasting=True)  # fmt: skip
@widened
def softmax_cross_entropy_op(features: Array, labels: Array) -> tuple[Array, Array]:
    """Loss -sum(labels * log_softmax(features)) per row, and its gradient softmax(features) - labels."""
    features, labels = np.broadcast_arrays(features, labels)
    if not features.size:
        return np.zeros(features.shape[:1], features.dtype), np.zeros(features.shape, features.dtype)
    shifted = features - np.max(features, axis=-1, keepdims=True)
    grown = np.exp(shifted)
    total = np.sum(grown, axis=-1, keepdims=True)
    loss = np.sum(labels * (np.log(total) - shifted), axis=-1)
    return loss, grown / total - labels


@softmax_cross_entropy_op.lower_row
def softmax_cross_entropy_lower(b: Any, features: Any, labels: Any) -> Any:
    """Both results of one row."""
    shifted = b.sub(features, b.reduce_maxnum(features))
    grown = b.exp(shifted)
    total = b.reduce_sum(grown)
    loss = b.reduce_sum(b.mul(labels, b.sub(b.log(total), shifted)))
    return loss, b.sub(b.mul(grown, b.div(b.const_like(1.0, total), total)), labels)


def _second_softmax(grad_grad: Tensor, logits: Tensor) -> Tensor:
    """What the gradient of `softmax(logits)` adds."""
    probabilities = emit.Softmax(logits)
    total = emit.Sum(grad_grad * probabilities, np.array([-1], np.int32), keep_dims=True)
    result: Tensor = (grad_grad - total) * probabilities
    return result


@softmax_cross_entropy_op.gradient
def softmax_cross_entropy_gradient(op: Any, d_loss: Any, d_backprop: Any) -> list[Any]:
    """From the loss by the stored gradient; from that gradient by the softmax's own."""
    logits, _ = op.inputs
    d_logits: Any = None
    d_labels: Any = None
    if d_loss is not None:
        column = emit.ExpandDims(d_loss, -1)
        d_logits = column * op.outputs[1]
        d_labels = column * -emit.LogSoftmax(logits)
    if d_backprop is not None:
        second = _second_softmax(d_backprop, logits)
        d_logits = second if d_logits is None else d_logits + second
        d_labels = -d_backprop if d_labels is None else d_labels - d_backprop
    return [d_logits, d_labels]


def _sparse_cross_entropy_shape(node: Any) -> list[TensorShape]:
    features = rank_exactly(node, 0, 2, "the logits")
    labels = rank_exactly(node, 1, 1, "the labels")
    try:
        batch = features[:1].merge_with(labels)
    except ValueError:
        raise ShapeError(f"logits {features} and labels {labels} differ in the number of rows") from None
    return [batch, batch.concatenate(features[1:])]


@op("SparseSoftmaxCrossEntropyWithLogits", "features:T; labels:Tlabels", "loss:T; backprop:T",
    f"T:type{{{FLOATS}}}; Tlabels:type{{int32|int64}}=int64", infer=_sparse_cross_entropy_shape)  # fmt: skip
@widened
def sparse_softmax_cross_entropy_op(features: Array, labels: Array) -> tuple[Array, Array]:
    """Loss -log_softmax(features)[label] per row, and its gradient."""
    count, classes = features.shape
    if labels.shape != (count,):
        raise InvalidArgumentError(
            None, None,
            "logits and labels must have the same first dimension, got logits shape "
            f"{list(features.shape)} and labels shape {list(labels.shape)}",
        )  # fmt: skip
    if count and not classes:
        raise InvalidArgumentError(
            None, None, f"Must have at least one class, but got logits shape {features.shape}"
        )
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        raise InvalidArgumentError(
            None, None,
            f"Received a label value of {int(labels[bad][0])} which is outside the valid range of [0, {classes})."
            f"  Label values: {' '.join(map(str, labels[:32].tolist()))}",
        )  # fmt: skip
    if not features.size:
        return np.zeros(count, features.dtype), np.zeros(features.shape, features.dtype)
    shifted = features - np.max(features, axis=-1, keepdims=True)
    grown = np.exp(shifted)
    total = np.sum(grown, axis=-1, keepdims=True)
    rows = np.arange(count)
    backprop = grown / total
    backprop[rows, labels] -= backprop.dtype.type(1)
    return np.log(total[:, 0]) - shifted[rows, labels], backprop


@sparse_softmax_cross_entropy_op.bounds
def sparse_softmax_cross_entropy_bounds(node: Any) -> dict[int, tuple[int, int]]:
    """The labels must name classes."""
    return {1: (0, node.inputs[0].shape.as_list()[1])}


@sparse_softmax_cross_entropy_op.lower_row
def sparse_softmax_cross_entropy_lower(b: Any, features: Any, labels: Any) -> Any:
    """Both results of one row."""
    shifted = b.sub(features, b.reduce_maxnum(features))
    grown = b.exp(shifted)
    total = b.reduce_sum(grown)
    hit = b.eq(b.index(), b.cast(labels, "i64"))
    picked = b.reduce_sum(b.select(hit, shifted, b.const_like(0.0, features)))
    one = b.select(hit, b.const_like(1.0, features), b.const_like(0.0, features))
    share = b.mul(grown, b.div(b.const_like(1.0, total), total))
    return b.sub(b.log(total), picked), b.sub(share, one)


@sparse_softmax_cross_entropy_op.gradient
def sparse_softmax_cross_entropy_gradient(
    op: Any, d_loss: Tensor | None, d_backprop: Tensor | None
) -> list[Any]:
    """From the loss by the stored gradient; from that gradient by the softmax's own."""
    logits, _ = op.inputs
    d_logits = None
    if d_loss is not None:
        d_logits = emit.ExpandDims(d_loss, -1) * op.outputs[1]
    if d_backprop is not None:
        second = _second_softmax(d_backprop, logits)
        d_logits = second if d_logits is None else d_logits + second
    return [d_logits, None]


def _named_only(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None:
        raise ValueError(f"Only call `{function}` with named arguments (labels=..., logits=..., ...)")
    if labels is None or logits is None:
        raise ValueError("Both labels and logits must be provided.")


def _flat_rows(x: Tensor) -> Tensor:
    """All leading axes as one: [rows, classes]."""
    if x.shape.rank == 2:
        return x
    classes = x.shape.as_list()[-1] if x.shape.rank is not None else None
    if classes:
        rows: Tensor = emit.Reshape(x, np.array([-1, classes], np.int32))
        return rows
    size = emit.StridedSlice(emit.Shape(x), [-1], [0], [1], end_mask=1)
    rows = emit.Reshape(x, emit.ConcatV2([[-1], size], 0))
    return rows


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: Any = None, name: str | None = None, dim: Any = None
) -> Tensor:
    """Returns -sum(labels * log_softmax(logits)) over the classes.

    Args:
      labels: probabilities, of the logits' shape; gradients flow into them.
      logits: [..., classes].
      axis: the axis of the classes, the last one by default; `dim` is its old name.
      name: a name.

    Returns:
      The losses, with the logits' shape without the axis of the classes.
    """
    axis = _one_axis(axis, dim)
    with name_scope(name, "softmax_cross_entropy_with_logits", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        precise = cast(logits, dtypes.float32) if logits.dtype.name in ("float16", "bfloat16") else logits
        if isinstance(labels, Tensor) or hasattr(labels, "_as_graph_element"):
            labels = cast(convert_to_tensor(labels), precise.dtype)
        else:
            labels = convert_to_tensor(labels, precise.dtype, name="labels")
        rank = logits.shape.rank
        if axis != -1 and axis != (rank or 0) - 1:
            if rank is None:
                raise ValueError(f"classes along axis {axis} need logits of known rank")
            order = [i for i in range(rank) if i != axis % rank] + [axis % rank]
            precise = emit.Transpose(precise, np.array(order, np.int32))
            labels = emit.Transpose(labels, np.array(order, np.int32))
        loss, _ = emit.SoftmaxCrossEntropyWithLogits(_flat_rows(precise), _flat_rows(labels), name=scope)
        if precise.shape.rank != 2:
            loss = _back_to_rows(loss, precise)
        return cast(loss, logits.dtype)


def _back_to_rows(loss: Tensor, like: Tensor) -> Tensor:
    known = like.shape.as_list()[:-1] if like.shape.rank is not None else [None, None]
    if known.count(None) <= 1 and 0 not in known:
        shape: Any = np.array([-1 if size is None else size for size in known], np.int32)
    else:
        shape = emit.StridedSlice(emit.Shape(like), [0], [-1], [1], begin_mask=1)
    result: Tensor = emit.Reshape(loss, shape)
    if like.shape.rank is not None:
        result.set_shape(like.shape[:-1])
    return result


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, dim: Any = -1, name: str | None = None,
    axis: Any = None,
) -> Tensor:  # fmt: skip
    """Returns -sum(labels * log_softmax(logits)) over the classes; no gradient flows into the labels.

    Args:
      _sentinel: must be left out.
      labels: probabilities, of the logits' shape.
      logits: [..., classes].
      dim: the axis of the classes; `axis` is its other name.
      name: a name.
      axis: see `dim`.
    """
    chosen = axis if axis is not None else dim
    _named_only("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "softmax_cross_entropy_with_logits_sg", [logits, labels]) as scope:
        labels = emit.StopGradient(labels, name="labels_stop_gradient")
        return softmax_cross_entropy_with_logits_v2(labels, logits, chosen, name=scope)


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """Returns -log_softmax(logits)[..., labels].

    Args:
      _sentinel: must be left out.
      labels: int32 or int64 [...], each a class.
      logits: [..., classes].
      name: a name.

    Returns:
      The losses, of the labels' shape.

    Raises:
      ValueError: if the shapes do not fit.
    """
    _named_only("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "SparseSoftmaxCrossEntropyWithLogits", [labels, logits]):
        labels = convert_to_tensor(labels)
        logits = convert_to_tensor(logits)
        precise = cast(logits, dtypes.float32) if logits.dtype.name in ("float16", "bfloat16") else logits
        rank, label_rank = logits.shape.rank, labels.shape.rank
        if rank == 0:
            raise ValueError(f"Logits cannot be scalars - received shape {logits.shape}.")
        if rank is not None and label_rank is not None and label_rank != rank - 1:
            raise ValueError(
                f"Rank mismatch: Rank of labels (received {label_rank}) should equal rank of logits minus 1"
                f" (received {rank})."
            )
        if rank is not None and not labels.shape.is_compatible_with(logits.shape[:-1]):
            raise ValueError(
                f"Shape mismatch: The shape of labels (received {labels.shape}) should equal the shape of logits"
                f" except for the last dimension (received {logits.shape})."
            )
        if rank == 2:
            loss, _ = emit.SparseSoftmaxCrossEntropyWithLogits(precise, labels, name=name)
            return cast(loss, logits.dtype)
        flat = emit.Reshape(labels, np.array([-1], np.int32))
        loss, _ = emit.SparseSoftmaxCrossEntropyWithLogits(_flat_rows(precise), flat, name=name)
        loss = emit.Reshape(loss, shape_tensor(labels))
        loss.set_shape(labels.shape)
        return cast(loss, logits.dtype)


def _same_shape(labels: Tensor, logits: Tensor) -> None:
    if not labels.shape.is_compatible_with(logits.shape):
        raise ValueError(f"logits and labels must have the same shape ({logits.shape} vs {labels.shape})")


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """Returns the cross entropy of independent classes: max(x, 0) - x z + log(1 + exp(-|x|)), x logits, z labels.

    Raises:
      ValueError: if the shapes differ.
    """
    _named_only("sigmoid_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, logits.dtype, name="labels")
        _same_shape(labels, logits)
        zeros = emit.ZerosLike(logits)
        positive = logits >= zeros
        rectified = emit.Select(positive, logits, zeros)
        minus_size = emit.Select(positive, -logits, logits)
        result: Tensor = emit.AddV2(rectified - logits * labels, emit.Log1p(emit.Exp(minus_size)), name=scope)
        return result


def weighted_cross_entropy_with_logits(
    labels: Any = None,
    logits: Any = None,
    pos_weight: Any = None,
    name: str | None = None,
    targets: Any = None,
) -> Tensor:
    """Returns the sigmoid cross entropy with positive labels weighted.

    Args:
      labels: of the logits' shape; `targets` is its old name.
      logits: the logits.
      pos_weight: the weight of positive labels.
      name: a name.
      targets: see `labels`.
    """
    labels = labels if labels is not None else targets
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, logits.dtype, name="labels")
        _same_shape(labels, logits)
        weight = 1 + (pos_weight - 1) * labels
        tail = emit.Log1p(emit.Exp(-emit.Abs(logits))) + relu(-logits)
        result: Tensor = emit.AddV2((1 - labels) * logits, weight * tail, name=scope)
        return result


def log_poisson_loss(
    targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None
) -> Tensor:
    """Returns exp(log_input) - log_input * targets, with Stirling's estimate of log(targets!) added if asked for."""
    with name_scope(name, "log_poisson_loss", [log_input, targets]):
        log_input = convert_to_tensor(log_input, name="log_input")
        targets = convert_to_tensor(targets, log_input.dtype, name="targets")
        _same_shape(targets, log_input)
        result: Any = emit.Exp(log_input) - log_input * targets
        if compute_full_loss:
            half_log = constant(0.5, targets.dtype) * emit.Log(constant(2 * np.pi, targets.dtype) * targets)
            stirling = targets * emit.Log(targets) - targets + half_log
            small = emit.LogicalAnd(targets >= 0.0, targets <= 1.0)
            result = result + where(small, emit.ZerosLike(targets), stirling)
        loss: Tensor = result
        return loss


@op("L2Loss", "t:T", "output:T", f"T:type{{{FLOATS}}}", infer=scalar)
@widened
def l2_loss_op(t: Array) -> Array:
    """Half the sum of squares."""
    return np.sum(np.square(t), dtype=t.dtype) / t.dtype.type(2)


@l2_loss_op.gradient
def l2_loss_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The tensor itself, scaled."""
    return [op.inputs[0] * dy]


@l2_loss_op.expand
def l2_loss_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """A sum over all axes."""
    (t,) = inputs
    if t.shape.rank is None or is_half(np.empty(0, t.dtype.numpy)):
        return None
    axes = builder.constant(np.arange(t.shape.rank, dtype=np.int32))
    half = builder.constant(np.array(0.5, t.dtype.numpy))
    return [builder.emit("Mul", builder.emit("Sum", builder.emit("Square", t), axes), half)]


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """Returns sum(t²) / 2."""
    result: Tensor = emit.L2Loss(t, name=name)
    return result


# ---------------------------------------------------------------------------- moments and normalisation


def _squeezed(x: Tensor, axes: Any) -> Tensor:
    return squeeze(x, axes)


def _list_of_axes(axes: Any, x: Tensor) -> list[int]:
    value = constant_value(axes) if isinstance(axes, Tensor) else np.asarray(axes)
    if value is None:
        raise ValueError("the axes must be known while building")
    return [int(axis) for axis in np.ravel(value)]


def moments(
    x: Any, axes: Any, shift: Any = None, name: str | None = None, keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns mean and variance over axes.

    Args:
      x: a tensor.
      axes: the axes to average over; None: all.
      shift: accepted; not used, as in TensorFlow.
      name: a name.
      keep_dims: whether the axes stay with size one.
      keepdims: the new name of `keep_dims`.

    Returns:
      `(mean, variance)`.
    """
    keep = bool(keepdims if keepdims is not None else keep_dims)
    with name_scope(name, "moments", [x]):
        x = convert_to_tensor(x, name="x")
        y = cast(x, dtypes.float32) if x.dtype is dtypes.float16 else x
        mean = reduce_mean(y, axes, keepdims=True, name="mean")
        variance = reduce_mean(
            squared_difference(y, emit.StopGradient(mean)), axes, keepdims=True, name="variance"
        )
        if not keep:
            chosen = None if axes is None else _list_of_axes(axes, x)
            mean, variance = _squeezed(mean, chosen), _squeezed(variance, chosen)
        return cast(mean, x.dtype), cast(variance, x.dtype)


def sufficient_statistics(
    x: Any, axes: Any, shift: Any = None, keep_dims: bool | None = None, name: str | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor, Any]:  # fmt: skip
    """Returns what mean and variance follow from: count, sum, sum of squares, and the shift.

    Args:
      x: a tensor.
      axes: the axes to sum over.
      shift: subtracted first, for numbers far from zero; or None.
      keep_dims: whether the axes stay with size one.
      name: a name.
      keepdims: the new name of `keep_dims`.
    """
    keep = bool(keepdims if keepdims is not None else keep_dims)
    axes = sorted(set(_list_of_axes(axes, x)))
    with name_scope(name, "sufficient_statistics", [x, shift]):
        x = convert_to_tensor(x, name="x")
        sizes = x.shape.as_list() if x.shape.rank is not None else None
        if sizes is not None and all(sizes[axis] is not None for axis in axes):
            counts = constant(float(np.prod([sizes[axis] or 0 for axis in axes])), x.dtype, name="count")
        else:
            counts = reduce_prod(gather(cast(emit.Shape(x), x.dtype), axes), name="count")
        if shift is not None:
            shift = convert_to_tensor(shift, x.dtype, name="shift")
            total, squares = x - shift, squared_difference(x, shift)
        else:
            total, squares = x, square(x)
        total = reduce_sum(total, axes, keepdims=keep, name="mean_ss")
        squares = reduce_sum(squares, axes, keepdims=keep, name="var_ss")
    return counts, total, squares, shift


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Returns mean and variance from `sufficient_statistics`."""
    with name_scope(name, "normalize", [counts, mean_ss, variance_ss, shift]):
        divisor = emit.Reciprocal(counts, name="divisor")
        if shift is not None:
            shifted = emit.Mul(mean_ss, divisor, name="shifted_mean")
            mean = emit.AddV2(shifted, shift, name="mean")
        else:
            shifted = mean = emit.Mul(mean_ss, divisor, name="mean")
        variance = emit.Sub(emit.Mul(variance_ss, divisor), square(shifted), name="variance")
    return mean, variance


def weighted_moments(
    x: Any, axes: Any, frequency_weights: Any, name: str | None = None, keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns mean and variance over axes, each element counted by its weight, which broadcasts."""
    keep = bool(keepdims if keepdims is not None else keep_dims)
    with name_scope(name, "weighted_moments", [x, frequency_weights]):
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(frequency_weights, name="frequency_weights")
        wide = x.dtype is dtypes.float16
        y = cast(x, dtypes.float32) if wide else x
        weights = cast(weights, y.dtype)
        total = reduce_sum(weights * y, axes, name="weighted_input_sum", keepdims=True)
        spread = weights + emit.ZerosLike(y)
        divisor = emit.Reciprocal(
            reduce_sum(spread, axes, name="sum_of_weights", keepdims=True), name="inv_weight_sum"
        )
        mean = emit.Mul(total, divisor)
        distances = reduce_sum(
            weights * squared_difference(y, mean), axes, name="weighted_distsq", keepdims=True
        )
        variance = emit.Mul(distances, divisor)
        if not keep:
            chosen = None if axes is None else _list_of_axes(axes, x)
            mean, variance = _squeezed(mean, chosen), _squeezed(variance, chosen)
        return cast(mean, x.dtype), cast(variance, x.dtype)


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: Any, name: str | None = None
) -> Tensor:
    """Returns scale * (x - mean) / sqrt(variance + variance_epsilon) + offset; offset and scale may be None."""
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]):
        x = convert_to_tensor(x)
        mean = convert_to_tensor(mean)
        inverse = emit.Rsqrt(convert_to_tensor(variance) + variance_epsilon)
        if scale is not None:
            inverse = inverse * scale
        rest = -mean * inverse if offset is None else offset - mean * inverse
        result: Tensor = x * cast(inverse, x.dtype) + cast(rest, x.dtype)
        return result


def batch_norm_with_global_normalization(
    t: Any = None, m: Any = None, v: Any = None, beta: Any = None, gamma: Any = None, variance_epsilon: Any = None,
    scale_after_normalization: bool | None = None, name: str | None = None, input: Any = None, mean: Any = None,
    variance: Any = None,
) -> Tensor:  # fmt: skip
    """The old form of `batch_normalization`."""
    t, m, v = (new if old is None else old for old, new in ((t, input), (m, mean), (v, variance)))
    return batch_normalization(
        t, m, v, beta, gamma if scale_after_normalization else None, variance_epsilon, name
    )


def layer_normalization(
    x: Any,
    scale: Any = None,
    offset: Any = None,
    axis: Any = -1,
    epsilon: float = 1e-12,
    name: str | None = None,
) -> Tensor:
    """Returns x normalised to mean 0 and variance 1 over an axis, scaled and shifted.

    Args:
      x: a tensor.
      scale: broadcasts against x; or None.
      offset: broadcasts against x; or None.
      axis: the axis or axes of one normalisation.
      epsilon: added to the variance.
      name: a name.
    """
    with name_scope(name, "layer_normalization", [x, scale, offset]):
        x = convert_to_tensor(x)
        axes = [axis] if isinstance(axis, int) else list(axis)
        mean = reduce_mean(x, axes, keepdims=True)
        centered = emit.Sub(x, mean)
        variance = reduce_mean(square(centered), axes, keepdims=True)
        result: Tensor = emit.Mul(centered, emit.Rsqrt(emit.AddV2(variance, epsilon)))
        if scale is not None:
            result = emit.Mul(result, scale)
        if offset is not None:
            result = emit.AddV2(result, offset)
        return result


# ---------------------------------------------------------------------------- fused batch normalisation


def _norm_axes(rank: int, data_format: str) -> tuple[int, tuple[int, ...]]:
    """The axis of the channels, and all others."""
    channels = rank - 1 if _kept(data_format) else 1
    return channels, tuple(axis for axis in range(rank) if axis != channels)


def _per_channel(x: Array, rank: int, data_format: str) -> Array:
    channels, _ = _norm_axes(rank, data_format)
    return x.reshape([-1 if axis == channels else 1 for axis in range(rank)])


def _fused_rank(node: Any) -> int:
    return 5 if len(node.attrs["data_format"]) == 5 else 4


def _channels(node: Any, positions: Sequence[int], x_position: int) -> tuple[TensorShape, TensorShape]:
    """The image's shape and that of one number per channel, merged with the inputs that have one."""
    rank = _fused_rank(node)
    x = rank_exactly(node, x_position, rank, "x")
    axis, _ = _norm_axes(rank, node.attrs["data_format"])
    vector = x[axis : axis + 1]
    for position in positions:
        given = rank_exactly(node, position, 1, node.op_def.inputs[position].name)
        try:
            vector = vector.merge_with(given)
        except ValueError:
            raise ShapeError(
                f"{node.op_def.inputs[position].name} must have one element per channel, x is {x}, it is {given}"
            ) from None
    sizes = x.as_list()
    sizes[axis] = vector.as_list()[0]
    return TensorShape(sizes), vector


def _fused_shape(node: Any) -> list[TensorShape]:
    used = (
        (1, 2) if node.attrs["is_training"] and node.attrs["exponential_avg_factor"] == 1.0 else (1, 2, 3, 4)
    )
    x, vector = _channels(node, used, 0)
    rank_exactly(node, 3, 1, "mean")
    rank_exactly(node, 4, 1, "variance")
    shapes = [x, vector, vector, vector, vector]
    return [*shapes, TensorShape([])] if len(node.op_def.outputs) == 6 else shapes


def _fused_body(
    x: Array, scale: Array, offset: Array, mean: Array, variance: Array, *, epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0, data_format: str = "NHWC", is_training: bool = True,
) -> tuple[Array, ...]:  # fmt: skip
    """Normalises each channel; in training by the batch's own moments, which are returned too."""
    kind = scale.dtype
    wide = x.astype(np.float32) if is_half(x) else x
    _, axes = _norm_axes(x.ndim, data_format)
    if is_training:
        batch_mean = np.mean(wide, axis=axes)
        centered = wide - _per_channel(batch_mean, x.ndim, data_format)
        batch_variance = np.mean(np.square(centered), axis=axes)
        count = x.size // max(1, scale.size)
        factor = kind.type(exponential_avg_factor)
        unbiased = batch_variance * kind.type(count / max(1, count - 1))
        new_mean, new_variance = batch_mean, unbiased
        if exponential_avg_factor != 1.0:
            new_mean = mean * (1 - factor) + batch_mean * factor
            new_variance = variance * (1 - factor) + unbiased * factor
    else:
        batch_mean, batch_variance = mean, variance
        new_mean, new_variance = mean, variance
        centered = wide - _per_channel(mean, x.ndim, data_format)
    inverse = scale / np.sqrt(batch_variance + kind.type(epsilon))
    y = centered * _per_channel(inverse, x.ndim, data_format) + _per_channel(offset, x.ndim, data_format)
    return y.astype(x.dtype), new_mean, new_variance, batch_mean, batch_variance


def _fused_v3_body(
    x: Array, scale: Array, offset: Array, mean: Array, variance: Array, *, epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0, data_format: str = "NHWC", is_training: bool = True,
) -> tuple[Array, ...]:  # fmt: skip
    """Normalises each channel; the last output is room that other processors need."""
    results = _fused_body(
        x, scale, offset, mean, variance, epsilon=epsilon, exponential_avg_factor=exponential_avg_factor,
        data_format=data_format, is_training=is_training,
    )  # fmt: skip
    return (*results, np.zeros((), scale.dtype))


def _unbiased(count: int) -> float:
    """What makes an estimate of the variance of so many."""
    return count / max(1, count - 1)


def _inverse(count: int) -> float:
    return 1 / count


_SHARE_ELEMENTS = 8192
"""So much of an image stays in the cache while its moments are taken."""

_LARGE_IMAGES = 1 << 20
"""Elements of a batch that no cache holds from one reading to the next."""


def _batch_moments(builder: Any, x: Any, channels: int) -> list[Any] | None:
    """Mean and variance of each channel, at one read of large images whose channels come last; None for others.

    Each share of rows has its own mean, and these are put together. So nothing is lost where the mean is far from zero.
    """
    sizes = x.sizes
    columns = sizes[channels]
    if channels != len(sizes) - 1 or is_symbolic(columns) or x.dtype.name not in ("float32", "float64"):
        return None
    if not about(math.prod(sizes), _LARGE_IMAGES):
        return None
    emit_ = builder.emit
    share = max(16, _SHARE_ELEMENTS // columns)
    matrix = emit_("Reshape", x, builder.constant(np.array([-1, columns], np.int32)))
    means, squares, weights = builder.node(share_moments_op, (matrix,), {"T": x.dtype, "rows": share}).outputs
    over = builder.constant(np.array([0], np.int32))
    mean = emit_("Sum", emit_("Mul", means, weights), over)
    apart = emit_("Mul", emit_("SquaredDifference", means, mean), weights)
    return [mean, emit_("Sum", emit_("AddV2", squares, apart), over)]


def _fused_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the formula, so that they fuse."""
    x, scale, offset, mean, variance = inputs
    sizes = x.sizes
    if sizes is None or x.dtype is not scale.dtype or 0 in sizes:
        return None
    attrs = node.attrs
    kind = scale.dtype.numpy
    channels, axes = _norm_axes(len(sizes), attrs["data_format"])
    emit_ = builder.emit

    def number(value: float) -> Any:
        return builder.constant(np.array(value, kind))

    def spread(vector: Any) -> Any:
        if channels == len(sizes) - 1:
            return vector
        shape = builder.constant(np.array([-1 if i == channels else 1 for i in range(len(sizes))], np.int32))
        return emit_("Reshape", vector, shape)

    over = builder.constant(np.array(axes, np.int32))
    if attrs["is_training"]:
        moments = _batch_moments(builder, x, channels)
        if moments is None:
            batch_mean = emit_("Mean", x, over)
            batch_variance = emit_("Mean", emit_("SquaredDifference", x, spread(batch_mean)), over)
        else:
            batch_mean, batch_variance = moments
        # The size of the batch decides this factor: it holds for these feeds only.
        ratio = builder.constant(Derived.made_of(math.prod(sizes) // sizes[channels], _unbiased, kind), True)
        new_mean, new_variance = batch_mean, emit_("Mul", batch_variance, ratio)
        factor = attrs["exponential_avg_factor"]
        if factor != 1.0:
            old, new = number(1 - kind.type(factor)), number(factor)
            new_mean = emit_("AddV2", emit_("Mul", mean, old), emit_("Mul", new_mean, new))
            new_variance = emit_("AddV2", emit_("Mul", variance, old), emit_("Mul", new_variance, new))
    else:
        batch_mean, batch_variance = mean, variance
        new_mean, new_variance = mean, variance
    inverse = emit_("Mul", scale, emit_("Rsqrt", emit_("AddV2", batch_variance, number(attrs["epsilon"]))))
    centered = emit_("Sub", x, spread(batch_mean))
    y = emit_("AddV2", emit_("Mul", centered, spread(inverse)), spread(offset))
    results = [y, new_mean, new_variance, batch_mean, batch_variance]
    if len(node.outputs) == 6:
        results.append(builder.constant(np.zeros((), kind)))
    return results


def _fused_gradient(op: Any, *dys: Any) -> list[Any]:
    """By the gradient op of the same version; what the running moments receive goes to x directly."""
    x, scale = op.inputs[:2]
    attrs = {name: op.attrs[name] for name in ("epsilon", "data_format", "is_training")}
    dy = dys[0] if dys[0] is not None else emit.ZerosLike(op.outputs[0])
    version = op.type[len("FusedBatchNorm") :]
    if op.attrs["is_training"]:
        reserved = list(op.outputs[3:])
    else:
        reserved = list(op.inputs[3:5]) + list(op.outputs[5:])
    if version:
        scale = cast(scale, dtypes.float32)
    results = getattr(emit, f"FusedBatchNormGrad{version}")(dy, x, scale, *reserved, **attrs)
    d_x, d_scale, d_offset = results[:3]
    d_mean = d_variance = None
    if op.attrs["is_training"]:
        d_x = _through_moments(op, d_x, dys)
        if op.attrs["exponential_avg_factor"] != 1.0:
            old = 1 - op.attrs["exponential_avg_factor"]
            d_mean = None if dys[1] is None else dys[1] * old
            d_variance = None if dys[2] is None else dys[2] * old
    else:
        d_mean, d_variance = dys[1], dys[2]
    return [d_x, d_scale, d_offset, d_mean, d_variance]


def _through_moments(op: Any, d_x: Tensor, dys: Sequence[Any]) -> Tensor:
    """Adds to the image's gradient what its mean and variance, as outputs, receive."""
    x = op.inputs[0]
    factor = op.attrs["exponential_avg_factor"]
    if all(dys[i] is None for i in (1, 2, 3, 4)):
        return d_x
    rank = x.shape.rank
    channels, axes = _norm_axes(rank, op.attrs["data_format"])

    def spread(vector: Tensor) -> Tensor:
        return reshape(vector, [-1 if axis == channels else 1 for axis in range(rank)])

    kind = op.outputs[3].dtype
    wide = cast(x, kind)
    count = cast(emit.Size(x), kind) / cast(emit.Size(op.outputs[3]), kind)
    for i, weight in ((1, factor), (3, 1.0)):
        if dys[i] is not None:
            share = spread(dys[i] * weight / count)
            d_x = d_x + cast(emit.ZerosLike(wide) + share, x.dtype)
    centered = wide - spread(op.outputs[3])
    for i, weight in ((2, factor), (4, 1.0)):
        if dys[i] is not None:
            below = maximum(count - 1, 1.0) if i == 2 else count
            d_x = d_x + cast(centered * spread(dys[i] * (2.0 * weight) / below), x.dtype)
    return d_x


_FUSED_ATTRS = "epsilon:float=9.999999747378752e-05"
_FUSED_TAIL = "exponential_avg_factor:float=1.0; {format}; is_training:bool=true"
_WIDE_FORMAT = "data_format:string{NHWC|NCHW|NDHWC|NCDHW}=NHWC"
_HALF_TYPES = "T:type{float16|bfloat16|float32}; U:type{float32}"


def _fused_op(name: str, kind: str, types: str, layout: str, reserved: int) -> None:
    """Registers one version: they differ in the dtype of the moments and in the number of reserved outputs."""
    spare = "".join(f"; reserve_space_{i}:{kind}" for i in range(1, reserved + 1))
    definition = op(
        name,
        f"x:T; scale:{kind}; offset:{kind}; mean:{kind}; variance:{kind}",
        f"y:T; batch_mean:{kind}; batch_variance:{kind}{spare}",
        f"{types}; {_FUSED_ATTRS}; {_FUSED_TAIL.format(format=layout)}",
        infer=_fused_shape,
    )(_fused_v3_body if reserved == 3 else _fused_body)
    definition.expand(_fused_expand)
    definition.gradient(_fused_gradient)


# Double precision, which TensorFlow has not, lets gradients be checked.
_fused_op("FusedBatchNorm", "T", "T:type{float32|float64}", _FORMAT, 2)
_fused_op("FusedBatchNormV2", "U", _HALF_TYPES, _FORMAT, 2)
_fused_op(
    "FusedBatchNormV3", "U", "T:type{float16|bfloat16|float32}; U:type{bfloat16|float32}", _WIDE_FORMAT, 3
)


def _fused_grad_shape(node: Any) -> list[TensorShape]:
    x, vector = _channels(node, (2, 3, 4), 1)
    dy = node.inputs[0].shape
    if not x.is_compatible_with(dy):
        raise ShapeError(f"x has shape {x}, the gradient of y {dy}")
    return [x.merge_with(dy), vector, vector, TensorShape([0]), TensorShape([0])]


def _fused_grad_body(
    y_backprop: Array, x: Array, scale: Array, reserve_space_1: Array, reserve_space_2: Array, *,
    epsilon: float = 0.0001, data_format: str = "NHWC", is_training: bool = True,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of x, scale and offset, from the moments that normalised."""
    kind = scale.dtype
    rank = x.ndim
    _, axes = _norm_axes(rank, data_format)
    dy = y_backprop.astype(kind)
    inverse = kind.type(1) / np.sqrt(reserve_space_2 + kind.type(epsilon))
    normal = (x.astype(kind) - _per_channel(reserve_space_1, rank, data_format)) * _per_channel(
        inverse, rank, data_format
    )
    d_offset = np.sum(dy, axis=axes)
    d_scale = np.sum(dy * normal, axis=axes)
    if is_training:
        count = kind.type(max(1, x.size // max(1, scale.size)))
        dy = dy - _per_channel(d_offset / count, rank, data_format)
        dy = dy - normal * _per_channel(d_scale / count, rank, data_format)
    d_x = dy * _per_channel(scale * inverse, rank, data_format)
    empty = np.zeros(0, kind)
    return d_x.astype(x.dtype), d_scale, d_offset, empty, empty


def _fused_grad_v3_body(
    y_backprop: Array, x: Array, scale: Array, reserve_space_1: Array, reserve_space_2: Array,
    reserve_space_3: Array, *, epsilon: float = 0.0001, data_format: str = "NHWC", is_training: bool = True,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of x, scale and offset, from the moments that normalised."""
    return _fused_grad_body(
        y_backprop, x, scale, reserve_space_1, reserve_space_2, epsilon=epsilon, data_format=data_format,
        is_training=is_training,
    )  # fmt: skip


def _fused_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the formula, so that they fuse."""
    dy, x, scale, mean, variance = inputs[:5]
    sizes = x.sizes
    if sizes is None or x.dtype is not scale.dtype or 0 in sizes:
        return None
    attrs = node.attrs
    kind = scale.dtype.numpy
    channels, axes = _norm_axes(len(sizes), attrs["data_format"])
    emit_ = builder.emit

    def spread(vector: Any) -> Any:
        if channels == len(sizes) - 1:
            return vector
        shape = builder.constant(np.array([-1 if i == channels else 1 for i in range(len(sizes))], np.int32))
        return emit_("Reshape", vector, shape)

    over = builder.constant(np.array(axes, np.int32))
    inverse = emit_("Rsqrt", emit_("AddV2", variance, builder.constant(np.array(attrs["epsilon"], kind))))
    normal = emit_("Mul", emit_("Sub", x, spread(mean)), spread(inverse))
    d_offset = emit_("Sum", dy, over)
    d_scale = emit_("Sum", emit_("Mul", dy, normal), over)
    if attrs["is_training"]:
        count = math.prod(sizes) // sizes[channels]
        share = builder.constant(Derived.made_of(count, _inverse, kind), True)
        # Both before the first is used: what is made of sums alone stays in their kernel.
        mean_dy, mean_normal = (spread(emit_("Mul", total, share)) for total in (d_offset, d_scale))
        dy = emit_("Sub", emit_("Sub", dy, mean_dy), emit_("Mul", normal, mean_normal))
    d_x = emit_("Mul", dy, spread(emit_("Mul", scale, inverse)))
    empty = builder.constant(np.zeros(0, kind))
    return [d_x, d_scale, d_offset, empty, empty]


def _fused_grad_gradient(op: Any, *dys: Any) -> list[Any]:
    """The second derivative, with the moments taken as functions of x in training."""
    g, x, scale, mean, variance = op.inputs[:5]
    unused = [None] * (len(op.inputs) - 3)
    if x.shape.rank is None:
        raise ValueError("the second gradient of batch normalisation needs a known rank")
    rank = x.shape.rank
    channels, axes = _norm_axes(rank, op.attrs["data_format"])
    kind = scale.dtype

    def spread(vector: Tensor) -> Any:
        return reshape(vector, [-1 if axis == channels else 1 for axis in range(rank)])

    def per_channel(image: Tensor) -> Any:
        return reduce_sum(image, list(axes))

    dy, wide = cast(g, kind), cast(x, kind)
    inverse = emit.Rsqrt(variance + op.attrs["epsilon"])
    r, gamma = spread(inverse), spread(scale)
    normal = (wide - spread(mean)) * r
    zero = emit.ZerosLike(wide)
    a = zero if dys[0] is None else cast(dys[0], kind)
    b = spread(emit.ZerosLike(scale) if dys[1] is None else dys[1])
    c = spread(emit.ZerosLike(scale) if dys[2] is None else dys[2])
    if not op.attrs["is_training"]:
        d_g = a * gamma * r + b * normal + c
        d_scale = per_channel(a * dy * r)
        d_x = b * dy * r
        return [cast(d_g, g.dtype), cast(d_x, x.dtype), d_scale, *unused]
    count = cast(emit.Size(x), kind) / cast(emit.Size(scale), kind)

    def average(image: Tensor) -> Any:
        return spread(per_channel(image) / count)

    mean_ax, mean_gx = average(a * normal), average(dy * normal)
    centered_dy = dy - average(dy) - normal * mean_gx
    d_g = gamma * r * (a - average(a) - normal * mean_ax) + b * normal + c
    d_scale = per_channel(a * r * centered_dy)
    # L depends on x through the normalised image and through the factor r before it.
    h = b * dy - gamma * r * (a * mean_gx + mean_ax * dy)
    through_r = average(gamma * a * centered_dy)
    d_x = r * (h - average(h) - normal * average(h * normal)) - through_r * square(r) * normal
    return [cast(d_g, g.dtype), cast(d_x, x.dtype), d_scale, *unused]


def _fused_grad_op(name: str, kind: str, types: str, layout: str, reserved: int) -> None:
    """Registers the gradient of one version."""
    spare = "".join(f"; reserve_space_{i}:{kind}" for i in range(1, reserved + 1))
    definition = op(
        name,
        f"y_backprop:T; x:T; scale:{'T' if kind == 'T' else 'float32'}{spare}",
        f"x_backprop:T; scale_backprop:{kind}; offset_backprop:{kind}; reserve_space_{reserved + 1}:{kind}; "
        f"reserve_space_{reserved + 2}:{kind}",
        f"{types}; {_FUSED_ATTRS}; {layout}; is_training:bool=true",
        infer=_fused_grad_shape,
    )(_fused_grad_v3_body if reserved == 3 else _fused_grad_body)
    definition.expand(_fused_grad_expand)
    definition.gradient(_fused_grad_gradient)


_fused_grad_op("FusedBatchNormGrad", "T", "T:type{float32|float64}", _FORMAT, 2)
_fused_grad_op("FusedBatchNormGradV2", "U", _HALF_TYPES, _FORMAT, 2)
_fused_grad_op("FusedBatchNormGradV3", "U", _HALF_TYPES, _WIDE_FORMAT, 3)


def fused_batch_norm(
    x: Any, scale: Any, offset: Any, mean: Any = None, variance: Any = None, epsilon: float = 0.001,
    data_format: str = "NHWC", is_training: bool = True, name: str | None = None,
    exponential_avg_factor: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Normalises each channel of images.

    Args:
      x: [batch, height, width, channels], or channels second with "NCHW"; five axes with "NDHWC", "NCDHW".
      scale: [channels].
      offset: [channels].
      mean: [channels], the population's; needed outside training.
      variance: [channels], likewise.
      epsilon: added to the variance.
      data_format: the order of axes.
      is_training: whether to use the batch's own moments.
      name: a name.
      exponential_avg_factor: the weight of the batch's moments in the returned running ones.

    Returns:
      `(y, mean, variance)`; the variance is the unbiased one.

    Raises:
      ValueError: if mean or variance are missing outside training.
    """
    if not is_training and (mean is None or variance is None):
        raise ValueError("Both `mean` and `variance` must be a 1D tensor when `is_training` is False.")
    x = convert_to_tensor(x, name="input")
    scale = convert_to_tensor(scale, name="scale")
    offset = convert_to_tensor(offset, name="offset")
    mean = constant([], scale.dtype) if mean is None else mean
    variance = constant([], scale.dtype) if variance is None else variance
    # cuDNN's smallest epsilon, which TensorFlow keeps to on every device.
    y, running_mean, running_variance, *_ = emit.FusedBatchNormV3(
        x, scale, offset, mean, variance, epsilon=max(epsilon, 1.001e-5), data_format=data_format,
        is_training=is_training, exponential_avg_factor=exponential_avg_factor, name=name,
    )  # fmt: skip
    return y, running_mean, running_variance


def _image_shape(node: Any) -> TensorShape:
    radius = node.attrs["depth_radius"]
    if not 0 <= radius < 2**31:
        raise ShapeError(f"depth_radius must be in [0, 2^31), got {radius}")
    shape = TensorShape([None] * 4)
    for i in range(len(node.inputs)):
        shape = shape.merge_with(rank_exactly(node, i, 4))
    return shape


@op("LRN", "input:T", "output:T",
    "depth_radius:int=5; bias:float=1.0; alpha:float=1.0; beta:float=0.5; T:type{float16|bfloat16|float32}=float32",
    infer=_image_shape)  # fmt: skip
@widened
def lrn_op(
    input: Array, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
) -> Array:
    """Divides each element by a power of the squares of its neighbours in depth."""
    kind = input.dtype.type
    scale = kind(bias) + kind(alpha) * _window_sum(np.square(input), depth_radius)
    return input * scale ** kind(-beta)


lrn_op.by_row(row_rules.first_axis)


def _window_sum(x: Array, radius: int) -> Array:
    """Sums over the 2 radius + 1 neighbours along the last axis."""
    total = np.zeros_like(x)
    depth = x.shape[-1]
    for shift in range(-min(radius, depth - 1), min(radius, depth - 1) + 1):
        if shift >= 0:
            total[..., : depth - shift] += x[..., shift:]
        else:
            total[..., -shift:] += x[..., :shift]
    return total


@op("LRNGrad", "input_grads:T; input_image:T; output_image:T", "output:T",
    "depth_radius:int=5; bias:float=1.0; alpha:float=1.0; beta:float=0.5; T:type{float16|bfloat16|float32}=float32",
    infer=_image_shape, differentiable=False)  # fmt: skip
@widened
def lrn_grad_op(
    input_grads: Array, input_image: Array, output_image: Array, *, depth_radius: int = 5, bias: float = 1.0,
    alpha: float = 1.0, beta: float = 0.5,
) -> Array:  # fmt: skip
    """The gradient of the local response normalisation."""
    kind = input_image.dtype.type
    scale = kind(bias) + kind(alpha) * _window_sum(np.square(input_image), depth_radius)
    spread = _window_sum(input_grads * output_image / scale, depth_radius)
    return input_grads * scale ** kind(-beta) - kind(2 * alpha * beta) * input_image * spread


def _window_sum_of(b: Any, x: Any, radius: int) -> Any:
    """The same in primitive ops, of a matrix: neighbours are windows of the padded rows."""
    depth = x.sizes[1]
    reach = min(radius, depth - 1)
    widths = b.constant(np.array([[0, 0], [reach, reach]], np.int32))
    padded, size = b.emit("Pad", x, widths), b.constant(np.array([-1, depth], np.int32))
    parts = [
        b.emit("Slice", padded, b.constant(np.array([0, reach + shift], np.int32)), size)
        for shift in range(-reach, reach + 1)
    ]
    return b.emit("AddN", *parts, N=len(parts))


def _lrn_scale(b: Any, node: Any, x: Any) -> Any:
    """What elements are divided by a power of."""
    alpha, bias = (b.constant(np.float32(node.attrs[name])) for name in ("alpha", "bias"))
    around = _window_sum_of(b, b.emit("Square", x), node.attrs["depth_radius"])
    return b.emit("AddV2", bias, b.emit("Mul", alpha, around))


def _lrn_rows(b: Any, images: Sequence[Any]) -> list[Any] | None:
    """Images as matrices with a row per pixel."""
    sizes = images[0].sizes
    if sizes is None or 0 in sizes or is_symbolic(sizes[-1]) or images[0].dtype is not dtypes.float32:
        return None
    shape = b.constant(np.array([-1, sizes[-1]], np.int32))
    return [b.emit("Reshape", x, shape) for x in images]


def _as_images(b: Any, x: Any, like: Any) -> Any:
    return b.emit("Reshape", x, b.emit("Shape", like))


@lrn_op.expand
def lrn_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the formula, so that they fuse."""
    rows = _lrn_rows(builder, inputs)
    if rows is None or node.attrs["depth_radius"] < 0:
        return None
    (x,) = rows
    power = builder.constant(np.float32(-node.attrs["beta"]))
    made = builder.emit("Mul", x, builder.emit("Pow", _lrn_scale(builder, node, x), power))
    return [_as_images(builder, made, inputs[0])]


@lrn_grad_op.expand
def lrn_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the formula, so that they fuse."""
    rows = _lrn_rows(builder, inputs)
    if rows is None or node.attrs["depth_radius"] < 0:
        return None
    dy, x, y = rows
    emit_, attrs = builder.emit, node.attrs
    scale = _lrn_scale(builder, node, x)
    spread = _window_sum_of(builder, emit_("RealDiv", emit_("Mul", dy, y), scale), attrs["depth_radius"])
    factor = builder.constant(np.float32(2 * attrs["alpha"] * attrs["beta"]))
    direct = emit_("Mul", dy, emit_("Pow", scale, builder.constant(np.float32(-attrs["beta"]))))
    return [
        _as_images(builder, emit_("Sub", direct, emit_("Mul", emit_("Mul", factor, x), spread)), inputs[1])
    ]


@lrn_op.gradient
def lrn_gradient(op: Any, dy: Tensor) -> list[Any]:
    """By LRNGrad."""
    attrs = {name: op.attrs[name] for name in ("depth_radius", "bias", "alpha", "beta")}
    return [emit.LRNGrad(dy, op.inputs[0], op.outputs[0], **attrs)]


def local_response_normalization(
    input: Any, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns input / (bias + alpha * sum of squares over depth_radius neighbours in depth) ** beta."""
    result: Tensor = emit.LRN(input, depth_radius=depth_radius, bias=bias, alpha=alpha, beta=beta, name=name)
    return result


lrn = local_response_normalization


# ---------------------------------------------------------------------------- dropout and layers


def dropout(
    x: Any, keep_prob: Any = None, noise_shape: Any = None, seed: int | None = None, name: str | None = None,
    rate: Any = None,
) -> Tensor:  # fmt: skip
    """Sets elements to zero at random and scales the others up, so that the expected sum stays.

    Args:
      x: a floating tensor.
      keep_prob: the probability that an element is kept; the old form of `rate`.
      noise_shape: the shape of the random mask, which broadcasts; default that of x.
      seed: the op's seed.
      name: a name.
      rate: the probability that an element is dropped.

    Raises:
      ValueError: if the probability is missing, given twice or outside [0, 1), or x is no floating tensor.
    """
    if keep_prob is not None and rate is not None:
        raise ValueError("Cannot specify both 'rate' and 'keep_prob'")
    if keep_prob is not None:
        try:
            rate = 1.0 - keep_prob
        except TypeError:
            raise ValueError(
                f"keep_prob must be a floating point number or Tensor (got {keep_prob!r})"
            ) from None
    if rate is None:
        raise ValueError("You must provide a rate to dropout.")
    with name_scope(name, "dropout", [x]):
        is_number = isinstance(rate, numbers.Real)
        if is_number and not 0 <= rate < 1:
            raise ValueError(f"rate must be a scalar tensor or a float in the range [0, 1), got {rate:g}")
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_floating:
            raise ValueError(
                "x has to be a floating point tensor since it's going to be scaled. "
                f"Got a {x.dtype.name} tensor instead."
            )
        if is_number and rate == 0:
            get_seed(
                seed
            )  # where seeds are counted, later ones are those that they would be with any other rate
            return x
        if is_number:
            scaled = emit.Mul(x, convert_to_tensor(1.0 / (1.0 - rate), x.dtype))
        else:
            rate = cast(convert_to_tensor(rate, name="rate"), x.dtype)
            if rate.shape.rank not in (None, 0):
                raise ValueError(f"rate must be a scalar, has shape {rate.shape}")
            scaled = emit.RealDiv(x, emit.Sub(constant(1.0, x.dtype), rate))
        noise = random_uniform(_noise_shape(x, noise_shape), seed=seed, dtype=x.dtype)
        # Selecting, unlike multiplying by 0, also drops what is not finite.
        result: Tensor = emit.SelectV2(noise >= rate, scaled, constant(0.0, x.dtype))
        result.set_shape(x.shape)
        return result


def _noise_shape(x: Tensor, noise_shape: Any) -> Any:
    if noise_shape is None:
        return shape_tensor(x)
    if isinstance(noise_shape, Tensor):
        return noise_shape
    if isinstance(noise_shape, list | tuple) and any(isinstance(size, Tensor) for size in noise_shape):
        return convert_to_tensor(noise_shape, dtypes.int32)
    given = as_shape(noise_shape).as_tuple()
    if given is None:
        return shape_tensor(x)
    if x.shape.rank is not None and len(given) == x.shape.rank:
        merged = [size if own is None else own for own, size in zip(given, x.shape.as_list(), strict=True)]
        if None not in merged:
            return np.array(merged, np.int32)
        actual = emit.Shape(x)
        parts = [
            emit.StridedSlice(actual, [i], [i + 1], [1]) if own is None else constant([own], dtypes.int32)
            for i, own in enumerate(given)
        ]
        return emit.ConcatV2(parts, 0)
    return np.array([-1 if size is None else size for size in given], np.int32)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """Returns relu(x @ weights + biases)."""
    with name_scope(name, "relu_layer", [x, weights, biases]) as scope:
        result: Tensor = emit.Relu(xw_plus_b(x, weights, biases), name=scope)
        return result


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Tensor:
    """Returns the positive and the negative parts side by side along an axis."""
    with name_scope(name, "CRelu", [features]):
        features = convert_to_tensor(features, name="features")
        return relu(concat([features, -features], axis))


def swish(features: Any, name: str | None = None) -> Tensor:
    """Returns features * sigmoid(features)."""
    with name_scope(name, "swish", [features]):
        features = convert_to_tensor(features, name="features")
        result: Tensor = features * sigmoid(features)
        return result


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """Returns the fraction of elements that are zero."""
    with name_scope(name, "zero_fraction", [value]):
        value = convert_to_tensor(value, name="value")
        zeros = emit.Equal(value, np.zeros((), value.dtype.as_numpy_dtype))
        return reduce_mean(cast(zeros, dtypes.float32), name="fraction")


# ---------------------------------------------------------------------------- ranking


def _in_top_k_shape(node: Any) -> TensorShape:
    predictions = rank_exactly(node, 0, 2, "the predictions")
    targets = rank_exactly(node, 1, 1, "the targets")
    try:
        return predictions[:1].merge_with(targets)
    except ValueError:
        raise ShapeError(
            f"predictions {predictions} and targets {targets} differ in the number of rows"
        ) from None


def _in_top_k(predictions: Array, targets: Array, k: int) -> Array:
    rows, classes = predictions.shape
    valid = (targets >= 0) & (targets < classes)
    if not classes:
        return np.zeros(rows, np.bool_)
    own = predictions[np.arange(rows), np.where(valid, targets, 0)]
    above = np.sum(predictions > own[:, None], axis=1)
    result: Array = valid & np.isfinite(predictions).all(axis=1) & (above < k)
    return result


@op("InTopK", "predictions:float32; targets:T", "precision:bool", "k:int; T:type{int32|int64}=int32",
    infer=_in_top_k_shape, differentiable=False)  # fmt: skip
def in_top_k_op(predictions: Array, targets: Array, *, k: int) -> Array:
    """Whether the target is among the k best; ties with the k-th count, rows that are not finite do not."""
    return _in_top_k(predictions, targets, k)


def _in_top_k_v2_shape(node: Any) -> TensorShape:
    rank_exactly(node, 2, 0, "k")
    return _in_top_k_shape(node)


@op("InTopKV2", "predictions:float32; targets:T; k:T", "precision:bool", "T:type{int32|int64}=int32",
    infer=_in_top_k_v2_shape, differentiable=False)  # fmt: skip
def in_top_k_v2_op(predictions: Array, targets: Array, k: Array) -> Array:
    """Whether the target is among the k best; ties with the k-th count, rows that are not finite do not."""
    return _in_top_k(predictions, targets, int(k))


def _in_top_k_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """The primitive ops of the rule: they are one kernel."""
    predictions, targets, *rest = inputs
    sizes = predictions.sizes
    if sizes is None or 0 in sizes or is_symbolic(sizes[1]):
        return None
    emit_, kind = builder.emit, targets.dtype
    last = builder.constant(np.array([1], np.int32))
    k = emit_("Cast", rest[0], DstT=dtypes.int32) if rest else builder.constant(np.int32(node.attrs["k"]))

    def column(x: Any) -> Any:
        return emit_("Reshape", x, builder.constant(np.array([-1, 1], np.int32)))

    hit = emit_("Equal", builder.constant(np.arange(sizes[1], dtype=kind.numpy)), column(targets))
    lowest = builder.constant(np.float32(-np.inf))
    own = emit_("Max", emit_("SelectV2", hit, predictions, lowest), last)
    above = emit_("Sum", emit_("Cast", emit_("Greater", predictions, column(own)), DstT=dtypes.int32), last)
    finite = emit_("All", emit_("IsFinite", predictions), last)
    valid = emit_("LogicalAnd", emit_("Any", hit, last), finite)
    return [emit_("LogicalAnd", valid, emit_("Less", above, k))]


in_top_k_op.expand(_in_top_k_expand)
in_top_k_v2_op.expand(_in_top_k_expand)


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Returns for each row whether its target is among the k highest predictions.

    Args:
      predictions: float32 [batch, classes].
      targets: int32 or int64 [batch].
      k: how many.
      name: a name.
    """
    with name_scope(name, "in_top_k", [predictions, targets]):
        result: Tensor = emit.InTopKV2(predictions, targets, k, name="InTopKV2")
        return result


# ---------------------------------------------------------------------------- embeddings


def _rows_of(params: Any, ids: Tensor, name: str | None = None) -> Tensor:
    # A variable gathers by itself, so that its gradient stays sparse.
    if hasattr(params, "sparse_read"):
        result: Tensor = params.sparse_read(ids, name=name)
        return result
    return gather(params, ids, name=name)


def _clipped_rows(rows: Tensor, ids: Tensor, max_norm: Any) -> Tensor:
    if max_norm is None:
        return rows
    if rows.shape.rank is None or ids.shape.rank is None:
        raise ValueError("max_norm needs params and ids of known rank")
    return clip_by_norm(rows, max_norm, axes=list(range(ids.shape.rank, rows.shape.rank)))


def embedding_lookup(
    params: Any, ids: Any, partition_strategy: str = "mod", name: str | None = None, validate_indices: bool = True,
    max_norm: Any = None,
) -> Tensor:  # fmt: skip
    """Looks rows up in a table, which may be cut into several.

    Args:
      params: a tensor or variable [n, ...], or a list of them: the parts of one table.
      ids: int32 or int64 of any shape.
      partition_strategy: how a table is cut: "mod" (row i lies in part i % parts) or "div" (in runs).
      name: a name.
      validate_indices: accepted; indices are always checked.
      max_norm: rows of larger l2 norm are scaled down to it.

    Returns:
      ids.shape + params.shape[1:].

    Raises:
      ValueError: if there are no params, or the strategy is unknown.
    """
    if params is None or (isinstance(params, list | tuple) and not params):
        raise ValueError("Need at least one param")
    if not isinstance(params, list | tuple):
        # A partitioned variable is the list of its parts.
        params = list(params) if hasattr(params, "_get_variable_list") else [params]
    with name_scope(name, "embedding_lookup", [*params, ids]) as scope:
        parts = [p if hasattr(p, "sparse_read") else convert_to_tensor(p, name="params") for p in params]
        ids = convert_to_tensor(ids, name="ids")
        if len(parts) == 1:
            with colocate_with(parts[0].op):
                rows = _clipped_rows(_rows_of(parts[0], ids, scope), ids, max_norm)
            result: Tensor = emit.Identity(rows)
            return result
        flat = reshape(ids, [-1])
        places = emit.Range(0, emit.Size(flat), 1)
        part_of, row_of = _partitioned(flat, parts, partition_strategy)
        part_of = cast(part_of, dtypes.int32)
        ids_of = dynamic_partition(row_of, part_of, len(parts))
        places_of = dynamic_partition(places, part_of, len(parts))
        found = [_rows_of(part, rows) for part, rows in zip(parts, ids_of, strict=True)]
        joined = dynamic_stitch(places_of, found)
        element = parts[0].shape[1:]
        for part in parts[1:]:
            element = element.merge_with(part.shape[1:])
        if element.is_fully_defined() and ids.shape.is_fully_defined():
            shape: Any = np.array(ids.shape.as_list() + element.as_list(), np.int32)
        else:
            tail = emit.StridedSlice(emit.Shape(joined), [1], [0], [1], end_mask=1)
            shape = emit.ConcatV2([emit.Shape(ids), tail], 0)
        joined = emit.Reshape(joined, shape, name=scope)
        joined.set_shape(ids.shape.concatenate(element))
        return _clipped_rows(joined, ids, max_norm)


def _partitioned(flat: Tensor, parts: Sequence[Any], strategy: str) -> tuple[Tensor, Tensor]:
    """In which part each row lies, and where in it."""
    count = len(parts)
    if strategy == "mod":
        return emit.FloorMod(flat, count), emit.FloorDiv(flat, count)
    if strategy != "div":
        raise ValueError(f"Unrecognized partition strategy: {strategy}")
    sizes = [part.shape.as_list()[0] if part.shape.rank is not None else None for part in parts]
    if None in sizes:
        raise ValueError("partition_strategy 'div' needs params with a known number of rows")
    total = sum(size for size in sizes if size is not None)
    least, extra = total // count, total % count
    # The first `extra` parts hold one row more.
    part_of = maximum(emit.FloorDiv(flat, least + 1), emit.FloorDiv(flat - extra, max(least, 1)))
    part_of = minimum(part_of, count - 1)
    row_of = where(
        part_of < extra, emit.FloorMod(flat, least + 1), emit.FloorMod(flat - extra, max(least, 1))
    )
    return part_of, row_of


__all__ = [
    "batch_norm_with_global_normalization", "batch_normalization", "bias_add", "crelu", "dropout",
    "embedding_lookup", "fused_batch_norm", "in_top_k", "l2_loss", "layer_normalization",
    "local_response_normalization", "log_poisson_loss", "log_softmax", "lrn", "moments", "normalize_moments",
    "relu_layer", "sigmoid_cross_entropy_with_logits", "softmax", "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2", "sparse_softmax_cross_entropy_with_logits", "sufficient_statistics",
    "swish", "weighted_cross_entropy_with_logits", "weighted_moments", "zero_fraction",
]  # fmt: skip
