"""Writes LLVM functions as text: named values, counted loops, branches, vectors with masked ends.

Numbers known while writing are Python ints and fold; numbers known only at run time are names of `i64`
values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphflow.backends.cpu.instructions import Emitter
from graphflow.backends.cpu.target import Target
from graphflow.loops.ir import bits
from graphflow.records import dataclass, field

__all__ = ["LLVM_TYPES", "FunctionText", "Int", "Lanes", "ModuleText"]

Int = int | str
"""An i64: known now, or the name of a run-time value."""

LLVM_TYPES = {
    "f16": "i16",
    "bf16": "i16",
    "f32": "float",
    "f64": "double",
    "i8": "i8",
    "u8": "i8",
    "i1": "i8",
    "i16": "i16",
    "u16": "i16",
    "i32": "i32",
    "u32": "i32",
    "i64": "i64",
    "u64": "i64",
}
"""LLVM's type of one element in memory."""


_SELDOM = '!0 = !{!"branch_weights", i32 1, i32 100000}'


@dataclass(frozen=True, slots=True)
class Lanes:
    """A vector type: `count` elements of a dtype."""

    dtype: str
    count: int

    @property
    def element(self) -> str:
        """LLVM's type of one element."""
        return LLVM_TYPES[self.dtype]

    @property
    def type(self) -> str:
        """LLVM's type of the whole vector."""
        return f"<{self.count} x {self.element}>"

    @property
    def suffix(self) -> str:
        """How intrinsics spell the type."""
        return f"v{self.count}{ {'float': 'f32', 'double': 'f64'}.get(self.element, self.element) }"

    @property
    def align(self) -> int:
        """Bytes of one element: the only alignment that feeds promise."""
        return bits(self.dtype) // 8


@dataclass(slots=True)
class ModuleText:
    """Functions under one prefix, with the declarations they need."""

    prefix: str
    target: Target
    attributes: str = "nounwind"
    functions: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    _built: dict[object, str] = field(default_factory=dict)

    def declare(self, name: str, result: str, parameters: str) -> None:
        """Notes an external function or intrinsic."""
        self.declarations.add(f"declare {result} @{name}({parameters})")

    def internal(self, key: object, parameters: str, build: Callable[[FunctionText], None]) -> str:
        """The symbol of a private function, written by `build` the first time its key is seen."""
        if key not in self._built:
            symbol = f"{self.prefix}_{len(self._built)}"
            self._built[key] = symbol
            text = FunctionText(self, symbol, parameters, "internal ")
            build(text)
            text.finish("noinline ")
        return self._built[key]

    def text(self) -> str:
        """The whole module."""
        return "\n".join([*self.functions, *sorted(self.declarations), _SELDOM, ""])


class FunctionText:
    """One function being written."""

    def __init__(self, module: ModuleText, symbol: str, parameters: str, linkage: str = "") -> None:
        self.module = module
        self.symbol = symbol
        self._head = f"define {linkage}void @{symbol}({parameters})"
        self._lines: list[str] = []
        self._stack_slots: list[str] = []
        self._block = "entry"
        self._count = 0

    def finish(self, attributes: str = "") -> None:
        """Ends the function with a return and hands it to the module."""
        self.emit("ret void")
        head = f"{self._head} {attributes}{self.module.attributes} {{"
        self.module.functions.append("\n".join([head, "entry:", *self._stack_slots, *self._lines, "}"]))

    # ------------------------------------------------------------------------------------------ plain values

    def emit(self, line: str) -> None:
        """Writes an instruction without a result."""
        self._lines.append("  " + line)

    def value(self, text: str) -> str:
        """Writes an instruction and names its result."""
        self._count += 1
        name = f"%t{self._count}"
        self._lines.append(f"  {name} = {text}")
        return name

    def stack(self, type_text: str, align: int) -> str:
        """A stack slot, made once at the function's entry."""
        self._count += 1
        name = f"%t{self._count}"
        self._stack_slots.append(f"  {name} = alloca {type_text}, align {align}")
        return name

    def add(self, a: Int, b: Int) -> Int:
        """`a + b`."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0:
            return b
        if b == 0:
            return a
        return self.value(f"add nsw i64 {a}, {b}")

    def sub(self, a: Int, b: Int) -> Int:
        """`a - b`."""
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        if b == 0:
            return a
        return self.value(f"sub nsw i64 {a}, {b}")

    def mul(self, a: Int, b: Int) -> Int:
        """`a * b`."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1:
            return b
        if b == 1:
            return a
        return self.value(f"mul nsw i64 {a}, {b}")

    def div(self, a: Int, b: Int) -> Int:
        """`a // b` of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        if b == 1:
            return a
        return self.value(f"udiv i64 {a}, {b}")

    def rem(self, a: Int, b: Int) -> Int:
        """`a % b` of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        if b == 1:
            return 0
        return self.value(f"urem i64 {a}, {b}")

    def minimum(self, a: Int, b: Int) -> Int:
        """The smaller number."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.value(f"select i1 {self.compare('slt', a, b)}, i64 {a}, i64 {b}")

    def maximum(self, a: Int, b: Int) -> Int:
        """The greater number."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.value(f"select i1 {self.compare('sgt', a, b)}, i64 {a}, i64 {b}")

    def select(self, condition: str, a: Int, b: Int) -> Int:
        """`a` where the condition (an i1) holds, else `b`."""
        return a if a == b else self.value(f"select i1 {condition}, i64 {a}, i64 {b}")

    def compare(self, predicate: str, a: Int, b: Int) -> str:
        """An i1; `predicate` as LLVM's `icmp` spells it."""
        return self.value(f"icmp {predicate} i64 {a}, {b}")

    def offset(self, pointer: str, index: Int, type_text: str) -> str:
        """The address of element `index`."""
        if index == 0:
            return pointer
        return self.value(f"getelementptr {type_text}, ptr {pointer}, i64 {index}")

    def call(self, symbol: str, *arguments: str) -> None:
        """Calls a function without a result; arguments with their types."""
        self.emit(f"call void @{symbol}({', '.join(arguments)})")

    def splice(self, write: Callable[[Emitter], None]) -> None:
        """Puts in what is written by the emitter of loop-language code."""
        emitter = Emitter(self.module.target, self._block, self._count)
        write(emitter)
        self._lines += emitter.regions[0].lines
        self._stack_slots += emitter.allocations
        self.module.declarations |= emitter.declarations
        self._block = emitter.region.label
        self._count = emitter.count

    # ---------------------------------------------------------------------------------------- control flow

    def _label(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _enter(self, label: str) -> None:
        self._lines.append(label + ":")
        self._block = label

    def loop(
        self,
        start: Int,
        stop: Int,
        body: Callable[[str, list[str]], Sequence[str] | None],
        carried: Sequence[tuple[str, str]] = (),
        step: Int = 1,
    ) -> list[str]:
        """Turns `start <= i < stop`; `carried` values (type, first value) go from turn to turn and are
        returned.
        """
        known = isinstance(start, int) and isinstance(stop, int)
        if known and int(start) >= int(stop):
            return [value for _, value in carried]
        head, done = self._label("turn"), self._label("done")
        before = self._block
        if known:
            self.emit(f"br label %{head}")
        else:
            self.emit(f"br i1 {self.compare('slt', start, stop)}, label %{head}, label %{done}")
        self._enter(head)
        index = f"%i{head}"
        first_phi = len(self._lines)
        names = []
        self._lines.append("")
        for _ in carried:
            self._count += 1
            names.append(f"%t{self._count}")
            self._lines.append("")
        results = list(body(index, names) or ())
        following = self.value(f"add nsw i64 {index}, {step}")
        again = self.compare("slt", following, stop)
        latch = self._block
        self.emit(f"br i1 {again}, label %{head}, label %{done}")
        self._lines[first_phi] = f"  {index} = phi i64 [{start}, %{before}], [{following}, %{latch}]"
        for place, ((type_text, first), name, result) in enumerate(zip(carried, names, results, strict=True)):
            line = f"  {name} = phi {type_text} [{first}, %{before}], [{result}, %{latch}]"
            self._lines[first_phi + 1 + place] = line
        self._enter(done)
        if known:
            return results
        return [
            self.value(f"phi {type_text} [{first}, %{before}], [{result}, %{latch}]")
            for (type_text, first), result in zip(carried, results, strict=True)
        ]

    def walk(self, start: Int, stop: Int, body: Callable[[str], Int]) -> None:
        """Turns from `start` while below `stop`; the body says where the next one begins."""
        head, done = self._label("turn"), self._label("done")
        before = self._block
        self.emit(f"br i1 {self.compare('slt', start, stop)}, label %{head}, label %{done}")
        self._enter(head)
        index = f"%i{head}"
        phi = len(self._lines)
        self._lines.append("")
        following = body(index)
        again = self.compare("slt", following, stop)
        self._lines[phi] = f"  {index} = phi i64 [{start}, %{before}], [{following}, %{self._block}]"
        self.emit(f"br i1 {again}, label %{head}, label %{done}")
        self._enter(done)

    def branch(
        self, condition: str, then: Callable[[], None], otherwise: Callable[[], None] | None = None
    ) -> None:
        """Does one or the other."""
        yes, done = self._label("then"), self._label("join")
        no = self._label("else") if otherwise else done
        self.emit(f"br i1 {condition}, label %{yes}, label %{no}")
        self._enter(yes)
        then()
        self.emit(f"br label %{done}")
        if otherwise:
            self._enter(no)
            otherwise()
            self.emit(f"br label %{done}")
        self._enter(done)

    def when_less(
        self, a: Int, b: Int, then: Callable[[], None], otherwise: Callable[[], None] | None = None
    ) -> None:
        """Branches on `a < b`, without code for what is known."""
        if isinstance(a, int) and isinstance(b, int):
            if a < b:
                then()
            elif otherwise:
                otherwise()
            return
        self.branch(self.compare("slt", a, b), then, otherwise)

    # --------------------------------------------------------------------------------------------- vectors

    def splat(self, lanes: Lanes, scalar: str) -> str:
        """A vector of one scalar."""
        one = self.value(f"insertelement {lanes.type} poison, {lanes.element} {scalar}, i32 0")
        return self.value(
            f"shufflevector {lanes.type} {one}, {lanes.type} poison, <{lanes.count} x i32> zeroinitializer"
        )

    def broadcast(self, lanes: Lanes, pointer: str) -> str:
        """A vector of the scalar at an address."""
        scalar = self.value(f"load {lanes.element}, ptr {pointer}, align {lanes.align}")
        return self.splat(lanes, scalar)

    def mask(self, count: int, valid: Int) -> str:
        """Which of `count` lanes are among the first `valid`."""
        if isinstance(valid, int):
            return "<" + ", ".join(f"i1 {int(lane < valid)}" for lane in range(count)) + ">"
        wide = Lanes("i64", count)
        numbers = "<" + ", ".join(f"i64 {lane}" for lane in range(count)) + ">"
        return self.value(f"icmp slt {wide.type} {numbers}, {self.splat(wide, valid)}")

    def load(self, lanes: Lanes, pointer: str, valid: Int | None = None, align: int | None = None) -> str:
        """A vector from memory: all lanes, or the first `valid` with zeros behind."""
        align = align or lanes.align
        if valid is None or (isinstance(valid, int) and valid >= lanes.count):
            return self.value(f"load {lanes.type}, ptr {pointer}, align {align}")
        if isinstance(valid, int) and valid <= 0:
            return "zeroinitializer"
        mask_type = f"<{lanes.count} x i1>"
        name = f"llvm.masked.load.{lanes.suffix}.p0"
        self.module.declare(name, lanes.type, f"ptr, i32, {mask_type}, {lanes.type}")
        mask = self.mask(lanes.count, valid)
        return self.value(
            f"call {lanes.type} @{name}(ptr {pointer}, i32 {align}, {mask_type} {mask}, "
            f"{lanes.type} zeroinitializer)"
        )

    def store(
        self, lanes: Lanes, pointer: str, vector: str, valid: Int | None = None, align: int | None = None
    ) -> None:
        """A vector to memory: all lanes or the first `valid`."""
        align = align or lanes.align
        if valid is None or (isinstance(valid, int) and valid >= lanes.count):
            self.emit(f"store {lanes.type} {vector}, ptr {pointer}, align {align}")
            return
        if isinstance(valid, int) and valid <= 0:
            return
        mask_type = f"<{lanes.count} x i1>"
        name = f"llvm.masked.store.{lanes.suffix}.p0"
        self.module.declare(name, "void", f"{lanes.type}, ptr, i32, {mask_type}")
        mask = self.mask(lanes.count, valid)
        self.emit(f"call void @{name}({lanes.type} {vector}, ptr {pointer}, i32 {align}, {mask_type} {mask})")

    def prefetch(self, pointer: str, level: int = 2, write: bool = False) -> None:
        """Asks for the cache line of an address, which may lie anywhere: 3 for the first-level cache, 2 for the
        second; `write`: for this core alone.
        """
        self.module.declare("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")
        self.emit(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(write)}, i32 {level}, i32 1)")

    def multiply_add(self, lanes: Lanes, a: str, b: str, c: str) -> str:
        """`a * b + c`, with one rounding where the processor has it and two where it has not."""
        name = f"llvm.fmuladd.{lanes.suffix}"
        self.module.declare(name, lanes.type, ", ".join([lanes.type] * 3))
        return self.value(f"call {lanes.type} @{name}({lanes.type} {a}, {lanes.type} {b}, {lanes.type} {c})")

    def dot_pairs(self, lanes: Lanes, a: str, b: str, c: str) -> str:
        """`c` plus two products in each of 16 lanes: `a` and `b` hold pairs of bfloat16 numbers in lanes of i32."""
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        self.module.declare(name, lanes.type, f"{lanes.type}, <32 x bfloat>, <32 x bfloat>")
        left, right = (self.value(f"bitcast <16 x i32> {x} to <32 x bfloat>") for x in (a, b))
        return self.value(
            f"call {lanes.type} @{name}({lanes.type} {c}, <32 x bfloat> {left}, <32 x bfloat> {right})"
        )
