"""Samples of the ops in `graphflow/ops/quantized.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from tests.samples import Array, Sample, rng, samples, uniform
from tests.samples.quantize import ends

BYTES = (dtypes.quint8, dtypes.qint8)
KINDS = (*BYTES, dtypes.quint16, dtypes.qint16, dtypes.qint32)
MODES = ("MIN_COMBINED", "MIN_FIRST", "SCALED")


def quantized(dtype: DType, *shape: int, seed: int = 7, part: float = 1.0) -> Array:
    """Random integers of a quantized type, within a part of what it can hold."""
    info = np.iinfo(dtype.numpy[dtype.name])
    low, high = int(info.min * part), int(info.max * part)
    values = rng(seed).integers(low, high, shape, endpoint=True)
    return np.ascontiguousarray(values.astype(info.dtype)).view(dtype.numpy).reshape(shape)


@samples("QuantizeV2")
def quantize_samples() -> Iterator[Sample]:
    x = np.concatenate([uniform(37, low=-3, high=3), np.array([0, -0.5, 0.5, 1.5, 100, -100], np.float32)])
    for dtype in KINDS[:-1]:
        for mode in MODES:
            for low, high in ((-2.0, 1.5), (0.0, 3.0), (-2.0, -1.0), (0.5, 2.0)):
                yield Sample([x, *ends(low, high)], {"T": dtype, "mode": mode}, differentiable=False)
    yield Sample([x, *ends(-1, 1)], {"T": dtypes.qint32, "mode": "MIN_FIRST"}, differentiable=False)
    yield Sample([x, *ends(0, 0)], {"T": dtypes.quint8}, differentiable=False, name="no range")
    scaled = {"mode": "SCALED", "round_mode": "HALF_TO_EVEN", "narrow_range": True, "T": dtypes.qint8}
    yield Sample([x, *ends(-2, 1)], scaled, differentiable=False)
    own = [np.array([-1, 0, -2], np.float32), np.array([1, 2, 0.7], np.float32)]
    for mode in ("MIN_COMBINED", "SCALED"):
        yield Sample(
            [uniform(4, 3, 2), *own], {"T": dtypes.qint8, "mode": mode, "axis": 1}, differentiable=False
        )
    yield Sample([uniform(0, 3), *ends(-2, 1)], {"T": dtypes.quint8}, differentiable=False, name="empty")


@samples("Dequantize")
def dequantize_samples() -> Iterator[Sample]:
    for dtype in KINDS:
        for mode in MODES:
            for low, high in ((-2.0, 1.5), (0.0, 3.0)):
                yield Sample([quantized(dtype, 4, 9), *ends(low, high)], {"mode": mode}, differentiable=False)
    narrow = {"mode": "SCALED", "narrow_range": True}
    yield Sample([quantized(dtypes.qint8, 4, 9), *ends(-2, 1)], narrow, differentiable=False)
    yield Sample([quantized(dtypes.quint8), *ends(-2, 1)], differentiable=False, name="scalar")
    own = [np.array([-1, 0, -2], np.float32), np.array([1, 2, 0.7], np.float32)]
    for mode in ("MIN_COMBINED", "SCALED"):
        yield Sample(
            [quantized(dtypes.quint8, 4, 3, 2), *own], {"mode": mode, "axis": 1}, differentiable=False
        )
    half = {"dtype": dtypes.bfloat16}
    yield Sample([quantized(dtypes.quint8, 3, 3), *ends(-2, 1)], half, differentiable=False)


@samples("RequantizationRange")
def range_samples() -> Iterator[Sample]:
    for part in (1.0, 0.01):
        yield Sample([quantized(dtypes.qint32, 4, 9, part=part), *ends(-2, 3)], differentiable=False)


@samples("QuantizeDownAndShrinkRange")
def shrink_samples() -> Iterator[Sample]:
    for part in (1.0, 0.01):
        for shape in ((5,), (8, 32)):
            yield Sample(
                [quantized(dtypes.qint32, *shape, part=part), *ends(-2, 2)], {"out_type": dtypes.quint8},
                differentiable=False,
            )  # fmt: skip


@samples("Requantize")
def requantize_samples() -> Iterator[Sample]:
    for low, high in ((-1.0, 1.0), (0.0, 0.5), (-0.1, 3.0)):
        yield Sample(
            [quantized(dtypes.qint32, 8, 16), *ends(-2, 2), *ends(low, high)], {"out_type": dtypes.quint8},
            differentiable=False,
        )  # fmt: skip


@samples("QuantizedConv2D")
def conv_samples() -> Iterator[Sample]:
    for strides, padding in (((1, 1, 1, 1), "SAME"), ((1, 2, 2, 1), "VALID")):
        x, w = quantized(dtypes.quint8, 2, 6, 5, 3), quantized(dtypes.quint8, 3, 3, 3, 4, seed=8)
        attrs = {"strides": strides, "padding": padding}
        yield Sample([x, w, *ends(-1, 2), *ends(-0.5, 0.7)], attrs, differentiable=False)


@samples("QuantizedMatMul")
def matmul_samples() -> Iterator[Sample]:
    a, b = quantized(dtypes.quint8, 3, 5), quantized(dtypes.quint8, 5, 4, seed=8)
    yield Sample([a, b, *ends(-1, 2), *ends(-0.5, 0.7)], differentiable=False)
    yield Sample(
        [a.T.copy(), b.T.copy(), *ends(0, 2), *ends(-0.5, 0)], {"transpose_a": True, "transpose_b": True},
        differentiable=False,
    )  # fmt: skip


@samples("QuantizedMul")
def mul_samples() -> Iterator[Sample]:
    for shape in ((3, 8), (8,)):
        x, y = quantized(dtypes.quint8, 3, 8), quantized(dtypes.quint8, *shape, seed=8)
        yield Sample([x, y, *ends(-1, 2), *ends(-0.5, 0.7)], differentiable=False)


@samples("QuantizedAdd")
def add_samples() -> Iterator[Sample]:
    for shape in ((3, 8), (8,)):
        x, y = quantized(dtypes.quint8, 3, 8), quantized(dtypes.quint8, *shape, seed=8)
        yield Sample([x, y, *ends(-1, 2), *ends(-0.5, 0.7)], differentiable=False)


@samples("QuantizedBiasAdd")
def bias_samples() -> Iterator[Sample]:
    for dtype in BYTES:
        x, bias = quantized(dtype, 2, 3, 8), quantized(dtype, 8, seed=8)
        yield Sample(
            [x, bias, *ends(-1, 2), *ends(-0.5, 0.7)], {"out_type": dtypes.qint32}, differentiable=False
        )


@samples("QuantizedRelu", "QuantizedRelu6")
def relu_samples() -> Iterator[Sample]:
    for low, high in ((-3.0, 8.0), (0.0, 4.0)):
        yield Sample(
            [quantized(dtypes.quint8, 3, 9), *ends(low, high)],
            {"out_type": dtypes.quint8},
            differentiable=False,
        )


@samples("QuantizedReshape")
def reshape_samples() -> Iterator[Sample]:
    for dtype in KINDS:
        yield Sample(
            [quantized(dtype, 3, 4), np.array([2, -1], np.int32), *ends(-1, 2)],
            constant=(1,),
            differentiable=False,
        )


@samples("QuantizedConcat")
def concat_samples() -> Iterator[Sample]:
    for dtype in BYTES:
        values = [quantized(dtype, 2, 3), quantized(dtype, 2, 4, seed=8)]
        for low, high in ((-1.0, 2.0), (-0.5, 3.0)):
            lows, highs = ends(-1, low), ends(2, high)
            yield Sample([np.int32(1), values, lows, highs], constant=(0,), differentiable=False)


@samples("QuantizedMaxPool", "QuantizedAvgPool")
def pool_samples() -> Iterator[Sample]:
    for padding, stride in (("VALID", 2), ("SAME", 1)):
        attrs = {"ksize": (1, 2, 2, 1), "strides": (1, stride, stride, 1), "padding": padding}
        yield Sample([quantized(dtypes.quint8, 2, 5, 6, 16), *ends(-1, 2)], attrs, differentiable=False)
