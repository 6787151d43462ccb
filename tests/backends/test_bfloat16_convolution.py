"""Convolutions of bfloat16 images by bfloat16 filters, summed in float32: direct ones, Winograd's, and widened ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from graphflow.backends.cpu.contraction import emit
from graphflow.backends.cpu.target import Target, cross_target, host_target
from graphflow.loops.ir import Op, Var, numpy_dtype
from graphflow.loops.library import Conv2D, Epilogue
from tests.backends.library_calls import Runner
from tests.backends.test_contraction import bfloat16_targets, numbers
from tests.backends.test_convolution import RESULT, reference

BF16 = numpy_dtype("bf16")
TARGETS = pytest.mark.parametrize("target", bfloat16_targets(), ids=lambda t: f"{t.isa}-{t.cpu}")


def call_of(
    direction: Any, size: tuple[int, int], channels: tuple[int, int], kernel: tuple[int, int], **more: Any
) -> Conv2D:
    return Conv2D(
        direction=direction, dtype="f32", operand_dtype="bf16", batch=None, height=size[0], width=size[1],
        in_channels=channels[0], out_channels=channels[1], kernel=kernel, **more,
    )  # fmt: skip


def operands(call: Conv2D, batch: int) -> dict[str, np.ndarray]:
    return {
        "x": numbers(1, batch, call.height, call.width, call.in_channels).astype(BF16),
        "w": numbers(2, *call.kernel, call.in_channels, call.out_channels).astype(BF16),
        "dy": numbers(3, batch, call.out_height, call.out_width, call.out_channels).astype(BF16),
    }


def run(call: Conv2D, given: dict[str, np.ndarray], shape: tuple[int, ...], target: Target) -> np.ndarray:
    """The result, the same from 1 and 3 parts, and nothing written behind it."""
    runner, found = Runner(call, target), []
    for parts in (1, 3):
        guarded = np.full(np.prod(shape) + 16, 7, np.float32)
        # What lies behind the operands must not count.
        behind = np.full(8, np.nan, np.float32).astype(BF16)
        fed = {name: np.concatenate([x.reshape(-1), behind]) for name, x in given.items()}
        runner({**fed, RESULT[call.direction]: guarded}, {"batch": given["x"].shape[0]}, parts)
        assert (guarded[-16:] == 7).all()
        found.append(guarded[:-16].reshape(shape))
    np.testing.assert_array_equal(found[0], found[1])
    return found[0]


def expected(call: Conv2D, given: dict[str, np.ndarray]) -> np.ndarray:
    return reference(call, *(given[name].astype(np.float32) for name in ("x", "w", "dy")))


CASES: list[dict[str, Any]] = [
    {"size": (9, 11), "channels": (8, 24), "kernel": (3, 3), "padding": ((1, 1), (1, 1))},
    {"size": (9, 11), "channels": (6, 17), "kernel": (3, 2), "padding": ((1, 0), (0, 2)), "strides": (2, 1)},
    {
        "size": (14, 14),
        "channels": (32, 48),
        "kernel": (3, 3),
        "padding": ((0, 1), (0, 1)),
        "strides": (2, 2),
    },
    {"size": (7, 7), "channels": (34, 33), "kernel": (1, 1), "strides": (2, 2)},
    {"size": (12, 10), "channels": (2, 5), "kernel": (3, 3), "dilations": (2, 2)},
    {"size": (15, 15), "channels": (3, 32), "kernel": (7, 7), "padding": ((2, 3), (2, 3)), "strides": (2, 2)},
    {"size": (5, 4), "channels": (7, 9), "kernel": (2, 2), "padding": ((0, 1), (0, 1))},
]


@TARGETS
@pytest.mark.parametrize("direction", ["forward", "input", "filter"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, (*c["channels"], *c["kernel"]))))
def test_direct_convolutions_are_off_by_what_float32_sums_are(
    direction: str, case: dict[str, Any], target: Target
) -> None:
    call = call_of(direction, **case, winograd=0)
    given = operands(call, 3)
    wanted = expected(call, given)
    got = run(call, given, wanted.shape, target)
    summed = given["dy"].size / call.out_channels if direction == "filter" else given["w"][..., 0].size
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-6 * summed**0.5)


@TARGETS
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("direction", ["forward", "input"])
def test_winograds_products_round_what_they_multiply(direction: str, kernel: int, target: Target) -> None:
    side = kernel // 2
    call = call_of(
        direction, (13, 12), (64, 96), (kernel, kernel), padding=((side, side), (side, side)), winograd=2
    )
    given = operands(call, 4)
    wanted = expected(call, given)
    got = run(call, given, wanted.shape, target)
    rounded = float(np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)))
    # The factors' own rounding is off by 2^-9 / sqrt(3) each, 0.16 % for both: this is twice to thrice of it.
    assert rounded < 5e-3, rounded
    pairs = target.bfloat16_dot and target.isa == "avx512"
    assert (rounded > 1e-4) is pairs


def test_the_result_can_be_bfloat16_too() -> None:
    accumulated = Var("acc", "f32")
    epilogue = Epilogue((("y", Op("cast", (accumulated,), "bf16")), ("plain", accumulated)))
    call = dataclasses.replace(
        call_of("forward", (8, 8), (16, 32), (3, 3), strides=(2, 2)), epilogue=epilogue
    )
    given = operands(call, 2)
    plain = np.zeros((2, 3, 3, 32), np.float32)
    y = np.zeros(plain.shape, BF16)
    Runner(call, host_target())({**given, "y": y, "plain": plain}, {"batch": 2}, 2)
    np.testing.assert_array_equal(y, plain.astype(BF16))


def test_other_operands_are_refused() -> None:
    call = dataclasses.replace(call_of("forward", (8, 8), (16, 32), (3, 3)), dtype="f64")
    with pytest.raises(ValueError, match="no convolutions of bf16 with f64 sums"):
        emit(call, cross_target("avx512"))
