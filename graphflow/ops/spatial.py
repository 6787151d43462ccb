"""Convolutions and pools by the number of their axes: one for sequences, two for images, three for volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.convolution import avg_pool, conv1d, conv2d, conv2d_transpose, max_pool
from graphflow.ops.layout import batch_to_space_nd, concat, expand_dims, reshape, space_to_batch_nd, stack
from graphflow.ops.volumes import avg_pool3d, conv3d, conv3d_transpose, max_pool3d
from graphflow.shapes import TensorShape

_LETTERS = {1: "W", 2: "HW", 3: "DHW"}


def _second(data_format: str | None) -> bool:
    """Whether channels come second."""
    return data_format is not None and data_format.startswith("NC")


def _layout(data_format: str | None, axes: int) -> str:
    """The order of axes that ops of so many axes know; sequences are images of height one."""
    letters = _LETTERS[max(axes, 2)]
    return f"NC{letters}" if _second(data_format) else f"N{letters}C"


def _either(new: Any, old: Any, new_name: str, old_name: str) -> Any:
    if new is not None and old is not None:
        raise ValueError(f"Cannot specify both '{new_name}' and '{old_name}'")
    return old if new is None else new


def _per_axis(values: Any, axes: int, name: str) -> list[int]:
    """One number per axis, of one number or of as many."""
    numbers = [int(v) for v in np.ravel(1 if values is None else values)]
    numbers = numbers * axes if len(numbers) == 1 else numbers
    if len(numbers) != axes:
        raise ValueError(f"{name} must have one number per axis ({axes}), got {values!r}")
    if min(numbers) < 1:
        raise ValueError(f"{name} must be positive, got {values!r}")
    return numbers


def _inner(values: Any, axes: int, second: bool) -> Any:
    """Numbers given as one, as one per axis in between, or as one for each axis: those in between."""
    numbers = [int(v) for v in np.ravel(values)]
    if len(numbers) == axes + 2:
        return numbers[2:] if second else numbers[1:-1]
    return numbers


# ---------------------------------------------------------------------------- dilation through the batch


def required_space_to_batch_paddings(
    input_shape: Any, block_shape: Any, base_paddings: Any = None, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the paddings that make every size a multiple of its block, and the crops that undo what they add.

    Args:
      input_shape: an int32 vector of sizes.
      block_shape: an int32 vector of blocks.
      base_paddings: [sizes, 2]: what is padded in any case; default nothing.
      name: a name.

    Returns:
      `(paddings, crops)`, both [sizes, 2].
    """
    with name_scope(name, "required_space_to_batch_paddings", [input_shape, block_shape]):
        sizes = convert_to_tensor(input_shape, dtypes.int32, name="input_shape")
        blocks = convert_to_tensor(block_shape, dtypes.int32, name="block_shape")
        count = blocks.shape.with_rank(1).as_list()[0]
        if base_paddings is None:
            base_paddings = np.zeros([count or 0, 2], np.int32)
        base = convert_to_tensor(base_paddings, dtypes.int32, name="base_paddings")
        known = [constant_value(value) for value in (sizes, blocks, base)]
        if all(value is not None for value in known):
            size, block, margins = (np.asarray(value) for value in known)
            extra = (-(size + margins.sum(axis=1))) % block
            both = (np.stack([margins[:, 0], margins[:, 1] + extra], 1), np.stack([0 * extra, extra], 1))
            return convert_to_tensor(both[0], dtypes.int32), convert_to_tensor(both[1], dtypes.int32)
        before, after = base[:, 0], base[:, 1]
        whole = sizes + before + after
        lacking = emit.FloorMod(blocks - emit.FloorMod(whole, blocks), blocks)
        paddings = stack([before, after + lacking], axis=1, name="paddings")
        return paddings, stack([emit.ZerosLike(lacking), lacking], axis=1, name="crops")


def _spread(values: Tensor, axes: Sequence[int], neutral: int) -> Any:
    """Rows for all axes after the batch: those given for `axes`, and neutral ones for the axes between."""
    known = constant_value(values)
    rows: Any = values if known is None else known
    row = (2,) if values.shape.rank == 2 else ()  # a margin before and one after, or a rate
    like = np.full(row, neutral, np.int32)
    spread = [rows[axes.index(axis)] if axis in axes else like for axis in range(1, max(axes) + 1)]
    return stack(spread, axis=0) if known is None else np.stack(spread).astype(np.int32)


def with_space_to_batch(
    input: Any, dilation_rate: Any, padding: str, op: Callable[..., Tensor], filter_shape: Any = None,
    spatial_dims: Sequence[int] | None = None, data_format: str | None = None,
) -> Tensor:  # fmt: skip
    """Computes a dilated op by a plain one: points that lie a dilation apart become images of their own.

    Args:
      input: a tensor of rank max(spatial_dims) + 1 or more.
      dilation_rate: int32, one number per spatial axis.
      padding: "SAME" or "VALID", of the dilated op.
      op: `op(converted, number of axes, padding) -> tensor`.
      filter_shape: the shape of the window, which "SAME" needs.
      spatial_dims: the axes, growing from 1 or more; default: those between batch and channels.
      data_format: starts with "NC" if channels come second.

    Returns:
      What `op` with that dilation would give.

    Raises:
      ValueError: for axes, rates or paddings that make no sense.
    """
    value = convert_to_tensor(input, name="input")
    rate = convert_to_tensor(dilation_rate, dtypes.int32, name="dilation_rate")
    count = rate.shape.with_rank(1).as_list()[0]
    if count is None:
        raise ValueError("the number of spatial axes, the size of dilation_rate, must be known")
    start = 2 if _second(data_format) else 1
    axes = sorted(spatial_dims) if spatial_dims is not None else list(range(start, count + start))
    if len(axes) != count or len(set(axes)) != count or axes[0] < 1:
        raise ValueError(f"spatial_dims must be {count} different axes of 1 or more, are {spatial_dims!r}")
    known_rate = constant_value(rate)
    if known_rate is not None:
        if (known_rate < 1).any():
            raise ValueError(f"dilation_rate must be positive, is {known_rate.tolist()}")
        if (known_rate == 1).all():
            return op(value, count, padding)
    if padding.upper() == "SAME":
        if filter_shape is None:
            raise ValueError("filter_shape must be specified for SAME padding")
        window = convert_to_tensor(filter_shape, dtypes.int32, name="filter_shape")
        known = constant_value(window)
        if known is None or known_rate is None:
            margin: Any = (window[:count] - 1) * rate
            before = emit.FloorDiv(margin, 2)
            base: Any = stack([before, margin - before], axis=1)
        else:
            margin = (known[:count] - 1) * known_rate
            base = np.stack([margin // 2, margin - margin // 2], 1)
    elif padding.upper() == "VALID":
        base = np.zeros([count, 2], np.int32)
    else:
        raise ValueError(f"Invalid padding method {padding!r}")
    sizes = value.shape.as_list() if value.shape.rank is not None else [None] * (axes[-1] + 1)
    inner: Any = [sizes[axis] for axis in axes]
    if None in inner:
        whole = emit.Shape(value)
        inner = stack([whole[axis] for axis in axes])
    paddings, crops = required_space_to_batch_paddings(inner, rate, base)
    blocks = _spread(rate, axes, 1)
    converted = space_to_batch_nd(value, blocks, _spread(paddings, axes, 0))
    return batch_to_space_nd(op(converted, count, "VALID"), blocks, _spread(crops, axes, 0))


# ---------------------------------------------------------------------------- convolutions


def convolution(
    input: Any, filter: Any = None, padding: Any = None, strides: Any = None, dilation_rate: Any = None,
    name: str | None = None, data_format: str | None = None, filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Convolves sequences, images or volumes by filters.

    Args:
      input: [batch, ..., in], with as many axes in between as the filter has; or channels second ("NC…"). With
        channels last there may be several batch axes.
      filter: [..., in, out]; `filters` is its new name.
      padding: "SAME" or "VALID".
      strides: one number per axis; default 1.
      dilation_rate: one number per axis; default 1; `dilations` is its new name.
      name: a name.
      data_format: starts with "NC" if channels come second.
      filters: see `filter`.
      dilations: see `dilation_rate`.

    Raises:
      ValueError: for more than three axes, or if steps and dilation are both larger than one.
    """
    w = convert_to_tensor(_either(filters, filter, "filters", "filter"), name="filter")
    rate = _either(dilations, dilation_rate, "dilations", "dilation_rate")
    x = convert_to_tensor(input, name="input")
    axes = (w.shape.rank or (x.shape.rank or 0)) - 2
    if axes not in _LETTERS:
        raise ValueError(
            f"convolution takes 1 to 3 axes between batch and channels, got filters of shape {w.shape}"
        )
    steps, rates = _per_axis(strides, axes, "strides"), _per_axis(rate, axes, "dilation_rate")
    if max(steps) > 1 and max(rates) > 1:
        raise ValueError(
            f"strides > 1 not supported in conjunction with dilation_rate > 1, got {steps} and {rates}"
        )
    second = _second(data_format)
    if x.shape.rank is not None and x.shape.rank != axes + 2:
        if x.shape.rank < axes + 2 or second:
            raise ValueError(
                f"input must have rank {axes + 2} for filters of shape {w.shape}, has shape {x.shape}"
            )
        return _many_batches(x, w, padding, steps, rates, axes, name)
    if axes == 1:
        return conv1d(
            x, w, steps[0], padding, data_format="NCW" if second else "NWC", name=name, dilations=rates
        )
    with name_scope(name, "convolution", [x, w]) as scope:
        convolve = conv2d if axes == 2 else conv3d
        return convolve(
            x, w, steps, padding, data_format=_layout(data_format, axes), dilations=rates, name=scope
        )  # fmt: skip


def _many_batches(
    x: Tensor, w: Tensor, padding: Any, steps: list[int], rates: list[int], axes: int, name: str | None
) -> Tensor:
    """A convolution over several batch axes: they are one for a while."""
    with name_scope(name, "convolution", [x, w]):
        rank = x.shape.rank or 0
        outer = rank - axes - 1
        shape = emit.Shape(x)
        flat = reshape(x, concat([[-1], shape[outer:]], 0))
        flat.set_shape(TensorShape([None]).concatenate(x.shape[outer:]))
        made = convolution(flat, w, padding, steps, rates)
        result = reshape(made, concat([shape[:outer], emit.Shape(made)[1:]], 0))
        result.set_shape(x.shape[:outer].concatenate(made.shape[1:]))
        return result


def conv1d_transpose(
    input: Any, filters: Any, output_shape: Any, strides: Any, padding: Any = "SAME", data_format: str = "NWC",
    dilations: Any = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the transpose (gradient) of `conv1d`, which makes sequences longer.

    Args:
      input: [batch, width, in], or [batch, in, width] for "NCW".
      filters: [width, out, in].
      output_shape: the shape of the result, 3 numbers.
      strides: the step.
      padding: "SAME" or "VALID".
      data_format: "NWC" or "NCW".
      dilations: the step between elements of a filter.
      name: a name.

    Raises:
      ValueError: if shapes or numbers do not fit.
    """
    with name_scope(name, "conv1d_transpose", [input, filters, output_shape]) as scope:
        if data_format not in ("NWC", "NCW"):
            raise ValueError(f"`data_format` must be 'NWC' or 'NCW'. Received: data_format={data_format!r}")
        second = data_format == "NCW"
        axis = 2 if second else 1
        known = constant_value(output_shape) if isinstance(output_shape, Tensor) else np.asarray(output_shape)
        if known is not None:
            sizes: Any = np.insert(np.asarray(known, np.int32), axis, 1)
        else:
            given = convert_to_tensor(output_shape, dtypes.int32)
            sizes = concat([given[:axis], [1], given[axis:]], 0)
        made = conv2d_transpose(
            expand_dims(convert_to_tensor(input), axis), expand_dims(convert_to_tensor(filters), 0), sizes,
            [1, *_inner(strides, 1, second)], padding, _layout(data_format, 1),
            dilations=[1, *_inner(1 if dilations is None else dilations, 1, second)],
        )  # fmt: skip
        result: Tensor = emit.Squeeze(made, squeeze_dims=(axis,), name=scope)
        return result


def conv_transpose(
    input: Any, filters: Any, output_shape: Any, strides: Any, padding: Any = "SAME", data_format: str | None = None,
    dilations: Any = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the transpose of `convolution` over 1, 2 or 3 axes.

    Args:
      input: [batch, ..., in], or channels second.
      filters: [..., out, in].
      output_shape: the shape of the result.
      strides: one number, one per axis, or one for each axis of the input.
      padding: "SAME" or "VALID".
      data_format: such as "NHWC" (the default is channels last).
      dilations: the steps between elements of a filter.
      name: a name.

    Raises:
      ValueError: for other numbers of axes.
    """
    with name_scope(name, "conv_transpose", [input, filters, output_shape]) as scope:
        if isinstance(output_shape, Tensor):
            rank = output_shape.shape.as_list()[0] if output_shape.shape.rank == 1 else None
        else:
            rank = len(TensorShape(output_shape).as_list())
        axes = (rank or 0) - 2
        if axes not in _LETTERS:
            raise ValueError(f"output_shape must be of length 3, 4 or 5, is {output_shape!r}")
        if axes == 1:
            layout = "NCW" if _second(data_format) else "NWC"
            return conv1d_transpose(
                input, filters, output_shape, strides, padding, layout, dilations, name=scope
            )
        transpose: Callable[..., Tensor] = conv2d_transpose if axes == 2 else conv3d_transpose
        return transpose(
            input, filters, output_shape, strides, padding, _layout(data_format, axes), name=scope, dilations=dilations
        )  # fmt: skip


def depthwise_conv2d_native_backprop_input(
    input_sizes: Any, filter: Any, out_backprop: Any, strides: Any, padding: str, data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `depthwise_conv2d` with respect to its images, whose shape is `input_sizes`."""
    result: Tensor = emit.DepthwiseConv2dNativeBackpropInput(
        convert_to_tensor(input_sizes, dtypes.int32), filter, out_backprop, strides=list(strides), padding=padding,
        data_format=data_format, dilations=list(dilations), name=name,
    )  # fmt: skip
    return result


def depthwise_conv2d_native_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: str, data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the gradient of `depthwise_conv2d` with respect to its filters, whose shape is `filter_sizes`."""
    result: Tensor = emit.DepthwiseConv2dNativeBackpropFilter(
        input, convert_to_tensor(filter_sizes, dtypes.int32), out_backprop, strides=list(strides), padding=padding,
        data_format=data_format, dilations=list(dilations), name=name,
    )  # fmt: skip
    return result


# ---------------------------------------------------------------------------- pools


def _pool1d(
    compute: Callable[..., Tensor], scope: str, input: Any, ksize: Any, strides: Any, padding: Any,
    data_format: str | None, name: str | None,
) -> Tensor:  # fmt: skip
    """A pool of sequences: they are images of height one for a while."""
    with name_scope(name, scope, [input]) as full:
        second = _second(data_format or "NWC")
        axis = 2 if second else 1
        margins = padding
        if not isinstance(padding, str):
            margins = [list(pair) for pair in padding]
            margins.insert(axis, [0, 0])
        window, steps = ([1, *_inner(values, 1, second)] for values in (ksize, strides))
        wide = expand_dims(convert_to_tensor(input, name="input"), axis)
        pooled = compute(wide, window, steps, margins, _layout(data_format, 1))
        result: Tensor = emit.Squeeze(pooled, squeeze_dims=(axis,), name=full)
        return result


def max_pool1d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NWC", name: str | None = None
) -> Tensor:
    """Returns the largest element of each window of sequences.

    Args:
      input: [batch, width, channels], or [batch, channels, width] for "NCW".
      ksize: the window: one number, or one per axis of the input.
      strides: the step, given likewise.
      padding: "SAME", "VALID", or a list of three (before, after) pairs.
      data_format: "NWC" or "NCW".
      name: a name.
    """
    return _pool1d(max_pool, "MaxPool1d", input, ksize, strides, padding, data_format, name)


def avg_pool1d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NWC", name: str | None = None
) -> Tensor:
    """Returns the mean of each window of sequences; see `max_pool1d`."""
    return _pool1d(avg_pool, "AvgPool1D", input, ksize, strides, padding, data_format, name)


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NHWC", name: str | None = None
) -> Tensor:
    """Returns the largest element of each window of images; see `max_pool`."""
    return max_pool(input, ksize, strides, padding, data_format or "NHWC", name or "MaxPool2d")


_POOLS: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("MAX", 1): max_pool1d, ("MAX", 2): max_pool, ("MAX", 3): max_pool3d,
    ("AVG", 1): avg_pool1d, ("AVG", 2): avg_pool, ("AVG", 3): avg_pool3d,
}  # fmt: skip


def _pool_v2(
    kind: str, input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None, name: str | None
) -> Tensor:
    value = convert_to_tensor(input, name="input")
    axes = len(data_format) - 2 if data_format is not None else (value.shape.rank or 0) - 2
    if axes not in _LETTERS:
        raise ValueError(
            f"input must have rank 3, 4 or 5 (or data_format must tell), has shape {value.shape}"
        )
    layout = ("NCW" if _second(data_format) else "NWC") if axes == 1 else _layout(data_format, axes)
    return _POOLS[kind, axes](value, ksize, strides, padding, layout, name=name)


def max_pool_v2(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    name: str | None = None,
) -> Tensor:
    """Returns the largest element of each window of sequences, images or volumes.

    Args:
      input: [batch, ..., channels] with 1 to 3 axes in between, or channels second.
      ksize: the window: one number, one per axis in between, or one for each axis.
      strides: the steps, given likewise.
      padding: "SAME", "VALID", or a list of (before, after) pairs.
      data_format: such as "NHWC"; default: channels last.
      name: a name.

    Raises:
      ValueError: for other numbers of axes.
    """
    return _pool_v2("MAX", input, ksize, strides, padding, data_format, name)


def avg_pool_v2(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = None,
    name: str | None = None,
) -> Tensor:
    """Returns the mean of each window of sequences, images or volumes; see `max_pool_v2`."""
    return _pool_v2("AVG", input, ksize, strides, padding, data_format, name)


def pool(
    input: Any, window_shape: Any, pooling_type: str, padding: str, dilation_rate: Any = None, strides: Any = None,
    name: str | None = None, data_format: str | None = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Pools sequences, images or volumes.

    Args:
      input: [batch, ..., channels] with 1 to 3 axes in between, or channels second ("NC…").
      window_shape: one number per axis.
      pooling_type: "MAX" or "AVG".
      padding: "SAME" or "VALID".
      dilation_rate: the steps between elements of a window, one number per axis; default 1.
      strides: one number per axis; default 1.
      name: a name.
      data_format: starts with "NC" if channels come second.
      dilations: the new name of `dilation_rate`.

    Raises:
      ValueError: for other ranks or pooling types, for steps larger than the window, or if steps and dilation are
        both larger than one.
    """
    rate = _either(dilations, dilation_rate, "dilations", "dilation_rate")
    x = convert_to_tensor(input, name="input")
    axes = (x.shape.rank or 0) - 2
    window = [int(size) for size in np.ravel(window_shape)]
    if np.ndim(window_shape) == 0:
        window = window * axes
    if axes not in _LETTERS or len(window) != axes:
        raise ValueError(
            f"pool takes one window size per axis of 1 to 3 axes, got {x.shape}, {window_shape!r}"
        )
    if (pooling_type, axes) not in _POOLS:
        raise ValueError(f"{axes}-D {pooling_type} pooling is not supported: 'MAX' and 'AVG' are")
    steps, rates = _per_axis(strides, axes, "strides"), _per_axis(rate, axes, "dilation_rate")
    if max(steps) > 1 and max(rates) > 1:
        raise ValueError(
            f"strides > 1 not supported in conjunction with dilation_rate > 1, got {steps} and {rates}"
        )
    if any(step > size for step, size in zip(steps, window, strict=True)):
        raise ValueError(
            f"strides > window_shape not supported, got strides {steps} and window_shape {window}"
        )
    if max(rates) > 1 and padding.upper() == "SAME":
        raise ValueError(
            f"pooling with 'SAME' padding is not implemented for dilation_rate > 1, which is {rates}"
        )
    layout = ("NCW" if _second(data_format) else "NWC") if axes == 1 else _layout(data_format, axes)
    with name_scope(name, f"{pooling_type.lower()}_pool", [x]) as scope:
        exact = scope if max(rates) == 1 else None

        def plain(value: Tensor, count: int, margins: str) -> Tensor:
            return _POOLS[pooling_type, count](value, window, steps, margins, layout, name=exact)

        return with_space_to_batch(x, rates, padding.upper(), plain, window, data_format=data_format)


__all__ = [
    "avg_pool1d", "avg_pool_v2", "conv1d_transpose", "conv_transpose", "convolution",
    "depthwise_conv2d_native_backprop_filter", "depthwise_conv2d_native_backprop_input", "max_pool1d", "max_pool2d",
    "max_pool_v2", "pool", "required_space_to_batch_paddings", "with_space_to_batch",
]  # fmt: skip
