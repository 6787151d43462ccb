"""What is raced: the sizes, the data and the starting weights of every workload, the same for each peer.

A peer's module has one function per workload, named after it. The function builds the workload and returns a
step: a callable without arguments that runs it once and returns the results on the host, as NumPy arrays. A
training step takes the next batch and returns the loss before the update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Step = Callable[[], Any]

BATCH = 128
BATCHES = 8
MLP_SIZES = (784, 512, 256, 10)
OPTIONS = 4_000_000
ROWS = (4096, 1024)
RISK_FREE_RATE = 0.02
VOLATILITY = 0.3
LEARNING_RATE_SGD = 0.5
LEARNING_RATE_ADAM = 1e-3
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Workload:
    """One workload: its name, what it is, how far apart the peers' results may lie (of the largest value)."""

    name: str
    title: str
    tolerance: float
    steps_compared: int = 1


WORKLOADS = (
    Workload("dispatch_scalar", "one multiply-add on a scalar, in and out", 1e-6),
    Workload("dispatch_vector", "one multiply-add and relu on 10 numbers", 1e-6),
    Workload("softmax_regression", "softmax regression 784-10, SGD, batch 128, one step", 1e-4, 5),
    Workload("mlp", "MLP 784-512-256-10, Adam, batch 128, one step", 1e-3, 5),
    Workload("lenet", "LeNet 5x5x32, 5x5x64, fc 1024, Adam, batch 128, one step", 1e-3, 5),
    Workload("black_scholes", "Black-Scholes calls and puts, 4 million options", 1e-5),
    Workload("softmax", "softmax of [4096, 1024]", 1e-5),
    Workload("layer_norm", "layer norm of [4096, 1024]", 1e-5),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}


def _random(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def _weights(random: np.random.RandomState, *shape: int) -> Array:
    fan_in = int(np.prod(shape[:-1]))
    return np.asarray(random.randn(*shape) * np.sqrt(2.0 / fan_in), dtype=np.float32)


def image_batches() -> tuple[Array, Array]:
    """Returns images [BATCHES, BATCH, 784] float32 and labels [BATCHES, BATCH] int32."""
    random = _random(1)
    images = random.rand(BATCHES, BATCH, 784).astype(np.float32)
    labels = random.randint(0, 10, (BATCHES, BATCH)).astype(np.int32)
    return images, labels


def softmax_regression_weights() -> list[Array]:
    """Returns [weights, bias]."""
    return [_weights(_random(2), 784, 10), np.zeros(10, np.float32)]


def mlp_weights() -> list[Array]:
    """Returns [weights, bias] of each layer, one after the other."""
    random = _random(3)
    made: list[Array] = []
    for rows, columns in zip(MLP_SIZES[:-1], MLP_SIZES[1:], strict=True):
        made += [_weights(random, rows, columns), np.zeros(columns, np.float32)]
    return made


def lenet_weights() -> list[Array]:
    """Returns [filter HWIO, bias] of the convolutions, then [weights, bias] of the dense layers."""
    random = _random(4)
    shapes = [(5, 5, 1, 32), (5, 5, 32, 64), (7 * 7 * 64, 1024), (1024, 10)]
    made: list[Array] = []
    for shape in shapes:
        made += [_weights(random, *shape), np.zeros(shape[-1], np.float32)]
    return made


def options() -> tuple[Array, Array, Array]:
    """Returns spot, strike and time to expiry of OPTIONS options, float32."""
    random = _random(5)

    def between(low: float, high: float) -> Array:
        return np.asarray(low + (high - low) * random.rand(OPTIONS), dtype=np.float32)

    return between(10, 100), between(10, 100), between(0.1, 2.0)


def rows() -> Array:
    """Returns [4096, 1024] float32."""
    return _random(6).randn(*ROWS).astype(np.float32)


def layer_norm_parameters() -> tuple[Array, Array]:
    """Returns gamma and beta, [1024] float32."""
    random = _random(7)
    return random.rand(ROWS[1]).astype(np.float32), random.randn(ROWS[1]).astype(np.float32)


def scalar() -> Array:
    """Returns the input of `dispatch_scalar`, float32 of shape []: always the same, so that only the call counts."""
    return np.asarray(0.75, np.float32)


def vectors() -> tuple[Array, Array, Array]:
    """Returns input, factor and offset of `dispatch_vector`, float32 of shape [10]."""
    random = _random(9)
    return (
        random.randn(10).astype(np.float32),
        random.randn(10).astype(np.float32),
        random.randn(10).astype(np.float32),
    )


class Cycle:
    """Hands out the rows of arrays, or the items of lists, round and round."""

    def __init__(self, *sources: Any) -> None:
        self._sources = sources
        self._index = -1

    def __call__(self) -> tuple[Any, ...]:
        """Returns the next row of each source."""
        self._index = (self._index + 1) % len(self._sources[0])
        return tuple(source[self._index] for source in self._sources)
