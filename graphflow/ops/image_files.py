"""Images as files: PNG, JPEG, GIF and BMP, read and written by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError, ShapeError, UnimplementedError
from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.rules import Array, rank_at_least, rank_exactly
from graphflow.shapes import UNKNOWN, TensorShape

_MOST_PIXELS = 2**29
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UnimplementedError(
            None, None, "reading and writing images takes Pillow: pip install 'graphflow[image]'"
        ) from None
    return Image


def _contents(contents: Array) -> bytes:
    if contents.ndim:
        raise _refuse(f"contents must be scalar, got shape {list(contents.shape)}")
    data = contents.item()
    return data if isinstance(data, bytes) else bytes(data, "utf-8")


def _opened(data: bytes) -> Any:
    image = _pillow()
    try:
        picture = image.open(io.BytesIO(data))
        if picture.width * picture.height > _MOST_PIXELS:
            raise _refuse(f"Image too large for int: {picture.width} by {picture.height}")
        return picture
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise _refuse(f"Unknown image file format. One of JPEG, PNG, GIF, BMP required. ({error})") from None


def _own_channels(picture: Any) -> int:
    if picture.mode in ("1", "L", "I", "I;16", "I;16B", "F"):
        return 1
    if picture.mode == "LA":
        return 2
    transparent = picture.mode in ("RGBA", "PA") or "transparency" in picture.info
    return 4 if transparent else 3


# What libpng is told the brightness of a colour is, in parts of 2 ** 15.
_WEIGHTS = np.array([9798, 19235, 3735], np.int32)


def _grey(pixels: Array) -> Array:
    return ((pixels.astype(np.int32) * _WEIGHTS).sum(axis=2) >> 15).astype(np.uint8)


def _pixels(picture: Any, channels: int, dtype: Any) -> Array:
    """The current frame as [height, width, channels] of uint8 or uint16."""
    count = channels or _own_channels(picture)
    try:
        if picture.mode in ("I;16", "I;16B", "I") and picture.format == "PNG":
            deep = np.asarray(picture).astype(np.uint16)[..., None]
            pixels: Array = deep if dtype == np.uint16 else (deep >> np.uint16(8)).astype(np.uint8)
            if count == 3:
                pixels = np.repeat(pixels, 3, axis=2)
            elif count != 1:
                raise _refuse(f"a PNG of one channel of 16 bits cannot be read as {count}")
            return pixels
        if picture.mode in ("P", "PA") and count < 3:
            picture = picture.convert("RGBA" if count == 2 else "RGB")
        if count == 1 and picture.format == "PNG" and _own_channels(picture) > 2:
            pixels = _grey(np.asarray(picture.convert("RGB")))
        else:
            pixels = np.asarray(picture.convert(_MODES[count]))
    except (OSError, SyntaxError, ValueError) as error:
        raise _refuse(f"Invalid image data: {error}") from None
    pixels = pixels.reshape(picture.height, picture.width, count)
    return pixels.astype(np.uint16) * np.uint16(257) if dtype == np.uint16 else pixels


def _frames(picture: Any, channels: int, dtype: Any) -> Array:
    frames = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        frames.append(_pixels(picture, channels, dtype))
    return np.stack(frames)


def _require(picture: Any, formats: Sequence[str]) -> None:
    if picture.format not in formats:
        raise _refuse(f"expected an image of format {' or '.join(formats)}, got {picture.format}")


def _check_channels(node: Any, allowed: Sequence[int]) -> int | None:
    rank_exactly(node, 0, 0, "contents")
    channels = node.attrs["channels"]
    if channels not in allowed:
        raise ShapeError(f"channels must be one of {', '.join(map(str, allowed))}, got {channels}")
    return channels or None


def _decoded_shape(node: Any) -> TensorShape:
    return TensorShape([None, None, _check_channels(node, (0, 1, 3, 4))])


def _jpeg_shape(node: Any) -> TensorShape:
    if node.attrs["ratio"] not in (1, 2, 4, 8):
        raise ShapeError(f"ratio must be 1, 2, 4, or 8, got {node.attrs['ratio']}")
    return TensorShape([None, None, _check_channels(node, (0, 1, 3))])


_JPEG = (
    "channels:int=0; ratio:int=1; fancy_upscaling:bool=true; try_recover_truncated:bool=false; "
    "acceptable_fraction:float=1.0; dct_method:string="
)


def _still(data: bytes, channels: int, dtype: Any) -> Array:
    picture = _opened(data)
    _require(picture, ("JPEG", "PNG", "GIF", "MPO"))
    if picture.format == "GIF" and getattr(picture, "n_frames", 1) > 1:
        raise _refuse("Got more than one frame of a GIF; decode_gif reads those")
    return _pixels(picture, channels, dtype)


@op("DecodeJpeg", "contents:string", "image:uint8", _JPEG, infer=_jpeg_shape, differentiable=False)
def decode_jpeg_op(contents: Array, *, channels: int = 0, ratio: int = 1) -> Array:
    """The pixels of a JPEG file (or PNG), uint8 [height, width, channels]."""
    data = _contents(contents)
    if ratio == 1:
        return _still(data, channels, np.uint8)
    picture = _opened(data)
    _require(picture, ("JPEG", "MPO"))
    # JPEG is scaled down while it is decoded: sizes are rounded up.
    picture.draft(None, (-(-picture.width // ratio), -(-picture.height // ratio)))
    return _pixels(picture, channels, np.uint8)


def _cropped_shape(node: Any) -> TensorShape:
    rank_exactly(node, 1, 1, "crop_window").merge_with([4])
    return _jpeg_shape(node)


@op("DecodeAndCropJpeg", "contents:string; crop_window:int32", "image:uint8", _JPEG, infer=_cropped_shape,
    differentiable=False)  # fmt: skip
def decode_and_crop_jpeg_op(contents: Array, crop_window: Array, *, channels: int = 0) -> Array:
    """A window (y, x, height, width) of the pixels of a JPEG file."""
    pixels = _still(_contents(contents), channels, np.uint8)
    top, left, height, width = (int(v) for v in crop_window)
    inside = 0 <= top and 0 <= left and top + height <= pixels.shape[0] and left + width <= pixels.shape[1]
    if not inside or height < 1 or width < 1:
        raise _refuse(
            f"Invalid crop window {crop_window.tolist()} for an image of {pixels.shape[0]} by {pixels.shape[1]}"
        )
    return pixels[top : top + height, left : left + width]


@op("DecodePng", "contents:string", "image:dtype", "channels:int=0; dtype:type{uint8|uint16}=uint8",
    infer=_decoded_shape, differentiable=False)  # fmt: skip
def decode_png_op(contents: Array, *, channels: int = 0, dtype: DType = dtypes.uint8) -> Array:
    """The pixels of a PNG file (or JPEG), [height, width, channels]."""
    return _still(_contents(contents), channels, dtype.numpy)


@op("DecodeBmp", "contents:string", "image:uint8", "channels:int=0", infer=_decoded_shape,
    differentiable=False)  # fmt: skip
def decode_bmp_op(contents: Array, *, channels: int = 0) -> Array:
    """The pixels of a BMP file, uint8 [height, width, channels]."""
    picture = _opened(_contents(contents))
    _require(picture, ("BMP", "DIB"))
    return _pixels(picture, channels, np.uint8)


def _gif_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 0, "contents")
    return TensorShape([None, None, None, 3])


@op("DecodeGif", "contents:string", "image:uint8", infer=_gif_shape, differentiable=False)
def decode_gif_op(contents: Array) -> Array:
    """The frames of a GIF file, uint8 [frames, height, width, 3]."""
    picture = _opened(_contents(contents))
    _require(picture, ("GIF",))
    return _frames(picture, 3, np.uint8)


def _any_shape(node: Any) -> TensorShape:
    channels = _check_channels(node, (0, 1, 3, 4))
    return UNKNOWN if node.attrs["expand_animations"] else TensorShape([None, None, channels])


@op("DecodeImage", "contents:string", "image:dtype",
    "channels:int=0; dtype:type{uint8|uint16|float32}=uint8; expand_animations:bool=true", infer=_any_shape,
    differentiable=False)  # fmt: skip
def decode_image_op(
    contents: Array, *, channels: int = 0, dtype: DType = dtypes.uint8, expand_animations: bool = True
) -> Array:
    """The pixels of an image file of any of the formats; the frames of a GIF."""
    picture = _opened(_contents(contents))
    _require(picture, ("JPEG", "PNG", "GIF", "BMP", "MPO", "DIB"))
    wide = np.uint16 if dtype is dtypes.uint16 else np.uint8
    if picture.format == "GIF":
        pixels = _frames(picture, channels or 3, wide)
        pixels = pixels if expand_animations else pixels[0]
    else:
        pixels = _pixels(picture, channels, wide)
    if dtype is dtypes.float32:
        return pixels.astype(np.float32) * np.float32(1 / 255)
    return pixels


def _size_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 0, "contents")
    return TensorShape([3])


@op("ExtractJpegShape", "contents:string", "image_shape:output_type", "output_type:type{int32|int64}=int32",
    infer=_size_shape, differentiable=False)  # fmt: skip
def extract_jpeg_shape_op(contents: Array, *, output_type: DType = dtypes.int32) -> Array:
    """Height, width and channels of a JPEG file."""
    picture = _opened(_contents(contents))
    _require(picture, ("JPEG", "MPO"))
    return np.array([picture.height, picture.width, _own_channels(picture)], output_type.numpy)


# ---------------------------------------------------------------------------- writing


def _encoded_png_shape(node: Any) -> TensorShape:
    shape = rank_at_least(node, 0, 3, "image")
    return UNKNOWN if shape.rank is None else shape[:-3]


def _each(images: Array, write: Callable[[Array], bytes]) -> Array:
    flat = images.reshape(-1, *images.shape[-3:])
    result = np.empty(len(flat), object)
    for i, image in enumerate(flat):
        result[i] = write(image)
    return result.reshape(images.shape[:-3])


@op("EncodePng", "image:T", "contents:string", "compression:int=-1; T:type{uint8|uint16}=uint8",
    infer=_encoded_png_shape, differentiable=False)  # fmt: skip
def encode_png_op(image: Array, *, compression: int = -1) -> Array:
    """A PNG file of the pixels [..., height, width, 1 to 4 channels]."""
    if image.ndim < 3 or not 1 <= image.shape[-1] <= 4 or 0 in image.shape[-3:]:
        raise _refuse(f"image must have a shape of [..., height, width, 1 to 4], got {list(image.shape)}")
    if not -1 <= compression <= 9:
        raise _refuse(f"compression should be in [-1,9], got {compression}")
    if image.dtype == np.uint16 and image.shape[-1] != 1:
        raise UnimplementedError(
            None, None, f"PNG files of 16 bits with {image.shape[-1]} channels are not written"
        )
    module = _pillow()

    def write(pixels: Array) -> bytes:
        file = io.BytesIO()
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        picture = module.fromarray(np.ascontiguousarray(flat))
        picture.save(file, "PNG", **({} if compression < 0 else {"compress_level": compression}))
        return file.getvalue()

    return _each(image, write)


def _encoded_jpeg_shape(node: Any) -> TensorShape:
    rank_exactly(node, 0, 3, node.op_def.inputs[0].name)
    if len(node.inputs) > 1:
        rank_exactly(node, 1, 0, "quality")
    return TensorShape([])


def _jpeg(pixels: Array, kind: str, quality: int, **options: Any) -> Array:
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise _refuse(f"image must be [height, width, 1 or 3], got shape {list(pixels.shape)}")
    if not 0 <= quality <= 100:
        raise _refuse(f"quality must be in [0,100], got {quality}")
    if kind and pixels.shape[2] != {"grayscale": 1, "rgb": 3}[kind]:
        raise _refuse(f"format '{kind}' does not fit an image of {pixels.shape[2]} channels")
    file = io.BytesIO()
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    # 0 is the worst quality there; here it stands for a default.
    _pillow().fromarray(np.ascontiguousarray(flat)).save(file, "JPEG", quality=max(quality, 1), **options)
    return np.array(file.getvalue(), object)


@op("EncodeJpeg", "image:uint8", "contents:string",
    "format:string{|grayscale|rgb}=; quality:int=95; progressive:bool=false; optimize_size:bool=false; "
    "chroma_downsampling:bool=true; density_unit:string{in|cm}=in; x_density:int=300; y_density:int=300; "
    "xmp_metadata:string=", infer=_encoded_jpeg_shape, differentiable=False)  # fmt: skip
def encode_jpeg_op(
    image: Array, *, format: str = "", quality: int = 95, progressive: bool = False, optimize_size: bool = False,
    chroma_downsampling: bool = True, density_unit: str = "in", x_density: int = 300, y_density: int = 300,
    xmp_metadata: str | bytes = "",
) -> Array:  # fmt: skip
    """A JPEG file of the pixels [height, width, 1 or 3]."""
    unit = 1.0 if density_unit == "in" else 2.54
    options: dict[str, Any] = {
        "progressive": progressive,
        "optimize": optimize_size,
        "subsampling": 2 if chroma_downsampling else 0,
        "dpi": (round(x_density * unit), round(y_density * unit)),
    }
    if xmp_metadata:
        options["xmp"] = xmp_metadata if isinstance(xmp_metadata, bytes) else xmp_metadata.encode()
    return _jpeg(image, format, quality, **options)


@op("EncodeJpegVariableQuality", "images:uint8; quality:int32", "contents:string", infer=_encoded_jpeg_shape,
    differentiable=False)  # fmt: skip
def encode_jpeg_variable_quality_op(images: Array, quality: Array) -> Array:
    """A JPEG file of the pixels [height, width, 1 or 3], of a quality known in the run."""
    return _jpeg(images, "", int(quality), subsampling=2)


# ---------------------------------------------------------------------------- public functions


def decode_jpeg(
    contents: Any, channels: int = 0, ratio: int = 1, fancy_upscaling: bool = True,
    try_recover_truncated: bool = False, acceptable_fraction: float = 1, dct_method: str = "",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Reads a JPEG file (or PNG).

    Args:
      contents: a string scalar: the bytes of the file.
      channels: 1 or 3; 0 takes what the file has.
      ratio: 1, 2, 4 or 8: how many times smaller.
      fancy_upscaling: accepted.
      try_recover_truncated: accepted; a file that is cut off is refused.
      acceptable_fraction: accepted.
      dct_method: accepted; decoders may differ by a few levels.
      name: a name.

    Returns:
      uint8 [height, width, channels].
    """
    result: Tensor = emit.DecodeJpeg(
        contents, channels=channels, ratio=ratio, fancy_upscaling=fancy_upscaling,
        try_recover_truncated=try_recover_truncated, acceptable_fraction=acceptable_fraction, dct_method=dct_method,
        name=name,
    )  # fmt: skip
    return result


def decode_and_crop_jpeg(
    contents: Any, crop_window: Any, channels: int = 0, ratio: int = 1, fancy_upscaling: bool = True,
    try_recover_truncated: bool = False, acceptable_fraction: float = 1, dct_method: str = "",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Reads a window (y, x, height, width) of a JPEG file; see `decode_jpeg`."""
    result: Tensor = emit.DecodeAndCropJpeg(
        contents, crop_window, channels=channels, ratio=ratio, fancy_upscaling=fancy_upscaling,
        try_recover_truncated=try_recover_truncated, acceptable_fraction=acceptable_fraction, dct_method=dct_method,
        name=name,
    )  # fmt: skip
    return result


def decode_png(
    contents: Any, channels: int = 0, dtype: Any = dtypes.uint8, name: str | None = None
) -> Tensor:
    """Reads a PNG file (or JPEG) as uint8 or uint16 [height, width, channels]; 0 channels: what the file has."""
    result: Tensor = emit.DecodePng(contents, channels=channels, dtype=dtype, name=name)
    return result


def decode_bmp(contents: Any, channels: int = 0, name: str | None = None) -> Tensor:
    """Reads a BMP file as uint8 [height, width, channels]; 0 channels: what the file has."""
    result: Tensor = emit.DecodeBmp(contents, channels=channels, name=name)
    return result


def decode_gif(contents: Any, name: str | None = None) -> Tensor:
    """Reads a GIF file as uint8 [frames, height, width, 3]."""
    result: Tensor = emit.DecodeGif(contents, name=name)
    return result


def extract_jpeg_shape(contents: Any, output_type: Any = dtypes.int32, name: str | None = None) -> Tensor:
    """Returns height, width and channels of a JPEG file."""
    result: Tensor = emit.ExtractJpegShape(contents, output_type=output_type, name=name)
    return result


def encode_png(image: Any, compression: int = -1, name: str | None = None) -> Tensor:
    """Writes pixels [height, width, 1 to 4] of uint8 or uint16 as a PNG file; returns a string scalar."""
    result: Tensor = emit.EncodePng(convert_to_tensor(image), compression=compression, name=name)
    return result


def encode_jpeg(
    image: Any, format: str = "", quality: int = 95, progressive: bool = False, optimize_size: bool = False,
    chroma_downsampling: bool = True, density_unit: str = "in", x_density: int = 300, y_density: int = 300,
    xmp_metadata: str = "", name: str | None = None,
) -> Tensor:  # fmt: skip
    """Writes pixels as a JPEG file.

    Args:
      image: uint8 [height, width, 1 or 3].
      format: "grayscale" or "rgb"; empty: by the number of channels.
      quality: 0 to 100.
      progressive: whether the file shows a coarse image first.
      optimize_size: whether to spend time on a smaller file.
      chroma_downsampling: whether colours are stored at half the resolution.
      density_unit: "in" or "cm".
      x_density: dots per unit.
      y_density: dots per unit.
      xmp_metadata: stored with the image.
      name: a name.

    Returns:
      A string scalar.
    """
    result: Tensor = emit.EncodeJpeg(
        image, format=format, quality=quality, progressive=progressive, optimize_size=optimize_size,
        chroma_downsampling=chroma_downsampling, density_unit=density_unit, x_density=x_density,
        y_density=y_density, xmp_metadata=xmp_metadata, name=name,
    )  # fmt: skip
    return result


__all__ = [
    "decode_and_crop_jpeg", "decode_bmp", "decode_gif", "decode_jpeg", "decode_png", "encode_jpeg", "encode_png",
    "extract_jpeg_shape",
]  # fmt: skip
