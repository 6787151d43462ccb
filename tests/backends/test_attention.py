"""Attention against NumPy in float64, over shapes, strides, masks, targets and numbers of parts."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.backends.cpu.target import Target
from graphflow.loops.ir import Const, Expr, Op, Var
from graphflow.loops.library import Attention, Epilogue, Mask
from tests.backends.library_calls import Runner
from tests.backends.test_contraction import numbers, runnable_targets


def weights(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(grown / grown.sum(-1, keepdims=True))


def check(
    batch: int,
    heads: int,
    m: int,
    n: int,
    k: int,
    width: int,
    *,
    dynamic: bool = False,
    dtype: str = "f32",
    target: Target | None = None,
    mask: np.ndarray | None = None,
    scale: float = 0.3,
    change: float | None = None,
) -> np.ndarray:
    """Queries, keys and values lie head beside head; the mask stretches over axes of one element."""
    q, key, v = (
        numbers(seed, batch, rows, heads, columns, dtype=dtype)
        for seed, rows, columns in ((1, m, k), (2, n, k), (3, n, width))
    )
    if change is not None:
        key[0, n // 2, 0, 0] = change
    score: Expr = Op("mul", (Var("acc", dtype), Const(scale, dtype)), dtype)
    masks: tuple[Mask, ...] = ()
    sizes = {"m": m, "n": n, "k": k, "width": width, "batch0": batch, "batch1": heads}
    steps: dict[str, tuple[int, int]] = {}
    for name, rows, columns in (("q", m, k), ("k", n, k), ("v", n, width), ("c", m, width)):
        sizes |= {f"stride_{name}": heads * columns}
        steps[name] = (rows * heads * columns, columns)
        sizes |= {f"step_{name}{axis}": step for axis, step in enumerate(steps[name])}

    def known(name: str) -> int | None:
        return None if dynamic else sizes[name]

    def both(name: str) -> tuple[int | None, ...]:
        return known(f"step_{name}0"), known(f"step_{name}1")

    expected = np.einsum("bmhk,bnhk->bhmn", q.astype(np.float64), key.astype(np.float64)) * scale
    buffers = {"q": q, "k": key, "v": v}
    if mask is not None:
        over = [s // array_bytes for s, array_bytes in zip(mask.strides, [mask.itemsize] * 4, strict=True)]
        over = [0 if extent == 1 else stride for extent, stride in zip(mask.shape, over, strict=True)]
        assert over[3] in (0, 1)
        sizes |= {"stride_mask": over[2], "step_mask0": over[0], "step_mask1": over[1]}
        steps_of = (known("step_mask0"), known("step_mask1"))
        masks = (Mask("mask", dtype, known("stride_mask"), 1 if over[3] else 0, steps_of),)
        score = Op("add", (score, Var("mask", dtype)), dtype)
        expected = expected + mask
        buffers["mask"] = mask
    call = Attention(
        dtype=dtype, m=known("m"), n=known("n"), k=known("k"), width=known("width"),
        batch=(known("batch0"), known("batch1")), score=Epilogue((("score", score),)), masks=masks,
        stride_q=known("stride_q"), stride_k=known("stride_k"), stride_v=known("stride_v"),
        stride_c=known("stride_c"), steps_q=both("q"), steps_k=both("k"), steps_v=both("v"), steps_c=both("c"),
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        expected = np.einsum("bhmn,bnhw->bmhw", weights(expected), v.astype(np.float64))
    runner = Runner(call, target)
    bits = set()
    made = np.empty(0)
    for parts in (1, 3):
        guarded = np.full(q.size // k * width + 16, 7, q.dtype)
        runner({**buffers, "c": guarded}, sizes, parts)
        assert (guarded[-16:] == 7).all(), "written behind the result"
        made = guarded[:-16].reshape(expected.shape)
        np.testing.assert_allclose(made, expected, rtol=0, atol={"f32": 2e-5, "f64": 1e-12}[dtype])
        bits.add(guarded.tobytes())
    assert len(bits) == 1, "the bits depend on the number of parts"
    return made


SHAPES = [
    (2, 3, 128, 128, 64, 64),
    (1, 2, 37, 45, 20, 33),
    (1, 1, 1, 1, 1, 1),
    (2, 1, 5, 70, 3, 17),
    (1, 3, 29, 16, 40, 5),
    (1, 1, 14, 33, 16, 100),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_attention_of_any_shape(shape: tuple[int, int, int, int, int, int], dynamic: bool) -> None:
    check(*shape, dynamic=dynamic)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_attention_on_every_target(target: Target, dtype: str) -> None:
    for dynamic in (False, True):
        check(2, 2, 31, 37, 19, 21, dtype=dtype, target=target, dynamic=dynamic)


@pytest.mark.parametrize(
    "shape", [(2, 3, 21, 35), (2, 1, 1, 35), (1, 1, 21, 35), (2, 1, 21, 1), (1, 1, 1, 1)], ids=str
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_masks_stretch(shape: tuple[int, int, int, int], dynamic: bool) -> None:
    check(2, 3, 21, 35, 8, 16, mask=numbers(7, *shape) * 3, dynamic=dynamic)


@pytest.mark.parametrize("odd", range(1, 71, 3))
def test_every_edge(odd: int) -> None:
    check(1, 2, odd, 71 - odd, odd, 71 - odd, dynamic=odd % 2 == 0)


def test_masked_keys_count_nothing_and_hidden_rows_are_not_a_number() -> None:
    mask = np.zeros((1, 1, 20, 37), np.float32)
    mask[..., 30:] = -np.inf
    check(1, 1, 20, 37, 8, 16, mask=mask)
    mask[:, :, 3] = -np.inf
    made = check(1, 1, 20, 37, 8, 16, mask=mask)
    assert np.isnan(made[0, 3]).all()
    assert np.isfinite(made[0, 4]).all()


def test_great_scores_do_not_overflow() -> None:
    check(1, 2, 20, 37, 8, 16, scale=300.0, change=50.0)


def test_what_is_not_a_number_spreads_along_its_head() -> None:
    made = check(1, 2, 20, 37, 8, 16, change=np.nan)
    assert np.isnan(made[0, :, 0]).all()
    assert np.isfinite(made[0, :, 1]).all()
