"""Images of other sizes: resizing, and cutting boxes out at a given size.

Along each axis a resized image is a sum of a few pixels, each with its weight: its *taps*. The gradient is the same
with the taps turned round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops.rules import FLOATS, REALS, Array, rank_exactly
from graphflow.shapes import TensorShape

_CENTERS = "align_corners:bool=false; half_pixel_centers:bool=false"
# Adding up more pixels than these is left to the NumPy body.
_MOST_TAPS = 8


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


class Taps(NamedTuple):
    """Along one axis: which elements each result is made of, and with what weights; both [taps, results]."""

    places: Array
    weight: Array


# ---------------------------------------------------------------------------- where results come from


def _scale(size: int, wanted: int, align_corners: bool) -> np.float32:
    if align_corners and wanted > 1:
        return np.float32(size - 1) / np.float32(wanted - 1)
    return np.float32(size) / np.float32(wanted)


def _places(size: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """Where the results lie on the axis of the source."""
    scale, at = _scale(size, wanted, align_corners), np.arange(wanted, dtype=np.float32)
    if half_pixel_centers:
        return (at + np.float32(0.5)) * scale - np.float32(0.5)
    return at * scale


def _nearest(size: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    scale, at = _scale(size, wanted, align_corners), np.arange(wanted, dtype=np.float32)
    places = (at + np.float32(0.5)) * scale if half_pixel_centers else at * scale
    index = np.floor(places + np.float32(0.5)) if align_corners else np.floor(places)
    index = np.clip(index.astype(np.int64), 0, size - 1)
    return Taps(index[None], np.ones((1, wanted), np.float32))


def _linear(size: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    places = _places(size, wanted, align_corners, half_pixel_centers)
    below = np.floor(places)
    low = np.maximum(below.astype(np.int64), 0)
    high = np.minimum(np.ceil(places).astype(np.int64), size - 1)
    share = places - below
    return Taps(np.stack([np.minimum(low, size - 1), high]), np.stack([np.float32(1) - share, share]))


_STEPS = 1024  # TensorFlow reads the cubic's values from a table of so many


def _cubic_table(a: float) -> Array:
    """[step, near or far]: the weights of the nearer and the farther neighbour."""
    x = np.arange(_STEPS + 1, dtype=np.float32) * np.float32(1.0 / _STEPS)
    near = ((a + 2) * x.astype(np.float64) - (a + 3)) * x * x + 1
    x = x + np.float32(1)
    far = ((a * x.astype(np.float64) - 5 * a) * x + 8 * a) * x - 4 * a
    return np.stack([near, far], axis=1).astype(np.float32)


def _cubic(size: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    places = _places(size, wanted, align_corners, half_pixel_centers)
    below = np.floor(places)
    step = np.rint((places - below) * np.float32(_STEPS)).astype(np.int64)
    table = _cubic_table(-0.5 if half_pixel_centers else -0.75)
    weight = np.stack([table[step, 1], table[step, 0], table[_STEPS - step, 0], table[_STEPS - step, 1]])
    index = below.astype(np.int64) + np.arange(-1, 3)[:, None]
    bounded = np.clip(index, 0, size - 1)
    if half_pixel_centers:
        weight = np.where(bounded == index, weight, np.float32(0))
        total = weight.sum(axis=0)
        weight = np.where(
            np.abs(total) >= 1000 * np.finfo(np.float32).tiny, weight * (np.float32(1) / total), weight
        )
    return Taps(bounded, weight)


def _area(size: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    scale, at = _scale(size, wanted, align_corners), np.arange(wanted, dtype=np.float32)
    start, stop = at * scale, (at + np.float32(1)) * scale
    first, last = np.floor(start).astype(np.int64), np.ceil(stop).astype(np.int64)
    index = first + np.arange(max(1, int((last - first).max(initial=0))))[:, None]
    beyond = (index + 1).astype(np.float32) > stop
    inner = np.where(beyond, stop - index.astype(np.float32), np.float32(1))
    outer = np.where(beyond, scale, (index + 1).astype(np.float32) - start)
    weight = np.where(index.astype(np.float32) < start, outer, inner)
    weight = np.where(index < last, weight, 0) * (np.float32(1) / scale)
    return Taps(np.clip(index, 0, size - 1), weight.astype(np.float32))


Kind = Callable[[int, int, bool, bool], Taps]


def _turned(taps: Taps, size: int) -> Taps:
    """The taps of the transposed map, onto an axis of `size`."""
    count, wanted = taps.places.shape
    target = taps.places.reshape(-1)
    source = np.tile(np.arange(wanted), count)
    weight = taps.weight.reshape(-1)
    used = weight != 0
    target, source, weight = target[used], source[used], weight[used]
    order = np.argsort(target, kind="stable")
    target, source, weight = target[order], source[order], weight[order]
    starts = np.searchsorted(target, np.arange(size))
    rank = np.arange(len(target)) - starts[target]
    most = max(1, int(rank.max(initial=0)) + 1)
    index, share = np.zeros((most, size), np.int64), np.zeros((most, size), np.float32)
    index[rank, target] = source
    share[rank, target] = weight
    return Taps(index, share)


def _along(x: Array, taps: Taps, axis: int) -> Array:
    """The sums along one axis."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    count = len(taps.places)
    if count == 1 and (taps.weight == 1).all():
        return np.take(x, taps.places[0], axis)
    total = np.take(x, taps.places[0], axis) * taps.weight[0].reshape(shape).astype(x.dtype)
    for index, weight in zip(taps.places[1:], taps.weight[1:], strict=True):
        total = total + np.take(x, index, axis) * weight.reshape(shape).astype(x.dtype)
    return total


def _expanded(builder: Any, value: Any, pairs: Sequence[tuple[Taps, int]]) -> Any | None:
    """The same as nodes: gathers, whose weights and sum fuse into one kernel per axis."""
    if any(len(taps.places) > _MOST_TAPS for taps, _ in pairs):
        return None
    for taps, axis in pairs:
        total = None
        at = builder.constant(np.array(axis, np.int32))
        plain = len(taps.places) == 1 and bool((taps.weight == 1).all())
        for index, weight in zip(taps.places, taps.weight, strict=True):
            # The size of the image decides both: they hold for these feeds only.
            places = builder.constant(index.astype(np.int32), specialized=True)
            part = builder.emit("GatherV2", value, places, at)
            if not plain:
                shape = [-1 if i == axis else 1 for i in range(4)]
                share = weight.reshape(shape).astype(value.dtype.numpy)
                part = builder.emit("Mul", part, builder.constant(share, specialized=True))
            total = part if total is None else builder.emit("AddV2", total, part)
        value = total
    return value


# ---------------------------------------------------------------------------- shapes


def _resized_shape(node: Any) -> TensorShape:
    images = rank_exactly(node, 0, 4, "images")
    sizes = rank_exactly(node, 1, 1, "size")
    if not sizes.is_compatible_with([2]):
        raise ShapeError(f"size must have two elements, has shape {sizes}")
    wanted = node.constant(1)
    if wanted is not None and (wanted < 1).any():
        raise ShapeError(f"output dimensions must be positive, got {wanted.tolist()}")
    height, width = (None, None) if wanted is None else (int(wanted[0]), int(wanted[1]))
    batch, _, _, channels = images.as_list()
    return TensorShape([batch, height, width, channels])


def _sizes(images: Array, size: Array, attrs: tuple[bool, bool]) -> tuple[int, int]:
    if images.ndim != 4:
        raise _refuse(f"images must have rank 4, have shape {list(images.shape)}")
    if size.shape != (2,) or (size < 1).any():
        raise _refuse(f"output dimensions must be two positive numbers, got {size.tolist()}")
    if images.size and 0 in images.shape[1:3] or not images.shape[1] or not images.shape[2]:
        raise _refuse(f"input image must be of non-zero size, has shape {list(images.shape)}")
    if all(attrs):
        raise _refuse("If half_pixel_centers is True, align_corners must be False.")
    return int(size[0]), int(size[1])


# ---------------------------------------------------------------------------- the resizing ops


def _resizing(op_type: str, kind: Kind, keeps_dtype: bool, attrs: str) -> OpDef:
    """Declares one way of resizing images."""
    output = "T" if keeps_dtype else "float32"

    def body(
        images: Array, size: Array, *, align_corners: bool = False, half_pixel_centers: bool = False
    ) -> Array:
        height, width = _sizes(images, size, (align_corners, half_pixel_centers))
        x = images if keeps_dtype else images.astype(np.float32)
        for axis, wanted in ((1, height), (2, width)):
            x = _along(x, kind(images.shape[axis], wanted, align_corners, half_pixel_centers), axis)
        return x

    def expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
        images, size = inputs
        sizes, wanted = images.sizes, size.constant
        centers = (node.attrs["align_corners"], node.attrs.get("half_pixel_centers", False))
        if sizes is None or wanted is None or 0 in sizes or (wanted < 1).any() or all(centers):
            return None
        value = images
        if not keeps_dtype and images.dtype is not dtypes.float32:
            value = builder.emit("Cast", images, DstT=dtypes.float32)
        pairs = [(kind(sizes[axis], int(wanted[axis - 1]), *centers), axis) for axis in (1, 2)]
        result = _expanded(builder, value, pairs)
        return None if result is None else [result]

    body.__doc__ = f"Images [n, h, w, c] of another height and width, by {op_type[6:]}."
    types = f"T:type{{{REALS}}}".replace("|uint32|uint64", "")
    made = op(
        op_type, "images:T; size:int32", f"resized_images:{output}", f"{types}; {attrs}", infer=_resized_shape
    )(body)
    made.expand(expand)
    return made


def _grad_shape_of_image(node: Any) -> TensorShape:
    grads, image = rank_exactly(node, 0, 4, "grads"), rank_exactly(node, 1, 4, "original_image")
    _, height, width, _ = image.as_list()
    batch, _, _, channels = grads.as_list()
    own_batch, _, _, own_channels = image.as_list()
    return TensorShape([batch or own_batch, height, width, channels or own_channels])


def _turned_pairs(
    kind: Kind, sizes: Sequence[int], made: Sequence[int], centers: tuple[bool, bool]
) -> list[tuple[Taps, int]]:
    return [(_turned(kind(sizes[axis], made[axis], *centers), sizes[axis]), axis) for axis in (2, 1)]


def _resizing_grad(op_type: str, kind: Kind, types: str) -> OpDef:
    """Declares the gradient of one way of resizing with respect to the images."""

    def body(
        grads: Array, original_image: Array, *, align_corners: bool = False, half_pixel_centers: bool = False
    ) -> Array:
        x = grads
        if grads.ndim != 4 or original_image.ndim != 4:
            raise _refuse(
                f"grads and original_image must have rank 4, have {grads.ndim} and {original_image.ndim}"
            )
        pairs = _turned_pairs(kind, original_image.shape, grads.shape, (align_corners, half_pixel_centers))
        for taps, axis in pairs:
            x = _along(x, taps, axis)
        return x.astype(original_image.dtype)

    def expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
        grads, image = inputs
        if grads.sizes is None or image.sizes is None or 0 in (*grads.sizes, *image.sizes):
            return None
        if image.dtype is not dtypes.float32:
            return None
        centers = (node.attrs["align_corners"], node.attrs["half_pixel_centers"])
        result = _expanded(builder, grads, _turned_pairs(kind, image.sizes, grads.sizes, centers))
        return None if result is None else [result]

    body.__doc__ = "The gradient of resizing: each pixel gets its share of every result that it took part in."
    made = op(
        op_type, "grads:float32; original_image:T", "output:T", f"T:type{{{types}}}; {_CENTERS}",
        infer=_grad_shape_of_image,
    )(body)  # fmt: skip
    made.expand(expand)
    return made


resize_bilinear_op = _resizing("ResizeBilinear", _linear, False, _CENTERS)
resize_bicubic_op = _resizing("ResizeBicubic", _cubic, False, _CENTERS)
resize_nearest_neighbor_op = _resizing("ResizeNearestNeighbor", _nearest, True, _CENTERS)
resize_area_op = _resizing("ResizeArea", _area, False, "align_corners:bool=false").not_differentiable()
resize_bilinear_grad_op = _resizing_grad("ResizeBilinearGrad", _linear, FLOATS)
resize_bicubic_grad_op = _resizing_grad("ResizeBicubicGrad", _cubic, "float32|float64")


def _centers(op: Any) -> dict[str, bool]:
    return {name: op.attrs[name] for name in ("align_corners", "half_pixel_centers")}


@resize_bilinear_op.gradient
def resize_bilinear_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Each pixel's share; none flows to images of integers."""
    return [emit.ResizeBilinearGrad(dy, op.inputs[0], **_centers(op)), None]


@resize_bicubic_op.gradient
def resize_bicubic_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Each pixel's share, for float32 and float64."""
    if op.inputs[0].dtype not in (dtypes.float32, dtypes.float64):
        return [None, None]
    return [emit.ResizeBicubicGrad(dy, op.inputs[0], **_centers(op)), None]


def _back(forward: str) -> Callable[..., list[Any]]:
    def rule(op: Any, dy: Tensor) -> list[Any]:
        size = emit.StridedSlice(emit.Shape(op.inputs[0]), [1], [3], [1])
        return [getattr(emit, forward)(dy, size, **_centers(op)), None]

    rule.__doc__ = "It is linear: the resizing itself."
    return rule


resize_bilinear_grad_op.gradient(_back("ResizeBilinear"))
resize_bicubic_grad_op.gradient(_back("ResizeBicubic"))


@resize_nearest_neighbor_op.gradient
def resize_nearest_neighbor_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The sum of all results that copied a pixel."""
    size = emit.StridedSlice(emit.Shape(op.inputs[0]), [1], [3], [1])
    if op.inputs[0].shape.is_fully_defined():
        size = convert_to_tensor(np.array(op.inputs[0].shape.as_list()[1:3], np.int32))
    return [emit.ResizeNearestNeighborGrad(dy, size, **_centers(op)), None]


@op("ResizeNearestNeighborGrad", "grads:T; size:int32", "output:T",
    f"T:type{{uint8|int8|int32|{FLOATS}}}; {_CENTERS}", infer=_resized_shape)  # fmt: skip
def resize_nearest_neighbor_grad_op(
    grads: Array, size: Array, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Array:
    """The gradient of copying pixels: the sum of what each copy receives."""
    height, width = _sizes(grads, size, (align_corners, half_pixel_centers))
    x = grads
    sizes = (0, height, width, 0)
    for taps, axis in _turned_pairs(_nearest, sizes, grads.shape, (align_corners, half_pixel_centers)):
        x = _along(x, taps, axis)
    return x


@resize_nearest_neighbor_grad_op.expand
def resize_nearest_neighbor_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Gathers of the copies, and their sum."""
    grads, size = inputs
    wanted = size.constant
    if grads.sizes is None or wanted is None or 0 in grads.sizes or grads.dtype is not dtypes.float32:
        return None
    centers = (node.attrs["align_corners"], node.attrs["half_pixel_centers"])
    sizes = (0, int(wanted[0]), int(wanted[1]), 0)
    if min(sizes[1:3]) < 1 or all(centers):
        return None
    result = _expanded(builder, grads, _turned_pairs(_nearest, sizes, grads.sizes, centers))
    return None if result is None else [result]


resize_nearest_neighbor_grad_op.gradient(_back("ResizeNearestNeighbor"))


# ---------------------------------------------------------------------------- boxes of a given size


def _crop_shape(node: Any) -> TensorShape:
    image = rank_exactly(node, 0, 4, "image")
    boxes = rank_exactly(node, 1, 2, "boxes")
    numbers = rank_exactly(node, 2, 1, "box_ind")
    if not boxes[1:].is_compatible_with([4]):
        raise ShapeError(f"boxes must have four columns, have shape {boxes}")
    if not rank_exactly(node, 3, 1, "crop_size").is_compatible_with([2]):
        raise ShapeError(f"crop_size must have two elements, has shape {node.inputs[3].shape}")
    count = boxes[:1].merge_with(numbers).as_list()[0]
    wanted = node.constant(3)
    height, width = (None, None) if wanted is None else (int(wanted[0]), int(wanted[1]))
    return TensorShape([count, height, width, image.as_list()[3]])


def _box_places(low: Array, high: Array, size: int, wanted: int) -> Array:
    """Where the rows of every crop lie in the image: float32 [boxes, wanted]."""
    last = np.float32(size - 1)
    if wanted == 1:
        return (np.float32(0.5) * (low + high) * last)[:, None]
    scale = (high - low) * last / np.float32(wanted - 1)
    return (low * last)[:, None] + np.arange(wanted, dtype=np.float32) * scale[:, None]


def _check_boxes(boxes: Array, numbers: Array, batch: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or numbers.shape != boxes.shape[:1]:
        raise _refuse(f"boxes {list(boxes.shape)} must be [n, 4] and box_ind {list(numbers.shape)} then [n]")
    if (numbers < 0).any() or (numbers >= batch).any():
        raise _refuse(f"box_index has values outside [0, batch_size): batch_size is {batch}")


class _Crops:
    """The places of crops in their images, and the four pixels around each."""

    def __init__(self, image: Sequence[int], boxes: Array, height: int, width: int) -> None:
        y1, x1, y2, x2 = boxes.T
        self.rows = _box_places(y1, y2, image[1], height)
        self.columns = _box_places(x1, x2, image[2], width)
        good_rows = (self.rows >= 0) & (self.rows <= image[1] - 1)
        good_columns = (self.columns >= 0) & (self.columns <= image[2] - 1)
        self.inside = good_rows[:, :, None] & good_columns[:, None, :]
        rows, columns = np.where(good_rows, self.rows, 0), np.where(good_columns, self.columns, 0)
        self.top, self.bottom = np.floor(rows).astype(np.int64), np.ceil(rows).astype(np.int64)
        self.left, self.right = np.floor(columns).astype(np.int64), np.ceil(columns).astype(np.int64)
        self.y = (rows - np.floor(rows))[:, :, None, None]
        self.x = (columns - np.floor(columns))[:, None, :, None]
        nearest = [np.floor(v + np.float32(0.5)).astype(np.int64) for v in (rows, columns)]
        self.nearest_row = np.minimum(nearest[0], image[1] - 1)
        self.nearest_column = np.minimum(nearest[1], image[2] - 1)

    def pixels(self, image: Array, numbers: Array, rows: Array, columns: Array) -> Array:
        """The pixels of [boxes, height, width]."""
        picked: Array = image[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
        return picked.astype(np.float32)


@op("CropAndResize", "image:T; boxes:float32; box_ind:int32; crop_size:int32", "crops:float32",
    "T:type{uint8|uint16|int8|int16|int32|int64|float16|float32|float64}; method:string{bilinear|nearest}=bilinear; "
    "extrapolation_value:float=0.0", infer=_crop_shape)  # fmt: skip
def crop_and_resize_op(
    image: Array, boxes: Array, box_ind: Array, crop_size: Array, *, method: str = "bilinear",
    extrapolation_value: float = 0.0,
) -> Array:  # fmt: skip
    """Cuts boxes (y1, x1, y2, x2 in parts of the image) out of images and resizes them."""
    if image.ndim != 4 or crop_size.shape != (2,) or (crop_size < 1).any():
        raise _refuse(f"image must have rank 4 and crop_size two positive numbers, got {crop_size.tolist()}")
    if not image.shape[1] or not image.shape[2]:
        raise _refuse("image dimensions must be positive")
    _check_boxes(boxes, box_ind, image.shape[0])
    at = _Crops(image.shape, boxes, int(crop_size[0]), int(crop_size[1]))
    if method == "nearest":
        crops = at.pixels(image, box_ind, at.nearest_row, at.nearest_column)
    else:
        top_left = at.pixels(image, box_ind, at.top, at.left)
        bottom_left = at.pixels(image, box_ind, at.bottom, at.left)
        top = top_left + (at.pixels(image, box_ind, at.top, at.right) - top_left) * at.x
        bottom = bottom_left + (at.pixels(image, box_ind, at.bottom, at.right) - bottom_left) * at.x
        crops = top + (bottom - top) * at.y
    return np.where(at.inside[..., None], crops, np.float32(extrapolation_value))


@crop_and_resize_op.gradient
def crop_and_resize_gradient(op: Any, dy: Tensor) -> list[Any]:
    """To the pixels by their shares, to the boxes by the image's slopes."""
    image, boxes, numbers, _ = op.inputs
    d_image = None
    if image.dtype in (dtypes.float16, dtypes.float32, dtypes.float64):
        d_image = emit.CropAndResizeGradImage(
            dy, boxes, numbers, emit.Shape(image), T=image.dtype, method=op.attrs["method"]
        )
    # As in TensorFlow, also where crops copy the nearest pixel.
    d_boxes = emit.CropAndResizeGradBoxes(dy, image, boxes, numbers)
    return [d_image, d_boxes, None, None]


def _crop_grad_image_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 4, "grads")
    rank_exactly(node, 1, 2, "boxes")
    rank_exactly(node, 2, 1, "box_ind")
    rank_exactly(node, 3, 1, "image_size")
    shape: TensorShape = node.constant_shape(3)
    return TensorShape([None] * 4) if shape.rank is None else shape.with_rank(4)


@op("CropAndResizeGradImage", "grads:float32; boxes:float32; box_ind:int32; image_size:int32", "output:T",
    "T:type{float32|float16|float64}; method:string{bilinear|nearest}=bilinear",
    infer=_crop_grad_image_shape)  # fmt: skip
def crop_and_resize_grad_image_op(
    grads: Array, boxes: Array, box_ind: Array, image_size: Array, *, T: dtypes.DType, method: str = "bilinear"
) -> Array:  # fmt: skip
    """Each pixel's share of every crop that it took part in."""
    sizes = [int(size) for size in image_size]
    if len(sizes) != 4 or min(sizes) < 0 or grads.ndim != 4:
        raise _refuse(f"image_size must be four sizes, got {sizes}")
    _check_boxes(boxes, box_ind, sizes[0])
    at = _Crops(sizes, boxes, grads.shape[1], grads.shape[2])
    dy = np.where(at.inside[..., None], grads, np.float32(0))
    result = np.zeros(sizes, T.numpy)
    numbers = box_ind[:, None, None]
    if method == "nearest":
        np.add.at(result, (numbers, at.nearest_row[:, :, None], at.nearest_column[:, None, :]), dy)
        return result
    for rows, y in ((at.top, 1 - at.y), (at.bottom, at.y)):
        for columns, x in ((at.left, 1 - at.x), (at.right, at.x)):
            np.add.at(result, (numbers, rows[:, :, None], columns[:, None, :]), dy * y * x)
    return result


@crop_and_resize_grad_image_op.gradient
def crop_and_resize_grad_image_gradient(op: Any, dy: Tensor) -> list[Any]:
    """It is linear in the gradient of the crops: the cutting itself."""
    grads, boxes, numbers, _ = op.inputs
    size = emit.StridedSlice(emit.Shape(grads), [1], [3], [1])
    return [emit.CropAndResize(dy, boxes, numbers, size, method=op.attrs["method"]), None, None, None]


def _crop_grad_boxes_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 4, "grads")
    rank_exactly(node, 1, 4, "image")
    rank_exactly(node, 3, 1, "box_ind")
    return rank_exactly(node, 2, 2, "boxes")


@op("CropAndResizeGradBoxes", "grads:float32; image:T; boxes:float32; box_ind:int32", "output:float32",
    "T:type{uint8|uint16|int8|int16|int32|int64|float16|float32|float64}; method:string{bilinear}=bilinear",
    infer=_crop_grad_boxes_shape, differentiable=False)  # fmt: skip
def crop_and_resize_grad_boxes_op(grads: Array, image: Array, boxes: Array, box_ind: Array) -> Array:
    """What moving the edges of each box does, by the slopes of the image."""
    _check_boxes(boxes, box_ind, image.shape[0])
    height, width = grads.shape[1:3]
    at = _Crops(image.shape, boxes, height, width)
    top_left, top_right, bottom_left, bottom_right = (
        at.pixels(image, box_ind, rows, columns)
        for rows in (at.top, at.bottom)
        for columns in (at.left, at.right)
    )
    dy = np.where(at.inside[..., None], grads, np.float32(0))
    slope_y = (1 - at.x) * (bottom_left - top_left) + at.x * (bottom_right - top_right)
    slope_x = (1 - at.y) * (top_right - top_left) + at.y * (bottom_right - bottom_left)
    result = np.zeros(boxes.shape, np.float32)
    for axis, slope, count in ((0, slope_y * dy, height), (1, slope_x * dy, width)):
        last = np.float32(image.shape[1 + axis] - 1)
        if count > 1:
            far = np.arange(count, dtype=np.float32) * (last / np.float32(count - 1))
            near = last - far
        else:
            near = far = np.array([0.5], np.float32) * last
        per_place = slope.sum(axis=(3, 2) if axis == 0 else (3, 1))
        result[:, axis] = (per_place * near).sum(axis=1)
        result[:, axis + 2] = (per_place * far).sum(axis=1)
    return result


# ---------------------------------------------------------------------------- public functions


def resize_bilinear(
    images: Any, size: Any, align_corners: bool = False, name: str | None = None, half_pixel_centers: bool = False
) -> Tensor:  # fmt: skip
    """Returns images [batch, height, width, channels] of another size, as float32, by interpolation.

    Args:
      images: the images.
      size: (new height, new width).
      align_corners: whether the centres of the corner pixels stay in the corners.
      name: a name.
      half_pixel_centers: whether pixels are taken to lie at their centres.
    """
    return _resize("ResizeBilinear", images, size, name, align_corners, half_pixel_centers)


def resize_bicubic(
    images: Any, size: Any, align_corners: bool = False, name: str | None = None, half_pixel_centers: bool = False
) -> Tensor:  # fmt: skip
    """Returns images of another size, as float32, by cubic interpolation; see `resize_bilinear`."""
    return _resize("ResizeBicubic", images, size, name, align_corners, half_pixel_centers)


def resize_nearest_neighbor(
    images: Any, size: Any, align_corners: bool = False, name: str | None = None, half_pixel_centers: bool = False
) -> Tensor:  # fmt: skip
    """Returns images of another size, of the same dtype, by copying the nearest pixel; see `resize_bilinear`."""
    return _resize("ResizeNearestNeighbor", images, size, name, align_corners, half_pixel_centers)


def _resize(op_type: str, images: Any, size: Any, name: str | None, align: bool, half: bool) -> Tensor:
    result: Tensor = getattr(emit, op_type)(
        images, convert_to_tensor(size, dtypes.int32), align_corners=align, half_pixel_centers=half, name=name
    )
    return result


def resize_area(images: Any, size: Any, align_corners: bool = False, name: str | None = None) -> Tensor:
    """Returns images of another size, as float32, by the mean over what each new pixel covers."""
    result: Tensor = emit.ResizeArea(
        images, convert_to_tensor(size, dtypes.int32), align_corners=align_corners, name=name
    )
    return result


def crop_and_resize(
    image: Any, boxes: Any, box_ind: Any = None, crop_size: Any = None, method: str = "bilinear",
    extrapolation_value: float = 0, name: str | None = None, box_indices: Any = None,
) -> Tensor:  # fmt: skip
    """Cuts boxes out of images and resizes them all to one size.

    Args:
      image: [batch, height, width, channels].
      boxes: float32 [n, 4]: y1, x1, y2, x2 in parts of height and width; y1 > y2 turns the box over.
      box_ind: int32 [n]: which image; `box_indices` is its new name.
      crop_size: (height, width) of the crops.
      method: "bilinear" or "nearest".
      extrapolation_value: what stands outside of the image.
      name: a name.
      box_indices: see `box_ind`.

    Returns:
      float32 [n, height, width, channels].
    """
    numbers = box_ind if box_indices is None else box_indices
    result: Tensor = emit.CropAndResize(
        image, boxes, numbers, crop_size, method=method, extrapolation_value=extrapolation_value, name=name
    )
    return result


__all__ = [
    "crop_and_resize", "resize_area", "resize_bicubic", "resize_bilinear", "resize_nearest_neighbor",
]  # fmt: skip
