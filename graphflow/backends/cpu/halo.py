"""Images with a border of zeros: one image at a time is copied into scratch where its windows hang over the
edge.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphflow.backends.cpu.function_text import FunctionText, Int, Lanes, ModuleText
from graphflow.backends.cpu.packing import fill_zero, transpose_strided
from graphflow.backends.cpu.prologue import copy_through, moved, names
from graphflow.loops.library import Epilogue
from graphflow.records import dataclass

__all__ = ["Halo", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """One axis: an image's extent, and the positions `first <= p <= last` that windows read (outside are
    zeros).
    """

    extent: int
    first: int
    last: int

    @property
    def inside(self) -> bool:
        """Whether no window hangs over the edge."""
        return self.first >= 0 and self.last < self.extent

    @property
    def size(self) -> int:
        """Positions read."""
        return max(0, self.last - self.first + 1)


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

    @property
    def row_stride(self) -> int:
        """Elements from one read row to the next."""
        return (self.columns.extent if self.in_place else self.columns.size) * self.depth

    @property
    def elements(self) -> int:
        """Scratch for one image, with room for a vector that reads past the end."""
        return 0 if self.in_place else self.rows.size * self.row_stride + self.lanes.count

    @property
    def image_elements(self) -> int:
        """Elements of a whole image."""
        return self.rows.extent * self.columns.extent * self.channels

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
            corner = (self.rows.first * self.columns.extent + self.columns.first) * self.channels
            return f.offset(image, corner, self.lanes.element)
        operands = names(self.prologue)
        head = [
            "ptr %image",
            "ptr %scratch",
            "i64 %first",
            "i64 %last",
            *(f"ptr %{name}" for name in operands),
        ]
        symbol = module.internal(("halo", self), ", ".join(head), self._copy)
        more = [f"ptr {before[name]}" for name in operands]
        f.call(symbol, f"ptr {image}", f"ptr {scratch}", f"i64 {first}", f"i64 {last}", *more)
        return scratch

    def _copy(self, f: FunctionText) -> None:
        element = self.lanes.element
        left = min(self.columns.size, max(0, -self.columns.first))
        copied = max(0, min(self.columns.last + 1, self.columns.extent) - max(self.columns.first, 0))
        right = self.columns.size - left - copied
        start_column = max(self.columns.first, 0)

        def row(r: str, _: list[str]) -> None:
            target = f.offset("%scratch", f.mul(r, self.row_stride), element)
            source_row = f.add(r, self.rows.first)

            def blank() -> None:
                fill_zero(f, self.lanes, target, self.row_stride)

            def image_row() -> None:
                fill_zero(f, self.lanes, target, left * self.depth)
                index = f.mul(f.add(f.mul(source_row, self.columns.extent), start_column), self.channels)
                source = f.offset("%image", index, element)
                place = f.offset(target, left * self.depth, element)
                self._copy_pixels(f, source, place, copied, index)
                fill_zero(
                    f, self.lanes, f.offset(target, (left + copied) * self.depth, element), right * self.depth
                )

            # A negative row is a huge one when its sign is not read.
            f.branch(f.compare("ult", source_row, self.rows.extent), image_row, blank)

        f.loop("%first", "%last", row)

    def _copy_pixels(self, f: FunctionText, source: str, target: str, pixels: int, index: Int) -> None:
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
        count = pixels * self.channels
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
        self, f: FunctionText, prologue: Epilogue, source: str, target: str, pixels: int, index: Int
    ) -> None:
        lanes, element = self.lanes, self.lanes.element
        addresses = {name: f"%{name}" for name in names(prologue)}
        here = moved(f, prologue, addresses, index)
        if not self.gap and not any(operand.over == "column" for operand in prologue.operands):
            copy_through(f, lanes, prologue, source, target, pixels * self.channels, here)
            return

        def pixel(p: str, _: list[str]) -> None:
            done = f.mul(p, self.channels)
            begin, to = f.offset(source, done, element), f.offset(target, f.mul(p, self.depth), element)
            copy_through(f, lanes, prologue, begin, to, self.channels, moved(f, prologue, here, done))

        f.loop(0, pixels, pixel)

    def _copy_elements(self, f: FunctionText, source: str, target: str, count: int) -> None:
        lanes, element = self.lanes, self.lanes.element
        whole = count - count % lanes.count

        def several(i: str, _: list[str]) -> None:
            f.store(lanes, f.offset(target, i, element), f.load(lanes, f.offset(source, i, element)))

        f.loop(0, whole, several, step=lanes.count)
        if count > whole:
            rest = f.load(lanes, f.offset(source, whole, element), count - whole)
            f.store(lanes, f.offset(target, whole, element), rest, count - whole)
