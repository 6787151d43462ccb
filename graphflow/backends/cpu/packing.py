"""Packing: copies of operands in the order in which a register tile reads them.

A panel is `[depth][width]`: for each step of the sum, the values of `width` neighbouring columns (or rows)
side by side, so that the inner loop walks straight through memory whatever the operand's own strides.
"""

from __future__ import annotations

from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes

__all__ = [
    "copy",
    "copy_pairs",
    "fill_zero",
    "load_as",
    "pack_pairs_straight",
    "pack_pairs_transposed",
    "pack_straight",
    "pack_transposed",
    "transpose_block",
    "transpose_strided",
]


def load_as(
    f: FunctionText, lanes: Lanes, pointer: str, valid: Int | None = None, stored: str | None = None
) -> str:
    """A vector from memory, where elements may be bfloat16 and become float32."""
    if stored in (None, lanes.dtype):
        return f.load(lanes, pointer, valid)
    assert (stored, lanes.dtype) == ("bf16", "f32")
    half, whole = Lanes("bf16", lanes.count), Lanes("i32", lanes.count)
    wide = f.value(f"zext {half.type} {f.load(half, pointer, valid)} to {whole.type}")
    high = f.value(f"shl {whole.type} {wide}, splat (i32 16)")
    return f.value(f"bitcast {whole.type} {high} to {lanes.type}")


def _load_one(f: FunctionText, lanes: Lanes, pointer: str, stored: str | None) -> str:
    """The same for one element."""
    if stored in (None, lanes.dtype):
        return f.value(f"load {lanes.element}, ptr {pointer}, align {lanes.align}")
    wide = f.value(f"zext i16 {f.value(f'load i16, ptr {pointer}, align 2')} to i32")
    return f.value(f"bitcast i32 {f.value(f'shl i32 {wide}, 16')} to {lanes.element}")


def pack_straight(
    f: FunctionText,
    lanes: Lanes,
    source: str,
    stride: Int,
    depth: Int,
    valid: Int,
    width: int,
    panel: str,
    stored: str | None = None,
) -> None:
    """`panel[k][n] = source[k * stride + n]` for the first `valid` of `width` columns, zeros behind.

    `width` is a multiple of the lanes; `stored` is the source's dtype if it is not the panel's.
    """
    from_type = LLVM_TYPES[stored or lanes.dtype]

    def row(k: str, _: list[str]) -> None:
        start = f.offset(source, f.mul(k, stride), from_type)
        target = f.offset(panel, f.mul(k, width), lanes.element)
        for column in range(0, width, lanes.count):
            left = f.sub(valid, column)
            value = load_as(f, lanes, f.offset(start, column, from_type), left, stored)
            f.store(lanes, f.offset(target, column, lanes.element), value)

    f.loop(0, depth, row)


def pack_transposed(
    f: FunctionText,
    lanes: Lanes,
    source: str,
    stride: Int,
    depth: Int,
    valid: Int,
    width: int,
    panel: str,
    stored: str | None = None,
) -> None:
    """`panel[k][n] = source[n * stride + k]` for the first `valid` of `width` columns; what is behind is
    arbitrary. `stored` is the source's dtype if it is not the panel's.
    """
    from_type = LLVM_TYPES[stored or lanes.dtype]
    whole = f.mul(f.div(depth, lanes.count), lanes.count)
    last_line = f.sub(valid, 1)

    def line(n: Int) -> str:
        # Lines behind the last valid one are read as that one.
        return f.offset(source, f.mul(f.minimum(n, last_line), stride), from_type)

    def columns(first: Int, count: int) -> None:
        lines = [line(f.add(first, n)) for n in range(count)]
        lines += lines[-1:] * (lanes.count - count)
        start = f.offset(panel, first, lanes.element)

        def block(k: str, _: list[str]) -> None:
            rows = [load_as(f, lanes, f.offset(one, k, from_type), stored=stored) for one in lines]
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
            value = _load_one(f, lanes, f.offset(line(n), k, from_type), stored)
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


def pack_pairs_straight(
    f: FunctionText, lanes: Lanes, source: str, stride: Int, depth: Int, valid: Int, width: int, panel: str
) -> None:
    """`panel[k][n] = source[2 * k * stride + n], source[(2 * k + 1) * stride + n]` of bfloat16 numbers: pairs that
    lie as an i32 each. Zeros are what is behind the first `valid` of `width` columns and behind an odd depth.
    """
    half, count = Lanes("bf16", lanes.count), lanes.count
    order = ", ".join(f"i32 {i // 2 + count * (i % 2)}" for i in range(2 * count))

    def pair(k: Int, last: bool) -> None:
        rows = [f.offset(source, f.mul(f.add(f.mul(k, 2), odd), stride), half.element) for odd in (0, 1)]
        target = f.offset(panel, f.mul(k, width), lanes.element)
        for column in range(0, width, count):
            left = f.sub(valid, column)
            low = f.load(half, f.offset(rows[0], column, half.element), left)
            high = "zeroinitializer"
            if not last:
                high = f.load(half, f.offset(rows[1], column, half.element), left)
            both = f.value(
                f"shufflevector {half.type} {low}, {half.type} {high}, <{2 * count} x i32> <{order}>"
            )
            f.store(
                Lanes("bf16", 2 * count), f.offset(target, column, lanes.element), both, align=lanes.align
            )

    whole = f.div(depth, 2)
    f.loop(0, whole, lambda k, _: pair(k, False))
    f.when_less(f.mul(whole, 2), depth, lambda: pair(whole, True))


def pack_pairs_transposed(
    f: FunctionText, lanes: Lanes, source: str, stride: Int, depth: Int, valid: Int, width: int, panel: str
) -> None:
    """`panel[k][n] = source[n * stride + 2 * k], source[n * stride + 2 * k + 1]` of bfloat16 numbers: pairs that lie
    as an i32 each. Zero is what is behind an odd depth, arbitrary what is behind the first `valid` of `width` columns.
    """
    count = lanes.count
    half, whole = Lanes("bf16", 2 * count), Lanes("i32", count)
    last_line = f.sub(valid, 1)

    def columns(first: Int) -> None:
        lines = [
            f.offset(source, f.mul(f.minimum(f.add(first, n), last_line), stride), half.element)
            for n in range(count)
        ]
        start = f.offset(panel, first, lanes.element)

        def block(k: Int, steps: Int | None, valid_steps: Int | None) -> None:
            rows = []
            for one in lines:
                numbers = f.load(half, f.offset(one, f.mul(k, 2), half.element), steps)
                rows.append(f.value(f"bitcast {half.type} {numbers} to {whole.type}"))
            for place, value in enumerate(transpose_block(f, whole, rows)):
                to = f.offset(start, f.mul(f.add(k, place), width), lanes.element)
                if valid_steps is None:
                    f.store(whole, to, value)
                else:
                    kept = f.select(f.compare("slt", place, valid_steps), count, 0)
                    f.store(whole, to, value, kept)

        full = f.mul(f.div(depth, 2 * count), count)
        f.loop(0, full, lambda k, _: block(k, None, None), step=count)
        rest = f.sub(depth, f.mul(full, 2))
        f.when_less(0, rest, lambda: block(full, rest, f.div(f.add(rest, 1), 2)))

    f.loop(0, width // count, lambda g, _: columns(f.mul(g, count)))


def copy_pairs(f: FunctionText, lanes: Lanes, source: str, target: str, count: Int) -> None:
    """Copies `count` bfloat16 numbers, and a zero behind an odd number of them."""
    half = Lanes("bf16", 2 * lanes.count)
    copy(f, half, source, target, count)

    def zero() -> None:
        f.emit(f"store i16 0, ptr {f.offset(target, count, half.element)}, align 2")

    f.when_less(f.mul(f.div(count, 2), 2), count, zero)


def copy(
    f: FunctionText, lanes: Lanes, source: str, target: str, count: Int, stored: str | None = None
) -> None:
    """Copies `count` elements; `stored` is the source's dtype if it is not the target's."""
    from_type = LLVM_TYPES[stored or lanes.dtype]
    whole = f.mul(f.div(count, lanes.count), lanes.count)

    def several(i: str, _: list[str]) -> None:
        value = load_as(f, lanes, f.offset(source, i, from_type), stored=stored)
        f.store(lanes, f.offset(target, i, lanes.element), value)

    f.loop(0, whole, several, step=lanes.count)

    def rest() -> None:
        left = f.sub(count, whole)
        value = load_as(f, lanes, f.offset(source, whole, from_type), left, stored)
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
