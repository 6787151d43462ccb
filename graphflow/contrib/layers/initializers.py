"""Initial values of weights, under the names of `contrib`."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow.initializers import VarianceScaling


def variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, seed: int | None = None,
    dtype: Any = dtypes.float32,
) -> VarianceScaling:  # fmt: skip
    """Returns an initializer whose variance is `factor` over the number of inputs, outputs or their mean.

    Args:
      factor: a factor.
      mode: "FAN_IN", "FAN_OUT" or "FAN_AVG".
      uniform: whether numbers are uniform, or those of a truncated normal distribution.
      seed: the op's seed.
      dtype: a floating dtype.

    Raises:
      TypeError: for another dtype or mode.
    """
    if not dtypes.as_dtype(dtype).is_floating:
        raise TypeError("Cannot create initializer for non-floating point type.")
    if mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
        raise TypeError(f"Unknown mode {mode} [FAN_IN, FAN_OUT, FAN_AVG]")
    distribution = "uniform" if uniform else "truncated_normal"
    return VarianceScaling(float(factor), mode.lower(), distribution, seed, dtype)


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = dtypes.float32
) -> VarianceScaling:
    """Returns an initializer that keeps the scale of gradients the same in all layers (Glorot and Bengio)."""
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer

__all__ = ["variance_scaling_initializer", "xavier_initializer", "xavier_initializer_conv2d"]
