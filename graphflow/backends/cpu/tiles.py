"""Register tiles: the inner kernel of every contraction, and what it stores.

A tile holds `rows` x `vectors` accumulators in registers. In each turn it loads a row of `b` (vectors, side
by side along the columns) and multiplies it by one broadcast scalar of `a` per tile row. Where the scalars
stand is a list of row offsets and a nest of counted steps, which is all that tells a matrix product from a
convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphflow.backends.cpu.expressions import write_expressions
from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes, ModuleText
from graphflow.backends.cpu.library_code import Argument, BufferArgument, Launch, SizeArgument
from graphflow.backends.cpu.target import Target
from graphflow.loops.ir import Expr, Op
from graphflow.loops.library import ACCUMULATOR, Epilogue, Size, element_bytes
from graphflow.records import dataclass, field

__all__ = [
    "EpilogueBuffers",
    "LaunchText",
    "Nest",
    "RowPlan",
    "Store",
    "Tile",
    "TileKernel",
    "each_run",
    "lanes_of",
    "stepped",
    "tile_kernel",
]


@dataclass(slots=True)
class LaunchText:
    """A launch being written: its function, and the arguments asked for so far."""

    symbol: str
    module: ModuleText
    function: FunctionText
    parallel: bool = True
    arguments: list[Argument] = field(default_factory=list)
    _names: dict[Argument, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, symbol: str, target: Target, *, parallel: bool = True) -> LaunchText:
        """Starts a launch's module."""
        # x86 back ends may otherwise cut 512-bit vectors in two.
        wide = f'nounwind "prefer-vector-width"="{target.vector_bytes * 8}"'
        module = ModuleText(symbol, target, wide)
        function = FunctionText(module, symbol, "ptr %args, i64 %part, i64 %parts")
        return cls(symbol, module, function, parallel)

    def buffer(self, name: str) -> str:
        """The address of a buffer; asked for before any branch is written."""
        return self._argument(BufferArgument(name), "ptr")

    def size(self, name: str, extent: int | None) -> Int:
        """An extent: the known number, or the run-time size of that name."""
        if extent is not None:
            return extent
        return self._argument(SizeArgument(Size.of(1, name)), "i64")

    def number(self, value: Int) -> Int:
        """A known number as it is; the run-time size of a name, asked for before any branch is written."""
        return value if isinstance(value, int) else self._argument(SizeArgument(Size.of(1, value)), "i64")

    def _argument(self, argument: Argument, type_text: str) -> str:
        if argument not in self._names:
            address = self.function.offset("%args", len(self.arguments), "i64")
            self._names[argument] = self.function.value(f"load {type_text}, ptr {address}, align 8")
            self.arguments.append(argument)
        return self._names[argument]

    def share(self, units: Int) -> tuple[Int, Int]:
        """This part's range of `units` units."""
        f = self.function
        first = f.div(f.mul("%part", units), "%parts")
        return first, f.div(f.mul(f.add("%part", 1), units), "%parts")

    def finish(self) -> Launch:
        """The launch."""
        self.function.finish()
        return Launch(self.symbol, self.module.text(), tuple(self.arguments), self.parallel)


# ---------------------------------------------------------------------------------------------- tile shapes


@dataclass(frozen=True, slots=True)
class EpilogueBuffers:
    """The buffers of an epilogue in a launch, loaded from its arguments."""

    epilogue: Epilogue
    addresses: dict[str, str]

    @classmethod
    def load(cls, launch: LaunchText, epilogue: Epilogue) -> EpilogueBuffers:
        """Asks a launch for them; before any branch is written."""
        addresses = {f"operand.{o.name}": launch.buffer(o.name) for o in epilogue.operands}
        addresses |= {f"result.{name}": launch.buffer(name) for name, _ in epilogue.results}
        return cls(epilogue, addresses)

    def at(self, f: FunctionText, element: Int, row: Int, column: Int) -> dict[str, Int]:
        """Their addresses for a tile that begins there, by a tile kernel's parameter names."""
        starts: dict[str, Int] = {"element": element, "row": row, "column": column, "scalar": 0}
        values: dict[str, Int] = {}
        for o in self.epilogue.operands:
            name = f"operand.{o.name}"
            values[name] = f.offset(self.addresses[name], starts[o.over], LLVM_TYPES[o.dtype])
        for result, expr in self.epilogue.results:
            name = f"result.{result}"
            values[name] = f.offset(self.addresses[name], element, LLVM_TYPES[expr.dtype])
        return values


def each_run(
    f: FunctionText, first: Int, last: Int, length: Int, body: Callable[[str, Int, Int], None]
) -> None:
    """Writes `body(run, start, stop)` for each run of `length` units that the units `first <= u < last`
    touch.
    """

    def runs() -> None:
        def run(index: str, _: list[str]) -> None:
            begin = f.mul(index, length)
            body(index, f.maximum(f.sub(first, begin), 0), f.minimum(f.sub(last, begin), length))

        f.loop(f.div(first, length), f.add(f.div(f.sub(last, 1), length), 1), run)

    f.when_less(first, last, runs)


def stepped(f: FunctionText, extents: Sequence[Int], steps: Sequence[Int], index: Int) -> Int:
    """Elements from the first matrix to matrix `index`, counted row-major over the extents."""
    result: Int = 0
    for axis in reversed(range(len(extents))):
        place = index if axis == 0 else f.rem(index, extents[axis])
        result = f.add(result, f.mul(place, steps[axis]))
        if axis:
            index = f.div(index, extents[axis])
    return result


def lanes_of(target: Target, dtype: str) -> Lanes:
    """The vector type of a dtype on a target."""
    return Lanes(dtype, max(1, target.vector_bytes // element_bytes(dtype)))


TileBody = Callable[[Callable[[Sequence[str]], str], Int, Int, Int], None]
"""Writes a tile, given: what picks the tile's function from one for each height, its first row, its unit,
and its first row counted from that of the unit.
"""


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How rows are cut into tiles.

    A known number of rows is cut into tiles that differ by one row at most; an unknown one into full tiles
    and one unit of what is left over, done by ever smaller tiles.
    """

    rows: int | None
    most: int

    @property
    def heights(self) -> tuple[int, ...]:
        """The tile heights that may occur, the greatest first."""
        if self.rows is None:
            return (self.most, *(h for h in (4, 2, 1) if h < self.most))
        low, extra = self._balance
        return tuple(h for h, used in ((low + 1, extra > 0), (low, extra < self._tiles)) if used and h > 0)

    @property
    def _tiles(self) -> int:
        return max(1, -(-(self.rows or 0) // self.most))

    @property
    def _balance(self) -> tuple[int, int]:
        return divmod(self.rows or 0, self._tiles)

    def units(self, f: FunctionText, rows: Int) -> Int:
        """How many units `rows` rows make."""
        if self.rows is not None:
            return self._tiles if self.rows else 0
        return f.div(f.add(rows, self.most - 1), self.most)

    def first_row(self, f: FunctionText, unit: Int) -> Int:
        """The first row of a unit."""
        if self.rows is None:
            return f.mul(unit, self.most)
        low, extra = self._balance
        return f.add(f.mul(unit, low), f.minimum(unit, extra))

    def all(self, f: FunctionText, rows: Int, body: Callable[[int, Int], None]) -> None:
        """Writes `body(height, first row)` for the tiles of all `rows` rows."""
        if self.rows is not None:
            self.each(f, 0, self.units(f, rows), body)
            return
        first: Int = 0
        for height in self.heights:
            count = f.div(f.sub(rows, first), height)
            f.loop(0, count, lambda u, _: body(height, f.add(first, f.mul(u, height))))  # noqa: B023
            first = f.add(first, f.mul(count, height))

    def each(self, f: FunctionText, first: Int, last: Int, body: Callable[[int, Int], None]) -> None:
        """Writes `body(height, first row)` for the tiles of units `first <= u < last` of a known number of
        rows.
        """
        low, extra = self._balance
        if extra:
            f.loop(first, f.minimum(last, extra), lambda u, _: body(low + 1, f.mul(u, low + 1)))
        if extra < self._tiles and low:
            f.loop(f.maximum(first, extra), last, lambda u, _: body(low, f.add(f.mul(u, low), extra)))

    def walk(self, f: FunctionText, rows: Int, first: Int, last: Int, body: TileBody) -> None:
        """Writes `body` once, for whichever tile of the units `first <= u < last` comes next."""
        if self.rows is not None:
            _, extra = self._balance

            def known(u: str, _: list[str]) -> None:
                def pick(symbols: Sequence[str]) -> str:
                    if len(symbols) == 1:
                        return f"@{symbols[0]}"
                    higher = f.compare("slt", u, extra)
                    return f.value(f"select i1 {higher}, ptr @{symbols[0]}, ptr @{symbols[1]}")

                body(pick, self.first_row(f, u), u, 0)

            if self.rows:
                f.loop(first, last, known)
            return
        stop = f.minimum(f.mul(last, self.most), rows)

        def open_ended(row: str) -> Int:
            left = f.sub(stop, row)
            fits = [f.compare("sge", left, height) for height in self.heights[:-1]]

            def pick(symbols: Sequence[str]) -> str:
                symbol = f"@{symbols[-1]}"
                for fit, higher in reversed(list(zip(fits, symbols[:-1], strict=True))):
                    symbol = f.value(f"select i1 {fit}, ptr @{higher}, ptr {symbol}")
                return symbol

            unit = f.div(row, self.most)
            body(pick, row, unit, f.sub(row, f.mul(unit, self.most)))
            done: Int = self.heights[-1]
            for fit, height in reversed(list(zip(fits, self.heights[:-1], strict=True))):
                done = f.select(fit, height, done)
            return f.add(row, done)

        f.walk(f.mul(first, self.most), stop, open_ended)


# ---------------------------------------------------------------------------------------------- the kernel


@dataclass(frozen=True, slots=True)
class Nest:
    """One loop of a tile's sum: turns, and elements from turn to turn in `a` and in `b`; `None` is a
    parameter.
    """

    count: int | None
    a_step: int | None
    b_step: int | None


@dataclass(frozen=True, slots=True)
class Store:
    """Where a tile's values go.

    `stride`: elements between rows of results and element operands (`None`: a parameter); `row_step`:
    result rows between tile rows; `columns`: how many columns count (`None`: a parameter).
    """

    stride: int | None
    row_step: int
    columns: int | None


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: `row_offsets` are elements of `a` from the first row to each row, or a parameter's
    stride.

    `elementwise`: `a` holds vectors beside those of `b`, not scalars. `in_place`: `b` is read where it lies, and
    nothing may be read behind its columns. `resume`: the sum goes on from what an earlier block of it left, rows so
    many elements apart. `ahead`: the lines that the epilogue reads and writes are called into the cache while
    the sum is under way. `pairs`: what stands for one element of `a` and `b` are two bfloat16 numbers, for two steps of
    the sum.
    """

    lanes: Lanes
    vectors: int
    rows: int
    row_offsets: tuple[int, ...] | None
    nests: tuple[Nest, ...]
    store: Store
    elementwise: bool = False
    in_place: bool = False
    resume: int | None = None
    ahead: bool = False
    pairs: bool = False


@dataclass(frozen=True, slots=True)
class TileKernel:
    """A tile written as a function; call it with the run-time numbers that its tile leaves open."""

    symbol: str
    parameters: tuple[tuple[str, str], ...]

    def call(self, f: FunctionText, values: Mapping[str, Int], function: str | None = None) -> None:
        """Writes a call; `values` by parameter name; `function` is the address of another of the same
        parameters.
        """
        arguments = ", ".join(f"{type_text} {values[name]}" for type_text, name in self.parameters)
        f.emit(f"call void {function or '@' + self.symbol}({arguments})")


def tile_kernel(
    module: ModuleText,
    tile: Tile,
    epilogue: Epilogue,
    sums: Callable[[FunctionText], list[str]] | None = None,
    key: object = None,
) -> TileKernel:
    """The function of a tile; of several calls with one tile and key the first one is written.

    Parameters by name: `a`, `b`, the epilogue's buffers as `result.NAME` and `operand.NAME` (at the tile's
    first element, row or column), `row_stride`, `count0`, `a_step0`, `b_step0`, ..., `stride`, `columns`
    where left open; `sums`, where the sums so far are, if the tile resumes. The argument
    `sums` writes the tile's values in place of sums of products.
    """
    parameters = [("ptr", "a"), ("ptr", "b")]
    if tile.resume is not None:
        parameters.append(("ptr", "sums"))
    parameters += [("ptr", f"result.{name}") for name, _ in epilogue.results]
    parameters += [("ptr", f"operand.{operand.name}") for operand in epilogue.operands]
    if tile.row_offsets is None:
        parameters.append(("i64", "row_stride"))
    for level, nest in enumerate(tile.nests):
        for name, known in (("count", nest.count), ("a_step", nest.a_step), ("b_step", nest.b_step)):
            if known is None:
                parameters.append(("i64", f"{name}{level}"))
    if tile.store.stride is None:
        parameters.append(("i64", "stride"))
    if tile.store.columns is None:
        parameters.append(("i64", "columns"))

    def build(f: FunctionText) -> None:
        _write_results(f, tile, epilogue, _write_sums(f, tile, epilogue) if sums is None else sums(f))

    head = ", ".join(f"{type_text} %{name}" for type_text, name in parameters)
    return TileKernel(module.internal((tile, id(epilogue), key), head, build), tuple(parameters))


_SHORT_SUM = 6
"""Innermost sums of so few turns are written out: the taps of a small filter over few channels."""

_TURNS = 4
"""Steps of a longer sum in a turn of its loop: what counts and moves addresses is then shared by so many. Where two
threads share a core, and with it the instructions begun in a cycle, these are a tenth of the loop.
"""


def _write_sums(f: FunctionText, tile: Tile, epilogue: Epilogue) -> list[str]:
    """The products' sums, row by row, `vectors` to a row."""
    lanes, element = tile.lanes, tile.lanes.element
    offsets: list[Int] = []
    for row in range(tile.rows):
        offsets.append(f.mul("%row_stride", row) if tile.row_offsets is None else tile.row_offsets[row])

    def side_by_side(address: str) -> list[str]:
        # Panels have room for whole vectors; other operands end where their columns do.
        columns: Int | None = None
        if tile.elementwise or tile.in_place:
            columns = "%columns" if tile.store.columns is None else tile.store.columns
        loaded = Lanes("i32", lanes.count) if tile.pairs else lanes
        return [
            f.load(
                loaded,
                f.offset(address, v * lanes.count, element),
                None if columns is None else f.sub(columns, v * lanes.count),
            )
            for v in range(tile.vectors)
        ]

    def step(a: str, b: str, sums: list[str]) -> list[str]:
        right = side_by_side(b)
        sums = list(sums)
        for row in range(tile.rows):
            place = f.offset(a, offsets[row], element)
            if tile.pairs:
                scalar = f.value(f"load i32, ptr {place}, align 2")
                left = [f.splat(Lanes("i32", lanes.count), scalar)] * tile.vectors
            else:
                left = side_by_side(place) if tile.elementwise else [f.broadcast(lanes, place)] * tile.vectors
            multiply = f.dot_pairs if tile.pairs else f.multiply_add
            for v in range(tile.vectors):
                number = row * tile.vectors + v
                sums[number] = multiply(lanes, left[v], right[v], sums[number])
        return sums

    def nest(level: int, a: str, b: str, sums: list[str]) -> list[str]:
        if level == len(tile.nests):
            return step(a, b, sums)
        loop = tile.nests[level]
        count: Int = f"%count{level}" if loop.count is None else loop.count
        a_step: Int = f"%a_step{level}" if loop.a_step is None else loop.a_step
        b_step: Int = f"%b_step{level}" if loop.b_step is None else loop.b_step
        innermost = level == len(tile.nests) - 1

        def turns(carried: list[str], several: int) -> list[str]:
            a_now, b_now, *now = carried
            for turn in range(several):
                a_turn = f.offset(a_now, f.mul(a_step, turn), element)
                b_turn = f.offset(b_now, f.mul(b_step, turn), element)
                now = nest(level + 1, a_turn, b_turn, now)
            a_next = f.offset(a_now, f.mul(a_step, several), element)
            b_next = f.offset(b_now, f.mul(b_step, several), element)
            return [a_next, b_next, *now]

        def repeat(first: Int, last: Int, carried: list[str], several: int) -> list[str]:
            typed = [("ptr", a), ("ptr", b), *((lanes.type, value) for value in sums)]
            starts = [(type_text, value) for (type_text, _), value in zip(typed, carried, strict=True)]
            return f.loop(first, last, lambda _, now: turns(now, several), starts, step=several)

        carried = [a, b, *sums]
        if not innermost:
            return repeat(0, count, carried, 1)[2:]
        if isinstance(count, int):
            if count <= _SHORT_SUM:
                return turns(carried, count)[2:]
            whole = count // _TURNS * _TURNS
            return turns(repeat(0, whole, carried, _TURNS), count - whole)[2:]
        rest = f.mul(f.div(count, _TURNS), _TURNS)
        return repeat(rest, count, repeat(0, rest, carried, _TURNS), 1)[2:]

    first = ["zeroinitializer"] * (tile.rows * tile.vectors)
    if tile.resume is not None:
        for row in range(tile.rows):
            for v in range(tile.vectors):
                place = f.offset("%sums", row * tile.resume + v * lanes.count, element)
                first[row * tile.vectors + v] = f.load(lanes, place)
    if tile.ahead:
        _call_ahead(f, tile, epilogue)
    return nest(0, "%a", "%b", first)


_LINE = 64
"""Bytes of a cache line."""


def _call_ahead(f: FunctionText, tile: Tile, epilogue: Epilogue) -> None:
    """Asks for the lines that the epilogue reads and writes, which are then under way during the sum."""
    stride: Int = "%stride" if tile.store.stride is None else tile.store.stride
    columns = tile.vectors * tile.lanes.count
    read = [(f"operand.{o.name}", o.dtype) for o in epilogue.operands if o.over == "element"]
    # Results lie mostly where an operand does: what is in excess of these is asked for.
    written = [(f"result.{name}", expr.dtype) for name, expr in epilogue.results][len(read) :]
    for row in range(tile.rows):
        start = f.mul(f.mul(row, tile.store.row_step), stride)
        for name, dtype in (*read, *written):
            for column in range(0, columns, max(1, _LINE // element_bytes(dtype))):
                place = f.offset(f"%{name}", f.add(start, column), LLVM_TYPES[dtype])
                f.prefetch(place, level=3, write=name.startswith("result."))


_LONG_EPILOGUE = 4
"""Above so many operations an epilogue is a loop over the rows of a spilled tile: less code to compile, as
fast.
"""


def _write_results(f: FunctionText, tile: Tile, epilogue: Epilogue, sums: list[str]) -> None:
    lanes, store = tile.lanes, tile.store
    stride: Int = "%stride" if store.stride is None else store.stride
    valid: list[Int | None] = []
    for v in range(tile.vectors):
        if store.columns is None:
            valid.append(f.sub("%columns", v * lanes.count))
        else:
            left = store.columns - v * lanes.count
            valid.append(None if left >= lanes.count else left)
    fixed: dict[tuple[str, int], str] = {}
    for operand in epilogue.operands:
        wide = Lanes(operand.dtype, lanes.count)
        for v in range(tile.vectors):
            if operand.over == "scalar":
                one = fixed.get((operand.name, 0)) or f.broadcast(wide, f"%operand.{operand.name}")
                fixed[operand.name, v] = one
            elif operand.over == "column":
                address = f.offset(f"%operand.{operand.name}", v * lanes.count, wide.element)
                fixed[operand.name, v] = f.load(wide, address, valid[v])

    def row_values(row: Int, sums_of_row: list[str]) -> None:
        place = f.mul(row, store.row_step)
        start = f.mul(place, stride)
        rows = {
            o.name: f.broadcast(
                Lanes(o.dtype, lanes.count), f.offset(f"%operand.{o.name}", place, Lanes(o.dtype, 1).element)
            )
            for o in epilogue.operands
            if o.over == "row"
        }
        for v in range(tile.vectors):
            if valid[v] is not None and isinstance(valid[v], int) and int(valid[v] or 0) <= 0:
                continue
            index = f.add(start, v * lanes.count)
            values = {ACCUMULATOR: (lanes.dtype, sums_of_row[v])}
            for operand in epilogue.operands:
                wide = Lanes(operand.dtype, lanes.count)
                if operand.over == "element":
                    address = f.offset(f"%operand.{operand.name}", index, wide.element)
                    values[operand.name] = (operand.dtype, f.load(wide, address, valid[v]))
                elif operand.over == "row":
                    values[operand.name] = (operand.dtype, rows[operand.name])
                else:
                    values[operand.name] = (operand.dtype, fixed[operand.name, v])
            results = write_expressions(f, lanes.count, [expr for _, expr in epilogue.results], values)
            for (name, expr), result in zip(epilogue.results, results, strict=True):
                wide = Lanes(expr.dtype, lanes.count)
                f.store(wide, f.offset(f"%result.{name}", index, wide.element), result, valid[v])

    if _operations(epilogue) <= _LONG_EPILOGUE:
        for row in range(tile.rows):
            row_values(row, sums[row * tile.vectors : (row + 1) * tile.vectors])
        return
    bytes_of_vector = lanes.count * lanes.align
    spill = f.stack(f"[{len(sums)} x {lanes.type}]", max(16, bytes_of_vector))
    for place, value in enumerate(sums):
        f.store(lanes, f.offset(spill, place, lanes.type), value, align=max(16, bytes_of_vector))

    def spilled(row: str, _: list[str]) -> None:
        base = f.mul(row, tile.vectors)
        again = [f.load(lanes, f.offset(spill, f.add(base, v), lanes.type)) for v in range(tile.vectors)]
        row_values(row, again)

    f.loop(0, tile.rows, spilled)


def _operations(epilogue: Epilogue) -> int:
    seen: set[int] = set()
    stack: list[Expr] = [expr for _, expr in epilogue.results]
    total = 0
    while stack:
        expr = stack.pop()
        if id(expr) not in seen:
            seen.add(id(expr))
            if isinstance(expr, Op):
                total += 1
                stack.extend(expr.args)
    return total
