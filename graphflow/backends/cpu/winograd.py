"""Winograd's F(2x2, 3x3): 3x3 convolutions of stride one with 16 products where the direct way takes 36.

Each 2x2 block of results comes from a 4x4 patch of the image. With the matrices of Lavin and Gray ("Fast
Algorithms for Convolutional Neural Networks", 2015), a block is `A^T ((G g G^T) * (B^T d B)) A`; the
products at each of the 16 places, summed over channels, are one matrix product of patches by filters.

A part takes its blocks a chunk at a time, so small that the transformed patches stay in its second-level
cache: patches are transformed, then for each panel of output channels the 16 products are made and
transformed back into the epilogue. Sums over channels run in one order wherever chunks begin, so bits do not
depend on the number of parts. Results differ from the direct way by rounding (2e-7 to 8e-7 of the range of
the results, as the direct way does from exact ones), and an infinity spreads as NaN over its block.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphflow.backends.cpu.function_text import FunctionText, Int, Lanes
from graphflow.backends.cpu.packing import fill_zero, pack_straight, pack_transposed
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
    lanes_of,
    tile_kernel,
    tile_shape,
)
from graphflow.loops.library import Epilogue, Size, element_bytes

__all__ = ["Blocks", "emit_winograd", "winograd_pays"]

_PLACES = 16
"""Places of a transformed patch."""

_CHUNK_BYTES = 448 * 1024
"""Transformed patches that a part keeps in its second-level cache."""

_CHUNK_TILES = (3, 6)
"""Fewest and most register tiles of patches in a chunk: fewer read the filters too often."""

_PANEL_BLOCKS = 56
"""With fewer blocks than this to a part, parts share panels and each makes all blocks: filters are read once."""

_IMAGES = 8
"""Images that are counted on where the batch is not known."""

_BYTES_PER_STEP = 3.3
"""Bytes of filters that come from memory while one part makes one vector of products."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A 3x3 convolution of stride one from `source` into `result`.

    `top` and `left` are rows and columns of zeros before the image. `turned`: filters are
    `w[3, 3, result channels, channels]` with their taps in the opposite order (the gradient of the images).
    """

    dtype: str
    batch: int | None
    source: str
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    top: int
    left: int
    turned: bool
    epilogue: Epilogue

    @property
    def rows(self) -> int:
        """Rows of blocks in an image."""
        return -(-self.out_height // 2)

    @property
    def columns(self) -> int:
        """Blocks in a row."""
        return -(-self.out_width // 2)


def winograd_pays(blocks: Blocks, target: Target) -> bool:
    """Whether fewer products outweigh transforms and larger filters; counted in vector operations."""
    lanes = lanes_of(target, blocks.dtype).count
    images = _IMAGES if blocks.batch is None else blocks.batch
    products = -(-blocks.out_channels // lanes) * blocks.channels
    filters = 2 * blocks.channels * blocks.out_channels * element_bytes(blocks.dtype) / (2 * _BYTES_PER_STEP)
    direct = images * blocks.out_height * blocks.out_width * 9 * products + 9 * filters
    transforms = 64 * -(-blocks.channels // lanes) + 56 * -(-blocks.out_channels // lanes)
    ours = images * blocks.rows * blocks.columns * (_PLACES * products + transforms) + _PLACES * filters
    return ours < 0.9 * direct


def emit_winograd(blocks: Blocks, target: Target, symbol: str) -> LibraryCode:
    """The launches: filters are transformed, then images convolved."""
    return _Winograd(blocks, target, symbol).emit()


class _Winograd:
    def __init__(self, blocks: Blocks, target: Target, symbol: str) -> None:
        self.blocks, self.target, self.symbol = blocks, target, symbol
        self.lanes = lanes = lanes_of(target, blocks.dtype)
        self.size = element_bytes(blocks.dtype)
        self.most_rows, self.vectors = tile_shape(target, lanes, blocks.out_channels)
        self.width = self.vectors * lanes.count
        self.panels = -(-blocks.out_channels // self.width)
        # Whole vectors to a patch; and one more where rows of a tile would share cache sets.
        self.depth = -(-blocks.channels // lanes.count) * lanes.count
        if self.depth * self.size % 2048 == 0:
            self.depth += lanes.count
        tile_bytes = _PLACES * self.depth * self.size * self.most_rows
        fewest, most = _CHUNK_TILES
        self.chunk = self.most_rows * max(fewest, min(most, _CHUNK_BYTES // tile_bytes))
        # Places lie apart by an odd number of vectors, so that they do not share cache sets either.
        self.place = self.chunk * self.depth + lanes.count
        self.product_place = self.chunk * self.width + lanes.count
        self.plain = Epilogue.plain("product", blocks.dtype)
        self.filter_place = blocks.channels * self.width + lanes.count

    def emit(self) -> LibraryCode:
        """Filters into panels of transformed ones, then images chunk by chunk."""
        filters = self.panels * _PLACES * self.filter_place
        own = _PLACES * (self.place + self.product_place) + self.depth
        spaces = (
            Workspace("packed_w", Size.of(filters * self.size)),
            Workspace("taps", Size.of(9 * self.lanes.count * self.width * self.size, "parts")),
            Workspace("patches", Size.of(own * self.size, "parts")),
        )
        return LibraryCode((self._emit_filters(), self._emit_blocks(own)), spaces)

    # ------------------------------------------------------------------------------------------ filters

    def _emit_filters(self) -> Launch:
        """`G g G^T` in panels `[place][channels][columns]`."""
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol + "_pack", self.target)
        f = launch.function
        w, packed = launch.buffer("w"), launch.buffer("packed_w")
        several = lanes.count * width
        scratch = f.offset(launch.buffer("taps"), f.mul("%part", 9 * several), element)
        groups = -(-blocks.channels // lanes.count)
        first, last = launch.share(self.panels * groups)

        def unit(u: str, _: list[str]) -> None:
            panel, group = f.div(u, groups), f.rem(u, groups)
            column, channel = f.mul(panel, width), f.mul(group, lanes.count)
            valid = f.minimum(f.sub(blocks.out_channels, column), width)
            depth = f.minimum(f.sub(blocks.channels, channel), lanes.count)

            def tap(t: str, _: list[str]) -> None:
                place = f.sub(8, t) if blocks.turned else t
                to = f.offset(scratch, f.mul(place, several), element)
                if blocks.turned:
                    row = f.add(f.mul(t, blocks.out_channels), column)
                    source = f.offset(w, f.add(f.mul(row, blocks.channels), channel), element)
                    pack_transposed(f, lanes, source, blocks.channels, depth, valid, width, to)
                else:
                    row = f.add(f.mul(t, blocks.channels), channel)
                    source = f.offset(w, f.add(f.mul(row, blocks.out_channels), column), element)
                    pack_straight(f, lanes, source, blocks.out_channels, depth, valid, width, to)

            f.loop(0, 9, tap)
            start = f.add(f.mul(panel, _PLACES * self.filter_place), f.mul(channel, width))
            to = f.offset(packed, start, element)

            def vector(i: str, _: list[str]) -> None:
                at = f.mul(i, lanes.count)
                taps = [f.load(lanes, f.offset(scratch, f.add(at, t * several), element)) for t in range(9)]
                columns = [_filter_line(f, lanes, taps[j::3]) for j in range(3)]
                for r in range(4):
                    for c, value in enumerate(_filter_line(f, lanes, [columns[j][r] for j in range(3)])):
                        address = f.offset(to, f.add(at, (4 * r + c) * self.filter_place), element)
                        f.store(lanes, address, value)

            f.loop(0, f.mul(depth, self.vectors), vector)

        f.loop(first, last, unit)
        return launch.finish()

    # ------------------------------------------------------------------------------------------- images

    def _emit_blocks(self, own: int) -> Launch:
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        source, packed = launch.buffer(blocks.source), launch.buffer("packed_w")
        buffers = EpilogueBuffers.load(launch, blocks.epilogue)
        patches = f.offset(launch.buffer("patches"), f.mul("%part", own), element)
        products = f.offset(patches, _PLACES * self.place, element)
        blank = f.offset(products, _PLACES * self.product_place, element)
        batch = launch.size("batch", blocks.batch)
        fill_zero(f, lanes, blank, self.depth)

        # Parts share blocks or, where these are few, panels.
        total = f.mul(batch, blocks.rows * blocks.columns)
        few = f.compare("slt", total, f.mul("%parts", _PANEL_BLOCKS))
        first_block, last_block = launch.share(total)
        first_panel, last_panel = launch.share(self.panels)
        first_block, last_block = f.select(few, 0, first_block), f.select(few, total, last_block)
        first_panel = f.select(few, first_panel, 0)
        last_panel = f.select(few, last_panel, self.panels)
        whole, edge = divmod(blocks.out_channels, width)
        last_whole = f.minimum(last_panel, whole)
        some = f.select(f.compare("slt", first_panel, last_panel), last_block, first_block)

        def chunk(first: str) -> Int:
            left = f.sub(last_block, first)
            # What is left in equal chunks, of whole register tiles.
            chunks = f.div(f.add(left, self.chunk - 1), self.chunk)
            even = f.div(f.add(left, f.sub(chunks, 1)), chunks)
            even = f.mul(f.div(f.add(even, self.most_rows - 1), self.most_rows), self.most_rows)
            count = f.minimum(even, left)
            f.loop(0, count, lambda i, _: self._patch(launch, source, blank, f.add(first, i), i, patches))

            def panel(p: Int, valid: int) -> None:
                weights = f.offset(packed, f.mul(p, _PLACES * self.filter_place), element)
                self._products(launch, patches, weights, products, count, -(-valid // lanes.count))
                f.loop(
                    0,
                    count,
                    lambda i, _: self._block(
                        launch, buffers, f.add(first, i), i, products, f.mul(p, width), valid
                    ),
                )

            if whole:
                f.loop(first_panel, last_whole, lambda p, _: panel(p, width))
            if edge:
                f.when_less(whole, last_panel, lambda: panel(whole, edge))
            return f.add(first, count)

        f.walk(first_block, some, chunk)
        return launch.finish()

    def _where(self, f: FunctionText, block: Int) -> tuple[Int, Int, Int]:
        """Image, row and column of a block."""
        per_image, per_row = self.blocks.rows * self.blocks.columns, self.blocks.columns
        image, rest = f.div(block, per_image), f.rem(block, per_image)
        return image, f.div(rest, per_row), f.rem(rest, per_row)

    def _patch(
        self, launch: LaunchText, source: str, blank: str, block: Int, number: Int, patches: str
    ) -> None:
        """Transforms the patch of a block into row `number` of each place."""
        f, blocks, element = launch.function, self.blocks, self.lanes.element
        image, block_row, block_column = self._where(f, block)
        row = f.sub(f.mul(block_row, 2), blocks.top)
        column = f.sub(f.mul(block_column, 2), blocks.left)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.height), row), blocks.width), column)
        corner = f.offset(source, f.mul(pixel, blocks.channels), element)
        to = f.offset(patches, f.mul(number, self.depth), element)

        def inside() -> None:
            symbol = launch.module.internal("inside", "ptr %corner, ptr %to", self._inside)
            f.call(symbol, f"ptr {corner}", f"ptr {to}")

        def edge() -> None:
            head = "ptr %corner, i64 %row, i64 %column, ptr %blank, ptr %to"
            symbol = launch.module.internal("edge", head, self._edge)
            f.call(symbol, f"ptr {corner}", f"i64 {row}", f"i64 {column}", f"ptr {blank}", f"ptr {to}")

        if blocks.height < 4 or blocks.width < 4:
            edge()
            return
        # A negative number is a huge one when its sign is not read.
        high = f.compare("ult", row, blocks.height - 3)
        wide = f.compare("ult", column, blocks.width - 3)
        f.branch(f.value(f"and i1 {high}, {wide}"), inside, edge)

    def _inside(self, f: FunctionText) -> None:
        step, line = self.blocks.channels, self.blocks.width * self.blocks.channels
        corners = [
            f.offset("%corner", i * line + j * step, self.lanes.element) for i in range(4) for j in range(4)
        ]
        self._transform(f, corners)

    def _edge(self, f: FunctionText) -> None:
        """Pixels outside the image are read from zeros."""
        blocks, corners = self.blocks, []
        rows = [f.compare("ult", f.add("%row", i), blocks.height) for i in range(4)]
        columns = [f.compare("ult", f.add("%column", j), blocks.width) for j in range(4)]
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                place = f.offset("%corner", (i * blocks.width + j) * blocks.channels, self.lanes.element)
                there = f.value(f"and i1 {row}, {column}")
                corners.append(f.value(f"select i1 {there}, ptr {place}, ptr %blank"))
        self._transform(f, corners)

    def _transform(self, f: FunctionText, corners: list[str]) -> None:
        """`B^T d B`, channels side by side, from 16 pixels into 16 places."""
        lanes, element = self.lanes, self.lanes.element
        whole = self.blocks.channels // lanes.count * lanes.count

        def channels(c: Int, valid: int | None) -> None:
            pixels = [f.load(lanes, f.offset(corner, c, element), valid) for corner in corners]
            columns = [_patch_line(f, lanes, pixels[j::4]) for j in range(4)]
            to = f.offset("%to", c, element)
            for r in range(4):
                for s, value in enumerate(_patch_line(f, lanes, [columns[j][r] for j in range(4)])):
                    f.store(lanes, f.offset(to, (4 * r + s) * self.place, element), value)

        f.loop(0, whole, lambda c, _: channels(c, None), step=lanes.count)
        if whole < self.blocks.channels:
            channels(whole, self.blocks.channels - whole)

    def _products(
        self, launch: LaunchText, patches: str, weights: str, products: str, count: Int, vectors: int
    ) -> None:
        """For each place, the patches of a chunk times a panel of filters."""
        f, element = launch.function, self.lanes.element
        plan = RowPlan(None, self.most_rows)
        kernels = [
            tile_kernel(
                launch.module,
                Tile(
                    self.lanes,
                    vectors,
                    height,
                    tuple(row * self.depth for row in range(height)),
                    (Nest(self.blocks.channels, 1, self.width),),
                    Store(self.width, 1, vectors * self.lanes.count),
                ),
                self.plain,
            )
            for height in plan.heights
        ]

        def place(n: str, _: list[str]) -> None:
            a = f.offset(patches, f.mul(n, self.place), element)
            b = f.offset(weights, f.mul(n, self.filter_place), element)
            c = f.offset(products, f.mul(n, self.product_place), element)

            def tile(pick: object, row: Int, _: Int, __: Int) -> None:
                assert callable(pick)
                values: dict[str, Int] = {
                    "a": f.offset(a, f.mul(row, self.depth), element),
                    "b": b,
                    "result.product": f.offset(c, f.mul(row, self.width), element),
                }
                kernels[0].call(f, values, pick([kernel.symbol for kernel in kernels]))

            plan.walk(f, count, 0, plan.units(f, count), tile)

        f.loop(0, _PLACES, place)

    def _block(
        self,
        launch: LaunchText,
        buffers: EpilogueBuffers,
        block: Int,
        number: Int,
        products: str,
        column: Int,
        valid: int,
    ) -> None:
        """`A^T m A`, row by row, and the epilogue."""
        f, blocks, lanes = launch.function, self.blocks, self.lanes
        image, block_row, block_column = self._where(f, block)
        row, first = f.mul(block_row, 2), f.mul(block_column, 2)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.out_height), row), blocks.out_width), first)
        a = f.offset(products, f.mul(number, self.width), lanes.element)

        def line(lower: bool, pixels: int) -> None:
            vectors = -(-valid // lanes.count)
            tile = Tile(lanes, vectors, pixels, (), (), Store(blocks.out_channels, 1, valid))
            at = f.add(pixel, blocks.out_width) if lower else pixel
            values = buffers.at(f, f.add(f.mul(at, blocks.out_channels), column), at, column)
            kernel = tile_kernel(
                launch.module,
                tile,
                blocks.epilogue,
                lambda g: self._sums(g, lower, pixels, vectors),
                key=lower,
            )
            kernel.call(f, values | {"a": a, "b": a})

        def pair(pixels: int) -> None:
            line(False, pixels)
            if blocks.out_height % 2:
                f.when_less(f.add(row, 1), blocks.out_height, lambda: line(True, pixels))
            else:
                line(True, pixels)

        if blocks.out_width % 2:
            f.when_less(f.add(first, 1), blocks.out_width, lambda: pair(2), lambda: pair(1))
        else:
            pair(2)

    def _sums(self, f: FunctionText, lower: bool, pixels: int, vectors: int) -> list[str]:
        """The upper or lower pixels of a block, vector by vector."""
        lanes, element = self.lanes, self.lanes.element
        used = (1, 2, 3) if lower else (0, 1, 2)
        results: list[list[str]] = [[] for _ in range(pixels)]
        for v in range(vectors):
            columns = []
            for c in range(4 if pixels == 2 else 3):
                products = [
                    f.load(lanes, f.offset("%a", (4 * r + c) * self.product_place + v * lanes.count, element))
                    for r in used
                ]
                columns.append(_half(f, lanes, products, lower))
            for pixel in range(pixels):
                results[pixel].append(_half(f, lanes, columns[pixel : pixel + 3], pixel == 1))
        return [value for row in results for value in row]


def _patch_line(f: FunctionText, lanes: Lanes, d: list[str]) -> list[str]:
    """`B^T d` of four values."""
    return [
        f.value(f"fsub {lanes.type} {d[0]}, {d[2]}"),
        f.value(f"fadd {lanes.type} {d[1]}, {d[2]}"),
        f.value(f"fsub {lanes.type} {d[2]}, {d[1]}"),
        f.value(f"fsub {lanes.type} {d[1]}, {d[3]}"),
    ]


def _filter_line(f: FunctionText, lanes: Lanes, g: list[str]) -> list[str]:
    """`G g` of three values."""
    half = f.splat(lanes, "0.5")
    ends = f.value(f"fadd {lanes.type} {g[0]}, {g[2]}")
    results = [g[0]]
    for operation in ("fadd", "fsub"):
        total = f.value(f"{operation} {lanes.type} {ends}, {g[1]}")
        results.append(f.value(f"fmul {lanes.type} {total}, {half}"))
    return [*results, g[2]]


def _half(f: FunctionText, lanes: Lanes, m: list[str], lower: bool) -> str:
    """One of the two values of `A^T m`: the upper from the first three values, the lower from the last three."""
    operation = "fsub" if lower else "fadd"
    total = f.value(f"{operation} {lanes.type} {m[0]}, {m[1]}")
    return f.value(f"{operation} {lanes.type} {total}, {m[2]}")
