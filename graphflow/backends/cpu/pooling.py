"""Pools of NHWC images: the greatest or mean value of each window, vectors lying along the channels.

A window that hangs over the edge is clipped: its first tap and its numbers of rows and columns are what is
inside. Gradients are spread from each window in turn into a few lines that stay in the cache; a part owns an
image's panel of channels, so nothing is written twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from graphflow.backends.cpu.function_text import FunctionText, Int, Lanes
from graphflow.backends.cpu.library_code import LibraryCode, Workspace
from graphflow.backends.cpu.packing import fill_zero
from graphflow.backends.cpu.target import Target
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
from graphflow.loops.ir import bits
from graphflow.loops.library import Epilogue, Pool2D, Size, WindowAxis, digest, element_bytes
from graphflow.records import dataclass

__all__ = ["emit_pool"]

_VECTORS = 4
"""Vectors of channels done together: pixels of few channels are read as one stretch."""

_VALUES = 8
"""Vectors of neighbouring windows done together."""

_WRITTEN_OUT = 9
"""Windows of so many taps are written out."""


def emit_pool(call: Pool2D, target: Target) -> LibraryCode:
    """The launches of a pool or of its gradient."""
    pool = _Pool(call, target)
    return pool.emit_gradient() if call.gradient else pool.emit_forward()


@dataclass(frozen=True, slots=True)
class _Axis:
    """Windows along one axis; `clipped`: whether any may hang over the edge.

    Numbers known at run time only are names: of run-time sizes, or of values once a launch has loaded them.
    """

    extent: Int
    window: int
    stride: int
    before: Int
    count: Int
    clipped: bool

    @classmethod
    def of(cls, axis: WindowAxis) -> _Axis:
        """The windows of a call along an axis."""
        extent, before, count = axis.image, axis.before, axis.count
        if isinstance(extent, int) and isinstance(before, int) and isinstance(count, int):
            last = (count - 1) * axis.stride + axis.window - before
            clipped = count > 0 and (before > 0 or last > extent)
        else:
            clipped = axis.padding != (0, 0)
        return cls(extent, axis.window, axis.stride, before, count, clipped)

    def loaded(self, launch: LaunchText) -> _Axis:
        """The same with the values of run-time sizes; before any branch is written."""
        extent, before, count = (launch.number(n) for n in (self.extent, self.before, self.count))
        return dataclasses.replace(self, extent=extent, before=before, count=count)

    def whole(self, f: FunctionText) -> tuple[Int, Int]:
        """The windows `first <= o < last` that lie inside."""
        if not self.clipped:
            return 0, self.count
        first = f.minimum(self.count, f.div(f.add(self.before, self.stride - 1), self.stride))
        room = f.add(f.sub(self.extent, self.window), f.add(self.before, self.stride))
        last = f.div(f.maximum(room, 0), self.stride)
        return first, f.maximum(first, f.minimum(self.count, last))

    def clip(self, f: FunctionText, o: Int) -> tuple[Int, Int]:
        """The first position of window `o` that is inside, and how many positions are."""
        start = f.sub(f.mul(o, self.stride), self.before)
        if not self.clipped:
            return start, self.window
        first = f.maximum(start, 0)
        return first, f.sub(f.minimum(f.add(start, self.window), self.extent), first)


class _Pool:
    def __init__(self, call: Pool2D, target: Target) -> None:
        self.call, self.target = call, target
        self.lanes = lanes_of(target, call.dtype)
        vectors = min(_VECTORS, -(-call.channels // self.lanes.count))
        self.width, self.pixels = vectors * self.lanes.count, _VALUES // vectors
        self.panels = -(-call.channels // self.width)
        self.rows, self.columns = map(_Axis.of, call.axes)
        self.symbol = f"pool_{digest(call, target.vector_bytes, target.registers)}"

    def load(self, launch: LaunchText) -> None:
        """Takes the values of run-time sizes; before any branch is written."""
        self.rows, self.columns = self.rows.loaded(launch), self.columns.loaded(launch)
        self.row_elements = launch.function.mul(self.columns.extent, self.call.channels)

    def each_panel(self, f: FunctionText, body: Callable[[Int, int], None]) -> None:
        """Writes `body(first channel, channels)` for each panel of channels."""
        whole, edge = divmod(self.call.channels, self.width)
        if whole:
            f.loop(0, whole, lambda p, _: body(f.mul(p, self.width), self.width))
        if edge:
            body(whole * self.width, edge)

    # ------------------------------------------------------------------------------------------- forward

    def emit_forward(self) -> LibraryCode:
        call, element = self.call, self.lanes.element
        epilogue = call.epilogue or Epilogue.plain("y", call.dtype)
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        x = launch.buffer("x")
        buffers = EpilogueBuffers.load(launch, epilogue)
        batch = launch.size("batch", call.batch)
        self.load(launch)
        high, wide = self.rows.count, self.columns.count
        units = f.mul(batch, high)
        first, last = launch.share(units)

        def line(unit: str, _: list[str]) -> None:
            image, o = f.div(unit, high), f.rem(unit, high)
            top, height = self.rows.clip(f, o)
            start = f.mul(f.add(f.mul(image, self.rows.extent), top), self.row_elements)
            row_step = self.row_elements if isinstance(self.row_elements, int) else None

            def panel(channel: Int, valid: int) -> None:
                def pixels(count: int, o_column: Int, clip: bool) -> None:
                    step = call.strides[1] * call.channels
                    if clip:
                        left, width = self.columns.clip(f, o_column)
                    else:
                        left = f.sub(f.mul(o_column, call.strides[1]), self.columns.before)
                        width = call.window[1]
                    tile = Tile(
                        self.lanes,
                        -(-valid // self.lanes.count),
                        count,
                        tuple(i * step for i in range(count)),
                        (
                            Nest(height if isinstance(height, int) else None, row_step, 0),
                            Nest(width if isinstance(width, int) else None, call.channels, 0),
                        ),
                        Store(call.channels, 1, valid),
                    )
                    pixel = f.add(f.mul(unit, wide), o_column)
                    values = buffers.at(f, f.add(f.mul(pixel, call.channels), channel), pixel, channel)
                    place = f.add(f.add(start, f.mul(left, call.channels)), channel)
                    values |= {"a": f.offset(x, place, element), "b": x, "count0": height, "count1": width}
                    values["a_step0"] = self.row_elements
                    kernel = tile_kernel(launch.module, tile, epilogue, lambda g: self._window(g, tile))
                    kernel.call(f, values)

                begin, end = self.columns.whole(f)
                f.loop(0, begin, lambda o, _: pixels(1, o, True))
                inside = f.sub(end, begin)
                plan = RowPlan(inside if isinstance(inside, int) else None, self.pixels)
                plan.all(f, inside, lambda n, i: pixels(n, f.add(i, begin), False))
                if self.columns.clipped:
                    f.loop(end, wide, lambda o, _: pixels(1, o, True))

            self.each_panel(f, panel)

        f.loop(first, last, line)
        return LibraryCode((launch.finish(),), ())

    def _window(self, f: FunctionText, tile: Tile) -> list[str]:
        """Each pixel's greatest or mean value, vector by vector."""
        lanes, valid = self.lanes, tile.store.columns or 0
        offsets = tile.row_offsets or ()

        def load(tap: str) -> list[str]:
            return [
                f.load(lanes, f.offset(tap, offset + v * lanes.count, lanes.element), valid - v * lanes.count)
                for offset in offsets
                for v in range(tile.vectors)
            ]

        def combine(tap: str, _: Int, values: list[str]) -> list[str]:
            if self.call.kind == "max":
                return [
                    f.value(
                        f"select <{lanes.count} x i1> {_greater(f, lanes, new, old)}, {lanes.type} {new}, "
                        f"{lanes.type} {old}"
                    )
                    for old, new in zip(values, load(tap), strict=True)
                ]
            return [
                f.value(f"fadd {lanes.type} {old}, {new}") for old, new in zip(values, load(tap), strict=True)
            ]

        zeros = ["zeroinitializer"] * (len(offsets) * tile.vectors)
        first = load("%a") if self.call.kind == "max" else zeros
        rows, columns = tile.nests[0].count, tile.nests[1].count
        height: Int = "%count0" if rows is None else rows
        width: Int = "%count1" if columns is None else columns
        step: Int = "%a_step0" if tile.nests[0].a_step is None else tile.nests[0].a_step
        start = [(lanes.type, value) for value in first]
        values = self._each_tap(f, "%a", height, width, combine, start, step)
        if self.call.kind == "max":
            return values
        divisor = _count(f, lanes, f.mul(height, width))
        return [f.value(f"fdiv {lanes.type} {value}, {divisor}") for value in values]

    def _each_tap(
        self,
        f: FunctionText,
        start: str,
        height: Int,
        width: Int,
        body: Callable[[str, Int, list[str]], list[str]],
        carried: list[tuple[str, str]],
        row_step: Int,
        step: int | None = None,
    ) -> list[str]:
        """Writes `body(address, number, values)` for each tap of a window, in order; the last values."""
        step = self.call.channels if step is None else step
        types = [type_text for type_text, _ in carried]
        element = self.lanes.element
        if isinstance(height, int) and isinstance(width, int) and height * width <= _WRITTEN_OUT:
            values = [value for _, value in carried]
            for i in range(height):
                for j in range(width):
                    tap = f.offset(start, f.add(f.mul(row_step, i), j * step), element)
                    values = body(tap, i * self.call.window[1] + j, values)
            return values

        def row(i: str, values: list[str]) -> list[str]:
            begin = f.offset(start, f.mul(i, row_step), element)

            def tap(j: str, now: list[str]) -> list[str]:
                number = f.add(f.mul(i, self.call.window[1]), j)
                return body(f.offset(begin, f.mul(j, step), element), number, now)

            return f.loop(0, width, tap, list(zip(types, values, strict=True)))

        return f.loop(0, height, row, carried)

    # ------------------------------------------------------------------------------------------ gradients

    def emit_gradient(self) -> LibraryCode:
        """Windows row by row: their gradients gather in a few lines, and a line that is complete is stored."""
        call, lanes, element = self.call, self.lanes, self.lanes.element
        launch = LaunchText.begin(self.symbol, self.target)
        f = launch.function
        dy = launch.buffer("dy")
        x = launch.buffer("x") if call.kind == "max" else dy
        buffers = EpilogueBuffers.load(launch, call.epilogue or Epilogue.plain("dx", call.dtype))
        window, stride = call.window[0], call.strides[0]
        open_width = self.columns.extent
        batch = launch.size("batch", call.batch)
        self.load(launch)
        before, line_elements = self.rows.before, f.mul(self.columns.extent, self.width)
        # Line `j` is image row `j` from the top of the row of windows at hand; fewer than `stride` rows lie below
        # the last windows.
        panel_elements = f.mul(line_elements, window + stride - 1)
        elements = f.mul(panel_elements, self.panels)
        scratch = f.offset(launch.buffer("lines"), f.mul("%part", elements), element)
        first, last = launch.share(f.mul(batch, self.panels))
        count_rows, count_columns = self.rows.count, self.columns.count
        covered = (
            call.window == call.strides
            and not self.rows.clipped
            and not self.columns.clipped
            and isinstance(count_rows, int)
            and isinstance(count_columns, int)
            and (count_rows * call.strides[0], count_columns * call.strides[1]) == (call.height, call.width)
        )

        def row_of_panel(image: Int, o: Int, p: Int, valid: int) -> None:
            channel = f.mul(p, self.width)
            lines = f.offset(scratch, f.mul(p, panel_elements), element)
            top = f.sub(f.mul(o, stride), before)
            carried = f.mul(line_elements, max(0, window - stride))
            if not covered:
                rest = f.offset(lines, carried, element)

                def clear_all() -> None:
                    fill_zero(f, lanes, lines, panel_elements)

                def clear_rest() -> None:
                    fill_zero(f, lanes, rest, f.sub(panel_elements, carried))

                f.when_less(0, o, clear_rest, clear_all)
            self._spread_row(launch, image, o, top, channel, valid, (x, dy, lines))
            lowest = f.select(
                f.compare("eq", o, f.sub(self.rows.count, 1)),
                self.rows.extent,
                f.minimum(f.add(top, stride), self.rows.extent),
            )
            self._finish_rows(launch, buffers, image, (f.maximum(top, 0), lowest), top, channel, valid, lines)
            if carried:

                def move(i: str, _: list[str]) -> None:
                    source = f.offset(lines, f.add(i, f.mul(line_elements, stride)), element)
                    f.store(lanes, f.offset(lines, i, element), f.load(lanes, source))

                # Rows of whole vectors, moved towards the front: what is overwritten has been moved before.
                f.loop(0, carried, move, step=lanes.count)

        def unit_run(image: str, start: Int, stop: Int) -> None:
            whole, edge = divmod(call.channels, self.width)

            def row(o: str, _: list[str]) -> None:
                f.loop(start, f.minimum(stop, whole), lambda p, _: row_of_panel(image, o, p, self.width))
                if edge:
                    f.when_less(whole, stop, lambda: row_of_panel(image, o, whole, edge))

            f.loop(0, self.rows.count, row)

        each_run(f, first, last, self.panels, unit_run)
        of_pixel = self.panels * (window + stride - 1) * self.width * element_bytes(call.dtype)
        space = Workspace("lines", Size.of(of_pixel, open_width, "parts"))
        return LibraryCode((launch.finish(),), (space,))

    def _spread_row(
        self,
        launch: LaunchText,
        image: Int,
        o: Int,
        top: Int,
        channel: Int,
        valid: int,
        buffers: tuple[str, str, str],
    ) -> None:
        """Adds the gradients of a row of windows to the lines."""
        f, call, element = launch.function, self.call, self.lanes.element
        x, dy, lines = buffers
        vectors = [(v, valid - v) for v in range(0, valid, self.lanes.count)]
        inner, height = self.rows.clip(f, o)
        across = self.columns.extent
        image_row = f.mul(f.add(f.mul(image, self.rows.extent), inner), across)
        dy_row = f.mul(f.add(f.mul(image, self.rows.count), o), self.columns.count)
        line = f.mul(f.sub(inner, top), across)

        def one(o_column: str, clip: bool) -> None:
            left: Int = f.sub(f.mul(o_column, call.strides[1]), self.columns.before)
            width: Int = call.window[1]
            if clip:
                left, width = self.columns.clip(f, o_column)
            numbers: list[Int] = [height, width]
            known = tuple(n if isinstance(n, int) else None for n in numbers)
            symbol = launch.module.internal(
                (known, valid),
                "ptr %x, ptr %dy, ptr %dx, i64 %height, i64 %width, i64 %across",
                lambda g: self._spread(g, known[0], known[1], vectors, self.width),
            )
            place = f.add(f.mul(f.add(image_row, left), call.channels), channel)
            source = f.add(f.mul(f.add(dy_row, o_column), call.channels), channel)
            f.call(
                symbol,
                f"ptr {f.offset(x, place, element)}",
                f"ptr {f.offset(dy, source, element)}",
                f"ptr {f.offset(lines, f.mul(f.add(line, left), self.width), element)}",
                f"i64 {height}",
                f"i64 {width}",
                f"i64 {across}",
            )

        begin, end = self.columns.whole(f)
        f.loop(0, begin, lambda c, _: one(c, True))
        f.loop(begin, end, lambda c, _: one(c, False))
        if self.columns.clipped:
            f.loop(end, self.columns.count, lambda c, _: one(c, True))

    def _spread(
        self,
        f: FunctionText,
        known_height: int | None,
        known_width: int | None,
        vectors: list[tuple[int, int]],
        pixel_step: int,
    ) -> None:
        """Adds one window's gradient to the pixels it came from."""
        call, lanes = self.call, self.lanes
        across: Int = "%across" if call.width is None else call.width
        height: Int = "%height" if known_height is None else known_height
        width: Int = "%width" if known_width is None else known_width
        apart = call.strides[0] >= call.window[0] and call.strides[1] >= call.window[1]
        numbers = Lanes("i64" if bits(call.dtype) == 64 else "i32", lanes.count)
        mask_type = f"<{lanes.count} x i1>"
        for v, left in vectors:
            gradient = f.load(lanes, f.offset("%dy", v, lanes.element), left)
            winner = ""
            if call.kind == "max":

                def find(tap: str, number: Int, best: list[str], left: int = left) -> list[str]:
                    value = f.load(lanes, tap, left)
                    better = _greater(f, lanes, value, best[0])
                    mark = _number(f, numbers, number)
                    return [
                        f.value(f"select {mask_type} {better}, {lanes.type} {value}, {lanes.type} {best[0]}"),
                        f.value(
                            f"select {mask_type} {better}, {numbers.type} {mark}, {numbers.type} {best[1]}"
                        ),
                    ]

                start = f.offset("%x", v, lanes.element)
                first = [(lanes.type, f.load(lanes, start, left)), (numbers.type, "zeroinitializer")]
                row_step = f.mul(across, call.channels)
                winner = self._each_tap(f, start, height, width, find, first, row_step)[1]
            else:
                divisor = _count(f, lanes, f.mul(height, width))
                gradient = f.value(f"fdiv {lanes.type} {gradient}, {divisor}")

            def give(
                tap: str,
                number: Int,
                _: list[str],
                left: int = left,
                gradient: str = gradient,
                winner: str = winner,
            ) -> list[str]:
                share = gradient
                if winner:
                    mark = _number(f, numbers, number)
                    mine = f.value(f"icmp eq {numbers.type} {winner}, {mark}")
                    share = f.value(
                        f"select {mask_type} {mine}, {lanes.type} {gradient}, {lanes.type} zeroinitializer"
                    )
                if not apart:
                    share = f.value(f"fadd {lanes.type} {f.load(lanes, tap, left)}, {share}")
                f.store(lanes, tap, share, left)
                return []

            self._each_tap(
                f,
                f.offset("%dx", v, lanes.element),
                height,
                width,
                give,
                [],
                f.mul(across, pixel_step),
                pixel_step,
            )

    def _finish_rows(
        self,
        launch: LaunchText,
        buffers: EpilogueBuffers,
        image: Int,
        rows: tuple[Int, Int],
        top: Int,
        channel: Int,
        valid: int,
        lines: str,
    ) -> None:
        """Puts complete lines through the epilogue: image rows `rows[0] <= r < rows[1]`."""
        f, lanes, call = launch.function, self.lanes, self.call
        vectors = -(-valid // lanes.count)

        def pixels(count: int, row: Int, column: Int) -> None:
            tile = Tile(lanes, vectors, count, (), (), Store(call.channels, 1, valid))

            def sums(g: FunctionText) -> list[str]:
                places = [i * self.width + v * lanes.count for i in range(count) for v in range(vectors)]
                return [g.load(lanes, g.offset("%a", place, lanes.element)) for place in places]

            across = self.columns.extent
            pixel = f.add(f.mul(f.add(f.mul(image, self.rows.extent), row), across), column)
            place = f.mul(f.add(f.mul(f.sub(row, top), across), column), self.width)
            values = buffers.at(f, f.add(f.mul(pixel, call.channels), channel), pixel, channel)
            values |= {"a": f.offset(lines, place, lanes.element), "b": lines}
            tile_kernel(launch.module, tile, buffers.epilogue, sums, key="finish").call(f, values)

        plan, across = RowPlan(call.width, self.pixels), self.columns.extent
        f.loop(*rows, lambda row, _: plan.all(f, across, lambda count, column: pixels(count, row, column)))


def _greater(f: FunctionText, lanes: Lanes, new: str, old: str) -> str:
    """Lanes where `new` takes the place of `old`: it is greater, or the first NaN."""
    above = f.value(f"fcmp ugt {lanes.type} {new}, {old}")
    number = f.value(f"fcmp ord {lanes.type} {old}, {old}")
    return f.value(f"and <{lanes.count} x i1> {above}, {number}")


def _number(f: FunctionText, lanes: Lanes, number: Int) -> str:
    """An integer in every lane."""
    if isinstance(number, str) and lanes.element != "i64":
        number = f.value(f"trunc i64 {number} to {lanes.element}")
    return f.splat(lanes, str(number))


def _count(f: FunctionText, lanes: Lanes, count: Int) -> str:
    """A count as a float in every lane."""
    return f.splat(lanes, f.value(f"uitofp i64 {count} to {lanes.element}"))
