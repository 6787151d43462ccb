"""`tf.signal`: frames, windows, transforms of signals, and their inverses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.graph import Tensor, name_scope
from graphflow.namespace import lazy
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.elementwise import (
    cast,
    complex,
    cos,
    exp,
    log,
    maximum,
    minimum,
    real,
    rsqrt,
    sin,
    sqrt,
    square,
)
from graphflow.ops.layout import concat, expand_dims, gather, pad, reshape, reverse, split, tile, transpose
from graphflow.ops.reduction import cumsum, reduce_sum
from graphflow.ops.rules import shape_tensor
from graphflow.ops.source import linspace, ones, ones_like, zeros_like
from graphflow.ops.source import range as _range
from graphflow.ops.special_functions import bessel_i0e
from graphflow.ops.spectral import fft as fft
from graphflow.ops.spectral import fft2d as fft2d
from graphflow.ops.spectral import fft3d as fft3d
from graphflow.ops.spectral import fftshift as fftshift
from graphflow.ops.spectral import ifft as ifft
from graphflow.ops.spectral import ifft2d as ifft2d
from graphflow.ops.spectral import ifft3d as ifft3d
from graphflow.ops.spectral import ifftshift as ifftshift
from graphflow.ops.spectral import irfft as irfft
from graphflow.ops.spectral import irfft2d as irfft2d
from graphflow.ops.spectral import irfft3d as irfft3d
from graphflow.ops.spectral import rfft as rfft
from graphflow.ops.spectral import rfft2d as rfft2d
from graphflow.ops.spectral import rfft3d as rfft3d

Window = Callable[..., Tensor]


def _scalar(value: Any, name: str) -> Tensor:
    tensor = convert_to_tensor(value, name=name)
    if tensor.shape.rank not in (0, None):
        raise ValueError(f"{name} must be a scalar, has shape {tensor.shape}")
    return tensor


def _known(value: Any) -> Any:
    """The number where it is known already, else the tensor."""
    found = constant_value(value) if isinstance(value, Tensor) else value
    return value if found is None else int(found)


def _last(x: Tensor) -> Any:
    """The size of the last axis, as a number if it is known."""
    size = None if x.shape.rank is None else x.shape.as_list()[-1]
    return shape_tensor(x)[-1] if size is None else size


# ---------------------------------------------------------------------------- frames


def frame(
    signal: Any, frame_length: Any, frame_step: Any, pad_end: bool = False, pad_value: Any = 0, axis: int = -1,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Cuts a signal into frames that may overlap.

    Args:
      signal: [..., samples, ...].
      frame_length: samples in a frame.
      frame_step: samples from the start of one frame to that of the next.
      pad_end: whether the end is filled up, so that every step within the signal starts a frame.
      pad_value: what it is filled up with.
      axis: the axis of the samples.
      name: a name.

    Returns:
      [..., frames, frame_length, ...].
    """
    with name_scope(name, "frame", [signal, frame_length, frame_step, pad_value]):
        x = convert_to_tensor(signal, name="signal")
        length, step = (
            _known(_scalar(frame_length, "frame_length")),
            _known(_scalar(frame_step, "frame_step")),
        )
        at = _known(_scalar(axis, "axis"))
        rank = x.shape.rank
        if rank is None or not isinstance(at, int):
            raise ValueError("frame needs a signal of known rank and a known axis")
        if not -rank <= at < rank:
            raise ValueError(f"axis {at} is outside [{-rank}, {rank})")
        at %= rank
        samples: Any = x.shape.as_list()[at]
        samples = shape_tensor(x)[at] if samples is None else samples
        if pad_end:
            frames: Any = -(-samples // step)
            missing = _at_least_zero(length + step * (frames - 1) - samples)
            widths = [[0, 0]] * at + [[0, missing]] + [[0, 0]] * (rank - at - 1)
            x = pad(x, widths, constant_values=pad_value)
        else:
            frames = _at_least_zero((samples - length) // step + 1)
        starts = expand_dims(_range(frames) * step, 1)
        places = starts + expand_dims(_range(length), 0)
        return gather(x, places, axis=at)


def _at_least_zero(value: Any) -> Any:
    return max(0, value) if isinstance(value, int) else maximum(value, 0)


def overlap_and_add(signal: Any, frame_step: Any, name: str | None = None) -> Tensor:
    """Adds up frames [..., frames, frame_length] that each begin `frame_step` after the one before.

    Returns:
      [..., (frames - 1) * frame_step + frame_length].
    """
    with name_scope(name, "overlap_and_add", [signal, frame_step]):
        x = convert_to_tensor(signal, name="signal")
        rank = x.shape.rank
        if rank is None or rank < 2:
            raise ValueError(f"signal must have a known rank of at least 2, has shape {x.shape}")
        tensor = _scalar(frame_step, "frame_step")
        if not tensor.dtype.is_integer:
            raise ValueError(f"frame_step must be an integer. Got {tensor.dtype.name}")
        step = _known(tensor)
        sizes = x.shape.as_list()
        shape = shape_tensor(x)
        frames: Any = shape[-2] if sizes[-2] is None else sizes[-2]
        length: Any = shape[-1] if sizes[-1] is None else sizes[-1]
        outer = shape[:-2]
        total = length + step * (frames - 1)
        # Each frame in pieces of one step, and as many empty ones behind the last frame: read column by column with
        # one frame's worth less, every piece stands under the place where it belongs.
        pieces = -(-length // step)
        x = pad(x, [[0, 0]] * (rank - 2) + [[0, pieces], [0, pieces * step - length]])
        x = reshape(x, _joined(outer, [frames + pieces, pieces, step]))
        lead = list(range(rank - 2))
        x = transpose(x, [*lead, rank - 1, rank - 2, rank])
        x = reshape(x, _joined(outer, [(frames + pieces) * pieces, step]))
        x = x[..., : (frames + pieces - 1) * pieces, :]
        x = reshape(x, _joined(outer, [pieces, frames + pieces - 1, step]))
        x = reduce_sum(x, -3)
        x = reshape(x, _joined(outer, [(frames + pieces - 1) * step]))
        result: Tensor = x[..., :total]
        return result


def _joined(outer: Tensor, inner: list[Any]) -> Tensor:
    return concat([outer, emit.Pack([convert_to_tensor(size, dtypes.int32) for size in inner])], 0)


# ---------------------------------------------------------------------------- windows


def _window_length(window_length: Any, dtype: DType) -> Tensor:
    if not dtype.is_floating:
        raise ValueError(f"dtype must be a floating point type. Found {dtype!r}")
    length = cast(_scalar(window_length, "window_length"), dtypes.int32)
    assert isinstance(length, Tensor)
    return length


def _raised_cosine(
    name: str | None, default: str, window_length: Any, periodic: Any, dtype: Any, a: float, b: float
) -> Tensor:
    kind = as_dtype(dtype)
    with name_scope(name, default, [window_length, periodic]):
        length = _window_length(window_length, kind)
        if constant_value(length) == 1:
            return ones([1], dtype=kind)
        whole = cast(convert_to_tensor(periodic, dtypes.bool_, name="periodic"), dtypes.int32)
        period = length + whole * (1 - length % 2) - 1
        angle = cast(_range(length), kind) * (2 * math.pi) / cast(period, kind)
        window = a - b * cos(angle)
        if constant_value(length) is not None:
            return window
        # A window of one sample would be divided by zero.
        result: Tensor = emit.SelectV2(emit.Equal(length, 1), ones_like(window), window)
        return result


def hann_window(
    window_length: Any, periodic: Any = True, dtype: Any = dtypes.float32, name: str | None = None
) -> Tensor:
    """Returns the Hann window [window_length], 0.5 - 0.5 cos; periodic for spectra, else symmetric."""
    return _raised_cosine(name, "hann_window", window_length, periodic, dtype, 0.5, 0.5)


def hamming_window(
    window_length: Any, periodic: Any = True, dtype: Any = dtypes.float32, name: str | None = None
) -> Tensor:
    """Returns the Hamming window [window_length], 0.54 - 0.46 cos; periodic for spectra, else symmetric."""
    return _raised_cosine(name, "hamming_window", window_length, periodic, dtype, 0.54, 0.46)


def vorbis_window(window_length: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Returns the power-complementary window [window_length] of the Vorbis format."""
    kind = as_dtype(dtype)
    with name_scope(name, "vorbis_window"):
        length = _window_length(window_length, kind)
        angle = (cast(_range(length), kind) + 0.5) * math.pi / cast(length, kind)
        return sin(square(sin(angle)) * (math.pi / 2))


def kaiser_window(
    window_length: Any, beta: Any = 12.0, dtype: Any = dtypes.float32, name: str | None = None
) -> Tensor:
    """Returns the Kaiser window [window_length] of shape parameter `beta`."""
    kind = as_dtype(dtype)
    with name_scope(name, "kaiser_window"):
        length = _window_length(window_length, kind)
        if constant_value(length) == 1:
            return ones([1], dtype=kind)
        half = (cast(length, kind) - 1.0) / 2.0
        place = (cast(_range(length), kind) - half) / half
        shape = cast(convert_to_tensor(beta), kind)
        inner = shape * sqrt(maximum(1.0 - square(place), np.zeros((), kind.as_numpy_dtype)))
        return exp(inner - shape) * (bessel_i0e(inner) / bessel_i0e(shape))


def kaiser_bessel_derived_window(
    window_length: Any, beta: Any = 12.0, dtype: Any = dtypes.float32, name: str | None = None
) -> Tensor:
    """Returns the power-complementary window [window_length] that is made of a Kaiser window."""
    with name_scope(name, "kaiser_bessel_derived_window"):
        length = _window_length(window_length, as_dtype(dtype))
        total = cumsum(kaiser_window(length // 2 + 1, beta, dtype=dtype))
        half = sqrt(total[:-1] / total[-1])
        return concat([half, reverse(half, [0])], 0)


# ---------------------------------------------------------------------------- cosine transforms


def _check_dct(x: Tensor, kind: int, n: int | None, axis: int, norm: str | None) -> None:
    if axis != -1:
        raise NotImplementedError(f"axis must be -1. Got: {axis}")
    if n is not None and n < 1:
        raise ValueError("n should be a positive integer or None")
    if kind not in (1, 2, 3, 4):
        raise ValueError("Types I, II, III and IV (I)DCT are supported.")
    if kind == 1:
        if norm == "ortho":
            raise ValueError("Normalization is not supported for the Type-I DCT.")
        size = _last(x)
        if isinstance(size, int) and size < 2:
            raise ValueError("Type-I DCT requires the dimension to be greater than one.")
    if norm not in (None, "ortho"):
        raise ValueError(f"Unknown normalization. Expected None or 'ortho', got: {norm}")


def _weights(size: Any, first: Any, others: Any, dtype: DType) -> Any:
    """A row whose first element differs from the others."""
    return emit.SelectV2(emit.Equal(_range(size), 0), cast(first, dtype), cast(others, dtype))


def _dct(x: Tensor, kind: int, n: int | None, norm: str | None) -> Tensor:
    if n is not None:
        size = _last(x)
        if not isinstance(size, int):
            raise ValueError("a length needs a last axis of known size")
        widths = [[0, 0]] * ((x.shape.rank or 1) - 1) + [[0, max(0, n - size)]]
        x = x[..., :n] if n <= size else pad(x, widths)
    size = _last(x)
    count = cast(size, x.dtype)
    zero = np.zeros((), x.dtype.as_numpy_dtype)
    if kind == 1:
        return real(rfft(concat([x, x[..., -2:0:-1]], -1)))
    if kind == 4:
        odd = _dct(x, 2, 2 * size, None)[..., 1::2]
        return odd * (math.sqrt(0.5) * rsqrt(count)) if norm else odd
    angle = cast(_range(size), x.dtype) * (math.pi / 2) / count
    if kind == 2:
        turn = exp(complex(zero, -angle)) * 2.0
        result = real(rfft(x, [2 * size])[..., :size] * turn)
        if norm:
            first = rsqrt(count) * 0.5
            result = result * _weights(size, first, first * math.sqrt(2.0), x.dtype)
        return result
    scale = _weights(size, sqrt(count), sqrt(count) * math.sqrt(0.5), x.dtype) if norm else count
    turn = exp(complex(zero, angle)) * 2.0
    whole = irfft(turn * complex(x * scale, zero), [2 * size])
    shortened: Tensor = real(whole)[..., :size]
    return shortened


def dct(
    input: Any,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    name: str | None = None,
) -> Tensor:
    """Returns the cosine transform of real numbers over the last axis.

    Args:
      input: float32 or float64 [..., samples].
      type: 1, 2, 3 or 4.
      n: a length to cut or fill the input to.
      axis: -1.
      norm: None, or "ortho" for an orthonormal transform.
      name: a name.
    """
    with name_scope(name, "dct", [input]):
        x = convert_to_tensor(input)
        _check_dct(x, type, n, axis, norm)
        return _dct(x, type, n, norm)


def idct(
    input: Any,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    name: str | None = None,
) -> Tensor:
    """Returns the inverse (up to a factor, unless `norm` is "ortho") of the cosine transform of a type; see `dct`."""
    with name_scope(name, "idct", [input]):
        x = convert_to_tensor(input)
        _check_dct(x, type, n, axis, norm)
        return _dct(x, {1: 1, 2: 3, 3: 2, 4: 4}[type], n, norm)


# ---------------------------------------------------------------------------- spectra of frames


def _power_of_two(length: Tensor) -> Tensor:
    known = constant_value(length)
    if known is not None:
        return convert_to_tensor(int(2 ** math.ceil(math.log2(int(known)))), length.dtype)
    exponent = emit.Ceil(log(cast(length, dtypes.float32)) / math.log(2.0))
    result = cast(emit.Pow(2.0, exponent), length.dtype)
    assert isinstance(result, Tensor)
    return result


def stft(
    signals: Any, frame_length: Any, frame_step: Any, fft_length: Any = None, window_fn: Window | None = hann_window,
    pad_end: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the spectra of the frames of signals.

    Args:
      signals: float [..., samples].
      frame_length, frame_step: see `frame`.
      fft_length: length of the transform, default the power of two that holds a frame.
      window_fn: `f(frame_length, dtype=)`, a window that each frame is multiplied with; or None.
      pad_end: see `frame`.
      name: a name.

    Returns:
      Complex [..., frames, fft_length // 2 + 1].
    """
    with name_scope(name, "stft", [signals, frame_length, frame_step]):
        length = _scalar(frame_length, "frame_length")
        size = _power_of_two(length) if fft_length is None else _scalar(fft_length, "fft_length")
        frames = frame(signals, length, frame_step, pad_end=pad_end)
        if window_fn is not None:
            frames = frames * window_fn(length, dtype=frames.dtype)
        return rfft(frames, emit.Pack([size]))


def inverse_stft_window_fn(
    frame_step: Any, forward_window_fn: Window = hann_window, name: str | None = None
) -> Window:
    """Returns a window function for `inverse_stft` that undoes the one that `stft` was given."""

    def window_fn(frame_length: Any, dtype: Any) -> Tensor:
        with name_scope(name, "inverse_stft_window_fn"):
            step = _scalar(frame_step, "frame_step")
            length = _scalar(frame_length, "frame_length")
            forward = forward_window_fn(length, dtype=dtype)
            overlaps = -(-length // step)
            power = pad(square(forward), [[0, overlaps * step - length]])
            total = reduce_sum(reshape(power, emit.Pack([overlaps, step])), 0, keepdims=True)
            spread = reshape(tile(total, emit.Pack([overlaps, 1])), [-1])[:length]
            empty = emit.Equal(spread, np.zeros((), spread.dtype.as_numpy_dtype))
            result: Tensor = emit.SelectV2(empty, zeros_like(forward), forward / spread)
            return result

    return window_fn


def inverse_stft(
    stfts: Any, frame_length: Any, frame_step: Any, fft_length: Any = None, window_fn: Window | None = hann_window,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns signals [..., samples] out of the spectra of their frames, complex [..., frames, bins]; see `stft`."""
    with name_scope(name, "inverse_stft", [stfts]):
        x = convert_to_tensor(stfts, name="stfts")
        length = _scalar(frame_length, "frame_length")
        size = _power_of_two(length) if fft_length is None else _scalar(fft_length, "fft_length")
        frames = irfft(x, emit.Pack([size]))
        count, have = _known(length), _last(frames)
        if frames.shape.rank is None:
            raise ValueError("inverse_stft needs spectra of known rank")
        if not (isinstance(count, int) and isinstance(have, int)) or have < count:
            widths = [[0, 0]] * (frames.shape.rank - 1) + [[0, _at_least_zero(count - have)]]
            frames = pad(frames, widths)
        frames = frames[..., :count]
        if window_fn is not None:
            frames = frames * window_fn(length, dtype=frames.dtype)
        return overlap_and_add(frames, frame_step)


def mdct(
    signals: Any, frame_length: Any, window_fn: Window | None = vorbis_window, pad_end: bool = False,
    norm: str | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the modified cosine transform of the half overlapping frames of signals [..., samples].

    Returns:
      [..., frames, frame_length // 2].
    """
    with name_scope(name, "mdct", [signals, frame_length]):
        length = _scalar(frame_length, "frame_length")
        count = _known(length)
        if isinstance(count, int) and count % 4:
            raise ValueError("The frame length must be a multiple of 4.")
        frames = frame(signals, length, length // 2, pad_end=pad_end)
        frames = frames * (window_fn(length, dtype=frames.dtype) if window_fn is not None else math.sqrt(0.5))
        a, b, c, d = split(frames, 4, axis=-1)
        folded = concat([-reverse(c, [-1]) - d, a - reverse(b, [-1])], -1)
        return dct(folded, type=4, norm=norm)


def inverse_mdct(
    mdcts: Any, window_fn: Window | None = vorbis_window, norm: str | None = None, name: str | None = None
) -> Tensor:
    """Returns signals [..., samples] out of their modified cosine transform [..., frames, half a frame]; see `mdct`."""
    with name_scope(name, "inverse_mdct", [mdcts]):
        x = convert_to_tensor(mdcts, name="mdcts")
        half = _last(x)
        turned = dct(x, type=4, norm=norm)
        if norm is None:
            turned = turned * (0.5 / cast(half, x.dtype))
        a, b = split(turned, 2, axis=-1)
        frames = concat([b, -reverse(b, [-1]), -reverse(a, [-1]), -a], -1)
        frames = frames * (window_fn(2 * half, dtype=x.dtype) if window_fn is not None else math.sqrt(0.5))
        return overlap_and_add(frames, half)


# ---------------------------------------------------------------------------- mel scale

_MEL_BREAK_HERTZ = 700.0
_MEL_FACTOR = 1127.0


def _hertz_to_mel(hertz: Any) -> Any:
    return log(hertz / _MEL_BREAK_HERTZ + 1.0) * _MEL_FACTOR


def linear_to_mel_weight_matrix(
    num_mel_bins: int = 20, num_spectrogram_bins: int = 129, sample_rate: Any = 8000, lower_edge_hertz: float = 125.0,
    upper_edge_hertz: float = 3800.0, dtype: Any = dtypes.float32, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the matrix [num_spectrogram_bins, num_mel_bins] that turns spectra into the mel scale.

    Args:
      num_mel_bins: bands of the mel scale.
      num_spectrogram_bins: bins of the spectrum, from 0 to half the sample rate.
      sample_rate: samples per second.
      lower_edge_hertz: where the lowest band begins.
      upper_edge_hertz: where the highest band ends.
      dtype: dtype of the matrix.
      name: a name.

    Raises:
      ValueError: for numbers that do not fit one another.
    """
    kind = as_dtype(dtype)
    with name_scope(name, "linear_to_mel_weight_matrix") as scope:
        rate = constant_value(sample_rate) if isinstance(sample_rate, Tensor) else sample_rate
        if num_mel_bins <= 0:
            raise ValueError(f"num_mel_bins must be positive. Got: {num_mel_bins}")
        if lower_edge_hertz < 0.0:
            raise ValueError(f"lower_edge_hertz must be non-negative. Got: {lower_edge_hertz}")
        if lower_edge_hertz >= upper_edge_hertz:
            raise ValueError(f"lower_edge_hertz {lower_edge_hertz} >= upper_edge_hertz {upper_edge_hertz}")
        if rate is not None and rate <= 0:
            raise ValueError(f"sample_rate must be positive. Got: {rate}")
        if rate is not None and upper_edge_hertz > rate / 2:
            raise ValueError(
                f"upper_edge_hertz must not be larger than the Nyquist frequency (sample_rate / 2). Got "
                f"{upper_edge_hertz} for sample_rate: {rate}"
            )
        if not kind.is_floating:
            raise ValueError(f"dtype must be a floating point type. Got: {kind!r}")
        top = cast(convert_to_tensor(sample_rate), kind) / 2.0
        zero = np.zeros((), kind.as_numpy_dtype)
        # The constant part of a signal belongs to no band.
        bins = expand_dims(_hertz_to_mel(linspace(zero, top, num_spectrogram_bins)[1:]), 1)
        ends = [_hertz_to_mel(convert_to_tensor(edge, kind)) for edge in (lower_edge_hertz, upper_edge_hertz)]
        edges = linspace(ends[0], ends[1], num_mel_bins + 2)
        low, middle, high = (expand_dims(edges[i : i + num_mel_bins], 0) for i in range(3))
        rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
        weights = maximum(zero, minimum(rising, falling))
        result: Tensor = emit.Pad(weights, [[1, 0], [0, 0]], name=scope)
        return result


def mfccs_from_log_mel_spectrograms(log_mel_spectrograms: Any, name: str | None = None) -> Tensor:
    """Returns mel-frequency cepstral coefficients of spectra [..., num_mel_bins] in log magnitudes of the mel scale."""
    with name_scope(name, "mfccs_from_log_mel_spectrograms", [log_mel_spectrograms]):
        x = convert_to_tensor(log_mel_spectrograms)
        count = _last(x)
        if isinstance(count, int) and count == 0:
            raise ValueError(f"num_mel_bins must be positive. Got: {x!r}")
        turned = dct(x, type=2)
        return turned * rsqrt(cast(count, turned.dtype) * 2.0)


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
