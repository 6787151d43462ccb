"""What becomes of images, and of a product's first factor, on their way into the sum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from graphflow.backends.cpu import convolution
from graphflow.backends.cpu.contraction import emit
from graphflow.backends.cpu.target import Target, host_target
from graphflow.backends.cpu.winograd import Blocks
from graphflow.loops.ir import Const, Op, Var
from graphflow.loops.library import Conv2D, Epilogue, EpilogueOperand, Gemm
from tests.backends.library_calls import Runner
from tests.backends.test_contraction import numbers
from tests.backends.test_convolution import RESULT, arrays, reference


def prologue() -> Epilogue:
    """max(x * scale[column] + shift, 0.25) + more[element]: nothing that would leave a zero alone."""
    scaled = Op("mul", (Var("acc", "f32"), Var("scale", "f32")), "f32")
    shifted = Op("add", (scaled, Var("shift", "f32")), "f32")
    kept = Op("max", (shifted, Const(0.25, "f32")), "f32")
    value = Op("add", (kept, Var("more", "f32")), "f32")
    return Epilogue(
        (("x", value),),
        (
            EpilogueOperand("scale", "f32", "column"),
            EpilogueOperand("shift", "f32", "scalar"),
            EpilogueOperand("more", "f32", "element"),
        ),
    )


def made(x: np.ndarray, extra: dict[str, np.ndarray]) -> np.ndarray:
    return np.maximum(x * extra["scale"] + extra["shift"], np.float32(0.25)) + extra["more"]


def operands(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"scale": numbers(8, x.shape[-1]), "shift": numbers(9, 1), "more": numbers(10, *x.shape)}


@pytest.mark.parametrize("side", [0, 2, 4])
@pytest.mark.parametrize(
    ("size", "channels", "kernel", "strides", "dilations", "pads"),
    [
        ((9, 11), (16, 33), 3, 1, 1, (1, 1)),
        ((7, 5), (3, 8), 3, 1, 1, (2, 0)),
        ((8, 8), (5, 6), 3, 1, 1, (0, 0)),
        ((11, 9), (4, 17), 3, 2, 1, (0, 1)),
        ((12, 13), (9, 8), 3, 1, 2, (3, 2)),
        ((6, 7), (1024, 9), 1, 2, 1, (0, 0)),
        ((9, 6), (12, 7), 5, 1, 1, (2, 2)),
    ],
    ids=str,
)
def test_images(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: int,
    strides: int,
    dilations: int,
    pads: tuple[int, int],
    side: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if side and (strides, dilations) != (1, 1):
        pytest.skip("only the direct way")

    def cut(blocks: Blocks, target: Target, most: int, *, filters: bool = False) -> Blocks | None:
        if not side:
            return None
        return dataclasses.replace(blocks, outputs=2 if filters or kernel != 3 else side)

    monkeypatch.setattr(convolution, "winograd_blocks", cut)
    for direction in ("forward", "input", "filter"):
        call = Conv2D(
            direction=direction,  # type: ignore[arg-type]
            dtype="f32",
            batch=None,
            height=size[0],
            width=size[1],
            in_channels=channels[0],
            out_channels=channels[1],
            kernel=(kernel, kernel),
            strides=(strides, strides),
            dilations=(dilations, dilations),
            padding=(pads, pads),
            winograd=side,
            prologue=prologue(),
        )
        x, w, dy = arrays(call, 3)
        images = dy if direction == "input" else x
        extra = operands(images)
        changed = made(images, extra)
        expected = reference(call, *((x, w, changed) if direction == "input" else (changed, w, dy)))
        bits = set()
        for parts in (1, 3):
            got = np.zeros(expected.shape, np.float32)
            Runner(call)({"x": x, "w": w, "dy": dy, RESULT[direction]: got, **extra}, {"batch": 3}, parts)
            bound = 2e-5 * float(np.abs(expected).max())
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=direction)
            bits.add(got.tobytes())
        assert len(bits) == 1


def test_zeros_around_an_image_stay_zeros_beside_what_is_not_finite() -> None:
    call = Conv2D(
        direction="forward", dtype="f32", batch=1, height=6, width=7, in_channels=3, out_channels=5, kernel=(3, 3),
        strides=(2, 1), padding=((1, 1), (1, 1)), prologue=prologue(),
    )  # fmt: skip
    x, w, dy = arrays(call, 1)
    x[0, 0, 0, 0], x[0, 5, 6, 2], x[0, 2, 3, 1] = np.nan, np.inf, -np.inf
    extra = operands(x)
    extra["scale"][:] = 1
    got = np.zeros(dy.shape, np.float32)
    Runner(call)({"x": x, "w": w, "y": got, **extra}, {"batch": 1}, 2)
    with np.errstate(invalid="ignore"):
        expected = reference(call, made(x, extra), w, dy)
    # The definition multiplies zeros of the border as well: NaN and infinity reach only what their windows hold.
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert np.isnan(got).any() and np.isinf(got).any() and np.isfinite(got).any()


@pytest.mark.parametrize("m", [None, 1, 7, 40])
@pytest.mark.parametrize("shape", [(5, 3), (64, 37), (700, 20), (1024, 300)], ids=str)
def test_first_factor(shape: tuple[int, int], m: int | None) -> None:
    k, n = shape
    rows = 23 if m is None else m
    for transpose_b, prepack in ((False, False), (True, True), (False, True)):
        if transpose_b and m == 1:
            continue  # dot products read rows as they are
        call = Gemm(
            dtype="f32", m=m, n=n, k=k, transpose_b=transpose_b, prepack_b=prepack, prologue=prologue()
        )
        a, b = numbers(1, rows, k), numbers(2, k, n)
        extra = operands(a)
        for parts in (1, 3):
            got = np.zeros((rows, n), np.float32)
            stored = np.ascontiguousarray(b.T) if transpose_b else b
            Runner(call)({"a": a, "b": stored, "c": got, **extra}, {"m": rows}, parts)
            expected = made(a, extra).astype(np.float64) @ b
            np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))


def test_what_has_no_prologue_is_refused() -> None:
    convolved = Conv2D(
        direction="forward", dtype="f32", batch=1, height=6, width=7, in_channels=4, out_channels=4, kernel=(3, 3),
        depthwise=True, prologue=prologue(),
    )  # fmt: skip
    product = Gemm(dtype="f32", m=20, n=8, k=9, prologue=prologue())
    for call in (
        convolved,
        dataclasses.replace(product, transpose_a=True),
        dataclasses.replace(product, k=None),
        dataclasses.replace(product, batch=(3,)),
        dataclasses.replace(product, m=2, transpose_b=True),
    ):
        with pytest.raises(ValueError, match="prologue"):
            emit(call, host_target())
