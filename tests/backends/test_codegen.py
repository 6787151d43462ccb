"""Generated code against the interpreter: every function and dtype, every kind of loop, on every runnable target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphflow.backends.cpu.codegen import kernel_to_llvm
from graphflow.backends.cpu.llvm import emit_object
from graphflow.backends.cpu.target import Target, cross_target, host_target
from graphflow.loops.build import Builder, Scalar
from graphflow.loops.interpret import evaluate, interpret
from graphflow.loops.ir import DTYPES, FUNCTIONS, Kernel, is_float, is_native, kind, numpy_dtype
from tests.backends.kernel_runs import run_kernel, runnable_targets

TARGETS = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.isa)


def elementwise(name: str, dtypes: list[str], result: str, function: str) -> Kernel:
    b = Builder(name)
    inputs = [b.buffer(f"x{k}", dtype) for k, dtype in enumerate(dtypes)]
    out = b.buffer("out", result)
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        values = [b.load(x, i) for x in inputs]
        b.store(out, i, b.cast(values[0], result) if function == "cast" else b.apply(function, *values))
    return b.kernel()


def samples(dtype: str, rng: np.random.Generator, size: int) -> np.ndarray:
    target = numpy_dtype(dtype)
    if dtype == "i1":
        return rng.integers(0, 2, size).astype(bool)
    if is_float(dtype):
        with np.errstate(over="ignore"):
            values = (rng.standard_normal(size) * np.exp(rng.uniform(-3, 3, size))).astype(target)
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 2.0], target)
        values[: len(special)] = special
        return rng.permutation(values)
    info = np.iinfo(target)
    values = rng.integers(info.min, info.max, size, dtype=target, endpoint=True)
    values[: size // 2] = rng.integers(0, 9, size // 2)
    values[0], values[1], values[2] = info.min, info.max, 0
    return rng.permutation(values)


def agree(actual: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    if is_float(dtype):
        tolerance = {"f64": 1e-13, "f32": 2e-6, "f16": 2e-3, "bf16": 2e-2}[dtype]
        np.testing.assert_allclose(
            actual.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance * 1e-2
        )
    else:
        np.testing.assert_array_equal(actual, expected)


CASES = [
    (name, dtype)
    for name, function in FUNCTIONS.items()
    if function.result != "given"
    for dtype in DTYPES
    if is_native(name, dtype)
]


@TARGETS
@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_functions_agree_with_numpy(name: str, target: Target) -> None:
    rng = np.random.default_rng(len(name))
    for dtype in (d for n, d in CASES if n == name):
        function = FUNCTIONS[name]
        dtypes = ["i1", dtype, dtype] if function.result == "select" else [dtype] * function.arity
        result = "i1" if function.result == "i1" else dtype
        size = 67
        arrays = [samples(d, rng, size) for d in dtypes]
        out = np.zeros(size, numpy_dtype(result))
        run_kernel(elementwise(f"{name}_{dtype}", dtypes, result, name), [*arrays, out, size], target)
        wide = [
            a.astype(np.float32) if d in ("f16", "bf16") else a for a, d in zip(arrays, dtypes, strict=True)
        ]
        with np.errstate(all="ignore"):
            expected = np.asarray(function.numpy(*wide)).astype(numpy_dtype(result))
        try:
            agree(out, expected, result)
        except AssertionError as error:
            raise AssertionError(f"{name} of {dtype} on {target.isa}\n{error}") from None


@TARGETS
@pytest.mark.parametrize("source", list(DTYPES))
def test_casts_agree_with_numpy(source: str, target: Target) -> None:
    rng = np.random.default_rng(5)
    x = samples(source, rng, 67)
    for result in DTYPES:
        if source == result:
            continue
        out = np.zeros(67, numpy_dtype(result))
        run_kernel(elementwise(f"cast_{source}_{result}", [source], result, "cast"), [x, out, 67], target)
        with np.errstate(all="ignore"):
            expected = FUNCTIONS["cast"].numpy(x, numpy_dtype(result))
        assert out.dtype == expected.dtype
        if result == "bf16" and source == "f64":
            agree(out, expected, result)  # by way of f32, so a tie may go the other way
        else:
            np.testing.assert_array_equal(out.astype(np.float64), expected.astype(np.float64), result)


@TARGETS
def test_half_floats_keep_every_bit_pattern(target: Target) -> None:
    for dtype in ("f16", "bf16"):
        x = np.arange(65536, dtype=np.uint16).view(numpy_dtype(dtype))
        wide, back = np.zeros(65536, np.float32), np.zeros_like(x)
        run_kernel(elementwise(f"widen_{dtype}", [dtype], "f32", "cast"), [x, wide, 65536], target)
        np.testing.assert_array_equal(wide, x.astype(np.float32))
        run_kernel(elementwise(f"narrow_{dtype}", ["f32"], dtype, "cast"), [wide, back, 65536], target)
        np.testing.assert_array_equal(back.astype(np.float32), wide)
        rng = np.random.default_rng(1)
        with np.errstate(over="ignore"):
            y = (rng.standard_normal(5000) * np.exp(rng.uniform(-25, 15, 5000))).astype(np.float32)
            narrow = np.zeros(5000, numpy_dtype(dtype))
            run_kernel(elementwise(f"narrow_{dtype}", ["f32"], dtype, "cast"), [y, narrow, 5000], target)
            np.testing.assert_array_equal(narrow, y.astype(numpy_dtype(dtype)))


def reduction(op: str, dtype: str, value: str = "") -> Kernel:
    """out[r] = op over c of x[r, c], rows in parallel, columns a vector loop with a carry."""
    b = Builder(f"reduce_{op}_{dtype}")
    x, out = b.buffer("x", dtype), b.buffer("out", dtype)
    rows, columns = b.int_param("rows"), b.int_param("columns")
    init = {"add": 0, "mul": 1, "or": False, "and": True}.get(op)
    with b.loop("r", 0, rows, "parallel") as r:
        start: Scalar = (
            b.lowest(dtype) if op in ("max", "maxnum") else b.highest(dtype) if init is None else init
        )
        total = b.carry("total", start, op, dtype)
        with b.loop("c", 0, columns, "vector", [total]) as c:
            b.update(total, b.load(x, b.add(b.mul(r, columns), c)))
        b.store(out, r, total)
    return b.kernel()


@TARGETS
@pytest.mark.parametrize("columns", [0, 1, 3, 8, 16, 31, 64, 100, 257])
def test_row_reductions(columns: int, target: Target) -> None:
    rng = np.random.default_rng(columns)
    for op, dtype in [("add", "f32"), ("max", "f32"), ("min", "f64"), ("add", "i32"), ("mul", "f64"),
                      ("max", "i8"), ("min", "u16"), ("or", "i1"), ("and", "i1"), ("add", "i64")]:  # fmt: skip
        x = samples(dtype, rng, max(9, 5 * columns))[: 5 * columns]
        if is_float(dtype):
            x = np.abs(np.nan_to_num(x, posinf=3, neginf=-2, nan=1.5))
            x = (x / np.abs(x).max() + 1).astype(x.dtype) if op == "mul" and columns else x
        kernel = reduction(op, dtype)
        expected, got, split = (np.zeros(5, x.dtype) for _ in range(3))
        interpret(kernel, [x, expected, 5, columns])
        run_kernel(kernel, [x, got, 5, columns], target)
        run_kernel(kernel, [x, split, 5, columns], target, parts=3)
        agree(got, expected, dtype)
        assert got.tobytes() == split.tobytes()


@TARGETS
def test_maximum_of_a_row_with_nan_is_nan(target: Target) -> None:
    for position in range(40):
        x = np.arange(40, dtype=np.float32)
        x[position] = np.nan
        out = np.zeros(1, np.float32)
        run_kernel(reduction("max", "f32"), [x, out, 1, 40], target)
        assert np.isnan(out[0])


@TARGETS
def test_greatest_number_of_a_row_leaves_nan_out(target: Target) -> None:
    for position in range(40):
        x = np.arange(40, dtype=np.float32)
        x[position] = np.nan
        out = np.zeros(1, np.float32)
        run_kernel(reduction("maxnum", "f32"), [x, out, 1, 40], target)
        assert out[0] == (38 if position == 39 else 39)
    x[:] = np.nan
    run_kernel(reduction("maxnum", "f32"), [x, out, 1, 40], target)
    assert out[0] == -np.inf


@TARGETS
@pytest.mark.parametrize("columns", [1, 15, 16, 33, 64, 100])
def test_rows_kept_in_memory_of_the_kernels_own_and_streamed_out(columns: int, target: Target) -> None:
    b = Builder("twice")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    row = b.local("row", "f32", columns)
    rows = b.int_param("rows")
    with b.loop("r", 0, rows, "parallel") as r:
        total = b.carry("total", 0.0, "add", "f32")
        with b.loop("c", 0, columns, "vector", [total]) as c:
            value = b.let("v", b.exp(b.load(x, b.add(b.mul(r, columns), c))))
            b.store(row, c, value)
            b.prefetch(x, b.add(b.mul(b.add(r, 1), columns), c))
            b.update(total, value)
        with b.loop("c", 0, columns, "vector") as c:
            at = b.add(b.mul(r, columns), c)
            b.store(out, at, b.div(b.load(row, c), total), streaming=columns % 16 == 0)
    data = np.random.default_rng(0).standard_normal((7, columns)).astype(np.float32)
    memory = np.zeros(7 * columns + 16, np.float32)
    first = -memory.ctypes.data % 64 // 4
    result = memory[first : first + 7 * columns]
    kernel = b.kernel()
    run_kernel(kernel, [data.ravel(), result, 7], target, parts=2)
    e = np.exp(data)
    np.testing.assert_allclose(result.reshape(data.shape), e / e.sum(1, keepdims=True), rtol=2e-6)
    slow = np.zeros_like(result)
    interpret(kernel, [data.ravel(), slow, 7])
    np.testing.assert_allclose(result, slow, rtol=2e-6)
    if columns == 64:
        text = kernel_to_llvm(kernel, target, "k")
        assert "!nontemporal" in text and "sfence" in text


@TARGETS
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_of_a_lanes_index_with_a_number(name: str, target: Target) -> None:
    b = Builder(f"compare_{name}")
    numbers, out = b.buffer("numbers", "i64"), b.buffer("out", "i1")
    count = b.int_param("count")
    with b.loop("n", 0, count) as n:
        number = b.let("number", b.load(numbers, n))
        with b.loop("c", 0, 41, "vector") as c:
            where = b.mul(b.add(b.mul(n, 41), c), 2)
            b.store(out, where, b.apply(name, c, number))
            b.store(out, b.add(where, 1), b.apply(name, number, c))
    values = np.array([-(2**63), -(2**40), -17, -1, 0, 1, 15, 16, 40, 41, 2**31, 2**40, 2**63 - 1])
    got, expected = (np.zeros(len(values) * 41 * 2, np.bool_) for _ in range(2))
    kernel = b.kernel()
    run_kernel(kernel, [values, got, len(values)], target)
    interpret(kernel, [values, expected, len(values)])
    np.testing.assert_array_equal(got, expected)


@TARGETS
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 9, 10, 12, 17, 20, 34, 41])
def test_what_is_left_over_at_the_end_of_a_known_number_of_turns(count: int, target: Target) -> None:
    b = Builder(f"rest_{count}")
    x, y, z, total = (b.buffer(name, "f32") for name in ("x", "y", "z", "total"))
    picked = b.buffer("picked", "i32")
    fold, top = b.carry("fold", 1.5, "add", "f32"), b.carry("top", b.lowest("f32"), "max")
    with b.loop("c", 0, count, "vector", [fold, top]) as c:
        value = b.let("value", b.tanh(b.load(x, c)))
        b.store(y, c, value)
        b.store(
            z,
            b.sub(count - 1, c),
            b.select(b.gt(value, 0.0), b.load(x, b.cast(b.load(picked, c), "i64")), value),
        )
        b.update(fold, value)
        b.update(top, b.load(x, b.sub(count - 1, c)))
    b.store(total, 0, fold)
    b.store(total, 1, top)
    random = np.random.default_rng(count)
    data = random.standard_normal(count).astype(np.float32)
    places = random.integers(0, count, count).astype(np.int32)
    kernel = b.kernel()
    # One element more than is to be written: it must stay.
    got, expected = ([np.full(n, 7, np.float32) for n in (count + 1, count + 1, 2)] for _ in range(2))
    run_kernel(kernel, [data, *got, places], target)
    interpret(kernel, [data, *expected, places])
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if count in (1, 2, 4, 8):
        assert "masked.store" not in kernel_to_llvm(kernel, target, "k")


def softmax(columns: int | None) -> Kernel:
    b = Builder("softmax")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    rows = b.int_param("rows")
    width: Scalar = b.int_param("columns") if columns is None else columns
    with b.loop("r", 0, rows, "parallel") as r:
        base = b.let("base", b.mul(r, width))
        top = b.carry("top", b.lowest("f32"), "max")
        with b.loop("c", 0, width, "vector", [top]) as c:
            b.update(top, b.load(x, b.add(base, c)))
        total = b.carry("total", 0.0, "add", "f32")
        with b.loop("c", 0, width, "vector", [total]) as c:
            power = b.let("power", b.exp(b.sub(b.load(x, b.add(base, c)), top)))
            b.update(total, power)
            b.store(out, b.add(base, c), power)
        with b.loop("c", 0, width, "vector") as c:
            b.store(out, b.add(base, c), b.div(b.load(out, b.add(base, c)), total))
    return b.kernel()


@TARGETS
@pytest.mark.parametrize("columns", [1, 7, 10, 16, 33, 64, 100])
def test_softmax(columns: int, target: Target) -> None:
    x = np.random.default_rng(0).standard_normal((6, columns)).astype(np.float32)
    e = np.exp(x - x.max(1, keepdims=True))
    for kernel, sizes in [(softmax(columns), [6]), (softmax(None), [6, columns])]:
        out = np.zeros_like(x)
        run_kernel(kernel, [x.ravel(), out.ravel(), *sizes], target, parts=2)
        np.testing.assert_allclose(out, e / e.sum(1, keepdims=True), rtol=2e-6)
        in_place = x.copy()
        run_kernel(kernel, [in_place.ravel(), in_place.ravel(), *sizes], target)
        assert in_place.tobytes() == out.tobytes()


@TARGETS
def test_column_reduction_keeps_vectors_in_a_serial_loop(target: Target) -> None:
    b = Builder("columns")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    rows, columns = b.int_param("rows"), b.int_param("columns")
    with b.loop("c", 0, columns, "vector") as c:
        total = b.carry("total", 0.0, "add", "f32")
        with b.loop("r", 0, rows, "serial", [total]) as r:
            b.update(total, b.load(x, b.add(b.mul(r, columns), c)))
        b.store(out, c, total)
    kernel = b.kernel()
    for shape in [(3, 1), (5, 16), (7, 45), (0, 20)]:
        data = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        result = np.full(shape[1], -1, np.float32)
        run_kernel(kernel, [data.ravel(), result, *shape], target)
        np.testing.assert_allclose(result, data.sum(0), rtol=1e-5, atol=1e-6)


@TARGETS
def test_a_carry_of_an_inner_loop_does_not_outlive_the_turn_of_an_unrolled_one(target: Target) -> None:
    x = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    out = np.zeros((4, 6), np.float32)
    b = Builder("middle")
    xs, out_buffer = b.buffer("x", "f32"), b.buffer("out", "f32")
    with b.loop("r", 0, 4) as r, b.loop("j", 0, 6, "vector") as j:
        total = b.carry("total", 0.0, "add", "f32")
        with b.loop("c", 0, 5, carries=[total]) as c:
            b.update(total, b.load(xs, b.add(b.mul(r, 30), b.add(j, b.mul(c, 6)))))
        b.store(out_buffer, b.add(b.mul(r, 6), j), total)
    run_kernel(b.kernel(), [x, out], target)
    np.testing.assert_array_equal(out, x.sum(1))


@TARGETS
def test_ragged_rows_run_each_lane_to_its_own_end(target: Target) -> None:
    b = Builder("ragged")
    x, starts, out = b.buffer("x", "f32"), b.buffer("starts", "i64"), b.buffer("out", "f32")
    n = b.int_param("n")
    with b.loop("s", 0, n, "vector") as s:
        total = b.carry("total", 1.0, "add", "f32")
        first, last = b.load(starts, s), b.load(starts, b.add(s, 1))
        with b.loop("k", first, last, "serial", [total]) as k:
            b.update(total, b.load(x, k))
        b.store(out, s, total)
    rng = np.random.default_rng(9)
    lengths = rng.integers(0, 6, 37)
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = rng.standard_normal(int(bounds[-1])).astype(np.float32)
    out_array, expected = np.zeros(37, np.float32), np.zeros(37, np.float32)
    run_kernel(b.kernel(), [data, bounds, out_array, 37], target)
    interpret(b.kernel(), [data, bounds, expected, 37])
    np.testing.assert_allclose(out_array, expected, rtol=1e-5)


@TARGETS
def test_gather_stride_reverse_and_conditions(target: Target) -> None:
    b = Builder("moves")
    x, ids, out = b.buffer("x", "f32"), b.buffer("ids", "i32"), b.buffer("out", "f32")
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        picked = b.load(x, b.cast(b.load(ids, i), "i64"))
        spread = b.load(x, b.add(b.mul(i, 2), 1))
        back = b.load(x, b.sub(b.sub(n, 1), i))
        with b.where(b.gt(b.load(x, i), 0.0)):
            b.store(out, b.mul(i, 3), b.add(picked, b.add(spread, back)))
        with b.where(b.lt(b.load(ids, i), 5)):
            # Out of bounds for other lanes.
            b.store(out, b.add(b.mul(i, 3), 1), b.load(x, b.sub(b.mul(b.cast(b.load(ids, i), "i64"), 3), 0)))
        b.store(out, b.add(b.mul(b.sub(b.sub(n, 1), i), 3), 2), b.cast(i, "f32"))
    kernel = b.kernel()
    for n_value in (1, 15, 16, 50):
        rng = np.random.default_rng(n_value)
        data = rng.standard_normal(2 * n_value + 12).astype(np.float32)
        numbers = rng.integers(0, n_value, n_value).astype(np.int32)
        got, expected = np.zeros(3 * n_value, np.float32), np.zeros(3 * n_value, np.float32)
        run_kernel(kernel, [data, numbers, got, n_value], target)
        interpret(kernel, [data, numbers, expected, n_value])
        np.testing.assert_array_equal(got, expected)


@TARGETS
def test_serial_scan_sets_its_carry(target: Target) -> None:
    b = Builder("scan")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    n, decay = b.int_param("n"), b.scalar_param("decay", "f32")
    state = b.carry("state", 0.0, "set", "f32")
    with b.loop("i", 0, n, "serial", [state]) as i:
        b.update(state, b.add(b.mul(state, decay), b.load(x, i)))
        b.store(out, i, state)
    data = np.random.default_rng(2).standard_normal(20).astype(np.float32)
    got, expected = np.zeros(20, np.float32), np.zeros(20, np.float32)
    run_kernel(b.kernel(), [data, got, 20, 0.5], target)
    interpret(b.kernel(), [data, expected, 20, 0.5])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@TARGETS
def test_constants_of_whole_and_of_short_vectors_are_told_apart(target: Target) -> None:
    b = Builder("largest")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    with b.loop("j", 0, 10, "vector") as j:
        best, where = b.carry("best", -np.inf, "set", "f32"), b.carry("where", -1, "set", "i64")
        with b.loop("c", 0, 3, carries=[best, where]) as c:
            here = b.let("here", b.add(b.mul(c, 10), j))
            new = b.let("new", b.load(x, here))
            with b.where(b.lt(c, 2)), b.where(b.or_(b.gt(new, best), b.lt(where, 0))):
                b.update(best, new)
                b.update(where, here)
        b.store(out, j, b.add(best, b.cast(where, "f32")))
    data = np.random.default_rng(4).standard_normal((3, 10)).astype(np.float32)
    got, expected = np.zeros((2, 10), np.float32)
    run_kernel(b.kernel(), [data.ravel(), got], target)
    interpret(b.kernel(), [data.ravel(), expected])
    np.testing.assert_array_equal(got, expected)


@TARGETS
def test_carries_pass_through_inner_loops_and_conditions(target: Target) -> None:
    b = Builder("nested")
    x, out = b.buffer("x", "f64"), b.buffer("out", "f64")
    rows = b.int_param("rows")
    total, count = b.carry("total", 0.0, "add", "f64"), b.carry("count", 0, "add", "i64")
    with b.loop("r", 0, rows, "serial", [total, count]) as r:
        with b.loop("c", 0, 21, "vector") as c:
            value = b.load(x, b.add(b.mul(r, 21), c))
            with b.where(b.gt(value, 0.0)):
                b.update(total, value)
        with b.where(b.eq(b.truncmod(r, 2), 0)):
            b.update(count, 1)
    b.store(out, 0, total)
    b.store(out, 1, b.cast(count, "f64"))
    data = np.random.default_rng(4).standard_normal((7, 21))
    got = np.zeros(2)
    run_kernel(b.kernel(), [data.ravel(), got, 7], target)
    np.testing.assert_allclose(got, [data[data > 0].sum(), 4], rtol=1e-12)


@TARGETS
def test_philox_words(target: Target) -> None:
    b = Builder("philox")
    out = b.buffer("out", "u32")
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        words = [b.cast(i, "u32"), b.const(0, "u32"), b.const(0, "u32"), b.const(0, "u32")]
        key = [b.const(7, "u32"), b.const(9, "u32")]
        for _ in range(10):
            high0, low0 = b.mulhi(words[0], 0xD2511F53), b.mul(words[0], 0xD2511F53)
            high1, low1 = b.mulhi(words[2], 0xCD9E8D57), b.mul(words[2], 0xCD9E8D57)
            words = [b.xor(b.xor(high1, words[1]), key[0]), low1, b.xor(b.xor(high0, words[3]), key[1]), low0]
            key = [b.add(key[0], 0x9E3779B9), b.add(key[1], 0xBB67AE85)]
        b.store(out, i, b.xor(words[0], b.xor(words[1], b.xor(words[2], words[3]))))
    got, expected = np.zeros(40, np.uint32), np.zeros(40, np.uint32)
    run_kernel(b.kernel(), [got, 40], target)
    interpret(b.kernel(), [expected, 40])
    np.testing.assert_array_equal(got, expected)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_random_expressions_agree_with_the_interpreter(data: st.DataObject) -> None:
    unary = ["neg", "abs", "exp", "tanh", "sigmoid", "floor", "sqrt", "sign", "log1p", "erf"]
    binary = ["add", "sub", "mul", "div", "max", "min", "floordiv"]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    b = Builder("random")
    inputs = [b.buffer(f"x{k}", "f64") for k in range(3)]
    out = b.buffer("out", "f64")
    n = b.int_param("n")
    arrays = [rng.uniform(0.1, 2, 29) for _ in inputs]
    with b.loop("i", 0, n, "vector") as i:
        values = [b.load(x, i) for x in inputs]
        names = b.var("x0", "f64"), b.var("x1", "f64"), b.var("x2", "f64")
        free = list(names)
        for _ in range(data.draw(st.integers(1, 9))):
            pick = st.integers(0, len(values) - 1)
            if data.draw(st.booleans()):
                name, chosen = data.draw(st.sampled_from(unary)), [data.draw(pick)]
            else:
                name, chosen = data.draw(st.sampled_from(binary)), [data.draw(pick), data.draw(pick)]
            values.append(b.apply(name, *(values[k] for k in chosen)))
            free.append(b.apply(name, *(free[k] for k in chosen)))
        b.store(out, i, values[-1])
    got = np.zeros(29)
    run_kernel(b.kernel(), [*arrays, got, 29])
    expected = evaluate(free[-1], {f"x{k}": a for k, a in enumerate(arrays)})
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("isa", ["avx512", "avx2", "neon", "generic"])
def test_objects_for_every_target(isa: str) -> None:
    target = cross_target(isa)  # type: ignore[arg-type]
    kernels = [softmax(None), reduction("max", "i8"), elementwise("sin_f64", ["f64"], "f64", "sin")]
    kernels += [elementwise(f"half_{d}", [d], "f32", "cast") for d in ("f16", "bf16")]
    machine = {"neon": 0xB7}.get(isa, 0x3E)
    for kernel in kernels:
        data = emit_object(kernel_to_llvm(kernel, target, "symbol"), target)
        assert data[:4] == b"\x7fELF"
        assert int.from_bytes(data[18:20], "little") == machine
        assert b"symbol" in data


def test_code_does_not_depend_on_when_it_is_made() -> None:
    texts = {kernel_to_llvm(softmax(None), host_target(), "softmax") for _ in range(3)}
    assert len(texts) == 1


def test_deep_expressions_do_not_exhaust_the_stack() -> None:
    b = Builder("deep")
    x = b.buffer("x", "f32")
    with b.loop("i", 0, 4, "vector") as i:
        value: Scalar = b.load(x, i)
        for k in range(3000):
            value = b.add(value, float(k % 3))
        b.store(x, i, value)
    data = np.zeros(4, np.float32)
    run_kernel(b.kernel(), [data])
    np.testing.assert_array_equal(data, np.full(4, 3000, np.float32))


def test_all_kinds_have_a_native_function() -> None:
    for dtype in DTYPES:
        assert any(is_native(name, dtype) for name in FUNCTIONS), kind(dtype)


@TARGETS
def test_loops_may_begin_below_zero_and_blocks_know_their_length(target: Target) -> None:
    b = Builder("below")
    x, out = b.buffer("x", "f32"), b.buffer("out", "f32")
    low = b.int_param("low")
    with b.loop("p", -2, 3, "parallel") as p:
        start = b.mul(p, 48)
        with b.loop("i", start, b.mul(b.add(p, 1), 48), "vector") as i:
            b.store(out, b.sub(i, low), b.mul(b.load(x, b.sub(i, low)), 2.0))
    data = np.arange(240, dtype=np.float32)
    got = np.zeros(240, np.float32)
    run_kernel(b.kernel(), [data, got, -96], target, parts=4)
    np.testing.assert_array_equal(got, 2 * data)
    if target.masked_memory:
        assert "masked" not in kernel_to_llvm(b.kernel(), target, "below")


@pytest.mark.parametrize("dtype", ["f32", "f64", "u8", "bf16"])
@pytest.mark.parametrize("count", [2, 3, 4])
@TARGETS
def test_stores_side_by_side_are_stores_of_whole_vectors(dtype, count, target):
    b = Builder("interleave")
    x, y = b.buffer("x", dtype), b.buffer("y", dtype)
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        value = b.let("v", b.load(x, i))
        for number in range(count):
            b.store(y, b.add(b.mul(i, count), number), b.add(value, number))
    kernel = b.kernel()
    for size in (1, 37):
        given = np.arange(size).astype(numpy_dtype(dtype))
        got = np.zeros(count * size, numpy_dtype(dtype))
        run_kernel(kernel, [given, got, size], target)
        wanted = np.stack([given + numpy_dtype(dtype).type(number) for number in range(count)], axis=1)
        np.testing.assert_array_equal(got, wanted.reshape(-1))
