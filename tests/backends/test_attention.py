"""Attention against NumPy in float64, over shapes, strides, masks, targets and numbers of parts."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.backends.cpu.target import Target
from graphflow.loops.ir import Const, Expr, Op, Var
from graphflow.loops.library import CHANGE, TOTAL, WEIGHT, Attention, AttentionGradient, Epilogue, Lies, Mask
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


# -- gradients ------------------------------------------------------------------------------------------------


def one(name: str, expr: Expr) -> Epilogue:
    return Epilogue(((name, expr),))


def check_gradient(
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
    dropped: bool = False,
    scale: float = 0.3,
) -> None:
    """Operands and results lie head beside head; of the weights some may be dropped, and then others grow."""
    shapes = {
        "q": (m, k),
        "k": (n, k),
        "v": (n, width),
        "g": (m, width),
        "dq": (m, k),
        "dk": (n, k),
        "dv": (n, width),
    }
    sizes = {"m": m, "n": n, "k": k, "width": width, "batch0": batch, "batch1": heads}
    arrays, lies = {}, []

    def known(name: str) -> int | None:
        return None if dynamic else sizes[name]

    for seed, (name, (rows, columns)) in enumerate(shapes.items()):
        arrays[name] = numbers(seed, batch, rows, heads, columns, dtype=dtype)
        sizes |= {
            f"stride_{name}": heads * columns,
            f"step_{name}0": rows * heads * columns,
            f"step_{name}1": columns,
        }
        lies.append(Lies(name, known(f"stride_{name}"), (known(f"step_{name}0"), known(f"step_{name}1"))))
    weight, change = Var(WEIGHT, dtype), Var(CHANGE, dtype)
    kept = np.ones((batch, heads, m, n), np.bool_)
    masks: tuple[Mask, ...] = ()
    rule = None
    if dropped:
        kept = np.random.default_rng(5).random(kept.shape) < 0.75
        sizes |= {"stride_kept": n, "step_kept0": heads * m * n, "step_kept1": m * n}
        masks = (Mask("kept", "i1", known("stride_kept"), 1, (known("step_kept0"), known("step_kept1"))),)
        arrays["kept"] = kept

        def drop(x: Expr) -> Expr:
            grown = Op("mul", (x, Const(4 / 3, dtype)), dtype)
            return Op("select", (Var("kept", "i1"), grown, Const(0.0, dtype)), dtype)

        rule, change = one("weight", drop(weight)), drop(change)
    sloping = Op("mul", (Op("sub", (change, Var(TOTAL, dtype)), dtype), weight), dtype)
    call = AttentionGradient(
        dtype=dtype, m=known("m"), n=known("n"), k=known("k"), width=known("width"),
        batch=(known("batch0"), known("batch1")), operands=tuple(lies), masks=masks, weight=rule,
        score=one("score", Op("mul", (Var("acc", dtype), Const(scale, dtype)), dtype)),
        summed=one("summed", Op("mul", (change, weight), dtype)),
        slope=one("slope", Op("mul", (sloping, Const(scale, dtype)), dtype)),
    )  # fmt: skip
    q, key, v, g = (arrays[name].astype(np.float64) for name in "qkvg")
    shares = weights(np.einsum("bmhk,bnhk->bhmn", q, key) * scale)
    factor = kept * (4 / 3 if dropped else 1.0)
    changes = np.einsum("bmhw,bnhw->bhmn", g, v) * factor
    slopes = (changes - (changes * shares).sum(-1, keepdims=True)) * shares * scale
    expected = {
        "dq": np.einsum("bhmn,bnhk->bmhk", slopes, key),
        "dk": np.einsum("bhmn,bmhk->bnhk", slopes, q),
        "dv": np.einsum("bhmn,bmhw->bnhw", shares * factor, g),
    }
    runner = Runner(call, target)
    bits = set()
    for parts in (1, 3):
        guarded = {name: np.full(arrays[name].size + 16, 7, arrays[name].dtype) for name in expected}
        runner({**arrays, **guarded}, sizes, parts)
        for name, wanted in expected.items():
            assert (guarded[name][-16:] == 7).all(), f"written behind {name}"
            made = guarded[name][:-16].reshape(wanted.shape)
            np.testing.assert_allclose(made, wanted, rtol=0, atol={"f32": 1e-4, "f64": 1e-12}[dtype])
        bits.add(b"".join(array.tobytes() for array in guarded.values()))
    assert len(bits) == 1, "the bits depend on the number of parts"


@pytest.mark.parametrize("shape", [*SHAPES[::2], (1, 2, 100, 9, 8, 16)], ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_gradients_of_any_shape(shape: tuple[int, int, int, int, int, int], dynamic: bool) -> None:
    check_gradient(*shape, dynamic=dynamic, dropped=shape[2] % 2 == 1)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_gradients_on_every_target(target: Target, dtype: str) -> None:
    check_gradient(2, 2, 55, 37, 19, 21, dtype=dtype, target=target, dropped=True)


@pytest.mark.parametrize("odd", range(1, 71, 17))
def test_every_edge_of_gradients(odd: int) -> None:
    check_gradient(1, 2, odd, 71 - odd, odd, 71 - odd, dynamic=odd % 2 == 0)
