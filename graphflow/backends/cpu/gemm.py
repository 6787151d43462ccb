"""Matrix products as launches of register tiles.

The result is cut into units of one row tile by a group of column panels. A part packs the panels of its
group into scratch of its own, hot in its cache, then runs its row tiles over them: no part waits for
another, and the bits do not depend on the number of parts, since each element is summed by one tile in the
order of `k`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphflow.backends.cpu.function_text import FunctionText, Int
from graphflow.backends.cpu.packing import pack_straight, pack_transposed
from graphflow.backends.cpu.target import Target
from graphflow.backends.cpu.tiles import (
    EpilogueBuffers,
    Launch,
    LaunchText,
    LibraryCode,
    Nest,
    RowPlan,
    Store,
    Tile,
    Workspace,
    each_run,
    lanes_of,
    tile_kernel,
    tile_shape,
)
from graphflow.loops.library import Epilogue, EpilogueOperand, Gemm, Size, digest, element_bytes

__all__ = ["emit_gemm"]

_GROUP_BYTES = 256 * 1024
"""Packed panels that a part keeps in its second-level cache while it walks down the rows."""

_FEW_TILES = 2
"""With so few row tiles to a panel, reading `b` where it lies beats packing it."""

_ALIAS_BYTES = 2048
"""Rows of `a` so many bytes apart (or a multiple) fall into the same few cache sets, so `a` is packed."""

_DOT_ROWS = 4
"""Up to so many rows against a transposed `b` are dot products along `k`, without packing."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """A size of the product: known, or a run-time size by name."""

    name: str
    known: int | None

    def read(self, launch: LaunchText) -> Int:
        return launch.size(self.name, self.known)

    @property
    def term(self) -> int | str:
        return self.name if self.known is None else self.known


@dataclass(frozen=True, slots=True)
class _Operand:
    """One side of the product: its buffer, whether its last two axes are swapped, its row stride, its batch
    axes.
    """

    name: str
    transposed: bool
    stride: _Extent
    batch: tuple[bool, ...]


def emit_gemm(call: Gemm, target: Target) -> LibraryCode:
    """The launches of a matrix product."""
    product = _Product(call, target)
    launches = []
    if product.packs_a:
        launches.append(_emit_pack_a(product, target))
    launches.append(_emit_product(product, target))
    return LibraryCode(tuple(launches), product.workspaces())


class _Product:
    """A matrix product with everything decided that can be before run time."""

    def __init__(self, call: Gemm, target: Target) -> None:
        m, n, self.k = _Extent("m", call.m), _Extent("n", call.n), _Extent("k", call.k)
        every = (True,) * len(call.batch)

        def side(
            name: str,
            transposed: bool,
            stride: int | None | Literal["dense"],
            dense: _Extent,
            batch: tuple[bool, ...],
        ) -> _Operand:
            row = dense if stride == "dense" else _Extent(f"stride_{name}", stride)
            return _Operand(name, transposed, row, batch)

        a = side(
            "a", call.transpose_a, call.stride_a, m if call.transpose_a else self.k, call.batch_a or every
        )
        b = side(
            "b", call.transpose_b, call.stride_b, self.k if call.transpose_b else n, call.batch_b or every
        )
        self.swapped = call.n == 1 and call.m != 1 and call.stride_c == "dense"
        if self.swapped:
            # A single column is stored as a single row is: swap the sides, and vectors lie along its length.
            m, n = n, m
            a, b = (
                _Operand(b.name, not b.transposed, b.stride, b.batch),
                _Operand(a.name, not a.transposed, a.stride, a.batch),
            )
        self.m, self.n, self.a, self.b = m, n, a, b
        self.c_stride = n if call.stride_c == "dense" else _Extent("stride_c", call.stride_c)
        self.batch = tuple(_Extent(f"batch{axis}", extent) for axis, extent in enumerate(call.batch))
        self.epilogue = call.epilogue or Epilogue.plain("c", call.dtype)
        if self.swapped:
            self.epilogue = _turn_epilogue(self.epilogue)
        self.dtype = call.dtype
        self.lanes = lanes_of(target, call.dtype)
        most_rows, self.vectors = tile_shape(target, self.lanes, n.known)
        self.width = self.vectors * self.lanes.count
        self.rows = RowPlan(m.known, most_rows)
        self.symbol = f"gemm_{digest(call, target.vector_bytes, target.registers)}"
        self.dots = (
            b.transposed
            and (not a.transposed or (m.known == 1 and a.stride.known == 1))
            and (m.known is None or m.known <= _DOT_ROWS)
        )
        self.packs_a = self._packs_a()
        depth = 512 if self.k.known is None else max(1, self.k.known)
        bytes_of_panel = depth * self.width * element_bytes(call.dtype)
        self.group = max(1, min(8, _GROUP_BYTES // bytes_of_panel))
        if n.known is not None:
            self.group = min(self.group, max(1, -(-n.known // self.width)))

    def _packs_a(self) -> bool:
        if self.a.transposed or (self.m.known is not None and self.m.known <= _DOT_ROWS):
            return False
        if self.a.stride.known is None:
            return True
        one_panel = self.n.known is not None and self.n.known <= self.width
        apart = self.a.stride.known * element_bytes(self.dtype)
        return not one_panel and apart % _ALIAS_BYTES == 0 and (self.m.known is None or self.m.known >= 8)

    @property
    def b_group_elements(self) -> tuple[int, int | str]:
        """Scratch of one part: a factor, times the extent `k`."""
        return self.group * self.width, self.k.term

    def workspaces(self) -> tuple[Workspace, ...]:
        size = element_bytes(self.dtype)
        factor, depth = self.b_group_elements
        spaces = [Workspace("packed_b", Size.of(factor * size, depth, "parts"))]
        if self.packs_a:
            batch = [e.term for e, varies in zip(self.batch, self.a.batch, strict=True) if varies]
            spaces.append(Workspace("packed_a", Size.of(size, self.m.term, self.k.term, *batch)))
        return tuple(spaces)

    def matrix_index(self, f: FunctionText, extents: list[Int], index: Int, varies: tuple[bool, ...]) -> Int:
        """Which stored matrix of an operand belongs to result matrix `index`."""
        if all(varies):
            return index
        result: Int = 0
        scale: Int = 1
        for extent, own in reversed(list(zip(extents, varies, strict=True))):
            if own:
                result = f.add(result, f.mul(f.rem(index, extent), scale))
                scale = f.mul(scale, extent)
            index = f.div(index, extent)
        return result


def _turn_epilogue(epilogue: Epilogue) -> Epilogue:
    """The epilogue of a single column as that of a single row: what was per row is per element, and so on."""
    turned: dict[str, Literal["element", "scalar"]] = {"row": "element", "column": "scalar"}
    operands = tuple(EpilogueOperand(o.name, o.dtype, turned.get(o.over, o.over)) for o in epilogue.operands)
    return Epilogue(epilogue.results, operands)


def _emit_pack_a(product: _Product, target: Target) -> Launch:
    """Row tiles of `a` as panels `[k][rows of the tile]`, one after another."""
    launch = LaunchText.begin(product.symbol + "_pack", target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    a, packed = launch.buffer(product.a.name), launch.buffer("packed_a")
    m, k, stride = product.m.read(launch), product.k.read(launch), product.a.stride.read(launch)
    matrices: Int = 1
    for extent, varies in zip(product.batch, product.a.batch, strict=True):
        if varies:
            matrices = f.mul(matrices, extent.read(launch))
    units = product.rows.units(f, m)
    first, last = launch.share(f.mul(matrices, units))

    def pack(matrix: Int, height: int, row: Int) -> None:
        def build(g: FunctionText) -> None:
            pack_transposed(g, lanes, "%source", "%stride", "%depth", height, height, "%panel")

        symbol = launch.module.internal(height, "ptr %source, i64 %stride, i64 %depth, ptr %panel", build)
        source = f.offset(a, f.mul(f.add(f.mul(matrix, m), row), stride), element)
        panel = f.offset(packed, f.mul(f.add(f.mul(matrix, m), row), k), element)
        f.call(symbol, f"ptr {source}", f"i64 {stride}", f"i64 {k}", f"ptr {panel}")

    def over_matrix(matrix: str, start: Int, stop: Int) -> None:
        product.rows.each(f, m, start, stop, lambda height, row: pack(matrix, height, row))

    each_run(f, first, last, units, over_matrix)
    return launch.finish()


def _emit_product(product: _Product, target: Target) -> Launch:
    launch = LaunchText.begin(product.symbol, target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    width, epilogue = product.width, product.epilogue
    a_name = "packed_a" if product.packs_a else product.a.name
    a, b = launch.buffer(a_name), launch.buffer(product.b.name)
    buffers = EpilogueBuffers.load(launch, epilogue)
    packed = launch.buffer("packed_b")
    m, n, k = product.m.read(launch), product.n.read(launch), product.k.read(launch)
    a_stride, b_stride = product.a.stride.read(launch), product.b.stride.read(launch)
    c_stride = product.c_stride.read(launch)
    batch = [extent.read(launch) for extent in product.batch]
    matrices: Int = 1
    for extent in batch:
        matrices = f.mul(matrices, extent)

    panels, whole_panels = f.div(f.add(n, width - 1), width), f.div(n, width)
    edge = f.sub(n, f.mul(whole_panels, width))
    groups = f.div(f.add(panels, product.group - 1), product.group)
    tiles = product.rows.units(f, m)
    scratch = f.offset(packed, f.mul("%part", f.mul(product.group * width, k)), element)
    panel_elements = f.mul(width, k)
    a_matrix_elements = f.mul(m, k) if product.packs_a else f.mul(k if product.a.transposed else m, a_stride)
    b_matrix_elements = f.mul(n if product.b.transposed else k, b_stride)

    def place(matrix: Int, row: Int, column: Int) -> dict[str, Int]:
        whole_row = f.add(f.mul(matrix, m), row)
        return buffers.at(f, f.add(f.mul(whole_row, c_stride), column), whole_row, column)

    def pack(source: str, panel: str, valid: Int) -> None:
        packer = pack_transposed if product.b.transposed else pack_straight

        def build(g: FunctionText) -> None:
            columns: Int = width if valid == width else "%valid"
            packer(g, lanes, "%source", "%stride", "%depth", columns, width, "%panel")

        head = "ptr %source, i64 %stride, i64 %depth, i64 %valid, ptr %panel"
        symbol = launch.module.internal(("pack", valid == width), head, build)
        f.call(symbol, f"ptr {source}", f"i64 {b_stride}", f"i64 {k}", f"i64 {valid}", f"ptr {panel}")

    def kernel(height: int, edge_panel: bool, values: dict[str, Int]) -> None:
        columns: int | None = width
        vectors = product.vectors
        if edge_panel:
            columns = edge if isinstance(edge, int) else None
            vectors = product.vectors if columns is None else -(-columns // lanes.count)
        offsets: tuple[int, ...] | None = tuple(range(height))
        a_step: int | None = height if product.packs_a else product.a.stride.known
        if not product.packs_a and not product.a.transposed:
            known = product.a.stride.known
            offsets = None if known is None else tuple(row * known for row in range(height))
            a_step = 1
        tile = Tile(
            lanes,
            vectors,
            height,
            offsets,
            (Nest(product.k.known, a_step, None),),
            Store(product.c_stride.known, 1, columns),
        )
        values |= {
            "row_stride": a_stride,
            "count0": k,
            "a_step0": a_stride,
            "stride": c_stride,
            "columns": edge,
        }
        tile_kernel(launch.module, tile, epilogue).call(f, values)

    def over_tiles(run: str, start: Int, stop: Int) -> None:
        matrix, group = f.div(run, groups), f.rem(run, groups)
        first_panel = f.mul(group, product.group)
        last_panel = f.minimum(f.add(first_panel, product.group), panels)
        last_whole = f.minimum(last_panel, whole_panels)
        a_matrix = f.mul(product.matrix_index(f, batch, matrix, product.a.batch), a_matrix_elements)
        b_matrix = f.mul(product.matrix_index(f, batch, matrix, product.b.batch), b_matrix_elements)
        a_start, b_start = f.offset(a, a_matrix, element), f.offset(b, b_matrix, element)

        def b_panel(panel: Int) -> str:
            step = f.mul(width, b_stride) if product.b.transposed else width
            return f.offset(b_start, f.mul(panel, step), element)

        def slot(panel: Int) -> str:
            return f.offset(scratch, f.mul(f.sub(panel, first_panel), panel_elements), element)

        def pack_whole() -> None:
            f.loop(first_panel, last_whole, lambda p, _: pack(b_panel(p), slot(p), width))

        # `b` as the tiles see it: in scratch, or where it lies if there are few tiles to read it.
        b_first = scratch
        b_next: Int = panel_elements
        b_step: Int = width
        if product.b.transposed:
            pack_whole()
        else:
            few = f.compare("sle", f.sub(stop, start), _FEW_TILES)
            f.branch(few, lambda: None, pack_whole)
            b_first = f.value(f"select i1 {few}, ptr {b_panel(first_panel)}, ptr {scratch}")
            b_next = f.select(few, width, panel_elements)
            b_step = f.select(few, b_stride, width)
        if edge != 0:
            f.when_less(
                whole_panels, last_panel, lambda: pack(b_panel(whole_panels), slot(whole_panels), edge)
            )

        def tile(height: int, row: Int) -> None:
            if product.packs_a:
                a_row = f.mul(row, k)
            else:
                a_row = row if product.a.transposed else f.mul(row, a_stride)
            a_tile = f.offset(a_start, a_row, element)

            def whole(panel: str, _: list[str]) -> None:
                b_tile = f.offset(b_first, f.mul(f.sub(panel, first_panel), b_next), element)
                values = place(matrix, row, f.mul(panel, width))
                kernel(height, False, values | {"a": a_tile, "b": b_tile, "b_step0": b_step})

            if whole_panels != 0:
                f.loop(first_panel, last_whole, whole)

            def rest() -> None:
                values = place(matrix, row, f.mul(whole_panels, width))
                kernel(height, True, values | {"a": a_tile, "b": slot(whole_panels), "b_step0": width})

            if edge != 0:
                f.when_less(whole_panels, last_panel, rest)

        product.rows.each(f, m, start, stop, tile)

    def by_tiles() -> None:
        first, last = launch.share(f.mul(f.mul(matrices, groups), tiles))
        each_run(f, first, last, tiles, over_tiles)

    by_tiles()
    return launch.finish()
