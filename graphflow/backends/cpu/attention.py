"""Attention as one launch: the scores of a block of query rows live and die in the cache.

The result is cut into units of one row tile of one matrix (a head of a text). A part packs the keys and the values
of its matrix once, then for each tile: scores by the keys' panels, their softmax row by row, and the product with the
values' panels, divided by the rows' sums on the way out. No part waits for another, and the bits do not depend on the
number of parts.
"""

from __future__ import annotations

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
from graphflow.loops.ir import Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Attention,
    Epilogue,
    EpilogueOperand,
    Size,
    digest,
    element_bytes,
)
from graphflow.records import dataclass

__all__ = ["emit_attention"]

_VECTORS = 2
"""Vectors of a panel's row, as register tiles like them."""


def emit_attention(call: Attention, target: Target) -> LibraryCode:
    """The launch of an attention."""
    return _Writer(call, target).code()


_Pick = Callable[[Sequence[str]], str]


@dataclass(slots=True)
class _Matrix:
    """An operand or the result: its address, its row stride, its step along each batch axis."""

    address: str
    stride: Int
    steps: list[Int]


class _Writer:
    """One attention being written."""

    def __init__(self, call: Attention, target: Target) -> None:
        self.call = call
        self.lanes = lanes_of(target, call.dtype)
        self.width = _VECTORS * self.lanes.count
        self.rows = RowPlan(call.m, tile_shape(target, self.lanes.count, None)[0])
        self.symbol = f"attention_{digest(call, target.vector_bytes, target.registers)}"
        self.launch = LaunchText.begin(self.symbol, target)
        self.f = self.launch.function
        launch = self.launch
        self.m, self.n = launch.size("m", call.m), launch.size("n", call.n)
        self.depth, self.columns = launch.size("k", call.k), launch.size("width", call.width)
        self.batch = [launch.size(f"batch{axis}", extent) for axis, extent in enumerate(call.batch)]
        self.plain = Epilogue.plain("scores", call.dtype)
        divided = Op("mul", (Var(ACCUMULATOR, call.dtype), Var("inverse", call.dtype)), call.dtype)
        self.divided = Epilogue((("c", divided),), (EpilogueOperand("inverse", call.dtype, "row"),))

    # ---------------------------------------------------------------------------------------- places in scratch

    def padded(self, extent: Int) -> Int:
        """An extent made one of whole panels."""
        f, width = self.f, self.width
        return f.mul(f.div(f.add(extent, width - 1), width), width)

    def apart(self, extent: Int) -> Int:
        """A row stride with room for whole panels; rows do not fall into the same few cache sets."""
        return self.f.add(self.padded(extent), self.lanes.count)

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

    @property
    def most_rows(self) -> int:
        return max((1, *self.rows.heights))

    # ---------------------------------------------------------------------------------------- the launch

    def matrix(self, name: str, stride: int | None, steps: Sequence[int | None]) -> _Matrix:
        launch = self.launch
        along = [launch.size(f"step_{name}{axis}", step) for axis, step in enumerate(steps)]
        return _Matrix(launch.buffer(name), launch.size(f"stride_{name}", stride), along)

    def code(self) -> LibraryCode:
        """The whole call."""
        call, f, launch, element = self.call, self.f, self.launch, self.lanes.element
        q = self.matrix("q", call.stride_q, call.steps_q)
        k = self.matrix("k", call.stride_k, call.steps_k)
        v = self.matrix("v", call.stride_v, call.steps_v)
        c = self.matrix("c", call.stride_c, call.steps_c)
        masks = [self.matrix(mask.name, mask.row, mask.steps) for mask in call.masks]
        scratch = launch.buffer("attention")
        self.score_stride, self.query_stride = self.apart(self.n), self.apart(self.depth)
        sizes = [
            f.mul(self.padded(self.n), self.depth),
            f.mul(self.padded(self.columns), self.n),
            f.mul(self.score_stride, self.most_rows),
            f.mul(self.query_stride, self.most_rows),
            self.most_rows,
        ]
        total: Int = 0
        starts: list[Int] = []
        for size in sizes:
            starts.append(total)
            total = f.add(total, size)
        own = f.offset(scratch, f.mul("%part", total), element)
        keys, values, scores, queries, inverse = (f.offset(own, start, element) for start in starts)
        matrices: Int = 1
        for extent in self.batch:
            matrices = f.mul(matrices, extent)
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
            self.pack(True, at(k), k.stride, keys)
            self.pack(False, at(v), v.stride, values)

            def tile(pick: _Pick, row: Int, unit: Int, inside: Int) -> None:
                heights = self.rows.heights
                for start_of, stride, rows, columns in ahead:
                    first_line = f.div(f.mul(unit, rows), tiles)
                    lines = f.sub(f.div(f.mul(f.add(unit, 1), rows), tiles), first_line)
                    place = f.offset(start_of, f.mul(first_line, stride), element)
                    f.call(self.fetch(), f"ptr {place}", f"i64 {stride}", f"i64 {lines}", f"i64 {columns}")
                copy = pick([self.copy_queries(height) for height in heights])
                f.emit(
                    f"call void {copy}(ptr {f.offset(q_start, f.mul(row, q.stride), element)}, i64 {q.stride}, "
                    f"i64 {self.depth}, ptr {queries}, i64 {self.query_stride})"
                )
                self.scores(pick, queries, keys, scores)
                arguments = [f"ptr {scores}", f"i64 {self.score_stride}", f"i64 {self.n}", f"ptr {inverse}"]
                for one, start_of, mask in zip(masks, mask_starts, call.masks, strict=True):
                    place = f.offset(start_of, f.mul(row, one.stride), LLVM_TYPES[mask.dtype])
                    arguments += [f"ptr {place}", f"i64 {one.stride}"]
                softmax = pick([self.softmax(height) for height in heights])
                f.emit(f"call void {softmax}({', '.join(arguments)})")
                self.mix(
                    pick, scores, values, inverse, f.offset(c_start, f.mul(row, c.stride), element), c.stride
                )

            self.rows.walk(f, self.m, start, stop, tile)

        first, last = launch.share(f.mul(matrices, tiles))
        each_run(f, first, last, tiles, head)
        return LibraryCode((launch.finish(),), (self.workspace(),))

    # ---------------------------------------------------------------------------------------- its parts

    def pack(self, keys: bool, source: str, stride: Int, to: str) -> None:
        """The keys as panels `[depth][keys]`, or the values as panels `[keys][columns]`."""
        f, lanes, width = self.f, self.lanes, self.width
        depth, columns = (self.depth, self.n) if keys else (self.n, self.columns)

        def build(g: FunctionText) -> None:
            write = pack_transposed if keys else pack_straight
            write(g, lanes, "%source", "%stride", "%depth", "%valid", width, "%panel")

        head = "ptr %source, i64 %stride, i64 %depth, i64 %valid, ptr %panel"
        symbol = self.launch.module.internal(("pack", keys), head, build)

        def panel(p: str, _: list[str]) -> None:
            column = f.mul(p, width)
            place = f.offset(source, f.mul(column, stride) if keys else column, lanes.element)
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

    def copy_queries(self, height: int) -> str:
        """The function that copies a tile's rows of `q` to where they lie well apart."""
        lanes = self.lanes

        def build(g: FunctionText) -> None:
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
        return self.launch.module.internal(("queries", height), head, build)

    def scores(self, pick: _Pick, queries: str, keys: str, scores: str) -> None:
        """The products of a tile's queries with all keys."""
        f, lanes, width = self.f, self.lanes, self.width
        found = [
            self.tile(height, self.query_stride, self.call.k, self.score_stride, width, self.plain)
            for height in self.rows.heights
        ]
        function = pick([kernel.symbol for kernel in found])

        def panel(p: str, _: list[str]) -> None:
            column = f.mul(p, width)
            values: dict[str, Int] = {
                "a": queries,
                "b": f.offset(keys, f.mul(column, self.depth), lanes.element),
                "result.scores": f.offset(scores, column, lanes.element),
                "row_stride": self.query_stride,
                "count0": self.depth,
                "stride": self.score_stride,
            }
            found[0].call(f, values, function)

        f.loop(0, f.div(f.add(self.n, width - 1), width), panel)

    def mix(self, pick: _Pick, scores: str, values: str, inverse: str, c: str, c_stride: Int) -> None:
        """The product of a tile's weights with the values."""
        f, lanes, width = self.f, self.lanes, self.width
        whole = f.div(self.columns, width)
        edge = f.sub(self.columns, f.mul(whole, width))

        def panels(begin: Int, end: Int, columns: int | None) -> None:
            found = [
                self.tile(height, self.score_stride, self.call.n, c_stride, columns, self.divided)
                for height in self.rows.heights
            ]
            function = pick([kernel.symbol for kernel in found])

            def panel(p: str, _: list[str]) -> None:
                column = f.mul(p, width)
                arguments: dict[str, Int] = {
                    "a": scores,
                    "b": f.offset(values, f.mul(column, self.n), lanes.element),
                    "result.c": f.offset(c, column, lanes.element),
                    "operand.inverse": inverse,
                    "row_stride": self.score_stride,
                    "count0": self.n,
                    "stride": c_stride,
                    "columns": edge,
                }
                found[0].call(f, arguments, function)

            f.loop(begin, end, panel)

        panels(0, whole, width)
        if edge != 0:
            panels(
                whole, f.div(f.add(self.columns, width - 1), width), edge if isinstance(edge, int) else None
            )

    def tile(
        self, height: int, row: Int, count: int | None, stride: Int, columns: int | None, epilogue: Epilogue
    ) -> TileKernel:
        """The register tile of rows so far apart against a panel."""
        offsets = tuple(place * row for place in range(height)) if isinstance(row, int) else None
        vectors = _VECTORS if columns is None else -(-columns // self.lanes.count)
        store = Store(stride if isinstance(stride, int) else None, 1, columns)
        tile = Tile(self.lanes, vectors, height, offsets, (Nest(count, 1, self.width),), store)
        return tile_kernel(self.launch.module, tile, epilogue)

    def softmax(self, height: int) -> str:
        """The function that makes weights of a tile's scores, but for the division by their sums."""
        call, lanes, dtype = self.call, self.lanes, self.call.dtype
        head = "ptr %scores, i64 %stride, i64 %count, ptr %inverse"
        for number in range(len(call.masks)):
            head += f", ptr %mask{number}, i64 %mask_stride{number}"

        element, vector = lanes.element, lanes.type

        def build(g: FunctionText) -> None:
            # All rows' greatest scores first: one row's sum across lanes waits while the next row is read.
            g.loop(0, height, lambda row, _: scored(g, row))
            g.loop(0, height, lambda row, _: weighed(g, row))

        def cut(g: FunctionText) -> tuple[Int, Int]:
            count: Int = "%count" if call.n is None else call.n
            whole = g.mul(g.div(count, lanes.count), lanes.count)
            return whole, g.sub(count, whole)

        def among(g: FunctionText, value: str, valid: Int | None, otherwise: str) -> str:
            if valid is None:
                return value
            inside = f"<{lanes.count} x i1> {g.mask(lanes.count, valid)}"
            return g.value(f"select {inside}, {vector} {value}, {vector} {g.splat(lanes, otherwise)}")

        def scored(g: FunctionText, row: str) -> None:
            line = g.offset("%scores", g.mul(row, "%stride"), element)
            mask_lines = [
                g.offset(f"%mask{i}", g.mul(row, f"%mask_stride{i}"), LLVM_TYPES[mask.dtype])
                for i, mask in enumerate(call.masks)
            ]

            def step(column: Int, top: str, valid: Int | None = None) -> str:
                place = g.offset(line, column, element)
                known = {ACCUMULATOR: (dtype, g.load(lanes, place))}
                for mask, start in zip(call.masks, mask_lines, strict=True):
                    wide = Lanes(mask.dtype, lanes.count)
                    if mask.column:
                        value = g.load(wide, g.offset(start, column, wide.element), valid)
                    else:
                        value = g.broadcast(wide, start)
                    known[mask.name] = (mask.dtype, value)
                (score,) = write_expressions(g, lanes.count, [call.score.results[0][1]], known)
                g.store(lanes, place, score)
                score = among(g, score, valid, _LOWEST)
                above = g.value(f"fcmp ogt {vector} {score}, {top}")
                return g.value(f"select <{lanes.count} x i1> {above}, {vector} {score}, {vector} {top}")

            top = self.along(g, cut(g), g.splat(lanes, _LOWEST), step)
            self.note(g, self.across(g, "fmax", top), row)

        def weighed(g: FunctionText, row: str) -> None:
            line = g.offset("%scores", g.mul(row, "%stride"), element)
            top = g.broadcast(lanes, g.offset("%inverse", row, element))

            def step(column: Int, total: str, valid: Int | None = None) -> str:
                place = g.offset(line, column, element)
                known = {"score": (dtype, g.load(lanes, place)), "top": (dtype, top)}
                (weight,) = write_expressions(g, lanes.count, [_WEIGHT[dtype]], known)
                weight = among(g, weight, valid, "0.0")
                g.store(lanes, place, weight)
                return g.value(f"fadd {vector} {total}, {weight}")

            total = self.across(g, "fadd", self.along(g, cut(g), "zeroinitializer", step), "0.0")
            self.note(g, g.value(f"fdiv {element} 1.0, {total}"), row)

        return self.launch.module.internal(("softmax", height), head, build)

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


_LOWEST = "0xFFF0000000000000"
"""Minus infinity of a double, which is how LLVM writes that of a float as well."""

_WEIGHT = {
    dtype: Op("exp", (Op("sub", (Var("score", dtype), Var("top", dtype)), dtype),), dtype)
    for dtype in ("f32", "f64")
}
