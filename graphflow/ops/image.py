"""Functions on images: cutting, padding, turning, changing colours and sizes, comparing.

An image is [height, width, channels], a batch of them [batch, height, width, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import as_dtype
from graphflow.graph import Tensor, control_dependencies, name_scope
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit
from graphflow.ops.control import assert_equal, assert_positive
from graphflow.ops.convolution import avg_pool, depthwise_conv2d
from graphflow.ops.elementwise import (
    cast,
    equal,
    floordiv,
    maximum,
    minimum,
    multiply,
    relu,
    saturate_cast,
    square,
    squared_difference,
)
from graphflow.ops.elementwise import round as round_to_even
from graphflow.ops.layout import concat, expand_dims, pad, reshape, reverse, squeeze, stack, tile, transpose
from graphflow.ops.layout import slice as slice_of
from graphflow.ops.linalg import tensordot
from graphflow.ops.random import random_uniform
from graphflow.ops.reduction import reduce_mean, reduce_prod, reduce_std, reduce_sum
from graphflow.ops.rules import shape_tensor
from graphflow.ops.source import identity
from graphflow.shapes import TensorShape


class ResizeMethod:
    """How `resize_images` works out pixels."""

    BILINEAR = 0
    NEAREST_NEIGHBOR = 1
    BICUBIC = 2
    AREA = 3


# ---------------------------------------------------------------------------- what is known of an image


def _dimensions(image: Tensor, rank: int) -> list[Any]:
    """The sizes: numbers where they are known, scalars of int32 else."""
    known = image.shape.with_rank(rank).as_list()
    if None not in known:
        return list(known)
    actual = emit.Shape(image)
    return [actual[i] if size is None else size for i, size in enumerate(known)]


def _image(image: Any) -> Tensor:
    """An image or a batch of them as a tensor; refused if its shape cannot be that."""
    image = convert_to_tensor(image, name="image")
    rank = image.shape.rank
    if rank is not None and rank < 3:
        raise ValueError(f"'image' (shape {image.shape}) must be at least three-dimensional.")
    if rank is None:
        raise ValueError("'image' must be of known rank (three or four dimensions); see set_shape")
    inner = image.shape[-3:].as_list()
    if 0 in inner:
        raise ValueError(f"inner 3 dims of 'image.shape' must be > 0: {image.shape}")
    if None in inner:
        check = assert_positive(emit.Shape(image)[-3:], ["inner 3 dims of 'image.shape' must be > 0."])
        with control_dependencies([check]):
            checked: Tensor = emit.Identity(image)
            return checked
    return image


def _batched(image: Any) -> tuple[Tensor, bool]:
    """A batch of images, and whether it was one before."""
    image = convert_to_tensor(image, name="image")
    rank = image.shape.rank
    if rank == 4:
        return image, True
    if rank == 3:
        return expand_dims(image, 0), False
    if rank is None:
        image = expand_dims(image, 0)
        image.set_shape([None] * 4)
        return image, False
    raise ValueError(f"'image' (shape {image.shape}) must have either 3 or 4 dimensions.")


def _unbatched(image: Tensor, was_batch: bool) -> Tensor:
    return image if was_batch else squeeze(image, [0])


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "_as_graph_element")


def _check(condition: Any, message: str) -> None:
    """Refuses what is known to be wrong; what is not yet known, the ops refuse in the run."""
    if not _is_tensor(condition) and not condition:
        raise ValueError(message)


def _larger(x: Any, y: Any) -> Any:
    return maximum(x, y) if _is_tensor(x) or _is_tensor(y) else max(x, y)


def _smaller(x: Any, y: Any) -> Any:
    return minimum(x, y) if _is_tensor(x) or _is_tensor(y) else min(x, y)


def _packed(values: Sequence[Any]) -> Any:
    """A vector of int32."""
    if any(_is_tensor(value) for value in values):
        return stack([convert_to_tensor(value, dtypes.int32) for value in values])
    return np.array(values, np.int32)


def _known(values: Sequence[Any]) -> TensorShape:
    return TensorShape([None if _is_tensor(value) else int(value) for value in values])


# ---------------------------------------------------------------------------- cutting and padding


def crop_to_bounding_box(
    image: Any, offset_height: Any, offset_width: Any, target_height: Any, target_width: Any
) -> Tensor:
    """Cuts a box out of images.

    Args:
      image: [height, width, channels], or a batch of these.
      offset_height: the first row.
      offset_width: the first column.
      target_height: how many rows.
      target_width: how many columns.

    Raises:
      ValueError: if the box is empty or reaches beyond the image.
    """
    with name_scope(None, "crop_to_bounding_box", [image]):
        image, was_batch = _batched(image)
        batch, height, width, depth = _dimensions(image, 4)
        _check(offset_width >= 0, "offset_width must be >= 0.")
        _check(offset_height >= 0, "offset_height must be >= 0.")
        _check(target_width > 0, "target_width must be > 0.")
        _check(target_height > 0, "target_height must be > 0.")
        _check(width >= target_width + offset_width, "width must be >= target + offset.")
        _check(height >= target_height + offset_height, "height must be >= target + offset.")
        begin = _packed([0, offset_height, offset_width, 0])
        cropped = slice_of(image, begin, _packed([-1, target_height, target_width, -1]))
        cropped.set_shape(_known([batch, target_height, target_width, depth]))
        return _unbatched(cropped, was_batch)


def pad_to_bounding_box(
    image: Any, offset_height: Any, offset_width: Any, target_height: Any, target_width: Any
) -> Tensor:
    """Surrounds images with zeros.

    Args:
      image: [height, width, channels], or a batch of these.
      offset_height: rows of zeros above.
      offset_width: columns of zeros on the left.
      target_height: rows of the result.
      target_width: columns of the result.

    Raises:
      ValueError: if the image does not fit into the result.
    """
    with name_scope(None, "pad_to_bounding_box", [image]):
        image, was_batch = _batched(image)
        batch, height, width, depth = _dimensions(image, 4)
        after_height = target_height - offset_height - height
        after_width = target_width - offset_width - width
        _check(offset_height >= 0, "offset_height must be >= 0")
        _check(offset_width >= 0, "offset_width must be >= 0")
        _check(after_width >= 0, "width must be <= target - offset")
        _check(after_height >= 0, "height must be <= target - offset")
        margins = _packed([0, 0, offset_height, after_height, offset_width, after_width, 0, 0])
        margins = margins.reshape(4, 2) if isinstance(margins, np.ndarray) else reshape(margins, [4, 2])
        padded = pad(image, margins)
        padded.set_shape(_known([batch, target_height, target_width, depth]))
        return _unbatched(padded, was_batch)


def resize_image_with_crop_or_pad(image: Any, target_height: Any, target_width: Any) -> Tensor:
    """Cuts images, or surrounds them with zeros, evenly on both sides, to a size.

    Raises:
      ValueError: if the size is not positive.
    """
    with name_scope(None, "resize_image_with_crop_or_pad", [image]):
        image, was_batch = _batched(image)
        _check(target_width > 0, "target_width must be > 0.")
        _check(target_height > 0, "target_height must be > 0.")
        _, height, width, _ = _dimensions(image, 4)
        wider, higher = target_width - width, target_height - height
        cropped = crop_to_bounding_box(
            image, _larger(-higher // 2, 0), _larger(-wider // 2, 0), _smaller(target_height, height),
            _smaller(target_width, width),
        )  # fmt: skip
        resized = pad_to_bounding_box(
            cropped, _larger(higher // 2, 0), _larger(wider // 2, 0), target_height, target_width
        )
        return _unbatched(resized, was_batch)


def central_crop(image: Any, central_fraction: Any) -> Tensor:
    """Cuts the middle out of images, a part of height and width in (0, 1].

    Raises:
      ValueError: if the fraction is outside (0, 1].
    """
    with name_scope(None, "central_crop", [image]):
        image = convert_to_tensor(image, name="image")
        fraction = constant_value(central_fraction) if _is_tensor(central_fraction) else central_fraction
        if fraction is not None and not 0.0 < fraction <= 1.0:
            raise ValueError("central_fraction must be within (0, 1]")
        if fraction is not None and fraction == 1.0:
            return image
        rank = image.shape.rank
        if rank not in (3, 4):
            raise ValueError(
                f"`image` should either be a Tensor with rank = 3 or rank = 4. Had rank = {rank}."
            )
        sizes = _dimensions(image, rank)

        def box(length: Any) -> tuple[Any, Any]:
            if _is_tensor(length) or fraction is None:
                wide = cast(length, dtypes.float64)
                part = cast(central_fraction, dtypes.float64)
                start = cast((wide - wide * part) / np.float64(2), dtypes.int32)
                return start, length - start * 2
            first = int((float(length) - float(length) * float(fraction)) / 2)
            return first, length - first * 2

        (top, height), (left, width) = box(sizes[-3]), box(sizes[-2])
        lead = [0] * (rank - 3)
        begin, extent = [*lead, top, left, 0], [*([-1] * (rank - 3)), height, width, -1]
        cropped = slice_of(image, _packed(begin), _packed(extent))
        cropped.set_shape(_known([*sizes[:-3], height, width, sizes[-1]]))
        return cropped


# ---------------------------------------------------------------------------- turning


def _flipped(image: Any, axis: int, name: str) -> Tensor:
    with name_scope(None, name, [image]):
        image = _image(image)
        rank = image.shape.rank
        if rank not in (3, 4):
            raise ValueError(f"'image' (shape {image.shape}) must have either 3 or 4 dimensions.")
        result = reverse(image, [axis + rank - 3])
        result.set_shape(image.shape)
        return result


def flip_left_right(image: Any) -> Tensor:
    """Returns images mirrored from left to right."""
    return _flipped(image, 1, "flip_left_right")


def flip_up_down(image: Any) -> Tensor:
    """Returns images mirrored upside down."""
    return _flipped(image, 0, "flip_up_down")


def _randomly_flipped(image: Any, axis: int, seed: int | None, name: str) -> Tensor:
    with name_scope(None, name, [image]) as scope:
        image = _image(image)
        rank = image.shape.rank
        if rank == 3:
            mirror = random_uniform([], 0, 1.0, seed=seed) < 0.5
            result: Tensor = emit.SelectV2(mirror, reverse(image, [axis]), image, name=scope)
        elif rank == 4:
            # One lot per image of the batch, rounded as TensorFlow does: half of them to even.
            batch = emit.Shape(image)[0]
            flips = round_to_even(reshape(random_uniform([batch], 0, 1.0, seed=seed), [-1, 1, 1, 1]))
            flips = cast(flips, image.dtype)
            result = flips * reverse(image, [axis + 1]) + (1 - flips) * image
        else:
            raise ValueError(f"'image' (shape {image.shape}) must have either 3 or 4 dimensions.")
        result.set_shape(image.shape)
        return result


def random_flip_left_right(image: Any, seed: int | None = None) -> Tensor:
    """Returns images mirrored from left to right, or not, each with an even chance."""
    return _randomly_flipped(image, 1, seed, "random_flip_left_right")


def random_flip_up_down(image: Any, seed: int | None = None) -> Tensor:
    """Returns images mirrored upside down, or not, each with an even chance."""
    return _randomly_flipped(image, 0, seed, "random_flip_up_down")


def rot90(image: Any, k: Any = 1, name: str | None = None) -> Tensor:
    """Returns images turned by k times 90 degrees against the clock.

    Raises:
      ValueError: if `k` is a tensor whose value is not known while building, and the image is not square.
    """
    with name_scope(name, "rot90", [image, k]) as scope:
        image = _image(image)
        rank = image.shape.rank
        if rank not in (3, 4):
            raise ValueError(f"'image' (shape {image.shape}) must have either 3 or 4 dimensions.")
        first = rank - 3
        perm = [*range(first), first + 1, first, first + 2]
        turns: list[Callable[[], Tensor]] = [
            lambda: image,
            lambda: transpose(reverse(image, [first + 1]), perm),
            lambda: reverse(image, [first, first + 1]),
            lambda: reverse(transpose(image, perm), [first + 1]),
        ]
        count = constant_value(convert_to_tensor(k, dtypes.int32, name="k"))
        if count is not None:
            return identity(turns[int(count) % 4](), name=scope)
        height, width = image.shape.as_list()[first : first + 2]
        if height is None or height != width:
            raise ValueError("rot90 by a number that only the run knows takes square images of known size")
        number = emit.FloorMod(k, 4)
        result = turns[3]()
        for turn in (2, 1, 0):
            result = emit.SelectV2(equal(number, turn), turns[turn](), result)
        return identity(result, name=scope)


def transpose_image(image: Any, name: str | None = None) -> Tensor:
    """Returns images with rows and columns exchanged."""
    with name_scope(name, "transpose", [image]):
        image = _image(image)
        rank = image.shape.rank
        if rank not in (3, 4):
            raise ValueError(f"'image' (shape {image.shape}) must have either 3 or 4 dimensions.")
        return transpose(image, [1, 0, 2] if rank == 3 else [0, 2, 1, 3], name=name)


# ---------------------------------------------------------------------------- sizes

_METHODS = {
    0: "ResizeBilinear", "bilinear": "ResizeBilinear", 1: "ResizeNearestNeighbor", "nearest": "ResizeNearestNeighbor",
    2: "ResizeBicubic", "bicubic": "ResizeBicubic", 3: "ResizeArea", "area": "ResizeArea",
}  # fmt: skip


def resize_images(
    images: Any, size: Any, method: Any = ResizeMethod.BILINEAR, align_corners: bool = False,
    preserve_aspect_ratio: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns images of another size; the images themselves if they have it.

    Args:
      images: [height, width, channels], or a batch of these.
      size: (new height, new width).
      method: a `ResizeMethod`.
      align_corners: whether the centres of the corner pixels stay in the corners.
      preserve_aspect_ratio: whether `size` is only a bound for both.
      name: a name.

    Returns:
      float32, or the images' dtype for NEAREST_NEIGHBOR.

    Raises:
      ValueError: if the shapes do not fit, or there is no such method.
    """
    with name_scope(name, "resize", [images, size]):
        images = convert_to_tensor(images, name="images")
        if images.shape.rank is None:
            raise ValueError("'images' contains no shape.")
        if images.shape.rank not in (3, 4):
            raise ValueError("'images' must have either 3 or 4 dimensions.")
        images, was_batch = _batched(images)
        try:
            size = convert_to_tensor(size, dtypes.int32, name="size")
        except (TypeError, ValueError):
            raise ValueError("'size' must be a 1-D int32 Tensor") from None
        if not size.shape.is_compatible_with([2]):
            raise ValueError("'size' must be a 1-D Tensor of 2 elements: new_height, new_width")
        if preserve_aspect_ratio:
            size = _within(images, size)
        wanted = constant_value(size)
        new_height, new_width = (None, None) if wanted is None else (int(wanted[0]), int(wanted[1]))
        _, height, width, _ = images.shape.as_list()
        if wanted is not None and (height, width) == (new_height, new_width):
            return _unbatched(images, was_batch)
        if method not in _METHODS:
            raise ValueError(f"Resize method is not implemented: {method}")
        resized = getattr(emit, _METHODS[method])(images, size, align_corners=align_corners)
        resized.set_shape([None, new_height, new_width, None])
        return _unbatched(resized, was_batch)


def _within(images: Tensor, bound: Tensor) -> Tensor:
    """The largest size of the images' proportions within a bound."""
    _, height, width, _ = _dimensions(images, 4)
    wanted = constant_value(bound)
    if wanted is not None and not _is_tensor(height) and not _is_tensor(width):
        sides = np.array([height, width], np.float32)
        least = (wanted.astype(np.float32) / sides).min()
        return constant(np.rint(least * sides).astype(np.int32), name="size")
    high, wide = (cast(convert_to_tensor(v), dtypes.float32) for v in (height, width))
    limit = cast(bound, dtypes.float32)
    scale = minimum(limit[0] / high, limit[1] / wide)
    return stack([cast(round_to_even(scale * side), dtypes.int32) for side in (high, wide)])


def _whole(value: Any) -> Any:
    return cast(emit.Floor(value), dtypes.int32)


def resize_image_with_pad(
    image: Any, target_height: Any, target_width: Any, method: Any = ResizeMethod.BILINEAR,
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    """Returns images resized to fit into a size with their proportions kept, and surrounded with zeros."""
    with name_scope(None, "resize_image_with_pad", [image]):
        image, was_batch = _batched(image)
        _check(target_width > 0, "target_width must be > 0.")
        _check(target_height > 0, "target_height must be > 0.")
        _, height, width, _ = _dimensions(image, 4)
        sides = (height, width, target_height, target_width)
        high: Any
        wide: Any
        to_high: Any
        to_wide: Any
        ratio: Any
        whole: Callable[[Any], Any]
        if any(_is_tensor(side) for side in sides):
            high, wide, to_high, to_wide = (cast(convert_to_tensor(v), dtypes.float32) for v in sides)
            ratio = maximum(wide / to_wide, high / to_high)
            whole = _whole
        else:
            high, wide, to_high, to_wide = (np.float32(side) for side in sides)
            ratio = max(wide / to_wide, high / to_high)
            whole = int
        new_high, new_wide = high / ratio, wide / ratio
        above = _larger(0, whole((to_high - new_high) / 2))
        left = _larger(0, whole((to_wide - new_wide) / 2))
        size = _packed([whole(new_high), whole(new_wide)])
        resized = resize_images(image, size, method, align_corners=align_corners)
        padded = pad_to_bounding_box(resized, above, left, target_height, target_width)
        return _unbatched(padded, was_batch)


# ---------------------------------------------------------------------------- colours


def convert_image_dtype(image: Any, dtype: Any, saturate: bool = False, name: str | None = None) -> Tensor:
    """Returns images as another dtype, scaled: floats lie in [0, 1], integers between 0 and their largest.

    Args:
      image: images.
      dtype: a floating or integer dtype.
      saturate: whether numbers that do not fit become the nearest that does.
      name: a name.
    """
    image = convert_to_tensor(image, name="image")
    target = as_dtype(dtype)
    for kind, what in ((target, "dtype"), (image.dtype, "image dtype")):
        if not kind.is_floating and not kind.is_integer:
            raise AttributeError(f"{what} must be either floating point or integer")
    if target is image.dtype:
        return identity(image, name=name)
    change = saturate_cast if saturate else cast
    with name_scope(name, "convert_image", [image]) as scope:
        result: Tensor
        if image.dtype.is_floating and target.is_floating:
            result = cast(image, target, name=scope)
        elif target.is_floating:
            scale = 1.0 / image.dtype.max
            result = multiply(cast(image, target), np.array(scale, target.as_numpy_dtype), name=scope)
        elif image.dtype.is_floating:
            scaled = multiply(image, np.array(target.max + 0.5, image.dtype.as_numpy_dtype))
            result = change(scaled, target, name=scope)
        elif image.dtype.max > target.max:
            step = (int(image.dtype.max) + 1) // (int(target.max) + 1)
            result = change(floordiv(image, np.array(step, image.dtype.as_numpy_dtype)), target, name=scope)
        else:
            step = (int(target.max) + 1) // (int(image.dtype.max) + 1)
            result = multiply(change(image, target), np.array(step, target.as_numpy_dtype), name=scope)
        return result


def _as_floats(image: Tensor) -> Tensor:
    if image.dtype in (dtypes.float16, dtypes.float32):
        return image
    return convert_image_dtype(image, dtypes.float32)


def adjust_brightness(image: Any, delta: Any) -> Tensor:
    """Returns images with a number added to each channel; integers count as numbers in [0, 1]."""
    with name_scope(None, "adjust_brightness", [image, delta]) as scope:
        image = convert_to_tensor(image, name="image")
        floats = _as_floats(image)
        adjusted = emit.AddV2(floats, cast(delta, floats.dtype), name=scope)
        return convert_image_dtype(adjusted, image.dtype, saturate=True)


def adjust_contrast(images: Any, contrast_factor: Any) -> Tensor:
    """Returns images with each channel's distance from its mean over the image multiplied."""
    with name_scope(None, "adjust_contrast", [images, contrast_factor]) as scope:
        images = convert_to_tensor(images, name="images")
        adjusted = emit.AdjustContrastv2(_as_floats(images), contrast_factor, name=scope)
        return convert_image_dtype(adjusted, images.dtype, saturate=True)


def adjust_gamma(image: Any, gamma: Any = 1, gain: Any = 1) -> Tensor:
    """Returns gain * image ** gamma; integers count as numbers in [0, 1].

    Raises:
      ValueError: if gamma is negative.
    """
    with name_scope(None, "adjust_gamma", [image, gamma, gain]):
        image = convert_to_tensor(image, name="image")
        _check(gamma >= 0, "Gamma should be a non-negative real number.")
        floats = _as_floats(image)
        power = emit.Pow(floats, cast(gamma, floats.dtype))
        return convert_image_dtype(cast(gain, floats.dtype) * power, image.dtype, saturate=True)


def adjust_hue(image: Any, delta: Any, name: str | None = None) -> Tensor:
    """Returns images [..., 3] with every hue moved on by a part of the circle, in [-1, 1]."""
    with name_scope(name, "adjust_hue", [image]):
        image = convert_to_tensor(image, name="image")
        return convert_image_dtype(emit.AdjustHue(_as_floats(image), delta), image.dtype)


def adjust_saturation(image: Any, saturation_factor: Any, name: str | None = None) -> Tensor:
    """Returns images [..., 3] with every saturation multiplied."""
    with name_scope(name, "adjust_saturation", [image]):
        image = convert_to_tensor(image, name="image")
        adjusted = emit.AdjustSaturation(_as_floats(image), saturation_factor)
        return convert_image_dtype(adjusted, image.dtype)


def random_brightness(image: Any, max_delta: float, seed: int | None = None) -> Tensor:
    """Returns images with a number from [-max_delta, max_delta) added; see `adjust_brightness`.

    Raises:
      ValueError: if `max_delta` is negative.
    """
    if max_delta < 0:
        raise ValueError("max_delta must be non-negative.")
    return adjust_brightness(image, random_uniform([], -max_delta, max_delta, seed=seed))


def _check_range(lower: float, upper: float) -> None:
    if upper <= lower:
        raise ValueError("upper must be > lower.")
    if lower < 0:
        raise ValueError("lower must be non-negative.")


def random_contrast(image: Any, lower: float, upper: float, seed: int | None = None) -> Tensor:
    """Returns images with their contrast multiplied by a number from [lower, upper); see `adjust_contrast`.

    Raises:
      ValueError: if the bounds are negative or do not rise.
    """
    _check_range(lower, upper)
    return adjust_contrast(image, random_uniform([], lower, upper, seed=seed))


def random_hue(image: Any, max_delta: float, seed: int | None = None) -> Tensor:
    """Returns images with their hues moved on by a number from [-max_delta, max_delta); see `adjust_hue`.

    Raises:
      ValueError: if `max_delta` is outside [0, 0.5].
    """
    if max_delta > 0.5:
        raise ValueError("max_delta must be <= 0.5.")
    if max_delta < 0:
        raise ValueError("max_delta must be non-negative.")
    return adjust_hue(image, random_uniform([], -max_delta, max_delta, seed=seed))


def random_saturation(image: Any, lower: float, upper: float, seed: int | None = None) -> Tensor:
    """Returns images with their saturation multiplied by a number from [lower, upper); see `adjust_saturation`.

    Raises:
      ValueError: if the bounds are negative or do not rise.
    """
    _check_range(lower, upper)
    return adjust_saturation(image, random_uniform([], lower, upper, seed=seed))


def adjust_jpeg_quality(
    image: Any, jpeg_quality: Any, dct_method: str = "", name: str | None = None
) -> Tensor:
    """Returns an image [height, width, 1 or 3] as it comes out of a JPEG file of a quality in [0, 100]."""
    with name_scope(name, "adjust_jpeg_quality", [image]):
        image = convert_to_tensor(image, name="image")
        channels = image.shape.as_list()[-1]
        levels = convert_image_dtype(image, dtypes.uint8, saturate=True)
        file = emit.EncodeJpegVariableQuality(levels, convert_to_tensor(jpeg_quality, dtypes.int32))
        made = emit.DecodeJpeg(file, channels=channels or 0, dct_method=dct_method)
        return convert_image_dtype(made, image.dtype, saturate=True)


def random_jpeg_quality(
    image: Any, min_jpeg_quality: int, max_jpeg_quality: int, seed: int | None = None
) -> Tensor:
    """Returns an image as it comes out of a JPEG file of a random quality; see `adjust_jpeg_quality`."""
    if not 0 <= min_jpeg_quality <= 100 or not 0 <= max_jpeg_quality <= 100:
        raise ValueError("jpeg encoding range must be between 0 and 100.")
    if min_jpeg_quality >= max_jpeg_quality:
        raise ValueError("`min_jpeg_quality` must be less than `max_jpeg_quality`.")
    quality = random_uniform([], min_jpeg_quality, max_jpeg_quality, seed=seed, dtype=dtypes.int32)
    return adjust_jpeg_quality(image, quality)


def rgb_to_grayscale(images: Any, name: str | None = None) -> Tensor:
    """Returns images [..., 3] as [..., 1]: the brightness that eyes see."""
    with name_scope(name, "rgb_to_grayscale", [images]) as scope:
        images = convert_to_tensor(images, name="images")
        floats = convert_image_dtype(images, dtypes.float32)
        weights = constant([0.2989, 0.5870, 0.1140])
        if images.shape.rank is None:
            grey = reduce_sum(multiply(floats, weights), -1, keepdims=True)
        else:
            grey = expand_dims(tensordot(floats, weights, [[-1], [-1]]), -1)
        return convert_image_dtype(grey, images.dtype, name=scope)


def grayscale_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """Returns images [..., 1] as [..., 3].

    Raises:
      ValueError: if the last axis has another size than one.
    """
    with name_scope(name, "grayscale_to_rgb", [images]) as scope:
        images = convert_to_tensor(images, name="images")
        shape = images.shape
        if shape.rank is not None and shape.rank < 2:
            raise ValueError(f"A grayscale image (shape {shape}) must be at least two-dimensional.")
        if shape.rank is None or shape.as_list()[-1] is None:
            message = "Last dimension of a grayscale image should be size 1."
            with control_dependencies([assert_equal(emit.Shape(images)[-1], 1, message=message)]):
                images = identity(images)
        elif shape.as_list()[-1] != 1:
            raise ValueError("Last dimension of a grayscale image should be size 1.")
        if shape.rank is None:
            multiples: Any = concat([emit.Fill(expand_dims(emit.Rank(images) - 1, 0), 1), [3]], 0)
        else:
            multiples = np.array([1] * (shape.rank - 1) + [3], np.int32)
        rgb = tile(images, multiples, name=scope)
        if shape.rank is not None:
            rgb.set_shape(shape[:-1].concatenate([3]))
        return rgb


def _mixed(images: Any, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Other channels: the old ones times a matrix."""
    images = convert_to_tensor(images, name="images")
    rank = images.shape.rank
    if rank is None:
        raise ValueError("changing the space of colours needs images of known rank")
    kernel = constant(np.array(matrix, images.dtype.as_numpy_dtype), name="kernel")
    return tensordot(images, kernel, axes=[[rank - 1], [0]])


def rgb_to_yiq(images: Any) -> Tensor:
    """Returns images [..., 3] of red, green and blue as Y, I and Q."""
    return _mixed(images, [[0.299, 0.59590059, 0.2115], [0.587, -0.27455667, -0.52273617],
                           [0.114, -0.32134392, 0.31119955]])  # fmt: skip


def yiq_to_rgb(images: Any) -> Tensor:
    """Returns images [..., 3] of Y, I and Q as red, green and blue."""
    return _mixed(images, [[1, 1, 1], [0.95598634, -0.27201283, -1.10674021],
                           [0.6208248, -0.64720424, 1.70423049]])  # fmt: skip


def rgb_to_yuv(images: Any) -> Tensor:
    """Returns images [..., 3] of red, green and blue as Y, U and V."""
    return _mixed(images, [[0.299, -0.14714119, 0.61497538], [0.587, -0.28886916, -0.51496512],
                           [0.114, 0.43601035, -0.10001026]])  # fmt: skip


def yuv_to_rgb(images: Any) -> Tensor:
    """Returns images [..., 3] of Y, U and V as red, green and blue."""
    return _mixed(images, [[1, 1, 1], [0, -0.394642334, 2.03206185], [1.13988303, -0.58062185, 0]])


def per_image_standardization(image: Any) -> Tensor:
    """Returns each image as float32 of mean 0 and deviation 1; a deviation near zero counts as 1 / sqrt(pixels)."""
    with name_scope(None, "per_image_standardization", [image]) as scope:
        image = cast(_image(image), dtypes.float32)
        count = reduce_prod(emit.Shape(image)[-3:])
        known = image.shape.as_list()[-3:]
        if None not in known:
            count = constant(np.array(np.prod(known), np.int32))
        mean = reduce_mean(image, [-1, -2, -3], keepdims=True)
        deviation = reduce_std(image, [-1, -2, -3], keepdims=True)
        least = emit.Rsqrt(cast(count, dtypes.float32))
        result: Tensor = emit.RealDiv(image - mean, maximum(deviation, least), name=scope)
        return result


# ---------------------------------------------------------------------------- files


def decode_image(
    contents: Any, channels: int | None = None, dtype: Any = dtypes.uint8, name: str | None = None,
    expand_animations: bool = True,
) -> Tensor:  # fmt: skip
    """Reads an image file: JPEG, PNG, GIF or BMP.

    Args:
      contents: a string scalar: the bytes of the file.
      channels: how many; None or 0 takes what the file has.
      dtype: of the pixels; see `convert_image_dtype`.
      name: a name.
      expand_animations: whether a GIF gives [frames, height, width, 3], else its first frame.
    """
    wanted = as_dtype(dtype)
    with name_scope(name, "decode_image", [contents]):
        read = wanted if wanted in (dtypes.float32, dtypes.uint8, dtypes.uint16) else dtypes.uint16
        image = emit.DecodeImage(
            contents, channels=channels or 0, dtype=read, expand_animations=expand_animations
        )
        return image if read is wanted else convert_image_dtype(image, wanted)


# ---------------------------------------------------------------------------- measures


def total_variation(images: Any, name: str | None = None) -> Tensor:
    """Returns the sum of the absolute differences of neighbouring pixels, one number per image.

    Raises:
      ValueError: if `images` has not three or four dimensions.
    """
    with name_scope(name, "total_variation", [images]):
        images = convert_to_tensor(images)
        rank = images.shape.rank
        if rank not in (3, 4):
            raise ValueError("'images' must be either 3 or 4-dimensional.")
        if rank == 3:
            down, across, axes = images[1:] - images[:-1], images[:, 1:] - images[:, :-1], None
        else:
            down, across = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
            axes = [1, 2, 3]
        return reduce_sum(emit.Abs(down), axes) + reduce_sum(emit.Abs(across), axes)


def image_gradients(image: Any) -> tuple[Tensor, Tensor]:
    """Returns (dy, dx): the differences to the next row and column of images [batch, h, w, c], zero in the last ones.

    Raises:
      ValueError: if `image` has not four dimensions.
    """
    image = convert_to_tensor(image)
    if image.shape.rank != 4:
        raise ValueError(f"image_gradients expects a 4D tensor [batch_size, h, w, d], not {image.shape}.")
    dy = pad(image[:, 1:] - image[:, :-1], [[0, 0], [0, 1], [0, 0], [0, 0]])
    dx = pad(image[:, :, 1:] - image[:, :, :-1], [[0, 0], [0, 0], [0, 1], [0, 0]])
    dy.set_shape(image.shape)
    dx.set_shape(image.shape)
    return dy, dx


def _each_channel(kernels: Any, image: Tensor) -> Any:
    """Filters [h, w, 1, n] for every channel of an image."""
    depth = image.shape.as_list()[-1] if image.shape.rank is not None else None
    if depth is not None:
        return np.tile(kernels, [1, 1, depth, 1])
    return tile(kernels, _packed([1, 1, emit.Shape(image)[-1], 1]))


def sobel_edges(image: Any) -> Tensor:
    """Returns [batch, h, w, c, 2]: the slopes of images down and across, by Sobel's filters."""
    image = convert_to_tensor(image)
    down = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    kernels = np.stack([down, down.T], axis=-1)[:, :, None].astype(image.dtype.as_numpy_dtype)
    padded = pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
    edges = depthwise_conv2d(padded, _each_channel(kernels, image), [1, 1, 1, 1], "VALID")
    result = reshape(edges, concat([shape_tensor(image), [2]], 0))
    result.set_shape(image.shape.concatenate([2]))
    return result


def _two_images(a: Tensor, b: Tensor) -> Tensor:
    """The first of two images, under the check that both have one size."""
    first, second = a.shape.with_rank_at_least(3), b.shape.with_rank_at_least(3)
    if not first[-3:].is_compatible_with(second[-3:]):
        raise ValueError(f"Two images are not compatible: {first} and {second}")
    if first[-3:].is_fully_defined() and second[-3:].is_fully_defined():
        return a
    check = assert_equal(emit.Shape(a)[-3:], emit.Shape(b)[-3:])
    with control_dependencies([check]):
        return identity(a)


def psnr(a: Any, b: Any, max_val: Any, name: str | None = None) -> Tensor:
    """Returns the peak signal-to-noise ratio of images [..., h, w, c] in decibels.

    Args:
      a: images.
      b: images of the same size and dtype.
      max_val: the span of the pixels: 1 or 255, say.
      name: a name.
    """
    with name_scope(name, "PSNR", [a, b]):
        a, b = convert_to_tensor(a), convert_to_tensor(b)
        a = _two_images(a, b)
        peak = convert_image_dtype(cast(max_val, a.dtype), dtypes.float32)
        first, second = (convert_image_dtype(image, dtypes.float32) for image in (a, b))
        error = reduce_mean(squared_difference(first, second), [-3, -2, -1])
        level = 20 * emit.Log(peak) / emit.Log(constant(10.0))
        result: Tensor = emit.Sub(level, np.float32(10 / np.log(10)) * emit.Log(error), name="psnr")
        return identity(result)


def _gauss(size: int, sigma: float) -> Any:
    at = np.arange(size, dtype=np.float32) - np.float32(size - 1) / np.float32(2)
    row = np.square(at) * np.float32(-0.5 / (sigma * sigma))
    both = row[None, :] + row[:, None]
    grown = np.exp(both - both.max())
    return (grown / grown.sum()).astype(np.float32).reshape(size, size, 1, 1)


def _similarity(
    a: Tensor, b: Tensor, peak: Any, size: int, sigma: float, k1: float, k2: float, maps: bool
) -> tuple[Tensor, Tensor]:
    """Structural similarity and its part without brightness, channel by channel."""
    for image in (a, b):
        sides = image.shape.as_list()[-3:-1]
        if any(side is not None and side < size for side in sides):
            raise ValueError(f"images of shape {image.shape} are smaller than the filter of {size}")
    kernel = _each_channel(_gauss(size, sigma), a)

    def smooth(x: Tensor) -> Tensor:
        if x.shape.rank == 4:
            return depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
        shape = shape_tensor(x)
        y = depthwise_conv2d(reshape(x, concat([[-1], shape[-3:]], 0)), kernel, [1, 1, 1, 1], "VALID")
        return reshape(y, concat([shape[:-3], shape_tensor(y)[1:]], 0))

    c1, c2 = (k1 * peak) ** 2, (k2 * peak) ** 2
    mean_a, mean_b = smooth(a), smooth(b)
    both, squares = mean_a * mean_b * 2.0, square(mean_a) + square(mean_b)
    brightness = (both + c1) / (squares + c1)
    covariance, variances = smooth(a * b) * 2.0, smooth(square(a) + square(b))
    structure = (covariance - both + c2) / (variances - squares + c2)
    if maps:
        return brightness * structure, structure
    return reduce_mean(brightness * structure, [-3, -2]), reduce_mean(structure, [-3, -2])


def _prepared(a: Any, b: Any, max_val: Any) -> tuple[Tensor, Tensor, Tensor]:
    first, second = convert_to_tensor(a, name="img1"), convert_to_tensor(b, name="img2")
    first = _two_images(first, second)
    peak = convert_image_dtype(cast(max_val, first.dtype), dtypes.float32)
    return convert_image_dtype(first, dtypes.float32), convert_image_dtype(second, dtypes.float32), peak


def ssim(
    img1: Any, img2: Any, max_val: Any, filter_size: int = 11, filter_sigma: float = 1.5, k1: float = 0.01,
    k2: float = 0.03, return_index_map: bool = False,
) -> Tensor:  # fmt: skip
    """Returns the structural similarity of images [..., h, w, c].

    Args:
      img1: images.
      img2: images of the same size and dtype.
      max_val: the span of the pixels: 1 or 255, say.
      filter_size: the size of the Gaussian window.
      filter_sigma: its width.
      k1: keeps the quotient of brightness finite.
      k2: keeps the quotient of contrast finite.
      return_index_map: whether to return the similarity at each place, else the mean.

    Raises:
      ValueError: if the images do not fit, or are smaller than the window.
    """
    with name_scope(None, "SSIM", [img1, img2]):
        first, second, peak = _prepared(img1, img2, max_val)
        value, _ = _similarity(first, second, peak, filter_size, filter_sigma, k1, k2, return_index_map)
        return reduce_mean(value, [-1])


_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim_multiscale(
    img1: Any, img2: Any, max_val: Any, power_factors: Sequence[float] = _SCALES, filter_size: int = 11,
    filter_sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03,
) -> Tensor:  # fmt: skip
    """Returns the structural similarity of images over several scales, each half of the one before; see `ssim`.

    Args:
      img1: images [..., h, w, c] of known height and width.
      img2: images of the same size and dtype.
      max_val: the span of the pixels.
      power_factors: the weight of each scale, the finest first.
      filter_size: the size of the Gaussian window.
      filter_sigma: its width.
      k1: keeps the quotient of brightness finite.
      k2: keeps the quotient of contrast finite.

    Raises:
      ValueError: if the images do not fit, or the smallest scale is smaller than the window.
    """
    with name_scope(None, "MS-SSIM", [img1, img2]):
        first, second, peak = _prepared(img1, img2, max_val)
        images = [first, second]
        parts: list[Tensor] = []
        value = first
        for scale in range(len(power_factors)):
            if scale:
                images = [_halved(image) for image in images]
            value, structure = _similarity(
                images[0], images[1], peak, filter_size, filter_sigma, k1, k2, maps=False
            )
            parts.append(relu(structure))
        parts[-1] = relu(value)
        powers = stack(
            [emit.Pow(part, np.float32(p)) for part, p in zip(parts, power_factors, strict=True)], -1
        )
        return reduce_mean(reduce_prod(powers, [-1]), [-1])


def _halved(image: Tensor) -> Tensor:
    """Means of two by two pixels; an odd last row or column is doubled first."""
    sides = image.shape.as_list()
    height, width, depth = sides[-3:]
    if height is None or width is None:
        raise ValueError(f"several scales need images of known height and width, got {image.shape}")
    shape = shape_tensor(image)
    flat = reshape(image, concat([[-1], shape[-3:]], 0))
    if height % 2 or width % 2:
        flat = pad(flat, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]], mode="SYMMETRIC")
    small = avg_pool(flat, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    result = reshape(small, concat([shape[:-3], shape_tensor(small)[1:]], 0))
    result.set_shape(image.shape[:-3].concatenate([-(-height // 2), -(-width // 2), depth]))
    return result


__all__ = [
    "ResizeMethod", "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_jpeg_quality",
    "adjust_saturation", "central_crop", "convert_image_dtype", "crop_to_bounding_box", "decode_image",
    "flip_left_right", "flip_up_down", "grayscale_to_rgb", "image_gradients", "pad_to_bounding_box",
    "per_image_standardization", "psnr", "random_brightness", "random_contrast", "random_flip_left_right",
    "random_flip_up_down", "random_hue", "random_jpeg_quality", "random_saturation", "resize_image_with_crop_or_pad",
    "resize_image_with_pad", "resize_images", "rgb_to_grayscale", "rgb_to_yiq", "rgb_to_yuv", "rot90", "sobel_edges",
    "ssim", "ssim_multiscale", "total_variation", "transpose_image", "yiq_to_rgb", "yuv_to_rgb",
]  # fmt: skip
