"""Convolutions of NHWC images as implicit matrix products: the register tile walks the image itself.

Forward, a tile is a run of output pixels by a panel of output channels. The gradient of the images is a
convolution of `dy` by turned filters, one for each residue of the strides. The gradient of the filters has
(kh, kw, in) for rows and sums over pixels; its parts own rows of the result, or fixed groups of images
where rows are few, so that bits do not depend on the number of parts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes
from graphflow.backends.cpu.halo import Halo, Span
from graphflow.backends.cpu.library_code import BufferArgument, Launch, LibraryCode, Pack, Workspace
from graphflow.backends.cpu.packing import (
    copy,
    fill_zero,
    pack_pairs_straight,
    pack_pairs_transposed,
    pack_straight,
    pack_transposed,
    transpose_strided,
)
from graphflow.backends.cpu.prologue import load_operands, moved
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
from graphflow.backends.cpu.winograd import Blocks, emit_winograd, emit_winograd_filters, winograd_blocks
from graphflow.loops.ir import Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Conv2D,
    Epilogue,
    EpilogueOperand,
    Size,
    digest,
    digest_of,
    element_bytes,
)
from graphflow.records import dataclass

__all__ = ["emit_convolution"]


def emit_convolution(call: Conv2D, target: Target) -> LibraryCode:
    """The launches of a convolution or of one of its gradients."""
    if call.panels_w:
        _check_panels(call, target)
    if call.prologue is not None and (call.depthwise or call.operand_dtype):
        raise ValueError("depthwise convolutions, and those of bfloat16 images, have no prologue")
    if call.operand_dtype and not _multiplies_pairs(call, target):
        return _widened(call, target)
    symbol = f"conv_{call.direction}_{digest(call, target.vector_bytes, target.registers)}"
    plain = call.strides == call.dilations == (1, 1) and not call.depthwise
    if call.direction == "filter":
        epilogue = call.epilogue or Epilogue.plain("dw", call.dtype)
        blocks = _blocks(dataclasses.replace(_forward(call), epilogue=epilogue))
        cut = winograd_blocks(blocks, target, call.winograd, filters=True) if plain else None
        if cut is not None:
            return emit_winograd_filters(cut, target, symbol)
        return _FilterGradient(call, target, symbol).emit()
    images = _forward(call) if call.direction == "forward" else _input_gradient(call)
    cut = winograd_blocks(_blocks(images), target, call.winograd) if plain else None
    if cut is not None:
        return emit_winograd(cut, target, f"{symbol}_{cut.outputs}")
    return _emit_images(images, target, symbol)


def _check_panels(call: Conv2D, target: Target) -> None:
    width = tile_shape(target, lanes_of(target, call.dtype).count, call.out_channels)[1]
    if call.depthwise or call.operand_dtype:
        raise ValueError("depthwise filters, and those in bfloat16, are not stored in panels")
    if call.panels_w != width * lanes_of(target, call.dtype).count:
        raise ValueError(f"no tile of {call.out_channels} output channels is {call.panels_w} columns wide")


def _multiplies_pairs(call: Conv2D, target: Target) -> bool:
    """Whether the sums are over pairs of channels that the processor multiplies as such."""
    if (call.operand_dtype, call.dtype) != ("bf16", "f32"):
        raise ValueError(f"no convolutions of {call.operand_dtype} with {call.dtype} sums")
    summed = call.in_channels if call.direction == "forward" else call.out_channels
    pairs = target.bfloat16_dot and lanes_of(target, "f32").count == 16
    return pairs and summed % 2 == 0 and call.direction != "filter" and not call.depthwise


def _widened(call: Conv2D, target: Target) -> LibraryCode:
    """The same with float32 operands, made of the bfloat16 ones first."""
    code = emit_convolution(dataclasses.replace(call, operand_dtype=None), target)
    images, results = (
        call.height * call.width * call.in_channels,
        call.out_height * call.out_width * call.out_channels,
    )
    filters = call.kernel[0] * call.kernel[1] * call.in_channels * call.out_channels
    batch = "batch" if call.batch is None else call.batch
    sizes = {"x": Size.of(images, batch), "dy": Size.of(results, batch), "w": Size.of(filters)}
    names = {"forward": ("x", "w"), "input": ("dy", "w"), "filter": ("x", "dy")}[call.direction]
    wide = {name: f"wide_{name}" for name in names}
    key = digest(call, target.vector_bytes, "wide")
    firsts = []
    for name in names:
        launch = LaunchText.begin(f"widen_{name}_{key}", target)
        f, lanes = launch.function, lanes_of(target, "f32")
        source, to = launch.buffer(name), launch.buffer(wide[name])
        images_now: Int = launch.size("batch", call.batch) if name != "w" else 1
        first, last = launch.share(images_now)
        elements = {"x": images, "dy": results, "w": filters}[name]
        begin, count = f.mul(first, elements), f.mul(f.sub(last, first), elements)
        copy(f, lanes, f.offset(source, begin, "i16"), f.offset(to, begin, "float"), count, stored="bf16")
        firsts.append(launch.finish())

    def renamed(launch: Launch) -> Launch:
        arguments = tuple(
            BufferArgument(wide[argument.name])
            if isinstance(argument, BufferArgument) and argument.name in wide
            else argument
            for argument in launch.arguments
        )
        return dataclasses.replace(launch, arguments=arguments)

    # Packs of wide operands are no packs of the operands themselves: they are made in each run.
    spaces = [Workspace(wide[name], sizes[name].times(element_bytes("f32"))) for name in names]
    spaces += [Workspace(pack.name, pack.bytes) for pack in code.packs]
    launches = (*firsts, *map(renamed, code.sequence))
    return LibraryCode(launches, (*spaces, *code.workspaces))


# ------------------------------------------------------------------------- from images to images, both ways


@dataclass(frozen=True, slots=True)
class _Taps:
    """Taps along one axis that belong together: how many, the first one's number, and steps from tap to
    tap.
    """

    count: int
    first_position: int
    position_step: int
    first_tap: int
    tap_step: int


@dataclass(frozen=True, slots=True)
class _Residue:
    """Output positions `first + stride * q` along one axis and the taps that reach them.

    Position `q` reads `q * read_step + first_position + i * position_step` for tap `i`.
    """

    first: int
    stride: int
    count: int
    read_step: int
    taps: _Taps


@dataclass(frozen=True, slots=True)
class _Images:
    """A sum over taps and channels of one image into another."""

    dtype: str
    batch: int | None
    source: str
    result: str
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, int]
    rows: tuple[_Residue, ...]
    columns: tuple[_Residue, ...]
    turned: bool
    multiplier: int
    epilogue: Epilogue
    stored: str
    panels: int | None
    prologue: Epilogue | None

    @property
    def pairs(self) -> bool:
        """Whether a channel stands for two, whose bfloat16 numbers lie side by side as one element."""
        return self.stored != self.dtype

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved by itself."""
        return self.multiplier > 0

    @property
    def summed(self) -> int:
        """Channels of a read position that are summed at each tap."""
        if self.depthwise:
            return self.multiplier if self.turned else 1
        return self.channels

    @property
    def packed(self) -> bool:
        """Whether filters are put in another order first."""
        return self.turned or not (self.depthwise or self.panels)


def _forward(call: Conv2D) -> _Images:
    def axis(a: int, out: int) -> tuple[_Residue, ...]:
        taps = _Taps(call.kernel[a], -call.padding[a][0], call.dilations[a], 0, 1)
        return (_Residue(0, 1, out, call.strides[a], taps),)

    return _Images(
        call.dtype,
        call.batch,
        "x",
        "y",
        call.height,
        call.width,
        call.in_channels,
        call.out_height,
        call.out_width,
        call.out_channels,
        call.kernel,
        axis(0, call.out_height),
        axis(1, call.out_width),
        False,
        _multiplier(call),
        call.epilogue or Epilogue.plain("y", call.dtype),
        call.operand_dtype or call.dtype,
        call.panels_w,
        call.prologue,
    )


def _input_gradient(call: Conv2D) -> _Images:
    def axis(a: int, extent: int) -> tuple[_Residue, ...]:
        kernel, stride, dilation, before = (
            call.kernel[a],
            call.strides[a],
            call.dilations[a],
            call.padding[a][0],
        )
        residues = []
        for residue in range(stride):
            first = (residue - before) % stride
            if first >= extent:
                continue
            # Filters are packed turned round, so that positions rise with taps.
            hits = [t for t in reversed(range(kernel)) if (first + before - t * dilation) % stride == 0]
            turned = [kernel - 1 - t for t in hits]
            position = (first + before - hits[0] * dilation) // stride if hits else 0
            common = math.gcd(stride, dilation)
            taps = _Taps(len(hits), position, dilation // common, turned[0] if hits else 0, stride // common)
            residues.append(_Residue(first, stride, -(-(extent - first) // stride), 1, taps))
        return tuple(residues)

    return _Images(
        call.dtype,
        call.batch,
        "dy",
        "dx",
        call.out_height,
        call.out_width,
        call.out_channels,
        call.height,
        call.width,
        call.in_channels,
        call.kernel,
        axis(0, call.height),
        axis(1, call.width),
        True,
        _multiplier(call),
        call.epilogue or Epilogue.plain("dx", call.dtype),
        call.operand_dtype or call.dtype,
        call.panels_w,
        call.prologue,
    )


def _blocks(images: _Images) -> Blocks:
    """A convolution of stride one, in either direction."""
    return Blocks(
        images.kernel,
        images.dtype,
        images.batch,
        images.source,
        images.height,
        images.width,
        images.channels,
        images.out_height,
        images.out_width,
        images.out_channels,
        -images.rows[0].taps.first_position if images.rows else 0,
        -images.columns[0].taps.first_position if images.columns else 0,
        images.turned,
        images.epilogue,
        images.stored,
        images.panels,
        images.prologue,
    )


def _multiplier(call: Conv2D) -> int:
    """Output channels of each input channel of a depthwise convolution, else zero."""
    return call.out_channels // call.in_channels if call.depthwise else 0


def _span(extent: int, residues: tuple[_Residue, ...]) -> Span:
    """The positions that any output reads along an axis."""
    reached = [
        (
            taps.first_position,
            (r.count - 1) * r.read_step + taps.first_position + (taps.count - 1) * taps.position_step,
        )
        for r in residues
        if (taps := r.taps).count and r.count
    ]
    if not reached:
        return Span(extent, 0, 0)
    return Span(extent, min(low for low, _ in reached), max(high for _, high in reached))


def _emit_images(images: _Images, target: Target, symbol: str) -> LibraryCode:
    if images.pairs:
        images = dataclasses.replace(images, channels=images.channels // 2)
    lanes = lanes_of(target, images.dtype)
    size = element_bytes(images.dtype)
    rows, columns = _span(images.height, images.rows), _span(images.width, images.columns)
    if images.depthwise and images.turned:
        halo = Halo(lanes, rows, columns, images.channels, split=images.multiplier)
    else:
        step = max((r.read_step for r in images.columns), default=1)
        gap = 0 if images.depthwise else _gap(lanes, step * images.channels)
        halo = Halo(
            lanes,
            rows,
            columns,
            images.channels,
            repeat=max(1, images.multiplier),
            gap=gap,
            prologue=images.prologue,
        )
    packs = (_pack_filters(images, target),) if images.packed else ()
    launch = _emit_tiles(images, target, symbol, halo)
    spaces = () if halo.in_place else (Workspace("halo", Size.of(halo.elements * size, "parts")),)
    return LibraryCode((launch,), spaces, packs)


_SET_BYTES = 4096
"""Addresses so many bytes apart (or a multiple) share the few places of one set of the first-level cache."""


_CROWDED_BYTES = 2048
"""The same for what a tile walks through: so near to it, few pixels stay in the cache."""


def _gap(lanes: Lanes, step: int) -> int:
    """Elements to put between pixels, so that those of a tile, `step` elements apart, do not share a cache set."""
    return lanes.count if step * lanes.align % _SET_BYTES == 0 else 0


def _panel_elements(images: _Images, target: Target) -> tuple[int, int]:
    """Elements of a panel of packed filters, and how many panels there are."""
    taps = images.kernel[0] * images.kernel[1]
    if images.depthwise:
        return taps * images.summed * images.out_channels, 1
    lanes = lanes_of(target, images.dtype)
    width = tile_shape(target, lanes.count, images.out_channels)[1] * lanes.count
    return taps * images.channels * width, -(-images.out_channels // width)


def _pack_filters(images: _Images, target: Target) -> Pack:
    """Filters in panels `[kh, kw, summed channels][columns]`; turned ones with their taps in the opposite
    order.
    """
    taps = images.kernel[0] * images.kernel[1]
    panel, panels = _panel_elements(images, target)
    key = digest_of(
        images.dtype, images.stored, taps, images.summed, images.channels, images.out_channels, images.turned,
        images.depthwise, panel, panels, images.panels, target.vector_bytes,
    )  # fmt: skip
    launch = LaunchText.begin(f"pack_w_{key}", target)
    f, lanes = launch.function, lanes_of(target, images.dtype)
    w, packed = launch.buffer("w"), launch.buffer("packed_w")
    width = panel // (taps * images.summed)
    first, last = launch.share(panels * taps)

    def unit(u: str, _: list[str]) -> None:
        number, tap = f.div(u, taps), f.rem(u, taps)
        place = f.sub(taps - 1, tap) if images.turned else tap
        column = f.mul(number, width)
        valid = f.minimum(f.sub(images.out_channels, column), width)
        begin = f.mul(f.add(f.mul(number, taps), place), images.summed * width)
        to = f.offset(packed, begin, lanes.element)
        source = f.offset(w, f.mul(tap, images.summed * images.out_channels), lanes.element)
        if images.pairs:
            pack = pack_pairs_transposed if images.turned else pack_pairs_straight
            stride = 2 * images.channels if images.turned else images.out_channels
            start = f.mul(column, stride) if images.turned else column
            source = f.offset(source, start, LLVM_TYPES[images.stored])
            pack(f, lanes, source, stride, 2 * images.channels, valid, width, to)
        elif images.depthwise:
            transpose_strided(f, lanes, source, images.out_channels, images.summed, to)
        elif images.panels:
            stored = images.panels
            rows = taps * images.out_channels

            def part(q: str, _: list[str]) -> None:
                first_row = f.add(f.add(f.mul(q, rows), f.mul(tap, images.out_channels)), column)
                depth = f.minimum(f.sub(images.channels, f.mul(q, stored)), stored)
                begin = f.offset(w, f.mul(first_row, stored), lanes.element)
                place = f.offset(to, f.mul(q, stored * width), lanes.element)
                pack_transposed(f, lanes, begin, stored, depth, valid, width, place)

            f.loop(0, -(-images.channels // stored), part)
        elif images.turned:
            source = f.offset(source, f.mul(column, images.channels), lanes.element)
            pack_transposed(f, lanes, source, images.channels, images.channels, valid, width, to)
        else:
            source = f.offset(source, column, lanes.element)
            pack_straight(f, lanes, source, images.out_channels, images.channels, valid, width, to)

    f.loop(first, last, unit)
    size = Size.of(panel * panels * element_bytes(images.dtype))
    return Pack("w", "packed_w", size, f"w_{key}", (launch.finish(),))


_CHUNK_BYTES = 160 * 1024
"""Bytes of an image that all panels of filters are applied to before the next ones are looked at."""


def _chunk_lines(images: _Images, halo: Halo, together: int) -> int:
    """Lines of tiles that are done together: what they read stays in the second-level cache."""
    step = max((r.read_step for r in images.rows), default=1) * together
    reach = max((_reach(r, halo.rows.first) for r in images.rows), default=0)
    rows = _CHUNK_BYTES // max(1, halo.row_stride * halo.lanes.align)
    return max(1, (rows - reach) // step + 1)


def _emit_tiles(images: _Images, target: Target, symbol: str, halo: Halo) -> Launch:
    launch = LaunchText.begin(symbol, target)
    f, lanes = launch.function, lanes_of(target, images.dtype)
    most_rows, vectors = tile_shape(target, lanes.count, images.out_channels)
    width, element = vectors * lanes.count, lanes.element
    source, packed = launch.buffer(images.source), launch.buffer("packed_w" if images.packed else "w")
    buffers = EpilogueBuffers.load(launch, images.epilogue)
    operands = load_operands(launch, images.prologue)
    scratch = source
    if not halo.in_place:
        scratch = f.offset(launch.buffer("halo"), f.mul("%part", halo.elements), element)
    batch = launch.size("batch", images.batch)
    # In a depthwise convolution all columns stand side by side at each tap, in `a` as in `b`.
    panel_elements = width if images.depthwise else _panel_elements(images, target)[0]
    b_step = images.out_channels if images.depthwise else width
    tap_elements = images.summed * b_step
    whole_panels, edge = divmod(images.out_channels, width)
    stripes = max((r.count for r in images.rows), default=0)
    # Narrow images: a tile spans several rows, where results of these lie in one run.
    together = 1
    if len(images.rows) == len(images.columns) == 1 and 0 < images.out_width * 2 <= most_rows:
        together = min(images.out_height, most_rows // images.out_width)
    groups = -(-stripes // together)
    lines = _chunk_lines(images, halo, together)
    first, last = launch.share(f.mul(batch, groups))

    def nests(row: _Taps, column: _Taps) -> tuple[Nest, ...]:
        depth, summed = halo.depth, images.summed
        channel_step = images.out_channels if images.depthwise else 1
        inner = [Nest(column.count, column.position_step * depth, column.tap_step * tap_elements)]
        if depth == summed and column.position_step == column.tap_step == 1:
            inner = [Nest(column.count * summed, 1, b_step)]
        elif summed > 1:
            inner.append(Nest(summed, channel_step, b_step))
        row_step = row.tap_step * images.kernel[1] * tap_elements
        return (Nest(row.count, row.position_step * halo.row_stride, row_step), *inner)

    def image(b: str, start: Int, stop: Int) -> None:
        if lines >= groups:
            some(b, start, stop)
            return
        f.loop(start, stop, lambda at, _: some(b, at, f.minimum(f.add(at, lines), stop)), step=lines)

    def some(b: str, start: Int, stop: Int) -> None:
        where = f.offset(source, f.mul(b, halo.image_elements), element)
        before = moved(f, images.prologue, operands, f.mul(b, halo.image_elements))
        if halo.in_place:
            read = halo.prepare(f, launch.module, where, scratch, 0, 0, before)
        else:
            step = max((r.read_step for r in images.rows), default=1) * together
            reach = max((_reach(r, halo.rows.first) for r in images.rows), default=0)
            low = f.mul(start, step)
            high = f.minimum(f.add(f.mul(stop, step), reach - step // together), halo.rows.size)
            # All of them lie in the same memory, which so stays in the cache.
            to = f.offset(scratch, f.sub(0, f.mul(low, halo.row_stride)), element)
            read = halo.prepare(f, launch.module, where, to, low, high, before)

        def panel(p: Int, edge_panel: bool) -> None:
            weights = f.offset(packed, f.mul(p, panel_elements), element)
            for row in images.rows:
                rows_stop = f.minimum(f.mul(stop, together), row.count)
                for column in images.columns:
                    _residue(f.mul(start, together), rows_stop, row, column, p, weights, edge_panel)

        def _residue(
            row_start: Int,
            row_stop: Int,
            row: _Residue,
            column: _Residue,
            p: Int,
            weights: str,
            edge_panel: bool,
        ) -> None:
            first_tap = row.taps.first_tap * images.kernel[1] + column.taps.first_tap
            b_start = f.offset(weights, first_tap * tap_elements, element)
            pixel_step = column.read_step * halo.depth
            corner_row = row.taps.first_position - halo.rows.first if row.taps.count else 0
            corner_column = column.taps.first_position - halo.columns.first if column.taps.count else 0
            column_valid = edge if edge_panel else width

            def tile_at(q: Int, q_column: Int, height: int, rows_together: int) -> None:
                per_row = height // rows_together
                offsets = tuple(
                    r * row.read_step * halo.row_stride + i * pixel_step
                    for r in range(rows_together)
                    for i in range(per_row)
                )
                tile = Tile(
                    lanes,
                    -(-column_valid // lanes.count),
                    height,
                    offsets,
                    nests(row.taps, column.taps),
                    Store(images.out_channels, column.stride, column_valid),
                    images.depthwise,
                    pairs=images.pairs,
                )
                a_row = f.mul(f.add(f.mul(q, row.read_step), corner_row), halo.row_stride)
                a_column = f.mul(f.add(f.mul(q_column, column.read_step), corner_column), halo.depth)
                out_row = f.add(f.mul(q, row.stride), row.first)
                out_column = f.add(f.mul(q_column, column.stride), column.first)
                pixel = f.add(
                    f.mul(f.add(f.mul(b, images.out_height), out_row), images.out_width), out_column
                )
                first_column = f.mul(p, width)
                if images.depthwise:
                    a_column = f.add(a_column, first_column)
                values = buffers.at(
                    f, f.add(f.mul(pixel, images.out_channels), first_column), pixel, first_column
                )
                values |= {"a": f.offset(read, f.add(a_row, a_column), element), "b": b_start}
                tile_kernel(launch.module, tile, images.epilogue).call(f, values)

            if together > 1:
                full = images.out_height // together

                def several(g: str, _: list[str]) -> None:
                    tile_at(f.mul(g, together), 0, together * images.out_width, together)

                f.loop(start, f.minimum(stop, full), several)
                rest = images.out_height - full * together
                if rest:
                    f.when_less(
                        full, stop, lambda: tile_at(full * together, 0, rest * images.out_width, rest)
                    )
                return

            def line(q: str, _: list[str]) -> None:
                plan = RowPlan(column.count, most_rows)
                tiles = plan.units(f, column.count)
                plan.each(f, 0, tiles, lambda height, i: tile_at(q, i, height, 1))

            f.loop(row_start, row_stop, line)

        if whole_panels:
            f.loop(0, whole_panels, lambda p, _: panel(p, False))
        if edge:
            panel(whole_panels, True)

    each_run(f, first, last, groups, image)
    return launch.finish()


def _reach(residue: _Residue, base: int) -> int:
    """Read rows from the first one of a stripe to the last one of its taps, counted from the halo's first
    row.
    """
    taps = residue.taps
    return taps.first_position - base + max(0, taps.count - 1) * taps.position_step + 1


# ------------------------------------------------------------------------------------- from images to filters

_UNITS = 64
"""Where rows of the result make fewer units than this, images are cut into groups as well."""

_LONG_SUM = 256
"""Pixels that a tile of a filter gradient sums at least where it can: small images are taken several at a time."""

_MOST_IMAGES = 8

_ENUMERATED_SPAN = 8
"""Runs of filter rows shorter than this share tiles, each tile with offsets of its own."""


class _FilterGradient:
    """`dw[kh, kw, in, out]`: tiles of filter rows by output channels, summed over the pixels of image after
    image.
    """

    def __init__(self, call: Conv2D, target: Target, symbol: str) -> None:
        self.call, self.target, self.symbol = call, target, symbol
        self.lanes = lanes_of(target, call.dtype)
        self.most_rows, self.vectors = tile_shape(target, self.lanes.count, call.out_channels)
        self.width = self.vectors * self.lanes.count
        self.size = element_bytes(call.dtype)

        def axis(a: int, extent: int, out: int) -> Span:
            last = (out - 1) * call.strides[a] + (call.kernel[a] - 1) * call.dilations[a] - call.padding[a][0]
            return Span(extent, -call.padding[a][0], last) if out else Span(extent, 0, 0)

        self.halo = Halo(
            self.lanes,
            axis(0, call.height, call.out_height),
            axis(1, call.width, call.out_width),
            call.in_channels,
            repeat=max(1, _multiplier(call)),
            gap=0 if call.depthwise else _gap(self.lanes, call.strides[1] * call.in_channels),
            prologue=call.prologue,
        )
        self.row_channels = 1 if call.depthwise else call.in_channels
        self.rows = call.kernel[0] * call.kernel[1] * self.row_channels
        # Panels of dy are put apart where its pixels would share cache sets, so that a tile reads straight through
        # one; and where channels are ragged, since vectors must not read past the end.
        ragged = call.out_channels % self.lanes.count != 0
        crowded = call.out_channels * self.size % _CROWDED_BYTES == 0
        self.staged = not call.depthwise and (ragged or crowded)
        adjacent = call.dilations[1] == 1 and not self.halo.gap
        self.span = call.in_channels * (call.kernel[1] if adjacent else 1)
        self.enumerated = call.depthwise or (self.span < _ENUMERATED_SPAN and self.span != self.rows)
        self.plan = RowPlan(self.rows if self.enumerated else self.span, self.most_rows)
        self.runs = 1 if self.enumerated else self.rows // self.span
        panels = -(-call.out_channels // self.width)
        tiles = self.runs * -(-(self.plan.rows or 1) // self.most_rows)
        self.groups = max(1, min(32, -(-_UNITS // (tiles * panels))))
        if call.batch is not None:
            self.groups = max(1, min(self.groups, call.batch))
        pixels = max(1, call.out_height * call.out_width)
        self.images = min(_MOST_IMAGES, -(-_LONG_SUM // pixels))
        if call.batch is not None:
            self.images = min(self.images, max(1, -(-call.batch // self.groups)))
        self.panel_elements = self.images * pixels * self.width
        self.dy_elements = -(-call.out_channels // self.width) * self.panel_elements
        self.result_elements = self.rows * call.out_channels
        self.epilogue = call.epilogue or Epilogue.plain("dw", call.dtype)
        self.direct = call.epilogue is None and self.groups == 1 and not call.panels_w

    def emit(self) -> LibraryCode:
        """Sums over images into each group's own filters, then the groups' sum and the epilogue."""
        launches = [self._emit_sums()]
        spaces = []
        if not self.halo.in_place:
            spaces.append(Workspace("halo", Size.of(self.images * self.halo.elements * self.size, "parts")))
        if self.staged:
            spaces.append(Workspace("staged_dy", Size.of(self.dy_elements * self.size, "parts")))
        if not self.direct:
            spaces.append(Workspace("partial_dw", Size.of(self.groups * self.result_elements * self.size)))
            launches.append(self._emit_total())
        return LibraryCode(tuple(launches), tuple(spaces))

    def _emit_sums(self) -> Launch:
        call, lanes, element = self.call, self.lanes, self.lanes.element
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        x, dy = launch.buffer("x"), launch.buffer("dy")
        sums = launch.buffer("dw" if self.direct else "partial_dw")
        operands = load_operands(launch, call.prologue)
        scratch, staging = x, dy
        if not self.halo.in_place:
            part = f.mul("%part", self.images * self.halo.elements)
            scratch = f.offset(launch.buffer("halo"), part, element)
        if self.staged:
            staging = f.offset(launch.buffer("staged_dy"), f.mul("%part", self.dy_elements), element)
        batch = launch.size("batch", call.batch)
        pixels = call.out_height * call.out_width
        tiles = int(self.plan.units(f, self.plan.rows or 0))
        first, last = launch.share(self.groups * self.runs * tiles)
        # In place: each image's sum is added to what the images before it have left.
        accumulate = Epilogue(
            (("sum", Op("add", (Var(ACCUMULATOR, call.dtype), Var("before", call.dtype)), call.dtype)),),
            (EpilogueOperand("before", call.dtype, "element"),),
        )

        def group(g: str, start: Int, stop: Int) -> None:
            own = f.offset(sums, f.mul(g, self.result_elements), element)

            def clear(height: int, row: Int) -> None:
                begin = f.offset(own, f.mul(row, call.out_channels), element)
                fill_zero(f, lanes, begin, height * call.out_channels)

            self._each_tile(f, tiles, start, stop, lambda height, row, _, __: clear(height, row))

            def images(b: str) -> Int:
                count = f.minimum(f.sub(last_image, b), self.images)
                picture = f.offset(x, f.mul(b, self.halo.image_elements), element)
                gradient = f.offset(dy, f.mul(b, pixels * call.out_channels), element)
                read = scratch
                if self.halo.in_place:
                    read = self.halo.prepare(f, launch.module, picture, scratch, 0, 0, {})
                else:

                    def ready(i: str, _: list[str]) -> None:
                        source = f.offset(picture, f.mul(i, self.halo.image_elements), element)
                        to = f.offset(scratch, f.mul(i, self.halo.elements), element)
                        element_of = f.mul(f.add(b, i), self.halo.image_elements)
                        before = moved(f, call.prologue, operands, element_of)
                        self.halo.prepare(f, launch.module, source, to, 0, self.halo.rows.size, before)

                    f.loop(0, count, ready)
                if self.staged:
                    self._stage(f, gradient, staging, f.mul(count, pixels))

                def tile(height: int, row: Int, a_start: Int, offsets: tuple[int, ...]) -> None:
                    def panel(p: Int, valid: int) -> None:
                        column = f.mul(p, self.width)
                        place = f.offset(own, f.add(f.mul(row, call.out_channels), column), element)
                        values: dict[str, Int] = {
                            "a": f.offset(
                                read, f.add(a_start, column) if call.depthwise else a_start, element
                            ),
                            "b": (
                                f.offset(staging, f.mul(p, self.panel_elements), element)
                                if self.staged
                                else f.offset(gradient, column, element)
                            ),
                            "result.sum": place,
                            "operand.before": place,
                            "count0": count,
                        }
                        shape = Tile(
                            lanes,
                            -(-valid // lanes.count),
                            height,
                            offsets,
                            self._nests(),
                            Store(call.out_channels, 1, valid),
                            call.depthwise,
                        )
                        tile_kernel(launch.module, shape, accumulate).call(f, values)

                    whole, edge = divmod(call.out_channels, self.width)
                    if whole:
                        f.loop(0, whole, lambda p, _: panel(p, self.width))
                    if edge:
                        panel(whole, edge)

                self._each_tile(f, tiles, start, stop, tile)
                return f.add(b, count)

            first_image = f.div(f.mul(batch, g), self.groups)
            last_image = f.div(f.mul(batch, f.add(g, 1)), self.groups)
            f.walk(first_image, last_image, images)

        each_run(f, first, last, self.runs * tiles, group)
        return launch.finish()

    def _nests(self) -> tuple[Nest, ...]:
        call = self.call
        b_step = self.width if self.staged else call.out_channels
        a_row, a_step = call.strides[0] * self.halo.row_stride, call.strides[1] * self.halo.depth
        pixels = call.out_height * call.out_width
        picture = self.halo.image_elements if self.halo.in_place else self.halo.elements
        images = Nest(None, picture, pixels * b_step)
        if call.out_width * a_step == a_row:
            return (images, Nest(pixels, a_step, b_step))
        return (
            images,
            Nest(call.out_height, a_row, call.out_width * b_step),
            Nest(call.out_width, a_step, b_step),
        )

    def _position(self, row: int) -> int:
        """Elements from the first read position to that of a filter row."""
        call = self.call
        tap, channel = divmod(row, self.row_channels)
        kh, kw = divmod(tap, call.kernel[1])
        return (
            kh * call.dilations[0] * self.halo.row_stride + kw * call.dilations[1] * self.halo.depth + channel
        )

    def _each_tile(
        self,
        f: FunctionText,
        tiles: int,
        start: Int,
        stop: Int,
        body: Callable[[int, Int, Int, tuple[int, ...]], None],
    ) -> None:
        """Writes `body(height, filter row, its position, offsets of rows)` for each tile `start <= t <
        stop`.
        """
        if self.enumerated:
            row = 0
            low, extra = divmod(self.rows, tiles)
            for t in range(tiles):
                height = low + 1 if t < extra else low
                base = self._position(row)
                offsets = tuple(self._position(r) - base for r in range(row, row + height))

                def one(h: int = height, r: int = row, a: int = base, o: tuple[int, ...] = offsets) -> None:
                    body(h, r, a, o)

                f.when_less(t, stop, lambda t=t, one=one: f.when_less(f.sub(start, 1), t, one))  # type: ignore[misc]
                row += height
            return

        def run(r: str, begin: Int, end: Int) -> None:
            taps = self.span // self.call.in_channels
            tap = f.mul(r, taps)
            kh, kw = f.div(tap, self.call.kernel[1]), f.rem(tap, self.call.kernel[1])
            base = f.add(
                f.mul(kh, self.call.dilations[0] * self.halo.row_stride),
                f.mul(kw, self.call.dilations[1] * self.halo.depth),
            )

            def tile(height: int, row: Int) -> None:
                body(height, f.add(f.mul(r, self.span), row), f.add(base, row), tuple(range(height)))

            self.plan.each(f, begin, end, tile)

        each_run(f, start, stop, tiles, run)

    def _stage(self, f: FunctionText, source: str, staging: str, pixels: Int) -> None:
        channels, width = self.call.out_channels, self.width

        def panel(p: Int, valid: int) -> None:
            begin = f.offset(source, f.mul(p, width), self.lanes.element)
            to = f.offset(staging, f.mul(p, self.panel_elements), self.lanes.element)
            pack_straight(f, self.lanes, begin, channels, pixels, valid, width, to)

        whole, edge = divmod(channels, width)
        if whole:
            f.loop(0, whole, lambda p, _: panel(p, width))
        if edge:
            panel(whole, edge)

    def _emit_total(self) -> Launch:
        """The groups' sum in their order, and the epilogue: tiles whose sum runs over groups, times one."""
        call, lanes, element = self.call, self.lanes, self.lanes.element
        launch = LaunchText.begin(self.symbol + "_total", self.target)
        f = launch.function
        partial = launch.buffer("partial_dw")
        buffers = EpilogueBuffers.load(launch, self.epilogue)
        first, last = launch.share(self.rows)

        def panel(row: Int, column: Int, valid: int) -> None:
            stored = call.panels_w
            stride = stored or call.out_channels
            shape = Tile(lanes, -(-valid // lanes.count), 1, (0,), (), Store(stride, 1, valid))

            def sums(g: FunctionText) -> list[str]:
                def add(_: str, carried: list[str]) -> list[str]:
                    address, *values = carried
                    for v, value in enumerate(values):
                        left = valid - v * lanes.count
                        place = g.offset(address, v * lanes.count, element)
                        more = g.load(lanes, place, left)
                        values[v] = g.value(f"fadd {lanes.type} {value}, {more}")
                    return [g.offset(address, self.result_elements, element), *values]

                start = [("ptr", "%a"), *((lanes.type, "zeroinitializer") for _ in range(shape.vectors))]
                return g.loop(0, self.groups, add, start)[1:]

            place = f.add(f.mul(row, call.out_channels), column)
            to = f.add(f.mul(column, self.rows), f.mul(row, stored)) if stored else place
            values = buffers.at(f, to, row, column) | {
                "a": f.offset(partial, place, element),
                "b": partial,
            }
            tile_kernel(launch.module, shape, self.epilogue, sums).call(f, values)

        def one(row: str, _: list[str]) -> None:
            whole, edge = divmod(call.out_channels, self.width)
            if whole:
                f.loop(0, whole, lambda p, _: panel(row, f.mul(p, self.width), self.width))
            if edge:
                panel(row, whole * self.width, edge)

        f.loop(first, last, one)
        return launch.finish()
