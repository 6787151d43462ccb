"""Products, convolutions and pools as loops, for what no library takes: a thread for each element of the result, or a
team where the elements are few and the sums long.

The launches look like those of the processor's library calls (`backends.cpu.library_code`), so lowering binds both
alike; their kernels are `CudaKernel`s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphflow.backends.cuda.kernel import CudaKernel
from graphflow.backends.cuda.printer import print_kernel
from graphflow.loops.build import Builder
from graphflow.loops.ir import Buffer, Carry, Expr, Kernel, Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Call,
    Conv2D,
    Epilogue,
    Gemm,
    Pool2D,
    Size,
    WindowAxis,
)
from graphflow.records import dataclass

__all__ = ["BufferArgument", "CudaLibraryCode", "Launch", "SizeArgument", "library"]

_FEW_COLUMNS = (
    4  # of a product: then a team takes an element, since neighbours in a row of threads would lie apart
)


@dataclass(frozen=True, slots=True)
class BufferArgument:
    """The address of an operand or result, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class SizeArgument:
    """An i64 computed from run-time sizes."""

    size: Size


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """One kernel of a library call, and what it is called with: as loops, and in CUDA C."""

    loops: Kernel
    arguments: tuple[BufferArgument | SizeArgument, ...]
    parallel: bool = True

    @property
    def kernel(self) -> CudaKernel:
        """The kernel, with indices of 32 bits."""
        return print_kernel(self.loops)

    @property
    def wide(self) -> CudaKernel:
        """The kernel, with indices of 64 bits."""
        return print_kernel(self.loops, wide=True)


@dataclass(frozen=True, slots=True, eq=False)
class CudaLibraryCode:
    """A library call as launches, which take no scratch and make nothing beforehand."""

    launches: tuple[Launch, ...]
    workspaces: tuple[()] = ()
    packs: tuple[()] = ()


def library(call: Call) -> CudaLibraryCode:
    """The launches of a product, a convolution or a pool.

    Raises:
      NotImplementedError: for what the lowering for GPUs does not make: attention as one call, factors in panels.
    """
    if isinstance(call, Gemm):
        if call.panels_b is not None or call.panels_c is not None:
            raise NotImplementedError("factors in panels are for processors")
        return CudaLibraryCode((_gemm(call),))
    if isinstance(call, Conv2D):
        if call.panels_w is not None:
            raise NotImplementedError("filters in panels are for processors")
        return CudaLibraryCode(
            ({"forward": _forward, "input": _to_input, "filter": _to_filter}[call.direction](call),)
        )
    if isinstance(call, Pool2D):
        return CudaLibraryCode(((_pool_gradient if call.gradient else _pool)(call),))
    raise NotImplementedError("attention runs as its products and its softmax")


class _Writer:
    """A launch being written: parameters with what they are called with."""

    def __init__(self, name: str) -> None:
        self.b = Builder(name)
        self.arguments: list[BufferArgument | SizeArgument] = []
        self._sizes: dict[str, Expr] = {}

    def buffer(self, name: str, dtype: str) -> Buffer:
        self.arguments.append(BufferArgument(name))
        return self.b.buffer(name, dtype)

    def size(self, extent: int | str) -> Expr:
        """A number, or a run-time size by its name."""
        if isinstance(extent, int):
            return self.b.const(extent, "i64")
        if extent not in self._sizes:
            self._sizes[extent] = self.b.int_param(extent)
            self.arguments.append(SizeArgument(Size.of(1, extent)))
        return self._sizes[extent]

    def finish(self) -> Launch:
        return Launch(self.b.kernel(), tuple(self.arguments))


def _substituted(root: Expr, values: dict[str, Expr]) -> Expr:
    """An expression over variables with values in their places."""
    memo: dict[int, Expr] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        expr, ready = stack.pop()
        if id(expr) in memo:
            continue
        if isinstance(expr, Var):
            memo[id(expr)] = values[expr.name]
        elif isinstance(expr, Op) and not ready:
            stack.append((expr, True))
            stack.extend((arg, False) for arg in expr.args)
        elif isinstance(expr, Op):
            memo[id(expr)] = Op(expr.name, tuple(memo[id(arg)] for arg in expr.args), expr.dtype)
        else:
            memo[id(expr)] = expr
    return memo[id(root)]


class _Ending:
    """What is stored for each element: the operands and results of an epilogue."""

    def __init__(self, w: _Writer, epilogue: Epilogue | None, name: str, dtype: str) -> None:
        self.w = w
        self.epilogue = epilogue or Epilogue.plain(name, dtype)
        self.operands = {o.name: w.buffer(o.name, o.dtype) for o in self.epilogue.operands}
        self.results = {name: w.buffer(name, expr.dtype) for name, expr in self.epilogue.results}

    def store(self, total: Expr, element: Expr, row: Expr, column: Expr) -> None:
        """Stores the results of one element; all operands are read before."""
        b = self.w.b
        places = {"element": element, "row": row, "column": column, "scalar": b.const(0, "i64")}
        values: dict[str, Expr] = {ACCUMULATOR: total}
        for operand in self.epilogue.operands:
            values[operand.name] = b.load(self.operands[operand.name], places[operand.over])
        made = [b.let("v", _substituted(expr, values)) for _, expr in self.epilogue.results]
        for (name, _), value in zip(self.epilogue.results, made, strict=True):
            b.store(self.results[name], element, value)


class _Beginning:
    """What elements of the first factor become before they are multiplied."""

    def __init__(self, w: _Writer, prologue: Epilogue | None) -> None:
        self.w = w
        self.prologue = prologue
        self.operands = (
            {} if prologue is None else {o.name: w.buffer(o.name, o.dtype) for o in prologue.operands}
        )

    def of(self, value: Expr, element: Expr, column: Expr) -> Expr:
        if self.prologue is None:
            return value
        b = self.w.b
        places = {"element": element, "column": column, "scalar": b.const(0, "i64")}
        values: dict[str, Expr] = {ACCUMULATOR: value}
        for operand in self.prologue.operands:
            values[operand.name] = b.load(self.operands[operand.name], places[operand.over])
        ((_, expr),) = self.prologue.results
        return _substituted(expr, values)


def _nest(w: _Writer, extents: Sequence[Expr], body: Callable[[list[Expr]], None], *, vector: bool) -> None:
    """Loops whose turns are independent, the first over blocks, the last in vectors or not."""
    places: list[Expr] = []

    def inside(depth: int) -> None:
        if depth == len(extents):
            body(list(places))
            return
        last = vector and depth == len(extents) - 1
        kind = "parallel" if depth == 0 else "vector" if last else "serial"
        with w.b.loop("i", 0, extents[depth], kind) as i:  # type: ignore[arg-type]
            places.append(i)
            inside(depth + 1)
            places.pop()

    inside(0)


def _place(b: Builder, parts: Sequence[Expr], extents: Sequence[Expr]) -> Expr:
    """The number of an element of a row-major array; the first extent does not matter."""
    total = parts[0]
    for part, extent in zip(parts[1:], extents[1:], strict=True):
        total = b.add(b.mul(total, extent), part)
    return total


# -- products -------------------------------------------------------------------------------------------------------


def _gemm(call: Gemm) -> Launch:
    w = _Writer("gemm")
    b, dtype = w.b, call.dtype
    held = call.operand_dtype or dtype
    first, second = w.buffer("a", held), w.buffer("b", held)
    begin = _Beginning(w, call.prologue)
    end = _Ending(w, call.epilogue, "c", dtype)
    m, n, k = (
        w.size(name if extent is None else extent)
        for name, extent in (("m", call.m), ("n", call.n), ("k", call.k))
    )
    batch = [w.size(f"batch{i}" if extent is None else extent) for i, extent in enumerate(call.batch)]

    def row_of(which: str, length: Expr) -> Expr:
        stride = getattr(call, f"stride_{which}")
        return length if stride == "dense" else w.size(f"stride_{which}" if stride is None else stride)

    def start_of(which: str, places: Sequence[Expr], own: Sequence[bool], rows: Expr, row: Expr) -> Expr:
        """Where the matrix of a batch begins."""
        steps = getattr(call, f"steps_{which}")
        total: Expr = b.const(0, "i64")
        if steps is not None:
            for axis, (place, step) in enumerate(zip(places, steps, strict=True)):
                if step != 0:
                    total = b.add(
                        total, b.mul(place, w.size(f"step_{which}{axis}" if step is None else step))
                    )
            return total
        for place, extent, has in zip(places, batch, own, strict=True):
            if has:
                total = b.add(b.mul(total, extent), place)
        return b.mul(total, b.mul(rows, row))

    a_rows, a_length = (k, m) if call.transpose_a else (m, k)
    b_rows, b_length = (n, k) if call.transpose_b else (k, n)
    a_row, b_row, c_row = row_of("a", a_length), row_of("b", b_length), row_of("c", n)
    every = (True,) * len(batch)
    few = isinstance(call.n, int) and call.n <= _FEW_COLUMNS

    def element(places: list[Expr]) -> None:
        *matrix, i, j = places
        a_at = b.let("a_at", start_of("a", matrix, call.batch_a or every, a_rows, a_row))
        b_at = b.let("b_at", start_of("b", matrix, call.batch_b or every, b_rows, b_row))
        total = b.carry("total", b.const(0.0, dtype), "add")
        with b.loop("s", 0, k, "vector" if few else "serial", [total]) as s:
            x_at = b.add(a_at, b.add(b.mul(s, a_row), i) if call.transpose_a else b.add(b.mul(i, a_row), s))
            y_at = b.add(b_at, b.add(b.mul(j, b_row), s) if call.transpose_b else b.add(b.mul(s, b_row), j))
            x = begin.of(b.cast(b.load(first, x_at), dtype), x_at, s)
            b.update(total, b.mul(x, b.cast(b.load(second, y_at), dtype)))
        at = b.add(start_of("c", matrix, every, m, c_row), b.add(b.mul(i, c_row), j))
        row = _place(b, [*matrix, i], [*batch, m])
        end.store(b.expr(total, dtype), at, row, j)

    _nest(w, [*batch, m, n], element, vector=not few)
    return w.finish()


# -- convolutions ---------------------------------------------------------------------------------------------------


class _Windows:
    """The windows along one axis, with sizes known or not."""

    def __init__(self, w: _Writer, axis: WindowAxis) -> None:
        self.w, self.axis = w, axis
        self.extent, self.count, self.before = w.size(axis.image), w.size(axis.count), w.size(axis.before)

    def position(self, window: Expr, tap: Expr) -> tuple[Expr, Expr]:
        """Where a tap of a window lies in the image, and whether it does."""
        b, axis = self.w.b, self.axis
        at = b.sub(
            b.add(b.mul(window, b.const(axis.stride, "i64")), b.mul(tap, b.const(axis.dilation, "i64"))),
            self.before,
        )
        at = b.let("at", at)
        return at, b.and_(b.ge(at, 0), b.lt(at, self.extent))

    def reached(self, position: Expr, tap: Expr) -> tuple[Expr, Expr]:
        """Which window reaches a position by a tap, and whether one does."""
        b, axis = self.w.b, self.axis
        stride = b.const(axis.stride, "i64")
        from_start = b.let(
            "from", b.sub(b.add(position, self.before), b.mul(tap, b.const(axis.dilation, "i64")))
        )
        window = b.let("window", b.floordiv(from_start, stride))
        whole = b.eq(b.mul(window, stride), from_start)
        return window, b.and_(whole, b.and_(b.ge(window, 0), b.lt(window, self.count)))


def _taps(
    w: _Writer, extents: Sequence[Expr | int], carries: Sequence[Carry], body: Callable[[list[Expr]], None]
) -> None:
    """Loops of a turn, one inside the other; the outermost carries what the body updates."""
    places: list[Expr] = []

    def inside(depth: int) -> None:
        if depth == len(extents):
            body(list(places))
            return
        with w.b.loop("t", 0, extents[depth], "serial", () if depth else carries) as t:
            places.append(t)
            inside(depth + 1)
            places.pop()

    inside(0)


class _Convolution:
    """What the directions of a convolution have in common."""

    def __init__(self, call: Conv2D, first: str, second: str, result: str) -> None:
        self.call = call
        self.w = w = _Writer("convolution")
        held = call.operand_dtype or call.dtype
        self.first, self.second = w.buffer(first, held), w.buffer(second, held)
        self.begin = _Beginning(w, call.prologue)
        self.end = _Ending(w, call.epilogue, result, call.dtype)
        self.batch = w.size("batch" if call.batch is None else call.batch)
        self.rows, self.columns = (_Windows(w, axis) for axis in call.axes)
        self.ins, self.outs = w.size(call.in_channels), w.size(call.out_channels)
        self.multiplier = call.out_channels // call.in_channels if call.depthwise else 1

    def read_first(self, at: Expr, channel: Expr) -> Expr:
        b = self.w.b
        return self.begin.of(b.cast(b.load(self.first, at), self.call.dtype), at, channel)

    def read_second(self, at: Expr) -> Expr:
        b = self.w.b
        return b.cast(b.load(self.second, at), self.call.dtype)

    def filter_at(self, i: Expr, j: Expr, channel: Expr, out: Expr) -> Expr:
        """The place of a filter's element; `out`: of a depthwise one, which of its channel's."""
        b, call = self.w.b, self.call
        extents = [b.const(n, "i64") for n in (*call.kernel, call.in_channels)]
        outs = b.const(self.multiplier if call.depthwise else call.out_channels, "i64")
        return _place(b, [i, j, channel, out], [*extents, outs])

    def image_at(self, image: Expr, i: Expr, j: Expr, channel: Expr) -> Expr:
        extents = [self.batch, self.rows.extent, self.columns.extent, self.ins]
        return _place(self.w.b, [image, i, j, channel], extents)

    def output_at(self, image: Expr, i: Expr, j: Expr, channel: Expr) -> Expr:
        return _place(
            self.w.b, [image, i, j, channel], [self.batch, self.rows.count, self.columns.count, self.outs]
        )


def _forward(call: Conv2D) -> Launch:
    c = _Convolution(call, "x", "w", "y")
    w, b = c.w, c.w.b

    def element(places: list[Expr]) -> None:
        image, i, j, out = places
        total = b.carry("total", b.const(0.0, call.dtype), "add")
        own, which = out, out
        if call.depthwise:
            many = b.const(c.multiplier, "i64")
            own, which = b.let("own", b.floordiv(out, many)), b.let("which", b.floormod(out, many))
        with b.loop("t", 0, call.kernel[0], "serial", [total]) as t:
            y, inside = c.rows.position(i, t)
            with b.where(inside), b.loop("u", 0, call.kernel[1]) as u:
                x, within = c.columns.position(j, u)
                with b.where(within):

                    def channel(q: Expr) -> None:
                        value = c.read_first(c.image_at(image, y, x, q), q)
                        b.update(total, b.mul(value, c.read_second(c.filter_at(t, u, q, which))))

                    if call.depthwise:
                        channel(own)
                    else:
                        with b.loop("q", 0, call.in_channels) as q:
                            channel(q)
        row = _place(b, [image, i, j], [c.batch, c.rows.count, c.columns.count])
        c.end.store(b.expr(total, call.dtype), c.output_at(image, i, j, out), row, out)

    _nest(w, [c.batch, c.rows.count, c.columns.count, c.outs], element, vector=True)
    return w.finish()


def _to_input(call: Conv2D) -> Launch:
    c = _Convolution(call, "dy", "w", "dx")
    w, b = c.w, c.w.b
    outs = c.multiplier if call.depthwise else call.out_channels

    def element(places: list[Expr]) -> None:
        image, y, x, channel = places
        total = b.carry("total", b.const(0.0, call.dtype), "add")
        with b.loop("t", 0, call.kernel[0], "serial", [total]) as t:
            i, reaches = c.rows.reached(y, t)
            with b.where(reaches), b.loop("u", 0, call.kernel[1]) as u:
                j, meets = c.columns.reached(x, u)
                with b.where(meets), b.loop("o", 0, outs) as o:
                    out = b.add(b.mul(channel, b.const(outs, "i64")), o) if call.depthwise else o
                    value = c.read_first(c.output_at(image, i, j, out), out)
                    b.update(total, b.mul(value, c.read_second(c.filter_at(t, u, channel, o))))
        row = _place(b, [image, y, x], [c.batch, c.rows.extent, c.columns.extent])
        c.end.store(b.expr(total, call.dtype), c.image_at(image, y, x, channel), row, channel)

    _nest(w, [c.batch, c.rows.extent, c.columns.extent, c.ins], element, vector=True)
    return w.finish()


def _to_filter(call: Conv2D) -> Launch:
    c = _Convolution(call, "x", "dy", "dw")
    w, b = c.w, c.w.b
    outs = c.multiplier if call.depthwise else call.out_channels

    def element(places: list[Expr]) -> None:
        t, u, channel, o = places
        out = b.add(b.mul(channel, b.const(outs, "i64")), o) if call.depthwise else o
        total = b.carry("total", b.const(0.0, call.dtype), "add")
        line = b.let("line", b.mul(c.rows.count, c.columns.count))
        with b.loop("p", 0, b.mul(c.batch, line), "vector", [total]) as p:
            image, pixel = b.let("image", b.floordiv(p, line)), b.let("pixel", b.floormod(p, line))
            i = b.let("i", b.floordiv(pixel, c.columns.count))
            j = b.let("j", b.floormod(pixel, c.columns.count))
            y, inside = c.rows.position(i, t)
            x, within = c.columns.position(j, u)
            with b.where(b.and_(inside, within)):
                value = c.read_first(c.image_at(image, y, x, channel), channel)
                b.update(total, b.mul(value, c.read_second(c.output_at(image, i, j, out))))
        row = _place(b, [t, u, channel], [c.ins, b.const(call.kernel[1], "i64"), c.ins])
        c.end.store(b.expr(total, call.dtype), c.filter_at(t, u, channel, o), row, o)

    extents = [*(b.const(n, "i64") for n in call.kernel), c.ins, b.const(outs, "i64")]
    _nest(w, extents, element, vector=False)
    return w.finish()


# -- pools ----------------------------------------------------------------------------------------------------------


class _Pool:
    """What a pool and its gradient have in common."""

    def __init__(self, call: Pool2D, operands: Sequence[str], result: str) -> None:
        self.call = call
        self.w = w = _Writer("pool")
        self.operands = [w.buffer(name, call.dtype) for name in operands]
        self.end = _Ending(w, call.epilogue, result, call.dtype)
        self.batch = w.size("batch" if call.batch is None else call.batch)
        self.rows, self.columns = (_Windows(w, axis) for axis in call.axes)
        self.channels = w.size(call.channels)

    def at(self, image: Expr, i: Expr, j: Expr, channel: Expr, *, output: bool) -> Expr:
        sizes = [(axis.count if output else axis.extent) for axis in (self.rows, self.columns)]
        return _place(self.w.b, [image, i, j, channel], [self.batch, *sizes, self.channels])

    def row(self, image: Expr, i: Expr, j: Expr, *, output: bool) -> Expr:
        sizes = [(axis.count if output else axis.extent) for axis in (self.rows, self.columns)]
        return _place(self.w.b, [image, i, j], [self.batch, *sizes])

    def each_tap(
        self, i: Expr, j: Expr, carries: Sequence[Carry], body: Callable[[Expr, Expr], None]
    ) -> None:
        """What is inside the image of a window, row by row."""
        b = self.w.b

        def tap(places: list[Expr]) -> None:
            y, inside = self.rows.position(i, places[0])
            x, within = self.columns.position(j, places[1])
            with b.where(b.and_(inside, within)):
                body(y, x)

        _taps(self.w, self.call.window, carries, tap)

    def greatest(self, image: Expr, i: Expr, j: Expr, channel: Expr) -> tuple[Expr, Expr]:
        """The greatest value of a window, or its first NaN, and where that lies in the image (-1: nowhere)."""
        b, call = self.w.b, self.call
        best, where = (
            b.carry("best", b.lowest(call.dtype), "set"),
            b.carry("where", b.const(-1, "i64"), "set"),
        )

        def look(y: Expr, x: Expr) -> None:
            at = b.let("here", self.at(image, y, x, channel, output=False))
            new, old = b.let("new", b.load(self.operands[0], at)), b.var(best.name, call.dtype)
            takes = b.or_(b.gt(new, old), b.and_(b.isnan(new), b.not_(b.isnan(old))))
            takes = b.or_(takes, b.lt(b.var(where.name, "i64"), 0))
            with b.where(b.let("takes", takes)):
                b.update(best, new)
                b.update(where, at)

        self.each_tap(i, j, [best, where], look)
        return b.var(best.name, call.dtype), b.var(where.name, "i64")

    def taps(self, i: Expr, j: Expr) -> Expr:
        """How many positions of a window are inside."""
        b = self.w.b
        counts = []
        for axis, window in ((self.rows, i), (self.columns, j)):
            start = b.sub(b.mul(window, b.const(axis.axis.stride, "i64")), axis.before)
            stop = b.min(b.add(start, b.const(axis.axis.window, "i64")), axis.extent)
            counts.append(b.sub(stop, b.max(start, 0)))
        return b.cast(b.mul(*counts), self.call.dtype)


def _pool(call: Pool2D) -> Launch:
    pool = _Pool(call, ["x"], "y")
    w, b = pool.w, pool.w.b

    def element(places: list[Expr]) -> None:
        image, i, j, channel = places
        if call.kind == "max":
            total, _ = pool.greatest(image, i, j, channel)
        else:
            sums = b.carry("total", b.const(0.0, call.dtype), "add")

            def take(y: Expr, x: Expr) -> None:
                b.update(sums, b.load(pool.operands[0], pool.at(image, y, x, channel, output=False)))

            pool.each_tap(i, j, [sums], take)
            total = b.div(b.var(sums.name, call.dtype), pool.taps(i, j))
        at, row = pool.at(image, i, j, channel, output=True), pool.row(image, i, j, output=True)
        pool.end.store(b.let("value", total), at, row, channel)

    _nest(w, [pool.batch, pool.rows.count, pool.columns.count, pool.channels], element, vector=True)
    return w.finish()


def _pool_gradient(call: Pool2D) -> Launch:
    pool = _Pool(call, ["x", "dy"] if call.kind == "max" else ["dy"], "dx")
    w, b = pool.w, pool.w.b
    gradient = pool.operands[-1]

    def element(places: list[Expr]) -> None:
        image, y, x, channel = places
        own = b.let("own", pool.at(image, y, x, channel, output=False))
        total = b.carry("total", b.const(0.0, call.dtype), "add")
        # From the last tap to the first, so that windows come in their order.
        with b.loop("t", 0, call.window[0], "serial", [total]) as t:
            i, reaches = pool.rows.reached(y, b.sub(b.const(call.window[0] - 1, "i64"), t))
            with b.where(reaches), b.loop("u", 0, call.window[1]) as u:
                j, meets = pool.columns.reached(x, b.sub(b.const(call.window[1] - 1, "i64"), u))
                with b.where(meets):
                    change = b.let("change", b.load(gradient, pool.at(image, i, j, channel, output=True)))
                    if call.kind == "mean":
                        b.update(total, b.div(change, pool.taps(i, j)))
                    else:
                        _, where = pool.greatest(image, i, j, channel)
                        with b.where(b.eq(where, own)):
                            b.update(total, change)
        pool.end.store(b.expr(total, call.dtype), own, pool.row(image, y, x, output=False), channel)

    _nest(w, [pool.batch, pool.rows.extent, pool.columns.extent, pool.channels], element, vector=True)
    return w.finish()
