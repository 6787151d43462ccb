"""Matrix products against NumPy in float64, over shapes, layouts, targets and numbers of parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphflow.backends.cpu.contraction import emit
from graphflow.backends.cpu.llvm import emit_object
from graphflow.backends.cpu.target import Target, cross_target, host_target, panel_width
from graphflow.loops.ir import Const, Expr, Op, Var, numpy_dtype
from graphflow.loops.library import Epilogue, EpilogueOperand, Gemm
from tests.backends.library_calls import Runner

TOLERANCE = {"f32": 3e-5, "f64": 1e-12}


def numbers(seed: int, *shape: int, dtype: str = "f32") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, shape).astype({"f32": np.float32, "f64": np.float64}[dtype])


def runnable_targets() -> list[Target]:
    """The host's own target and the narrower ones that it can run as well."""
    host = host_target()
    if not host.triple.startswith("x86_64"):
        return [host]
    order = ["generic", "avx2", "avx512"]
    narrower = [cross_target(isa) for isa in order[: order.index(host.isa)]]  # type: ignore[arg-type]
    return [host, *narrower]


def bfloat16_targets() -> list[Target]:
    """The same, and the host without its instructions for bfloat16."""
    plain = [cross_target("avx512")] if host_target().bfloat16_dot else []
    return [*runnable_targets(), *plain]


def check(
    m: int,
    n: int,
    k: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dynamic: str = "",
    dtype: str = "f32",
    target: Target | None = None,
    parts: tuple[int, ...] = (1, 3),
    prepack_b: bool = False,
) -> None:
    a = numbers(1, *((k, m) if transpose_a else (m, k)), dtype=dtype)
    b = numbers(2, *((n, k) if transpose_b else (k, n)), dtype=dtype)
    expected = (a.T if transpose_a else a).astype(np.float64) @ (b.T if transpose_b else b).astype(np.float64)
    call = Gemm(
        dtype=dtype,
        m=None if "m" in dynamic else m,
        n=None if "n" in dynamic else n,
        k=None if "k" in dynamic else k,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        prepack_b=prepack_b,
    )
    runner = Runner(call, target)
    assert not prepack_b or n == 1 or m <= 4 or any(pack.operand == "b" for pack in runner.code.packs)
    bits = set()
    for count in parts:
        guarded = np.full(m * n + 16, 7, a.dtype)
        runner({"a": a, "b": b, "c": guarded}, {"m": m, "n": n, "k": k}, count)
        assert (guarded[m * n :] == 7).all(), "written behind the result"
        np.testing.assert_allclose(
            guarded[: m * n].reshape(m, n), expected, rtol=0, atol=TOLERANCE[dtype] * max(1, k) ** 0.5
        )
        bits.add(guarded.tobytes())
    assert len(bits) == 1, "the bits depend on the number of parts"


SHAPES = [
    (8, 8, 8),
    (1, 1, 1),
    (1, 33, 20),
    (5, 1, 17),
    (128, 100, 64),
    (37, 45, 53),
    (200, 10, 7),
    (3, 70, 33),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dynamic", ["", "m", "mnk"])
@pytest.mark.parametrize("transpose", list(itertools.product([False, True], repeat=2)), ids=str)
def test_product_in_every_layout(
    shape: tuple[int, int, int], transpose: tuple[bool, bool], dynamic: str
) -> None:
    for prepack_b in (False, True):
        check(
            *shape, transpose_a=transpose[0], transpose_b=transpose[1], dynamic=dynamic, prepack_b=prepack_b
        )


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("transpose", list(itertools.product([False, True], repeat=2)), ids=str)
def test_product_on_every_target(target: Target, dtype: str, transpose: tuple[bool, bool]) -> None:
    for dynamic in ("m", "mnk"):
        check(
            45,
            37,
            29,
            dtype=dtype,
            target=target,
            dynamic=dynamic,
            transpose_a=transpose[0],
            transpose_b=transpose[1],
        )


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_factor_in_panels_beforehand(dtype: str, transpose_b: bool, target: Target) -> None:
    for n, k in ((1, 3), (7, 129), (16, 128), (17, 5), (31, 260), (33, 1), (64, 64), (70, 300)):
        for m in (1, 6, 29):
            for dynamic in ("m", "mnk"):
                check(
                    m,
                    n,
                    k,
                    dtype=dtype,
                    target=target,
                    dynamic=dynamic,
                    transpose_b=transpose_b,
                    prepack_b=True,
                )


@pytest.mark.parametrize("m", [1, 2, 4, 5, 13, 14, 15, 27, 28, 29, 43])
def test_one_code_serves_every_batch(m: int) -> None:
    check(m, 40, 24, dynamic="m")
    check(m, 40, 24, dynamic="m", transpose_b=True)
    check(m, 1, 24, dynamic="m")


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("m", [1, 2, 4])
def test_few_rows_against_a_transposed_factor(m: int, dtype: str, target: Target) -> None:
    for n, k in ((1, 1), (3, 40), (37, 19), (64, 64)):
        check(m, n, k, transpose_b=True, dtype=dtype, target=target, dynamic="nk")
        check(m, n, k, transpose_b=True, dtype=dtype, target=target)


@pytest.mark.parametrize("k", [0, 1, 15, 16, 17])
def test_short_sums(k: int) -> None:
    for dynamic in ("", "k"):
        check(9, 20, k, dynamic=dynamic)
        check(9, 20, k, dynamic=dynamic, transpose_b=True)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("transpose", list(itertools.product([False, True], repeat=2)), ids=str)
def test_long_sums_are_cut_into_blocks(transpose: tuple[bool, bool], dtype: str, target: Target) -> None:
    for m, n, k, dynamic in ((33, 70, 1301, ""), (300, 33, 1100, "m"), (37, 600, 1025, "n")):
        for prepack_b in (False, True):
            check(
                m,
                n,
                k,
                transpose_a=transpose[0],
                transpose_b=transpose[1],
                dtype=dtype,
                target=target,
                dynamic=dynamic,
                prepack_b=prepack_b,
            )


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 9, 16])
def test_few_rows_read_a_factor_where_it_lies(m: int, target: Target) -> None:
    for n, k in ((1, 40), (16, 300), (37, 19), (515, 70), (1024, 33)):
        for dtype in ("f32", "f64"):
            for transpose_a in (False, True):
                check(m, n, k, dtype=dtype, target=target, transpose_a=transpose_a)


def test_every_share_of_every_size() -> None:
    for m, n in itertools.product((1, 14, 29, 70), (1, 31, 32, 70, 130)):
        for dynamic in ("", "mn"):
            check(m, n, 9, dynamic=dynamic, parts=(1, 2, 3, 4, 7, 16))


@pytest.mark.parametrize("transpose", list(itertools.product([False, True], repeat=2)), ids=str)
def test_odd_sizes(transpose: tuple[bool, bool]) -> None:
    # Every size in the plain layout, every second one in the others.
    for size in range(1, 71, 2 if any(transpose) else 1):
        check(size, 71 - size, size, transpose_a=transpose[0], transpose_b=transpose[1], parts=(2,))
        if size % 7 == 0:
            check(71 - size, size, 17, transpose_a=transpose[0], transpose_b=transpose[1], dynamic="mnk")


def test_empty_results() -> None:
    check(0, 5, 4, dynamic="m")
    check(0, 5, 4)
    check(4, 0, 4, dynamic="mnk")


def test_rows_that_share_cache_sets_are_packed() -> None:
    call = Gemm(dtype="f32", m=None, n=64, k=512)
    assert "packed_a" in [w.name for w in emit(call, cross_target("avx512")).workspaces]
    check(40, 64, 512, dynamic="m")


def test_random_products() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        m, n, k = (int(v) for v in rng.integers(1, 90, 3))
        check(
            m,
            n,
            k,
            transpose_a=bool(rng.integers(2)),
            transpose_b=bool(rng.integers(2)),
            dynamic=str(rng.choice(["", "m", "mn", "k", "mnk"])),
            dtype=str(rng.choice(["f32", "f64"])),
            parts=(1, 2, 5),
        )


@pytest.mark.parametrize(
    "own", [((True, True), (True, True)), ((True, False), (False, True)), ((False, True), (True, True))]
)
@pytest.mark.parametrize("n", [1, 35])
def test_batches_and_broadcasts(own: tuple[tuple[bool, ...], tuple[bool, ...]], n: int) -> None:
    batch, m, k = (2, 3), 19, 21
    a = numbers(1, *(e if o else 1 for e, o in zip(batch, own[0], strict=True)), m, k)
    b = numbers(2, *(e if o else 1 for e, o in zip(batch, own[1], strict=True)), k, n)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    expected = np.broadcast_to(expected, (*batch, m, n))
    for dynamic, prepack_b in itertools.product((False, True), repeat=2):
        call = Gemm(
            dtype="f32",
            m=None if dynamic else m,
            n=n,
            k=None if dynamic else k,
            batch=(None, None) if dynamic else batch,
            batch_a=own[0],
            batch_b=own[1],
            prepack_b=prepack_b,
        )
        for parts in (1, 4):
            c = np.zeros((*batch, m, n), np.float32)
            Runner(call)({"a": a, "b": b, "c": c}, {"m": m, "k": k, "batch0": 2, "batch1": 3}, parts)
            np.testing.assert_allclose(c, expected, atol=1e-4)


@pytest.mark.parametrize("stride", [40, None])
def test_row_strides(stride: int | None) -> None:
    a, b, c = numbers(1, 20, 40), numbers(2, 17, 40), np.full((20, 40), 7, np.float32)
    for prepack_b in (False, True):
        call = Gemm(
            dtype="f32",
            m=20,
            n=23,
            k=17,
            stride_a=stride,
            stride_b=stride,
            stride_c=stride,
            prepack_b=prepack_b,
        )
        Runner(call)({"a": a, "b": b, "c": c}, {"stride_a": 40, "stride_b": 40, "stride_c": 40}, 2)
        np.testing.assert_allclose(c[:, :23], a[:, :17].astype(np.float64) @ b[:, :23], atol=1e-4)
        assert (c[:, 23:] == 7).all()


@pytest.mark.parametrize("shape", [(128, 64), (37, 20), (5, 1), (1, 33), (3, 5)], ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_matrices_that_lie_apart(shape: tuple[int, int], dynamic: bool, transpose_a: bool) -> None:
    """Heads of attention: slices of `[batch, rows, 3, heads, width]`, and a result `[batch, rows, heads, m]`."""
    rows, width = shape
    batch, heads, others = 2, 3, 29
    a, b = numbers(1, batch, rows, 3, heads, width), numbers(2, batch, others, 3, heads, width)
    left = a[:, :, 1].transpose(0, 2, 1, 3).astype(np.float64)
    left = left.swapaxes(-1, -2) if transpose_a else left
    right = b[:, :, 2].transpose(0, 2, 1, 3)
    (m, k), n = left.shape[-2:], width
    if not transpose_a:
        n, right = others, right.swapaxes(-1, -2)
    else:
        k = min(rows, others)
        left, right = left[..., :k], right[..., :k, :]
    old = numbers(3, batch, m, heads, n)
    expected = (left @ right).transpose(0, 2, 1, 3) + old
    row, sizes = 3 * heads * width, {"m": m, "n": n, "k": k, "batch0": batch, "batch1": heads}
    sizes |= {"stride_a": row, "stride_b": row, "stride_c": heads * n}
    sizes |= {"step_a0": rows * row, "step_b0": others * row, "step_c0": m * heads * n}
    sizes |= {"step_a1": width, "step_b1": width, "step_c1": n}
    acc, earlier = Var("acc", "f32"), Var("old", "f32")
    epilogue = Epilogue(
        (("c", Op("add", (acc, earlier), "f32")),), (EpilogueOperand("old", "f32", "element"),)
    )

    def known(name: str) -> int | None:
        return None if dynamic else sizes[name]

    call = Gemm(
        dtype="f32", m=known("m"), n=known("n"), k=known("k"), transpose_a=transpose_a,
        transpose_b=not transpose_a, batch=(known("batch0"), known("batch1")), stride_a=known("stride_a"),
        stride_b=known("stride_b"), stride_c=known("stride_c"), steps_a=(known("step_a0"), known("step_a1")),
        steps_b=(known("step_b0"), known("step_b1")), steps_c=(known("step_c0"), known("step_c1")),
        epilogue=epilogue,
    )  # fmt: skip
    bits = set()
    for parts in (1, 3):
        c = np.full((batch, m, heads, n), np.nan, np.float32)
        first = {"a": a.ravel()[heads * width :], "b": b.ravel()[2 * heads * width :]}
        Runner(call)(first | {"c": c, "old": old}, sizes, parts)
        np.testing.assert_allclose(c, expected, atol=1e-4)
        bits.add(c.tobytes())
    assert len(bits) == 1


def test_steps_of_zero_share_a_matrix() -> None:
    a, b = numbers(1, 4, 9, 17), numbers(2, 3, 17, 21)
    call = Gemm(dtype="f32", m=9, n=21, k=17, batch=(4, 3), steps_a=(9 * 17, 0), steps_b=(0, 17 * 21))
    c = np.empty((4, 3, 9, 21), np.float32)
    Runner(call)({"a": a, "b": b, "c": c}, {}, 2)
    np.testing.assert_allclose(c, a[:, None].astype(np.float64) @ b, atol=1e-4)


def test_panels_of_matrices_that_lie_apart() -> None:
    """Rows of `a` that share cache sets are packed, whatever lies between the matrices."""
    store, b = numbers(1, 2, 20, 512), numbers(2, 2, 3, 40, 70)
    call = Gemm(
        dtype="f32", m=20, n=70, k=40, batch=(2, 3), stride_a=512, steps_a=(20 * 512, 48), steps_b=None
    )
    # On processors with smaller tiles too few rows share a panel for packing to pay.
    assert "packed_a" in [w.name for w in emit(call, cross_target("avx512")).workspaces]
    c = np.empty((2, 3, 20, 70), np.float32)
    Runner(call)({"a": store, "b": b, "c": c}, {}, 3)
    a = np.stack([store[:, :, at : at + 40] for at in (0, 48, 96)], axis=1)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, atol=1e-4)


def relu(x: Expr) -> Op:
    return Op("max", (x, Const(0.0, "f32")), "f32")


@pytest.mark.parametrize("shape", [(30, 37, 11), (30, 1, 11), (1, 37, 11)], ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_epilogue_reads_rows_columns_elements_and_scalars(shape: tuple[int, int, int], dynamic: bool) -> None:
    m, n, k = shape
    acc, col, row, old, scale = (Var(v, "f32") for v in ("acc", "col", "row", "old", "scale"))
    shifted = Op("add", (Op("add", (acc, col), "f32"), row), "f32")
    final = Op("add", (relu(Op("mul", (shifted, scale), "f32")), old), "f32")
    epilogue = Epilogue(
        (("c", final), ("plain", shifted)),
        (
            EpilogueOperand("col", "f32", "column"),
            EpilogueOperand("row", "f32", "row"),
            EpilogueOperand("old", "f32", "element"),
            EpilogueOperand("scale", "f32", "scalar"),
        ),
    )
    call = Gemm(dtype="f32", m=None if dynamic else m, n=None if dynamic else n, k=k, epilogue=epilogue)
    a, b, c = numbers(1, m, k), numbers(2, k, n), numbers(3, m, n)
    cols, rows, scales, plain = numbers(4, n), numbers(5, m), numbers(6, 1), np.zeros((m, n), np.float32)
    expected_plain = a.astype(np.float64) @ b + cols + rows[:, None]
    expected = np.maximum(expected_plain * scales, 0) + c
    buffers = {"a": a, "b": b, "c": c, "old": c, "col": cols, "row": rows, "scale": scales, "plain": plain}
    Runner(call)(buffers, {"m": m, "n": n}, 2)
    np.testing.assert_allclose(c, expected, atol=1e-4)
    np.testing.assert_allclose(plain, expected_plain, atol=1e-4)


def test_optimizer_step_as_epilogue() -> None:
    def f(name: str, *args: object) -> Op:
        return Op(name, tuple(Const(a, "f32") if isinstance(a, float) else a for a in args), "f32")  # type: ignore[misc]

    g, var, m, v, rate = (Var(x, "f32") for x in ("acc", "var", "m", "v", "rate"))
    m_new = f("add", f("mul", m, 0.9), f("mul", g, 0.1))
    v_new = f("add", f("mul", v, 0.999), f("mul", f("mul", g, g), 0.001))
    var_new = f("sub", var, f("div", f("mul", rate, m_new), f("add", f("sqrt", v_new), 1e-8)))
    epilogue = Epilogue(
        (("var_new", var_new), ("m_new", m_new), ("v_new", v_new)),
        (
            *(EpilogueOperand(x, "f32", "element") for x in ("var", "m", "v")),
            EpilogueOperand("rate", "f32", "scalar"),
        ),
    )
    rows, columns, batch = 31, 50, 12
    x, dy = numbers(1, batch, rows), numbers(2, batch, columns)
    slots = [numbers(3, rows, columns), numbers(4, rows, columns), np.abs(numbers(5, rows, columns))]
    gradient = x.T.astype(np.float64) @ dy
    m_expected = slots[1] * 0.9 + gradient * 0.1
    v_expected = slots[2] * 0.999 + gradient**2 * 0.001
    expected = [slots[0] - 0.01 * m_expected / (np.sqrt(v_expected) + 1e-8), m_expected, v_expected]
    names = ("var", "m", "v")
    buffers = {"a": x, "b": dy, "rate": np.array([0.01], np.float32)}
    buffers |= dict(zip(names, slots, strict=True)) | {
        f"{n}_new": s for n, s in zip(names, slots, strict=True)
    }
    call = Gemm(dtype="f32", m=rows, n=columns, k=None, transpose_a=True, epilogue=epilogue)
    Runner(call)(buffers, {"k": batch}, 2)
    for slot, value in zip(slots, expected, strict=True):
        np.testing.assert_allclose(slot, value, atol=1e-4)


def test_text_is_the_same_every_time_and_told_apart_by_meaning() -> None:
    def code(epilogue: Epilogue | None) -> list[tuple[str, str]]:
        call = Gemm(dtype="f32", m=None, n=16, k=8, epilogue=epilogue)
        return [(launch.symbol, launch.text) for launch in emit(call, cross_target("avx2")).sequence]

    def shifted(by: float) -> Epilogue:
        return Epilogue((("c", Op("add", (Var("acc", "f32"), Const(by, "f32")), "f32")),))

    assert code(shifted(1.0)) == code(shifted(1.0))
    assert code(shifted(1.0))[0][0] != code(shifted(2.0))[0][0]
    assert code(None)[0][0] != code(shifted(1.0))[0][0]


@pytest.mark.parametrize("isa", ["avx512", "avx2", "neon", "generic"])
def test_objects_for_every_instruction_set(isa: str) -> None:
    target = cross_target(isa)  # type: ignore[arg-type]
    for launch in emit(Gemm(dtype="f32", m=None, n=45, k=None, transpose_b=True), target).sequence:
        assert emit_object(launch.text, target)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
def test_epilogue_may_be_any_expression(target: Target) -> None:
    acc, keep = Var("acc", "f32"), Var("keep", "i1")
    value = Op("tanh", (Op("sigmoid", (acc,), "f32"),), "f32")
    epilogue = Epilogue(
        (
            ("c", Op("select", (keep, value, Const(2.0, "f32")), "f32")),
            ("big", Op("gt", (acc, Const(0.0, "f32")), "i1")),
        ),
        (EpilogueOperand("keep", "i1", "element"),),
    )
    a, b, keeps = numbers(1, 21, 9), numbers(2, 9, 37), numbers(3, 21, 37) > 0
    c, big = np.zeros((21, 37), np.float32), np.zeros((21, 37), np.bool_)
    call = Gemm(dtype="f32", m=None, n=37, k=9, epilogue=epilogue)
    Runner(call, target)({"a": a, "b": b, "keep": keeps, "c": c, "big": big}, {"m": 21}, 2)
    product = a.astype(np.float64) @ b
    np.testing.assert_allclose(c, np.where(keeps, np.tanh(1 / (1 + np.exp(-product))), 2.0), atol=1e-5)
    np.testing.assert_array_equal(big, product > 0)


def in_panels(matrix: np.ndarray, width: int) -> np.ndarray:
    """The matrix in panels of so many columns, with rubbish in the padding."""
    rows, columns = matrix.shape
    padded = np.full((rows, -(-columns // width) * width), 7, matrix.dtype)
    padded[:, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(rows, -1, width).transpose(1, 0, 2))


def out_of_panels(panels: np.ndarray, columns: int) -> np.ndarray:
    return panels.transpose(1, 0, 2).reshape(panels.shape[1], -1)[:, :columns]


PANEL_SHAPES = [
    (1, 10, 3),
    (6, 33, 129),
    (29, 70, 300),
    (128, 16, 40),
    (20, 200, 1100),
    (3, 64, 64),
    (40, 2, 5),
]


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("shape", PANEL_SHAPES, ids=str)
def test_a_factor_stored_in_panels(shape: tuple[int, int, int], dtype: str, target: Target) -> None:
    """As it is, and turned: `dx = dy wᵀ`."""
    m, n, k = shape
    width = panel_width(target, dtype, n)
    a, w = numbers(1, m, k, dtype=dtype), numbers(2, k, n, dtype=dtype)
    dy = numbers(3, m, n, dtype=dtype)
    stored = in_panels(w, width)
    for dynamic, parts in itertools.product((False, True), (1, 3)):
        rows = None if dynamic else m
        y, dx = np.zeros((m, n), a.dtype), np.zeros((m, k), a.dtype)
        forward = Gemm(dtype=dtype, m=rows, n=n, k=k, panels_b=width)
        Runner(forward, target)({"a": a, "b": stored, "c": y}, {"m": m}, parts)
        np.testing.assert_allclose(y, a.astype(np.float64) @ w, atol=TOLERANCE[dtype] * k**0.5)
        for prepack_b in (False, True):
            back = Gemm(dtype=dtype, m=rows, n=k, k=n, transpose_b=True, panels_b=width, prepack_b=prepack_b)
            Runner(back, target)({"a": dy, "b": stored, "c": dx}, {"m": m}, parts)
            np.testing.assert_allclose(dx, dy.astype(np.float64) @ w.T, atol=TOLERANCE[dtype] * n**0.5)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("shape", PANEL_SHAPES, ids=str)
def test_a_result_stored_in_panels(shape: tuple[int, int, int], dtype: str, target: Target) -> None:
    """A weight gradient that updates its weights where they lie: `w -= 0.5 xᵀ dy`."""
    batch, n, m = shape
    width = panel_width(target, dtype, n)
    x, dy, w = (
        numbers(1, batch, m, dtype=dtype),
        numbers(2, batch, n, dtype=dtype),
        numbers(3, m, n, dtype=dtype),
    )
    acc, before = Var("acc", dtype), Var("w", dtype)
    step = Op("mul", (acc, Const(0.5, dtype)), dtype)
    bias = numbers(4, n, dtype=dtype)
    shifted = Op("add", (Op("sub", (before, step), dtype), Var("bias", dtype)), dtype)
    epilogue = Epilogue(
        (("new", shifted),),
        (EpilogueOperand("w", dtype, "element"), EpilogueOperand("bias", dtype, "column")),
    )
    wanted = w - 0.5 * (x.astype(np.float64).T @ dy) + bias
    for dynamic, parts in itertools.product((False, True), (1, 3)):
        call = Gemm(
            dtype=dtype,
            m=m,
            n=n,
            k=None if dynamic else batch,
            transpose_a=True,
            panels_c=width,
            epilogue=epilogue,
        )
        stored = in_panels(w, width)
        Runner(call, target)({"a": x, "b": dy, "w": stored, "new": stored, "bias": bias}, {"k": batch}, parts)
        np.testing.assert_allclose(out_of_panels(stored, n), wanted, atol=TOLERANCE[dtype] * batch**0.5)
        assert (stored[-1, :, n % width :] == 7).all() or n % width == 0, "the padding is nobody's"


def test_panels_of_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="no tile is 24 columns wide"):
        emit(Gemm(dtype="f32", m=4, n=70, k=9, panels_b=24), cross_target("avx512"))
    with pytest.raises(ValueError, match="no batches"):
        emit(Gemm(dtype="f32", m=4, n=70, k=9, batch=(2,), panels_b=32), cross_target("avx512"))


def bf16(x: np.ndarray) -> np.ndarray:
    """Rounded, and what the rounded numbers are in float64."""
    return x.astype(numpy_dtype("bf16"))


def check_bf16(
    m: int,
    n: int,
    k: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dynamic: str = "",
    target: Target | None = None,
    prepack_b: bool = False,
) -> None:
    """Factors rounded to bfloat16, products summed in float32: off by what float32 sums are off by."""
    a = bf16(numbers(1, *((k, m) if transpose_a else (m, k))))
    b = bf16(numbers(2, *((n, k) if transpose_b else (k, n))))
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    expected = (a64.T if transpose_a else a64) @ (b64.T if transpose_b else b64)
    call = Gemm(
        dtype="f32",
        operand_dtype="bf16",
        m=None if "m" in dynamic else m,
        n=None if "n" in dynamic else n,
        k=None if "k" in dynamic else k,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        prepack_b=prepack_b,
    )
    # What lies behind the factors must not count, not even as zero times NaN.
    behind = np.full(8, np.nan, np.float32)
    factors = [np.concatenate([x.reshape(-1), bf16(behind)]) for x in (a, b)]
    runner, bits = Runner(call, target), set()
    for parts in (1, 3):
        guarded = np.full(m * n + 16, 7, np.float32)
        runner({"a": factors[0], "b": factors[1], "c": guarded}, {"m": m, "n": n, "k": k}, parts)
        assert (guarded[m * n :] == 7).all(), "written behind the result"
        got = guarded[: m * n].reshape(m, n)
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6 * max(1, k) ** 0.5)
        bits.add(guarded.tobytes())
    assert len(bits) == 1, "the bits depend on the number of parts"


@pytest.mark.parametrize("target", bfloat16_targets(), ids=lambda t: f"{t.isa}-{t.cpu}")
@pytest.mark.parametrize("transpose", list(itertools.product([False, True], repeat=2)), ids=str)
def test_products_of_bfloat16(transpose: tuple[bool, bool], target: Target) -> None:
    for m, n, k in (
        (1, 1, 1),
        (16, 32, 64),
        (45, 37, 29),
        (5, 70, 33),
        (30, 1, 7),
        (1, 40, 20),
        (33, 64, 1301),
    ):
        for dynamic, prepack_b in (("", False), ("m", True), ("k", False), ("mnk", False), ("mnk", True)):
            check_bf16(
                m,
                n,
                k,
                transpose_a=transpose[0],
                transpose_b=transpose[1],
                dynamic=dynamic,
                target=target,
                prepack_b=prepack_b,
            )


@pytest.mark.parametrize("target", bfloat16_targets(), ids=lambda t: f"{t.isa}-{t.cpu}")
def test_results_of_bfloat16_and_batches(target: Target) -> None:
    a, b = bf16(numbers(1, 6, 20, 24)), bf16(numbers(2, 6, 24, 40))
    c, plain = np.zeros((6, 20, 40), numpy_dtype("bf16")), np.zeros((6, 20, 40), np.float32)
    acc = Var("acc", "f32")
    epilogue = Epilogue((("c", Op("cast", (relu(acc),), "bf16")), ("plain", acc)))
    call = Gemm(dtype="f32", operand_dtype="bf16", m=20, n=40, k=24, batch=(None,), epilogue=epilogue)
    Runner(call, target)({"a": a, "b": b, "c": c, "plain": plain}, {"batch0": 6}, 2)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    np.testing.assert_array_equal(c, np.maximum(plain, 0).astype(numpy_dtype("bf16")))


def test_bfloat16_special_numbers() -> None:
    a, b = np.ones((3, 5), np.float32), np.ones((5, 33), np.float32)
    a[0, 4], a[1, 2], b[1, 7] = np.nan, np.inf, -np.inf
    c = np.zeros((3, 33), np.float32)
    call = Gemm(dtype="f32", operand_dtype="bf16", m=3, n=33, k=5)
    Runner(call)({"a": bf16(a), "b": bf16(b), "c": c}, {}, 1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(c, a @ b)
