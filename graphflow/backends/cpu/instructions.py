"""LLVM text, one instruction at a time: values, regions and the emitter that places each value as far out as
it can.

The generator runs none of LLVM's passes over its text, so what they would do that matters is done here while
writing: an instruction is written once per region (value numbering), and in the outermost region where its
operands exist (so nothing that is fixed in a loop is computed in it).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from graphflow.backends.cpu.target import Target

__all__ = ["ELEMENT_BYTES", "Emitter", "Region", "Value", "float_text"]

ELEMENT_BYTES = {"float": 4, "double": 8, "i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2, "ptr": 8}

_INTRINSIC_SUFFIX = {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}


class Value:
    """An LLVM value: text, element type, lanes (1: a scalar) and its region's level. Has float operators."""

    __slots__ = ("emitter", "lanes", "level", "text", "type")

    def __init__(self, emitter: Emitter, text: str, type: str, lanes: int, level: int) -> None:
        self.emitter = emitter
        self.text = text
        self.type = type
        self.lanes = lanes
        self.level = level

    @property
    def full_type(self) -> str:
        """The LLVM type, vectors included."""
        return self.type if self.lanes == 1 else f"<{self.lanes} x {self.type}>"

    @property
    def typed(self) -> str:
        """Type and text, as an operand is written."""
        return f"{self.full_type} {self.text}"

    @property
    def number(self) -> int | None:
        """The value of an integer constant, else None."""
        text = self.text
        return int(text) if self.lanes == 1 and (text.isdigit() or text[0] == "-") else None

    def _arithmetic(self, name: str, other: Value | float, swapped: bool = False) -> Value:
        right = other if isinstance(other, Value) else self.emitter.like(self, other)
        left, right = (right, self) if swapped else (self, right)
        return self.emitter.binary(f"{name} contract", left, right)

    def __add__(self, other: Value | float) -> Value:
        return self._arithmetic("fadd", other)

    def __radd__(self, other: float) -> Value:
        return self._arithmetic("fadd", other, swapped=True)

    def __sub__(self, other: Value | float) -> Value:
        return self._arithmetic("fsub", other)

    def __rsub__(self, other: float) -> Value:
        return self._arithmetic("fsub", other, swapped=True)

    def __mul__(self, other: Value | float) -> Value:
        return self._arithmetic("fmul", other)

    def __rmul__(self, other: float) -> Value:
        return self._arithmetic("fmul", other, swapped=True)

    def __truediv__(self, other: Value | float) -> Value:
        return self._arithmetic("fdiv", other)

    def __rtruediv__(self, other: float) -> Value:
        return self._arithmetic("fdiv", other, swapped=True)

    def __neg__(self) -> Value:
        return self.emitter.instruction(f"fneg {self.typed}", self.type, self.lanes, (self,))


def _is_splat(value: Value) -> bool:
    """Whether a value is a number in every lane of a vector."""
    return value.text.startswith("splat")


class Region:
    """A straight run of blocks: a function's top, a loop's preheader or body, a branch.

    `writes` names the buffers stored to inside a loop; a load is moved out of a region only if `passable`
    says that what is above is not run more often than the region itself.
    """

    __slots__ = ("label", "level", "lines", "loads", "passable", "values", "writes")

    def __init__(self, label: str, level: int, passable: bool, writes: frozenset[str]) -> None:
        self.label = label
        self.level = level
        self.passable = passable
        self.writes = writes
        self.lines: list[str] = []
        self.values: dict[object, Value] = {}
        self.loads: dict[tuple[str, str], Value] = {}


class Emitter:
    """Writes the body of one function, or a piece of one that begins in block `label` after `count` names."""

    def __init__(self, target: Target, label: str = "entry", count: int = 0) -> None:
        self.target = target
        self.regions: list[Region] = [Region(label, 0, False, frozenset())]
        self.declarations: set[str] = set()
        self.allocations: list[str] = []
        self._count = count
        # i64 values that are another one and a number, so that the difference of a loop's ends may be known.
        self._offsets: dict[str, tuple[Value, int]] = {}

    # ---------------------------------------------------------------------------------------- placing text

    def fresh(self, hint: str = "t") -> str:
        """A number of its own after a hint: the name of a value or block."""
        self._count += 1
        return f"{hint}{self._count}"

    @property
    def count(self) -> int:
        """How many names there are."""
        return self._count

    @property
    def region(self) -> Region:
        """Where statements go now."""
        return self.regions[-1]

    def push(self, label: str, passable: bool = False, writes: frozenset[str] = frozenset()) -> Region:
        """Opens a region inside the current one."""
        region = Region(label, len(self.regions), passable, writes)
        self.regions.append(region)
        return region

    def pop(self) -> Region:
        """Closes the current region; the caller puts its lines into the one around."""
        return self.regions.pop()

    def line(self, text: str) -> None:
        """Appends an instruction without a value to the current region."""
        self.region.lines.append("  " + text)

    def block(self, label: str) -> None:
        """Starts a block in the current region."""
        self.region.lines.append(f"{label}:")
        self.region.label = label

    def instruction(self, text: str, type: str, lanes: int, operands: Sequence[Value]) -> Value:
        """A pure instruction's value; written where its operands live, once."""
        level = 0
        for operand in operands:
            if operand.level > level:
                level = operand.level
        region = self.regions[level]
        found = region.values.get(text)
        if found is None:
            self._count += 1
            name = f"%t{self._count}"
            region.lines.append(f"  {name} = {text}")
            found = region.values[text] = Value(self, name, type, lanes, level)
        return found

    def remembered(
        self, key: tuple[object, ...], operands: Sequence[Value], make: Callable[[], Value]
    ) -> Value:
        """The value of something made of many instructions, made once per region."""
        region = self.regions[max((v.level for v in operands), default=0)]
        key = (*key, *[v.lanes for v in operands])  # constants are written alike whatever their lanes are
        found = region.values.get(key)
        if found is None:
            found = region.values[key] = make()
        return found

    def load(self, buffer: str, text: str, type: str, lanes: int, operands: Sequence[Value]) -> Value:
        """A load from a buffer: moved out of loops that do not write it, shared until it is stored to."""
        floor = max((v.level for v in operands), default=0)
        level = len(self.regions) - 1
        while level > floor:
            region = self.regions[level]
            if not region.passable or buffer in region.writes:
                break
            level -= 1
        key = (buffer, text)
        for outer in range(level, floor - 1, -1):
            found = self.regions[outer].loads.get(key)
            if found is not None:
                return found
        name = "%" + self.fresh()
        region = self.regions[level]
        region.lines.append(f"  {name} = {text}")
        found = region.loads[key] = Value(self, name, type, lanes, level)
        return found

    def forget_loads(self, buffers: frozenset[str] | set[str]) -> None:
        """Loads from these buffers are no longer what memory holds."""
        for region in self.regions:
            for key in [k for k in region.loads if k[0] in buffers]:
                del region.loads[key]

    # -------------------------------------------------------------------------------------------- constants

    def const(self, type: str, value: float | int | bool, lanes: int = 1) -> Value:
        """A constant, the same in every lane."""
        if type in ("float", "double"):
            text = float_text(type, float(value))
        elif type == "i1":
            text = "true" if value else "false"
        else:
            text = str(int(value))
        if lanes > 1:
            text = f"splat ({type} {text})"
        return Value(self, text, type, lanes, 0)

    def like(self, other: Value, value: float | int | bool) -> Value:
        """A constant of another value's type and lanes."""
        return self.const(other.type, value, other.lanes)

    def int_like(self, other: Value, value: int) -> Value:
        """An integer constant with as many lanes, and bits, as a value has."""
        return self.const(f"i{8 * ELEMENT_BYTES[other.type]}", value, other.lanes)

    def splat(self, value: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if value.lanes == lanes:
            return value
        if value.lanes != 1:
            raise AssertionError(f"{value.lanes} lanes cannot become {lanes}")
        if value.text[0] != "%":
            return Value(self, f"splat ({value.type} {value.text})", value.type, lanes, 0)
        vector = f"<{lanes} x {value.type}>"
        one = self.instruction(
            f"insertelement {vector} poison, {value.typed}, i32 0", value.type, lanes, (value,)
        )
        return self.instruction(
            f"shufflevector {vector} {one.text}, {vector} poison, <{lanes} x i32> zeroinitializer",
            value.type,
            lanes,
            (one,),
        )

    def iota(self, type: str, lanes: int, step: int = 1) -> Value:
        """The constant vector 0, step, 2 step, …"""
        text = "<" + ", ".join(f"{type} {k * step}" for k in range(lanes)) + ">"
        return Value(self, text, type, lanes, 0)

    def level_up(self, values: Sequence[Value]) -> list[Value]:
        """The values with one number of lanes."""
        lanes = max(v.lanes for v in values)
        return [v if v.lanes == lanes else self.splat(v, lanes) for v in values]

    # ----------------------------------------------------------------------------------------- instructions

    def binary(self, name: str, x: Value, y: Value) -> Value:
        """`name x, y` on operands of one type; scalars are put into every lane of a vector beside them."""
        if x.lanes != y.lanes:
            x, y = self.level_up((x, y))
        return self.instruction(f"{name} {x.full_type} {x.text}, {y.text}", x.type, x.lanes, (x, y))

    def integer(self, name: str, x: Value, y: Value | int) -> Value:
        """An integer operation, folded for scalar constants."""
        right = y if isinstance(y, Value) else self.const(x.type, y, x.lanes)
        a, b = x.number, right.number
        if b is not None:
            if b == 0 and name in ("add", "sub", "shl", "lshr", "ashr", "or"):
                return x
            if b == 1 and name in ("mul", "sdiv"):
                return x
            if b == 0 and name == "mul":
                return right
            if a is not None and name in _FOLDED:
                return self.const(x.type, _FOLDED[name](a, b))
        elif a == 0 and name in ("add", "or"):
            return right
        elif a == 1 and name == "mul":
            return right
        if x.lanes > 1 or right.lanes > 1:
            return self.binary(name, x, right)
        base, offset = self._offsets.get(x.text, (x, 0))
        if name == "sub" and b is None:
            other, distance = self._offsets.get(right.text, (right, 0))
            if other.text == base.text:
                return self.const(x.type, offset - distance)
        if name == "mul" and b is not None and offset:
            return self.integer("add", self.integer("mul", base, b), offset * b)
        result = self.binary(name, x, right)
        if name in ("add", "sub") and b is not None:
            self._offsets[result.text] = (base, offset + b if name == "add" else offset - b)
        return result

    def compare(self, name: str, x: Value, y: Value | float) -> Value:
        """`fcmp` or `icmp`, by the type, to i1 lanes."""
        right = y if isinstance(y, Value) else self.like(x, y)
        x, right = self.level_up((x, right))
        instruction = "fcmp" if x.type in ("float", "double") else "icmp"
        text = f"{instruction} {name} {x.full_type} {x.text}, {right.text}"
        return self.instruction(text, "i1", x.lanes, (x, right))

    def select(self, condition: Value, x: Value | float, y: Value | float) -> Value:
        """Lane by lane `x` where the condition holds, else `y`."""
        if isinstance(x, Value):
            left, right = x, y if isinstance(y, Value) else self.const(x.type, y, x.lanes)
        else:
            assert isinstance(y, Value)
            left, right = self.const(y.type, x, y.lanes), y
        if condition.text in ("true", "false"):
            return left if condition.text == "true" else right
        c, left, right = self.level_up((condition, left, right))
        text = f"select {c.typed}, {left.typed}, {right.typed}"
        return self.instruction(text, left.type, left.lanes, (c, left, right))

    def convert(self, name: str, x: Value, type: str) -> Value:
        """`sext`, `zext`, `trunc`, `fpext`, `bitcast`, … lane by lane."""
        if (
            x.number is not None
            and name in ("sext", "trunc", "zext")
            and abs(x.number) < 1 << 31
            and x.type != "i1"
        ):
            if name != "zext" or x.number >= 0:
                if type in ("i64", "i32"):
                    return self.const(type, x.number)
        full = type if x.lanes == 1 else f"<{x.lanes} x {type}>"
        return self.instruction(f"{name} {x.typed} to {full}", type, x.lanes, (x,))

    def bits(self, x: Value) -> Value:
        """A float's bits as an integer."""
        return self.convert("bitcast", x, f"i{8 * ELEMENT_BYTES[x.type]}")

    def call(self, name: str, type: str, *operands: Value | str, flags: str = "") -> Value:
        """A call of an intrinsic or pure C function; a string operand is an immediate ("i1 false")."""
        values = [v for v in operands if isinstance(v, Value)]
        lanes = values[0].lanes
        full = type if lanes == 1 else f"<{lanes} x {type}>"
        kinds = ", ".join(v.full_type if isinstance(v, Value) else v.split(" ")[0] for v in operands)
        self.declarations.add(f"declare {full} @{name}({kinds})")
        texts = ", ".join(v.typed if isinstance(v, Value) else v for v in operands)
        return self.instruction(f"call {flags}{full} @{name}({texts})", type, lanes, values)

    def intrinsic(self, name: str, *operands: Value | str) -> Value:
        """An LLVM intrinsic overloaded on its first operand, which has the result's type too."""
        first = operands[0]
        assert isinstance(first, Value)
        values: list[Value | str] = list(operands)
        lanes = max(v.lanes for v in operands if isinstance(v, Value))
        values = [self.splat(v, lanes) if isinstance(v, Value) else v for v in operands]
        return self.call(f"llvm.{name}.{self.suffix(first.type, lanes)}", first.type, *values)

    @staticmethod
    def suffix(type: str, lanes: int) -> str:
        """How an overloaded intrinsic's name spells a type."""
        base = _INTRINSIC_SUFFIX.get(type, type)
        return base if lanes == 1 else f"v{lanes}{base}"

    def fma(self, x: Value, y: Value | float, z: Value | float) -> Value:
        """`x * y + z`, in one rounding where the target has it."""
        y = y if isinstance(y, Value) else self.like(x, y)
        z = z if isinstance(z, Value) else self.like(x, z)
        if not self.target.fma:
            return self.binary("fadd", self.binary("fmul", x, y), z)
        if self.target.isa != "avx2" or not (_is_splat(y) or _is_splat(z)):
            return self.intrinsic("fma", x, y, z)

        def written() -> Value:
            level = max(x.level, y.level, z.level)
            return self.intrinsic("fma", x, self._in_memory(y, level), self._in_memory(z, level))

        return self.remembered(("fma", x.text, y.text, z.text), (x, y, z), written)

    def _in_memory(self, value: Value, level: int) -> Value:
        """A constant vector as one that lies in memory, which the instruction that takes it reads by itself.

        LLVM would spread the number over a register first, unless an instruction can do that as well (AVX-512).
        """
        if not _is_splat(value):
            return value
        size = ELEMENT_BYTES[value.type] * value.lanes
        name = f'@"{value.lanes} {value.text}"'
        self.declarations.add(f"{name} = private unnamed_addr constant {value.typed}, align {size}")
        loaded = f"%{self.fresh()}"
        self.regions[level].lines.append(f"  {loaded} = load {value.full_type}, ptr {name}, align {size}")
        return Value(self, loaded, value.type, value.lanes, level)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """A polynomial by Horner's rule, highest power first."""
        total = self.like(x, coefficients[0])
        for c in coefficients[1:]:
            total = self.fma(total, x, c)
        return total

    def exact(self, name: str, x: Value, y: Value | float) -> Value:
        """fadd, fsub, fmul or fdiv that must round here: never fused with its neighbour."""
        return self.binary(name, x, y if isinstance(y, Value) else self.like(x, y))

    def absolute(self, x: Value) -> Value:
        """A float without its sign."""
        return self.intrinsic("fabs", x)

    def sign_of(self, size: Value, sign: Value) -> Value:
        """A float's size with another's sign."""
        return self.intrinsic("copysign", size, sign)

    def halves(self, x: Value, parts: int) -> list[Value]:
        """A vector in equal parts."""
        lanes = x.lanes // parts
        if parts == 1:
            return [x]
        result = []
        for part in range(parts):
            indices = ", ".join(f"i32 {part * lanes + k}" for k in range(lanes))
            text = f"shufflevector {x.typed}, {x.full_type} poison, <{lanes} x i32> <{indices}>"
            result.append(self.instruction(text, x.type, lanes, (x,)))
        return result

    def joined(self, parts: Sequence[Value]) -> Value:
        """Vectors (a power of two of them) end to end."""
        values = list(parts)
        while len(values) > 1:
            pairs = []
            for a, b in zip(values[::2], values[1::2], strict=True):
                lanes = 2 * a.lanes
                indices = ", ".join(f"i32 {k}" for k in range(lanes))
                text = f"shufflevector {a.typed}, {b.typed}, <{lanes} x i32> <{indices}>"
                pairs.append(self.instruction(text, a.type, lanes, (a, b)))
            values = pairs
        return values[0]

    def interleaved(self, parts: Sequence[Value]) -> list[Value]:
        """Vectors (a power of two of them) lane by lane in turn, cut into vectors of the same length."""
        lanes, count = parts[0].lanes, len(parts)
        whole = self.joined(parts)
        result = []
        for part in range(count):
            places = range(part * lanes, (part + 1) * lanes)
            indices = ", ".join(f"i32 {k % count * lanes + k // count}" for k in places)
            text = f"shufflevector {whole.typed}, {whole.full_type} poison, <{lanes} x i32> <{indices}>"
            result.append(self.instruction(text, whole.type, lanes, (whole,)))
        return result

    def reversed(self, x: Value) -> Value:
        """A vector's lanes from last to first."""
        if x.lanes == 1:
            return x
        indices = ", ".join(f"i32 {k}" for k in reversed(range(x.lanes)))
        text = f"shufflevector {x.typed}, {x.full_type} poison, <{x.lanes} x i32> <{indices}>"
        return self.instruction(text, x.type, x.lanes, (x,))

    def first(self, x: Value, count: int) -> Value:
        """A vector's first lanes; one of them is a scalar."""
        if count in (1, x.lanes):
            return self.lane(x, 0) if count == 1 else x
        indices = ", ".join(f"i32 {k}" for k in range(count))
        text = f"shufflevector {x.typed}, {x.full_type} poison, <{count} x i32> <{indices}>"
        return self.instruction(text, x.type, count, (x,))

    def with_first(self, x: Value, first: Value) -> Value:
        """A vector with other first lanes."""
        if first.lanes in (1, x.lanes):
            if x.lanes == first.lanes:
                return first
            return self.instruction(
                f"insertelement {x.typed}, {first.typed}, i32 0", x.type, x.lanes, (x, first)
            )
        padded = ", ".join(f"i32 {min(k, first.lanes - 1)}" for k in range(x.lanes))
        text = f"shufflevector {first.typed}, {first.full_type} poison, <{x.lanes} x i32> <{padded}>"
        wide = self.instruction(text, x.type, x.lanes, (first,))
        chosen = ", ".join(f"i32 {k if k < first.lanes else x.lanes + k}" for k in range(x.lanes))
        text = f"shufflevector {wide.typed}, {x.typed}, <{x.lanes} x i32> <{chosen}>"
        return self.instruction(text, x.type, x.lanes, (wide, x))

    def lane(self, x: Value, index: int) -> Value:
        """One lane as a scalar."""
        if x.lanes == 1:
            return x
        return self.instruction(f"extractelement {x.typed}, i32 {index}", x.type, 1, (x,))

    def any_lane(self, mask: Value) -> Value:
        """Whether any lane of an i1 vector holds, a scalar i1."""
        if mask.lanes == 1:
            return mask
        name = f"llvm.vector.reduce.or.v{mask.lanes}i1"
        self.declarations.add(f"declare i1 @{name}({mask.full_type})")
        return self.instruction(f"call i1 @{name}({mask.typed})", "i1", 1, (mask,))

    # --------------------------------------------------------------------------------------- C functions

    def by_lanes(self, function: str, operands: Sequence[Value]) -> Value:
        """A C function called once for each lane: for what has no vector form."""
        operands = self.level_up(operands)
        first = operands[0]
        if first.lanes == 1:
            return self.call(function, first.type, *operands)
        key = ("by lanes", function, *(v.text for v in operands))
        return self.remembered(key, operands, lambda: self._lane_loop(function, operands))

    def _lane_loop(self, function: str, operands: Sequence[Value]) -> Value:
        first = operands[0]
        type, lanes, vector = first.type, first.lanes, first.full_type
        region = self.regions[max(v.level for v in operands)]
        slots = [f"%{self.fresh('slot')}" for _ in (*operands, "result")]
        for slot in slots:
            self.allocations.append(f"  {slot} = alloca {vector}, align {lanes * ELEMENT_BYTES[type]}")
        lines = region.lines
        for slot, value in zip(slots, operands, strict=False):
            lines.append(f"  store {value.typed}, ptr {slot}")
        loop, after = self.fresh("lane"), self.fresh("lanes.done")
        k, step, done = (f"%{self.fresh('k')}" for _ in range(3))
        lines += [f"  br label %{loop}", f"{loop}:"]
        lines.append(f"  {k} = phi i64 [ 0, %{region.label} ], [ {step}, %{loop} ]")
        scalars = []
        for slot in slots[:-1]:
            at, scalar = f"%{self.fresh('p')}", f"%{self.fresh('x')}"
            lines.append(f"  {at} = getelementptr {type}, ptr {slot}, i64 {k}")
            lines.append(f"  {scalar} = load {type}, ptr {at}")
            scalars.append(f"{type} {scalar}")
        self.declarations.add(f"declare {type} @{function}({', '.join([type] * len(operands))})")
        at, scalar, result = (f"%{self.fresh('y')}" for _ in range(3))
        lines += [
            f"  {scalar} = call {type} @{function}({', '.join(scalars)})",
            f"  {at} = getelementptr {type}, ptr {slots[-1]}, i64 {k}",
            f"  store {type} {scalar}, ptr {at}",
            f"  {step} = add i64 {k}, 1",
            f"  {done} = icmp eq i64 {step}, {lanes}",
            f"  br i1 {done}, label %{after}, label %{loop}",
            f"{after}:",
            f"  {result} = load {vector}, ptr {slots[-1]}",
        ]
        region.label = after
        return Value(self, result, type, lanes, region.level)

    def rarely(self, mask: Value, usual: Value, function: str, operands: Sequence[Value]) -> Value:
        """`usual`, but a C function's values in the lanes of a mask that seldom holds anywhere."""
        level = max(v.level for v in (mask, usual, *operands))
        region = self.regions[level]
        # Anything shared must be written before the branch, or it would not be there on the usual way.
        values = self.level_up(operands)
        anywhere = self.any_lane(mask)
        slow, after = self.fresh("rare"), self.fresh("usual")
        before = region.label
        region.lines.append(f"  br i1 {anywhere.text}, label %{slow}, label %{after}, !prof !0")
        region.lines.append(f"{slow}:")
        region.label = slow
        if values[0].lanes == 1:
            name = f"%{self.fresh('x')}"
            self.declarations.add(f"declare {usual.type} @{function}({', '.join(v.type for v in values)})")
            arguments = ", ".join(v.typed for v in values)
            region.lines.append(f"  {name} = call {usual.type} @{function}({arguments})")
            exact = Value(self, name, usual.type, 1, level)
        else:
            raised = [Value(self, v.text, v.type, v.lanes, level) for v in values]
            exact = self._lane_loop(function, raised)
        picked, result = f"%{self.fresh('x')}", f"%{self.fresh('x')}"
        region.lines.append(f"  {picked} = select {mask.typed}, {exact.typed}, {usual.typed}")
        region.lines.append(f"  br label %{after}")
        region.lines.append(f"{after}:")
        region.lines.append(
            f"  {result} = phi {usual.full_type} [ {usual.text}, %{before} ], [ {picked}, %{region.label} ]"
        )
        region.label = after
        return Value(self, result, usual.type, usual.lanes, level)


def float_text(type: str, value: float) -> str:
    """LLVM's text of a number, as near as a type comes to it."""
    if type == "float" and math.isfinite(value):
        try:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


_FOLDED: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}
