"""Images with a border of zeros: one image at a time is copied into scratch where its windows hang over the
edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from graphflow.backends.cpu.function_text import FunctionText, Int, Lanes, ModuleText
from graphflow.backends.cpu.packing import fill_zero, transpose_strided
from graphflow.backends.cpu.prologue import copy_through, moved, names
from graphflow.backends.cpu.tiles import LaunchText
from graphflow.loops.library import Epilogue, Size
from graphflow.records import dataclass

__all__ = ["Halo", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """One axis: an image's extent, and the `size` positions from `first` on that windows read (outside are zeros).

    Numbers known at run time only are names: of run-time sizes, or of values once a launch has loaded them. `inside`:
    whether no window hangs over the edge, whatever they are.
    """

    extent: Int
    first: Int
    size: Int
    inside: bool

    @classmethod
    def of(cls, extent: int, first: int, last: int) -> Span:
        """The span of known numbers whose last position is `last`."""
        return cls(extent, first, max(0, last - first + 1), first >= 0 and last < extent)

    def loaded(self, launch: LaunchText) -> Span:
        """The same with the values of run-time sizes."""
        extent, first, size = (launch.number(n) for n in (self.extent, self.first, self.size))
        return Span(extent, first, size, self.inside)


@dataclass(frozen=True, slots=True)
class Halo:
    """The part of an image `[rows, columns, channels]` that windows read, with zeros where there is no
    image.

    Where no window hangs over the edge the image is read in place. `repeat` puts each channel down several
    times; `split` puts every `split`-th channel together, those from the first on before those from the
    second on. `gap` elements, which nobody reads, lie between pixels. `prologue` is what becomes of the image.
    """

    lanes: Lanes
    rows: Span
    columns: Span
    channels: int
    repeat: int = 1
    split: int = 1
    gap: int = 0
    prologue: Epilogue | None = None

    @property
    def in_place(self) -> bool:
        """Whether images are read where they lie."""
        same = self.repeat == self.split == 1 and not self.gap and self.prologue is None
        return same and self.rows.inside and self.columns.inside

    @property
    def depth(self) -> int:
        """Elements from a read position to the next one in its row."""
        return self.channels * self.repeat + self.gap

    def loaded(self, launch: LaunchText) -> Halo:
        """The same with the values of run-time sizes; before any branch is written."""
        return dataclasses.replace(self, rows=self.rows.loaded(launch), columns=self.columns.loaded(launch))

    def row_stride(self, f: FunctionText) -> Int:
        """Elements from one read row to the next."""
        return f.mul(self.columns.extent if self.in_place else self.columns.size, self.depth)

    def elements(self, f: FunctionText) -> Int:
        """Scratch for one image, with room for a vector that reads past the end."""
        if self.in_place:
            return 0
        return f.add(f.mul(self.rows.size, self.row_stride(f)), self.lanes.count)

    def space(self, bytes_of_element: int, *extents: int | str) -> Size:
        """Bytes of scratch for so many images; sizes by name."""
        pixels = Size.of(self.depth * bytes_of_element, self.rows.size, self.columns.size, *extents)
        return pixels + Size.of(self.lanes.count * bytes_of_element, *extents)

    def image_elements(self, f: FunctionText) -> Int:
        """Elements of a whole image."""
        return f.mul(f.mul(self.rows.extent, self.columns.extent), self.channels)

    def prepare(
        self,
        f: FunctionText,
        module: ModuleText,
        image: str,
        scratch: str,
        first: Int,
        last: Int,
        before: Mapping[str, str],
    ) -> str:
        """Makes read rows `first <= r < last` (counted from the first one read) ready; the address of read
        row 0. `before`: the prologue's operands at the image.
        """
        if self.in_place:
            corner = f.add(f.mul(self.rows.first, self.columns.extent), self.columns.first)
            return f.offset(image, f.mul(corner, self.channels), self.lanes.element)
        start = f.maximum(self.columns.first, 0)
        left = f.minimum(self.columns.size, f.maximum(f.sub(0, self.columns.first), 0))
        end = f.minimum(f.add(self.columns.first, self.columns.size), self.columns.extent)
        copied = f.maximum(f.sub(end, start), 0)
        numbers = {
            "rows": self.rows.extent, "top": self.rows.first, "columns": self.columns.extent,
            "start": start, "left": left, "copied": copied,
            "right": f.sub(f.sub(self.columns.size, left), copied),
        }  # fmt: skip
        operands = names(self.prologue)
        # Numbers known at run time only are arguments.
        handed = {name: number for name, number in numbers.items() if isinstance(number, str)}
        known = {name: f"%{name}" if name in handed else number for name, number in numbers.items()}
        head = [
            "ptr %image",
            "ptr %scratch",
            "i64 %first",
            "i64 %last",
            *(f"ptr %{name}" for name in operands),
            *(f"i64 %{name}" for name in handed),
        ]
        symbol = module.internal(("halo", self), ", ".join(head), lambda g: self._copy(g, known))
        more = [f"ptr {before[name]}" for name in operands]
        more += [f"i64 {number}" for number in handed.values()]
        f.call(symbol, f"ptr {image}", f"ptr {scratch}", f"i64 {first}", f"i64 {last}", *more)
        return scratch

    def _copy(self, f: FunctionText, numbers: Mapping[str, Int]) -> None:
        element = self.lanes.element
        left, copied, right = numbers["left"], numbers["copied"], numbers["right"]
        row_stride = f.mul(f.add(f.add(left, copied), right), self.depth)

        def row(r: str, _: list[str]) -> None:
            target = f.offset("%scratch", f.mul(r, row_stride), element)
            source_row = f.add(r, numbers["top"])

            def blank() -> None:
                fill_zero(f, self.lanes, target, row_stride)

            def image_row() -> None:
                fill_zero(f, self.lanes, target, f.mul(left, self.depth))
                index = f.mul(f.add(f.mul(source_row, numbers["columns"]), numbers["start"]), self.channels)
                source = f.offset("%image", index, element)
                place = f.offset(target, f.mul(left, self.depth), element)
                self._copy_pixels(f, source, place, copied, index)
                after = f.offset(target, f.mul(f.add(left, copied), self.depth), element)
                fill_zero(f, self.lanes, after, f.mul(right, self.depth))

            # A negative row is a huge one when its sign is not read.
            f.branch(f.compare("ult", source_row, numbers["rows"]), image_row, blank)

        f.loop("%first", "%last", row)

    def _copy_pixels(self, f: FunctionText, source: str, target: str, pixels: Int, index: Int) -> None:
        """Copies so many pixels, the first of which is element `index` of the image."""
        lanes, element = self.lanes, self.lanes.element
        if self.prologue is not None:
            self._copy_through(f, self.prologue, source, target, pixels, index)
            return
        if self.gap:

            def apart(p: str, _: list[str]) -> None:
                begin = f.offset(source, f.mul(p, self.channels), element)
                self._copy_elements(f, begin, f.offset(target, f.mul(p, self.depth), element), self.channels)

            f.loop(0, pixels, apart)
            return
        count = f.mul(pixels, self.channels)
        if self.split > 1:

            def pixel(p: str, _: list[str]) -> None:
                begin, to = (f.offset(base, f.mul(p, self.channels), element) for base in (source, target))
                transpose_strided(f, lanes, begin, self.channels // self.split, self.split, to)

            f.loop(0, pixels, pixel)
            return
        if self.repeat > 1:

            def one(i: str, _: list[str]) -> None:
                value = f.value(f"load {element}, ptr {f.offset(source, i, element)}, align {lanes.align}")
                for again in range(self.repeat):
                    address = f.offset(target, f.add(f.mul(i, self.repeat), again), element)
                    f.emit(f"store {element} {value}, ptr {address}, align {lanes.align}")

            f.loop(0, count, one)
            return
        self._copy_elements(f, source, target, count)

    def _copy_through(
        self, f: FunctionText, prologue: Epilogue, source: str, target: str, pixels: Int, index: Int
    ) -> None:
        lanes, element = self.lanes, self.lanes.element
        addresses = {name: f"%{name}" for name in names(prologue)}
        here = moved(f, prologue, addresses, index)
        if not self.gap and not any(operand.over == "column" for operand in prologue.operands):
            copy_through(f, lanes, prologue, source, target, f.mul(pixels, self.channels), here)
            return

        def pixel(p: str, _: list[str]) -> None:
            done = f.mul(p, self.channels)
            begin, to = f.offset(source, done, element), f.offset(target, f.mul(p, self.depth), element)
            copy_through(f, lanes, prologue, begin, to, self.channels, moved(f, prologue, here, done))

        f.loop(0, pixels, pixel)

    def _copy_elements(self, f: FunctionText, source: str, target: str, count: Int) -> None:
        lanes, element = self.lanes, self.lanes.element
        whole = f.mul(f.div(count, lanes.count), lanes.count)

        def several(i: str, _: list[str]) -> None:
            f.store(lanes, f.offset(target, i, element), f.load(lanes, f.offset(source, i, element)))

        def rest() -> None:
            left = f.sub(count, whole)
            value = f.load(lanes, f.offset(source, whole, element), left)
            f.store(lanes, f.offset(target, whole, element), value, left)

        f.loop(0, whole, several, step=lanes.count)
        f.when_less(whole, count, rest)
