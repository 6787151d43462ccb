"""Attention as one launch, and its gradients as another: the scores of a block of query rows live and die in the cache.

The result is cut into units of one row tile of one matrix (a head of a text). A part packs the keys and the values
of its matrix once, then for each tile: scores by the keys' panels, their softmax row by row, and the product with the
values' panels, divided by the rows' sums on the way out. No part waits for another, and the bits do not depend on the
number of parts.

The gradients of keys and values are sums over all queries, so there a unit is a matrix. Weights are made again from
the scores, block of rows by block of rows; with each block the sums of both gradients go on, panel by panel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from graphflow.backends.cpu.expressions import write_expressions
from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes
from graphflow.backends.cpu.library_code import LibraryCode, Workspace
from graphflow.backends.cpu.packing import pack_straight, pack_transposed
from graphflow.backends.cpu.target import Target, tile_shape
from graphflow.backends.cpu.tiles import (
    LaunchText,
    Nest,
    RowPlan,
    Store,
    Tile,
    TileKernel,
    each_run,
    lanes_of,
    stepped,
    tile_kernel,
)
from graphflow.loops.ir import Expr, Op, Var, walk_exprs
from graphflow.loops.library import (
    ACCUMULATOR,
    CHANGE,
    TOTAL,
    WEIGHT,
    Attention,
    AttentionGradient,
    Epilogue,
    EpilogueOperand,
    Size,
    digest,
    element_bytes,
)
from graphflow.records import dataclass

__all__ = ["emit_attention", "emit_attention_gradient"]

_VECTORS = 2
"""Vectors of a panel's row, as register tiles like them."""


def emit_attention(call: Attention, target: Target) -> LibraryCode:
    """The launch of an attention."""
    return _Forward(call, target).code()


def emit_attention_gradient(call: AttentionGradient, target: Target) -> LibraryCode:
    """The launch of an attention's gradients."""
    return _Backward(call, target).code()


_Pick = Callable[[Sequence[str]], str]


@dataclass(slots=True)
class _Matrix:
    """An operand or the result: its address, its row stride, its step along each batch axis."""

    address: str
    stride: Int
    steps: list[Int]


class _Writer:
    """One attention, or its gradients, being written."""

    def __init__(self, call: Attention | AttentionGradient, name: str, target: Target) -> None:
        self.call = call
        self.lanes = lanes_of(target, call.dtype)
        self.width = _VECTORS * self.lanes.count
        self.rows = RowPlan(call.m, tile_shape(target, self.lanes.count, None)[0])
        self.symbol = f"{name}_{digest(call, target.vector_bytes, target.registers)}"
        self.launch = LaunchText.begin(self.symbol, target)
        self.f = self.launch.function
        launch = self.launch
        self.m, self.n = launch.size("m", call.m), launch.size("n", call.n)
        self.depth, self.columns = launch.size("k", call.k), launch.size("width", call.width)
        self.batch = [launch.size(f"batch{axis}", extent) for axis, extent in enumerate(call.batch)]
        self.score_stride = self.apart(self.n)
        self.plain = Epilogue.plain("c", call.dtype)

    # ---------------------------------------------------------------------------------------- places in scratch

    def padded(self, extent: Int) -> Int:
        """An extent made one of whole panels."""
        f, width = self.f, self.width
        return f.mul(f.div(f.add(extent, width - 1), width), width)

    def apart(self, extent: Int) -> Int:
        """A row stride with room for whole panels; rows do not fall into the same few cache sets."""
        return self.f.add(self.padded(extent), self.lanes.count)

    @property
    def most_rows(self) -> int:
        return max((1, *self.rows.heights))

    def matrices(self) -> Int:
        """How many there are along the batch axes."""
        found: Int = 1
        for extent in self.batch:
            found = self.f.mul(found, extent)
        return found

    def matrix(self, name: str, stride: int | None, steps: Sequence[int | None]) -> _Matrix:
        launch = self.launch
        along = [launch.size(f"step_{name}{axis}", step) for axis, step in enumerate(steps)]
        return _Matrix(launch.buffer(name), launch.size(f"stride_{name}", stride), along)

    # ---------------------------------------------------------------------------------------- products

    def pack(self, turned: bool, source: str, stride: Int, depth: Int, columns: Int, to: str) -> None:
        """Rows as panels `[depth][columns]`; turned, where rows are the columns."""
        f, lanes, width = self.f, self.lanes, self.width

        def build(g: FunctionText) -> None:
            write = pack_transposed if turned else pack_straight
            write(g, lanes, "%source", "%stride", "%depth", "%valid", width, "%panel")

        head = "ptr %source, i64 %stride, i64 %depth, i64 %valid, ptr %panel"
        symbol = self.launch.module.internal(("pack", turned), head, build)

        def panel(p: str, _: list[str]) -> None:
            column = f.mul(p, width)
            place = f.offset(source, f.mul(column, stride) if turned else column, lanes.element)
            target = f.offset(to, f.mul(column, depth), lanes.element)
            valid = f.minimum(f.sub(columns, column), width)
            f.call(symbol, f"ptr {place}", f"i64 {stride}", f"i64 {depth}", f"i64 {valid}", f"ptr {target}")

        f.loop(0, f.div(f.add(columns, width - 1), width), panel)

    def fetch(self) -> str:
        """The function that asks for rows of the next matrix while this one is worked on.

        A head's rows lie apart, so that the processor does not see them coming.
        """
        lanes = self.lanes
        per_line = max(1, 64 // element_bytes(self.call.dtype))

        def build(g: FunctionText) -> None:
            g.module.declare("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")

            def row(r: str, _: list[str]) -> None:
                start = g.offset("%start", g.mul(r, "%stride"), lanes.element)

                def line(c: str, _: list[str]) -> None:
                    place = g.offset(start, c, lanes.element)
                    g.emit(f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 2, i32 1)")

                g.loop(0, "%columns", line, step=per_line)

            g.loop(0, "%rows", row)

        return self.launch.module.internal("fetch", "ptr %start, i64 %stride, i64 %rows, i64 %columns", build)

    def copy_rows(self, pick: _Pick, source: str, stride: Int, depth: Int, target: str, apart: Int) -> None:
        """Copies a tile's rows to where they lie well apart."""
        f, lanes = self.f, self.lanes

        def build(height: int, g: FunctionText) -> None:
            def row(r: str, _: list[str]) -> None:
                source = g.offset("%source", g.mul(r, "%stride"), lanes.element)
                target = g.offset("%target", g.mul(r, "%apart"), lanes.element)

                def one(k: Int, valid: Int | None = None) -> None:
                    value = g.load(lanes, g.offset(source, k, lanes.element), valid)
                    g.store(lanes, g.offset(target, k, lanes.element), value)

                whole = g.mul(g.div("%depth", lanes.count), lanes.count)
                g.loop(0, whole, lambda k, _: one(k), step=lanes.count)
                g.when_less(whole, "%depth", lambda: one(whole, g.sub("%depth", whole)))

            g.loop(0, height, row)

        head = "ptr %source, i64 %stride, i64 %depth, ptr %target, i64 %apart"
        found = [
            self.launch.module.internal(("rows", height), head, functools.partial(build, height))
            for height in self.rows.heights
        ]
        f.emit(f"call void {pick(found)}(ptr {source}, i64 {stride}, i64 {depth}, ptr {target}, i64 {apart})")

    def scores(self, pick: _Pick, rows: str, stride: Int, depth: Int, panels: str, scores: str) -> None:
        """The products of a tile's rows, so deep, with all keys' panels (or the values')."""
        f, lanes, width = self.f, self.lanes, self.width
        known = depth if isinstance(depth, int) else None
        found = [
            self.tile(height, stride, known, self.score_stride, width, self.plain)
            for height in self.rows.heights
        ]
        function = pick([kernel.symbol for kernel in found])

        def panel(p: str, _: list[str]) -> None:
            column = f.mul(p, width)
            values: dict[str, Int] = {
                "a": rows,
                "b": f.offset(panels, f.mul(column, depth), lanes.element),
                "result.c": f.offset(scores, column, lanes.element),
                "row_stride": stride,
                "count0": depth,
                "stride": self.score_stride,
            }
            found[0].call(f, values, function)

        f.loop(0, f.div(f.add(self.n, width - 1), width), panel)

    def mix(
        self, pick: _Pick, rows: str, panels: str, c: str, c_stride: Int, columns: Int,
        epilogue: Epilogue, inverse: str = "null",
    ) -> None:  # fmt: skip
        """The product of a tile's weights (or what else lies like scores) with panels of so many columns."""
        f, lanes, width = self.f, self.lanes, self.width
        whole = f.div(columns, width)
        edge = f.sub(columns, f.mul(whole, width))

        def some(begin: Int, end: Int, count: int | None) -> None:
            found = [
                self.tile(height, self.score_stride, self.call.n, c_stride, count, epilogue)
                for height in self.rows.heights
            ]
            function = pick([kernel.symbol for kernel in found])

            def panel(p: str, _: list[str]) -> None:
                column = f.mul(p, width)
                arguments: dict[str, Int] = {
                    "a": rows,
                    "b": f.offset(panels, f.mul(column, self.n), lanes.element),
                    "result.c": f.offset(c, column, lanes.element),
                    "operand.inverse": inverse,
                    "row_stride": self.score_stride,
                    "count0": self.n,
                    "stride": c_stride,
                    "columns": edge,
                }
                found[0].call(f, arguments, function)

            f.loop(begin, end, panel)

        some(0, whole, width)
        if edge != 0:
            some(whole, f.div(f.add(columns, width - 1), width), edge if isinstance(edge, int) else None)

    def tile(
        self, height: int, row: Int, count: int | None, stride: Int, columns: int | None, epilogue: Epilogue
    ) -> TileKernel:
        """The register tile of rows so far apart against a panel."""
        offsets = tuple(place * row for place in range(height)) if isinstance(row, int) else None
        vectors = _VECTORS if columns is None else -(-columns // self.lanes.count)
        store = Store(stride if isinstance(stride, int) else None, 1, columns)
        tile = Tile(self.lanes, vectors, height, offsets, (Nest(count, 1, self.width),), store)
        return tile_kernel(self.launch.module, tile, epilogue)

    # ---------------------------------------------------------------------------------------- along rows

    def mask_head(self) -> str:
        """The parameters for where a tile's rows of the masks begin."""
        return "".join(f", ptr %mask{i}, i64 %mask_stride{i}" for i in range(len(self.call.masks)))

    def mask_arguments(self, masks: Sequence[_Matrix], starts: Sequence[str], row: Int) -> list[str]:
        """What stands for them in a call."""
        found = []
        for one, start, mask in zip(masks, starts, self.call.masks, strict=True):
            place = self.f.offset(start, self.f.mul(row, one.stride), LLVM_TYPES[mask.dtype])
            found += [f"ptr {place}", f"i64 {one.stride}"]
        return found

    def masks_of(
        self, g: FunctionText, row: str, exprs: Sequence[Expr]
    ) -> Callable[[Int, Int | None], dict[str, tuple[str, str]]]:
        """What loads the masks' elements that expressions speak of, at a column of a row."""
        asked = {e.name for expr in exprs for e in walk_exprs(expr) if isinstance(e, Var)}
        lines = {
            i: g.offset(f"%mask{i}", g.mul(row, f"%mask_stride{i}"), LLVM_TYPES[mask.dtype])
            for i, mask in enumerate(self.call.masks)
            if mask.name in asked
        }

        def at(column: Int, valid: Int | None) -> dict[str, tuple[str, str]]:
            known = {}
            for i, start in lines.items():
                mask = self.call.masks[i]
                wide = Lanes(mask.dtype, self.lanes.count)
                if mask.column:
                    value = g.load(wide, g.offset(start, column, wide.element), valid)
                else:
                    value = g.broadcast(wide, start)
                known[mask.name] = (mask.dtype, value)
            return known

        return at

    def cut(self, g: FunctionText) -> tuple[Int, Int]:
        """The keys in whole vectors, and those left over."""
        count: Int = "%count" if self.call.n is None else self.call.n
        whole = g.mul(g.div(count, self.lanes.count), self.lanes.count)
        return whole, g.sub(count, whole)

    def among(self, g: FunctionText, value: str, valid: Int | None, otherwise: str) -> str:
        """A vector, of which only so many elements count."""
        if valid is None:
            return value
        lanes = self.lanes
        inside = f"<{lanes.count} x i1> {g.mask(lanes.count, valid)}"
        return g.value(f"select {inside}, {lanes.type} {value}, {lanes.type} {g.splat(lanes, otherwise)}")

    def softmax(self, height: int, divided: bool) -> str:
        """The function that makes weights of a tile's scores; where that is not asked for, not yet divided by sums."""
        call, lanes, dtype = self.call, self.lanes, self.call.dtype
        head = "ptr %scores, i64 %stride, i64 %count, ptr %inverse" + self.mask_head()
        element, vector = lanes.element, lanes.type
        score = call.score.results[0][1]

        def build(g: FunctionText) -> None:
            # All rows' greatest scores first: one row's sum across lanes waits while the next row is read.
            g.loop(0, height, lambda row, _: scored(g, row))
            g.loop(0, height, lambda row, _: weighed(g, row))
            if divided:
                g.loop(0, height, lambda row, _: shared(g, row))

        def scored(g: FunctionText, row: str) -> None:
            line = g.offset("%scores", g.mul(row, "%stride"), element)
            masks = self.masks_of(g, row, [score])

            def step(column: Int, top: str, valid: Int | None = None) -> str:
                place = g.offset(line, column, element)
                known = {ACCUMULATOR: (dtype, g.load(lanes, place)), **masks(column, valid)}
                (made,) = write_expressions(g, lanes.count, [score], known)
                g.store(lanes, place, made)
                made = self.among(g, made, valid, _LOWEST)
                above = g.value(f"fcmp ogt {vector} {made}, {top}")
                return g.value(f"select <{lanes.count} x i1> {above}, {vector} {made}, {vector} {top}")

            top = self.along(g, self.cut(g), g.splat(lanes, _LOWEST), step)
            self.note(g, self.across(g, "fmax", top), row)

        def weighed(g: FunctionText, row: str) -> None:
            line = g.offset("%scores", g.mul(row, "%stride"), element)
            top = g.broadcast(lanes, g.offset("%inverse", row, element))

            def step(column: Int, total: str, valid: Int | None = None) -> str:
                place = g.offset(line, column, element)
                known = {"score": (dtype, g.load(lanes, place)), "top": (dtype, top)}
                (weight,) = write_expressions(g, lanes.count, [_WEIGHT[dtype]], known)
                weight = self.among(g, weight, valid, "0.0")
                g.store(lanes, place, weight)
                return g.value(f"fadd {vector} {total}, {weight}")

            total = self.across(g, "fadd", self.along(g, self.cut(g), "zeroinitializer", step), "0.0")
            self.note(g, g.value(f"fdiv {element} 1.0, {total}"), row)

        def shared(g: FunctionText, row: str) -> None:
            weight = call.weight.results[0][1] if call.weight else Var(WEIGHT, dtype)
            line = g.offset("%scores", g.mul(row, "%stride"), element)
            inverse = g.broadcast(lanes, g.offset("%inverse", row, element))
            masks = self.masks_of(g, row, [weight])

            def step(column: Int, carried: str, valid: Int | None = None) -> str:
                place = g.offset(line, column, element)
                share = g.value(f"fmul {vector} {g.load(lanes, place)}, {inverse}")
                known = {WEIGHT: (dtype, share), **masks(column, valid)}
                (made,) = write_expressions(g, lanes.count, [weight], known)
                g.store(lanes, place, self.among(g, made, valid, "0.0"))
                return carried

            self.along(g, self.cut(g), "zeroinitializer", step)

        return self.launch.module.internal(("softmax", height, divided), head, build)

    def along(
        self, g: FunctionText, cut: tuple[Int, Int], start: str, step: Callable[[Int, str, Int | None], str]
    ) -> str:
        """What the steps along a row make of a first vector: whole vectors, then what is left over."""
        lanes, (whole, rest) = self.lanes, cut
        (now,) = g.loop(
            0, whole, lambda j, carried: [step(j, carried[0], None)], [(lanes.type, start)], lanes.count
        )
        if isinstance(rest, int):
            return step(whole, now, rest) if rest else now
        # A loop of one turn or none.
        turns = g.minimum(rest, 1)
        return g.loop(0, turns, lambda _, carried: [step(whole, carried[0], rest)], [(lanes.type, now)])[0]

    def across(self, g: FunctionText, name: str, vector: str, start: str = "") -> str:
        """One number of all lanes."""
        lanes = self.lanes
        intrinsic = f"llvm.vector.reduce.{name}.{lanes.suffix}"
        first = f"{lanes.element}, " if start else ""
        g.module.declare(intrinsic, lanes.element, f"{first}{lanes.type}")
        given = f"{lanes.element} {start}, " if start else ""
        flags = "reassoc " if start else ""
        return g.value(f"call {flags}{lanes.element} @{intrinsic}({given}{lanes.type} {vector})")

    def note(self, g: FunctionText, number: str, row: str) -> None:
        """Keeps a number of a row."""
        place = g.offset("%inverse", row, self.lanes.element)
        g.emit(f"store {self.lanes.element} {number}, ptr {place}, align {self.lanes.align}")


class _Forward(_Writer):
    """An attention being written."""

    call: Attention

    def __init__(self, call: Attention, target: Target) -> None:
        super().__init__(call, "attention", target)
        divided = Op("mul", (Var(ACCUMULATOR, call.dtype), Var("inverse", call.dtype)), call.dtype)
        self.divided = Epilogue((("c", divided),), (EpilogueOperand("inverse", call.dtype, "row"),))

    def workspace(self) -> Workspace:
        """Each part's keys, values, queries, scores, and inverse sums."""
        call, size, more = self.call, element_bytes(self.call.dtype), self.width + self.lanes.count
        depth, width, most = (
            "k" if call.k is None else call.k, "width" if call.width is None else call.width, self.most_rows
        )  # fmt: skip
        n = "n" if call.n is None else call.n
        needed = Size.of(size, n, depth, "parts") + Size.of(size * more, depth, "parts")
        needed += Size.of(size, n, width, "parts") + Size.of(size * more, n, "parts")
        needed += Size.of(size * most, n, "parts") + Size.of(size * most, depth, "parts")
        needed += Size.of(size * (2 * most * more + more), "parts")
        return Workspace("attention", needed)

    def code(self) -> LibraryCode:
        """The whole call."""
        call, f, launch, element = self.call, self.f, self.launch, self.lanes.element
        q = self.matrix("q", call.stride_q, call.steps_q)
        k = self.matrix("k", call.stride_k, call.steps_k)
        v = self.matrix("v", call.stride_v, call.steps_v)
        c = self.matrix("c", call.stride_c, call.steps_c)
        masks = [self.matrix(mask.name, mask.row, mask.steps) for mask in call.masks]
        scratch = launch.buffer("attention")
        query_stride = self.apart(self.depth)
        sizes = [
            f.mul(self.padded(self.n), self.depth),
            f.mul(self.padded(self.columns), self.n),
            f.mul(self.score_stride, self.most_rows),
            f.mul(query_stride, self.most_rows),
            self.most_rows,
        ]
        total: Int = 0
        starts: list[Int] = []
        for size in sizes:
            starts.append(total)
            total = f.add(total, size)
        own = f.offset(scratch, f.mul("%part", total), element)
        keys, values, scores, queries, inverse = (f.offset(own, start, element) for start in starts)
        matrices = self.matrices()
        divided = call.weight is not None
        tiles = self.rows.units(f, self.m)

        def head(index: str, start: Int, stop: Int) -> None:
            def at(matrix: _Matrix, type_text: str = element, index_of: Int = index) -> str:
                return f.offset(matrix.address, stepped(f, self.batch, matrix.steps, index_of), type_text)

            q_start, c_start = at(q), at(c)
            ahead = [
                (at(one, index_of=f.add(index, 1)), one.stride, rows, columns)
                for one, rows, columns in (
                    (q, self.m, self.depth),
                    (k, self.n, self.depth),
                    (v, self.n, self.columns),
                )
            ]
            mask_starts = [at(one, LLVM_TYPES[m.dtype]) for one, m in zip(masks, call.masks, strict=True)]
            self.pack(True, at(k), k.stride, self.depth, self.n, keys)
            self.pack(False, at(v), v.stride, self.n, self.columns, values)

            def tile(pick: _Pick, row: Int, unit: Int, inside: Int) -> None:
                for start_of, stride, rows, columns in ahead:
                    first_line = f.div(f.mul(unit, rows), tiles)
                    lines = f.sub(f.div(f.mul(f.add(unit, 1), rows), tiles), first_line)
                    place = f.offset(start_of, f.mul(first_line, stride), element)
                    f.call(self.fetch(), f"ptr {place}", f"i64 {stride}", f"i64 {lines}", f"i64 {columns}")
                place = f.offset(q_start, f.mul(row, q.stride), element)
                self.copy_rows(pick, place, q.stride, self.depth, queries, query_stride)
                self.scores(pick, queries, query_stride, self.depth, keys, scores)
                arguments = [f"ptr {scores}", f"i64 {self.score_stride}", f"i64 {self.n}", f"ptr {inverse}"]
                arguments += self.mask_arguments(masks, mask_starts, row)
                softmax = pick([self.softmax(height, divided) for height in self.rows.heights])
                f.emit(f"call void {softmax}({', '.join(arguments)})")
                to = f.offset(c_start, f.mul(row, c.stride), element)
                epilogue = self.plain if divided else self.divided
                self.mix(pick, scores, values, to, c.stride, self.columns, epilogue, inverse)

            self.rows.walk(f, self.m, start, stop, tile)

        first, last = launch.share(f.mul(matrices, tiles))
        each_run(f, first, last, tiles, head)
        return LibraryCode((launch.finish(),), (self.workspace(),))


class _Backward(_Writer):
    """The gradients of an attention being written."""

    call: AttentionGradient

    def __init__(self, call: AttentionGradient, target: Target) -> None:
        super().__init__(call, "attention_gradient", target)
        self.keys = RowPlan(call.n, self.rows.most)

    @property
    def block_rows(self) -> int:
        """The most rows of a block."""
        return _BLOCK_TILES * self.most_rows

    def workspace(self) -> Workspace:
        """Each part's panels, sums, and a block's rows."""
        call, size, more = self.call, element_bytes(self.call.dtype), self.width + self.lanes.count
        n, depth = "n" if call.n is None else call.n, "k" if call.k is None else call.k
        width, rows, most = "width" if call.width is None else call.width, self.block_rows, self.most_rows
        needed = Size.of(size * (most * 3 * more + more), "parts")
        for one in (depth, width):
            # Keys or values turned; their gradient's sums, and the keys as they are; the block's panels; a tile's rows.
            needed += Size.of(size, n, one, "parts") + Size.of(size * more, one, "parts")
            needed += Size.of(2 * size, n, one, "parts") + Size.of(2 * size * more, n, "parts")
            needed += Size.of(size * rows, one, "parts") + Size.of(size * rows * more, "parts")
            needed += Size.of(size * most, one, "parts")
        needed += Size.of(2 * size * rows, n, "parts") + Size.of(2 * size * rows * more, "parts")
        return Workspace("attention", needed)

    def code(self) -> LibraryCode:
        """The whole call."""
        call, f, launch, element = self.call, self.f, self.launch, self.lanes.element
        q, k, v, g, dq, dk, dv = (self.matrix(one.name, one.stride, one.steps) for one in call.operands)
        masks = [self.matrix(mask.name, mask.row, mask.steps) for mask in call.masks]
        scratch = launch.buffer("attention")
        n, depth, columns, rows = self.n, self.depth, self.columns, self.block_rows
        query_stride, change_stride = self.apart(depth), self.apart(columns)
        sizes = [
            f.mul(self.padded(n), depth),
            f.mul(self.padded(depth), n),
            f.mul(self.padded(n), columns),
            f.mul(self.padded(depth), n),
            f.mul(self.padded(columns), n),
            f.mul(self.padded(depth), rows),
            f.mul(self.padded(columns), rows),
            f.mul(self.score_stride, rows),
            f.mul(self.score_stride, rows),
            f.mul(query_stride, self.most_rows),
            f.mul(change_stride, self.most_rows),
            self.most_rows,
        ]
        total: Int = 0
        starts: list[Int] = []
        for size in sizes:
            starts.append(total)
            total = f.add(total, size)
        own = f.offset(scratch, f.mul("%part", total), element)
        (
            keys, keys_straight, values, key_sums, value_sums, query_panels, change_panels, weights, changes,
            queries, given, inverse,
        ) = (f.offset(own, start, element) for start in starts)  # fmt: skip
        tiles = self.rows.units(f, self.m)

        def head(index: str, _: list[str]) -> None:
            def at(matrix: _Matrix, type_text: str = element) -> str:
                return f.offset(matrix.address, stepped(f, self.batch, matrix.steps, index), type_text)

            q_start, g_start, dq_start = at(q), at(g), at(dq)
            mask_starts = [at(one, LLVM_TYPES[m.dtype]) for one, m in zip(masks, call.masks, strict=True)]
            k_start, v_start = at(k), at(v)
            self.pack(True, k_start, k.stride, depth, n, keys)
            self.pack(False, k_start, k.stride, n, depth, keys_straight)
            self.pack(True, v_start, v.stride, columns, n, values)
            self.clear(key_sums, f.mul(self.padded(depth), n))
            self.clear(value_sums, f.mul(self.padded(columns), n))

            def block(first: str, _: list[str]) -> None:
                last = f.minimum(f.add(first, _BLOCK_TILES), tiles)
                begin = f.minimum(self.rows.first_row(f, first), self.m)
                count = f.sub(f.minimum(self.rows.first_row(f, last), self.m), begin)

                def tile(pick: _Pick, row: Int, unit: Int, inside: Int) -> None:
                    q_rows = f.offset(q_start, f.mul(row, q.stride), element)
                    g_rows = f.offset(g_start, f.mul(row, g.stride), element)
                    self.copy_rows(pick, q_rows, q.stride, depth, queries, query_stride)
                    self.copy_rows(pick, g_rows, g.stride, columns, given, change_stride)
                    line = f.mul(f.sub(row, begin), self.score_stride)
                    own_weights = f.offset(weights, line, element)
                    own_changes = f.offset(changes, line, element)
                    self.scores(pick, queries, query_stride, depth, keys, own_weights)
                    more = [f"i64 {self.score_stride}", f"i64 {n}", f"ptr {inverse}"]
                    more += self.mask_arguments(masks, mask_starts, row)
                    softmax = pick([self.softmax(height, False) for height in self.rows.heights])
                    f.emit(f"call void {softmax}({', '.join([f'ptr {own_weights}', *more])})")
                    self.scores(pick, given, change_stride, columns, values, own_changes)
                    slopes = pick([self.slopes(height) for height in self.rows.heights])
                    both = [f"ptr {own_weights}", f"ptr {own_changes}"]
                    f.emit(f"call void {slopes}({', '.join([*both, *more])})")
                    to = f.offset(dq_start, f.mul(row, dq.stride), element)
                    self.mix(pick, own_changes, keys_straight, to, dq.stride, depth, self.plain)

                self.rows.walk(f, self.m, first, last, tile)
                q_rows = f.offset(q_start, f.mul(begin, q.stride), element)
                g_rows = f.offset(g_start, f.mul(begin, g.stride), element)
                self.pack(False, q_rows, q.stride, count, depth, query_panels)
                self.pack(False, g_rows, g.stride, count, columns, change_panels)
                self.add_products(changes, query_panels, count, depth, key_sums)
                self.add_products(weights, change_panels, count, columns, value_sums)

            f.loop(0, tiles, block, step=_BLOCK_TILES)
            self.spread(key_sums, depth, at(dk), dk.stride)
            self.spread(value_sums, columns, at(dv), dv.stride)

        first, last = launch.share(self.matrices())
        f.loop(first, last, head)
        return LibraryCode((launch.finish(),), (self.workspace(),))

    def slopes(self, height: int) -> str:
        """The function that makes slopes along the scores of a tile's weights and of the slopes along these."""
        call, lanes, dtype = self.call, self.lanes, self.call.dtype
        element, vector = lanes.element, lanes.type
        head = "ptr %weights, ptr %changes, i64 %stride, i64 %count, ptr %inverse" + self.mask_head()
        summed, slope = call.summed.results[0][1], call.slope.results[0][1]
        weight = call.weight.results[0][1] if call.weight else Var(WEIGHT, dtype)

        def build(g: FunctionText) -> None:
            g.loop(0, height, lambda row, _: shared(g, row))
            g.loop(0, height, lambda row, _: changed(g, row))

        def lines(g: FunctionText, row: str) -> tuple[str, str, str]:
            line = g.mul(row, "%stride")
            known = g.broadcast(lanes, g.offset("%inverse", row, element))
            return g.offset("%weights", line, element), g.offset("%changes", line, element), known

        def shared(g: FunctionText, row: str) -> None:
            weights, changes, inverse = lines(g, row)
            masks = self.masks_of(g, row, [summed])

            def step(column: Int, total: str, valid: Int | None = None) -> str:
                place = g.offset(weights, column, element)
                share = g.value(f"fmul {vector} {g.load(lanes, place)}, {inverse}")
                g.store(lanes, place, share)
                change = g.load(lanes, g.offset(changes, column, element))
                known = {WEIGHT: (dtype, share), CHANGE: (dtype, change), **masks(column, valid)}
                (made,) = write_expressions(g, lanes.count, [summed], known)
                return g.value(f"fadd {vector} {total}, {self.among(g, made, valid, '0.0')}")

            total = self.across(g, "fadd", self.along(g, self.cut(g), "zeroinitializer", step), "0.0")
            self.note(g, total, row)

        def changed(g: FunctionText, row: str) -> None:
            weights, changes, total = lines(g, row)
            masks = self.masks_of(g, row, [slope, weight])

            def step(column: Int, carried: str, valid: Int | None = None) -> str:
                place, to = g.offset(weights, column, element), g.offset(changes, column, element)
                known = {
                    WEIGHT: (dtype, g.load(lanes, place)),
                    CHANGE: (dtype, g.load(lanes, to)),
                    TOTAL: (dtype, total),
                    **masks(column, valid),
                }
                made = write_expressions(g, lanes.count, [slope, weight], known)
                for address, value in zip((to, place), made, strict=True):
                    g.store(lanes, address, self.among(g, value, valid, "0.0"))
                return carried

            self.along(g, self.cut(g), "zeroinitializer", step)

        return self.launch.module.internal(("slopes", height), head, build)

    def clear(self, start: str, count: Int) -> None:
        """Sets sums to zero; there are whole vectors of them."""
        f, lanes = self.f, self.lanes
        f.loop(
            0, count, lambda at, _: f.store(lanes, f.offset(start, at, lanes.element), "zeroinitializer"),
            step=lanes.count,
        )  # fmt: skip

    def add_products(self, rows: str, panels: str, count: Int, columns: Int, sums: str) -> None:
        """Adds the product of a block's rows, turned, and its panels to sums that lie in panels."""
        f, lanes, width = self.f, self.lanes, self.width
        stride = self.score_stride
        found = [
            tile_kernel(
                self.launch.module,
                Tile(
                    lanes,
                    _VECTORS,
                    height,
                    tuple(range(height)),
                    (Nest(None, stride if isinstance(stride, int) else None, width),),
                    Store(width, 1, width),
                    resume=width,
                ),  # fmt: skip
                self.plain,
            )
            for height in self.keys.heights
        ]

        def panel(p: str, _: list[str]) -> None:
            column = f.mul(p, width)
            own = f.offset(sums, f.mul(column, self.n), lanes.element)
            turned = f.offset(panels, f.mul(column, count), lanes.element)

            def tile(pick: _Pick, key: Int, unit: Int, inside: Int) -> None:
                at = f.offset(own, f.mul(key, width), lanes.element)
                arguments: dict[str, Int] = {
                    "a": f.offset(rows, key, lanes.element),
                    "b": turned,
                    "sums": at,
                    "result.c": at,
                    "count0": count,
                    "a_step0": stride,
                }
                found[0].call(f, arguments, pick([kernel.symbol for kernel in found]))

            self.keys.walk(f, self.n, 0, self.keys.units(f, self.n), tile)

        f.loop(0, f.div(f.add(columns, width - 1), width), panel)

    def spread(self, sums: str, columns: Int, c: str, c_stride: Int) -> None:
        """Copies sums out of their panels."""
        f, lanes, width = self.f, self.lanes, self.width
        whole = f.div(columns, width)
        edge = f.sub(columns, f.mul(whole, width))

        def panels(begin: Int, end: Int, count: Int) -> None:
            def panel(p: str, _: list[str]) -> None:
                column = f.mul(p, width)
                own, to = (
                    f.offset(sums, f.mul(column, self.n), lanes.element),
                    f.offset(c, column, lanes.element),
                )

                def row(r: str, _: list[str]) -> None:
                    source = f.offset(own, f.mul(r, width), lanes.element)
                    target = f.offset(to, f.mul(r, c_stride), lanes.element)
                    for place in range(0, width, lanes.count):
                        left = f.sub(count, place)
                        if isinstance(left, int) and left <= 0:
                            break
                        valid = None if isinstance(left, int) and left >= lanes.count else left
                        value = f.load(lanes, f.offset(source, place, lanes.element))
                        f.store(lanes, f.offset(target, place, lanes.element), value, valid)

                f.loop(0, self.n, row)

            f.loop(begin, end, panel)

        panels(0, whole, width)
        if edge != 0:
            panels(whole, f.div(f.add(columns, width - 1), width), edge)


_BLOCK_TILES = 8
"""Row tiles of a block, after which the sums of the gradients of keys and values go on."""

_LOWEST = "0xFFF0000000000000"
"""Minus infinity of a double, which is how LLVM writes that of a float as well."""

_WEIGHT = {
    dtype: Op("exp", (Op("sub", (Var("score", dtype), Var("top", dtype)), dtype),), dtype)
    for dtype in ("f32", "f64")
}
