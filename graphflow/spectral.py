"""`tf.spectral`: Fourier transforms.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.spectral import (
    fft as fft, fft2d as fft2d, fft3d as fft3d, ifft as ifft, ifft2d as ifft2d, ifft3d as ifft3d,
    irfft as irfft, irfft2d as irfft2d, irfft3d as irfft3d, rfft as rfft, rfft2d as rfft2d, rfft3d as rfft3d,
)
from graphflow.signal import dct as dct, idct as idct
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
