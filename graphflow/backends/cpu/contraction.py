"""Library calls as CPU code: matrix products, attention, convolutions and pools."""

from __future__ import annotations

from graphflow.backends.cpu.attention import emit_attention, emit_attention_gradient
from graphflow.backends.cpu.convolution import emit_convolution
from graphflow.backends.cpu.gemm import emit_gemm
from graphflow.backends.cpu.library_code import (
    BufferArgument,
    Launch,
    LibraryCode,
    Pack,
    SizeArgument,
    Workspace,
)
from graphflow.backends.cpu.pooling import emit_pool
from graphflow.backends.cpu.target import Target
from graphflow.loops.library import Attention, AttentionGradient, Call, Conv2D, Gemm, Pool2D

__all__ = ["BufferArgument", "Launch", "LibraryCode", "Pack", "SizeArgument", "Workspace", "emit"]


def emit(call: Call, target: Target) -> LibraryCode:
    """The launches of a library call on a target, in order; the same call and target give the same text."""
    if isinstance(call, Gemm):
        return emit_gemm(call, target)
    if isinstance(call, Conv2D):
        return emit_convolution(call, target)
    if isinstance(call, Pool2D):
        return emit_pool(call, target)
    if isinstance(call, Attention):
        return emit_attention(call, target)
    if isinstance(call, AttentionGradient):
        return emit_attention_gradient(call, target)
    raise TypeError(f"{type(call).__name__} is not a library call")
