"""Samples of the ops in `graphflow/ops/quantize.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import Array, Sample, samples, special, uniform


def ends(low: float, high: float) -> list[Array]:
    return [np.array(low, np.float32), np.array(high, np.float32)]


@samples("FakeQuantWithMinMaxArgs")
def fake_quant_args() -> Iterator[Sample]:
    x = uniform(4, 9, low=-8, high=8)
    for attrs in (
        {},
        {"min": -1.0, "max": 3.3, "num_bits": 4},
        {"min": 0.5, "max": 2.0, "narrow_range": True},
    ):
        yield Sample([x], attrs, differentiable=False)
    yield Sample([special()], differentiable=False, name="special")
    yield Sample([uniform(0, 3)], differentiable=False, name="empty")


@samples("FakeQuantWithMinMaxArgsGradient")
def fake_quant_args_gradient() -> Iterator[Sample]:
    x = uniform(4, 9, low=-8, high=8)
    yield Sample([uniform(4, 9, seed=8), x], differentiable=False)
    yield Sample([uniform(4, 9, seed=8), x], {"min": 0.5, "max": 2.0, "num_bits": 3}, differentiable=False)


@samples("FakeQuantWithMinMaxVars")
def fake_quant_vars() -> Iterator[Sample]:
    x = uniform(4, 9, low=-3, high=3)
    for low, high in ((-2.0, 1.5), (0.0, 0.0), (1.0, 2.0), (-2.0, -1.0)):
        yield Sample([x, *ends(low, high)], differentiable=False)
    yield Sample(
        [x, *ends(-1, 1)], {"num_bits": 4, "narrow_range": True}, differentiable=False, shapes={0: (None, 9)}
    )


@samples("FakeQuantWithMinMaxVarsGradient")
def fake_quant_vars_gradient() -> Iterator[Sample]:
    x = uniform(4, 9, low=-3, high=3)
    for low, high in ((-2.0, 1.5), (0.0, 0.0), (1.0, 2.0)):
        yield Sample([uniform(4, 9, seed=8), x, *ends(low, high)], differentiable=False)


CHANNELS = [np.array([-1, 0, -2], np.float32), np.array([1, 0, 0.7], np.float32)]


@samples("FakeQuantWithMinMaxVarsPerChannel")
def fake_quant_channels() -> Iterator[Sample]:
    for shape in ((3,), (4, 3), (2, 4, 5, 3)):
        yield Sample([uniform(*shape), *CHANNELS], differentiable=False)


@samples("FakeQuantWithMinMaxVarsPerChannelGradient")
def fake_quant_channels_gradient() -> Iterator[Sample]:
    for shape in ((3,), (4, 3), (2, 4, 5, 3)):
        yield Sample([uniform(*shape, seed=8), uniform(*shape), *CHANNELS], differentiable=False)


@samples("QuantizeAndDequantize")
def quantize_and_dequantize() -> Iterator[Sample]:
    yield Sample([uniform(4, 5)], differentiable=False)
    yield Sample(
        [uniform(4, 5)],
        {"range_given": True, "input_min": -1.0, "input_max": 1.5, "num_bits": 4},
        differentiable=False,
    )


RANGES: list[dict[str, Any]] = [
    {}, {"range_given": True}, {"range_given": True, "signed_input": False, "num_bits": 4},
    {"narrow_range": True, "range_given": True}, {"round_mode": "HALF_UP", "num_bits": 3},
]  # fmt: skip


@samples("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4")
def quantize_and_dequantize_v2() -> Iterator[Sample]:
    for attrs in RANGES:
        yield Sample([uniform(4, 5), *ends(-1, 1.5)], attrs, differentiable=False)
    yield Sample(
        [uniform(4, 5, dtype=np.float64), np.array(-1.0), np.array(0.5)], RANGES[1], differentiable=False
    )
    yield Sample(
        [uniform(4, 3), *CHANNELS], {"axis": 1, "range_given": True}, differentiable=False, name="axis"
    )


@samples("QuantizeAndDequantizeV3")
def quantize_and_dequantize_v3() -> Iterator[Sample]:
    for given in (False, True):
        bits = np.array(5, np.int32)
        yield Sample([uniform(4, 5), *ends(-1, 1.5), bits], {"range_given": given}, differentiable=False)


@samples("QuantizeAndDequantizeV4Grad")
def quantize_and_dequantize_v4_grad() -> Iterator[Sample]:
    yield Sample([uniform(4, 5, seed=8), uniform(4, 5), *ends(-1, 1.5)], differentiable=False)
