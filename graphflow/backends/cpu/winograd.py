"""Winograd's products: convolutions of stride one by 3x3 or 5x5 filters with fewer multiplications.

Each 2x2 block of results comes from a patch of the image. Along one axis two results of a filter `g` are
`A^T ((G g) * (B^T d))`; along both, a block is `A^T ((G g G^T) * (B^T d B)) A`, and the products at each
place, summed over channels, are one matrix product of patches by filters. For three taps the matrices are
those of F(2, 3) in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): 16 products
in place of 36. Five taps are F(2, 3) for the first three and F(2, 2) for the last two, side by side: 49 in
place of 100, and still nothing but sums and halves, so that results are as exact as those of three taps (with
F(2, 5) itself, at 36, they would lose a decimal digit). The gradient of the filters turns the same products
round: `G^T ((B^T d B) * (A e A^T)) G`, summed over blocks `e`.

Three taps may also make blocks of 4x4, by F(4, 3): 36 products in place of 144. Its polynomials are taken at 0, 3/4,
-3/4, 3/2, -3/2 and infinity: the usual points 0, 1, -1, 2, -2 lose two to three times as much (Barabasz et al.,
"Error Analysis and Improving the Accuracy of Winograd Convolution", 2020, looks for good ones), and pairs of points
of two signs share half of their sums.

A part takes its blocks a chunk at a time: patches are transformed; then, place by place, they are multiplied by
the filters of all panels of output channels, so that what one place needs is in the caches; then the products are
transformed back into the epilogue. Sums run in one order whatever the number of parts, and so do not differ with it.
Results differ from the direct way's by rounding: blocks of 2x2 are off by as much as the direct way, 2e-7 to 8e-7 of
the results' range, those of 4x4 by 1.5 to 2 times that (root mean square; up to 3 times at the worst place). An
infinity spreads as NaN over its block.

Of bfloat16 operands, transformed patches and filters are rounded to bfloat16 again, and two channels are multiplied at
a time. Results are then off by 0.4 % (root mean square, of results of random signs): twice the 0.2 % that the rounding
of the operands costs whatever the way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes
from graphflow.backends.cpu.instructions import float_text
from graphflow.backends.cpu.library_code import Launch, LibraryCode, Pack, Workspace
from graphflow.backends.cpu.packing import fill_zero, load_as, pack_straight, pack_transposed
from graphflow.backends.cpu.prologue import load_operands, moved, names, through
from graphflow.backends.cpu.target import Target, tile_shape
from graphflow.backends.cpu.tiles import (
    EpilogueBuffers,
    LaunchText,
    Nest,
    RowPlan,
    Store,
    Tile,
    each_run,
    lanes_of,
    tile_kernel,
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
from graphflow.records import dataclass

__all__ = ["Blocks", "emit_winograd", "emit_winograd_filters", "winograd_blocks"]

_CHUNK_BYTES = 576 * 1024
"""Transformed patches and products of a panel that a part keeps in its second-level cache."""

_CHUNK_TILES = {True: (3, 4), False: (10, 14)}
"""Fewest and most register tiles of patches in a chunk, by whether there are registers for 14 rows a tile or for 6:
fewer read the filters too often (512 channels of 7x7 take 25 ms with 3 tiles of 6 rows, 18 with 10)."""

_LONG_CHUNK = 9
"""Register tiles in a chunk where patches of a few leave the cache anyway and all sums are read in each chunk."""

_PANEL_BLOCKS = 56
"""With fewer blocks than this to a part, parts share panels and each makes all blocks: filters are read once."""

_UNITS = 16
"""Units of work in a gradient of filters: where panels make fewer, blocks are cut into groups as well."""

_IMAGES = 8
"""Images that are counted on where the batch is not known."""

_PIXELS = 28
"""Rows and columns that are counted on where an image's are not known."""

_BYTES_PER_STEP = 3.3
"""Bytes of filters that come from memory while one part makes one vector of products."""

_TRANSFORMS = {2: (4.0, 3.5), 4: (6.0, 5.0)}
"""Vector operations that the transform of a vector costs at each place, there and back."""


Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A few results along one axis: `results` of the products of transformed `filters` and `patches`."""

    filters: Matrix
    patches: Matrix
    results: Matrix

    @property
    def places(self) -> int:
        """How many products there are."""
        return len(self.filters)

    @property
    def outputs(self) -> int:
        """How many results there are."""
        return len(self.results)

    @property
    def reach(self) -> int:
        """Positions of a patch."""
        return len(self.patches[0])

    @property
    def errors(self) -> tuple[Matrix, tuple[int, ...]]:
        """What results are turned into for the gradient of filters: each different row, and which is each place's."""
        rows = _turned(self.results)
        different = tuple(dict.fromkeys(rows))
        return different, tuple(different.index(row) for row in rows)


def _four(near: float, far: float) -> _Line:
    """F(4, 3) with the points 0, `near`, -`near`, `far`, -`far` and infinity."""
    a, b = near * near, far * far
    points = ((near, 1 / (2 * a * (a - b))), (far, 1 / (2 * b * (b - a))))
    filters = [(1 / (a * b), 0.0, 0.0)]
    patches = [(a * b, 0.0, -(a + b), 0.0, 1.0, 0.0)]
    results = [[1.0, 0.0, 0.0, 0.0]]
    for (point, weight), other in zip(points, (b, a), strict=True):
        for p in (point, -point):
            filters.append((weight, weight * p, weight * p * p))
            patches.append((0.0, -p * other, -other, p, 1.0, 0.0))
            results.append([1.0, p, p * p, p * p * p])
    filters.append((0.0, 0.0, 1.0))
    patches.append((0.0, a * b, 0.0, -(a + b), 0.0, 1.0))
    results.append([0.0, 0.0, 0.0, 1.0])
    return _Line(tuple(filters), tuple(patches), _turned(tuple(map(tuple, results))))


def _turned(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


_LINES = {
    (3, 4): _four(0.75, 1.5),
    (3, 2): _Line(
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    (5, 2): _Line(
        (
            (1, 0, 0, 0, 0),
            (0.5, 0.5, 0.5, 0, 0),
            (0.5, -0.5, 0.5, 0, 0),
            (0, 0, 1, 0, 0),
            (0, 0, 0, 1, 0),
            (0, 0, 0, 1, 1),
            (0, 0, 0, 0, 1),
        ),
        (
            (1, 0, -1, 0, 0, 0),
            (0, 1, 1, 0, 0, 0),
            (0, -1, 1, 0, 0, 0),
            (0, 1, 0, -1, 0, 0),
            (0, 0, 0, 1, -1, 0),
            (0, 0, 0, 0, 1, 0),
            (0, 0, 0, 0, 1, -1),
        ),
        ((1, 1, 1, 0, 1, 1, 0), (0, 1, -1, -1, 0, 1, -1)),
    ),
}
"""The products of each number of taps and of results."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A convolution of stride one from `source`, cut into blocks of `outputs` x `outputs` results.

    `top` and `left` are rows and columns of zeros before the image. `turned`: filters are
    `w[kh, kw, result channels, channels]` with their taps in the opposite order (the gradient of the images).
    `panels`: filters lie in panels of so many of their columns. `prologue`: what becomes of the source's elements.
    Sizes of images that are known at run time only are names: of run-time sizes, or of values once a launch has loaded
    them.
    """

    kernel: tuple[int, int]
    dtype: str
    batch: int | None
    source: str
    height: Int
    width: Int
    channels: int
    out_height: Int
    out_width: Int
    out_channels: int
    top: int
    left: int
    turned: bool
    epilogue: Epilogue
    stored: str
    panels: int | None = None
    prologue: Epilogue | None = None
    outputs: int = 2

    @property
    def pairs(self) -> bool:
        """Whether patches and filters are rounded to bfloat16, and two channels multiplied at a time."""
        return self.stored != self.dtype

    @property
    def steps(self) -> int:
        """Steps of the products' sums."""
        return self.channels // 2 if self.pairs else self.channels

    @property
    def lines(self) -> tuple[_Line, _Line]:
        """The products along rows and columns."""
        return _LINES[self.kernel[0], self.outputs], _LINES[self.kernel[1], self.outputs]

    @property
    def places(self) -> int:
        """Products of a block for each channel and output channel."""
        return self.lines[0].places * self.lines[1].places

    @property
    def counted(self) -> tuple[int, int]:
        """Rows and columns of blocks in an image; as many as are counted on where they are not known."""
        high, wide = (
            _PIXELS if isinstance(extent, str) else extent for extent in (self.out_height, self.out_width)
        )
        return -(-high // self.outputs), -(-wide // self.outputs)

    def rows(self, f: FunctionText) -> Int:
        """Rows of blocks in an image."""
        return f.div(f.add(self.out_height, self.outputs - 1), self.outputs)

    def columns(self, f: FunctionText) -> Int:
        """Blocks in a row."""
        return f.div(f.add(self.out_width, self.outputs - 1), self.outputs)

    def loaded(self, launch: LaunchText) -> Blocks:
        """The same with the values of run-time sizes; before any branch is written."""
        return dataclasses.replace(
            self,
            height=launch.number(self.height),
            width=launch.number(self.width),
            out_height=launch.number(self.out_height),
            out_width=launch.number(self.out_width),
        )


def winograd_blocks(blocks: Blocks, target: Target, most: int, *, filters: bool = False) -> Blocks | None:
    """The cut into blocks of at most `most` x `most` results that is fastest, or None: the direct way is.

    `filters`: it is the gradient of the filters that is computed, whose blocks are 2x2.
    """
    sides = [side for side in ((2,) if filters or blocks.pairs else (2, 4)) if side <= most]
    cuts = [dataclasses.replace(blocks, outputs=side) for side in sides]
    cuts = [cut for cut in cuts if all((taps, cut.outputs) in _LINES for taps in cut.kernel)]
    if blocks.pairs and blocks.channels % (2 * lanes_of(target, blocks.dtype).count):
        return None
    best = min(cuts, key=lambda cut: _cost(cut, target), default=None)
    return None if best is None or not winograd_pays(best, target) else best


def winograd_pays(blocks: Blocks, target: Target) -> bool:
    """Whether fewer products outweigh transforms and larger filters."""
    taps = blocks.kernel[0] * blocks.kernel[1]
    products, filters = _place_cost(blocks, target)
    images = _IMAGES if blocks.batch is None else blocks.batch
    high, wide = dataclasses.replace(blocks, outputs=1).counted
    direct = images * high * wide * taps * products + taps * filters
    return _cost(blocks, target) < 0.9 * direct


def _place_cost(blocks: Blocks, target: Target) -> tuple[float, float]:
    """Vector operations of the products of one pixel or block at one place, and those while its filters are read."""
    products = -(-blocks.out_channels // lanes_of(target, blocks.dtype).count) * blocks.steps
    return products, blocks.steps * blocks.out_channels * element_bytes(blocks.dtype) / _BYTES_PER_STEP


def _cost(blocks: Blocks, target: Target) -> float:
    """Vector operations of all blocks."""
    lanes = lanes_of(target, blocks.dtype).count
    images = _IMAGES if blocks.batch is None else blocks.batch
    products, filters = _place_cost(blocks, target)
    there, back = _TRANSFORMS[blocks.outputs]
    transforms = there * -(-blocks.channels // lanes) + back * -(-blocks.out_channels // lanes)
    rows, columns = blocks.counted
    count = images * rows * columns
    return blocks.places * (count * (products + transforms) + filters)


def emit_winograd(blocks: Blocks, target: Target, symbol: str) -> LibraryCode:
    """The launches of a convolution; its filters are transformed in a pack."""
    return _Images(blocks, target, symbol).emit()


def emit_winograd_filters(blocks: Blocks, target: Target, symbol: str) -> LibraryCode:
    """The launches of the gradient `dw` of a convolution's filters, from `source` and `dy`."""
    return _Filters(blocks, target, symbol).emit()


class _Patches:
    """Transformed patches of a chunk of blocks, `[place][block][channels]`, in scratch of a part's own."""

    def __init__(
        self, blocks: Blocks, target: Target, *, long: bool = False, all_panels: bool = False
    ) -> None:
        self.blocks, self.target = blocks, target
        self.lanes = lanes = lanes_of(target, blocks.dtype)
        self.size = element_bytes(blocks.dtype)
        self.most_rows, self.vectors = tile_shape(target, lanes.count, blocks.out_channels)
        self.width = self.vectors * lanes.count
        self.panels = -(-blocks.out_channels // self.width)
        # Whole vectors to a patch; and one more where rows of a tile would share cache sets.
        self.depth = -(-blocks.steps // lanes.count) * lanes.count
        if self.depth * self.size % 2048 == 0:
            self.depth += lanes.count
        self.places = blocks.places
        panels = self.panels if all_panels else 1
        tile_bytes = self.places * (self.depth + panels * self.width) * self.size * self.most_rows
        fewest, most = _CHUNK_TILES[target.registers >= 32]
        tiles = _CHUNK_BYTES // tile_bytes
        tiles = _LONG_CHUNK if long and tiles <= 1 else max(fewest, min(most, tiles))
        self.chunk = self.most_rows * tiles
        # Places lie apart by an odd number of vectors, so that they do not share cache sets either.
        self.place = self.chunk * self.depth + lanes.count
        self.panel_place = self.chunk * self.width + lanes.count
        self.panel_step = panels * self.panel_place
        self.blank = max(self.depth, self.width)
        self.elements = self.places * (self.place + self.panel_step) + self.blank

    def scratch(self, launch: LaunchText) -> tuple[str, str, str]:
        """A part's own patches, panels' numbers at each place of each block, and zeros in place of a pixel."""
        f, element = launch.function, self.lanes.element
        patches = f.offset(launch.buffer("patches"), f.mul("%part", self.elements), element)
        panel = f.offset(patches, self.places * self.place, element)
        return patches, panel, f.offset(panel, self.places * self.panel_step, element)

    @property
    def space(self) -> Workspace:
        """The scratch."""
        return Workspace("patches", Size.of(self.elements * self.size, "parts"))

    def where(self, f: FunctionText, block: Int) -> tuple[Int, Int, Int]:
        """Image, row and column of a block."""
        per_row = self.blocks.columns(f)
        per_image = f.mul(self.blocks.rows(f), per_row)
        image, rest = f.div(block, per_image), f.rem(block, per_image)
        return image, f.div(rest, per_row), f.rem(rest, per_row)

    def even(self, f: FunctionText, left: Int) -> Int:
        """Blocks of the next chunk where so many are left: equal chunks, of whole register tiles."""
        chunks = f.div(f.add(left, self.chunk - 1), self.chunk)
        count = f.div(f.add(left, f.sub(chunks, 1)), chunks)
        count = f.mul(f.div(f.add(count, self.most_rows - 1), self.most_rows), self.most_rows)
        return f.minimum(count, left)

    def make(
        self,
        launch: LaunchText,
        source: str,
        operands: Mapping[str, str],
        blank: str,
        first: Int,
        count: Int,
        patches: str,
    ) -> None:
        """Transforms the patches of `count` blocks from `first` on."""
        f = launch.function
        f.loop(0, count, lambda i, _: self._one(launch, source, operands, blank, f.add(first, i), i, patches))

    def _one(
        self,
        launch: LaunchText,
        source: str,
        operands: Mapping[str, str],
        blank: str,
        block: Int,
        number: Int,
        patches: str,
    ) -> None:
        """Transforms the patch of a block into row `number` of each place."""
        f, blocks, element = launch.function, self.blocks, self.lanes.element
        image, block_row, block_column = self.where(f, block)
        row = f.sub(f.mul(block_row, blocks.outputs), blocks.top)
        column = f.sub(f.mul(block_column, blocks.outputs), blocks.left)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.height), row), blocks.width), column)
        corner = f.offset(source, f.mul(pixel, blocks.channels), LLVM_TYPES[blocks.stored])
        before = moved(f, blocks.prologue, operands, f.mul(pixel, blocks.channels))
        more = [f"ptr {address}" for address in before.values()]
        more_head = "".join(f", ptr %{name}" for name in before)
        # Sizes known at run time only are arguments.
        for name, extent in zip(("height", "width"), self.extents, strict=True):
            if isinstance(extent, str):
                more.append(f"i64 {extent}")
                more_head += f", i64 %{name}"
        to = f.offset(patches, f.mul(number, self.depth), element)

        def inside() -> None:
            symbol = launch.module.internal("inside", f"ptr %corner, ptr %to{more_head}", self._inside)
            f.call(symbol, f"ptr {corner}", f"ptr {to}", *more)

        def edge() -> None:
            head = f"ptr %corner, i64 %row, i64 %column, ptr %blank, ptr %to{more_head}"
            symbol = launch.module.internal("edge", head, self._edge)
            arguments = (f"ptr {corner}", f"i64 {row}", f"i64 {column}", f"ptr {blank}", f"ptr {to}", *more)
            f.call(symbol, *arguments)

        high, wide = (
            f.maximum(f.sub(extent, line.reach - 1), 0)
            for extent, line in zip(self.extents, blocks.lines, strict=True)
        )
        if high == 0 or wide == 0:
            edge()
            return
        # A negative number is a huge one when its sign is not read.
        inner_row, inner_column = f.compare("ult", row, high), f.compare("ult", column, wide)
        f.branch(f.value(f"and i1 {inner_row}, {inner_column}"), inside, edge)

    @property
    def extents(self) -> tuple[Int, Int]:
        """Rows and columns of an image."""
        return self.blocks.height, self.blocks.width

    @property
    def handed(self) -> tuple[Int, Int]:
        """The same inside a function that is handed what is known at run time only."""
        high, wide = self.extents
        return "%height" if isinstance(high, str) else high, "%width" if isinstance(wide, str) else wide

    def _positions(self, f: FunctionText, corner: str, stored: str) -> list[list[str]]:
        """The pixels of a patch, row by row."""
        blocks, across = self.blocks, self.handed[1]
        return [
            [
                f.offset(corner, f.mul(f.add(f.mul(across, i), j), blocks.channels), LLVM_TYPES[stored])
                for j in range(blocks.lines[1].reach)
            ]
            for i in range(blocks.lines[0].reach)
        ]

    def _operand_positions(self, f: FunctionText) -> dict[str, list[list[str]]]:
        """The same of each operand of the prologue that goes with the pixels."""
        operands = () if self.blocks.prologue is None else self.blocks.prologue.operands
        return {o.name: self._positions(f, f"%{o.name}", o.dtype) for o in operands if o.over == "element"}

    def _inside(self, f: FunctionText) -> None:
        self._transform(f, self._positions(f, "%corner", self.blocks.stored), self._operand_positions(f))

    def _edge(self, f: FunctionText) -> None:
        """Pixels outside the image are read from zeros, and so are a prologue's operands there."""
        corners, operands = self._positions(f, "%corner", self.blocks.stored), self._operand_positions(f)
        there = [
            [f.compare("ult", f.add(start, i), extent) for i in range(line.reach)]
            for start, extent, line in zip(("%row", "%column"), self.handed, self.blocks.lines, strict=True)
        ]
        both = [[f.value(f"and i1 {row}, {column}") for column in there[1]] for row in there[0]]
        for positions in (corners, *operands.values()):
            for i, row in enumerate(both):
                for j, inside in enumerate(row):
                    positions[i][j] = f.value(f"select i1 {inside}, ptr {positions[i][j]}, ptr %blank")
        self._transform(f, corners, operands, both)

    def _transform(
        self,
        f: FunctionText,
        corners: list[list[str]],
        operands: Mapping[str, list[list[str]]],
        inside: list[list[str]] | None = None,
    ) -> None:
        """`B^T d B`, channels side by side. `inside`: which pixels are the image's, if not all are."""
        lanes, element, blocks = self.lanes, self.lanes.element, self.blocks
        rows, columns = blocks.lines
        whole = blocks.channels // lanes.count * lanes.count
        source = LLVM_TYPES[blocks.stored]

        def pixel(i: int, j: int, c: Int, valid: int | None) -> str:
            value = load_as(f, lanes, f.offset(corners[i][j], c, source), valid, blocks.stored)
            if blocks.prologue is None:
                return value
            at = {name: f"%{name}" for name in names(blocks.prologue)}
            at |= {name: positions[i][j] for name, positions in operands.items()}
            value = through(f, lanes, blocks.prologue, value, moved(f, blocks.prologue, at, c, c), valid)
            if inside is None:
                return value
            return f.value(f"select i1 {inside[i][j]}, {lanes.type} {value}, {lanes.type} zeroinitializer")

        def places(c: Int, valid: int | None) -> list[str]:
            """A vector of channels at each place."""
            down = []
            for j in range(columns.reach):
                pixels = [pixel(i, j, c, valid) for i in range(rows.reach)]
                down.append(_apply(f, lanes, rows.patches, pixels))
            return [value for row in _turned_values(down) for value in _apply(f, lanes, columns.patches, row)]

        def channels(c: Int, valid: int | None) -> None:
            to = f.offset("%to", c, element)
            for n, value in enumerate(places(c, valid)):
                f.store(lanes, f.offset(to, n * self.place, element), value)

        def pairs(c: Int) -> None:
            to = f.offset("%to", f.div(c, 2), element)
            both = zip(places(c, None), places(f.add(c, lanes.count), None), strict=True)
            for n, (low, high) in enumerate(both):
                place = f.offset(to, n * self.place, element)
                for half, value in enumerate((low, high)):
                    rounded = Lanes("bf16", lanes.count)
                    at = f.offset(place, half * lanes.count, rounded.element)
                    f.store(rounded, at, _rounded(f, lanes, value), align=lanes.align)

        if blocks.pairs:
            f.loop(0, whole, lambda c, _: pairs(c), step=2 * lanes.count)
            return
        f.loop(0, whole, lambda c, _: channels(c, None), step=lanes.count)
        if whole < blocks.channels:
            channels(whole, blocks.channels - whole)


class _Images:
    def __init__(self, blocks: Blocks, target: Target, symbol: str) -> None:
        self.blocks, self.target, self.symbol = blocks, target, symbol
        self.patches = _Patches(blocks, target, all_panels=True)
        self.lanes, self.width = self.patches.lanes, self.patches.width
        self.panels, self.most_rows = self.patches.panels, self.patches.most_rows
        self.plain = Epilogue.plain("product", blocks.dtype)
        self.filter_place = blocks.steps * self.width + self.lanes.count

    def emit(self) -> LibraryCode:
        """Filters into panels of transformed ones, then images chunk by chunk."""
        return LibraryCode((self._emit_blocks(),), (self.patches.space,), (self._pack_filters(),))

    # ------------------------------------------------------------------------------------------ filters

    def _pack_filters(self) -> Pack:
        """`G g G^T` in panels `[place][channels][columns]`."""
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        key = digest_of(
            blocks.kernel, blocks.dtype, blocks.stored, blocks.channels, blocks.out_channels, blocks.turned,
            blocks.outputs, blocks.panels, width, self.target.vector_bytes,
        )  # fmt: skip
        launch = LaunchText.begin(f"winograd_w_{key}", self.target)
        f = launch.function
        w, packed = launch.buffer("w"), launch.buffer("packed_w")
        lines, taps = blocks.lines, blocks.kernel[0] * blocks.kernel[1]
        several, stored = lanes.count * width, LLVM_TYPES[blocks.stored]
        scratch = f.stack(f"[{taps * several} x {element}]", lanes.count * self.patches.size)
        groups = -(-blocks.channels // lanes.count)
        first, last = launch.share(self.panels * groups)

        def unit(u: str, _: list[str]) -> None:
            panel, group = f.div(u, groups), f.rem(u, groups)
            column, channel = f.mul(panel, width), f.mul(group, lanes.count)
            valid = f.minimum(f.sub(blocks.out_channels, column), width)
            depth = f.minimum(f.sub(blocks.channels, channel), lanes.count)

            def tap(t: str, _: list[str]) -> None:
                place = f.sub(taps - 1, t) if blocks.turned else t
                to = f.offset(scratch, f.mul(place, several), element)
                rows, columns = blocks.channels, blocks.out_channels
                row, first = channel, column
                if blocks.turned:
                    rows, columns, row, first = columns, rows, first, row
                row = f.add(f.mul(t, rows), row)
                begin = f.add(f.mul(row, columns), first)
                if blocks.panels:
                    columns = blocks.panels
                    # A group of channels, or a panel of columns, lies within one stored panel.
                    begin = f.add(
                        f.mul(f.add(f.mul(f.div(first, columns), taps * rows), row), columns),
                        f.rem(first, columns),
                    )
                source = f.offset(w, begin, stored)
                pack = pack_transposed if blocks.turned else pack_straight
                pack(f, lanes, source, columns, depth, valid, width, to, blocks.stored)

            f.loop(0, taps, tap)
            step = f.div(channel, 2) if blocks.pairs else channel
            start = f.add(f.mul(panel, self.patches.places * self.filter_place), f.mul(step, width))
            to = f.offset(packed, start, element)

            def transformed(at: Int) -> list[str]:
                """A vector of columns at each place."""
                down = []
                for j in range(blocks.kernel[1]):
                    places = [
                        f.add(at, (i * blocks.kernel[1] + j) * several) for i in range(blocks.kernel[0])
                    ]
                    taken = [f.load(lanes, f.offset(scratch, place, element)) for place in places]
                    down.append(_apply(f, lanes, lines[0].filters, taken))
                return [
                    value for row in _turned_values(down) for value in _apply(f, lanes, lines[1].filters, row)
                ]

            def vector(i: str, _: list[str]) -> None:
                at = f.mul(i, lanes.count)
                for n, value in enumerate(transformed(at)):
                    f.store(lanes, f.offset(to, f.add(at, n * self.filter_place), element), value)

            def pair(i: str, _: list[str]) -> None:
                row, column = f.div(i, self.patches.vectors), f.rem(i, self.patches.vectors)
                at = f.add(f.mul(row, 2 * width), f.mul(column, lanes.count))
                done = f.add(f.mul(row, width), f.mul(column, lanes.count))
                both = zip(transformed(at), transformed(f.add(at, width)), strict=True)
                whole = Lanes("i32", lanes.count)
                for n, (low, high) in enumerate(both):
                    first, second = (
                        f.value(f"zext <{lanes.count} x i16> {_rounded(f, lanes, v)} to {whole.type}")
                        for v in (low, high)
                    )
                    second = f.value(f"shl {whole.type} {second}, splat (i32 16)")
                    value = f.value(f"or {whole.type} {first}, {second}")
                    f.store(whole, f.offset(to, f.add(done, n * self.filter_place), element), value)

            if blocks.pairs:
                f.loop(0, f.mul(f.div(depth, 2), self.patches.vectors), pair)
            else:
                f.loop(0, f.mul(depth, self.patches.vectors), vector)

        f.loop(first, last, unit)
        size = Size.of(self.panels * self.patches.places * self.filter_place * self.patches.size)
        return Pack("w", "packed_w", size, f"winograd_w_{key}", (launch.finish(),))

    # ------------------------------------------------------------------------------------------- images

    def _emit_blocks(self) -> Launch:
        blocks, lanes, width = self.blocks, self.lanes, self.width
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        source, packed = launch.buffer(blocks.source), launch.buffer("packed_w")
        buffers = EpilogueBuffers.load(launch, blocks.epilogue)
        operands = load_operands(launch, blocks.prologue)
        patches, products, blank = self.patches.scratch(launch)
        batch = launch.size("batch", blocks.batch)
        blocks = self.blocks = self.patches.blocks = blocks.loaded(launch)
        fill_zero(f, lanes, blank, self.patches.blank)
        vectors = blocks.outputs * blocks.lines[1].places * self.patches.vectors
        lines = f.stack(f"[{vectors} x {lanes.type}]", lanes.count * self.patches.size)

        # Parts share blocks or, where these are few, panels.
        total = f.mul(batch, f.mul(blocks.rows(f), blocks.columns(f)))
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
            self.patches.make(launch, source, operands, blank, first, count, patches)

            def each_panel(body: Callable[[Int, int], None]) -> None:
                if whole:
                    f.loop(first_panel, last_whole, lambda p, _: body(p, width))
                if edge:
                    f.when_less(whole, last_panel, lambda: body(whole, edge))

            def place(n: str, _: list[str]) -> None:
                each_panel(
                    lambda p, valid: self._products(
                        launch, patches, packed, products, n, p, count, -(-valid // lanes.count)
                    )
                )

            def block(i: str, _: list[str]) -> None:
                each_panel(
                    lambda p, valid: self._block(
                        launch, buffers, f.add(first, i), i, products, lines, p, valid
                    )
                )

            f.loop(0, self.patches.places, place)
            f.loop(0, count, block)
            return f.add(first, count)

        f.walk(first_block, some, chunk)
        return launch.finish()

    def _products(
        self,
        launch: LaunchText,
        patches: str,
        packed: str,
        products: str,
        n: Int,
        p: Int,
        count: Int,
        vectors: int,
    ) -> None:
        """At a place, the patches of a chunk times a panel of filters."""
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
                    (Nest(self.blocks.steps, 1, self.width),),
                    Store(self.width, 1, vectors * self.lanes.count),
                    pairs=self.blocks.pairs,
                ),
                self.plain,
            )
            for height in plan.heights
        ]
        a = f.offset(patches, f.mul(n, self.patches.place), element)
        panel = f.add(f.mul(p, self.patches.places), n)
        b = f.offset(packed, f.mul(panel, self.filter_place), element)
        c = f.offset(products, self._product_at(f, n, p), element)

        def tile(pick: Callable[[Sequence[str]], str], row: Int, _: Int, __: Int) -> None:
            values: dict[str, Int] = {
                "a": f.offset(a, f.mul(row, self.patches.depth), element),
                "b": b,
                "result.product": f.offset(c, f.mul(row, self.width), element),
            }
            kernels[0].call(f, values, pick([kernel.symbol for kernel in kernels]))

        plan.walk(f, count, 0, plan.units(f, count), tile)

    def _product_at(self, f: FunctionText, n: Int, p: Int) -> Int:
        """Where the products of a place and a panel begin."""
        return f.add(f.mul(n, self.patches.panel_step), f.mul(p, self.patches.panel_place))

    def _block(
        self,
        launch: LaunchText,
        buffers: EpilogueBuffers,
        block: Int,
        number: Int,
        products: str,
        lines: str,
        p: Int,
        valid: int,
    ) -> None:
        """`A^T m A`, and the epilogue, row by row."""
        f, blocks, lanes = launch.function, self.blocks, self.lanes
        side, vectors = blocks.outputs, -(-valid // lanes.count)
        image, block_row, block_column = self.patches.where(f, block)
        row, first = f.mul(block_row, side), f.mul(block_column, side)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.out_height), row), blocks.out_width), first)
        begin = f.add(self._product_at(f, 0, p), f.mul(number, self.width))
        column = f.mul(p, self.width)
        symbol = launch.module.internal(
            ("down", vectors), "ptr %a, ptr %to", lambda g: self._down(g, vectors)
        )
        f.call(symbol, f"ptr {f.offset(products, begin, lanes.element)}", f"ptr {lines}")

        def line(i: int, pixels: int) -> None:
            tile = Tile(lanes, vectors, pixels, (), (), Store(blocks.out_channels, 1, valid))
            at = f.add(pixel, f.mul(blocks.out_width, i))
            values = buffers.at(f, f.add(f.mul(at, blocks.out_channels), column), at, column)
            kernel = tile_kernel(
                launch.module,
                tile,
                blocks.epilogue,
                lambda g: self._across(g, pixels, vectors),
            )
            from_line = f.offset(lines, i * blocks.lines[1].places * vectors, lanes.type)
            kernel.call(f, values | {"a": from_line, "b": from_line})

        def every_line(pixels: int) -> None:
            rest = 1 if isinstance(blocks.out_height, str) else blocks.out_height % side
            for i in range(side):
                if i < (rest or side):
                    line(i, pixels)
                else:
                    f.when_less(f.add(row, i), blocks.out_height, lambda i=i: line(i, pixels))  # type: ignore[misc]

        if isinstance(blocks.out_width, str):

            def ragged(pixels: int) -> None:
                # The last block of a row is as wide as is left.
                if pixels == 1:
                    every_line(1)
                    return
                wide_enough = f.sub(f.add(first, pixels), 1)
                f.when_less(
                    wide_enough, blocks.out_width, lambda: every_line(pixels), lambda: ragged(pixels - 1)
                )

            ragged(side)
            return
        rest = blocks.out_width % side
        if rest == 0:
            every_line(side)
        elif blocks.out_width < side:
            every_line(rest)
        else:
            f.when_less(
                f.add(first, side - 1), blocks.out_width, lambda: every_line(side), lambda: every_line(rest)
            )

    def _down(self, f: FunctionText, vectors: int) -> None:
        """`A^T m` of one block and panel: for each line of results, a vector at each place along it."""
        lanes, element = self.lanes, self.lanes.element
        rows, columns = self.blocks.lines
        for v in range(vectors):
            for c in range(columns.places):
                products = [
                    f.load(
                        lanes,
                        f.offset("%a", (columns.places * r + c) * self.patches.panel_step + v * lanes.count, element),
                    )
                    for r in range(rows.places)
                ]  # fmt: skip
                for i, value in enumerate(_apply(f, lanes, rows.results, products)):
                    place = (i * columns.places + c) * vectors + v
                    f.store(lanes, f.offset("%to", place, lanes.type), value)

    def _across(self, f: FunctionText, pixels: int, vectors: int) -> list[str]:
        """The pixels of one line of a block, vector by vector."""
        lanes = self.lanes
        columns = self.blocks.lines[1]
        results: list[list[str]] = [[] for _ in range(pixels)]
        for v in range(vectors):
            values = [
                f.load(lanes, f.offset("%a", c * vectors + v, lanes.type)) for c in range(columns.places)
            ]
            for pixel, value in enumerate(_apply(f, lanes, columns.results[:pixels], values)):
                results[pixel].append(value)
        return [value for row in results for value in row]


class _Filters:
    """`dw[kh, kw, channels, out channels]`: sums over blocks, by panels of output channels and groups of blocks."""

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
        elements = self.groups * self.panels * self.patches.places * self.place
        sums = Workspace("sums", Size.of(elements * self.patches.size))
        return LibraryCode((self._emit_sums(), self._emit_total()), (self.patches.space, sums))

    def _emit_sums(self) -> Launch:
        blocks, element, width = self.blocks, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        source, dy, sums = launch.buffer(blocks.source), launch.buffer("dy"), launch.buffer("sums")
        operands = load_operands(launch, blocks.prologue)
        patches, errors, blank = self.patches.scratch(launch)
        batch = launch.size("batch", blocks.batch)
        blocks = self.blocks = self.patches.blocks = blocks.loaded(launch)
        fill_zero(f, self.lanes, blank, self.patches.blank)
        total = f.mul(batch, f.mul(blocks.rows(f), blocks.columns(f)))
        whole, edge = divmod(blocks.out_channels, width)
        first, last = launch.share(self.groups * self.panels)

        def group(g: str, first_panel: Int, last_panel: Int) -> None:
            first_block = f.div(f.mul(total, g), self.groups)
            last_block = f.div(f.mul(total, f.add(g, 1)), self.groups)
            own = f.offset(sums, f.mul(g, self.panels * self.patches.places * self.place), element)
            fill_zero(
                f,
                self.lanes,
                f.offset(own, f.mul(first_panel, self.patches.places * self.place), element),
                f.mul(f.sub(last_panel, first_panel), self.patches.places * self.place),
            )

            def chunk(block: str) -> Int:
                count = self.patches.even(f, f.sub(last_block, block))
                self.patches.make(launch, source, operands, blank, block, count, patches)

                def panel(p: Int, valid: int) -> None:
                    column = f.mul(p, width)

                    def one(i: str, _: list[str]) -> None:
                        self._error(launch, dy, blank, f.add(block, i), i, errors, column, valid)

                    f.loop(0, count, one)
                    to = f.offset(own, f.mul(p, self.patches.places * self.place), element)
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
        """Transforms the 2x2 results of a block into row `number` of each different place."""
        f, blocks, element = launch.function, self.blocks, self.lanes.element
        image, block_row, block_column = self.patches.where(f, block)
        row, first = f.mul(block_row, 2), f.mul(block_column, 2)
        pixel = f.add(f.mul(f.add(f.mul(image, blocks.out_height), row), blocks.out_width), first)
        corner = f.offset(dy, f.add(f.mul(pixel, blocks.out_channels), column), element)
        below: str = f.offset(corner, f.mul(blocks.out_width, blocks.out_channels), element)
        corners = [corner, f.offset(corner, blocks.out_channels, element)]
        corners += [below, f.offset(below, blocks.out_channels, element)]
        # Past the last row or column are zeros.
        if isinstance(blocks.out_height, str) or blocks.out_height % 2:
            there = f.compare("slt", f.add(row, 1), blocks.out_height)
            for i in (2, 3):
                corners[i] = f.value(f"select i1 {there}, ptr {corners[i]}, ptr {blank}")
        if isinstance(blocks.out_width, str) or blocks.out_width % 2:
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
        rows, columns = (line.errors[0] for line in self.blocks.lines)
        for v in range(0, valid, lanes.count):
            pixels = [f.load(lanes, f.offset(corner, v, lanes.element), valid - v) for corner in corners]
            to = f.offset("%to", v, lanes.element)
            for r, row in enumerate(rows):
                across = [_sum(f, lanes, row, pixels[j::2]) for j in range(2)]
                for s, column in enumerate(columns):
                    place = (len(columns) * r + s) * self.patches.panel_place
                    f.store(lanes, f.offset(to, place, lanes.element), _sum(f, lanes, column, across))

    def _products(
        self, launch: LaunchText, patches: str, errors: str, sums: str, count: Int, vectors: int
    ) -> None:
        """For each place, channels by output channels: the sum over a chunk's blocks, added to what is there."""
        f, element, blocks = launch.function, self.lanes.element, self.blocks
        plan = RowPlan(blocks.channels, self.most_rows)
        columns = blocks.lines[1]
        rows, (different, picks) = blocks.lines[0].errors[1], columns.errors
        width = len(different)

        def place(n: str, _: list[str]) -> None:
            a = f.offset(patches, f.mul(n, self.patches.place), element)
            error = f.add(
                f.mul(_pick(f, rows, f.div(n, columns.places)), width),
                _pick(f, picks, f.rem(n, columns.places)),
            )
            b = f.offset(errors, f.mul(error, self.patches.panel_place), element)
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

        f.loop(0, self.patches.places, place)

    def _emit_total(self) -> Launch:
        """The groups' sums in their order, `G^T p G`, and the epilogue: the taps of a row at a time."""
        blocks, lanes, element, width = self.blocks, self.lanes, self.lanes.element, self.width
        launch = LaunchText.begin(self.symbol + "_total", self.target)
        f = launch.function
        sums = launch.buffer("sums")
        buffers = EpilogueBuffers.load(launch, blocks.epilogue)
        first, last = launch.share(blocks.channels)
        group_elements = self.panels * self.patches.places * self.place

        def panel(channel: Int, p: Int, valid: int) -> None:
            start = f.add(f.mul(p, self.patches.places * self.place), f.mul(channel, width))
            column = f.mul(p, width)
            for line in range(blocks.kernel[0]):
                vectors = -(-valid // lanes.count)
                store = Store(blocks.panels or blocks.out_channels, blocks.channels, valid)
                row = f.add(channel, blocks.kernel[1] * line * blocks.channels)
                to = f.add(f.mul(row, blocks.out_channels), column)
                if blocks.panels:
                    rows = blocks.kernel[0] * blocks.kernel[1] * blocks.channels
                    to = f.mul(f.add(f.mul(p, rows), row), blocks.panels)
                kernel = tile_kernel(
                    launch.module,
                    Tile(lanes, vectors, blocks.kernel[1], (), (), store),
                    blocks.epilogue,
                    lambda g, line=line, vectors=vectors: self._taps(g, line, vectors, group_elements),  # type: ignore[misc]
                    key=line,
                )
                values = buffers.at(f, to, row, column)
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
        """The taps of one row of filters, vector by vector."""
        lanes = self.lanes
        rows, columns = self.blocks.lines
        factors = _turned(rows.filters)[line]
        used = [r for r, factor in enumerate(factors) if factor]
        results: list[list[str]] = [[] for _ in range(self.blocks.kernel[1])]
        for v in range(vectors):
            places = [
                (columns.places * r + c) * self.place + v * lanes.count
                for c in range(columns.places)
                for r in used
            ]

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
            across = [
                _sum(f, lanes, [factors[r] for r in used], values[c * len(used) : (c + 1) * len(used)])
                for c in range(columns.places)
            ]
            for tap, factors_across in enumerate(_turned(columns.filters)):
                results[tap].append(_sum(f, lanes, factors_across, across))
        return [value for row in results for value in row]


def _rounded(f: FunctionText, lanes: Lanes, value: str) -> str:
    """A vector of float32 as bfloat16 numbers."""
    half = f.value(f"fptrunc {lanes.type} {value} to <{lanes.count} x bfloat>")
    return f.value(f"bitcast <{lanes.count} x bfloat> {half} to <{lanes.count} x i16>")


def _pick(f: FunctionText, table: Sequence[int], index: Int) -> Int:
    """An entry of a short table."""
    if isinstance(index, int):
        return table[index]
    if list(table) == list(range(len(table))):
        return index
    value: Int = table[-1]
    for i, entry in reversed(list(enumerate(table[:-1]))):
        value = f.select(f.compare("eq", index, i), entry, value)
    return value


def _turned_values(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _apply(f: FunctionText, lanes: Lanes, matrix: Matrix, values: Sequence[str]) -> list[str]:
    """A matrix times vectors; values, or results, that go in pairs of equal and of opposite signs share their sums."""
    columns = list(_turned(matrix))
    left, given = list(range(len(values))), list(values)
    while left:
        # Two values of which all results want the sum or the difference.
        j = left.pop(0)
        k = next((k for k in left if _paired(columns[j], columns[k])), None)
        if k is None:
            continue
        left.remove(k)
        same = tuple(x if x == y else 0 for x, y in zip(columns[j], columns[k], strict=True))
        other = tuple(x if x != y else 0 for x, y in zip(columns[j], columns[k], strict=True))
        one, two = given[j], given[k]
        given[j] = f.value(f"fadd {lanes.type} {one}, {two}")
        given[k] = f.value(f"fsub {lanes.type} {one}, {two}")
        columns[j], columns[k] = same, other
    rows = _turned(tuple(columns))
    results: dict[int, str] = {}
    for r, row in enumerate(rows):
        if r in results:
            continue
        # Two results that are the sum and the difference of the same.
        t = next((t for t in range(r + 1, len(rows)) if t not in results and _paired(row, rows[t])), None)
        if t is None:
            results[r] = _sum(f, lanes, row, given)
            continue
        even = _sum(f, lanes, [x if x == y else 0 for x, y in zip(row, rows[t], strict=True)], given)
        odd = _sum(f, lanes, [x if x != y else 0 for x, y in zip(row, rows[t], strict=True)], given)
        results[r] = f.value(f"fadd {lanes.type} {even}, {odd}")
        results[t] = f.value(f"fsub {lanes.type} {even}, {odd}")
    return [results[r] for r in range(len(rows))]


def _paired(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether numbers are equal in some places, opposite in others, and not zero in either."""
    both = [(x, y) for x, y in zip(one, two, strict=True) if x or y]
    return all(abs(x) == abs(y) for x, y in both) and len({x == y for x, y in both}) == 2


def _sum(f: FunctionText, lanes: Lanes, factors: Sequence[float], values: Sequence[str]) -> str:
    """The sum of values times factors, those of one size added first."""
    terms: dict[float, list[tuple[float, str]]] = {}
    for factor, value in zip(factors, values, strict=True):
        if factor:
            terms.setdefault(abs(factor), []).append((factor, value))
    total = ""
    # What is added as it is comes first; a term that is added comes before one that is subtracted.
    groups = {size: sorted(members, key=lambda m: -m[0]) for size, members in terms.items()}
    for size, members in sorted(groups.items(), key=lambda group: (group[0] != 1, -group[1][0][0])):
        sign, part = members[0]
        for factor, value in members[1:]:
            operation = "fadd" if factor * sign > 0 else "fsub"
            part = f.value(f"{operation} {lanes.type} {part}, {value}")
        signed = size if sign > 0 else -size
        if total and size != 1:
            total = f.multiply_add(lanes, part, _constant(lanes, signed), total)
        elif total:
            total = f.value(f"{'fadd' if sign > 0 else 'fsub'} {lanes.type} {total}, {part}")
        elif size != 1:
            total = f.value(f"fmul {lanes.type} {part}, {_constant(lanes, signed)}")
        else:
            total = part if sign > 0 else f.value(f"fneg {lanes.type} {part}")
    return total


def _constant(lanes: Lanes, number: float) -> str:
    """A vector of one number, as near as its dtype comes to it."""
    return f"splat ({lanes.element} {float_text(lanes.element, number)})"
