"""Packing: copies of operands in the order in which a register tile reads them.

A panel is `[depth][width]`: for each step of the sum, the values of `width` neighbouring columns (or rows)
side by side, so that the inner loop walks straight through memory whatever the operand's own strides.
"""

from __future__ import annotations

from graphflow.backends.cpu.function_text import FunctionText, Int, Lanes

__all__ = ["copy", "fill_zero", "pack_straight", "pack_transposed", "transpose_block", "transpose_strided"]


def pack_straight(
    f: FunctionText, lanes: Lanes, source: str, stride: Int, depth: Int, valid: Int, width: int, panel: str
) -> None:
    """`panel[k][n] = source[k * stride + n]` for the first `valid` of `width` columns, zeros behind.

    `width` is a multiple of the lanes.
    """

    def row(k: str, _: list[str]) -> None:
        start = f.offset(source, f.mul(k, stride), lanes.element)
        target = f.offset(panel, f.mul(k, width), lanes.element)
        for column in range(0, width, lanes.count):
            left = f.sub(valid, column)
            value = f.load(lanes, f.offset(start, column, lanes.element), left)
            f.store(lanes, f.offset(target, column, lanes.element), value)

    f.loop(0, depth, row)


def pack_transposed(
    f: FunctionText, lanes: Lanes, source: str, stride: Int, depth: Int, valid: Int, width: int, panel: str
) -> None:
    """`panel[k][n] = source[n * stride + k]` for the first `valid` of `width` columns; what is behind is
    arbitrary.
    """
    whole = f.mul(f.div(depth, lanes.count), lanes.count)
    last_line = f.sub(valid, 1)

    def line(n: Int) -> str:
        # Lines behind the last valid one are read as that one.
        return f.offset(source, f.mul(f.minimum(n, last_line), stride), lanes.element)

    def columns(first: Int, count: int) -> None:
        lines = [line(f.add(first, n)) for n in range(count)]
        lines += lines[-1:] * (lanes.count - count)
        start = f.offset(panel, first, lanes.element)

        def block(k: str, _: list[str]) -> None:
            rows = [f.load(lanes, f.offset(one, k, lanes.element)) for one in lines]
            target = f.offset(start, f.mul(k, width), lanes.element)
            for place, value in enumerate(transpose_block(f, lanes, rows)):
                f.store(lanes, f.offset(target, place * width, lanes.element), value, count)

        f.loop(0, whole, block, step=lanes.count)

    groups, rest = divmod(width, lanes.count)
    if groups:
        f.loop(0, groups, lambda g, _: columns(f.mul(g, lanes.count), lanes.count))
    if rest:
        columns(groups * lanes.count, rest)

    def single(k: str, _: list[str]) -> None:
        def one(n: str, _: list[str]) -> None:
            value = f.value(
                f"load {lanes.element}, ptr {f.offset(line(n), k, lanes.element)}, align {lanes.align}"
            )
            address = f.offset(panel, f.add(f.mul(k, width), n), lanes.element)
            f.emit(f"store {lanes.element} {value}, ptr {address}, align {lanes.align}")

        f.loop(0, width, one)

    f.loop(whole, depth, single)


def transpose_block(f: FunctionText, lanes: Lanes, rows: list[str]) -> list[str]:
    """The columns of a square block given by its rows."""
    count, span = lanes.count, 1
    while span < count:
        swapped = list(rows)
        low = ", ".join(f"i32 {i if not i & span else count + i - span}" for i in range(count))
        high = ", ".join(f"i32 {count + i if i & span else i + span}" for i in range(count))
        for r in range(count):
            if r & span:
                continue
            pair = f"{lanes.type} {rows[r]}, {lanes.type} {rows[r + span]}"
            swapped[r] = f.value(f"shufflevector {pair}, <{count} x i32> <{low}>")
            swapped[r + span] = f.value(f"shufflevector {pair}, <{count} x i32> <{high}>")
        rows = swapped
        span *= 2
    return rows


def copy(f: FunctionText, lanes: Lanes, source: str, target: str, count: Int) -> None:
    """Copies `count` elements."""
    whole = f.mul(f.div(count, lanes.count), lanes.count)

    def several(i: str, _: list[str]) -> None:
        value = f.load(lanes, f.offset(source, i, lanes.element))
        f.store(lanes, f.offset(target, i, lanes.element), value)

    f.loop(0, whole, several, step=lanes.count)

    def rest() -> None:
        left = f.sub(count, whole)
        value = f.load(lanes, f.offset(source, whole, lanes.element), left)
        f.store(lanes, f.offset(target, whole, lanes.element), value, left)

    f.when_less(whole, count, rest)


def fill_zero(f: FunctionText, lanes: Lanes, start: str, count: Int) -> None:
    """Zeros in `count` elements."""
    whole = f.mul(f.div(count, lanes.count), lanes.count)

    def several(i: str, _: list[str]) -> None:
        f.store(lanes, f.offset(start, i, lanes.element), "zeroinitializer")

    f.loop(0, whole, several, step=lanes.count)

    def rest() -> None:
        f.store(lanes, f.offset(start, whole, lanes.element), "zeroinitializer", f.sub(count, whole))

    f.when_less(whole, count, rest)


def transpose_strided(
    f: FunctionText, lanes: Lanes, source: str, rows: Int, columns: int, target: str
) -> None:
    """`target[c][r] = source[r][c]`, both dense, for a few columns."""

    def row(r: str, _: list[str]) -> None:
        begin = f.offset(source, f.mul(r, columns), lanes.element)
        for c in range(columns):
            place = f.offset(begin, c, lanes.element)
            value = f.value(f"load {lanes.element}, ptr {place}, align {lanes.align}")
            to = f.offset(target, f.add(f.mul(rows, c), r), lanes.element)
            f.emit(f"store {lanes.element} {value}, ptr {to}, align {lanes.align}")

    f.loop(0, rows, row)
