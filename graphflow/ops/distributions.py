"""Random numbers whose making takes a varying number of draws: gamma and Poisson distributions.

Every output has a stretch of samples of its own, from which it takes uniform and normal numbers (in double precision)
until one is accepted; so rejections in one do not move the others. The numbers are TensorFlow's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.random import SAMPLES_PER_OUTPUT, normal_pairs, philox_at, seeds_of, sizes_of, uniform_of
from graphflow.ops.rules import Array
from graphflow.shapes import TensorShape, broadcast_shapes

_SHAPED = "seed:int=0; seed2:int=0; S:type{int32|int64}"


class _Draws:
    """Uniform and normal numbers for many outputs at once, each from its own stretch.

    Both come in pairs, of which the second is taken first.
    """

    def __init__(self, key: tuple[int, int], counter: int, count: int) -> None:
        self.key, self.counter = key, counter
        self.next = np.arange(count, dtype=np.uint64) * np.uint64(SAMPLES_PER_OUTPUT)
        self.pairs = {kind: np.zeros((count, 2)) for kind in ("uniform", "normal")}
        self.left = {kind: np.zeros(count, np.int64) for kind in self.pairs}

    def _take(self, kind: str, which: Array) -> Array:
        pairs, left = self.pairs[kind], self.left[kind]
        dry = which[left[which] == 0]
        if dry.size:
            words = philox_at(self.key, self.next[dry], self.counter)
            pairs[dry] = uniform_of(words, np.float64) if kind == "uniform" else normal_pairs(words, True)
            self.next[dry] += np.uint64(1)
            left[dry] = 2
        left[which] -= 1
        return np.asarray(pairs[which, left[which]])

    def uniform(self, which: Array) -> Array:
        """One uniform number for each of some outputs."""
        return self._take("uniform", which)

    def normal(self, which: Array) -> Array:
        """One normal number for each of some outputs."""
        return self._take("normal", which)


def _per_parameter(
    shape: Array, parameter: Array, key: tuple[int, int], counter: int,
    make: Callable[[Array, _Draws], Array],
) -> Array:  # fmt: skip
    """Samples of `shape` for each parameter: all of the first one have the first stretches, and so on."""
    sizes = sizes_of(shape)
    count = math.prod(sizes)
    spread = np.repeat(parameter.astype(np.float64).ravel(), count)
    found = make(spread, _Draws(key, counter, len(spread)))
    return found.reshape(parameter.size, count).T.reshape(*sizes, *parameter.shape)


def _gamma(alpha: Array, draws: _Draws) -> Array:
    """Marsaglia and Tsang's method; exponential numbers where alpha is 1."""
    result = np.full(alpha.shape, np.nan)
    simple = np.flatnonzero(alpha == 1)
    result[simple] = -np.log1p(-draws.uniform(simple))
    pending = np.flatnonzero((alpha != 1) & (alpha > 0) & np.isfinite(alpha))
    d = alpha + np.where(alpha < 1, 2 / 3, -1 / 3)
    with np.errstate(all="ignore"):
        c = 1 / 3 / np.sqrt(d)
    while pending.size:
        x = draws.normal(pending)
        v = 1 + c[pending] * x
        held = v > 0
        at, x, v = pending[held], x[held], v[held] ** 3
        u = draws.uniform(at)
        with np.errstate(divide="ignore"):
            accepted = (u < 1 - 0.0331 * (x * x) * (x * x)) | (
                np.log(u) < 0.5 * x * x + d[at] * (1 - v + np.log(v))
            )
        done = at[accepted]
        values = d[done] * v[accepted]
        less = alpha[done] < 1
        if less.any():
            values[less] *= draws.uniform(done[less]) ** (1 / alpha[done[less]])
        result[done] = values
        pending = np.setdiff1d(pending, done, assume_unique=True)
    return result


def _poisson(rate: Array, draws: _Draws, highest: float) -> Array:
    """Knuth's products for small rates, Hörmann's transformed rejection for others."""
    result = np.full(rate.shape, np.nan)
    result[np.isposinf(rate)] = np.inf
    pending = np.flatnonzero((rate < 10) & (rate >= 0))
    product, number = np.ones(rate.shape), np.zeros(rate.shape)
    bound = np.exp(-np.where(rate < 10, rate, 0))
    while pending.size:
        product[pending] *= draws.uniform(pending)
        done = (product[pending] <= bound[pending]) & (number[pending] <= highest)
        result[pending[done]] = number[pending[done]]
        number[pending] += 1
        pending = pending[~done]
    pending = np.flatnonzero((rate >= 10) & np.isfinite(rate))
    while pending.size:
        mean = rate[pending]
        b = 0.931 + 2.53 * np.sqrt(mean)
        a = -0.059 + 0.02483 * b
        u = draws.uniform(pending) - 0.5
        v = draws.uniform(pending)
        shifted = 0.5 - np.abs(u)
        with np.errstate(all="ignore"):
            k = np.floor((2 * a / shifted + b) * u + mean + 0.43)
            quick = (shifted >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
            refused = (k < 0) | ((shifted < 0.013) & (v > shifted))
            log_factorial = np.array([math.lgamma(value + 1) if value >= 0 else 0.0 for value in k.tolist()])
            left = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (shifted * shifted) + b))
            fits = left <= -mean + k * np.log(mean) - log_factorial
        done = (k <= highest) & (quick | (~refused & fits))
        result[pending[done]] = k[done]
        pending = pending[~done]
    return result


def _sampled_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.constant_shape(0)
    return shape.concatenate(node.inputs[1].shape)


@op("RandomGamma", "shape:S; alpha:T", "output:T", f"{_SHAPED}; T:type{{float16|float32|float64}}",
    infer=_sampled_shape, effects="random")  # fmt: skip
def random_gamma_op(shape: Array, alpha: Array, *, key: tuple[int, int], counter: int) -> Array:
    """Samples of gamma distributions of rate 1, `shape` of them for each alpha."""
    return _per_parameter(shape, alpha, key, counter, _gamma).astype(alpha.dtype)


@random_gamma_op.gradient
def random_gamma_gradient(op: Any, dy: Tensor) -> list[Any]:
    """How each sample moves with its alpha, summed up over the samples."""
    shape, alpha = op.inputs
    (sample,) = op.outputs
    rank = emit.Size(shape)
    spread = emit.ConcatV2([emit.Fill(emit.Pack([rank]), 1), emit.Shape(alpha)], 0)
    moves = emit.RandomGammaGrad(emit.Reshape(alpha, spread), sample)
    return [None, emit.Sum(dy * moves, emit.Range(0, rank, 1))]


@op("RandomPoissonV2", "shape:S; rate:R", "output:dtype",
    f"{_SHAPED}; R:type{{float16|float32|float64|int32|int64}}=float64; "
    "dtype:type{float16|float32|float64|int32|int64}=int64",
    infer=_sampled_shape, effects="random", differentiable=False)  # fmt: skip
def random_poisson_v2_op(
    shape: Array, rate: Array, *, dtype: DType, key: tuple[int, int], counter: int
) -> Array:
    """Samples of Poisson distributions, `shape` of them for each rate."""
    kind = dtype.numpy
    highest = float(dtype.max)
    found = _per_parameter(shape, rate, key, counter, lambda rates, draws: _poisson(rates, draws, highest))
    if kind.kind == "i":
        found = np.where(np.isnan(found), 0, np.where(np.isinf(found), 0, found))
    return found.astype(kind)


@op("RandomPoisson", "shape:S; rate:dtype", "output:dtype", f"{_SHAPED}; dtype:type{{float16|float32|float64}}",
    infer=_sampled_shape, effects="random", differentiable=False)  # fmt: skip
def random_poisson_op(shape: Array, rate: Array, *, key: tuple[int, int], counter: int) -> Array:
    """Samples of Poisson distributions, `shape` of them for each rate."""
    highest = float(np.finfo(rate.dtype).max)
    found = _per_parameter(shape, rate, key, counter, lambda rates, draws: _poisson(rates, draws, highest))
    return found.astype(rate.dtype)


def random_gamma(
    shape: Any, alpha: Any, beta: Any = None, dtype: Any = dtypes.float32, seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Draws samples of gamma distributions; their gradient flows to `alpha` and `beta`.

    Args:
      shape: how many for each pair of parameters.
      alpha: the shape parameters.
      beta: the rates, broadcast against `alpha`; default 1.
      dtype: dtype of alpha and beta, if they are no tensors.
      seed: the op's seed.
      name: a name.

    Returns:
      Tensor of shape `shape` followed by that of alpha + beta.
    """
    with name_scope(name, "random_gamma", [shape, alpha, beta]):
        sizes = (
            convert_to_tensor(shape, dtypes.int32, name="shape")
            if _is_plain(shape)
            else convert_to_tensor(shape)
        )
        kind = as_dtype(dtype)
        alpha = convert_to_tensor(alpha, kind, name="alpha")
        beta = convert_to_tensor(1 if beta is None else beta, kind, name="beta")
        spread = emit.BroadcastTo(alpha, emit.BroadcastArgs(emit.Shape(alpha), emit.Shape(beta)))
        spread.set_shape(broadcast_shapes(alpha.shape, beta.shape))
        drawn = emit.RandomGamma(sizes, spread, **seeds_of(seed, "RandomGamma"))
        tiny = np.finfo(kind.as_numpy_dtype).tiny
        result: Tensor = emit.Maximum(np.asarray(tiny, kind.as_numpy_dtype), drawn / beta)
        return result


def _is_plain(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and not any(isinstance(size, Tensor) for size in shape)


def random_poisson(
    lam: Any, shape: Any, dtype: Any = dtypes.float32, seed: int | None = None, name: str | None = None
) -> Tensor:
    """Draws samples of Poisson distributions.

    Args:
      lam: the rates.
      shape: how many for each rate.
      dtype: float16, float32, float64, int32 or int64.
      seed: the op's seed.
      name: a name.

    Returns:
      Tensor of shape `shape` followed by that of `lam`.
    """
    with name_scope(name, "random_poisson", [lam, shape]):
        sizes = (
            convert_to_tensor(shape, dtypes.int32, name="shape")
            if _is_plain(shape)
            else convert_to_tensor(shape)
        )
        result: Tensor = emit.RandomPoissonV2(
            sizes, lam, dtype=as_dtype(dtype), **seeds_of(seed, "RandomPoissonV2")
        )
        return result


__all__ = [
    "random_gamma", "random_poisson",
]  # fmt: skip
