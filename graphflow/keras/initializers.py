"""`keras.initializers`: TF1's initializers under Keras's names, with Keras's defaults."""

from __future__ import annotations

from typing import Any

from graphflow import initializers as base
from graphflow.dtypes import float32
from graphflow.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    Identity,
    Initializer,
    Ones,
    Orthogonal,
    VarianceScaling,
    Zeros,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
)
from graphflow.keras.identifiers import found


class RandomNormal(base.RandomNormal):
    """Normally distributed numbers, of a deviation of 0.05 by default."""

    def __init__(
        self, mean: Any = 0.0, stddev: Any = 0.05, seed: int | None = None, dtype: Any = float32
    ) -> None:
        super().__init__(mean, stddev, seed, dtype)


class RandomUniform(base.RandomUniform):
    """Uniform numbers, between -0.05 and 0.05 by default."""

    def __init__(
        self, minval: Any = -0.05, maxval: Any = 0.05, seed: int | None = None, dtype: Any = float32
    ) -> None:
        super().__init__(minval, maxval, seed, dtype)


class TruncatedNormal(base.TruncatedNormal):
    """Normally distributed numbers without those beyond two deviations, which are 0.05 by default."""

    def __init__(
        self, mean: Any = 0.0, stddev: Any = 0.05, seed: int | None = None, dtype: Any = float32
    ) -> None:
        super().__init__(mean, stddev, seed, dtype)


zeros = zero = Zeros
ones = one = Ones
constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
identity = Identity
normal = random_normal = RandomNormal
orthogonal = Orthogonal
random_uniform = uniform = RandomUniform
truncated_normal = TruncatedNormal

_KNOWN: dict[str, Any] = {
    "Constant": Constant, "GlorotNormal": GlorotNormal, "GlorotUniform": GlorotUniform, "Identity": Identity,
    "Ones": Ones, "Orthogonal": Orthogonal, "RandomNormal": RandomNormal, "RandomUniform": RandomUniform,
    "TruncatedNormal": TruncatedNormal, "VarianceScaling": VarianceScaling, "Zeros": Zeros, "constant": Constant,
    "glorot_normal": GlorotNormal, "glorot_uniform": GlorotUniform, "he_normal": he_normal(),
    "he_uniform": he_uniform(), "identity": Identity, "lecun_normal": lecun_normal(),
    "lecun_uniform": lecun_uniform(), "normal": RandomNormal, "one": Ones, "ones": Ones, "orthogonal": Orthogonal,
    "random_normal": RandomNormal, "random_uniform": RandomUniform, "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform, "zero": Zeros, "zeros": Zeros,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns an initializer by name or configuration, or as it is; None for None."""
    return found(identifier, _KNOWN, "initializer")


__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "Identity", "Initializer", "Ones", "Orthogonal", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "constant", "get", "glorot_normal",
    "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal", "lecun_uniform", "normal", "one",
    "ones", "orthogonal", "random_normal", "random_uniform", "truncated_normal", "uniform", "zero", "zeros",
]  # fmt: skip
