"""Fourier transforms of the last one, two or three axes, and moving the zero frequency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import OpDef, constant, constant_value, convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.rules import Array, rank_at_least, refuse, shape_tensor
from graphflow.shapes import UNKNOWN, TensorShape

_COMPLEX = "Tcomplex:type{complex64|complex128}=complex64"
_BOTH = f"Treal:type{{float32|float64}}=float32; {_COMPLEX}"
_NAMES = {1: "", 2: "2D", 3: "3D"}


def _axes(rank: int) -> tuple[int, ...]:
    return tuple(range(-rank, 0))


def _count(x: Tensor, rank: int) -> Any:
    """How many elements the last axes hold, as a number of the tensor's real dtype."""
    return emit.Cast(emit.Prod(shape_tensor(x)[-rank:], [0]), DstT=x.dtype.real_dtype)


def _scaled(x: Tensor, factor: Any) -> Any:
    return x * cast(factor, x.dtype)


def _transform(rank: int, inverse: bool) -> OpDef:
    run = np.fft.ifftn if inverse else np.fft.fftn

    def body(input: Array) -> Array:
        if input.ndim < rank:
            raise refuse(f"Input must have rank of at least {rank} but got: {list(input.shape)}")
        return input if not input.size else np.asarray(run(input, axes=_axes(rank)), input.dtype)

    axes = "axis" if rank == 1 else f"{rank} axes"
    body.__doc__ = f"The {'inverse ' if inverse else ''}Fourier transform over the last {axes}."
    name = f"{'I' if inverse else ''}FFT{_NAMES[rank]}"
    definition = op(
        name, "input:Tcomplex", "output:Tcomplex", _COMPLEX, infer=lambda node: rank_at_least(node, 0, rank, "input")
    )(body)  # fmt: skip

    @definition.gradient
    def gradient(op: Any, dy: Any) -> list[Any]:
        count = _count(dy, rank)
        if inverse:
            return [_scaled(getattr(emit, f"FFT{_NAMES[rank]}")(dy), emit.Reciprocal(count))]
        return [_scaled(getattr(emit, f"IFFT{_NAMES[rank]}")(dy), count)]

    return definition


def _lengths(fft_length: Array, rank: int) -> tuple[int, ...]:
    if fft_length.shape != (rank,):
        raise refuse(f"fft_length must have shape [{rank}]")
    if np.any(fft_length < 0):
        raise refuse(f"fft_length must be >= 0, but got: {fft_length.tolist()}")
    return tuple(int(length) for length in fft_length)


def _held(input: Array, wanted: tuple[int, ...]) -> Array:
    """The part of the input that a transform of so many elements reads."""
    rank = len(wanted)
    if input.ndim < rank:
        raise refuse(f"Input must have rank of at least {rank} but got: {list(input.shape)}")
    for size, length in zip(input.shape[-rank:], wanted, strict=True):
        if size < length:
            raise refuse(
                f"Input dimensions must have length of at least {wanted} but got: {list(input.shape)}"
            )
    part: tuple[Any, ...] = (Ellipsis, *(slice(length) for length in wanted))
    return input[part]


def _real_shape(rank: int, inverse: bool) -> Callable[[Any], TensorShape]:
    def rule(node: Any) -> TensorShape:
        shape = rank_at_least(node, 0, rank, "input")
        lengths = node.inputs[1].shape
        if not lengths.is_compatible_with([rank]):
            raise ShapeError(f"fft_length must have shape [{rank}], has {lengths}")
        if shape.rank is None:
            return UNKNOWN
        known = node.constant(1)
        wanted: list[int | None] = [None] * rank
        if known is not None:
            wanted = [int(length) for length in known]
            if not inverse and wanted[-1]:
                wanted[-1] = wanted[-1] // 2 + 1
        return shape[:-rank].concatenate(wanted)

    return rule


def _real_transform(rank: int) -> OpDef:
    def body(input: Array, fft_length: Array, *, Tcomplex: DType) -> Array:
        lengths = _lengths(fft_length, rank)
        held = _held(input, lengths)
        if not held.size:
            last = lengths[-1] // 2 + 1 if lengths[-1] else 0
            return np.zeros((*input.shape[:-rank], *lengths[:-1], last), Tcomplex.numpy)
        return np.asarray(np.fft.rfftn(held, axes=_axes(rank)), Tcomplex.numpy)

    axes = "axis" if rank == 1 else f"{rank} axes"
    body.__doc__ = f"The Fourier transform of real numbers over the last {axes}: the half that says all."
    definition = op(f"RFFT{_NAMES[rank]}", "input:Treal; fft_length:int32", "output:Tcomplex", _BOTH,
                    infer=_real_shape(rank, False))(body)  # fmt: skip

    @definition.gradient
    def gradient(op: Any, dy: Any) -> list[Any]:
        # The bins that are left out have no gradient, so the whole inverse transform of those kept gives it.
        x, lengths = op.inputs
        whole = _padded(dy, lengths, rank)
        back = getattr(emit, f"IFFT{_NAMES[rank]}")(whole)
        real = emit.Real(_scaled(back, _count(whole, rank)), Tout=x.dtype)
        return [_fitted(real, x, rank), None]

    return definition


def _inverse_real_transform(rank: int) -> OpDef:
    def body(input: Array, fft_length: Array, *, Treal: DType) -> Array:
        lengths = _lengths(fft_length, rank)
        wanted = (*lengths[:-1], lengths[-1] // 2 + 1 if lengths[-1] else 0)
        held = _held(input, wanted)
        if not held.size or not all(lengths):
            return np.zeros((*input.shape[:-rank], *lengths), Treal.numpy)
        return np.asarray(np.fft.irfftn(held, s=lengths, axes=_axes(rank)), Treal.numpy)

    axes = "axis" if rank == 1 else f"{rank} axes"
    body.__doc__ = f"The real numbers whose Fourier transform over the last {axes} has this half."
    definition = op(f"IRFFT{_NAMES[rank]}", "input:Tcomplex; fft_length:int32", "output:Treal", _BOTH,
                    infer=_real_shape(rank, True))(body)  # fmt: skip

    @definition.gradient
    def gradient(op: Any, dy: Any) -> list[Any]:
        # All but the first bin, and of even lengths the last, stand for two.
        x, lengths = op.inputs
        half = getattr(emit, f"RFFT{_NAMES[rank]}")(dy, lengths, Tcomplex=x.dtype)
        kind = dy.dtype
        length = lengths[-1]
        place = emit.Range(0, emit.AddV2(emit.FloorDiv(length, 2), 1), 1)
        single = emit.LogicalOr(emit.Equal(place, 0), emit.Equal(emit.Mul(place, 2), length))
        weights = emit.SelectV2(single, constant(1, kind), constant(2, kind))
        return [_fitted(_scaled(half, weights * emit.Reciprocal(_count(dy, rank))), x, rank), None]

    return definition


def _padded(x: Tensor, sizes: Any, rank: int) -> Tensor:
    """Zeros behind the last axes, up to the given sizes."""
    shape = emit.Shape(x)
    widths = emit.Maximum(emit.Sub(sizes, shape[-rank:]), 0)
    outer = emit.Fill(emit.Sub(emit.Shape(shape), rank), 0)
    behind = emit.ConcatV2([outer, widths], 0)
    result: Tensor = emit.Pad(x, emit.Pack([emit.ZerosLike(behind), behind], axis=1))
    return result


def _fitted(gradient: Tensor, x: Tensor, rank: int) -> Tensor:
    """The gradient of what was read, with zeros for what was not."""
    result = _padded(gradient, emit.Shape(x)[-rank:], rank)
    result.set_shape(x.shape)
    return result


for _rank in _NAMES:
    _transform(_rank, False)
    _transform(_rank, True)
    _real_transform(_rank)
    _inverse_real_transform(_rank)


def fft(input: Any, name: str | None = None) -> Tensor:
    """Returns the Fourier transform of complex numbers over the last axis."""
    result: Tensor = emit.FFT(input, name=name)
    return result


def ifft(input: Any, name: str | None = None) -> Tensor:
    """Returns the inverse Fourier transform of complex numbers over the last axis."""
    result: Tensor = emit.IFFT(input, name=name)
    return result


def fft2d(input: Any, name: str | None = None) -> Tensor:
    """Returns the Fourier transform of complex numbers over the last two axes."""
    result: Tensor = emit.FFT2D(input, name=name)
    return result


def ifft2d(input: Any, name: str | None = None) -> Tensor:
    """Returns the inverse Fourier transform of complex numbers over the last two axes."""
    result: Tensor = emit.IFFT2D(input, name=name)
    return result


def fft3d(input: Any, name: str | None = None) -> Tensor:
    """Returns the Fourier transform of complex numbers over the last three axes."""
    result: Tensor = emit.FFT3D(input, name=name)
    return result


def ifft3d(input: Any, name: str | None = None) -> Tensor:
    """Returns the inverse Fourier transform of complex numbers over the last three axes."""
    result: Tensor = emit.IFFT3D(input, name=name)
    return result


def _of_real(rank: int, input_tensor: Any, fft_length: Any, name: str | None) -> Tensor:
    with name_scope(name, f"rfft{_NAMES[rank].lower()}", [input_tensor, fft_length]) as scope:
        x = convert_to_tensor(input_tensor, preferred_dtype=dtypes.float32)
        if x.dtype not in (dtypes.float32, dtypes.float64):
            raise ValueError(f"RFFT requires float32 or float64 inputs, got: {x!r}")
        _check_rank(x, rank)
        sizes = shape_tensor(x)[-rank:] if fft_length is None else convert_to_tensor(fft_length, dtypes.int32)
        kind = dtypes.complex64 if x.dtype is dtypes.float32 else dtypes.complex128
        if fft_length is not None:
            x = _grown(x, sizes, rank)
        result: Tensor = getattr(emit, f"RFFT{_NAMES[rank]}")(x, sizes, Tcomplex=kind, name=scope)
        return result


def _to_real(rank: int, input_tensor: Any, fft_length: Any, name: str | None) -> Tensor:
    with name_scope(name, f"irfft{_NAMES[rank].lower()}", [input_tensor, fft_length]) as scope:
        x = convert_to_tensor(input_tensor, preferred_dtype=dtypes.complex64)
        if not x.dtype.is_complex:
            raise TypeError(f"IRFFT requires complex inputs, got: {x!r}")
        _check_rank(x, rank)
        if fft_length is None:
            sizes = shape_tensor(x)[-rank:]
            last = emit.Maximum(emit.Mul(emit.Sub(sizes[-1:], 1), 2), 0)
            wanted = emit.ConcatV2([sizes[:-1], last], 0) if rank > 1 else last
        else:
            wanted = convert_to_tensor(fft_length, dtypes.int32)
            half = emit.AddV2(emit.FloorDiv(wanted[-1:], 2), 1)
            x = _grown(x, emit.ConcatV2([wanted[:-1], half], 0) if rank > 1 else half, rank)
        result: Tensor = getattr(emit, f"IRFFT{_NAMES[rank]}")(
            x, wanted, Treal=x.dtype.real_dtype, name=scope
        )
        return result


def _check_rank(x: Tensor, rank: int) -> None:
    if x.shape.rank is not None and x.shape.rank < rank:
        raise ValueError(f"Shape {x.shape} must have rank at least {rank}")


def _grown(x: Tensor, sizes: Tensor, rank: int) -> Tensor:
    """The tensor itself where it is known to be large enough, else with zeros behind."""
    wanted, known = constant_value(sizes), x.shape.as_tuple()
    if wanted is not None and known is not None and None not in known[-rank:]:
        if all(have is not None and have >= want for have, want in zip(known[-rank:], wanted, strict=True)):
            return x
    return _padded(x, sizes, rank)


def rfft(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the first half of the Fourier transform of real numbers over the last axis.

    Args:
      input_tensor: float32 or float64 [..., n].
      fft_length: [1]: the length to transform; zeros fill a shorter input, of a longer one the first part is read.
      name: a name.

    Returns:
      Complex [..., fft_length // 2 + 1].
    """
    return _of_real(1, input_tensor, fft_length, name)


def rfft2d(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the first half of the Fourier transform of real numbers over the last two axes; see `rfft`."""
    return _of_real(2, input_tensor, fft_length, name)


def rfft3d(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the first half of the Fourier transform of real numbers over the last three axes; see `rfft`."""
    return _of_real(3, input_tensor, fft_length, name)


def irfft(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the real numbers whose Fourier transform over the last axis has this first half.

    Args:
      input_tensor: complex64 or complex128 [..., n].
      fft_length: [1]: the length of the result, default 2 (n - 1); a shorter input is filled with zeros.
      name: a name.
    """
    return _to_real(1, input_tensor, fft_length, name)


def irfft2d(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the real numbers whose Fourier transform over the last two axes has this first half; see `irfft`."""
    return _to_real(2, input_tensor, fft_length, name)


def irfft3d(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """Returns the real numbers whose Fourier transform over the last three axes has this first half; see `irfft`."""
    return _to_real(3, input_tensor, fft_length, name)


def _shifted(x: Any, axes: Any, back: bool, name: str, scope_name: str | None) -> Tensor:
    with name_scope(scope_name, name, [x]):
        x = convert_to_tensor(x)
        if axes is None:
            if x.shape.rank is None:
                raise ValueError(f"{name} over all axes needs a known rank")
            axes = tuple(range(x.shape.rank))
        listed = [axes] if isinstance(axes, int) else [int(axis) for axis in axes]
        sizes = shape_tensor(x)
        half = emit.FloorDiv(emit.Pack([sizes[axis] for axis in listed]), 2)
        result: Tensor = emit.Roll(x, emit.Neg(half) if back else half, np.array(listed, np.int32))
        return result


def fftshift(x: Any, axes: Any = None, name: str | None = None) -> Tensor:
    """Returns a transform with the zero frequency moved to the middle of `axes` (default: all)."""
    return _shifted(x, axes, False, "fftshift", name)


def ifftshift(x: Any, axes: Any = None, name: str | None = None) -> Tensor:
    """Returns what `fftshift` has moved, moved back."""
    return _shifted(x, axes, True, "ifftshift", name)


__all__ = [
    "fft", "fft2d", "fft3d", "fftshift", "ifft", "ifft2d", "ifft3d", "ifftshift", "irfft", "irfft2d", "irfft3d",
    "rfft", "rfft2d", "rfft3d",
]  # fmt: skip
