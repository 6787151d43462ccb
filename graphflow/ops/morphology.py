"""Grey-scale morphology: dilations and erosions of images by structuring functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.convolution import lowest, padding_of
from graphflow.ops.layout import reverse
from graphflow.ops.rules import REALS, Array, rank_exactly, refuse, widened
from graphflow.shapes import TensorShape

_ATTRS = f"T:type{{{REALS}}}; strides:list(int)>=4; rates:list(int)>=4; padding:string{{SAME|VALID}}"


def _dilated(attrs: Any, x: TensorShape, w: TensorShape) -> TensorShape:
    for name in ("strides", "rates"):
        values = attrs[name]
        if len(values) != 4 or min(values) < 1 or values[0] != 1 or values[3] != 1:
            raise ShapeError(
                f"{name} must be 4 positive numbers, the first and the last of them 1, got {list(values)}"
            )
    images, filters = x.with_rank(4).as_list(), w.with_rank(3).as_list()
    if not TensorShape(images[3:]).is_compatible_with(filters[2:]):
        raise ShapeError(f"the images {x} have {images[3]} channels, the filter {w} is for {filters[2]}")
    made: list[int | None] = []
    for size, window, stride, rate in zip(
        images[1:3], filters[:2], attrs["strides"][1:3], attrs["rates"][1:3], strict=True
    ):
        if size is None or (window is None and attrs["padding"] == "VALID"):
            made.append(None)
        elif attrs["padding"] == "SAME" or window is None:
            made.append(-(-size // stride))
        else:
            reach = (window - 1) * rate + 1
            if size < reach:
                raise ShapeError(f"the window of {reach} is larger than the image of {size}")
            made.append((size - reach) // stride + 1)
    return TensorShape([images[0], *made, filters[2] if images[3] is None else images[3]])


def _forward_shape(node: Any) -> TensorShape:
    return _dilated(
        node.attrs, rank_exactly(node, 0, 4, "the images"), rank_exactly(node, 1, 3, "the filter")
    )


def _backward_shape(node: Any) -> TensorShape:
    x, w = rank_exactly(node, 0, 4, "the images"), rank_exactly(node, 1, 3, "the filter")
    expected = _dilated(node.attrs, x, w)
    if not expected.is_compatible_with(node.inputs[2].shape):
        raise ShapeError(f"out_backprop has shape {node.inputs[2].shape}, the dilation gives {expected}")
    return w if node.op_def.name.endswith("Filter") else x


class _Windows:
    """Where the elements of each window lie, along height and width."""

    def __init__(
        self, x: Array, w: Array, strides: Sequence[int], rates: Sequence[int], padding: str
    ) -> None:
        if x.shape[3] != w.shape[2]:
            raise refuse(f"the images have {x.shape[3]} channels, the filter is for {w.shape[2]}")
        self.x, self.w = x, w
        self.starts: list[Array] = []
        for axis in (0, 1):
            size, window = x.shape[axis + 1], w.shape[axis]
            stride, rate = strides[axis + 1], rates[axis + 1]
            before, after = padding_of(padding, (), 0, size, window, stride, rate)
            count = (size + before + after - (window - 1) * rate - 1) // stride + 1
            self.starts.append(np.arange(max(0, count)) * stride - before)
        self.rates = rates[1:3]
        self.output = (len(x), len(self.starts[0]), len(self.starts[1]), x.shape[3])

    def elements(self) -> Iterator[tuple[int, int, Array, Array, Array]]:
        """For each element (i, j) of the window: rows, columns, and which of them lie within the image."""
        for i, j in np.ndindex(*self.w.shape[:2]):
            rows = self.starts[0] + i * self.rates[0]
            columns = self.starts[1] + j * self.rates[1]
            inside = (
                ((rows >= 0) & (rows < self.x.shape[1]))[:, None]
                & (columns >= 0)
                & (columns < self.x.shape[2])
            )
            yield i, j, rows, columns, inside

    def sums(self) -> tuple[Array, Array, Array]:
        """The largest sum of each window, and the row and the column of the window where it is, the first of equals."""
        best = np.full(self.output, lowest(self.x.dtype), self.x.dtype)
        row, column = np.zeros(self.output, np.int64), np.zeros(self.output, np.int64)
        if not best.size:
            return best, row, column
        for i, j, rows, columns, inside in self.elements():
            picked = self.x[:, np.clip(rows, 0, self.x.shape[1] - 1)][
                :, :, np.clip(columns, 0, self.x.shape[2] - 1)
            ]
            total = picked + self.w[i, j]
            larger = inside[None, :, :, None] & (total > best)
            best = np.where(larger, total, best)
            row, column = np.where(larger, i, row), np.where(larger, j, column)
        return best, row, column


def _require(dy: Array, windows: _Windows) -> None:
    if dy.shape != windows.output:
        raise refuse(f"out_backprop has shape {list(dy.shape)}, the dilation gives {list(windows.output)}")


@op("Dilation2D", "input:T; filter:T", "output:T", _ATTRS, infer=_forward_shape)
@widened
def dilation2d_op(
    input: Array, filter: Array, *, strides: Sequence[int], rates: Sequence[int], padding: str
) -> Array:
    """The largest sum of image and filter in each window; nothing lies outside the image."""
    return _Windows(input, filter, strides, rates, padding).sums()[0]


@dilation2d_op.gradient
def dilation2d_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To where the largest sums are."""
    attrs = {name: op.attrs[name] for name in ("strides", "rates", "padding")}
    return [
        emit.Dilation2DBackpropInput(*op.inputs, dy, **attrs),
        emit.Dilation2DBackpropFilter(*op.inputs, dy, **attrs),
    ]


@op("Dilation2DBackpropInput", "input:T; filter:T; out_backprop:T", "in_backprop:T", _ATTRS, infer=_backward_shape,
    differentiable=False)  # fmt: skip
@widened
def dilation2d_backprop_input_op(
    input: Array,
    filter: Array,
    out_backprop: Array,
    *,
    strides: Sequence[int],
    rates: Sequence[int],
    padding: str,
) -> Array:
    """The gradient put on the elements of the images that make the largest sums."""
    windows = _Windows(input, filter, strides, rates, padding)
    _require(out_backprop, windows)
    _, row, column = windows.sums()
    result = np.zeros(input.shape, out_backprop.dtype)
    if out_backprop.size:
        image, _, _, channel = np.indices(windows.output, sparse=True)
        rows = windows.starts[0][None, :, None, None] + row * windows.rates[0]
        columns = windows.starts[1][None, None, :, None] + column * windows.rates[1]
        # Where no sum beat the lowest number, the first element stands for the window.
        np.add.at(result, (image, np.maximum(rows, 0), np.maximum(columns, 0), channel), out_backprop)
    return result


@op("Dilation2DBackpropFilter", "input:T; filter:T; out_backprop:T", "filter_backprop:T", _ATTRS,
    infer=_backward_shape, differentiable=False)  # fmt: skip
@widened
def dilation2d_backprop_filter_op(
    input: Array,
    filter: Array,
    out_backprop: Array,
    *,
    strides: Sequence[int],
    rates: Sequence[int],
    padding: str,
) -> Array:
    """The gradient summed up on the elements of the filter that make the largest sums."""
    windows = _Windows(input, filter, strides, rates, padding)
    _require(out_backprop, windows)
    _, row, column = windows.sums()
    result = np.zeros(filter.shape, out_backprop.dtype)
    if out_backprop.size:
        channel = np.broadcast_to(np.arange(filter.shape[2]), windows.output)
        np.add.at(result, (row, column, channel), out_backprop)
    return result


# ---------------------------------------------------------------------------- public functions


def dilation2d(
    input: Any, filter: Any = None, strides: Any = None, rates: Any = None, padding: Any = None,
    name: str | None = None, filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the largest sum of image and filter in each window.

    Args:
      input: [batch, height, width, channels].
      filter: [height, width, channels]; `filters` is its new name.
      strides: the steps, 4 numbers.
      rates: the steps between elements of a window, 4 numbers; `dilations` is its new name.
      padding: "SAME" or "VALID".
      name: a name.
      filters: see `filter`.
      dilations: see `rates`.

    Raises:
      ValueError: if both names of one argument are given, or shapes do not fit.
    """
    if filter is not None and filters is not None:
        raise ValueError("Cannot specify both 'filters' and 'filter'")
    if rates is not None and dilations is not None:
        raise ValueError("Cannot specify both 'dilations' and 'rates'")
    result: Tensor = emit.Dilation2D(
        convert_to_tensor(input, name="input"), filter if filters is None else filters, strides=list(strides),
        rates=list(dilations if rates is None else rates), padding=padding, name=name,
    )  # fmt: skip
    return result


def erosion2d(
    value: Any, kernel: Any, strides: Any, rates: Any, padding: Any, name: str | None = None
) -> Tensor:
    """Returns the smallest difference of image and kernel in each window: the dual of `dilation2d`.

    Args:
      value: [batch, height, width, channels].
      kernel: [height, width, channels].
      strides: the steps, 4 numbers.
      rates: the steps between elements of a window, 4 numbers.
      padding: "SAME" or "VALID".
      name: a name.
    """
    with name_scope(name, "erosion2d", [value, kernel]) as scope:
        turned = reverse(convert_to_tensor(kernel), [0, 1])
        grown = dilation2d(emit.Neg(convert_to_tensor(value)), turned, strides, rates, padding)
        result: Tensor = emit.Neg(grown, name=scope)
        return result


__all__ = ["dilation2d", "erosion2d"]
