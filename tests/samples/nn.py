"""Samples of biases, softmax, losses, normalisation, ranking."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import HALVES, Sample, integers, samples, special, strided, uniform


@samples("BiasAdd")
def bias_add_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), uniform(4, seed=8)])
    yield Sample([uniform(2, 3, 2, 4), uniform(4, seed=8)])
    yield Sample([uniform(2, 4, 3, 2), uniform(4, seed=8)], {"data_format": "NCHW"})
    yield Sample([uniform(3, 4), uniform(4, seed=8)], {"data_format": "NCHW"}, name="matrix")
    yield Sample([uniform(2, 3, 4), uniform(4, seed=8)], shapes={0: (None, 3, 4)})
    yield Sample([uniform(0, 4), uniform(4, seed=8)], name="empty")
    yield Sample([strided(uniform(3, 4)), strided(uniform(4, seed=8))], name="strided")
    for dtype in (np.float64, np.int32, *HALVES):
        yield Sample([uniform(3, 4, dtype=dtype), uniform(4, dtype=dtype, seed=8)], differentiable=False)


@samples("BiasAddV1")
def bias_add_v1_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), uniform(4, seed=8)])
    yield Sample([uniform(2, 3, 2, 4), uniform(4, seed=8)])


@samples("BiasAddGrad")
def bias_add_grad_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4)], rtol=1e-5, atol=1e-6)
    yield Sample([uniform(2, 3, 2, 4)], rtol=1e-5, atol=1e-6)
    yield Sample([uniform(2, 4, 3, 2)], {"data_format": "NCHW"}, rtol=1e-5, atol=1e-6)
    yield Sample([uniform(0, 4)], name="empty")
    yield Sample([uniform(300, 7)], rtol=1e-5, atol=1e-4, shapes={0: (None, 7)}, name="many rows")
    for dtype in (np.float64, np.int32, *HALVES):
        yield Sample([uniform(3, 4, dtype=dtype)], differentiable=False)


@samples("Softmax", "LogSoftmax")
def softmax_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 5)], rtol=1e-5)
    yield Sample([uniform(7)], rtol=1e-5, name="vector")
    yield Sample([uniform(2, 3, 33)], rtol=1e-5, atol=1e-6)
    yield Sample([uniform(4, 1)], name="one class")
    yield Sample([uniform(0, 5)], name="no rows")
    yield Sample([uniform(3, 0)], name="no classes")
    yield Sample([strided(uniform(3, 8))], rtol=1e-5, name="strided")
    yield Sample([uniform(3, 5) * 100], rtol=1e-5, atol=1e-5, differentiable=False, name="large")
    yield Sample([special().reshape(4, 4)], rtol=1e-5, differentiable=False, name="special")
    yield Sample([uniform(3, 5)], shapes={0: (None, 5)}, rtol=1e-5, name="batch open")
    for dtype in (np.float64, *HALVES):
        yield Sample([uniform(3, 5, dtype=dtype)], differentiable=False)


@samples("SoftmaxCrossEntropyWithLogits")
def cross_entropy_samples() -> Iterator[Sample]:
    labels = np.abs(uniform(4, 5, seed=8))
    labels /= labels.sum(axis=1, keepdims=True)
    yield Sample([uniform(4, 5), labels], rtol=1e-5, atol=1e-6)
    yield Sample([uniform(4, 5), labels[:1]], rtol=1e-5, atol=1e-6, name="broadcast")
    yield Sample([uniform(0, 5), labels[:0]], name="empty")
    yield Sample([uniform(4, 5) * 50, labels], rtol=1e-5, atol=1e-4, differentiable=False, name="large")
    yield Sample([uniform(4, 5), labels], shapes={0: (None, 5), 1: (None, 5)}, rtol=1e-5, atol=1e-6)
    for dtype in (np.float64, *HALVES):
        yield Sample([uniform(4, 5).astype(dtype), labels.astype(dtype)], differentiable=False)


@samples("SparseSoftmaxCrossEntropyWithLogits")
def sparse_cross_entropy_samples() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64):
        yield Sample([uniform(4, 5), integers(4, low=0, high=5, dtype=dtype)], rtol=1e-5, atol=1e-6)
    yield Sample([uniform(0, 5), integers(0)], name="empty")
    yield Sample([uniform(3, 1), np.zeros(3, np.int64)], atol=1e-6, name="one class")
    yield Sample([uniform(70, 40) * 5, integers(70, low=0, high=40)], rtol=1e-5, atol=1e-5, name="larger")
    for wide in (np.float64, *HALVES):
        yield Sample([uniform(4, 5).astype(wide), integers(4, low=0, high=5)], differentiable=False)


@samples("L2Loss")
def l2_loss_samples() -> Iterator[Sample]:
    yield Sample([uniform(3, 4)], rtol=1e-5)
    yield Sample([uniform()], name="scalar")
    yield Sample([uniform(0, 3)], name="empty")
    yield Sample([uniform(500, 7)], rtol=1e-5, name="larger")
    for dtype in (np.float64, *HALVES):
        yield Sample([uniform(3, 4, dtype=dtype)], differentiable=False)


@samples("FusedBatchNorm")
def batch_norm_samples() -> Iterator[Sample]:
    none = np.zeros(0, np.float32)
    scale, offset = uniform(4, low=0.5), uniform(4, seed=8)
    mean, variance = uniform(4, seed=9), uniform(4, low=0.5, seed=10)
    yield Sample(
        [uniform(2, 3, 3, 4), scale, offset, none, none], {"epsilon": 0.001}, (0, 1, 2), rtol=1e-4, atol=1e-5
    )
    yield Sample([uniform(2, 4, 3, 3), scale, offset, none, none], {"epsilon": 0.001, "data_format": "NCHW"},
                 (0, 1, 2), rtol=1e-4, atol=1e-5)  # fmt: skip
    yield Sample([uniform(2, 3, 3, 4), scale, offset, mean, variance], {"exponential_avg_factor": 0.25},
                 (0, 1, 2, 3, 4), rtol=1e-4, atol=1e-5, name="running")  # fmt: skip
    # TensorFlow stops the gradient at the population's moments.
    yield Sample([uniform(2, 3, 3, 4), scale, offset, mean, variance], {"is_training": False},
                 False, rtol=1e-4, atol=1e-5, name="inference")  # fmt: skip
    yield Sample([uniform(2, 3, 3, 4), scale, offset, none, none], {"epsilon": 0.001}, False,
                 shapes={0: (None, 3, 3, 4)}, rtol=1e-4, atol=1e-5, name="batch open")  # fmt: skip


@samples("FusedBatchNormV2", "FusedBatchNormV3")
def batch_norm_v3_samples() -> Iterator[Sample]:
    none = np.zeros(0, np.float32)
    scale, offset = uniform(4, low=0.5), uniform(4, seed=8)
    mean, variance = uniform(4, seed=9), uniform(4, low=0.5, seed=10)
    yield Sample(
        [uniform(2, 3, 3, 4), scale, offset, none, none], {"epsilon": 0.001}, False, rtol=1e-4, atol=1e-5
    )
    yield Sample([uniform(2, 3, 3, 4), scale, offset, mean, variance], {"is_training": False}, False,
                 rtol=1e-4, atol=1e-5)  # fmt: skip
    for dtype in HALVES:
        yield Sample(
            [uniform(2, 3, 3, 4, dtype=dtype), scale, offset, none, none], {}, False, rtol=1e-2, atol=1e-2
        )


@samples("FusedBatchNormV3")
def batch_norm_3d_samples() -> Iterator[Sample]:
    none = np.zeros(0, np.float32)
    scale, offset = uniform(4, low=0.5), uniform(4, seed=8)
    for layout, shape in (("NDHWC", (2, 2, 3, 2, 4)), ("NCDHW", (2, 4, 2, 3, 2))):
        yield Sample(
            [uniform(*shape), scale, offset, none, none], {"data_format": layout}, False, rtol=1e-4, atol=1e-5
        )


@samples("FusedBatchNormGrad", "FusedBatchNormGradV2")
def batch_norm_grad_samples() -> Iterator[Sample]:
    x, scale = uniform(2, 3, 3, 4), uniform(4, low=0.5, seed=8)
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    # The moments are functions of x for the second gradient: tested through FusedBatchNorm.
    yield Sample([uniform(2, 3, 3, 4, seed=9), x, scale, mean, variance], {}, False, rtol=1e-4, atol=1e-4)
    yield Sample([uniform(2, 3, 3, 4, seed=9), x, scale, mean, variance], {"is_training": False}, False,
                 rtol=1e-4, atol=1e-4)  # fmt: skip
    turned = [np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (uniform(2, 3, 3, 4, seed=9), x)]
    yield Sample([*turned, scale, mean, variance], {"data_format": "NCHW"}, False, rtol=1e-4, atol=1e-4)


@samples("FusedBatchNormGradV3")
def batch_norm_grad_v3_samples() -> Iterator[Sample]:
    x, scale = uniform(2, 3, 3, 4), uniform(4, low=0.5, seed=8)
    mean, variance, none = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)), np.zeros(0, np.float32)
    yield Sample(
        [uniform(2, 3, 3, 4, seed=9), x, scale, mean, variance, none], {}, False, rtol=1e-4, atol=1e-4
    )


@samples("LRN")
def lrn_samples() -> Iterator[Sample]:
    for radius in (1, 2, 9):
        yield Sample(
            [uniform(2, 2, 2, 6)], {"depth_radius": radius, "alpha": 0.1, "beta": 0.75}, False, rtol=1e-5
        )


@samples("LRNGrad")
def lrn_grad_samples() -> Iterator[Sample]:
    x = uniform(2, 2, 2, 6)
    yield Sample([uniform(2, 2, 2, 6, seed=8), x, x / 2], {"depth_radius": 2}, rtol=1e-5, atol=1e-6)


@samples("InTopK")
def in_top_k_samples() -> Iterator[Sample]:
    scores = np.array([[1, 2, 2], [np.nan, 1, 2], [1, 2, 3], [3, 2, 1], [0, np.inf, 1]], np.float32)
    for dtype in (np.int32, np.int64):
        yield Sample([scores, np.array([1, 2, 5, 0, 1], dtype)], {"k": 2})


@samples("InTopKV2")
def in_top_k_v2_samples() -> Iterator[Sample]:
    yield Sample([uniform(6, 5), integers(6, low=0, high=5), np.array(2, np.int32)])
