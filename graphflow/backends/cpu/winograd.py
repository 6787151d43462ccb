"""Winograd's products for 3x3 convolutions of stride one: 16 of them where the direct way takes 36.

F(2x2, 3x3): each 2x2 block of results comes from a 4x4 patch of the image. With the matrices of Lavin and
Gray ("Fast Algorithms for Convolutional Neural Networks", 2015), a block is `A^T ((G g G^T) * (B^T d B)) A`;
the products at each of the 16 places, summed over channels, are one matrix product of patches by filters.
The gradient of the filters turns that round: `G^T ((B^T d B) * (A e A^T)) G`, summed over blocks `e`.

A part takes its blocks a chunk at a time, so small that the transformed patches stay in its second-level
cache: patches are transformed, then for each panel of output channels the 16 products are made and
transformed back into the epilogue. Sums run in one order whatever the number of parts, and so do not differ
with it. Results differ from the direct way's by rounding (both are off by 2e-7 to 8e-7 of the results'
range), and an infinity spreads as NaN over its block.
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
    Pack,
    RowPlan,
    Store,
    Tile,
    Workspace,
    each_run,
    lanes_of,
    tile_kernel,
    tile_shape,
)
from graphflow.loops.ir import Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Epilogue,
    EpilogueOperand,
    Size,
    digest_of,
    element_bytes,
)

__all__ = ["Blocks", "emit_winograd", "emit_winograd_filters", "winograd_pays"]

_PLACES = 16
"""Places of a transformed patch."""

_CHUNK_BYTES = 448 * 1024
"""Transformed patches that a part keeps in its second-level cache."""

_CHUNK_TILES = (3, 6)
"""Fewest and most register tiles of patches in a chunk: fewer read the filters too often."""

_LONG_CHUNK = 9
"""Register tiles in a chunk where patches of a few leave the cache anyway and all sums are read in each chunk."""

_PANEL_BLOCKS = 56
"""With fewer blocks than this to a part, parts share panels and each makes all blocks: filters are read once."""

_UNITS = 16
"""Units of work in a gradient of filters: where panels make fewer, blocks are cut into groups as well."""

_IMAGES = 8
"""Images that are counted on where the batch is not known."""

_BYTES_PER_STEP = 3.3
"""Bytes of filters that come from memory while one part makes one vector of products."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A 3x3 convolution of stride one from `source`, cut into blocks of 2x2 results.

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
    """The launches of a convolution; its filters are transformed in a pack."""
    return _Images(blocks, target, symbol).emit()


def emit_winograd_filters(blocks: Blocks, target: Target, symbol: str) -> LibraryCode:
    """The launches of the gradient `dw` of a convolution's filters, from `source` and `dy`."""
    return _Filters(blocks, target, symbol).emit()


class _Patches:
    """Transformed patches of a chunk of blocks, `[place][block][channels]`, in scratch of a part's own."""

    def __init__(self, blocks: Blocks, target: Target, *, long: bool = False) -> None:
        self.blocks, self.target = blocks, target
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
        tiles = _CHUNK_BYTES // tile_bytes
        tiles = _LONG_CHUNK if long and tiles <= 1 else max(fewest, min(most, tiles))
        self.chunk = self.most_rows * tiles
        # Places lie apart by an odd number of vectors, so that they do not share cache sets either.
        self.place = self.chunk * self.depth + lanes.count
        self.panel_place = self.chunk * self.width + lanes.count
        self.blank = max(self.depth, self.width)
        self.elements = _PLACES * (self.place + self.panel_place) + self.blank

    def scratch(self, launch: LaunchText) -> tuple[str, str, str]:
        """A part's own patches, a panel's numbers at each place of each block, and zeros in place of a pixel."""
        f, element = launch.function, self.lanes.element
        patches = f.offset(launch.buffer("patches"), f.mul("%part", self.elements), element)
        panel = f.offset(patches, _PLACES * self.place, element)
        return patches, panel, f.offset(panel, _PLACES * self.panel_place, element)

    @property
    def space(self) -> Workspace:
        """The scratch."""
        return Workspace("patches", Size.of(self.elements * self.size, "parts"))

    def where(self, f: FunctionText, block: Int) -> tuple[Int, Int, Int]:
        """Image, row and column of a block."""
        per_image, per_row = self.blocks.rows * self.blocks.columns, self.blocks.columns
        image, rest = f.div(block, per_image), f.rem(block, per_image)
        return image, f.div(rest, per_row), f.rem(rest, per_row)

    def even(self, f: FunctionText, left: Int) -> Int:
        """Blocks of the next chunk where so many are left: equal chunks, of whole register tiles."""
        chunks = f.div(f.add(left, self.chunk - 1), self.chunk)
        count = f.div(f.add(left, f.sub(chunks, 1)), chunks)
        count = f.mul(f.div(f.add(count, self.most_rows - 1), self.most_rows), self.most_rows)
        return f.minimum(count, left)

    def make(self, launch: LaunchText, source: str, blank: str, first: Int, count: Int, patches: str) -> None:
        """Transforms the patches of `count` blocks from `first` on."""
        f = launch.function
        f.loop(0, count, lambda i, _: self._one(launch, source, blank, f.add(first, i), i, patches))

    def _one(
        self, launch: LaunchText, source: str, blank: str, block: Int, number: Int, patches: str
    ) -> None:
        """Transforms the patch of a block into row `number` of each place."""
        f, blocks, element = launch.function, self.blocks, self.lanes.element
        image, block_row, block_column = self.where(f, block)
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


class _Images:
    def __init__(self, blocks: Blocks, target: Target, symbol: str) -> None:
        self.blocks, self.target, self.symbol = blocks, target, symbol
        self.patches = _Patches(blocks, target)
        self.lanes, self.width = self.patches.lanes, self.patches.width
        self.panels, self.most_rows = self.patches.panels, self.patches.most_rows
        self.plain = Epilogue.plain("product", blocks.dtype)
        self.filter_place = blocks.channels * self.width + self.lanes.count

    def emit(self) -> LibraryCode:
        """Filters into panels of transformed ones, then images chunk by chunk."""
        return LibraryCode((self._emit_blocks(),), (self.patches.space,), (self._pack_filters(),))

    # ------------------------------------------------------------------------------------------ filters

    def _pack_filters(self) -> Pack:
        """`G g G^T` in panels `[place][channels][columns]`."""
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        key = digest_of(
            "winograd", blocks.dtype, blocks.channels, blocks.out_channels, blocks.turned, width,
            self.target.vector_bytes,
        )  # fmt: skip
        launch = LaunchText.begin(f"winograd_w_{key}", self.target)
        f = launch.function
        w, packed = launch.buffer("w"), launch.buffer("packed_w")
        several = lanes.count * width
        scratch = f.stack(f"[{9 * several} x {element}]", lanes.count * self.patches.size)
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

            f.loop(0, f.mul(depth, self.patches.vectors), vector)

        f.loop(first, last, unit)
        size = Size.of(self.panels * _PLACES * self.filter_place * self.patches.size)
        return Pack("w", "packed_w", size, f"winograd_w_{key}", (launch.finish(),))

    # ------------------------------------------------------------------------------------------- images

    def _emit_blocks(self) -> Launch:
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        source, packed = launch.buffer(blocks.source), launch.buffer("packed_w")
        buffers = EpilogueBuffers.load(launch, blocks.epilogue)
        patches, products, blank = self.patches.scratch(launch)
        batch = launch.size("batch", blocks.batch)
        fill_zero(f, lanes, blank, self.patches.blank)

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
            count = self.patches.even(f, left)
            self.patches.make(launch, source, blank, first, count, patches)

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
                    tuple(row * self.patches.depth for row in range(height)),
                    (Nest(self.blocks.channels, 1, self.width),),
                    Store(self.width, 1, vectors * self.lanes.count),
                ),
                self.plain,
            )
            for height in plan.heights
        ]

        def place(n: str, _: list[str]) -> None:
            a = f.offset(patches, f.mul(n, self.patches.place), element)
            b = f.offset(weights, f.mul(n, self.filter_place), element)
            c = f.offset(products, f.mul(n, self.patches.panel_place), element)

            def tile(pick: object, row: Int, _: Int, __: Int) -> None:
                assert callable(pick)
                values: dict[str, Int] = {
                    "a": f.offset(a, f.mul(row, self.patches.depth), element),
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
        image, block_row, block_column = self.patches.where(f, block)
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
                    f.load(
                        lanes,
                        f.offset("%a", (4 * r + c) * self.patches.panel_place + v * lanes.count, element),
                    )
                    for r in used
                ]
                columns.append(_half(f, lanes, products, lower))
            for pixel in range(pixels):
                results[pixel].append(_half(f, lanes, columns[pixel : pixel + 3], pixel == 1))
        return [value for row in results for value in row]


class _Filters:
    """`dw[3, 3, channels, out channels]`: sums over blocks, by panels of output channels and groups of blocks."""

    def __init__(self, blocks: Blocks, target: Target, symbol: str) -> None:
        self.blocks, self.target, self.symbol = blocks, target, symbol
        self.patches = _Patches(blocks, target, long=True)
        self.lanes, self.width = self.patches.lanes, self.patches.width
        self.panels, self.most_rows = self.patches.panels, self.patches.most_rows
        self.groups = -(-_UNITS // self.panels)
        self.place = blocks.channels * self.width + self.lanes.count
        # Each chunk adds to what the chunks before it have left.
        total = Op("add", (Var(ACCUMULATOR, blocks.dtype), Var("before", blocks.dtype)), blocks.dtype)
        self.accumulate = Epilogue((("sum", total),), (EpilogueOperand("before", blocks.dtype, "element"),))

    def emit(self) -> LibraryCode:
        """Sums of products at each place for each group, then the groups' sum, turned into filters."""
        elements = self.groups * self.panels * _PLACES * self.place
        sums = Workspace("sums", Size.of(elements * self.patches.size))
        return LibraryCode((self._emit_sums(), self._emit_total()), (self.patches.space, sums))

    def _emit_sums(self) -> Launch:
        blocks, element, width = self.blocks, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        source, dy, sums = launch.buffer(blocks.source), launch.buffer("dy"), launch.buffer("sums")
        patches, errors, blank = self.patches.scratch(launch)
        batch = launch.size("batch", blocks.batch)
        fill_zero(f, self.lanes, blank, self.patches.blank)
        total = f.mul(batch, blocks.rows * blocks.columns)
        whole, edge = divmod(blocks.out_channels, width)
        first, last = launch.share(self.groups * self.panels)

        def group(g: str, first_panel: Int, last_panel: Int) -> None:
            first_block = f.div(f.mul(total, g), self.groups)
            last_block = f.div(f.mul(total, f.add(g, 1)), self.groups)
            own = f.offset(sums, f.mul(g, self.panels * _PLACES * self.place), element)
            fill_zero(
                f,
                self.lanes,
                f.offset(own, f.mul(first_panel, _PLACES * self.place), element),
                f.mul(f.sub(last_panel, first_panel), _PLACES * self.place),
            )

            def chunk(block: str) -> Int:
                count = self.patches.even(f, f.sub(last_block, block))
                self.patches.make(launch, source, blank, block, count, patches)

                def panel(p: Int, valid: int) -> None:
                    column = f.mul(p, width)

                    def one(i: str, _: list[str]) -> None:
                        self._error(launch, dy, blank, f.add(block, i), i, errors, column, valid)

                    f.loop(0, count, one)
                    to = f.offset(own, f.mul(p, _PLACES * self.place), element)
                    self._products(launch, patches, errors, to, count, -(-valid // self.lanes.count))

                if whole:
                    f.loop(first_panel, f.minimum(last_panel, whole), lambda p, _: panel(p, width))
                if edge:
                    f.when_less(whole, last_panel, lambda: panel(whole, edge))
                return f.add(block, count)

            f.walk(first_block, last_block, chunk)

        each_run(f, first, last, self.panels, group)
        return launch.finish()

    def _error(
        self,
        launch: LaunchText,
        dy: str,
        blank: str,
        block: Int,
        number: Int,
        errors: str,
        column: Int,
        valid: int,
    ) -> None:
        """Transforms the 2x2 results of a block into row `number` of each place; signs of the last line aside."""
        f, blocks, element = launch.function, self.blocks, self.lanes.element
        image, block_row, block_column = self.patches.where(f, block)
        row, first = f.mul(block_row, 2), f.mul(block_column, 2)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.out_height), row), blocks.out_width), first)
        corner = f.offset(dy, f.add(f.mul(pixel, blocks.out_channels), column), element)
        below: str = f.offset(corner, blocks.out_width * blocks.out_channels, element)
        corners = [corner, f.offset(corner, blocks.out_channels, element)]
        corners += [below, f.offset(below, blocks.out_channels, element)]
        # Past the last row or column are zeros.
        if blocks.out_height % 2:
            there = f.compare("slt", f.add(row, 1), blocks.out_height)
            for i in (2, 3):
                corners[i] = f.value(f"select i1 {there}, ptr {corners[i]}, ptr {blank}")
        if blocks.out_width % 2:
            there = f.compare("slt", f.add(first, 1), blocks.out_width)
            for i in (1, 3):
                corners[i] = f.value(f"select i1 {there}, ptr {corners[i]}, ptr {blank}")
        names = ("%a", "%b", "%c", "%d")
        head = ", ".join(f"ptr {name}" for name in (*names, "%to"))
        symbol = launch.module.internal(("error", valid), head, lambda g: self._transform(g, names, valid))
        to = f.offset(errors, f.mul(number, self.width), element)
        f.call(symbol, *(f"ptr {address}" for address in (*corners, to)))

    def _transform(self, f: FunctionText, corners: tuple[str, ...], valid: int) -> None:
        """`A e A^T`, vector by vector."""
        lanes = self.lanes
        for v in range(0, valid, lanes.count):
            pixels = [f.load(lanes, f.offset(corner, v, lanes.element), valid - v) for corner in corners]
            columns = [_error_line(f, lanes, pixels[j::2]) for j in range(2)]
            to = f.offset("%to", v, lanes.element)
            for r in range(4):
                for s, value in enumerate(_error_line(f, lanes, [columns[0][r], columns[1][r]])):
                    place = (4 * r + s) * self.patches.panel_place
                    f.store(lanes, f.offset(to, place, lanes.element), value)

    def _products(
        self, launch: LaunchText, patches: str, errors: str, sums: str, count: Int, vectors: int
    ) -> None:
        """For each place, channels by output channels: the sum over a chunk's blocks, added to what is there."""
        f, element, blocks = launch.function, self.lanes.element, self.blocks
        plan = RowPlan(blocks.channels, self.most_rows)

        def place(n: str, _: list[str]) -> None:
            a = f.offset(patches, f.mul(n, self.patches.place), element)
            b = f.offset(errors, f.mul(n, self.patches.panel_place), element)
            c = f.offset(sums, f.mul(n, self.place), element)

            def tile(height: int, row: Int) -> None:
                shape = Tile(
                    self.lanes,
                    vectors,
                    height,
                    tuple(range(height)),
                    (Nest(None, self.patches.depth, self.width),),
                    Store(self.width, 1, vectors * self.lanes.count),
                )
                to = f.offset(c, f.mul(row, self.width), element)
                values: dict[str, Int] = {
                    "a": f.offset(a, row, element),
                    "b": b,
                    "result.sum": to,
                    "operand.before": to,
                    "count0": count,
                }
                tile_kernel(launch.module, shape, self.accumulate).call(f, values)

            plan.each(f, 0, plan.units(f, blocks.channels), tile)

        f.loop(0, _PLACES, place)

    def _emit_total(self) -> Launch:
        """The groups' sums in their order, `G^T p G`, and the epilogue: three taps of a row at a time."""
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol + "_total", self.target)
        f = launch.function
        sums = launch.buffer("sums")
        buffers = EpilogueBuffers.load(launch, blocks.epilogue)
        first, last = launch.share(blocks.channels)
        group_elements = self.panels * _PLACES * self.place

        def panel(channel: Int, p: Int, valid: int) -> None:
            start = f.add(f.mul(p, _PLACES * self.place), f.mul(channel, width))
            column = f.mul(p, width)
            for line in range(3):
                vectors = -(-valid // lanes.count)
                store = Store(blocks.out_channels, blocks.channels, valid)
                row = f.add(channel, 3 * line * blocks.channels)
                kernel = tile_kernel(
                    launch.module,
                    Tile(lanes, vectors, 3, (), (), store),
                    blocks.epilogue,
                    lambda g, line=line, vectors=vectors: self._taps(g, line, vectors, group_elements),  # type: ignore[misc]
                    key=line,
                )
                values = buffers.at(f, f.add(f.mul(row, blocks.out_channels), column), row, column)
                kernel.call(f, values | {"a": f.offset(sums, start, element), "b": sums})

        def one(channel: str, _: list[str]) -> None:
            whole, edge = divmod(blocks.out_channels, width)
            if whole:
                f.loop(0, whole, lambda p, _: panel(channel, p, width))
            if edge:
                panel(channel, whole, edge)

        f.loop(first, last, one)
        return launch.finish()

    def _taps(self, f: FunctionText, line: int, vectors: int, group_elements: int) -> list[str]:
        """The three taps of one row of filters, vector by vector."""
        lanes = self.lanes
        used = ((0, 1, 2), (1, 2), (1, 2, 3))[line]
        results: list[list[str]] = [[] for _ in range(3)]
        for v in range(vectors):
            places = [(4 * r + c) * self.place + v * lanes.count for r in used for c in range(4)]

            def load(start: str, places: list[int] = places) -> list[str]:
                return [f.load(lanes, f.offset(start, place, lanes.element)) for place in places]

            def add(_: str, carried: list[str], places: list[int] = places) -> list[str]:
                start, *values = carried
                more = load(start, places)
                values = [f.value(f"fadd {lanes.type} {a}, {b}") for a, b in zip(values, more, strict=True)]
                return [f.offset(start, group_elements, lanes.element), *values]

            begin = [("ptr", f.offset("%a", group_elements, lanes.element))]
            begin += [(lanes.type, value) for value in load("%a")]
            values = f.loop(1, self.groups, add, begin)[1:]
            rows = [_tap(f, lanes, [values[i * 4 + c] for i in range(len(used))], line) for c in range(4)]
            for tap in range(3):
                results[tap].append(_tap(f, lanes, (rows[:3], rows[1:3], rows[1:])[tap], tap))
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


def _error_line(f: FunctionText, lanes: Lanes, e: list[str]) -> list[str]:
    """`A e` of two values, the last one with the opposite sign."""
    total = f.value(f"fadd {lanes.type} {e[0]}, {e[1]}")
    return [e[0], total, f.value(f"fsub {lanes.type} {e[0]}, {e[1]}"), e[1]]


def _tap(f: FunctionText, lanes: Lanes, p: list[str], tap: int) -> str:
    """One of the three values of `G^T p`, of those values of `p` that it needs; the last has the opposite sign."""
    half = f.splat(lanes, "0.5")
    if tap == 1:
        return f.value(f"fmul {lanes.type} {f.value(f'fsub {lanes.type} {p[0]}, {p[1]}')}, {half}")
    pair = p[1:] if tap == 0 else p[:2]
    middle = f.value(f"fmul {lanes.type} {f.value(f'fadd {lanes.type} {pair[0]}, {pair[1]}')}, {half}")
    if tap == 0:
        return f.value(f"fadd {lanes.type} {p[0]}, {middle}")
    return f.value(f"fsub {lanes.type} {middle}, {p[2]}")
