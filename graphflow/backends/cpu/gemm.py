"""Matrix products as launches of register tiles.

The result's tiles are numbered along its longer side and shared out evenly, so that a part does a few rectangles of
them. It walks these by groups of column panels, whose `b` it packs into scratch of its own, hot in its second-level
cache; long sums are cut into blocks of `k`, so that a tile of `a`, packed too where its rows would push each other
out, stays in the first-level cache while it meets all panels of the group. No part waits for another, and the bits
do not depend on the number of parts, since each element is summed by one part in the order of `k`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int
from graphflow.backends.cpu.library_code import Launch, LibraryCode, Pack, Workspace
from graphflow.backends.cpu.packing import (
    copy,
    copy_pairs,
    fill_zero,
    pack_pairs_straight,
    pack_pairs_transposed,
    pack_straight,
    pack_transposed,
)
from graphflow.backends.cpu.prologue import copy_through, load_operands, moved
from graphflow.backends.cpu.target import Target, tile_shape
from graphflow.backends.cpu.tiles import (
    EpilogueBuffers,
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
from graphflow.loops.library import Epilogue, EpilogueOperand, Gemm, Size, digest, digest_of, element_bytes
from graphflow.records import dataclass

__all__ = ["emit_gemm"]

_GROUP_BYTES = 384 * 1024
"""Packed panels that a part keeps in its second-level cache while it walks down the rows."""

_GROUP = 16
"""Panels of a group, at most: more hardly save anything."""

_WHOLE_BYTES = 2048
"""Bytes of one row of `a` that are summed in one go; longer sums are cut into blocks."""

_DEPTH_BYTES = 1024
"""Bytes of a row of `a` in a block: so many steps of a tile of `a` stay in the first-level cache."""

_SUM_BYTES = 672 * 1024
"""Sums of a group's panels that go through a block together: with fewer, `b` is packed more often; they should stay
near.
"""

_STREAMED_ROWS = 16
"""Rows of a `b` that is read in place, and once, that are read side by side: each as one stream of lines."""

_STREAMED_PANELS = 64
"""Panels of such a `b` whose sums a part keeps."""

_LINE_BYTES = 64
"""A line of the caches."""

_PAGE_BYTES = 4096
"""Rows of a transposed `a` so many bytes apart put all steps of the sum into the same cache sets."""

_LINE_ROWS = 48
"""Rows of a transposed `a` that are packed together: some whole lines of each step of the sum, each fetched once."""

_LINE_STEPS = 8
"""Steps of the sum that are packed for all these rows before the next ones: so many lines a set of the cache holds."""

_LINE_PANELS = 4
"""Panels that tiles of such an `a` meet, at least, to be worth packing."""

_PACKED_ROWS = 16
"""Rows of `b` that are packed for all panels of a group before the next ones."""

_LEAST_TILES = 8
"""Tiles that a product has at least, if its rows allow it, to be shared among threads."""

_LOW_TILE = 7
"""Rows of the lowest tile that is taken for that: it keeps the multipliers busy."""

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
    packs = (_pack_b(product, target),) if product.prepacked and not product.stored_packed else ()
    return LibraryCode((_emit_product(product, target),), product.workspaces(), packs)


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
        if call.panels_b or call.panels_c:
            _check_panels(call)
        self.panels_b, self.panels_c = call.panels_b, call.panels_c
        self.swapped = (
            call.n == 1 and call.m != 1 and call.stride_c == "dense" and call.steps_c is None
        ) and not (call.panels_b or call.panels_c)
        if self.swapped:
            # A single column is stored as a single row is: swap the sides, and vectors lie along its length.
            m, n = n, m
            a, b = (
                _Operand(b.name, not b.transposed, b.stride, b.batch, b.steps),
                _Operand(a.name, not a.transposed, a.stride, a.batch, a.steps),
            )
        self.m, self.n, self.a, self.b = m, n, a, b
        self.c_stride = n if call.stride_c == "dense" else _Extent("stride_c", call.stride_c)
        if call.panels_c:
            self.c_stride = _Extent("stride_c", call.panels_c)
        self.c_steps = _steps("c", call.steps_c)
        self.batch = tuple(_Extent(f"batch{axis}", extent) for axis, extent in enumerate(call.batch))
        self.epilogue = call.epilogue or Epilogue.plain("c", call.dtype)
        if self.swapped:
            self.epilogue = _turn_epilogue(self.epilogue)
        self.dtype = call.dtype
        self.lanes = lanes_of(target, call.dtype)
        # Factors of fewer bits become the sum's dtype when they are packed, or stay as they are, two steps of the sum
        # side by side, where the processor multiplies such pairs.
        self.stored = call.operand_dtype or call.dtype
        self.converts = self.stored != call.dtype
        self.pairs = self.converts and target.bfloat16_dot and self.lanes.count == 16
        if self.converts and (self.stored, call.dtype) != ("bf16", "f32"):
            raise ValueError(f"no products of {self.stored} with {call.dtype} sums")
        if self.converts and call.panels_b:
            raise ValueError(f"{self.stored} factors are not stored in panels")
        self.symbol = f"gemm_{digest(call, target.vector_bytes, target.registers, self.pairs)}"
        self.dots = (
            b.transposed
            and (not a.transposed or (m.known == 1 and a.stride.known == 1))
            and m.known is not None
            and 0 < m.known <= _DOT_ROWS
            and not (call.panels_b or self.converts)
        )
        # A `b` stored in panels is read as one that has been packed; a transposed one is packed from its panels.
        self.stored_packed = bool(call.panels_b) and not b.transposed
        self.prepacked = self.stored_packed or (call.prepack_b and not self.swapped and not self.dots)
        flat = None if b.transposed or self.prepacked or self.converts else m.known
        columns = n.known
        fixed = call.panels_c or (call.panels_b if self.stored_packed else None)
        if fixed:
            columns, flat = fixed, None
        most_rows, self.vectors = tile_shape(target, self.lanes.count, columns, flat)
        if fixed and self.vectors * self.lanes.count != fixed:
            raise ValueError(f"no tile is {fixed} columns wide")
        self.width = self.vectors * self.lanes.count
        self.rows = RowPlan(m.known, self._finer(most_rows))
        tiles = None if m.known is None else -(-m.known // self.rows.most)
        few = tiles is not None and tiles <= _FEW_TILES
        self.in_place = few and not (b.transposed or self.prepacked or self.converts)
        self.depth = self._depth()
        steps = self.depth or self.k.known or 512
        bytes_of_panel = self.known_steps(steps) * self.width * element_bytes(call.dtype)
        self.group = (
            _STREAMED_PANELS if self.in_place else max(1, min(_GROUP, _GROUP_BYTES // bytes_of_panel))
        )
        if n.known is not None:
            self.group = min(self.group, max(1, -(-n.known // self.width)))
        self.prologue = call.prologue
        self.packs_a = self._packs_a()
        if call.prologue is not None:
            whole = not (call.batch or call.transpose_a or call.steps_a or self.swapped or self.dots)
            if not whole or self.k.known is None or self.converts or call.stride_a != "dense":
                raise ValueError("only one dense matrix, as it is stored, has a prologue")

    def _finer(self, rows: int) -> int:
        """The greatest height of a tile where tiles of `rows` rows would be too few to share among threads."""
        extents = [self.m, self.n, *self.batch]
        if self.n.known is not None and self.n.known <= self.width and self._aliases():
            # Lines of so few rows stay in the cache beside each other, and packing for one panel does not pay.
            rows = min(rows, _LOW_TILE)
        if any(extent.known is None for extent in extents) or not self.m.known:
            return rows
        others = -(-(self.n.known or 1) // self.width) * math.prod(extent.known or 1 for extent in self.batch)
        wanted = max(-(-self.m.known // rows), -(-_LEAST_TILES // max(1, others)))
        return max(min(rows, _LOW_TILE), -(-self.m.known // wanted))

    def _depth(self) -> int | None:
        """Steps of the sum that are done in one go, if it is cut into blocks."""
        size = element_bytes(self.stored)
        if self.k.known is None:
            return None
        if self.in_place:
            wide = self.n.known is None or self.n.known > self.width
            return _STREAMED_ROWS if wide and self.k.known > 2 * _STREAMED_ROWS else None
        if self.k.known * size <= _WHOLE_BYTES:
            return None
        blocks = -(-self.k.known * size // _DEPTH_BYTES)
        depth = -(-self.k.known // blocks)
        unit = self.panels_b if self.panels_b and self.b.transposed else self.lanes.count
        return -(-depth // unit) * unit

    def _aliases(self) -> bool:
        """Whether stored rows of `a` fall into the same few sets of the first-level cache."""
        return (self.a.stride.known or 0) * element_bytes(self.stored) % _ALIAS_BYTES == 0

    def _packs_a(self) -> bool:
        if self.prologue is not None:
            return True
        if self.converts:
            # Pairs can be read where they lie if none is cut by the end of a row.
            whole = all(
                extent.known is not None and extent.known % 2 == 0 for extent in (self.a.stride, self.k)
            )
            if not (self.pairs and whole) or self.a.transposed:
                return True
        if self.m.known is not None and self.m.known <= _DOT_ROWS:
            return False
        if self.a.stride.known is None:
            return True
        if self.a.transposed:
            together = self.m.known is not None and self.m.known > self.rows.most
            panels = -(-self.n.known // self.width) if self.n.known is not None else _LINE_PANELS
            aliases = self.a.stride.known * element_bytes(self.dtype) % _PAGE_BYTES == 0
            return aliases or (together and panels >= _LINE_PANELS and not self.in_place)
        return self._aliases() and self.rows.most > _LOW_TILE

    def workspaces(self) -> tuple[Workspace, ...]:
        """Each part's panels of `b`, its tile of `a` where that is packed, and its sums where they are cut."""
        size = element_bytes(self.dtype)
        spaces = []
        if not self.in_place and not self.prepacked:
            panel = Size.of(self.group * self.width, "parts")
            spaces.append(Workspace("packed_b", self.packed_bytes(panel, self.depth)))
        if self.packs_a:
            if self.row_copy is not None:
                needed = Size.of(self.panel_height * size, self.row_copy, "parts")
            else:
                needed = self.packed_bytes(
                    Size.of(self.tiles_packed * self.panel_height, "parts"), self.depth
                )
            spaces.append(Workspace("packed_a", needed))
        if self.depth is not None:
            spaces.append(Workspace("sums", Size.of(self.sum_elements * size, "parts")))
        return tuple(spaces)

    def known_steps(self, count: int) -> int:
        """Steps of a packed sum: of `count` products, or pairs of them."""
        return -(-count // 2) if self.pairs else count

    def steps(self, f: FunctionText, count: Int) -> Int:
        """The same of a number known at run time."""
        return f.div(f.add(count, 1), 2) if self.pairs else count

    def packed_bytes(self, columns: Size, depth: int | None = None) -> Size:
        """Bytes of so many columns of packed panels, by default as deep as the whole sum."""
        size, known = element_bytes(self.dtype), depth or self.k.known
        if known is not None:
            return columns.times(size * self.known_steps(known))
        if self.pairs:
            return columns.times(size // 2, self.k.name) + columns.times(size // 2)
        return columns.times(size, self.k.name)

    def terms(self, operand: _Operand) -> list[int | str]:
        """The batch extents that an operand has."""
        return [e.term for e, varies in zip(self.batch, operand.batch, strict=True) if varies]

    @property
    def row_copy(self) -> int | None:
        """Elements from row to row of a packed tile of `a` that keeps its rows, where the tile's depth is known."""
        depth = self.depth or self.k.known
        if self.a.transposed or depth is None:
            return None
        # Rows of whole lines, and of an odd number of them: so they spread over the sets of the cache.
        line = max(1, _LINE_BYTES // element_bytes(self.dtype))
        return (-(-self.known_steps(depth) // line) | 1) * line

    @property
    def panel_height(self) -> int:
        """Rows of a packed panel of `a`: those of a tile, in whole vectors."""
        return -(-max((1, *self.rows.heights)) // self.lanes.count) * self.lanes.count

    @property
    def tiles_packed(self) -> int:
        """Tiles of `a` that are packed together."""
        if not (self.packs_a and self.a.transposed) or self.m.known is None:
            return 1
        return max(1, min(-(-_LINE_ROWS // self.rows.most), -(-self.m.known // self.rows.most)))

    @property
    def sum_elements(self) -> int:
        """Elements of a part's sums, of some lines of tiles by a group of panels, and of one more tile."""
        return (self.block_tiles * self.group + 1) * self.rows.most * self.width

    @property
    def block_tiles(self) -> int:
        """Lines of tiles that go through a block together."""
        lines = _SUM_BYTES // (self.group * self.rows.most * self.width * element_bytes(self.dtype))
        if self.m.known is not None:
            lines = min(lines, -(-self.m.known // self.rows.most))
        return max(1, lines)

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


def _check_panels(call: Gemm) -> None:
    b_apart = call.panels_b and (call.stride_b != "dense" or call.steps_b)
    c_apart = call.panels_c and (call.stride_c != "dense" or call.steps_c)
    if call.batch or b_apart or c_apart:
        raise ValueError("panels have no batches, strides or steps")


def _steps(name: str, steps: tuple[int | None, ...] | None) -> tuple[_Extent, ...] | None:
    """The steps of an operand or of the result along the batch axes, by their names as run-time sizes."""
    if steps is None:
        return None
    return tuple(_Extent(f"step_{name}{axis}", step) for axis, step in enumerate(steps))


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
        self.a = launch.buffer(product.a.name)
        packed = product.prepacked and not product.stored_packed
        self.b = launch.buffer("packed_b" if packed else product.b.name)
        self.epilogue = EpilogueBuffers.load(launch, product.epilogue)
        self.before = load_operands(launch, product.prologue)
        self.m, self.n, self.k = product.m.read(launch), product.n.read(launch), product.k.read(launch)
        self.a_stride, self.b_stride = product.a.stride.read(launch), product.b.stride.read(launch)
        self.c_stride = product.c_stride.read(launch)
        self.batch = [extent.read(launch) for extent in product.batch]
        self.matrices: Int = 1
        for extent in self.batch:
            self.matrices = f.mul(self.matrices, extent)
        self.a_elements = f.mul(self.k if product.a.transposed else self.m, self.a_stride)
        if product.prepacked:
            panels = f.div(f.add(self.n, product.width - 1), product.width)
            self.b_elements = f.mul(f.mul(panels, product.width), product.steps(f, self.k))
        else:
            self.b_elements = f.mul(self.n if product.b.transposed else self.k, self.b_stride)
        self.a_steps = _read_all(product.a.steps, launch)
        self.b_steps = None if product.prepacked else _read_all(product.b.steps, launch)
        self.c_steps = _read_all(product.c_steps, launch)

    def matrices_at(self, index: Int) -> tuple[str, str]:
        """The matrices of `a` and `b` that make result matrix `index`."""
        f, product = self.f, self.product
        stored, packed = LLVM_TYPES[product.stored], product.lanes.element
        a = self._matrix(index, product.a, self.a_elements, self.a_steps)
        b = self._matrix(index, product.b, self.b_elements, self.b_steps)
        return f.offset(self.a, a, stored), f.offset(self.b, b, packed if product.prepacked else stored)

    def _matrix(self, index: Int, operand: _Operand, elements: Int, steps: list[Int] | None) -> Int:
        if steps is not None:
            return stepped(self.f, self.batch, steps, index)
        return self.f.mul(self.product.matrix_index(self.f, self.batch, index, operand.batch), elements)

    def place(self, matrix: Int, row: Int, column: Int) -> dict[str, Int]:
        """The epilogue's buffers at an element of the result."""
        f = self.f
        whole_row = f.add(f.mul(matrix, self.m), row)
        panels = self.product.panels_c
        if panels:
            panel = f.mul(f.div(column, panels), f.mul(self.m, panels))
            element = f.add(panel, f.add(f.mul(row, panels), f.rem(column, panels)))
            return self.epilogue.at(f, element, whole_row, column)
        if self.c_steps is None:
            start = f.mul(whole_row, self.c_stride)
        else:
            start = f.add(stepped(f, self.batch, self.c_steps, matrix), f.mul(row, self.c_stride))
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
    return count, lambda matrix: stepped(f, own, apart, matrix)


_PACKED_DEPTH = 128
"""Rows of a panel that are packed in one go: narrow matrices are shared among threads too."""


def _pack_b(product: _Product, target: Target) -> Pack:
    """All panels `[k][width]` of `b`, one after another."""
    operand, width = product.b, product.width
    key = digest_of(
        "b", product.stored, product.dtype, product.pairs, width, product.n, product.k, operand.transposed,
        operand.stride, operand.steps, product.terms(operand), product.panels_b, target.vector_bytes,
    )  # fmt: skip
    launch = LaunchText.begin(f"pack_b_{key}", target)
    f, lanes, element = launch.function, product.lanes, product.lanes.element
    b, packed = launch.buffer(operand.name), launch.buffer("packed_b")
    n, k, stride = product.n.read(launch), product.k.read(launch), operand.stride.read(launch)
    most = product.panels_b or _PACKED_DEPTH
    panels, blocks = f.div(f.add(n, width - 1), width), f.div(f.add(k, most - 1), most)
    rows = n if operand.transposed else k
    matrices, start_of = _own_matrices(product, launch, operand, f.mul(rows, stride))
    first, last = launch.share(f.mul(matrices, f.mul(panels, blocks)))

    def unit(u: str, _: list[str]) -> None:
        number, block = f.div(u, blocks), f.rem(u, blocks)
        matrix, panel = f.div(number, panels), f.rem(number, panels)
        row, column = f.mul(block, most), f.mul(panel, width)
        depth, valid = f.minimum(f.sub(k, row), most), f.minimum(f.sub(n, column), width)
        place = f.add(f.mul(column, stride), row) if operand.transposed else f.add(f.mul(row, stride), column)
        if product.panels_b:
            place = f.mul(f.add(f.mul(block, n), column), most)
        source = f.offset(b, f.add(start_of(matrix), place), LLVM_TYPES[product.stored])
        done = f.add(f.mul(number, product.steps(f, k)), product.steps(f, row))
        to = f.offset(packed, f.mul(done, width), element)
        stride_now = product.panels_b or stride
        _packer(product, operand.transposed)(f, lanes, source, stride_now, depth, valid, width, to)

    f.loop(first, last, unit)
    batch = product.terms(operand)
    if product.n.known is None:
        columns = Size.of(1, product.n.name, *batch) + Size.of(width - 1, *batch)
    else:
        columns = Size.of(-(-product.n.known // width) * width, *batch)
    needed = product.packed_bytes(columns)
    dense = operand.stride == product.n and not operand.transposed and not operand.steps and not batch
    layout = None
    if dense and not product.converts and product.n.known and product.k.known:
        layout = product.n.known, width
    return Pack(operand.name, "packed_b", needed, f"b_{key}", (launch.finish(),), layout)


def _packer(product: _Product, transposed: bool) -> Callable[..., None]:
    """What packs a panel of an operand."""
    if product.pairs:
        return pack_pairs_transposed if transposed else pack_pairs_straight
    return functools.partial(pack_transposed if transposed else pack_straight, stored=product.stored)


def _emit_product(product: _Product, target: Target) -> Launch:
    launch = LaunchText.begin(product.symbol, target)
    writer = _Writer(product, launch)
    f, at = launch.function, writer.at
    first, last = launch.share(f.mul(at.matrices, f.mul(writer.panels, writer.tiles)))
    each_run(f, first, last, f.mul(writer.panels, writer.tiles), writer.share_of_matrix)
    return launch.finish()


@dataclass(frozen=True, slots=True)
class _Group:
    """Panels `first <= p < last` of a matrix, and a block of `b` as their tiles read it: in scratch, or where it
    lies.

    `start` is the address of the first panel, `next` are elements from panel to panel, `step` from one step of
    the sum to the next. `ahead` writes what asks for a share, by number, of the block that follows.
    """

    first: Int
    last: Int
    start: str
    next: Int
    step: Int
    ahead: Callable[[Int], None] | None = None


@dataclass(frozen=True, slots=True)
class _Block:
    """Steps `first <= k < first + count` of the sum: all of it, or the part that `sums` collects or ends.

    `sums`: where the part's sums of this block's tiles begin. `fresh`: an i1, whether nothing is there yet.
    """

    first: Int
    count: Int
    sums: str | None = None
    fresh: str = "false"
    first_tile: Int = 0
    ends: bool = True


class _Writer:
    """Writes the launch of a product."""

    def __init__(self, product: _Product, launch: LaunchText) -> None:
        self.product, self.launch = product, launch
        f = self.f = launch.function
        at = self.at = _Operands(product, launch)
        self.element, self.stored = product.lanes.element, LLVM_TYPES[product.stored]
        width = product.width
        self.panels, self.whole_panels = f.div(f.add(at.n, width - 1), width), f.div(at.n, width)
        self.edge = f.sub(at.n, f.mul(self.whole_panels, width))
        self.tiles = product.rows.units(f, at.m)
        depth = product.steps(f, at.k if product.depth is None else product.depth)
        self.panel_elements = f.mul(width, depth)
        self.partial = Epilogue.plain("sums", product.dtype)
        if not product.in_place and not product.prepacked:
            self.packed_b = self._scratch("packed_b", f.mul(product.group, self.panel_elements))
        if product.packs_a:
            tile = f.mul(product.panel_height, product.row_copy or depth)
            self.packed_a = self._scratch("packed_a", f.mul(product.tiles_packed, tile))
        if product.depth is not None:
            # Behind the sums there are zeros, for the first block to add to.
            self.sums = self._scratch("sums", product.sum_elements)
            zeros = product.rows.most * width
            self.zeros = f.offset(self.sums, product.sum_elements - zeros, self.element)
            fill_zero(f, product.lanes, self.zeros, zeros)

    def _scratch(self, name: str, elements: Int) -> str:
        """This part's own piece of a workspace."""
        return self.f.offset(self.launch.buffer(name), self.f.mul("%part", elements), self.element)

    # ------------------------------------------------------------------------------------- who does what

    def share_of_matrix(self, matrix: Int, start: Int, stop: Int) -> None:
        """Writes tiles `start <= u < stop` of a matrix, numbered along its longer side.

        They are three rectangles at most: the rest of a line of tiles, whole lines, and the beginning of one.
        """
        f = self.f
        a_start, b_start = self.at.matrices_at(matrix)

        def region(tiles: tuple[Int, Int], panels: tuple[Int, Int]) -> None:
            self._region(matrix, a_start, b_start, tiles, panels)

        if self.tiles == 1:
            region((0, 1), (start, stop))
            return
        if self.panels == 1:
            region((start, stop), (0, 1))
            return
        m, n = self.at.m, self.at.n
        by_rows = m >= n if isinstance(m, int) and isinstance(n, int) else f.compare("sge", m, n)

        def pick(yes: Int, no: Int) -> Int:
            if isinstance(by_rows, bool):
                return yes if by_rows else no
            return f.select(by_rows, yes, no)

        across = pick(self.panels, self.tiles)
        head, head_rest = f.div(start, across), f.rem(start, across)
        tail, tail_rest = f.div(stop, across), f.rem(stop, across)
        broken = f.select(f.compare("sgt", head_rest, 0), 1, 0)
        one_line = f.compare("eq", head, tail)
        head_end = f.select(one_line, tail_rest, across)
        head_end = f.mul(head_end, broken)
        tail_end = f.select(one_line, f.mul(tail_rest, f.sub(1, broken)), tail_rest)

        def piece(number: str, _: list[str]) -> None:
            is_head, is_tail = f.compare("eq", number, 0), f.compare("eq", number, 2)
            line = f.select(is_head, head, f.select(is_tail, tail, f.add(head, broken)))
            line_end = f.select(is_head, f.add(head, 1), f.select(is_tail, f.add(tail, 1), tail))
            begin = f.select(is_head, head_rest, 0)
            end = f.select(is_head, head_end, f.select(is_tail, tail_end, across))

            def lines() -> None:
                tiles = pick(line, begin), pick(line_end, end)
                region(tiles, (pick(begin, line), pick(end, line_end)))

            f.when_less(line, line_end, lambda: f.when_less(begin, end, lines))

        f.loop(0, 3, piece)

    def _region(self, matrix: Int, a: str, b: str, tiles: tuple[Int, Int], panels: tuple[Int, Int]) -> None:
        """Writes a rectangle of tiles, group of panels by group of panels."""
        f, product = self.f, self.product
        few: str | None = None
        if not (product.in_place or product.prepacked or product.b.transposed or product.converts):
            few = f.compare("sle", f.sub(tiles[1], tiles[0]), _FEW_TILES)

        def group(first: Int, last: Int) -> None:
            self._walk(matrix, a, tiles, lambda block: self._prepare(b, first, last, block, few))

        if isinstance(self.panels, int) and self.panels <= product.group:
            group(*panels)
            return
        count = f.sub(panels[1], panels[0])
        groups = f.div(f.add(count, product.group - 1), product.group)

        def each(g: str, _: list[str]) -> None:
            ends = [f.add(panels[0], f.div(f.mul(number, count), groups)) for number in (g, f.add(g, 1))]
            group(*ends)

        f.loop(0, groups, each)

    # ------------------------------------------------------------------------------------------- packing

    def _pack(
        self,
        kind: str,
        transposed: bool,
        source: str,
        stride: Int,
        depth: Int,
        valid: Int,
        width: int,
        to: str,
    ) -> None:
        """Writes a call that packs a panel of either operand."""
        known = valid == width and not transposed

        def build(g: FunctionText) -> None:
            pack = _packer(self.product, transposed)
            columns: Int = width if known else "%valid"
            pack(g, self.product.lanes, "%source", "%stride", "%depth", columns, width, "%panel")

        head = "ptr %source, i64 %stride, i64 %depth, i64 %valid, ptr %panel"
        symbol = self.launch.module.internal((kind, known), head, build)
        self.f.call(symbol, f"ptr {source}", f"i64 {stride}", f"i64 {depth}", f"i64 {valid}", f"ptr {to}")

    def _pack_a(self, source: str, place: Int, height: Int, block: _Block) -> None:
        """Packs a tile of `a`, that begins with element `place`: its rows close together, or step after step."""
        f, product, stride = self.f, self.product, self.at.a_stride
        apart = product.row_copy
        if apart is None:
            self._pack(
                "pack_a", not product.a.transposed, source, stride, block.count, height, product.panel_height,
                self.packed_a,
            )  # fmt: skip
            return

        def row(r: str, _: list[str]) -> None:
            line = f.offset(source, f.mul(r, stride), self.stored)
            to = f.offset(self.packed_a, f.mul(r, apart), self.element)
            if product.prologue is not None:
                first = f.add(place, f.mul(r, stride))
                before = moved(f, product.prologue, self.at.before, first, block.first)
                copy_through(f, product.lanes, product.prologue, line, to, block.count, before)
            elif product.pairs:
                copy_pairs(f, product.lanes, line, to, block.count)
            else:
                copy(f, product.lanes, line, to, block.count, stored=product.stored)

        f.loop(0, height, row)

    def _pack_tiles(self, a: str, tiles: tuple[Int, Int], block: _Block) -> None:
        """Packs some tiles of a transposed `a` side by side: some steps of the sum for all of them, and so on."""
        f, product, at, height = self.f, self.product, self.at, self.product.panel_height
        panel = f.mul(height, product.steps(f, block.count))

        def steps(k: str, _: list[str]) -> None:
            line = f.offset(a, f.mul(f.add(block.first, k), at.a_stride), self.stored)
            depth = f.minimum(f.sub(block.count, k), _LINE_STEPS)

            def tile(u: str, _: list[str]) -> None:
                row = product.rows.first_row(f, u)
                source = f.offset(line, row, self.stored)
                done = f.add(f.mul(f.sub(u, tiles[0]), panel), f.mul(product.steps(f, k), height))
                to = f.offset(self.packed_a, done, self.element)

                def pack(valid: Int) -> None:
                    self._pack("pack_a", False, source, at.a_stride, depth, valid, height, to)

                # Rows behind the tile's own are packed too: nobody reads them, and vectors stay whole.
                left = f.sub(at.m, row)
                f.when_less(left, height, lambda: pack(left), lambda: pack(height))

            f.loop(tiles[0], tiles[1], tile)

        f.loop(0, block.count, steps, step=_LINE_STEPS)

    def _prepare(self, b: str, first: Int, last: Int, block: _Block, few: str | None) -> _Group:
        """Packs a block of a group's panels unless they are read where they lie; a narrower last one always."""
        f, product, at, width = self.f, self.product, self.at, self.product.width
        along, down = (at.b_stride, 1) if product.b.transposed else (1, at.b_stride)

        def source(panel: Int, step: Int) -> str:
            if product.panels_b:
                number = f.div(f.add(block.first, step), product.panels_b)
                place = f.mul(f.add(f.mul(number, at.n), f.mul(panel, width)), product.panels_b)
                return f.offset(b, place, self.stored)
            place = f.add(f.mul(panel, f.mul(width, along)), f.mul(f.add(block.first, step), down))
            return f.offset(b, place, self.stored)

        def slot(panel: Int, step: Int) -> str:
            done = f.mul(product.steps(f, step), width)
            place = f.add(f.mul(f.sub(panel, first), self.panel_elements), done)
            return f.offset(self.packed_b, place, self.element)

        def pack(panel: Int, step: Int, depth: Int, valid: Int) -> None:
            stride = product.panels_b or at.b_stride
            self._pack(
                "pack_b",
                product.b.transposed,
                source(panel, step),
                stride,
                depth,
                valid,
                width,
                slot(panel, step),
            )

        def rows(step: Int, depth: Int) -> None:
            stop = f.minimum(last, self.whole_panels)
            f.loop(first, stop, lambda p, _: pack(p, step, depth, width))

        def each_panel(body: Callable[[Int, Int], None]) -> None:
            most = product.panels_b or 1
            f.loop(0, block.count, lambda k, _: body(k, f.minimum(f.sub(block.count, k), most)), step=most)

        def narrow() -> None:
            if product.panels_b:
                each_panel(lambda step, depth: pack(self.whole_panels, step, depth, self.edge))
                return
            pack(self.whole_panels, 0, block.count, self.edge)

        def whole() -> None:
            if product.panels_b:
                each_panel(rows)
                return
            if product.b.transposed:
                rows(0, block.count)
                return
            # Neighbours in memory before what is far away.
            f.loop(
                0,
                block.count,
                lambda k, _: rows(k, f.minimum(f.sub(block.count, k), _PACKED_ROWS)),
                step=_PACKED_ROWS,
            )

        if product.in_place:
            return _Group(first, last, source(first, 0), width, at.b_stride)
        if product.prepacked:
            depth = product.steps(f, at.k)
            place = f.mul(f.add(f.mul(first, depth), product.steps(f, block.first)), width)
            return _Group(first, last, f.offset(b, place, self.element), f.mul(width, depth), width)
        start = self.packed_b
        after: Int = self.panel_elements
        step: Int = width
        if few is None:
            whole()
        elif self.whole_panels != 0:
            f.branch(few, lambda: None, whole)
            start = f.value(f"select i1 {few}, ptr {source(first, 0)}, ptr {start}")
            after, step = f.select(few, width, after), f.select(few, at.b_stride, step)
        if self.edge != 0:
            f.when_less(self.whole_panels, last, narrow)
        if block.ends or product.panels_b:
            return _Group(first, last, start, after, step)

        def ahead(number: Int) -> None:
            """As many lines of the next block as fall on one line of tiles out of `block_tiles`."""
            columns = f.mul(f.sub(last, first), width)
            across, along = (columns, block.count) if product.b.transposed else (block.count, columns)
            share = f.div(f.add(across, product.block_tiles - 1), product.block_tiles)
            begin = f.mul(number, share)
            corner = source(first, block.count)

            def line(r: str, _: list[str]) -> None:
                self._call_lines(f.offset(corner, f.mul(r, at.b_stride), self.stored), along)

            f.loop(begin, f.minimum(f.add(begin, share), across), line)

        return _Group(first, last, start, after, step, ahead)

    # --------------------------------------------------------------------------------------------- tiles

    def _walk(self, matrix: Int, a: str, tiles: tuple[Int, Int], prepare: Callable[[_Block], _Group]) -> None:
        """Writes the tiles of a group; a long sum block by block, for some lines of tiles at a time."""
        f, product, at = self.f, self.product, self.at

        def one(some: tuple[Int, Int], block: _Block) -> None:
            self._pass(matrix, a, prepare(block), some, block)

        if product.depth is None:
            one(tiles, _Block(0, at.k))
            return
        depth, k = product.depth, product.k.known or 0
        before = (k - 1) // depth * depth

        def lines(first: str, _: list[str]) -> None:
            some = (first, f.minimum(f.add(first, product.block_tiles), tiles[1]))

            def block(start: str, _: list[str]) -> None:
                fresh = f.compare("eq", start, 0)
                one(some, _Block(start, depth, self.sums, fresh, first, ends=False))

            f.loop(0, before, block, step=depth)
            one(some, _Block(before, k - before, self.sums, "false", first))

        f.loop(tiles[0], tiles[1], lines, step=product.block_tiles)

    def _kernels(self, columns: int | None, block: _Block, collects: bool) -> list[TileKernel]:
        """The tile of each height, for panels of so many columns (`None`: as many as are left)."""
        product, lanes = self.product, self.product.lanes
        vectors = product.vectors if columns is None else -(-columns // lanes.count)
        store = Store(product.c_stride.known, 1, columns)
        if collects:
            store = Store(product.width, 1, product.width)
        count = None
        if product.depth is None and product.k.known is not None:
            count = product.known_steps(product.k.known)
        b_step: int | None = None
        if product.in_place:
            b_step = product.b.stride.known
        elif product.prepacked:
            b_step = product.width
        found = []
        for height in product.rows.heights:
            offsets: tuple[int, ...] | None = tuple(range(height))
            a_step: int | None = product.panel_height if product.packs_a else product.a.stride.known
            if product.row_copy is not None or not (product.packs_a or product.a.transposed):
                between = product.row_copy
                if not product.packs_a and product.a.stride.known is not None:
                    between = product.known_steps(product.a.stride.known)
                elif not product.packs_a:
                    between = None
                offsets = None if between is None else tuple(row * between for row in range(height))
                a_step = 1
            tile = Tile(
                lanes, vectors, height, offsets, (Nest(count, a_step, b_step),), store, in_place=product.in_place,
                pairs=product.pairs, resume=None if block.sums is None else product.width, ahead=not collects,
            )  # fmt: skip
            found.append(
                tile_kernel(self.launch.module, tile, self.partial if collects else product.epilogue)
            )
        return found

    def _call_ahead(self, a: str, number: Int, block: _Block) -> None:
        """Asks for a share of the next tile of `a` while a panel is worked on."""
        f, product, at = self.f, self.product, self.at
        if product.a.transposed:
            # A line or two for each step of the sum.
            share = f.div(f.add(block.count, product.group - 1), product.group)
            begin = f.mul(number, share)
            end = f.minimum(f.add(begin, share), block.count)
            f.loop(begin, end, lambda k, _: f.prefetch(f.offset(a, f.mul(k, at.a_stride), self.stored)))
            return
        share = -(-product.rows.most // product.group)
        begin = f.mul(number, share)

        def row(r: str, _: list[str]) -> None:
            self._call_lines(f.offset(a, f.mul(r, at.a_stride), self.stored), block.count)

        f.loop(begin, f.minimum(f.add(begin, share), product.rows.most), row)

    def _call_lines(self, start: str, count: Int) -> None:
        """Asks for the lines of so many elements."""
        f, step = self.f, max(1, _LINE_BYTES // element_bytes(self.product.stored))
        f.loop(0, count, lambda k, _: f.prefetch(f.offset(start, k, self.stored)), step=step)

    def _pass(self, matrix: Int, a: str, group: _Group, tiles: tuple[Int, Int], block: _Block) -> None:
        """Writes a block of the sum of some lines of tiles."""
        f, product, at, width, element = self.f, self.product, self.at, self.product.width, self.element
        collects = block.sums is not None and not block.ends
        # A product read in place has no edge of its own: its tiles end at the last column.
        last_whole = group.last if product.in_place else f.minimum(group.last, self.whole_panels)
        several = product.tiles_packed > 1
        started: list[str] = []

        def tile(pick: Callable[[Sequence[str]], str], row: Int, unit: Int, inside: Int) -> None:
            if product.a.transposed:
                place = f.add(row, f.mul(block.first, at.a_stride))
            else:
                place = f.add(f.mul(row, at.a_stride), block.first)
            a_row = f.offset(a, place, self.stored)
            below = product.rows.most if product.a.transposed else f.mul(product.rows.most, at.a_stride)
            a_next = f.offset(a_row, below, self.stored)
            if several:
                done = f.mul(
                    f.sub(unit, started[-1]), f.mul(product.panel_height, product.steps(f, block.count))
                )
                a_row = f.offset(self.packed_a, done, self.element)
            elif product.packs_a:
                height = f.sub(f.minimum(product.rows.first_row(f, f.add(unit, 1)), at.m), row)
                self._pack_a(a_row, place, height, block)
                a_row = self.packed_a
            common: dict[str, Int] = {
                "a": a_row,
                "row_stride": at.a_stride,
                "count0": product.steps(f, block.count),
                "a_step0": at.a_stride,
                "stride": at.c_stride,
            }

            def run_panels(begin: Int, end: Int, columns: int | None, edge_only: bool) -> None:
                found = self._kernels(columns, block, collects)
                function = pick([kernel.symbol for kernel in found])

                def panel(p: Int) -> None:
                    number = f.sub(p, group.first)
                    values = common | at.place(matrix, row, f.mul(p, width))
                    values["columns"] = f.minimum(f.sub(at.n, f.mul(p, width)), width)
                    values["b"] = f.offset(group.start, f.mul(number, group.next), element)
                    values["b_step0"] = group.step
                    if edge_only and not product.prepacked:
                        narrow = f.offset(self.packed_b, f.mul(number, self.panel_elements), element)
                        values |= {"b": narrow, "b_step0": width}
                    if block.sums is not None:
                        line = f.mul(f.sub(unit, block.first_tile), product.group)
                        lies = f.mul(f.add(line, number), product.rows.most * width)
                        sums = f.offset(block.sums, f.add(lies, f.mul(inside, width)), element)
                        before = f.value(f"select i1 {block.fresh}, ptr {self.zeros}, ptr {sums}")
                        values |= {"sums": before, "result.sums": sums}
                    ahead = product.depth is not None or product.packs_a
                    if ahead and self.panels != 1 and not several:
                        self._call_ahead(a_next, number, block)
                    found[0].call(f, values, function)

                f.loop(begin, end, lambda p, _: panel(p))

            if self.whole_panels != 0 or product.in_place:
                columns: int | None = width
                if product.in_place and self.edge != 0:
                    columns = self.edge if self.panels == 1 and isinstance(self.edge, int) else None
                run_panels(group.first, last_whole, columns, False)
            if self.edge != 0 and not product.in_place:
                edge = self.edge if isinstance(self.edge, int) else None
                run_panels(f.maximum(group.first, self.whole_panels), group.last, edge, True)
            if group.ahead is not None:
                group.ahead(f.sub(unit, block.first_tile))

        if not several:
            product.rows.walk(f, at.m, tiles[0], tiles[1], tile)
            return

        def some(first: str, _: list[str]) -> None:
            last = f.minimum(f.add(first, product.tiles_packed), tiles[1])
            self._pack_tiles(a, (first, last), block)
            started.append(first)
            product.rows.walk(f, at.m, first, last, tile)

        f.loop(tiles[0], tiles[1], some, step=product.tiles_packed)


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
