"""Convolutions and their gradients, dense and depthwise, and pools, against plain NumPy in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from graphflow.backends.cpu import convolution
from graphflow.backends.cpu.contraction import emit
from graphflow.backends.cpu.llvm import emit_object
from graphflow.backends.cpu.target import Target, cross_target, host_target, panel_width
from graphflow.backends.cpu.winograd import Blocks
from graphflow.loops.ir import Const, Op, Var
from graphflow.loops.library import Conv2D, Epilogue, EpilogueOperand, Pool2D
from graphflow.variable_store import Panels
from tests.backends.library_calls import Runner
from tests.backends.test_contraction import numbers, runnable_targets

Pads = tuple[tuple[int, int], tuple[int, int]]


def taps_of(call: Conv2D, x: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """The pixels of `x` (with its border) that meet tap (i, j), as a view [batch, out_height, out_width,
    channels].
    """
    padded = np.pad(x, ((0, 0), *call.padding, (0, 0)))

    def tap(i: int, j: int) -> np.ndarray:
        top, left = i * call.dilations[0], j * call.dilations[1]
        bottom = top + (call.out_height - 1) * call.strides[0] + 1
        right = left + (call.out_width - 1) * call.strides[1] + 1
        return padded[:, top : bottom : call.strides[0], left : right : call.strides[1]]

    tap.padded = padded  # type: ignore[attr-defined]
    return tap


def reference(call: Conv2D, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """What a convolution's call means."""
    x, w, dy = (v.astype(np.float64) for v in (x, w, dy))
    tap = taps_of(call, x)
    forward, filters = "bhwc,co->bhwo", "bhwc,bhwo->co"
    if call.depthwise:
        forward, filters = "bhwc,cq->bhwcq", "bhwc,bhwcq->cq"
        dy = dy.reshape(*dy.shape[:3], call.in_channels, w.shape[3])
    y, dw = np.zeros(dy.shape), np.zeros(w.shape)
    dx = tap.padded * 0.0  # type: ignore[attr-defined]
    to_x = taps_of(call, x * 0)
    for i in range(call.kernel[0]):
        for j in range(call.kernel[1]):
            y += np.einsum(forward, tap(i, j), w[i, j])
            dw[i, j] = np.einsum(filters, tap(i, j), dy)
            back = np.einsum("bhwcq,cq->bhwc" if call.depthwise else "bhwo,co->bhwc", dy, w[i, j])
            to_x(i, j)[...] += back
            dx += to_x.padded  # type: ignore[attr-defined]
            to_x.padded[...] = 0  # type: ignore[attr-defined]
    if call.direction == "forward":
        return y.reshape(*y.shape[:3], call.out_channels)
    if call.direction == "filter":
        return dw
    (top, bottom), (left, right) = call.padding
    return dx[:, top : dx.shape[1] - bottom, left : dx.shape[2] - right]


def arrays(call: Conv2D, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    last = call.out_channels // call.in_channels if call.depthwise else call.out_channels
    return (
        numbers(1, batch, call.height, call.width, call.in_channels, dtype=call.dtype),
        numbers(2, *call.kernel, call.in_channels, last, dtype=call.dtype),
        numbers(3, batch, call.out_height, call.out_width, call.out_channels, dtype=call.dtype),
    )


RESULT = {"forward": "y", "input": "dx", "filter": "dw"}


def check(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    padding: Pads = ((0, 0), (0, 0)),
    batch: int = 3,
    dynamic: bool = True,
    depthwise: bool = False,
    dtype: str = "f32",
    target: Target | None = None,
    directions: tuple[str, ...] = ("forward", "input", "filter"),
) -> None:
    for direction in directions:
        call = Conv2D(
            direction=direction,  # type: ignore[arg-type]
            dtype=dtype,
            batch=None if dynamic else batch,
            height=size[0],
            width=size[1],
            in_channels=channels[0],
            out_channels=channels[1],
            kernel=kernel,
            strides=strides,
            dilations=dilations,
            padding=padding,
            depthwise=depthwise,
        )
        x, w, dy = arrays(call, batch)
        expected = reference(call, x, w, dy)
        runner = Runner(call, target)
        bits = set()
        for parts in (1, 2, 5):
            guarded = np.full(expected.size + 16, 7, x.dtype)
            runner({"x": x, "w": w, "dy": dy, RESULT[direction]: guarded}, {"batch": batch}, parts)
            assert (guarded[expected.size :] == 7).all(), "written behind the result"
            got = guarded[: expected.size].reshape(expected.shape)
            bound = (1e-5 if dtype == "f32" else 1e-12) * max(1.0, float(np.abs(expected).max(initial=0)))
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=direction)
            bits.add(guarded.tobytes())
        assert len(bits) == 1, f"{direction}: the bits depend on the number of parts"


SAME5: Pads = ((2, 2), (2, 2))
SAME3: Pads = ((1, 1), (1, 1))


@pytest.mark.parametrize("depthwise", [False, True], ids=["dense", "depthwise"])
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "dilations", "padding"),
    [
        ((9, 11), (3, 3), (1, 1), (1, 1), SAME3),
        ((14, 14), (5, 5), (1, 1), (1, 1), SAME5),
        ((28, 28), (5, 5), (1, 1), (1, 1), SAME5),
        ((7, 7), (3, 3), (1, 1), (1, 1), SAME3),
        ((5, 4), (3, 2), (1, 1), (1, 1), ((0, 0), (0, 0))),
        ((9, 9), (3, 3), (2, 2), (1, 1), ((1, 1), (0, 1))),
        ((12, 10), (7, 7), (2, 2), (1, 1), ((3, 2), (2, 3))),
        ((11, 13), (3, 3), (3, 2), (1, 1), ((0, 0), (0, 0))),
        ((13, 12), (3, 3), (1, 1), (2, 3), ((2, 2), (3, 3))),
        ((13, 12), (3, 4), (2, 3), (3, 2), ((2, 3), (1, 4))),
        ((8, 8), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0))),
        ((8, 8), (1, 1), (2, 2), (1, 1), ((0, 0), (0, 0))),
        ((6, 7), (2, 2), (3, 4), (1, 1), ((0, 0), (0, 0))),
        ((1, 1), (3, 3), (1, 1), (1, 1), SAME3),
        ((4, 5), (4, 5), (1, 1), (1, 1), ((0, 0), (0, 0))),
        ((3, 3), (5, 5), (2, 2), (1, 1), ((4, 4), (5, 3))),
    ],
    ids=str,
)
def test_windows(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    padding: Pads,
    depthwise: bool,
) -> None:
    for channels in ((5, 5), (4, 20)) if depthwise else ((3, 5), (1, 33)):
        check(
            size, channels, kernel, strides=strides, dilations=dilations, padding=padding, depthwise=depthwise
        )


@pytest.mark.parametrize("channels", [(1, 1), (16, 16), (17, 40), (8, 48), (32, 64), (33, 10)], ids=str)
def test_channels(channels: tuple[int, int]) -> None:
    check((8, 10), channels, (3, 3), padding=SAME3)
    check((8, 10), channels, (3, 3), strides=(2, 2), padding=((0, 1), (0, 1)), dynamic=False)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 17])
def test_filters_of_small_images_taken_several_at_a_time(batch: int) -> None:
    for channels in ((70, 40), (16, 16)):  # one group of images, and several
        for dynamic in (False, True):
            check(
                (5, 6), channels, (3, 3), strides=(2, 2), padding=SAME3, batch=batch, dynamic=dynamic,
                directions=("filter",),
            )  # fmt: skip
    check((4, 4), (64, 5), (2, 2), batch=batch, directions=("filter",))
    check((2, 3), (6, 12), (2, 2), batch=batch, depthwise=True, directions=("filter",))


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
def test_pixels_that_would_share_cache_sets(target: Target) -> None:
    """Pixels of a tile 4096 bytes apart, with a border and without, and taps of which two lie in one pixel's reach."""
    check((5, 6), (512, 9), (3, 3), strides=(2, 2), padding=SAME3, target=target, batch=2)
    check((5, 6), (512, 9), (1, 1), strides=(2, 2), target=target, batch=2)
    check((4, 5), (256, 17), (2, 2), strides=(1, 4), dilations=(2, 1), target=target, batch=2)
    check((4, 5), (1024, 3), (2, 2), dtype="f64", target=target, batch=2)


@pytest.mark.parametrize("channels", [(1, 3), (16, 16), (17, 17), (40, 40), (6, 24), (33, 66)], ids=str)
def test_depthwise_channels(channels: tuple[int, int]) -> None:
    check((8, 10), channels, (3, 3), padding=SAME3, depthwise=True)
    check((8, 10), channels, (3, 3), strides=(2, 2), padding=((0, 1), (0, 1)), dynamic=False, depthwise=True)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_targets(target: Target, dtype: str) -> None:
    check((9, 8), (5, 19), (3, 3), padding=SAME3, target=target, dtype=dtype)
    check((9, 8), (6, 12), (3, 3), padding=SAME3, depthwise=True, target=target, dtype=dtype)


@pytest.mark.parametrize("batch", [0, 1, 2, 40, 65])
def test_batches(batch: int) -> None:
    check((5, 6), (2, 3), (3, 3), padding=SAME3, batch=batch)


def test_bias_and_activation_after_the_sum() -> None:
    acc, bias, skip = (Var(v, "f32") for v in ("acc", "bias", "skip"))
    value = Op("max", (Op("add", (acc, bias), "f32"), Const(0.0, "f32")), "f32")
    epilogue = Epilogue(
        (("y", Op("add", (value, skip), "f32")),),
        (EpilogueOperand("bias", "f32", "column"), EpilogueOperand("skip", "f32", "element")),
    )
    for stride in (1, 2):
        call = Conv2D(
            direction="forward",
            dtype="f32",
            batch=None,
            height=8,
            width=8,
            in_channels=3,
            out_channels=37,
            kernel=(3, 3),
            strides=(stride, stride),
            padding=SAME3,
            epilogue=epilogue,
        )
        x, w, skips = arrays(call, 2)
        biases = numbers(4, 37)
        y = np.zeros(skips.shape, np.float32)
        expected = np.maximum(reference(call, x, w, skips) + biases, 0) + skips
        Runner(call)({"x": x, "w": w, "bias": biases, "skip": skips, "y": y}, {"batch": 2}, 2)
        np.testing.assert_allclose(y, expected, atol=1e-4)


def test_filter_step_after_the_sum() -> None:
    acc, w_old, row = (Var(v, "f32") for v in ("acc", "w", "row"))
    step = Op("sub", (w_old, Op("mul", (acc, row), "f32")), "f32")
    epilogue = Epilogue(
        (("w_new", step),), (EpilogueOperand("w", "f32", "element"), EpilogueOperand("row", "f32", "row"))
    )
    call = Conv2D(
        direction="filter",
        dtype="f32",
        batch=None,
        height=6,
        width=6,
        in_channels=4,
        out_channels=10,
        kernel=(3, 3),
        epilogue=epilogue,
    )
    x, w, dy = arrays(call, 5)
    rows = numbers(5, 36)
    expected = w - reference(call, x, w, dy) * rows.reshape(3, 3, 4, 1)
    Runner(call)({"x": x, "dy": dy, "w": w, "row": rows, "w_new": w}, {"batch": 5}, 2)
    np.testing.assert_allclose(w, expected, atol=1e-4)


@pytest.mark.parametrize("isa", ["avx512", "avx2", "neon", "generic"])
def test_objects_for_every_instruction_set(isa: str) -> None:
    target = cross_target(isa)  # type: ignore[arg-type]
    for direction in ("forward", "input", "filter"):
        call = Conv2D(
            direction=direction,
            dtype="f32",
            batch=None,
            height=9,
            width=9,
            in_channels=3,
            out_channels=20,
            kernel=(3, 3),
            strides=(2, 2),
            padding=SAME3,
        )
        for launch in emit(call, target).sequence:
            assert emit_object(launch.text, target)


@pytest.fixture(params=[2, 4], ids=["2x2", "4x4"])
def always_winograd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Winograd's products wherever there are any, in blocks of one size where the kernel and direction have them."""

    def cut(blocks: Blocks, target: Target, most: int, *, filters: bool = False) -> Blocks:
        four = request.param == 4 and not filters and blocks.kernel == (3, 3)
        return dataclasses.replace(blocks, outputs=4 if four else 2)

    monkeypatch.setattr(convolution, "winograd_blocks", cut)
    return int(request.param)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize(
    ("size", "channels", "kernel", "padding"),
    [
        ((8, 8), (16, 32), (3, 3), SAME3),
        ((7, 9), (17, 40), (3, 3), SAME3),
        ((1, 1), (3, 5), (3, 3), SAME3),
        ((2, 1), (64, 16), (3, 3), SAME3),
        ((3, 3), (64, 33), (3, 3), ((0, 0), (0, 0))),
        ((4, 5), (5, 64), (3, 3), ((0, 0), (0, 0))),
        ((9, 5), (33, 70), (3, 3), ((1, 0), (2, 1))),
        ((3, 4), (8, 8), (3, 3), ((5, 3), (4, 6))),
        ((14, 14), (20, 36), (5, 5), SAME5),
        ((9, 6), (17, 33), (5, 5), ((0, 0), (3, 1))),
        ((1, 2), (16, 5), (5, 5), SAME5),
        ((7, 8), (3, 18), (3, 5), ((1, 1), (2, 2))),
        ((8, 7), (18, 3), (5, 3), ((2, 2), (1, 1))),
    ],
    ids=str,
)
def test_winograd(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    padding: Pads,
    target: Target,
    always_winograd: int,
) -> None:
    if always_winograd == 4 and kernel != (3, 3):
        pytest.skip("only 3x3 filters have blocks of 4x4")
    check(size, channels, kernel, padding=padding, target=target)
    check(size, channels, kernel, padding=padding, target=target, dynamic=False, batch=1)


@pytest.mark.usefixtures("always_winograd")
def test_winograd_in_chunks() -> None:
    """More blocks than a chunk holds, so many that parts share them; and f64; and a patch of 2048 bytes."""
    check((27, 30), (20, 36), (3, 3), padding=SAME3)
    check((27, 30), (12, 20), (3, 3), padding=SAME3, dtype="f64")
    check((27, 13), (12, 20), (5, 5), padding=SAME5, dtype="f64")
    check((7, 7), (512, 32), (3, 3), padding=SAME3)


def test_winograd_is_chosen_and_switched_off() -> None:
    def spaces(**changes: object) -> set[str]:
        call = Conv2D(
            **{
                "direction": "forward",
                "dtype": "f32",
                "batch": 8,
                "height": 14,
                "width": 14,
                "in_channels": 64,
                "out_channels": 64,
                "kernel": (3, 3),
                "padding": SAME3,
            }
            | changes  # type: ignore[arg-type]
        )
        return {space.name for space in emit(call, cross_target("avx512")).workspaces}

    assert "patches" in spaces()
    assert "patches" in spaces(kernel=(5, 5), padding=SAME5)
    assert "patches" in spaces(direction="input")
    assert "patches" in spaces(direction="filter")
    assert "patches" in spaces(batch=None)
    for changes in (
        {"winograd": 0},
        {"strides": (2, 2)},
        {"dilations": (2, 2)},
        {"kernel": (3, 1)},
        {"kernel": (4, 4)},
        {"in_channels": 3},
        {"height": 1, "width": 1},
        {"batch": 1, "height": 7, "width": 7, "in_channels": 512, "out_channels": 512},
    ):
        assert "patches" not in spaces(**changes), changes


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("direction", ["forward", "input", "filter"])
def test_winograd_is_as_exact_as_the_direct_way(direction: str, kernel: int) -> None:
    errors = {}
    for winograd in (0, 2, 4):
        call = Conv2D(
            direction=direction,  # type: ignore[arg-type]
            dtype="f32",
            batch=2,
            height=14,
            width=14,
            in_channels=256,
            out_channels=64,
            kernel=(kernel, kernel),
            padding=SAME3 if kernel == 3 else SAME5,
            winograd=winograd,
        )
        x, w, dy = arrays(call, 2)
        expected = reference(call, x, w, dy)
        got = np.zeros(expected.shape, np.float32)
        Runner(call)({"x": x, "w": w, "dy": dy, RESULT[direction]: got}, {"batch": 2}, 2)
        errors[winograd] = float(np.abs(got - expected).max() / np.abs(expected).max())
    assert 0 < errors[2] < 2e-6, errors
    assert errors[0] < 5e-6, errors
    # Blocks of 4x4 are off by more, but not by a digit.
    assert errors[4] < 5e-6, errors
    assert (errors[4] != errors[2]) == (kernel == 3 and direction != "filter"), (
        "the blocks that were asked for"
    )


@pytest.mark.parametrize("winograd", [0, 2, 4])
@pytest.mark.parametrize(
    ("channels", "kernel", "strides"),
    [((5, 37), 3, 1), ((18, 16), 3, 1), ((33, 7), 5, 1), ((5, 37), 3, 2), ((33, 70), 1, 2)],
    ids=str,
)
def test_filters_in_panels(
    channels: tuple[int, int], kernel: int, strides: int, winograd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters, and the results of a step that changes them, in panels: the numbers of row-major ones."""
    if winograd:
        side = 2 if kernel != 3 else winograd
        plain = strides == 1
        monkeypatch.setattr(
            convolution,
            "winograd_blocks",
            lambda blocks, target, most, filters=False: (
                dataclasses.replace(blocks, outputs=2 if filters else side) if plain else None
            ),
        )
    half, columns = kernel // 2, channels[1]
    width = panel_width(host_target(), "f32", columns)
    layout = Panels(width)
    step = Op("sub", (Var("old", "f32"), Var("acc", "f32")), "f32")
    for direction in ("forward", "input", "filter"):
        call = Conv2D(
            direction=direction,  # type: ignore[arg-type]
            dtype="f32",
            batch=None,
            height=9,
            width=8,
            in_channels=channels[0],
            out_channels=columns,
            kernel=(kernel, kernel),
            strides=(strides, strides),
            padding=((half, half), (half, half)),
            winograd=winograd,
            panels_w=width,
            epilogue=Epilogue((("new", step),), (EpilogueOperand("old", "f32", "element"),))
            if direction == "filter"
            else None,
        )
        x, w, dy = arrays(call, 3)
        expected = reference(call, x, w, dy)
        runner = Runner(call)
        assert bool(runner.code.packs) == (
            direction == "input" or (direction == "forward" and plain_pack(call))
        )
        if direction == "filter":
            packed, expected = layout.pack(w), w - expected
            runner({"x": x, "dy": dy, "old": packed, "new": packed}, {"batch": 3}, 2)
            got = layout.unpack(packed, w.shape)
            assert not packed[-1, :, columns % width or width :].any(), "what fills the last panel stays zero"
        else:
            got = np.zeros(expected.shape, np.float32)
            name = RESULT[direction]
            runner({"x": x, "dy": dy, "w": layout.pack(w), name: got}, {"batch": 3}, 2)
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))
    with pytest.raises(ValueError, match="wide"):
        emit(dataclasses.replace(call, panels_w=width + 8), host_target())


def plain_pack(call: Conv2D) -> bool:
    """Whether filters are transformed, as Winograd's products ask for, wherever they lie."""
    return bool(call.winograd) and call.strides == (1, 1)


@pytest.mark.usefixtures("always_winograd")
def test_winograd_with_epilogue() -> None:
    acc, bias, before = Var("acc", "f32"), Var("bias", "f32"), Var("before", "f32")
    scale, row = Var("scale", "f32"), Var("row", "f32")
    scaled = Op("mul", (Op("mul", (acc, scale), "f32"), row), "f32")
    value = Op("add", (Op("add", (scaled, bias), "f32"), before), "f32")
    rectified = Op("max", (value, Const(0.0, "f32")), "f32")
    call = Conv2D(
        direction="forward",
        dtype="f32",
        batch=None,
        height=7,
        width=9,
        in_channels=20,
        out_channels=37,
        kernel=(3, 3),
        padding=SAME3,
        epilogue=Epilogue(
            (("y", rectified), ("raw", acc)),
            (
                EpilogueOperand("bias", "f32", "column"),
                EpilogueOperand("before", "f32", "element"),
                EpilogueOperand("scale", "f32", "scalar"),
                EpilogueOperand("row", "f32", "row"),
            ),
        ),
    )
    x, w, dy = arrays(call, 3)
    plain = reference(call, x, w, dy)
    extra = {
        "bias": numbers(4, 37),
        "before": numbers(5, *plain.shape),
        "scale": numbers(6, 1),
        "row": numbers(7, *plain.shape[:3]),
    }
    expected = np.maximum(
        plain * extra["scale"] * extra["row"][..., None] + extra["bias"] + extra["before"], 0
    )
    y, raw = extra["before"].copy(), np.zeros(plain.shape, np.float32)
    Runner(call)({"x": x, "w": w, **extra, "before": y, "y": y, "raw": raw}, {"batch": 3}, 2)
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(raw, plain, atol=1e-5 * np.abs(plain).max())


def pool_reference(call: Pool2D, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """A pool or its gradient, window by window."""
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for i in range(call.out_height):
        for j in range(call.out_width):
            top, left = (o * s - p[0] for o, s, p in zip((i, j), call.strides, call.padding, strict=True))
            rows = range(max(top, 0), min(top + call.window[0], call.height))
            columns = range(max(left, 0), min(left + call.window[1], call.width))
            window = x[:, rows.start : rows.stop, columns.start : columns.stop].astype(np.float64)
            flat = window.reshape(len(x), -1, call.channels)
            target = dx[:, rows.start : rows.stop, columns.start : columns.stop]
            if call.kind == "mean":
                y[:, i, j] = flat.mean(1)
                target += dy[:, i, j][:, None, None] / flat.shape[1]
                continue
            y[:, i, j] = flat.max(1)
            first = flat.argmax(1)
            for b in range(len(x)):
                for c in range(call.channels):
                    r, s = divmod(int(first[b, c]), len(columns))
                    target[b, r, s, c] += dy[b, i, j, c]
    return dx if call.gradient else y


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [
        ((6, 8), (2, 2), (2, 2), ((0, 0), (0, 0))),
        ((7, 9), (2, 2), (2, 2), ((0, 0), (0, 0))),
        ((7, 9), (2, 2), (2, 2), ((0, 1), (0, 1))),
        ((9, 10), (3, 3), (2, 2), ((1, 1), (0, 1))),
        ((6, 7), (3, 2), (1, 1), ((1, 1), (1, 0))),
        ((8, 8), (2, 3), (4, 4), ((0, 0), (0, 0))),
        ((5, 5), (5, 5), (1, 1), ((0, 0), (0, 0))),
        ((4, 3), (4, 4), (1, 1), ((2, 1), (1, 2))),
        ((1, 1), (1, 1), (1, 1), ((0, 0), (0, 0))),
    ],
    ids=str,
)
def test_pools(
    kind: str,
    gradient: bool,
    size: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: Pads,
) -> None:
    for channels, dtype in ((1, "f32"), (16, "f32"), (37, "f32"), (70, "f64")):
        call = Pool2D(
            kind=kind,  # type: ignore[arg-type]
            gradient=gradient,
            dtype=dtype,
            batch=None,
            height=size[0],
            width=size[1],
            channels=channels,
            window=window,
            strides=strides,
            padding=padding,
        )
        # Few distinct values, so that windows have several greatest ones.
        x = np.round(numbers(1, 2, *size, channels, dtype=dtype) * 3)
        dy = numbers(2, 2, call.out_height, call.out_width, channels, dtype=dtype)
        expected = pool_reference(call, x, dy)
        runner = Runner(call)
        bits = set()
        for parts in (1, 3):
            guarded = np.full(expected.size + 16, 7, x.dtype)
            runner({"x": x, "dy": dy, "dx" if gradient else "y": guarded}, {"batch": 2}, parts)
            assert (guarded[expected.size :] == 7).all(), "written behind the result"
            np.testing.assert_allclose(guarded[: expected.size].reshape(expected.shape), expected, atol=1e-5)
            bits.add(guarded.tobytes())
        assert len(bits) == 1


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
def test_pool_with_epilogue(target: Target) -> None:
    acc, x_var = Var("acc", "f32"), Var("x", "f32")
    zero = Const(0.0, "f32")
    for gradient in (False, True):
        result = "dx" if gradient else "y"
        value = (
            Op("select", (Op("gt", (x_var, zero), "i1"), acc, zero), "f32")
            if gradient
            else Op("neg", (acc,), "f32")
        )
        operands = (EpilogueOperand("x", "f32", "element"),) if gradient else ()
        call = Pool2D(
            kind="max",
            gradient=gradient,
            dtype="f32",
            batch=None,
            height=6,
            width=7,
            channels=35,
            window=(3, 3),
            strides=(2, 2),
            padding=SAME3,
            epilogue=Epilogue(((result, value),), operands),
        )
        x = numbers(1, 3, 6, 7, 35)
        dy = numbers(2, 3, call.out_height, call.out_width, 35)
        plain = pool_reference(call, x, dy)
        expected = np.where(x > 0, plain, 0) if gradient else -plain
        out = np.zeros(expected.shape, np.float32)
        Runner(call, target)({"x": x, "dy": dy, result: out}, {"batch": 3}, 2)
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_max_pool_takes_the_first_nan() -> None:
    x = np.array([1, np.nan, 3, np.nan], np.float32).reshape(1, 2, 2, 1)
    fields = {
        "dtype": "f32",
        "batch": 1,
        "height": 2,
        "width": 2,
        "channels": 1,
        "window": (2, 2),
        "strides": (2, 2),
    }
    y, dx = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    Runner(Pool2D(kind="max", gradient=False, **fields))({"x": x, "y": y}, {})  # type: ignore[arg-type]
    Runner(Pool2D(kind="max", gradient=True, **fields))(  # type: ignore[arg-type]
        {"x": x, "dy": np.ones((1, 1, 1, 1), np.float32), "dx": dx}, {}
    )
    assert np.isnan(y).all()
    np.testing.assert_array_equal(dx.ravel(), [0, 1, 0, 0])
