"""Pools besides the plain ones of `convolution`: windows given as tensors, places of the largest, fractional sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import OpDef, convert_to_tensor, emit, get_op, op
from graphflow.ops.convolution import PoolWindows, pooled_shape
from graphflow.ops.draws import Draws
from graphflow.ops.rules import FLOATS, REALS, SIGNED, Array, rank_exactly, refuse, shape_tensor, widened
from graphflow.shapes import TensorShape

_FORMAT = "data_format:string{NHWC|NCHW}=NHWC"
_PADDING = "padding:string{SAME|VALID}"


# ---------------------------------------------------------------------------- windows given as tensors


def _windows_of(node: Any, first: int) -> dict[str, Any] | None:
    """The attributes that the plain pool would have, if window and steps (inputs `first`, `first + 1`) are known."""
    values = []
    for position, name in ((first, "ksize"), (first + 1, "strides")):
        shape = rank_exactly(node, position, 1, name)
        if not shape.is_compatible_with([4]):
            raise ShapeError(f"{name} must have 4 elements, has shape {shape}")
        values.append(node.constant(position))
    if any(value is None for value in values):
        return None
    return _plain(node.attrs, *values)


def _plain(attrs: Any, ksize: Array, strides: Array) -> dict[str, Any]:
    return {
        "ksize": tuple(int(size) for size in ksize), "strides": tuple(int(step) for step in strides),
        "padding": attrs["padding"], "data_format": attrs.get("data_format", "NHWC"),
    }  # fmt: skip


def _v2_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "the images")
    attrs = _windows_of(node, 1)
    return TensorShape([None] * 4) if attrs is None else pooled_shape(attrs, x)


def _v2_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "orig_input")
    attrs = _windows_of(node, 3)
    if attrs is not None:
        expected = pooled_shape(attrs, x)
        for position, name in ((1, "orig_output"), (2, "grad")):
            if not expected.is_compatible_with(node.inputs[position].shape):
                raise ShapeError(f"{name} has shape {node.inputs[position].shape}, the pool gives {expected}")
    return x


def _v2_grad_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "orig_input")
    attrs = _windows_of(node, 3)
    if not x.is_compatible_with(node.inputs[2].shape):
        raise ShapeError(f"grad has shape {node.inputs[2].shape}, orig_input {x}")
    made = TensorShape([None] * 4) if attrs is None else pooled_shape(attrs, x)
    return _as_pooled(made, node.inputs[1].shape, "orig_output")


def _as_pooled(made: TensorShape, given: TensorShape, what: str) -> TensorShape:
    """The shape of what a pool has given, which an input has to have as well."""
    if not made.is_compatible_with(given):
        raise ShapeError(f"{what} has shape {given}, the pool gives {made}")
    return made.merge_with(given)


def _run(plain: str, *arrays: Array, ksize: Array, strides: Array, padding: str, data_format: str) -> Any:
    """What the body of a plain pool gives; it looks at the layout in its window alone."""
    attrs = _plain({"padding": padding, "data_format": data_format}, ksize, strides)
    if len(attrs["ksize"]) != 4 or len(attrs["strides"]) != 4:
        raise refuse(f"ksize and strides must have 4 elements, got {attrs['ksize']} and {attrs['strides']}")
    pooled_shape(attrs, TensorShape(arrays[0].shape))
    return get_op(plain).body(*arrays, ksize=attrs["ksize"], strides=attrs["strides"], padding=padding)


def _expanded(plain: str, count: int) -> Callable[..., list[Any] | None]:
    """The plain pool, where the window is known while compiling."""

    def expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
        ksize, strides = (inputs[i].constant for i in (count, count + 1))
        if ksize is None or strides is None:
            return None
        return [builder.emit(plain, *inputs[:count], **_plain(node.attrs, ksize, strides))]

    return expand


@op("MaxPoolV2", "input:T; ksize:int32; strides:int32", "output:T",
    f"T:type{{{FLOATS}|{SIGNED}|uint8|uint16}}=float32; {_PADDING}; data_format:string{{NHWC|NCHW|NCHW_VECT_C}}=NHWC",
    infer=_v2_shape)  # fmt: skip
def max_pool_v2_op(
    input: Array, ksize: Array, strides: Array, *, padding: str, data_format: str = "NHWC"
) -> Array:
    """The largest element of each window."""
    return _run(
        "MaxPool", input, ksize=ksize, strides=strides, padding=padding,
        data_format=data_format,
    )  # fmt: skip


max_pool_v2_op.expand(_expanded("MaxPool", 1))


def _v2_attributes(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in ("padding", "data_format")}


@max_pool_v2_op.gradient
def max_pool_v2_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the largest element of each window."""
    x, ksize, strides = op.inputs
    return [emit.MaxPoolGradV2(x, op.outputs[0], dy, ksize, strides, **_v2_attributes(op)), None, None]


@op("MaxPoolGradV2", "orig_input:T; orig_output:T; grad:T; ksize:int32; strides:int32", "output:T",
    f"{_PADDING}; {_FORMAT}; T:type{{{REALS}}}=float32", infer=_v2_grad_shape)  # fmt: skip
def max_pool_grad_v2_op(
    orig_input: Array, orig_output: Array, grad: Array, ksize: Array, strides: Array, *, padding: str,
    data_format: str = "NHWC",
) -> Array:  # fmt: skip
    """The gradient put where each window has its largest element, the first one of equals."""
    return _run(
        "MaxPoolGrad", orig_input, orig_output, grad, ksize=ksize, strides=strides, padding=padding,
        data_format=data_format,
    )  # fmt: skip


max_pool_grad_v2_op.expand(_expanded("MaxPoolGrad", 3))


@max_pool_grad_v2_op.gradient
def max_pool_grad_v2_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient picked up where it was put."""
    x, y, _, ksize, strides = op.inputs
    picked = emit.MaxPoolGradGradV2(x, y, dy, ksize, strides, **_v2_attributes(op))
    return [None, None, picked, None, None]


@op("MaxPoolGradGradV2", "orig_input:T; orig_output:T; grad:T; ksize:int32; strides:int32", "output:T",
    f"{_PADDING}; {_FORMAT}; T:type{{{REALS}}}", infer=_v2_grad_grad_shape)  # fmt: skip
def max_pool_grad_grad_v2_op(
    orig_input: Array, orig_output: Array, grad: Array, ksize: Array, strides: Array, *, padding: str,
    data_format: str = "NHWC",
) -> Array:  # fmt: skip
    """The elements of `grad` that stand where each window has its largest element."""
    return _run(
        "MaxPoolGradGrad", orig_input, orig_output, grad, ksize=ksize, strides=strides, padding=padding,
        data_format=data_format,
    )  # fmt: skip


max_pool_grad_grad_v2_op.expand(_expanded("MaxPoolGradGrad", 3))


@max_pool_grad_grad_v2_op.gradient
def max_pool_grad_grad_v2_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Put back where it was picked up."""
    x, y, _, ksize, strides = op.inputs
    return [None, None, emit.MaxPoolGradV2(x, y, dy, ksize, strides, **_v2_attributes(op)), None, None]


# ---------------------------------------------------------------------------- places of the largest

_ARGMAX = f"ksize:list(int)>=4; strides:list(int)>=4; {_PADDING}; include_batch_in_index:bool=false"


def _argmax_pooled(attrs: Any, x: TensorShape) -> TensorShape:
    shape = pooled_shape({**attrs, "data_format": "NHWC"}, x)
    if attrs["ksize"][3] != 1 or attrs["strides"][3] != 1:
        raise ShapeError(
            f"places of the largest are found per channel, got ksize {list(attrs['ksize'])} and strides "
            f"{list(attrs['strides'])}"
        )
    return shape


def _argmax_shape(node: Any) -> list[TensorShape]:
    return [_argmax_pooled(node.attrs, rank_exactly(node, 0, 4, "the images"))] * 2


def _argmax_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "the images")
    pooled = _argmax_pooled(node.attrs, x)
    for position, name in ((1, "grad"), (2, "argmax")):
        if not pooled.is_compatible_with(node.inputs[position].shape):
            raise ShapeError(f"{name} has shape {node.inputs[position].shape}, the pool gives {pooled}")
    return x


def _argmax_grad_grad_shape(node: Any) -> TensorShape:
    x = rank_exactly(node, 0, 4, "the images")
    if not x.is_compatible_with(node.inputs[1].shape):
        raise ShapeError(f"grad has shape {node.inputs[1].shape}, the images {x}")
    return _as_pooled(_argmax_pooled(node.attrs, x), node.inputs[2].shape, "argmax")


@op("MaxPoolWithArgmax", "input:T", "output:T; argmax:Targmax",
    f"{_ARGMAX}; Targmax:type{{int32|int64}}=int64; T:type{{{REALS}}}", infer=_argmax_shape)  # fmt: skip
@widened
def max_pool_with_argmax_op(
    input: Array, *, ksize: Sequence[int], strides: Sequence[int], padding: str,
    include_batch_in_index: bool = False, Targmax: dtypes.DType = dtypes.int64,
) -> tuple[Array, Array]:  # fmt: skip
    """The largest element of each window, and its place in the image (or in the batch) laid out in a row."""
    if not input.size:
        raise refuse(f"the images must not be empty, have shape {list(input.shape)}")
    pool = PoolWindows(input.shape, ksize, strides, padding, ())
    values, chosen = pool.largest(input)
    _, window_row, window_column, _ = np.unravel_index(chosen, pool.ksize)
    batch, row, column, channel = np.indices(pool.output, sparse=True)
    row = row * strides[1] - pool.padding[1][0] + window_row
    column = column * strides[2] - pool.padding[2][0] + window_column
    _, height, width, depth = input.shape
    place = (row * width + column) * depth + channel
    if include_batch_in_index:
        place = place + batch * (height * width * depth)
    return np.take_along_axis(values, chosen[..., None], axis=-1)[..., 0], place.astype(Targmax.numpy)


def _argmax_attributes(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in ("ksize", "strides", "padding", "include_batch_in_index")}


@max_pool_with_argmax_op.gradient
def max_pool_with_argmax_gradient(op: Any, dy: Tensor | None, _: Tensor | None) -> list[Any]:
    """To the places."""
    if dy is None:
        return [None]
    return [emit.MaxPoolGradWithArgmax(op.inputs[0], dy, op.outputs[1], **_argmax_attributes(op))]


def _flat_places(argmax: Array, x: Array, include_batch_in_index: bool) -> Array:
    """Places in the whole batch."""
    places = argmax.astype(np.int64)
    if not include_batch_in_index:
        image = x.size // max(1, len(x))
        if places.size and not 0 <= places.min() <= places.max() < image:
            raise refuse(f"argmax has places outside [0, {image}), the elements of an image")
        places = places + (np.arange(len(x)) * image).reshape(-1, 1, 1, 1)
    if places.size and not 0 <= places.min() <= places.max() < x.size:
        raise refuse(f"argmax has places outside [0, {x.size}), the elements of the batch")
    return places


@op("MaxPoolGradWithArgmax", "input:T; grad:T; argmax:Targmax", "output:T",
    f"{_ARGMAX}; Targmax:type{{int32|int64}}; T:type{{{REALS}}}", infer=_argmax_grad_shape)  # fmt: skip
@widened
def max_pool_grad_with_argmax_op(
    input: Array, grad: Array, argmax: Array, *, include_batch_in_index: bool = False
) -> Array:
    """The gradient summed up at the places of the largest elements."""
    if grad.shape != argmax.shape:
        raise refuse(f"grad has shape {list(grad.shape)}, argmax {list(argmax.shape)}")
    result = np.zeros(input.size, grad.dtype)
    np.add.at(result, _flat_places(argmax, input, include_batch_in_index).reshape(-1), grad.reshape(-1))
    return result.reshape(input.shape)


@max_pool_grad_with_argmax_op.gradient
def max_pool_grad_with_argmax_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient picked up at the places."""
    x, _, argmax = op.inputs
    return [None, emit.MaxPoolGradGradWithArgmax(x, dy, argmax, **_argmax_attributes(op)), None]


@op("MaxPoolGradGradWithArgmax", "input:T; grad:T; argmax:Targmax", "output:T",
    f"{_ARGMAX}; Targmax:type{{int32|int64}}; T:type{{{REALS}}}", infer=_argmax_grad_grad_shape)  # fmt: skip
def max_pool_grad_grad_with_argmax_op(
    input: Array, grad: Array, argmax: Array, *, include_batch_in_index: bool = False
) -> Array:
    """The elements of `grad` at the places of the largest elements."""
    if grad.shape != input.shape:
        raise refuse(f"grad has shape {list(grad.shape)}, the images {list(input.shape)}")
    return grad.reshape(-1)[_flat_places(argmax, input, include_batch_in_index)]


@max_pool_grad_grad_with_argmax_op.gradient
def max_pool_grad_grad_with_argmax_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Put back at the places."""
    x, _, argmax = op.inputs
    return [None, emit.MaxPoolGradWithArgmax(x, dy, argmax, **_argmax_attributes(op)), None]


# ---------------------------------------------------------------------------- windows of uneven sizes

_KINDS = "T:type{float32|float64|int32|int64}"


def _fractional_shape(node: Any) -> list[TensorShape]:
    x = rank_exactly(node, 0, 4, "the images").as_list()
    ratios = node.attrs["pooling_ratio"]
    if len(ratios) != 4:
        raise ShapeError(f"pooling_ratio must have 4 elements, got {list(ratios)}")
    if any(not ratio >= 1 for ratio in ratios):
        raise ShapeError(f"pooling_ratio cannot be smaller than 1, got {list(ratios)}")
    if ratios[0] != 1 or ratios[3] != 1:
        raise ShapeError(f"only height and width can be pooled, got pooling_ratio {list(ratios)}")
    made = [None if size is None else math.floor(size / r) for size, r in zip(x, ratios, strict=True)]
    ends = [TensorShape([None if size is None else size + 1]) for size in made[1:3]]
    return [TensorShape(made), *ends]


def _evenly_shuffled(size: int, count: int, draws: Draws) -> list[int]:
    """Windows of two neighbouring sizes, in random order."""
    small, larger = divmod(size, count)
    widths = [small + (i < larger) for i in range(count)]
    for i in range(count - 1):
        other = i + draws.word() % (count - i)
        widths[i], widths[other] = widths[other], widths[i]
    return widths


def _evenly_spaced(size: int, count: int, draws: Draws) -> list[int]:
    """Windows that end at rounded multiples of their mean size, moved by one random number."""
    ratio, small = size / count, size // count
    span = min((small + 2) / ratio - 1, (size + 1 - small) / ratio - (count - 1))
    start = draws.wide_unit() * span
    ends = [1, *(math.ceil(ratio * (i + start)) for i in range(1, count)), size + 1]
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def _boundaries(
    sizes: Sequence[int], counts: Sequence[int], spaced: bool, key: tuple[int, int], counter: int
) -> list[Array]:
    """Where the windows begin along each axis, and where the last one ends."""
    result = []
    for size, count in zip(sizes, counts, strict=True):
        draws = Draws(key, counter)
        widths = (_evenly_spaced if spaced else _evenly_shuffled)(size, count, draws)
        counter += 1 if spaced else -(-count // 4)
        result.append(np.cumsum([0, *widths], dtype=np.int64))
    return result


def _spans(ends: Array, size: int, overlapping: bool) -> list[slice]:
    """The elements of each window along an axis; overlapping ones share their border."""
    return [
        slice(int(start), min(int(stop) + overlapping, size)) for start, stop in zip(ends, ends[1:], strict=False)
    ]  # fmt: skip


def _fractional(
    value: Array, pooling_ratio: Sequence[float], pseudo_random: bool, overlapping: bool, deterministic: bool,
    key: tuple[int, int], counter: int, gather: Callable[[Array], Array],
) -> tuple[Array, Array, Array]:  # fmt: skip
    counts = [math.floor(value.shape[i] / pooling_ratio[i]) for i in (1, 2)]
    if min(counts) < 1:
        raise refuse(f"the images are too small: {list(value.shape)} for pooling_ratio {list(pooling_ratio)}")
    # A deterministic pool begins anew in each run.
    rows, columns = _boundaries(value.shape[1:3], counts, pseudo_random, key, 0 if deterministic else counter)
    result = np.empty((len(value), *counts, value.shape[3]), value.dtype)
    across = _spans(columns, value.shape[2], overlapping)
    for i, down in enumerate(_spans(rows, value.shape[1], overlapping)):
        for j, span in enumerate(across):
            result[:, i, j] = gather(value[:, down, span])
    return result, rows, columns


def _fractional_op(op_type: str, gather: Callable[[Array], Array], doc: str) -> OpDef:
    def body(
        value: Array, *, pooling_ratio: Sequence[float], pseudo_random: bool = False, overlapping: bool = False,
        deterministic: bool = False, key: tuple[int, int], counter: int,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        return _fractional(
            value, pooling_ratio, pseudo_random, overlapping, deterministic, key, counter, gather
        )

    body.__doc__ = doc
    return op(
        op_type, "value:T", "output:T; row_pooling_sequence:int64; col_pooling_sequence:int64",
        "pooling_ratio:list(float)>=4; pseudo_random:bool=false; overlapping:bool=false; deterministic:bool=false; "
        f"seed:int=0; seed2:int=0; {_KINDS}", infer=_fractional_shape, effects="random",
    )(body)  # fmt: skip


def _largest(window: Array) -> Array:
    result: Array = window.max(axis=(1, 2))
    return result


def _mean(window: Array) -> Array:
    total = window.sum(axis=(1, 2), dtype=window.dtype)
    count = window.shape[1] * window.shape[2]
    if window.dtype.kind == "i":  # towards zero, as in C
        return np.asarray(np.sign(total) * (np.abs(total) // count))
    return np.asarray(total / window.dtype.type(count))


fractional_max_pool_op = _fractional_op(
    "FractionalMaxPool", _largest, "The largest element of windows whose sizes are drawn."
)
fractional_avg_pool_op = _fractional_op(
    "FractionalAvgPool", _mean, "The mean of windows whose sizes are drawn."
)


@fractional_max_pool_op.gradient
def fractional_max_pool_gradient(op: Any, dy: Tensor | None, *_: Tensor | None) -> list[Any]:
    """To the largest element of each window."""
    y, rows, columns = op.outputs
    if dy is None:
        return [None]
    return [
        emit.FractionalMaxPoolGrad(
            op.inputs[0], y, dy, rows, columns, overlapping=op.attrs["overlapping"]
        )
    ]  # fmt: skip


@fractional_avg_pool_op.gradient
def fractional_avg_pool_gradient(op: Any, dy: Tensor | None, *_: Tensor | None) -> list[Any]:
    """An equal share to each element of a window."""
    _, rows, columns = op.outputs
    if dy is None:
        return [None]
    sizes = shape_tensor(op.inputs[0], dtypes.int64)
    return [emit.FractionalAvgPoolGrad(sizes, dy, rows, columns, overlapping=op.attrs["overlapping"])]


def _checked_ends(ends: Array, count: int, size: int, name: str) -> Array:
    if ends.shape != (count + 1,):
        raise refuse(f"{name} must have {count + 1} elements, one more than out_backprop, has {ends.size}")
    if (np.diff(ends) < 1).any() or ends[0] != 0 or ends[-1] != size:
        raise refuse(f"{name} must grow from 0 to {size}, the size of the images, is {ends.tolist()}")
    return ends


def _windows(
    shape: Sequence[int], dy: Array, rows: Array, columns: Array, overlapping: bool
) -> list[tuple[int, int, slice, slice]]:
    if dy.ndim != 4 or dy.shape[0] != shape[0] or dy.shape[3] != shape[3]:
        raise refuse(f"out_backprop has shape {list(dy.shape)}, the images {list(shape)}")
    down = _spans(_checked_ends(rows, dy.shape[1], shape[1], "row_pooling_sequence"), shape[1], overlapping)
    across = _spans(
        _checked_ends(columns, dy.shape[2], shape[2], "col_pooling_sequence"), shape[2], overlapping
    )
    return [(i, j, a, b) for i, a in enumerate(down) for j, b in enumerate(across)]


def _as_input(node: Any) -> TensorShape:
    return rank_exactly(node, 0, 4, "orig_input")


@op("FractionalMaxPoolGrad",
    "orig_input:T; orig_output:T; out_backprop:T; row_pooling_sequence:int64; col_pooling_sequence:int64", "output:T",
    f"overlapping:bool=false; {_KINDS}", infer=_as_input, differentiable=False)  # fmt: skip
def fractional_max_pool_grad_op(
    orig_input: Array, orig_output: Array, out_backprop: Array, row_pooling_sequence: Array,
    col_pooling_sequence: Array, *, overlapping: bool = False,
) -> Array:  # fmt: skip
    """The gradient put where each window has its largest element, the first one of equals."""
    if orig_output.shape != out_backprop.shape:
        raise refuse(
            f"out_backprop has shape {list(out_backprop.shape)}, orig_output {list(orig_output.shape)}"
        )
    result = np.zeros_like(orig_input)
    batch, _, _, depth = orig_input.shape
    image, channel = np.ogrid[:batch, :depth]
    for i, j, down, across in _windows(
        orig_input.shape, out_backprop, row_pooling_sequence, col_pooling_sequence, overlapping
    ):
        window = orig_input[:, down, across]
        chosen = window.reshape(batch, -1, depth).argmax(axis=1)
        row, column = np.divmod(chosen, window.shape[2])
        result[:, down, across][image, row, column, channel] += out_backprop[:, i, j]
    return result


def _sizes_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.constant_shape(0)
    rank_exactly(node, 1, 4, "out_backprop")
    return TensorShape([None] * 4) if shape.rank is None else shape.with_rank(4)


@op("FractionalAvgPoolGrad",
    "orig_input_tensor_shape:int64; out_backprop:T; row_pooling_sequence:int64; col_pooling_sequence:int64",
    "output:T", f"overlapping:bool=false; {_KINDS}", infer=_sizes_shape, differentiable=False)  # fmt: skip
def fractional_avg_pool_grad_op(
    orig_input_tensor_shape: Array, out_backprop: Array, row_pooling_sequence: Array, col_pooling_sequence: Array,
    *, overlapping: bool = False,
) -> Array:  # fmt: skip
    """An equal share of the gradient for each element of a window."""
    sizes = [int(size) for size in orig_input_tensor_shape]
    if len(sizes) != 4 or min(sizes) < 0:
        raise refuse(f"orig_input_tensor_shape must be 4 sizes, got {sizes}")
    windows = _windows(sizes, out_backprop, row_pooling_sequence, col_pooling_sequence, overlapping)
    result = np.zeros(sizes, np.float64)
    for i, j, down, across in windows:
        part = result[:, down, across]
        part += (out_backprop[:, i, j].astype(np.float64) / (part.shape[1] * part.shape[2]))[:, None, None]
    return result.astype(out_backprop.dtype)


# ---------------------------------------------------------------------------- public functions


def max_pool_with_argmax(
    input: Any, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str = "NHWC",
    Targmax: Any = None, name: str | None = None, output_dtype: Any = None, include_batch_in_index: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns the largest element of each window, and where it stands.

    Args:
      input: [batch, height, width, channels].
      ksize: the window, 4 numbers.
      strides: the steps, 4 numbers.
      padding: "SAME" or "VALID".
      data_format: "NHWC".
      Targmax: int32 or int64 (the default), the dtype of places; `output_dtype` is its new name.
      name: a name.
      output_dtype: see `Targmax`.
      include_batch_in_index: whether places count from the start of the batch, not of their own image.

    Returns:
      `(output, argmax)`; a place is (row * width + column) * channels + channel.

    Raises:
      ValueError: for channels second, or if both names of one argument are given.
    """
    if data_format != "NHWC":
        raise ValueError("data_format values other than 'NHWC' are not supported")
    if Targmax is not None and output_dtype is not None:
        raise ValueError("Cannot specify both 'output_dtype' and 'Targmax'")
    kind = output_dtype if Targmax is None else Targmax
    output, argmax = emit.MaxPoolWithArgmax(
        convert_to_tensor(input, name="input"), ksize=list(ksize), strides=list(strides), padding=padding,
        Targmax=dtypes.int64 if kind is None else dtypes.as_dtype(kind),
        include_batch_in_index=include_batch_in_index, name=name,
    )  # fmt: skip
    return output, argmax


Fractional = tuple[Tensor, Tensor, Tensor]


def _fractional_pool(
    op_type: str, value: Any, pooling_ratio: Any, pseudo_random: bool, overlapping: bool, deterministic: bool,
    seeds: tuple[int, int], name: str | None,
) -> Fractional:  # fmt: skip
    ratios = [float(r) for r in np.ravel(pooling_ratio)]
    if len(ratios) in (1, 2):
        ratios = [1.0, ratios[0], ratios[-1], 1.0]
    result: Fractional = getattr(emit, op_type)(
        convert_to_tensor(value, name="value"), pooling_ratio=ratios, pseudo_random=pseudo_random,
        overlapping=overlapping, deterministic=deterministic, seed=seeds[0], seed2=seeds[1], name=name,
    )  # fmt: skip
    return tuple(result)  # type: ignore[return-value]


def fractional_max_pool(
    value: Any, pooling_ratio: Sequence[float], pseudo_random: bool = False, overlapping: bool = False,
    deterministic: bool = False, seed: int = 0, seed2: int = 0, name: str | None = None,
) -> Fractional:  # fmt: skip
    """Pools images by windows whose sizes are drawn, so that images may shrink by any factor.

    Args:
      value: [batch, height, width, channels].
      pooling_ratio: by how much each axis shrinks, 4 numbers, the first and the last of them 1.
      pseudo_random: whether windows are spaced evenly from a random start; else their sizes are shuffled.
      overlapping: whether neighbouring windows share their border.
      deterministic: whether every run draws the same windows.
      seed: the first seed, for a deterministic pool.
      seed2: the second seed.
      name: a name.

    Returns:
      `(output, row_pooling_sequence, col_pooling_sequence)`: the last two say where windows begin and end.
    """
    return _fractional_pool(
        "FractionalMaxPool", value, pooling_ratio, pseudo_random, overlapping, deterministic, (seed, seed2), name
    )  # fmt: skip


def fractional_avg_pool(
    value: Any, pooling_ratio: Sequence[float], pseudo_random: bool = False, overlapping: bool = False,
    deterministic: bool = False, seed: int = 0, seed2: int = 0, name: str | None = None,
) -> Fractional:  # fmt: skip
    """Pools images by the means of windows whose sizes are drawn; see `fractional_max_pool`."""
    return _fractional_pool(
        "FractionalAvgPool", value, pooling_ratio, pseudo_random, overlapping, deterministic, (seed, seed2), name
    )  # fmt: skip


__all__ = ["fractional_avg_pool", "fractional_max_pool", "max_pool_with_argmax"]
