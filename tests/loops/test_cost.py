"""What kernels cost: operations and bytes counted from loops, against counts by hand."""

from __future__ import annotations

import math

import pytest

from graphflow.loops.build import Builder
from graphflow.loops.cost import ELEMENTARY_FLOPS, Cost, Peak, kernel_cost


def test_an_elementwise_kernel_reads_and_writes_each_element_once() -> None:
    b = Builder("scale")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        b.store(y, i, b.add(b.mul(b.load(x, i), 2.0), 1.0))
    assert kernel_cost(b.kernel(), {"n": 100}, {"x": 400, "y": 400}) == Cost(200.0, 400, 400)
    assert kernel_cost(b.kernel(), {"n": 0}, {"x": 0, "y": 0}) == Cost(0.0, 0, 0)


@pytest.mark.parametrize("n", [1, 4095, 4096, 4097, 10_000])
def test_blocks_whose_last_is_shorter_are_counted_to_the_element(n: int) -> None:
    b = Builder("blocks")
    x, y = b.buffer("x", "f64"), b.buffer("y", "f64")
    size = b.int_param("n")
    with b.loop("turn", 0, b.floordiv(b.add(size, 4095), 4096), "parallel") as turn:
        start = b.let("start", b.mul(turn, 4096))
        stop = b.let("stop", b.min(b.add(start, 4096), size))
        with b.loop("i", start, stop, "vector") as i:
            b.store(y, i, b.mul(b.load(x, i), b.load(x, i)))
    cost = kernel_cost(b.kernel(), {"n": n}, {"x": 8 * n, "y": 8 * n})
    assert cost == Cost(float(n), 8 * n, 8 * n)


def test_triangles_are_counted_too() -> None:
    b = Builder("triangle")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    with b.loop("i", 0, 101, "serial") as i, b.loop("j", 0, i, "serial") as j:
        b.store(y, j, b.add(b.load(x, j), 1.0))
    assert kernel_cost(b.kernel(), {}, {"x": 404, "y": 404}).flops == pytest.approx(5050, rel=0.02)


def test_what_does_not_change_in_a_loop_is_computed_before_it() -> None:
    b = Builder("rows")
    x, s, y = b.buffer("x", "f32"), b.buffer("s", "f32"), b.buffer("y", "f32")
    with b.loop("r", 0, 10, "parallel") as r:
        scale = b.exp(b.load(s, r))
        with b.loop("c", 0, 50, "vector") as c:
            at = b.add(b.mul(r, 50), c)
            b.store(y, at, b.mul(b.load(x, at), scale))
    cost = kernel_cost(b.kernel(), {}, {"x": 2000, "s": 40, "y": 2000})
    assert cost == Cost(10.0 * ELEMENTARY_FLOPS + 500, 2040, 2000)


def test_each_pass_over_a_row_computes_anew_but_reads_memory_once() -> None:
    b = Builder("passes")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    with b.loop("r", 0, 8, "parallel") as r:
        base = b.let("base", b.mul(r, 32))
        total = b.carry("total", b.const(0.0, "f32"), "add")
        with b.loop("c", 0, 32, "vector", [total]) as c:
            b.update(total, b.mul(b.load(x, b.add(base, c)), 2.0))
        with b.loop("c", 0, 32, "vector") as c:
            b.store(y, b.add(base, c), b.div(b.mul(b.load(x, b.add(base, c)), 2.0), b.expr(total, "f32")))
    cost = kernel_cost(b.kernel(), {}, {"x": 1024, "y": 1024})
    assert cost == Cost(4.0 * 256, 1024, 1024)


def test_of_a_table_only_the_rows_looked_at_are_read() -> None:
    b = Builder("gather")
    table, index, y = b.buffer("table", "f32"), b.buffer("index", "i64"), b.buffer("y", "f32")
    with b.loop("i", 0, 20, "parallel") as i:
        row = b.mul(b.load(index, i), 16)
        with b.loop("c", 0, 16, "vector") as c:
            b.store(y, b.add(b.mul(i, 16), c), b.load(table, b.add(row, c)))
    sizes = {"table": 4 * 16 * 100_000, "index": 160, "y": 4 * 320}
    assert kernel_cost(b.kernel(), {}, sizes) == Cost(0.0, 4 * 320 + 160, 4 * 320)
    assert kernel_cost(b.kernel(), {}, {**sizes, "table": 64}).read == 64 + 160


def test_integers_and_casts_are_no_floating_point_operations() -> None:
    b = Builder("integers")
    x, y = b.buffer("x", "i32"), b.buffer("y", "f32")
    with b.loop("i", 0, 10, "vector") as i:
        b.store(y, i, b.cast(b.add(b.load(x, i), 1), "f32"))
    assert kernel_cost(b.kernel(), {}, {"x": 40, "y": 40}) == Cost(0.0, 40, 40)


def test_a_size_that_is_not_given_is_named() -> None:
    b = Builder("sizes")
    y = b.buffer("y", "f32")
    with b.loop("i", 0, b.int_param("n"), "vector") as i:
        b.store(y, i, 0.0)
    with pytest.raises(ValueError, match="no value for 'n'"):
        kernel_cost(b.kernel(), {}, {})


def test_the_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    machine = Peak({"f32": 1e9, "f64": 5e8}, 1e8)
    assert machine.seconds(Cost(1e9, 10, 10)) == 1.0
    assert machine.seconds(Cost(1e9, 10, 10), "f64") == 2.0
    assert machine.seconds(Cost(0.0, 10**8, 10**8)) == 2.0
    assert math.isclose((Cost(1.0, 2, 3) + Cost(1.0, 2, 3)).bytes, 10)
