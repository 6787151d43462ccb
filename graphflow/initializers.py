"""Initializers: callables that make a variable's initial value from its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import opdef
from graphflow.dtypes import DType, as_dtype, float32
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import random as numbers
from graphflow.shapes import TensorShape


class Initializer:
    """What makes initial values: `initializer(shape, dtype=None, partition_info=None)` returns a tensor."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns a tensor of the given shape."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Makes an initializer from what `get_config` returned."""
        return cls(**config)


def _sizes(shape: Any) -> list[int]:
    sizes = TensorShape(shape).as_tuple()
    if sizes is None or None in sizes:
        raise ValueError(f"an initializer needs a fully defined shape, got {TensorShape(shape)}")
    return [int(size) for size in sizes if size is not None]


def _floating(dtype: Any, what: str) -> DType:
    result = as_dtype(dtype)
    if not result.is_floating:
        raise ValueError(f"{what}: expected floating point type, got {result}.")
    return result


def _full(sizes: list[int], value: Any, name: str) -> Tensor:
    if math.prod(sizes) < 1000:
        return opdef.constant(value, shape=sizes, name=name)
    # One element and a shape, so that a large variable costs the graph nothing.
    with name_scope(name):
        filled: Tensor = emit.Fill(np.array(sizes, dtype=np.int32), opdef.constant(value))
    return filled


def _zero_or_one(dtype: DType, one: bool) -> Any:
    if dtype.name == "string":
        return b"1" if one else b""
    return np.asarray(one, dtype=dtype.as_numpy_dtype)


class Zeros(Initializer):
    """Zeros (False, or empty strings)."""

    def __init__(self, dtype: Any = float32) -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns zeros of the given shape."""
        return _full(_sizes(shape), _zero_or_one(as_dtype(dtype or self.dtype), False), "zeros")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"dtype": self.dtype.name}


class Ones(Initializer):
    """Ones (or True)."""

    def __init__(self, dtype: Any = float32) -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns ones of the given shape."""
        return _full(_sizes(shape), _zero_or_one(as_dtype(dtype or self.dtype), True), "ones")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"dtype": self.dtype.name}


class Constant(Initializer):
    """A given value: a scalar for all elements, or as many elements as the shape has.

    Args:
      value: a number, bool, string, list or array; a shorter list is filled up with its last element.
      dtype: the dtype where the call names none.
      verify_shape: whether the value must have the very shape that is asked for.
    """

    def __init__(self, value: Any = 0, dtype: Any = float32, verify_shape: bool = False) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(
                f"Invalid type for initial value: {type(value).__name__}. Expected a scalar, list or array."
            )
        self.value = value
        self.dtype = as_dtype(dtype)
        self._verify_shape = verify_shape

    def __call__(
        self, shape: Any, dtype: Any = None, partition_info: Any = None, verify_shape: bool | None = None
    ) -> Tensor:
        """Returns the value as a tensor of the given shape."""
        verify = self._verify_shape if verify_shape is None else verify_shape
        chosen = as_dtype(dtype or self.dtype)
        sizes = _sizes(shape)
        if np.ndim(self.value) == 0 and not verify:
            value = (
                self.value if chosen.name == "string" else np.asarray(self.value, dtype=chosen.as_numpy_dtype)
            )
            return _full(sizes, value, "Const")
        return opdef.constant(self.value, dtype=chosen, shape=sizes, verify_shape=verify)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"value": self.value, "dtype": self.dtype.name}


class RandomUniform(Initializer):
    """Uniform numbers in [minval, maxval)."""

    def __init__(
        self, minval: Any = 0.0, maxval: Any = None, seed: int | None = None, dtype: Any = float32
    ) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns random numbers of the given shape."""
        chosen = as_dtype(dtype or self.dtype)
        maxval = 1.0 if self.maxval is None and chosen.is_floating else self.maxval
        return numbers.random_uniform(shape, self.minval, maxval, chosen, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed, "dtype": self.dtype.name}


class RandomNormal(Initializer):
    """Normally distributed numbers."""

    def __init__(
        self, mean: Any = 0.0, stddev: Any = 1.0, seed: int | None = None, dtype: Any = float32
    ) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed
        self.dtype = _floating(dtype, type(self).__name__)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns random numbers of the given shape."""
        return numbers.random_normal(
            shape, self.mean, self.stddev, as_dtype(dtype or self.dtype), seed=self.seed
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed, "dtype": self.dtype.name}


class TruncatedNormal(RandomNormal):
    """Normally distributed numbers, those beyond two standard deviations drawn again."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns random numbers of the given shape."""
        return numbers.truncated_normal(
            shape, self.mean, self.stddev, as_dtype(dtype or self.dtype), seed=self.seed
        )


class UniformUnitScaling(Initializer):
    """Uniform numbers that keep the scale of the input: +-sqrt(3 / fan_in) * factor."""

    def __init__(self, factor: float = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.factor = factor
        self.seed = seed
        self.dtype = _floating(dtype, "UniformUnitScaling")

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns random numbers of the given shape."""
        sizes = _sizes(shape if partition_info is None else partition_info.full_shape)
        fan_in = max(float(math.prod(sizes[:-1])), 1.0)
        bound = math.sqrt(3 / fan_in) * self.factor
        return numbers.random_uniform(shape, -bound, bound, as_dtype(dtype or self.dtype), seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"factor": self.factor, "seed": self.seed, "dtype": self.dtype.name}


def compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """Returns the number of inputs and of outputs of a unit whose weights have this shape.

    Args:
      shape: [...receptive field, in, out].
    """
    if len(shape) < 1:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


class VarianceScaling(Initializer):
    """Random numbers of variance `scale / n`, n being the fan-in, the fan-out or their mean.

    Args:
      scale: a positive number.
      mode: "fan_in", "fan_out" or "fan_avg".
      distribution: "truncated_normal" ("normal"), "untruncated_normal" or "uniform".
      seed: the op seed.
      dtype: the dtype where the call names none.

    Raises:
      ValueError: for arguments outside these.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        dtype: Any = float32,
    ) -> None:
        if scale <= 0.0:
            raise ValueError("Argument `scale` must be a positive float.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"Argument `mode` should be one of fan_in, fan_out, fan_avg; got {mode!r}")
        distribution = distribution.lower()
        if distribution not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                "Argument `distribution` should be one of normal, uniform, truncated_normal, untruncated_normal;"
                f" got {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self.dtype = _floating(dtype, type(self).__name__)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns random numbers of the given shape."""
        chosen = as_dtype(dtype or self.dtype)
        fan_in, fan_out = compute_fans(_sizes(shape if partition_info is None else partition_info.full_shape))
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        scale = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * scale)
            return numbers.random_uniform(shape, -limit, limit, chosen, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return numbers.random_normal(shape, 0.0, math.sqrt(scale), chosen, seed=self.seed)
        # The standard deviation of a normal distribution that is cut off at two of its own.
        return numbers.truncated_normal(
            shape, 0.0, math.sqrt(scale) / 0.87962566103423978, chosen, seed=self.seed
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed,
            "dtype": self.dtype.name,
        }  # fmt: skip


class GlorotUniform(VarianceScaling):
    """Uniform numbers in +-sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010, "Xavier"."""

    def __init__(self, seed: int | None = None, dtype: Any = float32) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"seed": self.seed, "dtype": self.dtype.name}


class GlorotNormal(VarianceScaling):
    """Truncated normal numbers of variance 2 / (fan_in + fan_out)."""

    def __init__(self, seed: int | None = None, dtype: Any = float32) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"seed": self.seed, "dtype": self.dtype.name}


def lecun_normal(seed: int | None = None) -> VarianceScaling:
    """Returns an initializer of truncated normal numbers of variance 1 / fan_in."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed)


def lecun_uniform(seed: int | None = None) -> VarianceScaling:
    """Returns an initializer of uniform numbers in +-sqrt(3 / fan_in)."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed)


def he_normal(seed: int | None = None) -> VarianceScaling:
    """Returns an initializer of truncated normal numbers of variance 2 / fan_in."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed)


def he_uniform(seed: int | None = None) -> VarianceScaling:
    """Returns an initializer of uniform numbers in +-sqrt(6 / fan_in)."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed)


class Orthogonal(Initializer):
    """A matrix with orthonormal rows or columns, from the QR factors of a random normal matrix.

    Args:
      gain: a factor on the result.
      seed: the op seed.
      dtype: the dtype where the call names none.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.gain = gain
        self.seed = seed
        self.dtype = _floating(dtype, "Orthogonal")

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns a tensor of the given shape, orthogonal as a matrix of its last dimension."""
        chosen = as_dtype(dtype or self.dtype)
        sizes = _sizes(shape)
        if len(sizes) < 2:
            raise ValueError("The tensor to initialize must be at least two-dimensional")
        rows, columns = math.prod(sizes[:-1]), sizes[-1]
        tall = [max(rows, columns), min(rows, columns)]
        random = numbers.random_normal(tall, dtype=chosen, seed=self.seed)
        q, r = emit.Qr(random, full_matrices=False)
        # Signs are fixed by the diagonal of r, so that the result is uniform over orthogonal matrices.
        signs = emit.Sign(emit.MatrixDiagPart(r))
        q = emit.Mul(q, signs)
        if rows < columns:
            q = emit.Transpose(q, np.array([1, 0], dtype=np.int32))
        scaled: Tensor = emit.Mul(
            opdef.constant(np.asarray(self.gain, dtype=chosen.as_numpy_dtype)),
            emit.Reshape(q, np.array(sizes, dtype=np.int32)),
        )
        return scaled

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"gain": self.gain, "seed": self.seed, "dtype": self.dtype.name}


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0, dtype: Any = float32) -> None:
        self.gain = gain
        self.dtype = _floating(dtype, "Identity")

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """Returns a matrix of the given shape."""
        chosen = as_dtype(dtype or self.dtype)
        sizes = _sizes(shape if partition_info is None else partition_info.full_shape)
        if len(sizes) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        return convert_to_tensor((self.gain * np.eye(sizes[0], sizes[1])).astype(chosen.as_numpy_dtype))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"gain": self.gain, "dtype": self.dtype.name}


# TF1's spellings, as `gf.initializers.*` …
zeros = Zeros
ones = Ones
constant = Constant
random_uniform = RandomUniform
random_normal = RandomNormal
truncated_normal = TruncatedNormal
uniform_unit_scaling = UniformUnitScaling
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
orthogonal = Orthogonal
identity = Identity

# … and as `gf.*_initializer`.
zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
uniform_unit_scaling_initializer = UniformUnitScaling
variance_scaling_initializer = VarianceScaling
glorot_uniform_initializer = GlorotUniform
glorot_normal_initializer = GlorotNormal
orthogonal_initializer = Orthogonal
identity_initializer = Identity

__all__ = [
    "Initializer", "constant", "constant_initializer", "glorot_normal", "glorot_normal_initializer",
    "glorot_uniform", "glorot_uniform_initializer", "he_normal", "he_uniform", "identity", "identity_initializer",
    "lecun_normal", "lecun_uniform", "ones", "ones_initializer", "orthogonal", "orthogonal_initializer",
    "random_normal", "random_normal_initializer", "random_uniform", "random_uniform_initializer",
    "truncated_normal", "truncated_normal_initializer", "uniform_unit_scaling", "uniform_unit_scaling_initializer",
    "variance_scaling", "variance_scaling_initializer", "zeros", "zeros_initializer",
]  # fmt: skip
