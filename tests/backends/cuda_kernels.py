"""Kernels of each kind that lowering makes, over open sizes, for the tests of CUDA sources and numbers."""

from __future__ import annotations

from collections.abc import Callable

from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr, Kernel


def elements() -> Kernel:
    """`y = max(2 * x + 0.25, 0)`, in pieces as the processor likes them."""
    b = Builder("elements")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n, piece = b.int_param("n"), b.const(4096, "i64")
    with b.loop("turn", 0, b.floordiv(b.add(n, 4095), piece), "parallel") as turn:
        start = b.let("start", b.mul(turn, piece))
        with b.loop("i", start, b.min(b.add(start, piece), n), "vector") as i:
            b.store(y, i, b.max(b.add(b.mul(b.load(x, i), 2.0), 0.25), 0.0))
    return b.kernel()


def halves() -> Kernel:
    """bfloat16 and float32 in, float16 out, of rows of an open length, one of them the same for all."""
    b = Builder("halves")
    x, z, y = b.buffer("x", "bf16"), b.buffer("z", "f32"), b.buffer("y", "f16")
    n, m = b.int_param("n"), b.int_param("m")
    with b.loop("r", 0, n, "parallel") as r, b.loop("c", 0, m, "vector") as c:
        at = b.add(b.mul(r, m), c)
        value = b.mul(b.cast(b.load(x, at), "f32"), b.load(z, c))
        b.store(y, at, b.cast(value, "f16"))
    return b.kernel()


def _rows(width: Expr | int, name: str) -> Kernel:
    b = Builder(name)
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n = b.int_param("n")
    size = b.int_param("m") if width == 0 else b.const(int(width), "i64")  # type: ignore[arg-type]
    with b.loop("r", 0, n, "parallel") as r:
        base = b.let("base", b.mul(r, size))
        top = b.carry("top", b.lowest("f32"), "max")
        with b.loop("c", 0, size, "vector", [top]) as c:
            b.update(top, b.load(x, b.add(base, c)))
        total = b.carry("total", b.const(0.0, "f32"), "add")
        with b.loop("c", 0, size, "vector", [total]) as c:
            b.update(total, b.exp(b.sub(b.load(x, b.add(base, c)), top)))
        with b.loop("c", 0, size, "vector") as c:
            shown = b.exp(b.sub(b.load(x, b.add(base, c)), top))
            b.store(y, b.add(base, c), b.div(shown, total))
    return b.kernel()


def softmax() -> Kernel:
    """Rows of 300, each for a warp."""
    return _rows(300, "softmax")


def long_softmax() -> Kernel:
    """Rows of an open length, each for a block."""
    return _rows(0, "long_softmax")


def columns() -> Kernel:
    """Sums over rows, columns side by side."""
    b = Builder("columns")
    x, y = b.buffer("x", "f64"), b.buffer("y", "f64")
    n, m, piece = b.int_param("n"), b.int_param("m"), b.const(64, "i64")
    with b.loop("block", 0, b.floordiv(b.add(m, 63), piece), "parallel") as block:
        start = b.let("start", b.mul(block, piece))
        stop = b.let("stop", b.min(b.add(start, piece), m))
        with b.loop("j", start, stop, "vector") as j:
            total = b.carry("total", b.const(0.0, "f64"), "add")
            with b.loop("r", 0, n, "serial", [total]) as r:
                b.update(total, b.load(x, b.add(b.mul(r, m), j)))
            b.store(y, j, b.expr(total, "f64"))
    return b.kernel()


def whole_sum() -> Kernel:
    """One sum, and how many elements are not numbers, by one team."""
    b = Builder("whole_sum")
    x, y, z = b.buffer("x", "f32"), b.buffer("y", "f32"), b.buffer("z", "i64")
    n = b.int_param("n")
    total, odd = b.carry("total", b.const(0.0, "f32"), "add"), b.carry("odd", b.const(0, "i64"), "add")
    with b.loop("i", 0, n, "serial", [total, odd]) as i:
        value = b.load(x, i)
        b.update(total, b.select(b.isnan(value), 0.0, value))
        b.update(odd, b.cast(b.isnan(value), "i64"))
    b.store(y, 0, b.expr(total, "f32"))
    b.store(z, 0, b.expr(odd, "i64"))
    return b.kernel()


def transposed() -> Kernel:
    """`y[j, i] = x[i, j]`: neighbours in one are far apart in the other."""
    b = Builder("transposed")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n, m = b.int_param("n"), b.int_param("m")
    with b.loop("j", 0, m, "parallel") as j, b.loop("i", 0, n, "vector") as i:
        b.store(y, b.add(b.mul(j, n), i), b.load(x, b.add(b.mul(i, m), j)))
    return b.kernel()


def kept_rows() -> Kernel:
    """Rows that are kept in memory of the kernel's own between two passes; the sum of each is left as well."""
    b = Builder("kept_rows")
    x, y, s = b.buffer("x", "f32"), b.buffer("y", "f32"), b.buffer("s", "f32")
    n, width = b.int_param("n"), b.const(200, "i64")
    own = b.local("row", "f32", 200)
    with b.loop("r", 0, n, "parallel") as r:
        base = b.let("base", b.mul(r, width))
        total = b.carry("total", b.const(0.0, "f32"), "add")
        with b.loop("c", 0, width, "vector", [total]) as c:
            value = b.let("v", b.tanh(b.load(x, b.add(base, c))))
            b.store(own, c, value)
            b.update(total, value)
        with b.loop("c", 0, width, "vector") as c:
            other = b.load(own, b.sub(b.const(199, "i64"), c))  # what another thread has written
            b.store(y, b.add(base, c), b.sub(other, b.expr(total, "f32")))
        b.store(s, r, b.expr(total, "f32"))
    return b.kernel()


def scatter() -> Kernel:
    """Rows added to a table by their ids, one after the other, threads side by side."""
    b = Builder("scatter")
    ids, rows, y = b.buffer("ids", "i32"), b.buffer("rows", "f32"), b.buffer("y", "f32")
    n, limit, width = b.int_param("n"), b.int_param("limit"), b.const(40, "i64")
    with b.loop("i", 0, n) as i:
        row = b.let("row", b.cast(b.load(ids, i), "i64"))
        with b.where(b.and_(b.ge(row, 0), b.lt(row, limit))):
            base = b.let("base", b.mul(row, width))
            begin = b.let("begin", b.mul(i, width))
            with b.loop("j", 0, width, "vector") as j:
                at = b.add(base, j)
                b.store(y, at, b.add(b.load(y, at), b.load(rows, b.add(begin, j))))
    return b.kernel()


def numbers() -> Kernel:
    """Positions as numbers of 64 bits, greater than indices of 32 bits could hold."""
    b = Builder("numbers")
    y = b.buffer("y", "i64")
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        far = b.mul(b.add(i, 3), b.const(1 << 30, "i64"))
        b.store(y, i, b.add(far, n))
    return b.kernel()


def running() -> Kernel:
    """Running sums along rows: each thread has a row."""
    b = Builder("running")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n, m = b.int_param("n"), b.int_param("m")
    with b.loop("r", 0, n, "parallel") as r:
        base = b.let("base", b.mul(r, m))
        total = b.carry("total", b.const(0.0, "f32"), "add")
        with b.loop("c", 0, m, "serial", [total]) as c:
            b.update(total, b.load(x, b.add(base, c)))
            b.store(y, b.add(base, c), b.expr(total, "f32"))
    return b.kernel()


KERNELS: dict[str, Callable[[], Kernel]] = {
    make.__name__: make
    for make in (
        elements, halves, softmax, long_softmax, columns, whole_sum, transposed, kept_rows, scatter, numbers, running,
    )
}  # fmt: skip
