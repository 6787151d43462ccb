"""Sample inputs for every op type: the one table that the oracle matrix walks.

A module of this package holds the samples of the ops module of the same name. A generator is hung on op types:

    @samples("Exp", "Expm1")
    def exponential_samples():
        yield Sample([random(3, 4)])
        yield Sample([special()], differentiable=False)   # NaN and infinities: values only

`tests/test_ops_matrix.py` runs each sample through shape rule, NumPy body, gradient, protobuf and the compiled
session. Every op type has samples or fails the matrix.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]
Argument = Array | list[Array]

MODULES = (
    "source", "elementwise", "reduction", "layout", "linalg", "nn", "convolution", "random",
    "state", "control", "io", "training", "segments", "diagonals", "scatter", "sorting", "crosses",
    "factorizations", "special", "sparse", "sparse_math", "functional", "counting", "rows",
    "summaries", "resize", "color", "boxes", "patches", "image_files", "candidates", "volumes",
    "spectral", "special_functions", "quantize", "quantized", "distributions", "stateless", "strings", "files",
    "parsing", "sets", "sparse_messages", "ctc", "beams", "collectives",
    "pools", "morphology", "cells", "fused", "moments", "unicode",
)  # fmt: skip

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))
COMPLEX = (np.dtype(np.complex64), np.dtype(np.complex128))


@dataclass(frozen=True)
class Sample:
    """One call of an op.

    Attributes:
      inputs: one array per argument of the op's signature; a list of arrays for a list argument. The NumPy
        body gets exactly these. At the place of a resource handle stands the variable's value.
      attrs: attributes that do not follow from the inputs' dtypes.
      differentiable: True: the gradient is checked for each floating or complex input, in float64 /
        complex128 (the inputs are cast); a tuple names the *flat* input positions to check; False: not at
        all (kinks, special values, integers).
      second: whether the gradient of the gradient is checked as well (where differentiable at all).
      constant: flat positions of inputs that stand in the graph as Const (what shape rules and lowerings
        read: axes, permutations, paddings); all others are placeholders. The matrix also runs them unknown.
      shapes: static shape to declare per flat position (None for an unknown dimension or rank);
        what is not named is declared fully.
      rtol, atol: tolerance between the NumPy body and the compiled session; None: by dtype, and exact for
        integers, booleans and strings.
      gradient_tolerance: relative to the size of the projected derivative.
      narrow: whether results are float32 whatever the inputs, so that no difference quotient is exact enough:
        gradients are held against TensorFlow's only.
      exact: False where values are not determined (random, uninitialised): only shape and dtype count.
      name: tells samples of one op apart in a test's id.
    """

    inputs: Sequence[Argument] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    differentiable: bool | tuple[int, ...] = True
    second: bool = True
    constant: tuple[int, ...] = ()
    shapes: dict[int, Any] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    gradient_tolerance: float = 1e-5
    narrow: bool = False
    exact: bool = True
    name: str = ""

    def flat(self) -> list[Array]:
        """The inputs with list arguments laid out one after another."""
        result: list[Array] = []
        for argument in self.inputs:
            result.extend(argument if isinstance(argument, list) else [argument])
        return result


Generator = Callable[[], Iterator[Sample]]
_TABLE: dict[str, list[Generator]] = {}


def samples(*op_types: str) -> Callable[[Generator], Generator]:
    """Hangs a generator of samples on op types; several generators of one type add up."""

    def register(generator: Generator) -> Generator:
        for op_type in op_types:
            _TABLE.setdefault(op_type, []).append(generator)
        return generator

    return register


def all_samples() -> dict[str, list[Sample]]:
    """Returns the samples of every op type, after loading every module of samples that exists."""
    for module in MODULES:
        name = f"{__name__}.{module}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    return {op_type: [s for make in makers for s in make()] for op_type, makers in _TABLE.items()}


# ---------------------------------------------------------------------------- arrays to sample with


def rng(seed: int = 7) -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(seed)


def uniform(
    *shape: int, low: float = -2.0, high: float = 2.0, dtype: Any = np.float32, seed: int = 7
) -> Array:
    """Uniform numbers in [low, high) of any dtype; for complex ones both parts."""
    dtype = np.dtype(dtype)
    values = rng(seed).uniform(low, high, shape)
    if dtype.kind == "c":
        values = values + 1j * rng(seed + 1).uniform(low, high, shape)
    if dtype.kind == "b":
        return np.asarray(values > (low + high) / 2)
    if dtype.kind in "iu":
        values = np.floor(values)
    return np.asarray(values).astype(dtype)


def integers(*shape: int, low: int = -5, high: int = 6, dtype: Any = np.int32, seed: int = 7) -> Array:
    """Integers in [low, high)."""
    return np.asarray(rng(seed).integers(low, high, shape)).astype(dtype)


def apart(*shape: int, dtype: Any = np.float64, seed: int = 7, gap: float = 0.25) -> Array:
    """Numbers that are pairwise at least `gap` apart and that far from 0: no ties, no kinks between them."""
    count = int(np.prod(shape, dtype=np.int64))
    values = (np.arange(count) - count / 2.0 + 0.5) * 2 * gap
    return np.asarray(rng(seed).permutation(values).reshape(shape)).astype(dtype)


def special(dtype: Any = np.float32) -> Array:
    """NaN, infinities, both zeros, a subnormal, the largest and ordinary numbers."""
    info = ml_dtypes.finfo(np.dtype(dtype))
    values = [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        float(info.tiny) / 4,
        -1.0,
        1.0,
        0.5,
        -2.5,
        3.0,
        88.0,
        -104.0,
    ]
    values += [float(info.max), float(info.min), 1e4]
    with np.errstate(all="ignore"):
        return np.array(values).astype(dtype)


def strided(array: Array) -> Array:
    """The same values, lying in memory with gaps and in reverse along the last axis."""
    if array.ndim == 0:
        return array
    wide = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
    view = wide[..., ::2][..., ::-1]
    view[...] = array
    return view
