"""Samples of the ops in `graphflow/ops/spectral.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow import dtypes
from tests.samples import COMPLEX, FLOATS, Sample, samples, uniform


@samples("FFT", "IFFT", "FFT2D", "IFFT2D", "FFT3D", "IFFT3D")
def transforms() -> Iterator[Sample]:
    for dtype in COMPLEX:
        yield Sample([uniform(2, 4, 3, 5, dtype=dtype)], rtol=1e-4, atol=1e-5)
    yield Sample([uniform(0, 4, 3, 5, dtype=np.complex64)], differentiable=False, name="empty")


def real_transforms(rank: int) -> Iterator[Sample]:
    kinds = {"Tcomplex": dtypes.complex64}, {"Tcomplex": dtypes.complex128}
    for kind, dtype in zip(kinds, FLOATS, strict=True):
        for last in (4, 5):
            x = uniform(2, 4, 3, last, dtype=dtype)
            lengths = np.array(x.shape[-rank:], np.int32)
            options: dict[str, Any] = {"differentiable": (0,), "rtol": 1e-4, "atol": 1e-5}
            yield Sample([x, lengths], kind, constant=(1,), **options)
    x = uniform(2, 4, 3, 6)
    short = np.array(x.shape[-rank:], np.int32) - 1
    yield Sample([x, short], kinds[0], constant=(1,), differentiable=(0,), rtol=1e-4, atol=1e-5, name="part")
    yield Sample([x, short], kinds[0], differentiable=False, rtol=1e-4, atol=1e-5, name="fed")


def inverse_real_transforms(rank: int) -> Iterator[Sample]:
    for kind, dtype in zip((dtypes.float32, dtypes.float64), COMPLEX, strict=True):
        for last in (6, 7):
            x = uniform(2, 4, 3, 4, dtype=dtype)
            lengths = np.array([*x.shape[-rank:-1], last], np.int32)
            options: dict[str, Any] = {"differentiable": (0,), "rtol": 1e-4, "atol": 1e-5}
            yield Sample([x, lengths], {"Treal": kind}, constant=(1,), **options)


@samples("RFFT")
def rfft() -> Iterator[Sample]:
    yield from real_transforms(1)


@samples("RFFT2D")
def rfft2d() -> Iterator[Sample]:
    yield from real_transforms(2)


@samples("RFFT3D")
def rfft3d() -> Iterator[Sample]:
    yield from real_transforms(3)


@samples("IRFFT")
def irfft() -> Iterator[Sample]:
    yield from inverse_real_transforms(1)


@samples("IRFFT2D")
def irfft2d() -> Iterator[Sample]:
    yield from inverse_real_transforms(2)


@samples("IRFFT3D")
def irfft3d() -> Iterator[Sample]:
    yield from inverse_real_transforms(3)
