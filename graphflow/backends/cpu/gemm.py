"""Matrix products as launches of register tiles.

The result is cut into units of one row tile by a group of column panels. A part packs the panels of its
group into scratch of its own, hot in its cache, then runs its row tiles over them: no part waits for
another, and the bits do not depend on the number of parts, since each element is summed by one tile in the
order of `k`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Pack,
    RowPlan,
    Store,
    Tile,
    TileKernel,
    Workspace,
    each_run,
    lanes_of,
    tile_kernel,
    tile_shape,
)
from graphflow.loops.library import Epilogue, EpilogueOperand, Gemm, Size, digest, digest_of, element_bytes

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
    """One side of the product: its buffer, whether its last two axes are swapped, its row stride, which batch
    axes it has, and its step along each, unless its matrices follow each other.
    """

    name: str
    transposed: bool
    stride: _Extent
    batch: tuple[bool, ...]
    steps: tuple[_Extent, ...] | None


def emit_gemm(call: Gemm, target: Target) -> LibraryCode:
    """The launches of a matrix product."""
    product = _Product(call, target)
    if product.dots:
        return LibraryCode((_emit_dots(product, target),), ())
    packs = [_pack_a(product, target)] if product.packs_a else []
    if product.prepacked:
        packs.append(_pack_b(product, target))
    return LibraryCode((_emit_product(product, target),), product.workspaces(), tuple(packs))


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
            steps: tuple[int | None, ...] | None,
        ) -> _Operand:
            row = dense if stride == "dense" else _Extent(f"stride_{name}", stride)
            apart = _steps(name, steps)
            return _Operand(
                name, transposed, row, tuple(e.known != 0 for e in apart) if apart else batch, apart
            )

        has_a, has_b = call.batch_a or every, call.batch_b or every
        dense_a, dense_b = m if call.transpose_a else self.k, self.k if call.transpose_b else n
        a = side("a", call.transpose_a, call.stride_a, dense_a, has_a, call.steps_a)
        b = side("b", call.transpose_b, call.stride_b, dense_b, has_b, call.steps_b)
        self.swapped = call.n == 1 and call.m != 1 and call.stride_c == "dense" and call.steps_c is None
        if self.swapped:
            # A single column is stored as a single row is: swap the sides, and vectors lie along its length.
            m, n = n, m
            a, b = (
                _Operand(b.name, not b.transposed, b.stride, b.batch, b.steps),
                _Operand(a.name, not a.transposed, a.stride, a.batch, a.steps),
            )
        self.m, self.n, self.a, self.b = m, n, a, b
        self.c_stride = n if call.stride_c == "dense" else _Extent("stride_c", call.stride_c)
        self.c_steps = _steps("c", call.steps_c)
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
            and m.known is not None
            and 0 < m.known <= _DOT_ROWS
        )
        self.prepacked = call.prepack_b and not self.swapped and not self.dots
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

    def workspaces(self) -> tuple[Workspace, ...]:
        """Each part's panels of `b`, where the product packs them itself."""
        if self.prepacked:
            return ()
        size = element_bytes(self.dtype)
        return (Workspace("packed_b", Size.of(self.group * self.width * size, self.k.term, "parts")),)

    def terms(self, operand: _Operand) -> list[int | str]:
        """The batch extents that an operand has."""
        return [e.term for e, varies in zip(self.batch, operand.batch, strict=True) if varies]

    @property
    def panel_height(self) -> int:
        """Rows of a packed panel of `a`."""
        return max((1, *self.rows.heights))

    def panel_rows(self, rows: int) -> int:
        """Rows of all panels of `a` for a known number of rows."""
        return -(-rows // self.rows.most) * self.panel_height

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


def _steps(name: str, steps: tuple[int | None, ...] | None) -> tuple[_Extent, ...] | None:
    """The steps of an operand or of the result along the batch axes, by their names as run-time sizes."""
    if steps is None:
        return None
    return tuple(_Extent(f"step_{name}{axis}", step) for axis, step in enumerate(steps))


def _stepped(f: FunctionText, extents: Sequence[Int], steps: Sequence[Int], index: Int) -> Int:
    """Elements from the first matrix to matrix `index`, counted row-major over the extents."""
    result: Int = 0
    for axis in reversed(range(len(extents))):
        place = index if axis == 0 else f.rem(index, extents[axis])
        result = f.add(result, f.mul(place, steps[axis]))
        if axis:
            index = f.div(index, extents[axis])
    return result


def _turn_epilogue(epilogue: Epilogue) -> Epilogue:
    """The epilogue of a single column as that of a single row: what was per row is per element, and so on."""
    turned: dict[str, Literal["element", "scalar"]] = {"row": "element", "column": "scalar"}
    operands = tuple(EpilogueOperand(o.name, o.dtype, turned.get(o.over, o.over)) for o in epilogue.operands)
    return Epilogue(epilogue.results, operands)


class _Operands:
    """The operands, sizes and epilogue of a product, as a launch is handed them."""

    def __init__(self, product: _Product, launch: LaunchText) -> None:
        f = self.f = launch.function
        self.product = product
        self.a = launch.buffer("packed_a" if product.packs_a else product.a.name)
        self.b = launch.buffer("packed_b" if product.prepacked else product.b.name)
        self.epilogue = EpilogueBuffers.load(launch, product.epilogue)
        self.m, self.n, self.k = product.m.read(launch), product.n.read(launch), product.k.read(launch)
        self.a_stride, self.b_stride = product.a.stride.read(launch), product.b.stride.read(launch)
        self.c_stride = product.c_stride.read(launch)
        self.batch = [extent.read(launch) for extent in product.batch]
        self.matrices: Int = 1
        for extent in self.batch:
            self.matrices = f.mul(self.matrices, extent)
        if product.packs_a:
            panels = f.mul(product.rows.units(f, self.m), product.panel_height)
            self.a_elements = f.mul(panels, self.k)
        else:
            self.a_elements = f.mul(self.k if product.a.transposed else self.m, self.a_stride)
        if product.prepacked:
            panels = f.div(f.add(self.n, product.width - 1), product.width)
            self.b_elements = f.mul(f.mul(panels, product.width), self.k)
        else:
            self.b_elements = f.mul(self.n if product.b.transposed else self.k, self.b_stride)
        self.a_steps = None if product.packs_a else _read_all(product.a.steps, launch)
        self.b_steps = None if product.prepacked else _read_all(product.b.steps, launch)
        self.c_steps = _read_all(product.c_steps, launch)

    def matrices_at(self, index: Int) -> tuple[str, str]:
        """The matrices of `a` and `b` that make result matrix `index`."""
        f, element = self.f, self.product.lanes.element
        a = self._matrix(index, self.product.a, self.a_elements, self.a_steps)
        b = self._matrix(index, self.product.b, self.b_elements, self.b_steps)
        return f.offset(self.a, a, element), f.offset(self.b, b, element)

    def _matrix(self, index: Int, operand: _Operand, elements: Int, steps: list[Int] | None) -> Int:
        if steps is not None:
            return _stepped(self.f, self.batch, steps, index)
        return self.f.mul(self.product.matrix_index(self.f, self.batch, index, operand.batch), elements)

    def place(self, matrix: Int, row: Int, column: Int) -> dict[str, Int]:
        """The epilogue's buffers at an element of the result."""
        f = self.f
        whole_row = f.add(f.mul(matrix, self.m), row)
        if self.c_steps is None:
            start = f.mul(whole_row, self.c_stride)
        else:
            start = f.add(_stepped(f, self.batch, self.c_steps, matrix), f.mul(row, self.c_stride))
        return self.epilogue.at(f, f.add(start, column), whole_row, column)


def _read_all(extents: tuple[_Extent, ...] | None, launch: LaunchText) -> list[Int] | None:
    return None if extents is None else [extent.read(launch) for extent in extents]


def _own_matrices(
    product: _Product, launch: LaunchText, operand: _Operand, elements: Int
) -> tuple[Int, Callable[[Int], Int]]:
    """How many matrices an operand holds, and the elements before each of them."""
    f = launch.function
    own = [e.read(launch) for e, varies in zip(product.batch, operand.batch, strict=True) if varies]
    count: Int = 1
    for extent in own:
        count = f.mul(count, extent)
    steps = _read_all(operand.steps, launch)
    if steps is None:
        return count, lambda matrix: f.mul(matrix, elements)
    apart = [step for step, varies in zip(steps, operand.batch, strict=True) if varies]
    return count, lambda matrix: _stepped(f, own, apart, matrix)


def _pack_a(product: _Product, target: Target) -> Pack:
    """Row tiles of `a` as panels `[k][rows of a tile]`, one after another."""
    operand = product.a
    key = digest_of(
        "a", product.dtype, product.rows, product.m, product.k, operand.stride, operand.steps, product.terms(operand),
        target.vector_bytes,
    )  # fmt: skip
    launch = LaunchText.begin(f"pack_a_{key}", target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    a, packed = launch.buffer(operand.name), launch.buffer("packed_a")
    m, k, stride = product.m.read(launch), product.k.read(launch), operand.stride.read(launch)
    matrices, start_of = _own_matrices(product, launch, operand, f.mul(m, stride))
    units = product.rows.units(f, m)
    first, last = launch.share(f.mul(matrices, units))

    def unit(u: str, _: list[str]) -> None:
        matrix, panel = f.div(u, units), f.rem(u, units)
        row = product.rows.first_row(f, panel)
        valid = f.sub(f.minimum(product.rows.first_row(f, f.add(panel, 1)), m), row)
        source = f.offset(a, f.add(start_of(matrix), f.mul(row, stride)), element)
        to = f.offset(packed, f.mul(u, f.mul(k, product.panel_height)), element)
        pack_transposed(f, lanes, source, stride, k, valid, product.panel_height, to)

    f.loop(first, last, unit)
    size, batch = element_bytes(product.dtype), product.terms(operand)
    # A panel has the greatest height, whatever the height of its tile.
    if product.m.known is None:
        needed = Size.of(size, product.m.term, product.k.term, *batch)
        needed += Size.of(size * product.panel_height, product.k.term, *batch)
    else:
        needed = Size.of(size * product.panel_rows(product.m.known), product.k.term, *batch)
    return Pack(operand.name, "packed_a", needed, f"a_{key}", (launch.finish(),))


_DEPTH = 128
"""Rows of a panel that are packed in one go: narrow matrices are shared among threads too."""


def _pack_b(product: _Product, target: Target) -> Pack:
    """All panels `[k][width]` of `b`, one after another."""
    operand, width = product.b, product.width
    key = digest_of(
        "b", product.dtype, width, product.n, product.k, operand.transposed, operand.stride, operand.steps,
        product.terms(operand), target.vector_bytes,
    )  # fmt: skip
    launch = LaunchText.begin(f"pack_b_{key}", target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    b, packed = launch.buffer(operand.name), launch.buffer("packed_b")
    n, k, stride = product.n.read(launch), product.k.read(launch), operand.stride.read(launch)
    panels, blocks = f.div(f.add(n, width - 1), width), f.div(f.add(k, _DEPTH - 1), _DEPTH)
    rows = n if operand.transposed else k
    matrices, start_of = _own_matrices(product, launch, operand, f.mul(rows, stride))
    first, last = launch.share(f.mul(matrices, f.mul(panels, blocks)))

    def unit(u: str, _: list[str]) -> None:
        number, block = f.div(u, blocks), f.rem(u, blocks)
        matrix, panel = f.div(number, panels), f.rem(number, panels)
        row, column = f.mul(block, _DEPTH), f.mul(panel, width)
        depth, valid = f.minimum(f.sub(k, row), _DEPTH), f.minimum(f.sub(n, column), width)
        place = f.add(f.mul(column, stride), row) if operand.transposed else f.add(f.mul(row, stride), column)
        source = f.offset(b, f.add(start_of(matrix), place), element)
        to = f.offset(packed, f.mul(f.add(f.mul(number, k), row), width), element)
        if operand.transposed:
            pack_transposed(f, lanes, source, stride, depth, valid, width, to)
        else:
            pack_straight(f, lanes, source, stride, depth, valid, width, to)

    f.loop(first, last, unit)
    size, batch = element_bytes(product.dtype), product.terms(operand)
    if product.n.known is None:
        needed = Size.of(size, product.n.term, product.k.term, *batch)
        needed += Size.of(size * (width - 1), product.k.term, *batch)
    else:
        needed = Size.of(size * -(-product.n.known // width) * width, product.k.term, *batch)
    return Pack(operand.name, "packed_b", needed, f"b_{key}", (launch.finish(),))


def _emit_product(product: _Product, target: Target) -> Launch:
    launch = LaunchText.begin(product.symbol, target)
    f, lanes, element, width = launch.function, product.lanes, product.lanes.element, product.width
    at = _Operands(product, launch)
    packed = at.b if product.prepacked else launch.buffer("packed_b")
    panels, whole_panels = f.div(f.add(at.n, width - 1), width), f.div(at.n, width)
    edge = f.sub(at.n, f.mul(whole_panels, width))
    groups = f.div(f.add(panels, product.group - 1), product.group)
    tiles = product.rows.units(f, at.m)
    scratch = f.offset(packed, f.mul("%part", f.mul(product.group * width, at.k)), element)
    panel_elements = f.mul(width, at.k)

    def pack(source: str, panel: str, valid: Int) -> None:
        def build(g: FunctionText) -> None:
            if product.b.transposed:
                pack_transposed(g, lanes, "%source", "%stride", "%depth", "%valid", width, "%panel")
            else:
                columns: Int = width if valid == width else "%valid"
                pack_straight(g, lanes, "%source", "%stride", "%depth", columns, width, "%panel")

        head = "ptr %source, i64 %stride, i64 %depth, i64 %valid, ptr %panel"
        symbol = launch.module.internal(("pack", product.b.transposed or valid == width), head, build)
        f.call(symbol, f"ptr {source}", f"i64 {at.b_stride}", f"i64 {at.k}", f"i64 {valid}", f"ptr {panel}")

    def kernels(columns: int | None) -> list[TileKernel]:
        """The tile of each height, for panels of so many columns (`None`: as many as are left)."""
        vectors = product.vectors if columns is None else -(-columns // lanes.count)
        found = []
        for height in product.rows.heights:
            offsets: tuple[int, ...] | None = tuple(range(height))
            a_step: int | None = product.panel_height if product.packs_a else product.a.stride.known
            if not product.packs_a and not product.a.transposed:
                known = product.a.stride.known
                offsets = None if known is None else tuple(row * known for row in range(height))
                a_step = 1
            nest, store = Nest(product.k.known, a_step, None), Store(product.c_stride.known, 1, columns)
            tile = Tile(lanes, vectors, height, offsets, (nest,), store)
            found.append(tile_kernel(launch.module, tile, product.epilogue))
        return found

    def over_tiles(run: str, start: Int, stop: Int) -> None:
        matrix, group = f.div(run, groups), f.rem(run, groups)
        first_panel = f.mul(group, product.group)
        last_panel = f.minimum(f.add(first_panel, product.group), panels)
        last_whole = f.minimum(last_panel, whole_panels)
        a_start, b_start = at.matrices_at(matrix)

        def b_panel(panel: Int) -> str:
            step = f.mul(width, at.b_stride) if product.b.transposed else width
            return f.offset(b_start, f.mul(panel, step), element)

        def slot(panel: Int) -> str:
            return f.offset(scratch, f.mul(f.sub(panel, first_panel), panel_elements), element)

        def pack_whole() -> None:
            f.loop(first_panel, last_whole, lambda p, _: pack(b_panel(p), slot(p), width))

        # `b` as the tiles see it: in panels already, in scratch, or where it lies if there are few tiles to read it.
        b_first = scratch
        b_next: Int = panel_elements
        b_step: Int = width
        if product.prepacked:
            b_first = f.offset(b_start, f.mul(first_panel, panel_elements), element)
        elif product.b.transposed:
            pack_whole()
        elif whole_panels != 0:
            few = f.compare("sle", f.sub(stop, start), _FEW_TILES)
            f.branch(few, lambda: None, pack_whole)
            b_first = f.value(f"select i1 {few}, ptr {b_panel(first_panel)}, ptr {scratch}")
            b_next = f.select(few, width, panel_elements)
            b_step = f.select(few, at.b_stride, width)
        if edge != 0 and not product.prepacked:
            f.when_less(
                whole_panels, last_panel, lambda: pack(b_panel(whole_panels), slot(whole_panels), edge)
            )

        def tile(pick: Callable[[Sequence[str]], str], row: Int, unit: Int, inside: Int) -> None:
            if product.packs_a:
                a_row = f.add(f.mul(unit, f.mul(at.k, product.panel_height)), inside)
            else:
                a_row = row if product.a.transposed else f.mul(row, at.a_stride)
            common: dict[str, Int] = {
                "a": f.offset(a_start, a_row, element),
                "row_stride": at.a_stride,
                "count0": at.k,
                "a_step0": at.a_stride,
                "stride": at.c_stride,
                "columns": at.n,
            }

            def run_panels(begin: Int, end: Int, columns: int | None, edge_only: bool) -> None:
                found = kernels(columns)
                function = pick([kernel.symbol for kernel in found])

                def panel(p: Int) -> None:
                    values = common | at.place(matrix, row, f.mul(p, width))
                    values["columns"] = f.minimum(f.sub(at.n, f.mul(p, width)), width)
                    values["b"] = f.offset(b_first, f.mul(f.sub(p, first_panel), b_next), element)
                    values["b_step0"] = b_step
                    if edge_only and not product.prepacked:
                        values |= {"b": slot(p), "b_step0": width}
                    found[0].call(f, values, function)

                f.loop(begin, end, lambda p, _: panel(p))

            if whole_panels != 0:
                run_panels(first_panel, last_whole, width, False)
            if edge != 0:
                run_panels(
                    f.maximum(first_panel, whole_panels),
                    last_panel,
                    edge if isinstance(edge, int) else None,
                    True,
                )

        product.rows.walk(f, at.m, start, stop, tile)

    first, last = launch.share(f.mul(f.mul(at.matrices, groups), tiles))
    each_run(f, first, last, tiles, over_tiles)
    return launch.finish()


_DOTS = 4
"""Rows of a transposed `b` that are walked together."""


def _emit_dots(product: _Product, target: Target) -> Launch:
    """A few rows of `a` against the rows of a transposed `b`: sums along `k`, lane by lane, then across
    lanes.
    """
    launch = LaunchText.begin(product.symbol, target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    at = _Operands(product, launch)
    rows = product.m.known or 0
    blocks = f.div(f.add(at.n, lanes.count - 1), lanes.count)
    first, last = launch.share(f.mul(at.matrices, blocks))
    known = product.a.stride.known
    offsets = tuple(row * known for row in range(rows)) if known is not None else (None if rows > 1 else (0,))
    nest, store = Nest(product.k.known, 1, product.b.stride.known), Store(product.c_stride.known, 1, None)
    tile = Tile(lanes, 1, rows, offsets, (nest,), store)
    kernel = tile_kernel(launch.module, tile, product.epilogue, lambda g: _write_dots(g, tile))

    def unit(u: str, _: list[str]) -> None:
        matrix, block = f.div(u, blocks), f.rem(u, blocks)
        a, b = at.matrices_at(matrix)
        column = f.mul(block, lanes.count)
        values = at.place(matrix, 0, column) | {
            "a": a,
            "b": f.offset(b, f.mul(column, at.b_stride), element),
            "row_stride": at.a_stride,
            "count0": at.k,
            "b_step0": at.b_stride,
            "stride": at.c_stride,
            "columns": f.minimum(f.sub(at.n, column), lanes.count),
        }
        kernel.call(f, values)

    f.loop(first, last, unit)
    return launch.finish()


def _write_dots(f: FunctionText, tile: Tile) -> list[str]:
    lanes, element, rows = tile.lanes, tile.lanes.element, tile.rows
    together = min(_DOTS, lanes.count)
    nest = tile.nests[0]
    depth: Int = "%count0" if nest.count is None else nest.count
    b_stride: Int = "%b_step0" if nest.b_step is None else nest.b_step
    sums = f.stack(f"[{rows * lanes.count} x {element}]", 64)
    whole = f.mul(f.div(depth, lanes.count), lanes.count)
    total = f"llvm.vector.reduce.fadd.{lanes.suffix}"
    f.module.declare(total, element, f"{element}, {lanes.type}")
    a_rows = [
        f.offset(
            "%a", f.mul("%row_stride", row) if tile.row_offsets is None else tile.row_offsets[row], element
        )
        for row in range(rows)
    ]

    def lines(first: str, _: list[str]) -> None:
        # Behind the last column its line is read again; what comes of it is not stored.
        numbers = [f.minimum(f.add(first, j), f.sub("%columns", 1)) for j in range(together)]
        b_rows = [f.offset("%b", f.mul(number, b_stride), element) for number in numbers]

        def step(k: Int, now: list[str], valid: Int | None = None) -> list[str]:
            left = [f.load(lanes, f.offset(a, k, element), valid) for a in a_rows]
            right = [f.load(lanes, f.offset(b, k, element), valid) for b in b_rows]
            return [
                f.multiply_add(lanes, left[row], right[j], now[row * together + j])
                for row in range(rows)
                for j in range(together)
            ]

        values = ["zeroinitializer"] * (rows * together)
        values = f.loop(0, whole, step, [(lanes.type, value) for value in values], step=lanes.count)
        rest = f.sub(depth, whole)
        if rest != 0:
            values = step(whole, values, rest)
        for row in range(rows):
            for j in range(together):
                vector = values[row * together + j]
                one = f.value(f"call reassoc {element} @{total}({element} 0.0, {lanes.type} {vector})")
                place = f.offset(sums, f.add(first, row * lanes.count + j), element)
                f.emit(f"store {element} {one}, ptr {place}, align {lanes.align}")

    f.loop(0, "%columns", lines, step=together)
    return [f.load(lanes, f.offset(sums, row * lanes.count, element)) for row in range(rows)]
