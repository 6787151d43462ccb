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

RESNET_IMAGE = 224
RESNET_CLASSES = 1000
# Channels and the stride of the first block of each stage.
RESNET_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
RESNET_BLOCKS = (2, 2, 2, 2)  # of each stage
RESNET_WIDER = 1  # 4 for ResNet-50 and deeper nets, whose blocks squeeze the channels between two 1x1 filters
RESNET_BATCH = 16
RESNET_TRAINING_BATCH = 8
BATCH_NORM_EPSILON = 1e-5
# How much of a moving average survives a step.
BATCH_NORM_DECAY = 0.9
LEARNING_RATE_MOMENTUM = 0.01
MOMENTUM = 0.9

LSTM_VOCABULARY = 2000
LSTM_HIDDEN = 200
LSTM_STEPS = 20
LSTM_BATCH = 20
FORGET_BIAS = 1.0

LOOP_TURNS = 10_000
LOOP_WIDTH = 10

TRANSFORMER_VOCABULARY = 4000
TRANSFORMER_LAYERS = 4
TRANSFORMER_WIDTH = 256
TRANSFORMER_HEADS = 4
TRANSFORMER_HIDDEN = 1024
TRANSFORMER_LENGTH = 128
TRANSFORMER_CLASSES = 10
TRANSFORMER_BATCH = 8
TRANSFORMER_TRAINING_BATCH = 8

EMBEDDING_ROWS = 20_000
EMBEDDING_WIDTH = 128
EMBEDDING_IDS = 8192
EMBEDDING_SEGMENTS = 256
LEARNING_RATE_EMBEDDING = 0.005


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
    Workload("resnet18_b16", "ResNet-18 inference, 16 images of 224x224", 1e-4),
    Workload("resnet18_b1", "ResNet-18 inference, one image of 224x224", 1e-4),
    Workload("resnet18_train", "ResNet-18, momentum, 8 images of 224x224, one step", 1e-3, 3),
    Workload("lstm", "LSTM language model, vocabulary 2000, hidden 200, 20 steps, batch 20, SGD", 1e-4, 5),
    Workload("lstm_while", "the same as a loop over words of any number of steps", 1e-4, 5),
    Workload("small_loop", "10,000 turns of a loop of eleven operations on 10 numbers", 1e-4),
    Workload("transformer_b1", "Transformer encoder 4x256, 4 heads, 128 tokens, one text", 1e-4),
    Workload("transformer_b8", "Transformer encoder 4x256, 4 heads, 128 tokens, 8 texts", 1e-4),
    Workload(
        "transformer_train", "Transformer encoder 4x256, Adam, 8 texts of 128 tokens, one step", 1e-3, 5
    ),
    # Eight bits of mantissa: the results are compared with the other peers' bfloat16 results.
    Workload("resnet18_b16_bf16", "ResNet-18 inference in bfloat16, 16 images", 3e-2),
    Workload("resnet18_b1_bf16", "ResNet-18 inference in bfloat16, one image", 3e-2),
    Workload("transformer_b8_bf16", "Transformer encoder in bfloat16, 8 texts", 3e-2),
    Workload("transformer_b1_bf16", "Transformer encoder in bfloat16, one text", 3e-2),
    Workload("embedding", "embedding of 8192 ids, segment sum, sparse SGD, one step", 1e-4, 5),
)
# Not raced, but timed at many sizes: `benchmarks.sizes`.
SIZED = (
    Workload("mlp_of_batch", "MLP 784-512-256-10, inference, by batch", 1e-4),
    Workload("elements", "tanh(x) / 2 + x, by number of elements", 1e-5),
)
BY_NAME = {workload.name: workload for workload in (*WORKLOADS, *SIZED)}


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


def images(batch: int) -> Array:
    """Returns [batch, 784] float32."""
    return _random(18).rand(batch, MLP_SIZES[0]).astype(np.float32)


def elements(size: int) -> Array:
    """Returns [size] float32."""
    return _random(19).randn(size).astype(np.float32)


def pictures(batch: int) -> tuple[Array, Array]:
    """Returns images [2, batch, 224, 224, 3] float32 and labels [2, batch] int32."""
    random = _random(10)
    images = random.rand(2, batch, RESNET_IMAGE, RESNET_IMAGE, 3).astype(np.float32)
    return images, random.randint(0, RESNET_CLASSES, (2, batch)).astype(np.int32)


@dataclass(frozen=True)
class Convolution:
    """A convolution of ResNet-18 and the batch norm behind it, with starting values."""

    stride: int
    # Rows and columns of zeros on every side.
    padding: int
    # HWIO.
    filter: Array
    scale: Array
    offset: Array
    mean: Array
    variance: Array


@dataclass(frozen=True)
class Block:
    """A residual block; `shortcut` is None where the input is added as it is, `third` in the short blocks."""

    first: Convolution
    second: Convolution
    third: Convolution | None
    shortcut: Convolution | None

    @property
    def path(self) -> tuple[Convolution, ...]:
        """The convolutions behind each other."""
        return (self.first, self.second) if self.third is None else (self.first, self.second, self.third)


@dataclass(frozen=True)
class ResNet:
    """ResNet-18 for ImageNet (He et al. 2015, table 1), or a deeper one."""

    stem: Convolution
    blocks: tuple[Block, ...]
    weights: Array
    bias: Array


def resnet18() -> ResNet:
    """Returns the layers of ResNet-18, or of the net that the constants make of it."""
    random = _random(11)

    def convolution(size: int, channels_in: int, channels: int, stride: int) -> Convolution:
        filters = _weights(random, size, size, channels_in, channels)
        scale, variance = ((0.5 + random.rand(channels)).astype(np.float32) for _ in range(2))
        offset, mean = ((0.1 * random.randn(channels)).astype(np.float32) for _ in range(2))
        return Convolution(stride, size // 2, filters, scale, offset, mean, variance)

    stem = convolution(7, 3, 64, 2)
    blocks = []
    before = 64
    for (channels, first_stride), count in zip(RESNET_STAGES, RESNET_BLOCKS, strict=True):
        for stride in (first_stride, *[1] * (count - 1)):
            made = channels * RESNET_WIDER
            third = None
            if RESNET_WIDER == 1:
                first = convolution(3, before, channels, stride)
                second = convolution(3, channels, channels, 1)
            else:
                first = convolution(1, before, channels, 1)
                second = convolution(3, channels, channels, stride)
                third = convolution(1, channels, made, 1)
            changes = stride != 1 or before != made
            shortcut = convolution(1, before, made, stride) if changes else None
            blocks.append(Block(first, second, third, shortcut))
            before = made
    return ResNet(
        stem, tuple(blocks), _weights(random, before, RESNET_CLASSES), np.zeros(RESNET_CLASSES, np.float32)
    )


def sentences() -> tuple[Array, Array]:
    """Returns words and the words that follow them, [BATCHES, LSTM_STEPS, LSTM_BATCH] int32, time first."""
    words = _random(12).randint(0, LSTM_VOCABULARY, (BATCHES, LSTM_STEPS + 1, LSTM_BATCH)).astype(np.int32)
    return words[:, :-1].copy(), words[:, 1:].copy()


def lstm_weights() -> list[Array]:
    """Returns embedding, the gates' weights of the input, of the state, and their bias (input, forget, output
    gate, candidate), then the weights and the bias of the output."""
    random = _random(13)
    hidden = LSTM_HIDDEN
    return [
        _weights(random, LSTM_VOCABULARY, hidden) * np.float32(10),
        _weights(random, hidden, 4 * hidden) * np.float32(0.5),
        _weights(random, hidden, 4 * hidden) * np.float32(0.5),
        np.zeros(4 * hidden, np.float32),
        _weights(random, hidden, LSTM_VOCABULARY),
        np.zeros(LSTM_VOCABULARY, np.float32),
    ]


def loop_start() -> tuple[Array, Array]:
    """Returns what `small_loop` starts with, and what it adds in every turn, float32 of shape [LOOP_WIDTH]."""
    random = _random(20)
    return random.randn(LOOP_WIDTH).astype(np.float32), random.rand(LOOP_WIDTH).astype(np.float32)


def texts(batch: int) -> tuple[Array, Array]:
    """Returns tokens [4, batch, TRANSFORMER_LENGTH] and classes [4, batch], int32."""
    random = _random(14)
    tokens = random.randint(0, TRANSFORMER_VOCABULARY, (4, batch, TRANSFORMER_LENGTH)).astype(np.int32)
    return tokens, random.randint(0, TRANSFORMER_CLASSES, (4, batch)).astype(np.int32)


@dataclass(frozen=True)
class EncoderLayer:
    """One layer of the encoder: the projections' weights [in, out] and biases, the gains and shifts of both norms."""

    # Queries, keys and values side by side.
    qkv: Array
    qkv_bias: Array
    output: Array
    output_bias: Array
    gamma1: Array
    beta1: Array
    widen: Array
    widen_bias: Array
    narrow: Array
    narrow_bias: Array
    gamma2: Array
    beta2: Array


@dataclass(frozen=True)
class Transformer:
    """A text classifier: embeddings, norm, encoder layers that normalize behind each sum, mean, dense layer."""

    tokens: Array
    positions: Array
    gamma: Array
    beta: Array
    layers: tuple[EncoderLayer, ...]
    weights: Array
    bias: Array


def transformer() -> Transformer:
    """Returns the starting weights of the transformer."""
    random = _random(15)
    width, hidden = TRANSFORMER_WIDTH, TRANSFORMER_HIDDEN

    def matrix(rows: int, columns: int) -> Array:
        return _weights(random, rows, columns) * np.float32(0.7)

    def bias(size: int) -> Array:
        return (0.1 * random.randn(size)).astype(np.float32)

    def gain() -> Array:
        return (1 + 0.1 * random.randn(width)).astype(np.float32)

    layers = tuple(
        EncoderLayer(
            qkv=matrix(width, 3 * width),
            qkv_bias=bias(3 * width),
            output=matrix(width, width),
            output_bias=bias(width),
            gamma1=gain(),
            beta1=bias(width),
            widen=matrix(width, hidden),
            widen_bias=bias(hidden),
            narrow=matrix(hidden, width),
            narrow_bias=bias(width),
            gamma2=gain(),
            beta2=bias(width),
        )
        for _ in range(TRANSFORMER_LAYERS)
    )
    return Transformer(
        tokens=random.randn(TRANSFORMER_VOCABULARY, width).astype(np.float32),
        positions=random.randn(TRANSFORMER_LENGTH, width).astype(np.float32),
        gamma=gain(),
        beta=bias(width),
        layers=layers,
        weights=matrix(width, TRANSFORMER_CLASSES),
        bias=bias(TRANSFORMER_CLASSES),
    )


def bags() -> tuple[Array, Array, Array]:
    """Returns ids and their segments, ascending, [4, EMBEDDING_IDS] int32, and targets [4, segments, width]."""
    random = _random(16)
    ids = random.randint(0, EMBEDDING_ROWS, (4, EMBEDDING_IDS)).astype(np.int32)
    segments = np.sort(random.randint(0, EMBEDDING_SEGMENTS, (4, EMBEDDING_IDS)), axis=1).astype(np.int32)
    # The last segment has an id, so that every batch has the same number of sums.
    segments[:, -1] = EMBEDDING_SEGMENTS - 1
    return ids, segments, random.randn(4, EMBEDDING_SEGMENTS, EMBEDDING_WIDTH).astype(np.float32)


def embedding_table() -> Array:
    """Returns [EMBEDDING_ROWS, EMBEDDING_WIDTH] float32."""
    return _random(17).randn(EMBEDDING_ROWS, EMBEDDING_WIDTH).astype(np.float32)


class Cycle:
    """Hands out the rows of arrays, or the items of lists, round and round."""

    def __init__(self, *sources: Any) -> None:
        self._sources = sources
        self._index = -1

    def __call__(self) -> tuple[Any, ...]:
        """Returns the next row of each source."""
        self._index = (self._index + 1) % len(self._sources[0])
        return tuple(source[self._index] for source in self._sources)
