"""Convolutions of NHWC images as implicit matrix products: the register tile walks the image itself.

Forward, a tile is a run of output pixels by a panel of output channels. The gradient of the images is a
convolution of `dy` by turned filters, one for each residue of the strides. The gradient of the filters has
(kh, kw, in) for rows and sums over pixels; its parts own rows of the result, or fixed groups of images
where rows are few, so that bits do not depend on the number of parts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

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
    WindowAxis,
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
        pictures = dataclasses.replace(_forward(call), epilogue=epilogue)
        cut = winograd_blocks(_blocks(pictures), target, call.winograd, filters=True) if plain else None
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
    rows, columns = call.axes
    pixels = {"x": (rows.image, columns.image), "dy": (rows.count, columns.count)}
    filters = call.kernel[0] * call.kernel[1] * call.in_channels * call.out_channels
    batch = "batch" if call.batch is None else call.batch
    sizes = {
        "x": Size.of(call.in_channels, batch, *pixels["x"]),
        "dy": Size.of(call.out_channels, batch, *pixels["dy"]),
        "w": Size.of(filters),
    }
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
        elements: Int = filters
        if name != "w":
            high, across = (launch.number(extent) for extent in pixels[name])
            elements = f.mul(f.mul(high, across), call.in_channels if name == "x" else call.out_channels)
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
    first_position: Int
    position_step: int
    first_tap: int
    tap_step: int


@dataclass(frozen=True, slots=True)
class _Residue:
    """Output positions `first + stride * q` along one axis and the taps that reach them.

    Position `q` reads `q * read_step + first_position + i * position_step` for tap `i`.
    """

    first: Int
    stride: int
    count: Int
    read_step: int
    taps: _Taps

    def loaded(self, launch: LaunchText) -> _Residue:
        """The same with the values of run-time sizes."""
        taps = dataclasses.replace(self.taps, first_position=launch.number(self.taps.first_position))
        first, count = launch.number(self.first), launch.number(self.count)
        return dataclasses.replace(self, first=first, count=count, taps=taps)


@dataclass(frozen=True, slots=True)
class _Images:
    """A sum over taps and channels of one image into another.

    Numbers known at run time only are names: of run-time sizes, or of values once a launch has loaded them.
    """

    dtype: str
    batch: int | None
    source: str
    result: str
    height: Int
    width: Int
    channels: int
    out_height: Int
    out_width: Int
    out_channels: int
    kernel: tuple[int, int]
    rows: tuple[_Residue, ...]
    columns: tuple[_Residue, ...]
    spans: tuple[Span, Span]
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

    def loaded(self, launch: LaunchText) -> _Images:
        """The same with the values of run-time sizes; before any branch is written."""
        return dataclasses.replace(
            self,
            height=launch.number(self.height),
            width=launch.number(self.width),
            out_height=launch.number(self.out_height),
            out_width=launch.number(self.out_width),
            rows=tuple([r.loaded(launch) for r in self.rows]),
            columns=tuple([r.loaded(launch) for r in self.columns]),
        )


def _forward(call: Conv2D) -> _Images:
    def axis(windows: WindowAxis) -> tuple[_Residue, ...]:
        before = f"read_first_{windows.name}" if windows.padding is None else -windows.padding[0]
        taps = _Taps(windows.window, before, windows.dilation, 0, 1)
        return (_Residue(0, 1, windows.count, windows.stride, taps),)

    rows, columns = call.axes
    return _Images(
        call.dtype,
        call.batch,
        "x",
        "y",
        rows.image,
        columns.image,
        call.in_channels,
        rows.count,
        columns.count,
        call.out_channels,
        call.kernel,
        axis(rows),
        axis(columns),
        (_read(rows), _read(columns)),
        False,
        _multiplier(call),
        call.epilogue or Epilogue.plain("y", call.dtype),
        call.operand_dtype or call.dtype,
        call.panels_w,
        call.prologue,
    )


def _read(windows: WindowAxis) -> Span:
    """The positions of the image that windows read."""
    if windows.extent is None:
        return _open_span(windows, windows.image, windows.padding == (0, 0))
    before, count = windows.before, windows.count
    assert isinstance(before, int) and isinstance(count, int)
    last = (count - 1) * windows.stride + (windows.window - 1) * windows.dilation - before
    return Span.of(windows.extent, -before, last) if count else Span.of(windows.extent, 0, 0)


def _open_span(windows: WindowAxis, extent: Int, inside: bool) -> Span:
    return Span(extent, f"read_first_{windows.name}", f"read_{windows.name}", inside)


def _input_gradient(call: Conv2D) -> _Images:
    def axis(windows: WindowAxis) -> tuple[tuple[_Residue, ...], Span]:
        residues = []
        for rest, hits in enumerate(windows.classes):
            first, count = windows.first(rest), windows.positions(rest)
            if count == 0:
                continue
            # Filters are packed turned round, so that positions rise with taps.
            turned = windows.window - 1 - hits[0] if hits else 0
            position = windows.reached(rest) if hits else 0
            tap_step = windows.stride // math.gcd(windows.stride, windows.dilation)
            taps = _Taps(len(hits), position, windows.step, turned, tap_step)
            residues.append(_Residue(first, windows.stride, count, 1, taps))
        if windows.extent is None:
            return tuple(residues), _open_span(windows, windows.count, False)
        reached = []
        for residue in residues:
            if residue.taps.count:
                low, count = residue.taps.first_position, residue.count
                assert isinstance(low, int) and isinstance(count, int)
                reached.append((low, count - 1 + low + (residue.taps.count - 1) * residue.taps.position_step))
        extent = windows.count
        assert isinstance(extent, int)
        if not reached:
            return tuple(residues), Span.of(extent, 0, 0)
        span = Span.of(extent, min(low for low, _ in reached), max(high for _, high in reached))
        return tuple(residues), span

    rows, columns = call.axes
    (row_residues, row_span), (column_residues, column_span) = axis(rows), axis(columns)
    return _Images(
        call.dtype,
        call.batch,
        "dy",
        "dx",
        rows.count,
        columns.count,
        call.out_channels,
        rows.image,
        columns.image,
        call.in_channels,
        call.kernel,
        row_residues,
        column_residues,
        (row_span, column_span),
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
        _before(images.rows),
        _before(images.columns),
        images.turned,
        images.epilogue,
        images.stored,
        images.panels,
        images.prologue,
    )


def _before(residues: tuple[_Residue, ...]) -> int:
    """Positions before the image, which are known where strides are one."""
    position = residues[0].taps.first_position if residues else 0
    assert isinstance(position, int)
    return -position


def _multiplier(call: Conv2D) -> int:
    """Output channels of each input channel of a depthwise convolution, else zero."""
    return call.out_channels // call.in_channels if call.depthwise else 0


def _emit_images(images: _Images, target: Target, symbol: str) -> LibraryCode:
    if images.pairs:
        images = dataclasses.replace(images, channels=images.channels // 2)
    lanes = lanes_of(target, images.dtype)
    size = element_bytes(images.dtype)
    rows, columns = images.spans
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
    spaces = () if halo.in_place else (Workspace("halo", halo.space(size, "parts")),)
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


def _chunk_lines(f: FunctionText, images: _Images, halo: Halo, together: int) -> Int:
    """Lines of tiles that are done together: what they read stays in the second-level cache."""
    step = max((r.read_step for r in images.rows), default=1) * together
    rows = f.div(_CHUNK_BYTES, f.maximum(1, f.mul(halo.row_stride(f), halo.lanes.align)))
    return f.add(f.div(f.maximum(f.sub(rows, _farthest(f, images, halo)), 0), step), 1)


def _farthest(f: FunctionText, images: _Images, halo: Halo) -> Int:
    """Read rows from the first one of a stripe to the last one of its taps, counted from the halo's first row."""
    reach: Int = 0
    for residue in images.rows:
        taps = residue.taps
        base = _apart(f, taps.first_position, halo.rows.first)
        reach = f.maximum(reach, f.add(base, max(0, taps.count - 1) * taps.position_step + 1))
    return reach


def _apart(f: FunctionText, position: Int, first: Int) -> Int:
    return 0 if position == first else f.sub(position, first)


def _greatest_count(f: FunctionText, residues: Sequence[_Residue]) -> Int:
    count: Int = 0
    for residue in residues:
        count = f.maximum(count, residue.count)
    return count


def _emit_tiles(images: _Images, target: Target, symbol: str, halo: Halo) -> Launch:
    launch = LaunchText.begin(symbol, target)
    f, lanes = launch.function, lanes_of(target, images.dtype)
    most_rows, vectors = tile_shape(target, lanes.count, images.out_channels)
    width, element = vectors * lanes.count, lanes.element
    source, packed = launch.buffer(images.source), launch.buffer("packed_w" if images.packed else "w")
    buffers = EpilogueBuffers.load(launch, images.epilogue)
    operands = load_operands(launch, images.prologue)
    scratch = source
    batch = launch.size("batch", images.batch)
    images, halo = images.loaded(launch), halo.loaded(launch)
    row_stride, image_elements = halo.row_stride(f), halo.image_elements(f)
    if not halo.in_place:
        scratch = f.offset(launch.buffer("halo"), f.mul("%part", halo.elements(f)), element)
    # In a depthwise convolution all columns stand side by side at each tap, in `a` as in `b`.
    panel_elements = width if images.depthwise else _panel_elements(images, target)[0]
    b_step = images.out_channels if images.depthwise else width
    tap_elements = images.summed * b_step
    whole_panels, edge = divmod(images.out_channels, width)
    stripes = _greatest_count(f, images.rows)
    # Narrow images: a tile spans several rows, where results of these lie in one run.
    together = 1
    known = isinstance(images.out_height, int) and isinstance(images.out_width, int)
    if len(images.rows) == len(images.columns) == 1 and known and 0 < int(images.out_width) * 2 <= most_rows:
        together = min(int(images.out_height), most_rows // int(images.out_width))
    groups = f.div(f.add(stripes, together - 1), together)
    lines = _chunk_lines(f, images, halo, together)
    reach = _farthest(f, images, halo)
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
        step = f.mul(row_stride, row.position_step)
        return (Nest(row.count, step if isinstance(step, int) else None, row_step), *inner)

    def image(b: str, start: Int, stop: Int) -> None:
        if isinstance(lines, int) and isinstance(groups, int) and lines >= groups:
            some(b, start, stop)
            return
        f.loop(start, stop, lambda at, _: some(b, at, f.minimum(f.add(at, lines), stop)), step=lines)

    def some(b: str, start: Int, stop: Int) -> None:
        where = f.offset(source, f.mul(b, image_elements), element)
        before = moved(f, images.prologue, operands, f.mul(b, image_elements))
        if halo.in_place:
            read = halo.prepare(f, launch.module, where, scratch, 0, 0, before)
        else:
            step = max((r.read_step for r in images.rows), default=1) * together
            low = f.mul(start, step)
            end = f.add(f.mul(stop, step), f.sub(reach, step // together))
            high = f.minimum(end, halo.rows.size)
            # All of them lie in the same memory, which so stays in the cache.
            to = f.offset(scratch, f.sub(0, f.mul(low, row_stride)), element)
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
            corner_row = _apart(f, row.taps.first_position, halo.rows.first) if row.taps.count else 0
            corner_column: Int = 0
            if column.taps.count:
                corner_column = _apart(f, column.taps.first_position, halo.columns.first)
            column_valid = edge if edge_panel else width

            def tile_at(q: Int, q_column: Int, height: int, rows_together: int) -> None:
                per_row = height // rows_together
                # Several rows at a time are read only where their sizes are known.
                between = row_stride if isinstance(row_stride, int) else 0
                offsets = tuple(
                    r * row.read_step * between + i * pixel_step
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
                a_row = f.mul(f.add(f.mul(q, row.read_step), corner_row), row_stride)
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
                values["a_step0"] = f.mul(row_stride, row.taps.position_step)
                tile_kernel(launch.module, tile, images.epilogue).call(f, values)

            if together > 1:
                full = int(images.out_height) // together

                def several(g: str, _: list[str]) -> None:
                    tile_at(f.mul(g, together), 0, together * int(images.out_width), together)

                f.loop(start, f.minimum(stop, full), several)
                rest = int(images.out_height) - full * together
                if rest:
                    f.when_less(
                        full, stop, lambda: tile_at(full * together, 0, rest * int(images.out_width), rest)
                    )
                return

            def line(q: str, _: list[str]) -> None:
                plan = RowPlan(column.count if isinstance(column.count, int) else None, most_rows)
                plan.all(f, column.count, lambda height, i: tile_at(q, i, height, 1))

            f.loop(row_start, row_stop, line)

        if whole_panels:
            f.loop(0, whole_panels, lambda p, _: panel(p, False))
        if edge:
            panel(whole_panels, True)

    each_run(f, first, last, groups, image)
    return launch.finish()


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

        self.halo = Halo(
            self.lanes,
            _read(call.axes[0]),
            _read(call.axes[1]),
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
        # Filter rows of a run lie `row_step` elements apart.
        self.row_step = call.dilations[1] * self.halo.depth if call.depthwise else 1
        self.span = self.row_channels * (call.kernel[1] if adjacent or call.depthwise else 1)
        short = call.depthwise or (self.span < _ENUMERATED_SPAN and self.span != self.rows)
        self.enumerated = short and call.width is not None
        self.plan = RowPlan(self.rows if self.enumerated else self.span, self.most_rows)
        self.runs = 1 if self.enumerated else self.rows // self.span
        panels = -(-call.out_channels // self.width)
        tiles = self.runs * -(-(self.plan.rows or 1) // self.most_rows)
        self.groups = max(1, min(32, -(-_UNITS // (tiles * panels))))
        if call.batch is not None:
            self.groups = max(1, min(self.groups, call.batch))
        self.pixels: tuple[Int, Int] = (call.out_height, call.out_width)
        self.images = 1
        if isinstance(call.out_height, int) and isinstance(call.out_width, int):
            self.images = min(_MOST_IMAGES, -(-_LONG_SUM // max(1, call.out_height * call.out_width)))
        if call.batch is not None:
            self.images = min(self.images, max(1, -(-call.batch // self.groups)))
        self.panels = -(-call.out_channels // self.width)
        self.result_elements = self.rows * call.out_channels
        self.epilogue = call.epilogue or Epilogue.plain("dw", call.dtype)
        self.direct = call.epilogue is None and self.groups == 1 and not call.panels_w

    def emit(self) -> LibraryCode:
        """Sums over images into each group's own filters, then the groups' sum and the epilogue."""
        spaces = []
        if not self.halo.in_place:
            spaces.append(Workspace("halo", self.halo.space(self.size, self.images, "parts")))
        if self.staged:
            panels = self.images * self.panels * self.width
            spaces.append(Workspace("staged_dy", Size.of(panels * self.size, *self.pixels, "parts")))
        if not self.direct:
            spaces.append(Workspace("partial_dw", Size.of(self.groups * self.result_elements * self.size)))
        launches = [self._emit_sums()]
        if not self.direct:
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
        self.halo = self.halo.loaded(launch)
        high, wide = self.pixels = (launch.number(self.pixels[0]), launch.number(self.pixels[1]))
        self.row_stride = self.halo.row_stride(f)
        nests, numbers = self._nests(f)
        pixels, halo_elements = f.mul(high, wide), self.halo.elements(f)
        image_elements = self.halo.image_elements(f)
        self.panel_elements = f.mul(pixels, self.images * self.width)
        if not self.halo.in_place:
            part = f.mul("%part", f.mul(halo_elements, self.images))
            scratch = f.offset(launch.buffer("halo"), part, element)
        if self.staged:
            part = f.mul("%part", f.mul(self.panel_elements, self.panels))
            staging = f.offset(launch.buffer("staged_dy"), part, element)
        batch = launch.size("batch", call.batch)
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
                picture = f.offset(x, f.mul(b, image_elements), element)
                gradient = f.offset(dy, f.mul(b, f.mul(pixels, call.out_channels)), element)
                read = scratch
                if self.halo.in_place:
                    read = self.halo.prepare(f, launch.module, picture, scratch, 0, 0, {})
                else:

                    def ready(i: str, _: list[str]) -> None:
                        source = f.offset(picture, f.mul(i, image_elements), element)
                        to = f.offset(scratch, f.mul(i, halo_elements), element)
                        element_of = f.mul(f.add(b, i), image_elements)
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
                        }
                        values |= {**numbers, "count0": count}
                        shape = Tile(
                            lanes,
                            -(-valid // lanes.count),
                            height,
                            offsets,
                            nests,
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

    def _nests(self, f: FunctionText) -> tuple[tuple[Nest, ...], dict[str, Int]]:
        """The sum over images and pixels, and its run-time numbers by a tile kernel's parameter names."""
        call = self.call
        b_step = self.width if self.staged else call.out_channels
        a_row, a_step = f.mul(self.row_stride, call.strides[0]), call.strides[1] * self.halo.depth
        high, wide = self.pixels
        pixels = f.mul(high, wide)
        picture = self.halo.image_elements(f) if self.halo.in_place else self.halo.elements(f)
        levels: list[tuple[Int, Int, Int]] = [("%images", picture, f.mul(pixels, b_step))]
        if f.mul(wide, a_step) == a_row:
            levels.append((pixels, a_step, b_step))
        else:
            levels += [(high, a_row, f.mul(wide, b_step)), (wide, a_step, b_step)]
        numbers: dict[str, Int] = {}
        nests = []
        for number, level in enumerate(levels):
            known = [value if isinstance(value, int) else None for value in level]
            nests.append(Nest(*known))
            numbers |= dict(zip((f"count{number}", f"a_step{number}", f"b_step{number}"), level, strict=True))
        return tuple(nests), numbers

    def _position(self, row: int) -> int:
        """Elements from the first read position to that of a filter row, where sizes are known."""
        call = self.call
        tap, channel = divmod(row, self.row_channels)
        kh, kw = divmod(tap, call.kernel[1])
        assert isinstance(self.row_stride, int)
        return kh * call.dilations[0] * self.row_stride + kw * call.dilations[1] * self.halo.depth + channel

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
            taps = self.span // self.row_channels
            tap = f.mul(r, taps)
            kh, kw = f.div(tap, self.call.kernel[1]), f.rem(tap, self.call.kernel[1])
            base = f.add(
                f.mul(kh, f.mul(self.row_stride, self.call.dilations[0])),
                f.mul(kw, self.call.dilations[1] * self.halo.depth),
            )

            def tile(height: int, row: Int) -> None:
                position = f.add(base, f.mul(row, self.row_step))
                offsets = tuple(range(0, height * self.row_step, self.row_step))
                body(height, f.add(f.mul(r, self.span), row), position, offsets)

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
