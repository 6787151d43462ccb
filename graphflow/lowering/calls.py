"""Nodes that become library calls: matrix products, convolutions and pools, from TensorFlow's attributes.

An op asks for one of these with `op(..., lowering="matmul")`; the table at the end maps the tag to its rule. A rule
returns None where the library has no such case (an odd dtype, channels first); the node then runs as its NumPy body.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from graphflow import config
from graphflow.loops.ir import Op, Var, dtype_name
from graphflow.loops.library import ACCUMULATOR, Call, Conv2D, Epilogue, Gemm, Pool2D, WindowAxis
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.program import Node, Value
from graphflow.records import dataclass, field
from graphflow.symbolic import ceil_div, greatest

_DTYPES = ("f32", "f64")
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CallNode:
    """A library call for a node: the call, its operands by name, its result's name, and its run-time sizes.

    `offsets`: how many bytes into an operand's memory what the call reads begins, where that is not at once.
    """

    call: Call
    operands: dict[str, Value]
    result: str
    sizes: dict[str, int]
    offsets: dict[str, int] = field(default_factory=dict)


def _extent(size: Size) -> int | None:
    return None if size.dynamic else size.value


def _dtype(node: Node, *operands: Value) -> str | None:
    name = dtype_name(node.outputs[0].dtype.name)
    if name not in _DTYPES or any(dtype_name(value.dtype.name) != name for value in operands):
        return None
    return None if _is_empty(node, *operands) else name


def _is_empty(node: Node, *operands: Value) -> bool:
    return any(0 in (value.sizes or ()) for value in (*operands, *node.outputs))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a product sums in, what its factors are held in if it is something else, and what it hands out."""

    dtype: str
    factors: str | None
    made: str

    def epilogue(self, result: str) -> Epilogue | None:
        """What rounds the sums, if that is to be done."""
        if self.made == self.dtype:
            return None
        return Epilogue(((result, Op("cast", (Var(ACCUMULATOR, self.dtype),), self.made)),))


def _numbers(node: Node, *factors: Value) -> _Numbers | None:
    held, made = {dtype_name(value.dtype.name) for value in factors}, dtype_name(node.outputs[0].dtype.name)
    for factor in ("bf16", "f16"):
        if held == {factor} and made in ("f32", factor):
            return None if _is_empty(node, *factors) else _Numbers("f32", factor, made)
    dtype = _dtype(node, *factors)
    return None if dtype is None else _Numbers(dtype, None, made)


def matmul(node: Node) -> CallNode | None:
    """`MatMul` and the `BatchMatMul` family."""
    a, b = node.inputs
    numbers = _numbers(node, a, b)
    if numbers is None:
        return None
    attrs = node.attrs
    transpose_a = bool(attrs.get("transpose_a", attrs.get("adj_x", False)))
    transpose_b = bool(attrs.get("transpose_b", attrs.get("adj_y", False)))
    a_sizes, b_sizes, c_sizes = value_sizes(a), value_sizes(b), value_sizes(node.outputs[0])
    m, k = (a_sizes[-1], a_sizes[-2]) if transpose_a else (a_sizes[-2], a_sizes[-1])
    n = b_sizes[-2] if transpose_b else b_sizes[-1]
    if k.dynamic:  # known from the other side, perhaps
        other = b_sizes[-1] if transpose_b else b_sizes[-2]
        k = other
    batch = c_sizes[:-2]
    has = []
    for sizes in (a_sizes[:-2], b_sizes[:-2]):
        lead = len(batch) - len(sizes)
        has.append(
            tuple(
                i >= lead and (sizes[i - lead].value != 1 or batch[i].value == 1) for i in range(len(batch))
            )
        )
    if batch and all(has[0]) and not any(has[1]) and not transpose_a:
        # All matrices of `a` meet the same `b`: their rows are those of one tall matrix.
        for size in batch:
            m = m.times(size)
        batch = ()
    call = Gemm(
        dtype=numbers.dtype,
        m=_extent(m),
        n=_extent(n),
        k=_extent(k),
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        batch=tuple(_extent(size) for size in batch),
        batch_a=has[0] if batch else None,
        batch_b=has[1] if batch else None,
        operand_dtype=numbers.factors,
        epilogue=numbers.epilogue("c"),
    )
    sizes_now = {"m": m.value, "n": n.value, "k": k.value}
    sizes_now |= {f"batch{i}": size.value for i, size in enumerate(batch)}
    return CallNode(call, {"a": a, "b": b}, "c", sizes_now)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows along one axis: positions of the image, what lies before and behind it, the run-time sizes of both.

    `padding`: None where it depends on the image's size; `extent`: None where the image's size is open.
    """

    extent: int | None
    padding: Pair | None
    sizes: dict[str, int]


def _windows(
    node: Node, image: Size, count: Size, axis: int, window: int, stride: int, dilation: int, turned: bool
) -> _Windows:
    """The windows of a node's attributes, by TensorFlow's rules; `axis`: 1 for rows, 2 for columns."""
    kind, reach = node.attrs["padding"], (window - 1) * dilation
    open_size = image.dynamic
    padding: Pair | None = (0, 0)
    if kind == "EXPLICIT":
        explicit = node.attrs["explicit_paddings"]
        padding = (explicit[2 * axis], explicit[2 * axis + 1])
    elif kind == "SAME" and stride == 1:
        padding = (reach // 2, reach - reach // 2)
    elif kind == "SAME" and reach:
        total = greatest(0, (ceil_div(image.value, stride) - 1) * stride + reach + 1 - image.value)
        padding = None if open_size else (total // 2, total - total // 2)
    before = total // 2 if padding is None else padding[0]
    if not open_size:
        return _Windows(image.value, padding, {})
    name = ("height", "width")[axis - 1]
    shape = WindowAxis(name, None, window, stride, dilation, padding)
    return _Windows(None, padding, shape.sizes(image.value, count.value, before, turned))


def _convolution(
    node: Node, direction: str, x: Value, w: Value, y: Value, depthwise: bool
) -> CallNode | None:
    """One of the directions; x, w and y stand for images, filters and results, wherever each comes from."""
    operands = {"forward": (x, w), "input": (y, w), "filter": (x, y)}[direction]
    numbers = _numbers(node, *operands)
    attrs = node.attrs
    if numbers is None or attrs.get("data_format", "NHWC") != "NHWC" or (depthwise and numbers.factors):
        return None
    images, filters, outputs = value_sizes(x), value_sizes(w), value_sizes(y)
    strides, dilations = attrs["strides"], attrs.get("dilations", (1, 1, 1, 1))
    if strides[0] != 1 or strides[3] != 1 or dilations[0] != 1 or dilations[3] != 1:
        return None
    if not depthwise and filters[2].value != images[3].value:
        return None  # grouped
    # Code is made for these; height and width may be open.
    kernel = (operator.index(filters[0].value), operator.index(filters[1].value))
    inside, outside = operator.index(images[3].value), operator.index(outputs[3].value)
    step, dilation = (strides[1], strides[2]), (dilations[1], dilations[2])
    rows, columns = (
        _windows(
            node, images[a], outputs[a], a, kernel[a - 1], strides[a], dilations[a], direction == "input"
        )
        for a in (1, 2)
    )
    padding = (rows.padding, columns.padding)
    if kernel == step == (1, 1) and padding == ((0, 0), (0, 0)) and not depthwise:
        return _pointwise(numbers, direction, images, outputs[3], operands)
    names = {"forward": ("x", "w", "y"), "input": ("dy", "w", "dx"), "filter": ("x", "dy", "dw")}[direction]
    call = Conv2D(
        direction=direction,  # type: ignore[arg-type]
        dtype=numbers.dtype,
        batch=_extent(images[0]),
        height=rows.extent,
        width=columns.extent,
        in_channels=inside,
        out_channels=outside,
        kernel=kernel,
        strides=step,
        dilations=dilation,
        padding=padding,
        depthwise=depthwise,
        winograd=config.winograd(),
        epilogue=numbers.epilogue(names[2]),
        operand_dtype=numbers.factors,
    )
    sizes = {"batch": images[0].value, **rows.sizes, **columns.sizes}
    return CallNode(call, {names[0]: operands[0], names[1]: operands[1]}, names[2], sizes)


def _pointwise(
    numbers: _Numbers, direction: str, images: Sequence[Size], outputs: Size, operands: tuple[Value, Value]
) -> CallNode:
    """A convolution by single taps: a matrix product whose rows are pixels."""
    pixels, inputs = images[0].times(images[1]).times(images[2]), images[3]
    m, n, k = {
        "forward": (pixels, outputs, inputs),
        "input": (pixels, inputs, outputs),
        "filter": (inputs, outputs, pixels),
    }[direction]
    call = Gemm(
        dtype=numbers.dtype,
        m=_extent(m),
        n=_extent(n),
        k=_extent(k),
        transpose_a=direction == "filter",
        transpose_b=direction == "input",
        operand_dtype=numbers.factors,
        epilogue=numbers.epilogue("c"),
    )
    sizes = {"m": m.value, "n": n.value, "k": k.value}
    return CallNode(call, {"a": operands[0], "b": operands[1]}, "c", sizes)


def conv2d(node: Node) -> CallNode | None:
    """`Conv2D`."""
    return _convolution(node, "forward", node.inputs[0], node.inputs[1], node.outputs[0], False)


def conv2d_input(node: Node) -> CallNode | None:
    """`Conv2DBackpropInput(input_sizes, filter, out_backprop)`."""
    return _convolution(node, "input", node.outputs[0], node.inputs[1], node.inputs[2], False)


def conv2d_filter(node: Node) -> CallNode | None:
    """`Conv2DBackpropFilter(input, filter_sizes, out_backprop)`."""
    return _convolution(node, "filter", node.inputs[0], node.outputs[0], node.inputs[2], False)


def depthwise_conv2d(node: Node) -> CallNode | None:
    """`DepthwiseConv2dNative`."""
    return _convolution(node, "forward", node.inputs[0], node.inputs[1], node.outputs[0], True)


def depthwise_conv2d_input(node: Node) -> CallNode | None:
    """`DepthwiseConv2dNativeBackpropInput(input_sizes, filter, out_backprop)`."""
    return _convolution(node, "input", node.outputs[0], node.inputs[1], node.inputs[2], True)


def depthwise_conv2d_filter(node: Node) -> CallNode | None:
    """`DepthwiseConv2dNativeBackpropFilter(input, filter_sizes, out_backprop)`."""
    return _convolution(node, "filter", node.inputs[0], node.outputs[0], node.inputs[2], True)


def _pool(
    node: Node, kind: str, x: Value, y: Value, operands: dict[str, Value], gradient: bool
) -> CallNode | None:
    dtype = _dtype(node, *operands.values())
    attrs = node.attrs
    if dtype is None or attrs.get("data_format", "NHWC") != "NHWC":
        return None
    window, strides = attrs["ksize"], attrs["strides"]
    if window[0] != 1 or window[3] != 1 or strides[0] != 1 or strides[3] != 1:
        return None
    images, results = value_sizes(x), value_sizes(y)
    rows, columns = (
        _windows(node, images[a], results[a], a, window[a], strides[a], 1, False) for a in (1, 2)
    )
    call = Pool2D(
        kind=kind,  # type: ignore[arg-type]
        gradient=gradient,
        dtype=dtype,
        batch=_extent(images[0]),
        height=rows.extent,
        width=columns.extent,
        channels=operator.index(images[3].value),
        window=(window[1], window[2]),
        strides=(strides[1], strides[2]),
        padding=(rows.padding, columns.padding),
    )
    sizes = {"batch": images[0].value, **rows.sizes, **columns.sizes}
    return CallNode(call, operands, "dx" if gradient else "y", sizes)


def max_pool(node: Node) -> CallNode | None:
    """`MaxPool`."""
    return _pool(node, "max", node.inputs[0], node.outputs[0], {"x": node.inputs[0]}, False)


def avg_pool(node: Node) -> CallNode | None:
    """`AvgPool`."""
    return _pool(node, "mean", node.inputs[0], node.outputs[0], {"x": node.inputs[0]}, False)


def max_pool_grad(node: Node) -> CallNode | None:
    """`MaxPoolGrad(orig_input, orig_output, grad)`."""
    x, y, dy = node.inputs
    return _pool(node, "max", x, y, {"x": x, "dy": dy}, True)


def avg_pool_grad(node: Node) -> CallNode | None:
    """`AvgPoolGrad(orig_input_shape, grad)`."""
    return _pool(node, "mean", node.outputs[0], node.inputs[1], {"dy": node.inputs[1]}, True)


CALLS: dict[str, Callable[[Node], CallNode | None]] = {
    "matmul": matmul,
    "conv2d": conv2d,
    "conv2d_input": conv2d_input,
    "conv2d_filter": conv2d_filter,
    "depthwise_conv2d": depthwise_conv2d,
    "depthwise_conv2d_input": depthwise_conv2d_input,
    "depthwise_conv2d_filter": depthwise_conv2d_filter,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool_grad": avg_pool_grad,
}


def call_of(node: Node) -> CallNode | None:
    """Returns the library call of a node, or None if it has none."""
    rule = CALLS.get(node.op_def.lowering)
    return None if rule is None else rule(node)


def bytes_of(value: Value) -> int:
    """Returns the bytes of a value whose sizes are known."""
    return math.prod(value.sizes or ()) * value.dtype.size
