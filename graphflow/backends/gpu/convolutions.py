"""Convolutions as a library takes them: all sizes plain numbers, filters turned, a known epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from graphflow.backends.gpu.products import Tail
from graphflow.loops.library import Conv2D, Pair
from graphflow.records import dataclass

__all__ = ["ConvPlan", "conv_plan", "names_of", "size_names", "taken_by_library"]


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """A convolution, or a gradient of one, for certain sizes; sums have 32 bits whatever is multiplied.

    Images lie as `[batch, height, width, channels]`, filters as `[out, height, width, in]`.

    Attributes:
      direction: "forward" makes outputs of images and filters, "input" images of outputs and filters, "filter" filters
        of images and outputs: of gradients, all three.
      batch, height, width, in_channels: the images.
      out_height, out_width, out_channels: the outputs.
      kernel, strides, dilations: of the windows.
      padding: rows before and behind the image, columns left and right of it.
      tail: what becomes of each output of "forward".
      dtype: what both operands and the result hold, "f32", "bf16" or "f16".
    """

    direction: Literal["forward", "input", "filter"]
    batch: int
    height: int
    width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: Pair
    strides: Pair
    dilations: Pair
    padding: tuple[Pair, Pair]
    tail: Tail = ""
    dtype: str = "f32"


def names_of(call: Conv2D) -> tuple[str, str, str]:
    """What a convolution's operands and its result are called."""
    return {"forward": ("x", "w", "y"), "input": ("dy", "w", "dx"), "filter": ("x", "dy", "dw")}[
        call.direction
    ]


def taken_by_library(call: Conv2D) -> bool:
    """Whether a library takes convolutions of this kind, their epilogue aside."""
    return (
        call.dtype == "f32"
        and call.operand_dtype in (None, "bf16", "f16")
        and not call.depthwise
        and call.prologue is None
        and call.panels_w is None
    )


def size_names(call: Conv2D) -> list[str]:
    """The run-time sizes of a convolution, in order."""
    named = ["batch"] if call.batch is None else []
    for axis in call.axes:
        named += [name for name in (axis.image, axis.count, axis.before) if isinstance(name, str)]
    return named


def conv_plan(call: Conv2D, sizes: Mapping[str, int], tail: Tail) -> ConvPlan:
    """The plan of a convolution for certain run-time sizes."""

    def number(extent: int | str) -> int:
        return int(sizes[extent]) if isinstance(extent, str) else int(extent)

    extents, counts, padding = [], [], []
    for axis in call.axes:
        extent, count, before = number(axis.image), number(axis.count), number(axis.before)
        # How much of the padding behind is read; where the last windows end before the image does, none is.
        end = (count - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1
        extents.append(extent)
        counts.append(count)
        padding.append((before, max(0, end - before - extent)))
    return ConvPlan(
        direction=call.direction,
        batch=number("batch" if call.batch is None else call.batch),
        height=extents[0],
        width=extents[1],
        in_channels=call.in_channels,
        out_height=counts[0],
        out_width=counts[1],
        out_channels=call.out_channels,
        kernel=call.kernel,
        strides=call.strides,
        dilations=call.dilations,
        padding=(padding[0], padding[1]),
        tail=tail,
        dtype=call.operand_dtype or call.dtype,
    )
